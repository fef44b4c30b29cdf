/* SPDX-License-Identifier: MIT */
#include "client_fixture.h"

#include "base/clock.h"
#include "support/idle.h"
#include "support/test.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURN_MS 5
#define SETTLE_MS 1
#define SETTLED_TURNS 3
#define AHEAD_US UINT64_C(86400000000)
#define PATIENCE_US 60000000

static void on_event(void *context, const Jackdaw__Event *event)
{
    struct client_fixture *fixture = context;
    assert_true(fixture->event_count < CLIENT_FIXTURE_RECORDS_MAX);
    struct record *record = &fixture->events[fixture->event_count++];
    *record = (struct record){
        .session = event->session, .request = event->request, .number = event->number};
    (void)snprintf(record->text, sizeof record->text, "%s", event->text);
}

static void on_status(void *context, const char *server, const char *text)
{
    struct client_fixture *fixture = context;
    fixture->status_count++;
    fixture->connected = server != NULL;
    (void)snprintf(fixture->status, sizeof fixture->status, "%s", text);
    (void)snprintf(fixture->server, sizeof fixture->server, "%s", server == NULL ? "" : server);
}

static void on_session_ended(void *context, enum status status, const char *text)
{
    struct client_fixture *fixture = context;
    (void)status, (void)text;
    fixture->session_ends++;
}

static void on_result(void *context, const struct client_result *result)
{
    struct client_fixture *fixture = context;
    assert_true(fixture->result_count < CLIENT_FIXTURE_RECORDS_MAX);
    struct record *record = &fixture->results[fixture->result_count++];
    *record = (struct record){.call = result->call,
                              .status = result->status,
                              .session = result->session,
                              .request = result->request,
                              .attempts = result->attempts};
    (void)snprintf(record->text, sizeof record->text, "%s", result->text);
    (void)snprintf(record->error, sizeof record->error, "%s", result->error);
    if (result->call == CLIENT_SEND && result->reply.send != NULL)
        record->number = result->reply.send->number;
    if (fixture->on_result != NULL)
        fixture->on_result(fixture, result);
}

static void on_restored(void *context, const struct client_request *request, client_done **done,
                        void **done_context)
{
    struct client_fixture *fixture = context;
    (void)request;
    fixture->restored_count++;
    *done = on_result;
    *done_context = fixture;
}

static void on_state_failed(void *context, const char *text)
{
    struct client_fixture *fixture = context;
    fixture->state_failures++;
    (void)snprintf(fixture->status, sizeof fixture->status, "%s", text);
}

static const struct client_observer observer = {.event = on_event,
                                                .status = on_status,
                                                .restored = on_restored,
                                                .state_failed = on_state_failed,
                                                .session_ended = on_session_ended};

static uint64_t clock_us(void *source)
{
    const struct client_fixture *fixture = source;
    return fixture->now_us;
}

/* The same in every run. */
static void fill_random(void *source, void *bytes, size_t size)
{
    struct client_fixture *fixture = source;
    unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++) {
        fixture->random = fixture->random * 1664525 + 1013904223;
        at[i] = (unsigned char)(fixture->random >> 24);
    }
}

uint64_t client_fixture_now_us(struct client_fixture *fixture)
{
    return clock_us(fixture);
}

void client_fixture_advance(struct client_fixture *fixture, uint32_t ms)
{
    fixture->now_us += (uint64_t)ms * 1000;
}

void client_fixture_check_patience(uint64_t *since, const char *what)
{
    uint64_t now_us = clock_monotonic_us();
    if (*since == 0)
        *since = now_us;
    if (now_us - *since > PATIENCE_US)
        fail_msg("waited in vain for: %s", what);
}

/* Waits up to most_ms for something to happen. Returns how long, or 0 if something has happened or another
 * thread has work: then the clock moves by its smallest unit, as between any two events. */
