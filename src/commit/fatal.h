/* SPDX-License-Identifier: MIT */
/* fatal.h - the end of a process whose memory and disk no longer agree. Any thread. */
#ifndef JACKDAW_COMMIT_FATAL_H
#define JACKDAW_COMMIT_FATAL_H

/* Logs the sentence, prints it on standard error as main does, and ends the process with
 * EXIT_FAILURE at once, without further answers or writes. For what a disk may do; a bug asserts.
 * module: as of log_write. */
_Noreturn void fatal(const char *module, const char *sentence);

#endif
