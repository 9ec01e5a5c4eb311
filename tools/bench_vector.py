#!/usr/bin/env python3
"""KyroDB's vector index beside other libraries, in one run: one thread, processor time a query at recall@k.

Peers that are installed take part: SVS (scalable-vs: Vamana, LVQ4x8), faiss-cpu (HNSW32; IVF PQ fast-scan with
re-ranking), hnswlib, usearch. Engines take turns, ROUNDS times; of each the best turn counts at each setting.
The cost at a recall is interpolated between the two settings around it. Exit 1 when a ratio (best peer /
KyroDB) is below --at-least; it is 0 where KyroDB does not reach the recall, and where there was no peer at all.

  pip install numpy scalable-vs faiss-cpu hnswlib usearch
  tools/bench_vector.py --kyrodb target/release/kyrodb --base B.npy --queries Q.npy --truth T.npy --metric l2
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
import numpy as np

MARKS = [0.90, 0.95, 0.99]
WIDTHS = [10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320]


def cpu(work):
    before = time.process_time()
    out = work()
    return time.process_time() - before, out


class Data:
    def __init__(self, args):
        self.k, self.metric = args.k, args.metric
        self.base = np.ascontiguousarray(np.load(args.base).astype(np.float32))
        self.queries = np.ascontiguousarray(np.load(args.queries).astype(np.float32))
        truth = np.load(args.truth)[:, : args.k]
        if self.metric == "cosine":
            self.base /= np.linalg.norm(self.base, axis=1, keepdims=True)
            self.queries /= np.linalg.norm(self.queries, axis=1, keepdims=True)
        self.worst = self.distances(truth).max(axis=1)

    def distances(self, ids):
        found = self.base[np.clip(ids, 0, len(self.base) - 1)].astype(np.float64)
        queries = self.queries[:, None, :].astype(np.float64)
        if self.metric == "dot":
            return -(found * queries).sum(axis=2)
        return ((found - queries) ** 2).sum(axis=2)

    def recall(self, ids):
        ids = np.asarray(ids).astype(np.int64)
        right = self.distances(ids) <= self.worst[:, None] * (1 + 1e-6) + 1e-9
        return float((right & (ids >= 0)).sum() / ids.size)


class Svs:
    name = "svs-lvq4x8"

    def __init__(self, data):
        import svs

        is_dot = data.metric == "dot"
        distance = svs.DistanceType.MIP if is_dot else svs.DistanceType.L2
        alpha = 0.95 if is_dot else 1.2
        parameters = svs.VamanaBuildParameters(graph_max_degree=64, window_size=128, alpha=alpha)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "base.fvecs")
            svs.write_vecs(data.base, path)
            source = svs.VectorDataLoader(path, svs.DataType.float32, dims=data.base.shape[1])
            source = svs.LVQLoader(source, primary=4, residual=8)
            self.index = svs.Vamana.build(parameters, source, distance, num_threads=1)
        self.data = data

    def settings(self):
        return WIDTHS

    def search(self, width):
        self.index.search_window_size = width
        return self.index.search(self.data.queries, self.data.k)[0]


class FaissHnsw:
    name = "faiss-hnsw32"

    def __init__(self, data):
        import faiss

        faiss.omp_set_num_threads(1)
        metric = faiss.METRIC_INNER_PRODUCT if data.metric == "dot" else faiss.METRIC_L2
        self.index = faiss.IndexHNSWFlat(data.base.shape[1], 32, metric)
        self.index.hnsw.efConstruction = 128
        self.index.add(data.base)
        self.data = data

    def settings(self):
        return WIDTHS

    def search(self, width):
        self.index.hnsw.efSearch = width
        return self.index.search(self.data.queries, self.data.k)[1]


class FaissIvf:
    name = "faiss-ivfpqfs"

    def __init__(self, data):
        import faiss

        faiss.omp_set_num_threads(1)
        n, d = data.base.shape
        lists = int(2 ** np.round(np.log2(2 * np.sqrt(n))))
        metric = faiss.METRIC_INNER_PRODUCT if data.metric == "dot" else faiss.METRIC_L2
        self.ivf = faiss.index_factory(d, f"IVF{lists},PQ{d // 2}x4fs", metric)
        self.ivf.train(data.base)
        self.index = faiss.IndexRefineFlat(self.ivf)
        self.index.add(data.base)
        self.data = data

    def settings(self):
        return [(probes, factor) for probes in (4, 8, 16, 32, 64, 128) for factor in (4, 10, 20)]

    def search(self, setting):
        self.ivf.nprobe, self.index.k_factor = setting
        return self.index.search(self.data.queries, self.data.k)[1]


class Hnswlib:
    name = "hnswlib"

    def __init__(self, data):
        import hnswlib

        n, d = data.base.shape
        self.index = hnswlib.Index(space="ip" if data.metric == "dot" else "l2", dim=d)
        self.index.init_index(max_elements=n, M=16, ef_construction=200)
        self.index.set_num_threads(1)
        self.index.add_items(data.base, num_threads=1)
        self.data = data

    def settings(self):
        return WIDTHS

    def search(self, width):
        self.index.set_ef(width)
        return self.index.knn_query(self.data.queries, self.data.k, num_threads=1)[0]


class Usearch:
    name = "usearch"

    def __init__(self, data):
        from usearch.index import Index

        metric = "ip" if data.metric == "dot" else "l2sq"
        self.index = Index(ndim=data.base.shape[1], metric=metric, dtype="f32", connectivity=16, expansion_add=128)
        self.index.add(np.arange(len(data.base)), data.base, threads=1)
        self.data = data

    def settings(self):
        return WIDTHS

    def search(self, width):
        self.index.expansion_search = width
        return self.index.search(self.data.queries, self.data.k, threads=1).keys


def at_recall(points, mark):
    """Cost at a recall: on the line between the cheapest settings around it."""
    points = sorted(points)
    best = None
    for (low, cheap), (high, dear) in zip(points, points[1:]):
        if low <= mark <= high and high > low:
            cost = cheap + (dear - cheap) * (mark - low) / (high - low)
            best = cost if best is None else min(best, cost)
    if best is None:
        over = [cost for recall, cost in points if recall >= mark]
        best = min(over) if over else None
    return best


def gain(peer, ours):
    """How many times our cost a peer's is; NaN where no peer reaches the mark."""
    if ours is None:
        return 0.0
    return peer / ours if peer is not None else float("nan")


