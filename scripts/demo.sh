#!/usr/bin/env bash
# The main job on real input: real nginx, real PostgreSQL, real TUN devices, one line per promise.
#
#   scripts/demo.sh [--no-install] [--keep]
#
#   --no-install  uses what is there; says what is missing, and installs nothing
#   --keep        leaves the lab up afterwards, and prints what to try in it
#
# Every line carries its evidence. A "refused" line proves itself: the target answers the provider side
# at that moment, the named drop reason grew by exactly the packets sent, and a capture on the other side
# saw none of them. Ends non-zero if one line fails. PRIVLINK_BIN names a daemon built
# elsewhere, with its example `lab` in a folder beside it.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab.sh
. scripts/lab.sh
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh
# shellcheck source=lab/evidence.sh
. scripts/lab/evidence.sh

main() {
  local option
  for option in "$@"; do
    case $option in
      --no-install) export INSTALL=no ;;
      --keep) export LAB_KEEP=1 ;;
      *) sed -n '2,11s/^# \{0,1\}//p' "$0" && exit 64 ;;
    esac
  done
  if [[ ${PRIVLINK_LAB:-} != inside ]]; then
    prepare_outside
  fi
  lab_enter "$0" "$@"
  trap 'take_down' EXIT
  trap 'exit 130' INT TERM
  show_everything
}

# What needs the machine itself: packages, the build, a folder for what the lab writes.
prepare_outside() {
  need ip=iproute2 tcpdump=tcpdump curl=curl python3=python3 nginx=nginx initdb=postgresql psql=postgresql-client \
    setpriv=util-linux awk=mawk dig=bind9-dnsutils dnsmasq=dnsmasq-base || exit 69
  [[ -c /dev/net/tun ]] || lab_die "no /dev/net/tun: load the module (modprobe tun), or give the container the device"
  if [[ -z ${PRIVLINK_BIN:-} ]]; then
    echo "building privlink (cargo build --release)"
    cargo build --release --quiet --bin privlink --example lab
    PRIVLINK_BIN=${CARGO_TARGET_DIR:-target}/release/privlink
  fi
  PRIVLINK_BIN=$(realpath "$PRIVLINK_BIN")
  if [[ ${LAB_KEEP:-0} == 1 ]]; then
    WORK=$LAB_STATE/work # goes with the lab
  else
    WORK=$(mktemp -d /tmp/privlink-demo.XXXXXX)
    trap 'rm -rf "$WORK"' EXIT
  fi
  export PRIVLINK_BIN WORK
}

take_down() {
  local status=$?
  trap '' INT TERM
  if ((status != 0 && status != 1)) && [[ -s $WORK/daemon.log ]]; then
    printf '\nthe daemon said last:\n'
    tail -15 "$WORK/daemon.log"
  fi
  if [[ -n ${DAEMON:-} ]]; then lab_stop "$DAEMON"; fi
  return "$status"
}

show_everything() {
  heading "set-up"
  set_up
  heading "the approved service, and only it"
  show_access
  heading "who may ask"
  show_sources
  heading "overlapping networks, several endpoints"
  show_overlap
  heading "bulk, and the end of it"
  show_download
  show_rejection
  heading "the books, and a dead forwarder"
  show_counters
  show_kill
  show_restart
  heading "two principals, and the books about them"
  show_principals
  heading "one host, two interfaces"
  show_two_legs
  summary && status=0 || status=1
  if [[ ${LAB_KEEP:-0} == 1 ]]; then
    print_what_to_try
    lab_stay "$status"
  fi
  exit "$status"
}

# --- set-up -----------------------------------------------------------------------------------------

set_up() {
  start_line
  mkdir -p "$WORK"
  mount -t tmpfs -o mode=755 tmpfs "$WORK" # only the lab sees what is written there
  lab_standard "$WORK"
  ok "the networks are up" "$(ip netns list | wc -l) namespaces, a decoy that answers every address on both default routes"

  start_line
  start_nginx
  start_postgres
  start_public_names
  ok "real services" "$(nginx -v 2>&1 | sed 's/.*: //') on 10.20.2.9 and .10, $("$POSTGRES/postgres" --version) on 10.20.1.2"

  start_line
  sed "s|STATE|$WORK/state|; s|RUN|$WORK/run|" scripts/lab/demo.toml >"$WORK/privlink.toml"
  mkdir "$WORK/run"
  start_daemon || { failed "privlink runs" "it does not start: $(tail -3 "$WORK/daemon.log")" && exit 2; }
  ok "privlink runs" "$("$PRIVLINK_BIN" --version), $(privlink status | grep -c '→') endpoints"
}

