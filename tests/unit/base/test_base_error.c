/* SPDX-License-Identifier: MIT */
#include "base/error.h"
#include "support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TEST(test_error_name__every_error_has_its_own)
{
    for (int i = 0; i < ERROR_COUNT; i++) {
        assert_non_null(error_name((enum error)i));
        assert_string_not_equal(error_name((enum error)i), "");
        for (int k = 0; k < i; k++)
            assert_string_not_equal(error_name((enum error)i), error_name((enum error)k));
    }
}

TEST(test_error_name__any_int)
{
    assert_string_equal(error_name((enum error)(-1)), "unknown error");
    assert_string_equal(error_name(ERROR_COUNT), "unknown error");
    assert_string_equal(error_name((enum error)1000000), "unknown error");
}

TEST(test_error_from_errno__the_ones_that_matter)
{
    assert_int_equal(error_from_errno(0), OK);
    assert_int_equal(error_from_errno(ENOSPC), ERROR_DISK_FULL);
    assert_int_equal(error_from_errno(EDQUOT), ERROR_DISK_FULL);
    assert_int_equal(error_from_errno(EMFILE), ERROR_FULL);
    assert_int_equal(error_from_errno(ENOMEM), ERROR_NO_MEMORY);
    assert_int_equal(error_from_errno(EADDRINUSE), ERROR_IN_USE);
    assert_int_equal(error_from_errno(ECONNREFUSED), ERROR_REFUSED);
    assert_int_equal(error_from_errno(EACCES), ERROR_DENIED);
    assert_int_equal(error_from_errno(EIO), ERROR_IO);
    assert_int_equal(error_from_errno(9999), ERROR_IO);
}

TEST(test_error_set__formats_and_returns_the_error)
{
    struct error_text why;
    assert_int_equal(error_set(&why, ERROR_IO, "read %s: %d", "a", 7), ERROR_IO);
    assert_string_equal(why.text, "read a: 7");
    assert_int_equal(error_set(NULL, ERROR_FULL, "read %s", "a"), ERROR_FULL);
}

/* A text of two-byte characters, shifted by 0 to 3 bytes, is never cut within one. */
TEST(test_error_set__cuts_at_a_character)
{
    static const char *const characters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\xa6"};
    for (size_t c = 0; c < 3; c++) {
        size_t width = strlen(characters[c]);
        for (size_t shift = 0; shift < 4; shift++) {
            char text[ERROR_TEXT_SIZE * 2];
            size_t used = 0;
            while (used < shift)
                text[used++] = 'x';
            while (used + width < sizeof text) {
                memcpy(text + used, characters[c], width);
                used += width;
            }
            text[used] = '\0';
            struct error_text why;
            (void)error_set(&why, ERROR_IO, "%s", text);
            size_t length = strlen(why.text);
            assert_in_range(length, ERROR_TEXT_SIZE - 4, ERROR_TEXT_SIZE - 1);
            assert_int_equal((length - shift) % width, 0);
            assert_memory_equal(why.text, text, length);
        }
    }
}

TEST(test_error_prefix__puts_context_in_front)
{
    struct error_text why;
    (void)error_set(&why, ERROR_DISK_FULL, "disk full");
    assert_int_equal(error_prefix(&why, ERROR_DISK_FULL, "open store %s", "data/1"),
                     ERROR_DISK_FULL);
    assert_string_equal(why.text, "open store data/1: disk full");
    assert_int_equal(error_prefix(NULL, ERROR_IO, "x"), ERROR_IO);
}

TEST(test_error_prefix__too_long_together)
{
    char text[ERROR_TEXT_SIZE];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct error_text why;
    (void)error_set(&why, ERROR_IO, "%s", text);
    (void)error_prefix(&why, ERROR_IO, "context");
    assert_memory_equal(why.text, "context: aaa", 12);
    assert_int_equal(strlen(why.text), ERROR_TEXT_SIZE - 1);
    (void)error_prefix(&why, ERROR_IO, "%s", text);
    assert_int_equal(strlen(why.text), ERROR_TEXT_SIZE - 1);
}

TEST(test_assert__aborts_with_the_condition)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
        ASSERT(1 + 1 == 3);
        _exit(0);
    }
    (void)close(ends[1]);
    char said[512];
    ssize_t size = read(ends[0], said, sizeof said - 1);
    (void)close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_true(size > 0);
    said[size] = '\0';
    assert_non_null(strstr(said, "1 + 1 == 3"));
    assert_non_null(strstr(said, "test_base_error.c"));
}
