#!/usr/bin/env bash
# The lab: the networks that demo, tests and benches share, each a network namespace.
#
#   scripts/lab.sh up                 builds it and leaves it running
#   scripts/lab.sh exec NS CMD...     runs a command in one of its namespaces ("-" is the host's own)
#   scripts/lab.sh down               takes it away
#
# Everything stands in a network, mount and process namespace of its own (and a user namespace when the
# caller is not root), with /run/netns a private tmpfs: the machine's interfaces, addresses, routes and
# firewall are never touched, and when its first process ends, all of it is gone.
#
# Sourced, it is a library: `lab_enter SCRIPT ARGS...` restarts the script inside a lab, `lab_ns`,
# `lab_veth` and `lab_in` build and use namespaces, `lab_standard` and `lab_two_legs` are ready-made.
set -euo pipefail

LAB_HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
LAB_STATE=${PRIVLINK_LAB_STATE:-/tmp/privlink-lab-$EUID}
# The system's own Python: it starts at once, and every user may run it.
LAB_PYTHON=$(command -v /usr/bin/python3 || command -v python3 || echo python3)
export LAB_PYTHON

lab_die() {
  printf 'lab: %s\n' "$*" >&2
  exit 1
}

# --- entering ---------------------------------------------------------------------------------------

# Restarts "$@" (a script and its arguments) inside a lab, or returns when already there. With
# LAB_KEEP=1 the inner script may end in `lab_stay STATUS`: the lab then outlives this call.
lab_enter() {
  if [[ ${PRIVLINK_LAB:-} == inside ]]; then
    lab_prepare
    return
  fi
  local flags=(--net --mount --pid --fork --kill-child)
  ((EUID == 0)) || flags+=(--user --map-root-user)
  unshare "${flags[@]}" true 2>/dev/null || lab_die "this machine refuses new namespaces: run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
  export PRIVLINK_LAB=inside PRIVLINK_LAB_STATE=$LAB_STATE
  if [[ ${LAB_KEEP:-0} != 1 ]]; then
    local status=0
    unshare "${flags[@]}" "$BASH" "$@" || status=$?
    exit "$status"
  fi
  lab_is_up && lab_die "a lab is up already (scripts/lab.sh down takes it away)"
  rm -rf "$LAB_STATE"
  mkdir -m 755 "$LAB_STATE"
  # Through a file, so that whoever reads this call's output is not kept waiting by the lab.
  : >"$LAB_STATE/output"
  tail -n +1 -f "$LAB_STATE/output" &
  local outer tail=$! status=1
  setsid unshare "${flags[@]}" "$BASH" "$@" </dev/null >"$LAB_STATE/output" 2>&1 &
  outer=$!
  echo "$outer" >"$LAB_STATE/outer"
  trap 'kill -KILL "$outer" 2>/dev/null || true; kill "$tail"; rm -rf "$LAB_STATE"; exit 130' INT TERM
  while kill -0 "$outer" 2>/dev/null && [[ ! -s $LAB_STATE/result ]]; do sleep 0.1; done
  if [[ -s $LAB_STATE/result ]]; then status=$(<"$LAB_STATE/result"); else wait "$outer" || status=$?; fi
  sleep 0.2
  kill "$tail"
  wait "$tail" 2>/dev/null || true
  lab_is_up || rm -rf "$LAB_STATE"
  exit "$status"
}

# First steps inside: this process's number as the outside sees it, own /proc and /run/netns.
lab_prepare() {
  local outside _
  read -r outside _ </proc/self/stat
  if [[ ${LAB_KEEP:-0} == 1 ]]; then echo "$outside" >"$LAB_STATE/pid"; fi
  mount -t proc proc /proc 2>/dev/null || true
  if mkdir -p /run/netns 2>/dev/null; then
    mount -t tmpfs -o mode=755 tmpfs /run/netns
  else
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir /run/netns
  fi
  ip link set lo up
  lab_find_nobody
}

# LAB_NOBODY is what to put before a server that refuses to run as root. In a user namespace the caller
# is the only user there is, so one more namespace gives it another number.
lab_find_nobody() {
  local first size _
  read -r first _ size </proc/self/uid_map
  if ((first == 0 && size > 65534)); then
    LAB_NOBODY=(setpriv --reuid=65534 --regid=65534 --clear-groups --)
  else
    # shellcheck disable=SC2034  # for the scripts that source this
    LAB_NOBODY=(unshare --user --map-user=65534 --map-group=65534 --)
  fi
}

