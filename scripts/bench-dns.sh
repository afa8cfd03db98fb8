#!/usr/bin/env bash
# How fast names are answered: privlink's resolver side by side with unbound, dnsmasq and, where it is installed, CoreDNS.
#
#   scripts/bench-dns.sh [--rounds N] [--seconds N] [--names N] [--no-install] [--no-build]
#
# One thread each, on one core, asked by dnsperf from the other, in turns, A B C A B C. `private`: names that the server
# has itself; `cached`: names of an upstream, all of them asked before. The measure is queries per second of the server's
# own CPU time; ratios are taken pair by pair within a round. Besides: how much memory each holds, and how soon a new
# endpoint's name is answered. Writes target/bench/dns.json and target/bench/dns.md. PRIVLINK_BIN names a daemon built
# elsewhere.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab.sh
. scripts/lab.sh
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

ROUNDS=5
SECONDS_EACH=2
NAMES=1000
BUILD=yes
TARGET=${CARGO_TARGET_DIR:-target}
OUT=$TARGET/bench

main() {
  local arguments=("$@")
  while (($#)); do
    case $1 in
      --rounds) ROUNDS=$2 && shift ;;
      --seconds) SECONDS_EACH=$2 && shift ;;
      --names) NAMES=$2 && shift ;;
      --no-install) export INSTALL=no ;;
      --no-build) BUILD=no ;;
      *) sed -n '2,11s/^# \{0,1\}//p' "$0" && exit 64 ;;
    esac
    shift
  done
  if [[ ${PRIVLINK_LAB:-} != inside ]]; then
    need ip=iproute2 python3=python3 dnsperf=dnsperf unbound=unbound dnsmasq=dnsmasq-base dig=bind9-dnsutils taskset=util-linux || exit 69
    mkdir -p "$OUT"
    [[ $BUILD == no || -n ${PRIVLINK_BIN:-} ]] || cargo build --release --quiet --bin privlink --example lab
  fi
  PATH=$PATH:/usr/sbin:/sbin
  lab_enter "$0" "${arguments[@]}"
  run_inside
}

run_inside() {
  PRIVLINK=$(realpath "${PRIVLINK_BIN:-$TARGET/release/privlink}")
  WORK=$(mktemp -d)
  trap 'rm -rf "$WORK"' EXIT
  lab_build <<<"router spoke core
    address core 10.20.0.10
    address spoke 10.1.0.10 10.1.0.11 10.1.0.12 10.1.0.13 10.1.0.53"

  declare -gA AT=([privlink]=10.1.255.254 [unbound]=10.1.0.11 [dnsmasq]=10.1.0.12 [coredns]=10.1.0.13) PID
  CONTENDERS=(privlink unbound dnsmasq)
  if command -v coredns >/dev/null; then CONTENDERS+=(coredns); else echo "coredns: absent, left out"; fi
  write_files
  start_upstream
  local name
  for name in "${CONTENDERS[@]}"; do "start_$name"; done
  for name in "${CONTENDERS[@]}"; do
    lab_until 20 answers "${AT[$name]}" "svc1.example" || lab_die "$name does not answer: $(tail -3 "$WORK/$name.log")"
    lab_until 20 answers "${AT[$name]}" "h1.example.net" || lab_die "$name does not forward"
    # Twice over all names: what can be kept is kept.
    lab_in spoke dnsperf -s "${AT[$name]}" -d "$WORK/cached" -n 2 -q 50 >"$WORK/warm.$name"
  done

  printf 'round\tkind\tserver\tqueries\tqueries_per_second\tlost\tcpu_seconds\tlatency\n' >"$OUT/dns.tsv"
  local round kind
  for ((round = 1; round <= ROUNDS; round++)); do
    for kind in private cached; do
      for name in "${CONTENDERS[@]}"; do measure "$round" "$kind" "$name"; done
    done
  done
  for name in "${CONTENDERS[@]}"; do
    printf '%s\t%s\n' "$name" "$(awk '/^VmRSS/ { print $2 }' "/proc/${PID[$name]}/status")"
  done >"$OUT/dns-memory.tsv"
  new_names >"$OUT/dns-new.tsv"
  "$LAB_PYTHON" scripts/lab/dns_report.py "$OUT" "$NAMES"
}

answers() { lab_in spoke dig +time=1 +tries=1 +short "@$1" "$2" A | grep -q '^10\.'; }

# cpu PID: seconds of CPU time that it has used.
cpu() { awk -v hertz="$(getconf CLK_TCK)" '{ sub(/^.*\) /, ""); print ($12 + $13) / hertz }' "/proc/$1/stat"; }

measure() {
  local before after
  before=$(cpu "${PID[$3]}")
  lab_in spoke taskset -c 1 dnsperf -s "${AT[$3]}" -d "$WORK/$2" -l "$SECONDS_EACH" -c 8 -q 100 >"$WORK/dnsperf" 2>&1 ||
    lab_die "dnsperf: $(tail -3 "$WORK/dnsperf")"
  after=$(cpu "${PID[$3]}")
  awk -v round="$1" -v kind="$2" -v name="$3" -v cpu="$before $after" '
    /Queries completed:/ { done = $3 } /Queries lost:/ { lost = $3 }
    /Queries per second:/ { rate = $4 } /Average Latency/ { latency = $4 }
    /Response codes:/ { wrong = $0 !~ /NOERROR [0-9]+ \(100.00%\)/ ? $0 : "" }
    END {
      split(cpu, both, " ")
      if (wrong != "") { print name ": " wrong >"/dev/stderr"; exit 1 }
      printf "%s\t%s\t%s\t%d\t%.0f\t%d\t%.2f\t%s\n", round, kind, name, done, rate, lost, both[2] - both[1], latency
    }' "$WORK/dnsperf" | tee -a "$OUT/dns.tsv" |
    awk -F '\t' '{ printf "  round %d, %-7s  %-8s %7d/s  %7.0f per CPU second, %d lost\n", $1, $2, $3, $5, $4 / $7, $6 }'
}

