"""What user processes do to a guest, with real VMs: they fork without end, fill the disk, take all
memory and CPU, hide and refuse to die. envd goes on."""
import time

import pytest
from conftest import http_status, wait_for

# Bounded time: what a client waits for an answer while the guest is at its limits.
ANSWER_S = 20


@pytest.fixture
def sbx(shared_sandbox):
    return shared_sandbox


def envd_answers(daemon, sbx):
    """/health, and a file route that does real work."""
    headers = {"E2b-Sandbox-Id": sbx.sandbox_id, "E2b-Sandbox-Port": "49983",
               "X-Access-Token": sbx._envd_access_token}
    for path, status in (("/health", 204), ("/files?path=/etc/hostname", 200)):
        assert http_status(daemon.proxy_url + path, headers=headers, timeout=ANSWER_S)[0] == status


def as_root(sbx, script, **kwargs):
    return sbx.commands.run(script, user="root", **kwargs).stdout


def in_terminal(sbx, line, mark):
    """Run a line as root in a terminal, whose group is not the commands'."""
    from e2b import PtySize

    handle = sbx.pty.create(PtySize(rows=24, cols=80), user="root", timeout=120)
    sbx.pty.send_stdin(handle.pid, f"{line}; echo {mark}-$((40 + 2))\nexit\n".encode())
    got = bytearray()
    for _, _, data in handle:
        got.extend(data or b"")
    assert f"{mark}-42".encode() in got, bytes(got)
    return bytes(got)


