#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Reads the symbols of the libraries and fails when a function or variable that other files can see
# lacks the prefix of its module.
#
# usage: check_symbols.sh TABLE NM LIBRARY...
#
# The prefix is, for a symbol of src/FOLDER/FILE.c:
#   the name of the file, or its first words, also in the singular: apply_room_ or apply_ for
#   apply_room.c, rate_ for rates.c
#   what TABLE allows for the folder or for the file
# A line of TABLE is `folder: words` or `folder/file: words`. A word stands for itself and for all
# that begins with it and an underscore; one that ends with = stands for itself only. # starts a comment.
# LIBRARY is folder=path of an archive.
set -euo pipefail

(($# >= 3)) || { printf 'usage: check_symbols.sh TABLE NM LIBRARY...\n' >&2; exit 2; }
table=$1 nm=$2
shift 2

symbols() {
  local library
  for library in "$@"; do
    # archive[file.c.o]: name type value size. The address sanitizer adds a symbol for each variable.
    "$nm" -A -P -g --defined-only "${library#*=}" |
      sed -nE "/ __odr_asan/d; s|^.*\[(.*)\.c\.o\]: ([^ ]+) [A-Za-z] .*|${library%%=*} \1 \2|p"
  done
}

symbols "$@" | awk -v table="$table" '
  function problem(text) { print text > "/dev/stderr"; problems++ }
  # Whether name is word, or begins with word and an underscore.
  function begins(name, word) { return name == word || index(name, word "_") == 1 }
  # Whether a word of the list of `place` allows name.
  function allows(place, name,    words, count, i, word, exact) {
    count = split(allowed[place], words, " ")
    for (i = 1; i <= count; i++) {
      word = words[i]
      exact = sub(/=$/, "", word)
      if (exact ? name == word : begins(name, word)) return 1
    }
    return 0
  }
  # Whether the first words of the name of the file are a prefix of name.
  function is_of_file(file, name) {
    while (!begins(name, file) && !(file ~ /s$/ && begins(name, substr(file, 1, length(file) - 1))))
      if (!sub(/_[^_]*$/, "", file)) return 0
    return 1
  }
  BEGIN {
    while ((status = (getline line < table)) > 0) {
      sub(/#.*/, "", line)
      if (line !~ /[^ \t]/) continue
      if (!match(line, /^[a-z_\/]+:/)) { problem(table ": \"" line "\" is no rule: \"folder/file: words\" is."); continue }
      place = substr(line, 1, RLENGTH - 1)
      allowed[place] = allowed[place] " " substr(line, RLENGTH + 1)
    }
    if (status < 0) problem("cannot read " table)
  }
  {
    count++
    if (is_of_file($2, $3) || allows($1 "/" $2, $3) || allows($1, $3)) next
    problem("src/" $1 "/" $2 ".c: " $3 " lacks the prefix of its module (" $2 "_, or what " table " has).")
  }
  END {
    if (count == 0) problem("the libraries have no symbols.")
    if (problems > 0) exit 1
    print count " symbols have the prefix of their module."
  }'
