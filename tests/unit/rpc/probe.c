/* SPDX-License-Identifier: MIT */
#include "probe.h"

#include "base/log.h"
#include "rpc/protocol.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORKERS 3
#define PROBE_OUTCOMES 80000 /* of one test at most */

/* A call that the handler of Hold or Flow has not ended yet. */
struct call_hold {
    struct rpc_call *call;
    struct probe *probe;
    char *text; /* Hold: what to answer */
    uint64_t number;
    uint64_t next_page; /* Flow */
    uint64_t last_page;
    uint32_t page_bytes;
    struct call_hold *previous;
    struct call_hold *next;
};

struct job {
    struct rpc_call *call;
    const Probe__Text *text;
    const Probe__Refusal *refusal;
    struct job *next;
};

struct probe {
    Probe__Probe_Service service; /* first: what handlers get */
    pthread_t thread;
    struct task_queue *queue;
    struct rpc_server *server;
    struct rpc_server_options options;
    struct address address;
    struct error_text why;
    sem_t started;
    atomic_bool stopping;
    enum probe_on_cancel on_cancel;
    struct call_hold *oldest;
    struct call_hold *newest;
    uint64_t last_number;
    struct probe_counters counters;

    pthread_t workers[WORKERS];
    pthread_mutex_t mutex; /* protects the four below */
    pthread_cond_t changed;
    struct job *jobs;
    bool blocked;
    bool workers_stop;
    sem_t pause_reached;
    sem_t pause_over;
};

static const struct rpc_method_limit limits[] = {
    {"Echo", 100000},
    {"Swallow", 65536},
    {NULL, 0},
};

static struct call_hold *hold(struct probe *probe, struct rpc_call *call)
{
    struct call_hold *held = calloc(1, sizeof *held);
    ASSERT(held != NULL);
    held->call = call;
    held->probe = probe;
    held->previous = probe->newest;
    if (probe->newest != NULL)
        probe->newest->next = held;
    else
        probe->oldest = held;
    probe->newest = held;
    (void)atomic_fetch_add(&probe->counters.held, 1);
    (void)atomic_fetch_add(&probe->counters.held_ever, 1);
    return held;
}

static struct rpc_call *let_go(struct call_hold *held)
{
    struct probe *probe = held->probe;
    struct rpc_call *call = held->call;
    if (held->previous != NULL)
        held->previous->next = held->next;
    else
        probe->oldest = held->next;
    if (held->next != NULL)
        held->next->previous = held->previous;
    else
        probe->newest = held->previous;
    free(held->text);
    free(held);
    (void)atomic_fetch_sub(&probe->counters.held, 1);
    return call;
}

static void cancelled(void *context, struct rpc_call *call)
{
    struct call_hold *held = context;
    struct probe *probe = held->probe;
    ASSERT(held->call == call && rpc_call_is_cancelled(call));
    (void)atomic_fetch_add(&probe->counters.cancelled, 1);
    if (probe->on_cancel == PROBE_KEEP_IT)
        return;
    if (probe->on_cancel == PROBE_END_ALL) {
        struct call_hold *other = probe->oldest;
        while (other != NULL) {
            struct call_hold *next = other->next;
            if (other != held)
                rpc_call_fail(let_go(other), STATUS_ABORTED, 0, "ended along with another");
            other = next;
        }
    }
    rpc_call_fail(let_go(held), STATUS_CANCELLED, 0, "cancelled");
}

