/* SPDX-License-Identifier: MIT */
/* Timelines against a model that does everything by looking at every event. */
#include "support/test.h"
#include "test_store_support.h"

#include <stdlib.h>
#include <string.h>

#define ROOMS 4
#define EVENTS_MAX 6000
#define MESSAGE 1
#define OTHER 2

struct event {
    size_t room;
    uint64_t number;
    uint64_t seq;
    uint32_t kind;
    uint64_t time_ms; /* unlike any other's */
};

struct model {
    struct event events[EVENTS_MAX]; /* in order, of all rooms */
    size_t count;
    uint64_t numbers[ROOMS];
    uint64_t seq;
    uint64_t random;
    struct store *store;
};

/* What a read has to visit, in order, and how far it has come. */
struct expectation {
    const struct event *events[EVENTS_MAX];
    size_t count;
    size_t visited;
};

static enum error expect_event(void *context, const struct timeline_row *row)
{
    struct expectation *expected = context;
    assert_true(expected->visited < expected->count);
    const struct event *event = expected->events[expected->visited++];
    assert_int_equal(row->room, test_id(event->room));
    assert_int_equal(row->number, event->number);
    assert_int_equal(row->seq, event->seq);
    assert_int_equal(row->kind, event->kind);
    assert_int_equal(row->time_ms, event->time_ms);
    return OK;
}

static uint64_t below(struct model *model, uint64_t bound)
{
    return test_random(&model->random) % bound;
}

/* busy: how many of the rooms are written to; storms: how often no message comes for long. */
static void add_event(struct model *model, size_t busy, bool storm)
{
    if (model->count == EVENTS_MAX)
        return;
    struct event *event = &model->events[model->count++];
    event->room = (size_t)below(model, busy);
    event->kind = storm || below(model, 4) == 0 ? OTHER : MESSAGE;
    event->number = model->numbers[event->room] += event->kind == MESSAGE;
    model->seq += below(model, 8) == 0 ? 0 : 1 + below(model, 3); /* one seq, several events */
    event->seq = model->seq;
    event->time_ms = model->count;
    struct timeline_row row = {.room = test_id(event->room),
                               .number = event->number,
                               .seq = event->seq,
                               .kind = event->kind,
                               .time_ms = event->time_ms,
                               .text = "text",
                               .text_size = 4};
    assert_ok(model->store, store_add_event(model->store, &row));
}

static void write_batch(struct model *model, size_t size)
{
    size_t busy = below(model, 3) == 0 ? 1 : ROOMS;
    bool storm = below(model, 10) == 0;
    assert_ok(model->store, store_begin(model->store));
    if (model->seq == 0)
        model->seq = 1;
    for (size_t i = 0; i < size; i++)
        add_event(model, busy, storm);
    assert_ok(model->store, store_commit(model->store));
}

/* A transaction that is rolled back leaves neither rows nor ids behind. */
static void write_in_vain(struct model *model)
{
    struct model *before = malloc(sizeof *before);
    assert_non_null(before);
    *before = *model;
    assert_ok(model->store, store_begin(model->store));
    for (size_t i = 0; i < 20 && model->seq > 0; i++)
        add_event(model, ROOMS, false);
    store_rollback(model->store);
    uint64_t random = model->random;
    *model = *before;
    model->random = random;
    free(before);
}

static void check_number_at(struct model *model, size_t room, uint64_t seq)
{
    uint64_t expected = 0;
    for (size_t i = 0; i < model->count && model->events[i].seq <= seq; i++)
        if (model->events[i].room == room)
            expected = model->events[i].number;
    uint64_t number = UINT64_MAX;
    assert_ok(model->store, store_number_at(model->store, test_id(room), seq, &number));
    assert_int_equal(number, expected);
}

static void check_events_after(struct model *model, size_t room, uint64_t after, uint64_t until,
                               size_t limit)
{
    struct expectation *expected = calloc(1, sizeof *expected);
    assert_non_null(expected);
    uint64_t last_seq = 0;
    for (size_t i = 0; i < model->count && limit > 0; i++) {
        const struct event *event = &model->events[i];
        if (event->room != room || event->seq <= after || event->seq > until)
            continue;
        if (expected->count >= limit && event->seq != last_seq)
            break;
        last_seq = event->seq;
        expected->events[expected->count++] = event;
    }
    assert_ok(model->store, store_events_after(model->store, test_id(room), after, until, limit,
                                               expect_event, expected));
    assert_int_equal(expected->visited, expected->count);
    free(expected);
}

