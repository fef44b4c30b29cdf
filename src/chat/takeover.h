/* SPDX-License-Identifier: MIT */
/* takeover.h - what the files of taking over share: takeover.c (numbers, outcomes, the table of
 * kinds), takeover_account.c, takeover_room.c. What is proposed is checked with the same functions
 * that chat_apply checks with (apply.h). */
#ifndef JACKDAW_CHAT_TAKEOVER_H
#define JACKDAW_CHAT_TAKEOVER_H

#include "chat/apply.h"

/* One orphan on its way. apply.delta is `late`, what will be proposed, apply.session whose request
 * it is, which may have ended. */
struct taking {
    struct apply apply;
    struct chat *chat;
    struct chat_call *call;
    Jackdaw__Delta *late;
    bool gives_up; /* nothing is waited for that may never come */
};

/* ---- verdicts ---- */

enum chat_taking taking_propose(struct taking *taking);
/* What is proposed is not the orphan, but what has to be there before: nobody's request. */
enum chat_taking taking_propose_first(struct taking *taking);
enum chat_taking taking_drop(struct taking *taking, const char *why);
enum chat_taking taking_wait(struct taking *taking, const char *what);
enum chat_taking taking_no_memory(struct taking *taking);

/* It has no effect any more, but the number of the request, if it has one, is used up. */
enum chat_taking taking_settle(struct taking *taking, uint64_t room, const char *why);
/* The same for a message that was promised and cannot be kept: who asks again is told so. */
enum chat_taking taking_refuse(struct taking *taking, const char *why);

/* ---- names ---- */

/* name followed by ~2, ~3 ...: the first that is_free. False: there is none. */
bool taking_find_name(struct taking *taking, const char *name, uint64_t id,
                      bool (*is_free)(const struct state *state, const char *folded),
                      char out[static CHAT_NAME_BYTES_MAX]);

/* Sets the notice of what is proposed. False: no memory. */
bool taking_say(struct taking *taking, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- kinds ---- */

enum chat_taking take_registered(struct taking *taking);
enum chat_taking take_deleted(struct taking *taking);
enum chat_taking take_started(struct taking *taking);
enum chat_taking take_ended(struct taking *taking);
enum chat_taking take_joined(struct taking *taking);
enum chat_taking take_left(struct taking *taking);
enum chat_taking take_topic(struct taking *taking);
enum chat_taking take_invited(struct taking *taking);
enum chat_taking take_message(struct taking *taking);

/* The orphan is a request that was carried out here, too. CHAT_APPLY: it is to be taken all the
 * same. */
enum chat_taking take_again(struct taking *taking);

/* For what an account that is not here did: was it ever? */
enum chat_taking taking_missing_account(struct taking *taking, uint64_t account);

/* The session of the orphan, which is in nobody's log any more: one that nobody can use. */
enum chat_taking taking_make_session(struct taking *taking, uint64_t account);

#endif
