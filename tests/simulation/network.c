/* SPDX-License-Identifier: MIT */
/* The network: nng's functions, as far as src/rpc uses them, and the parts of src/rpc that need threads
 * or a kernel: dialling, counting connections, handshakes and TLS. A connection is a pair of ordered
 * byte streams, as TCP's: messages of one direction arrive whole and in order, late where segments are
 * lost, and not at all where the connection ends before. */
#include "base/address.h"
#include "rpc/connections.h"
#include "rpc/dial.h"
#include "rpc/handshake.h"
#include "rpc/protocol.h"
#include "rpc/tls_engine.h"
#include "rpc/transport.h"
#include "sim.h"

#include <arpa/inet.h>
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define HEADER_MAX 64
#define ENDS 2
#define SYN_AGAIN_US (SECOND) /* a lost SYN is sent again after that, */
#define DIAL_GIVES_UP_US (3 * SECOND)
#define RETRANSMISSION_US (200 * MS) /* RFC 6298: the least timeout that Linux uses */
#define STALE_US (6 * SECOND)        /* a connection over a cut ends by itself after that */

struct nng_msg {
    uint8_t header[HEADER_MAX];
    size_t header_size;
    uint8_t *body;
    size_t size;
    size_t capacity;
    uint32_t pipe;
    struct nng_msg *next;
};

struct nng_aio {
    void (*done)(void *context);
    void *context;
    struct nng_msg *message;
    int result;
    bool is_stopped;
    uint64_t id;
    uint32_t socket; /* receiving there */
};

enum protocol { REQ, REP, PUB, SUB };

struct socket {
    uint32_t id;
    enum protocol protocol;
    struct process *process;
    struct {
        nng_pipe_cb call;
        void *context;
    } notify[4];
    char host[64]; /* listening */
    uint16_t port; /* 0: does not listen */
    struct nng_aio *receiving;
    struct nng_msg *first;
    struct nng_msg **last;
    struct socket *next;
};

struct end {
    uint32_t pipe; /* 0: closed */
    uint32_t socket;
    unsigned host;
    bool is_known;         /* the socket was told of it */
    uint64_t arrives_at;   /* the latest of the messages to it */
    struct nng_msg *stuck; /* on the way over a cut, to this end */
    struct nng_msg **stuck_last;
};

struct link {
    uint64_t id;
    struct end ends[ENDS]; /* the dialler's, the listener's */
    bool is_silent;        /* one end has lost power: nothing arrives any more */
    uint64_t stuck_since;
    struct link *next;
};

static struct {
    struct socket *sockets;
    struct link *links;
    struct dial *dials;
    uint64_t last_id; /* of links, dials, aios */
    uint32_t last_socket;
    uint16_t last_port;
    bool cut[HOSTS_MAX][HOSTS_MAX];
    bool is_off[HOSTS_MAX];
    unsigned loss;
    uint64_t delay_us;
    uint64_t messages;
} net;

static uint64_t latency(void)
{
    return 40 + sim_below(160) + (sim_chance(10) ? sim_below(5 * MS) : 0) +
           (net.delay_us > 0 ? sim_below(net.delay_us) : 0);
}

/* ---- messages ---- */

int nng_msg_alloc(nng_msg **out, size_t size)
{
    struct nng_msg *message = calloc(1, sizeof *message);
    ASSERT(message != NULL);
    message->capacity = size == 0 ? 256 : size;
    message->body = calloc(1, message->capacity);
    ASSERT(message->body != NULL);
    message->size = size;
    *out = message;
    return 0;
}

void nng_msg_free(nng_msg *message)
{
    free(message->body);
    free(message);
}

int nng_msg_reserve(nng_msg *message, size_t capacity)
{
    if (capacity > message->capacity) {
        message->body = realloc(message->body, capacity);
        ASSERT(message->body != NULL);
        message->capacity = capacity;
    }
    return 0;
}

int nng_msg_realloc(nng_msg *message, size_t size)
{
    (void)nng_msg_reserve(message, size);
    if (size > message->size)
        memset(message->body + message->size, 0, size - message->size);
    message->size = size;
    return 0;
}

void *nng_msg_body(nng_msg *message)
{
    return message->body;
}

size_t nng_msg_len(const nng_msg *message)
{
    return message->size;
}

size_t nng_msg_capacity(nng_msg *message)
{
    return message->capacity;
}

void *nng_msg_header(nng_msg *message)
{
    return message->header;
}

size_t nng_msg_header_len(const nng_msg *message)
{
    return message->header_size;
}

