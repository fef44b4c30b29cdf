#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Shows that check_asserts.sh fails on what it is there to find, and only on that.
set -euo pipefail

here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/src/store"
failures=0

# expect STATUS PATTERN CODE: what the check says of a file that holds CODE.
expect() {
  local status=0 said
  printf '%s\n' "$3" >"$scratch/src/store/x.c"
  said=$("$here/check_asserts.sh" "$scratch" 2>&1) || status=$?
  if ((status != $1)) || [[ $said != *$2* ]]; then
    printf 'FAIL: status %d, not %d, or not "%s":\n%s\n%s\n' "$status" "$1" "$2" "$3" "$said" >&2
    failures=$((failures + 1))
  fi
}

expect 0 '1 assertions' 'ASSERT(a == b && c->d != 0 && e <= f && g >= h);'
expect 0 '1 assertions' 'ASSERT(member_is_in_sync(r, id) && is_open(x) && list_has_none(y) && sizeof(int) == 4);'
expect 0 '1 assertions' 'ASSERT(!"a sentence = with ++ and call()");'
expect 0 '1 assertions' '/* ASSERT(x = 1); */ ASSERT(x /* = 2 */ == 1); y = 3;'
expect 0 '1 assertions' $'/* ASSERT(x = 1);\nASSERT(x++); */\nASSERT(x);'
expect 0 '1 assertions' '#define ASSERT(condition) ((condition) ? (void)0 : assertion_failed(1))
ASSERT(x);'
expect 1 'src/store/x.c:1: ' 'ASSERT(x = 1);'
expect 1 'assigns' 'ASSERT((x += 1) == 2);'
expect 1 'counts' 'ASSERT(i++ < 4);'
expect 1 'counts' 'ASSERT(--i >= 0);'
expect 1 'calls store_put()' 'ASSERT(store_put(store, row) == OK);'
expect 1 'calls this_call()' 'ASSERT(this_call(x));'
expect 1 'src/store/x.c:2: ' $'int a;\nASSERT(a == 1 &&\n       open_it() == OK);'
expect 1 'calls b()' 'ASSERT(a); ASSERT(b());'
expect 2 'no assertion' 'int a;'

((failures == 0)) || exit 1
printf 'check_asserts.sh finds what it is there to find.\n'
