/* SPDX-License-Identifier: MIT */
/* The checker finds what is wrong in histories made by hand, and nothing where nothing is. */
#include "harness/checker.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>

/* ann and bob write into the room, cat reads; dan has not observed anything. */
struct world {
    struct checker *checker;
    struct checker_client *ann, *bob, *cat;
    uint64_t now_us;
};

#define EVER UINT64_MAX

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    world->checker = checker_new();
    world->ann = checker_add(world->checker, "ann", "ann's client");
    world->bob = checker_add(world->checker, "bob", "bob's client");
    world->cat = checker_add(world->checker, "cat", "cat's client");
    checker_was_in(world->ann, "room", 1, EVER);
    checker_was_in(world->bob, "room", 1, EVER);
    checker_was_in(world->cat, "room", 1, EVER);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    checker_free(world->checker);
    free(world);
    return 0;
}

static const char *name_of(const struct world *world, const struct checker_client *client)
{
    return client == world->ann ? "ann" : client == world->bob ? "bob" : "cat";
}

/* Request `request` of a client, as its uid and its text. */
struct message {
    char uid[32];
    char text[32];
};

static struct message message_of(const struct world *world, const struct checker_client *author,
                                 unsigned request)
{
    struct message message;
    (void)snprintf(message.uid, sizeof message.uid, "%s5e55:%u", name_of(world, author), request);
    (void)snprintf(message.text, sizeof message.text, "text %u", request);
    return message;
}

static void asks(struct world *world, struct checker_client *client, unsigned request)
{
    struct message message = message_of(world, client, request);
    checker_observe(client, &(struct observation){.kind = OBSERVED_ASKED,
                                                  .time_us = ++world->now_us,
                                                  .text = message.text});
}

/* Numbers and positions go together: number n is at 65537/(100 + n). */
static void gets_sent(struct world *world, struct checker_client *client, unsigned request,
                      uint64_t number)
{
    struct message message = message_of(world, client, request);
    checker_observe(client, &(struct observation){.kind = OBSERVED_SENT,
                                                  .time_us = ++world->now_us,
                                                  .room = "room",
                                                  .uid = message.uid,
                                                  .number = number,
                                                  .epoch = 65537,
                                                  .seq = 100 + number});
}

static void gets_failed(struct world *world, struct checker_client *client, unsigned request)
{
    struct message message = message_of(world, client, request);
    checker_observe(client, &(struct observation){.kind = OBSERVED_FAILED,
                                                  .time_us = ++world->now_us,
                                                  .uid = message.uid});
}

static void sees_at(struct world *world, struct checker_client *client,
                    struct checker_client *author, unsigned request, uint64_t number, uint64_t seq)
{
    struct message message = message_of(world, author, request);
    checker_observe(client, &(struct observation){.kind = OBSERVED_MESSAGE,
                                                  .time_us = ++world->now_us,
                                                  .room = "room",
                                                  .from = name_of(world, author),
                                                  .uid = message.uid,
                                                  .text = message.text,
                                                  .number = number,
                                                  .epoch = 65537,
                                                  .seq = seq});
}

static void sees(struct world *world, struct checker_client *client, struct checker_client *author,
                 unsigned request, uint64_t number)
{
    sees_at(world, client, author, request, number, 100 + number);
}

static void all_see(struct world *world, struct checker_client *author, unsigned request,
                    uint64_t number)
{
    sees(world, world->ann, author, request, number);
    sees(world, world->bob, author, request, number);
    sees(world, world->cat, author, request, number);
}

/* ann: 1 2 3, bob: 1 2, as numbers 1 3 5 and 2 4. */
static void conversation(struct world *world)
{
    for (unsigned i = 1; i <= 3; i++) {
        asks(world, world->ann, i);
        all_see(world, world->ann, i, 2 * i - 1);
        gets_sent(world, world->ann, i, 2 * i - 1);
        if (i == 3)
            break;
        asks(world, world->bob, i);
        gets_sent(world, world->bob, i, 2 * i);
        all_see(world, world->bob, i, 2 * i);
    }
}

