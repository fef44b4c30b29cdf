/* SPDX-License-Identifier: MIT */
#include "cluster/clocks.h"
#include "support/test.h"

#define START_MS UINT64_C(1790000000000)
#define YEAR_MS INT64_C(31536000000)

/* A server with id 1, started at monotonic time 1000. */
struct scene {
    struct clocks clocks;
    uint64_t now_ms;
    int64_t ahead_ms; /* of the right time */
    unsigned told;
    uint16_t told_node;
    int64_t told_ms;
};

static void pass(struct scene *scene, uint64_t ms)
{
    scene->now_ms += ms;
    clocks_set(&scene->clocks, scene->now_ms, START_MS + scene->now_ms + (uint64_t)scene->ahead_ms);
}

static struct scene started(int64_t ahead_ms)
{
    struct scene scene = {.now_ms = 1000, .ahead_ms = ahead_ms};
    clocks_init(&scene.clocks, 1);
    pass(&scene, 0);
    return scene;
}

static void hear(struct scene *scene, uint16_t node, int64_t ahead_ms)
{
    clocks_note(&scene->clocks, node, START_MS + scene->now_ms + (uint64_t)ahead_ms);
}

/* How far what is stamped is ahead of the right time. */
static int64_t error_of(const struct scene *scene)
{
    return (int64_t)(clocks_time(&scene->clocks) - START_MS - scene->now_ms);
}

TEST(test_alone__the_own_clock_counts)
{
    struct scene scene = started(YEAR_MS);
    assert_int_equal(error_of(&scene), YEAR_MS);
    assert_int_equal(clocks_own(&scene.clocks), clocks_time(&scene.clocks));
}

TEST(test_alone__nothing_is_told_before_the_clock_was_read)
{
    struct clocks clocks;
    clocks_init(&clocks, 1);
    assert_int_equal(clocks_own(&clocks), 0);
}

TEST(test_alone__a_moment_of_a_wrong_clock_is_not_seen)
{
    static const int64_t steps[] = {YEAR_MS, -YEAR_MS, CLOCK_TOLERANCE_MS + 1};
    for (size_t i = 0; i < 3; i++) {
        struct scene scene = started(0);
        pass(&scene, 1000);
        scene.ahead_ms = steps[i];
        for (uint64_t ms = 0; ms < CLOCKS_SETTLE_MS; ms += 100) {
            pass(&scene, ms == 0 ? 0 : 100);
            assert_int_equal(error_of(&scene), 0);
            assert_int_equal(clocks_own(&scene.clocks), START_MS + scene.now_ms);
        }
        scene.ahead_ms = 0;
        pass(&scene, 1);
        assert_int_equal(error_of(&scene), 0);
    }
}

TEST(test_alone__a_clock_that_was_set_counts_after_a_while)
{
    struct scene scene = started(-YEAR_MS);
    pass(&scene, 1000);
    scene.ahead_ms = 0;
    pass(&scene, 1);
    pass(&scene, CLOCKS_SETTLE_MS - 1);
    assert_int_equal(error_of(&scene), -YEAR_MS);
    pass(&scene, 1);
    assert_int_equal(error_of(&scene), 0);
}

/* Each step begins the wait anew. */
TEST(test_alone__a_clock_that_keeps_jumping_never_counts)
{
    struct scene scene = started(0);
    for (int i = 1; i < 50; i++) {
        scene.ahead_ms = i * (int64_t)86400000;
        pass(&scene, CLOCKS_SETTLE_MS / 2);
        assert_int_equal(error_of(&scene), 0);
    }
}

TEST(test_alone__small_corrections_count_at_once)
{
    struct scene scene = started(0);
    for (int i = 0; i < 10; i++) {
        scene.ahead_ms += CLOCK_TOLERANCE_MS;
        pass(&scene, 10);
        assert_int_equal(error_of(&scene), scene.ahead_ms);
    }
    scene.ahead_ms -= CLOCK_TOLERANCE_MS;
    pass(&scene, 10);
    assert_int_equal(error_of(&scene), scene.ahead_ms);
}

TEST(test_three__one_wrong_clock_changes_nothing)
{
    static const int64_t wrong[] = {YEAR_MS, -YEAR_MS, 60000, -60000};
    for (size_t i = 0; i < 4; i++) {
        struct scene scene = started(wrong[i]); /* the own one */
        hear(&scene, 2, 3);
        hear(&scene, 3, -4);
        assert_in_range((uint64_t)(error_of(&scene) + 10), 0, 20);
        scene = started(0); /* another's */
        hear(&scene, 2, 3);
        hear(&scene, 3, wrong[i]);
        assert_int_equal(error_of(&scene), 0);
    }
}

/* A clock within the tolerance is used as it is, or stamps would jump between clocks. */
TEST(test_three__small_differences_do_not_count)
{
    struct scene scene = started(CLOCK_TOLERANCE_MS);
    hear(&scene, 2, 0);
    hear(&scene, 3, 0);
    assert_int_equal(error_of(&scene), CLOCK_TOLERANCE_MS);
    scene = started(CLOCK_TOLERANCE_MS + 1);
    hear(&scene, 2, 0);
    hear(&scene, 3, 0);
    assert_int_equal(error_of(&scene), 0);
}

