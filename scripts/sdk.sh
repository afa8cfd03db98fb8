#!/usr/bin/env bash
# Drives a daemon with the unmodified Azure SDK for Python and with a fuzzer made from the OpenAPI document.
#
#   scripts/sdk.sh [FILTER]      FILTER: a part of a test's name
#
# Makes a Python virtual environment in target/sdk the first time.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

main() {
  need python3=python3 ip=iproute2 curl=curl
  local sdk=${CARGO_TARGET_DIR:-$PWD/target}/sdk
  if ! cmp -s tests/sdk/requirements.txt "$sdk/installed.txt"; then
    rm -rf "$sdk"
    make_environment "$sdk"
    "$sdk/bin/python" -m pip install --quiet --disable-pip-version-check -r tests/sdk/requirements.txt
    cp tests/sdk/requirements.txt "$sdk/installed.txt"
  fi
  PRIVLINK_SDK_PYTHON=$sdk/bin/python cargo test --locked --test netns "sdk::${1:-}" -- --ignored
}

# Debian keeps the module that makes environments in a package of its own.
make_environment() {
  python3 -c 'import ensurepip' 2>/dev/null || without_services apt_install python3-venv
  python3 -m venv "$1"
}

main "$@"
