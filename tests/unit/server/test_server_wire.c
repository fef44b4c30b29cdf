/* SPDX-License-Identifier: MIT */
/* The server as a peer meets it that writes its own bytes: texts that are none, frames with many
 * calls, connections that end at any moment. */
#include "base/clock.h"
#include "base/log.h"
#include "harness/sp_peer.h"
#include "rpc/protocol.h"
#include "server/core.h"
#include "support/folder.h"
#include "support/live_server.h"
#include "support/test.h"

#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    char *folder;
    struct live_server *live;
    struct device ann;
    struct sp_peer peer;
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){.folder = folder_new()};
    f->live = live_server_start(f->folder, NULL);
    device_enter(&f->ann, f->live, "ann", "lobby");
}

static void begin_peer(struct fixture *f)
{
    begin(f);
    assert_true(sp_open(&f->peer, live_server_address(f->live)));
}

static void end(struct fixture *f)
{
    device_close(&f->ann);
    live_server_stop(f->live);
    folder_remove(f->folder);
}

static void end_peer(struct fixture *f)
{
    sp_close(&f->peer);
    end(f);
}

#define PEER_TEST(name) TEST_ON(name, struct fixture, begin_peer, end_peer)

struct frame {
    uint8_t *bytes;
    size_t size;
    uint64_t calls;
};

static void frame_add_payload(struct frame *frame, const struct device *device, const char *method,
                              const void *payload, size_t size, uint32_t credits)
{
    Jackdaw__Envelope envelope = JACKDAW__ENVELOPE__INIT;
    envelope.protocol = RPC_PROTOCOL;
    envelope.call = ++frame->calls;
    envelope.service = (char *)"jackdaw.Chat";
    envelope.method = (char *)method;
    envelope.credits = credits;
    envelope.payload.data = (uint8_t *)payload;
    envelope.payload.len = size;
    envelope.token.data = (uint8_t *)device->token;
    envelope.token.len = device->token_size;
    Jackdaw__Envelope *envelopes[] = {&envelope};
    Jackdaw__Frame one = JACKDAW__FRAME__INIT;
    one.n_envelopes = 1;
    one.envelopes = envelopes;
    size_t more = jackdaw__frame__get_packed_size(&one);
    frame->bytes = realloc(frame->bytes, frame->size + more);
    assert_non_null(frame->bytes);
    frame->size += jackdaw__frame__pack(&one, frame->bytes + frame->size);
}

static void frame_add(struct frame *frame, const struct device *device, const char *method,
                      const ProtobufCMessage *request, uint32_t credits)
{
    uint8_t payload[2048];
    assert_true(protobuf_c_message_get_packed_size(request) <= sizeof payload);
    size_t size = protobuf_c_message_pack(request, payload);
    frame_add_payload(frame, device, method, payload, size, credits);
}

static void frame_add_send(struct frame *frame, const struct device *device, uint64_t number,
                           const char *text)
{
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.request = number;
    request.to = (char *)"lobby";
    request.text = (char *)text;
    frame_add(frame, device, "Send", &request.base, 0);
}

static void frame_send(struct frame *frame, struct sp_peer *peer)
{
    assert_true(sp_send(peer, SP_REQUEST_ID, frame->bytes, frame->size));
    free(frame->bytes);
    *frame = (struct frame){.bytes = NULL};
}

/* Hands replies to take until at least `count` calls have ended; fails when they do not. */
static void receive(struct sp_peer *peer, size_t count,
                    void (*take)(void *context, const Jackdaw__Envelope *reply), void *context)
{
    while (count > 0) {
        struct sp_message message;
        assert_int_equal(sp_receive(peer, LIVE_SERVER_PATIENCE_MS, &message), SP_MESSAGE);
        Jackdaw__Frame *frame = jackdaw__frame__unpack(NULL, message.size, message.body);
        assert_non_null(frame);
        for (size_t i = 0; i < frame->n_envelopes; i++) {
            take(context, frame->envelopes[i]);
            count -= count > 0 && !frame->envelopes[i]->more;
        }
        jackdaw__frame__free_unpacked(frame, NULL);
        free(message.body);
    }
}

static void take_status(void *context, const Jackdaw__Envelope *reply)
{
    *(uint32_t *)context = reply->status;
}

/* The status for a message with these bytes as its text. */
static uint32_t send_bytes(struct fixture *f, const void *text, size_t size)
{
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.request = ++f->ann.request;
    request.to = (char *)"lobby";
    uint8_t payload[256];
    size_t at = jackdaw__send_request__pack(&request, payload);
    payload[at++] = 3 << 3 | 2; /* SendRequest.text */
    payload[at++] = (uint8_t)size;
    memcpy(payload + at, text, size);
    struct frame frame = {.bytes = NULL};
    frame_add_payload(&frame, &f->ann, "Send", payload, at + size, 0);
    frame_send(&frame, &f->peer);
    uint32_t status = 99;
    receive(&f->peer, 1, take_status, &status);
    return status;
}

