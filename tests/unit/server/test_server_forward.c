/* SPDX-License-Identifier: MIT */
/* --forward: a client, a server that carries its calls on, and the one that answers them. The service
 * is the tests' own, so that nothing can depend on what is carried. */
#include "base/clock.h"
#include "probe.h"
#include "server/forward.h"
#include "support/folder.h"
#include "support/live_server.h"
#include "support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* TLS_FILES is the folder of the certificates, from CMake. */
#define AUTHORITY TLS_FILES "/authority.pem"

struct slave {
    struct task_queue *queue;
    struct rpc_server *server;
    struct forward *forward;
    struct forward_options options;
    ProtobufCService service;
    ProtobufCService chat;
    struct address address;
    pthread_t thread;
    atomic_bool is_started;
    atomic_bool stopping;
    atomic_size_t open_calls;
    char wanted[ADDRESS_TEXT_SIZE]; /* whom to; read when is_wanted */
    const uint8_t *cluster;         /* that it must be of; NULL: any */
    atomic_bool is_wanted;
};

static bool carry_on(void *context, struct rpc_call *call, const ProtobufCService *service,
                     unsigned method, const ProtobufCMessage *input)
{
    struct slave *slave = context;
    forward_call(slave->forward, call, service, method, input);
    return false;
}

static void never(ProtobufCService *service, unsigned method, const ProtobufCMessage *input,
                  ProtobufCClosure closure, void *context)
{
    (void)service;
    (void)method;
    (void)input;
    (void)closure;
    rpc_call_fail(context, STATUS_DATA_LOSS, 0, "the slave answered by itself");
}

/* On its thread, which is then the server's owner. */
static void start(struct slave *slave)
{
    struct error_text why;
    ASSERT(forward_new(&slave->forward, &slave->options) == OK);
    struct rpc_server_options options = {.address = {.host = "127.0.0.1"},
                                         .queue = slave->queue,
                                         .admit = carry_on,
                                         .admit_context = slave};
    ASSERT(rpc_server_new(&slave->server, &options, &why) == OK);
    ASSERT(rpc_server_add(slave->server, &slave->service, NULL) == OK);
    ASSERT(rpc_server_add(slave->server, &slave->chat, NULL) == OK);
    ASSERT(rpc_server_listen(slave->server, &why) == OK);
    rpc_server_address(slave->server, &slave->address);
    atomic_store(&slave->is_started, true);
}

static void *serve(void *argument)
{
    struct slave *slave = argument;
    start(slave);
    while (!atomic_load(&slave->stopping)) {
        task_queue_wait(slave->queue, 20);
        if (atomic_load(&slave->is_wanted)) {
            forward_to(slave->forward, slave->wanted[0] == '\0' ? NULL : slave->wanted,
                       slave->cluster);
            atomic_store(&slave->is_wanted, false);
        }
        (void)task_queue_run(slave->queue, SIZE_MAX);
        uint64_t now_ms = clock_monotonic_ms();
        rpc_server_tick(slave->server, now_ms);
        forward_tick(slave->forward, now_ms);
        forward_flush(slave->forward);
        rpc_server_flush(slave->server);
        atomic_store(&slave->open_calls, forward_open_calls(slave->forward));
    }
    forward_free(slave->forward);
    rpc_server_free(slave->server);
    (void)task_queue_run(slave->queue, SIZE_MAX);
    return NULL;
}

static void slave_open(struct slave *slave, size_t calls_max, const char *authority)
{
    *slave = (struct slave){.service = {.descriptor = &probe__probe__descriptor, .invoke = never},
                            .chat = {.descriptor = &jackdaw__chat__descriptor, .invoke = never}};
    assert_int_equal(task_queue_new(&slave->queue), OK);
    slave->options = (struct forward_options){
        .queue = slave->queue, .calls_max = calls_max, .tls_authority = authority};
    assert_int_equal(pthread_create(&slave->thread, NULL, serve, slave), 0);
    WAIT_UNTIL(NULL, atomic_load(&slave->is_started));
}

static void slave_close(struct slave *slave)
{
    atomic_store(&slave->stopping, true);
    task_queue_wake(slave->queue);
    assert_int_equal(pthread_join(slave->thread, NULL), 0);
    task_queue_free(slave->queue);
}

