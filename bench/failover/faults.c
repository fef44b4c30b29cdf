/* SPDX-License-Identifier: MIT */
/* faults.c - what is done to the servers, and undone. */
#include "fault_trial.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <unistd.h>

#define RESTART_SPREAD_MS 300u

static size_t find_master(struct scene *scene)
{
    size_t master = bench_cluster_master(&scene->cluster, scene->since_ms);
    if (master == BENCH_CLUSTER_SERVERS)
        scene_fail(scene, "there is no master that all follow");
    return master == BENCH_CLUSTER_SERVERS ? 0 : master;
}

static size_t choose_slave(struct scene *scene)
{
    return (find_master(scene) + 1 + scene_draw(scene, BENCH_CLUSTER_SERVERS - 1)) %
           BENCH_CLUSTER_SERVERS;
}

void fault_strike(const struct fault *fault, struct scene *scene)
{
    scene->victims_count = 0;
    if (fault->strikes != STRIKES_MANY)
        scene->victims[scene->victims_count++] =
            fault->strikes == STRIKES_MASTER ? find_master(scene) : choose_slave(scene);
    fault->inject(scene);
}

static void kill_server(struct scene *scene, size_t i)
{
    scene->victims[scene->victims_count++] = i;
    bench_cluster_kill(&scene->cluster, i);
}

static void kill_victim(struct scene *scene)
{
    bench_cluster_kill(&scene->cluster, scene->victims[0]);
}

static void kill_two(struct scene *scene)
{
    size_t spared = choose_slave(scene);
    kill_server(scene, find_master(scene)); /* the first is the harder loss */
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++)
        if (i != spared && i != scene->victims[0])
            kill_server(scene, i);
}

static void restart_victims(struct scene *scene)
{
    for (size_t i = 0; i < scene->victims_count; i++)
        bench_cluster_restart(&scene->cluster, scene->victims[i]);
    scene->victims_count = 0;
}

static void shuffle_victims(struct scene *scene)
{
    for (size_t i = scene->victims_count; i > 1; i--) {
        size_t other = scene_draw(scene, i);
        size_t kept = scene->victims[i - 1];
        scene->victims[i - 1] = scene->victims[other];
        scene->victims[other] = kept;
    }
}

/* All at once; then they come back one by one. */
static void kill_all(struct scene *scene)
{
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++)
        kill_server(scene, i);
    shuffle_victims(scene);
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++) {
        bench_cluster_restart(&scene->cluster, scene->victims[i]);
        scene_run_for(scene, (uint32_t)scene_draw(scene, RESTART_SPREAD_MS));
    }
    scene->victims_count = 0;
}

static void stop_victim(struct scene *scene)
{
    cluster_sleep(&scene->cluster.cluster, scene->victims[0]);
}

static void continue_victim(struct scene *scene)
{
    cluster_awake(&scene->cluster.cluster, scene->victims[0]);
}

static void unplug_victim(struct scene *scene)
{
    netns_plug(scene->cluster.cluster.netns, scene->victims[0], false);
}

static void plug_victim(struct scene *scene)
{
    netns_plug(scene->cluster.cluster.netns, scene->victims[0], true);
}

static void hang_disk(struct scene *scene)
{
    bench_cluster_hang_disk(&scene->cluster, scene->victims[0], true);
}

static void free_disk(struct scene *scene)
{
    bench_cluster_hang_disk(&scene->cluster, scene->victims[0], false);
}

static _Noreturn void burn(pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    volatile unsigned turns = 0;
    while (getppid() == parent)
        for (unsigned i = 0; i < 1000000; i++)
            turns = turns + 1;
    _exit(0);
}

/* One for each processor: the servers get a part of what they want. */
static void begin_burners(struct scene *scene)
{
    pid_t parent = getpid();
    size_t wanted = (size_t)get_nprocs();
    while (scene->burners_count < wanted && scene->burners_count < BURNERS_MAX) {
        pid_t child = fork();
        if (child == 0)
            burn(parent);
        if (child < 0) {
            scene_fail(scene, "a process to keep a processor busy cannot be made");
            return;
        }
        scene->burners[scene->burners_count++] = child;
    }
}

void fault_end_burners(struct scene *scene)
{
    for (size_t i = 0; i < scene->burners_count; i++) {
        (void)kill(scene->burners[i], SIGKILL);
        (void)waitpid(scene->burners[i], NULL, 0);
    }
    scene->burners_count = 0;
}

const struct fault faults[] = {
    {.name = "master_killed",
     .title = "master killed",
     .aim_ms = 100,
     .hold_ms = 1000,
     .strikes = STRIKES_MASTER,
     .inject = kill_victim,
     .repair = restart_victims},
    {.name = "master_stopped",
     .title = "master stopped",
     .aim_ms = 250,
     .hold_ms = 1500,
     .strikes = STRIKES_MASTER,
     .inject = stop_victim,
     .repair = continue_victim},
    {.name = "master_cut",
     .title = "master cut off",
     .aim_ms = 250,
     .hold_ms = 1500,
     .needs_network = true,
     .strikes = STRIKES_MASTER,
     .inject = unplug_victim,
     .repair = plug_victim},
    {.name = "slave_killed",
     .title = "slave killed",
     .aim_ms = 50,
     .hold_ms = 1000,
     .strikes = STRIKES_SLAVE,
     .inject = kill_victim,
     .repair = restart_victims},
    {.name = "slave_stopped",
     .title = "slave stopped",
     .hold_ms = 2000,
     .strikes = STRIKES_SLAVE,
     .inject = stop_victim,
     .repair = continue_victim},
    {.name = "slave_cut",
     .title = "slave cut off",
     .hold_ms = 2000,
     .needs_network = true,
     .strikes = STRIKES_SLAVE,
     .inject = unplug_victim,
     .repair = plug_victim},
    {.name = "disk_hung",
     .title = "master's disk hung",
     .aim_ms = 600,
     .hold_ms = 3000,
     .needs_disk = true,
     .strikes = STRIKES_MASTER,
     .inject = hang_disk,
     .repair = free_disk},
    {.name = "two_killed",
     .title = "two of three killed",
     .hold_ms = 1000,
     .strikes = STRIKES_MANY,
     .inject = kill_two,
     .repair = restart_victims},
    {.name = "all_killed",
     .title = "all killed, restarted",
     .hold_ms = 1000,
     .strikes = STRIKES_MANY,
     .inject = kill_all},
    {.name = "busy",
     .title = "none: busy processors",
     .is_none = true,
     .strikes = STRIKES_MANY,
     .inject = begin_burners,
     .repair = fault_end_burners},
};
const size_t faults_count = sizeof faults / sizeof *faults;
