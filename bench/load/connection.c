/* SPDX-License-Identifier: MIT */
#include "connection.h"

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

#define INPUT_BYTES_MIN 4096u
#define INPUT_BYTES_ROOM 65536u /* a connection that filled its buffer gets this much */
#define EVENTS_PER_TURN 256

enum error loop_init(struct loop *loop, const struct framing *framing, struct error_text *why)
{
    *loop = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC), .framing = framing};
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

enum error connection_open(struct connection *connection, struct loop *loop,
                           const struct address *address, struct error_text *why)
{
    struct addrinfo *where;
    enum error error = resolve(address, &where, why);
    if (error != OK)
        return error;
    *connection = (struct connection){.loop = loop, .frame = SIZE_MAX};
    connection->descriptor = start_connect(where);
    freeaddrinfo(where);
    if (connection->descriptor < 0)
        return error_set(why, error_from_errno(errno), "connect to %s port %u: %s", address->host,
                         address->port, strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = connection};
    if ((loop->framing->begin != NULL && !loop->framing->begin(connection)) ||
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, connection->descriptor, &event) != 0) {
        connection_close(connection);
        return error_set(why, ERROR_NO_MEMORY, "connect: out of memory");
    }
    connection->waits_to_write = true;
    return OK;
}

static void leave_queue(struct connection *connection)
{
    struct connection **at = &connection->loop->queued;
    while (*at != NULL && *at != connection)
        at = &(*at)->next_queued;
    if (*at == connection)
        *at = connection->next_queued;
    connection->queued = false;
}

void connection_close(struct connection *connection)
{
    if (connection->loop == NULL || connection->descriptor < 0)
        return;
    if (connection->queued)
        leave_queue(connection);
    (void)close(connection->descriptor);
    connection->descriptor = -1;
    connection->established = false;
    free(connection->input);
    free(connection->output);
    connection->input = NULL;
    connection->output = NULL;
}

void connection_lose(struct connection *connection, const char *reason)
{
    struct loop *loop = connection->loop;
    connection_close(connection);
    loop->handler.closed(loop->handler.context, connection, reason);
}

uint8_t *connection_extend(struct connection *connection, size_t size)
{
    if (connection->descriptor < 0)
        return NULL;
    size_t wanted = connection->output_used + size;
    if (wanted > connection->output_size) {
        size_t grown = connection->output_size * 2 > wanted ? connection->output_size * 2 : wanted;
        uint8_t *bytes = realloc(connection->output, grown);
        if (bytes == NULL)
            return NULL;
        connection->output = bytes;
        connection->output_size = grown;
    }
    return connection->output + connection->output_used;
}

void connection_keep(struct connection *connection, size_t size)
{
    connection->output_used += size;
}

void connection_queue(struct connection *connection)
{
    if (connection->queued)
        return;
    connection->queued = true;
    connection->next_queued = connection->loop->queued;
    connection->loop->queued = connection;
}

bool connection_send(struct connection *connection, const void *bytes, size_t size)
{
    uint8_t *output = connection_extend(connection, size);
    if (output == NULL)
        return false;
    memcpy(output, bytes, size);
    connection_keep(connection, size);
    connection_queue(connection);
    return true;
}

static void watch_for_writing(struct connection *connection, bool wanted)
{
    if (connection->waits_to_write == wanted)
        return;
    struct epoll_event event = {.events = wanted ? EPOLLIN | EPOLLOUT : EPOLLIN,
                                .data.ptr = connection};
    (void)epoll_ctl(connection->loop->epoll, EPOLL_CTL_MOD, connection->descriptor, &event);
    connection->waits_to_write = wanted;
}

static void write_output(struct connection *connection)
{
    if (connection->loop->framing->finish != NULL)
        connection->loop->framing->finish(connection);
    ssize_t sent = send(connection->descriptor, connection->output + connection->output_sent,
                        connection->output_used - connection->output_sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        connection_lose(connection, strerror(errno));
        return;
    }
    if (sent > 0)
        connection->output_sent += (size_t)sent;
    if (connection->output_sent == connection->output_used) {
        connection->output_sent = 0;
        connection->output_used = 0;
        watch_for_writing(connection, false);
    } else {
        watch_for_writing(connection, true);
    }
}

static void write_queued(struct loop *loop)
{
    while (loop->queued != NULL) {
        struct connection *connection = loop->queued;
        loop->queued = connection->next_queued;
        connection->queued = false;
        if (connection->established && !connection->waits_to_write && connection->output_used > 0)
            write_output(connection);
    }
}

/* The socket can be written to: it is connected, or has sent what it held. */
static void on_writable(struct connection *connection)
{
    const struct loop *loop = connection->loop;
    if (loop->framing->begin == NULL && !connection->established) {
        int problem = 0;
        socklen_t size = sizeof problem;
        (void)getsockopt(connection->descriptor, SOL_SOCKET, SO_ERROR, &problem, &size);
        if (problem != 0) {
            connection_lose(connection, strerror(problem));
            return;
        }
        connection->established = true;
        if (loop->handler.established != NULL)
            loop->handler.established(loop->handler.context, connection);
        if (connection->descriptor < 0)
            return;
    }
    write_output(connection);
}

size_t connection_pass(struct connection *connection, const uint8_t *bytes, size_t size)
{
    const struct loop_handler *handler = &connection->loop->handler;
    if (size == FRAME_BROKEN) {
        connection_lose(connection, "the server sent what is no frame");
        return 0;
    }
    if (size > 0)
        handler->frame(handler->context, connection, bytes, size);
    return size;
}

/* Handles the whole frames in the input and keeps the rest. The handler may close the connection. */
static void handle_input(struct connection *connection)
{
    const struct framing *framing = connection->loop->framing;
    size_t at = 0;
    size_t taken = 1;
    while (taken > 0 && at < connection->input_used) {
        taken = framing->take(connection, connection->input + at, connection->input_used - at);
        if (connection->descriptor < 0)
            return;
        at += taken;
    }
    connection->input_used -= at;
    if (connection->input_used > 0 && at > 0)
        memmove(connection->input, connection->input + at, connection->input_used);
}

static bool make_room(struct connection *connection)
{
    if (connection->input_used < connection->input_size)
        return true;
    size_t size = connection->input_size == 0                 ? INPUT_BYTES_MIN
                  : connection->input_size < INPUT_BYTES_ROOM ? INPUT_BYTES_ROOM
                                                              : connection->input_size * 2;
    uint8_t *input = realloc(connection->input, size);
    if (input == NULL)
        return false;
    connection->input = input;
    connection->input_size = size;
    return true;
}

static void read_input(struct connection *connection)
{
    if (!make_room(connection)) {
        connection_lose(connection, "out of memory");
        return;
    }
    ssize_t got = recv(connection->descriptor, connection->input + connection->input_used,
                       connection->input_size - connection->input_used, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        connection_lose(connection,
                        got == 0 ? "the server closed the connection" : strerror(errno));
        return;
    }
    (void)loop_read_clock(connection->loop);
    connection->input_used += (size_t)got;
    handle_input(connection);
}

void loop_turn(struct loop *loop, int timeout_ms)
{
    (void)loop_read_clock(loop);
    write_queued(loop);
    struct epoll_event events[EVENTS_PER_TURN];
    int count = epoll_wait(loop->epoll, events, EVENTS_PER_TURN, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        if (connection->descriptor < 0)
            continue; /* closed by the handler of an event before */
        if (events[i].events & EPOLLOUT)
            on_writable(connection);
        if (connection->descriptor >= 0 && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)))
            read_input(connection);
        write_queued(loop);
    }
    (void)loop_read_clock(loop);
}
