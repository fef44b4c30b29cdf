/* SPDX-License-Identifier: MIT */
/* tls_engine.h - TLS 1.3 for nng, by Mbed TLS.
 *
 * nng lets a program register an engine of its own (nng/supplemental/tls/engine.h). nng's own
 * engine reports neither the peer nor the reason of a failed handshake, and takes no new
 * certificate while its listener runs. This engine does both, and offers no version below TLS 1.3.
 * Private to src/rpc. */
#ifndef JACKDAW_RPC_TLS_ENGINE_H
#define JACKDAW_RPC_TLS_ENGINE_H

#include "base/error.h"
#include "rpc/handshake.h"

#include <mbedtls/ssl.h>
#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Configuration of handshakes. Reference-counted; constant once a connection uses it. */
struct tls_credentials {
    atomic_size_t references;
    bool is_server;
    mbedtls_ssl_config config;
    mbedtls_x509_crt certificates; /* the server's chain, or the authorities of a client */
    mbedtls_pk_context key;        /* the server's */
};

/* A set with its references at 1 and nothing loaded; NULL without memory. */
struct tls_credentials *tls_credentials_new(bool is_server);
/* Makes the configuration from what has been loaded. ERROR_INTERNAL. */
enum error tls_credentials_seal(struct tls_credentials *credentials);
void tls_credentials_drop(struct tls_credentials *credentials); /* NULL is allowed */

/* Random bytes from the kernel, for Mbed TLS; 0. */
int tls_random(void *ignored, unsigned char *bytes, size_t size);

/* One listener or one dialler. All its functions: any thread. */
struct tls_endpoint;

/* Makes an endpoint that uses credentials (taken, also on error). server_name (copied): the name
 * that a server's certificate must carry; NULL for a server. failed: see handshake.h; may be NULL.
 * *out: ended with tls_endpoint_close. ERROR_NO_MEMORY. */
enum error tls_endpoint_new(struct tls_endpoint **out, struct tls_credentials *credentials,
                            const char *server_name, handshake_failed *failed, void *context);

/* New handshakes use credentials (taken); handshakes that have begun keep the old ones. */
void tls_endpoint_exchange(struct tls_endpoint *endpoint, struct tls_credentials *credentials);

/* A configuration for nng_listener_set_ptr or nng_dialer_set_ptr, which the caller ends with
 * nng_tls_config_free. Returns a result of nng's. */
int tls_endpoint_configure(struct tls_endpoint *endpoint, nng_tls_config **out);

/* failed is not called after this has returned. Connections go on. NULL is allowed. */
void tls_endpoint_close(struct tls_endpoint *endpoint);

#endif
