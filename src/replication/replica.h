/* SPDX-License-Identifier: MIT */
/* replica.h - how servers agree: one node's protocol as a pure state machine.
 *
 * An event goes in, a list of actions comes out; nothing here does I/O, reads a clock, draws a
 * random number, starts a thread or knows what a batch means. src/cluster carries actions out with
 * rpc and store. One replica belongs to one thread. After replica_new nothing is allocated.
 *
 * What the driver keeps durable: the log of batches, the last members batch, the promise, the
 * cluster's id, and orphans (see Heal below).
 *
 * THE CONTRACT OF ACTIONS
 *   1. They are carried out in the order given, each before the next is begun. PERSIST and INSTALL
 *      are durable when they end; APPEND is only begun (DURABLE is told when its fsync is done).
 *      So a promise is on disk before it is sent, and an ack is of what is on disk.
 *   2. If PERSIST, APPEND or INSTALL fails, the rest of the list is dropped, what was not durable is
 *      rolled back, and FAILED is stepped with what is on the disk.
 *   3. APPENDs reach the disk in order, and DURABLE events come in order.
 *   4. A driver that applies before it proposes steps PROPOSE before any other event, so that the
 *      position it applied at is the one that the replica gives. (An ACK of a member in sync appends
 *      nothing and may come before.)
 *   5. Sending may fail, be late, doubled or out of order; nobody need be told. APPEND may drop.
 *   6. An answer is stepped with the address that was asked, so that the replica learns who is there.
 *   7. INSTALL may wait: a driver that must look at what it kept, which takes time, does nothing at
 *      first, goes on stepping other events, and steps CHECKED when it knows. INSTALL is said again
 *      then, unless nobody wants it any more; where what was kept is no good, it fails.
 *
 * ROLES
 *
 *    START ---> LOOKING <------------------ from every role: promised to a candidate, stepped
 *      |        |  ^  |                     down, lost the way
 *      |   JOIN_REPLY  |  nobody hears a master,
 *      |        |  |  the turn is ours ------------> CANDIDATE ---> RECOVERING_LOG
 *      |        v  |                                   ^  |           |
 *      |     JOINING --- in sync ---> SLAVE            |  |  the best log is here
 *      |        ^ |                    | ^             |  v           |
 *      |        | +-- master silent ---+ |             |  MASTER <----+
 *      |        |              v         |             |   ^
 *      |        +-------- SUSPECTING ----+-------------+   |
 *      +-- the first node of a new cluster ----------------+        any ---> REMOVED
 *
 * COMMIT. `all`: durable on the master and every member in sync. `quorum`: durable on a majority of
 * the voters, once that covers the start of the epoch. `local`: durable on the master. A member is in
 * sync, or a voter, when the last members batch in the log says so; the set that an epoch begins with
 * is the new master and those in sync who promised it.
 *
 * WHO IS WHERE. A node is its cluster's id and its own id; an address is only where it was met. For each
 * member the replica keeps the address that it answered at last, or named as its own, and sends there;
 * it asks for a member that is lost at that address, at the listed one, at the seeds and at its own
 * former address, at least every PROBE_MS, and members tell each other whom they hear where. A message
 * that reaches another node than it is meant for is answered by that one in its own name.
 *
 * STRANGERS. A node of another cluster, or one without data, at a member's address means that the
 * member is not there, and nothing else. Only a node without data ends because of a refusal.
 *
 * FOUNDING. A node that may found a cluster, and has none, first asks its seeds and listens for
 * founding_wait_ms. Where a node of a cluster answers or calls, it founds none and joins that one. A
 * node whose cluster is *blank*, nothing but lists of members in its log, gives it up for one that has
 * more and lists this node at this address, or of which a node is at a seed where no member of its
 * own is, or has this one as a seed: RESET.
 *
 * ELECTION. The smallest listed internal address among those that answer has the first turn; others
 * wait TURN_MS for each smaller one. It asks all for a promise; the log to be the master with is the one with the
 * highest (epoch, seq) of those who promised. In `all`, one of those in sync by the newest members
 * batch among them must have promised, so that a node known to be behind does not be the master alone.
 *
 * HEAL. A node whose log leads elsewhere than its master's installs a snapshot, and what it had
 * after the common position is kept as *orphans*: durable, beside the log, in the same atomic step.
 * It follows at once, and transfers its orphans, in order and in parts: the master's driver proposes the
 * deltas that it does not know. The node keeps merged orphans until the entries that they became are
 * durable in its own log, and offers all orphans that it has to a new master. So what comes before an
 * orphan is in the master's log, or the same node offers it first: no orphan waits for another node.
 *
 * See ARCHITECTURE.md, "Replication", and docs/simulation.md. */
