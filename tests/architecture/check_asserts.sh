#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Reads the assertions under ROOT/src and fails when one may do something: an assignment, an
# increment, or a call of a function that is not a question by its name. Who reads the code must be
# able to leave an assertion out in thought.
#
# usage: check_asserts.sh ROOT
#
# Questions are: words that begin with, or hold, is, are or has (member_is_in_sync), and those in
# QUESTIONS. A script cannot see what a function does; the name is a promise.
set -euo pipefail

root=${1:?usage: check_asserts.sh ROOT}
# Of libraries, and macros that compute a constant.
readonly QUESTIONS='sizeof sqlite3_stmt_busy sqlite3_get_autocommit TO'

[[ -d $root/src ]] || {
  printf 'error: there is no %s/src.\n' "$root" >&2
  exit 2
}
mapfile -d '' -t files < <(find "$root/src" -type f -name '*.[ch]' -print0 | sort -z)
((${#files[@]} > 0)) || {
  printf 'error: there is no C file under %s/src.\n' "$root" >&2
  exit 2
}

# One assertion may go over several lines: its text is collected until its brackets are closed.
awk -v questions="$QUESTIONS" -v root="$root/" '
  BEGIN {
    count = split(questions, words, " ")
    for (i = 1; i <= count; i++) question[words[i]] = 1
  }
  function problem(what) {
    where = file
    sub("^" root, "", where)
    printf "%s:%d: an assertion must do nothing, and this one %s: ASSERT(%s\n", where, line, what, text
    problems++
  }
  # Whether the name of a function promises that it only looks.
  function is_question(name) {
    return name in question || name ~ /(^|_)(is|are|has)_/
  }
  function check(    rest, name) {
    rest = text
    gsub(/"([^"\\]|\\.)*"/, "\"\"", rest)
    if (rest ~ /\+\+|--/) problem("counts")
    gsub(/[=!<>]=/, " ", rest)
    if (rest ~ /=/) problem("assigns")
    while (match(rest, /[A-Za-z_][A-Za-z0-9_]*[ \t]*\(/)) {
      name = substr(rest, RSTART, RLENGTH - 1)
      sub(/[ \t]+$/, "", name)
      rest = substr(rest, RSTART + RLENGTH)
      if (!is_question(name)) problem("calls " name "()")
    }
  }
  # Takes what is left of the line into text, up to the bracket that closes the assertion; returns
  # what is behind it.
  function collect(code,    i, c) {
    for (i = 1; i <= length(code); i++) {
      c = substr(code, i, 1)
      if (c == "(") depth++
      if (c == ")" && --depth == 0) {
        text = text substr(code, 1, i)
        check()
        found++
        return substr(code, i + 1)
      }
    }
    text = text code " "
    return ""
  }
  FNR == 1 { depth = 0; in_comment = 0 }
  /^[ \t]*#[ \t]*define[ \t]+ASSERT\(/ { next }
  {
    code = $0
    if (in_comment) {
      if (!index(code, "*/")) next
      sub(/^.*\*\//, "", code)
      in_comment = 0
    }
    gsub(/\/\*([^*]|\*[^\/])*\*\//, " ", code)
    if (index(code, "/*")) {
      sub(/\/\*.*$/, "", code)
      in_comment = 1
    }
    sub(/^[ \t]+/, "", code)
    if (depth > 0) code = collect(code)
    while (depth == 0 && match(code, /(^|[^A-Za-z0-9_])ASSERT\(/)) {
      code = substr(code, RSTART + RLENGTH)
      text = ""
      depth = 1
      file = FILENAME
      line = FNR
      code = collect(code)
    }
  }
  END {
    if (problems > 0) exit 1
    if (found == 0) {
      print "error: there is no assertion." > "/dev/stderr"
      exit 2
    }
    printf "%d assertions do nothing but look.\n", found
  }' "${files[@]}"
