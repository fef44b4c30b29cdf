/* SPDX-License-Identifier: MIT */
#include "bench_cluster.h"

#include "base/clock.h"
#include "base/status.h"
#include "spec.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASK_EVERY_MS 50u
#define ASK_TIMEOUT_MS 400u
#define TASKS_A_TURN 64
#define DISK_NAME "disk"

/* ---- starting ---- */

/* The internal addresses of all but server i that are known. */
static void list_others(const struct cluster *cluster, size_t i, char *list, size_t size)
{
    list[0] = '\0';
    size_t used = 0;
    for (size_t other = 0; other < BENCH_CLUSTER_SERVERS; other++) {
        if (other == i || cluster->servers[other].internal.port == 0)
            continue;
        char text[ADDRESS_TEXT_SIZE];
        address_format(&cluster->servers[other].internal, text);
        used += (size_t)snprintf(list + used, size - used, "%s%s", used == 0 ? "" : ",", text);
    }
}

struct launch {
    char others[BENCH_CLUSTER_SERVERS * ADDRESS_TEXT_SIZE];
    char preload[PROCESS_PATH_SIZE + 16];
    char disk[PROCESS_PATH_SIZE + 64];
    const char *environment[3];
    struct process_options options;
};

static void prepare_launch(struct launch *launch, struct cluster *cluster, size_t i)
{
    const struct bench_cluster_server *server = &cluster->servers[i];
    list_others(cluster, i, launch->others, sizeof launch->others);
    bool is_first = launch->others[0] == '\0';
    launch->options = (struct process_options){
        .program = cluster->options.program,
        .server_id = (unsigned)i + 1,
        .master_address = is_first ? NULL : launch->others,
        .folder = server->folder,
        .extra = cluster->options.extra,
        .clients = &server->clients,
        .internal = &server->internal,
        .network = cluster->options.network == NULL ? 0 : cluster->options.network->plugs[i],
    };
    if (server->disk_hangs == NULL)
        return;
    (void)snprintf(launch->preload, sizeof launch->preload, "LD_PRELOAD=%s",
                   cluster->options.hung_disk);
    (void)snprintf(launch->disk, sizeof launch->disk, "JACKDAW_TEST_HUNG_DISK=%s/" DISK_NAME,
                   server->folder);
    launch->environment[0] = launch->preload;
    launch->environment[1] = launch->disk;
    launch->environment[2] = NULL;
    launch->options.environment = launch->environment;
}

static enum error launch_server(struct cluster *cluster, size_t i, bool wait,
                                struct error_text *why)
{
    struct launch *launch = calloc(1, sizeof *launch);
    if (launch == NULL)
        return error_set(why, ERROR_NO_MEMORY, "out of memory");
    prepare_launch(launch, cluster, i);
    struct process *process = &cluster->servers[i].process;
    enum error error = wait ? process_start(process, &launch->options, why)
                            : process_spawn(process, &launch->options, why);
    free(launch);
    return error;
}

static enum error map_disk(struct bench_cluster_server *server, struct error_text *why)
{
    char path[PROCESS_PATH_SIZE + 16];
    (void)snprintf(path, sizeof path, "%s/" DISK_NAME, server->folder);
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *memory = MAP_FAILED;
    if (file >= 0 && ftruncate(file, sizeof *server->disk_hangs) == 0)
        memory =
            mmap(NULL, sizeof *server->disk_hangs, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0)
        (void)close(file);
    if (memory == MAP_FAILED)
        return error_set(why, error_from_errno(errno), "make %s: %s", path, strerror(errno));
    server->disk_hangs = memory;
    return OK;
}

static void choose_addresses(struct cluster *cluster, size_t i)
{
    struct bench_cluster_server *server = &cluster->servers[i];
    const struct bench_cluster_options *options = &cluster->options;
    if (options->network != NULL)
        network_host(i, server->clients.host);
    else
        (void)snprintf(server->clients.host, sizeof server->clients.host, "127.0.0.1");
    server->internal = server->clients;
    if (options->first_port != 0) {
        server->clients.port = (uint16_t)(options->first_port + 2 * i);
        server->internal.port = (uint16_t)(server->clients.port + 1);
    }
}

static enum error open_channel(struct bench_cluster_server *server, struct error_text *why)
{
    struct rpc_channel_options options = {.address = server->clients,
                                          .queue = server->cluster->queue,
                                          .reconnect_min_ms = ASK_EVERY_MS,
                                          .reconnect_max_ms = ASK_EVERY_MS};
    return rpc_channel_open(&server->channel, &options, why);
}

