/* SPDX-License-Identifier: MIT */
#include "rpc/feed.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/log_pace.h"
#include "rpc/connections.h"
#include "rpc/dial.h"
#include "rpc/transport.h"

#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SEND_MESSAGES_DEFAULT 512u
#define BUFFER_MESSAGES_MAX 8192 /* nng's largest */
#define SUBSCRIBERS_DEFAULT 64u
#define SUBSCRIBER_BYTES_MAX 1u /* a subscriber has nothing to say */
#define WAITING_BYTES_DEFAULT (64u * 1024u * 1024u)
#define MESSAGE_EXTRA_BYTES 256u /* nng's memory per message, about */

#define MARK_BYTES 4u
static const uint8_t mark[MARK_BYTES] = {'J', 'D', 'F', 1};

/* ---- publishing ---- */

struct rpc_feed {
    struct rpc_feed_options options;
    nng_socket socket;
    nng_listener listener;
    bool open;
    struct address bound;
    nng_aio *send_aio;
    struct connections connections;
    atomic_size_t subscribers; /* counted on nng's threads */
    uint64_t published;
    uint64_t dropped;
};

static struct rpc_feed_options feed_defaults(const struct rpc_feed_options *options)
{
    struct rpc_feed_options result = *options;
    if (result.send_messages == 0)
        result.send_messages = SEND_MESSAGES_DEFAULT;
    if (result.message_bytes_max == 0)
        result.message_bytes_max = RPC_FEED_BYTES_DEFAULT;
    if (result.subscribers_max == 0)
        result.subscribers_max = SUBSCRIBERS_DEFAULT;
    return result;
}

/* nng's threads. */
static void turn_away(const struct rpc_feed *feed, nng_pipe pipe)
{
    char peer[ADDRESS_TEXT_SIZE];
    transport_peer_text(pipe, peer, sizeof peer);
    log_warning_paced(NULL, "rpc", "subscribers_full", log_string("peer", peer),
                      log_number("max", feed->options.subscribers_max));
    (void)nng_pipe_close(pipe);
}

static void on_subscriber(nng_pipe pipe, nng_pipe_ev what, void *context)
{
    struct rpc_feed *feed = context;
    if (!connections_enter(&feed->connections, pipe, what))
        return;
    if (what == NNG_PIPE_EV_REM_POST)
        (void)atomic_fetch_sub(&feed->subscribers, 1);
    else if (atomic_fetch_add(&feed->subscribers, 1) >= feed->options.subscribers_max)
        turn_away(feed, pipe);
    connections_leave(&feed->connections);
}

static int set_up_feed(struct rpc_feed *feed)
{
    int result = nng_pub0_open(&feed->socket);
    if (result != 0)
        return result;
    feed->open = true;
    result = nng_socket_set_size(feed->socket, NNG_OPT_RECVMAXSZ, SUBSCRIBER_BYTES_MAX);
    if (result == 0)
        result =
            nng_socket_set_int(feed->socket, NNG_OPT_SENDBUF, (int)feed->options.send_messages);
    if (result == 0)
        result = nng_aio_alloc(&feed->send_aio, NULL, NULL);
    if (result == 0)
        result = nng_pipe_notify(feed->socket, NNG_PIPE_EV_ADD_PRE, on_subscriber, feed);
    if (result == 0)
        result = nng_pipe_notify(feed->socket, NNG_PIPE_EV_REM_POST, on_subscriber, feed);
    return result;
}

static enum error listen_on(struct rpc_feed *feed, const char *host, struct error_text *why)
{
    char url[ADDRESS_TEXT_SIZE];
    char text[ADDRESS_TEXT_SIZE];
    struct address address = feed->options.address;
    address_format(&address, text);
    memmove(address.host, host, strlen(host) + 1);
    address.port = feed->bound.port;
    address_listen_url(&address, url);
    int result = nng_listener_create(&feed->listener, feed->socket, url);
    if (result == 0 && (result = nng_listener_start(feed->listener, 0)) != 0)
        (void)nng_listener_close(feed->listener);
    if (result != 0)
        return transport_explain_listen(result, text, why);
    feed->bound.port = transport_bound_port(feed->listener, feed->bound.port);
    return OK;
}

