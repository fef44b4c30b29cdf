/* SPDX-License-Identifier: MIT */
#include "app/password.h"

#include "client/text.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <unistd.h>

/* Reads up to size bytes, fewer only at the end of the file; -1 with errno. */
static ssize_t read_fully(int descriptor, char *bytes, size_t size)
{
    size_t used = 0;
    while (used < size) {
        ssize_t got = read(descriptor, bytes + used, size - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        used += (size_t)got;
    }
    return (ssize_t)used;
}

static enum error take_line(const char *path, const char *bytes, size_t size,
                            char out[static PASSWORD_SIZE], struct error_text *why)
{
    const char *end = memchr(bytes, '\n', size);
    size_t length = end == NULL ? size : (size_t)(end - bytes);
    if (length > 0 && bytes[length - 1] == '\r')
        length--;
    if (length == 0)
        return error_set(why, ERROR_INVALID, "%s: its first line is empty; put the password there",
                         path);
    if (length >= PASSWORD_SIZE)
        return error_set(why, ERROR_INVALID,
                         "%s: its first line is longer than 256 bytes, too long for a password",
                         path);
    if (!text_is_valid(bytes, length))
        return error_set(why, ERROR_INVALID, "%s: its first line is not text in UTF-8", path);
    memcpy(out, bytes, length);
    out[length] = '\0';
    return OK;
}

enum error password_read_file(const char *path, char out[static PASSWORD_SIZE],
                              struct error_text *why)
{
    char bytes[PASSWORD_SIZE + 2]; /* room for a line break */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return error_set(why, error_from_errno(errno), "%s: %s", path, strerror(errno));
    ssize_t size = read_fully(descriptor, bytes, sizeof bytes);
    enum error error =
        size < 0 ? error_set(why, error_from_errno(errno), "%s: %s", path, strerror(errno))
                 : take_line(path, bytes, (size_t)size, out, why);
    (void)close(descriptor);
    sodium_memzero(bytes, sizeof bytes);
    return error;
}
