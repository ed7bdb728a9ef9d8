"""Each VMM is limited by a control group of its own, where the host has any."""
import contextlib
import glob
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import time

import pytest
from boxes import create, dead_groups, group_tag, groups, holds, vmm_of, vmms
from conftest import SANDPIT, wait_for

NO_POOL = {"SANDPIT_POOL_HOT": "0", "SANDPIT_POOL_WAITING": "0"}
MIB = 1 << 20


def which(d):
    """What the daemon says of itself."""
    done = subprocess.run([SANDPIT, "info", "--data-dir", d.data_dir], capture_output=True,
                          text=True, check=True)
    return re.search(r"^cgroups +(.*)$", done.stdout, re.M).group(1)


@pytest.fixture
def limited(own_daemon):
    """make(*flags): a daemon whose VMMs get control groups, all limits of them."""
    def make(*flags):
        d = own_daemon(extra=["--ephemeral", *flags], env=NO_POOL)
        if not which(d).endswith("memory, pids, cpu"):
            pytest.skip("this host gives us no control groups: " + which(d))
        return d
    return make


def files(d, box, *names):
    """The first of the files that the sandbox's group has: version 2 or 1."""
    for folder in groups(d.data_dir)[box.id]:
        for name in names:
            if (folder / name).exists():
                return folder / name
    raise AssertionError(names)


def numbers(path):
    return [int(x) for x in path.read_text().split()]


def memory(d, box):
    return files(d, box, "memory.max", "memory.limit_in_bytes")


def death(d, box):
    with contextlib.closing(sqlite3.connect(f"{d.data_dir}/sandpit.db")) as db:
        return db.execute("select reason, detail from deaths where sandbox_id = ?",
                          (box.id,)).fetchone()


def test_limits_are_those_of_the_settings(limited):
    d = limited("--vmm-memory-mb", "300", "--vmm-pids", "123", "--vmm-cpus", "2")
    box = create(d)
    sandbox = box.call("GET")[1]
    pid = vmm_of(d.data_dir, box.id)
    for folder in groups(d.data_dir)[box.id]:
        assert numbers(folder / "cgroup.procs") == [pid]
    assert numbers(memory(d, box)) == [(2 * sandbox["memoryMB"] + 300) * MIB]
    assert numbers(files(d, box, "pids.max")) == [123]
    percent = (sandbox["cpuCount"] + 2) * 100
    assert numbers(files(d, box, "cpu.max", "cpu.cfs_quota_us"))[0] == percent * 1000
    assert box.run("echo $((6 * 7))") == "42\n"
    assert box.kill() == 204
    wait_for(lambda: groups(d.data_dir) == {}, "the group to be gone")


def test_no_limit_is_none(limited):
    d = limited("--vmm-memory-mb", "0", "--vmm-pids", "0", "--vmm-cpus", "0")
    box = create(d)
    text = memory(d, box).read_text().strip()
    assert text == "max" or int(text) > 1 << 60
    assert files(d, box, "pids.max").read_text().strip() == "max"
    assert files(d, box, "cpu.max", "cpu.cfs_quota_us").read_text().split()[0] in ("max", "-1")


def test_a_group_lives_as_long_as_its_vmm(limited):
    d = limited()
    box = create(d)
    d.stop(signal.SIGKILL)
    d.start()
    pid = vmm_of(d.data_dir, box.id)
    assert numbers(groups(d.data_dir)[box.id][0] / "cgroup.procs") == [pid]
    assert box.pause()[0] == 204
    wait_for(lambda: groups(d.data_dir) == {}, "the group of a paused sandbox to be gone")
    assert box.connect()[0] in (200, 201)
    assert list(groups(d.data_dir)) == [box.id]
    # A VMM that ends while no daemon sees it.
    d.stop(signal.SIGKILL)
    os.kill(vmm_of(d.data_dir, box.id), signal.SIGKILL)
    wait_for(lambda: dead_groups(d.data_dir), "the group to be empty")
    d.start()
    assert groups(d.data_dir) == {}
    assert box.state() in (None, "paused")  # which, if its resume was not yet written down as over


