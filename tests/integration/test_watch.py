"""Watches through the Python client's polling: what is created, written, moved and removed."""
import pytest
from conftest import wait_for


@pytest.fixture
def sbx(shared_sandbox):
    return shared_sandbox


def collect(handle, wanted, seconds=60):
    """Poll until every (type, name) of `wanted` was told; all events, in order."""
    events = []

    def all_there():
        events.extend(handle.get_new_events())
        return set(wanted) <= {(e.type.value, e.name) for e in events}

    wait_for(all_there, f"{wanted}", seconds)
    return events


def test_one_folder(sbx):
    sbx.files.make_dir("w1")
    handle = sbx.files.watch_dir("w1")
    sbx.files.write("w1/a.txt", "one")
    collect(handle, [("create", "a.txt"), ("write", "a.txt")])
    sbx.commands.run("echo two >> w1/a.txt")
    collect(handle, [("write", "a.txt")])
    sbx.commands.run("chmod 600 w1/a.txt")
    collect(handle, [("chmod", "a.txt")])
    sbx.files.rename("w1/a.txt", "w1/b.txt")
    collect(handle, [("rename", "a.txt"), ("create", "b.txt")])
    sbx.files.make_dir("w1/sub")
    collect(handle, [("create", "sub")])
    sbx.files.write("w1/sub/deep.txt", "x")
    sbx.files.remove("w1/b.txt")
    events = collect(handle, [("remove", "b.txt")])
    assert "sub/deep.txt" not in [e.name for e in events]
    assert all(e.entry is None for e in events)
    handle.stop()


def test_recursive(sbx):
    sbx.files.make_dir("w2/old/older")
    handle = sbx.files.watch_dir("w2", recursive=True)
    sbx.files.write("w2/old/older/a.txt", "one")
    collect(handle, [("create", "old/older/a.txt"), ("write", "old/older/a.txt")])
    # Folders that are made later, with what is in them before they can be watched.
    sbx.commands.run("mkdir -p w2/n/e/w && echo x > w2/n/e/w/b.txt")
    collect(handle, [("create", "n"), ("create", "n/e"), ("create", "n/e/w"),
                     ("create", "n/e/w/b.txt")])
    sbx.commands.run("echo y >> w2/n/e/w/b.txt")
    collect(handle, [("write", "n/e/w/b.txt")])
    sbx.commands.run("mv w2/n w2/m && echo z > w2/m/e/w/c.txt")
    collect(handle, [("rename", "n"), ("create", "m"), ("create", "m/e/w/c.txt")])
    sbx.commands.run("rm -r w2/m")
    collect(handle, [("remove", "m/e/w/c.txt"), ("remove", "m/e/w"), ("remove", "m/e"),
                     ("remove", "m")])
    handle.stop()


def test_entries(sbx):
    from e2b import FileType

    sbx.files.make_dir("w3")
    handle = sbx.files.watch_dir("w3", include_entry=True)
    sbx.files.write("w3/a.txt", "12345", metadata={"origin": "test"})
    events = collect(handle, [("create", "a.txt"), ("write", "a.txt")])
    last = [e for e in events if e.name == "a.txt"][-1].entry
    assert (last.name, last.path, last.type) == ("a.txt", "/home/user/w3/a.txt", FileType.FILE)
    assert (last.size, last.owner, last.permissions) == (5, "user", "-rw-r--r--")
    assert last.metadata == {"origin": "test"}
    sbx.files.remove("w3/a.txt")
    events = collect(handle, [("remove", "a.txt")])
    assert [e.entry for e in events if e.type.value == "remove"] == [None]
    handle.stop()


def test_a_watcher_that_is_stopped(sbx):
    from e2b import SandboxException

    sbx.files.make_dir("w4")
    handle = sbx.files.watch_dir("w4")
    other = sbx.files.watch_dir("w4")
    handle.stop()
    with pytest.raises(SandboxException):
        handle.get_new_events()
    sbx.files.write("w4/a", "x")
    collect(other, [("create", "a")])
    other.stop()


def test_what_cannot_be_watched(sbx):
    from e2b import InvalidArgumentException, NotFoundException, SandboxException

    with pytest.raises(NotFoundException):
        sbx.files.watch_dir("no-such-folder")
    sbx.files.write("plain.txt", "x")
    with pytest.raises((InvalidArgumentException, SandboxException)):
        sbx.files.watch_dir("plain.txt")


def test_the_folder_itself_goes(sbx):
    sbx.files.make_dir("w5")
    handle = sbx.files.watch_dir("w5")
    sbx.files.write("w5/a", "x")
    sbx.files.remove("w5")
    collect(handle, [("create", "a"), ("remove", "a")])
    handle.stop()


MAKE_MANY = """
import os
for d in range(%d):
    os.mkdir(f'w6/{d}')
    for f in range(%d):
        open(f'w6/{d}/{f}', 'w').close()
"""


def test_many_fast_creations(sbx):
    """More than the kernel queues: an overflow is noticed and repaired."""
    folders, files = 20, 1500
    sbx.files.make_dir("w6")
    handle = sbx.files.watch_dir("w6", recursive=True)
    sbx.files.write("many.py", MAKE_MANY % (folders, files))
    sbx.commands.run("python3 many.py", timeout=300)
    names = set()

    def all_there():
        names.update(e.name for e in handle.get_new_events(request_timeout=120)
                     if e.type.value == "create")
        return len(names) >= folders * (files + 1)

    wait_for(all_there, "30,000 creations", 300)
    assert names == ({str(d) for d in range(folders)} |
                     {f"{d}/{f}" for d in range(folders) for f in range(files)})
    handle.stop()
