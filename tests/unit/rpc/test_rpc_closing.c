/* SPDX-License-Identifier: MIT */
/* Closing sockets whose connections are in use, with TLS, while threads run in any order. */
#include "base/log.h"
#include "jitter.h"
#include "probe.h"
#include "rpc/connections.h"

#include <string.h>

#define ROUNDS 20
#define SEED 20

static void open_tls(struct client *client, const struct probe *probe)
{
    struct rpc_channel_options options = {
        .tls_authority = AUTHORITY, .reconnect_min_ms = 1, .reconnect_max_ms = 50};
    client_open(client, probe_address(probe), &options);
}

/* After each test: what was slow comes to its end, and what hangs does not. */
static int none_hangs(void **state)
{
    (void)state;
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (connections_hanging() > 0 && clock_monotonic_ms() < until_ms)
        client_turn(NULL, 1);
    return connections_hanging() == 0 ? 0 : -1;
}

/* The client closes as soon as it has its answer, while nng turns to receiving again. */
TEST_WITH(test_channel__closed_after_a_reply, NULL, none_hangs)
{
    struct probe *probe = probe_start_tls("tls+tcp://127.0.0.1:0");
    for (int i = 0; i < ROUNDS; i++) {
        struct client client;
        open_tls(&client, probe);
        client_expect_service(&client);
        client_close(&client);
    }
    probe_stop(probe);
}

/* It closes at any time of its dial: nng would leak a descriptor in some moments of the handshake. */
TEST_WITH(test_channel__closed_while_it_connects, NULL, none_hangs)
{
    for (int has_tls = 0; has_tls < 2; has_tls++) {
        struct probe *probe =
            has_tls ? probe_start_tls("tls+tcp://127.0.0.1:0") : probe_start(NULL);
        struct client watch;
        open_tls(&watch, probe);
        client_expect_service(&watch);
        size_t before = count_descriptors();
        for (int i = 0; i < (has_tls ? 2 : 10) * ROUNDS; i++) {
            struct client client;
            open_tls(&client, probe);
            for (int turns = 0; turns < i % 5; turns++)
                client_turn(&client, 1);
            client_close(&client);
        }
        WAIT_UNTIL(&watch, count_descriptors() <= before);
        WAIT_UNTIL(&watch, probe_stats(probe).peers == 1);
        client_close(&watch);
        probe_stop(probe);
    }
}

/* nng may overlook an end that arrives right behind a message, while it hands the message on. The server
 * finds it out soon. */
TEST_WITH(test_server__closes_connections_whose_end_was_overlooked, NULL, none_hangs)
{
    struct probe *probe = probe_start_tls("tls+tcp://127.0.0.1:0");
    static struct outcome outcomes[ROUNDS];
    size_t before = count_descriptors();
    for (size_t i = 0; i < ROUNDS; i++) {
        struct client client;
        open_tls(&client, probe);
        WAIT_UNTIL(&client, client.connected > 0);
        client_echo(&client, "x", 0, &outcomes[i]);
        rpc_channel_flush(client.channel);
        client_close(&client);
    }
    WAIT_UNTIL(NULL, count_descriptors() <= before);
    WAIT_UNTIL(NULL, probe_stats(probe).peers == 0);
    probe_stop(probe);
}

TEST_WITH(test_channel__closed_while_a_stream_arrives, NULL, none_hangs)
{
    struct probe *probe = probe_start_tls("tls+tcp://127.0.0.1:0");
    for (int i = 0; i < ROUNDS; i++) {
        struct client client;
        struct outcome outcome = {.number = 0};
        open_tls(&client, probe);
        client_flow(&client, 0, i % 2 == 0 ? 40 : 20000, 1000, &outcome);
        WAIT_UNTIL(&client, outcome.number > 2);
        client_close(&client);
    }
    probe_stop(probe);
}

TEST_WITH(test_server__freed_while_clients_send, NULL, none_hangs)
{
    for (int i = 0; i < ROUNDS / 2; i++) {
        struct probe *probe = probe_start_tls("tls+tcp://127.0.0.1:0");
        struct client clients[4];
        static struct outcome outcomes[4][100];
        memset(outcomes, 0, sizeof outcomes);
        for (size_t k = 0; k < 4; k++)
            open_tls(&clients[k], probe);
        for (size_t n = 0; n < 100; n++)
            for (size_t k = 0; k < 4; k++)
                client_echo(&clients[k], "x", 0, &outcomes[k][n]);
        for (size_t k = 0; k < 4; k++) {
            WAIT_UNTIL(&clients[k], clients[k].connected > 0);
            rpc_channel_flush(clients[k].channel);
        }
        probe_stop(probe);
        for (size_t k = 0; k < 4; k++)
            client_close(&clients[k]);
    }
}

TEST_WITH(test_channel__reconnects_while_a_stream_arrives, NULL, none_hangs)
{
    struct probe *probe = probe_start_tls("tls+tcp://127.0.0.1:0");
    struct client client;
    open_tls(&client, probe);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        struct outcome outcome = {.number = 0};
        client_flow(&client, 0, i % 2 == 0 ? 40 : 20000, 1000, &outcome);
        WAIT_UNTIL(&client, outcome.number > 2);
        rpc_channel_reconnect(client.channel);
        WAIT_UNTIL(&client, outcome.ended);
        WAIT_UNTIL(&client, client.connected > i);
    }
    client_close(&client);
    probe_stop(probe);
}

int test_setup(void **state)
{
    (void)state;
    log_configure(LOG_SILENT, LOG_TEXT);
    jitter_begin(SEED);
    return 0;
}
