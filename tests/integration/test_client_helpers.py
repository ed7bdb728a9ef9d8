"""The rest of the Python client's helpers against a VM: metadata, gzip, git, input."""
import pytest
from conftest import run_js, wait_for


@pytest.fixture
def sbx(shared_sandbox):
    return shared_sandbox


def test_metadata(sbx):
    info = sbx.files.write("m.txt", "x", metadata={"Owner": "someone", "stage": "two words"})
    assert info.metadata == {"owner": "someone", "stage": "two words"}
    assert sbx.files.get_info("m.txt").metadata == info.metadata
    moved = sbx.files.rename("m.txt", "m2.txt")
    assert moved.metadata == info.metadata
    sbx.files.write("m2.txt", "y")
    assert not sbx.files.get_info("m2.txt").metadata
    infos = sbx.files.write_files([{"path": f"mm/{n}", "data": "d"} for n in range(3)],
                                  metadata={"all": "same"})
    assert [i.metadata for i in infos] == [{"all": "same"}] * 3
    assert [e.metadata for e in sbx.files.list("mm")] == [{"all": "same"}] * 3


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("octet", [None, True])
def test_uploads_and_downloads(sbx, gzip, octet):
    data = bytes(range(256)) * 8000 + b"end"
    sbx.files.write("u.bin", data, gzip=gzip, use_octet_stream=octet)
    assert sbx.files.get_info("u.bin").size == len(data)
    assert bytes(sbx.files.read("u.bin", format="bytes", gzip=gzip)) == data
    assert b"".join(sbx.files.read("u.bin", format="stream", gzip=gzip)) == data


def test_an_upload_from_a_stream(sbx, tmp_path):
    path = tmp_path / "big"
    path.write_bytes(b"0123456789abcdef" * 500_000)
    with open(path, "rb") as f:
        sbx.files.write("streamed.bin", f, use_octet_stream=True)
    assert sbx.files.get_info("streamed.bin").size == path.stat().st_size
    assert sbx.commands.run("tail -c 16 streamed.bin").stdout == "0123456789abcdef"


def test_git(sbx):
    repo, bare = "/home/user/repo", "/home/user/bare.git"
    sbx.git.init(bare, bare=True, initial_branch="main")
    sbx.git.init(repo, initial_branch="main")
    sbx.git.configure_user("Test", "test@example.com")
    assert sbx.git.get_config("user.name", scope="global") == "Test"
    sbx.files.write(f"{repo}/a.txt", "one\n")
    sbx.files.write(f"{repo}/b with spaces.txt", "two\n")
    status = sbx.git.status(repo)
    assert (status.untracked_count, status.is_clean) == (2, False)
    sbx.git.add(repo, files=["a.txt"])
    assert sbx.git.status(repo).staged_count == 1
    sbx.git.add(repo)
    sbx.git.commit(repo, "the first")
    assert sbx.git.status(repo).is_clean

    sbx.git.remote_add(repo, "origin", bare)
    assert sbx.git.remote_get(repo, "origin") == bare
    sbx.git.push(repo, remote="origin", branch="main", set_upstream=True)
    sbx.git.clone(bare, path="/home/user/clone")
    assert sbx.files.read("/home/user/clone/a.txt") == "one\n"

    sbx.files.write(f"{repo}/a.txt", "changed\n")
    sbx.git.add(repo)
    sbx.git.commit(repo, "the second")
    assert sbx.git.status(repo).ahead == 1
    sbx.git.push(repo)
    sbx.git.pull("/home/user/clone")
    assert sbx.files.read("/home/user/clone/a.txt") == "changed\n"

    sbx.git.create_branch(repo, "feature")
    sbx.git.checkout_branch(repo, "main")
    assert sorted(sbx.git.branches(repo).branches) == ["feature", "main"]
    sbx.git.delete_branch(repo, "feature")
    assert sbx.git.branches(repo).branches == ["main"]
    sbx.files.write(f"{repo}/a.txt", "dirty\n")
    sbx.git.restore(repo, paths=["a.txt"])
    assert sbx.files.read(f"{repo}/a.txt") == "changed\n"
    sbx.git.reset(repo, mode="hard", target="HEAD~1")
    assert sbx.files.read(f"{repo}/a.txt") == "one\n"


def test_a_git_error(sbx):
    from e2b import CommandExitException

    with pytest.raises(CommandExitException) as e:
        sbx.git.status("/home/user/no-repo")
    assert e.value.exit_code == 128


def test_a_pty_that_is_left_and_found_again(sbx):
    from e2b import PtySize

    handle = sbx.pty.create(PtySize(rows=24, cols=80), timeout=300)
    sbx.pty.send_stdin(handle.pid, b"echo one-$((1 + 1))\n")
    got = bytearray()
    for _, _, data in handle:
        got.extend(data or b"")
        if b"one-2" in got:
            break
    handle.disconnect()
    sbx.pty.send_stdin(handle.pid, b"echo two-$((2 + 2))\n")
    again = sbx.pty.connect(handle.pid)
    for _, _, data in again:
        got.extend(data or b"")
        if b"two-4" in got:
            break
    assert b"two-4" in got
    assert sbx.pty.kill(handle.pid) is True
    wait_for(lambda: handle.pid not in [p.pid for p in sbx.commands.list()], "the end")


def test_environment(sbx):
    r = sbx.commands.run("echo $A-$B", envs={"A": "1", "B": "two words"})
    assert r.stdout == "1-two words\n"


def test_javascript(daemon):
    run_js("envd.test.mjs", daemon.client_env())
