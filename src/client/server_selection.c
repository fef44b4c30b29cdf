/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include <string.h>

#define ANSWERS_REMEMBERED 256 /* each later answer takes that part from the longest one */

/* ---- transitions ---- */

/* allowed[from][to]. PROBING goes to another server through SEARCHING. */
static const bool allowed[][SELECTION_PROBING + 1] = {
    [SELECTION_SEARCHING] = {[SELECTION_CONNECTED] = true},
    [SELECTION_CONNECTED] = {[SELECTION_SEARCHING] = true, [SELECTION_PROBING] = true},
    [SELECTION_PROBING] = {[SELECTION_SEARCHING] = true, [SELECTION_CONNECTED] = true},
};

static void enter(struct client *client, enum selection_state state)
{
    struct server_selection *selection = &client->selection;
    bool is_allowed = allowed[selection->state][state];
    ASSERT(is_allowed);
    selection->state = state;
    ASSERT((selection->current == NULL) == (state == SELECTION_SEARCHING));
    client->wake_us = 0;
}

static void begin_outage(struct client *client)
{
    if (client->selection.outage_us == 0)
        client->selection.outage_us = client->now_us;
}

static void end_outage(struct client *client)
{
    client->selection.outage_us = 0;
    client->selection.problem.text[0] = '\0';
}

/* The server in use is not any more; its connection stays open. */
static void enter_searching(struct client *client, uint64_t since_us)
{
    struct server_selection *selection = &client->selection;
    selection->current = NULL;
    selection->searching = (struct selection_searching){.since_us = since_us};
    selection->next_open_us = client->now_us;
    begin_outage(client);
    enter(client, SELECTION_SEARCHING);
}

static void enter_probing(struct client *client, uint64_t silent_since_us, bool refused)
{
    struct server_selection *selection = &client->selection;
    selection->probing =
        (struct selection_probing){.silent_since_us = silent_since_us, .refused = refused};
    selection->next_open_us = client->now_us;
    begin_outage(client);
    enter(client, SELECTION_PROBING);
}

/* SEARCHING: the client uses this server from now on. */
static void enter_connected(struct client *client, struct connection *connection)
{
    struct server_selection *selection = &client->selection;
    selection->current = connection;
    selection->connected = (struct selection_connected){
        .last_seen_us = client->now_us, .is_foreign = server_choice_is_foreign(client, connection)};
    selection->has_redirect = false;
    enter(client, SELECTION_CONNECTED);
}

static bool is_in_use(const struct connection *connection)
{
    return connection == connection->client->selection.current;
}

/* A server that had no cluster when it was selected has founded one, or joined another than the session's. */
static bool has_become_foreign(const struct client *client)
{
    const struct server_selection *selection = &client->selection;
    return selection->state != SELECTION_SEARCHING && !selection->connected.is_foreign &&
           server_choice_is_foreign(client, selection->current);
}

/* ---- what the server in use does ---- */

void server_selection_seen(struct client *client)
{
    client->selection.connected.last_seen_us = client->now_us;
}

void server_selection_learn_answer(struct client *client, uint64_t answer_us)
{
    uint64_t *longest_us = &client->selection.connected.answer_us;
    if (client->selection.state == SELECTION_SEARCHING)
        return;
    *longest_us -= *longest_us / ANSWERS_REMEMBERED;
    if (answer_us >= *longest_us)
        *longest_us = answer_us == 0 ? 1 : answer_us;
}

void server_selection_confirm(struct client *client)
{
    if (client->selection.state == SELECTION_SEARCHING)
        return;
    server_selection_seen(client);
    if (client->selection.state == SELECTION_PROBING)
        enter(client, SELECTION_CONNECTED);
    end_outage(client);
    report_back(client);
}

void server_selection_suspect(struct client *client, uint64_t silent_since_us)
{
    struct server_selection *selection = &client->selection;
    ASSERT(selection->state == SELECTION_CONNECTED);
    (void)error_set(&selection->problem, OK, "%s does not answer", selection->current->text);
    enter_probing(client, silent_since_us, false);
}

