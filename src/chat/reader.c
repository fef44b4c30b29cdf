/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- what chat_read is to read: complete, because it runs on another thread while the chat goes on ---- */

/* Events of one room with from < seq <= to. */
struct plan_range {
    uint64_t room;
    uint64_t from;
    uint64_t to;
};

struct chat_plan {
    bool is_history;
    uint64_t viewer;

    /* History: the messages of room before a number. 0: the conversation does not exist yet. */
    uint64_t room;
    uint64_t before;
    uint32_t limit;
    uint64_t committed_seq; /* last seq of the room that the page may hold; 0: no limit */

    /* Receive */
    uint64_t until_seq;
    struct plan_range *ranges;
    size_t ranges_count;
    /* The epochs that wrote (after_seq, until_seq]: a reader's own may be older than the plan. */
    struct epoch_history epochs;
};

/* ---- planning history ---- */

enum error chat_plan_history(struct chat *chat, struct chat_call *call, const char *room,
                             uint64_t before, uint32_t limit, struct chat_plan **out)
{
    chat_call_begin(call);
    struct conversation conversation;
    if (!resolve_conversation(chat, call, room, &conversation))
        return OK;
    if (limit > CHAT_PAGE_EVENTS) {
        chat_call_refuse(call, STATUS_INVALID_ARGUMENT,
                         "A page has at most %d messages; ask for fewer.", CHAT_PAGE_EVENTS);
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

/* ---- planning Receive ---- */

static bool add_ranges(const struct account *account, struct arena *arena, uint64_t after_seq,
                       struct chat_plan *plan)
{
    for (uint32_t i = 0; i < account->memberships_count; i++) {
        uint64_t from, to;
        const struct member *member = account->memberships[i];
        if (!delivery_window(member, after_seq, plan->until_seq, &from, &to))
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

/* From the last epoch that begins at or before after_seq to the last one that begins by until_seq. */
static bool add_epochs(const struct chat *chat, struct arena *arena, uint64_t after_seq,
                       struct chat_plan *plan)
{
    struct epoch_history all = store_epochs(chat->store);
    size_t end = all.count;
    while (end > 0 && all.starts[end - 1].first_seq > plan->until_seq)
        end--;
    size_t first = end;
    while (first > 0 && all.starts[first - 1].first_seq > after_seq)
        first--;
    if (first > 0)
        first--;
    plan->epochs.count = end - first;
    plan->epochs.starts = arena_copy(arena, all.starts + first, (end - first) * sizeof *all.starts);
    return plan->epochs.starts != NULL;
}

enum error chat_plan_receive(struct chat *chat, struct chat_call *call, uint64_t after_seq,
                             uint64_t until_seq, struct chat_plan **out)
{
    chat_call_begin(call);
    const struct account *account = call->session->account;
    struct chat_plan *plan = arena_zalloc(call->arena, sizeof *plan);
    if (plan == NULL)
        return ERROR_NO_MEMORY;
    plan->viewer = account->id;
    plan->until_seq = until_seq > after_seq ? until_seq : after_seq;
    if (!add_ranges(account, call->arena, after_seq, plan) ||
        !add_epochs(chat, call->arena, after_seq, plan))
        return ERROR_NO_MEMORY;
    *out = plan;
    return OK;
}

/* ---- reading ---- */

/* Executes a plan, on any thread. Reads one room after the other and drops events beyond the page
 * at once, so memory stays within two pages. */

#define EVENT_OVERHEAD_BYTES 64 /* names, ids and times in a page, about */
#define NO_LIMIT ((size_t)INT32_MAX)

/* ---- history ---- */

struct messages {
    struct arena *arena;
    struct chat_event *events; /* newest first */
    size_t count;
    size_t bytes;
    uint64_t oldest;
};

static enum error copy_event(struct arena *arena, const struct chat_event *event, size_t size,
                             struct chat_event *out)
{
    char *text = arena_alloc(arena, size + 1);
    if (text == NULL)
        return ERROR_NO_MEMORY;
    memcpy(text, event->text, size);
    text[size] = '\0';
    *out = *event;
    out->text = text;
    return OK;
}

static enum error add_message(void *context, const struct timeline_row *row)
{
    struct messages *messages = context;
    if (messages->bytes >= CHAT_PAGE_BYTES)
        return ERROR_CANCELLED;
    struct chat_event event = event_of_row(row, 0);
    enum error error =
        copy_event(messages->arena, &event, row->text_size, &messages->events[messages->count]);
    if (error != OK)
        return error;
    messages->count++;
    messages->bytes += row->text_size + EVENT_OVERHEAD_BYTES;
    messages->oldest = row->number;
    return OK;
}

static void reverse(struct chat_event *events, size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        struct chat_event swapped = events[i];
        events[i] = events[count - 1 - i];
        events[count - 1 - i] = swapped;
    }
}

/* The first number that must not be read: the caller's limit, or the first uncommitted one. */
static enum error bound(const struct chat_plan *plan, struct store *store, uint64_t *before)
{
    *before = plan->before;
    if (plan->committed_seq == 0)
        return OK;
    uint64_t number;
    enum error error = store_number_at(store, plan->room, plan->committed_seq, &number);
    if (error == OK && (*before == 0 || *before > number + 1))
        *before = number + 1;
    return error;
}

static enum error read_history(const struct chat_plan *plan, struct store *store,
                               struct arena *arena, struct chat_page *page)
{
    struct messages messages = {.arena = arena};
    messages.events = arena_alloc(arena, plan->limit * sizeof *messages.events);
    if (messages.events == NULL)
        return ERROR_NO_MEMORY;
    uint64_t before = 0;
    enum error error = plan->room == 0 ? OK : bound(plan, store, &before);
    if (error == OK && plan->room != 0 && plan->limit > 0)
        error = store_messages_before(store, plan->room, JACKDAW__EVENT__KIND__MESSAGE, before,
                                      plan->limit, add_message, &messages);
    if (error != OK && error != ERROR_CANCELLED)
        return error;
    reverse(messages.events, messages.count);
    *page = (struct chat_page){
        .events = messages.events,
        .count = messages.count,
        .more = messages.oldest > 1,
    };
    return OK;
}

/* ---- receive ---- */

struct piece {
    struct chat_event event; /* its text is the piece's own */
    size_t size;             /* of the text */
};

struct pieces {
    struct piece *items;
    size_t count;
    size_t capacity;
};

/* One room being read. */
struct gather {
    const struct chat_plan *plan;
    const struct plan_range *range;
    uint64_t bound; /* the page has no event after this seq */
    struct pieces fresh;
    size_t fresh_bytes;
    bool more;
};

static void drop_from(struct pieces *pieces, size_t first)
{
    for (size_t i = first; i < pieces->count; i++)
        free((char *)pieces->items[i].event.text);
    if (pieces->count > first)
        pieces->count = first;
}

static void release(struct pieces *pieces)
{
    drop_from(pieces, 0);
    free(pieces->items);
}

static bool reserve(struct pieces *pieces, size_t more)
{
    if (more <= pieces->capacity - pieces->count)
        return true;
    size_t capacity = pieces->capacity * 2 + more;
    struct piece *items = reallocarray(pieces->items, capacity, sizeof *items);
    if (items == NULL)
        return false;
    pieces->items = items;
    pieces->capacity = capacity;
    return true;
}

static bool add_piece(struct pieces *pieces, const struct chat_event *event, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL || !reserve(pieces, 1)) {
        free(text);
        return false;
    }
    memcpy(text, event->text, size);
    text[size] = '\0';
    struct piece *piece = &pieces->items[pieces->count++];
    *piece = (struct piece){.event = *event, .size = size};
    piece->event.text = text;
    return true;
}

/* Whether this room alone has enough for a page. */
static bool is_full(const struct gather *gather)
{
    return gather->fresh.count >= CHAT_PAGE_EVENTS || gather->fresh_bytes >= CHAT_PAGE_BYTES;
}

static uint64_t last_seq(const struct pieces *pieces)
{
    return pieces->count == 0 ? 0 : pieces->items[pieces->count - 1].event.position.seq;
}

static enum error gather_row(void *context, const struct timeline_row *row)
{
    struct gather *gather = context;
    if (row->seq > gather->range->to)
        return ERROR_CANCELLED;
    bool is_too_much = is_full(gather) && row->seq != last_seq(&gather->fresh);
    if (row->seq > gather->bound || is_too_much) {
        gather->more = true;
        return ERROR_CANCELLED;
    }
    if (!event_is_for(row, gather->plan->viewer))
        return OK;
    struct chat_event event = event_of_row(row, epoch_history_at(gather->plan->epochs, row->seq));
    if (!add_piece(&gather->fresh, &event, row->text_size))
        return ERROR_NO_MEMORY;
    gather->fresh_bytes += row->text_size + EVENT_OVERHEAD_BYTES;
    return OK;
}

/* Merges two lists in the order of seq; of equal ones, those of the page come first. */
static bool merge(struct pieces *page, struct pieces *fresh)
{
    if (!reserve(page, fresh->count))
        return false;
    size_t left = page->count;
    size_t right = fresh->count;
    page->count += fresh->count;
    for (size_t at = page->count; right > 0;) {
        bool is_fresh = left == 0 || page->items[left - 1].event.position.seq <=
                                         fresh->items[right - 1].event.position.seq;
        page->items[--at] = is_fresh ? fresh->items[--right] : page->items[--left];
    }
    fresh->count = 0;
    return true;
}

/* How many events from the first on are of the same delta. */
static size_t group_at(const struct pieces *pieces, size_t first)
{
    size_t end = first;
    while (end < pieces->count &&
           pieces->items[end].event.position.seq == pieces->items[first].event.position.seq)
        end++;
    return end - first;
}

/* Cuts the page between two deltas, because a cursor cannot point into one. */
static void trim(struct pieces *pieces, struct gather *gather)
{
    size_t kept = 0;
    size_t bytes = 0;
    while (kept < pieces->count) {
        size_t group = group_at(pieces, kept);
        if (kept > 0 && (kept + group > CHAT_PAGE_EVENTS || bytes >= CHAT_PAGE_BYTES))
            break;
        for (size_t i = kept; i < kept + group; i++)
            bytes += pieces->items[i].size + EVENT_OVERHEAD_BYTES;
        kept += group;
    }
    if (kept == pieces->count)
        return;
    gather->bound = pieces->items[kept - 1].event.position.seq;
    gather->more = true;
    drop_from(pieces, kept);
}

static enum error gather_range(struct gather *gather, struct store *store, struct pieces *page)
{
    const struct plan_range *range = gather->range;
    gather->fresh_bytes = 0;
    /* No bound for the store: it would look for rows up to its own end of the room. */
    enum error error = store_events_after(store, range->room, range->from, UINT64_MAX, NO_LIMIT,
                                          gather_row, gather);
    if (error != OK && error != ERROR_CANCELLED)
        return error;
    if (is_full(gather))
        gather->bound = last_seq(&gather->fresh);
    if (!merge(page, &gather->fresh))
        return ERROR_NO_MEMORY;
    trim(page, gather);
    return OK;
}

static enum error hand_over(const struct pieces *pieces, struct arena *arena,
                            struct chat_event **out)
{
    struct chat_event *events = arena_alloc(arena, pieces->count * sizeof *events);
    if (events == NULL)
        return ERROR_NO_MEMORY;
    for (size_t i = 0; i < pieces->count; i++) {
        const struct piece *piece = &pieces->items[i];
        enum error error = copy_event(arena, &piece->event, piece->size, &events[i]);
        if (error != OK)
            return error;
    }
    *out = events;
    return OK;
}

static enum error read_receive(const struct chat_plan *plan, struct store *store,
                               struct arena *arena, struct chat_page *page)
{
    struct gather gather = {.plan = plan, .bound = UINT64_MAX};
    struct pieces pieces = {.items = NULL};
    struct chat_event *events = NULL;
    enum error error = OK;
    for (size_t i = 0; error == OK && i < plan->ranges_count; i++) {
        gather.range = &plan->ranges[i];
        if (gather.range->from < gather.bound)
            error = gather_range(&gather, store, &pieces);
        else
            gather.more = true;
    }
    if (error == OK)
        error = hand_over(&pieces, arena, &events);
    uint64_t next = gather.more ? gather.bound : plan->until_seq;
    if (error == OK)
        *page = (struct chat_page){
            .events = events,
            .count = pieces.count,
            .next = {.epoch = epoch_history_at(plan->epochs, next), .seq = next},
            .more = gather.more,
        };
    release(&gather.fresh);
    release(&pieces);
    return error;
}

enum error chat_read(const struct chat_plan *plan, struct store *store, struct arena *arena,
                     struct chat_page *page)
{
    return plan->is_history ? read_history(plan, store, arena, page)
                            : read_receive(plan, store, arena, page);
}
