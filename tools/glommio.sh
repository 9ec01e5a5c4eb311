#!/usr/bin/env bash
# The server on glommio (feature `glommio`): does it keep the promises of the seam, and what does it cost?
#   tools/glommio.sh test                      the seam's checks; the HTTP tests, commands and kill -9 on that world
#   tools/glommio.sh compare [SECONDS=5] [PAIRS=5]
# The comparison has the server on the ring and on glommio in turns: one shard on core 0, wrk with 64 connections on core
# 1. GETs of a warm value of 100 bytes, durable PUTs of as many, and durable PUTs of 8 connections while all runs are
# merged over and over. For each the requests a second, CPU microseconds of the server a request (of all it does
# meanwhile), and p50 and p99 of the answers. At the end the medians of the pairs' ratios, glommio to ring.
# SERVER names a program built with the feature; without it one is built.
source "$(dirname "$0")/lib.sh"

TARGET=${CARGO_TARGET_DIR:-$ROOT/target}

run_tests() {
    cd "$ROOT"
    cargo test --features glommio --test seam_glommio
    # Tests of commands clear the environment of the servers that they start by it, but for one.
    for suite in http_routes http_connections http_documents http_idempotency cli kill9; do
        TEST_WORLD=glommio KYRODB_RUNTIME=glommio cargo test --features glommio --test "$suite"
    done
}

# The keys of PUTs come in no order; what is measured is told in one line at the end.
write_scripts() {
    local told='done = function(s, l) io.write(string.format("%d %d %d %d\n",
        s.requests, s.errors.status + s.errors.read + s.errors.timeout, l:percentile(50), l:percentile(99))) end'
    echo "$told" >"$WORK/get.lua"
    cat >"$WORK/put.lua" <<EOF
local body = string.rep("x", 100)
local headers = { ["Content-Type"] = "text/plain" }
request = function() return wrk.format("PUT", "/v1/kv/default/" .. math.random(1000000), headers, body) end
$told
EOF
}

# load NAME SCRIPT CONNECTIONS PATH: prints what came of it, and keeps it as NAME_WORLD.
load() {
    local before told cpu
    before=$(cpu_us "$KYRODB_PID")
    told=$(taskset -c 1 wrk -t1 --timeout 10s -c"$3" -d"${SECONDS_A_RUN}s" -s "$WORK/$2.lua" "$URL$4" | tail -1)
    cpu=$(($(cpu_us "$KYRODB_PID") - before))
    read -r requests errors p50 p99 <<<"$told"
    [ "$errors" = 0 ] || fail "$errors of $requests requests went wrong"
    cpu=$(ratio "$cpu" "$requests")
    printf '%-8s %-22s %8d/s  %8.2f us CPU a request  p50 %6d us  p99 %6d us\n' \
        "$world" "$1" $((requests / SECONDS_A_RUN)) "$cpu" "$p50" "$p99"
    echo "$cpu $p50 $p99" >>"$WORK/$1_$world"
}

merge_over_and_over() {
    while curl -sf -X POST "$URL/v1/compact?wait=true" >/dev/null; do
        echo merged >>"$WORK/merges_$world"
    done
}

measure() {
    world=$1
    start_kyrodb "$WORK/data" taskset -c 0 -- --shards 1 --runtime "$world"
    curl -sf -X PUT "$URL/v1/kv/default/1" --data-binary "$(printf 'x%.0s' {1..100})" >/dev/null
    load get get 64 /v1/kv/default/1
    load put put 64 ""
    local merges
    merge_over_and_over &
    merges=$!
    PIDS+=("$merges")
    load put_beside_merges put 8 ""
    kill "$merges"
    wait "$merges" 2>/dev/null || true
    [ -s "$WORK/merges_$world" ] || fail "nothing was merged beside the writes"
    stop "$KYRODB_PID"
    rm -rf "$WORK/data" "$WORK/merges_$world"
}

# told_for LOAD COLUMN NAME
told_for() {
    local ratios=() ring other
    while read -r ring other; do
        ratios+=("$(ratio "$other" "$ring")")
    done < <(paste -d' ' <(cut -d' ' -f"$2" "$WORK/$1_uring") <(cut -d' ' -f"$2" "$WORK/$1_glommio"))
    echo "$1, $3: glommio to ring $(median "${ratios[@]}")"
}

compare() {
    SECONDS_A_RUN=${1:-5} PAIRS=${2:-5}
    command -v wrk >/dev/null || skip "wrk is not installed"
    [ -n "${SERVER:-}" ] || (cd "$ROOT" && cargo build --release --quiet --features glommio)
    KYRODB=${SERVER:-$TARGET/release/kyrodb}
    make_work_dir
    write_scripts
    machine
    for _ in $(seq "$PAIRS"); do
        measure uring
        measure glommio
    done
    for name in get put put_beside_merges; do
        told_for "$name" 1 "CPU a request"
        told_for "$name" 2 p50
        told_for "$name" 3 p99
    done
}

case ${1:-} in
test) run_tests ;;
compare) compare "${@:2}" ;;
*) fail "usage: tools/glommio.sh test | compare [SECONDS] [PAIRS]" ;;
esac
