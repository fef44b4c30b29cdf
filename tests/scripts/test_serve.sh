#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a server of a cluster is told: scripts/serve.sh with a stand-in for the server, which prints it.
# shellcheck source=tests/scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
cd "$root"

export JACKDAW_SERVER=$folder/server JACKDAW_DATA_DIR=$folder/data
export JACKDAW_CLIENT_ADDRESS=a:1 JACKDAW_INTERNAL_ADDRESS=a:2
cat >"$JACKDAW_SERVER" <<'STAND_IN'
#!/bin/sh
echo "$@ others:${JACKDAW_MASTER_ADDRESS-} wait:${JACKDAW_FOUNDING_WAIT-}"
STAND_IN
chmod +x "$JACKDAW_SERVER"
data=--data_dir=$JACKDAW_DATA_DIR

# told ID ROLE OTHERS [OPTION...]: how the server is started.
told() {
  local id=$1 role=$2 others=$3
  shift 3
  JACKDAW_ID=$id JACKDAW_ROLE=$role JACKDAW_MASTER_ADDRESS=$others scripts/serve.sh "$@"
}

expect "alone" "1 master a:1 a:2 $data others: wait:" "$(told 1 master '')"
expect "the first one" "1 master a:1 a:2 $data --master_address=b:2,c:2 others: wait:10000" \
  "$(told 1 master b:2,c:2)"
expect "another" "2 slave a:1 a:2 $data --master_address=b:2,c:2 others: wait:10000" "$(told 2 slave b:2,c:2)"
expect "options" "2 slave a:1 a:2 $data --master_address=b:2 --log_level=debug others: wait:10000" \
  "$(told 2 slave b:2 --log_level=debug)"
expect "another wait" "1 master a:1 a:2 $data --master_address=b:2 others: wait:500" \
  "$(JACKDAW_FOUNDING_WAIT=500 told 1 master b:2)"
finish
