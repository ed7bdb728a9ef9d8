"""Sandboxes by the node service and by the subcommands: the same ones as by the REST API."""
import json
import os
import re
import subprocess
import uuid

import grpc
import pytest
from conftest import SANDPIT, wait_for
from node_client import begin_watch, node_of, pb
from boxes import vmms
from faults import Faults, require_fault_points
from test_node_commands import NOT_FOUND, complete, run, succeeds

CREATE_S = 180  # a guest boots slowly on a busy machine without KVM


@pytest.fixture
def node(daemon):
    with node_of(daemon) as n:
        yield n


def create(node, template="base", **request):
    return node.sandboxes.Create(pb.CreateSandboxRequest(template=template, **request),
                                 timeout=CREATE_S)


@pytest.fixture
def box(node):
    """A sandbox made by the node service: the whole answer."""
    answer = create(node, metadata={"who": "node"}, envs={"COLOUR": "green"}, timeout_s=600)
    yield answer
    try:
        node.sandboxes.Delete(pb.DeleteSandboxRequest(id=answer.sandbox.id))
    except grpc.RpcError as e:
        assert e.code() == grpc.StatusCode.NOT_FOUND


def kinds(events):
    return [pb.EventKind.Name(e.kind)[len("EVENT_KIND_"):] for e in events]


def test_create_watch_list_delete(daemon, node):
    watch, position = begin_watch(node, timeout=CREATE_S * 2)
    made = create(node, metadata={"who": "node"}, timeout_s=600)
    sb = made.sandbox
    assert sb.state == pb.SANDBOX_STATE_RUNNING and sb.alias == "base"
    assert 590 <= sb.end_at.seconds - sb.started_at.seconds <= 601
    assert made.tokens.access and not made.tokens.traffic
    # By REST it is there too, and says the same.
    status, rest, _ = daemon.api("GET", f"/sandboxes/{sb.id}")
    assert status == 200 and rest["envdAccessToken"] == made.tokens.access
    assert (rest["templateID"], rest["metadata"]) == (sb.template_id, {"who": "node"})
    assert rest["lifecycle"] == {"autoResume": False, "onTimeout": "kill"}

    got = node.sandboxes.Get(pb.GetSandboxRequest(id=sb.id))
    assert got.sandbox == sb and not got.HasField("tokens")
    got = node.sandboxes.Get(pb.GetSandboxRequest(id=sb.id, with_tokens=True))
    assert got.tokens == made.tokens
    listed = node.sandboxes.List(pb.ListSandboxesRequest(metadata={"who": "node"}))
    assert [s.id for s in listed.sandboxes] == [sb.id] and listed.total == 1
    used = node.info.Get(pb.GetInfoRequest()).used
    assert used.sandboxes >= 1 and used.memory_mb >= sb.memory_mb

    moved = node.sandboxes.Update(pb.UpdateSandboxRequest(id=sb.id, timeout_s=60)).sandbox
    assert moved.end_at.seconds < sb.end_at.seconds
    with pytest.raises(grpc.RpcError) as e:
        node.sandboxes.Update(pb.UpdateSandboxRequest(id=sb.id, timeout_s=86401))
    assert e.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    node.sandboxes.Delete(pb.DeleteSandboxRequest(id=sb.id), timeout=60)
    assert daemon.api("GET", f"/sandboxes/{sb.id}")[0] == 404

    mine = []
    while not mine or mine[-1].kind != pb.EVENT_KIND_ENDED:
        message = next(watch)
        if message.event.sandbox_id == sb.id:
            mine.append(message.event)
    assert kinds(mine) == ["CREATED", "RUNNING", "UPDATED", "ENDED"]
    assert mine[-1].reason == "api" and mine[-1].detail
    assert mine[2].end_at == moved.end_at
    watch.cancel()
    # The same again from where the watch began.
    again = node.sandboxes.Watch(pb.WatchSandboxesRequest(
        position=position, no_follow=True, sandbox_id=sb.id), timeout=60)
    assert [m.event for m in again if m.HasField("event")] == mine


def test_the_rest_api_s_sandboxes_are_seen(daemon, node):
    listed = node.sandboxes.List(pb.ListSandboxesRequest())
    status, sb, _ = daemon.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 300,
                                                         "metadata": {"who": "rest"}})
    assert status == 201
    node.sandboxes.Delete(pb.DeleteSandboxRequest(id=sb["sandboxID"]), timeout=60)
    watch = node.sandboxes.Watch(pb.WatchSandboxesRequest(
        position=listed.position, sandbox_id=sb["sandboxID"], no_follow=True), timeout=60)
    assert kinds(m.event for m in watch if m.HasField("event")) == ["CREATED", "RUNNING", "ENDED"]