int nng_msg_header_append(nng_msg *message, const void *bytes, size_t size)
{
    ASSERT(message->header_size + size <= HEADER_MAX);
    memcpy(message->header + message->header_size, bytes, size);
    message->header_size += size;
    return 0;
}

int nng_msg_header_append_u32(nng_msg *message, uint32_t value)
{
    uint32_t wire = htonl(value);
    return nng_msg_header_append(message, &wire, sizeof wire);
}

nng_pipe nng_msg_get_pipe(const nng_msg *message)
{
    return (nng_pipe){.id = message->pipe};
}

static struct nng_msg *copy_of(const struct nng_msg *message)
{
    struct nng_msg *copy;
    (void)nng_msg_alloc(&copy, message->size);
    memcpy(copy->body, message->body, message->size);
    return copy;
}

/* ---- finding ---- */

static struct socket *socket_of(uint32_t id)
{
    struct socket *socket = net.sockets;
    while (socket != NULL && socket->id != id)
        socket = socket->next;
    return socket;
}

static struct link *link_of(uint64_t id)
{
    struct link *link = net.links;
    while (link != NULL && link->id != id)
        link = link->next;
    return link;
}

/* A pipe's id is twice that of its link, plus the end, plus 2. */
static struct end *end_of(uint32_t pipe, struct link **link)
{
    *link = link_of(pipe / ENDS - 1);
    if (*link == NULL)
        return NULL;
    struct end *end = &(*link)->ends[pipe % ENDS];
    return end->pipe == pipe ? end : NULL;
}

/* ---- asynchronous operations ---- */

int nng_aio_alloc(nng_aio **out, void (*done)(void *), void *context)
{
    struct nng_aio *aio = calloc(1, sizeof *aio);
    ASSERT(aio != NULL);
    aio->done = done;
    aio->context = context;
    aio->id = ++net.last_id;
    *out = aio;
    return 0;
}

static void forget_receiving(const struct nng_aio *aio)
{
    struct socket *socket = socket_of(aio->socket);
    if (socket != NULL && socket->receiving == aio)
        socket->receiving = NULL;
}

static struct nng_aio *pending[64]; /* messages were sent; the callbacks are still to run */
static size_t pending_count;

static bool take_pending(const struct nng_aio *aio)
{
    for (size_t i = 0; i < pending_count; i++)
        if (pending[i] == aio) {
            pending[i] = pending[--pending_count];
            return true;
        }
    return false;
}

void nng_aio_stop(nng_aio *aio)
{
    forget_receiving(aio);
    aio->is_stopped = true;
    if (take_pending(aio))
        aio->done(aio->context);
}

void nng_aio_free(nng_aio *aio)
{
    forget_receiving(aio);
    (void)take_pending(aio);
    free(aio);
}

void nng_aio_cancel(nng_aio *aio)
{
    (void)aio; /* sending ends at once here */
}

void nng_aio_wait(nng_aio *aio)
{
    (void)aio;
}

int nng_aio_result(nng_aio *aio)
{
    return aio->result;
}

void nng_aio_set_msg(nng_aio *aio, nng_msg *message)
{
    aio->message = message;
}

nng_msg *nng_aio_get_msg(nng_aio *aio)
{
    return aio->message;
}

void nng_aio_set_timeout(nng_aio *aio, nng_duration timeout)
{
    (void)aio;
    (void)timeout;
}

/* ---- receiving ---- */

static struct nng_msg *take(struct socket *socket)
{
    struct nng_msg *message = socket->first;
    if (message == NULL)
        return NULL;
    socket->first = message->next;
    if (socket->first == NULL)
        socket->last = &socket->first;
    message->next = NULL;
    return message;
}

static void put(struct socket *socket, struct nng_msg *message)
{
    message->next = NULL;
    *socket->last = message;
    socket->last = &message->next;
}

/* The callback drains the socket. */
static void pump(void *context, uint64_t id)
{
    (void)context;
    struct socket *socket = socket_of((uint32_t)id);
    if (socket == NULL || socket->receiving == NULL || socket->first == NULL)
        return;
    if (process_is_stopped(socket->process)) {
        sim_at(socket->process->paused_until, pump, NULL, id);
        return;
    }
    struct nng_aio *aio = socket->receiving;
    socket->receiving = NULL;
    aio->message = take(socket);
    aio->result = 0;
    struct process *process = socket->process;
    uint64_t busy_until = process->busy_until;
    process_enter(process);
    aio->done(aio->context);
    process->spent_us = 0;
    process_leave(process);
    process->busy_until = busy_until;
}

