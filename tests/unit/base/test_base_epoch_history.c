/* SPDX-License-Identifier: MIT */
#include "base/epoch_history.h"
#include "support/test.h"

static const struct epoch_start starts[] = {{5, 1}, {7, 4}, {9, 10}};
static const struct epoch_history history = {starts, 3};
static const struct epoch_history empty = {NULL, 0};

static void assert_position(struct log_position found, uint64_t epoch, uint64_t seq)
{
    assert_int_equal(found.epoch, epoch);
    assert_int_equal(found.seq, seq);
}

TEST(test_position_compare__epoch_before_seq)
{
    assert_int_equal(log_position_compare((struct log_position){1, 9}, (struct log_position){2, 1}),
                     -1);
    assert_int_equal(log_position_compare((struct log_position){2, 1}, (struct log_position){1, 9}),
                     1);
    assert_int_equal(log_position_compare((struct log_position){2, 1}, (struct log_position){2, 3}),
                     -1);
    assert_int_equal(log_position_compare((struct log_position){2, 3}, (struct log_position){2, 3}),
                     0);
}

TEST(test_at__every_boundary)
{
    static const uint64_t expected[] = {0, 5, 5, 5, 7, 7, 7, 7, 7, 7, 9, 9};
    for (uint64_t seq = 0; seq < sizeof expected / sizeof *expected; seq++)
        assert_int_equal(epoch_history_at(history, seq), expected[seq]);
    assert_int_equal(epoch_history_at(history, UINT64_MAX), 9);
    assert_int_equal(epoch_history_at(empty, 1), 0);
    assert_int_equal(epoch_history_last(history), 9);
    assert_int_equal(epoch_history_last(empty), 0);
}

TEST(test_ascends__both_epoch_and_seq)
{
    assert_true(epoch_history_ascends(history, (struct epoch_start){10, 11}));
    assert_false(epoch_history_ascends(history, (struct epoch_start){9, 11}));
    assert_false(epoch_history_ascends(history, (struct epoch_start){10, 10}));
    assert_true(epoch_history_ascends(empty, (struct epoch_start){1, 1}));
    assert_false(epoch_history_ascends(empty, (struct epoch_start){0, 1}));
    assert_false(epoch_history_ascends(empty, (struct epoch_start){1, 0}));
}

TEST(test_end__of_the_last_epoch_is_the_end_of_the_log)
{
    assert_position(epoch_history_end(history, 5, 20), 5, 3);
    assert_position(epoch_history_end(history, 7, 20), 7, 9);
    assert_position(epoch_history_end(history, 9, 20), 9, 20);
    assert_position(epoch_history_end(history, 8, 20), 0, 0);
    assert_position(epoch_history_end(empty, 8, 20), 0, 0);
}

TEST(test_common__the_shorter_end_of_the_last_shared_epoch)
{
    static const struct epoch_start others[] = {{5, 1}, {7, 4}, {8, 7}};
    struct epoch_history other = {others, 3};
    assert_position(epoch_history_common(history, 20, other, 30), 7, 6);
    assert_position(epoch_history_common(other, 30, history, 20), 7, 6);
    assert_position(epoch_history_common(history, 12, history, 20), 9, 12);
    assert_position(epoch_history_common(history, 20, (struct epoch_history){others + 2, 1}, 30), 0,
                    0);
    assert_position(epoch_history_common(history, 20, empty, 0), 0, 0);
}
