#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check_strata.sh on small made-up libraries: the good one passes, and a planted call upward is found.
#
# usage: test_check_strata.sh CC AR NM
set -euo pipefail
cc=$1 ar=$2 nm=$3
check=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/check_strata.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
failures=0

# expect STATUS TEXT ORDER CODE: what the check says of a library with log.c, with a role.c that uses it,
# and with a member_list.c that has CODE.
expect() {
  local status=0 said
  printf ' * STRATA\n *   %s\n * text\n' "$3" >order.h
  printf 'int log_end(void);\nint log_end(void) { return 0; }\n' >log.c
  printf 'int log_end(void);\nint role_now(void);\nint role_now(void) { return log_end(); }\n' >role.c
  printf '%s\n' "$4" >member_list.c
  rm -f replica.a
  for file in log role member_list; do "$cc" -c -o $file.c.o $file.c; done
  "$ar" qc replica.a role.c.o log.c.o member_list.c.o
  said=$("$check" order.h "$nm" replica.a 2>&1) || status=$?
  if ((status != $1)) || [[ $said != *"$2"* ]]; then
    printf 'expected status %s and "%s", got status %s and:\n%s\n\n' "$1" "$2" "$status" "$said" >&2
    failures=$((failures + 1))
  fi
}

readonly DOWN='int log_end(void); int member_count(void); int member_count(void) { return log_end(); }'
readonly UP='int role_now(void); int member_count(void); int member_count(void) { return role_now(); }'
expect 0 '3 files use 2 functions' 'log < member_list < role' "$DOWN"
expect 1 'member_list.c uses role_now of role.c, which is above it' 'log < member_list < role' "$UP"
expect 0 '3 files use 2 functions' 'log < role < member_list' "$UP"
expect 1 'member_list.c is not in the order' 'log < role' "$DOWN"
expect 1 'join is in the order, but the library has no such file' 'log < member_list < role < join' "$DOWN"
expect 1 'log stands in the order twice' 'log < member_list < log < role' "$DOWN"
expect 1 'has no order' 'nothing' "$DOWN"

((failures == 0)) || exit 1
echo 'check_strata.sh finds calls upward and files without a place.'
