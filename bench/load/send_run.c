/* SPDX-License-Identifier: MIT */
#include "send_run.h"

#include "spec.pb-c.h"

#include <inttypes.h>
#include <stdlib.h>

#define TURN_MS 10
#define CHECKED_PAGE 256u

static void on_frame(void *context, struct connection *connection, const uint8_t *body, size_t size)
{
    struct send_run *run = context;
    struct sender *sender = &run->senders[((struct client *)connection)->index];
    struct parse_cursor frame = {body, body + size};
    struct parse_envelope envelope;
    struct parse_send_reply reply;
    enum parse_result result;
    while ((result = parse_envelope(&frame, &envelope)) == PARSE_FOUND)
        (void)sender_take(sender, &envelope, &reply);
    if (result == PARSE_BROKEN)
        client_pool_fail(run->pool, "the server sent what is no frame");
    if (run->measure.phase < PHASE_DRAINING)
        sender_fill(sender);
}

static void on_closed(void *context, struct connection *connection, const char *reason)
{
    struct send_run *run = context;
    run->measure.errors++;
    client_pool_fail(run->pool, "client %zu: %s", ((struct client *)connection)->index, reason);
}

size_t send_run_open(const struct send_run *run)
{
    size_t open = 0;
    for (size_t i = 0; i < run->pool->count; i++)
        open += run->senders[i].open;
    return open;
}

void send_run_start(struct send_run *run)
{
    struct loop *loop = &run->pool->loop;
    loop->handler = (struct loop_handler){run, NULL, on_frame, on_closed};
    run->tick_ns = loop_read_clock(loop);
    for (size_t i = 0; i < run->pool->count; i++)
        sender_fill(&run->senders[i]);
}

void send_run_turn(struct send_run *run)
{
    struct loop *loop = &run->pool->loop;
    loop_turn(loop, TURN_MS);
    if (loop->now_ns - run->tick_ns < TURN_MS * UINT64_C(1000000))
        return;
    run->tick_ns = loop->now_ns;
    for (size_t i = 0; i < run->pool->count; i++)
        sender_tick(&run->senders[i]);
}

/* The newest page of a room that one client alone wrote to holds its last messages, as numbered. */
static void check_page(struct send_run *run, const struct sender *sender,
                       const Jackdaw__HistoryReply *page)
{
    size_t count = page->n_events;
    if (count == 0 || page->events[count - 1]->number != sender->sequence_set->highest) {
        client_pool_fail(run->pool,
                         "client %zu: the newest message in the history is not number %" PRIu64,
                         sender->client->index, sender->sequence_set->highest);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const Jackdaw__Event *event = page->events[i];
        uint64_t request = event->number - sender->client->room_number - 1 + sender->first;
        if (event->session != sender->client->session || event->request != request)
            client_pool_fail(run->pool,
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
    if (client_pool_call(run->pool, sender->client, NULL, "History", &request.base,
                         &jackdaw__history_reply__descriptor, &reply, &why) != OK)
        return; /* the client pool has failed */
    check_page(run, sender, (const Jackdaw__HistoryReply *)reply);
    protobuf_c_message_free_unpacked(reply, NULL);
}

void send_run_check(struct send_run *run)
{
    size_t open = send_run_open(run);
    if (open > 0)
        client_pool_fail(run->pool, "%zu messages were never answered", open);
    for (size_t i = 0; i < run->rooms; i++) {
        uint64_t missing = sequence_set_missing(&run->sequence_set[i]);
        if (missing > 0)
            client_pool_fail(run->pool, "room %zu: %" PRIu64 " numbers were given to nobody", i,
                             missing);
    }
    for (size_t i = 0; i < run->pool->count && run->rooms == run->pool->count; i++)
        if (!client_pool_has_failed(run->pool))
            check_history(run, &run->senders[i]);
}

bool send_run_init(struct send_run *run, const struct bench *bench)
{
    struct pool *pool = run->pool;
    run->senders = calloc(pool->count, sizeof *run->senders);
    run->sequence_set = calloc(run->rooms, sizeof *run->sequence_set);
    if (run->senders == NULL || run->sequence_set == NULL)
        return false;
    for (size_t i = 0; i < run->rooms; i++)
        sequence_set_init(&run->sequence_set[i], pool->clients[i].room_number);
    for (size_t i = 0; i < pool->count; i++) {
        struct sequence_set *sequence_set = &run->sequence_set[run->rooms == 1 ? 0 : i];
        if (!sender_init(&run->senders[i], pool, &pool->clients[i], &run->measure, sequence_set,
                         bench->text, run->depth))
            return false;
    }
    return true;
}

void send_run_release(struct send_run *run)
{
    for (size_t i = 0; i < run->pool->count && run->senders != NULL; i++)
        sender_release(&run->senders[i]);
    for (size_t i = 0; i < run->rooms && run->sequence_set != NULL; i++)
        sequence_set_release(&run->sequence_set[i]);
    free(run->senders);
    free(run->sequence_set);
}
