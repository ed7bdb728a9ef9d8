"""The node service by a client in another language: grpcio, with stubs from our proto. No VM is
needed here; test_node_sandboxes.py makes some."""
import os
import signal
import socket
import stat
import subprocess
import sys

import grpc
import pytest
from conftest import SANDPIT, wait_for
from node_client import bare_daemon, begin_watch, descriptors, node_of, pb, target, tasks

MESSAGE_MAX = 4 << 20


@pytest.fixture(scope="module")
def lone():
    """A daemon without templates, shared by the tests that leave it as it was."""
    with bare_daemon() as d:
        yield d


@pytest.fixture
def node(lone):
    with node_of(lone) as n:
        yield n


def fails(code, call, *args, **kwargs):
    """The details of the error that a call ends with."""
    with pytest.raises(grpc.RpcError) as e:
        call(*args, **kwargs)
    assert e.value.code() == code, e.value
    return e.value.details()


def test_info(lone, node):
    info = node.info.Get(pb.GetInfoRequest())
    assert len(info.node_id) == 32 and info.hostname == socket.gethostname()
    version = subprocess.run([SANDPIT, "version"], capture_output=True, text=True).stdout
    assert version == f"sandpit {info.version}\n"
    assert info.accelerator in ("kvm", "tcg") and info.vmm
    assert info.state == pb.NODE_STATE_READY
    assert info.capacity.vcpus == os.cpu_count() and info.capacity.memory_mb > 100
    assert info.capacity.sandboxes > 0 and info.used.sandboxes == 0
    assert info.started_at.seconds > 0


def test_identity_is_of_the_data_directory(lone, node):
    mine = node.info.Get(pb.GetInfoRequest()).node_id
    lone.stop()
    lone.start()
    with node_of(lone) as again:
        assert again.info.Get(pb.GetInfoRequest(), wait_for_ready=True).node_id == mine
    with bare_daemon() as other, node_of(other) as theirs:
        assert theirs.info.Get(pb.GetInfoRequest()).node_id != mine


def test_socket_is_the_operators_alone(lone):
    path = f"{lone.data_dir}/node.sock"
    mode = os.stat(path).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    if os.getuid() != 0:
        pytest.skip("only root can try as another user")
    os.chmod(path, 0o666)  # the path lets them in; the daemon does not
    try:
        script = ("import os,socket,sys\nos.setgroups([]);os.setgid(65534);os.setuid(65534)\n"
                  "s=socket.socket(socket.AF_UNIX);s.settimeout(10);s.connect(sys.argv[1])\n"
                  "try:\n s.sendall(b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n')\n got=s.recv(100)\n"
                  "except (ConnectionResetError, BrokenPipeError): got=b''\nprint(got)")
        out = subprocess.run(["/usr/bin/python3", "-c", script, path], capture_output=True,
                             text=True)
        assert out.stdout == "b''\n", out
    finally:
        os.chmod(path, 0o600)
    assert "a connection to the node service was refused" in lone.log_text()


def test_draining_refuses_creates_on_both_ways(lone, node):
    create = pb.CreateSandboxRequest(template="base")
    body = {"templateID": "base"}
    was = node.info.SetState(pb.SetStateRequest(state=pb.NODE_STATE_DRAINING)).previous
    assert was == pb.NODE_STATE_READY
    try:
        assert node.info.Get(pb.GetInfoRequest()).state == pb.NODE_STATE_DRAINING
        assert "draining" in fails(grpc.StatusCode.UNAVAILABLE, node.sandboxes.Create, create)
        status, answer, _ = lone.api("POST", "/v2/sandboxes", body)
        assert status == 503 and "draining" in answer["message"]
    finally:
        was = node.info.SetState(pb.SetStateRequest(state=pb.NODE_STATE_READY)).previous
    assert was == pb.NODE_STATE_DRAINING
    # And now it is refused for what is really missing.
    assert "base" in fails(grpc.StatusCode.NOT_FOUND, node.sandboxes.Create, create)
    fails(grpc.StatusCode.INVALID_ARGUMENT, node.info.SetState, pb.SetStateRequest())


