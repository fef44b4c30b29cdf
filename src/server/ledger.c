/* SPDX-License-Identifier: MIT */
#include "server/ledger.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

#define BATCH_DELTAS_KEY (3u << 3 | 2u)  /* Batch.deltas: number << 3 | length-delimited */
#define BATCH_BYTES_KEPT (1024u * 1024u) /* of the memory that the largest batch so far took */
#define PRUNED_ROWS_AT_ONCE 1024
#define REST_MS 200 /* after the disk failed: loading the state again for each request costs more */

struct ledger {
    struct store *store;
    struct chat *chat;
    struct ledger_observer observer;
    uint64_t node_id;
    uint64_t epoch;
    bool begin_reign;
    struct position applied;
    struct position committed;
    /* The batch: packed Batch.deltas fields one after the other. */
    uint8_t *bytes;
    size_t used;
    size_t capacity;
    uint64_t first_seq; /* 0: no batch is open */
    struct gate *first_gate;
    struct gate **last_gate;
    struct error_text problem;
    uint64_t rest_until_ms; /* 0: not resting */
    enum error rest_reason;
};

/* ---- gates ---- */

static void open_gates(struct ledger *ledger, bool committed)
{
    while (ledger->first_gate != NULL) {
        struct gate *gate = ledger->first_gate;
        if (committed && gate->seq > ledger->committed.seq)
            break;
        ledger->first_gate = gate->next;
        if (ledger->first_gate == NULL)
            ledger->last_gate = &ledger->first_gate;
        gate->open(gate, committed);
    }
}

