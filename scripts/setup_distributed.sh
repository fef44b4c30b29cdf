#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# One server of a cluster whose servers are on machines of their own: run it on each with that machine's
# number, the same .env everywhere (see .env.example). Checks .env, builds what is missing, starts server N
# and waits until it has everything that the others have. Server 1 founds the cluster; start it first.
#
# usage: scripts/setup_distributed.sh N [--systemd | --status | --stop | --print]
#   --systemd  installs below /usr/local, and has systemd start server N, now and after each boot;
#              its data is in /var/lib/jackdaw/N, its options in /etc/jackdaw/N.env
#   --status   whether server N runs here, and what the cluster says of itself
#   --stop     stops it, if it was started by this script
#   --print    only checks .env, and prints what server N would be told
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh
# shellcheck source=scripts/cluster.sh
source scripts/cluster.sh

prefix=/usr/local

# addresses_of HOST: its IP addresses, one per line.
addresses_of() { getent ahosts "${1//[][]/}" | awk '!seen[$1]++ { print $1 }'; }

is_loopback() { [[ $1 == 127.* || $1 == ::1 ]]; }

# Others cannot reach a server at 127.0.1.1, which is where Debian's /etc/hosts sends a machine's own name.
check_hosts() {
  local k address
  for ((k = 1; k <= server_count; k++)); do
    [[ ${host[k]} == "${host[n]}" ]] || break
  done
  ((k <= server_count)) || return 0
  for ((k = 1; k <= server_count; k++)); do
    address=$(addresses_of "${host[k]}" | head -n 1)
    [[ -n $address ]] ||
      die "JACKDAW_HOST_$k=${host[k]} in $env_file is known to no name service here: write an address, or put the name into /etc/hosts."
    ! is_loopback "$address" ||
      die "JACKDAW_HOST_$k=${host[k]} in $env_file is $address here, which other machines cannot reach: write its address in your network."
  done
}

check_here() {
  local address own
  own=" $(hostname -I 2>/dev/null || true) "
  while read -r address; do
    if is_loopback "$address" || [[ $own == *" $address "* ]]; then
      return 0
    fi
  done < <(addresses_of "${host[n]}")
  die "JACKDAW_HOST_$n=${host[n]} in $env_file is not this machine, whose addresses are:$own- run this on that machine, or with this machine's number."
}

check_ports() {
  local k
  for ((k = 1; k <= server_count; k++)); do
    ((client_port[k] != 0 && internal_port[k] != 0)) ||
      die "the ports of server $k are 0 in $env_file: other machines have to know them."
  done
}

# settings: what server N is told, as lines of NAME=value: the options in .env, and who is where.
settings() {
  local name
  server_variables "$n"
  while read -r name; do
    [[ ! $name =~ ^JACKDAW_(HOST|CLIENT_PORT|INTERNAL_PORT|FEED_PORT)_[0-9]+$ &&
      $name != JACKDAW_@(DATA_DIR|PUBLISH) ]] || continue
    printf '%s=%s\n' "$name" "${!name}"
  done < <(compgen -e JACKDAW_)
  printf '%s\n' "${variables[@]}"
}

build_if_needed() {
  [[ ! -x $build/server || ! -x $build/client ]] || return 0
  scripts/setup.sh
  scripts/build.sh release
}

start() {
  build_if_needed
  one_at_a_time
  if running_pid "$n" >/dev/null; then
    await_ready "$n"
    say "Server $n was running."
  else
    say "Server $n looks for the others, at $(others_of "$n")."
    launch "$n"
    await_ready "$n"
    say "Server $n is ready; its data is in $data_dir/$n, its log in $run_dir/$n.log."
  fi
  say "Connect:       $build/client -a$(client_addresses)"
  say "See and stop:  scripts/setup_distributed.sh $n --status, scripts/setup_distributed.sh $n --stop"
}

status() {
  local pid
  [[ -x $build/server ]] || die "there is no $build/server here; nothing was started from this folder."
  if pid=$(running_pid "$n"); then
    say "Server $n: running, process $pid"
  else
    say "Server $n: not started by this script, or not running"
  fi
  "$build/jackdaw-admin" status "$(internal_address "$n")"
}

stop() {
  one_at_a_time
  running_pid "$n" >/dev/null || {
    say "Server $n does not run, or was not started by this script."
    return 0
  }
  stop_servers "$n"
  say "Stopped server $n; its data is kept in $data_dir/$n."
}

install_unit() {
  local temporary
  ((EUID == 0)) || die "installing for systemd needs root: sudo scripts/setup_distributed.sh $n --systemd"
  command -v systemctl >/dev/null || die "there is no systemd here: leave out --systemd."
  scripts/setup.sh
  scripts/build.sh release
  say "Installing below $prefix."
  cmake --install build --prefix "$prefix" >/dev/null
  systemd-sysusers "$prefix/lib/sysusers.d/jackdaw.conf"
  mkdir -p /etc/jackdaw
  temporary=$(mktemp /etc/jackdaw/.env.XXXXXX)
  settings >"$temporary"
  chmod 0640 "$temporary"
  mv "$temporary" "/etc/jackdaw/$n.env"
  systemctl daemon-reload
  systemctl enable "jackdaw-server@$n"
  systemctl restart "jackdaw-server@$n"
  say "Server $n is run by systemd; its options are in /etc/jackdaw/$n.env, its data is in /var/lib/jackdaw/$n."
  say "See:   $prefix/bin/jackdaw-admin status $(internal_address "$n"); journalctl -u jackdaw-server@$n"
  say "Stop:  systemctl stop jackdaw-server@$n"
}

n=${1:-}
[[ $n =~ ^[1-9][0-9]?$ ]] ||
  die "say which server this machine is: scripts/setup_distributed.sh N, a number in .env (see .env.example)."
[[ -e $env_file ]] ||
  die "there is no $env_file: copy .env.example to it, write where the servers are, and put the same file on each machine."
load_cluster
((n <= server_count)) ||
  die "$env_file names $server_count servers, and no JACKDAW_HOST_$n."
check_ports
case ${2:-} in
  --print) settings ;;
  --status) status ;;
  --stop) stop ;;
  '' | --systemd)
    check_hosts
    check_here
    if [[ -z ${2:-} ]]; then start; else install_unit; fi
    ;;
  *) die "unknown option $2: scripts/setup_distributed.sh N takes --systemd, --status, --stop, --print or nothing." ;;
esac
