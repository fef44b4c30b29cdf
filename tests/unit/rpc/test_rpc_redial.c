/* SPDX-License-Identifier: MIT */
/* Why there is no connection, and how an owner gets a new one. */
#include "base/clock.h"
#include "base/log.h"
#include "probe.h"
#include "rpc/dial_failures.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
    struct fixture *fixture = context;
    fixture->refused++;
    fixture->error = error;
    fixture->refused_while_connected += rpc_channel_is_connected(channel);
    if (fixture->close_when_refused) {
        rpc_channel_close(channel);
        fixture->client.channel = NULL;
    }
}

static int setup(void **state)
{
    log_configure(LOG_SILENT, LOG_TEXT);
    *state = calloc(1, sizeof(struct fixture));
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->client.queue != NULL)
        client_close(&fixture->client);
    if (fixture->probe != NULL)
        probe_stop(fixture->probe);
    free(fixture);
    log_configure(LOG_INFO, LOG_TEXT);
    return 0;
}

static void open_channel(struct fixture *fixture, const struct address *address, uint32_t pause_ms)
{
    struct rpc_channel_options options = {
        .refused = on_refused, .reconnect_min_ms = pause_ms, .reconnect_max_ms = pause_ms};
    client_open(&fixture->client, address, &options);
}

static void start_again(struct fixture *fixture, const struct address *address)
{
    struct rpc_server_options options = {.address = *address};
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while ((fixture->probe = probe_try_start(&options, NULL)) == NULL)
        assert_true(clock_monotonic_ms() < until_ms);
}

/* One that nobody listens at. */
static struct address free_address(void)
{
    struct probe *probe = probe_start(NULL);
    struct address address = *probe_address(probe);
    probe_stop(probe);
    return address;
}

/* ---- refusals ---- */

TEST_WITH(test_refused__until_there_is_a_server, setup, teardown)
{
    struct fixture *fixture = *state;
    struct address address = free_address();
    size_t descriptors = count_descriptors();
    open_channel(fixture, &address, 20);
    WAIT_UNTIL(&fixture->client, fixture->refused >= 5);
    assert_int_equal(fixture->error, ERROR_REFUSED);
    start_again(fixture, &address);
    client_expect_service(&fixture->client);
    unsigned refused = fixture->refused;
    for (int i = 0; i < 10; i++)
        client_expect_service(&fixture->client);
    assert_int_equal(fixture->refused, refused);
    assert_int_equal(fixture->refused_while_connected, 0);
    assert_int_equal(fixture->client.connected, 1);
    client_close(&fixture->client);
    fixture->client.queue = NULL;
    probe_stop(fixture->probe);
    fixture->probe = NULL;
    WAIT_UNTIL(NULL, count_descriptors() <= descriptors);
}

TEST_WITH(test_refused__soon_after_a_loss, setup, teardown)
{
    struct fixture *fixture = *state;
    fixture->probe = probe_start(NULL);
    open_channel(fixture, probe_address(fixture->probe), 20);
    client_expect_service(&fixture->client);
    assert_int_equal(fixture->refused, 0);
    probe_stop(fixture->probe);
    fixture->probe = NULL;
    WAIT_UNTIL(&fixture->client, fixture->refused >= 2);
    assert_int_equal(fixture->error, ERROR_REFUSED);
    assert_int_equal(fixture->client.disconnected, 1);
}

