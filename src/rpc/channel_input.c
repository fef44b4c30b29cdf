/* SPDX-License-Identifier: MIT */
#include "rpc/channel_internal.h"

#include "base/arena.h"
#include "rpc/dial.h"

#include <stdlib.h>

#define WAITING_BYTES_MAX (64u * 1024u * 1024u) /* of rpc_channel.waiting_bytes */

/* A report of one of nng's threads to the owner's thread. */
enum report_kind {
    REPORT_CONNECTED,
    REPORT_DISCONNECTED,
    REPORT_HANDSHAKE, /* an attempt to connect reached the peer and failed there */
    REPORT_REFUSED,
    REPORT_FRAME
};
struct report {
    struct task task; /* first */
    struct rpc_channel *channel;
    enum report_kind kind;
    uint32_t pipe;
    enum error error;               /* REFUSED */
    enum handshake_problem problem; /* HANDSHAKE */
    int tls_error;                  /* HANDSHAKE */
    size_t bytes;                   /* memory of the frame */
    struct arena arena;
    Jackdaw__Frame *frame;
};

/* ---- replies ---- */

/* A reply to a call that is not open: cancelled, timed out, or of an earlier connection. If more
 * replies would follow, the server has not received the CANCEL. */
static void ignore_reply(struct rpc_channel *channel, const Jackdaw__Envelope *envelope)
{
    if (envelope->more)
        (void)channel_output_control(channel, JACKDAW__ENVELOPE__KIND__CANCEL, envelope->call, 0);
}

static struct log_position position_of(const Jackdaw__Envelope *envelope)
{
    return (struct log_position){.epoch = envelope->epoch, .seq = envelope->seq};
}

static void handle_failure(struct rpc_channel *channel, struct channel_call *call,
                           const Jackdaw__Envelope *envelope)
{
    enum status status =
        envelope->status < STATUS_COUNT ? (enum status)envelope->status : STATUS_UNKNOWN;
    channel_calls_end(&channel->calls, call,
                      &(struct rpc_result){.status = status,
                                           .message = envelope->message,
                                           .master = envelope->master,
                                           .retry_ms = envelope->retry_ms,
                                           .next_request = envelope->next_request,
                                           .position = position_of(envelope)});
}

static void handle_success(struct rpc_channel *channel, struct report *report,
                           struct channel_call *call, const Jackdaw__Envelope *envelope)
{
    ProtobufCMessage *reply = wire_unpack(call->output, &envelope->payload, &report->arena);
    if (reply == NULL) {
        const struct rpc_result unreadable =
            channel_failure(STATUS_INTERNAL, "the server's reply cannot be read");
        if (envelope->more)
            ignore_reply(channel, envelope);
        channel_calls_end(&channel->calls, call, &unreadable);
        return;
    }
    struct rpc_result *result = call->result;
    ProtobufCClosure closure = call->closure;
    if (!envelope->more)
        channel_calls_forget(&channel->calls, call);
    *result = (struct rpc_result){
        .status = STATUS_OK,
        .message = "",
        .master = "",
        .position = position_of(envelope),
        .more = envelope->more,
    };
    closure(reply, result);
}

static void handle_reply(struct rpc_channel *channel, struct report *report,
                         const Jackdaw__Envelope *envelope)
{
    if (envelope->kind != JACKDAW__ENVELOPE__KIND__REPLY)
        return;
    struct channel_call *call = channel_calls_find(&channel->calls, envelope->call);
    if (call == NULL)
        ignore_reply(channel, envelope);
    else if (envelope->status != STATUS_OK)
        handle_failure(channel, call, envelope);
    else
        handle_success(channel, report, call, envelope);
}

static void handle_frame(struct rpc_channel *channel, struct report *report)
{
    /* A closure may close the channel. */
    for (size_t i = 0; i < report->frame->n_envelopes && !channel->closing; i++)
        handle_reply(channel, report, report->frame->envelopes[i]);
}

/* ---- the connection ---- */

void channel_input_lose_connection(struct rpc_channel *channel)
{
    channel->pipe = 0;
    channel_output_reset(&channel->output);
    channel_calls_end_all(&channel->calls, STATUS_UNAVAILABLE,
                          "the connection to the server was lost");
    if (!channel->closing && channel->options.disconnected != NULL)
        channel->options.disconnected(channel->options.context, channel);
}

static void handle_connected(struct rpc_channel *channel, uint32_t pipe)
{
    if (channel->pipe != 0)
        channel_input_lose_connection(channel); /* its end has not been heard of */
    if (channel->closing)
        return;
    channel->pipe = pipe;
    channel->problem[0] = '\0';
    atomic_store(&channel->lost_event, false); /* that was of an earlier one */
    if (channel->options.connected != NULL)
        channel->options.connected(channel->options.context, channel);
    if (!channel->closing)
        rpc_channel_flush(channel);
}

