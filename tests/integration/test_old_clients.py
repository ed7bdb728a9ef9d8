"""Older releases of the clients, for what newer ones spell differently."""
import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import NODE, ROOT

OLD = os.environ.get("SANDPIT_OLD_CLIENTS")


def run(command, daemon):
    done = subprocess.run(command, env={**os.environ, **daemon.client_env()},
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@pytest.fixture(scope="module")
def old():
    if not OLD:
        pytest.skip("SANDPIT_OLD_CLIENTS names no folder with older clients")
    return pathlib.Path(OLD)


def test_python(daemon, old):
    script = ROOT / "tests/integration/old/beta.py"
    run([old / "python/bin/python", "-I", script], daemon)


def test_javascript(daemon, old, tmp_path):
    shutil.copy(ROOT / "tests/integration/old/beta.mjs", tmp_path)
    os.symlink(old / "js/node_modules", tmp_path / "node_modules")
    run([NODE, tmp_path / "beta.mjs"], daemon)
