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
# The founder founds only where there is nothing yet: neither data of its own nor another server that
# has some. So it can be started again and again, and one whose disk was lost joins the others instead
# of beginning an empty cluster beside theirs. Used by every way of starting a cluster: the image of
# docker/, the systemd unit, start_cluster.sh and setup_distributed.sh.
set -eu

server=${JACKDAW_SERVER:-jackdaw-server}
id=${JACKDAW_ID:-1}
role=${JACKDAW_ROLE:-master}
others=${JACKDAW_MASTER_ADDRESS:-}
data_dir=${JACKDAW_DATA_DIR:-data}
unset JACKDAW_SERVER JACKDAW_MASTER_ADDRESS

somebody_has_data() {
  for address in $(printf '%s' "$others" | tr , ' '); do
    if "$server" --status "$address" --json 2>/dev/null | grep -Eq '"seq": ?[1-9]'; then
      return 0
    fi
  done
  return 1
}

if [ "$role" = master ] && [ -n "$others" ] && [ ! -e "$data_dir/$id/jackdaw.db" ]; then
  if somebody_has_data; then
    role=slave
  else
    others=''
  fi
fi
exec "$server" "$id" "$role" "${JACKDAW_CLIENT_ADDRESS:-:2625}" "${JACKDAW_INTERNAL_ADDRESS:-:2626}" \
  "--data_dir=$data_dir" ${others:+"--master_address=$others"} "$@"
