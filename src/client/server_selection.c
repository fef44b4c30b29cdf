/* SPDX-License-Identifier: MIT */
/* server_selection.c - finding the server to use, and telling the owner how that goes. */
#include "client/client_internal.h"

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
 * Seeking and doubting open connections to all other servers, and ask each for Info until one says
 * that it is master. Doubting goes on with the server in use meanwhile and takes another only for a
 * master of a later epoch. */

void server_selection_begin(struct client *client)
{
    if (client->search_us == 0)
        client->search_us = client->now_us;
}

/* ---- telling ---- */

static void tell(struct client *client, const char *server, const struct error_text *text)
{
    if (client->observer.status != NULL)
        client->observer.status(client->context, server, text->text);
}

static void tell_found(struct client *client)
{
    const struct connection *connection = client->current;
    struct error_text text;
    client->told = false;
    (void)error_set(&text, OK, "connected to %s", connection->text);
    tell(client, connection->text, &text);
}

static void tell_back(struct client *client)
{
    const struct connection *connection = client->current;
    struct error_text text;
    client->told = false;
    if (connection->server_id != 0)
        (void)error_set(&text, OK, "back, on server %llu (%s)",
                        (unsigned long long)connection->server_id, connection->text);
    else
        (void)error_set(&text, OK, "back, on %s", connection->text);
    tell(client, connection->text, &text);
}

static size_t count_answering(const struct client *client)
{
    size_t count = 0;
    for (size_t i = 0; i < client->connection_count; i++)
        count += client->connections[i]->connected && client->connections[i]->answered;
    return count;
}

static void tell_when_lost(struct client *client)
{
    uint32_t quiet_ms = client->current == NULL ? CLIENT_QUIET_MS : CLIENT_QUIET_SUSPECT_MS;
    if (client->told || (client->current != NULL && !client->suspecting) ||
        !client_is_over(client, client->search_us, quiet_ms))
        return;
    client->told = true;
    client->reported_no_reason = client->problem.text[0] == '\0';
    struct error_text text;
    char first[ADDRESS_TEXT_SIZE];
    address_format(&client->servers.items[0].address, first);
    if (client->problem.text[0] != '\0')
        (void)error_set(&text, OK, "%s; trying %s", client->problem.text,
                        client->servers.count == 1 ? "again" : "other servers");
    else if (client->servers.count == 1)
        (void)error_set(&text, OK, "%s does not answer; trying again", first);
    else if (count_answering(client) > 0)
        (void)error_set(&text, OK, "no server is the master now, %zu of %zu answer; trying again",
                        count_answering(client), client->servers.count);
    else
        (void)error_set(&text, OK, "none of %zu servers answers; trying again",
                        client->servers.count);
    tell(client, NULL, &text);
}

/* ---- choosing ---- */

static void count_gap(struct client *client, const struct connection *old)
{
    uint64_t since_us = old == NULL ? client->selecting_us : client->silent_us;
    if (client->now_us - since_us > client->stats.longest_gap_us)
        client->stats.longest_gap_us = client->now_us - since_us;
}

static void take(struct client *client, struct connection *connection)
{
    bool first = !client->had_server;
    struct connection *old = client->current;
    if (!first) {
        client->stats.reconnects++;
        client->stats.failovers += !servers_same(&client->latest, &connection->address);
        count_gap(client, old);
    }
    client->current = NULL;
    if (old != NULL)
        connection_close(old);
    client->current = connection;
    client->suspecting = false;
    client->redirected = false;
    if (connection->epoch > client->highest_epoch)
        client->highest_epoch = connection->epoch;
    client->had_server = true;
    client->latest = connection->address;
    client->last_seen_us = client->now_us;
    client->heartbeat.due_us = client->now_us + (uint64_t)CLIENT_HEARTBEAT_MS * 1000;
    client->resend_us = client->now_us;
    session_is_new_to_server(client);
    stream_restart(client);
    if (connection->master) {
        client->search_us = 0;
        client->problem.text[0] = '\0';
    }
    if (first)
        tell_found(client);
    else if (client->told && connection->master)
        tell_back(client);
}

static bool is_redirect(const struct client *client, const struct connection *connection)
{
    return client->redirected && servers_same(&client->redirect, &connection->address);
}

/* While doubting: whether it is certainly the better one. An old epoch can be valid again (servers
 * restored from a backup); then the suspicion lasts. */
