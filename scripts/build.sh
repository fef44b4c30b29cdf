#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Configures and builds one preset of CMakePresets.json, or some targets of it.
#
# usage: scripts/build.sh PRESET [TARGET ...] [-DNAME=VALUE ...]
# CMAKE_BUILD_PARALLEL_LEVEL=1 builds one file at a time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh

(($# >= 1)) || die "say which preset: scripts/build.sh PRESET, one of those that 'cmake --list-presets' shows."
preset=$1
shift
folder=build-$preset
[[ $preset != release ]] || folder=build

arguments=() targets=()
for argument in "$@"; do
  if [[ $argument == -* ]]; then
    arguments+=("$argument")
  else
    targets+=("$argument")
  fi
done
if [[ -f $folder/CMakeCache.txt ]]; then
  # A folder that was configured by hand with another generator, or moved, cannot be used on.
  generator=$(sed -n 's/^CMAKE_GENERATOR:INTERNAL=//p' "$folder/CMakeCache.txt")
  home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$folder/CMakeCache.txt")
  if [[ $generator != Ninja || ! $home -ef $PWD ]]; then
    say "Configuring $folder anew: it was made for ${generator:-nothing} in ${home:-nowhere}."
    arguments+=(--fresh)
  fi
else
  say "Configuring $folder (preset $preset)."
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake --preset "$preset" "${arguments[@]}" >"$log" 2>&1 || {
  cat "$log" >&2
  die "cmake could not configure $folder (its words are above). If a package is missing, run scripts/setup.sh."
}
say "Building ${targets[*]:+${targets[*]} in }$folder."
cmake --build "$folder" ${targets[@]:+--target "${targets[@]}"} || die "the build in $folder failed: the compiler's words are above."
