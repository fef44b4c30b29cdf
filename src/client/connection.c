/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- opening and closing ---- */

bool connection_is_open(void *context, const struct address *address)
{
    const struct client *client = context;
    for (size_t i = 0; i < client->connection_count; i++)
        if (servers_same(&client->connections[i]->address, address))
            return true;
    return false;
}

static void on_connected(void *context, struct rpc_channel *channel)
{
    struct connection *connection = context;
    (void)channel;
    connection->connected = true;
    connection->answered = false;
    connection->ask_at_us = 0;
}

static void on_disconnected(void *context, struct rpc_channel *channel)
{
    struct connection *connection = context;
    (void)channel;
    connection->connected = false;
    connection->answered = false;
    connection->events->lost(connection);
}

static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    struct connection *connection = context;
    connection->events->failed(connection, error, rpc_channel_problem(channel));
}

enum error connection_open(struct client *client, const struct address *address,
                           const struct connection_events *events, struct error_text *why)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    connection->client = client;
    connection->events = events;
    connection->address = *address;
    address_format(address, connection->text);
    connection->opened_us = client->now_us;
    const struct rpc_channel_options options = {
        .address = *address,
        .queue = client->queue,
        .reconnect_min_ms = CLIENT_RECONNECT_MIN_MS,
        .reconnect_max_ms = CLIENT_RECONNECT_MAX_MS,
        .tls_authority = client->tls_authority,
        .context = connection,
        .connected = on_connected,
        .disconnected = on_disconnected,
        .refused = on_refused,
    };
    enum error error = rpc_channel_open(&connection->channel, &options, why);
    if (error != OK) {
        free(connection);
        return error;
    }
    rpc_channel_tick(connection->channel, client->now_us / 1000); /* the clock of its deadlines */
    client->connections[client->connection_count++] = connection;
    return OK;
}

void connection_close(struct connection *connection)
{
    struct client *client = connection->client;
    rpc_channel_close(connection->channel);
    size_t i = 0;
    while (client->connections[i] != connection)
        i++;
    client->connections[i] = client->connections[--client->connection_count];
    free(connection);
}

/* ---- asking for Info ---- */

/* During an outage, the client asks each server again after a small part of the time that the outage has
 * lasted. So it finds a new master at once, and many clients make no storm in a long outage. */
static uint64_t ask_again_us(struct client *client, uint32_t at_least_ms)
{
    uint64_t pause_us = (client->now_us - client->selection.outage_us) / CLIENT_ASK_AGAIN_PART;
    if (pause_us < (uint64_t)CLIENT_ASK_AGAIN_MIN_MS * 1000)
        pause_us = (uint64_t)CLIENT_ASK_AGAIN_MIN_MS * 1000;
    if (pause_us > (uint64_t)CLIENT_ASK_AGAIN_MAX_MS * 1000)
        pause_us = (uint64_t)CLIENT_ASK_AGAIN_MAX_MS * 1000;
    pause_us = pause_us / 2 + pause_us / 2 * client_random32(client) / UINT32_MAX;
    uint64_t asked_us = (uint64_t)at_least_ms * 1000;
    return pause_us < asked_us ? asked_us : pause_us;
}

static void on_info(const ProtobufCMessage *message, void *closure_data)
{
    struct connection *connection = closure_data;
    struct client *client = connection->client;
    const Jackdaw__InfoReply *reply = (const Jackdaw__InfoReply *)message;
    connection->asking = false;
    connection->ask_at_us = client->now_us + ask_again_us(client, connection->info_result.retry_ms);
    if (reply == NULL) {
        if (connection->info_result.status != STATUS_CANCELLED)
            connection->events->info_failed(connection);
        return;
    }
    bool was_master = connection->master;
    memset(connection->cluster, 0, sizeof connection->cluster);
    if (reply->cluster.len == sizeof connection->cluster)
        memcpy(connection->cluster, reply->cluster.data, sizeof connection->cluster);
    connection->servers_count = reply->n_servers;
    connection->answered = true;
    connection->master = reply->master;
    connection->forwards = reply->leader != 0 && reply->leader != reply->server_id;
    connection->server_id = reply->server_id;
    connection->epoch = proto_position(reply->position).epoch;
    connection->round_trip_us = client->now_us - connection->asked_us;
    connection->events->info(connection, reply, was_master);
}

void connection_ask(struct connection *connection)
{
    struct client *client = connection->client;
    if (connection->asking)
        return;
    Jackdaw__InfoRequest request = JACKDAW__INFO_REQUEST__INIT;
    request.client = client->program;
    struct rpc_stub stub;
    rpc_stub_init(&stub, connection->channel, &jackdaw__chat__descriptor);
    stub.timeout_ms = CLIENT_ANSWER_MS;
    connection->asking = true;
    connection->asked_us = client->now_us;
    call_method(&stub, "Info", &request.base, on_info, connection);
}
