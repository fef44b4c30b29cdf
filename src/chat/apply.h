/* SPDX-License-Identifier: MIT */
/* apply.h - how a delta is carried out: one apply_* per kind, in the table of apply.c.
 *
 * Each works in this order: check the delta against the state (ERROR_CORRUPT), reserve memory,
 * write rows and the outcome, then emit events and change the lists, which cannot fail. After an
 * error the caller rolls back and reloads, so nothing is undone here; every pointer stays valid. */
#ifndef JACKDAW_CHAT_APPLY_H
#define JACKDAW_CHAT_APPLY_H

#include "chat/chat_internal.h"

struct apply {
    struct chat *chat;
    const Jackdaw__Delta *delta;
    struct position position;
    struct chat_session *session; /* whose request it was; NULL: nobody's, or it has ended */
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

/* ---- whether a delta fits the state (else it is ERROR_CORRUPT): also for taking over ---- */

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

/* Whether account did it: nobody else's request may say so. */
bool apply_is_by(const struct apply *apply, uint64_t account);

/* A row of the timeline of room as of this delta; the text is borrowed. */
struct timeline_row apply_row(const struct apply *apply, const struct room *room,
                              Jackdaw__Event__Kind kind, uint64_t account, uint64_t subject,
                              const char *text);
/* Stores it and moves the room's last event (and number) on. */
enum error apply_store_row(struct apply *apply, struct room *room, const struct timeline_row *row);
/* Tells the observer what the row tells. */
void apply_emit_row(struct apply *apply, const struct timeline_row *row);

/* Stores and tells what the delta has to say to those in the room, if anything. */
enum error apply_notice(struct apply *apply, struct room *room, uint64_t account);

/* The same for the event that tells who owns the room from now on, 0: nobody, which is no event.
 * The first also writes the room's row; in memory the room's owner is left as it is. */
enum error apply_store_owner(struct apply *apply, struct room *room, uint64_t owner);
void apply_emit_owner(struct apply *apply, const struct room *room, uint64_t owner);

/* A conversation of two people (or one), nothing of whom is a member yet but must be known here,
 * except for a late delta the second. */
enum error apply_make_direct(struct apply *apply, uint64_t id, struct account *account,
                             uint64_t peer, struct room **out);
/* A room with a name, in memory only, with nobody in it. ERROR_CORRUPT: not such a name or id. */
enum error apply_make_room(struct apply *apply, uint64_t id, const char *shown, bool is_private,
                           struct room **out);
/* The account comes into the room, as its owner where nobody is in it. Tells it. */
enum error apply_enter(struct apply *apply, struct account *account, struct room *room);

enum error apply_put_room(struct apply *apply, const struct room *room, uint64_t owner);
enum error apply_put_member(struct apply *apply, const struct member *member);

/* Who owns the room once leaver has gone; 0: nobody. */
uint64_t apply_successor(const struct room *room, uint64_t leaver);

/* Forgets the oldest of too many places that the account was in or is invited to. */
enum error apply_forget_past_membership(struct apply *apply, struct account *account);

/* Writes the outcome of the request, if there was one; session, request, seq and time are filled
 * in here. */
enum error apply_outcome(struct apply *apply, struct outcome_row row);

/* Ends a session: row, observer, memory. What it has done stays known for a while
 * (SESSIONS_ENDED_MAX). Whether its account is online may have changed: see presence_emit. */
enum error apply_end_session(struct apply *apply, struct chat_session *session);
/* The session, ended or not, leaves no trace. Its request, if it is the one carried out, then needs
 * no outcome. */
enum error apply_forget_session(struct apply *apply, struct chat_session *session);

#endif
