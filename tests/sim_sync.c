/* SPDX-License-Identifier: MIT */
/*
 * sim_sync: small programs over each primitive in every order that their tasks can take turns in.
 *
 * pier_sim_explore() walks the orders; a walk that ends before its limit has seen them all, so a
 * test here is as good as a proof for its case. The last tests break a primitive on purpose: the
 * walk must find it.
 */
#include "harness.h"

#include <pier/pier.h>

enum { RUNS_MAX = 50 * 1000 };

/* Every order was tried, and there was more than one. */
static void explore_all(pier_task_fn scenario, void *arg)
{
    struct pier_sim_opts opts = { .arg = arg };
    int64_t runs = pier_sim_explore(RUNS_MAX, &opts, scenario);
    ck_assert_msg(runs > 1 && runs < RUNS_MAX, "%lld orders: %s", (long long)runs,
                  runs < 0 ? pier_error() : "not all, or just one");
}

/* Runs up to four functions as tasks of one scope, in which the first may cancel. */
struct program {
    pier_task_fn tasks[5];
    struct pier_scope scope;
};

static int run_tasks(struct program *p)
{
    pier_scope_open(&p->scope, 0);
    for (int i = 0; p->tasks[i]; i++)
        pier_spawn(&p->scope, p->tasks[i], NULL);
    return pier_scope_join(&p->scope);
}

/* A scope around one call, for others to cancel; NULL while it is closed. */
static struct pier_scope *victim;
static bool cancelled; /* the victim was, while it was open */

static int cancel_victim(void *arg)
{
    pier_yield();
    cancelled = victim != NULL;
    pier_scope_cancel(victim);
    return 0;
}

static int in_victim(int (*fn)(void))
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    victim = &scope;
    int rc = fn();
    victim = NULL;
    pier_scope_join(&scope);
    PIER_SIM_CHECK(rc != -ECANCELED || cancelled);
    return rc;
}

/* ---- mutex ---- */

static struct pier_mutex mutex;
static int holders, locked_times, lock_flags;

static void hold_mutex(void)
{
    PIER_SIM_CHECK(holders == 0);
    holders++;
    locked_times++;
    pier_yield();
    holders--;
    pier_mutex_unlock(&mutex);
}

static int lock_mutex(void)
{
    return pier_mutex_lock(&mutex);
}

static int lock_once(void *arg)
{
    PIER_SIM_CHECK(lock_mutex() == 0);
    hold_mutex();
    return 0;
}

static int lock_twice(void *arg)
{
    lock_once(NULL);
    pier_yield();
    return lock_once(NULL);
}

static int lock_cancellably(void *arg)
{
    int rc = in_victim(lock_mutex);
    PIER_SIM_CHECK(rc == 0 || rc == -ECANCELED);
    if (rc == 0)
        hold_mutex();
    return 0;
}

static int mutex_case(void *arg)
{
    holders = locked_times = 0;
    cancelled = false;
    pier_mutex_init(&mutex, lock_flags);
    struct program p = { .tasks = { lock_once, lock_cancellably, lock_once, cancel_victim } };
    int rc = run_tasks(&p);
    PIER_SIM_CHECK(locked_times == 3 || (locked_times == 2 && cancelled));
    PIER_SIM_CHECK(pier_mutex_trylock(&mutex) == 0);
    pier_mutex_unlock(&mutex);
    pier_mutex_fini(&mutex);
    return rc;
}

static int mutex_again_case(void *arg)
{
    holders = locked_times = 0;
    pier_mutex_init(&mutex, lock_flags);
    struct program p = { .tasks = { lock_twice, lock_twice } };
    int rc = run_tasks(&p);
    PIER_SIM_CHECK(locked_times == 4);
    pier_mutex_fini(&mutex);
    return rc;
}

TEST(a_mutex_excludes_in_every_order)
{
    for (lock_flags = 0; lock_flags <= PIER_LOCAL; lock_flags++) {
        explore_all(mutex_case, NULL);
        explore_all(mutex_again_case, NULL);
    }
}

/* ---- event ---- */

static struct pier_event event;
static int waited;

static int wait_event(void)
{
    return pier_event_wait(&event);
}

