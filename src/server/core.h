/* SPDX-License-Identifier: MIT */
/* core.h - the server's one thread of state: its parts and the turns it goes through.
 *
 * A turn reads messages of the cluster. If the disk is free, it applies the entries of other
 * servers, runs the tasks of clients and workers, and writes all changes at once. Then it delivers
 * committed events and flushes the replies. A turn waits for no peer. While the disk works,
 * requests queue up, so batches grow with the load.
 *
 * All functions: the core thread only, unless said otherwise. */
#ifndef JACKDAW_SERVER_CORE_H
#define JACKDAW_SERVER_CORE_H

#include "base/error.h"
#include "base/task_queue.h"
#include "chat/chat.h"
#include "cluster/cluster.h"
#include "commit/commit_log.h"
#include "commit/worker.h"
#include "rpc/server.h"
#include "server/forward.h"
#include "server/news.h"
#include "server/operator_service.h"
#include "server/options.h"
#include "server/reads.h"
#include "server/reports.h"
#include "server/scrub.h"
#include "server/subscriptions.h"
#include "server/suspects.h"
#include "store/store.h"

#include <stdatomic.h>

/* The state of the database's files and content; see core_health.c. */
struct core_health {
    uint64_t next_scrub_ms; /* no earlier */
    uint64_t checked_ms;    /* wall clock: the last scan of all of it ended; 0: none did */
    bool is_damaged;
    uint64_t damaged_ms;      /* since when */
    struct error_text damage; /* where it is damaged */
};

/* The phases of a core's life, in this order. */
enum core_phase {
    CORE_RUNS,
    CORE_FINISHES, /* refuses new requests; running ones are replicated */
    CORE_DRAINING  /* has left the cluster; clients read their last replies */
};

struct core {
    const struct server_options *options;
    struct cluster_settings settings; /* the options', or those of a repair */
    bool is_repaired;
    char folder[4096];                /* of this server's data */
    struct task_queue *queue;         /* of clients and workers: run while the disk is free */
    struct task_queue *cluster_queue; /* of the cluster and the disk: run always */
    struct store *store;
    struct store *reader_store; /* the reader's */
    struct cluster *cluster;
    struct commit_log *commit_log; /* the cluster's */
    struct chat *chat;
    struct subscriptions *subscriptions;
    struct forward *forward;  /* NULL: clients are sent to the master */
    struct reads reads;       /* that this server answers as a slave */
    struct reports reports;   /* to the master */
    struct news news;         /* of the master */
    struct worker *reader;    /* reads history and what subscriptions missed */
    struct worker *hasher;    /* hashes passwords */
    struct worker *disk;      /* commits */
    struct worker *projector; /* brings the database up to date */
    struct suspects suspects; /* requests that are tried before they are carried out */
    size_t hashing;           /* passwords under way, at most HASHING_MAX */
    size_t reading; /* histories being read or waiting for a commit, at most HISTORY_READS_MAX */
    struct rpc_server *clients; /* the client address */
    Jackdaw__Chat_Service service;
    struct operator_service operator_service;
    struct scrub *scrub;
    struct core_health health;
    enum replica_role role;
    uint64_t now_ms; /* monotonic, read once a turn */
    uint64_t started_ms;
    uint64_t wall_ms;
    uint64_t next_tick_ms;
    uint64_t next_second_ms;
    uint64_t epoch; /* the last one followed, or begun; 0: none yet */
    char failover_notice[NEWS_NOTICE_BYTES];
    uint64_t failover_notice_until_ms; /* 0: no notice */
    bool second_is_due;
    bool is_behind; /* entries of others wait to be applied */
    bool was_ready;
    bool has_failed;
    struct error_text problem; /* where it has failed */
    enum core_phase phase;
    uint64_t phase_ms;       /* its begin; unset for CORE_RUNS */
    uint64_t drain_until_ms; /* set in CORE_DRAINING */
    bool has_answered;       /* in CORE_DRAINING: this step may send answers */
    atomic_bool stopping;
    atomic_bool reloading;
};

/* The events that the thread waits for between two steps. */
struct core_wait {
    bool requests; /* a task in core->queue ends the wait, too; one in cluster_queue always does */
    int64_t timeout_us; /* 0: the next step is due now */
};

#define CORE_BATCH_BYTES (512u * 1024u)           /* of a batch to which a turn adds no more */
#define ANSWER_ARENA_BYTES (1024u * 1024u)        /* a call may use beyond its request */
#define READING_ARENA_BYTES (16u * 1024u * 1024u) /* a page of the largest messages fits */
#define HASHING_MAX 64
#define HISTORY_READS_MAX 1024

/* Opens the data folder, loads the chat, starts the workers, listens, and begins to look for the
 * other servers. The core is the caller's storage; options are borrowed. On error everything is
 * released and why says what to do. */
enum error core_open(struct core *core, const struct server_options *options,
                     struct error_text *why);

/* Does all that is due now and returns without waiting. false: the core has ended; with has_failed,
 * core->problem says why. */
bool core_step(struct core *core);

/* Fills *wait with the events to wait for before the next core_step. */
void core_look_ahead(const struct core *core, struct core_wait *wait);

/* Steps and waits until core_stop, or until this server must leave the cluster. In the latter case
 * returns false, with a sentence in core->problem, or true if an operator asked the server to
 * leave. Calls on_ready once, when this server is the master or a slave in sync. Waits a moment at
 * the end for replies to be sent. */
bool core_run(struct core *core, void (*on_ready)(struct core *core));

/* Ends core_run. Async-signal-safe; any thread. */
void core_stop(struct core *core);

/* Makes the core open its log file anew and read its certificate again in its next turn, and log that. Async-signal-safe; any
 * thread, from core_open until core_release. */
void core_reload(struct core *core);

/* A master tells of the failover that made it the master: for the clients here, and for those that come
 * within a while. */
void core_take_failover_notice(struct core *core, const char *text, uint64_t time_ms);

/* ---- core_health.c, for core.c ---- */

/* Runs once a second. If the data folder was removed or replaced, it ends the server. If a scan of
 * the whole database is due, it begins one. If the database is damaged and another server is in
 * sync, it ends this server. */
void core_health_tick(struct core *core);
void core_health_scrubbed(void *context, enum error error, const char *reason, uint64_t bytes);

/* Closes everything; the database last. */
void core_release(struct core *core);

#endif
