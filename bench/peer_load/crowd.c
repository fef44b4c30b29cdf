/* SPDX-License-Identifier: MIT */
#include "crowd.h"

#include "program.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SETUP_TIMEOUT_NS (UINT64_C(120) * 1000000000u)
#define SETUP_AT_ONCE 100u /* clients on their way in: InspIRCd admits them once a second */
#define TURN_MS 10

void crowd_fail(struct crowd *crowd, const char *format, ...)
{
    if (crowd_has_failed(crowd))
        return;
    va_list values;
    va_start(values, format);
    (void)vsnprintf(crowd->problem.text, sizeof crowd->problem.text, format, values);
    va_end(values);
}

bool crowd_has_failed(const struct crowd *crowd)
{
    return crowd->problem.text[0] != '\0';
}

/* Sends the request of the next step, or counts the client as ready. */
static void go_on(struct crowd *crowd, struct peer *peer)
{
    const struct peer_protocol *protocol = crowd->work.protocol;
    if (peer->step == protocol->steps) {
        peer->ready = true;
        crowd->ready++;
    } else if (!protocol->enter(peer, peer->step)) {
        crowd_fail(crowd, "out of memory");
    }
}

static void on_established(void *context, struct connection *connection)
{
    go_on(context, (struct peer *)connection);
}

static void on_frame(void *context, struct connection *connection, const uint8_t *body, size_t size)
{
    struct crowd *crowd = context;
    struct peer *peer = (struct peer *)connection;
    struct peer_event event = crowd->work.protocol->read(peer, body, size);
    if (event.kind == PEER_NOTHING)
        return;
    if (peer->ready) {
        if (crowd->on_event != NULL)
            crowd->on_event(crowd->context, peer, &event);
    } else if (event.kind == PEER_ENTERED) {
        peer->step++;
        go_on(crowd, peer);
    } else if (event.kind == PEER_REFUSED) {
        crowd_fail(crowd, "client %zu was refused: %.*s", peer->index, (int)size,
                   (const char *)body);
    }
}

static void on_closed(void *context, struct connection *connection, const char *reason)
{
    crowd_fail(context, "client %zu: %s", ((struct peer *)connection)->index, reason);
}

static void prepare(struct crowd *crowd, const struct crowd_options *options)
{
    for (size_t i = 0; i < crowd->count; i++)
        crowd->peers[i] = (struct peer){.connection.descriptor = -1,
                                        .work = &crowd->work,
                                        .index = i,
                                        .room = i / options->room_size,
                                        .receives = !options->has_sender || i + 1 < crowd->count};
}

static void start_more(struct crowd *crowd, const struct address *address)
{
    while (crowd->started < crowd->count && crowd->started - crowd->ready < SETUP_AT_ONCE) {
        struct error_text why;
        struct peer *peer = &crowd->peers[crowd->started++];
        if (connection_open(&peer->connection, &crowd->loop, address, &why) != OK) {
            crowd_fail(crowd, "%s", why.text);
            return;
        }
    }
}

enum error crowd_open(struct crowd *crowd, const struct crowd_options *options,
                      struct error_text *why)
{
    *crowd = (struct crowd){.loop.epoll = -1, .work = options->work, .count = options->count};
    enum error error = loop_init(&crowd->loop, &crowd->work.protocol->framing, why);
    if (error != OK)
        return error;
    crowd->peers = calloc(options->count, sizeof *crowd->peers);
    if (crowd->peers == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    prepare(crowd, options);
    crowd->loop.handler = (struct loop_handler){crowd, on_established, on_frame, on_closed};
    uint64_t end = crowd->loop.now_ns + SETUP_TIMEOUT_NS;
    while (crowd->ready < crowd->count && !crowd_has_failed(crowd)) {
        if (interrupted() || crowd->loop.now_ns >= end)
            crowd_fail(crowd, "only %zu of %zu clients have entered", crowd->ready, crowd->count);
        start_more(crowd, &options->address);
        loop_turn(&crowd->loop, TURN_MS);
    }
    return crowd_has_failed(crowd) ? error_set(why, ERROR_REFUSED, "%s", crowd->problem.text) : OK;
}

void crowd_close(struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->count && crowd->peers != NULL; i++)
        connection_close(&crowd->peers[i].connection);
    free(crowd->peers);
    crowd->peers = NULL;
    loop_release(&crowd->loop);
}
