/* SPDX-License-Identifier: MIT */
/* echo.c - what the transport gives with nothing behind it: an echo server in a child process, raw
 * nng or a bare epoll loop, and this program's own client in front of it. */
#include "bench.h"
#include "program.h"
#include "rpc/protocol.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
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

static uint16_t listen_with_nng(nng_socket socket)
{
    nng_listener listener;
    nng_sockaddr address;
    if (nng_listener_create(&listener, socket, "tcp://127.0.0.1:0") != 0 ||
        nng_listener_start(listener, 0) != 0 ||
        nng_listener_get_addr(listener, NNG_OPT_LOCADDR, &address) != 0)
        return 0;
    return ntohs(address.s_in.sa_port);
}

static void tell_port(int port_pipe, uint16_t port)
{
    if (write(port_pipe, &port, sizeof port) != (ssize_t)sizeof port)
        _exit(1);
}

static void serve_with_nng(void *context, int port_pipe)
{
    (void)context;
    static struct echo echoes[ECHO_AIOS];
    nng_socket socket;
    rpc_init();
    if (nng_rep0_open_raw(&socket) != 0)
        _exit(1);
    (void)nng_socket_set_int(socket, NNG_OPT_SENDBUF, ECHO_BUFFER);
    (void)nng_socket_set_int(socket, NNG_OPT_RECVBUF, ECHO_BUFFER);
    for (int i = 0; i < ECHO_AIOS; i++) {
        echoes[i].socket = socket;
        if (nng_aio_alloc(&echoes[i].aio, on_echo, &echoes[i]) != 0)
            _exit(1);
        nng_recv_aio(socket, echoes[i].aio);
    }
    tell_port(port_pipe, listen_with_nng(socket));
    for (;;)
        (void)pause();
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

static void serve_plainly(void *context, int port_pipe)
{
    (void)context;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int epoll = epoll_create1(0);
    if (listener < 0 || epoll < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, LISTEN_BACKLOG) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        _exit(1);
    watch(epoll, listener);
    tell_port(port_pipe, ntohs(address.sin_port));
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
    sp_connection_keep(connection, run->body_bytes);
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

struct echo_server {
    pid_t id;
    struct address address;
};

static void stop_echo(const struct echo_server *server)
{
    (void)kill(server->id, SIGKILL);
    (void)waitpid(server->id, NULL, 0);
}

/* serve writes the port that it listens on to its pipe, as uint16_t. */
static enum error start_echo(struct echo_server *server,
                             void (*serve)(void *context, int port_pipe), struct error_text *why)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set(why, error_from_errno(errno), "pipe: %s", strerror(errno));
    *server = (struct echo_server){.address.host = "127.0.0.1"};
    (void)fflush(NULL);
    server->id = fork();
    if (server->id == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)setpgid(0, 0); /* Ctrl-C is for the parent */
        serve(NULL, ends[1]);
        _exit(0);
    }
    (void)close(ends[1]);
    bool started = server->id > 0 && read(ends[0], &server->address.port, sizeof(uint16_t)) ==
                                         (ssize_t)sizeof(uint16_t);
    (void)close(ends[0]);
    if (started)
        return OK;
    if (server->id > 0)
        stop_echo(server);
    return error_set(why, ERROR_INTERNAL, "the echo server did not start");
}

static enum error drive(struct echo_run *run, const struct echo_server *server,
                        const struct measure_times *times, struct error_text *why)
{
    run->loop.handler = (struct loop_handler){run, on_established, on_frame, on_closed};
    for (size_t i = 0; i < run->count; i++) {
        enum error error =
            sp_connection_open(&run->connections[i], &run->loop, &server->address, why);
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
    struct echo_server server;
    struct error_text why;
    enum error error = start_echo(&server, with_nng ? serve_with_nng : serve_plainly, &why);
    if (error != OK) {
        bench_complain(bench, name, why.text);
        return;
    }
    struct echo_run run = {.count = clients,
                           .depth = depth,
                           .body_bytes = bench->settings->text_bytes + SEND_OVERHEAD_BYTES};
    run.connections = calloc(clients, sizeof *run.connections);
    error = run.connections == NULL ? error_set(&why, ERROR_NO_MEMORY, "out of memory")
                                    : loop_init(&run.loop, &why);
    if (error == OK)
        error = drive(&run, &server, &bench->limit_times, &why);
    if (error == OK && !interrupted()) {
        bench_add_measured(bench, &run.measure, name, "echoes/s");
    } else if (error != OK) {
        bench_complain(bench, name, why.text);
    }
    for (size_t i = 0; i < clients && run.connections != NULL; i++)
        sp_connection_close(&run.connections[i]);
    free(run.connections);
    loop_release(&run.loop);
    stop_echo(&server);
}
