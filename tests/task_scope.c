/* SPDX-License-Identifier: MIT */
/* Scopes: joins, failures, cancellation and deadlines, in loops and on plain threads. */
#include "child.h"
#include "harness.h"
#include "task_threads.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>

static int sleep_long(void *arg)
{
    int rc = pier_sleep(PIER_HOUR);
    if (arg)
        *(int *)arg = rc;
    return rc;
}

static int count_up(void *arg)
{
    ++*(int *)arg;
    return 0;
}

/* ---- spawn and join ---- */

static char trail[64];

static int leave_trail(void *arg)
{
    const char *letter = arg;
    for (int i = 0; i < 2; i++) {
        strncat(trail, letter, 1);
        pier_yield();
    }
    return 0;
}

TEST(tasks_take_turns_in_the_order_of_their_spawns)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, leave_trail, "a");
    pier_spawn(&s, leave_trail, "b");
    pier_spawn(&s, leave_trail, "c");
    ck_assert_str_eq(trail, ""); /* they first run when the caller waits */
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_str_eq(trail, "abcabc");
}

TEST(join_of_an_empty_scope_returns_0_and_a_second_one_fails)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(pier_scope_join(&s), -EINVAL);
    ck_assert_ptr_null(thread_self()->loop);
}

static int spawn_below(void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 3; i++)
        pier_spawn(&s, count_up, arg);
    return pier_scope_join(&s);
}

TEST(join_waits_for_the_tasks_of_tasks)
{
    int count = 0;
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 3; i++)
        pier_spawn(&s, spawn_below, &count);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(count, 9);
}

/* A task adds siblings to the scope that owns it, which its parent joins. */
static int spawn_sibling(void *arg)
{
    struct pier_scope *home = pi_task_self()->home;
    int *left = arg;
    if (--*left > 0)
        return pier_spawn(home, spawn_sibling, left);
    return 0;
}

TEST(a_task_may_spawn_into_the_scope_that_owns_it)
{
    int left = 50;
    ck_assert_int_eq(in_a_loop(spawn_sibling, &left), 0);
    ck_assert_int_eq(left, 0);
}

TEST(ten_thousand_tasks_live_at_once)
{
    enum { COUNT = 10000 };
    struct pier_event e = { 0 };
    struct pier_scope s;
    int count = 0;
    pier_scope_open(&s, 0);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(pier_spawn(&s, (pier_task_fn)pier_event_wait, &e), 0);
        ck_assert_int_eq(pier_spawn(&s, count_up, &count), 0);
    }
    ck_assert_int_eq(pier_sleep(1), 0);
    ck_assert_int_eq(count, COUNT);
    ck_assert_uint_eq(thread_self()->loop->tasks, COUNT);
    pier_event_set(&e);
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

struct data {
    char text[200];
    int *sum;
};

static int read_copy(void *arg)
{
    const struct data *d = arg;
    if ((uintptr_t)d % 16 != 0)
        return -EFAULT;
    pier_yield();
    *d->sum += d->text[0] + d->text[199];
    return 0;
}

TEST(a_copied_argument_is_the_tasks_own)
{
    int sum = 0;
    struct data d = { .sum = &sum };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 1; i <= 10; i++) {
        memset(d.text, i, sizeof d.text);
        ck_assert_int_eq(pi_spawn_copy(&s, "reader", read_copy, &d, sizeof d), 0);
    }
    memset(d.text, 100, sizeof d.text);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(sum, 2 * 55);
}

/* ---- failures ---- */

static int fail_with_words(void *arg)
{
    return pier_error_set(-EIO, "disk %d", *(int *)arg);
}

static int fail_without_words(void *arg)
{
    return -ENOSPC;
}

TEST(the_first_failure_is_joins_with_its_words)
{
    int seven = 7, eight = 8, slept = 0;
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, sleep_long, &slept);
    pier_spawn(&s, fail_with_words, &seven);
    pier_spawn(&s, fail_with_words, &eight);
    pier_spawn(&s, fail_without_words, NULL);
    ck_assert_int_eq(pier_scope_join(&s), -EIO);
    ck_assert_str_eq(pier_error(), "disk 7: input/output error");
    ck_assert_int_eq(pier_error_code(), -EIO);
    ck_assert_int_eq(slept, -ECANCELED);
}

