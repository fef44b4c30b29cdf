/* SPDX-License-Identifier: MIT */
#include "client/client_internal.h"

static void report(struct client *client, const char *server, const struct error_text *text)
{
    if (client->observer.status != NULL)
        client->observer.status(client->context, server, text->text);
}

void report_found(struct client *client)
{
    const struct connection *connection = client->selection.current;
    struct error_text text;
    client->reported_lost = false;
    (void)error_set(&text, OK, "connected to %s", connection->text);
    report(client, connection->text, &text);
}

void report_back(struct client *client)
{
    const struct connection *connection = client->selection.current;
    struct error_text text;
    if (!client->reported_lost)
        return;
    client->reported_lost = false;
    if (connection->server_id != 0)
        (void)error_set(&text, OK, "back, on server %llu (%s)",
                        (unsigned long long)connection->server_id, connection->text);
    else
        (void)error_set(&text, OK, "back, on %s", connection->text);
    report(client, connection->text, &text);
}

void report_new_reason(struct client *client)
{
    if (client->reported_no_reason)
        client->reported_lost = false;
}

static size_t count_answering(const struct client *client)
{
    size_t count = 0;
    for (size_t i = 0; i < client->connection_count; i++)
        count += client->connections[i]->connected && client->connections[i]->answered;
    return count;
}

void report_lost(struct client *client)
{
    const struct server_selection *selection = &client->selection;
    uint32_t quiet_ms =
        selection->state == SELECTION_SEARCHING ? CLIENT_QUIET_MS : CLIENT_QUIET_SUSPECT_MS;
    if (client->reported_lost || selection->state == SELECTION_CONNECTED ||
        !client_is_over(client, selection->outage_us, quiet_ms))
        return;
    client->reported_lost = true;
    client->reported_no_reason = selection->problem.text[0] == '\0';
    struct error_text text;
    char first[ADDRESS_TEXT_SIZE];
    address_format(&client->servers.items[0].address, first);
    if (selection->problem.text[0] != '\0')
        (void)error_set(&text, OK, "%s; trying %s", selection->problem.text,
                        client->servers.count == 1 ? "again" : "other servers");
    else if (client->servers.count == 1)
        (void)error_set(&text, OK, "%s does not answer; trying again", first);
    else if (count_answering(client) > 0)
        (void)error_set(&text, OK, "no server is the master now, %zu of %zu answer; trying again",
                        count_answering(client), client->servers.count);
    else
        (void)error_set(&text, OK, "none of %zu servers answers; trying again",
                        client->servers.count);
    report(client, NULL, &text);
}
