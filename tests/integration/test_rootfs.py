"""Templates of an operator's own root file systems: a Debian tree, and one like Alpine's, whose C
library is musl and which has neither bash nor sudo. Both are made from Debian's packages."""
import os
import pathlib
import subprocess

import pytest

from boxes import names, vmms
from conftest import SANDPIT, Daemon
from faults import require_fault_points

HELLO = r"""
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>
int main(void)
{
    struct passwd *p = getpwuid(getuid());
    printf("hello from %s\n", p ? p->pw_name : "nobody");
    return 0;
}
"""


def run(*words, cwd=None):
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def make_musl_tree(folder):
    """busybox and musl, and a program that needs the latter."""
    debs, tree = folder / "debs", folder / "tree"
    debs.mkdir()
    run("apt-get", "download", "busybox-static", "musl", cwd=debs)
    for deb in debs.iterdir():
        run("dpkg-deb", "-x", str(deb), str(tree))
    for path in run(str(tree / "bin/busybox"), "--list-full").split():
        link = tree / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to("/bin/busybox")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/ash\n")
    (tree / "etc/group").write_text("root:x:0:\nwheel:x:10:root\n")
    (tree / "etc/os-release").write_text("ID=like-alpine\n")
    source = folder / "hello.c"
    source.write_text(HELLO)
    run("musl-gcc", "-o", str(tree / "usr/bin/hello"), str(source))
    assert "ld-musl" in run("readelf", "-l", str(tree / "usr/bin/hello"))
    return tree


@pytest.fixture(scope="module")
def own_daemon(tmp_path_factory, data_dir):
    """A daemon with a data directory of its own: each build of such a template is a new one."""
    if os.geteuid() != 0:
        pytest.skip("building an image needs root")
    d = Daemon(str(tmp_path_factory.mktemp("rootfs-data")), extra=["--ephemeral"]).start()
    yield d
    assert d.stop() == 0


def build(daemon, name, rootfs):
    run(SANDPIT, "image", "build", "--data-dir", daemon.data_dir, "--name", name, "--rootfs",
        str(rootfs), "--disk-mb", "1024")


def create(daemon, name):
    from e2b import Sandbox

    env = daemon.client_env()
    return Sandbox.create(name, api_key=env["E2B_API_KEY"], api_url=env["E2B_API_URL"],
                          sandbox_url=env["E2B_SANDBOX_URL"], domain=env["E2B_DOMAIN"],
                          timeout=300)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_musl_tree(own_daemon, tmp_path, packed):
    tree = make_musl_tree(tmp_path)
    rootfs, name = tree, "musl-folder"
    if packed:
        rootfs, name = tmp_path / "tree.tar.gz", "musl-archive"
        run("tar", "-C", str(tree), "-czf", str(rootfs), ".")
    build(own_daemon, name, rootfs)
    assert not (tree / "usr/bin/envd").exists()
    sandbox = create(own_daemon, name)
    try:
        assert sandbox.commands.run("hello").stdout == "hello from user\n"
        assert sandbox.commands.run("hello", user="root").stdout == "hello from root\n"
        assert sandbox.commands.run(". /etc/os-release; echo $ID").stdout == "like-alpine\n"
        assert sandbox.commands.run("pwd; id -u").stdout == "/home/user\n1000\n"
        sandbox.files.write("a/b.txt", "text")
        assert sandbox.commands.run("cat /home/user/a/b.txt").stdout == "text"
    finally:
        assert sandbox.kill()


def test_debian_tree(own_daemon):
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")))
    trees = list((cache / "sandpit/image").glob("rootfs-*/tree"))
    if not trees:
        pytest.skip("no Debian tree in the cache: run sandpit image build first")
    build(own_daemon, "debian", trees[0])
    assert not (trees[0] / "usr/bin/envd").exists()
    sandbox = create(own_daemon, "debian")
    try:
        assert sandbox.commands.run("sudo id -u; id -un").stdout == "0\nuser\n"
        assert sandbox.commands.run("python3 -c 'print(6 * 7)'").stdout == "42\n"
    finally:
        assert sandbox.kill()


def test_what_is_no_root_file_system(own_daemon, tmp_path):
    """One line that says so, and no template."""
    bad = tmp_path / "not.tar"
    bad.write_bytes(b"no tar at all")
    for path in (bad, tmp_path / "missing"):
        done = subprocess.run([SANDPIT, "image", "build", "--name", "broken", "--rootfs",
                               str(path), "--data-dir", own_daemon.data_dir],
                              capture_output=True, text=True)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "broken" not in run(SANDPIT, "image", "list", "--data-dir", own_daemon.data_dir)


def test_a_snapshot_that_cannot_be_written_makes_no_template(own_daemon):
    require_fault_points()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")))
    trees = list((cache / "sandpit/image").glob("rootfs-*/tree"))
    if not trees:
        pytest.skip("no Debian tree in the cache: run sandpit image build first")
    before = names(own_daemon.data_dir, "templates")
    done = subprocess.run([SANDPIT, "image", "build", "--name", "faulty", "--rootfs", trees[0],
                           "--disk-mb", "1024", "--data-dir", own_daemon.data_dir],
                          capture_output=True, text=True,
                          env={**os.environ, "SANDPIT_FAULTS": "image.snapshot"})
    assert done.returncode == 1 and "fault image.snapshot" in done.stderr, done.stderr
    assert names(own_daemon.data_dir, "templates") == before
    assert vmms(own_daemon.data_dir, ".build") == []
    assert "faulty" not in run(SANDPIT, "image", "list", "--data-dir", own_daemon.data_dir)
