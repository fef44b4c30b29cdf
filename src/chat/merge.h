/* SPDX-License-Identifier: MIT */
/* merge.h - merging an orphan: the verdicts of merge.c, and one merge_* per kind of delta (merge.c,
 * account.c). The functions of apply.h check the proposed deltas, as in chat_apply. Core thread only. */
#ifndef JACKDAW_CHAT_MERGE_H
#define JACKDAW_CHAT_MERGE_H

#include "chat/apply.h"

/* An orphan that is being merged. apply.delta is `late`, the delta to propose. apply.session is the
 * session of its request, which may have ended. */
struct merge {
    struct apply apply;
    struct chat *chat;
    struct chat_call *call;
    Jackdaw__Delta *late;
};

/* ---- verdicts ---- */

enum chat_merge merge_propose(struct merge *merge);
enum chat_merge merge_drop(struct merge *merge, const char *why);
enum chat_merge merge_wait(struct merge *merge, const char *what);
enum chat_merge merge_no_memory(struct merge *merge);

/* The orphan has no effect any more, but uses up the number of its request, if it has one. */
enum chat_merge merge_no_effect(struct merge *merge, uint64_t room, const char *why);
/* The same for an acknowledged message that cannot be kept: a repetition gets this refusal. */
enum chat_merge merge_refuse(struct merge *merge, const char *why);

/* ---- names ---- */

/* name followed by ~2, ~3 ...: the first that is_free. False: there is none. */
bool merge_find_name(struct merge *merge, const char *name, uint64_t id,
                     bool (*is_free)(const struct state *state, const char *folded),
                     char out[static CHAT_NAME_BYTES_MAX]);

/* Sets the notice of what is proposed. False: no memory. */
bool merge_notice(struct merge *merge, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- kinds ---- */

enum chat_merge merge_registered(struct merge *merge);
enum chat_merge merge_deleted(struct merge *merge);
enum chat_merge merge_started(struct merge *merge);
enum chat_merge merge_ended(struct merge *merge);
enum chat_merge merge_joined(struct merge *merge);
enum chat_merge merge_left(struct merge *merge);
enum chat_merge merge_topic(struct merge *merge);
enum chat_merge merge_invited(struct merge *merge);
enum chat_merge merge_message(struct merge *merge);
enum chat_merge merge_delivered(struct merge *merge);
enum chat_merge merge_refused(struct merge *merge);
enum chat_merge merge_unchanged(struct merge *merge);

/* Decides about an orphan whose request was carried out here, too. CHAT_APPLY: propose it nevertheless. */
enum chat_merge merge_again(struct merge *merge);

#endif
