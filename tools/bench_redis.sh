#!/usr/bin/env bash
# Durable puts beside redis-server with appendfsync always: 100-byte values, 64 connections, A B A B,
# five pairs, on the same disk; servers on core 0, load on core 1. Exit 1 when the median ratio
# (KyroDB / redis) is below 1.
# Usage: tools/bench_redis.sh [OPERATIONS=100000] [PAIRS=5]
source "$(dirname "$0")/lib.sh"

OPERATIONS=${1:-100000} PAIRS=${2:-5} CONNECTIONS=64 VALUE_BYTES=100
command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null || skip "redis is not installed"
build
make_work_dir
machine

start_kyrodb "$WORK/kyrodb" taskset -c 0 -- --shards 1
PORT=$(free_port)
mkdir "$WORK/redis"
taskset -c 0 redis-server --bind 127.0.0.1 --port "$PORT" --dir "$WORK/redis" --save '' --appendonly yes \
    --appendfsync always --daemonize no >"$WORK/redis.log" &
PIDS+=($!)
until redis-cli -p "$PORT" ping >/dev/null 2>&1; do sleep 0.1; done

kyrodb_rate() {
    taskset -c 1 "$KYRODB" bench kv --url "$URL" --workload put --durability fsync --records 100000 \
        --operations "$OPERATIONS" --connections $CONNECTIONS --value-bytes $VALUE_BYTES -o json | json ops_per_s
}
redis_rate() {
    taskset -c 1 redis-benchmark -p "$PORT" -t set -n "$OPERATIONS" -c $CONNECTIONS -d $VALUE_BYTES -r 100000 --csv |
        sed -n 's/^"SET","\([0-9.]*\)".*/\1/p'
}

ratios=()
for pair in $(seq "$PAIRS"); do
    a=$(kyrodb_rate) b=$(redis_rate)
    ratios+=("$(ratio "$a" "$b")")
    echo "pair $pair: kyrodb ${a%.*}/s, redis ${b%.*}/s, ratio ${ratios[-1]}"
done
result=$(median "${ratios[@]}")
echo "median ratio kyrodb/redis: $result (durable puts, $CONNECTIONS connections, $VALUE_BYTES-byte values)"
is_at_most 1 "$result" || fail "slower than redis"
