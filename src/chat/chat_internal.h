/* SPDX-License-Identifier: MIT */
/* chat_internal.h - what the files of src/chat share: the chat itself, finding what a request
 * names, making its delta or its refusal. Core thread only. */
#ifndef JACKDAW_CHAT_CHAT_INTERNAL_H
#define JACKDAW_CHAT_CHAT_INTERNAL_H

#include "batch/batch.h"
#include "chat/chat.h"
#include "chat/state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAT_MESSAGE_BYTES_MAX 1048576u /* the highest that limits.message_bytes may be */
#define CHAT_REFUSAL_BYTES_MAX 512u
#define CHAT_NOTICE_BYTES_MAX 512u
#define CHAT_RETRY_MS 100u /* for what a moment may mend: a gap in the requests */
#define CHAT_RETRY_MEMORY_MS 1000u
#define CHAT_SALTS 64u /* kept in memory */

/* Flag of struct outcome_row: JoinRoom made the room. Databases hold flags: never reuse a number. */
#define OUTCOME_CREATED 1u

struct chat {
    struct store *store;
    struct chat_limits limits;
    struct chat_observer observer;
    struct chat_random random;
    uint8_t salts[CHAT_SALTS][BATCH_SALT_BYTES]; /* random; drawn many at once */
    size_t salts_left;
    struct state state;
    uint64_t monotonic_ms; /* the latest told */
    /* The last outcome applied, if it was not a refusal: usually the next one that is read. */
    struct outcome_row last_outcome; /* session 0: none */
};

/* ---- chat.c ---- */

/* Fills an empty state from the store's rows. */
enum error load_state(struct state *state, struct store *store, struct error_text *why);

/* Random ids, never 0 and never one in use. OK, ERROR_INTERNAL when the generator only repeats
 * itself, or the store's errors. */
enum error id_new_account(struct chat *chat, uint64_t *id);
enum error id_new_session(struct chat *chat, uint64_t *id);
enum error id_new_room(struct chat *chat, uint64_t *id);

/* ERROR_EXISTS: an account of this id was there before it was deleted; OK: none was. */
enum error id_check_account_unused(struct chat *chat, uint64_t id);

/* ---- propose.c ---- */

/* Clears what a call before may have left. */
void chat_call_begin(struct chat_call *call);

/* Always CHAT_REFUSE, with the sentence in call->text. */
enum chat_decision chat_call_refuse(struct chat_call *call, enum status status, const char *format,
                                    ...) __attribute__((format(printf, 3, 4)));

/* Refuses for a reason that is the server's and passes: with retry_ms, never an outcome. */
enum chat_decision chat_call_fail(struct chat_call *call, enum error error);

/* CHAT_PROPOSE with a delta of this change, which lies in the arena (NULL: no memory). Request 0:
 * not a numbered one. */
enum chat_decision chat_call_propose(struct chat *chat, struct chat_call *call, uint64_t request,
                                     Jackdaw__Delta__ChangeCase change_case, void *change);

/* Gives a new text its salt, in the arena (batch.h). False: no memory. */
bool chat_call_salt(struct chat *chat, struct chat_call *call, ProtobufCBinaryData *salt);

/* Adds the name of the room, if it is one with a name (NULL: there is none yet), to what was
 * proposed. */
enum chat_decision chat_call_name_room(struct chat_call *call, enum chat_decision decision,
                                       const struct room *room);

/* CHAT_PROPOSE with a delta that only remembers that the request was fine. */
enum chat_decision chat_call_unchanged(struct chat *chat, struct chat_call *call, uint64_t request,
                                       const struct room *room);

/* The time of the call, or that of the last delta, which is later by CHAT_TIME_SLACK_MS at most. */
uint64_t chat_call_time(const struct chat *chat, const struct chat_call *call);

/* The latest of the monotonic clock; it never goes back. */
uint64_t chat_now(struct chat *chat, uint64_t monotonic_ms);

/* A protobuf message in the arena with its default values; NULL: no memory. */
void *chat_arena_message(struct arena *arena, const ProtobufCMessageDescriptor *descriptor);

/* A string for a reply, in the arena. On no memory returns NULL. */
char *chat_arena_address(struct arena *arena, char sign, const char *name); /* "#name", "@name" */

/* ---- resolve.c ---- */

/* The account that "name" or "@name" means; NULL: refused. */
struct account *resolve_account(struct chat *chat, struct chat_call *call, const char *text);

/* The room that "name" or "#name" means, if the caller may know of it; NULL: refused. */
struct room *resolve_room(struct chat *chat, struct chat_call *call, const char *text);

/* The same, if the caller is in it. */
struct room *resolve_room_of_caller(struct chat *chat, struct chat_call *call, const char *text);

/* A room the caller is in, or a person. */
struct conversation {
    struct room *room; /* NULL: the conversation does not exist yet */
    uint64_t peer;     /* 0: a room; else the other account, which may be deleted */
    bool is_peer_gone;
};
bool resolve_conversation(struct chat *chat, struct chat_call *call, const char *text,
                          struct conversation *out);

/* Whether the account may know that the room exists. */
bool resolve_is_visible(const struct room *room, const struct account *account);

/* How the account sees the conversation named: "name" or "@other", in the arena; NULL: no memory.
 * room NULL: a room that no longer exists, of the given id. */
char *resolve_conversation_name(const struct chat *chat, const struct room *room, uint64_t id,
                                uint64_t viewer, struct arena *arena);

/* The name of an account, also of one that is no more; in the arena where it is not the state's. */
const char *resolve_account_name(const struct chat *chat, uint64_t id, struct arena *arena);

/* ---- account.c ---- */

/* *hash: the account's password hash, in the arena. ERROR_NO_MEMORY and the store's errors. */
enum error account_hash(struct chat *chat, uint64_t account, struct arena *arena,
                        const char **hash);

/* ---- session.c ---- */

/* When the session may count as silent, at least 1. */
uint32_t session_silent_in_ms(const struct chat *chat, const struct chat_session *session);

/* ---- delivery.c ---- */

/* The event of a row of the timeline; the text is the row's. */
struct chat_event event_of_row(const struct timeline_row *row, uint64_t epoch);

/* Whether the account may see what the row tells (an invitation is for the invited one alone). */
static inline bool event_is_for(const struct timeline_row *row, uint64_t account)
{
    return row->kind != JACKDAW__EVENT__KIND__INVITED || row->subject == account;
}

void event_emit(struct chat *chat, const struct chat_event *event);

/* ---- presence.c ---- */

/* Tells those who share a conversation with the account whether it is online now. */
void presence_emit(struct chat *chat, const struct account *account, uint64_t time_ms);

bool presence_is_silent(const struct chat *chat, const struct chat_session *session);

/* ---- delivery.c ---- */

/* How many messages of the conversation no device of the member's account received. */
enum error delivery_count_undelivered(struct chat *chat, const struct member *member,
                                      uint64_t *count);

/* Writes the conversations with at least one to *list (of *count, at most CHAT_LIST_MAX), in the
 * arena; *total: the messages of all of them. */
enum error delivery_list_undelivered(struct chat *chat, const struct account *account,
                                     struct arena *arena, Jackdaw__Undelivered ***list,
                                     size_t *count, uint64_t *total);

/* Computes the part of (from, to] that the member may see; false: none. */
bool delivery_window(const struct member *member, uint64_t after_seq, uint64_t until_seq,
                     uint64_t *from, uint64_t *to);

#endif