PEER_TEST(test_send__text_that_is_none)
{
    static const char *const wrong[] = {
        "\xff", "a\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xe2\x28\xa1",
    };
    static const char *const right[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\xa6"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(send_bytes(f, wrong[i], strlen(wrong[i])), STATUS_INVALID_ARGUMENT);
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        assert_int_equal(send_bytes(f, right[i], strlen(right[i])), STATUS_OK);
}

/* A NUL would end the text without a word: refused, and not an outcome. */
PEER_TEST(test_send__text_with_nul)
{
    assert_int_equal(send_bytes(f, "half\0lost", 9), STATUS_INVALID_ARGUMENT);
    f->ann.request--;
    assert_int_equal(send_bytes(f, "\0", 1), STATUS_INVALID_ARGUMENT);
    f->ann.request--;
    assert_int_equal(send_bytes(f, "end\0", 4), STATUS_INVALID_ARGUMENT);
    f->ann.request--;
    assert_int_equal(send_bytes(f, "whole", 5), STATUS_OK);
}

struct order {
    uint64_t next_call;
    uint64_t next_number;
    uint64_t last_seq;
};

static void take_in_order(void *context, const Jackdaw__Envelope *envelope)
{
    struct order *order = context;
    assert_int_equal(envelope->call, order->next_call);
    order->next_call++;
    assert_int_equal(envelope->status, STATUS_OK);
    Jackdaw__SendReply *reply =
        jackdaw__send_reply__unpack(NULL, envelope->payload.len, envelope->payload.data);
    assert_non_null(reply);
    assert_int_equal(reply->number, order->next_number);
    order->next_number++;
    assert_true(reply->position->seq > order->last_seq);
    order->last_seq = reply->position->seq;
    jackdaw__send_reply__free_unpacked(reply, NULL);
}

PEER_TEST(test_frame__a_thousand_calls_are_answered_in_order)
{
    struct order order = {.next_number = 1};
    for (int round = 0; round < 3; round++) {
        struct frame frame = {.bytes = NULL};
        for (int i = 0; i < 1000; i++)
            frame_add_send(&frame, &f->ann, ++f->ann.request, "x");
        frame_send(&frame, &f->peer);
        order.next_call = 1;
        receive(&f->peer, 1000, take_in_order, &order);
    }
}

static void take_any(void *context, const Jackdaw__Envelope *envelope)
{
    (void)envelope;
    (*(size_t *)context)++;
}

/* Every kind of call in one frame: they share its memory, and some go to other threads. */
static void add_all_kinds(struct frame *frame, struct device *device)
{
    Jackdaw__HistoryRequest history = JACKDAW__HISTORY_REQUEST__INIT;
    history.room = (char *)"lobby";
    history.limit = 100;
    Jackdaw__LoginRequest login = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[CHAT_TOKEN_BYTES];
    randombytes_buf(token, sizeof token);
    login.name = (char *)"ann";
    login.password = (char *)"wrong";
    login.token.data = token;
    login.token.len = sizeof token;
    Jackdaw__RegisterRequest registering = JACKDAW__REGISTER_REQUEST__INIT;
    registering.name = (char *)"taken";
    registering.password = (char *)"pw";
    registering.nonce.data = token;
    registering.nonce.len = 16;
    Jackdaw__ReceiveRequest receiving = JACKDAW__RECEIVE_REQUEST__INIT;
    Jackdaw__JoinRoomRequest join = JACKDAW__JOIN_ROOM_REQUEST__INIT;
    join.room = (char *)"lobby";
    Jackdaw__ListMembersRequest list = JACKDAW__LIST_MEMBERS_REQUEST__INIT;
    list.room = (char *)"lobby";
    frame_add(frame, device, "History", &history.base, 0);
    frame_add(frame, device, "Login", &login.base, 0);
    frame_add(frame, device, "RegisterAccount", &registering.base, 0);
    frame_add_send(frame, device, ++device->request, "all kinds");
    join.request = ++device->request;
    frame_add(frame, device, "JoinRoom", &join.base, 0);
    frame_add(frame, device, "ListMembers", &list.base, 0);
    frame_add(frame, device, "Receive", &receiving.base, 40);
}

PEER_TEST(test_frame__calls_of_every_kind_share_it)
{
    struct frame frame = {.bytes = NULL};
    for (int i = 0; i < 8; i++)
        add_all_kinds(&frame, &f->ann);
    frame_send(&frame, &f->peer);
    size_t replies = 0;
    receive(&f->peer, 8 * 6 + 7, take_any, &replies); /* all but the last Receive end */
    sp_close(&f->peer);
    assert_int_equal(device_send(&f->ann, "lobby", "alive"), STATUS_OK);
}

PEER_TEST(test_frame__too_many_calls_end_the_connection)
{
    struct frame frame = {.bytes = NULL};
    for (unsigned i = 0; i < RPC_ENVELOPES_MAX + 1; i++)
        frame_add_send(&frame, &f->ann, f->ann.request + 1, "x");
    frame_send(&frame, &f->peer);
    assert_true(sp_wait_closed(&f->peer, LIVE_SERVER_PATIENCE_MS));
    sp_close(&f->peer);
    assert_int_equal(device_send(&f->ann, "lobby", "alive"), STATUS_OK);
}

static size_t count_descriptors(void)
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    return count;
}