/* The master is at this address from now on; NULL: nowhere. */
static void slave_follow(struct slave *slave, const struct address *address)
{
    slave->wanted[0] = '\0';
    if (address != NULL)
        address_format(address, slave->wanted);
    atomic_store(&slave->is_wanted, true);
    task_queue_wake(slave->queue);
    WAIT_UNTIL(NULL, !atomic_load(&slave->is_wanted));
}

struct row {
    struct probe *master;
    struct slave slave;
    struct client client;
};

static void row_open(struct row *row, size_t calls_max)
{
    row->master = probe_start(NULL);
    slave_open(&row->slave, calls_max, NULL);
    slave_follow(&row->slave, probe_address(row->master));
    client_open(&row->client, &row->slave.address, NULL);
}

static void row_begin(struct row *row)
{
    row_open(row, 0);
}

static void row_close(struct row *row)
{
    client_close(&row->client);
    slave_close(&row->slave);
    probe_stop(row->master);
}

#define ROW_TEST(name) TEST_ON(name, struct row, row_begin, row_close)

ROW_TEST(test_forward__a_call_and_its_answer)
{
    static const uint8_t token[] = {1, 0, 255};
    f->client.stub.token = token;
    f->client.stub.token_size = sizeof token;
    struct outcome outcome = {.number = 0};
    client_echo(&f->client, "hello", 7, &outcome);
    WAIT_UNTIL(&f->client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_OK);
    assert_string_equal(outcome.text, "hello");
    assert_int_equal(outcome.number, 7);
    assert_int_equal(outcome.token_size, sizeof token);
    assert_memory_equal(outcome.token, token, sizeof token);
    assert_int_equal(probe_counters(f->master)->echoed, 1);
}

/* The master learns for whom the call is, and the client from which state the answer is. */
ROW_TEST(test_forward__the_clients_address_and_the_position)
{
    Probe__Text request = PROBE__TEXT__INIT;
    request.ask_peer = true;
    f->client.stub.position = (struct log_position){.epoch = 70, .seq = 8};
    struct outcome outcome = {.number = 0};
    probe__probe__echo(&f->client.stub.service, &request, on_text, &outcome);
    WAIT_UNTIL(&f->client, outcome.ended);
    assert_non_null(strstr(outcome.text, " via 127.0.0.1:"));
    assert_int_equal(outcome.result.position.epoch, 70);
    assert_int_equal(outcome.result.position.seq, 8);
}

/* A chat server, and a slave that takes it for the master of `cluster`. Returns how Info ends there. */
static enum status ask_through(const struct live_server *live, const uint8_t *cluster,
                               uint8_t found[static FORWARD_CLUSTER_BYTES])
{
    struct slave slave;
    struct device device;
    struct answer answer = {.context = NULL};
    slave_open(&slave, 0, NULL);
    slave.cluster = cluster;
    slave_follow(&slave, live_server_address(live));
    device_open_at(&device, &slave.address);
    ASK(&device, &answer, "Info", Info, INFO, r.client = (char *)"test");
    const Jackdaw__InfoReply *reply = (const Jackdaw__InfoReply *)answer.reply;
    enum status status = answer.status;
    if (reply != NULL && reply->cluster.len == FORWARD_CLUSTER_BYTES)
        memcpy(found, reply->cluster.data, FORWARD_CLUSTER_BYTES);
    answer_clear(&answer);
    device_close(&device);
    slave_close(&slave);
    return status;
}

/* No call reaches a server of another cluster at the master's address. */
TEST(test_forward__to_another_cluster)
{
    char *folder = folder_new();
    struct live_server *live = live_server_start(folder, NULL);
    uint8_t cluster[FORWARD_CLUSTER_BYTES];
    assert_int_equal(ask_through(live, NULL, cluster), STATUS_OK);
    assert_int_equal(ask_through(live, cluster, cluster), STATUS_OK);
    cluster[0] ^= 1;
    assert_int_equal(ask_through(live, cluster, (uint8_t[FORWARD_CLUSTER_BYTES]){0}),
                     STATUS_UNAVAILABLE);
    live_server_stop(live);
    folder_remove(folder);
}

