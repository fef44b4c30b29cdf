/* SPDX-License-Identifier: MIT */
/* Connections and ends that go away at the worst moment, hundreds of times, with descriptors and
 * calls counted. */
#include "probe.h"
#include "rpc/protocol.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define OUTCOMES 200 /* that a test uses */

static void begin(struct probe_fixture *f)
{
    probe_fixture_begin(f);
    client_expect_service(&f->client);
}

#define LOSS_TEST(name) PROBE_TEST_ON(name, begin)

static void clear_outcomes(struct probe_fixture *f)
{
    memset(f->outcomes, 0, OUTCOMES * sizeof *f->outcomes);
}

/* A probe at this address, on the port of one that was. */
static void start_at(struct probe_fixture *f, const struct address *address)
{
    const struct rpc_server_options options = {.address = *address};
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    do {
        f->probe = probe_try_start(&options, NULL);
        assert_true(clock_monotonic_ms() < until_ms);
    } while (f->probe == NULL);
    f->counters = probe_counters(f->probe);
}

static void restart(struct probe_fixture *f)
{
    struct address address = *probe_address(f->probe);
    probe_stop(f->probe);
    start_at(f, &address);
}

LOSS_TEST(test_handshake__that_is_reset)
{
    size_t before = count_descriptors();
    for (int i = 0; i < 500; i++) {
        struct sp_peer peer = probe_connect_peer(f->probe, 0);
        if (i % 5 == 1)
            assert_true(sp_send_bytes(&peer, "\x00SP", 3));
        if (i % 5 == 2)
            assert_true(sp_send_bytes(&peer, "\x00SP\x00\x00\x30\x00\x00", 8));
        if (i % 2 == 0)
            sp_close_with_reset(&peer);
        else
            sp_reset(&peer);
    }
    client_expect_service(&f->client);
    WAIT_UNTIL(&f->client, count_descriptors() <= before);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 1);
    struct sp_peer peer = probe_open_peer(f->probe);
    sp_close(&peer);
}

static ProtobufCBinaryData pack_requests(const char *method, size_t count)
{
    Jackdaw__Envelope requests[64];
    for (size_t i = 0; i < count; i++)
        requests[i] = probe_request(method, 0);
    return probe_frame(requests, count);
}

/* Pipelined requests that are answered at once, later, from other threads; then the peer goes, in
 * every way, before it has read the answers. */
LOSS_TEST(test_peers__that_close_with_requests_in_flight)
{
    static const char *const methods[] = {"Echo", "Hold", "Work"};
    ProtobufCBinaryData frames[3];
    for (int i = 0; i < 3; i++)
        frames[i] = pack_requests(methods[i], 20);
    size_t before = count_descriptors();
    for (int i = 0; i < 600; i++) {
        struct sp_peer peer = probe_open_peer(f->probe);
        for (int k = 0; k < 3; k++) {
            const ProtobufCBinaryData *frame = &frames[(i + k) % 3];
            assert_true(sp_send(&peer, SP_REQUEST_ID, frame->data, frame->len));
        }
        if (i % 3 == 0)
            sp_close(&peer);
        else if (i % 3 == 1)
            sp_close_with_reset(&peer);
        else
            sp_reset(&peer);
        if (i % 100 == 0)
            client_expect_service(&f->client);
    }
    client_expect_service(&f->client);
    WAIT_UNTIL(&f->client, count_descriptors() <= before);
    WAIT_UNTIL(&f->client, f->counters->held == 0 && f->counters->working == 0);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).open_calls == 0);
    assert_int_equal(probe_stats(f->probe).peers, 1);
    for (int i = 0; i < 3; i++)
        free(frames[i].data);
}

/* Answers from other threads meet a peer that is just leaving, or has left. */
LOSS_TEST(test_late_replies__race_with_the_end_of_the_peer)
{
    ProtobufCBinaryData frame = pack_requests("Work", 64);
    for (int i = 0; i < 200; i++) {
        struct sp_peer peer = probe_open_peer(f->probe);
        probe_block_workers(f->probe, true);
        assert_true(sp_send(&peer, SP_REQUEST_ID, frame.data, frame.len));
        WAIT_UNTIL(NULL, f->counters->working > 0);
        if (i % 2 == 0)
            sp_reset(&peer);
        probe_block_workers(f->probe, false);
        sp_close(&peer);
    }
    WAIT_UNTIL(&f->client, f->counters->working == 0);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).open_calls == 0);
    client_expect_service(&f->client);
    free(frame.data);
}

