#!/usr/bin/env bash
# The unmodified storage client for Python against Azurite with TLS, by the account's own name: through the resolver, an
# endpoint and NAT to port 10000 of the server.
#
#   scripts/storage.sh
#
# Installs Azurite and a Python virtual environment below target/ the first time.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=lab/packages.sh
. scripts/lab/packages.sh

main() {
  need python3=python3 ip=iproute2 node=nodejs npm=npm openssl=openssl dig=bind9-dnsutils dnsmasq=dnsmasq-base
  local target=${CARGO_TARGET_DIR:-$PWD/target}
  python_environment "$target/storage" tests/storage/requirements.txt
  node_environment "$target/azurite" tests/storage/packages.txt
  PRIVLINK_STORAGE_PYTHON=$target/storage/bin/python PRIVLINK_AZURITE=$target/azurite/node_modules/.bin/azurite-blob \
    PRIVLINK_TESTS=${PRIVLINK_TESTS:-netns} cargo test --locked --test netns storage:: -- --ignored
}

main "$@"
