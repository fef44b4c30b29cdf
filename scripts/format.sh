#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Formats the C code as .clang-format says; with --check only tells what is not so.
# Version 14 exactly: others format the same file differently. CLANG_FORMAT names another program.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh

clang_format=''
for candidate in ${CLANG_FORMAT:+"$CLANG_FORMAT"} clang-format-14 clang-format; do
  if [[ $("$candidate" --version 2>/dev/null) == *"version 14."* ]]; then
    clang_format=$candidate
    break
  fi
done
[[ -n $clang_format ]] || die "clang-format 14 is needed: install clang-format-14, or run scripts/setup.sh --ci."

# safe.directory: in a container the folder often belongs to somebody else.
if git -c safe.directory='*' rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  list=(git -c safe.directory='*' ls-files -z --cached --others --exclude-standard
    -- 'src/*.[ch]' 'tests/*.[ch]' 'bench/*.[ch]')
else
  list=(find src tests bench -name '*.[ch]' -print0)
fi
files=()
while IFS= read -r -d '' file; do
  # A file deleted but not yet committed is still listed.
  [[ -f $file ]] && files+=("$file")
done < <("${list[@]}")
((${#files[@]} > 0)) || die "there is no C file in src, tests and bench to format."

case ${1:-} in
  '')
    "$clang_format" -i "${files[@]}"
    say "Formatted ${#files[@]} files."
    ;;
  --check)
    said=$("$clang_format" --dry-run -Werror "${files[@]}" 2>&1) || {
      awk -F: '/: error: / && !count[$1]++ { name[++names] = $1 }
        /: error: / && !seen[$1, $2]++ { lines[$1] = lines[$1] " " $2 }
        END { for (i = 1; i <= names; i++) print "  " name[i] ": line" lines[name[i]] }' <<<"$said" >&2
      die "the files above are not formatted: run 'make format'."
    }
    say "All ${#files[@]} files are formatted."
    ;;
  *) die "unknown option $1: scripts/format.sh takes --check or nothing." ;;
esac
