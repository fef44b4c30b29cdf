/* SPDX-License-Identifier: MIT */
/* options.h - the server's options: one table makes the command line, the environment names and
 * --help. */
#ifndef JACKDAW_SERVER_OPTIONS_H
#define JACKDAW_SERVER_OPTIONS_H

#include "base/address.h"
#include "base/error.h"
#include "base/log.h"
#include "base/options.h"
#include "chat/chat.h"
#include "chat/password.h"
#include "replication/replica.h"

#include <stdbool.h>
#include <stdint.h>

enum server_role { SERVER_MASTER, SERVER_SLAVE };

/* An address that may be left out. */
struct given_address {
    bool is_given;
    struct address address;
};

struct server_options {
    /* server [ID [master|slave [CLIENT_ADDRESS [INTERNAL_ADDRESS]]]] */
    uint32_t id; /* 1..65535 */
    enum server_role role;
    struct address client_address;
    struct address internal_address;

    const char *data_dir;       /* the node's folder is DATA_DIR/ID */
    const char *advertise_host; /* NULL: the host of the client address, or what a client dialled */
    uint64_t log_keep;          /* deltas that the log keeps for other servers to catch up with */

    /* The cluster. */
    struct option_addresses masters;   /* internal addresses of members, without this server's own;
                                          at most REPLICA_SEEDS_MAX, ports not 0 */
    struct given_address feed_address; /* not given: host of the internal address, any port */
    uint32_t founding_wait_ms;         /* 0: a cluster is founded at once */
    enum replica_policy durability;
    uint32_t ack_timeout_ms; /* at least ping_timeout_ms */
    uint32_t ping_interval_ms;
    uint32_t ping_timeout_ms; /* at least 2 * ping_interval_ms */
    uint32_t disk_timeout_ms;
    bool forward;

    struct chat_limits limits;
    enum password_cost password_cost;
    uint32_t idle_timeout_ms;
    uint32_t clients_max;

    const char *tls_cert;
    const char *tls_key;
    const char *tls_ca; /* what other servers' certificates are checked against; NULL */

    enum log_level log_level;
    enum log_format log_format;
    const char *log_file; /* NULL: standard error */

    /* The operator's: at most one is given, and then no server is started. */
    struct given_address status; /* who is asked; port not 0 */
    bool json;                   /* with status */
    struct given_address leave;  /* who shall leave */
    uint32_t remove;             /* id of who shall be removed, through masters; 0: nobody */

    bool help;
    bool version;
};

/* Whether the process is to ask a running server instead of being one. */
bool server_options_are_operators(const struct server_options *options);

/* Reads command line and environment. ERROR_INVALID: a sentence in why. */
enum error server_options_parse(int argc, char *const *argv, struct server_options *out,
                                struct error_text *why);
void server_options_release(struct server_options *options);
void server_options_print_help(void);

#endif
