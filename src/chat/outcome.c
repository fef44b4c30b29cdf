/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include "chat/outcome.h"

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

enum error chat_outcome_of(struct chat *chat, const struct chat_session *session, uint64_t request,
                           struct arena *arena, struct chat_outcome *out)
{
    struct outcome_copy copy = {.arena = arena};
    const struct outcome_row *last = &chat->last_outcome;
    enum error error =
        last->session == session->id && last->request == request
            ? copy_outcome(&copy, last)
            : store_get_outcome(chat->store, session->id, request, copy_outcome, &copy);
    if (error != OK)
        return error;
    copy.out.position.epoch = store_epoch_at(chat->store, copy.out.position.seq);
    *out = copy.out;
    return OK;
}
