/* SPDX-License-Identifier: MIT */
#include "fault_trial.h"

#include "base/clock.h"
#include "program.h"

#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#define CALM_MS 300u /* of writing before the fault */
#define CALM_MESSAGES 20u
#define FRESH_PIPELINED 20u /* messages written after the fault and acknowledged: it is over */
#define FRESH_SINGLE 5u
#define START_MS 60000u
#define GAP_MS_MAX 60000u /* longer than this, and the trial has failed */
#define HEAL_MS_MAX 60000u
#define EVEN_MS_MAX 60000u
#define LOOK_US 20000u

void scene_fail(struct scene *scene, const char *format, ...)
{
    if (scene->problem.text[0] != '\0')
        return;
    va_list values;
    va_start(values, format);
    (void)vsnprintf(scene->problem.text, sizeof scene->problem.text, format, values);
    va_end(values);
}

size_t scene_draw(struct scene *scene, size_t below)
{
    scene->random ^= scene->random << 13; /* Marsaglia's xorshift */
    scene->random ^= scene->random >> 7;
    scene->random ^= scene->random << 17;
    return (size_t)(scene->random % below);
}

static void look_for_problems(struct scene *scene)
{
    for (size_t i = 0; i < WRITERS; i++)
        if (scene->writers[i].problem.text[0] != '\0')
            scene_fail(scene, "%s", scene->writers[i].problem.text);
    size_t dead = bench_cluster_find_dead(&scene->cluster);
    if (dead < BENCH_CLUSTER_SERVERS)
        scene_fail(scene, "server %zu ended by itself", dead + 1);
    if (interrupted())
        scene_fail(scene, "interrupted");
}

static uint64_t least(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

/* Does what is due, then waits for more, until until_us at most. */
static void turn(struct scene *scene, uint64_t until_us)
{
    struct pollfd entries[WRITERS + 1];
    uint64_t next_us = least(until_us, bench_cluster_process(&scene->cluster));
    for (size_t i = 0; i < WRITERS; i++) {
        next_us = least(next_us, writer_process(&scene->writers[i]));
        entries[i] =
            (struct pollfd){.fd = client_descriptor(scene->writers[i].client), .events = POLLIN};
    }
    entries[WRITERS] =
        (struct pollfd){.fd = bench_cluster_descriptor(&scene->cluster), .events = POLLIN};
    uint64_t now_us = clock_monotonic_us();
    uint64_t wait_us = next_us > now_us ? next_us - now_us : 0;
    struct timespec timeout = {.tv_sec = (time_t)(wait_us / 1000000u),
                               .tv_nsec = (long)(wait_us % 1000000u) * 1000};
    (void)ppoll(entries, WRITERS + 1, &timeout, NULL);
}

/* False: something went wrong, or it did not come to be in time. */
static bool wait_until(struct scene *scene, bool (*holds)(const struct scene *scene),
                       uint32_t patience_ms)
{
    uint64_t end_us = clock_monotonic_us() + patience_ms * UINT64_C(1000);
    while (!holds(scene)) {
        uint64_t now_us = clock_monotonic_us();
        if (now_us >= end_us)
            return false;
        turn(scene, least(end_us, now_us + LOOK_US));
        look_for_problems(scene);
        if (scene->problem.text[0] != '\0')
            return false;
    }
    return true;
}

static bool never(const struct scene *scene)
{
    (void)scene;
    return false;
}

void scene_run_for(struct scene *scene, uint32_t ms)
{
    (void)wait_until(scene, never, ms);
}

static bool all_ready(const struct scene *scene)
{
    bool ready = true;
    for (size_t i = 0; i < WRITERS; i++)
        ready = ready && scene->writers[i].ready;
    return ready;
}

static bool is_healed(const struct scene *scene)
{
    return bench_cluster_is_healed(&scene->cluster, scene->since_ms);
}

static bool is_calm(const struct scene *scene)
{
    bool calm = true;
    for (size_t i = 0; i < WRITERS; i++)
        calm = calm && scene->writers[i].acknowledged >= CALM_MESSAGES;
    return calm;
}

static bool is_acknowledged_again(const struct scene *scene)
{
    return scene->writers[WRITER_PIPELINED].fresh >= FRESH_PIPELINED &&
           scene->writers[WRITER_SINGLE].fresh >= FRESH_SINGLE;
}

static bool all_even(const struct scene *scene)
{
    bool even = true;
    for (size_t i = 0; i < WRITERS; i++)
        even = even && writer_is_even(&scene->writers[i]);
    return even;
}

static bool all_read(const struct scene *scene)
{
    bool reading = false;
    for (size_t i = 0; i < WRITERS; i++)
        reading = reading || scene->writers[i].reading;
    return !reading;
}

static enum error start_writers(struct scene *scene, const struct scene_options *options,
                                struct error_text *why)
{
    struct address addresses[BENCH_CLUSTER_SERVERS];
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++)
        addresses[i] = node_address(&scene->cluster.cluster.servers[i]);
    struct writer_options pipelined = {.name = "pipelined",
                                       .addresses = addresses,
                                       .address_count = BENCH_CLUSTER_SERVERS,
                                       .every_us = options->every_us,
                                       .in_flight_max = options->in_flight};
    struct writer_options single = {.name = "single",
                                    .addresses = addresses,
                                    .address_count = BENCH_CLUSTER_SERVERS,
                                    .in_flight_max = 1};
    enum error error = writer_init(&scene->writers[WRITER_PIPELINED], &pipelined, why);
    if (error == OK)
        error = writer_init(&scene->writers[WRITER_SINGLE], &single, why);
    return error;
}

