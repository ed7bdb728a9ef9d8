"""The node service's unary calls beside a bare libgrpc echo server: node_bench.py SANDPIT NODE_BENCH

Both are asked by the same client over a unix socket, in turns, so that a busy moment hits both. The
answer of InfoService.Get is about as long as what is echoed.
"""
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 7
CALLS = {1: 5000, 8: 20000, 64: 20000}
BYTES = 160


def wait_for_socket(path, process):
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def load(bench, path, method, size, at_once):
    out = subprocess.run([bench, "load", path, method, str(size), str(CALLS[at_once]), str(at_once)],
                         check=True, capture_output=True, text=True).stdout
    return [float(x) for x in out.split()]


def main(sandpit, bench):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        sockets = {"echo": f"{folder}/echo.sock", "node": f"{folder}/node.sock"}
        echo = subprocess.Popen([bench, "echo", sockets["echo"]])
        node = subprocess.Popen([sandpit, "serve", "--data-dir", folder, "--api-port", "0",
                                 "--proxy-port", "0", "--log-level", "warn"])
        try:
            wait_for_socket(sockets["echo"], echo)
            wait_for_socket(sockets["node"], node)
            print(f"{'at once':>8}{'':>8}{'calls/s':>10}{'p50 us':>10}{'p99 us':>10}{'of echo':>10}")
            for at_once in CALLS:
                got = {"echo": [], "node": []}
                for _ in range(ROUNDS):
                    got["echo"].append(load(bench, sockets["echo"], "/bench.Bench/Echo", BYTES,
                                            at_once))
                    got["node"].append(load(bench, sockets["node"],
                                            "/sandpit.node.v1.InfoService/Get", 0, at_once))
                ratio = statistics.median(n[0] / e[0] for n, e in zip(got["node"], got["echo"]))
                for who in got:
                    median = [statistics.median(column) for column in zip(*got[who])]
                    print(f"{at_once:>8}{who:>8}{median[0]:>10.0f}{median[1]:>10.1f}"
                          f"{median[2]:>10.1f}{ratio if who == 'node' else 1:>10.2f}", flush=True)
        finally:
            echo.kill()
            node.send_signal(signal.SIGTERM)
            echo.wait()
            assert node.wait(30) == 0


main(*sys.argv[1:])
