#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A short conversation between two people on three servers that shows what Jackdaw is for: the master is
# killed in the middle of it, one of the two goes away and comes back, and every message arrives once and
# in order. Plays on ports from the kernel and in a temporary folder, with what is in build/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh

patience_s=20
folder=$(mktemp -d "${TMPDIR:-/tmp}/jackdaw-demo.XXXXXX")
node_pid=() node_out=() client_port=() internal_port=()
declare -A client_pid=() client_in=() sent=()

cleanup() {
  local pid
  for pid in "${client_pid[@]}" "${node_pid[@]}" ${server_pid:+"$server_pid"}; do
    kill -KILL "$pid" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  rm -rf "$folder"
}
trap cleanup EXIT

# give_up SENTENCE: with what the processes said last.
give_up() {
  local file
  for file in "$folder"/*.log "$folder"/*.json; do
    [[ -s $file ]] || continue
    printf -- '--- the end of %s\n' "${file##*/}" >&2
    tail -n 8 "$file" >&2
  done
  die "$1"
}

# wait_until WHAT COMMAND...: runs COMMAND again and again until it succeeds.
wait_until() {
  local what=$1 deadline visit ended
  shift
  deadline=$(($(now_ms) + patience_s * 1000))
  until "$@"; do
    ended=''
    for visit in "${!client_pid[@]}"; do
      kill -0 "${client_pid[$visit]}" 2>/dev/null || ended=$visit
    done
    # Its last words may be what was waited for.
    if [[ -n $ended ]] && ! "$@"; then
      give_up "$ended's client has ended by itself; meanwhile $what."
    fi
    (($(now_ms) < deadline)) || give_up "waited $patience_s s in vain: $what."
    sleep 0.03
  done
}

# texts VISIT [ROOM]: the messages that a client has printed, as "from> text", in their order.
texts() {
  grep -E "\"type\": ?\"message\"" "$folder/$1.json" |
    grep -E "\"room\": ?\"${2:-[^\"]*}\"" |
    sed -E 's/.*"from": ?"([^"]*)".*/\1\n&/; s/\n.*"text": ?"([^"]*)".*/> \1/' || true
}

has_text() { texts "$1" | grep -Fxq -- "$2"; }
has_sent() { (($(grep -Ec '"type": ?"sent"' "$folder/$1.json") >= $2)); }
has_left() { ! kill -0 "${client_pid[$1]}" 2>/dev/null; }

# has_result VISIT COMMAND: the last outcome of COMMAND was OK; any other ends the demonstration.
has_result() {
  local line
  line=$(grep -E '"type": ?"result"' "$folder/$1.json" | grep -E "\"command\": ?\"$2\"" | tail -n 1) || return 1
  grep -Eq '"status": ?"OK"' <<<"$line" || give_up "$1's /$2 was refused: $line"
}

# start_node N ROLE [ADDRESS,...]: starts server N, which is told of others; again on the ports it had.
start_node() {
  local n=$1
  start_server "$folder/server$n.log" "$n" "$2" "127.0.0.1:${client_port[n]:-0}" "127.0.0.1:${internal_port[n]:-0}" \
    --data_dir="$folder/data" ${3:+--master_address="$3"} || give_up "server $n did not start."
  node_pid[n]=$server_pid node_out[n]=$server_out server_pid=''
  client_port[n]=$(port_of clients "$server_ready")
  internal_port[n]=$(port_of internal "$server_ready")
  [[ -n ${client_port[n]} && -n ${internal_port[n]} ]] || give_up "the server's line names no ports: $server_ready"
}

# end_node N SIGNAL: as end_server does.
end_node() {
  server_pid=${node_pid[$1]:-} server_out=${node_out[$1]:-}
  unset "node_pid[$1]" "node_out[$1]"
  end_server "$2"
}

are_in_sync() { (($(in_sync_count "127.0.0.1:${client_port[$1]}") == $2)); }

# has_other_master N OLD: server N knows a master, and it is not OLD.
has_other_master() {
  master=$(master_of "127.0.0.1:${client_port[$1]}")
  ((master != 0 && master != $2))
}

# A visit is one run of a client: bob's second one is bob2.
arrive() {
  local visit=$1 fd
  mkfifo "$folder/$visit.in"
  exec {fd}<>"$folder/$visit.in"
  (
    exec 0<"$folder/$visit.in"
    close_private_fds
    exec {fd}>&-
    exec build/client --json -a "${client_port[@]/#/127.0.0.1:}"
  ) >"$folder/$visit.json" 2>"$folder/$visit.log" &
  client_pid[$visit]=$!
  client_in[$visit]=$fd
  private_fds+=("$fd")
}

type_line() { printf '%s\n' "$2" >&"${client_in[$1]}"; }

command() {
  local name=${2%% *}
  type_line "$1" "$2"
  wait_until "$1's $name has no outcome" has_result "$1" "${name#/}"
}

