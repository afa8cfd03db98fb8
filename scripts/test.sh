#!/usr/bin/env bash
# Every check there is; CI runs exactly this.
#
#   scripts/test.sh [--quick | --full] [--only STEP]...
#
#   --quick                  the first stage only: formatting, lints, documentation, layers, documents
#   --full                   long loops whole; else a part of each, always the same
#   --only STEP              one step; tests/README.md lists them, with what each takes
#   PRIVLINK_TESTS=no-netns  leaves out what needs namespaces and a TUN; the last line says so
#
# Installs what is missing (Debian or Ubuntu, with rustup's Rust). A missing TUN is a failure. Full
# output of every step stands in target/test-logs/. Ends with `N passed, N failed` on a line of its own.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

PASSED=0
FAILED=0
SKIPPED=0
ONLY=' '
STEPS=''
WARNINGS=()
# Built from its source the first time, without optimisation: that takes a minute instead of three.
DENY=0.20.2
LOGS=${CARGO_TARGET_DIR:-target}/test-logs

main() {
  local quick=no full=no
  while (($#)); do
    case $1 in
      --quick) quick=yes ;;
      --full) full=yes ;;
      --only) ONLY+="${2:?--only needs the name of a step} " && shift ;;
      *) sed -n '2,12s/^# \{0,1\}//p' "$0" && exit 64 ;;
    esac
    shift
  done
  mkdir -p "$LOGS"
  PATH=$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin
  # `cargo test` alone leaves them out; here they run unless somebody says no.
  if wants_netns; then PRIVLINK_TESTS=${PRIVLINK_TESTS:+$PRIVLINK_TESTS,}netns; fi
  if [[ $full == yes ]]; then PRIVLINK_TESTS=${PRIVLINK_TESTS:+$PRIVLINK_TESTS,}full; fi
  export PRIVLINK_TESTS

  stage "what the source looks like"
  step shell-lint check_shell
  step format cargo fmt --check
  step lint cargo clippy --quiet --all-targets --locked -- -D warnings
  step documentation env RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps --locked
  step requirements scripts/requirements.sh
  step planted scripts/planted.sh --dry
  step layers cargo test --locked --test layering
  step documents cargo test --locked --test documents
  [[ $quick == no ]] || finish

  stage "what the code does"
  step tools install_tools
  step audit audit
  if wants_netns; then step tun check_tun; else skip tun; fi
  step unit cargo test --locked --lib --bins
  local others
  mapfile -t others < <(other_tests)
  step integration cargo test --locked "${others[@]}" --examples
  step golden cargo test --locked --test golden
  step model cargo test --locked --test model
  # They wait more than they work: two for each processor take half the time of one.
  if wants_netns; then step netns env RUST_TEST_THREADS="$(($(nproc) * 2))" cargo test --locked --test host --test netns; else skip netns; fi
  step doc-tests cargo test --locked --doc
  if wants_netns; then
    step conformance scripts/conformance.sh "$([[ $full == yes ]] && echo --all || echo --sample)"
    step sdk env OLDER="$([[ $full == no ]] || echo all)" scripts/sdk.sh
    step storage scripts/storage.sh
  else
    skip conformance
    skip sdk
    skip storage
  fi

  stage "what a user sees"
  # Optimised, but linked without a second round of it: that is a minute less.
  export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_DEBUG=0 RUSTFLAGS=''
  # All in one go: the examples' dependencies have features of their own, and would be built twice.
  step release cargo build --release --quiet --locked --bin privlink --example hits --example lab
  step instructions scripts/instructions.sh
  if wants_netns; then step demo env PRIVLINK_BIN="${CARGO_TARGET_DIR:-target}/release/privlink" scripts/demo.sh; else skip demo; fi
  [[ $full == yes ]] || note "sampled: --full runs every round of model and netns, every pair of families in conformance, every line of tests/sdk/older.txt in sdk"
  finish
}

wants_netns() { [[ ,${PRIVLINK_TESTS:-}, != *,no-netns,* ]]; }

# Tests in Rust without a step of their own.
other_tests() {
  local path name
  for path in tests/*.rs tests/*/main.rs; do
    name=${path#tests/} name=${name%/main.rs} name=${name%.rs}
    case $name in layering | documents | golden | model | netns | host) ;; *) printf -- '--test\n%s\n' "$name" ;; esac
  done
}

