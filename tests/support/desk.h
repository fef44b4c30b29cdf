/* SPDX-License-Identifier: MIT */
/* desk.h - a server's core without its wire, for the tests of src/server: store, ledger, chat and
 * mailroom put together as core.c does, and people who do things at it by name.
 *
 * What a person does is proposed to the ledger; nothing is committed or delivered before desk_turn.
 * Time stands still unless the test moves it. Everything on the test's thread, except for the
 * reader where there is one. */
#ifndef JACKDAW_TESTS_DESK_H
#define JACKDAW_TESTS_DESK_H

#include "chat/chat.h"
#include "cluster/ledger.h"
#include "cluster/worker.h"
#include "server/mailbox.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct desk {
    const char *folder; /* NULL: in memory, and reading happens on the test's thread */
    uint64_t node_id;
    struct chat_limits limits;
    bool has_disk;   /* commits on a thread of its own; needs a folder */
    bool follows;    /* begins no reign: what it has is appended by the test */
    bool refuses;    /* as a driver whose node may not order writes any longer */
    bool is_awaited; /* others have to write it, too: nothing is committed but by the test */
    struct task_queue *queue;
    struct store *store;
    struct store *reader_store;
    struct worker *reader;
    struct worker *disk;
    struct ledger *ledger;
    struct chat *chat;
    struct mailroom *mailroom;
    struct arena arena; /* of the call under way */
    uint64_t wall_ms;
    uint64_t now_ms;
    uint64_t random; /* ids and tokens are drawn from here */
    uint64_t epoch;
    enum error written; /* how the last write ended */
    unsigned rollbacks;
    unsigned failures;
    enum error error; /* of the last proposal */
    void *context;
    /* May be NULL; before the mailroom is told. */
    void (*event)(struct desk *desk, const struct chat_event *event);
    void (*session_ended)(struct desk *desk, uint64_t session);
    void (*rolled_back)(struct desk *desk);
    void (*failed)(struct desk *desk);
};

/* Fills in what a test may change before desk_open. folder: borrowed, NULL for none. */
void desk_init(struct desk *desk, const char *folder);

/* Fails the test where something cannot be opened. */
void desk_open(struct desk *desk);

/* Streams still open end. */
void desk_close(struct desk *desk);

/* Runs what waits, commits, delivers. desk_run: the first of these only. */
enum error desk_turn(struct desk *desk);
void desk_run(struct desk *desk);

/* Writes what was proposed, as a cluster of one, and waits for the disk. */
enum error desk_commit(struct desk *desk);

/* Turns until no reading is under way and nothing is left to deliver. */
void desk_settle(struct desk *desk);

/* ---- people ---- */

/* Each returns whether it was proposed; false: refused by the chat, or the ledger failed
 * (desk->error is not OK then). */
bool desk_register(struct desk *desk, const char *name);
uint64_t desk_login(struct desk *desk, const char *name); /* the session; 0: not */
bool desk_logout(struct desk *desk, uint64_t session);
bool desk_delete(struct desk *desk, uint64_t session);
bool desk_join(struct desk *desk, uint64_t session, const char *room);
bool desk_join_private(struct desk *desk, uint64_t session, const char *room);
bool desk_leave(struct desk *desk, uint64_t session, const char *room);
bool desk_invite(struct desk *desk, uint64_t session, const char *room, const char *name);
bool desk_kick(struct desk *desk, uint64_t session, const char *room, const char *name, bool ban);
bool desk_topic(struct desk *desk, uint64_t session, const char *room, const char *topic);
bool desk_send(struct desk *desk, uint64_t session, const char *to, const char *text);
void desk_typing(struct desk *desk, uint64_t session, const char *room);

/* Proposes a delta that contradicts the state: everything since the last commit is undone. */
void desk_break(struct desk *desk);

uint64_t desk_random(struct desk *desk);

#endif
