/* SPDX-License-Identifier: MIT */
/* Taking over what another half of a split cluster wrote. Each kind of delta: is it known here, can
 * it be applied as it is, or rewritten, or must it wait? What is proposed is checked with the same
 * functions that chat_apply checks with. */
#include "chat/apply.h"
#include "chat/text.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SUFFIXES_TRIED 99 /* name~2 ... name~99; then one with the id, which nobody else has */
#define SUFFIX_BYTES_MAX 20
#define MESSAGES_SEARCHED 65536 /* of a room, the newest */

/* One orphan on its way. apply.delta is `late`, what will be proposed, apply.session whose request
 * it is, which may have ended. */
struct taking {
    struct apply apply;
    struct chat *chat;
    struct chat_call *call;
    Jackdaw__Delta *late;
};

/* ---- verdicts ---- */

static enum chat_taking drop(struct taking *taking, const char *why)
{
    taking->call->text = why;
    return CHAT_DROP;
}

static enum chat_taking wait_for(struct taking *taking, const char *what)
{
    taking->call->text = what;
    return CHAT_WAIT;
}

static enum chat_taking no_memory(struct taking *taking)
{
    return wait_for(taking, "no memory");
}

static enum chat_taking propose(struct taking *taking)
{
    taking->call->delta = taking->late;
    return CHAT_APPLY;
}

/* It has no effect any more, but the number of the request, if it has one, is used up. */
static enum chat_taking settle(struct taking *taking, uint64_t room, const char *why)
{
    if (taking->late->request == 0)
        return drop(taking, why);
    Jackdaw__Unchanged *unchanged =
        arena_message(taking->call->arena, &jackdaw__unchanged__descriptor);
    if (unchanged == NULL)
        return no_memory(taking);
    if (state_room(&taking->chat->state, room) != NULL)
        unchanged->room = room;
    taking->late->change_case = JACKDAW__DELTA__CHANGE_UNCHANGED;
    taking->late->unchanged = unchanged;
    taking->call->text = why;
    return propose(taking);
}

