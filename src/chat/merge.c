/* SPDX-License-Identifier: MIT */
/* Merges orphans of the other side of a partition. For each kind of delta, decides whether it is
 * known, applies unchanged, is rewritten, or must wait. */
#include "base/text.h"
#include "chat/delta_kind.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SUFFIXES_TRIED 99 /* name~2 ... name~99; then one with the unique id */
#define SUFFIX_BYTES_MAX 20

/* ---- verdicts ---- */

enum chat_merge merge_drop(struct merge *merge, const char *why)
{
    merge->call->text = why;
    return CHAT_DROP;
}

enum chat_merge merge_wait(struct merge *merge, const char *what)
{
    merge->call->text = what;
    return CHAT_WAIT;
}

enum chat_merge merge_no_memory(struct merge *merge)
{
    return merge_wait(merge, "no memory");
}

enum chat_merge merge_propose(struct merge *merge)
{
    merge->call->delta = merge->late;
    return CHAT_APPLY;
}

enum chat_merge merge_no_effect(struct merge *merge, uint64_t room, const char *why)
{
    if (merge->late->request == 0)
        return merge_drop(merge, why);
    Jackdaw__Unchanged *unchanged =
        chat_arena_message(merge->call->arena, &jackdaw__unchanged__descriptor);
    if (unchanged == NULL)
        return merge_no_memory(merge);
    if (state_room(&merge->chat->state, room) != NULL)
        unchanged->room = room;
    merge->late->change_case = JACKDAW__DELTA__CHANGE_UNCHANGED;
    merge->late->unchanged = unchanged;
    merge->call->text = why;
    return merge_propose(merge);
}

enum chat_merge merge_refuse(struct merge *merge, const char *why)
{
    const struct chat_session *session = merge->apply.session; /* NULL: forgotten */
    if (session == NULL || merge->late->request <= session->last_request)
        return merge_drop(merge, why);
    Jackdaw__Refused *refused =
        chat_arena_message(merge->call->arena, &jackdaw__refused__descriptor);
    if (refused == NULL)
        return merge_no_memory(merge);
    refused->status = STATUS_FAILED_PRECONDITION;
    refused->message = (char *)(uintptr_t)why;
    merge->late->change_case = JACKDAW__DELTA__CHANGE_REFUSED;
    merge->late->refused = refused;
    merge->call->text = why;
    return merge_propose(merge);
}

/* ---- names ---- */

/* The first characters of text and suffix, together as many as a name may have. */
static void shorten(const char *text, size_t characters, const char *suffix,
                    char out[static CHAT_NAME_BYTES_MAX])
{
    size_t used = 0;
    for (size_t i = 0; i < characters && text[used] != '\0'; i++) {
        uint32_t character;
        used += text_decode(text + used, &character);
    }
    memcpy(out, text, used);
    memcpy(out + used, suffix, strlen(suffix) + 1);
}

bool merge_find_name(struct merge *merge, const char *name, uint64_t id,
                     bool (*is_free)(const struct state *state, const char *folded),
                     char out[static CHAT_NAME_BYTES_MAX])
{
    for (unsigned i = 2; i <= SUFFIXES_TRIED + 1; i++) {
        char suffix[SUFFIX_BYTES_MAX];
        if (i <= SUFFIXES_TRIED)
            (void)snprintf(suffix, sizeof suffix, "~%u", i);
        else
            (void)snprintf(suffix, sizeof suffix, "~%llx", (unsigned long long)id);
        shorten(name, CHAT_NAME_CHARACTERS_MAX - strlen(suffix), suffix, out);
        struct name checked;
        if (name_accept(out, &checked) && is_free(&merge->chat->state, checked.folded))
            return true;
    }
    return false;
}

bool merge_notice(struct merge *merge, const char *format, ...)
{
    char text[CHAT_NOTICE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    merge->late->notice = arena_strdup(merge->call->arena, text);
    return merge->late->notice != NULL;
}

/* ---- outcomes, and what was received ---- */

/* How far an account has received the other log says nothing about this one. Clients tell their
 * cursor and trail themselves. */
enum chat_merge merge_delivered(struct merge *merge)
{
    (void)merge;
    return CHAT_KNOWN;
}

enum chat_merge merge_refused(struct merge *merge)
{
    return apply_fits_refused(&merge->apply) ? merge_propose(merge)
                                             : merge_no_effect(merge, 0, "it is malformed");
}

enum chat_merge merge_unchanged(struct merge *merge)
{
    return merge_no_effect(merge, merge->late->unchanged->room, "");
}

/* ---- all ---- */

static bool is_well_formed(const struct delta_kind *kind, const Jackdaw__Delta *delta)
{
    if (delta->session == 0 && delta->request == 0)
        return kind->uid != UID_NEEDED;
    return kind->uid != UID_NONE && delta->session != 0 && delta->request != 0;
}

/* The session has ended, and so many others since that it was forgotten, or its account was deleted. A
 * message is kept all the same: chat_apply brings the session back as an ended one. */
static enum chat_merge missing_session(struct merge *merge)
{
    const Jackdaw__Delta *late = merge->late;
    bool is_message = late->change_case == JACKDAW__DELTA__CHANGE_MESSAGE_SENT;
    if (is_message && state_account(&merge->chat->state, late->message_sent->account) != NULL)
        return CHAT_APPLY;
    return merge_drop(merge, is_message ? "its account was deleted" : "its session has ended");
}

/* Whose request it is, and whether it was carried out here. CHAT_APPLY: it was not, or it is nobody's. */
static enum chat_merge check_number(struct merge *merge)
{
    const Jackdaw__Delta *late = merge->late;
    const struct state *state = &merge->chat->state;
    if (late->session == 0 && late->request == 0)
        return CHAT_APPLY;
    struct chat_session *session = state_session(state, late->session);
    if (session == NULL)
        session = state_ended_session(state, late->session);
    if (session == NULL)
        return missing_session(merge);
    merge->apply.session = session;
    return late->request <= session->last_request ? merge_again(merge) : CHAT_APPLY;
}

enum chat_merge chat_merge_orphan(struct chat *chat, struct chat_call *call,
                                  const Jackdaw__Delta *orphan)
{
    chat_call_begin(call);
    struct merge merge = {.chat = chat, .call = call, .apply = {.chat = chat}};
    const struct delta_kind *kind = delta_kind_of(orphan);
    if (kind == NULL)
        return merge_wait(&merge, "this program does not know what it is");
    if (!is_well_formed(kind, orphan))
        return merge_drop(&merge, "it is malformed");
    merge.late = arena_copy(call->arena, orphan, sizeof *orphan);
    if (merge.late == NULL)
        return merge_no_memory(&merge);
    merge.late->late = true;
    merge.late->notice_room = 0;
    if (!orphan->late || !apply_fits_notice(orphan))
        merge.late->notice = (char *)(uintptr_t) "";
    merge.apply.delta = merge.late;
    enum chat_merge verdict = check_number(&merge);
    return verdict == CHAT_APPLY ? kind->merge(&merge) : verdict;
}
