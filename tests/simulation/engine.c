/* SPDX-License-Identifier: MIT */
/* Events, processes, time and randomness. The functions of libc that tell the time are replaced here at
 * link time (-Wl,--wrap). */
#include "sim.h"

/* The linker calls what -Wl,--wrap names; no header declares it. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#include "base/log.h"

#include <errno.h>
#include <semaphore.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define STEPS_IN_MS_MAX 20000u  /* more: some process turns without a pause */
#define WALL_START_S 1800000000 /* 2027-01-15 */

struct event {
    uint64_t at;
    uint64_t order;
    void (*run)(void *context, uint64_t id);
    void *context;
    uint64_t id;
};

static struct {
    struct event *heap;
    size_t count;
    size_t capacity;
    uint64_t now;
    uint64_t order;
    uint64_t steps;
    unsigned steps_in_ms;
    uint64_t random;
    uint64_t processes;
    struct process *current;
} engine;

/* ---- randomness: SplitMix64 (Steele, Lea, Flood 2014) ---- */

static uint64_t next_random(uint64_t *state)
{
    uint64_t value = *state += UINT64_C(0x9E3779B97F4A7C15);
    value = (value ^ (value >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94D049BB133111EB);
    return value ^ (value >> 31);
}

uint64_t sim_draw(void)
{
    return next_random(&engine.random);
}

uint64_t sim_below(uint64_t bound)
{
    return bound == 0 ? 0 : sim_draw() % bound;
}

bool sim_chance(unsigned per_thousand)
{
    return sim_below(1000) < per_thousand;
}

static const char *random_name(void)
{
    return "simulation";
}

static uint64_t *random_state(void)
{
    return engine.current != NULL ? &engine.current->random : &engine.random;
}

static uint32_t random_word(void)
{
    return (uint32_t)next_random(random_state());
}

static void random_bytes(void *bytes, size_t size)
{
    uint8_t *at = bytes;
    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)next_random(random_state());
}

ssize_t __wrap_getrandom(void *bytes, size_t size, unsigned flags)
{
    (void)flags;
    random_bytes(bytes, size);
    return (ssize_t)size;
}

static void use_own_randomness(void)
{
    static randombytes_implementation own = {
        .implementation_name = random_name, .random = random_word, .buf = random_bytes};
    static bool is_done;
    if (!is_done && (randombytes_set_implementation(&own) != 0 || sodium_init() < 0))
        abort();
    is_done = true;
}

/* ---- passwords: Argon2 would be a third of the time that a run takes ---- */

int __wrap_crypto_pwhash_str_alg(char out[static crypto_pwhash_STRBYTES], const char *password,
                                 unsigned long long size, unsigned long long passes, size_t memory,
                                 int algorithm)
{
    (void)passes;
    (void)memory;
    (void)algorithm;
    (void)snprintf(out, crypto_pwhash_STRBYTES, "plain:%.*s", (int)size, password);
    return 0;
}

int __wrap_crypto_pwhash_str_verify(const char hash[static crypto_pwhash_STRBYTES],
                                    const char *password, unsigned long long size)
{
    return strlen(hash) == 6 + size && memcmp(hash + 6, password, size) == 0 ? 0 : -1;
}

/* ---- time ---- */

uint64_t sim_now(void)
{
    return engine.now + (engine.current != NULL ? engine.current->spent_us : 0);
}

