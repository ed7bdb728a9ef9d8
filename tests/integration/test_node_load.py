"""Many calls and many watches at once: bounded memory, and a REST API that answers as before. The
figures are printed (pytest -s); what is asserted is far from them."""
import subprocess
import sys
import threading

import grpc
import pytest
from conftest import ROOT
from node_client import begin_watch, node_of, pb
from test_leftovers import is_sanitized, memory_kb

CALLS = 1000
WATCHES = 100
READERS = 5  # of the watches, read all the time
EVENTS = 6000  # more than are kept, and than lie between us and a client that does not read
GROWTH_KB = 24576
PACE = 4  # events between two rests of the store, whose queue is not what is measured

# By default a client takes megabytes for an application that does not read.
SMALL_WINDOW = [("grpc.http2.lookahead_bytes", 65536), ("grpc.http2.bdp_probe", 0)]


@pytest.fixture(scope="module")
def box(daemon):
    with node_of(daemon) as node:
        made = node.sandboxes.Create(pb.CreateSandboxRequest(template="base", timeout_s=3600),
                                     timeout=180).sandbox
        yield made.id
        node.sandboxes.Delete(pb.DeleteSandboxRequest(id=made.id))


def rest_times(daemon, n=400):
    """Milliseconds of n requests with a key, one after another: median and 99th percentile."""
    out = subprocess.run([sys.executable, f"{ROOT}/tests/integration/rest_latency.py",
                          f"{daemon.api_url}/v2/sandboxes", daemon.key, str(n)],
                         check=True, capture_output=True, text=True).stdout
    return tuple(float(x) for x in out.split())


def check_growth(daemon, before, what):
    after = memory_kb(daemon)
    print(f"{what}: {before} kB before, {after} kB after")
    if not is_sanitized():
        assert after < before + GROWTH_KB


def test_a_thousand_calls_at_once(daemon):
    with node_of(daemon) as node:
        node.info.Get(pb.GetInfoRequest())
        before = memory_kb(daemon)
        for _ in range(3):
            calls = [node.info.Get.future(pb.GetInfoRequest(), timeout=120) for _ in range(CALLS)]
            assert len({c.result().node_id for c in calls}) == 1
            keys = [node.keys.List.future(pb.ListKeysRequest(), timeout=120) for _ in range(CALLS)]
            assert all(k.result().keys for k in keys)
        check_growth(daemon, before, f"{CALLS} calls at once")


def test_a_thousand_calls_at_once_hold_nobody_up(daemon):
    quiet = rest_times(daemon)
    with node_of(daemon) as node, node_of(daemon) as other:
        watches = [begin_watch(other, timeout=900)[0] for _ in range(WATCHES)]
        done = threading.Event()
        rounds = [0]

        def work():
            while not done.is_set():
                calls = [node.info.Get.future(pb.GetInfoRequest(), timeout=120)
                         for _ in range(CALLS)]
                assert all(c.result().node_id for c in calls)
                rounds[0] += 1

        worker = threading.Thread(target=work)
        worker.start()
        busy = rest_times(daemon)
        done.set()
        worker.join()
        for w in watches:
            w.cancel()
    print(f"REST median and p99: {quiet[0]:.2f} and {quiet[1]:.2f} ms quiet, {busy[0]:.2f} and "
          f"{busy[1]:.2f} ms beside {CALLS} calls at once and {WATCHES} watches")
    assert rounds[0] > 0
    assert busy[0] < quiet[0] * 10 + 50


def test_every_watch_is_told(daemon, box):
    with node_of(daemon) as node:
        watches = [begin_watch(node, timeout=120)[0] for _ in range(WATCHES)]
        told = [node.sandboxes.Update(pb.UpdateSandboxRequest(id=box, timeout_s=3000 + n),
                                      timeout=60).sandbox.end_at for n in range(3)]
        for w in watches:
            assert [next(w).event.end_at for _ in told] == told
            w.cancel()


def test_slow_readers_hold_nothing(daemon, box):
    quiet = rest_times(daemon)
    with node_of(daemon, SMALL_WINDOW) as node, node_of(daemon) as other, \
            node_of(daemon) as third:
        before = memory_kb(daemon)
        slow = [begin_watch(node, timeout=900)[0] for _ in range(WATCHES - READERS)]
        fast = [begin_watch(third, timeout=900)[0] for _ in range(READERS)]
        read = [0] * READERS
        codes = []

        def reader(n):
            try:
                for _ in fast[n]:
                    read[n] += 1
            except grpc.RpcError as e:
                codes.append(e.code())

        def work():
            for n in range(EVENTS):
                other.sandboxes.Update(pb.UpdateSandboxRequest(id=box, timeout_s=3000 + n % 2),
                                       timeout=60)
                if n % PACE == 0:
                    other.keys.List(pb.ListKeysRequest(), timeout=60)

        threads = [threading.Thread(target=reader, args=(n,)) for n in range(READERS)]
        worker = threading.Thread(target=work)
        for t in [*threads, worker]:
            t.start()
        busy = rest_times(daemon)
        worker.join()
        check_growth(daemon, before, f"{WATCHES} watches, {EVENTS} events")
        print(f"REST median and p99: {quiet[0]:.2f} and {quiet[1]:.2f} ms quiet, "
              f"{busy[0]:.2f} and {busy[1]:.2f} ms meanwhile; read by the fast ones: {read}")
        # A slow one gets what was on its way, and is then told.
        for w in slow[:3]:
            got = []
            with pytest.raises(grpc.RpcError) as e:
                for m in w:
                    got.append(m.position)
            assert e.value.code() == grpc.StatusCode.OUT_OF_RANGE
            assert "list again" in e.value.details()
            assert 0 < len(got) < EVENTS
            with pytest.raises(grpc.RpcError) as e:
                next(node.sandboxes.Watch(pb.WatchSandboxesRequest(position=got[-1]), timeout=60))
            assert e.value.code() == grpc.StatusCode.OUT_OF_RANGE
        for w in [*slow, *fast]:
            w.cancel()
        for t in threads:
            t.join()
    assert set(codes) <= {grpc.StatusCode.CANCELLED, grpc.StatusCode.OUT_OF_RANGE}
    assert busy[0] < quiet[0] * 10 + 50
