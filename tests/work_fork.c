/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* not on valgrind: it does not know pidfd_open(2) */
/*
 * work_fork: what a forked child begins with, when a fork is refused, and that children are waited
 * for without blocking the loop.
 */
#include "both.h"

#include "work/fork.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#if defined(PI_TSAN)
/* It takes fibres for threads, and would not let a child of a task start any. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}
#endif

enum { FINE = 42 };

/* Ends the child as fine, or else by naming what is not so. */
#define IN_CHILD(condition)                                                        \
    do {                                                                           \
        if (!(condition)) {                                                        \
            fprintf(stderr, "child, line %d: not so: %s\n", __LINE__, #condition); \
            pi_fork_exit(1);                                                       \
        }                                                                          \
    } while (0)

static void ends_well(struct pi_process *child)
{
    ck_assert(pi_process_ends_by(child, pier_after(10 * PIER_SECOND)));
    ck_assert(WIFEXITED(child->status));
    ck_assert_int_eq(WEXITSTATUS(child->status), FINE);
    pi_process_close(child);
}

static bool on_uring(void)
{
    return strcmp(pier_backend(NULL), "io_uring") == 0;
}

static int add_one(void *arg)
{
    pier_sleep(PIER_MILLISECOND);
    ++*(int *)arg;
    return 0;
}

/* Waits, spawns, posts to itself: all that a process of Pier's does. */
static void live(void)
{
    int count = 0;
    struct pier_scope scope;
    IN_CHILD(pier_sleep(PIER_MILLISECOND) == 0);
    pier_scope_open(&scope, pier_after(10 * PIER_SECOND));
    for (int i = 0; i < 10; i++)
        IN_CHILD(pier_spawn(&scope, add_one, &count) == 0);
    IN_CHILD(pier_scope_join(&scope) == 0);
    IN_CHILD(count == 10);
    int more = 0;
    IN_CHILD(pier_offload(add_one, &more) == 0 && more == 1);
}

/* ---- what the child has ---- */

TEST(a_child_of_a_plain_thread_lives_its_own_life)
{
    struct pi_process child;
    pid_t pid = pi_fork(&child, 0);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        live();
        pi_fork_exit(FINE);
    }
    ck_assert_int_eq(pid, child.pid);
    ck_assert_int_ne(fcntl(child.end.fd, F_GETFD) & FD_CLOEXEC, 0);
    live();
    ends_well(&child);
}

static _Atomic int neighbour_turns;

static int neighbour(void *arg)
{
    while (pier_sleep(PIER_MILLISECOND) == 0)
        neighbour_turns++;
    return 0;
}

static int fork_in_a_task(void *arg)
{
    struct pi_process child;
    struct pier_scope *scope = arg;
    pid_t pid = pi_fork(&child, 0);
    if (on_uring()) {
        ck_assert_int_eq(pid, -EBUSY);
        ck_assert_str_eq(pier_error(), "fork: 1 io_uring ring is open in this process");
        pier_scope_cancel(scope);
        return 0;
    }
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int before = neighbour_turns;
        IN_CHILD(pi_task_self()->thread->loop == NULL);
        IN_CHILD(pi_task_self()->scope == NULL);
        live();
        IN_CHILD(neighbour_turns == before); /* it is the parent's */
        pi_fork_exit(FINE);
    }
    int before = neighbour_turns;
    ends_well(&child);
    while (neighbour_turns < before + 5)
        pier_sleep(PIER_MILLISECOND);
    pier_scope_cancel(scope);
    return 0;
}

TEST(a_child_of_a_task_has_no_loop_and_no_tasks_of_the_parents)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, neighbour, NULL), 0);
    ck_assert_int_eq(pier_spawn(&scope, fork_in_a_task, &scope), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
}

/* The eventfd is shared by a fork: a child that read the parent's wake-ups would steal them. */
TEST(a_child_has_a_wake_up_of_its_own)
{
    struct pi_process child;
    int fd = pi_thread_wake_fd(pi_task_self()->thread);
    ck_assert_int_ge(fd, 0);
    pi_thread_raise_wake_fd(pi_task_self()->thread);
    pid_t pid = pi_fork(&child, 0);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        int own = pi_thread_wake_fd(pi_task_self()->thread);
        struct pollfd p = { .fd = own, .events = POLLIN };
        IN_CHILD(own >= 0 && poll(&p, 1, 0) == 0);
        pi_fork_exit(FINE);
    }
    int status;
    uint64_t count;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid); /* without a wait of Pier's, which reads it */
    ck_assert_int_eq(WEXITSTATUS(status), FINE);
    ck_assert_int_eq(read(fd, &count, sizeof count), sizeof count);
    pi_process_close(&child);
}