start_nginx() {
  lab_in web sysctl -qw net.ipv4.ip_unprivileged_port_start=0
  mkdir -p "$WORK/www/"{shop,reports,billing,account,service-a,service-b} "$WORK/nginx"
  local name
  for name in shop reports billing account service-a service-b; do
    echo "this is $name" >"$WORK/www/$name/index.html"
  done
  head -c 512M /dev/urandom >"$WORK/www/shop/large.bin"
  truncate -s 1T "$WORK/www/shop/endless.bin"
  chmod -R a+rX "$WORK/www" && chmod 777 "$WORK/nginx"
  {
    printf 'daemon off; worker_processes 1; pid %s/nginx/pid; error_log %s/nginx/error.log info;\n' "$WORK" "$WORK"
    printf 'events {} http { access_log off; sendfile on; client_body_temp_path %s/nginx/a; proxy_temp_path %s/nginx/b;\n' "$WORK" "$WORK"
    printf 'fastcgi_temp_path %s/nginx/c; uwsgi_temp_path %s/nginx/d; scgi_temp_path %s/nginx/e;\n' "$WORK" "$WORK" "$WORK"
    nginx_site 10.20.2.9:80 shop
    nginx_site '[fd20:2::9]:80' shop
    nginx_site 10.20.2.9:8081 reports
    nginx_site 10.20.2.9:8082 account
    nginx_site 10.20.2.10:80 billing
    nginx_site 10.20.2.9:8101 service-a
    nginx_site 10.20.2.9:8102 service-b
    echo '}'
  } >"$WORK/nginx.conf"
  lab_start web "${LAB_NOBODY[@]}" nginx -e "$WORK/nginx/error.log" -c "$WORK/nginx.conf" >"$WORK/nginx/out" 2>&1
  lab_until 10 fetch core 10.20.2.9 80 || lab_die "nginx does not start: $(cat "$WORK/nginx/out")"
}

nginx_site() {
  printf 'server { listen %s; root %s/www/%s; }\n' "$1" "$WORK" "$2"
}

# A cluster of its own in the provider's network; the machine's own is never touched.
start_postgres() {
  POSTGRES=$(postgres_bin)
  mkdir -m 777 "$WORK/pg"
  "${LAB_NOBODY[@]}" "$POSTGRES/initdb" -D "$WORK/pg/data" -U demo -A trust --no-sync >"$WORK/pg/initdb.log" 2>&1 ||
    lab_die "initdb fails: $(tail -3 "$WORK/pg/initdb.log")"
  # What a provider writes for a service behind privlink: its clients come from the NAT IPs.
  echo 'host all all 10.20.99.0/24 trust' >>"$WORK/pg/data/pg_hba.conf"
  echo 'host all all 10.20.1.1/32 trust' >>"$WORK/pg/data/pg_hba.conf"
  lab_start db "${LAB_NOBODY[@]}" "$POSTGRES/postgres" -D "$WORK/pg/data" -c listen_addresses=10.20.1.2 \
    -c unix_socket_directories='' -c fsync=off >"$WORK/pg/log" 2>&1
  lab_until 15 query core 10.20.1.2 'select 1' || lab_die "PostgreSQL does not start: $(tail -3 "$WORK/pg/log")"
}

# What the public internet says of names, to whoever asks it in twin-a.
start_public_names() {
  lab_build <<<"address twin-a 10.50.0.53"
  lab_start twin-a dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
    --bind-interfaces --listen-address=10.50.0.53 --local=/windows.net/ --host-record=account.blob.core.windows.net,203.0.113.9 \
    >"$WORK/public-names.log" 2>&1
  lab_until 5 lab_in twin-a dig +short +time=1 +tries=1 @10.50.0.53 account.blob.core.windows.net || lab_die "dnsmasq does not start"
}

