"""What makes a copy of a template a sandbox of its own: names, ids, random numbers, the clock."""
import queue
import threading
import time

import pytest

CLOCK_MS = 10  # how far a guest's clock may be from the host's


@pytest.fixture
def pair(daemon):
    """Two sandboxes of one template."""
    from e2b import Sandbox

    both = [Sandbox.create(timeout=600) for _ in range(2)]
    yield both
    for sbx in both:
        sbx.kill()


def clock_error_ms(sbx, tries=20):
    """How far the guest's clock is off at most and at least: a shell tells the time whenever it is
    asked, and the answer was given between question and receipt. The best try counts."""
    told = queue.Queue()
    shell = sbx.commands.run("while read -r x; do echo $EPOCHREALTIME; done", background=True,
                             stdin=True)

    def listen():
        # The shell is killed at the end; what that raises here says nothing.
        try:
            shell.wait(on_stdout=lambda text: told.put((time.time(), text)))
        except Exception:
            pass

    threading.Thread(target=listen, daemon=True).start()
    best = None
    for _ in range(tries):
        asked = time.time()
        sbx.commands.send_stdin(shell.pid, "?\n")
        received, text = told.get(timeout=30)
        guest = float(text.strip())
        if best is None or received - asked < best[1] - best[0]:
            best = (asked, received, guest)
    shell.kill()
    asked, received, guest = best
    ahead, behind = (guest - received) * 1000, (asked - guest) * 1000
    print(f"the guest's clock is between {-(received - guest) * 1000:.1f} and "
          f"{(guest - asked) * 1000:.1f} ms ahead")
    return max(ahead, behind, 0)


def test_names_are_the_sandboxs_own(pair):
    seen = []
    for sbx in pair:
        r = sbx.commands.run("cat /etc/machine-id; hostname; getent hosts $(hostname); "
                             "echo $E2B_SANDBOX_ID; cat /run/e2b/.E2B_SANDBOX_ID")
        machine_id, hostname, hosts, variable, in_file = r.stdout.splitlines()
        assert len(machine_id) == 32 and int(machine_id, 16)
        assert hostname == variable == in_file == sbx.sandbox_id
        assert hosts.split()[0].startswith("127.")
        seen.append(machine_id)
    assert seen[0] != seen[1]


def test_random_numbers_differ(pair):
    commands = ["head -c 16 /dev/urandom | od -An -tx1", "python3 -c 'import random; print(random.random())'",
                "cat /proc/sys/kernel/random/uuid", "bash -c 'echo $RANDOM$RANDOM$RANDOM'"]
    for command in commands:
        a, b = (sbx.commands.run(command).stdout for sbx in pair)
        assert a and a != b, command


def test_clock_is_right_at_once_and_later(sandbox):
    assert clock_error_ms(sandbox) <= CLOCK_MS
    time.sleep(60)  # what is tested is that the clock goes on well by itself
    assert clock_error_ms(sandbox) <= CLOCK_MS


def test_clock_is_right_after_a_pause(sandbox):
    from e2b import Sandbox

    sandbox.pause()
    time.sleep(2)  # a time that the guest does not see pass
    again = Sandbox.connect(sandbox.sandbox_id, timeout=600)
    assert clock_error_ms(again) <= CLOCK_MS


def test_clock_is_right_after_snapshots(sandbox):
    """The sandbox stood still for each."""
    from e2b import Sandbox

    for snapshot in [sandbox.create_snapshot() for _ in range(4)]:
        Sandbox.delete_snapshot(snapshot.snapshot_id)
    assert clock_error_ms(sandbox) <= CLOCK_MS


def test_on_restore_runs_in_a_copy(sandbox):
    """A template's executables run in each sandbox of it, as root, with its identity."""
    from e2b import Sandbox

    sandbox.commands.run(
        "mkdir -p /etc/sandpit/on-restore.d && cd /etc/sandpit/on-restore.d && "
        "printf '#!/bin/sh\\necho $(id -u) $E2B_SANDBOX_ID $(cat /etc/machine-id) >> /tmp/seen\\n' > 10-note && "
        "printf '#!/bin/sh\\nexit 3\\n' > 20-fail && chmod 755 10-note 20-fail && echo no > 30-no", user="root")
    snapshot = sandbox.create_snapshot()
    try:
        copy = Sandbox.create(snapshot.snapshot_id, timeout=600)
        seen = copy.files.read("/tmp/seen").splitlines()
        machine_id = copy.files.read("/etc/machine-id").strip()
        copy.kill()
        assert seen == [f"0 {copy.sandbox_id} {machine_id}"]
        assert not sandbox.files.exists("/tmp/seen")
    finally:
        sandbox.delete_snapshot(snapshot.snapshot_id)
