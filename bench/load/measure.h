/* SPDX-License-Identifier: MIT */
/* measure.h - the phases of one scenario (warm-up, measured, draining) and what is counted in the
 * measured one. One thread. */
#ifndef JACKDAW_BENCH_MEASURE_H
#define JACKDAW_BENCH_MEASURE_H

#include "base/histogram.h"
#include "report.h"
#include "usage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MEASURE_SERVERS_MAX 8

enum phase {
    PHASE_WARM_UP,
    PHASE_MEASURED,
    PHASE_DRAINING, /* nothing new is begun; what is under way may end */
    PHASE_OVER,
};

struct measure_times {
    uint32_t warm_up_ms;
    uint32_t measured_ms;
};

/* What was used so far, by whom. */
struct usage {
    uint64_t at_ns;
    struct cpu_times server; /* all of them */
    struct cpu_times own;
    uint64_t machine_us;
};

struct measure {
    enum phase phase;
    uint64_t next_ns; /* when the next phase begins */
    struct measure_times times;
    pid_t servers[MEASURE_SERVERS_MAX];
    size_t servers_count; /* 0: not known */
    struct usage before;
    struct usage after;
    uint64_t operations;
    uint64_t retries; /* in all phases, like errors */
    uint64_t errors;
    struct histogram latency;
};

void measure_begin(struct measure *measure, const struct measure_times *times, pid_t server,
                   uint64_t now_ns);

/* One more server whose CPU time counts. During the warm-up. */
void measure_add_server(struct measure *measure, pid_t server);

/* Goes on to the next phase when it is time. Call it every turn. Also ends on signals. */
enum phase measure_step(struct measure *measure, uint64_t now_ns);

/* Operations that were completed now. */
static inline void measure_count(struct measure *measure, uint64_t operations)
{
    if (measure->phase == PHASE_MEASURED)
        measure->operations += operations;
}

/* How long one of them took. */
static inline void measure_latency(struct measure *measure, uint64_t begun_ns, uint64_t now_ns)
{
    if (measure->phase == PHASE_MEASURED)
        histogram_add(&measure->latency, now_ns > begun_ns ? now_ns - begun_ns : 0);
}

/* The row: operations per second and all columns but the target. */
void measure_metric(const struct measure *measure, const char *name, const char *unit,
                    struct metric *metric);

#endif
