"""The node service over TCP: only clients with a certificate of the configured authority."""
import json
import subprocess

import grpc
import pytest
from conftest import SANDPIT
from node_client import Node, bare_daemon, pb


def openssl(*args):
    subprocess.run(["openssl", *args], check=True, capture_output=True)


def make_authority(folder, name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem", "-days", "2",
            "-subj", f"/CN={name}")


def make_certificate(folder, authority, name):
    extensions = folder / f"{name}.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.csr", "-subj",
            f"/CN={name}")
    openssl("x509", "-req", "-in", f"{folder}/{name}.csr", "-CA", f"{folder}/{authority}.pem",
            "-CAkey", f"{folder}/{authority}.key", "-CAcreateserial", "-days", "2", "-extfile",
            str(extensions), "-out", f"{folder}/{name}.pem")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    for authority in ("ours", "theirs"):
        make_authority(folder, authority)
    for authority, name in (("ours", "node"), ("ours", "peer"), ("theirs", "stranger")):
        make_certificate(folder, authority, name)
    return folder


def flags(files, **other):
    chosen = {"cert": "node.pem", "key": "node.key", "ca": "ours.pem", **other}
    return ["--node-port", "0", *(a for k, v in chosen.items()
                                  for a in (f"--node-tls-{k}", str(files / v)))]


@pytest.fixture(scope="module")
def secured(files):
    with bare_daemon(extra=flags(files)) as d:
        ready = [json.loads(line) for line in d.log_text().splitlines() if '"sandpit is ready"' in line]
        d.node_port = ready[0]["node_port"]
        yield d


def get(daemon, credentials):
    where = f"127.0.0.1:{daemon.node_port}"
    channel = (grpc.secure_channel(where, credentials) if credentials
               else grpc.insecure_channel(where))
    with channel:
        return Node(channel).info.Get(pb.GetInfoRequest(), timeout=20)


def credentials(files, name=None, authority="ours"):
    pem = [(files / f"{name}.{end}").read_bytes() if name else None for end in ("key", "pem")]
    return grpc.ssl_channel_credentials((files / f"{authority}.pem").read_bytes(), *pem)


def test_a_peer_of_the_authority_is_let_in(secured, files):
    assert len(get(secured, credentials(files, "peer")).node_id) == 32


@pytest.mark.parametrize("who", [None, "stranger"])
def test_others_are_not(secured, files, who):
    with pytest.raises(grpc.RpcError) as e:
        get(secured, credentials(files, who))
    assert e.value.code() == grpc.StatusCode.UNAVAILABLE


def test_nobody_gets_in_without_tls(secured):
    with pytest.raises(grpc.RpcError) as e:
        get(secured, None)
    assert e.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_peer_knows_the_node_by_its_certificate(secured, files):
    with pytest.raises(grpc.RpcError) as e:
        get(secured, credentials(files, "peer", authority="theirs"))
    assert e.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("wrong, text", [
    ({"cert": "nothing.pem"}, "nothing.pem"),
    ({"key": "node.ext"}, "is no private key in PEM"),
    ({"key": "peer.key"}, "its key do not fit"),
])
def test_wrong_files_are_told(files, tmp_path, wrong, text):
    done = subprocess.run([SANDPIT, "serve", "--data-dir", str(tmp_path), "--api-port", "0",
                           "--proxy-port", "0", *flags(files, **wrong)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and text in done.stderr, done.stderr
