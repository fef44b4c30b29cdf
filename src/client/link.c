/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which server is used, and when another one is looked for:
 *
 *                    one says it is master,
 *     +---------+    or none does for a while    +-------+    silence, refusals    +----------+
 *     | seeking | -----------------------------> | using | ----------------------> | doubting |
 *     +---------+                                +-------+ <---------------------- +----------+
 *          ^                                         |        it answers after all       |
 *          |              connection lost            |                                   |
 *          +-----------------------------------------+-----------------------------------+
 *                                                       silence for CLIENT_ANSWER_MS
 *
 * Seeking and doubting open connections to other servers, one after the other with short pauses,
 * and ask each for Info until one says that it is master. Doubting goes on with the server in use
 * meanwhile and takes another only for a master of a later reign. */

static uint64_t after_ms(const struct client *client, uint32_t ms)
{
    return client->now_us + (uint64_t)ms * 1000;
}

/* ---- opening and closing ---- */

static bool is_linked(void *context, const struct address *address)
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
    backoff_clear(&link->ask_again);
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
    client->current = NULL;
    client->doubting = false;
    client->seeking_us = client->now_us;
    client->first_answer_us = 0;
    client->open_next_us = client->now_us;
}

static enum error open_link(struct client *client, const struct address *address,
                            struct error_text *why)
{
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    link->client = client;
    link->address = *address;
    address_format(address, link->text);
    link->opened_us = client->now_us;
    link->ask_again.least_ms = CLIENT_ASK_AGAIN_MIN_MS;
    link->ask_again.most_ms = CLIENT_ASK_AGAIN_MAX_MS;
    const struct rpc_channel_options options = {
        .address = *address,
        .queue = client->queue,
        .reconnect_min_ms = CLIENT_RECONNECT_MIN_MS,
        .tls_authority = client->tls_authority,
        .context = link,
        .connected = on_connected,
        .disconnected = on_disconnected,
    };
    enum error error = rpc_channel_open(&link->channel, &options, why);
    if (error != OK) {
        free(link);
        return error;
    }
    client->links[client->link_count++] = link;
    return OK;
}

static void close_link(struct link *link)
{
    struct client *client = link->client;
    rpc_channel_close(link->channel); /* ends its calls, some of which look at current */
    if (client->current == link) {
        client->current = NULL;
        client->doubting = false;
        client->seeking_us = client->now_us;
        client->first_answer_us = 0;
        client->open_next_us = client->now_us;
    }
    size_t i = 0;
    while (client->links[i] != link)
        i++;
    client->links[i] = client->links[--client->link_count];
    free(link);
}

static void close_others(struct client *client)
{
    for (size_t i = client->link_count; i > 0; i--)
        if (client->links[i - 1] != client->current)
            close_link(client->links[i - 1]);
}

void link_close_all(struct client *client)
{
    while (client->link_count > 0)
        close_link(client->links[0]);
}

static void leave(struct client *client)
{
    (void)error_set(&client->problem, OK, "%s does not answer", client->current->text);
    close_link(client->current);
}

/* ---- asking for Info ---- */

static void learn(struct client *client, const struct link *link, const Jackdaw__InfoReply *reply)
{
    for (size_t i = 0; i < reply->n_servers; i++)
        (void)servers_learn(&client->servers, reply->servers[i], &link->address, NULL);
}

static void use_info(struct client *client, const Jackdaw__InfoReply *reply)
{
    if (reply->limits != NULL)
        client->message_bytes = reply->limits->message_bytes;
    uint64_t epoch = position_of(reply->position).epoch;
    if (epoch > client->highest_epoch)
        client->highest_epoch = epoch;
}

static void on_info(const ProtobufCMessage *message, void *closure_data)
{
    struct link *link = closure_data;
    struct client *client = link->client;
    const Jackdaw__InfoReply *reply = (const Jackdaw__InfoReply *)message;
    link->asking = false;
    link->ask_at_us = client->now_us + backoff_next_us(&link->ask_again, link->info_result.retry_ms,
                                                       client_random32(client));
    if (reply == NULL) {
        if (link->info_result.status != STATUS_CANCELLED)
            (void)error_set(&client->problem, OK, "%s: %s", link->text, link->info_result.message);
        return;
    }
    learn(client, link, reply);
    link->answered = true;
    link->master = reply->master;
    link->epoch = position_of(reply->position).epoch;
    if (client->first_answer_us == 0)
        client->first_answer_us = client->now_us;
    if (link == client->current) {
        client->heard_us = client->now_us;
        use_info(client, reply);
    } else if (client->message_bytes == 0 && reply->limits != NULL) {
        client->message_bytes = reply->limits->message_bytes;
    }
}