uint64_t sim_steps(void)
{
    return engine.steps;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *out)
{
    uint64_t us = sim_now();
    if (clock == CLOCK_REALTIME)
        us += WALL_START_S * SECOND;
    if (clock == CLOCK_REALTIME && engine.current != NULL)
        us += (uint64_t)engine.current->wall_offset_us;
    *out =
        (struct timespec){.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    return 0;
}

/* A thread of lower priority that pauses (server/scrub.c): nobody waits for it. */
int __wrap_sem_clockwait(sem_t *semaphore, clockid_t clock, const struct timespec *until)
{
    (void)semaphore;
    (void)clock;
    (void)until;
    errno = ETIMEDOUT;
    return -1;
}

int __wrap_setpriority(int which, id_t who, int priority)
{
    (void)which;
    (void)who;
    (void)priority;
    return 0;
}

/* ---- events ---- */

static bool is_before(const struct event *one, const struct event *other)
{
    return one->at != other->at ? one->at < other->at : one->order < other->order;
}

void sim_at(uint64_t at, void (*run)(void *context, uint64_t id), void *context, uint64_t id)
{
    if (engine.count == engine.capacity) {
        engine.capacity = engine.capacity == 0 ? 1024 : engine.capacity * 2;
        engine.heap = realloc(engine.heap, engine.capacity * sizeof *engine.heap);
        ASSERT(engine.heap != NULL);
    }
    struct event event = {.at = at < engine.now ? engine.now : at,
                          .order = ++engine.order,
                          .run = run,
                          .context = context,
                          .id = id};
    size_t place = engine.count++;
    while (place > 0 && is_before(&event, &engine.heap[(place - 1) / 2])) {
        engine.heap[place] = engine.heap[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    engine.heap[place] = event;
}

static struct event take_first(void)
{
    struct event first = engine.heap[0];
    struct event last = engine.heap[--engine.count];
    size_t place = 0;
    for (;;) {
        size_t child = place * 2 + 1;
        if (child >= engine.count)
            break;
        if (child + 1 < engine.count && is_before(&engine.heap[child + 1], &engine.heap[child]))
            child++;
        if (!is_before(&engine.heap[child], &last))
            break;
        engine.heap[place] = engine.heap[child];
        place = child;
    }
    engine.heap[place] = last;
    return first;
}

bool sim_next(void)
{
    if (engine.count == 0)
        return false;
    struct event event = take_first();
    if (event.at / MS != engine.now / MS)
        engine.steps_in_ms = 0;
    if (++engine.steps_in_ms > STEPS_IN_MS_MAX)
        broken("does_not_spin", "%u events within a millisecond", STEPS_IN_MS_MAX);
    engine.now = event.at;
    engine.steps++;
    event.run(event.context, event.id);
    ASSERT(engine.current == NULL);
    return true;
}

/* ---- processes ---- */

void process_init(struct process *process, unsigned host)
{
    process->host = host;
    process->is_cut = false;
    process->loses_power = false;
    process->effects_left = 0;
    process->spent_us = 0;
    process->busy_until = 0;
    process->paused_until = 0;
    process->wakes_at = UINT64_MAX;
    process->deadline = 0;
    process->id = ++engine.processes;
    process->random = sim_draw();
}

struct process *sim_current(void)
{
    return engine.current;
}

void process_enter(struct process *process)
{
    ASSERT(engine.current == NULL);
    engine.current = process;
    log_identify(process->host + 1, 0);
}

static void reap(void *context, uint64_t id)
{
    struct process *process = context;
    if (process->id == id && process->is_cut)
        process->reap(process);
}

void process_leave(struct process *process)
{
    ASSERT(engine.current == process);
    engine.current = NULL;
    if (process->spent_us > 0)
        process->busy_until = engine.now + process->spent_us;
    process->spent_us = 0;
    if (process->is_cut && process->id != 0) /* 0: its owner has released it */
        sim_at(engine.now, reap, process, process->id);
}

bool process_is_stopped(const struct process *process)
{
    return process->paused_until > engine.now;
}

static uint64_t later(uint64_t one, uint64_t other)
{
    return one > other ? one : other;
}

static void take_turn(void *context, uint64_t id)
{
    struct process *process = context;
    if (process->id != id || process->is_cut || process->wakes_at > engine.now)
        return; /* of another life, or superseded */
    process->wakes_at = UINT64_MAX;
    uint64_t from = later(process->paused_until, process->busy_until);
    if (from > engine.now) {
        process_wake(process, from);
        return;
    }
    if (process->is_due(process))
        process->turn(process);
    else
        process_wake(process, process->deadline);
}

void process_wake(struct process *process, uint64_t at)
{
    at = later(at, engine.now);
    if (process->is_cut || at >= process->wakes_at)
        return;
    process->wakes_at = at;
    sim_at(at, take_turn, process, process->id);
}

void process_cut(struct process *process)
{
    process->is_cut = true;
    process->effects_left = 0;
}

bool process_may_act(void)
{
    struct process *process = engine.current;
    if (process == NULL)
        return true;
    if (process->is_cut)
        return false;
    if (process->effects_left > 0 && --process->effects_left == 0) {
        disk_keep_mapped(process->host);
        process_cut(process);
        return false;
    }
    return true;
}

/* ---- the run ---- */

void engine_reset(uint64_t seed)
{
    use_own_randomness();
    free(engine.heap);
    memset(&engine, 0, sizeof engine);
    engine.random = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    engine.now = SECOND;
}

void trace(const char *format, ...)
{
    if (!world.options.trace)
        return;
    va_list arguments;
    va_start(arguments, format);
    printf("%12.3f ", (double)engine.now / 1000.0);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}
