/* SPDX-License-Identifier: MIT */
#include "client_world.h"

#include "base/clock.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TURN_MS 5
#define PATIENCE_US 20000000

/* ---- what the client tells ---- */

static void on_event(void *context, const Jackdaw__Event *event)
{
    struct world *world = context;
    assert_true(world->event_count < WORLD_RECORDS_MAX);
    struct record *record = &world->events[world->event_count++];
    *record = (struct record){
        .session = event->session, .request = event->request, .number = event->number};
    (void)snprintf(record->text, sizeof record->text, "%s", event->text);
}

static void on_status(void *context, const char *server, const char *text)
{
    struct world *world = context;
    world->status_count++;
    world->connected = server != NULL;
    (void)snprintf(world->status, sizeof world->status, "%s", text);
    (void)snprintf(world->server, sizeof world->server, "%s", server == NULL ? "" : server);
}

static void on_session_ended(void *context, enum status status, const char *text)
{
    struct world *world = context;
    (void)status, (void)text;
    world->session_ends++;
}

static void on_result(void *context, const struct client_result *result)
{
    struct world *world = context;
    assert_true(world->result_count < WORLD_RECORDS_MAX);
    struct record *record = &world->results[world->result_count++];
    *record = (struct record){.call = result->call,
                              .status = result->status,
                              .session = result->session,
                              .request = result->request,
                              .attempts = result->attempts};
    (void)snprintf(record->text, sizeof record->text, "%s", result->text);
    (void)snprintf(record->error, sizeof record->error, "%s", result->error);
    if (result->call == CLIENT_SEND && result->reply.send != NULL)
        record->number = result->reply.send->number;
    if (world->on_result != NULL)
        world->on_result(world, result);
}

static void on_restored(void *context, const struct client_request *request, client_done **done,
                        void **done_context)
{
    struct world *world = context;
    (void)request;
    world->restored_count++;
    *done = on_result;
    *done_context = world;
}

static void on_state_failed(void *context, const char *text)
{
    struct world *world = context;
    world->state_failures++;
    (void)snprintf(world->status, sizeof world->status, "%s", text);
}

static const struct client_observer observer = {.event = on_event,
                                                .status = on_status,
                                                .restored = on_restored,
                                                .state_failed = on_state_failed,
                                                .session_ended = on_session_ended};

/* ---- time and chance ---- */

static uint64_t clock_us(void *source)
{
    struct world *world = source;
    return clock_monotonic_us() + world->ahead_us;
}

/* The same in every run. */
static void fill_random(void *source, void *bytes, size_t size)
{
    struct world *world = source;
    unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) {
        world->random = world->random * 1664525 + 1013904223;
        at[i] = (unsigned char)(world->random >> 24);
    }
}

uint64_t world_now_us(struct world *world)
{
    return clock_us(world);
}

void world_advance(struct world *world, uint32_t ms)
{
    world->ahead_us += (uint64_t)ms * 1000;
}

void world_check_patience(uint64_t *since, const char *what)
{
    uint64_t now_us = clock_monotonic_us();
    if (*since == 0)
        *since = now_us;
    if (now_us - *since > PATIENCE_US)
        fail_msg("waited in vain for: %s", what);
}

/* ---- driving ---- */

static bool turn(struct world *world)
{
    struct pollfd entries[2] = {
        {.fd = task_queue_descriptor(world->cluster.queue), .events = POLLIN},
        {.fd = world->client == NULL ? -1 : client_descriptor(world->client), .events = POLLIN},
    };
    int wait_ms = world->client == NULL ? TURN_MS : client_timeout_ms(world->client);
    bool due = wait_ms == 0;
    if (wait_ms < 0 || wait_ms > TURN_MS)
        wait_ms = TURN_MS;
    int ready = poll(entries, 2, wait_ms);
    fake_cluster_turn(&world->cluster, world->servers, WORLD_SERVERS);
    if (world->client != NULL)
        client_process(world->client);
    return ready > 0 || due;
}

