#!/usr/bin/env bash
# How fast: criterion's benches, then bulk TCP through the lab, side by side with two peers.
#
#   scripts/bench.sh [--rounds N] [--seconds N] [--no-criterion] [--no-install]
#
# The peers are examples/tun_plain.rs (a TUN forwarder without offload) and examples/tun_bare.rs
# (super-packets whole, one fixed rewrite, no policy, no table). All run in turns, A B C A B C, in one
# set of namespaces; the ratios are taken pair by pair within a round. Writes target/bench/report.json
# and target/bench/report.md. PRIVLINK_BIN names a daemon built elsewhere.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab.sh
. scripts/lab.sh
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

ROUNDS=5
SECONDS_EACH=2
CRITERION=yes
TARGET=${CARGO_TARGET_DIR:-target}
OUT=$TARGET/bench

main() {
  local arguments=("$@")
  while (($#)); do
    case $1 in
      --rounds) ROUNDS=$2 && shift ;;
      --seconds) SECONDS_EACH=$2 && shift ;;
      --no-criterion) CRITERION=no ;;
      --no-install) export INSTALL=no ;;
      *) sed -n '2,9s/^# \{0,1\}//p' "$0" && exit 64 ;;
    esac
    shift
  done
  if [[ ${PRIVLINK_LAB:-} != inside ]]; then
    prepare_outside
  fi
  lab_enter "$0" "${arguments[@]}"
  run_inside
  "$LAB_PYTHON" scripts/lab/report.py "$OUT" "$TARGET/criterion"
}

prepare_outside() {
  need ip=iproute2 iperf3=iperf3 python3=python3 || exit 69
  [[ -c /dev/net/tun ]] || lab_die "no /dev/net/tun: load the module (modprobe tun), or give the container the device"
  mkdir -p "$OUT"
  echo "building (cargo build --release)"
  cargo build --release --quiet --bins --examples
  if [[ $CRITERION == yes && -d benches ]]; then
    rm -rf "$TARGET/criterion"
    cargo bench
  fi
}

run_inside() {
  local privlink=${PRIVLINK_BIN:-$TARGET/release/privlink} contenders=(plain bare)
  PRIVLINK=$(realpath "$privlink")
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  if "$PRIVLINK" run --help 2>/dev/null | grep -q -- --config; then
    contenders+=(privlink)
  else
    echo "this build of privlink cannot run yet: the peers alone"
  fi
  lab_router spoke core
  lab_address spoke 10.1.0.10
  lab_address core 10.20.0.10
  write_config

  printf 'round\tstreams\tcontender\tbits_per_second\tretransmits\n' >"$OUT/runs.tsv"
  local round streams contender
  for ((round = 1; round <= ROUNDS; round++)); do
    for streams in 1 4; do
      for contender in "${contenders[@]}"; do
        measure "$round" "$streams" "$contender"
      done
    done
  done
}

# One run: the forwarder is started for it alone, so no run inherits another's state.
measure() {
  start_"$3"
  lab_start core iperf3 --server --one-off >/dev/null 2>&1
  local server=$LAB_PID result
  lab_until 5 listening || lab_die "iperf3 does not listen"
  result=$(lab_in spoke iperf3 --client 10.1.9.4 --time "$SECONDS_EACH" --parallel "$2" --json) ||
    lab_die "$3: iperf3: $(grep -m1 error <<<"$result")"
  lab_stop "$server"
  lab_stop "$FORWARDER"
  lab_until 5 no_device || lab_die "$3 leaves its device behind"
  ip -n spoke route flush root 10.1.9.4/32
  ip -n core route flush root 10.20.99.4/32
  printf '%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$("$LAB_PYTHON" -c '
import json, sys
end = json.load(sys.stdin)["end"]
print(end["sum_received"]["bits_per_second"], end["sum_sent"]["retransmits"], sep="\t")' <<<"$result")" |
    tee -a "$OUT/runs.tsv" | awk -F '\t' '{ printf "  round %d, %d streams, %-9s %6.2f Gbit/s\n", $1, $2, $3, $4 / 1e9 }'
}

listening() { lab_in core ss -Hltn sport = :5201 | grep -q .; }
no_device() { ! ip -n spoke link show dev pl-spoke && ! ip -n core link show dev pl-core; }

start_plain() { start_peer tun_plain; }
start_bare() { start_peer tun_bare; }

start_peer() {
  lab_start - "$TARGET/release/examples/$1" spoke pl-spoke core pl-core 10.1.0.10 10.1.9.4 10.20.99.4 10.20.0.10 >"$WORK/peer"
  FORWARDER=$LAB_PID
  lab_until 5 grep -q ready "$WORK/peer" || lab_die "$1 does not start"
  ip -n spoke route add 10.1.9.4/32 dev pl-spoke
  ip -n core route add 10.20.99.4/32 dev pl-core
}

start_privlink() {
  lab_start - "$PRIVLINK" run -c "$WORK/privlink.toml" >"$WORK/daemon.log" 2>&1
  FORWARDER=$LAB_PID
  lab_until 10 "$PRIVLINK" --socket "$WORK/privlink.sock" status || lab_die "privlink does not start: $(tail -3 "$WORK/daemon.log")"
}

write_config() {
  cat >"$WORK/privlink.toml" <<TOML
[daemon]
state = "$WORK/state"
socket = "$WORK/privlink.sock"
on_exit = "undo"

[[attachment]]
vnet = "spoke"
netns = "spoke"

[[attachment]]
vnet = "core"
netns = "core"

[[vnet]]
name = "spoke"
region = "here"
address_space = ["10.1.0.0/16"]
subnets = [{ name = "endpoints", prefix = "10.1.9.0/24" }]

[[vnet]]
name = "core"
region = "here"
address_space = ["10.20.0.0/16"]
subnets = [{ name = "nat", prefix = "10.20.99.0/24" }]

[[resource]]
name = "bulk"
vnet = "core"
nat = ["10.20.99.4"]
targets = [{ backends = ["10.20.0.10"], ports = [{ protocol = "tcp", port = 5201, backend_port = 5201 }] }]

[[endpoint]]
name = "bulk"
vnet = "spoke"
subnet = "endpoints"
ip = "10.1.9.4"
resource = "bulk"
status = "Approved"
TOML
}

main "$@"
