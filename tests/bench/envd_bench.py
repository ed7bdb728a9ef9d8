"""Figures of one envd beside what the machine itself can do (limits.c), measured in one run.

CPU is the server's own, exact to the microsecond (/proc/PID/schedstat); of several rounds the least
counts, since neighbours only ever add to it. Run by tests/bench/run.
"""

import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

HEAD = "Host: bench\r\nAuthorization: Basic cm9vdDo=\r\n"
MB = 1 << 20
ROUNDS = 5


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(MB // 4)

    def close(self):
        self.socket.close()

    def send(self, method, path, body=b"", content_type=None, length=None):
        head = f"{method} {path} HTTP/1.1\r\n{HEAD}"
        if content_type:
            head += f"Content-Type: {content_type}\r\nConnect-Protocol-Version: 1\r\n"
        length = len(body) if length is None else length
        head += f"Content-Length: {length}\r\n\r\n"
        self.socket.sendall(head.encode() + body)

    def read_head(self):
        """The head's status and announced length, and the bytes that came behind it."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = self.socket.recv(65536)
            if not more:
                sys.exit("envd closed the connection")
            data += more
        head, rest = data.split(b"\r\n\r\n", 1)
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, value = line.split(b":", 1)
            if name.lower() == b"content-length":
                length = int(value)
        return int(head[9:12]), length, rest

    def answer(self, want=200):
        status, length, rest = self.read_head()
        if status != want:
            sys.exit(f"status {status}: {rest!r}")
        left = length - len(rest)
        while left > 0:
            left -= self.socket.recv_into(self.buffer)

    def skip_chunks(self):
        """Read until a chunked answer's end, without looking at what it says."""
        last = b""
        while not last.endswith(b"\r\n0\r\n\r\n"):
            n = self.socket.recv_into(self.buffer)
            last = (last + bytes(self.buffer[max(0, n - 8) : n]))[-8:]


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def envelope(payload):
    return struct.pack(">BI", 0, len(payload)) + payload


def start_request(cmd, args, binary):
    if binary:
        config = field(1, cmd.encode()) + b"".join(field(2, a.encode()) for a in args)
        return "application/connect+proto", envelope(field(1, config) + b"\x20\x00")
    body = {"process": {"cmd": cmd, "args": args}, "stdin": False}
    return "application/connect+json", envelope(json.dumps(body).encode())


class Bench:
    def __init__(self, envd, scratch):
        self.scratch = scratch
        self.port = free_port()
        begun = time.perf_counter()
        self.server = subprocess.Popen(
            [envd, "-isnotfc", "-no-cgroups", "-port", str(self.port)], stdout=subprocess.DEVNULL
        )
        connection = self.wait(begun)
        self.ready_ms = (time.perf_counter() - begun) * 1000
        connection.close()

    def wait(self, begun):
        while time.perf_counter() - begun < 10:
            try:
                connection = Connection(self.port)
            except ConnectionRefusedError:
                time.sleep(0.0001)
                continue
            connection.send("GET", "/health")
            connection.answer(204)
            return connection
        sys.exit("envd does not answer")

    def stop(self):
        self.server.terminate()
        self.server.wait()

    def cpu_s(self):
        with open(f"/proc/{self.server.pid}/schedstat") as f:
            return int(f.read().split()[0]) / 1e9

    def rss_kb(self):
        with open(f"/proc/{self.server.pid}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))

    def cpu_of(self, times, action):
        """The least CPU of some rounds, per action."""
        least = float("inf")
        for _ in range(ROUNDS):
            before = self.cpu_s()
            for _ in range(times):
                action()
            least = min(least, (self.cpu_s() - before) / times)
        return least

    def row(self, name, value, unit, limit=None, limit_name=""):
        ratio = f"{value / limit:.2f} x {limit_name} ({limit:.3g} {unit})" if limit else ""
        print(f"{name:44} {value:9.3g} {unit:3} {ratio}", flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def small_requests(b):
    c = Connection(b.port)

    def call(method, path, body, want):
        c.send(method, path, body, "application/json" if body else None)
        c.answer(want)

    b.row("GET /health, CPU", b.cpu_of(2000, lambda: call("GET", "/health", b"", 204)) * 1e6, "us")
    for i in range(1000):
        open(os.path.join(b.scratch, f"file{i:04}.txt"), "w").close()
    stat = json.dumps({"path": os.path.join(b.scratch, "file0000.txt")}).encode()
    listing = json.dumps({"path": b.scratch, "depth": 1}).encode()
    filesystem = "/filesystem.Filesystem/"
    b.row(
        "Stat, JSON, CPU",
        b.cpu_of(1000, lambda: call("POST", filesystem + "Stat", stat, 200)) * 1e6,
        "us",
    )
    b.row(
        "ListDir of 1,000 entries, JSON, CPU",
        b.cpu_of(30, lambda: call("POST", filesystem + "ListDir", listing, 200)) * 1e3,
        "ms",
    )
    c.close()


def start_stream(c, request):
    content_type, body = request
    c.send("POST", "/process.Process/Start", body, content_type)
    c.skip_chunks()


def starts(b, limits):
    c = Connection(b.port)
    request = start_request("/bin/true", [], False)
    took = []

    def one():
        begun = time.perf_counter()
        start_stream(c, request)
        took.append(time.perf_counter() - begun)

    cpu = b.cpu_of(200, one)
    b.row("Start /bin/true to the end, minimum", min(took) * 1e6, "us", limits["spawn_min_us"], "spawn")
    b.row("Start /bin/true, CPU", cpu * 1e6, "us")
    c.close()


def output(b, limits):
    for binary in (False, True):
        request = start_request("/usr/bin/head", ["-c", str(256 * MB), "/dev/zero"], binary)
        c = Connection(b.port)
        cpu = b.cpu_of(1, lambda c=c, request=request: start_stream(c, request))
        name = "256 MB of stdout, " + ("binary" if binary else "JSON") + ", CPU"
        b.row(name, cpu, "s", limits["pipe_to_socket_cpu_s"], "pipe to socket")
        c.close()


def files(b, limits):
    c = Connection(b.port)
    path = os.path.join(b.scratch, "large")
    piece = bytes(MB)
    begin = (
        b"--bench-boundary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n"
        b"Content-Type: application/octet-stream\r\n\r\n"
    )
    end = b"\r\n--bench-boundary--\r\n"

    def upload(content_type, before, after):
        if os.path.exists(path):
            os.unlink(path)
        length = len(before) + 512 * MB + len(after)
        c.send("POST", f"/files?path={path}", before, content_type, length)
        for _ in range(512):
            c.socket.sendall(piece)
        c.socket.sendall(after)
        c.answer()

    def download():
        c.send("GET", f"/files?path={path}")
        c.answer()

    bare = limits["socket_to_file_cpu_s"]
    octets = b.cpu_of(1, lambda: upload("application/octet-stream", b"", b""))
    b.row("512 MB up, octet-stream, CPU", octets, "s", bare, "socket to file")
    form = "multipart/form-data; boundary=bench-boundary"
    parts = b.cpu_of(1, lambda: upload(form, begin, end))
    b.row("512 MB up, multipart, CPU", parts, "s", bare, "socket to file")
    c.close()
    c = Connection(b.port)
    down = b.cpu_of(1, download)
    b.row("512 MB down, CPU", down, "s", limits["sendfile_cpu_s"], "sendfile")
    os.unlink(path)
    c.close()


def memory(b):
    before = b.rss_kb()
    b.row("RSS before any request but /health", before / 1024, "MB")
    connections = [Connection(b.port) for _ in range(1000)]
    for c in connections:
        c.send("GET", "/health")
        c.answer(204)
    b.row("RSS for each idle connection", (b.rss_kb() - before) / len(connections), "KB")
    for c in connections:
        c.close()


def idle(b):
    before = b.cpu_s()
    time.sleep(3)
    b.row("CPU of 3 idle seconds", (b.cpu_s() - before) * 1e6, "us")


def main():
    envd, limits_program = sys.argv[1:3]
    print("limits of this machine")
    text = subprocess.run([limits_program], check=True, capture_output=True, text=True).stdout
    limits = {}
    for line in text.splitlines():
        name, value = line.split()
        limits[name] = float(value)
        print(f"  {name:42} {value}")
    print(f"\nenvd ({os.path.getsize(envd)} bytes)")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        b = Bench(envd, scratch)
        try:
            b.row("exec to first answer", b.ready_ms, "ms")
            idle(b)
            memory(b)
            small_requests(b)
            starts(b, limits)
            output(b, limits)
            files(b, limits)
        finally:
            b.stop()


if __name__ == "__main__":
    main()
