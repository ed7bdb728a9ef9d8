"""The control API over plain HTTP: bad input, each a JSON error, and the daemon goes on."""
import json
import subprocess

import pytest
from conftest import SANDPIT, http_status


def check(answer, status):
    got, body, _ = answer
    assert got == status, body
    assert body["code"] == status
    assert isinstance(body["message"], str) and body["message"]
    return body["message"]


@pytest.fixture(autouse=True)
def goes_on(daemon):
    yield
    assert daemon.process.poll() is None
    assert http_status(daemon.api_url + "/health")[0] == 204


def create(daemon, **body):
    return daemon.api("POST", "/v2/sandboxes", {"templateID": "base", **body})


def test_unknown_template(daemon):
    assert "not found" in check(daemon.api("POST", "/v2/sandboxes", {"templateID": "nope"}), 404)


@pytest.mark.parametrize("key", ["", "e2b_" + "f" * 40, "garbage", "e2b_xyz"])
def test_keys(daemon, key):
    check(daemon.api("GET", "/v2/sandboxes", key=key), 401)


@pytest.mark.parametrize("raw", [b"{", b"[]", b"null", b"\xff\xfe", b'{"templateID":5}',
                                 b'{"templateID":"base","timeout":"x"}',
                                 b'{"templateID":"base","metadata":{"a":1}}', b"{}"])
def test_malformed_bodies(daemon, raw):
    check(daemon.api("POST", "/v2/sandboxes", raw=raw), 400)


@pytest.mark.parametrize("timeout", [0, -1])
def test_timeouts_that_are_none(daemon, timeout):
    assert check(create(daemon, timeout=timeout), 400) == "Timeout must be greater than 0"


def test_timeout_beyond_the_maximum(daemon):
    assert check(create(daemon, timeout=86401), 400) == "Timeout cannot be greater than 24 hours"


def test_body_over_the_limit(daemon):
    big = b'{"templateID":"base","metadata":{"a":"' + b"x" * (17 << 20) + b'"}}'
    check(daemon.api("POST", "/v2/sandboxes", raw=big), 413)


@pytest.mark.parametrize("path", ["i_b", "I%41", "a-b-c", "%00", "a%2Fb", "..%2f.."])
def test_odd_ids(daemon, path):
    check(daemon.api("GET", "/sandboxes/" + path), 400)


def test_unknown_ids(daemon):
    unknown = "i" + "z" * 20
    assert unknown in check(daemon.api("GET", f"/sandboxes/{unknown}"), 404)
    check(daemon.api("DELETE", f"/sandboxes/{unknown}"), 404)
    check(daemon.api("POST", f"/sandboxes/{unknown}/timeout", {"timeout": 5}), 404)
    check(daemon.api("POST", f"/v2/sandboxes/{unknown}/connect", {}), 404)


@pytest.mark.parametrize("path", ["/", "/nothing", "/v2/nothing", "/sandboxes/a/b/c/d"])
def test_unknown_routes(daemon, path):
    check(daemon.api("GET", path), 404)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up", "state=gone",
                                   "startedAfter=now", "nextToken=%21", "metadata=a"])
def test_bad_queries(daemon, query):
    check(daemon.api("GET", "/v2/sandboxes?" + query), 400)


def test_unsupported_options_are_refused(daemon):
    for option in ({"volumeMounts": [{"name": "v", "path": "/v"}]}, {"mcp": {"x": {}}}):
        message = check(create(daemon, **option), 400)
        assert next(iter(option)) in message


def test_timeout_of_a_running_sandbox(daemon):
    status, sb, _ = create(daemon, timeout=100)
    assert status == 201
    path = f"/sandboxes/{sb['sandboxID']}"
    try:
        assert daemon.api("POST", path + "/timeout", {"timeout": 50})[0] == 204
        check(daemon.api("POST", path + "/timeout", {"timeout": 86400 * 2}), 400)
        check(daemon.api("POST", path + "/timeout", {}), 400)
        assert daemon.api("POST", path + "/refreshes", {"duration": 60})[0] == 204
        detail = daemon.api("GET", path)[1]
        for field in ("templateID", "sandboxID", "clientID", "startedAt", "endAt", "cpuCount",
                      "memoryMB", "diskSizeMB", "state", "envdVersion", "envdAccessToken", "domain"):
            assert detail[field], field
        assert detail["alias"] == "base"
        assert daemon.api("POST", path + "/timeout", {"timeout": -1})[0] == 204
    finally:
        daemon.api("DELETE", path)


