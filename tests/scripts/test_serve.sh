#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Who founds a cluster and who joins one: scripts/serve.sh with a stand-in for the server, which
# prints what it is told.
# shellcheck source=tests/scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
cd "$root"

export JACKDAW_SERVER=$folder/server JACKDAW_DATA_DIR=$folder/data
export JACKDAW_CLIENT_ADDRESS=a:1 JACKDAW_INTERNAL_ADDRESS=a:2
cat >"$JACKDAW_SERVER" <<'STAND_IN'
#!/bin/sh
case "$1 $2" in
"--status b:2") exit 1 ;; # nobody there
"--status e:2") # there, and with data, when asked for the second time
  echo >>"$0.asked"
  [ "$(wc -l <"$0.asked")" -ge 2 ] || exit 1
  echo '{"role":"slave","last":{"epoch":65537,"seq":40}}'
  ;;
"--status c:2") echo '{"role":"looking","last":{"epoch":0,"seq":0}}' ;;
"--status d:2") echo '{"role": "slave", "last": {"epoch": 65537, "seq": 40}}' ;;
*) echo "$@ others:${JACKDAW_MASTER_ADDRESS-}" ;;
esac
STAND_IN
chmod +x "$JACKDAW_SERVER"
data=--data_dir=$JACKDAW_DATA_DIR

# told ID ROLE OTHERS [OPTION...]: how the server is started.
told() {
  local id=$1 role=$2 others=$3
  shift 3
  JACKDAW_ID=$id JACKDAW_ROLE=$role JACKDAW_MASTER_ADDRESS=$others JACKDAW_FOUND_AFTER_S=$after_s scripts/serve.sh "$@"
}

after_s=0
expect "alone" "1 master a:1 a:2 $data others:" "$(told 1 master '')"
expect "nobody has data" "1 master a:1 a:2 $data others:" "$(told 1 master b:2,c:2)"
expect "another has" "1 slave a:1 a:2 $data --master_address=b:2,d:2 others:" "$(told 1 master b:2,d:2)"
after_s=60
expect "all have answered" "1 master a:1 a:2 $data others:" "$(told 1 master c:2,c:2)"
expect "one comes later" "1 slave a:1 a:2 $data --master_address=c:2,e:2 others:" "$(told 1 master c:2,e:2)"
expect "a slave" "2 slave a:1 a:2 $data --master_address=b:2,c:2 others:" "$(told 2 slave b:2,c:2)"
expect "options" "2 slave a:1 a:2 $data --master_address=b:2 --log_level=debug others:" \
  "$(told 2 slave b:2 --log_level=debug)"
mkdir -p "$JACKDAW_DATA_DIR/1"
touch "$JACKDAW_DATA_DIR/1/jackdaw.db"
expect "it has data" "1 master a:1 a:2 $data --master_address=b:2,c:2 others:" "$(told 1 master b:2,c:2)"
expect "alone with data" "1 master a:1 a:2 $data others:" "$(told 1 master '')"
finish
