/* SPDX-License-Identifier: MIT */
/* apply.h - applies a delta: one apply_* per kind, in the table of delta_kind.c.
 *
 * Each function checks the delta against the state (ERROR_CORRUPT), reserves memory, writes rows
 * and the outcome, and then emits events and changes the lists, which cannot fail. After an error
 * the caller rolls back and reloads, so the functions undo nothing; every pointer stays valid. */
#ifndef JACKDAW_CHAT_APPLY_H
#define JACKDAW_CHAT_APPLY_H

#include "chat/chat_internal.h"

struct apply {
    struct chat *chat;
    const Jackdaw__Delta *delta;
    struct log_position position;
    struct chat_session *session; /* the session of the request; NULL: none, or it has ended */
    bool is_answered;             /* its outcome was written, or went with its session */
};

enum error apply_account_registered(struct apply *apply);
enum error apply_account_deleted(struct apply *apply);
enum error apply_session_started(struct apply *apply);
enum error apply_session_ended(struct apply *apply);
enum error apply_room_joined(struct apply *apply);
enum error apply_room_left(struct apply *apply);
enum error apply_topic_set(struct apply *apply);
enum error apply_invited(struct apply *apply);
enum error apply_message_sent(struct apply *apply);
enum error apply_delivered(struct apply *apply);
enum error apply_refused(struct apply *apply);
enum error apply_unchanged(struct apply *apply);

/* ---- whether a delta fits the state (else it is ERROR_CORRUPT): also for merging ---- */

bool apply_fits_notice(const Jackdaw__Delta *delta);
bool apply_fits_registered(const struct apply *apply, struct name *name); /* if its name is free */
bool apply_fits_started(const struct apply *apply); /* if the account and what it replaces exist */
bool apply_may_enter(const struct apply *apply, const struct room *room,
                     const struct account *account);
bool apply_fits_left(const struct apply *apply);
bool apply_fits_topic(const struct apply *apply);
bool apply_fits_invited(const struct apply *apply);
bool apply_fits_message(const struct apply *apply); /* if the conversation exists or can be made */
bool apply_fits_refused(const struct apply *apply);

/* ---- what they share ---- */

/* Returns whether account is the author of the delta's request, if it has one. */
bool apply_is_by(const struct apply *apply, uint64_t account);

/* A row of the timeline of room as of this delta; the text is borrowed. */
struct timeline_row apply_row(const struct apply *apply, const struct room *room,
                              Jackdaw__Event__Kind kind, uint64_t account, uint64_t subject,
                              const char *text);
/* Stores it and moves the room's last event (and number) on. */
enum error apply_store_row(struct apply *apply, struct room *room, const struct timeline_row *row);
/* Emits the row's event to the observer. */
void apply_emit_row(struct apply *apply, const struct timeline_row *row);

/* Stores and emits the delta's notice to the members of the room, if it has one. */
enum error apply_notice(struct apply *apply, struct room *room, uint64_t account);

/* The same for the event about the new owner of the room; owner 0: none, and no event. The first
 * also writes the room's row; in memory the room's owner is left as it is. */
enum error apply_store_owner(struct apply *apply, struct room *room, uint64_t owner);
void apply_emit_owner(struct apply *apply, const struct room *room, uint64_t owner);

/* Creates a conversation of two accounts (or one). Both accounts must exist; for a late delta only
 * the first must. */
enum error apply_make_direct(struct apply *apply, uint64_t id, struct account *account,
                             uint64_t peer, struct room **out);
/* Creates a room with a name, in memory only, without members. ERROR_CORRUPT: the name or the id is
 * not valid. */
enum error apply_make_room(struct apply *apply, uint64_t id, const char *shown, bool is_private,
                           struct room **out);
/* Makes the account a member of the room, or the owner of an empty room, and emits the event. */
enum error apply_enter(struct apply *apply, struct account *account, struct room *room);

enum error apply_put_room(struct apply *apply, const struct room *room, uint64_t owner);
enum error apply_put_member(struct apply *apply, const struct member *member);

/* Returns the owner of the room after leaver has left; 0: none. */
uint64_t apply_successor(const struct room *room, uint64_t leaver);

/* Forgets the oldest of too many places that the account was in or is invited to. */
enum error apply_forget_past_membership(struct apply *apply, struct account *account);

/* Writes the outcome of the request, if there was one; session, request, seq and time are filled
 * in here. */
enum error apply_outcome(struct apply *apply, struct outcome_row row);

/* Ends a session: row, observer, memory. The requests of the session stay known until
 * SESSIONS_ENDED_MAX later sessions have ended. Whether its account is online may have changed: see
 * presence_emit. */
enum error apply_end_session(struct apply *apply, struct chat_session *session);
/* Makes the session of the delta, which is not known, an ended one of the account, without requests. */
enum error apply_bring_back(struct apply *apply, struct account *account);

/* Removes the session, ended or not, and all that is known of it. If the delta is a request of this
 * session, the request needs no outcome. */
enum error apply_forget_session(struct apply *apply, struct chat_session *session);

#endif
