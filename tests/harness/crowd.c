/* SPDX-License-Identifier: MIT */
#include "harness/crowd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LINES_PER_SECOND 400 /* of each writer */
#define AHEAD_LINES 200      /* typed and not acknowledged */
#define PRIVATE_EVERY 16
#define QUIET_MS 40000 /* nothing comes any more: a lost page is noticed by the second heartbeat */
#define HISTORY_PAGE 200

/* ---- coming ---- */

/* All servers, this one first. */
static struct json_client *start_client(struct cluster *cluster, size_t place, const char *name)
{
    struct json_client_options options = {.label = name};
    for (size_t i = 0; i < cluster->count; i++)
        options.addresses[i] = cluster->servers[(place + i) % cluster->count].clients;
    cluster_enter(cluster, place);
    struct json_client *client = json_client_start(cluster->stage, &options);
    cluster_return(cluster);
    return client;
}

static struct json_client *visit(struct cluster *cluster, size_t place, const char *name)
{
    struct json_client *client = start_client(cluster, place, name);
    (void)json_client_command(client, "/register %s secret", name);
    (void)json_client_command(client, "/join %s", CROWD_ROOM);
    return client;
}

static void feed(void *context)
{
    (void)crowd_feed(context);
}

static void begin(struct crowd *crowd, struct cluster *cluster)
{
    if (crowd->cluster != NULL)
        return;
    cluster->meanwhile = feed;
    cluster->context = crowd;
    *crowd = (struct crowd){.cluster = cluster, .started_ms = stage_now_ms()};
}

void crowd_add_writer(struct crowd *crowd, struct cluster *cluster, size_t place)
{
    char name[32];
    begin(crowd, cluster);
    assert_true(crowd->writer_count < CROWD_CLIENTS_MAX);
    (void)snprintf(name, sizeof name, "writer%zu", crowd->writer_count);
    crowd->writers[crowd->writer_count] = visit(cluster, place, name);
    crowd->writer_count++;
}

void crowd_add_reader(struct crowd *crowd, struct cluster *cluster, size_t place)
{
    char name[32];
    begin(crowd, cluster);
    assert_true(crowd->reader_count < CROWD_CLIENTS_MAX);
    (void)snprintf(name, sizeof name, "reader%zu", crowd->reader_count);
    crowd->readers[crowd->reader_count] = visit(cluster, place, name);
    crowd->reader_count++;
}

void crowd_open(struct crowd *crowd, struct cluster *cluster, size_t writers, size_t readers)
{
    for (size_t i = 0; i < writers; i++)
        crowd_add_writer(crowd, cluster, i % cluster->count);
    for (size_t i = 0; i < readers; i++)
        crowd_add_reader(crowd, cluster, (writers + i) % cluster->count);
    crowd->started_ms = stage_now_ms();
}

void crowd_free(struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->writer_count; i++)
        json_client_free(crowd->writers[i]);
    for (size_t i = 0; i < crowd->reader_count; i++)
        json_client_free(crowd->readers[i]);
    if (crowd->cluster != NULL)
        crowd->cluster->meanwhile = NULL;
    *crowd = (struct crowd){.cluster = NULL};
}

/* ---- load ---- */

static bool is_private(const struct crowd *crowd, unsigned line)
{
    return crowd->writer_count > 1 && line % PRIVATE_EVERY == PRIVATE_EVERY - 1;
}

static void type_next(struct crowd *crowd, size_t i)
{
    unsigned line = crowd->typed[i]++;
    if (is_private(crowd, line)) {
        char name[32];
        (void)snprintf(name, sizeof name, "writer%zu", (i + 1) % crowd->writer_count);
        json_client_tell(crowd->writers[i], name, "private %u", line);
    } else {
        json_client_say(crowd->writers[i], "line %u", line);
    }
}

bool crowd_feed(struct crowd *crowd)
{
    uint64_t due = (stage_now_ms() - crowd->started_ms) * LINES_PER_SECOND / 1000u;
    for (size_t i = 0; i < crowd->writer_count; i++)
        while (!crowd->is_quiet && crowd->typed[i] < due &&
               crowd->typed[i] < crowd_sent(crowd, i) + AHEAD_LINES)
            type_next(crowd, i);
    return true;
}

size_t crowd_sent(const struct crowd *crowd, size_t writer)
{
    return json_client_sent(crowd->writers[writer]);
}

size_t crowd_acknowledged(const struct crowd *crowd)
{
    size_t count = 0;
    for (size_t i = 0; i < crowd->writer_count; i++)
        count += crowd_sent(crowd, i);
    return count;
}

bool crowd_is_stuck(const struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->writer_count; i++)
        if (crowd->typed[i] < crowd_sent(crowd, i) + AHEAD_LINES)
            return false;
    return true;
}

void crowd_go_on(struct crowd *crowd, size_t more)
{
    size_t until = crowd_acknowledged(crowd) + more;
    crowd->is_quiet = false;
    CROWD_WAIT(crowd, crowd_acknowledged(crowd) >= until);
}

