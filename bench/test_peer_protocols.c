/* SPDX-License-Identifier: MIT */
/* How frames of other systems are divided and understood. */
#include "peer.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

struct fixture {
    struct loop loop;
    struct peer_work work;
    struct peer peer;
    size_t frames;
    size_t frame_bytes;
    size_t lost;
};

static void on_frame(void *context, struct connection *connection, const uint8_t *body, size_t size)
{
    struct fixture *f = context;
    (void)connection;
    (void)body;
    f->frames++;
    f->frame_bytes = size;
}

static void on_closed(void *context, struct connection *connection, const char *reason)
{
    struct fixture *f = context;
    (void)connection;
    (void)reason;
    f->lost++;
}

/* A connection whose output stays in memory: no loop runs. */
static void begin(struct fixture *f, const struct peer_protocol *protocol)
{
    *f = (struct fixture){.work = {.protocol = protocol, .text_bytes = 24, .batch = 2}};
    f->loop = (struct loop){
        .epoll = -1, .framing = &protocol->framing, .handler = {f, NULL, on_frame, on_closed}};
    f->peer = (struct peer){.connection = {.loop = &f->loop, .descriptor = INT32_MAX},
                            .work = &f->work,
                            .index = 7,
                            .receives = true};
}

static void end(struct fixture *f)
{
    connection_close(&f->peer.connection);
}

static bool has_sent(const struct fixture *f, const char *words)
{
    const struct connection *connection = &f->peer.connection;
    return connection->output != NULL &&
           peer_find(connection->output, connection->output_used, words) != NULL;
}

/* Every part of a frame is incomplete, and more input than a frame makes no difference. */
static void expect_one_frame(struct fixture *f, const char *bytes, size_t size)
{
    struct connection *connection = &f->peer.connection;
    const struct framing *framing = &f->work.protocol->framing;
    char *input = malloc(size + 8);
    assert_non_null(input);
    memcpy(input, bytes, size);
    memset(input + size, '+', 8);
    f->frames = 0;
    for (size_t part = 1; part < size; part++)
        assert_int_equal(framing->take(connection, (const uint8_t *)input, part), 0);
    assert_int_equal(f->frames, 0);
    assert_int_equal(framing->take(connection, (const uint8_t *)input, size + 8), size);
    assert_int_equal(f->frames, 1);
    assert_int_equal(f->frame_bytes, size);
    free(input);
}

static struct peer_event read_text(struct fixture *f, const char *text)
{
    return f->work.protocol->read(&f->peer, (const uint8_t *)text, strlen(text));
}

#define TEXT "00000000000000000042xxxx" /* of 24 bytes */

TEST(test_redis_take__one_value_at_a_time)
{
    static const char message[] = "*3\r\n$7\r\nmessage\r\n$5\r\nroom0\r\n$24\r\n" TEXT "\r\n";
    struct fixture f;
    begin(&f, &peer_redis_pubsub);
    expect_one_frame(&f, "+PONG\r\n", 7);
    expect_one_frame(&f, "$-1\r\n", 5);
    expect_one_frame(&f, message, sizeof message - 1);
    assert_int_equal(f.work.protocol->framing.take(&f.peer.connection, (const uint8_t *)"?\r\n", 3),
                     0);
    assert_int_equal(f.lost, 1);
    end(&f);
}

TEST(test_redis_read__a_batch_with_both_replicas)
{
    struct fixture f;
    begin(&f, &peer_redis);
    assert_true(f.work.protocol->send(&f.peer, 0, TEXT));
    assert_true(has_sent(&f, "WAIT\r\n$1\r\n2\r\n"));
    assert_int_equal(read_text(&f, "$3\r\n1-1\r\n").kind, PEER_NOTHING);
    assert_int_equal(read_text(&f, "$3\r\n1-2\r\n").kind, PEER_NOTHING);
    assert_int_equal(read_text(&f, ":2\r\n").kind, PEER_ACKNOWLEDGED);
    assert_int_equal(read_text(&f, ":2\r\n").kind, PEER_REFUSED); /* none is expected */
    end(&f);
}

TEST(test_redis_read__a_batch_that_one_replica_lacks)
{
    struct fixture f;
    begin(&f, &peer_redis);
    assert_true(f.work.protocol->send(&f.peer, 0, TEXT));
    (void)read_text(&f, "$3\r\n1-1\r\n");
    (void)read_text(&f, "$3\r\n1-2\r\n");
    assert_int_equal(read_text(&f, ":1\r\n").kind, PEER_REFUSED);
    assert_true(f.work.protocol->send(&f.peer, 0, TEXT));
    (void)read_text(&f, "-ERR no\r\n");
    (void)read_text(&f, "$3\r\n1-2\r\n");
    assert_int_equal(read_text(&f, ":2\r\n").kind, PEER_REFUSED);
    end(&f);
}

TEST(test_redis_read__a_published_message)
{
    struct fixture f;
    begin(&f, &peer_redis_pubsub);
    struct peer_event event =
        read_text(&f, "*3\r\n$7\r\nmessage\r\n$5\r\nroom0\r\n$24\r\n" TEXT "\r\n");
    assert_int_equal(event.kind, PEER_MESSAGE);
    assert_int_equal(peer_read_number(event.text), 42);
    assert_int_equal(read_text(&f, "*3\r\n$9\r\nsubscribe\r\n$5\r\nroom0\r\n:1\r\n").kind,
                     PEER_ENTERED);
    assert_int_equal(read_text(&f, ":100\r\n").kind, PEER_NOTHING);
    end(&f);
}

