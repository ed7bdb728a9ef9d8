"""The systemd unit: systemd takes it, and a stop of it spares the VMs."""
import configparser
import shutil
import subprocess

import pytest
from conftest import ROOT, SANDPIT

UNIT = ROOT / "packaging/sandpit.service"


def test_systemd_takes_it(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "sandpit.service"
    text = UNIT.read_text()
    assert "=/usr/bin/sandpit " in text
    unit.write_text(text.replace("/usr/bin/sandpit", SANDPIT))
    done = subprocess.run([analyze, "verify", unit], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_a_stop_spares_the_vms():
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(UNIT)
    service = unit["Service"]
    assert service["KillMode"] == "process"
    assert service["Slice"] == "sandpit.slice"
    assert service["ExecStart"].endswith("sandpit serve")


@pytest.mark.parametrize("setting,drains", [("", False), ("no", False), ("yes", True)])
def test_sandboxes_are_paused_before_when_that_is_wanted(tmp_path, setting, drains):
    line = next(x for x in UNIT.read_text().splitlines() if x.startswith("ExecStop="))
    script = line.partition("-c '")[2].rstrip("'")
    fake = tmp_path / "sandpit"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    done = subprocess.run(["/bin/sh", "-c", script.replace("/usr/bin/sandpit", str(fake))],
                          env={"PAUSE_AT_STOP": setting}, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout == ("drain --pause\n" if drains else "")
