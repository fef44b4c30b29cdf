/* SPDX-License-Identifier: MIT */
/* messages.h - the messages of the replication protocol: a header that every kind carries, and one
 * struct per kind.
 *
 * Only the member of the union that kind names is valid. Texts, entries, epochs, locations and bytes
 * are borrowed: of a received message for the step, of a message that a step makes until the next
 * step. src/cluster/cluster_wire.h packs messages. Pure; any thread. */
#ifndef JACKDAW_REPLICATION_MESSAGES_H
#define JACKDAW_REPLICATION_MESSAGES_H

#include "base/address.h"
#include "base/epoch_history.h"
#include "base/log_entry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLICA_MEMBERS_MAX 32       /* nodes of one cluster, including removed ones */
#define REPLICA_EPOCHS_MAX 64        /* the last epochs that a node remembers and sends in a JOIN */
#define REPLICA_ENTRIES_MAX 64       /* entries of one message */
#define REPLICA_ENTRIES_BYTES 262144 /* a page ends with the entry that passes this */
#define REPLICA_CHUNK_BYTES 262144   /* of a snapshot, at most */
#define REPLICA_CLUSTER_BYTES 16

/* Epochs and seqs of a state or a message are below this, so a sum of two of them does not overflow. */
#define REPLICA_NUMBER_MAX (UINT64_C(1) << 62)

enum replica_message_kind {
    REPLICA_PING,          /* slave to master: is an ACK, and asks for a PONG */
    REPLICA_PONG,          /* answers a PING */
    REPLICA_APPEND,        /* feed of the master: one entry */
    REPLICA_ACK,           /* slave to master: the end of its durable log */
    REPLICA_FETCH,         /* asks for entries that an APPEND did not bring */
    REPLICA_ENTRIES,       /* answers a FETCH */
    REPLICA_JOIN,          /* asks to follow the receiver, or asks a voter for its log */
    REPLICA_JOIN_REPLY,    /* answers a JOIN: where the two logs part */
    REPLICA_JOIN_REJECTED, /* the sender of a JOIN, or of a query, is no member here */
    REPLICA_SNAPSHOT_REQUEST,
    REPLICA_SNAPSHOT_CHUNK,
    REPLICA_LEADER_QUERY,         /* asks whether the receiver sees a master */
    REPLICA_LEADER_INFO,          /* answers a LEADER_QUERY */
    REPLICA_PREPARE,              /* candidate: asks for the promise of epoch */
    REPLICA_PROMISE,              /* answers a PREPARE */
    REPLICA_ANNOUNCE,             /* a master to the members that do not follow it */
    REPLICA_ORPHAN_TRANSFER,      /* slave to master: orphans to merge */
    REPLICA_ORPHAN_TRANSFER_DONE, /* master: the log has the merged orphans */
    REPLICA_LEAVE,                /* asks the master to remove a node for good */
    REPLICA_COMMITTED, /* feed of the master: the committed seq, if no APPEND follows soon */
    REPLICA_MESSAGE_KINDS
};

enum replica_role {
    REPLICA_LOOKING,    /* seeks a master; sees none that it can follow */
    REPLICA_JOINING,    /* follows a master, not in sync: the master does not wait for its acks */
    REPLICA_SLAVE,      /* follows a master, in sync */
    REPLICA_SUSPECTING, /* lost its master and asks whether other nodes see it */
    REPLICA_CANDIDATE,  /* has drawn a new epoch and asks for promises */
    REPLICA_RECOVERING_LOG, /* has the promises, fetches the best log before it is the master */
    REPLICA_MASTER,         /* orders writes */
    REPLICA_REMOVED,        /* no longer a member, for good */
    REPLICA_ROLES
};

enum replica_answer {
    REPLICA_DELTAS,   /* the asking log is a prefix of the answering one: FETCH from there */
    REPLICA_SNAPSHOT, /* it is a prefix, but the next entries are pruned, or one must be avoided */
    REPLICA_DIVERGED, /* the logs part after `common` */
};

enum replica_rejection {
    REPLICA_REJECTED_CLUSTER = 1, /* the node's data belongs to another cluster */
    REPLICA_REJECTED_ID,          /* another live node has this id */
    REPLICA_REJECTED_ADDRESS,     /* another node has this internal address */
    REPLICA_REJECTED_REMOVED,     /* the node has left this cluster for good */
    REPLICA_REJECTED_FULL,        /* REPLICA_MEMBERS_MAX nodes are members */
};

/* ---- parts ---- */

/* The master that the sender sees. */
struct replica_leader {
    uint16_t id; /* 0: none */
    uint64_t epoch;
    const char *address; /* internal; "": unknown; not NULL while id is not 0 */
};

/* The members in sync by the newest list that the sender has. */
struct replica_in_sync_set {
    struct log_position position; /* of that list */
    uint16_t ids[REPLICA_MEMBERS_MAX];
    size_t count; /* 0: the sender has no list */
};

/* An address at which the sender sees a member. */
struct replica_location {
    uint16_t id;
    const char *address;
};

/* ---- kinds ---- */

struct replica_ack {             /* PING, ACK */
    struct log_position durable; /* cumulative */
};

struct replica_pong {
    enum replica_role role;
    struct log_position last;
    uint64_t committed;
    uint64_t needed;      /* of the master: replica_needed_seq */
    uint32_t disk_age_ms; /* since when the oldest append waits for the disk; 0: none waits */
    struct replica_leader leader; /* of a follower */
};