def test_envs_reach_the_guest(daemon, box):
    from e2b import Sandbox

    sbx = Sandbox.connect(box.sandbox.id)
    assert sbx.commands.run("echo $COLOUR").stdout == "green\n"


def test_pages(node, box):
    others = [create(node, timeout_s=300, metadata={"who": "pages"}).sandbox for _ in range(2)]
    try:
        def ids(**request):
            found, token = [], ""
            while True:
                page = node.sandboxes.List(pb.ListSandboxesRequest(page_token=token, **request))
                found += [s.id for s in page.sandboxes]
                token = page.next_page_token
                if not token:
                    return found, page.total

        everything, total = ids()
        assert total == len(everything) >= 3
        assert ids(page_size=1) == (everything, total)
        assert ids(page_size=1, oldest_first=True)[0] == everything[::-1]
        assert set(ids(metadata={"who": "pages"})[0]) == {s.id for s in others}
        assert ids(metadata={"who": "nobody"}) == ([], 0)
        assert ids(started_after=others[1].started_at)[0] == [others[1].id]
        assert len(ids(team="default")[0]) == total
        assert set(ids(template_id=box.sandbox.template_id)[0]) == set(everything)
        assert ids(template_id="x") == ([], 0)
    finally:
        for s in others:
            node.sandboxes.Delete(pb.DeleteSandboxRequest(id=s.id))


def test_a_create_goes_on_when_its_caller_left(own_daemon, tmp_path):
    require_fault_points()
    faults = Faults(tmp_path)
    d = own_daemon(env=faults.env)
    with node_of(d) as node:
        request = pb.CreateSandboxRequest(template="base", timeout_s=300)
        with faults.holding(d, "create.record") as wait:
            asked = node.sandboxes.Create.future(request, timeout=30)
            wait()
            asked.cancel()
        wait_for(lambda: node.sandboxes.List(pb.ListSandboxesRequest()).total == 1, "the sandbox",
                 CREATE_S)
        for s in node.sandboxes.List(pb.ListSandboxesRequest()).sandboxes:
            node.sandboxes.Delete(pb.DeleteSandboxRequest(id=s.id))


def test_pause_and_resume(daemon, node, box):
    from e2b import Sandbox

    ident = box.sandbox.id
    Sandbox.connect(ident).commands.run("echo kept > /tmp/kept")
    watch, _ = begin_watch(node, sandbox_id=ident, timeout=CREATE_S)
    used = node.info.Get(pb.GetInfoRequest()).used.sandboxes
    node.sandboxes.Pause(pb.PauseSandboxRequest(id=ident), timeout=CREATE_S)
    while next(watch).event.kind != pb.EVENT_KIND_PAUSED:
        pass
    got = node.sandboxes.Get(pb.GetSandboxRequest(id=ident)).sandbox
    assert got.state == pb.SANDBOX_STATE_PAUSED and got.metadata == {"who": "node"}
    assert node.info.Get(pb.GetInfoRequest()).used.sandboxes == used - 1
    paused = pb.ListSandboxesRequest(states=[pb.SANDBOX_STATE_PAUSED])
    assert ident in [s.id for s in node.sandboxes.List(paused).sandboxes]
    running = pb.ListSandboxesRequest(states=[pb.SANDBOX_STATE_RUNNING])
    assert ident not in [s.id for s in node.sandboxes.List(running).sandboxes]
    assert ident in succeeds("ps", "-q", "--state", "paused", data_dir=daemon.data_dir).split()
    for call, request in ((node.sandboxes.Pause, pb.PauseSandboxRequest(id=ident)),
                          (node.sandboxes.Update, pb.UpdateSandboxRequest(id=ident, timeout_s=9))):
        with pytest.raises(grpc.RpcError) as e:
            call(request)
        assert e.value.code() == grpc.StatusCode.ABORTED

    back = node.sandboxes.Resume(pb.ResumeSandboxRequest(id=ident, timeout_s=300), timeout=CREATE_S)
    assert back.resumed and back.sandbox.state == pb.SANDBOX_STATE_RUNNING
    assert back.tokens == box.tokens
    while next(watch).event.kind != pb.EVENT_KIND_RESUMED:
        pass
    assert Sandbox.connect(ident).commands.run("cat /tmp/kept").stdout == "kept\n"
    with pytest.raises(grpc.RpcError) as e:
        node.sandboxes.Resume(pb.ResumeSandboxRequest(id=ident))
    assert e.value.code() == grpc.StatusCode.ABORTED
    again = node.sandboxes.Resume(pb.ResumeSandboxRequest(id=ident, or_running=True))
    assert not again.resumed

    assert succeeds("pause", ident, data_dir=daemon.data_dir) == f"{ident}\n"
    assert succeeds("resume", ident, data_dir=daemon.data_dir) == f"{ident}\n"
    watch.cancel()


