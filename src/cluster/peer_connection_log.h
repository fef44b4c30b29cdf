/* SPDX-License-Identifier: MIT */
/* peer_connection_log.h - tells the log, at a bounded pace, what is at an address where another server of the
 * cluster should be and is none. Any thread. */
#ifndef JACKDAW_CLUSTER_PEER_CONNECTION_LOG_H
#define JACKDAW_CLUSTER_PEER_CONNECTION_LOG_H

#include "base/error.h"
#include "base/status.h"

/* An attempt to connect failed. A server that is down (refused, no answer) is logged elsewhere. */
void peer_connection_log_failed(const char *address, enum error error);

/* There has been no connection for a while; error: of the last attempt, OK: none has failed. */
void peer_connection_log_silent(const char *address, enum error error);

/* A Jackdaw server answers there, but refuses calls of members. */
void peer_connection_log_refused(const char *address, enum status status);

/* This server itself has answered, which is no mistake where other addresses are given, too. */
void peer_connection_log_self(const char *address);

#endif
