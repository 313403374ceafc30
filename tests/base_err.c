/* SPDX-License-Identifier: MIT */
/* base_err: the last failure, its words and its exit code. */
#include "harness.h"

#include "base/err.h"

#include <pthread.h>
#include <unistd.h>

TEST(err_is_empty_before_the_first_failure)
{
    ck_assert_int_eq(pier_error_code(), 0);
    ck_assert_str_eq(pier_error(), "");
    ck_assert_int_eq(pier_exit_code(), 0);
}

TEST(err_set_adds_the_words_of_the_code)
{
    ck_assert_int_eq(pier_error_set(-ECONNREFUSED, "dial %s", "tcp://h:1"), -ECONNREFUSED);
    ck_assert_int_eq(pier_error_code(), -ECONNREFUSED);
    ck_assert_str_eq(pier_error(), "dial tcp://h:1: connection refused");
    ck_assert_int_eq(pi_fail_text(PIER_EURL, "port %d", 7), PIER_EURL);
    ck_assert_str_eq(pier_error(), "port 7");
}

TEST(err_set_may_quote_the_failure_before)
{
    pier_error_set(-EPIPE, "a");
    pier_error_set(-EIO, "b (%s)", pier_error());
    ck_assert_str_eq(pier_error(), "b (a: broken pipe): input/output error");
}

TEST(err_set_takes_no_code_that_means_success)
{
    ck_assert_int_eq(pier_error_set(0, "x"), -EINVAL);
    ck_assert_int_eq(pier_error_set(EPIPE, "x"), -EINVAL);
    ck_assert_str_eq(pier_error(), "x: invalid argument");
}

TEST(err_texts_are_bounded)
{
    char *text = malloc(100001);
    memset(text, 'x', 100000);
    text[100000] = '\0';
    pier_error_set(-EPIPE, "%s", text);
    free(text);
    size_t len = strlen(pier_error());
    ck_assert_uint_gt(len, 400);
    ck_assert_uint_lt(len, 1024);
}

TEST(err_without_memory_keeps_code_and_words)
{
    pi_alloc_fail(1);
    ck_assert_int_eq(pier_error_set(-ETIMEDOUT, "dial"), -ETIMEDOUT);
    pi_alloc_fail(0);
    ck_assert_int_eq(pier_error_code(), -ETIMEDOUT);
    ck_assert_str_eq(pier_error(), "timed out");
}

TEST(err_strerror_knows_every_code)
{
    ck_assert_str_eq(pier_strerror(0), "success");
    ck_assert_str_eq(pier_strerror(-ETIMEDOUT), "timed out");
    ck_assert_str_eq(pier_strerror(-ECANCELED), "cancelled");
    ck_assert_str_eq(pier_strerror(-ENODATA), "end of input");
    ck_assert_str_eq(pier_strerror(-EADDRINUSE), "address already in use");
    ck_assert_str_eq(pier_strerror(-EDOTDOT), "RFS specific error"); /* not "rFS" */
    ck_assert_str_eq(pier_strerror(PIER_EURL), "not a valid URL");
    ck_assert_str_eq(pier_strerror(PIER_ERESOLVE), "unknown name");
    ck_assert_str_eq(pier_strerror(PIER_ETLS), "TLS failure");
    ck_assert_str_eq(pier_strerror(PIER_EPROTO), "protocol error");
    ck_assert_str_eq(pier_strerror(-4999), "error -4999");
    ck_assert_str_eq(pier_strerror(INT32_MIN), "error -2147483648");
    ck_assert_str_eq(pier_strerror(5), "error 5");
}

TEST(err_exit_code_follows_the_kind)
{
    static const struct {
        int code, exit, exit_connect;
    } cases[] = {
        { -EIO, 1, 4 },          { -ECONNREFUSED, 1, 4 }, { PIER_EURL, 2, 2 },
        { PIER_ERESOLVE, 3, 3 }, { PIER_ETLS, 5, 5 },     { -ETIMEDOUT, 6, 6 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pi_fail(cases[i].code, "x");
        ck_assert_int_eq(pier_exit_code(), cases[i].exit);
        pi_fail_connect(cases[i].code, "x");
        ck_assert_int_eq(pier_exit_code(), cases[i].exit_connect);
    }
}

TEST(err_fail_prints_a_line_and_returns_the_exit_code)
{
    char text[128] = "";
    int pipe_fds[2];
    ck_assert_int_eq(pipe(pipe_fds), 0);
    int saved = dup(STDERR_FILENO);
    dup2(pipe_fds[1], STDERR_FILENO);
    pi_fail_connect(-ECONNREFUSED, "dial x");
    int code = pier_fail("prog");
    dup2(saved, STDERR_FILENO);
    ssize_t n = read(pipe_fds[0], text, sizeof text - 1);
    ck_assert_int_eq(code, 4);
    ck_assert_int_gt((int)n, 0);
    ck_assert_str_eq(text, "prog: dial x: connection refused\n");
}

TEST(err_belongs_to_the_running_context)
{
    struct pi_err task = { 0 };
    pier_error_set(-EPIPE, "thread");
    pi_err_self = &task;
    ck_assert_str_eq(pier_error(), "");
    pier_error_set(-EIO, "task");
    pi_err_self = NULL;
    ck_assert_str_eq(pier_error(), "thread: broken pipe");
    ck_assert_str_eq(task.text, "task: input/output error");
    pi_err_fini(&task);
    pi_err_fini(&task); /* twice is safe */
}

static void *fail_elsewhere(void *arg)
{
    ck_assert_int_eq(pier_error_code(), 0);
    pier_error_set(-EIO, "there");
    return NULL;
}

TEST(err_belongs_to_its_thread)
{
    pthread_t thread;
    pier_error_set(-EPIPE, "here");
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, NULL);
    ck_assert_str_eq(pier_error(), "here: broken pipe");
}

TEST(err_move_leaves_nothing_behind)
{
    struct pi_err child = { 0 }, parent = { 0 };
    pi_err_self = &child;
    pi_fail_connect(-ECONNRESET, "child");
    pi_err_self = &parent;
    pier_error_set(-EIO, "parent");
    pi_err_move(&parent, &child);
    ck_assert_str_eq(pier_error(), "child: connection reset by peer");
    ck_assert_int_eq(pier_error_code(), -ECONNRESET);
    ck_assert_int_eq(pier_exit_code(), 4);
    ck_assert_int_eq(child.code, 0);
    ck_assert_ptr_null(child.text);
    pi_err_self = NULL;
    pi_err_fini(&parent);
}

HARNESS_MAIN("base_err")
