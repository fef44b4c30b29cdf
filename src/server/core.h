/* SPDX-License-Identifier: MIT */
/* core.h - the server's one thread of state: its parts and the turns it goes through.
 *
 * A turn: run what nng's threads and the workers have pushed, commit what the handlers proposed,
 * deliver what is now committed, flush the replies. Nothing in a turn waits for a peer.
 *
 * Everything below is the core thread's alone. */
#ifndef JACKDAW_SERVER_CORE_H
#define JACKDAW_SERVER_CORE_H

#include "base/error.h"
#include "base/task_queue.h"
#include "chat/chat.h"
#include "rpc/server.h"
#include "server/ledger.h"
#include "server/mailbox.h"
#include "server/options.h"
#include "server/worker.h"
#include "store/store.h"

#include <stdatomic.h>

struct core {
    const struct server_options *options;
    struct task_queue *queue;
    struct store *store;
    struct store *reader_store;
    struct ledger *ledger;
    struct chat *chat;
    struct mailroom *mailroom;
    struct worker *reader;       /* reads history and what mailboxes missed */
    struct worker *hasher;       /* hashes passwords */
    size_t hashing;              /* passwords under way, at most HASHING_MAX */
    size_t reading;              /* histories under way or gated, at most HISTORY_READS_MAX */
    struct rpc_server *clients;  /* the client address */
    struct rpc_server *internal; /* the internal address */
    Jackdaw__Chat_Service service;
    uint64_t now_ms; /* monotonic, read once a turn */
    uint64_t wall_ms;
    uint64_t next_tick_ms;
    uint64_t next_second_ms;
    bool prune_is_due;
    atomic_bool stopping;
};

#define ANSWER_ARENA_BYTES (1024u * 1024u)        /* a call may use beyond its request */
#define READING_ARENA_BYTES (16u * 1024u * 1024u) /* a page of the largest messages fits */
#define HASHING_MAX 64
#define HISTORY_READS_MAX 1024

/* Opens the data folder, loads the chat, starts the workers, listens. The core is the caller's
 * storage; options are borrowed. On error everything is released and why says what to do. */
enum error core_open(struct core *core, const struct server_options *options,
                     struct error_text *why);

/* Runs turns until core_stop. Then answers open polls UNAVAILABLE and gives the answers a moment
 * to leave. */
void core_run(struct core *core);

/* Ends core_run. Async-signal-safe; any thread. */
void core_stop(struct core *core);

/* The client address to give to clients; "" where only the dialled one is known. */
void core_advertised_address(const struct core *core, char text[static ADDRESS_TEXT_SIZE]);

/* Closes everything; the database last. */
void core_release(struct core *core);

#endif
