/* SPDX-License-Identifier: MIT */
/* error.h - the one list of operating errors, and the sentence that travels with one.
 *
 * There are three classes of errors. A function returns an operating error (full disk, bytes from a
 * peer, no memory) as an enum error. A mistake of the programmer asserts, in release builds too. An
 * error that prevents the start ends main with a sentence. Any thread. */
#ifndef JACKDAW_BASE_ERROR_H
#define JACKDAW_BASE_ERROR_H

#include <stddef.h>

enum error {
    OK = 0,
    ERROR_NO_MEMORY, /* an allocation failed, or a memory budget is used up */
    ERROR_INVALID,   /* malformed input: bytes, text, an option, an address */
    ERROR_TOO_LARGE, /* well-formed, but over a named limit */
    ERROR_NOT_FOUND, /* no such thing */
    ERROR_EXISTS,    /* there is one already */
    ERROR_FULL,      /* a bounded queue or table has no place left; try again later */
    ERROR_TIMEOUT,   /* not done in time */
    ERROR_CANCELLED, /* cancelled by the caller */
    ERROR_CLOSED,    /* the object was closed, or the peer has gone */
    ERROR_REFUSED,   /* no process listens at the address */
    ERROR_DENIED,    /* not permitted by the operating system or by a peer */
    ERROR_IN_USE,    /* address, file or data folder is held by another process */
    ERROR_DISK_FULL, /* no space left for the database */
    ERROR_IO,        /* reading or writing failed */
    ERROR_CORRUPT,   /* stored data fails its checks */
    ERROR_VERSION,   /* a newer schema, or another protocol version */
    ERROR_MISMATCH,  /* belongs to another cluster, node or key */
    ERROR_INTERNAL,  /* a library answered what it never should */
    ERROR_COUNT
};

/* A short English phrase for people ("disk full"), static. Any int is accepted. */
const char *error_name(enum error error);

/* The enum error that an errno value stands for; ERROR_IO when nothing fits better. */
enum error error_from_errno(int errno_value);

/* The text of an error: the operation, its object, the reason, and what to do ("open store data/1:
 * disk full"). Longer text is cut at a character boundary. */
#define ERROR_TEXT_SIZE 512
struct error_text {
    char text[ERROR_TEXT_SIZE];
};

/* Formats into text (may be NULL) and returns error. A failing function ends with: return
 * error_set(why, ERROR_IO, "read %s: %s", path, ...); */
enum error error_set(struct error_text *text, enum error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Prefixes what is in text with "context: ". NULL is allowed. Returns error. */
enum error error_prefix(struct error_text *text, enum error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Ends the process if the condition is false, in release builds too: a false condition is a bug. */
#define ASSERT(condition) ((condition) ? (void)0 : assertion_failed(#condition, __FILE__, __LINE__))
_Noreturn void assertion_failed(const char *condition, const char *file, int line);

#endif
