/* SPDX-License-Identifier: MIT */
/* Sending again what was answered already: two halves of a cluster have met, and the one that goes
 * on has not heard of it. */
#include "client_fixture.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each outcome came once and is good. */
static void check_results(const struct client_fixture *f, size_t count)
{
    assert_int_equal(f->result_count, count);
    assert_int_equal(client_fixture_count(f, STATUS_OK), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(f->results[i].request, i + 1);
}

TEST(test_replay__answered_ones_go_out_again)
{
    for (uint64_t known = 44; known <= 299; known += 85) {
        struct client_fixture *f = client_fixture_logged_in(1);
        client_fixture_send_through(f, "m", 300);
        fake_forget(&f->cluster, known, 0, known);
        client_fixture_send(f, "m300");
        CLIENT_FIXTURE_WAIT(f, f->result_count == 301);
        client_fixture_check_kept(f, "m", 301);
        check_results(f, 301);
        assert_int_equal(f->session_ends, 0);
        assert_int_equal(client_unfinished(f->client), 0);
        struct client_stats stats = client_fixture_stats(f);
        assert_int_equal(stats.sent, 301);
        client_fixture_free(f);
    }
}

/* It is all one to them whether answers were there, on their way, or not asked for yet. */
LOGGED_IN_TEST(test_replay__in_the_middle_of_sending)
{
    client_fixture_send_many(f, "m", 1000);
    for (size_t round = 1; round <= 4; round++) {
        CLIENT_FIXTURE_WAIT(f, f->cluster.message_count > round * 200);
        size_t known = f->cluster.message_count - 100;
        fake_forget(&f->cluster, known, 0, known);
    }
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1000);
    client_fixture_check_kept(f, "m", 1000);
    check_results(f, 1000);
}

/* The server that asked for it dies; the next one has heard even less. */
LOGGED_IN_TEST(test_replay__interrupted)
{
    client_fixture_send_through(f, "m", 200);
    fake_forget(&f->cluster, 150, 0, 150);
    client_fixture_send(f, "m200");
    CLIENT_FIXTURE_WAIT(f, f->cluster.message_count > 150);
    fake_server_kill(&f->servers[0]);
    fake_forget(&f->cluster, 100, 0, 100);
    fake_server_start(&f->servers[0], &f->cluster);
    client_fixture_send(f, "m201");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 202);
    client_fixture_check_kept(f, "m", 202);
    check_results(f, 202);
}

static enum fake_action count_second_sends(void *context, struct fake_server *server,
                                           const char *method, uint64_t number)
{
    size_t *count = context;
    (void)server;
    *count += strcmp(method, "Send") == 0 && number == 2;
    return FAKE_OBEY;
}

/* Whoever was told that a message was refused, or gave it up, must not see it after all. */
LOGGED_IN_TEST(test_replay__what_failed_stays_failed)
{
    client_fixture_send(f, "a");
    client_fixture_send(f, "refuse b");
    client_fixture_send(f, "c");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    fake_server_kill(&f->servers[0]);
    client_fixture_send(f, "given up");
    client_give_up(f->client, STATUS_UNAVAILABLE, "enough");
    fake_forget(&f->cluster, 0, 0, 0);
    size_t second_sends = 0;
    f->cluster.judge = count_second_sends;
    f->cluster.context = &second_sends;
    fake_server_start(&f->servers[0], &f->cluster);
    client_fixture_send(f, "d");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 5);
    assert_int_equal(f->results[1].status, STATUS_PERMISSION_DENIED);
    assert_int_equal(f->results[4].status, STATUS_OK);
    assert_int_equal(f->cluster.message_count, 3);
    static const char *const texts[] = {"a", "c", "d"};
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(f->cluster.messages[i].text, texts[i]);
    assert_int_equal(f->cluster.messages[1].request, 3);
    assert_int_equal(second_sends, 0);
    assert_true(f->cluster.leaves_seen > 0); /* what goes out in its place leaves no room */
    assert_int_equal(f->cluster.rooms_left, 0);
}

/* Numbers that were given up while under way leave no hole that stops the session. */
LOGGED_IN_TEST(test_replay__given_up_numbers_are_filled)
{
    fake_order(&f->cluster, "Send", FAKE_LOSE);
    client_fixture_send_many(f, "lost", 3);
    CLIENT_FIXTURE_WAIT(f, f->cluster.sends_seen == 3);
    client_give_up(f->client, STATUS_UNAVAILABLE, "enough");
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    client_fixture_send(f, "d");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 4);
    assert_int_equal(f->results[3].status, STATUS_OK);
    assert_int_equal(f->cluster.message_count, 1);
    assert_int_equal(f->cluster.messages[0].request, 4);
}

static void wait_through(struct client_fixture *f, uint64_t ms)
{
    for (uint64_t waited = 0; waited < ms; waited += 25000) {
        client_fixture_pass(f, 25000);
        assert_int_equal(f->session_ends, 0);
    }
}

/* More is gone than is kept: it may be handed over by the servers that have it; if it is not, that is
 * said, instead of trying for ever. */
LOGGED_IN_TEST(test_replay__too_much_is_gone)
{
    client_fixture_send_through(f, "m", 300);
    fake_forget(&f->cluster, 43, 0, 43); /* the 44th is the first missing, the 45th kept */
    client_fixture_send(f, "m300");
    wait_through(f, 100000);
    client_fixture_advance(f, 60000);
    CLIENT_FIXTURE_WAIT(f, f->session_ends == 1);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 301);
    assert_int_equal(f->results[300].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(f->cluster.message_count, 43);
    assert_int_equal(client_unfinished(f->client), 0);
}

/* It was handed over, and what waited for it was refused: whatever is missing next has all the time. */
LOGGED_IN_TEST(test_replay__too_much_is_gone_twice)
{
    client_fixture_send_through(f, "m", 300);
    fake_forget(&f->cluster, 43, 0, 43);
    client_fixture_send(f, "m300");
    wait_through(f, 100000);
    f->cluster.sessions[0].last_request = 300;
    f->cluster.order =
        (struct fake_order){FAKE_FAIL, .method = "Send", .fail_status = STATUS_NOT_FOUND};
    CLIENT_FIXTURE_WAIT(f, f->result_count == 301);
    assert_int_equal(f->results[300].status, STATUS_NOT_FOUND);
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    f->cluster.sessions[0].last_request = 43;
    client_fixture_send(f, "m301");
    wait_through(f, 100000);
}