static void send_pages(struct call_hold *held)
{
    struct probe *probe = held->probe;
    uint8_t *filling = calloc(1, held->page_bytes + 1);
    ASSERT(filling != NULL);
    for (;;) {
        Probe__Page page = PROBE__PAGE__INIT;
        page.number = held->next_page;
        page.filling.data = filling;
        page.filling.len = held->page_bytes;
        size_t size = probe__page__get_packed_size(&page);
        uint8_t *bytes = malloc(size + 1);
        ASSERT(bytes != NULL);
        (void)probe__page__pack(&page, bytes);
        /* In two pieces, which make one message. */
        const struct rpc_chunk chunks[] = {{bytes, size / 2}, {bytes + size / 2, size - size / 2}};
        bool last = held->next_page == held->last_page;
        bool sent = true;
        if (last)
            rpc_call_finish(let_go(held), chunks, 2);
        else
            sent = rpc_call_send(held->call, chunks, 2);
        free(bytes);
        if (sent)
            (void)atomic_fetch_add(&probe->counters.pages, 1);
        if (last || !sent)
            break;
        held->next_page++;
    }
    free(filling);
}

static void credited(void *context, struct rpc_call *call)
{
    struct call_hold *held = context;
    ASSERT(held->call == call && rpc_call_credits(call) > 0);
    (void)atomic_fetch_add(&held->probe->counters.credited, 1);
    if (held->next_page > 0)
        send_pages(held);
}

static void watch(struct call_hold *held)
{
    rpc_call_watch(held->call, &(struct rpc_call_watch){
                                   .context = held, .cancelled = cancelled, .credited = credited});
}

static void handle_hold(Probe__Probe_Service *service, const Probe__Text *text,
                        Probe__Text_Closure closure, void *context)
{
    (void)closure;
    struct call_hold *held = hold((struct probe *)service, context);
    held->text = strdup(text->text);
    held->number = text->number;
    if (text->keep)
        held->call = rpc_call_keep(held->call);
    watch(held);
}

static void handle_flow(Probe__Probe_Service *service, const Probe__FlowRequest *request,
                        Probe__Page_Closure closure, void *context)
{
    (void)closure;
    struct call_hold *held = hold((struct probe *)service, context);
    held->next_page = 1;
    held->last_page = request->pages == 0 ? UINT64_MAX : request->pages;
    held->page_bytes = request->page_bytes;
    if (request->keep)
        held->call = rpc_call_keep(held->call);
    watch(held);
    send_pages(held);
}

static void check_number(struct probe *probe, uint64_t number)
{
    if (number == 0)
        return;
    if (number != 1 && number != probe->last_number + 1)
        (void)atomic_fetch_add(&probe->counters.out_of_order, 1);
    probe->last_number = number;
}

static void handle_echo(Probe__Probe_Service *service, const Probe__Text *text,
                        Probe__Text_Closure closure, void *context)
{
    struct probe *probe = (struct probe *)service;
    check_number(probe, text->number);
    (void)atomic_fetch_add(&probe->counters.echoed, 1);
    Probe__Text reply = PROBE__TEXT__INIT;
    reply.text = text->text;
    reply.number = text->number;
    reply.token.data = (uint8_t *)rpc_call_token(context, &reply.token.len);
    char *long_text = NULL;
    rpc_call_show(context, rpc_call_position(context));
    if (text->ask_peer)
        reply.text = (char *)rpc_call_peer(context);
    if (text->reply_bytes > 0) {
        long_text = malloc(text->reply_bytes + 1);
        ASSERT(long_text != NULL);
        memset(long_text, 'x', text->reply_bytes);
        long_text[text->reply_bytes] = '\0';
        reply.text = long_text;
    }
    closure(&reply, context);
    free(long_text);
}

static void refuse(struct rpc_call *call, const Probe__Refusal *refusal)
{
    rpc_call_fail(call, (enum status)refusal->status, refusal->retry_ms, refusal->text);
}

static void handle_swallow(Probe__Probe_Service *service, const Probe__Bomb *bomb,
                           Probe__Text_Closure closure, void *context)
{
    (void)service;
    Probe__Text reply = PROBE__TEXT__INIT;
    reply.number = bomb->n_pieces;
    closure(&reply, context);
}