def checkpoint(node, **request):
    return node.sandboxes.Checkpoint(pb.CheckpointSandboxRequest(**request), timeout=CREATE_S)


@pytest.mark.parametrize("named", [True, False])
def test_checkpoint(daemon, node, box, named):
    from e2b import Sandbox

    source = Sandbox.connect(box.sandbox.id)
    source.commands.run("echo before > /home/user/before; echo memory > /dev/shm/memory")
    watch, _ = begin_watch(node, timeout=CREATE_S)
    name = f"point-{uuid.uuid4().hex[:8]}" if named else ""
    taken = checkpoint(node, id=box.sandbox.id, name=name)
    made = None
    try:
        assert taken.name == (f"default/{name}" if named else "")
        if named:
            assert taken.snapshot_id == f"default/{name}:default"
        assert node.sandboxes.Get(pb.GetSandboxRequest(id=box.sandbox.id)).sandbox == box.sandbox
        source.files.write("/home/user/before", "after")

        made = create(node, template=taken.snapshot_id, timeout_s=300, metadata={"who": "copy"})
        assert made.sandbox.id != box.sandbox.id and made.sandbox.metadata == {"who": "copy"}
        copy = Sandbox.connect(made.sandbox.id)
        assert copy.files.read("/home/user/before") == "before\n"
        assert copy.files.read("/dev/shm/memory") == "memory\n"
        assert source.files.read("/home/user/before") == "after"
        # A checkpoint changes no sandbox's state: the copy's create is what a watch sees.
        seen = []
        while not seen or seen[-1].kind != pb.EVENT_KIND_RUNNING:
            seen.append(next(watch).event)
        assert [e.sandbox_id for e in seen] == [made.sandbox.id] * 2
        assert kinds(seen) == ["CREATED", "RUNNING"]
    finally:
        watch.cancel()
        if made:
            node.sandboxes.Delete(pb.DeleteSandboxRequest(id=made.sandbox.id), timeout=60)
        assert Sandbox.delete_snapshot(taken.snapshot_id) is True
    with pytest.raises(grpc.RpcError) as e:
        create(node, template=taken.snapshot_id)
    assert e.value.code() == grpc.StatusCode.NOT_FOUND


def test_checkpoints_that_are_refused(node, box):
    def refused(**request):
        with pytest.raises(grpc.RpcError) as e:
            checkpoint(node, **request)
        return e.value.code(), e.value.details()

    code, text = refused(id="i00")
    assert code == grpc.StatusCode.NOT_FOUND and "i00" in text
    code, text = refused(id=box.sandbox.id, name="no/such name")
    assert code == grpc.StatusCode.INVALID_ARGUMENT and text
    node.sandboxes.Pause(pb.PauseSandboxRequest(id=box.sandbox.id), timeout=CREATE_S)
    code, text = refused(id=box.sandbox.id)
    assert code == grpc.StatusCode.ABORTED and box.sandbox.id in text


def test_drain_with_pause(own_daemon):
    d = own_daemon()
    with node_of(d) as node:
        made = {create(node, timeout_s=300).sandbox.id for _ in range(2)}
        out = succeeds("drain", "--pause", data_dir=d.data_dir).split()
        assert out[0] == "draining" and set(out[1:]) == made
        assert node.info.Get(pb.GetInfoRequest()).used.sandboxes == 0
        assert set(succeeds("kill", "--all", data_dir=d.data_dir).split()) == made


def test_commands(daemon, node, box):
    where = {"data_dir": daemon.data_dir}
    ident = box.sandbox.id
    rows = [r.split() for r in succeeds("ps", **where).splitlines()]
    mine = [r for r in rows if r[0] == ident][0]
    assert mine[1:3] == ["base", "running"] and mine[5:] == [
        str(box.sandbox.vcpus), str(box.sandbox.memory_mb)]
    assert ident in succeeds("ps", "-q", **where).split()
    told = [s for s in json.loads(succeeds("ps", "--json", **where)) if s["id"] == ident][0]
    assert told["metadata"] == {"who": "node"} and told["state"] == "SANDBOX_STATE_RUNNING"
    for typed in ("kill ", "pause ", "inspect ", "events --sandbox "):
        assert complete(f"sandpit {typed}{ident[:6]}", daemon.data_dir) == [ident]
    shown = json.loads(succeeds("inspect", ident, **where))
    assert shown == {"sandbox": told}
    shown = json.loads(succeeds("inspect", "--tokens", ident, **where))
    assert shown["tokens"]["access"] == box.tokens.access
    done = run("kill", "i00", ident, **where)
    assert (done.returncode, done.stdout) == (NOT_FOUND, f"{ident}\n") and "i00" in done.stderr
    assert ident not in succeeds("ps", "-q", **where).split()
    events = [json.loads(line) for line in
              succeeds("events", "--json", "--sandbox", ident, **where).splitlines()]
    assert [e["event"]["kind"][11:] for e in events] == ["CREATED", "RUNNING", "ENDED"]
    assert succeeds("events", "--json", "--sandbox", ident, "--since", events[1]["position"],
                    **where).splitlines() == [json.dumps(events[2], separators=(",", ":"))]
    lines = succeeds("events", "--sandbox", ident, **where).splitlines()
    assert [line.split()[1] for line in lines] == ["created", "running", "ended"]
    assert " api: " in lines[2]


