"""Traffic to a sandbox's ports, and what the proxy says when there is nobody to talk to."""
import json
import socket

import pytest
from conftest import http_status, wait_for


def via_host(daemon, host, path="/", headers=None, method="GET", body=None):
    return http_status(daemon.proxy_url + path, method, {"Host": host, **(headers or {})}, body)


@pytest.fixture(scope="module")
def web(daemon, shared_sandbox):
    """A python http.server in the guest, bound to localhost; its host name."""
    shared_sandbox.files.write("site/index.html", "<h1>from the guest</h1>")
    shared_sandbox.commands.run("python3 -m http.server 8000 --bind 127.0.0.1", cwd="site",
                                background=True, timeout=0)
    host = shared_sandbox.get_host(8000)
    wait_for(lambda: via_host(daemon, host)[0] == 200, "the server in the guest", 60)
    return host


def test_a_server_in_the_guest(daemon, web):
    assert web.startswith("8000-")
    status, headers, body = via_host(daemon, web)
    assert (status, body) == (200, b"<h1>from the guest</h1>")
    assert via_host(daemon, web, "/nothing")[0] == 404


def test_by_headers(daemon, web, shared_sandbox):
    route = {"E2b-Sandbox-Id": shared_sandbox.sandbox_id, "E2b-Sandbox-Port": "8000"}
    status, _, body = http_status(daemon.proxy_url + "/", headers=route)
    assert (status, body) == (200, b"<h1>from the guest</h1>")


def test_closed_port(daemon, shared_sandbox):
    status, headers, body = via_host(daemon, shared_sandbox.get_host(9999))
    assert status == 502
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert body.decode() == (f'{{"sandboxId":"{shared_sandbox.sandbox_id}","message":"The sandbox '
                             'is running but port is not open","port":9999,"code":502}')


def test_closed_port_in_a_browser(daemon, shared_sandbox):
    status, headers, body = via_host(daemon, shared_sandbox.get_host(9999), headers={
        "User-Agent": "Mozilla/5.0 (X11; Linux) Chrome/120", "Accept": "text/html"})
    assert status == 502
    assert headers["content-type"].startswith("text/html")
    assert b"no service running on port" in body and b"9999" in body


def test_unknown_and_killed_sandbox(daemon):
    from e2b import Sandbox

    sbx = Sandbox.create(timeout=120)
    sbx.kill()
    for sandbox_id, more in ((sbx.sandbox_id, ',"reason":"api"'), ("i" + "a" * 20, "")):
        status, _, body = via_host(daemon, f"49983-{sandbox_id}.localhost", "/health")
        assert status == 502
        assert body.decode() == (f'{{"sandboxId":"{sandbox_id}",'
                                 f'"message":"The sandbox was not found","code":502{more}}}')


@pytest.mark.parametrize("path", ["/init", "//init", "/%69nit", "/sandpit.guest.v1.Guest/Hello"])
def test_internal_routes(daemon, shared_sandbox, path):
    status, _, body = via_host(daemon, f"49983-{shared_sandbox.sandbox_id}.localhost", path,
                               method="POST", body=b"{}",
                               headers={"X-Access-Token": shared_sandbox._envd_access_token or ""})
    assert status == 404
    assert json.loads(body)["message"].startswith("This endpoint is reserved")


def test_secured(daemon, shared_sandbox):
    host = f"49983-{shared_sandbox.sandbox_id}.localhost"
    json_type = {"Content-Type": "application/json"}
    assert via_host(daemon, host, "/health")[0] == 204
    assert via_host(daemon, host, "/files?path=/etc/passwd")[0] == 401
    assert via_host(daemon, host, "/envs")[0] == 401
    assert via_host(daemon, host, "/process.Process/List", json_type, "POST", b"{}")[0] == 401
    wrong = {**json_type, "X-Access-Token": "0" * 64}
    assert via_host(daemon, host, "/process.Process/List", wrong, "POST", b"{}")[0] == 401


@pytest.mark.parametrize("headers,host,message", [
    ({"E2b-Sandbox-Id": "iabc"}, "localhost", "missing header"),
    ({"E2b-Sandbox-Id": "iabc", "E2b-Sandbox-Port": "x"}, "localhost", "Invalid sandbox port"),
    ({}, "localhost", "Invalid host"),
    ({}, "80-i_b.example.com", "Invalid sandbox ID"),
])
def test_bad_routes(daemon, headers, host, message):
    status, _, body = via_host(daemon, host, headers=headers)
    assert (status, body.decode()) == (400, message)


ECHO_SERVER = """
import base64, hashlib, socket
s = socket.create_server(('127.0.0.1', 8765))
while True:
    c, _ = s.accept()
    head = b''
    while not head.endswith(b'\\r\\n\\r\\n'):
        head += c.recv(1)
    key = [l.split(b': ')[1] for l in head.split(b'\\r\\n') if l.lower().startswith(b'sec-websocket-key')][0]
    accept = base64.b64encode(hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
    c.sendall(b'HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n'
              b'Sec-WebSocket-Accept: ' + accept + b'\\r\\n\\r\\n')
    while True:
        data = c.recv(65536)
        if not data:
            break
        c.sendall(data[::-1])
    c.close()
"""


def test_websocket(daemon, shared_sandbox):
    """An upgrade turns the connection into bytes both ways."""
    shared_sandbox.files.write("ws.py", ECHO_SERVER)
    shared_sandbox.commands.run("python3 ws.py", background=True, timeout=0)

    def attempt():
        c = socket.create_connection(("127.0.0.1", daemon.proxy_port), timeout=10)
        c.sendall(f"GET /chat HTTP/1.1\r\nHost: 8765-{shared_sandbox.sandbox_id}.localhost\r\n"
                  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            piece = c.recv(4096)
            if not piece:
                break
            head += piece
        if b" 101 " not in head.split(b"\r\n")[0]:
            c.close()
            return None
        return c, head

    c, head = wait_for(attempt, "the websocket server", 60)
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
    c.sendall(b"abc")
    assert c.recv(3) == b"cba"
    c.sendall(b"0123456789" * 1000)
    got = b""
    while len(got) < 10000:
        got += c.recv(65536)
    assert len(got) == 10000
    c.close()


def test_a_kill_ends_open_streams(daemon):
    from e2b import Sandbox, TimeoutException, SandboxException

    sbx = Sandbox.create(timeout=300)
    handle = sbx.commands.run("sleep 300", background=True, timeout=0)
    sbx.kill()
    with pytest.raises((TimeoutException, SandboxException)):
        handle.wait()


def test_connect_is_refused(daemon, web, shared_sandbox):
    """CONNECT, which HTTP/2 has too, would open a tunnel to any port of the guest, whatever token
    that port needs."""
    import h2.connection
    import h2.events

    h2c = h2.connection.H2Connection()
    h2c.initiate_connection()
    h2c.send_headers(1, [(":method", "CONNECT"), (":authority", "localhost:8000"),
                         ("e2b-sandbox-id", shared_sandbox.sandbox_id),
                         ("e2b-sandbox-port", "49983")])
    status = None
    with socket.create_connection(("127.0.0.1", daemon.proxy_port), timeout=30) as c:
        while status is None:
            c.sendall(h2c.data_to_send())
            data = c.recv(65536)
            assert data, "the connection was closed"
            for event in h2c.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[b":status"]
    assert status == b"400"