TEST(test_refused__words_of_the_transport)
{
    uint32_t socket = 0;
    assert_int_equal(
        dial_failures_read("NNG-CONN-FAIL",
                           "Failed connecting socket<70> to tcp://[::1]:9: Connection refused",
                           &socket),
        ERROR_REFUSED);
    assert_int_equal(socket, 70);
    assert_int_equal(dial_failures_read("NNG-CONN-FAIL", "socket<8>: Timed out", &socket),
                     ERROR_TIMEOUT);
    assert_int_equal(socket, 8);
    /* What nng has no words for: EAI_ADDRFAMILY of the resolver, ENETDOWN of the system. */
    assert_int_equal(
        dial_failures_read("NNG-CONN-FAIL", "socket<8>: Unknown error #268435447", &socket),
        ERROR_NOT_FOUND);
    assert_int_equal(
        dial_failures_read("NNG-CONN-FAIL", "socket<8>: Unknown error #268435556", &socket),
        ERROR_IO);
    assert_int_equal(dial_failures_read("NNG-CONN-FAIL", "socket<9>: Bad weather", &socket),
                     ERROR_IO);
    assert_int_equal(dial_failures_read("NNG-ACCEPT", "socket<9>: Connection refused", &socket),
                     OK);
    assert_int_equal(dial_failures_read("NNG-CONN-FAIL", "no number: Timed out", &socket), OK);
    assert_int_equal(dial_failures_read("NNG-CONN-FAIL", "socket<9>", &socket), OK);
    assert_int_equal(dial_failures_read("NNG-CONN-FAIL", "", &socket), OK);
    assert_int_equal(dial_failures_read(NULL, NULL, &socket), OK);
}

/* A listener whose queue is full: the kernel drops what comes then, as if the machine had gone. */
struct deaf {
    int listener;
    int filling[8];
    struct address address;
};

static void open_deaf(struct deaf *deaf)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof name;
    deaf->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(deaf->listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(deaf->listener, 0), 0);
    assert_int_equal(getsockname(deaf->listener, (struct sockaddr *)&name, &size), 0);
    for (size_t i = 0; i < 8; i++) {
        deaf->filling[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(deaf->filling[i], (struct sockaddr *)&name, size);
    }
    deaf->address = (struct address){.host = "127.0.0.1", .port = ntohs(name.sin_port)};
}

static void close_deaf(struct deaf *deaf)
{
    (void)close(deaf->listener);
    for (size_t i = 0; i < 8; i++)
        (void)close(deaf->filling[i]);
}

TEST_WITH(test_refused__owner_closes, setup, teardown)
{
    struct fixture *fixture = *state;
    struct address address = free_address();
    open_channel(fixture, &address, 1);
    fixture->close_when_refused = true;
    WAIT_UNTIL(NULL, (task_queue_run(fixture->client.queue, SIZE_MAX), fixture->refused == 1));
    assert_null(fixture->client.channel);
}

static void open_and_close(struct fixture *fixture, const struct address *address)
{
    size_t descriptors = count_descriptors();
    for (int i = 0; i < 100; i++) {
        open_channel(fixture, address, 1);
        for (int turns = 0; turns < i % 7; turns++)
            client_turn(&fixture->client, 1);
        client_close(&fixture->client);
    }
    WAIT_UNTIL(NULL, count_descriptors() <= descriptors);
}

TEST_WITH(test_refused__closed_at_any_time, setup, teardown)
{
    struct fixture *fixture = *state;
    struct address address = free_address();
    open_and_close(fixture, &address);
    start_again(fixture, &address);
    open_and_close(fixture, &address);
    struct deaf deaf;
    open_deaf(&deaf);
    open_and_close(fixture, &deaf.address);
    close_deaf(&deaf);
}

/* A server that turns every connection away. */
TEST_WITH(test_refused__not_by_a_server_that_turns_away, setup, teardown)
{
    struct fixture *fixture = *state;
    fixture->probe = probe_start(NULL);
    probe_drain(fixture->probe);
    open_channel(fixture, probe_address(fixture->probe), 1);
    WAIT_UNTIL(&fixture->client, fixture->client.disconnected >= 5);
    size_t descriptors = count_descriptors();
    WAIT_UNTIL(&fixture->client, fixture->client.disconnected >= 100);
    WAIT_UNTIL(&fixture->client, count_descriptors() <= descriptors + 5);
    assert_int_equal(fixture->refused, 0);
}

/* It is not dialled without end: from the eighth time on the pauses are below 100 ms, not below 1 ms. */
TEST_WITH(test_refused__pauses_grow_where_connections_end_at_once, setup, teardown)
{
    struct fixture *fixture = *state;
    fixture->probe = probe_start(NULL);
    probe_drain(fixture->probe);
    struct rpc_channel_options options = {.reconnect_min_ms = 1, .reconnect_max_ms = 100};
    uint64_t began_ms = clock_monotonic_ms();
    client_open(&fixture->client, probe_address(fixture->probe), &options);
    WAIT_UNTIL(&fixture->client, fixture->client.disconnected >= 24);
    assert_true(clock_monotonic_ms() - began_ms >= 100);
}

