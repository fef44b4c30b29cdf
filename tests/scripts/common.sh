# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the tests of the scripts share; sourced, with the folder of the programs as the first argument.
set -euo pipefail
# shellcheck disable=SC2034 # for the tests
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
programs=${1:?say where the programs are: test_NAME.sh build-dev}
folder=$(mktemp -d "${TMPDIR:-/tmp}/jackdaw-scripts.XXXXXX")
trap 'rm -rf "$folder"' EXIT
failed=0

# The machine's own settings are no part of a test.
for name in $(compgen -e JACKDAW_); do unset "$name"; done
export JACKDAW_ENV_FILE=$folder/env JACKDAW_BUILD=$programs

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  failed=1
}

# expect WHAT EXPECTED ACTUAL
expect() { [[ $2 == "$3" ]] || fail "$1: expected '$2', got '$3'"; }

# expect_line WHAT LINE TEXT: TEXT has this line.
expect_line() { grep -Fxq -- "$2" <<<"$3" || fail "$1: no line '$2' in: $3"; }

# expect_no WHAT WORDS TEXT: TEXT holds these words nowhere.
expect_no() { ! grep -Fq -- "$2" <<<"$3" || fail "$1: '$2' in: $3"; }

# expect_refusal WHAT WORDS COMMAND...: it fails, in a sentence with WORDS.
expect_refusal() {
  local what=$1 words=$2 said
  shift 2
  if said=$("$@" 2>&1); then
    fail "$what: was accepted: $said"
  else
    grep -Fq -- "$words" <<<"$said" || fail "$what: no '$words' in: $said"
  fi
}

finish() {
  ((failed == 0)) || exit 1
  printf 'ok\n'
}