static void add_job(struct probe *probe, const struct job *job)
{
    struct job *copy = malloc(sizeof *copy);
    ASSERT(copy != NULL);
    *copy = *job;
    (void)atomic_fetch_add(&probe->counters.working, 1);
    (void)pthread_mutex_lock(&probe->mutex);
    struct job **link = &probe->jobs;
    while (*link != NULL)
        link = &(*link)->next;
    *link = copy;
    (void)pthread_cond_signal(&probe->changed);
    (void)pthread_mutex_unlock(&probe->mutex);
}

static void handle_work(Probe__Probe_Service *service, const Probe__Text *text,
                        Probe__Text_Closure closure, void *context)
{
    (void)closure;
    add_job((struct probe *)service, &(struct job){.call = context, .text = text});
}

static void handle_refuse(Probe__Probe_Service *service, const Probe__Refusal *refusal,
                          Probe__Text_Closure closure, void *context)
{
    if (refusal->master[0] != '\0')
        rpc_call_redirect(context, refusal->master);
    if (refusal->next_request != 0)
        rpc_call_expect(context, refusal->next_request);
    rpc_call_show(context, rpc_call_position(context));
    if (refusal->elsewhere)
        add_job((struct probe *)service, &(struct job){.call = context, .refusal = refusal});
    else if (refusal->status == STATUS_OK)
        closure(NULL, context); /* a handler without an answer */
    else
        refuse(context, refusal);
}

static struct job *next_job(struct probe *probe)
{
    (void)pthread_mutex_lock(&probe->mutex);
    while (!probe->workers_stop && (probe->jobs == NULL || probe->blocked))
        (void)pthread_cond_wait(&probe->changed, &probe->mutex);
    struct job *job = probe->jobs;
    if (job != NULL)
        probe->jobs = job->next;
    (void)pthread_mutex_unlock(&probe->mutex);
    return job;
}

static void *work(void *argument)
{
    struct probe *probe = argument;
    for (struct job *job = next_job(probe); job != NULL; job = next_job(probe)) {
        if (job->refusal != NULL) {
            refuse(job->call, job->refusal);
        } else {
            Probe__Text reply = PROBE__TEXT__INIT;
            reply.text = job->text->text;
            reply.number = job->text->number;
            rpc_call_reply(job->call, &reply.base);
        }
        free(job);
        (void)atomic_fetch_add(&probe->counters.worked, 1);
        (void)atomic_fetch_sub(&probe->counters.working, 1);
    }
    return NULL;
}

void probe_block_workers(struct probe *probe, bool block)
{
    (void)pthread_mutex_lock(&probe->mutex);
    probe->blocked = block;
    (void)pthread_cond_broadcast(&probe->changed);
    (void)pthread_mutex_unlock(&probe->mutex);
}

static enum error start_server(struct probe *probe)
{
    probe->options.queue = probe->queue;
    enum error error = rpc_server_new(&probe->server, &probe->options, &probe->why);
    if (error != OK)
        return error;
    ASSERT(rpc_server_add(probe->server, &probe->service.base, limits) == OK);
    error = rpc_server_listen(probe->server, &probe->why);
    if (error != OK) {
        rpc_server_free(probe->server);
        probe->server = NULL;
        return error;
    }
    rpc_server_address(probe->server, &probe->address);
    return OK;
}

static void free_server(struct probe *probe)
{
    if (probe->server == NULL)
        return;
    rpc_server_cancel_all(probe->server);
    rpc_server_flush(probe->server);
    rpc_server_free(probe->server);
    probe->server = NULL;
}

static void turn(struct probe *probe)
{
    task_queue_wait(probe->queue, 10);
    (void)task_queue_run(probe->queue, SIZE_MAX);
    if (probe->server == NULL)
        return;
    rpc_server_tick(probe->server, clock_monotonic_ms());
    rpc_server_flush(probe->server);
}

static void end_all_held(struct probe *probe)
{
    while (probe->oldest != NULL)
        rpc_call_fail(let_go(probe->oldest), STATUS_CANCELLED, 0, "the probe stops");
}

