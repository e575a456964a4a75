#!/usr/bin/env bash
# Measures backfills on one machine: rows scored per second and core, two processes beside one, writing to S3, memory.
#
#     bench/backfill.sh [--copies N] [--rounds N]
#
# Needs `redis-server`, `taskset`, and the bucket that `bench/run.sh` makes in ${CRIPTO_CACHE:-~/.cache/cripto-prediction}.
# bench/README.md has the method.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=../scripts/environments.sh
. scripts/environments.sh
environment ministack
cargo build --release --quiet -p cripto-scorer
exec "$PYTHON" bench/backfill.py --programs "${CARGO_TARGET_DIR:-target}/release" \
    --ministack "$CACHE/venv/ministack/bin/ministack" --corpus "$CACHE/bench-corpus" "$@"
