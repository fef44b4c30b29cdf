/* SPDX-License-Identifier: MIT */
#include "cluster/peer_connections.h"

#include "base/arena.h"
#include "base/log_pace.h"
#include "cluster/cluster_wire.h"
#include "cluster/peer_connection_log.h"
#include "rpc/channel.h"

#include <stdlib.h>
#include <string.h>

#define CALL_TIMEOUT_MS 1000
#define BULK_TIMEOUT_MS 5000 /* where much is on its way, here or there, and the way may be slow */
#define WAIT_FOR_CONNECTION_MS 300 /* messages are soon stale */
#define RECONNECT_MIN_MS 20
#define RECONNECT_MAX_MS 200
#define FRAME_BYTES_MAX (16u * 1024u * 1024u)
#define UNUSED_MS 30000
#define CLOSED_DIALS_TOLD 3
#define NEXT_ADDRESS_MS 300 /* at least between two addresses of one name */
#define QUIET_MS 20000 /* the peer closes a connection that is silent for longer than its limit */
#define ARENA_BYTES (256u * 1024u) /* heads only: bytes are borrowed */

struct peer_connection {
    struct peer_connections *peer_connections;
    struct rpc_channel *channel; /* NULL: a free place */
    char address[ADDRESS_TEXT_SIZE];
    uint16_t listed;  /* the member that is listed there; 0: none */
    uint16_t node;    /* that answered since it was connected; 0: none yet */
    bool is_stranger; /* of another cluster, or none: is what answered */
    bool has_bulk;    /* a call that carries much is not answered yet */
    uint64_t used_ms;
    uint64_t waiting_since_ms; /* for an answer; 0: for none */
    uint64_t dialled_ms;       /* while there is no connection */
    bool is_renewed;           /* by us: its loss tells nothing of the other side */
    bool was_refused;          /* since it was connected last */
    enum error dial_error;     /* of the last attempt that failed; OK: of none */
    unsigned closed_dials;     /* in a row */
    bool has_answered;         /* on this connection */
    struct rpc_stub stub;
};

/* One call; in the heap until its closure has run. */
struct exchange {
    struct rpc_result result; /* first: the channel fills it */
    struct peer_connection *peer_connection;
    bool is_bulk;
};

struct peer_connections {
    struct peer_connections_options options;
    uint64_t now_ms;
    struct arena arena;
    struct peer_connection items[PEER_CONNECTIONS_MAX];
};

/* ---- finding ---- */

static bool is_to(const struct peer_connection *peer_connection, uint16_t node)
{
    uint16_t there = peer_connection->node != 0 ? peer_connection->node : peer_connection->listed;
    return node != 0 && there == node && !peer_connection->is_stranger;
}

static struct peer_connection *find(struct peer_connections *peer_connections, uint16_t node,
                                    const char *address)
{
    if (node == 0 && address == NULL)
        return NULL;
    for (size_t i = 0; i < PEER_CONNECTIONS_MAX; i++) {
        struct peer_connection *peer_connection = &peer_connections->items[i];
        if (peer_connection->channel == NULL)
            continue;
        bool is_it = address != NULL ? strcmp(peer_connection->address, address) == 0
                                     : is_to(peer_connection, node);
        if (is_it)
            return peer_connection;
    }
    return NULL;
}

/* NULL: there is no connection to it. */
static struct peer_connection *find_connected(struct peer_connections *peer_connections,
                                              uint16_t node)
{
    for (size_t i = 0; i < PEER_CONNECTIONS_MAX; i++) {
        struct peer_connection *peer_connection = &peer_connections->items[i];
        if (peer_connection->channel != NULL && is_to(peer_connection, node) &&
            rpc_channel_is_connected(peer_connection->channel))
            return peer_connection;
    }
    return NULL;
}

/* ---- connections ---- */

static void on_disconnected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct peer_connection *peer_connection = context;
    peer_connection->waiting_since_ms = 0;
    peer_connection->dialled_ms = peer_connection->peer_connections->now_ms;
    bool was_lost = !peer_connection->is_renewed;
    peer_connection->is_renewed = false;
    peer_connection->node = 0;
    peer_connection->is_stranger = false;
    if (was_lost)
        peer_connection->peer_connections->options.down(
            peer_connection->peer_connections->options.context, peer_connection->address);
}

static void on_connected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct peer_connection *peer_connection = context;
    peer_connection->is_renewed = false;
    peer_connection->was_refused = false;
    peer_connection->dial_error = OK;
    peer_connection->closed_dials = 0;
    peer_connection->has_answered = false;
}