start_daemon() {
  "$PRIVLINK_BIN" run -c "$WORK/privlink.toml" >>"$WORK/daemon.log" 2>&1 &
  DAEMON=$!
  lab_until 10 running
}

running() { kill -0 "$DAEMON" && privlink status; }

privlink() { "$PRIVLINK_BIN" --socket "$WORK/run/privlink.sock" "$@"; }

# --- clients ----------------------------------------------------------------------------------------

# fetch NS ADDRESS PORT [PATH] [CURL OPTIONS...]
fetch() {
  local name=$1 url=http://$2:$3/${4:-}
  shift 3
  (($# == 0)) || shift
  lab_in "$name" curl --globoff --silent --show-error --noproxy '*' --max-time 5 "$@" "$url"
}

# query NS ADDRESS SQL
query() { PGCONNECT_TIMEOUT=3 lab_in "$1" psql -h "$2" -U demo -d postgres -qAtc "$3"; }

# --- the approved service, and only it --------------------------------------------------------------

show_access() {
  answers "an approved endpoint answers curl" "this is shop" fetch app 10.1.9.5 80
  printf 'nameserver 10.1.255.254\n' >"$WORK/resolv.conf"
  mount --bind "$WORK/resolv.conf" /etc/resolv.conf # of the lab's own mounts
  answers "the name that applications have always asked for" "this is shop" fetch app shop.example 80
  answers "a storage account's own name, through its private zone" "this is account" fetch app account.blob.core.windows.net 80
  resolves "the name in a VNet with an endpoint: private" app 10.1.255.254 10.1.9.9
  resolves "the same name in a VNet without one: public" twin-a 10.50.255.254 203.0.113.9
  name_of_nobody "the name of a Pending endpoint" reports.example "is Pending"
  examined "doctor, on the application's host, finds nothing wrong" 0 account.blob.core.windows.net "takes connections"
  examined "and says why another name leads nowhere" 1 reports.example "is Pending"
  answers "an approved endpoint answers psql" "10.20.99.4" query app 10.1.9.4 'select host(inet_client_addr())'

  refused "a Pending endpoint" not_approved_pending rst app syn 10.1.1.10 10.1.9.6 80 core fetch core 10.20.2.9 8081
  start_line
  local before=$EPOCHREALTIME
  privlink connection approve reports >"$WORK/approve.out" 2>&1 || true
  if lab_until 15 fetch app 10.1.9.6 80 && [[ $(fetch app 10.1.9.6 80) == "this is reports" ]]; then
    ok "approved live, it answers" "\"this is reports\", $(milliseconds "$before" "$EPOCHREALTIME") ms after the command began"
  else
    failed "approved live, it answers" "approve said: $(tr '\n' ' ' <"$WORK/approve.out"); curl said: $(fetch app 10.1.9.6 80 2>&1 | tail -1)"
  fi

  refused "another port of the same backend" port_not_exposed rst app syn 10.1.1.10 10.1.9.5 8081 core fetch core 10.20.2.9 8081
  refused "UDP to the same address and port" port_not_exposed icmp app udp 10.1.1.10 10.1.9.5 80 core fetch core 10.20.2.9 80
  # The consumer routes the provider's own address to the device by hand: it still is no endpoint.
  ip -n spoke route add 10.20.2.10/32 dev pl-spoke || true
  refused "another backend, by its own address" unknown_endpoint icmp app syn 10.1.1.10 10.20.2.10 80 core fetch core 10.20.2.10 80
  ip -n spoke route del 10.20.2.10/32 dev pl-spoke || true
  refused "an address of the subnet that is no endpoint" unknown_endpoint icmp app syn 10.1.1.10 10.1.9.77 80 core fetch core 10.20.2.9 80
  answers "that backend, through its own endpoint" "this is billing" fetch app 10.1.9.7 80
  answers "IPv6 throughout" "this is shop" fetch app '[fd01:9::4]' 80
  answers "an IPv4 endpoint before an IPv6 server" "this is shop" fetch app 10.1.9.46 80
  answers "an IPv6 endpoint before an IPv4 server" "this is shop" fetch app '[fd01:9::64]' 80
}

# resolves LABEL NS RESOLVER ADDRESS: what the storage account's name leads to.
resolves() {
  start_line
  local said
  said=$(lab_in "$2" dig +short +time=3 +tries=2 "@$3" account.blob.core.windows.net A 2>&1) || true
  if [[ $(tail -1 <<<"$said") == "$4" ]]; then
    ok "$1" "account.blob.core.windows.net → ${said//$'\n'/ → }"
  else
    failed "$1" "dig said: ${said//$'\n'/ }"
  fi
}

# examined LABEL STATUS NAME WORDS: doctor on the application's host ends with STATUS; its last line that counts has WORDS.
examined() {
  start_line
  local said status=0 line
  said=$(lab_in app "$PRIVLINK_BIN" --socket "$WORK/run/privlink.sock" doctor --vnet spoke "$3" 2>&1) || status=$?
  if ((status == 0)); then line=$(tail -1 <<<"$said"); else line=$(grep -m 1 '^FAILED' <<<"$said") || true; fi
  if ((status == $2)) && [[ $line == *"$4"* ]]; then
    ok "$1" "$(grep -c '^ok' <<<"$said") checks ok; $(tr -s ' ' <<<"$line")"
  else
    failed "$1" "ended with $status: ${said//$'\n'/; }"
  fi
}

# name_of_nobody LABEL NAME REASON: the resolver knows no such name, and says why.
name_of_nobody() {
  start_line
  local said
  said=$(lab_in app dig +time=3 +tries=1 @10.1.255.254 "$2" A 2>&1) || true
  if [[ $said == *NXDOMAIN* && $said == *"$3"* ]]; then
    ok "$1" "NXDOMAIN, $(sed -n 's/^; EDE: //p' <<<"$said")"
  else
    failed "$1" "dig said: $(tr '\n' ' ' <<<"$said")"
  fi
}

# --- who may ask ------------------------------------------------------------------------------------

show_sources() {
  refused "a source that the endpoint's own rule leaves out" denied_by_rule rst spoke syn 10.1.0.10 10.1.9.7 80 core fetch core 10.20.2.10 80
  refused "a source that the subnet's security group denies" denied_by_rule rst app syn 10.1.1.10 10.1.10.4 80 core fetch core 10.20.2.9 80
  refused "a workload class that may not use endpoints" workload_excluded any app syn 10.1.200.5 10.1.9.5 80 core fetch core 10.20.2.9 80
  refused "a source that is an endpoint's address" spoofed_source none app syn 10.1.9.7 10.1.9.5 80 core fetch core 10.20.2.9 80
  refused "a segment of no connection" not_syn rst app ack 10.1.1.10 10.1.9.5 80 core fetch core 10.20.2.9 80
  refused "a source outside the VNet" source_not_allowed none outsider syn 172.16.0.9 10.1.9.5 80 core fetch core 10.20.2.9 80
  answers "a peer, in another region" "this is shop" fetch peer 10.1.9.5 80
  refused "a peer of a peer, through the peer's router" source_not_allowed none far syn 10.3.1.10 10.1.9.5 80 core fetch core 10.20.2.9 80
  answers "on-premises, through a router and a tunnel" "this is shop" fetch desk 10.1.9.5 80
  refused "the provider, opening a connection to a NAT IP" no_session any web syn 10.20.2.9 10.20.99.5 80 spoke fetch spoke 203.0.113.7 80
}

# --- overlapping networks, several endpoints --------------------------------------------------------

show_overlap() {
  start_line
  local a b
  from_one_port twin-a 10.50.0.10 10.50.9.4 >"$WORK/a" 2>&1 &
  a=$!
  from_one_port twin-b 10.50.0.10 10.50.9.4 >"$WORK/b" 2>&1 &
  b=$!
  wait "$a" "$b" || true
  bodies "$WORK/a" "$WORK/b"
  if [[ $BODIES == "this is service-a, this is service-b" ]] && overlapping "$WORK/a" "$WORK/b"; then
    ok "two VNets with one address space, at once" "10.50.0.10:40000 → 10.50.9.4:80 in both, $OVERLAP s side by side: \"$BODIES\""
  else
    failed "two VNets with one address space, at once" "\"$BODIES\""
  fi

  start_line
  from_one_port spoke 10.1.0.10 10.1.9.5 10.1.9.8 10.1.10.4 >"$WORK/a" 2>&1 || true
  bodies "$WORK/a"
  if [[ $BODIES == "this is shop, this is shop, this is shop" ]] && overlapping "$WORK/a"; then
    ok "three endpoints of one resource, in two subnets, at once" "10.1.0.10:40000 → 10.1.9.5, 10.1.9.8 and 10.1.10.4, $OVERLAP s side by side"
  else
    failed "three endpoints of one resource, in two subnets, at once" "\"$BODIES\""
  fi
}

# from_one_port NS SOURCE ADDRESS...: connections to all, at once, from port 40000.
from_one_port() { lab_in "$1" "$LAB_PYTHON" scripts/lab/together.py "$2" 40000 "${@:3}"; }

# BODIES is what was read, OVERLAP how many seconds all connections were open together.
bodies() { BODIES=$(awk '{ sub(/^[0-9.]+ [0-9.]+ /, ""); printf "%s%s", (NR > 1 ? ", " : ""), $0 }' "$@"); }

overlapping() {
  OVERLAP=$(awk 'NR == 1 || $1 > from { from = $1 } NR == 1 || $2 < to { to = $2 } END { printf "%.2f", to - from }' "$@")
  [[ $OVERLAP != -* ]]
}

# --- bulk, and the end of it ------------------------------------------------------------------------

show_download() {
  start_line
  local speed sent got
  speed=$(fetch spoke 10.1.9.5 80 large.bin --max-time 60 -o "$WORK/large.bin" -w '%{speed_download}' 2>&1) || true
  sent=$(sha256sum <"$WORK/www/shop/large.bin")
  got=$(sha256sum 2>/dev/null <"$WORK/large.bin") || got=nothing
  rm -f "$WORK/large.bin"
  if [[ $sent == "$got" ]]; then
    ok "a download of 512 MiB" "$(awk -v s="$speed" 'BEGIN { printf "%.2f Gbit/s", s * 8 / 1e9 }'), sha256 ${got:0:16}… on both sides"
  else
    failed "a download of 512 MiB" "curl: $speed; sent ${sent:0:16}…, got ${got:0:16}…"
  fi
}

# A download at full speed and an idle psql, both cut by a reject.
show_rejection() {
  start_line
  capture consumer spoke pl-spoke
  capture provider core pl-core
  local download idle began rejected_shop rejected_orders problems=()
  lab_start spoke curl -sS --noproxy '*' --max-time 30 -o /dev/null http://10.1.9.5/endless.bin >"$WORK/curl.err" 2>&1
  download=$LAB_PID
  mkfifo "$WORK/sql"
  exec 7<>"$WORK/sql"
  PGCONNECT_TIMEOUT=3 lab_start app psql -h 10.1.9.4 -U demo -d postgres -qAt <&7 >"$WORK/psql.out" 2>"$WORK/psql.err"
  idle=$LAB_PID
  echo "select 'connected';" >&7
  lab_until 15 grep -q connected "$WORK/psql.out" || problems+=("psql does not connect: $(tail -1 "$WORK/psql.err")")
  lab_until 15 connected spoke 10.1.9.5 || problems+=("the download does not start")
  sleep 1

  began=$EPOCHREALTIME
  privlink connection reject shop --reason "demo" >"$WORK/reject.out" 2>&1 || problems+=("reject fails: $(tail -1 "$WORK/reject.out")")
  rejected_shop=$EPOCHREALTIME
  privlink connection reject orders --reason "demo" >"$WORK/reject.out" 2>&1 || problems+=("reject fails: $(tail -1 "$WORK/reject.out")")
  rejected_orders=$EPOCHREALTIME

  lab_until 15 gone spoke 10.1.9.5 || problems+=("the download's client still has its connection")
  lab_until 15 gone app 10.1.9.4 || problems+=("psql still has its connection")
  lab_until 15 gone web 10.20.99.5 10.20.99.6 || problems+=("nginx still has the connection")
  lab_until 15 gone db 10.20.99.4 || problems+=("PostgreSQL still has the connection")
  captured consumer
  captured provider
  { complete consumer && complete provider; } || problems+=("a capture lost packets")
  kill "$download" 2>/dev/null || true
  local curl_status=0
  wait "$download" || curl_status=$?
  exec 7>&-
  lab_stop "$idle"
  rm -f "$WORK/sql"

  ((curl_status == 56)) || problems+=("curl ends with status $curl_status: $(tail -1 "$WORK/curl.err")")
  # The kernel tells them at once; they write it down when they are run. A sendfile() that had sent a part takes the
  # error with it: the next one finds the socket shut.
  lab_until 15 grep -Eq 'reset by peer|sendfile\(\) failed \(32: Broken pipe\)' "$WORK/nginx/error.log" ||
    problems+=("nginx did not see a reset: $(tail -1 "$WORK/nginx/error.log")")
  lab_until 15 grep -q 'reset by peer' "$WORK/pg/log" ||
    problems+=("PostgreSQL did not see a reset: $(tail -1 "$WORK/pg/log")")
  local last resets
  # The hosts' segments carry timestamps. What privlink makes itself (resets, and a bare ACK that asks the server whether
  # its end is gone, as soon as nothing else is to be done) has no options.
  local of_hosts='tcp[12] & 0xf0 > 0x50'
  last=$({
    last_packet consumer "src host 10.1.9.5 and $of_hosts"
    last_packet provider "(src host 10.20.99.5 or src host 10.20.99.6) and $of_hosts"
  } | sort | tail -1)
  resets="$(packets consumer 'src host 10.1.9.5 and tcp[tcpflags] & tcp-rst != 0')/$(packets provider '(src host 10.20.99.5 or src host 10.20.99.6) and tcp[tcpflags] & tcp-rst != 0')"
  [[ -n $last ]] || problems+=("the captures saw nothing forwarded")
  [[ $last < $rejected_shop ]] || problems+=("a packet was forwarded $(milliseconds "$rejected_shop" "$last") ms after reject returned")
  verdict "reject in mid-download: reset at both ends" \
    "last forwarded packet $(milliseconds "$began" "$last") ms after the command began, which returned after $(milliseconds "$began" "$rejected_shop") ms; curl: connection reset; nginx: reset by peer; RSTs $resets" \
    "${problems[@]}"

  start_line
  problems=()
  resets="$(packets provider 'src host 10.20.99.4 and tcp[tcpflags] & tcp-rst != 0')"
  ((resets > 0)) || problems+=("no RST reached PostgreSQL")
  last=$(last_packet provider "src host 10.20.99.4 and $of_hosts")
  [[ -n $last ]] || problems+=("the capture saw nothing forwarded")
  [[ $last < $rejected_orders ]] || problems+=("a packet was forwarded after reject returned")
  verdict "and an idle psql too, which sent nothing" \
    "neither end has the connection, PostgreSQL logged reset by peer; reject returned after $(milliseconds "$rejected_shop" "$rejected_orders") ms" \
    "${problems[@]}"

  refused "the rejected endpoint" not_approved_rejected rst app syn 10.1.1.10 10.1.9.5 80 core fetch core 10.20.2.9 80
}

# connected NS ADDRESS; gone NS ADDRESS...: whether NS has TCP connections with these remote addresses.
connected() { lab_in "$1" ss -Htn state established dst "$2" | grep -q .; }

gone() {
  local name=$1 address
  shift
  for address in "$@"; do
    if lab_in "$name" ss -Htn dst "$address" | grep -v TIME-WAIT | grep -q .; then return 1; fi
  done
}

# --- the books, and a dead forwarder ----------------------------------------------------------------

show_counters() {
  start_line
  lab_until 15 books_balance || true
  if books_balance; then
    ok "the counters add up against the kernel's" "$BOOKS"
  else
    failed "the counters add up against the kernel's" "$BOOKS"
  fi
}

# Law 4: what the devices sent is what was read, and each read ended in one verdict.
books_balance() {
  local kernel=0 name all read out
  for name in spoke peer twin-a twin-b core; do
    kernel=$((kernel + $(device_packets "$name" "pl-$name")))
  done
  all=$(scrape)
  read=$(verdict_count read "$all")
  out=$(($(verdict_count forwarded "$all") + $(verdict_count dropped "$all") + $(verdict_count handed_out "$all") + $(verdict_count held "$all")))
  BOOKS="kernel $kernel = read $read; read + handed_in $(verdict_count handed_in "$all") = forwarded $(verdict_count forwarded "$all") + dropped $(verdict_count dropped "$all") + handed_out $(verdict_count handed_out "$all") + held $(verdict_count held "$all")"
  ((kernel == read && read > 0 && read + $(verdict_count handed_in "$all") == out && $(drop_count '' "$all") == $(verdict_count dropped "$all")))
}

show_kill() {
  start_line
  local problems=() before after consumer provider
  answers_now "this is billing" fetch app 10.1.9.7 80 || problems+=("the endpoint did not answer before")
  kill -KILL "$DAEMON" || problems+=("it was dead already")
  wait "$DAEMON" 2>/dev/null || true
  DAEMON=
  consumer=$(probe app syn 10.1.1.10 10.1.9.7 80 3)
  probe spoke syn 10.1.0.10 10.1.10.4 80 3 >/dev/null 2>&1 || true
  probe twin-a udp 10.50.0.10 10.50.9.4 80 3 >/dev/null 2>&1 || true
  provider=$(probe web syn 10.20.2.10 10.20.99.8 40000 3)
  [[ $(answers_of "$consumer" synack) == 0 && $(answers_of "$provider" synack) == 0 ]] || problems+=("something answered: $consumer / $provider")
  before=$(grep -c . "$WORK/decoy-spoke.log")
  [[ $(fetch app 203.0.113.7 80) == decoy && $(fetch web 203.0.113.7 80) == decoy ]] || problems+=("a decoy is dead, and proves nothing")
  after=$(grep -c . "$WORK/decoy-spoke.log")
  ((after > before)) || problems+=("the decoy's log does not grow")
  local leaked
  leaked=$(cat "$WORK/decoy-spoke.log" "$WORK/decoy-core.log" | grep -cE ' 10\.(1\.9|1\.10|50\.9|20\.99)\.[0-9]+ [0-9]+$' || true)
  ((leaked == 0)) || problems+=("$leaked packets for endpoints or NAT IPs reached a decoy")
  verdict "kill -9: nothing leaks" \
    "12 packets sent to endpoints and NAT IPs, consumer got $(answers_of "$consumer" icmp) × unreachable; of $(grep -c tcp "$WORK/decoy-spoke.log") + $(grep -c tcp "$WORK/decoy-core.log") TCP packets that decoys saw, 0 were for them" \
    "${problems[@]}"
}

show_restart() {
  start_line
  local problems=()
  start_daemon || problems+=("it does not start again: $(tail -2 "$WORK/daemon.log")")
  lab_until 15 fetch app 10.1.9.7 80 || problems+=("an approved endpoint does not answer")
  answers_now "this is reports" fetch app 10.1.9.6 80 || problems+=("the endpoint approved live does not answer")
  verdict "started again: live decisions stand" "reports still answers; billing too" "${problems[@]}"
  refused "shop, Approved in the file and rejected live" not_approved_rejected rst app syn 10.1.1.10 10.1.9.5 80 core fetch core 10.20.2.9 80
}

# --- two principals ---------------------------------------------------------------------------------

# as TOKEN ARGUMENT...: a command as the holder of a token.
as() { PRIVLINK_TOKEN_FILE="$WORK/$1.token" privlink "${@:2}"; }

show_principals() {
  start_line
  local problems=() said who
  for who in tenant owner; do
    privlink token create "$who" --out "$WORK/$who.token" >/dev/null || problems+=("no token for $who")
  done
  privlink assignment create --principal token:tenant --role Reader --scope / >/dev/null || problems+=("no role for tenant")
  privlink assignment create --principal token:owner --role "Private Link Approver" --scope / >/dev/null || problems+=("no role for owner")
  if said=$(as tenant connection approve shop 2>&1); then problems+=("a reader approved"); fi
  [[ $said == *privateEndpointConnectionsApproval/action* ]] || problems+=("the refusal names no right: $said")
  verdict "a reader's token cannot approve" "${said%%$'\n'*}" "${problems[@]}"

  start_line
  problems=()
  as owner connection approve shop --reason "agreed anew" >/dev/null || problems+=("the owner cannot approve")
  answers_now "this is shop" fetch app 10.1.9.5 80 || problems+=("it does not answer")
  verdict "the owner's can, and it answers again" "\"this is shop\"" "${problems[@]}"

  start_line
  problems=()
  lab_in app bash -c 'exec 3<>/dev/tcp/10.1.9.5/80; sleep 20' &
  local holder=$! peer=''
  for _ in {1..50}; do
    peer=$(privlink flows --endpoint shop -o json | python3 -c '
import json, sys
for flow in json.load(sys.stdin)["items"]:
    if flow["state"].lower() == "established":
        print(flow["nat"]["ip"], flow["nat"]["port"], sep=":")' | head -1)
    [[ -z $peer ]] || break
    sleep 0.1
  done
  said=$(privlink who "${peer:-nobody}" 2>/dev/null) || true
  for who in shop 10.1.1.10 token:owner; do
    [[ $said == *$who* ]] || problems+=("who does not name $who: $said")
  done
  kill "$holder" 2>/dev/null || true
  wait "$holder" 2>/dev/null || true
  verdict "who names client, endpoint and approver of $peer, which the server sees" "$(tail -1 <<<"$said")" "${problems[@]}"

  start_line
  problems=()
  said=$(privlink explain --vnet spoke 10.1.1.10 10.1.9.5:81 2>&1) || true
  [[ $said == *PortNotExposed* || $said == *port* ]] || problems+=("explain says: $said")
  verdict "explain says what another port would meet" "$(head -1 <<<"$said")" "${problems[@]}"

  start_line
  problems=()
  privlink audit list --by token:owner | grep -q "agreed anew" || problems+=("the approval is not in the audit")
  said=$(privlink audit verify 2>&1) || problems+=("$said")
  verdict "the audit names the owner, and its chain holds" "$said" "${problems[@]}"
}

# --- one host, two interfaces -----------------------------------------------------------------------

show_two_legs() {
  start_line
  lab_two_legs
  mkdir "$WORK/box" "$WORK/box/www"
  echo "this is files" >"$WORK/box/www/index.html"
  lab_start store "$LAB_PYTHON" -m http.server --directory "$WORK/box/www" 8000 >/dev/null 2>&1
  sed "s|STATE|$WORK/box/state|; s|RUN|$WORK/box/run|" scripts/lab/two-legs.toml >"$WORK/box/privlink.toml"
  mkdir "$WORK/box/run"
  lab_start box "$PRIVLINK_BIN" run -c "$WORK/box/privlink.toml" >"$WORK/box/daemon.log" 2>&1
  local box=$LAB_PID problems=()
  lab_until 15 fetch box 10.70.1.9 8000 || problems+=("the store does not answer")
  lab_until 15 fetch tenant 10.60.9.4 80 || problems+=("no answer: $(tail -1 "$WORK/box/daemon.log")")
  answers_now "this is files" fetch tenant 10.60.9.4 80 || problems+=("the endpoint does not answer")
  [[ $(answers_of "$(probe tenant syn 10.60.1.10 10.70.99.4 80 3)" synack) == 0 ]] || problems+=("the tenant reaches a NAT IP")
  [[ $(answers_of "$(probe store syn 10.70.1.9 10.60.9.4 80 3)" synack) == 0 ]] || problems+=("the store reaches an endpoint")
  verdict "a tenant on one VLAN, a store on the other" "\"this is files\"; the tenant cannot reach the NAT IP, nor the store the endpoint" "${problems[@]}"
  if [[ ${LAB_KEEP:-0} != 1 ]]; then
    lab_stop "$box"
  fi
}

print_what_to_try() {
  cat <<TEXT

The lab is up. Try, from $PWD:
  scripts/lab.sh exec app curl http://10.1.9.7/
  scripts/lab.sh exec - $PRIVLINK_BIN --socket $WORK/run/privlink.sock status
  scripts/lab.sh exec - $PRIVLINK_BIN --socket $WORK/run/privlink.sock connection approve orders
  scripts/lab.sh exec app psql -h 10.1.9.4 -U demo -d postgres
  scripts/lab.sh exec core tcpdump -ni pl-core
  scripts/lab.sh exec - curl -s http://127.0.0.1:9464/metrics
  scripts/lab.sh down
TEXT
}

main "$@"
