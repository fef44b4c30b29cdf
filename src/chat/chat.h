/* SPDX-License-Identifier: MIT */
/* chat.h - what chat means: accounts, sessions, rooms, messages.
 *
 * One write path and one apply path. The functions chat_propose_* validate a request against the
 * state and make a delta of it. chat_apply writes a delta into the state and the store, in the same
 * way on every server. No other function changes the stored state. The state in memory is an index
 * over the store: it can always be loaded again from it.
 *
 * Proposing reads the clock and draws random ids, and writes them into the delta. So the result of
 * applying depends on the state and the delta alone.
 *
 * Three things are neither stored nor in a delta: users online, users typing, and the time a
 * session was last heard.
 *
 * Threads: one owner, the core thread. No function blocks, except for the database. */
#ifndef JACKDAW_CHAT_CHAT_H
#define JACKDAW_CHAT_CHAT_H

#include "base/arena.h"
#include "base/error.h"
#include "base/status.h"
#include "spec.pb-c.h"
#include "store/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAT_TOKEN_BYTES 32
#define CHAT_NAME_CHARACTERS_MAX 32
#define CHAT_NAME_BYTES_MAX (CHAT_NAME_CHARACTERS_MAX * 4 + 1) /* with NUL */
#define CHAT_TOPIC_CHARACTERS_MAX 256
#define CHAT_PASSWORD_BYTES_MAX 256
#define CHAT_DEVICE_BYTES_MAX 64
#define CHAT_PAGE_EVENTS 256  /* most events in a page of History or Receive */
#define CHAT_PAGE_BYTES 65536 /* a page ends with the event that passes this */
#define CHAT_LIST_MAX 1000    /* most entries in one answer of a List call */
#define CHAT_LIST_DEFAULT 100
#define CHAT_CURSOR_HISTORY_MAX 16 /* most positions of a client's trail that are looked at */

struct chat;
struct chat_session; /* an account's session; valid until it ends or chat_reload */

struct chat_limits {
    uint32_t message_bytes;        /* 1..1048576; default 16384 */
    uint32_t sessions_per_account; /* 1..64; default 2 */
    uint32_t rooms_per_account;    /* 1..4096; default 256 */
    uint32_t members_per_room;     /* 2..65536; default 1024 */
    uint32_t history_on_join;      /* 0..CHAT_PAGE_EVENTS; default 10 */
    uint32_t session_silence_ms;   /* a session not heard for this long no longer counts; 60000 */
    uint32_t requests_per_second;  /* per session, bursts of twice that; 0: no limit; 1000 */
};
void chat_limits_default(struct chat_limits *limits);

/* Where new ids come from: fills bytes with random ones. */
struct chat_random {
    void *context;
    void (*fill)(void *context, void *bytes, size_t size);
};

/* ---- events: what chat tells the server to deliver ---- */

/* An event, with ids; chat_event_fill adds the names. text is borrowed. One delta may make several
 * events of one position: an OWNER event follows the JOINED, LEFT or REMOVED that caused the new
 * owner. */
struct chat_event {
    Jackdaw__Event__Kind kind;
    struct log_position position; /* (0, 0): ephemeral */
    uint64_t room;                /* 0: concerns accounts, not a room */
    uint64_t account;             /* who did it */
    uint64_t subject;
    uint64_t number;
    uint64_t session;
    uint64_t request;
    uint64_t time_ms;
    const char *text; /* NUL-terminated, not NULL */
    bool active;
};

/* Called during chat_apply, chat_set_typing, chat_touch and chat_expire, and on a slave during
 * chat_tell_typing and chat_set_present, in the order of events. At
 * that moment chat_each_recipient yields exactly the recipients of the event: a leaving member
 * still receives it, a joining one already does. */
struct chat_observer {
    void *context;
    void (*event)(void *context, const struct chat_event *event);
    /* The session has ended (logout, replaced, account deleted); called just before it is freed. */
    void (*session_ended)(void *context, struct chat_session *session);
    /* The session has fallen silent, or was heard again (is_present). Not called for what a delta does,
     * nor for chat_touch_all, nor for what a master told (chat_set_present, chat_set_presence). */
    void (*presence)(void *context, struct chat_session *session, bool is_present);
    /* chat_reload has undone what was applied after position. NULL: not called. */
    void (*reloaded)(void *context, struct log_position position);
};

