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
# The founder founds only where there is nothing yet: a server without data that is told to be a master
# looks for a cluster first, and joins the one that it finds. Servers that do not answer may only be
# about to start, so it looks for 10 s (JACKDAW_FOUNDING_WAIT, ms) unless all have answered that they have
# no data. Used by every way of starting a cluster: the image of docker/, the systemd unit, start_cluster.sh
# and setup_distributed.sh.
set -eu

server=${JACKDAW_SERVER:-jackdaw-server}
id=${JACKDAW_ID:-1}
role=${JACKDAW_ROLE:-master}
others=${JACKDAW_MASTER_ADDRESS:-}
unset JACKDAW_SERVER JACKDAW_MASTER_ADDRESS

if [ -n "$others" ]; then
  JACKDAW_FOUNDING_WAIT=${JACKDAW_FOUNDING_WAIT:-10000}
  export JACKDAW_FOUNDING_WAIT
fi
exec "$server" "$id" "$role" "${JACKDAW_CLIENT_ADDRESS:-:2625}" "${JACKDAW_INTERNAL_ADDRESS:-:2626}" \
  "--data_dir=${JACKDAW_DATA_DIR:-data}" ${others:+"--master_address=$others"} "$@"
