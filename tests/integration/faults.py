"""Fault points of a daemon under test: which fail, and where it stands still."""
import contextlib
import json
import os
import subprocess

import pytest
from conftest import SANDPIT, wait_for


def require_fault_points():
    listed = subprocess.run([SANDPIT, "doctor", "--fault-points"], capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("this build has no fault points")
    return listed.stdout.split()


class Faults:
    """The file that a daemon with the environment .env reads at each of its fault points."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "faults")
        self.env = {"SANDPIT_FAULTS_FILE": self.path}
        self.set("")

    def set(self, text):
        with open(self.path + ".new", "w") as f:
            f.write(text)
        os.replace(self.path + ".new", self.path)

    @contextlib.contextmanager
    def failing(self, point):
        self.set(point)
        try:
            yield
        finally:
            self.set("")

    @contextlib.contextmanager
    def holding(self, daemon, point):
        """The daemon stands still when it comes to the point; wait() tells that it has."""
        seen = held(daemon, point)
        self.set(point + "@")
        try:
            yield lambda: wait_for(lambda: held(daemon, point) > seen, f"the daemon at {point}", 60)
        finally:
            self.set("")


def held(daemon, point):
    n = 0
    for line in daemon.log_text().splitlines():
        if '"fault point holds"' in line:
            n += json.loads(line)["name"] == point
    return n
