#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds Jackdaw and opens the client on three servers on this machine, those of start_cluster.sh: where
# none of them runs they are started, and stopped when the client leaves. Without a terminal it plays
# scripts/demo.sh instead.
#
# usage: scripts/run.sh [PORT]   (the six ports from PORT on, with data of their own; else those in .env)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh
# shellcheck source=scripts/cluster.sh
source scripts/cluster.sh

if [[ -n ${1:-} ]]; then
  if ! [[ $1 =~ ^[1-9][0-9]{0,4}$ ]] || (($1 > 65530)); then
    die "'$1' is no port to use: give a number from 1 to 65530, as in 'make run PORT=4000'."
  fi
  export "JACKDAW_DATA_DIR=data/port-$1"
  for n in 1 2 3; do
    export "JACKDAW_CLIENT_PORT_$n=$(($1 + 2 * n - 2))" "JACKDAW_INTERNAL_PORT_$n=$(($1 + 2 * n - 1))"
  done
fi

scripts/setup.sh
scripts/build.sh release

if [[ ! -t 0 || ! -t 1 ]]; then
  exec scripts/demo.sh
fi

load_cluster
were_running=0
for ((n = 1; n <= server_count; n++)); do
  ! running_pid "$n" >/dev/null || were_running=1
done
((were_running)) || trap 'scripts/start_cluster.sh --stop' EXIT
if [[ -n ${1:-} ]]; then
  # Other ports than those that start_cluster.sh looks at by itself.
  scripts/start_cluster.sh | sed '/^See and stop:/d'
else
  scripts/start_cluster.sh
fi
for ((n = 1; n <= server_count; n++)); do
  read_ports "$n"
done
read -ra addresses < <(client_addresses)

status=0
"$build/client" -a "${addresses[@]}" || status=$?
((were_running)) || say "Stopping the servers; 'make run' goes on where you left."
exit "$status"
