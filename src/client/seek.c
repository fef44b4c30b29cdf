/* SPDX-License-Identifier: MIT */
/* seek.c - finding the server to use, and telling the owner how that goes. */
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
 * master of a later reign. */

void seek_begin(struct client *client)
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
    const struct link *link = client->current;
    struct error_text text;
    client->told = false;
    (void)error_set(&text, OK, "connected to %s", link->text);
    tell(client, link->text, &text);
}

static void tell_back(struct client *client)
{
    const struct link *link = client->current;
    struct error_text text;
    client->told = false;
    if (link->server_id != 0)
        (void)error_set(&text, OK, "back, on server %llu (%s)", (unsigned long long)link->server_id,
                        link->text);
    else
        (void)error_set(&text, OK, "back, on %s", link->text);
    tell(client, link->text, &text);
}

static size_t count_answering(const struct client *client)
{
    size_t count = 0;
    for (size_t i = 0; i < client->link_count; i++)
        count += client->links[i]->connected && client->links[i]->answered;
    return count;
}

static void tell_when_lost(struct client *client)
{
    uint32_t quiet_ms = client->current == NULL ? CLIENT_QUIET_MS : CLIENT_QUIET_DOUBT_MS;
    if (client->told || (client->current != NULL && !client->doubting) ||
        !client_is_over(client, client->search_us, quiet_ms))
        return;
    client->told = true;
    client->told_no_reason = client->problem.text[0] == '\0';
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

static void count_gap(struct client *client, const struct link *old)
{
    uint64_t since_us = old == NULL ? client->seeking_us : client->silent_us;
    if (client->now_us - since_us > client->figures.longest_gap_us)
        client->figures.longest_gap_us = client->now_us - since_us;
}

static void take(struct client *client, struct link *link)
{
    bool first = !client->had_server;
    struct link *old = client->current;
    if (!first) {
        client->figures.reconnects++;
        client->figures.failovers += !servers_same(&client->latest, &link->address);
        count_gap(client, old);
    }
    client->current = NULL;
    if (old != NULL)
        link_close(old);
    client->current = link;
    client->doubting = false;
    client->hinted = false;
    if (link->epoch > client->highest_epoch)
        client->highest_epoch = link->epoch;
    client->had_server = true;
    client->latest = link->address;
    client->heard_us = client->now_us;
    client->heartbeat.due_us = client->now_us + (uint64_t)CLIENT_HEARTBEAT_MS * 1000;
    client->resend_us = client->now_us;
    session_is_new_to_server(client);
    stream_restart(client);
    if (link->master) {
        client->search_us = 0;
        client->problem.text[0] = '\0';
    }
    if (first)
        tell_found(client);
    else if (client->told && link->master)
        tell_back(client);
}

static bool is_hint(const struct client *client, const struct link *link)
{
    return client->hinted && servers_same(&client->hint, &link->address);
}

/* While doubting: whether it is certainly the better one. What is true of epochs may not be so for
 * ever (servers were set up anew from a copy), and then the doubt lasts. */
static bool is_better(const struct client *client, const struct link *link)
{
    if (!link->master)
        return false;
    if (client->now_us - client->search_us >= (uint64_t)CLIENT_ANSWER_MS * 1000)
        return true;
    if (is_hint(client, link) || !client->current->master || client->current->refused)
        return link->epoch >= client->highest_epoch;
    return link->epoch > client->highest_epoch;
}

bool seek_is_foreign(const struct client *client, const struct link *link)
{
    static const uint8_t none[CLIENT_CLUSTER_BYTES];
    const uint8_t *own = client->session.cluster;
    return client->session.active && memcmp(own, none, sizeof none) != 0 &&
           memcmp(link->cluster, none, sizeof none) != 0 &&
           memcmp(link->cluster, own, sizeof none) != 0;
}

/* Whether every known server answers and belongs to another cluster than the session: no server of the
 * session's cluster may come back. A state file names its cluster, and is for no other. */
static bool are_all_foreign(const struct client *client)
{
    size_t count = 0;
    if (client->persist.file != NULL)
        return false;
    for (size_t i = 0; i < client->link_count; i++) {
        const struct link *link = client->links[i];
        count += link->connected && link->answered && seek_is_foreign(client, link);
    }
    return count == client->servers.count;
}

/* A server that knows fewer servers than the user named may be a cluster founded by mistake: the client
 * waits for the other servers. With a session, the id of the cluster decides instead. */
static bool may_be_lone(struct client *client, const struct link *link)
{
    size_t given = 0;
    for (size_t i = 0; i < client->servers.count; i++)
        given += client->servers.items[i].given;
    return !client->session.active && link->servers_count > 0 && link->servers_count < given &&
           !client_is_over(client, client->first_answer_us, CLIENT_LONE_MS);
}

/* Whether a server is there and only CLIENT_LONE_MS keep it from being taken. */
static bool has_lone(struct client *client)
{
    for (size_t i = 0; i < client->link_count; i++)
        if (client->links[i]->connected && client->links[i]->answered &&
            may_be_lone(client, client->links[i]))
            return true;
    return false;
}

static bool is_preferred(const struct link *link, const struct link *to)
{
    if (to == NULL || link->master != to->master)
        return to == NULL || link->master;
    return link->servers_count > to->servers_count;
}

static struct link *choose(struct client *client)
{
    struct link *best = NULL;
    struct link *second = NULL;
    for (size_t i = 0; i < client->link_count; i++) {
        struct link *link = client->links[i];
        if (!link->connected || !link->answered || link == client->current ||
            (seek_is_foreign(client, link) && !are_all_foreign(client)) ||
            may_be_lone(client, link))
            continue;
        if ((client->current != NULL ? is_better(client, link)
                                     : link->master && link->epoch >= client->highest_epoch) &&
            is_preferred(link, best))
            best = link;
        if (is_preferred(link, second))
            second = link;
    }
    if (best != NULL)
        return best;
    if (client->current != NULL || second == NULL)
        return NULL;
    /* No master: a server that is alone, or one that carries requests to it, or none for now. */
    bool settled = client->servers.count == 1 ||
                   client_is_over(client, client->first_answer_us, CLIENT_SETTLE_MS);
    return settled ? second : NULL;
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
    if (oldest != NULL && client_is_over(client, oldest->opened_us, CLIENT_CONNECT_MS))
        link_close(oldest);
}

/* The next to open a connection to; NULL: all have one. */
static const struct address *next_address(struct client *client)
{
    if (client->hinted && !link_is_open(client, &client->hint))
        return &client->hint;
    return servers_next(&client->servers, link_is_open, client);
}

/* At first one after the other, as the first is likely to do; later, when time counts, all at once. */
static void open_more(struct client *client)
{
    for (;;) {
        make_place(client);
        if (client->link_count == CLIENT_LINKS_MAX)
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
        if (link_open(client, address, &why) != OK) {
            client->problem = why;
            pause_ms = CLIENT_OPEN_AGAIN_MS;
        }
        client->open_next_us = client->now_us + (uint64_t)pause_ms * 1000;
    }
}

/* One name may be that of several servers: after one that is not the master the next address is asked.
 * The server in use is left only when the search has lasted for long. */
static bool may_be_of_another(const struct client *client, const struct link *link)
{
    if (!link->answered || link->master || rpc_channel_addresses(link->channel) < 2)
        return false;
    return link != client->current || (link->refused && client->now_us - client->search_us >=
                                                            (uint64_t)CLIENT_SETTLE_MS * 1000);
}

/* The one in use is asked, too, where it refused: it may become master itself. A silent one gets
 * enough requests. */
static void ask_all(struct client *client)
{
    for (size_t i = 0; i < client->link_count; i++) {
        struct link *link = client->links[i];
        if (!link->connected || link->asking || (link == client->current && link->master))
            continue;
        if (client->now_us >= link->ask_at_us && may_be_of_another(client, link))
            rpc_channel_reconnect(link->channel);
        else if (client->now_us >= link->ask_at_us)
            link_ask(link);
        else
            client_wake_at(client, link->ask_at_us);
    }
}

void seek_tick(struct client *client)
{
    if (client->current != NULL && !client->doubting) {
        link_close_others(client);
        return;
    }
    open_more(client);
    ask_all(client);
    struct link *link = choose(client);
    if (link != NULL)
        take(client, link);
    if (client->current != NULL || !has_lone(client))
        tell_when_lost(client);
}

enum error seek_start(struct client *client, struct error_text *why)
{
    client->seeking_us = client->now_us;
    seek_begin(client);
    client->open_next_us = client->now_us + (uint64_t)CLIENT_STAGGER_MS * 1000;
    return link_open(client, servers_next(&client->servers, link_is_open, client), why);
}

/* ---- trust and doubt ---- */

void link_trust(struct client *client)
{
    client->heard_us = client->now_us;
    client->current->refused = false;
    client->doubting = false;
    client->search_us = 0;
    client->problem.text[0] = '\0';
    if (client->told)
        tell_back(client);
}

void link_reigns(struct client *client)
{
    link_trust(client);
    client->resend_us = client->now_us;
    stream_hurry(client);
    client->wake_us = 0;
}

void link_begin_doubt(struct client *client, uint64_t since_us)
{
    if (client->doubting)
        return;
    client->silent_us = since_us;
    client->open_next_us = client->now_us;
    client->wake_us = 0;
    client->doubting = true;
    seek_begin(client);
}

/* A hint is followed at once, however often that server was asked before. */
static void follow_hint(struct client *client, const char *master)
{
    struct link *current = client->current;
    struct address before = client->hint;
    bool had = client->hinted;
    client->hinted = servers_learn(&client->servers, master, &current->address, &client->hint) &&
                     !servers_same(&client->hint, &current->address);
    if (!client->hinted || (had && servers_same(&before, &client->hint)))
        return;
    for (size_t i = 0; i < client->link_count; i++)
        if (is_hint(client, client->links[i]))
            client->links[i]->ask_at_us = 0;
}

void link_doubt(struct client *client, const struct rpc_result *why)
{
    struct link *current = client->current;
    if (current == NULL)
        return;
    current->refused = true;
    if (client->servers.count > 1)
        (void)error_set(&client->problem, OK, "no server is in charge right now");
    else
        (void)error_set(&client->problem, OK, "%s: %s", current->text, why->message);
    if (*why->master != '\0')
        follow_hint(client, why->master);
    client->session.confirmed = false;
    link_begin_doubt(client, client->now_us);
}
