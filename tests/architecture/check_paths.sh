#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Fails when a document or a comment names a file that does not exist.
#
# usage: check_paths.sh ROOT
#
# In documents the check reads each `path` with a folder and an ending of a source file. `chat/chat.h` may
# also stand for src/chat/chat.h. In code, scripts and CMake files it reads each path that begins with a
# folder of the project. A path with * stands for any file. The self tests of this folder name files that
# do not exist.
set -euo pipefail

root=${1:?usage: check_paths.sh ROOT}
endings='(c|h|sh|pl|md|txt|cmake|proto|yaml)'
cd "$root"

# Prints "file: path" for each path that a file names.
named() {
  find . -maxdepth 2 \( -path './*.md' -o -path './docs/*.md' -o -path './bench/*.md' \) ! -path './build*' \
    ! -path './third_party/*' -print0 |
    xargs -0r grep -HnoE "\`[A-Za-z0-9_.*-]+/[A-Za-z0-9_./*-]+\.$endings\`" | tr -d '`'
  find src tests bench scripts docker systemd cmake -type f ! -path 'tests/architecture/test_*' -print0 2>/dev/null |
    xargs -0r grep -IHnoE "\b(src|tests|bench|docs|scripts|proto|docker)/[a-z0-9_/]+\.$endings\b"
}

exists() { compgen -G "$1" >/dev/null || compgen -G "src/$1" >/dev/null; }

problems=0 count=0
while IFS=: read -r file line path; do
  count=$((count + 1))
  exists "$path" || {
    printf '%s:%s names %s, which does not exist.\n' "${file#./}" "$line" "$path" >&2
    problems=$((problems + 1))
  }
done < <(named)

((count > 0)) || { echo 'no file names a path.' >&2; exit 1; }
((problems == 0)) || exit 1
echo "All $count paths in documents and comments exist."
