/* SPDX-License-Identifier: MIT */
/* Requests that nobody waits for: carried out, in order, and never answered. */
#include "probe.h"
#include "rpc/protocol.h"

#include <stdlib.h>
#include <string.h>

static void begin(struct probe_fixture *f)
{
    probe_fixture_begin(f);
    client_expect_service(&f->client);
}

static void begin_few_calls(struct probe_fixture *f)
{
    probe_fixture_start(
        f, &(struct rpc_server_options){.waiting_calls_max = 100, .peer_calls_max = 50});
    client_expect_service(&f->client);
}

#define NOTE_TEST(name) PROBE_TEST_ON(name, begin)

static void echo_note(struct probe_fixture *f, uint64_t number)
{
    Probe__Text request = PROBE__TEXT__INIT;
    request.number = number;
    request.text = (char *)"note";
    probe__probe__echo(&f->one_way.service, &request, NULL, NULL);
}

NOTE_TEST(test_note__is_carried_out_in_order)
{
    size_t echoed = f->counters->echoed;
    uint64_t frames = probe_stats(f->probe).frames_sent;
    for (uint64_t number = 1; number <= 3000; number++) {
        echo_note(f, number);
        assert_true(f->one_way.call != 0);
        if (number % 700 == 0)
            client_turn(&f->client, 0);
    }
    assert_int_equal(rpc_channel_open_calls(f->client.channel), 0);
    struct outcome outcome = client_ask(&f->client, "call", 3001);
    assert_int_equal(outcome.result.status, STATUS_OK);
    assert_int_equal(f->counters->echoed, echoed + 3001);
    assert_int_equal(f->counters->out_of_order, 0);
    assert_int_equal(probe_stats(f->probe).open_calls, 0);
    assert_int_equal(probe_stats(f->probe).frames_sent, frames + 1);
}

NOTE_TEST(test_note__that_is_held_is_an_open_call)
{
    Probe__Text request = PROBE__TEXT__INIT;
    for (unsigned keep = 0; keep < 2; keep++) {
        request.keep = keep == 1;
        probe__probe__hold(&f->one_way.service, &request, NULL, NULL);
        WAIT_UNTIL(&f->client, f->counters->held == 1);
        assert_int_equal(probe_stats(f->probe).open_calls, 1);
        uint64_t frames = probe_stats(f->probe).frames_sent;
        probe_release(f->probe, 1, STATUS_OK);
        assert_int_equal(f->counters->held, 0);
        assert_int_equal(probe_stats(f->probe).open_calls, 0);
        client_expect_service(&f->client);
        assert_int_equal(probe_stats(f->probe).frames_sent, frames + 1);
    }
}

NOTE_TEST(test_note__without_a_connection_is_dropped)
{
    struct rpc_server_options options = {.address = *probe_address(f->probe)};
    probe_stop(f->probe);
    WAIT_UNTIL(&f->client, !rpc_channel_is_connected(f->client.channel));
    echo_note(f, 1);
    assert_true(f->one_way.call == 0);
    while ((f->probe = probe_try_start(&options, NULL)) == NULL)
        client_turn(&f->client, 10);
    f->counters = probe_counters(f->probe);
    client_expect_service(&f->client);
    assert_int_equal(f->counters->echoed, 1);
    echo_note(f, 1);
    assert_true(f->one_way.call != 0);
    WAIT_UNTIL(&f->client, f->counters->echoed == 2);
}

/* A note that is too large is dropped, those after it are not. */
NOTE_TEST(test_note__too_large)
{
    size_t echoed = f->counters->echoed;
    char *text = calloc(1, RPC_FRAME_BYTES_DEFAULT + 1);
    memset(text, 'x', RPC_FRAME_BYTES_DEFAULT);
    Probe__Text request = PROBE__TEXT__INIT;
    request.text = text;
    probe__probe__echo(&f->one_way.service, &request, NULL, NULL);
    assert_true(f->one_way.call == 0);
    free(text);
    echo_note(f, 1);
    WAIT_UNTIL(&f->client, f->counters->echoed == echoed + 1);
}

PROBE_TEST_ON(test_note__more_open_than_a_connection_may_have, begin_few_calls)
{
    Probe__Text request = PROBE__TEXT__INIT;
    for (size_t i = 0; i < 60; i++)
        probe__probe__hold(&f->one_way.service, &request, NULL, NULL);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).calls_rejected == 10);
    assert_int_equal(f->counters->held, 50);
    probe_release(f->probe, 50, STATUS_OK);
    client_expect_service(&f->client);
    assert_int_equal(f->client.disconnected, 0);
}

static ProtobufCBinaryData packed(const ProtobufCMessage *message)
{
    ProtobufCBinaryData out = {.len = protobuf_c_message_get_packed_size(message)};
    out.data = malloc(out.len + 1);
    (void)protobuf_c_message_pack(message, out.data);
    return out;
}