static enum error start_listening(struct rpc_feed *feed, struct error_text *why)
{
    const char *hosts[LISTEN_HOSTS_MAX];
    size_t count = transport_listen_hosts(&feed->options.address, hosts);
    enum error error = listen_on(feed, hosts[0], why);
    for (size_t i = 1; i < count && transport_listen_goes_on(error); i++)
        error = listen_on(feed, hosts[i], why);
    return error;
}

enum error rpc_feed_open(struct rpc_feed **out, const struct rpc_feed_options *options,
                         struct error_text *why)
{
    if (options->address.tls || options->send_messages > BUFFER_MESSAGES_MAX)
        return error_set(why, ERROR_INVALID, "a feed has no TLS, and buffers at most %d messages",
                         BUFFER_MESSAGES_MAX);
    struct rpc_feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    connections_init(&feed->connections);
    feed->options = feed_defaults(options);
    feed->bound = options->address;
    int result = set_up_feed(feed);
    enum error error = result == 0 ? start_listening(feed, why)
                                   : error_set(why, transport_error(result), "open a socket: %s",
                                               transport_problem(result));
    if (error != OK) {
        rpc_feed_free(feed);
        return error;
    }
    *out = feed;
    return OK;
}

void rpc_feed_address(const struct rpc_feed *feed, struct address *out)
{
    *out = feed->bound;
}

static size_t total_size(const struct rpc_chunk *chunks, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += chunks[i].size;
    return total;
}

static nng_msg *pack(const struct rpc_chunk *chunks, size_t count, size_t size)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, MARK_BYTES + size) != 0)
        return NULL;
    uint8_t *at = nng_msg_body(message);
    memcpy(at, mark, MARK_BYTES);
    at += MARK_BYTES;
    for (size_t i = 0; i < count; i++) {
        if (chunks[i].size > 0)
            memcpy(at, chunks[i].bytes, chunks[i].size);
        at += chunks[i].size;
    }
    return message;
}

void rpc_feed_publish(struct rpc_feed *feed, const struct rpc_chunk *chunks, size_t count)
{
    size_t size = total_size(chunks, count);
    feed->published++;
    if (size > feed->options.message_bytes_max) {
        feed->dropped++;
        log_warning_paced(NULL, "rpc", "feed_dropped", log_string("reason", "message too large"),
                          log_number("bytes", size), log_number("dropped", feed->dropped));
        return;
    }
    if (atomic_load(&feed->subscribers) == 0)
        return;
    nng_msg *message = pack(chunks, count, size);
    if (message == NULL || !transport_send(feed->socket, feed->send_aio, message))
        feed->dropped++;
}

void rpc_feed_stats(const struct rpc_feed *feed, struct rpc_feed_stats *out)
{
    *out = (struct rpc_feed_stats){.subscribers = atomic_load(&feed->subscribers),
                                   .published = feed->published,
                                   .dropped = feed->dropped};
}

void rpc_feed_free(struct rpc_feed *feed)
{
    if (feed == NULL)
        return;
    bool is_closed = !feed->open || connections_close(&feed->connections, feed->socket, false);
    if (feed->send_aio != NULL)
        nng_aio_free(feed->send_aio);
    if (!is_closed)
        return; /* nng may still call */
    connections_release(&feed->connections);
    free(feed);
}

/* ---- following ---- */

struct rpc_follower {
    struct rpc_follower_options options;
    nng_socket socket;
    bool open;
    bool closing;
    struct dial *dial;
    struct connections connections;
    struct receiver receiver;
    atomic_size_t references; /* the owner's and one for each of our tasks in the queue */
    atomic_size_t waiting_bytes;
    atomic_uint pipe;         /* nng's id of the connection; 0: none */
    atomic_bool state_queued; /* state is in the queue */
    struct task state;
    unsigned told_pipe; /* the owner's knowledge of pipe */
    atomic_uint_fast64_t received;
    atomic_uint_fast64_t dropped;
    atomic_uint_fast64_t garbage;
};

/* A message on its way to the owner. */
struct delivery {
    struct task task; /* first */
    struct rpc_follower *follower;
    nng_msg *message;
};

static void hold(struct rpc_follower *follower)
{
    (void)atomic_fetch_add(&follower->references, 1);
}

static void release(struct rpc_follower *follower)
{
    if (atomic_fetch_sub(&follower->references, 1) != 1)
        return;
    dial_free(follower->dial);
    connections_release(&follower->connections);
    free(follower);
}

