/* SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/log.h"
#include "commit/commit_log.h"
#include "support/core_fixture.h"
#include "support/fake_call.h"
#include "support/faulty_calls.h"
#include "support/folder.h"
#include "support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A commit waiter that notes how and when it opened. */
struct commit_record {
    struct commit_waiter commit_waiter;
    struct core_fixture *core;
    unsigned opened;
    unsigned turn; /* place in the order of opening */
    bool committed;
    uint64_t seen; /* what was committed then */
};

static unsigned turns;

static void note(struct commit_waiter *commit_waiter, bool committed)
{
    struct commit_record *noted = (struct commit_record *)commit_waiter;
    noted->opened++;
    noted->turn = ++turns;
    noted->committed = committed;
    noted->seen = commit_log_committed(noted->core->commit_log).seq;
}

static void expect_opened(const struct commit_record *noted, bool is_committed)
{
    assert_int_equal(noted->opened, 1);
    assert_int_equal(noted->committed, is_committed);
}

static void put_waiter(struct core_fixture *core, struct commit_record *noted)
{
    *noted = (struct commit_record){.commit_waiter = {.open = note}, .core = core};
    commit_log_wait(core->commit_log, &noted->commit_waiter);
}

struct fixture {
    struct core_fixture core;
    char *folder;
    uint64_t ann;
};

static void begin(struct fixture *f)
{
    f->folder = folder_new();
    core_fixture_init(&f->core, f->folder);
    core_fixture_open(&f->core);
    f->ann = core_fixture_person(&f->core, "ann");
    assert_int_equal(core_fixture_turn(&f->core), OK);
}

static void end(struct fixture *f)
{
    core_fixture_close(&f->core);
    folder_remove(f->folder);
}

static void say(struct fixture *f, const char *text)
{
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", text));
    assert_int_equal(core_fixture_commit(&f->core), OK);
}

static void reopen(struct fixture *f)
{
    core_fixture_close(&f->core);
    core_fixture_open(&f->core);
}

static uint64_t applied(const struct core_fixture *core)
{
    return commit_log_applied(core->commit_log).seq;
}

static uint64_t committed(const struct core_fixture *core)
{
    return commit_log_committed(core->commit_log).seq;
}

TEST_F(test_commit_log_gate__nothing_pending_opens_at_once)
{
    struct commit_record noted;
    put_waiter(&f->core, &noted);
    expect_opened(&noted, true);
}

TEST_F(test_commit_log_gate__read_waits_for_what_it_saw)
{
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "one"));
    struct commit_record read;
    put_waiter(&f->core, &read);
    assert_int_equal(read.opened, 0);
    uint64_t expected = applied(&f->core);
    assert_int_equal(committed(&f->core), expected - 1);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    expect_opened(&read, true);
    assert_int_equal(read.seen, expected);
}

TEST_F(test_commit_log_gate__many_open_in_their_order)
{
    struct commit_record noted[50];
    for (unsigned i = 0; i < 50; i++) {
        if (i % 3 == 0)
            assert_true(core_fixture_send(&f->core, f->ann, "lobby", "x"));
        put_waiter(&f->core, &noted[i]);
    }
    assert_int_equal(core_fixture_commit(&f->core), OK);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(noted[i].opened, 1);
        assert_int_equal(noted[i].turn, noted[0].turn + i);
    }
}

/* One that puts up another while it opens, as a history that begins after its commit waiter does. */
static struct commit_record inner;

static void note_and_wait(struct commit_waiter *commit_waiter, bool is_committed)
{
    note(commit_waiter, is_committed);
    put_waiter(((struct commit_record *)commit_waiter)->core, &inner);
}

TEST_F(test_commit_log_gate__put_up_while_one_opens)
{
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "one"));
    struct commit_record outer = {.commit_waiter = {.open = note_and_wait}, .core = &f->core};
    struct commit_record last;
    commit_log_wait(f->core.commit_log, &outer.commit_waiter);
    put_waiter(&f->core, &last);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    assert_int_equal(outer.opened, 1);
    expect_opened(&inner, true);
    assert_int_equal(last.opened, 1);
}

static struct commit_record early;

static void put_early_waiter(struct core_fixture *core, const struct chat_event *event)
{
    (void)event;
    if (early.core == NULL)
        put_waiter(core, &early);
}

TEST_F(test_commit_log_gate__put_up_while_a_delta_is_applied_waits_for_it)
{
    early = (struct commit_record){.core = NULL};
    f->core.event = put_early_waiter;
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "one"));
    assert_ptr_equal(early.core, &f->core);
    assert_int_equal(early.opened, 0);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    expect_opened(&early, true);
}

