#!/usr/bin/env bash
# Looks for inputs that break the packet path, ICMP errors, fragments, the configuration (see tests/fuzz/harness.rs)
# or names (tests/fuzz/names.rs).
#
#   scripts/fuzz.sh [--seconds N] [TARGET...]   all targets, 60 s each, one after the other
#
# Starts from tests/fuzz/corpus/TARGET.txt, which `cargo test --test fuzz` replays. What is new goes to
# target/fuzz/TARGET; an input that fails is added to tests/fuzz/regressions/TARGET.txt and is replayed from then on.
# Needs cargo-fuzz and a C++ compiler; coverage is counted with the stable compiler, without a sanitizer.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

PROJECT=tests/fuzz/cargo-fuzz

# inputs FILE DIRECTORY: each line of a file, which is hexadecimal, as a file of its own.
inputs() {
  DIRECTORY=$2 perl -ne 'chomp; open my $file, ">:raw", "$ENV{DIRECTORY}/kept-$." or die $!; print $file pack "H*", $_' "$1"
}

# keep DIRECTORY FILE: adds the inputs in a directory to a file, as lines.
keep() {
  local input
  for input in "$1"/*; do
    [[ -e $input ]] || continue
    mkdir -p "$(dirname "$2")"
    perl -0777 -ne 'print unpack("H*", $_), "\n"' "$input" >>"$2"
    echo "kept in $2: $(basename "$input")"
  done
}

main() {
  local seconds=60 target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz name failed=0
  if [[ ${1:-} == --seconds ]]; then
    seconds=${2:?"--seconds needs a number"}
    shift 2
  fi
  case ${1:-} in -*) sed -n '2,11s/^# \{0,1\}//p' "$0" && exit 64 ;; esac
  [[ $seconds =~ ^[1-9][0-9]*$ ]] || { echo "fuzz: --seconds $seconds is no number of seconds"; exit 64; }
  (($#)) || set -- packets icmp fragments configuration dns
  for name; do
    [[ -e $PROJECT/fuzz_targets/$name.rs ]] || { echo "fuzz: no target $name: choose from packets, icmp, fragments, configuration, dns"; exit 64; }
  done
  need c++=g++
  command -v cargo-fuzz >/dev/null || cargo install --locked cargo-fuzz
  # The flags that count coverage are the compiler's unstable ones, and so is the target's own list of features.
  export RUSTC_BOOTSTRAP=1
  # It looks for its project in a folder called `fuzz` unless it is told.
  cargo fuzz build --fuzz-dir "$PROJECT" --sanitizer none --target-dir "$target/build"
  for name; do
    rm -rf "$target/failed/$name"
    mkdir -p "$target/$name" "$target/failed/$name"
    inputs "tests/fuzz/corpus/$name.txt" "$target/$name"
    echo "$name: $seconds s"
    "$target/build/$(rustc -vV | sed -n 's/^host: //p')/release/$name" "$target/$name" \
      -max_total_time="$seconds" -max_len=2048 -timeout=20 -print_final_stats=1 \
      -artifact_prefix="$target/failed/$name/" >"$target/$name.log" 2>&1 || failed=1
    grep -E '^(stat::number_of_executed_units|SUMMARY|thread .* panicked)|Test unit written' "$target/$name.log" || true
    keep "$target/failed/$name" "tests/fuzz/regressions/$name.txt"
  done
  exit "$failed"
}

main "$@"
