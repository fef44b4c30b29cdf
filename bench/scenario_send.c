/* SPDX-License-Identifier: MIT */
/* scenario_send.c - C clients with D Send requests in flight each; nobody reads. */
#include "bench.h"
#include "interrupt.h"
#include "sender.h"
#include "spec.pb-c.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TURN_MS 10
#define CHECKED_PAGE 256u
#define SINGLE_TARGET_ROW "send 1x1 p50"

struct send_run {
    struct crowd *crowd;
    struct sender *senders;  /* by client's index */
    struct numbers *numbers; /* one, or one per client */
    size_t rooms;
    size_t depth;
    struct measure measure;
};

static void on_frame(void *context, struct link *link, const uint8_t *body, size_t size)
{
    struct send_run *run = context;
    struct sender *sender = &run->senders[((struct client *)link)->index];
    struct scan_cursor frame = {body, body + size};
    struct scan_envelope envelope;
    struct scan_send_reply reply;
    enum scan_result result;
    while ((result = scan_envelope(&frame, &envelope)) == SCAN_FOUND)
        (void)sender_take(sender, &envelope, &reply);
    if (result == SCAN_BROKEN)
        crowd_fail(run->crowd, "the server sent what is no frame");
    if (run->measure.phase < PHASE_DRAINING)
        sender_fill(sender);
}

static void on_closed(void *context, struct link *link, const char *reason)
{
    struct send_run *run = context;
    run->measure.errors++;
    crowd_fail(run->crowd, "client %zu: %s", ((struct client *)link)->index, reason);
}

static size_t count_open(const struct send_run *run)
{
    size_t open = 0;
    for (size_t i = 0; i < run->crowd->count; i++)
        open += run->senders[i].open;
    return open;
}

static void drive(struct send_run *run)
{
    struct crowd *crowd = run->crowd;
    struct loop *loop = &crowd->loop;
    loop->handler = (struct loop_handler){run, NULL, on_frame, on_closed};
    (void)loop_read_clock(loop);
    for (size_t i = 0; i < crowd->count; i++)
        sender_fill(&run->senders[i]);
    uint64_t tick_ns = loop->now_ns;
    while (measure_step(&run->measure, loop->now_ns) != PHASE_OVER && !crowd_has_failed(crowd)) {
        loop_turn(loop, TURN_MS);
        if (loop->now_ns - tick_ns >= TURN_MS * UINT64_C(1000000)) {
            tick_ns = loop->now_ns;
            for (size_t i = 0; i < crowd->count; i++)
                sender_tick(&run->senders[i]);
        }
        if (run->measure.phase == PHASE_DRAINING && count_open(run) == 0)
            break;
    }
}

/* ---- afterwards ---- */

/* The newest page of a room that one client alone wrote to holds its last messages, as numbered. */
static void check_page(struct send_run *run, const struct sender *sender,
                       const Jackdaw__HistoryReply *page)
{
    size_t count = page->n_events;
    if (count == 0 || page->events[count - 1]->number != sender->numbers->highest) {
        crowd_fail(run->crowd,
                   "client %zu: the newest message in the history is not number %" PRIu64,
                   sender->client->index, sender->numbers->highest);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const Jackdaw__Event *event = page->events[i];
        uint64_t request = event->number - sender->client->room_number - 1 + sender->first;
        if (event->session != sender->client->session || event->request != request)
            crowd_fail(run->crowd,
                       "client %zu: number %" PRIu64 " in the history is another message",
                       sender->client->index, event->number);
    }
}

static void check_history(struct send_run *run, const struct sender *sender)
{
    Jackdaw__HistoryRequest request = JACKDAW__HISTORY_REQUEST__INIT;
    request.room = sender->client->room;
    request.limit = CHECKED_PAGE;
    ProtobufCMessage *reply;
    struct error_text why;
    if (crowd_call(run->crowd, sender->client, "History", &request.base,
                   &jackdaw__history_reply__descriptor, &reply, &why) != OK)
        return; /* the crowd has failed */
    check_page(run, sender, (const Jackdaw__HistoryReply *)reply);
    protobuf_c_message_free_unpacked(reply, NULL);
}

