#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Makes this machine able to build Jackdaw: installs what is missing of Debian's packages, and gets
# nng. Does nothing, quickly, where all is there.
#
# usage: scripts/setup.sh [--test] [--ci]
#   --test  also what the tests run
#   --ci    also what the checks in .ci/run need
# JACKDAW_SKIP_SETUP=1 trusts the machine as it is (for other systems than Debian).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh

wanted='build'
for arg in "$@"; do
  case $arg in
    --test) wanted+=' test' ;;
    --ci) wanted+=' test ci' ;;
    *) die "unknown option $arg: scripts/setup.sh takes --test and --ci." ;;
  esac
done

# who needs it | package | oldest version that will do, or - | what for
table='
build|gcc|-|the C compiler
build|libc6-dev|-|the C library to build with
build|make|-|the short commands: make run, make test
build|cmake|3.25|configures the build
build|ninja-build|-|runs the build
build|pkg-config|-|tells CMake where the libraries are
build|libprotobuf-c-dev|1.4|encodes and decodes every message and delta
build|protobuf-c-compiler|1.4|makes C code from proto/spec.proto
build|libsqlite3-dev|3.40|the database in the server
build|libsodium-dev|1.0.18|hashes passwords and draws tokens
build|libutf8proc-dev|2.8|compares names whatever their case and script
build|libedit-dev|3.1|the line being typed in the client
build|libncurses-dev|6|colours and keys of the terminal
build|libjansson-dev|2.14|JSON lines of the client, for bots and scripts
build|uthash-dev|2.1|hash tables
build|libcmocka-dev|1.1.5|runs the unit tests
test|tmux|-|a terminal for the tests of the client
test|strace|-|makes single system calls fail in tests
test|iproute2|-|networks of their own for tests
ci|git|2.35|lists the files to check
ci|clang-format-14|-|checks the format of the code
ci|clang-tidy-14|-|looks for common mistakes
ci|clang|-|builds the fuzz targets
ci|libclang-rt-14-dev|-|sanitizers and the fuzzer for clang
ci|shellcheck|-|checks the scripts
'

# check: fills `missing` and `old`, and `reasons` with a line for each.
check() {
  local who package minimum purpose version
  local -A installed=()
  # The ${NAMES} are dpkg's.
  # shellcheck disable=SC2016
  while IFS=' ' read -r status package version; do
    [[ $status == installed ]] && installed[$package]=$version
  done < <(awk -F'|' 'NF { print $2 }' <<<"$table" |
    xargs dpkg-query -W -f '${db:Status-Status} ${Package} ${Version}\n' 2>/dev/null)
  missing=() old=() reasons=()
  while IFS='|' read -r who package minimum purpose; do
    [[ -n $package && " $wanted " == *" $who "* ]] || continue
    version=${installed[$package]:-}
    if [[ -z $version ]]; then
      missing+=("$package")
      reasons+=("$(printf '  %-22s %s' "$package" "$purpose")")
    elif [[ $minimum != - ]] && ! dpkg --compare-versions "$version" ge "$minimum"; then
      old+=("$package")
      reasons+=("$(printf '  %-22s %s (%s is here, %s or newer is needed)' \
        "$package" "$purpose" "$version" "$minimum")")
    fi
  done <<<"$table"
}

# A package list can be right and the compiler still be absent, as after an unfinished installation.
check_commands() {
  local command
  for command in cc cmake ninja pkg-config protoc-c; do
    command -v "$command" >/dev/null ||
      die "'$command' is not to be found although its package is installed: run 'apt-get install --reinstall' for it, or mend PATH."
  done
}

by_hand() {
  awk -F'|' -v wanted=" $wanted " 'NF && index(wanted, " " $1 " ") {
    printf "  %-22s %-8s %s\n", $2, ($3 == "-" ? "" : ">= " $3), $4 }' <<<"$table" >&2
}

if [[ ${JACKDAW_SKIP_SETUP:-0} == 1 ]]; then
  exit 0
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  say "Jackdaw is built from these (Debian's names and versions):" >&2
  by_hand
  die "this script installs packages on Debian only: install the above and nng 1.12 by hand, then set JACKDAW_SKIP_SETUP=1 and try again."
fi

check
all=("${missing[@]}" "${old[@]}")
if ((${#all[@]} > 0)); then
  as_root=(env) through=''
  if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
      printf '%s\n' "${reasons[@]}" >&2
      die "the packages above are missing and there is no sudo here: as root, run 'apt-get install ${all[*]}', and try again."
    fi
    # Without a terminal nobody can type a password.
    if [[ -t 0 ]]; then
      as_root=(sudo env)
    else
      as_root=(sudo -n env)
    fi
    through=', as root through sudo'
  fi
  say "Installing ${#reasons[@]} packages with apt$through:"
  printf '%s\n' "${reasons[@]}"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  apt=("${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  say "This can take a few minutes."
  "${apt[@]}" update >"$log" 2>&1 || {
    sed 's/^/  /' "$log" >&2
    die "apt-get update failed (its words are above): check the network, the mirror and your rights, and try again."
  }
  "${apt[@]}" install -y --no-install-recommends "${all[@]}" >"$log" 2>&1 </dev/null || {
    tail -n 20 "$log" | sed 's/^/  /' >&2
    die "apt-get install failed (its last words are above): mend that and try again."
  }
  check
  if ((${#reasons[@]} > 0)); then
    printf '%s\n' "${reasons[@]}" >&2
    die "this system's packages are too old for Jackdaw (above): Debian 12 or newer is needed."
  fi
fi
check_commands
scripts/get_nng.sh
