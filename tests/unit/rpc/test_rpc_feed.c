/* SPDX-License-Identifier: MIT */
/* Feeds: what arrives, what does not, and what the other end may do. The publisher and the follower
 * have one owner, the test's thread. */
#include "base/clock.h"
#include "base/log.h"
#include "base/task_queue.h"
#include "harness/sp_peer.h"
#include "rpc/feed.h"
#include "support/test.h"

#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 60000
#define LARGE_BYTES (256u * 1024u)

struct fixture;

struct listener {
    struct fixture *fixture;
    struct rpc_follower *follower;
    unsigned connected;
    unsigned disconnected;
    uint64_t first;  /* number of the first message since listener_forget */
    uint64_t last;   /* and of the latest */
    uint64_t gaps;   /* messages that were not one more than the one before */
    uint64_t broken; /* whose padding is not what it was */
    size_t told;
    bool close_on_message;
    bool close_on_connected;
};

struct fixture {
    struct task_queue *queue;
    struct rpc_feed *feed;
    struct address address;
    struct listener listener;
};

#define WAIT_UNTIL(f, condition)                                     \
    do {                                                             \
        uint64_t wait_until_ms = clock_monotonic_ms() + PATIENCE_MS; \
        while (!(condition)) {                                       \
            if (clock_monotonic_ms() > wait_until_ms)                \
                fail_msg("waited in vain for: %s", #condition);      \
            turn((f), 10);                                           \
        }                                                            \
    } while (0)

static void turn(struct fixture *f, int timeout_ms)
{
    task_queue_wait(f->queue, timeout_ms);
    (void)task_queue_run(f->queue, SIZE_MAX);
}

/* A message is a number, then its lowest byte again and again. */
static void publish(struct fixture *f, uint64_t number, size_t padding)
{
    uint8_t *bytes = malloc(padding + 1);
    assert_non_null(bytes);
    memset(bytes, (int)(number & 0xffu), padding);
    const struct rpc_chunk chunks[] = {
        {&number, sizeof number}, {NULL, 0}, {bytes, padding / 2}, {bytes, padding - padding / 2}};
    rpc_feed_publish(f->feed, chunks, 4);
    free(bytes);
}

static bool is_whole(uint64_t number, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != (number & 0xffu))
            return false;
    return true;
}

static void close_follower(struct listener *listener)
{
    rpc_follower_close(listener->follower);
    listener->follower = NULL;
}

static void on_message(void *context, const uint8_t *bytes, size_t size)
{
    struct listener *listener = context;
    uint64_t number;
    assert_true(size >= sizeof number);
    memcpy(&number, bytes, sizeof number);
    if (!is_whole(number, bytes + sizeof number, size - sizeof number))
        listener->broken++;
    if (listener->told++ == 0)
        listener->first = number;
    else if (number != listener->last + 1)
        listener->gaps++;
    listener->last = number;
    if (listener->close_on_message)
        close_follower(listener);
}

static void on_connected(void *context)
{
    struct listener *listener = context;
    listener->connected++;
    if (listener->close_on_connected)
        close_follower(listener);
}

static void on_disconnected(void *context)
{
    struct listener *listener = context;
    listener->disconnected++;
}

static void listener_forget(struct listener *listener)
{
    listener->told = 0;
    listener->first = 0;
    listener->last = 0;
    listener->gaps = 0;
}

static void open_follower(struct fixture *f, struct listener *listener,
                          const struct rpc_follower_options *options)
{
    struct rpc_follower_options complete = {0};
    if (options != NULL)
        complete = *options;
    complete.address = f->address;
    complete.queue = f->queue;
    complete.reconnect_min_ms = 5;
    complete.reconnect_max_ms = 20;
    complete.context = listener;
    complete.message = on_message;
    complete.connected = on_connected;
    complete.disconnected = on_disconnected;
    *listener = (struct listener){.fixture = f};
    assert_int_equal(rpc_follower_open(&listener->follower, &complete, NULL), OK);
}

/* Publishes 0 until one arrives: only then is it certain that the connection is in use. */
static void settle(struct fixture *f, struct listener *listener)
{
    listener_forget(listener);
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (listener->told == 0) {
        assert_true(clock_monotonic_ms() < until_ms);
        publish(f, 0, 0);
        turn(f, 5);
    }
    /* Those zeros that are still on their way come before this. */
    publish(f, 1, 0);
    WAIT_UNTIL(f, listener->last == 1);
    listener_forget(listener);
}

static void follow(struct fixture *f, const struct rpc_follower_options *options)
{
    open_follower(f, &f->listener, options);
    settle(f, &f->listener);
}

static struct rpc_follower_stats stats(const struct fixture *f)
{
    struct rpc_follower_stats stats;
    rpc_follower_stats(f->listener.follower, &stats);
    return stats;
}

