/* SPDX-License-Identifier: MIT */
/* program.h - what the programs of this folder share: their main, the signals that end them, and the
 * files beside them. */
#ifndef JACKDAW_BENCH_PROGRAM_H
#define JACKDAW_BENCH_PROGRAM_H

#include "base/options.h"

#include <limits.h>
#include <stdbool.h>

/* Does the work of main: reads the options, and prints the help or runs the program. Returns the exit status:
 * 2 where an option is wrong, else that of run. help: a field of settings. */
int program_main(const char *name, const struct option_table *table, int argc, char **argv,
                 void *settings, const bool *help, int (*run)(void *settings));

/* Whether a signal asked for the end: every loop asks, so that servers are stopped and folders removed
 * on the way out. */
bool interrupted(void);

/* Writes the path of the file `name` beside this program; "" where there is none. */
void program_find_beside(const char *name, char path[static PATH_MAX]);

/* Warns where a folder lies in memory. */
void program_check_folder(const char *name, const char *folder);

#endif
