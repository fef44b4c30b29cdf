/* SPDX-License-Identifier: MIT */
#include "test_segment_log_support.h"

#include "memory_disk.h"

#include <sodium.h>
#include <string.h>

struct error_text why;
segment_log_chain *test_chain;

void assert_error_at(enum error found, enum error expected, const char *call, const char *file,
                     int line)
{
    if (found == expected)
        return;
    print_error("%s: %s, not %s (%s)\n", call, error_name(found), error_name(expected), why.text);
    _fail(file, line);
}

/* ---- model ---- */

void model_init(struct model *model)
{
    *model = (struct model){.entries = calloc(MODEL_MAX, sizeof *model->entries)};
    assert_non_null(model->entries);
}

void model_release(struct model *model)
{
    model_drop_to(model, 0);
    free(model->entries);
    *model = (struct model){0};
}

void model_drop_to(struct model *model, size_t count)
{
    while (model->count > count)
        free((void *)(uintptr_t)model->entries[--model->count].entry.bytes);
}

void model_reset(struct model *model, const struct segment_log_end *base)
{
    model_drop_to(model, 0);
    model->base = *base;
}

struct segment_log_end model_end(const struct model *model, size_t count)
{
    return count == 0 ? model->base : model->entries[count - 1].end;
}

const struct log_entry *model_add(struct model *model, size_t size, uint64_t salt)
{
    assert_true(model->count < MODEL_MAX);
    struct segment_log_end before = model_end(model, model->count);
    uint64_t seq = before.position.seq + 1;
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(seq * 31 + salt * 7 + i * (i >> 3));
    struct model_entry *added = &model->entries[model->count++];
    added->entry = (struct log_entry){
        .kind = seq % 5 == 0 ? LOG_ENTRY_MEMBERS : LOG_ENTRY_CHAT,
        .epoch = before.position.epoch + (seq % 7 == 1),
        .first_seq = seq,
        .last_seq = seq + (seq + salt) % 3,
        .bytes = bytes,
        .size = size,
    };
    added->end.position = log_entry_last(&added->entry);
    added->end.bytes = before.bytes + size;
    memcpy(added->end.digest, before.digest, LOG_DIGEST_BYTES);
    segment_log_chain_bytes(added->end.digest, &added->entry);
    return &added->entry;
}

size_t model_count_at(const struct model *model, uint64_t seq)
{
    for (size_t count = 0; count <= model->count; count++)
        if (model_end(model, count).position.seq == seq)
            return count;
    fail_msg("the log ends within an entry, at seq %llu", (unsigned long long)seq);
    return 0;
}

bool ends_are_equal(const struct segment_log_end *left, const struct segment_log_end *right)
{
    return log_position_compare(left->position, right->position) == 0 &&
           left->bytes == right->bytes &&
           memcmp(left->digest, right->digest, LOG_DIGEST_BYTES) == 0;
}

void assert_end(struct segment_log_end found, struct segment_log_end expected)
{
    assert_int_equal(found.position.epoch, expected.position.epoch);
    assert_int_equal(found.position.seq, expected.position.seq);
    assert_int_equal(found.bytes, expected.bytes);
    assert_memory_equal(found.digest, expected.digest, LOG_DIGEST_BYTES);
}

struct reader {
    const struct model *model;
    size_t next;
    size_t read;
};

static enum error check_entry(void *context, const struct log_entry *entry)
{
    struct reader *reader = context;
    assert_true(reader->next < reader->model->count);
    const struct model_entry *expected = &reader->model->entries[reader->next++];
    assert_int_equal(entry->kind, expected->entry.kind);
    assert_int_equal(entry->epoch, expected->entry.epoch);
    assert_int_equal(entry->first_seq, expected->entry.first_seq);
    assert_int_equal(entry->last_seq, expected->entry.last_seq);
    assert_int_equal(entry->size, expected->entry.size);
    assert_memory_equal(entry->bytes, expected->entry.bytes, entry->size);
    assert_memory_equal(entry->digest, expected->end.digest, LOG_DIGEST_BYTES);
    reader->read++;
    return OK;
}

enum error model_read(const struct model *model, struct segment_log *log, size_t *read)
{
    uint64_t first = segment_log_first(log);
    struct reader reader = {.model = model};
    *read = 0;
    if (first == 0)
        return OK;
    while (reader.next < model->count && model->entries[reader.next].entry.last_seq < first)
        reader.next++;
    enum error error = segment_log_read(log, first, check_entry, &reader, &why);
    *read = reader.read;
    return error;
}

void model_check(const struct model *model, struct segment_log *log, size_t count)
{
    size_t read, pruned = 0;
    assert_end(segment_log_durable(log), model_end(model, count));
    assert_ok(model_read(model, log, &read));
    while (pruned < count && model->entries[pruned].entry.last_seq < segment_log_first(log))
        pruned++;
    assert_int_equal(read, segment_log_first(log) == 0 ? 0 : count - pruned);
    if (segment_log_first(log) == 0)
        assert_int_equal(count, 0);
}

/* ---- log ---- */

enum error try_open(struct segment_log **log, struct log_position acked)
{
    struct segment_log_options options = {.folder = MEMORY_DISK,
                                          .segment_bytes = TEST_SEGMENT_BYTES,
                                          .chain = test_chain,
                                          .acked = acked};
    why.text[0] = '\0';
    return segment_log_open(log, &options, &why);
}

struct segment_log *open_log(struct log_position acked)
{
    struct segment_log *log = NULL;
    assert_ok(try_open(&log, acked));
    return log;
}

void write_batch(struct segment_log *log, struct model *model, const size_t *sizes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_ok(segment_log_append(log, model_add(model, sizes[i], 0)));
    assert_ok(segment_log_write(log));
    assert_ok(segment_log_finish(log, OK));
    assert_end(segment_log_end(log), model_end(model, model->count));
}

void write_one(struct segment_log *log, struct model *model, size_t size)
{
    write_batch(log, model, &size, 1);
}

enum error scan_all(struct segment_log *log, uint64_t slice)
{
    struct segment_log_scan scan = {0};
    bool done = false;
    enum error error = OK;
    while (error == OK && !done)
        error = segment_log_scan(log, &scan, slice, &done, &why);
    return error;
}

static enum error count_item(void *context, const struct segment_log_item *item)
{
    struct inspected *found = context;
    if (item->kind == SEGMENT_LOG_ITEM_DAMAGE && found->kinds[item->kind] == 0) {
        found->damage_number = item->number;
        found->damage_offset = item->offset;
        assert_true(item->problem[0] != '\0');
    }
    found->kinds[item->kind]++;
    return OK;
}

enum error inspect_all(const char *folder, struct inspected *found)
{
    *found = (struct inspected){0};
    return segment_log_inspect(folder, test_chain, count_item, found, &why);
}

int test_setup(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}
