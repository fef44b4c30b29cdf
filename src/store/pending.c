/* SPDX-License-Identifier: MIT */
/* Events and outcomes wait here until the transaction commits, a read needs them, or they are too
 * many. Then the events of one room, and the outcomes of one session, are written together. This
 * costs a fraction of single writes. */
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>

#define PENDING_ROWS_MAX 4096u             /* of each kind */
#define PENDING_TEXT_MAX (size_t)(1 << 20) /* bytes, or one text that is longer */
#define FIRST_ROWS 64u

/* Makes room for one more element; NULL when there is no memory. */
static void *grow(void *elements, size_t count, size_t *capacity, size_t element_size)
{
    if (count < *capacity)
        return elements;
    size_t more = *capacity == 0 ? FIRST_ROWS : *capacity * 2;
    void *grown = sqlite3_realloc64(elements, more * element_size);
    if (grown != NULL)
        *capacity = more;
    return grown;
}

static enum error no_memory(struct store *store)
{
    return store_fault(store, ERROR_NO_MEMORY, "keep what is to be written", "rows");
}

static enum error keep_text(struct store *store, const char *text, size_t size, size_t *at)
{
    struct buffer *buffer = &store->pending.text;
    enum error error = pack_buffer_reserve(store, buffer, size);
    if (error != OK)
        return error;
    *at = buffer->size;
    pack_bytes(buffer, text, size);
    return OK;
}

static enum error make_room(struct store *store, size_t count, size_t text_size)
{
    ASSERT(store->in_transaction && !store->is_committing);
    if (store->failure != OK)
        return store->failure;
    size_t used = store->pending.text.size;
    bool is_full = count >= PENDING_ROWS_MAX || (used > 0 && used + text_size > PENDING_TEXT_MAX);
    return is_full ? pending_flush(store) : OK;
}

static enum error invalid(struct store *store, const char *what)
{
    return error_set(&store->problem, ERROR_INVALID, "%s", what);
}

enum error store_add_event(struct store *store, const struct timeline_row *row)
{
    ASSERT(row->text != NULL);
    if (row->seq == 0 || row->seq > INT64_MAX || row->number > INT64_MAX)
        return invalid(store, "add an event: its seq or number is out of range");
    struct pending *pending = &store->pending;
    enum error error = make_room(store, pending->event_count, row->text_size);
    if (error != OK)
        return error;
    struct pending_event *events = grow(pending->events, pending->event_count,
                                        &pending->event_capacity, sizeof *pending->events);
    if (events == NULL)
        return no_memory(store);
    pending->events = events;
    size_t at;
    error = keep_text(store, row->text, row->text_size, &at);
    if (error == OK)
        events[pending->event_count++] = (struct pending_event){.row = *row, .text_at = at};
    return error;
}

enum error store_put_outcome(struct store *store, const struct outcome_row *row)
{
    ASSERT(row->text != NULL);
    if (row->request == 0 || row->request > INT64_MAX)
        return invalid(store, "put an outcome: its request is out of range");
    struct pending *pending = &store->pending;
    size_t size = strlen(row->text) + 1;
    enum error error = make_room(store, pending->outcome_count, size);
    if (error != OK)
        return error;
    struct pending_outcome *outcomes = grow(pending->outcomes, pending->outcome_count,
                                            &pending->outcome_capacity, sizeof *outcomes);
    if (outcomes == NULL)
        return no_memory(store);
    pending->outcomes = outcomes;
    size_t at;
    error = keep_text(store, row->text, size, &at);
    if (error != OK)
        return error;
    outcomes[pending->outcome_count++] = (struct pending_outcome){.row = *row, .text_at = at};
    outcome_remember(store, row);
    return OK;
}

static int compare_order(const void *left, const void *right)
{
    const struct pending_order *a = left;
    const struct pending_order *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static enum error reserve_order(struct store *store)
{
    struct pending *pending = &store->pending;
    size_t need = pending->event_count > pending->outcome_count ? pending->event_count
                                                                : pending->outcome_count;
    if (need <= pending->order_capacity)
        return OK;
    struct pending_order *order = sqlite3_realloc64(pending->order, need * sizeof *order);
    if (order == NULL)
        return no_memory(store);
    pending->order = order;
    pending->order_capacity = need;
    return OK;
}

/* Sorts and hands out one group of equal keys after the other. */
static enum error write_groups(struct store *store, size_t count,
                               enum error (*write)(struct store *store,
                                                   const struct pending_order *order, size_t count))
{
    struct pending_order *order = store->pending.order;
    qsort(order, count, sizeof *order, compare_order);
    enum error error = OK;
    for (size_t first = 0, next; first < count && error == OK; first = next) {
        next = first + 1;
        while (next < count && order[next].key == order[first].key)
            next++;
        error = write(store, order + first, next - first);
    }
    return error;
}

/* Texts without bytes take no room: before the first other one there is no buffer. */
static const char *kept_text(const struct pending *pending, size_t at)
{
    return pending->text.bytes == NULL ? "" : (const char *)pending->text.bytes + at;
}

static enum error write_events(struct store *store)
{
    struct pending *pending = &store->pending;
    for (size_t i = 0; i < pending->event_count; i++) {
        struct pending_event *event = &pending->events[i];
        event->row.text = kept_text(pending, event->text_at);
        pending->order[i] = (struct pending_order){.key = event->row.room, .index = i};
    }
    return write_groups(store, pending->event_count, timeline_write);
}

static enum error write_outcomes(struct store *store)
{
    struct pending *pending = &store->pending;
    for (size_t i = 0; i < pending->outcome_count; i++) {
        struct pending_outcome *outcome = &pending->outcomes[i];
        outcome->row.text = kept_text(pending, outcome->text_at);
        pending->order[i] = (struct pending_order){.key = outcome->row.session, .index = i};
    }
    return write_groups(store, pending->outcome_count, outcome_write);
}

enum error pending_flush(struct store *store)
{
    if (store->in_transaction && store->failure != OK)
        return store->failure;
    const struct pending *pending = &store->pending;
    if (pending->event_count == 0 && pending->outcome_count == 0)
        return OK;
    enum error error = reserve_order(store);
    if (error == OK)
        error = write_events(store);
    if (error == OK)
        error = write_outcomes(store);
    pending_clear(store);
    return error;
}

void pending_clear(struct store *store)
{
    struct pending *pending = &store->pending;
    pending->event_count = 0;
    pending->outcome_count = 0;
    pending->text.size = 0;
    if (pending->text.capacity > 2 * PENDING_TEXT_MAX)
        pack_buffer_free(&pending->text);
}

void pending_free(struct store *store)
{
    struct pending *pending = &store->pending;
    sqlite3_free(pending->events);
    sqlite3_free(pending->outcomes);
    sqlite3_free(pending->order);
    pack_buffer_free(&pending->text);
}
