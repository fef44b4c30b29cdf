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

#define ARRIVES_MS 60000
#define NOTHING_MS 50

struct fixture {
    struct proxy *proxy;
    struct sp_peer client, server;
};

static void begin(struct fixture *f)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&name, &size), 0);
    const struct address target = {.host = "127.0.0.1", .port = ntohs(name.sin_port)};
    const struct address any = {.host = "127.0.0.1"};
    f->proxy = proxy_open(NULL, 0, &any, 0, &target);
    assert_non_null(f->proxy);
    struct address address = proxy_address(f->proxy);
    assert_true(sp_connect(&f->client, &address, 0));
    f->server.descriptor = accept(listener, NULL, NULL);
    assert_true(f->server.descriptor >= 0);
    (void)close(listener);
    const uint8_t hello[SP_HANDSHAKE_BYTES] = {0, 'S', 'P', 0, 0, SP_REP, 0, 0};
    assert_true(sp_send_bytes(&f->server, hello, sizeof hello));
    assert_true(sp_handshake(&f->client, SP_REQ));
    uint8_t theirs[SP_HANDSHAKE_BYTES];
    assert_int_equal(recv(f->server.descriptor, theirs, sizeof theirs, MSG_WAITALL), sizeof theirs);
}

static void end(struct fixture *f)
{
    proxy_close(f->proxy);
    sp_close(&f->client);
    sp_close(&f->server);
}

/* Of `count` messages that go in, the digits of those that come out, and '|' for the end. */
static const struct row {
    const char *rule;
    struct proxy_faults faults;
    uint32_t count;
    const char *expected;
} rows[] = {
    {"carries", {0}, 6, "012345"},
    {"drops", {.drop_every = 3}, 6, "0134"},
    {"doubles", {.double_every = 3}, 6, "01223455"},
    {"swaps", {.swap_every = 3}, 7, "0132465"},
    {"breaks off", {.break_every = 4}, 4, "012|"},
};

static void check_row(struct fixture *f, const struct row *row)
{
    char got[32] = "";
    size_t used = 0;
    struct sp_message message;
    proxy_set(f->proxy, PROXY_TO_SERVER, &row->faults);
    for (uint32_t i = 0; i < row->count; i++)
        assert_true(sp_send(&f->client, i, "body", 4));
    enum sp_event event = SP_MESSAGE;
    while (event == SP_MESSAGE && used + 2 < sizeof got) {
        bool more = used < strlen(row->expected);
        event = sp_receive(&f->server, more ? ARRIVES_MS : NOTHING_MS, &message);
        if (event == SP_CLOSED)
            got[used++] = '|';
        if (event != SP_MESSAGE)
            break;
        got[used++] = (char)('0' + message.id);
        assert_memory_equal(message.body, "body", 4);
        free(message.body);
    }
    if (strcmp(got, row->expected) != 0)
        fail_msg("%s: %s came instead of %s", row->rule, got, row->expected);
}

TEST(test_proxy__makes_the_faults_and_no_others)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct fixture fixture;
        begin(&fixture);
        check_row(&fixture, &rows[i]);
        end(&fixture);
    }
}

TEST_F(test_proxy__delays)
{
    struct sp_message message;
    proxy_set(f->proxy, PROXY_TO_SERVER, &(struct proxy_faults){.delay_ms = 1000});
    assert_true(sp_send(&f->client, 1, "body", 4));
    assert_int_equal(sp_receive(&f->server, NOTHING_MS, &message), SP_TIMEOUT);
    assert_int_equal(sp_receive(&f->server, ARRIVES_MS, &message), SP_MESSAGE);
    free(message.body);
}

TEST_F(test_proxy__holds_and_cuts)
{
    struct sp_message message;
    proxy_hold(f->proxy, true);
    /* It may have been about to look: the first may still pass. */
    assert_true(sp_send(&f->client, 1, "body", 4));
    if (sp_receive(&f->server, NOTHING_MS, &message) == SP_MESSAGE)
        free(message.body);
    assert_true(sp_send(&f->client, 2, "body", 4));
    assert_int_equal(sp_receive(&f->server, NOTHING_MS, &message), SP_TIMEOUT);
    proxy_cut(f->proxy);
    assert_true(sp_wait_closed(&f->server, ARRIVES_MS));
    assert_true(sp_wait_closed(&f->client, ARRIVES_MS));
}
