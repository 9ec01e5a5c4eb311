#!/usr/bin/env bash
# Runs the tests of the learned index under Miri, which has no vector instructions: the scalar paths.
# Sizes shrink under cfg(miri). Skips where there is no nightly toolchain with Miri.
# Usage: tools/miri.sh [FILTER=rmi::]
source "$(dirname "$0")/lib.sh"

cd "$ROOT"
cargo +nightly --version >/dev/null 2>&1 || skip "no nightly toolchain"
cargo +nightly miri --version >/dev/null 2>&1 || skip "Miri is not installed (rustup +nightly component add miri)"

# Isolation off: proptest asks for the working directory.
export MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}"
# The benchmark command has the name too, and asks the system for clocks and files.
cargo +nightly miri test --lib -- "${1:-rmi::}" --skip cli::
