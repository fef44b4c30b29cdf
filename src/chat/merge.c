/* SPDX-License-Identifier: MIT */
/* Merges orphans of the other side of a partition. For each kind of delta, decides whether it is
 * known, applies unchanged, is rewritten, or must wait. */
#include "chat/merge.h"

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

/* ---- rooms and messages ---- */

/* ---- rooms ---- */

static bool room_name_is_free(const struct state *state, const char *folded)
{
    return state_room_named(state, folded) == NULL;
}

/* The room of the orphan: the same one, or the one that took its place: of that name, and who did it
 * is in it. NULL: there is none. */
static const struct room *find_same(struct merge *merge, uint64_t id, uint64_t author)
{
    const struct state *state = &merge->chat->state;
    const struct room *room = state_room(state, id);
    const struct account *account = state_account(state, author);
    struct name name;
    if (room != NULL || account == NULL || merge->late->room_name == NULL ||
        !name_accept(merge->late->room_name, &name))
        return room;
    room = state_room_named(state, name.folded);
    return room != NULL && member_is_in(state_member(account, room)) ? room : NULL;
}

static bool say_room_was_renamed(struct merge *merge, const char *now, const char *wanted)
{
    return merge_notice(
        merge,
        "This room is #%s now: while servers were cut off from each other, another room was "
        "made as #%s.",
        now, wanted);
}

/* Makes the room of the orphan here, under the name it had or one like it. */
static enum chat_merge make_room(struct merge *merge, Jackdaw__RoomJoined *joined,
                                 const char *wanted)
{
    struct name name;
    if (joined->room == 0 || !name_accept(wanted, &name))
        return merge_no_effect(merge, 0, "it is malformed");
    joined->name = (char *)(uintptr_t)wanted;
    if (room_name_is_free(&merge->chat->state, name.folded))
        return merge_propose(merge);
    char other[CHAT_NAME_BYTES_MAX];
    if (!merge_find_name(merge, wanted, joined->room, room_name_is_free, other))
        return merge_no_effect(merge, 0, "its name is taken, and so are all like it");
    joined->name = arena_strdup(merge->call->arena, other);
    if (joined->name == NULL || !say_room_was_renamed(merge, other, wanted))
        return merge_no_memory(merge);
    return merge_propose(merge);
}

/* Enters an existing room. If the room was renamed, adds a notice. */
static enum chat_merge enter_room(struct merge *merge, Jackdaw__RoomJoined *joined,
                                  const struct room *room, const char *wanted)
{
    const struct account *account = state_account(&merge->chat->state, joined->account);
    if (!apply_may_enter(&merge->apply, room, account))
        return merge_no_effect(merge, room->id, "they are in the room already, or banned from it");
    joined->room = room->id;
    joined->name = (char *)(uintptr_t) "";
    /* For a later merge on a side that does not know the room. */
    merge->late->room_name = (char *)(uintptr_t)(wanted[0] != '\0' ? wanted : room->name);
    struct name name;
    if (name_accept(wanted, &name) && strcmp(name.folded, room->folded) != 0 &&
        !say_room_was_renamed(merge, room->name, wanted))
        return merge_no_memory(merge);
    return merge_propose(merge);
}

/* Two public rooms of one name are one room: any user may enter either, and clients keep using the
 * name. A private room stays separate, except for users invited here, too. */
static const struct room *find_merged(const struct state *state, const Jackdaw__RoomJoined *joined,
                                      const char *wanted)
{
    struct name name;
    if (!name_accept(wanted, &name))
        return NULL;
    const struct room *room = state_room_named(state, name.folded);
    if (room == NULL || (!joined->private_ && !room->is_private))
        return room;
    const struct member *member = state_member(state_account(state, joined->account), room);
    return member != NULL && member->state == MEMBER_INVITED ? room : NULL;
}

enum chat_merge merge_joined(struct merge *merge)
{
    const struct state *state = &merge->chat->state;
    const Jackdaw__RoomJoined *old = merge->late->room_joined;
    if (state_account(state, old->account) == NULL || !apply_is_by(&merge->apply, old->account))
        return merge_no_effect(merge, old->room, "it is malformed");
    Jackdaw__RoomJoined *joined = arena_copy(merge->call->arena, old, sizeof *old);
    if (joined == NULL)
        return merge_no_memory(merge);
    merge->late->room_joined = joined;
    const char *wanted = old->name[0] != '\0' ? old->name : merge->late->room_name;
    const struct room *room = find_same(merge, old->room, old->account);
    if (room == NULL)
        room = find_merged(state, old, wanted);
    return room != NULL ? enter_room(merge, joined, room, wanted)
                        : make_room(merge, joined, wanted);
}

enum chat_merge merge_left(struct merge *merge)
{
    Jackdaw__RoomLeft *left = arena_copy(merge->call->arena, merge->late->room_left, sizeof *left);
    if (left == NULL)
        return merge_no_memory(merge);
    merge->late->room_left = left;
    const struct room *room =
        find_same(merge, left->room, left->by != 0 ? left->by : left->account);
    if (room != NULL)
        left->room = room->id;
    return apply_fits_left(&merge->apply)
               ? merge_propose(merge)
               : merge_no_effect(merge, left->room, "they left already, or it is not theirs to do");
}