/* The probe does not know Info. */
ROW_TEST(test_forward__to_a_server_of_something_else)
{
    static const uint8_t cluster[FORWARD_CLUSTER_BYTES] = {1};
    f->slave.cluster = cluster;
    slave_follow(&f->slave, NULL);
    slave_follow(&f->slave, probe_address(f->master));
    assert_int_equal(client_ask(&f->client, "hello", 0).result.status, STATUS_UNAVAILABLE);
    assert_int_equal(probe_counters(f->master)->echoed, 0);
}

/* All that a refusal tells, but not whom to ask instead: the client asks this server. */
ROW_TEST(test_forward__a_refusal)
{
    Probe__Refusal request = PROBE__REFUSAL__INIT;
    request.status = STATUS_ABORTED;
    request.retry_ms = 77;
    request.text = (char *)"not now";
    request.master = (char *)"10.0.0.9:1";
    request.next_request = 5;
    struct outcome outcome = {.number = 0};
    probe__probe__refuse(&f->client.stub.service, &request, on_text, &outcome);
    WAIT_UNTIL(&f->client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_ABORTED);
    assert_int_equal(outcome.result.retry_ms, 77);
    assert_int_equal(outcome.result.next_request, 5);
    assert_string_equal(outcome.message, "not now");
    assert_string_equal(outcome.master, "");
}

ROW_TEST(test_forward__the_order_of_a_clients_calls)
{
    enum { CALLS = 2000 };
    struct outcome *outcomes = calloc(CALLS, sizeof *outcomes);
    assert_non_null(outcomes);
    for (unsigned i = 0; i < CALLS; i++)
        client_echo(&f->client, "x", i + 1, &outcomes[i]);
    for (unsigned i = 0; i < CALLS; i++) {
        WAIT_UNTIL(&f->client, outcomes[i].ended);
        assert_int_equal(outcomes[i].result.status, STATUS_OK);
        assert_int_equal(outcomes[i].number, i + 1);
    }
    assert_int_equal(probe_counters(f->master)->out_of_order, 0);
    free(outcomes);
}

ROW_TEST(test_forward__a_stream_and_its_credits)
{
    struct outcome outcome = {.number = 0};
    client_flow(&f->client, 0, 100, 8, &outcome);
    uint64_t call = f->client.stub.call;
    WAIT_UNTIL(&f->client, outcome.number == 8);
    /* A call that goes the same way finds that no more has come meanwhile. */
    client_expect_service(&f->client);
    assert_int_equal(probe_counters(f->master)->pages, 8);
    rpc_channel_credit(f->client.channel, call, 3);
    WAIT_UNTIL(&f->client, outcome.number == 11);
    client_expect_service(&f->client);
    assert_int_equal(probe_counters(f->master)->pages, 11);
    for (unsigned i = 0; i < 100; i++) { /* more than 48, in pieces */
        rpc_channel_credit(f->client.channel, call, 7);
        WAIT_UNTIL(&f->client, outcome.number == 11 + (i + 1) * 7);
    }
    assert_int_equal(outcome.gaps, 0);
    assert_false(outcome.ended);
    rpc_channel_cancel(f->client.channel, call);
    WAIT_UNTIL(&f->client, probe_counters(f->master)->held == 0);
    WAIT_UNTIL(&f->client, f->slave.open_calls == 0);
}

ROW_TEST(test_forward__a_stream_ends_with_its_last_page)
{
    struct outcome outcome = {.number = 0};
    client_flow(&f->client, 5, 20000, 48, &outcome);
    WAIT_UNTIL(&f->client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_OK);
    assert_int_equal(outcome.number, 5);
    assert_int_equal(outcome.gaps, 0);
    assert_int_equal(outcome.text_size, 20000);
}