TEST_F(test_commit_log_set_epoch_start__what_is_gated_is_in_doubt)
{
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "one"));
    struct commit_record noted;
    put_waiter(&f->core, &noted);
    commit_log_set_epoch(f->core.commit_log, 0);
    expect_opened(&noted, false);
    assert_false(commit_log_is_master(f->core.commit_log));
    assert_false(core_fixture_send(&f->core, f->ann, "lobby", "two"));
    assert_int_equal(f->core.error, ERROR_CLOSED);
}

TEST_F(test_commit_log_propose__a_delta_that_contradicts_undoes_the_batch)
{
    uint64_t before = committed(&f->core);
    struct chat_session *session = chat_find_session(f->core.chat, f->ann);
    uint64_t request = chat_session_last_request(session);
    struct commit_record first;
    struct commit_record second;
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "one"));
    put_waiter(&f->core, &first);
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "two"));
    put_waiter(&f->core, &second);
    core_fixture_break(&f->core);
    assert_int_equal(f->core.rollbacks, 1);
    expect_opened(&first, false);
    expect_opened(&second, false);
    assert_true(first.turn < second.turn);
    assert_int_equal(applied(&f->core), before);
    assert_int_equal(committed(&f->core), before);
    session = chat_find_session(f->core.chat, f->ann);
    assert_non_null(session);
    assert_int_equal(chat_session_last_request(session), request);
    assert_true(strlen(commit_log_problem(f->core.commit_log)) > 0);
    /* And goes on. */
    say(f, "three");
    assert_int_equal(committed(&f->core), before + 1);
    assert_string_equal(commit_log_problem(f->core.commit_log), "");
}

/* Proposes until the commit log takes something again; it rests for a moment after a failure. */
static void send_until_it_works(struct fixture *f, const char *text)
{
    uint64_t until_ms = clock_monotonic_ms() + 60000;
    while (!core_fixture_send(&f->core, f->ann, "lobby", text)) {
        assert_int_not_equal(f->core.error, OK);
        assert_true(clock_monotonic_ms() < until_ms);
    }
    assert_int_equal(core_fixture_commit(&f->core), OK);
}

static enum error count_row(void *context, const struct timeline_row *row)
{
    (void)row;
    (*(size_t *)context)++;
    return OK;
}

/* Messages that the database has of the lobby, which is the room that ann's outcome names. */
static size_t count_messages(struct fixture *f)
{
    struct chat_outcome outcome;
    struct chat_session *session = chat_find_session(f->core.chat, f->ann);
    assert_int_equal(chat_outcome_of(f->core.chat, session, 1, &f->core.arena, &outcome), OK);
    size_t count = 0;
    assert_int_equal(store_messages_before(f->core.store, outcome.room,
                                           JACKDAW__EVENT__KIND__MESSAGE, 0, 1000, count_row,
                                           &count),
                     OK);
    return count;
}

/* Whether the batch failed. Its commit waiters are told the truth either way. */
static bool send_with_fault(struct fixture *f, int number, uint64_t k)
{
    uint64_t before = committed(&f->core);
    struct commit_record noted = {.core = &f->core};
    faulty_calls_arm(FAULTY_CALLS_FAIL_ONCE, k, number);
    bool proposed = true;
    for (int i = 0; proposed && i < 3; i++)
        proposed = core_fixture_send(&f->core, f->ann, "lobby", "perhaps");
    if (proposed)
        put_waiter(&f->core, &noted);
    bool done = proposed && core_fixture_commit(&f->core) == OK;
    faulty_calls_arm(FAULTY_CALLS_NONE, 0, 0);
    assert_int_equal(committed(&f->core), done ? before + 3 : before);
    assert_int_equal(applied(&f->core), committed(&f->core));
    if (proposed) {
        assert_int_equal(noted.opened, 1);
        assert_int_equal(noted.committed, done);
    }
    if (!done)
        assert_non_null(strchr(commit_log_problem(f->core.commit_log), ':'));
    return !done;
}

static void check_every_fault(struct fixture *f, int number)
{
    size_t sure = 0;
    bool failed = true;
    unsigned faults = 0;
    for (uint64_t k = 1; failed; k++) {
        assert_true(k < 200);
        failed = send_with_fault(f, number, k);
        sure += failed ? 0 : 3;
        faults += failed;
        send_until_it_works(f, "surely");
        sure++;
        assert_int_equal(count_messages(f), sure);
    }
    assert_true(faults > 0);
    assert_int_equal(f->core.rollbacks, faults);
    reopen(f);
    assert_int_equal(count_messages(f), sure);
}

