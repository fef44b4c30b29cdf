#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check_paths.sh on small made-up trees: the good one passes, and each way of being bad is found.
set -euo pipefail
check=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/check_paths.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder"/{src/chat,docs}
touch "$folder/src/chat/room.c"
failures=0

# expect STATUS TEXT FILE CONTENT: what the check says when FILE has CONTENT.
expect() {
  local status=0 said
  printf '%s\n' "$4" >"$folder/$3"
  said=$("$check" "$folder" 2>&1) || status=$?
  rm "$folder/$3"
  if ((status != $1)) || [[ $said != *"$2"* ]]; then
    printf 'expected status %s and "%s", got status %s and:\n%s\n\n' "$1" "$2" "$status" "$said" >&2
    failures=$((failures + 1))
  fi
}

# The parts of a path stand apart, so that the check does not read them in this file.
good=src/chat gone=src/chat
expect 0 'All 1 paths' README.md "See \`$good/room.c\`."
expect 0 'All 1 paths' README.md "See \`chat/room.c\`."
expect 0 'All 1 paths' docs/guide.md "The files \`$good/r*.c\`."
expect 1 'README.md:1 names' README.md "See \`$gone/hall.c\`."
expect 1 'docs/guide.md:1 names' docs/guide.md "See \`chat/hall.c\`."
expect 1 'src/chat/x.h:1 names' src/chat/x.h "/* as in $gone/hall.c */"
expect 1 'no file names a path' README.md 'Nothing.'

((failures == 0)) || exit 1
echo 'check_paths.sh finds paths that do not exist.'