void nng_recv_aio(nng_socket socket_id, nng_aio *aio)
{
    struct socket *socket = socket_of(socket_id.id);
    aio->message = NULL;
    aio->result = NNG_ECLOSED;
    if (socket == NULL || aio->is_stopped)
        return;
    if (aio->done == NULL) {
        aio->message = take(socket);
        aio->result = aio->message == NULL ? NNG_ETIMEDOUT : 0;
        return;
    }
    aio->socket = socket->id;
    socket->receiving = aio;
    if (socket->first != NULL)
        sim_at(sim_now(), pump, NULL, socket->id);
}

/* ---- connections ---- */

static void notify(struct socket *socket, nng_pipe_ev what, uint32_t pipe)
{
    if (socket->notify[what].call == NULL)
        return;
    struct process *process = socket->process;
    bool is_inside = sim_current() == process;
    uint64_t busy_until = process->busy_until;
    if (!is_inside)
        process_enter(process);
    socket->notify[what].call((nng_pipe){.id = pipe}, what, socket->notify[what].context);
    if (!is_inside) {
        process->spent_us = 0;
        process_leave(process);
        process->busy_until = busy_until;
    }
}

static void free_stuck(struct end *end)
{
    while (end->stuck != NULL) {
        struct nng_msg *message = end->stuck;
        end->stuck = message->next;
        nng_msg_free(message);
    }
    end->stuck_last = &end->stuck;
}

static void free_if_closed(struct link *link)
{
    if (link->ends[0].pipe != 0 || link->ends[1].pipe != 0)
        return;
    struct link **place = &net.links;
    while (*place != link)
        place = &(*place)->next;
    *place = link->next;
    free_stuck(&link->ends[0]);
    free_stuck(&link->ends[1]);
    free(link);
}

/* The socket of this end hears that the connection is over. */
static void end_has_closed(void *context, uint64_t id)
{
    (void)context;
    struct link *link;
    struct end *end = end_of((uint32_t)id, &link);
    if (end == NULL)
        return;
    struct socket *socket = socket_of(end->socket);
    if (socket != NULL && process_is_stopped(socket->process)) {
        sim_at(socket->process->paused_until, end_has_closed, NULL, id);
        return;
    }
    bool was_known = end->is_known;
    end->pipe = 0;
    free_if_closed(link);
    if (socket != NULL && was_known)
        notify(socket, NNG_PIPE_EV_REM_POST, (uint32_t)id);
}

static bool is_cut_off(const struct end *from, const struct end *to)
{
    return net.cut[from->host][to->host] || net.is_off[from->host] || net.is_off[to->host];
}

/* After what is on its way. */
static uint64_t arrival(struct end *to, uint64_t delay)
{
    uint64_t at = sim_now() + delay;
    if (at < to->arrives_at)
        at = to->arrives_at;
    to->arrives_at = at;
    return at;
}

static void tell_peer_of_end(struct link *link, struct end *closed)
{
    struct end *peer = closed == &link->ends[0] ? &link->ends[1] : &link->ends[0];
    if (peer->pipe == 0 || link->is_silent)
        return;
    uint64_t delay = latency();
    if (is_cut_off(closed, peer) || peer->stuck != NULL)
        delay = STALE_US + sim_below(2 * SECOND); /* nobody answers it any more */
    sim_at(arrival(peer, delay), end_has_closed, NULL, peer->pipe);
}

int nng_pipe_close(nng_pipe pipe)
{
    struct link *link;
    struct end *end = end_of(pipe.id, &link);
    if (end == NULL)
        return NNG_ENOENT;
    if (process_may_act())
        tell_peer_of_end(link, end);
    sim_at(sim_now(), end_has_closed, NULL, pipe.id);
    return 0;
}

int nng_pipe_id(nng_pipe pipe)
{
    return (int)pipe.id;
}

int nng_pipe_get_addr(nng_pipe pipe, const char *option, nng_sockaddr *out)
{
    struct link *link;
    struct end *end = end_of(pipe.id, &link);
    if (end == NULL)
        return NNG_ENOENT;
    const struct end *other = end == &link->ends[0] ? &link->ends[1] : &link->ends[0];
    const struct end *shown = strcmp(option, NNG_OPT_REMADDR) == 0 ? other : end;
    memset(out, 0, sizeof *out);
    out->s_in.sa_family = NNG_AF_INET;
    out->s_in.sa_port = htons((uint16_t)(50000 + link->id % 10000));
    out->s_in.sa_addr = htonl(0x0a000001u + shown->host);
    return 0;
}

