/* SPDX-License-Identifier: MIT */
/* redis.c - a client of Redis (protocol RESP2): one appends to a stream and waits for the replicas, another one
 * publishes or subscribes. */
#include "peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLICAS "2"
#define WAIT_MS "20000" /* then the batch counts as refused */
#define ARRAY_DEPTH_MAX 4u

/* Returns the number in a line such as "$100\r\n"; -1: there is none, or it is negative. */
static long read_length(const uint8_t *line, size_t size)
{
    long value = 0;
    size_t at = 1;
    for (; at < size && line[at] >= '0' && line[at] <= '9' && value < 1000000; at++)
        value = value * 10 + (line[at] - '0');
    return at > 1 ? value : -1;
}

static size_t value_size(const uint8_t *bytes, size_t size, unsigned depth);

static size_t array_size(const uint8_t *bytes, size_t size, size_t line, unsigned depth)
{
    long count = read_length(bytes, line);
    size_t at = line;
    for (long i = 0; i < count; i++) {
        size_t part = at < size ? value_size(bytes + at, size - at, depth + 1) : 0;
        if (part == 0 || part == FRAME_BROKEN)
            return part;
        at += part;
    }
    return at;
}

/* Returns the size of the first value in bytes; 0: it is not complete; or FRAME_BROKEN. */
static size_t value_size(const uint8_t *bytes, size_t size, unsigned depth)
{
    size_t line = peer_line_size(bytes, size);
    if (line == 0)
        return 0;
    switch (bytes[0]) {
    case '+':
    case '-':
    case ':':
        return line;
    case '$': {
        long length = read_length(bytes, line);
        size_t whole = length < 0 ? line : line + (size_t)length + 2;
        return whole <= size ? whole : 0;
    }
    case '*':
        return depth < ARRAY_DEPTH_MAX ? array_size(bytes, size, line, depth) : FRAME_BROKEN;
    default:
        return FRAME_BROKEN;
    }
}

static size_t take(struct connection *connection, const uint8_t *bytes, size_t size)
{
    return connection_pass(connection, bytes, value_size(bytes, size, 0));
}

/* ---- stream ---- */

static bool append(struct peer *peer, size_t slot, const char *text)
{
    (void)slot;
    peer->replies_expected = peer->work->batch + 1;
    peer->refused = false;
    for (size_t i = 0; i < peer->work->batch; i++)
        if (!peer_print(peer,
                        "*5\r\n$4\r\nXADD\r\n$4\r\nroom\r\n$1\r\n*\r\n$1\r\nm\r\n$%zu\r\n%s\r\n",
                        peer->work->text_bytes, text))
            return false;
    return peer_print(peer, "*3\r\n$4\r\nWAIT\r\n$1\r\n" REPLICAS "\r\n$5\r\n" WAIT_MS "\r\n");
}

/* The batch is acknowledged if no XADD failed and the last reply, that of WAIT, counts both replicas. */
static struct peer_event read_appended(struct peer *peer, const uint8_t *frame, size_t size)
{
    if (peer->replies_expected == 0)
        return (struct peer_event){.kind = PEER_REFUSED};
    if (frame[0] == '-')
        peer->refused = true;
    peer->replies_expected--;
    if (peer->replies_expected > 0)
        return (struct peer_event){.kind = PEER_NOTHING};
    if (!peer_begins_with(frame, size, ":" REPLICAS "\r\n"))
        peer->refused = true;
    return (struct peer_event){.kind = peer->refused ? PEER_REFUSED : PEER_ACKNOWLEDGED};
}

const struct peer_protocol peer_redis = {
    .name = "redis",
    .depth_max = 1,
    .framing = {.take = take},
    .send = append,
    .read = read_appended,
};

/* ---- publish and subscribe ---- */

static bool subscribe(struct peer *peer, unsigned step)
{
    (void)step;
    if (peer->receives)
        return peer_print(peer, "SUBSCRIBE room%zu\r\n", peer->room);
    return peer_print(peer, "PING\r\n");
}

static bool publish(struct peer *peer, size_t slot, const char *text)
{
    char room[32];
    (void)slot;
    (void)snprintf(room, sizeof room, "room%zu", peer->room);
    return peer_print(peer, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(room),
                      room, peer->work->text_bytes, text);
}

static struct peer_event read_published(struct peer *peer, const uint8_t *frame, size_t size)
{
    size_t text_bytes = peer->work->text_bytes;
    if (peer_begins_with(frame, size, "*3\r\n$7\r\nmessage\r\n") && size > text_bytes + 2)
        return (struct peer_event){.kind = PEER_MESSAGE, .text = frame + size - 2 - text_bytes};
    if (peer_begins_with(frame, size, "*3\r\n$9\r\nsubscribe\r\n") ||
        peer_begins_with(frame, size, "+PONG"))
        return (struct peer_event){.kind = PEER_ENTERED};
    return (struct peer_event){.kind = frame[0] == '-' ? PEER_REFUSED : PEER_NOTHING};
}

const struct peer_protocol peer_redis_pubsub = {
    .name = "redis_pubsub",
    .steps = 1,
    .framing = {.take = take},
    .enter = subscribe,
    .send = publish,
    .read = read_published,
};
