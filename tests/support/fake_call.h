/* SPDX-License-Identifier: MIT */
/* fake_call.h - calls without a wire: the half of rpc/server.h that subscriptions and commit waiters use, as
 * functions of the test. A program that links this decides itself how much credit a stream has,
 * when it is cancelled and what becomes of its pages; misuse (ending a call twice, sending on one
 * that has ended) fails the test at once. */
#ifndef JACKDAW_TESTS_FAKE_CALL_H
#define JACKDAW_TESTS_FAKE_CALL_H

#include "base/arena.h"
#include "rpc/server.h"
#include "spec.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rpc_call {
    struct arena arena;
    uint32_t credits;
    bool stream;
    bool cancelled;
    struct rpc_call_watch watch;
    bool ended;
    enum status status;
    uint32_t retry_ms;
    char master[128]; /* named by a redirect */
    unsigned replies;
    void *context;
    /* A reply has come; it is freed after this. */
    void (*replied)(struct rpc_call *call, const Jackdaw__ReceiveReply *reply, size_t size);
};

/* A call as a client makes it: 1 credit is a long poll, more a stream. Freed by fake_call_free. */
struct rpc_call *fake_call_new(uint32_t credits);

/* The call must have ended. */
void fake_call_free(struct rpc_call *call);

/* What the peer does; nothing for a call that has ended. */
void fake_call_credit(struct rpc_call *call, uint32_t credits);
void fake_call_cancel(struct rpc_call *call);

#endif
