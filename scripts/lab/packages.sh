# shellcheck shell=bash
# Installs what a script needs, after saying so. Sourced.

# need COMMAND=PACKAGE...: says which packages are missing and installs them (apt), or fails under
# INSTALL=no. A service that such a package brings is never started.
need() {
  local pair missing=() packages=()
  for pair in "$@"; do
    have "${pair%%=*}" && continue
    missing+=("${pair%%=*}")
    packages+=("${pair#*=}")
  done
  ((${#missing[@]})) || return 0
  if [[ ${INSTALL:-yes} == no ]]; then
    printf 'missing: %s (packages: %s)\n' "${missing[*]}" "${packages[*]}" >&2
    return 1
  fi
  if ! command -v apt-get >/dev/null || ((EUID != 0)); then
    printf 'missing: %s. Install the packages %s and run this again.\n' "${missing[*]}" "${packages[*]}" >&2
    return 1
  fi
  printf 'installing with apt: %s\n' "${packages[*]}"
  without_services apt_install "${packages[@]}"
}

# A command on the path, an administrator's command, or (for initdb) a PostgreSQL version's own.
have() {
  if [[ $1 == initdb ]]; then postgres_bin >/dev/null; else PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null; fi
}

# Folder of the newest PostgreSQL's server programs.
postgres_bin() {
  local found
  found=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb /usr/bin/initdb /usr/local/bin/initdb | sort -rV |
    while read -r path; do if [[ -x $path ]]; then echo "$path" && break; fi; done)
  [[ -n $found ]] && dirname "$found"
}

apt_install() {
  local log
  log=$(mktemp)
  export DEBIAN_FRONTEND=noninteractive
  if ! { apt-get update -q && apt-get install -qy --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
    tail -20 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# Runs "$@" while Debian's policy hook forbids packages to start services.
without_services() {
  local hook=/usr/sbin/policy-rc.d status=0
  if [[ -e $hook ]]; then
    "$@"
    return
  fi
  printf '#!/bin/sh\nexit 101\n' >"$hook"
  chmod 755 "$hook"
  "$@" || status=$?
  rm -f "$hook"
  return "$status"
}

# python_environment DIRECTORY REQUIREMENTS: a virtual environment as the file says, made anew when that has changed.
python_environment() {
  cmp -s "$2" "$1/installed.txt" && return
  rm -rf "$1"
  # Debian keeps the module that makes environments in a package of its own.
  python3 -c 'import ensurepip' 2>/dev/null || without_services apt_install python3-venv
  python3 -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check -r "$2"
  cp "$2" "$1/installed.txt"
}

# node_environment DIRECTORY PACKAGES: npm packages as the file says, made anew when that has changed.
node_environment() {
  cmp -s "$2" "$1/installed.txt" && return
  rm -rf "$1"
  mkdir -p "$1"
  local packages
  mapfile -t packages <"$2"
  npm install --prefix "$1" --no-save --no-audit --no-fund --loglevel=error "${packages[@]}"
  cp "$2" "$1/installed.txt"
}

# unpack_resolved DIRECTORY: the files of systemd-resolved, unless this system has it. It is not installed, since that
# changes whom this system asks for names.
unpack_resolved() {
  local directory=$1 archive
  if [[ -e /usr/lib/systemd/systemd-resolved || -e $directory/unpacked ]]; then return; fi
  rm -rf "$directory"
  mkdir -p "$directory/archives"
  apt-get update -q
  (cd "$directory/archives" && apt-get download -q systemd-resolved libsystemd-shared)
  for archive in "$directory"/archives/*.deb; do dpkg -x "$archive" "$directory"; done
  : >"$directory/unpacked"
}
