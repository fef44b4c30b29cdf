/* SPDX-License-Identifier: MIT */
/* fault_trial.h - one fault at a time, done to three servers while two clients write: how long was nothing
 * acknowledged, did the cluster heal, is every message there? One thread.
 *
 *   write -> strike -> (hold) -> mend -> until healed -> stop writing -> read everything back
 *            |<-- the gap -->|   |<-- the gap on return -->| */
#ifndef JACKDAW_BENCH_TRIAL_H
#define JACKDAW_BENCH_TRIAL_H

#include "base/error.h"
#include "bench_cluster.h"
#include "writer.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BURNERS_MAX 256 /* processes that keep the processors busy */

enum { WRITER_PIPELINED, WRITER_SINGLE, WRITERS };

/* The servers, the clients, and who of the servers was struck. */
struct scene {
    struct bench_cluster cluster;
    struct writer writers[WRITERS];
    uint64_t random;
    uint64_t since_ms; /* what servers said before does not count */
    size_t victims[BENCH_CLUSTER_SERVERS];
    size_t victims_count;
    pid_t burners[BURNERS_MAX];
    size_t burners_count;
    uint32_t busy_ms;
    struct error_text problem;
};

struct scene_options {
    struct bench_cluster_options cluster;
    uint64_t seed;
    uint32_t every_us; /* the pipelined client: time between two messages */
    uint32_t in_flight;
    uint32_t busy_ms; /* how long a trial without a fault keeps the processors busy */
};

/* What happens, and how it is undone. Both fail by scene_fail. */
struct fault {
    const char *name;  /* as given to --faults */
    const char *title; /* for the table */
    double aim_ms;     /* no gap is to be as long; 0: the project names none */
    uint32_t hold_ms;  /* at least so long before it is undone */
    bool needs_network;
    bool needs_disk;
    bool is_none; /* it lasts for busy_ms, and the master must stay */
    enum { STRIKES_MASTER, STRIKES_SLAVE, STRIKES_MANY } strikes;
    void (*inject)(struct scene *scene); /* victims[0] is the master or the slave */
    void (*repair)(struct scene *scene);
};

extern const struct fault faults[];
extern const size_t faults_count;

/* Chooses the victim and injects the fault. */
void fault_strike(const struct fault *fault, struct scene *scene);
/* Ends the processes that keep the processors busy, if there are any. */
void fault_end_burners(struct scene *scene);

struct fault_trial_result {
    double gap_ms[WRITERS];
    double longest_gap_ms;
    double return_ms;  /* the longest of both, from mending until healed */
    double healed_ms;  /* from mending */
    uint64_t messages; /* of both; every one acknowledged, and found */
};

/* *scene: ended with scene_close, also after an error. */
enum error scene_open(struct scene *scene, const struct scene_options *options,
                      struct error_text *why);
bool scene_close(struct scene *scene, bool keep);

/* False: it went wrong; scene->problem has a sentence, and the scene is of no further use. */
bool fault_trial_run(struct scene *scene, const struct fault *fault, unsigned number,
                     struct fault_trial_result *result);

/* Remembers the first problem. */
void scene_fail(struct scene *scene, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Lets everybody go on for so long. */
void scene_run_for(struct scene *scene, uint32_t ms);
/* 0 to below - 1. */
size_t scene_draw(struct scene *scene, size_t below);

#endif
