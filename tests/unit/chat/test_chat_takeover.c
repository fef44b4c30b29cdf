/* SPDX-License-Identifier: MIT */
/* Two halves of a cluster that was split: `there` wrote on in the old reign, `here` in a new one
 * takes over what `there` has after the place where they parted. */
#include "chat/chat_internal.h"

#include "chat/text.h"
#include "chat_world.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct halves {
    struct world here;
    struct world there;
    size_t parted; /* how many entries of the log both have */
    size_t verdicts[5];
    bool gives_up;
    char last_text[600];
};

static struct chat_session *h(struct halves *halves, const char *token)
{
    return world_session(&halves->here, token);
}

static struct chat_session *t(struct halves *halves, const char *token)
{
    return world_session(&halves->there, token);
}

static Jackdaw__Delta *unpack(const struct packed *packed)
{
    Jackdaw__Delta *delta = jackdaw__delta__unpack(NULL, packed->size, packed->bytes);
    assert_non_null(delta);
    return delta;
}

static void part(struct halves *halves)
{
    for (size_t i = 1; i < halves->here.deltas_count; i++) {
        Jackdaw__Delta *delta = unpack(&halves->here.deltas[i]);
        assert_int_equal(world_apply(&halves->there, delta), OK);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
    halves->parted = halves->there.deltas_count;
    world_new_reign(&halves->here);
    halves->here.time_ms += 60000;
    halves->there.time_ms += 1000;
}

/* alice, bob, carol, dave; general has alice (owner), bob and carol; secret alice. */
static int open_halves(void **state)
{
    struct halves *halves = calloc(1, sizeof *halves);
    world_open(&halves->here, 1, NULL);
    world_open(&halves->there, 2, NULL);
    struct world *world = &halves->here;
    static const char *const names[] = {"alice", "bob", "carol", "dave"};
    for (size_t i = 0; i < 4; i++)
        world_person(world, names[i]);
    world_join(world, world_session(world, "alice"), "general", 0);
    world_join(world, world_session(world, "bob"), "general", 0);
    world_join(world, world_session(world, "carol"), "general", 0);
    world_join_private(world, world_session(world, "alice"), "secret");
    part(halves);
    *state = halves;
    return 0;
}

static int close_halves(void **state)
{
    struct halves *halves = *state;
    world_close(&halves->here);
    world_close(&halves->there);
    free(halves);
    return 0;
}

static enum chat_taking take(struct halves *halves, const Jackdaw__Delta *orphan)
{
    struct chat_call call = world_call(&halves->here, NULL);
    enum chat_taking taking = chat_take_over(halves->here.chat, &call, orphan, halves->gives_up);
    snprintf(halves->last_text, sizeof halves->last_text, "%s", call.text);
    halves->verdicts[taking]++;
    if (taking == CHAT_APPLY) {
        assert_true(call.delta->late);
        assert_int_equal(call.delta->session, orphan->session);
        assert_int_equal(call.delta->request, orphan->request);
        assert_int_equal(call.delta->time_ms, orphan->time_ms);
        assert_int_equal(world_apply(&halves->here, call.delta), OK);
    } else if (taking == CHAT_APPLY_FIRST) {
        assert_true(halves->gives_up && call.delta->late);
        assert_int_equal(call.delta->session, 0);
        assert_int_equal(world_apply(&halves->here, call.delta), OK);
        return take(halves, orphan);
    } else if (taking != CHAT_KNOWN) {
        assert_true(strlen(call.text) > 10);
    }
    return taking;
}

/* Offers the orphans from the given one on; *verdicts are of this time only. */
static void take_from(struct halves *halves, size_t first, size_t count)
{
    memset(halves->verdicts, 0, sizeof halves->verdicts);
    for (size_t i = first; i < first + count && i < halves->there.deltas_count; i++) {
        Jackdaw__Delta *delta = unpack(&halves->there.deltas[i]);
        take(halves, delta);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
}

/* The second time nothing may change. */
static void take_all(struct halves *halves)
{
    size_t verdicts[5];
    take_from(halves, halves->parted, SIZE_MAX / 2);
    memcpy(verdicts, halves->verdicts, sizeof verdicts);
    char *rows = world_rows(&halves->here);
    uint64_t seq = halves->here.seq;
    take_from(halves, halves->parted, SIZE_MAX / 2);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 0);
    assert_int_equal(halves->verdicts[CHAT_WAIT], 0);
    char *rows_again = world_rows(&halves->here);
    assert_string_equal(rows_again, rows);
    assert_int_equal(halves->here.seq, seq);
    free(rows);
    free(rows_again);
    memcpy(halves->verdicts, verdicts, sizeof verdicts);
    world_reopen(&halves->here);
}

static const char *reads(struct halves *halves, const char *token)
{
    return world_reads(&halves->here, h(halves, token), halves->parted);
}

static struct chat_outcome outcome(struct halves *halves, const char *token, uint64_t request)
{
    struct chat_outcome out;
    struct chat_call call = world_call(&halves->here, h(halves, token));
    assert_int_equal(chat_outcome_of(halves->here.chat, call.session, request, call.arena, &out),
                     OK);
    return out;
}

/* ---- messages ---- */

static void test_message__gets_a_new_place_and_keeps_what_it_was(void **state)
{
    struct halves *halves = *state;
    world_send(&halves->here, h(halves, "bob"), "#general", "here", 0);
    struct answer answer = world_send(&halves->there, t(halves, "carol"), "#general", "there", 0);
    assert_int_equal(answer.outcome.number, 1);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 1);
    assert_string_equal(reads(halves, "alice"),
                        "MESSAGE general bob here; MESSAGE general carol there");
    struct chat_outcome out = outcome(halves, "carol", 2);
    assert_int_equal(out.number, 2);
    assert_int_equal(out.position.seq, halves->here.seq);
    assert_int_equal(out.position.epoch, halves->here.epoch);
    assert_int_equal(out.time_ms, answer.outcome.time_ms);
    assert_int_equal(chat_session_last_request(h(halves, "carol")), 2);
}