LOSS_TEST(test_server__dies_under_its_clients)
{
    struct client *client = &f->client;
    size_t before = count_descriptors();
    for (unsigned round = 1; round <= 60; round++) {
        clear_outcomes(f);
        for (size_t i = 0; i < 50; i++)
            client_hold(client, "h", &f->outcomes[i]);
        WAIT_UNTIL(client, f->counters->held == 50);
        for (size_t i = 50; i < 100; i++) /* under way, or still in the buffer */
            client_echo(client, "x", 0, &f->outcomes[i]);
        if (round % 2 == 0)
            rpc_channel_flush(client->channel);
        restart(f);
        for (size_t i = 0; i < 100; i++) {
            WAIT_UNTIL(client, f->outcomes[i].ended);
            enum status status = f->outcomes[i].result.status;
            if (i < 50)
                assert_true(status == STATUS_UNAVAILABLE || status == STATUS_CANCELLED);
            else
                assert_true(status == STATUS_UNAVAILABLE || status == STATUS_OK);
        }
        client_await_service(client); /* the loss may not have been heard of yet */
        assert_int_equal(client->disconnected, round);
        assert_int_equal(client->connected, round + 1);
        assert_int_equal(rpc_channel_open_calls(client->channel), 0);
    }
    WAIT_UNTIL(client, count_descriptors() <= before);
}

/* A request that could not be sent before its connection was lost, and so ended UNAVAILABLE, is not
 * sent on the next one. */
LOSS_TEST(test_reconnect__sends_nothing_that_has_ended)
{
    struct client *client = &f->client;
    for (int round = 0; round < 20; round++) {
        struct address address = *probe_address(f->probe);
        unsigned connected = client->connected;
        clear_outcomes(f);
        probe_stop(f->probe);
        /* The channel's end has been told, its owner has not. */
        struct pollfd entry = {.fd = task_queue_descriptor(client->queue), .events = POLLIN};
        assert_int_equal(poll(&entry, 1, PATIENCE_MS), 1);
        client_echo(client, "stale", 0, &f->outcomes[0]);
        rpc_channel_flush(client->channel);
        client_echo(client, "stale", 0, &f->outcomes[1]);
        WAIT_UNTIL(client, f->outcomes[0].ended && f->outcomes[1].ended);
        assert_int_equal(f->outcomes[0].result.status, STATUS_UNAVAILABLE);
        assert_int_equal(f->outcomes[1].result.status, STATUS_UNAVAILABLE);
        start_at(f, &address);
        WAIT_UNTIL(client, client->connected > connected);
        for (size_t i = 2; i < 4; i++) {
            client_work(client, "new", &f->outcomes[i]);
            WAIT_UNTIL(client, f->outcomes[i].ended);
            assert_int_equal(f->outcomes[i].result.status, STATUS_OK);
        }
        assert_int_equal(f->counters->echoed, 0);
    }
}

/* The whole server is freed with calls held, with workers at work, with requests coming in. */
LOSS_TEST(test_server_free__with_calls_outstanding)
{
    struct client *client = &f->client;
    size_t before = count_descriptors();
    for (int round = 0; round < 200; round++) {
        client_await_service(client); /* or the calls would wait for the next server */
        clear_outcomes(f);
        for (size_t i = 0; i < 60; i++) {
            if (i % 3 == 0)
                client_hold(client, "h", &f->outcomes[i]);
            else if (i % 3 == 1)
                client_work(client, "w", &f->outcomes[i]);
            else
                client_flow(client, 0, 50, 20, &f->outcomes[i]);
        }
        for (int i = 0; i < round % 4; i++)
            client_turn(client, 1);
        restart(f);
        for (size_t i = 0; i < 60; i++)
            WAIT_UNTIL(client, f->outcomes[i].ended);
    }
    client_await_service(client);
    WAIT_UNTIL(client, count_descriptors() <= before);
}

