/* SPDX-License-Identifier: MIT */
/* text_append.h - bounded appending for texts that tests compare; what does not fit is a mistake of
 * the test. */
#ifndef JACKDAW_TESTS_TEXT_APPEND_H
#define JACKDAW_TESTS_TEXT_APPEND_H

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static inline void __attribute__((format(printf, 3, 4)))
text_append(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(text + used, size - used, format, arguments);
    va_end(arguments);
    ASSERT(more >= 0 && (size_t)more < size - used);
}

#endif
