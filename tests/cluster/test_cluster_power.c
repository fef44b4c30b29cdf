/* SPDX-License-Identifier: MIT */
/* Servers lose power under load, and with it changes that they have not synced. Each acknowledged change
 * is there once and in order. Each server starts, and its log and its database agree. Without a loss the
 * same library counts the writes and the syncs of a batch.
 *
 * JACKDAW_TEST_SEED: the seed; JACKDAW_TEST_ROUNDS: losses of power of the single server. */
#include "batch/batch.h"
#include "harness/cluster_fixture.h"
#include "harness/power_loss.h"
#include "segment_log/segment_log.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 50
#define ROUNDS_MAX 300 /* PROCESS_GROUP_PROCESSES_MAX allows no more */
#define CLUSTER_ROUNDS 6
#define COUNTED_LINES 300
#define FEW_LINES_MAX 600   /* between two losses */
#define MANY_LINES_MAX 6000 /* so many that the log is pruned between two losses */
#define MANY_EVERY 6        /* losses, on average */

/* Segments change, the database is synced, and the log is pruned many times in a round. */
static const char *const options[] = {"--log_segment_bytes=65536", "--replay_bytes=65536",
                                      "--log_keep=1000", NULL};

static struct power powers[CLUSTER_SERVERS_MAX];
static struct power_counts counts;
static uint64_t sequence;