static void note_failed_dial(struct peer_connection *peer_connection, enum error error)
{
    /* A server that is killed closes what nobody has accepted. The next attempt is then refused. */
    peer_connection->closed_dials = error == ERROR_CLOSED ? peer_connection->closed_dials + 1 : 0;
    peer_connection->dial_error = error;
    if (error != ERROR_CLOSED || peer_connection->closed_dials >= CLOSED_DIALS_TOLD)
        peer_connection_log_failed(peer_connection->address, error);
}

/* Nobody listens there. One attempt is enough: a server that is unreachable from here may reach
 * this one. */
static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    (void)channel;
    struct peer_connection *peer_connection = context;
    note_failed_dial(peer_connection, error);
    bool is_news = error == ERROR_REFUSED && !peer_connection->was_refused;
    peer_connection->was_refused = peer_connection->was_refused || is_news;
    if (is_news)
        peer_connection->peer_connections->options.down(
            peer_connection->peer_connections->options.context, peer_connection->address);
}

static void close_peer_connection(struct peer_connection *peer_connection)
{
    peer_connection->is_renewed = true; /* its end tells nothing */
    struct rpc_channel *channel = peer_connection->channel;
    peer_connection->channel = NULL;
    rpc_channel_close(channel);
}

static struct peer_connection *free_place(struct peer_connections *peer_connections)
{
    for (size_t i = 0; i < PEER_CONNECTIONS_MAX; i++)
        if (peer_connections->items[i].channel == NULL)
            return &peer_connections->items[i];
    return NULL;
}

/* NULL: there is no place for another one, or it is no address. */
static struct peer_connection *open_peer_connection(struct peer_connections *peer_connections,
                                                    const char *address)
{
    struct peer_connection *peer_connection = free_place(peer_connections);
    if (peer_connection == NULL || strlen(address) >= sizeof peer_connection->address)
        return NULL;
    *peer_connection = (struct peer_connection){.peer_connections = peer_connections,
                                                .used_ms = peer_connections->now_ms,
                                                .dialled_ms = peer_connections->now_ms};
    memcpy(peer_connection->address, address, strlen(address) + 1);
    struct rpc_channel_options options = {
        .queue = peer_connections->options.queue,
        .frame_bytes_max = FRAME_BYTES_MAX,
        .request_bytes_max =
            FRAME_BYTES_MAX, /* an orphan transfer is as large as a page of the log */
        .reconnect_min_ms = RECONNECT_MIN_MS,
        .reconnect_max_ms = RECONNECT_MAX_MS,
        .context = peer_connection,
        .connected = on_connected,
        .disconnected = on_disconnected,
        .refused = on_refused,
    };
    struct error_text why;
    enum error error = address_parse(address, &options.address, &why);
    if (error == OK)
        error = rpc_channel_open(&peer_connection->channel, &options, &why);
    if (error != OK) {
        log_warning_paced(address, "cluster", "cannot_dial", log_string("address", address),
                          log_string("reason", why.text));
        return NULL;
    }
    rpc_stub_init(&peer_connection->stub, peer_connection->channel, &jackdaw__cluster__descriptor);
    return peer_connection;
}

void peer_connections_set_members(struct peer_connections *peer_connections,
                                  const struct replica_member *members, size_t count, uint16_t own)
{
    for (size_t i = 0; i < PEER_CONNECTIONS_MAX; i++)
        peer_connections->items[i].listed = 0;
    for (size_t i = 0; i < count; i++) {
        const struct replica_member *member = &members[i];
        if (member->id == own || member->left)
            continue;
        struct peer_connection *peer_connection =
            find(peer_connections, member->id, member->internal);
        if (peer_connection == NULL)
            peer_connection = open_peer_connection(peer_connections, member->internal);
        if (peer_connection == NULL)
            continue;
        peer_connection->listed = member->id;
        peer_connection->is_stranger = peer_connection->is_stranger && !member->in_sync;
    }
}

/* ---- sending ---- */

static void on_answer(const Jackdaw__ClusterFrame *frame, void *data)
{
    struct exchange *exchange = data;
    struct peer_connection *peer_connection = exchange->peer_connection;
    struct peer_connections *peer_connections = peer_connection->peer_connections;
    enum status status = exchange->result.status;
    bool is_answered = status == STATUS_OK;
    peer_connection_log_refused(peer_connection->address, status);
    peer_connection->has_bulk = peer_connection->has_bulk && !exchange->is_bulk;
    if (is_answered && frame != NULL && peer_connections->options.process != 0 &&
        frame->process == peer_connections->options.process)
        peer_connection_log_self(peer_connection->address);
    free(exchange);
    if (status == STATUS_UNIMPLEMENTED) /* a server of something else */
        peer_connections->options.down(peer_connections->options.context, peer_connection->address);
    if (!is_answered || frame == NULL)
        return;
    peer_connection->waiting_since_ms = 0;
    peer_connection->has_answered = true;
    for (size_t i = 0; i < frame->n_messages; i++) {
        const Jackdaw__ClusterMessage *message = frame->messages[i];
        bool is_ours = peer_connections->options.received(peer_connections->options.context,
                                                          message, peer_connection->address);
        peer_connection->is_stranger = !is_ours;
        peer_connection->node =
            is_ours && message->from <= UINT16_MAX ? (uint16_t)message->from : 0;
    }
    if (peer_connections->options.clock != NULL && !peer_connection->is_stranger)
        peer_connections->options.clock(peer_connections->options.context, frame);
}