TEST(test_two__the_earlier_clock_counts)
{
    struct scene scene = started(YEAR_MS);
    hear(&scene, 2, 7);
    assert_int_equal(error_of(&scene), 7);
    scene = started(0);
    hear(&scene, 2, YEAR_MS);
    assert_int_equal(error_of(&scene), 0);
}

TEST(test_two__a_clock_that_was_never_set_has_no_say)
{
    struct scene scene = started(0);
    clocks_note(&scene.clocks, 2, CLOCKS_UNSET_BEFORE_MS - 1);
    assert_int_equal(error_of(&scene), 0);
    scene = started(0);
    struct clocks unset;
    clocks_init(&unset, 1);
    clocks_set(&unset, 1000, 5000); /* 1970 */
    clocks_note(&unset, 2, START_MS);
    assert_int_equal(clocks_time(&unset), START_MS);
}

/* Two stay wrong together for no longer than they are heard. */
TEST(test_others__count_while_they_are_heard)
{
    struct scene scene = started(0);
    hear(&scene, 2, YEAR_MS);
    hear(&scene, 3, YEAR_MS);
    assert_int_equal(error_of(&scene), YEAR_MS);
    pass(&scene, CLOCKS_FRESH_MS - 1);
    assert_int_equal(error_of(&scene), YEAR_MS);
    pass(&scene, 1);
    assert_int_equal(error_of(&scene), 0);
    int64_t difference_ms;
    assert_false(clocks_difference(&scene.clocks, 2, &difference_ms));
}

TEST(test_others__what_makes_no_sense)
{
    struct scene scene = started(0);
    clocks_note(&scene.clocks, 2, 0);
    clocks_note(&scene.clocks, 3, UINT64_MAX);
    clocks_note(&scene.clocks, 1, START_MS + (uint64_t)YEAR_MS); /* itself */
    int64_t difference_ms;
    assert_false(clocks_difference(&scene.clocks, 2, &difference_ms));
    assert_false(clocks_difference(&scene.clocks, 3, &difference_ms));
    assert_int_equal(error_of(&scene), 0);
    /* A full table, and places that are free again. */
    for (unsigned node = 2; node < 2 + 2 * REPLICA_MEMBERS_MAX; node++)
        hear(&scene, (uint16_t)node, 0);
    assert_true(clocks_difference(&scene.clocks, 2, &difference_ms));
    assert_false(clocks_difference(&scene.clocks, 1 + 2 * REPLICA_MEMBERS_MAX, &difference_ms));
    pass(&scene, CLOCKS_FRESH_MS);
    hear(&scene, 1 + 2 * REPLICA_MEMBERS_MAX, 9);
    assert_true(clocks_difference(&scene.clocks, 1 + 2 * REPLICA_MEMBERS_MAX, &difference_ms));
    assert_int_equal(difference_ms, 9);
}

static void note(void *context, uint16_t node, int64_t difference_ms)
{
    struct scene *scene = context;
    scene->told++;
    scene->told_node = node;
    scene->told_ms = difference_ms;
}

TEST(test_check__tells_of_the_one_that_differs)
{
    struct scene scene = started(0);
    hear(&scene, 2, 0);
    hear(&scene, 3, -YEAR_MS);
    for (int i = 0; i < 100; i++)
        clocks_check(&scene.clocks, note, &scene);
    assert_int_equal(scene.told, 1);
    assert_int_equal(scene.told_node, 3);
    assert_int_equal(scene.told_ms, -YEAR_MS);
    pass(&scene, CLOCKS_TOLD_MS);
    hear(&scene, 2, 0);
    hear(&scene, 3, -YEAR_MS);
    clocks_check(&scene.clocks, note, &scene);
    assert_int_equal(scene.told, 2);
    assert_int_equal(scene.told_node, 3);
}

TEST(test_check__tells_of_a_server_in_the_place_of_another)
{
    struct scene scene = started(0);
    hear(&scene, 2, YEAR_MS);
    clocks_check(&scene.clocks, note, &scene);
    pass(&scene, CLOCKS_FRESH_MS);
    hear(&scene, 3, YEAR_MS);
    clocks_check(&scene.clocks, note, &scene);
    assert_int_equal(scene.told, 2);
    assert_int_equal(scene.told_node, 3);
}

TEST(test_check__tells_of_the_own_clock)
{
    struct scene scene = started(YEAR_MS);
    hear(&scene, 2, 0);
    hear(&scene, 3, 1);
    clocks_check(&scene.clocks, note, &scene);
    assert_int_equal(scene.told, 1);
    assert_int_equal(scene.told_node, 1);
    assert_int_equal(scene.told_ms, YEAR_MS - 1);
}

/* At once, although it does not count yet. */
TEST(test_check__tells_of_a_step_of_the_own_clock)
{
    struct scene scene = started(0);
    clocks_check(&scene.clocks, note, &scene);
    assert_int_equal(scene.told, 0);
    scene.ahead_ms = YEAR_MS;
    pass(&scene, 1);
    clocks_check(&scene.clocks, note, &scene);
    assert_int_equal(scene.told, 1);
    assert_int_equal(scene.told_node, 1);
    assert_int_equal(scene.told_ms, YEAR_MS);
}
