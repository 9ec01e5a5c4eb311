# Shared by the scripts in this folder: start and stop servers, read CPU time, take medians.
# Usage: source "$(dirname "$0")/lib.sh"

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
KYRODB=$ROOT/target/release/kyrodb
WORK=""
PIDS=()

# Says what is missing to do anything here. Ends neither well nor as a failure does: `.ci/run` tells them apart.
skip() {
    echo "skipped: $*"
    exit 77
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# A directory on the disk of the repository (not tmpfs), removed at the end with all that was started.
make_work_dir() {
    mkdir -p "$ROOT/target/tools"
    WORK=$(mktemp -d "$ROOT/target/tools/XXXXXX")
    trap clean_up EXIT
    # Without these the EXIT trap does not run when the script is told to stop.
    trap 'exit 143' TERM INT
}

clean_up() {
    local pid
    for pid in "${PIDS[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    [ -z "$WORK" ] || rm -rf "$WORK"
}

build() {
    (cd "$ROOT" && cargo build --release --quiet)
}

# run_tests COUNT ARGUMENT..: `cargo test`, which is content with none when a test has another name now.
run_tests() {
    local count=$1 log status=0
    shift
    log=$(mktemp)
    cargo test "$@" | tee "$log" || status=$?
    grep -q "^test result: ok\. $count passed;" "$log" || status=1
    rm "$log"
    [ "$status" = 0 ] || fail "wanted $count tests to pass: cargo test $*"
}

# start_kyrodb DIR [COMMAND PREFIX --] [OPTION..]: sets KYRODB_PID and URL. The prefix is, say, `taskset -c 0`.
start_kyrodb() {
    local dir=$1 log prefix=() listen=(--listen 127.0.0.1:0)
    shift
    while [ $# -gt 0 ] && [[ " $* " == *" -- "* ]]; do
        [ "$1" = "--" ] && shift && break
        prefix+=("$1")
        shift
    done
    [[ " $* " == *" --listen "* ]] && listen=()
    log=$dir.log
    mkdir -p "$dir"
    KYRODB_DISABLE_HTTP_LOG=1 "${prefix[@]}" "$KYRODB" serve --data-dir "$dir" "${listen[@]}" "$@" >"$log" 2>"$log.err" &
    KYRODB_PID=$!
    PIDS+=("$KYRODB_PID")
    for _ in $(seq 300); do
        URL=$(sed -n 's/^ready \(http:[^ ]*\).*/\1/p' "$log")
        [ -n "$URL" ] && return
        kill -0 "$KYRODB_PID" 2>/dev/null || break
        sleep 0.1
    done
    cat "$log.err" >&2
    fail "the server did not get ready"
}

# stop PID [SIGNAL]
stop() {
    kill "-${2:-TERM}" "$1"
    wait "$1" 2>/dev/null || true
}

# User and system time of processes so far, in microseconds.
cpu_us() {
    local pid sum=0 stat fields
    for pid in "$@"; do
        stat=$(cat "/proc/$pid/stat")
        # The name in parentheses may hold blanks: count behind it.
        read -r -a fields <<<"${stat##*) }"
        sum=$((sum + (fields[11] + fields[12]) * 10000))
    done
    echo "$sum"
}

# json FIELD: a number from the JSON object on stdin; `a.b` goes into an object.
json() {
    python3 -c 'import functools, json, sys; print(functools.reduce(lambda o, f: o[f], sys.argv[1].split("."), json.load(sys.stdin)))' "$1"
}

# The median of the numbers given.
median() {
    python3 -c 'import statistics, sys; print(f"{statistics.median(map(float, sys.argv[1:])):.3f}")' "$@"
}

# ratio A B
ratio() {
    python3 -c 'import sys; print(f"{float(sys.argv[1]) / float(sys.argv[2]):.3f}")' "$1" "$2"
}

# is_at_most A B
is_at_most() {
    python3 -c 'import sys; sys.exit(float(sys.argv[1]) > float(sys.argv[2]))' "$1" "$2"
}

# A port that nobody listens on right now.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

machine() {
    echo "machine: $(nproc) cores, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), kernel $(uname -r)"
}
