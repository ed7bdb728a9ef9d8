"""A VMM that stands still for good (SIGSTOP), from each step of each operation on. It answers nobody
and does not end; the daemon must give it up in bounded time, kill it, and tell the truth about what
is left: a sandbox that runs, one that is paused and can be resumed, or none.

All steps of an operation are tried at once, on sandboxes of their own, since most of the time is
deadlines. The latest step comes first: what was stopped there passes no earlier one any more.
"""
import contextlib
import os
import signal
import sqlite3
import threading

import pytest
from boxes import Box, create, left_over, vmm_of, vmms
from conftest import wait_for
from faults import Faults, require_fault_points
from test_metrics import Metrics

NO_POOL = {"SANDPIT_POOL_HOT": "0", "SANDPIT_POOL_WAITING": "0"}

# A guest that does not answer is waited for before its VMM is.
BOUND_S = 120

SAVE = ["vmm.save", "vmm.save_fd"]
PAUSE = ["pause.record", "pause.write", *SAVE, "pause.state", "pause.stop", "pause.drain",
         "pause.quiesce"]
PAUSE_DISK = ["pause.record", "pause.write", "pause.stop", "pause.drain", "pause.sync",
              "pause.quiesce"]
RESTORE = ["restore.cont", "vmm.load", "vmm.load_fd", "restore.load", "restore.fill", "vmm.console",
           "vmm.qmp"]
RESUME = ["resume.refresh", "restore.cont", "resume.retire", "resume.record", *RESTORE[1:]]
REBOOT = ["resume.record_boot", "resume.configure", "boot.hello", "vmm.cont", "vmm.set_link",
          "vmm.console", "vmm.qmp"]
CREATE = ["create.record", "create.configure", *RESTORE]
CHECKPOINT = ["checkpoint.publish", "checkpoint.write", "checkpoint.cont", "vmm.switch_disk",
              "vmm.switch_node", "vmm.switch_fd", "vmm.switch_create", "checkpoint.disk",
              "memory.capture", "checkpoint.copy", *SAVE, "checkpoint.state", "checkpoint.stop",
              "checkpoint.name_layer", "checkpoint.quiesce"]


class Case(threading.Thread):
    """An operation whose VMM is stopped at a point, and what came of it."""

    def __init__(self, point, work, box=None):
        super().__init__(daemon=True)
        self.point, self.work, self.box = point, work, box
        self.answer = self.stopped = None

    def run(self):
        self.answer = self.work(self.box)[:2]

    def stop_there(self, place, pid):
        """pid(): of the VMM, once the daemon stands still at the point."""
        with place.faults.holding(place.d, self.point) as wait:
            self.start()
            wait()
            self.stopped = pid()
            os.kill(self.stopped, signal.SIGSTOP)

    def ok(self):
        return self.answer[0] < 300

    def __str__(self):
        return f"{self.point}: {self.answer}"


class Place:
    def __init__(self, d, faults):
        self.d, self.faults = d, faults

    def make(self):
        """A sandbox with a file whose loss would be seen."""
        box = create(self.d)
        assert box.write("/root/kept", b"kept") and box.run("sync") == ""
        return box

    def vmm(self, box):
        """Its process, which may not be the VMM's program yet."""
        return lambda: wait_for(lambda: vmm_of(self.d.data_dir, box.id), f"the VMM of {box.id}")

    def settled(self, box):
        """The state, once the daemon has noticed that a VMM is gone."""
        state = box.state() or "none"
        pid = vmm_of(self.d.data_dir, box.id)
        return state if state != "running" or (pid and exists(pid)) else None

    def newest(self):
        """A VMM that has just been started."""
        known = set(vmms(self.d.data_dir))

        def find():
            return wait_for(lambda: next(iter(set(vmms(self.d.data_dir)) - known), None),
                            "a new VMM")
        return find

    def check(self, cases):
        for case in cases:
            case.join(BOUND_S)
            assert not case.is_alive(), f"{case.point}: no answer"
            wait_for(lambda case=case: not exists(case.stopped), f"{case}: the VMM to be gone",
                     BOUND_S)

    def check_box(self, box, case):
        """What is told of it is so. Gives the state."""
        state = wait_for(lambda: self.settled(box), f"{case}: a state")
        if state == "paused":
            status, answer = box.connect()
            assert status == 201, f"{case}: paused, but {status} {answer}"
        if state == "none":
            assert vmm_of(self.d.data_dir, box.id) is None, case
            assert death(self.d, box), case
            return state
        assert box.read("/root/kept") == (200, b"kept"), case
        assert box.works(), case
        return state


