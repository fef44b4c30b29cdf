/* SPDX-License-Identifier: MIT */
#include "link.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HANDSHAKE_BYTES 8u
#define FRAME_HEAD_BYTES 12u /* length and request id */
#define REQUEST_ID 0x80000001u
#define FRAME_BYTES_MAX (8u * 1024u * 1024u) /* larger ones from a server are no frames */
#define FRAME_FILL_BYTES (64u * 1024u)       /* our own are closed when they are this large */
#define INPUT_BYTES_MIN 4096u
#define INPUT_BYTES_ROOM 65536u /* a connection that filled its buffer gets this much */
#define EVENTS_PER_TURN 256

static const uint8_t handshake[HANDSHAKE_BYTES] = {0, 'S', 'P', 0, 0, 0x30, 0, 0};

enum error loop_init(struct loop *loop, struct error_text *why)
{
    *loop = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
    if (loop->epoll < 0)
        return error_set(why, error_from_errno(errno), "epoll: %s", strerror(errno));
    (void)loop_read_clock(loop);
    return OK;
}

void loop_release(struct loop *loop)
{
    if (loop->epoll >= 0)
        (void)close(loop->epoll);
    loop->epoll = -1;
}

uint64_t loop_read_clock(struct loop *loop)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    loop->now_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    return loop->now_ns;
}

/* ---- connecting ---- */

static int start_connect(const struct addrinfo *where)
{
    int descriptor = socket(where->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return -1;
    int yes = 1;
    (void)setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(descriptor, where->ai_addr, where->ai_addrlen) == 0 || errno == EINPROGRESS)
        return descriptor;
    int reason = errno;
    (void)close(descriptor);
    errno = reason;
    return -1;
}

static enum error resolve(const struct address *address, struct addrinfo **out,
                          struct error_text *why)
{
    char port[8];
    (void)snprintf(port, sizeof port, "%u", address->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    int result =
        getaddrinfo(address->host[0] == '\0' ? "127.0.0.1" : address->host, port, &hints, out);
    if (result != 0)
        return error_set(why, ERROR_NOT_FOUND, "%s: %s", address->host, gai_strerror(result));
    return OK;
}

static uint8_t *extend_output(struct link *link, size_t size)
{
    size_t wanted = link->output_used + size;
    if (wanted > link->output_size) {
        size_t grown = link->output_size * 2 > wanted ? link->output_size * 2 : wanted;
        uint8_t *bytes = realloc(link->output, grown);
        if (bytes == NULL)
            return NULL;
        link->output = bytes;
        link->output_size = grown;
    }
    return link->output + link->output_used;
}

enum error link_open(struct link *link, struct loop *loop, const struct address *address,
                     struct error_text *why)
{
    struct addrinfo *where;
    enum error error = resolve(address, &where, why);
    if (error != OK)
        return error;
    *link = (struct link){.loop = loop, .frame = SIZE_MAX};
    link->descriptor = start_connect(where);
    freeaddrinfo(where);
    if (link->descriptor < 0)
        return error_set(why, error_from_errno(errno), "connect to %s port %u: %s", address->host,
                         address->port, strerror(errno));
    uint8_t *output = extend_output(link, HANDSHAKE_BYTES);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = link};
    if (output == NULL || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, link->descriptor, &event) != 0) {
        link_close(link);
        return error_set(why, ERROR_NO_MEMORY, "connect: out of memory");
    }
    memcpy(output, handshake, HANDSHAKE_BYTES);
    link->output_used = HANDSHAKE_BYTES;
    link->waits_to_write = true;
    return OK;
}

static void leave_queue(struct link *link)
{
    struct link **at = &link->loop->queued;
    while (*at != NULL && *at != link)
        at = &(*at)->next_queued;
    if (*at == link)
        *at = link->next_queued;
    link->queued = false;
}

void link_close(struct link *link)
{
    if (link->loop == NULL || link->descriptor < 0)
        return;
    if (link->queued)
        leave_queue(link);
    (void)close(link->descriptor);
    link->descriptor = -1;
    link->established = false;
    free(link->input);
    free(link->output);
    link->input = NULL;
    link->output = NULL;
}

static void lose(struct link *link, const char *reason)
{
    struct loop *loop = link->loop;
    link_close(link);
    loop->handler.closed(loop->handler.context, link, reason);
}

/* ---- output ---- */

static void put_length(uint8_t *at, uint64_t length)
{
    for (int i = 7; i >= 0; i--) {
        at[i] = (uint8_t)length;
        length >>= 8;
    }
}

static void put_request_id(uint8_t *at)
{
    at[0] = (uint8_t)(REQUEST_ID >> 24);
    at[1] = (uint8_t)(REQUEST_ID >> 16 & 0xff);
    at[2] = (uint8_t)(REQUEST_ID >> 8 & 0xff);
    at[3] = (uint8_t)(REQUEST_ID & 0xff);
}

void link_end_frame(struct link *link)
{
    if (link->frame == SIZE_MAX)
        return;
    put_length(link->output + link->frame, link->output_used - link->frame - 8);
    link->frame = SIZE_MAX;
}

