/* SPDX-License-Identifier: MIT */
#include "rpc/channel_internal.h"

#include "rpc/protocol.h"

#include <string.h>

#define SOCKET_REQUEST_ID 0x80000001u /* all calls of a channel share nng's request id */

static nng_msg *new_frame(void)
{
    nng_msg *message;
    if (nng_msg_alloc(&message, 0) != 0)
        return NULL;
    if (nng_msg_header_append_u32(message, SOCKET_REQUEST_ID) != 0) {
        nng_msg_free(message);
        return NULL;
    }
    return message;
}

static bool last_frame_takes(const struct channel_output *output, size_t size)
{
    if (output->count == 0)
        return false;
    size_t last = output->count - 1;
    return output->envelopes[last] < RPC_ENVELOPES_MAX &&
           nng_msg_len(output->frames[last]) + size <= RPC_JOINED_FRAME_BYTES;
}

enum error channel_output_append(struct rpc_channel *channel, const Jackdaw__Envelope *head,
                                 const struct rpc_chunk *payload, size_t count)
{
    struct channel_output *output = &channel->output;
    size_t size = wire_size(head, payload, count);
    if (size > channel->options.request_bytes_max)
        return ERROR_TOO_LARGE;
    if (!last_frame_takes(output, size)) {
        if (output->count == OUTPUT_FRAMES_MAX)
            return ERROR_FULL;
        nng_msg *frame = new_frame();
        if (frame == NULL)
            return ERROR_NO_MEMORY;
        output->frames[output->count] = frame;
        output->envelopes[output->count++] = 0;
    }
    size_t last = output->count - 1;
    enum error error = wire_append(output->frames[last], head, payload, count);
    if (error == OK)
        output->envelopes[last]++;
    return error;
}

enum error channel_output_control(struct rpc_channel *channel, Jackdaw__Envelope__Kind kind,
                                  uint64_t call, uint32_t credits)
{
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.kind = kind;
    head.call = call;
    head.credits = credits;
    return channel_output_append(channel, &head, NULL, 0);
}

static nng_msg *take_first_frame(struct channel_output *output)
{
    nng_msg *message = output->frames[0];
    output->count--;
    memmove(&output->frames[0], &output->frames[1], output->count * sizeof output->frames[0]);
    memmove(&output->envelopes[0], &output->envelopes[1],
            output->count * sizeof output->envelopes[0]);
    return message;
}

void rpc_channel_flush(struct rpc_channel *channel)
{
    struct channel_output *output = &channel->output;
    if (channel->closing || output->sending || output->count == 0 || channel->pipe == 0)
        return;
    nng_msg *message = take_first_frame(output);
    output->sending = true;
    channel_hold(channel); /* for the sent task */
    nng_aio_set_msg(output->aio, message);
    nng_send_aio(channel->socket, output->aio);
}

static void run_sent(struct task *task)
{
    struct rpc_channel *channel =
        (struct rpc_channel *)((char *)task - offsetof(struct rpc_channel, output.sent));
    channel->output.sending = false;
    if (!channel->closing) {
        channel_calls_pay_credits(channel);
        rpc_channel_flush(channel);
    }
    channel_release(channel);
}

/* nng's thread. */
static void on_sent(void *context)
{
    struct rpc_channel *channel = context;
    struct channel_output *output = &channel->output;
    if (nng_aio_result(output->aio) != 0)
        nng_msg_free(nng_aio_get_msg(output->aio));
    output->sent.run = run_sent;
    task_queue_push(channel->options.queue, &output->sent);
}

int channel_output_start(struct rpc_channel *channel)
{
    return nng_aio_alloc(&channel->output.aio, on_sent, channel);
}

void channel_output_stop(struct channel_output *output)
{
    if (output->aio == NULL)
        return;
    nng_aio_stop(output->aio);
    nng_aio_free(output->aio);
}

void channel_output_drop(struct channel_output *output)
{
    for (size_t i = 0; i < output->count; i++)
        nng_msg_free(output->frames[i]);
    output->count = 0;
}

void channel_output_reset(struct channel_output *output)
{
    if (output->sending)
        nng_aio_cancel(output->aio); /* or it would go out on the next connection */
    channel_output_drop(output);
}