/* ---- feature levels ----
 *
 * Each kind of delta needs a feature level; a build names the highest one that it can apply. A new kind
 * gets a new level, so that servers of two builds can form one cluster: the master proposes no delta that
 * some member cannot apply (replica_level). Pure; any thread. */

/* Returns the highest level that this build can apply. */
uint16_t chat_level(void);

/* Returns the level that delta needs. UINT16_MAX: this build does not know its kind. */
uint16_t chat_level_of(const Jackdaw__Delta *delta);

/* ---- life ---- */

/* Loads the state from store (borrowed, must outlive the chat). *out: ended with chat_close.
 * ERROR_CORRUPT when rows contradict each other, else as the store's functions; sentence in why. */
enum error chat_open(struct chat **out, struct store *store, const struct chat_limits *limits,
                     const struct chat_observer *observer, uint64_t monotonic_ms,
                     struct error_text *why);
void chat_close(struct chat *chat); /* NULL is allowed */

/* Draws new ids from random instead of the system (for tests); NULL: from the system again. */
void chat_set_random(struct chat *chat, const struct chat_random *random);

/* Checks whether chat_open can load the state from the store, and keeps no data. The store's
 * thread, any number at once. Errors and sentences: as of chat_open. */
enum error chat_check(struct store *store, struct error_text *why);

/* Forgets the state in memory and loads it from the store again: after a rolled back transaction.
 * Every chat_session pointer becomes invalid. If a session still exists, it keeps the data beyond
 * its row: attachment, time of the last request, token bucket. session_ended is called for sessions
 * that only the undone transaction knew, if they have an attachment, and for no others. On error
 * the state is as before and the chat can only be closed. */
enum error chat_reload(struct chat *chat, struct error_text *why);

/* The same from another store, whose place the first one has given up. */
enum error chat_move(struct chat *chat, struct store *store, struct error_text *why);

/* ---- who asks ---- */

/* The session whose token this is, or NULL. token: any bytes of any length. */
struct chat_session *chat_authenticate(struct chat *chat, const uint8_t *token, size_t size);
struct chat_session *chat_find_session(struct chat *chat, uint64_t id); /* or NULL */

uint64_t chat_session_id(const struct chat_session *session);
uint64_t chat_session_account(const struct chat_session *session);
const char *chat_session_name(const struct chat_session *session); /* the account's name */
uint64_t chat_session_last_request(const struct chat_session *session);

/* The server's own pointer for the session; NULL at first. */
void **chat_session_attachment(struct chat_session *session);

/* The session was heard: it counts as alive, and its account as online (a PRESENCE event when that
 * changes). monotonic_ms never decreases. */
void chat_touch(struct chat *chat, struct chat_session *session, uint64_t monotonic_ms,
                uint64_t time_ms);

/* Every session counts as heard now, without events: call when this server becomes the one that
 * clients talk to, because it heard nobody while another one was. */
void chat_touch_all(struct chat *chat, uint64_t monotonic_ms);

/* Notices sessions that fell silent (PRESENCE events). Call about once a second. */
void chat_expire(struct chat *chat, uint64_t monotonic_ms, uint64_t time_ms);

/* ---- a slave's view of presence: the master decides who is silent ---- */

/* The master says that the session has fallen silent, or was heard again. A PRESENCE event when that
 * changes whether its account is online. An unknown session is ignored. */
void chat_set_present(struct chat *chat, uint64_t session, bool is_present, uint64_t monotonic_ms,
                      uint64_t time_ms);

/* A list of all sessions from the master: the listed ones are present, and all others silent; or the
 * other way round. */
struct chat_presence_list {
    const uint64_t *sessions;
    size_t count;
    bool are_present;
    bool is_newest;   /* later than all calls of chat_set_present */
    bool tells;       /* with PRESENCE events */
    uint64_t time_ms; /* of these */
};

/* The master is asked for the list. */
void chat_ask_presence(struct chat *chat);

/* Takes the list that was asked for last. Leaves out sessions that began later, unless the list names them.
 * If the list is not the newest, also leaves out those that chat_set_present has set since then. */
void chat_set_presence(struct chat *chat, const struct chat_presence_list *list,
                       uint64_t monotonic_ms);

/* Whether the session counts as heard. */
bool chat_session_is_present(const struct chat_session *session);

/* Sets when this server heard the session last, for the report to the master; returns what was set
 * before, 0 at first. */
