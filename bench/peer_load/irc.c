/* SPDX-License-Identifier: MIT */
/* irc.c - a client of an IRC server (RFC 2812): NICK and USER, JOIN, PRIVMSG. */
#include "peer.h"

#include <string.h>

enum { STEP_LOG_IN, STEP_JOIN, STEPS };

static size_t take(struct connection *connection, const uint8_t *bytes, size_t size)
{
    return connection_pass(connection, bytes, peer_line_size(bytes, size));
}

static bool enter(struct peer *peer, unsigned step)
{
    if (step == STEP_LOG_IN)
        return peer_print(peer, "NICK u%zu\r\nUSER u%zu 0 * :load\r\n", peer->index, peer->index);
    return peer_print(peer, "JOIN #room%zu\r\n", peer->room);
}

static bool send_message(struct peer *peer, size_t slot, const char *text)
{
    (void)slot;
    return peer_print(peer, "PRIVMSG #room%zu :%s\r\n", peer->room, text);
}

static struct peer_event take_message(const struct peer *peer, const uint8_t *words, size_t size)
{
    const uint8_t *colon = memchr(words, ':', size);
    if (colon == NULL || (size_t)(words + size - colon) < peer->work->text_bytes + 1)
        return (struct peer_event){.kind = PEER_REFUSED};
    return (struct peer_event){.kind = PEER_MESSAGE, .text = colon + 1};
}

/* Numbers of replies that end a step. */
static bool ends_step(const struct peer *peer, const uint8_t *words, size_t size)
{
    if (peer->step == STEP_LOG_IN)
        return peer_begins_with(words, size, "376 ") || /* end of the message of the day */
               peer_begins_with(words, size, "422 ");   /* there is none */
    return peer_begins_with(words, size, "366 ");       /* end of the list of members */
}

/* While a client enters, the server refuses it with a number from 400 to 599. */
static bool refuses(const uint8_t *words, size_t size)
{
    return size > 3 && (words[0] == '4' || words[0] == '5') && words[3] == ' ';
}

static struct peer_event read_line(struct peer *peer, const uint8_t *frame, size_t size)
{
    if (peer_begins_with(frame, size, "PING ")) {
        (void)peer_print(peer, "PO%.*s", (int)(size - 2), (const char *)frame + 2);
        return (struct peer_event){.kind = PEER_NOTHING};
    }
    if (peer_begins_with(frame, size, "ERROR"))
        return (struct peer_event){.kind = PEER_REFUSED};
    const uint8_t *words = memchr(frame, ' ', size);
    if (words == NULL)
        return (struct peer_event){.kind = PEER_NOTHING};
    words++;
    size -= (size_t)(words - frame);
    if (peer_begins_with(words, size, "PRIVMSG "))
        return take_message(peer, words, size);
    if (!peer->ready && ends_step(peer, words, size))
        return (struct peer_event){.kind = PEER_ENTERED};
    if (!peer->ready && refuses(words, size))
        return (struct peer_event){.kind = PEER_REFUSED};
    return (struct peer_event){.kind = PEER_NOTHING};
}

const struct peer_protocol peer_irc = {
    .name = "irc",
    .steps = STEPS,
    .framing = {.take = take},
    .enter = enter,
    .send = send_message,
    .read = read_line,
};
