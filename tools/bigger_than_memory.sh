#!/usr/bin/env bash
# A server with more data than memory: COUNT generated u64 keys with values of 100 bytes, in a control group of
# 2 GiB (as root, where there is one; else by the product's own budget only). Loads, reads random keys uniform and
# zipfian with every value checked, kills the server, and says how long the next one takes to answer its first
# point read and to be ready; then compares all of it.
# Usage: tools/bigger_than_memory.sh [COUNT=50000000] [SECONDS_A_READ=20]
source "$(dirname "$0")/lib.sh"

COUNT=${1:-50000000} SECONDS_A_READ=${2:-20} LIMIT_MIB=2048 MEMORY=1600MiB
GROUP=/sys/fs/cgroup/memory/kyrodb-$$

build
make_work_dir
machine
(cd "$ROOT" && cargo build --release --quiet --example make_keys)
"$ROOT/target/release/examples/make_keys" uniform "$COUNT" "$WORK/keys.u64"

within=()
if mkdir "$GROUP" 2>/dev/null && echo $((LIMIT_MIB << 20)) 2>/dev/null >"$GROUP/memory.limit_in_bytes"; then
    trap 'clean_up; rmdir "$GROUP" 2>/dev/null' EXIT
    echo "control group of $LIMIT_MIB MiB, --memory $MEMORY"
    # shellcheck disable=SC2016
    within=(bash -c 'echo $$ >"$0" && exec "$@"' "$GROUP/cgroup.procs")
else
    echo "no control group of memory here; --memory $MEMORY only"
fi
serve() { start_kyrodb "$WORK/data" "${within[@]}" -- --shards 2 --memory "$MEMORY" "$@"; }
peak() {
    sed -n 's/^VmHWM:[[:space:]]*//p' "/proc/$KYRODB_PID/status"
    [ ${#within[@]} = 0 ] || echo "control group at most $(($(cat "$GROUP/memory.max_usage_in_bytes") >> 20)) MiB, with the page cache"
}
reads() { python3 "$ROOT/tools/random_reads.py" "$URL" "$WORK/keys.u64" "$1" "$SECONDS_A_READ" || fail "wrong answers"; }

serve
began=$SECONDS
"$KYRODB" import "$WORK/keys.u64" --url "$URL" 2>"$WORK/import.err" || fail "$(cat "$WORK/import.err")"
echo "imported in $((SECONDS - began)) s"
reads uniform
reads zipfian
echo "peak memory: $(peak)"
du -sm "$WORK/data" | awk '{ print "on the disk: " $1 " MiB" }'
stop "$KYRODB_PID" KILL
PORT=$(free_port)
python3 "$ROOT/tools/random_reads.py" --first "http://127.0.0.1:$PORT" "$WORK/keys.u64" &
first=$!
began=$(date +%s%N)
serve --listen "127.0.0.1:$PORT"
echo "all shards ready after $((($(date +%s%N) - began) / 1000000)) ms"
wait "$first" || fail "no first read"
reads uniform
began=$SECONDS
"$KYRODB" import "$WORK/keys.u64" --url "$URL" --verify || fail "records are missing or different"
echo "compared in $((SECONDS - began)) s"
echo "peak memory: $(peak)"
stop "$KYRODB_PID"
