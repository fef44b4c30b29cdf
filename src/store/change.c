/* SPDX-License-Identifier: MIT */
/* The functions of store.h that change rows: each adds to the batch of the open transaction. */
#include "store/store_internal.h"

#include <string.h>

#define FIRST_CHANGES 8u
#define CHANGES_KEPT 4096u              /* of a batch that is used again */
#define TEXT_KEPT (size_t)(1024 * 1024) /* likewise, bytes */

/* ---- batches ---- */

void change_batch_clear(struct change_batch *batch)
{
    if (batch->capacity > CHANGES_KEPT) {
        sqlite3_free(batch->changes);
        batch->changes = NULL;
        batch->capacity = 0;
    }
    if (batch->text.capacity > TEXT_KEPT)
        pack_buffer_free(&batch->text);
    batch->count = 0;
    batch->text.size = 0;
    batch->kinds = 0;
}

void change_batch_free(struct change_batch *batch)
{
    if (batch == NULL)
        return;
    sqlite3_free(batch->changes);
    pack_buffer_free(&batch->text);
    sqlite3_free(batch);
}

size_t change_batch_bytes(const struct change_batch *batch)
{
    return sizeof *batch + batch->capacity * sizeof *batch->changes + batch->text.capacity;
}

/* ---- a change with its strings ---- */

/* Returns the string at *at, and moves *at behind its NUL. */
static const char *take_string(const struct change_batch *batch, size_t *at)
{
    const char *string = (const char *)batch->text.bytes + *at;
    *at += strlen(string) + 1;
    return string;
}

struct change change_get(const struct change_batch *batch, size_t index)
{
    struct change change = batch->changes[index];
    size_t at = change.text_at;
    switch (change.kind) {
    case CHANGE_ACCOUNT:
        change.row.account.name = take_string(batch, &at);
        change.row.account.folded = take_string(batch, &at);
        change.row.account.password_hash = take_string(batch, &at);
        break;
    case CHANGE_SESSION:
        change.row.session.device = take_string(batch, &at);
        break;
    case CHANGE_ROOM:
        change.row.room.name = take_string(batch, &at);
        change.row.room.folded = take_string(batch, &at);
        change.row.room.topic = take_string(batch, &at);
        break;
    case CHANGE_EVENT:
        change.row.event.text = (const char *)batch->text.bytes + at;
        break;
    case CHANGE_OUTCOME:
        change.row.outcome.text = take_string(batch, &at);
        break;
    case CHANGE_CLUSTER_MEMBERS:
        change.row.cluster_members.bytes = batch->text.bytes + at;
        break;
    default:
        break;
    }
    return change;
}

bool change_blank(struct change_batch *batch, size_t index)
{
    struct change change = change_get(batch, index);
    const char *text = NULL;
    switch (change.kind) {
    case CHANGE_SESSION:
        text = change.row.session.device;
        break;
    case CHANGE_ROOM:
        text = change.row.room.topic;
        break;
    case CHANGE_EVENT:
        batch->changes[index].row.event.text_size = 0;
        return change.row.event.text_size > 0;
    case CHANGE_OUTCOME:
        text = change.row.outcome.text;
        break;
    default:
        break;
    }
    if (text == NULL || *text == '\0')
        return false;
    batch->text.bytes[text - (const char *)batch->text.bytes] = '\0';
    return true;
}

/* ---- adding ---- */

static enum error no_memory(struct store *store)
{
    store->failure = ERROR_NO_MEMORY;
    return store_fault(store, ERROR_NO_MEMORY, "keep what is to be written", "rows");
}

enum error change_open_batch(struct store *store)
{
    ASSERT(store->in_transaction && !store->is_committing);
    if (store->failure != OK)
        return store->failure;
    if (store->open == NULL)
        store->open = projection_new_batch(store->projection);
    return store->open == NULL ? no_memory(store) : OK;
}

static enum error grow(struct store *store, struct change_batch *batch)
{
    if (batch->count < batch->capacity)
        return OK;
    size_t capacity = batch->capacity == 0 ? FIRST_CHANGES : batch->capacity * 2;
    struct change *changes = sqlite3_realloc64(batch->changes, capacity * sizeof *changes);
    if (changes == NULL)
        return no_memory(store);
    batch->changes = changes;
    batch->capacity = capacity;
    return OK;
}

/* The parts of the change's text, one behind the other, each with a NUL. */
struct part {
    const void *bytes;
    size_t size;
};