/* ---- sockets ---- */

static int open_socket(nng_socket *out, enum protocol protocol)
{
    struct socket *socket = calloc(1, sizeof *socket);
    ASSERT(socket != NULL);
    socket->id = ++net.last_socket;
    socket->protocol = protocol;
    socket->process = sim_current();
    socket->last = &socket->first;
    socket->next = net.sockets;
    net.sockets = socket;
    out->id = socket->id;
    return 0;
}

int nng_req0_open_raw(nng_socket *out)
{
    return open_socket(out, REQ);
}

int nng_rep0_open_raw(nng_socket *out)
{
    return open_socket(out, REP);
}

int nng_pub0_open(nng_socket *out)
{
    return open_socket(out, PUB);
}

int nng_sub0_open(nng_socket *out)
{
    return open_socket(out, SUB);
}

int nng_sub0_socket_subscribe(nng_socket socket, const void *topic, size_t size)
{
    (void)socket;
    (void)topic;
    (void)size;
    return 0;
}

int nng_socket_set_size(nng_socket socket, const char *name, size_t value)
{
    (void)socket;
    (void)name;
    (void)value;
    return 0;
}

int nng_socket_set_int(nng_socket socket, const char *name, int value)
{
    (void)socket;
    (void)name;
    (void)value;
    return 0;
}

int nng_pipe_notify(nng_socket socket_id, nng_pipe_ev what, nng_pipe_cb call, void *context)
{
    struct socket *socket = socket_of(socket_id.id);
    socket->notify[what].call = call;
    socket->notify[what].context = context;
    return 0;
}

int nng_socket_id(nng_socket socket)
{
    return (int)socket.id;
}

int nng_close(nng_socket socket_id)
{
    struct socket *socket = socket_of(socket_id.id);
    if (socket == NULL)
        return NNG_ECLOSED;
    for (struct link *link = net.links, *next; link != NULL; link = next) {
        next = link->next;
        for (size_t i = 0; i < ENDS; i++) {
            struct end *end = &link->ends[i];
            if (end->pipe == 0 || end->socket != socket->id)
                continue;
            uint32_t pipe = end->pipe;
            tell_peer_of_end(link, end);
            end->pipe = 0;
            if (end->is_known)
                notify(socket, NNG_PIPE_EV_REM_POST, pipe);
            free_if_closed(link);
            break;
        }
    }
    struct socket **place = &net.sockets;
    while (*place != socket)
        place = &(*place)->next;
    *place = socket->next;
    for (struct nng_msg *message; (message = take(socket)) != NULL;)
        nng_msg_free(message);
    free(socket);
    return 0;
}

/* ---- listening ---- */

int nng_listener_create(nng_listener *out, nng_socket socket_id, const char *url)
{
    struct socket *socket = socket_of(socket_id.id);
    struct address address;
    if (address_parse(url, &address, NULL) != OK)
        return NNG_EADDRINVAL;
    (void)snprintf(socket->host, sizeof socket->host, "%.63s", address.host);
    socket->port = address.port != 0 ? address.port : ++net.last_port;
    out->id = socket->id;
    return 0;
}

static struct socket *listening(const char *host, uint16_t port)
{
    struct socket *socket = net.sockets;
    while (socket != NULL && (socket->port != port || strcmp(socket->host, host) != 0))
        socket = socket->next;
    return socket;
}

int nng_listener_start(nng_listener listener, int flags)
{
    (void)flags;
    struct socket *socket = socket_of(listener.id);
    for (const struct socket *other = net.sockets; other != NULL; other = other->next)
        if (other != socket && other->port == socket->port &&
            strcmp(other->host, socket->host) == 0)
            return NNG_EADDRINUSE;
    return 0;
}

int nng_listener_close(nng_listener listener)
{
    struct socket *socket = socket_of(listener.id);
    if (socket != NULL)
        socket->port = 0;
    return 0;
}

int nng_listener_get_addr(nng_listener listener, const char *option, nng_sockaddr *out)
{
    (void)option;
    const struct socket *socket = socket_of(listener.id);
    memset(out, 0, sizeof *out);
    out->s_in.sa_family = NNG_AF_INET;
    out->s_in.sa_port = htons(socket->port);
    return 0;
}

const char *nng_strerror(int number)
{
    (void)number;
    return "nng failed";
}

/* ---- sending ---- */

