/* SPDX-License-Identifier: MIT */
#include "base/error.h"

#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[ERROR_COUNT] = {
    [OK] = "ok",
    [ERROR_NO_MEMORY] = "out of memory",
    [ERROR_INVALID] = "invalid",
    [ERROR_TOO_LARGE] = "too large",
    [ERROR_NOT_FOUND] = "not found",
    [ERROR_EXISTS] = "exists already",
    [ERROR_FULL] = "full",
    [ERROR_TIMEOUT] = "timed out",
    [ERROR_CANCELLED] = "cancelled",
    [ERROR_CLOSED] = "closed",
    [ERROR_REFUSED] = "connection refused",
    [ERROR_DENIED] = "not permitted",
    [ERROR_IN_USE] = "in use",
    [ERROR_DISK_FULL] = "disk full",
    [ERROR_IO] = "input/output error",
    [ERROR_CORRUPT] = "corrupt data",
    [ERROR_VERSION] = "unsupported version",
    [ERROR_MISMATCH] = "belongs to something else",
    [ERROR_INTERNAL] = "internal error",
};

const char *error_name(enum error error)
{
    if ((int)error < 0 || error >= ERROR_COUNT)
        return "unknown error";
    return names[error];
}

enum error error_from_errno(int errno_value)
{
    switch (errno_value) {
    case 0:
        return OK;
    case ENOMEM:
        return ERROR_NO_MEMORY;
    case EINVAL:
    case ENAMETOOLONG:
        return ERROR_INVALID;
    case ENOENT:
    case ENOTDIR:
        return ERROR_NOT_FOUND;
    case EEXIST:
        return ERROR_EXISTS;
    case EMFILE:
    case ENFILE:
        return ERROR_FULL;
    case ETIMEDOUT:
        return ERROR_TIMEOUT;
    case ECANCELED:
        return ERROR_CANCELLED;
    case EPIPE:
    case ECONNRESET:
        return ERROR_CLOSED;
    case ECONNREFUSED:
        return ERROR_REFUSED;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERROR_DENIED;
    case EADDRINUSE:
    case EBUSY:
    case EWOULDBLOCK:
        return ERROR_IN_USE;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERROR_DISK_FULL;
    default:
        return ERROR_IO;
    }
}

/* vsnprintf may cut a UTF-8 sequence in two: drop the broken tail. */
static void trim_to_character(char *text)
{
    size_t length = strlen(text);
    size_t start = length;
    while (start > 0 && length - start < 4) {
        start--;
        unsigned char byte = (unsigned char)text[start];
        if (byte < 0x80)
            return;
        if (byte >= 0xC0) {
            size_t need = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
            if (length - start < need)
                text[start] = '\0';
            return;
        }
    }
}

enum error error_set(struct error_text *text, enum error error, const char *format, ...)
{
    if (text == NULL)
        return error;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text->text, sizeof text->text, format, arguments);
    va_end(arguments);
    trim_to_character(text->text);
    return error;
}

enum error error_prefix(struct error_text *text, enum error error, const char *format, ...)
{
    if (text == NULL)
        return error;
    struct error_text prefix;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(prefix.text, sizeof prefix.text, format, arguments);
    va_end(arguments);
    struct error_text rest = *text;
    size_t used = (size_t)snprintf(text->text, sizeof text->text, "%s: ", prefix.text);
    if (used < sizeof text->text) {
        size_t room = sizeof text->text - used - 1;
        size_t length = strnlen(rest.text, room);
        memcpy(text->text + used, rest.text, length);
        text->text[used + length] = '\0';
    }
    trim_to_character(text->text);
    return error;
}

void assertion_failed(const char *condition, const char *file, int line)
{
    struct error_text text;
    (void)error_set(&text, ERROR_INTERNAL, "jackdaw: bug: %s:%d: assertion failed: %s", file, line,
                    condition);
    log_last_words(text.text);
    abort();
}
