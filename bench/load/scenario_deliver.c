/* SPDX-License-Identifier: MIT */
/* scenario_deliver.c - one client writes to a room, R others read it through open streams. A
 * message is in flight until it was acknowledged and every receiver has it; so with one in flight
 * each is delivered to all before the next is sent. */
#include "base/status.h"
#include "bench.h"
#include "flights.h"
#include "program.h"
#include "rpc/protocol.h"
#include "sender.h"
#include "spec.pb-c.h"

#include <inttypes.h>
#include <stdlib.h>

#define TURN_MS 10
#define TOP_UP_AT (RPC_CREDITS_MAX / 2)

struct receiver_state {
    uint64_t expected; /* number of the next message */
    uint32_t credits;
};

struct deliver_run {
    struct pool *pool;
    struct sender sender; /* of client 0; the others receive */
    struct sequence_set sequence_set;
    struct receiver_state *receivers; /* by client's index; [0] is not used */
    struct flights flights; /* by request number; parts: receivers, and the acknowledgement */
    size_t in_flight_max;
    struct measure sends;
    struct measure deliveries;
};

static void fail(struct deliver_run *run, const struct client *client, const char *what,
                 uint64_t number)
{
    run->deliveries.errors++;
    client_pool_fail(run->pool, "receiver %zu, number %" PRIu64 ": %s", client->index, number,
                     what);
}

static void send_more(struct deliver_run *run)
{
    while (run->deliveries.phase < PHASE_DRAINING && flights_may_begin(&run->flights)) {
        if (!sender_send(&run->sender))
            return;
        flights_begin(&run->flights, run->pool->loop.now_ns);
    }
}

static void arrive(struct deliver_run *run, uint64_t request)
{
    (void)flights_arrive(&run->flights, request, run->pool->loop.now_ns, &run->deliveries);
}

static bool check_event(struct deliver_run *run, const struct client *client,
                        const struct parse_event *event)
{
    const struct sender *sender = &run->sender;
    struct receiver_state *state = &run->receivers[client->index];
    uint64_t request = event->number - sender->client->room_number - 1 + sender->first;
    if (event->number != state->expected)
        fail(run, client, "is not the number that follows", event->number);
    else if (event->session != sender->client->session || event->request != request ||
             request >= sender->next)
        fail(run, client, "is not the message that was sent", event->number);
    else
        return true;
    return false;
}

static void take_page(struct deliver_run *run, struct client *client, struct parse_bytes payload)
{
    struct parse_page page;
    if (!parse_page(payload, &page) || page.after.seq != client->position.seq ||
        page.after.epoch != client->position.epoch) {
        fail(run, client, "a page does not follow the one before", 0);
        return;
    }
    client->position = page.next;
    struct parse_cursor cursor = {payload.at, payload.at + payload.size};
    struct parse_event event;
    enum parse_result result;
    uint64_t count = 0;
    while ((result = parse_event(&cursor, &event)) == PARSE_FOUND) {
        if (event.kind != JACKDAW__EVENT__KIND__MESSAGE)
            continue;
        if (!check_event(run, client, &event))
            return;
        run->receivers[client->index].expected++;
        count++;
        arrive(run, event.request);
    }
    if (result == PARSE_BROKEN)
        fail(run, client, "a page is none", 0);
    measure_count(&run->deliveries, count);
}

static void top_up(struct deliver_run *run, struct client *client)
{
    struct receiver_state *state = &run->receivers[client->index];
    state->credits--;
    if (state->credits > TOP_UP_AT)
        return;
    uint8_t *bytes = sp_connection_append(&client->connection, REQUEST_CREDIT_BYTES_MAX);
    if (bytes == NULL)
        return;
    uint32_t credits = RPC_CREDITS_MAX - state->credits;
    connection_keep(&client->connection,
                    request_pack_credit(CLIENT_POOL_RECEIVE_CALL, credits, bytes));
    state->credits = RPC_CREDITS_MAX;
}

static void on_receiver(struct deliver_run *run, struct client *client,
                        const struct parse_envelope *envelope)
{
    if (envelope->call != CLIENT_POOL_RECEIVE_CALL)
        return;
    if (envelope->status != STATUS_OK || !envelope->more) {
        run->deliveries.errors++;
        client_pool_fail(run->pool, "receiver %zu: the stream ended: %s (%.*s)", client->index,
                         status_name((enum status)envelope->status), (int)envelope->message.size,
                         (const char *)envelope->message.at);
        return;
    }
    take_page(run, client, envelope->payload);
    top_up(run, client);
}

static void on_frame(void *context, struct connection *connection, const uint8_t *body, size_t size)
{
    struct deliver_run *run = context;
    struct client *client = (struct client *)connection;
    struct parse_cursor frame = {body, body + size};
    struct parse_envelope envelope;
    struct parse_send_reply reply;
    enum parse_result result;
    while ((result = parse_envelope(&frame, &envelope)) == PARSE_FOUND) {
        if (client->index > 0)
            on_receiver(run, client, &envelope);
        else if (sender_take(&run->sender, &envelope, &reply))
            arrive(run, envelope.call);
    }
    if (result == PARSE_BROKEN)
        fail(run, client, "the server sent what is no frame", 0);
    send_more(run);
}

