#!/usr/bin/env bash
# The real server against its own description: schemathesis, all checks, all phases.
# Usage: tools/schemathesis.sh [EXAMPLES] [SECONDS]: examples an operation in the fuzzing phase; time for all, if bounded.
# SCHEMATHESIS_SERVER names another server than target/release/kyrodb, SCHEMATHESIS_VENV another place for the tool.
source "$(dirname "$0")/lib.sh"

EXAMPLES=${1:-100}
SECONDS_MAX=${2:-}
KYRODB=${SCHEMATHESIS_SERVER:-$KYRODB}
VENV=${SCHEMATHESIS_VENV:-$ROOT/target/schemathesis-venv}

command -v python3 >/dev/null || skip "no python3"
if [ ! -x "$VENV/bin/schemathesis" ]; then
    python3 -m venv "$VENV" 2>/dev/null || skip "python3 makes no virtual environments"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check 'schemathesis>=4.32,<5' prometheus_client ||
        skip "schemathesis cannot be installed"
fi
# promtool: that of the machine, else one from Debian's package of prometheus, unpacked beside the tool.
find_promtool() {
    local dir=$ROOT/target/promtool
    PROMTOOL=$(command -v promtool || true)
    [ -z "$PROMTOOL" ] || return 0
    if [ ! -x "$dir/usr/bin/promtool" ] && command -v dpkg-deb >/dev/null; then
        mkdir -p "$dir"
        (cd "$dir" && apt-get download prometheus && dpkg-deb -x prometheus_*.deb . && rm prometheus_*.deb) \
            >"$dir/log" 2>&1 || true
    fi
    [ ! -x "$dir/usr/bin/promtool" ] || PROMTOOL=$dir/usr/bin/promtool
}

check_metrics() {
    "$VENV/bin/python" "$ROOT/tools/metrics_check.py" "$URL/metrics" ${PROMTOOL:+"$PROMTOOL"}
}

find_promtool
[ -x "$KYRODB" ] || build
make_work_dir
start_kyrodb "$WORK/data" --shards 2 --memory 512MiB

# Collections that requests can mean. What a body may have depends on them: see tools/schemathesis.toml.
create() {
    curl -sf -o /dev/null -X PUT -H 'content-type: application/json' -d "$2" "$URL/v1/collections/$1" ||
        fail "the collection $1 was not created"
}
create strings '{}'
create books '{"embedding": {"dim": 3, "metric": "l2"}}'

# What a scraper makes of the metrics, before and after.
check_metrics

bound=()
[ -z "$SECONDS_MAX" ] || bound=(--max-time "$SECONDS_MAX")
status=0
cd "$WORK"
export SCHEMATHESIS_HOOKS=$ROOT/tools/schemathesis_hooks.py
"$VENV/bin/schemathesis" --config-file "$ROOT/tools/schemathesis.toml" run "$URL/openapi.json" \
    --max-examples "$EXAMPLES" "${bound[@]}" --continue-on-failure ${SCHEMATHESIS_OPTIONS:-} || status=$?
cd "$ROOT"

kill -0 "$KYRODB_PID" 2>/dev/null || { cat "$WORK/data.log.err"; fail "the server ended"; }
for name in strings books; do
    curl -sf -o /dev/null "$URL/v1/collections/$name" || fail "the collection $name is gone: most requests were in vain"
done
check_metrics
exit "$status"
