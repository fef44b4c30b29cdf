/* SPDX-License-Identifier: MIT */
/* Streams and their credits, giving up a call, deadlines. */
#include "base/clock.h"
#include "probe.h"
#include "rpc/protocol.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct fixture {
    struct probe *probe;
    struct probe_counters *counters;
    struct client client;
    struct outcome outcomes[80000]; /* live as long as the calls that may still be open */
    size_t outcome_count;
};

static struct outcome *fresh(struct fixture *fixture)
{
    assert_true(fixture->outcome_count < sizeof fixture->outcomes / sizeof fixture->outcomes[0]);
    return &fixture->outcomes[fixture->outcome_count++];
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->probe = probe_start(NULL);
    fixture->counters = probe_counters(fixture->probe);
    client_open(&fixture->client, probe_address(fixture->probe), NULL);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    client_close(&fixture->client);
    probe_stop(fixture->probe);
    free(fixture);
    return 0;
}

/* ---- streams ---- */

TEST_WITH(test_stream__as_many_pages_as_credits, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fresh(fixture);
    client_flow(&fixture->client, 0, 10, 5, outcome);
    WAIT_UNTIL(&fixture->client, outcome->replies == 5);
    assert_true(outcome->result.more);
    client_expect_service(&fixture->client);
    client_expect_service(&fixture->client);
    assert_int_equal(outcome->replies, 5);
    assert_int_equal(fixture->counters->pages, 5);
    assert_int_equal(outcome->gaps, 0);
    assert_false(outcome->ended);
}

TEST_WITH(test_stream__one_credit_is_one_page, setup, teardown)
{
    struct fixture *fixture = *state;
    for (uint32_t credits = 0; credits <= 1; credits++) {
        struct outcome *outcome = fresh(fixture);
        client_flow(&fixture->client, 2, 10, credits, outcome);
        WAIT_UNTIL(&fixture->client, outcome->ended);
        /* The probe sends page 1 on its only credit, and page 2 ends the call. */
        assert_int_equal(outcome->replies, 2);
        assert_int_equal(outcome->gaps, 0);
    }
}

TEST_WITH(test_stream__ends_with_its_last_page, setup, teardown)
{
    struct fixture *fixture = *state;
    for (uint64_t pages = 1; pages <= 20; pages++) {
        struct outcome *outcome = fresh(fixture);
        client_flow(&fixture->client, pages, 100, 40, outcome);
        WAIT_UNTIL(&fixture->client, outcome->ended);
        assert_int_equal(outcome->result.status, STATUS_OK);
        assert_int_equal(outcome->replies, pages);
        assert_int_equal(outcome->number, pages);
        assert_int_equal(outcome->gaps, 0);
        assert_int_equal(outcome->text_size, 100);
    }
    assert_int_equal(fixture->counters->held, 0);
    assert_int_equal(rpc_channel_open_calls(fixture->client.channel), 0);
}

TEST_WITH(test_stream__empty_pages, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fresh(fixture);
    client_flow(&fixture->client, 3, 0, 10, outcome);
    WAIT_UNTIL(&fixture->client, outcome->ended);
    assert_int_equal(outcome->replies, 3);
}

struct credit_refill {
    struct client *client;
    uint64_t call;
    uint32_t every;
};

static void top_up(struct outcome *outcome)
{
    struct credit_refill *run = outcome->context;
    if (outcome->replies % run->every == 0)
        rpc_channel_credit(run->client->channel, run->call, run->every);
}

/* What is sent never exceeds what was granted, and nothing is missing. */
TEST_WITH(test_stream__topped_up_flows_on, setup, teardown)
{
    struct fixture *fixture = *state;
    static const struct {
        uint32_t credits;
        uint32_t every;
    } cases[] = {{2, 1}, {8, 4}, {RPC_CREDITS_MAX, 16}, {1000, RPC_CREDITS_MAX}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct credit_refill run = {.client = &fixture->client, .every = cases[i].every};
        struct outcome *outcome = fresh(fixture);
        outcome->context = &run;
        outcome->then = top_up;
        client_flow(&fixture->client, 3000, 50, cases[i].credits, outcome);
        run.call = fixture->client.stub.call;
        WAIT_UNTIL(&fixture->client, outcome->ended);
        assert_int_equal(outcome->replies, 3000);
        assert_int_equal(outcome->gaps, 0);
    }
}