static bool is_better(const struct client *client, const struct connection *connection)
{
    if (!connection->master)
        return false;
    if (client->now_us - client->search_us >= (uint64_t)CLIENT_ANSWER_MS * 1000)
        return true;
    if (is_redirect(client, connection) || !client->current->master || client->current->refused)
        return connection->epoch >= client->highest_epoch;
    return connection->epoch > client->highest_epoch;
}

bool server_selection_is_foreign(const struct client *client, const struct connection *connection)
{
    static const uint8_t none[CLIENT_CLUSTER_BYTES];
    const uint8_t *own = client->session.cluster;
    return client->session.active && memcmp(own, none, sizeof none) != 0 &&
           memcmp(connection->cluster, none, sizeof none) != 0 &&
           memcmp(connection->cluster, own, sizeof none) != 0;
}

/* Whether every known server answers and belongs to another cluster than the session: no server of the
 * session's cluster may come back. A state file names its cluster, and is for no other. */
static bool are_all_foreign(const struct client *client)
{
    size_t count = 0;
    if (client->persist.file != NULL)
        return false;
    for (size_t i = 0; i < client->connection_count; i++) {
        const struct connection *connection = client->connections[i];
        count += connection->connected && connection->answered &&
                 server_selection_is_foreign(client, connection);
    }
    return count == client->servers.count;
}

/* A server that knows fewer servers than the user named may be a cluster founded by mistake: the client
 * waits for the other servers. With a session, the id of the cluster decides instead. */
static bool may_be_lone(struct client *client, const struct connection *connection)
{
    size_t given = 0;
    for (size_t i = 0; i < client->servers.count; i++)
        given += client->servers.items[i].given;
    return !client->session.active && connection->servers_count > 0 &&
           connection->servers_count < given &&
           !client_is_over(client, client->first_answer_us, CLIENT_LONE_MS);
}

/* Whether a server is there and only CLIENT_LONE_MS keep it from being taken. */
static bool has_lone(struct client *client)
{
    for (size_t i = 0; i < client->connection_count; i++)
        if (client->connections[i]->connected && client->connections[i]->answered &&
            may_be_lone(client, client->connections[i]))
            return true;
    return false;
}

static bool is_preferred(const struct connection *connection, const struct connection *to)
{
    if (to == NULL || connection->master != to->master)
        return to == NULL || connection->master;
    return connection->servers_count > to->servers_count;
}

static struct connection *choose(struct client *client)
{
    struct connection *best = NULL;
    struct connection *second = NULL;
    for (size_t i = 0; i < client->connection_count; i++) {
        struct connection *connection = client->connections[i];
        if (!connection->connected || !connection->answered || connection == client->current ||
            (server_selection_is_foreign(client, connection) && !are_all_foreign(client)) ||
            may_be_lone(client, connection))
            continue;
        if ((client->current != NULL
                 ? is_better(client, connection)
                 : connection->master && connection->epoch >= client->highest_epoch) &&
            is_preferred(connection, best))
            best = connection;
        if (is_preferred(connection, second))
            second = connection;
    }
    if (best != NULL)
        return best;
    if (client->current != NULL || second == NULL)
        return NULL;
    /* No master: a server that is alone, or one that carries requests to it, or none for now. */
    bool settled = client->servers.count == 1 ||
                   client_is_over(client, client->first_answer_us, CLIENT_ANY_SERVER_MS);
    return settled ? second : NULL;
}

/* ---- seeking ---- */

/* Where as many connections as allowed are open and some come to nothing, one is given up for an
 * address that has not had its turn. */
static void make_place(struct client *client)
{
    if (client->connection_count < CLIENT_CONNECTIONS_MAX ||
        client->servers.count <= CLIENT_CONNECTIONS_MAX)
        return;
    struct connection *oldest = NULL;
    for (size_t i = 0; i < client->connection_count; i++) {
        struct connection *connection = client->connections[i];
        if (connection != client->current && !connection->answered &&
            (oldest == NULL || connection->opened_us < oldest->opened_us))
            oldest = connection;
    }
    if (oldest != NULL && client_is_over(client, oldest->opened_us, CLIENT_CONNECT_MS))
        connection_close(oldest);
}

/* The next to open a connection to; NULL: all have one. */
static const struct address *next_address(struct client *client)
{
    if (client->redirected && !connection_is_open(client, &client->redirect))
        return &client->redirect;
    return servers_next(&client->servers, connection_is_open, client);
}

