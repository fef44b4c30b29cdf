# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts that start servers of a cluster share; sourced after common.sh, never run.
# Servers are numbered from 1. JACKDAW_BUILD names another folder than build, JACKDAW_ENV_FILE another
# file than .env.

build=${JACKDAW_BUILD:-build}
env_file=${JACKDAW_ENV_FILE:-.env}
patience_s=60
# Ours, and no options of the server.
unset JACKDAW_BUILD JACKDAW_ENV_FILE

# load_env: takes the JACKDAW_... of .env, as docker compose reads it, into the environment; what is
# there already wins.
load_env() {
  local line name value
  local form='^[[:space:]]*(export[[:space:]]+)?(JACKDAW_[A-Z0-9_]+)=(.*)$'
  local quoted="^([\"'])(.*)\\1\$"
  [[ -e $env_file ]] || return 0
  [[ -r $env_file ]] || die "$env_file cannot be read."
  while IFS= read -r line || [[ -n $line ]]; do
    [[ $line =~ $form ]] || continue
    name=${BASH_REMATCH[2]}
    value=${BASH_REMATCH[3]%%[[:space:]]#*}
    value=${value%"${value##*[![:space:]]}"}
    [[ $value =~ $quoted ]] && value=${BASH_REMATCH[2]}
    [[ -v $name ]] || export "$name=$value"
  done <"$env_file"
}

# check_port NAME: the variable of that name holds a port.
check_port() {
  [[ ${!1} =~ ^(0|[1-9][0-9]{0,4})$ && ${!1} -le 65535 ]] ||
    die "$1=${!1} is no port: set it to a number up to 65535 (in $env_file, or in the environment)."
}

# load_cluster: fills server_count, and host, client_port, internal_port, feed_port by number, from .env
# and the environment. Servers without a HOST are on this machine, and there are three of them.
load_cluster() {
  local n kind name fallback
  host=() client_port=() internal_port=() feed_port=()
  load_env
  for ((n = 1; n <= 16; n++)); do
    name=JACKDAW_HOST_$n
    fallback=''
    ((n > 3)) || [[ -v JACKDAW_HOST_1 && $n != 1 ]] || fallback=127.0.0.1
    host[n]=${!name:-$fallback}
    [[ -n ${host[n]} ]] || break
    [[ ${host[n]} =~ ^[][a-zA-Z0-9._:-]+$ ]] || die "$name=${host[n]} is no name or address of a host."
    for kind in CLIENT INTERNAL FEED; do
      name=JACKDAW_${kind}_PORT_$n
      case $kind in
        CLIENT) fallback=$((2623 + 2 * n)) ;;
        INTERNAL) fallback=$((2624 + 2 * n)) ;;
        FEED) fallback=0 ;;
      esac
      printf -v "$name" %s "${!name:-$fallback}"
      check_port "$name"
    done
    name=JACKDAW_CLIENT_PORT_$n client_port[n]=${!name}
    name=JACKDAW_INTERNAL_PORT_$n internal_port[n]=${!name}
    name=JACKDAW_FEED_PORT_$n feed_port[n]=${!name}
    [[ ${host[n]} != *:* || ${host[n]} == \[* ]] || host[n]="[${host[n]}]"
  done
  server_count=$((n - 1))
  unset "host[$n]"
  data_dir=${JACKDAW_DATA_DIR:-data}
  run_dir=$data_dir/run
  check_addresses
}

# Two servers, or the two doors of one, at the same address: found out here, with both names.
check_addresses() {
  local n kind name place
  local -A taken=()
  for ((n = 1; n <= server_count; n++)); do
    for kind in CLIENT INTERNAL FEED; do
      name=JACKDAW_${kind}_PORT_$n
      place=${host[n]}:${!name}
      [[ ${!name} != 0 ]] || continue
      [[ ! -v taken[$place] ]] ||
        die "$name and ${taken[$place]} are the same, $place: give each server and purpose a port of its own."
      taken[$place]=$name
    done
  done
}

client_address() { printf '%s' "${host[$1]}:${client_port[$1]}"; }
internal_address() { printf '%s' "${host[$1]}:${internal_port[$1]}"; }

# client_addresses: of all servers, on one line, a blank before each.
client_addresses() {
  local k
  for ((k = 1; k <= server_count; k++)); do
    printf ' %s' "$(client_address "$k")"
  done
  printf '\n'
}

# others_of N: the internal addresses of the other servers, with commas between.
others_of() {
  local k list=''
  for ((k = 1; k <= server_count; k++)); do
    ((k == $1)) || ((internal_port[k] == 0)) || list+=,$(internal_address "$k")
  done
  printf '%s' "${list#,}"
}

