/* SPDX-License-Identifier: MIT */
/* A Pier loop inside a foreign one: the descriptor says when there is something to step through. */
#include "harness.h"
#include "task_threads.h"

#include <poll.h>
#include <unistd.h>

/* The foreign loop: waits for the descriptor only, and counts its rounds. Returns
 * pier_loop_step()'s last. */
static int run_foreign(int *rounds, int rounds_max)
{
    int alive = 1;
    *rounds = 0;
    struct pollfd p = { pier_loop_fd(), POLLIN, 0 };
    ck_assert_int_ge(p.fd, 0);
    while (alive > 0 && *rounds < rounds_max) {
        ck_assert_int_eq(poll(&p, 1, 10000), 1); /* else a wake-up was lost */
        ++*rounds;
        alive = pier_loop_step();
    }
    return alive;
}

static int sleep_thrice(void *arg)
{
    for (int i = 0; i < 3; i++) {
        int rc = pier_sleep(5 * PIER_MILLISECOND);
        if (rc < 0)
            return rc;
        ++*(int *)arg;
    }
    return 0;
}

TEST(timers_of_tasks_run_in_a_foreign_loop)
{
    int slept = 0, rounds;
    struct pier_scope s;
    int64_t start = pier_now();
    pier_scope_open(&s, 0);
    for (int i = 0; i < 3; i++)
        pier_spawn(&s, sleep_thrice, &slept);
    ck_assert_int_eq(run_foreign(&rounds, 1000), 0);
    ck_assert_int_eq(slept, 9);
    ck_assert_int_ge(pier_now() - start, 15 * PIER_MILLISECOND);
    ck_assert_int_lt(rounds, 50); /* it slept in between */
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

TEST(a_step_without_work_returns_at_once_with_the_count_of_tasks)
{
    int slept = 0;
    struct pier_event e = { 0 };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, (pier_task_fn)pier_event_wait, &e);
    pier_spawn(&s, (pier_task_fn)pier_event_wait, &e);
    pier_spawn(&s, sleep_thrice, &slept);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(pier_loop_step(), 3);
    pier_event_set(&e);
    ck_assert_int_eq(pier_loop_step(), 1);
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

TEST(the_descriptor_is_quiet_while_nothing_can_run)
{
    struct pier_event e = { 0 };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, (pier_task_fn)pier_event_wait, &e);
    struct pollfd p = { pier_loop_fd(), POLLIN, 0 };
    ck_assert_int_eq(poll(&p, 1, 1000), 1); /* the new task can run */
    ck_assert_int_eq(pier_loop_step(), 1);
    ck_assert_int_eq(poll(&p, 1, 20), 0);
    pier_event_set(&e);
    p.fd = pier_loop_fd(); /* asked again, it sees what became ready outside of a step */
    ck_assert_int_eq(poll(&p, 1, 1000), 1);
    ck_assert_int_eq(pier_loop_step(), 0);
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

struct pipe_job {
    int fd;
    char got[16];
};

static int read_pipe(void *arg)
{
    struct pipe_job *j = arg;
    int ready = pier_wait_fd(j->fd, POLLIN, 0);
    if (ready < 0)
        return ready;
    return read(j->fd, j->got, sizeof j->got) > 0 ? 0 : -EIO;
}

TEST(descriptors_of_tasks_wake_a_foreign_loop)
{
    int fds[2], rounds;
    ck_assert_int_eq(pipe(fds), 0);
    struct pipe_job j = { .fd = fds[0] };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, read_pipe, &j);
    ck_assert_int_eq(pier_loop_step(), 1);
    ck_assert_int_ge(pier_loop_fd(), 0);
    ck_assert_int_eq(write(fds[1], "hello", 6), 6);
    ck_assert_int_eq(run_foreign(&rounds, 100), 0);
    ck_assert_str_eq(j.got, "hello");
    ck_assert_int_eq(pier_scope_join(&s), 0);
    close(fds[0]);
    close(fds[1]);
}

struct remote {
    struct pier_sem there, here;
};

static int answer(void *arg)
{
    struct remote *r = arg;
    for (int i = 0; i < 2000; i++) {
        if (pier_sem_wait(&r->here) < 0)
            return -EIO;
        pier_sem_post(&r->there);
    }
    return 0;
}

static void *ask(void *arg)
{
    struct remote *r = arg;
    for (int i = 0; i < 2000; i++) {
        pier_sem_post(&r->here);
        if (pier_sem_wait(&r->there) < 0)
            return arg;
    }
    return NULL;
}

TEST_WITHIN(60, other_threads_wake_a_foreign_loop)
{
    struct remote r = { 0 };
    struct pier_scope s;
    int rounds;
    pier_scope_open(&s, 0);
    pier_spawn(&s, answer, &r);
    ck_assert_int_ge(pier_loop_fd(), 0);
    pthread_t id = thread_start(ask, &r);
    ck_assert_int_eq(run_foreign(&rounds, 100000), 0);
    thread_end(id);
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

static int step_inside(void *arg)
{
    ck_assert_int_eq(pier_loop_fd(), -EINVAL);
    ck_assert_int_eq(pier_loop_step(), -EINVAL);
    return 0;
}

TEST(only_a_thread_with_tasks_can_be_stepped_and_not_by_a_task)
{
    ck_assert_int_eq(pier_loop_fd(), -EINVAL);
    ck_assert_int_eq(pier_loop_step(), -EINVAL);
    ck_assert_str_ne(pier_error(), "");
    ck_assert_int_eq(in_a_loop(step_inside, NULL), 0);
    ck_assert_int_eq(pier_loop_fd(), -EINVAL);
}

static int yield_often(void *arg)
{
    for (int i = 0; i < 1000; i++)
        pier_yield();
    return 0;
}

TEST(a_task_that_yields_keeps_the_descriptor_readable)
{
    int rounds;
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, yield_often, NULL);
    pier_spawn(&s, yield_often, NULL);
    ck_assert_int_eq(run_foreign(&rounds, 5000), 0);
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

HARNESS_MAIN("task_loop")
