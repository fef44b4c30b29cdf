#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What .env says, what it means for each server, and what is refused.
# shellcheck source=tests/scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh" "$@"
cd "$root"

# env LINE...: writes .env.
env_is() { printf '%s\n' "$@" >"$JACKDAW_ENV_FILE"; }
setup() { scripts/setup_distributed.sh "$@"; }

# The example is what people start from.
cp .env.example "$JACKDAW_ENV_FILE"
said=$(setup 1 --print)
expect_line "example, 1" JACKDAW_ROLE=master "$said"
expect_line "example, 1" JACKDAW_CLIENT_ADDRESS=127.0.0.1:2625 "$said"
expect_line "example, 1" JACKDAW_INTERNAL_ADDRESS=127.0.0.1:2626 "$said"
expect_line "example, 1" JACKDAW_MASTER_ADDRESS=127.0.0.1:2628,127.0.0.1:2630 "$said"
expect_line "example, 1" JACKDAW_DURABILITY=all "$said"
said=$(setup 3 --print)
expect_line "example, 3" JACKDAW_ID=3 "$said"
expect_line "example, 3" JACKDAW_ROLE=slave "$said"
expect_line "example, 3" JACKDAW_MASTER_ADDRESS=127.0.0.1:2626,127.0.0.1:2628 "$said"
# What is only the scripts' is not the server's.
for name in JACKDAW_HOST_1 JACKDAW_CLIENT_PORT_1 JACKDAW_DATA_DIR JACKDAW_PUBLISH JACKDAW_BUILD JACKDAW_FEED; do
  expect_no "example, 3" "$name" "$said"
done
expect_refusal "example, 4" "names 3 servers" setup 4 --print

# On machines of their own; blanks, quotes, comments and line ends as other tools write them.
env_is 'export JACKDAW_HOST_1=10.0.0.1' 'JACKDAW_CLIENT_PORT_1=2625' '' '# JACKDAW_HOST_2=10.0.0.99' \
  "JACKDAW_HOST_2='10.0.0.2'   " 'JACKDAW_CLIENT_PORT_2="2625" # as on 1' $'JACKDAW_INTERNAL_PORT_2=2626\r' \
  'JACKDAW_HOST_3=fd00::3' 'JACKDAW_HOST_4=chat4.example.org' 'JACKDAW_FEED_PORT_4=2699' 'OTHER=1' \
  'JACKDAW_LOG_FORMAT=json' 'JACKDAW_ADDRESS='
said=$(setup 2 --print)
expect_line "four, 2" JACKDAW_CLIENT_ADDRESS=10.0.0.2:2625 "$said"
expect_line "four, 2" "JACKDAW_MASTER_ADDRESS=10.0.0.1:2626,[fd00::3]:2630,chat4.example.org:2632" "$said"
expect_line "four, 2" JACKDAW_LOG_FORMAT=json "$said"
expect_no "four, 2" OTHER "$said"
expect_line "four, 4" JACKDAW_FEED_ADDRESS=chat4.example.org:2699 "$(setup 4 --print)"
# The environment wins.
expect_line "environment" JACKDAW_LOG_FORMAT=text "$(JACKDAW_LOG_FORMAT=text setup 2 --print)"

env_is JACKDAW_HOST_1=10.0.0.1 JACKDAW_CLIENT_PORT_1=70000
expect_refusal "port too high" JACKDAW_CLIENT_PORT_1 setup 1 --print
env_is JACKDAW_HOST_1=10.0.0.1 JACKDAW_CLIENT_PORT_1=80a
expect_refusal "no number" JACKDAW_CLIENT_PORT_1 setup 1 --print
env_is JACKDAW_HOST_1=10.0.0.1 JACKDAW_HOST_2=10.0.0.1 JACKDAW_CLIENT_PORT_2=2626
expect_refusal "one port for two" "are the same, 10.0.0.1:2626" setup 1 --print
env_is 'JACKDAW_HOST_1=10.0.0.1;reboot'
expect_refusal "no host" JACKDAW_HOST_1 setup 1 --print
env_is JACKDAW_HOST_1=10.0.0.1 JACKDAW_INTERNAL_PORT_1=0
expect_refusal "port 0" "other machines have to know them" setup 1 --print
env_is JACKDAW_HOST_1=127.0.0.1 JACKDAW_HOST_2=192.0.2.77
expect_refusal "unreachable" "other machines cannot reach" setup 1
env_is JACKDAW_HOST_1=192.0.2.77 JACKDAW_HOST_2=192.0.2.78
expect_refusal "not here" "is not this machine" setup 1
expect_refusal "no number of a server" "say which server" setup one
expect_refusal "unknown option" --sytemd setup 1 --sytemd
rm "$JACKDAW_ENV_FILE"
expect_refusal "no .env" "copy .env.example" setup 1
finish
