/* SPDX-License-Identifier: MIT */
/* Two halves of a cluster that was split: `there` wrote on in the old epoch, `here` in a new one
 * takes over what `there` has after the place where they parted. */
#include "chat/chat_internal.h"

#include "base/text.h"
#include "chat_fixture.h"
#include "support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct partition {
    struct chat_fixture here;
    struct chat_fixture there;
    size_t parted; /* how many entries of the log both have */
    size_t verdicts[5];
    char last_text[600];
};

static struct chat_session *h(struct partition *partition, const char *token)
{
    return chat_fixture_session(&partition->here, token);
}

static struct chat_session *t(struct partition *partition, const char *token)
{
    return chat_fixture_session(&partition->there, token);
}

static void part(struct partition *partition)
{
    chat_fixture_replay(&partition->there, &partition->here);
    partition->parted = partition->there.deltas_count;
    chat_fixture_new_epoch(&partition->here);
    partition->here.time_ms += 60000;
    partition->there.time_ms += 1000;
}

/* alice, bob, carol, dave; general has alice (owner), bob and carol; secret alice. */
static void begin(struct partition *f)
{
    chat_fixture_open_with(&f->here, 1, NULL, "alice bob carol dave");
    chat_fixture_open(&f->there, 2, NULL);
    chat_fixture_all_join(&f->here, "general", "alice bob carol");
    chat_fixture_join_private(&f->here, h(f, "alice"), "secret");
    part(f);
}

static void end(struct partition *f)
{
    chat_fixture_close(&f->here);
    chat_fixture_close(&f->there);
}

static enum chat_merge take(struct partition *partition, const Jackdaw__Delta *orphan)
{
    struct chat_call call = chat_fixture_call(&partition->here, NULL);
    enum chat_merge merge = chat_merge_orphan(partition->here.chat, &call, orphan);
    snprintf(partition->last_text, sizeof partition->last_text, "%s", call.text);
    partition->verdicts[merge]++;
    if (merge == CHAT_APPLY) {
        assert_true(call.delta->late);
        assert_int_equal(call.delta->session, orphan->session);
        assert_int_equal(call.delta->request, orphan->request);
        assert_int_equal(call.delta->time_ms, orphan->time_ms);
        assert_int_equal(chat_fixture_apply(&partition->here, call.delta), OK);
    } else if (merge != CHAT_KNOWN) {
        assert_true(strlen(call.text) > 10);
    }
    return merge;
}