def test_another_team_sees_nothing(daemon):
    """Keys of one team give 404 for another's sandbox."""
    other = subprocess.run([SANDPIT, "key", "create", "--team", "others", "--data-dir",
                            daemon.data_dir], check=True, capture_output=True,
                           text=True).stdout.strip()
    status, sb, _ = create(daemon, timeout=100)
    assert status == 201
    path = f"/sandboxes/{sb['sandboxID']}"
    try:
        for method, call, body in (("GET", path, None), ("DELETE", path, None),
                                   ("POST", path + "/timeout", {"timeout": 1}),
                                   ("POST", path + "/refreshes", {}),
                                   ("POST", f"/v2{path}/connect", {})):
            check(daemon.api(method, call, body, key=other), 404)
        assert daemon.api("GET", "/v2/sandboxes", key=other)[1] == []
        assert daemon.api("GET", path)[0] == 200
    finally:
        assert daemon.api("DELETE", path)[0] == 204
        check(daemon.api("DELETE", path), 404)


def test_a_revoked_key(daemon):
    made = subprocess.run([SANDPIT, "key", "create", "--name", "short", "--data-dir",
                           daemon.data_dir], check=True, capture_output=True,
                          text=True).stdout.strip()
    assert daemon.api("GET", "/v2/sandboxes", key=made)[0] == 200
    listed = subprocess.run([SANDPIT, "key", "list", "--data-dir", daemon.data_dir], check=True,
                            capture_output=True, text=True).stdout
    assert made not in listed
    key_id = next(line.split()[0] for line in listed.splitlines()
                  if "short" in line and made[-4:] in line)
    subprocess.run([SANDPIT, "key", "revoke", key_id, "--data-dir", daemon.data_dir], check=True,
                   capture_output=True)
    check(daemon.api("GET", "/v2/sandboxes", key=made), 401)


def test_v1_forms(daemon):
    status, sb, _ = daemon.api("POST", "/sandboxes", {"templateID": "base", "timeout": 60})
    assert status == 201
    sandbox_id = sb["sandboxID"]
    try:
        assert "envdAccessToken" not in sb or not sb["envdAccessToken"]
        ids = [s["sandboxID"] for s in daemon.api("GET", "/sandboxes")[1]]
        assert sandbox_id in ids
        answer = daemon.api("POST", f"/sandboxes/{sandbox_id}/connect", {"timeout": 100})
        assert answer[0] == 200 and answer[1]["sandboxID"] == sandbox_id
        assert daemon.api("GET", f"/sandboxes/{sandbox_id}-6532622b")[0] == 200
    finally:
        assert daemon.api("DELETE", f"/sandboxes/{sandbox_id}")[0] == 204


def test_private_traffic(daemon):
    status, sb, _ = create(daemon, timeout=100, network={"allowPublicTraffic": False})
    assert status == 201, sb
    try:
        token = sb["trafficAccessToken"]
        host = {"Host": f"8000-{sb['sandboxID']}.localhost"}
        status, _, body = http_status(daemon.proxy_url + "/", headers=host)
        assert status == 403 and "is missing" in json.loads(body)["message"]
        bad = {**host, "e2b-traffic-access-token": "0" * 64}
        status, _, body = http_status(daemon.proxy_url + "/", headers=bad)
        assert status == 403 and "is invalid" in json.loads(body)["message"]
        good = {**host, "e2b-traffic-access-token": token}
        assert http_status(daemon.proxy_url + "/", headers=good)[0] == 502
        envd = {"Host": f"49983-{sb['sandboxID']}.localhost"}
        assert http_status(daemon.proxy_url + "/health", headers=envd)[0] == 204
    finally:
        daemon.api("DELETE", f"/sandboxes/{sb['sandboxID']}")
