"""Clients that go away in the middle of output and come back: nothing is missing, nothing twice."""
import base64
import json
import os
import select
import signal
import socket
import struct
import subprocess

import pytest
from conftest import ENVD, free_port, http_status, wait_for

LINE = 8  # bytes, the line feed included
LINES = 1_250_000
TOTAL = LINE * LINES


def numbers(first, last):
    return "".join(f"{n:07d}\n" for n in range(first, last + 1))


EVERYTHING = numbers(1, LINES)

# Prints a part each time it is told to, and waits until it is told the next time.
PARTS = """
import os, sys, time
last = 0
for n, upto in enumerate(%s):
    while not os.path.exists(f'go{n}'):
        time.sleep(0.02)
    sys.stdout.write(''.join(f'{i:07d}\\n' for i in range(last + 1, upto + 1)))
    sys.stdout.flush()
    last = upto
    open(f'done{n}', 'w').close()
"""


def read_until(handle, size):
    text = ""
    for out, _, _ in handle:
        text += out or ""
        if len(text) >= size:
            return text
    return text


def test_python_in_the_middle(shared_sandbox):
    """5 MB, then away; 0.9 MB that nobody follows, which the ring holds; then the rest."""
    sbx = shared_sandbox
    sbx.files.write("parts/parts.py", PARTS % [625_000, 737_500, LINES])
    run = sbx.commands.run("python3 parts.py", cwd="/home/user/parts", background=True, timeout=0)
    sbx.files.write("parts/go0", "")
    text = read_until(run, 625_000 * LINE)
    assert len(text) == 625_000 * LINE
    run.disconnect()
    sbx.files.write("parts/go1", "")
    wait_for(lambda: sbx.files.exists("parts/done1"), "the second part", 60)
    again = sbx.commands.connect(run.pid, timeout=0)
    text += read_until(again, 112_500 * LINE)
    assert len(text) == 737_500 * LINE
    again.disconnect()
    third = sbx.commands.connect(run.pid, timeout=0)
    sbx.files.write("parts/go2", "")
    text += third.wait().stdout
    assert text == EVERYTHING


class RawStream:
    """Start or Connect over HTTP/1.1 on a socket of our own, which reads as much as it likes."""

    def __init__(self, port, headers, method, request):
        body = json.dumps(request).encode()
        body = b"\0" + struct.pack(">I", len(body)) + body
        head = {"Host": "localhost", "Content-Type": "application/connect+json",
                "Connect-Protocol-Version": "1", "Content-Length": str(len(body)), **headers}
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self.socket.settimeout(60)
        self.socket.connect(("127.0.0.1", port))
        self.socket.sendall(f"POST /process.Process/{method} HTTP/1.1\r\n".encode() +
                            "".join(f"{k}: {v}\r\n" for k, v in head.items()).encode() +
                            b"\r\n" + body)
        self.received = b""
        while b"\r\n\r\n" not in self.received:
            self.received += self.socket.recv(65536)
        text, self.received = self.received.split(b"\r\n\r\n", 1)
        lines = text.decode().split("\r\n")
        assert lines[0].split()[1] == "200", text
        self.headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        self.body = b""
        self.events = []
        self.pid = None
        self.text = ""
        self.ended = False

    def read(self):
        """One piece; false at the end of the connection."""
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.received += piece
        return bool(piece)

    def take(self):
        """Make events of what was received so far: whole ones only."""
        data, at = self.received, 0
        while True:
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            size = int(data[at:end], 16)
            chunk = data[end + 2:end + 2 + size]
            if len(chunk) < size or len(data) < end + 4 + size:
                self.body += chunk
                break
            self.body += chunk
            at = end + 4 + size
        at = 0
        while len(self.body) - at >= 5:
            flags, n = struct.unpack(">BI", self.body[at:at + 5])
            if len(self.body) - at - 5 < n:
                break
            message = json.loads(self.body[at + 5:at + 5 + n])
            at += 5 + n
            self.take_event(flags, message)
        self.received = self.body = None
        return self

    def take_event(self, flags, message):
        if flags & 2:
            self.ended = True
            return
        event = message["event"]
        if "start" in event:
            self.pid = event["start"]["pid"]
        elif "data" in event:
            self.text += base64.b64decode(event["data"]["stdout"]).decode()

    def read_all(self):
        while self.read():
            if b"\r\n0\r\n" in self.received[-2000:]:
                break
        return self.take()


def stall(stream):
    """Read 3 MB and then nothing, so that all on the way becomes full."""
    while len(stream.received) < 3_000_000:
        assert stream.read()
    return stream


def leave(stream, server, drained):
    """Go, with a server that cannot send more meanwhile. Drained: after all that its kernel had
    taken was read. Else: after what our own kernel has, which is looked at but not taken, so that
    what waits behind it is lost with the connection."""
    os.kill(server, signal.SIGSTOP)
    if drained:
        while select.select([stream.socket], [], [], 0.3)[0]:
            assert stream.read()
    else:
        stream.received += stream.socket.recv(1 << 24, socket.MSG_PEEK)
    stream.socket.close()
    os.kill(server, signal.SIGCONT)
    return stream.take()