static void *serve(void *argument)
{
    struct probe *probe = argument;
    bool listening = start_server(probe) == OK;
    (void)sem_post(&probe->started);
    if (!listening)
        return NULL;
    while (!atomic_load(&probe->stopping))
        turn(probe);
    free_server(probe);
    end_all_held(probe);
    while (atomic_load(&probe->counters.working) > 0)
        turn(probe);
    (void)task_queue_run(probe->queue, SIZE_MAX);
    return NULL;
}

static void stop_workers(struct probe *probe)
{
    (void)pthread_mutex_lock(&probe->mutex);
    probe->workers_stop = true;
    (void)pthread_cond_broadcast(&probe->changed);
    (void)pthread_mutex_unlock(&probe->mutex);
    for (int i = 0; i < WORKERS; i++)
        (void)pthread_join(probe->workers[i], NULL);
}

static void free_probe(struct probe *probe)
{
    stop_workers(probe);
    task_queue_free(probe->queue);
    (void)pthread_mutex_destroy(&probe->mutex);
    (void)pthread_cond_destroy(&probe->changed);
    (void)sem_destroy(&probe->started);
    (void)sem_destroy(&probe->pause_reached);
    (void)sem_destroy(&probe->pause_over);
    free(probe);
}

struct probe *probe_try_start(const struct rpc_server_options *options, struct error_text *why)
{
    struct probe *probe = calloc(1, sizeof *probe);
    ASSERT(probe != NULL);
    const Probe__Probe_Service service = PROBE__PROBE__INIT(handle_);
    probe->service = service;
    if (options != NULL)
        probe->options = *options;
    if (probe->options.address.host[0] == '\0')
        (void)snprintf(probe->options.address.host, ADDRESS_HOST_SIZE, "127.0.0.1");
    ASSERT(task_queue_new(&probe->queue) == OK);
    (void)pthread_mutex_init(&probe->mutex, NULL);
    (void)pthread_cond_init(&probe->changed, NULL);
    (void)sem_init(&probe->started, 0, 0);
    (void)sem_init(&probe->pause_reached, 0, 0);
    (void)sem_init(&probe->pause_over, 0, 0);
    for (int i = 0; i < WORKERS; i++)
        ASSERT(pthread_create(&probe->workers[i], NULL, work, probe) == 0);
    ASSERT(pthread_create(&probe->thread, NULL, serve, probe) == 0);
    (void)sem_wait(&probe->started);
    if (probe->server != NULL)
        return probe;
    (void)pthread_join(probe->thread, NULL);
    if (why != NULL)
        *why = probe->why;
    free_probe(probe);
    return NULL;
}

struct probe *probe_start(const struct rpc_server_options *options)
{
    struct error_text why = {""};
    struct probe *probe = probe_try_start(options, &why);
    if (probe == NULL)
        fail_msg("the probe cannot start: %s", why.text);
    return probe;
}

struct probe *probe_start_tls(const char *address)
{
    struct rpc_server_options options = {
        .address = parsed(address), .tls_certificate = CERTIFICATE, .tls_key = KEY};
    return probe_start(&options);
}

void probe_stop(struct probe *probe)
{
    probe_block_workers(probe, false);
    atomic_store(&probe->stopping, true);
    task_queue_wake(probe->queue);
    (void)pthread_join(probe->thread, NULL);
    free_probe(probe);
}

struct order {
    struct task task; /* first */
    struct probe *probe;
    void (*function)(struct probe *probe, void *argument);
    void *argument;
    sem_t done;
};

static void run_order(struct task *task)
{
    struct order *order = (struct order *)task;
    order->function(order->probe, order->argument);
    (void)sem_post(&order->done);
}

void probe_do(struct probe *probe, void (*function)(struct probe *probe, void *argument),
              void *argument)
{
    struct order order = {
        .task = {.run = run_order}, .probe = probe, .function = function, .argument = argument};
    (void)sem_init(&order.done, 0, 0);
    task_queue_push(probe->queue, &order.task);
    while (sem_wait(&order.done) != 0)
        continue;
    (void)sem_destroy(&order.done);
}

