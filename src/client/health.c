/* SPDX-License-Identifier: MIT */
/* health.c - noticing that the server in use has fallen silent. */
#include "client/client_internal.h"

#define SUSPECT_FACTOR 4 /* times the longest recent answer */

/* When the call under way for longest was made, slow ones apart; UINT64_MAX: none is. */
static uint64_t oldest_call_us(const struct client *client, bool slow)
{
    uint64_t oldest_us = UINT64_MAX;
    size_t left = client->under_way;
    for (const struct request *request = client->requests; left > 0; request = request->next) {
        if (request->state != REQUEST_UNDER_WAY)
            continue;
        left--;
        if (call_kind_of(request->asked.call)->slow == slow && request->sent_us < oldest_us)
            oldest_us = request->sent_us;
    }
    if (slow)
        return oldest_us;
    if (client->heartbeat.under_way && client->heartbeat.sent_us < oldest_us)
        oldest_us = client->heartbeat.sent_us;
    if (client->selection.current->asking && client->selection.current->asked_us < oldest_us)
        oldest_us = client->selection.current->asked_us;
    return oldest_us;
}

/* A call that may take long says nothing about the server's health; Info does. */
static void probe(struct client *client, uint64_t slow_since_us)
{
    uint64_t quiet_us = slow_since_us > client->selection.connected.last_seen_us
                            ? slow_since_us
                            : client->selection.connected.last_seen_us;
    if (client_is_over(client, quiet_us, CLIENT_PROBE_MS))
        connection_ask(client->selection.current);
}

static void probe_when_idle(struct client *client)
{
    bool active = client->now_us - client->active_us < (uint64_t)CLIENT_ACTIVE_MS * 1000;
    if (client_is_over(client, client->selection.connected.last_seen_us,
                       active ? CLIENT_PROBE_ACTIVE_MS : CLIENT_PROBE_MS))
        connection_ask(client->selection.current);
}

/* Asking the others costs connections, which an overloaded cluster lacks. So slow answers make the client
 * wait longer. */
static uint32_t suspect_ms(const struct client *client)
{
    uint64_t answer_us = client->selection.connected.answer_us;
    uint64_t limit_ms = answer_us * SUSPECT_FACTOR / 1000;
    if (answer_us == 0 || limit_ms > CLIENT_SUSPECT_MS)
        return CLIENT_SUSPECT_MS;
    return limit_ms < CLIENT_SUSPECT_MIN_MS ? CLIENT_SUSPECT_MIN_MS : (uint32_t)limit_ms;
}

void health_check(struct client *client)
{
    if (client->selection.state == SELECTION_SEARCHING)
        return;
    /* A client that only reads must detect a silent server, too. */
    if (client->servers.count > 1)
        probe_when_idle(client);
    uint64_t slow_us = oldest_call_us(client, true);
    if (slow_us != UINT64_MAX)
        probe(client, slow_us);
    uint64_t oldest_us = oldest_call_us(client, false);
    if (oldest_us == UINT64_MAX)
        return;
    /* A single answer that was lost is the deadline's business; silence is ours. */
    uint64_t quiet_us = oldest_us > client->selection.connected.last_seen_us
                            ? oldest_us
                            : client->selection.connected.last_seen_us;
    if (client_is_over(client, quiet_us, CLIENT_ANSWER_MS)) {
        server_selection_leave(client);
        return;
    }
    if (client->selection.state == SELECTION_CONNECTED && client->servers.count > 1 &&
        client_is_over(client, quiet_us, suspect_ms(client))) {
        server_selection_suspect(client, quiet_us);
    }
}
