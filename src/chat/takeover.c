/* SPDX-License-Identifier: MIT */
/* Taking over what another half of a split cluster wrote. Each kind of delta: is it known here, can
 * it be applied as it is, or rewritten, or must it wait? */
#include "chat/takeover.h"

#include "chat/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SUFFIXES_TRIED 99 /* name~2 ... name~99; then one with the id, which nobody else has */
#define SUFFIX_BYTES_MAX 20

/* ---- verdicts ---- */

enum chat_taking taking_drop(struct taking *taking, const char *why)
{
    taking->call->text = why;
    return CHAT_DROP;
}

enum chat_taking taking_wait(struct taking *taking, const char *what)
{
    taking->call->text = what;
    return CHAT_WAIT;
}

enum chat_taking taking_no_memory(struct taking *taking)
{
    return taking_wait(taking, "no memory");
}

enum chat_taking taking_propose(struct taking *taking)
{
    taking->call->delta = taking->late;
    return CHAT_APPLY;
}

enum chat_taking taking_propose_first(struct taking *taking)
{
    Jackdaw__Delta *first = taking->late;
    first->session = 0;
    first->request = 0;
    first->notice = (char *)(uintptr_t) "";
    first->room_name = (char *)(uintptr_t) "";
    taking->call->delta = first;
    taking->call->text = "what came before it is lost";
    return CHAT_APPLY_FIRST;
}

enum chat_taking taking_settle(struct taking *taking, uint64_t room, const char *why)
{
    if (taking->late->request == 0)
        return taking_drop(taking, why);
    Jackdaw__Unchanged *unchanged =
        arena_message(taking->call->arena, &jackdaw__unchanged__descriptor);
    if (unchanged == NULL)
        return taking_no_memory(taking);
    if (state_room(&taking->chat->state, room) != NULL)
        unchanged->room = room;
    taking->late->change_case = JACKDAW__DELTA__CHANGE_UNCHANGED;
    taking->late->unchanged = unchanged;
    taking->call->text = why;
    return taking_propose(taking);
}

enum chat_taking taking_refuse(struct taking *taking, const char *why)
{
    if (taking->late->request <= taking->apply.session->last_request)
        return taking_drop(taking, why);
    Jackdaw__Refused *refused = arena_message(taking->call->arena, &jackdaw__refused__descriptor);
    if (refused == NULL)
        return taking_no_memory(taking);
    refused->status = STATUS_FAILED_PRECONDITION;
    refused->message = (char *)(uintptr_t)why;
    taking->late->change_case = JACKDAW__DELTA__CHANGE_REFUSED;
    taking->late->refused = refused;
    taking->call->text = why;
    return taking_propose(taking);
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

bool taking_find_name(struct taking *taking, const char *name, uint64_t id,
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
        if (name_accept(out, &checked) && is_free(&taking->chat->state, checked.folded))
            return true;
    }
    return false;
}