static void ask(struct link *link)
{
    struct client *client = link->client;
    Jackdaw__InfoRequest request = JACKDAW__INFO_REQUEST__INIT;
    request.client = client->program;
    struct rpc_stub stub;
    rpc_stub_init(&stub, link->channel, &jackdaw__chat__descriptor);
    stub.timeout_ms = CLIENT_ANSWER_MS;
    link->asking = true;
    link->asked_us = client->now_us;
    call_method(&stub, "Info", &request.base, on_info, link);
}

/* ---- choosing ---- */

static void take(struct client *client, struct link *link)
{
    bool news =
        client->told || !client->had_server || !servers_same(&client->latest, &link->address);
    if (client->had_server)
        client->figures.reconnects++;
    struct link *old = client->current;
    client->current = NULL;
    if (old != NULL)
        close_link(old);
    client->current = link;
    client->doubting = false;
    client->hinted = false;
    close_others(client);
    if (link->epoch > client->highest_epoch)
        client->highest_epoch = link->epoch;
    client->had_server = true;
    client->latest = link->address;
    client->told = false;
    client->heard_us = client->now_us;
    client->heartbeat.due_us = after_ms(client, CLIENT_HEARTBEAT_MS);
    client->resend_us = client->now_us;
    stream_restart(client);
    if (news && client->observer.status != NULL) {
        struct error_text text;
        (void)error_set(&text, OK, "connected to %s", link->text);
        client->observer.status(client->context, link->text, text.text);
    }
}

static bool is_hint(const struct client *client, const struct link *link)
{
    return client->hinted && servers_same(&client->hint, &link->address);
}

/* While doubting: whether it is certainly the better one. */
static bool is_better(const struct client *client, const struct link *link)
{
    if (!link->master)
        return false;
    if (is_hint(client, link) || !client->current->master)
        return link->epoch >= client->highest_epoch;
    return link->epoch > client->highest_epoch;
}

static struct link *choose(struct client *client)
{
    struct link *second = NULL;
    for (size_t i = 0; i < client->link_count; i++) {
        struct link *link = client->links[i];
        if (!link->connected || !link->answered || link == client->current)
            continue;
        if (client->current != NULL ? is_better(client, link)
                                    : link->master && link->epoch >= client->highest_epoch)
            return link;
        if (second == NULL || (link->master && !second->master))
            second = link;
    }
    if (client->current != NULL || second == NULL)
        return NULL;
    /* No master: a server that is alone, or one that carries requests to it, or none for now. */
    uint64_t settled_us = client->first_answer_us + (uint64_t)CLIENT_SETTLE_MS * 1000;
    if (client->servers.count == 1 || client->now_us >= settled_us)
        return second;
    client_wake_at(client, settled_us);
    return NULL;
}

/* ---- seeking ---- */

/* Where as many connections as allowed are open and some come to nothing, one is given up for an
 * address that has not had its turn. */
static void make_place(struct client *client)
{
    if (client->link_count < CLIENT_LINKS_MAX || client->servers.count <= CLIENT_LINKS_MAX)
        return;
    struct link *oldest = NULL;
    for (size_t i = 0; i < client->link_count; i++) {
        struct link *link = client->links[i];
        if (link != client->current && !link->answered &&
            (oldest == NULL || link->opened_us < oldest->opened_us))
            oldest = link;
    }
    if (oldest == NULL)
        return;
    uint64_t end_us = oldest->opened_us + (uint64_t)CLIENT_CONNECT_MS * 1000;
    if (client->now_us >= end_us)
        close_link(oldest);
    else
        client_wake_at(client, end_us);
}

static void open_more(struct client *client)
{
    make_place(client);
    if (client->link_count == CLIENT_LINKS_MAX)
        return;
    if (client->now_us < client->open_next_us) {
        client_wake_at(client, client->open_next_us);
        return;
    }
    const struct address *address = client->hinted && !is_linked(client, &client->hint)
                                        ? &client->hint
                                        : servers_next(&client->servers, is_linked, client);
    if (address == NULL)
        return;
    struct error_text why;
    bool opened = open_link(client, address, &why) == OK;
    if (!opened)
        client->problem = why;
    client->open_next_us = after_ms(client, opened ? CLIENT_STAGGER_MS : CLIENT_CONNECT_MS);
    client_wake_at(client, client->open_next_us);
}

static void ask_all(struct client *client)
{
    for (size_t i = 0; i < client->link_count; i++) {
        struct link *link = client->links[i];
        if (!link->connected || link->asking || link == client->current)
            continue;
        if (client->now_us >= link->ask_at_us)
            ask(link);
        else
            client_wake_at(client, link->ask_at_us);
    }
}

