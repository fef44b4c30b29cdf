/* SPDX-License-Identifier: MIT */
#include "commit/replay.h"

#include "base/log.h"
#include "commit/entry_queue.h"
#include "commit/trial.h"

#define ENTRIES_AT_ONCE 256 /* in one transaction, */
#define BYTES_AT_ONCE (4u * 1024u * 1024u)
#define ROWS_TRIAL_MS 10000

struct transaction {
    const struct replay *replay;
    size_t count;
    size_t bytes;
    bool has_deaths; /* the process before died while it wrote rows of one of them */
};

/* ---- rows that ended a process ---- */

static void try_rows(void *context)
{
    struct store *store = context;
    store_isolate(store);
    for (size_t i = 0; i < store_change_count(store); i++) {
        trial_mark((struct log_position){.seq = i});
        if (store_try_change(store, i) != OK)
            return; /* its error will be seen again */
    }
}

/* The numbers of an event count even without its text: the room's next message must not get them again. */
static void leave_out(struct store *store, const struct trial_report *report)
{
    bool keeps_row = store_blank_change(store, (size_t)report->at.seq);
    log_error("commit_log", keeps_row ? "text_left_out" : "row_left_out",
              log_number("seq", store_position(store).seq), log_number("change", report->at.seq),
              log_string("reason", report->text),
              log_string("hint", "a bug: writing this ends a server, so the database will lack it; "
                                 "report it with this line"));
    if (!keeps_row)
        store_drop_change(store, (size_t)report->at.seq);
}

/* Leaves out the texts and rows of the open transaction that end a process; returns how many. */
static size_t leave_out_deadly(struct store *store)
{
    size_t count = 0;
    struct trial trial = {.context = store, .run = try_rows, .bound_ms = ROWS_TRIAL_MS};
    while (store_change_count(store) > 0) {
        struct trial_report report;
        trial_run_on(store, &trial, &report);
        bool has_ended = report.end == TRIAL_DIED || report.end == TRIAL_LOOPED;
        if (!has_ended || !report.has_begun)
            break;
        leave_out(store, &report);
        count++;
    }
    return count;
}

/* ---- entries ---- */

static bool covers(const struct crash_note *note, uint64_t seq)
{
    return note != NULL && crash_note_covers(note, seq);
}

static bool is_poison(const struct crash_note *note, uint64_t seq)
{
    struct log_position at;
    return note != NULL && crash_note_poison(note, &at) && at.seq == seq;
}

static enum error apply(const struct replay *replay, const struct log_entry *entry)
{
    if (replay->applying != NULL)
        crash_note_begin(replay->applying, log_entry_last(entry), entry->first_seq);
    enum error error = entry_apply(entry, replay->chat, replay->store);
    if (replay->applying != NULL)
        crash_note_end(replay->applying);
    return error;
}

/* An entry that ended a process while it was applied gets a transaction of its own. */
static enum error apply_entry(void *context, const struct log_entry *entry)
{
    struct transaction *transaction = context;
    const struct replay *replay = transaction->replay;
    bool is_suspect = covers(replay->applying, entry->last_seq);
    if (transaction->count == ENTRIES_AT_ONCE || transaction->bytes >= BYTES_AT_ONCE ||
        (is_suspect && transaction->count > 0))
        return ERROR_CANCELLED; /* the rest is the next transaction's */
    if (is_poison(replay->applying, entry->last_seq))
        return ERROR_REFUSED;
    transaction->has_deaths =
        transaction->has_deaths || covers(replay->projecting, entry->last_seq);
    enum error error = apply(replay, entry);
    transaction->count += is_suspect ? ENTRIES_AT_ONCE : 1;
    transaction->bytes += entry->size;
    return error;
}

static enum error replay_some(const struct replay *replay, struct error_text *why)
{
    struct store *store = replay->store;
    struct transaction transaction = {.replay = replay};
    enum error error = store_begin(store);
    if (error == OK)
        error = store_log_read(store, store_position(store).seq + 1, apply_entry, &transaction);
    if (error == ERROR_CANCELLED)
        error = OK;
    bool has_left_out = error == OK && transaction.has_deaths && leave_out_deadly(store) > 0;
    if (error == OK)
        error = store_commit(store);
    if (error == OK) {
        error = store_project(store, false, why);
        /* The state in memory must be that of the database, or it would write the text again. */
        return error == OK && has_left_out ? chat_reload(replay->chat, why) : error;
    }
    (void)error_set(why, error, "%s", store_last_problem(store));
    store_rollback(store);
    return error;
}

static enum error problem(const struct replay *replay, enum error error, struct error_text *why)
{
    unsigned long long seq = store_position(replay->store).seq + 1;
    struct error_text detail = *why;
    if (error == ERROR_REFUSED)
        return error_set(
            why, ERROR_CORRUPT,
            "replay the log: the entry at seq %llu ended two processes; " STORE_DAMAGE_ADVICE, seq);
    return error_set(why, error, "replay the log from seq %llu on: %s (%s)%s", seq,
                     error_name(error), detail.text,
                     error == ERROR_CORRUPT ? "; " STORE_DAMAGE_ADVICE : "");
}

enum error replay_run(const struct replay *replay, struct error_text *why)
{
    struct store *store = replay->store;
    uint64_t begun = store_position(store).seq;
    uint64_t last = store_log_last(store).seq;
    enum error error = OK;
    why->text[0] = '\0';
    while (error == OK && store_position(store).seq < last)
        error = replay_some(replay, why);
    if (error != OK)
        return problem(replay, error, why);
    if (last > begun)
        log_info("commit_log", "replayed", log_number("from", begun + 1), log_number("to", last));
    return OK;
}
