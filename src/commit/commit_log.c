/* SPDX-License-Identifier: MIT */
#include "commit/commit_log.h"

#include "base/log.h"
#include "base/protobuf.h"
#include "commit/entry_queue.h"
#include "commit/fatal.h"
#include "commit/group_commit.h"
#include "commit/projector.h"
#include "commit/replay.h"
#include "commit/trial.h"

#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define BATCH_DELTAS_KEY (3u << 3 | 2u)  /* Batch.deltas: number << 3 | length-delimited */
#define BATCH_BYTES_KEPT (1024u * 1024u) /* of the memory that the largest batch so far took */
#define ENTRIES_AT_ONCE 256              /* of others, in one transaction, */
#define ENTRY_BYTES_AT_ONCE (4u * 1024u * 1024u)
#define WAITING_BYTES_MAX (64u * 1024u * 1024u)
#define QUEUED_ENTRIES_MAX 65536
#define BATCH_BYTES_GROWN (64u * 1024u) /* of a batch that need not wait for more */
#define BATCH_DELTAS_GROWN 256u

enum phase { FREE, OPEN, WRITING };

struct commit_log {
    struct commit_log_options options;
    struct store *store;
    struct chat *chat;
    enum phase phase;
    uint32_t level; /* of features: the most that a delta may need */
    uint64_t epoch; /* of the epoch; 0: not the master */
    struct log_position applied;
    struct log_position durable;
    uint64_t committed_seq; /* as the driver told: it may not be on this disk yet */
    uint64_t pruned_at;     /* the synced seq at the last prune */
    uint64_t prune_before;  /* the log may forget entries before that; 0: none */

    struct entry_queue
        waiting; /* of others; the first `taken` are applied in the open transaction */

    /* The batch: packed Batch.deltas fields one after the other. */
    uint8_t *bytes;
    size_t used;
    size_t capacity;
    uint64_t first_seq;                  /* 0: no batch is open */
    bool is_logged;                      /* the driver has put it into the log */
    bool events[COMMIT_LOG_DURABLE + 1]; /* by kind: still to be taken */
    enum error failure;                  /* of COMMIT_LOG_FAILED */
    struct group_commit group;
    uint64_t answered_seq; /* the commit waiters up to there were opened */

    struct commit_waiter *waiters; /* ascending by seq */
    struct error_text problem;

    /* The disk's thread: from `start` to `done` the store is its. */
    struct task start;
    struct task done;
    sem_t finished;
    enum error written;
    bool shares_writes;
    bool is_settled; /* the core has waited for it; `done` is still on its way */

    struct projector projector;
    size_t tried; /* changes, in the child of a trial */
};

/* ---- commit waiters ---- */

static uint64_t shown_seq(const struct commit_log *commit_log)
{
    return commit_log->committed_seq < commit_log->durable.seq ? commit_log->committed_seq
                                                               : commit_log->durable.seq;
}

static uint64_t batch_count(const struct commit_log *commit_log)
{
    return commit_log->first_seq == 0 ? 0 : commit_log->applied.seq - commit_log->first_seq + 1;
}

static void wake_waiters(struct commit_log *commit_log)
{
    uint64_t shown = shown_seq(commit_log);
    if (shown > commit_log->answered_seq)
        group_commit_answered(&commit_log->group, shown - commit_log->answered_seq,
                              batch_count(commit_log));
    commit_log->answered_seq = shown;
    while (commit_log->waiters != NULL && commit_log->waiters->seq <= shown_seq(commit_log)) {
        struct commit_waiter *commit_waiter = commit_log->waiters;
        DL_DELETE(commit_log->waiters, commit_waiter);
        commit_waiter->open(commit_waiter, true);
    }
}

/* The commit waiters of positions after seq, which stand at the end of the list, in their order. A waiter may
 * add others. */
