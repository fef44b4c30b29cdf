/* SPDX-License-Identifier: MIT */
#include "cluster/advertise.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Addresses that are nobody's (RFC 5737, RFC 3849): the way to them is the way to the world. */
#define THE_WORLD_IPV4 "192.0.2.1"
#define THE_WORLD_IPV6 "2001:db8::1"
#define LOOPBACK "127.0.0.1"

/* ---- what the kernel knows ---- */

static bool write_host(const struct sockaddr *address, socklen_t size,
                       char host[static ADDRESS_HOST_SIZE])
{
    return getnameinfo(address, size, host, ADDRESS_HOST_SIZE, NULL, 0, NI_NUMERICHOST) == 0 &&
           strchr(host, '%') == NULL; /* link-local: means nothing elsewhere */
}

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
                    write_host((struct sockaddr *)&own, size, host);
    (void)close(descriptor);
    return is_found;
}

/* family: AF_INET, AF_INET6, or AF_UNSPEC for either. An address that is not on loopback is preferred. */
static bool find_own_towards(const char *target, int family, char host[static ADDRESS_HOST_SIZE])
{
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *found = NULL;
    const char *name = target[0] == '\0' ? LOOPBACK : target; /* as it is dialled */
    if (getaddrinfo(name, "9", &hints, &found) != 0)
        return false;
    bool is_found = false;
    for (const struct addrinfo *each = found; each != NULL; each = each->ai_next) {
        char own[ADDRESS_HOST_SIZE];
        if (!find_own(each, own) || (is_found && advertise_is_loopback(own)))
            continue;
        (void)snprintf(host, ADDRESS_HOST_SIZE, "%s", own);
        is_found = true;
        if (!advertise_is_loopback(own))
            break;
    }
    freeaddrinfo(found);
    return is_found;
}

static bool is_global(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        uint32_t bits = ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr);
        return bits >> 24 != 127 && bits >> 16 != 0xA9FE; /* link-local (RFC 3927) */
    }
    const struct in6_addr *bytes = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return !IN6_IS_ADDR_LINKLOCAL(bytes) && !IN6_IS_ADDR_LOOPBACK(bytes) &&
           !IN6_IS_ADDR_MULTICAST(bytes);
}

bool advertise_interface(const struct ifaddrs *list, int family,
                         char host[static ADDRESS_HOST_SIZE])
{
    socklen_t size = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    for (const struct ifaddrs *each = list; each != NULL; each = each->ifa_next) {
        bool is_usable = each->ifa_addr != NULL && each->ifa_addr->sa_family == family &&
                         (each->ifa_flags & IFF_UP) != 0 && (each->ifa_flags & IFF_LOOPBACK) == 0 &&
                         is_global(each->ifa_addr);
        if (is_usable && write_host(each->ifa_addr, size, host))
            return true;
    }
    return false;
}

bool advertise_is_loopback(const char *host)
{
    struct in_addr ipv4;
    struct in6_addr ipv6;
    if (inet_pton(AF_INET, host, &ipv4) == 1)
        return ntohl(ipv4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &ipv6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&ipv6) != 0;
    return strcmp(host, "localhost") == 0;
}

/* ---- the choice ---- */

static bool find_towards_members(const struct cluster_settings *settings, int family,
                                 char host[static ADDRESS_HOST_SIZE])
{
    bool is_found = false;
    for (size_t i = 0; i < settings->masters.count; i++) {
        char own[ADDRESS_HOST_SIZE];
        if (!find_own_towards(settings->masters.items[i].host, family, own) ||
            (is_found && advertise_is_loopback(own)))
            continue;
        (void)snprintf(host, ADDRESS_HOST_SIZE, "%s", own);
        is_found = true;
        if (!advertise_is_loopback(own))
            return true;
    }
    return is_found;
}

static bool find_of_family(const struct ifaddrs *list, int family,
                           char host[static ADDRESS_HOST_SIZE])
{
    const char *world = family == AF_INET ? THE_WORLD_IPV4 : THE_WORLD_IPV6;
    return (find_own_towards(world, family, host) && !advertise_is_loopback(host)) ||
           advertise_interface(list, family, host);
}

void advertise_find(const struct cluster_settings *settings, struct advertise_hosts *out)
{
    *out = (struct advertise_hosts){.is_given = settings->advertise_host != NULL};
    if (out->is_given) {
        (void)snprintf(out->any, sizeof out->any, "%s", settings->advertise_host);
        memcpy(out->ipv4, out->any, sizeof out->ipv4);
        return;
    }
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0)
        list = NULL;
    if (!find_towards_members(settings, AF_INET, out->ipv4) &&
        !find_of_family(list, AF_INET, out->ipv4))
        (void)snprintf(out->ipv4, sizeof out->ipv4, "%s", LOOPBACK);
    if (!find_towards_members(settings, AF_UNSPEC, out->any) &&
        !find_of_family(list, AF_INET, out->any) && !find_of_family(list, AF_INET6, out->any))
        (void)snprintf(out->any, sizeof out->any, "%s", LOOPBACK);
    if (list != NULL)
        freeifaddrs(list);
}

/* NULL: the address names its host. */
static const char *host_for(const struct advertise_hosts *hosts, const struct address *bound)
{
    if (strcmp(bound->host, "0.0.0.0") == 0)
        return hosts->ipv4;
    return bound->host[0] == '\0' || strcmp(bound->host, "::") == 0 ? hosts->any : NULL;
}

static void write_with(const char *host, const struct address *bound,
                       char text[static ADDRESS_TEXT_SIZE])
{
    struct address told = *bound;
    if (host != NULL)
        (void)snprintf(told.host, sizeof told.host, "%s", host);
    address_format(&told, text);
}

void advertise_to_clients(const struct advertise_hosts *hosts, const struct address *bound,
                          char text[static ADDRESS_TEXT_SIZE])
{
    write_with(hosts->is_given ? hosts->any : host_for(hosts, bound), bound, text);
}

void advertise_to_servers(const struct advertise_hosts *hosts, const struct address *bound,
                          char text[static ADDRESS_TEXT_SIZE])
{
    write_with(host_for(hosts, bound), bound, text);
}

bool advertise_hides(const struct advertise_hosts *hosts, const struct address *bound)
{
    const char *host = hosts->is_given ? NULL : host_for(hosts, bound);
    return host != NULL && advertise_is_loopback(host);
}