/* At first one after the other, as the first is likely to do; later, when time counts, all at once. */
static void open_more(struct client *client)
{
    for (;;) {
        make_place(client);
        if (client->connection_count == CLIENT_CONNECTIONS_MAX)
            return;
        if (client->now_us < client->open_next_us) {
            client_wake_at(client, client->open_next_us);
            return;
        }
        const struct address *address = next_address(client);
        if (address == NULL)
            return;
        struct error_text why;
        uint32_t pause_ms = client->had_server ? 0 : CLIENT_STAGGER_MS;
        if (connection_open(client, address, &why) != OK) {
            client->problem = why;
            pause_ms = CLIENT_OPEN_AGAIN_MS;
        }
        client->open_next_us = client->now_us + (uint64_t)pause_ms * 1000;
    }
}

/* One name may be that of several servers: after one that is not the master the next address is asked.
 * The server in use is left only when the search has lasted for long. */
static bool may_be_of_another(const struct client *client, const struct connection *connection)
{
    if (!connection->answered || connection->master ||
        rpc_channel_addresses(connection->channel) < 2)
        return false;
    return connection != client->current ||
           (connection->refused &&
            client->now_us - client->search_us >= (uint64_t)CLIENT_ANY_SERVER_MS * 1000);
}

/* The one in use is asked, too, where it refused: it may become master itself. A silent one gets
 * enough requests. */
static void ask_all(struct client *client)
{
    for (size_t i = 0; i < client->connection_count; i++) {
        struct connection *connection = client->connections[i];
        if (!connection->connected || connection->asking ||
            (connection == client->current && connection->master))
            continue;
        if (client->now_us >= connection->ask_at_us && may_be_of_another(client, connection))
            rpc_channel_reconnect(connection->channel);
        else if (client->now_us >= connection->ask_at_us)
            connection_ask(connection);
        else
            client_wake_at(client, connection->ask_at_us);
    }
}

void server_selection_tick(struct client *client)
{
    if (client->current != NULL && !client->suspecting) {
        connection_close_others(client);
        return;
    }
    open_more(client);
    ask_all(client);
    struct connection *connection = choose(client);
    if (connection != NULL)
        take(client, connection);
    if (client->current != NULL || !has_lone(client))
        tell_when_lost(client);
}

enum error server_selection_start(struct client *client, struct error_text *why)
{
    client->selecting_us = client->now_us;
    server_selection_begin(client);
    client->open_next_us = client->now_us + (uint64_t)CLIENT_STAGGER_MS * 1000;
    return connection_open(client, servers_next(&client->servers, connection_is_open, client), why);
}

/* ---- trust and doubt ---- */

void connection_confirm(struct client *client)
{
    client->last_seen_us = client->now_us;
    client->current->refused = false;
    client->suspecting = false;
    client->search_us = 0;
    client->problem.text[0] = '\0';
    if (client->told)
        tell_back(client);
}

void connection_confirm_master(struct client *client)
{
    connection_confirm(client);
    client->resend_us = client->now_us;
    stream_hurry(client);
    client->wake_us = 0;
}

void connection_suspect(struct client *client, uint64_t since_us)
{
    if (client->suspecting)
        return;
    client->silent_us = since_us;
    client->open_next_us = client->now_us;
    client->wake_us = 0;
    client->suspecting = true;
    server_selection_begin(client);
}

/* A hint is followed at once, however often that server was asked before. */
static void follow_redirect(struct client *client, const char *master)
{
    struct connection *current = client->current;
    struct address before = client->redirect;
    bool had = client->redirected;
    client->redirected =
        servers_learn(&client->servers, master, &current->address, &client->redirect) &&
        !servers_same(&client->redirect, &current->address);
    if (!client->redirected || (had && servers_same(&before, &client->redirect)))
        return;
    for (size_t i = 0; i < client->connection_count; i++)
        if (is_redirect(client, client->connections[i]))
            client->connections[i]->ask_at_us = 0;
}

void connection_reject(struct client *client, const struct rpc_result *why)
{
    struct connection *current = client->current;
    if (current == NULL)
        return;
    current->refused = true;
    if (client->servers.count > 1)
        (void)error_set(&client->problem, OK, "no server is in charge right now");
    else
        (void)error_set(&client->problem, OK, "%s: %s", current->text, why->message);
    if (*why->master != '\0')
        follow_redirect(client, why->master);
    client->session.confirmed = false;
    connection_suspect(client, client->now_us);
}
