#!/usr/bin/env bash
# Measures this project against its Python peers and prints a table.
#
#     bench/run.sh [--bucket DIR | --raw RAW_CSV] [--quick] [--only load|score|api]...
#
# Without --bucket the models are trained first (some minutes, once), on the real candles of RAW_CSV or else on
# synthetic ones. Everything that is made is kept in ${CRIPTO_CACHE:-~/.cache/cripto-prediction}; a bucket that is
# named is only read. bench/README.md has the method.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CRIPTO_CACHE:-$HOME/.cache/cripto-prediction}
venv=$cache/venv/bench
# Settings of one machine that would slow NumPy down.
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

bucket= raw= others=()
while (($#)); do
    case $1 in
        --bucket) bucket=${2:?--bucket needs a folder}; shift 2 ;;
        --raw) raw=${2:?--raw needs a file}; shift 2 ;;
        -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit ;;
        *) others+=("$1"); shift ;;
    esac
done

if [[ ! -e $venv/installed || $here/requirements.txt -nt $venv/installed ]]; then
    [[ -x $venv/bin/python ]] || "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    touch "$venv/installed"
fi
if ! command -v wrk >/dev/null && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq wrk >/dev/null || true
fi

if [[ -n $bucket ]]; then
    bucket=$(cd "$bucket" && pwd)
    work=$cache/bench-work/$(basename "$bucket")-$(printf %s "$bucket" | cksum | cut -d' ' -f1)
else
    bucket=$cache/bench-corpus
    work=$bucket/bench
    if [[ -n $raw && -e $bucket/raw.csv ]] && ! cmp -s "$raw" "$bucket/raw.csv"; then
        echo "$bucket was made from other candles than $raw: remove it first" >&2
        exit 1
    fi
    "$venv/bin/python" "$here/make_corpus.py" --out "$bucket" ${raw:+--raw "$raw"}
fi

(cd "$here/.." && cargo build --release --quiet -p cripto-bench)
target=${CARGO_TARGET_DIR:-$here/../target}
exec "$venv/bin/python" "$here/compare.py" --bucket "$bucket" --work "$work" \
    --ours "$target/release/cripto-bench" "${others[@]}"
