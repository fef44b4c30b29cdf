/* SPDX-License-Identifier: MIT */
/* Writes changes into the database. The events of one room, and the outcomes of one session, are written
 * together, which costs a fraction of single writes. */
#include "store/store_internal.h"

#include <stdlib.h>

struct write {
    struct store *store;
    struct change_order *events;
    struct change_order *outcomes;
    size_t event_count;
    size_t outcome_count;
    size_t sequence;
};

static int compare_order(const void *left, const void *right)
{
    const struct change_order *a = left;
    const struct change_order *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

/* Sorts and hands out one group of equal keys after the other. */
static enum error write_groups(struct store *store, struct change_order *order, size_t count,
                               enum error (*write)(struct store *store,
                                                   const struct change_order *order, size_t count))
{
    if (count > 0)
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

static enum error write_outcomes(struct write *write)
{
    size_t count = write->outcome_count;
    write->outcome_count = 0;
    return write_groups(write->store, write->outcomes, count, outcome_write);
}

static enum error erase_session(struct write *write, uint64_t id)
{
    enum error error = write_outcomes(write); /* its own among them */
    return error == OK ? session_erase(write->store, id) : error;
}

static enum error write_change(struct write *write, const struct change *change,
                               struct change_order place)
{
    struct store *store = write->store;
    switch (change->kind) {
    case CHANGE_ACCOUNT:
        return account_write(store, &change->row.account);
    case CHANGE_DELIVERED:
        return account_write_delivered(store, change->row.delivered.account,
                                       change->row.delivered.seq);
    case CHANGE_SESSION:
        return session_write(store, &change->row.session);
    case CHANGE_SESSION_DELETED:
        return erase_session(write, change->row.id);
    case CHANGE_ROOM:
        return room_write(store, &change->row.room);
    case CHANGE_ROOM_DELETED:
        return room_erase(store, change->row.id);
    case CHANGE_MEMBER:
        return room_write_member(store, &change->row.member);
    case CHANGE_MEMBER_DELETED:
        return room_erase_member(store, change->row.member.room, change->row.member.account);
    case CHANGE_EVENT:
        place.key = change->row.event.room;
        write->events[write->event_count++] = place;
        return OK;
    case CHANGE_OUTCOME:
        place.key = change->row.outcome.session;
        write->outcomes[write->outcome_count++] = place;
        return OK;
    case CHANGE_EPOCH:
        return epoch_write(store, change->row.epoch);
    case CHANGE_CLUSTER_MEMBERS:
        return members_write(store, change->row.cluster_members.position,
                             change->row.cluster_members.bytes, change->row.cluster_members.size);
    case CHANGE_KINDS:
        break;
    }
    return store_fault(store, ERROR_INTERNAL, "write changes", "an unknown kind");
}

static enum error write_batch(struct write *write, const struct change_batch *batch)
{
    enum error error = OK;
    for (size_t i = 0; i < batch->count && error == OK; i++) {
        struct change change = change_get(batch, i);
        struct change_order place = {.sequence = write->sequence++, .batch = batch, .index = i};
        error = write_change(write, &change, place);
    }
    return error;
}

static const struct change_batch *next_of(const struct change_batch *batch,
                                          const struct change_batch *last)
{
    return batch == last ? NULL : batch->next;
}

/* One place for each change is more than enough, and needs no look at the kinds. */
static enum error reserve(struct write *write, const struct change_batch *first,
                          const struct change_batch *last)
{
    size_t count = 1;
    for (const struct change_batch *each = first; each != NULL; each = next_of(each, last))
        count += each->count;
    write->events = sqlite3_malloc64(2 * count * sizeof *write->events);
    if (write->events == NULL)
        return store_fault(write->store, ERROR_NO_MEMORY, "write changes", "rows");
    write->outcomes = write->events + count;
    return OK;
}

enum error change_write(struct store *store, const struct change_batch *first,
                        const struct change_batch *last)
{
    struct write write = {.store = store};
    enum error error = reserve(&write, first, last);
    for (const struct change_batch *each = first; each != NULL && error == OK;
         each = next_of(each, last))
        error = write_batch(&write, each);
    if (error == OK)
        error = write_groups(store, write.events, write.event_count, timeline_write);
    if (error == OK)
        error = write_outcomes(&write);
    if (error == OK)
        error = log_end_write(store, &last->end);
    sqlite3_free(write.events);
    return error;
}