static void send_frame(struct sp_peer *peer, const Jackdaw__Envelope *envelopes, size_t count)
{
    ProtobufCBinaryData frame = probe_frame(envelopes, count);
    assert_true(sp_send(peer, SP_REQUEST_ID, frame.data, frame.len));
    free(frame.data);
}

static Jackdaw__Envelope note_to(const char *method)
{
    Jackdaw__Envelope note = probe_request(method, 7); /* the number is of no account */
    note.kind = JACKDAW__ENVELOPE__KIND__NOTE;
    note.credits = 10;
    return note;
}

/* It is alone in the next frame that comes. */
static void expect_answer_to(struct sp_peer *peer, uint64_t call)
{
    Jackdaw__Frame *frame = probe_receive_frame(peer);
    assert_int_equal(frame->n_envelopes, 1);
    assert_true(frame->envelopes[0]->call == call);
    jackdaw__frame__free_unpacked(frame, NULL);
}

/* Calls, and expects that nothing but the one answer to that comes. */
static void expect_one_answer(struct sp_peer *peer, uint64_t call)
{
    Jackdaw__Envelope request = probe_request("Echo", call);
    send_frame(peer, &request, 1);
    expect_answer_to(peer, call);
}

/* Notes that find the server full are dropped; nobody is told, nobody is disconnected. */
PROBE_TEST_ON(test_note__to_a_full_server, begin_few_calls)
{
    size_t echoed = f->counters->echoed;
    Jackdaw__Envelope notes[10];
    for (size_t i = 0; i < 10; i++)
        notes[i] = note_to("Echo");
    struct sp_peer peer = probe_open_peer(f->probe);
    probe_pause(f->probe);
    for (size_t i = 0; i < 50; i++)
        send_frame(&peer, notes, 10);
    expect_one_answer(&peer, 1); /* also that it is full */
    notes[9].kind = JACKDAW__ENVELOPE__KIND__REQUEST;
    notes[9].call = 2;
    send_frame(&peer, notes, 10);
    expect_answer_to(&peer, 2);
    probe_resume(f->probe);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).calls_rejected == 411);
    assert_int_equal(f->counters->echoed, echoed + 100);
    sp_close(&peer);
}

/* Whatever a handler does, and whatever is wrong with a note. */
NOTE_TEST(test_note__is_never_answered)
{
    Probe__Refusal refusal = PROBE__REFUSAL__INIT;
    refusal.status = STATUS_ABORTED;
    Probe__Refusal elsewhere = refusal;
    elsewhere.elsewhere = true;
    Probe__FlowRequest flow = PROBE__FLOW_REQUEST__INIT;
    flow.pages = 0;
    Jackdaw__Envelope notes[] = {note_to("Echo"),   note_to("Work"), note_to("Refuse"),
                                 note_to("Refuse"), note_to("Flow"), note_to("Sing"),
                                 note_to("Echo"),   note_to("Echo"), note_to("Hold")};
    uint8_t large[5000] = {0};
    uint8_t broken[] = {0x0a, 0xff};
    notes[2].payload = packed(&refusal.base);
    notes[3].payload = packed(&elsewhere.base);
    notes[4].payload = packed(&flow.base);
    notes[6].protocol = 2u << 16;
    notes[7].payload = (ProtobufCBinaryData){sizeof broken, broken};
    notes[8].payload = (ProtobufCBinaryData){sizeof large, large};
    struct sp_peer peer = probe_open_peer(f->probe);
    send_frame(&peer, notes, sizeof notes / sizeof notes[0]);
    expect_one_answer(&peer, 1);
    WAIT_UNTIL(&f->client, f->counters->worked == 2);
    assert_int_equal(probe_stats(f->probe).open_calls, 1); /* Flow waits for credits */
    assert_int_equal(f->counters->pages, 0);
    probe_drain(f->probe);
    send_frame(&peer, notes, 1);
    expect_one_answer(&peer, 2);
    for (size_t i = 2; i <= 4; i++)
        free(notes[i].payload.data);
    sp_close(&peer);
    WAIT_UNTIL(&f->client, f->counters->cancelled == 1); /* told like any call's end */
}

/* CANCEL and CREDIT are about calls: a note has no number of its own. */
NOTE_TEST(test_note__is_not_controlled)
{
    Jackdaw__Envelope envelopes[] = {note_to("Hold"), JACKDAW__ENVELOPE__INIT,
                                     JACKDAW__ENVELOPE__INIT};
    envelopes[1].kind = JACKDAW__ENVELOPE__KIND__CREDIT;
    envelopes[1].credits = 5;
    envelopes[2].kind = JACKDAW__ENVELOPE__KIND__CANCEL;
    envelopes[1].call = envelopes[2].call = envelopes[0].call;
    struct sp_peer peer = probe_open_peer(f->probe);
    send_frame(&peer, envelopes, 3);
    expect_one_answer(&peer, 1);
    assert_int_equal(f->counters->held, 1);
    assert_int_equal(f->counters->cancelled, 0);
    assert_int_equal(f->counters->credited, 0);
    probe_release(f->probe, 1, STATUS_OK);
    sp_close(&peer);
}
