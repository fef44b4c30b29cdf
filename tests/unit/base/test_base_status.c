/* SPDX-License-Identifier: MIT */
#include "base/status.h"
#include "support/test.h"

/* gRPC's names in the order of gRPC's numbers. */
static const char *const expected[] = {
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
};

TEST(test_status_name__the_17_of_grpc)
{
    assert_int_equal(STATUS_COUNT, 17);
    for (int i = 0; i < STATUS_COUNT; i++)
        assert_string_equal(status_name((enum status)i), expected[i]);
}

TEST(test_status_name__any_int)
{
    assert_string_equal(status_name((enum status)(-1)), "UNKNOWN");
    assert_string_equal(status_name(STATUS_COUNT), "UNKNOWN");
    assert_string_equal(status_name((enum status)4000000), "UNKNOWN");
}

/* An error without an entry in the table would be told to the caller as success. */
TEST(test_status_from_error__no_error_is_success)
{
    assert_int_equal(status_from_error(OK), STATUS_OK);
    for (int i = OK + 1; i < ERROR_COUNT; i++)
        assert_int_not_equal(status_from_error((enum error)i), STATUS_OK);
    assert_int_equal(status_from_error(ERROR_FULL), STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(status_from_error(ERROR_DISK_FULL), STATUS_UNAVAILABLE);
    assert_int_equal(status_from_error(ERROR_TOO_LARGE), STATUS_INVALID_ARGUMENT);
    assert_int_equal(status_from_error(ERROR_VERSION), STATUS_FAILED_PRECONDITION);
    assert_int_equal(status_from_error((enum error)(-3)), STATUS_UNKNOWN);
    assert_int_equal(status_from_error(ERROR_COUNT), STATUS_UNKNOWN);
}
