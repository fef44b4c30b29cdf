/* SPDX-License-Identifier: MIT */
/* dial_failures.h - hears of connects that failed. nng tells of them in its log only, so this reads
 * there; where its words should change one day, nothing is heard. Private to src/rpc. */
#ifndef JACKDAW_RPC_DIAL_FAILURES_H
#define JACKDAW_RPC_DIAL_FAILURES_H

#include "base/error.h"

#include <stdint.h>

/* Embedded in the struct of the dialer; not to be moved while it watches. */
struct dial_watch {
    uint32_t socket; /* nng's id */
    void *context;
    /* On one of nng's threads, with the list of watches locked: hand it on and return. */
    void (*failed)(void *context, enum error error);
    struct dial_watch *next;
};

/* From here on, until dial_failures_forget has returned, failed is called. Any thread. */
void dial_failures_watch(struct dial_watch *watch);
void dial_failures_forget(struct dial_watch *watch); /* also of one that does not watch */

/* The error that a line of nng's log tells of, and the socket; OK: it tells of none. For tests. */
enum error dial_failures_read(const char *id, const char *text, uint32_t *socket);

#endif