static void fail_waiters(struct commit_log *commit_log, uint64_t seq)
{
    struct commit_waiter *failed = NULL;
    while (commit_log->waiters != NULL && commit_log->waiters->prev->seq > seq) {
        struct commit_waiter *last = commit_log->waiters->prev;
        DL_DELETE(commit_log->waiters, last);
        DL_PREPEND(failed, last);
    }
    while (failed != NULL) {
        struct commit_waiter *commit_waiter = failed;
        DL_DELETE(failed, commit_waiter);
        commit_waiter->open(commit_waiter, false);
    }
}

void commit_log_wait(struct commit_log *commit_log, struct commit_waiter *commit_waiter)
{
    commit_waiter->seq = commit_log->applied.seq;
    if (commit_waiter->seq <= shown_seq(commit_log))
        commit_waiter->open(commit_waiter, true);
    else
        DL_APPEND(commit_log->waiters, commit_waiter);
}

void commit_log_give_up(struct commit_log *commit_log)
{
    fail_waiters(commit_log, 0);
}

bool commit_log_has_waiters(const struct commit_log *commit_log)
{
    return commit_log->waiters != NULL;
}

/* ---- the batch ---- */

static enum error reserve(struct commit_log *commit_log, size_t more)
{
    if (commit_log->capacity - commit_log->used >= more)
        return OK;
    size_t capacity = commit_log->capacity * 2 > commit_log->used + more ? commit_log->capacity * 2
                                                                         : commit_log->used + more;
    uint8_t *bytes = realloc(commit_log->bytes, capacity);
    if (bytes == NULL)
        return ERROR_NO_MEMORY;
    commit_log->bytes = bytes;
    commit_log->capacity = capacity;
    return OK;
}

static enum error add_to_batch(struct commit_log *commit_log, const Jackdaw__Delta *delta)
{
    size_t size = jackdaw__delta__get_packed_size(delta);
    enum error error = reserve(commit_log, 1 + protobuf_varint_size(size) + size);
    if (error != OK)
        return error;
    uint8_t *at = commit_log->bytes + commit_log->used;
    *at++ = BATCH_DELTAS_KEY;
    at = protobuf_put_varint(at, size);
    at += jackdaw__delta__pack(delta, at);
    commit_log->used = (size_t)(at - commit_log->bytes);
    return OK;
}

/* Batch.epoch and first_seq go behind the deltas: the order of fields means nothing. */
static enum error finish_batch(struct commit_log *commit_log)
{
    Jackdaw__Batch head = JACKDAW__BATCH__INIT;
    head.epoch = commit_log->epoch;
    head.first_seq = commit_log->first_seq;
    enum error error = reserve(commit_log, jackdaw__batch__get_packed_size(&head));
    if (error == OK)
        commit_log->used += jackdaw__batch__pack(&head, commit_log->bytes + commit_log->used);
    return error;
}

static void forget_batch(struct commit_log *commit_log)
{
    if (commit_log->capacity > BATCH_BYTES_KEPT) {
        free(commit_log->bytes);
        commit_log->bytes = NULL;
        commit_log->capacity = 0;
    }
    commit_log->used = 0;
    commit_log->first_seq = 0;
    commit_log->is_logged = false;
    commit_log->group = (struct group_commit){0}; /* later requests are in the next batch */
}

size_t commit_log_batch_bytes(const struct commit_log *commit_log)
{
    return commit_log->used;
}

/* ---- rolling back ---- */

void commit_log_roll_back(struct commit_log *commit_log)
{
    ASSERT(commit_log->phase != WRITING || commit_log->is_settled);
    store_rollback(commit_log->store);
    forget_batch(commit_log);
    entry_queue_clear(&commit_log->waiting);
    commit_log->phase = commit_log->is_settled ? WRITING : FREE;
    bool was_undone = commit_log->applied.seq != commit_log->durable.seq;
    commit_log->applied = commit_log->durable;
    struct error_text why;
    if (was_undone && chat_reload(commit_log->chat, &why) != OK)
        fatal("commit_log", why.text); /* the state in memory was never durable */
    commit_log->events[COMMIT_LOG_ROLLED_BACK] =
        was_undone || commit_log->events[COMMIT_LOG_ROLLED_BACK];
    fail_waiters(commit_log, commit_log->durable.seq);
}