static void check_messages_before(struct model *model, size_t room, uint64_t before, size_t limit)
{
    struct expectation *expected = calloc(1, sizeof *expected);
    assert_non_null(expected);
    for (size_t i = model->count; i-- > 0 && expected->count < limit;) {
        const struct event *event = &model->events[i];
        if (event->room == room && event->kind == MESSAGE &&
            (before == 0 || event->number < before))
            expected->events[expected->count++] = event;
    }
    assert_ok(model->store, store_messages_before(model->store, test_id(room), MESSAGE, before,
                                                  limit, expect_event, expected));
    assert_int_equal(expected->visited, expected->count);
    free(expected);
}

static void check_at_random(struct model *model, size_t questions)
{
    for (size_t i = 0; i < questions; i++) {
        size_t room = (size_t)below(model, ROOMS);
        uint64_t after = below(model, model->seq + 3);
        check_number_at(model, room, after);
        check_events_after(model, room, after, after + below(model, model->seq + 3),
                           (size_t)below(model, 300));
        check_events_after(model, room, after, UINT64_MAX, SIZE_MAX);
        check_messages_before(model, room, below(model, model->numbers[room] + 3),
                              (size_t)below(model, 300));
    }
}

/* Every seq and every number there is. */
static void check_everywhere(struct model *model)
{
    for (size_t room = 0; room < ROOMS; room++) {
        for (uint64_t seq = 0; seq <= model->seq + 1; seq++) {
            check_number_at(model, room, seq);
            check_events_after(model, room, seq, UINT64_MAX, 3);
        }
        for (uint64_t number = 0; number <= model->numbers[room] + 2; number++)
            check_messages_before(model, room, number, 2);
    }
}

static void run(uint64_t seed, size_t largest_batch, size_t events, bool everywhere)
{
    char folder[TEST_PATH_SIZE];
    make_folder(folder);
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    model->random = seed;
    model->store = open_store(folder);
    while (model->count < events) {
        write_batch(model, 1 + (size_t)below(model, largest_batch));
        if (below(model, 50) == 0)
            write_in_vain(model);
        if (below(model, 60) == 0) {
            store_close(model->store);
            model->store = open_store(folder);
        }
        if (below(model, 20) == 0)
            check_at_random(model, 2);
    }
    check_at_random(model, 200);
    if (everywhere)
        check_everywhere(model);
    store_close(model->store);
    free(model);
    remove_folder(folder);
}

TEST(test_timeline__one_event_a_batch)
{
    run(11, 1, 900, true);
}

TEST(test_timeline__small_batches)
{
    run(12, 6, 2500, false);
}

TEST(test_timeline__large_batches)
{
    run(13, 400, EVENTS_MAX, false);
    run(14, 120, 1000, true);
}

/* A room that has never been written to, beside one that has. */
TEST(test_timeline__of_an_unknown_room)
{
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    model->random = 5;
    model->store = open_store(NULL);
    check_number_at(model, 0, 10);
    check_events_after(model, 0, 0, UINT64_MAX, 10);
    check_messages_before(model, 0, 0, 10);
    write_batch(model, 1);
    check_number_at(model, ROOMS + 1, 10);
    check_events_after(model, ROOMS + 1, 0, UINT64_MAX, 10);
    store_close(model->store);
    free(model);
}

static enum error stop_at_third(void *context, const struct timeline_row *row)
{
    (void)row;
    return ++*(size_t *)context == 3 ? ERROR_TOO_LARGE : OK;
}

TEST(test_timeline__visitor_stops_it)
{
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    model->random = 6;
    model->store = open_store(NULL);
    for (size_t i = 0; i < 200; i++)
        write_batch(model, 2);
    size_t count = 0;
    assert_error(
        model->store,
        store_events_after(model->store, test_id(0), 0, UINT64_MAX, 100, stop_at_third, &count),
        ERROR_TOO_LARGE);
    assert_int_equal(count, 3);
    count = 0;
    assert_error(
        model->store,
        store_messages_before(model->store, test_id(0), MESSAGE, 0, 100, stop_at_third, &count),
        ERROR_TOO_LARGE);
    assert_int_equal(count, 3);
    write_batch(model, 2);
    check_at_random(model, 3);
    store_close(model->store);
    free(model);
}
