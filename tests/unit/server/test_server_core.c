/* SPDX-License-Identifier: MIT */
/* The life of a server: starting, stopping, starting again, a disk that is full, streams over the
 * wire through all of it. */
#include "base/clock.h"
#include "base/log.h"
#include "rpc/protocol.h"
#include "server/core.h"
#include "support/folder.h"
#include "support/live_server.h"
#include "support/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define TEXT(text) ((char *)(text))

struct stream {
    struct answer answer; /* first */
    struct device *device;
    Jackdaw__Position cursor;
    uint64_t numbers; /* messages that came, whose numbers are 1, 2, 3, ... */
    bool in_order;
    bool gone;       /* PRESENCE: somebody went */
    uint32_t credit; /* given back for each page */
};

struct fixture {
    char *folder;
    struct live_server *live;
    struct device ann;
    struct device bob;
    struct stream stream; /* of bob */
};

static struct stream stream_from_start(void)
{
    struct stream stream = {.answer = {.context = NULL}, .credit = 1};
    jackdaw__position__init(&stream.cursor);
    return stream;
}

static void begin_with(struct fixture *f, const char *const *options)
{
    *f = (struct fixture){.folder = folder_new(), .stream = stream_from_start()};
    f->live = live_server_start(f->folder, options);
    device_enter(&f->ann, f->live, "ann", "lobby");
    device_enter(&f->bob, f->live, "bob", "lobby");
}

static void begin(struct fixture *f)
{
    begin_with(f, NULL);
}

static void end(struct fixture *f)
{
    device_close(&f->ann);
    device_close(&f->bob);
    answer_clear(&f->stream.answer);
    live_server_stop(f->live);
    folder_remove(f->folder);
}

static void restart(struct fixture *f)
{
    live_server_stop(f->live);
    f->live = live_server_start(f->folder, NULL);
    device_reopen(&f->ann, f->live);
    device_reopen(&f->bob, f->live);
}

static void take_page(struct answer *answer, const ProtobufCMessage *reply)
{
    struct stream *stream = (struct stream *)answer;
    const Jackdaw__ReceiveReply *page = (const Jackdaw__ReceiveReply *)reply;
    if (page->after->seq != stream->cursor.seq || page->after->epoch != stream->cursor.epoch)
        stream->in_order = false;
    stream->cursor.seq = page->next->seq;
    stream->cursor.epoch = page->next->epoch;
    for (size_t i = 0; i < page->n_events; i++) {
        const Jackdaw__Event *event = page->events[i];
        if (event->kind == JACKDAW__EVENT__KIND__MESSAGE && event->number != ++stream->numbers)
            stream->in_order = false;
        if (event->kind == JACKDAW__EVENT__KIND__PRESENCE && !event->active)
            stream->gone = true;
    }
    if (!answer->ended && stream->credit > 0)
        rpc_channel_credit(stream->device->channel, answer->call, stream->credit);
}

static void stream_open(struct stream *stream, struct device *device, uint32_t credits)
{
    answer_clear(&stream->answer);
    stream->device = device;
    stream->in_order = true;
    stream->answer.each = take_page;
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    request.after = &stream->cursor;
    uint32_t timeout_ms = device->timeout_ms;
    device->timeout_ms = 0;
    ask_start(device, &stream->answer, "Receive", &request.base, credits);
    device->timeout_ms = timeout_ms;
}

TEST_F(test_core_stop__open_polls_are_answered)
{
    struct stream of_ann = stream_from_start();
    struct stream of_bob = stream_from_start();
    stream_open(&of_ann, &f->ann, 10);
    DEVICE_WAIT(&f->ann, of_ann.cursor.seq > 0);
    stream_open(&of_bob, &f->bob, 1);
    answer_wait(&f->bob, &of_bob.answer); /* what there is already */
    stream_open(&of_bob, &f->bob, 1);
    device_turn(&f->bob, 10);
    assert_int_equal(device_send(&f->ann, "lobby", "one"), STATUS_OK);
    answer_wait(&f->bob, &of_bob.answer);
    stream_open(&of_bob, &f->bob, 1);
    struct answer beat;
    ASK(&f->bob, &beat, "Heartbeat", Heartbeat, HEARTBEAT, (r.after = NULL)); /* it has arrived */
    answer_clear(&beat);
    live_server_ask_to_stop(f->live);
    answer_wait(&f->ann, &of_ann.answer);
    answer_wait(&f->bob, &of_bob.answer);
    assert_int_equal(of_ann.answer.status, STATUS_UNAVAILABLE);
    assert_int_equal(of_bob.answer.status, STATUS_UNAVAILABLE);
    assert_string_equal(of_ann.answer.message, "the server is shutting down");
    assert_string_equal(of_bob.answer.message, "the server is shutting down");
    answer_clear(&of_ann.answer);
    answer_clear(&of_bob.answer);
}

