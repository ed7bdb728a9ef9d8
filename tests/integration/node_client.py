"""The node service as a Python client sees it: stubs made from our proto, channels, servers of a
test's own that need no VM."""
import contextlib
import importlib
import os
import pathlib
import shutil
import sys
import tempfile

import grpc
from conftest import ROOT, Daemon


def load_stubs():
    """(messages, services) of proto/orchestrator.proto, generated anew."""
    from grpc_tools import protoc

    folder = tempfile.mkdtemp(prefix="sandpit-stubs-")
    try:
        include = pathlib.Path(protoc.__file__).parent / "_proto"
        code = protoc.main(["protoc", f"-I{ROOT}/proto", f"-I{include}", f"--python_out={folder}",
                            f"--grpc_python_out={folder}", "orchestrator.proto"])
        assert code == 0
        sys.path.insert(0, folder)
        return (importlib.import_module("orchestrator_pb2"),
                importlib.import_module("orchestrator_pb2_grpc"))
    finally:
        sys.path.remove(folder)
        shutil.rmtree(folder)


pb, rpc = load_stubs()


class Node:
    """The three services over one channel."""

    def __init__(self, channel):
        self.channel = channel
        self.info = rpc.InfoServiceStub(channel)
        self.keys = rpc.KeyServiceStub(channel)
        self.sandboxes = rpc.SandboxServiceStub(channel)


def target(daemon):
    return f"unix:{daemon.data_dir}/node.sock"


@contextlib.contextmanager
def node_of(daemon, options=()):
    # Of their own: by default channels to one address share a connection.
    options = [("grpc.use_local_subchannel_pool", 1), *options]
    with grpc.insecure_channel(target(daemon), options=options) as channel:
        yield Node(channel)


@contextlib.contextmanager
def bare_daemon(**kwargs):
    """A daemon with an empty data directory."""
    with tempfile.TemporaryDirectory(prefix="sandpit-node-") as folder:
        os.chmod(folder, 0o711)
        d = Daemon(folder, **kwargs).start()
        try:
            yield d
        finally:
            code = d.stop()
            assert code == 0, d.log_text()[-4000:]


def begin_watch(node, timeout=60, **request):
    """A watch that has begun: (call, position)."""
    call = node.sandboxes.Watch(pb.WatchSandboxesRequest(**request), timeout=timeout)
    first = next(call)
    assert not first.HasField("event")
    return call, first.position


def tasks(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/task"))


def descriptors(daemon):
    return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