static void ignore_it(int number)
{
}

TEST(signals_are_as_the_caller_asks)
{
    struct pi_process child;
    struct sigaction action = { .sa_handler = ignore_it };
    sigset_t mask;
    sigaction(SIGUSR2, &action, NULL);
    signal(SIGHUP, SIG_IGN);
    sigemptyset(&mask);
    sigaddset(&mask, SIGWINCH);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    for (int flags = 0; flags <= PI_FORK_DEFAULT_SIGNALS; flags += PI_FORK_DEFAULT_SIGNALS) {
        pid_t pid = pi_fork(&child, flags);
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            sigaction(SIGUSR2, NULL, &action);
            IN_CHILD(action.sa_handler == (flags ? SIG_DFL : ignore_it));
            sigaction(SIGHUP, NULL, &action);
            IN_CHILD(action.sa_handler == SIG_IGN);
            sigprocmask(SIG_BLOCK, NULL, &mask);
            IN_CHILD(sigismember(&mask, SIGPIPE) && sigismember(&mask, SIGWINCH));
            IN_CHILD(!sigismember(&mask, SIGTERM));
            pi_fork_exit(FINE);
        }
        sigprocmask(SIG_BLOCK, NULL, &mask);
        ck_assert(!sigismember(&mask, SIGPIPE) && !sigismember(&mask, SIGTERM));
        ends_well(&child);
    }
}

TEST(text_in_a_stream_is_written_once)
{
    struct pi_process child;
    char text[64] = "";
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    fputs("parent,", file);
    pid_t pid = pi_fork(&child, 0);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        fputs("child", file);
        pi_fork_exit(FINE);
    }
    ends_well(&child);
    rewind(file);
    ck_assert_ptr_nonnull(fgets(text, sizeof text, file));
    ck_assert_str_eq(text, "parent,child");
    fclose(file);
}

TEST(errors_of_the_parent_are_kept_and_its_own)
{
    struct pi_process child;
    pier_error_set(-EINVAL, "before");
    pid_t pid = pi_fork(&child, 0);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        IN_CHILD(strcmp(pier_error(), "before: invalid argument") == 0);
        pier_error_set(-ENOENT, "in the child");
        pi_fork_exit(FINE);
    }
    ends_well(&child);
    ck_assert_str_eq(pier_error(), "before: invalid argument");
}

/* ---- when it may not be ---- */

static void *wait_for_end(void *arg)
{
    char byte;
    ck_assert_int_eq(read(*(int *)arg, &byte, 1), 0);
    return NULL;
}

TEST(foreign_threads_are_counted_and_refused)
{
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    int fds[2];
    struct pi_process child;
    ck_assert_int_eq(pipe(fds), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_for_end, &fds[0]), 0);
    ck_assert_int_eq(pi_fork_prepare(), -EBUSY);
#if !defined(PI_TSAN)
    ck_assert_str_eq(pier_error(), "fork: 3 other threads run in this process");
#endif
    ck_assert_int_eq(pi_fork(&child, 0), -EBUSY);
    close(fds[1]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 100; i++) { /* whether or not the kernel has seen them off */
        ck_assert_int_eq(pi_fork_prepare(), 0);
        pi_fork_over();
        ck_assert_int_eq(pthread_create(&threads[0], NULL, wait_for_end, &fds[0]), 0);
        pthread_join(threads[0], NULL);
    }
}

static int nothing(void *arg)
{
    return 0;
}

TEST(idle_offload_threads_end_and_come_back)
{
    struct pi_process child;
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(pier_offload(nothing, NULL), 0);
        pid_t pid = pi_fork(&child, 0);
        ck_assert_msg(pid >= 0, "%s", pier_error());
        if (pid == 0) {
            live();
            pi_fork_exit(FINE);
        }
        ends_well(&child);
    }
}

static int count_own_threads(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

TEST(the_watchdog_stays_away_while_forks_may_come)
{
    int before = count_own_threads();
    pi_watchdog_start();
    ck_assert_int_gt(count_own_threads(), before);
    int with = count_own_threads();
    ck_assert_int_eq(pi_fork_prepare(), 0);
    ck_assert_int_lt(count_own_threads(), with);
    pi_watchdog_start(); /* a server inside */
    ck_assert_int_lt(count_own_threads(), with);
    struct pi_process child;
    pid_t pid = pi_fork(&child, 0);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        pi_watchdog_start();
        IN_CHILD(count_own_threads() > 1);
        pi_watchdog_stop();
        pi_fork_exit(FINE);
    }
    ends_well(&child);
    ck_assert_int_lt(count_own_threads(), with);
    pi_watchdog_stop();
    pi_fork_over();
    ck_assert_int_eq(count_own_threads(), with);
    pi_watchdog_stop();
}

