"""Templates from an operator's own root file system: a Debian tree, and one whose libc is musl."""
import glob
import os
import shutil
import signal
import subprocess
import tempfile

import pytest
from conftest import SANDPIT, Daemon
from test_leftovers import borrow_templates, vmms

HELLO = r"""
#include <features.h>
#include <stdio.h>
#include <unistd.h>
int main(int argc, char **argv)
{
#ifdef __GLIBC__
#error built against glibc
#endif
    if (argc > 0 && argv[0][0] == '/' && argc > 1) {
        argv[0] = "sh";
        execv("/bin/busybox", argv);
        return 127;
    }
    puts("hello from musl");
    return 0;
}
"""


def musl_tree(folder):
    """What Alpine is made of: musl, busybox, and programs linked with musl. `bash`, which clients
    call, is such a program here: it hands over to busybox's shell."""
    for name in ("bin", "lib", "etc", "root", "home", "tmp", "proc", "sys", "dev", "run", "var"):
        (folder / name).mkdir()
    shutil.copy("/bin/busybox", folder / "bin/busybox")
    for name in ("sh", "ls", "cat", "id", "uname", "whoami", "stat", "env", "mkdir", "rm", "true"):
        os.symlink("busybox", folder / "bin" / name)
    libc = os.path.realpath("/lib/ld-musl-x86_64.so.1")
    shutil.copy(libc, folder / "lib/ld-musl-x86_64.so.1")
    (folder / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (folder / "etc/group").write_text("root:x:0:\n")
    (folder / "etc/os-release").write_text('ID=alpine-like\nNAME="musl tree"\n')
    source = folder / "tmp/hello.c"
    source.write_text(HELLO)
    subprocess.run(["musl-gcc", "-o", folder / "bin/hello", source], check=True)
    shutil.copy(folder / "bin/hello", folder / "bin/bash")
    source.unlink()


@pytest.fixture(scope="module")
def host(data_dir):
    folder = tempfile.mkdtemp(prefix="sandpit-image-")
    os.chmod(folder, 0o711)
    borrow_templates(data_dir, folder)
    d = Daemon(folder, extra=["--ephemeral"]).start()
    yield d
    d.stop()
    for pid in vmms(folder):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder)


def build(d, name, rootfs):
    done = subprocess.run([SANDPIT, "image", "build", "--name", name, "--rootfs", str(rootfs),
                           "--disk-mb", "1024", "--data-dir", d.data_dir],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def create(d, template):
    from e2b import Sandbox

    return Sandbox.create(template, timeout=300, api_key=d.key, api_url=d.api_url,
                          sandbox_url=d.proxy_url, domain="localhost")


def test_a_musl_tree(host, tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    musl_tree(folder)
    build(host, "alpine-like", folder)
    assert not (folder / "usr/bin/envd").exists(), "the operator's own tree was changed"
    sbx = create(host, "alpine-like")
    try:
        r = sbx.commands.run("hello; whoami; cat /etc/os-release")
        assert r.stdout == 'hello from musl\nuser\nID=alpine-like\nNAME="musl tree"\n'
        sbx.files.write("a.txt", "text")
        assert sbx.commands.run("cat a.txt; stat -c %U a.txt").stdout == "textuser\n"
    finally:
        sbx.kill()


def test_a_debian_tree_as_a_tar(host, data_dir, tmp_path):
    """The root file system that `image build` made for base, before envd was baked in."""
    cache = os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache"))
    made = glob.glob(f"{cache}/sandpit/image/rootfs-*/tree")
    if not made:
        pytest.skip("no root file system of a Debian build in the cache")
    archive = tmp_path / "debian.tar"
    subprocess.run(["tar", "-C", max(made, key=os.path.getmtime), "--numeric-owner", "-cf",
                    archive, "."], check=True)
    build(host, "own-debian", archive)
    sbx = create(host, "own-debian")
    try:
        assert sbx.commands.run("whoami; . /etc/os-release; echo $ID").stdout == "user\ndebian\n"
        assert sbx.get_info().name == "own-debian"
    finally:
        sbx.kill()


def test_what_is_no_root_file_system(host, tmp_path):
    empty = tmp_path / "not.tar"
    empty.write_bytes(b"no tar at all")
    for path in (empty, tmp_path / "missing"):
        done = subprocess.run([SANDPIT, "image", "build", "--name", "broken", "--rootfs",
                               str(path), "--data-dir", host.data_dir],
                              capture_output=True, text=True)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    listed = subprocess.run([SANDPIT, "image", "list", "--data-dir", host.data_dir],
                            check=True, capture_output=True, text=True).stdout
    assert "broken" not in listed and "base" in listed
