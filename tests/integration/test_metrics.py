"""GET /metrics, read by the parser that Prometheus' own client library has."""
import re
import subprocess

import pytest
from boxes import create
from conftest import SANDPIT, http_status, wait_for
from prometheus_client.parser import text_string_to_metric_families

NO_POOL = {"SANDPIT_POOL_HOT": "0", "SANDPIT_POOL_WAITING": "0"}


def port_of(d):
    return int(re.search(r'"metrics are served","port":(\d+)', d.log_text()).group(1))


def get(d, path="/metrics", method="GET"):
    return http_status(f"http://127.0.0.1:{port_of(d)}{path}", method)


class Metrics:
    def __init__(self, d):
        status, fields, body = get(d)
        assert status == 200
        assert fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.families = {f.name: f for f in text_string_to_metric_families(body.decode())}
        self.samples = {}
        for family in self.families.values():
            for s in family.samples:
                key = (s.name, frozenset(s.labels.items()))
                assert key not in self.samples, key
                self.samples[key] = s.value

    def value(self, name, **labels):
        return self.samples.get((name, frozenset(labels.items())))

    def count(self, operation, **labels):
        return self.value("sandpit_operation_duration_seconds_count", operation=operation, **labels)

    def phases(self, operation, **labels):
        """{phase: sum of seconds}"""
        want = {"operation": operation, **labels}
        return {dict(k)["phase"]: v for (name, k), v in self.samples.items()
                if name == "sandpit_operation_phase_seconds_sum"
                and {x: y for x, y in k if x != "phase"} == want}


@pytest.fixture
def served(own_daemon):
    def make(env=NO_POOL, *flags):
        return own_daemon(extra=["--ephemeral", "--metrics-port", "0", *flags], env=env)
    return make


def test_operations_are_timed(served):
    d = served()
    before = Metrics(d)
    assert before.count("create", source="none") == 0
    box = create(d)
    after = Metrics(d)
    assert after.count("create", source="none") == 1
    phases = after.phases("create", source="none")
    assert set(phases) >= {"vmm", "restore", "init", "save"}
    total = after.value("sandpit_operation_duration_seconds_sum", operation="create", source="none")
    assert 0 < sum(phases.values()) <= total + 0.001
    assert box.pause()[0] == 204
    assert Metrics(d).count("pause") == 1
    assert Metrics(d).value("sandpit_sandboxes", state="paused") == 1
    assert box.connect()[0] in (200, 201)
    assert box.call("POST", "/snapshots", {})[0] == 201
    status, children, _ = box.call("POST", "/fork", {"count": 2})
    assert status == 201, children
    assert box.kill() == 204
    m = Metrics(d)
    assert m.count("resume", source="memory") == 1
    assert m.count("snapshot") == 1
    assert m.count("fork") == 1
    assert m.count("create", source="fork") == 2
    assert m.count("create", source="none") == 1
    assert m.count("kill") == 1
    assert m.phases("pause").keys() == {"save"}
    assert m.value("sandpit_sandboxes_ended_total", reason="api") == 1


def test_buckets_of_every_histogram_add_up(served):
    d = served()
    create(d)
    m = Metrics(d)
    histograms = [f for f in m.families.values() if f.type == "histogram"]
    assert {f.name for f in histograms} == {"sandpit_operation_duration_seconds",
                                            "sandpit_operation_phase_seconds"}
    checked = 0
    for family in histograms:
        series = {}
        for s in family.samples:
            if s.name.endswith("_bucket"):
                labels = frozenset((k, v) for k, v in s.labels.items() if k != "le")
                series.setdefault(labels, []).append((float(s.labels["le"]), s.value))
        for labels, buckets in series.items():
            assert buckets == sorted(buckets)
            assert buckets[0][0] == 0.001 and buckets[-1][0] == float("inf")
            assert buckets[-1][1] == m.value(f"{family.name}_count", **dict(labels))
            checked += 1
    assert checked > 11


def test_gauges_tell_what_there_is(served):
    d = served()
    box = create(d)
    shape = box.call("GET")[1]
    m = Metrics(d)
    assert m.value("sandpit_sandboxes", state="running") == 1
    assert m.value("sandpit_guest_vcpus") == shape["cpuCount"]
    assert m.value("sandpit_guest_memory_bytes") == shape["memoryMB"] << 20
    assert m.value("sandpit_sandboxes_max") >= 1
    assert m.value("sandpit_host_memory_available_bytes") > 0
    assert m.value("sandpit_draining") == 0
    subprocess.run([SANDPIT, "drain", "--data-dir", d.data_dir], check=True, capture_output=True)
    assert Metrics(d).value("sandpit_draining") == 1
    info = next(s for s in m.families["sandpit_info"].samples)
    assert info.value == 1 and info.labels["accelerator"] in ("kvm", "tcg")


def test_spares_are_told_and_what_comes_from_them(served):
    d = served({"SANDPIT_POOL_HOT": "1", "SANDPIT_POOL_WAITING": "0"})
    wait_for(lambda: Metrics(d).value("sandpit_spares", kind="hot") == 1, "a hot spare", 60)
    m = Metrics(d)
    assert sum(v for (name, _), v in m.samples.items() if name == "sandpit_sandboxes") == 0
    create(d)
    assert Metrics(d).count("create", source="hot") == 1


def test_failures_are_counted_by_code(served):
    d = served(NO_POOL, "--max-sandboxes", "1")
    create(d)
    for _ in range(2):
        assert d.api("POST", "/v2/sandboxes", {"templateID": "base"})[0] == 429
    assert d.api("POST", "/v2/sandboxes", {"templateID": "no-such-template"})[0] in (400, 404, 429)
    m = Metrics(d)
    assert m.value("sandpit_operation_failures_total", operation="create",
                   code="resource_exhausted") >= 2
    assert m.count("create", source="none") == 1


def test_only_metrics_are_there(served):
    d = served()
    assert get(d, "/")[0] == 404
    assert get(d, "/v2/sandboxes")[0] == 404
    assert get(d, "/metrics", "POST")[0] == 405
    assert get(d, "/metrics?name=x")[0] == 200
    # Nor on the ports of clients.
    assert http_status(d.api_url + "/metrics")[0] in (401, 404)
    assert http_status(d.proxy_url + "/metrics")[0] != 200


def test_without_a_port_nothing_is_served(own_daemon):
    d = own_daemon(extra=["--ephemeral"], env=NO_POOL)
    assert "metrics are served" not in d.log_text()
