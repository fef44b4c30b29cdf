/* SPDX-License-Identifier: MIT */
/* The hook that sees every request before its handler, and may take it: to refuse it, to end it
 * later, or to have another server answer it. */
#include "base/clock.h"
#include "probe.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

enum plan { LET_IN, REFUSE, KEEP, FORWARD };

/* The hook's, on the probe's thread; the test reads it while that is paused or through atomics. */
struct gate {
    enum plan plan;
    atomic_size_t asked;
    atomic_size_t kept;
    atomic_size_t cancelled;
    atomic_size_t forwarded; /* open now */
    char method[32];
    char text[32];
    uint32_t timeout_ms;
    uint32_t credits;
    bool stream;
    struct rpc_call *call; /* KEEP */
    struct rpc_channel *channel;
    struct task_queue *queue;
};

struct fixture {
    struct gate gate;
    struct probe *probe;
    struct probe *other; /* where calls are forwarded to */
    struct client client;
};

/* ---- the hook ---- */

static void refuse_it(struct rpc_call *call)
{
    rpc_call_redirect(call, "192.0.2.7:2625");
    rpc_call_fail(call, STATUS_UNAVAILABLE, 30, "not here");
}

static void on_cancelled(void *context, struct rpc_call *call)
{
    struct gate *gate = context;
    ASSERT(gate->call == call);
    gate->call = NULL;
    (void)atomic_fetch_add(&gate->cancelled, 1);
    rpc_call_fail(call, STATUS_CANCELLED, 0, "");
}

static void keep_it(struct gate *gate, struct rpc_call *call)
{
    gate->call = call;
    rpc_call_watch(call, &(struct rpc_call_watch){.context = gate, .cancelled = on_cancelled});
    (void)atomic_fetch_add(&gate->kept, 1);
}

struct forward {
    struct rpc_result result; /* first */
    struct gate *gate;
    struct rpc_call *call;
};

static void on_forwarded(const ProtobufCMessage *reply, void *context)
{
    struct forward *forward = context;
    const struct rpc_result *result = &forward->result;
    if (reply != NULL) {
        rpc_call_reply(forward->call, reply);
    } else {
        rpc_call_redirect(forward->call, result->master);
        rpc_call_fail(forward->call, result->status, result->retry_ms, result->message);
    }
    (void)atomic_fetch_sub(&forward->gate->forwarded, 1);
    free(forward);
}

static void forward_it(struct gate *gate, struct rpc_call *call, const ProtobufCService *service,
                       unsigned method, const ProtobufCMessage *input)
{
    struct forward *forward = calloc(1, sizeof *forward);
    struct rpc_stub stub;
    rpc_stub_init(&stub, gate->channel, service->descriptor);
    stub.token = rpc_call_token(call, &stub.token_size);
    stub.timeout_ms = rpc_call_timeout_ms(call);
    forward->gate = gate;
    forward->call = call;
    (void)atomic_fetch_add(&gate->forwarded, 1);
    stub.service.invoke(&stub.service, method, input, on_forwarded, forward);
    rpc_channel_flush(gate->channel);
}

static bool admit(void *context, struct rpc_call *call, const ProtobufCService *service,
                  unsigned method, const ProtobufCMessage *input)
{
    struct gate *gate = context;
    (void)strncpy(gate->method, service->descriptor->methods[method].name, sizeof gate->method - 1);
    if (input->descriptor == &probe__text__descriptor)
        (void)strncpy(gate->text, ((const Probe__Text *)input)->text, sizeof gate->text - 1);
    gate->timeout_ms = rpc_call_timeout_ms(call);
    gate->credits = rpc_call_credits(call);
    gate->stream = rpc_call_is_stream(call);
    enum plan plan = gate->plan;
    if (plan == REFUSE)
        refuse_it(call);
    else if (plan == KEEP)
        keep_it(gate, call);
    else if (plan == FORWARD)
        forward_it(gate, call, service, method, input);
    (void)atomic_fetch_add(&gate->asked, 1); /* last: the test waits for it */
    return plan == LET_IN;
}

/* ---- the test's side ---- */

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->probe =
        probe_start(&(struct rpc_server_options){.admit = admit, .admit_context = &fixture->gate});
    client_open(&fixture->client, probe_address(fixture->probe), NULL);
    *state = fixture;
    return 0;
}

static void close_channel(struct probe *probe, void *argument)
{
    (void)probe;
    struct gate *gate = argument;
    rpc_channel_close(gate->channel);
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    client_close(&fixture->client);
    if (fixture->other != NULL) {
        probe_do(fixture->probe, close_channel, &fixture->gate);
        probe_stop(fixture->other);
    }
    probe_stop(fixture->probe);
    free(fixture);
    return 0;
}

static void open_channel(struct probe *probe, void *argument)
{
    struct fixture *fixture = argument;
    struct rpc_channel_options options = {.address = *probe_address(fixture->other),
                                          .queue = probe_queue(probe)};
    ASSERT(rpc_channel_open(&fixture->gate.channel, &options, NULL) == OK);
}

/* Behind the probe there is another one now. */
static void add_other(struct fixture *fixture)
{
    fixture->other = probe_start(NULL);
    probe_do(fixture->probe, open_channel, fixture);
    fixture->gate.plan = FORWARD;
}

