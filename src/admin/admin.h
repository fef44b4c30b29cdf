/* SPDX-License-Identifier: MIT */
/* admin.h - the operator's commands: status, leave, remove, verify, dump. One thread. */
#ifndef JACKDAW_ADMIN_ADMIN_H
#define JACKDAW_ADMIN_ADMIN_H

#include "admin/options.h"

/* Carries out options->command and prints the result to out. After an error why has a sentence, and
 * nothing was printed, except by ADMIN_VERIFY and ADMIN_DUMP (log_report.h). ERROR_DENIED: a server refuses; ERROR_NOT_FOUND: the cluster has no such member,
 * or a name no address; ERROR_NO_MEMORY; others: as server_call_run (server_call.h). The process has called
 * rpc_init. */
enum error admin_run(const struct admin_options *options, FILE *out, struct error_text *why);

#endif
