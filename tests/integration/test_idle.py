"""Ten thousand connections that say nothing, to a bare envd on this host."""
import os
import pathlib
import resource
import socket
import subprocess
import time

import pytest
from conftest import ENVD, free_port, http_status, wait_for

CONNECTIONS = 10_000
GROWTH_KB = 20 * 1024  # what they may cost together
SPARE_FILES = 200


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# The shipped envd where there is one: under a sanitizer memory and time say nothing.
SHIPPED = os.environ.get("SANDPIT_ENVD", ENVD)


@pytest.fixture
def envd(many_files):
    port = free_port()
    process = subprocess.Popen([SHIPPED, "-isnotfc", "-host", "127.0.0.1", "-port", str(port),
                                "-no-cgroups"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    wait_for(lambda: answers(url), "envd")
    yield process.pid, port, url
    process.terminate()
    assert process.wait(30) == 0


def answers(url):
    try:
        return http_status(url + "/health", timeout=30)[0] == 204
    except OSError:
        return False


def rss_kb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def cpu_ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def switches(pid):
    """How often the process went to sleep by itself: each wake-up adds one."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("voluntary_ctxt_switches"):
            return int(line.split()[1])
    raise AssertionError("no count of switches")


def connect(port):
    c = socket.socket()
    c.connect(("127.0.0.1", port))
    return c


REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_ten_thousand_idle_connections(envd):
    """Half of them have had an answer and are kept alive, half never said a word."""
    pid, port, url = envd
    before, files = rss_kb(pid), open_files(pid)
    connections = []
    try:
        for n in range(CONNECTIONS):
            c = connect(port)
            connections.append(c)
            if n % 2:
                c.sendall(REQUEST)
        for c in connections[1::2]:
            assert c.recv(4096).startswith(b"HTTP/1.1 204")
        # One may have been closing when the files were counted.
        wait_for(lambda: open_files(pid) >= files + CONNECTIONS - 1, "all of them to be accepted")
        assert answers(url)

        after, ticks, wakes = rss_kb(pid), cpu_ticks(pid), switches(pid)
        time.sleep(2)  # what is measured is that nothing happens in this time
        print(f"RSS {before} kB, with {CONNECTIONS} connections {after} kB; "
              f"in 2 s {cpu_ticks(pid) - ticks} ticks, {switches(pid) - wakes} wake-ups")
        assert after - before < GROWTH_KB
        assert cpu_ticks(pid) - ticks <= 1
        assert switches(pid) - wakes <= 2

        # The oldest and the newest still work, and so does a new one.
        for c in (connections[0], connections[1], connections[-1], connections[-2]):
            c.sendall(REQUEST)
            assert c.recv(4096).startswith(b"HTTP/1.1 204")
        assert answers(url)
    finally:
        for c in connections:
            c.close()
    wait_for(lambda: open_files(pid) <= files, "all of them to be closed")
    assert answers(url)


def test_more_connections_than_files(many_files):
    """When descriptors run out envd waits for some; it neither ends nor spins."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", ENVD, "-isnotfc",
                                "-host", "127.0.0.1", "-port", str(port), "-no-cgroups"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    connections = []
    try:
        wait_for(lambda: answers(url), "envd")
        connections = [connect(port) for _ in range(100)]
        connections[0].sendall(REQUEST)
        assert connections[0].recv(4096).startswith(b"HTTP/1.1 204")
        ticks = cpu_ticks(process.pid)
        time.sleep(1)  # what is measured is that nothing happens in this time
        assert cpu_ticks(process.pid) - ticks < 20
        for c in connections[:60]:
            c.close()
        connections[-1].sendall(REQUEST)
        connections[-1].settimeout(30)
        assert connections[-1].recv(4096).startswith(b"HTTP/1.1 204")
    finally:
        for c in connections:
            c.close()
        process.terminate()
        assert process.wait(30) == 0
