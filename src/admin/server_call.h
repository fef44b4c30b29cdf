/* SPDX-License-Identifier: MIT */
/* server_call.h - one call to one server, over a connection of its own. One thread. */
#ifndef JACKDAW_ADMIN_SERVER_CALL_H
#define JACKDAW_ADMIN_SERVER_CALL_H

#include "base/address.h"
#include "base/error.h"

#include <protobuf-c/protobuf-c.h>

#define SERVER_CALL_TIMEOUT_MS 3000 /* for connection and reply together */

struct server_call {
    const struct address *address; /* borrowed */
    const char *tls_authority;     /* PEM file; NULL: the address has no tls+tcp:// */
    const ProtobufCServiceDescriptor *service;
    const char *method;              /* a method of service */
    const ProtobufCMessage *request; /* borrowed */
};

/* Connects, calls, waits for the reply and disconnects. *out is set with OK only; the caller ends it
 * with protobuf_c_message_free_unpacked. Other results, each with a sentence in why:
 *   ERROR_REFUSED, ERROR_NOT_FOUND, ERROR_TIMEOUT ...  no connection, or no reply
 *   ERROR_DENIED     the server, or its TLS, refuses
 *   ERROR_VERSION    the server does not know the call
 *   ERROR_NO_MEMORY, ERROR_INVALID (tls_authority) ...  as rpc_channel_open
 * The process has called rpc_init. */
enum error server_call_run(const struct server_call *call, ProtobufCMessage **out,
                           struct error_text *why);

#endif