static int wait_for_work(struct client_fixture *fixture, int most_ms)
{
    struct pollfd entries[2] = {
        {.fd = task_queue_descriptor(fixture->cluster.queue), .events = POLLIN},
        {.fd = fixture->client == NULL ? -1 : client_descriptor(fixture->client), .events = POLLIN},
    };
    int wait_ms = fixture->client == NULL ? most_ms : client_timeout_ms(fixture->client);
    if (wait_ms < 0 || wait_ms > most_ms)
        wait_ms = most_ms;
    bool is_quiet = poll(entries, 2, wait_ms) == 0 && wait_ms > 0 && idle_others();
    fixture->now_us += !is_quiet;
    return is_quiet ? wait_ms : 0;
}

static void process(struct client_fixture *fixture)
{
    fake_cluster_turn(&fixture->cluster, fixture->servers, CLIENT_FIXTURE_SERVERS);
    if (fixture->client != NULL)
        client_process(fixture->client);
}

void client_fixture_turn(struct client_fixture *fixture)
{
    fixture->now_us += (uint64_t)wait_for_work(fixture, TURN_MS) * 1000;
    process(fixture);
}

void client_fixture_settle(struct client_fixture *fixture)
{
    uint64_t since_us = 0;
    for (int quiet = 0; quiet < SETTLED_TURNS;) {
        quiet = wait_for_work(fixture, SETTLE_MS) > 0 ? quiet + 1 : 0;
        process(fixture);
        client_fixture_check_patience(&since_us, "all threads without work");
    }
}

void client_fixture_pass(struct client_fixture *fixture, uint32_t ms)
{
    client_fixture_advance(fixture, ms);
    client_fixture_settle(fixture);
}

struct client_fixture *client_fixture_new(size_t servers)
{
    struct client_fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    fixture->results = calloc(CLIENT_FIXTURE_RECORDS_MAX, sizeof *fixture->results);
    fixture->events = calloc(CLIENT_FIXTURE_RECORDS_MAX, sizeof *fixture->events);
    assert_true(fixture->results != NULL && fixture->events != NULL);
    fixture->random = 7;
    fixture->now_us = clock_monotonic_us() + AHEAD_US;
    fake_cluster_init(&fixture->cluster);
    for (size_t i = 0; i < servers; i++)
        fake_server_start(&fixture->servers[i], &fixture->cluster);
    fixture->servers[0].master = true;
    return fixture;
}

void client_fixture_free(struct client_fixture *fixture)
{
    client_free(fixture->client);
    for (size_t i = 0; i < CLIENT_FIXTURE_SERVERS; i++)
        fake_server_kill(&fixture->servers[i]);
    fake_cluster_release(&fixture->cluster);
    free(fixture->results);
    free(fixture->events);
    free(fixture);
}

static void make_client(struct client_fixture *fixture, struct client_options options)
{
    options.observer = &observer;
    options.context = fixture;
    options.clock_us = clock_us;
    options.random = fill_random;
    options.source = fixture;
    struct error_text why;
    assert_int_equal(client_new(&fixture->client, &options, &why), OK);
}

void client_fixture_connect(struct client_fixture *fixture, size_t known,
                            const struct client_options *base)
{
    struct address addresses[CLIENT_FIXTURE_SERVERS];
    struct client_options options = {.addresses = addresses};
    if (base != NULL)
        options = *base;
    for (size_t i = 0; i < known; i++)
        addresses[i] = fixture->servers[i].address;
    options.addresses = addresses;
    options.address_count = known;
    make_client(fixture, options);
}

enum error client_fixture_connect_state(struct client_fixture *fixture, size_t known,
                                        const char *path)
{
    struct error_text why;
    client_fixture_connect(fixture, known, NULL);
    return client_restore(fixture->client, path, &why);
}

void client_fixture_connect_to(struct client_fixture *fixture, const struct address *addresses,
                               size_t count)
{
    make_client(fixture, (struct client_options){.addresses = addresses, .address_count = count});
}

