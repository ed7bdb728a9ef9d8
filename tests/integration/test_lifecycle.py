"""The life of a sandbox through the Python client: create, find, list, time, kill."""
import contextlib
import datetime
import http.client
import signal
import threading
import uuid

import pytest
from boxes import Box
from conftest import wait_for
from faults import Faults, require_fault_points


def test_template_names(daemon):
    from e2b import Template

    assert Template.exists("base")
    assert not Template.exists("no-such-" + uuid.uuid4().hex)


def test_create_info_kill(daemon):
    from e2b import Sandbox, SandboxNotFoundException

    before = datetime.datetime.now(datetime.timezone.utc)
    sbx = Sandbox.create(timeout=120, metadata={"a b": "c&d", "unicode": "žluť"})
    try:
        assert sbx.is_running()
        info = sbx.get_info()
        assert info.sandbox_id == sbx.sandbox_id
        assert info.metadata == {"a b": "c&d", "unicode": "žluť"}
        assert info.name == "base"
        assert info.state.value == "running"
        assert info.cpu_count >= 1 and info.memory_mb >= 128
        assert before - datetime.timedelta(seconds=1) <= info.started_at
        lifetime = (info.end_at - info.started_at).total_seconds()
        assert 119 <= lifetime <= 121
    finally:
        assert sbx.kill() is True
    assert sbx.kill() is False
    assert sbx.is_running() is False
    with pytest.raises(SandboxNotFoundException):
        Sandbox.connect(sbx.sandbox_id)
    with pytest.raises(SandboxNotFoundException):
        sbx.get_info()


def test_unknown_template(daemon):
    from e2b import Sandbox, SandboxException

    with pytest.raises(SandboxException) as e:
        Sandbox.create("no-such-template")
    assert "not found" in str(e.value)


def test_wrong_key(daemon):
    from e2b import AuthenticationException, Sandbox

    with pytest.raises(AuthenticationException):
        Sandbox.create(api_key="e2b_" + "0" * 40)


def test_list_filters_and_pages(daemon):
    from e2b import Sandbox, SandboxQuery

    mark = uuid.uuid4().hex
    made = [Sandbox.create(timeout=300, metadata={"mark": mark, "n": str(n)}) for n in range(3)]
    ids = [s.sandbox_id for s in made]
    try:
        one = Sandbox.list(query=SandboxQuery(metadata={"mark": mark, "n": "1"})).next_items()
        assert [s.sandbox_id for s in one] == [ids[1]]
        assert one[0].metadata == {"mark": mark, "n": "1"}

        pages = Sandbox.list(query=SandboxQuery(metadata={"mark": mark}), limit=1)
        seen = []
        while pages.has_next:
            items = pages.next_items()
            assert len(items) <= 1
            seen += [s.sandbox_id for s in items]
        assert seen == ids[::-1]

        none = Sandbox.list(query=SandboxQuery(metadata={"mark": "other" + mark})).next_items()
        assert none == []
    finally:
        for s in made:
            s.kill()
    gone = Sandbox.list(query=SandboxQuery(metadata={"mark": mark})).next_items()
    assert gone == []


def test_set_timeout_shortens_and_extends_and_connect_never_shortens(daemon):
    from e2b import Sandbox

    sbx = Sandbox.create(timeout=300)
    try:
        def end():
            return sbx.get_info().end_at

        now = datetime.datetime.now(datetime.timezone.utc)
        sbx.set_timeout(60)
        assert (end() - now).total_seconds() < 90
        sbx.set_timeout(600)
        extended = end()
        assert (extended - now).total_seconds() > 500
        other = Sandbox.connect(sbx.sandbox_id, timeout=30)
        assert end() == extended
        assert other.sandbox_id == sbx.sandbox_id
        assert other.commands.run("echo again").stdout == "again\n"
        Sandbox.connect(sbx.sandbox_id, timeout=1200)
        assert end() > extended
    finally:
        sbx.kill()


def test_expiry_kills(daemon):
    from e2b import Sandbox

    sbx = Sandbox.create(timeout=300)
    sbx.set_timeout(0)
    wait_for(lambda: not sbx.is_running(), "the sandbox to expire", 30)
    assert sbx.kill() is False


def test_envs_of_the_sandbox(daemon):
    from e2b import Sandbox

    sbx = Sandbox.create(timeout=300, envs={"GREETING": "hello 'world' $x", "EMPTY": ""})
    try:
        out = sbx.commands.run('printf "%s|%s|" "$GREETING" "${EMPTY-unset}"').stdout
        assert out == "hello 'world' $x||"
        out = sbx.commands.run('printf %s "$GREETING"', envs={"GREETING": "mine"}).stdout
        assert out == "mine"
        out = sbx.commands.run('printf %s "$E2B_SANDBOX_ID"').stdout
        assert out == sbx.sandbox_id
    finally:
        sbx.kill()


def test_an_idempotency_key_makes_one_sandbox(daemon):
    from e2b import Sandbox, SandboxException

    key = f"once-{uuid.uuid4()}"
    first = Sandbox.create(timeout=60, idempotency_key=key)
    again = Sandbox.create(timeout=60, idempotency_key=key)
    try:
        assert again.sandbox_id == first.sandbox_id
        assert again.commands.run("echo works").stdout == "works\n"
        with pytest.raises(SandboxException, match="another request"):
            Sandbox.create(timeout=61, idempotency_key=key)
    finally:
        first.kill()


def test_an_idempotency_key_makes_one_sandbox_though_the_daemon_dies(own_daemon, tmp_path):
    require_fault_points()
    faults = Faults(tmp_path)
    d = own_daemon(env={**faults.env, "SANDPIT_POOL_HOT": "0", "SANDPIT_POOL_WAITING": "0"})

    def ask(timeout=600):
        status, answer, _ = d.api("POST", "/v2/sandboxes",
                                  {"templateID": "base", "timeout": timeout},
                                  headers={"Idempotency-Key": "once"})
        return status, answer

    def ask_in_vain():
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask()

    def listed():
        return [s["sandboxID"] for s in d.api("GET", "/v2/sandboxes")[1]]

    # Killed before the sandbox is on record: it is none, and the key is free.
    asked = threading.Thread(target=ask_in_vain)
    with faults.holding(d, "create.record") as wait:
        asked.start()
        wait()
        d.stop(signal.SIGKILL)
    asked.join()
    d.start()
    assert listed() == []

    # Killed after: the key is this sandbox's.
    status, first = ask()
    assert status == 201
    d.stop(signal.SIGKILL)
    d.start()
    status, again = ask()
    assert status == 201 and again == first
    assert listed() == [first["sandboxID"]]
    assert Box(d, again).works()
    assert ask(601)[0] == 422

    assert Box(d, first).pause()[0] == 204
    assert ask() == (201, first)
    assert Box(d, first).kill() == 204
    assert ask()[0] == 409
    d.stop(signal.SIGKILL)
    d.start()
    status, answer = ask()
    assert (status, answer["error_code"]) == (409, "idempotency_outcome_unknown")
    assert listed() == []
