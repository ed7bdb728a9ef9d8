"""Forks: sandboxes that go on from where another one is."""
import asyncio
import uuid

import pytest
from states import Everything, boot_id, server_timing, started


@pytest.fixture
def source(daemon):
    from e2b import Sandbox

    sbx = Sandbox.create(timeout=600, envs={"FROM": "source"})
    yield sbx
    sbx.kill()


def test_three(daemon, source):
    mark = uuid.uuid4().hex
    state = Everything(source, mark)
    end = source.get_info().end_at
    forks = source.fork(timeout=600, count=3)
    try:
        assert len({f.sandbox_id for f in forks} | {source.sandbox_id}) == 4
        assert len({f._envd_access_token for f in forks}) == 3
        for n, fork in enumerate(forks):
            assert boot_id(fork) == state.boot
            assert started(fork, state.sleeper) == state.sleeper_began
            assert state.python.on(fork).run("print(kept)") == mark
            assert fork.files.read("kept.txt") == mark
            assert fork.commands.run("echo $FROM $E2B_SANDBOX_ID").stdout.split() == \
                ["source", fork.sandbox_id]
            fork.files.write("kept.txt", f"fork {n}")
            state.python.on(fork).run(f"kept = 'fork {n}'")
        for n, fork in enumerate(forks):
            assert fork.files.read("kept.txt") == f"fork {n}"
            assert state.python.on(fork).run("print(kept)") == f"fork {n}"
        state.check(source)
        assert source.get_info().end_at == end
        # What the kernel draws from its generator is each one's own.
        random = [s.commands.run("od -An -tx1 -N16 /dev/urandom").stdout
                  for s in (*forks, source)]
        assert len(set(random)) == 4
    finally:
        for fork in forks:
            fork.kill()


def test_a_fork_is_a_sandbox(daemon, source):
    """It pauses, resumes, and outlives the one it is from."""
    source.files.write("kept.txt", "kept")
    fork, = source.fork(timeout=600)
    source.kill()
    try:
        assert fork.get_info().state.value == "running"
        assert fork.pause() is True
        fork.connect(timeout=600)
        assert fork.files.read("kept.txt") == "kept"
        again, = fork.fork(timeout=600)
        assert again.files.read("kept.txt") == "kept"
        again.kill()
    finally:
        fork.kill()


def test_of_one_just_made(daemon):
    """What a create leaves for later in its guest, its copy has under way."""
    for _ in range(6):
        status, made, _ = daemon.api("POST", "/sandboxes", {"templateID": "base", "timeout": 300})
        assert status == 201, made
        status, forks, _ = daemon.api("POST", f"/sandboxes/{made['sandboxID']}/fork")
        assert status == 201 and "sandbox" in forks[0], forks
        for sandbox in (made, forks[0]["sandbox"]):
            assert daemon.api("DELETE", f"/sandboxes/{sandbox['sandboxID']}")[0] == 204


def test_what_is_refused(daemon, source):
    path = f"/sandboxes/{source.sandbox_id}"
    for body in ({"count": 0}, {"count": 101}, {"count": "1"}, {"timeout": 0},
                 {"timeout": 86401}):
        status, answer, _ = daemon.api("POST", path + "/fork", body)
        assert (status, answer["code"]) == (400, 400), body
    status, answer, headers = daemon.api("POST", path + "/fork")
    assert status == 201 and len(answer) == 1 and "sandbox" in answer[0], answer
    assert server_timing(headers)
    daemon.api("DELETE", f"/sandboxes/{answer[0]['sandbox']['sandboxID']}")
    source.pause()
    status, answer, _ = daemon.api("POST", path + "/fork", {})
    assert (status, answer["code"]) == (409, 409)


def test_the_async_client(daemon):
    from e2b import AsyncSandbox

    async def run():
        sbx = await AsyncSandbox.create(timeout=600)
        forks = []
        try:
            await sbx.files.write("kept.txt", "kept")
            forks = await sbx.fork(timeout=600, count=2)
            assert [await f.files.read("kept.txt") for f in forks] == ["kept", "kept"]
        finally:
            for one in (sbx, *forks):
                await one.kill()

    asyncio.run(run())
