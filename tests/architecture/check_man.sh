#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Fails when a man page and the program's --help do not name the same options.
#
# usage: check_man.sh PROGRAM MAN_PAGE
set -euo pipefail
program=${1:?usage: check_man.sh PROGRAM MAN_PAGE}
page=${2:?usage: check_man.sh PROGRAM MAN_PAGE}

options_in() { grep -oE -- '--[a-z][a-z_-]*' | sed 's,-,_,g; s,^__,--,' | sort -u; }

help=$("$program" --help)
if ! diff --label "$page" --label "$(basename "$program") --help" -U0 \
  <(sed 's/\\-/-/g' "$page" | options_in) <(options_in <<<"$help"); then
  printf 'error: write the options that differ (above) into %s, or take them out.\n' "$page" >&2
  exit 1
fi
