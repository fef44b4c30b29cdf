/* SPDX-License-Identifier: MIT */
/* replica.h - the replication protocol of one node, as a pure state machine.
 *
 * A step consumes an event and returns a list of actions. The replica does no I/O, reads no clock, draws
 * no random number and starts no thread; it does not know what an entry means. src/cluster is the driver.
 * One replica belongs to one thread. After replica_new the replica allocates nothing.
 *
 * The driver keeps durable: the log, the last list of members, the promise, the id of the cluster, and
 * the orphans (see HEALING).
 *
 * CONTRACT OF ACTIONS
 *   1. The driver executes the actions in their order, one after the other. PERSIST and INSTALL are
 *      durable when they end. APPEND only begins its fsync; the driver steps DURABLE when that ends. So a
 *      promise is on the disk before it is sent, and an ack names what is on the disk.
 *   2. If PERSIST, APPEND or INSTALL fails, the driver drops the rest of the list, rolls back what is not
 *      durable, and steps FAILED with what is on the disk.
 *   3. APPENDs reach the disk in order, and DURABLE events come in order.
 *   4. A driver that applies before it proposes steps PROPOSE before any other event. So the entry gets
 *      the position at which it was applied. An ACK of a member in sync appends nothing, and may come before.
 *   5. Messages may be lost, late, doubled or out of order. The driver reports no failure to send, and may
 *      drop a received APPEND.
 *   6. The driver steps an answer with the address that it asked, from which the replica learns locations.
 *   7. INSTALL may be deferred. A driver that must verify the snapshot ignores the action, keeps stepping
 *      other events, and steps CHECKED when it is done. The replica then returns INSTALL again if it
 *      still needs the snapshot. INSTALL of a bad snapshot fails.
 *
 * ROLES (role.c has the table of moves)
 *
 *    START ---> LOOKING <------------------ from every role: promised to a candidate, stepped
 *      |        |  ^  |                     down, disk failed
 *      |   JOIN_REPLY  |  no node sees a master,
 *      |        |  |  it is the own turn ----------> CANDIDATE ---> RECOVERING_LOG
 *      |        v  |                                   ^  |           |
 *      |     JOINING --- in sync ---> SLAVE            |  |  the best log is here
 *      |        ^ |                    | ^             |  v           |
 *      |        | +-- master silent ---+ |             |  MASTER <----+
 *      |        |              v         |             |   ^
 *      |        +-------- SUSPECTING ----+-------------+   |
 *      +-- the first node of a new cluster ----------------+        any ---> REMOVED
 *
 * COMMIT. With `all` an entry commits when it is durable on the master and every member in sync. With
 * `quorum` it commits when it is durable on a majority of the voters, with an entry of the master's
 * epoch. With `local` it commits when it is durable on the master. The last list of members in the log
 * says which members are voters and in sync. An epoch begins with those in sync that promised it.
 *
 * ELECTION. Among the nodes that answer, the one with the smallest listed internal address has the first
 * turn. Others wait TURN_MS for each smaller address. The candidate asks all members for a promise. The
 * new master's log is the one with the highest (epoch, seq) among the promising nodes. With `all`, a
 * member in sync by the newest list among them must have promised, or be the candidate.
 *
 * LOCATIONS. The ids of cluster and node identify a node; its address may change. For each member the
 * replica keeps the address at which it answered last, or that it names as its own. At least every
 * PROBE_MS the replica seeks a lost member: there, at its listed address, at the seeds, and at this
 * node's former address. Members tell each other where they see whom. A node that receives a message for
 * another node answers it in its own name.
 *
 * STRANGERS. If a node of another cluster, or one without data, has a member's address, then the member
 * counts as absent, and nothing else follows. Only a node without data ends because of a rejection.
 *
 * FOUNDING. A node that may found a cluster first asks its seeds and listens for founding_wait_ms. If a
 * node of a cluster answers or calls, it founds none and joins that one. A cluster is *blank* while its
 * log has lists of members only. A node leaves its blank cluster (RESET) for one that has more. That
 * cluster must list this node at this address, or one of the two nodes must be a seed of the other. A
 * seed at the listed address of a member of the own cluster does not count.
 *
 * HEALING. A node whose log has diverged from its master's installs a snapshot. In the same atomic step
 * its entries after the common position become *orphans*: durable, beside the log. The node follows at
 * once and transfers its orphans, in order and in parts; the master's driver proposes the deltas that it
 * does not know. The node drops merged orphans when the entries that they became are durable in its own
 * log. The node offers all remaining orphans to a new master. So an orphan waits for no other node's orphans.
 *
 * SAFETY. The assumption: a disk keeps what it made durable, or the node comes back without any data.
 *   1. Election safety: an epoch has at most one master (Raft, figure 3 and section 5.2). The epoch
 *      contains the node's id, its counter exceeds every known one, and its promise is durable before its
 *      first message: replica_role_draw_epoch. A node promises an epoch only to the node whose id it
 *      contains: replica_receive_prepare.
 *   2. A promise holds: a node acks nothing below its promise, also after a restart (Lamport, "Paxos Made
 *      Simple", section 2.2): replica_receive_prepare leaves a lower master, replica_role_check asserts it.
 *   3. Log matching: two logs with an entry at one position are equal up to it (Raft, figure 3 and
 *      section 5.3). A node appends only the next entry of a master or voter whose log continues its own:
 *      replica_log_is_next. JOIN compares the epochs (Kafka, KIP-101): epoch_history_common.
 *   4. Leader completeness with `quorum`: a later master has every committed entry (Raft, section 5.4). It
 *      has promises of a majority, and takes the highest log of them (Liskov and Cowling, "Viewstamped
 *      Replication Revisited", section 4.2): replica_election_check.
 *   5. The same with `all`, within one side of a partition: the promising nodes include a member in sync
 *      by their newest list (Kafka documentation, "Replicated Logs: Quorums, ISRs, and State Machines"):
 *      replica_election_check. A list decides only when it is durable on all of its members in sync:
 *      replica_commit_advance. The other side's entries become orphans.
 *   6. A master commits earlier entries only together with one of its own epoch (Raft, section 5.4.2 and
 *      figure 8): replica_commit_advance.
 *   7. With `quorum` the voters change one at a time, and only while the list before is committed
 *      (Ongaro's dissertation, section 4.1): replica_may_change_voters, replica_leave_node.
 *   8. No committed entry is lost. With `quorum` this holds while a majority of the voters keep their
 *      disks; with `all` while one member in sync keeps its disk; with `local` while the master keeps its
 *      disk and returns. The entry is in the log of the master, or its node has it as an orphan and
 *      offers it: replica_heal_tick. With `all` and `local` no node prunes an
 *      entry that a voter lacks, because that voter may become the master: replica_needed_seq.
 *
 * STRATA: a file calls functions of files to its left only. tests/architecture/check_strata.sh checks it.
 *   silence < messages < actions < members < locations < send < log < requests <
 *   role < commit < election < heal < join < stream < founding < contact < replica
 *
 * See ARCHITECTURE.md, "Replication", and docs/simulation.md. */
