/* SPDX-License-Identifier: MIT */
/* admin.h - the operator's commands: status, leave, remove. One thread. */
#ifndef JACKDAW_ADMIN_ADMIN_H
#define JACKDAW_ADMIN_ADMIN_H

#include "admin/options.h"

/* Carries out options->command and prints the result to out. After an error nothing was printed, and
 * why has a sentence. ERROR_DENIED: a server refuses; ERROR_NOT_FOUND: the cluster has no such member,
 * or a name no address; ERROR_NO_MEMORY; others: as server_call_run (server_call.h). The process has called
 * rpc_init. */
enum error admin_run(const struct admin_options *options, FILE *out, struct error_text *why);

#endif
