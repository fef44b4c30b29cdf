/* SPDX-License-Identifier: MIT */
#include "base/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool parse_port(const char *text, uint16_t *out)
{
    unsigned value = 0;
    if (*text == '\0' || strlen(text) > 5)
        return false;
    for (; *text != '\0'; text++) {
        if (!isdigit((unsigned char)*text))
            return false;
        value = value * 10 + (unsigned)(*text - '0');
    }
    if (value > UINT16_MAX)
        return false;
    *out = (uint16_t)value;
    return true;
}

static bool is_name_or_v4(const char *host)
{
    for (; *host != '\0'; host++)
        if (!isalnum((unsigned char)*host) && *host != '.' && *host != '-' && *host != '_')
            return false;
    return true;
}

static bool is_v6(const char *host)
{
    struct in6_addr ignored;
    return inet_pton(AF_INET6, host, &ignored) == 1;
}

/* Splits "host:port" or "[v6]:port" into its two parts. */
static bool split(const char *text, char host[static ADDRESS_HOST_SIZE], const char **port)
{
    const char *host_end;
    const char *host_start = text;
    if (*text == '[') {
        host_start = text + 1;
        host_end = strchr(text, ']');
        if (host_end == NULL || host_end[1] != ':')
            return false;
        *port = host_end + 2;
    } else {
        host_end = strrchr(text, ':');
        if (host_end == NULL)
            return false;
        *port = host_end + 1;
    }
    size_t length = (size_t)(host_end - host_start);
    if (length >= ADDRESS_HOST_SIZE)
        return false;
    memcpy(host, host_start, length);
    host[length] = '\0';
    return *text == '[' ? is_v6(host) : is_name_or_v4(host);
}

#define QUOTED_SIZE 201

/* Copies the refused text into a sentence without bytes that could drive a terminal. */
static void quote(const char *text, char quoted[static QUOTED_SIZE])
{
    size_t i = 0;
    for (; i < QUOTED_SIZE - 1 && text[i] != '\0'; i++)
        quoted[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    quoted[i] = '\0';
}

static enum error refuse(const char *text, struct error_text *why)
{
    char quoted[QUOTED_SIZE];
    quote(text, quoted);
    return error_set(why, ERROR_INVALID,
                     "\"%s\" is not an address: write host:port, :port or [v6]:port, "
                     "with a port from 0 to 65535",
                     quoted);
}

enum error address_parse(const char *text, struct address *out, struct error_text *why)
{
    struct address result = {.tls = false};
    const char *rest = text;
    const char *port = NULL;
    if (strncmp(rest, "tls+tcp://", 10) == 0) {
        result.tls = true;
        rest += 10;
    } else if (strncmp(rest, "tcp://", 6) == 0) {
        rest += 6;
    }
    if (!split(rest, result.host, &port) || !parse_port(port, &result.port))
        return refuse(text, why);
    *out = result;
    return OK;
}

static void format(const char *scheme, const char *host, uint16_t port,
                   char text[static ADDRESS_TEXT_SIZE])
{
    bool v6 = strchr(host, ':') != NULL;
    (void)snprintf(text, ADDRESS_TEXT_SIZE, "%s%s%s%s:%u", scheme, v6 ? "[" : "", host,
                   v6 ? "]" : "", (unsigned)port);
}

void address_format(const struct address *address, char text[static ADDRESS_TEXT_SIZE])
{
    format(address->tls ? "tls+tcp://" : "", address->host, address->port, text);
}

void address_listen_url(const struct address *address, char url[static ADDRESS_TEXT_SIZE])
{
    const char *host = address->host[0] == '\0' ? "::" : address->host;
    format(address->tls ? "tls+tcp://" : "tcp://", host, address->port, url);
}

void address_dial_url(const struct address *address, char url[static ADDRESS_TEXT_SIZE])
{
    const char *host = address->host[0] == '\0' ? "127.0.0.1" : address->host;
    format(address->tls ? "tls+tcp://" : "tcp://", host, address->port, url);
}

/* 4, 6 or 0 (a name); bytes: the address in network order, which compares numerically. */
static int family_of(const char *host, unsigned char bytes[static 16])
{
    if (inet_pton(AF_INET, host, bytes) == 1)
        return 4;
    if (inet_pton(AF_INET6, host, bytes) == 1)
        return 6;
    return 0;
}

static int compare_hosts(const char *left, const char *right)
{
    unsigned char left_bytes[16] = {0};
    unsigned char right_bytes[16] = {0};
    int left_family = family_of(left, left_bytes);
    int right_family = family_of(right, right_bytes);
    if (left_family != right_family) {
        int left_rank = left_family == 0 ? 7 : left_family;
        int right_rank = right_family == 0 ? 7 : right_family;
        return left_rank < right_rank ? -1 : 1;
    }
    if (left_family == 0)
        return strcasecmp(left, right);
    return memcmp(left_bytes, right_bytes, 16);
}

int address_compare(const struct address *left, const struct address *right)
{
    int hosts = compare_hosts(left->host, right->host);
    if (hosts != 0)
        return hosts;
    return (left->port > right->port) - (left->port < right->port);
}
