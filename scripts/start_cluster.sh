#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Servers of one cluster on this machine: three, or those that .env (see .env.example) names. Starts those
# that do not run, waits until all have everything, and tells how to connect. Their data is in the folder
# that .env names (data), their logs are in run/ below it.
#
# usage: scripts/start_cluster.sh [--status | --stop]
#   --status  which of them run, and what the cluster says of itself; exit status 1 unless all run
#   --stop    stops those that this script has started
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh
# shellcheck source=scripts/cluster.sh
source scripts/cluster.sh

# A port of 0 is the kernel's to choose; members know each other by it, so it is chosen once.
keep_ports() {
  local n
  for n in "${numbers[@]}"; do
    printf '%s %s\n' "${client_port[n]}" "${internal_port[n]}" >"$run_dir/$n.ports"
  done
}
recall_ports() {
  local n client internal
  for n in "${numbers[@]}"; do
    { read -r client internal <"$run_dir/$n.ports"; } 2>/dev/null || continue
    ((client_port[n])) || client_port[n]=$client
    ((internal_port[n])) || internal_port[n]=$internal
  done
}

# begin N [NAME=VALUE ...]: starts server N unless it runs.
begin() {
  running_pid "$1" >/dev/null && return
  launch "$@"
  started+=("$1")
}

await_all_in_sync() {
  local n deadline count=0
  deadline=$(($(now_ms) + patience_s * 1000))
  for n in "${numbers[@]}"; do
    await_ready "$n"
  done
  while :; do
    count=$(in_sync_count "$(client_address 1)")
    ((count < server_count)) || return 0
    (($(now_ms) < deadline)) ||
      die "$count of $server_count servers are in sync after $patience_s s; their logs are in $run_dir. They go on running: scripts/start_cluster.sh --status, --stop."
    sleep 0.1
  done
}

start() {
  local n
  [[ -x $build/server && -x $build/client ]] ||
    die "there is no $build/server yet: run 'make build' first."
  check_free
  started=()
  # Whoever does not know where the first one is can ask for it only when it is there.
  if ((internal_port[1])); then
    begin 1
  else
    begin 1 JACKDAW_FOUNDING_WAIT=1000
    await_ready 1
  fi
  for n in "${numbers[@]}"; do
    begin "$n"
  done
  await_all_in_sync
  keep_ports
  for n in "${numbers[@]}"; do
    say "Server $n: clients $(client_address "$n"), internal $(internal_address "$n"), data $data_dir/$n, log $run_dir/$n.log"
  done
  if ((${#started[@]} == 0)); then
    say "All $server_count were running, and are in sync."
  else
    say "Started ${#started[@]} of $server_count; all are in sync."
  fi
  say "Connect:       $build/client -a$(client_addresses)"
  say "See and stop:  scripts/start_cluster.sh --status, scripts/start_cluster.sh --stop"
}

# Somebody else's server on our port is told from ours that did not start.
check_free() {
  local n port
  for n in "${numbers[@]}"; do
    running_pid "$n" >/dev/null && continue
    for port in "${client_port[n]}" "${internal_port[n]}"; do
      if ((port != 0)) && is_port_open "$port" "${host[n]}"; then
        die "port $port of ${host[n]} is taken, and not by a server of this script: stop what is there, or name other ports in $env_file."
      fi
    done
  done
}

status() {
  local n pid missing=0 known=''
  for n in "${numbers[@]}"; do
    if pid=$(running_pid "$n"); then
      say "Server $n: running, process $pid, clients $(client_address "$n"), internal $(internal_address "$n")"
      [[ -n $known ]] || known=$(client_address "$n")
    else
      say "Server $n: not running"
      missing=1
    fi
  done
  [[ -z $known ]] || "$build/jackdaw-admin" status "$known" || missing=1
  return "$missing"
}

stop() {
  local n
  local running=()
  for n in "${numbers[@]}"; do
    ! running_pid "$n" >/dev/null || running+=("$n")
  done
  stop_servers "${numbers[@]}"
  say "Stopped ${#running[@]} servers; their data is kept in $data_dir."
}

load_cluster
mapfile -t numbers < <(seq 1 "$server_count")
recall_ports
case ${1:-} in
  '')
    one_at_a_time
    start
    ;;
  --status) status ;;
  --stop)
    one_at_a_time
    stop
    ;;
  *) die "unknown option $1: scripts/start_cluster.sh takes --status, --stop or nothing." ;;
esac
