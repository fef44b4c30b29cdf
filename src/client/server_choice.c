/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

#include <string.h>

/* ---- servers of another cluster ---- */

bool server_choice_is_foreign(const struct client *client, const struct connection *connection)
{
    static const uint8_t none[CLIENT_CLUSTER_BYTES];
    const uint8_t *own = client->session.cluster;
    return client->session.active && memcmp(own, none, sizeof none) != 0 &&
           memcmp(connection->cluster, none, sizeof none) != 0 &&
           memcmp(connection->cluster, own, sizeof none) != 0;
}

/* Returns whether every known server answers, and all are of that kind. */
static bool are_all(const struct client *client,
                    bool (*is_of_kind)(const struct client *client,
                                       const struct connection *connection))
{
    size_t count = 0;
    for (size_t i = 0; i < client->connection_count; i++) {
        const struct connection *connection = client->connections[i];
        count += connection->connected && connection->answered && is_of_kind(client, connection);
    }
    return count == client->servers.count;
}

/* Returns whether no server of the session's cluster may come back. A state file is for its own cluster
 * only. */
static bool are_all_foreign(const struct client *client)
{
    return client->persist.file == NULL && are_all(client, server_choice_is_foreign);
}

/* ---- servers that lack what the session has seen ---- */

static bool is_of_the_past(const struct client *client, const struct connection *connection)
{
    return client->session.active && connection->epoch < client->seen.epoch &&
           !server_choice_is_foreign(client, connection);
}

/* A server that has just started says epoch 0, until it knows what is committed. */
static bool has_gone_back(const struct client *client, const struct connection *connection)
{
    return connection->epoch != 0 && is_of_the_past(client, connection);
}

/* Returns whether the session would go back in time there. If all servers have gone back, they were set up
 * anew from a copy. The client assumes the same if no server of a later epoch comes for a long time. */
static bool would_go_back(struct client *client, const struct connection *connection)
{
    return is_of_the_past(client, connection) && !are_all(client, has_gone_back) &&
           !client_is_over(client, client->selection.outage_us, CLIENT_GO_BACK_MS);
}

/* ---- servers that may be alone ---- */

/* A server that knows fewer servers than the user named may be a cluster founded by mistake: the client
 * waits for the other servers. With a session, the id of the cluster decides instead. */
static bool may_be_alone(struct client *client, const struct connection *connection)
{
    size_t given = 0;
    if (client->selection.state != SELECTION_SEARCHING || client->session.active)
        return false;
    for (size_t i = 0; i < client->servers.count; i++)
        given += client->servers.items[i].given;
    return connection->servers_count > 0 && connection->servers_count < given &&
           !client_is_over(client, client->selection.searching.first_answer_us, CLIENT_LONE_MS);
}

bool server_choice_is_waiting(struct client *client)
{
    for (size_t i = 0; i < client->connection_count; i++)
        if (client->connections[i]->connected && client->connections[i]->answered &&
            may_be_alone(client, client->connections[i]))
            return true;
    return false;
}

/* ---- the best one ---- */

bool server_choice_is_redirect(const struct client *client, const struct connection *connection)
{
    const struct server_selection *selection = &client->selection;
    return selection->has_redirect && servers_same(&selection->redirect, &connection->address);
}

/* PROBING: returns whether the server is certainly better than the one in use. After CLIENT_ANSWER_MS
 * epochs do not count: if the servers were set up anew from a copy, their epochs may be lower. */
static bool is_better(const struct client *client, const struct connection *connection)
{
    const struct server_selection *selection = &client->selection;
    if (!connection->master)
        return false;
    if (client->now_us - selection->outage_us >= (uint64_t)CLIENT_ANSWER_MS * 1000)
        return true;
    if (server_choice_is_redirect(client, connection) || !selection->current->master ||
        selection->current->forwards || selection->probing.refused)
        return connection->epoch >= client->highest_epoch;
    return connection->epoch > client->highest_epoch;
}

static bool is_preferred(const struct connection *connection, const struct connection *to)
{
    if (to == NULL || connection->master != to->master)
        return to == NULL || connection->master;
    return connection->servers_count > to->servers_count;
}

static bool is_candidate(struct client *client, const struct connection *connection)
{
    return connection->connected && connection->answered &&
           connection != client->selection.current &&
           (!server_choice_is_foreign(client, connection) || are_all_foreign(client)) &&
           !would_go_back(client, connection) && !may_be_alone(client, connection);
}

struct connection *server_choice_best(struct client *client)
{
    const struct server_selection *selection = &client->selection;
    bool is_searching = selection->state == SELECTION_SEARCHING;
    struct connection *master = NULL;
    struct connection *any = NULL;
    for (size_t i = 0; i < client->connection_count; i++) {
        struct connection *connection = client->connections[i];
        if (!is_candidate(client, connection))
            continue;
        if ((is_searching ? connection->master && connection->epoch >= client->highest_epoch
                          : is_better(client, connection)) &&
            is_preferred(connection, master))
            master = connection;
        if (is_preferred(connection, any))
            any = connection;
    }
    if (master != NULL || !is_searching || any == NULL)
        return master;
    bool may_be_any =
        client->servers.count == 1 ||
        client_is_over(client, selection->searching.first_answer_us, CLIENT_ANY_SERVER_MS);
    return may_be_any ? any : NULL;
}