TEST_F(test_commit_log_commit__disk_full_at_every_write)
{
    check_every_fault(f, ENOSPC);
}

TEST_F(test_commit_log_commit__disk_error_at_every_write)
{
    check_every_fault(f, EIO);
}

struct read_job {
    uint64_t next_seq;
    uint64_t epoch;
    size_t rows;
    size_t deltas;
    size_t in_row[16];
};

static enum error read_batch(void *context, const struct log_entry *row)
{
    struct read_job *reading = context;
    if (row->kind == LOG_ENTRY_MEMBERS) {
        assert_int_equal(row->first_seq, reading->next_seq);
        assert_int_equal(row->last_seq, row->first_seq);
        reading->next_seq++;
        reading->rows++;
        reading->deltas++;
        return OK;
    }
    Jackdaw__Batch *batch = jackdaw__batch__unpack(NULL, row->size, row->bytes);
    assert_non_null(batch);
    assert_int_equal(batch->epoch, row->epoch);
    assert_int_equal(batch->first_seq, row->first_seq);
    assert_int_equal(row->first_seq + batch->n_deltas - 1, row->last_seq);
    assert_int_equal(row->first_seq, reading->next_seq);
    reading->next_seq = row->last_seq + 1;
    reading->epoch = row->epoch;
    if (reading->rows < 16)
        reading->in_row[reading->rows] = batch->n_deltas;
    reading->rows++;
    reading->deltas += batch->n_deltas;
    uint64_t time_ms = 0;
    for (size_t i = 0; i < batch->n_deltas; i++) {
        assert_true(batch->deltas[i]->time_ms >= time_ms);
        time_ms = batch->deltas[i]->time_ms;
        assert_true(batch->deltas[i]->change_case != JACKDAW__DELTA__CHANGE__NOT_SET);
    }
    jackdaw__batch__free_unpacked(batch, NULL);
    return OK;
}

TEST_F(test_commit_log_commit__log_holds_every_delta_in_batches)
{
    char text[5000];
    for (size_t batch = 1; batch <= 10; batch++) {
        for (size_t i = 0; i < batch; i++) {
            memset(text, 'x', sizeof text);
            text[i * 499] = '\0'; /* lengths that need one and two bytes to tell, and none */
            (void)core_fixture_send(&f->core, f->ann, "lobby", text);
        }
        assert_int_equal(core_fixture_commit(&f->core), OK);
        assert_int_equal(core_fixture_commit(&f->core), OK); /* nothing: no row */
    }
    struct read_job reading = {.next_seq = 1};
    assert_int_equal(store_log_read(f->core.store, 1, read_batch, &reading), OK);
    assert_int_equal(reading.next_seq, committed(&f->core) + 1);
    assert_int_equal(reading.deltas, committed(&f->core));
    assert_int_equal(reading.in_row[0], 0); /* the epoch's start */
}

/* Prunes before `before` with the next write, which has to be one. Returns the first seq then. */
static uint64_t prune(struct fixture *f, uint64_t before)
{
    commit_log_prune(f->core.commit_log, before);
    say(f, "x");
    return store_log_first(f->core.store);
}

TEST_F(test_commit_log_prune__keeps_what_it_shall)
{
    while (committed(&f->core) < 1000) {
        assert_true(core_fixture_send(&f->core, f->ann, "lobby", "x"));
        say(f, "x");
    }
    assert_int_equal(prune(f, 0), 1);
    uint64_t before = committed(&f->core) - 100;
    assert_int_equal(prune(f, before), before); /* the database is synced with each write here */
    assert_int_equal(prune(f, before - 50), before);
    for (int i = 0; i < 20; i++)
        say(f, "x");
    assert_int_equal(store_log_first(f->core.store), before);
    uint64_t first = store_log_first(f->core.store);
    uint64_t last = committed(&f->core);
    struct read_job reading = {.next_seq = first};
    assert_int_equal(store_log_read(f->core.store, first, read_batch, &reading), OK);
    assert_int_equal(reading.next_seq, last + 1);
    reopen(f);
    assert_int_equal(committed(&f->core), last + 1); /* the start of an epoch */
    send_until_it_works(f, "on");
    assert_int_equal(committed(&f->core), last + 2);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
