#!/usr/bin/env bash
# GET of a warm key beside nginx `return 200` of the same body: server CPU microseconds a request from
# /proc/PID/stat, wrk with 64 connections, servers on core 0, wrk on core 1, A B A B, five pairs. Exit 1
# when the median ratio (KyroDB / nginx) is above 1.
# Usage: tools/bench_nginx.sh [SECONDS_A_RUN=5] [PAIRS=5]
source "$(dirname "$0")/lib.sh"

RUN_SECONDS=${1:-5} PAIRS=${2:-5} CONNECTIONS=64
command -v nginx >/dev/null || skip "nginx is not installed"
command -v wrk >/dev/null || skip "wrk is not installed"
build
make_work_dir
machine

BODY=$(printf 'x%.0s' $(seq 100))
start_kyrodb "$WORK/kyrodb" taskset -c 0 -- --shards 1
"$KYRODB" put 1 "$BODY" --url "$URL" >/dev/null
KYRODB_TARGET=$URL/v1/kv/default/1

PORT=$(free_port)
cat >"$WORK/nginx.conf" <<CONF
daemon off;
worker_processes 1;
pid $WORK/nginx.pid;
error_log $WORK/nginx.err;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    server { listen 127.0.0.1:$PORT; location / { return 200 "$BODY"; } }
}
CONF
taskset -c 0 nginx -c "$WORK/nginx.conf" -p "$WORK" &
NGINX_PID=$!
PIDS+=("$NGINX_PID")
NGINX_TARGET=http://127.0.0.1:$PORT/
until [ "$(curl -s "$NGINX_TARGET")" = "$BODY" ]; do sleep 0.1; done
[ "$(curl -s "$KYRODB_TARGET")" = "$BODY" ] || fail "the two bodies differ"
NGINX_WORKER=$(cat "/proc/$NGINX_PID/task/$NGINX_PID/children")

# us_per_request TARGET PID..: CPU of the processes divided by the requests that wrk saw answered.
us_per_request() {
    local target=$1 before after requests
    shift
    before=$(cpu_us "$@")
    taskset -c 1 wrk -t1 -c$CONNECTIONS -d"${RUN_SECONDS}s" "$target" >"$WORK/wrk.out"
    after=$(cpu_us "$@")
    ! grep -q 'Non-2xx' "$WORK/wrk.out" || fail "answers other than 200 from $target"
    requests=$(sed -n 's/^ *\([0-9]*\) requests in.*/\1/p' "$WORK/wrk.out")
    ratio $((after - before)) "$requests"
}

ratios=()
for pair in $(seq "$PAIRS"); do
    a=$(us_per_request "$KYRODB_TARGET" "$KYRODB_PID")
    # shellcheck disable=SC2086
    b=$(us_per_request "$NGINX_TARGET" $NGINX_WORKER)
    ratios+=("$(ratio "$a" "$b")")
    echo "pair $pair: kyrodb $a us, nginx $b us, ratio ${ratios[-1]}"
done
result=$(median "${ratios[@]}")
echo "median ratio kyrodb/nginx, server CPU a request: $result ($CONNECTIONS connections, 100-byte body)"
is_at_most "$result" 1 || fail "more CPU a request than nginx"
