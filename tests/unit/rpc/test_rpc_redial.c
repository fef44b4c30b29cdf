/* SPDX-License-Identifier: MIT */
/* Why there is no connection, and how an owner gets a new one. */
#include "base/log.h"
#include "probe.h"
#include "rpc/dial_failures.h"

struct fixture {
    struct client client; /* first: what callbacks get */
    struct probe *probe;
    unsigned refused;
    unsigned refused_while_connected;
    enum error error; /* the latest */
    bool close_when_refused;
};

static void on_refused(void *context, struct rpc_channel *channel, enum error error)
{
    struct fixture *f = context;
    f->refused++;
    f->error = error;
    f->refused_while_connected += rpc_channel_is_connected(channel);
    if (f->close_when_refused) {
        rpc_channel_close(channel);
        f->client.channel = NULL;
    }
}

static void begin(__attribute__((unused)) struct fixture *f)
{
    log_configure(LOG_SILENT, LOG_TEXT);
}

static void end(struct fixture *f)
{
    if (f->client.queue != NULL)
        client_close(&f->client);
    if (f->probe != NULL)
        probe_stop(f->probe);
    log_configure(LOG_INFO, LOG_TEXT);
}

static void open_channel(struct fixture *f, const struct address *address, uint32_t pause_ms)
{
    struct rpc_channel_options options = {
        .refused = on_refused, .reconnect_min_ms = pause_ms, .reconnect_max_ms = pause_ms};
    client_open(&f->client, address, &options);
}

static void stop_probe(struct fixture *f)
{
    probe_stop(f->probe);
    f->probe = NULL;
}

static void start_again(struct fixture *f, const struct address *address)
{
    struct rpc_server_options options = {.address = *address};
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while ((f->probe = probe_try_start(&options, NULL)) == NULL)
        assert_true(clock_monotonic_ms() < until_ms);
}

TEST_F(test_refused__until_there_is_a_server)
{
    struct address address = probe_free_address();
    size_t descriptors = count_descriptors();
    open_channel(f, &address, 20);
    WAIT_UNTIL(&f->client, f->refused >= 5);
    assert_int_equal(f->error, ERROR_REFUSED);
    start_again(f, &address);
    client_expect_service(&f->client);
    unsigned refused = f->refused;
    for (int i = 0; i < 10; i++)
        client_expect_service(&f->client);
    assert_int_equal(f->refused, refused);
    assert_int_equal(f->refused_while_connected, 0);
    assert_int_equal(f->client.connected, 1);
    client_close(&f->client);
    f->client.queue = NULL;
    stop_probe(f);
    WAIT_UNTIL(NULL, count_descriptors() <= descriptors);
}

TEST_F(test_refused__soon_after_a_loss)
{
    f->probe = probe_start(NULL);
    open_channel(f, probe_address(f->probe), 20);
    client_expect_service(&f->client);
    assert_int_equal(f->refused, 0);
    stop_probe(f);
    WAIT_UNTIL(&f->client, f->refused >= 2);
    assert_int_equal(f->error, ERROR_REFUSED);
    assert_int_equal(f->client.disconnected, 1);
}