void ledger_gate(struct ledger *ledger, struct gate *gate)
{
    gate->seq = ledger->applied.seq;
    gate->next = NULL;
    if (gate->seq <= ledger->committed.seq) {
        gate->open(gate, true);
        return;
    }
    *ledger->last_gate = gate;
    ledger->last_gate = &gate->next;
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
static enum error append_to_log(struct ledger *ledger)
{
    Jackdaw__Batch head = JACKDAW__BATCH__INIT;
    head.epoch = ledger->epoch;
    head.first_seq = ledger->first_seq;
    enum error error = reserve(ledger, jackdaw__batch__get_packed_size(&head));
    if (error != OK)
        return error;
    ledger->used += jackdaw__batch__pack(&head, ledger->bytes + ledger->used);
    struct log_row row = {
        .epoch = ledger->epoch,
        .first_seq = ledger->first_seq,
        .last_seq = ledger->applied.seq,
        .kind = LOG_CHAT,
        .batch = ledger->bytes,
        .batch_size = ledger->used,
    };
    return store_log_append(ledger->store, &row);
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
}

static void rest(struct ledger *ledger, enum error error)
{
    if (error != ERROR_DISK_FULL && error != ERROR_IO)
        return;
    ledger->rest_until_ms = clock_monotonic_ms() + REST_MS;
    ledger->rest_reason = error;
}

static bool is_resting(struct ledger *ledger)
{
    if (ledger->rest_until_ms != 0 && clock_monotonic_ms() >= ledger->rest_until_ms)
        ledger->rest_until_ms = 0;
    return ledger->rest_until_ms != 0;
}

static void roll_back(struct ledger *ledger, enum error error, const char *doing)
{
    const char *detail = store_last_problem(ledger->store);
    (void)error_set(&ledger->problem, error, "%s: %s", error_name(error), doing);
    log_error("ledger", "rolled_back", log_string("doing", doing),
              log_string("error", error_name(error)), log_string("detail", detail),
              log_number("deltas", ledger->applied.seq - ledger->committed.seq));
    store_rollback(ledger->store);
    forget_batch(ledger);
    rest(ledger, error);
    ledger->applied = ledger->committed;
    struct error_text why;
    enum error reload = chat_reload(ledger->chat, &why);
    if (reload != OK) {
        log_error("ledger", "cannot_go_on", log_string("reason", why.text));
        assertion_failed("the state can be loaded again after a rollback", __FILE__, __LINE__);
    }
    ledger->observer.rolled_back(ledger->observer.context, ledger->committed);
    open_gates(ledger, false);
}

static enum error begin_batch(struct ledger *ledger)
{
    if (ledger->first_seq != 0)
        return OK;
    enum error error = store_begin(ledger->store);
    if (error == OK)
        ledger->first_seq = ledger->applied.seq + 1;
    return error;
}

enum error ledger_propose(struct ledger *ledger, const Jackdaw__Delta *delta)
{
    if (is_resting(ledger))
        return ledger->rest_reason;
    struct position position = {.epoch = ledger->epoch, .seq = ledger->applied.seq + 1};
    enum error error = begin_batch(ledger);
    ledger->applied = position; /* gates that come up while it is applied wait for it, too */
    if (error == OK)
        error = chat_apply(ledger->chat, delta, position);
    if (error == OK)
        error = add_to_batch(ledger, delta);
    if (error != OK)
        roll_back(ledger, error, "while writing");
    return error;
}

enum error ledger_commit(struct ledger *ledger)
{
    if (ledger->first_seq == 0)
        return OK;
    enum error error = append_to_log(ledger);
    if (error == OK)
        error = store_commit(ledger->store);
    if (error != OK) {
        roll_back(ledger, error, "while committing");
        return error;
    }
    forget_batch(ledger);
    ledger->committed = ledger->applied;
    ledger->problem.text[0] = '\0';
    open_gates(ledger, true);
    return OK;
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
    return ledger->committed;
}

uint64_t ledger_epoch(const struct ledger *ledger)
{
    return ledger->epoch;
}

enum error ledger_prune(struct ledger *ledger, uint64_t keep)
{
    uint64_t first = store_log_first(ledger->store);
    uint64_t last = ledger->committed.seq;
    if (first == 0 || ledger->first_seq != 0 || last - first < keep)
        return OK;
    enum error error = store_begin(ledger->store);
    size_t deleted = 0;
    if (error == OK)
        error = store_log_prune(ledger->store, last - keep, PRUNED_ROWS_AT_ONCE, &deleted);
    if (error == OK)
        error = store_commit(ledger->store);
    if (error != OK)
        store_rollback(ledger->store);
    return error;
}

/* ---- life ---- */

static enum error remember_last_reign(void *context, const struct reign_row *row)
{
    struct ledger *ledger = context;
    ledger->epoch = row->epoch;
    return OK;
}

enum error ledger_open(struct ledger **out, struct store *store, uint64_t node_id,
                       const struct ledger_observer *observer, struct error_text *why)
{
    struct ledger *ledger = calloc(1, sizeof *ledger);
    if (ledger == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    ledger->store = store;
    ledger->node_id = node_id;
    ledger->observer = *observer;
    ledger->last_gate = &ledger->first_gate;
    ledger->applied = store_position(store);
    ledger->committed = ledger->applied;
    enum error error = store_each_reign(store, remember_last_reign, ledger);
    if (error != OK) {
        (void)error_set(why, error, "read the epochs: %s", store_last_problem(store));
        free(ledger);
        return error;
    }
    if (ledger->epoch == 0 || (ledger->epoch & 0xffffu) != node_id) {
        ledger->epoch = ((ledger->epoch >> 16) + 1) << 16 | node_id;
        ledger->begin_reign = true;
    }
    *out = ledger;
    return OK;
}

static enum error start_reign(struct ledger *ledger, uint64_t time_ms)
{
    struct arena arena;
    arena_init(&arena, 65536);
    struct chat_call call = {.time_ms = time_ms, .arena = &arena};
    enum error error = ERROR_NO_MEMORY;
    if (chat_propose_epoch(ledger->chat, &call, ledger->epoch))
        error = ledger_propose(ledger, call.delta);
    if (error == OK)
        error = ledger_commit(ledger);
    arena_clear(&arena);
    return error;
}

enum error ledger_attach(struct ledger *ledger, struct chat *chat, uint64_t time_ms,
                         struct error_text *why)
{
    ledger->chat = chat;
    if (!ledger->begin_reign)
        return OK;
    ledger->begin_reign = false;
    enum error error = start_reign(ledger, time_ms);
    if (error != OK)
        return error_set(why, error, "start the epoch: %s", ledger_problem(ledger));
    return OK;
}

void ledger_close(struct ledger *ledger)
{
    if (ledger == NULL)
        return;
    open_gates(ledger, false);
    free(ledger->bytes);
    free(ledger);
}
