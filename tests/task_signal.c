/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* not on tsan: it keeps signals until a call that it knows, and a futex is none */
/*
 * task_signal: pier_signal_wait() in tasks and on threads, alone and several at once.
 */
#include "both.h"

#include <sys/wait.h>

static const int usr1[] = { SIGUSR1, 0 };
static const int both_usr[] = { SIGUSR1, SIGUSR2, 0 };

BOTH(a_signal_that_came_before_is_there)
{
    ck_assert_int_eq(pier_signal_wait(both_usr, pier_after(PIER_MILLISECOND)), -ETIMEDOUT);
    ck_assert_str_eq(pier_error(), "wait for signals: timed out");
    kill(getpid(), SIGUSR2);
    kill(getpid(), SIGUSR2); /* one that stands already is one */
    ck_assert_int_eq(pier_signal_wait(both_usr, 0), SIGUSR2);
    ck_assert_int_eq(pier_signal_wait(both_usr, pier_after(PIER_MILLISECOND)), -ETIMEDOUT);
}

static int main_thread_sleeps(void)
{
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/stat", getpid(), getpid());
    FILE *f = fopen(path, "r");
    char *got = f ? fgets(line, sizeof line, f) : NULL;
    if (f)
        fclose(f);
    return got && strstr(line, ") S ") != NULL;
}

/* Sends it once the main thread sleeps. */
static void *send_later(void *arg)
{
    while (!main_thread_sleeps())
        sched_yield();
    kill(getpid(), *(int *)arg);
    return NULL;
}

BOTH(a_sleeping_waiter_is_woken)
{
    for (int i = 0; i < 20; i++) {
        int number = i % 2 ? SIGUSR1 : SIGUSR2;
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, send_later, &number), 0);
        ck_assert_int_eq(pier_signal_wait(both_usr, 0), number);
        pthread_join(thread, NULL);
    }
}

/* Whatever the masks: the waiting thread lets it in. */
TEST(a_blocked_signal_can_be_waited_for)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    kill(getpid(), SIGUSR1);
    ck_assert_int_eq(pier_signal_wait(usr1, 0), SIGUSR1);
}

static int ticks;

static int tick(void *arg)
{
    while (pier_sleep(PIER_MILLISECOND) == 0)
        if (++ticks == 5)
            kill(getpid(), SIGUSR1);
    return 0;
}

static int wait_in_task(void *arg)
{
    ck_assert_int_eq(pier_signal_wait(usr1, 0), SIGUSR1);
    ck_assert_int_ge(ticks, 5);
    pier_scope_cancel((struct pier_scope *)arg);
    return 0;
}

TEST(other_tasks_run_while_one_waits)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, wait_in_task, &scope), 0);
    ck_assert_int_eq(pier_spawn(&scope, tick, NULL), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
}

/* ---- several ---- */

enum { WAITERS = 6 };

static _Atomic int received, waiting;

static int receive(void *arg)
{
    waiting++;
    int number = pier_signal_wait(usr1, 0);
    if (number == SIGUSR1)
        received++;
    return number < 0 ? number : 0;
}

static void *receive_on_a_thread(void *arg)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < WAITERS / 2; i++)
        pier_spawn(&scope, receive, NULL);
    pier_scope_join(&scope);
    return NULL;
}

/* Each is sent when the last one has arrived, so none of them are one. */
TEST(each_signal_goes_to_one_of_several_loops_waiters)
{
    pthread_t threads[2];
    ck_assert_int_eq(pier_signal_wait(usr1, pier_after(1)), -ETIMEDOUT);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, receive_on_a_thread, NULL), 0);
    while (waiting < WAITERS)
        sched_yield();
    for (int i = 0; i < WAITERS; i++) {
        ck_assert_int_eq(received, i);
        kill(getpid(), SIGUSR1);
        while (received == i)
            sched_yield();
    }
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ck_assert_int_eq(received, WAITERS);
    ck_assert_int_eq(pier_signal_wait(usr1, pier_after(1)), -ETIMEDOUT);
}

/* Waiters that come and go while signals arrive as fast as they can: no message is left behind in a
 * frame that is gone, and none is lost. */
static _Atomic bool storm_over;

static void *storm(void *arg)
{
    while (!storm_over)
        kill(getpid(), SIGUSR1);
    return NULL;
}