static bool tried;

static int try_in_a_simulation(void *arg)
{
    struct pi_process child;
    ck_assert_int_eq(pi_fork(&child, 0), -EOPNOTSUPP);
    tried = true;
    return 0;
}

TEST(simulations_do_not_fork)
{
    ck_assert_int_eq(pier_sim_run(1, NULL, try_in_a_simulation), 0);
    ck_assert(tried);
}

/* As somebody who may have no more processes. */
static void run_out_of_processes(void)
{
    struct pi_process child;
    struct rlimit none = { 0, 0 };
    IN_CHILD(setrlimit(RLIMIT_NPROC, &none) == 0);
    IN_CHILD(setuid(65534) == 0);
    int fds = open_fds();
    IN_CHILD(pi_fork(&child, 0) == -EAGAIN);
    IN_CHILD(strcmp(pier_error(), "fork: resource temporarily unavailable") == 0);
    IN_CHILD(open_fds() == fds);
}

TEST(no_more_processes_is_an_error)
{
    struct pi_process child;
    if (getuid() != 0)
        test_skip("only root can become somebody else");
    pid_t pid = pi_fork(&child, 0);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        run_out_of_processes();
        pi_fork_exit(FINE);
    }
    ends_well(&child);
}

static void fill_descriptors(int leave)
{
    enum { MOST = 64 };
    struct rlimit limit = { MOST, MOST };
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    while (dup(STDERR_FILENO) >= 0)
        ;
    for (int i = 1; i <= leave; i++)
        close(MOST - i);
}

/* A descriptor that is missing at any point: the fork had no effect, and nobody is left behind. */
TEST(no_more_descriptors_is_an_error_and_the_child_never_began)
{
    int fds[2];
    char byte;
    ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
    pi_task_self();
    for (int leave = 0, failed = 0;; leave++) {
        struct pi_process child;
        ck_assert_int_lt(leave, 8);
        fill_descriptors(leave);
        pid_t pid = pi_fork(&child, 0);
        if (pid == 0) {
            IN_CHILD(write(fds[1], "x", 1) == 1);
            pi_fork_exit(FINE);
        }
        if (pid > 0) {
            ck_assert_int_ge(failed, 2);
            ends_well(&child);
            ck_assert_int_eq(read(fds[0], &byte, 1), 1);
            return;
        }
        failed++;
        ck_assert_int_eq(pid, -EMFILE);
        ck_assert_int_eq(waitpid(-1, NULL, 0), -1);
        ck_assert_int_eq(read(fds[0], &byte, 1), -1);
    }
}

/* ---- waiting ---- */

static int wait_cancelled(void *arg)
{
    struct pi_process *child = arg;
    int rc = pi_process_await(child, 0);
    ck_assert_int_eq(rc, -ECANCELED);
    ck_assert(!pi_process_reap(child));
    return 0;
}

TEST(a_wait_for_a_child_ends_with_its_scope_or_deadline)
{
    struct pi_process child;
    struct pier_scope scope;
    pid_t pid = pi_fork(&child, 0);
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        for (;;)
            pause();
    ck_assert_int_eq(pi_process_await(&child, pier_after(PIER_MILLISECOND)), -ETIMEDOUT);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, wait_cancelled, &child), 0);
    pier_sleep(PIER_MILLISECOND);
    pier_scope_cancel(&scope);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert(!pi_process_ends_by(&child, pier_after(PIER_MILLISECOND)));
    kill(pid, SIGKILL);
    ck_assert(pi_process_ends_by(&child, pier_after(10 * PIER_SECOND)));
    ck_assert(WIFSIGNALED(child.status) && WTERMSIG(child.status) == SIGKILL);
    pi_process_close(&child);
}

/* A grandchild tells by its end of the pipe whether it lives. */
TEST(a_child_can_die_with_its_parent)
{
    struct pi_process child, grandchild;
    int fds[2];
    char byte;
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = pi_fork(&child, 0);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        close(fds[0]);
        pid = pi_fork(&grandchild, PI_FORK_DIES_WITH_PARENT);
        IN_CHILD(pid >= 0);
        if (pid == 0)
            for (;;)
                pause();
        raise(SIGKILL);
    }
    close(fds[1]);
    ck_assert_int_eq(read(fds[0], &byte, 1), 0); /* both have gone */
    ck_assert(pi_process_ends_by(&child, pier_after(10 * PIER_SECOND)));
    pi_process_close(&child);
}

HARNESS_MAIN("work_fork")
