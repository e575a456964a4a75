#!/usr/bin/env bash
# Measures the deployed system on one machine: uploads, requests while generations change, publication in Redis.
#
#     bench/deployed.sh [upload] [swap] [publish]
#
# Needs `redis-server` and `wrk`, and the bucket that `bench/run.sh` makes in ${CRIPTO_CACHE:-~/.cache/cripto-prediction}.
# bench/README.md has the method.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CRIPTO_CACHE:-$HOME/.cache/cripto-prediction}
venv=$cache/venv/ministack
if [[ ! -x $venv/bin/ministack ]]; then
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check ministack==1.5.33
    echo ministack==1.5.33 >"$venv/pins"
fi
(($#)) || set -- upload swap publish
cd "$here/.."
cargo build --release --quiet -p cripto-scorer -p cripto-api -p cripto-bench
programs=${CARGO_TARGET_DIR:-target}/release
for what in "$@"; do
    case $what in
        publish)
            cargo run --release --quiet -p cripto-redis-store --features testing --example publish -- 28 20000 1000000 ;;
        *)
            python3 bench/deployed.py "$what" --programs "$programs" --ministack "$venv/bin/ministack" \
                --corpus "$cache/bench-corpus" ;;
    esac
done
