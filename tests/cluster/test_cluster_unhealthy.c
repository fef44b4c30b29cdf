/* SPDX-License-Identifier: MIT */
/* Three servers of which one has a disk that is full, or hangs: as master it is replaced, as slave
 * it is not waited for, and when the disk is well again it follows, without being asked to. */
#include "harness/cluster_fixture.h"
#include "harness/small_disk.h"

#include <errno.h>
#include <string.h>

#define OTHERS 6u /* than the unhealthy one, which is the first */
#define DISK_MEGABYTES 32

/* The first server, on its disk or under its tracer, and two well ones. */
static void begin(struct cluster_fixture *fixture, const char *disk, const char *injection)
{
    struct cluster *cluster = &fixture->cluster;
    for (size_t i = 0; i < SERVERS; i++) {
        (void)cluster_add(cluster, NULL);
        if (i == 0)
            cluster->servers[i].data_dir = disk;
        if (i == 0)
            cluster->servers[i].options[0] = "--log_segment_bytes=65536"; /* soon full */
        if (i == 0)
            node_inject(&cluster->servers[i], injection);
        cluster_run(cluster, i);
    }
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    assert_int_equal(cluster_master(cluster, ALL_SERVERS), 0);
    client_pool_open(&fixture->pool, cluster, 2, 2);
}

/* The others go on without the first; one of them is the master. */
static size_t others_go_on(struct cluster_fixture *fixture)
{
    cluster_wait_in_sync(&fixture->cluster, OTHERS);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    return cluster_master(&fixture->cluster, OTHERS);
}

CLUSTER_TEST_ON(test_disk__full_on_the_master_and_then_on_the_slave, NULL, cluster_fixture_finish)
{
    struct pool *pool = &fixture->pool;
    const char *disk = small_disk_mount(fixture->group, DISK_MEGABYTES);
    if (disk == NULL)
        CLUSTER_FIXTURE_SKIP(fixture, "cannot mount a small disk (%s): skipped\n", strerror(errno));
    begin(fixture, disk, NULL);
    size_t master = 0;
    for (size_t round = 0; round < 2; round++) {
        client_pool_go_on(pool, A_LITTLE);
        small_disk_fill(fixture->group, disk);
        size_t new = others_go_on(fixture);
        assert_true(round == 0 || new == master); /* an unhealthy slave changes nothing */
        master = new;
        small_disk_make_room(fixture->group, disk);
        cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
        assert_int_equal(cluster_master(&fixture->cluster, ALL_SERVERS), master);
    }
}

/* One sync takes far longer than anybody waits. */
CLUSTER_TEST_ON(test_disk__of_the_master_hangs, NULL, cluster_fixture_finish)
{
    if (!node_can_inject(fixture->group))
        CLUSTER_FIXTURE_SKIP(fixture, "strace is not to be had here: skipped\n");
    begin(fixture, NULL, "fdatasync:delay_enter=8000000:when=200");
    size_t master = others_go_on(fixture);
    cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
    assert_int_equal(cluster_master(&fixture->cluster, ALL_SERVERS), master);
}
