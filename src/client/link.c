/* SPDX-License-Identifier: MIT */
/* link.c - connections to servers, and asking each for Info. */
#include "client/client_internal.h"

#include <stdlib.h>
#include <string.h>

static void begin_seeking(struct client *client)
{
    client->current = NULL;
    client->doubting = false;
    client->seeking_us = client->now_us;
    client->first_answer_us = 0;
    client->open_next_us = client->now_us;
    seek_begin(client);
}

/* ---- opening and closing ---- */

bool link_is_open(void *context, const struct address *address)
{
    const struct client *client = context;
    for (size_t i = 0; i < client->link_count; i++)
        if (servers_same(&client->links[i]->address, address))
            return true;
    return false;
}

static void on_connected(void *context, struct rpc_channel *channel)
{
    struct link *link = context;
    (void)channel;
    link->connected = true;
    link->answered = false;
    link->ask_at_us = 0;
}

static void on_disconnected(void *context, struct rpc_channel *channel)
{
    struct link *link = context;
    struct client *client = link->client;
    (void)channel;
    link->connected = false;
    link->answered = false;
    if (client->current != link)
        return;
    (void)error_set(&client->problem, OK, "the connection to %s was lost", link->text);
    begin_seeking(client);
}

/* The server is there, and the connection fails all the same: TLS, or another program. Or its name
 * is wrong. A server that is down needs no reason: that it does not answer says it. */
static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    struct link *link = context;
    const char *problem = rpc_channel_problem(channel);
    bool is_told = !link->has_problem && link->client->problem.text[0] != '\0';
    if (problem == NULL && error == ERROR_NOT_FOUND && !is_told)
        problem = "the name has no address";
    if (problem != NULL)
        (void)error_set(&link->client->problem, OK, "%s: %s", link->text, problem);
    else if (link->has_problem)
        link->client->problem.text[0] = '\0'; /* now it is another one */
    link->has_problem = problem != NULL;
    if (problem != NULL && link->client->told_no_reason)
        link->client->told = false; /* the reason is news */
}

enum error link_open(struct client *client, const struct address *address, struct error_text *why)
{
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    link->client = client;
    link->address = *address;
    address_format(address, link->text);
    link->opened_us = client->now_us;
    const struct rpc_channel_options options = {
        .address = *address,
        .queue = client->queue,
        .reconnect_min_ms = CLIENT_RECONNECT_MIN_MS,
        .reconnect_max_ms = CLIENT_RECONNECT_MAX_MS,
        .tls_authority = client->tls_authority,
        .context = link,
        .connected = on_connected,
        .disconnected = on_disconnected,
        .refused = on_refused,
    };
    enum error error = rpc_channel_open(&link->channel, &options, why);
    if (error != OK) {
        free(link);
        return error;
    }
    client->links[client->link_count++] = link;
    return OK;
}

void link_close(struct link *link)
{
    struct client *client = link->client;
    rpc_channel_close(link->channel); /* ends its calls, some of which look at current */
    if (client->current == link)
        begin_seeking(client);
    size_t i = 0;
    while (client->links[i] != link)
        i++;
    client->links[i] = client->links[--client->link_count];
    free(link);
}

void link_close_others(struct client *client)
{
    for (size_t i = client->link_count; i > 0; i--) {
        struct link *link = client->links[i - 1];
        uint64_t ripe_us = link->opened_us + (uint64_t)CLIENT_HANDSHAKE_MS * 1000;
        if (link == client->current)
            continue;
        if (link->connected || client->now_us >= ripe_us)
            link_close(link);
        else
            client_wake_at(client, ripe_us); /* closing it now would mean to wait for it */
    }
}

void link_close_all(struct client *client)
{
    while (client->link_count > 0)
        link_close(client->links[0]);
}

/* ---- asking for Info ---- */

/* While a server is looked for, each is asked again after a small part of the time that this has
 * taken so far: so a new master is found at once, and a long outage makes no storm. */
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

static void learn(struct client *client, const struct link *link, const Jackdaw__InfoReply *reply)
{
    for (size_t i = 0; i < reply->n_servers; i++)
        (void)servers_learn(&client->servers, reply->servers[i], &link->address, NULL);
}

/* What the server in use says of itself. */
static void use_info(struct client *client, const Jackdaw__InfoReply *reply, bool was_master)
{
    client->heard_us = client->now_us;
    if (reply->limits != NULL)
        client->message_bytes = reply->limits->message_bytes;
    uint64_t epoch = position_of(reply->position).epoch;
    if (epoch > client->highest_epoch) {
        client->highest_epoch = epoch;
        client->session.confirmed = false;
    }
    const struct rpc_result deposed = {.message = "not in charge any more", .master = ""};
    if (reply->master && !was_master)
        link_reigns(client);
    else if (reply->master && client->doubting && !client->current->refused)
        link_trust(client);
    else if (!reply->master && was_master)
        link_doubt(client, &deposed);
}

static void on_info(const ProtobufCMessage *message, void *closure_data)
{
    struct link *link = closure_data;
    struct client *client = link->client;
    const Jackdaw__InfoReply *reply = (const Jackdaw__InfoReply *)message;
    link->asking = false;
    link->ask_at_us = client->now_us + ask_again_us(client, link->info_result.retry_ms);
    if (reply == NULL) {
        if (link->info_result.status != STATUS_CANCELLED && client->problem.text[0] == '\0')
            (void)error_set(&client->problem, OK, "%s: %s", link->text, link->info_result.message);
        return;
    }
    bool was_master = link->master;
    memset(link->cluster, 0, sizeof link->cluster);
    if (reply->cluster.len == sizeof link->cluster)
        memcpy(link->cluster, reply->cluster.data, sizeof link->cluster);
    link->servers_count = reply->n_servers;
    if (seek_is_foreign(client, link))
        (void)error_set(&client->problem, OK, "%s belongs to another cluster now", link->text);
    else
        learn(client, link, reply);
    link->answered = true;
    link->master = reply->master;
    link->server_id = reply->server_id;
    link->epoch = position_of(reply->position).epoch;
    if (client->first_answer_us == 0)
        client->first_answer_us = client->now_us;
    link->round_trip_us = client->now_us - link->asked_us;
    if (link == client->current)
        use_info(client, reply, was_master);
    else if (client->message_bytes == 0 && reply->limits != NULL)
        client->message_bytes = reply->limits->message_bytes;
}

void link_ask(struct link *link)
{
    struct client *client = link->client;
    if (link->asking)
        return;
    Jackdaw__InfoRequest request = JACKDAW__INFO_REQUEST__INIT;
    request.client = client->program;
    struct rpc_stub stub;
    rpc_stub_init(&stub, link->channel, &jackdaw__chat__descriptor);
    stub.timeout_ms = CLIENT_ANSWER_MS;
    link->asking = true;
    link->asked_us = client->now_us;
    call_method(&stub, "Info", &request.base, on_info, link);
}
