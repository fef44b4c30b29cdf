/* SPDX-License-Identifier: MIT */
/* core_fixture.h - a server's core without its wire, for the tests of src/server: store, commit log, chat and
 * subscriptions put together as core.c does, and people who do things at it by name.
 *
 * What a person does is proposed to the commit log; nothing is committed or delivered before core_fixture_turn.
 * Time stands still unless the test moves it. Everything on the test's thread, except for the
 * reader where there is one. */
#ifndef JACKDAW_TESTS_CORE_FIXTURE_H
#define JACKDAW_TESTS_CORE_FIXTURE_H

#include "chat/chat.h"
#include "commit/commit_log.h"
#include "commit/worker.h"
#include "server/subscriptions.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct core_fixture {
    const char *folder; /* NULL: in memory, and reading happens on the test's thread */
    uint64_t node_id;
    struct chat_limits limits;
    bool has_disk;   /* commits on a thread of its own; needs a folder */
    bool follows;    /* begins no epoch: what it has is appended by the test */
    bool refuses;    /* as a driver whose node may not order writes any longer */
    bool is_awaited; /* others have to write it, too: nothing is committed but by the test */
    struct task_queue *queue;
    struct store *store;
    struct store *reader_store;
    struct worker *reader;
    struct worker *disk;
    struct worker *projector; /* of commit_log.h; the test's, or NULL */
    struct commit_log *commit_log;
    struct chat *chat;
    struct subscriptions *subscriptions;
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
    /* May be NULL; before the subscriptions is told. */
    void (*event)(struct core_fixture *core, const struct chat_event *event);
    void (*session_ended)(struct core_fixture *core, uint64_t session);
    void (*rolled_back)(struct core_fixture *core);
    void (*commit_log_event)(struct core_fixture *core, const struct commit_log_event *event);
};

/* Fills in what a test may change before core_fixture_open. folder: borrowed, NULL for none. */
void core_fixture_init(struct core_fixture *core, const char *folder);

/* Fails the test where something cannot be opened. */
void core_fixture_open(struct core_fixture *core);

/* Streams still open end. */
void core_fixture_close(struct core_fixture *core);

/* Runs what waits, commits, delivers. core_fixture_run: the first of these only. */
enum error core_fixture_turn(struct core_fixture *core);
void core_fixture_run(struct core_fixture *core);

/* Seals, appends and writes what was proposed, as a cluster of one; then takes the commit log's events. */
void core_fixture_write(struct core_fixture *core);

/* Writes what was proposed, and waits for the disk. */
enum error core_fixture_commit(struct core_fixture *core);

/* Turns until no reading is under way and nothing is left to deliver. */
void core_fixture_settle(struct core_fixture *core);

/* Each returns whether it was proposed; false: refused by the chat, or the commit log failed
 * (desk->error is not OK then). */
bool core_fixture_register(struct core_fixture *core, const char *name);
uint64_t core_fixture_login(struct core_fixture *core, const char *name); /* the session; 0: not */
/* Registers the person, logs in and joins "lobby"; fails the test if one is refused. Returns the session. */
uint64_t core_fixture_person(struct core_fixture *core, const char *name);
bool core_fixture_logout(struct core_fixture *core, uint64_t session);
bool core_fixture_delete(struct core_fixture *core, uint64_t session);
bool core_fixture_join(struct core_fixture *core, uint64_t session, const char *room);
bool core_fixture_join_private(struct core_fixture *core, uint64_t session, const char *room);
bool core_fixture_leave(struct core_fixture *core, uint64_t session, const char *room);
bool core_fixture_invite(struct core_fixture *core, uint64_t session, const char *room,
                         const char *name);
bool core_fixture_kick(struct core_fixture *core, uint64_t session, const char *room,
                       const char *name, bool ban);
bool core_fixture_topic(struct core_fixture *core, uint64_t session, const char *room,
                        const char *topic);
bool core_fixture_send(struct core_fixture *core, uint64_t session, const char *to,
                       const char *text);
void core_fixture_typing(struct core_fixture *core, uint64_t session, const char *room);

/* Proposes a delta that contradicts the state: everything since the last commit is undone. */
void core_fixture_break(struct core_fixture *core);

uint64_t core_fixture_random(struct core_fixture *core);

#endif