TEST(a_failure_without_words_gets_those_of_its_code)
{
    pier_error_set(-EPERM, "before");
    ck_assert_int_eq(in_a_loop(fail_without_words, NULL), -ENOSPC);
    ck_assert_str_eq(pier_error(), "no space left on device");
}

TEST(a_success_leaves_the_last_failure_alone)
{
    int count = 0;
    pier_error_set(-EPERM, "before");
    ck_assert_int_eq(in_a_loop(count_up, &count), 0);
    ck_assert_str_eq(pier_error(), "before: operation not permitted");
}

static int fail_below(void *arg)
{
    int rc = in_a_loop(fail_with_words, arg);
    return rc;
}

TEST(a_failure_goes_up_through_scopes_with_its_words)
{
    int nine = 9;
    ck_assert_int_eq(in_a_loop(fail_below, &nine), -EIO);
    ck_assert_str_eq(pier_error(), "disk 9: input/output error");
}

/* Every request for memory fails in turn, until none does. */
static int whole_scope(void)
{
    int count = 0;
    struct pier_scope s;
    pier_scope_open(&s, 0);
    int rc = pier_spawn(&s, spawn_below, &count);
    int again = pier_spawn(&s, count_up, &count);
    int joined = pier_scope_join(&s);
    if (rc < 0)
        ck_assert_int_eq(joined, rc);
    else if (again < 0)
        ck_assert_int_eq(joined, again);
    if (joined == 0)
        ck_assert_int_eq(count, 4);
    else
        ck_assert_str_ne(pier_error(), "");
    return joined;
}

TEST(every_lack_of_memory_is_a_failure_of_join)
{
    int rc = -1;
    for (int n = 1; rc < 0 && n < 1000; n++) {
        pi_alloc_fail(n);
        rc = whole_scope();
        pi_alloc_fail(0);
        ck_assert(rc == 0 || rc == -ENOMEM);
        ck_assert_ptr_null(thread_self()->loop);
        if (n == 1)
            ck_assert_int_eq(rc, -ENOMEM);
    }
    ck_assert_int_eq(rc, 0);
}

static int spawn_without_memory(void *arg)
{
    int count = 0;
    struct pier_scope s;
    struct pi_loop *loop = thread_self()->loop;
    size_t reserved = loop->timers.reserved;
    pier_scope_open(&s, 0);
    for (int rc = 0; rc == 0;) { /* until a slab would be needed */
        pi_alloc_fail(1);
        rc = pier_spawn(&s, count_up, &count);
        pi_alloc_fail(0);
        ck_assert(rc == 0 || rc == -ENOMEM);
    }
    ck_assert_int_eq(pier_scope_join(&s), -ENOMEM);
    ck_assert_uint_eq(loop->timers.reserved, reserved);
    return 0;
}

TEST(a_failed_spawn_gives_back_its_room_for_a_timer)
{
    ck_assert_int_eq(in_a_loop(spawn_without_memory, NULL), 0);
}

/* ---- cancellation ---- */

static int cancel_other(void *arg)
{
    pier_scope_cancel(arg);
    return 0;
}

TEST(cancel_ends_waits_and_stays_until_the_scope_ends)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, cancel_other, &s);
    ck_assert_int_eq(pier_sleep(PIER_HOUR), -ECANCELED);
    ck_assert_int_eq(pier_sleep(1), -ECANCELED);
    ck_assert_int_eq(pier_sleep(0), -ECANCELED);
    ck_assert_int_eq(pier_yield(), -ECANCELED);
    ck_assert_int_eq(pier_cancelled(), -ECANCELED);
    pier_scope_cancel(&s); /* twice is safe */
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(pier_cancelled(), 0);
    ck_assert_int_eq(pier_sleep(1), 0);
}

static int nest_and_sleep(void *arg)
{
    struct pier_scope inner;
    pier_scope_open(&inner, pier_after(PIER_HOUR));
    pier_spawn(&inner, sleep_long, arg);
    int rc = pier_sleep(PIER_HOUR);
    int joined = pier_scope_join(&inner);
    return rc == -ECANCELED && joined == -ECANCELED ? -ECANCELED : -EIO;
}

