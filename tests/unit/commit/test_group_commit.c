/* SPDX-License-Identifier: MIT */
/* How long a commit waits for those who were answered last. */
#include "commit/group_commit.h"
#include "support/test.h"

#define START 1000000u

TEST(test_group_commit__nobody_was_answered)
{
    struct group_commit group = {0};
    assert_false(group_commit_waits(&group, 1, START));
    group_commit_answered(&group, 0, 5);
    assert_false(group_commit_waits(&group, 5, START));
    assert_int_equal(group_commit_deadline_us(&group, START), UINT64_MAX);
}

TEST(test_group_commit__all_come_back)
{
    struct group_commit group = {0};
    group_commit_answered(&group, 3, 2);
    assert_true(group_commit_waits(&group, 2, START));
    assert_true(group_commit_waits(&group, 4, START + 10));
    assert_false(group_commit_waits(&group, 5, START + 20));
    assert_false(group_commit_waits(&group, 5, START + 30)); /* and that was it */
    assert_int_equal(group_commit_deadline_us(&group, START + 30), UINT64_MAX);
}

/* What is done before the waiting, such as sending the answers, does not count. */
TEST(test_group_commit__nobody_comes_back)
{
    struct group_commit group = {0};
    group_commit_answered(&group, 3, 2);
    assert_true(group_commit_waits(&group, 2, START));
    assert_true(group_commit_waits(&group, 2, START + 900));
    const uint64_t deadline_us = START + 900 + GROUP_COMMIT_QUIET_US;
    assert_int_equal(group_commit_deadline_us(&group, START + 900), deadline_us);
    assert_int_equal(group_commit_deadline_us(&group, START + 950), deadline_us); /* woken early */
    assert_true(group_commit_waits(&group, 2, deadline_us - 1));
    assert_false(group_commit_waits(&group, 2, deadline_us));
}

TEST(test_group_commit__some_come_back)
{
    struct group_commit group = {0};
    group_commit_answered(&group, 30, 0);
    assert_true(group_commit_waits(&group, 0, START));
    uint64_t now_us = START;
    for (uint64_t count = 1; count <= 10; count++) {
        now_us = group_commit_deadline_us(&group, now_us) - 1;
        assert_true(group_commit_waits(&group, count, now_us));
    }
    assert_int_equal(now_us, START + 10 * (GROUP_COMMIT_QUIET_US - 1));
    assert_true(group_commit_waits(&group, 11, now_us + GROUP_COMMIT_QUIET_US)); /* just in time */
    now_us = group_commit_deadline_us(&group, now_us + GROUP_COMMIT_QUIET_US);
    assert_false(group_commit_waits(&group, 11, now_us));
}

TEST(test_group_commit__they_come_and_come)
{
    struct group_commit group = {0};
    group_commit_answered(&group, 100000, 0);
    uint64_t count = 0;
    uint64_t now_us = START;
    while (group_commit_waits(&group, count, now_us)) {
        assert_true(now_us < START + GROUP_COMMIT_US_MAX);
        assert_true(group_commit_deadline_us(&group, now_us) <= START + GROUP_COMMIT_US_MAX);
        now_us += GROUP_COMMIT_QUIET_US / 2;
        count++;
    }
    assert_int_equal(now_us, START + GROUP_COMMIT_US_MAX);
}