static int wait_once(void *arg)
{
    PIER_SIM_CHECK(wait_event() == 0);
    waited++;
    return 0;
}

static int wait_cancellably(void *arg)
{
    int rc = in_victim(wait_event);
    PIER_SIM_CHECK(rc == 0 || rc == -ECANCELED);
    waited++;
    return 0;
}

/* Waiters of the first setting are woken by it; the second is for who came between. */
static int set_clear_set(void *arg)
{
    pier_yield();
    pier_event_set(&event);
    pier_event_clear(&event);
    PIER_SIM_CHECK(!pier_event_is_set(&event));
    pier_yield();
    pier_event_set(&event);
    return 0;
}

static int event_case(void *arg)
{
    waited = 0;
    cancelled = false;
    pier_event_init(&event, lock_flags);
    struct program p = { .tasks = { wait_once, wait_cancellably, set_clear_set, cancel_victim } };
    int rc = run_tasks(&p);
    PIER_SIM_CHECK(waited == 2);
    pier_event_fini(&event);
    return rc;
}

TEST(an_event_wakes_everybody_in_every_order)
{
    for (lock_flags = 0; lock_flags <= PIER_LOCAL; lock_flags++)
        explore_all(event_case, NULL);
}

/* ---- semaphore ---- */

static struct pier_sem sem;
static int taken;

static int take_unit(void)
{
    return pier_sem_wait(&sem);
}

static int take_and_give(void *arg)
{
    PIER_SIM_CHECK(take_unit() == 0);
    PIER_SIM_CHECK(++taken <= 1);
    pier_yield();
    taken--;
    pier_sem_post(&sem);
    return 0;
}

static int take_cancellably(void *arg)
{
    int rc = in_victim(take_unit);
    PIER_SIM_CHECK(rc == 0 || rc == -ECANCELED);
    if (rc == 0)
        pier_sem_post(&sem);
    return 0;
}

static int give_one(void *arg)
{
    pier_sem_post(&sem);
    return 0;
}

static int sem_case(void *arg)
{
    taken = 0;
    cancelled = false;
    pier_sem_init(&sem, 0, lock_flags);
    struct program p = { .tasks = { take_and_give, take_cancellably, give_one, cancel_victim } };
    int rc = run_tasks(&p);
    PIER_SIM_CHECK(pier_sem_trywait(&sem) == 0);
    PIER_SIM_CHECK(pier_sem_trywait(&sem) == -EAGAIN);
    pier_sem_fini(&sem);
    return rc;
}

TEST(a_semaphore_keeps_its_units_in_every_order)
{
    for (lock_flags = 0; lock_flags <= PIER_LOCAL; lock_flags++)
        explore_all(sem_case, NULL);
}

/* ---- channel ---- */

static struct pier_chan chan, other;
static int64_t sent, received, last_received; /* sums; elements are 1, 2, 3 … */
static int next_elem;

static int send_next(void)
{
    int elem = ++next_elem;
    int rc = pier_chan_send(&chan, &elem);
    if (rc == 0)
        sent += elem;
    return rc;
}

static int recv_next(void)
{
    int elem = 0;
    int rc = pier_chan_recv(&chan, &elem);
    if (rc == 1)
        received += elem;
    return rc;
}

static int send_two(void *arg)
{
    for (int i = 0; i < 2; i++) {
        pier_yield();
        int rc = send_next();
        PIER_SIM_CHECK(rc == 0 || rc == -EPIPE);
    }
    return 0;
}

/* One sender: its elements arrive in order. */
static int recv_all_in_order(void *arg)
{
    int elem = 0, rc;
    while ((rc = pier_chan_recv(&chan, &elem)) == 1) {
        PIER_SIM_CHECK(elem > last_received);
        last_received = elem;
        received += elem;
    }
    PIER_SIM_CHECK(rc == 0);
    return 0;
}

static int send_two_and_close(void *arg)
{
    send_two(NULL);
    pier_chan_close(&chan);
    return 0;
}

static int send_one_and_close(void *arg)
{
    int rc = send_next();
    PIER_SIM_CHECK(rc == 0);
    pier_chan_close(&chan);
    return 0;
}

