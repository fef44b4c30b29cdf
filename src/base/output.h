/* SPDX-License-Identifier: MIT */
/* output.h - standard descriptors that are closed, or whose reader is slow. */
#ifndef JACKDAW_BASE_OUTPUT_H
#define JACKDAW_BASE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Opens each of the descriptors 0, 1 and 2 that is closed on /dev/null. Otherwise the next file or
 * socket takes the number, and the log is written into it. First statement of main. Ends the process
 * with status 1 if /dev/null cannot be opened: there is no place to say why. */
void output_open_standard(void);

/* Writes all bytes to the descriptor within timeout_ms (0: only what it takes at once), for example
 * to a pipe without a reader or a stopped terminal. false: the descriptor did not take all of it.
 * Other processes that write to the same pipe may still make it wait longer. Any thread. */
bool output_within(int descriptor, const char *bytes, size_t size, uint32_t timeout_ms);

/* Writes a line (with its newline; copied) without waiting: a thread of its own
 * waits for a descriptor that does not take it at once, until the process ends. Without memory or a
 * thread the line is lost. Any thread. */
void output_later(int descriptor, const char *text);

#endif