#ifndef JACKDAW_REPLICATION_REPLICA_H
#define JACKDAW_REPLICATION_REPLICA_H

#include "base/address.h"
#include "base/epoch_history.h"
#include "base/error.h"
#include "base/log_entry.h"
#include "replication/messages.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REPLICA_SEEDS_MAX 16    /* addresses given at start */
#define REPLICA_ACTIONS_MAX 192 /* of one step */
#define REPLICA_MEMBERS_BYTES_MAX (4 + REPLICA_MEMBERS_MAX * (9 + 2 * ADDRESS_TEXT_SIZE))

/* ---- values ---- */

/* Return the value in small letters, as logs show it; "?" for a value that is none. */
const char *replica_role_name(enum replica_role role);
const char *replica_message_name(enum replica_message_kind kind);

enum replica_policy { REPLICA_ALL, REPLICA_QUORUM, REPLICA_LOCAL };
const char *replica_policy_name(enum replica_policy policy); /* as --durability has it */

struct replica_member {
    uint16_t id;
    bool in_sync;
    bool voter; /* counts in majorities, because it has been in sync once */
    bool left;
    uint16_t level; /* of features, as it named it when it joined or became the master */
    char internal[ADDRESS_TEXT_SIZE];
    char client[ADDRESS_TEXT_SIZE];
};

