/* SPDX-License-Identifier: MIT */
/* Which requests are held, and how many. What becomes of them: tests/cluster/test_cluster_poison.c. */
#include "rpc/server_internal.h"

#include "server/core.h"
#include "spec.pb-c.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

#define CALLS_MAX 20000
#define LARGE_BYTES (1024u * 1024u)

struct fixture {
    struct core core;
    struct rpc_server server;
    ProtobufCService service;
    struct service_entry entry;
    Jackdaw__SendRequest request;
    struct rpc_call *calls; /* one after the other */
    size_t made;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){.service.descriptor = &jackdaw__chat__descriptor};
    f->server.owner = pthread_self();
    f->entry.service = &f->service;
    f->request = (Jackdaw__SendRequest)JACKDAW__SEND_REQUEST__INIT;
    f->calls = calloc(CALLS_MAX, sizeof *f->calls);
    assert_non_null(f->calls);
}

/* A call with that many bytes. False: it need not be held. */
static bool take(struct fixture *f, const char *method, const char *token, uint32_t resent,
                 size_t bytes)
{
    assert_true(f->made < CALLS_MAX);
    struct rpc_call *call = &f->calls[f->made++];
    *call = (struct rpc_call){
        .server = &f->server,
        .entry = &f->entry,
        .method = (unsigned)(protobuf_c_service_descriptor_get_method_by_name(
                                 &jackdaw__chat__descriptor, method) -
                             jackdaw__chat__descriptor.methods),
        .token = (const uint8_t *)token,
        .token_size = strlen(token),
        .resent = resent,
    };
    arena_init(&call->arena, bytes + 64);
    assert_non_null(arena_alloc(&call->arena, bytes));
    f->server.open_calls++;
    bool is_taken = suspects_take(&f->core, call, &f->request.base);
    if (!is_taken) {
        f->server.open_calls--;
        arena_clear(&call->arena);
    }
    return is_taken;
}

static void end(struct fixture *f)
{
    suspects_release(&f->core, "the end");
    assert_int_equal(f->core.suspects.count, 0);
    assert_int_equal(f->core.suspects.bytes, 0);
    assert_false(take(f, "Send", "ann", 0, 100)); /* nobody's requests wait any more */
    assert_int_equal(f->server.open_calls, 0);
    free(f->calls);
}

TEST_F(test_take__what_was_sent_before_and_what_follows_it)
{
    assert_false(take(f, "Send", "ann", 0, 100));
    assert_false(take(f, "Info", "ann", 1, 100));
    assert_false(take(f, "Receive", "ann", 1, 100));
    assert_true(take(f, "Send", "ann", 1, 100));
    assert_true(take(f, "Send", "ann", 0, 100)); /* behind it */
    assert_false(take(f, "Send", "bob", 0, 100));
    assert_int_equal(f->core.suspects.count, 2);
}

/* The others are answered, and gone. */
TEST_F(test_take__so_many_at_once)
{
    for (size_t i = 0; i < SUSPECTS_MAX + 10; i++)
        assert_true(take(f, "Send", "ann", 1, 100));
    assert_int_equal(f->core.suspects.count, SUSPECTS_MAX);
    assert_int_equal(f->server.open_calls, SUSPECTS_MAX);
}

TEST_F(test_take__so_many_bytes_at_once)
{
    for (size_t i = 0; i < 2 * SUSPECTS_BYTES_MAX / LARGE_BYTES; i++)
        assert_true(take(f, "Send", "ann", 1, LARGE_BYTES));
    assert_true(f->core.suspects.count > 0);
    assert_true(f->core.suspects.bytes <= SUSPECTS_BYTES_MAX + 2 * LARGE_BYTES);
    assert_true(f->core.suspects.count <= SUSPECTS_BYTES_MAX / LARGE_BYTES + 1);
    assert_int_equal(f->server.open_calls, f->core.suspects.count);
}
