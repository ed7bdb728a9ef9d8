"""The daemon is killed at random moments, again and again: what a client was told stays true. So it
does when the disk is full for a while.

SANDPIT_SURVIVAL_ROUNDS sets the number of kills (5), SANDPIT_SURVIVAL_SEED the sequence.
"""
import http.client
import os
import random
import signal
import threading
import time

import pytest
from boxes import Box, create, left_over, vmm_of
from conftest import wait_for
from faults import Faults, require_fault_points
from small_disk import SmallDisk

ROUNDS = int(os.environ.get("SANDPIT_SURVIVAL_ROUNDS", "5"))
SEED = int(os.environ.get("SANDPIT_SURVIVAL_SEED", str(random.randrange(1 << 30))))
WORKERS = 3
LONGEST_ROUND_S = 4

LOST = (OSError, http.client.HTTPException)  # the daemon went away under a request


class Refused(Exception):
    """Rightly: the disk is full."""


class Told:
    """A sandbox and what its client was told about it."""

    def __init__(self, box, state="running", files=None, pid=None):
        self.box = box
        self.state = state
        self.files = dict(files or {})
        self.writing = {}  # asked for, not answered: old or new
        self.pid = pid     # of a process in it that must live on
        self.doubtful = set()  # of "state", "kill": asked for, not answered


class Worker(threading.Thread):
    """Does one thing after the other to sandboxes of its own, until the daemon is gone."""

    def __init__(self, daemon, rng, told, snapshots):
        super().__init__(daemon=True)
        self.d = daemon
        self.rng = rng
        self.told = told
        self.snapshots = snapshots
        self.doing = "nothing"
        self.done = []
        self.error = None  # with the time of it, and whether it is an answer that is not right
        self.failed_at, self.is_wrong = 0, False
        self.stopping = False
        self.full = False  # the disk

    def run(self):
        try:
            while not self.stopping:
                self.step()
        except LOST:
            pass
        except Exception as e:
            self.error = f"{self.doing}: {e!r}"
            self.failed_at = time.monotonic()
            self.is_wrong = isinstance(e, AssertionError)

    def step(self):
        if not self.told:
            return self.create()
        actions = [self.write] * 3 + [self.pause, self.resume] * 2 + [self.snapshot, self.fork,
                                                                      self.kill, self.create]
        action = self.rng.choice(actions)
        self.doing = action.__name__
        try:
            action(self.rng.choice(self.told))
            self.done.append(self.doing)
        except Refused:
            self.done.append(self.doing + " refused")

    def expect(self, answer, *statuses):
        if self.full and answer[0] in (500, 503):
            raise Refused
        assert answer[0] in statuses, f"{self.doing}: {answer[0]} {answer[1]}"
        return answer[1]

    def running(self, t):
        if t.state == "paused":
            self.resume(t)

    def create(self, _=None):
        if len(self.told) >= 2 or self.full:
            return
        try:
            t = Told(create(self.d))
        except AssertionError:
            if self.full:  # since it was begun
                raise Refused from None
            raise
        self.told.append(t)
        t.pid = start_process(t.box)

    def write(self, t):
        self.running(t)
        path, data = f"/root/f{self.rng.randrange(4)}", self.rng.randbytes(3000)
        t.writing[path] = data
        if t.box.write(path, data):
            t.files[path] = data
            del t.writing[path]

    def pause(self, t):
        if t.state == "running":
            t.doubtful.add("state")
            self.expect(t.box.pause(), 204)
            t.doubtful.discard("state")
            t.state = "paused"

    def resume(self, t):
        t.doubtful.add("state")
        self.expect(t.box.connect(), 200, 201)
        t.doubtful.discard("state")
        t.state = "running"

    def kill(self, t):
        t.doubtful.add("kill")
        answer = t.box.call("DELETE")
        # Refused, it is hidden, and ends later: nothing was told of it that could be looked at.
        self.told.remove(t)
        self.expect(answer, 204)

    def snapshot(self, t):
        if len(self.snapshots) >= 4:
            return
        self.running(t)
        answer = self.expect(t.box.call("POST", "/snapshots", {}), 201)
        self.snapshots.append((answer["snapshotID"], dict(t.files)))

    def fork(self, t):
        if len(self.told) >= 2:
            return
        self.running(t)
        for child in self.expect(t.box.call("POST", "/fork", {"count": 1}), 201):
            if "sandbox" in child:
                self.told.append(Told(Box(self.d, child["sandbox"]), files=t.files, pid=t.pid))


def start_process(box):
    return int(box.run("setsid sleep 1000000 >/dev/null 2>&1 </dev/null & echo $!"))


