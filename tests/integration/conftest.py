"""Fixtures: a bare envd, a daemon with real VMs, and Node for the JavaScript client."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SANDPIT = os.environ.get("SANDPIT_BIN", str(ROOT / "build/release/orchestrator/sandpit"))
ENVD = os.environ.get("ENVD_BIN", str(ROOT / "build/release/envd/envd"))
DATA_DIR = os.environ.get("SANDPIT_TEST_DATA_DIR")
NODE = os.environ.get("SANDPIT_NODE", "node")
NODE_MODULES = os.environ.get("SANDPIT_NODE_MODULES")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(check, what, seconds=30):
    """Poll until check() is true; the deadline is a failure, not a pause."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"timed out waiting for {what}")
        time.sleep(0.02)


def http_status(url, method="GET", headers=None, body=None, timeout=30):
    """(status, headers by lower-case name, body) of one plain request, whatever the status. An
    answer that comes before the whole body was taken counts too."""
    parts = urllib.parse.urlsplit(url)
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        try:
            connection.request(method, path, body, headers or {})
        except (BrokenPipeError, ConnectionResetError):
            pass
        r = connection.getresponse()
        return r.status, {k.lower(): v for k, v in r.getheaders()}, r.read()
    finally:
        connection.close()


# What the first daemon found out: to try KVM in vain takes seconds, and the answer does not change.
accelerator = None


class Daemon:
    """A `sandpit serve` of this test run, on free ports, with an API key."""

    def __init__(self, data_dir, extra=(), env=None, wrap=()):
        self.data_dir = data_dir
        self.wrap = list(wrap)  # what the program is started by
        self.api_port = free_port()
        self.proxy_port = free_port()
        self.api_url = f"http://127.0.0.1:{self.api_port}"
        self.proxy_url = f"http://127.0.0.1:{self.proxy_port}"
        self.extra = list(extra)
        self.env = dict(os.environ, **(env or {}))
        self.log = tempfile.NamedTemporaryFile(prefix="sandpit-log-", suffix=".jsonl")
        self.process = None
        self.key = None

    def start(self):
        global accelerator
        known = ["--accel", accelerator] if accelerator else []
        self.process = subprocess.Popen(
            [*self.wrap, SANDPIT, "serve", "--data-dir", self.data_dir, "--api-port", str(self.api_port),
             "--proxy-port", str(self.proxy_port), *known, *self.extra],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(self.log.name, "ab"), env=self.env)
        wait_for(self.healthy, "the daemon", 60)
        if accelerator is None:
            found = re.search(r'"accelerator":"(kvm|tcg)"', self.log_text())
            accelerator = found.group(1) if found else None
        if self.key is None:
            self.key = subprocess.run(
                [*self.wrap, SANDPIT, "key", "create", "--name", "tests", "--data-dir", self.data_dir],
                check=True, capture_output=True, text=True).stdout.strip()
        return self

    def healthy(self):
        if self.process.poll() is not None:
            raise AssertionError("the daemon ended: " + self.log_text()[-4000:])
        try:
            return http_status(self.api_url + "/health", timeout=2)[0] == 204
        except OSError:
            return False

    def log_text(self):
        return open(self.log.name, errors="replace").read()

    def stop(self, sig=signal.SIGTERM, seconds=60):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("the daemon did not stop in time: " + self.log_text()[-4000:])
        return self.process.returncode if self.process else None

    def client_env(self):
        return {
            "E2B_API_KEY": self.key,
            "E2B_API_URL": self.api_url,
            "E2B_SANDBOX_URL": self.proxy_url,
            "E2B_DOMAIN": f"localhost:{self.proxy_port}",
        }

    def api(self, method, path, body=None, key=None, raw=None, headers=None):
        """(status, parsed JSON or None, headers) of one call of the control API."""
        h = {"X-API-KEY": self.key if key is None else key, **(headers or {})}
        if key == "":
            del h["X-API-KEY"]
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            h["Content-Type"] = "application/json"
        status, got, text = http_status(self.api_url + path, method, h, data, timeout=180)
        return status, json.loads(text) if text else None, got


@pytest.fixture(scope="session")
def data_dir():
    """A data directory that holds the template `base`, made by scripts/test (or named by
    SANDPIT_TEST_DATA_DIR); sandboxes of this run live in it too."""
    if not DATA_DIR:
        pytest.skip("SANDPIT_TEST_DATA_DIR names no data directory with a template")
    return DATA_DIR


@pytest.fixture(scope="session")
def daemon(data_dir):
    d = Daemon(data_dir, extra=["--ephemeral"]).start()
    os.environ.update(d.client_env())
    yield d
    code = d.stop()
    assert code == 0, d.log_text()[-4000:]


@contextlib.contextmanager
def daemons(data_dir):
    """make(**kwargs) starts a daemon on a data directory that borrows the session's templates."""
    from boxes import borrow_templates, remove_vmms

    folder = tempfile.mkdtemp(prefix="sandpit-data-")
    os.chmod(folder, 0o711)
    borrow_templates(data_dir, folder)
    made = []

    def make(**kwargs):
        d = Daemon(folder, **kwargs)
        made.append(d)
        return d.start()

    yield make
    for d in made:
        d.stop(signal.SIGKILL)
    remove_vmms(folder)
    shutil.rmtree(folder)


@pytest.fixture
def own_daemon(data_dir):
    with daemons(data_dir) as make:
        yield make


@pytest.fixture(scope="module")
def module_daemon(data_dir):
    """The same for all tests of a module."""
    with daemons(data_dir) as make:
        yield make


@pytest.fixture
def sandbox(daemon):
    """A fresh sandbox through the Python client; killed at the end."""
    from e2b import Sandbox

    sbx = Sandbox.create(timeout=600)
    yield sbx
    sbx.kill()


@pytest.fixture
def made(daemon):
    """Make sandboxes that are gone at the end of the test, paused or not."""
    from e2b import Sandbox

    sandboxes = []

    def make(**options):
        sandboxes.append(Sandbox.create(**{"timeout": 600, **options}))
        return sandboxes[-1]

    yield make
    for sbx in sandboxes:
        sbx.kill()


@pytest.fixture(scope="module")
def shared_sandbox(daemon):
    """One sandbox for the tests of a module that do not disturb each other."""
    from e2b import Sandbox

    sbx = Sandbox.create(timeout=1800)
    yield sbx
    sbx.kill()


@pytest.fixture(scope="session")
def bare_envd():
    """envd as an ordinary process on this host, where clients with E2B_DEBUG=true look for it."""
    process = subprocess.Popen([ENVD, "-isnotfc", "-host", "127.0.0.1", "-no-cgroups"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)

    def up():
        assert process.poll() is None, "envd ended"
        try:
            return http_status("http://127.0.0.1:49983/health", timeout=2)[0] == 204
        except OSError:
            return False

    wait_for(up, "envd")
    yield process
    process.terminate()
    process.wait(10)


def run_js(script, env):
    """Run tests/integration/js/<script> under Node's test runner."""
    if not NODE_MODULES:
        pytest.skip("SANDPIT_NODE_MODULES names no folder with the npm client")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "tests/integration/js", folder, dirs_exist_ok=True)
        os.symlink(NODE_MODULES, os.path.join(folder, "node_modules"))
        done = subprocess.run([NODE, "--test", "--test-reporter=tap", script], cwd=folder,
                              env={**os.environ, **env}, capture_output=True, text=True,
                              timeout=900)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
