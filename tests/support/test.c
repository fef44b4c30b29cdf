/* SPDX-License-Identifier: MIT */
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TESTS_MAX 256

static struct test *first;

void test_add(struct test *test)
{
    struct test **at = &first;
    while (*at != NULL && (*at)->line <= test->line)
        at = &(*at)->next;
    test->next = *at;
    *at = test;
}

__attribute__((weak)) int test_prepare(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return 0;
}

__attribute__((weak)) int test_setup(void **state)
{
    (void)state;
    return 0;
}

__attribute__((weak)) int test_teardown(void **state)
{
    (void)state;
    return 0;
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[TESTS_MAX];
    size_t count = 0;
    int status = test_prepare(argc, argv);
    if (status != 0)
        return status;
    for (const struct test *test = first; test != NULL; test = test->next) {
        if (count == TESTS_MAX) {
            (void)fprintf(stderr, "more than %d tests in one program\n", TESTS_MAX);
            return 1;
        }
        tests[count++] = test->unit;
    }
    const char *pattern = argc > 1 ? argv[1] : getenv("JACKDAW_TEST_ONLY");
    if (pattern != NULL && strpbrk(pattern, "_*?") != NULL)
        cmocka_set_test_filter(pattern);
    return _cmocka_run_group_tests(argv[0], tests, count, test_setup, test_teardown);
}