#ifndef JACKDAW_REPLICATION_REPLICA_H
#define JACKDAW_REPLICATION_REPLICA_H

#include "base/address.h"
#include "base/epoch_history.h"
#include "base/error.h"
#include "base/log_entry.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLICA_MEMBERS_MAX 32       /* nodes of one cluster, those that left included */
#define REPLICA_SEEDS_MAX 16         /* addresses given at start */
#define REPLICA_EPOCHS_MAX 64        /* the last epochs remembered here, and told in a JOIN */
#define REPLICA_ENTRIES_MAX 64       /* most batches in a page */
#define REPLICA_ENTRIES_BYTES 262144 /* a page ends with the batch that passes this */
#define REPLICA_CHUNK_BYTES 262144   /* of a snapshot, at most */
#define REPLICA_ACTIONS_MAX 256      /* of one step */
#define REPLICA_CLUSTER_BYTES 16
#define REPLICA_MEMBERS_BYTES_MAX (4 + REPLICA_MEMBERS_MAX * (9 + 2 * ADDRESS_TEXT_SIZE))

/* ---- values ---- */

enum replica_role {
    REPLICA_LOOKING,        /* seeks a master; knows none that it can follow */
    REPLICA_JOINING,        /* follows a master, not in sync: nobody waits for its acks */
    REPLICA_SLAVE,          /* follows a master, in sync */
    REPLICA_SUSPECTING,     /* lost its master and asks whether others hear it */
    REPLICA_CANDIDATE,      /* has taken a new epoch and asks for promises */
    REPLICA_RECOVERING_LOG, /* was promised to, fetches the best log before it is the master */
    REPLICA_MASTER,         /* orders writes */
    REPLICA_REMOVED,        /* no longer a member, for good */
    REPLICA_ROLES
};
const char *replica_role_name(enum replica_role role);

enum replica_policy { REPLICA_ALL, REPLICA_QUORUM, REPLICA_LOCAL };
const char *replica_policy_name(enum replica_policy policy); /* as --durability has it */

struct replica_member {
    uint16_t id;
    bool in_sync;
    bool voter; /* counts in majorities: has been in sync once */
    bool left;
    uint16_t level; /* the feature level that it named when it joined, or began to be the master */
    char internal[ADDRESS_TEXT_SIZE];
    char client[ADDRESS_TEXT_SIZE];
};

/* What the disk holds. Pointers are borrowed for the step. */
struct replica_state {
    uint8_t cluster[REPLICA_CLUSTER_BYTES]; /* all zero: none yet */
    uint64_t promised;
    struct log_position last;
    uint64_t first_seq;          /* the first still in the log; 0: the log is empty */
    struct epoch_history epochs; /* ascending; the replica copies the last REPLICA_EPOCHS_MAX */
    const uint8_t *members;      /* bytes of the last members batch up to `last`; NULL: none */
    size_t members_size;
    struct log_position members_position;
    uint64_t last_orphan; /* orphans are numbered upward, never again from 1; 0: there are none */
    /* An entry that this node must not get as a batch, because applying it ends the process: it
     * asks for a snapshot that contains it. (0, 0): none. */
    struct log_position avoid;
    bool has_chat; /* a batch of the chat is, or was, in the log */
};

/* Epochs and seqs of a state or a message are at most this: what is added to them cannot run over. */
#define REPLICA_NUMBER_MAX (UINT64_C(1) << 62)

/* Whether a state that was read from a disk may be stepped: numbers in range, epochs ascending and
 * the last one that of `last`, a list of members that is one. ERROR_CORRUPT, with what is wrong in
 * why (NULL is allowed). Any thread. */
enum error replica_state_check(const struct replica_state *state, struct error_text *why);

/* ---- messages ----
 *
 * One flat struct; which fields a kind uses stands beside it. All carry from, to, cluster, epoch
 * (the epoch spoken of; 0: none) and promised (the sender's promise); all but APPEND and ACK internal,
 * the address that the sender names as its own, blank and founding. */