/* Whether the receiver has something to say to it at once. */
static bool is_answered(enum replica_message_kind kind)
{
    return kind != REPLICA_ACK && kind != REPLICA_ORPHAN_TRANSFER_DONE;
}

/* Whether it is large, or its answer. */
static bool is_bulk(enum replica_message_kind kind)
{
    return kind == REPLICA_FETCH || kind == REPLICA_SNAPSHOT_REQUEST ||
           kind == REPLICA_ORPHAN_TRANSFER;
}

/* Acks are many: an answer to each would cost more than what it is an answer to. */
static void tell(struct peer_connection *peer_connection, const struct cluster_frame *frame)
{
    peer_connection->used_ms = peer_connection->peer_connections->now_ms;
    peer_connection->stub.one_way = true;
    jackdaw__cluster__exchange(&peer_connection->stub.service, &frame->frame, NULL, NULL);
    peer_connection->stub.one_way = false;
}

static void call(struct peer_connection *peer_connection, const struct cluster_frame *frame,
                 bool is_bulk)
{
    struct peer_connections *peer_connections = peer_connection->peer_connections;
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (exchange == NULL)
        return;
    exchange->peer_connection = peer_connection;
    exchange->is_bulk = is_bulk;
    peer_connection->has_bulk = peer_connection->has_bulk || is_bulk;
    bool is_connected = rpc_channel_is_connected(peer_connection->channel);
    if (is_connected && peer_connection->waiting_since_ms == 0)
        peer_connection->waiting_since_ms = peer_connections->now_ms;
    peer_connection->used_ms = peer_connections->now_ms;
    uint32_t timeout_ms = is_bulk ? BULK_TIMEOUT_MS : CALL_TIMEOUT_MS;
    peer_connection->stub.timeout_ms = is_connected ? timeout_ms : WAIT_FOR_CONNECTION_MS;
    jackdaw__cluster__exchange(&peer_connection->stub.service, &frame->frame, on_answer, exchange);
}

/* After a partition an old connection, or an old attempt, can stay silent for as long as the
 * partition lasted, because TCP retries ever more rarely. A new connection works at once. */
static void renew(struct peer_connection *peer_connection, bool is_connected)
{
    peer_connection->waiting_since_ms = 0;
    peer_connection->dialled_ms = peer_connection->peer_connections->now_ms;
    peer_connection->is_renewed = is_connected;
    rpc_channel_reconnect(peer_connection->channel);
}

/* One name may be that of several servers, one of which has answered, and its answer did not suffice.
 * The next question goes to the next address. */
static void go_on_to_next(struct peer_connection *peer_connection)
{
    uint64_t now_ms = peer_connection->peer_connections->now_ms;
    if (peer_connection->listed != 0 || !peer_connection->has_answered ||
        rpc_channel_addresses(peer_connection->channel) < 2 ||
        now_ms - peer_connection->dialled_ms < NEXT_ADDRESS_MS)
        return;
    peer_connection->has_answered = false;
    peer_connection->node = 0;
    renew(peer_connection, true);
}

void peer_connections_send(struct peer_connections *peer_connections,
                           const struct replica_message *message, const char *feed)
{
    const char *address = message->address;
    if (address != NULL && address[0] == '\0')
        address = NULL;
    struct peer_connection *peer_connection = find(peer_connections, message->to, address);
    if (peer_connection == NULL && address != NULL)
        peer_connection = open_peer_connection(peer_connections, address);
    if (peer_connection == NULL || !rpc_channel_is_connected(peer_connection->channel)) {
        struct peer_connection *other =
            find_connected(peer_connections, message->to); /* it has moved */
        peer_connection = other != NULL ? other : peer_connection;
    }
    /* Repeating a large request while its answer is on the way would fill a slow network. */
    if (peer_connection == NULL || (is_bulk(message->kind) && peer_connection->has_bulk))
        return;
    if (message->to == 0)
        go_on_to_next(peer_connection);
    struct cluster_frame frame;
    cluster_frame_init(&frame);
    frame.frame.process = peer_connections->options.process;
    if (peer_connections->options.durability != NULL)
        frame.frame.durability = (char *)peer_connections->options.durability;
    if (peer_connections->options.wall_ms != NULL)
        frame.frame.wall_ms = peer_connections->options.wall_ms(peer_connections->options.context);
    bool is_added = cluster_frame_add(&frame, message, feed, &peer_connections->arena) == OK;
    if (is_added && is_answered(message->kind))
        call(peer_connection, &frame, is_bulk(message->kind));
    else if (is_added)
        tell(peer_connection, &frame);
    arena_clear(&peer_connections->arena);
}

