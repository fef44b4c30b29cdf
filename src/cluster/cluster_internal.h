/* SPDX-License-Identifier: MIT */
/* cluster_internal.h - what the files named cluster_*.c share. */
#ifndef JACKDAW_CLUSTER_CLUSTER_INTERNAL_H
#define JACKDAW_CLUSTER_CLUSTER_INTERNAL_H

#include "base/arena.h"
#include "cluster/clocks.h"
#include "cluster/cluster.h"
#include "cluster/cluster_wire.h"
#include "cluster/disk_state.h"
#include "cluster/peer_connections.h"
#include "cluster/snapshots.h"
#include "commit/entry_queue.h"
#include "rpc/feed.h"

#define INTERNAL_FRAME_BYTES (16u * 1024u * 1024u)
#define ORPHAN_TRANSFERS_MAX 8 /* waiting to be merged */
#define POISONS_MAX 16         /* orphans that ended a child, remembered */
#define CLUSTER_TEXT_SIZE (2 * REPLICA_CLUSTER_BYTES + 1)

/* Orphans that a deposed master transfers; a copy. */
struct orphan_transfer {
    uint16_t node; /* may be this one */
    uint64_t orphan;
    struct entry_queue entries;
    bool is_done; /* all its deltas are proposed or known */
};

/* An orphan that ended a child process in which it was tried. */
struct poison {
    struct log_position at;
    unsigned deaths; /* 0: a free place */
};

struct cluster {
    struct cluster_options options;
    struct store *store;
    struct store
        *orphan_reader;      /* for pages, while the disk's thread has the store; NULL: in memory */
    struct crash_note *note; /* NULL: none could be made */
    struct crash_note *projecting; /* likewise */
    bool has_poison_entry;         /* a snapshot is asked for because of the note */
    struct commit_log *commit_log;
    struct chat *chat;
    struct replica *replica;
    struct replica_actions *actions;
    bool is_looping;            /* cluster_loop runs */
    bool commit_is_due;         /* cluster_commit has asked for it */
    bool owes_failed;           /* the replica must be stepped with FAILED next, */
    bool owes_installed;        /* or with INSTALLED */
    struct replica_state state; /* of that event; points into disk_state */
    uint64_t now_ms;
    uint64_t wall_ms; /* the time to stamp: clocks_time */
    struct clocks clocks;
    uint64_t clocks_checked_ms;
    uint64_t deadline_ms;
    uint64_t seeks_since_ms; /* a master; 0: has one */
    uint64_t first_seq;      /* of the log, as the replica knows it */
    char internal[ADDRESS_TEXT_SIZE];
    char client[ADDRESS_TEXT_SIZE];
    char feed_address[ADDRESS_TEXT_SIZE];

    struct rpc_server *server;
    Jackdaw__Cluster_Service service;
    struct peer_connections *peer_connections;
    struct rpc_feed *feed;
    struct snapshots *snapshots;
    uint64_t fetch_again_ms; /* no snapshot is begun before; after one that failed */
    bool has_resigned;

    /* The master's feed. */
    struct rpc_follower *follower;
    char followed[ADDRESS_TEXT_SIZE]; /* "": none */
    char offered[ADDRESS_TEXT_SIZE];  /* by the JOIN_REPLY that is being stepped */

    /* For the slaves with readers. */
    uint64_t told_committed;   /* the last committed seq in the feed */
    uint64_t readers_until_ms; /* no slave has readers after that, by the last reports */

    /* The exchange being answered: messages to its sender travel in the reply. */
    struct cluster_frame *answer; /* NULL: none */
    uint16_t answer_to;
    struct arena arena; /* of what is being sent */

    /* Entries of our own epoch, for those who missed them. */
    struct entry_queue entry_cache;

    struct replica_member members[REPLICA_MEMBERS_MAX]; /* as logged last */
    size_t members_count;
    bool members_changed;
    uint64_t process;    /* drawn at the start; see ClusterFrame */
    uint64_t told_epoch; /* of the epoch of our own that began last */

    struct orphan_transfer orphan_transfers[ORPHAN_TRANSFERS_MAX];
    size_t orphan_transfers_count;
    struct poison poisons[POISONS_MAX];
    size_t next_poison;         /* the place to use next */
    unsigned unknowns;          /* trials in a row that told nothing */
    uint64_t refused;           /* orphans */
    uint64_t needed_from_bytes; /* of the log: store_log_bytes_to of what every member has */
    uint64_t log_checked_ms;    /* when that was read */
    unsigned told_log;          /* the level that was logged last; see cluster_check_log */

    struct disk_state disk_state; /* the data of a replica_state */
};