def check(t, where):
    """What the client was told of this sandbox is so. False when it is rightly gone."""
    state = t.box.state()
    if state is None and "kill" in t.doubtful:
        return False
    assert state is not None, f"{where}: a sandbox is lost: {t.box.id}"
    assert state == t.state or "state" in t.doubtful, (where, state, t.state)
    status, answer = t.box.connect()
    assert status in (200, 201), (where, t.state, t.doubtful, answer)
    for path, data in {**t.files, **t.writing}.items():
        status, found = t.box.read(path)
        old = t.files.get(path)
        right = (found in (old, t.writing.get(path), data)) if path in t.writing else found == data
        if path in t.writing:
            right = right or old is None or status == 404
            t.files.pop(path, None)
        assert right, f"{where}: {path} of {t.box.id} is not what was written ({status})"
    if t.pid:
        assert t.box.run(f"kill -0 {t.pid} && echo lives") == "lives\n", (where, t.box.id)
    t.state, t.doubtful, t.writing = "running", set(), {}
    return True


def end_all(daemon, told, snapshots, root=""):
    """Take back everything that was told, and what was made and not told; nothing is left then."""
    status, listed, _ = daemon.api("GET", "/snapshots?limit=100")
    assert status == 200
    listed = [x["snapshotID"] for x in listed]
    assert {x for x, _ in snapshots} <= set(listed)
    for snapshot_id in listed:
        status, answer, _ = daemon.api("DELETE", f"/templates/{snapshot_id.split(':')[0]}")
        assert status in (200, 204), answer
    for t in told:
        assert t.box.kill() == 204
    daemon.stop()
    daemon.start()
    wait_for(lambda: not busy(daemon, root), "the rows to be gone", 60)
    daemon.stop()
    assert left_over(daemon.data_dir, root) == {}


def busy(daemon, root=""):
    return [k for k in left_over(daemon.data_dir, root) if k.startswith("rows")]


class Survival:
    """Rounds of work, each cut short by a kill, and what was told in all of them."""

    def __init__(self, daemon, workers):
        print("seed", SEED)
        self.d = daemon
        self.rng = random.Random(SEED)
        self.told = [[] for _ in range(workers)]
        self.snapshots = []
        self.actions = {}

    def round(self, where, disk=None):
        workers = [Worker(self.d, random.Random(self.rng.random()), mine, self.snapshots)
                   for mine in self.told]
        for w in workers:
            w.start()
        time.sleep(self.rng.uniform(0.05, LONGEST_ROUND_S))  # the moment is what is random
        if disk:
            for w in workers:
                w.full = True
            disk.fill()
            time.sleep(self.rng.uniform(0.05, LONGEST_ROUND_S))
        killed_at = time.monotonic()
        self.d.stop(signal.SIGKILL)
        if disk:
            disk.empty()
        for w in workers:
            w.stopping = True
            w.join(100)
            assert not w.is_alive(), where
            # The Python client has many words for a daemon that went away.
            excused = not w.error or w.failed_at >= killed_at and not w.is_wrong
            assert excused, (where, w.error)
            for name in w.done:
                self.actions[name] = self.actions.get(name, 0) + 1
        self.d.start()
        self.check(where)

    def check(self, where):
        for mine in self.told:
            mine[:] = [t for t in mine if check(t, where)]
        known = {t.box.id for mine in self.told for t in mine}
        status, listed, _ = self.d.api("GET", "/v2/sandboxes?state=running,paused&limit=100")
        assert status == 200
        for s in listed:  # its creator was never told
            if s["sandboxID"] not in known:
                assert self.d.api("DELETE", f"/sandboxes/{s['sandboxID']}")[0] == 204

    def end(self, root=""):
        for snapshot_id, files in self.snapshots:
            child = create(self.d, snapshot_id)
            for path, data in files.items():
                assert child.read(path) == (200, data)
            assert child.kill() == 204
        print("actions", self.actions)
        end_all(self.d, [t for mine in self.told for t in mine], self.snapshots, root)


def test_kills_at_random_moments(own_daemon):
    survival = Survival(own_daemon(), WORKERS)
    for n in range(ROUNDS):
        survival.round(f"seed {SEED}, round {n}")
    survival.end()


def test_kills_while_the_disk_is_full(data_dir, tmp_path):
    disk = SmallDisk(tmp_path, 900)
    d = disk.daemon(data_dir)
    try:
        d.start()
        survival = Survival(d, 1)
        for n in range(ROUNDS):
            survival.round(f"seed {SEED}, round {n} with a full disk", disk)
        survival.end(disk.root)
    finally:
        d.stop(signal.SIGKILL)
        disk.close()


