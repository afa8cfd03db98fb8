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
# Sourced, it is a library: `lab_enter SCRIPT ARGS...` restarts the script inside a lab, `lab_build` makes the networks that
# its input describes, `lab_in` and `lab_start` run programs in them, `lab_standard` and `lab_two_legs` are ready-made.
# They are built by the example `lab` (tests/support/lab/main.rs): PRIVLINK_LAB_BUILDER, or the one beside PRIVLINK_BIN, or the
# one of this folder, which is made if it is not there.
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
  PRIVLINK_LAB_BUILDER=$(lab_builder) || lab_die "there is no builder of networks: cargo build --example lab makes it"
  export PRIVLINK_LAB_BUILDER
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

lab_builder() {
  local target=${CARGO_TARGET_DIR:-$LAB_HERE/../target} place
  for place in "${PRIVLINK_LAB_BUILDER:-}" "$(dirname "${PRIVLINK_BIN:-none}")/examples/lab" "$target"/{release,debug}/examples/lab; do
    [[ ! -x $place ]] || { realpath "$place" && return; }
  done
  (cd "$LAB_HERE/.." && PATH=$PATH:$HOME/.cargo/bin cargo build --quiet --locked --example lab) >&2 && realpath "$target/debug/examples/lab"
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

# lab_build: what standard input says, a line for each part (tests/support/networks.rs).
lab_build() { "$PRIVLINK_LAB_BUILDER"; }

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
  lab_build <<END
host $decoy
link $1 up0 $2/30 $decoy eth0 $ours/30
route $1 default $ours
END
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
  lab_build <<END
router spoke core peer gateway site
host app outsider desk db web far twin-a twin-b

address spoke 10.1.0.10
link spoke lan0 10.1.1.1/24,fd01:1::1/64 app eth0 10.1.1.10/24,fd01:1::10/64
link spoke dmz0 172.16.0.1/24 outsider eth0 172.16.0.9/24
route app default 10.1.1.1
route app default fd01:1::1
route outsider default 172.16.0.1

link spoke vpn0 10.1.2.1/24 gateway eth0 10.1.2.2/24
link gateway wan0 198.51.100.1/30 site wan0 198.51.100.2/30
link site lan0 192.168.40.1/24 desk eth0 192.168.40.20/24
tunnel gateway 198.51.100.1 169.254.40.1/30 site 198.51.100.2 169.254.40.2/30
route spoke 192.168.40.0/24 10.1.2.2
route gateway 192.168.40.0/24 169.254.40.2
route gateway 10.1.0.0/16 10.1.2.1
route site 10.1.0.0/16 169.254.40.1
route desk default 192.168.40.1

address peer 10.2.0.10
link peer far0 10.3.1.1/24 far eth0 10.3.1.10/24
route far default 10.3.1.1

address twin-a 10.50.0.10
address twin-b 10.50.0.10

address core 10.20.0.10
link core db0 10.20.1.1/24 db eth0 10.20.1.2/24
link core web0 10.20.2.1/24,fd20:2::1/64 web eth0 10.20.2.9/24,10.20.2.10/24,fd20:2::9/64
route db default 10.20.1.1
route web default 10.20.2.1
route web default fd20:2::1
END
  lab_decoy spoke 100.64.1.1 "$1/decoy-spoke.log"
  lab_decoy core 100.64.2.1 "$1/decoy-core.log"
}

# One host with two legs and no namespace of the user's own: `box` stands for the host, its two
# interfaces for two VLANs; a tenant on one, a store on the other.
lab_two_legs() {
  lab_build <<END
router box
host tenant store
link box vlan60 10.60.1.1/24 tenant eth0 10.60.1.10/24
link box vlan70 10.70.1.1/24 store eth0 10.70.1.9/24
route tenant default 10.60.1.1
route store default 10.70.1.1
END
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