/* Hashing all that waits would take seconds; nobody is kept waiting for it. */
TEST(test_core_stop__logins_under_way_are_answered)
{
    enum { MANY = 64 };
    struct fixture f;
    begin_with(&f, (const char *[]){"--password_cost=interactive", NULL});
    struct answer *answers = test_calloc(MANY, sizeof *answers);
    uint8_t nonces[MANY][16];
    char names[MANY][16];
    for (size_t i = 0; i < MANY; i++) {
        memset(nonces[i], (int)i, sizeof nonces[i]);
        (void)snprintf(names[i], sizeof names[i], "new%zu", i);
        Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
        request.name = names[i];
        request.password = TEXT("pw");
        request.nonce.data = nonces[i];
        request.nonce.len = sizeof nonces[i];
        ask_start(&f.ann, &answers[i], "RegisterAccount", &request.base, 0);
    }
    answer_wait(&f.ann, &answers[0]);
    live_server_ask_to_stop(f.live);
    size_t unavailable = 0;
    for (size_t i = 0; i < MANY; i++) {
        answer_wait(&f.ann, &answers[i]);
        assert_true(answers[i].status == STATUS_OK || answers[i].status == STATUS_UNAVAILABLE);
        unavailable += answers[i].status == STATUS_UNAVAILABLE &&
                       strstr(answers[i].message, "shutting down") != NULL;
        answer_clear(&answers[i]);
    }
    assert_true(unavailable > 0);
    test_free(answers);
    end(&f);
}

static void expect_refusal(const char *folder, const char *const *options, const char *hint)
{
    struct error_text why = {.text = ""};
    assert_null(live_server_try(folder, options, &why));
    if (strstr(why.text, hint) == NULL)
        fail_msg("\"%s\" does not tell of \"%s\"", why.text, hint);
}

TEST_F(test_core_open__what_another_server_has)
{
    char option[100];
    char *other = folder_new();
    expect_refusal(f->folder, NULL, f->folder);
    (void)snprintf(option, sizeof option, "--client_address=127.0.0.1:%u",
                   (unsigned)live_server_address(f->live)->port);
    expect_refusal(other, (const char *[]){option, NULL}, "in use");
    (void)snprintf(option, sizeof option, "--internal_address=127.0.0.1:%u",
                   (unsigned)live_server_internal_address(f->live)->port);
    for (int i = 0; i < 10; i++) /* everything was given back each time */
        expect_refusal(other, (const char *[]){option, NULL}, "in use");
    expect_refusal("/proc/nowhere", NULL, "/proc/nowhere");
    assert_int_equal(device_send(&f->ann, "lobby", "undisturbed"), STATUS_OK);
    live_server_stop(live_server_start(other, NULL));
    folder_remove(other);
}

TEST(test_core_open__folder_of_another_id)
{
    char *folder = folder_new();
    char from[4096];
    char to[4096];
    live_server_stop(live_server_start(folder, NULL));
    (void)snprintf(from, sizeof from, "%s/1", folder);
    (void)snprintf(to, sizeof to, "%s/2", folder);
    assert_int_equal(rename(from, to), 0);
    expect_refusal(folder, (const char *[]){"2", NULL}, "belongs to server 1");
    folder_remove(folder);
}

TEST_F(test_core__nothing_is_lost_by_restarts)
{
    uint64_t sent = 0;
    for (int round = 0; round < 4; round++) {
        stream_open(&f->stream, &f->bob, 10);
        for (int i = 0; i < 25; i++, sent++)
            assert_int_equal(device_send(&f->ann, "lobby", "x"), STATUS_OK);
        if (round % 2 == 0)
            DEVICE_WAIT(&f->bob, f->stream.numbers == sent);
        restart(f);
        assert_true(f->stream.answer.ended); /* the channel was closed */
    }
    stream_open(&f->stream, &f->bob, 10);
    DEVICE_WAIT(&f->bob, f->stream.numbers == sent);
    assert_true(f->stream.in_order);
}

