/* SPDX-License-Identifier: MIT */
/* Three servers of which one loses its data folder, or finds its database damaged, while it runs: it
 * ends with a sentence, and the others go on with everything that was acknowledged. */
#include "harness/cluster_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <sqlite3.h>
#include <stdio.h>
#include <unistd.h>

static const char *folder_of(struct cluster_fixture *fixture, size_t i, const char *file)
{
    char name[64];
    (void)snprintf(name, sizeof name, "data/%zu%s", i + 1, file);
    return process_group_path(fixture->group, name);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_folder(struct cluster_fixture *fixture, size_t i)
{
    assert_int_equal(nftw(folder_of(fixture, i, ""), remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void move_folder(struct cluster_fixture *fixture, size_t i)
{
    char to[PROCESS_GROUP_PATH_SIZE];
    (void)snprintf(to, sizeof to, "%s", folder_of(fixture, i, "-away"));
    assert_int_equal(rename(folder_of(fixture, i, ""), to), 0);
}

/* The others go on, and the one that ends says why. */
static void expect_end(struct cluster_fixture *fixture, size_t i, const char *event,
                       const char *sentence)
{
    struct cluster *cluster = &fixture->cluster;
    CLIENT_POOL_WAIT(&fixture->pool, process_ended(cluster->servers[i].process));
    assert_true(cluster_logged(cluster, i, event));
    assert_true(cluster_logged(cluster, i, sentence));
    cluster_wait_in_sync(cluster, ALL_SERVERS & ~(1u << i));
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
}

/* The master's folder is removed under load; it comes back with an empty one. Then the new master's is
 * moved away, and it comes back with that. */
CLUSTER_TEST_ON(test_folder__goes_away_under_the_master, NULL, cluster_fixture_finish)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_fixture_begin(fixture, NULL, 2, 2);
    size_t first = cluster_master(cluster, ALL_SERVERS);
    remove_folder(fixture, first);
    expect_end(fixture, first, "data_folder_gone", "is gone; put the folder back");
    cluster->servers[first].role = "slave";
    cluster_run(cluster, first);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    size_t second = cluster_master(cluster, ALL_SERVERS);
    move_folder(fixture, second);
    expect_end(fixture, second, "data_folder_gone", "put the folder back and start");
    char from[PROCESS_GROUP_PATH_SIZE];
    (void)snprintf(from, sizeof from, "%s", folder_of(fixture, second, "-away"));
    assert_int_equal(rename(from, folder_of(fixture, second, "")), 0);
    cluster_run(cluster, second);
}

static void damage(struct cluster_fixture *fixture, size_t i)
{
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(folder_of(fixture, i, "/jackdaw.db"), &database), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(database, "UPDATE event SET room = room + 1 WHERE id = 3", NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_close(database), SQLITE_OK);
}

/* The scan beside the service finds it. */
CLUSTER_TEST_ON(test_database__is_damaged, NULL, cluster_fixture_finish)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_fixture_begin(fixture, NULL, 2, 2);
    size_t first = cluster_master(cluster, ALL_SERVERS);
    cluster_kill(cluster, 1u << first);
    damage(fixture, first);
    cluster_wait_in_sync(cluster, ALL_SERVERS & ~(1u << first));
    cluster_launch(cluster, first);
    expect_end(fixture, first, "database_damaged", "keep the data folder");
    move_folder(fixture, first);
    cluster->servers[first].role = "slave";
    cluster_run(cluster, first);
}

/* An entry that was durable is not what was written; later entries are. */
static void damage_log(struct cluster_fixture *fixture, size_t i)
{
    uint8_t byte;
    int log = open(folder_of(fixture, i, "/log/0000000000000001.log"), O_RDWR);
    assert_true(log >= 0);
    assert_int_equal(pread(log, &byte, 1, 700), 1);
    byte ^= 1;
    assert_int_equal(pwrite(log, &byte, 1, 700), 1);
    assert_int_equal(close(log), 0);
}

/* The start finds it, and the server copies what the others have. */
CLUSTER_TEST_ON(test_log__is_damaged, NULL, cluster_fixture_finish)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_fixture_begin(fixture, NULL, 2, 2);
    size_t first = cluster_master(cluster, ALL_SERVERS);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    cluster_kill(cluster, 1u << first);
    damage_log(fixture, first);
    cluster_wait_in_sync(cluster, ALL_SERVERS & ~(1u << first));
    cluster_run(cluster, first);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    assert_true(cluster_logged(cluster, first, "data_damaged"));
    assert_true(cluster_logged(cluster, first, "data_set_aside"));
    assert_int_equal(access(folder_of(fixture, first, "/damaged-1/jackdaw.db"), F_OK), 0);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
}

/* It ends before it has copied anything: at its next start it still joins the others. */
CLUSTER_TEST_ON(test_log__is_damaged_and_the_others_are_away, NULL, cluster_fixture_finish)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_fixture_begin(fixture, NULL, 2, 2);
    size_t first = cluster_master(cluster, ALL_SERVERS);
    cluster_kill(cluster, ALL_SERVERS);
    damage_log(fixture, first);
    static const char *const seen[] = {"data_set_aside", "repair_resumed"};
    for (int turn = 0; turn < 2; turn++) {
        cluster_launch(cluster, first);
        PROCESS_GROUP_WAIT(fixture->group, cluster_logged(cluster, first, seen[turn]) &&
                                               cluster_logged(cluster, first, "role=looking"));
        cluster_kill(cluster, 1u << first);
    }
    for (size_t i = 0; i < SERVERS; i++)
        cluster_launch(cluster, i);
    PROCESS_GROUP_WAIT(fixture->group, cluster_logged(cluster, first, "role=joining"));
    cluster_kill(cluster, 1u << first); /* it knows its cluster now, and may have copied nothing */
    cluster_launch(cluster, first);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
}

/* No other server has the data: this one changes nothing, and says why it ends. */
CLUSTER_TEST_ON(test_log__is_damaged_alone, NULL, NULL)
{
    struct cluster *cluster = &fixture->cluster;
    (void)cluster_add(cluster, NULL);
    cluster_run(cluster, 0);
    client_pool_open(&fixture->pool, cluster, 2, 2);
    client_pool_go_on(&fixture->pool, A_LITTLE);
    cluster_kill(cluster, 1u);
    damage_log(fixture, 0);
    cluster_launch(cluster, 0);
    PROCESS_GROUP_WAIT(fixture->group, process_ended(cluster->servers[0].process));
    assert_true(cluster_logged(cluster, 0, "keep the data folder"));
    assert_int_equal(access(folder_of(fixture, 0, "/damaged-1"), F_OK), -1);
}