/* The content of the disk. Pointers are borrowed for the step. */
struct replica_state {
    uint8_t cluster[REPLICA_CLUSTER_BYTES]; /* all zero: none yet */
    uint64_t promised;
    struct log_position last;
    uint64_t first_seq;          /* of the first entry that is not pruned; 0: the log is empty */
    struct epoch_history epochs; /* ascending; the replica copies the last REPLICA_EPOCHS_MAX */
    const uint8_t *members;      /* bytes of the last list of members; NULL: none */
    size_t members_size;
    struct log_position members_position;
    uint64_t
        last_orphan; /* number of the last orphan; numbers are never used again; 0: there are none */
    /* An entry that ends the process when this node applies it. The node asks for a snapshot that
     * contains the entry. (0, 0): none. */
    struct log_position avoid;
    bool has_chat; /* the log has, or had before it was pruned, a chat entry */
};

/* Checks a state that was read from a disk: numbers are in range, epochs ascend up to that of `last`, and
 * the list of members is well formed. ERROR_CORRUPT, with a sentence in why (NULL is allowed). Any
 * thread. */
enum error replica_state_check(const struct replica_state *state, struct error_text *why);

/* ---- events ---- */

enum replica_event_kind {
    REPLICA_START,        /* first, once: state */
    REPLICA_TICK,         /* time has passed; due at replica_deadline at the latest */
    REPLICA_RECEIVE,      /* message; address: the one that was asked, if it is an answer; NULL */
    REPLICA_DISCONNECTED, /* the connection to address was closed or refused, or no server of this
                             program answers there: the process that was there has ended */
    REPLICA_PROPOSE, /* bytes of a chat entry with count deltas; on the MASTER, else ERROR_REFUSED */
    REPLICA_DURABLE,        /* every entry up to position is on the disk */
    REPLICA_FAILED,         /* the disk failed; state: its content */
    REPLICA_CHECKED,        /* the snapshot of INSTALL is verified, with either result */
    REPLICA_INSTALLED,      /* state, after INSTALL */
    REPLICA_ORPHANS_MERGED, /* after MERGE_ORPHANS: the orphans of node (also this one) up to the number
                               orphan are in the log, up to position */
    REPLICA_PRUNED,         /* the log begins at position.seq; see replica_needed_seq */
    REPLICA_LEAVE_NODE,     /* removes node for good: this one, or, on the master, any */
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
    REPLICA_DO_PERSIST,      /* persist: make the promise and the cluster durable, now */
    REPLICA_DO_APPEND,       /* entry: apply and log it, begin its fsync */
    REPLICA_DO_SEND,         /* message */
    REPLICA_DO_PUBLISH,      /* message, an APPEND: to every node on the feed */
    REPLICA_DO_COMMITTED,    /* committed: every entry up to this seq is committed; the seq never
                             decreases, except after INSTALL */
    REPLICA_DO_ROLE,         /* role: the role or the master has changed. A node that was the master
                             does not know whether its uncommitted proposals commit */
    REPLICA_DO_SEND_ENTRIES, /* message, an ENTRIES: add entries after `after`, and send */
    REPLICA_DO_SEND_CHUNK,   /* message, a SNAPSHOT_CHUNK: add the bytes at offset, and send. If
                                snapshot is 0 or gone, make a snapshot first. A snapshot contains
                                the log as far back as this node has it. Replace a snapshot that
                                ends before `common` or `avoid`; while the durable log ends before
                                that, too, send nothing. All nodes that ask share one snapshot: if
                                each got its own, none would end. An id tells two snapshots of this
                                node apart */
    REPLICA_DO_STORE_CHUNK,  /* received, a SNAPSHOT_CHUNK: write its bytes at its offset; at
                                offset 0 begin a new file */
    REPLICA_DO_INSTALL,      /* install: the stored chunks are a whole snapshot. Make it this node's
                                database, atomically; keep promise and cluster, and add the chat
                                entries after the position `install` to the orphans. Then step
                                INSTALLED; or CHECKED, later. The last of its list */
    REPLICA_DO_SEND_ORPHANS, /* message, an ORPHAN_TRANSFER: add the first orphans after `orphan`,
                                set that to the number of the last one added, and send */
    REPLICA_DO_MERGE_ORPHANS, /* merge: propose the deltas that are unknown here, then step
                                 ORPHANS_MERGED */
    REPLICA_DO_DROP_ORPHANS,  /* drop_orphans: forget the orphans up to this number; step nothing */
    REPLICA_DO_EXIT,          /* rejection: this node cannot be a member; the process should end */
    REPLICA_DO_RESET,  /* forget the cluster, the promise and the log, which holds lists of members
                         only, durably. Then step INSTALLED. The last of its list */
    REPLICA_DO_REPORT, /* report: for the log of the operator; frequent */
    REPLICA_ACTION_KINDS
};
const char *replica_action_name(enum replica_action_kind kind);