enum error scene_open(struct scene *scene, const struct scene_options *options,
                      struct error_text *why)
{
    *scene = (struct scene){.random = options->seed * 2 + 1, .busy_ms = options->busy_ms};
    enum error error = bench_cluster_open(&scene->cluster, &options->cluster, why);
    if (error == OK)
        error = start_writers(scene, options, why);
    if (error != OK || wait_until(scene, is_healed, START_MS))
        return error;
    char said[ERROR_TEXT_SIZE / 2];
    bench_cluster_describe(&scene->cluster, said, sizeof said);
    scene_fail(scene, "three servers did not become one cluster: %s", said);
    return error_set(why, ERROR_TIMEOUT, "%s", scene->problem.text);
}

bool scene_close(struct scene *scene, bool keep)
{
    fault_end_burners(scene);
    for (size_t i = 0; i < WRITERS; i++)
        writer_release(&scene->writers[i]);
    scene->cluster.failed = scene->problem.text[0] != '\0';
    return bench_cluster_close(&scene->cluster, keep);
}

static void begin(struct scene *scene, const struct fault *fault, unsigned number)
{
    for (size_t i = 0; i < WRITERS; i++) {
        char room[WRITER_NAME_SIZE];
        (void)snprintf(room, sizeof room, "%.16s-%u-%zu", fault->name, number, i + 1);
        writer_enter(&scene->writers[i], room);
    }
    if (!wait_until(scene, all_ready, START_MS))
        scene_fail(scene, "the clients did not get into their rooms");
    for (size_t i = 0; i < WRITERS; i++)
        writer_start(&scene->writers[i]);
    scene_run_for(scene, CALM_MS + (uint32_t)scene_draw(scene, CALM_MS / 3));
    if (!wait_until(scene, is_calm, START_MS) || !wait_until(scene, is_healed, START_MS))
        scene_fail(scene, "the clients could not write before the fault");
}

static void mark(struct scene *scene)
{
    for (size_t i = 0; i < WRITERS; i++)
        writer_mark(&scene->writers[i]);
}

