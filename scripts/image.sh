#!/usr/bin/env bash
# Builds the container image without a container engine, and runs the deployed system from it.
#
#     scripts/image.sh [FOLDER]
#
# FOLDER (default target/release) has the compiled programs `scorer` and `api`; they take the place of the Dockerfile's
# stage `binaries`, so nothing is compiled here. All other stages are those of the Dockerfile, built by buildah in a
# chroot. No registry is asked: the base image is made by debootstrap. Must run as root on Debian; what it installs and
# makes is kept in $CRIPTO_CACHE (default ~/.cache/cripto-prediction).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=environments.sh
. scripts/environments.sh

PROGRAMS=$(realpath "${1:-target/release}")
MOST_MEGABYTES=100
IMAGE=localhost/cripto-prediction:test
BASE=docker.io/library/debian:bookworm-slim

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "this needs root, for chroot"
for program in scorer api; do
    [ -x "$PROGRAMS/$program" ] || fail "$PROGRAMS/$program is missing; build it with: cargo build --release -p cripto-$program"
done
need buildah buildah
need debootstrap debootstrap
need strip binutils
need curl curl
need redis-server redis-server
need pgrep procps
need git git
environment ministack
emulator=$CACHE/venv/ministack/bin
# Sources that were unpacked from an archive have none.
REVISION=$(git rev-parse --verify HEAD 2>/dev/null || echo unknown)
CACHE=$CACHE/image

