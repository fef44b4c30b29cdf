/* SPDX-License-Identifier: MIT */
#include "cluster/ledger.h"

#include "base/log.h"
#include "cluster/entries.h"
#include "cluster/fatal.h"
#include "cluster/group_commit.h"
#include "cluster/trial.h"

#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_DELTAS_KEY (3u << 3 | 2u)  /* Batch.deltas: number << 3 | length-delimited */
#define BATCH_BYTES_KEPT (1024u * 1024u) /* of the memory that the largest batch so far took */
#define ENTRIES_AT_ONCE 256              /* of others, in one transaction, */
#define ENTRY_BYTES_AT_ONCE (4u * 1024u * 1024u)
#define WAITING_BYTES_MAX (64u * 1024u * 1024u)
#define WAITING_ENTRIES_MAX 65536
#define PRUNED_ROWS_AT_ONCE 1024
#define BATCH_BYTES_GROWN (64u * 1024u) /* of a batch that need not wait for more */
#define BATCH_DELTAS_GROWN 256u

enum phase { FREE, OPEN, WRITING };

struct ledger {
    struct ledger_options options;
    struct store *store;
    struct chat *chat;
    enum phase phase;
    uint64_t epoch; /* of the reign; 0: not the master */
    struct position applied;
    struct position durable;
    uint64_t committed_seq; /* as the driver told: it may not be on this disk yet */
    uint64_t prune_before;  /* 0: nothing is due */

    struct entries waiting; /* of others; the first `taken` are applied in the open transaction */

    /* The batch: packed Batch.deltas fields one after the other. */
    uint8_t *bytes;
    size_t used;
    size_t capacity;
    uint64_t first_seq; /* 0: no batch is open */
    bool is_logged;     /* the driver has put it into the log */
    struct group_commit group;
    uint64_t answered_seq; /* the gates up to there were opened */

    struct gate *first_gate;
    struct gate **last_gate;
    struct error_text problem;

    /* The disk's thread: from `start` to `done` the store is its. */
    struct task start;
    struct task done;
    sem_t finished;
    enum error written;
    bool shares_writes;
    bool is_settled; /* the core has waited for it; `done` is still on its way */
};

/* ---- gates ---- */

static uint64_t shown_seq(const struct ledger *ledger)
{
    return ledger->committed_seq < ledger->durable.seq ? ledger->committed_seq
                                                       : ledger->durable.seq;
}

static void open_first_gate(struct ledger *ledger, bool committed)
{
    struct gate *gate = ledger->first_gate;
    ledger->first_gate = gate->next;
    if (ledger->first_gate == NULL)
        ledger->last_gate = &ledger->first_gate;
    gate->open(gate, committed);
}

static uint64_t batch_count(const struct ledger *ledger)
{
    return ledger->first_seq == 0 ? 0 : ledger->applied.seq - ledger->first_seq + 1;
}

static void open_gates(struct ledger *ledger)
{
    uint64_t shown = shown_seq(ledger);
    if (shown > ledger->answered_seq)
        group_commit_answered(&ledger->group, shown - ledger->answered_seq, batch_count(ledger));
    ledger->answered_seq = shown;
    while (ledger->first_gate != NULL && ledger->first_gate->seq <= shown_seq(ledger))
        open_first_gate(ledger, true);
}

/* Those behind positions after seq. They stand in the order of their positions. */
static void fail_gates(struct ledger *ledger, uint64_t seq)
{
    struct gate **link = &ledger->first_gate;
    while (*link != NULL && (*link)->seq <= seq)
        link = &(*link)->next;
    struct gate *failed = *link;
    *link = NULL;
    ledger->last_gate = link;
    while (failed != NULL) {
        struct gate *gate = failed;
        failed = gate->next;
        gate->open(gate, false);
    }
}

void ledger_gate(struct ledger *ledger, struct gate *gate)
{
    gate->seq = ledger->applied.seq;
    gate->next = NULL;
    if (gate->seq <= shown_seq(ledger)) {
        gate->open(gate, true);
        return;
    }
    *ledger->last_gate = gate;
    ledger->last_gate = &gate->next;
}

