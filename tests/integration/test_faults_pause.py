"""What goes wrong while a sandbox is paused, resumed, saved or made: the API tells the truth, and
the sandbox runs, or is paused and can be resumed."""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading

import pytest
from conftest import SANDPIT, wait_for
from faults import Faults, require_fault_points
from small_disk import SmallDisk
from boxes import create, left_over, names, row_count, vmm_of

NO_POOL = {"SANDPIT_POOL_HOT": "0", "SANDPIT_POOL_WAITING": "0"}

SAVE = ["snapshot.begin", "snapshot.state", "snapshot.memory", "snapshot.manifest",
        "snapshot.sync", "snapshot.rename", "snapshot.parent", "vmm.save", "vmm.save_fd"]
PAUSE = ["pause.quiesce", "pause.sync", "pause.drain", "pause.stop", "pause.state", "pause.write",
         "pause.record", "store.sandbox_put", "store.commit"] + SAVE
# The memory is kept when these fail, since the guest has not run yet.
RESTORE = ["restore.start", "restore.fill", "restore.load", "memory.apply", "vmm.run_dir",
           "vmm.socket", "vmm.console", "vmm.spawn", "vmm.qmp", "vmm.memory", "vmm.overlay",
           "vmm.origin",
           "vmm.layer", "vmm.load", "vmm.load_fd"]
RESUME = ["resume.source", "resume.restore", "resume.record", "resume.retire",
          "store.sandbox_put"] + RESTORE
RAN = ["restore.cont", "resume.refresh"]
REBOOT = ["resume.forget", "boot.start", "boot.hello", "resume.configure",
          "resume.record_boot"]
# A boot of what was paused with its memory: the disk is booted all the same.
FLUSH = ["flush.source", "flush.restore", "flush.forget", "flush.cont", "flush.sync"]
CHECKPOINT = ["checkpoint.quiesce", "checkpoint.name_layer", "checkpoint.stop",
              "checkpoint.state", "checkpoint.copy", "memory.capture", "checkpoint.disk",
              "checkpoint.cont", "checkpoint.write", "checkpoint.publish", "vmm.switch_create",
              "vmm.switch_disk", "vmm.switch_fd", "vmm.switch_node"] + SAVE
CREATE = ["create.admit", "create.template", "create.restore", "create.configure",
          "create.record", "restore.cont", "memory.load", "store.commit"] + \
    [p for p in RESTORE if p != "memory.apply"]
POOL = ["restore.start", "restore.load", "restore.cont", "vmm.spawn"]
# Driven by others: boots of templates, adoption, merged layers, takeovers, unit tests.
ELSEWHERE = {"create.clock", "http2.read-cached", "image.publish", "image.snapshot", "pool.take",
             "vmm.adopt", "vmm.cgroup", "vmm.cont", "vmm.merge_disk", "vmm.record",
             "vmm.replace_disk", "vmm.replace_node", "vmm.replace_open", "vmm.replace_remove",
             "vmm.replace_set", "vmm.set_link", "vmm.start", "vmm.template"}


@pytest.fixture(scope="module")
def module_place(module_daemon, tmp_path_factory):
    require_fault_points()
    faults = Faults(tmp_path_factory.mktemp("faults"))
    d = module_daemon(env={**faults.env, **NO_POOL})
    box = create(d)
    assert box.write("/root/kept", b"kept")
    box.pid = int(box.run("setsid sleep 1000000 >/dev/null 2>&1 </dev/null & echo $!"))
    yield d, faults, box
    assert box.kill() == 204
    wait_for(lambda: left_over(d.data_dir) == {}, "everything to be gone")


@pytest.fixture
def place(module_place):
    """(daemon, faults, a running sandbox with a process and a file in it)."""
    d, faults, box = module_place
    faults.set("")
    assert box.connect()[0] in (200, 201)
    return d, faults, box


def assert_failed(answer):
    """By no mistake of the client."""
    assert answer[0] >= 500 and answer[1]["message"], answer


def assert_whole(box):
    """The sandbox runs with all that was in it."""
    assert box.state() == "running"
    assert box.read("/root/kept") == (200, b"kept")
    assert box.run(f"kill -0 {box.pid} && echo lives") == "lives\n"


def assert_nothing_else(d, box, layers=1):
    wait_for(lambda: names(d.data_dir, "snapshots") == [], "the snapshot to be gone")
    assert len(names(d.data_dir, "run")) == 1
    if layers:
        wait_for(lambda: len(names(d.data_dir, "layers")) == layers, "the layers to be gone")


def test_every_fault_point_is_driven():
    listed = require_fault_points()
    driven = set(PAUSE + RESUME + RAN + REBOOT + FLUSH + CHECKPOINT + CREATE + POOL)
    assert sorted(set(listed) - driven - ELSEWHERE) == []


