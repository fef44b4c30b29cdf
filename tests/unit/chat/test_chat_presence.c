/* SPDX-License-Identifier: MIT */
/* Who is online, the rate limit, and what is kept over chat_reload: src/chat/presence.c, rate.c,
 * chat.c. */
#include "chat/rate.h"
#include "chat_fixture.h"
#include "support/test.h"
#include "support/text_append.h"

#include <stdlib.h>
#include <string.h>

static void begin(struct chat_fixture *f)
{
    chat_fixture_open_with(f, 5, NULL, "alice bob carol");
    chat_fixture_all_join(f, "general", "alice bob");
    chat_fixture_all_join(f, "other", "bob alice");
    chat_fixture_clear_seen(f);
}

static void touch(struct chat_fixture *f, const char *token)
{
    chat_touch(f->chat, chat_fixture_session(f, token), f->monotonic_ms, f->time_ms);
}

static void expire(struct chat_fixture *f)
{
    chat_expire(f->chat, f->monotonic_ms, f->time_ms);
}

/* "alice+ bob-": who is online. */
static const char *online(struct chat_fixture *f)
{
    static char text[1000];
    struct chat_call call = chat_fixture_call(f, alice(f));
    Jackdaw__ListAccountsRequest request = JACKDAW__LIST_ACCOUNTS_REQUEST__INIT;
    Jackdaw__ListAccountsReply reply = JACKDAW__LIST_ACCOUNTS_REPLY__INIT;
    assert_int_equal(chat_answer_accounts(f->chat, &call, &request, &reply), OK);
    text[0] = '\0';
    for (size_t i = 0; i < reply.n_accounts; i++) {
        text_append(text, sizeof text, "%s", i > 0 ? " " : "");
        text_append(text, sizeof text, "%s", reply.accounts[i]->name);
        text_append(text, sizeof text, "%s", reply.accounts[i]->online ? "+" : "-");
    }
    return text;
}

CHAT_TEST(test_presence__everybody_counts_as_heard_after_opening)
{
    f->monotonic_ms += 1000000;
    chat_fixture_reopen(f);
    assert_string_equal(online(f), "alice+ bob+ carol+");
    f->monotonic_ms += 59999;
    expire(f);
    assert_string_equal(online(f), "alice+ bob+ carol+");
    f->monotonic_ms += 1;
    expire(f);
    assert_string_equal(online(f), "alice- bob- carol-");
}

CHAT_TEST(test_presence__told_once_to_those_who_share_a_room)
{
    f->monotonic_ms += 30000;
    touch(f, "bob");
    touch(f, "carol");
    f->monotonic_ms += 30000;
    expire(f);
    expire(f);
    assert_string_equal(online(f), "alice- bob+ carol+");
    assert_whispers(f, bob(f), "PRESENCE alice off");
    assert_whispers(f, chat_fixture_session(f, "carol"), "");
    assert_whispers(f, alice(f), "");
    chat_fixture_clear_seen(f);
    touch(f, "alice");
    touch(f, "alice");
    assert_whispers(f, bob(f), "PRESENCE alice on");
    assert_string_equal(online(f), "alice+ bob+ carol+");
    assert_int_equal(f->seen[0].event.position.seq, 0);
    assert_int_equal(f->seen[0].event.position.epoch, 0);
    assert_int_equal(f->seen[0].event.time_ms, f->time_ms);
}

CHAT_TEST(test_presence__told_to_those_one_talks_to)
{
    struct chat_session *carol = chat_fixture_session(f, "carol");
    chat_fixture_send(f, carol, "@alice", "hi", 0);
    chat_fixture_clear_seen(f);
    f->monotonic_ms += 60000;
    touch(f, "alice");
    touch(f, "bob");
    expire(f);
    assert_whispers(f, alice(f), "PRESENCE carol off");
    assert_whispers(f, bob(f), "");
}

CHAT_TEST(test_presence__ends_with_the_last_device)
{
    chat_fixture_device(f, "alice", "second");
    f->monotonic_ms += 60000;
    touch(f, "second");
    touch(f, "bob");
    expire(f);
    assert_whispers(f, bob(f), "");
    assert_string_equal(online(f), "alice+ bob+ carol-");
    chat_fixture_logout(f, chat_fixture_session(f, "second"), 0);
    assert_whispers(f, bob(f), "PRESENCE alice off");
}

