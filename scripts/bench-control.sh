#!/usr/bin/env bash
# How long a revocation takes while others keep the control plane busy: `reject` among many endpoints, by a root that asks
# over the control socket and by a token that asks over an open connection of the API.
#
#   scripts/bench-control.sh [--endpoints N] [--rejects N] [--only A,B] [--no-build]
#
# Beside nothing, and beside each of: connections, slow bodies and idle TLS handshakes by the thousand, big documents, lists
# asked for again and again by users without rights, and creations by somebody who may. Writes target/bench/control.json, and
# fails where the 99th percentile is above 50 ms. PRIVLINK_BIN names a daemon built elsewhere.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab.sh
. scripts/lab.sh
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

BUILD=yes
TARGET=${CARGO_TARGET_DIR:-target}
OUT=$TARGET/bench

main() {
  local arguments=("$@") passed=()
  while (($#)); do
    case $1 in
      --endpoints | --rejects | --only) passed+=("$1" "${2:?$1 needs a value}") && shift ;;
      --no-build) BUILD=no ;;
      *) sed -n '2,9s/^# \{0,1\}//p' "$0" && exit 64 ;;
    esac
    shift
  done
  if [[ ${PRIVLINK_LAB:-} != inside ]]; then
    need ip=iproute2 python3=python3 || exit 69
    mkdir -p "$OUT"
    [[ $BUILD == no || -n ${PRIVLINK_BIN:-} ]] || cargo build --release --quiet --locked --bin privlink --example lab
  fi
  lab_enter "$0" "${arguments[@]}"
  lab_build <<<"router spoke core"
  ulimit -n "$(ulimit -Hn)"
  "$LAB_PYTHON" scripts/bench/control.py "$(realpath "${PRIVLINK_BIN:-$TARGET/release/privlink}")" "$OUT" "${passed[@]}"
}

main "$@"
