/* SPDX-License-Identifier: MIT */
/* test_replica_bench.h - a few replicas on a table: messages arrive at once and in order, disks sync
 * when told, time moves when told. For cases that are about one rule; what chance can do to all of
 * them together is tests/simulation's. */
#ifndef JACKDAW_TESTS_REPLICA_BENCH_H
#define JACKDAW_TESTS_REPLICA_BENCH_H

#include "replication/replica.h"

#define BENCH_NODES 5
#define BENCH_ROWS 512

struct bench_node {
    struct replica *replica; /* NULL: not running */
    bool cut;                /* neither sends nor receives */
    bool holds_sync;         /* appends stay unsynced until bench_sync */
    /* the disk */
    struct replica_batch rows[BENCH_ROWS];
    size_t rows_count;
    size_t synced;
    uint64_t promised;
    uint8_t cluster[REPLICA_CLUSTER_BYTES];
    struct replica_batch orphans[BENCH_ROWS];
    size_t orphans_count;
    /* what was told */
    uint64_t committed;
    enum replica_refusal refusal;
    size_t told[REPLICA_NEWS]; /* by kind */
    size_t installs;
    size_t taken_over;
    const struct replica_batch *kept;
    size_t kept_count;
    bool holds_install;            /* does not install yet: has to look first */
    size_t holds;                  /* how often INSTALL was said to it */
    struct replica_position avoid; /* of its state */
};

struct bench {
    struct bench_node nodes[BENCH_NODES + 1]; /* by id */
    unsigned count;
    enum replica_policy policy;
    uint64_t now_ms;
    uint32_t founding_wait_ms;       /* not 0: those that are first have all others as seeds */
    unsigned hosts[BENCH_NODES + 1]; /* by id: of its address; 0: its id */
    uint16_t answering;              /* whom the step that is being made has heard; 0: nobody */
    struct replica_actions actions;
    struct bench_message *first;
    struct bench_message **last;
    void *memory; /* freed at the end */
    /* Messages of this kind are counted. */
    size_t sent[REPLICA_MESSAGE_KINDS];
};

/* Nodes 1..count; node 1 starts a cluster and the others join. Addresses ascend with the ids. */
void bench_open(struct bench *bench, unsigned count, enum replica_policy policy);
void bench_close(struct bench *bench);

void bench_address(const struct bench *bench, uint16_t id, char text[static 32]);
void bench_start(struct bench *bench, uint16_t id, bool is_first);
/* The process ends; what was not synced is lost. Others are told that the link is down. */
void bench_kill(struct bench *bench, uint16_t id);
void bench_sync(struct bench *bench, uint16_t id);
enum error bench_step(struct bench *bench, uint16_t id, const struct replica_event *event);
enum error bench_propose(struct bench *bench, uint16_t id, uint64_t count);

/* Delivers what is under way. */
void bench_settle(struct bench *bench);
/* Lets time pass in steps of 10 ms, with ticks. */
void bench_pass(struct bench *bench, uint64_t ms);

enum replica_role bench_role(const struct bench *bench, uint16_t id);
uint64_t bench_last(const struct bench *bench, uint16_t id);
/* The one master, 0 if there is none or several. */
uint16_t bench_master(const struct bench *bench);

#endif
