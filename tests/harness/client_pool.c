/* SPDX-License-Identifier: MIT */
#include "harness/client_pool.h"

#include "support/test.h"

#include <stdio.h>

#define LINES_PER_SECOND 400    /* of each writer */
#define AHEAD_LINES 200         /* typed and not acknowledged; */
#define UNPACED_AHEAD_LINES 800 /* several times what a client has under way */
#define PRIVATE_EVERY 16
#define QUIET_MS 40000 /* nothing comes any more: a lost page is noticed by the second heartbeat */
#define HISTORY_PAGE 200

/* All servers, this one first. */
static struct json_client *start_client(struct cluster *cluster, size_t place, const char *name)
{
    struct json_client_options options = {.label = name};
    for (size_t i = 0; i < cluster->count; i++)
        options.addresses[i] = cluster->servers[(place + i) % cluster->count].clients;
    cluster_enter(cluster, place);
    struct json_client *client = json_client_start(cluster->group, &options);
    cluster_return(cluster);
    return client;
}

static struct json_client *visit(struct cluster *cluster, size_t place, const char *name)
{
    struct json_client *client = start_client(cluster, place, name);
    (void)json_client_command(client, "/register %s secret", name);
    (void)json_client_command(client, "/join %s", CLIENT_POOL_ROOM);
    return client;
}

static void feed(void *context)
{
    (void)client_pool_feed(context);
}

static void begin(struct pool *pool, struct cluster *cluster)
{
    if (pool->cluster != NULL)
        return;
    cluster->meanwhile = feed;
    cluster->context = pool;
    pool->cluster = cluster;
    pool->started_ms = process_group_now_ms();
}

static void add(struct pool *pool, struct cluster *cluster, size_t place, const char *what,
                struct json_client **clients, size_t *count)
{
    char name[32];
    begin(pool, cluster);
    assert_true(*count < CLIENT_POOL_CLIENTS_MAX);
    (void)snprintf(name, sizeof name, "%s%zu", what, *count);
    clients[*count] = visit(cluster, place, name);
    ++*count;
}

void client_pool_add_writer(struct pool *pool, struct cluster *cluster, size_t place)
{
    add(pool, cluster, place, "writer", pool->writers, &pool->writer_count);
}

void client_pool_add_reader(struct pool *pool, struct cluster *cluster, size_t place)
{
    add(pool, cluster, place, "reader", pool->readers, &pool->reader_count);
}

void client_pool_open(struct pool *pool, struct cluster *cluster, size_t writers, size_t readers)
{
    for (size_t i = 0; i < writers; i++)
        client_pool_add_writer(pool, cluster, i % cluster->count);
    for (size_t i = 0; i < readers; i++)
        client_pool_add_reader(pool, cluster, (writers + i) % cluster->count);
    pool->started_ms = process_group_now_ms();
}

static bool is_private(const struct pool *pool, unsigned line)
{
    return pool->writer_count > 1 && line % PRIVATE_EVERY == PRIVATE_EVERY - 1;
}

static void type_next(struct pool *pool, size_t i)
{
    unsigned line = pool->typed[i]++;
    if (is_private(pool, line)) {
        char name[32];
        (void)snprintf(name, sizeof name, "writer%zu", (i + 1) % pool->writer_count);
        json_client_tell(pool->writers[i], name, "private %u", line);
    } else {
        json_client_say(pool->writers[i], "line %u", line);
    }
}

static size_t ahead_lines(const struct pool *pool)
{
    return pool->is_unpaced ? UNPACED_AHEAD_LINES : AHEAD_LINES;
}

bool client_pool_feed(struct pool *pool)
{
    uint64_t due = pool->is_unpaced
                       ? UINT64_MAX
                       : (process_group_now_ms() - pool->started_ms) * LINES_PER_SECOND / 1000u;
    for (size_t i = 0; i < pool->writer_count; i++)
        while (!pool->is_quiet && pool->typed[i] < due &&
               pool->typed[i] < client_pool_sent(pool, i) + ahead_lines(pool))
            type_next(pool, i);
    return true;
}

size_t client_pool_sent(const struct pool *pool, size_t writer)
{
    return json_client_sent(pool->writers[writer]);
}

size_t client_pool_acknowledged(const struct pool *pool)
{
    size_t count = 0;
    for (size_t i = 0; i < pool->writer_count; i++)
        count += client_pool_sent(pool, i);
    return count;
}

bool client_pool_is_stuck(const struct pool *pool)
{
    for (size_t i = 0; i < pool->writer_count; i++)
        if (pool->typed[i] < client_pool_sent(pool, i) + ahead_lines(pool))
            return false;
    return true;
}

void client_pool_go_on(struct pool *pool, size_t more)
{
    size_t until = client_pool_acknowledged(pool) + more;
    pool->is_quiet = false;
    CLIENT_POOL_WAIT(pool, client_pool_acknowledged(pool) >= until);
}

