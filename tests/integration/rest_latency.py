"""How long a request of the REST API takes: rest_latency.py URL KEY N prints the median and the 99th
percentile in milliseconds. A process of its own: the interpreter of a test that is busy with other
things would measure itself."""
import http.client
import sys
import time
import urllib.parse


def main(url, key, n):
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    times = []
    for _ in range(int(n)):
        began = time.perf_counter()
        connection.request("GET", parts.path, headers={"X-API-KEY": key})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    print(times[len(times) // 2], times[len(times) * 99 // 100])


main(*sys.argv[1:])
