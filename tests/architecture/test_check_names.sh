#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# check_names.sh on small made-up trees: the good one passes, and each way of being bad is found.
set -euo pipefail
check=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/check_names.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failures=0

# expect STATUS TEXT FILE CODE: what the check says of a tree with one more file, which has CODE.
expect() {
  local status=0 said
  rm -rf "$folder/tree"
  mkdir -p "$folder/tree"/{src/base,tests,bench}
  for ((i = 1; i < 32; i++)); do touch "$folder/tree/src/base/part$i".{c,h}; done
  printf 'struct founding_node {\n    int kept;\n};\nvoid f(struct seen *seen);\n' >"$folder/tree/src/base/part1.c"
  printf '%s\n' "$4" >"$folder/tree/$3"
  said=$("$check" "$folder/tree" 2>&1) || status=$?
  if ((status != $1)) || [[ $said != *"$2"* ]]; then
    printf 'expected status %s and "%s", got status %s and:\n%s\n\n' "$1" "$2" "$status" "$said" >&2
    failures=$((failures + 1))
  fi
}

expect 0 'named by nouns' src/base/timing.c 'int x;'
expect 0 'named by nouns' tests/test_given.c 'int x;'
expect 1 'src/base/kept.c' src/base/kept.c 'int x;'
expect 1 'tests/failed_dials.h' tests/failed_dials.h 'int x;'
expect 1 'bench/x.c:1' bench/x.c 'struct waiting_line {'
expect 1 'tests/x.h:1' tests/x.h 'enum sent {'
expect 0 'named by nouns' src/base/part32.c 'int x;'
mkdir -p "$folder/many/src/base" "$folder/many/tests" "$folder/many/bench"
for ((i = 1; i <= 33; i++)); do touch "$folder/many/src/base/part$i.c"; done
if said=$("$check" "$folder/many" 2>&1) || [[ $said != *'src/base/ has 33 modules'* ]]; then
  printf 'a folder of 33 modules passes: %s\n' "$said" >&2
  failures=$((failures + 1))
fi

((failures == 0)) || exit 1
echo 'check_names.sh finds participles and folders that are too large.'
