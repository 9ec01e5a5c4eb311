#!/usr/bin/env python3
"""More load than the server can take, for as long as is said: what it sheds, keeps and weighs meanwhile.

First a closed loop of half reads and half updates of 1,000-byte values, 512 at a time, tells the capacity. Then twice as
much comes in an open loop (`kyrodb bench kv --may-shed`), which judges every answer: a value of a version that was
acknowledged before and overwritten is an error, so is anything but 503 with `Retry-After` for what is shed. A probe of
its own connection asks for one record, which is there, ten times a second. Every ten seconds the server's memory is
noted.

Exit 1 when an answer was wrong, when nothing was shed or nothing was done, when the memory of the last quarter is more than
5 % above that of the second, when a turn of a core took more than 50 ms of CPU, or when the server is not whole afterwards
(`kyrodb verify`). Memory is not judged in less than 40 s.

Usage: tools/overload.py [SECONDS=3600]
"""

import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KYRODB = ROOT / "target/release/kyrodb"
STALL_MAX_US = 50_000
GROWTH_MAX = 1.05
# One of each quarter of the time.
RSS_SAMPLES_MIN = 4
LOAD = ["--workload", "a", "--records", "200000", "--value-bytes", "1000", "--distribution", "uniform"]


def bench(url, operations, *options):
    command = [KYRODB, "bench", "kv", "--url", url, *LOAD, "--operations", str(operations), "-o", "json", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if not done.stdout:
        sys.exit(done.stderr)
    return json.loads(done.stdout), done.stderr


def rss_bytes(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Watch(threading.Thread):
    """The server's memory, and how long one record takes from a connection of its own."""

    def __init__(self, pid, record):
        super().__init__(daemon=True)
        self.pid, self.record, self.over = pid, record, threading.Event()
        self.rss, self.probes_ms, self.statuses = [], [], {}

    def run(self):
        began = time.monotonic()
        while not self.over.wait(0.1):
            asked = time.monotonic()
            try:
                with urllib.request.urlopen(self.record, timeout=60) as answer:
                    status = answer.status
            except urllib.error.HTTPError as refused:
                status = refused.code
            except OSError as error:
                status = type(error).__name__
            self.statuses[status] = self.statuses.get(status, 0) + 1
            self.probes_ms.append((time.monotonic() - asked) * 1000)
            if asked - began >= 10 * len(self.rss):
                self.rss.append(rss_bytes(self.pid))


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 3600
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
    (ROOT / "target/tools").mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=ROOT / "target/tools"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [KYRODB, "serve", "--data-dir", work / "data", "--listen", address, "--shards", "2", "--memory", "1GiB"]
    log = work / "log"
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=open(log, "w"), env={**os.environ, "KYRODB_DISABLE_HTTP_LOG": "1"})
    try:
        url = f"http://{address}"
        while subprocess.run(["curl", "-sfo", os.devnull, f"{url}/readyz"]).returncode != 0:
            time.sleep(0.1)
        closed, complaints_closed = bench(url, 1_000_000, "--connections", "64", "--pipeline", "8")
        rate = int(2 * closed["ops_per_s"])
        print(f"capacity {closed['ops_per_s']:.0f} operations a second; {rate} for {seconds} s", flush=True)
        with urllib.request.urlopen(f"{url}/v1/kv/bench?limit=1") as page:
            record = json.load(page)["records"][0]["key"]
        watch = Watch(server.pid, f"{url}/v1/kv/bench/{record}")
        watch.start()
        options = ["--connections", "1024", "--pipeline", "128", "--rate", str(rate), "--may-shed"]
        told, complaints = bench(url, rate * seconds, "--seconds", str(seconds), *options)
        watch.over.set()
        watch.join()
    finally:
        server.terminate()
        server.wait()
    failures = []
    stalls = [int(us) for us in re.findall(r"took too long cpu_us=(\d+)", log.read_text())]
    second, last = (watch.rss[len(watch.rss) * at // 4:len(watch.rss) * (at + 1) // 4] for at in (1, 3))
    growth = statistics.median(last) / statistics.median(second) if len(watch.rss) >= RSS_SAMPLES_MIN else None
    verify = subprocess.run([KYRODB, "verify", "--data-dir", work / "data"], capture_output=True, text=True)
    probes = statistics.quantiles(watch.probes_ms, n=100)
    print(f"{told['operations']} operations in {told['seconds']:.0f} s, {told['shed']} shed, {told['errors']} wrong")
    if growth is None:
        print(f"memory {max(watch.rss) / 2**20:.0f} MiB at most; its growth was not measured, the time is too short")
    else:
        print(f"memory {statistics.median(second) / 2**20:.0f} MiB in the second quarter, {growth:.3f} times that in the"
              f" last, {max(watch.rss) / 2**20:.0f} at most")
    print(f"turns over 2 ms: {len(stalls)}, longest {max(stalls, default=0) / 1000:.1f} ms")
    print(f"probe: p50 {probes[49]:.0f} ms, p99 {probes[98]:.0f} ms, {watch.statuses}")
    if closed["errors"]:
        failures.append(f"wrong answers below the capacity: {complaints_closed}")
    if told["errors"]:
        failures.append(f"wrong answers: {complaints}")
    if told["operations"] <= told["shed"]:
        failures.append("nothing was done but to shed")
    if not told["shed"]:
        failures.append("nothing was shed: this was no overload")
    if growth is not None and growth > GROWTH_MAX:
        failures.append("the memory grows")
    if max(stalls, default=0) > STALL_MAX_US:
        failures.append("a stall")
    if set(watch.statuses) - {200, 503}:
        failures.append("the probe got something else")
    if verify.returncode != 0:
        failures.append(f"verify: {verify.stdout}{verify.stderr}")
    shutil.rmtree(work)
    sys.exit("; ".join(failures) or None)


main()
