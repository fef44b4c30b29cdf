/* SPDX-License-Identifier: MIT */
#include "rpc/channel.h"

#include "base/arena.h"
#include "base/clock.h"
#include "rpc/connections.h"
#include "rpc/dial.h"
#include "rpc/handshake.h"
#include "rpc/protocol.h"
#include "rpc/tls_engine.h"
#include "rpc/transport.h"
#include "rpc/wire.h"
#include "spec.pb-c.h"

#include <nng/protocol/reqrep0/req.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#undef uthash_nonfatal_oom
#define uthash_nonfatal_oom(element) ((element)->id = 0)

#define REPLY_FRAME_BYTES_DEFAULT (4u * 1024u * 1024u)
#define OUTPUT_FRAMES_MAX 64u /* waiting; beyond: RESOURCE_EXHAUSTED */
#define WAITING_BYTES_MAX \
    (64u * 1024u * 1024u) /* memory of frames that the owner has not run yet */
#define RETRY_WHEN_FULL_MS 20u
#define SOCKET_REQUEST_ID 0x80000001u /* all calls of a channel share nng's request id */

struct call {
    uint64_t id;           /* key; 0 after the table ran out of memory */
    uint64_t deadline_ms;  /* UINT64_MAX: none */
    uint32_t credits_owed; /* granted, but the output was full */
    const ProtobufCMessageDescriptor *output;
    ProtobufCClosure closure;
    struct rpc_result *result;
    UT_hash_handle hh;
};

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
    enum handshake_problem problem; /* GREETING */
    int tls_error;                  /* GREETING */
    size_t bytes;                   /* memory of the frame */
    struct arena arena;
    Jackdaw__Frame *frame;
};

struct rpc_channel {
    struct rpc_channel_options options;
    nng_socket socket;
    bool open;
    bool closing;
    struct dial *dial;
    struct connections connections;
    atomic_size_t references; /* the owner's and one for each of our tasks in the queue */
    struct tls_endpoint *tls; /* NULL: the address is plain */
    struct handshake_watch handshake_watch;
    char problem[HANDSHAKE_TEXT_SIZE]; /* of the latest attempt; "": none */
    struct receiver receiver;
    nng_aio *send_aio;
    struct task sent; /* pushed by the send callback; only while sending */
    bool sending;
    uint32_t pipe;          /* nng's id of the connection; 0: none */
    atomic_bool lost_event; /* a connection ended without memory to tell the owner */
    atomic_size_t waiting_bytes;
    uint64_t now_ms;           /* the time of the latest rpc_channel_tick */
    uint64_t next_deadline_ms; /* no call ends earlier */
    uint64_t last_id;
    struct call *calls;       /* hash by id, in the order of making */
    struct call *tick_cursor; /* where rpc_channel_tick goes on */
    bool ticking;
    bool owes_credits; /* some call has credits_owed */
    nng_msg *output[OUTPUT_FRAMES_MAX];
    size_t output_envelopes[OUTPUT_FRAMES_MAX];
    size_t output_count;
};

static void hold(struct rpc_channel *channel)
{
    (void)atomic_fetch_add(&channel->references, 1);
}

static void release(struct rpc_channel *channel)
{
    if (atomic_fetch_sub(&channel->references, 1) != 1)
        return;
    dial_free(channel->dial);
    connections_release(&channel->connections);
    free(channel);
}

/* ---- ending calls ---- */

static void forget_call(struct rpc_channel *channel, struct call *call)
{
    if (channel->tick_cursor == call)
        channel->tick_cursor = call->hh.next;
    HASH_DELETE(hh, channel->calls, call);
    free(call);
}

/* Ends the call without a message: forgets it and runs its closure. */
static void end_call(struct rpc_channel *channel, struct call *call,
                     const struct rpc_result *outcome)
{
    ProtobufCClosure closure = call->closure;
    struct rpc_result *result = call->result;
    forget_call(channel, call);
    *result = *outcome;
    closure(NULL, result);
}

static struct rpc_result failure(enum status status, const char *message)
{
    return (struct rpc_result){.status = status, .message = message, .master = ""};
}

