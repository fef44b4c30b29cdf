/* SPDX-License-Identifier: MIT */
/* chat_fixture.h - a chat over a store for tests: people who register, log in and ask for things,
 * answered as a server would. Clocks stand still until a test moves them, ids come from a seed,
 * every delta applied and every event delivered is kept. */
#ifndef JACKDAW_TESTS_CHAT_CHAT_FIXTURE_H
#define JACKDAW_TESTS_CHAT_CHAT_FIXTURE_H

#include "chat/chat.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a packed delta; NULL: an entry of the log that is not chat's. */
struct delta_bytes {
    uint8_t *bytes;
    size_t size;
    struct log_position position;
};

/* An event as one session got it; its text is a copy. */
struct event_copy {
    uint64_t session;
    uint64_t account;
    struct chat_event event;
};

struct chat_fixture {
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
    struct delta_bytes *deltas;
    size_t deltas_count;
    struct event_copy *seen;
    size_t seen_count;
    size_t ended; /* calls of session_ended */
};

/* Opens a store and a chat, and begins the first epoch. */
void chat_fixture_open(struct chat_fixture *fixture, uint64_t seed, char *folder);
/* The same; then registers and logs in the people whose names stand in `names`, apart by spaces. */
void chat_fixture_open_with(struct chat_fixture *fixture, uint64_t seed, char *folder,
                            const char *names);
void chat_fixture_close(struct chat_fixture *fixture);

/* A test on a chat, which the file's `begin(f)` opens. */
#define CHAT_TEST(name) TEST_ON(name, struct chat_fixture, begin, chat_fixture_close)

/* Closes and opens the chat again over the same store (and the store too, where it has a
 * folder). */
void chat_fixture_reopen(struct chat_fixture *fixture);

void chat_fixture_new_epoch(struct chat_fixture *fixture);
/* An entry of the log that is not chat's. */
enum error chat_fixture_pass(struct chat_fixture *fixture);
uint64_t chat_fixture_random(struct chat_fixture *fixture);
/* The next number of a generator with a state of its own. */
uint64_t chat_fixture_draw(uint64_t *state);

/* The delta of these bytes, which the caller frees. */
Jackdaw__Delta *chat_fixture_unpack(const struct delta_bytes *packed);
/* Applies the log of one chat to another, from the second entry on. */
void chat_fixture_replay(struct chat_fixture *to, const struct chat_fixture *from);
/* Applies a delta in a transaction of its own, with its row in the log. After an error the
 * transaction was rolled back and the chat loaded again. */
enum error chat_fixture_apply(struct chat_fixture *fixture, const Jackdaw__Delta *delta);

/* A call by session (NULL: nobody). Ends what lay in the arena. */
struct chat_call chat_fixture_call(struct chat_fixture *fixture, struct chat_session *session);

struct answer {
    enum status status;
    char text[600];
    uint32_t retry_ms;
    uint64_t next_request;
    bool applied;                 /* a delta was applied for it */
    struct chat_outcome outcome;  /* text is not valid */
    struct log_position position; /* of the delta applied */
};

/* Asserts that the answer has the expected status. */
#define assert_status(answer, expected) assert_int_equal((answer).status, expected)
#define assert_ok(answer) assert_status(answer, STATUS_OK)

/* Carries out what a chat_propose_* decided about a numbered request, as a server does: applies
 * the delta, remembers refusals, answers repeated ones from the outcome. */
struct answer chat_fixture_finish(struct chat_fixture *fixture, struct chat_call *call,
                                  uint64_t request, enum chat_decision decision);

struct answer chat_fixture_register(struct chat_fixture *fixture, const char *name);
/* As with 32 bytes of token made of the given word. */
struct answer chat_fixture_login(struct chat_fixture *fixture, const char *name, const char *token);
struct chat_session *chat_fixture_session(struct chat_fixture *fixture, const char *token);

/* The people of most tests. */
struct chat_session *alice(struct chat_fixture *fixture);
struct chat_session *bob(struct chat_fixture *fixture);
struct chat_session *carol(struct chat_fixture *fixture);
struct chat_session *dave(struct chat_fixture *fixture);

/* Registers (if need be) and logs in; the token is the name. */
struct chat_session *chat_fixture_person(struct chat_fixture *fixture, const char *name);
struct chat_session *chat_fixture_device(struct chat_fixture *fixture, const char *name,
                                         const char *token);

