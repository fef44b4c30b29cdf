#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Fails when a file, struct or enum is named by a participle, or a folder of src is too large to read.
#
# usage: check_names.sh ROOT
#
# A participle (kept, waiting) says what was done to a thing, not what it is. The list has those that
# were used once, and their like; nouns that end alike (timing, setting) are not on it.
# A folder of src has at most 32 modules; x.c and x.h are one module.
set -euo pipefail

root=${1:?usage: check_names.sh ROOT}
modules_max=32
participles='answered|asked|asking|chosen|closing|collecting|copying|delivered|drawn|encoded|ending|failed|finding|found|gated|given|got|hashing|heard|held|kept|known|looking|lost|made|merging|noted|numbered|observed|offered|packed|piped|printed|queued|reading|refused|seeking|seen|sent|shown|suspected|taken|taking|telling|told|typed|waiting|watched|writing|written'
problems=0

problem() {
  printf '%s\n' "$*" >&2
  problems=$((problems + 1))
}

cd "$root"
while IFS= read -r path; do
  problem "$path: the file is named by a participle; name it by a noun."
done < <(find src tests bench -name '*.[ch]' ! -name 'test_*' | grep -E "(^|[/_])($participles)(_|\.[ch]\$)" | sort)

while IFS= read -r place; do
  problem "$place: the type is named by a participle; name it by a noun."
done < <(grep -rnE --include='*.[ch]' "^(struct|enum|union) ([a-z0-9_]+_)?($participles)(_[a-z0-9_]+)? \{" src tests bench | sort)

for folder in src/*/; do
  count=$(find "$folder" -name '*.[ch]' | sed 's/\.[ch]$//' | sort -u | wc -l)
  ((count <= modules_max)) || problem "$folder has $count modules, more than $modules_max: split it."
done

((problems == 0)) || exit 1
echo 'Files and types are named by nouns, and the folders are small enough.'