static void test_message__asked_in_both_halves(void **state)
{
    struct halves *halves = *state;
    world_send(&halves->there, t(halves, "carol"), "#general", "one", 0);
    world_send(&halves->there, t(halves, "carol"), "#general", "two", 0);
    world_send(&halves->here, h(halves, "carol"), "#general", "one", 0);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_KNOWN], 1);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 1);
    assert_string_equal(reads(halves, "alice"),
                        "MESSAGE general carol one; MESSAGE general carol two");
}

static void test_message__waits_for_the_one_before(void **state)
{
    struct halves *halves = *state;
    for (int i = 0; i < 4; i++)
        world_send(&halves->there, t(halves, "carol"), "#general", "x", 0);
    take_from(halves, halves->parted + 1, 3);
    assert_int_equal(halves->verdicts[CHAT_WAIT], 3);
    assert_string_equal(reads(halves, "alice"), "");
    take_from(halves, halves->parted, 2);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 2);
    take_all(halves);
    assert_int_equal(chat_session_last_request(h(halves, "carol")), 5);
    /* Or the client sends it again, here. */
    world_send(&halves->there, t(halves, "carol"), "#general", "lost", 0);
    world_send(&halves->there, t(halves, "carol"), "#general", "last", 0);
    take_from(halves, halves->parted + 5, 1);
    assert_int_equal(halves->verdicts[CHAT_WAIT], 1);
    assert_int_equal(world_send(&halves->here, h(halves, "carol"), "#general", "y", 8).next_request,
                     6);
    world_send(&halves->here, h(halves, "carol"), "#general", "lost", 6);
    take_from(halves, halves->parted + 5, 1);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 1);
}

/* The log of the other half began in the middle of a session, and neither the client nor anybody who
 * has what came before comes back. */
static void test_message__the_ones_before_are_lost(void **state)
{
    struct halves *halves = *state;
    static const char *const texts[] = {"two", "three", "four", "five", "six"};
    for (size_t i = 0; i < 5; i++)
        world_send(&halves->there, t(halves, "carol"), "#general", texts[i], 0);
    take_from(halves, halves->parted + 3, 2);
    assert_int_equal(halves->verdicts[CHAT_WAIT], 2);
    halves->gives_up = true;
    take_from(halves, halves->parted + 3, 2);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 2);
    assert_string_equal(reads(halves, "alice"),
                        "MESSAGE general carol five; MESSAGE general carol six");
    assert_int_equal(chat_session_last_request(h(halves, "carol")), 6);
    world_reopen(&halves->here);
    take_from(halves, halves->parted + 3, 2);
    assert_int_equal(halves->verdicts[CHAT_KNOWN], 2);
    /* Who asks for one of those between is told; the next one is carried out. */
    struct answer answer = world_send(&halves->here, h(halves, "carol"), "#general", "three", 3);
    assert_int_equal(answer.status, STATUS_DATA_LOSS);
    assert_int_equal(answer.retry_ms, 0);
    assert_false(answer.applied);
    assert_int_equal(world_send(&halves->here, h(halves, "carol"), "#general", "7", 7).status,
                     STATUS_OK);
    /* They come after all: late, and once. */
    halves->gives_up = false;
    take_from(halves, halves->parted, 5);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 3);
    assert_string_equal(reads(halves, "alice"),
                        "MESSAGE general carol five; MESSAGE general carol six; MESSAGE general "
                        "carol 7; MESSAGE general carol two; MESSAGE general carol three; MESSAGE "
                        "general carol four");
    assert_int_equal(outcome(halves, "carol", 3).status, STATUS_OK);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_KNOWN], 5);
}

/* So much is lost that nothing tells any more which numbers were. */
static void test_message__more_are_lost_than_outcomes_are_kept(void **state)
{
    struct halves *halves = *state;
    for (int i = 0; i < 2 * STORE_OUTCOME_WINDOW; i++)
        world_send(&halves->there, t(halves, "carol"), "#general", "x", 0);
    uint64_t last = chat_session_last_request(t(halves, "carol"));
    halves->gives_up = true;
    take_from(halves, halves->there.deltas_count - 1, 1);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 1);
    assert_int_equal(chat_session_last_request(h(halves, "carol")), last);
    struct answer answer = world_send(&halves->here, h(halves, "carol"), "#general", "x", 3);
    assert_int_equal(answer.status, STATUS_OUT_OF_RANGE);
    take_from(halves, halves->there.deltas_count - STORE_OUTCOME_WINDOW, STORE_OUTCOME_WINDOW);
    assert_int_equal(halves->verdicts[CHAT_APPLY], STORE_OUTCOME_WINDOW - 1);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 0);
}