static void tick(struct probe *probe, void *monotonic_ms)
{
    rpc_server_tick(probe->server, *(const uint64_t *)monotonic_ms);
}

void probe_pass(struct probe *probe, uint64_t ahead_ms)
{
    uint64_t later_ms = clock_monotonic_ms() + ahead_ms;
    probe_do(probe, tick, &later_ms);
}

static void run_post(struct task *task)
{
    struct order *order = (struct order *)task;
    order->function(order->probe, order->argument);
    free(order);
}

void probe_post(struct probe *probe, void (*function)(struct probe *probe, void *argument),
                void *argument)
{
    struct order *order = calloc(1, sizeof *order);
    ASSERT(order != NULL);
    order->task.run = run_post;
    order->probe = probe;
    order->function = function;
    order->argument = argument;
    task_queue_push(probe->queue, &order->task);
}

struct rpc_server *probe_server(struct probe *probe)
{
    return probe->server;
}

struct task_queue *probe_queue(struct probe *probe)
{
    return probe->queue;
}

static void pause_here(struct task *task)
{
    struct order *order = (struct order *)task;
    (void)sem_post(&order->probe->pause_reached);
    while (sem_wait(&order->probe->pause_over) != 0)
        continue;
    free(order);
}

void probe_pause(struct probe *probe)
{
    struct order *order = calloc(1, sizeof *order);
    ASSERT(order != NULL);
    order->task.run = pause_here;
    order->probe = probe;
    task_queue_push(probe->queue, &order->task);
    while (sem_wait(&probe->pause_reached) != 0)
        continue;
}

void probe_resume(struct probe *probe)
{
    (void)sem_post(&probe->pause_over);
}

const struct address *probe_address(const struct probe *probe)
{
    return &probe->address;
}

struct probe_counters *probe_counters(struct probe *probe)
{
    return &probe->counters;
}

static void read_stats(struct probe *probe, void *out)
{
    rpc_server_stats(probe->server, out);
}

struct rpc_server_stats probe_stats(struct probe *probe)
{
    struct rpc_server_stats stats;
    probe_do(probe, read_stats, &stats);
    return stats;
}

struct rpc_server_stats probe_paused_stats(const struct probe *probe)
{
    struct rpc_server_stats stats;
    rpc_server_stats(probe->server, &stats);
    return stats;
}

static void set_on_cancel(struct probe *probe, void *what)
{
    probe->on_cancel = *(enum probe_on_cancel *)what;
}

void probe_on_cancel(struct probe *probe, enum probe_on_cancel what)
{
    probe_do(probe, set_on_cancel, &what);
}

struct release {
    size_t count;
    enum status status;
};

static void release(struct probe *probe, void *argument)
{
    const struct release *what = argument;
    for (size_t i = 0; i < what->count && probe->oldest != NULL; i++) {
        struct call_hold *held = probe->oldest;
        if (what->status != STATUS_OK) {
            rpc_call_fail(let_go(held), what->status, 0, "released");
            continue;
        }
        char *text = held->text;
        Probe__Text reply = PROBE__TEXT__INIT;
        reply.text = text;
        reply.number = held->number;
        held->text = NULL;
        rpc_call_reply(let_go(held), &reply.base);
        free(text);
    }
}

void probe_release(struct probe *probe, size_t count, enum status with_status)
{
    probe_do(probe, release, &(struct release){.count = count, .status = with_status});
}

static void drain(struct probe *probe, void *argument)
{
    rpc_server_drain(probe->server, argument);
}

void probe_drain(struct probe *probe)
{
    static char text[] = "the server is shutting down";
    probe_do(probe, drain, text);
}

static void free_server_now(struct probe *probe, void *argument)
{
    (void)argument;
    free_server(probe);
}

