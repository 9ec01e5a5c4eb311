#!/usr/bin/env bash
# Runs every fuzz target, all of them together within a budget of seconds. Skips where there is no
# nightly toolchain, no cargo-fuzz or no target.
# Usage: tools/fuzz.sh [SECONDS=300]
source "$(dirname "$0")/lib.sh"

BUDGET=${1:-300}
cd "$ROOT"
[ -f fuzz/Cargo.toml ] || skip "there is no fuzz/Cargo.toml"
cargo +nightly --version >/dev/null 2>&1 || skip "no nightly toolchain"
cargo +nightly fuzz --version >/dev/null 2>&1 || skip "cargo-fuzz is not installed"
mapfile -t targets < <(cargo +nightly fuzz list)
[ "${#targets[@]}" -gt 0 ] || skip "no fuzz target"

deadline=$((SECONDS + BUDGET))
for at in "${!targets[@]}"; do
    cargo +nightly fuzz build "${targets[$at]}"
    # What is left, shared by the targets that are left.
    share=$(((deadline - SECONDS) / (${#targets[@]} - at)))
    [ "$share" -gt 0 ] || fail "the budget of $BUDGET s went into building"
    echo "fuzzing ${targets[$at]} for $share s"
    cargo +nightly fuzz run "${targets[$at]}" -- -max_total_time="$share" -rss_limit_mb=2048
done
