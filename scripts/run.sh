#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds Jackdaw, starts a server on loopback with its data under ./data, opens the client on it,
# and stops the server when the client leaves. Without a terminal it plays scripts/demo.sh instead.
#
# usage: scripts/run.sh [PORT]   (2625; servers would meet at PORT + 1)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh

port=${1:-2625}
if ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65534)); then
  die "'$port' is no port to use: give a number from 1 to 65534, as in 'make run PORT=4000'."
fi

scripts/setup.sh
scripts/build.sh release

if [[ ! -t 0 || ! -t 1 ]]; then
  exec scripts/demo.sh
fi

for taken in "$port" "$((port + 1))"; do
  if is_port_open "$taken"; then
    die "port $taken is taken, perhaps by another 'make run': stop that, or choose another port, as in 'make run PORT=4000'."
  fi
done

mkdir -p data
log=data/server.log
trap 'stop_server || true' EXIT
if ! start_server "$log" 1 master "127.0.0.1:$port" "127.0.0.1:$((port + 1))" --data_dir=./data; then
  tail -n 5 "$log" >&2
  die "the server did not start; its last words are above, and all of them in $log."
fi
say "The server is ready on 127.0.0.1:$port; its data is in data, its log in $log."
say "In other terminals, join with: build/client -a 127.0.0.1:$port"

status=0
build/client -a "127.0.0.1:$port" || status=$?

if ! kill -0 "$server_pid" 2>/dev/null; then
  tail -n 5 "$log" >&2
  die "the server had stopped before the client left; its last words are above, and all of them in $log."
fi
say "Stopping the server; 'make run' goes on where you left."
stop_server || die "the server did not stop cleanly; see the end of $log."
exit "$status"