enum replica_message_kind {
    REPLICA_PING,    /* slave to master: position (durable; an ack as well) */
    REPLICA_PONG,    /* role, position (last), committed, needed, in_sync, disk_age_ms, master */
    REPLICA_APPEND,  /* master's feed: position (before), batches[1], committed, last */
    REPLICA_ACK,     /* position (durable, cumulative) */
    REPLICA_FETCH,   /* position (after which) */
    REPLICA_ENTRIES, /* position (after which), batches, last, committed; answer */
    REPLICA_JOIN,    /* client, level, position (last), is the master, common (avoid); adopting */
    REPLICA_JOIN_REPLY, /* answer, position (as asked), common, last, committed, master; adopting */
    REPLICA_JOIN_REJECTED, /* refusal; CLUSTER: granted (the receiver is listed where it is), in_sync_ids */
    REPLICA_SNAPSHOT_REQUEST, /* snapshot (0: a new one), offset, common, position (avoid); adopting */
    REPLICA_SNAPSHOT_CHUNK, /* snapshot, offset, total, bytes, common, last (its position), position
                               (avoid, where the sender's log has it) */
    REPLICA_LEADER_QUERY, /* do you hear a master? node: who is lost; granted: at a seed; in_sync_ids */
    REPLICA_LEADER_INFO, /* role, master, unhealthy, position, members_position, in_sync_ids, places */
    REPLICA_PREPARE,     /* epoch, position */
    REPLICA_PROMISE, /* epoch, granted, position (durable), members_position, in_sync_ids, master */
    REPLICA_ANNOUNCE,             /* a master to those who do not follow it: last */
    REPLICA_ORPHAN_TRANSFER,      /* orphan (of the last batch here), batches */
    REPLICA_ORPHAN_TRANSFER_DONE, /* orphan: merged up to there; position: by then */
    REPLICA_LEAVE,                /* node: who shall leave */
    REPLICA_MESSAGE_KINDS
};
const char *replica_message_name(enum replica_message_kind kind);

enum replica_answer {
    REPLICA_DELTAS,   /* your log is the beginning of mine: fetch from there */
    REPLICA_SNAPSHOT, /* it is, but the batches after it are no longer kept, or one is avoided */
    REPLICA_DIVERGED, /* it leads elsewhere after `common` */
};

enum replica_rejection {
    REPLICA_REJECTED_CLUSTER = 1, /* the node's data belongs to another cluster */
    REPLICA_REJECTED_ID,          /* another live node has this id */
    REPLICA_REJECTED_ADDRESS,     /* another node has this internal address */
    REPLICA_REJECTED_REMOVED,     /* the node has left this cluster for good */
    REPLICA_REJECTED_FULL,        /* REPLICA_MEMBERS_MAX nodes are members */
};

/* Where the sender of a LEADER_INFO hears a member. */
struct replica_location {
    uint16_t id;
    const char *address; /* borrowed */
};

/* Addresses in messages are borrowed; NULL where unused. */
struct replica_message {
    enum replica_message_kind kind;
    uint16_t from;
    uint16_t to;         /* 0: known by address only */
    const char *address; /* internal address of `to`; not on the wire */
    uint8_t cluster[REPLICA_CLUSTER_BYTES];
    uint64_t epoch;
    uint64_t promised;
    struct log_position position;
    struct log_position last;
    struct log_position common;
    uint64_t committed;
    uint64_t needed;
    enum replica_role role;
    enum replica_answer answer;
    enum replica_rejection refusal;
    bool recovering_log;
    bool granted;
    bool in_sync;
    bool unhealthy;
    bool blank;    /* the sender's log has nothing of a chat */
    bool founding; /* it has no cluster, and may found one */
    uint32_t disk_age_ms;
    uint16_t node;
    uint16_t master; /* whom the sender hears; 0: nobody */
    uint64_t master_epoch;
    const char *master_address;
    const char *internal;
    const char *client;
    uint16_t level;
    struct log_position members_position;
    uint16_t in_sync_ids[REPLICA_MEMBERS_MAX];
    size_t in_sync_count;
    struct replica_location locations[REPLICA_MEMBERS_MAX];
    size_t locations_count;
    struct epoch_history epochs; /* borrowed */
    const struct log_entry *batches;
    size_t batches_count;
    uint64_t snapshot;
    uint64_t offset;
    uint64_t total;
    const uint8_t *bytes;
    size_t size;
    uint64_t orphan;
};

/* ---- events ---- */

