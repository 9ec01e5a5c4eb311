#!/usr/bin/env python3
"""Real documents on a running server: the Cranfield collection with its embeddings and metadata made from it, searched
with and without filters. Exact searches must give what numpy gives by brute force, others nearly all of it.

Usage: tools/cranfield.py URL DIR                      load and check
       tools/cranfield.py lines DIR                    the documents as JSON lines for `kyrodb import`
       tools/cranfield.py query DIR NUMBER [FILTER]    the body of a search for a query of the collection
DIR: corpus.jsonl or .jsonl.zst, and two .npy of embeddings, *corpus* and *quer*.
"""

import base64
import glob
import http.client
import json
import subprocess
import sys
import time
from urllib.parse import urlparse

import numpy

FILTERS = [
    None,
    {"length": {"$gte": 1000}},
    {"year": {"$gte": 1960, "$lt": 1963}},
    {"tags": {"$in": ["heat", "shock"]}},
    {"$or": [{"year": 1950}, {"tags": "wing"}], "length": {"$lt": 2000}},
    {"first": "t"},  # not declared
]
WORDS = ["heat", "shock", "wing", "flow", "boundary", "pressure"]


class Server:
    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urlparse(url).netloc, timeout=120)

    def ask(self, method, path, body=None, content_type="application/json", status=200):
        body = body if body is None or isinstance(body, str) else json.dumps(body)
        self.connection.request(method, path, body, {"content-type": content_type} if body else {})
        answer = self.connection.getresponse()
        text = answer.read().decode()
        if answer.status != status:
            sys.exit(f"{method} {path}: {answer.status} {text[:500]}")
        return text


def read_lines(path):
    if path.endswith(".zst"):
        return subprocess.run(["zstd", "-dc", path], check=True, capture_output=True, text=True).stdout.splitlines()
    return open(path, encoding="utf-8").read().splitlines()


def metadata_of(at, text):
    return {
        "length": len(text),
        "year": 1950 + at % 20,
        "tags": [word for word in WORDS if word in text],
        "first": text[:1],
    }


def lets_through(number, metadata):
    return [
        True,
        metadata["length"] >= 1000,
        1960 <= metadata["year"] < 1963,
        "heat" in metadata["tags"] or "shock" in metadata["tags"],
        (metadata["year"] == 1950 or "wing" in metadata["tags"]) and metadata["length"] < 2000,
        metadata["first"] == "t",
    ][number]


def read_base(folder):
    """Ids, texts, embeddings, metadata."""
    lines = [json.loads(line) for line in read_lines(glob.glob(folder + "/corpus.jsonl*")[0])]
    base = numpy.load(glob.glob(folder + "/*corpus*.npy")[0]).astype("<f4")
    texts = [(line.get("title") or "") + "\n" + (line.get("text") or "") for line in lines]
    metadata = [metadata_of(at, text) for at, text in enumerate(texts)]
    return [line["_id"] for line in lines], texts, base, metadata


def read_queries(folder):
    return numpy.load(glob.glob(folder + "/*quer*.npy")[0]).astype("<f4")


def bulk_lines(ids, texts, base, metadata):
    for one, text, vector, meta in zip(ids, texts, base, metadata):
        encoded = base64.b64encode(vector.tobytes()).decode()
        yield json.dumps({"id": one, "text": text, "embedding_b64": encoded, "metadata": meta}) + "\n"


def query(folder, number, wanted=None):
    body = {"embedding": read_queries(folder)[int(number)].tolist(), "limit": 5, "include": ["text", "metadata", "score"]}
    print(json.dumps({**body, "filter": json.loads(wanted)} if wanted else body))


def check(server, folder):
    ids, texts, base, metadata = read_base(folder)
    queries = read_queries(folder)
    definition = {
        "embedding": {"dim": base.shape[1], "metric": "cosine"},
        "fields": {"length": "i64", "year": "i64", "tags": "keyword[]"},
    }
    server.ask("PUT", "/v1/collections/cranfield", definition, status=201)
    body = "".join(bulk_lines(ids, texts, base, metadata))
    began = time.monotonic()
    told = server.ask("POST", "/v1/collections/cranfield/bulk", body, "application/x-ndjson").splitlines()
    took = time.monotonic() - began
    if len(told) != len(ids) or any(json.loads(line)["status"] != 201 for line in told):
        sys.exit("not all documents were taken")
    print(f"{len(ids)} documents in {took:.2f} s, {len(ids) / took:.0f} a second")

    unit = base / numpy.linalg.norm(base, axis=1, keepdims=True)
    scores = (queries / numpy.linalg.norm(queries, axis=1, keepdims=True)) @ unit.T
    bad = 0
    for number, wanted in enumerate(FILTERS):
        allowed = numpy.array([lets_through(number, meta) for meta in metadata])
        count = server.ask("POST", "/v1/collections/cranfield/count", {"filter": wanted} if wanted else {})
        bad += json.loads(count)["count"] != allowed.sum()
        found, of, exact_wrong, began = 0, 0, 0, time.monotonic()
        for row, query in zip(scores, queries):
            row = numpy.where(allowed, row, -2)
            limit = min(10, int(allowed.sum()))
            best = numpy.sort(row)[-limit:][::-1]
            ask = {"embedding": query.tolist(), "include": ["score"]}
            if wanted:
                ask["filter"] = wanted
            for exact in (True, False):
                answer = server.ask("POST", "/v1/collections/cranfield/search", {**ask, "exact": exact})
                hits = json.loads(answer)["hits"]
                mine = [row[ids.index(hit["id"])] for hit in hits]
                if exact:
                    # Ties and the last bit of a sum aside, the same documents in the same order.
                    exact_wrong += len(hits) != limit or not numpy.allclose(mine, best, atol=1e-6)
                else:
                    bad += len(hits) != limit
                    found += sum(score >= best[-1] - 1e-6 for score in mine)
                    of += limit
        took = (time.monotonic() - began) / (2 * len(queries))
        bad += exact_wrong + (found < 0.99 * of)
        print(
            f"{json.dumps(wanted)}: {allowed.sum()} documents, {exact_wrong} of {len(queries)} exact searches wrong, "
            f"recall@10 {found / of:.4f}, {1e6 * took:.0f} us a search as this client sees it"
        )
    sys.exit(1 if bad else 0)


def main():
    match sys.argv[1:]:
        case ["lines", folder]:
            sys.stdout.writelines(bulk_lines(*read_base(folder)))
        case ["query", folder, number, *wanted] if len(wanted) < 2:
            query(folder, number, *wanted)
        case [url, folder]:
            check(Server(url), folder)
        case _:
            sys.exit(__doc__)


main()
