#!/usr/bin/python3
"""Runs in the VM of tests/host/run, at each of its two boots."""
import base64
import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request

API = "http://127.0.0.1:3000"
PROXY = "http://127.0.0.1:3002"
DATA = "/var/lib/sandpit"
SETTINGS = pathlib.Path("/etc/default/sandpit")
KEPT = pathlib.Path("/root/host-test.json")  # from the first boot for the second
GROUPS = "/sys/fs/cgroup/sandpit.slice/sandpit-vms.service"


def say(text):
    print(f"host-test: {text}", flush=True)


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True)
    assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.strip()


def call(method, url, body=None, headers=None):
    """(status, body)."""
    request = urllib.request.Request(url, body, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def wait_for(condition, what, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.5)
    raise AssertionError(f"{what} did not come")


def healthy():
    try:
        return call("GET", API + "/health")[0] == 204
    except OSError:
        return False


def systemctl(*what):
    run("systemctl", *what)
    if what[0] in ("start", "restart") and what[1] == "sandpit":
        wait_for(healthy, "the daemon")


def daemon_pid():
    return int(run("systemctl", "show", "-p", "MainPID", "--value", "sandpit"))


class Box:
    def __init__(self, key, sandbox_id, token):
        self.key, self.id, self.token = key, sandbox_id, token

    def api(self, method, what="", body=None):
        status, text = call(method, f"{API}/sandboxes/{self.id}{what}",
                            None if body is None else json.dumps(body).encode(),
                            {"X-API-Key": self.key, "Content-Type": "application/json"})
        return status, json.loads(text) if text else None

    def state(self):
        return self.api("GET")[1]["state"]

    def connect(self, **body):
        status, answer = self.api("POST", "/connect", {"timeout": 36000, **body})
        assert status == 201, (status, answer)

    def run(self, command):
        """What it prints: a Connect stream with one message in JSON each way."""
        start = json.dumps({"process": {"cmd": "/bin/bash", "args": ["-c", command]}}).encode()
        status, text = call("POST", PROXY + "/process.Process/Start",
                            struct.pack(">BI", 0, len(start)) + start,
                            {"Content-Type": "application/connect+json",
                             "Connect-Protocol-Version": "1", "E2b-Sandbox-Id": self.id,
                             "E2b-Sandbox-Port": "49983", "X-Access-Token": self.token})
        assert status == 200, (status, text)
        out = b""
        while text:
            size = struct.unpack(">I", text[1:5])[0]
            event = json.loads(text[5:5 + size]).get("event", {})
            out += base64.b64decode(event.get("data", {}).get("stdout", ""))
            text = text[5 + size:]
        return out.decode()

    def vmm(self):
        """Its process, or None: what the daemon has on record, when it is there."""
        with contextlib.closing(sqlite3.connect(f"file:{DATA}/sandpit.db?mode=ro", uri=True)) as db:
            row = db.execute("select vmm_pid from sandboxes where id = ?", [self.id]).fetchone()
        return row[0] if row and row[0] and os.path.exists(f"/proc/{row[0]}") else None


def check_group(pid):
    """The limits of a VMM with 512 MiB and 2 CPUs, and that it is no process of root."""
    group = pathlib.Path("/sys/fs/cgroup" + pathlib.Path(f"/proc/{pid}/cgroup").read_text()[3:].strip())
    assert str(group).startswith(GROUPS + "/"), group
    found = {name: (group / name).read_text().strip()
             for name in ("memory.max", "pids.max", "cpu.max")}
    assert found == {"memory.max": str((2 * 512 + 512) << 20), "pids.max": "256",
                     "cpu.max": "300000 100000"}, found
    assert os.stat(f"/proc/{pid}").st_uid >= 200000


def check_lives(box, sleeper, what):
    assert box.run(f"kill -0 {sleeper} && echo it lives") == "it lives\n", what
    say(what)


def first_boot():
    doctor = run("sandpit", "doctor", check=False)
    assert "KVM ran a guest" in doctor and "version 2" in doctor, doctor
    run("sandpit", "image", "build", "--data-dir", DATA)
    say("an image is built and saved under KVM")
    systemctl("start", "sandpit")
    key = run("sandpit", "key", "create", "--name", "host-test")
    status, text = call("POST", API + "/v2/sandboxes",
                        json.dumps({"templateID": "base", "timeout": 36000}).encode(),
                        {"X-API-Key": key, "Content-Type": "application/json"})
    assert status == 201, (status, text)
    answer = json.loads(text)
    box = Box(key, answer["sandboxID"], answer["envdAccessToken"])
    sleeper = int(box.run("sleep 1000000 >/dev/null 2>&1 & echo $!"))
    vmm = box.vmm()
    check_group(vmm)
    say("a sandbox runs in its group")

    systemctl("restart", "sandpit")
    assert box.vmm() == vmm
    check_lives(box, sleeper, "a restart of the unit spares its VM")
    killed = daemon_pid()
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: daemon_pid() not in (0, killed) and healthy(), "the next daemon")
    assert box.vmm() == vmm
    check_lives(box, sleeper, "so does the end of the daemon")

    assert box.api("POST", "/pause", {})[0] == 204
    wait_for(lambda: box.vmm() is None, "the end of the VM")
    box.connect()
    check_group(box.vmm())
    check_lives(box, sleeper, "pause and resume keep its processes")

    SETTINGS.write_text("PAUSE_AT_STOP=yes\n")
    systemctl("restart", "sandpit")
    assert box.state() == "paused"
    box.connect()
    check_lives(box, sleeper, "PAUSE_AT_STOP pauses it at a restart")
    systemctl("enable", "sandpit")
    KEPT.write_text(json.dumps([key, box.id, box.token, sleeper]))


def second_boot():
    *names, sleeper = json.loads(KEPT.read_text())
    box = Box(*names)
    wait_for(healthy, "the daemon")
    assert box.state() == "paused"
    box.connect()
    check_lives(box, sleeper, "and at the host's shutdown")

    SETTINGS.unlink()
    systemctl("stop", "sandpit-vms")
    assert run("systemctl", "is-active", "sandpit", check=False) == "inactive"
    wait_for(lambda: box.vmm() is None, "the end of the VM")
    systemctl("start", "sandpit")
    status, answer = box.api("GET")
    assert status == 404 and answer["error_code"] == "sandbox_ended", (status, answer)
    say("a stop of sandpit-vms.service ends it, and that is on record")


def main():
    sys.stdout = open("/dev/ttyS0", "w", buffering=1)
    name, boot = ("second", second_boot) if KEPT.exists() else ("first", first_boot)
    try:
        boot()
        say(f"{name} boot: all is well")
    except Exception as e:
        say(f"{name} boot failed: {e!r}")
        say(run("journalctl", "-b", "-o", "cat", "-u", "sandpit", "-u", "sandpit-vms", check=False)[-4000:])
    run("systemctl", "poweroff")


main()
