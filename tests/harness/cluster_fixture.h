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
    unsigned rules;   /* by which cluster_fixture_finish judges; CHECK_ALL at first */
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
 * clients saw, and stops all servers. */
void cluster_fixture_finish(struct cluster_fixture *fixture);

/* Stops the one server. */
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

/* Runs a test: begin (NULL: nothing), its body, and end (NULL: nothing). The test has passed then. */
void cluster_fixture_run(struct cluster_fixture *fixture,
                         void (*begin)(struct cluster_fixture *fixture),
                         void (*body)(struct cluster_fixture *fixture),
                         void (*end)(struct cluster_fixture *fixture));

/* The head of a test on `fixture` between begin and end: see cluster_fixture_run. */
#define CLUSTER_TEST_ON(name, begin, end)                            \
    static void name##_on(struct cluster_fixture *fixture);          \
    TEST_WITH(name, cluster_fixture_setup, cluster_fixture_teardown) \
    {                                                                \
        cluster_fixture_run(*state, begin, name##_on, end);          \
    }                                                                \
    static void name##_on(__attribute__((unused)) struct cluster_fixture *fixture)
#define CLUSTER_TEST(name) CLUSTER_TEST_ON(name, NULL, NULL)

#endif
