/* SPDX-License-Identifier: MIT */
/* cluster.h - several servers as processes of one cluster, and what they say of themselves.
 *
 * Server i of a test is servers[i] here, with id i + 1. The first start lets the kernel pick the
 * ports; every later one has the same arguments and the same ports. The first server is started
 * as `master`; each other as `slave`, with the internal addresses of those before it.
 *
 * Groups of servers are sets of bits: 1 << i. Asleep are those that SIGSTOP stopped: they are not
 * asked. Questions are asked by hand, at each server's own place, so they arrive whatever is cut.
 *
 * One thread. What does not happen in time fails the test, with what each server said last. */
#ifndef JACKDAW_TESTS_CLUSTER_H
#define JACKDAW_TESTS_CLUSTER_H

#include "harness/netns.h"
#include "harness/node.h"
#include "spec.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLUSTER_SERVERS_MAX 5
#define CLUSTER_PATIENCE_MS (60000 * PROCESS_GROUP_SLOWER)

struct cluster {
    struct process_group *group;
    struct netns *netns; /* server i is in place i of it; NULL: all are on this machine */
    size_t count;
    struct node servers[CLUSTER_SERVERS_MAX];
    bool asleep[CLUSTER_SERVERS_MAX];
    void (*meanwhile)(void *context); /* called again and again while something is waited for */
    void *context;
    char seeds[CLUSTER_SERVERS_MAX][CLUSTER_SERVERS_MAX * ADDRESS_TEXT_SIZE + 32];
};

/* Both are borrowed; netns may be NULL. No server yet. */
void cluster_init(struct cluster *cluster, struct process_group *group, struct netns *netns);

/* One more server, not started; returns its index. options: beyond the usual ones, ends with NULL
 * (NULL: none); borrowed. */
size_t cluster_add(struct cluster *cluster, const char *const *options);

/* Adds count servers with the same options, starts them, and waits until all are in sync. */
void cluster_start(struct cluster *cluster, size_t count, const char *const *options);

/* Starts server i, without waiting; or until it is ready. */
void cluster_launch(struct cluster *cluster, size_t i);
void cluster_run(struct cluster *cluster, size_t i);
/* After cluster_launch: waits until it listens where others reach it, or is ready. */
void cluster_wait_listening(struct cluster *cluster, size_t i);
void cluster_wait_ready(struct cluster *cluster, size_t i);

/* kill -9 of all of a group; the signals go out together, then the ends are waited for. */
void cluster_kill(struct cluster *cluster, unsigned group);
/* SIGTERM; fails the test unless the server ends well. */
void cluster_stop(struct cluster *cluster, size_t i);
void cluster_stop_all(struct cluster *cluster);
/* SIGSTOP, SIGCONT. */
void cluster_sleep(struct cluster *cluster, size_t i);
void cluster_awake(struct cluster *cluster, size_t i);

/* Programs that this thread starts, and sockets that it opens, are where server i is; and again
 * where the test is. */
void cluster_enter(struct cluster *cluster, size_t i);
void cluster_return(struct cluster *cluster);

/* Servers whose processes are there and not asleep. */
unsigned cluster_running(const struct cluster *cluster);

/* What server i says: the caller frees it by jackdaw__status_reply__free_unpacked. NULL: it does
 * not run, or does not answer. */
Jackdaw__StatusReply *cluster_ask(struct cluster *cluster, size_t i);

/* What `server` says of member id; NULL: nothing. */
const Jackdaw__StatusReply__Member *cluster_member(const Jackdaw__StatusReply *reply, uint32_t id);

/* Whether all of a group follow one and the same master out of the group. */
bool cluster_agrees(struct cluster *cluster, unsigned group);
/* Whether, moreover, all of them are in sync, and nobody else is. */
bool cluster_in_sync(struct cluster *cluster, unsigned group);

/* Wait for that. cluster_master returns the index of that master. */
size_t cluster_master(struct cluster *cluster, unsigned group);
void cluster_wait_in_sync(struct cluster *cluster, unsigned group);

/* Whether server i logged text since its last start. */
bool cluster_logged(const struct cluster *cluster, size_t i, const char *text);

/* Waits until all that run have the same last position, all of it committed, and nothing is left
 * to be taken over; then compares what is in their databases: the digest of the log, and all
 * accounts, sessions, rooms, members and events. */
void cluster_assert_equal(struct cluster *cluster);

#endif