static int recv_cancellably(void *arg)
{
    int rc = in_victim(recv_next);
    PIER_SIM_CHECK(rc == 0 || rc == 1 || rc == -ECANCELED);
    return 0;
}

static int send_cancellably(void *arg)
{
    int rc = in_victim(send_next);
    PIER_SIM_CHECK(rc == 0 || rc == -EPIPE || rc == -ECANCELED);
    return 0;
}

static int close_chan(void *arg)
{
    pier_yield();
    pier_chan_close(&chan);
    return 0;
}

static int recv_one(void *arg)
{
    int rc = recv_next();
    PIER_SIM_CHECK(rc == 0 || rc == 1);
    return 0;
}

static int run_chan(struct program *p, size_t cap)
{
    sent = received = last_received = next_elem = 0;
    cancelled = false;
    if (pier_chan_init(&chan, sizeof(int), cap, lock_flags) < 0)
        return pier_error_code();
    int rc = run_tasks(p);
    pier_chan_close(&chan);
    while (recv_next() == 1)
        ;
    PIER_SIM_CHECK(sent == received);
    pier_chan_fini(&chan);
    return rc;
}

static int ordered_case(void *arg)
{
    struct program p = { .tasks = { send_two_and_close, recv_all_in_order } };
    return run_chan(&p, *(const size_t *)arg);
}

static int cancelled_receiver_case(void *arg)
{
    struct program p = { .tasks = { send_one_and_close, recv_cancellably, recv_one,
                                    cancel_victim } };
    return run_chan(&p, *(const size_t *)arg);
}

static int cancelled_sender_case(void *arg)
{
    struct program p = { .tasks = { send_cancellably, recv_one, close_chan, cancel_victim } };
    return run_chan(&p, *(const size_t *)arg);
}

static void explore_chan(pier_task_fn scenario)
{
    for (lock_flags = 0; lock_flags <= PIER_LOCAL; lock_flags++)
        for (size_t cap = 0; cap < 3; cap++)
            explore_all(scenario, &cap);
}

TEST(a_channel_keeps_its_order_in_every_order)
{
    explore_chan(ordered_case);
}

TEST(a_cancelled_receiver_takes_no_element_in_any_order)
{
    explore_chan(cancelled_receiver_case);
}

TEST(a_cancelled_sender_leaves_no_element_in_any_order)
{
    explore_chan(cancelled_sender_case);
}

/* ---- select ---- */

static int select_either(void)
{
    int a = 0, b = 0;
    struct pier_select_case cases[] = {
        { &chan, PIER_SELECT_RECV, &a, 0 },
        { &other, PIER_SELECT_RECV, &b, 0 },
    };
    int index = pier_select(cases, 2, 0);
    if (index >= 0 && cases[index].rc == 1)
        received += a + b;
    PIER_SIM_CHECK(index < 0 || (a == 0) != (b == 0) || cases[index].rc == 0);
    return index;
}

static int select_twice(void *arg)
{
    PIER_SIM_CHECK(select_either() >= 0);
    PIER_SIM_CHECK(select_either() >= 0);
    return 0;
}

static int select_cancellably(void *arg)
{
    int rc = in_victim(select_either);
    PIER_SIM_CHECK(rc >= 0 || rc == -ECANCELED);
    return 0;
}

static int send_first(void *arg)
{
    int elem = 1;
    int rc = pier_chan_send(&chan, &elem);
    PIER_SIM_CHECK(rc == 0 || rc == -EPIPE);
    sent += rc == 0 ? elem : 0;
    return 0;
}

static int send_other(void *arg)
{
    int elem = 2;
    int rc = pier_chan_send(&other, &elem);
    PIER_SIM_CHECK(rc == 0 || rc == -EPIPE);
    sent += rc == 0 ? elem : 0;
    return 0;
}

/* Sends one way or takes the other: whatever comes first. */
static int exchange(void *arg)
{
    int out = 4, in = 0;
    struct pier_select_case cases[] = {
        { &chan, PIER_SELECT_SEND, &out, 0 },
        { &other, PIER_SELECT_RECV, &in, 0 },
        { &chan, PIER_SELECT_RECV, &in, 0 },
    };
    int index = pier_select(cases, 3, 0);
    PIER_SIM_CHECK(index >= 0);
    if (index == 0 && cases[0].rc == 0)
        sent += out;
    else if (index > 0 && cases[index].rc == 1)
        received += in;
    return 0;
}