uint64_t chat_session_mark_heard(struct chat_session *session, uint64_t monotonic_ms);

/* Token bucket: whether the session may make a request now; if not, *retry_ms is how long until
 * it may. */
bool chat_admit(struct chat *chat, struct chat_session *session, uint64_t monotonic_ms,
                uint32_t *retry_ms);

/* Notes that the session has received every event up to seq. Smaller values than before are
 * ignored; a value after the last delta counts as the last delta. Kept in memory;
 * chat_propose_delivered makes the delta. */
void chat_note_delivered(struct chat *chat, struct chat_session *session, uint64_t seq);

/* The same for an account, by its id; an unknown one is ignored. */
void chat_note_account_delivered(struct chat *chat, uint64_t account, uint64_t seq);

/* Visits accounts whose noted seq is not in a delta yet, at most `most` of them. */
void chat_each_noted(struct chat *chat, size_t most,
                     void (*visit)(void *context, uint64_t account, uint64_t seq), void *context);

/* Returns the last seq that a client's events have in common with this log. trail: the client's
 * cursor, then its last position in each earlier epoch, newest first. The newest position whose
 * epoch this log contains decides, because an unknown epoch may have followed any other. The result
 * is its seq, at most the end of that epoch in this log. If no epoch is known, or for (0, 0), the
 * result is 0. */
uint64_t chat_common_seq(const struct chat *chat, const struct log_position *cursor_history,
                         size_t count);

/* The same of what a request tells; of a longer trail the newest CHAT_CURSOR_HISTORY_MAX count. after may
 * be NULL. */
uint64_t chat_common_seq_of(const struct chat *chat, const Jackdaw__Position *after,
                            Jackdaw__Position *const *cursor_history, size_t count);

/* Returns whether the cursor's epoch is newer than any epoch here. This server has not heard of
 * that epoch yet, so it must not reset the client's cursor. */
bool chat_is_behind(const struct chat *chat, const Jackdaw__Position *cursor);

/* ---- proposing: request -> delta ---- */

/* How a request is answered. */
enum chat_decision {
    CHAT_PROPOSE, /* apply *delta; then chat_outcome_of gives the answer */
    CHAT_ANSWER,  /* no delta: the answer exists already (a repeated request) */
    CHAT_REFUSE,  /* no delta: status and text are set */
};

/* A delta has the time of the call, which may be earlier than that of the delta before: order is by
 * position. If it would be earlier by at most this slack, the delta gets the time of the previous
 * delta. So small differences between the servers' clocks stay invisible. */
#define CHAT_TIME_SLACK_MS 5000

/* A request's session and time, and its answer. Requests are borrowed for each call only: a delta
 * has copies in the arena. */
struct chat_call {
    struct chat_session *session; /* NULL for RegisterAccount and Login */
    uint64_t time_ms;             /* wall clock; see CHAT_TIME_SLACK_MS */
    uint64_t monotonic_ms;
    /* History and Heartbeat: last committed seq, the limit of the answer; 0: the whole store is
     * committed. */
    uint64_t committed_seq;
    struct arena *arena; /* holds *delta and its parts, and texts, until the answer is sent */

    /* Filled by chat: */
    Jackdaw__Delta *delta; /* CHAT_PROPOSE */
    enum status status;    /* CHAT_REFUSE */
    const char *text;      /* CHAT_REFUSE: a sentence that says what was wrong and what to do */
    uint32_t retry_ms;     /* CHAT_REFUSE: not 0: not an outcome, the same request may succeed */
    uint64_t next_request; /* CHAT_REFUSE of a number that skips one: the one expected; else 0 */
    uint64_t account;      /* chat_check_login: whose password is to be verified */
};

/* The meaning of a request's number. CHAT_PROPOSE: it is the next one, go on with its
 * chat_propose_*. CHAT_ANSWER: it was carried out (chat_outcome_of has the outcome). CHAT_REFUSE:
 * it skips one (ABORTED with retry_ms), or is out of the window (OUT_OF_RANGE), or 0
 * (INVALID_ARGUMENT). Every chat_propose_* of a numbered request starts with this itself. */
enum chat_decision chat_check_request(struct chat *chat, struct chat_call *call, uint64_t request);

/* Turns a refusal of a numbered request into a delta, so that a retry is refused too: call with
 * what chat_propose_* refused without retry_ms. CHAT_PROPOSE, or CHAT_REFUSE when the refusal is
 * not one to remember (number 0, skipped, out of window, no memory). */
