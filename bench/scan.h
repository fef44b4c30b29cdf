/* SPDX-License-Identifier: MIT */
/* scan.h - reads just those fields of replies that a load generator needs, where they lie.
 *
 * A general decoder allocates for every event of every page; this one walks the bytes once and
 * copies a few integers. Unknown and uninteresting fields are skipped, so it reads whatever
 * proto/spec.proto allows. Nothing is written outside *out; pointers in it lead into the bytes
 * given. Any thread. Tests: bench/test_scan.c. */
#ifndef JACKDAW_BENCH_SCAN_H
#define JACKDAW_BENCH_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scan_cursor {
    const uint8_t *at;
    const uint8_t *end;
};

enum scan_result {
    SCAN_FOUND,  /* *out is filled, there may be more */
    SCAN_END,    /* nothing is left */
    SCAN_BROKEN, /* no valid encoding */
};

struct scan_bytes {
    const uint8_t *at; /* NULL where size is 0 */
    size_t size;
};

struct scan_envelope {
    uint32_t kind;
    uint64_t call;
    struct scan_bytes payload;
    uint32_t status;
    struct scan_bytes message;
    uint32_t retry_ms;
    bool more;
};

/* The next envelope of a jackdaw.Frame; the cursor starts as the whole frame. */
enum scan_result scan_envelope(struct scan_cursor *frame, struct scan_envelope *out);

struct scan_position {
    uint64_t epoch;
    uint64_t seq;
};

/* jackdaw.SendReply. False: broken. */
struct scan_send_reply {
    uint64_t number;
    struct scan_position position;
};
bool scan_send_reply(struct scan_bytes payload, struct scan_send_reply *out);

/* jackdaw.ReceiveReply, without its events: for a fault free check that no page was lost. One
 * pass over the events' lengths only. False: broken. */
struct scan_page {
    struct scan_position after;
    struct scan_position next;
};
bool scan_page(struct scan_bytes payload, struct scan_page *out);

/* The next event of a jackdaw.ReceiveReply; the cursor starts as the whole payload. */
struct scan_event {
    uint32_t kind;
    uint64_t number;
    uint64_t session;
    uint64_t request;
};
enum scan_result scan_event(struct scan_cursor *page, struct scan_event *out);

#endif
