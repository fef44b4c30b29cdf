/* SPDX-License-Identifier: MIT */
/* subscriptions.h - events on their way to the Receive stream of each session.
 *
 * An event is encoded once for all recipients that see it alike. The subscription of each
 * recipient's session holds a reference to it. When the event is committed and the stream has
 * credit, the subscription sends it. If a subscription is full, because its session is away or
 * slow, it drops its events. When the session is ready, the subscription reads them from the store.
 * So memory per session is bounded, and no event is lost.
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
#include "commit/commit_log.h"
#include "commit/worker.h"
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

/* The same on a slave, whose log may lack a session that the master's has: ends the stream with ABORTED, so
 * that its client asks again, and the master answers. */
void subscriptions_session_gone(struct subscriptions *subscriptions, struct chat_session *session);

/* Drops events after position; later events are read again. Resets a cursor that is beyond it. */
void subscriptions_rolled_back(void *subscriptions, struct log_position position);

/* Takes a Receive call of the session and answers it later. */
void subscriptions_receive(struct subscriptions *subscriptions, struct chat_session *session,
                           struct rpc_call *call, const Jackdaw__ReceiveRequest *request);

/* Sends an ephemeral NOTICE to every session with a stream. text: a sentence, borrowed. */
void subscriptions_notice(struct subscriptions *subscriptions, const char *text, uint64_t time_ms);

/* Sets the notice that each session gets when it first connects after a failover. NULL clears
 * it. */
void subscriptions_set_failover_notice(struct subscriptions *subscriptions, const char *text,
                                       uint64_t time_ms);

/* Sends committed events to the streams with credit. Call after each commit. */
void subscriptions_deliver(struct subscriptions *subscriptions);

/* Ends every stream with UNAVAILABLE and text. */
void subscriptions_end_all(struct subscriptions *subscriptions, const char *text);

/* The same, with the master's client address (NULL: unknown). Frees every subscription, because
 * this server no longer serves these sessions. */
void subscriptions_close_all(struct subscriptions *subscriptions, const char *text,
                             const char *master);

/* The database, the reader's view of it and the reader are others from now on. */
void subscriptions_set_store(struct subscriptions *subscriptions, struct store *store,
                             struct store *reader_store, struct worker *reader);

/* Frees the events of sessions without a stream since before_ms. Call about once a second. */
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