leave() {
  local visit=$1 fd status=0
  fd=${client_in[$visit]}
  exec {fd}>&-
  wait_until "$visit's client does not leave" has_left "$visit"
  wait "${client_pid[$visit]}" || status=$?
  unset "client_pid[$visit]" "client_in[$visit]"
  ((status == 0)) || give_up "$visit's client left with status $status."
  grep -Eq '"type": ?"stats"' "$folder/$visit.json" || give_up "$visit's client left without its statistics."
}

# utter VISIT TEXT: types TEXT; it is printed when it has arrived.
utter() {
  type_line "$1" "$2"
  sent[$1]=$((${sent[$1]:-0} + 1))
  lobby+=("$1> $2")
}

# hear VISIT...: waits for the last thing said in the lobby, and prints it.
hear() {
  local visit
  for visit in "$@"; do
    wait_until "$visit has not got \"${lobby[-1]}\"" has_text "$visit" "${lobby[-1]}"
  done
  say "  ${lobby[-1]}"
}

talk() {
  utter "$1" "$2"
  hear ann bob
}

# expect VISIT ROOM LINE...: these are the messages it got there, each once, in this order.
expect() {
  local visit=$1 room=$2
  shift 2
  if ! diff -u --label expected --label "$visit got" \
    <((($# == 0)) || printf '%s\n' "$@") <(texts "$visit" "$room") >&2; then
    give_up "$visit did not get every message of $room exactly once and in order (see above)."
  fi
}

count_aloud() {
  local i
  for i in {1..40}; do
    utter "$1" "$i"
    ((i != 15)) || kill -KILL "${node_pid[master]}"
    sleep 0.02
  done
}

# count_through VISIT: counts aloud, and kills the master in the middle of it. Sets longest_ms: the time
# that the message waited longest that had to wait for its acknowledgement.
count_through() {
  local line first=${#lobby[@]}
  count_aloud "$1" 2>/dev/null # where bash reports a killed job, which is no news
  wait_until "bob has not got \"${lobby[-1]}\"" has_text bob "${lobby[-1]}"
  wait_until "ann has not got \"${lobby[-1]}\"" has_text ann "${lobby[-1]}"
  say "  ${lobby[first]}, ${lobby[first + 1]#*> }, ${lobby[first + 2]#*> } ... ${lobby[-1]#*> }"
  command "$1" /stats
  line=$(grep '"command": *"stats"' "$folder/$1.json" | tail -n 1)
  longest_ms=$(sed -En 's/.*"max_us": ?([0-9]+)[0-9]{3}[^0-9].*/\1/p' <<<"$line")
  end_node "$master" KILL || true
}

lobby=()
password=correct-horse-battery
say "There is no terminal here, so this plays a conversation between ann and bob, on three servers."
start_node 1 master
start_node 2 slave "127.0.0.1:${internal_port[1]}"
start_node 3 slave "127.0.0.1:${internal_port[1]}"
wait_until "the three servers are not in sync" are_in_sync 1 3
master=1
say "* three servers are ready, on the ports ${client_port[*]}; server 1 is the master"

for who in ann bob; do
  arrive "$who"
  command "$who" "/register $who $password"
  command "$who" "/join lobby"
  say "* $who has joined the lobby"
done

talk ann "hi bob"
talk bob "hi ann, how are the new servers?"
talk ann "let me count, and you pull a plug"

say "* while ann counts, the master gets a kill -9"
killed=$master
count_through ann
wait_until "no other server has become the master" has_other_master 2 "$killed"
say "* server $master is the master now; the message that waited longest was acknowledged after ${longest_ms:-0} ms"
talk bob "did anything happen?"
talk ann "nothing that you would notice"

start_node "$killed" slave "127.0.0.1:${internal_port[2]},127.0.0.1:${internal_port[3]}"
wait_until "server $killed has not caught up" are_in_sync 2 3
say "* server $killed is back, and has caught up"

say "* bob leaves"
leave bob
private="all tests are green"
type_line ann "/msg bob $private"
sent[ann]=$((sent[ann] + 1))
wait_until "ann's message to bob is not acknowledged" has_sent ann "${sent[ann]}"
say "* ann has written to bob, who is away"

arrive bob2
command bob2 "/login bob $password"
wait_until "bob has not got what ann wrote while he was away" has_text bob2 "ann> $private"
say "* bob is back, and finds:"
say "  ann to bob> $private"

leave ann
leave bob2
expect ann lobby "${lobby[@]}"
expect bob lobby "${lobby[@]}"
expect ann @bob "ann> $private"
expect bob2 @ann "ann> $private"
# What one visit has received, the next does not get again.
expect bob2 lobby
for n in 1 2 3; do
  end_node "$n" TERM || give_up "server $n did not stop cleanly."
done
say "The master was killed once; all $((${#lobby[@]} + 1)) messages arrived exactly once and in order."
