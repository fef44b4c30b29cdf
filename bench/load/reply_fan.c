/* SPDX-License-Identifier: MIT */
/* reply_fan.c - the rate at which nng alone delivers to a room. A raw REP socket in a child process
 * sends one reply to each of R receivers for each request of a sender. */
#include "bench.h"
#include "child_server.h"
#include "flights.h"
#include "program.h"
#include "sp_connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_MS 10
#define BUFFERED_MESSAGES 8192 /* as the server */
#define REGISTRATION_BYTES \
    1u /* a request of this size is a receiver's, and gets one reply at once */
#define EVENT_OVERHEAD_BYTES 60u /* of a message in a page besides its text */

/* ---- the child ---- */

struct fan {
    nng_socket socket;
    nng_aio *receive_aio;
    nng_aio *send_aio;   /* without a callback: a send that the socket can queue ends at once */
    nng_msg **receivers; /* their registrations: the headers of their replies */
    size_t count;
    size_t most;
};

static void send_message(struct fan *fan, nng_msg *message)
{
    nng_aio_set_msg(fan->send_aio, message);
    nng_send_aio(fan->socket, fan->send_aio);
    nng_aio_wait(fan->send_aio);
    if (nng_aio_result(fan->send_aio) != 0)
        nng_msg_free(message);
}

/* Sends body with the header of a receiver's registration. */
static void send_reply(struct fan *fan, const nng_msg *receiver, nng_msg *body)
{
    nng_msg *reply;
    if (nng_msg_dup(&reply, body) != 0)
        return;
    nng_msg_header_clear(reply);
    if (nng_msg_header_append(reply, nng_msg_header((nng_msg *)receiver),
                              nng_msg_header_len(receiver)) != 0) {
        nng_msg_free(reply);
        return;
    }
    send_message(fan, reply);
}

static void on_request(void *argument)
{
    struct fan *fan = argument;
    if (nng_aio_result(fan->receive_aio) != 0)
        return; /* closed */
    nng_msg *request = nng_aio_get_msg(fan->receive_aio);
    if (nng_msg_len(request) == REGISTRATION_BYTES && fan->count < fan->most) {
        fan->receivers[fan->count++] = request;
        send_reply(fan, request, request);
    } else {
        for (size_t i = 0; i < fan->count; i++)
            send_reply(fan, fan->receivers[i], request);
        nng_msg_free(request);
    }
    nng_recv_aio(fan->socket, fan->receive_aio);
}

static void serve(int port_pipe)
{
    static struct fan fan = {.most = CLIENTS_MAX};
    fan.receivers = calloc(fan.most, sizeof *fan.receivers);
    fan.socket = child_server_open_nng(BUFFERED_MESSAGES);
    if (fan.receivers == NULL || nng_aio_alloc(&fan.send_aio, NULL, NULL) != 0 ||
        nng_aio_alloc(&fan.receive_aio, on_request, &fan) != 0)
        _exit(1);
    nng_recv_aio(fan.socket, fan.receive_aio);
    child_server_run_nng(fan.socket, port_pipe);
}

/* ---- its clients ---- */

struct fan_run {
    struct loop loop;
    struct connection *connections; /* the receivers, then the sender */
    uint64_t *expected;             /* by receiver: number of the next message */
    size_t receivers;
    size_t registered;
    size_t established;
    size_t body_bytes;
    struct flights flights;
    struct measure measure;
    struct error_text problem;
};

static bool has_failed(const struct fan_run *run)
{
    return run->problem.text[0] != '\0';
}

static void send_body(struct fan_run *run, size_t index, uint64_t number, size_t size)
{
    struct connection *connection = &run->connections[index];
    uint8_t *body = sp_connection_append(connection, size);
    if (body == NULL) {
        (void)error_set(&run->problem, ERROR_NO_MEMORY, "out of memory");
        return;
    }
    memset(body, 0, size);
    if (size >= sizeof number)
        memcpy(body, &number, sizeof number);
    connection_keep(connection, size);
}

static void send_more(struct fan_run *run)
{
    while (run->measure.phase < PHASE_DRAINING && flights_may_begin(&run->flights) &&
           !has_failed(run)) {
        send_body(run, run->receivers, run->flights.next, run->body_bytes);
        flights_begin(&run->flights, run->loop.now_ns);
    }
}