/* In a trial it is no verdict: the same will happen in the process that goes on. */
static void note_problem(struct commit_log *commit_log, enum error error, const char *doing)
{
    if (trial_in_child())
        trial_leave();
    const char *detail = store_last_problem(commit_log->store);
    (void)error_set(&commit_log->problem, error, "%s: %s", error_name(error), doing);
    log_error("commit_log", "rolled_back", log_string("doing", doing),
              log_string("error", error_name(error)), log_string("detail", detail),
              log_number("deltas", commit_log->applied.seq - commit_log->durable.seq));
}

static void fail(struct commit_log *commit_log, enum error error, const char *doing)
{
    note_problem(commit_log, error, doing);
    commit_log_roll_back(commit_log);
    commit_log->events[COMMIT_LOG_FAILED] = true;
    commit_log->failure = error;
}

/* ---- applying ---- */

/* One entry after the other where one of them has ended a process: so it is known which. */
static size_t entries_at_once(const struct commit_log *commit_log)
{
    const struct crash_note *note = commit_log->options.note;
    bool is_careful = note != NULL && crash_note_covers(note, commit_log->durable.seq + 1);
    return is_careful ? 1 : ENTRIES_AT_ONCE;
}

/* The entries that are about to be applied, or written. */
static void note_entries(const struct commit_log *commit_log, struct log_position last,
                         uint64_t first_seq)
{
    if (commit_log->options.note != NULL)
        crash_note_begin(commit_log->options.note, last, first_seq);
}

static void note_end(const struct commit_log *commit_log)
{
    if (commit_log->options.note != NULL)
        crash_note_end(commit_log->options.note);
}

static enum error open_transaction(struct commit_log *commit_log)
{
    ASSERT(commit_log->phase != WRITING);
    if (commit_log->phase == OPEN)
        return OK;
    enum error error = store_begin(commit_log->store);
    if (error == OK)
        commit_log->phase = OPEN;
    return error;
}

/* Whether entries that are the log's already are in the open transaction, before the batch. */
static bool has_others(const struct commit_log *commit_log)
{
    return commit_log->first_seq != commit_log->durable.seq + 1;
}

/* An error of a single request undoes the batch. The driver must also know of an error of the disk,
 * and of one that undoes entries of the log. */
static void fail_proposal(struct commit_log *commit_log, enum error error)
{
    bool is_local = error == ERROR_CORRUPT || error == ERROR_NO_MEMORY;
    if (!is_local || has_others(commit_log)) {
        fail(commit_log, error, "while writing");
        return;
    }
    note_problem(commit_log, error, "while writing");
    commit_log_roll_back(commit_log);
}

enum error commit_log_open(struct commit_log *commit_log)
{
    if (commit_log->events[COMMIT_LOG_FAILED])
        return ERROR_CLOSED;
    enum error error = open_transaction(commit_log);
    if (error != OK)
        fail(commit_log, error, "while writing");
    return error;
}

bool commit_log_is_open(const struct commit_log *commit_log)
{
    return commit_log->phase == OPEN;
}

void commit_log_flush(struct commit_log *commit_log)
{
    if (commit_log->phase != OPEN || !trial_in_child())
        return;
    struct store *store = commit_log->store;
    enum error error = OK;
    for (; commit_log->tried < store_change_count(store) && error == OK; commit_log->tried++)
        error = store_try_change(store, commit_log->tried);
    if (error != OK)
        fail_proposal(commit_log, error);
}

