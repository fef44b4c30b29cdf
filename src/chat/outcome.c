/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include "chat/outcome.h"

static const char lost_text[] =
    "What became of this was lost while servers were cut off from each other; look whether it is "
    "there, and if not, ask again.";

struct outcome_copy {
    struct arena *arena;
    struct chat_outcome out;
};

static enum error copy_outcome(void *context, const struct outcome_row *row)
{
    struct outcome_copy *copy = context;
    copy->out = (struct chat_outcome){
        .status = (enum status)row->status,
        .text = arena_strdup(copy->arena, row->text),
        .room = row->room,
        .number = row->number,
        .position = {.seq = row->seq},
        .time_ms = row->time_ms,
        .created = (row->flags & OUTCOME_CREATED) != 0,
    };
    return copy->out.text == NULL ? ERROR_NO_MEMORY : OK;
}

/* The numbers up to the last one have outcomes, but for those that were given up for lost. */
static bool is_lost(const struct chat_session *session, uint64_t request)
{
    return request != 0 && request <= session->last_request &&
           session->last_request - request < STORE_OUTCOME_WINDOW;
}

enum error chat_outcome_of(struct chat *chat, const struct chat_session *session, uint64_t request,
                           struct arena *arena, struct chat_outcome *out)
{
    struct outcome_copy copy = {.arena = arena};
    const struct outcome_row *last = &chat->last_outcome;
    enum error error =
        last->session == session->id && last->request == request
            ? copy_outcome(&copy, last)
            : store_get_outcome(chat->store, session->id, request, copy_outcome, &copy);
    if (error == ERROR_NOT_FOUND && is_lost(session, request)) {
        *out = (struct chat_outcome){.status = STATUS_DATA_LOSS, .text = lost_text};
        return OK;
    }
    if (error != OK)
        return error;
    copy.out.position.epoch = store_epoch_at(chat->store, copy.out.position.seq);
    *out = copy.out;
    return OK;
}