enum chat_decision chat_propose_refusal(struct chat *chat, struct chat_call *call,
                                        uint64_t request);

/* Register, first half: checks name and password rules and that the name is free. CHAT_PROPOSE:
 * hash the password (password.h, off this thread) and go on with chat_propose_register.
 * CHAT_ANSWER: the same nonce registered this name before: OK, call->text is the name as shown. */
enum chat_decision chat_check_register(struct chat *chat, struct chat_call *call,
                                       const Jackdaw__RegisterRequest *request);
/* Second half; checks again, the name may have been taken meanwhile. CHAT_PROPOSE and CHAT_ANSWER:
 * call->text is the name as shown, for the reply. */
enum chat_decision chat_propose_register(struct chat *chat, struct chat_call *call,
                                         const Jackdaw__RegisterRequest *request,
                                         const char *password_hash);

/* Login, first half: finds the account. CHAT_PROPOSE: *hash (in the arena) is the hash to verify
 * the password against. For an unknown name *hash matches no password, so that the time of the
 * answer does not reveal which names exist. */
enum chat_decision chat_check_login(struct chat *chat, struct chat_call *call,
                                    const Jackdaw__LoginRequest *request, const char **hash);
/* Second half, after the password was verified (or not: UNAUTHENTICATED). Carry call->account over
 * from the first half: it tells whose password it was, should the name have changed hands since.
 * CHAT_ANSWER: the token has its session already (call->session is set to it), or, where that is
 * NULL, the caller wants to choose one of the devices first: chat_answer_devices. CHAT_PROPOSE: once
 * applied, chat_find_session(chat, delta->session_started->session) is the session. */
enum chat_decision chat_propose_login(struct chat *chat, struct chat_call *call,
                                      const Jackdaw__LoginRequest *request, bool verified);

enum chat_decision chat_propose_logout(struct chat *chat, struct chat_call *call,
                                       const Jackdaw__LogoutRequest *request);
/* As with Login: the first half gives the hash, the second proposes. A wrong password is refused
 * with PERMISSION_DENIED (UNAUTHENTICATED would mean that the account is gone). */
enum chat_decision chat_check_delete(struct chat *chat, struct chat_call *call,
                                     const Jackdaw__DeleteAccountRequest *request,
                                     const char **hash);
enum chat_decision chat_propose_delete(struct chat *chat, struct chat_call *call,
                                       const Jackdaw__DeleteAccountRequest *request, bool verified);
enum chat_decision chat_propose_join(struct chat *chat, struct chat_call *call,
                                     const Jackdaw__JoinRoomRequest *request);
enum chat_decision chat_propose_leave(struct chat *chat, struct chat_call *call,
                                      const Jackdaw__LeaveRoomRequest *request);
enum chat_decision chat_propose_topic(struct chat *chat, struct chat_call *call,
                                      const Jackdaw__SetTopicRequest *request);
enum chat_decision chat_propose_invite(struct chat *chat, struct chat_call *call,
                                       const Jackdaw__InviteRequest *request);
enum chat_decision chat_propose_kick(struct chat *chat, struct chat_call *call,
                                     const Jackdaw__KickRequest *request);
enum chat_decision chat_propose_send(struct chat *chat, struct chat_call *call,
                                     const Jackdaw__SendRequest *request);

/* A Delivered delta for the accounts whose delivered position changed since the last one; false
 * when there are none (or no memory). At most 256 accounts each. */
bool chat_propose_delivered(struct chat *chat, struct chat_call *call);

/* ---- applying ---- */

/* Writes delta, which gets the given position, into the state and the store's open transaction. The
 * caller appends the batch to the store's log itself. Positions must ascend. A delta keeps its own
 * time, also if the last one is later: it may come from the other side of a partition.
 * Errors: the store's, ERROR_NO_MEMORY, or ERROR_CORRUPT if the delta contradicts the state (a peer
 * or a log may hold any bytes); then the caller rolls back and calls chat_reload. ERROR_VERSION: delta
 * needs a higher level than chat_level(), and chat_apply has changed nothing. delta: borrowed. */
enum error chat_apply(struct chat *chat, const Jackdaw__Delta *delta, struct log_position position);