static int close_both(void *arg)
{
    pier_yield();
    pier_chan_close(&chan);
    pier_chan_close(&other);
    return 0;
}

static int run_select(struct program *p, size_t cap)
{
    sent = received = 0;
    cancelled = false;
    if (pier_chan_init(&chan, sizeof(int), cap, lock_flags) < 0 ||
        pier_chan_init(&other, sizeof(int), 0, lock_flags) < 0)
        return pier_error_code();
    int elem, rc = run_tasks(p);
    while (pier_chan_try_recv(&chan, &elem) == 1)
        received += elem;
    PIER_SIM_CHECK(sent == received);
    pier_chan_fini(&chan);
    pier_chan_fini(&other);
    return rc;
}

static int two_senders_case(void *arg)
{
    struct program p = { .tasks = { select_twice, send_first, send_other } };
    return run_select(&p, *(const size_t *)arg);
}

static int cancelled_select_case(void *arg)
{
    struct program p = { .tasks = { select_cancellably, send_first, close_both, cancel_victim } };
    return run_select(&p, *(const size_t *)arg);
}

static int two_selects_case(void *arg)
{
    struct program p = { .tasks = { exchange, exchange, send_other, close_both } };
    return run_select(&p, *(const size_t *)arg);
}

TEST(a_select_takes_exactly_one_in_every_order)
{
    explore_chan(two_senders_case);
    explore_chan(cancelled_select_case);
    explore_chan(two_selects_case);
}

/* ---- spawn, join, cancel ---- */

static int steps;

static int end_or_be_cancelled(void *arg)
{
    for (int i = 0; i < 2; i++)
        if (pier_yield() < 0)
            break;
    steps++;
    return pier_cancelled();
}

static int nest(void *arg)
{
    struct pier_scope inner;
    pier_scope_open(&inner, 0);
    pier_spawn(&inner, end_or_be_cancelled, NULL);
    int rc = pier_scope_join(&inner);
    PIER_SIM_CHECK(rc == 0 || rc == -ECANCELED);
    steps++;
    return rc;
}

static int fail_on_purpose(void *arg)
{
    pier_yield();
    return pier_error_set(-EIO, "on purpose");
}

/* The sibling's failure is the scope's, whoever ends first; all have ended when join returns. */
static int failure_case(void *arg)
{
    steps = 0;
    struct program p = { .tasks = { end_or_be_cancelled, fail_on_purpose, nest } };
    int rc = run_tasks(&p);
    PIER_SIM_CHECK(rc == -EIO && pier_error_code() == -EIO);
    PIER_SIM_CHECK(steps <= 3);
    return 0;
}

static int shielded_steps;

/* The cancellation from outside does not reach into the shield, in whatever order. */
static int shield(void *arg)
{
    struct pier_scope scope;
    pier_yield();
    pier_shield(&scope, pier_after(PIER_SECOND));
    PIER_SIM_CHECK(pier_yield() == 0);
    PIER_SIM_CHECK(pier_sleep(PIER_MICROSECOND) == 0);
    PIER_SIM_CHECK(pier_scope_join(&scope) == 0);
    shielded_steps++;
    return 0;
}

static int cancelled_victim_case(void *arg)
{
    struct pier_scope scope;
    steps = shielded_steps = 0;
    pier_scope_open(&scope, 0);
    victim = &scope;
    struct pier_scope around;
    pier_scope_open(&around, 0);
    pier_spawn(&scope, shield, NULL);
    pier_spawn(&scope, nest, NULL);
    pier_spawn(&around, cancel_victim, NULL);
    PIER_SIM_CHECK(pier_scope_join(&around) == 0);
    int rc = pier_scope_join(&scope);
    victim = NULL;
    PIER_SIM_CHECK(rc == 0 || rc == -ECANCELED);
    PIER_SIM_CHECK(shielded_steps == 1);
    return 0;
}

TEST(a_failure_ends_its_siblings_in_every_order)
{
    explore_all(failure_case, NULL);
}

