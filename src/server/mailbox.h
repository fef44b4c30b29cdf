/* SPDX-License-Identifier: MIT */
/* mailbox.h - what happened, on its way to each session's Receive stream.
 *
 * An event is encoded once for all who see it alike and put, by reference, into the mailbox of
 * every session that follows. It leaves for the stream when it is committed and the stream has
 * credit. A mailbox that cannot hold what comes (its session is away, or slow) forgets it and is
 * filled from the store again when the session is ready: memory per session is bounded, delivery
 * is not lost.
 *
 *            push: events of the rooms                 overflow, rollback
 *          .---------- LIVE <-----------------.   .-----------------------.
 *          |            |   all read          |   |                       v
 *     Receive at the    '-------------------- READING <--- work --- BEHIND (holds events up to
 *     position it has                          (store)              `filled`, then nothing)
 *
 * Core thread only; the store is read on the reader's thread. */
#ifndef JACKDAW_SERVER_MAILBOX_H
#define JACKDAW_SERVER_MAILBOX_H

#include "chat/chat.h"
#include "cluster/ledger.h"
#include "cluster/worker.h"
#include "rpc/server.h"
#include "store/store.h"

/* Held for one session; beyond, it is filled from the store. */
#define MAILBOX_EVENTS_MAX 1024
#define MAILBOX_BYTES_MAX (1024u * 1024u)

struct mailroom;

struct mailroom_options {
    struct ledger *ledger;
    struct store *store;        /* the core's, for epochs */
    struct store *reader_store; /* the reader's view; NULL: read on the core thread (in memory) */
    struct worker *reader;      /* NULL together with reader_store */
    struct task_queue *queue;   /* the core's */
};

enum error mailroom_new(struct mailroom **out, const struct mailroom_options *options);
/* Ends every stream with CANCELLED, frees every mailbox. The reader must have stopped. */
void mailroom_free(struct mailroom *mailroom);

/* The chat whose sessions these are; once, before anything else. */
void mailroom_attach(struct mailroom *mailroom, struct chat *chat);

/* The two halves of chat_observer; context is the mailroom. */
void mailroom_event(void *mailroom, const struct chat_event *event);
void mailroom_session_ended(void *mailroom, struct chat_session *session);

/* After a rollback to position: nothing later may be delivered, all is read again. */
void mailroom_rolled_back(struct mailroom *mailroom, struct position position);

/* Takes over a Receive call of the session; answers it in time. */
void mailroom_receive(struct mailroom *mailroom, struct chat_session *session,
                      struct rpc_call *call, const Jackdaw__ReceiveRequest *request);

/* Tells every session that has a stream now: an ephemeral NOTICE. text: a sentence, borrowed. */
void mailroom_notice(struct mailroom *mailroom, const char *text, uint64_t time_ms);

/* From now on tells every session so when it first comes here: after a failover nobody is here yet.
 * NULL: no longer. */
void mailroom_greet(struct mailroom *mailroom, const char *text, uint64_t time_ms);

/* Sends what is committed to whoever has credit. After each commit. */
void mailroom_deliver(struct mailroom *mailroom);

/* Ends every stream with UNAVAILABLE and text. */
void mailroom_hang_up(struct mailroom *mailroom, const char *text);

/* The same, naming the client address of the server to ask instead (NULL: unknown), and forgets every
 * mailbox: this server no longer serves these sessions. */
void mailroom_close_all(struct mailroom *mailroom, const char *text, const char *master);

/* The database, the reader's view of it and the reader are others from now on. */
void mailroom_set_store(struct mailroom *mailroom, struct store *store, struct store *reader_store,
                        struct worker *reader);

/* Throws away what is held for sessions without a stream since before_ms. About once a second. */
void mailroom_tidy(struct mailroom *mailroom, uint64_t before_ms, uint64_t now_ms);

struct mailroom_figures {
    size_t mailboxes;
    size_t streams;
    uint64_t events_delivered;
    uint64_t pages_sent;
    uint64_t store_reads;
    size_t reading; /* now */
};
void mailroom_figures(const struct mailroom *mailroom, struct mailroom_figures *out);

#endif
