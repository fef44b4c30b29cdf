/* SPDX-License-Identifier: MIT */
/* cluster_fixture.h - what a test of real servers works with: programs, and either one server or a
 * cluster with clients that write and read all the time. One thread. */
#ifndef JACKDAW_TESTS_CLUSTER_FIXTURE_H
#define JACKDAW_TESTS_CLUSTER_FIXTURE_H

#include "harness/client_pool.h"
#include "support/test.h"

#define SERVERS 3 /* of most clusters, and all of them as a group */
#define ALL_SERVERS 7u
#define A_LITTLE 50 /* acknowledged lines */

struct cluster_fixture {
    struct process_group *group;
    struct netns *netns; /* NULL: every program runs in the test's own network */
    struct cluster cluster;
    struct pool pool;
    struct node node; /* of a test with one server: id 1, a master, not started */
    struct json_client *ann, *bob, *cat;
    unsigned said; /* lines that they typed */
};

/* cmocka's setup and teardown. Nothing is started yet. */
int cluster_fixture_setup(void **state);
int cluster_fixture_teardown(void **state);

/* A network of its own for server i at place i, with `places` places. Before any server is added.
 * Fails the test where the system does not allow it: see netns_is_possible. */
void cluster_fixture_use_netns(struct cluster_fixture *fixture, size_t locations);

/* Starts SERVERS servers with the same options (NULL: none), waits until all are in sync, and lets
 * the clients write A_LITTLE. */
void cluster_fixture_begin(struct cluster_fixture *fixture, const char *const *options,
                           size_t writers, size_t readers);

/* Waits until all running servers are in sync and each writer goes on, judges by the rules what the
 * clients saw, and stops all servers. The test has passed then. */
void cluster_fixture_finish(struct cluster_fixture *fixture, unsigned rules);

/* Stops the one server; the test has passed then. */
void cluster_fixture_stop(struct cluster_fixture *fixture);

/* A new account in the lobby, at the one server. */
struct json_client *cluster_fixture_visit(struct cluster_fixture *fixture, const char *name);

/* Leaves the test as skipped, for a reason. */
#define CLUSTER_FIXTURE_SKIP(fixture, ...)    \
    do {                                      \
        print_message(__VA_ARGS__);           \
        process_group_pass((fixture)->group); \
        skip();                               \
    } while (0)

/* The head of a test that works with a cluster_fixture. */
#define CLUSTER_TEST(name) TEST_WITH(name, cluster_fixture_setup, cluster_fixture_teardown)

#endif