static void handle_disconnected(struct rpc_channel *channel, uint32_t pipe)
{
    if (channel->pipe == pipe)
        channel_input_lose_connection(channel);
}

static void handle_handshake(struct rpc_channel *channel, const struct report *report)
{
    const struct handshake_failure failure = {.problem = report->problem,
                                              .tls_error = report->tls_error};
    if (channel->pipe == 0)
        handshake_dial_text(&failure, channel->problem);
}

/* An attempt that did not reach the peer gives no information about its handshake. */
static void handle_refused(struct rpc_channel *channel, enum error error)
{
    if (channel->pipe != 0)
        return;
    if (error == ERROR_REFUSED || error == ERROR_TIMEOUT || error == ERROR_NOT_FOUND)
        channel->problem[0] = '\0';
    channel->options.refused(channel->options.context, channel, error);
}

/* ---- reports ---- */

static void run_report(struct task *task)
{
    struct report *report = (struct report *)task;
    struct rpc_channel *channel = report->channel;
    if (!channel->closing) {
        switch (report->kind) {
        case REPORT_CONNECTED:
            handle_connected(channel, report->pipe);
            break;
        case REPORT_DISCONNECTED:
            handle_disconnected(channel, report->pipe);
            break;
        case REPORT_HANDSHAKE:
            handle_handshake(channel, report);
            break;
        case REPORT_REFUSED:
            handle_refused(channel, report->error);
            break;
        case REPORT_FRAME:
            handle_frame(channel, report);
            break;
        }
    }
    (void)atomic_fetch_sub(&channel->waiting_bytes, report->bytes);
    arena_clear(&report->arena);
    free(report);
    channel_release(channel);
}

/* nng's threads and the dial's from here on. */

static struct report *new_report(struct rpc_channel *channel, enum report_kind kind, uint32_t pipe)
{
    struct report *report = calloc(1, sizeof *report);
    if (report == NULL)
        return NULL;
    report->task.run = run_report;
    report->channel = channel;
    report->kind = kind;
    report->pipe = pipe;
    return report;
}

static void push(struct report *report)
{
    channel_hold(report->channel);
    task_queue_push(report->channel->options.queue, &report->task);
}

/* Returns whether the frame is valid and the owner does not lag too far behind. */
static bool take_frame(struct report *report, nng_msg *message)
{
    struct rpc_channel *channel = report->channel;
    if (wire_decode(nng_msg_body(message), nng_msg_len(message), &report->arena, &report->frame) !=
        OK)
        return false;
    report->bytes = arena_held_bytes(&report->arena);
    size_t waiting = atomic_fetch_add(&channel->waiting_bytes, report->bytes) + report->bytes;
    if (waiting <= WAITING_BYTES_MAX)
        return true;
    (void)atomic_fetch_sub(&channel->waiting_bytes, report->bytes);
    return false;
}

void channel_input_message(void *context, nng_msg *message)
{
    struct rpc_channel *channel = context;
    nng_pipe pipe = nng_msg_get_pipe(message);
    struct report *report = new_report(channel, REPORT_FRAME, (uint32_t)nng_pipe_id(pipe));
    if (report != NULL && take_frame(report, message)) {
        push(report);
    } else {
        connections_end(pipe, channel->options.address.tls);
        if (report != NULL)
            arena_clear(&report->arena);
        free(report);
    }
    nng_msg_free(message);
}

void channel_input_pipe(nng_pipe pipe, nng_pipe_ev what, void *context)
{
    struct rpc_channel *channel = context;
    if (what == NNG_PIPE_EV_ADD_PRE && !dial_connected(channel->dial, pipe)) {
        (void)nng_pipe_close(pipe);
        return;
    }
    if (what == NNG_PIPE_EV_REM_POST)
        dial_lost(channel->dial, pipe);
    if (!connections_enter(&channel->connections, pipe, what))
        return;
    enum report_kind kind = what == NNG_PIPE_EV_ADD_PRE ? REPORT_CONNECTED : REPORT_DISCONNECTED;
    struct report *report = new_report(channel, kind, (uint32_t)nng_pipe_id(pipe));
    if (report != NULL)
        push(report);
    else if (kind == REPORT_CONNECTED)
        (void)nng_pipe_close(pipe);
    else
        atomic_store(&channel->lost_event, true); /* rpc_channel_tick looks */
    connections_leave(&channel->connections);
}

void channel_input_failed_dial(void *context, enum error error)
{
    struct report *report = new_report(context, REPORT_REFUSED, 0);
    if (report == NULL)
        return; /* it fails again */
    report->error = error;
    push(report);
}

void channel_input_failed_handshake(void *context, const struct handshake_failure *failure)
{
    struct report *report = new_report(context, REPORT_HANDSHAKE, 0);
    if (report == NULL)
        return; /* it fails again */
    report->problem = failure->problem;
    report->tls_error = failure->tls_error;
    push(report);
}
