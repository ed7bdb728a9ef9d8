"""The systemd unit: systemd takes it, and a stop of it spares the VMs."""
import configparser
import shutil
import subprocess

import pytest
from conftest import ROOT, SANDPIT

UNIT = ROOT / "packaging/sandpit.service"
VMS_UNIT = ROOT / "packaging/sandpit-vms.service"


def test_systemd_takes_it(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if not analyze:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "sandpit.service"
    text = UNIT.read_text()
    assert "=/usr/bin/sandpit " in text
    unit.write_text(text.replace("/usr/bin/sandpit", SANDPIT))
    shutil.copy(VMS_UNIT, tmp_path)
    done = subprocess.run([analyze, "verify", unit, tmp_path / VMS_UNIT.name], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def parse(path):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(path)
    return unit


def test_vms_are_in_the_group_of_a_unit_that_stays():
    daemon, vms = parse(UNIT), parse(VMS_UNIT)
    assert daemon["Service"]["Environment"] == \
        f"SANDPIT_CGROUP=/{vms['Service']['Slice']}/{VMS_UNIT.name}"
    assert VMS_UNIT.name in daemon["Unit"]["Wants"]
    assert VMS_UNIT.name in daemon["Unit"]["After"]
    assert set(vms["Service"]["Delegate"].split()) == {"cpu", "memory", "pids"}
    assert vms["Service"]["OOMPolicy"] == "continue"
    assert daemon["Unit"]["PartOf"] == VMS_UNIT.name
    # A stop of the daemon's unit would take it along.
    assert not {"PartOf", "BindsTo", "StopPropagatedFrom"} & set(vms["Unit"])


def test_a_stop_spares_the_vms():
    service = parse(UNIT)["Service"]
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
