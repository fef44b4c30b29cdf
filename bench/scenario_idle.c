/* SPDX-License-Identifier: MIT */
/* scenario_idle.c - memory of a server that nobody uses, and of clients that do nothing but
 * wait. */
#include "bench.h"
#include "interrupt.h"
#include "rpc/protocol.h"

#include <string.h>

#define SETTLE_NS UINT64_C(500000000)
#define TURN_MS 10
#define ROOM_SIZE 20u
#define KILOBYTE 1e3
#define MEGABYTE 1e6

static void on_frame(void *context, struct link *link, const uint8_t *body, size_t size)
{
    (void)context;
    (void)link;
    (void)body;
    (void)size;
}

static void on_closed(void *context, struct link *link, const char *reason)
{
    crowd_fail(context, "client %zu: %s", ((struct client *)link)->index, reason);
}

/* Reads and drops what arrives, for a while. */
static void settle(struct crowd *crowd)
{
    struct loop *loop = &crowd->loop;
    uint64_t end = loop_read_clock(loop) + SETTLE_NS;
    while (loop->now_ns < end && !crowd_has_failed(crowd) && !interrupted())
        loop_turn(loop, TURN_MS);
}

static void listen_all(struct crowd *crowd)
{
    crowd->loop.handler = (struct loop_handler){crowd, NULL, on_frame, on_closed};
    for (size_t i = 0; i < crowd->count; i++)
        if (!crowd_receive(&crowd->clients[i], RPC_CREDITS_MAX))
            crowd_fail(crowd, "out of memory");
    settle(crowd);
}

static void add_row(struct bench *bench, const char *name, const char *unit, double value,
                    double target)
{
    struct figure figure;
    figure_init(&figure, name, unit, value);
    if (target > 0)
        figure_target(&figure, TARGET_BELOW, target);
    bench_add(bench, &figure);
}

/* Two crowds, one after the other: what the second adds is the price of a further client, without
 * what a server allocates once it has any. */
static enum error run_in(struct bench *bench, struct venue *venue, struct crowd *second,
                         struct error_text *why)
{
    size_t half = (bench->settings->idle_clients + 1) / 2;
    struct memory before = process_memory(venue->server);
    enum error error = venue_fill(venue, half, ROOM_SIZE, why);
    if (error != OK)
        return error;
    listen_all(&venue->crowd);
    struct memory middle = process_memory(venue->server);
    char tag[BENCH_TAG_SIZE + 1];
    (void)snprintf(tag, sizeof tag, "%.15sb", venue->tag);
    error = crowd_open(second, &(struct crowd_options){venue->address, half, ROOM_SIZE, tag}, why);
    if (error != OK)
        return error;
    listen_all(second);
    settle(&venue->crowd);
    struct memory after = process_memory(venue->server);
    if (crowd_has_failed(&venue->crowd) || crowd_has_failed(second))
        return error_set(why, ERROR_CLOSED, "%s%s", venue->crowd.problem.text,
                         second->problem.text);
    if (venue->server == 0 || interrupted())
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

void scenario_idle(struct bench *bench)
{
    struct venue venue;
    struct error_text why;
    struct crowd second = {.loop.epoll = -1};
    enum error error = venue_open(
        &venue, bench, &(struct venue_options){.clients = bench->settings->idle_clients}, &why);
    if (error == OK)
        error = run_in(bench, &venue, &second, &why);
    if (error != OK)
        bench_complain(bench, "idle", why.text);
    crowd_close(&second);
    if (!venue_close(&venue) && error == OK)
        bench_complain(bench, "idle", "the server did not end well");
}
