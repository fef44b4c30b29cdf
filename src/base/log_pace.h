/* SPDX-License-Identifier: MIT */
/* log_pace.h - bounds how often the same event is logged.
 *
 * For lines that a peer, a full table or a broken address can cause again and again. Lines of one
 * event with one key are logged once in LOG_PACE_MS; the next one tells how many were left out. All
 * keys beyond LOG_PACE_KEYS within that time share one more place. Any thread. */
#ifndef JACKDAW_BASE_LOG_PACE_H
#define JACKDAW_BASE_LOG_PACE_H

#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

#define LOG_PACE_MS 10000
#define LOG_PACE_KEYS 63

/* Whether a line may be logged now; *left_out: how many of its kind were not, since the last one. event:
 * a literal of ours; key: borrowed for the call, for example an address. */
bool log_pace_allows(const char *event, const char *key, uint64_t *left_out);

/* The same at a time of the caller's (monotonic), for tests. */
bool log_pace_allows_at(const char *event, const char *key, uint64_t now_ms, uint64_t *left_out);

/* As log_info and so on, at most once in LOG_PACE_MS for the event and the key; the field `left_out` is
 * added where it is not 0. */
#define LOG_PACED(level, pace_key, module, event, ...)                                    \
    do {                                                                                  \
        uint64_t log_left_out = 0;                                                        \
        if (log_enabled(level) && log_pace_allows((event), (pace_key), &log_left_out))    \
            log_write(level, module, event,                                               \
                      (const struct log_field[]){                                         \
                          __VA_ARGS__, log_left_out_field(log_left_out), {.key = NULL}}); \
    } while (0)
#define log_info_paced(key, module, event, ...) LOG_PACED(LOG_INFO, key, module, event, __VA_ARGS__)
#define log_error_paced(key, module, event, ...) \
    LOG_PACED(LOG_ERROR, key, module, event, __VA_ARGS__)
#define log_warning_paced(key, module, event, ...) \
    LOG_PACED(LOG_WARNING, key, module, event, __VA_ARGS__)

static inline struct log_field log_left_out_field(uint64_t count)
{
    return log_number(count == 0 ? NULL : "left_out", count); /* NULL ends the list */
}

#endif