bool taking_say(struct taking *taking, const char *format, ...)
{
    char text[CHAT_NOTICE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    taking->late->notice = arena_strdup(taking->call->arena, text);
    return taking->late->notice != NULL;
}

/* ---- outcomes, and what was received ---- */

/* How far an account has received the other log says nothing about this one. Clients tell their
 * cursor and trail themselves. */
static enum chat_taking take_delivered(struct taking *taking)
{
    (void)taking;
    return CHAT_KNOWN;
}

static enum chat_taking take_refused(struct taking *taking)
{
    return apply_fits_refused(&taking->apply) ? taking_propose(taking)
                                              : taking_settle(taking, 0, "it is malformed");
}

static enum chat_taking take_unchanged(struct taking *taking)
{
    return taking_settle(taking, taking->late->unchanged->room, "");
}

/* ---- all ---- */

struct kind {
    enum chat_taking (*take)(struct taking *taking);
    bool needs_request;
    bool has_none;
};

static const struct kind kinds[] = {
    [JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED] = {take_registered, .has_none = true},
    [JACKDAW__DELTA__CHANGE_ACCOUNT_DELETED] = {take_deleted},
    [JACKDAW__DELTA__CHANGE_SESSION_STARTED] = {take_started, .has_none = true},
    [JACKDAW__DELTA__CHANGE_SESSION_ENDED] = {take_ended},
    [JACKDAW__DELTA__CHANGE_ROOM_JOINED] = {take_joined},
    [JACKDAW__DELTA__CHANGE_ROOM_LEFT] = {take_left},
    [JACKDAW__DELTA__CHANGE_TOPIC_SET] = {take_topic},
    [JACKDAW__DELTA__CHANGE_INVITED] = {take_invited},
    [JACKDAW__DELTA__CHANGE_MESSAGE_SENT] = {take_message, .needs_request = true},
    [JACKDAW__DELTA__CHANGE_DELIVERED] = {take_delivered, .has_none = true},
    [JACKDAW__DELTA__CHANGE_REFUSED] = {take_refused, .needs_request = true},
    [JACKDAW__DELTA__CHANGE_UNCHANGED] = {take_unchanged, .needs_request = true},
};

static const struct kind *kind_of(const Jackdaw__Delta *delta)
{
    size_t change_case = (size_t)delta->change_case;
    if (change_case >= sizeof kinds / sizeof kinds[0] || kinds[change_case].take == NULL ||
        delta->unchanged == NULL) /* the union holds pointers */
        return NULL;
    return &kinds[change_case];
}

static bool is_well_formed(const struct kind *kind, const Jackdaw__Delta *delta)
{
    if (delta->session == 0 && delta->request == 0)
        return !kind->needs_request;
    return !kind->has_none && delta->session != 0 && delta->request != 0;
}

/* Who did it; 0: the delta does not tell. */
static uint64_t author_of(const Jackdaw__Delta *delta)
{
    switch (delta->change_case) {
    case JACKDAW__DELTA__CHANGE_ACCOUNT_DELETED:
        return delta->account_deleted->account;
    case JACKDAW__DELTA__CHANGE_ROOM_JOINED:
        return delta->room_joined->account;
    case JACKDAW__DELTA__CHANGE_ROOM_LEFT:
        return delta->room_left->by != 0 ? delta->room_left->by : delta->room_left->account;
    case JACKDAW__DELTA__CHANGE_TOPIC_SET:
        return delta->topic_set->account;
    case JACKDAW__DELTA__CHANGE_INVITED:
        return delta->invited->by;
    case JACKDAW__DELTA__CHANGE_MESSAGE_SENT:
        return delta->message_sent->account;
    default:
        return 0;
    }
}

/* Either it never began here, or it was forgotten with its account. */
static enum chat_taking missing_session(struct taking *taking)
{
    uint64_t author = author_of(taking->late);
    if (author == 0)
        return taking_drop(taking, "its session is not here, and it changes nothing else");
    if (state_account(&taking->chat->state, author) == NULL)
        return taking_missing_account(taking, author);
    return taking->gives_up ? taking_make_session(taking, author)
                            : taking_wait(taking, "its session is not here yet");
}

/* Whose request it is, and whether it is the next one. CHAT_APPLY: it is, or nobody's. */
static enum chat_taking check_number(struct taking *taking)
{
    Jackdaw__Delta *late = taking->late;
    const struct state *state = &taking->chat->state;
    if (late->session == 0 && late->request == 0)
        return CHAT_APPLY;
    struct chat_session *session = state_session(state, late->session);
    if (session == NULL)
        session = state_ended_session(state, late->session);
    if (session == NULL)
        return missing_session(taking);
    if (late->request <= session->last_request) {
        taking->apply.session = session;
        return take_again(taking);
    }
    uint64_t missing = late->request - session->last_request - 1;
    if (missing > 0 && !taking->gives_up)
        return taking_wait(taking, "an earlier request of its session is not here yet");
    late->lost = missing;
    taking->apply.session = session;
    return CHAT_APPLY;
}

enum chat_taking chat_take_over(struct chat *chat, struct chat_call *call,
                                const Jackdaw__Delta *orphan, bool gives_up)
{
    call_begin(call);
    struct taking taking = {
        .chat = chat, .call = call, .apply = {.chat = chat}, .gives_up = gives_up};
    const struct kind *kind = kind_of(orphan);
    if (kind == NULL)
        return taking_wait(&taking, "this program does not know what it is");
    if (!is_well_formed(kind, orphan))
        return taking_drop(&taking, "it is malformed");
    taking.late = arena_copy(call->arena, orphan, sizeof *orphan);
    if (taking.late == NULL)
        return taking_no_memory(&taking);
    taking.late->late = true;
    taking.late->lost = 0;
    taking.late->notice_room = 0;
    if (!orphan->late || !apply_fits_notice(orphan))
        taking.late->notice = (char *)(uintptr_t) "";
    taking.apply.delta = taking.late;
    enum chat_taking verdict = check_number(&taking);
    return verdict == CHAT_APPLY ? kind->take(&taking) : verdict;
}