enum error commit_log_propose(struct commit_log *commit_log, const Jackdaw__Delta *delta)
{
    if (commit_log->epoch == 0 || commit_log->events[COMMIT_LOG_FAILED])
        return ERROR_CLOSED;
    if (chat_level_of(delta) > commit_log->level)
        return ERROR_VERSION;
    ASSERT(commit_log->waiting.first == NULL);
    struct log_position position = {.epoch = commit_log->epoch, .seq = commit_log->applied.seq + 1};
    enum error error = open_transaction(commit_log);
    if (commit_log->first_seq == 0)
        commit_log->first_seq = position.seq;
    commit_log->applied =
        position; /* commit waiters that come up while it is applied wait for it, too */
    if (error == OK)
        error = chat_apply(commit_log->chat, delta, position);
    if (error == OK)
        error = add_to_batch(commit_log, delta);
    if (error != OK)
        fail_proposal(commit_log, error);
    return error;
}

bool commit_log_catch_up(struct commit_log *commit_log)
{
    size_t count = 0;
    size_t bytes = 0;
    size_t most = entries_at_once(commit_log);
    if (most == 1 && commit_log->phase == OPEN)
        return commit_log->waiting.first == NULL;
    while (commit_log->waiting.first != NULL && count < most && bytes < ENTRY_BYTES_AT_ONCE) {
        const struct log_entry *entry = &commit_log->waiting.first->entry;
        enum error error = open_transaction(commit_log);
        commit_log->applied = log_entry_last(entry);
        note_entries(commit_log, commit_log->applied, entry->first_seq);
        if (error == OK)
            error = entry_apply(entry, commit_log->chat, commit_log->store);
        note_end(commit_log);
        if (error != OK) {
            fail(commit_log, error, "while following");
            break;
        }
        count++;
        bytes += entry->size;
        entry_queue_drop_first(&commit_log->waiting);
    }
    return commit_log->waiting.first == NULL;
}

static enum error log_own(struct commit_log *commit_log, const struct log_entry *entry)
{
    ASSERT(entry->first_seq == commit_log->first_seq && entry->last_seq == commit_log->applied.seq);
    commit_log->is_logged = true;
    return store_log_append(commit_log->store, entry);
}

enum error commit_log_append(struct commit_log *commit_log, const struct log_entry *entry)
{
    bool is_own =
        commit_log->first_seq != 0 && !commit_log->is_logged && entry->bytes == commit_log->bytes;
    return is_own ? log_own(commit_log, entry) : entry_queue_push(&commit_log->waiting, entry);
}

/* ---- writing ---- */

static void write_on_disk(struct task *task)
{
    struct commit_log *commit_log =
        (struct commit_log *)((char *)task - offsetof(struct commit_log, start));
    struct task_queue *queue = commit_log->options.queue;
    commit_log->written = store_commit_write(commit_log->store);
    /* Once the semaphore is up the core may go on, but not without the task. */
    (void)sem_post(&commit_log->finished);
    task_queue_push(queue, &commit_log->done);
}

/* After the disk's thread: its half of the commit is judged. */
static enum error finish_write(struct commit_log *commit_log)
{
    enum error error = store_commit_finish(commit_log->store, commit_log->written);
    if (error != OK)
        return error;
    commit_log->durable = store_position(commit_log->store);
    commit_log->problem.text[0] = '\0';
    return OK;
}

/* ---- the database behind the log ---- */

/* As far as the synced database allows, each time that it was synced. */
static void prune(struct commit_log *commit_log)
{
    uint64_t synced = store_synced_seq(commit_log->store);
    if (commit_log->prune_before == 0 || synced == commit_log->pruned_at)
        return;
    commit_log->pruned_at = synced;
    store_log_prune(commit_log->store, commit_log->prune_before);
}

void commit_log_tick(struct commit_log *commit_log)
{
    projector_tick(&commit_log->projector);
}

void commit_log_drop_orphans(struct commit_log *commit_log, uint64_t last)
{
    projector_drop_orphans(&commit_log->projector, last);
}

uint64_t commit_log_last_orphan(const struct commit_log *commit_log)
{
    uint64_t last = store_last_orphan(commit_log->store);
    return last > commit_log->projector.drop_orphans ? last : 0;
}

