#!/usr/bin/env bash
# Runs every fuzz target, all of them together for a number of seconds, builds not counted. Skips where there is no
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

# A short run is over sooner when less is made of the code.
[ "$BUDGET" -ge 600 ] || export CARGO_PROFILE_RELEASE_OPT_LEVEL=1
cargo +nightly fuzz build
share=$((BUDGET / ${#targets[@]}))
for target in "${targets[@]}"; do
    echo "fuzzing $target for $share s"
    cargo +nightly fuzz run "$target" -- -max_total_time="$share" -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1
done
