"""What happens at the end of a sandbox's time, and what wakes a paused one."""
import datetime
import json
import uuid

import pytest
from conftest import http_status, wait_for
from states import Everything, boot_id


PAUSE = {"on_timeout": "pause", "auto_resume": False}
RESUME = {"on_timeout": "pause", "auto_resume": True}


def detail(daemon, sbx):
    return daemon.api("GET", f"/sandboxes/{sbx.sandbox_id}")[1]


def expire(daemon, sbx):
    """Let its time be over and wait for what that does. Asks the API only: a request to the
    sandbox could wake it."""
    sbx.set_timeout(0)
    wait_for(lambda: detail(daemon, sbx).get("pauseMode"), "the sandbox to be paused", 60)


def seconds_left(sbx):
    return (sbx.get_info().end_at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


def via_host(daemon, sbx, port, path, headers=None):
    return http_status(daemon.proxy_url + path, headers={
        "Host": f"{port}-{sbx.sandbox_id}.localhost", **(headers or {})}, timeout=120)


def test_auto_pause(daemon, made):
    mark = uuid.uuid4().hex
    sbx = made(lifecycle=PAUSE)
    state = Everything(sbx, mark)
    assert detail(daemon, sbx)["lifecycle"] == {"autoResume": False, "onTimeout": "pause"}
    expire(daemon, sbx)
    info = sbx.get_info()
    assert info.state.value == "paused"
    assert info.lifecycle == {"auto_resume": False, "on_timeout": "pause"}
    # Not asked for: traffic does not wake it.
    assert sbx.is_running() is False
    assert sbx.get_info().state.value == "paused"
    sbx.connect(timeout=600)
    state.check(sbx)
    expire(daemon, sbx)
    sbx.connect(timeout=600)
    state.check(sbx)


def test_auto_pause_without_memory(daemon, made):
    sbx = made(lifecycle={"on_timeout": {"action": "pause", "mode": "filesystem"}})
    state = Everything(sbx, uuid.uuid4().hex)
    expire(daemon, sbx)
    assert detail(daemon, sbx)["pauseMode"] == "filesystem"
    sbx.connect(timeout=600)
    state.check_disk_only(sbx)


def test_a_kill_is_for_good(daemon, made):
    from e2b import Sandbox, SandboxNotFoundException

    sbx = made()
    sbx.set_timeout(0)
    status = wait_for(lambda: [b for s, b, _ in [daemon.api("GET", f"/sandboxes/{sbx.sandbox_id}")]
                               if s == 404 and "reason" in b], "the record of its end", 60)
    assert status[0]["reason"] == "deadline" and status[0]["actor"] == "deadline"
    with pytest.raises(SandboxNotFoundException):
        Sandbox.connect(sbx.sandbox_id)


def test_an_rpc_wakes_it(daemon, made):
    mark = uuid.uuid4().hex
    sbx = made(timeout=400, lifecycle=RESUME)
    state = Everything(sbx, mark)
    sbx.set_timeout(1000)  # not what it is given when it is woken
    for pause in (sbx.pause, lambda: expire(daemon, sbx)):
        pause()
        assert sbx.commands.run("echo woken").stdout == "woken\n"
        state.check(sbx)
        assert 300 < seconds_left(sbx) <= 400
    sbx.pause()
    assert sbx.is_running() is True  # the question itself wakes it


def test_a_woken_one_lives_for_five_minutes_at_least(daemon, made):
    sbx = made(timeout=60, lifecycle=RESUME)
    sbx.pause()
    assert sbx.files.exists("/etc/passwd")
    assert 250 < seconds_left(sbx) <= 300


def test_a_request_to_a_port_wakes_it(daemon, made):
    sbx = made(lifecycle=RESUME)
    sbx.files.write("site/index.html", "from the guest")
    sbx.commands.run("python3 -m http.server 8000 --bind 127.0.0.1", cwd="site", background=True,
                     timeout=0).disconnect()
    wait_for(lambda: via_host(daemon, sbx, 8000, "/")[0] == 200, "the server in the guest", 60)
    boot = boot_id(sbx)
    sbx.pause()
    status, _, body = via_host(daemon, sbx, 8000, "/")
    assert (status, body) == (200, b"from the guest")
    assert boot_id(sbx) == boot


def test_wrong_credentials_do_not(daemon, made):
    sbx = made(lifecycle=RESUME, network={"allow_public_traffic": False})
    sbx.pause()
    denied = {"sandboxId": sbx.sandbox_id, "code": 403, "message":
              "This sandbox can't be resumed with the credentials provided. Check your access "
              "token and try again."}
    for port, headers in ((49983, {}), (49983, {"X-Access-Token": "0" * 64}),
                          (49983, {"e2b-traffic-access-token": sbx.traffic_access_token}),
                          (8000, {}), (8000, {"X-Access-Token": sbx._envd_access_token}),
                          (8000, {"e2b-traffic-access-token": "0" * 64})):
        status, _, body = via_host(daemon, sbx, port, "/health", headers)
        assert (status, json.loads(body)) == (403, denied)
    assert detail(daemon, sbx)["state"] == "paused"
    status, _, body = via_host(daemon, sbx, 8000, "/", {
        "e2b-traffic-access-token": sbx.traffic_access_token})
    assert status == 502 and json.loads(body)["message"].endswith("port is not open")
    assert detail(daemon, sbx)["state"] == "running"


def test_what_has_no_memory_is_not_woken(daemon, made):
    sbx = made(lifecycle=RESUME)
    sbx.pause(mode="filesystem")
    assert sbx.is_running() is False
    status, _, body = via_host(daemon, sbx, 49983, "/health",
                               {"X-Access-Token": sbx._envd_access_token})
    assert (status, body.decode()) == (502, f'{{"sandboxId":"{sbx.sandbox_id}","message":'
                                            '"The sandbox was not found","code":502}')
    assert detail(daemon, sbx)["state"] == "paused"


@pytest.mark.parametrize("options", [
    {"autoPauseMemory": False},
    {"autoPause": False, "autoPauseMemory": False},
    {"autoPause": True, "autoPauseMemory": False, "autoResume": {"enabled": True}},
    {"autoPause": "yes"}, {"autoResume": {}}, {"autoResume": True},
])
def test_contradictions(daemon, options):
    status, body, _ = daemon.api("POST", "/v2/sandboxes", {"templateID": "base", **options})
    assert (status, body["code"]) == (400, 400)
