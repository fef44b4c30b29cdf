/* SPDX-License-Identifier: MIT */
/* The bad wire itself: every fault that it is told to make is made, and no other. */
#include "harness/proxy.h"
#include "harness/sp_peer.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARRIVES_MS 5000
#define NOTHING_MS 50

struct fixture {
    struct proxy *proxy;
    struct sp_peer client, server;
};

static int setup(void **state)
{
    static struct fixture fixture;
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &size), 0);
    const struct address target = {.host = "127.0.0.1", .port = ntohs(name.sin_port)};
    const struct address any = {.host = "127.0.0.1"};
    fixture.proxy = proxy_open(NULL, 0, &any, 0, &target);
    assert_non_null(fixture.proxy);
    struct address address = proxy_address(fixture.proxy);
    assert_true(sp_connect(&fixture.client, &address, 0));
    fixture.server.descriptor = accept(listener, NULL, NULL);
    assert_true(fixture.server.descriptor >= 0);
    (void)close(listener);
    const uint8_t hello[SP_HANDSHAKE_BYTES] = {0, 'S', 'P', 0, 0, SP_REP, 0, 0};
    assert_true(sp_send_bytes(&fixture.server, hello, sizeof hello));
    assert_true(sp_handshake(&fixture.client, SP_REQ));
    uint8_t theirs[SP_HANDSHAKE_BYTES];
    assert_int_equal(recv(fixture.server.descriptor, theirs, sizeof theirs, MSG_WAITALL),
                     sizeof theirs);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    proxy_close(fixture->proxy);
    sp_close(&fixture->client);
    sp_close(&fixture->server);
    return 0;
}

/* Messages 0 to count - 1 go in; the digits of those that come out, and '|' for the end. */
static void assert_passes(struct fixture *fixture, const struct proxy_faults *faults,
                          uint32_t count, const char *expected)
{
    char got[32] = "";
    size_t used = 0;
    struct sp_message message;
    proxy_set(fixture->proxy, PROXY_TO_SERVER, faults);
    for (uint32_t i = 0; i < count; i++)
        assert_true(sp_send(&fixture->client, i, "body", 4));
    enum sp_event event = SP_MESSAGE;
    while (event == SP_MESSAGE && used + 2 < sizeof got) {
        bool more = used < strlen(expected);
        event = sp_receive(&fixture->server, more ? ARRIVES_MS : NOTHING_MS, &message);
        if (event == SP_CLOSED)
            got[used++] = '|';
        if (event != SP_MESSAGE)
            break;
        got[used++] = (char)('0' + message.id);
        assert_memory_equal(message.body, "body", 4);
        free(message.body);
    }
    assert_string_equal(got, expected);
}

TEST_WITH(test_proxy__carries, setup, teardown)
{
    assert_passes(*state, &(struct proxy_faults){0}, 6, "012345");
}

TEST_WITH(test_proxy__drops, setup, teardown)
{
    assert_passes(*state, &(struct proxy_faults){.drop_every = 3}, 6, "0134");
}

TEST_WITH(test_proxy__doubles, setup, teardown)
{
    assert_passes(*state, &(struct proxy_faults){.double_every = 3}, 6, "01223455");
}

TEST_WITH(test_proxy__swaps, setup, teardown)
{
    assert_passes(*state, &(struct proxy_faults){.swap_every = 3}, 7, "0132465");
}

TEST_WITH(test_proxy__breaks_off, setup, teardown)
{
    assert_passes(*state, &(struct proxy_faults){.break_every = 4}, 4, "012|");
}

TEST_WITH(test_proxy__delays, setup, teardown)
{
    struct fixture *fixture = *state;
    struct sp_message message;
    proxy_set(fixture->proxy, PROXY_TO_SERVER, &(struct proxy_faults){.delay_ms = 1000});
    assert_true(sp_send(&fixture->client, 1, "body", 4));
    assert_int_equal(sp_receive(&fixture->server, NOTHING_MS, &message), SP_TIMEOUT);
    assert_int_equal(sp_receive(&fixture->server, ARRIVES_MS, &message), SP_MESSAGE);
    free(message.body);
}

TEST_WITH(test_proxy__holds_and_cuts, setup, teardown)
{
    struct fixture *fixture = *state;
    struct sp_message message;
    proxy_hold(fixture->proxy, true);
    /* It may have been about to look: the first may still pass. */
    assert_true(sp_send(&fixture->client, 1, "body", 4));
    if (sp_receive(&fixture->server, NOTHING_MS, &message) == SP_MESSAGE)
        free(message.body);
    assert_true(sp_send(&fixture->client, 2, "body", 4));
    assert_int_equal(sp_receive(&fixture->server, NOTHING_MS, &message), SP_TIMEOUT);
    proxy_cut(fixture->proxy);
    assert_true(sp_wait_closed(&fixture->server, ARRIVES_MS));
    assert_true(sp_wait_closed(&fixture->client, ARRIVES_MS));
}