# Ends the inner script, keeping the lab: tells the outer one the status, then only holds on.
lab_stay() {
  echo "$1" >"$LAB_STATE/result"
  trap - EXIT
  exec sleep infinity >/dev/null 2>&1
}

lab_is_up() { [[ -s $LAB_STATE/pid ]] && kill -0 "$(<"$LAB_STATE/pid")" 2>/dev/null; }

# --- building ---------------------------------------------------------------------------------------

# lab_ns NAME...: hosts. lab_router NAME...: hosts that forward.
lab_ns() {
  local name
  for name in "$@"; do
    ip netns add "$name"
    ip -n "$name" link set lo up
  done
}

lab_router() {
  local name
  lab_ns "$@"
  for name in "$@"; do lab_in "$name" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; done
}

# lab_veth NS1 IF1 ADDRESS1 NS2 IF2 ADDRESS2: a cable; an address is `a.b.c.d/len`, or - for none (not
# for NS1 or NS2: both are names).
lab_veth() {
  ip -n "$1" link add "$2" type veth peer name "$5" netns "$4"
  lab_up "$1" "$2" "$3"
  lab_up "$4" "$5" "$6"
}

lab_up() {
  if [[ $3 != - ]]; then ip -n "$1" address add "$3" dev "$2"; fi
  ip -n "$1" link set "$2" up
}

# lab_address NS ADDRESS: an address of the namespace itself, the source of what runs in it.
lab_address() { ip -n "$1" address add "$2/32" dev lo; }

# lab_six NS1 IF1 ADDRESS1 NS2 IF2 ADDRESS2: IPv6 on a cable, the first end being the router. Nobody else is there
# whose address it could be, so none is waited for.
lab_six() {
  ip -n "$1" address add "$3/64" dev "$2" nodad
  ip -n "$4" address add "$6/64" dev "$5" nodad
  ip -n "$4" route add default via "$3"
}

# lab_route NS PREFIX GATEWAY
lab_route() { ip -n "$1" route add "$2" via "$3"; }

# lab_in NS CMD...: runs CMD there ("-": the namespace the lab began with).
lab_in() {
  local name=$1
  shift
  if [[ $name == - ]]; then "$@"; else nsenter --net="/run/netns/$name" -- "$@"; fi
}

# lab_start NS CMD...: runs CMD there in the background; LAB_PID is CMD itself, not a shell around it.
lab_start() {
  local name=$1
  shift
  # A background command reads /dev/null unless it is told to read what its caller reads.
  if [[ $name == - ]]; then "$@" <&0 & else nsenter --net="/run/netns/$name" -- "$@" <&0 & fi
  # shellcheck disable=SC2034  # for the scripts that source this
  LAB_PID=$!
}

