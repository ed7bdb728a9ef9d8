"""Files through the Python client and through signed URLs."""
import gzip
import urllib.parse

import pytest
from conftest import http_status


@pytest.fixture
def sbx(shared_sandbox):
    return shared_sandbox


def test_write_and_read(sbx):
    info = sbx.files.write("/home/user/a.txt", "žluť\n")
    assert info.path == "/home/user/a.txt"
    assert sbx.files.read("/home/user/a.txt") == "žluť\n"
    assert sbx.files.read("/home/user/a.txt", format="bytes") == "žluť\n".encode()
    assert b"".join(sbx.files.read("/home/user/a.txt", format="stream")) == "žluť\n".encode()


def test_binary_of_some_size(sbx):
    data = bytes(range(256)) * 20000
    sbx.files.write("big.bin", data)
    assert bytes(sbx.files.read("big.bin", format="bytes")) == data


def test_empty_file(sbx):
    sbx.files.write("empty", "")
    assert sbx.files.read("empty") == ""


def test_relative_paths_belong_to_the_user(sbx):
    sbx.files.write("rel/deep/file.txt", "x")
    out = sbx.commands.run("stat -c '%U:%G %a' rel rel/deep rel/deep/file.txt").stdout
    assert out == "user:user 755\nuser:user 755\nuser:user 644\n"


def test_as_root(sbx):
    sbx.files.write("/root/secret.txt", "r", user="root")
    assert sbx.commands.run("stat -c %U /root/secret.txt", user="root").stdout == "root\n"


def test_several_at_once(sbx):
    entries = [{"path": f"many/{n}.txt", "data": f"file {n}"} for n in range(5)]
    infos = sbx.files.write_files(entries)
    assert [i.path for i in infos] == [f"/home/user/many/{n}.txt" for n in range(5)]
    assert sbx.files.read("many/3.txt") == "file 3"


def test_list_with_depth(sbx):
    sbx.files.write("tree/a/b/c.txt", "x")
    sbx.files.write("tree/z.txt", "x")
    assert [e.path for e in sbx.files.list("tree")] == ["/home/user/tree/a", "/home/user/tree/z.txt"]
    deep = [e.path for e in sbx.files.list("tree", depth=3)]
    assert deep == ["/home/user/tree/a", "/home/user/tree/a/b", "/home/user/tree/a/b/c.txt",
                    "/home/user/tree/z.txt"]


def test_info_exists_rename_remove_make_dir(sbx):
    from e2b import FileType, NotFoundException

    sbx.files.write("one.txt", "12345")
    info = sbx.files.get_info("one.txt")
    assert (info.name, info.size, info.type) == ("one.txt", 5, FileType.FILE)
    assert (info.owner, info.group, info.permissions) == ("user", "user", "-rw-r--r--")
    assert sbx.files.exists("one.txt")
    moved = sbx.files.rename("one.txt", "sub/two.txt")
    assert moved.path == "/home/user/sub/two.txt"
    assert not sbx.files.exists("one.txt")
    sbx.files.remove("sub")
    assert not sbx.files.exists("sub/two.txt")
    assert sbx.files.make_dir("new/dir") is True
    assert sbx.files.make_dir("new/dir") is False
    with pytest.raises(NotFoundException):
        sbx.files.rename("no-such", "x")


def test_missing_file(sbx):
    from e2b import NotFoundException

    with pytest.raises(NotFoundException):
        sbx.files.read("no-such-file")
    with pytest.raises(NotFoundException):
        sbx.files.list("no-such-dir")
    assert not sbx.files.exists("no-such-file")


def test_a_directory_is_no_file(sbx):
    from e2b import InvalidArgumentException

    with pytest.raises(InvalidArgumentException):
        sbx.files.read("/etc")


def body(headers, data):
    return gzip.decompress(data) if headers.get("content-encoding") == "gzip" else data


@pytest.mark.parametrize("expiration", [None, 300])
def test_signed_urls(sbx, expiration):
    sbx.files.write("signed me.txt", "signed content")
    kwargs = {"use_signature_expiration": expiration} if expiration else {}
    url = sbx.download_url("signed me.txt", **kwargs)
    assert "signature=" in url
    status, headers, data = http_status(url)
    assert (status, body(headers, data)) == (200, b"signed content")

    url = sbx.upload_url("uploaded.bin", **kwargs)
    boundary = "xxxxboundaryxxxx"
    form = (f"--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; "
            f"filename=\"uploaded.bin\"\r\nContent-Type: application/octet-stream\r\n\r\n"
            f"uploaded\r\n--{boundary}--\r\n").encode()
    status, _, _ = http_status(url, "POST",
                               {"Content-Type": f"multipart/form-data; boundary={boundary}"}, form)
    assert status == 200
    assert sbx.files.read("uploaded.bin") == "uploaded"


def test_signatures_that_do_not_hold(sbx, daemon):
    sbx.files.write("signed.txt", "x")
    route = {"E2b-Sandbox-Id": sbx.sandbox_id, "E2b-Sandbox-Port": "49983"}

    def status(url):
        return http_status(url, headers=route)[0]

    good = sbx.download_url("signed.txt", use_signature_expiration=300)
    assert status(good) == 200
    assert status(good.replace("signed.txt", "other.txt")) == 401
    parts = urllib.parse.urlsplit(good)
    query = dict(urllib.parse.parse_qsl(parts.query))
    query["signature_expiration"] = str(int(query["signature_expiration"]) + 1)
    assert status(parts._replace(query=urllib.parse.urlencode(query)).geturl()) == 401
    old = sbx.download_url("signed.txt", use_signature_expiration=-10)
    assert status(old) == 401
    assert status(f"{daemon.proxy_url}/files?path=signed.txt") == 401
    assert status(f"{daemon.proxy_url}/files?path=signed.txt&username=user") == 401