static struct rpc_feed_stats feed_stats(const struct fixture *f)
{
    struct rpc_feed_stats stats;
    rpc_feed_stats(f->feed, &stats);
    return stats;
}

static struct address loopback(void)
{
    return (struct address){.host = "127.0.0.1"};
}

static void open_feed(struct fixture *f, const struct rpc_feed_options *options)
{
    struct rpc_feed_options complete = {0};
    if (options != NULL)
        complete = *options;
    if (complete.address.port == 0)
        complete.address = loopback();
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (rpc_feed_open(&f->feed, &complete, NULL) != OK)
        assert_true(clock_monotonic_ms() < until_ms);
    rpc_feed_address(f->feed, &f->address);
}

static void close_feed(struct fixture *f)
{
    rpc_feed_free(f->feed);
    f->feed = NULL;
}

static void begin(struct fixture *f)
{
    log_configure(LOG_SILENT, LOG_TEXT);
    assert_int_equal(task_queue_new(&f->queue), OK);
}

static void end(struct fixture *f)
{
    close_follower(&f->listener);
    rpc_feed_free(f->feed);
    (void)task_queue_run(f->queue, SIZE_MAX);
    task_queue_free(f->queue);
    log_configure(LOG_INFO, LOG_TEXT);
}

TEST_F(test_feed__all_in_order)
{
    open_feed(f, NULL);
    follow(f, NULL);
    for (uint64_t number = 1; number <= 4000; number++) {
        publish(f, number, number % 700);
        if (number % 100 == 0) /* far fewer than are kept for a subscriber */
            WAIT_UNTIL(f, f->listener.last == number);
    }
    assert_int_equal(f->listener.told, 4000);
    assert_int_equal(f->listener.first, 1);
    assert_int_equal(f->listener.gaps, 0);
    assert_int_equal(f->listener.broken, 0);
    assert_int_equal(f->listener.connected, 1);
    assert_int_equal(f->listener.disconnected, 0);
    assert_int_equal(feed_stats(f).subscribers, 1);
    assert_int_equal(stats(f).dropped, 0);
}

TEST_F(test_feed__several_followers)
{
    struct listener other;
    open_feed(f, NULL);
    follow(f, NULL);
    open_follower(f, &other, NULL);
    settle(f, &other);
    WAIT_UNTIL(f, f->listener.last == 1);
    listener_forget(&f->listener);
    for (uint64_t number = 1; number <= 200; number++)
        publish(f, number, 1000);
    WAIT_UNTIL(f, f->listener.last == 200 && other.last == 200);
    assert_int_equal(f->listener.told, 200);
    assert_int_equal(other.told, 200);
    assert_int_equal(f->listener.gaps + other.gaps, 0);
    assert_int_equal(feed_stats(f).subscribers, 2);
    close_follower(&other);
    WAIT_UNTIL(f, feed_stats(f).subscribers == 1);
}

/* Reads messages until the one with this number; returns how many there were. */
static size_t read_until(struct sp_peer *peer, uint64_t number, uint64_t *last, size_t *gaps)
{
    size_t count = 0;
    uint64_t got = 0;
    while (got != number) {
        struct sp_message message;
        assert_int_equal(sp_receive(peer, SP_PATIENCE_MS, &message), SP_MESSAGE);
        assert_true(message.size >= sizeof got);
        memcpy(&got, message.body, sizeof got);
        assert_true(is_whole(got, message.body + sizeof got, message.size - sizeof got));
        free(message.body);
        assert_true(got > *last);
        *gaps += got != *last + 1;
        *last = got;
        count++;
    }
    return count;
}

/* Nothing waits for it, it gets the newest when it goes on, and then everything again. */
TEST_F(test_publish__to_a_subscriber_that_stalls)
{
    struct sp_peer peer;
    uint64_t last = 0;
    size_t gaps = 0;
    open_feed(f, &(struct rpc_feed_options){.send_messages = 8});
    assert_true(sp_connect(&peer, &f->address, 4096));
    assert_true(sp_handshake(&peer, SP_SUB));
    follow(f, NULL); /* its number 1 goes to the peer, too, or was too early for it */
    for (uint64_t number = 2; number <= 101; number++) {
        publish(f, number, LARGE_BYTES);
        WAIT_UNTIL(f, f->listener.last == number); /* the other one misses nothing */
    }
    assert_int_equal(f->listener.gaps, 0);
    struct sp_message zero;
    do {
        assert_int_equal(sp_receive(&peer, SP_PATIENCE_MS, &zero), SP_MESSAGE);
        memcpy(&last, zero.body, sizeof last);
        free(zero.body);
    } while (last == 0);
    assert_true(read_until(&peer, 101, &last, &gaps) < 90);
    assert_true(gaps > 0);
    gaps = 0;
    for (uint64_t number = 102; number <= 130; number++) {
        publish(f, number, 1000);
        assert_int_equal(read_until(&peer, number, &last, &gaps), 1);
    }
    assert_int_equal(gaps, 0);
    sp_close(&peer);
}

