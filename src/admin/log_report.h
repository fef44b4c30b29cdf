/* SPDX-License-Identifier: MIT */
/* log_report.h - verify and dump, for the log of a data folder (docs/log.md). Reads the files and
 * changes nothing. One thread. */
#ifndef JACKDAW_ADMIN_LOG_REPORT_H
#define JACKDAW_ADMIN_LOG_REPORT_H

#include "admin/options.h"

/* Reads and verifies the log in the data folder options->target. Prints a line for each torn end and
 * each damage, with ADMIN_DUMP also for each file and entry. A summary comes last. Each error sets
 * why. ERROR_CORRUPT: damage, after all is printed. The others come without a summary.
 * ERROR_NOT_FOUND: the folder has no log, or a segment was removed meanwhile. ERROR_IO: also if `out`
 * takes no more. ERROR_INVALID: the path is too long. ERROR_INTERNAL: libsodium does not start.
 * ERROR_DENIED, ERROR_VERSION, ERROR_NO_MEMORY. */
enum error log_report_run(const struct admin_options *options, FILE *out, struct error_text *why);

#endif
