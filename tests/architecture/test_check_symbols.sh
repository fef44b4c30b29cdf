#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check_symbols.sh on small made-up libraries: the good one passes, and a planted name is found.
#
# usage: test_check_symbols.sh CC AR NM
set -euo pipefail
cc=$1 ar=$2 nm=$3
check=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/check_symbols.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
failures=0
printf 'chat: chat # the folder\nchat/rooms: make find_it=\n' >table

# expect STATUS TEXT CODE: what the check says of src/chat/apply_rooms.c with CODE, and a rooms.c.
expect() {
  local status=0 said
  printf 'int make_room(void);\nint make_room(void) { return 0; }\nint find_it;\nint room_count;\n' >rooms.c
  printf '%s\n' "$3" >apply_rooms.c
  "$cc" -c -o apply_rooms.c.o apply_rooms.c
  "$cc" -c -o rooms.c.o rooms.c
  rm -f chat.a
  "$ar" qc chat.a apply_rooms.c.o rooms.c.o
  said=$("$check" table "$nm" chat=chat.a 2>&1) || status=$?
  if ((status != $1)) || [[ $said != *"$2"* ]]; then
    printf 'expected status %s and "%s", got status %s and:\n%s\n\n' "$1" "$2" "$status" "$said" >&2
    failures=$((failures + 1))
  fi
}

expect 0 '7 symbols' 'int apply_it; int apply_rooms_all; int apply_room_one; int chat_new; static int planted;'
expect 1 'src/chat/apply_rooms.c: planted' 'int planted;'
expect 1 'src/chat/apply_rooms.c: applying' 'int applying;'
expect 1 'src/chat/apply_rooms.c: rooms_apply' 'int rooms_apply;'
expect 1 'src/chat/apply_rooms.c: make_room_too' 'int make_room_too;'
expect 1 'src/chat/apply_rooms.c: find_it_too' 'int find_it_too;'
printf 'chat/rooms make find_it\n' >table
expect 1 'is no rule' 'int apply_it;'
rm table
expect 1 'cannot read' 'int apply_it;'

((failures == 0)) || exit 1
echo 'check_symbols.sh finds names without their prefix.'