/* ---- on the owner's thread ---- */

static void tell_state(struct rpc_follower *follower, unsigned pipe)
{
    const struct rpc_follower_options *options = &follower->options;
    bool was_connected = follower->told_pipe != 0;
    if (pipe == follower->told_pipe)
        return;
    follower->told_pipe = pipe;
    if (was_connected && options->disconnected != NULL)
        options->disconnected(options->context);
    if (pipe != 0 && !follower->closing && options->connected != NULL)
        options->connected(options->context);
}

static void run_state(struct task *task)
{
    struct rpc_follower *follower =
        (struct rpc_follower *)((char *)task - offsetof(struct rpc_follower, state));
    atomic_store(&follower->state_queued, false); /* a later change is reported again */
    if (!follower->closing)
        tell_state(follower, atomic_load(&follower->pipe));
    release(follower);
}

static size_t held_bytes(const struct delivery *delivery)
{
    return nng_msg_len(delivery->message) + sizeof *delivery + MESSAGE_EXTRA_BYTES;
}

static void run_delivery(struct task *task)
{
    struct delivery *delivery = (struct delivery *)task;
    struct rpc_follower *follower = delivery->follower;
    (void)atomic_fetch_sub(&follower->waiting_bytes, held_bytes(delivery));
    if (!follower->closing)
        follower->options.message(follower->options.context,
                                  (const uint8_t *)nng_msg_body(delivery->message) + MARK_BYTES,
                                  nng_msg_len(delivery->message) - MARK_BYTES);
    nng_msg_free(delivery->message);
    free(delivery);
    release(follower);
}

/* ---- on nng's threads ---- */

/* One task serves all changes, so that no change is lost for lack of memory: the task reports the
 * state at the time it runs. The owner learns of a connection before its first message, because nng
 * uses the connection only later. */
static void on_pipe(nng_pipe pipe, nng_pipe_ev what, void *context)
{
    struct rpc_follower *follower = context;
    if (what == NNG_PIPE_EV_ADD_PRE && !dial_connected(follower->dial, pipe)) {
        (void)nng_pipe_close(pipe);
        return;
    }
    if (what == NNG_PIPE_EV_REM_POST)
        dial_lost(follower->dial, pipe);
    if (!connections_enter(&follower->connections, pipe, what))
        return;
    unsigned id = (unsigned)nng_pipe_id(pipe);
    if (what == NNG_PIPE_EV_ADD_PRE)
        atomic_store(&follower->pipe, id);
    else
        (void)atomic_compare_exchange_strong(&follower->pipe, &id, 0);
    if (!atomic_exchange(&follower->state_queued, true)) {
        follower->state.run = run_state;
        hold(follower);
        task_queue_push(follower->options.queue, &follower->state);
    }
    connections_leave(&follower->connections);
}

static void refuse_garbage(struct rpc_follower *follower, nng_msg *message)
{
    nng_pipe pipe = nng_msg_get_pipe(message);
    uint64_t count = atomic_fetch_add(&follower->garbage, 1) + 1;
    char text[ADDRESS_TEXT_SIZE];
    address_format(&follower->options.address, text);
    log_warning_paced(text, "rpc", "feed_garbage", log_string("from", text),
                      log_number("messages", count));
    (void)nng_pipe_close(pipe);
    nng_msg_free(message);
}

static bool has_mark(nng_msg *message)
{
    return nng_msg_len(message) >= MARK_BYTES &&
           memcmp(nng_msg_body(message), mark, MARK_BYTES) == 0;
}

/* Counts the message as waiting. false: too much waits already. */
static bool admit(struct rpc_follower *follower, const struct delivery *delivery)
{
    size_t bytes = held_bytes(delivery);
    size_t waiting = atomic_fetch_add(&follower->waiting_bytes, bytes) + bytes;
    if (waiting <= follower->options.waiting_bytes_max)
        return true;
    (void)atomic_fetch_sub(&follower->waiting_bytes, bytes);
    return false;
}

