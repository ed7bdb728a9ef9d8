"""A sandbox that is paused and resumed again and again is the same every time.

SANDPIT_CYCLES sets how often (5). With 20 or more, sizes must not grow either.
"""
import hashlib
import os
import pathlib
import threading

from faults import Faults, require_fault_points
from boxes import create, vmm_of

CYCLES = int(os.environ.get("SANDPIT_CYCLES", "5"))
GROWTH_FROM = 10  # sizes are compared with those after so many
PATTERN_MB = 64
ALWAYS_LOOKED_AT = 5  # cycles; comparing the pattern takes an emulated guest seconds
# Of the guest's file system, which goes in a circle through 64 MB of the disk: what a cycle's sync
# takes of it.
JOURNAL_BYTES = 96 << 10

# Holds a pattern, and at each SIGUSR1 says whether it is still there.
HOLDER = """
$| = 1;
sub pattern { return join('', map { chr } 1..251) x (%d / 251) }
my $held = pattern();
$SIG{USR1} = sub {
    open my $f, '>', '/tmp/answer.new'; print $f $held eq pattern() ? 'same' : 'changed'; close $f;
    rename '/tmp/answer.new', '/tmp/answer';
};
print "$$\\n";
close STDOUT;
sleep 1000000 while 1;
""" % (PATTERN_MB << 20)


def ram(pid):
    """(start, end) of the guest's memory in its VMM: the greatest mapping of a memfd."""
    found = (0, 0)
    for line in open(f"/proc/{pid}/maps"):
        span, _, _, _, _, *name = line.split()
        start, end = (int(x, 16) for x in span.split("-"))
        if name and "memfd:" in name[0] and end - start > found[1] - found[0]:
            found = (start, end)
    assert found[1], "the VMM has no memory"
    return found


def digest_of_ram(pid):
    start, end = ram(pid)
    digest = hashlib.sha256()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as f:
        f.seek(start)
        while start < end:
            block = f.read(min(end - start, 4 << 20))
            digest.update(block)
            start += len(block)
    return digest.hexdigest()


def at_point(d, faults, point, box, operation):
    """Digest of the guest's memory while the daemon stands still at the point of the operation."""
    answers = []
    with faults.holding(d, point) as wait:
        asked = threading.Thread(target=lambda: answers.append(operation()))
        asked.start()
        wait()
        digest = digest_of_ram(vmm_of(d.data_dir, box.id))
    asked.join(120)
    assert answers and answers[0][0] in (201, 204), answers
    return digest


def size_of(folder):
    return sum(p.stat().st_blocks * 512 for p in pathlib.Path(folder).rglob("*") if p.is_file())


def have_pattern(box):
    """The process that holds it."""
    assert box.write("/root/holder", HOLDER.encode())
    return int(box.run("setsid perl /root/holder >/tmp/holder 2>/dev/null </dev/null & "
                       "until test -s /tmp/holder; do sleep 0.1; done; cat /tmp/holder"))


def assert_pattern(box, pid):
    asked = f"rm -f /tmp/answer; kill -USR1 {pid}; until test -e /tmp/answer; do sleep 0.1; done"
    assert box.run(f"{asked}; cat /tmp/answer") == "same"


def test_cycles(own_daemon, tmp_path):
    require_fault_points()
    faults = Faults(tmp_path)
    d = own_daemon(env={**faults.env, "SANDPIT_POOL_HOT": "0", "SANDPIT_POOL_WAITING": "0"})
    box = create(d)
    holder = have_pattern(box)
    disk = os.urandom(8 << 20)
    assert box.write("/root/disk", disk)
    early = None
    for n in range(1, CYCLES + 1):
        stopped = at_point(d, faults, "pause.write", box, box.pause)
        sizes = {name: size_of(f"{d.data_dir}/{name}") for name in ("snapshots", "layers")}
        loaded = at_point(d, faults, "resume.retire", box, box.connect)
        assert loaded == stopped, f"cycle {n}: memory is not what it was"
        if n <= ALWAYS_LOOKED_AT or n % 10 == 0:
            assert_pattern(box, holder)
        if n == GROWTH_FROM:
            early = sizes
        print(n, sizes)
    status, found = box.read("/root/disk")
    assert status == 200 and found == disk
    if CYCLES >= 2 * GROWTH_FROM:
        journal = (CYCLES - GROWTH_FROM) * JOURNAL_BYTES
        assert sizes["snapshots"] <= 1.1 * early["snapshots"], (early, sizes)
        assert sizes["layers"] <= 1.1 * early["layers"] + journal, (early, sizes)
    assert box.kill() == 204
