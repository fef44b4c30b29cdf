/* SPDX-License-Identifier: MIT */
/* Who is online, the rate limit, and what is kept over chat_reload: src/chat/presence.c, rate.c,
 * chat.c. */
#include "chat/rate.h"
#include "chat_fixture.h"
#include "support/test.h"
#include "support/text_append.h"

#include <stdlib.h>
#include <string.h>

static int open_chat_fixture(void **state)
{
    struct chat_fixture *fixture = malloc(sizeof *fixture);
    chat_fixture_open(fixture, 5, NULL);
    chat_fixture_person(fixture, "alice");
    chat_fixture_person(fixture, "bob");
    chat_fixture_person(fixture, "carol");
    chat_fixture_join(fixture, chat_fixture_session(fixture, "alice"), "general", 0);
    chat_fixture_join(fixture, chat_fixture_session(fixture, "bob"), "general", 0);
    chat_fixture_join(fixture, chat_fixture_session(fixture, "bob"), "other", 0);
    chat_fixture_join(fixture, chat_fixture_session(fixture, "alice"), "other", 0);
    chat_fixture_clear_seen(fixture);
    *state = fixture;
    return 0;
}

static int close_chat_fixture(void **state)
{
    chat_fixture_close(*state);
    free(*state);
    return 0;
}

static struct chat_session *alice(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "alice");
}

static struct chat_session *bob(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "bob");
}

static void touch(struct chat_fixture *fixture, const char *token)
{
    chat_touch(fixture->chat, chat_fixture_session(fixture, token), fixture->monotonic_ms,
               fixture->time_ms);
}

static void expire(struct chat_fixture *fixture)
{
    chat_expire(fixture->chat, fixture->monotonic_ms, fixture->time_ms);
}

/* "alice+ bob-": who is online. */
static const char *online(struct chat_fixture *fixture)
{
    static char text[1000];
    struct chat_call call = chat_fixture_call(fixture, alice(fixture));
    Jackdaw__ListAccountsRequest request = JACKDAW__LIST_ACCOUNTS_REQUEST__INIT;
    Jackdaw__ListAccountsReply reply = JACKDAW__LIST_ACCOUNTS_REPLY__INIT;
    assert_int_equal(chat_answer_accounts(fixture->chat, &call, &request, &reply), OK);
    text[0] = '\0';
    for (size_t i = 0; i < reply.n_accounts; i++) {
        text_append(text, sizeof text, "%s", i > 0 ? " " : "");
        text_append(text, sizeof text, "%s", reply.accounts[i]->name);
        text_append(text, sizeof text, "%s", reply.accounts[i]->online ? "+" : "-");
    }
    return text;
}

TEST_WITH(test_presence__everybody_counts_as_heard_after_opening, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    fixture->monotonic_ms += 1000000;
    chat_fixture_reopen(fixture);
    assert_string_equal(online(fixture), "alice+ bob+ carol+");
    fixture->monotonic_ms += 59999;
    expire(fixture);
    assert_string_equal(online(fixture), "alice+ bob+ carol+");
    fixture->monotonic_ms += 1;
    expire(fixture);
    assert_string_equal(online(fixture), "alice- bob- carol-");
}

TEST_WITH(test_presence__told_once_to_those_who_share_a_room, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    fixture->monotonic_ms += 30000;
    touch(fixture, "bob");
    touch(fixture, "carol");
    fixture->monotonic_ms += 30000;
    expire(fixture);
    expire(fixture);
    assert_string_equal(online(fixture), "alice- bob+ carol+");
    assert_string_equal(chat_fixture_whispers(fixture, bob(fixture)), "PRESENCE alice off");
    assert_string_equal(chat_fixture_whispers(fixture, chat_fixture_session(fixture, "carol")), "");
    assert_string_equal(chat_fixture_whispers(fixture, alice(fixture)), "");
    chat_fixture_clear_seen(fixture);
    touch(fixture, "alice");
    touch(fixture, "alice");
    assert_string_equal(chat_fixture_whispers(fixture, bob(fixture)), "PRESENCE alice on");
    assert_string_equal(online(fixture), "alice+ bob+ carol+");
    assert_int_equal(fixture->seen[0].event.position.seq, 0);
    assert_int_equal(fixture->seen[0].event.position.epoch, 0);
    assert_int_equal(fixture->seen[0].event.time_ms, fixture->time_ms);
}

TEST_WITH(test_presence__told_to_those_one_talks_to, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *carol = chat_fixture_session(fixture, "carol");
    chat_fixture_send(fixture, carol, "@alice", "hi", 0);
    chat_fixture_clear_seen(fixture);
    fixture->monotonic_ms += 60000;
    touch(fixture, "alice");
    touch(fixture, "bob");
    expire(fixture);
    assert_string_equal(chat_fixture_whispers(fixture, alice(fixture)), "PRESENCE carol off");
    assert_string_equal(chat_fixture_whispers(fixture, bob(fixture)), "");
}

