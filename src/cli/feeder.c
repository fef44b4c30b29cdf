/* SPDX-License-Identifier: MIT */
#include "cli/feeder.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES (FEEDER_LINE_MAX + 2)  /* a line break of two, or one byte too many */
#define READ_BYTES_LEAST (BUFFER_BYTES / 8) /* of free place, so that reading is worth moving */

enum error feeder_init(struct feeder *feeder, int descriptor)
{
    *feeder = (struct feeder){.descriptor = descriptor, .number = 1};
    feeder->bytes = malloc(BUFFER_BYTES);
    return feeder->bytes == NULL ? ERROR_NO_MEMORY : OK;
}

void feeder_release(struct feeder *feeder)
{
    free(feeder->bytes);
    feeder->bytes = NULL;
}

/* Where the first line ends: its break, the end of all, or NULL. */
static const char *find_end(struct feeder *feeder)
{
    const char *from = feeder->bytes + feeder->searched;
    const char *end = memchr(from, '\n', feeder->used - feeder->searched);
    if (end == NULL) {
        feeder->searched = feeder->used;
        if (feeder->ended && feeder->used > feeder->start)
            end = feeder->bytes + feeder->used;
    }
    return end;
}

/* Drops the rest of a line that was too long. */
static void drop_rest(struct feeder *feeder)
{
    const char *end = find_end(feeder);
    if (end == NULL) {
        feeder->start = feeder->used = feeder->searched = 0;
        return;
    }
    feeder->skipping = false;
    feeder->start = (size_t)(end - feeder->bytes);
    if (feeder->start < feeder->used)
        feeder->start++;
    feeder->searched = feeder->start;
    feeder->number++;
}

bool feeder_peek(struct feeder *feeder, struct feeder_line *line)
{
    if (feeder->skipping)
        drop_rest(feeder);
    if (feeder->skipping)
        return false;
    const char *end = find_end(feeder);
    size_t size = (end == NULL ? feeder->used : (size_t)(end - feeder->bytes)) - feeder->start;
    if (end == NULL && size <= FEEDER_LINE_MAX + 1)
        return false;
    const char *text = feeder->bytes + feeder->start;
    if (end != NULL && size > 0 && text[size - 1] == '\r')
        size--;
    *line = (struct feeder_line){.text = text,
                                 .size = size > FEEDER_LINE_MAX ? FEEDER_LINE_MAX : size,
                                 .number = feeder->number,
                                 .too_long = size > FEEDER_LINE_MAX};
    return true;
}

void feeder_skip(struct feeder *feeder)
{
    feeder->skipping = true;
    drop_rest(feeder);
}

void feeder_drop(struct feeder *feeder)
{
    feeder->start = feeder->used = feeder->searched = 0;
    feeder->skipping = false;
}

bool feeder_wants(struct feeder *feeder)
{
    struct feeder_line line;
    size_t left = feeder->used - feeder->start;
    return !feeder->ended &&
           (left <= BUFFER_BYTES - READ_BYTES_LEAST || !feeder_peek(feeder, &line));
}

bool feeder_is_final(const struct feeder *feeder)
{
    struct stat status;
    struct pollfd entry = {.fd = feeder->descriptor, .events = 0};
    if (feeder->ended || (fstat(feeder->descriptor, &status) == 0 && S_ISREG(status.st_mode)))
        return true;
    return poll(&entry, 1, 0) > 0 && (entry.revents & POLLHUP) != 0;
}

void feeder_read(struct feeder *feeder)
{
    size_t left = feeder->used - feeder->start;
    memmove(feeder->bytes, feeder->bytes + feeder->start, left);
    feeder->searched -= feeder->start;
    feeder->start = 0;
    feeder->used = left;
    ssize_t got = read(feeder->descriptor, feeder->bytes + left, BUFFER_BYTES - left);
    if (got > 0)
        feeder->used += (size_t)got;
    else if (got == 0 || (errno != EINTR && errno != EAGAIN))
        feeder->ended = true;
}