void probe_free_server(struct probe *probe)
{
    probe_do(probe, free_server_now, NULL);
}

bool probe_have_ipv6(void)
{
    const struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    int descriptor = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return false;
    int result = bind(descriptor, (const struct sockaddr *)&loopback, sizeof loopback);
    (void)close(descriptor);
    return result == 0;
}

static void on_connected(void *context, struct rpc_channel *channel)
{
    struct client *client = context;
    (void)channel;
    client->connected++;
}

static void on_disconnected(void *context, struct rpc_channel *channel)
{
    struct client *client = context;
    (void)channel;
    client->disconnected++;
}

void client_open(struct client *client, const struct address *address,
                 const struct rpc_channel_options *options)
{
    memset(client, 0, sizeof *client);
    ASSERT(task_queue_new(&client->queue) == OK);
    struct rpc_channel_options all = {.reconnect_max_ms = 100};
    if (options != NULL)
        all = *options;
    all.address = *address;
    all.queue = client->queue;
    if (all.context == NULL)
        all.context = client;
    if (all.connected == NULL)
        all.connected = on_connected;
    if (all.disconnected == NULL)
        all.disconnected = on_disconnected;
    struct error_text why;
    if (rpc_channel_open(&client->channel, &all, &why) != OK)
        fail_msg("%s", why.text);
    rpc_stub_init(&client->stub, client->channel, &probe__probe__descriptor);
}

void client_close(struct client *client)
{
    rpc_channel_close(client->channel);
    client->channel = NULL;
    (void)task_queue_run(client->queue, SIZE_MAX);
    task_queue_free(client->queue);
    client->queue = NULL;
}

void client_turn(struct client *client, int timeout_ms)
{
    if (client == NULL) {
        (void)poll(NULL, 0, 1);
        return;
    }
    if (client->channel != NULL)
        rpc_channel_flush(client->channel);
    task_queue_wait(client->queue, timeout_ms);
    (void)task_queue_run(client->queue, SIZE_MAX);
    if (client->channel != NULL)
        rpc_channel_tick(client->channel, clock_monotonic_ms());
}

static void keep_result(struct outcome *outcome)
{
    const struct rpc_result *result = &outcome->result;
    outcome->replies++;
    outcome->ended = !result->more;
    (void)snprintf(outcome->message, sizeof outcome->message, "%s", result->message);
    (void)snprintf(outcome->master, sizeof outcome->master, "%s", result->master);
}

static void then(struct outcome *outcome)
{
    if (outcome->then != NULL)
        outcome->then(outcome);
}

void on_text(const Probe__Text *reply, void *argument)
{
    struct outcome *outcome = argument;
    keep_result(outcome);
    if (reply != NULL) {
        outcome->number = reply->number;
        outcome->text_size = strlen(reply->text);
        (void)snprintf(outcome->text, sizeof outcome->text, "%.100s", reply->text);
        outcome->token_size = reply->token.len;
        for (size_t i = 0; i < reply->token.len && i < sizeof outcome->token; i++)
            outcome->token[i] = reply->token.data[i];
    }
    then(outcome);
}

void on_page(const Probe__Page *reply, void *argument)
{
    struct outcome *outcome = argument;
    keep_result(outcome);
    if (reply != NULL) {
        if (reply->number != outcome->number + 1)
            outcome->gaps++;
        outcome->number = reply->number;
        outcome->text_size = reply->filling.len;
    }
    then(outcome);
}

void client_echo(struct client *client, const char *text, uint64_t number, struct outcome *outcome)
{
    Probe__Text request = PROBE__TEXT__INIT;
    request.text = (char *)text;
    request.number = number;
    probe__probe__echo(&client->stub.service, &request, on_text, outcome);
}

void client_hold(struct client *client, const char *text, struct outcome *outcome)
{
    Probe__Text request = PROBE__TEXT__INIT;
    request.text = (char *)text;
    probe__probe__hold(&client->stub.service, &request, on_text, outcome);
}

