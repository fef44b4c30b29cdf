/* SPDX-License-Identifier: MIT */
#include "send_run.h"

#include "spec.pb-c.h"

#include <inttypes.h>
#include <stdlib.h>

#define TURN_MS 10
#define CHECKED_PAGE 256u

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

size_t send_run_open(const struct send_run *run)
{
    size_t open = 0;
    for (size_t i = 0; i < run->crowd->count; i++)
        open += run->senders[i].open;
    return open;
}

void send_run_start(struct send_run *run)
{
    struct loop *loop = &run->crowd->loop;
    loop->handler = (struct loop_handler){run, NULL, on_frame, on_closed};
    run->tick_ns = loop_read_clock(loop);
    for (size_t i = 0; i < run->crowd->count; i++)
        sender_fill(&run->senders[i]);
}

void send_run_turn(struct send_run *run)
{
    struct loop *loop = &run->crowd->loop;
    loop_turn(loop, TURN_MS);
    if (loop->now_ns - run->tick_ns < TURN_MS * UINT64_C(1000000))
        return;
    run->tick_ns = loop->now_ns;
    for (size_t i = 0; i < run->crowd->count; i++)
        sender_tick(&run->senders[i]);
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
    if (crowd_call(run->crowd, sender->client, NULL, "History", &request.base,
                   &jackdaw__history_reply__descriptor, &reply, &why) != OK)
        return; /* the crowd has failed */
    check_page(run, sender, (const Jackdaw__HistoryReply *)reply);
    protobuf_c_message_free_unpacked(reply, NULL);
}

void send_run_check(struct send_run *run)
{
    size_t open = send_run_open(run);
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

/* ---- life ---- */

bool send_run_init(struct send_run *run, const struct bench *bench)
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

void send_run_release(struct send_run *run)
{
    for (size_t i = 0; i < run->crowd->count && run->senders != NULL; i++)
        sender_release(&run->senders[i]);
    for (size_t i = 0; i < run->rooms && run->numbers != NULL; i++)
        numbers_release(&run->numbers[i]);
    free(run->senders);
    free(run->numbers);
}