void commit_log_wait_for_projection(struct commit_log *commit_log)
{
    projector_wait(&commit_log->projector);
}

static void tell_durable(struct commit_log *commit_log)
{
    projector_committed(&commit_log->projector);
    prune(commit_log);
    commit_log->events[COMMIT_LOG_DURABLE] = true;
    wake_waiters(commit_log);
}

static void on_written(struct task *task)
{
    struct commit_log *commit_log =
        (struct commit_log *)((char *)task - offsetof(struct commit_log, done));
    commit_log->phase = FREE;
    if (commit_log->is_settled) {
        commit_log->is_settled = false;
        tell_durable(commit_log);
        return;
    }
    while (sem_wait(&commit_log->finished) != 0) {
    }
    enum error error = finish_write(commit_log);
    if (error != OK)
        fail(commit_log, error, "while committing");
    else
        tell_durable(commit_log);
}

enum error commit_log_wait_for_disk(struct commit_log *commit_log)
{
    if (commit_log->phase != WRITING || commit_log->is_settled)
        return OK;
    while (sem_wait(&commit_log->finished) != 0) {
    }
    commit_log->is_settled = true;
    enum error error = finish_write(commit_log);
    if (error == OK)
        return OK;
    note_problem(commit_log, error, "while committing");
    commit_log_roll_back(commit_log);
    return error;
}

static void start_write(struct commit_log *commit_log)
{
    commit_log->phase = WRITING;
    commit_log->start.run = write_on_disk;
    commit_log->done.run = on_written;
    if (commit_log->options.disk != NULL && commit_log->shares_writes) {
        worker_push(commit_log->options.disk, &commit_log->start);
        return;
    }
    commit_log->written = store_commit_write(commit_log->store);
    (void)sem_post(&commit_log->finished);
    on_written(&commit_log->done);
}

bool commit_log_seal(struct commit_log *commit_log, struct commit_log_batch *batch)
{
    if (commit_log->phase != OPEN || commit_log->first_seq == 0)
        return false;
    enum error error = finish_batch(commit_log);
    if (error != OK) {
        fail_proposal(commit_log, error);
        return false;
    }
    *batch = (struct commit_log_batch){
        .bytes = commit_log->bytes, .size = commit_log->used, .count = batch_count(commit_log)};
    return true;
}

static void give_up_batch(struct commit_log *commit_log)
{
    if (has_others(commit_log))
        fail(commit_log, ERROR_CLOSED, "while proposing");
    else
        commit_log_roll_back(commit_log);
}

bool commit_log_may_grow(struct commit_log *commit_log, uint64_t now_us)
{
    bool has_others_batch = commit_log->phase == OPEN && has_others(commit_log);
    if (!commit_log->shares_writes || has_others_batch || commit_log->used >= BATCH_BYTES_GROWN ||
        batch_count(commit_log) >= BATCH_DELTAS_GROWN)
        return false;
    bool is_awaited = commit_log->committed_seq < commit_log->durable.seq;
    return is_awaited || group_commit_waits(&commit_log->group, batch_count(commit_log), now_us);
}

uint64_t commit_log_grows_until_us(struct commit_log *commit_log, uint64_t now_us)
{
    bool may_begin = commit_log->phase != WRITING && commit_log->shares_writes;
    return may_begin ? group_commit_deadline_us(&commit_log->group, now_us) : UINT64_MAX;
}

void commit_log_write(struct commit_log *commit_log)
{
    if (commit_log->phase != OPEN)
        return;
    if (commit_log->first_seq != 0 && !commit_log->is_logged) {
        give_up_batch(commit_log);
        return;
    }
    enum error error = store_commit_prepare(commit_log->store);
    if (error != OK) {
        fail(commit_log, error, "while committing");
        return;
    }
    forget_batch(commit_log);
    start_write(commit_log);
}

void commit_log_prune(struct commit_log *commit_log, uint64_t before_seq)
{
    commit_log->prune_before = before_seq;
}

/* ---- looking in, being told ---- */