TEST(cancel_reaches_scopes_and_tasks_below)
{
    int slept = 0;
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, nest_and_sleep, &slept);
    pier_sleep(1);
    pier_scope_cancel(&s);
    ck_assert_int_eq(pier_scope_join(&s), -ECANCELED);
    ck_assert_int_eq(slept, -ECANCELED);
}

TEST(cancel_of_an_inner_scope_leaves_the_outer_one_alone)
{
    struct pier_scope outer, inner;
    int slept = 0, other = 0;
    pier_scope_open(&outer, pier_after(20 * PIER_MILLISECOND));
    pier_spawn(&outer, sleep_long, &other);
    pier_scope_open(&inner, 0);
    pier_spawn(&inner, sleep_long, &slept);
    pier_scope_cancel(&inner);
    ck_assert_int_eq(pier_sleep(1), -ECANCELED);
    ck_assert_int_eq(pier_scope_join(&inner), -ECANCELED);
    ck_assert_int_eq(pier_sleep(1), 0);
    ck_assert_int_eq(slept, -ECANCELED);
    ck_assert_int_eq(pier_scope_join(&outer), -ETIMEDOUT);
    ck_assert_int_eq(other, -ETIMEDOUT);
}

TEST(a_scope_opened_in_a_cancelled_one_is_cancelled)
{
    struct pier_scope outer, inner;
    pier_scope_open(&outer, 0);
    pier_scope_cancel(&outer);
    pier_scope_open(&inner, pier_after(PIER_HOUR));
    ck_assert_int_eq(pier_sleep(1), -ECANCELED);
    ck_assert_int_eq(pier_scope_join(&inner), 0);
    ck_assert_int_eq(pier_scope_join(&outer), 0);
}

TEST(a_spawn_in_a_cancelled_scope_fails_and_join_says_so)
{
    int count = 0;
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_scope_cancel(&s);
    ck_assert_int_eq(pier_spawn(&s, count_up, &count), -ECANCELED);
    ck_assert_int_eq(pier_scope_join(&s), -ECANCELED);
    ck_assert_int_eq(count, 0);
    pier_scope_open(&s, pier_after(0));
    ck_assert_int_eq(pier_spawn(&s, count_up, &count), -ETIMEDOUT);
    ck_assert_int_eq(pier_scope_join(&s), -ETIMEDOUT);
    ck_assert_int_eq(count, 0);
}

static int cancel_own_home(void *arg)
{
    pier_scope_cancel(pi_task_self()->home);
    ck_assert_int_eq(pier_sleep(1), -ECANCELED);
    return 0;
}

TEST(a_task_may_cancel_the_scope_that_owns_it)
{
    int slept = 0;
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, sleep_long, &slept);
    pier_spawn(&s, cancel_own_home, NULL);
    ck_assert_int_eq(pier_scope_join(&s), -ECANCELED);
    ck_assert_int_eq(slept, -ECANCELED);
}

/* ---- deadlines ---- */

TEST(a_deadline_ends_a_wait_in_a_loop_and_outside)
{
    int count = 0;
    for (int with_loop = 0; with_loop < 2; with_loop++) {
        int64_t start = pier_now();
        struct pier_scope s;
        pier_scope_open(&s, pier_after(10 * PIER_MILLISECOND));
        if (with_loop)
            pier_spawn(&s, count_up, &count);
        ck_assert_int_eq(pier_sleep(PIER_HOUR), -ETIMEDOUT);
        ck_assert_int_ge(pier_now() - start, 10 * PIER_MILLISECOND);
        ck_assert_int_eq(pier_sleep(1), -ETIMEDOUT);
        ck_assert_int_eq(pier_cancelled(), -ETIMEDOUT);
        ck_assert_int_eq(pier_scope_join(&s), 0);
        ck_assert_int_eq(pier_sleep(1), 0);
    }
}

