/* SPDX-License-Identifier: MIT */
/* session_class.h - classes of sessions, for bounds on what one session uses. A class is the first byte
 * of the token, which is random, so few sessions share one. Owner's thread of the call. */
#ifndef JACKDAW_SERVER_SESSION_CLASS_H
#define JACKDAW_SERVER_SESSION_CLASS_H

#include "rpc/server.h"

#include <stddef.h>
#include <stdint.h>

#define SESSION_CLASSES 256

/* Returns the class of the session that makes the call; 0 without a token. */
static inline uint8_t session_class_of(const struct rpc_call *call)
{
    size_t size;
    const uint8_t *token = rpc_call_token(call, &size);
    return size == 0 ? 0 : token[0];
}

#endif
