#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# A short conversation between two people that shows what Jackdaw is for: the server is killed in
# the middle, one of the two goes away and comes back, and every message arrives once and in order.
# Plays on ports from the kernel and in a temporary folder, with what is in build/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh

patience_s=20
folder=$(mktemp -d "${TMPDIR:-/tmp}/jackdaw-demo.XXXXXX")
log=$folder/server.log
declare -A client_pid=() client_in=() sent=()

cleanup() {
  local pid
  for pid in "${client_pid[@]}" ${server_pid:+"$server_pid"}; do
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

start() {
  start_server "$log" 1 master "127.0.0.1:$1" "127.0.0.1:$2" --data_dir="$folder/data" ||
    give_up "the server did not start."
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
    exec build/client --json -a "127.0.0.1:$client_port"
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

lobby=()
password=correct-horse-battery
say "There is no terminal here, so this plays a conversation between ann and bob."
start 0 0
client_port=$(port_of clients "$server_ready")
internal_port=$(port_of internal "$server_ready")
[[ -n $client_port && -n $internal_port ]] || give_up "the server's line names no ports: $server_ready"
say "* the server is ready on port $client_port"

for who in ann bob; do
  arrive "$who"
  command "$who" "/register $who $password"
  command "$who" "/join lobby"
  say "* $who has joined the lobby"
done

talk ann "hi bob"
talk bob "hi ann, how is the new server?"
talk ann "it has not lost a word yet"

say "* kill -9: the server is dead, and ann writes on"
kill_server || true
utter ann "are you still there?"
start "$client_port" "$internal_port"
say "* the server is back on the same data"
hear ann bob
talk bob "I am, did anything happen?"
talk ann "nothing that you would notice"

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
stop_server || give_up "the server did not stop cleanly."
say "The server was killed once; all $((${#lobby[@]} + 1)) messages arrived exactly once and in order."