/* The client asks that server at once, however often it was asked before. */
static void follow_redirect(struct client *client, const char *master)
{
    struct server_selection *selection = &client->selection;
    struct address before = selection->redirect;
    bool had = selection->has_redirect;
    selection->has_redirect = servers_learn(&client->servers, master, &selection->current->address,
                                            &selection->redirect) &&
                              !servers_same(&selection->redirect, &selection->current->address);
    if (!selection->has_redirect || (had && servers_same(&before, &selection->redirect)))
        return;
    for (size_t i = 0; i < client->connection_count; i++)
        if (server_choice_is_redirect(client, client->connections[i]))
            client->connections[i]->ask_at_us = 0;
}

void server_selection_reject(struct client *client, const struct rpc_result *why)
{
    struct server_selection *selection = &client->selection;
    if (selection->state == SELECTION_SEARCHING)
        return;
    if (client->servers.count > 1)
        (void)error_set(&selection->problem, OK, "no server is in charge right now");
    else
        (void)error_set(&selection->problem, OK, "%s: %s", selection->current->text, why->message);
    if (*why->master != '\0')
        follow_redirect(client, why->master);
    selection->connected.session_confirmed_us = 0;
    if (selection->state == SELECTION_PROBING)
        selection->probing.refused = true;
    else
        enter_probing(client, client->now_us, true);
}

/* The connection is closed last: the calls that end with it find no server in use. */
static void leave(struct client *client, uint64_t since_us)
{
    struct connection *left = client->selection.current;
    enter_searching(client, since_us);
    connection_close(left);
}

void server_selection_leave(struct client *client)
{
    struct server_selection *selection = &client->selection;
    (void)error_set(&selection->problem, OK, "%s does not answer", selection->current->text);
    leave(client, client->now_us);
}

/* ---- whether it knows the session ---- */

void server_selection_confirm_session(struct client *client)
{
    client->selection.connected.session_confirmed_us = client->now_us;
    client->selection.connected.session_unknown_us = 0;
}

bool server_selection_may_learn_session(struct client *client, uint64_t sent_us)
{
    struct selection_connected *connected = &client->selection.connected;
    if (!client->session.active)
        return false;
    if (connected->session_confirmed_us != 0)
        return sent_us <= connected->session_confirmed_us;
    if (connected->session_unknown_us == 0)
        connected->session_unknown_us = client->now_us;
    if (client->selection.current != NULL)
        connection_ask(client->selection.current); /* it may be of another cluster by now */
    return client->now_us - connected->session_unknown_us <
           (uint64_t)CLIENT_SESSION_UNKNOWN_MS * 1000;
}

void server_selection_init_stub(struct client *client, struct rpc_stub *stub, uint32_t timeout_ms)
{
    rpc_stub_init(stub, client->selection.current->channel, &jackdaw__chat__descriptor);
    stub->timeout_ms = timeout_ms;
    if (client->session.active) {
        stub->token = client->session.token;
        stub->token_size = sizeof client->session.token;
        stub->position = client->seen;
    }
}

/* ---- events of connections ---- */

static void on_lost(struct connection *connection)
{
    struct client *client = connection->client;
    if (!is_in_use(connection))
        return;
    (void)error_set(&client->selection.problem, OK, "the connection to %s was lost",
                    connection->text);
    enter_searching(client, client->now_us);
}

/* problem: the server is there, and the connection fails all the same: TLS, or another program; NULL.
 * A server that is down is no reason to report: that no server answers says it. */
static void on_failed(struct connection *connection, enum error error, const char *problem)
{
    struct client *client = connection->client;
    struct error_text *reason = &client->selection.problem;
    bool is_known = !connection->has_problem && reason->text[0] != '\0';
    if (problem == NULL && error == ERROR_NOT_FOUND && !is_known)
        problem = "the name has no address";
    if (problem != NULL)
        (void)error_set(reason, OK, "%s: %s", connection->text, problem);
    else if (connection->has_problem)
        reason->text[0] = '\0'; /* it was this connection's, and is another one now */
    connection->has_problem = problem != NULL;
    if (problem != NULL)
        report_new_reason(client);
}

static void on_info_failed(struct connection *connection)
{
    struct error_text *reason = &connection->client->selection.problem;
    if (reason->text[0] == '\0')
        (void)error_set(reason, OK, "%s: %s", connection->text, connection->info_result.message);
}