void world_turn(struct world *world)
{
    (void)turn(world);
}

void world_settle(struct world *world)
{
    for (int quiet = 0; quiet < 8;)
        quiet = turn(world) ? 0 : quiet + 1;
}

struct world *world_new(size_t servers)
{
    struct world *world = calloc(1, sizeof *world);
    assert_non_null(world);
    world->results = calloc(WORLD_RECORDS_MAX, sizeof *world->results);
    world->events = calloc(WORLD_RECORDS_MAX, sizeof *world->events);
    assert_true(world->results != NULL && world->events != NULL);
    world->random = 7;
    fake_cluster_init(&world->cluster);
    for (size_t i = 0; i < servers; i++)
        fake_server_start(&world->servers[i], &world->cluster);
    world->servers[0].master = true;
    return world;
}

void world_free(struct world *world)
{
    client_free(world->client);
    for (size_t i = 0; i < WORLD_SERVERS; i++)
        fake_server_kill(&world->servers[i]);
    fake_cluster_release(&world->cluster);
    free(world->results);
    free(world->events);
    free(world);
}

static void make_client(struct world *world, struct client_options options)
{
    options.observer = &observer;
    options.context = world;
    options.clock_us = clock_us;
    options.random = fill_random;
    options.source = world;
    struct error_text why;
    assert_int_equal(client_new(&world->client, &options, &why), OK);
}

void world_connect(struct world *world, size_t known, const struct client_options *base)
{
    struct address addresses[WORLD_SERVERS];
    struct client_options options = {.addresses = addresses};
    if (base != NULL)
        options = *base;
    for (size_t i = 0; i < known; i++)
        addresses[i] = world->servers[i].address;
    options.addresses = addresses;
    options.address_count = known;
    make_client(world, options);
}

enum error world_connect_state(struct world *world, size_t known, const char *path)
{
    struct error_text why;
    world_connect(world, known, NULL);
    return client_restore(world->client, path, &why);
}

void world_connect_to(struct world *world, const struct address *addresses, size_t count)
{
    make_client(world, (struct client_options){.addresses = addresses, .address_count = count});
}

/* ---- doing ---- */

enum error world_ask(struct world *world, const struct client_request *request)
{
    struct error_text why;
    return client_ask(world->client, request, on_result, world, &why);
}

void world_send(struct world *world, const char *text)
{
    assert_int_equal(
        world_ask(world,
                  &(struct client_request){.call = CLIENT_SEND, .room = "lobby", .text = text}),
        OK);
}

void world_send_many(struct world *world, const char *prefix, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "%s%zu", prefix, i);
        world_send(world, text);
    }
}

void world_login(struct world *world)
{
    size_t before = world->result_count;
    assert_int_equal(world_ask(world, &(struct client_request){.call = CLIENT_LOGIN,
                                                               .name = "ann",
                                                               .password = "secret",
                                                               .manner = CLIENT_ACCOUNT_ENSURED}),
                     OK);
    WORLD_WAIT(world, world->result_count > before);
    assert_int_equal(world->results[before].status, STATUS_OK);
    world->result_count = before;
}

/* ---- checking ---- */

size_t world_count(const struct world *world, enum status status)
{
    size_t count = 0;
    for (size_t i = 0; i < world->result_count; i++)
        if (world->results[i].call == CLIENT_SEND && world->results[i].status == status)
            count++;
    return count;
}

void world_check_kept(const struct world *world, const char *prefix, size_t count)
{
    assert_int_equal(world->cluster.message_count, count);
    for (size_t i = 0; i < count; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "%s%zu", prefix, i);
        assert_string_equal(world->cluster.messages[i].text, text);
        assert_int_equal(world->cluster.messages[i].request, i + 1);
    }
}

void world_check_told(const struct world *world, const char *prefix, size_t count)
{
    assert_int_equal(world->event_count, count);
    for (size_t i = 0; i < count; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "%s%zu", prefix, i);
        assert_string_equal(world->events[i].text, text);
    }
}