static void on_closed(void *context, struct connection *connection, const char *reason)
{
    fail(context, (struct client *)connection, reason, 0);
}

static void drive(struct deliver_run *run)
{
    struct pool *pool = run->pool;
    struct loop *loop = &pool->loop;
    loop->handler = (struct loop_handler){run, NULL, on_frame, on_closed};
    for (size_t i = 1; i < pool->count; i++) {
        run->receivers[i] = (struct receiver_state){.expected = pool->clients[0].room_number + 1,
                                                    .credits = RPC_CREDITS_MAX};
        if (!client_pool_receive(&pool->clients[i], RPC_CREDITS_MAX))
            client_pool_fail(pool, "out of memory");
    }
    send_more(run);
    while (measure_step(&run->deliveries, loop->now_ns) != PHASE_OVER &&
           !client_pool_has_failed(pool)) {
        (void)measure_step(&run->sends, loop->now_ns);
        loop_turn(loop, TURN_MS);
        sender_tick(&run->sender);
        send_more(run);
        if (run->deliveries.phase == PHASE_DRAINING && flights_open(&run->flights) == 0)
            break;
    }
}

static bool prepare(struct deliver_run *run, const struct bench *bench)
{
    struct pool *pool = run->pool;
    run->receivers = calloc(pool->count, sizeof *run->receivers);
    sequence_set_init(&run->sequence_set, pool->clients[0].room_number);
    if (run->receivers == NULL || !sender_init(&run->sender, pool, &pool->clients[0], &run->sends,
                                               &run->sequence_set, bench->text, run->in_flight_max))
        return false;
    return flights_init(&run->flights, run->in_flight_max, pool->count, run->sender.next);
}

static void release(struct deliver_run *run)
{
    sender_release(&run->sender);
    sequence_set_release(&run->sequence_set);
    free(run->receivers);
    flights_release(&run->flights);
}

struct deliver_case {
    size_t in_flight;
    double target; /* 0: none */
};

static void add_row(struct bench *bench, struct deliver_run *run, const char *name, double target)
{
    struct metric metric;
    run->deliveries.retries = run->sends.retries;
    run->deliveries.errors += run->sends.errors + (client_pool_has_failed(run->pool) ? 1 : 0);
    measure_metric(&run->deliveries, name, "deliveries/s", &metric);
    if (target > 0)
        metric_target(&metric, TARGET_AT_LEAST, target);
    bench_add(bench, &metric);
}

static void run_deliver(struct bench *bench, struct load_fixture *load_fixture,
                        const struct load_run *load_run)
{
    const struct deliver_case *what = load_run->context;
    struct deliver_run run = {.pool = &load_fixture->pool, .in_flight_max = what->in_flight};
    if (prepare(&run, bench)) {
        uint64_t now_ns = loop_read_clock(&run.pool->loop);
        measure_begin(&run.deliveries, &bench->times, load_fixture->server, now_ns);
        measure_begin(&run.sends, &bench->times, 0, now_ns);
        drive(&run);
        if (!interrupted() && flights_open(&run.flights) > 0)
            client_pool_fail(run.pool, "%" PRIu64 " messages did not reach everyone",
                             flights_open(&run.flights));
    } else {
        client_pool_fail(run.pool, "out of memory");
    }
    if (!interrupted())
        add_row(bench, &run, load_run->name, what->target);
    release(&run);
}

void scenario_deliver(struct bench *bench, const char *name, size_t in_flight, double target)
{
    size_t clients = 1 + (size_t)bench->settings->receivers;
    const struct deliver_case what = {.in_flight = in_flight, .target = target};
    bench_run(bench, &(struct load_run){.name = name,
                                        .options = {.clients = clients},
                                        .room_size = clients,
                                        .run = run_deliver,
                                        .context = &what});
}

static void run_readers(struct bench *bench, const char *name, size_t receivers,
                        enum load_places places, size_t in_flight)
{
    const struct deliver_case what = {.in_flight = in_flight};
    if (interrupted())
        return;
    bench_run(bench, &(struct load_run){
                         .name = name,
                         .options = {.clients = 1 + receivers, .servers = bench->settings->servers},
                         .room_size = 1 + receivers,
                         .places = places,
                         .run = run_deliver,
                         .context = &what});
}

void scenario_readers(struct bench *bench)
{
    size_t receivers = bench->settings->receivers;
    size_t many = bench->settings->in_flight;
    if (bench->settings->address.port != 0) {
        bench_complain(bench, "readers", "goes without --address: it starts its own servers");
        return;
    }
    run_readers(bench, "readers at the master", receivers, PLACES_MASTER, 1);
    run_readers(bench, "readers at all servers", receivers, PLACES_ALL, 1);
    run_readers(bench, "readers at the slaves", receivers, PLACES_SLAVES, 1);
    run_readers(bench, "pipelined at the master", receivers, PLACES_MASTER, many);
    run_readers(bench, "pipelined at all servers", receivers, PLACES_ALL, many);
    run_readers(bench, "pipelined at the slaves", receivers, PLACES_SLAVES, many);
    run_readers(bench, "one reader at the master", 1, PLACES_MASTER, 1);
    run_readers(bench, "one reader at a slave", 1, PLACES_SLAVES, 1);
}