TEST_F(test_receive__slow_reader_over_the_wire)
{
    f->stream.credit = 0;
    stream_open(&f->stream, &f->bob, 2);
    DEVICE_WAIT(&f->bob, f->stream.answer.replies > 0);
    for (int i = 0; i < 3000; i++) {
        struct answer answer = {.context = NULL};
        Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
        request.request = ++f->ann.request;
        request.to = TEXT("lobby");
        request.text = TEXT("a message of some length, so that pages have a size");
        ask_start(&f->ann, &answer, "Send", &request.base, 0);
        answer_wait(&f->ann, &answer);
        assert_int_equal(answer.status, STATUS_OK);
        answer_clear(&answer);
    }
    assert_true(f->stream.answer.replies <= 2);
    f->stream.credit = 1;
    rpc_channel_credit(f->bob.channel, f->stream.answer.call, 1);
    DEVICE_WAIT(&f->bob, f->stream.numbers == 3000);
    assert_true(f->stream.in_order);
    rpc_channel_cancel(f->bob.channel, f->stream.answer.call);
    assert_int_equal(f->stream.answer.status, STATUS_CANCELLED);
}

TEST_F(test_receive__deadline_and_replacement)
{
    struct stream first = stream_from_start();
    stream_open(&first, &f->bob, 10);
    DEVICE_WAIT(&f->bob, first.cursor.seq > 0);
    stream_open(&f->stream, &f->bob, 10);
    answer_wait(&f->bob, &first.answer);
    assert_int_equal(first.answer.status, STATUS_ABORTED);
    f->ann.timeout_ms = 100; /* both ends give up after this */
    struct answer poll = {.context = NULL};
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    Jackdaw__Position after = f->stream.cursor;
    DEVICE_WAIT(&f->bob, f->stream.cursor.seq > 0);
    after = f->stream.cursor;
    request.after = &after;
    ask_start(&f->ann, &poll, "Receive", &request.base, 1);
    answer_wait(&f->ann, &poll);
    /* Whichever end noticed first. */
    assert_true(poll.status == STATUS_DEADLINE_EXCEEDED || poll.status == STATUS_CANCELLED);
    f->ann.timeout_ms = LIVE_SERVER_PATIENCE_MS;
    assert_int_equal(device_send(&f->ann, "lobby", "on"), STATUS_OK);
    DEVICE_WAIT(&f->bob, f->stream.numbers == 1);
    answer_clear(&first.answer);
    answer_clear(&poll);
}

/* The cursor is of an epoch that this server has not heard of: it must not say that it was cut off. */
TEST_F(test_receive__from_an_epoch_that_is_still_to_come)
{
    struct answer poll = {.context = NULL};
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = 1000u << 16 | 1;
    after.seq = 1;
    request.after = &after;
    ask_start(&f->bob, &poll, "Receive", &request.base, 1);
    answer_wait(&f->bob, &poll);
    assert_int_equal(poll.status, STATUS_UNAVAILABLE);
    assert_true(poll.retry_ms > 0);
    answer_clear(&poll);
}