struct replica_append {
    struct log_position before; /* the position that the entry follows */
    struct log_position last;   /* the end of the master's log */
    uint64_t committed;
    const struct log_entry *entry;
};

struct replica_fetch {
    bool recovering_log;       /* the sender is a candidate; epoch is its own */
    struct log_position after; /* the end of the sender's log */
};

struct replica_entries {
    bool recovering_log;
    enum replica_answer
        answer; /* DELTAS, or DIVERGED: the sender lacks `after` or what follows it */
    struct log_position after; /* of the FETCH */
    struct log_position last;  /* the end of the sender's log */
    uint64_t committed;
    const struct log_entry *entries;
    size_t count;
};

struct replica_join {
    bool recovering_log;
    uint16_t level; /* of features, see replica_options */
    const char *client;
    struct log_position last;
    struct log_position avoid;   /* see replica_state */
    struct epoch_history epochs; /* the last REPLICA_EPOCHS_MAX of the sender's log */
};

struct replica_join_reply {
    bool recovering_log;
    enum replica_answer answer;
    struct log_position asked;  /* last of the JOIN */
    struct log_position common; /* the last position that both logs have */
    struct log_position last;
    uint64_t committed;
    struct replica_leader leader; /* the sender, unless recovering_log */
};

struct replica_join_rejected {
    enum replica_rejection rejection;
    bool is_listed; /* REJECTED_CLUSTER: the sender's list has the receiver's id at its address */
    struct replica_in_sync_set in_sync; /* REJECTED_CLUSTER */
};

struct replica_snapshot_request {
    bool recovering_log;
    uint64_t snapshot; /* its id; 0: a new one */
    uint64_t offset;   /* bytes */
    struct log_position common;
    struct log_position avoid;
};

struct replica_snapshot_chunk {
    bool recovering_log;
    uint64_t snapshot;
    uint64_t offset;
    uint64_t total;             /* bytes of the snapshot */
    struct log_position common; /* of the request */
    struct log_position avoid;  /* of the request; (0, 0): the sender's log does not have it */
    struct log_position last;   /* the position of the snapshot */
    const uint8_t *bytes;
    size_t size;
};

struct replica_leader_query {
    uint16_t suspect; /* the master that the sender lost; 0: none */
    bool is_seed;     /* the receiver is a seed of the sender */
    struct replica_in_sync_set in_sync;
};

struct replica_leader_info {
    enum replica_role role;
    bool unhealthy;
    struct log_position durable;
    struct replica_leader leader;
    struct replica_in_sync_set in_sync;
    const struct replica_location *locations;
    size_t locations_count; /* at most REPLICA_MEMBERS_MAX */
};

struct replica_promise {
    bool granted;
    struct log_position durable;        /* granted */
    struct replica_in_sync_set in_sync; /* granted */
    struct replica_leader leader;       /* refused */
};

struct replica_orphan_transfer {
    uint64_t orphan; /* number of the last one of entries */
    const struct log_entry *entries;
    size_t count;
};

struct replica_orphan_transfer_done {
    uint64_t orphan;            /* merged up to this number */
    struct log_position merged; /* the log has the merged entries up to here */
};

struct replica_leave {
    uint16_t node;
};

struct replica_commit {
    uint64_t seq; /* every entry up to there is committed */
};

/* ---- a message ---- */

struct replica_message {
    enum replica_message_kind kind;
    uint16_t from;
    uint16_t to;                            /* 0: the node at the address, whatever its id is */
    bool blank;                             /* the sender's log has no chat entry */
    bool founding;                          /* the sender has no cluster, and may found one */
    const char *address;                    /* where to send; NULL: unknown; not on the wire */
    const char *internal;                   /* the sender's own address; NULL in APPEND and ACK */
    uint8_t cluster[REPLICA_CLUSTER_BYTES]; /* of the sender; all zero: none */
    uint64_t epoch;                         /* the epoch spoken of; 0: none */
    uint64_t promised;                      /* the sender's promise */
    union {
        struct replica_ack ping;
        struct replica_pong pong;
        struct replica_append append;
        struct replica_ack ack;
        struct replica_fetch fetch;
        struct replica_entries entries;
        struct replica_join join;
        struct replica_join_reply join_reply;
        struct replica_join_rejected join_rejected;
        struct replica_snapshot_request snapshot_request;
        struct replica_snapshot_chunk snapshot_chunk;
        struct replica_leader_query leader_query;
        struct replica_leader_info leader_info;
        struct replica_promise promise;
        struct replica_orphan_transfer orphan_transfer;
        struct replica_orphan_transfer_done orphan_transfer_done;
        struct replica_leave leave;
        struct replica_commit committed;
    }; /* PREPARE and ANNOUNCE have the header alone */
};
#define REPLICA_MESSAGE_BYTES 216
_Static_assert(sizeof(struct replica_message) <= REPLICA_MESSAGE_BYTES, "a message is bounded");

/* Whether a received message may be stepped by the node `self`: kind and numbers are in range, and texts
 * that the kind needs are there. The step checks the meaning. */
bool replica_message_is_sound(const struct replica_message *message, uint16_t self);

/* Whether text is no longer than an address; NULL: false. */
bool replica_address_is_sound(const char *text);

#endif
