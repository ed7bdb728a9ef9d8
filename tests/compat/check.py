"""One release of the Python client: create, run, files, pause. Prints what worked as JSON."""
import json
import socket
import sys

lookup = socket.getaddrinfo


def local(host, *args, **kwargs):
    """*.localhost is this machine, which not every resolver knows."""
    name = host.decode() if isinstance(host, bytes) else host
    if name and name.endswith(".localhost"):
        host = "127.0.0.1"
    return lookup(host, *args, **kwargs)


socket.getaddrinfo = local

from e2b import Sandbox  # noqa: E402

results = {}


def step(name, call):
    try:
        results[name] = call()
    except Exception as e:
        results[name] = f"{type(e).__name__}: {e}"[:200]
    return results[name] == "yes"


def create():
    global sbx
    sbx = Sandbox.create(timeout=120) if hasattr(Sandbox, "create") else Sandbox(timeout=120)
    return "yes"


def run():
    return "yes" if sbx.commands.run("echo $((6 * 7))").stdout == "42\n" else "wrong"


def files():
    sbx.files.write("a file.txt", "žluť")
    return "yes" if sbx.files.read("a file.txt") == "žluť" else "wrong"


def pause():
    how = getattr(sbx, "pause", None) or getattr(sbx, "beta_pause", None)
    if not how:
        return "none"
    how()
    back = getattr(Sandbox, "resume", None) or Sandbox.connect
    again = back(sbx.sandbox_id)
    return "yes" if again.files.read("a file.txt") == "žluť" else "wrong"


if step("create", create):
    for name, call in (("run", run), ("files", files), ("pause", pause)):
        step(name, call)
    try:
        sbx.kill()
    except Exception as e:
        results["kill"] = str(e)
json.dump(results, sys.stdout)
