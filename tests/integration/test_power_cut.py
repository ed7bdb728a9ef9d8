"""The power goes at any moment of a pause by the whole daemon: what comes back is the sandbox with
its disk, as if it had run, or all of it.

SANDPIT_POWER_CUTS=all looks after every write too, and boots whatever has its disk alone.
"""
import json
import os
import pathlib
import re
import subprocess
import shutil
import sys
import tempfile

import pytest
from boxes import borrow_templates
from conftest import ROOT, SANDPIT

TOOL = pathlib.Path(SANDPIT).parents[1] / "tests/support/power_cut/power_cut"
ALL = os.environ.get("SANDPIT_POWER_CUTS") == "all"
WRITES = "1" if ALL else "20"


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(prefix="sandpit-power-")
    os.chmod(path, 0o711)
    yield path
    shutil.rmtree(path)


@pytest.mark.timeout(7200 if ALL else 900)
def test_a_power_cut_in_a_pause(daemon, data_dir, folder):
    if not TOOL.exists():
        pytest.skip("this build has no power_cut")
    if os.geteuid() != 0:
        pytest.skip("only root can mount what a power cut left in its place")
    root, facts = f"{folder}/data", f"{folder}/facts"
    os.mkdir(root, 0o711)
    borrow_templates(data_dir, root)
    key = subprocess.run([SANDPIT, "key", "create", "--name", "power", "--data-dir", root],
                         check=True, capture_output=True, text=True).stdout.strip()
    accel = re.search(r'"accelerator":"(kvm|tcg)"', daemon.log_text()).group(1)
    env = {**os.environ, "ROOT": root, "FACTS": facts, "ACCEL": accel, "EVERYTHING": "yes" if ALL else "no",
           "E2B_API_KEY": key, "ASAN_OPTIONS": "detect_leaks=0",
           "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    scripts = ROOT / "tests/integration/power_cut"
    done = subprocess.run([TOOL, "--from", "begun", "--until", "answered", "--writes", WRITES, root,
                           f"{folder}/scratch", scripts / "look.py", scripts / "pause.py"],
                          env=env, capture_output=True, text=True)
    print(done.stdout, pathlib.Path(facts).read_text() if os.path.exists(facts) else "no facts")
    if done.returncode == 77:
        pytest.skip("nobody can be traced here")
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    counts = json.loads(pathlib.Path(facts).read_text())["counts"]
    assert counts["whole"] and counts["disk"], counts
