/* SPDX-License-Identifier: MIT */
/* echo.c - what the transport gives with nothing behind it: an echo server in a child process, raw
 * nng or a bare epoll loop, and this program's own client in front of it. */
#include "bench.h"
#include "child_server.h"
#include "program.h"
#include "sp_connection.h"

#include <arpa/inet.h>
#include <nng/nng.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN_MS 10
#define SEND_OVERHEAD_BYTES 90u /* of a Send besides its text */
#define REPLY_BYTES_MAX 65536u
#define ECHO_EVENTS 256
#define LISTEN_BACKLOG 128

#define ECHO_AIOS 4
#define ECHO_BUFFER 1024

struct echo {
    nng_aio *aio;
    nng_socket socket;
    bool sending;
};

static void on_echo(void *argument)
{
    struct echo *echo = argument;
    if (nng_aio_result(echo->aio) != 0) {
        if (!echo->sending)
            return; /* closed */
        nng_msg_free(nng_aio_get_msg(echo->aio));
    } else if (!echo->sending) {
        echo->sending = true; /* the message is still the aio's, header and all */
        nng_send_aio(echo->socket, echo->aio);
        return;
    }
    echo->sending = false;
    nng_recv_aio(echo->socket, echo->aio);
}

static void serve_with_nng(int port_pipe)
{
    static struct echo echoes[ECHO_AIOS];
    nng_socket socket = child_server_open_nng(ECHO_BUFFER);
    for (int i = 0; i < ECHO_AIOS; i++) {
        echoes[i].socket = socket;
        if (nng_aio_alloc(&echoes[i].aio, on_echo, &echoes[i]) != 0)
            _exit(1);
        nng_recv_aio(socket, echoes[i].aio);
    }
    child_server_run_nng(socket, port_pipe);
}

/* The bare server returns all bytes that arrive, the handshake's too. */
static void answer(int descriptor)
{
    static uint8_t bytes[REPLY_BYTES_MAX];
    ssize_t got = recv(descriptor, bytes, sizeof bytes, 0);
    if (got <= 0) {
        (void)close(descriptor);
        return;
    }
    for (ssize_t sent = 0; sent < got;) {
        ssize_t now = send(descriptor, bytes + sent, (size_t)(got - sent), MSG_NOSIGNAL);
        if (now < 0)
            return;
        sent += now;
    }
}

static void watch(int epoll, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    (void)epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

static void serve_plainly(int port_pipe)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int epoll = epoll_create1(0);
    if (listener < 0 || epoll < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, LISTEN_BACKLOG) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        _exit(1);
    watch(epoll, listener);
    child_server_tell_port(port_pipe, ntohs(address.sin_port));
    for (;;) {
        struct epoll_event events[ECHO_EVENTS];
        int count = epoll_wait(epoll, events, ECHO_EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                watch(epoll, accept(listener, NULL, NULL));
            else
                answer(events[i].data.fd);
        }
    }
}

struct echo_run {
    struct loop loop;
    struct connection *connections;
    size_t count;
    size_t depth;
    size_t body_bytes;
    struct measure measure;
    struct error_text problem;
};

/* Each frame holds the time when it was sent: with several threads behind it an echo may overtake
 * another. */
static void send_one(struct echo_run *run, struct connection *connection)
{
    uint8_t *body = sp_connection_append(connection, run->body_bytes);
    if (body == NULL)
        return;
    memset(body, 0, run->body_bytes);
    memcpy(body, &run->loop.now_ns, sizeof run->loop.now_ns);
    connection_keep(connection, run->body_bytes);
    sp_connection_end_frame(connection);
}

static void on_established(void *context, struct connection *connection)
{
    struct echo_run *run = context;
    for (size_t i = 0; i < run->depth; i++)
        send_one(run, connection);
}

static void on_frame(void *context, struct connection *connection, const uint8_t *body, size_t size)
{
    struct echo_run *run = context;
    uint64_t sent_ns;
    if (size != run->body_bytes) {
        run->measure.errors++;
        return;
    }
    memcpy(&sent_ns, body, sizeof sent_ns);
    measure_latency(&run->measure, sent_ns, run->loop.now_ns);
    measure_count(&run->measure, 1);
    if (run->measure.phase < PHASE_DRAINING)
        send_one(run, connection);
}

static void on_closed(void *context, struct connection *connection, const char *reason)
{
    (void)connection;
    struct echo_run *run = context;
    run->measure.errors++;
    (void)error_set(&run->problem, ERROR_CLOSED, "%s", reason);
}

static enum error drive(struct echo_run *run, const struct child_server *server,
                        const struct measure_times *times, struct error_text *why)
{
    run->loop.handler = (struct loop_handler){run, on_established, on_frame, on_closed};
    for (size_t i = 0; i < run->count; i++) {
        enum error error = connection_open(&run->connections[i], &run->loop, &server->address, why);
        if (error != OK)
            return error;
    }
    measure_begin(&run->measure, times, server->id, loop_read_clock(&run->loop));
    while (measure_step(&run->measure, run->loop.now_ns) < PHASE_DRAINING &&
           run->measure.errors == 0)
        loop_turn(&run->loop, TURN_MS);
    if (run->measure.errors > 0)
        return error_set(why, ERROR_CLOSED, "an echo went wrong: %s", run->problem.text);
    return OK;
}

void limit_echo(struct bench *bench, size_t clients, size_t depth, bool with_nng)
{
    char name[REPORT_NAME_SIZE];
    (void)snprintf(name, sizeof name, "limit %s echo %zux%zu", with_nng ? "nng" : "epoll", clients,
                   depth);
    struct child_server server;
    struct error_text why;
    enum error error = child_server_start(&server, with_nng ? serve_with_nng : serve_plainly, &why);
    if (error != OK) {
        bench_complain(bench, name, why.text);
        return;
    }
    struct echo_run run = {.count = clients,
                           .depth = depth,
                           .body_bytes = bench->settings->text_bytes + SEND_OVERHEAD_BYTES};
    run.connections = calloc(clients, sizeof *run.connections);
    error = run.connections == NULL ? error_set(&why, ERROR_NO_MEMORY, "out of memory")
                                    : loop_init(&run.loop, &sp_framing, &why);
    if (error == OK)
        error = drive(&run, &server, &bench->limit_times, &why);
    if (error == OK && !interrupted()) {
        bench_add_measured(bench, &run.measure, name, "echoes/s");
    } else if (error != OK) {
        bench_complain(bench, name, why.text);
    }
    for (size_t i = 0; i < clients && run.connections != NULL; i++)
        connection_close(&run.connections[i]);
    free(run.connections);
    loop_release(&run.loop);
    child_server_stop(&server);
}
