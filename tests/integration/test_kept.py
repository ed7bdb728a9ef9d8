"""What one team may keep on the disk: paused sandboxes and snapshots."""

NO_POOL = {"SANDPIT_POOL_HOT": "0", "SANDPIT_POOL_WAITING": "0"}


def create(d):
    return d.api("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600})


def test_a_team_that_keeps_enough_is_refused(own_daemon):
    d = own_daemon(extra=["--ephemeral", "--max-paused-per-team", "2"], env=NO_POOL)
    first, second = (create(d)[1]["sandboxID"] for _ in range(2))
    status, snapshot, _ = d.api("POST", f"/sandboxes/{first}/snapshots", {})
    assert status == 201, snapshot
    assert d.api("POST", f"/sandboxes/{second}/pause")[0] == 204

    for path, body in (("/v2/sandboxes", {"templateID": "base"}),
                       (f"/sandboxes/{first}/snapshots", {}),
                       (f"/sandboxes/{first}/fork", {"count": 1})):
        status, answer, _ = d.api("POST", path, body)
        assert status == 429, (path, answer)
        assert "kill sandboxes or delete snapshots" in answer["message"]

    # A pause is how a sandbox is not lost, and one that runs again makes room.
    assert d.api("POST", f"/sandboxes/{first}/pause")[0] == 204
    for sandbox in (first, second):
        assert d.api("POST", f"/sandboxes/{sandbox}/connect", {"timeout": 600})[0] in (200, 201)
    status, sb, _ = create(d)
    assert status == 201, sb
