/* SPDX-License-Identifier: MIT */
#include "harness/flood.h"

#include "harness/raw_chat.h"
#include "rpc/protocol.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>

#define FRAME_CALLS 256
#define FRAMES_AHEAD 2
#define REPLY_MS 60000

struct sender {
    struct process_group *group;
    struct sp_peer peer;
    const char *name; /* also of the room */
    uint8_t token[RAW_TOKEN_BYTES];
    uint64_t request; /* the next one */
    size_t answered;
};

struct call {
    Jackdaw__Envelope envelope;
    uint8_t payload[160];
};

static void make_call(struct sender *sender, struct call *call)
{
    char text[32];
    Jackdaw__SendRequest send = JACKDAW__SEND_REQUEST__INIT;
    (void)snprintf(text, sizeof text, "drop %llu", (unsigned long long)sender->request);
    send.request = sender->request;
    send.to = (char *)sender->name;
    send.text = text;
    assert_true(jackdaw__send_request__get_packed_size(&send) <= sizeof call->payload);
    jackdaw__envelope__init(&call->envelope);
    call->envelope.kind = JACKDAW__ENVELOPE__KIND__REQUEST;
    call->envelope.protocol = RPC_PROTOCOL;
    call->envelope.call = sender->request;
    call->envelope.service = (char *)"jackdaw.Chat";
    call->envelope.method = (char *)"Send";
    call->envelope.token = (ProtobufCBinaryData){.data = sender->token, .len = RAW_TOKEN_BYTES};
    call->envelope.payload = (ProtobufCBinaryData){
        .data = call->payload, .len = jackdaw__send_request__pack(&send, call->payload)};
    sender->request++;
}

static void send_frame(struct sender *sender, size_t count)
{
    static struct call calls[FRAME_CALLS];
    static Jackdaw__Envelope *envelopes[FRAME_CALLS];
    for (size_t i = 0; i < count; i++) {
        make_call(sender, &calls[i]);
        envelopes[i] = &calls[i].envelope;
    }
    Jackdaw__Frame frame = JACKDAW__FRAME__INIT;
    frame.n_envelopes = count;
    frame.envelopes = envelopes;
    uint8_t *bytes = malloc(jackdaw__frame__get_packed_size(&frame));
    assert_non_null(bytes);
    size_t size = jackdaw__frame__pack(&frame, bytes);
    if (!sp_send(&sender->peer, SP_REQUEST_ID, bytes, size))
        process_group_fail(sender->group, "the server took no more from %s", sender->name);
    free(bytes);
}

static void take_frame(struct sender *sender)
{
    struct sp_message message;
    if (sp_receive(&sender->peer, REPLY_MS, &message) != SP_MESSAGE)
        process_group_fail(sender->group, "the server did not answer %s", sender->name);
    Jackdaw__Frame *frame = jackdaw__frame__unpack(NULL, message.size, message.body);
    assert_non_null(frame);
    for (size_t i = 0; i < frame->n_envelopes; i++) {
        const Jackdaw__Envelope *envelope = frame->envelopes[i];
        if (envelope->status != STATUS_OK)
            process_group_fail(sender->group, "request %llu of %s got %u: %s",
                               (unsigned long long)envelope->call, sender->name, envelope->status,
                               envelope->message);
    }
    sender->answered += frame->n_envelopes;
    jackdaw__frame__free_unpacked(frame, NULL);
    free(message.body);
}

static void join(struct sender *sender)
{
    struct raw_reply reply;
    Jackdaw__JoinRoomRequest request = JACKDAW__JOIN_ROOM_REQUEST__INIT;
    request.request = sender->request++;
    request.room = (char *)sender->name;
    const struct raw_call call = {
        .method = "JoinRoom", .message = &request.base, .token = sender->token};
    if (!raw_chat(&sender->peer, &call, &reply) || reply.status != STATUS_OK)
        process_group_fail(sender->group, "%s cannot join", sender->name);
    free(reply.payload);
}

static void send_all(struct sender *sender, size_t count)
{
    size_t sent = 0;
    while (sender->answered < count) {
        while (sent < count && sent - sender->answered <= (FRAMES_AHEAD - 1) * FRAME_CALLS) {
            size_t calls = count - sent < FRAME_CALLS ? count - sent : FRAME_CALLS;
            send_frame(sender, calls);
            sent += calls;
        }
        take_frame(sender);
        process_group_turn(sender->group, 0);
    }
}

void flood(struct process_group *group, const char *address, const char *name, size_t count)
{
    struct sender sender = {.group = group, .name = name, .request = 1};
    struct address parsed;
    assert_int_equal(address_parse(address, &parsed, NULL), OK);
    (void)snprintf((char *)sender.token, sizeof sender.token, "token of %s", name);
    uint64_t started_ms = process_group_now_ms();
    if (!sp_open(&sender.peer, &parsed) || !raw_login(&sender.peer, name, sender.token))
        process_group_fail(group, "%s cannot log in at %s", name, address);
    join(&sender);
    send_all(&sender, count);
    sp_close(&sender.peer);
    process_group_note(group, "%s sent %zu messages in %llu ms", name, count,
                       (unsigned long long)(process_group_now_ms() - started_ms));
}
