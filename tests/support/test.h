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

#endif
