# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts share; sourced, never run. The caller has set -euo pipefail.

say() { printf '%s\n' "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# now_ms: for deadlines. The decimal point of EPOCHREALTIME depends on the locale.
now_ms() {
  local t=${EPOCHREALTIME//[!0-9]/}
  printf '%s' "${t%???}"
}

# Descriptors that a process started from here must not inherit: an input whose other end we hold
# ends only when nobody else holds it too.
private_fds=()
close_private_fds() {
  local fd
  for fd in "${private_fds[@]}"; do
    exec {fd}>&-
  done
}

# start_server LOG ARGS...: starts build/server with ARGS, its stderr appended to LOG, and waits for
# its readiness line. Sets server_pid and server_ready (the line). Returns 1 when the server ends
# or is silent for 20 s; what it had to say is then at the end of LOG.
start_server() {
  local log=$1 folder line deadline part=''
  shift
  server_pid='' server_ready=''
  folder=$(mktemp -d)
  mkfifo "$folder/stdout"
  # Opened both ways: neither end waits for the other, and reading can time out.
  exec {server_out}<>"$folder/stdout"
  rm -r "$folder"
  private_fds+=("$server_out")
  (
    exec 1>&"$server_out"
    close_private_fds
    # A session of its own: Ctrl-C at the terminal is for the client.
    exec setsid build/server "$@"
  ) </dev/null 2>>"$log" &
  server_pid=$!
  deadline=$(($(now_ms) + 20000))
  while (($(now_ms) < deadline)); do
    if read -r -t 0.2 -u "$server_out" line; then
      line=$part$line part=''
      if [[ $line == *ready* ]]; then
        # shellcheck disable=SC2034 # for the caller
        server_ready=$line
        return 0
      fi
      continue
    fi
    # On a busy machine the time can be up in the middle of a line.
    part+=$line
    if ! kill -0 "$server_pid" 2>/dev/null; then
      break
    fi
  done
  stop_server || true
  return 1
}

# end_server SIGNAL: sends it, and SIGKILL to one that has not left after 10 s. Returns the server's
# exit status, 0 when there is no server, 124 when it had to be killed.
end_server() {
  local pid=${server_pid:-} deadline status=0
  [[ -n $pid ]] || return 0
  server_pid=''
  kill -"$1" "$pid" || true
  deadline=$(($(now_ms) + 10000))
  while kill -0 "$pid"; do
    if (($(now_ms) >= deadline)); then
      kill -KILL "$pid" || true
      wait "$pid" || true
      return 124
    fi
    sleep 0.03
  done
  wait "$pid" || status=$?
  exec {server_out}>&-
  return "$status"
} 2>/dev/null # where bash reports a killed job, which is no news

stop_server() { end_server TERM; }
kill_server() { end_server KILL; }

# port_of WHAT LINE: the port after a word of the readiness line, as in "clients 127.0.0.1:2625".
port_of() { sed -n "s/.*$1 [^ ,]*:\([0-9][0-9]*\).*/\1/p" <<<"$2"; }

# in_sync_count ADDRESS: how many servers are in sync, as the server there knows.
in_sync_count() { grep -Eo '"in_sync": ?true' <<<"$(status_of "$1")" | wc -l; }

# master_of ADDRESS: the id of the master that the server there knows; 0: none, or no answer.
master_of() {
  local id
  id=$(status_of "$1" | sed -En 's/.*"master": ?([0-9]+).*/\1/p' | head -n 1)
  printf '%s' "${id:-0}"
}

status_of() { "${build:-build}/jackdaw-admin" status "$1" --json 2>/dev/null || true; }

# is_port_open PORT [HOST]: whether something answers there, by default on loopback.
is_port_open() { (exec {fd}<>"/dev/tcp/${2:-127.0.0.1}/$1") 2>/dev/null; }
