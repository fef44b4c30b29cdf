/* SPDX-License-Identifier: MIT */
/* options.h - the server's options: one table makes the command line, the environment names and
 * --help. */
#ifndef JACKDAW_SERVER_OPTIONS_H
#define JACKDAW_SERVER_OPTIONS_H

#include "base/address.h"
#include "base/error.h"
#include "base/log.h"
#include "chat/chat.h"
#include "chat/password.h"

#include <stdbool.h>
#include <stdint.h>

enum server_role { SERVER_MASTER, SERVER_SLAVE };

struct server_options {
    /* server [ID [master|slave [CLIENT_ADDRESS [INTERNAL_ADDRESS]]]] */
    uint32_t id; /* 1..65535 */
    enum server_role role;
    struct address client_address;
    struct address internal_address;

    const char *data_dir;       /* the node's folder is DATA_DIR/ID */
    const char *advertise_host; /* NULL: the host of the client address, or what a client dialled */
    uint64_t log_keep;          /* deltas that the log keeps for other servers to catch up with */

    struct chat_limits limits;
    enum password_cost password_cost;
    uint32_t idle_timeout_ms;
    uint32_t clients_max;

    const char *tls_cert;
    const char *tls_key;

    enum log_level log_level;
    enum log_format log_format;

    bool help;
    bool version;
};

/* Reads command line and environment. ERROR_INVALID: a sentence in why. */
enum error server_options_parse(int argc, char *const *argv, struct server_options *out,
                                struct error_text *why);
void server_options_release(struct server_options *options);
void server_options_print_help(void);

#endif
