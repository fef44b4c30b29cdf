/* SPDX-License-Identifier: MIT */
/* status_report.h - the status of a cluster (StatusReply of proto/spec.proto), for people and for
 * programs. The one printer of it: jackdaw-admin status and the chat client's /status use it.
 *
 * The server that sent the reply may be hostile or broken: all text is printable ASCII. Any thread. */
#ifndef JACKDAW_ADMIN_STATUS_REPORT_H
#define JACKDAW_ADMIN_STATUS_REPORT_H

#include "spec.pb-c.h"

#include <jansson.h>
#include <stdio.h>

/* Prints several lines: a summary, a table of the members, and the state of the server that sent
 * status. */
void status_report_print(const Jackdaw__StatusReply *status, FILE *out);

/* Returns the object that docs/json.md describes, without its "type". The caller ends it with
 * json_decref. NULL: out of memory. */
json_t *status_report_json(const Jackdaw__StatusReply *status);

#endif