def test_keys(lone, node):
    made = node.keys.Create(pb.CreateKeyRequest(name="from gRPC", team="crew"))
    assert made.value.startswith("e2b_") and len(made.value) == 44
    assert (made.key.name, made.key.team) == ("from gRPC", "crew")
    assert lone.api("GET", "/v2/sandboxes", key=made.value)[0] == 200
    listed = {k.id: k for k in node.keys.List(pb.ListKeysRequest()).keys}
    mine = listed[made.key.id]
    assert mine.mask == f"e2b_{made.value[4:6]}...{made.value[-4:]}"
    assert mine.HasField("created_at") and not mine.HasField("revoked_at")
    assert mine.HasField("last_used_at")
    gone = node.keys.Revoke(pb.RevokeKeyRequest(id=made.key.id[:8]))
    assert gone.key.id == made.key.id and gone.key.HasField("revoked_at")
    assert lone.api("GET", "/v2/sandboxes", key=made.value)[0] == 401
    fails(grpc.StatusCode.NOT_FOUND, node.keys.Revoke, pb.RevokeKeyRequest(id="0" * 36))
    assert "at most 128" in fails(grpc.StatusCode.INVALID_ARGUMENT, node.keys.Create,
                                  pb.CreateKeyRequest(name="x" * 129))
    fails(grpc.StatusCode.INVALID_ARGUMENT, node.keys.Create, pb.CreateKeyRequest(team="No team"))


@pytest.mark.parametrize("request_, text", [
    (dict(template="no/such/thing"), "invalid template reference"),
    (dict(template="base", timeout_s=0), "timeout_s"),
    (dict(template="base", timeout_s=86401), "timeout_s"),
    (dict(template="base", public_traffic=False, secure=False), "secure"),
    (dict(template="base", auto_pause_memory=False), "auto_pause"),
    (dict(template="base", envs={"a=b": "c"}), "environment variable"),
    (dict(template="base", envs={"": "c"}), "environment variable"),
    (dict(template="base", metadata={"a": "x" * 262144}), "metadata"),
    (dict(template="base", envs={"a": "x" * 1048576}), "envs"),
])
def test_a_wrong_create_is_refused(node, request_, text):
    details = fails(grpc.StatusCode.INVALID_ARGUMENT, node.sandboxes.Create,
                    pb.CreateSandboxRequest(**request_))
    assert text in details


def test_each_error_is_a_status(lone, node):
    s = node.sandboxes
    code = grpc.StatusCode
    assert "i00" in fails(code.NOT_FOUND, s.Get, pb.GetSandboxRequest(id="i00"))
    fails(code.NOT_FOUND, s.Update, pb.UpdateSandboxRequest(id="i00", timeout_s=5))
    fails(code.NOT_FOUND, s.Delete, pb.DeleteSandboxRequest(id="i00"))
    fails(code.NOT_FOUND, s.Pause, pb.PauseSandboxRequest(id="i00"))
    fails(code.NOT_FOUND, s.Resume, pb.ResumeSandboxRequest(id="i00"))
    fails(code.INVALID_ARGUMENT, s.Resume, pb.ResumeSandboxRequest(id="i00", timeout_s=0))
    fails(code.NOT_FOUND, s.Create, pb.CreateSandboxRequest(template="base", team="nobody"))
    fails(code.NOT_FOUND, s.List, pb.ListSandboxesRequest(team="nobody"))
    fails(code.INVALID_ARGUMENT, s.List, pb.ListSandboxesRequest(page_size=1001))
    fails(code.INVALID_ARGUMENT, s.List, pb.ListSandboxesRequest(page_token="what"))
    fails(code.INVALID_ARGUMENT, next, s.Watch(pb.WatchSandboxesRequest(position="what")))
    old = "0" * 16 + ".1"
    assert "list again" in fails(code.OUT_OF_RANGE, next,
                                 s.Watch(pb.WatchSandboxesRequest(position=old)))
    nothing = node.channel.unary_unary("/sandpit.node.v1.SandboxService/Polish")
    assert "Polish" in fails(code.UNIMPLEMENTED, nothing, b"")
    assert s.List(pb.ListSandboxesRequest()).total == 0


def test_malformed_messages_are_refused(node):
    get = node.channel.unary_unary("/sandpit.node.v1.SandboxService/Get")
    for bad in (b"\xff", b"\x0a\x05ab", b"\x0a\x02\xff\xfe", b"\x0a\x03a\0b"):
        fails(grpc.StatusCode.INVALID_ARGUMENT, get, bad)
    watch = node.channel.unary_stream("/sandpit.node.v1.SandboxService/Watch")
    fails(grpc.StatusCode.INVALID_ARGUMENT, next, watch(b"\xff\xff"))
    node.info.Get(pb.GetInfoRequest())


