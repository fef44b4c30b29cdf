/* SPDX-License-Identifier: MIT */
/* operator.h - the operator's side of a running cluster: server --status, --leave and --remove. The
 * process asks, prints what it was told, and ends. */
#ifndef JACKDAW_SERVER_OPERATOR_H
#define JACKDAW_SERVER_OPERATOR_H

#include "server/options.h"
#include "spec.pb-c.h"

#include <stdio.h>

#define OPERATOR_TIMEOUT_MS 3000 /* for each answer */

/* Does what options ask for (server_options_are_operators). Answers go to out; what went wrong, to
 * why, as a sentence. OK: it was done. Else nothing was printed. ERROR_DENIED: a server refused;
 * ERROR_NOT_FOUND: no such member; others: none could be asked. rpc_init was called before. */
enum error operator_run(const struct server_options *options, FILE *out, struct error_text *why);

/* What --status prints, for people and with --json (docs/json.md). address: who was asked.
 * operator_print_json: false when there is no memory. */
void operator_print_text(const Jackdaw__StatusReply *status, FILE *out);
bool operator_print_json(const Jackdaw__StatusReply *status, FILE *out);

#endif
