/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include "chat/plan.h"

#include <string.h>

static bool add_ranges(const struct account *account, struct arena *arena, uint64_t after_seq,
                       struct chat_plan *plan)
{
    for (uint32_t i = 0; i < account->memberships_count; i++) {
        uint64_t from, to;
        const struct member *member = account->memberships[i];
        if (!member_window(member, after_seq, plan->until_seq, &from, &to))
            continue;
        if (plan->ranges == NULL)
            plan->ranges =
                arena_alloc(arena, (account->memberships_count - i) * sizeof *plan->ranges);
        if (plan->ranges == NULL)
            return false;
        plan->ranges[plan->ranges_count++] =
            (struct plan_range){.room = member->room->id, .from = from, .to = to};
    }
    return true;
}

static bool add_epoch_starts(const struct state *state, struct arena *arena, uint64_t after_seq,
                             struct chat_plan *plan)
{
    size_t end = state->epoch_starts_count;
    while (end > 0 && state->epoch_starts[end - 1].first_seq > plan->until_seq)
        end--;
    size_t first = end;
    while (first > 0 && state->epoch_starts[first - 1].first_seq > after_seq)
        first--;
    if (first > 0)
        first--;
    plan->epoch_starts_count = end - first;
    plan->epoch_starts =
        arena_copy(arena, state->epoch_starts + first, (end - first) * sizeof *plan->epoch_starts);
    return plan->epoch_starts != NULL;
}

enum error chat_plan_receive(struct chat *chat, struct chat_call *call, uint64_t after_seq,
                             uint64_t until_seq, struct chat_plan **out)
{
    call_begin(call);
    const struct account *account = call->session->account;
    struct chat_plan *plan = arena_zalloc(call->arena, sizeof *plan);
    if (plan == NULL)
        return ERROR_NO_MEMORY;
    plan->viewer = account->id;
    plan->until_seq = until_seq > after_seq ? until_seq : after_seq;
    if (!add_ranges(account, call->arena, after_seq, plan) ||
        !add_epoch_starts(&chat->state, call->arena, after_seq, plan))
        return ERROR_NO_MEMORY;
    *out = plan;
    return OK;
}
