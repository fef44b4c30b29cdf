/* SPDX-License-Identifier: MIT */
/* peer.h - clients of other systems, to which Jackdaw is compared: the common part of their protocols.
 * A client enters in steps (log in, join a room), then it sends messages or receives those of its room.
 * One thread. */
#ifndef JACKDAW_BENCH_PEER_H
#define JACKDAW_BENCH_PEER_H

#include "connection.h"

#define PEER_NUMBER_DIGITS 20u   /* each text begins with the message's number */
#define PEER_TEXT_BYTES_MAX 400u /* a line of IRC has 512 bytes with prefix and room */

struct peer_protocol;

/* Work that a scenario gives to its clients. */
struct peer_work {
    const struct peer_protocol *protocol;
    size_t text_bytes; /* PEER_NUMBER_DIGITS to PEER_TEXT_BYTES_MAX */
    size_t batch; /* messages in one request of a system that acknowledges batches; at least 1 */
};

/* One client. */
struct peer {
    struct connection connection; /* first */
    const struct peer_work *work;
    size_t index;
    size_t room;
    bool receives; /* else it sends */
    unsigned step; /* of entering */
    bool ready;    /* it has entered */
    /* Fields of a protocol. */
    size_t replies_expected; /* redis: of the batch */
    bool refused;            /* redis: one of them was an error */
    uint32_t stream;         /* etcd: of the open request */
    bool answered;           /* etcd: the stream had a message */
};

enum peer_event_kind {
    PEER_NOTHING,
    PEER_ENTERED,      /* one step of entering is done */
    PEER_ACKNOWLEDGED, /* the request of a slot: all its messages are stored */
    PEER_REFUSED,      /* the request of a slot failed, or a step of entering */
    PEER_MESSAGE,      /* delivered; text is set */
};

/* Meaning of one frame from a server. */
struct peer_event {
    enum peer_event_kind kind;
    size_t slot;
    const uint8_t *text;
};

struct peer_protocol {
    const char *name;
    unsigned steps;   /* of entering */
    size_t depth_max; /* requests in flight of one client */
    struct framing framing;
    /* Sends the request of a step, which PEER_ENTERED answers. False: no memory. NULL: no step. */
    bool (*enter)(struct peer *peer, unsigned step);
    /* Sends a message (or a batch of it) to the client's room. slot: below the depth, returned with
     * the acknowledgement. text: of work->text_bytes. False: no memory. */
    bool (*send)(struct peer *peer, size_t slot, const char *text);
    /* Reads one frame, and answers it if the protocol requires that. */
    struct peer_event (*read)(struct peer *peer, const uint8_t *frame, size_t size);
};

extern const struct peer_protocol peer_redis; /* XADD to a stream, then WAIT for two replicas */
extern const struct peer_protocol peer_redis_pubsub; /* PUBLISH and SUBSCRIBE */
extern const struct peer_protocol peer_nats; /* publishes to a JetStream, with acknowledgements */
extern const struct peer_protocol peer_etcd; /* puts by gRPC */
extern const struct peer_protocol peer_irc;  /* PRIVMSG to a channel */

/* Returns the size of a frame that ends with a line feed: 0 if it is not complete. */
size_t peer_line_size(const uint8_t *bytes, size_t size);
/* Whether bytes begin with these words. */
bool peer_begins_with(const uint8_t *bytes, size_t size, const char *words);
/* Returns where words stand in bytes; NULL: nowhere. */
const uint8_t *peer_find(const uint8_t *bytes, size_t size, const char *words);
/* Sends a formatted request of at most 1,000 bytes. */
bool peer_print(struct peer *peer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes a message: its number, then filling. text_bytes and a terminating 0. */
void peer_write_text(char *text, size_t text_bytes, uint64_t number);
uint64_t peer_read_number(const uint8_t *text);

#endif