TEST(the_nearest_of_nested_deadlines_rules)
{
    struct pier_scope outer, inner;
    int64_t start = pier_now();
    pier_scope_open(&outer, pier_after(10 * PIER_MILLISECOND));
    pier_scope_open(&inner, pier_after(PIER_HOUR));
    ck_assert_int_eq(pier_sleep(PIER_HOUR), -ETIMEDOUT);
    ck_assert_int_lt(pier_now() - start, PIER_MINUTE);
    ck_assert_int_eq(pier_scope_join(&inner), 0);
    ck_assert_int_eq(pier_scope_join(&outer), 0);

    pier_scope_open(&outer, pier_after(PIER_HOUR));
    pier_scope_open(&inner, pier_after(10 * PIER_MILLISECOND));
    ck_assert_int_eq(pier_sleep(PIER_HOUR), -ETIMEDOUT);
    ck_assert_int_eq(pier_scope_join(&inner), 0);
    ck_assert_int_eq(pier_sleep(1), 0); /* the outer one goes on */
    ck_assert_int_eq(pier_scope_join(&outer), 0);
}

/* "-ETIMEDOUT when the nearest cancelled scope's own deadline passed". */
TEST(the_nearest_cancelled_scope_decides_the_code)
{
    struct pier_scope outer, inner;
    pier_scope_open(&outer, pier_after(0)); /* passed */
    pier_scope_open(&inner, 0);
    ck_assert_int_eq(pier_sleep(1), -ETIMEDOUT);
    pier_scope_cancel(&inner);
    ck_assert_int_eq(pier_sleep(1), -ECANCELED);
    ck_assert_int_eq(pier_scope_join(&inner), 0);
    ck_assert_int_eq(pier_sleep(1), -ETIMEDOUT);
    pier_scope_cancel(&outer);
    ck_assert_int_eq(pier_sleep(1), -ETIMEDOUT);
    ck_assert_int_eq(pier_scope_join(&outer), 0);

    pier_scope_open(&outer, 0);
    pier_scope_open(&inner, pier_after(0));
    pier_scope_cancel(&outer);
    ck_assert_int_eq(pier_sleep(1), -ETIMEDOUT);
    ck_assert_int_eq(pier_scope_join(&inner), 0);
    ck_assert_int_eq(pier_sleep(1), -ECANCELED);
    ck_assert_int_eq(pier_scope_join(&outer), 0);
}

TEST(a_deadline_reaches_the_tasks_of_the_scope)
{
    int slept = 0;
    struct pier_scope s;
    pier_scope_open(&s, pier_after(100 * PIER_MILLISECOND));
    pier_spawn(&s, sleep_long, &slept);
    ck_assert_int_eq(pier_scope_join(&s), -ETIMEDOUT);
    ck_assert_int_eq(slept, -ETIMEDOUT);
    ck_assert_str_eq(pier_error(), "timed out");
    ck_assert_int_eq(pier_exit_code(), 6);
}

TEST(a_sleep_that_ends_before_the_deadline_succeeds)
{
    struct pier_scope s;
    pier_scope_open(&s, pier_after(PIER_MINUTE));
    ck_assert_int_eq(pier_sleep(PIER_MILLISECOND), 0);
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

static int compute_until_cancelled(void *arg)
{
    int rc = 0;
    while ((rc = pier_cancelled()) == 0)
        ++*(int64_t *)arg;
    return rc;
}

TEST(a_long_computation_sees_its_deadline)
{
    int64_t rounds = 0;
    struct pier_scope s;
    pier_scope_open(&s, pier_after(100 * PIER_MILLISECOND));
    pier_spawn(&s, compute_until_cancelled, &rounds);
    ck_assert_int_eq(pier_scope_join(&s), -ETIMEDOUT);
    ck_assert_int_gt(rounds, 0);
}

/* ---- shield ---- */

static int clean_up(void *arg)
{
    int rc = pier_sleep(PIER_HOUR);
    ck_assert_int_eq(rc, -ECANCELED);
    struct pier_scope shield;
    pier_shield(&shield, pier_after(PIER_MINUTE));
    ck_assert_int_eq(pier_sleep(PIER_MILLISECOND), 0);
    pier_spawn(&shield, count_up, arg);
    ck_assert_int_eq(pier_scope_join(&shield), 0);
    ck_assert_int_eq(pier_sleep(1), -ECANCELED);
    return rc;
}

TEST(a_shield_gives_clean_up_its_time)
{
    int count = 0;
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, clean_up, &count);
    pier_sleep(1);
    pier_scope_cancel(&s);
    ck_assert_int_eq(pier_scope_join(&s), -ECANCELED);
    ck_assert_int_eq(count, 1);
}

