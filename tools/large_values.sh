#!/usr/bin/env bash
# Large values: bytes that reach the disk for each byte written, room for each byte that lives, and the longest
# turn of a core. VALUES keys of VALUE_BYTES each, written, then overwritten ROUNDS times in an order of chance;
# then 16 MiB values, and a compaction of everything. KYRODB names another binary to compare with.
# Usage: tools/large_values.sh
source "$(dirname "$0")/lib.sh"

VALUES=${VALUES:-2000} VALUE_BYTES=${VALUE_BYTES:-262144} ROUNDS=${ROUNDS:-5} HUGE=${HUGE:-8}
[ -n "${OTHER:-}" ] && KYRODB=$OTHER || build
make_work_dir
machine

disk_bytes() { sed -n 's/^write_bytes: //p' "/proc/$KYRODB_PID/io"; }
metric() { curl -s "$URL/metrics" | awk -v name="$1" '$1 ~ "^kyrodb_" name "([{]|$)" { sum += $NF } END { printf "%d\n", sum }'; }
# Until nothing is written any more.
settle() {
    local before=-1 now
    now=$(disk_bytes)
    while [ "$before" != "$now" ]; do sleep 3; before=$now now=$(disk_bytes); done
}
load() {
    python3 - "$URL" "$VALUES" "$VALUE_BYTES" "$1" "$2" <<'PY'
import http.client, os, random, sys
host, count, size = sys.argv[1].removeprefix("http://"), int(sys.argv[2]), int(sys.argv[3])
dice, rounds = random.Random(int(sys.argv[4])), int(sys.argv[5])
base = os.urandom(size)
http_ = http.client.HTTPConnection(host)
for number in range(count * rounds):
    key = dice.randrange(count) if int(sys.argv[4]) else number
    while True:
        body = number.to_bytes(8, "little") + base[8:]
        http_.request("PUT", f"/v1/kv/default/{key}", body)
        answer = http_.getresponse()
        answer.read()
        if answer.status in (201, 204):
            break
        if answer.status != 503:
            sys.exit(f"a put was answered with {answer.status}")
PY
}

start_kyrodb "$WORK/data" --shards 2 --memory 2GiB
begun=$(disk_bytes)
load 0 1
load 1 "$ROUNDS"
settle
written=$(($(disk_bytes) - begun)) sent=$((VALUES * VALUE_BYTES * (ROUNDS + 1)))
echo "sent $sent bytes, written $written: write amplification $(ratio $written $sent)"
echo "  log $(metric log_written_bytes_total), checkpoints $(metric checkpoint_written_bytes_total), compactions $(metric compaction_written_bytes_total)"
room=$(du -sb --exclude log "$WORK/data" | cut -f1)
echo "room without the log $room for $((VALUES * VALUE_BYTES)) bytes that live: $(ratio $room $((VALUES * VALUE_BYTES)))"
curl -s -X POST "$URL/v1/compact?wait=true" >/dev/null
settle
room=$(du -sb --exclude log "$WORK/data" | cut -f1)
echo "after a compaction: $(ratio $room $((VALUES * VALUE_BYTES)))"

head -c 16777216 /dev/urandom >"$WORK/huge"
stalls=$(metric turn_stalls_total)
for number in $(seq "$HUGE"); do
    curl -sf -X PUT --data-binary @"$WORK/huge" "$URL/v1/kv/default/$((1000000 + number))" || fail "a put of 16 MiB"
done
curl -s -X POST "$URL/v1/compact?wait=true" >/dev/null
for number in $(seq "$HUGE"); do
    curl -sf "$URL/v1/kv/default/$((1000000 + number))" | cmp -s - "$WORK/huge" || fail "a value of 16 MiB differs"
done
echo "$HUGE values of 16 MiB put, compacted and read: $(($(metric turn_stalls_total) - stalls)) turns over 2 ms"
curl -s "$URL/metrics" | grep -E "^kyrodb_(turn|value)" || true