void client_pool_each_goes_on(struct pool *pool, size_t more)
{
    pool->is_quiet = false;
    for (size_t i = 0; i < pool->writer_count; i++) {
        size_t until = client_pool_sent(pool, i) + more;
        CLIENT_POOL_WAIT(pool, client_pool_sent(pool, i) >= until);
    }
}

static size_t typed_by_all(const struct pool *pool)
{
    size_t count = 0;
    for (size_t i = 0; i < pool->writer_count; i++)
        count += pool->typed[i];
    return count;
}

static size_t private_lines(const struct pool *pool, size_t writer)
{
    size_t count = 0;
    for (unsigned line = 0; line < pool->typed[writer]; line++)
        count += is_private(pool, line);
    return count;
}

static bool all_arrived(const struct pool *pool)
{
    size_t public = typed_by_all(pool);
    for (size_t i = 0; i < pool->writer_count; i++)
    public -= private_lines(pool, i);
    for (size_t i = 0; i < pool->reader_count; i++)
        if (json_client_messages(pool->readers[i]) < public)
            return false;
    for (size_t i = 0; i < pool->writer_count; i++) {
        size_t before = (i + pool->writer_count - 1) % pool->writer_count;
        /* What it wrote and what it got; a writer alone has nobody to write to. */
        size_t private = private_lines(pool, i) + private_lines(pool, before);
        if (json_client_messages(pool->writers[i]) < public + private)
            return false;
    }
    return true;
}

void client_pool_settle(struct pool *pool)
{
    pool->is_quiet = true;
    size_t typed = typed_by_all(pool);
    PROCESS_GROUP_SETTLE(pool->cluster->group, QUIET_MS,
                         client_pool_acknowledged(pool) == typed && all_arrived(pool));
}

/* Somebody new, who reads it all from the oldest message on, asking this server first. */
static struct json_client *report_late(struct pool *pool, size_t place, struct checker *checker)
{
    char name[32];
    (void)snprintf(name, sizeof name, "late%zu", place);
    struct json_client *late = visit(pool->cluster, place, name);
    struct checker_client *to = checker_add(checker, name, "the history");
    checker_was_in(to, CLIENT_POOL_ROOM, 1, UINT64_MAX);
    json_client_report_history(late, HISTORY_PAGE, to);
    return late;
}

static void report_client_pool(const struct pool *pool, struct checker *checker)
{
    for (size_t i = 0; i < pool->writer_count; i++) {
        struct checker_client *writer = json_client_report(pool->writers[i], checker);
        checker_was_in(writer, CLIENT_POOL_ROOM, 1, UINT64_MAX);
        for (size_t j = 0; j < pool->writer_count; j++) {
            char name[32];
            (void)snprintf(name, sizeof name, "@writer%zu", j);
            if (j == (i + 1) % pool->writer_count || i == (j + 1) % pool->writer_count)
                checker_was_in(writer, name, 1, UINT64_MAX);
        }
    }
    for (size_t i = 0; i < pool->reader_count; i++)
        checker_was_in(json_client_report(pool->readers[i], checker), CLIENT_POOL_ROOM, 1,
                       UINT64_MAX);
}

static void leave(struct pool *pool)
{
    for (size_t i = 0; i < pool->writer_count; i++) {
        assert_int_equal(json_client_failed(pool->writers[i]), 0);
        assert_int_equal(json_client_leave(pool->writers[i]), 0);
        const json_t *stats = json_client_expect(pool->writers[i], 0, "{s:s}", "type", "stats");
        assert_int_equal(json_number(stats, "sent"), pool->typed[i]);
        assert_int_equal(json_number(stats, "failed"), 0);
    }
    for (size_t i = 0; i < pool->reader_count; i++)
        assert_int_equal(json_client_leave(pool->readers[i]), 0);
}

void client_pool_finish(struct pool *pool, unsigned rules)
{
    client_pool_settle(pool);
    struct checker *checker = checker_new();
    struct checker *history = checker_new();
    report_client_pool(pool, checker);
    struct json_client *late[CLUSTER_SERVERS_MAX] = {NULL};
    for (size_t i = 0; i < pool->cluster->count; i++)
        if ((cluster_running(pool->cluster) & 1u << i) != 0)
            late[i] = report_late(pool, i, rules == CHECK_ALL ? checker : history);
    checker_verify(checker, rules);
    checker_verify(history, CHECK_ALL);
    assert_int_equal(checker_acknowledged(checker), typed_by_all(pool));
    assert_true(all_arrived(pool));
    checker_free(checker);
    checker_free(history);
    leave(pool);
    for (size_t i = 0; i < CLUSTER_SERVERS_MAX; i++)
        if (late[i] != NULL)
            assert_int_equal(json_client_leave(late[i]), 0);
    cluster_assert_equal(pool->cluster);
}
