/* SPDX-License-Identifier: MIT */
/* servers.h - the addresses that a client knows. Addresses from the options stay for ever. If there
 * are too many learned from servers, the one that has been silent for longest is dropped. Pure. */
#ifndef JACKDAW_CLIENT_SERVERS_H
#define JACKDAW_CLIENT_SERVERS_H

#include "base/address.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define SERVERS_LEARNED_MAX 32 /* beside those given */

struct server {
    struct address address;
    bool given;
    unsigned long learned; /* when it was last told of, as a count of tellings */
};

struct servers {
    struct server *items;
    size_t count;
    size_t next; /* whose turn it is in servers_next */
    unsigned long tellings;
    bool tls_only; /* learned addresses are used with TLS even where they do not say so */
};

/* Whether both are the same place: host, port and whether TLS is spoken. */
bool servers_same(const struct address *left, const struct address *right);

/* Adds an address that the user gave. ERROR_NO_MEMORY. */
enum error servers_give(struct servers *servers, const struct address *address);

/* Adds, or refreshes, what a server told in text form; an empty host is completed with that of
 * `teller`. false: the text is no address, and the call has no effect. *out (NULL is allowed): the
 * address in use. */
bool servers_learn(struct servers *servers, const char *text, const struct address *teller,
                   struct address *out);

/* The next address in turn for which is_taken is false; NULL when there is none. The pointer is
 * valid until the next change. */
const struct address *servers_next(struct servers *servers,
                                   bool (*is_taken)(void *context, const struct address *address),
                                   void *context);

void servers_release(struct servers *servers);

#endif