mkdir -p "$CACHE"
work=$(mktemp -d "$CACHE/run.XXXXXX")
container=
processes=()
# A storage of its own: nothing of another program's images is touched. vfs needs nothing of the kernel.
buildah() { command buildah --root "$CACHE/storage" --runroot "$CACHE/run" --storage-driver vfs "$@"; }
clean_up() {
    [ "${#processes[@]}" = 0 ] || kill -KILL "${processes[@]}" 2>/dev/null || true
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
build --build-context "binaries=$work/programs" --build-arg REVISION="$REVISION" --tag "$IMAGE"
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
variables=()
run() { # run PROGRAM [ARGUMENT...]
    # shellcheck disable=SC2016 # expanded by the inner shell
    exec unshare --mount --pid --fork --kill-child sh -c '
        root=$1; shift
        mount --bind -o ro "$root" "$root" && mount -o remount,bind,ro "$root" && cd "$root" || exit 125
        ! touch "$root/tmp/written" 2>/dev/null || exit 125
        exec setpriv --no-new-privs env --ignore-environment SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "$@"' sh "$root" \
        "${variables[@]}" /usr/sbin/chroot --userspec=65532:65532 "$root" "$@"
}
wait_for() { # wait_for PROCESS LOG COMMAND...
    for _ in $(seq 300); do
        "${@:3}" >/dev/null 2>&1 && return
        kill -0 "$1" 2>/dev/null || fail "it ended: $(cat "$2")"
        sleep 0.1
    done
    fail "not within 30 s: ${*:3}: $(tail -n 20 "$2")"
}

for program in scorer api; do
    say "$program --help"
    (run "/usr/local/bin/$program" --help) >"$work/help" 2>&1 || fail "$program --help: $(cat "$work/help")"
    grep -qi usage "$work/help" || fail "$program --help does not say how it is used: $(cat "$work/help")"
    head -n 3 "$work/help"
done
# The same through the engine, which takes the user and the path from the image's configuration.
buildah run --isolation chroot "$container" -- /usr/local/bin/scorer --version

say "the system from the image: an emulator of S3 and SQS, Redis, worker, api, backfill"
read -r s3 redis port metrics < <("$emulator/python" -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
print(*(one.getsockname()[1] for one in sockets))')
BIND_HOST=127.0.0.1 GATEWAY_PORT=$s3 SERVICES=s3,sqs,sts "$emulator/ministack" >"$work/ministack" 2>&1 &
processes+=($!)
wait_for $! "$work/ministack" curl --silent --fail "http://127.0.0.1:$s3/_ministack/health"
redis-server --bind 127.0.0.1 --port "$redis" --save '' --dir "$work" >"$work/redis" 2>&1 &
processes+=($!)
wait_for $! "$work/redis" redis-cli -p "$redis" ping

bucket=http://127.0.0.1:$s3/criptos-data
ask() { curl --silent --show-error --fail "$@" >/dev/null; }
ask --request PUT "$bucket"
ask "http://127.0.0.1:$s3/?Action=CreateQueue&QueueName=eventos"
ask --request PUT "$bucket?notification" --data-binary '
    <NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><QueueConfiguration>
    <Id>eventos</Id><Queue>arn:aws:sqs:us-east-1:000000000000:eventos</Queue>
    <Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event>
    </QueueConfiguration></NotificationConfiguration>'

# Who they are they tell AWS as in EKS: with the token of a service account, for which STS
# gives keys; there are no others.
token=/var/run/secrets/eks.amazonaws.com/serviceaccount/token
mkdir -p "$root${token%/*}"
echo token >"$root$token"
variables=(
    "AWS_ENDPOINT_URL=http://127.0.0.1:$s3" AWS_DEFAULT_REGION=us-east-1
    AWS_ROLE_ARN=arn:aws:iam::000000000000:role/scorer "AWS_WEB_IDENTITY_TOKEN_FILE=$token"
    BUCKET_NAME=criptos-data "QUEUE_URL=http://127.0.0.1:$s3/000000000000/eventos" "REDIS_URL=redis://127.0.0.1:$redis"
    HOST=127.0.0.1 "PORT=$port" METRICS_HOST=127.0.0.1 "METRICS_PORT=$metrics"
)
(run /usr/local/bin/scorer worker) >"$work/worker" 2>&1 &
worker=$!
(run /usr/local/bin/api) >"$work/api" 2>&1 &
api=$!
processes+=("$worker" "$api")
wait_for "$api" "$work/api" curl --silent --fail "http://127.0.0.1:$port/health/live"
wait_for "$worker" "$work/worker" curl --silent --fail "http://127.0.0.1:$metrics/health/live"
(cd sample/bucket && find . -type f -printf '%P\n') | while read -r key; do ask --upload-file "sample/bucket/$key" "$bucket/$key"; done

# Every answer is held against scikit-learn's.
cat >"$work/check.py" <<'END'
import json, sys, urllib.request

expected = json.load(open("sample/expected.json"))["predictions"]
for asset, models in expected.items():
    answer = json.load(urllib.request.urlopen(f"{sys.argv[1]}/symbol/{asset}", timeout=5))
    assert set(answer["modelos"]) == set(models), (asset, answer)
    for model, numbers in models.items():
        for name, number in numbers.items():
            assert abs(answer["modelos"][model][name] - number) <= 1e-9 * abs(number), (asset, model, answer)
END
wait_for "$worker" "$work/worker" "$emulator/python" "$work/check.py" "http://127.0.0.1:$port"
curl --silent --fail "http://127.0.0.1:$port/symbol/BTC"
echo
(run /usr/local/bin/scorer backfill --from 2025-07-20 --to 2025-07-29) >"$work/backfill" 2>&1 || fail "backfill: $(cat "$work/backfill")"
curl --silent --fail "http://127.0.0.1:$port/models/regressor_rf" | grep -q '"mae":' || fail "no metrics: $(cat "$work/backfill")"

say "until SIGTERM"
for program in scorer api; do
    case $program in scorer) shell=$worker log=$work/worker ;; api) shell=$api log=$work/api ;; esac
    process=$(pgrep --parent "$shell" | head -n 1)
    [ "$(readlink "/proc/$process/exe")" = "$root/usr/local/bin/$program" ] || fail "process 1 is $(readlink "/proc/$process/exe"), not $program"
    grep -q '^Uid:[[:space:]]*65532[[:space:]]*65532' "/proc/$process/status" || fail "$program runs as $(grep '^Uid' "/proc/$process/status")"
    grep -q '^NSpid:.*[[:space:]]1$' "/proc/$process/status" || fail "$program is not process 1: $(grep '^NSpid' "/proc/$process/status")"
    started=$(date +%s%N)
    kill -TERM "$process"
    status=0
    wait "$shell" || status=$?
    [ "$status" = 0 ] || fail "after SIGTERM $program ended with $status: $(cat "$log")"
    echo "$program: SIGTERM ended process 1 in $((($(date +%s%N) - started) / 1000000)) ms, exit code 0"
done
say "the image works"