static void arrive(void *context, uint64_t id)
{
    struct nng_msg *message = context;
    struct link *link;
    struct end *end = end_of((uint32_t)id, &link);
    struct socket *socket = end == NULL || link->is_silent ? NULL : socket_of(end->socket);
    if (socket == NULL || !end->is_known) {
        nng_msg_free(message);
        return;
    }
    net.messages++;
    message->pipe = (uint32_t)id;
    if (socket->protocol == REP) { /* a raw reply begins with the pipe that it goes back to */
        uint32_t wire = htonl((uint32_t)id);
        memmove(message->header + sizeof wire, message->header, message->header_size);
        memcpy(message->header, &wire, sizeof wire);
        message->header_size += sizeof wire;
    }
    put(socket, message);
    pump(NULL, socket->id);
}

static void send_over(struct link *link, struct end *from, struct end *to, struct nng_msg *message)
{
    if (to->pipe == 0 || link->is_silent) {
        nng_msg_free(message);
        if (to->pipe == 0 && !is_cut_off(from, to)) /* the host answers with RST */
            sim_at(sim_now() + 2 * latency(), end_has_closed, NULL, from->pipe);
        return;
    }
    if (is_cut_off(from, to) || to->stuck != NULL) {
        if (to->stuck == NULL)
            link->stuck_since = sim_now();
        message->next = NULL;
        *to->stuck_last = message;
        to->stuck_last = &message->next;
        return;
    }
    uint64_t delay = latency();
    if (sim_chance(net.loss)) /* TCP sends it again */
        delay += RETRANSMISSION_US * (1 + sim_below(3));
    sim_at(arrival(to, delay), arrive, message, to->pipe);
}

static void send_reply(struct nng_msg *message)
{
    uint32_t wire;
    struct link *link;
    memcpy(&wire, message->header, sizeof wire);
    message->header_size -= sizeof wire;
    memmove(message->header, message->header + sizeof wire, message->header_size);
    struct end *end = end_of(ntohl(wire), &link);
    if (end == NULL) {
        nng_msg_free(message);
        return;
    }
    send_over(link, end, &link->ends[end == &link->ends[0]], message);
}

static void publish(const struct socket *socket, struct nng_msg *message)
{
    for (struct link *link = net.links; link != NULL; link = link->next) {
        struct end *end = &link->ends[1];
        if (end->pipe != 0 && end->socket == socket->id && !sim_chance(net.loss))
            send_over(link, end, &link->ends[0], copy_of(message));
    }
    nng_msg_free(message);
}

static void send_request(const struct socket *socket, struct nng_msg *message)
{
    for (struct link *link = net.links; link != NULL; link = link->next) {
        struct end *end = &link->ends[0];
        if (end->pipe != 0 && end->socket == socket->id) {
            send_over(link, end, &link->ends[1], message);
            return;
        }
    }
    nng_msg_free(message);
}

static void has_sent(void *context, uint64_t id)
{
    (void)context;
    for (size_t i = 0; i < pending_count; i++) {
        struct nng_aio *aio = pending[i];
        if (aio->id != id)
            continue;
        (void)take_pending(aio);
        aio->done(aio->context);
        return;
    }
}

void nng_send_aio(nng_socket socket_id, nng_aio *aio)
{
    struct socket *socket = socket_of(socket_id.id);
    struct nng_msg *message = aio->message;
    aio->message = NULL;
    aio->result = 0;
    if (socket == NULL || !process_may_act())
        nng_msg_free(message);
    else if (socket->protocol == REP)
        send_reply(message);
    else if (socket->protocol == PUB)
        publish(socket, message);
    else
        send_request(socket, message);
    if (aio->done != NULL) {
        ASSERT(pending_count < sizeof pending / sizeof *pending);
        pending[pending_count++] = aio;
        sim_at(sim_now() + 3, has_sent, NULL, aio->id);
    }
}

/* ---- dialling: rpc/dial.h ---- */

struct dial {
    struct dial_options options;
    uint64_t id;
    bool is_stopped;
    bool is_dialling;
    uint32_t pipe; /* 0: no connection */
    bool was_connected;
    bool goes_elsewhere;
    uint64_t began_at;
    uint64_t connected_at;
    uint32_t pause_ms;
    unsigned references; /* the owner's, the network's */
    struct process *process;
    uint64_t life; /* of the process */
    struct dial *next;
};

#define AGAIN_US (250 * MS) /* dial_now leaves a younger dial alone */

