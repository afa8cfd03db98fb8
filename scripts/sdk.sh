#!/usr/bin/env bash
# Drives a daemon with the unmodified Azure SDK for Python and with a fuzzer made from the OpenAPI document.
#
#   scripts/sdk.sh [FILTER]      FILTER: a part of a test's name
#
# Makes two Python virtual environments below target/ the first time: az wants versions of its own.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

main() {
  need python3=python3 ip=iproute2 curl=curl
  local target=${CARGO_TARGET_DIR:-$PWD/target}
  python_environment "$target/sdk" tests/sdk/requirements.txt
  python_environment "$target/az" tests/sdk/az.txt
  PRIVLINK_SDK_PYTHON=$target/sdk/bin/python PRIVLINK_AZ=$target/az/bin/az \
    cargo test --locked --test netns "sdk::${1:-}" -- --ignored
}

main "$@"
