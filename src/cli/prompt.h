/* SPDX-License-Identifier: MIT */
/* prompt.h - asks the person at the terminal for a password, unseen, while the client goes on. */
#ifndef JACKDAW_CLI_PROMPT_H
#define JACKDAW_CLI_PROMPT_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct app;

/* Fills out. False with a sentence in why: interrupted, end of input, too long, empty. The terminal
 * is as before in any case. Lines for the screen are kept back meanwhile. */
bool prompt_password(struct app *app, const char *prompt, char *out, size_t size,
                     struct error_text *why);

#endif