# Where the daemon is killed, by what it is doing then; whether a running sandbox or a paused one.
PAUSE = ["pause.quiesce", "pause.drain", "pause.stop", "pause.state", "pause.write",
         "snapshot.begin", "snapshot.state", "snapshot.memory", "snapshot.manifest",
         "snapshot.sync", "snapshot.rename", "snapshot.parent", "pause.record", "store.commit"]
RESUME = ["resume.source", "resume.restore", "restore.start", "vmm.run_dir", "vmm.spawn",
          "vmm.qmp", "restore.fill", "memory.apply", "restore.load", "vmm.load", "resume.record",
          "store.commit", "resume.retire", "restore.cont", "resume.refresh"]


@pytest.fixture(scope="module")
def held_daemon(module_daemon, tmp_path_factory):
    require_fault_points()
    faults = Faults(tmp_path_factory.mktemp("faults"))
    d = module_daemon(env={**faults.env, "SANDPIT_POOL_HOT": "0", "SANDPIT_POOL_WAITING": "0"})
    box = create(d)
    assert box.write("/root/told", b"kept")
    t = Told(box, files={"/root/told": b"kept"}, pid=start_process(box))
    yield d, faults, t
    end_all(d, [t], [])


@pytest.mark.parametrize("what,point", [("pause", p) for p in PAUSE] + [("connect", p)
                                                                        for p in RESUME])
def test_a_kill_at_each_step(held_daemon, what, point):
    d, faults, t = held_daemon
    if what == "connect":
        assert t.box.pause()[0] == 204
        t.state = "paused"
    t.doubtful.add("state")
    with faults.holding(d, point) as wait:
        asked = threading.Thread(target=ask, args=(t.box, what), daemon=True)
        asked.start()
        wait()
        d.stop(signal.SIGKILL)
        asked.join(60)
    d.start()
    assert check(t, f"{what} at {point}")
    wait_for(lambda: counts(d) == {"vmms": 1, "run": 1, "layers": 1, "rows of sandboxes": 1,
                                   "rows of layers": 1}, "what was left to be gone")


@pytest.mark.parametrize("point,keeps", [("resume.retire", True), ("restore.cont", False),
                                         ("resume.refresh", False)])
def test_a_kill_of_all_in_a_resume(held_daemon, point, keeps):
    """The VM goes too: what the row calls running is paused, with what its guest had written out
    when it has its disk alone."""
    d, faults, _ = held_daemon
    box = create(d)
    assert box.write("/root/told", b"kept") and (keeps or box.run("sync") == "")
    t = Told(box, "paused", {"/root/told": b"kept"}, start_process(box) if keeps else None)
    assert box.pause()[0] == 204
    with faults.holding(d, point) as wait:
        asked = threading.Thread(target=ask, args=(box, "connect"), daemon=True)
        asked.start()
        wait()
        d.stop(signal.SIGKILL)
        asked.join(60)
    os.kill(vmm_of(d.data_dir, box.id), signal.SIGKILL)
    d.start()
    assert check(t, f"all killed at {point}")
    assert box.kill() == 204


@pytest.mark.parametrize("point,keeps", [("flush.restore", True), ("flush.forget", True),
                                         ("flush.cont", False), ("flush.sync", False)])
def test_a_kill_in_a_boot_of_what_has_its_memory(held_daemon, point, keeps):
    """It is paused again: with its memory as long as its guest has not run, with its disk then."""
    d, faults, other = held_daemon
    box = create(d)
    assert box.write("/root/told", b"kept") and (keeps or box.run("sync") == "")
    t = Told(box, "paused", {"/root/told": b"kept"}, start_process(box) if keeps else None)
    assert box.pause()[0] == 204
    with faults.holding(d, point) as wait:
        asked = threading.Thread(target=ask, args=(box, "connect", {"memory": False}), daemon=True)
        asked.start()
        wait()
        d.stop(signal.SIGKILL)
        asked.join(60)
    d.start()
    assert box.state() == "paused" and vmm_of(d.data_dir, box.id) is None
    assert check(t, f"killed at {point}") and check(other, f"killed at {point}")
    assert box.kill() == 204


def counts(d):
    return {k: v if isinstance(v, int) else len(v) for k, v in left_over(d.data_dir).items()}


def test_an_adopted_sandbox_can_be_saved(held_daemon):
    d, _, t = held_daemon
    d.stop(signal.SIGKILL)
    d.start()
    status, answer, _ = t.box.call("POST", "/snapshots", {})
    assert status == 201, answer
    child = create(d, answer["snapshotID"])
    assert child.read("/root/told") == (200, b"kept")
    assert child.kill() == 204
    assert check(t, "after a snapshot")


def ask(box, what, body=None):
    body = {"timeout": 600, **(body or {})} if what == "connect" else {}
    try:
        box.call("POST", f"/{what}", body)
    except LOST:
        pass
