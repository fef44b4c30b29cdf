/* SPDX-License-Identifier: MIT */
/* Three functions of glibc 2.38 that a static nng built there refers to, for systems with an older
 * one. Compiled only where CMake finds them missing. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

size_t strlcpy(char *restrict target, const char *restrict source, size_t size);
long __isoc23_strtol(const char *restrict text, char **restrict end, int base);
unsigned long long __isoc23_strtoull(const char *restrict text, char **restrict end, int base);

size_t strlcpy(char *restrict target, const char *restrict source, size_t size)
{
    size_t length = strlen(source);
    if (size > 0) {
        size_t copied = length < size ? length : size - 1;
        memcpy(target, source, copied);
        target[copied] = '\0';
    }
    return length;
}

/* C23 differs from C17 only in accepting a 0b prefix, which nng has no use for. */
long __isoc23_strtol(const char *restrict text, char **restrict end, int base)
{
    return strtol(text, end, base);
}

unsigned long long __isoc23_strtoull(const char *restrict text, char **restrict end, int base)
{
    return strtoull(text, end, base);
}