bool peer_connections_report(struct peer_connections *peer_connections, uint16_t node,
                             const Jackdaw__ReportRequest *request,
                             Jackdaw__ReportReply_Closure closure, void *result)
{
    struct peer_connection *peer_connection = find_connected(peer_connections, node);
    if (peer_connection == NULL)
        return false;
    peer_connection->used_ms = peer_connections->now_ms;
    peer_connection->stub.timeout_ms = CALL_TIMEOUT_MS;
    jackdaw__cluster__report(&peer_connection->stub.service, request, closure, result);
    return true;
}

bool peer_connections_is_connected(struct peer_connections *peer_connections, uint16_t node)
{
    return find_connected(peer_connections, node) != NULL;
}

const char *peer_connections_address(struct peer_connections *peer_connections, uint16_t node)
{
    const struct peer_connection *peer_connection = find_connected(peer_connections, node);
    return peer_connection == NULL ? NULL : peer_connection->address;
}

void peer_connections_flush(struct peer_connections *peer_connections)
{
    for (size_t i = 0; i < PEER_CONNECTIONS_MAX; i++)
        if (peer_connections->items[i].channel != NULL)
            rpc_channel_flush(peer_connections->items[i].channel);
}

static bool is_stuck(const struct peer_connection *peer_connection, bool is_connected)
{
    uint64_t since_ms =
        is_connected ? peer_connection->waiting_since_ms : peer_connection->dialled_ms;
    uint64_t silence_ms = peer_connection->peer_connections->options.silence_ms;
    if (is_connected && peer_connection->has_bulk && silence_ms < BULK_TIMEOUT_MS)
        silence_ms = BULK_TIMEOUT_MS; /* answers may wait behind it */
    return since_ms != 0 && peer_connection->peer_connections->now_ms - since_ms > silence_ms;
}

/* A master that only listens to a slave must not be taken for one that is gone, nor the other way. */
static void send_keepalive(struct peer_connection *peer_connection)
{
    struct cluster_frame nothing;
    cluster_frame_init(&nothing);
    tell(peer_connection, &nothing);
}

static void tick(struct peer_connection *peer_connection)
{
    uint64_t now_ms = peer_connection->peer_connections->now_ms;
    rpc_channel_tick(peer_connection->channel, now_ms);
    bool is_connected = rpc_channel_is_connected(peer_connection->channel);
    if (is_stuck(peer_connection, is_connected))
        renew(peer_connection, is_connected);
    if (peer_connection->listed == 0 && now_ms - peer_connection->used_ms > UNUSED_MS)
        close_peer_connection(peer_connection);
    else if (peer_connection->listed != 0 && is_connected &&
             now_ms - peer_connection->used_ms > QUIET_MS)
        send_keepalive(peer_connection);
}

void peer_connections_log_unreachable(const struct peer_connections *peer_connections)
{
    for (size_t i = 0; i < PEER_CONNECTIONS_MAX; i++) {
        const struct peer_connection *peer_connection = &peer_connections->items[i];
        if (peer_connection->channel != NULL && !rpc_channel_is_connected(peer_connection->channel))
            peer_connection_log_silent(peer_connection->address, peer_connection->dial_error);
    }
}

void peer_connections_tick(struct peer_connections *peer_connections, uint64_t now_ms)
{
    peer_connections->now_ms = now_ms;
    for (size_t i = 0; i < PEER_CONNECTIONS_MAX; i++)
        if (peer_connections->items[i].channel != NULL)
            tick(&peer_connections->items[i]);
}

/* ---- life ---- */

enum error peer_connections_new(struct peer_connections **out,
                                const struct peer_connections_options *options)
{
    struct peer_connections *peer_connections = calloc(1, sizeof *peer_connections);
    if (peer_connections == NULL)
        return ERROR_NO_MEMORY;
    peer_connections->options = *options;
    arena_init(&peer_connections->arena, ARENA_BYTES);
    *out = peer_connections;
    return OK;
}

void peer_connections_free(struct peer_connections *peer_connections)
{
    if (peer_connections == NULL)
        return;
    for (size_t i = 0; i < PEER_CONNECTIONS_MAX; i++)
        if (peer_connections->items[i].channel != NULL)
            close_peer_connection(&peer_connections->items[i]);
    arena_clear(&peer_connections->arena);
    free(peer_connections);
}