def exists(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def death(d, box):
    with contextlib.closing(sqlite3.connect(f"{d.data_dir}/sandpit.db")) as db:
        return db.execute("select reason, detail from deaths where sandbox_id = ?",
                          (box.id,)).fetchone()


@pytest.fixture
def place(own_daemon, tmp_path):
    require_fault_points()
    faults = Faults(tmp_path)
    d = own_daemon(extra=["--max-sandboxes", "64"], env={**faults.env, **NO_POOL})
    yield Place(d, faults)
    faults.set("")
    for sandbox in d.api("GET", "/v2/sandboxes?state=running,paused")[1]:
        assert d.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}")[0] == 204
    for snapshot in d.api("GET", "/snapshots")[1]:
        assert d.api("DELETE", f"/templates/{snapshot['snapshotID'].split(':')[0]}")[0] == 204
    wait_for(lambda: left_over(d.data_dir) == {}, "everything to be gone", BOUND_S)
    assert "fault injected" not in d.log_text()


@pytest.mark.parametrize("points,body", [(PAUSE, {}), (PAUSE_DISK, {"memory": False})],
                         ids=["memory", "disk"])
def test_pause(place, points, body):
    cases = [Case(p, lambda box: box.pause(**body), place.make()) for p in points]
    for case in cases:
        case.stop_there(place, place.vmm(case.box))
    place.check(cases)
    for case in cases:
        state = place.check_box(case.box, case)
        assert state == ("paused" if case.ok() else "none"), case


@pytest.mark.parametrize("points,body", [(RESUME, {}), (REBOOT, {"memory": False})],
                         ids=["memory", "disk"])
def test_resume(place, points, body):
    cases = [Case(p, lambda box: box.connect(), place.make()) for p in points]
    for case in cases:
        assert case.box.pause(**body) == (204, None)
    for case in cases:
        case.stop_there(place, place.vmm(case.box))
    place.check(cases)
    for case in cases:
        state = place.check_box(case.box, case)
        assert state == ("none" if case.ok() else "paused"), case


def test_create(place):
    def work(_):
        return place.d.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600})

    cases = [Case(p, work) for p in CREATE]
    for case in cases:
        case.stop_there(place, place.newest())
    place.check(cases)
    for case in cases:
        if case.ok():  # it was told of before it was known
            box = Box(place.d, case.answer[1])
            wait_for(lambda box=box: box.state() is None, f"{case}: to be gone", BOUND_S)
            assert death(place.d, box)[0] == "hung", case
    assert place.d.api("GET", "/v2/sandboxes")[1] == []


def test_snapshot(place):
    cases = [Case(p, lambda box: box.call("POST", "/snapshots", {}), place.make())
             for p in CHECKPOINT]
    for case in cases:
        case.stop_there(place, place.vmm(case.box))
    place.check(cases)
    listed = [s["snapshotID"] for s in place.d.api("GET", "/snapshots")[1]]
    assert sorted(listed) == sorted(c.answer[1]["snapshotID"] for c in cases if c.ok())
    for case in cases:
        assert place.check_box(case.box, case) == "none", case
        if case.ok():
            child = create(place.d, case.answer[1]["snapshotID"])
            assert child.read("/root/kept") == (200, b"kept"), case


def test_fork_of_a_stopped_parent(place):
    """Whose children stand on what was saved before."""
    cases = [Case(p, lambda box: box.call("POST", "/fork", {"count": 1}), place.make())
             for p in ("checkpoint.write", "checkpoint.cont", "checkpoint.state",
                       "checkpoint.quiesce")]
    for case in cases:
        case.stop_there(place, place.vmm(case.box))
    place.check(cases)
    for case in cases:
        assert place.check_box(case.box, case) == "none", case
        for child in case.answer[1] if case.ok() else []:
            assert place.check_box(Box(place.d, child["sandbox"]), case) == "running", case


def test_fork_with_a_stopped_child(place):
    cases = [Case(p, lambda box: box.call("POST", "/fork", {"count": 1}), place.make())
             for p in CREATE]
    for case in cases:
        case.stop_there(place, place.newest())
    place.check(cases)
    for case in cases:
        assert place.check_box(case.box, case) == "running", case
        for child in case.answer[1] if case.ok() else []:
            if "sandbox" in child:
                box = Box(place.d, child["sandbox"])
                wait_for(lambda box=box: box.state() is None, f"{case}: to be gone", BOUND_S)
            else:
                assert child["error"]["message"], case


