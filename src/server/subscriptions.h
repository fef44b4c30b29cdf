/* SPDX-License-Identifier: MIT */
/* subscriptions.h - what happened, on its way to each session's Receive stream.
 *
 * An event is encoded once for all who see it alike and put, by reference, into the subscription of
 * every session that follows. It leaves for the stream when it is committed and the stream has
 * credit. A subscription that cannot hold what comes (its session is away, or slow) forgets it and is
 * filled from the store again when the session is ready: memory per session is bounded, delivery
 * is not lost.
 *
 *            push: events of the rooms                 overflow, rollback
 *          .---------- LIVE <-----------------.   .-----------------------.
 *          |            |   all read          |   |                       v
 *     Receive at the    '-------------------- CATCHING_UP <--- work --- LAGGING (holds events up to
 *     position it has                          (store)              `filled`, then nothing)
 *
 * Core thread only; the store is read on the reader's thread. */
#ifndef JACKDAW_SERVER_SUBSCRIPTIONS_H
#define JACKDAW_SERVER_SUBSCRIPTIONS_H

#include "chat/chat.h"
#include "cluster/commit_log.h"
#include "cluster/worker.h"
#include "rpc/server.h"
#include "store/store.h"

/* Held for one session; beyond, it is filled from the store. */
#define SUBSCRIPTION_EVENTS_MAX 1024
#define SUBSCRIPTION_BYTES_MAX (1024u * 1024u)

struct subscriptions;

struct subscriptions_options {
    struct commit_log *commit_log;
    struct store *store;        /* the core's, for epochs */
    struct store *reader_store; /* the reader's view; NULL: read on the core thread (in memory) */
    struct worker *reader;      /* NULL together with reader_store */
    struct task_queue *queue;   /* the core's */
};

enum error subscriptions_new(struct subscriptions **out,
                             const struct subscriptions_options *options);
/* Ends every stream with CANCELLED, frees every subscription. The reader must have stopped. */
void subscriptions_free(struct subscriptions *subscriptions);

/* The chat whose sessions these are; once, before anything else. */
void subscriptions_attach(struct subscriptions *subscriptions, struct chat *chat);

/* The functions of chat_observer; context is the subscriptions. */
void subscriptions_event(void *subscriptions, const struct chat_event *event);
void subscriptions_session_ended(void *subscriptions, struct chat_session *session);

/* Nothing after position may be delivered; all of it is read again. */
void subscriptions_rolled_back(void *subscriptions, struct position position);

/* Takes over a Receive call of the session; answers it in time. */
void subscriptions_receive(struct subscriptions *subscriptions, struct chat_session *session,
                           struct rpc_call *call, const Jackdaw__ReceiveRequest *request);

/* Tells every session that has a stream now: an ephemeral NOTICE. text: a sentence, borrowed. */
void subscriptions_notice(struct subscriptions *subscriptions, const char *text, uint64_t time_ms);

/* From now on tells every session so when it first comes here: after a failover nobody is here yet.
 * NULL: no longer. */
void subscriptions_set_failover_notice(struct subscriptions *subscriptions, const char *text,
                                       uint64_t time_ms);

/* Sends what is committed to whoever has credit. After each commit. */
void subscriptions_deliver(struct subscriptions *subscriptions);

/* Ends every stream with UNAVAILABLE and text. */
void subscriptions_end_all(struct subscriptions *subscriptions, const char *text);

/* The same, naming the client address of the server to ask instead (NULL: unknown), and forgets every
 * subscription: this server no longer serves these sessions. */
void subscriptions_close_all(struct subscriptions *subscriptions, const char *text,
                             const char *master);

/* The database, the reader's view of it and the reader are others from now on. */
void subscriptions_set_store(struct subscriptions *subscriptions, struct store *store,
                             struct store *reader_store, struct worker *reader);

/* Throws away what is held for sessions without a stream since before_ms. About once a second. */
void subscriptions_tidy(struct subscriptions *subscriptions, uint64_t before_ms, uint64_t now_ms);

struct subscriptions_stats {
    size_t items;
    size_t streams;
    uint64_t events_delivered;
    uint64_t pages_sent;
    uint64_t store_reads;
    size_t reading; /* now */
};
void subscriptions_stats(const struct subscriptions *subscriptions,
                         struct subscriptions_stats *out);

#endif
