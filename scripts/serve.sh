#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs one server of a cluster in the foreground, as the environment says:
#   JACKDAW_ID                1
#   JACKDAW_ROLE              master for the server that founds the cluster, slave for all others
#   JACKDAW_CLIENT_ADDRESS    :2625
#   JACKDAW_INTERNAL_ADDRESS  :2626
#   JACKDAW_MASTER_ADDRESS    the internal addresses of the other servers, with commas between
#   JACKDAW_DATA_DIR          data
# and every other option of the server. Arguments are further options. JACKDAW_SERVER names the program.
#
# The founder founds only where there is nothing yet: neither data of its own nor another server that has
# some. So it can be started again and again, and one whose disk was lost joins the others instead of
# beginning an empty cluster beside theirs. Servers that do not answer may only be about to start: it asks
# for JACKDAW_FOUND_AFTER_S seconds (10). Used by every way of starting a cluster: the image of docker/, the
# systemd unit, start_cluster.sh and setup_distributed.sh.
set -eu

server=${JACKDAW_SERVER:-jackdaw-server}
id=${JACKDAW_ID:-1}
role=${JACKDAW_ROLE:-master}
others=${JACKDAW_MASTER_ADDRESS:-}
data_dir=${JACKDAW_DATA_DIR:-data}
patience_s=${JACKDAW_FOUND_AFTER_S:-10}
unset JACKDAW_SERVER JACKDAW_MASTER_ADDRESS JACKDAW_FOUND_AFTER_S

# look_around: asks the others. has_data: one of them has some; all_answered: and otherwise none has.
look_around() {
  has_data=no all_answered=yes
  for address in $(printf '%s' "$others" | tr , ' '); do
    if answer=$("$server" --status "$address" --json 2>/dev/null); then
      if printf '%s' "$answer" | grep -Eq '"seq": ?[1-9]'; then
        has_data=yes
        return
      fi
    else
      all_answered=no
    fi
  done
}

if [ "$role" = master ] && [ -n "$others" ] && [ ! -e "$data_dir/$id/jackdaw.db" ]; then
  look_around
  while [ "$has_data$all_answered" = nono ] && [ "$patience_s" -gt 0 ]; do
    sleep 1
    patience_s=$((patience_s - 1))
    look_around
  done
  if [ "$has_data" = yes ]; then
    role=slave
  else
    others=''
  fi
fi
exec "$server" "$id" "$role" "${JACKDAW_CLIENT_ADDRESS:-:2625}" "${JACKDAW_INTERNAL_ADDRESS:-:2626}" \
  "--data_dir=$data_dir" ${others:+"--master_address=$others"} "$@"
