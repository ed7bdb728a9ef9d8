"""Snapshots: taken of a running sandbox, listed, begun from, deleted."""
import asyncio
import uuid

import pytest
from states import Everything, boot_id, server_timing, started


@pytest.fixture
def source(daemon):
    from e2b import Sandbox

    sbx = Sandbox.create(timeout=600, envs={"FROM": "source"}, metadata={"who": "source"})
    yield sbx
    sbx.kill()


def test_named(daemon, source):
    from e2b import Sandbox

    mark = uuid.uuid4().hex
    name = "snap-" + mark[:8]
    state = Everything(source, mark)
    snapshot = source.create_snapshot(name)
    assert snapshot.snapshot_id == f"default/{name}:default"
    assert snapshot.names == [f"default/{name}"]
    # The source goes on as if nothing had been.
    state.check(source)
    assert source.get_info().state.value == "running"

    source.files.write("kept.txt", "changed later")
    copies = [Sandbox.create(ref, timeout=600) for ref in (snapshot.snapshot_id, name)]
    try:
        for copy in copies:
            assert copy.sandbox_id != source.sandbox_id
            assert copy.files.read("kept.txt") == mark
            assert state.python.on(copy).run("print(kept)") == mark
            assert started(copy, state.sleeper) == state.sleeper_began
            assert copy.commands.run("echo $E2B_SANDBOX_ID").stdout.strip() == copy.sandbox_id
        # And they are nothing to each other.
        copies[0].files.write("kept.txt", "mine")
        state.python.on(copies[0]).run("kept = 'mine'")
        assert copies[1].files.read("kept.txt") == mark
        assert state.python.on(copies[1]).run("print(kept)") == mark
        assert state.python.on(source).run("print(kept)") == mark
        with pytest.raises(Exception, match="400"):
            Sandbox.delete_snapshot(snapshot.snapshot_id)
    finally:
        for copy in copies:
            copy.kill()
    assert Sandbox.delete_snapshot(snapshot.snapshot_id) is True
    assert Sandbox.delete_snapshot(snapshot.snapshot_id) is False
    with pytest.raises(Exception, match="not found"):
        Sandbox.create(snapshot.snapshot_id)


def test_lists(daemon, source):
    from e2b import Sandbox

    name = "list-" + uuid.uuid4().hex[:8]
    first = source.create_snapshot(name)
    second = source.create_snapshot(f"{name}:v2")
    third = source.create_snapshot()
    ids = [third.snapshot_id, second.snapshot_id, first.snapshot_id]
    try:
        assert second.snapshot_id == f"default/{name}:v2"
        assert third.names == [] and third.snapshot_id.endswith(":default")

        def listed(pages):
            found = []
            while pages.has_next:
                found += [s.snapshot_id for s in pages.next_items()]
            return found

        assert listed(source.list_snapshots()) == ids
        assert listed(source.list_snapshots(limit=1)) == ids
        assert listed(Sandbox.list_snapshots(sandbox_id=source.sandbox_id, limit=2)) == ids
        assert listed(Sandbox.list_snapshots(name=name)) == ids[1:]
        assert listed(Sandbox.list_snapshots(name=f"{name}:v2")) == [second.snapshot_id]
        assert set(ids) <= set(listed(Sandbox.list_snapshots()))
        assert listed(Sandbox.list_snapshots(sandbox_id="i" + "z" * 20)) == []
        templates = [t["templateID"] for t in daemon.api("GET", "/templates")[1]]
        assert third.snapshot_id.split(":")[0] not in templates
    finally:
        for snapshot_id in ids:
            assert Sandbox.delete_snapshot(snapshot_id) is True
    assert listed(source.list_snapshots()) == []


def test_the_name_again_is_another_build(daemon, source):
    from e2b import Sandbox

    name = "again-" + uuid.uuid4().hex[:8]
    source.files.write("which", "first")
    first = source.create_snapshot(name)
    source.files.write("which", "second")
    second = source.create_snapshot(name)
    try:
        assert first.snapshot_id == second.snapshot_id
        with Sandbox.create(name, timeout=600) as copy:
            assert copy.files.read("which") == "second"
    finally:
        Sandbox.delete_snapshot(name)
    status, body, _ = daemon.api("POST", f"/sandboxes/{source.sandbox_id}/snapshots",
                                 {"name": "a b"})
    assert (status, body["code"]) == (400, 400)
    status, body, headers = daemon.api("POST", f"/sandboxes/{source.sandbox_id}/snapshots", {})
    assert status == 201 and server_timing(headers)
    assert daemon.api("DELETE", "/templates/" + body["snapshotID"])[0] == 204


def test_without_memory(daemon, source):
    from e2b import Sandbox

    state = Everything(source, uuid.uuid4().hex)
    snapshot = source.create_snapshot(mode="filesystem")
    state.check(source)
    with Sandbox.create(snapshot.snapshot_id, timeout=600) as copy:
        state.check_disk_only(copy)
    assert Sandbox.delete_snapshot(snapshot.snapshot_id) is True


def test_a_snapshot_of_a_copy(daemon, source):
    """It stands on what it was made from, and goes on when that is deleted."""
    from e2b import Sandbox

    source.files.write("one", "1")
    first = source.create_snapshot()
    copy = Sandbox.create(first.snapshot_id, timeout=600)
    copy.files.write("two", "2")
    boot = boot_id(source)
    second = copy.create_snapshot()
    copy.pause()
    copy.connect(timeout=600)
    assert copy.files.read("two") == "2"
    copy.kill()
    assert Sandbox.delete_snapshot(first.snapshot_id) is True
    with Sandbox.create(second.snapshot_id, timeout=600) as last:
        assert (last.files.read("one"), last.files.read("two")) == ("1", "2")
        assert boot_id(last) == boot
    assert Sandbox.delete_snapshot(second.snapshot_id) is True


def test_a_paused_one_has_none(daemon, source):
    source.pause()
    status, body, _ = daemon.api("POST", f"/sandboxes/{source.sandbox_id}/snapshots", {})
    assert (status, body["code"]) == (409, 409)


def test_streams_go_on(daemon, source):
    """A command that prints all the time loses nothing by a snapshot under it."""
    from e2b import Sandbox

    run = source.commands.run("for i in $(seq 1 200); do echo $i; sleep 0.02; done",
                              background=True, timeout=120)
    snapshot = source.create_snapshot()
    try:
        assert run.wait().stdout == "".join(f"{n}\n" for n in range(1, 201))
    finally:
        assert Sandbox.delete_snapshot(snapshot.snapshot_id) is True


def test_the_async_client(daemon):
    from e2b import AsyncSandbox

    async def run():
        sbx = await AsyncSandbox.create(timeout=600)
        try:
            await sbx.files.write("kept.txt", "kept")
            snapshot = await sbx.create_snapshot()
            copy = await AsyncSandbox.create(snapshot.snapshot_id, timeout=600)
            assert await copy.files.read("kept.txt") == "kept"
            await copy.kill()
            assert await AsyncSandbox.delete_snapshot(snapshot.snapshot_id) is True
        finally:
            await sbx.kill()

    asyncio.run(run())