def frontier(points):
    """Settings that no other beats in both."""
    return [p for p in points if not any(o[0] >= p[0] and o[1] < p[1] for o in points)]


def kyrodb(args):
    command = [args.kyrodb, "bench", "vector", "--base", args.base, "--queries", args.queries, "--truth", args.truth]
    command += ["--metric", args.metric, "--k", str(args.k), "-o", "json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return report["build_s"], report["bytes_per_vector"], {p["ef"]: (p["recall"], p["cpu_us_per_query"]) for p in report["curve"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kyrodb", required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--queries", required=True)
    parser.add_argument("--truth", required=True)
    parser.add_argument("--metric", choices=["l2", "cosine", "dot"], required=True)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default="svs,faiss-ivf,faiss-hnsw,hnswlib,usearch")
    parser.add_argument("--at-least", type=float, default=0.0)
    args = parser.parse_args()
    data = Data(args)
    kinds = {"svs": Svs, "faiss-ivf": FaissIvf, "faiss-hnsw": FaissHnsw, "hnswlib": Hnswlib, "usearch": Usearch}
    peers, builds = [], {}
    for kind in args.peers.split(","):
        try:
            seconds, peer = cpu(lambda: kinds[kind](data))
        except ImportError as error:
            print(f"{kind}: left out, {error}", file=sys.stderr)
            continue
        peers.append(peer)
        builds[peer.name] = seconds
        print(f"{peer.name}: built in {seconds:.1f} s of processor time", file=sys.stderr)
    curves = {peer.name: {} for peer in peers}
    curves["kyrodb"] = {}
    for turn in range(args.rounds):
        builds["kyrodb"], bytes_a_vector, curve = kyrodb(args)
        for ef, (recall, cost) in curve.items():
            curves["kyrodb"][ef] = (recall, min(cost, curves["kyrodb"].get(ef, (0, cost))[1]))
        for peer in peers:
            for setting in peer.settings():
                seconds, ids = cpu(lambda: peer.search(setting))
                cost = seconds * 1e6 / len(data.queries)
                before = curves[peer.name].get(setting)
                recall = before[0] if before else data.recall(ids)
                curves[peer.name][setting] = (recall, min(cost, before[1]) if before else cost)
    print(f"{'':16}" + "".join(f"{mark:>9.2f}" for mark in MARKS) + f"{'build s':>9}")
    costs = {name: [at_recall(frontier(list(curve.values())), mark) for mark in MARKS] for name, curve in curves.items()}
    for name, row in costs.items():
        cells = "".join(f"{cost:9.1f}" if cost else f"{'-':>9}" for cost in row)
        print(f"{name:16}{cells}{builds[name]:9.1f}")
    worst = 0.0
    for name, best in [("best peer", None)] + [(peer.name, peer.name) for peer in peers]:
        ratios = []
        for at, mark in enumerate(MARKS):
            others = [costs[n][at] for n in ([best] if best else builds) if n != "kyrodb" and costs[n][at]]
            ratios.append(gain(min(others, default=None), costs["kyrodb"][at]))
        if best is None:
            worst = min((ratio for ratio in ratios if not math.isnan(ratio)), default=0.0)
        print(f"{name + ' / kyrodb':24}" + "".join(f"{ratio:9.2f}" for ratio in ratios))
    print(f"bytes a vector, originals apart: {bytes_a_vector:.1f}")
    sys.exit(0 if worst >= args.at_least else 1)


main()
