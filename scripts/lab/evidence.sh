# shellcheck shell=bash
# Lines with evidence: what scripts/demo.sh says, and how it knows. Sourced after lab.sh; WORK is the
# demo's folder.

PASSED=0
FAILED=0
STARTED=$SECONDS
LINE_STARTED=$EPOCHREALTIME
# Packets each probe sends.
PROBES=3

if [[ -t 1 ]]; then GREEN=$'\e[32m' RED=$'\e[31m' BOLD=$'\e[1m' PLAIN=$'\e[0m'; else GREEN='' RED='' BOLD='' PLAIN=''; fi

heading() { printf '\n%s%s%s\n' "$BOLD" "$1" "$PLAIN"; }

start_line() { LINE_STARTED=$EPOCHREALTIME; }

# ok TITLE EVIDENCE; failed TITLE EVIDENCE
ok() {
  PASSED=$((PASSED + 1))
  line "${GREEN}ok${PLAIN}    " "$@"
}

failed() {
  FAILED=$((FAILED + 1))
  line "${RED}FAILED${PLAIN}" "$@"
}

line() { printf '  %s %5.1f s  %s: %s\n' "$1" "$(seconds "$LINE_STARTED" "$EPOCHREALTIME")" "$2" "$3"; }

# verdict TITLE EVIDENCE [PROBLEM]...: fails if there is a problem.
verdict() {
  local title=$1 evidence=$2 problems
  shift 2
  if (($# == 0)); then
    ok "$title" "$evidence"
  else
    problems=$(printf '%s; ' "$@")
    failed "$title" "${problems%; }"
  fi
}

summary() {
  printf '\n%d lines hold, %d do not, %d s\n' "$PASSED" "$FAILED" "$((SECONDS - STARTED))"
  ((FAILED == 0))
}

seconds() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", b - a }'; }
milliseconds() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", (b - a) * 1000 }'; }

# --- answers and refusals ---------------------------------------------------------------------------

# answers TITLE EXPECTED CMD...: CMD prints EXPECTED.
answers() {
  local title=$1 expected=$2 got
  shift 2
  start_line
  got=$("$@" 2>&1 | tail -1) || true
  if [[ $got == "$expected" ]]; then ok "$title" "\"$got\""; else failed "$title" "\"$got\" instead of \"$expected\""; fi
}

answers_now() {
  local expected=$1
  shift
  [[ $("$@" 2>/dev/null) == "$expected" ]]
}

# refused TITLE REASON ANSWER NS KIND SOURCE DESTINATION PORT WATCHED ALIVE...
#
# Sends packets of KIND from NS and proves that they were refused for REASON: the drop counter grew by
# exactly their number, each was answered with ANSWER (rst, icmp, none; any), a capture in the namespace
# WATCHED saw none of them, and ALIVE, a direct way to the target, works at that moment and is what the
# same capture did see.
refused() {
  local title=$1 reason=$2 answer=$3 name=$4 kind=$5 source=$6 destination=$7 port=$8 watched=$9
  shift 9
  start_line
  local before grown sent answered leaked seen problems=()
  before=$(drop_count "$reason")
  capture "refused" "$watched" any
  "$@" >/dev/null 2>&1 || problems+=("the target is dead, so this proves nothing")
  sent=$(probe "$name" "$kind" "$source" "$destination" "$port" "$PROBES")
  lab_until 15 drops_reach "$reason" $((before + PROBES)) || true
  captured "refused"
  grown=$(($(drop_count "$reason") - before))
  leaked=$(packets "refused" "$(leak_filter "$watched" "$source")")
  seen=$(packets "refused" "not ($(leak_filter "$watched" "$source"))")
  answered=$(answers_of "$sent" "$answer")

  ((grown == PROBES)) || problems+=("$reason grew by $grown, not by the $PROBES packets sent")
  ((leaked == 0)) || problems+=("a capture in $watched saw $leaked packets")
  complete "refused" || problems+=("the capture lost packets, so it proves nothing")
  ((seen > 0)) || problems+=("the capture in $watched saw nothing at all, so it proves nothing")
  [[ $answered == any || $answered == "$PROBES" ]] || problems+=("answers differ from $answer: $sent")
  [[ $(answers_of "$sent" synack) == 0 ]] || problems+=("$(answers_of "$sent" synack) SYN-ACK came back")
  verdict "$title is refused" \
    "$PROBES sent, $reason +$grown, answer: $answer; capture in $watched: 0 of these, $seen of the direct check" "${problems[@]}"
}

# What would show that a packet crossed to the provider: a NAT IP, or the consumer's own address. To the
# consumer: the provider's address.
leak_filter() {
  if [[ $1 == core ]]; then echo "net 10.20.99.0/24 or host $2"; else echo "host $2"; fi
}

# probe NS KIND SOURCE DESTINATION PORT COUNT
probe() {
  local name=$1
  shift
  lab_in "$name" "$LAB_PYTHON" scripts/lab/probe.py "$@" 2>/dev/null
}

# answers_of REPORT WHAT: how many of WHAT a probe's report names; for none, whether there were none.
answers_of() {
  case $2 in
    any) echo any ;;
    none) if [[ $1 == *"rst=0 synack=0 icmp=0 udp=0 echo=0" ]]; then echo "$PROBES"; else echo some; fi ;;
    *) sed -n "s/.*$2=\([0-9]*\).*/\1/p" <<<"$1" ;;
  esac
}

