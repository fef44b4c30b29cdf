/* SPDX-License-Identifier: MIT */
#include "base/log_pace.h"
#include "support/test.h"

#include <stdio.h>

/* Each test begins when all places of the one before are free. */
static uint64_t now_ms = 1000;

static int setup(void **state)
{
    (void)state;
    now_ms += 10 * LOG_PACE_MS;
    return 0;
}

static bool allows(const char *event, const char *key, uint64_t *left_out)
{
    *left_out = UINT64_MAX;
    return log_pace_allows_at(event, key, now_ms, left_out);
}

TEST_WITH(test_log_pace__once_in_a_while_with_the_count, setup, NULL)
{
    uint64_t left_out;
    assert_true(allows("refused", "a", &left_out));
    assert_int_equal(left_out, 0);
    for (int i = 0; i < 7; i++)
        assert_false(allows("refused", "a", &left_out));
    now_ms += LOG_PACE_MS - 1;
    assert_false(allows("refused", "a", &left_out));
    now_ms++;
    assert_true(allows("refused", "a", &left_out));
    assert_int_equal(left_out, 8);
    assert_false(allows("refused", "a", &left_out));
}

TEST_WITH(test_log_pace__keys_and_events_have_their_own, setup, NULL)
{
    uint64_t left_out;
    assert_true(allows("refused", "a", &left_out));
    assert_true(allows("refused", "b", &left_out));
    assert_true(allows("other", "a", &left_out));
    assert_true(allows("othera", "", &left_out));
    assert_true(allows("othera", NULL, &left_out) == false); /* NULL is the empty key */
    assert_false(allows("refused", "b", &left_out));
}

/* A new key takes a place that has nothing to tell, while there is one. */
TEST_WITH(test_log_pace__the_count_outlives_new_keys, setup, NULL)
{
    uint64_t left_out;
    assert_true(allows("refused", "c", &left_out));
    assert_false(allows("refused", "c", &left_out));
    now_ms += LOG_PACE_MS;
    assert_true(allows("refused", "d", &left_out));
    assert_true(allows("refused", "c", &left_out));
    assert_int_equal(left_out, 1);
}

TEST_WITH(test_log_pace__bounded_whatever_the_keys, setup, NULL)
{
    uint64_t left_out;
    unsigned allowed = 0;
    char key[16];
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        allowed += allows("flood", key, &left_out);
    }
    assert_int_equal(allowed, LOG_PACE_KEYS + 1);
    now_ms += LOG_PACE_MS;
    /* The next interval has as many, and what had no place is counted. */
    uint64_t counted = 0;
    allowed = 0;
    for (int i = 20000; i < 30000; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        bool is_allowed = allows("flood", key, &left_out);
        allowed += is_allowed;
        counted += is_allowed ? left_out : 0;
    }
    assert_int_equal(allowed, LOG_PACE_KEYS + 1);
    assert_int_equal(counted, 10000 - LOG_PACE_KEYS - 1);
}