# server_variables N: fills `variables` with what scripts/serve.sh and the server want to know.
server_variables() {
  local n=$1
  variables=(
    "JACKDAW_ID=$n"
    "JACKDAW_ROLE=$( ((n == 1)) && printf master || printf slave)"
    "JACKDAW_CLIENT_ADDRESS=$(client_address "$n")"
    "JACKDAW_INTERNAL_ADDRESS=$(internal_address "$n")"
    "JACKDAW_MASTER_ADDRESS=$(others_of "$n")"
  )
  ((feed_port[n] == 0)) || variables+=("JACKDAW_FEED_ADDRESS=${host[n]}:${feed_port[n]}")
}

# ---- processes: run/N.pid holds the id and the start time of a server's process, so that another
# that happens to get the same id is never taken for it ----

start_time() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  # Behind the name, which may hold blanks: the state is field 3, the start field 22.
  read -ra stat <<<"${stat##*) }"
  [[ ${stat[0]} != Z ]] || return 1
  printf '%s' "${stat[19]}"
}

# one_at_a_time: of the scripts that start and stop servers with this data folder.
one_at_a_time() {
  local lock
  mkdir -p "$run_dir" || die "cannot make $run_dir: choose another JACKDAW_DATA_DIR."
  exec {lock}>"$run_dir/lock"
  private_fds+=("$lock")
  flock -w 120 "$lock" || die "another script has been starting or stopping servers in $data_dir for 2 minutes; see what it does, and try again."
}

# running_pid N: prints the id of server N's process; fails where there is none of ours.
running_pid() {
  local pid started
  { read -r pid started <"$run_dir/$1.pid"; } 2>/dev/null || return 1
  [[ $pid =~ ^[0-9]+$ && $(start_time "$pid") == "$started" ]] || return 1
  printf '%s' "$pid"
}

# launch N [NAME=VALUE ...]: starts server N in the background, in a session of its own; what is given wins.
launch() {
  local n=$1 pid
  server_variables "$n"
  variables+=("${@:2}")
  : >"$run_dir/$n.ready"
  (
    close_private_fds
    exec setsid env "${variables[@]}" "JACKDAW_DATA_DIR=$data_dir" "JACKDAW_SERVER=$build/server" scripts/serve.sh
  ) </dev/null >"$run_dir/$n.ready" 2>>"$run_dir/$n.log" &
  pid=$!
  disown "$pid"
  printf '%s %s\n' "$pid" "$(start_time "$pid" || true)" >"$run_dir/$n.pid"
}

is_ready() { grep -q ready "$run_dir/$1.ready" 2>/dev/null; }

# await_ready N: waits for its readiness line, and takes the ports from it.
await_ready() {
  local n=$1 deadline
  deadline=$(($(now_ms) + patience_s * 1000))
  until is_ready "$n"; do
    if ! running_pid "$n" >/dev/null; then
      is_ready "$n" && break
      rm -f "$run_dir/$n.pid"
      tail -n 5 "$run_dir/$n.log" >&2
      die "server $n did not start; its last words are above, and all of them in $run_dir/$n.log."
    fi
    (($(now_ms) < deadline)) || {
      tail -n 5 "$run_dir/$n.log" >&2
      die "server $n is running but has not joined the others after $patience_s s; what it said last is above, all of it in $run_dir/$n.log."
    }
    sleep 0.03
  done
  read_ports "$n"
}

# read_ports N: where the kernel picked the ports, the readiness line has them.
read_ports() {
  local line
  line=$(<"$run_dir/$1.ready")
  client_port[$1]=$(port_of clients "$line")
  internal_port[$1]=$(port_of internal "$line")
}

# stop_servers N...: asks all of them at once to stop, waits, and kills what is left after 10 s.
stop_servers() {
  local n pid deadline
  local -A pids=()
  for n in "$@"; do
    pid=$(running_pid "$n") || continue
    pids[$n]=$pid
    kill -TERM "$pid" 2>/dev/null || true
  done
  deadline=$(($(now_ms) + 10000))
  for n in "${!pids[@]}"; do
    while running_pid "$n" >/dev/null; do
      if (($(now_ms) >= deadline)); then
        say "Server $n does not stop; killing it. Nothing acknowledged is lost by that."
        kill -KILL "${pids[$n]}" 2>/dev/null || true
        deadline=$(($(now_ms) + 10000))
      fi
      sleep 0.03
    done
  done
  for n in "$@"; do
    rm -f "$run_dir/$n.pid"
  done
}
