"""Commands, stdin and PTYs through the Python client."""
import conftest
import pytest
from conftest import wait_for


@pytest.fixture
def sbx(shared_sandbox):
    return shared_sandbox


def test_exact_output(sbx):
    r = sbx.commands.run("printf 'out\\n'; printf 'err' >&2")
    assert (r.stdout, r.stderr, r.exit_code) == ("out\n", "err", 0)


def test_special_characters(sbx):
    text = "žluťoučký kůň \U0001f40e \"quoted\" 'single' $HOME `id` \\ \t|&;<>()"
    r = sbx.commands.run("cat <<'MARK'\n" + text + "\nMARK")
    assert r.stdout == text + "\n"


def test_exit_code(sbx):
    from e2b import CommandExitException

    with pytest.raises(CommandExitException) as e:
        sbx.commands.run("echo some; echo wrong >&2; exit 42")
    assert (e.value.exit_code, e.value.stdout, e.value.stderr) == (42, "some\n", "wrong\n")


def test_addresses_are_randomised_where_that_is_for_nothing(sbx):
    """Emulated code is translated once for each address. A setuid program's is randomised always."""
    emulated = conftest.accelerator == "tcg"
    mine = sbx.commands.run("cat /proc/self/personality").stdout.strip()
    assert mine == ("00040000" if emulated else "00000000")
    sbx.commands.run("cp /bin/cat /usr/local/bin/cat-as-root && chmod 4755 /usr/local/bin/cat-as-root", user="root")
    assert sbx.commands.run("cat-as-root /proc/self/personality").stdout.strip() == "00000000"
    assert sbx.commands.run("setarch x86_64 cat /proc/self/personality").stdout.strip() == "00000000"
    envd = sbx.commands.run("cat /proc/1/personality", user="root").stdout.strip()
    assert envd == "00000000"


def test_missing_command(sbx):
    from e2b import CommandExitException

    with pytest.raises(CommandExitException) as e:
        sbx.commands.run("no-such-command-anywhere")
    assert e.value.exit_code == 127
    assert "not found" in e.value.stderr


def test_missing_cwd(sbx):
    from e2b import InvalidArgumentException

    with pytest.raises(InvalidArgumentException) as e:
        sbx.commands.run("true", cwd="/no/such/dir")
    assert "/no/such/dir" in str(e.value)


def test_timeout(sbx):
    from e2b import TimeoutException

    with pytest.raises(TimeoutException):
        sbx.commands.run("sleep 60", timeout=1)
    wait_for(lambda: not any("sleep 60" in " ".join(p.args) for p in sbx.commands.list()),
             "the process to be killed")


def test_users(sbx):
    assert sbx.commands.run("whoami; pwd; id -u").stdout == "user\n/home/user\n1000\n"
    assert sbx.commands.run("whoami; id -u", user="root").stdout == "root\n0\n"
    assert sbx.commands.run("sudo -n whoami").stdout == "root\n"
    r = sbx.commands.run("sudo -n true")
    assert (r.stdout, r.stderr) == ("", "")


def test_cwd(sbx):
    assert sbx.commands.run("pwd", cwd="/tmp").stdout == "/tmp\n"


def test_background_list_connect_kill(sbx):
    handle = sbx.commands.run("echo begun; sleep 300", background=True)
    assert handle.pid in [p.pid for p in sbx.commands.list()]
    again = sbx.commands.connect(handle.pid)
    assert again.pid == handle.pid
    assert sbx.commands.kill(handle.pid) is True
    wait_for(lambda: handle.pid not in [p.pid for p in sbx.commands.list()], "the process to end")
    assert sbx.commands.kill(handle.pid) is False


def test_stdin(sbx):
    handle = sbx.commands.run("cat", background=True, stdin=True)
    sbx.commands.send_stdin(handle.pid, "line one\n")
    sbx.commands.send_stdin(handle.pid, "line two\n")
    sbx.commands.close_stdin(handle.pid)
    result = handle.wait()
    assert result.stdout == "line one\nline two\n"


def test_no_stdin_is_end_of_file(sbx):
    r = sbx.commands.run("cat; echo done")
    assert r.stdout == "done\n"


def test_output_is_streamed(sbx):
    got = []
    sbx.commands.run("for i in 1 2 3; do echo $i; done", on_stdout=got.append)
    assert "".join(got) == "1\n2\n3\n"


def test_large_output(sbx):
    r = sbx.commands.run("head -c 3000000 /dev/zero | tr '\\0' x", timeout=120)
    assert len(r.stdout) == 3000000 and set(r.stdout) == {"x"}


def test_pty(sbx):
    from e2b import PtySize

    got = bytearray()
    handle = sbx.pty.create(PtySize(rows=24, cols=80), timeout=120)
    sbx.pty.send_stdin(handle.pid, b"stty size; echo $TERM; tty; echo first-$((40 + 2))\n")
    for _, _, data in handle:
        got.extend(data or b"")
        if b"first-42" in got:
            break
    sbx.pty.resize(handle.pid, PtySize(rows=40, cols=100))
    sbx.pty.send_stdin(handle.pid, b"stty size; exit 0\n")
    for _, _, data in handle:
        got.extend(data or b"")
    text = got.decode()
    assert "24 80" in text and "40 100" in text
    assert "xterm-256color" in text and "/dev/pts/" in text


def test_it_is_a_vm_of_its_own(sbx):
    """Not this host: another kernel, another boot, envd as PID 1."""
    with open("/proc/sys/kernel/random/boot_id") as f:
        here = f.read()
    assert sbx.commands.run("cat /proc/sys/kernel/random/boot_id").stdout != here
    assert "envd" in sbx.commands.run("cat /proc/1/comm").stdout


def test_processes_do_not_inherit_the_agent(sbx):
    out = sbx.commands.run("ls /proc/self/fd | wc -l; cat /proc/self/oom_score_adj").stdout.split()
    assert int(out[0]) <= 5
    assert out[1] == "100"