enum chat_merge merge_topic(struct merge *merge)
{
    Jackdaw__TopicSet *set = arena_copy(merge->call->arena, merge->late->topic_set, sizeof *set);
    if (set == NULL)
        return merge_no_memory(merge);
    merge->late->topic_set = set;
    const struct room *room = find_same(merge, set->room, set->account);
    if (room != NULL)
        set->room = room->id;
    bool is_same = room != NULL && set->topic != NULL && strcmp(room->topic, set->topic) == 0;
    if (is_same || !apply_fits_topic(&merge->apply))
        return merge_no_effect(merge, set->room,
                               "the topic is that already, or they are not in the room");
    return merge_propose(merge);
}

enum chat_merge merge_invited(struct merge *merge)
{
    Jackdaw__Invited *invited =
        arena_copy(merge->call->arena, merge->late->invited, sizeof *invited);
    if (invited == NULL)
        return merge_no_memory(merge);
    merge->late->invited = invited;
    const struct room *room = find_same(merge, invited->room, invited->by);
    if (room != NULL)
        invited->room = room->id;
    return apply_fits_invited(&merge->apply)
               ? merge_propose(merge)
               : merge_no_effect(merge, invited->room,
                                 "they are in already or invited, or who invited them is not");
}

/* ---- messages ---- */

static enum chat_merge merge_direct(struct merge *merge, Jackdaw__MessageSent *sent)
{
    const struct state *state = &merge->chat->state;
    const struct room *room = state_room_direct(state, sent->account, sent->peer);
    if (room != NULL)
        sent->room = room->id; /* created on both sides: this room stays */
    else if (sent->room == 0 || state_room(state, sent->room) != NULL)
        return merge_refuse(merge, "The message was malformed.");
    return merge_propose(merge);
}

static enum chat_merge make_with_message(struct merge *merge, Jackdaw__MessageSent *sent,
                                         const char *name)
{
    if (sent->room == 0)
        return merge_refuse(merge, "The message was malformed.");
    sent->made_as = arena_strdup(merge->call->arena, name);
    if (sent->made_as == NULL ||
        !merge_notice(
            merge,
            "This room is #%s: it holds what was said in a room that is no more while servers were "
            "cut off from each other.",
            name))
        return merge_no_memory(merge);
    return merge_propose(merge);
}

/* The room does not exist here: no join of it was merged, or it was deleted. */
static enum chat_merge merge_into_new_room(struct merge *merge, Jackdaw__MessageSent *sent)
{
    char name[CHAT_NAME_BYTES_MAX];
    const char *wanted = merge->late->room_name;
    struct name checked;
    if (wanted == NULL || !name_accept(wanted, &checked))
        wanted = "room";
    else if (room_name_is_free(&merge->chat->state, checked.folded))
        return make_with_message(merge, sent, wanted);
    if (!merge_find_name(merge, wanted, sent->room, room_name_is_free, name))
        return merge_refuse(merge, "The room of the message is no more.");
    return make_with_message(merge, sent, name);
}

enum chat_merge merge_message(struct merge *merge)
{
    if (!apply_fits_message(&merge->apply))
        return merge_refuse(merge, "The message was malformed.");
    Jackdaw__MessageSent *sent =
        arena_copy(merge->call->arena, merge->late->message_sent, sizeof *sent);
    if (sent == NULL)
        return merge_no_memory(merge);
    sent->made_as = (char *)(uintptr_t) "";
    merge->late->message_sent = sent;
    if (sent->peer != 0)
        return merge_direct(merge, sent);
    const struct room *room = find_same(merge, sent->room, sent->account);
    if (room == NULL)
        return merge_into_new_room(merge, sent);
    sent->room = room->id;
    return room_is_direct(room) ? merge_refuse(merge, "The message was malformed.")
                                : merge_propose(merge);
}

/* ---- messages that were refused here ---- */

static enum error note_status(void *context, const struct outcome_row *row)
{
    *(bool *)context = row->status != STATUS_OK;
    return OK;
}

/* Decides about a request that was carried out here, too. A message that was accepted there may have
 * been acknowledged, so it is kept (CHAT_APPLY) even if this log refused it (its room had another
 * name by then). The outcome is then "accepted", so a third side of the partition adds nothing. */
enum chat_merge merge_again(struct merge *merge)
{
    const Jackdaw__Delta *late = merge->late;
    uint64_t behind = merge->apply.session->last_request - late->request;
    bool was_refused = false;
    if (late->change_case != JACKDAW__DELTA__CHANGE_MESSAGE_SENT || behind >= STORE_OUTCOME_WINDOW)
        return CHAT_KNOWN;
    enum error error = store_get_outcome(merge->chat->store, late->session, late->request,
                                         note_status, &was_refused);
    if (error != OK && error != ERROR_NOT_FOUND)
        return merge_wait(merge, "the database cannot be read");
    return was_refused ? CHAT_APPLY : CHAT_KNOWN;
}
