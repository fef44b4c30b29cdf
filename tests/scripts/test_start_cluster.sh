#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Three real servers: started, started again, one killed and brought back, stopped.
# shellcheck source=tests/scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
cd "$root"

export JACKDAW_DATA_DIR=$folder/data
for n in 1 2 3; do
  export "JACKDAW_CLIENT_PORT_$n=0" "JACKDAW_INTERNAL_PORT_$n=0"
done
cluster() { scripts/start_cluster.sh "$@" 2>&1; }
trap 'cluster --stop >/dev/null; rm -rf "$folder"' EXIT
run=$JACKDAW_DATA_DIR/run
pid_of() { cut -d' ' -f1 "$run/$1.pid"; }
end_badly() {
  printf '%s\n' "$1" >&2
  tail -n 20 "$run"/*.log >&2
  exit 1
}

# chat LINE...: as a client of all three.
chat() {
  local addresses
  read -ra addresses < <(sed -n 's/^Connect: .* -a //p' <<<"$started")
  printf '%s\n' "$@" | "$programs/client" --json -a "${addresses[@]}"
}

# The machine may be busy: what scripts wait for themselves is given up only after a minute.
started=$(cluster) || end_badly "$started"
expect_words() { grep -Fq -- "$2" <<<"$3" || fail "$1: no '$2' in: $3"; }
expect_words "first start" "Started 3 of 3; all are in sync." "$started"
said=$(chat '/register ann correct-horse' '/join lobby' 'before') || fail "a client: $said"
before=$(cat "$run"/*.pid)

said=$(cluster) || end_badly "$said"
expect_words "second start" "All 3 were running" "$said"
expect "second start: the same processes" "$before" "$(cat "$run"/*.pid)"
said=$(cluster --status) || fail "status while all run: $said"
expect_words "status" "Server 3: running, process $(pid_of 3)," "$said"
expect_words "status" "3 of 3 servers in sync" "$said"

kill -KILL "$(pid_of 1)"
said=$(cluster --status) && fail "status while one is dead: succeeded"
expect_words "status of the dead" "Server 1: not running" "$said"
said=$(chat '/login ann correct-horse' '/switch lobby' 'meanwhile') || fail "a client without server 1: $said"
said=$(cluster) || end_badly "$said"
expect_words "third start" "Started 1 of 3; all are in sync." "$said"

# The same addresses, chosen once by the kernel; the same data.
said=$(cluster --stop) || fail "stop: $said"
expect_words "stop" "Stopped 3 servers" "$said"
for n in 1 2 3; do
  [[ ! -e $run/$n.pid ]] || fail "server $n has left its pid file"
done
again=$(cluster) || end_badly "$again"
expect "the same addresses" "$(grep ^Connect: <<<"$started")" "$(grep ^Connect: <<<"$again")"
said=$(chat '/login ann correct-horse' '/history 10') || fail "a client afterwards: $said"
expect_words "what was said before" '"text":"before"' "$(tail -n 4 <<<"$said")"
expect_words "what was said meanwhile" '"text":"meanwhile"' "$(tail -n 4 <<<"$said")"

# All at other ports at once find each other.
cluster --stop >/dev/null
rm "$run"/*.ports
started=$(cluster) || end_badly "$started"
said=$(chat '/login ann correct-horse' '/history 10') || fail "a client after all have moved: $said"
expect_words "what was said before all moved" '"text":"before"' "$(tail -n 4 <<<"$said")"
cluster --stop >/dev/null

# All are down, and the first one's disk is lost: it joins the others, and founds nothing.
rm -r "${JACKDAW_DATA_DIR:?}/1"
again=$(cluster) || end_badly "$again"
said=$(chat '/login ann correct-horse' '/history 10') || fail "a client after a lost disk: $said"
expect_words "what was said before, after a lost disk" '"text":"before"' "$(tail -n 4 <<<"$said")"

# A pid that is another process's by now is nobody's business.
cluster --stop >/dev/null
sleep 600 &
printf '%s 1\n' $! >"$run/2.pid"
said=$(cluster --stop)
expect_words "stop of a stranger" "Stopped 0 servers" "$said"
kill -0 $! || fail "a process that is none of ours was ended"
kill $!
finish
