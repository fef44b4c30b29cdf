/* SPDX-License-Identifier: MIT */
/* nats.c - a client of NATS that publishes to a JetStream: a message with a reply subject, whose last part is
 * the slot. The reply names the message's number in the stream. */
#include "peer.h"

#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 256u

/* "MSG subject sid size\r\n" is followed by so many bytes and an end of line; other lines stand alone. */
static size_t frame_size(const uint8_t *bytes, size_t size)
{
    size_t line = peer_line_size(bytes, size);
    if (line == 0 ||
        !(peer_begins_with(bytes, line, "MSG ") || peer_begins_with(bytes, line, "HMSG ")))
        return line;
    size_t at = line;
    while (at > 0 && bytes[at - 1] != ' ')
        at--;
    size_t whole = line + strtoul((const char *)bytes + at, NULL, 10) + 2;
    return whole <= size ? whole : 0;
}

static size_t take(struct connection *connection, const uint8_t *bytes, size_t size)
{
    return connection_pass(connection, bytes, frame_size(bytes, size));
}

static bool enter(struct peer *peer, unsigned step)
{
    (void)step;
    return peer_print(peer,
                      "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,"
                      "\"lang\":\"c\",\"version\":\"0\",\"protocol\":1}\r\n"
                      "SUB _INBOX.%zu.* 1\r\nPING\r\n",
                      peer->index);
}

static bool publish(struct peer *peer, size_t slot, const char *text)
{
    return peer_print(peer, "PUB room _INBOX.%zu.%zu %zu\r\n%s\r\n", peer->index, slot,
                      peer->work->text_bytes, text);
}

static struct peer_event take_reply(const uint8_t *frame, size_t size)
{
    const uint8_t *payload = frame + peer_line_size(frame, size);
    size_t payload_size = size - (size_t)(payload - frame);
    const uint8_t *dot = peer_find(frame, size, ".");
    dot = dot == NULL ? NULL : peer_find(dot + 1, size - (size_t)(dot + 1 - frame), ".");
    if (dot == NULL)
        return (struct peer_event){.kind = PEER_NOTHING};
    size_t slot = strtoul((const char *)dot + 1, NULL, 10);
    bool stored = peer_find(payload, payload_size, "\"seq\":") != NULL &&
                  peer_find(payload, payload_size, "\"error\"") == NULL;
    return (struct peer_event){.kind = stored ? PEER_ACKNOWLEDGED : PEER_REFUSED, .slot = slot};
}

static struct peer_event read_frame(struct peer *peer, const uint8_t *frame, size_t size)
{
    if (peer_begins_with(frame, size, "MSG ") || peer_begins_with(frame, size, "HMSG "))
        return take_reply(frame, size);
    if (peer_begins_with(frame, size, "PING"))
        (void)peer_print(peer, "PONG\r\n");
    if (peer_begins_with(frame, size, "PONG"))
        return (struct peer_event){.kind = PEER_ENTERED};
    return (struct peer_event){.kind = frame[0] == '-' ? PEER_REFUSED : PEER_NOTHING};
}

const struct peer_protocol peer_nats = {
    .name = "nats",
    .steps = 1,
    .depth_max = DEPTH_MAX,
    .framing = {.take = take},
    .enter = enter,
    .send = publish,
    .read = read_frame,
};
