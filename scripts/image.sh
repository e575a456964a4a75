#!/usr/bin/env bash
# Builds the container image without a container engine, and runs both programs from it.
#
#     scripts/image.sh [FOLDER]
#
# FOLDER (default target/release) has the compiled programs `scorer` and `api`; they take the place of the Dockerfile's
# stage `binaries`, so nothing is compiled here. All other stages are those of the Dockerfile, built by buildah in a
# chroot. No registry is asked: the base image is made by debootstrap. Must run as root on Debian; what it installs and
# makes is kept in $CRIPTO_CACHE (default ~/.cache/cripto-prediction).
set -euo pipefail
cd "$(dirname "$0")/.."

PROGRAMS=$(realpath "${1:-target/release}")
CACHE=${CRIPTO_CACHE:-$HOME/.cache/cripto-prediction}/image
MOST_MEGABYTES=100
IMAGE=localhost/cripto-prediction:test
BASE=docker.io/library/debian:bookworm-slim

say() { printf '\n== %s\n' "$*"; }
fail() {
    echo "FAILED: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "this needs root, for chroot"
for program in scorer api; do
    [ -x "$PROGRAMS/$program" ] || fail "$PROGRAMS/$program is missing; build it with: cargo build --release --bin $program"
done
if ! { command -v buildah && command -v debootstrap && command -v strip && command -v curl; } >/dev/null; then
    say "installing buildah, debootstrap, binutils, curl"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends buildah debootstrap binutils curl >/dev/null
fi

mkdir -p "$CACHE"
work=$(mktemp -d "$CACHE/run.XXXXXX")
container=
process=
# A storage of its own: nothing of another program's images is touched. vfs needs nothing of the kernel.
buildah() { command buildah --root "$CACHE/storage" --runroot "$CACHE/run" --storage-driver vfs "$@"; }
clean_up() {
    [ -z "$process" ] || kill -KILL "$process" 2>/dev/null || true
    [ -z "$container" ] || buildah rm "$container" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT

if ! buildah inspect --type image "$BASE" >/dev/null 2>&1; then
    say "making the base image"
    debootstrap --variant=minbase bookworm "$work/base" >"$work/debootstrap.log" || fail "debootstrap: $(tail -n 5 "$work/debootstrap.log")"
    rm -rf "$work"/base/var/cache/apt/* "$work"/base/var/lib/apt/lists/* "$work"/base/usr/share/{doc,man,locale}/*/*.gz
    base=$(buildah from scratch)
    buildah add --quiet "$base" "$work/base" / >/dev/null
    buildah commit --quiet --rm "$base" "$BASE" >/dev/null
    rm -rf "$work/base"
fi

say "building the image"
mkdir "$work/programs"
for program in scorer api; do strip -o "$work/programs/$program" "$PROGRAMS/$program"; done
build() { # build [OPTION...]
    buildah bud --quiet --layers --isolation chroot --network host --pull-never --format docker "$@" . >/dev/null
}
# Named, so that the stage outlives the pruning below.
build --target certificates --tag localhost/cripto-prediction:certificates
build --build-context "binaries=$work/programs" --build-arg REVISION="$(git rev-parse HEAD)" --tag "$IMAGE"
# The image and the layers of the run before have lost their names by now.
buildah rmi --prune >/dev/null

say "what is in it"
configuration=$(buildah inspect --type image --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Cmd}} {{.OCIv1.Config.Entrypoint}}' "$IMAGE")
[ "$configuration" = "65532:65532 [/usr/local/bin/api] []" ] || fail "user and command are: $configuration"
for label in title description licenses version revision; do
    [ -n "$(buildah inspect --type image --format "{{index .OCIv1.Config.Labels \"org.opencontainers.image.$label\"}}" "$IMAGE")" ] ||
        fail "the label $label is missing"
done
container=$(buildah from --pull-never "$IMAGE")
root=$(buildah mount "$container")
megabytes=$(du --summarize --block-size=1000000 --apparent-size "$root" | cut -f 1)
[ "$megabytes" -lt "$MOST_MEGABYTES" ] || fail "the image has $megabytes MB; it may have $MOST_MEGABYTES"
unexpected=$(find "$root" \( -type f -o -type l \) -printf '/%P\n' | grep --extended-regexp --invert-match \
    '^/(lib[^/]*/|usr/lib/|usr/local/bin/(scorer|api)$|etc/(ssl/certs/ca-certificates.crt|nsswitch.conf|passwd|group)$|usr/share/doc/libc6/)' || true)
[ -z "$unexpected" ] || fail "these files are not needed: $unexpected"
for path in /bin/sh /usr/bin/sh /bin/bash; do [ ! -e "$root$path" ] || fail "the image has a shell: $path"; done
echo "$megabytes MB, user 65532, $(find "$root" -type f | wc -l) files, no shell"

# As Kubernetes runs it: the root file system read-only, the user numeric and without privileges, the program process 1.
run() { # run PROGRAM [ARGUMENT...]
    # shellcheck disable=SC2016 # expanded by the inner shell
    exec unshare --mount --pid --fork --kill-child sh -c '
        root=$1; shift
        mount --bind -o ro "$root" "$root" && mount -o remount,bind,ro "$root" && cd "$root" || exit 125
        ! touch "$root/tmp/written" 2>/dev/null || exit 125
        exec setpriv --no-new-privs env --ignore-environment SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt HOST=127.0.0.1 PORT="$PORT" \
            /usr/sbin/chroot --userspec=65532:65532 "$root" "$@"' sh "$root" "$@"
}
export PORT=${PORT:-18080}

for program in scorer api; do
    say "$program --help"
    (run "/usr/local/bin/$program" --help) >"$work/help" 2>&1 || fail "$program --help: $(cat "$work/help")"
    grep -qi usage "$work/help" || fail "$program --help does not say how it is used: $(cat "$work/help")"
    head -n 3 "$work/help"
done
# The same through the engine, which takes the user and the path from the image's configuration.
buildah run --isolation chroot "$container" -- /usr/local/bin/scorer --version

say "api, until SIGTERM"
(run /usr/local/bin/api) >"$work/log" 2>&1 &
process=$!
for _ in $(seq 100); do
    curl --silent --fail "http://127.0.0.1:$PORT/health/live" >"$work/live" && break
    kill -0 "$process" 2>/dev/null || fail "api ended: $(cat "$work/log")"
    sleep 0.1
done
[ -s "$work/live" ] || fail "/health/live does not answer: $(cat "$work/log")"
cat "$work/live"
echo
api=$(pgrep --parent "$process" | head -n 1)
[ "$(readlink "/proc/$api/exe")" = "$root/usr/local/bin/api" ] || fail "process 1 is $(readlink "/proc/$api/exe"), not api"
grep -q '^Uid:[[:space:]]*65532[[:space:]]*65532' "/proc/$api/status" || fail "api runs as $(grep '^Uid' "/proc/$api/status")"
grep -q '^NSpid:.*[[:space:]]1$' "/proc/$api/status" || fail "api is not process 1: $(grep '^NSpid' "/proc/$api/status")"
started=$(date +%s%N)
kill -TERM "$api"
status=0
wait "$process" || status=$?
process=
[ "$status" = 0 ] || fail "after SIGTERM api ended with $status: $(cat "$work/log")"
echo "SIGTERM ended process 1 in $((($(date +%s%N) - started) / 1000000)) ms, exit code 0"
say "the image works"