BOTH(a_storm_of_signals_and_short_waits_is_survived)
{
    test_not_on_valgrind("a storm takes it minutes");
    pthread_t thread;
    int got = 0;
    ck_assert_int_eq(pier_signal_wait(usr1, pier_after(1)), -ETIMEDOUT);
    ck_assert_int_eq(pthread_create(&thread, NULL, storm, NULL), 0);
    while (got < 2000) {
        int number = pier_signal_wait(usr1, pier_after(20 * PIER_MICROSECOND));
        ck_assert(number == SIGUSR1 || number == -ETIMEDOUT);
        got += number == SIGUSR1;
    }
    storm_over = true;
    pthread_join(thread, NULL);
}

TEST(too_many_waiters_are_refused)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(pier_spawn(&scope, receive, NULL), 0);
    while (waiting < 64)
        pier_yield();
    ck_assert_int_eq(pier_signal_wait(usr1, 0), -EAGAIN);
    pier_scope_cancel(&scope);
    ck_assert_int_eq(pier_scope_join(&scope), -ECANCELED);
    kill(getpid(), SIGUSR1);
    ck_assert_int_eq(pier_signal_wait(usr1, 0), SIGUSR1);
}

/* ---- the end of a wait ---- */

TEST(a_cancelled_wait_keeps_the_signal_for_the_next_one)
{
    struct pier_scope scope;
    pier_scope_open(&scope, pier_after(5 * PIER_MILLISECOND));
    ck_assert_int_eq(pier_signal_wait(usr1, 0), -ETIMEDOUT);
    kill(getpid(), SIGUSR1);
    ck_assert_int_eq(pier_signal_wait(usr1, 0), -ETIMEDOUT); /* the scope is over */
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(pier_signal_wait(usr1, 0), SIGUSR1);
}

TEST(lists_that_make_no_sense_are_refused)
{
    int last = SIGRTMAX - 1; /* Valgrind keeps the very last to itself */
    ck_assert_int_eq(pier_signal_wait((int[]){ 0 }, 0), -EINVAL);
    ck_assert_int_eq(pier_signal_wait((int[]){ SIGKILL, 0 }, 0), -EINVAL);
    ck_assert_str_eq(pier_error(), "wait for signal 9: it cannot be waited for");
    ck_assert_int_eq(pier_signal_wait((int[]){ SIGSEGV, 0 }, 0), -EINVAL);
    ck_assert_int_eq(pier_signal_wait((int[]){ -1, 0 }, 0), -EINVAL);
    ck_assert_int_eq(pier_signal_wait((int[]){ 32, 0 }, 0), -EINVAL); /* libc's own */
    ck_assert_int_eq(pier_signal_wait((int[]){ last, 0 }, pier_after(1)), -ETIMEDOUT);
    kill(getpid(), last);
    ck_assert_int_eq(pier_signal_wait((int[]){ last, 0 }, 0), last);
}

static int wait_in_a_simulation(void *arg)
{
    ck_assert_int_eq(pier_signal_wait(usr1, 0), -EOPNOTSUPP);
    return 0;
}

TEST(simulations_have_no_signals)
{
    ck_assert_int_eq(pier_sim_run(1, NULL, wait_in_a_simulation), 0);
}

/* ---- with a server ---- */

static int ignore_conn(struct pier_conn *c, void *arg)
{
    return 0;
}

/* The server has SIGTERM while it runs, and gives it back to whoever waits. */
TEST(a_server_has_its_signals_while_it_runs)
{
    static const int term[] = { SIGTERM, 0 };
    ck_assert_int_eq(pier_signal_wait(term, pier_after(1)), -ETIMEDOUT);
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .workers = 1 });
    ck_assert_int_eq(pier_server_add(s, "tcp://127.0.0.1:0", ignore_conn, NULL), 0);
    ck_assert_int_eq(pier_server_listen(s), 0);
    pthread_t thread;
    int number = SIGTERM;
    ck_assert_int_eq(pthread_create(&thread, NULL, send_later, &number), 0);
    ck_assert_int_eq(pier_server_run(s), 0);
    pthread_join(thread, NULL);
    pier_server_free(s);
    ck_assert_int_eq(pier_signal_wait(term, pier_after(1)), -ETIMEDOUT);
    kill(getpid(), SIGTERM);
    ck_assert_int_eq(pier_signal_wait(term, 0), SIGTERM);
}

HARNESS_MAIN("task_signal")
