/* SPDX-License-Identifier: MIT */
#include "bench_cluster.h"

#include "base/clock.h"
#include "base/status.h"
#include "spec.pb-c.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ASK_EVERY_MS 50u
#define ASK_TIMEOUT_MS 400u
#define TASKS_A_TURN 64

/* In the server's process, before its program. */
static void prepare(void *context)
{
    const struct bench_cluster_server *server = context;
    (void)setpgid(0, 0); /* Ctrl-C is for this program, which then ends the server */
    if (server->disk_hangs == NULL)
        return;
    (void)setenv("LD_PRELOAD", server->cluster->options.hung_disk, 1);
    (void)setenv("JACKDAW_TEST_HUNG_DISK", server->disk_path, 1);
}

static void map_disk(struct bench_cluster_server *server, size_t i)
{
    char name[16];
    (void)snprintf(name, sizeof name, "disk%zu", i + 1);
    server->disk_path = process_group_path(server->cluster->group, name);
    int file = open(server->disk_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *memory = MAP_FAILED;
    if (file >= 0 && ftruncate(file, sizeof *server->disk_hangs) == 0)
        memory =
            mmap(NULL, sizeof *server->disk_hangs, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0)
        (void)close(file);
    if (memory == MAP_FAILED)
        process_group_fail(server->cluster->group, "cannot map %s", server->disk_path);
    server->disk_hangs = memory;
}

static void start_server(struct bench_cluster *cluster)
{
    const struct bench_cluster_options *options = &cluster->options;
    size_t i = cluster_add(&cluster->cluster, options->extra);
    struct bench_cluster_server *server = &cluster->servers[i];
    struct node *node = &cluster->cluster.servers[i];
    server->cluster = cluster;
    if (options->hung_disk != NULL)
        map_disk(server, i);
    node->program = options->program;
    node->prepare = prepare;
    node->context = server;
    if (options->first_port != 0) {
        const char *host = options->netns == NULL ? "127.0.0.1" : netns_host(options->netns, i);
        unsigned port = (unsigned)(options->first_port + 2 * i);
        (void)snprintf(node->clients, sizeof node->clients, "%s:%u", host, port);
        (void)snprintf(node->internal, sizeof node->internal, "%s:%u", host, port + 1);
    }
    cluster_run(&cluster->cluster, i);
    server->is_up = true;
}

enum error bench_cluster_open(struct bench_cluster *cluster,
                              const struct bench_cluster_options *options, struct error_text *why)
{
    *cluster = (struct bench_cluster){.options = *options,
                                      .group = process_group_open_in(options->folder)};
    cluster_init(&cluster->cluster, cluster->group, options->netns);
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++)
        start_server(cluster);
    enum error error = task_queue_new(&cluster->queue);
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS && error == OK; i++) {
        struct rpc_channel_options channel = {.address = node_address(&cluster->cluster.servers[i]),
                                              .queue = cluster->queue,
                                              .reconnect_min_ms = ASK_EVERY_MS,
                                              .reconnect_max_ms = ASK_EVERY_MS};
        error = rpc_channel_open(&cluster->servers[i].channel, &channel, why);
    }
    return error;
}

static bool end_server(struct bench_cluster *cluster, size_t i)
{
    struct bench_cluster_server *server = &cluster->servers[i];
    rpc_channel_close(server->channel);
    server->channel = NULL;
    bench_cluster_hang_disk(cluster, i, false);
    if (!server->is_up)
        return true;
    if (cluster->cluster.asleep[i])
        cluster_awake(&cluster->cluster, i);
    return node_stop(&cluster->cluster.servers[i]) == 0;
}

bool bench_cluster_close(struct bench_cluster *cluster, bool keep)
{
    bool well = true;
    for (size_t i = 0; i < cluster->cluster.count; i++)
        well = end_server(cluster, i) && well;
    while (cluster->queue != NULL && task_queue_run(cluster->queue, TASKS_A_TURN) > 0)
        continue;
    task_queue_free(cluster->queue);
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++)
        if (cluster->servers[i].disk_hangs != NULL)
            (void)munmap(cluster->servers[i].disk_hangs, sizeof *cluster->servers[i].disk_hangs);
    if (well && !cluster->failed)
        process_group_pass(cluster->group);
    if (keep || !well || cluster->failed)
        (void)setenv("JACKDAW_TEST_KEEP", "1", 1);
    else
        (void)unsetenv("JACKDAW_TEST_KEEP");
    process_group_close(cluster->group);
    return well;
}

void bench_cluster_kill(struct bench_cluster *cluster, size_t i)
{
    cluster_kill(&cluster->cluster, 1u << i);
    cluster->servers[i].is_up = false;
}

void bench_cluster_restart(struct bench_cluster *cluster, size_t i)
{
    cluster_launch(&cluster->cluster, i);
    cluster->servers[i].is_up = true;
}