static void end_connection(struct sp_peer *peer, int how)
{
    if (how == 0)
        sp_close(peer);
    else if (how == 1)
        sp_close_with_reset(peer);
    else
        sp_reset(peer);
}

TEST_F(test_connection__ends_with_everything_under_way)
{
    for (int i = 0; i < 50; i++)
        assert_int_equal(device_send(&f->ann, "lobby", "something to read"), STATUS_OK);
    struct device other = {.token_size = CHAT_TOKEN_BYTES};
    memcpy(other.token, f->ann.token, sizeof other.token);
    other.request = f->ann.request;
    /* The check of the database may open a connection yet. SQLite keeps its descriptor, for the next
     * one, as long as another connection has a lock. */
    size_t before = count_descriptors() + 1;
    for (int round = 0; round < 400; round++) {
        struct sp_peer peer;
        assert_true(sp_open(&peer, live_server_address(f->live)));
        struct frame frame = {.bytes = NULL};
        add_all_kinds(&frame, &other);
        frame_send(&frame, &peer);
        if (round % 4 == 3) { /* the last of them surely arrived */
            size_t replies = 0;
            receive(&peer, 1, take_any, &replies);
        }
        end_connection(&peer, round % 3);
    }
    /* Nobody else minded, and nothing is left of them. */
    struct answer answer;
    ASK(&f->ann, &answer, "History", History, HISTORY, (r.room = (char *)"lobby"));
    assert_int_equal(answer.status, STATUS_OK);
    answer_clear(&answer);
    DEVICE_WAIT(&f->ann, count_descriptors() <= before);
}

/* The server stops with everything under way. */
TEST(test_server__stops_with_everything_under_way)
{
    for (int round = 0; round < 20; round++) {
        struct fixture f;
        begin(&f);
        struct sp_peer peers[5];
        for (int i = 0; i < 5; i++) {
            assert_true(sp_open(&peers[i], live_server_address(f.live)));
            struct frame frame = {.bytes = NULL};
            for (int k = 0; k < 5; k++)
                add_all_kinds(&frame, &f.ann);
            frame_send(&frame, &peers[i]);
        }
        if (round % 2 == 0) {
            size_t replies = 0;
            receive(&peers[0], 1, take_any, &replies);
        }
        end(&f);
        for (int i = 0; i < 5; i++)
            sp_close(&peers[i]);
    }
}

struct early_release {
    struct server_options options;
    struct address address;
    sem_t opened;
    uint64_t frames; /* are waited for */
};

/* As when opening fails after the client address was open: what came in is not handled. */
static void *open_and_release(void *argument)
{
    struct early_release *unrun = argument;
    struct core core;
    struct error_text why;
    assert_int_equal(core_open(&core, &unrun->options, &why), OK);
    rpc_server_address(core.clients, &unrun->address);
    (void)sem_post(&unrun->opened);
    struct rpc_server_stats stats = {.frames_received = 0};
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    while (stats.frames_received < unrun->frames && clock_monotonic_ms() < until_ms)
        rpc_server_stats(core.clients, &stats);
    core_release(&core);
    return NULL;
}

TEST_F(test_core_release__with_requests_that_nobody_ran)
{
    live_server_stop(f->live);
    char data[4096];
    (void)snprintf(data, sizeof data, "--data_dir=%s", f->folder);
    char *words[] = {(char *)"server", (char *)"--client_address=127.0.0.1:0",
                     (char *)"--internal_address=127.0.0.1:0", data};
    struct error_text why;
    struct early_release unrun = {.frames = 3};
    assert_int_equal(server_options_parse(4, words, &unrun.options, &why), OK);
    (void)sem_init(&unrun.opened, 0, 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, open_and_release, &unrun), 0);
    while (sem_wait(&unrun.opened) != 0)
        ;
    struct sp_peer peer;
    assert_true(sp_open(&peer, &unrun.address));
    for (uint64_t i = 0; i < unrun.frames; i++) {
        struct frame frame = {.bytes = NULL};
        add_all_kinds(&frame, &f->ann);
        frame_send(&frame, &peer);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    sp_close(&peer);
    (void)sem_destroy(&unrun.opened);
    server_options_release(&unrun.options);
    /* And none of it was carried out. */
    f->live = live_server_start(f->folder, NULL);
    device_reopen(&f->ann, f->live);
    f->ann.request = 1;
    assert_int_equal(device_send(&f->ann, "lobby", "the next number"), STATUS_OK);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    rpc_init();
    return 0;
}