TEST_F(test_follow__owner_that_lags)
{
    open_feed(f, NULL);
    follow(f, &(struct rpc_follower_options){.waiting_bytes_max = 100000});
    uint64_t before = stats(f).received;
    for (uint64_t number = 1; number <= 200; number++)
        publish(f, number, 4000);
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (stats(f).received < before + 200)
        assert_true(clock_monotonic_ms() < until_ms); /* without running the queue */
    WAIT_UNTIL(f, f->listener.told + stats(f).dropped == 200);
    assert_in_range(f->listener.told, 20, 25); /* the oldest, as many as fit */
    assert_int_equal(f->listener.first, 1);
    assert_int_equal(f->listener.gaps, 0);
    for (uint64_t number = 201; number <= 300; number++) {
        publish(f, number, 4000);
        WAIT_UNTIL(f, f->listener.last == number);
    }
    assert_int_equal(f->listener.gaps, 1);
}

TEST_F(test_publish__too_large)
{
    open_feed(f, &(struct rpc_feed_options){.message_bytes_max = 1000});
    follow(f, NULL);
    publish(f, 1, 1000 - sizeof(uint64_t));
    publish(f, 2, 1001 - sizeof(uint64_t));
    publish(f, 3, 0);
    WAIT_UNTIL(f, f->listener.last == 3);
    assert_int_equal(f->listener.told, 2);
    assert_int_equal(feed_stats(f).dropped, 1);
    assert_int_equal(f->listener.disconnected, 0);
}

TEST_F(test_follow__message_too_large)
{
    open_feed(f, NULL);
    follow(f, &(struct rpc_follower_options){.message_bytes_max = 1000});
    publish(f, 1, 1000 - sizeof(uint64_t));
    WAIT_UNTIL(f, f->listener.last == 1);
    publish(f, 2, 1001 - sizeof(uint64_t));
    WAIT_UNTIL(f, f->listener.disconnected == 1 && f->listener.connected == 2);
    assert_int_equal(f->listener.told, 1);
    settle(f, &f->listener);
}

TEST_F(test_follow__publisher_that_restarts)
{
    open_feed(f, NULL);
    follow(f, NULL);
    struct rpc_feed_options options = {.address = f->address};
    for (unsigned i = 1; i <= 5; i++) {
        close_feed(f);
        WAIT_UNTIL(f, f->listener.disconnected == i);
        open_feed(f, &options);
        WAIT_UNTIL(f, f->listener.connected == i + 1);
        settle(f, &f->listener);
        publish(f, i, 100);
        WAIT_UNTIL(f, f->listener.told == 1);
        assert_int_equal(f->listener.last, i);
    }
    assert_int_equal(f->listener.disconnected, 5);
}

TEST_F(test_follow__before_there_is_a_publisher)
{
    open_feed(f, NULL);
    close_feed(f);
    open_follower(f, &f->listener, NULL);
    turn(f, 50);
    assert_int_equal(f->listener.connected, 0);
    open_feed(f, &(struct rpc_feed_options){.address = f->address});
    settle(f, &f->listener);
    assert_int_equal(f->listener.connected, 1);
}

TEST_F(test_feed__further_subscribers_than_allowed)
{
    struct sp_peer peer;
    open_feed(f, &(struct rpc_feed_options){.subscribers_max = 1});
    follow(f, NULL);
    assert_true(sp_connect(&peer, &f->address, 0));
    (void)sp_handshake(&peer, SP_SUB);
    assert_true(sp_wait_closed(&peer, SP_PATIENCE_MS));
    sp_close(&peer);
    WAIT_UNTIL(f, feed_stats(f).subscribers == 1);
    publish(f, 1, 0);
    WAIT_UNTIL(f, f->listener.last == 1);
    close_follower(&f->listener);
    WAIT_UNTIL(f, feed_stats(f).subscribers == 0);
    follow(f, NULL);
}

/* A subscriber has nothing to say: neither little nor much. */
TEST_F(test_feed__subscriber_that_speaks)
{
    open_feed(f, NULL);
    for (int i = 0; i < 2; i++) {
        struct sp_peer peer;
        const uint8_t header[8] = {0, 0, 0, i == 0 ? 0 : 1, 0, 0, 0, i == 0 ? 1 : 0};
        assert_true(sp_connect(&peer, &f->address, 0));
        assert_true(sp_handshake(&peer, SP_SUB));
        assert_true(sp_send_bytes(&peer, header, sizeof header));
        (void)sp_send_bytes(&peer, "x", 1);
        assert_true(sp_wait_closed(&peer, SP_PATIENCE_MS));
        sp_close(&peer);
    }
    WAIT_UNTIL(f, feed_stats(f).subscribers == 0);
    follow(f, NULL);
}