TEST_WITH(test_stream__credits_beyond_the_most_do_not_count, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fresh(fixture);
    client_flow(&fixture->client, 0, 10, UINT32_MAX, outcome);
    uint64_t call = fixture->client.stub.call;
    WAIT_UNTIL(&fixture->client, outcome->replies == RPC_CREDITS_MAX);
    client_expect_service(&fixture->client);
    assert_int_equal(outcome->replies, RPC_CREDITS_MAX);
    probe_pause(fixture->probe);
    for (int i = 0; i < 10; i++) /* their sum overflows 32 bits */
        rpc_channel_credit(fixture->client.channel, call, UINT32_MAX / 4);
    rpc_channel_flush(fixture->client.channel);
    probe_resume(fixture->probe);
    WAIT_UNTIL(&fixture->client, outcome->replies >= 2 * RPC_CREDITS_MAX);
    client_expect_service(&fixture->client);
    size_t granted_in_one_frame = 10 * RPC_CREDITS_MAX;
    assert_true(outcome->replies <= RPC_CREDITS_MAX + granted_in_one_frame);
    assert_int_equal(outcome->gaps, 0);
}

TEST_WITH(test_stream__credit_of_zero_and_of_unknown_calls, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fresh(fixture);
    client_flow(&fixture->client, 0, 10, 2, outcome);
    uint64_t call = fixture->client.stub.call;
    WAIT_UNTIL(&fixture->client, outcome->replies == 2);
    rpc_channel_credit(fixture->client.channel, call, 0);
    rpc_channel_credit(fixture->client.channel, call + 1000, 5);
    rpc_channel_cancel(fixture->client.channel, call + 1000);
    client_expect_service(&fixture->client);
    assert_int_equal(outcome->replies, 2);
    assert_int_equal(fixture->counters->credited, 0);
}

/* Two streams on one connection do not use each other's credits. */
TEST_WITH(test_stream__two_at_once, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *one = fresh(fixture);
    struct outcome *two = fresh(fixture);
    client_flow(&fixture->client, 0, 10, 3, one);
    client_flow(&fixture->client, 0, 10, 7, two);
    uint64_t call_two = fixture->client.stub.call;
    WAIT_UNTIL(&fixture->client, one->replies == 3 && two->replies == 7);
    rpc_channel_credit(fixture->client.channel, call_two, 2);
    WAIT_UNTIL(&fixture->client, two->replies == 9);
    client_expect_service(&fixture->client);
    assert_int_equal(one->replies, 3);
    assert_int_equal(one->gaps + two->gaps, 0);
}

/* While the output of the channel is full, what is granted is owed, not lost. */
TEST_WITH(test_stream__credits_survive_a_full_output, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *flow = fresh(fixture);
    client_flow(&fixture->client, 0, 10, 2, flow);
    uint64_t call = fixture->client.stub.call;
    WAIT_UNTIL(&fixture->client, flow->replies == 2);
    char text[10000];
    memset(text, 't', sizeof text);
    for (size_t size = sizeof text; size > 0; size /= 10) {
        text[size - 1] = '\0';
        struct outcome *filler = NULL;
        do {
            filler = fresh(fixture);
            client_echo(&fixture->client, text, 0, filler);
        } while (!filler->ended);
        assert_int_equal(filler->result.status, STATUS_RESOURCE_EXHAUSTED);
        assert_true(filler->result.retry_ms > 0);
        assert_int_equal(fixture->client.stub.call, 0);
    }
    for (int i = 0; i < 40; i++) /* the last frame may have room for one or two */
        rpc_channel_credit(fixture->client.channel, call, 1);
    WAIT_UNTIL(&fixture->client, flow->replies == 42);
    WAIT_UNTIL(&fixture->client, rpc_channel_open_calls(fixture->client.channel) == 1);
    client_expect_service(&fixture->client);
    assert_int_equal(flow->replies, 42);
}

/* ---- calls that are kept without their request ---- */

