/* SPDX-License-Identifier: MIT */
#include "server/advertise.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* An address that is nobody's (RFC 5737): the way to it is the way to the world. */
#define THE_WORLD "192.0.2.1"

/* Connecting a datagram socket sends nothing, but binds it to the address that would be used. */
static bool find_own(const struct addrinfo *target, char host[static ADDRESS_HOST_SIZE])
{
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    int descriptor = socket(target->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return false;
    bool is_found = connect(descriptor, target->ai_addr, target->ai_addrlen) == 0 &&
                    getsockname(descriptor, (struct sockaddr *)&own, &size) == 0 &&
                    getnameinfo((struct sockaddr *)&own, size, host, ADDRESS_HOST_SIZE, NULL, 0,
                                NI_NUMERICHOST) == 0;
    (void)close(descriptor);
    return is_found && strchr(host, '%') == NULL; /* link-local: means nothing elsewhere */
}

static bool find_own_towards(const char *target, char host[static ADDRESS_HOST_SIZE])
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *found = NULL;
    const char *name = target[0] == '\0' ? "127.0.0.1" : target; /* as it is dialled */
    if (getaddrinfo(name, "9", &hints, &found) != 0)
        return false;
    bool is_found = false;
    for (const struct addrinfo *each = found; each != NULL && !is_found; each = each->ai_next)
        is_found = find_own(each, host);
    freeaddrinfo(found);
    return is_found;
}

void advertise_host(const struct server_options *options, char host[static ADDRESS_HOST_SIZE])
{
    if (options->advertise_host != NULL) {
        (void)snprintf(host, ADDRESS_HOST_SIZE, "%s", options->advertise_host);
        return;
    }
    for (size_t i = 0; i < options->masters.count; i++)
        if (find_own_towards(options->masters.items[i].host, host))
            return;
    if (!find_own_towards(THE_WORLD, host))
        (void)snprintf(host, ADDRESS_HOST_SIZE, "127.0.0.1");
}

static bool is_open(const char *host)
{
    return host[0] == '\0' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

void advertise_to_clients(const struct server_options *options, const struct address *bound,
                          const char *host, char text[static ADDRESS_TEXT_SIZE])
{
    struct address told = *bound;
    if (options->advertise_host != NULL || is_open(told.host))
        (void)snprintf(told.host, sizeof told.host, "%s", host);
    address_format(&told, text);
}

void advertise_to_servers(const struct address *bound, const char *host,
                          char text[static ADDRESS_TEXT_SIZE])
{
    struct address told = *bound;
    if (is_open(told.host))
        (void)snprintf(told.host, sizeof told.host, "%s", host);
    address_format(&told, text);
}