COMMAND = {"process": {"cmd": "/bin/sh", "args": ["-c", f"exec seq -f %07.0f 1 {LINES}"]},
           "stdin": False}


def check_rest(first, offset, rest):
    assert EVERYTHING.startswith(first)
    assert offset == len(first), f"{offset - len(first):+d} bytes"
    assert first + rest == EVERYTHING


@pytest.fixture
def own_envd():
    port = free_port()
    process = subprocess.Popen([ENVD, "-isnotfc", "-host", "127.0.0.1", "-port", str(port),
                                "-no-cgroups"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def up():
        try:
            return http_status(f"http://127.0.0.1:{port}/health", timeout=5)[0] == 204
        except OSError:
            return False

    wait_for(up, "envd")
    yield process.pid, port
    process.terminate()
    assert process.wait(30) == 0


def pid_of(stream):
    """Of a stream whose beginning was received."""
    at = stream.received.find(b'"pid":')
    return int(stream.received[at + 6:].split(b"}")[0].split(b",")[0])


def is_blocked(pid):
    """The process waits for room in its pipe."""
    with open(f"/proc/{pid}/wchan") as f:
        where = f.read()
    with open(f"/proc/{pid}/stat") as f:
        state = f.read().rsplit(")", 1)[1].split()[0]
    return state == "S" and ("pipe" in where or where in ("", "0"))


@pytest.mark.parametrize("drained", [True, False], ids=["drained", "cut"])
def test_a_stalled_client_of_a_bare_envd(own_envd, drained):
    server, port = own_envd
    stream = stall(RawStream(port, {}, "Start", COMMAND))
    pid = pid_of(stream)
    wait_for(lambda: is_blocked(pid), "the process to wait")
    os.kill(pid, signal.SIGSTOP)
    first = leave(stream, server, drained).text
    again = RawStream(port, {}, "Connect", {"process": {"pid": pid}})
    os.kill(pid, signal.SIGCONT)
    again.read_all()
    assert "sandpit-gap" not in again.headers
    check_rest(first, int(again.headers["sandpit-offset"]), again.text)


def routed(daemon, sbx):
    return {"E2b-Sandbox-Id": sbx.sandbox_id, "E2b-Sandbox-Port": "49983",
            "X-Access-Token": sbx._envd_access_token}


@pytest.mark.parametrize("drained", [True, False], ids=["drained", "cut"])
def test_a_stalled_client_of_a_sandbox(daemon, shared_sandbox, drained):
    """The same through the proxy and the guest link."""
    sbx = shared_sandbox
    headers = routed(daemon, sbx)
    stream = stall(RawStream(daemon.proxy_port, headers, "Start", COMMAND))
    pid = pid_of(stream)
    wait_for(lambda: "pipe" in sbx.commands.run(f"cat /proc/{pid}/wchan", user="root").stdout,
             "the process to wait")
    sbx.commands.run(f"kill -STOP {pid}")
    first = leave(stream, daemon.process.pid, drained).text
    # An answer of the guest comes after it was told that the client has gone.
    assert http_status(daemon.proxy_url + "/health", headers=headers)[0] == 204
    again = RawStream(daemon.proxy_port, headers, "Connect", {"process": {"pid": pid}})
    sbx.commands.run(f"kill -CONT {pid}")
    again.read_all()
    assert "sandpit-gap" not in again.headers
    check_rest(first, int(again.headers["sandpit-offset"]), again.text)


def test_more_than_the_ring_holds(daemon, shared_sandbox):
    """The newest bytes are there, and how many are missing is told; asking for all changes
    nothing about that."""
    sbx = shared_sandbox
    headers = routed(daemon, sbx)
    sbx.files.make_dir("gap")
    run = sbx.commands.run(f"seq -f %07.0f 1 1000; until [ -e go1 ]; do sleep 0.1; done;"
                           f" seq -f %07.0f 1001 {LINES}; touch done1; sleep 1000",
                           cwd="/home/user/gap", background=True, timeout=0)
    first = read_until(run, 8000)
    run.disconnect()
    sbx.files.write("gap/go1", "")
    wait_for(lambda: sbx.files.exists("gap/done1"), "the rest", 120)
    again = RawStream(daemon.proxy_port, headers, "Connect", {"process": {"pid": run.pid}})
    offset, gap = int(again.headers["sandpit-offset"]), int(again.headers["sandpit-gap"])
    assert offset == len(first) + gap
    assert TOTAL - (1 << 20) <= offset <= TOTAL - (1 << 19)
    sbx.commands.kill(run.pid)
    assert again.read_all().text == EVERYTHING[offset:]
    older = RawStream(daemon.proxy_port, {**headers, "Sandpit-Replay": "all"}, "Connect",
                      {"process": {"pid": run.pid}})
    assert int(older.headers["sandpit-offset"]) == offset == int(older.headers["sandpit-gap"])
    assert older.read_all().text == EVERYTHING[offset:]