static int wait_behind_shield(void *arg)
{
    struct pier_scope shield;
    pier_shield(&shield, pier_after(PIER_MINUTE));
    pier_spawn(&shield, (pier_task_fn)pier_event_wait, arg);
    int rc = pier_event_wait(arg);
    ck_assert_int_eq(pier_scope_join(&shield), 0);
    ck_assert_int_eq(pier_cancelled(), -ECANCELED);
    return rc;
}

TEST(a_cancellation_outside_does_not_reach_behind_an_open_shield)
{
    struct pier_event e = { 0 };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, wait_behind_shield, &e);
    pier_sleep(1);
    pier_scope_cancel(&s);
    struct pier_scope own;
    pier_shield(&own, pier_after(PIER_MINUTE));
    ck_assert_int_eq(pier_sleep(PIER_MILLISECOND), 0);
    ck_assert_int_eq(pier_scope_join(&own), 0);
    pier_event_set(&e);
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

TEST(a_shield_has_a_bound_of_its_own)
{
    struct pier_scope s, shield;
    pier_scope_open(&s, 0);
    pier_scope_cancel(&s);
    pier_shield(&shield, pier_after(100 * PIER_MILLISECOND));
    ck_assert_int_eq(pier_sleep(PIER_HOUR), -ETIMEDOUT);
    ck_assert_int_eq(pier_scope_join(&shield), 0);
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

/* ---- the ends of scopes ---- */

static int leave_early(int *slept, bool early)
{
    PIER_SCOPE(s, 0);
    pier_spawn(&s, sleep_long, slept);
    pier_sleep(1);
    if (early)
        return 17;
    pier_scope_cancel(&s);
    return pier_scope_join(&s);
}

TEST(pier_scope_cancels_and_joins_on_an_early_return)
{
    int slept = 0;
    ck_assert_int_eq(leave_early(&slept, true), 17);
    ck_assert_int_eq(slept, -ECANCELED);
    ck_assert_ptr_null(pi_task_self()->scope);
    slept = 0;
    ck_assert_int_eq(leave_early(&slept, false), -ECANCELED);
    ck_assert_int_eq(slept, -ECANCELED);
}

static const int open_line = __LINE__ + 4;
static int forget_scope(void *arg)
{
    struct pier_scope *s = arg;
    pier_scope_open(s, 0);
    return 0;
}

static void forget_in_task(void)
{
    static struct pier_scope lost;
    in_a_loop(forget_scope, &lost);
}

static void join_out_of_order(void)
{
    static struct pier_scope outer, inner;
    pier_scope_open(&outer, 0);
    pier_scope_open(&inner, 0);
    pier_scope_join(&outer);
}

TEST(a_task_that_ends_with_an_open_scope_aborts_naming_the_line)
{
    struct child c;
    char place[64];
    child_run(&c, forget_in_task);
    ck_assert_msg(child_died_of(&c, SIGABRT), "status %x: %s", c.status, c.text);
    snprintf(place, sizeof place, "task_scope.c:%d open", open_line);
    ck_assert_msg(child_said(&c, place), "%s", c.text);
    ck_assert_msg(child_said(&c, "task \"fn\" ended"), "%s", c.text);
    child_run(&c, join_out_of_order);
    ck_assert_msg(child_died_of(&c, SIGABRT), "status %x: %s", c.status, c.text);
    ck_assert_msg(child_said(&c, "task_scope.c:"), "%s", c.text);
}

static int entries(const char *path)
{
    int count = 0;
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static int lines(const char *path)
{
    FILE *f = fopen(path, "r");
    int count = 0;
    for (int c; f && (c = getc(f)) != EOF;)
        count += c == '\n';
    fclose(f);
    return count;
}

static int sleep_short(void *arg)
{
    return pier_sleep(PIER_MILLISECOND);
}

static void *use_a_loop(void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 100; i++)
        pier_spawn(&s, sleep_short, NULL);
    pier_scope_join(&s);
    return NULL;
}

/* The thread keeps one eventfd for its next waits, and its end closes that too. */
TEST(a_loop_leaves_nothing_behind)
{
    use_a_loop(NULL);
    int fds = entries("/proc/self/fd"), maps = lines("/proc/self/maps");
    for (int i = 0; i < 20; i++)
        use_a_loop(NULL);
    ck_assert_ptr_null(thread_self()->loop);
    ck_assert_int_eq(entries("/proc/self/fd"), fds);
    if (!HAVE_ASAN && !HAVE_TSAN)
        ck_assert_int_le(lines("/proc/self/maps"), maps + 2); /* malloc's own */
    for (int i = 0; i < 20; i++)
        thread_end(thread_start(use_a_loop, NULL));
    ck_assert_int_eq(entries("/proc/self/fd"), fds);
    if (!HAVE_ASAN && !HAVE_TSAN)
        ck_assert_int_le(lines("/proc/self/maps"), maps + 8); /* a cached stack and an arena */
}

/* ---- from other threads ---- */

struct remote {
    struct pier_scope scope;
    struct pi_thread *thread;
    int (*wait)(struct remote *r);
    struct pier_mutex mutex;
    struct pier_event event, go;
    struct pier_sem sem;
    struct pier_chan chan;
    int fds[2];
    int rc;
};

static void *cancel_when_asleep(void *arg)
{
    struct remote *r = arg;
    thread_await_sleep(r->thread);
    pier_scope_cancel_remote(&r->scope);
    return NULL;
}

static int wait_cancelled(void *arg)
{
    struct remote *r = arg;
    r->thread = thread_self();
    pier_scope_open(&r->scope, 0);
    pthread_t other = thread_start(cancel_when_asleep, r);
    r->rc = r->wait(r);
    ck_assert_int_eq(pier_scope_join(&r->scope), 0);
    thread_end(other);
    return 0;
}

static int wait_in_sleep(struct remote *r)
{
    return pier_sleep(PIER_HOUR);
}

static int wait_in_mutex(struct remote *r)
{
    ck_assert_int_eq(pier_mutex_lock(&r->mutex), 0);
    return pier_mutex_lock(&r->mutex);
}

static int wait_in_event(struct remote *r)
{
    return pier_event_wait(&r->event);
}

static int wait_in_sem(struct remote *r)
{
    return pier_sem_wait(&r->sem);
}

static int wait_in_recv(struct remote *r)
{
    int elem;
    return pier_chan_recv(&r->chan, &elem);
}

static int wait_in_send(struct remote *r)
{
    int elem = 1;
    return pier_chan_send(&r->chan, &elem);
}

static int wait_in_select(struct remote *r)
{
    int elem = 1;
    struct pier_select_case cases[] = { { &r->chan, PIER_SELECT_RECV, &elem, 0 } };
    return pier_select(cases, 1, 0);
}

static int wait_in_fd(struct remote *r)
{
    return pier_wait_fd(r->fds[0], POLLIN, 0);
}

static int block_in_offload(void *arg)
{
    struct remote *r = arg;
    struct pier_scope apart;
    pier_shield(&apart, pier_after(PIER_MINUTE));
    int rc = pier_event_wait(&r->go);
    pier_scope_join(&apart);
    return rc == 0 ? 42 : rc;
}

static void let_go(void *arg)
{
    pier_sem_post(&((struct remote *)arg)->sem);
}

/* The job may run on: r must outlive it. */
static int wait_in_abandonable(struct remote *r)
{
    int rc = pier_offload_abandon(block_in_offload, r, let_go);
    struct pier_scope shield;
    pier_event_set(&r->go);
    pier_shield(&shield, pier_after(PIER_MINUTE));
    ck_assert_int_eq(pier_sem_wait(&r->sem), 0);
    pier_scope_join(&shield);
    return rc;
}

static int (*const waits[])(struct remote *r) = {
    wait_in_sleep, wait_in_mutex, wait_in_event,  wait_in_sem,         wait_in_recv,
    wait_in_send,  wait_in_fd,    wait_in_select, wait_in_abandonable,
};

static void check_remote_cancel(int (*wait)(struct remote *r), bool in_loop)
{
    struct remote r = { .wait = wait };
    ck_assert_int_eq(pipe(r.fds), 0);
    ck_assert_int_eq(pier_chan_init(&r.chan, sizeof(int), 0, 0), 0);
    if (in_loop)
        ck_assert_int_eq(in_a_loop(wait_cancelled, &r), 0);
    else
        wait_cancelled(&r);
    ck_assert_int_eq(r.rc, -ECANCELED);
    close(r.fds[0]);
    close(r.fds[1]);
}

TEST(another_thread_cancels_every_kind_of_wait_in_a_loop)
{
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
        check_remote_cancel(waits[i], true);
}

TEST(another_thread_cancels_every_kind_of_wait_of_a_plain_thread)
{
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
        check_remote_cancel(waits[i], false);
}

static void *cancel_then_release(void *arg)
{
    struct remote *r = arg;
    thread_await_sleep(r->thread);
    pier_scope_cancel_remote(&r->scope);
    pier_event_set(&r->go);
    return NULL;
}

/* The argument is the caller's, so a cancelled offload waits for its end, and the result counts. */
TEST(a_cancelled_offload_that_runs_returns_its_result)
{
    for (int i = 0; i < 50; i++) {
        struct remote r = { .thread = thread_self() };
        pier_scope_open(&r.scope, 0);
        pthread_t other = thread_start(cancel_then_release, &r);
        int rc = pier_offload(block_in_offload, &r);
        ck_assert(rc == 42 || rc == -ECANCELED); /* the second: it had not begun */
        ck_assert_int_eq(pier_scope_join(&r.scope), 0);
        thread_end(other);
    }
}

static int wait_for_go(void *arg)
{
    struct remote *r = arg;
    r->rc = pier_event_wait(&r->go);
    return r->rc;
}

static void *cancel_twice(void *arg)
{
    struct remote *r = arg;
    pier_scope_cancel_remote(&r->scope);
    pier_scope_cancel_remote(&r->scope);
    return NULL;
}

TEST(a_remote_cancellation_races_with_the_end_of_its_scope)
{
    for (int i = 0; i < 500; i++) {
        struct remote r = { 0 };
        pier_scope_open(&r.scope, 0);
        pier_spawn(&r.scope, wait_for_go, &r);
        pthread_t a = thread_start(cancel_twice, &r), b = thread_start(cancel_twice, &r);
        ck_assert_int_eq(pier_sleep(PIER_HOUR), -ECANCELED);
        thread_end(a);
        thread_end(b); /* the second message may be on its way: join waits for it */
        ck_assert_int_eq(pier_scope_join(&r.scope), -ECANCELED);
        ck_assert_int_eq(r.rc, -ECANCELED);
    }
}

/* The scope is gone after join: no message may still be on its way to it. */
TEST(join_waits_for_a_remote_cancellation_under_way)
{
    struct remote r = { .thread = thread_self() };
    for (int i = 0; i < 200; i++) {
        pier_scope_open(&r.scope, 0);
        thread_end(thread_start(cancel_twice, &r)); /* the message is in the inbox */
        ck_assert_int_eq(pier_scope_join(&r.scope), 0);
        ck_assert(!pi_thread_has_mail(r.thread));
        ck_assert_int_eq(r.scope.posted, 0);
    }
}

static struct pier_scope signalled;

static void on_alarm(int number)
{
    pier_scope_cancel_remote(&signalled);
}

TEST(a_signal_handler_may_cancel_a_scope)
{
    signal(SIGALRM, on_alarm);
    for (int with_loop = 0; with_loop < 2; with_loop++) {
        int slept = 0;
        pier_scope_open(&signalled, 0);
        if (with_loop)
            pier_spawn(&signalled, sleep_long, &slept);
        ualarm(2000, 0);
        ck_assert_int_eq(pier_sleep(PIER_HOUR), -ECANCELED);
        pier_scope_join(&signalled);
        ck_assert_int_eq(slept, with_loop ? -ECANCELED : 0);
    }
}

HARNESS_MAIN("task_scope")
