#!/usr/bin/env bash
# Checks the Terraform configuration without an account, a provider or a network, and installs what that needs.
#
#     terraform/test.sh
#
# Needs terraform 1.10 or newer, Python 3.11 and npm (for the packages with the providers' schemas). What is installed
# is kept in $CRIPTO_CACHE (default ~/.cache/cripto-prediction).
set -euo pipefail
cd "$(dirname "$0")"

CACHE=${CRIPTO_CACHE:-$HOME/.cache/cripto-prediction}
PYTHON=${PYTHON:-$(command -v python3.11 || command -v python3)}

say() { printf '\n== %s\n' "$*"; }
command -v terraform >/dev/null || {
    echo "missing: terraform, see https://developer.hashicorp.com/terraform/install" >&2
    exit 1
}

environment() { # environment NAME PIN...
    local name=$1 pins=${*:2} folder=$CACHE/venv/$1
    if [ "$(cat "$folder/pins" 2>/dev/null)" != "$pins" ]; then
        say "virtual environment $name: $pins"
        rm -rf "$folder"
        "$PYTHON" -m venv "$folder"
        # shellcheck disable=SC2086 # the pins are words
        "$folder/bin/pip" install --quiet --disable-pip-version-check $pins
        echo "$pins" >"$folder/pins"
    fi
}
environment terraform grpcio==1.85.1 grpcio-tools==1.85.1
environment checkov checkov==3.3.30

say "terraform fmt"
TF_CLI_CONFIG_FILE=/dev/null terraform fmt -check -diff -recursive .

say "terraform validate and test, with the providers' schemas"
(cd tests && SCHEMA_CACHE="$CACHE/terraform" "$CACHE/venv/terraform/bin/python" -m unittest --verbose test_configuration)

say "checkov"
"$CACHE/venv/checkov/bin/checkov" --directory . --framework terraform --skip-download --quiet --compact