/* Ends the existing calls, not calls that closures add. */
static void end_all_calls(struct rpc_channel *channel, enum status status, const char *message)
{
    const struct rpc_result outcome = failure(status, message);
    uint64_t last_id = channel->last_id;
    while (channel->calls != NULL && channel->calls->id <= last_id)
        end_call(channel, channel->calls, &outcome);
}

/* ---- output ---- */

static void drop_output(struct rpc_channel *channel)
{
    for (size_t i = 0; i < channel->output_count; i++)
        nng_msg_free(channel->output[i]);
    channel->output_count = 0;
}

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

static bool last_frame_takes(const struct rpc_channel *channel, size_t size)
{
    if (channel->output_count == 0)
        return false;
    size_t last = channel->output_count - 1;
    return channel->output_envelopes[last] < RPC_ENVELOPES_MAX &&
           nng_msg_len(channel->output[last]) + size <= RPC_JOINED_FRAME_BYTES;
}

static enum error append(struct rpc_channel *channel, const Jackdaw__Envelope *head,
                         const struct rpc_chunk *payload, size_t count)
{
    size_t size = wire_size(head, payload, count);
    if (size > channel->options.request_bytes_max)
        return ERROR_TOO_LARGE;
    if (!last_frame_takes(channel, size)) {
        if (channel->output_count == OUTPUT_FRAMES_MAX)
            return ERROR_FULL;
        nng_msg *frame = new_frame();
        if (frame == NULL)
            return ERROR_NO_MEMORY;
        channel->output[channel->output_count] = frame;
        channel->output_envelopes[channel->output_count++] = 0;
    }
    size_t last = channel->output_count - 1;
    enum error error = wire_append(channel->output[last], head, payload, count);
    if (error == OK)
        channel->output_envelopes[last]++;
    return error;
}

void rpc_channel_flush(struct rpc_channel *channel)
{
    if (channel->closing || channel->sending || channel->output_count == 0 || channel->pipe == 0)
        return;
    nng_msg *message = channel->output[0];
    channel->output_count--;
    memmove(&channel->output[0], &channel->output[1],
            channel->output_count * sizeof channel->output[0]);
    memmove(&channel->output_envelopes[0], &channel->output_envelopes[1],
            channel->output_count * sizeof channel->output_envelopes[0]);
    channel->sending = true;
    hold(channel); /* for the sent task */
    nng_aio_set_msg(channel->send_aio, message);
    nng_send_aio(channel->socket, channel->send_aio);
}

static enum error send_control(struct rpc_channel *channel, Jackdaw__Envelope__Kind kind,
                               uint64_t call, uint32_t credits)
{
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.kind = kind;
    head.call = call;
    head.credits = credits;
    return append(channel, &head, NULL, 0);
}

static void grant(struct rpc_channel *channel, struct call *call)
{
    if (call->credits_owed == 0)
        return;
    if (send_control(channel, JACKDAW__ENVELOPE__KIND__CREDIT, call->id, call->credits_owed) == OK)
        call->credits_owed = 0;
    else
        channel->owes_credits = true; /* until the next frame has been sent */
}

/* Grants the credits that did not fit while the output was full. */
static void pay_credits(struct rpc_channel *channel)
{
    if (!channel->owes_credits)
        return;
    channel->owes_credits = false;
    for (struct call *call = channel->calls; call != NULL; call = call->hh.next)
        if (call->credits_owed > 0)
            grant(channel, call);
}

static void run_sent(struct task *task)
{
    struct rpc_channel *channel =
        (struct rpc_channel *)((char *)task - offsetof(struct rpc_channel, sent));
    channel->sending = false;
    if (!channel->closing) {
        pay_credits(channel);
        rpc_channel_flush(channel);
    }
    release(channel);
}

/* nng's thread. */
static void on_sent(void *context)
{
    struct rpc_channel *channel = context;
    if (nng_aio_result(channel->send_aio) != 0)
        nng_msg_free(nng_aio_get_msg(channel->send_aio));
    channel->sent.run = run_sent;
    task_queue_push(channel->options.queue, &channel->sent);
}

/* ---- input ---- */

/* A reply to a call that is not open: cancelled, timed out, or of an earlier connection. If more
 * replies would follow, the server has not received the CANCEL. */
static void ignore_reply(struct rpc_channel *channel, const Jackdaw__Envelope *envelope)
{
    if (envelope->more)
        (void)send_control(channel, JACKDAW__ENVELOPE__KIND__CANCEL, envelope->call, 0);
}

