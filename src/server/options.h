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
#include "cluster/settings.h"

#include <stdbool.h>
#include <stdint.h>

struct server_options {
    /* server [ID [master|slave [CLIENT_ADDRESS [INTERNAL_ADDRESS]]]] */
    struct cluster_settings cluster; /* id, role, internal address and what follows "The cluster" */
    struct address client_address;
    const char *data_dir; /* the node's folder is DATA_DIR/ID */
    bool forward;
    uint64_t log_segment_bytes;
    uint64_t replay_bytes;

    struct chat_limits limits;
    enum password_cost password_cost;
    uint32_t idle_timeout_ms;
    uint32_t clients_max;

    const char *tls_cert;
    const char *tls_key;
    const char *tls_ca; /* authority for other servers' certificates; NULL: none */

    enum log_level log_level;
    enum log_format log_format;
    const char *log_file; /* NULL: standard error */

    /* The operator's: at most one is given, and then no server is started. */
    const char *status; /* address of the server to ask, as typed; NULL */
    bool json;          /* with status */
    const char *leave;  /* internal address of the server that leaves, as typed; NULL */
    uint32_t remove;    /* id of the dead server to remove, through masters; 0: none */

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