enum replica_news {
    REPLICA_FOREIGN_NODE, /* received: from a node of another cluster, or without data; address: the
                             member's or seed's address that it answers at; NULL: it has called */
    REPLICA_MEMBER_MOVED, /* received: from a member at another address than the listed one */
    REPLICA_NODE_REJECTED,    /* rejection: by the master, the sender of received. This node has
                              data, so it asks again */
    REPLICA_FOUNDING_CLUSTER, /* this node founds a cluster; received is NULL */
    REPLICA_CLUSTER_FOUND,    /* this node founds none: the sender of received has a cluster */
    REPLICA_CLUSTER_GIVEN_UP, /* this node leaves its blank cluster for that of the sender */
    REPLICA_NEWS
};

/* Only the member of the union that kind names is valid. received: the message of the event, valid
 * until the event ends. */
struct replica_action {
    enum replica_action_kind kind;
    union {
        struct {
            uint64_t promised;
            uint8_t cluster[REPLICA_CLUSTER_BYTES];
        } persist;
        struct log_entry entry; /* its bytes are valid until the next step */
        struct replica_message message;
        uint64_t committed; /* seq */
        struct {
            enum replica_role role;
            uint16_t master; /* 0: none */
            uint64_t epoch;  /* of the master; 0: none */
        } role;
        const struct replica_message *received;
        struct log_position install; /* the last position that this log and the snapshot share */
        struct {
            const struct replica_message *received; /* an ORPHAN_TRANSFER; NULL: own orphans, */
            uint64_t orphan;                        /* the first ones after this number */
        } merge;
        uint64_t drop_orphans;
        enum replica_rejection rejection;
        struct {
            enum replica_news news;
            enum replica_rejection rejection;
            const struct replica_message *received;
            const char *address;
        } report;
    };
};

/* Filled by a step: at most REPLICA_ACTIONS_BYTES, 42 KiB, so a driver keeps one for all steps. The test
 * test_replica_actions measures how many actions the largest step makes. */
struct replica_actions {
    size_t count;
    struct replica_action items[REPLICA_ACTIONS_MAX];
};
#define REPLICA_ACTIONS_BYTES (8 + REPLICA_ACTIONS_MAX * (8 + REPLICA_MESSAGE_BYTES))
_Static_assert(sizeof(struct replica_actions) <= REPLICA_ACTIONS_BYTES, "a step is bounded");

/* ---- the replica ---- */

struct replica_options {
    uint16_t id;          /* 1..65535 */
    const char *internal; /* this and client: addresses as others reach them; copied */
    const char *client;
    uint16_t level; /* of features that this node can apply, see replica_level */
    enum replica_policy policy;
    bool is_first;                              /* founds a cluster if it has none and finds none */
    uint32_t founding_wait_ms;                  /* how long it looks for a cluster before */
    uint8_t new_cluster[REPLICA_CLUSTER_BYTES]; /* random id of the cluster that it founds */
    const char *const *seeds; /* internal addresses of members, copied; at most REPLICA_SEEDS_MAX */
    size_t seeds_count;
    uint32_t ping_ms; /* 0: 40; how often a slave pings its master */
    /* Between these bounds the node learns how long a silence may last. A lower bound above the upper one
     * counts as that. */
    uint32_t ping_timeout_min_ms; /* of a master; 0: 180 */
    uint32_t ping_timeout_ms;     /* 0: 500 */
    uint32_t disk_timeout_min_ms; /* of a write; a longer one makes the node unhealthy; 0: 400 */
    uint32_t disk_timeout_ms;     /* 0: 2000 */
    uint32_t
        ack_timeout_ms; /* 0: 1000; longer than ping_timeout_ms, after which a slave that is cut off
                                alone replaces the master: a slave that reads that it is out of sync cannot */
    uint32_t look_ms;   /* 0: 1500; how long a node that starts looks for its members */
};

