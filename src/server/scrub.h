/* SPDX-License-Identifier: MIT */
/* scrub.h - reads and checks the whole database beside the service, at a bounded pace.
 *
 * A thread of low priority scans through a read-only connection of its own (store_scan), in slices, each a
 * short read transaction. The thread takes at most a tenth of a core. Core thread only, unless said otherwise. */
#ifndef JACKDAW_SERVER_SCRUB_H
#define JACKDAW_SERVER_SCRUB_H

#include "base/task_queue.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

#define SCRUB_BYTES_PER_SECOND (32u * 1024u * 1024u) /* at most, of rows */

struct scrub;

struct scrub_options {
    struct task_queue *queue; /* of the core: receives the end of the scrub */
    uint64_t bytes_per_second;
    void *context;
    /* From the queue: a scan has ended. error: OK, ERROR_CORRUPT, or why it could not go on. bytes:
     * of the rows that were read. Not called for a scan that scrub_stop ended. */
    void (*ended)(void *context, enum error error, const char *reason, uint64_t bytes);
};

/* ERROR_NO_MEMORY. */
enum error scrub_new(struct scrub **out, const struct scrub_options *options);
/* Ends a scan, and runs the queue where there was one. NULL is allowed. */
void scrub_free(struct scrub *scrub);

/* Begins a scan, unless one is under way or the end of one is still in the queue. Errors: store_open_reader's, with a sentence in why;
 * ERROR_NO_MEMORY, ERROR_FULL of threads. */
enum error scrub_start(struct scrub *scrub, const struct store *store, struct error_text *why);
/* Ends a scan under way, within one slice, and closes its connection: the database is about to be
 * closed or replaced. */
void scrub_stop(struct scrub *scrub);
bool scrub_is_running(const struct scrub *scrub);

#endif