void client_work(struct client *client, const char *text, struct outcome *outcome)
{
    Probe__Text request = PROBE__TEXT__INIT;
    request.text = (char *)text;
    probe__probe__work(&client->stub.service, &request, on_text, outcome);
}

void client_flow(struct client *client, uint64_t pages, uint32_t page_bytes, uint32_t credits,
                 struct outcome *outcome)
{
    Probe__FlowRequest request = PROBE__FLOW_REQUEST__INIT;
    request.pages = pages;
    request.page_bytes = page_bytes;
    client->stub.credits = credits;
    probe__probe__flow(&client->stub.service, &request, on_page, outcome);
    client->stub.credits = 0;
}

struct outcome client_ask(struct client *client, const char *text, uint64_t number)
{
    static struct outcome outcome; /* outlives a test that fails while the call is open */
    outcome = (struct outcome){.number = 0};
    client_echo(client, text, number, &outcome);
    WAIT_UNTIL(client, outcome.ended);
    return outcome;
}

void client_expect_peer(struct client *client, const char *peer)
{
    static struct outcome outcome;
    Probe__Text request = PROBE__TEXT__INIT;
    request.ask_peer = true;
    outcome = (struct outcome){.number = 0};
    probe__probe__echo(&client->stub.service, &request, on_text, &outcome);
    WAIT_UNTIL(client, outcome.ended);
    assert_memory_equal(outcome.text, peer, strlen(peer));
    struct address address;
    assert_int_equal(address_parse(outcome.text, &address, NULL), OK);
}

static void check_service(const struct outcome *outcome)
{
    if (outcome->result.status != STATUS_OK)
        fail_msg("%s: %s", status_name(outcome->result.status), outcome->message);
    assert_string_equal(outcome->text, "are you there?");
}

void client_expect_service(struct client *client)
{
    struct outcome outcome = client_ask(client, "are you there?", 0);
    check_service(&outcome);
}

void client_await_service(struct client *client)
{
    struct outcome outcome;
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    do
        outcome = client_ask(client, "are you there?", 0);
    while (outcome.result.status == STATUS_UNAVAILABLE && clock_monotonic_ms() < until_ms);
    check_service(&outcome);
}

size_t count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    ASSERT(folder != NULL);
    size_t count = 0;
    while (readdir(folder) != NULL)
        count++;
    (void)closedir(folder);
    return count - 3; /* "." and ".." and the folder's own */
}

size_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    ASSERT(file != NULL);
    size_t all = 0;
    size_t resident = 0;
    int fields = fscanf(file, "%zu %zu", &all, &resident);
    (void)fclose(file);
    ASSERT(fields == 2);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

void client_expect_service_at(const struct address *address, const char *authority)
{
    struct client client;
    struct rpc_channel_options options = {.tls_authority = authority};
    client_open(&client, address, &options);
    client_expect_service(&client);
    client_close(&client);
}

void client_expect_all(struct client *client, const struct outcome *outcomes, size_t count,
                       enum status status)
{
    for (size_t i = 0; i < count; i++) {
        WAIT_UNTIL(client, outcomes[i].ended);
        if (outcomes[i].result.status != status)
            fail_msg("call %zu: %s", i, status_name(outcomes[i].result.status));
    }
}

struct sp_peer probe_open_peer(const struct probe *probe)
{
    struct sp_peer peer;
    assert_true(sp_open(&peer, probe_address(probe)));
    return peer;
}

struct sp_peer probe_connect_peer(const struct probe *probe, int receive_buffer_bytes)
{
    struct sp_peer peer;
    assert_true(sp_connect(&peer, probe_address(probe), receive_buffer_bytes));
    return peer;
}

