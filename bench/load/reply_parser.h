/* SPDX-License-Identifier: MIT */
/* reply_parser.h - reads just those fields of replies that a load generator needs, where they lie.
 *
 * A general decoder allocates for every event of every page; this one walks the bytes once and
 * copies a few integers. Unknown and uninteresting fields are skipped, so it reads whatever
 * proto/spec.proto allows. Nothing is written outside *out; pointers in it lead into the bytes
 * given. Any thread. Tests: bench/test_reply_parser.c. */
#ifndef JACKDAW_BENCH_SCAN_H
#define JACKDAW_BENCH_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct parse_cursor {
    const uint8_t *at;
    const uint8_t *end;
};

enum parse_result {
    PARSE_FOUND,  /* *out is filled, there may be more */
    PARSE_END,    /* nothing is left */
    PARSE_BROKEN, /* no valid encoding */
};

struct parse_bytes {
    const uint8_t *at; /* NULL where size is 0 */
    size_t size;
};

struct parse_envelope {
    uint32_t kind;
    uint64_t call;
    struct parse_bytes payload;
    uint32_t status;
    struct parse_bytes message;
    uint32_t retry_ms;
    bool more;
};

/* The next envelope of a jackdaw.Frame; the cursor starts as the whole frame. */
enum parse_result parse_envelope(struct parse_cursor *frame, struct parse_envelope *out);

struct parse_position {
    uint64_t epoch;
    uint64_t seq;
};

/* jackdaw.SendReply. False: broken. */
struct parse_send_reply {
    uint64_t number;
    struct parse_position position;
};
bool parse_send_reply(struct parse_bytes payload, struct parse_send_reply *out);

/* jackdaw.ReceiveReply, without its events: for a fault free check that no page was lost. One
 * pass over the events' lengths only. False: broken. */
struct parse_page {
    struct parse_position after;
    struct parse_position next;
};
bool parse_page(struct parse_bytes payload, struct parse_page *out);

/* The next event of a jackdaw.ReceiveReply; the cursor starts as the whole payload. */
struct parse_event {
    uint32_t kind;
    uint64_t number;
    uint64_t session;
    uint64_t request;
};
enum parse_result parse_event(struct parse_cursor *page, struct parse_event *out);

#endif
