"""Output streams of a bare envd, byte by byte: compression, and rings of another size."""
import base64
import contextlib
import gzip
import http.client
import json
import os
import struct
import subprocess

import pytest
from conftest import ENVD, free_port, http_status, wait_for

LINES = 30_000
TEXT = "".join(f"{n:07d}\n" for n in range(1, LINES + 1))


@pytest.fixture
def envd_with():
    """Starts envd with the given flags; returns its port."""
    started = []

    def start(*flags):
        port = free_port()
        process = subprocess.Popen([ENVD, "-isnotfc", "-host", "127.0.0.1", "-port", str(port),
                                    "-no-cgroups", *flags], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started.append(process)

        def up():
            assert process.poll() is None, "envd ended"
            try:
                return http_status(f"http://127.0.0.1:{port}/health", timeout=5)[0] == 204
            except OSError:
                return False

        wait_for(up, "envd")
        return port

    yield start
    for process in started:
        process.terminate()
        assert process.wait(30) == 0


def varint(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def start_request(script, binary):
    if not binary:
        return json.dumps({"process": {"cmd": "/bin/sh", "args": ["-c", script]}}).encode()
    return field(1, field(1, b"/bin/sh") + field(2, b"-c") + field(2, script.encode()))


def call(port, method, message, headers=None, binary=False):
    """The answer's headers and its envelopes up to the end, each (flags, message), still open."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", f"/process.Process/{method}",
                       struct.pack(">BI", 0, len(message)) + message,
                       {"Content-Type": f"application/connect+{'proto' if binary else 'json'}",
                        "Connect-Protocol-Version": "1", **(headers or {})})
    response = connection.getresponse()
    assert response.status == 200
    return {k.lower(): v for k, v in response.getheaders()}, envelopes(connection, response)


def envelopes(connection, response):
    with contextlib.closing(connection), response:
        flags = 0
        while not flags & 2:
            flags, n = struct.unpack(">BI", response.read(5))
            yield flags, response.read(n)


def fields(message):
    """Of one message of protobuf that has only texts and submessages and small numbers."""
    at = 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = message[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return n

    while at < len(message):
        tag = number()
        value = number()
        if tag & 7 == 2:
            at += value
            value = message[at - value:at]
        yield tag >> 3, value


def stdout_of(message, binary):
    if not binary:
        data = json.loads(message)["event"].get("data", {})
        return base64.b64decode(data.get("stdout", ""))
    event = dict(fields(dict(fields(message))[1]))
    return dict(fields(event[2])).get(1, b"") if 2 in event else b""


def read_all(stream, binary=False):
    """The text, and the flags of the envelopes that held it."""
    text, seen = b"", set()
    for flags, message in stream:
        if flags & 1:
            message = gzip.decompress(message)
        if flags & 2:
            assert b"error" not in message
            return text.decode(), seen
        part = stdout_of(message, binary)
        if len(part) > 8192:  # small ones are sent as they are
            seen.add(flags)
        text += part
    raise AssertionError("the stream has no end")


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("accept,flags", [(None, 0), ("identity", 0), ("br, gzip", 1)])
def test_output_is_compressed_for_who_accepts_it(envd_with, binary, accept, flags):
    port = envd_with()
    # As one file, so that the pipe gives it in large pieces.
    request = start_request(f"seq -f %07.0f 1 {LINES} >/tmp/sp-$$; cat /tmp/sp-$$; rm /tmp/sp-$$",
                            binary)
    headers, stream = call(port, "Start", request,
                           {"Connect-Accept-Encoding": accept} if accept else None, binary)
    text, seen = read_all(stream, binary)
    assert text == TEXT
    assert seen == {flags}
    assert headers.get("connect-content-encoding") == ("gzip" if flags else None)


@pytest.mark.parametrize("kib", [64, 8192])
def test_the_ring_has_the_size_it_is_told(envd_with, tmp_path, kib):
    """2.4 MB that nobody follows: with a small ring the newest are there and the gap is told; with
    a large one, all."""
    port = envd_with("-ring-kib", str(kib))
    lines = 10 * LINES
    whole = "".join(f"{n:07d}\n" for n in range(1, lines + 1))
    go, done = tmp_path / "go", tmp_path / "done"
    _, stream = call(port, "Start", start_request(
        f"until [ -e {go} ]; do sleep 0.02; done; seq -f %07.0f 1 {lines}; touch {done};"
        " exec sleep 1000", False))
    pid = json.loads(next(stream)[1])["event"]["start"]["pid"]
    stream.close()
    go.touch()
    wait_for(done.exists, "the output")
    headers, stream = call(port, "Connect", json.dumps({"process": {"pid": pid}}).encode())
    os.kill(pid, 9)
    text, _ = read_all(stream)
    missed = len(whole) - len(text)
    assert text == whole[missed:]
    assert int(headers["sandpit-offset"]) == missed
    assert headers.get("sandpit-gap") == (str(missed) if missed else None)
    if kib < 1024:
        assert kib * 1024 / 2 <= len(text) <= kib * 1024
    else:
        assert missed == 0


def test_the_total_bounds_all_rings(envd_with, tmp_path):
    """Ten processes of 200 KB in rings of 256 KiB with 1 MiB for all: the oldest output goes."""
    port = envd_with("-ring-kib", "256", "-ring-total-kib", "1024")
    lines = 25_000
    pids = []
    for i in range(10):
        done = tmp_path / f"done{i}"
        _, stream = call(port, "Start", start_request(
            f"sleep 0.2; seq -f %07.0f 1 {lines}; touch {done}; exec sleep 1000", False))
        pids.append(json.loads(next(stream)[1])["event"]["start"]["pid"])
        stream.close()
        wait_for(done.exists, "the output")
    kept = 0
    for pid in pids:
        os.kill(pid, 9)
    for pid in pids:
        _, stream = call(port, "Connect", json.dumps({"process": {"pid": pid}}).encode(),
                         {"Sandpit-Replay": "all"})
        kept += len(read_all(stream)[0])
    assert 512 * 1024 <= kept <= 1024 * 1024
