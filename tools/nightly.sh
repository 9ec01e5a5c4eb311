#!/usr/bin/env bash
# The simulated node under many seeds: few crash points of each workload, and histories of concurrent clients. Exit 1
# on any loss; the output then names the seed and how to run it again.
# Usage: tools/nightly.sh [SEEDS=100000] [FIRST_SEED=1]    (100,000 seeds are a night; CI takes 200)
source "$(dirname "$0")/lib.sh"

SEEDS=${1:-100000}
FIRST=${2:-1}
cd "$ROOT"
echo "crash points of $SEEDS workloads from seed $FIRST on, one point in 40"
CRASH_SEED=$FIRST CRASH_WORKLOADS=$SEEDS CRASH_EVERY=40 \
    run_tests 2 --test sim_crash point_recovers -- --nocapture
echo "histories of $SEEDS seeds"
LINEAR_FIRST=$FIRST LINEAR_SEEDS=$SEEDS run_tests 1 --test sim_linear histories -- --nocapture
