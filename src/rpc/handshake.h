/* SPDX-License-Identifier: MIT */
/* handshake.h - why a connection ends before its first frame: in the TLS handshake, or because the
 * peer speaks another protocol. nng reports such an end to nobody on the accepting side, and as a
 * general error on the dialling side. Private to src/rpc. */
#ifndef JACKDAW_RPC_HANDSHAKE_H
#define JACKDAW_RPC_HANDSHAKE_H

#include "base/address.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum handshake_problem {
    HANDSHAKE_OK,
    HANDSHAKE_OTHER_AUTHORITY, /* the dialler does not trust who signed the certificate */
    HANDSHAKE_OTHER_HOST,      /* the certificate is for another name */
    HANDSHAKE_EXPIRED,
    HANDSHAKE_NOT_YET_VALID,
    HANDSHAKE_NO_COMMON_VERSION, /* one end does not offer TLS 1.3 */
    HANDSHAKE_PEER_IS_PLAIN,     /* this end uses TLS, the peer does not */
    HANDSHAKE_PEER_USES_TLS,     /* and the reverse */
    HANDSHAKE_OTHER_PROGRAM,     /* the peer speaks neither TLS nor this protocol */
    HANDSHAKE_TLS_FAILED,        /* anything else; tls_error tells */
    HANDSHAKE_PROBLEMS
};

/* A failed handshake: its peer and its reason. */
struct handshake_failure {
    enum handshake_problem problem;
    int tls_error;                /* Mbed TLS's code; for HANDSHAKE_TLS_FAILED */
    struct sockaddr_storage peer; /* ss_family AF_UNSPEC: unknown */
};

/* Writes a sentence without its end, which follows "ADDRESS: " on the dialling side. */
#define HANDSHAKE_TEXT_SIZE 192
void handshake_dial_text(const struct handshake_failure *failure,
                         char text[static HANDSHAKE_TEXT_SIZE]);

/* The same for the log of the accepting side. */
void handshake_accept_text(const struct handshake_failure *failure,
                           char text[static HANDSHAKE_TEXT_SIZE]);

/* Called on one of nng's threads, with locks of nng and of this file held: hand it on and return,
 * without calling nng or this file. */
typedef void handshake_failed(void *context, const struct handshake_failure *failure);

/* ---- plain connections ---- */

/* Embedded in the struct of a listener or dialer without TLS; not to be moved while it watches. */
struct handshake_watch {
    bool listens;                  /* on address.port; false: dials address */
    const struct address *address; /* borrowed */
    void *context;
    handshake_failed *failed;
    struct handshake_watch *next;
};

/* From here on, until handshake_forget has returned, failed is called for peers that send something
 * else than a header of this protocol. Any thread. */
void handshake_watch(struct handshake_watch *watch);
void handshake_forget(struct handshake_watch *watch); /* also of one that does not watch */

/* ---- connections with TLS ---- */

#define SP_HEADER_BYTES 8 /* of nng's TCP transport, and of the length before each message */

/* The descriptor that nng has read from last on this thread, since the latest call; -1: none. */
int handshake_take_descriptor(void);

/* Logs a failure on the accepting side, at the pace of base/log_pace.h for each host, port and reason.
 * port: where the peer connected to. Any thread. */
void handshake_log(uint16_t port, const struct handshake_failure *failure);

#endif