TEST(test_presence__silence_is_noticed)
{
    struct fixture f;
    begin_with(&f, (const char *[]){"--session_timeout=100", NULL});
    stream_open(&f.stream, &f.bob, 10);
    DEVICE_WAIT(&f.bob, f.stream.gone); /* ann was not heard since she joined */
    end(&f);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Asks again, with the same number, for as long as the answer says that it makes sense. */
static enum status send_stubbornly(struct device *device, const char *text)
{
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    device->request++;
    for (;;) {
        struct answer answer;
        ASK(device, &answer, "Send", Send, SEND,
            (r.request = device->request, r.to = TEXT("lobby"), r.text = TEXT(text)));
        enum status status = answer.status;
        bool again = answer.retry_ms != 0 && clock_monotonic_ms() < until_ms;
        answer_clear(&answer);
        if (!again)
            return status;
    }
}

static enum status beat_stubbornly(struct device *device)
{
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    for (;;) {
        struct answer answer;
        ASK(device, &answer, "Heartbeat", Heartbeat, HEARTBEAT, (r.after = NULL));
        enum status status = answer.status;
        bool again = status == STATUS_UNAVAILABLE && clock_monotonic_ms() < until_ms;
        answer_clear(&answer);
        if (!again)
            return status;
    }
}

TEST_F(test_core__full_disk_loses_and_doubles_nothing)
{
    stream_open(&f->stream, &f->bob, 10);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(device_send(&f->ann, "lobby", "before"), STATUS_OK);
        limit_files(0);
        for (int i = 0; i < 10; i++) {
            struct answer answer;
            ASK(&f->ann, &answer, "Send", Send, SEND,
                (r.request = f->ann.request + 1, r.to = TEXT("lobby"), r.text = TEXT("after")));
            assert_int_equal(answer.status, STATUS_UNAVAILABLE);
            assert_int_not_equal(answer.retry_ms, 0);
            answer_clear(&answer);
        }
        limit_files(RLIM_INFINITY);
        assert_int_equal(send_stubbornly(&f->ann, "after"), STATUS_OK);
    }
    DEVICE_WAIT(&f->bob, f->stream.numbers == 6);
    assert_true(f->stream.in_order);
    restart(f);
    struct answer answer;
    ASK(&f->ann, &answer, "History", History, HISTORY, (r.room = TEXT("lobby")));
    const Jackdaw__HistoryReply *reply = (const Jackdaw__HistoryReply *)answer.reply;
    assert_int_equal(reply->n_events, 6);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(reply->events[i]->text, i % 2 == 0 ? "before" : "after");
    answer_clear(&answer);
}

/* Requests while the disk is full: a login, an account, a logout; nobody is told what is undone. */
TEST_F(test_core__full_disk_and_sessions)
{
    stream_open(&f->stream, &f->bob, 10);
    DEVICE_WAIT(&f->bob, f->stream.cursor.seq > 0);
    struct device other;
    device_open(&other, f->live);
    limit_files(0);
    assert_int_equal(device_register(&other, "cy"), STATUS_UNAVAILABLE);
    assert_int_equal(device_login(&other, "ann"), STATUS_UNAVAILABLE);
    struct answer answer;
    ASK(&f->bob, &answer, "Logout", Logout, LOGOUT, (r.request = f->bob.request + 1));
    assert_int_equal(answer.status, STATUS_UNAVAILABLE);
    answer_clear(&answer);
    /* A logout and, in the same turn, what looks as if it came after it. */
    struct answer logout = {.context = NULL};
    struct answer beat = {.context = NULL};
    Jackdaw__LogoutRequest logout_request = JACKDAW__LOGOUT_REQUEST__INIT;
    logout_request.request = f->bob.request + 1;
    Jackdaw__HeartbeatRequest beat_request = JACKDAW__HEARTBEAT_REQUEST__INIT;
    bool undone = false; /* while the commit log rests, the logout is refused before that */
    uint64_t until_ms = clock_monotonic_ms() + LIVE_SERVER_PATIENCE_MS;
    while (!undone && clock_monotonic_ms() < until_ms) {
        ask_start(&f->bob, &logout, "Logout", &logout_request.base, 0);
        ask_start(&f->bob, &beat, "Heartbeat", &beat_request.base, 0);
        answer_wait(&f->bob, &logout);
        answer_wait(&f->bob, &beat);
        assert_int_equal(logout.status, STATUS_UNAVAILABLE);
        assert_int_not_equal(beat.status, STATUS_UNAUTHENTICATED);
        undone = beat.status == STATUS_UNAVAILABLE;
        answer_clear(&logout);
        answer_clear(&beat);
    }
    limit_files(RLIM_INFINITY);
    assert_true(undone);
    /* Bob's session is there, as soon as this server is the master again. */
    assert_int_equal(beat_stubbornly(&f->bob), STATUS_OK);
    if (f->stream.answer.ended) {
        assert_int_equal(f->stream.answer.status, STATUS_UNAVAILABLE);
        stream_open(&f->stream, &f->bob, 10);
    }
    assert_int_equal(send_stubbornly(&f->ann, "on"), STATUS_OK);
    DEVICE_WAIT(&f->bob, f->stream.numbers == 1);
    device_close(&other);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    rpc_init();
    (void)signal(SIGXFSZ, SIG_IGN);
    return 0;
}