TEST(test_refused__words_of_the_transport)
{
    static const struct {
        const char *word;
        const char *text;
        enum error error;
        uint32_t socket; /* 0: not told */
    } rows[] = {
        {"NNG-CONN-FAIL", "Failed connecting socket<70> to tcp://[::1]:9: Connection refused",
         ERROR_REFUSED, 70},
        {"NNG-CONN-FAIL", "socket<8>: Timed out", ERROR_TIMEOUT, 8},
        /* What nng has no words for: EAI_ADDRFAMILY of the resolver, ENETDOWN of the system. */
        {"NNG-CONN-FAIL", "socket<8>: Unknown error #268435447", ERROR_NOT_FOUND, 8},
        {"NNG-CONN-FAIL", "socket<8>: Unknown error #268435556", ERROR_IO, 8},
        {"NNG-CONN-FAIL", "socket<9>: Bad weather", ERROR_IO, 9},
        {"NNG-ACCEPT", "socket<9>: Connection refused", OK, 0},
        {"NNG-CONN-FAIL", "no number: Timed out", OK, 0},
        {"NNG-CONN-FAIL", "socket<9>", OK, 0},
        {"NNG-CONN-FAIL", "", OK, 0},
        {NULL, NULL, OK, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint32_t socket = 0;
        enum error error = dial_failures_read(rows[i].word, rows[i].text, &socket);
        if (error != rows[i].error || (rows[i].socket != 0 && socket != rows[i].socket))
            fail_msg("%s: %s, not %s; socket %u, not %u",
                     rows[i].text == NULL ? "no text" : rows[i].text, error_name(error),
                     error_name(rows[i].error), socket, rows[i].socket);
    }
}

TEST_F(test_refused__owner_closes)
{
    struct address address = probe_free_address();
    open_channel(f, &address, 1);
    f->close_when_refused = true;
    WAIT_UNTIL(NULL, (task_queue_run(f->client.queue, SIZE_MAX), f->refused == 1));
    assert_null(f->client.channel);
}

static void open_and_close(struct fixture *f, const struct address *address)
{
    size_t descriptors = count_descriptors();
    for (int i = 0; i < 100; i++) {
        open_channel(f, address, 1);
        for (int turns = 0; turns < i % 7; turns++)
            client_turn(&f->client, 1);
        client_close(&f->client);
    }
    WAIT_UNTIL(NULL, count_descriptors() <= descriptors);
}

TEST_F(test_refused__closed_at_any_time)
{
    struct address address = probe_free_address();
    open_and_close(f, &address);
    start_again(f, &address);
    open_and_close(f, &address);
    struct silent silent;
    silent_open(&silent, "127.0.0.1", 0);
    open_and_close(f, &silent.address);
    silent_close(&silent);
}

TEST_F(test_refused__not_by_a_server_that_turns_away)
{
    f->probe = probe_start(NULL);
    probe_drain(f->probe);
    open_channel(f, probe_address(f->probe), 1);
    WAIT_UNTIL(&f->client, f->client.disconnected >= 5);
    size_t descriptors = count_descriptors();
    WAIT_UNTIL(&f->client, f->client.disconnected >= 100);
    WAIT_UNTIL(&f->client, count_descriptors() <= descriptors + 5);
    assert_int_equal(f->refused, 0);
}

/* It is not dialled without end: from the eighth time on the pauses are below 100 ms, not below 1 ms. */
TEST_F(test_refused__pauses_grow_where_connections_end_at_once)
{
    f->probe = probe_start(NULL);
    probe_drain(f->probe);
    struct rpc_channel_options options = {.reconnect_min_ms = 1, .reconnect_max_ms = 100};
    uint64_t began_ms = clock_monotonic_ms();
    client_open(&f->client, probe_address(f->probe), &options);
    WAIT_UNTIL(&f->client, f->client.disconnected >= 24);
    assert_true(clock_monotonic_ms() - began_ms >= 100);
}

TEST_F(test_reconnect__calls_under_way_end)
{
    f->probe = probe_start(NULL);
    client_open(&f->client, probe_address(f->probe), NULL);
    for (unsigned i = 1; i <= 20; i++) {
        struct outcome outcome = {.number = 0};
        client_expect_service(&f->client);
        client_hold(&f->client, "", &outcome);
        WAIT_UNTIL(&f->client, probe_counters(f->probe)->held == 1);
        rpc_channel_reconnect(f->client.channel);
        rpc_channel_reconnect(f->client.channel); /* once is as good as twice */
        WAIT_UNTIL(&f->client, outcome.ended);
        assert_int_equal(outcome.result.status, STATUS_UNAVAILABLE);
        assert_int_equal(outcome.replies, 1);
        WAIT_UNTIL(&f->client, f->client.connected == i + 1);
        assert_int_equal(f->client.disconnected, i);
        WAIT_UNTIL(&f->client, probe_counters(f->probe)->held == 0);
    }
    client_expect_service(&f->client);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 1);
}

/* A server that has stopped to read, as on a machine that is no longer there. */
TEST_F(test_reconnect__to_a_server_that_was_stuck)
{
    f->probe = probe_start(NULL);
    client_open(&f->client, probe_address(f->probe), NULL);
    client_expect_service(&f->client);
    probe_pause(f->probe);
    struct outcome outcome = {.number = 0};
    client_echo(&f->client, "", 0, &outcome);
    client_turn(&f->client, 0);
    rpc_channel_reconnect(f->client.channel);
    WAIT_UNTIL(&f->client, outcome.ended && f->client.connected == 2);
    assert_int_equal(outcome.result.status, STATUS_UNAVAILABLE);
    probe_resume(f->probe);
    client_expect_service(&f->client);
}

static void turn_for(struct fixture *f, uint64_t ms)
{
    uint64_t until_ms = clock_monotonic_ms() + ms;
    WAIT_UNTIL(&f->client, clock_monotonic_ms() >= until_ms);
}

/* nng would wait for up to an hour after the first refusal. */
TEST_F(test_reconnect__without_a_connection)
{
    struct address address = probe_free_address();
    open_channel(f, &address, 3600000);
    turn_for(f, 300); /* its first attempt is long over */
    start_again(f, &address);
    rpc_channel_reconnect(f->client.channel);
    WAIT_UNTIL(&f->client, f->client.connected == 1);
    client_expect_service(&f->client);
    assert_int_equal(f->client.disconnected, 0);
}

/* The first attempt hangs in the kernel; it is given up. */
TEST_F(test_reconnect__while_nobody_answers)
{
    struct silent silent;
    silent_open(&silent, "127.0.0.1", 0);
    open_channel(f, &silent.address, 3600000);
    size_t descriptors = count_descriptors();
    for (int i = 0; i < 3; i++) {
        turn_for(f, 260);
        rpc_channel_reconnect(f->client.channel);
        rpc_channel_reconnect(f->client.channel);
    }
    WAIT_UNTIL(&f->client, count_descriptors() <= descriptors + 1);
    silent_close(&silent);
    start_again(f, &silent.address);
    turn_for(f, 260);
    if (!rpc_channel_is_connected(f->client.channel))
        rpc_channel_reconnect(f->client.channel);
    client_expect_service(&f->client);
}