static void test_message__its_session_and_its_account_are_lost(void **state)
{
    struct halves *halves = *state;
    world_device(&halves->there, "bob", "phone");
    world_person(&halves->there, "zoe");
    size_t from = halves->there.deltas_count;
    world_send(&halves->there, t(halves, "phone"), "#general", "by bob", 0);
    world_join(&halves->there, t(halves, "zoe"), "general", 0);
    world_send(&halves->there, t(halves, "zoe"), "#general", "by zoe", 0);
    take_from(halves, from, 3);
    assert_int_equal(halves->verdicts[CHAT_WAIT], 3);
    halves->gives_up = true;
    take_from(halves, from, 3);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 3);
    assert_int_equal(halves->verdicts[CHAT_APPLY_FIRST], 3);
    assert_null(h(halves, "phone")); /* nobody has its token */
    assert_string_equal(reads(halves, "alice"),
                        "MESSAGE general bob by bob; JOINED general lost~2; MESSAGE general lost~2 "
                        "by zoe");
    halves->gives_up = false;
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 0);
    assert_int_equal(halves->verdicts[CHAT_WAIT], 0);
}

/* Only what is late may tell of what was lost. */
static void test_message__no_number_is_left_out_otherwise(void **state)
{
    struct halves *halves = *state;
    world_send(&halves->there, t(halves, "carol"), "#general", "x", 0);
    Jackdaw__Delta *delta = unpack(&halves->there.deltas[halves->parted]);
    delta->request += 3;
    delta->lost = 3;
    assert_int_equal(world_apply(&halves->here, delta), ERROR_CORRUPT);
    delta->late = true;
    delta->lost = 2;
    assert_int_equal(world_apply(&halves->here, delta), ERROR_CORRUPT);
    delta->lost = UINT64_MAX;
    assert_int_equal(world_apply(&halves->here, delta), ERROR_CORRUPT);
    delta->lost = 3;
    assert_int_equal(world_apply(&halves->here, delta), OK);
    jackdaw__delta__free_unpacked(delta, NULL);
}

static void test_message__of_one_put_out_here(void **state)
{
    struct halves *halves = *state;
    world_kick(&halves->here, h(halves, "alice"), "general", "carol", true);
    world_send(&halves->there, t(halves, "carol"), "#general", "kept", 0);
    world_topic(&halves->there, t(halves, "carol"), "general", "not kept");
    world_send(&halves->there, t(halves, "carol"), "#general", "too", 0);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 3);
    assert_string_equal(reads(halves, "bob"), "LEFT general carol alice banned; MESSAGE general "
                                              "carol kept; MESSAGE general carol too");
    assert_string_equal(world_members(&halves->here, h(halves, "alice"), "general"), "alice* bob");
    assert_int_equal(world_send(&halves->here, h(halves, "carol"), "#general", "no", 0).status,
                     STATUS_PERMISSION_DENIED);
}

/* Asked in both halves, taken there, refused here: it may have been acknowledged there. */
static void test_message__refused_here(void **state)
{
    struct halves *halves = *state;
    world_kick(&halves->here, h(halves, "alice"), "general", "carol", false);
    world_send(&halves->there, t(halves, "carol"), "#general", "kept", 0);
    world_send(&halves->there, t(halves, "carol"), "@bob", "once", 0);
    assert_int_equal(world_send(&halves->here, h(halves, "carol"), "#general", "kept", 0).status,
                     STATUS_PERMISSION_DENIED);
    world_send(&halves->here, h(halves, "carol"), "@bob", "once", 0);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 1);
    assert_string_equal(reads(halves, "bob"),
                        "LEFT general carol alice kicked; MESSAGE @carol carol "
                        "once; MESSAGE general carol kept");
    assert_int_equal(outcome(halves, "carol", 2).status, STATUS_OK);
    assert_int_equal(outcome(halves, "carol", 2).number, 1);
    assert_int_equal(chat_session_last_request(h(halves, "carol")), 3);
}

/* Refused here, taken in two other halves that had each made a private room of that name. */
static void test_message__refused_here_and_taken_twice(void **state)
{
    struct halves *halves = *state;
    world_join_private(&halves->here, h(halves, "alice"), "den");
    world_join(&halves->here, h(halves, "carol"), "den", 0);
    world_send(&halves->here, h(halves, "carol"), "#den", "once", 0);
    world_join_private(&halves->there, t(halves, "carol"), "den");
    world_send(&halves->there, t(halves, "carol"), "#den", "once", 0);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 1);
    Jackdaw__Delta *other = unpack(&halves->there.deltas[halves->there.deltas_count - 1]);
    assert_int_equal(other->change_case, JACKDAW__DELTA__CHANGE_MESSAGE_SENT);
    other->message_sent->room ^= 1;
    assert_int_equal(take(halves, other), CHAT_KNOWN);
    jackdaw__delta__free_unpacked(other, NULL);
    assert_int_equal(outcome(halves, "carol", 3).status, STATUS_OK);
}

