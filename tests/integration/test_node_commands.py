"""The subcommands that ask the daemon, run as a user would."""
import json
import os
import re
import subprocess
import tempfile

import pytest
from conftest import ROOT, SANDPIT, wait_for
from node_client import bare_daemon, node_of, pb

OK, FAILED, USAGE, NO_DAEMON, NOT_FOUND = range(5)


def run(*args, data_dir=None, stdin=None):
    where = ["--data-dir", data_dir] if data_dir else []
    return subprocess.run([SANDPIT, *args, *where], capture_output=True, text=True, timeout=120,
                          stdin=stdin or subprocess.DEVNULL)


def succeeds(*args, **kwargs):
    done = run(*args, **kwargs)
    assert (done.returncode, done.stderr) == (OK, ""), done
    return done.stdout


def fails(status, *args, **kwargs):
    done = run(*args, **kwargs)
    assert done.returncode == status and done.stdout == "", done
    assert done.stderr.startswith(f"sandpit {args[0]}") and done.stderr.endswith("\n"), done
    return done.stderr


@pytest.fixture(scope="module")
def lone():
    with bare_daemon() as d:
        yield d


def test_no_daemon_is_a_status_of_its_own():
    with tempfile.TemporaryDirectory() as folder:
        for command in (["ps"], ["kill", "i00"], ["pause", "i00"], ["resume", "i00"],
                        ["inspect", "i00"], ["events"], ["info"],
                        ["drain"], ["undrain"]):
            assert "no daemon runs here" in fails(NO_DAEMON, *command, data_dir=folder)


def test_a_daemon_that_was_killed_is_none():
    with bare_daemon() as d:
        d.process.kill()
        d.process.wait()
        assert os.path.exists(f"{d.data_dir}/node.sock")
        assert "no daemon runs here" in fails(NO_DAEMON, "ps", data_dir=d.data_dir)
        d.start()  # the next one takes the path over
        succeeds("ps", data_dir=d.data_dir)


@pytest.mark.parametrize("command", ["ps", "kill", "pause", "resume", "inspect", "events", "info",
                                     "drain", "undrain", "key", "serve", "image", "env", "doctor",
                                     "bench"])
def test_help_has_examples_and_statuses(command):
    text = succeeds(command, "--help")
    assert text.startswith(f"Usage: sandpit {'drain' if command == 'undrain' else command} ")
    assert "Example" in text and "Exit status" in text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert f"\n  {command} " in run("--help").stdout


def test_wrong_calls(lone):
    assert "which sandbox?" in fails(USAGE, "inspect")
    assert "which sandboxes?" in fails(USAGE, "pause")
    assert "no state 'gone'" in fails(USAGE, "ps", "--state", "gone", data_dir=lone.data_dir)
    assert "give the ids" in fails(USAGE, "kill", data_dir=lone.data_dir)
    assert "give the ids" in fails(USAGE, "kill", "--all", "i00", data_dir=lone.data_dir)
    assert "only one of" in fails(USAGE, "ps", "-q", "--json", data_dir=lone.data_dir)
    assert "unknown option '-x'" in fails(USAGE, "ps", "-x")
    assert "needs a value" in fails(USAGE, "events", "--since")
    assert "unexpected argument" in fails(USAGE, "info", "what")


def test_not_found(lone):
    assert "sandbox 'i00' not found" in fails(NOT_FOUND, "inspect", "i00", data_dir=lone.data_dir)
    assert fails(NOT_FOUND, "kill", "i00", "i01", data_dir=lone.data_dir).count("not found") == 2
    for command in ("pause", "resume"):
        assert "i00" in fails(NOT_FOUND, command, "i00", data_dir=lone.data_dir)
    assert "nobody" in fails(NOT_FOUND, "ps", "--team", "nobody", data_dir=lone.data_dir)
    assert "no API key" in fails(NOT_FOUND, "key", "revoke", "0" * 36, data_dir=lone.data_dir)


def test_an_empty_node(lone):
    assert succeeds("ps", data_dir=lone.data_dir).split() == [
        "ID", "TEMPLATE", "STATE", "STARTED", "ENDS", "VCPUS", "MIB"]
    assert succeeds("ps", "-q", data_dir=lone.data_dir) == ""
    assert json.loads(succeeds("ps", "--json", data_dir=lone.data_dir)) == []
    assert succeeds("kill", "--all", data_dir=lone.data_dir) == ""
    assert succeeds("events", data_dir=lone.data_dir) == ""


def test_info(lone):
    told = json.loads(succeeds("info", "--json", data_dir=lone.data_dir))
    with node_of(lone) as node:
        info = node.info.Get(pb.GetInfoRequest())
    assert told["nodeId"] == info.node_id and told["state"] == "NODE_STATE_READY"
    text = succeeds("info", data_dir=lone.data_dir)
    lines = dict(re.split(r" {2,}", line, maxsplit=1) for line in text.splitlines())
    assert lines["node"] == info.node_id and lines["state"] == "ready"
    assert lines["sandboxes"] == f"0 of {info.capacity.sandboxes}"


