#!/usr/bin/env bash
# How fast, and compared with what people use today: one command, from nothing to a report.
#
#   scripts/bench.sh [--quick] [--no-criterion] [--no-profile] [--no-install] [--rounds N] [--seconds S]
#                    [--loads A,B] [--contenders A,B] [--no-idle]
#
#   --quick   fewer loads, three rounds of one second, no criterion: within five minutes once built
#
# Installs what it compares with (Debian or Ubuntu; a peer that is not there is said to be absent), builds a
# release, and makes a lab of its own (scripts/lab.sh): a client, a backend and one middle per contender. Every load
# visits the contenders in turn, A B C A B C, and ratios are taken pair by pair within a round. Writes report.json,
# report.md and plots (SVG) under target/bench/. A full run takes less than 40 minutes on two cores.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab.sh
. scripts/lab.sh
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

TARGET=${CARGO_TARGET_DIR:-target}
OUT=$TARGET/bench
CRITERION=yes

main() {
  local arguments=("$@") passed=() criterion=$OUT/none
  while (($#)); do
    case $1 in
      --quick) CRITERION=no && passed+=("$1") ;;
      --no-criterion) CRITERION=no ;;
      --no-install) export INSTALL=no ;;
      --no-idle | --no-profile) passed+=("$1") ;;
      --rounds | --seconds | --loads | --contenders) passed+=("$1" "${2:?$1 needs a value}") && shift ;;
      *) sed -n '2,15s/^# \{0,1\}//p' "$0" && exit 64 ;;
    esac
    shift
  done
  if [[ ${PRIVLINK_LAB:-} != inside ]]; then prepare_outside; fi
  lab_enter "$0" "${arguments[@]}"

  "$LAB_PYTHON" scripts/bench/run.py "$TARGET/release" "$OUT" "${passed[@]}"
  # Without criterion in this run, figures of an earlier one are none of its report.
  if [[ $CRITERION == yes ]]; then criterion=$TARGET/criterion; fi
  "$LAB_PYTHON" scripts/bench/report.py "$OUT" "$criterion"
}

prepare_outside() {
  PATH=$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin
  need cc=gcc ip=iproute2 nsenter=util-linux sysctl=procps python3=python3 || exit 69
  [[ -c /dev/net/tun ]] || lab_die "no /dev/net/tun: load the module (modprobe tun), or give the container the device"
  # A peer that cannot be installed does not stop the others: the report says that it is absent.
  local peer
  for peer in nft=nftables haproxy=haproxy nginx=nginx socat=socat tayga=tayga strace=strace perf=linux-perf; do
    need "$peer" || true
  done
  [[ -e /usr/lib/nginx/modules/ngx_stream_module.so || ${INSTALL:-yes} == no ]] || ((EUID != 0)) ||
    without_services apt_install libnginx-mod-stream || true
  mkdir -p "$OUT"
  echo "building (cargo build --release)"
  cargo build --release --quiet --locked --bin privlink --examples
  rm -rf "$OUT/runs.json"
  if [[ $CRITERION == yes ]]; then
    rm -rf "$TARGET/criterion"
    cargo bench --locked --bench packet_path --bench lookup --bench tables
  fi
}

main "$@"
