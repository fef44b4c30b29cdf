/* SPDX-License-Identifier: MIT */
/* cluster.h - one server of a cluster: passes events to the replica (replication/replica.h), and
 * executes its actions with the commit log, the store, peer connections and the feed.
 *
 *     requests and answers of others --.                         .--> commit log: append, commit, epoch
 *     the feed of the master ----------+--> replica_step --------+--> requests, answers, the feed
 *     the clock, the disk, proposals --'                         '--> snapshots, orphans, promises
 *
 * THE LOOP, which alone steps the replica, and never from within itself (an assertion):
 *   1. An event arrives: a message, a tick, a finished job, a request to leave; or a commit is asked for.
 *   2. Pending events come before it: a failed or finished installation, then the commit log's events.
 *   3. Proposals of the chat come before an event that may append: seal, PROPOSE, append, write.
 *   4. The replica steps one event. The driver executes the actions in order; an action that fails or replaces
 *      the database leaves an event that is pending.
 *   5. Again from 2, until the event that arrived was stepped and nothing is pending.
 *
 * The rest of the server sees little of it: the commit log, the role, and who is there.
 *
 * Core thread only. */
#ifndef JACKDAW_CLUSTER_CLUSTER_H
#define JACKDAW_CLUSTER_CLUSTER_H

#include "base/error.h"
#include "base/task_queue.h"
#include "chat/chat.h"
#include "cluster/settings.h"
#include "commit/commit_log.h"
#include "replication/replica.h"
#include "rpc/server.h"
#include "store/store.h"

#include <stdbool.h>

struct cluster;

struct cluster_observer {
    void *context;
    /* The master or this server's role has changed. */
    void (*role)(void *context, enum replica_role role);
    /* A snapshot is about to replace the database: readers stop and close their views. replaced:
     * readers open the database again and read all events after position anew. */
    void (*replacing)(void *context);
    void (*replaced)(void *context, struct store *store, struct log_position position);
    /* This server is the master, and the members have changed: a sentence for those who use the chat.
     * has_begun: its epoch begins with that, so that they come only now. */
    void (*notice)(void *context, const char *sentence, bool has_begun);
    /* This server is a slave: news from the feed of its master. Borrowed. */
    void (*news)(void *context, const Jackdaw__News *news);
    /* This server is the master: a report of a slave. Fills *reply, which is initialised; parts in the
     * arena. */
    void (*report)(void *context, const Jackdaw__ReportRequest *request, struct arena *arena,
                   Jackdaw__ReportReply *reply);
    /* This server's time in the cluster is over. sentence: why, for the operator; NULL: it left as
     * it was asked to. */
    void (*ended)(void *context, const char *sentence);
};

struct cluster_options {
    const struct cluster_settings *settings;
    const char *folder; /* of the node's data */
    struct store *store;
    struct task_queue *queue; /* of everything that concerns the cluster */
    struct worker *disk;
    struct worker *projector;         /* of commit_log.h; or NULL */
    const struct rpc_server *clients; /* listening: for the announced address */
    struct cluster_observer observer;
};

/* Makes the commit log, listens on the internal address and for the feed. All pointers are borrowed and
 * must outlive the cluster. */
enum error cluster_new(struct cluster **out, const struct cluster_options *options,
                       struct error_text *why);

/* Begins, with the chat that the log is applied to. */
enum error cluster_start(struct cluster *cluster, struct chat *chat, uint64_t now_ms,
                         struct error_text *why);

/* Seen by the others, this server is gone after that. */
void cluster_resign(struct cluster *cluster);

/* After cluster_resign. Runs the queue. NULL is allowed. */
void cluster_free(struct cluster *cluster);

struct commit_log *cluster_commit_log(const struct cluster *cluster);

/* ---- turns ---- */

/* Before anything else of a turn. */
void cluster_set_time(struct cluster *cluster, uint64_t now_ms, uint64_t wall_ms);
/* The time to stamp in this turn, in ms since 1970: the wall clock, within the bounds of
 * clocks.h. */
uint64_t cluster_time(const struct cluster *cluster);
/* Steps what is pending, and the replica's clock where that is due; about every 10 to 50 ms: see
 * cluster_deadline. */
void cluster_tick(struct cluster *cluster);
uint64_t cluster_deadline(const struct cluster *cluster);

/* While the commit log is free: executes waiting writes and, on the master, proposes orphans of
 * deposed masters; cluster_commit then confirms them. */
void cluster_work(struct cluster *cluster);

/* While the commit log is free, after all that may propose in this turn: commits what was applied, or lets the
 * batch grow (group_commit.h). now_us: monotonic. */
void cluster_commit(struct cluster *cluster, uint64_t now_us);

void cluster_flush(struct cluster *cluster);

/* ---- clients of slaves ---- */

/* On the master, after each commit: tells the slaves what is committed, unless an APPEND has. Only
 * while a slave has readers by its last report. */
void cluster_tell_committed(struct cluster *cluster);

/* On the master: tells the slaves the news. */
void cluster_publish_news(struct cluster *cluster, const Jackdaw__News *news);

/* On a slave: sends a report to the master, and fills in who and in which epoch. closure and result: as
 * of peer_connections_report. Returns false, and closure does not run: there is no connection. */
bool cluster_report(struct cluster *cluster, Jackdaw__ReportRequest *request,
                    Jackdaw__ReportReply_Closure closure, void *result);

/* ---- the bound on the log ----
 *
 * A server keeps the entries that a voter lacks (replica_needed_seq), up to --log_keep_bytes. At this bound
 * the master refuses writes until the voter has the entries, or is removed. The master has a reserve of an
 * eighth for logins, logouts, deletions of accounts, and merging orphans. The master never refuses lists of members.
 * With durability `quorum` the master prunes instead: a committed entry cannot become an orphan. */

struct cluster_log_use {
    uint64_t bytes;       /* of the entries that a member lacks */
    uint64_t limit_bytes; /* --log_keep_bytes */
    uint16_t member;      /* on the master: the one that lacks most; 0: none */
};
void cluster_log_use(const struct cluster *cluster, struct cluster_log_use *out);

/* Whether the master may write a delta now. uses_reserve: one of those that the reserve is for. */
bool cluster_may_write(const struct cluster *cluster, bool uses_reserve);

/* Why it may not, for a client. */
#define CLUSTER_FULL_BYTES 192
void cluster_full_text(const struct cluster *cluster, char out[static CLUSTER_FULL_BYTES]);

/* ---- looking in ---- */

const struct replica *cluster_replica(const struct cluster *cluster);
/* Whether node is this server, or connected; after cluster_resign nobody is. */
bool cluster_reaches(const struct cluster *cluster, uint16_t node);
/* As clocks_difference. */
bool cluster_clock(const struct cluster *cluster, uint16_t node, int64_t *difference_ms);
struct rpc_server *cluster_server(const struct cluster *cluster); /* the internal one */
/* The addresses that this server announces. */
const char *cluster_own_client(const struct cluster *cluster);

/* How many changes of deposed masters were refused since the start, because they end a process. */
uint64_t cluster_refused(const struct cluster *cluster);

/* Whether an entry of the log was not applied here, because it had ended this server's process twice. */
bool cluster_has_poison_entry(const struct cluster *cluster);

/* The database here is damaged: no snapshot of it is given any more. */
void cluster_set_damaged(struct cluster *cluster);

/* Makes node (0: this one) leave for good. As replica_step of LEAVE_NODE. */
enum error cluster_leave(struct cluster *cluster, uint16_t node);

#endif