static void test_direct__begun_in_both_halves(void **state)
{
    struct halves *halves = *state;
    world_send(&halves->here, h(halves, "bob"), "@carol", "here", 0);
    world_send(&halves->there, t(halves, "carol"), "@bob", "there", 0);
    world_send(&halves->there, t(halves, "dave"), "@alice", "new", 0);
    world_send(&halves->there, t(halves, "dave"), "@dave", "myself", 0);
    take_all(halves);
    assert_string_equal(reads(halves, "bob"),
                        "MESSAGE @carol bob here; MESSAGE @carol carol there");
    assert_string_equal(reads(halves, "alice"), "MESSAGE @dave dave new");
    assert_string_equal(reads(halves, "dave"),
                        "MESSAGE @alice dave new; MESSAGE @dave dave myself");
    assert_int_equal(outcome(halves, "carol", 2).number, 2);
}

static void test_direct__to_one_who_is_gone(void **state)
{
    struct halves *halves = *state;
    world_delete(&halves->here, h(halves, "dave"), true);
    world_send(&halves->there, t(halves, "carol"), "@dave", "kept", 0);
    world_send(&halves->there, t(halves, "carol"), "@dave", "too", 0);
    take_all(halves);
    const char *text = reads(halves, "carol");
    assert_non_null(strstr(text, "carol kept"));
    assert_non_null(strstr(text, "carol too"));
}

/* ---- rooms ---- */

static void test_room__public_ones_of_one_name_become_one(void **state)
{
    struct halves *halves = *state;
    world_join(&halves->here, h(halves, "bob"), "new", 0);
    world_join(&halves->there, t(halves, "carol"), "New", 0);
    world_send(&halves->there, t(halves, "carol"), "#new", "one", 0);
    world_join(&halves->there, t(halves, "dave"), "new", 0);
    world_send(&halves->there, t(halves, "dave"), "#new", "two", 0);
    world_topic(&halves->there, t(halves, "dave"), "new", "topic");
    world_leave(&halves->there, t(halves, "carol"), "new");
    take_all(halves);
    assert_string_equal(world_members(&halves->here, h(halves, "bob"), "new"), "bob* dave");
    assert_string_equal(reads(halves, "bob"),
                        "JOINED new bob; OWNER new bob; JOINED new carol; MESSAGE new carol one; "
                        "JOINED new dave; MESSAGE new dave two; TOPIC new dave topic; LEFT new "
                        "carol");
}

static void test_room__a_private_one_of_a_name_that_is_taken(void **state)
{
    struct halves *halves = *state;
    world_join(&halves->here, h(halves, "bob"), "new", 0);
    world_join_private(&halves->there, t(halves, "carol"), "New");
    world_send(&halves->there, t(halves, "carol"), "#new", "one", 0);
    world_invite(&halves->there, t(halves, "carol"), "new", "dave");
    world_join(&halves->there, t(halves, "dave"), "new", 0);
    world_send(&halves->there, t(halves, "dave"), "#new", "two", 0);
    take_all(halves);
    assert_string_equal(world_members(&halves->here, h(halves, "bob"), "new"), "bob*");
    assert_string_equal(world_members(&halves->here, h(halves, "carol"), "new~2"), "carol* dave");
    assert_string_equal(reads(halves, "bob"), "JOINED new bob; OWNER new bob");
    assert_string_equal(reads(halves, "dave"),
                        "JOINED New~2 dave; NOTICE New~2 dave This room is #New~2 now: while "
                        "servers were cut off from each other, another room was made as #New.; "
                        "MESSAGE New~2 dave two");
    const char *text = reads(halves, "carol");
    assert_non_null(strstr(text, "NOTICE New~2 carol This room is #New~2 now"));
    assert_non_null(strstr(text, "MESSAGE New~2 carol one"));
    assert_true(outcome(halves, "carol", 2).created);
}

/* What comes in so may be handed over once more, where the room is yet another. */
static void test_room__made_in_both_keeps_its_name_for_a_third(void **state)
{
    struct halves *halves = *state;
    world_join(&halves->here, h(halves, "bob"), "lobby", 0);
    world_join(&halves->there, t(halves, "carol"), "lobby", 0);
    take_all(halves);
    Jackdaw__Delta *late = unpack(&halves->here.deltas[halves->here.deltas_count - 1]);
    assert_int_equal(late->change_case, JACKDAW__DELTA__CHANGE_ROOM_JOINED);
    assert_string_equal(late->room_joined->name, "");
    assert_string_equal(late->room_name, "lobby");
    jackdaw__delta__free_unpacked(late, NULL);
    assert_string_equal(world_members(&halves->here, h(halves, "bob"), "lobby"), "bob* carol");
}

static void test_room__a_long_name_is_cut(void **state)
{
    struct halves *halves = *state;
    static const char name[] = "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9"
                               "abcdefghijklmnopqrstuvwx";
    assert_int_equal(text_characters(name), CHAT_NAME_CHARACTERS_MAX);
    world_join(&halves->here, h(halves, "bob"), name, 0);
    world_join_private(&halves->there, t(halves, "dave"), name);
    take_all(halves);
    static const char cut[] = "\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9"
                              "abcdefghijklmnopqrstuv~2";
    assert_string_equal(world_members(&halves->here, h(halves, "dave"), cut), "dave*");
}