bool commit_log_next_event(struct commit_log *commit_log, struct commit_log_event *event)
{
    for (size_t kind = 0; kind <= COMMIT_LOG_DURABLE; kind++) {
        if (!commit_log->events[kind])
            continue;
        commit_log->events[kind] = false;
        *event =
            (struct commit_log_event){.kind = (enum commit_log_event_kind)kind,
                                      .error = kind == COMMIT_LOG_FAILED ? commit_log->failure : OK,
                                      .position = commit_log->durable};
        return true;
    }
    return false;
}

bool commit_log_is_full(const struct commit_log *commit_log)
{
    return commit_log->waiting.bytes > WAITING_BYTES_MAX ||
           commit_log->waiting.count > QUEUED_ENTRIES_MAX;
}

void commit_log_share_writes(struct commit_log *commit_log, bool share)
{
    commit_log->shares_writes = share;
}

void commit_log_set_level(struct commit_log *commit_log, uint32_t level)
{
    commit_log->level = level;
}

bool commit_log_is_master(const struct commit_log *commit_log)
{
    return commit_log->epoch != 0;
}

bool commit_log_is_free(const struct commit_log *commit_log)
{
    return commit_log->phase != WRITING;
}

const char *commit_log_problem(const struct commit_log *commit_log)
{
    return commit_log->problem.text;
}

struct log_position commit_log_applied(const struct commit_log *commit_log)
{
    return commit_log->applied;
}

struct log_position commit_log_committed(const struct commit_log *commit_log)
{
    uint64_t seq = shown_seq(commit_log);
    return (struct log_position){.epoch = store_epoch_at(commit_log->store, seq), .seq = seq};
}

void commit_log_commit(struct commit_log *commit_log, uint64_t seq)
{
    commit_log->committed_seq = seq;
    wake_waiters(commit_log);
}

void commit_log_set_epoch(struct commit_log *commit_log, uint64_t epoch)
{
    commit_log->epoch = epoch;
    if (epoch == 0)
        fail_waiters(commit_log, 0);
}

void commit_log_replaced(struct commit_log *commit_log, struct store *store)
{
    commit_log->store = store;
    projector_set_store(&commit_log->projector, store);
    commit_log->prune_before = 0; /* a place in the log before this one */
    commit_log->pruned_at = 0;
    commit_log->applied = commit_log->durable = store_position(commit_log->store);
    commit_log->committed_seq = 0;
    fail_waiters(commit_log, 0);
}

/* ---- life ---- */

enum error commit_log_new(struct commit_log **out, const struct commit_log_options *options)
{
    struct commit_log *commit_log = calloc(1, sizeof *commit_log);
    if (commit_log == NULL)
        return ERROR_NO_MEMORY;
    commit_log->options = *options;
    commit_log->store = options->store;
    commit_log->shares_writes = true;
    commit_log->level = chat_level();
    commit_log->applied = commit_log->durable = store_position(options->store);
    (void)sem_init(&commit_log->finished, 0, 0);
    projector_init(&commit_log->projector, options->store, options->projecting, options->queue,
                   options->projector);
    *out = commit_log;
    return OK;
}

enum error commit_log_attach(struct commit_log *commit_log, struct chat *chat,
                             struct error_text *why)
{
    struct replay replay = {
        .store = commit_log->store,
        .chat = chat,
        .applying = commit_log->options.note,
        .projecting = commit_log->options.projecting,
    };
    commit_log->chat = chat;
    enum error error = replay_run(&replay, why);
    commit_log->applied = commit_log->durable = store_position(commit_log->store);
    return error;
}

void commit_log_free(struct commit_log *commit_log)
{
    if (commit_log == NULL)
        return;
    ASSERT(commit_log->phase != WRITING);
    fail_waiters(commit_log, 0);
    projector_release(&commit_log->projector);
    entry_queue_clear(&commit_log->waiting);
    free(commit_log->bytes);
    (void)sem_destroy(&commit_log->finished);
    free(commit_log);
}
