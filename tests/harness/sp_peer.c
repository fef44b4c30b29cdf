/* SPDX-License-Identifier: MIT */
#include "harness/sp_peer.h"

#include "base/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_BYTES_MAX (64u * 1024u * 1024u)

static int connect_to(const struct addrinfo *info, int receive_buffer_bytes)
{
    int descriptor = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (descriptor < 0)
        return -1;
    const int on = 1;
    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (receive_buffer_bytes > 0)
        (void)setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                         sizeof receive_buffer_bytes);
    if (connect(descriptor, info->ai_addr, info->ai_addrlen) != 0) {
        (void)close(descriptor);
        return -1;
    }
    return descriptor;
}

bool sp_connect(struct sp_peer *peer, const struct address *address, int receive_buffer_bytes)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)address->port);
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    peer->descriptor = -1;
    if (getaddrinfo(address->host[0] == '\0' ? "127.0.0.1" : address->host, port, &hints, &found) !=
        0)
        return false;
    for (const struct addrinfo *at = found; at != NULL && peer->descriptor < 0; at = at->ai_next)
        peer->descriptor = connect_to(at, receive_buffer_bytes);
    freeaddrinfo(found);
    return peer->descriptor >= 0;
}

/* Waits for events; false when none came before the time. */
static bool wait_for(const struct sp_peer *peer, short events, uint64_t until_ms)
{
    for (;;) {
        uint64_t now_ms = clock_monotonic_ms();
        int left_ms = now_ms >= until_ms ? 0 : (int)(until_ms - now_ms);
        struct pollfd entry = {.fd = peer->descriptor, .events = events};
        int count = poll(&entry, 1, left_ms);
        if (count > 0)
            return true;
        if (left_ms == 0 || (count < 0 && errno != EINTR))
            return false;
    }
}

bool sp_send_bytes(struct sp_peer *peer, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t until_ms = clock_monotonic_ms() + SP_PATIENCE_MS;
    while (size > 0) {
        if (!wait_for(peer, POLLOUT, until_ms))
            return false;
        ssize_t sent = send(peer->descriptor, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (sent > 0) {
            at += sent;
            size -= (size_t)sent;
        }
    }
    return true;
}

size_t sp_try_send_bytes(struct sp_peer *peer, const void *bytes, size_t size)
{
    size_t total = 0;
    while (total < size) {
        ssize_t sent = send(peer->descriptor, (const uint8_t *)bytes + total, size - total,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent <= 0)
            break;
        total += (size_t)sent;
    }
    return total;
}

static enum sp_event receive_bytes(struct sp_peer *peer, uint8_t *at, size_t size,
                                   uint64_t until_ms)
{
    while (size > 0) {
        if (!wait_for(peer, POLLIN, until_ms))
            return SP_TIMEOUT;
        ssize_t got = recv(peer->descriptor, at, size, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return SP_CLOSED;
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
    return SP_MESSAGE;
}

bool sp_handshake(struct sp_peer *peer, unsigned protocol)
{
    const uint8_t ours[SP_HANDSHAKE_BYTES] = {0, 'S', 'P', 0, 0, (uint8_t)protocol, 0, 0};
    /* The numbers of opposite protocols differ in their last bit. */
    const uint8_t expected[SP_HANDSHAKE_BYTES] = {0, 'S', 'P', 0, 0, (uint8_t)(protocol ^ 1u),
                                                  0, 0};
    uint8_t theirs[SP_HANDSHAKE_BYTES];
    return sp_send_bytes(peer, ours, sizeof ours) &&
           receive_bytes(peer, theirs, sizeof theirs, clock_monotonic_ms() + SP_PATIENCE_MS) ==
               SP_MESSAGE &&
           memcmp(theirs, expected, sizeof theirs) == 0;
}

bool sp_open(struct sp_peer *peer, const struct address *address)
{
    if (!sp_connect(peer, address, 0))
        return false;
    if (sp_handshake(peer, SP_REQ))
        return true;
    sp_close(peer);
    return false;
}

void sp_prefix(uint8_t out[static SP_PREFIX_BYTES], uint32_t id, size_t body_size)
{
    uint64_t length = (uint64_t)body_size + sizeof id;
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(length >> (56 - 8 * i));
    for (int i = 0; i < 4; i++)
        out[8 + i] = (uint8_t)(id >> (24 - 8 * i));
}

bool sp_send(struct sp_peer *peer, uint32_t id, const void *body, size_t size)
{
    uint8_t prefix[SP_PREFIX_BYTES];
    sp_prefix(prefix, id, size);
    return sp_send_bytes(peer, prefix, sizeof prefix) && sp_send_bytes(peer, body, size);
}

enum sp_event sp_receive(struct sp_peer *peer, int timeout_ms, struct sp_message *out)
{
    uint64_t until_ms = clock_monotonic_ms() + (uint64_t)timeout_ms;
    uint8_t prefix[SP_PREFIX_BYTES];
    enum sp_event event = receive_bytes(peer, prefix, sizeof prefix, until_ms);
    if (event != SP_MESSAGE)
        return event;
    uint64_t length = 0;
    uint32_t id = 0;
    for (int i = 0; i < 8; i++)
        length = length << 8 | prefix[i];
    for (int i = 8; i < 12; i++)
        id = id << 8 | prefix[i];
    if (length < sizeof id || length > MESSAGE_BYTES_MAX)
        return SP_CLOSED;
    size_t size = (size_t)length - sizeof id;
    uint8_t *body = malloc(size + 1);
    if (body == NULL)
        return SP_CLOSED;
    event = receive_bytes(peer, body, size, until_ms);
    if (event != SP_MESSAGE) {
        free(body);
        return event;
    }
    *out = (struct sp_message){.id = id, .body = body, .size = size};
    return SP_MESSAGE;
}

bool sp_wait_closed(struct sp_peer *peer, int timeout_ms)
{
    uint64_t until_ms = clock_monotonic_ms() + (uint64_t)timeout_ms;
    uint8_t ignored[4096];
    while (wait_for(peer, POLLIN, until_ms)) {
        ssize_t got = recv(peer->descriptor, ignored, sizeof ignored, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            return true;
    }
    return false;
}

void sp_close(struct sp_peer *peer)
{
    if (peer->descriptor >= 0)
        (void)close(peer->descriptor);
    peer->descriptor = -1;
}

static void reset_on_close(struct sp_peer *peer)
{
    const struct linger none = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(peer->descriptor, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

void sp_close_with_reset(struct sp_peer *peer)
{
    (void)shutdown(peer->descriptor, SHUT_WR);
    sp_reset(peer);
}

void sp_reset(struct sp_peer *peer)
{
    if (peer->descriptor >= 0)
        reset_on_close(peer);
    sp_close(peer);
}