/* Its maker asked here again, and it was made anew. */
static void test_room__whose_maker_asked_here_too(void **state)
{
    struct halves *halves = *state;
    world_join_private(&halves->there, t(halves, "carol"), "new");
    world_invite(&halves->there, t(halves, "carol"), "new", "dave");
    world_join(&halves->there, t(halves, "dave"), "new", 0);
    world_send(&halves->there, t(halves, "dave"), "#new", "two", 0);
    world_send(&halves->there, t(halves, "carol"), "#new", "one", 0);
    world_join_private(&halves->here, h(halves, "carol"), "new");
    take_all(halves);
    assert_string_equal(reads(halves, "dave"), "JOINED new dave; MESSAGE new dave two; "
                                               "MESSAGE new carol one");
    assert_string_equal(world_members(&halves->here, h(halves, "carol"), "new"), "carol* dave");
}

static void test_room__ended_here(void **state)
{
    struct halves *halves = *state;
    world_invite(&halves->there, t(halves, "alice"), "secret", "bob");
    world_join(&halves->there, t(halves, "bob"), "secret", 0);
    world_send(&halves->there, t(halves, "bob"), "#secret", "there", 0);
    /* alice asked something else here under that number, then left: secret is no more */
    world_send(&halves->here, h(halves, "alice"), "#secret", "before", 0);
    world_leave(&halves->here, h(halves, "alice"), "secret");
    take_all(halves);
    assert_string_equal(world_members(&halves->here, h(halves, "bob"), "secret"), "bob*");
    assert_non_null(strstr(reads(halves, "bob"), "MESSAGE secret bob there"));
    assert_int_equal(outcome(halves, "bob", 3).number, 2); /* "before" still counts */
}

static void test_room__of_a_message_is_not_here(void **state)
{
    struct halves *halves = *state;
    world_join(&halves->there, t(halves, "carol"), "new", 0);
    world_send(&halves->there, t(halves, "carol"), "#new", "kept", 0);
    world_send(&halves->there, t(halves, "carol"), "#new", "too", 0);
    world_join(&halves->here, h(halves, "bob"), "new", 0);
    world_topic(&halves->here, h(halves, "carol"), "general", "something else was asked here");
    take_all(halves);
    assert_string_equal(reads(halves, "carol"),
                        "TOPIC general carol something else was asked here; JOINED new~2 carol; "
                        "OWNER new~2 carol; NOTICE new~2 carol This room is #new~2: it holds what "
                        "was said in a room that is no more while servers were cut off from each "
                        "other.; MESSAGE new~2 carol kept; MESSAGE new~2 carol too");
}

static void test_join__of_a_full_room_and_of_a_private_one(void **state)
{
    struct halves *halves = *state;
    world_invite(&halves->there, t(halves, "alice"), "secret", "dave");
    world_join(&halves->there, t(halves, "dave"), "secret", 0);
    world_join(&halves->there, t(halves, "dave"), "general", 0);
    halves->here.chat->limits.members_per_room = 3;
    /* here the invitation's number was used for something else */
    world_topic(&halves->here, h(halves, "alice"), "general", "topic");
    take_all(halves);
    assert_string_equal(world_members(&halves->here, h(halves, "dave"), "secret"), "alice* dave");
    assert_string_equal(world_members(&halves->here, h(halves, "dave"), "general"),
                        "alice* bob carol dave");
}

static void test_room__stale_doings_change_nothing(void **state)
{
    struct halves *halves = *state;
    world_leave(&halves->here, h(halves, "bob"), "general");
    world_join(&halves->here, h(halves, "dave"), "general", 0);
    world_kick(&halves->there, t(halves, "alice"), "general", "bob", false);
    world_invite(&halves->there, t(halves, "alice"), "general", "dave");
    world_topic(&halves->there, t(halves, "alice"), "general", "later");
    world_topic(&halves->here, h(halves, "dave"), "general", "sooner");
    world_kick(&halves->there, t(halves, "alice"), "general", "carol", true);
    char *before = strdup(reads(halves, "alice"));
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 4); /* their numbers are used up */
    const char *after = reads(halves, "alice");
    assert_memory_equal(after, before, strlen(before));
    assert_string_equal(after + strlen(before),
                        "; TOPIC general alice later; LEFT general carol alice banned");
    assert_string_equal(world_members(&halves->here, h(halves, "alice"), "general"), "alice* dave");
    free(before);
}

static void test_outcomes__are_kept(void **state)
{
    struct halves *halves = *state;
    world_join(&halves->there, t(halves, "carol"), "general", 0); /* in it already */
    world_send(&halves->there, t(halves, "carol"), "#nowhere", "x", 0);
    world_send(&halves->there, t(halves, "carol"), "#general", "x", 0);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 3);
    assert_int_equal(outcome(halves, "carol", 2).status, STATUS_OK);
    assert_int_equal(outcome(halves, "carol", 3).status, STATUS_NOT_FOUND);
    assert_int_equal(world_send(&halves->here, h(halves, "carol"), "#general", "x", 3).status,
                     STATUS_NOT_FOUND);
}

/* ---- accounts ---- */

