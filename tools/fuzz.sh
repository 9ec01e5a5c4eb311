#!/usr/bin/env bash
# Runs every fuzz target, all of them together for a number of seconds, builds not counted.
# Usage: tools/fuzz.sh [SECONDS=300]
# Each begins with fuzz/seeds/<target>/, and what it finds is kept in fuzz/corpus/<target>/, which is not checked in; some
# have a dictionary.
# A short run (less than 600 s) is built by the stable toolchain, for panics, assertions and hangs: libFuzzer with the
# coverage passes of LLVM, as cargo-fuzz asks for them. A longer one has the address sanitizer too, and needs a nightly
# toolchain and cargo-fuzz; it skips where they are missing.
source "$(dirname "$0")/lib.sh"

BUDGET=${1:-300}
cd "$ROOT"
mapfile -t targets < <(sed -n 's/^path = "fuzz_targets\/\(.*\)\.rs"/\1/p' fuzz/Cargo.toml)
[ "${#targets[@]}" -gt 0 ] || fail "no fuzz target"
share=$((BUDGET / ${#targets[@]}))
# Of itself libFuzzer ends with 77 at a crash, which is what a tool ends with that skips.
options=(-error_exitcode=1 -timeout_exitcode=1 -max_total_time="$share" -max_len=16384 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1)

# What is special to a target: sets `corpora`, the one that is written to first, and `own`, its options.
prepare() {
    corpora=("fuzz/corpus/$1" "fuzz/seeds/$1") own=()
    [ -n "$(ls "fuzz/seeds/$1")" ] || fail "$1 has no seeds"
    [ ! -f "fuzz/dictionaries/$1.dict" ] || own=(-dict="fuzz/dictionaries/$1.dict")
    mkdir -p "fuzz/corpus/$1" "fuzz/artifacts/$1"
}

if [ "$BUDGET" -ge 600 ]; then
    cargo +nightly --version >/dev/null 2>&1 || skip "no nightly toolchain"
    cargo +nightly fuzz --version >/dev/null 2>&1 || skip "cargo-fuzz is not installed"
    cargo +nightly fuzz build
    for target in "${targets[@]}"; do
        echo "fuzzing $target for $share s"
        prepare "$target"
        cargo +nightly fuzz run "$target" "${corpora[@]}" -- "${options[@]}" "${own[@]}"
    done
    exit
fi

host=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Cpasses=sancov-module"
for part in level=4 inline-8bit-counters pc-table trace-compares; do
    flags="$flags -Cllvm-args=-sanitizer-coverage-$part"
done
# For the host by name: what runs while building is not instrumented then. Little is made of the code: it is run briefly.
RUSTFLAGS="$flags" CARGO_TARGET_DIR="$ROOT/fuzz/target" CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
    CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true \
    cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host"
for target in "${targets[@]}"; do
    echo "fuzzing $target for $share s"
    prepare "$target"
    "fuzz/target/$host/release/$target" "${options[@]}" "${own[@]}" -artifact_prefix="fuzz/artifacts/$target/" \
        "${corpora[@]}"
done
