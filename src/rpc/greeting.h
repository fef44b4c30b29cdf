/* SPDX-License-Identifier: MIT */
/* greeting.h - why a connection ends before its first frame: in the TLS handshake, or because the
 * peer speaks another protocol. nng reports such an end to nobody on the accepting side, and as a
 * general error on the dialling side. Private to src/rpc. */
#ifndef JACKDAW_RPC_GREETING_H
#define JACKDAW_RPC_GREETING_H

#include "base/address.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum greeting_problem {
    GREETING_OK,
    GREETING_OTHER_AUTHORITY, /* the dialler does not trust who signed the certificate */
    GREETING_OTHER_HOST,      /* the certificate is for another name */
    GREETING_EXPIRED,
    GREETING_NOT_YET_VALID,
    GREETING_NO_COMMON_VERSION, /* one end does not offer TLS 1.3 */
    GREETING_PEER_IS_PLAIN,     /* this end uses TLS, the peer does not */
    GREETING_PEER_USES_TLS,     /* and the reverse */
    GREETING_OTHER_PROGRAM,     /* the peer speaks neither TLS nor this protocol */
    GREETING_TLS_FAILED,        /* anything else; tls_error tells */
    GREETING_PROBLEMS
};

/* What went wrong, and with whom. */
struct greeting_failure {
    enum greeting_problem problem;
    int tls_error;                /* Mbed TLS's code; for GREETING_TLS_FAILED */
    struct sockaddr_storage peer; /* ss_family AF_UNSPEC: unknown */
};

/* Writes a sentence without its end, which follows "ADDRESS: " on the dialling side. */
#define GREETING_TEXT_SIZE 192
void greeting_dial_text(const struct greeting_failure *failure,
                        char text[static GREETING_TEXT_SIZE]);

/* The same for the log of the accepting side. */
void greeting_accept_text(const struct greeting_failure *failure,
                          char text[static GREETING_TEXT_SIZE]);

/* Called on one of nng's threads, with locks of nng and of this file held: hand it on and return,
 * without calling nng or this file. */
typedef void greeting_failed(void *context, const struct greeting_failure *failure);

/* ---- plain connections ---- */

/* Embedded in whoever listens or dials without TLS; not to be moved while it watches. */
struct greeting_watch {
    bool listens;                  /* on address.port; false: dials address */
    const struct address *address; /* borrowed */
    void *context;
    greeting_failed *failed;
    struct greeting_watch *next;
};

/* From here on, until greeting_forget has returned, failed is called for peers that send something
 * else than a header of this protocol. Any thread. */
void greeting_watch(struct greeting_watch *watch);
void greeting_forget(struct greeting_watch *watch); /* also of one that does not watch */

/* Logs a failure on the accepting side, at the pace of base/log_pace.h for each host, port and reason.
 * port: where the peer connected to. Any thread. */
void greeting_log(uint16_t port, const struct greeting_failure *failure);

#endif