def test_drain(lone):
    assert succeeds("drain", data_dir=lone.data_dir) == "draining\n"
    assert succeeds("drain", data_dir=lone.data_dir) == "already draining\n"
    assert "state        draining\n" in succeeds("info", data_dir=lone.data_dir)
    assert succeeds("undrain", data_dir=lone.data_dir) == "ready\n"
    assert succeeds("undrain", data_dir=lone.data_dir) == "already ready\n"


def test_keys_with_and_without_a_daemon():
    """The same words either way, and each sees the other's keys."""
    def work(data_dir, name):
        key = succeeds("key", "create", "--name", name, "--team", "crew", data_dir=data_dir).strip()
        assert re.fullmatch("e2b_[0-9a-f]{40}", key)
        row = [r for r in succeeds("key", "list", data_dir=data_dir).splitlines() if name in r][0]
        assert row.split()[1:3] == [f"e2b_{key[4:6]}...{key[-4:]}", "crew"] and " valid " in row
        ident = row.split()[0]
        assert succeeds("key", "revoke", ident[:8], data_dir=data_dir) == f"revoked {ident}\n"
        done = run("key", "revoke", ident, data_dir=data_dir)
        assert done.returncode == FAILED and "revoked before" in done.stderr
        return [r for r in succeeds("key", "list", data_dir=data_dir).splitlines() if name in r][0]

    with bare_daemon() as d:
        by_daemon = work(d.data_dir, "with")
        d.stop()
        by_hand = work(d.data_dir, "without")
        assert by_daemon in succeeds("key", "list", data_dir=d.data_dir)
        d.start()
        assert by_hand in succeeds("key", "list", data_dir=d.data_dir)


def test_events_end_with_the_daemon():
    with bare_daemon() as d:
        follower = subprocess.Popen([SANDPIT, "events", "-f", "--data-dir", d.data_dir],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with node_of(d) as node:
            wait_for(lambda: streams(d) > 0, "the follower to connect")
            node.info.Get(pb.GetInfoRequest())
        d.stop()
        out, err = follower.communicate(timeout=30)
        assert (out, follower.returncode) == ("", NO_DAEMON), err
        assert "sandpit events: " in err


def streams(daemon):
    """Connections to the daemon's socket."""
    path = f"{daemon.data_dir}/node.sock"
    return sum(line.rstrip().endswith(path) for line in open("/proc/net/unix")) - 1


def complete(line, data_dir=None):
    """What bash offers at the end of the line."""
    words = line.split(" ")  # the last one is what is being typed
    script = (f'. {ROOT}/scripts/completion.bash\nCOMP_WORDS=("$@")\nCOMP_CWORD=$(($# - 1))\n'
              '_sandpit "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"\n'
              'printf "%s\\n" "${COMPREPLY[@]}"')
    out = subprocess.run(["bash", "-c", script, "bash", SANDPIT, *words[1:]], capture_output=True,
                         text=True, timeout=60, env={**os.environ, **({"SANDPIT_DATA_DIR": data_dir}
                                                                      if data_dir else {})})
    assert out.stderr == ""
    return out.stdout.split()


def test_completion():
    assert complete("sandpit un") == ["undrain"]
    assert {"serve", "ps", "kill", "events", "drain"} <= set(complete("sandpit "))
    assert complete("sandpit ps --j") == ["--json"]
    assert {"-q", "--watch", "--team", "--data-dir"} <= set(complete("sandpit ps -"))
    assert complete("sandpit key r") == ["revoke"]
    assert "--api-port" in complete("sandpit serve --a")
    assert complete("sandpit ps --state pa") == ["paused", "pausing"]
    assert complete("sandpit image b") == ["build"]


def test_completion_of_ids(lone):
    with tempfile.TemporaryDirectory() as nobody:
        assert complete("sandpit kill i", nobody) == []
    assert complete("sandpit kill i", lone.data_dir) == []
    succeeds("key", "create", "--name", "typed", data_dir=lone.data_dir)
    listed = succeeds("key", "list", data_dir=lone.data_dir).splitlines()
    ident = [row.split()[0] for row in listed if row.endswith("typed")][0]
    assert ident in complete("sandpit key revoke ", lone.data_dir)
    line = f"sandpit key revoke --data-dir {lone.data_dir} {ident[:8]}"
    assert complete(line) == [ident]
    succeeds("key", "revoke", ident, data_dir=lone.data_dir)
    assert complete(f"sandpit key revoke {ident[:8]}", lone.data_dir) == []