/* Notes an entry of the log that holds no chat (the list of members, with which every epoch
 * begins). The next delta comes after it, and its epoch, if new, begins there. The caller adds the
 * epoch to the store (store_add_epoch) in the same transaction. ERROR_CORRUPT: the position does
 * not ascend; ERROR_NO_MEMORY. */
enum error chat_pass(struct chat *chat, struct log_position position);

/* ---- merging ----
 *
 * Both sides of a partition may have written. When they meet, one log stays. The entries of the
 * other log after the common position are orphans, which the master merges delta by delta, in their
 * order. Lists of orphans may come several times, from several nodes, and end in the middle. For
 * each orphan:
 *
 *   - A request is its session's next one, or this log has it already (the client repeated it here).
 *     The last SESSIONS_ENDED_MAX ended sessions still count, so no request takes effect twice.
 *   - The master proposes the orphan as a new delta, `late`, with its own uid, author and time. The delta
 *     gets a new position and number. The merge keeps what the other side allowed: it keeps a message
 *     although its author has left the room here, a full room takes one more member, an account one
 *     more device. A request without an object (the kick of a member who has left) changes
 *     nothing, but uses up its number.
 *   - Two direct conversations of the same accounts become one, and so do public rooms of one name. Of
 *     two accounts with one name, or two rooms of which one is private, the merge renames the one
 *     that came later into this log: name~2, name~3 ... It keeps its sessions, password, members and
 *     messages. A NOTICE tells the account in its conversation with itself, or the room's members.
 *   - If the two logs contradict each other, this log is right: a ban of this log stays, and a
 *     request that was carried out here keeps the answer that it got here. One exception: a message
 *     that was accepted there and refused here is kept, once, and "accepted" is its answer from then on,
 *     because the other side may have acknowledged it. (This log keeps the last 256 answers of a session.)
 *   - Positions of received events belong to the other log, so the merge leaves them out. */
enum chat_merge {
    CHAT_KNOWN, /* the orphan is in this log, or has neither an effect here nor a number: done */
    CHAT_APPLY, /* the caller applies and logs call->delta, which completes the orphan */
    CHAT_WAIT, /* no decision is possible now; the caller offers the orphan again. call->text: the reason */
    CHAT_DROP, /* no log can apply the orphan: done. call->text: the reason */
};

/* Decides about the orphan. call: arena and times; its session has no meaning. CHAT_APPLY: call->delta
 * lies in the arena and borrows from orphan. chat_apply accepts the delta (never ERROR_CORRUPT) if no other
 * delta was applied in between. call->text is the reason of a change, for the log; "": unchanged.
 *
 * CHAT_WAIT: there is no memory, the database cannot be read, or a newer program wrote the orphan.
 *
 * The caller offers all orphans of a node in their order, so what comes before an orphan is in this log
 * already (replica.h, HEALING). This log forgets a session after SESSIONS_ENDED_MAX others have ended. The
 * messages of a forgotten session are applied, and bring it back as an ended session. */
enum chat_merge chat_merge_orphan(struct chat *chat, struct chat_call *call,
                                  const Jackdaw__Delta *orphan);

/* ---- answering ---- */

/* The outcome of a request of a session, from the store. text is copied into the arena.
 * ERROR_NOT_FOUND: not carried out, or out of the window; the session itself ended with a Logout or
 * DeleteAccount, whose outcome is that. */
struct chat_outcome {
    enum status status;
    const char *text;
    uint64_t room;
    uint64_t number;
    struct log_position position;
    uint64_t time_ms;
    bool created; /* JoinRoom made the room */
};
enum error chat_outcome_of(struct chat *chat, const struct chat_session *session, uint64_t request,
                           struct arena *arena, struct chat_outcome *out);

/* Replies, filled from the state as it is now; parts in the arena. Errors: ERROR_NO_MEMORY and the
 * store's. Requests that are refused (unknown room, not a member, bad pattern) give OK with
 * call->status and call->text set; else call->status is STATUS_OK. The reply lists undelivered
 * messages of at most CHAT_LIST_MAX conversations; Receive delivers all of them. */
enum error chat_answer_login(struct chat *chat, struct chat_call *call, Jackdaw__LoginReply *reply);
/* For Login without a session: the devices of call->account, and its name. */
enum error chat_answer_devices(struct chat *chat, struct chat_call *call,
                               Jackdaw__LoginReply *reply);
enum error chat_answer_heartbeat(struct chat *chat, struct chat_call *call,
                                 const Jackdaw__HeartbeatRequest *request,
                                 Jackdaw__HeartbeatReply *reply);
