/* SPDX-License-Identifier: MIT */
/* Three servers of which one has a disk that is full, or hangs: as master it is replaced, as slave
 * it is not waited for, and when the disk is well again it follows, without being asked to. */
#include "harness/client_pool.h"
#include "harness/small_disk.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SERVERS 3
#define ALL_SERVERS 7u
#define OTHERS 6u /* than the unhealthy one, which is the first */
#define A_LITTLE 50
#define DISK_MEGABYTES 32

struct fixture {
    struct process_group *group;
    const char *disk;
    struct cluster cluster;
    struct pool pool;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->group = process_group_open();
    cluster_init(&fixture->cluster, fixture->group, NULL);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    client_pool_free(&fixture->pool);
    if (fixture->disk != NULL && (cluster_running(&fixture->cluster) & 1u) != 0)
        cluster_kill(&fixture->cluster, 1u);
    small_disk_unmount(fixture->disk);
    process_group_close(fixture->group);
    free(fixture);
    return 0;
}

/* The first server, on its disk or under its tracer, and two well ones. */
static void begin(struct fixture *fixture, const char *injection)
{
    struct cluster *cluster = &fixture->cluster;
    for (size_t i = 0; i < SERVERS; i++) {
        (void)cluster_add(cluster, NULL);
        if (i == 0)
            cluster->servers[i].data_dir = fixture->disk;
        if (i == 0)
            node_inject(&cluster->servers[i], injection);
        cluster_run(cluster, i);
    }
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    assert_int_equal(cluster_master(cluster, ALL_SERVERS), 0);
    client_pool_open(&fixture->pool, cluster, 2, 2);
}

static void finish(struct fixture *fixture)
{
    client_pool_finish(&fixture->pool, CHECK_ALL);
    cluster_stop_all(&fixture->cluster);
    process_group_pass(fixture->group);
}

/* The others go on without the first; one of them is the master. */
static size_t others_go_on(struct fixture *fixture)
{
    cluster_wait_in_sync(&fixture->cluster, OTHERS);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    return cluster_master(&fixture->cluster, OTHERS);
}

static void test_disk__full_on_the_master_and_then_on_the_slave(void **state)
{
    struct fixture *fixture = *state;
    struct pool *pool = &fixture->pool;
    fixture->disk = small_disk_mount(fixture->group, DISK_MEGABYTES);
    if (fixture->disk == NULL) {
        print_message("cannot mount a small disk (%s): skipped\n", strerror(errno));
        process_group_pass(fixture->group);
        skip();
    }
    begin(fixture, NULL);
    size_t master = 0;
    for (size_t round = 0; round < 2; round++) {
        client_pool_go_on(pool, A_LITTLE);
        small_disk_fill(fixture->group, fixture->disk);
        size_t new = others_go_on(fixture);
        assert_true(round == 0 || new == master); /* an unhealthy slave changes nothing */
        master = new;
        small_disk_make_room(fixture->group, fixture->disk);
        cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
        assert_int_equal(cluster_master(&fixture->cluster, ALL_SERVERS), master);
    }
    finish(fixture);
}

/* One sync takes far longer than anybody waits. */
static void test_disk__of_the_master_hangs(void **state)
{
    struct fixture *fixture = *state;
    if (!node_can_inject(fixture->group)) {
        print_message("strace is not to be had here: skipped\n");
        process_group_pass(fixture->group);
        skip();
    }
    begin(fixture, "fdatasync:delay_enter=8000000:when=200");
    size_t master = others_go_on(fixture);
    cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
    assert_int_equal(cluster_master(&fixture->cluster, ALL_SERVERS), master);
    finish(fixture);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_disk__full_on_the_master_and_then_on_the_slave),
        TEST(test_disk__of_the_master_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