static void handle_failure(struct rpc_channel *channel, struct call *call,
                           const Jackdaw__Envelope *envelope)
{
    enum status status =
        envelope->status < STATUS_COUNT ? (enum status)envelope->status : STATUS_UNKNOWN;
    end_call(channel, call,
             &(struct rpc_result){.status = status,
                                  .message = envelope->message,
                                  .master = envelope->master,
                                  .retry_ms = envelope->retry_ms,
                                  .next_request = envelope->next_request});
}

static void handle_success(struct rpc_channel *channel, struct report *report, struct call *call,
                           const Jackdaw__Envelope *envelope)
{
    ProtobufCMessage *reply = wire_unpack(call->output, &envelope->payload, &report->arena);
    if (reply == NULL) {
        const struct rpc_result unreadable =
            failure(STATUS_INTERNAL, "the server's reply cannot be read");
        if (envelope->more)
            ignore_reply(channel, envelope);
        end_call(channel, call, &unreadable);
        return;
    }
    struct rpc_result *result = call->result;
    ProtobufCClosure closure = call->closure;
    if (!envelope->more)
        forget_call(channel, call);
    *result = (struct rpc_result){
        .status = STATUS_OK, .message = "", .master = "", .more = envelope->more};
    closure(reply, result);
}

static void handle_reply(struct rpc_channel *channel, struct report *report,
                         const Jackdaw__Envelope *envelope)
{
    if (envelope->kind != JACKDAW__ENVELOPE__KIND__REPLY)
        return;
    struct call *call;
    HASH_FIND(hh, channel->calls, &envelope->call, sizeof envelope->call, call);
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

static void lose_connection(struct rpc_channel *channel)
{
    channel->pipe = 0;
    if (channel->sending)
        nng_aio_cancel(channel->send_aio); /* or it would go out on the next connection */
    drop_output(channel);
    end_all_calls(channel, STATUS_UNAVAILABLE, "the connection to the server was lost");
    if (!channel->closing && channel->options.disconnected != NULL)
        channel->options.disconnected(channel->options.context, channel);
}

static void handle_connected(struct rpc_channel *channel, uint32_t pipe)
{
    if (channel->pipe != 0)
        lose_connection(channel); /* its end has not been heard of */
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
        lose_connection(channel);
}

static void handle_handshake(struct rpc_channel *channel, const struct report *report)
{
    const struct handshake_failure failure = {.problem = report->problem,
                                              .tls_error = report->tls_error};
    if (channel->pipe == 0)
        handshake_dial_text(&failure, channel->problem);
}

/* An attempt that did not reach the peer gives no information about its greeting. */
static void handle_refused(struct rpc_channel *channel, enum error error)
{
    if (channel->pipe != 0)
        return;
    if (error == ERROR_REFUSED || error == ERROR_TIMEOUT || error == ERROR_NOT_FOUND)
        channel->problem[0] = '\0';
    channel->options.refused(channel->options.context, channel, error);
}

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
    release(channel);
}

/* nng's threads from here to the end of the section. */

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
    hold(report->channel);
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

static void on_message(void *context, nng_msg *message)
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

static void on_pipe(nng_pipe pipe, nng_pipe_ev what, void *context)
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

static void on_failed_dial(void *context, enum error error)
{
    struct report *report = new_report(context, REPORT_REFUSED, 0);
    if (report == NULL)
        return; /* it fails again */
    report->error = error;
    push(report);
}

static void on_failed_handshake(void *context, const struct handshake_failure *failure)
{
    struct report *report = new_report(context, REPORT_HANDSHAKE, 0);
    if (report == NULL)
        return; /* it fails again */
    report->problem = failure->problem;
    report->tls_error = failure->tls_error;
    push(report);
}

/* ---- life ---- */

static struct rpc_channel_options with_defaults(const struct rpc_channel_options *options)
{
    struct rpc_channel_options result = *options;
    if (result.frame_bytes_max == 0)
        result.frame_bytes_max = REPLY_FRAME_BYTES_DEFAULT;
    if (result.request_bytes_max == 0)
        result.request_bytes_max = RPC_FRAME_BYTES_DEFAULT;
    if (result.reconnect_min_ms == 0)
        result.reconnect_min_ms = 50;
    if (result.reconnect_max_ms == 0)
        result.reconnect_max_ms = 1000;
    return result;
}