@pytest.mark.parametrize("point", PAUSE)
def test_a_pause_that_fails(place, point):
    d, faults, box = place
    with faults.failing(point):
        # Which of its file systems' writing is a step of alone.
        status, answer = box.pause(memory=point != "pause.sync")
    assert status >= 500 and point.split(".")[0] in d.log_text(), (status, answer)
    assert_whole(box)
    assert_nothing_else(d, box)


@pytest.mark.parametrize("point", RESUME)
def test_a_resume_that_fails(place, point):
    d, faults, box = place
    assert box.pause() == (204, None)
    with faults.failing(point):
        status, answer = box.connect()
    assert_failed((status, answer))
    assert box.state() == "paused"
    assert names(d.data_dir, "run") == []
    status, answer = box.connect()
    assert status == 201, answer
    assert_whole(box)
    assert_nothing_else(d, box)


@pytest.mark.parametrize("point", RAN)
def test_a_resume_that_fails_after_the_guest_ran(place, point):
    d, faults, _ = place
    box = create(d)
    assert box.write("/root/kept", b"kept") and box.run("sync") == ""
    assert box.pause() == (204, None)
    with faults.failing(point):
        status, answer = box.connect()
    assert_failed((status, answer))
    assert box.state() == "paused"
    status, answer = box.connect()
    assert status == 201, answer
    assert box.read("/root/kept") == (200, b"kept")
    assert box.kill() == 204


@pytest.mark.parametrize("point", REBOOT)
def test_a_boot_that_fails(place, point):
    d, faults, _ = place
    box = create(d)
    assert box.write("/root/kept", b"kept")
    assert box.pause(memory=False) == (204, None)
    with faults.failing(point):
        status, answer = box.connect()
    assert_failed((status, answer))
    assert box.state() == "paused"
    status, answer = box.connect()
    assert status == 201, answer
    assert box.read("/root/kept") == (200, b"kept")
    assert box.kill() == 204


@pytest.mark.parametrize("point", FLUSH)
def test_a_boot_whose_memory_fails(place, point):
    d, faults, _ = place
    box = create(d)
    assert box.write("/root/kept", b"kept") and box.run("sync") == ""
    assert box.pause() == (204, None)
    with faults.failing(point):
        status, answer = box.connect(memory=False)
    assert status == 201, answer
    assert box.read("/root/kept") == (200, b"kept")
    lost = [line for line in d.log_text().splitlines() if "had not written out is lost" in line]
    assert box.id in lost[-1] and point in lost[-1]
    wait_for(lambda: names(d.data_dir, "snapshots") == [], "the snapshot to be gone")
    assert box.kill() == 204


@pytest.mark.parametrize("point", CHECKPOINT)
def test_a_snapshot_that_fails(place, point):
    d, faults, box = place
    with faults.failing(point):
        status, answer, _ = box.call("POST", "/snapshots", {})
    assert_failed((status, answer))
    assert_whole(box)
    assert_nothing_else(d, box, layers=None)
    assert d.api("GET", "/snapshots")[1] == []
    status, answer, _ = box.call("POST", "/snapshots", {})
    assert status == 201, answer
    child = create(d, answer["snapshotID"])
    assert child.read("/root/kept") == (200, b"kept")
    assert child.kill() == 204
    status, answer, _ = d.api("DELETE", f"/templates/{answer['snapshotID'].split(':')[0]}")
    assert status in (200, 204), answer


@pytest.mark.parametrize("point", CREATE)
def test_a_create_that_fails(place, point):
    d, faults, box = place
    before = names(d.data_dir, "layers")
    if point == "memory.load":
        d.stop()  # which has the template's memory already
        d.start()
    with faults.failing(point):
        status, answer, _ = d.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 60})
    assert_failed((status, answer))
    assert names(d.data_dir, "run") == [box.id]
    assert names(d.data_dir, "layers") == before
    other = create(d)
    assert other.works()
    assert other.kill() == 204


@pytest.mark.parametrize("point", POOL)
def test_a_spare_that_fails(own_daemon, tmp_path, point):
    require_fault_points()
    faults = Faults(tmp_path)
    faults.set(point)
    d = own_daemon(env=faults.env)
    wait_for(lambda: "a spare was not made" in d.log_text(), "a spare to fail")
    wait_for(lambda: left_over(d.data_dir) == {}, "the spare to be gone")
    faults.set("")
    box = create(d)
    assert box.works()
    assert box.kill() == 204


def test_a_kill_that_cannot_be_written_down(place):
    """Whoever asked is told, and it is written down as soon as it can be."""
    d, faults, other = place
    box = create(d)
    with faults.failing("store.commit"):
        for _ in range(2):
            status, answer, _ = box.call("DELETE")
            assert status == 503 and "disk" in answer["message"], (status, answer)
            assert box.state() is None and vmm_of(d.data_dir, box.id) is None
        assert row_count(d.data_dir, "sandboxes") == 2
    wait_for(lambda: row_count(d.data_dir, "sandboxes") == 1, "the row to be gone")
    assert box.kill() == 404
    assert_whole(other)