enum error client_fixture_ask(struct client_fixture *fixture, const struct client_request *request)
{
    struct error_text why;
    return client_ask(fixture->client, request, on_result, fixture, &why);
}

void client_fixture_send(struct client_fixture *fixture, const char *text)
{
    assert_int_equal(
        client_fixture_ask(
            fixture, &(struct client_request){.call = CLIENT_SEND, .room = "lobby", .text = text}),
        OK);
}

void client_fixture_send_many(struct client_fixture *fixture, const char *prefix, size_t count)
{
    client_fixture_send_from(fixture, prefix, 0, count);
}

void client_fixture_send_through(struct client_fixture *fixture, const char *prefix, size_t count)
{
    size_t before = fixture->result_count;
    client_fixture_send_many(fixture, prefix, count);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == before + count);
}

void client_fixture_send_from(struct client_fixture *fixture, const char *prefix, size_t first,
                              size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "%s%zu", prefix, i);
        client_fixture_send(fixture, text);
    }
}

void client_fixture_ask_login(struct client_fixture *fixture, const char *name,
                              enum client_manner manner, bool again)
{
    const struct client_request login = {
        .call = CLIENT_LOGIN, .name = name, .password = "secret", .manner = manner, .again = again};
    assert_int_equal(client_fixture_ask(fixture, &login), OK);
}

void client_fixture_login(struct client_fixture *fixture)
{
    size_t before = fixture->result_count;
    client_fixture_ask_login(fixture, "ann", CLIENT_ACCOUNT_ENSURED, false);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count > before);
    assert_int_equal(fixture->results[before].status, STATUS_OK);
    fixture->result_count = before;
}

void client_fixture_enter(struct client_fixture *fixture, size_t known)
{
    client_fixture_connect(fixture, known, NULL);
    client_fixture_login(fixture);
}

struct client_fixture *client_fixture_connected(size_t servers)
{
    struct client_fixture *fixture = client_fixture_new(servers);
    client_fixture_connect(fixture, servers, NULL);
    return fixture;
}

struct client_fixture *client_fixture_logged_in(size_t servers)
{
    struct client_fixture *fixture = client_fixture_connected(servers);
    client_fixture_login(fixture);
    return fixture;
}

struct client_view client_fixture_view(const struct client_fixture *fixture)
{
    struct client_view view;
    client_inspect(fixture->client, &view);
    return view;
}

struct client_stats client_fixture_stats(const struct client_fixture *fixture)
{
    struct client_stats stats;
    client_stats(fixture->client, &stats);
    return stats;
}

bool client_fixture_uses(const struct client_fixture *fixture, size_t server)
{
    struct client_view view = client_fixture_view(fixture);
    char text[ADDRESS_TEXT_SIZE];
    address_format(&fixture->servers[server].address, text);
    return view.server != NULL && strcmp(view.server, text) == 0;
}

size_t client_fixture_count(const struct client_fixture *fixture, enum status status)
{
    size_t count = 0;
    for (size_t i = 0; i < fixture->result_count; i++)
        if (fixture->results[i].call == CLIENT_SEND && fixture->results[i].status == status)
            count++;
    return count;
}

void client_fixture_check_kept(const struct client_fixture *fixture, const char *prefix,
                               size_t count)
{
    assert_int_equal(fixture->cluster.message_count, count);
    for (size_t i = 0; i < count; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "%s%zu", prefix, i);
        assert_string_equal(fixture->cluster.messages[i].text, text);
        assert_int_equal(fixture->cluster.messages[i].request, i + 1);
    }
}

void client_fixture_check_told(const struct client_fixture *fixture, const char *prefix,
                               size_t count)
{
    assert_int_equal(fixture->event_count, count);
    for (size_t i = 0; i < count; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "%s%zu", prefix, i);
        assert_string_equal(fixture->events[i].text, text);
    }
}