static enum error open_socket(struct rpc_channel *channel)
{
    int result = nng_req0_open_raw(&channel->socket);
    if (result != 0)
        return transport_error(result);
    channel->open = true;
    result = nng_socket_set_size(channel->socket, NNG_OPT_RECVMAXSZ,
                                 channel->options.frame_bytes_max + sizeof(uint32_t));
    if (result == 0)
        result = nng_aio_alloc(&channel->send_aio, on_sent, channel);
    if (result == 0)
        result = nng_pipe_notify(channel->socket, NNG_PIPE_EV_ADD_PRE, on_pipe, channel);
    if (result == 0)
        result = nng_pipe_notify(channel->socket, NNG_PIPE_EV_REM_POST, on_pipe, channel);
    if (result != 0)
        return transport_error(result);
    return transport_receiver_start(&channel->receiver, channel->socket, on_message, channel);
}

/* With TLS the endpoint tells why a greeting failed. */
static enum error watch_handshakes(struct rpc_channel *channel, struct error_text *why)
{
    const struct address *address = &channel->options.address;
    const struct tls_files files = {.authority = channel->options.tls_authority};
    /* The name that the certificate must be for is the one that was given. */
    const char *name = address->host[0] == '\0' ? "127.0.0.1" : address->host;
    if (address->tls)
        return transport_tls_open(&channel->tls, &files, name, on_failed_handshake, channel, why);
    channel->handshake_watch = (struct handshake_watch){
        .address = address, .context = channel, .failed = on_failed_handshake};
    handshake_watch(&channel->handshake_watch);
    return OK;
}

/* The dial's thread; nng is done with the socket. */
static void on_closed(void *context)
{
    release(context);
}

static enum error start_dialling(struct rpc_channel *channel, struct error_text *why)
{
    const struct rpc_channel_options *options = &channel->options;
    hold(channel); /* for on_closed */
    enum error error = dial_start(&channel->dial,
                                  &(struct dial_options){
                                      .socket = channel->socket,
                                      .connections = &channel->connections,
                                      .address = options->address,
                                      .tls = channel->tls,
                                      .pause_min_ms = options->reconnect_min_ms,
                                      .pause_max_ms = options->reconnect_max_ms,
                                      .context = channel,
                                      .failed = options->refused != NULL ? on_failed_dial : NULL,
                                      .closed = on_closed,
                                  },
                                  why);
    if (error != OK)
        release(channel);
    return error;
}

enum error rpc_channel_open(struct rpc_channel **out, const struct rpc_channel_options *options,
                            struct error_text *why)
{
    struct rpc_channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    atomic_init(&channel->references, 1);
    connections_init(&channel->connections);
    channel->options = with_defaults(options);
    channel->next_deadline_ms = UINT64_MAX;
    enum error error = open_socket(channel);
    if (error != OK)
        (void)error_set(why, error, "open a socket: %s", error_name(error));
    if (error == OK)
        error = watch_handshakes(channel, why);
    if (error == OK)
        error = start_dialling(channel, why);
    if (error != OK) {
        rpc_channel_close(channel);
        return error;
    }
    *out = channel;
    return OK;
}

void rpc_channel_close(struct rpc_channel *channel)
{
    if (channel == NULL || channel->closing)
        return; /* the latter from a closure that this runs */
    channel->closing = true;
    connections_stop(&channel->connections);
    transport_receiver_release(&channel->receiver);
    if (channel->send_aio != NULL) {
        nng_aio_stop(channel->send_aio);
        nng_aio_free(channel->send_aio);
    }
    if (channel->dial != NULL)
        dial_stop(channel->dial);
    else if (channel->open)
        (void)nng_close(channel->socket); /* it has never had a connection */
    handshake_forget(&channel->handshake_watch);
    tls_endpoint_close(channel->tls);
    end_all_calls(channel, STATUS_CANCELLED, "the channel was closed");
    drop_output(channel);
    release(channel); /* freed when its last task in the queue has run */
}

