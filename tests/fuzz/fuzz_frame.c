/* SPDX-License-Identifier: MIT */
/* What a server makes of a frame from a stranger, up to the point where its owner would run the
 * handlers: envelopes, versions, names, limits, requests. */
#include "rpc/server_internal.h"

#include "base/error.h"
#include "fuzz.h"
#include "rpc/protocol.h"

static const struct rpc_method_limit limits[] = {{"Send", 20000}, {NULL, 0}};

static struct rpc_server *the_server(void)
{
    static ProtobufCService service;
    static struct rpc_server server;
    service.descriptor = &jackdaw__chat__descriptor;
    server.options.frame_bytes_max = RPC_FRAME_BYTES_DEFAULT;
    server.services[0] = (struct service_entry){.service = &service, .limits = limits};
    server.service_count = 1;
    return &server;
}

static void check_call(const struct rpc_call *call)
{
    ASSERT((call->early_status == STATUS_OK) ==
           (call->entry != NULL && call->input != NULL && call->early_text == NULL));
    ASSERT(call->early_status == STATUS_OK || call->early_text != NULL);
    ASSERT(call->credits <= RPC_CREDITS_MAX);
    ASSERT(call->one_way ? call->credits == 0 && !call->stream : call->credits >= 1);
    ASSERT(call->token_size <= RPC_TOKEN_BYTES_MAX);
    ASSERT(call->arena.used_bytes <= call->arena.budget_bytes);
    if (call->early_status == STATUS_OK)
        ASSERT(protobuf_c_message_check(call->input));
}

/* What decoding may hold for a frame of this size, whatever is in it. */
static size_t most_bytes(size_t size, size_t items)
{
    return size * (size_t)RPC_DECODE_FACTOR * 2 + items * 70000 + 200000;
}

static void check(const struct inbound *inbound, size_t size)
{
    ASSERT(inbound->item_count <= RPC_ENVELOPES_MAX);
    ASSERT(inbound->waiting_bytes <= most_bytes(size, inbound->item_count));
    size_t requests = 0;
    for (size_t i = 0; i < inbound->item_count; i++) {
        ASSERT((inbound->items[i].kind == ITEM_REQUEST) == (inbound->items[i].call != NULL));
        if (inbound->items[i].call != NULL) {
            check_call(inbound->items[i].call);
            requests++;
        }
    }
    ASSERT(requests == inbound->request_count && requests == inbound->waiting_calls);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nng_msg *message;
    ASSERT(nng_msg_alloc(&message, 0) == 0);
    ASSERT(nng_msg_append(message, data, size) == 0);
    ASSERT(nng_msg_header_append_u32(message, 1) == 0);
    ASSERT(nng_msg_header_append_u32(message, 0x80000001u) == 0);
    struct inbound *inbound = NULL;
    if (inbound_decode(the_server(), message, &inbound) == OK) {
        nng_msg_free(message); /* what was decoded needs nothing of it */
        check(inbound, size);
        inbound_release(inbound);
    } else {
        ASSERT(inbound == NULL);
        nng_msg_free(message);
    }
    return 0;
}
