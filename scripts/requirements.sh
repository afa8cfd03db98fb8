#!/usr/bin/env bash
# Prints which test shows which requirement; fails if one is shown by none.
#
#   scripts/requirements.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec python3 scripts/lab/requirements.py
