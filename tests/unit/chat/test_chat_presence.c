/* SPDX-License-Identifier: MIT */
/* Who is online, the rate limit, and what is kept over chat_reload: src/chat/heard.c, rate.c,
 * chat.c. */
#include "chat/rate.h"
#include "chat_world.h"
#include "support/text_append.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int open_world(void **state)
{
    struct world *world = malloc(sizeof *world);
    world_open(world, 5, NULL);
    world_person(world, "alice");
    world_person(world, "bob");
    world_person(world, "carol");
    world_join(world, world_session(world, "alice"), "general", 0);
    world_join(world, world_session(world, "bob"), "general", 0);
    world_join(world, world_session(world, "bob"), "other", 0);
    world_join(world, world_session(world, "alice"), "other", 0);
    world_clear_seen(world);
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

static struct chat_session *alice(struct world *world)
{
    return world_session(world, "alice");
}

static struct chat_session *bob(struct world *world)
{
    return world_session(world, "bob");
}

static void touch(struct world *world, const char *token)
{
    chat_touch(world->chat, world_session(world, token), world->monotonic_ms, world->time_ms);
}

static void expire(struct world *world)
{
    chat_expire(world->chat, world->monotonic_ms, world->time_ms);
}

/* "alice+ bob-": who is online. */
static const char *online(struct world *world)
{
    static char text[1000];
    struct chat_call call = world_call(world, alice(world));
    Jackdaw__ListAccountsRequest request = JACKDAW__LIST_ACCOUNTS_REQUEST__INIT;
    Jackdaw__ListAccountsReply reply = JACKDAW__LIST_ACCOUNTS_REPLY__INIT;
    assert_int_equal(chat_answer_accounts(world->chat, &call, &request, &reply), OK);
    text[0] = '\0';
    for (size_t i = 0; i < reply.n_accounts; i++) {
        text_append(text, sizeof text, "%s", i > 0 ? " " : "");
        text_append(text, sizeof text, "%s", reply.accounts[i]->name);
        text_append(text, sizeof text, "%s", reply.accounts[i]->online ? "+" : "-");
    }
    return text;
}

static void test_presence__everybody_counts_as_heard_after_opening(void **state)
{
    struct world *world = *state;
    world->monotonic_ms += 1000000;
    world_reopen(world);
    assert_string_equal(online(world), "alice+ bob+ carol+");
    world->monotonic_ms += 59999;
    expire(world);
    assert_string_equal(online(world), "alice+ bob+ carol+");
    world->monotonic_ms += 1;
    expire(world);
    assert_string_equal(online(world), "alice- bob- carol-");
}

static void test_presence__told_once_to_those_who_share_a_room(void **state)
{
    struct world *world = *state;
    world->monotonic_ms += 30000;
    touch(world, "bob");
    touch(world, "carol");
    world->monotonic_ms += 30000;
    expire(world);
    expire(world);
    assert_string_equal(online(world), "alice- bob+ carol+");
    assert_string_equal(world_whispers(world, bob(world)), "PRESENCE alice off");
    assert_string_equal(world_whispers(world, world_session(world, "carol")), "");
    assert_string_equal(world_whispers(world, alice(world)), "");
    world_clear_seen(world);
    touch(world, "alice");
    touch(world, "alice");
    assert_string_equal(world_whispers(world, bob(world)), "PRESENCE alice on");
    assert_string_equal(online(world), "alice+ bob+ carol+");
    assert_int_equal(world->seen[0].event.position.seq, 0);
    assert_int_equal(world->seen[0].event.position.epoch, 0);
    assert_int_equal(world->seen[0].event.time_ms, world->time_ms);
}

static void test_presence__told_to_those_one_talks_to(void **state)
{
    struct world *world = *state;
    struct chat_session *carol = world_session(world, "carol");
    world_send(world, carol, "@alice", "hi", 0);
    world_clear_seen(world);
    world->monotonic_ms += 60000;
    touch(world, "alice");
    touch(world, "bob");
    expire(world);
    assert_string_equal(world_whispers(world, alice(world)), "PRESENCE carol off");
    assert_string_equal(world_whispers(world, bob(world)), "");
}

static void test_presence__ends_with_the_last_device(void **state)
{
    struct world *world = *state;
    world_device(world, "alice", "second");
    world->monotonic_ms += 60000;
    touch(world, "second");
    touch(world, "bob");
    expire(world);
    assert_string_equal(world_whispers(world, bob(world)), "");
    assert_string_equal(online(world), "alice+ bob+ carol-");
    world_logout(world, world_session(world, "second"), 0);
    assert_string_equal(world_whispers(world, bob(world)), "PRESENCE alice off");
}

static void test_presence__login_and_logout(void **state)
{
    struct world *world = *state;
    world_logout(world, alice(world), 0);
    assert_string_equal(world_whispers(world, bob(world)), "PRESENCE alice off");
    world_clear_seen(world);
    world_device(world, "alice", "alice");
    world_device(world, "alice", "second");
    assert_string_equal(world_whispers(world, bob(world)), "PRESENCE alice on");
}

static void test_presence__a_clock_that_goes_back(void **state)
{
    struct world *world = *state;
    world->monotonic_ms += 50000;
    touch(world, "alice");
    chat_touch(world->chat, bob(world), 5, world->time_ms); /* counts as now */
    world->monotonic_ms += 10000;
    expire(world);
    assert_string_equal(online(world), "alice+ bob+ carol-");
    chat_expire(world->chat, 0, 0);
    assert_string_equal(online(world), "alice+ bob+ carol-");
    world->monotonic_ms += 50000;
    expire(world);
    assert_string_equal(online(world), "alice- bob- carol-");
}

static void test_touch_all__a_new_master_heard_nobody_so_far(void **state)
{
    struct world *world = *state;
    world->monotonic_ms += 1000000;
    chat_touch_all(world->chat, world->monotonic_ms);
    expire(world);
    assert_string_equal(online(world), "alice+ bob+ carol+");
    assert_int_equal(world->seen_count, 0);
    assert_int_equal(world_login(world, "alice", "second").status, STATUS_OK);
    assert_int_equal(world_login(world, "alice", "third").status, STATUS_RESOURCE_EXHAUSTED);
    world->monotonic_ms += 60000;
    expire(world);
    assert_string_equal(online(world), "alice- bob- carol-");
}

/* ---- reload ---- */

static void test_reload__keeps_what_no_row_has(void **state)
{
    struct world *world = *state;
    int mailbox;
    struct error_text why;
    uint32_t retry_ms;
    world->limits.requests_per_second = 2;
    world_reopen(world);
    *chat_session_attachment(alice(world)) = &mailbox;
    while (chat_admit(world->chat, bob(world), world->monotonic_ms, &retry_ms))
        continue;
    world->monotonic_ms += 400;
    touch(world, "alice");
    world_send(world, alice(world), "general", "hi", 0);
    chat_note_delivered(world->chat, alice(world), world->seq);
    assert_int_equal(chat_reload(world->chat, &why), OK);
    assert_ptr_equal(*chat_session_attachment(alice(world)), &mailbox);
    assert_null(*chat_session_attachment(bob(world)));
    assert_false(chat_admit(world->chat, bob(world), world->monotonic_ms, &retry_ms));
    assert_true(chat_admit(world->chat, alice(world), world->monotonic_ms, &retry_ms));
    world->monotonic_ms += 59600;
    expire(world);
    assert_string_equal(online(world), "alice+ bob- carol-");
    assert_true(world_deliver(world));
    assert_false(world_deliver(world));
    assert_int_equal(world->ended, 0);
}

static void test_reload__a_login_that_was_undone_leaves_nothing_behind(void **state)
{
    struct world *world = *state;
    int mailbox;
    struct error_text why;
    assert_int_equal(store_begin(world->store), OK);
    Jackdaw__SessionStarted started = JACKDAW__SESSION_STARTED__INIT;
    uint8_t hash[32] = {1};
    started.session = 99;
    started.account = chat_session_account(alice(world));
    started.token_hash = (ProtobufCBinaryData){.len = 32, .data = hash};
    started.device = "";
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    delta.change_case = JACKDAW__DELTA__CHANGE_SESSION_STARTED;
    delta.session_started = &started;
    struct position position = {world->epoch, world->seq + 1};
    assert_int_equal(chat_apply(world->chat, &delta, position), OK);
    *chat_session_attachment(chat_find_session(world->chat, 99)) = &mailbox;
    store_rollback(world->store);
    assert_int_equal(chat_reload(world->chat, &why), OK);
    assert_null(chat_find_session(world->chat, 99));
    assert_int_equal(world->ended, 1);
    assert_string_equal(online(world), "alice+ bob+ carol+");
}

/* ---- rate ---- */

static void test_rate__bursts_of_two_seconds_worth(void **state)
{
    (void)state;
    struct rate rate;
    uint32_t retry_ms = 0;
    rate_init(&rate, 10, 1000);
    for (int i = 0; i < 20; i++)
        assert_true(rate_take(&rate, 10, 1000, &retry_ms));
    assert_false(rate_take(&rate, 10, 1000, &retry_ms));
    assert_int_equal(retry_ms, 100);
    assert_false(rate_take(&rate, 10, 1099, &retry_ms));
    assert_int_equal(retry_ms, 1);
    assert_true(rate_take(&rate, 10, 1100, &retry_ms));
    assert_false(rate_take(&rate, 10, 1100, &retry_ms));
    for (int i = 0; i < 20; i++)
        assert_true(rate_take(&rate, 10, 100000000, &retry_ms));
    assert_false(rate_take(&rate, 10, 100000000, &retry_ms));
}

static void test_rate__extremes(void **state)
{
    (void)state;
    struct rate rate;
    uint32_t retry_ms = 0;
    rate_init(&rate, 0, 0);
    for (int i = 0; i < 100; i++)
        assert_true(rate_take(&rate, 0, 0, &retry_ms));
    rate_init(&rate, UINT32_MAX, 0);
    assert_true(rate_take(&rate, UINT32_MAX, UINT64_MAX, &retry_ms));
    rate_init(&rate, 1, 0);
    assert_true(rate_take(&rate, 1, UINT64_MAX, &retry_ms));
    assert_true(rate_take(&rate, 1, 0, &retry_ms));
    assert_false(rate_take(&rate, 1, 0, &retry_ms));
    assert_true(retry_ms > 0 && retry_ms <= 1000);
}

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_presence__everybody_counts_as_heard_after_opening),
        WORLD_TEST(test_presence__told_once_to_those_who_share_a_room),
        WORLD_TEST(test_presence__told_to_those_one_talks_to),
        WORLD_TEST(test_presence__ends_with_the_last_device),
        WORLD_TEST(test_presence__login_and_logout),
        WORLD_TEST(test_presence__a_clock_that_goes_back),
        WORLD_TEST(test_touch_all__a_new_master_heard_nobody_so_far),
        WORLD_TEST(test_reload__keeps_what_no_row_has),
        WORLD_TEST(test_reload__a_login_that_was_undone_leaves_nothing_behind),
        cmocka_unit_test(test_rate__bursts_of_two_seconds_worth),
        cmocka_unit_test(test_rate__extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