TEST_WITH(test_presence__ends_with_the_last_device, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_device(fixture, "alice", "second");
    fixture->monotonic_ms += 60000;
    touch(fixture, "second");
    touch(fixture, "bob");
    expire(fixture);
    assert_string_equal(chat_fixture_whispers(fixture, bob(fixture)), "");
    assert_string_equal(online(fixture), "alice+ bob+ carol-");
    chat_fixture_logout(fixture, chat_fixture_session(fixture, "second"), 0);
    assert_string_equal(chat_fixture_whispers(fixture, bob(fixture)), "PRESENCE alice off");
}

TEST_WITH(test_presence__login_and_logout, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_logout(fixture, alice(fixture), 0);
    assert_string_equal(chat_fixture_whispers(fixture, bob(fixture)), "PRESENCE alice off");
    chat_fixture_clear_seen(fixture);
    chat_fixture_device(fixture, "alice", "alice");
    chat_fixture_device(fixture, "alice", "second");
    assert_string_equal(chat_fixture_whispers(fixture, bob(fixture)), "PRESENCE alice on");
}

TEST_WITH(test_presence__a_clock_that_goes_back, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    fixture->monotonic_ms += 50000;
    touch(fixture, "alice");
    chat_touch(fixture->chat, bob(fixture), 5, fixture->time_ms); /* counts as now */
    fixture->monotonic_ms += 10000;
    expire(fixture);
    assert_string_equal(online(fixture), "alice+ bob+ carol-");
    chat_expire(fixture->chat, 0, 0);
    assert_string_equal(online(fixture), "alice+ bob+ carol-");
    fixture->monotonic_ms += 50000;
    expire(fixture);
    assert_string_equal(online(fixture), "alice- bob- carol-");
}

TEST_WITH(test_touch_all__a_new_master_heard_nobody_so_far, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    fixture->monotonic_ms += 1000000;
    chat_touch_all(fixture->chat, fixture->monotonic_ms);
    expire(fixture);
    assert_string_equal(online(fixture), "alice+ bob+ carol+");
    assert_int_equal(fixture->seen_count, 0);
    assert_int_equal(chat_fixture_login(fixture, "alice", "second").status, STATUS_OK);
    assert_int_equal(chat_fixture_login(fixture, "alice", "third").status,
                     STATUS_RESOURCE_EXHAUSTED);
    fixture->monotonic_ms += 60000;
    expire(fixture);
    assert_string_equal(online(fixture), "alice- bob- carol-");
}

/* ---- reload ---- */

TEST_WITH(test_reload__keeps_what_no_row_has, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    int subscription;
    struct error_text why;
    uint32_t retry_ms;
    fixture->limits.requests_per_second = 2;
    chat_fixture_reopen(fixture);
    *chat_session_attachment(alice(fixture)) = &subscription;
    while (chat_admit(fixture->chat, bob(fixture), fixture->monotonic_ms, &retry_ms))
        continue;
    fixture->monotonic_ms += 400;
    touch(fixture, "alice");
    chat_fixture_send(fixture, alice(fixture), "general", "hi", 0);
    chat_note_delivered(fixture->chat, alice(fixture), fixture->seq);
    assert_int_equal(chat_reload(fixture->chat, &why), OK);
    assert_ptr_equal(*chat_session_attachment(alice(fixture)), &subscription);
    assert_null(*chat_session_attachment(bob(fixture)));
    assert_false(chat_admit(fixture->chat, bob(fixture), fixture->monotonic_ms, &retry_ms));
    assert_true(chat_admit(fixture->chat, alice(fixture), fixture->monotonic_ms, &retry_ms));
    fixture->monotonic_ms += 59600;
    expire(fixture);
    assert_string_equal(online(fixture), "alice+ bob- carol-");
    assert_true(chat_fixture_deliver(fixture));
    assert_false(chat_fixture_deliver(fixture));
    assert_int_equal(fixture->ended, 0);
}

TEST_WITH(test_reload__a_login_that_was_undone_leaves_nothing_behind, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    int subscription;
    struct error_text why;
    assert_int_equal(store_begin(fixture->store), OK);
    Jackdaw__SessionStarted started = JACKDAW__SESSION_STARTED__INIT;
    uint8_t hash[32] = {1};
    started.session = 99;
    started.account = chat_session_account(alice(fixture));
    started.token_hash = (ProtobufCBinaryData){.len = 32, .data = hash};
    started.device = "";
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    delta.change_case = JACKDAW__DELTA__CHANGE_SESSION_STARTED;
    delta.session_started = &started;
    struct log_position position = {fixture->epoch, fixture->seq + 1};
    assert_int_equal(chat_apply(fixture->chat, &delta, position), OK);
    *chat_session_attachment(chat_find_session(fixture->chat, 99)) = &subscription;
    store_rollback(fixture->store);
    assert_int_equal(chat_reload(fixture->chat, &why), OK);
    assert_null(chat_find_session(fixture->chat, 99));
    assert_int_equal(fixture->ended, 1);
    assert_string_equal(online(fixture), "alice+ bob+ carol+");
}

/* ---- rate ---- */

TEST(test_rate__bursts_of_two_seconds_worth)
{
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

TEST(test_rate__extremes)
{
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