/* Offers the orphans from the given one on; *verdicts are of this time only. */
static void take_from(struct partition *partition, size_t first, size_t count)
{
    memset(partition->verdicts, 0, sizeof partition->verdicts);
    for (size_t i = first; i < first + count && i < partition->there.deltas_count; i++) {
        Jackdaw__Delta *delta = chat_fixture_unpack(&partition->there.deltas[i]);
        take(partition, delta);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
}

/* Returns how many were applied. The second time nothing may change. */
static size_t take_all(struct partition *partition)
{
    size_t verdicts[5];
    take_from(partition, partition->parted, SIZE_MAX / 2);
    memcpy(verdicts, partition->verdicts, sizeof verdicts);
    char *rows = chat_fixture_rows(&partition->here);
    uint64_t seq = partition->here.seq;
    take_from(partition, partition->parted, SIZE_MAX / 2);
    assert_int_equal(partition->verdicts[CHAT_APPLY], 0);
    assert_int_equal(partition->verdicts[CHAT_WAIT], 0);
    char *rows_again = chat_fixture_rows(&partition->here);
    assert_string_equal(rows_again, rows);
    assert_int_equal(partition->here.seq, seq);
    free(rows);
    free(rows_again);
    memcpy(partition->verdicts, verdicts, sizeof verdicts);
    chat_fixture_reopen(&partition->here);
    return verdicts[CHAT_APPLY];
}

static const char *reads(struct partition *partition, const char *token)
{
    return chat_fixture_reads(&partition->here, h(partition, token), partition->parted);
}

static struct chat_outcome outcome(struct partition *partition, const char *token, uint64_t request)
{
    struct chat_outcome out;
    struct chat_call call = chat_fixture_call(&partition->here, h(partition, token));
    assert_int_equal(chat_outcome_of(partition->here.chat, call.session, request, call.arena, &out),
                     OK);
    return out;
}

TEST_ON(test_message__gets_a_new_place_and_keeps_what_it_was, struct partition, begin, end)
{
    chat_fixture_send(&f->here, h(f, "bob"), "#general", "here", 0);
    struct answer answer = chat_fixture_send(&f->there, t(f, "carol"), "#general", "there", 0);
    assert_int_equal(answer.outcome.number, 1);
    assert_int_equal(take_all(f), 1);
    assert_string_equal(reads(f, "alice"), "MESSAGE general bob here; MESSAGE general carol there");
    struct chat_outcome out = outcome(f, "carol", 2);
    assert_int_equal(out.number, 2);
    assert_int_equal(out.position.seq, f->here.seq);
    assert_int_equal(out.position.epoch, f->here.epoch);
    assert_int_equal(out.time_ms, answer.outcome.time_ms);
    assert_int_equal(chat_session_last_request(h(f, "carol")), 2);
}

TEST_ON(test_message__asked_on_both_sides, struct partition, begin, end)
{
    chat_fixture_send(&f->there, t(f, "carol"), "#general", "one", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "#general", "two", 0);
    chat_fixture_send(&f->here, h(f, "carol"), "#general", "one", 0);
    assert_int_equal(take_all(f), 1);
    assert_int_equal(f->verdicts[CHAT_KNOWN], 1);
    assert_string_equal(reads(f, "alice"), "MESSAGE general carol one; MESSAGE general carol two");
}

/* Only an orphan may leave numbers out: those of its session that were dropped before it. */
TEST_ON(test_message__no_number_is_left_out_otherwise, struct partition, begin, end)
{
    chat_fixture_send(&f->there, t(f, "carol"), "#general", "x", 0);
    Jackdaw__Delta *delta = chat_fixture_unpack(&f->there.deltas[f->parted]);
    delta->request += 3;
    assert_int_equal(chat_fixture_apply(&f->here, delta), ERROR_CORRUPT);
    delta->late = true;
    assert_int_equal(chat_fixture_apply(&f->here, delta), OK);
    jackdaw__delta__free_unpacked(delta, NULL);
    assert_ok(chat_fixture_send(&f->here, h(f, "carol"), "#general", "y", 0));
}

TEST_ON(test_message__of_one_put_out_here, struct partition, begin, end)
{
    chat_fixture_kick(&f->here, h(f, "alice"), "general", "carol", true);
    chat_fixture_send(&f->there, t(f, "carol"), "#general", "kept", 0);
    chat_fixture_topic(&f->there, t(f, "carol"), "general", "not kept");
    chat_fixture_send(&f->there, t(f, "carol"), "#general", "too", 0);
    assert_int_equal(take_all(f), 3);
    assert_string_equal(reads(f, "bob"), "LEFT general carol alice banned; MESSAGE general "
                                         "carol kept; MESSAGE general carol too");
    assert_members(&f->here, h(f, "alice"), "general", "alice* bob");
    assert_status(chat_fixture_send(&f->here, h(f, "carol"), "#general", "no", 0),
                  STATUS_PERMISSION_DENIED);
}

/* Asked in both halves, taken there, refused here: it may have been acknowledged there. */
TEST_ON(test_message__refused_here, struct partition, begin, end)
{
    chat_fixture_kick(&f->here, h(f, "alice"), "general", "carol", false);
    chat_fixture_send(&f->there, t(f, "carol"), "#general", "kept", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "@bob", "once", 0);
    assert_status(chat_fixture_send(&f->here, h(f, "carol"), "#general", "kept", 0),
                  STATUS_PERMISSION_DENIED);
    chat_fixture_send(&f->here, h(f, "carol"), "@bob", "once", 0);
    assert_int_equal(take_all(f), 1);
    assert_string_equal(reads(f, "bob"), "LEFT general carol alice kicked; MESSAGE @carol carol "
                                         "once; MESSAGE general carol kept");
    assert_int_equal(outcome(f, "carol", 2).status, STATUS_OK);
    assert_int_equal(outcome(f, "carol", 2).number, 1);
    assert_int_equal(chat_session_last_request(h(f, "carol")), 3);
}

/* Refused here, taken in two other halves that had each made a private room of that name. */
TEST_ON(test_message__refused_here_and_taken_twice, struct partition, begin, end)
{
    chat_fixture_join_private(&f->here, h(f, "alice"), "den");
    chat_fixture_join(&f->here, h(f, "carol"), "den", 0);
    chat_fixture_send(&f->here, h(f, "carol"), "#den", "once", 0);
    chat_fixture_join_private(&f->there, t(f, "carol"), "den");
    chat_fixture_send(&f->there, t(f, "carol"), "#den", "once", 0);
    assert_int_equal(take_all(f), 1);
    Jackdaw__Delta *other = chat_fixture_unpack(&f->there.deltas[f->there.deltas_count - 1]);
    assert_int_equal(other->change_case, JACKDAW__DELTA__CHANGE_MESSAGE_SENT);
    other->message_sent->room ^= 1;
    assert_int_equal(take(f, other), CHAT_KNOWN);
    jackdaw__delta__free_unpacked(other, NULL);
    assert_int_equal(outcome(f, "carol", 3).status, STATUS_OK);
}

TEST_ON(test_direct__begun_in_both_partition, struct partition, begin, end)
{
    chat_fixture_send(&f->here, h(f, "bob"), "@carol", "here", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "@bob", "there", 0);
    chat_fixture_send(&f->there, t(f, "dave"), "@alice", "new", 0);
    chat_fixture_send(&f->there, t(f, "dave"), "@dave", "myself", 0);
    take_all(f);
    assert_string_equal(reads(f, "bob"), "MESSAGE @carol bob here; MESSAGE @carol carol there");
    assert_string_equal(reads(f, "alice"), "MESSAGE @dave dave new");
    assert_string_equal(reads(f, "dave"), "MESSAGE @alice dave new; MESSAGE @dave dave myself");
    assert_int_equal(outcome(f, "carol", 2).number, 2);
}

TEST_ON(test_direct__to_one_who_is_gone, struct partition, begin, end)
{
    chat_fixture_delete(&f->here, h(f, "dave"), true);
    chat_fixture_send(&f->there, t(f, "carol"), "@dave", "kept", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "@dave", "too", 0);
    take_all(f);
    const char *text = reads(f, "carol");
    assert_non_null(strstr(text, "carol kept"));
    assert_non_null(strstr(text, "carol too"));
}

TEST_ON(test_room__public_ones_of_one_name_become_one, struct partition, begin, end)
{
    chat_fixture_join(&f->here, h(f, "bob"), "new", 0);
    chat_fixture_join(&f->there, t(f, "carol"), "New", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "#new", "one", 0);
    chat_fixture_join(&f->there, t(f, "dave"), "new", 0);
    chat_fixture_send(&f->there, t(f, "dave"), "#new", "two", 0);
    chat_fixture_topic(&f->there, t(f, "dave"), "new", "topic");
    chat_fixture_leave(&f->there, t(f, "carol"), "new");
    take_all(f);
    assert_members(&f->here, h(f, "bob"), "new", "bob* dave");
    assert_string_equal(reads(f, "bob"),
                        "JOINED new bob; OWNER new bob; JOINED new carol; MESSAGE new carol one; "
                        "JOINED new dave; MESSAGE new dave two; TOPIC new dave topic; LEFT new "
                        "carol");
}

TEST_ON(test_room__a_private_one_of_a_name_that_is_taken, struct partition, begin, end)
{
    chat_fixture_join(&f->here, h(f, "bob"), "new", 0);
    chat_fixture_join_private(&f->there, t(f, "carol"), "New");
    chat_fixture_send(&f->there, t(f, "carol"), "#new", "one", 0);
    chat_fixture_invite(&f->there, t(f, "carol"), "new", "dave");
    chat_fixture_join(&f->there, t(f, "dave"), "new", 0);
    chat_fixture_send(&f->there, t(f, "dave"), "#new", "two", 0);
    take_all(f);
    assert_members(&f->here, h(f, "bob"), "new", "bob*");
    assert_members(&f->here, h(f, "carol"), "new~2", "carol* dave");
    assert_string_equal(reads(f, "bob"), "JOINED new bob; OWNER new bob");
    assert_string_equal(reads(f, "dave"),
                        "JOINED New~2 dave; NOTICE New~2 dave This room is #New~2 now: while "
                        "servers were cut off from each other, another room was made as #New.; "
                        "MESSAGE New~2 dave two");
    const char *text = reads(f, "carol");
    assert_non_null(strstr(text, "NOTICE New~2 carol This room is #New~2 now"));
    assert_non_null(strstr(text, "MESSAGE New~2 carol one"));
    assert_true(outcome(f, "carol", 2).created);
}

/* What comes in so may be handed over once more, where the room is yet another. */
TEST_ON(test_room__made_in_both_keeps_its_name_for_a_third, struct partition, begin, end)
{
    chat_fixture_join(&f->here, h(f, "bob"), "lobby", 0);
    chat_fixture_join(&f->there, t(f, "carol"), "lobby", 0);
    take_all(f);
    Jackdaw__Delta *late = chat_fixture_unpack(&f->here.deltas[f->here.deltas_count - 1]);
    assert_int_equal(late->change_case, JACKDAW__DELTA__CHANGE_ROOM_JOINED);
    assert_string_equal(late->room_joined->name, "");
    assert_string_equal(late->room_name, "lobby");
    jackdaw__delta__free_unpacked(late, NULL);
    assert_members(&f->here, h(f, "bob"), "lobby", "bob* carol");
}

TEST_ON(test_room__a_long_name_is_cut, struct partition, begin, end)
{
    static const char name[] =
        "\u00E9\u00E9\u00E9\u00E9\u00E9\u00E9\u00E9\u00E9abcdefghijklmnopqrstuvwx";
    assert_int_equal(text_characters(name), CHAT_NAME_CHARACTERS_MAX);
    chat_fixture_join(&f->here, h(f, "bob"), name, 0);
    chat_fixture_join_private(&f->there, t(f, "dave"), name);
    take_all(f);
    static const char cut[] =
        "\u00E9\u00E9\u00E9\u00E9\u00E9\u00E9\u00E9\u00E9abcdefghijklmnopqrstuv~2";
    assert_members(&f->here, h(f, "dave"), cut, "dave*");
}

/* Its maker asked here again, and it was made anew. */
TEST_ON(test_room__whose_maker_asked_here_too, struct partition, begin, end)
{
    chat_fixture_join_private(&f->there, t(f, "carol"), "new");
    chat_fixture_invite(&f->there, t(f, "carol"), "new", "dave");
    chat_fixture_join(&f->there, t(f, "dave"), "new", 0);
    chat_fixture_send(&f->there, t(f, "dave"), "#new", "two", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "#new", "one", 0);
    chat_fixture_join_private(&f->here, h(f, "carol"), "new");
    take_all(f);
    assert_string_equal(reads(f, "dave"), "JOINED new dave; MESSAGE new dave two; "
                                          "MESSAGE new carol one");
    assert_members(&f->here, h(f, "carol"), "new", "carol* dave");
}

TEST_ON(test_room__ended_here, struct partition, begin, end)
{
    chat_fixture_invite(&f->there, t(f, "alice"), "secret", "bob");
    chat_fixture_join(&f->there, t(f, "bob"), "secret", 0);
    chat_fixture_send(&f->there, t(f, "bob"), "#secret", "there", 0);
    /* alice asked something else here under that number, then left: secret is no more */
    chat_fixture_send(&f->here, h(f, "alice"), "#secret", "before", 0);
    chat_fixture_leave(&f->here, h(f, "alice"), "secret");
    take_all(f);
    assert_members(&f->here, h(f, "bob"), "secret", "bob*");
    assert_non_null(strstr(reads(f, "bob"), "MESSAGE secret bob there"));
    assert_int_equal(outcome(f, "bob", 3).number, 2); /* "before" still counts */
}

TEST_ON(test_room__of_a_message_is_not_here, struct partition, begin, end)
{
    chat_fixture_join(&f->there, t(f, "carol"), "new", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "#new", "kept", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "#new", "too", 0);
    chat_fixture_join(&f->here, h(f, "bob"), "new", 0);
    chat_fixture_topic(&f->here, h(f, "carol"), "general", "something else was asked here");
    take_all(f);
    assert_string_equal(reads(f, "carol"),
                        "TOPIC general carol something else was asked here; JOINED new~2 carol; "
                        "OWNER new~2 carol; NOTICE new~2 carol This room is #new~2: it holds what "
                        "was said in a room that is no more while servers were cut off from each "
                        "other.; MESSAGE new~2 carol kept; MESSAGE new~2 carol too");
}

TEST_ON(test_join__of_a_full_room_and_of_a_private_one, struct partition, begin, end)
{
    chat_fixture_invite(&f->there, t(f, "alice"), "secret", "dave");
    chat_fixture_join(&f->there, t(f, "dave"), "secret", 0);
    chat_fixture_join(&f->there, t(f, "dave"), "general", 0);
    f->here.chat->limits.members_per_room = 3;
    /* here the invitation's number was used for something else */
    chat_fixture_topic(&f->here, h(f, "alice"), "general", "topic");
    take_all(f);
    assert_members(&f->here, h(f, "dave"), "secret", "alice* dave");
    assert_members(&f->here, h(f, "dave"), "general", "alice* bob carol dave");
}

TEST_ON(test_room__stale_doings_change_nothing, struct partition, begin, end)
{
    chat_fixture_leave(&f->here, h(f, "bob"), "general");
    chat_fixture_join(&f->here, h(f, "dave"), "general", 0);
    chat_fixture_kick(&f->there, t(f, "alice"), "general", "bob", false);
    chat_fixture_invite(&f->there, t(f, "alice"), "general", "dave");
    chat_fixture_topic(&f->there, t(f, "alice"), "general", "later");
    chat_fixture_topic(&f->here, h(f, "dave"), "general", "sooner");
    chat_fixture_kick(&f->there, t(f, "alice"), "general", "carol", true);
    char *before = strdup(reads(f, "alice"));
    assert_int_equal(take_all(f), 4); /* their numbers are used up */
    const char *after = reads(f, "alice");
    assert_memory_equal(after, before, strlen(before));
    assert_string_equal(after + strlen(before),
                        "; TOPIC general alice later; LEFT general carol alice banned");
    assert_members(&f->here, h(f, "alice"), "general", "alice* dave");
    free(before);
}

TEST_ON(test_outcomes__are_kept, struct partition, begin, end)
{
    chat_fixture_join(&f->there, t(f, "carol"), "general", 0); /* in it already */
    chat_fixture_send(&f->there, t(f, "carol"), "#nowhere", "x", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "#general", "x", 0);
    assert_int_equal(take_all(f), 3);
    assert_int_equal(outcome(f, "carol", 2).status, STATUS_OK);
    assert_int_equal(outcome(f, "carol", 3).status, STATUS_NOT_FOUND);
    assert_status(chat_fixture_send(&f->here, h(f, "carol"), "#general", "x", 3), STATUS_NOT_FOUND);
}

TEST_ON(test_account__of_a_name_that_is_taken_here, struct partition, begin, end)
{
    chat_fixture_register(&f->here, "Eve");
    chat_fixture_register(&f->there, "eve");
    chat_fixture_device(&f->there, "eve", "laptop");
    chat_fixture_join(&f->there, t(f, "laptop"), "general", 0);
    chat_fixture_send(&f->there, t(f, "laptop"), "#general", "hi", 0);
    assert_int_equal(take_all(f), 4);
    assert_string_equal(chat_session_name(h(f, "laptop")), "eve~2");
    assert_string_equal(reads(f, "laptop"),
                        "NOTICE @eve~2 eve~2 Your account is @eve~2 now: while the servers were "
                        "partitioned, another user registered @eve. Log in with the new name; the "
                        "password is the same.; JOINED general eve~2; MESSAGE general "
                        "eve~2 hi");
    assert_ok(chat_fixture_login(&f->here, "eve~2", "phone"));
    /* One who was away and does not know: */
    struct chat_call call = chat_fixture_call(&f->here, NULL);
    Jackdaw__LoginRequest login = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[CHAT_TOKEN_BYTES] = {1};
    login.name = "eve";
    login.token = (ProtobufCBinaryData){.len = sizeof token, .data = token};
    assert_int_equal(chat_propose_login(f->here.chat, &call, &login, false), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
    assert_non_null(strstr(call.text, "@eve~2"));
}

/* Taken over twice, through a third half, the account is still told. */
TEST_ON(test_account__renamed_and_merged_again, struct partition, begin, end)
{
    chat_fixture_register(&f->here, "eve");
    chat_fixture_register(&f->there, "eve");
    take_all(f);
    struct partition next = {.here.seq = 0};
    chat_fixture_open(&next.here, 3, NULL);
    Jackdaw__Delta *late = chat_fixture_unpack(&f->here.deltas[f->here.deltas_count - 1]);
    assert_int_equal(take(&next, late), CHAT_APPLY);
    jackdaw__delta__free_unpacked(late, NULL);
    struct chat_session *session = chat_fixture_device(&next.here, "eve~2", "phone");
    assert_non_null(strstr(chat_fixture_reads(&next.here, session, 0), "NOTICE @eve~2"));
    chat_fixture_close(&next.here);
}

TEST_ON(test_account__registered_twice_by_one, struct partition, begin, end)
{
    chat_fixture_register(&f->here, "eve");
    Jackdaw__Delta *delta = chat_fixture_unpack(&f->here.deltas[f->here.deltas_count - 1]);
    uint64_t id = delta->account_registered->account;
    assert_int_equal(take(f, delta), CHAT_KNOWN);
    delta->account_registered->account = 77; /* another id, the same nonce */
    assert_int_equal(take(f, delta), CHAT_KNOWN);
    delta->account_registered->nonce.data[0] ^= 1;
    assert_int_equal(take(f, delta), CHAT_APPLY);
    chat_fixture_person(&f->here, "eve");
    chat_fixture_delete(&f->here, h(f, "eve"), true);
    delta->account_registered->account = id;
    assert_int_equal(take(f, delta), CHAT_KNOWN); /* it was here */
    jackdaw__delta__free_unpacked(delta, NULL);
}

TEST_ON(test_account__deleted_here, struct partition, begin, end)
{
    chat_fixture_device(&f->there, "carol", "phone");
    chat_fixture_send(&f->there, t(f, "carol"), "#general", "too late", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "#nowhere", "refused", 0);
    chat_fixture_send(&f->there, t(f, "bob"), "@carol", "for nobody", 0);
    chat_fixture_delete(&f->here, h(f, "carol"), true);
    assert_int_equal(take_all(f), 1);
    assert_int_equal(f->verdicts[CHAT_DROP], 3);
}

TEST_ON(test_account__deleted_there, struct partition, begin, end)
{
    chat_fixture_device(&f->here, "carol", "phone");
    chat_fixture_send(&f->here, h(f, "phone"), "#general", "stays", 0);
    chat_fixture_delete(&f->there, t(f, "carol"), true);
    take_all(f);
    assert_null(h(f, "carol"));
    assert_null(h(f, "phone"));
    assert_ok(chat_fixture_register(&f->here, "carol"));
    assert_non_null(strstr(reads(f, "bob"), "stays"));
}

TEST_ON(test_session__more_than_allowed, struct partition, begin, end)
{
    chat_fixture_device(&f->here, "carol", "phone");
    chat_fixture_device(&f->there, "carol", "laptop");
    chat_fixture_send(&f->there, t(f, "laptop"), "#general", "hi", 0);
    take_all(f);
    assert_non_null(h(f, "carol"));
    assert_non_null(h(f, "phone"));
    assert_non_null(h(f, "laptop"));
    assert_string_equal(reads(f, "bob"), "MESSAGE general carol hi");
    assert_status(chat_fixture_login(&f->here, "carol", "fourth"), STATUS_RESOURCE_EXHAUSTED);
}

TEST_ON(test_session__does_not_end_those_that_are_alive_here, struct partition, begin, end)
{
    chat_fixture_device(&f->there, "carol", "phone");
    f->there.monotonic_ms += 100000;
    chat_expire(f->there.chat, f->there.monotonic_ms, f->there.time_ms);
    chat_fixture_device(&f->there, "carol", "laptop"); /* in the place of a silent one */
    take_all(f);
    assert_non_null(h(f, "carol"));
    assert_non_null(h(f, "laptop"));
}

TEST_ON(test_session__one_token_in_both_partition, struct partition, begin, end)
{
    chat_fixture_device(&f->here, "carol", "phone");
    chat_fixture_device(&f->there, "carol", "phone");
    chat_fixture_send(&f->here, h(f, "phone"), "#general", "here", 0);
    chat_fixture_send(&f->there, t(f, "phone"), "#general", "there", 0);
    uint64_t session = chat_session_id(h(f, "phone"));
    take_all(f);
    assert_int_equal(chat_session_id(h(f, "phone")), session);
    assert_string_equal(reads(f, "bob"), "MESSAGE general carol here; MESSAGE general carol there");
}

TEST_ON(test_session__ended_here_still_counts, struct partition, begin, end)
{
    chat_fixture_send(&f->there, t(f, "carol"), "#general", "one", 0);
    chat_fixture_send(&f->there, t(f, "carol"), "#general", "two", 0);
    chat_fixture_send(&f->there, t(f, "bob"), "#general", "three", 0);
    chat_fixture_send(&f->there, t(f, "bob"), "#general", "four", 0);
    chat_fixture_send(&f->here, h(f, "carol"), "#general", "one", 0);
    chat_fixture_send(&f->here, h(f, "carol"), "#general", "two", 0);
    chat_fixture_logout(&f->here, h(f, "carol"), 0);
    chat_fixture_send(&f->here, h(f, "bob"), "#general", "three", 0);
    f->here.monotonic_ms += 100000;
    chat_expire(f->here.chat, f->here.monotonic_ms, f->here.time_ms);
    chat_fixture_device(&f->here, "bob", "laptop");
    chat_fixture_device(&f->here, "bob", "phone"); /* ends the first, which was silent */
    assert_null(h(f, "bob"));
    chat_fixture_reopen(&f->here);
    take_all(f);
    assert_string_equal(reads(f, "phone"),
                        "MESSAGE general carol one; MESSAGE general carol two; MESSAGE general bob "
                        "three; MESSAGE general bob four");
}

TEST_ON(test_session__ended_there, struct partition, begin, end)
{
    chat_fixture_device(&f->there, "carol", "phone");
    chat_fixture_send(&f->there, t(f, "phone"), "#general", "hi", 0);
    chat_note_delivered(f->there.chat, t(f, "phone"), f->there.seq);
    chat_fixture_logout(&f->there, t(f, "phone"), f->there.seq);
    chat_fixture_send(&f->here, h(f, "bob"), "#general", "unread", 0);
    take_all(f);
    assert_null(h(f, "phone"));
    const struct account *carol = h(f, "carol")->account;
    assert_true(carol->delivered_seq < f->parted); /* nothing here counts as received */
}

TEST_ON(test_session__ended_ones_are_forgotten_in_the_end, struct partition, begin, end)
{
    struct chat_fixture *fixture = &f->here;
    uint64_t first = chat_session_id(h(f, "dave"));
    chat_fixture_logout(fixture, h(f, "dave"), 0);
    const struct state *inner = &fixture->chat->state;
    for (int i = 0; i < SESSIONS_ENDED_MAX - 1; i++) {
        chat_fixture_device(fixture, "dave", "again");
        chat_fixture_logout(fixture, h(f, "again"), 0);
    }
    assert_non_null(state_ended_session(inner, first));
    chat_fixture_reopen(fixture);
    inner = &fixture->chat->state;
    uint64_t second = inner->sessions_ended->by_ended.next == NULL
                          ? 0
                          : ((struct chat_session *)inner->sessions_ended->by_ended.next)->id;
    assert_int_equal(inner->sessions_ended->id, first);
    chat_fixture_device(fixture, "dave", "again");
    chat_fixture_logout(fixture, h(f, "again"), 0);
    assert_null(state_ended_session(inner, first));
    assert_non_null(state_ended_session(inner, second));
    assert_int_equal(HASH_CNT(by_ended, inner->sessions_ended), SESSIONS_ENDED_MAX);
    /* What was said in it in the other half is kept all the same, once, and the rest is dropped. */
    chat_fixture_join(&f->there, t(f, "dave"), "general", 0);
    chat_fixture_send(&f->there, t(f, "dave"), "#general", "one", 0);
    chat_fixture_send(&f->there, t(f, "dave"), "#general", "two", 0);
    take_from(f, f->parted, 3);
    assert_int_equal(f->verdicts[CHAT_DROP], 1);
    assert_int_equal(f->verdicts[CHAT_APPLY], 2);
    chat_fixture_reopen(fixture);
    take_from(f, f->parted, 3);
    assert_int_equal(f->verdicts[CHAT_KNOWN], 3);
    assert_string_equal(reads(f, "alice"), "MESSAGE general dave one; MESSAGE general dave two");
    inner = &fixture->chat->state;
    assert_int_equal(state_ended_session(inner, first)->last_request, 3);
    assert_null(state_ended_session(inner, second));
    assert_null(h(f, "dave"));
}

TEST_ON(test_delivered__of_another_log_means_nothing, struct partition, begin, end)
{
    chat_fixture_send(&f->there, t(f, "bob"), "#general", "x", 0);
    chat_note_delivered(f->there.chat, t(f, "carol"), f->there.seq);
    assert_true(chat_fixture_deliver(&f->there));
    for (int i = 0; i < 9; i++)
        chat_fixture_send(&f->here, h(f, "bob"), "#general", "y", 0);
    assert_int_equal(take_all(f), 0);
    assert_true(h(f, "carol")->account->delivered_seq < f->parted);
}

TEST_ON(test_unknown_kind__waits_for_a_newer_program, struct partition, begin, end)
{
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    assert_int_equal(take(f, &delta), CHAT_WAIT);
    delta.change_case = (Jackdaw__Delta__ChangeCase)99;
    assert_int_equal(take(f, &delta), CHAT_WAIT);
}

static void write_much(struct partition *partition)
{
    struct chat_fixture *fixture = &partition->there;
    chat_fixture_register(fixture, "eve");
    chat_fixture_device(fixture, "eve", "eve");
    chat_fixture_join(fixture, t(partition, "eve"), "room", 0);
    chat_fixture_send(fixture, t(partition, "eve"), "#room", "x", 0);
    chat_fixture_send(fixture, t(partition, "eve"), "@bob", "x", 0);
    chat_fixture_invite(fixture, t(partition, "eve"), "room", "dave");
    chat_fixture_join(fixture, t(partition, "dave"), "room", 0);
    chat_fixture_kick(fixture, t(partition, "eve"), "room", "dave", true);
    chat_fixture_topic(fixture, t(partition, "eve"), "room", "topic");
    chat_fixture_send(fixture, t(partition, "eve"), "#nowhere", "x", 0);
    chat_fixture_join(fixture, t(partition, "eve"), "room", 0);
    chat_fixture_leave(fixture, t(partition, "bob"), "general");
    chat_note_delivered(fixture->chat, t(partition, "bob"), fixture->seq);
    chat_fixture_deliver(fixture);
    chat_fixture_logout(fixture, t(partition, "carol"), 0);
    chat_fixture_delete(fixture, t(partition, "dave"), true);
}

/* Whatever is offered, nothing is ever proposed that cannot be applied (asserted in take). */
TEST_ON(test_merge__random_bytes, struct partition, begin, end)
{
    write_much(f);
    size_t first = f->parted;
    size_t count = f->there.deltas_count - first;
    for (int i = 0; i < 20000; i++) {
        const struct delta_bytes *packed =
            &f->there.deltas[first + chat_fixture_random(&f->there) % count];
        uint8_t bytes[512];
        memcpy(bytes, packed->bytes, packed->size);
        for (uint64_t hits = chat_fixture_random(&f->there) % 3; hits > 0; hits--)
            bytes[chat_fixture_random(&f->there) % packed->size] =
                (uint8_t)chat_fixture_random(&f->there);
        Jackdaw__Delta *delta = jackdaw__delta__unpack(NULL, packed->size, bytes);
        if (delta == NULL)
            continue;
        if (f->here.seq < 1000 || delta->session == 0) /* else the log grows and grows */
            take(f, delta);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
    chat_fixture_reopen(&f->here);
}

/* Short of memory it waits, and nothing else. */
TEST_ON(test_merge__every_budget_is_too_small_for_a_while, struct partition, begin, end)
{
    chat_fixture_register(&f->here, "eve");
    write_much(f);
    for (size_t i = f->parted; i < f->there.deltas_count; i++) {
        Jackdaw__Delta *delta = chat_fixture_unpack(&f->there.deltas[i]);
        for (size_t budget = 0; budget < 4096; budget += 16) {
            struct arena arena;
            arena_init(&arena, budget);
            struct chat_call call = chat_fixture_call(&f->here, NULL);
            call.arena = &arena;
            enum chat_merge merge = chat_merge_orphan(f->here.chat, &call, delta);
            assert_true(merge != CHAT_WAIT || call.text[0] != '\0');
            assert_true(merge != CHAT_APPLY || call.delta != NULL);
            assert_int_not_equal(merge, CHAT_DROP);
            arena_clear(&arena);
        }
        take(f, delta);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
}