TEST(a_shield_holds_in_every_order)
{
    explore_all(cancelled_victim_case, NULL);
}

/* ---- one connection ---- */

static struct pier_conn *ends[2];

static int read_some(void *arg)
{
    char byte;
    ssize_t n = pier_read(ends[0], &byte, 1);
    PIER_SIM_CHECK(n == 1 || n == 0 || n == -ECANCELED || n == -EBADF || n == -EBUSY);
    return 0;
}

static int write_one(void *arg)
{
    ssize_t n = pier_write(ends[1], "x", 1);
    PIER_SIM_CHECK(n == 1 || n == -EPIPE || n == -ECONNRESET);
    return 0;
}

/* Closed by its last user only: a task that waits in a read is told by the peer's end. */
static int end_writing(void *arg)
{
    pier_yield();
    PIER_SIM_CHECK(pier_shutdown_write(ends[1]) == 0 || pier_error_code() == -EBUSY);
    return 0;
}

static int pair_case(void *arg)
{
    if (pier_conn_pair(ends) < 0)
        return pier_error_code();
    struct program p = { .tasks = { read_some, write_one, end_writing } };
    int rc = run_tasks(&p);
    pier_close(ends[0]);
    pier_close(ends[1]);
    return rc;
}

static int close_reader(void *arg)
{
    pier_yield();
    pier_close(ends[0]);
    ends[0] = NULL;
    return 0;
}

static int read_until_closed(void *arg)
{
    struct pier_conn *c = ends[0];
    char byte;
    ssize_t n = c ? pier_read(c, &byte, 1) : 0;
    PIER_SIM_CHECK(n == 1 || n == 0 || n == -ECANCELED);
    return 0;
}

/* A task that waits in a call on a connection that is closed gets -ECANCELED first. */
static int close_case(void *arg)
{
    if (pier_conn_pair(ends) < 0)
        return pier_error_code();
    struct program p = { .tasks = { read_until_closed, close_reader } };
    int rc = run_tasks(&p);
    pier_close(ends[1]);
    return rc;
}

TEST(a_reader_and_its_writer_agree_in_every_order)
{
    explore_all(pair_case, NULL);
}

TEST(a_connection_closes_under_its_reader_in_every_order)
{
    explore_all(close_case, NULL);
}

/* ---- broken on purpose ---- */

static bool bad_flag;

/* Another task may take it between the look and the taking. */
static void bad_lock(void)
{
    while (bad_flag)
        pier_yield();
    pier_yield();
    bad_flag = true;
}

static int use_bad_lock(void *arg)
{
    bad_lock();
    PIER_SIM_CHECK(++holders == 1);
    pier_yield();
    holders--;
    bad_flag = false;
    return 0;
}

static int bad_lock_case(void *arg)
{
    holders = 0;
    bad_flag = false;
    struct program p = { .tasks = { use_bad_lock, use_bad_lock } };
    return run_tasks(&p);
}

TEST(a_lock_that_is_none_is_found)
{
    ck_assert_int_eq(pier_sim_explore(RUNS_MAX, NULL, bad_lock_case), PIER_ESIM);
    ck_assert_ptr_nonnull(strstr(pier_error(), "holders"));
}

static bool bad_ready;

/* Looks, lets others run, then waits for a setting that may have been and gone. */
static int wait_badly(void *arg)
{
    if (!bad_ready) {
        pier_yield();
        pier_event_wait(&event);
    }
    return 0;
}

static int pulse(void *arg)
{
    pier_yield();
    bad_ready = true;
    pier_event_set(&event);
    pier_event_clear(&event);
    return 0;
}

static int lost_wakeup_case(void *arg)
{
    bad_ready = false;
    pier_event_init(&event, PIER_LOCAL);
    struct program p = { .tasks = { wait_badly, pulse } };
    int rc = run_tasks(&p);
    pier_event_fini(&event);
    return rc;
}

TEST(a_lost_wakeup_is_found)
{
    ck_assert_int_eq(pier_sim_explore(RUNS_MAX, NULL, lost_wakeup_case), PIER_ESIM);
    ck_assert_ptr_nonnull(strstr(pier_error(), "every task waits"));
}

HARNESS_MAIN("sim_sync")