def test_limits_of_a_request(lone, node):
    big = pb.GetSandboxRequest(id="x" * MESSAGE_MAX)
    fails(grpc.StatusCode.RESOURCE_EXHAUSTED, node.sandboxes.Get, big)
    fits = pb.GetSandboxRequest(id="x" * (MESSAGE_MAX - 100))
    fails(grpc.StatusCode.NOT_FOUND, node.sandboxes.Get, fits)
    fails(grpc.StatusCode.UNIMPLEMENTED, node.info.Get, pb.GetInfoRequest(),
          compression=grpc.Compression.Gzip)
    node.info.Get(pb.GetInfoRequest(), metadata=[("x-much", "y" * 8000)])
    with node_of(lone) as other:  # whose connection is lost with the call
        fails(grpc.StatusCode.RESOURCE_EXHAUSTED, other.info.Get, pb.GetInfoRequest(),
              metadata=[("x-much", "y" * 20000)])
    node.info.Get(pb.GetInfoRequest())


def test_noise_on_the_socket_harms_nobody(lone, node):
    before = descriptors(lone)
    for noise in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", os.urandom(4096),
                  b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(f"{lone.data_dir}/node.sock")
            s.sendall(noise)
            try:
                while s.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    node.info.Get(pb.GetInfoRequest())
    wait_for(lambda: descriptors(lone) <= before + 1, "the connections to be closed")


def test_a_cancelled_watch_is_gone(lone, node):
    calls = [begin_watch(node)[0] for _ in range(256)]
    with node_of(lone) as other:
        assert "256" in fails(grpc.StatusCode.RESOURCE_EXHAUSTED, next,
                              other.sandboxes.Watch(pb.WatchSandboxesRequest(), timeout=30))
    for c in calls:
        c.cancel()
        with pytest.raises(grpc.RpcError) as e:
            next(c)
        assert e.value.code() == grpc.StatusCode.CANCELLED

    def again():
        try:
            begin_watch(node)[0].cancel()
            return True
        except grpc.RpcError:
            return False

    wait_for(again, "room for a watch")


def test_a_deadline_ends_a_watch(node):
    call, _ = begin_watch(node, timeout=1)
    fails(grpc.StatusCode.DEADLINE_EXCEEDED, next, call)
    node.info.Get(pb.GetInfoRequest())


def test_a_watch_that_is_not_to_follow_ends(node):
    watch = pb.WatchSandboxesRequest(from_oldest=True, no_follow=True)
    assert len([m for m in node.sandboxes.Watch(watch, timeout=30) if not m.HasField("event")]) == 1
    both = pb.WatchSandboxesRequest(from_oldest=True, position="0" * 16 + ".0")
    fails(grpc.StatusCode.INVALID_ARGUMENT, next, node.sandboxes.Watch(both))


def test_stopping_ends_streams_with_a_status():
    with bare_daemon() as d, node_of(d) as node:
        calls = [begin_watch(node)[0] for _ in range(10)]
        d.process.send_signal(signal.SIGTERM)
        for c in calls:
            assert "stopping" in fails(grpc.StatusCode.UNAVAILABLE, next, c)
        assert d.process.wait(30) == 0
        assert not os.path.exists(f"{d.data_dir}/node.sock")


CLIENT = """
import sys
sys.path.insert(0, sys.argv[1])
import grpc
from node_client import begin_watch, pb, Node
node = Node(grpc.insecure_channel(sys.argv[2]))
calls = [begin_watch(node, timeout=600)[0] for _ in range(20)]
print("watching", flush=True)
next(calls[0])
"""


def test_a_client_killed_in_mid_stream_leaves_nothing(lone, node):
    node.info.Get(pb.GetInfoRequest())
    here = os.path.dirname(os.path.abspath(__file__))
    before = (descriptors(lone), tasks(lone))
    for _ in range(3):
        client = subprocess.Popen([sys.executable, "-c", CLIENT, here, target(lone)],
                                  stdout=subprocess.PIPE, text=True)
        assert client.stdout.readline() == "watching\n"
        assert descriptors(lone) > before[0]
        client.kill()
        client.wait()
        client.stdout.close()
        wait_for(lambda: descriptors(lone) <= before[0], "its connection to be closed")
    assert tasks(lone) <= before[1] + 2  # gRPC keeps some threads ready