/* ---- cluster.c ---- */
/* The loop: see cluster.h. arrived: NULL: steps only what is pending. Returns what replica_step returned
 * for arrived. Asserts that it is not called from within itself. */
enum error cluster_loop(struct cluster *cluster, const struct replica_event *arrived);
/* Writes event_refused, with the kind of the event, or of the message and who sent it. */
void cluster_log_refused(const struct replica_event *event, enum error error);
/* Takes the clock of a frame from a member. */
void cluster_note_clock(struct cluster *cluster, const Jackdaw__ClusterFrame *frame);
/* address: that it is an answer from; NULL: it has come by itself. */
void cluster_receive(struct cluster *cluster, const Jackdaw__ClusterMessage *message,
                     const char *address);

/* ---- cluster_actions.c ---- */
/* Carries out the list in cluster->actions. A failure ends the list; a failure, an INSTALL and a RESET leave an
 * event that is owed to the replica. */
void cluster_carry_out(struct cluster *cluster);
/* As disk_state_read, of this server's database. */
enum error cluster_describe(struct cluster *cluster, struct replica_state *state,
                            struct error_text *why);
/* Ends this server's time in the cluster: see cluster_observer.ended. */
void cluster_end(struct cluster *cluster, const char *sentence);

/* ---- cluster_log.c: what others are sent of the log ---- */

struct cluster_log_needs {
    uint64_t last_seq;   /* of the log */
    uint64_t keep;       /* entries, in any case */
    uint64_t member_seq; /* every member has the entries up to there; UINT64_MAX: does not matter */
    uint64_t
        copy_seq;  /* a joining server, or the copy that it gets, ends there; UINT64_MAX: none */
    bool has_room; /* the log takes less than half of --log_keep_bytes */
};

/* Returns the seq up to which the log may be pruned. While there is room, the log keeps what a joining
 * server lacks: the entries after its copy, until it is in sync. Otherwise a busy master prunes them
 * before the server asks, and the server needs one copy after the other. */
uint64_t cluster_prune_before(const struct cluster_log_needs *kept);
/* Prunes the log, and measures what members lack; logs when that becomes half of the bound, all of
 * it, or less again. While the commit log is free. Does nothing if it has run within LOG_CHECK_MS. */
void cluster_check_log(struct cluster *cluster);
void cluster_remember(struct cluster *cluster, const struct log_entry *entry);
void cluster_clear_entry_cache(struct cluster *cluster);
/* Adds entries after out->after; in cluster->arena. */
void cluster_fill_entries(struct cluster *cluster, struct replica_entries *out);
/* Adds the first orphans after out->orphan, and sets that to the last one added. false: there are
 * none, or the database cannot be read now. */
bool cluster_fill_orphans(struct cluster *cluster, struct replica_orphan_transfer *out);

/* ---- cluster_orphans.c ---- */
/* message NULL: this node's own, after the orphan `after`. */
void cluster_note_orphan_transfer(struct cluster *cluster, const struct replica_message *message,
                                  uint64_t after);
void cluster_forget_orphan_transfers(struct cluster *cluster);
/* After a rollback: proposes again the orphans whose deltas are not in the log. */
void cluster_undo_orphan_transfers(struct cluster *cluster);
/* Removes the orphan transfers, first to last, and makes ORPHANS_MERGED of the next one that is done. false:
 * there is none left. */
bool cluster_next_merged(struct cluster *cluster, struct replica_event *event);

/* ---- cluster_members.c ---- */
void cluster_note_members(struct cluster *cluster);

/* ---- cluster_news.c ---- */
/* action: a REPORT. */
void cluster_tell(struct cluster *cluster, const struct replica_action *action);
/* In hexadecimal digits. */
void cluster_text(const uint8_t id[static REPLICA_CLUSTER_BYTES],
                  char text[static CLUSTER_TEXT_SIZE]);

/* ---- cluster_readers.c ---- */
/* Whether the feed of this node has subscribers. false after a resignation, which ends the feed. */
bool cluster_has_subscribers(const struct cluster *cluster);
/* Takes News from the feed of the master. */
void cluster_receive_news(struct cluster *cluster, const Jackdaw__ClusterMessage *message);
/* The handler of Report. */
void cluster_handle_report(Jackdaw__Cluster_Service *service, const Jackdaw__ReportRequest *request,
                           Jackdaw__ReportReply_Closure closure, void *closure_data);

/* ---- handle_cluster.c ---- */
struct cluster *cluster_of(Jackdaw__Cluster_Service *service);
enum error cluster_register(struct cluster *cluster);

#endif