ROW_TEST(test_forward__what_the_caller_gives_up_is_given_up)
{
    struct outcome outcomes[3] = {{.number = 0}};
    client_hold(&f->client, "a", &outcomes[0]);
    uint64_t call = f->client.stub.call;
    WAIT_UNTIL(&f->client, probe_counters(f->master)->held == 1);
    rpc_channel_cancel(f->client.channel, call);
    WAIT_UNTIL(&f->client, probe_counters(f->master)->held == 0);
    f->client.stub.timeout_ms = 60000; /* a deadline goes on with the call */
    client_hold(&f->client, "b", &outcomes[1]);
    WAIT_UNTIL(&f->client, probe_counters(f->master)->held == 1);
    probe_pass(f->master, 60001);
    assert_int_equal(probe_counters(f->master)->cancelled, 2);
    WAIT_UNTIL(&f->client, outcomes[1].ended);
    assert_int_not_equal(outcomes[1].result.status, STATUS_OK);
    f->client.stub.timeout_ms = 0;
    client_hold(&f->client, "c", &outcomes[2]);
    client_flow(&f->client, 0, 10, 4, &outcomes[0]);
    WAIT_UNTIL(&f->client, probe_counters(f->master)->held == 2);
    client_close(&f->client); /* who goes gives up everything */
    WAIT_UNTIL(NULL, probe_counters(f->master)->held == 0);
    WAIT_UNTIL(NULL, f->slave.open_calls == 0);
    client_open(&f->client, &f->slave.address, NULL);
}

static void expect_unavailable(struct client *client, const char *hint)
{
    struct outcome outcome = {.number = 0};
    client_echo(client, "anybody?", 0, &outcome);
    WAIT_UNTIL(client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_UNAVAILABLE);
    assert_true(outcome.result.retry_ms > 0);
    assert_non_null(strstr(outcome.message, hint));
}

ROW_TEST(test_forward__no_master)
{
    slave_follow(&f->slave, NULL);
    expect_unavailable(&f->client, "in charge");
    slave_follow(&f->slave, probe_address(f->master));
    client_expect_service(&f->client);
}

ROW_TEST(test_forward__the_master_is_lost)
{
    struct outcome hold = {.number = 0};
    struct outcome flow = {.number = 0};
    client_hold(&f->client, "a", &hold);
    client_flow(&f->client, 0, 10, 4, &flow);
    WAIT_UNTIL(&f->client, flow.number == 4);
    WAIT_UNTIL(&f->client, probe_counters(f->master)->held == 2);
    probe_stop(f->master);
    WAIT_UNTIL(&f->client, hold.ended && flow.ended);
    assert_int_equal(hold.result.status, STATUS_UNAVAILABLE);
    assert_int_equal(flow.result.status, STATUS_UNAVAILABLE);
    assert_int_equal(hold.result.retry_ms, 0); /* the call may have ended the master */
    assert_int_equal(f->client.disconnected, 0);
    f->master = probe_start(NULL);
    slave_follow(&f->slave, probe_address(f->master));
    client_expect_service(&f->client);
}

TEST(test_forward__another_master)
{
    struct row row;
    row_open(&row, 0);
    struct outcome hold = {.number = 0};
    client_hold(&row.client, "a", &hold);
    WAIT_UNTIL(&row.client, probe_counters(row.master)->held == 1);
    slave_follow(&row.slave, probe_address(row.master)); /* the same: nothing happens */
    client_expect_service(&row.client);
    assert_false(hold.ended);
    struct probe *other = probe_start(NULL);
    slave_follow(&row.slave, probe_address(other));
    WAIT_UNTIL(&row.client, hold.ended);
    assert_int_equal(hold.result.status, STATUS_UNAVAILABLE);
    assert_non_null(strstr(hold.message, "has changed"));
    assert_int_equal(hold.result.retry_ms, 0);
    client_expect_service(&row.client);
    assert_int_equal(probe_counters(other)->echoed, 1);
    WAIT_UNTIL(&row.client, probe_counters(row.master)->held == 0);
    row_close(&row);
    probe_stop(other);
}

/* No master has had the call. */
ROW_TEST(test_forward__another_master_before_the_call_is_sent)
{
    static const uint8_t cluster[FORWARD_CLUSTER_BYTES] = {1};
    struct outcome outcome = {.number = 0};
    f->slave.cluster = cluster;
    struct address nobody = *probe_address(f->master);
    probe_stop(f->master);
    f->master = probe_start(NULL);
    slave_follow(&f->slave, &nobody);
    client_echo(&f->client, "anybody?", 0, &outcome);
    WAIT_UNTIL(&f->client, f->slave.open_calls == 1);
    slave_follow(&f->slave, NULL);
    WAIT_UNTIL(&f->client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_UNAVAILABLE);
    assert_true(outcome.result.retry_ms > 0);
}