def own_tops():
    """The groups that all others are made in."""
    return [pathlib.Path(path) for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/*")
            for path in glob.glob(f"{top}/sandpit")]


def test_nothing_is_left_of_a_daemon_that_ended(limited):
    d = limited()
    box = create(d)
    tops = [path.parent for path in holds(d.data_dir)]
    assert tops and groups(d.data_dir)[box.id]
    assert d.stop() == 0
    assert holds(d.data_dir) == [] and groups(d.data_dir) == {}
    for top in tops:  # those of other daemons
        assert not top.exists() or any(path.is_dir() for path in top.iterdir())


def test_a_vm_keeps_its_group_when_its_daemon_ends(own_daemon):
    d = own_daemon(env=NO_POOL)
    if not which(d).endswith("memory, pids, cpu"):
        pytest.skip("this host gives us no control groups: " + which(d))
    box = create(d)
    assert d.stop() == 0
    assert holds(d.data_dir) == []
    assert numbers(groups(d.data_dir)[box.id][0] / "cgroup.procs") == [vmm_of(d.data_dir, box.id)]
    d.start()
    assert holds(d.data_dir)
    assert box.run("echo fine") == "fine\n"
    assert box.kill() == 204
    wait_for(lambda: groups(d.data_dir) == {}, "the group to be gone")


def seen_while(process, pattern):
    """How many threads groups of such names gave to the processes in them, while the program
    ran."""
    seen = set()
    while process.poll() is None:
        for top in own_tops():
            for folder in top.glob(pattern):
                with contextlib.suppress(OSError):
                    if (folder / "cgroup.procs").read_text() and (folder / "pids.max").exists():
                        seen.add(numbers(folder / "pids.max")[0])
        time.sleep(0.01)
    return seen


def test_the_vms_of_a_bench_are_limited(data_dir, limited):
    limited()  # or there are none
    with subprocess.Popen([SANDPIT, "bench", "--template-from", data_dir, "--number", "1", "--idle",
                           "0", "--pool", "none", "--vmm-pids", "123"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as bench:
        assert seen_while(bench, "*-floor") == {123}
        assert bench.returncode == 0, bench.stderr.read()
    assert [path for top in own_tops() for path in top.glob("*-floor")] == []


def test_the_vm_of_an_image_build_is_limited(limited, tmp_path):
    limited()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")))
    if not list((cache / "sandpit/image").glob("rootfs-*/tree")):
        pytest.skip("no Debian tree in the cache: run sandpit image build first")
    tmp_path.chmod(0o711)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o711)  # the VMM's user opens files in it
    with subprocess.Popen([SANDPIT, "image", "build", "--data-dir", tmp_path, "--vmm-pids", "123"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as build:
        owner = f"{tmp_path}/run/.build"
        seen = seen_while(build, f"{group_tag(owner)}-template")
        assert build.returncode == 0, build.stderr.read()
    assert seen == {123}
    assert groups(owner) == {}


def test_a_vmm_that_is_killed_for_its_memory_is_told(limited):
    d = limited()
    box = create(d)
    limit = memory(d, box)
    usage = files(d, box, "memory.current", "memory.usage_in_bytes")
    if limit.name == "memory.limit_in_bytes":
        swap = limit.parent / "memory.memsw.limit_in_bytes"
    else:
        swap = limit.parent / "memory.swap.max"
    small = numbers(usage)[0] + 16 * MIB
    limit.write_text(str(small))
    if swap.exists():
        swap.write_text("0" if swap.name == "memory.swap.max" else str(small))
    with contextlib.suppress(Exception):  # its sandbox ends under it
        box.run("head -c 100M /dev/zero | tail >/dev/null")
    wait_for(lambda: death(d, box), "the sandbox to end")
    reason, detail = death(d, box)
    assert reason == "vmm_exit"
    assert detail.startswith("QEMU was ended by signal 9 (Killed), for want of memory")
    wait_for(lambda: groups(d.data_dir) == {} and not vmms(d.data_dir), "all of it to be gone")
    another = create(d)
    assert another.run("echo fine") == "fine\n"


@pytest.mark.parametrize("where,why", [("none", "control groups were not asked for"),
                                       ("/there/is/none", "cannot be used")])
def test_without_groups_sandboxes_run_all_the_same(own_daemon, where, why):
    d = own_daemon(extra=["--ephemeral", "--cgroup", where], env=NO_POOL)
    assert which(d) == "none"
    assert d.log_text().count("not every limit of VMMs can be set") == 1
    assert why in d.log_text() or "no such hierarchy" in d.log_text()
    box = create(d)
    assert groups(d.data_dir) == {}
    assert box.run("echo fine") == "fine\n"


@pytest.mark.parametrize("flags,why", [
    (["--cgroup", "relative"], "--cgroup must be auto, none, or the path"),
    (["--vmm-memory-mb", "12"], "--vmm-memory-mb must be 0 (no limit) or a number from 128"),
    (["--vmm-pids", "many"], "--vmm-pids must be"),
    (["--vmm-cpus", "-1"], "--vmm-cpus must be")])
def test_wrong_settings_are_refused(tmp_path, flags, why):
    done = subprocess.run([SANDPIT, "serve", "--data-dir", tmp_path, *flags], capture_output=True,
                          text=True)
    assert done.returncode == 2
    assert why in done.stderr


@pytest.mark.parametrize("where", ["auto", "none", "/there/is/none"])
def test_doctor_tells(tmp_path, where):
    done = subprocess.run([SANDPIT, "doctor", "--data-dir", tmp_path, "--accel", "tcg",
                           "--cgroup", where], capture_output=True, text=True)
    line = next(x for x in done.stdout.splitlines() if "control group" in x)
    if where == "none":
        assert line == "note     VMs get no control groups of their own: control groups were not " \
                       "asked for."
    elif where == "auto":
        assert "a control group of its own (version " in line or "VMs get no control groups" in line
    else:
        assert line.startswith("note     VMs get no control groups of their own: ")
