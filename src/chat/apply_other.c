/* SPDX-License-Identifier: MIT */
/* What was received, and outcomes that change nothing else. */
#include "chat/apply.h"
#include "chat/text.h"

#include <string.h>

enum error apply_delivered(struct apply *apply)
{
    struct chat *chat = apply->chat;
    const Jackdaw__Delivered *delivered = apply->delta->delivered;
    if (delivered->n_accounts != delivered->n_seqs)
        return ERROR_CORRUPT;
    for (size_t i = 0; i < delivered->n_accounts; i++) {
        struct account *account = state_account(&chat->state, delivered->accounts[i]);
        uint64_t seq = delivered->seqs[i];
        if (account == NULL || seq > chat->state.last.seq)
            return ERROR_CORRUPT;
        if (seq <= account->delivered_seq)
            continue;
        enum error error = store_set_delivered(chat->store, account->id, seq);
        if (error != OK)
            return error;
        state_note_delivered(&chat->state, account, seq);
        state_apply_delivered(&chat->state, account, seq);
    }
    return OK;
}

bool apply_fits_refused(const struct apply *apply)
{
    const Jackdaw__Refused *refused = apply->delta->refused;
    return refused->status != STATUS_OK && refused->status < STATUS_COUNT &&
           refused->message != NULL && strlen(refused->message) <= CHAT_REFUSAL_BYTES_MAX &&
           text_is_utf8(refused->message, strlen(refused->message));
}

enum error apply_refused(struct apply *apply)
{
    const Jackdaw__Refused *refused = apply->delta->refused;
    if (!apply_fits_refused(apply))
        return ERROR_CORRUPT;
    return apply_outcome(apply, (struct outcome_row){
                                    .status = refused->status,
                                    .text = refused->message,
                                });
}

enum error apply_unchanged(struct apply *apply)
{
    const Jackdaw__Unchanged *unchanged = apply->delta->unchanged;
    if (unchanged->room != 0 && state_room(&apply->chat->state, unchanged->room) == NULL)
        return ERROR_CORRUPT;
    return apply_outcome(apply, (struct outcome_row){.room = unchanged->room});
}
