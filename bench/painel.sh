#!/usr/bin/env bash
# Measures how quick the dashboard is, in headless Chromium on a release build over the loopback, and prints tables.
#
#     bench/painel.sh
#
# Needs Chromium and a machine that does nothing else. bench/README.md has the method.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
CRIPTO_REQUIRE_BROWSER=1 exec cargo test --release --quiet -p cripto-api --test http \
    painel::speed::measured -- --ignored --exact --nocapture