static struct dial *dial_of(uint64_t id)
{
    struct dial *dial = net.dials;
    while (dial != NULL && dial->id != id)
        dial = dial->next;
    return dial;
}

static void release_dial(struct dial *dial)
{
    if (--dial->references > 0)
        return;
    struct dial **place = &net.dials;
    while (*place != dial)
        place = &(*place)->next;
    *place = dial->next;
    free(dial);
}

static void try_to_connect(void *context, uint64_t id);

static void rest(struct dial *dial)
{
    bool is_brief = dial->was_connected && !dial->goes_elsewhere &&
                    sim_now() - dial->connected_at < DIAL_BRIEF_MS * MS;
    bool is_success = dial->was_connected && !is_brief;
    if (is_success)
        dial->pause_ms = dial->options.pause_min_ms;
    uint64_t pause = sim_below((uint64_t)dial->pause_ms * MS);
    if (!is_success)
        dial->pause_ms = dial->pause_ms < dial->options.pause_max_ms / 2
                             ? dial->pause_ms * 2
                             : dial->options.pause_max_ms;
    dial->is_dialling = false;
    dial->was_connected = false;
    sim_at(sim_now() + pause, try_to_connect, NULL, dial->id);
}

static void dial_failed(struct dial *dial, enum error error)
{
    if (dial->options.failed != NULL) {
        struct process *process = dial->process;
        uint64_t busy_until = process->busy_until;
        process_enter(process);
        dial->options.failed(dial->options.context, error);
        process->spent_us = 0;
        process_leave(process);
        process->busy_until = busy_until;
    }
    rest(dial);
}

static struct end *add_end(struct link *link, size_t which, const struct socket *socket)
{
    struct end *end = &link->ends[which];
    *end = (struct end){.pipe = (uint32_t)((link->id + 1) * ENDS + which),
                        .socket = socket->id,
                        .host = socket->process->host};
    end->stuck_last = &end->stuck;
    return end;
}

static void end_has_opened(void *context, uint64_t id)
{
    (void)context;
    struct link *link;
    struct end *end = end_of((uint32_t)id, &link);
    struct socket *socket = end == NULL ? NULL : socket_of(end->socket);
    if (socket == NULL)
        return;
    if (process_is_stopped(socket->process)) {
        sim_at(socket->process->paused_until, end_has_opened, NULL, id);
        return;
    }
    end->is_known = true;
    notify(socket, NNG_PIPE_EV_ADD_PRE, (uint32_t)id);
}

static void connect_to(struct dial *dial, struct socket *listener)
{
    const struct socket *socket = socket_of((uint32_t)nng_socket_id(dial->options.socket));
    struct link *link = calloc(1, sizeof *link);
    ASSERT(link != NULL);
    link->id = ++net.last_id;
    link->next = net.links;
    net.links = link;
    struct end *near = add_end(link, 0, socket);
    struct end *far = add_end(link, 1, listener);
    near->arrives_at = sim_now() + latency();
    sim_at(sim_now(), end_has_opened, NULL, far->pipe);
    sim_at(near->arrives_at, end_has_opened, NULL, near->pipe);
}

static bool is_gone(const struct dial *dial)
{
    return dial->is_stopped || dial->process->id != dial->life || dial->process->is_cut;
}

/* A SYN arrives, and its answer comes back. */
static void be_answered(void *context, uint64_t id)
{
    (void)context;
    struct dial *dial = dial_of(id);
    if (dial == NULL || is_gone(dial) || !dial->is_dialling || dial->pipe != 0)
        return;
    if (process_is_stopped(dial->process)) {
        sim_at(dial->process->paused_until, be_answered, NULL, id);
        return;
    }
    const struct address *address = &dial->options.address;
    struct socket *listener = listening(address->host, address->port);
    unsigned here = dial->process->host;
    unsigned there = listener != NULL ? listener->process->host : here;
    unsigned number;
    if (listener == NULL && sscanf(address->host, "10.0.0.%u", &number) == 1 && number >= 1 &&
        number <= HOSTS_MAX)
        there = number - 1;
    bool is_lost = net.is_off[there] || net.cut[here][there] || net.cut[there][here] ||
                   sim_chance(net.loss / 4);
    if (is_lost && sim_now() - dial->began_at + SYN_AGAIN_US <= DIAL_GIVES_UP_US)
        sim_at(sim_now() + SYN_AGAIN_US, be_answered, NULL, id);
    else if (is_lost)
        dial_failed(dial, ERROR_TIMEOUT);
    else if (listener == NULL)
        dial_failed(dial, ERROR_REFUSED);
    else
        connect_to(dial, listener);
}

