#!/usr/bin/env python3
"""Vectors into a running server in bulk, and searched there: rates, recall against the known nearest, and times as one
client sees them.

Usage: tools/vectors_http.py URL BASE.npy QUERIES.npy TRUTH.npy METRIC [COLLECTION=vectors]
"""

import base64
import http.client
import json
import sys
import time
from urllib.parse import urlparse

import numpy

CHUNK = 1000
K = 10


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


def main():
    url, base, queries, truth, metric, *rest = sys.argv[1:]
    collection = rest[0] if rest else "vectors"
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
    last, unchanged = None, 0
    while unchanged < 3:
        time.sleep(1)
        explained = json.loads(ask(connection, "POST", path, as_base64(queries[0], explain=True)))["explain"]
        parts = [(part["documents"], part["sealed"]) for part in explained["parts"]]
        unchanged = unchanged + 1 if parts == last else 0
        last = parts
    print(f"{time.monotonic() - began - took:.1f} s later nothing changes any more: {last}")
    search(connection, path, queries, truth, as_base64, "base64")
    search(connection, path, queries, truth, as_list, "JSON")
    search(connection, path, queries[:100], truth, lambda query: as_base64(query, exact=True), "exact")


main()