/* Handlers that keep their calls, and workers that answer, after the server is gone. */
LOSS_TEST(test_server_free__calls_end_later)
{
    struct client *client = &f->client;
    for (int round = 0; round < 50; round++) {
        clear_outcomes(f);
        probe_on_cancel(f->probe, PROBE_KEEP_IT);
        probe_block_workers(f->probe, true);
        for (size_t i = 0; i < 30; i++) {
            client->stub.timeout_ms = i % 2 == 0 ? 0 : 60000;
            if (i < 15)
                client_hold(client, "h", &f->outcomes[i]);
            else
                client_work(client, "w", &f->outcomes[i]);
        }
        client->stub.timeout_ms = 0;
        WAIT_UNTIL(client, f->counters->held == 15 && f->counters->working == 15);
        probe_free_server(f->probe);
        assert_int_equal(f->counters->held, 15);
        assert_int_equal(f->counters->cancelled, 15);
        probe_block_workers(f->probe, false);
        probe_release(f->probe, 10, round % 2 == 0 ? STATUS_OK : STATUS_ABORTED);
        WAIT_UNTIL(client, f->counters->working == 0);
        probe_release(f->probe, 5, STATUS_OK);
        assert_int_equal(f->counters->held, 0);
        client_expect_all(client, f->outcomes, 30, STATUS_UNAVAILABLE);
        restart(f);
        client_expect_service(client);
    }
}

LOSS_TEST(test_server_free__never_listened)
{
    struct task_queue *queue;
    assert_int_equal(task_queue_new(&queue), OK);
    struct rpc_server_options options = {.address = {.host = "127.0.0.1"}, .queue = queue};
    size_t before = count_descriptors();
    for (int i = 0; i < 50; i++) {
        struct rpc_server *server;
        assert_int_equal(rpc_server_new(&server, &options, NULL), OK);
        rpc_server_drain(server, "never began");
        rpc_server_cancel_all(server);
        rpc_server_tick(server, clock_monotonic_ms());
        rpc_server_flush(server);
        rpc_server_free(server);
    }
    rpc_server_free(NULL);
    assert_int_equal(count_descriptors(), before);
    task_queue_free(queue);
}

LOSS_TEST(test_channel_close__with_calls_outstanding)
{
    size_t before = count_descriptors();
    for (int round = 0; round < 500; round++) {
        struct client client;
        clear_outcomes(f);
        client_open(&client, probe_address(f->probe), NULL);
        for (size_t i = 0; i < 40; i++) {
            if (i % 4 == 0)
                client_hold(&client, "h", &f->outcomes[i]);
            else if (i % 4 == 1)
                client_work(&client, "w", &f->outcomes[i]);
            else if (i % 4 == 2)
                client_flow(&client, 0, 100, 30, &f->outcomes[i]);
            else
                client_echo(&client, "x", 0, &f->outcomes[i]);
        }
        for (int i = 0; i < round % 5; i++)
            client_turn(&client, 1);
        client_close(&client);
        for (size_t i = 0; i < 40; i++) {
            assert_true(f->outcomes[i].ended);
            assert_true(f->outcomes[i].result.status == STATUS_CANCELLED ||
                        f->outcomes[i].result.status == STATUS_OK);
        }
    }
    client_expect_service(&f->client);
    WAIT_UNTIL(&f->client, count_descriptors() <= before);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).open_calls == 0);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 1);
}

LOSS_TEST(test_channel_close__while_connecting)
{
    struct address nowhere = probe_free_address();
    size_t before = count_descriptors();
    for (int round = 0; round < 200; round++) {
        struct client client;
        client_open(&client, round % 2 == 0 ? &nowhere : probe_address(f->probe), NULL);
        if (round % 3 == 0)
            client_turn(&client, 1);
        client_close(&client);
    }
    WAIT_UNTIL(&f->client, count_descriptors() <= before);
    rpc_channel_close(NULL);
}

static void close_in_closure(struct outcome *outcome)
{
    struct client *client = outcome->context;
    struct rpc_channel *channel = client->channel;
    client->channel = NULL;
    rpc_channel_close(channel);
}

