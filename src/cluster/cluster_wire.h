/* SPDX-License-Identifier: MIT */
/* cluster_wire.h - messages of the replication protocol (replication/messages.h) as they travel: as
 * Jackdaw__ClusterMessage (proto/spec.proto, "The cluster"), and packed for the feed.
 *
 * A message comes from a peer and may hold anything. cluster_wire_decode checks kinds, counts and sizes;
 * replica_step checks numbers and addresses (replica_message_is_sound) before it uses them.
 *
 *     struct cluster_frame frame;
 *     cluster_frame_init(&frame);
 *     cluster_frame_add(&frame, message, NULL, &arena);
 *     jackdaw__cluster__exchange(&stub.service, &frame.frame, on_reply, &result);
 *
 * Pure; any thread. */
#ifndef JACKDAW_CLUSTER_CLUSTER_WIRE_H
#define JACKDAW_CLUSTER_CLUSTER_WIRE_H

#include "base/arena.h"
#include "base/error.h"
#include "replication/replica.h"
#include "spec.pb-c.h"

#define CLUSTER_FRAME_MESSAGES_MAX 64
#define CLUSTER_FRAME_BYTES 1048576 /* a frame ends before the message that would pass this */

/* Makes the message for the wire. *out and its parts are in the arena; strings, entries and chunks
 * that message points to are borrowed, the message itself is not. feed: where the master publishes,
 * in a JOIN_REPLY; NULL: none. ERROR_NO_MEMORY: the arena is used up. */
enum error cluster_wire_encode(const struct replica_message *message, const char *feed,
                               struct arena *arena, Jackdaw__ClusterMessage **out);

/* The way back. The arrays of entries, epochs and locations are in the arena; strings and bytes are borrowed from in.
 * message.address is NULL: `from` is the sender. *feed (NULL is allowed): NULL where there is none.
 * On ERROR_INVALID (a value is out of range) and ERROR_NO_MEMORY *out and *feed are unchanged. */
enum error cluster_wire_decode(const Jackdaw__ClusterMessage *in, struct arena *arena,
                               struct replica_message *out, const char **feed);

/* ---- packed, as the feed carries them ---- */

/* Packs one message into the arena. ERROR_NO_MEMORY. */
enum error cluster_wire_pack(const struct replica_message *message, const char *feed,
                             struct arena *arena, ProtobufCBinaryData *out);

/* Reads the output of cluster_wire_pack, or any other bytes. The data of *out is in the arena,
 * which needs a budget: size * CLUSTER_UNPACK_FACTOR + CLUSTER_UNPACK_FLOOR suffices for a
 * well-formed message. ERROR_INVALID also where the budget was too small. */
#define CLUSTER_UNPACK_FACTOR 4
#define CLUSTER_UNPACK_FLOOR 65536
enum error cluster_wire_unpack(const void *bytes, size_t size, struct arena *arena,
                               struct replica_message *out, const char **feed);

/* ---- several to one peer ---- */

/* A request or a reply of Exchange. The caller's storage; it is not to be moved. */
struct cluster_frame {
    Jackdaw__ClusterFrame frame;
    Jackdaw__ClusterMessage *items[CLUSTER_FRAME_MESSAGES_MAX];
    size_t bytes; /* packed */
};

void cluster_frame_init(struct cluster_frame *frame);

/* Appends a message, encoded into the arena. ERROR_FULL: the frame has as many or as large ones as
 * it takes (an empty one takes any one message): send it and begin anew. ERROR_NO_MEMORY. */
enum error cluster_frame_add(struct cluster_frame *frame, const struct replica_message *message,
                             const char *feed, struct arena *arena);

/* Packs the frame into the arena. ERROR_NO_MEMORY. */
enum error cluster_frame_pack(const struct cluster_frame *frame, struct arena *arena,
                              ProtobufCBinaryData *out);

#endif