Jackdaw__Envelope probe_request(const char *method, uint64_t call)
{
    Jackdaw__Envelope envelope = JACKDAW__ENVELOPE__INIT;
    envelope.kind = JACKDAW__ENVELOPE__KIND__REQUEST;
    envelope.protocol = RPC_PROTOCOL;
    envelope.call = call;
    envelope.service = (char *)"probe.Probe";
    envelope.method = (char *)method;
    return envelope;
}

ProtobufCBinaryData probe_frame(const Jackdaw__Envelope *envelopes, size_t count)
{
    static Jackdaw__Envelope *pointers[RPC_ENVELOPES_MAX];
    assert_true(count <= RPC_ENVELOPES_MAX);
    for (size_t i = 0; i < count; i++)
        pointers[i] = (Jackdaw__Envelope *)&envelopes[i];
    Jackdaw__Frame frame = JACKDAW__FRAME__INIT;
    frame.envelopes = pointers;
    frame.n_envelopes = count;
    ProtobufCBinaryData out = {.data = malloc(jackdaw__frame__get_packed_size(&frame) + 1)};
    out.len = jackdaw__frame__pack(&frame, out.data);
    return out;
}

Jackdaw__Frame *probe_receive_frame(struct sp_peer *peer)
{
    struct sp_message message;
    assert_int_equal(sp_receive(peer, PATIENCE_MS, &message), SP_MESSAGE);
    assert_int_equal(message.id, SP_REQUEST_ID);
    Jackdaw__Frame *frame = jackdaw__frame__unpack(NULL, message.size, message.body);
    free(message.body);
    assert_non_null(frame);
    return frame;
}

void silent_open(struct silent *silent, const char *host, uint16_t port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t size = sizeof name;
    const int on = 1;
    assert_int_equal(inet_pton(AF_INET, host, &name.sin_addr), 1);
    silent->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(silent->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(silent->listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(listen(silent->listener, 0), 0);
    assert_int_equal(getsockname(silent->listener, (struct sockaddr *)&name, &size), 0);
    for (size_t i = 0; i < sizeof silent->filling / sizeof silent->filling[0]; i++) {
        silent->filling[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(silent->filling[i], (struct sockaddr *)&name, size);
    }
    silent->address = (struct address){.port = ntohs(name.sin_port)};
    (void)snprintf(silent->address.host, sizeof silent->address.host, "%s", host);
}

void silent_close(struct silent *silent)
{
    (void)close(silent->listener);
    for (size_t i = 0; i < sizeof silent->filling / sizeof silent->filling[0]; i++)
        (void)close(silent->filling[i]);
}

struct address parsed(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(text, &address, NULL), OK);
    return address;
}

struct address probe_free_address(void)
{
    struct probe *probe = probe_start(NULL);
    struct address address = *probe_address(probe);
    probe_stop(probe);
    return address;
}

void probe_fixture_start(struct probe_fixture *f, const struct rpc_server_options *options)
{
    log_configure(LOG_SILENT, LOG_TEXT);
    f->probe = probe_start(options);
    f->counters = probe_counters(f->probe);
    client_open(&f->client, probe_address(f->probe), NULL);
    rpc_stub_init(&f->one_way, f->client.channel, &probe__probe__descriptor);
    f->one_way.one_way = true;
    f->peer.descriptor = -1;
    f->outcomes = calloc(PROBE_OUTCOMES, sizeof *f->outcomes);
    assert_non_null(f->outcomes);
}

void probe_fixture_begin(struct probe_fixture *f)
{
    probe_fixture_start(f, NULL);
}

void probe_fixture_end(struct probe_fixture *f)
{
    sp_close(&f->peer);
    client_close(&f->client);
    probe_stop(f->probe);
    free(f->outcomes);
    log_configure(LOG_INFO, LOG_TEXT);
}

struct outcome *probe_fixture_take(struct probe_fixture *f, size_t count)
{
    struct outcome *taken = &f->outcomes[f->outcome_count];
    f->outcome_count += count;
    assert_true(f->outcome_count <= PROBE_OUTCOMES);
    return taken;
}
