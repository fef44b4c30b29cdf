/* SPDX-License-Identifier: MIT */
/* line_reader.h - lines from a pipe or file, in bounded memory: the client reads input only when it can
 * use it. */
#ifndef JACKDAW_CLI_LINE_READER_H
#define JACKDAW_CLI_LINE_READER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INPUT_LINE_MAX (256u * 1024u) /* longest line, its break not counted */

struct line_reader {
    int descriptor; /* borrowed */
    char *bytes;
    size_t start, used; /* bytes[start..used) are unread */
    size_t searched;    /* up to here there is no line break */
    uint64_t number;    /* of the line that line_reader_peek shows */
    bool ended;         /* nothing more comes */
    bool skipping;      /* up to the end of a line that was too long */
};

struct input_line {
    const char *text; /* not NUL-terminated; valid until the next call */
    size_t size;
    uint64_t number;
    bool too_long; /* text is the beginning */
};

/* ERROR_NO_MEMORY. Ended with line_reader_release. */
enum error line_reader_init(struct line_reader *line_reader, int descriptor);
void line_reader_release(struct line_reader *line_reader);

/* Whether line_reader_read is called for: there is no line to show, or place for a good deal more. */
bool line_reader_wants(struct line_reader *line_reader);
/* Whether nobody can add to the input any more: all of it was read, it is a file, or a pipe whose
 * other end is closed. */
bool line_reader_is_final(const struct line_reader *line_reader);
/* Reads once; may block unless poll said it does not. An error ends the input. */
void line_reader_read(struct line_reader *line_reader);

/* Shows the next line; false when there is none (yet, or any more when ended). */
bool line_reader_peek(struct line_reader *line_reader, struct input_line *line);
/* Goes past the line that line_reader_peek shows. */
void line_reader_skip(struct line_reader *line_reader);
/* Forgets all that was read. */
void line_reader_drop(struct line_reader *line_reader);

#endif