static void hold_kept(struct client *client, const char *text, struct outcome *outcome)
{
    Probe__Text request = PROBE__TEXT__INIT;
    request.text = (char *)text;
    request.number = 7;
    request.keep = true;
    probe__probe__hold(&client->stub.service, &request, on_text, outcome);
}

TEST_WITH(test_keep__is_answered_cancelled_and_timed_out, setup, teardown)
{
    struct fixture *fixture = *state;
    struct client *client = &fixture->client;
    struct outcome *answered = fresh(fixture);
    struct outcome *cancelled = fresh(fixture);
    struct outcome *late = fresh(fixture);
    struct outcome *plain = fresh(fixture);
    hold_kept(client, "one", answered);
    hold_kept(client, "two", cancelled);
    uint64_t cancelled_call = client->stub.call;
    client->stub.timeout_ms = 50;
    hold_kept(client, "three", late);
    client->stub.timeout_ms = 60000;
    client_hold(client, "four", plain);
    client->stub.timeout_ms = 0;
    WAIT_UNTIL(client, fixture->counters->held_ever == 4);
    WAIT_UNTIL(client, late->ended && fixture->counters->held == 3);
    rpc_channel_cancel(client->channel, cancelled_call);
    WAIT_UNTIL(client, fixture->counters->held == 2);
    assert_int_equal(fixture->counters->cancelled, 2);
    probe_release(fixture->probe, 2, STATUS_OK);
    WAIT_UNTIL(client, answered->ended && plain->ended);
    assert_string_equal(answered->text, "one");
    assert_int_equal(answered->number, 7);
    assert_string_equal(plain->text, "four");
    assert_int_equal(probe_stats(fixture->probe).open_calls, 0);
}

TEST_WITH(test_keep__streams_on, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *flow = fresh(fixture);
    Probe__FlowRequest request = PROBE__FLOW_REQUEST__INIT;
    request.pages = 40;
    request.page_bytes = 10;
    request.keep = true;
    fixture->client.stub.credits = 10;
    probe__probe__flow(&fixture->client.stub.service, &request, on_page, flow);
    uint64_t call = fixture->client.stub.call;
    WAIT_UNTIL(&fixture->client, flow->replies == 10);
    rpc_channel_credit(fixture->client.channel, call, 48);
    WAIT_UNTIL(&fixture->client, flow->ended);
    assert_int_equal(flow->replies, 40);
    assert_int_equal(flow->gaps, 0);
}

/* Among others of its peer, while all of them are cancelled, and when the peer goes. */
TEST_WITH(test_keep__among_others, setup, teardown)
{
    struct fixture *fixture = *state;
    for (int round = 0; round < 20; round++) {
        struct client other;
        client_open(&other, probe_address(fixture->probe), NULL);
        static struct outcome outcomes[60];
        memset(outcomes, 0, sizeof outcomes);
        for (int i = 0; i < 60; i++) {
            other.stub.timeout_ms = i % 4 == 0 ? 60000 : 0;
            if (i % 3 == 0)
                client_hold(&other, "plain", &outcomes[i]);
            else
                hold_kept(&other, "kept", &outcomes[i]);
        }
        WAIT_UNTIL(&other, fixture->counters->held == 60);
        probe_release(fixture->probe, 15, STATUS_OK);
        WAIT_UNTIL(&other, rpc_channel_open_calls(other.channel) == 45);
        client_close(&other);
        WAIT_UNTIL(&fixture->client, fixture->counters->held == 0);
    }
    assert_int_equal(fixture->counters->cancelled, 20 * 45);
    WAIT_UNTIL(&fixture->client, probe_stats(fixture->probe).open_calls == 0);
}

/* ---- giving up ---- */

TEST_WITH(test_cancel__ends_here_and_there, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fresh(fixture);
    client_hold(&fixture->client, "h", outcome);
    uint64_t call = fixture->client.stub.call;
    WAIT_UNTIL(&fixture->client, fixture->counters->held == 1);
    rpc_channel_cancel(fixture->client.channel, call);
    assert_true(outcome->ended);
    assert_int_equal(outcome->result.status, STATUS_CANCELLED);
    WAIT_UNTIL(&fixture->client, fixture->counters->held == 0);
    assert_int_equal(fixture->counters->cancelled, 1);
    client_expect_service(&fixture->client);
    assert_int_equal(outcome->replies, 1);
    rpc_channel_cancel(fixture->client.channel, call);
    assert_int_equal(outcome->replies, 1);
}

