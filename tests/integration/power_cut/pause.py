#!/usr/bin/env python3
"""What is recorded: a daemon, a sandbox in it, and its pause between two marks. Of the environment:
ROOT, the data directory; FACTS, the file to tell the rest in; the API key."""
import json
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from boxes import create, vmms  # noqa: E402
from conftest import Daemon  # noqa: E402

root = os.environ["ROOT"]
d = Daemon(root, extra=["--pool-hot", "0", "--pool-waiting", "0", "--accel", os.environ["ACCEL"]])
d.key = os.environ["E2B_API_KEY"]
try:
    d.start()
    box = create(d)
    assert box.write("/root/kept", os.urandom(300000))
    kept = box.run("sync; sha256sum /root/kept")
    pid = int(box.run("setsid sleep 1000000 >/dev/null 2>&1 </dev/null & echo $!"))
    modes = {p: os.stat(f"{root}/{p}").st_mode & 0o777 for p in ("", "layers", "run", "snapshots")}
    facts = {"id": box.id, "token": box.token, "kept": kept, "pid": pid, "modes": modes}
    pathlib.Path(os.environ["FACTS"]).write_text(json.dumps(facts))
    os.mkdir(f"{root}/begun")
    assert box.pause() == (204, None)
    os.mkdir(f"{root}/answered")
finally:
    d.stop(signal.SIGKILL)
    for p in vmms(root):
        os.kill(p, signal.SIGKILL)
