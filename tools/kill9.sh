#!/usr/bin/env bash
# kill -9 under concurrent writers at fsync, of values and of documents: lost and invented writes; exit 1 on any.
# Usage: tools/kill9.sh [ROUNDS=200] [WRITERS=32]
source "$(dirname "$0")/lib.sh"

cd "$ROOT"
KILL9_ROUNDS=${1:-200} KILL9_WRITERS=${2:-32} \
    run_tests 1 --release --test kill9 -- --nocapture no_acknowledged_write
KILL9_DOCUMENT_ROUNDS=${1:-200} \
    run_tests 1 --release --test kill9_documents -- --nocapture acknowledged_documents
