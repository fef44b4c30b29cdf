/* SPDX-License-Identifier: MIT */
#include "client/servers.h"

#include <stdlib.h>
#include <string.h>

bool servers_same(const struct address *left, const struct address *right)
{
    return left->tls == right->tls && address_compare(left, right) == 0;
}

static struct server *find(struct servers *servers, const struct address *address)
{
    for (size_t i = 0; i < servers->count; i++)
        if (servers_same(&servers->items[i].address, address))
            return &servers->items[i];
    return NULL;
}

static struct server *append(struct servers *servers, const struct address *address)
{
    struct server *items = realloc(servers->items, (servers->count + 1) * sizeof *items);
    if (items == NULL)
        return NULL;
    servers->items = items;
    items[servers->count] = (struct server){.address = *address};
    return &items[servers->count++];
}

enum error servers_give(struct servers *servers, const struct address *address)
{
    struct server *server = find(servers, address);
    if (server == NULL)
        server = append(servers, address);
    if (server == NULL)
        return ERROR_NO_MEMORY;
    server->given = true;
    return OK;
}

/* A place for one more learned address: a new one, or that of the longest unheard. */
static struct server *place_for(struct servers *servers, const struct address *address)
{
    struct server *oldest = NULL;
    size_t learned = 0;
    for (size_t i = 0; i < servers->count; i++) {
        struct server *server = &servers->items[i];
        if (server->given)
            continue;
        learned++;
        if (oldest == NULL || server->learned < oldest->learned)
            oldest = server;
    }
    if (learned < SERVERS_LEARNED_MAX)
        return append(servers, address);
    oldest->address = *address;
    return oldest;
}

bool servers_learn(struct servers *servers, const char *text, const struct address *teller,
                   struct address *out)
{
    struct address address;
    if (address_parse(text, &address, NULL) != OK || address.port == 0)
        return false;
    if (address.host[0] == '\0')
        memcpy(address.host, teller->host, sizeof address.host);
    if (servers->tls_only)
        address.tls = true;
    struct server *server = find(servers, &address);
    if (server == NULL)
        server = place_for(servers, &address);
    if (server == NULL)
        return false;
    server->learned = ++servers->tellings;
    if (out != NULL)
        *out = address;
    return true;
}

const struct address *servers_next(struct servers *servers,
                                   bool (*is_taken)(void *context, const struct address *address),
                                   void *context)
{
    for (size_t i = 0; i < servers->count; i++) {
        struct server *server = &servers->items[servers->next++ % servers->count];
        if (!is_taken(context, &server->address))
            return &server->address;
    }
    return NULL;
}

void servers_release(struct servers *servers)
{
    free(servers->items);
    memset(servers, 0, sizeof *servers);
}
