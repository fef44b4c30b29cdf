/* SPDX-License-Identifier: MIT */
/* etcd.c - a client of etcd that puts keys by gRPC: HTTP/2 (RFC 9113) with headers that need no table
 * (RFC 7541, section 6.2.2), one request at a time. */
#include "peer.h"

#include <stdio.h>
#include <string.h>

#define FRAME_HEAD_BYTES 9u
#define FRAME_BYTES_MAX 16384u   /* the default of SETTINGS_MAX_FRAME_SIZE */
#define WINDOW_BYTES 0x7fff0000u /* of the connection: more than all replies of a run */

enum frame_type {
    DATA = 0,
    HEADERS = 1,
    RST_STREAM = 3,
    SETTINGS = 4,
    PING = 6,
    GOAWAY = 7,
    WINDOW_UPDATE = 8
};
enum frame_flag { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

struct buffer {
    uint8_t bytes[1024];
    size_t used;
};

static void put(struct buffer *buffer, const void *bytes, size_t size)
{
    if (size > sizeof buffer->bytes - buffer->used)
        return; /* PEER_TEXT_BYTES_MAX leaves room */
    memcpy(buffer->bytes + buffer->used, bytes, size);
    buffer->used += size;
}

static void put_byte(struct buffer *buffer, unsigned value)
{
    put(buffer, &(uint8_t){(uint8_t)value}, 1);
}

static void put_number(struct buffer *buffer, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        put_byte(buffer, value >> shift & 0xffu);
}

/* A string of up to 126 bytes behind its length, as HPACK and Protocol Buffers have it. */
static void put_string(struct buffer *buffer, const char *text)
{
    put_byte(buffer, (unsigned)strlen(text));
    put(buffer, text, strlen(text));
}

static bool send_frame(struct peer *peer, enum frame_type type, unsigned flags, uint32_t stream,
                       const void *payload, size_t size)
{
    struct buffer head = {.used = 0};
    put_number(&head, (uint32_t)size << 8 | type);
    put_byte(&head, flags);
    put_number(&head, stream);
    return connection_send(&peer->connection, head.bytes, head.used) &&
           connection_send(&peer->connection, payload, size);
}

static size_t frame_size(const uint8_t *bytes, size_t size)
{
    if (size < FRAME_HEAD_BYTES)
        return 0;
    size_t payload = (size_t)bytes[0] << 16 | (size_t)bytes[1] << 8 | bytes[2];
    if (payload > FRAME_BYTES_MAX)
        return FRAME_BROKEN;
    return FRAME_HEAD_BYTES + payload <= size ? FRAME_HEAD_BYTES + payload : 0;
}

static size_t take(struct connection *connection, const uint8_t *bytes, size_t size)
{
    return connection_pass(connection, bytes, frame_size(bytes, size));
}

/* Begins the connection: the preface, empty settings, a larger window. The server's settings answer. */
static bool enter(struct peer *peer, unsigned step)
{
    (void)step;
    struct buffer window = {.used = 0};
    put_number(&window, WINDOW_BYTES);
    peer->stream = UINT32_MAX; /* the first request is stream 1 */
    return peer_print(peer, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") &&
           send_frame(peer, SETTINGS, 0, 0, "", 0) &&
           send_frame(peer, WINDOW_UPDATE, 0, 0, window.bytes, window.used);
}

static void put_headers(struct buffer *headers)
{
    put_byte(headers, 0x83); /* :method POST */
    put_byte(headers, 0x86); /* :scheme http */
    put_byte(headers, 0x04); /* :path */
    put_string(headers, "/etcdserverpb.KV/Put");
    put_byte(headers, 0x01); /* :authority */
    put_string(headers, "127.0.0.1");
    put_byte(headers, 0x0f); /* content-type, */
    put_byte(headers, 0x10); /* whose index is 15 + 16 */
    put_string(headers, "application/grpc");
    put_byte(headers, 0x00);
    put_string(headers, "te");
    put_string(headers, "trailers");
}

/* PutRequest: key = 1, value = 2; behind 5 bytes of gRPC. */
static void put_request(struct buffer *data, const struct peer *peer, const char *text)
{
    char key[64];
    struct buffer body = {.used = 0};
    size_t size = peer->work->text_bytes;
    (void)snprintf(key, sizeof key, "room/%zu/%u", peer->index, peer->stream);
    put_byte(&body, 1 << 3 | 2);
    put_string(&body, key);
    put_byte(&body, 2 << 3 | 2);
    if (size > 127) {
        put_byte(&body, (unsigned)(size & 127u) | 128u);
        put_byte(&body, (unsigned)(size >> 7));
    } else {
        put_byte(&body, (unsigned)size);
    }
    put(&body, text, size);
    put_byte(data, 0); /* not compressed */
    put_number(data, (uint32_t)body.used);
    put(data, body.bytes, body.used);
}

static bool send_put(struct peer *peer, size_t slot, const char *text)
{
    (void)slot;
    struct buffer headers = {.used = 0};
    struct buffer data = {.used = 0};
    peer->stream += 2;
    peer->answered = false;
    put_headers(&headers);
    put_request(&data, peer, text);
    return send_frame(peer, HEADERS, END_HEADERS, peer->stream, headers.bytes, headers.used) &&
           send_frame(peer, DATA, END_STREAM, peer->stream, data.bytes, data.used);
}

/* An error comes as headers alone, so a reply with a message is a success. */
static struct peer_event read_frame(struct peer *peer, const uint8_t *frame, size_t size)
{
    unsigned type = frame[3];
    unsigned flags = frame[4];
    bool ends = (type == DATA || type == HEADERS) && (flags & END_STREAM) != 0;
    switch (type) {
    case SETTINGS:
        if ((flags & ACK) == 0)
            (void)send_frame(peer, SETTINGS, ACK, 0, "", 0);
        return (struct peer_event){.kind = peer->ready || (flags & ACK) == 0 ? PEER_NOTHING
                                                                             : PEER_ENTERED};
    case PING:
        if ((flags & ACK) == 0)
            (void)send_frame(peer, PING, ACK, 0, frame + FRAME_HEAD_BYTES, size - FRAME_HEAD_BYTES);
        return (struct peer_event){.kind = PEER_NOTHING};
    case DATA:
        peer->answered = true;
        break;
    case RST_STREAM:
    case GOAWAY:
        return (struct peer_event){.kind = PEER_REFUSED};
    default:
        break;
    }
    if (!ends)
        return (struct peer_event){.kind = PEER_NOTHING};
    return (struct peer_event){.kind = peer->answered ? PEER_ACKNOWLEDGED : PEER_REFUSED};
}

const struct peer_protocol peer_etcd = {
    .name = "etcd",
    .steps = 1,
    .depth_max = 1,
    .framing = {.take = take},
    .enter = enter,
    .send = send_put,
    .read = read_frame,
};