static void test_account__of_a_name_that_is_taken_here(void **state)
{
    struct halves *halves = *state;
    world_register(&halves->here, "Eve");
    world_register(&halves->there, "eve");
    world_device(&halves->there, "eve", "laptop");
    world_join(&halves->there, t(halves, "laptop"), "general", 0);
    world_send(&halves->there, t(halves, "laptop"), "#general", "hi", 0);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 4);
    assert_string_equal(chat_session_name(h(halves, "laptop")), "eve~2");
    assert_string_equal(reads(halves, "laptop"),
                        "NOTICE @eve~2 eve~2 Your account is @eve~2 now: while servers were cut "
                        "off from each other, somebody else registered @eve. Log in with the new "
                        "name; the password is the same.; JOINED general eve~2; MESSAGE general "
                        "eve~2 hi");
    assert_int_equal(world_login(&halves->here, "eve~2", "phone").status, STATUS_OK);
    /* One who was away and does not know: */
    struct chat_call call = world_call(&halves->here, NULL);
    Jackdaw__LoginRequest login = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[CHAT_TOKEN_BYTES] = {1};
    login.name = "eve";
    login.token = (ProtobufCBinaryData){.len = sizeof token, .data = token};
    assert_int_equal(chat_propose_login(halves->here.chat, &call, &login, false), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
    assert_non_null(strstr(call.text, "@eve~2"));
}

/* Taken over twice, through a third half, the account is still told. */
static void test_account__renamed_and_taken_over_again(void **state)
{
    struct halves *halves = *state;
    world_register(&halves->here, "eve");
    world_register(&halves->there, "eve");
    take_all(halves);
    struct halves next = {.here.seq = 0};
    world_open(&next.here, 3, NULL);
    Jackdaw__Delta *late = unpack(&halves->here.deltas[halves->here.deltas_count - 1]);
    assert_int_equal(take(&next, late), CHAT_APPLY);
    jackdaw__delta__free_unpacked(late, NULL);
    struct chat_session *session = world_device(&next.here, "eve~2", "phone");
    assert_non_null(strstr(world_reads(&next.here, session, 0), "NOTICE @eve~2"));
    world_close(&next.here);
}

static void test_account__registered_twice_by_one(void **state)
{
    struct halves *halves = *state;
    world_register(&halves->here, "eve");
    Jackdaw__Delta *delta = unpack(&halves->here.deltas[halves->here.deltas_count - 1]);
    uint64_t id = delta->account_registered->account;
    assert_int_equal(take(halves, delta), CHAT_KNOWN);
    delta->account_registered->account = 77; /* another id, the same nonce */
    assert_int_equal(take(halves, delta), CHAT_KNOWN);
    delta->account_registered->nonce.data[0] ^= 1;
    assert_int_equal(take(halves, delta), CHAT_APPLY);
    world_person(&halves->here, "eve");
    world_delete(&halves->here, h(halves, "eve"), true);
    delta->account_registered->account = id;
    assert_int_equal(take(halves, delta), CHAT_KNOWN); /* it was here */
    jackdaw__delta__free_unpacked(delta, NULL);
}

static void test_account__deleted_here(void **state)
{
    struct halves *halves = *state;
    world_device(&halves->there, "carol", "phone");
    world_send(&halves->there, t(halves, "carol"), "#general", "too late", 0);
    world_send(&halves->there, t(halves, "carol"), "#nowhere", "refused", 0);
    world_send(&halves->there, t(halves, "bob"), "@carol", "for nobody", 0);
    world_delete(&halves->here, h(halves, "carol"), true);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_DROP], 3);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 1);
}

static void test_account__deleted_there(void **state)
{
    struct halves *halves = *state;
    world_device(&halves->here, "carol", "phone");
    world_send(&halves->here, h(halves, "phone"), "#general", "stays", 0);
    world_delete(&halves->there, t(halves, "carol"), true);
    take_all(halves);
    assert_null(h(halves, "carol"));
    assert_null(h(halves, "phone"));
    assert_int_equal(world_register(&halves->here, "carol").status, STATUS_OK);
    assert_non_null(strstr(reads(halves, "bob"), "stays"));
}

/* ---- sessions ---- */

static void test_session__more_than_allowed(void **state)
{
    struct halves *halves = *state;
    world_device(&halves->here, "carol", "phone");
    world_device(&halves->there, "carol", "laptop");
    world_send(&halves->there, t(halves, "laptop"), "#general", "hi", 0);
    take_all(halves);
    assert_non_null(h(halves, "carol"));
    assert_non_null(h(halves, "phone"));
    assert_non_null(h(halves, "laptop"));
    assert_string_equal(reads(halves, "bob"), "MESSAGE general carol hi");
    assert_int_equal(world_login(&halves->here, "carol", "fourth").status,
                     STATUS_RESOURCE_EXHAUSTED);
}

static void test_session__does_not_end_those_that_are_alive_here(void **state)
{
    struct halves *halves = *state;
    world_device(&halves->there, "carol", "phone");
    halves->there.monotonic_ms += 100000;
    chat_expire(halves->there.chat, halves->there.monotonic_ms, halves->there.time_ms);
    world_device(&halves->there, "carol", "laptop"); /* in the place of a silent one */
    take_all(halves);
    assert_non_null(h(halves, "carol"));
    assert_non_null(h(halves, "laptop"));
}