TEST_WITH(test_admit__is_asked_before_the_handler, setup, teardown)
{
    struct fixture *fixture = *state;
    struct gate *gate = &fixture->gate;
    struct outcome outcome = {.number = 0};
    client_echo(&fixture->client, "hello", 7, &outcome);
    WAIT_UNTIL(&fixture->client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_OK);
    assert_int_equal(gate->asked, 1);
    assert_string_equal(gate->method, "Echo");
    assert_string_equal(gate->text, "hello");
    assert_int_equal(gate->timeout_ms, 0);
    assert_int_equal(gate->credits, 1);
    assert_false(gate->stream);

    struct outcome flow = {.number = 0};
    fixture->client.stub.timeout_ms = 20000;
    client_flow(&fixture->client, 3, 10, 5, &flow);
    WAIT_UNTIL(&fixture->client, flow.ended);
    assert_int_equal(gate->asked, 2);
    assert_string_equal(gate->method, "Flow");
    assert_in_range(gate->timeout_ms, 1, 20000);
    assert_int_equal(gate->credits, 5);
    assert_true(gate->stream);
}

TEST_WITH(test_admit__is_not_asked_about_what_is_refused, setup, teardown)
{
    struct fixture *fixture = *state;
    static char text[100100];
    memset(text, 'x', sizeof text - 1);
    struct outcome outcome = {.number = 0};
    client_echo(&fixture->client, text, 7, &outcome);
    WAIT_UNTIL(&fixture->client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(fixture->gate.asked, 0);
    probe_drain(fixture->probe);
    struct outcome drained = {.number = 0};
    client_echo(&fixture->client, "", 7, &drained);
    WAIT_UNTIL(&fixture->client, drained.ended);
    assert_int_equal(fixture->gate.asked, 0);
}

TEST_WITH(test_admit__refuses_at_once, setup, teardown)
{
    struct fixture *fixture = *state;
    fixture->gate.plan = REFUSE;
    struct outcome outcomes[20] = {{.number = 0}};
    for (size_t i = 0; i < 20; i++)
        client_echo(&fixture->client, "hello", 0, &outcomes[i]);
    for (size_t i = 0; i < 20; i++) {
        WAIT_UNTIL(&fixture->client, outcomes[i].ended);
        assert_int_equal(outcomes[i].result.status, STATUS_UNAVAILABLE);
        assert_int_equal(outcomes[i].result.retry_ms, 30);
        assert_string_equal(outcomes[i].master, "192.0.2.7:2625");
    }
    assert_int_equal(fixture->gate.asked, 20);
    assert_int_equal(probe_counters(fixture->probe)->echoed, 0);
    assert_int_equal(probe_stats(fixture->probe).open_calls, 0);
}

static void end_kept(struct probe *probe, void *argument)
{
    (void)probe;
    struct gate *gate = argument;
    Probe__Text reply = PROBE__TEXT__INIT;
    reply.text = gate->text;
    rpc_call_reply(gate->call, &reply.base);
    gate->call = NULL;
}

TEST_WITH(test_admit__takes_a_call_and_ends_it_later, setup, teardown)
{
    struct fixture *fixture = *state;
    fixture->gate.plan = KEEP;
    struct outcome outcome = {.number = 0};
    client_echo(&fixture->client, "later", 0, &outcome);
    WAIT_UNTIL(&fixture->client, fixture->gate.kept == 1);
    assert_int_equal(probe_stats(fixture->probe).open_calls, 1);
    probe_do(fixture->probe, end_kept, &fixture->gate);
    WAIT_UNTIL(&fixture->client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_OK);
    assert_string_equal(outcome.text, "later");
    assert_int_equal(probe_counters(fixture->probe)->echoed, 0);

    struct outcome given_up = {.number = 0};
    client_echo(&fixture->client, "never", 0, &given_up);
    WAIT_UNTIL(&fixture->client, fixture->gate.kept == 2);
    rpc_channel_cancel(fixture->client.channel, fixture->client.stub.call);
    WAIT_UNTIL(&fixture->client, fixture->gate.cancelled == 1);
    assert_int_equal(probe_stats(fixture->probe).open_calls, 0);
}

TEST_WITH(test_admit__has_another_server_answer, setup, teardown)
{
    struct fixture *fixture = *state;
    add_other(fixture);
    uint8_t token[] = {1, 2, 3};
    fixture->client.stub.timeout_ms = 20000;
    fixture->client.stub.token = token;
    fixture->client.stub.token_size = sizeof token;
    struct outcome outcomes[50] = {{.number = 0}};
    for (size_t i = 0; i < 50; i++)
        client_echo(&fixture->client, "there", i + 1, &outcomes[i]);
    for (size_t i = 0; i < 50; i++) {
        WAIT_UNTIL(&fixture->client, outcomes[i].ended);
        assert_int_equal(outcomes[i].result.status, STATUS_OK);
        assert_int_equal(outcomes[i].number, i + 1);
        assert_int_equal(outcomes[i].token_size, sizeof token);
    }
    assert_int_equal(probe_counters(fixture->probe)->echoed, 0);
    assert_int_equal(probe_counters(fixture->other)->echoed, 50);
    assert_int_equal(probe_counters(fixture->other)->out_of_order, 0);

    struct outcome late = {.number = 0};
    fixture->client.stub.timeout_ms = 50;
    client_hold(&fixture->client, "", &late);
    WAIT_UNTIL(&fixture->client, probe_counters(fixture->other)->cancelled == 1);
    WAIT_UNTIL(&fixture->client, late.ended); /* the deadline was handed on */
    WAIT_UNTIL(&fixture->client, fixture->gate.forwarded == 0);
}
