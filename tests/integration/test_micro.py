"""Sandboxes of a template with the small kernel. It is built here when the cache has that kernel,
since building it takes all processors for minutes."""
import os
import pathlib
import subprocess
import time
import uuid

import pytest

from conftest import SANDPIT, Daemon, wait_for
from states import Everything, boot_id


def kernels():
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    return list((cache / "sandpit/image").glob("micro-kernel-*"))


@pytest.fixture(scope="module")
def micro(tmp_path_factory, data_dir):
    if os.geteuid() != 0:
        pytest.skip("building an image needs root")
    if not kernels():
        pytest.skip("no small kernel in the cache: run sandpit image build --kernel=micro first")
    folder = tmp_path_factory.mktemp("micro-data")
    os.chmod(folder, 0o711)
    # Of another configuration or compiler than the one in the cache it would have to be built.
    programs = tmp_path_factory.mktemp("programs")
    (programs / "make").write_text("#!/bin/sh\necho not in a test >&2\nexit 1\n")
    (programs / "make").chmod(0o755)
    done = subprocess.run([SANDPIT, "image", "build", "--kernel=micro", "--data-dir", str(folder)],
                          env=dict(os.environ, PATH=f"{programs}:{os.environ['PATH']}"),
                          capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if "not in a test" in done.stderr or "needs these packages" in done.stderr:
        pytest.skip("the small kernel in the cache is of another configuration or compiler")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    d = Daemon(str(folder), extra=["--ephemeral"]).start()
    yield d
    assert d.stop() == 0


@pytest.fixture
def sbx(micro):
    from e2b import Sandbox

    box = Sandbox.create(timeout=600, **access(micro))
    yield box
    box.kill()


def access(daemon):
    return {"api_key": daemon.key, "api_url": daemon.api_url, "sandbox_url": daemon.proxy_url}


@pytest.mark.parametrize("word", ["tiny", "Micro", ""])
def test_another_word_is_refused(word, tmp_path):
    done = subprocess.run([SANDPIT, "image", "build", f"--kernel={word}", "--data-dir",
                           str(tmp_path / "data")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "sandpit image build: --kernel must be debian or micro\n"
    assert not (tmp_path / "data").exists()


def test_it_is_the_small_kernel(sbx):
    assert sbx.commands.run("uname -r").stdout.strip().endswith("-micro")
    assert sbx.commands.run("ls /sys/bus/pci /proc/modules 2>/dev/null || true").stdout == ""


def test_memory_goes_through_pause_snapshot_and_fork(micro, sbx):
    from e2b import Sandbox

    mark = uuid.uuid4().hex
    state = Everything(sbx, mark)
    assert sbx.pause() is True
    sbx.connect(timeout=600)
    state.check(sbx)
    fork, = sbx.fork(timeout=600)
    snapshot = sbx.create_snapshot()
    copy = Sandbox.create(snapshot.snapshot_id, timeout=600, **access(micro))
    try:
        for other in (fork, copy):
            assert boot_id(other) == state.boot
            assert state.python.on(other).run("print(kept)") == mark
            assert other.files.read("kept.txt") == mark
        assert fork.pause() is True
        fork.connect(timeout=600)
        assert fork.files.read("kept.txt") == mark
    finally:
        fork.kill()
        copy.kill()
        Sandbox.delete_snapshot(snapshot.snapshot_id, **access(micro))
    state.check(sbx)


def test_a_pause_of_the_disk_alone_boots_anew(micro, sbx):
    before = boot_id(sbx)
    sbx.files.write("kept.txt", "kept")
    status, _, _ = micro.api("POST", f"/sandboxes/{sbx.sandbox_id}/pause", {"memory": False})
    assert status == 204
    sbx.connect(timeout=600)
    assert boot_id(sbx) != before
    assert sbx.files.read("kept.txt") == "kept"


def test_clocks_go_with_the_hosts(sbx):
    """Both of the guest's clocks, also while it is busy: it is told how fast the processor counts."""
    seconds = 8

    def clocks():
        out = sbx.commands.run("date +%s.%N; cut -d' ' -f1 /proc/uptime").stdout.split()
        return time.monotonic(), float(out[0]), float(out[1])

    assert abs(clocks()[1] - time.time()) < 1
    begin = clocks()
    sbx.commands.run(f"timeout {seconds} sh -c 'while :; do :; done' || true")
    end = clocks()
    host, wall, up = (b - a for a, b in zip(begin, end))
    assert host > seconds - 1
    assert abs(wall - host) < 0.5 and abs(up - host) < 0.5
    out = sbx.commands.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
    assert out.stdout.strip() in ("tsc", "kvm-clock")


def test_what_programs_expect_of_a_kernel(sbx):
    for command in (
            "grep -qw overlay /proc/filesystems && grep -qw fuse /proc/filesystems",
            "mount | grep -q cgroup2",
            "sudo unshare -n -p -f -u -i true",
            "unshare -r id -u | grep -qx 0",
            "test -e /dev/loop-control && test -e /dev/fuse && test -e /dev/net/tun",
            "python3 -c 'import socket; socket.socket(socket.AF_INET6); "
            "socket.socket(socket.AF_UNIX)'",
            "sudo python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
            "dd if=/dev/urandom bs=16 count=1 2>/dev/null | wc -c | grep -qx 16",
    ):
        result = sbx.commands.run(f"if {command}; then echo yes; fi", user="user")
        assert result.stdout.strip().endswith("yes"), (command, result.stdout, result.stderr)


def test_a_guest_that_ends_is_gone(micro):
    """It cannot be switched off: that needs ACPI."""
    from e2b import Sandbox

    box = Sandbox.create(timeout=600, **access(micro))
    box.commands.run("sudo kill -TERM 1", background=True)
    wait_for(lambda: micro.api("GET", f"/sandboxes/{box.sandbox_id}")[0] == 404, "the end", 60)
