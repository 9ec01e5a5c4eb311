#!/usr/bin/env python3
"""Searches under a filter, beside Qdrant's engine (qdrant-edge-py) in one run: one thread, processor time a query.

Filters let 1 %, 10 % and 50 % of the vectors through: by a label drawn at random, and by one that goes with the
vectors (what lies farthest in the direction in which they differ most; queries are where they are, so few are near
to it). Both engines have the same f32 vectors and the right answers are computed here. Qdrant has an index on
the field and knows of it when it links. Of each the cheapest beam counts whose recall is at least --recall, or the
one of the best recall; Qdrant's are shown for the engine as it comes (f32), and for the best of f32 and int8 with
re-scoring, with and without ACORN. KyroDB's default beam is shown beside its cheapest. What making its set of a
compressed bitmap takes (Qdrant does as much within the search) counts: a ratio is Qdrant / (KyroDB and the set).

Exit 1 when an answer has not as many hits as there are, when the default beam's recall is below --recall, or when
a ratio to the engine as it comes is below what is wanted (15, 4, 2).

  pip install numpy qdrant-edge-py
  tools/bench_filtered.py --kyrodb target/release/kyrodb --base B.npy --queries Q.npy --metric l2
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
import numpy as np

WANTED = {1: 15.0, 10: 4.0, 50: 2.0}
BEAMS = [10, 32, 64, 128, 256]


def load(path, metric):
    rows = np.load(path).astype(np.float32)
    if metric == "cosine":
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows)


def labels(base, seed):
    """A number below 100 for each vector, twice: at random, and by its place along the first principal axis."""
    random = np.random.default_rng(seed)
    centred = base - base.mean(axis=0)
    axis = random.standard_normal(base.shape[1])
    for _ in range(50):
        axis = centred.T @ (centred @ axis)
        axis /= np.linalg.norm(axis)
    order = np.argsort(np.argsort(centred @ axis))
    return {"random": random.integers(0, 100, len(base)), "correlated": order * 100 // len(base)}


def distances(base, queries, metric, ids):
    found = base[ids].astype(np.float64)
    asked = queries[:, None, :].astype(np.float64)
    return -(found * asked).sum(axis=2) if metric == "dot" else ((found - asked) ** 2).sum(axis=2)


def truth(base, queries, metric, rows, k):
    """The k nearest of `rows` to each query."""
    chosen = base[rows]
    dots = queries @ chosen.T
    far = -dots if metric == "dot" else (chosen**2).sum(axis=1)[None, :] - 2 * dots
    k = min(k, len(rows))
    part = rows[np.argpartition(far, min(k + 20, len(rows)) - 1, axis=1)[:, : k + 20]]
    exact = distances(base, queries, metric, part)
    return np.take_along_axis(part, np.argsort(exact, axis=1, kind="stable")[:, :k], axis=1)


class Kyrodb:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder

    def run(self, rows, right):
        paths = {name: os.path.join(self.folder, name + ".npy") for name in ("filter", "truth")}
        np.save(paths["filter"], rows.astype(np.int32)[:, None])
        np.save(paths["truth"], right.astype(np.int32))
        command = [self.args.kyrodb, "bench", "vector", "--base", self.args.base, "--queries", self.args.queries]
        command += ["--truth", paths["truth"], "--filter", paths["filter"], "--metric", self.args.metric]
        command += ["--k", str(self.args.k), "-o", "json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class Qdrant:
    """One collection; its int8 codes, when it has them, are ranked anew by the vectors."""

    def __init__(self, base, metric, tags, folder, is_int8):
        import qdrant_edge as q

        self.q = q
        distance = {"l2": q.Distance.Euclid, "cosine": q.Distance.Cosine, "dot": q.Distance.Dot}[metric]
        codes = q.ScalarQuantizationConfig(type=q.ScalarType.Int8, quantile=0.99, always_ram=True) if is_int8 else None
        # One segment, however large; scans below 10 kB of vectors only, so that the engine decides by its own estimate.
        config = q.EdgeConfig(
            vectors=q.EdgeVectorParams(size=base.shape[1], distance=distance),
            hnsw_config=q.HnswIndexConfig(m=16, ef_construct=100, full_scan_threshold=10_000, max_indexing_threads=1),
            quantization_config=codes,
            optimizers=q.EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=1_000, max_segment_size=10_000_000),
            max_search_threads=1,
            wal_enabled=False,
        )
        os.makedirs(folder, exist_ok=True)
        self.shard = q.EdgeShard.create(folder, config)
        for name in tags:
            self.shard.update(q.UpdateOperation.create_field_index(name, q.PayloadSchemaType.Keyword))
        for start in range(0, len(base), 1000):
            rows = range(start, min(start + 1000, len(base)))
            points = [q.Point(at, base[at].tolist(), {name: tag[at] for name, tag in tags.items()}) for at in rows]
            self.shard.update(q.UpdateOperation.upsert_points(points))
        self.shard.flush()
        while self.shard.optimize():
            pass
        self.is_int8 = is_int8

    def settings(self):
        return [(beam, acorn) for acorn in (False, True) for beam in BEAMS]

    def search(self, queries, name, value, k, setting):
        q = self.q
        beam, acorn = setting
        condition = q.FieldCondition(name, match=q.MatchAny([value]))
        only = q.Filter(must=[condition])
        codes = q.QuantizationSearchParams(rescore=True) if self.is_int8 else None
        params = q.SearchParams(hnsw_ef=beam, quantization=codes, acorn=q.AcornSearchParams(enable=True) if acorn else None)
        requests = [q.SearchRequest(q.Query.Nearest(row), k, filter=only, params=params) for row in queries]
        before = time.process_time()
        answers = [self.shard.search(request) for request in requests]
        seconds = time.process_time() - before
        return seconds * 1e6 / len(queries), [[hit.id for hit in hits] for hits in answers]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kyrodb", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--queries", required=True)
    parser.add_argument("--metric", choices=["l2", "cosine", "dot"], required=True)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recall", type=float, default=0.98)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engines", default="f32,int8")
    args = parser.parse_args()
    base, queries = load(args.base, args.metric), load(args.queries, args.metric)
    asked = [row.tolist() for row in queries]
    numbers = labels(base, args.seed)
    shares = sorted(WANTED)
    # One keyword for each share, the same for every vector that a filter of this share lets through.
    tags = {f"{kind}{share}": ["in" if x < share else "out" for x in number] for kind, number in numbers.items() for share in shares}
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        ours, peers = Kyrodb(args, folder), {}
        for name in args.engines.split(","):
            before = time.process_time()
            peers[name] = Qdrant(base, args.metric, tags, os.path.join(folder, name), name == "int8")
            info = peers[name].shard.info()
            print(f"qdrant {name}: {time.process_time() - before:.1f} s, {info.segments_count} segments, {info.indexed_vectors_count} linked", file=sys.stderr)
        print(f"{'':16}{'rows':>7} |{'kyrodb':>8}{'recall':>8}{'ef':>4}{'default':>9}{'recall':>8}{'set':>7} | qdrant f32, recall | qdrant best, recall | ratios | plan")
        for kind, number in numbers.items():
            for share in shares:
                rows = np.flatnonzero(number < share)
                right = truth(base, queries, args.metric, rows, args.k)
                worst = distances(base, queries, args.metric, right).max(axis=1)
                limit = worst * (1 + 1e-6 * np.sign(worst)) + 1e-9

                def recall(answers):
                    ids = np.array([hits + [-1] * (right.shape[1] - len(hits)) for hits in answers])
                    is_right = distances(base, queries, args.metric, ids) <= limit[:, None]
                    return float((is_right & (ids >= 0)).sum() / right.size)

                mine, theirs = {}, {}
                for _ in range(args.rounds):
                    report = ours.run(rows, right)
                    for point in report["curve"]:
                        before = mine.get(point["ef"], point)
                        mine[point["ef"]] = min(before, point, key=lambda p: p["cpu_us_per_query"])
                    for name, peer in peers.items():
                        for setting in peer.settings():
                            cost, answers = peer.search(asked, f"{kind}{share}", "in", args.k, setting)
                            known = theirs.get((name, setting))
                            found = known[1] if known else recall(answers)
                            theirs[(name, setting)] = (min(cost, known[0]) if known else cost, found)
                default = mine.get(report["ef_default"]) or max(mine.values(), key=lambda p: p["ef"])
                good = [point for point in mine.values() if point["recall"] >= args.recall]
                best = min(good, key=lambda p: p["cpu_us_per_query"]) if good else default

                def cheapest(known):
                    fit = [item for item in known if item[1][1] >= args.recall] or [max(known, key=lambda i: i[1][1])]
                    return min(fit, key=lambda item: item[1][0])

                as_it_comes = [item for item in theirs.items() if item[0][0] == "f32" and not item[0][1][1]]
                plain, other = cheapest(as_it_comes or list(theirs.items())), cheapest(list(theirs.items()))
                set_us = report["filter"]["set_us"]
                cost = best["cpu_us_per_query"] + set_us
                ratio = plain[1][0] / cost
                plans = ", ".join(f"{name} {count}" for name, count in best["plans"].items() if count)
                (engine, (beam, acorn)), (peer_us, peer_recall) = other
                print(
                    f"{kind + ' ' + str(share) + ' %':16}{len(rows):7} |{best['cpu_us_per_query']:8.1f}{best['recall']:8.4f}{best['ef']:4}"
                    f"{default['cpu_us_per_query']:9.1f}{default['recall']:8.4f}{set_us:7.1f} | {plain[1][0]:8.1f}{plain[1][1]:8.4f} ef {plain[0][1][0]:3} |"
                    f" {peer_us:8.1f}{peer_recall:8.4f} {engine} ef {beam}{' acorn' if acorn else ''} | {ratio:.1f}, {peer_us / cost:.1f} | {plans}",
                    flush=True,
                )
                if ratio < WANTED[share]:
                    failures.append(f"{kind} {share} %: {ratio:.1f} times, not {WANTED[share]:.0f}")
                if default["recall"] < args.recall:
                    failures.append(f"{kind} {share} %: recall {default['recall']:.4f} by default")
    for failure in failures:
        print("short: " + failure, file=sys.stderr)
    sys.exit(1 if failures else 0)


main()
