/* SPDX-License-Identifier: MIT */
/* options.h - the command line of jackdaw-admin. See base/options.h. One thread. */
#ifndef JACKDAW_ADMIN_OPTIONS_H
#define JACKDAW_ADMIN_OPTIONS_H

#include "base/options.h"

enum admin_command {
    ADMIN_NONE,
    ADMIN_STATUS,
    ADMIN_LEAVE,
    ADMIN_REMOVE,
    ADMIN_VERIFY,
    ADMIN_DUMP
};

struct admin_options {
    enum admin_command command;
    const char *target;              /* as typed; verify, dump: a data folder */
    struct address address;          /* status, leave: that of target; the port is not 0 */
    uint32_t id;                     /* remove: that of target, 1 to 65535 */
    struct option_addresses through; /* remove: at least one; ports are not 0 */
    const char *tls_ca;
    bool json;
    bool text; /* dump: with the texts of messages */
    bool help;
    bool version;
};

/* Fills *out. On ERROR_INVALID or ERROR_NO_MEMORY why has a sentence, and the caller releases
 * nothing. Otherwise the caller ends *out with admin_options_release. */
enum error admin_options_parse(int argc, char *const *argv, struct admin_options *out,
                               struct error_text *why);
void admin_options_release(struct admin_options *options);
void admin_options_print_help(FILE *stream);

#endif
