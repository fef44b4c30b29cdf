/* SPDX-License-Identifier: MIT */
#include "chat/apply.h"
#include "chat/password.h"

#include <string.h>

/* What the server has to say to the account waits in its conversation with itself. */
static enum error tell_of_itself(struct apply *apply, struct account *account)
{
    if (apply->delta->notice == NULL || apply->delta->notice[0] == '\0')
        return OK;
    struct room *room;
    enum error error =
        apply_make_direct(apply, apply->delta->notice_room, account, account->id, &room);
    return error == OK ? apply_notice(apply, room, account->id) : error;
}

bool apply_fits_registered(const struct apply *apply, struct name *name)
{
    const Jackdaw__AccountRegistered *registered = apply->delta->account_registered;
    return registered->account != 0 && registered->name != NULL &&
           name_accept(registered->name, name) && registered->password_hash != NULL &&
           strlen(registered->password_hash) < PASSWORD_HASH_SIZE &&
           registered->nonce.len == STORE_NONCE_BYTES;
}

enum error apply_account_registered(struct apply *apply)
{
    struct chat *chat = apply->chat;
    const Jackdaw__AccountRegistered *registered = apply->delta->account_registered;
    struct name name;
    if (!apply_fits_registered(apply, &name) ||
        state_account_named(&chat->state, name.folded) != NULL)
        return ERROR_CORRUPT;
    enum error error = check_account_id_unused(chat, registered->account);
    if (error != OK)
        return error == ERROR_EXISTS ? ERROR_CORRUPT : error;
    struct account *account =
        state_add_account(&chat->state, registered->account, name.shown, name.folded, true);
    if (account == NULL)
        return ERROR_NO_MEMORY;
    account->created_ms = apply->delta->time_ms;
    struct account_row row = {
        .id = account->id,
        .name = account->name,
        .folded = account->folded,
        .password_hash = registered->password_hash,
        .created_ms = account->created_ms,
    };
    memcpy(row.nonce, registered->nonce.data, STORE_NONCE_BYTES);
    error = store_put_account(chat->store, &row);
    return error == OK ? tell_of_itself(apply, account) : error;
}

/* ---- deletion ---- */

/* What is left of an account: an id that is never used again, under a name nobody can have. */
static enum error store_tombstone(struct apply *apply, const struct account *account)
{
    char name[CHAT_NAME_BYTES_MAX];
    name_tombstone(account->id, name);
    uint64_t deleted_ms = apply->delta->time_ms;
    return store_put_account(apply->chat->store, &(struct account_row){
                                                     .id = account->id,
                                                     .name = name,
                                                     .folded = name,
                                                     .password_hash = "",
                                                     .created_ms = account->created_ms,
                                                     .deleted_ms = deleted_ms == 0 ? 1 : deleted_ms,
                                                     .delivered_seq = account->delivered_seq,
                                                 });
}

static bool ends_with(const struct room *room, const struct member *last)
{
    return member_is_in(last) && room->members.count == 1 &&
           (room->is_private || room_is_direct(room));
}

static enum error store_removal(struct apply *apply, const struct member *member)
{
    struct store *store = apply->chat->store;
    struct room *room = member->room;
    uint64_t account = member->account->id;
    if (ends_with(room, member))
        return store_delete_room(store, room->id);
    if (member->state == MEMBER_IN) {
        struct timeline_row row =
            apply_row(apply, room, JACKDAW__EVENT__KIND__REMOVED, account, 0, "");
        uint64_t owner = apply_successor(room, account);
        enum error error = apply_store_row(apply, room, &row);
        if (error == OK && owner != room->owner)
            error = apply_store_owner(apply, room, owner);
        if (error != OK)
            return error;
    }
    return store_delete_member(store, room->id, account);
}

/* The same in memory; cannot fail. */
static void carry_out_removal(struct apply *apply, struct member *member)
{
    struct room *room = member->room;
    if (ends_with(room, member)) {
        state_remove_room(&apply->chat->state, room);
        return;
    }
    bool was_in = member->state == MEMBER_IN;
    struct timeline_row row =
        apply_row(apply, room, JACKDAW__EVENT__KIND__REMOVED, member->account->id, 0, "");
    uint64_t owner = apply_successor(room, member->account->id);
    bool has_new_owner = owner != room->owner;
    room->owner = owner;
    state_remove_member(member);
    if (was_in)
        apply_emit_row(apply, &row);
    if (has_new_owner)
        apply_emit_owner(apply, room, owner);
}

static enum error forget_ended(struct apply *apply, const struct account *account)
{
    struct chat_session *session, *next;
    HASH_ITER(by_ended, apply->chat->state.sessions_ended, session, next) {
        if (session->account != account)
            continue;
        enum error error = apply_forget_session(apply, session);
        if (error != OK)
            return error;
    }
    return OK;
}

enum error apply_account_deleted(struct apply *apply)
{
    struct state *state = &apply->chat->state;
    struct account *account = state_account(state, apply->delta->account_deleted->account);
    if (account == NULL || !apply_is_by(apply, account->id))
        return ERROR_CORRUPT;
    enum error error = store_tombstone(apply, account);
    for (uint32_t i = 0; error == OK && i < account->memberships_count; i++)
        error = store_removal(apply, account->memberships[i]);
    while (error == OK && account->sessions != NULL)
        error = apply_forget_session(apply, account->sessions);
    if (error == OK)
        error = forget_ended(apply, account);
    if (error != OK)
        return error;
    while (account->memberships_count > 0)
        carry_out_removal(apply,
                          account->memberships[0]); /* events in the order they are read in */
    state_remove_account(state, account);
    return OK;
}
