/* SPDX-License-Identifier: MIT */
/* batch_mode.h - the loop of a client that reads commands from a pipe or file: JSON mode, and plain
 * lines without a terminal. */
#ifndef JACKDAW_CLI_PIPED_H
#define JACKDAW_CLI_PIPED_H

struct app;

/* Starts lines from standard input in their order and returns when all have ended: after the end
 * of the input, /quit, or a signal. From then on servers that do not answer are waited for no
 * longer than the --timeout. A second signal ends it at once. */
void batch_mode_run(struct app *app);

#endif