# lab_stop PID: ends a process that lab_start began, and waits for it.
lab_stop() {
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# lab_decoy NS GATEWAY_ADDRESS LOG: on NS's default route, a host that answers every address.
lab_decoy() {
  local decoy=decoy-$1 ours=${2%.*}.$((${2##*.} + 1))
  lab_ns "$decoy"
  lab_veth "$1" up0 "$2/30" "$decoy" eth0 "$ours/30"
  lab_route "$1" default "$ours"
  : >"$3"
  lab_start "$decoy" "$LAB_PYTHON" "$LAB_HERE/lab/decoy.py" eth0 "$3"
  lab_until 5 test -s "$3" || lab_die "the decoy behind $1 does not start"
}

# lab_until SECONDS CMD...: repeats CMD until it succeeds; fails when the time is over.
lab_until() {
  local deadline=$((SECONDS + $1 + 1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.05
  done
}

# --- ready-made -------------------------------------------------------------------------------------

# The networks of the demo:
#
#   app 10.1.1.10 ───┐                                          ┌── db  10.20.1.2
#   outsider 172.16… ┤  spoke 10.1.0.0/16   core 10.20.0.0/16   ┤
#   desk ─ site ═ gateway  (host 10.1.0.10)   (host 10.20.0.10) └── web 10.20.2.9, 10.20.2.10
#     192.168.40.20  └─ decoy, all else ─┘    └─ decoy, all else
#
#   far 10.3.1.10 ── peer 10.2.0.0/16 (host 10.2.0.10)     twin-a, twin-b: both 10.50.0.0/16
#
# lab_standard DIR: decoy-spoke.log and decoy-core.log are written there.
lab_standard() {
  lab_router spoke core peer gateway site
  lab_ns app outsider desk db web far twin-a twin-b

  lab_address spoke 10.1.0.10
  lab_veth spoke lan0 10.1.1.1/24 app eth0 10.1.1.10/24
  lab_veth spoke dmz0 172.16.0.1/24 outsider eth0 172.16.0.9/24
  lab_route app default 10.1.1.1
  lab_six spoke lan0 fd01:1::1 app eth0 fd01:1::10
  lab_route outsider default 172.16.0.1
  lab_decoy spoke 100.64.1.1 "$1/decoy-spoke.log"

  lab_veth spoke vpn0 10.1.2.1/24 gateway eth0 10.1.2.2/24
  lab_veth gateway wan0 198.51.100.1/30 site wan0 198.51.100.2/30
  lab_veth site lan0 192.168.40.1/24 desk eth0 192.168.40.20/24
  lab_tunnel gateway 198.51.100.1 169.254.40.1 site 198.51.100.2 169.254.40.2
  lab_route spoke 192.168.40.0/24 10.1.2.2
  lab_route gateway 192.168.40.0/24 169.254.40.2
  lab_route gateway 10.1.0.0/16 10.1.2.1
  lab_route site 10.1.0.0/16 169.254.40.1
  lab_route desk default 192.168.40.1

  lab_address peer 10.2.0.10
  lab_veth peer far0 10.3.1.1/24 far eth0 10.3.1.10/24
  lab_route far default 10.3.1.1

  lab_address twin-a 10.50.0.10
  lab_address twin-b 10.50.0.10

  lab_address core 10.20.0.10
  lab_veth core db0 10.20.1.1/24 db eth0 10.20.1.2/24
  lab_veth core web0 10.20.2.1/24 web eth0 10.20.2.9/24
  ip -n web address add 10.20.2.10/24 dev eth0
  lab_route db default 10.20.1.1
  lab_route web default 10.20.2.1
  lab_six core web0 fd20:2::1 web eth0 fd20:2::9
  lab_decoy core 100.64.2.1 "$1/decoy-core.log"
}

# lab_tunnel NS1 UNDERLAY1 INNER1 NS2 UNDERLAY2 INNER2: VXLAN, or GRE where the kernel has none.
lab_tunnel() {
  local -a first=("$1" "$2" "$3" "$5") second=("$4" "$5" "$6" "$2")
  lab_tunnel_end "${first[@]}"
  lab_tunnel_end "${second[@]}"
}

lab_tunnel_end() {
  ip -n "$1" link add tunnel0 type vxlan id 40 local "$2" remote "$4" dstport 4789 2>/dev/null ||
    ip -n "$1" link add tunnel0 type gre local "$2" remote "$4"
  lab_up "$1" tunnel0 "$3/30"
}

# One host with two legs and no namespace of the user's own: `box` stands for the host, its two
# interfaces for two VLANs; a tenant on one, a store on the other.
lab_two_legs() {
  lab_router box
  lab_ns tenant store
  lab_veth box vlan60 10.60.1.1/24 tenant eth0 10.60.1.10/24
  lab_veth box vlan70 10.70.1.1/24 store eth0 10.70.1.9/24
  lab_route tenant default 10.60.1.1
  lab_route store default 10.70.1.1
}

# --- the command ------------------------------------------------------------------------------------

lab_main() {
  case ${1:-} in
    up)
      export LAB_KEEP=1
      lab_enter "${BASH_SOURCE[0]}" "$@"
      lab_standard "$LAB_STATE"
      lab_two_legs
      printf 'The lab is up: %s\n' "$(ip netns list | awk '{print $1}' | sort | paste -sd' ')"
      printf 'Try: scripts/lab.sh exec spoke ip route; scripts/lab.sh down\n'
      lab_stay 0
      ;;
    exec)
      (($# >= 3)) || lab_die "usage: scripts/lab.sh exec NS CMD..."
      lab_is_up || lab_die "no lab is up (scripts/lab.sh up builds it, scripts/demo.sh --keep leaves one)"
      local name=$2 flags=(--net --mount --pid)
      shift 2
      ((EUID == 0)) || flags+=(--user --preserve-credentials)
      [[ $name == - ]] || set -- nsenter --net="/run/netns/$name" -- "$@"
      exec nsenter --target "$(<"$LAB_STATE/pid")" "${flags[@]}" --wd=. -- "$@"
      ;;
    down)
      lab_is_up || lab_die "no lab is up"
      kill -KILL "$(<"$LAB_STATE/outer")" # takes every process inside with it
      rm -rf "$LAB_STATE"
      ;;
    *) lab_die "usage: scripts/lab.sh up | exec NS CMD... | down" ;;
  esac
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then lab_main "$@"; fi
