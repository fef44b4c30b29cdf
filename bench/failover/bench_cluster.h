/* SPDX-License-Identifier: MIT */
/* bench_cluster.h - three real servers that make a cluster, what is done to them, and what they say of
 * themselves (Operator.Status, asked again and again without waiting). One thread. */
#ifndef JACKDAW_BENCH_BENCH_CLUSTER_H
#define JACKDAW_BENCH_BENCH_CLUSTER_H

#include "base/error.h"
#include "base/task_queue.h"
#include "harness/cluster.h"
#include "rpc/channel.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_CLUSTER_SERVERS 3

/* The last report of a server. */
struct bench_cluster_view {
    uint64_t at_ms; /* when it was asked for that; 0: it said nothing yet */
    bool is_master;
    uint32_t master; /* whom it follows, or itself; 0: nobody */
    uint64_t epoch;
    uint64_t last;    /* seq applied */
    uint64_t orphans; /* deltas that a new master has not taken over */
    size_t members;
    size_t in_sync; /* of them, also reachable from there */
};

struct bench_cluster;

struct bench_cluster_server {
    struct rpc_result result; /* first: what the closure of Status gets */
    struct bench_cluster *cluster;
    bool is_up;          /* started, and not killed since */
    int32_t *disk_hangs; /* mapped by the server's shim, too; NULL: there is none */
    const char *disk_path;
    struct rpc_channel *channel;
    bool asking;
    uint64_t asked_ms;
    struct bench_cluster_view view;
};

struct bench_cluster_options {
    const char *program;
    const char *folder;       /* exists; a folder for data and logs is made in it */
    const char *const *extra; /* options for all servers, NULL-terminated */
    const char *hung_disk;    /* the shim of tests/harness, or NULL: disks do not hang */
    struct netns *netns;      /* a place for each server; NULL: all on the loopback */
    uint16_t first_port;      /* six from here on are free; 0: the kernel picks */
};

struct bench_cluster {
    struct bench_cluster_options options;
    struct process_group *group;
    struct cluster cluster;
    struct bench_cluster_server servers[BENCH_CLUSTER_SERVERS];
    struct task_queue *queue;
    bool failed; /* bench_cluster_close prints the ends of all logs and keeps the folder */
};

/* Starts a master and two slaves and waits until each is ready. options: strings are borrowed as
 * long as the cluster is. *cluster: ended with bench_cluster_close, also after an error. A server that does not
 * start ends the program. */
enum error bench_cluster_open(struct bench_cluster *cluster,
                              const struct bench_cluster_options *options, struct error_text *why);
/* keep: the folder with data and logs stays. False: a server did not end well. */
bool bench_cluster_close(struct bench_cluster *cluster, bool keep);

/* i: the index of a server, from 0. */
void bench_cluster_kill(struct bench_cluster *cluster, size_t i);
/* Again, with its data and its addresses; without waiting. */
void bench_cluster_restart(struct bench_cluster *cluster, size_t i);
void bench_cluster_hang_disk(struct bench_cluster *cluster, size_t i, bool hang);

/* Reads answers and asks again what is due. Returns when to call it again, in us of the monotonic
 * clock, if nothing is to be read before. */
uint64_t bench_cluster_process(struct bench_cluster *cluster);
int bench_cluster_descriptor(const struct bench_cluster *cluster);

/* The server that all who answered since then follow, or BENCH_CLUSTER_SERVERS: they do not agree. */
size_t bench_cluster_master(const struct bench_cluster *cluster, uint64_t since_ms);

/* Whether all three, asked since then, follow one master, which has all three in sync, and nothing
 * waits to be taken over. */
bool bench_cluster_is_healed(const struct bench_cluster *cluster, uint64_t since_ms);

/* Whether a server ended that nobody killed: 0 to 2, or BENCH_CLUSTER_SERVERS. */
size_t bench_cluster_find_dead(struct bench_cluster *cluster);

/* The last report of each server, for a message. */
void bench_cluster_describe(const struct bench_cluster *cluster, char *text, size_t size);

#endif