CHAT_TEST(test_presence__login_and_logout)
{
    chat_fixture_logout(f, alice(f), 0);
    assert_whispers(f, bob(f), "PRESENCE alice off");
    chat_fixture_clear_seen(f);
    chat_fixture_device(f, "alice", "alice");
    chat_fixture_device(f, "alice", "second");
    assert_whispers(f, bob(f), "PRESENCE alice on");
}

CHAT_TEST(test_presence__a_clock_that_goes_back)
{
    f->monotonic_ms += 50000;
    touch(f, "alice");
    chat_touch(f->chat, bob(f), 5, f->time_ms); /* counts as now */
    f->monotonic_ms += 10000;
    expire(f);
    assert_string_equal(online(f), "alice+ bob+ carol-");
    chat_expire(f->chat, 0, 0);
    assert_string_equal(online(f), "alice+ bob+ carol-");
    f->monotonic_ms += 50000;
    expire(f);
    assert_string_equal(online(f), "alice- bob- carol-");
}

CHAT_TEST(test_touch_all__a_new_master_heard_nobody_so_far)
{
    f->monotonic_ms += 1000000;
    chat_touch_all(f->chat, f->monotonic_ms);
    expire(f);
    assert_string_equal(online(f), "alice+ bob+ carol+");
    assert_int_equal(f->seen_count, 0);
    assert_ok(chat_fixture_login(f, "alice", "second"));
    assert_status(chat_fixture_login(f, "alice", "third"), STATUS_RESOURCE_EXHAUSTED);
    f->monotonic_ms += 60000;
    expire(f);
    assert_string_equal(online(f), "alice- bob- carol-");
}

CHAT_TEST(test_reload__keeps_what_no_row_has)
{
    int subscription;
    struct error_text why;
    uint32_t retry_ms;
    f->limits.requests_per_second = 2;
    chat_fixture_reopen(f);
    *chat_session_attachment(alice(f)) = &subscription;
    while (chat_admit(f->chat, bob(f), f->monotonic_ms, &retry_ms))
        continue;
    f->monotonic_ms += 400;
    touch(f, "alice");
    chat_fixture_send(f, alice(f), "general", "hi", 0);
    chat_note_delivered(f->chat, alice(f), f->seq);
    assert_int_equal(chat_reload(f->chat, &why), OK);
    assert_ptr_equal(*chat_session_attachment(alice(f)), &subscription);
    assert_null(*chat_session_attachment(bob(f)));
    assert_false(chat_admit(f->chat, bob(f), f->monotonic_ms, &retry_ms));
    assert_true(chat_admit(f->chat, alice(f), f->monotonic_ms, &retry_ms));
    f->monotonic_ms += 59600;
    expire(f);
    assert_string_equal(online(f), "alice+ bob- carol-");
    assert_true(chat_fixture_deliver(f));
    assert_false(chat_fixture_deliver(f));
    assert_int_equal(f->ended, 0);
}

CHAT_TEST(test_reload__a_login_that_was_undone_leaves_nothing_behind)
{
    int subscription;
    struct error_text why;
    assert_int_equal(store_begin(f->store), OK);
    Jackdaw__SessionStarted started = JACKDAW__SESSION_STARTED__INIT;
    uint8_t hash[32] = {1};
    started.session = 99;
    started.account = chat_session_account(alice(f));
    started.token_hash = (ProtobufCBinaryData){.len = 32, .data = hash};
    started.device = "";
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    delta.change_case = JACKDAW__DELTA__CHANGE_SESSION_STARTED;
    delta.session_started = &started;
    struct log_position position = {f->epoch, f->seq + 1};
    assert_int_equal(chat_apply(f->chat, &delta, position), OK);
    *chat_session_attachment(chat_find_session(f->chat, 99)) = &subscription;
    store_rollback(f->store);
    assert_int_equal(chat_reload(f->chat, &why), OK);
    assert_null(chat_find_session(f->chat, 99));
    assert_int_equal(f->ended, 1);
    assert_string_equal(online(f), "alice+ bob+ carol+");
}

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
