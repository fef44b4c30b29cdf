/* SPDX-License-Identifier: MIT */
#include "cli/line_reader.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES (INPUT_LINE_MAX + 2)   /* a line break of two, or one byte too many */
#define READ_BYTES_LEAST (BUFFER_BYTES / 8) /* of free place, so that reading is worth moving */

enum error line_reader_init(struct line_reader *line_reader, int descriptor)
{
    *line_reader = (struct line_reader){.descriptor = descriptor, .number = 1};
    line_reader->bytes = malloc(BUFFER_BYTES);
    return line_reader->bytes == NULL ? ERROR_NO_MEMORY : OK;
}

void line_reader_release(struct line_reader *line_reader)
{
    free(line_reader->bytes);
    line_reader->bytes = NULL;
}

/* Where the first line ends: its break, the end of all, or NULL. */
static const char *find_end(struct line_reader *line_reader)
{
    const char *from = line_reader->bytes + line_reader->searched;
    const char *end = memchr(from, '\n', line_reader->used - line_reader->searched);
    if (end == NULL) {
        line_reader->searched = line_reader->used;
        if (line_reader->ended && line_reader->used > line_reader->start)
            end = line_reader->bytes + line_reader->used;
    }
    return end;
}

/* Drops the rest of a line that was too long. */
static void drop_rest(struct line_reader *line_reader)
{
    const char *end = find_end(line_reader);
    if (end == NULL) {
        line_reader->start = line_reader->used = line_reader->searched = 0;
        return;
    }
    line_reader->skipping = false;
    line_reader->start = (size_t)(end - line_reader->bytes);
    if (line_reader->start < line_reader->used)
        line_reader->start++;
    line_reader->searched = line_reader->start;
    line_reader->number++;
}

bool line_reader_peek(struct line_reader *line_reader, struct input_line *line)
{
    if (line_reader->skipping)
        drop_rest(line_reader);
    if (line_reader->skipping)
        return false;
    const char *end = find_end(line_reader);
    size_t size =
        (end == NULL ? line_reader->used : (size_t)(end - line_reader->bytes)) - line_reader->start;
    if (end == NULL && size <= INPUT_LINE_MAX + 1)
        return false;
    const char *text = line_reader->bytes + line_reader->start;
    if (end != NULL && size > 0 && text[size - 1] == '\r')
        size--;
    *line = (struct input_line){.text = text,
                                .size = size > INPUT_LINE_MAX ? INPUT_LINE_MAX : size,
                                .number = line_reader->number,
                                .too_long = size > INPUT_LINE_MAX};
    return true;
}

void line_reader_skip(struct line_reader *line_reader)
{
    line_reader->skipping = true;
    drop_rest(line_reader);
}

void line_reader_drop(struct line_reader *line_reader)
{
    line_reader->start = line_reader->used = line_reader->searched = 0;
    line_reader->skipping = false;
}

bool line_reader_wants(struct line_reader *line_reader)
{
    struct input_line line;
    size_t left = line_reader->used - line_reader->start;
    return !line_reader->ended &&
           (left <= BUFFER_BYTES - READ_BYTES_LEAST || !line_reader_peek(line_reader, &line));
}

bool line_reader_is_final(const struct line_reader *line_reader)
{
    struct stat status;
    struct pollfd entry = {.fd = line_reader->descriptor, .events = 0};
    if (line_reader->ended ||
        (fstat(line_reader->descriptor, &status) == 0 && S_ISREG(status.st_mode)))
        return true;
    return poll(&entry, 1, 0) > 0 && (entry.revents & POLLHUP) != 0;
}

void line_reader_read(struct line_reader *line_reader)
{
    size_t left = line_reader->used - line_reader->start;
    memmove(line_reader->bytes, line_reader->bytes + line_reader->start, left);
    line_reader->searched -= line_reader->start;
    line_reader->start = 0;
    line_reader->used = left;
    ssize_t got = read(line_reader->descriptor, line_reader->bytes + left, BUFFER_BYTES - left);
    if (got > 0)
        line_reader->used += (size_t)got;
    else if (got == 0 || (errno != EINTR && errno != EAGAIN))
        line_reader->ended = true;
}