TEST(test_nats_take__a_line_and_its_payload)
{
    static const char message[] = "MSG _INBOX.7.13 1 9\r\n{\"seq\":1}\r\n";
    struct fixture f;
    begin(&f, &peer_nats);
    expect_one_frame(&f, "PING\r\n", 6);
    expect_one_frame(&f, message, sizeof message - 1);
    end(&f);
}

TEST(test_nats_read__stored_or_not)
{
    struct fixture f;
    begin(&f, &peer_nats);
    struct peer_event event =
        read_text(&f, "MSG _INBOX.7.13 1 26\r\n{\"stream\":\"ROOM\",\"seq\":1}\r\n");
    assert_int_equal(event.kind, PEER_ACKNOWLEDGED);
    assert_int_equal(event.slot, 13);
    event = read_text(&f, "MSG _INBOX.7.5 1 29\r\n{\"error\":{\"code\":503},\"seq\":0}\r\n");
    assert_int_equal(event.kind, PEER_REFUSED);
    assert_int_equal(event.slot, 5);
    assert_int_equal(read_text(&f, "PING\r\n").kind, PEER_NOTHING);
    assert_true(has_sent(&f, "PONG\r\n"));
    end(&f);
}

/* A frame of HTTP/2 of stream 1. */
static struct peer_event read_http2(struct fixture *f, uint8_t type, uint8_t flags)
{
    const uint8_t frame[] = {0, 0, 1, type, flags, 0, 0, 0, 1, 0};
    return f->work.protocol->read(&f->peer, frame, sizeof frame);
}

TEST(test_etcd_read__a_reply_needs_a_message)
{
    enum { DATA = 0, HEADERS = 1, END_STREAM = 1, END_HEADERS = 4 };
    struct fixture f;
    begin(&f, &peer_etcd);
    f.peer.ready = true;
    assert_true(f.work.protocol->send(&f.peer, 0, TEXT));
    assert_int_equal(read_http2(&f, HEADERS, END_HEADERS).kind, PEER_NOTHING);
    assert_int_equal(read_http2(&f, DATA, 0).kind, PEER_NOTHING);
    assert_int_equal(read_http2(&f, HEADERS, END_HEADERS | END_STREAM).kind, PEER_ACKNOWLEDGED);
    assert_true(f.work.protocol->send(&f.peer, 0, TEXT));
    assert_int_equal(read_http2(&f, HEADERS, END_HEADERS | END_STREAM).kind, PEER_REFUSED);
    end(&f);
}

TEST(test_etcd_take__frames_and_none)
{
    static const char frame[] = {0, 0, 2, 0, 1, 0, 0, 0, 1, 'x', 'y'};
    static const uint8_t huge[] = {1, 0, 0, 0, 0, 0, 0, 0, 1};
    struct fixture f;
    begin(&f, &peer_etcd);
    expect_one_frame(&f, frame, sizeof frame);
    assert_int_equal(f.work.protocol->framing.take(&f.peer.connection, huge, sizeof huge), 0);
    assert_int_equal(f.lost, 1);
    end(&f);
}

TEST(test_irc_read__the_way_into_a_room)
{
    struct fixture f;
    begin(&f, &peer_irc);
    expect_one_frame(&f, "PING :x\r\n", 9);
    assert_int_equal(read_text(&f, ":irc 001 u7 :Welcome\r\n").kind, PEER_NOTHING);
    assert_int_equal(read_text(&f, ":irc 376 u7 :End of message of the day.\r\n").kind,
                     PEER_ENTERED);
    f.peer.step = 1;
    assert_int_equal(read_text(&f, ":irc 353 u7 = #room0 :u7\r\n").kind, PEER_NOTHING);
    assert_int_equal(read_text(&f, ":irc 366 u7 #room0 :End\r\n").kind, PEER_ENTERED);
    assert_int_equal(read_text(&f, ":irc 471 u7 #room0 :Full\r\n").kind, PEER_REFUSED);
    assert_int_equal(read_text(&f, "PING :1.2\r\n").kind, PEER_NOTHING);
    assert_true(has_sent(&f, "PONG :1.2\r\n"));
    f.peer.ready = true;
    struct peer_event event = read_text(&f, ":u9!u9@host PRIVMSG #room0 :" TEXT "\r\n");
    assert_int_equal(event.kind, PEER_MESSAGE);
    assert_int_equal(peer_read_number(event.text), 42);
    assert_int_equal(read_text(&f, ":u9!u9@host PRIVMSG #room0 :short\r\n").kind, PEER_REFUSED);
    end(&f);
}

TEST(test_peer_read_number__of_what_was_written)
{
    char text[PEER_TEXT_BYTES_MAX + 1];
    peer_write_text(text, 100, 1234567890123u);
    assert_int_equal(strlen(text), 100);
    assert_int_equal(peer_read_number((const uint8_t *)text), 1234567890123u);
    assert_int_equal(peer_read_number((const uint8_t *)"0000000000000000004z"), 0);
}