void rpc_channel_reconnect(struct rpc_channel *channel)
{
    if (channel->closing)
        return;
    if (channel->pipe == 0) {
        dial_now(channel->dial);
        return;
    }
    dial_elsewhere(channel->dial);
    connections_end((nng_pipe){.id = channel->pipe}, channel->options.address.tls);
}

bool rpc_channel_is_connected(const struct rpc_channel *channel)
{
    return channel->pipe != 0;
}

const char *rpc_channel_problem(const struct rpc_channel *channel)
{
    return channel->problem[0] == '\0' ? NULL : channel->problem;
}

size_t rpc_channel_addresses(const struct rpc_channel *channel)
{
    return dial_addresses(channel->dial);
}

size_t rpc_channel_open_calls(const struct rpc_channel *channel)
{
    return HASH_COUNT(channel->calls);
}

/* ---- deadlines, cancelling, credits ---- */

static void end_late_calls(struct rpc_channel *channel, uint64_t now_ms)
{
    const struct rpc_result late =
        failure(STATUS_DEADLINE_EXCEEDED, "the server did not answer in time");
    uint64_t earliest_ms = UINT64_MAX;
    /* Calls that closures make meanwhile lower the value themselves. */
    channel->next_deadline_ms = UINT64_MAX;
    uint64_t last_id = channel->last_id;
    channel->tick_cursor = channel->calls;
    while (channel->tick_cursor != NULL && channel->tick_cursor->id <= last_id) {
        struct call *call = channel->tick_cursor;
        channel->tick_cursor = call->hh.next;
        if (call->deadline_ms <= now_ms)
            end_call(channel, call, &late); /* its closure may end others, too */
        else if (call->deadline_ms < earliest_ms)
            earliest_ms = call->deadline_ms;
    }
    if (earliest_ms < channel->next_deadline_ms)
        channel->next_deadline_ms = earliest_ms;
}

void rpc_channel_tick(struct rpc_channel *channel, uint64_t monotonic_ms)
{
    bool lost = atomic_exchange(&channel->lost_event, false);
    if (monotonic_ms > channel->now_ms)
        channel->now_ms = monotonic_ms;
    if (channel->ticking || (!lost && monotonic_ms < channel->next_deadline_ms))
        return;
    hold(channel); /* a closure may close it */
    channel->ticking = true;
    if (lost && channel->pipe != 0)
        lose_connection(channel);
    if (!channel->closing)
        end_late_calls(channel, monotonic_ms);
    channel->ticking = false;
    release(channel);
}

uint64_t rpc_channel_next_tick(const struct rpc_channel *channel)
{
    return channel->next_deadline_ms;
}

void rpc_channel_cancel(struct rpc_channel *channel, uint64_t id)
{
    struct call *call;
    HASH_FIND(hh, channel->calls, &id, sizeof id, call);
    if (call == NULL)
        return;
    const struct rpc_result given_up = failure(STATUS_CANCELLED, "given up by the caller");
    /* If there is no room for CANCEL, the server sends an unneeded reply. */
    (void)send_control(channel, JACKDAW__ENVELOPE__KIND__CANCEL, id, 0);
    end_call(channel, call, &given_up);
}

void rpc_channel_credit(struct rpc_channel *channel, uint64_t id, uint32_t credits)
{
    struct call *call;
    HASH_FIND(hh, channel->calls, &id, sizeof id, call);
    if (call == NULL)
        return;
    uint32_t room = RPC_CREDITS_MAX - call->credits_owed;
    call->credits_owed += credits < room ? credits : room;
    grant(channel, call);
}

/* ---- making calls ---- */

static Jackdaw__Envelope head_of(const struct rpc_stub *stub, unsigned method_index, uint64_t id)
{
    const ProtobufCServiceDescriptor *descriptor = stub->service.descriptor;
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.protocol = RPC_PROTOCOL;
    head.service = (char *)descriptor->name;
    head.method = (char *)descriptor->methods[method_index].name;
    head.timeout_ms = stub->timeout_ms;
    head.token.data = (uint8_t *)stub->token;
    head.token.len = stub->token_size;
    head.resent = stub->resent;
    if (stub->one_way) {
        head.kind = JACKDAW__ENVELOPE__KIND__NOTE;
    } else {
        head.kind = JACKDAW__ENVELOPE__KIND__REQUEST;
        head.call = id;
        head.credits = stub->credits > 1 ? stub->credits : 0;
    }
    return head;
}

