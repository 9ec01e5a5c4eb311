#!/usr/bin/env bash
# A thousand slow clients of each kind of slowhttptest (heads, bodies, reads, ranges), and what they do to the p99 of
# others: GETs at 2,000 a second beside them and without them, in turns; for each kind the median of the pairs' ratios,
# with a quiet p99 of at least 1 ms. Exit 1 when one is above 2, when a GET failed, or when fewer slow clients than that
# were connected at their most.
# Usage: tools/slow_clients.sh [SECONDS_A_RUN=10] [PAIRS=3] [KIND..]
source "$(dirname "$0")/lib.sh"

RUN_SECONDS=${1:-10} PAIRS=${2:-3} CLIENTS=1000 GETS_PER_S=2000
KINDS=("${@:3}")
[ ${#KINDS[@]} -gt 0 ] || KINDS=(heads bodies reads ranges)
command -v slowhttptest >/dev/null || skip "slowhttptest is not installed"
build
make_work_dir
machine
start_kyrodb "$WORK/kyrodb" -- --shards 2
head -c 4000000 /dev/zero | curl -sf -X PUT --data-binary @- "$URL/v1/kv/default/18446744073709551615"
LARGE=$URL/v1/kv/default/18446744073709551615
"$KYRODB" bench kv --url "$URL" --workload put --records 10000 --operations 20000 -o json >/dev/null

# Slow clients of a kind, for as long as a run takes and a little longer.
slow_clients() {
    # What they cost themselves is not the server's matter: they stand back, and the others go first.
    local common=(-c $CLIENTS -r $CLIENTS -l $((RUN_SECONDS + 4)) -i 2 -p 3)
    case $1 in
    heads) nice -n 19 slowhttptest -H "${common[@]}" -t GET -u "$URL/v1/kv/default/1" ;;
    bodies) nice -n 19 slowhttptest -B "${common[@]}" -s 200000 -t PUT -u "$URL/v1/kv/default/1" ;;
    reads) nice -n 19 slowhttptest -X "${common[@]}" -w 512 -y 1024 -n 2 -z 32 -k 1 -u "$LARGE" ;;
    ranges) nice -n 19 slowhttptest -R "${common[@]}" -a 10 -b 3000 -u "$LARGE" ;;
    *) fail "no such kind: $1" ;;
    esac
}
FIRST=()
chrt --fifo 10 true 2>/dev/null && FIRST=(chrt --fifo 10)
get_p99() {
    "${FIRST[@]}" "$KYRODB" bench kv --url "$URL" --workload get --records 10000 --connections 16 --rate $GETS_PER_S \
        --operations $((GETS_PER_S * RUN_SECONDS)) -o json >"$WORK/get.json"
    [ "$(json errors <"$WORK/get.json")" = 0 ] || fail "GETs failed"
    json latency_us.p99 <"$WORK/get.json"
}
open_connections() {
    ss -Htn state established "( sport = :${URL##*:} )" | wc -l
}

short=()
for kind in "${KINDS[@]}"; do
    ratios=()
    for pair in $(seq "$PAIRS"); do
        quiet=$(get_p99)
        slow_clients "$kind" >"$WORK/slow.out" 2>&1 &
        slow=$!
        sleep 2
        connected=$(open_connections)
        [ "$connected" -ge $CLIENTS ] || fail "only $connected slow clients are connected"
        busy=$(get_p99)
        wait "$slow" || true
        ratios+=("$(python3 -c 'import sys; quiet, busy = map(float, sys.argv[1:]); print(busy / max(quiet, 1000))' "$quiet" "$busy")")
        echo "$kind $pair: p99 $quiet us, $busy us beside $connected connections, ratio $(ratio "$busy" "$quiet")"
    done
    result=$(median "${ratios[@]}")
    echo "$kind: median ratio $result of at least 1 ms"
    is_at_most "$result" 2 || short+=("$kind")
done
[ ${#short[@]} -eq 0 ] || fail "others wait for slow clients: ${short[*]}"