enum replica_event_kind {
    REPLICA_START,        /* first, once: state */
    REPLICA_TICK,         /* time passed; due at replica_deadline at the latest */
    REPLICA_RECEIVE,      /* message; address: where it was an answer, the one that was asked */
    REPLICA_DISCONNECTED, /* the connection to address was closed or refused, or what answers there is
                          no server: the process that was there is gone */
    REPLICA_PROPOSE, /* bytes of a CHAT batch with count deltas; MASTER only (else ERROR_REFUSED) */
    REPLICA_DURABLE, /* every entry up to position is on the disk */
    REPLICA_FAILED,  /* the disk failed; state: what is on it */
    REPLICA_CHECKED, /* what was kept for INSTALL has been looked at, for good or bad */
    REPLICA_INSTALLED, /* state, after INSTALL */
    REPLICA_ORPHANS_MERGED, /* after TAKE_OVER: what node (maybe self) had up to orphan is in the log, up to
                           position */
    REPLICA_PRUNED,         /* the log begins at position.seq now; see replica_needed_seq */
    REPLICA_LEAVE_NODE, /* node shall leave for good: this one, or (on the master) any */
    REPLICA_EVENT_KINDS
};

struct replica_event {
    enum replica_event_kind kind;
    uint64_t now_ms;                   /* monotonic */
    const struct replica_state *state; /* passed replica_state_check */
    const struct replica_message *message;
    const char *address; /* borrowed; NULL: none */
    uint16_t node;
    struct log_position position;
    const uint8_t *bytes;
    size_t size;
    uint64_t count;
    uint64_t orphan;
};

/* ---- actions ---- */

enum replica_action_kind {
    REPLICA_DO_PERSIST,   /* promised and cluster, durable before the next action */
    REPLICA_DO_APPEND,    /* batch: apply and log it, begin its fsync */
    REPLICA_DO_SEND,      /* message */
    REPLICA_DO_PUBLISH,   /* message, to everybody on the feed */
    REPLICA_DO_COMMITTED, /* everything up to seq is committed, and never less than told before,
                             unless INSTALL came between */
    REPLICA_DO_ROLE, /* role, master, epoch: the role or who is the master has changed. Leaving MASTER:
                             what is proposed and not committed is in doubt */
    REPLICA_DO_SEND_ENTRIES, /* message (a ENTRIES): add batches after message.position, and send */
    REPLICA_DO_SEND_CHUNK, /* message (a SNAPSHOT_CHUNK): make a snapshot if message.snapshot is 0 (or
                             gone), add the bytes at offset, and send. It has the log, too, as far
                             back as it is here. One that ends before message.common is too old:
                             make another, or send nothing while not so much is durable here.
                             One serves all who ask: were each to get its own, none would end. A snapshot's id is any number
                             that tells two of this node apart */
    REPLICA_DO_STORE_CHUNK, /* message: write its bytes at its offset; at offset 0 begin anew */
    REPLICA_DO_INSTALL,     /* the chunks kept are the whole: make them this node's database, with
                             promise and cluster kept and the chat batches after `position` added
                             to the orphans, atomically. Then step INSTALLED; or CHECKED, later.
                             The last of its list */
    REPLICA_DO_SEND_ORPHANS, /* message (a ORPHAN_TRANSFER): add the first orphans after message.orphan, set
                                that to the last one added, and send */
    REPLICA_DO_MERGE_ORPHANS, /* message (a ORPHAN_TRANSFER, or NULL: this node's own first orphans after orphan):
                             propose the deltas that are unknown here, then step TAKEN_OVER */
    REPLICA_DO_DROP_ORPHANS, /* orphan: forget those up to it; step nothing */
    REPLICA_DO_EXIT,         /* refusal: this node cannot be a member; the process should end */
    REPLICA_DO_RESET,  /* forget the cluster, the promise and the log, which has nothing but lists
                                of members, durably and at once. Then step INSTALLED. The last of its
                                list */
    REPLICA_DO_REPORT, /* news, message, address: for the log; comes often */
    REPLICA_ACTION_KINDS
};
const char *replica_action_name(enum replica_action_kind kind);

/* What an operator should know. */
enum replica_news {
    REPLICA_FOREIGN_NODE, /* message: from a node of another cluster, or without data; address: the member's
                         or seed's that it answers at, or NULL: it has called */
    REPLICA_MEMBER_MOVED, /* message: from a member at another address than the listed one: address */
    REPLICA_NODE_REJECTED, /* refusal: what the master, the sender of message, says of this node, which has
                            data: it asks again */
    REPLICA_FOUNDING_CLUSTER, /* this node founds a cluster; no message */
    REPLICA_CLUSTER_FOUND,    /* nor will it: the sender of message has a cluster */
    REPLICA_CLUSTER_GIVEN_UP, /* this node gives its blank cluster up for that of the sender of message */
    REPLICA_NEWS
};

