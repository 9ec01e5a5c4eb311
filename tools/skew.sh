#!/usr/bin/env bash
# Skewed loads on a server of four shards: lognormal keys, then keys that always grow, then one tenant. The
# largest shard must come within 1.25 of the mean in a minute of each skew, with writers going on, 0 errors, and
# every acknowledged write must be there at the end.
# Usage: tools/skew.sh [SECONDS_A_PHASE=30] [WRITERS=4]
source "$(dirname "$0")/lib.sh"

seconds=${1:-30}
writers=${2:-4}

make_work_dir
build
machine
start_kyrodb "$WORK/data" --shards 4 --memory 1GiB
python3 "$ROOT/tools/skew.py" "$URL" "$seconds" "$writers" || fail "the shards did not get even, or writes failed"
python3 - "$URL" <<'PY'
import sys, urllib.request
wanted = ("kyrodb_range_change", "kyrodb_largest_shard", "kyrodb_turn_stalls")
text = urllib.request.urlopen(sys.argv[1] + "/metrics").read().decode()
print("\n".join(line for line in text.splitlines() if line.startswith(wanted)))
PY
stop "$KYRODB_PID"
