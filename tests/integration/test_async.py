"""The asynchronous Python client against a VM: commands, input, PTY, watch streams, files, git."""
import asyncio
import gzip

import pytest
from conftest import http_status


def with_sandbox(body):
    """Run the coroutine function on a sandbox of its own event loop, reusing the module's VM."""
    def test(shared_sandbox):
        from e2b import AsyncSandbox

        async def run():
            await body(await AsyncSandbox.connect(shared_sandbox.sandbox_id, timeout=1800))

        asyncio.run(run())

    test.__doc__ = body.__doc__
    return test


async def until(check, what, seconds=60):
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.02)


@with_sandbox
async def test_commands(sbx):
    from e2b import CommandExitException

    r = await sbx.commands.run("echo out; echo err >&2")
    assert (r.stdout, r.stderr, r.exit_code) == ("out\n", "err\n", 0)
    with pytest.raises(CommandExitException) as e:
        await sbx.commands.run("exit 9")
    assert e.value.exit_code == 9


@with_sandbox
async def test_many_at_once(sbx):
    results = await asyncio.gather(*(sbx.commands.run(f"echo {n}") for n in range(30)))
    assert [r.stdout for r in results] == [f"{n}\n" for n in range(30)]


@with_sandbox
async def test_stdin(sbx):
    handle = await sbx.commands.run("cat", background=True, stdin=True)
    await handle.send_stdin("line one\n")
    await sbx.commands.send_stdin(handle.pid, "žluť\n")
    await handle.close_stdin()
    assert (await handle.wait()).stdout == "line one\nžluť\n"


@with_sandbox
async def test_streamed_stdin(sbx):
    handle = await sbx.commands.run("sha256sum", background=True, stdin=True)
    import hashlib

    data = bytes(range(256)) * 4000
    async with sbx.commands.stream_input(handle.pid) as stream:
        for at in range(0, len(data), 100_000):
            await stream.send(data[at:at + 100_000])
    await handle.close_stdin()
    assert (await handle.wait()).stdout.split()[0] == hashlib.sha256(data).hexdigest()


@with_sandbox
async def test_pty(sbx):
    from e2b import PtySize

    got = bytearray()
    handle = await sbx.pty.create(PtySize(rows=24, cols=80), on_data=got.extend, timeout=120)
    await sbx.pty.send_stdin(handle.pid, b"stty size; tty; echo first-$((40 + 2))\n")
    await until(lambda: b"first-42" in got, "the first answer")
    assert b"24 80" in got and b"/dev/pts/" in got
    await sbx.pty.resize(handle.pid, PtySize(rows=40, cols=100))
    async with sbx.pty.stream_input(handle.pid) as stream:
        await stream.send(b"stty size\n")
    await until(lambda: b"40 100" in got, "the new size")
    await sbx.pty.send_stdin(handle.pid, b"exit 0\n")
    assert (await handle.wait()).exit_code == 0


@with_sandbox
async def test_watch(sbx):
    events, ended = [], []
    await sbx.files.make_dir("aw/old")
    handle = await sbx.files.watch_dir("aw", on_event=events.append, on_exit=ended.append,
                                       recursive=True, include_entry=True)

    def seen(*wanted):
        return lambda: set(wanted) <= {(e.type.value, e.name) for e in events}

    await sbx.files.write("aw/old/a.txt", "12345")
    await until(seen(("create", "old/a.txt"), ("write", "old/a.txt")), "a file")
    entry = [e.entry for e in events if e.name == "old/a.txt"][-1]
    assert (entry.path, entry.size) == ("/home/user/aw/old/a.txt", 5)
    await sbx.commands.run("mkdir -p aw/new/deep && echo x > aw/new/deep/b.txt")
    await until(seen(("create", "new"), ("create", "new/deep"), ("create", "new/deep/b.txt")),
                "new folders")
    await sbx.files.rename("aw/old/a.txt", "aw/new/c.txt")
    await until(seen(("rename", "old/a.txt"), ("create", "new/c.txt")), "a rename")
    await sbx.files.remove("aw/new")
    await until(seen(("remove", "new/deep/b.txt"), ("remove", "new")), "removal")
    await handle.stop()
    assert ended == [None]
    count = len(events)
    await sbx.files.write("aw/after.txt", "x")
    assert len(events) == count


@with_sandbox
async def test_watches_of_no_folder(sbx):
    from e2b import NotFoundException

    with pytest.raises(NotFoundException):
        await sbx.files.watch_dir("no-such-folder", on_event=print)


@with_sandbox
async def test_metadata(sbx):
    info = await sbx.files.write("am.txt", "x", metadata={"Owner": "someone", "stage": "two"})
    assert info.metadata == {"owner": "someone", "stage": "two"}
    assert (await sbx.files.get_info("am.txt")).metadata == info.metadata
    listed = {e.name: e.metadata for e in await sbx.files.list(".")}
    assert listed["am.txt"] == info.metadata
    await sbx.files.write("am.txt", "y")
    assert not (await sbx.files.get_info("am.txt")).metadata


@with_sandbox
async def test_gzip(sbx):
    text = "compresses well " * 50_000
    await sbx.files.write("ag.txt", text, gzip=True)
    assert (await sbx.files.get_info("ag.txt")).size == len(text)
    assert await sbx.files.read("ag.txt") == text
    assert await sbx.files.read("ag.txt", gzip=True) == text
    pieces = [p async for p in await sbx.files.read("ag.txt", format="stream", gzip=True)]
    assert b"".join(pieces).decode() == text
    await sbx.files.write("ag.bin", text.encode(), use_octet_stream=True)
    assert bytes(await sbx.files.read("ag.bin", format="bytes")) == text.encode()


@with_sandbox
async def test_gzip_on_the_wire(sbx):
    """What the client's option asks for is really sent: fewer bytes than the file has."""
    await sbx.files.write("wire.txt", "x" * 200_000)
    status, headers, data = http_status(sbx.download_url("wire.txt"),
                                        headers={"Accept-Encoding": "gzip"})
    assert (status, headers.get("content-encoding")) == (200, "gzip")
    assert len(data) < 10_000
    assert gzip.decompress(data) == b"x" * 200_000


@with_sandbox
async def test_git(sbx):
    repo = "/home/user/agit"
    await sbx.git.init(repo, initial_branch="main")
    await sbx.git.configure_user("Test", "test@example.com")
    await sbx.files.write(f"{repo}/a.txt", "one\n")
    status = await sbx.git.status(repo)
    assert status.has_untracked and status.current_branch == "main"
    await sbx.git.add(repo)
    await sbx.git.commit(repo, "the first")
    assert (await sbx.git.status(repo)).is_clean
    await sbx.git.create_branch(repo, "other")
    branches = await sbx.git.branches(repo)
    assert sorted(branches.branches) == ["main", "other"]
    assert branches.current_branch == "other"


@with_sandbox
async def test_a_handle_that_lets_go(sbx):
    handle = await sbx.commands.run("echo begun; cat; echo ended", background=True, stdin=True)
    got = []
    await until(lambda: handle.stdout == "begun\n", "output")
    await handle.disconnect()
    again = await sbx.commands.connect(handle.pid, on_stdout=got.append)
    await again.close_stdin()
    assert (await again.wait()).exit_code == 0
    assert "".join(got) == "ended\n"