static void test_session__one_token_in_both_halves(void **state)
{
    struct halves *halves = *state;
    world_device(&halves->here, "carol", "phone");
    world_device(&halves->there, "carol", "phone");
    world_send(&halves->here, h(halves, "phone"), "#general", "here", 0);
    world_send(&halves->there, t(halves, "phone"), "#general", "there", 0);
    uint64_t session = chat_session_id(h(halves, "phone"));
    take_all(halves);
    assert_int_equal(chat_session_id(h(halves, "phone")), session);
    assert_string_equal(reads(halves, "bob"),
                        "MESSAGE general carol here; MESSAGE general carol there");
}

static void test_session__ended_here_still_counts(void **state)
{
    struct halves *halves = *state;
    world_send(&halves->there, t(halves, "carol"), "#general", "one", 0);
    world_send(&halves->there, t(halves, "carol"), "#general", "two", 0);
    world_send(&halves->there, t(halves, "bob"), "#general", "three", 0);
    world_send(&halves->there, t(halves, "bob"), "#general", "four", 0);
    world_send(&halves->here, h(halves, "carol"), "#general", "one", 0);
    world_send(&halves->here, h(halves, "carol"), "#general", "two", 0);
    world_logout(&halves->here, h(halves, "carol"), 0);
    world_send(&halves->here, h(halves, "bob"), "#general", "three", 0);
    halves->here.monotonic_ms += 100000;
    chat_expire(halves->here.chat, halves->here.monotonic_ms, halves->here.time_ms);
    world_device(&halves->here, "bob", "laptop");
    world_device(&halves->here, "bob", "phone"); /* ends the first, which was silent */
    assert_null(h(halves, "bob"));
    world_reopen(&halves->here);
    take_all(halves);
    assert_string_equal(reads(halves, "phone"),
                        "MESSAGE general carol one; MESSAGE general carol two; MESSAGE general bob "
                        "three; MESSAGE general bob four");
}

static void test_session__ended_there(void **state)
{
    struct halves *halves = *state;
    world_device(&halves->there, "carol", "phone");
    world_send(&halves->there, t(halves, "phone"), "#general", "hi", 0);
    chat_note_delivered(halves->there.chat, t(halves, "phone"), halves->there.seq);
    world_logout(&halves->there, t(halves, "phone"), halves->there.seq);
    world_send(&halves->here, h(halves, "bob"), "#general", "unread", 0);
    take_all(halves);
    assert_null(h(halves, "phone"));
    const struct account *carol = h(halves, "carol")->account;
    assert_true(carol->delivered_seq < halves->parted); /* nothing here counts as received */
}

static void test_session__ended_ones_are_forgotten_in_the_end(void **state)
{
    struct halves *halves = *state;
    struct world *world = &halves->here;
    uint64_t first = chat_session_id(h(halves, "dave"));
    world_logout(world, h(halves, "dave"), 0);
    const struct state *inner = &world->chat->state;
    for (int i = 0; i < SESSIONS_ENDED_MAX - 1; i++) {
        world_device(world, "dave", "again");
        world_logout(world, h(halves, "again"), 0);
    }
    assert_non_null(state_ended_session(inner, first));
    world_reopen(world);
    inner = &world->chat->state;
    uint64_t second = inner->sessions_ended->by_ended.next == NULL
                          ? 0
                          : ((struct chat_session *)inner->sessions_ended->by_ended.next)->id;
    assert_int_equal(inner->sessions_ended->id, first);
    world_device(world, "dave", "again");
    world_logout(world, h(halves, "again"), 0);
    assert_null(state_ended_session(inner, first));
    assert_non_null(state_ended_session(inner, second));
    assert_int_equal(HASH_CNT(by_ended, inner->sessions_ended), SESSIONS_ENDED_MAX);
}

static void test_delivered__of_another_log_means_nothing(void **state)
{
    struct halves *halves = *state;
    world_send(&halves->there, t(halves, "bob"), "#general", "x", 0);
    chat_note_delivered(halves->there.chat, t(halves, "carol"), halves->there.seq);
    assert_true(world_deliver(&halves->there));
    for (int i = 0; i < 9; i++)
        world_send(&halves->here, h(halves, "bob"), "#general", "y", 0);
    take_all(halves);
    assert_int_equal(halves->verdicts[CHAT_APPLY], 0);
    assert_true(h(halves, "carol")->account->delivered_seq < halves->parted);
}

/* ---- what no honest half sends ---- */

static void test_unknown_kind__waits_for_a_newer_program(void **state)
{
    struct halves *halves = *state;
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    assert_int_equal(take(halves, &delta), CHAT_WAIT);
    delta.change_case = (Jackdaw__Delta__ChangeCase)99;
    assert_int_equal(take(halves, &delta), CHAT_WAIT);
}

