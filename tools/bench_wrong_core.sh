#!/usr/bin/env bash
# What a request costs that arrives at the wrong core: GETs of one connection, by turns of a key of
# either shard, p50 of each in five runs. Exit 1 when the median difference is above 25 us.
# Usage: tools/bench_wrong_core.sh [REQUESTS_A_RUN=20000] [RUNS=5]
source "$(dirname "$0")/lib.sh"

REQUESTS=${1:-20000} RUNS=${2:-5}
build
make_work_dir
machine
start_kyrodb "$WORK/kyrodb" -- --shards 2
curl -sf -X POST -H 'content-type: application/json' -d '{"collection":"default","split_at":[1000]}' \
    "$URL/v1/router/rebalance?wait=true" >/dev/null
for key in 1 2000; do "$KYRODB" put $key "$(printf 'x%.0s' $(seq 100))" --url "$URL" >/dev/null; done

python3 - "$URL" "$REQUESTS" "$RUNS" <<'PY'
import json, socket, statistics, sys, time, urllib.request
KEYS = (1, 2000)
with urllib.request.urlopen(f"{sys.argv[1]}/v1/router") as answer:
    [tablets] = [c["tablets"] for c in json.load(answer)["collections"] if c["name"] == "default"]
owners = [[t["owner"] for t in tablets if t["start"] is None or t["start"] <= key][-1] for key in KEYS]
if owners[0] == owners[1]:
    sys.exit(f"both keys are on core {owners[0]}: there is no wrong core")
host, port = sys.argv[1].removeprefix("http://").split(":")
requests, runs = int(sys.argv[2]), int(sys.argv[3])
line = socket.create_connection((host, int(port)))
line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

def get(key):
    began = time.perf_counter_ns()
    line.sendall(b"GET /v1/kv/default/%d HTTP/1.1\r\nHost: x\r\n\r\n" % key)
    answer = line.recv(4096)
    took = time.perf_counter_ns() - began
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"x" * 100), answer
    return took / 1000

differences = []
for run in range(runs):
    times = {key: [] for key in KEYS}
    for n in range(requests):
        key = KEYS[n % 2]
        times[key].append(get(key))
    # The connection is at one of the two cores: at which, is not told.
    near, far = sorted(statistics.median(times[key]) for key in times)
    differences.append(far - near)
    print(f"run {run + 1}: right core {near:.1f} us, wrong core {far:.1f} us, difference {far - near:.1f} us")
median = statistics.median(differences)
print(f"median difference at p50: {median:.1f} us (one connection, 100-byte values)")
sys.exit(median > 25)
PY
