#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# How scripts/common.sh waits for a server, with a stand-in for it.
# shellcheck source=tests/scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
# shellcheck source=scripts/common.sh
source "$root/scripts/common.sh"
cd "$folder"
mkdir build

# stand_in LINE...: a server that does this.
stand_in() {
  printf '%s\n' '#!/bin/sh' "$@" >build/server
  chmod +x build/server
}

# As on a machine so busy that the line comes in two parts, with longer between than one reading takes.
stand_in 'echo "a line before"' 'printf "jackdaw server 1 rea"' 'sleep 0.5' \
  'echo "dy: master, clients 127.0.0.1:4321, internal [::1]:8765, data data/1"' 'exec sleep 600'
if start_server log 1 master; then
  expect "port of clients" 4321 "$(port_of clients "$server_ready")"
  expect "port of servers" 8765 "$(port_of internal "$server_ready")"
  kill_server || true
else
  fail "a readiness line in two parts was not understood"
fi

stand_in 'echo "no, thank you" >&2' 'exit 3'
! start_server log 1 master || fail "a server that ends was taken for a ready one"
expect "its last words" "no, thank you" "$(tail -n 1 log)"
finish