static void check_afterwards(struct send_run *run)
{
    size_t open = count_open(run);
    if (open > 0)
        crowd_fail(run->crowd, "%zu messages were never answered", open);
    for (size_t i = 0; i < run->rooms; i++) {
        uint64_t missing = numbers_missing(&run->numbers[i]);
        if (missing > 0)
            crowd_fail(run->crowd, "room %zu: %" PRIu64 " numbers were given to nobody", i,
                       missing);
    }
    for (size_t i = 0; i < run->crowd->count && run->rooms == run->crowd->count; i++)
        if (!crowd_has_failed(run->crowd))
            check_history(run, &run->senders[i]);
}

/* ---- the scenario ---- */

static bool prepare(struct send_run *run, const struct bench *bench)
{
    struct crowd *crowd = run->crowd;
    run->senders = calloc(crowd->count, sizeof *run->senders);
    run->numbers = calloc(run->rooms, sizeof *run->numbers);
    if (run->senders == NULL || run->numbers == NULL)
        return false;
    for (size_t i = 0; i < run->rooms; i++)
        numbers_init(&run->numbers[i], crowd->clients[i].room_number);
    for (size_t i = 0; i < crowd->count; i++) {
        struct numbers *numbers = &run->numbers[run->rooms == 1 ? 0 : i];
        if (!sender_init(&run->senders[i], crowd, &crowd->clients[i], &run->measure, numbers,
                         bench->text, run->depth))
            return false;
    }
    return true;
}

static void release(struct send_run *run)
{
    for (size_t i = 0; i < run->crowd->count && run->senders != NULL; i++)
        sender_release(&run->senders[i]);
    for (size_t i = 0; i < run->rooms && run->numbers != NULL; i++)
        numbers_release(&run->numbers[i]);
    free(run->senders);
    free(run->numbers);
}

static void add_rows(struct bench *bench, const struct send_run *run, const char *name)
{
    struct figure figure;
    measure_figure(&run->measure, name, "sends/s", &figure);
    if (strcmp(name, "send 64x1") == 0)
        figure_target(&figure, TARGET_AT_LEAST, 30000);
    else if (strcmp(name, "send 64x16") == 0)
        figure_target(&figure, TARGET_AT_LEAST, 80000);
    bench_add(bench, &figure);
    if (strcmp(name, "send 1x1") != 0)
        return;
    double limits = report_last(&bench->report, DISK_ROW, COLUMN_P50_US) +
                    report_last(&bench->report, NNG_SINGLE_ROW, COLUMN_P50_US);
    double p50 = figure.columns[COLUMN_P50_US];
    figure_init(&figure, SINGLE_TARGET_ROW, "us", p50);
    figure_target(&figure, TARGET_BELOW, 2 * limits);
    bench_add(bench, &figure);
}

static void run_in(struct bench *bench, struct venue *venue, struct send_run *run, const char *name)
{
    if (prepare(run, bench)) {
        measure_begin(&run->measure, &bench->times, venue->server,
                      loop_read_clock(&run->crowd->loop));
        drive(run);
        if (!interrupted())
            check_afterwards(run);
    } else {
        crowd_fail(run->crowd, "out of memory");
    }
    if (crowd_has_failed(run->crowd))
        run->measure.errors++;
    if (!interrupted())
        add_rows(bench, run, name);
    release(run);
}

void scenario_send(struct bench *bench, size_t clients, size_t depth, bool one_room)
{
    char name[REPORT_NAME_SIZE];
    (void)snprintf(name, sizeof name, "send %zux%zu%s", clients, depth,
                   one_room ? " one room" : "");
    struct venue venue;
    struct error_text why;
    enum error error = venue_open(&venue, bench, clients, &why);
    if (error == OK)
        error = venue_fill(&venue, clients, one_room ? clients : 1, &why);
    if (error == OK) {
        struct send_run run = {
            .crowd = &venue.crowd, .rooms = one_room ? 1 : clients, .depth = depth};
        run_in(bench, &venue, &run, name);
        if (crowd_has_failed(&venue.crowd))
            bench_complain(bench, name, venue.crowd.problem.text);
    } else {
        bench_complain(bench, name, why.text);
    }
    if (!venue_close(&venue) && error == OK)
        bench_complain(bench, name, "the server did not end well");
}
