/* SPDX-License-Identifier: MIT */
/* log.h - structured log lines on standard error or in a file: `time level node epoch module event
 * key=value ...`.
 *
 * Text for a terminal or one JSON object per line. Values are quoted and escaped, so text of a peer
 * can neither forge a line nor drive a terminal. Bytes that are not UTF-8 become U+FFFD. A line has
 * at most 2,048 bytes: a longer value is cut, fields behind it are left out. No line is split
 * between two writes. Any thread.
 *
 * After log_start a thread writes the lines, and log_write never waits for their reader.
 * base/log_writer.h has the bound and says which lines are dropped. Before log_start, log_write
 * writes each line itself. */
#ifndef JACKDAW_BASE_LOG_H
#define JACKDAW_BASE_LOG_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_SILENT };
enum log_format { LOG_TEXT, LOG_JSON };

/* A key with a value; made by the three functions below. Keys are literals of ours. */
struct log_field {
    const char *key; /* NULL ends a list */
    enum { LOG_FIELD_STRING, LOG_FIELD_INTEGER, LOG_FIELD_UNSIGNED } kind;
    const char *string; /* borrowed for the call; NULL prints as "" */
    int64_t integer;
    uint64_t number;
};

static inline struct log_field log_string(const char *key, const char *value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_STRING, .string = value};
}

static inline struct log_field log_integer(const char *key, int64_t value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_INTEGER, .integer = value};
}

static inline struct log_field log_number(const char *key, uint64_t value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_UNSIGNED, .number = value};
}

/* Sets the lowest level that is logged, and the format. Call it before other threads start. The
 * default is LOG_INFO, LOG_TEXT. */
void log_configure(enum log_level level, enum log_format format);

/* Sets the node and epoch that every later line carries; 0 prints as "-". */
void log_identify(uint64_t node, uint64_t epoch);

/* Reads "debug", "info", "warning", "error" or "silent"; and "text" or "json". ERROR_INVALID. */
enum error log_level_parse(const char *text, enum log_level *out);
enum error log_format_parse(const char *text, enum log_format *out);

/* Starts the thread that writes; call it once, after log_configure. file: appended to, made with mode
 * 0640 (umask applies), borrowed for ever; NULL: standard error. The end of the process (exit) flushes.
 * ERROR_*: the file cannot be opened, or there is no thread; a sentence in why. */
enum error log_start(const char *file, struct error_text *why);

/* Opens the file anew, for example after it was renamed. The thread does it and logs `reopened`, or
 * `cannot_reopen`: the old file then stays in use. Without a file the call does nothing. */
void log_reopen(void);

/* Waits until everything is written, for half a second at most. */
void log_flush(void);

/* For the end of a process: flushes, then writes the sentence and a newline to standard error. Each
 * of the two takes at most half a second. The log file, if there is one, gets the sentence as a
 * line. */
void log_last_words(const char *sentence);

bool log_enabled(enum log_level level);

/* Writes one line. module and event: literals of ours; fields end with a NULL key. Use the macros:
 *     log_info("rpc", "peer_closed", log_string("address", address), log_number("pipe", id)); */
void log_write(enum log_level level, const char *module, const char *event,
               const struct log_field *fields);

#define LOG_LINE(level, module, event, ...)                                    \
    do {                                                                       \
        if (log_enabled(level))                                                \
            log_write(level, module, event,                                    \
                      (const struct log_field[]){__VA_ARGS__, {.key = NULL}}); \
    } while (0)
#define log_debug(module, event, ...) LOG_LINE(LOG_DEBUG, module, event, __VA_ARGS__)
#define log_info(module, event, ...) LOG_LINE(LOG_INFO, module, event, __VA_ARGS__)
#define log_warning(module, event, ...) LOG_LINE(LOG_WARNING, module, event, __VA_ARGS__)
#define log_error(module, event, ...) LOG_LINE(LOG_ERROR, module, event, __VA_ARGS__)

#endif
