"""Pause as older releases of the Python client spell it: beta_create(auto_pause=True), beta_pause."""
import time

from e2b import NotFoundException, Sandbox


def wait_for(check, what, seconds=60):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"timed out waiting for {what}"
        time.sleep(0.03)


def gone(sandbox_id):
    try:
        Sandbox.get_info(sandbox_id)
    except NotFoundException:
        return True
    return False


def state(sandbox_id):
    return Sandbox.get_info(sandbox_id).state.value


def lives(sbx, pid):
    return sbx.commands.run(f"kill -0 {pid} && echo lives").stdout == "lives\n"


sbx = Sandbox.beta_create(timeout=600, auto_pause=True)
pid = sbx.commands.run("exec sleep 100000", background=True, timeout=0).pid
sbx.files.write("kept.txt", "kept")
sbx.set_timeout(1)
wait_for(lambda: state(sbx.sandbox_id) == "paused", "its end, at which it is paused")

# The release's static connect does not tell a proxy at a plain address which sandbox it means.
again = sbx.connect(timeout=600)
assert lives(again, pid) and again.files.read("kept.txt") == "kept"
again.beta_pause()
assert state(sbx.sandbox_id) == "paused"
again.beta_pause()  # of a paused one is no error
again.connect(timeout=600)
assert lives(again, pid)
Sandbox.beta_pause(sbx.sandbox_id)
assert Sandbox.connect(sbx.sandbox_id, timeout=600).kill()
try:
    Sandbox.beta_pause(sbx.sandbox_id)
    raise AssertionError("a killed sandbox was paused")
except NotFoundException:
    pass

plain = Sandbox.beta_create(timeout=600)
plain.set_timeout(1)
wait_for(lambda: gone(plain.sandbox_id), "its end, at which it is killed")
