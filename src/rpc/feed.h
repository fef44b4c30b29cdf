/* SPDX-License-Identifier: MIT */
/* feed.h - messages from one to many, over nng PUB and SUB on TCP.
 *
 * A feed is a hint, fast and lossy: it never waits for anybody. A slow subscriber loses messages:
 * the oldest first at the publisher, the newest first at a follower with a slow owner. A new
 * subscriber gets the messages from some moment after its connection on. Each message arrives
 * complete, and those of one connection arrive in the order of publishing. So messages carry
 * numbers of their own, and what is missing is asked for by a call.
 *
 * On the wire 4 bytes precede each message, "JDF" and a version. A message without them ends the
 * connection. All functions: the owner's thread. */
#ifndef JACKDAW_RPC_FEED_H
#define JACKDAW_RPC_FEED_H

#include "base/address.h"
#include "base/error.h"
#include "base/task_queue.h"
#include "rpc/server.h" /* struct rpc_chunk */

#include <stddef.h>
#include <stdint.h>

/* ---- publishing ---- */

struct rpc_feed;

struct rpc_feed_options {
    struct address address;   /* where to listen; port 0: the kernel picks; no TLS */
    unsigned send_messages;   /* kept for a subscriber that lags; 0: 512; at most 8192 */
    size_t message_bytes_max; /* larger ones are not sent; 0: RPC_FEED_BYTES_DEFAULT */
    size_t subscribers_max;   /* further connections are turned away; 0: 64 */
};
#define RPC_FEED_BYTES_DEFAULT (8u * 1024u * 1024u)

/* Makes a feed and listens. *out: ended with rpc_feed_free. ERROR_IN_USE, ERROR_DENIED,
 * ERROR_NOT_FOUND, ERROR_INVALID (address, or options over their limits), ERROR_NO_MEMORY,
 * ERROR_FULL (descriptors): sentence in why. */
enum error rpc_feed_open(struct rpc_feed **out, const struct rpc_feed_options *options,
                         struct error_text *why);

/* Where it listens, with the port that the kernel picked. */
void rpc_feed_address(const struct rpc_feed *feed, struct address *out);

/* Sends the chunks (borrowed) together as one message to all who are subscribed. Never blocks and
 * never fails; a message that is too large is dropped and logged. */
void rpc_feed_publish(struct rpc_feed *feed, const struct rpc_chunk *chunks, size_t count);

struct rpc_feed_stats {
    size_t subscribers; /* connections, also those that are only just beginning */
    uint64_t published; /* messages, whether anybody was subscribed or not */
    uint64_t dropped;   /* too large, or no memory: sent to nobody */
};
void rpc_feed_stats(const struct rpc_feed *feed, struct rpc_feed_stats *out);

/* Closes all connections and drops unsent messages. NULL is allowed. */
void rpc_feed_free(struct rpc_feed *feed);

/* ---- following ---- */

struct rpc_follower;

struct rpc_follower_options {
    struct address address;
    struct task_queue *queue;  /* the owner's; must outlive the follower */
    size_t message_bytes_max;  /* a larger one ends the connection; 0: RPC_FEED_BYTES_DEFAULT */
    size_t waiting_bytes_max;  /* messages that the owner has not run yet; 0: 64 MiB */
    uint32_t reconnect_min_ms; /* first pause after a failed connect; 0: 50 */
    uint32_t reconnect_max_ms; /* 0: 1000 */
    void *context;
    /* All are called on the owner's thread, when it runs its queue. bytes: borrowed. The follower
     * may deliver messages of an ended connection after disconnected. */
    void (*message)(void *context, const uint8_t *bytes, size_t size);
    void (*connected)(void *context);    /* may be NULL */
    void (*disconnected)(void *context); /* may be NULL */
};

/* Creates a follower, which connects automatically, and again after a loss. *out: ended with
 * rpc_follower_close. ERROR_INVALID (address), ERROR_NO_MEMORY, ERROR_FULL (descriptors): sentence
 * in why. */
enum error rpc_follower_open(struct rpc_follower **out, const struct rpc_follower_options *options,
                             struct error_text *why);

struct rpc_follower_stats {
    uint64_t received;
    uint64_t dropped; /* the owner lagged too far behind, or no memory */
    uint64_t garbage; /* came without the 4 bytes */
};
void rpc_follower_stats(const struct rpc_follower *follower, struct rpc_follower_stats *out);

/* Ends the follower, also from one of its callbacks. After it the follower calls no callback.
 * Another thread disconnects. The last bytes are freed when that is done and the tasks that it has
 * in the queue have run. NULL is allowed. */
void rpc_follower_close(struct rpc_follower *follower);

#endif
