/* SPDX-License-Identifier: MIT */
/* address.h - where a server listens or is dialled: `host:port`, `:port` (every interface),
 * `[v6]:port`, each optionally behind `tcp://` or `tls+tcp://`. Pure text handling, any thread. */
#ifndef JACKDAW_BASE_ADDRESS_H
#define JACKDAW_BASE_ADDRESS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define ADDRESS_HOST_SIZE 256                      /* a DNS name has at most 253 characters */
#define ADDRESS_TEXT_SIZE (ADDRESS_HOST_SIZE + 24) /* scheme, brackets, colon, port, NUL */

struct address {
    char host[ADDRESS_HOST_SIZE]; /* without brackets; "" means every interface */
    uint16_t port;                /* 0: the kernel picks one (listening only) */
    bool tls;
};

/* Reads text. ERROR_INVALID with a sentence in why (NULL is allowed) that names the text and the
 * accepted forms; *out is then unchanged. */
enum error address_parse(const char *text, struct address *out, struct error_text *why);

/* Writes "host:port", "[v6]:port" or ":port", with "tls+tcp://" in front where tls is set. */
void address_format(const struct address *address, char text[static ADDRESS_TEXT_SIZE]);

/* Writes the URL that the transport takes: "tcp://host:port"; an empty host becomes
 * "[::]" to listen, which on Linux takes IPv4, too, and "127.0.0.1" to dial. */
void address_listen_url(const struct address *address, char url[static ADDRESS_TEXT_SIZE]);
void address_dial_url(const struct address *address, char url[static ADDRESS_TEXT_SIZE]);

/* Orders by host, numerically where both hosts are IP addresses (v4 before v6 before names,
 * names by letter, case ignored), then by port: 9 comes before 10. tls does not count. Less than,
 * equal to or greater than 0. */
int address_compare(const struct address *left, const struct address *right);

#endif