static void write_much(struct halves *halves)
{
    struct world *world = &halves->there;
    world_register(world, "eve");
    world_device(world, "eve", "eve");
    world_join(world, t(halves, "eve"), "room", 0);
    world_send(world, t(halves, "eve"), "#room", "x", 0);
    world_send(world, t(halves, "eve"), "@bob", "x", 0);
    world_invite(world, t(halves, "eve"), "room", "dave");
    world_join(world, t(halves, "dave"), "room", 0);
    world_kick(world, t(halves, "eve"), "room", "dave", true);
    world_topic(world, t(halves, "eve"), "room", "topic");
    world_send(world, t(halves, "eve"), "#nowhere", "x", 0);
    world_join(world, t(halves, "eve"), "room", 0);
    world_leave(world, t(halves, "bob"), "general");
    chat_note_delivered(world->chat, t(halves, "bob"), world->seq);
    world_deliver(world);
    world_logout(world, t(halves, "carol"), 0);
    world_delete(world, t(halves, "dave"), true);
}

/* Whatever is offered, nothing is ever proposed that cannot be applied (asserted in take). */
static void test_take_over__random_bytes(void **state)
{
    struct halves *halves = *state;
    write_much(halves);
    size_t first = halves->parted;
    size_t count = halves->there.deltas_count - first;
    for (int i = 0; i < 20000; i++) {
        const struct packed *packed =
            &halves->there.deltas[first + world_random(&halves->there) % count];
        uint8_t bytes[512];
        memcpy(bytes, packed->bytes, packed->size);
        for (uint64_t hits = world_random(&halves->there) % 3; hits > 0; hits--)
            bytes[world_random(&halves->there) % packed->size] =
                (uint8_t)world_random(&halves->there);
        Jackdaw__Delta *delta = jackdaw__delta__unpack(NULL, packed->size, bytes);
        if (delta == NULL)
            continue;
        halves->gives_up = world_random(&halves->there) % 2 == 0;
        if (halves->here.seq < 1000 || delta->session == 0) /* else the log grows and grows */
            take(halves, delta);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
    world_reopen(&halves->here);
}

/* Short of memory it waits, and nothing else. */
static void test_take_over__every_budget_is_too_small_for_a_while(void **state)
{
    struct halves *halves = *state;
    world_register(&halves->here, "eve");
    write_much(halves);
    for (size_t i = halves->parted; i < halves->there.deltas_count; i++) {
        Jackdaw__Delta *delta = unpack(&halves->there.deltas[i]);
        for (size_t budget = 0; budget < 4096; budget += 16) {
            struct arena arena;
            arena_init(&arena, budget);
            struct chat_call call = world_call(&halves->here, NULL);
            call.arena = &arena;
            enum chat_taking taking =
                chat_take_over(halves->here.chat, &call, delta, budget % 32 == 0);
            assert_true(taking != CHAT_WAIT || call.text[0] != '\0');
            assert_true(taking != CHAT_APPLY || call.delta != NULL);
            assert_int_not_equal(taking, CHAT_DROP);
            arena_clear(&arena);
        }
        take(halves, delta);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
}

#define HALVES_TEST(test) cmocka_unit_test_setup_teardown(test, open_halves, close_halves)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HALVES_TEST(test_message__gets_a_new_place_and_keeps_what_it_was),
        HALVES_TEST(test_message__asked_in_both_halves),
        HALVES_TEST(test_message__waits_for_the_one_before),
        HALVES_TEST(test_message__the_ones_before_are_lost),
        HALVES_TEST(test_message__more_are_lost_than_outcomes_are_kept),
        HALVES_TEST(test_message__its_session_and_its_account_are_lost),
        HALVES_TEST(test_message__no_number_is_left_out_otherwise),
        HALVES_TEST(test_message__of_one_put_out_here),
        HALVES_TEST(test_message__refused_here),
        HALVES_TEST(test_message__refused_here_and_taken_twice),
        HALVES_TEST(test_direct__begun_in_both_halves),
        HALVES_TEST(test_direct__to_one_who_is_gone),
        HALVES_TEST(test_room__public_ones_of_one_name_become_one),
        HALVES_TEST(test_room__a_private_one_of_a_name_that_is_taken),
        HALVES_TEST(test_room__made_in_both_keeps_its_name_for_a_third),
        HALVES_TEST(test_room__a_long_name_is_cut),
        HALVES_TEST(test_room__whose_maker_asked_here_too),
        HALVES_TEST(test_room__ended_here),
        HALVES_TEST(test_room__of_a_message_is_not_here),
        HALVES_TEST(test_join__of_a_full_room_and_of_a_private_one),
        HALVES_TEST(test_room__stale_doings_change_nothing),
        HALVES_TEST(test_outcomes__are_kept),
        HALVES_TEST(test_account__of_a_name_that_is_taken_here),
        HALVES_TEST(test_account__renamed_and_taken_over_again),
        HALVES_TEST(test_account__registered_twice_by_one),
        HALVES_TEST(test_account__deleted_here),
        HALVES_TEST(test_account__deleted_there),
        HALVES_TEST(test_session__more_than_allowed),
        HALVES_TEST(test_session__does_not_end_those_that_are_alive_here),
        HALVES_TEST(test_session__one_token_in_both_halves),
        HALVES_TEST(test_session__ended_here_still_counts),
        HALVES_TEST(test_session__ended_there),
        HALVES_TEST(test_session__ended_ones_are_forgotten_in_the_end),
        HALVES_TEST(test_delivered__of_another_log_means_nothing),
        HALVES_TEST(test_unknown_kind__waits_for_a_newer_program),
        HALVES_TEST(test_take_over__random_bytes),
        HALVES_TEST(test_take_over__every_budget_is_too_small_for_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