static enum error send_request(struct rpc_stub *stub, unsigned method_index,
                               const ProtobufCMessage *input, uint64_t id)
{
    Jackdaw__Envelope head = head_of(stub, method_index, id);
    uint8_t small[1024];
    size_t size = protobuf_c_message_get_packed_size(input);
    uint8_t *bytes = size <= sizeof small ? small : malloc(size);
    if (bytes == NULL)
        return ERROR_NO_MEMORY;
    (void)protobuf_c_message_pack(input, bytes);
    enum error error = append(stub->channel, &head, &(struct rpc_chunk){bytes, size}, 1);
    if (bytes != small)
        free(bytes);
    return error;
}

/* When a call that is made now ends. The owner may not have ticked for long, when nothing was due;
 * its clock may also be ahead of the real one, as in tests. */
static uint64_t deadline_after(const struct rpc_channel *channel, uint32_t timeout_ms)
{
    if (timeout_ms == 0)
        return UINT64_MAX;
    uint64_t now_ms = clock_monotonic_ms();
    return (now_ms > channel->now_ms ? now_ms : channel->now_ms) + timeout_ms;
}

static enum error start_call(struct rpc_stub *stub, unsigned method_index,
                             const ProtobufCMessage *input, ProtobufCClosure closure, void *result)
{
    struct rpc_channel *channel = stub->channel;
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL)
        return ERROR_NO_MEMORY;
    call->id = ++channel->last_id;
    call->deadline_ms = deadline_after(channel, stub->timeout_ms);
    call->output = stub->service.descriptor->methods[method_index].output;
    call->closure = closure;
    call->result = result;
    uint64_t id = call->id;
    HASH_ADD(hh, channel->calls, id, sizeof call->id, call);
    if (call->id == 0) {
        free(call);
        return ERROR_NO_MEMORY;
    }
    enum error error = send_request(stub, method_index, input, id);
    if (error != OK) {
        HASH_DELETE(hh, channel->calls, call);
        free(call);
        return error;
    }
    if (call->deadline_ms < channel->next_deadline_ms)
        channel->next_deadline_ms = call->deadline_ms;
    stub->call = id;
    return OK;
}

/* How a call ends that could not be made. */
static struct rpc_result refusal(enum error error)
{
    switch (error) {
    case ERROR_TOO_LARGE:
        return failure(STATUS_INVALID_ARGUMENT, "the request is larger than a frame may be");
    case ERROR_CLOSED:
        return failure(STATUS_CANCELLED, "the channel was closed");
    case ERROR_FULL: {
        struct rpc_result full =
            failure(STATUS_RESOURCE_EXHAUSTED, "too many requests are waiting to be sent");
        full.retry_ms = RETRY_WHEN_FULL_MS;
        return full;
    }
    default:
        return failure(STATUS_RESOURCE_EXHAUSTED, "out of memory");
    }
}

static void send_note(struct rpc_stub *stub, unsigned method_index, const ProtobufCMessage *input)
{
    struct rpc_channel *channel = stub->channel;
    uint64_t id = channel->last_id + 1;
    if (!channel->closing && channel->pipe != 0 &&
        send_request(stub, method_index, input, id) == OK) {
        channel->last_id = id;
        stub->call = id;
    }
}

static void invoke(ProtobufCService *service, unsigned method_index, const ProtobufCMessage *input,
                   ProtobufCClosure closure, void *closure_data)
{
    struct rpc_stub *stub = (struct rpc_stub *)service;
    struct rpc_result *result = closure_data;
    stub->call = 0;
    if (stub->one_way) {
        send_note(stub, method_index, input);
        return;
    }
    enum error error = ERROR_CLOSED;
    if (!stub->channel->closing)
        error = start_call(stub, method_index, input, closure, result);
    if (error == OK)
        return;
    *result = refusal(error);
    closure(NULL, result);
}

void rpc_stub_init(struct rpc_stub *stub, struct rpc_channel *channel,
                   const ProtobufCServiceDescriptor *descriptor)
{
    *stub = (struct rpc_stub){.service = {.descriptor = descriptor, .invoke = invoke},
                              .channel = channel};
}