bool ledger_has_gates(const struct ledger *ledger)
{
    return ledger->first_gate != NULL;
}

/* ---- the batch ---- */

static size_t varint_size(size_t value)
{
    size_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

static uint8_t *put_varint(uint8_t *at, size_t value)
{
    while (value >= 0x80) {
        *at++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *at++ = (uint8_t)value;
    return at;
}

static enum error reserve(struct ledger *ledger, size_t more)
{
    if (ledger->capacity - ledger->used >= more)
        return OK;
    size_t capacity =
        ledger->capacity * 2 > ledger->used + more ? ledger->capacity * 2 : ledger->used + more;
    uint8_t *bytes = realloc(ledger->bytes, capacity);
    if (bytes == NULL)
        return ERROR_NO_MEMORY;
    ledger->bytes = bytes;
    ledger->capacity = capacity;
    return OK;
}

static enum error add_to_batch(struct ledger *ledger, const Jackdaw__Delta *delta)
{
    size_t size = jackdaw__delta__get_packed_size(delta);
    enum error error = reserve(ledger, 1 + varint_size(size) + size);
    if (error != OK)
        return error;
    uint8_t *at = ledger->bytes + ledger->used;
    *at++ = BATCH_DELTAS_KEY;
    at = put_varint(at, size);
    at += jackdaw__delta__pack(delta, at);
    ledger->used = (size_t)(at - ledger->bytes);
    return OK;
}

/* Batch.epoch and first_seq go behind the deltas: the order of fields means nothing. */
static enum error finish_batch(struct ledger *ledger)
{
    Jackdaw__Batch head = JACKDAW__BATCH__INIT;
    head.epoch = ledger->epoch;
    head.first_seq = ledger->first_seq;
    enum error error = reserve(ledger, jackdaw__batch__get_packed_size(&head));
    if (error == OK)
        ledger->used += jackdaw__batch__pack(&head, ledger->bytes + ledger->used);
    return error;
}

static void forget_batch(struct ledger *ledger)
{
    if (ledger->capacity > BATCH_BYTES_KEPT) {
        free(ledger->bytes);
        ledger->bytes = NULL;
        ledger->capacity = 0;
    }
    ledger->used = 0;
    ledger->first_seq = 0;
    ledger->is_logged = false;
    ledger->group = (struct group_commit){0}; /* whoever comes now is in the next one */
}

size_t ledger_batch_bytes(const struct ledger *ledger)
{
    return ledger->used;
}

/* ---- rolling back ---- */

void ledger_roll_back(struct ledger *ledger)
{
    ASSERT(ledger->phase != WRITING || ledger->is_settled);
    store_rollback(ledger->store);
    forget_batch(ledger);
    entries_clear(&ledger->waiting);
    ledger->phase = ledger->is_settled ? WRITING : FREE;
    bool was_undone = ledger->applied.seq != ledger->durable.seq;
    ledger->applied = ledger->durable;
    struct error_text why;
    if (was_undone && chat_reload(ledger->chat, &why) != OK)
        fatal("ledger", why.text); /* what is in memory was never durable */
    if (was_undone)
        ledger->options.driver.rolled_back(ledger->options.driver.context, ledger->durable);
    fail_gates(ledger, ledger->durable.seq);
}

/* In a trial it is no verdict: the same will happen in the process that goes on. */
static void note_problem(struct ledger *ledger, enum error error, const char *doing)
{
    if (trial_in_child())
        trial_leave();
    const char *detail = store_last_problem(ledger->store);
    (void)error_set(&ledger->problem, error, "%s: %s", error_name(error), doing);
    log_error("ledger", "rolled_back", log_string("doing", doing),
              log_string("error", error_name(error)), log_string("detail", detail),
              log_number("deltas", ledger->applied.seq - ledger->durable.seq));
}

static void fail(struct ledger *ledger, enum error error, const char *doing)
{
    note_problem(ledger, error, doing);
    ledger_roll_back(ledger);
    ledger->options.driver.failed(ledger->options.driver.context, error);
}

/* ---- applying ---- */

/* One entry after the other where one of them has ended a process: so it is known which. */
static size_t entries_at_once(const struct ledger *ledger)
{
    const struct crash_note *note = ledger->options.note;
    bool is_careful = note != NULL && crash_note_covers(note, ledger->durable.seq + 1);
    return is_careful ? 1 : ENTRIES_AT_ONCE;
}

/* The entries that are about to be applied, or written. */
static void note_entries(const struct ledger *ledger, struct position last, uint64_t first_seq)
{
    if (ledger->options.note != NULL)
        crash_note_begin(ledger->options.note, last, first_seq);
}

static void note_end(const struct ledger *ledger)
{
    if (ledger->options.note != NULL)
        crash_note_end(ledger->options.note);
}

static enum error open_transaction(struct ledger *ledger)
{
    ASSERT(ledger->phase != WRITING);
    if (ledger->phase == OPEN)
        return OK;
    enum error error = store_begin(ledger->store);
    if (error == OK)
        ledger->phase = OPEN;
    return error;
}

/* Whether entries that are the log's already are in the open transaction, before the batch. */
static bool has_others(const struct ledger *ledger)
{
    return ledger->first_seq != ledger->durable.seq + 1;
}

/* What is wrong with a single request undoes the batch; what is wrong with the disk, or undoes entries
 * that are the log's already, concerns the driver, too. */
static void fail_proposal(struct ledger *ledger, enum error error)
{
    bool is_local = error == ERROR_CORRUPT || error == ERROR_NO_MEMORY;
    if (!is_local || has_others(ledger)) {
        fail(ledger, error, "while writing");
        return;
    }
    note_problem(ledger, error, "while writing");
    ledger_roll_back(ledger);
}

enum error ledger_open(struct ledger *ledger)
{
    enum error error = open_transaction(ledger);
    if (error != OK)
        fail(ledger, error, "while writing");
    return error;
}

bool ledger_is_open(const struct ledger *ledger)
{
    return ledger->phase == OPEN;
}

void ledger_flush(struct ledger *ledger)
{
    if (ledger->phase != OPEN)
        return;
    enum error error = store_flush(ledger->store);
    if (error != OK)
        fail_proposal(ledger, error);
}

enum error ledger_propose(struct ledger *ledger, const Jackdaw__Delta *delta)
{
    if (ledger->epoch == 0)
        return ERROR_CLOSED;
    ASSERT(ledger->waiting.first == NULL);
    struct position position = {.epoch = ledger->epoch, .seq = ledger->applied.seq + 1};
    enum error error = open_transaction(ledger);
    if (ledger->first_seq == 0)
        ledger->first_seq = position.seq;
    ledger->applied = position; /* gates that come up while it is applied wait for it, too */
    if (error == OK)
        error = chat_apply(ledger->chat, delta, position);
    if (error == OK)
        error = add_to_batch(ledger, delta);
    if (error != OK)
        fail_proposal(ledger, error);
    return error;
}

bool ledger_catch_up(struct ledger *ledger)
{
    size_t count = 0;
    size_t bytes = 0;
    size_t most = entries_at_once(ledger);
    if (most == 1 && ledger->phase == OPEN)
        return ledger->waiting.first == NULL;
    while (ledger->waiting.first != NULL && count < most && bytes < ENTRY_BYTES_AT_ONCE) {
        const struct ledger_entry *entry = &ledger->waiting.first->entry;
        enum error error = open_transaction(ledger);
        ledger->applied = (struct position){.epoch = entry->first.epoch, .seq = entry->last_seq};
        note_entries(ledger, ledger->applied, entry->first.seq);
        if (error == OK)
            error = entry_apply(entry, ledger->chat, ledger->store);
        note_end(ledger);
        if (error != OK) {
            fail(ledger, error, "while following");
            break;
        }
        count++;
        bytes += entry->size;
        entries_drop_first(&ledger->waiting);
    }
    return ledger->waiting.first == NULL;
}

static enum error log_own(struct ledger *ledger, const struct ledger_entry *entry)
{
    ASSERT(entry->first.seq == ledger->first_seq && entry->last_seq == ledger->applied.seq);
    ledger->is_logged = true;
    return store_log_append(ledger->store, &(struct log_row){.kind = entry->kind,
                                                             .epoch = entry->first.epoch,
                                                             .first_seq = entry->first.seq,
                                                             .last_seq = entry->last_seq,
                                                             .batch = entry->bytes,
                                                             .batch_size = entry->size});
}

enum error ledger_append(struct ledger *ledger, const struct ledger_entry *entry)
{
    bool is_own = ledger->first_seq != 0 && !ledger->is_logged && entry->bytes == ledger->bytes;
    return is_own ? log_own(ledger, entry) : entries_push(&ledger->waiting, entry);
}

/* ---- writing ---- */

static void write_on_disk(struct task *task)
{
    struct ledger *ledger = (struct ledger *)((char *)task - offsetof(struct ledger, start));
    struct task_queue *queue = ledger->options.queue;
    ledger->written = store_commit_write(ledger->store);
    /* Once the semaphore is up the core may go on, but not without the task. */
    (void)sem_post(&ledger->finished);
    task_queue_push(queue, &ledger->done);
}

/* After the disk's thread: its half of the commit is judged. */
static enum error finish_write(struct ledger *ledger)
{
    enum error error = store_commit_finish(ledger->store, ledger->written);
    if (error != OK)
        return error;
    ledger->durable = store_position(ledger->store);
    ledger->problem.text[0] = '\0';
    return OK;
}

static void tell_durable(struct ledger *ledger)
{
    open_gates(ledger);
    ledger->options.driver.durable(ledger->options.driver.context, ledger->durable);
}

static void on_written(struct task *task)
{
    struct ledger *ledger = (struct ledger *)((char *)task - offsetof(struct ledger, done));
    ledger->phase = FREE;
    if (ledger->is_settled) {
        ledger->is_settled = false;
        tell_durable(ledger);
        return;
    }
    while (sem_wait(&ledger->finished) != 0) {
    }
    enum error error = finish_write(ledger);
    if (error != OK)
        fail(ledger, error, "while committing");
    else
        tell_durable(ledger);
}

enum error ledger_settle(struct ledger *ledger)
{
    if (ledger->phase != WRITING || ledger->is_settled)
        return OK;
    while (sem_wait(&ledger->finished) != 0) {
    }
    ledger->is_settled = true;
    enum error error = finish_write(ledger);
    if (error == OK)
        return OK;
    note_problem(ledger, error, "while committing");
    ledger_roll_back(ledger);
    return error;
}

static void start_write(struct ledger *ledger)
{
    ledger->phase = WRITING;
    ledger->start.run = write_on_disk;
    ledger->done.run = on_written;
    if (ledger->options.disk != NULL && ledger->shares_writes) {
        worker_push(ledger->options.disk, &ledger->start);
        return;
    }
    ledger->written = store_commit_write(ledger->store);
    (void)sem_post(&ledger->finished);
    on_written(&ledger->done);
}

/* Puts the batch into the log. false: it was rolled back. The rows are written first: what is wrong
 * with them, be it an error or a bug that ends the process, is nobody else's business yet. */
static bool propose_batch(struct ledger *ledger)
{
    enum error error = store_flush(ledger->store);
    if (error == OK)
        error = finish_batch(ledger);
    if (error != OK) {
        fail_proposal(ledger, error);
        return false;
    }
    const struct ledger_driver *driver = &ledger->options.driver;
    uint64_t count = ledger->applied.seq - ledger->first_seq + 1;
    driver->propose(driver->context, ledger->bytes, ledger->used, count);
    if (ledger->is_logged)
        return true;
    if (ledger->phase == OPEN && has_others(ledger))
        fail(ledger, ERROR_CLOSED, "while proposing");
    else if (ledger->phase == OPEN)
        ledger_roll_back(ledger);
    return false;
}

static enum error prune(struct ledger *ledger)
{
    size_t deleted;
    uint64_t before = ledger->prune_before;
    ledger->prune_before = 0;
    return before == 0 ? OK : store_log_prune(ledger->store, before, PRUNED_ROWS_AT_ONCE, &deleted);
}

/* Writes the rows of what was applied. */
static enum error prepare_commit(struct ledger *ledger)
{
    bool is_others = ledger->first_seq == 0 && ledger->applied.seq > ledger->durable.seq;
    if (is_others)
        note_entries(ledger, ledger->applied, ledger->durable.seq + 1);
    enum error error = store_commit_prepare(ledger->store);
    if (is_others)
        note_end(ledger);
    return error;
}

bool ledger_may_grow(struct ledger *ledger, uint64_t now_us)
{
    bool has_others_batch = ledger->phase == OPEN && has_others(ledger);
    if (!ledger->shares_writes || has_others_batch || ledger->used >= BATCH_BYTES_GROWN ||
        batch_count(ledger) >= BATCH_DELTAS_GROWN)
        return false;
    bool is_awaited = ledger->committed_seq < ledger->durable.seq;
    return is_awaited || group_commit_waits(&ledger->group, batch_count(ledger), now_us);
}

uint64_t ledger_grows_until_us(struct ledger *ledger, uint64_t now_us)
{
    bool may_begin = ledger->phase != WRITING && ledger->shares_writes;
    return may_begin ? group_commit_deadline_us(&ledger->group, now_us) : UINT64_MAX;
}

void ledger_write(struct ledger *ledger)
{
    if (ledger->phase != OPEN || (ledger->first_seq != 0 && !propose_batch(ledger)))
        return;
    enum error error = prune(ledger);
    if (error == OK)
        error = prepare_commit(ledger);
    if (error != OK) {
        fail(ledger, error, "while committing");
        return;
    }
    forget_batch(ledger);
    start_write(ledger);
}

void ledger_prune(struct ledger *ledger, uint64_t before_seq)
{
    uint64_t first = store_log_first(ledger->store);
    if (first != 0 && before_seq > first)
        ledger->prune_before = before_seq;
}

/* ---- looking in, being told ---- */

bool ledger_is_full(const struct ledger *ledger)
{
    return ledger->waiting.bytes > WAITING_BYTES_MAX || ledger->waiting.count > WAITING_ENTRIES_MAX;
}

void ledger_share_writes(struct ledger *ledger, bool share)
{
    ledger->shares_writes = share;
}

bool ledger_is_master(const struct ledger *ledger)
{
    return ledger->epoch != 0;
}

bool ledger_is_free(const struct ledger *ledger)
{
    return ledger->phase != WRITING;
}

const char *ledger_problem(const struct ledger *ledger)
{
    return ledger->problem.text;
}

struct position ledger_applied(const struct ledger *ledger)
{
    return ledger->applied;
}

struct position ledger_committed(const struct ledger *ledger)
{
    uint64_t seq = shown_seq(ledger);
    return (struct position){.epoch = store_epoch_at(ledger->store, seq), .seq = seq};
}

void ledger_commit(struct ledger *ledger, uint64_t seq)
{
    ledger->committed_seq = seq;
    open_gates(ledger);
}

void ledger_set_reign(struct ledger *ledger, uint64_t epoch)
{
    ledger->epoch = epoch;
    if (epoch == 0)
        fail_gates(ledger, 0);
}

void ledger_replaced(struct ledger *ledger, struct store *store)
{
    ledger->store = store;
    ledger->applied = ledger->durable = store_position(ledger->store);
    ledger->committed_seq = 0;
    fail_gates(ledger, 0);
}

/* ---- life ---- */

enum error ledger_new(struct ledger **out, const struct ledger_options *options)
{
    struct ledger *ledger = calloc(1, sizeof *ledger);
    if (ledger == NULL)
        return ERROR_NO_MEMORY;
    ledger->options = *options;
    ledger->store = options->store;
    ledger->shares_writes = true;
    ledger->last_gate = &ledger->first_gate;
    ledger->applied = ledger->durable = store_position(options->store);
    (void)sem_init(&ledger->finished, 0, 0);
    *out = ledger;
    return OK;
}

void ledger_attach(struct ledger *ledger, struct chat *chat)
{
    ledger->chat = chat;
}

void ledger_free(struct ledger *ledger)
{
    if (ledger == NULL)
        return;
    ASSERT(ledger->phase != WRITING);
    fail_gates(ledger, 0);
    entries_clear(&ledger->waiting);
    free(ledger->bytes);
    (void)sem_destroy(&ledger->finished);
    free(ledger);
}