static void on_established(void *context, struct connection *connection)
{
    struct fan_run *run = context;
    size_t index = (size_t)(connection - run->connections);
    run->established++;
    if (index < run->receivers)
        send_body(run, index, 0, REGISTRATION_BYTES);
}

static void on_reply(void *context, struct connection *connection, const uint8_t *body, size_t size)
{
    struct fan_run *run = context;
    size_t index = (size_t)(connection - run->connections);
    uint64_t number = 0;
    if (size == REGISTRATION_BYTES) {
        run->registered++;
        return;
    }
    if (size == run->body_bytes)
        memcpy(&number, body, sizeof number);
    if (index == run->receivers || number != run->expected[index] ||
        !flights_arrive(&run->flights, number, run->loop.now_ns, &run->measure)) {
        (void)error_set(&run->problem, ERROR_CORRUPT, "receiver %zu got a wrong reply", index);
        return;
    }
    run->expected[index]++;
    measure_count(&run->measure, 1);
    send_more(run);
}

static void on_closed(void *context, struct connection *connection, const char *reason)
{
    (void)connection;
    struct fan_run *run = context;
    (void)error_set(&run->problem, ERROR_CLOSED, "%s", reason);
}

static enum error connect_all(struct fan_run *run, const struct child_server *server,
                              struct error_text *why)
{
    run->loop.handler = (struct loop_handler){run, on_established, on_reply, on_closed};
    for (size_t i = 0; i <= run->receivers; i++) {
        enum error error = connection_open(&run->connections[i], &run->loop, &server->address, why);
        if (error != OK)
            return error;
        run->expected[i] = 1;
        while (run->established <= i && !has_failed(run) && !interrupted())
            loop_turn(&run->loop, TURN_MS);
    }
    while (run->registered < run->receivers && !has_failed(run) && !interrupted())
        loop_turn(&run->loop, TURN_MS);
    return OK;
}

static enum error drive(struct fan_run *run, const struct child_server *server,
                        const struct measure_times *times, struct error_text *why)
{
    enum error error = connect_all(run, server, why);
    if (error != OK)
        return error;
    measure_begin(&run->measure, times, server->id, loop_read_clock(&run->loop));
    send_more(run);
    while (measure_step(&run->measure, run->loop.now_ns) != PHASE_OVER && !has_failed(run)) {
        loop_turn(&run->loop, TURN_MS);
        if (run->measure.phase == PHASE_DRAINING && flights_open(&run->flights) == 0)
            break;
    }
    if (flights_open(&run->flights) > 0 && !has_failed(run) && !interrupted())
        (void)error_set(&run->problem, ERROR_TIMEOUT, "replies are missing");
    return has_failed(run) ? error_set(why, ERROR_CLOSED, "%s", run->problem.text) : OK;
}

static enum error run_with(struct fan_run *run, const struct child_server *server,
                           const struct measure_times *times, size_t in_flight,
                           struct error_text *why)
{
    run->connections = calloc(run->receivers + 1, sizeof *run->connections);
    run->expected = calloc(run->receivers + 1, sizeof *run->expected);
    if (run->connections == NULL || run->expected == NULL ||
        !flights_init(&run->flights, in_flight, run->receivers, 1))
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    enum error error = loop_init(&run->loop, &sp_framing, why);
    return error == OK ? drive(run, server, times, why) : error;
}

static void release(struct fan_run *run)
{
    for (size_t i = 0; i <= run->receivers && run->connections != NULL; i++)
        connection_close(&run->connections[i]);
    free(run->connections);
    free(run->expected);
    flights_release(&run->flights);
    loop_release(&run->loop);
}

void limit_reply_fan(struct bench *bench, size_t in_flight)
{
    struct fan_run run = {.loop.epoll = -1,
                          .receivers = bench->settings->receivers,
                          .body_bytes = bench->settings->text_bytes + EVENT_OVERHEAD_BYTES};
    char name[REPORT_NAME_SIZE];
    (void)snprintf(name, sizeof name, "limit nng replies %zux%zu", run.receivers, in_flight);
    struct child_server server;
    struct error_text why;
    enum error error = child_server_start(&server, serve, &why);
    if (error != OK) {
        bench_complain(bench, name, why.text);
        return;
    }
    error = run_with(&run, &server, &bench->times, in_flight, &why);
    if (error != OK)
        bench_complain(bench, name, why.text);
    else if (!interrupted())
        bench_add_measured(bench, &run.measure, name, "deliveries/s");
    release(&run);
    child_server_stop(&server);
}
