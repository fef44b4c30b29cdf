/* SPDX-License-Identifier: MIT */
/* log_writer.h - where the lines of the log go. Private to src/base.
 *
 * Without log_writer_start, log_writer_put writes each line to standard error itself. With it, a
 * thread writes them, from a buffer of LOG_BUFFER_BYTES: log_writer_put then never waits for a
 * reader or a disk. If a line does not fit, log_writer_put drops it and each later line until the
 * thread has written the whole buffer. The thread then writes one line with their count. Lines that
 * the descriptor refuses (disk full) count as dropped. A child made by fork has an empty buffer and
 * no thread. */
#ifndef JACKDAW_BASE_LOG_WRITER_H
#define JACKDAW_BASE_LOG_WRITER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_BYTES 2048 /* longest line, with its end: less than PIPE_BUF */
#define LOG_BUFFER_BYTES (1024u * 1024u)

/* Starts the thread, once in a process. file: appended to, made with mode 0640; borrowed for ever; NULL:
 * standard error. report: writes a line that tells how many were dropped, and returns its bytes; on
 * the thread. ERROR_*: file cannot be opened, or there is no thread; a sentence in why. */
enum error log_writer_start(const char *file,
                            size_t (*report)(uint64_t dropped, char line[static LOG_LINE_BYTES]),
                            struct error_text *why);

/* Whether lines go to a file. */
bool log_writer_has_file(void);

/* Takes a line of at most LOG_LINE_BYTES that ends with a newline. Any thread. */
void log_writer_put(const char *line, size_t size);

/* Makes the thread open the file anew; reopened is called on the thread: error is OK, or the old
 * file stays in use and reason tells why. Without a file the call does nothing. Any thread. */
void log_writer_reopen(void (*reopened)(const char *file, const char *reason));

/* Waits until the buffer is empty, for timeout_ms at most. A second call after one that has waited in
 * vain does not wait, unless a line came in between. Any thread but the writer's. */
void log_writer_flush(uint32_t timeout_ms);

#endif