def test_a_vmm_that_stands_still_at_a_pause(place):
    """It is given up after its deadline: the sandbox is gone, and that is what is told."""
    d, _, _ = place
    box = create(d)
    os.kill(vmm_of(d.data_dir, box.id), signal.SIGSTOP)
    status, answer = box.pause()
    assert status >= 400, (status, answer)
    wait_for(lambda: box.state() is None, "the sandbox to be gone", 60)
    assert vmm_of(d.data_dir, box.id) is None


def test_a_vmm_that_stands_still_for_a_while_at_a_pause(place):
    d, faults, box = place
    pid = vmm_of(d.data_dir, box.id)
    answers = []
    with faults.holding(d, "pause.stop") as wait:
        asked = threading.Thread(target=lambda: answers.append(box.pause()))
        asked.start()
        wait()
        os.kill(pid, signal.SIGSTOP)
    threading.Timer(2, os.kill, (pid, signal.SIGCONT)).start()
    asked.join(60)
    assert answers == [(204, None)]
    assert box.connect()[0] == 201
    assert_whole(box)


def test_a_vmm_that_stands_still_at_a_resume(place):
    d, faults, box = place
    assert box.pause() == (204, None)
    answers = []
    with faults.holding(d, "restore.load") as wait:
        asked = threading.Thread(target=lambda: answers.append(box.connect()))
        asked.start()
        wait()
        os.kill(vmm_of(d.data_dir, box.id), signal.SIGSTOP)
    asked.join(90)
    assert answers[0][0] >= 500, answers
    assert box.state() == "paused"
    assert box.connect()[0] == 201
    assert_whole(box)


@pytest.mark.parametrize("name", ["memory", "state", "snapshot.json"])
def test_a_damaged_snapshot(place, name):
    d, _, box = place
    assert box.pause() == (204, None)
    folder = pathlib.Path(d.data_dir) / "snapshots" / names(d.data_dir, "snapshots")[0]
    flip(folder / name)
    for _ in range(2):
        status, answer = box.connect()
        assert status >= 500 and "damaged" in answer["message"], (status, answer)
        assert box.state() == "paused" and folder.exists()
    flip(folder / name)
    assert box.connect()[0] == 201
    assert_whole(box)


def test_doctor_names_what_cannot_be_used_and_what_may_go(place):
    d, _, box = place
    assert box.pause() == (204, None)
    folder = pathlib.Path(d.data_dir) / "snapshots" / names(d.data_dir, "snapshots")[0]
    old = pathlib.Path(d.data_dir) / "sandpit.db.v1"
    old.write_bytes(b"x" * 8192)

    def notes():
        done = subprocess.run([SANDPIT, "doctor", "--data-dir", d.data_dir, "--accel", "tcg"],
                              capture_output=True, text=True)
        return [line for line in done.stdout.splitlines() if line.startswith("note ")]

    template = pathlib.Path(d.data_dir) / "templates/one"
    template.mkdir(parents=True)
    (template / "rootfs").write_bytes(os.urandom(5 << 20))
    assert any(re.search(r"keeps 5 MiB of templates, \d+ MiB of saved memory", n) for n in notes())
    shutil.rmtree(template.parent)
    assert any(f"{old} (8 KiB)" in n for n in notes())
    assert not any(box.id in n for n in notes())
    flip(folder / "snapshot.json")
    assert any(f"sandpit kill {box.id} removes it" in n for n in notes())
    flip(folder / "snapshot.json")
    old.unlink()
    assert box.connect()[0] == 201
    assert_whole(box)


def flip(path):
    """One bit, in the middle."""
    with open(path, "r+b") as f:
        at = os.path.getsize(path) // 2
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))


def test_a_full_disk(data_dir, tmp_path):
    disk = SmallDisk(tmp_path, 640)
    d = disk.daemon(data_dir, env=NO_POOL)
    try:
        d.start()
        box = create(d)
        assert box.write("/root/kept", b"kept")
        box.pid = int(box.run("setsid sleep 1000000 >/dev/null 2>&1 </dev/null & echo $!"))
        for leave_mb in (32, 1):
            disk.fill(leave_mb)
            status, answer = box.pause()
            assert status == 503 and "disk is full" in answer["message"], (status, answer)
            assert_whole(box)
            status, answer, _ = d.api("POST", "/v2/sandboxes", {"templateID": "base"})
            assert status == 503 and "disk" in answer["message"], (status, answer)
        disk.empty()
        assert box.pause() == (204, None)
        assert box.connect()[0] == 201
        assert_whole(box)
        disk.fill()
        assert box.kill() in (204, 503)
        disk.empty()
        wait_for(lambda: row_count(disk.folder, "sandboxes", disk.root) == 0, "its row to be gone")
        d.stop()
        assert left_over(disk.folder, disk.root) == {}
    finally:
        d.stop(signal.SIGKILL)
        disk.close()