/* The handler ends the cancelled call with a failure, which is not sent. */
TEST_WITH(test_cancel__is_not_answered, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fresh(fixture);
    client_expect_service(&fixture->client);
    uint64_t sent = probe_stats(fixture->probe).frames_sent;
    client_hold(&fixture->client, "h", outcome);
    WAIT_UNTIL(&fixture->client, fixture->counters->held == 1);
    rpc_channel_cancel(fixture->client.channel, fixture->client.stub.call);
    WAIT_UNTIL(&fixture->client, fixture->counters->held == 0);
    assert_int_equal(probe_stats(fixture->probe).frames_sent, sent);
}

TEST_WITH(test_cancel__of_a_stream_in_flow, setup, teardown)
{
    struct fixture *fixture = *state;
    for (int round = 0; round < 50; round++) {
        struct credit_refill run = {.client = &fixture->client, .every = 4};
        struct outcome *outcome = fresh(fixture);
        outcome->context = &run;
        outcome->then = top_up;
        client_flow(&fixture->client, 0, 100, 16, outcome);
        run.call = fixture->client.stub.call;
        WAIT_UNTIL(&fixture->client, outcome->replies >= 40);
        rpc_channel_cancel(fixture->client.channel, run.call);
        assert_int_equal(outcome->result.status, STATUS_CANCELLED);
        unsigned replies = outcome->replies;
        WAIT_UNTIL(&fixture->client, fixture->counters->held == 0);
        client_expect_service(&fixture->client);
        assert_int_equal(outcome->replies, replies);
    }
}

TEST_WITH(test_cancel__before_it_was_sent, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fresh(fixture);
    client_hold(&fixture->client, "h", outcome);
    rpc_channel_cancel(fixture->client.channel, fixture->client.stub.call);
    assert_int_equal(outcome->result.status, STATUS_CANCELLED);
    client_expect_service(&fixture->client);
    WAIT_UNTIL(&fixture->client, fixture->counters->cancelled == 1);
    assert_int_equal(fixture->counters->held, 0);
}

/* The server's side gives up: it ends a stream with a status of its own. */
TEST_WITH(test_stream__ended_by_the_server, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fresh(fixture);
    client_flow(&fixture->client, 0, 10, 3, outcome);
    WAIT_UNTIL(&fixture->client, outcome->replies == 3);
    probe_release(fixture->probe, 1, STATUS_ABORTED);
    WAIT_UNTIL(&fixture->client, outcome->ended);
    assert_int_equal(outcome->result.status, STATUS_ABORTED);
    assert_int_equal(outcome->replies, 4);
    assert_false(outcome->result.more);
}

/* A handler that is told of one cancelled call may end all the others. */
TEST_WITH(test_cancel_all__handler_ends_the_others, setup, teardown)
{
    struct fixture *fixture = *state;
    probe_on_cancel(fixture->probe, PROBE_END_ALL);
    struct client more[3];
    static struct outcome outcomes[400];
    memset(outcomes, 0, sizeof outcomes);
    for (int i = 0; i < 3; i++)
        client_open(&more[i], probe_address(fixture->probe), NULL);
    for (int i = 0; i < 400; i++)
        client_hold(i % 4 == 3 ? &fixture->client : &more[i % 4], "h", &outcomes[i]);
    while (fixture->counters->held < 400) {
        for (int i = 0; i < 3; i++)
            client_turn(&more[i], 1);
        client_turn(&fixture->client, 1);
    }
    probe_free_server(fixture->probe);
    assert_int_equal(fixture->counters->held, 0);
    for (int i = 0; i < 400; i++)
        WAIT_UNTIL(i % 4 == 3 ? &fixture->client : &more[i % 4], outcomes[i].ended);
    for (int i = 0; i < 3; i++)
        client_close(&more[i]);
}

