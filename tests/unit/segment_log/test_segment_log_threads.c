/* SPDX-License-Identifier: MIT */
/* Readers, a check, a helper and a thread that changes entries, beside the owner and its disk thread, on the
 * files of the system. */
#include "segment_log/segment_log.h"
#include "support/folder.h"
#include "support/test.h"

#include <pthread.h>
#include <sched.h>
#include <sodium.h>
#include <stdatomic.h>
#include <string.h>

#define BATCHES 600
#define READERS 2

struct shared {
    struct segment_log *log;
    _Atomic uint64_t first; /* a seq that is readable, or just pruned */
    _Atomic bool is_over;
    _Atomic size_t reads;
    _Atomic size_t checks;
    _Atomic size_t changes;
    _Atomic size_t problems;
};

int test_setup(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

static size_t size_of(uint64_t seq)
{
    return (size_t)(seq * 37 % 700);
}

/* The bytes of an entry may change, all together. */
static void chain_size(uint8_t digest[static LOG_DIGEST_BYTES], const struct log_entry *entry)
{
    struct log_entry size = *entry;
    size.bytes = (const uint8_t *)&entry->size;
    size.size = sizeof entry->size;
    segment_log_chain_bytes(digest, &size);
}

static bool has_only(const struct log_entry *entry, uint8_t byte)
{
    for (size_t i = 0; i < entry->size; i++)
        if (entry->bytes[i] != byte)
            return false;
    return true;
}

struct reader {
    struct shared *shared;
    uint64_t next; /* 0: any */
};

static enum error check_entry(void *context, const struct log_entry *entry)
{
    struct reader *reader = context;
    bool is_right =
        (reader->next == 0 || entry->first_seq == reader->next) &&
        entry->size == size_of(entry->first_seq) &&
        (has_only(entry, (uint8_t)entry->first_seq) || has_only(entry, (uint8_t)~entry->first_seq));
    if (!is_right)
        atomic_fetch_add(&reader->shared->problems, 1);
    reader->next = entry->last_seq + 1;
    return OK;
}

/* A prune may overtake the reader. */
static void *read_always(void *context)
{
    struct shared *shared = context;
    while (!atomic_load(&shared->is_over)) {
        struct reader reader = {.shared = shared};
        struct segment_log_end end;
        uint64_t seq = atomic_load(&shared->first);
        enum error error = segment_log_read(shared->log, seq, check_entry, &reader, NULL);
        enum error other = segment_log_end_at(shared->log, seq, &end, NULL);
        if ((error != OK && error != ERROR_NOT_FOUND) || (other != OK && other != ERROR_NOT_FOUND))
            atomic_fetch_add(&shared->problems, 1);
        atomic_fetch_add(&shared->reads, error == OK);
    }
    return NULL;
}

static void *check_always(void *context)
{
    struct shared *shared = context;
    struct segment_log_scan scan = {0};
    while (!atomic_load(&shared->is_over)) {
        bool done;
        if (segment_log_scan(shared->log, &scan, 3000, &done, NULL) != OK)
            atomic_fetch_add(&shared->problems, 1);
        atomic_fetch_add(&shared->checks, done);
    }
    return NULL;
}

static void change(void *context, const struct log_entry *entry, uint8_t *bytes)
{
    struct shared *shared = context;
    for (size_t i = 0; i < entry->size; i++)
        bytes[i] = (uint8_t)~bytes[i];
    atomic_fetch_add(&shared->changes, 1);
}

static void *change_always(void *context)
{
    struct shared *shared = context;
    while (!atomic_load(&shared->is_over)) {
        uint64_t seq = atomic_load(&shared->first);
        const uint64_t seqs[] = {seq, seq + 1, seq + 40};
        enum error error = segment_log_rewrite(shared->log, seqs, 3, change, shared, NULL);
        if (error != OK && error != ERROR_NOT_FOUND)
            atomic_fetch_add(&shared->problems, 1);
    }
    return NULL;
}

static void *help_always(void *context)
{
    struct shared *shared = context;
    while (!atomic_load(&shared->is_over)) {
        if (segment_log_wants_spare(shared->log) && segment_log_make_spare(shared->log, NULL) != OK)
            atomic_fetch_add(&shared->problems, 1);
        (void)segment_log_size(shared->log);
    }
    return NULL;
}

static void *write_batch(void *context)
{
    struct shared *shared = context;
    if (segment_log_write(shared->log) != OK)
        atomic_fetch_add(&shared->problems, 1);
    return NULL;
}

static void append_batch(struct segment_log *log)
{
    uint8_t bytes[700];
    for (unsigned i = 0; i < 3; i++) {
        uint64_t seq = segment_log_end(log).position.seq + 1;
        memset(bytes, (int)seq, sizeof bytes);
        struct log_entry entry = {
            .epoch = 1, .first_seq = seq, .last_seq = seq, .bytes = bytes, .size = size_of(seq)};
        assert_int_equal(segment_log_append(log, &entry), OK);
    }
}

static void own(struct shared *shared)
{
    for (unsigned batch = 1; batch <= BATCHES; batch++) {
        pthread_t disk;
        append_batch(shared->log);
        assert_int_equal(pthread_create(&disk, NULL, write_batch, shared), 0);
        assert_int_equal(pthread_join(disk, NULL), 0);
        assert_int_equal(segment_log_finish(shared->log, OK), OK);
        uint64_t end = segment_log_durable(shared->log).position.seq;
        if (batch % 20 == 0 && end > 200)
            segment_log_prune(shared->log, end - 200);
        atomic_store(&shared->first, segment_log_first(shared->log));
        if (batch % 200 == 100) {
            struct segment_log_end base = segment_log_durable(shared->log);
            assert_int_equal(segment_log_reset(shared->log, &base, NULL), OK);
        }
    }
}

TEST(test_segment_log_threads__all_at_once)
{
    char *folder = folder_new();
    pthread_t readers[READERS], check, help, changes;
    struct segment_log_options options = {
        .folder = folder, .segment_bytes = SEGMENT_LOG_BYTES_MIN, .chain = chain_size};
    struct shared shared = {0};
    assert_int_equal(segment_log_open(&shared.log, &options, NULL), OK);
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, read_always, &shared), 0);
    assert_int_equal(pthread_create(&check, NULL, check_always, &shared), 0);
    assert_int_equal(pthread_create(&help, NULL, help_always, &shared), 0);
    assert_int_equal(pthread_create(&changes, NULL, change_always, &shared), 0);
    own(&shared);
    while ((atomic_load(&shared.checks) == 0 || atomic_load(&shared.reads) == 0 ||
            atomic_load(&shared.changes) == 0) &&
           atomic_load(&shared.problems) == 0)
        (void)sched_yield();
    atomic_store(&shared.is_over, true);
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    assert_int_equal(pthread_join(check, NULL), 0);
    assert_int_equal(pthread_join(help, NULL), 0);
    assert_int_equal(pthread_join(changes, NULL), 0);
    assert_int_equal(atomic_load(&shared.problems), 0);
    segment_log_close(shared.log);
    folder_remove(folder);
}
