/* SPDX-License-Identifier: MIT */
/* test.h - tests that register themselves: cmocka with the headers that it needs before it, and the
 * program's main.
 *
 *     TEST(test_address_parse__without_port)
 *     {
 *         assert_int_equal(...);
 *     }
 *
 * A program runs its tests in the order of its source. Its first argument, or JACKDAW_TEST_ONLY, is
 * a pattern with * and ?: only tests of such names run. */
#ifndef JACKDAW_TESTS_TEST_H
#define JACKDAW_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct test {
    struct CMUnitTest unit;
    int line;
    struct test *next;
};

/* test: static, not registered yet. */
void test_add(struct test *test);

/* A program may define these; main calls them before all tests. test_prepare returns 0, or an exit
 * status with which the program ends at once: 77 is "skipped" for ctest. test_setup and test_teardown
 * are cmocka's for the group: assertions work in them. */
int test_prepare(int argc, char **argv);
int test_setup(void **state);
int test_teardown(void **state);

#define TEST_PREPARE() \
    int test_prepare(__attribute__((unused)) int argc, __attribute__((unused)) char **argv)

/* A test `text` that runs `function` with cmocka's setup, teardown and initial state (or NULL). */
#define TEST_REGISTER(id, text, function, setup, teardown, initial)                    \
    __attribute__((constructor)) static void test_register_##id(void)                  \
    {                                                                                  \
        static struct test test = {.unit = {text, function, setup, teardown, initial}, \
                                   .line = __LINE__};                                  \
        test_add(&test);                                                               \
    }                                                                                  \
    __attribute__((constructor)) static void test_register_##id(void)

/* The head of a test's function; its parameter is `state`. */
#define TEST_WITH(name, setup, teardown)                     \
    static void name(void **state);                          \
    TEST_REGISTER(name, #name, name, setup, teardown, NULL); \
    static void name(__attribute__((unused)) void **state)
#define TEST(name) TEST_WITH(name, NULL, NULL)

/* The head of a test on a fixture, the pointer `f`: `open` is the expression that makes it, and `close(f)` releases it
 * after the test, also if an assertion failed. */
#define TEST_OPEN(name, type, open, close)                             \
    static void name##_on(type *f);                                    \
    static int name##_open(void **state)                               \
    {                                                                  \
        *state = (open);                                               \
        return 0;                                                      \
    }                                                                  \
    static int name##_close(void **state)                              \
    {                                                                  \
        close(*state);                                                 \
        return 0;                                                      \
    }                                                                  \
    static void name(void **state)                                     \
    {                                                                  \
        name##_on(*state);                                             \
    }                                                                  \
    TEST_REGISTER(name, #name, name, name##_open, name##_close, NULL); \
    static void name##_on(__attribute__((unused)) type *f)

/* The same on a zeroed `type`: `begin(f)` prepares it, and `end(f)` releases what it holds. */
#define TEST_ON(name, type, begin, end)             \
    static void *name##_begin(void)                 \
    {                                               \
        type *fixture = calloc(1, sizeof *fixture); \
        assert_non_null(fixture);                   \
        begin(fixture);                             \
        return fixture;                             \
    }                                               \
    static void name##_end(type *fixture)           \
    {                                               \
        end(fixture);                               \
        free(fixture);                              \
    }                                               \
    TEST_OPEN(name, type, name##_begin(), name##_end)

/* The usual test on a fixture: `struct fixture`, `begin` and `end` stand above it in the file. */
#define TEST_F(name) TEST_ON(name, struct fixture, begin, end)

/* The same for a fixture that test_malloc allocates: `begin` and `end` run in the test itself, because
 * cmocka reports what a test allocates and does not free. */
#define TEST_WITHIN_ON(name, begin, end)                           \
    static void name##_on(struct fixture *f);                      \
    TEST(name)                                                     \
    {                                                              \
        struct fixture *fixture = test_calloc(1, sizeof *fixture); \
        begin(fixture);                                            \
        name##_on(fixture);                                        \
        end(fixture);                                              \
        test_free(fixture);                                        \
    }                                                              \
    static void name##_on(__attribute__((unused)) struct fixture *f)
#define TEST_WITHIN(name) TEST_WITHIN_ON(name, begin, end)

#endif