/* All but history, which chat_plan_history is for. Asked again for one who has left since, it tells
 * the room's name only. */
enum error chat_answer_join(struct chat *chat, struct chat_call *call,
                            const struct chat_outcome *outcome, Jackdaw__JoinRoomReply *reply);
enum error chat_answer_send(struct chat *chat, struct chat_call *call,
                            const struct chat_outcome *outcome, Jackdaw__SendReply *reply);
/* The unread messages of the account. Between chat_propose_delete and chat_apply, while there still
 * is an account; reads from the store on this thread. */
enum error chat_answer_delete(struct chat *chat, struct chat_call *call,
                              const Jackdaw__DeleteAccountRequest *request,
                              Jackdaw__DeleteAccountReply *reply);
enum error chat_answer_accounts(struct chat *chat, struct chat_call *call,
                                const Jackdaw__ListAccountsRequest *request,
                                Jackdaw__ListAccountsReply *reply);
enum error chat_answer_rooms(struct chat *chat, struct chat_call *call,
                             const Jackdaw__ListRoomsRequest *request,
                             Jackdaw__ListRoomsReply *reply);
enum error chat_answer_members(struct chat *chat, struct chat_call *call,
                               const Jackdaw__ListMembersRequest *request,
                               Jackdaw__ListMembersReply *reply);
void chat_answer_limits(const struct chat *chat, Jackdaw__Limits *limits);

/* Tells the others in a room that the caller is typing; refusals as above. */
enum error chat_set_typing(struct chat *chat, struct chat_call *call,
                           const Jackdaw__SetTypingRequest *request);

/* Emits the TYPING event that a master has emitted. */
void chat_tell_typing(struct chat *chat, uint64_t room, uint64_t account, bool is_typing,
                      uint64_t time_ms);

/* ---- reading the past: plan on the core thread, read anywhere, name on the core thread ---- */

/* Rows that were read, in an arena, in ascending order of seq. Pages of Receive have at most
 * CHAT_PAGE_EVENTS events and end with the delta that exceeds CHAT_PAGE_BYTES. A page holds whole
 * deltas. So a delta with more events makes a longer page, for example the deletion of an account
 * with many rooms. Events of History have no epoch yet, chat_event_fill knows it: is the master are
 * looked up on the core thread only, or carried in the plan. */
struct chat_page {
    struct chat_event *events;
    size_t count;
    struct log_position next; /* Receive: the page is complete up to here */
    bool more;                /* there is more to read */
};

/* A plan for chat_read, made by a chat_plan_*; self-contained (no pointer into the chat). Parts in
 * the arena it was made with. */
struct chat_plan;

/* History of a conversation the caller is in. limit 0: history_on_join. Refusals as above. */
enum error chat_plan_history(struct chat *chat, struct chat_call *call, const char *room,
                             uint64_t before, uint32_t limit, struct chat_plan **out);
/* Plans to read the events for the session's account after a position and up to until_seq. These
 * are open invitations and, of each conversation, the events during the account's last membership.
 * History has the events of earlier memberships. */
enum error chat_plan_receive(struct chat *chat, struct chat_call *call, uint64_t after_seq,
                             uint64_t until_seq, struct chat_plan **out);
/* Carries a plan out: any thread, with a store (or reader) of that thread's. */
enum error chat_read(const struct chat_plan *plan, struct store *store, struct arena *arena,
                     struct chat_page *page);

/* Gives an event its names as the account `viewer` sees them (a direct conversation is "@other").
 * Strings are borrowed from the event, the chat or the arena until the next chat call. */
enum error chat_event_fill(struct chat *chat, const struct chat_event *event, uint64_t viewer,
                           struct arena *arena, Jackdaw__Event *out);

/* Whether recipients of the event see it alike, so that it can be encoded once for all of them
 * (true for rooms, false for direct conversations). */
bool chat_event_is_shared(const struct chat *chat, const struct chat_event *event);

/* Calls visit for every session of every account that shall see the event; only meaningful inside
 * chat_observer.event. visit must not end sessions. */
void chat_each_recipient(struct chat *chat, const struct chat_event *event,
                         void (*visit)(void *context, struct chat_session *session), void *context);

/* Every session there is. visit must not end sessions. */
void chat_each_session(struct chat *chat,
                       void (*visit)(void *context, struct chat_session *session), void *context);

#endif