TEST_WITH(test_disconnect__handler_ends_the_others, setup, teardown)
{
    struct fixture *fixture = *state;
    probe_on_cancel(fixture->probe, PROBE_END_ALL);
    struct client other;
    client_open(&other, probe_address(fixture->probe), NULL);
    static struct outcome outcomes[100];
    memset(outcomes, 0, sizeof outcomes);
    for (int i = 0; i < 100; i++)
        client_hold(i % 2 == 0 ? &fixture->client : &other, "h", &outcomes[i]);
    while (fixture->counters->held < 100) {
        client_turn(&other, 1);
        client_turn(&fixture->client, 1);
    }
    client_close(&other);
    WAIT_UNTIL(&fixture->client, fixture->counters->held == 0);
    for (int i = 0; i < 100; i += 2) {
        WAIT_UNTIL(&fixture->client, outcomes[i].ended);
        assert_int_equal(outcomes[i].result.status, STATUS_ABORTED);
    }
    client_expect_service(&fixture->client);
}

/* ---- deadlines ---- */

TEST_WITH(test_deadline__of_a_call_that_is_held, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fresh(fixture);
    fixture->client.stub.timeout_ms = 60;
    uint64_t start_ms = clock_monotonic_ms();
    client_hold(&fixture->client, "h", outcome);
    assert_true(rpc_channel_next_tick(fixture->client.channel) >= start_ms + 60);
    assert_true(rpc_channel_next_tick(fixture->client.channel) <= clock_monotonic_ms() + 60);
    WAIT_UNTIL(&fixture->client, outcome->ended);
    assert_true(clock_monotonic_ms() - start_ms >= 60);
    assert_true(outcome->result.status == STATUS_DEADLINE_EXCEEDED ||
                outcome->result.status == STATUS_CANCELLED); /* the probe's word, if it was first */
    WAIT_UNTIL(&fixture->client, fixture->counters->held == 0);
    assert_int_equal(fixture->counters->cancelled, 1);
    assert_true(rpc_channel_next_tick(fixture->client.channel) == UINT64_MAX);
}

/* The server alone: a caller that never looks at its clock. */
TEST_WITH(test_deadline__told_to_the_handler, setup, teardown)
{
    struct fixture *fixture = *state;
    struct outcome *outcome = fresh(fixture);
    client_expect_service(&fixture->client);
    fixture->client.stub.timeout_ms = 30;
    client_hold(&fixture->client, "h", outcome);
    rpc_channel_flush(fixture->client.channel);
    WAIT_UNTIL(NULL, fixture->counters->cancelled == 1);
    assert_int_equal(fixture->counters->held, 0);
    assert_false(outcome->ended);
}

/* The client alone: a server that is stuck. */
TEST_WITH(test_deadline__of_a_server_that_is_stuck, setup, teardown)
{
    struct fixture *fixture = *state;
    client_expect_service(&fixture->client);
    probe_pause(fixture->probe);
    struct outcome *outcome = fresh(fixture);
    fixture->client.stub.timeout_ms = 40;
    client_echo(&fixture->client, "x", 0, outcome);
    WAIT_UNTIL(&fixture->client, outcome->ended);
    assert_int_equal(outcome->result.status, STATUS_DEADLINE_EXCEEDED);
    size_t echoed = fixture->counters->echoed;
    probe_resume(fixture->probe);
    fixture->client.stub.timeout_ms = 0;
    client_expect_service(&fixture->client);
    /* It had waited in the server's queue past its deadline: it was not carried out. */
    assert_int_equal(fixture->counters->echoed, echoed + 1);
    assert_int_equal(outcome->replies, 1);
}

/* Tells whether a paused server's transport has queued so many calls since its start. */
static bool has_received(struct probe *probe, uint64_t calls)
{
    struct rpc_server_stats stats;
    rpc_server_stats(probe_server(probe), &stats);
    return stats.calls_received >= calls;
}

