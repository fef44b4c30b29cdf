/* SPDX-License-Identifier: MIT */
/* feeder.h - lines from a pipe or file, in bounded memory: what is not wanted yet is not read. */
#ifndef JACKDAW_CLI_FEEDER_H
#define JACKDAW_CLI_FEEDER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FEEDER_LINE_MAX (256u * 1024u) /* longest line, its break not counted */

struct feeder {
    int descriptor; /* borrowed */
    char *bytes;
    size_t start, used; /* bytes[start..used) are unread */
    size_t searched;    /* up to here there is no line break */
    uint64_t number;    /* of the line that feeder_peek shows */
    bool ended;         /* nothing more comes */
    bool skipping;      /* up to the end of a line that was too long */
};

struct feeder_line {
    const char *text; /* not NUL-terminated; valid until the next call */
    size_t size;
    uint64_t number;
    bool too_long; /* text is the beginning */
};

/* ERROR_NO_MEMORY. Ended with feeder_release. */
enum error feeder_init(struct feeder *feeder, int descriptor);
void feeder_release(struct feeder *feeder);

/* Whether feeder_read is called for: there is no line to show, or place for a good deal more. */
bool feeder_wants(struct feeder *feeder);
/* Whether nobody can add to the input any more: all of it was read, it is a file, or a pipe whose
 * other end is closed. */
bool feeder_is_final(const struct feeder *feeder);
/* Reads once; may block unless poll said it does not. An error ends the input. */
void feeder_read(struct feeder *feeder);

/* Shows the next line; false when there is none (yet, or any more when ended). */
bool feeder_peek(struct feeder *feeder, struct feeder_line *line);
/* Goes past the line that feeder_peek shows. */
void feeder_skip(struct feeder *feeder);
/* Forgets all that was read. */
void feeder_drop(struct feeder *feeder);

#endif
