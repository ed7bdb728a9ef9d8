"""A paused sandbox goes on in a VMM that was waiting for whoever comes: nobody can tell but by the
time it takes. What goes wrong with that VMM costs nothing but the time."""
import os
import re
import signal
import threading

import pytest
from boxes import Box, create, groups, left_over, names, recorded_vmm, vmm_of, vmms
from conftest import http_status, wait_for
from faults import Faults, require_fault_points

POOL = {"SANDPIT_POOL_HOT": "0", "SANDPIT_POOL_WAITING": "1"}
TAKEOVER = ["pool.take", "vmm.replace_open", "vmm.replace_set", "vmm.replace_node",
            "vmm.replace_disk", "vmm.replace_remove"]
ROUNDS = 8  # more than there may be layers before they are merged


def waiting(d):
    """Spares that wait."""
    port = re.findall(r'"metrics are served","port":(\d+)', d.log_text())[-1]
    _, _, text = http_status(f"http://127.0.0.1:{port}/metrics")
    for line in text.decode().splitlines():
        if line.startswith('sandpit_spares{kind="waiting"}'):
            return int(line.split()[-1])
    return 0


def spares(d, box):
    """Processes, of which one at least is ready."""
    wait_for(lambda: waiting(d) > 0, "a spare")
    return set(vmms(d.data_dir)) - {vmm_of(d.data_dir, box.id)}


def spare(d, box):
    found = spares(d, box)
    assert len(found) == 1, found
    return found.pop()


def pause(d, box):
    assert box.pause() == (204, None)
    wait_for(lambda: vmm_of(d.data_dir, box.id) is None, "the VMM to be gone")


def resume_in_spare(d, box):
    found = spares(d, box)
    status, answer = box.connect()
    assert status == 201, answer
    assert vmm_of(d.data_dir, box.id) in found
    return vmm_of(d.data_dir, box.id)


class Held:
    """What a guest holds in its memory and on its disk."""

    def __init__(self, box):
        self.box = box
        self.files = {}
        self.pid = int(box.run("setsid sleep 1000000 >/dev/null 2>&1 </dev/null & echo $!"))
        self.put("/dev/shm/held", os.urandom(200000))

    def put(self, path, data):
        assert self.box.write(path, data)
        self.files[path] = data

    def check(self, box=None):
        box = box or self.box
        for path, data in self.files.items():
            assert box.read(path) == (200, data), path
        assert box.run(f"kill -0 {self.pid} && echo lives") == "lives\n"


@pytest.fixture
def place(own_daemon):
    """(daemon, a running sandbox, what is in it)."""
    d = own_daemon(env=POOL, extra=["--metrics-port", "0"])
    box = create(d)
    return d, box, Held(box)


def test_again_and_again(place):
    d, box, held = place
    for i in range(ROUNDS):
        held.put(f"/root/f{i}", os.urandom(100000))
        if i % 2:  # of others whose disk stands on the same layers
            status, answer, _ = box.call("POST", "/snapshots", {})
            assert status == 201, answer
            assert d.api("DELETE", f"/templates/{answer['snapshotID'].split(':')[0]}")[0] in \
                (200, 204)
        pause(d, box)
        resume_in_spare(d, box)
        held.check()
        box.run("sync; echo 3 > /proc/sys/vm/drop_caches")
        held.check()
    assert box.kill() == 204
    wait_for(lambda: len(vmms(d.data_dir)) == 1 and waiting(d) == 1, "the spare alone")
    wait_for(lambda: len(names(d.data_dir, "layers")) == len(names(d.data_dir, "run")) == 1,
             "all but the spare to be gone")
    assert names(d.data_dir, "run") == list(groups(d.data_dir)) or not groups(d.data_dir)
    d.stop()
    assert left_over(d.data_dir) == {}


def test_merged_layers(place):
    d, box, held = place
    snapshots = []
    for i in range(7):
        held.put(f"/root/f{i}", os.urandom(100000))
        status, answer, _ = box.call("POST", "/snapshots", {})
        assert status == 201, answer
        snapshots.append(answer["snapshotID"].split(":")[0])
    pause(d, box)
    resume_in_spare(d, box)
    held.check()
    status, answer, _ = box.call("POST", "/snapshots", {})
    assert status == 201, answer
    snapshots.append(answer["snapshotID"].split(":")[0])
    box.run("sync; echo 3 > /proc/sys/vm/drop_caches")
    held.check()
    child = create(d, snapshots[-1])
    held.check(child)
    assert child.kill() == 204
    for s in snapshots:
        assert d.api("DELETE", f"/templates/{s}")[0] in (200, 204)
    # The layers are merged while it runs, and let go of.
    wait_for(lambda: "the layers of a disk were merged" in d.log_text(), "a merge", 60)
    pause(d, box)
    resume_in_spare(d, box)
    held.check()
    assert box.kill() == 204


