/* SPDX-License-Identifier: MIT */
/* settings.h - what the client program is started with; one table makes the command line, the
 * environment (JACKDAW_...) and --help. See base/options.h. */
#ifndef JACKDAW_APP_SETTINGS_H
#define JACKDAW_APP_SETTINGS_H

#include "base/log.h"
#include "base/options.h"

struct settings {
    struct option_addresses addresses;
    const char *tls_ca;
    const char *user;
    struct option_strings rooms;
    bool make_account; /* --register */
    const char *password_file;
    bool replace;
    const char *state; /* a file; NULL: no state file */
    bool plain;
    bool json;
    uint32_t timeout_s;
    enum log_level log_level;
    bool help;
    bool version;
};

/* As options_parse. */
enum error settings_parse(int argc, char *const *argv, struct settings *settings,
                          struct error_text *why);
void settings_release(struct settings *settings);
void settings_print_help(FILE *stream);

#endif
