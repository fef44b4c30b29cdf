#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Reads the symbols of a library and fails when a file uses a function or variable of a file above it.
#
# usage: check_strata.sh HEADER NM LIBRARY
#
# HEADER has the order: the words of the lines behind the one with "STRATA", up to the first line that
# has no " < ". From the lowest to the highest: messages < actions < members. Every file of LIBRARY, an
# archive, stands there once.
set -euo pipefail

(($# == 3)) || { printf 'usage: check_strata.sh HEADER NM LIBRARY\n' >&2; exit 2; }
header=$1 nm=$2 library=$3

order=$(awk '/STRATA/ { inside = 1; next } inside && !/ < / { exit } inside { gsub(/[^a-z_]/, " "); print }' "$header")
[[ -n ${order// /} ]] || { printf '%s has no order below a line with "STRATA".\n' "$header" >&2; exit 1; }

# archive[file.c.o]: name type value size. The address sanitizer adds a symbol for each variable.
"$nm" -A -P -g "$library" |
  sed -nE '/ __odr_asan/d; s|^.*\[(.*)\.c\.o\]: ([^ ]+) ([A-Za-z]).*|\1 \2 \3|p' |
  awk -v order="$order" '
  function problem(text) { print text > "/dev/stderr"; problems++ }
  BEGIN {
    count = split(order, files, " ")
    for (i = 1; i <= count; i++) {
      if (files[i] in level) problem(files[i] " stands in the order twice.")
      level[files[i]] = i
    }
  }
  { seen[$1] = 1 }
  $3 == "U" { used[++uses] = $1 " " $2; next }
  { home[$2] = $1; symbols++ }
  END {
    for (file in seen) if (!(file in level)) problem(file ".c is not in the order.")
    for (file in level) if (!(file in seen)) problem(file " is in the order, but the library has no such file.")
    for (i = 1; i <= uses; i++) {
      split(used[i], part, " ")
      if (!(part[2] in home)) continue
      calls++
      if (level[home[part[2]]] > level[part[1]])
        problem(part[1] ".c uses " part[2] " of " home[part[2]] ".c, which is above it.")
    }
    if (calls == 0) problem("no file uses another.")
    if (problems > 0) exit 1
    print count " files use " calls " functions of files below them, and none above."
  }'