/* The answer to a login to this session. */
Jackdaw__LoginReply chat_fixture_login_reply(struct chat_fixture *fixture,
                                             struct chat_session *session);

/* The session's next request number. */
uint64_t chat_fixture_next(struct chat_session *session);

/* request 0: the session's next. */
struct answer chat_fixture_join(struct chat_fixture *fixture, struct chat_session *session,
                                const char *room, uint64_t request);
/* The people whose names stand in `names`, apart by spaces, join in this order. */
void chat_fixture_all_join(struct chat_fixture *fixture, const char *room, const char *names);
struct answer chat_fixture_join_private(struct chat_fixture *fixture, struct chat_session *session,
                                        const char *room);
struct answer chat_fixture_leave(struct chat_fixture *fixture, struct chat_session *session,
                                 const char *room);
struct answer chat_fixture_topic(struct chat_fixture *fixture, struct chat_session *session,
                                 const char *room, const char *topic);
struct answer chat_fixture_invite(struct chat_fixture *fixture, struct chat_session *session,
                                  const char *room, const char *name);
struct answer chat_fixture_kick(struct chat_fixture *fixture, struct chat_session *session,
                                const char *room, const char *name, bool ban);
struct answer chat_fixture_send(struct chat_fixture *fixture, struct chat_session *session,
                                const char *to, const char *text, uint64_t request);
struct answer chat_fixture_logout(struct chat_fixture *fixture, struct chat_session *session,
                                  uint64_t after_seq);
struct answer chat_fixture_delete(struct chat_fixture *fixture, struct chat_session *session,
                                  bool verified);

/* Applies a Delivered delta, if there is anything to tell. */
bool chat_fixture_deliver(struct chat_fixture *fixture);

/* Reads everything after after_seq, page by page; copies, in seen. *pages: how many it took. */
void chat_fixture_read(struct chat_fixture *fixture, struct chat_session *session,
                       uint64_t after_seq, struct event_copy **seen, size_t *count, size_t *pages);
void chat_fixture_free_seen(struct event_copy *seen, size_t count);

/* Forgets what was seen live. */
void chat_fixture_clear_seen(struct chat_fixture *fixture);
/* The events (no ephemeral ones) that a session got live, in order, as one line each:
 * "MESSAGE general alice hi", joined by "; ". Valid until the next call. */
const char *chat_fixture_story(struct chat_fixture *fixture, struct chat_session *session);
/* The ephemeral ones. */
const char *chat_fixture_whispers(struct chat_fixture *fixture, struct chat_session *session);
/* The same of what the session would read after a seq. */
const char *chat_fixture_reads(struct chat_fixture *fixture, struct chat_session *session,
                               uint64_t after_seq);

/* "alice* bob" for the members of a room, owner marked. */
const char *chat_fixture_members(struct chat_fixture *fixture, struct chat_session *session,
                                 const char *room);

/* Each macro asserts that the function of its name returns the expected text. */
#define assert_story(fixture, session, expected) \
    assert_string_equal(chat_fixture_story(fixture, session), expected)
#define assert_whispers(fixture, session, expected) \
    assert_string_equal(chat_fixture_whispers(fixture, session), expected)
#define assert_reads(fixture, session, after_seq, expected) \
    assert_string_equal(chat_fixture_reads(fixture, session, after_seq), expected)
#define assert_members(fixture, session, room, expected) \
    assert_string_equal(chat_fixture_members(fixture, session, room), expected)

/* A text of everything that the state answers: accounts, rooms, members, undelivered, sessions. */
char *chat_fixture_portrait(struct chat_fixture *fixture);
/* A text of every row of the store but the log. Free it. */
char *chat_fixture_rows(struct chat_fixture *fixture);
/* Asserts that chat_fixture_portrait and chat_fixture_rows still return these two texts. */
void chat_fixture_check_unchanged(struct chat_fixture *fixture, const char *portrait,
                                  const char *rows);
/* Opens the chat again: what is in memory then is what was there before. */
void chat_fixture_check_reopens(struct chat_fixture *fixture);
/* Another chat that applies the same log has the same log, rows and state, and so has this one when it is opened
 * again. */
void chat_fixture_check_elsewhere(struct chat_fixture *fixture);

#endif
