#!/usr/bin/env python3
"""Vectors into a running server in bulk, and searched there: rates, recall against the known nearest, and times as one
client sees them; then a load of searches over 1 and 16 connections, and point reads beside one.

Usage: tools/vectors_http.py URL BASE.npy QUERIES.npy TRUTH.npy METRIC [COLLECTION=vectors] [PID]

With the PID of the server, its processor time a search is told as well. Pin the server and this to different cores
(`taskset`). `LOAD_SECONDS` (5) is the length of each load.
"""

import base64
import http.client
import json
import os
import sys
import time
from urllib.parse import urlparse

import numpy

import http_load

CHUNK = 1000
K = 10
LOAD_SECONDS = float(os.environ.get("LOAD_SECONDS", "5"))


def ask(connection, method, path, body, content_type="application/json"):
    connection.request(method, path, body, {"content-type": content_type})
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status not in (200, 201):
        sys.exit(f"{method} {path}: {answer.status} {text[:500]}")
    return text


def line(number, vector):
    encoded = base64.b64encode(vector.tobytes()).decode()
    return f'{{"id":{number},"embedding_b64":"{encoded}","metadata":{{"n":{number % 100}}}}}\n'


def search(connection, path, queries, truth, make, name):
    times, found = [], 0
    for query, nearest in zip(queries, truth):
        body = make(query)
        began = time.perf_counter()
        hits = json.loads(ask(connection, "POST", path, body))["hits"]
        times.append(1e6 * (time.perf_counter() - began))
        found += len({hit["id"] for hit in hits} & set(nearest[:K].tolist()))
    times.sort()
    at = lambda share: times[int(share * (len(times) - 1))]
    print(
        f"{name}: recall@{K} {found / (K * len(queries)):.4f}, p50 {at(0.5):.0f} us, p99 {at(0.99):.0f} us, "
        f"{1e6 * len(times) / sum(times):.0f} a second over one connection"
    )


def search_under_load(address, path, queries, make, connections, name, pid):
    requests = [http_load.request("POST", path, make(query).encode()) for query in queries]
    before = http_load.cpu_us(pid) if pid else 0
    times, took = http_load.load(address, requests, connections, LOAD_SECONDS)
    cpu = f", {(http_load.cpu_us(pid) - before) / len(times):.0f} us of the server's processors" if pid else ""
    print(
        f"{name}, {connections} connections: {len(times) / took:.0f} a second, p50 {http_load.share(times, 0.5):.0f} us, "
        f"p99 {http_load.share(times, 0.99):.0f} us{cpu}",
        flush=True,
    )


def point_reads_beside(address, path, documents, queries, make):
    """Of documents by their ids, once a millisecond: while nothing else is asked, and beside 16 searches at a time."""
    reads = [http_load.request("GET", f"{path}/docs/{number * 7919 % documents}") for number in range(1000)]
    searches = [http_load.request("POST", f"{path}/search", make(query).encode()) for query in queries]
    quiet = http_load.beside(address, reads, LOAD_SECONDS)()
    finish = http_load.beside(address, reads, LOAD_SECONDS)
    http_load.load(address, searches, 16, LOAD_SECONDS)
    busy = finish()
    parts = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    for name, part in parts.items():
        alone, loaded = http_load.share(quiet, part), http_load.share(busy, part)
        print(
            f"point reads, {name}: quiet {alone:.0f} us, beside 16 connections of searches {loaded:.0f} us: "
            f"{loaded / alone:.1f} times",
            flush=True,
        )


def main():
    url, base, queries, truth, metric, *rest = sys.argv[1:]
    collection = rest[0] if rest else "vectors"
    pid = rest[1] if len(rest) > 1 else None
    base, queries = (numpy.load(path).astype("<f4") for path in (base, queries))
    truth = numpy.load(truth)
    connection = http.client.HTTPConnection(urlparse(url).netloc, timeout=300)
    path = f"/v1/collections/{collection}"
    definition = {"key_type": "u64", "embedding": {"dim": base.shape[1], "metric": metric}, "fields": {"n": "i64"}}
    ask(connection, "PUT", path, json.dumps(definition))
    lines = [line(number, vector) for number, vector in enumerate(base)]
    began = time.monotonic()
    for at in range(0, len(lines), CHUNK):
        told = ask(connection, "POST", path + "/bulk", "".join(lines[at : at + CHUNK]), "application/x-ndjson")
        taken = told.count('{"status":201')
        if taken != len(lines[at : at + CHUNK]):
            sys.exit(f"{taken} of {CHUNK} documents were taken: {told[:300]}")
    took = time.monotonic() - began
    print(f"{len(lines)} documents in {took:.1f} s, {len(lines) / took:.0f} a second, durable")
    as_list = lambda query, **more: json.dumps({"embedding": query.tolist(), "include": ["score"], **more})
    as_base64 = lambda query, **more: json.dumps(
        {"embedding_b64": base64.b64encode(query.tobytes()).decode(), "include": ["score"], **more}
    )
    path += "/search"
    search(connection, path, queries, truth, as_base64, "at once, base64")
    last, unchanged, used = None, 0, 0
    while unchanged < 3:
        time.sleep(1)
        # A merge that is under way shows in nothing but the processor time.
        before, used = used, http_load.cpu_us(pid) if pid else 0
        explained = json.loads(ask(connection, "POST", path, as_base64(queries[0], explain=True)))["explain"]
        parts = [(part["documents"], part["sealed"]) for part in explained["parts"]]
        unchanged = unchanged + 1 if parts == last and used - before < 200_000 else 0
        last = parts
    print(f"{time.monotonic() - began - took:.1f} s later nothing changes any more: {last}")
    search(connection, path, queries, truth, as_base64, "base64")
    search(connection, path, queries, truth, as_list, "JSON")
    search(connection, path, queries[:100], truth, lambda query: as_base64(query, exact=True), "exact")
    host, port = urlparse(url).netloc.rsplit(":", 1)
    for connections in (1, 16):
        for make, name in ((as_base64, "base64"), (as_list, "JSON")):
            search_under_load((host, int(port)), path, queries, make, connections, name, pid)
    point_reads_beside((host, int(port)), path.removesuffix("/search"), len(base), queries, as_base64)


main()
