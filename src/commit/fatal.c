/* SPDX-License-Identifier: MIT */
#include "commit/fatal.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void fatal(const char *module, const char *sentence)
{
    log_error(module, "cannot_go_on", log_string("reason", sentence));
    (void)fprintf(stderr, "jackdaw-server: %s\n", sentence);
    (void)fflush(stderr);
    _exit(EXIT_FAILURE);
}