def test_kill(place):
    """Of one that runs; and of one that is just paused or saved, which waits for that."""
    runs = Case("kill", lambda box: (box.kill(), None), place.make())
    runs.stopped = place.vmm(runs.box)()
    os.kill(runs.stopped, signal.SIGSTOP)
    runs.start()
    cases = [runs]
    for point, work in (("pause.stop", lambda box: box.pause()),
                        ("checkpoint.stop", lambda box: box.call("POST", "/snapshots", {}))):
        busy = Case(point, work, place.make())
        kill = Case("kill", lambda box: (box.kill(), None), busy.box)
        busy.stop_there(place, place.vmm(busy.box))
        kill.stopped = busy.stopped
        kill.start()
        cases += [busy, kill]
    place.check(cases)
    for case in cases:
        assert case.box.state() is None and death(place.d, case.box), case
        assert case.point != "kill" or case.answer[0] in (204, 404), case


def test_the_end_of_its_time(place):
    def expire(box):
        return box.call("POST", "/timeout", {"timeout": 0})

    kept = []
    for options in ({}, {"autoPause": True}, {"autoPause": True, "autoPauseMemory": False}):
        box = create(place.d, **options)
        pid = place.vmm(box)()
        os.kill(pid, signal.SIGSTOP)
        assert expire(box)[0] == 204
        kept.append((options, box, pid))
    for options, box, pid in kept:
        wait_for(lambda pid=pid: not exists(pid), f"{options}: the VMM to be gone", BOUND_S)
        wait_for(lambda box=box: box.state() is None, f"{options}: the sandbox to be gone")
        assert death(place.d, box)[0] == ("hung" if options else "deadline")


def test_nothing_goes_on(place):
    """One that is left alone is noticed too."""
    box = place.make()
    pid = place.vmm(box)()
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: not exists(pid), "the VMM to be gone", BOUND_S)
    assert place.check_box(box, "left alone") == "none"
    assert death(place.d, box)[0] == "hung"


def test_the_next_daemon_finds_one(place):
    box, other = place.make(), place.make()
    pid = place.vmm(box)()
    place.d.stop(signal.SIGKILL)
    os.kill(pid, signal.SIGSTOP)
    place.d.start()
    wait_for(lambda: not exists(pid), "the VMM to be gone", BOUND_S)
    assert place.check_box(box, "adoption") == "none"
    assert place.check_box(other, "adoption") == "running"


@pytest.mark.parametrize("kind", ["HOT", "WAITING"])
def test_a_spare(own_daemon, kind):
    """It costs the create that gets it, at most."""
    d = own_daemon(extra=["--ephemeral", "--metrics-port", "0"],
                   env={**NO_POOL, f"SANDPIT_POOL_{kind}": "1"})
    first = create(d)
    wait_for(lambda: Metrics(d).value("sandpit_spares", kind=kind.lower()) == 1, "a spare", 60)
    spare, = set(vmms(d.data_dir)) - {vmm_of(d.data_dir, first.id)}
    os.kill(spare, signal.SIGSTOP)
    status, answer, _ = d.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600})
    wait_for(lambda: not exists(spare), "the spare to be gone", BOUND_S)
    if status == 201:
        assert Box(d, answer).works()
    else:
        assert status >= 500 and answer["message"], answer
    assert create(d).works() and first.works()


def test_a_spare_that_a_resume_gets(own_daemon):
    """The sandbox keeps its memory: it goes on from it with the next VMM."""
    d = own_daemon(extra=["--ephemeral", "--metrics-port", "0"],
                   env={**NO_POOL, "SANDPIT_POOL_WAITING": "1"})
    box = create(d)
    assert box.write("/tmp/in-memory", b"kept")
    wait_for(lambda: Metrics(d).value("sandpit_spares", kind="waiting") == 1, "a spare", 60)
    spare, = set(vmms(d.data_dir)) - {vmm_of(d.data_dir, box.id)}
    boot = box.run("cat /proc/sys/kernel/random/boot_id")
    assert box.pause()[0] == 204
    os.kill(spare, signal.SIGSTOP)
    status, answer = box.connect()
    wait_for(lambda: not exists(spare), "the spare to be gone", BOUND_S)
    if status != 201:
        assert status >= 500 and answer["message"], answer
        assert box.state() == "paused"
        assert box.connect()[0] == 201
    assert box.run("cat /proc/sys/kernel/random/boot_id") == boot
    assert box.read("/tmp/in-memory") == (200, b"kept")
