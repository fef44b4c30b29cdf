/* SPDX-License-Identifier: MIT */
/* Where servers listen and what can go wrong with it: ports, addresses, IPv6, TLS. */
#include "base/log.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TEST(test_listen__port_from_the_kernel)
{
    struct probe *one = probe_start(NULL);
    struct probe *two = probe_start(NULL);
    assert_int_not_equal(probe_address(one)->port, 0);
    assert_int_not_equal(probe_address(one)->port, probe_address(two)->port);
    probe_stop(one);
    probe_stop(two);
}

TEST(test_listen__address_in_use)
{
    struct probe *first = probe_start(NULL);
    struct rpc_server_options options = {.address = *probe_address(first)};
    struct error_text why = {""};
    size_t before = count_descriptors();
    for (int i = 0; i < 20; i++)
        assert_null(probe_try_start(&options, &why));
    assert_non_null(strstr(why.text, "in use"));
    char text[ADDRESS_TEXT_SIZE];
    address_format(&options.address, text);
    assert_non_null(strstr(why.text, text));
    WAIT_UNTIL(NULL, count_descriptors() <= before);
    client_expect_service_at(probe_address(first), NULL);
    probe_stop(first);
}

/* One server that gets its address as soon as the other has left it. */
TEST(test_listen__again_after_an_error)
{
    struct probe *first = probe_start(NULL);
    struct task_queue *queue;
    struct rpc_server *server;
    struct error_text why = {""};
    assert_int_equal(task_queue_new(&queue), OK);
    struct rpc_server_options options = {.address = *probe_address(first), .queue = queue};
    assert_int_equal(rpc_server_new(&server, &options, &why), OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(rpc_server_listen(server, &why), ERROR_IN_USE);
    probe_stop(first);
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    enum error error;
    do
        error = rpc_server_listen(server, &why);
    while (error == ERROR_IN_USE && clock_monotonic_ms() < until_ms);
    assert_int_equal(error, OK);
    struct address bound;
    rpc_server_address(server, &bound);
    assert_int_equal(bound.port, options.address.port);
    struct sp_peer peer;
    assert_true(sp_open(&peer, &bound));
    sp_close(&peer);
    rpc_server_free(server);
    task_queue_free(queue);
}

TEST(test_listen__no_such_address)
{
    static const char *const addresses[] = {"192.0.2.1:0", "[2001:db8::1]:0",
                                            "no-such-host.invalid:0"};
    for (size_t i = 0; i < 3; i++) {
        struct rpc_server_options options = {.address = parsed(addresses[i])};
        struct error_text why = {""};
        assert_null(probe_try_start(&options, &why));
        assert_non_null(strstr(why.text, options.address.host));
        assert_true(strlen(why.text) > 20);
    }
}

TEST(test_open__address_that_never_answers)
{
    struct client client;
    struct address address = parsed("no-such-host.invalid:1");
    client_open(&client, &address, NULL);
    client.stub.timeout_ms = 50;
    struct outcome outcome = client_ask(&client, "x", 0);
    assert_int_equal(outcome.result.status, STATUS_DEADLINE_EXCEEDED);
    client_close(&client);
}

/* The peer's address as it is logged. */
static void expect_peer(const struct address *address, const char *peer)
{
    struct client client;
    client_open(&client, address, NULL);
    client_expect_service(&client);
    client_expect_peer(&client, peer);
    client_close(&client);
}

TEST(test_ipv6__loopback)
{
    if (!probe_have_ipv6())
        skip();
    struct rpc_server_options options = {.address = parsed("[::1]:0")};
    struct probe *probe = probe_start(&options);
    assert_int_not_equal(probe_address(probe)->port, 0);
    expect_peer(probe_address(probe), "[::1]:");
    probe_stop(probe);
}

TEST(test_ipv4__peer_text)
{
    struct probe *probe = probe_start(NULL);
    expect_peer(probe_address(probe), "127.0.0.1:");
    probe_stop(probe);
}

static void expect_handshake(const char *host, uint16_t port)
{
    struct address address = {.port = port};
    (void)snprintf(address.host, sizeof address.host, "%s", host);
    struct sp_peer peer;
    assert_true(sp_open(&peer, &address));
    sp_close(&peer);
}

TEST(test_listen__on_every_interface)
{
    struct task_queue *queue;
    struct rpc_server *servers[2];
    struct address bound;
    struct error_text why = {""};
    assert_int_equal(task_queue_new(&queue), OK);
    struct rpc_server_options options = {.address = parsed(":0"), .queue = queue};
    assert_int_equal(rpc_server_new(&servers[0], &options, &why), OK);
    assert_int_equal(rpc_server_listen(servers[0], &why), OK);
    rpc_server_address(servers[0], &bound);
    assert_string_equal(bound.host, "");
    expect_handshake("127.0.0.1", bound.port);
    if (probe_have_ipv6())
        expect_handshake("::1", bound.port);
    options.address.port = bound.port;
    assert_int_equal(rpc_server_new(&servers[1], &options, &why), OK);
    assert_int_equal(rpc_server_listen(servers[1], &why), ERROR_IN_USE);
    assert_non_null(strstr(why.text, ":"));
    rpc_server_free(servers[0]);
    rpc_server_free(servers[1]);
    task_queue_free(queue);
}

/* A peer that comes by IPv4 is told by its IPv4 address. */
TEST(test_listen__peers_of_both_families)
{
    if (!probe_have_ipv6())
        skip();
    struct rpc_server_options options = {.address = parsed("[::]:0")};
    struct probe *probe = probe_start(&options);
    struct address address = *probe_address(probe);
    (void)snprintf(address.host, sizeof address.host, "127.0.0.1");
    expect_peer(&address, "127.0.0.1:");
    (void)snprintf(address.host, sizeof address.host, "::1");
    expect_peer(&address, "[::1]:");
    probe_stop(probe);
}

/* A client at the address is not served, and the probe carries nothing out. */
static void expect_no_service(struct probe *probe, const struct address *address,
                              const char *authority)
{
    struct client client;
    struct rpc_channel_options options = {.tls_authority = authority, .reconnect_max_ms = 50};
    client_open(&client, address, &options);
    client.stub.timeout_ms = 300;
    struct outcome outcome = client_ask(&client, "x", 0);
    assert_true(outcome.result.status == STATUS_DEADLINE_EXCEEDED ||
                outcome.result.status == STATUS_UNAVAILABLE);
    client_close(&client);
    assert_int_equal(probe_counters(probe)->echoed, 0);
}

PROBE_TLS_TEST(test_tls__round_trip)
{
    assert_true(probe_address(f)->tls);
    struct client client;
    struct rpc_channel_options options = {.tls_authority = AUTHORITY};
    client_open(&client, probe_address(f), &options);
    client_expect_service(&client);
    static struct outcome outcomes[300];
    memset(outcomes, 0, sizeof outcomes);
    char *text = calloc(1, 90001);
    memset(text, 't', 90000);
    for (int i = 0; i < 300; i++)
        client_echo(&client, i % 30 == 0 ? text : "small", 0, &outcomes[i]);
    client_expect_all(&client, outcomes, 300, STATUS_OK);
    for (size_t i = 0; i < 300; i++)
        assert_int_equal(outcomes[i].text_size, i % 30 == 0 ? 90000 : 5);
    client_close(&client);
    free(text);
}

PROBE_TLS_TEST(test_tls__name_that_fits)
{
    struct address address = *probe_address(f);
    client_expect_service_at(&address, AUTHORITY);
    (void)snprintf(address.host, sizeof address.host, "localhost");
    client_expect_service_at(&address, AUTHORITY);
    address.host[0] = '\0'; /* dials 127.0.0.1 */
    client_expect_service_at(&address, AUTHORITY);
}

TEST(test_tls__name_that_does_not_fit)
{
    if (!probe_have_ipv6())
        skip();
    struct probe *probe = probe_start_tls("tls+tcp://[::1]:0");
    expect_no_service(probe, probe_address(probe), AUTHORITY);
    probe_stop(probe);
}

PROBE_TLS_TEST(test_tls__wrong_authority)
{
    expect_no_service(f, probe_address(f), OTHER_AUTHORITY);
    client_expect_service_at(probe_address(f), AUTHORITY);
}

/* Neither end talks in the clear to one that wants TLS. */
TEST(test_tls__one_side_only)
{
    struct probe *probe = probe_start_tls("tls+tcp://127.0.0.1:0");
    struct address address = *probe_address(probe);
    address.tls = false;
    expect_no_service(probe, &address, NULL);
    probe_stop(probe);
    probe = probe_start(NULL);
    address = *probe_address(probe);
    address.tls = true;
    expect_no_service(probe, &address, AUTHORITY);
    probe_stop(probe);
}

/* Connections that end in the middle of the TLS handshake leave nothing behind. */
PROBE_TLS_TEST(test_tls__handshake_that_ends_early)
{
    client_expect_service_at(probe_address(f), AUTHORITY);
    size_t before = count_descriptors();
    for (int i = 0; i < 300; i++) {
        struct sp_peer peer = probe_connect_peer(f, 0);
        if (i % 3 == 1)
            (void)sp_send_bytes(&peer, "\x16\x03\x01\x00\x05\x01\x00", 7); /* half a hello */
        if (i % 3 == 2)
            (void)sp_send_bytes(&peer, "\x00SP\x00\x00\x30\x00\x00", 8); /* no hello at all */
        if (i % 2 == 0)
            sp_reset(&peer);
        else
            sp_close(&peer);
    }
    WAIT_UNTIL(NULL, count_descriptors() <= before);
    client_expect_service_at(probe_address(f), AUTHORITY);
}

TEST(test_tls__files_that_do_not_do)
{
    static const struct {
        const char *certificate;
        const char *key;
        const char *named; /* in the sentence */
    } cases[] = {
        {NULL, NULL, "certificate"},
        {CERTIFICATE, NULL, "key"},
        {"/nowhere/server.pem", KEY, "/nowhere/server.pem"},
        {CERTIFICATE, "/nowhere/server.key", "/nowhere/server.key"},
        {KEY, CERTIFICATE, "server.key"},
        {TLS_FILES, KEY, TLS_FILES},     /* a folder */
        {"/dev/zero", KEY, "/dev/zero"}, /* endless */
    };
    size_t before = count_descriptors();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rpc_server_options options = {.address = parsed("tls+tcp://127.0.0.1:0"),
                                             .tls_certificate = cases[i].certificate,
                                             .tls_key = cases[i].key};
        struct error_text why = {""};
        struct probe *probe = probe_try_start(&options, &why);
        if (probe != NULL)
            fail_msg("case %zu was accepted", i);
        if (strstr(why.text, cases[i].named) == NULL)
            fail_msg("case %zu: %s", i, why.text);
    }
    static const char *const authorities[] = {NULL, "/nowhere/authority.pem", KEY, TLS_FILES};
    struct task_queue *queue;
    assert_int_equal(task_queue_new(&queue), OK);
    for (size_t i = 0; i < 4; i++) {
        struct rpc_channel_options options = {.address = parsed("tls+tcp://127.0.0.1:1"),
                                              .queue = queue,
                                              .tls_authority = authorities[i]};
        struct rpc_channel *channel = NULL;
        struct error_text why = {""};
        assert_int_not_equal(rpc_channel_open(&channel, &options, &why), OK);
        assert_null(channel);
        assert_true(strlen(why.text) > 20);
    }
    task_queue_free(queue);
    WAIT_UNTIL(NULL, count_descriptors() <= before);
}

int test_setup(void **state)
{
    (void)state;
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
