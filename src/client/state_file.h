/* SPDX-License-Identifier: MIT */
/* state_file.h - a file of records that is appended to, and made anew when it has grown.
 *
 * The file begins with a line of text. Then come records: size (4 bytes, little endian), the first
 * 4 bytes of the size's BLAKE2b-128 digest, the digest of size and payload, payload. When a process
 * is killed, or a machine loses power, the file is a prefix of the records, and perhaps a part of
 * one more, which state_file_open drops. Anything else that does not fit is damage: state_file_open
 * refuses the file and does not change it.
 *
 * The file has mode 0600. A new one is written beside it (PATH.new), synced and renamed. PATH.lock
 * is locked while the file is open, so that two processes do not write it.
 *
 * One thread. Sentences in why are for the user and name the file. */
#ifndef JACKDAW_CLIENT_STATE_FILE_H
#define JACKDAW_CLIENT_STATE_FILE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATE_FILE_BYTES_MAX (64u * 1024u * 1024u) /* a larger file is refused, and never written */
#define STATE_FILE_RECORD_MAX (1024u * 1024u)      /* bytes of a payload */
#define STATE_FILE_REWRITE_BYTES (1024u * 1024u)   /* a smaller file is not made anew */
#define STATE_FILE_MAGIC "jackdaw client state 1\n"

struct state_file;

/* Gets each record of a file that is opened. An error other than OK says that the record makes no
 * sense: the file is refused as damaged. */
typedef enum error state_file_visit(void *context, const void *payload, size_t size);

/* Opens the file at path, or makes an empty one, and hands its records to visit. *out: ended with
 * state_file_close. ERROR_IN_USE: another process has it open. ERROR_DENIED: other users may read
 * it, or it is no regular file. ERROR_CORRUPT: it is empty, damaged, or no state file. Also
 * ERROR_VERSION, ERROR_TOO_LARGE, ERROR_NO_MEMORY, and errors of the operating system. */
enum error state_file_open(struct state_file **out, const char *path, state_file_visit *visit,
                           void *context, struct error_text *why);

/* Writes what was added, and closes. NULL is allowed. */
void state_file_close(struct state_file *file);

/* Adds a record in memory. size is at most STATE_FILE_RECORD_MAX. */
void state_file_add(struct state_file *file, const void *payload, size_t size);

/* Writes what was added: it outlives the process. */
void state_file_flush(struct state_file *file);

/* Writes and syncs it: it outlives the machine. False: it does not, see state_file_problem. */
bool state_file_sync(struct state_file *file);

/* Whether the file has grown so much that it should be made anew. */
bool state_file_is_long(const struct state_file *file);

/* Rewrites the file: it then holds only the records added between begin and end. Where that fails
 * before the old file was replaced, the old one stays in use and is long again later. */
void state_file_begin_rewrite(struct state_file *file);
void state_file_end_rewrite(struct state_file *file);

/* After the first failure nothing is written any more. NULL: all is well; else a sentence. */
const char *state_file_problem(const struct state_file *file);

size_t state_file_size(const struct state_file *file);

#endif