/* Found by `rule`, and by no other. */
static void assert_found(struct world *world, enum checker_rule rule)
{
    for (unsigned each = 1; each < CHECK_ALL; each <<= 1) {
        size_t count = checker_run(world->checker, each);
        const struct checker_violation *first = checker_violation(world->checker, 0);
        if (count > 0 && each != (unsigned)rule)
            fail_msg("found by the wrong rule: %s", first->text);
        if (count == 0 && each == (unsigned)rule)
            fail_msg("not found");
        if (count > 0)
            assert_int_equal(first->rule, rule);
    }
    assert_true(checker_run(world->checker, CHECK_ALL) > 0);
}

/* Found by `rule`, whatever else finds it too. */
static void assert_found_too(struct world *world, enum checker_rule rule)
{
    assert_true(checker_run(world->checker, rule) > 0);
    assert_int_equal(checker_violation(world->checker, 0)->rule, rule);
}

TEST_WITH(test_checker__finds_nothing_in_a_good_history, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    checker_verify(world->checker, CHECK_ALL);
    assert_int_equal(checker_acknowledged(world->checker), 5);
    assert_int_equal(checker_observations(world->checker), 5 + 5 + 15);
}

TEST_WITH(test_checker__finds_nothing_in_nothing, setup, teardown)
{
    struct world *world = *state;
    assert_int_equal(checker_run(world->checker, CHECK_ALL), 0);
    assert_null(checker_violation(world->checker, 0));
}

/* A request that was refused leaves a hole in the session's numbers, not in the room's. */
TEST_WITH(test_checker__lets_a_refused_request_pass, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    gets_failed(world, world->ann, 4);
    asks(world, world->ann, 5);
    gets_sent(world, world->ann, 5, 6);
    all_see(world, world->ann, 5, 6);
    checker_verify(world->checker, CHECK_ALL);
}

/* A message that was seen need not have been acknowledged yet. */
TEST_WITH(test_checker__lets_a_missing_acknowledgement_pass, setup, teardown)
{
    struct world *world = *state;
    asks(world, world->ann, 1);
    all_see(world, world->ann, 1, 1);
    checker_verify(world->checker, CHECK_ALL);
}

TEST_WITH(test_checker__knows_a_direct_conversation_from_both_ends, setup, teardown)
{
    struct world *world = *state;
    checker_was_in(world->ann, "@bob", 1, EVER);
    checker_was_in(world->bob, "@ann", 1, EVER);
    struct observation seen = {.kind = OBSERVED_MESSAGE,
                               .room = "@bob",
                               .from = "ann",
                               .uid = "a:1",
                               .text = "psst",
                               .number = 1,
                               .epoch = 1,
                               .seq = 1};
    asks(world, world->ann, 1);
    checker_observe(world->ann, &(struct observation){.kind = OBSERVED_ASKED, .text = "psst"});
    checker_observe(world->ann, &seen);
    assert_found(world, CHECK_LOST); /* bob has not seen it */
    seen.room = "@ann";
    checker_observe(world->bob, &seen);
    checker_verify(world->checker, CHECK_ALL);
    seen.room = "@cat";
    seen.number = 2;
    checker_observe(world->bob, &seen); /* the same uid in another conversation */
    assert_found_too(world, CHECK_DOUBLED);
}

/* Who comes later, or goes, need not see what was before or after. */
TEST_WITH(test_checker__asks_only_those_who_were_there, setup, teardown)
{
    struct world *world = *state;
    struct checker_client *late = checker_add(world->checker, "dan", "late");
    struct checker_client *early = checker_add(world->checker, "eve", "early");
    checker_was_in(late, "room", 4, EVER);
    checker_was_in(early, "room", 1, 2);
    conversation(world);
    sees(world, early, world->ann, 1, 1);
    sees(world, early, world->bob, 1, 2);
    sees(world, late, world->bob, 2, 4);
    sees(world, late, world->ann, 3, 5);
    checker_verify(world->checker, CHECK_ALL);
}

TEST_WITH(test_checker__lets_the_absent_miss_messages, setup, teardown)
{
    struct world *world = *state;
    struct checker_client *dan = checker_add(world->checker, "dan", "dan's client");
    conversation(world);
    sees(world, dan, world->ann, 1, 1);
    checker_observe(dan, &(struct observation){.kind = OBSERVED_AWAY, .room = "room"});
    sees(world, dan, world->bob, 2, 4);
    checker_verify(world->checker, CHECK_ALL);
}