TEST(test_forward__as_many_as_it_may)
{
    struct row row;
    row_open(&row, 2);
    struct outcome outcomes[3] = {{.number = 0}};
    for (size_t i = 0; i < 3; i++)
        client_hold(&row.client, "a", &outcomes[i]);
    WAIT_UNTIL(&row.client, outcomes[2].ended);
    assert_int_equal(outcomes[2].result.status, STATUS_RESOURCE_EXHAUSTED);
    assert_true(outcomes[2].result.retry_ms > 0);
    WAIT_UNTIL(&row.client, probe_counters(row.master)->held == 2);
    probe_release(row.master, 1, STATUS_OK);
    WAIT_UNTIL(&row.client, outcomes[0].ended);
    WAIT_UNTIL(&row.client, row.slave.open_calls == 1);
    client_expect_service(&row.client);
    row_close(&row);
}

/* Everything at once, while calls are open: nothing is left behind. */
TEST(test_forward__ends_with_calls_open)
{
    struct row row;
    row_open(&row, 0);
    struct outcome outcomes[4] = {{.number = 0}};
    client_hold(&row.client, "a", &outcomes[0]);
    client_flow(&row.client, 0, 10, 4, &outcomes[1]);
    WAIT_UNTIL(&row.client, probe_counters(row.master)->held == 2);
    slave_close(&row.slave);
    WAIT_UNTIL(&row.client, outcomes[0].ended && outcomes[1].ended);
    WAIT_UNTIL(NULL, probe_counters(row.master)->held == 0);
    client_close(&row.client);
    probe_stop(row.master);
}

static struct probe *start_with_tls(void)
{
    const struct rpc_server_options options = {
        .address = {.host = "127.0.0.1", .tls = true},
        .tls_certificate = TLS_FILES "/server.pem",
        .tls_key = TLS_FILES "/server.key",
    };
    return probe_start(&options);
}

TEST(test_forward__to_a_master_with_tls)
{
    struct probe *master = start_with_tls();
    static const char *const authorities[] = {AUTHORITY, NULL};
    for (size_t i = 0; i < 2; i++) {
        struct slave slave;
        struct client client;
        slave_open(&slave, 0, authorities[i]);
        slave_follow(&slave, probe_address(master));
        client_open(&client, &slave.address, NULL);
        if (authorities[i] != NULL)
            client_expect_service(&client);
        else
            expect_unavailable(&client, "in charge");
        client_close(&client);
        slave_close(&slave);
    }
    probe_stop(master);
}

/* The log tells once why the master cannot be reached, however often it is tried. */
TEST(test_forward__to_a_master_that_is_not_trusted)
{
    struct probe *master = start_with_tls();
    struct slave slave;
    struct client client;
    int real_stderr = dup(STDERR_FILENO);
    int captured = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(real_stderr >= 0 && captured >= 0);
    assert_int_equal(fcntl(captured, F_SETFL, O_APPEND), 0);
    assert_true(dup2(captured, STDERR_FILENO) >= 0);
    slave_open(&slave, 0, TLS_FILES "/other_authority.pem");
    slave_follow(&slave, probe_address(master));
    client_open(&client, &slave.address, NULL);
    struct outcome outcome = {.number = 0};
    client.stub.timeout_ms = 5000; /* several attempts to connect */
    client_echo(&client, "x", 0, &outcome);
    WAIT_UNTIL(&client, outcome.ended);
    assert_int_not_equal(outcome.result.status, STATUS_OK);
    client_close(&client);
    slave_close(&slave);
    probe_stop(master);
    static char said[8192];
    (void)dup2(real_stderr, STDERR_FILENO);
    ssize_t size = pread(captured, said, sizeof said - 1, 0);
    assert_true(size > 0);
    (void)close(captured);
    (void)close(real_stderr);
    const char *line = strstr(said, "server forward_failed master=tls+tcp://127.0.0.1:");
    assert_non_null(line);
    assert_non_null(strstr(line, "not signed by an authority"));
    assert_null(strstr(line + 1, "server forward_failed"));
}
