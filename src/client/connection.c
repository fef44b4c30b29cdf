/* SPDX-License-Identifier: MIT */
/* connection.c - connections to servers, and asking each for Info. */
#include "client/client_internal.h"

#include <stdlib.h>
#include <string.h>

static void begin_selection(struct client *client)
{
    client->current = NULL;
    client->suspecting = false;
    client->selecting_us = client->now_us;
    client->first_answer_us = 0;
    client->open_next_us = client->now_us;
    server_selection_begin(client);
}

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
    struct client *client = connection->client;
    (void)channel;
    connection->connected = false;
    connection->answered = false;
    if (client->current != connection)
        return;
    (void)error_set(&client->problem, OK, "the connection to %s was lost", connection->text);
    begin_selection(client);
}

/* The server is there, and the connection fails all the same: TLS, or another program. Or its name
 * is wrong. A server that is down needs no reason: that it does not answer says it. */
static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    struct connection *connection = context;
    const char *problem = rpc_channel_problem(channel);
    bool is_told = !connection->has_problem && connection->client->problem.text[0] != '\0';
    if (problem == NULL && error == ERROR_NOT_FOUND && !is_told)
        problem = "the name has no address";
    if (problem != NULL)
        (void)error_set(&connection->client->problem, OK, "%s: %s", connection->text, problem);
    else if (connection->has_problem)
        connection->client->problem.text[0] = '\0'; /* now it is another one */
    connection->has_problem = problem != NULL;
    if (problem != NULL && connection->client->reported_no_reason)
        connection->client->told = false; /* the reason is news */
}

enum error connection_open(struct client *client, const struct address *address,
                           struct error_text *why)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    connection->client = client;
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
    client->connections[client->connection_count++] = connection;
    return OK;
}

void connection_close(struct connection *connection)
{
    struct client *client = connection->client;
    rpc_channel_close(connection->channel); /* ends its calls, some of which look at current */
    if (client->current == connection)
        begin_selection(client);
    size_t i = 0;
    while (client->connections[i] != connection)
        i++;
    client->connections[i] = client->connections[--client->connection_count];
    free(connection);
}

void connection_close_others(struct client *client)
{
    for (size_t i = client->connection_count; i > 0; i--) {
        struct connection *connection = client->connections[i - 1];
        uint64_t ripe_us = connection->opened_us + (uint64_t)CLIENT_HANDSHAKE_MS * 1000;
        if (connection == client->current)
            continue;
        if (connection->connected || client->now_us >= ripe_us)
            connection_close(connection);
        else
            client_wake_at(client, ripe_us); /* closing it now would mean to wait for it */
    }
}

void connection_close_all(struct client *client)
{
    while (client->connection_count > 0)
        connection_close(client->connections[0]);
}

/* ---- asking for Info ---- */

/* During a search each server is asked again after a small part of the search's duration. So the
 * client finds a new master at once, and a long outage causes no storm. */
static uint64_t ask_again_us(struct client *client, uint32_t at_least_ms)
{
    uint64_t pause_us = (client->now_us - client->search_us) / CLIENT_ASK_AGAIN_PART;
    if (pause_us < (uint64_t)CLIENT_ASK_AGAIN_MIN_MS * 1000)
        pause_us = (uint64_t)CLIENT_ASK_AGAIN_MIN_MS * 1000;
    if (pause_us > (uint64_t)CLIENT_ASK_AGAIN_MAX_MS * 1000)
        pause_us = (uint64_t)CLIENT_ASK_AGAIN_MAX_MS * 1000;
    pause_us = pause_us / 2 + pause_us / 2 * client_random32(client) / UINT32_MAX;
    uint64_t asked_us = (uint64_t)at_least_ms * 1000;
    return pause_us < asked_us ? asked_us : pause_us;
}

static void learn(struct client *client, const struct connection *connection,
                  const Jackdaw__InfoReply *reply)
{
    for (size_t i = 0; i < reply->n_servers; i++)
        (void)servers_learn(&client->servers, reply->servers[i], &connection->address, NULL);
}

/* The report of the server in use. */
static void use_info(struct client *client, const Jackdaw__InfoReply *reply, bool was_master)
{
    client->last_seen_us = client->now_us;
    if (reply->limits != NULL)
        client->message_bytes = reply->limits->message_bytes;
    uint64_t epoch = proto_position(reply->position).epoch;
    if (epoch > client->highest_epoch) {
        client->highest_epoch = epoch;
        client->session.confirmed = false;
    }
    const struct rpc_result deposed = {.message = "not in charge any more", .master = ""};
    if (reply->master && !was_master)
        connection_confirm_master(client);
    else if (reply->master && client->suspecting && !client->current->refused)
        connection_confirm(client);
    else if (!reply->master && was_master)
        connection_reject(client, &deposed);
}

static void on_info(const ProtobufCMessage *message, void *closure_data)
{
    struct connection *connection = closure_data;
    struct client *client = connection->client;
    const Jackdaw__InfoReply *reply = (const Jackdaw__InfoReply *)message;
    connection->asking = false;
    connection->ask_at_us = client->now_us + ask_again_us(client, connection->info_result.retry_ms);
    if (reply == NULL) {
        if (connection->info_result.status != STATUS_CANCELLED && client->problem.text[0] == '\0')
            (void)error_set(&client->problem, OK, "%s: %s", connection->text,
                            connection->info_result.message);
        return;
    }
    bool was_master = connection->master;
    memset(connection->cluster, 0, sizeof connection->cluster);
    if (reply->cluster.len == sizeof connection->cluster)
        memcpy(connection->cluster, reply->cluster.data, sizeof connection->cluster);
    connection->servers_count = reply->n_servers;
    if (server_selection_is_foreign(client, connection))
        (void)error_set(&client->problem, OK, "%s belongs to another cluster now",
                        connection->text);
    else
        learn(client, connection, reply);
    connection->answered = true;
    connection->master = reply->master;
    connection->server_id = reply->server_id;
    connection->epoch = proto_position(reply->position).epoch;
    if (client->first_answer_us == 0)
        client->first_answer_us = client->now_us;
    connection->round_trip_us = client->now_us - connection->asked_us;
    if (connection == client->current)
        use_info(client, reply, was_master);
    else if (client->message_bytes == 0 && reply->limits != NULL)
        client->message_bytes = reply->limits->message_bytes;
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