void crowd_each_goes_on(struct crowd *crowd, size_t more)
{
    crowd->is_quiet = false;
    for (size_t i = 0; i < crowd->writer_count; i++) {
        size_t until = crowd_sent(crowd, i) + more;
        CROWD_WAIT(crowd, crowd_sent(crowd, i) >= until);
    }
}

/* ---- the end ---- */

static size_t typed_by_all(const struct crowd *crowd)
{
    size_t count = 0;
    for (size_t i = 0; i < crowd->writer_count; i++)
        count += crowd->typed[i];
    return count;
}

static size_t private_lines(const struct crowd *crowd, size_t writer)
{
    size_t count = 0;
    for (unsigned line = 0; line < crowd->typed[writer]; line++)
        count += is_private(crowd, line);
    return count;
}

static bool all_arrived(const struct crowd *crowd)
{
    size_t public = typed_by_all(crowd);
    for (size_t i = 0; i < crowd->writer_count; i++)
    public -= private_lines(crowd, i);
    for (size_t i = 0; i < crowd->reader_count; i++)
        if (json_client_messages(crowd->readers[i]) < public)
            return false;
    for (size_t i = 0; i < crowd->writer_count; i++) {
        size_t before = (i + crowd->writer_count - 1) % crowd->writer_count;
        /* What it wrote and what it got; a writer alone has nobody to write to. */
        size_t private = private_lines(crowd, i) + private_lines(crowd, before);
        if (json_client_messages(crowd->writers[i]) < public + private)
            return false;
    }
    return true;
}

void crowd_settle(struct crowd *crowd)
{
    crowd->is_quiet = true;
    size_t typed = typed_by_all(crowd);
    STAGE_SETTLE(crowd->cluster->stage, QUIET_MS,
                 crowd_acknowledged(crowd) == typed && all_arrived(crowd));
}

/* Somebody new, who reads it all from the oldest message on, asking this server first. */
static struct json_client *report_late(struct crowd *crowd, size_t place, struct checker *checker)
{
    char name[32];
    (void)snprintf(name, sizeof name, "late%zu", place);
    struct json_client *late = visit(crowd->cluster, place, name);
    struct checker_client *to = checker_add(checker, name, "the history");
    checker_was_in(to, CROWD_ROOM, 1, UINT64_MAX);
    json_client_report_history(late, HISTORY_PAGE, to);
    return late;
}

static void report_crowd(const struct crowd *crowd, struct checker *checker)
{
    for (size_t i = 0; i < crowd->writer_count; i++) {
        struct checker_client *writer = json_client_report(crowd->writers[i], checker);
        checker_was_in(writer, CROWD_ROOM, 1, UINT64_MAX);
        for (size_t j = 0; j < crowd->writer_count; j++) {
            char name[32];
            (void)snprintf(name, sizeof name, "@writer%zu", j);
            if (j == (i + 1) % crowd->writer_count || i == (j + 1) % crowd->writer_count)
                checker_was_in(writer, name, 1, UINT64_MAX);
        }
    }
    for (size_t i = 0; i < crowd->reader_count; i++)
        checker_was_in(json_client_report(crowd->readers[i], checker), CROWD_ROOM, 1, UINT64_MAX);
}

static void leave(struct crowd *crowd)
{
    for (size_t i = 0; i < crowd->writer_count; i++) {
        assert_int_equal(json_client_failed(crowd->writers[i]), 0);
        assert_int_equal(json_client_leave(crowd->writers[i]), 0);
    }
    for (size_t i = 0; i < crowd->reader_count; i++)
        assert_int_equal(json_client_leave(crowd->readers[i]), 0);
}

void crowd_finish(struct crowd *crowd, unsigned rules)
{
    crowd_settle(crowd);
    struct checker *checker = checker_new();
    struct checker *history = checker_new();
    report_crowd(crowd, checker);
    struct json_client *late[CLUSTER_SERVERS_MAX] = {NULL};
    for (size_t i = 0; i < crowd->cluster->count; i++)
        if ((cluster_running(crowd->cluster) & 1u << i) != 0)
            late[i] = report_late(crowd, i, rules == CHECK_ALL ? checker : history);
    checker_verify(checker, rules);
    checker_verify(history, CHECK_ALL);
    assert_int_equal(checker_acknowledged(checker), typed_by_all(crowd));
    assert_true(all_arrived(crowd));
    checker_free(checker);
    checker_free(history);
    leave(crowd);
    for (size_t i = 0; i < CLUSTER_SERVERS_MAX; i++) {
        if (late[i] != NULL)
            assert_int_equal(json_client_leave(late[i]), 0);
        json_client_free(late[i]);
    }
    cluster_assert_equal(crowd->cluster);
}

/* ---- a fixture ---- */

int crowd_setup(void **state)
{
    struct crowd_fixture *fixture = calloc(1, sizeof *fixture);
    fixture->stage = stage_open();
    cluster_init(&fixture->cluster, fixture->stage, NULL);
    *state = fixture;
    return 0;
}

int crowd_teardown(void **state)
{
    struct crowd_fixture *fixture = *state;
    crowd_free(&fixture->crowd);
    stage_close(fixture->stage);
    free(fixture);
    return 0;
}
