/* SPDX-License-Identifier: MIT */
#include "support/fake_call.h"

#include "support/test.h"

#include <stdio.h>
#include <string.h>

struct rpc_call *fake_call_new(uint32_t credits)
{
    struct rpc_call *call = test_calloc(1, sizeof *call);
    arena_init(&call->arena, 65536);
    call->credits = credits;
    call->stream = credits > 1;
    return call;
}

void fake_call_free(struct rpc_call *call)
{
    if (call == NULL)
        return;
    assert_true(call->ended);
    arena_clear(&call->arena);
    test_free(call);
}

void fake_call_credit(struct rpc_call *call, uint32_t credits)
{
    if (call->ended)
        return;
    call->credits += credits;
    if (call->watch.credited != NULL)
        call->watch.credited(call->watch.context, call);
}

void fake_call_cancel(struct rpc_call *call)
{
    if (call->ended || call->cancelled)
        return;
    call->cancelled = true;
    if (call->watch.cancelled != NULL)
        call->watch.cancelled(call->watch.context, call);
}

static void reply(struct rpc_call *call, const struct rpc_chunk *chunks, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += chunks[i].size;
    uint8_t *bytes = test_malloc(size + 1);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes + at, chunks[i].bytes, chunks[i].size);
        at += chunks[i].size;
    }
    call->replies++;
    Jackdaw__ReceiveReply *page = jackdaw__receive_reply__unpack(NULL, size, bytes);
    assert_non_null(page);
    if (call->replied != NULL)
        call->replied(call, page, size);
    jackdaw__receive_reply__free_unpacked(page, NULL);
    test_free(bytes);
}

bool rpc_call_send(struct rpc_call *call, const struct rpc_chunk *chunks, size_t count)
{
    assert_false(call->ended);
    if (call->cancelled || call->credits == 0)
        return false;
    call->credits--;
    reply(call, chunks, count);
    return true;
}

void rpc_call_finish(struct rpc_call *call, const struct rpc_chunk *chunks, size_t count)
{
    assert_false(call->ended);
    call->ended = true;
    reply(call, chunks, count);
}

void rpc_call_fail(struct rpc_call *call, enum status status, uint32_t retry_ms, const char *text)
{
    assert_false(call->ended);
    assert_int_not_equal(status, STATUS_OK);
    assert_true(strlen(text) > 0);
    call->ended = true;
    call->status = status;
    call->retry_ms = retry_ms;
}

void rpc_call_redirect(struct rpc_call *call, const char *master)
{
    assert_false(call->ended);
    assert_non_null(master);
    (void)snprintf(call->master, sizeof call->master, "%s", master);
}

uint32_t rpc_call_credits(const struct rpc_call *call)
{
    assert_false(call->ended);
    return call->credits;
}

bool rpc_call_is_stream(const struct rpc_call *call)
{
    return call->stream;
}

void rpc_call_watch(struct rpc_call *call, const struct rpc_call_watch *watch)
{
    assert_false(call->ended);
    call->watch = *watch;
}

struct arena *rpc_call_arena(struct rpc_call *call)
{
    return &call->arena;
}

struct rpc_call *rpc_call_keep(struct rpc_call *call)
{
    assert_false(call->ended);
    return call;
}