/* As settle, for what was promised and cannot be kept: who asks again is told so. */
static enum chat_taking refuse(struct taking *taking, const char *why)
{
    if (taking->late->request <= taking->apply.session->last_request)
        return drop(taking, why);
    Jackdaw__Refused *refused = arena_message(taking->call->arena, &jackdaw__refused__descriptor);
    if (refused == NULL)
        return no_memory(taking);
    refused->status = STATUS_FAILED_PRECONDITION;
    refused->message = (char *)(uintptr_t)why;
    taking->late->change_case = JACKDAW__DELTA__CHANGE_REFUSED;
    taking->late->refused = refused;
    taking->call->text = why;
    return propose(taking);
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

/* name followed by ~2, ~3 ...: the first that is_free. False: there is none. */
static bool find_free_name(struct taking *taking, const char *name, uint64_t id,
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

static bool account_name_is_free(const struct state *state, const char *folded)
{
    return state_account_named(state, folded) == NULL;
}

static bool room_name_is_free(const struct state *state, const char *folded)
{
    return state_room_named(state, folded) == NULL;
}

/* False: no memory. */
__attribute__((format(printf, 2, 3))) static bool say(struct taking *taking, const char *format,
                                                      ...)
{
    char text[CHAT_NOTICE_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    taking->late->notice = arena_strdup(taking->call->arena, text);
    return taking->late->notice != NULL;
}

/* ---- accounts and sessions ---- */

struct nonce_match {
    const uint8_t *nonce;
    bool matches;
};

static enum error compare_nonce(void *context, const struct account_row *row)
{
    struct nonce_match *match = context;
    match->matches = sodium_memcmp(match->nonce, row->nonce, STORE_NONCE_BYTES) == 0;
    return OK;
}

static enum chat_taking rename_account(struct taking *taking, const Jackdaw__AccountRegistered *old)
{
    struct arena *arena = taking->call->arena;
    Jackdaw__AccountRegistered *renamed = arena_copy(arena, old, sizeof *old);
    char name[CHAT_NAME_BYTES_MAX];
    if (!find_free_name(taking, old->name, old->account, account_name_is_free, name))
        return drop(taking, "its name is taken, and so are all like it");
    uint64_t room;
    if (renamed == NULL || draw_room_id(taking->chat, &room) != OK)
        return no_memory(taking);
    renamed->name = arena_strdup(arena, name);
    taking->late->account_registered = renamed;
    taking->late->notice_room = room;
    if (renamed->name == NULL ||
        !say(taking,
             "Your account is @%s now: while servers were cut off from each other, somebody else "
             "registered @%s. Log in with the new name; the password is the same.",
             name, old->name))
        return no_memory(taking);
    return propose(taking);
}

/* What was said to it when it was taken over before, in yet another half, is said again. */
static enum chat_taking take_with_notice(struct taking *taking)
{
    if (taking->late->notice[0] != '\0' &&
        draw_room_id(taking->chat, &taking->late->notice_room) != OK)
        return no_memory(taking);
    return propose(taking);
}

static enum chat_taking take_registered(struct taking *taking)
{
    struct chat *chat = taking->chat;
    const Jackdaw__AccountRegistered *registered = taking->late->account_registered;
    struct name name;
    if (!apply_fits_registered(&taking->apply, &name))
        return drop(taking, "it is malformed");
    enum error error = check_account_id_unused(chat, registered->account);
    if (error == ERROR_EXISTS)
        return CHAT_KNOWN;
    if (error != OK)
        return wait_for(taking, "the database cannot be read");
    const struct account *other = state_account_named(&chat->state, name.folded);
    if (other == NULL)
        return take_with_notice(taking);
    struct nonce_match match = {.nonce = registered->nonce.data};
    if (store_get_account(chat->store, other->id, compare_nonce, &match) != OK)
        return wait_for(taking, "the database cannot be read");
    return match.matches ? CHAT_KNOWN : rename_account(taking, registered);
}

/* For what an account that is not here did: was it ever? */
static enum chat_taking missing_account(struct taking *taking, uint64_t account)
{
    bool was_here = check_account_id_unused(taking->chat, account) == ERROR_EXISTS;
    return was_here ? drop(taking, "its account was deleted")
                    : wait_for(taking, "its account is not here yet");
}

/* Who logged in with one token in both halves holds the session that is here; this one is kept for
 * what was said in it, under a token that nobody has. */
static enum error spoil_token(struct taking *taking, Jackdaw__SessionStarted *started)
{
    uint8_t *token = arena_alloc(taking->call->arena, STORE_TOKEN_HASH_BYTES);
    if (token == NULL)
        return ERROR_NO_MEMORY;
    crypto_generichash(token, STORE_TOKEN_HASH_BYTES, started->token_hash.data,
                       started->token_hash.len, (const uint8_t *)&started->session,
                       sizeof started->session);
    started->token_hash.data = token;
    return OK;
}

static enum chat_taking take_started(struct taking *taking)
{
    const struct state *state = &taking->chat->state;
    Jackdaw__SessionStarted *started = arena_copy(
        taking->call->arena, taking->late->session_started, sizeof(Jackdaw__SessionStarted));
    if (started == NULL)
        return no_memory(taking);
    if (state_session(state, started->session) != NULL ||
        state_ended_session(state, started->session) != NULL)
        return CHAT_KNOWN;
    if (state_account(state, started->account) == NULL)
        return missing_account(taking, started->account);
    started->n_replaces = 0; /* silent there, but perhaps alive here */
    taking->late->session_started = started;
    if (started->token_hash.len == STORE_TOKEN_HASH_BYTES &&
        state_session_of_token(state, started->token_hash.data) != NULL &&
        spoil_token(taking, started) != OK)
        return no_memory(taking);
    return apply_fits_started(&taking->apply) ? propose(taking) : drop(taking, "it is malformed");
}

static enum chat_taking take_ended(struct taking *taking)
{
    const Jackdaw__SessionEnded *old = taking->late->session_ended;
    const struct chat_session *session = state_session(&taking->chat->state, old->session);
    const struct chat_session *by = taking->apply.session;
    if (session == NULL || (by != NULL && by != session))
        return settle(taking, 0, "the session has ended already");
    Jackdaw__SessionEnded *ended = arena_copy(taking->call->arena, old, sizeof *old);
    if (ended == NULL)
        return no_memory(taking);
    ended->delivered_seq = 0; /* a seq of the other log */
    taking->late->session_ended = ended;
    return propose(taking);
}

static enum chat_taking take_deleted(struct taking *taking)
{
    uint64_t account = taking->late->account_deleted->account;
    if (state_account(&taking->chat->state, account) == NULL)
        return CHAT_KNOWN;
    return apply_is_by(&taking->apply, account) ? propose(taking)
                                                : settle(taking, 0, "it is malformed");
}

/* ---- rooms ---- */

/* The room of the orphan: the same one, or the one that took its place: of that name, and who did it
 * is in it. NULL: there is none. */
static const struct room *find_same(struct taking *taking, uint64_t id, uint64_t author)
{
    const struct state *state = &taking->chat->state;
    const struct room *room = state_room(state, id);
    const struct account *account = state_account(state, author);
    struct name name;
    if (room != NULL || account == NULL || taking->late->room_name == NULL ||
        !name_accept(taking->late->room_name, &name))
        return room;
    room = state_room_named(state, name.folded);
    return room != NULL && member_is_in(state_member(account, room)) ? room : NULL;
}

static bool say_room_was_renamed(struct taking *taking, const char *now, const char *wanted)
{
    return say(taking,
               "This room is #%s now: while servers were cut off from each other, another room was "
               "made as #%s.",
               now, wanted);
}

/* Makes the room of the orphan here, under the name it had or one like it. */
static enum chat_taking make_room(struct taking *taking, Jackdaw__RoomJoined *joined,
                                  const char *wanted)
{
    struct name name;
    if (joined->room == 0 || !name_accept(wanted, &name))
        return settle(taking, 0, "it is malformed");
    joined->name = (char *)(uintptr_t)wanted;
    if (room_name_is_free(&taking->chat->state, name.folded))
        return propose(taking);
    char other[CHAT_NAME_BYTES_MAX];
    if (!find_free_name(taking, wanted, joined->room, room_name_is_free, other))
        return settle(taking, 0, "its name is taken, and so are all like it");
    joined->name = arena_strdup(taking->call->arena, other);
    if (joined->name == NULL || !say_room_was_renamed(taking, other, wanted))
        return no_memory(taking);
    return propose(taking);
}

/* Into a room that is here. Who comes into one that was renamed is told. */
static enum chat_taking enter_room(struct taking *taking, Jackdaw__RoomJoined *joined,
                                   const struct room *room, const char *wanted)
{
    const struct account *account = state_account(&taking->chat->state, joined->account);
    if (!apply_may_enter(&taking->apply, room, account))
        return settle(taking, room->id, "they are in the room already, or banned from it");
    joined->room = room->id;
    joined->name = (char *)(uintptr_t) "";
    struct name name;
    if (name_accept(wanted, &name) && strcmp(name.folded, room->folded) != 0 &&
        !say_room_was_renamed(taking, room->name, wanted))
        return no_memory(taking);
    return propose(taking);
}

/* Two public rooms of one name are one room: anybody may come into either, and everybody goes on
 * calling it so. A private one stays for itself, but for who is invited here, too. */
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

static enum chat_taking take_joined(struct taking *taking)
{
    const struct state *state = &taking->chat->state;
    const Jackdaw__RoomJoined *old = taking->late->room_joined;
    if (state_account(state, old->account) == NULL || !apply_is_by(&taking->apply, old->account))
        return settle(taking, old->room, "it is malformed");
    Jackdaw__RoomJoined *joined = arena_copy(taking->call->arena, old, sizeof *old);
    if (joined == NULL)
        return no_memory(taking);
    taking->late->room_joined = joined;
    const char *wanted = old->name[0] != '\0' ? old->name : taking->late->room_name;
    const struct room *room = find_same(taking, old->room, old->account);
    if (room == NULL)
        room = find_merged(state, old, wanted);
    return room != NULL ? enter_room(taking, joined, room, wanted)
                        : make_room(taking, joined, wanted);
}

static enum chat_taking take_left(struct taking *taking)
{
    Jackdaw__RoomLeft *left =
        arena_copy(taking->call->arena, taking->late->room_left, sizeof *left);
    if (left == NULL)
        return no_memory(taking);
    taking->late->room_left = left;
    const struct room *room =
        find_same(taking, left->room, left->by != 0 ? left->by : left->account);
    if (room != NULL)
        left->room = room->id;
    return apply_fits_left(&taking->apply)
               ? propose(taking)
               : settle(taking, left->room, "they left already, or it is not theirs to do");
}

static enum chat_taking take_topic(struct taking *taking)
{
    Jackdaw__TopicSet *set = arena_copy(taking->call->arena, taking->late->topic_set, sizeof *set);
    if (set == NULL)
        return no_memory(taking);
    taking->late->topic_set = set;
    const struct room *room = find_same(taking, set->room, set->account);
    if (room != NULL)
        set->room = room->id;
    bool is_same = room != NULL && set->topic != NULL && strcmp(room->topic, set->topic) == 0;
    if (is_same || !apply_fits_topic(&taking->apply))
        return settle(taking, set->room, "the topic is that already, or they are not in the room");
    return propose(taking);
}

static enum chat_taking take_invited(struct taking *taking)
{
    Jackdaw__Invited *invited =
        arena_copy(taking->call->arena, taking->late->invited, sizeof *invited);
    if (invited == NULL)
        return no_memory(taking);
    taking->late->invited = invited;
    const struct room *room = find_same(taking, invited->room, invited->by);
    if (room != NULL)
        invited->room = room->id;
    return apply_fits_invited(&taking->apply)
               ? propose(taking)
               : settle(taking, invited->room,
                        "they are in already or invited, or who invited them is not");
}

/* ---- messages ---- */

static enum chat_taking take_direct(struct taking *taking, Jackdaw__MessageSent *sent)
{
    const struct state *state = &taking->chat->state;
    const struct room *room = state_room_direct(state, sent->account, sent->peer);
    if (room != NULL)
        sent->room = room->id; /* made in both halves: the one here stays */
    else if (sent->room == 0 || state_room(state, sent->room) != NULL)
        return refuse(taking, "The message was malformed.");
    return propose(taking);
}

static enum chat_taking make_with_message(struct taking *taking, Jackdaw__MessageSent *sent,
                                          const char *name)
{
    if (sent->room == 0)
        return refuse(taking, "The message was malformed.");
    sent->made_as = arena_strdup(taking->call->arena, name);
    if (sent->made_as == NULL ||
        !say(
            taking,
            "This room is #%s: it holds what was said in a room that is no more while servers were "
            "cut off from each other.",
            name))
        return no_memory(taking);
    return propose(taking);
}

/* Nobody whose coming in is known here was in the room, or it ended here. */
static enum chat_taking take_into_new_room(struct taking *taking, Jackdaw__MessageSent *sent)
{
    char name[CHAT_NAME_BYTES_MAX];
    const char *wanted = taking->late->room_name;
    struct name checked;
    if (wanted == NULL || !name_accept(wanted, &checked))
        wanted = "room";
    else if (room_name_is_free(&taking->chat->state, checked.folded))
        return make_with_message(taking, sent, wanted);
    if (!find_free_name(taking, wanted, sent->room, room_name_is_free, name))
        return refuse(taking, "The room of the message is no more.");
    return make_with_message(taking, sent, name);
}

static enum chat_taking take_message(struct taking *taking)
{
    if (!apply_fits_message(&taking->apply))
        return refuse(taking, "The message was malformed.");
    Jackdaw__MessageSent *sent =
        arena_copy(taking->call->arena, taking->late->message_sent, sizeof *sent);
    if (sent == NULL)
        return no_memory(taking);
    sent->made_as = (char *)(uintptr_t) "";
    taking->late->message_sent = sent;
    if (sent->peer != 0)
        return take_direct(taking, sent);
    const struct room *room = find_same(taking, sent->room, sent->account);
    if (room == NULL)
        return take_into_new_room(taking, sent);
    sent->room = room->id;
    return room_is_direct(room) ? refuse(taking, "The message was malformed.") : propose(taking);
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
    return apply_fits_refused(&taking->apply) ? propose(taking)
                                              : settle(taking, 0, "it is malformed");
}

static enum chat_taking take_unchanged(struct taking *taking)
{
    return settle(taking, taking->late->unchanged->room, "");
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
        return drop(taking, "its session is not here, and it changes nothing else");
    if (state_account(&taking->chat->state, author) == NULL)
        return missing_account(taking, author);
    return wait_for(taking, "its session is not here yet");
}

struct search {
    const Jackdaw__Delta *late;
    bool found;
};

static enum error compare_uid(void *context, const struct timeline_row *row)
{
    struct search *search = context;
    search->found = search->found || (row->session == search->late->session &&
                                      row->request == search->late->request);
    return search->found ? ERROR_EXISTS : OK;
}

static enum error note_status(void *context, const struct outcome_row *row)
{
    *(bool *)context = row->status != STATUS_OK;
    return OK;
}

static enum error search_room(struct taking *taking, uint64_t room, bool *found)
{
    struct search search = {.late = taking->late};
    enum error error =
        store_messages_before(taking->chat->store, room, JACKDAW__EVENT__KIND__MESSAGE, 0,
                              MESSAGES_SEARCHED, compare_uid, &search);
    *found = *found || search.found;
    return error == ERROR_EXISTS ? OK : error;
}

/* In every room that it may have been put into: its own, and the one of that name. */
static enum error search_message(struct taking *taking, const Jackdaw__MessageSent *sent,
                                 bool *found)
{
    const struct state *state = &taking->chat->state;
    struct name name;
    const struct room *other = NULL;
    if (sent->peer != 0)
        other = state_room_direct(state, sent->account, sent->peer);
    else if (taking->late->room_name != NULL && name_accept(taking->late->room_name, &name))
        other = state_room_named(state, name.folded);
    enum error error = search_room(taking, sent->room, found);
    if (error == OK && other != NULL && !*found)
        error = search_room(taking, other->id, found);
    return error;
}

/* The request was carried out here, too. If it was a message that was taken there and may have been
 * acknowledged, and is refused here (its room had another name by then), it is kept all the same,
 * once: this happens so seldom that looking through the room costs little. CHAT_APPLY: it is to be
 * kept. */
static enum chat_taking take_again(struct taking *taking)
{
    struct store *store = taking->chat->store;
    const Jackdaw__Delta *late = taking->late;
    bool was_refused = false;
    bool was_found = false;
    if (late->change_case != JACKDAW__DELTA__CHANGE_MESSAGE_SENT ||
        store_get_outcome(store, late->session, late->request, note_status, &was_refused) != OK ||
        !was_refused)
        return CHAT_KNOWN;
    enum error error = search_message(taking, late->message_sent, &was_found);
    if (error != OK)
        return wait_for(taking, "the database cannot be read");
    return was_found ? CHAT_KNOWN : CHAT_APPLY;
}

/* Whose request it is, and whether it is the next one. CHAT_APPLY: it is, or nobody's. */
static enum chat_taking check_number(struct taking *taking)
{
    const Jackdaw__Delta *late = taking->late;
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
    if (late->request - session->last_request > 1)
        return wait_for(taking, "an earlier request of its session is not here yet");
    taking->apply.session = session;
    return CHAT_APPLY;
}

enum chat_taking chat_take_over(struct chat *chat, struct chat_call *call,
                                const Jackdaw__Delta *orphan)
{
    call_begin(call);
    struct taking taking = {.chat = chat, .call = call, .apply = {.chat = chat}};
    const struct kind *kind = kind_of(orphan);
    if (kind == NULL)
        return wait_for(&taking, "this program does not know what it is");
    if (!is_well_formed(kind, orphan))
        return drop(&taking, "it is malformed");
    taking.late = arena_copy(call->arena, orphan, sizeof *orphan);
    if (taking.late == NULL)
        return no_memory(&taking);
    taking.late->late = true;
    taking.late->notice_room = 0;
    if (!orphan->late || !apply_fits_notice(orphan))
        taking.late->notice = (char *)(uintptr_t) "";
    taking.apply.delta = taking.late;
    enum chat_taking verdict = check_number(&taking);
    return verdict == CHAT_APPLY ? kind->take(&taking) : verdict;
}
