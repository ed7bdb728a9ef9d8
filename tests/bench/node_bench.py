"""The node service's unary calls beside bare libgrpc echo servers: node_bench.py SANDPIT NODE_BENCH

All are asked by the same client over a unix socket, in turns. The best of many short rounds is
printed: on a machine that others use, it says most about what was measured. The answer of
InfoService.Get is about as long as what is echoed.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time

ROUNDS = 15
CALLS = {1: 2000, 8: 5000, 64: 5000}
ECHO = ("/bench.Bench/Echo", 160)
SERVERS = {"echo": ECHO, "barest": ECHO, "node": ("/sandpit.node.v1.InfoService/Get", 0)}


def wait_for_socket(path, process):
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def cpu_s(process):
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(bench, path, method, size, at_once):
    out = subprocess.run([bench, "load", path, method, str(size), str(CALLS[at_once]), str(at_once)],
                         check=True, capture_output=True, text=True).stdout
    return [float(x) for x in out.split()]


def measure(bench, folder, processes, at_once):
    rounds = {who: [] for who in SERVERS}
    cpu = {who: -cpu_s(processes[who]) for who in SERVERS}
    for _ in range(ROUNDS):
        for who in SERVERS:
            rounds[who].append(load(bench, f"{folder}/{who}.sock", *SERVERS[who], at_once))
    best = {who: max(rounds[who]) for who in SERVERS}
    for who in SERVERS:
        each = (cpu[who] + cpu_s(processes[who])) * 1e6 / (ROUNDS * CALLS[at_once] * 1.1)
        print(f"{at_once:>8}{who:>8}{best[who][0]:>10.0f}{best[who][1]:>10.1f}{best[who][2]:>10.1f}"
              f"{each:>10.1f}{best[who][0] / best['echo'][0]:>10.2f}", flush=True)


def main(sandpit, bench):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        processes = {who: subprocess.Popen([bench, who, f"{folder}/{who}.sock"])
                     for who in ("echo", "barest")}
        processes["node"] = subprocess.Popen(
            [sandpit, "serve", "--data-dir", folder, "--api-port", "0", "--proxy-port", "0",
             "--accel", "tcg", "--log-level", "error"])
        try:
            for who, process in processes.items():
                wait_for_socket(f"{folder}/{who}.sock", process)
            print(f"{'at once':>8}{'':>8}{'calls/s':>10}{'p50 us':>10}{'p99 us':>10}{'cpu us':>10}"
                  f"{'of echo':>10}")
            for at_once in CALLS:
                measure(bench, folder, processes, at_once)
        finally:
            for who in ("echo", "barest"):
                processes[who].kill()
                processes[who].wait()
            processes["node"].send_signal(signal.SIGTERM)
            assert processes["node"].wait(30) == 0


main(*sys.argv[1:])
