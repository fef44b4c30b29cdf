/* SPDX-License-Identifier: MIT */
/* What one message costs in src/chat: token, rate limit, proposal, delta, recipients. Prints
 * nanoseconds of CPU time without and with the store (in memory); run with a number of messages
 * for a figure, as a test it only checks that nothing has become absurdly slow.
 *
 * test_chat_speed [MESSAGES] */
#include "chat_fixture.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PEOPLE 1000
#define ROOMS 100
#define BATCH 500
#define TEXT_BYTES 100

enum error __real_store_add_event(struct store *store, const struct timeline_row *row);
enum error __real_store_put_outcome(struct store *store, const struct outcome_row *row);
enum error __wrap_store_add_event(struct store *store, const struct timeline_row *row);
enum error __wrap_store_put_outcome(struct store *store, const struct outcome_row *row);

static bool has_store = true;

enum error __wrap_store_add_event(struct store *store, const struct timeline_row *row)
{
    return has_store ? __real_store_add_event(store, row) : OK;
}

enum error __wrap_store_put_outcome(struct store *store, const struct outcome_row *row)
{
    return has_store ? __real_store_put_outcome(store, row) : OK;
}

static unsigned long messages = 20000;
static uint8_t tokens[PEOPLE][CHAT_TOKEN_BYTES];
static uint64_t recipients;
static struct chat *visited;

static void count_recipient(void *context, struct chat_session *session)
{
    (void)context;
    recipients += *chat_session_attachment(session) == NULL;
}

static void on_event(void *context, const struct chat_event *event)
{
    (void)context;
    chat_each_recipient(visited, event, count_recipient, NULL);
}

static double now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void fill_chat_fixture(struct chat_fixture *fixture)
{
    for (int i = 0; i < PEOPLE; i++) {
        char name[32], room[32];
        snprintf(name, sizeof name, "person%d", i);
        struct chat_session *session = chat_fixture_person(fixture, name);
        memcpy(tokens[i], name, strlen(name));
        for (int k = 0; k < 3; k++) {
            snprintf(room, sizeof room, "room%d", (i + k * 37) % ROOMS);
            chat_fixture_join(fixture, session, room, 0);
        }
    }
}

/* One message as the server handles it, but for decoding it and for its batch. */
static void send_one(struct chat_fixture *fixture, unsigned long i, char *text, uint64_t *seq)
{
    struct chat *chat = fixture->chat;
    unsigned long person = i * 7919 % PEOPLE;
    char to[32];
    snprintf(to, sizeof to, "#room%lu", person % ROOMS);
    struct chat_session *session = chat_authenticate(chat, tokens[person], CHAT_TOKEN_BYTES);
    uint32_t retry_ms;
    assert_true(chat_admit(chat, session, fixture->monotonic_ms + i, &retry_ms));
    chat_touch(chat, session, fixture->monotonic_ms + i, fixture->time_ms + i);
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.request = chat_session_last_request(session) + 1;
    request.to = to;
    request.text = text;
    struct arena arena;
    arena_init(&arena, 65536);
    struct chat_call call = {.session = session, .time_ms = fixture->time_ms + i, .arena = &arena};
    assert_int_equal(chat_propose_send(chat, &call, &request), CHAT_PROPOSE);
    struct log_position position = {fixture->epoch, ++*seq};
    assert_int_equal(chat_apply(chat, call.delta, position), OK);
    arena_clear(&arena);
}

static double measure(struct chat_fixture *fixture)
{
    char text[TEXT_BYTES + 1];
    memset(text, 'x', TEXT_BYTES);
    text[TEXT_BYTES] = '\0';
    uint64_t seq = fixture->seq;
    struct error_text why;
    double start = now_ns();
    for (unsigned long i = 0; i < messages; i++) {
        if (i % BATCH == 0)
            assert_int_equal(store_begin(fixture->store), OK);
        send_one(fixture, i, text, &seq);
        if ((i + 1) % BATCH == 0 && i + 1 < messages)
            assert_int_equal(store_commit(fixture->store), OK);
    }
    double spent = now_ns() - start;
    store_rollback(fixture->store);
    assert_int_equal(chat_reload(fixture->chat, &why), OK);
    return spent / (double)messages;
}

TEST(test_message__costs)
{
    struct chat_fixture fixture;
    chat_fixture_open(&fixture, 10, NULL);
    fill_chat_fixture(&fixture);
    chat_close(fixture.chat);
    const struct chat_observer observer = {.event = on_event};
    assert_int_equal(chat_open(&fixture.chat, fixture.store, &fixture.limits, &observer,
                               fixture.monotonic_ms, NULL),
                     OK);
    visited = fixture.chat;
    has_store = false;
    double without = measure(&fixture);
    has_store = true;
    double with = measure(&fixture);
    print_message("%lu messages of %d bytes, %.1f recipients each: %.0f ns in chat, "
                  "%.0f ns with the store in memory\n",
                  messages, TEXT_BYTES, (double)recipients / (double)messages / 2, without, with);
    assert_true(without < 100000);
    chat_fixture_close(&fixture);
}

TEST_PREPARE()
{
    if (argc > 1)
        messages = strtoul(argv[1], NULL, 10);
    return 0;
}
