#!/usr/bin/env bash
# How many instructions a hit takes, per kind of packet, against benches/instructions.tsv.
#
#   scripts/instructions.sh             fails where a kind takes over 5 % more, or less, than the file says
#   scripts/instructions.sh --renew     writes the file anew: after a change that is meant to cost or to save
#
# Counted by valgrind over a device in memory, so the machine's noise plays no part: the difference of two runs
# of unequal length, which starting up and opening the session are no part of. Built as in scripts/test.sh: release
# without link-time optimisation, for any x86-64. Another compiler counts otherwise: then nothing is compared, and
# the last line says so.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

BASELINE=benches/instructions.tsv
TOLERANCE=5
SHORT=1600
LONG=8000
HITS=${CARGO_TARGET_DIR:-target}/release/examples/hits

main() {
  local renew=no
  case ${1:-} in
    '') ;;
    --renew) renew=yes ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0" && exit 64 ;;
  esac
  PATH=$PATH:$HOME/.cargo/bin
  need cc=gcc valgrind=valgrind || exit 69
  CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_DEBUG=0 RUSTFLAGS='' cargo build --quiet --release --locked --bin privlink --example hits

  local measured compiler
  compiler="$(rustc --version), $(uname -m)"
  export -f per_packet count
  export HITS SHORT LONG
  measured=$("$HITS" list | xargs -P "$(nproc)" -I{} bash -c 'per_packet {}' | sort -V)
  [[ $(wc -l <<<"$measured") == $("$HITS" list | wc -l) ]] || { echo "valgrind counts nothing: see above" && exit 1; }
  if [[ $renew == yes ]]; then
    printf '# Instructions per packet of a hit; scripts/instructions.sh --renew writes this file. %s\n%s\n' "$compiler" "$measured" >"$BASELINE"
    cat "$BASELINE"
    return
  fi
  compare "$compiler" <<<"$measured"
}

# per_packet KIND: its name, and its instructions per packet with one decimal.
per_packet() {
  local short long
  short=$(count "$1" "$SHORT")
  long=$(count "$1" "$LONG")
  if [[ -n $short && -n $long ]]; then
    printf '%s\t%d.%d\n' "$1" $(((long - short) / (LONG - SHORT))) $(((long - short) * 10 / (LONG - SHORT) % 10))
  fi
}

count() {
  valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null "$HITS" "$1" "$2" 2>&1 |
    awk '/ I +refs:/ { gsub(",", "", $NF); print $NF; found = 1 } { all = all $0 "\n" } END { if (!found) printf "%s", all > "/dev/stderr" }'
}

# compare COMPILER: stdin against the baseline.
compare() {
  local kind now before change failed=0 same=no
  if head -1 "$BASELINE" | grep -qF "$1"; then same=yes; fi
  while IFS=$'\t' read -r kind now; do
    before=$(awk -F '\t' -v kind="$kind" '$1 == kind { print $2 }' "$BASELINE")
    change=$(awk -v a="${before:-0}" -v b="$now" 'BEGIN { printf "%+.1f", a ? (b / a - 1) * 100 : 100 }')
    printf '%-12s %7s instructions per packet, %7s before, %s %%\n' "$kind" "$now" "${before:-none}" "$change"
    if awk -v c="$change" -v t="$TOLERANCE" 'BEGIN { exit !(c > t || c < -t) }'; then failed=1; fi
  done
  if [[ $same == no ]]; then
    echo "not compared: the file was made with $(head -1 "$BASELINE" | sed 's/.*this file\. //'), this is $1"
  elif ((failed)); then
    echo "FAILED: more than $TOLERANCE % from $BASELINE. If that is meant, or it is an improvement, run scripts/instructions.sh --renew and commit the file"
    return 1
  else
    echo "all within $TOLERANCE % of $BASELINE"
  fi
}

main "$@"