static void learn_servers(struct client *client, const struct connection *connection,
                          const Jackdaw__InfoReply *reply)
{
    if (server_choice_is_foreign(client, connection)) {
        (void)error_set(&client->selection.problem, OK, "%s belongs to another cluster now",
                        connection->text);
        return;
    }
    for (size_t i = 0; i < reply->n_servers; i++)
        (void)servers_learn(&client->servers, reply->servers[i], &connection->address, NULL);
}

static void use_info(struct client *client, const Jackdaw__InfoReply *reply, bool was_master)
{
    static const struct rpc_result deposed = {.message = "not in charge any more", .master = ""};
    struct server_selection *selection = &client->selection;
    server_selection_seen(client);
    session_learn_cluster(client);
    if (reply->limits != NULL)
        client->message_bytes = reply->limits->message_bytes;
    if (selection->current->epoch > client->highest_epoch) {
        client->highest_epoch = selection->current->epoch;
        selection->connected.session_confirmed_us = 0;
    }
    if (reply->master && !was_master) {
        server_selection_confirm(client);
        client->on_selected(client, false);
    } else if (reply->master && selection->state == SELECTION_PROBING &&
               !selection->probing.refused) {
        server_selection_confirm(client);
    } else if (!reply->master && was_master) {
        server_selection_reject(client, &deposed);
    }
}

static void on_info(struct connection *connection, const Jackdaw__InfoReply *reply, bool was_master)
{
    struct client *client = connection->client;
    struct server_selection *selection = &client->selection;
    learn_servers(client, connection, reply);
    if (selection->state == SELECTION_SEARCHING && selection->searching.first_answer_us == 0)
        selection->searching.first_answer_us = client->now_us;
    if (is_in_use(connection) && !has_become_foreign(client))
        use_info(client, reply, was_master);
    else if (client->message_bytes == 0 && reply->limits != NULL)
        client->message_bytes = reply->limits->message_bytes;
}

static const struct connection_events events = {
    .lost = on_lost, .failed = on_failed, .info_failed = on_info_failed, .info = on_info};

/* ---- opening and closing connections ---- */

/* If as many connections as allowed are open and one has no answer for CLIENT_CONNECT_MS, it is closed
 * for an address that had no turn yet. */
static void make_room(struct client *client)
{
    struct connection *oldest = NULL;
    if (client->connection_count < CLIENT_CONNECTIONS_MAX ||
        client->servers.count <= CLIENT_CONNECTIONS_MAX)
        return;
    for (size_t i = 0; i < client->connection_count; i++) {
        struct connection *connection = client->connections[i];
        if (!is_in_use(connection) && !connection->answered &&
            (oldest == NULL || connection->opened_us < oldest->opened_us))
            oldest = connection;
    }
    if (oldest != NULL && client_is_over(client, oldest->opened_us, CLIENT_CONNECT_MS))
        connection_close(oldest);
}

/* NULL: all known servers have a connection. */
static const struct address *next_address(struct client *client)
{
    struct server_selection *selection = &client->selection;
    if (selection->has_redirect && !connection_is_open(client, &selection->redirect))
        return &selection->redirect;
    return servers_next(&client->servers, connection_is_open, client);
}

/* At the start one after the other, because the first server is likely to do. After a failure, when
 * time counts, all at once. */
static void open_more(struct client *client)
{
    struct server_selection *selection = &client->selection;
    for (;;) {
        make_room(client);
        if (client->connection_count == CLIENT_CONNECTIONS_MAX)
            return;
        if (client->now_us < selection->next_open_us) {
            client_wake_at(client, selection->next_open_us);
            return;
        }
        const struct address *address = next_address(client);
        if (address == NULL)
            return;
        struct error_text why;
        uint32_t pause_ms = selection->had_server ? 0 : CLIENT_STAGGER_MS;
        if (connection_open(client, address, &events, &why) != OK) {
            selection->problem = why;
            pause_ms = CLIENT_OPEN_AGAIN_MS;
        }
        selection->next_open_us = client->now_us + (uint64_t)pause_ms * 1000;
    }
}

