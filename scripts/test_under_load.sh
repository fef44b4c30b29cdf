#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs each unit test several times at once, for what fails only on a busy machine.
#
#   scripts/test_under_load.sh [-c COPIES] [-r ROUNDS] [-t SECONDS] [-s SECONDS] [-b BUILD] [NAME...]
#
#   -c COPIES    copies of one test that run at the same time (8)
#   -r ROUNDS    how often that is repeated for each test (1)
#   -t SECONDS   a copy that runs for longer hangs: its stacks are printed, if gdb is there (120)
#   -s SECONDS   no test is started any more after so long in all (900)
#   -b BUILD     folder of the build (build-dev)
#   NAME         test programs, as test_rpc_closing; without any: all of tests/unit
#
# Exit status 0: no copy failed and none hung.
set -u
copies=8 rounds=1 limit=120 total=900 build=build-dev
while getopts c:r:t:s:b: option; do
    case $option in
        c) copies=$OPTARG ;;
        r) rounds=$OPTARG ;;
        t) limit=$OPTARG ;;
        s) total=$OPTARG ;;
        b) build=$OPTARG ;;
        *) sed -n '3,14s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
cd "$(dirname "$0")/.." || exit 2
if [ $# -eq 0 ]; then
    # shellcheck disable=SC2046 # names without blanks
    set -- $(for source in tests/unit/*/test_*.c; do basename "$source" .c; done)
fi
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
began=$(date +%s)
bad=0

# run_copy PROGRAM LOG: runs it, and leaves a word in LOG.result where it did not pass.
run_copy()
{
    "$1" >"$2" 2>&1 &
    program=$!
    (
        sleep "$limit"
        gdb -p "$program" -batch -ex 'thread apply all backtrace' >"$2.stacks" 2>&1
        echo "hung for $limit s" >"$2.result"
        kill -9 "$program"
    ) >/dev/null 2>&1 &
    watch=$!
    wait "$program" 2>/dev/null
    status=$?
    kill "$watch" 2>/dev/null
    if [ $status -ne 0 ] && [ $status -ne 77 ] && [ ! -e "$2.result" ]; then
        echo "ended with status $status" >"$2.result"
    fi
}

for name in "$@"; do
    program=$build/tests/$name
    [ -x "$program" ] || continue # support for others, or not built
    round=0
    while [ $round -lt "$rounds" ]; do
        round=$((round + 1))
        if [ $(($(date +%s) - began)) -ge "$total" ]; then
            echo "$total s are over before $name"
            exit $((bad > 0 || 1))
        fi
        copy=0
        running=
        while [ $copy -lt "$copies" ]; do
            copy=$((copy + 1))
            run_copy "$program" "$folder/$copy" &
            running="$running $!"
        done
        # shellcheck disable=SC2086 # a list
        wait $running
        for result in "$folder"/*.result; do
            [ -e "$result" ] || continue
            bad=$((bad + 1))
            echo "$name: $(cat "$result")"
            log=${result%.result}
            grep -E 'FAILED|ERROR|rror:|vain|ssertion' "$log" | head -n 8
            [ -s "$log.stacks" ] && cat "$log.stacks"
        done
        rm -f "$folder"/*
    done
    echo "$name: $rounds rounds of $copies after $(($(date +%s) - began)) s"
done
[ $bad -eq 0 ]