/* An owner who leaves makes two events of one position. */
TEST_WITH(test_checker__lets_two_events_of_one_change_pass, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    for (int i = 0; i < 2; i++)
        checker_observe(world->cat,
                        &(struct observation){.kind = OBSERVED_OTHER, .epoch = 65537, .seq = 200});
    checker_observe(world->cat, &(struct observation){.kind = OBSERVED_OTHER}); /* presence */
    checker_verify(world->checker, CHECK_ALL);
}

TEST_WITH(test_lost__acknowledged_and_not_seen, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    gets_sent(world, world->ann, 4, 6);
    sees(world, world->ann, world->ann, 4, 6);
    sees(world, world->bob, world->ann, 4, 6);
    assert_found(world, CHECK_LOST);
    assert_int_equal(checker_run(world->checker, CHECK_ALL), 1);
}

TEST_WITH(test_lost__acknowledged_and_seen_by_nobody, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->bob, 9);
    gets_sent(world, world->bob, 9, 6);
    assert_found(world, CHECK_LOST);
    assert_int_equal(checker_run(world->checker, CHECK_ALL), 3);
}

TEST_WITH(test_lost__not_acknowledged_but_seen_by_another, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    sees(world, world->ann, world->ann, 4, 6);
    sees(world, world->cat, world->ann, 4, 6);
    assert_found(world, CHECK_LOST);
}

TEST_WITH(test_doubled__seen_twice, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 3);
    all_see(world, world->ann, 3, 6); /* a retry that was carried out again */
    assert_found_too(world, CHECK_DOUBLED);
    assert_found_too(world, CHECK_ORDER); /* one uid, two numbers */
    assert_found_too(world, CHECK_SENDER);
}

/* The same number again: a page that was delivered twice. */
TEST_WITH(test_doubled__page_delivered_twice, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    sees(world, world->cat, world->ann, 3, 5);
    assert_found_too(world, CHECK_DOUBLED);
    assert_found_too(world, CHECK_HOLES);
    assert_found_too(world, CHECK_FORWARD);
}

TEST_WITH(test_doubled__acknowledged_twice, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    gets_sent(world, world->ann, 3, 5);
    assert_found(world, CHECK_DOUBLED);
}

TEST_WITH(test_doubled__acknowledged_and_failed, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    gets_failed(world, world->ann, 3);
    assert_found_too(world, CHECK_DOUBLED);
}

TEST_WITH(test_holes__number_left_out, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    all_see(world, world->ann, 4, 7); /* and nobody ever sees 6 */
    assert_found(world, CHECK_HOLES);
}

TEST_WITH(test_order__two_readers_disagree, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    asks(world, world->bob, 3);
    sees(world, world->ann, world->ann, 4, 6);
    sees(world, world->ann, world->bob, 3, 7);
    sees(world, world->bob, world->ann, 4, 6);
    sees(world, world->bob, world->bob, 3, 7);
    sees(world, world->cat, world->bob, 3, 6);
    sees(world, world->cat, world->ann, 4, 7);
    assert_found(world, CHECK_ORDER);
}

TEST_WITH(test_order__acknowledged_as_another_number, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    all_see(world, world->ann, 4, 6);
    gets_sent(world, world->ann, 4, 7);
    assert_found(world, CHECK_ORDER);
}

TEST_WITH(test_order__other_position, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    sees(world, world->ann, world->ann, 4, 6);
    sees(world, world->bob, world->ann, 4, 6);
    sees_at(world, world->cat, world->ann, 4, 6, 107);
    assert_found(world, CHECK_ORDER);
}

TEST_WITH(test_order__numbers_against_positions, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    asks(world, world->bob, 3);
    struct checker_client *const readers[] = {world->ann, world->bob, world->cat};
    for (size_t i = 0; i < 3; i++) {
        sees_at(world, readers[i], world->ann, 4, 6, 108);
        sees_at(world, readers[i], world->bob, 3, 7, 107);
    }
    assert_found_too(world, CHECK_ORDER);
    assert_found_too(world, CHECK_FORWARD);
}

TEST_WITH(test_order__number_seen_late, setup, teardown)
{
    struct world *world = *state;
    struct checker_client *dan = checker_add(world->checker, "dan", "dan's client");
    conversation(world);
    sees(world, dan, world->bob, 1, 2);
    sees(world, dan, world->ann, 1, 1);
    assert_found_too(world, CHECK_ORDER);
}