static void on_message(void *context, nng_msg *message)
{
    struct rpc_follower *follower = context;
    if (!has_mark(message)) {
        refuse_garbage(follower, message);
        return;
    }
    (void)atomic_fetch_add(&follower->received, 1);
    struct delivery *delivery = malloc(sizeof *delivery);
    if (delivery != NULL)
        *delivery = (struct delivery){
            .task = {.run = run_delivery}, .follower = follower, .message = message};
    if (delivery == NULL || !admit(follower, delivery)) {
        (void)atomic_fetch_add(&follower->dropped, 1);
        free(delivery);
        nng_msg_free(message);
        return;
    }
    hold(follower);
    task_queue_push(follower->options.queue, &delivery->task);
}

/* ---- life ---- */

static struct rpc_follower_options follower_defaults(const struct rpc_follower_options *options)
{
    struct rpc_follower_options result = *options;
    if (result.message_bytes_max == 0)
        result.message_bytes_max = RPC_FEED_BYTES_DEFAULT;
    if (result.waiting_bytes_max == 0)
        result.waiting_bytes_max = WAITING_BYTES_DEFAULT;
    if (result.reconnect_min_ms == 0)
        result.reconnect_min_ms = 50;
    if (result.reconnect_max_ms == 0)
        result.reconnect_max_ms = 1000;
    return result;
}

static int configure(struct rpc_follower *follower)
{
    const struct rpc_follower_options *options = &follower->options;
    nng_socket socket = follower->socket;
    int result =
        nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, options->message_bytes_max + MARK_BYTES);
    if (result == 0)
        result = nng_socket_set_int(socket, NNG_OPT_RECVBUF, BUFFER_MESSAGES_MAX);
    if (result == 0)
        result = nng_sub0_socket_subscribe(socket, "", 0);
    if (result == 0)
        result = nng_pipe_notify(socket, NNG_PIPE_EV_ADD_PRE, on_pipe, follower);
    if (result == 0)
        result = nng_pipe_notify(socket, NNG_PIPE_EV_REM_POST, on_pipe, follower);
    return result;
}

static enum error set_up_follower(struct rpc_follower *follower, struct error_text *why)
{
    int result = nng_sub0_open(&follower->socket);
    follower->open = result == 0;
    if (result == 0)
        result = configure(follower);
    enum error error = transport_error(result);
    if (error == OK)
        error =
            transport_receiver_start(&follower->receiver, follower->socket, on_message, follower);
    if (error != OK)
        return error_set(why, error, "open a socket: %s", error_name(error));
    return OK;
}

/* The dial's thread; nng is done with the socket. */
static void on_closed(void *context)
{
    release(context);
}

static enum error start_dialling(struct rpc_follower *follower, struct error_text *why)
{
    hold(follower); /* for on_closed */
    enum error error = dial_start(&follower->dial,
                                  &(struct dial_options){
                                      .socket = follower->socket,
                                      .connections = &follower->connections,
                                      .address = follower->options.address,
                                      .pause_min_ms = follower->options.reconnect_min_ms,
                                      .pause_max_ms = follower->options.reconnect_max_ms,
                                      .context = follower,
                                      .closed = on_closed,
                                  },
                                  why);
    if (error != OK)
        release(follower);
    return error;
}

enum error rpc_follower_open(struct rpc_follower **out, const struct rpc_follower_options *options,
                             struct error_text *why)
{
    if (options->address.tls)
        return error_set(why, ERROR_INVALID, "a feed has no TLS");
    struct rpc_follower *follower = calloc(1, sizeof *follower);
    if (follower == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    atomic_init(&follower->references, 1);
    connections_init(&follower->connections);
    follower->options = follower_defaults(options);
    enum error error = set_up_follower(follower, why);
    if (error == OK)
        error = start_dialling(follower, why);
    if (error != OK) {
        rpc_follower_close(follower);
        return error;
    }
    *out = follower;
    return OK;
}

void rpc_follower_stats(const struct rpc_follower *follower, struct rpc_follower_stats *out)
{
    *out = (struct rpc_follower_stats){.received = atomic_load(&follower->received),
                                       .dropped = atomic_load(&follower->dropped),
                                       .garbage = atomic_load(&follower->garbage)};
}

void rpc_follower_close(struct rpc_follower *follower)
{
    if (follower == NULL || follower->closing)
        return;
    follower->closing = true;
    connections_stop(&follower->connections);
    transport_receiver_release(&follower->receiver);
    if (follower->dial != NULL)
        dial_stop(follower->dial);
    else if (follower->open)
        (void)nng_close(follower->socket); /* it has never had a connection */
    release(follower);
}