check_shell() {
  need shellcheck=shellcheck python3=python3
  local scripts
  mapfile -t scripts < <(git ls-files '*.sh' .ci/run)
  shellcheck -x "${scripts[@]}"
  python3 -c 'import ast, sys; [ast.parse(open(name).read(), name) for name in sys.argv[1:]]' scripts/lab/*.py scripts/bench/*.py tests/sdk/*.py tests/storage/*.py tests/wire/*.py tests/wire/cases/*.py
}

install_tools() {
  need cc=gcc ip=iproute2 nft=nftables tcpdump=tcpdump iperf3=iperf3 curl=curl python3=python3 nginx=nginx \
    initdb=postgresql psql=postgresql-client setpriv=util-linux ping=iputils-ping traceroute=traceroute sysctl=procps awk=mawk strace=strace \
    dig=bind9-dnsutils dnsmasq=dnsmasq-base unbound=unbound named=bind9 musl-gcc=musl-tools openssl=openssl
  unpack_resolved "${CARGO_TARGET_DIR:-target}/resolved"
}

# Licences, sources and doubles of the dependencies; known holes of theirs where the list of them can be fetched.
audit() {
  local tools=${CARGO_TARGET_DIR:-target}/tools
  PATH=$tools/bin:$PATH
  [[ $(cargo deny --version 2>/dev/null) == "cargo-deny $DENY" ]] ||
    cargo install --quiet --locked --debug --no-default-features --root "$tools" "cargo-deny@$DENY"
  cargo deny --locked check licenses bans sources
  if timeout 120 cargo deny --locked fetch db; then
    cargo deny --locked check --disable-fetch advisories
  else
    echo "warning: known holes of the dependencies are unchecked: the list of them cannot be fetched from https://github.com/RustSec/advisory-db"
  fi
}

check_tun() {
  [[ -c /dev/net/tun ]] || {
    echo "no /dev/net/tun: load the module (modprobe tun), or give the container the device;"
    echo "PRIVLINK_TESTS=no-netns leaves these tests out, and says so"
    return 1
  }
  # shellcheck disable=SC2016
  local try='ip tuntap add dev try0 mode tun multi_queue && ip link set try0 up'
  if ((EUID == 0)); then unshare --net sh -c "$try"; else unshare --user --map-root-user --net sh -c "$try"; fi
}

# --- steps ------------------------------------------------------------------------------------------

stage() { printf '\n%s\n' "$1"; }

# wanted NAME: whether a step runs.
wanted() {
  STEPS+=" $1"
  [[ $ONLY == ' ' || $ONLY == *" $1 "* ]]
}

note() { [[ $ONLY != ' ' ]] || WARNINGS+=("$1"); }

# step NAME CMD...: a line with its time; the end of its output if it failed.
step() {
  wanted "$1" || return 0
  local name=$1 log=$LOGS/$1.log began=$EPOCHREALTIME status=0 passed=0 failed=0 count
  shift
  # A subshell that stops at the first error: in a condition, or with `||` behind it, a function would not.
  set +e
  (set -e; "$@") >"$log" 2>&1 </dev/null
  status=$?
  set -e
  while read -r _ _ _ passed_here _ failed_here _; do
    passed=$((passed + passed_here))
    failed=$((failed + failed_here))
  done < <(grep '^test result:' "$log" || true)
  count="$passed tests"
  if ((passed + failed == 0)); then
    count=''
    passed=$((status == 0 ? 1 : 0))
  fi
  if ((status != 0 && failed == 0)); then failed=1; fi
  PASSED=$((PASSED + passed))
  FAILED=$((FAILED + failed))
  printf '  %-6s %6.1f s  %-14s %s\n' "$( ((status == 0)) && echo ok || echo FAILED)" \
    "$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')" "$name" "$count"
  mapfile -t -O "${#WARNINGS[@]}" WARNINGS < <(grep '^warning: known' "$log" || true)
  if ((status != 0)); then
    grep -E '^(test .* FAILED|error|  FAILED|lab:)' "$log" | head -40 | sed 's/^/    /' || true
    # What a test said when it failed, which the backtraces of many would hide.
    grep -E -A 4 '^thread .* panicked at ' "$log" | cut -c1-400 | head -80 | sed 's/^/    ! /' || true
    [[ $name == demo ]] || tail -n 30 "$log" | sed 's/^/    | /'
  elif [[ $name == demo ]]; then
    sed -n '/^set-up/,$s/^/    /p' "$log"
  fi
}

skip() {
  wanted "$1" || return 0
  SKIPPED=$((SKIPPED + 1))
  printf '  skipped           %s\n' "$1"
}

finish() {
  if ((PASSED + FAILED + SKIPPED == 0)); then
    printf '\nno such step: choose from%s\n' "$STEPS"
    exit 64
  fi
  printf '\n'
  ((${#WARNINGS[@]} == 0)) || printf '%s\n' "${WARNINGS[@]}"
  if wants_netns; then
    printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
  else
    printf 'no-netns: %d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
  fi
  ((FAILED == 0)) || exit 1
  exit 0
}

main "$@"