static void try_to_connect(void *context, uint64_t id)
{
    (void)context;
    struct dial *dial = dial_of(id);
    if (dial == NULL || is_gone(dial) || dial->is_dialling || dial->pipe != 0)
        return;
    dial->is_dialling = true;
    dial->goes_elsewhere = false;
    dial->was_connected = false;
    dial->began_at = sim_now();
    sim_at(sim_now() + 2 * latency(), be_answered, NULL, id);
}

enum error dial_start(struct dial **out, const struct dial_options *options, struct error_text *why)
{
    (void)why;
    struct dial *dial = calloc(1, sizeof *dial);
    if (dial == NULL)
        return ERROR_NO_MEMORY;
    dial->options = *options;
    dial->id = ++net.last_id;
    dial->references = 2;
    dial->pause_ms = options->pause_min_ms;
    dial->process = sim_current();
    dial->life = dial->process->id;
    dial->next = net.dials;
    net.dials = dial;
    *out = dial;
    sim_at(sim_now() + 20, try_to_connect, NULL, dial->id);
    return OK;
}

/* As the dial's thread does: nothing of the owner's is used after that. */
static void close_dial(void *context, uint64_t id)
{
    (void)context;
    struct dial *dial = dial_of(id);
    (void)nng_close(dial->options.socket);
    dial->options.closed(dial->options.context);
    release_dial(dial);
}

void dial_stop(struct dial *dial)
{
    dial->is_stopped = true;
    sim_at(sim_now() + 10, close_dial, NULL, dial->id);
}

void dial_free(struct dial *dial)
{
    if (dial != NULL)
        release_dial(dial);
}

void dial_elsewhere(struct dial *dial)
{
    dial->goes_elsewhere = true;
}

void dial_now(struct dial *dial)
{
    if (dial->pipe != 0 || sim_now() - dial->began_at < AGAIN_US)
        return;
    dial->is_dialling = false;
    sim_at(sim_now(), try_to_connect, NULL, dial->id);
}

size_t dial_addresses(struct dial *dial)
{
    (void)dial;
    return 1;
}

bool dial_connected(struct dial *dial, nng_pipe pipe)
{
    bool is_first = dial->pipe == 0 && !dial->is_stopped;
    dial->was_connected = true;
    if (is_first) {
        dial->pipe = pipe.id;
        dial->connected_at = sim_now();
    }
    return is_first;
}

void dial_lost(struct dial *dial, nng_pipe pipe)
{
    if (dial->pipe != pipe.id)
        return;
    dial->pipe = 0;
    if (!is_gone(dial))
        rest(dial);
}

/* ---- counting connections: rpc/connections.h ---- */

void connections_init(struct connections *connections)
{
    *connections = (struct connections){.closing = false};
}

void connections_release(struct connections *connections)
{
    free(connections->ids);
}

static bool take_out(struct connections *connections, uint32_t id)
{
    for (size_t i = 0; i < connections->count; i++)
        if (connections->ids[i] == id) {
            connections->ids[i] = connections->ids[--connections->count];
            return true;
        }
    return false;
}

bool connections_enter(struct connections *connections, nng_pipe pipe, nng_pipe_ev what)
{
    if (what != NNG_PIPE_EV_ADD_PRE)
        return take_out(connections, pipe.id) && !connections->closing;
    if (connections->closing) {
        (void)nng_pipe_close(pipe);
        return false;
    }
    connections->ids =
        realloc(connections->ids, (connections->count + 1) * sizeof *connections->ids);
    ASSERT(connections->ids != NULL);
    connections->ids[connections->count++] = pipe.id;
    return true;
}

void connections_leave(struct connections *connections)
{
    (void)connections;
}

void connections_end(nng_pipe pipe, bool has_tls)
{
    (void)has_tls;
    (void)nng_pipe_close(pipe);
}

void connections_stop(struct connections *connections)
{
    connections->closing = true;
}

bool connections_close(struct connections *connections, nng_socket socket, bool has_tls)
{
    (void)has_tls;
    connections->closing = true;
    (void)nng_close(socket);
    return true;
}

size_t connections_hanging(void)
{
    return 0;
}

/* ---- handshakes and TLS: no address of the simulator has TLS ---- */

void handshake_watch(struct handshake_watch *watch)
{
    (void)watch;
}

void handshake_forget(struct handshake_watch *watch)
{
    (void)watch;
}