static uint64_t number_in(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

static void begin_with(struct cluster_fixture *fixture, size_t servers, const char *const *with)
{
    if (TEST_POWER[0] == '\0')
        CLUSTER_FIXTURE_SKIP(fixture, "sanitizers must be loaded first: skipped\n");
    sequence = number_in("JACKDAW_TEST_SEED", (uint64_t)time(NULL));
    print_message("JACKDAW_TEST_SEED=%llu\n", (unsigned long long)sequence);
    process_group_note(fixture->group, "seed %llu", (unsigned long long)sequence);
    counts = (struct power_counts){0};
    for (size_t i = 0; i < servers; i++) {
        (void)cluster_add(&fixture->cluster, with);
        power_attach(&powers[i], &fixture->cluster.servers[i], TEST_POWER, power_random(&sequence));
        cluster_run(&fixture->cluster, i);
    }
    cluster_wait_in_sync(&fixture->cluster, (1u << servers) - 1);
}

static void begin(struct cluster_fixture *fixture, size_t servers)
{
    fixture->pool.is_unpaced = true;
    begin_with(fixture, servers, options);
    client_pool_open(&fixture->pool, &fixture->cluster, 3, 2);
}

static void go_on(struct cluster_fixture *fixture)
{
    bool is_long = power_random(&sequence) % MANY_EVERY == 0;
    uint64_t max = is_long ? MANY_LINES_MAX : FEW_LINES_MAX;
    client_pool_go_on(&fixture->pool, 1 + power_random(&sequence) % max);
}

static void lose(struct cluster_fixture *fixture, unsigned group)
{
    cluster_kill(&fixture->cluster, group);
    for (size_t i = 0; i < fixture->cluster.count; i++)
        if ((group & 1u << i) != 0)
            power_lose(&powers[i], &counts);
}

/* A damaged server would be repaired by the others, and the clients would notice nothing. */
static void wait_whole(struct cluster_fixture *fixture, size_t i)
{
    cluster_wait_ready(&fixture->cluster, i);
    if (cluster_logged(&fixture->cluster, i, "data_damaged"))
        process_group_fail(fixture->group, "server %zu found its data damaged", i + 1);
}

static void start(struct cluster_fixture *fixture, unsigned group)
{
    for (size_t i = 0; i < fixture->cluster.count; i++)
        if ((group & 1u << i) != 0)
            cluster_launch(&fixture->cluster, i);
    for (size_t i = 0; i < fixture->cluster.count; i++)
        if ((group & 1u << i) != 0)
            wait_whole(fixture, i);
}

/* ---- log and database ---- */

static enum error keep_end(void *context, const struct segment_log_item *item)
{
    if (item->kind == SEGMENT_LOG_ITEM_ENTRY)
        *(struct segment_log_end *)context = item->end;
    return OK;
}

static void read_database_end(const char *path, struct segment_log_end *end)
{
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open_v2(path, &database, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database, "SELECT epoch, seq, bytes, digest FROM log_end",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    end->position.epoch = (uint64_t)sqlite3_column_int64(statement, 0);
    end->position.seq = (uint64_t)sqlite3_column_int64(statement, 1);
    end->bytes = (uint64_t)sqlite3_column_int64(statement, 2);
    assert_int_equal(sqlite3_column_bytes(statement, 3), LOG_DIGEST_BYTES);
    memcpy(end->digest, sqlite3_column_blob(statement, 3), LOG_DIGEST_BYTES);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(database);
}

/* After a stop, the database shows the whole log. */
static void check_log(struct cluster_fixture *fixture, const char *folder)
{
    struct segment_log_end log = {0};
    struct segment_log_end database = {0};
    struct error_text why = {0};
    char path[PROCESS_GROUP_PATH_SIZE + 16];
    if (segment_log_inspect(folder, batch_chain, keep_end, &log, &why) != OK)
        process_group_fail(fixture->group, "the log in %s: %s", folder, why.text);
    (void)snprintf(path, sizeof path, "%s/jackdaw.db", folder);
    read_database_end(path, &database);
    assert_int_equal(database.position.epoch, log.position.epoch);
    assert_int_equal(database.position.seq, log.position.seq);
    assert_int_equal(database.bytes, log.bytes);
    assert_memory_equal(database.digest, log.digest, LOG_DIGEST_BYTES);
}

/* So few losses of power that there may be no torn write. */
static void finish_few(struct cluster_fixture *fixture)
{
    cluster_fixture_finish(fixture);
    for (size_t i = 0; i < fixture->cluster.count; i++)
        check_log(fixture, powers[i].root);
    print_message("writes: %u kept, %u lost, %u torn; names: %u kept, %u lost\n", counts.kept,
                  counts.lost, counts.torn, counts.names_kept, counts.names_lost);
}

static void finish(struct cluster_fixture *fixture)
{
    finish_few(fixture);
    assert_true(counts.lost > 0 && counts.torn > 0);
}

/* ---- tests ---- */

/* The next process must sync what it takes over from a killed one: the power may fail at once. */
static void kill_only(struct cluster_fixture *fixture)
{
    cluster_kill(&fixture->cluster, 1);
    power_keep(&powers[0]);
    start(fixture, 1);
    client_pool_go_on(&fixture->pool, 1);
}

static void begin_one(struct cluster_fixture *fixture)
{
    begin(fixture, 1);
}

CLUSTER_TEST_ON(test_power__of_one_server_again_and_again, begin_one, finish)
{
    uint64_t rounds = number_in("JACKDAW_TEST_ROUNDS", ROUNDS);
    for (uint64_t i = 0; i < rounds && i < ROUNDS_MAX; i++) {
        go_on(fixture);
        if (i % 2 == 1)
            kill_only(fixture);
        lose(fixture, 1);
        start(fixture, 1);
    }
}

/* ---- promises ---- */

#define NODE_SLOTS 2
#define NODE_SLOT_BYTES 4096
#define PROMISE_ROUNDS 4

static uint64_t number_at(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

/* The promise in the file of the node (src/store/node_file.c): that of the newer slot. */
static uint64_t promise_of(const struct power *power)
{
    char path[PROCESS_GROUP_PATH_SIZE + 16];
    uint8_t bytes[NODE_SLOTS * NODE_SLOT_BYTES];
    uint64_t generation = 0;
    uint64_t promised = 0;
    (void)snprintf(path, sizeof path, "%s/node", power->root);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof bytes, file), sizeof bytes);
    assert_int_equal(fclose(file), 0);
    for (size_t i = 0; i < NODE_SLOTS; i++) {
        const uint8_t *slot = bytes + i * NODE_SLOT_BYTES;
        if (number_at(slot + 16) < generation)
            continue;
        generation = number_at(slot + 16);
        promised = number_at(slot + 32);
    }
    return promised;
}

static uint64_t epoch_of(struct cluster_fixture *fixture, size_t i)
{
    Jackdaw__StatusReply *reply = cluster_ask(&fixture->cluster, i);
    if (reply == NULL)
        process_group_fail(fixture->group, "server %zu does not tell its epoch", i + 1);
    uint64_t epoch = reply->epoch;
    jackdaw__status_reply__free_unpacked(reply, NULL);
    return epoch;
}

static void begin_three(struct cluster_fixture *fixture)
{
    begin(fixture, SERVERS);
}

CLUSTER_TEST_ON(test_power__of_all_servers_then_of_each, begin_three, finish)
{
    struct cluster *cluster = &fixture->cluster;
    for (unsigned round = 0; round < CLUSTER_ROUNDS; round++) {
        go_on(fixture);
        lose(fixture, ALL_SERVERS);
        start(fixture, ALL_SERVERS);
        cluster_wait_in_sync(cluster, ALL_SERVERS);
    }
    for (size_t i = 0; i < SERVERS; i++) {
        go_on(fixture);
        lose(fixture, 1u << i);
        go_on(fixture);
        start(fixture, 1u << i);
        cluster_wait_in_sync(cluster, ALL_SERVERS);
    }
}

/* Two servers have promised the epoch of the master that they made. A loss of power takes no promise back. */
CLUSTER_TEST_ON(test_power__after_a_promise, begin_three, finish_few)
{
    struct cluster *cluster = &fixture->cluster;
    for (unsigned round = 0; round < PROMISE_ROUNDS; round++) {
        client_pool_settle(&fixture->pool); /* trials of requests in doubt take their time */
        size_t first = cluster_master(cluster, ALL_SERVERS);
        unsigned others = ALL_SERVERS & ~(1u << first);
        cluster_kill(cluster, 1u << first);
        uint64_t epoch = epoch_of(fixture, cluster_master(cluster, others));
        lose(fixture, others);
        for (size_t i = 0; i < SERVERS; i++)
            if (i != first)
                assert_true(promise_of(&powers[i]) >= epoch);
        power_keep(&powers[first]);
        start(fixture, ALL_SERVERS);
        cluster_wait_in_sync(cluster, ALL_SERVERS);
        client_pool_go_on(&fixture->pool, A_LITTLE);
    }
}

/* ---- the cost of a batch ---- */

static void begin_counting(struct cluster_fixture *fixture)
{
    begin_with(fixture, SERVERS, NULL);
}

static enum error count_entry(void *context, const struct segment_log_item *item)
{
    *(unsigned *)context += item->kind == SEGMENT_LOG_ITEM_ENTRY;
    return OK;
}

/* Each line is acknowledged before the next one, so a batch has one line at most. */
static void check_work(struct cluster_fixture *fixture, size_t i)
{
    struct power_work work = {0};
    struct error_text why = {0};
    unsigned entries = 0;
    assert_int_equal(segment_log_inspect(powers[i].root, batch_chain, count_entry, &entries, &why),
                     OK);
    power_count_work(&powers[i], SEGMENT_LOG_FOLDER, &work);
    print_message("server %zu: %u entries, %u writes, %u syncs\n", i + 1, entries, work.writes,
                  work.syncs);
    if (work.syncs != work.writes || work.writes < COUNTED_LINES || work.writes > entries)
        process_group_fail(fixture->group,
                           "server %zu: %u entries with %u lines cost %u writes and %u syncs",
                           i + 1, entries, COUNTED_LINES, work.writes, work.syncs);
}

static void stop_and_check_work(struct cluster_fixture *fixture)
{
    cluster_stop_all(&fixture->cluster);
    for (size_t i = 0; i < SERVERS; i++)
        check_work(fixture, i);
}

CLUSTER_TEST_ON(test_power__a_batch_is_one_write_and_one_sync, begin_counting, stop_and_check_work)
{
    struct json_client *ann = json_client_visit(fixture->group, fixture->cluster.servers[0].clients,
                                                "ann", CLIENT_POOL_ROOM);
    for (unsigned i = 0; i < COUNTED_LINES; i++) {
        json_client_say(ann, "line %u", i);
        PROCESS_GROUP_WAIT(fixture->group, json_client_sent(ann) == i + 1);
    }
    assert_int_equal(json_client_leave(ann), 0);
}