/* To close a connection during its handshake would mean to wait for the handshake. */
static void close_others(struct client *client)
{
    for (size_t i = client->connection_count; i > 0; i--) {
        struct connection *connection = client->connections[i - 1];
        uint64_t ripe_us = connection->opened_us + (uint64_t)CLIENT_HANDSHAKE_MS * 1000;
        if (is_in_use(connection))
            continue;
        if (connection->connected || client->now_us >= ripe_us)
            connection_close(connection);
        else
            client_wake_at(client, ripe_us);
    }
}

/* ---- asking ---- */

/* One name may have the addresses of several servers: after an answer of a server that is not the
 * master, the client tries the next address. The client leaves the server in use so only in a long
 * outage. */
static bool may_be_of_another(const struct client *client, const struct connection *connection)
{
    const struct server_selection *selection = &client->selection;
    if (!connection->answered || connection->master ||
        rpc_channel_addresses(connection->channel) < 2)
        return false;
    return !is_in_use(connection) ||
           (selection->probing.refused &&
            client->now_us - selection->outage_us >= (uint64_t)CLIENT_ANY_SERVER_MS * 1000);
}

/* The server in use is asked, too, unless it was the master: it may become the master. */
static void ask_all(struct client *client)
{
    for (size_t i = 0; i < client->connection_count; i++) {
        struct connection *connection = client->connections[i];
        if (!connection->connected || connection->asking ||
            (is_in_use(connection) && connection->master))
            continue;
        if (client->now_us < connection->ask_at_us)
            client_wake_at(client, connection->ask_at_us);
        else if (may_be_of_another(client, connection))
            rpc_channel_reconnect(connection->channel);
        else
            connection_ask(connection);
    }
}

/* ---- selecting ---- */

static void count_change(struct client *client, const struct connection *connection)
{
    const struct server_selection *selection = &client->selection;
    uint64_t gap_us = client->now_us - selection->searching.since_us;
    client->stats.reconnects++;
    client->stats.failovers += !servers_same(&selection->latest, &connection->address);
    if (gap_us > client->stats.longest_gap_us)
        client->stats.longest_gap_us = gap_us;
}

static void select_server(struct client *client, struct connection *connection)
{
    struct server_selection *selection = &client->selection;
    bool is_first = !selection->had_server;
    if (selection->state == SELECTION_PROBING)
        leave(client, selection->probing.silent_since_us);
    if (!is_first)
        count_change(client, connection);
    enter_connected(client, connection);
    if (connection->epoch > client->highest_epoch)
        client->highest_epoch = connection->epoch;
    if (connection->epoch < client->seen.epoch) /* server_choice.c allows it */
        client->seen = (struct log_position){.epoch = 0};
    selection->had_server = true;
    selection->latest = connection->address;
    client->on_selected(client, true);
    if (connection->master)
        end_outage(client);
    if (is_first)
        report_found(client);
    else if (connection->master)
        report_back(client);
}

void server_selection_tick(struct client *client)
{
    if (has_become_foreign(client))
        leave(client, client->now_us);
    if (client->selection.state == SELECTION_CONNECTED) {
        close_others(client);
        return;
    }
    open_more(client);
    ask_all(client);
    struct connection *best = server_choice_best(client);
    if (best != NULL)
        select_server(client, best);
    if (client->selection.state != SELECTION_SEARCHING || !server_choice_is_waiting(client))
        report_lost(client);
}

enum error server_selection_start(struct client *client, struct error_text *why)
{
    struct server_selection *selection = &client->selection;
    selection->state = SELECTION_SEARCHING;
    selection->searching.since_us = client->now_us;
    selection->next_open_us = client->now_us + (uint64_t)CLIENT_STAGGER_MS * 1000;
    begin_outage(client);
    client->servers.next = client_random32(client) % client->servers.count;
    return connection_open(client, servers_next(&client->servers, connection_is_open, client),
                           &events, why);
}

void server_selection_stop(struct client *client)
{
    if (client->selection.state != SELECTION_SEARCHING)
        leave(client, client->now_us);
    while (client->connection_count > 0)
        connection_close(client->connections[0]);
}