/* From the closure of a reply, of a page, of a deadline, of another's cancelling. */
LOSS_TEST(test_channel_close__from_its_own_closure)
{
    size_t before = count_descriptors();
    for (int round = 0; round < 200; round++) {
        struct client client;
        clear_outcomes(f);
        client_open(&client, probe_address(f->probe), NULL);
        struct outcome *closing = &f->outcomes[0];
        closing->context = &client;
        closing->then = close_in_closure;
        for (size_t i = 1; i < 20; i++) {
            client.stub.timeout_ms = i % 2 == 0 ? 0 : 60000;
            client_hold(&client, "h", &f->outcomes[i]);
        }
        client.stub.timeout_ms = 0;
        if (round % 4 == 0)
            client_echo(&client, "x", 0, closing);
        else if (round % 4 == 1)
            client_flow(&client, 0, 10, 5, closing);
        client.stub.timeout_ms = 10;
        if (round % 4 == 2)
            client_hold(&client, "h", closing);
        client.stub.timeout_ms = 0;
        if (round % 4 == 3) {
            client_hold(&client, "h", closing);
            rpc_channel_cancel(client.channel, client.stub.call);
        }
        for (size_t i = 20; i < 40 && client.channel != NULL; i++)
            client_echo(&client, "x", 0, &f->outcomes[i]);
        WAIT_UNTIL(&client, client.channel == NULL);
        for (size_t i = 1; i < 20; i++) {
            assert_true(f->outcomes[i].ended);
            assert_int_equal(f->outcomes[i].result.status, STATUS_CANCELLED);
            assert_int_equal(f->outcomes[i].replies, 1);
        }
        unsigned told = client.connected + client.disconnected;
        client_turn(&client, 0);
        client_turn(&client, 0);
        assert_int_equal(client.connected + client.disconnected, told);
        client_close(&client);
    }
    WAIT_UNTIL(&f->client, count_descriptors() <= before);
    WAIT_UNTIL(&f->client, f->counters->held == 0);
}

struct suicidal {
    struct client client;
    bool on_connected;
    unsigned told_after;
};

static void told(struct suicidal *suicidal, bool close)
{
    struct rpc_channel *channel = suicidal->client.channel;
    if (channel == NULL) {
        suicidal->told_after++;
    } else if (close) {
        suicidal->client.channel = NULL;
        rpc_channel_close(channel);
    }
}

static void suicidal_connected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct suicidal *suicidal = context;
    told(suicidal, suicidal->on_connected);
}

static void suicidal_disconnected(void *context, struct rpc_channel *channel)
{
    (void)channel;
    struct suicidal *suicidal = context;
    told(suicidal, !suicidal->on_connected);
}

LOSS_TEST(test_channel_close__from_its_callbacks)
{
    for (int round = 0; round < 60; round++) {
        struct suicidal suicidal = {.on_connected = round % 2 == 0};
        clear_outcomes(f);
        struct rpc_channel_options options = {.context = &suicidal,
                                              .connected = suicidal_connected,
                                              .disconnected = suicidal_disconnected};
        client_open(&suicidal.client, probe_address(f->probe), &options);
        for (size_t i = 0; i < 10; i++)
            client_hold(&suicidal.client, "h", &f->outcomes[i]);
        if (round % 2 == 1) {
            WAIT_UNTIL(&suicidal.client, f->counters->held == 10);
            restart(f);
        }
        WAIT_UNTIL(&suicidal.client, suicidal.client.channel == NULL);
        for (size_t i = 0; i < 10; i++)
            assert_true(f->outcomes[i].ended);
        client_turn(&suicidal.client, 0);
        client_close(&suicidal.client);
        assert_int_equal(suicidal.told_after, 0);
    }
}

/* A closure that hears of the lost connection closes the channel: `disconnected` is not told. */
LOSS_TEST(test_channel_close__from_a_closure_of_the_loss)
{
    for (int round = 0; round < 20; round++) {
        struct suicidal suicidal = {.on_connected = false};
        clear_outcomes(f);
        struct rpc_channel_options options = {.context = &suicidal,
                                              .connected = suicidal_connected,
                                              .disconnected = suicidal_disconnected};
        client_open(&suicidal.client, probe_address(f->probe), &options);
        for (size_t i = 0; i < 10; i++) {
            f->outcomes[i].context = &suicidal.client;
            client_hold(&suicidal.client, "h", &f->outcomes[i]);
        }
        f->outcomes[4].then = close_in_closure;
        WAIT_UNTIL(&suicidal.client, f->counters->held == 10);
        restart(f);
        WAIT_UNTIL(&suicidal.client, suicidal.client.channel == NULL);
        for (size_t i = 0; i < 10; i++)
            assert_int_equal(f->outcomes[i].replies, 1);
        client_close(&suicidal.client);
        assert_int_equal(suicidal.told_after, 0);
    }
}