/* ---- reconnecting ---- */

TEST_WITH(test_reconnect__calls_under_way_end, setup, teardown)
{
    struct fixture *fixture = *state;
    fixture->probe = probe_start(NULL);
    client_open(&fixture->client, probe_address(fixture->probe), NULL);
    for (unsigned i = 1; i <= 20; i++) {
        struct outcome outcome = {.number = 0};
        client_expect_service(&fixture->client);
        client_hold(&fixture->client, "", &outcome);
        WAIT_UNTIL(&fixture->client, probe_counters(fixture->probe)->held == 1);
        rpc_channel_reconnect(fixture->client.channel);
        rpc_channel_reconnect(fixture->client.channel); /* once is as good as twice */
        WAIT_UNTIL(&fixture->client, outcome.ended);
        assert_int_equal(outcome.result.status, STATUS_UNAVAILABLE);
        assert_int_equal(outcome.replies, 1);
        WAIT_UNTIL(&fixture->client, fixture->client.connected == i + 1);
        assert_int_equal(fixture->client.disconnected, i);
        WAIT_UNTIL(&fixture->client, probe_counters(fixture->probe)->held == 0);
    }
    client_expect_service(&fixture->client);
    WAIT_UNTIL(&fixture->client, probe_stats(fixture->probe).peers == 1);
}

/* A server that has stopped to read, as on a machine that is no longer there. */
TEST_WITH(test_reconnect__to_a_server_that_was_stuck, setup, teardown)
{
    struct fixture *fixture = *state;
    fixture->probe = probe_start(NULL);
    client_open(&fixture->client, probe_address(fixture->probe), NULL);
    client_expect_service(&fixture->client);
    probe_pause(fixture->probe);
    struct outcome outcome = {.number = 0};
    client_echo(&fixture->client, "", 0, &outcome);
    client_turn(&fixture->client, 0);
    rpc_channel_reconnect(fixture->client.channel);
    WAIT_UNTIL(&fixture->client, outcome.ended && fixture->client.connected == 2);
    assert_int_equal(outcome.result.status, STATUS_UNAVAILABLE);
    probe_resume(fixture->probe);
    client_expect_service(&fixture->client);
}

/* nng would wait for up to an hour after the first refusal. */
TEST_WITH(test_reconnect__without_a_connection, setup, teardown)
{
    struct fixture *fixture = *state;
    struct address address = free_address();
    open_channel(fixture, &address, 3600000);
    uint64_t until_ms = clock_monotonic_ms() + 300; /* its first attempt is long over */
    while (clock_monotonic_ms() < until_ms)
        client_turn(&fixture->client, 10);
    start_again(fixture, &address);
    rpc_channel_reconnect(fixture->client.channel);
    WAIT_UNTIL(&fixture->client, fixture->client.connected == 1);
    client_expect_service(&fixture->client);
    assert_int_equal(fixture->client.disconnected, 0);
}

/* The first attempt hangs in the kernel; it is given up. */
TEST_WITH(test_reconnect__while_nobody_answers, setup, teardown)
{
    struct fixture *fixture = *state;
    struct deaf deaf;
    open_deaf(&deaf);
    open_channel(fixture, &deaf.address, 3600000);
    size_t descriptors = count_descriptors();
    for (int i = 0; i < 3; i++) {
        uint64_t until_ms = clock_monotonic_ms() + 260;
        while (clock_monotonic_ms() < until_ms)
            client_turn(&fixture->client, 10);
        rpc_channel_reconnect(fixture->client.channel);
        rpc_channel_reconnect(fixture->client.channel);
    }
    WAIT_UNTIL(&fixture->client, count_descriptors() <= descriptors + 1);
    close_deaf(&deaf);
    start_again(fixture, &deaf.address);
    uint64_t until_ms = clock_monotonic_ms() + 260;
    while (clock_monotonic_ms() < until_ms)
        client_turn(&fixture->client, 10);
    if (!rpc_channel_is_connected(fixture->client.channel))
        rpc_channel_reconnect(fixture->client.channel);
    client_expect_service(&fixture->client);
}
