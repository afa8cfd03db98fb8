#!/usr/bin/env bash
# Drives a daemon with the unmodified Azure SDK for Python and with a fuzzer made from the OpenAPI document.
#
#   scripts/sdk.sh [FILTER]      FILTER: a part of a test's name
#
# OLDER=all drives it with every line of tests/sdk/older.txt, else with the first alone: each takes a minute to install.
# Makes two Python virtual environments below target/ the first time: az wants versions of its own.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

# older_packages ENVIRONMENT DIRECTORY PACKAGES: packages beside those of an environment, which has what they need.
older_packages() {
  [[ $(cat "$2/installed.txt" 2>/dev/null) == "$3" ]] && return
  rm -rf "$2"
  # shellcheck disable=SC2086
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$2" $3
  echo "$3" >"$2/installed.txt"
}

main() {
  need python3=python3 ip=iproute2 curl=curl
  local target=${CARGO_TARGET_DIR:-$PWD/target}
  python_environment "$target/sdk" tests/sdk/requirements.txt
  python_environment "$target/az" tests/sdk/az.txt
  local lines directories=() number=0 line
  lines=$(if [[ ${OLDER:-} == all ]]; then cat tests/sdk/older.txt; else head -1 tests/sdk/older.txt; fi)
  while read -r line; do
    number=$((number + 1))
    older_packages "$target/sdk" "$target/sdk-older-$number" "$line"
    directories+=("$target/sdk-older-$number")
  done <<<"$lines"
  PRIVLINK_SDK_PYTHON=$target/sdk/bin/python PRIVLINK_AZ=$target/az/bin/az PRIVLINK_SDK_OLDER="${directories[*]}" \
    PRIVLINK_TESTS=${PRIVLINK_TESTS:-netns} cargo test --locked --test netns "sdk::${1:-}" -- --ignored
}

main "$@"