def test_forks_and_children(place):
    d, box, held = place
    held.put("/root/told", b"kept")
    pause(d, box)
    resume_in_spare(d, box)
    pid = spare(d, box)
    status, answer, _ = box.call("POST", "/fork", {"count": 2})
    assert status == 201, answer
    children = [Box(d, c["sandbox"]) for c in answer]
    assert pid in {vmm_of(d.data_dir, c.id) for c in children}
    assert children[0].write("/root/told", b"of the child")
    held.check(children[1])
    held.check()
    for c in children:
        pause(d, c)
        assert c.connect()[0] == 201
    assert children[0].read("/root/told") == (200, b"of the child")
    held.check(children[1])
    for b in (box, *children):
        assert b.kill() == 204


def test_a_later_daemon_finds_it(place):
    d, box, held = place
    pause(d, box)
    pid = resume_in_spare(d, box)
    name = recorded_vmm(d.data_dir, box.id)[1]
    assert name != box.id
    wait_for(lambda: waiting(d) == 1, "a spare")
    for _ in range(2):
        d.stop(signal.SIGKILL)
        d.start()
        assert vmm_of(d.data_dir, box.id) == pid
        held.check()
        if groups(d.data_dir):
            assert name in groups(d.data_dir)
        wait_for(lambda: waiting(d) == 1, "a spare")
        assert len(names(d.data_dir, "run")) == 2
    held.put("/root/told", b"kept")
    pause(d, box)
    resume_in_spare(d, box)
    held.check()
    # In order, too.
    d.stop()
    d.start()
    held.check()
    assert box.kill() == 204
    d.stop()
    assert left_over(d.data_dir) == {}


def test_its_vmm_ends(place):
    d, box, _ = place
    pause(d, box)
    os.kill(resume_in_spare(d, box), signal.SIGKILL)
    wait_for(lambda: box.state() is None, "the sandbox to be gone")
    wait_for(lambda: len(names(d.data_dir, "run")) == 1 and len(names(d.data_dir, "layers")) == 1,
             "all but the spare to be gone")


@pytest.fixture(scope="module")
def module_place(module_daemon, tmp_path_factory):
    require_fault_points()
    faults = Faults(tmp_path_factory.mktemp("faults"))
    d = module_daemon(env={**faults.env, **POOL}, extra=["--metrics-port", "0"])
    box = create(d)
    yield d, faults, box, Held(box)
    faults.set("")
    assert box.kill() == 204
    d.stop()
    assert left_over(d.data_dir) == {}


def ask(box, answers):
    try:
        answers.append(box.connect())
    except OSError:
        pass


@pytest.mark.parametrize("point", TAKEOVER)
def test_a_takeover_that_fails(module_place, point):
    d, faults, box, held = module_place
    pause(d, box)
    pid = spare(d, box)
    with faults.failing(point):
        status, answer = box.connect()
    assert status == 201, answer
    assert recorded_vmm(d.data_dir, box.id)[1] == box.id
    assert pid not in vmms(d.data_dir)
    held.check()
    wait_for(lambda: waiting(d) == 1, "another spare")
    assert len(names(d.data_dir, "run")) == len(names(d.data_dir, "layers")) == 2


@pytest.mark.parametrize("point", ["restore.fill", "restore.load", "vmm.load", "resume.record",
                                   "resume.retire"])
def test_a_resume_that_fails(module_place, point):
    d, faults, box, held = module_place
    pause(d, box)
    pid = spare(d, box)
    with faults.failing(point):
        status, answer = box.connect()
    assert status >= 500, answer
    assert box.state() == "paused"
    assert pid not in vmms(d.data_dir)
    resume_in_spare(d, box)
    held.check()
    wait_for(lambda: waiting(d) == 1, "another spare")
    assert len(names(d.data_dir, "run")) == len(names(d.data_dir, "layers")) == 2


@pytest.mark.parametrize("point", ["pool.take", "vmm.replace_set", "vmm.replace_disk",
                                   "vmm.replace_remove", "restore.fill", "restore.load",
                                   "resume.record", "store.sandbox_put", "resume.retire",
                                   "restore.cont", "resume.refresh"])
def test_a_daemon_that_is_killed_meanwhile(module_place, point):
    d, faults, box, held = module_place
    pause(d, box)
    spare(d, box)
    answers = []
    with faults.holding(d, point) as wait:
        asked = threading.Thread(target=ask, args=(box, answers))
        asked.start()
        wait()
        d.stop(signal.SIGKILL)
    asked.join(60)
    d.start()
    assert box.state() in ("paused", "running")
    assert box.connect()[0] in (200, 201)
    held.check()
    wait_for(lambda: waiting(d) == 1 and len(vmms(d.data_dir)) == 2, "another spare")
    assert len(names(d.data_dir, "run")) == len(names(d.data_dir, "layers")) == 2
    if groups(d.data_dir):
        assert sorted(groups(d.data_dir)) == names(d.data_dir, "run")


def test_a_vmm_that_is_killed_meanwhile(module_place):
    d, faults, box, held = module_place
    pause(d, box)
    pid = spare(d, box)
    answers = []
    with faults.holding(d, "vmm.replace_disk") as wait:
        asked = threading.Thread(target=ask, args=(box, answers))
        asked.start()
        wait()
        os.kill(pid, signal.SIGKILL)
    asked.join(60)
    assert [a[0] for a in answers] == [201]
    assert recorded_vmm(d.data_dir, box.id)[1] == box.id
    held.check()