static enum error start_server(struct cluster *cluster, size_t i, struct error_text *why)
{
    struct bench_cluster_server *server = &cluster->servers[i];
    server->cluster = cluster;
    (void)snprintf(server->folder, sizeof server->folder, "%.*s/%zu", PROCESS_PATH_SIZE - 32,
                   cluster->options.folder, i + 1);
    if (mkdir(server->folder, 0700) != 0)
        return error_set(why, error_from_errno(errno), "make %s: %s", server->folder,
                         strerror(errno));
    choose_addresses(cluster, i);
    enum error error = cluster->options.hung_disk == NULL ? OK : map_disk(server, why);
    if (error == OK)
        error = launch_server(cluster, i, true, why);
    if (error != OK)
        return error;
    server->clients = server->process.clients;
    server->internal = server->process.internal;
    return open_channel(server, why);
}

enum error bench_cluster_open(struct cluster *cluster, const struct bench_cluster_options *options,
                              struct error_text *why)
{
    *cluster = (struct cluster){.options = *options};
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++)
        cluster->servers[i].process.output = -1;
    enum error error = task_queue_new(&cluster->queue);
    if (error != OK)
        return error_set(why, error, "out of memory");
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS && error == OK; i++)
        error = start_server(cluster, i, why);
    return error;
}

static bool end_server(struct bench_cluster_server *server)
{
    rpc_channel_close(server->channel);
    server->channel = NULL;
    if (server->disk_hangs != NULL)
        *server->disk_hangs = 0;
    if (server->process.id <= 0)
        return true;
    (void)kill(server->process.id, SIGCONT);
    return process_stop(&server->process);
}

bool bench_cluster_close(struct cluster *cluster)
{
    bool well = true;
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++)
        well = end_server(&cluster->servers[i]) && well;
    while (cluster->queue != NULL && task_queue_run(cluster->queue, TASKS_A_TURN) > 0)
        continue;
    task_queue_free(cluster->queue);
    cluster->queue = NULL;
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++)
        if (cluster->servers[i].disk_hangs != NULL)
            (void)munmap(cluster->servers[i].disk_hangs, sizeof *cluster->servers[i].disk_hangs);
    return well;
}

/* ---- what may happen ---- */

void bench_cluster_kill(struct cluster *cluster, size_t i)
{
    process_kill(&cluster->servers[i].process);
    cluster->servers[i].stopped = false;
}

enum error bench_cluster_restart(struct cluster *cluster, size_t i, struct error_text *why)
{
    return launch_server(cluster, i, false, why);
}

void bench_cluster_stop(struct cluster *cluster, size_t i)
{
    struct bench_cluster_server *server = &cluster->servers[i];
    if (server->process.id > 0)
        (void)kill(server->process.id, SIGSTOP);
    server->stopped = true;
}

void bench_cluster_continue(struct cluster *cluster, size_t i)
{
    struct bench_cluster_server *server = &cluster->servers[i];
    if (server->process.id > 0)
        (void)kill(server->process.id, SIGCONT);
    server->stopped = false;
}

bool bench_cluster_plug(struct cluster *cluster, size_t i, bool in)
{
    cluster->servers[i].unplugged = !in;
    return network_plug(i, in);
}

void bench_cluster_hang_disk(struct cluster *cluster, size_t i, bool hang)
{
    if (cluster->servers[i].disk_hangs != NULL)
        __atomic_store_n(cluster->servers[i].disk_hangs, hang ? 1 : 0, __ATOMIC_SEQ_CST);
}

/* ---- what they say ---- */

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

uint64_t bench_cluster_process(struct cluster *cluster)
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

int bench_cluster_descriptor(const struct cluster *cluster)
{
    return task_queue_descriptor(cluster->queue);
}

size_t bench_cluster_master(const struct cluster *cluster, uint64_t since_ms)
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

bool bench_cluster_is_healed(const struct cluster *cluster, uint64_t since_ms)
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

size_t bench_cluster_find_dead(const struct cluster *cluster)
{
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++) {
        pid_t id = cluster->servers[i].process.id;
        siginfo_t info = {.si_pid = 0};
        if (id > 0 && waitid(P_PID, (id_t)id, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == id)
            return i;
    }
    return BENCH_CLUSTER_SERVERS;
}

void bench_cluster_describe(const struct cluster *cluster, char *text, size_t size)
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
