"""Pause and resume through the Python clients: what is kept, what is told, and who wins a race."""
import asyncio
import concurrent.futures
import datetime
import json
import os
import subprocess
import uuid

import pytest
from boxes import Box, create, names
from conftest import SANDPIT, http_status, wait_for
from faults import Faults, require_fault_points
from states import Everything, boot_id, server_timing


def test_pause_keeps_everything(daemon, made):
    from e2b import Sandbox

    mark = uuid.uuid4().hex
    sbx = made(envs={"GREETING": "hello"}, metadata={"mark": mark})
    before = sbx.get_info()
    state = Everything(sbx, mark)
    assert sbx.pause() is True
    assert sbx.pause() is False
    assert sbx.is_running() is False
    info = sbx.get_info()
    assert info.state.value == "paused"
    assert info.metadata == {"mark": mark}
    assert info.end_at <= datetime.datetime.now(datetime.timezone.utc)

    other = Sandbox.connect(sbx.sandbox_id, timeout=600)
    assert other._envd_access_token == sbx._envd_access_token
    state.check(other)
    assert other.commands.run("echo $GREETING").stdout == "hello\n"
    info = other.get_info()
    assert info.state.value == "running"
    left = (info.end_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert 500 < left <= 600
    assert info.template_id == before.template_id
    # Once more: what was kept is kept again, and the old object is as good as the new one.
    assert other.pause() is True
    sbx.connect(timeout=600)
    state.check(sbx)


def test_the_guest_knows_the_time(daemon, made):
    """Its clock is the host's, whatever time has passed outside."""
    import time

    sbx = made()
    sbx.pause()
    sbx.connect()
    guest = float(sbx.commands.run("date +%s.%N").stdout)
    assert abs(guest - time.time()) < 2


def test_list_has_both_in_pages(daemon, made):
    from e2b import Sandbox, SandboxQuery, SandboxState

    mark = uuid.uuid4().hex
    sandboxes = [made(metadata={"mark": mark}) for _ in range(3)]
    ids = [s.sandbox_id for s in sandboxes]
    sandboxes[1].pause()

    def listed(states=None, **options):
        pages = Sandbox.list(query=SandboxQuery(metadata={"mark": mark}, state=states), **options)
        found = []
        while pages.has_next:
            found += [(s.sandbox_id, s.state) for s in pages.next_items()]
        return found

    running, paused = SandboxState.RUNNING, SandboxState.PAUSED
    everything = [(ids[2], running), (ids[1], paused), (ids[0], running)]
    assert listed() == everything
    assert listed(limit=1) == everything
    assert listed([running, paused], limit=2) == everything
    assert listed([paused]) == [(ids[1], paused)]
    assert listed([running], limit=1) == [(ids[2], running), (ids[0], running)]
    status, _, headers = daemon.api("GET", f"/v2/sandboxes?metadata=mark%3D{mark}")
    assert (status, headers["x-total-running"]) == (200, "2")


def test_kill_a_paused_one(daemon, made):
    from e2b import Sandbox, SandboxNotFoundException

    sbx = made()
    sbx.pause()
    assert sbx.kill() is True
    assert sbx.kill() is False
    with pytest.raises(SandboxNotFoundException):
        Sandbox.connect(sbx.sandbox_id)
    status, body, _ = daemon.api("GET", f"/sandboxes/{sbx.sandbox_id}")
    assert (status, body["code"], body["error_code"]) == (404, 404, "sandbox_ended")
    assert body["actor"].startswith("key e2b_")
    assert body["reason"] and body["endedAt"]
    status, _, text = http_status(daemon.proxy_url + "/health", headers={
        "Host": f"49983-{sbx.sandbox_id}.localhost"})
    page = json.loads(text)
    assert (status, page["message"], page["code"]) == (502, "The sandbox was not found", 502)
    assert page["reason"] == body["reason"]


def test_without_memory(daemon, made):
    """The files stay, the machine begins anew; asked for at the pause or at the resume."""
    mark = uuid.uuid4().hex
    for pause, resume in (({"mode": "filesystem"}, {}), ({"keep_memory": False}, {}),
                          ({}, {"on_resume": "reboot"})):
        sbx = made(envs={"GREETING": "hello"})
        state = Everything(sbx, mark)
        assert sbx.pause(**pause) is True
        detail = daemon.api("GET", f"/sandboxes/{sbx.sandbox_id}")[1]
        assert detail["pauseMode"] == ("filesystem" if pause else "full")
        sbx.connect(timeout=600, **resume)
        state.check_disk_only(sbx)
        assert sbx.commands.run("echo $GREETING").stdout == "hello\n"
        sbx.kill()


def resumed_events(daemon, ident):
    """(reason, detail) of each."""
    told = subprocess.run([SANDPIT, "events", "--json", "--sandbox", ident, "--data-dir",
                           daemon.data_dir], check=True, capture_output=True, text=True).stdout
    events = [json.loads(line)["event"] for line in told.splitlines()]
    return [(e.get("reason"), e.get("detail", "")) for e in events
            if e["kind"] == "EVENT_KIND_RESUMED"]


def write_unsynced(box):
    """In the guest's page cache, and nowhere else: it writes nothing back within a minute."""
    box.run("echo 60000 >/proc/sys/vm/dirty_expire_centisecs; "
            "echo 0 >/proc/sys/vm/dirty_writeback_centisecs; sync; "
            "head -c 300000 /dev/urandom >/root/new; echo whole >/root/end")
    return box.run("sha256sum /root/new")


def test_a_boot_has_what_was_written_right_before_the_pause(daemon):
    """Which only the memory had."""
    box = create(daemon)
    new = write_unsynced(box)
    assert box.pause() == (204, None)
    assert box.connect(memory=False)[0] == 201
    assert box.run("sha256sum /root/new") == new
    assert box.read("/root/end") == (200, b"whole\n")
    assert resumed_events(daemon, box.id) == [("reboot", "")]
    assert box.kill() == 204


def test_a_boot_without_what_the_memory_had_is_told(daemon):
    """Its snapshot is damaged: the disk is as the guest had last written it out."""
    box = create(daemon)
    assert box.write("/root/kept", b"kept")
    write_unsynced(box)
    before = set(names(daemon.data_dir, "snapshots"))
    assert box.pause() == (204, None)
    mine, = set(names(daemon.data_dir, "snapshots")) - before
    os.truncate(f"{daemon.data_dir}/snapshots/{mine}/memory", 100)
    assert box.connect(memory=False)[0] == 201
    assert box.read("/root/kept") == (200, b"kept")
    assert box.read("/root/new")[0] == 404
    (reason, detail), = resumed_events(daemon, box.id)
    assert reason == "reboot" and "is lost" in detail and "damaged" in detail
    assert box.kill() == 204


def test_a_boot_of_a_guest_that_did_not_answer_is_told(daemon):
    """Its CPUs belong to others, so that it is not asked for anything."""
    box = create(daemon)
    assert box.write("/root/kept", b"kept")
    box.run("sync; echo -1 >/proc/sys/kernel/sched_rt_runtime_us; for cpu in $(seq $(nproc)); do "
            "(sleep 1; exec chrt -f 99 sh -c 'while :; do :; done') </dev/null >/dev/null 2>&1 & "
            "done")
    wait_for(lambda: not answers(box), "the guest to be busy", 60)
    assert box.pause() == (204, None)
    assert box.connect(memory=False)[0] == 201
    assert box.read("/root/kept") == (200, b"kept")
    (reason, detail), = resumed_events(daemon, box.id)
    assert reason == "reboot" and "did not answer when it was paused" in detail
    assert box.kill() == 204


def answers(box):
    """Within a second."""
    try:
        return http_status(f"{box.daemon.proxy_url}/health", headers=box.headers(), timeout=1)[0]
    except OSError:
        return None


@pytest.mark.parametrize("body", [{"mode": "full", "memory": False}, {"mode": "disk"},
                                  {"mode": "filesystem", "memory": True}, {"memory": 1}])
def test_contradictions(daemon, shared_sandbox, body):
    for what in ("pause", "snapshots"):
        status, answer, _ = daemon.api("POST", f"/sandboxes/{shared_sandbox.sandbox_id}/{what}",
                                       body)
        assert (status, answer["code"]) == (400, 400)
    assert shared_sandbox.is_running()


def test_two_connects_join_one_resume(own_daemon, tmp_path):
    require_fault_points()
    faults = Faults(tmp_path)
    d = own_daemon(env=faults.env)
    status, made, _ = d.api("POST", "/sandboxes", {"templateID": "base", "timeout": 600})
    assert status == 201, made
    box = Box(d, made)
    assert box.pause()[0] == 204
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        with faults.holding(d, "resume.source") as wait:
            first = pool.submit(box.connect)
            wait()  # nothing is read meanwhile, so the others are there when it goes on
            others = [pool.submit(box.connect) for _ in range(3)]
            wait_for(lambda: requests_waiting(d) == 3, "the other requests")
        answers = [f.result() for f in (first, *others)]
    assert [a[0] for a in answers] == [201] * 4, "joiners are told the same as the first"
    assert {a[1]["sandboxID"] for a in answers} == {box.id}
    assert box.kill() == 204


def requests_waiting(daemon):
    """Connections to the API that hold bytes which nobody has read."""
    n = 0
    for line in open("/proc/net/tcp"):
        fields = line.split()
        if fields[1].endswith(f":{daemon.api_port:04X}") and fields[3] == "01":
            n += int(fields[4].split(":")[1], 16) > 0
    return n


def test_requests_during_a_pause(daemon, made):
    """Connect waits for it; set_timeout is refused; another pause is a conflict; in the end the
    sandbox runs."""
    sbx = made()
    path = f"/sandboxes/{sbx.sandbox_id}"
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        pauses = [pool.submit(daemon.api, "POST", path + "/pause", {}) for _ in range(2)]
        timeout = pool.submit(daemon.api, "POST", path + "/timeout", {"timeout": 100})
        assert sorted(p.result()[0] for p in pauses) == [204, 409]
        assert timeout.result()[0] in (204, 404, 409)
    status, body, headers = daemon.api("POST", f"/v2{path}/connect", {"timeout": 100})
    assert status == 201 and body["sandboxID"] == sbx.sandbox_id
    assert server_timing(headers)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pause = pool.submit(daemon.api, "POST", path + "/pause", {})
        connect = pool.submit(daemon.api, "POST", f"/v2{path}/connect", {"timeout": 100})
        assert pause.result()[0] == 204
        assert connect.result()[0] in (200, 201)
    daemon.api("POST", f"/v2{path}/connect", {"timeout": 100})
    assert sbx.commands.run("echo there").stdout == "there\n"


def test_unknown_ones(daemon):
    path = "/sandboxes/i" + "z" * 20
    for call in ("/pause", "/resume", "/snapshots", "/fork"):
        status, body, _ = daemon.api("POST", path + call, {})
        assert (status, body["code"]) == (404, 404)


def test_v1_forms(daemon, made):
    sbx = made()
    path = f"/sandboxes/{sbx.sandbox_id}"
    status, body, _ = daemon.api("POST", path + "/resume", {"timeout": 100})
    assert status == 409 and "already running" in body["message"]
    assert daemon.api("POST", path + "/pause")[0] == 204
    assert daemon.api("POST", path + "/timeout", {"timeout": 100})[0] == 404
    status, body, _ = daemon.api("POST", path + "/resume", {"timeout": 100})
    assert status == 201 and body["envdAccessToken"] == sbx._envd_access_token
    assert daemon.api("POST", path + "/pause", {})[0] == 204
    assert daemon.api("POST", path + "/connect", {"timeout": 100})[0] == 201
    assert daemon.api("POST", path + "/connect", {"timeout": 100})[0] == 200


def test_open_streams_are_told(daemon, made):
    """A command's stream ends with an error, and what it printed meanwhile comes again."""
    from e2b import SandboxException

    sbx = made()
    run = sbx.commands.run("echo before; sleep 2; echo after; sleep 100000", background=True,
                           timeout=0)
    first = next(iter(run))
    assert first[0] == "before\n"
    sbx.pause()
    with pytest.raises(SandboxException):
        run.wait()
    sbx.connect(timeout=600)
    again = sbx.commands.connect(run.pid, timeout=60)
    for out, _, _ in again:
        assert out == "after\n"
        break
    again.disconnect()


def test_the_raw_end_of_a_stream(daemon, made):
    """On the wire: a last envelope with what happened, and a whole HTTP response."""
    from test_reconnect import RawStream, routed

    sbx = made()
    stream = RawStream(daemon.proxy_port, routed(daemon, sbx), "Start", {
        "process": {"cmd": "/bin/sleep", "args": ["1000"]}, "stdin": False})
    while b'"pid"' not in stream.received:
        assert stream.read()
    sbx.pause()
    while not stream.received.endswith(b"0\r\n\r\n"):
        assert stream.read()
    assert b'{"error":{"code":"unavailable","message":"the sandbox was paused"}}' in stream.received
    assert stream.received.endswith(b"0\r\n\r\n")


def test_a_plain_response_is_cut(daemon, made):
    """One that has no such end is not made to look whole."""
    import http.client

    sbx = made()
    sbx.files.write("big", "x" * (64 << 20))
    connection = http.client.HTTPConnection("127.0.0.1", daemon.proxy_port, timeout=60)
    connection.request("GET", "/files?path=/home/user/big", headers={
        "Host": f"49983-{sbx.sandbox_id}.localhost", "X-Access-Token": sbx._envd_access_token})
    response = connection.getresponse()
    assert response.status == 200
    response.read(1 << 20)
    sbx.pause()
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        while response.read(1 << 20):
            pass
        raise http.client.IncompleteRead(b"")  # chunked bodies end without a word here
    connection.close()


def test_the_async_client(daemon):
    from e2b import AsyncSandbox

    async def run():
        sbx = await AsyncSandbox.create(timeout=600, envs={"GREETING": "hello"})
        try:
            sleeper = await sbx.commands.run("sleep 100000", background=True, timeout=0)
            await sleeper.disconnect()
            await sbx.files.write("kept.txt", "kept")
            assert await sbx.pause() is True
            assert await sbx.pause() is False
            assert await sbx.is_running() is False
            first, second = await asyncio.gather(AsyncSandbox.connect(sbx.sandbox_id, timeout=600),
                                                 AsyncSandbox.connect(sbx.sandbox_id, timeout=600))
            assert sleeper.pid in [p.pid for p in await first.commands.list()]
            assert await second.files.read("kept.txt") == "kept"
            assert (await first.commands.run("echo $GREETING")).stdout == "hello\n"
        finally:
            await sbx.kill()

    asyncio.run(run())


def test_the_old_spelling(daemon, made):
    sbx = made()
    assert sbx.beta_pause() is True
    assert sbx.get_info().state.value == "paused"
    sbx.connect(timeout=600)
    assert sbx.commands.run("echo there").stdout == "there\n"
