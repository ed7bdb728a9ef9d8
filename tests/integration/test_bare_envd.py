"""Both clients against envd as a process on this host (E2B_DEBUG=true): no VM, no daemon."""
import pytest

from conftest import run_js


@pytest.fixture
def debug(bare_envd, monkeypatch):
    for name in ("E2B_SANDBOX_URL", "E2B_API_URL", "E2B_DOMAIN"):
        monkeypatch.delenv(name, raising=False)  # where a daemon of this run is, not envd
    monkeypatch.setenv("E2B_DEBUG", "true")
    monkeypatch.setenv("E2B_API_KEY", "e2b_" + "0" * 40)


def test_python_runs_a_command(debug):
    from e2b import Sandbox

    sbx = Sandbox.create()
    result = sbx.commands.run("echo out; echo err >&2")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 0)


def test_python_sees_an_exit_code(debug):
    from e2b import CommandExitException, Sandbox

    with pytest.raises(CommandExitException) as e:
        Sandbox.create().commands.run("echo no >&2; exit 3")
    assert e.value.exit_code == 3
    assert e.value.stderr == "no\n"


def test_python_files(debug, tmp_path):
    from e2b import Sandbox

    sbx = Sandbox.create()
    path = str(tmp_path / "a" / "b.txt")
    sbx.files.write(path, "hello\n")
    assert sbx.files.read(path) == "hello\n"
    assert [e.name for e in sbx.files.list(str(tmp_path / "a"))] == ["b.txt"]
    assert sbx.files.exists(path)
    sbx.files.remove(path)
    assert not sbx.files.exists(path)


def test_javascript(debug):
    run_js("bare_envd.test.mjs", {})
