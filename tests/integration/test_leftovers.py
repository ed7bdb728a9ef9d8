"""What is left behind by kills, by failures, by a stopped daemon: nothing."""
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess

import pytest
from conftest import SANDPIT, wait_for
from boxes import vmms

# Spares come and go: these tests count.
NO_POOL = {"SANDPIT_POOL_HOT": "0", "SANDPIT_POOL_WAITING": "0"}


def run_dirs(data_dir):
    folder = pathlib.Path(data_dir) / "run"
    return [p.name for p in folder.iterdir()] if folder.exists() else []


def rows(data_dir):
    with sqlite3.connect(f"file:{data_dir}/sandpit.db?mode=ro", uri=True) as db:
        return db.execute("select count(*) from sandboxes").fetchone()[0]


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))


def memory_kb(daemon):
    for line in open(f"/proc/{daemon.process.pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def is_sanitized():
    return re.search(b"__[at]san_init", pathlib.Path(SANDPIT).read_bytes()) is not None


def create(d, **body):
    return d.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300, **body})


def test_twenty_sandboxes_leave_nothing(own_daemon):
    daemon = own_daemon(env=NO_POOL)
    assert daemon.api("DELETE", f"/sandboxes/{create(daemon)[1]['sandboxID']}")[0] == 204
    wait_for(lambda: vmms(daemon.data_dir) == run_dirs(daemon.data_dir) == [], "the first to go")
    before = descriptors(daemon)
    memory = None
    for n in range(20):
        status, sb, _ = create(daemon)
        assert status == 201, sb
        assert daemon.api("DELETE", f"/sandboxes/{sb['sandboxID']}")[0] == 204
        if n == 4:
            memory = memory_kb(daemon)
    wait_for(lambda: vmms(daemon.data_dir) == run_dirs(daemon.data_dir) == [] and
             descriptors(daemon) <= before, "everything to be gone")
    if is_sanitized():
        return  # freed memory stays in the sanitizer's quarantine: its size says nothing
    assert memory_kb(daemon) < memory + 2048


def test_ephemeral_daemon_ends_its_sandboxes(own_daemon):
    d = own_daemon(extra=["--ephemeral"], env=NO_POOL)
    assert create(d)[0] == 201
    assert len(vmms(d.data_dir)) == 1
    assert d.stop() == 0
    assert vmms(d.data_dir) == [] and run_dirs(d.data_dir) == [] and rows(d.data_dir) == 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_sandboxes_outlive_the_daemon(own_daemon, how):
    d = own_daemon(env=NO_POOL)
    sb = create(d)[1]
    d.stop(how)
    assert len(vmms(d.data_dir)) == 1
    d.start()
    listed = d.api("GET", "/v2/sandboxes")[1]
    assert [s["sandboxID"] for s in listed] == [sb["sandboxID"]]
    from e2b import Sandbox

    again = Sandbox.connect(sb["sandboxID"], api_key=d.key, api_url=d.api_url,
                            sandbox_url=d.proxy_url)
    assert again.commands.run("echo still here").stdout == "still here\n"
    assert d.api("DELETE", f"/sandboxes/{sb['sandboxID']}")[0] == 204
    assert vmms(d.data_dir) == []


def test_a_stopped_vmm_is_noticed_and_ended(daemon):
    sb = create(daemon)[1]
    mine = [p for p in vmms(daemon.data_dir)
            if sb["sandboxID"].encode() in pathlib.Path(f"/proc/{p}/cmdline").read_bytes()]
    assert len(mine) == 1
    os.kill(mine[0], signal.SIGSTOP)
    path = f"/sandboxes/{sb['sandboxID']}"
    wait_for(lambda: daemon.api("GET", path)[0] == 404, "the hung VM to be ended", 90)
    wait_for(lambda: not os.path.exists(f"/proc/{mine[0]}"), "the process to be gone")


def status_of(pid):
    out = {}
    for line in open(f"/proc/{pid}/status"):
        key, _, value = line.partition(":")
        out[key] = value.strip()
    return out


def test_jail(daemon):
    """What the VMM may do, and what its uid can open."""
    if os.getuid() != 0:
        pytest.skip("the jail needs root")
    one, two = create(daemon)[1], create(daemon)[1]
    try:
        pids = {}
        for pid in vmms(daemon.data_dir):
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
            for sb in (one, two):
                if sb["sandboxID"].encode() in line:
                    pids[sb["sandboxID"]] = pid
        st = status_of(pids[one["sandboxID"]])
        uid = int(st["Uid"].split()[0])
        assert uid != 0 and set(st["Uid"].split()) == {str(uid)}
        assert set(st["Gid"].split()) == {st["Gid"].split()[0]} and st["Gid"].split()[0] != "0"
        assert st["Groups"] == ""
        for caps in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(st[caps], 16) == 0, caps
        assert st["NoNewPrivs"] == "1" and st["Seccomp"] == "2"
        other = status_of(pids[two["sandboxID"]])
        assert other["Uid"] != st["Uid"]
        assert os.readlink(f"/proc/{pids[one['sandboxID']]}/ns/net") != os.readlink("/proc/self/ns/net")

        targets = [f"{daemon.data_dir}/sandpit.db", f"{daemon.data_dir}/secret"]
        other_dir = pathlib.Path(daemon.data_dir) / "run" / two["sandboxID"]
        targets += [str(p) for p in other_dir.rglob("*") if p.is_file()]
        mine = int(uid)
        layers = list((pathlib.Path(daemon.data_dir) / "layers").iterdir())
        targets += [str(p) for p in layers if p.stat().st_uid != mine]
        assert any(t.endswith(".qcow2") for t in targets), targets
        script = ("import os,sys,json\nos.setgroups([]);os.setgid(int(sys.argv[1]));"
                  "os.setuid(int(sys.argv[1]))\nopened=[]\n"
                  "for t in sys.argv[2:]:\n try:\n  open(t,'rb');opened.append(t)\n"
                  " except PermissionError: pass\nprint(json.dumps(opened))")
        out = subprocess.run(["/usr/bin/python3", "-c", script, str(uid), *targets], check=True,
                             capture_output=True, text=True).stdout
        assert json.loads(out) == []
    finally:
        for sb in (one, two):
            daemon.api("DELETE", f"/sandboxes/{sb['sandboxID']}")
