/* SPDX-License-Identifier: MIT */
/*
 * harness: what turns a file of checks into a test program.
 *
 *     / * backends: epoll direct * /            (optional: run once per backend, PIER_BACKEND set)
 *     #include "harness.h"
 *
 *     TEST(buf_grows_past_its_first_block) { ck_assert_int_eq(...); }
 *     TEST_WITHIN(60, copy_moves_a_gibibyte) { ... }
 *
 *     HARNESS_MAIN("base_buf")
 *
 * A test's name states a fact. Each runs in a process of its own, in file order, for at most 20 s
 * (PIER_TEST_SLOW=1: five times that), and is a test case of its own, so CK_RUN_CASE=name runs one
 * alone; arguments run those whose name contains one of them. CK_FORK=no keeps a debugger attached.
 */
#ifndef PIER_TESTS_HARNESS_H
#define PIER_TESTS_HARNESS_H

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HARNESS_TIMEOUT_S = 20, HARNESS_SLOW_FACTOR = 5 };

struct harness_test {
    const TTest *test;
    int timeout_s;
    int line;
    struct harness_test *next;
};

/* One test program is one .c file, so a static list per translation unit is the list. */
static struct harness_test *harness_tests;

/* Constructors run in no promised order: the line number restores the order of the file. */
static inline void harness_add(struct harness_test *added)
{
    struct harness_test **at = &harness_tests;
    while (*at && (*at)->line < added->line)
        at = &(*at)->next;
    added->next = *at;
    *at = added;
}

#define TEST_WITHIN(seconds, name)                                                      \
    static void name##_fn(int);                                                         \
    static const TTest name##_ttest = { #name, name##_fn, __FILE__, __LINE__ };         \
    __attribute__((constructor)) static void name##_add(void)                           \
    {                                                                                   \
        static struct harness_test test = { &name##_ttest, (seconds), __LINE__, NULL }; \
        harness_add(&test);                                                             \
    }                                                                                   \
    static void name##_fn(int _i CK_ATTRIBUTE_UNUSED)

#define TEST(name) TEST_WITHIN(HARNESS_TIMEOUT_S, name)

/* Ends the running test as skipped. The reason completes the sentence "skipped because". */
__attribute__((noreturn)) static inline void test_skip(const char *reason)
{
    fprintf(stderr, "SKIP %s: %s\n", tcase_name(), reason);
    exit(EXIT_SUCCESS);
}

/* Skips the running test in the runner's Valgrind pass. */
static inline void test_not_on_valgrind(const char *reason)
{
    const char *tool = getenv("PIER_TEST_TOOL");
    if (tool && strcmp(tool, "valgrind") == 0)
        test_skip(reason);
}

static inline bool harness_wanted(const char *name, int count, char *const *parts)
{
    for (int i = 0; i < count; i++)
        if (strstr(name, parts[i]))
            return true;
    return count == 0;
}

static inline int harness_run(const char *suite_name, int argc, char **argv)
{
    const char *slow = getenv("PIER_TEST_SLOW");
    int factor = slow && strcmp(slow, "1") == 0 ? HARNESS_SLOW_FACTOR : 1;
    Suite *suite = suite_create(suite_name);

    for (struct harness_test *t = harness_tests; t; t = t->next) {
        if (!harness_wanted(t->test->name, argc - 1, argv + 1))
            continue;
        TCase *tcase = tcase_create(t->test->name);
        tcase_set_timeout(tcase, (double)t->timeout_s * factor);
        tcase_add_test(tcase, t->test);
        suite_add_tcase(suite, tcase);
    }

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define HARNESS_MAIN(suite)                    \
    int main(int argc, char **argv)            \
    {                                          \
        return harness_run(suite, argc, argv); \
    }

#endif