struct replica_action {
    enum replica_action_kind kind;
    enum replica_news news;
    const char *address;
    const struct replica_message *message; /* in replica_actions, or the event's */
    struct log_entry entry;
    struct log_position position;
    uint64_t promised;
    uint8_t cluster[REPLICA_CLUSTER_BYTES];
    uint64_t seq;
    uint64_t epoch;
    uint64_t orphan;
    enum replica_role role;
    uint16_t master;
    enum replica_rejection refusal;
};

/* Filled by a step; large, so the driver keeps one. Payloads are borrowed until the next step, those
 * that came with the event until that ends. */
struct replica_actions {
    size_t count;
    size_t messages_count;
    struct replica_action items[REPLICA_ACTIONS_MAX];
    struct replica_message messages[REPLICA_ACTIONS_MAX];
};

/* ---- the replica ---- */

struct replica_options {
    uint16_t id;          /* 1..65535 */
    const char *internal; /* addresses as others reach them; copied */
    const char *client;
    uint16_t level; /* of features: names what this node can apply, see replica_level */
    enum replica_policy policy;
    bool is_first;             /* `master`: founds a cluster where it has none and finds none */
    uint32_t founding_wait_ms; /* and so long looks for one before */
    uint8_t new_cluster[REPLICA_CLUSTER_BYTES]; /* random; used if it does */
    const char *const *seeds; /* internal addresses of members, copied; at most REPLICA_SEEDS_MAX */
    size_t seeds_count;
    uint32_t ping_ms;         /* 0: 100 */
    uint32_t ping_timeout_ms; /* 0: 500 */
    uint32_t ack_timeout_ms;  /* 0: 1000 */
    uint32_t disk_timeout_ms; /* 0: 2000; a write that takes longer makes the node unhealthy */
    uint32_t look_ms;         /* 0: 1500; how long a node that starts looks for its members */
};

struct replica;

/* *out: ended with replica_free. ERROR_NO_MEMORY, or ERROR_INVALID for an option out of range. */
enum error replica_new(struct replica **out, const struct replica_options *options);
void replica_free(struct replica *replica); /* NULL is allowed */

/* Consumes one event and fills *out with what to do, in order. event is borrowed for the call.
 * OK; ERROR_INVALID: a malformed message, nothing was changed; ERROR_REFUSED: PROPOSE, or LEAVE_NODE
 * for another node, on a node that is not the master. */
enum error replica_step(struct replica *replica, const struct replica_event *event,
                        struct replica_actions *out);

/* The latest moment for the next TICK. */
uint64_t replica_deadline(const struct replica *replica);

/* ---- looking in ---- */

enum replica_role replica_role(const struct replica *replica);
uint16_t replica_master(const struct replica *replica);           /* 0: unknown */
const char *replica_master_client(const struct replica *replica); /* client address or NULL */
uint64_t replica_epoch(const struct replica *replica); /* of the epoch followed, or own */
uint64_t replica_promised(const struct replica *replica);
struct log_position replica_last(const struct replica *replica);
struct log_position replica_durable(const struct replica *replica);
uint64_t replica_committed(const struct replica *replica);
/* All zero: none yet. */
const uint8_t *replica_cluster(const struct replica *replica);
/* Entries up to this seq may be pruned: every voter that has not left has them. Only a voter is
 * elected. If one that lacks an entry comes to be the master, this node has to hand that entry over as an
 * orphan; so a driver that prunes more can lose it. */
uint64_t replica_needed_seq(const struct replica *replica);
/* On the master: the voter that has acked least, if it lacks anything that is committed. 0: none. */
uint16_t replica_slowest_member(const struct replica *replica);
/* On the master: the least seq that a node which is not a voter yet, but follows this log, has acked.
 * UINT64_MAX: no such node was heard within the ack timeout. */
uint64_t replica_joining_seq(const struct replica *replica);
/* The lowest feature level of all members, those that are away included; this node's own while there is
 * no list. The driver of a master proposes nothing that needs a higher one. */
uint16_t replica_level(const struct replica *replica);
size_t replica_members(const struct replica *replica, const struct replica_member **members);
/* On the master: up to where the member has acked. */
struct log_position replica_acked(const struct replica *replica, uint16_t node);

/* Reads the bytes of a members batch. ERROR_INVALID: malformed. out: REPLICA_MEMBERS_MAX places. */
enum error replica_members_unpack(const uint8_t *bytes, size_t size, struct replica_member *out,
                                  size_t *count);

#endif