static nng_socket open_stranger(struct fixture *f)
{
    nng_socket socket;
    nng_listener listener;
    int port;
    assert_int_equal(nng_pub0_open(&socket), 0);
    assert_int_equal(nng_listen(socket, "tcp://127.0.0.1:0", &listener, 0), 0);
    assert_int_equal(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), 0);
    f->address = loopback();
    f->address.port = (uint16_t)port;
    return socket;
}

static void stranger_says(nng_socket socket, const void *bytes, size_t size)
{
    assert_int_equal(nng_send(socket, (void *)(uintptr_t)bytes, size, 0), 0);
}

/* It is not told, and ends the connection; on the next one, what is right is. */
TEST_F(test_follow__garbage)
{
    const struct listener *listener = &f->listener;
    static const struct {
        const char *bytes;
        size_t size;
    } garbage[] = {{"", 0}, {"JDF", 3}, {"JDF\x02 12345678", 13}, {"GET / HTTP/1.1\r\n", 16}};
    nng_socket stranger = open_stranger(f);
    open_follower(f, &f->listener, NULL);
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        unsigned before = listener->disconnected;
        uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
        while (listener->disconnected == before) {
            assert_true(clock_monotonic_ms() < until_ms);
            stranger_says(stranger, garbage[i].bytes, garbage[i].size);
            turn(f, 5);
        }
    }
    assert_int_equal(listener->told, 0);
    assert_true(stats(f).garbage >= 4);
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (listener->told == 0) {
        assert_true(clock_monotonic_ms() < until_ms);
        stranger_says(stranger, "JDF\x01\x05\0\0\0\0\0\0\0", 12);
        turn(f, 5);
    }
    assert_int_equal(listener->last, 5);
    assert_int_equal(nng_close(stranger), 0);
}

TEST_F(test_close__from_a_callback)
{
    open_feed(f, NULL);
    follow(f, NULL);
    uint64_t before = stats(f).received;
    for (uint64_t number = 1; number <= 50; number++)
        publish(f, number, 100);
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (stats(f).received < before + 50)
        assert_true(clock_monotonic_ms() < until_ms);
    f->listener.close_on_message = true;
    WAIT_UNTIL(f, f->listener.told > 0);
    turn(f, 0);
    assert_int_equal(f->listener.told, 1);
    assert_int_equal(f->listener.disconnected, 0);

    open_follower(f, &f->listener, NULL);
    f->listener.close_on_connected = true;
    WAIT_UNTIL(f, f->listener.connected > 0);
    assert_null(f->listener.follower);
    WAIT_UNTIL(f, feed_stats(f).subscribers == 0);
}

/* At every moment: while it connects, and while messages come. */
TEST_F(test_close__at_any_time)
{
    open_feed(f, NULL);
    for (uint64_t i = 0; i < 60; i++) {
        open_follower(f, &f->listener, NULL);
        if (i % 2 == 1)
            settle(f, &f->listener);
        for (uint64_t number = 1; number <= i; number++)
            publish(f, number, 5000);
        if (i % 3 == 1)
            turn(f, 0);
        close_follower(&f->listener);
    }
    WAIT_UNTIL(f, feed_stats(f).subscribers == 0);
    follow(f, NULL);
    for (uint64_t number = 1; number <= 100; number++)
        publish(f, number, 5000);
    close_feed(f); /* with some not sent yet */
    WAIT_UNTIL(f, f->listener.disconnected == 1);
}

TEST_F(test_open__refusals)
{
    struct rpc_feed *feed = NULL;
    struct rpc_follower *follower = NULL;
    struct error_text why = {""};
    open_feed(f, NULL);
    struct rpc_feed_options taken = {.address = f->address};
    assert_int_equal(rpc_feed_open(&feed, &taken, &why), ERROR_IN_USE);
    assert_non_null(strstr(why.text, "in use"));
    struct rpc_feed_options many = {.address = loopback(), .send_messages = 8193};
    assert_int_equal(rpc_feed_open(&feed, &many, &why), ERROR_INVALID);
    struct rpc_feed_options tls = {.address = {.host = "127.0.0.1", .tls = true}};
    assert_int_equal(rpc_feed_open(&feed, &tls, &why), ERROR_INVALID);
    struct rpc_follower_options secret = {.address = {.host = "127.0.0.1", .port = 1, .tls = true},
                                          .queue = f->queue};
    assert_int_equal(rpc_follower_open(&follower, &secret, &why), ERROR_INVALID);
    assert_null(feed);
    assert_null(follower);
    rpc_feed_free(NULL);
    rpc_follower_close(NULL);
}