# How long after `endpoint create` has returned its name is answered; ten endpoints, one after the other.
new_names() {
  local number
  "$PRIVLINK" --socket "$WORK/privlink.sock" apply -f "$WORK/late.toml" >/dev/null 2>"$WORK/late.log" ||
    lab_die "apply: $(<"$WORK/late.log")"
  for number in {1..10}; do
    "$PRIVLINK" --socket "$WORK/privlink.sock" endpoint create "late$number" --vnet spoke --subnet endpoints --resource "late$number" --accept-names "late$number.example" \
      >/dev/null 2>"$WORK/late.log" || lab_die "endpoint create: $(<"$WORK/late.log")"
    lab_in spoke "$LAB_PYTHON" scripts/lab/dns_wait.py "${AT[privlink]}" "late$number.example"
  done
}

write_files() {
  "$LAB_PYTHON" - "$WORK" "$NAMES" "$PRIVLINK" <<'PY'
import random, sys
work, names = sys.argv[1], int(sys.argv[2])
own = [f"svc{number}.example" for number in range(1, names + 1)]
others = [f"h{number}.example.net" for number in range(1, names + 1)]
random.seed(7)
def write(name, text):
    with open(f"{work}/{name}", "w") as file:
        file.write(text)
for name, all in [("private", own), ("cached", others)]:
    write(name, "".join(f"{one} A\n" for one in random.sample(all, len(all))))
server = """server:
  interface: {at}
  access-control: 10.0.0.0/8 allow
  num-threads: 1
  do-daemonize: no
  chroot: ""
  username: ""
  directory: ""
  pidfile: ""
  logfile: ""
  use-syslog: no
  module-config: "iterator"
  minimal-responses: yes
  so-reuseport: no
  msg-cache-size: 64m
  rrset-cache-size: 128m
{local}
remote-control:
  control-enable: no
"""
def local(names, zone, address):
    return f"  local-zone: \"{zone}.\" static\n" + "".join(f"  local-data: \"{one}. 3600 IN A {address}\"\n" for one in names)
write("unbound.conf", server.format(at="10.1.0.11", local=local(own, "example", "10.1.9.4"))
      + "forward-zone:\n  name: \".\"\n  forward-addr: 10.1.0.53\n")
write("upstream.conf", server.format(at="10.1.0.53", local=local(others, "example.net", "10.9.9.9")))
dnsmasq = """keep-in-foreground
no-resolv
no-hosts
user=root
pid-file=
bind-interfaces
listen-address=10.1.0.12
server=10.1.0.53
cache-size=%d
dns-forward-max=1000
""" % max(10_000, names)
write("dnsmasq.conf", dnsmasq + "".join(f"host-record={one},10.1.9.4\n" for one in own))
write("hosts", "".join(f"10.1.9.4 {one}\n" for one in own))
write("Corefile", f""".:53 {{
    bind 10.1.0.13
    hosts {work}/hosts {{
        fallthrough
    }}
    cache 3600
    forward . 10.1.0.53
}}
""")
fqdns = ", ".join(f'"{one}"' for one in own)
write("privlink.toml", f"""
[daemon]
state = "{work}/state"
socket = "{work}/privlink.sock"
on_exit = "undo"

[[attachment]]
vnet = "spoke"
netns = "spoke"

[[attachment]]
vnet = "core"
netns = "core"

[[vnet]]
name = "spoke"
address_space = ["10.1.0.0/16"]
subnets = [{{ name = "endpoints", prefix = "10.1.9.0/24", dedicated = true }}]
dns = {{ listen = "10.1.255.254", upstream = "10.1.0.53", ttl = "1h" }}

[[vnet]]
name = "core"
address_space = ["10.20.0.0/16"]
subnets = [{{ name = "nat", prefix = "10.20.99.0/24", nat = true }}]

[[resource]]
name = "many"
vnet = "core"
nat = ["10.20.99.4"]
fqdns = [{fqdns}]
targets = [{{ backends = ["10.20.0.10"], ports = [{{ protocol = "tcp", port = 80 }}] }}]

[[endpoint]]
name = "many"
vnet = "spoke"
subnet = "endpoints"
ip = "10.1.9.4"
resource = "many"
status = "Approved"
""")
late = """
[[resource]]
name = "late{number}"
vnet = "core"
nat = ["10.20.99.{octet}"]
fqdns = ["late{number}.example"]
targets = [{{ backends = ["10.20.0.{octet}"], ports = [{{ protocol = "tcp", port = 80 }}] }}]
"""
write("late.toml", "".join(late.format(number=number, octet=100 + number) for number in range(1, 11)))
PY
}

# start NAME NAMESPACE CMD...: on the first core.
start() {
  local name=$1 namespace=$2
  shift 2
  lab_start "$namespace" taskset -c 0 "$@" >"$WORK/$name.log" 2>&1
  PID[$name]=$LAB_PID
}

start_upstream() { start upstream spoke unbound -d -c "$WORK/upstream.conf"; }
start_unbound() { start unbound spoke unbound -d -c "$WORK/unbound.conf"; }
start_dnsmasq() { start dnsmasq spoke dnsmasq -C "$WORK/dnsmasq.conf"; }
start_coredns() { start coredns spoke env GOMAXPROCS=1 coredns -conf "$WORK/Corefile"; }
start_privlink() { start privlink - "$PRIVLINK" run -c "$WORK/privlink.toml"; }

main "$@"