struct replica;

/* Makes a replica in role LOOKING; free *out with replica_free. ERROR_NO_MEMORY; ERROR_INVALID: an option
 * is out of range. */
enum error replica_new(struct replica **out, const struct replica_options *options);
void replica_free(struct replica *replica); /* NULL is allowed */

/* Consumes one event and fills *out with actions, in order. event is borrowed for the call.
 * ERROR_INVALID: a malformed message; the replica is unchanged. ERROR_REFUSED: PROPOSE, or LEAVE_NODE of
 * another node, on a node that is not the master; or LEAVE_NODE of a master without a successor.
 * LEAVE_NODE on the master: ERROR_NOT_FOUND: node is no member; ERROR_FULL: with quorum, another change
 * of the members is not committed yet. */
enum error replica_step(struct replica *replica, const struct replica_event *event,
                        struct replica_actions *out);

/* The latest moment for the next TICK. */
uint64_t replica_deadline(const struct replica *replica);

/* ---- queries ---- */

enum replica_role replica_role(const struct replica *replica);
uint16_t replica_master(const struct replica *replica); /* 0: unknown */
/* When the master was heard last, by the clock of the events; 0: there is none, or it is this node. */
uint64_t replica_master_seen_ms(const struct replica *replica);
const char *replica_master_client(const struct replica *replica); /* client address or NULL */
uint64_t replica_epoch(const struct replica *replica);            /* of the master; 0: unknown */
uint64_t replica_promised(const struct replica *replica);
struct log_position replica_last(const struct replica *replica);
struct log_position replica_durable(const struct replica *replica);
uint64_t replica_committed(const struct replica *replica);
/* On the master: fills *out with a COMMITTED for the feed. */
void replica_tell_committed(const struct replica *replica, struct replica_message *out);
/* All zero: none yet. */
const uint8_t *replica_cluster(const struct replica *replica);
/* Entries up to this seq may be pruned: every voter that has not left has them. Only a voter becomes the
 * master. If a voter that lacks an entry does, this node must transfer that entry as an orphan. So a
 * driver that prunes more can lose entries. */
uint64_t replica_needed_seq(const struct replica *replica);
/* On the master: the voter that has acked least. 0: every voter has all committed entries. */
uint16_t replica_slowest_member(const struct replica *replica);
/* On the master: the least acked seq of the nodes that follow this log, are no voters yet, and spoke
 * within the ack timeout. UINT64_MAX: there is no such node, or this node is not the master. */
uint64_t replica_joining_seq(const struct replica *replica);
/* The lowest feature level of all members, including absent ones; this node's own if there is no list. The
 * driver of a master proposes no delta that needs a higher level. */
uint16_t replica_level(const struct replica *replica);
/* Sets *members to the list, valid until the next step. Returns the count. */
size_t replica_members(const struct replica *replica, const struct replica_member **members);
/* On the master: the last position that the member has acked. */
struct log_position replica_acked(const struct replica *replica, uint16_t node);

/* The delays that this node has learned of its master; for its own id: of its disk. */
struct replica_silence {
    uint32_t longest_ms; /* the longest recent delay, rounded up */
    uint32_t limit_ms;   /* a longer silence, or write, is a fault */
};
/* false: node is neither. */
bool replica_silence(const struct replica *replica, uint16_t node, struct replica_silence *out);

/* Reads the bytes of a list of members. ERROR_INVALID: malformed. out: REPLICA_MEMBERS_MAX places. */
enum error replica_members_unpack(const uint8_t *bytes, size_t size, struct replica_member *out,
                                  size_t *count);

#endif