void handshake_log(uint16_t port, const struct handshake_failure *failure)
{
    (void)port;
    (void)failure;
}

void handshake_dial_text(const struct handshake_failure *failure,
                         char text[static HANDSHAKE_TEXT_SIZE])
{
    (void)failure;
    text[0] = '\0';
}

enum error transport_tls_open(struct tls_endpoint **out, const struct tls_files *files,
                              const char *server_name, handshake_failed *failed, void *context,
                              struct error_text *why)
{
    (void)out;
    (void)files;
    (void)server_name;
    (void)failed;
    (void)context;
    return error_set(why, ERROR_INVALID, "the simulator has no TLS");
}

enum error transport_tls_reread(struct tls_endpoint *endpoint, const struct tls_files *files,
                                struct error_text *why)
{
    (void)endpoint;
    (void)files;
    (void)why;
    return OK;
}

enum error transport_tls_listener(nng_listener listener, struct tls_endpoint *endpoint,
                                  struct error_text *why)
{
    (void)listener;
    (void)endpoint;
    (void)why;
    return OK;
}

void tls_endpoint_close(struct tls_endpoint *endpoint)
{
    (void)endpoint;
}

void rpc_init(void)
{
}

/* The product's readv reads handshakes (rpc/handshake.c). */
ssize_t __real_readv(int descriptor, const struct iovec *parts, int count);
ssize_t __wrap_readv(int descriptor, const struct iovec *parts, int count);
ssize_t __wrap_readv(int descriptor, const struct iovec *parts, int count)
{
    return __real_readv(descriptor, parts, count);
}

/* ---- what goes wrong ---- */

void network_drop(const struct process *process, bool is_silent)
{
    for (struct link *link = net.links; link != NULL; link = link->next)
        for (size_t i = 0; i < ENDS; i++) {
            struct end *end = &link->ends[i];
            struct socket *socket = end->pipe == 0 ? NULL : socket_of(end->socket);
            if (socket == NULL || socket->process != process)
                continue;
            if (is_silent)
                link->is_silent = true;
            else
                tell_peer_of_end(link, end);
        }
    for (struct socket *socket = net.sockets; socket != NULL; socket = socket->next)
        if (socket->process == process)
            socket->port = 0;
}

void network_cut(unsigned from, unsigned to, bool is_cut)
{
    net.cut[from][to] = is_cut;
}

/* What was sent meanwhile arrives when TCP sends it again: the pauses between its attempts have grown with
 * the time that the cut took. */
void network_heal(void)
{
    memset(net.cut, 0, sizeof net.cut);
    for (struct link *link = net.links; link != NULL; link = link->next)
        for (size_t i = 0; i < ENDS; i++) {
            struct end *end = &link->ends[i];
            uint64_t took = sim_now() - link->stuck_since;
            uint64_t delay = latency() + sim_below(took < 2 * SECOND ? took : 2 * SECOND);
            if (end->stuck == NULL || net.is_off[end->host])
                continue;
            while (end->stuck != NULL) {
                struct nng_msg *message = end->stuck;
                end->stuck = message->next;
                sim_at(arrival(end, delay), arrive, message, end->pipe);
            }
            end->stuck_last = &end->stuck;
        }
}

void network_set_delay(uint64_t us)
{
    net.delay_us = us;
}

void network_set_loss(unsigned per_thousand)
{
    net.loss = per_thousand;
}

void network_break(unsigned per_thousand)
{
    for (struct link *link = net.links; link != NULL; link = link->next)
        for (size_t i = 0; i < ENDS && sim_chance(per_thousand); i++)
            if (link->ends[i].pipe != 0)
                sim_at(arrival(&link->ends[i], latency()), end_has_closed, NULL,
                       link->ends[i].pipe);
}

/* A host that comes back answers connections from before with RST. */
void network_host_is_off(unsigned host, bool is_off)
{
    net.is_off[host] = is_off;
    for (struct link *link = net.links; link != NULL && !is_off; link = link->next)
        for (size_t i = 0; i < ENDS && link->is_silent; i++)
            if (link->ends[i].pipe != 0 && link->ends[1 - i].pipe == 0 &&
                link->ends[1 - i].host == host)
                sim_at(sim_now() + latency(), end_has_closed, NULL, link->ends[i].pipe);
}

uint64_t network_messages(void)
{
    return net.messages;
}

void network_reset(void)
{
    ASSERT(net.sockets == NULL && net.links == NULL && net.dials == NULL);
    memset(&net, 0, sizeof net);
    net.last_port = 40000;
}
