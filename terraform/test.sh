#!/usr/bin/env bash
# Checks the Terraform configuration without an account, a provider or a network, and installs what that needs.
#
#     terraform/test.sh
#
# Needs terraform 1.10 or newer, Python 3.11 and npm (for the packages with the providers' schemas). What is installed
# is kept in $CRIPTO_CACHE (default ~/.cache/cripto-prediction).
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../scripts/environments.sh
. ../scripts/environments.sh

command -v terraform >/dev/null || {
    echo "missing: terraform, see https://developer.hashicorp.com/terraform/install" >&2
    exit 1
}

environment terraform grpcio==1.85.1 grpcio-tools==1.85.1
environment checkov checkov==3.3.30

say "terraform fmt"
TF_CLI_CONFIG_FILE=/dev/null terraform fmt -check -diff -recursive .

say "terraform validate and test, with the providers' schemas"
(cd tests && SCHEMA_CACHE="$CACHE/terraform" "$CACHE/venv/terraform/bin/python" -m unittest --verbose test_configuration)

say "checkov"
"$CACHE/venv/checkov/bin/checkov" --directory . --framework terraform --skip-download --quiet --compact
