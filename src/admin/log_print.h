/* SPDX-License-Identifier: MIT */
/* log_print.h - lines about the log of a data folder, for people and for programs. The text of a
 * message is printed only if the operator asks for it; passwords, tokens and names never. One thread. */
#ifndef JACKDAW_ADMIN_LOG_PRINT_H
#define JACKDAW_ADMIN_LOG_PRINT_H

#include "segment_log/segment_log.h"

#include <stdio.h>

struct log_print {
    FILE *out;
    const char *folder; /* data folder, as typed */
    bool is_json;
    bool has_text; /* print the texts of messages */
};

struct log_summary {
    uint64_t segments;          /* in use */
    uint64_t entries;           /* readable ones */
    uint64_t bytes;             /* of these entries */
    struct log_position first;  /* of the first readable entry; (0, 0): none */
    struct segment_log_end end; /* of the last readable entry, or of the base of the last segment */
    bool is_torn;
    uint64_t damages;
};

/* Prints one item: a line, and in text one more for each change of an entry. Errors of the stream
 * stay in the stream. ERROR_NO_MEMORY. */
enum error log_print_item(const struct log_print *print, const struct segment_log_item *item);

/* Prints the summary: some lines, or one JSON object. ERROR_NO_MEMORY. */
enum error log_print_summary(const struct log_print *print, const struct log_summary *summary);

#endif