static void retry_in_closure(struct outcome *outcome)
{
    struct outcome *next = outcome->context;
    if (next != NULL)
        client_echo(next->context != NULL ? next->context : NULL, "retry", 0, next);
}

static void flush_in_closure(struct outcome *outcome)
{
    struct client *client = outcome->context;
    rpc_channel_flush(client->channel);
}

/* What still waits to be sent then is not sent any more. */
LOSS_TEST(test_channel_close__closures_flush)
{
    struct client client;
    client_open(&client, probe_address(f->probe), NULL);
    client_expect_service(&client);
    size_t echoed = f->counters->echoed;
    for (size_t i = 0; i < 10; i++) {
        f->outcomes[i].context = &client;
        f->outcomes[i].then = flush_in_closure;
        client_echo(&client, "x", 0, &f->outcomes[i]);
    }
    client_close(&client);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(f->outcomes[i].result.status, STATUS_CANCELLED);
    client_expect_service(&f->client);
    assert_int_equal(f->counters->echoed, echoed + 1);
}

/* Closures that retry while their channel is being closed: the retry ends at once, too. */
LOSS_TEST(test_channel_close__closures_call_again)
{
    struct client client;
    client_open(&client, probe_address(f->probe), NULL);
    for (size_t i = 0; i < 10; i++) {
        f->outcomes[100 + i].context = &client;
        f->outcomes[i].context = &f->outcomes[100 + i];
        f->outcomes[i].then = retry_in_closure;
        client_hold(&client, "h", &f->outcomes[i]);
    }
    client_close(&client);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(f->outcomes[i].replies, 1);
        assert_int_equal(f->outcomes[100 + i].replies, 1);
        assert_int_equal(f->outcomes[100 + i].result.status, STATUS_CANCELLED);
    }
}

/* Closures that retry when the connection is lost: the retry waits for the next one. */
LOSS_TEST(test_reconnect__closures_call_again)
{
    for (int round = 0; round < 20; round++) {
        clear_outcomes(f);
        for (size_t i = 0; i < 10; i++) {
            f->outcomes[100 + i].context = &f->client;
            f->outcomes[i].context = &f->outcomes[100 + i];
            f->outcomes[i].then = retry_in_closure;
            client_hold(&f->client, "h", &f->outcomes[i]);
        }
        WAIT_UNTIL(&f->client, f->counters->held == 10);
        restart(f);
        for (size_t i = 0; i < 10; i++) {
            WAIT_UNTIL(&f->client, f->outcomes[100 + i].ended);
            /* A CANCELLED from the old server, then a retry that meets its end. */
            if (f->outcomes[i].result.status == STATUS_UNAVAILABLE)
                assert_int_equal(f->outcomes[100 + i].result.status, STATUS_OK);
        }
    }
}

LOSS_TEST(test_drain__refuses_what_is_new_and_keeps_what_is_open)
{
    struct client *client = &f->client;
    client_hold(client, "open before", &f->outcomes[0]);
    WAIT_UNTIL(client, f->counters->held == 1);
    probe_drain(f->probe);
    client_echo(client, "x", 0, &f->outcomes[1]);
    WAIT_UNTIL(client, f->outcomes[1].ended);
    assert_int_equal(f->outcomes[1].result.status, STATUS_UNAVAILABLE);
    assert_string_equal(f->outcomes[1].message, "the server is shutting down");
    assert_true(f->outcomes[1].result.retry_ms > 0);
    assert_false(f->outcomes[0].ended);
    struct sp_peer late;
    if (sp_connect(&late, probe_address(f->probe), 0)) {
        (void)sp_handshake(&late, SP_REQ);
        assert_true(sp_wait_closed(&late, PATIENCE_MS));
        sp_close(&late);
    }
    probe_release(f->probe, 1, STATUS_OK);
    WAIT_UNTIL(client, f->outcomes[0].ended);
    assert_int_equal(f->outcomes[0].result.status, STATUS_OK);
    assert_string_equal(f->outcomes[0].text, "open before");
    assert_int_equal(client->disconnected, 0);
    restart(f);
    WAIT_UNTIL(client, client->disconnected == 1);
    client_expect_service(client);
}