static void tell_when_lost(struct client *client)
{
    uint64_t patience_us = client->seeking_us + (uint64_t)CLIENT_QUIET_MS * 1000;
    if (client->told || client->current != NULL)
        return;
    if (client->now_us < patience_us) {
        client_wake_at(client, patience_us);
        return;
    }
    client->told = true;
    if (client->observer.status == NULL)
        return;
    struct error_text text;
    char first[ADDRESS_TEXT_SIZE];
    address_format(&client->servers.items[0].address, first);
    if (client->problem.text[0] != '\0')
        (void)error_set(&text, OK, "%s; trying %s", client->problem.text,
                        client->servers.count == 1 ? "again" : "all servers");
    else if (client->servers.count == 1)
        (void)error_set(&text, OK, "%s does not answer; trying again", first);
    else
        (void)error_set(&text, OK, "none of %zu servers answers; trying again",
                        client->servers.count);
    client->observer.status(client->context, NULL, text.text);
}

void link_seek(struct client *client)
{
    if (client->current != NULL && !client->doubting) {
        close_others(client);
        return;
    }
    open_more(client);
    ask_all(client);
    struct link *link = choose(client);
    if (link != NULL)
        take(client, link);
    tell_when_lost(client);
}

enum error link_open_first(struct client *client, struct error_text *why)
{
    client->open_next_us = after_ms(client, CLIENT_STAGGER_MS);
    return open_link(client, servers_next(&client->servers, is_linked, client), why);
}

/* ---- health ---- */

/* When the call under way for longest was made, slow ones apart; UINT64_MAX: none is. */
static uint64_t oldest_call_us(const struct client *client, bool slow)
{
    uint64_t oldest_us = UINT64_MAX;
    size_t left = client->under_way;
    for (const struct request *request = client->requests; left > 0; request = request->next) {
        if (request->state != REQUEST_UNDER_WAY)
            continue;
        left--;
        if (call_kind_of(request->call)->slow == slow && request->sent_us < oldest_us)
            oldest_us = request->sent_us;
    }
    if (slow)
        return oldest_us;
    if (client->heartbeat.under_way && client->heartbeat.sent_us < oldest_us)
        oldest_us = client->heartbeat.sent_us;
    if (client->current->asking && client->current->asked_us < oldest_us)
        oldest_us = client->current->asked_us;
    return oldest_us;
}

static bool is_over(struct client *client, uint64_t since_us, uint32_t bound_ms)
{
    if (since_us == UINT64_MAX)
        return false;
    uint64_t end_us = since_us + (uint64_t)bound_ms * 1000;
    if (client->now_us >= end_us)
        return true;
    client_wake_at(client, end_us);
    return false;
}

/* A call that may take long says nothing about the server's health; Info does. */
static void probe(struct client *client, uint64_t slow_since_us)
{
    uint64_t quiet_us = slow_since_us > client->heard_us ? slow_since_us : client->heard_us;
    if (!client->current->asking && is_over(client, quiet_us, CLIENT_PROBE_MS))
        ask(client->current);
}

void link_check_health(struct client *client)
{
    if (client->current == NULL)
        return;
    uint64_t slow_us = oldest_call_us(client, true);
    if (slow_us != UINT64_MAX)
        probe(client, slow_us);
    uint64_t oldest_us = oldest_call_us(client, false);
    if (oldest_us == UINT64_MAX)
        return;
    /* A single answer that was lost is the deadline's business; silence is ours. */
    uint64_t quiet_us = oldest_us > client->heard_us ? oldest_us : client->heard_us;
    if (is_over(client, quiet_us, CLIENT_ANSWER_MS)) {
        leave(client);
        return;
    }
    if (!client->doubting && client->servers.count > 1 &&
        is_over(client, quiet_us, CLIENT_DOUBT_MS)) {
        client->doubting = true;
        client->open_next_us = client->now_us;
    }
}

void link_keep_alive(struct client *client)
{
    if (!client->current->asking)
        ask(client->current);
}

void link_trust(struct client *client)
{
    client->heard_us = client->now_us;
    client->doubting = false;
}

void link_doubt(struct client *client, const char *master)
{
    if (client->current == NULL)
        return;
    if (*master != '\0')
        client->hinted =
            servers_learn(&client->servers, master, &client->current->address, &client->hint);
    if (client->hinted && servers_same(&client->hint, &client->current->address))
        client->hinted = false;
    if (!client->doubting)
        client->open_next_us = client->now_us;
    client->doubting = client->servers.count > 1;
}