TEST_WITH(test_deadline__passed_in_the_servers_queue, setup, teardown)
{
    struct fixture *fixture = *state;
    client_expect_service(&fixture->client);
    probe_pause(fixture->probe);
    struct outcome *outcome = fresh(fixture);
    fixture->client.stub.timeout_ms = 30;
    client_echo(&fixture->client, "x", 0, outcome);
    rpc_channel_flush(fixture->client.channel);
    WAIT_UNTIL(NULL, has_received(fixture->probe, 2));
    uint64_t start_ms = clock_monotonic_ms();
    WAIT_UNTIL(NULL, clock_monotonic_ms() > start_ms + 60);
    probe_resume(fixture->probe);
    /* No tick here: the answer is the server's. */
    while (!outcome->ended) {
        task_queue_wait(fixture->client.queue, 100);
        (void)task_queue_run(fixture->client.queue, SIZE_MAX);
        assert_true(clock_monotonic_ms() - start_ms < PATIENCE_MS);
    }
    assert_int_equal(outcome->result.status, STATUS_DEADLINE_EXCEEDED);
    assert_non_null(strstr(outcome->message, "waited"));
    assert_int_equal(fixture->counters->echoed, 1);
}

/* An owner that had nothing to do for long does not make its next call with an old clock. */
TEST_WITH(test_deadline__after_a_long_silence, setup, teardown)
{
    struct fixture *fixture = *state;
    client_expect_service(&fixture->client);
    uint64_t start_ms = clock_monotonic_ms();
    WAIT_UNTIL(NULL, clock_monotonic_ms() > start_ms + 150);
    struct outcome *outcome = fresh(fixture);
    fixture->client.stub.timeout_ms = 100;
    client_hold(&fixture->client, "x", outcome);
    rpc_channel_tick(fixture->client.channel, start_ms + 200);
    assert_false(outcome->ended);
    assert_true(rpc_channel_next_tick(fixture->client.channel) >= start_ms + 250);
}

TEST_WITH(test_deadline__without_a_connection, setup, teardown)
{
    struct fixture *fixture = *state;
    struct address nowhere = *probe_address(fixture->probe);
    struct probe *gone = probe_start(NULL);
    nowhere.port = probe_address(gone)->port;
    probe_stop(gone);
    struct client client;
    client_open(&client, &nowhere, NULL);
    static struct outcome outcomes[3];
    static const uint32_t timeouts[] = {80, 40, 60};
    for (int i = 0; i < 3; i++) {
        client.stub.timeout_ms = timeouts[i];
        client_echo(&client, "x", 0, &outcomes[i]);
    }
    WAIT_UNTIL(&client, outcomes[1].ended);
    WAIT_UNTIL(&client, outcomes[2].ended);
    WAIT_UNTIL(&client, outcomes[0].ended);
    for (int i = 0; i < 3; i++)
        assert_int_equal(outcomes[i].result.status, STATUS_DEADLINE_EXCEEDED);
    assert_false(rpc_channel_is_connected(client.channel));
    assert_int_equal(client.connected, 0);
    client_close(&client);
}

static void cancel_next(struct outcome *outcome)
{
    struct credit_refill *run = outcome->context;
    /* Ends the calls on both sides of this one. */
    rpc_channel_cancel(run->client->channel, run->call - 1);
    rpc_channel_cancel(run->client->channel, run->call + 1);
}

/* Closures that end other calls while the channel walks over them. */
TEST_WITH(test_deadline__closure_ends_other_calls, setup, teardown)
{
    struct fixture *fixture = *state;
    enum { COUNT = 300 };
    static struct outcome outcomes[COUNT];
    static struct credit_refill runs[COUNT];
    memset(outcomes, 0, sizeof outcomes);
    fixture->client.stub.timeout_ms = 1000;
    for (int i = 0; i < COUNT; i++) {
        outcomes[i].context = &runs[i];
        outcomes[i].then = cancel_next;
        fixture->client.stub.timeout_ms = i % 5 == 0 ? 1000000 : 1000;
        client_hold(&fixture->client, "h", &outcomes[i]);
        runs[i] =
            (struct credit_refill){.client = &fixture->client, .call = fixture->client.stub.call};
    }
    rpc_channel_tick(fixture->client.channel, clock_monotonic_ms() + 500000);
    for (int i = 0; i < COUNT; i++) {
        assert_true(outcomes[i].ended);
        assert_int_equal(outcomes[i].replies, 1);
    }
    assert_int_equal(rpc_channel_open_calls(fixture->client.channel), 0);
}