TEST_WITH(test_order__another_text, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    asks(world, world->ann, 5);
    sees(world, world->ann, world->ann, 4, 6);
    sees(world, world->bob, world->ann, 4, 6);
    checker_observe(world->cat, &(struct observation){.kind = OBSERVED_MESSAGE,
                                                      .room = "room",
                                                      .from = "ann",
                                                      .uid = "ann5e55:4",
                                                      .text = "text 5",
                                                      .number = 6,
                                                      .epoch = 65537,
                                                      .seq = 106});
    assert_found(world, CHECK_ORDER);
}

TEST_WITH(test_sender__overtaken, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 5);
    asks(world, world->ann, 4);
    all_see(world, world->ann, 5, 6);
    all_see(world, world->ann, 4, 7);
    assert_found(world, CHECK_SENDER);
}

TEST_WITH(test_forward__position_goes_back, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    checker_observe(world->cat,
                    &(struct observation){.kind = OBSERVED_OTHER, .epoch = 65537, .seq = 50});
    assert_found(world, CHECK_FORWARD);
}

TEST_WITH(test_forward__epoch_goes_back, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    checker_observe(world->cat,
                    &(struct observation){.kind = OBSERVED_OTHER, .epoch = 2, .seq = 5000});
    assert_found(world, CHECK_FORWARD);
}

TEST_WITH(test_failed__appears_all_the_same, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    gets_failed(world, world->ann, 4);
    all_see(world, world->ann, 4, 6);
    assert_found(world, CHECK_FAILED);
}

TEST_WITH(test_time__later_message_comes_first, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 4);
    gets_sent(world, world->ann, 4, 7);
    asks(world, world->bob, 3); /* only now, and still gets number 6 */
    gets_sent(world, world->bob, 3, 6);
    all_see(world, world->bob, 3, 6);
    all_see(world, world->ann, 4, 7);
    assert_found(world, CHECK_TIME);
}

TEST_WITH(test_form__no_number, setup, teardown)
{
    struct world *world = *state;
    checker_observe(world->cat, &(struct observation){.kind = OBSERVED_MESSAGE,
                                                      .room = "other",
                                                      .from = "dan",
                                                      .uid = "d:1",
                                                      .text = "x",
                                                      .epoch = 1,
                                                      .seq = 1});
    assert_found(world, CHECK_FORM);
}

TEST_WITH(test_form__no_uid, setup, teardown)
{
    struct world *world = *state;
    static const char *const uids[] = {NULL, "", ":", ":1", "abc", "abc:", "abc:x", "abc:1x"};
    for (size_t i = 0; i < sizeof uids / sizeof uids[0]; i++) {
        struct checker_client *dan = checker_add(world->checker, "dan", "dan's client");
        checker_observe(dan, &(struct observation){.kind = OBSERVED_MESSAGE,
                                                   .room = "other",
                                                   .from = "eve",
                                                   .uid = uids[i],
                                                   .text = "x",
                                                   .number = i + 1,
                                                   .epoch = 1,
                                                   .seq = i + 1});
        assert_int_equal(checker_run(world->checker, CHECK_FORM), i + 1);
    }
}

TEST_WITH(test_invented__nobody_typed_it, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    all_see(world, world->ann, 4, 6);
    assert_found(world, CHECK_INVENTED);
}

/* What bob typed is not ann's. */
TEST_WITH(test_invented__another_typed_it, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->bob, 4);
    all_see(world, world->ann, 4, 6);
    assert_found(world, CHECK_INVENTED);
}

/* The client numbered its requests in another order than they were typed in. */
TEST_WITH(test_typed__seen_in_another_order, setup, teardown)
{
    struct world *world = *state;
    conversation(world);
    asks(world, world->ann, 5);
    asks(world, world->ann, 4);
    all_see(world, world->ann, 4, 6);
    all_see(world, world->ann, 5, 7);
    assert_found(world, CHECK_TYPED);
}

/* Which of the two it was cannot be told. */
TEST_WITH(test_typed__lets_texts_typed_twice_pass, setup, teardown)
{
    struct world *world = *state;
    asks(world, world->ann, 5);
    asks(world, world->ann, 4);
    asks(world, world->ann, 5);
    all_see(world, world->ann, 4, 1);
    all_see(world, world->ann, 5, 2);
    checker_verify(world->checker, CHECK_ALL);
}
