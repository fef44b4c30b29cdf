#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Shows that check.pl fails on the sentences that it has to reject, and only on these.
set -euo pipefail

check=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/check.pl
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/tests/prose"
failures=0

# expect STATUS PATTERN FILE TEXT: how the check judges a file that holds TEXT.
expect() {
  local status=0 report
  printf '%s\n' "$4" >"$scratch/$3"
  report=$(perl "$check" "$scratch" "$3" 2>&1) || status=$?
  if ((status != $1)) || [[ $report != *"$2"* ]]; then
    printf 'FAIL: status %d, not %d, or not "%s":\n%s\n%s\n' "$status" "$1" "$2" "$4" "$report" >&2
    failures=$((failures + 1))
  fi
}

words() { printf 'word %.0s' $(seq "$1"); }

expect 0 '2 sentences' a.md 'The master sends the entry. The slave appends it.'
expect 1 'a.md:3: opens with "Who"' a.md $'# Title\n\nWho comes back catches up automatically.'
expect 1 'opens with "What"' a.md 'The master waits. What it lets fall is sent again.'
expect 1 'opens with "It"' a.md 'It prints one line.'
expect 1 'opens with "One that"' a.md 'One that hangs is replaced.'
expect 1 'a clause opens with "nobody"' a.md 'The answer waits until commit: nobody sees the change.'
expect 0 '1 sentences' a.md 'Who is the master now?'
expect 0 '1 sentences' a.md 'The master waits until its slaves have acked: it has no timer.'
expect 1 '"is told"' a.md 'A client is told of the change.'
expect 1 '"sick" (write: unhealthy)' a.md 'A slow disk makes a server sick.'
expect 0 '1 sentences' a.md 'The guide says: avoid "is told".'
expect 0 '1 sentences' a.md "The $(words 29)"
expect 1 '31 words' a.md "The $(words 30)"
expect 0 '1 sentences' a.md $'The `what` option\nends.\n\n```\nWho reads code blocks?  Whoever.\n```'
expect 1 'a.md:3: opens with "nobody"' a.md $'| state | meaning |\n| --- | --- |\n| `left` | nobody waits for it |'
expect 1 'a.md:2: opens with "who"' a.md $'- The master sends.\n- who is away catches up.'
expect 1 'a.h:3: opens with "What"' a.h $'/* The sum.\n *\n * What is left is freed. */\nint a;'
expect 0 '1 sentences' a.h $'/* Frees the\n * list. */\nint who_is_there(void);'
expect 1 'opens with "what"' a.h 'int a; /* what it is for */'
expect 1 'a.c:1: "somebody"' a.c $'help = "let somebody into a "\n  "private room";'
expect 1 '31 words' a.c "char *x = \"The $(words 15)\" PRIu64 \" $(words 15)\";"
expect 0 '0 sentences' a.c 'query("SELECT who FROM what WHERE whoever ORDER BY them");'
expect 1 'a.proto:2: opens with "Nobody"' a.proto $'\n// Nobody of these\n// answers.'
expect 1 'opens with "Whoever"' a.1.in $'.SH ROOMS\n.TP\n.B join\nJoins it.\nWhoever makes it owns it.'
expect 0 '1 sentences' a.1.in $'.SH ROOMS\n.nf\nWhoever sees it\n.fi\nThe owner leaves.'

printf 'makes a server sick | a reason\n' >"$scratch/tests/prose/exceptions"
expect 0 '1 sentences' a.md 'A slow disk makes a server sick.'
printf 'makes a server sick\n' >"$scratch/tests/prose/exceptions"
expect 2 'needs a reason' a.md 'The master sends.'
for i in $(seq 21); do printf 'text %d | a reason\n' "$i"; done >"$scratch/tests/prose/exceptions"
expect 2 'over 20 exceptions' a.md 'The master sends.'

((failures == 0)) || exit 1
printf 'check.pl rejects the sentences that it has to reject.\n'
