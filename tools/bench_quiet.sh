#!/usr/bin/env bash
# How quiet a GET stays: its p99 at 2,000 a second while 1,000 puts a second and the checkpoints that
# they cause run, beside the p99 of the same server without them. Five pairs, median of the ratios; exit
# 1 above 5, or when a turn of the executor took more than 2 ms of CPU.
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

ratios=()
for pair in $(seq "$PAIRS"); do
    idle=$(get_p99)
    puts &
    noise=$!
    busy=$(get_p99)
    wait "$noise" || fail "the puts beside it failed"
    ratios+=("$(ratio "$busy" "$idle")")
    echo "pair $pair: p99 $idle us idle, $busy us with puts and checkpoints, ratio ${ratios[-1]}"
done
result=$(median "${ratios[@]}")
echo "median ratio of p99 busy/idle: $result"

# The longest turn of every core, in seconds; the stall detector is always on.
longest=$(curl -s "$URL/metrics" | sed -n 's/^kyrodb_turn_cpu_max_seconds[^ ]* //p' | sort -g | tail -1)
[ -n "$longest" ] || fail "no kyrodb_turn_cpu_max_seconds in /metrics"
echo "longest turn: $longest s of CPU"
is_at_most "$result" 5 || fail "p99 more than 5x that of an idle server"
is_at_most "$longest" 0.002 || fail "a turn took more than 2 ms"
