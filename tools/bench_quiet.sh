#!/usr/bin/env bash
# How quiet a GET stays: its p99 at 2,000 a second while 1,000 puts a second and a checkpoint every
# second run, beside the p99 of the same server without them. Five pairs, median of the ratios; exit 1
# above 5, or when a turn of the executor took more than 2 ms of CPU in one of the busy stretches (the
# load before each stretch is not counted, but printed).
# Usage: tools/bench_quiet.sh [SECONDS_A_RUN=10] [PAIRS=5]
source "$(dirname "$0")/lib.sh"

RUN_SECONDS=${1:-10} PAIRS=${2:-5} GETS_PER_S=2000 PUTS_PER_S=1000
build
make_work_dir
machine
# Small segments, so that checkpoints come often.
start_kyrodb "$WORK/kyrodb" taskset -c 0 -- --shards 1 --log-segment-bytes 1MiB

get_p99() {
    taskset -c 1 "$KYRODB" bench kv --url "$URL" --workload get --records 10000 --connections 16 \
        --rate $GETS_PER_S --operations $((GETS_PER_S * RUN_SECONDS)) -o json | json latency_us.p99
}
puts() {
    taskset -c 1 "$KYRODB" bench kv --url "$URL" --collection noise --workload put --records 100000 \
        --connections 16 --rate $PUTS_PER_S --operations $((PUTS_PER_S * (RUN_SECONDS + 2))) -o json >"$WORK/puts.json"
}
checkpoints() {
    while sleep 1; do curl -sf -X POST "$URL/v1/compact?wait=true" >/dev/null; done
}
# The sum of a counter over the shards.
counter() {
    curl -sf "$URL/metrics" | awk -v name="$1" 'index($0, name "{") == 1 { sum += $NF } END { printf "%d\n", sum }'
}
stalls() { counter kyrodb_turn_stalls_total; }

ratios=()
busy_stalls=0
for pair in $(seq "$PAIRS"); do
    idle=$(get_p99)
    puts &
    noise=$!
    checkpoints &
    loop=$!
    PIDS+=("$loop")
    sleep 1
    before=$(stalls) done_before=$(counter kyrodb_checkpoints_total)
    busy=$(get_p99)
    busy_stalls=$((busy_stalls + $(stalls) - before))
    made=$(($(counter kyrodb_checkpoints_total) - done_before))
    kill "$loop"
    wait "$noise" || fail "the puts beside it failed"
    [ "$made" -gt 0 ] || fail "no checkpoint ran beside the reads"
    ratios+=("$(ratio "$busy" "$idle")")
    echo "pair $pair: p99 $idle us idle, $busy us with puts and $made checkpoints, ratio ${ratios[-1]}"
done
result=$(median "${ratios[@]}")
echo "median ratio of p99 busy/idle: $result"
echo "turns over 2 ms: $busy_stalls in the busy stretches, $(stalls) in all"
sed -n 's/.*\(a turn of the executor.*\)/\1/p' "$WORK/kyrodb.log.err"
# On a virtual machine the thread clock also counts what the host takes. A process that only looks at its
# clock shows how much that is just now.
taskset -c 0 python3 - $((RUN_SECONDS * PAIRS)) <<'EOF'
import sys, time
end, last, jumps = time.monotonic() + int(sys.argv[1]), time.thread_time_ns(), []
while time.monotonic() < end:
    now = time.thread_time_ns()
    jumps += [(now - last) // 1000] * (now - last > 2_000_000)
    last = now
print(f"control: an idle loop on the same core for {sys.argv[1]} s saw {len(jumps)} jumps of its clock over 2 ms: {jumps} us")
EOF
is_at_most "$result" 5 || fail "p99 more than 5x that of an idle server"
[ "$busy_stalls" = 0 ] || fail "a turn took more than 2 ms; see the control"
