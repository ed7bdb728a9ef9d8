#!/usr/bin/env python3
"""A look at what a power cut left: SCRATCH VIEW STEP LAST. In a mount namespace of its own the data
directory is where it was, the host is another boot's, and a daemon starts.

A sandbox is there, and paused: either its pause counts, and everything goes on, or it does not, and
its disk is left. Once the pause was answered it counts. Nothing else is left of it at the end."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from boxes import Box, left_over, vmms  # noqa: E402
from conftest import Daemon  # noqa: E402

IN_ITS_PLACE = """mount --bind "$0" "$1" && mount --bind "$2" /proc/sys/kernel/random/boot_id &&
shift 2 && exec "$@" """


def is_whole(folder):
    """What its row says, from a copy: whether its pause counts."""
    with tempfile.TemporaryDirectory() as copy:
        for path in pathlib.Path(folder).glob("sandpit.db*"):
            shutil.copy(path, copy)
        with contextlib.closing(sqlite3.connect(f"{copy}/sandpit.db")) as db:
            rows = db.execute("select state, snapshot_id, filesystem_only from sandboxes").fetchall()
    assert len(rows) == 1 and rows[0][0] == "paused", rows
    assert bool(rows[0][1]) != bool(rows[0][2]), rows
    return bool(rows[0][1])


def boots(counts, view):
    """Under emulation a boot takes long: one, of what is hardest."""
    if os.environ["EVERYTHING"] == "yes":
        return True
    counts["boots"] += view == "least"
    return view == "least" and counts["boots"] == 1


def look(d, facts, counts, view, must_be_whole):
    box = Box(d, {"sandboxID": facts["id"], "envdAccessToken": facts["token"]})
    assert box.state() == "paused"
    whole = is_whole(d.data_dir_seen)
    assert whole or not must_be_whole, "the pause was answered, and is forgotten"
    counts["whole" if whole else "disk"] += 1
    if whole or boots(counts, view):
        status, answer = box.connect()
        assert status == 201, answer
        # From the disk, not from what the guest's memory has of it.
        assert box.run("echo 3 >/proc/sys/vm/drop_caches; sha256sum /root/kept") == facts["kept"]
        lives = box.run(f"kill -0 {facts['pid']} && echo lives; true") == "lives\n"
        assert lives == whole
    assert box.kill() == 204


def main():
    scratch, view, step, last = sys.argv[1:]
    root = os.environ["ROOT"]
    path = pathlib.Path(os.environ["FACTS"])
    facts = json.loads(path.read_text())
    counts = facts.setdefault("counts", {"whole": 0, "disk": 0, "boots": 0})
    boot_id = f"{path}.boot_id"
    pathlib.Path(boot_id).write_text("11111111-2222-4333-8444-555555555555\n")
    for folder, mode in facts["modes"].items():
        if os.path.isdir(f"{scratch}/{folder}"):
            os.chmod(f"{scratch}/{folder}", mode)
    d = Daemon(root, extra=["--pool-hot", "0", "--pool-waiting", "0", "--accel", os.environ["ACCEL"]],
               wrap=["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_ITS_PLACE,
                     scratch, root, boot_id])
    d.data_dir_seen = scratch
    d.key = os.environ["E2B_API_KEY"]
    try:
        d.start()
        look(d, facts, counts, view, step == last)
        assert d.stop() == 0
        assert left_over(scratch) == {} and vmms(root) == []
    finally:
        d.stop(signal.SIGKILL)
        for pid in vmms(root):
            os.kill(pid, signal.SIGKILL)
    path.write_text(json.dumps(facts))


main()
