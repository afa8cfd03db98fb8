#!/usr/bin/env bash
# Sends packets by hand through a daemon between two hosts made of raw sockets, IPv4, IPv6 and across: every case
# names the requirements it shows.
#
#   scripts/conformance.sh [--all | --sample] [NAME...]   NAME: a requirement (G-3), or a part of a case's name
#
#   --sample   each case with one of the four pairs of families, in turn, instead of all
#
# Needs root or user namespaces; everything stands in namespaces of its own (see scripts/lab.sh). Makes a Python
# virtual environment below target/ the first time. PRIVLINK_BIN names another binary.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/.."
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh
# shellcheck source=lab.sh
. scripts/lab.sh

main() {
  local target=${CARGO_TARGET_DIR:-$PWD/target}
  if [[ ${PRIVLINK_LAB:-} != inside ]]; then
    need python3=python3 ip=iproute2 ethtool=ethtool sysctl=procps
    python_environment "$target/conformance" tests/wire/requirements.txt
    if [[ -z ${PRIVLINK_BIN:-} ]]; then
      cargo build --locked --bin privlink --example lab
      export PRIVLINK_BIN=$target/debug/privlink
    fi
  fi
  lab_enter "$HERE/conformance.sh" "$@"
  exec "$target/conformance/bin/python" tests/wire/run.py "$PRIVLINK_BIN" "$@"
}

main "$@"
