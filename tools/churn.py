#!/usr/bin/env python3
"""A collection of documents that is replaced and deleted until ten times its vectors were written, beside one that was
loaded once with what is left: recall, memory and disk.

Usage: tools/churn.py BASE.npy QUERIES.npy [COUNT] [TIMES=10] [METRIC=l2]

Starts servers of its own, one after the other, and lets each rest for 30 s when its parts and files do not change any
more, without a restart. Exit 1 when recall is more than a point lower, memory more than 1.2
times or disk more than 1.5 times that of the fresh one.
"""

import base64
import collections
import http.client
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent
KYRODB = os.environ.get("KYRODB_BINARY", str(ROOT / "target/release/kyrodb"))
CHUNK = 1000
K = 10
QUERIES = 300
# What every collection is given before it is measured, so that none is measured while it tidies up.
REST_SECONDS = 30
PATH = "/v1/collections/churned"


class Server:
    def __init__(self, where):
        self.dir = where
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KYRODB_")}
        self.process = subprocess.Popen(
            [KYRODB, "serve", "--listen", "127.0.0.1:0", "--shards", "2", "--memory", "2GiB", "--disable-http-log"]
            + ["--data-dir", str(where)],
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "RUST_LOG": "warn"},
        )
        line = self.process.stdout.readline()
        if not line.startswith("ready http://"):
            sys.exit(f"the server is not ready: {line!r}")
        self.connection = http.client.HTTPConnection(line.split()[1].removeprefix("http://"), timeout=600)

    def ask(self, method, path, body=None, content_type="application/json"):
        self.connection.request(method, path, body, {"content-type": content_type})
        answer = self.connection.getresponse()
        text = answer.read().decode()
        if answer.status not in (200, 201):
            sys.exit(f"{method} {path}: {answer.status} {text[:500]}")
        return text

    def create(self, dimension, metric):
        definition = {"key_type": "u64", "embedding": {"dim": dimension, "metric": metric}, "fields": {"n": "i64"}}
        self.ask("PUT", PATH, json.dumps(definition))

    def bulk(self, lines):
        told = self.ask("POST", PATH + "/bulk", "".join(lines), "application/x-ndjson")
        taken = sum(told.count(f'{{"status":{status}') for status in (200, 201, 204))
        if taken != len(lines):
            sys.exit(f"{taken} of {len(lines)} lines were taken: {told[:300]}")

    def hits(self, query, **more):
        encoded = base64.b64encode(query.tobytes()).decode()
        body = json.dumps({"embedding_b64": encoded, "include": ["score"], "limit": K, **more})
        return json.loads(self.ask("POST", PATH + "/search", body))

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settle(self, query):
        """Until heads are sealed, nothing is merged any more and the disk does not change: a merge uses the processor."""
        last, unchanged, began, used = None, 0, time.monotonic(), 0
        while unchanged < 8:
            time.sleep(1)
            before, used = used, self.cpu_seconds()
            explained = self.hits(query, explain=True)["explain"]
            now = ([(part["documents"], part["sealed"]) for part in explained["parts"]], disk_bytes(self.dir))
            unchanged = unchanged + 1 if now == last and used - before < 0.2 else 0
            last = now
        return last[0], time.monotonic() - began

    def metric(self, name):
        text = self.ask("GET", "/metrics")
        lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name))
        return sum(float(value) for _, value in lines)

    def measure(self, queries, name):
        parts, took = self.settle(queries[0])
        time.sleep(REST_SECONDS)
        found, times = 0, []
        for query in queries:
            began = time.perf_counter()
            hits = self.hits(query)["hits"]
            times.append(time.perf_counter() - began)
            exact = self.hits(query, exact=True)["hits"]
            found += len({hit["id"] for hit in hits} & {hit["id"] for hit in exact})
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        rss = 1024 * int(status.split("VmRSS:")[1].split()[0])
        count = json.loads(self.ask("POST", PATH + "/count", "{}"))["count"]
        figures = {
            "documents": count,
            "recall": found / (K * len(queries)),
            "rss": rss,
            "told": self.metric("kyrodb_memory_used_bytes"),
            "disk": disk_bytes(self.dir),
            "p50_us": 1e6 * sorted(times)[len(times) // 2],
        }
        files = {kind: f"{size / 2**20:.0f}" for kind, size in sorted(disk_bytes_by_kind(self.dir).items())}
        mib = {key: f"{figures[key] / 2**20:.0f} MiB" for key in ("rss", "told", "disk")}
        print(
            f"{name}: {count} documents, recall@{K} {figures['recall']:.4f}, p50 {figures['p50_us']:.0f} us, RSS "
            f"{mib['rss']}, told {mib['told']}, disk {mib['disk']} ({files}); settled in {took:.0f} s: {parts}; "
            f"{self.metric('kyrodb_turn_stalls_total'):.0f} turns over 2 ms",
            flush=True,
        )
        return figures

    def stop(self):
        self.process.terminate()
        self.process.wait()


def disk_bytes_by_kind(where):
    kinds = collections.Counter()
    for path in where.rglob("*"):
        try:
            kinds[path.suffix or path.name] += 512 * path.stat().st_blocks
        except FileNotFoundError:
            pass
    return kinds


def disk_bytes(where):
    return disk_bytes_by_kind(where).total()


def line(number, vector):
    encoded = base64.b64encode(vector.tobytes()).decode()
    return f'{{"id":{number},"embedding_b64":"{encoded}","metadata":{{"n":{number % 100}}}}}\n'


def churn(server, base, count, times, dice):
    """What is there in the end, by id."""
    there = {}

    def put(ids):
        lines = []
        for number in ids:
            there[number] = dice.randrange(len(base))
            lines.append(line(number, base[there[number]]))
        server.bulk(lines)

    for at in range(0, count, CHUNK):
        put(range(at, min(at + CHUNK, count)))
    written, began = count, time.monotonic()
    while written < times * count:
        chosen = dice.sample(range(count), min(CHUNK, count))
        # A quarter of them goes away first; what is gone comes back with the next that hits it.
        gone = [number for number in chosen[: CHUNK // 4] if there.pop(number, None) is not None]
        server.bulk([json.dumps({"op": "delete", "id": number}) + "\n" for number in gone])
        put(chosen[CHUNK // 4 :])
        written += len(chosen) - CHUNK // 4
    put([number for number in range(count) if number not in there])
    took = time.monotonic() - began
    print(f"{written} vectors written, the last {written - count} in {took:.0f} s: {(written - count) / took:.0f} a second")
    return there


def main():
    base, queries, *rest = sys.argv[1:]
    base, queries = (numpy.load(path).astype("<f4") for path in (base, queries))
    count = int(rest[0]) if rest else len(base)
    times = int(rest[1]) if len(rest) > 1 else 10
    metric = rest[2] if len(rest) > 2 else "l2"
    queries, dice = queries[:QUERIES], random.Random(1)
    (ROOT / "target/tools").mkdir(parents=True, exist_ok=True)
    work = pathlib.Path(tempfile.mkdtemp(dir=ROOT / "target/tools"))
    try:
        server = Server(work / "churned")
        server.create(base.shape[1], metric)
        there = churn(server, base, count, times, dice)
        churned = server.measure(queries, "churned")
        server.stop()
        server = Server(work / "churned")
        again = server.measure(queries, "churned, started again")
        server.stop()
        shutil.rmtree(work / "churned")
        server = Server(work / "fresh")
        server.create(base.shape[1], metric)
        ids = sorted(there)
        for at in range(0, len(ids), CHUNK):
            server.bulk([line(number, base[there[number]]) for number in ids[at : at + CHUNK]])
        fresh = server.measure(queries, "fresh")
        server.stop()
    finally:
        if "server" in locals():
            server.process.kill()
        shutil.rmtree(work)
    ratios = {key: churned[key] / fresh[key] for key in ("rss", "told", "disk")}
    lost = fresh["recall"] - churned["recall"]
    print(f"recall {100 * lost:.2f} points lower; times the fresh: " + ", ".join(f"{k} {v:.2f}" for k, v in ratios.items()))
    is_good = lost <= 0.01 and ratios["rss"] <= 1.2 and ratios["told"] <= 1.2 and ratios["disk"] <= 1.5
    is_same = churned["documents"] == fresh["documents"] == again["documents"] == count
    sys.exit(0 if is_good and is_same else 1)


main()