static void fail_with_views(struct scene *scene, const char *what)
{
    char said[ERROR_TEXT_SIZE / 2];
    bench_cluster_describe(&scene->cluster, said, sizeof said);
    scene_fail(scene, "%s: %s", what, said);
}

static void hold(struct scene *scene, const struct fault *fault, uint64_t struck_ms)
{
    if (!wait_until(scene, is_acknowledged_again, GAP_MS_MAX))
        fail_with_views(scene, "nothing was acknowledged any more");
    uint64_t held_ms = clock_monotonic_ms() - struck_ms;
    uint32_t hold_ms = fault->is_none ? scene->busy_ms : fault->hold_ms;
    if (held_ms < hold_ms)
        scene_run_for(scene, (uint32_t)(hold_ms - held_ms));
}

static void heal(struct scene *scene, const struct fault *fault, struct fault_trial_result *result)
{
    scene->since_ms = clock_monotonic_ms() + 1;
    uint64_t repaired_ms = scene->since_ms;
    mark(scene);
    if (fault->repair != NULL && scene->problem.text[0] == '\0')
        fault->repair(scene);
    if (!wait_until(scene, is_healed, HEAL_MS_MAX))
        fail_with_views(scene, "the cluster did not heal");
    result->healed_ms = (double)(clock_monotonic_ms() - repaired_ms);
    for (size_t i = 0; i < WRITERS; i++) {
        double gap_ms = (double)writer_gap_us(&scene->writers[i]) / 1e3;
        result->return_ms = gap_ms > result->return_ms ? gap_ms : result->return_ms;
    }
}

static void check(struct scene *scene, struct fault_trial_result *result)
{
    for (size_t i = 0; i < WRITERS; i++)
        writer_pause(&scene->writers[i]);
    if (!wait_until(scene, all_even, EVEN_MS_MAX))
        for (size_t i = 0; i < WRITERS; i++)
            if (!writer_is_even(&scene->writers[i]))
                scene_fail(scene,
                           "%s: of %llu messages %llu were acknowledged and %llu came as events",
                           scene->writers[i].name, (unsigned long long)scene->writers[i].written,
                           (unsigned long long)scene->writers[i].acknowledged,
                           (unsigned long long)scene->writers[i].told);
    for (size_t i = 0; i < WRITERS && scene->problem.text[0] == '\0'; i++) {
        writer_read(&scene->writers[i]);
        result->messages += scene->writers[i].written;
    }
    if (!wait_until(scene, all_read, EVEN_MS_MAX))
        scene_fail(scene, "the rooms could not be read back");
    look_for_problems(scene);
}

/* The epoch that the servers have named last; epochs only ascend. */
static uint64_t epoch_of(const struct scene *scene)
{
    uint64_t epoch = 0;
    for (size_t i = 0; i < BENCH_CLUSTER_SERVERS; i++)
        if (scene->cluster.servers[i].view.epoch > epoch)
            epoch = scene->cluster.servers[i].view.epoch;
    return epoch;
}

bool fault_trial_run(struct scene *scene, const struct fault *fault, unsigned number,
                     struct fault_trial_result *result)
{
    *result = (struct fault_trial_result){.messages = 0};
    begin(scene, fault, number);
    uint64_t struck_ms = clock_monotonic_ms();
    uint64_t epoch = epoch_of(scene);
    mark(scene);
    if (scene->problem.text[0] == '\0')
        fault_strike(fault, scene);
    hold(scene, fault, struck_ms);
    for (size_t i = 0; i < WRITERS; i++)
        result->gap_ms[i] = (double)writer_gap_us(&scene->writers[i]) / 1e3;
    result->longest_gap_ms = fmax(result->gap_ms[WRITER_PIPELINED], result->gap_ms[WRITER_SINGLE]);
    heal(scene, fault, result);
    if (fault->is_none && epoch_of(scene) != epoch)
        scene_fail(scene, "a false alarm: no server failed, and there is another master");
    check(scene, result);
    return scene->problem.text[0] == '\0';
}