static bool start_frame(struct link *link)
{
    uint8_t *head = extend_output(link, FRAME_HEAD_BYTES);
    if (head == NULL)
        return false;
    put_request_id(head + 8);
    link->frame = link->output_used;
    link->output_used += FRAME_HEAD_BYTES;
    if (!link->queued) {
        link->queued = true;
        link->next_queued = link->loop->queued;
        link->loop->queued = link;
    }
    return true;
}

uint8_t *link_append(struct link *link, size_t size)
{
    if (link->descriptor < 0)
        return NULL;
    if (link->frame != SIZE_MAX && link->output_used - link->frame + size > FRAME_FILL_BYTES)
        link_end_frame(link);
    if (link->frame == SIZE_MAX && !start_frame(link))
        return NULL;
    return extend_output(link, size);
}

void link_keep(struct link *link, size_t size)
{
    link->output_used += size;
}

static void watch_for_writing(struct link *link, bool wanted)
{
    if (link->waits_to_write == wanted)
        return;
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = link};
    (void)epoll_ctl(link->loop->epoll, EPOLL_CTL_MOD, link->descriptor, &event);
    link->waits_to_write = wanted;
}

static void write_output(struct link *link)
{
    link_end_frame(link);
    ssize_t sent = send(link->descriptor, link->output + link->output_sent,
                        link->output_used - link->output_sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        lose(link, strerror(errno));
        return;
    }
    if (sent > 0)
        link->output_sent += (size_t)sent;
    if (link->output_sent == link->output_used) {
        link->output_sent = 0;
        link->output_used = 0;
        watch_for_writing(link, false);
    } else {
        watch_for_writing(link, true);
    }
}

static void write_queued(struct loop *loop)
{
    while (loop->queued != NULL) {
        struct link *link = loop->queued;
        loop->queued = link->next_queued;
        link->queued = false;
        if (link->established && !link->waits_to_write && link->output_used > 0)
            write_output(link);
    }
}

/* ---- input ---- */

static uint64_t take_length(const uint8_t *at)
{
    uint64_t length = 0;
    for (int i = 0; i < 8; i++)
        length = length << 8 | at[i];
    return length;
}

/* Handles the whole frames in the input and keeps the rest. The handler may close the link. */
static void handle_frames(struct link *link)
{
    const struct loop_handler *handler = &link->loop->handler;
    size_t at = 0;
    while (link->input_used - at >= FRAME_HEAD_BYTES) {
        uint64_t length = take_length(link->input + at);
        if (length < 4 || length > FRAME_BYTES_MAX) {
            lose(link, "the server sent what is no frame");
            return;
        }
        if (link->input_used - at - 8 < length)
            break;
        handler->frame(handler->context, link, link->input + at + FRAME_HEAD_BYTES,
                       (size_t)length - 4);
        if (link->descriptor < 0)
            return;
        at += 8 + (size_t)length;
    }
    link->input_used -= at;
    if (link->input_used > 0 && at > 0)
        memmove(link->input, link->input + at, link->input_used);
}

static void handle_handshake(struct link *link)
{
    if (link->input_used < HANDSHAKE_BYTES)
        return;
    if (memcmp(link->input, handshake, 4) != 0) {
        lose(link, "whoever answers there does not speak SP");
        return;
    }
    link->input_used -= HANDSHAKE_BYTES;
    memmove(link->input, link->input + HANDSHAKE_BYTES, link->input_used);
    link->established = true;
    const struct loop_handler *handler = &link->loop->handler;
    if (handler->established != NULL)
        handler->established(handler->context, link);
}

static bool make_room(struct link *link)
{
    if (link->input_used < link->input_size)
        return true;
    size_t size = link->input_size == 0                 ? INPUT_BYTES_MIN
                  : link->input_size < INPUT_BYTES_ROOM ? INPUT_BYTES_ROOM
                                                        : link->input_size * 2;
    uint8_t *input = realloc(link->input, size);
    if (input == NULL)
        return false;
    link->input = input;
    link->input_size = size;
    return true;
}

static void read_input(struct link *link)
{
    if (!make_room(link)) {
        lose(link, "out of memory");
        return;
    }
    ssize_t got = recv(link->descriptor, link->input + link->input_used,
                       link->input_size - link->input_used, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        lose(link, got == 0 ? "the server closed the connection" : strerror(errno));
        return;
    }
    (void)loop_read_clock(link->loop);
    link->input_used += (size_t)got;
    if (!link->established)
        handle_handshake(link);
    if (link->established)
        handle_frames(link);
}

void loop_turn(struct loop *loop, int timeout_ms)
{
    (void)loop_read_clock(loop);
    write_queued(loop);
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(loop->epoll, events, EVENTS_PER_TURN, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct link *link = events[i].data.ptr;
        if (link->descriptor < 0)
            continue; /* closed by the handler of an event before */
        if (events[i].events & EPOLLOUT)
            write_output(link);
        if (link->descriptor >= 0 && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
            read_input(link);
        write_queued(loop);
    }
    (void)loop_read_clock(loop);
}