static void call_again(struct outcome *outcome)
{
    struct credit_refill *run = outcome->context;
    if (outcome->result.status == STATUS_DEADLINE_EXCEEDED && run->every < 10) {
        run->every++;
        client_hold(run->client, "again", outcome);
    }
}

/* A retry made in the closure is not ended by the same tick, and has its own deadline. */
TEST_WITH(test_deadline__closure_calls_again, setup, teardown)
{
    struct fixture *fixture = *state;
    static struct credit_refill run;
    run = (struct credit_refill){.client = &fixture->client};
    struct outcome *outcome = fresh(fixture);
    outcome->context = &run;
    outcome->then = call_again;
    fixture->client.stub.timeout_ms = 1000;
    client_hold(&fixture->client, "first", outcome);
    uint64_t later_ms = clock_monotonic_ms() + 3600000;
    rpc_channel_tick(fixture->client.channel, later_ms);
    assert_int_equal(outcome->replies, 1);
    assert_int_equal(rpc_channel_open_calls(fixture->client.channel), 1);
    assert_int_equal(rpc_channel_next_tick(fixture->client.channel), later_ms + 1000);
}

static uint64_t thread_time_us(void)
{
    struct timespec used;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

/* Thousands of calls without deadline in front of thousands with one. */
TEST_WITH(test_deadline__many_calls_take_no_time, setup, teardown)
{
    struct fixture *fixture = *state;
    const unsigned count = 20000;
    probe_pause(fixture->probe);
    for (unsigned i = 0; i < 2 * count; i++) {
        fixture->client.stub.timeout_ms = i < count ? 0 : 1000;
        client_hold(&fixture->client, "", fresh(fixture));
    }
    uint64_t start_us = thread_time_us();
    rpc_channel_tick(fixture->client.channel, clock_monotonic_ms() + 5000);
    assert_true(thread_time_us() - start_us < 2000000);
    assert_int_equal(rpc_channel_open_calls(fixture->client.channel), count);
    probe_resume(fixture->probe);
}

/* Held calls of several deadlines; the handler of one ends them all. */
TEST_WITH(test_deadline__handler_ends_the_others, setup, teardown)
{
    struct fixture *fixture = *state;
    probe_on_cancel(fixture->probe, PROBE_END_ALL);
    static struct outcome outcomes[300];
    for (int round = 0; round < 5; round++) {
        memset(outcomes, 0, sizeof outcomes);
        for (int i = 0; i < 300; i++) {
            fixture->client.stub.timeout_ms = i % 3 == 0 ? 0 : 50;
            client_hold(&fixture->client, "h", &outcomes[i]);
        }
        size_t ever = fixture->counters->held_ever;
        rpc_channel_flush(fixture->client.channel);
        for (int i = 0; i < 300; i++)
            WAIT_UNTIL(&fixture->client, outcomes[i].ended);
        WAIT_UNTIL(&fixture->client, fixture->counters->held == 0);
        (void)ever;
    }
    fixture->client.stub.timeout_ms = 0;
    client_expect_service(&fixture->client);
    assert_int_equal(probe_stats(fixture->probe).open_calls, 0);
}

/* A handler that does not end its call when it is told: the call stays until it does. */
TEST_WITH(test_deadline__handler_takes_its_time, setup, teardown)
{
    struct fixture *fixture = *state;
    probe_on_cancel(fixture->probe, PROBE_KEEP_IT);
    struct outcome *outcome = fresh(fixture);
    fixture->client.stub.timeout_ms = 30;
    client_hold(&fixture->client, "h", outcome);
    WAIT_UNTIL(&fixture->client, outcome->ended && fixture->counters->cancelled == 1);
    for (int i = 0; i < 5; i++)
        (void)probe_stats(fixture->probe);
    assert_int_equal(fixture->counters->held, 1);
    assert_int_equal(fixture->counters->cancelled, 1); /* told once */
    probe_release(fixture->probe, 1, STATUS_OK);
    fixture->client.stub.timeout_ms = 0;
    client_expect_service(&fixture->client);
    assert_int_equal(outcome->replies, 1);
    assert_int_equal(probe_stats(fixture->probe).open_calls, 0);
}