def test_groups(sbx):
    """Commands are in `user`, terminals in `ptys`, envd in neither; both groups have limits."""
    assert sbx.commands.run("cat /proc/self/cgroup").stdout == "0::/user\n"
    assert sbx.commands.run("sleep 0; cat /proc/$$/cgroup", user="root").stdout == "0::/user\n"
    assert b"0::/ptys" in in_terminal(sbx, "cat /proc/self/cgroup", "g")
    assert as_root(sbx, "cat /proc/1/cgroup /proc/1/oom_score_adj") == "0::/\n-1000\n"
    total = int(as_root(sbx, "awk '/MemTotal/{print $2 * 1024}' /proc/meminfo"))
    threads = int(as_root(sbx, "cat /proc/sys/kernel/threads-max"))
    for group, cpu, eighths in (("user", 50, 3), ("ptys", 200, 2)):
        at = f"/sys/fs/cgroup/{group}/"
        memory, high, pids, weight = as_root(
            sbx, f"cd {at}; cat memory.max memory.high pids.max cpu.weight").split()
        assert total - (128 << 20) - 8192 <= int(memory) < total and high == memory
        assert abs(int(pids) - threads * eighths // 8) <= 1
        assert int(weight) == cpu


def test_a_fork_bomb(daemon, sandbox):
    """Bounded by the group's limit; what is left of the system still answers, and a terminal can
    end it."""
    pids_max = int(as_root(sandbox, "cat /sys/fs/cgroup/user/pids.max"))
    # A process group that refuses nothing and forks as long as it can.
    bomb = sandbox.commands.run(
        "python3 -c \"import os, time\nwhile True:\n try: os.fork()\n except OSError:"
        " time.sleep(0.2)\"", user="root", background=True, timeout=0)
    full = in_terminal(sandbox, "until grep -q 'max [1-9]' /sys/fs/cgroup/user/pids.events;"
                                " do sleep 0.2; done; cat /sys/fs/cgroup/user/pids.current", "full")
    numbers = [int(w) for w in full.split() if w.isdigit()]
    assert numbers and max(numbers) <= pids_max + 1
    envd_answers(daemon, sandbox)
    sandbox.files.write("/tmp/while.txt", "x")
    in_terminal(sandbox, "echo 1 > /sys/fs/cgroup/user/cgroup.kill", "killed")
    wait_for(lambda: bomb.pid not in [p.pid for p in sandbox.commands.list()], "the end of it")
    assert sandbox.commands.run("echo fine").stdout == "fine\n"


def test_a_full_group_refuses(sandbox):
    """No more processes than allowed: Start says so, and goes on when there is room."""
    from e2b import SandboxException

    in_terminal(sandbox, "cat /sys/fs/cgroup/user/pids.max > /tmp/max;"
                         " echo 0 > /sys/fs/cgroup/user/pids.max", "set")
    with pytest.raises(SandboxException) as e:
        sandbox.commands.run("true")
    assert "as many run as are allowed" in str(e.value)
    in_terminal(sandbox, "cat /tmp/max > /sys/fs/cgroup/user/pids.max", "reset")
    assert sandbox.commands.run("echo fine").stdout == "fine\n"


EAT = "python3 -c 'x = []\nwhile True: x.append(bytearray(4 << 20))'"


def test_out_of_memory(daemon, sandbox):
    """The eater is killed and nobody else."""
    from e2b import CommandExitException

    other = sandbox.commands.run("sleep 1000", background=True, timeout=0)
    with pytest.raises(CommandExitException) as e:
        sandbox.commands.run(EAT, timeout=300)
    # The client runs everything by a shell, which either was replaced or tells of its child.
    assert e.value.error == "signal: killed" or e.value.exit_code == 137
    assert "oom_kill " in as_root(sandbox, "grep -w oom_kill /sys/fs/cgroup/user/memory.events")
    assert int(as_root(sandbox, "awk '/^oom_kill /{print $2}'"
                                " /sys/fs/cgroup/user/memory.events")) >= 1
    assert other.pid in [p.pid for p in sandbox.commands.list()]
    envd_answers(daemon, sandbox)


def test_the_oom_killer_in_the_end_event(sandbox):
    from e2b import CommandExitException

    with pytest.raises(CommandExitException) as e:
        sandbox.commands.run("exec " + EAT, timeout=300)
    assert (e.value.error, e.value.exit_code) == ("signal: killed", -1)


def test_all_cpu_and_memory(daemon, sandbox):
    """Eight burners and four eaters, started anew as they are killed: envd answers."""
    burn = " & ".join(["sh -c 'while :; do :; done'"] * 8)
    eat = f"while :; do {EAT}; done"
    handle = sandbox.commands.run(f"({burn} & ({eat}) & ({eat}) & ({eat}) & ({eat}) & wait)",
                                  background=True, timeout=0)
    slowest, end = 0, time.monotonic() + 20
    while time.monotonic() < end:
        begin = time.monotonic()
        envd_answers(daemon, sandbox)
        slowest = max(slowest, time.monotonic() - begin)
    print(f"two requests took at most {slowest * 1000:.0f} ms")
    in_terminal(sandbox, "echo 1 > /sys/fs/cgroup/user/cgroup.kill", "killed")
    wait_for(lambda: handle.pid not in [p.pid for p in sandbox.commands.list()], "the end of it")
    assert sandbox.commands.run("echo fine").stdout == "fine\n"


def test_a_full_disk(daemon, sandbox):
    from e2b import NotEnoughSpaceException

    sandbox.files.write("kept.txt", "as it was")
    as_root(sandbox, "fallocate -l $(df --output=avail -B1 / | tail -1) /full || true;"
                     " cat /dev/zero > /full2 || true", timeout=300)
    for kwargs in ({}, {"use_octet_stream": True}):
        with pytest.raises(NotEnoughSpaceException):
            sandbox.files.write("kept.txt", b"x" * 10_000_000, **kwargs)
        with pytest.raises(NotEnoughSpaceException):
            sandbox.files.write("new/new.txt", b"x" * 10_000_000, user="root", **kwargs)
    assert sandbox.files.read("kept.txt") == "as it was"
    assert sandbox.commands.run("echo still here").stdout == "still here\n"
    envd_answers(daemon, sandbox)
    as_root(sandbox, "rm -f /full /full2")
    sandbox.files.write("kept.txt", b"x" * 10_000_000)
    assert sandbox.files.get_info("kept.txt").size == 10_000_000


def test_closed_outputs(sbx):
    """A process without outputs goes on until it ends; its end is told then."""
    r = sbx.commands.run("echo before; exec >&- 2>&-; sleep 1; touch /tmp/closed-done; exit 0")
    assert (r.stdout, r.exit_code) == ("before\n", 0)
    assert sbx.files.exists("/tmp/closed-done")


def test_an_orphan_holds_the_output(sbx):
    """What a command leaves behind keeps writing until it is done: nothing is cut off."""
    r = sbx.commands.run("(sleep 1; echo late) & echo early")
    assert r.stdout == "early\nlate\n"


def test_sigterm_is_ignored(sbx):
    from e2b import CommandExitException

    handle = sbx.commands.run("trap '' TERM; echo ready; while :; do sleep 0.1; done",
                              background=True, timeout=0)
    for out, _, _ in handle:
        if out and "ready" in out:
            break
    sbx.commands.run(f"kill -TERM {handle.pid}")
    assert handle.pid in [p.pid for p in sbx.commands.list()]
    assert handle.kill() is True
    with pytest.raises(CommandExitException) as e:
        handle.wait()
    assert e.value.error == "signal: killed"


def test_orphans_are_reaped(sbx):
    sbx.commands.run("for i in $(seq 100); do (sleep 0.01 &) ; done", timeout=120)
    wait_for(lambda: sbx.commands.run(
        "ps -eo stat= | grep -c Z || true").stdout.strip() == "0", "no zombies")


def test_envd_cannot_be_killed(daemon, sbx):
    """Not even by root: it is PID 1, and the kernel protects that from its own."""
    sbx.commands.run("kill -9 1; kill -SEGV 1; true", user="root")
    envd_answers(daemon, sbx)


def test_endless_output_that_nobody_reads(daemon, sbx):
    """A stalled reader stops the process, not envd; without readers the output is dropped."""
    handle = sbx.commands.run("yes 0123456789", background=True, timeout=0)
    envd_answers(daemon, sbx)
    handle.disconnect()
    for _ in range(5):
        envd_answers(daemon, sbx)
    rss = int(as_root(sbx, "awk '/VmRSS/{print $2}' /proc/1/status"))
    assert rss < 32 * 1024
    assert sbx.commands.kill(handle.pid)
