/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include "chat/plan.h"

enum error chat_plan_history(struct chat *chat, struct chat_call *call, const char *room,
                             uint64_t before, uint32_t limit, struct chat_plan **out)
{
    call_begin(call);
    struct conversation conversation;
    if (!find_conversation(chat, call, room, &conversation))
        return OK;
    if (limit > CHAT_PAGE_EVENTS) {
        call_refuse(call, STATUS_INVALID_ARGUMENT, "A page has at most %d messages; ask for fewer.",
                    CHAT_PAGE_EVENTS);
        return OK;
    }
    struct chat_plan *plan = arena_zalloc(call->arena, sizeof *plan);
    if (plan == NULL)
        return ERROR_NO_MEMORY;
    plan->is_history = true;
    plan->viewer = call->session->account->id;
    plan->limit = limit == 0 ? chat->limits.history_on_join : limit;
    plan->before = before;
    if (conversation.room != NULL) {
        plan->room = conversation.room->id;
        if (conversation.room->last_seq > call->committed_seq)
            plan->committed_seq = call->committed_seq;
    }
    *out = plan;
    return OK;
}