void bench_cluster_hang_disk(struct bench_cluster *cluster, size_t i, bool hang)
{
    if (cluster->servers[i].disk_hangs != NULL)
        __atomic_store_n(cluster->servers[i].disk_hangs, hang ? 1 : 0, __ATOMIC_SEQ_CST);
}

static void on_status(const Jackdaw__StatusReply *reply, void *closure_data)
{
    struct bench_cluster_server *server = closure_data;
    server->asking = false;
    if (server->result.status != STATUS_OK || reply == NULL)
        return;
    server->view = (struct bench_cluster_view){
        .at_ms = server->asked_ms,
        .is_master = reply->master == reply->id && strcmp(reply->role, "master") == 0,
        .master = reply->master,
        .epoch = reply->epoch,
        .last = reply->last == NULL ? 0 : reply->last->seq,
        .orphans = reply->orphans,
    };
    for (size_t i = 0; i < reply->n_members; i++) {
        const Jackdaw__StatusReply__Member *member = reply->members[i];
        server->view.members += member->left ? 0 : 1;
        server->view.in_sync += !member->left && member->in_sync && member->reachable ? 1 : 0;
    }
}

static void ask(struct bench_cluster_server *server, uint64_t now_ms)
{
    Jackdaw__StatusRequest request = JACKDAW__STATUS_REQUEST__INIT;
    struct rpc_stub stub;
    rpc_stub_init(&stub, server->channel, &jackdaw__operator__descriptor);
    stub.timeout_ms = ASK_TIMEOUT_MS;
    server->asking = true;
    server->asked_ms = now_ms;
    jackdaw__operator__status(&stub.service, &request, on_status, server);
}

uint64_t bench_cluster_process(struct bench_cluster *cluster)
{
    (void)task_queue_run(cluster->queue, TASKS_A_TURN);
    uint64_t now_ms = clock_monotonic_ms();
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++) {
        struct bench_cluster_server *server = &cluster->servers[i];
        if (server->channel == NULL)
            continue;
        rpc_channel_tick(server->channel, now_ms);
        if (!server->asking && now_ms - server->asked_ms >= ASK_EVERY_MS)
            ask(server, now_ms);
        rpc_channel_flush(server->channel);
    }
    return (now_ms + ASK_EVERY_MS) * 1000;
}

int bench_cluster_descriptor(const struct bench_cluster *cluster)
{
    return task_queue_descriptor(cluster->queue);
}

size_t bench_cluster_master(const struct bench_cluster *cluster, uint64_t since_ms)
{
    uint32_t master = 0;
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++) {
        const struct bench_cluster_view *view = &cluster->servers[i].view;
        if (view->at_ms == 0 || view->at_ms < since_ms)
            continue;
        if (view->master == 0 || (master != 0 && view->master != master))
            return BENCH_CLUSTER_SERVERS;
        master = view->master;
    }
    return master == 0 || master > BENCH_CLUSTER_SERVERS ? BENCH_CLUSTER_SERVERS : master - 1;
}

bool bench_cluster_is_healed(const struct bench_cluster *cluster, uint64_t since_ms)
{
    size_t master = bench_cluster_master(cluster, since_ms);
    if (master == BENCH_CLUSTER_SERVERS)
        return false;
    const struct bench_cluster_view *seen = &cluster->servers[master].view;
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++) {
        const struct bench_cluster_view *view = &cluster->servers[i].view;
        if (view->at_ms < since_ms || view->at_ms == 0 || view->orphans != 0 ||
            view->epoch != seen->epoch)
            return false;
    }
    return seen->is_master && seen->members == BENCH_CLUSTER_SERVERS &&
           seen->in_sync == BENCH_CLUSTER_SERVERS;
}

size_t bench_cluster_find_dead(struct bench_cluster *cluster)
{
    process_group_turn(cluster->group, 0);
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++)
        if (cluster->servers[i].is_up && process_id(cluster->cluster.servers[i].process) == 0)
            return i;
    return BENCH_CLUSTER_SERVERS;
}

void bench_cluster_describe(const struct bench_cluster *cluster, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS && used < size; i++) {
        const struct bench_cluster_view *view = &cluster->servers[i].view;
        int length = snprintf(
            text + used, size - used,
            "%sserver %zu: %s %" PRIu32 ", epoch %" PRIu64 ".%" PRIu64 ", last %" PRIu64
            ", %zu of %zu in sync, %" PRIu64 " orphans, %" PRIu64 " ms ago",
            i == 0 ? "" : "; ", i + 1, view->is_master ? "master" : "follows", view->master,
            view->epoch >> 16, view->epoch & 0xffff, view->last, view->in_sync, view->members,
            view->orphans, view->at_ms == 0 ? 0 : clock_monotonic_ms() - view->at_ms);
        used += length > 0 ? (size_t)length : 0;
    }
}