# --- captures ---------------------------------------------------------------------------------------

declare -A CAPTURES=()

# capture LABEL NS INTERFACE: starts one, and waits until it runs.
capture() {
  local file=$WORK/$1.pcap
  if [[ ${LAB_NOBODY[0]} == unshare ]]; then
    lab_start "$2" "$LAB_PYTHON" scripts/lab/capture.py "$3" "$file" 2>"$WORK/$1.capture"
  else
    lab_start "$2" tcpdump -i "$3" -Z root -n -s 96 -B 16384 -U --immediate-mode -w "$file" ip 2>"$WORK/$1.capture"
  fi
  CAPTURES[$1]=$LAB_PID
  lab_until 15 grep -q 'listening on' "$WORK/$1.capture" ||
    printf '  the capture in %s does not start: %s\n' "$2" "$(tail -1 "$WORK/$1.capture")" >&2
}

# captured LABEL: ends it, once what is under way has arrived.
captured() {
  sleep 0.2
  lab_stop "${CAPTURES[$1]}"
}

# complete LABEL: whether the kernel lost none of a finished capture's packets.
complete() { grep -q '^0 packets dropped by kernel' "$WORK/$1.capture"; }

# packets LABEL FILTER: how many packets of a finished capture match.
packets() { shown "$@" | wc -l; }

# last_packet LABEL FILTER: when the last one was seen, in seconds since 1970.
last_packet() { shown "$@" | tail -1 | cut -d' ' -f1; }

# Read as nobody: tcpdump as root wants to become another user even to read a file.
shown() { "${LAB_NOBODY[@]}" tcpdump -ttnr - "$2" 2>/dev/null <"$WORK/$1.pcap" || true; }

# --- counters ---------------------------------------------------------------------------------------

scrape() { curl --silent --max-time 3 http://127.0.0.1:9464/metrics || true; }

# drop_count REASON [METRICS]: drops for that reason (empty: for any), over all workers.
drop_count() {
  local label=${1:+reason=\"$1\"}
  { if (($# > 1)); then echo "$2"; else scrape; fi; } | awk -v label="$label" \
    '/^privlink_drops_total\{/ && index($0, label) { sum += $NF } END { printf "%d\n", sum }'
}

# verdict_count VERDICT METRICS
verdict_count() {
  awk -v label="verdict=\"$1\"" '/^privlink_packets_total\{/ && index($0, label) { sum += $NF } END { printf "%d\n", sum }' <<<"$2"
}

drops_reach() { (($(drop_count "$1") >= $2)); }

# device_packets NS DEVICE: packets that the kernel handed to whoever reads the device.
device_packets() { ip -n "$1" -s link show dev "$2" | awk '/TX:/ { getline; sum = $2 } END { printf "%d\n", sum }'; }
