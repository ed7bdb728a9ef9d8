"""What sandboxes are on the host: processes, files, rows; and what a client can see of them."""
import contextlib
import glob
import hashlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import tempfile

from conftest import http_status, wait_for


def vmms(data_dir, name=""):
    """Processes whose command line names a run directory that begins so."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{data_dir}/run/{name}".encode() in line:
            found.append(int(entry.name))
    return found


def recorded_vmm(data_dir, sandbox_id):
    """What the sandbox's row says of its VMM: (process, name of the run directory), or None."""
    with contextlib.closing(sqlite3.connect(f"file:{data_dir}/sandpit.db?mode=ro", uri=True)) as db:
        row = db.execute("select vmm_pid, run_dir from sandboxes where id = ?",
                         (sandbox_id,)).fetchone()
    return (row[0], os.path.basename(row[1])) if row else None


def vmm_of(data_dir, sandbox_id):
    """The sandbox's VMM, or None. It has the sandbox's name, or that of the spare it was."""
    alive = vmms(data_dir)
    recorded = recorded_vmm(data_dir, sandbox_id)
    if recorded and recorded[0] in alive:
        return recorded[0]
    for pid in alive:
        try:
            if f"/run/{sandbox_id}".encode() in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        except OSError:
            pass
    return None


def group_tag(owner):
    """Of control groups: a daemon's owner is its data directory."""
    return hashlib.sha256(str(owner).encode()).hexdigest()[:16]


def groups(owner):
    """The control groups of the owner's VMMs: {name of the VMM: [directories]}."""
    tag = group_tag(owner)
    found = {}
    for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/*"):
        for path in glob.glob(f"{top}/sandpit/{tag}-*"):
            found.setdefault(path.rpartition(f"{tag}-")[2], []).append(pathlib.Path(path))
    return found


def holds(owner):
    """By which the owner keeps the group that its VMMs' groups are in."""
    return [pathlib.Path(path) for top in ("/sys/fs/cgroup", "/sys/fs/cgroup/*")
            for path in glob.glob(f"{top}/sandpit/hold-{group_tag(owner)}")]


def dead_groups(data_dir):
    """Those that no process is in."""
    return [path for found in groups(data_dir).values() for path in found
            if not (path / "cgroup.procs").read_text()]


def remove_vmms(data_dir):
    """VMMs and their groups: no daemon comes that would. One that was being started when its daemon
    was killed gets its name a moment later."""
    def gone():
        for pid in vmms(data_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not vmms(data_dir) and \
            len(dead_groups(data_dir)) == sum(map(len, groups(data_dir).values()))

    wait_for(gone, "the VMMs to be gone")
    for path in dead_groups(data_dir):
        path.rmdir()
    for path in holds(data_dir):
        path.rmdir()


def names(data_dir, folder, root=""):
    path = pathlib.Path(f"{root}{data_dir}") / folder
    return sorted(p.name for p in path.iterdir()) if path.exists() else []


def row_count(data_dir, table, root=""):
    """Of a copy, since SQLite would take a path through another root for one of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for path in pathlib.Path(f"{root}{data_dir}").glob("sandpit.db*"):
            shutil.copy(path, folder)
        with contextlib.closing(sqlite3.connect(f"{folder}/sandpit.db")) as db:
            return db.execute(f"select count(*) from {table}").fetchone()[0]


def left_over(data_dir, root=""):
    """Everything that exists for sandboxes only; empty when there are none and no snapshots."""
    found = {"vmms": vmms(data_dir), "dead groups": dead_groups(data_dir)}
    for folder in ("run", "layers", "snapshots"):
        found[folder] = names(data_dir, folder, root)
    for table in ("sandboxes", "layers"):
        found["rows of " + table] = row_count(data_dir, table, root)
    return {k: v for k, v in found.items() if v}


def borrow_templates(source, target):
    """Copy the database, whose builds name their files by absolute paths, without sandboxes and
    snapshots: who deletes those would delete the source's files."""
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.closing(sqlite3.connect(f"file:{source}/sandpit.db?mode=ro", uri=True)) \
                as theirs, contextlib.closing(sqlite3.connect(f"{folder}/sandpit.db")) as mine:
            theirs.backup(mine)
            mine.execute("delete from sandboxes")
            mine.execute("delete from builds where kind = 'snapshot'")
            mine.execute("delete from templates where kind = 'snapshot'")
            mine.execute("delete from layers")
            mine.commit()
        shutil.copy(f"{folder}/sandpit.db", f"{target}/sandpit.db")
    os.chmod(f"{target}/sandpit.db", 0o600)


class Box:
    """A sandbox by plain HTTP."""

    def __init__(self, daemon, answer):
        self.daemon = daemon
        self.id = answer["sandboxID"]
        self.token = answer.get("envdAccessToken")

    def call(self, method, what="", body=None):
        return self.daemon.api(method, f"/sandboxes/{self.id}{what}", body)

    def state(self):
        """running, paused, or None when there is none."""
        status, answer, _ = self.call("GET")
        assert status in (200, 404), answer
        return answer["state"] if status == 200 else None

    def pause(self, **body):
        return self.call("POST", "/pause", body)[:2]

    def connect(self, timeout=600, **body):
        return self.call("POST", "/connect", {"timeout": timeout, **body})[:2]

    def kill(self):
        return self.call("DELETE")[0]

    def client(self):
        """The Python client's object for it; connects."""
        from e2b import Sandbox

        return Sandbox.connect(self.id, timeout=600, api_key=self.daemon.key,
                               api_url=self.daemon.api_url, sandbox_url=self.daemon.proxy_url)

    def headers(self):
        found = {"E2b-Sandbox-Id": self.id, "E2b-Sandbox-Port": "49983"}
        if self.token:
            found["X-Access-Token"] = self.token
        return found

    def write(self, path, data):
        """True once the guest said that it has it."""
        mark = "sandpit-test-boundary"
        body = (f"--{mark}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{path}\""
                f"\r\nContent-Type: application/octet-stream\r\n\r\n").encode() + data + \
            f"\r\n--{mark}--\r\n".encode()
        status, _, _ = http_status(
            f"{self.daemon.proxy_url}/files?username=root&path={path}", "POST",
            {**self.headers(), "Content-Type": f"multipart/form-data; boundary={mark}"}, body,
            timeout=90)
        return status == 200

    def read(self, path):
        """(status, bytes)."""
        status, _, data = http_status(
            f"{self.daemon.proxy_url}/files?username=root&path={path}", headers=self.headers(),
            timeout=90)
        return status, data

    def run(self, command):
        """What it printed; an exception when it failed."""
        return self.client().commands.run(command, user="root", timeout=90).stdout

    def works(self):
        """Whether a command runs."""
        return self.run("echo works") == "works\n"


def create(daemon, template="base", **body):
    """A sandbox that was told to be there, or an AssertionError with the answer."""
    status, answer, _ = daemon.api("POST", "/v2/sandboxes",
                                   {"templateID": template, "timeout": 600, **body})
    assert status == 201, json.dumps(answer)
    return Box(daemon, answer)