static enum error add(struct store *store, const struct change *change, const struct part *parts,
                      size_t parts_count)
{
    enum error error = change_open_batch(store);
    if (error == OK)
        error = grow(store, store->open);
    if (error != OK)
        return error;
    struct change_batch *batch = store->open;
    size_t size = 0;
    for (size_t i = 0; i < parts_count; i++)
        size += parts[i].size + 1;
    if (size > 0 && pack_buffer_reserve(store, &batch->text, size) != OK)
        return no_memory(store);
    struct change *added = &batch->changes[batch->count++];
    *added = *change;
    added->text_at = batch->text.size;
    for (size_t i = 0; i < parts_count; i++) {
        pack_bytes(&batch->text, parts[i].bytes, parts[i].size);
        pack_bytes(&batch->text, "", 1);
    }
    batch->kinds |= 1u << change->kind;
    return OK;
}

static struct part part_of(const char *string)
{
    return (struct part){.bytes = string, .size = strlen(string)};
}

static enum error invalid(struct store *store, const char *what)
{
    return error_set(&store->problem, ERROR_INVALID, "%s", what);
}

/* ---- the rows of the chat ---- */

enum error store_put_account(struct store *store, const struct account_row *row)
{
    const struct part parts[] = {part_of(row->name), part_of(row->folded),
                                 part_of(row->password_hash)};
    return add(store, &(struct change){.kind = CHANGE_ACCOUNT, .row.account = *row}, parts, 3);
}

enum error store_set_delivered(struct store *store, uint64_t account, uint64_t seq)
{
    struct change change = {.kind = CHANGE_DELIVERED,
                            .row.delivered = {.account = account, .seq = seq}};
    return add(store, &change, NULL, 0);
}

enum error store_put_session(struct store *store, const struct session_row *row)
{
    const struct part part = part_of(row->device);
    return add(store, &(struct change){.kind = CHANGE_SESSION, .row.session = *row}, &part, 1);
}

enum error store_delete_session(struct store *store, uint64_t id)
{
    outcome_forget(store);
    return add(store, &(struct change){.kind = CHANGE_SESSION_DELETED, .row.id = id}, NULL, 0);
}

enum error store_put_room(struct store *store, const struct room_row *row)
{
    const struct part parts[] = {part_of(row->name), part_of(row->folded), part_of(row->topic)};
    return add(store, &(struct change){.kind = CHANGE_ROOM, .row.room = *row}, parts, 3);
}

enum error store_delete_room(struct store *store, uint64_t id)
{
    return add(store, &(struct change){.kind = CHANGE_ROOM_DELETED, .row.id = id}, NULL, 0);
}

enum error store_put_member(struct store *store, const struct member_row *row)
{
    return add(store, &(struct change){.kind = CHANGE_MEMBER, .row.member = *row}, NULL, 0);
}

enum error store_delete_member(struct store *store, uint64_t room, uint64_t account)
{
    struct change change = {.kind = CHANGE_MEMBER_DELETED,
                            .row.member = {.room = room, .account = account}};
    return add(store, &change, NULL, 0);
}

enum error store_add_event(struct store *store, const struct timeline_row *row)
{
    ASSERT(row->text != NULL);
    if (row->seq == 0 || row->seq > INT64_MAX || row->number > INT64_MAX)
        return invalid(store, "add an event: its seq or number is out of range");
    const struct part part = {.bytes = row->text, .size = row->text_size};
    return add(store, &(struct change){.kind = CHANGE_EVENT, .row.event = *row}, &part, 1);
}

enum error store_put_outcome(struct store *store, const struct outcome_row *row)
{
    ASSERT(row->text != NULL);
    if (row->request == 0 || row->request > INT64_MAX)
        return invalid(store, "put an outcome: its request is out of range");
    const struct part part = part_of(row->text);
    enum error error =
        add(store, &(struct change){.kind = CHANGE_OUTCOME, .row.outcome = *row}, &part, 1);
    if (error == OK)
        outcome_remember(store, row);
    return error;
}

/* ---- epochs and members ---- */

enum error store_add_epoch(struct store *store, struct epoch_start start)
{
    enum error error = epoch_reserve(store, start);
    if (error == OK)
        error = add(store, &(struct change){.kind = CHANGE_EPOCH, .row.epoch = start}, NULL, 0);
    if (error == OK)
        store->epochs[store->now.epoch_count++] = start;
    return error;
}

enum error store_put_members(struct store *store, struct log_position position,
                             const uint8_t *bytes, size_t size)
{
    if (position.seq > INT64_MAX || size > STORE_MEMBERS_MAX)
        return invalid(store, "keep the list of members: its seq or its size is out of range");
    const struct part part = {.bytes = bytes, .size = size};
    struct change change = {.kind = CHANGE_CLUSTER_MEMBERS,
                            .row.cluster_members = {.position = position, .size = size}};
    return add(store, &change, &part, 1);
}
