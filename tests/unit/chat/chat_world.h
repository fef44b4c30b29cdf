/* SPDX-License-Identifier: MIT */
/* chat_world.h - a chat over a store for tests: people who register, log in and ask for things,
 * answered as a server would. Clocks stand still until a test moves them, ids come from a seed,
 * every delta applied and every event delivered is kept. */
#ifndef JACKDAW_TESTS_CHAT_WORLD_H
#define JACKDAW_TESTS_CHAT_WORLD_H

#include "chat/chat.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a packed delta; NULL: an entry of the log that is not chat's. */
struct packed {
    uint8_t *bytes;
    size_t size;
    struct position position;
};

/* An event as one session got it; its text is a copy. */
struct seen {
    uint64_t session;
    uint64_t account;
    struct chat_event event;
};

struct world {
    struct store *store;
    struct chat *chat;
    struct arena arena;
    struct chat_limits limits;
    char *folder;    /* NULL: in memory */
    uint64_t random; /* state of the generator */
    uint64_t time_ms;
    uint64_t monotonic_ms;
    uint64_t epoch;
    uint64_t seq; /* of the last delta */
    struct packed *deltas;
    size_t deltas_count;
    struct seen *seen;
    size_t seen_count;
    size_t ended; /* calls of session_ended */
};

/* Opens a store and a chat, and begins the first reign. */
void world_open(struct world *world, uint64_t seed, char *folder);
void world_close(struct world *world);

/* Closes and opens the chat again over the same store (and the store too, where it has a
 * folder). */
void world_reopen(struct world *world);

void world_new_reign(struct world *world);
/* An entry of the log that is not chat's. */
enum error world_pass(struct world *world);
uint64_t world_random(struct world *world);

/* Applies a delta in a transaction of its own, with its row in the log. After an error the
 * transaction was rolled back and the chat loaded again. */
enum error world_apply(struct world *world, const Jackdaw__Delta *delta);

/* A call by session (NULL: nobody). Ends what lay in the arena. */
struct chat_call world_call(struct world *world, struct chat_session *session);

/* ---- requests ---- */

struct answer {
    enum status status;
    char text[600];
    uint32_t retry_ms;
    uint64_t next_request;
    bool applied;                /* a delta was applied for it */
    struct chat_outcome outcome; /* text is not valid */
    struct position position;    /* of the delta applied */
};

/* Carries out what a chat_propose_* decided about a numbered request, as a server does: applies
 * the delta, remembers refusals, answers repeated ones from the outcome. */
struct answer world_finish(struct world *world, struct chat_call *call, uint64_t request,
                           enum chat_decision decision);

struct answer world_register(struct world *world, const char *name);
/* As with 32 bytes of token made of the given word. */
struct answer world_login(struct world *world, const char *name, const char *token);
struct chat_session *world_session(struct world *world, const char *token);

/* Registers (if need be) and logs in; the token is the name. */
struct chat_session *world_person(struct world *world, const char *name);
struct chat_session *world_device(struct world *world, const char *name, const char *token);

/* The session's next request number. */
uint64_t world_next(struct chat_session *session);

/* request 0: the session's next. */
struct answer world_join(struct world *world, struct chat_session *session, const char *room,
                         uint64_t request);
struct answer world_join_private(struct world *world, struct chat_session *session,
                                 const char *room);
struct answer world_leave(struct world *world, struct chat_session *session, const char *room);
struct answer world_topic(struct world *world, struct chat_session *session, const char *room,
                          const char *topic);
struct answer world_invite(struct world *world, struct chat_session *session, const char *room,
                           const char *name);
struct answer world_kick(struct world *world, struct chat_session *session, const char *room,
                         const char *name, bool ban);
struct answer world_send(struct world *world, struct chat_session *session, const char *to,
                         const char *text, uint64_t request);
struct answer world_logout(struct world *world, struct chat_session *session, uint64_t after_seq);
struct answer world_delete(struct world *world, struct chat_session *session, bool verified);

/* Applies a Delivered delta, if there is anything to tell. */
bool world_deliver(struct world *world);

/* ---- what people see ---- */

/* Reads everything after after_seq, page by page; copies, in seen. *pages: how many it took. */
void world_read(struct world *world, struct chat_session *session, uint64_t after_seq,
                struct seen **seen, size_t *count, size_t *pages);
void world_free_seen(struct seen *seen, size_t count);

/* Forgets what was seen live. */
void world_clear_seen(struct world *world);
/* The events (no ephemeral ones) that a session got live, in order, as one line each:
 * "MESSAGE general alice hi", joined by "; ". Valid until the next call. */
const char *world_story(struct world *world, struct chat_session *session);
/* The ephemeral ones. */
const char *world_whispers(struct world *world, struct chat_session *session);
/* The same of what the session would read after a seq. */
const char *world_reads(struct world *world, struct chat_session *session, uint64_t after_seq);

/* "alice* bob" for the members of a room, owner marked. */
const char *world_members(struct world *world, struct chat_session *session, const char *room);

/* A text of everything that the state answers: accounts, rooms, members, undelivered, sessions. */
char *world_portrait(struct world *world);
/* A text of every row of the store but the log. Free it. */
char *world_rows(struct world *world);

#endif
