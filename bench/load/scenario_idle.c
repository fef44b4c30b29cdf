/* SPDX-License-Identifier: MIT */
/* scenario_idle.c - memory of a server without clients, and of clients that only wait. */
#include "bench.h"
#include "program.h"
#include "rpc/protocol.h"

#define SETTLE_NS UINT64_C(500000000)
#define TURN_MS 10
#define NS_PER_MS UINT64_C(1000000)
#define ROOM_SIZE 20u
#define KILOBYTE 1e3
#define MEGABYTE 1e6

static void on_frame(void *context, struct connection *connection, const uint8_t *body, size_t size)
{
    (void)context;
    (void)connection;
    (void)body;
    (void)size;
}

static void on_closed(void *context, struct connection *connection, const char *reason)
{
    client_pool_fail(context, "client %zu: %s", ((struct client *)connection)->index, reason);
}

/* Reads and drops what arrives, for a while. */
static void settle(struct pool *pool)
{
    struct loop *loop = &pool->loop;
    uint64_t end = loop_read_clock(loop) + SETTLE_NS;
    while (loop->now_ns < end && !client_pool_has_failed(pool) && !interrupted())
        loop_turn(loop, TURN_MS);
}

static void listen_all(struct pool *pool)
{
    pool->loop.handler = (struct loop_handler){pool, NULL, on_frame, on_closed};
    for (size_t i = 0; i < pool->count; i++)
        if (!client_pool_receive(&pool->clients[i], RPC_CREDITS_MAX))
            client_pool_fail(pool, "out of memory");
    settle(pool);
}

static void add_row(struct bench *bench, const char *name, const char *unit, double value,
                    double target)
{
    struct metric metric;
    metric_init(&metric, name, unit, value);
    if (target > 0)
        metric_target(&metric, TARGET_BELOW, target);
    bench_add(bench, &metric);
}

/* Two crowds, one after the other: what the second adds is the price of a further client, without
 * what a server allocates once it has any. */
static enum error run_in(struct bench *bench, struct load_fixture *load_fixture,
                         struct pool *second, struct error_text *why)
{
    size_t half = (bench->settings->idle_clients + 1) / 2;
    struct memory before = usage_memory(load_fixture->server);
    enum error error = load_fixture_fill(load_fixture, half, ROOM_SIZE, PLACES_MASTER, why);
    if (error != OK)
        return error;
    listen_all(&load_fixture->pool);
    struct memory middle = usage_memory(load_fixture->server);
    char tag[BENCH_TAG_SIZE + 1];
    (void)snprintf(tag, sizeof tag, "%.15sb", load_fixture->tag);
    error = client_pool_open(
        second,
        &(struct client_pool_options){
            .address = load_fixture->address, .count = half, .room_size = ROOM_SIZE, .tag = tag},
        why);
    if (error != OK)
        return error;
    listen_all(second);
    settle(&load_fixture->pool);
    struct memory after = usage_memory(load_fixture->server);
    if (client_pool_has_failed(&load_fixture->pool) || client_pool_has_failed(second))
        return error_set(why, ERROR_CLOSED, "%s%s", load_fixture->pool.problem.text,
                         second->problem.text);
    if (load_fixture->server == 0 || interrupted())
        return OK;
    double per_client = ((double)after.resident_bytes - (double)before.resident_bytes) /
                        (double)(2 * half) / KILOBYTE;
    double further =
        ((double)after.resident_bytes - (double)middle.resident_bytes) / (double)half / KILOBYTE;
    add_row(bench, "idle server", "MB", (double)before.resident_bytes / MEGABYTE, 10);
    add_row(bench, "idle server, own", "MB", (double)before.anonymous_bytes / MEGABYTE, 0);
    add_row(bench, "idle client", "KB", per_client, 8);
    add_row(bench, "idle client, further", "KB", further, 0);
    return OK;
}

static void hold(struct bench *bench, struct load_fixture *load_fixture,
                 const struct load_run *load_run)
{
    struct pool *pool = &load_fixture->pool;
    listen_all(pool);
    if (!client_pool_has_failed(pool))
        add_row(bench, load_run->name, "clients", (double)pool->count, 0);
    uint64_t begun_ns = loop_read_clock(&pool->loop);
    uint64_t sent = 0; /* heartbeats: the clients take turns */
    while (!interrupted() && !client_pool_has_failed(pool)) {
        uint64_t elapsed_ms = (pool->loop.now_ns - begun_ns) / NS_PER_MS;
        for (; sent < elapsed_ms * pool->count / CLIENT_POOL_HEARTBEAT_MS; sent++)
            if (!client_pool_heartbeat(&pool->clients[sent % pool->count]))
                client_pool_fail(pool, "out of memory");
        loop_turn(&pool->loop, TURN_MS);
    }
}

void scenario_hold(struct bench *bench)
{
    size_t clients = bench->settings->idle_clients;
    bench_run(bench, &(struct load_run){.name = "held clients",
                                        .options = {.clients = clients},
                                        .room_size = ROOM_SIZE,
                                        .run = hold});
}

void scenario_idle(struct bench *bench)
{
    struct load_fixture load_fixture;
    struct error_text why;
    struct pool second = {.loop.epoll = -1};
    enum error error = load_fixture_open(
        &load_fixture, bench,
        &(struct load_fixture_options){.clients = bench->settings->idle_clients}, &why);
    if (error == OK)
        error = run_in(bench, &load_fixture, &second, &why);
    if (error != OK)
        bench_complain(bench, "idle", why.text);
    client_pool_close(&second);
    if (!load_fixture_close(&load_fixture) && error == OK)
        bench_complain(bench, "idle", "the server did not end well");
}
