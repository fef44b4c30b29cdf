/* SPDX-License-Identifier: MIT */
/* The hook that sees every request before its handler, and may take it: to refuse it, to end it
 * later, or to have another server answer it. */
#include "probe.h"

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

static void begin(struct fixture *f)
{
    f->probe = probe_start(&(struct rpc_server_options){.admit = admit, .admit_context = &f->gate});
    client_open(&f->client, probe_address(f->probe), NULL);
}

static void close_channel(struct probe *probe, void *argument)
{
    (void)probe;
    struct gate *gate = argument;
    rpc_channel_close(gate->channel);
}

static void end(struct fixture *f)
{
    client_close(&f->client);
    if (f->other != NULL) {
        probe_do(f->probe, close_channel, &f->gate);
        probe_stop(f->other);
    }
    probe_stop(f->probe);
}

static void open_channel(struct probe *probe, void *argument)
{
    struct fixture *f = argument;
    struct rpc_channel_options options = {.address = *probe_address(f->other),
                                          .queue = probe_queue(probe)};
    ASSERT(rpc_channel_open(&f->gate.channel, &options, NULL) == OK);
}

/* Behind the probe there is another one now. */
static void add_other(struct fixture *f)
{
    f->other = probe_start(NULL);
    probe_do(f->probe, open_channel, f);
    f->gate.plan = FORWARD;
}

TEST_F(test_admit__is_asked_before_the_handler)
{
    struct gate *gate = &f->gate;
    struct outcome outcome = client_ask(&f->client, "hello", 7);
    assert_int_equal(outcome.result.status, STATUS_OK);
    assert_int_equal(gate->asked, 1);
    assert_string_equal(gate->method, "Echo");
    assert_string_equal(gate->text, "hello");
    assert_int_equal(gate->timeout_ms, 0);
    assert_int_equal(gate->credits, 1);
    assert_false(gate->stream);

    struct outcome flow = {.number = 0};
    f->client.stub.timeout_ms = 20000;
    client_flow(&f->client, 3, 10, 5, &flow);
    WAIT_UNTIL(&f->client, flow.ended);
    assert_int_equal(gate->asked, 2);
    assert_string_equal(gate->method, "Flow");
    assert_in_range(gate->timeout_ms, 1, 20000);
    assert_int_equal(gate->credits, 5);
    assert_true(gate->stream);
}

TEST_F(test_admit__is_not_asked_about_what_is_refused)
{
    static char text[100100];
    memset(text, 'x', sizeof text - 1);
    struct outcome outcome = client_ask(&f->client, text, 7);
    assert_int_equal(outcome.result.status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(f->gate.asked, 0);
    probe_drain(f->probe);
    (void)client_ask(&f->client, "", 7);
    assert_int_equal(f->gate.asked, 0);
}

TEST_F(test_admit__refuses_at_once)
{
    f->gate.plan = REFUSE;
    struct outcome outcomes[20] = {{.number = 0}};
    for (size_t i = 0; i < 20; i++)
        client_echo(&f->client, "hello", 0, &outcomes[i]);
    client_expect_all(&f->client, outcomes, 20, STATUS_UNAVAILABLE);
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(outcomes[i].result.retry_ms, 30);
        assert_string_equal(outcomes[i].master, "192.0.2.7:2625");
    }
    assert_int_equal(f->gate.asked, 20);
    assert_int_equal(probe_counters(f->probe)->echoed, 0);
    assert_int_equal(probe_stats(f->probe).open_calls, 0);
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

TEST_F(test_admit__takes_a_call_and_ends_it_later)
{
    f->gate.plan = KEEP;
    struct outcome outcome = {.number = 0};
    client_echo(&f->client, "later", 0, &outcome);
    WAIT_UNTIL(&f->client, f->gate.kept == 1);
    assert_int_equal(probe_stats(f->probe).open_calls, 1);
    probe_do(f->probe, end_kept, &f->gate);
    WAIT_UNTIL(&f->client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_OK);
    assert_string_equal(outcome.text, "later");
    assert_int_equal(probe_counters(f->probe)->echoed, 0);

    struct outcome given_up = {.number = 0};
    client_echo(&f->client, "never", 0, &given_up);
    WAIT_UNTIL(&f->client, f->gate.kept == 2);
    rpc_channel_cancel(f->client.channel, f->client.stub.call);
    WAIT_UNTIL(&f->client, f->gate.cancelled == 1);
    assert_int_equal(probe_stats(f->probe).open_calls, 0);
}

TEST_F(test_admit__has_another_server_answer)
{
    add_other(f);
    uint8_t token[] = {1, 2, 3};
    f->client.stub.timeout_ms = 20000;
    f->client.stub.token = token;
    f->client.stub.token_size = sizeof token;
    struct outcome outcomes[50] = {{.number = 0}};
    for (size_t i = 0; i < 50; i++)
        client_echo(&f->client, "there", i + 1, &outcomes[i]);
    client_expect_all(&f->client, outcomes, 50, STATUS_OK);
    for (size_t i = 0; i < 50; i++) {
        assert_int_equal(outcomes[i].number, i + 1);
        assert_int_equal(outcomes[i].token_size, sizeof token);
    }
    assert_int_equal(probe_counters(f->probe)->echoed, 0);
    assert_int_equal(probe_counters(f->other)->echoed, 50);
    assert_int_equal(probe_counters(f->other)->out_of_order, 0);

    struct outcome late = {.number = 0};
    f->client.stub.timeout_ms = 60000;
    client_hold(&f->client, "", &late);
    WAIT_UNTIL(&f->client, probe_counters(f->other)->held == 1);
    probe_pass(f->other, 60001);
    assert_int_equal(probe_counters(f->other)->cancelled, 1);
    WAIT_UNTIL(&f->client, late.ended); /* the deadline was handed on */
    WAIT_UNTIL(&f->client, f->gate.forwarded == 0);
}