def test_followers_see_what_happens(daemon, node):
    where = ["--data-dir", daemon.data_dir]
    ps = subprocess.Popen([SANDPIT, "ps", "--watch", *where], stdout=subprocess.PIPE, text=True)
    events = subprocess.Popen([SANDPIT, "events", "-f", *where], stdout=subprocess.PIPE, text=True)
    try:
        assert ps.stdout.readline().startswith("ID ")
        ident = create(node, timeout_s=300).sandbox.id
        for line in ps.stdout:
            if line.startswith(ident):
                break
        node.sandboxes.Delete(pb.DeleteSandboxRequest(id=ident))
        for line in events.stdout:
            if ident in line and " ended " in line:
                break
        listed = True  # until a list ends that has no line of it
        while listed:
            lines = iter(ps.stdout.readline, "\n")
            listed = any([line.startswith(ident) for line in lines])
    finally:
        for p in (ps, events):
            p.kill()
            p.wait()
            p.stdout.close()


def owners(daemon):
    """Ids whose VMs run; spares have some too."""
    return {word for pid in vmms(daemon.data_dir)
            for word in re.findall(r"/run/(\w+)", open(f"/proc/{pid}/cmdline").read())}


def test_kill_all(own_daemon):
    d = own_daemon()
    with node_of(d) as node:
        made = {create(node, timeout_s=300).sandbox.id for _ in range(2)}
        done = succeeds("kill", "--all", data_dir=d.data_dir)
        assert set(done.split()) == made
        assert node.sandboxes.List(pb.ListSandboxesRequest()).total == 0
    assert not made & owners(d)


def test_a_new_daemon_says_that_positions_are_old(own_daemon):
    d = own_daemon()
    with node_of(d) as node:
        ident = create(node, timeout_s=600).sandbox.id
        position = node.sandboxes.List(pb.ListSandboxesRequest()).position
    d.stop()
    d.start()
    with node_of(d) as node:
        with pytest.raises(grpc.RpcError) as e:
            next(node.sandboxes.Watch(pb.WatchSandboxesRequest(position=position), timeout=60))
        assert e.value.code() == grpc.StatusCode.OUT_OF_RANGE
        assert "list again" in e.value.details()
        kept = node.sandboxes.Watch(pb.WatchSandboxesRequest(from_oldest=True, no_follow=True))
        adopted = [m.event for m in kept if m.HasField("event")]
        assert [(e.sandbox_id, e.kind, e.reason) for e in adopted] == [
            (ident, pb.EVENT_KIND_RUNNING, "adopted")]
        node.sandboxes.Delete(pb.DeleteSandboxRequest(id=ident))


def test_stopping_in_the_middle_of_a_create(own_daemon):
    d = own_daemon(extra=["--ephemeral"])
    with node_of(d) as node:
        watch, _ = begin_watch(node, timeout=CREATE_S)
        call = node.sandboxes.Create.future(pb.CreateSandboxRequest(template="base"),
                                            timeout=CREATE_S)
        assert next(watch).event.kind == pb.EVENT_KIND_CREATED
        assert d.stop() == 0
        # It may just have been made.
        assert call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK)
    assert vmms(d.data_dir) == [] and os.listdir(f"{d.data_dir}/run") == []


def test_a_create_that_fails_is_told(own_daemon, tmp_path):
    if run("doctor", "--fault-points").returncode != 0:
        pytest.skip("this build has no fault points")
    faults = tmp_path / "faults"
    faults.write_text("create.configure")
    d = own_daemon(env={"SANDPIT_FAULTS_FILE": str(faults)})
    with node_of(d) as node:
        with pytest.raises(grpc.RpcError) as e:
            create(node)
        assert e.value.code() == grpc.StatusCode.INTERNAL and "create.configure" in e.value.details()
        kept = node.sandboxes.Watch(pb.WatchSandboxesRequest(from_oldest=True, no_follow=True))
        events = [m.event for m in kept if m.HasField("event")]
        assert kinds(events) == ["CREATED", "ENDED"] and events[1].reason == "create_failed"
