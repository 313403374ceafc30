/* SPDX-License-Identifier: MIT */
/* The heap of timers against a plain array, and the lazy timers of waits. */
#include "harness.h"

#include "task_threads.h"

/* ---- the heap ---- */

enum { TIMERS = 300, OPERATIONS = 10000 };

static struct pi_timer timers[TIMERS];
static int64_t reference[TIMERS]; /* -1: not armed */
static int64_t now, last_fired;
static int fired;

static uint64_t state;

static void on_fire(struct pi_timer *t)
{
    size_t i = (size_t)(t - timers);
    ck_assert_uint_eq(t->slot, 0);
    ck_assert_int_eq(reference[i], t->when_ns);
    ck_assert_int_le(t->when_ns, now);
    ck_assert_int_ge(t->when_ns, last_fired);
    last_fired = t->when_ns;
    reference[i] = -1;
    fired++;
}

static int64_t earliest(size_t *count)
{
    int64_t best = 0;
    *count = 0;
    for (int i = 0; i < TIMERS; i++) {
        if (reference[i] < 0)
            continue;
        ++*count;
        if (best == 0 || reference[i] < best)
            best = reference[i];
    }
    return best;
}

static void run_due(struct pi_timers *all)
{
    size_t before, after;
    earliest(&before);
    now += (int64_t)(next_random(&state) % 40);
    last_fired = 0;
    fired = 0;
    pi_timer_run(all, now);
    int64_t next = earliest(&after);
    ck_assert_uint_eq(before - after, (size_t)fired);
    ck_assert(next == 0 || next > now);
}

static void one_operation(struct pi_timers *all)
{
    size_t i = next_random(&state) % TIMERS;
    switch (next_random(&state) % 8) {
    case 0:
        pi_timer_disarm(all, &timers[i]);
        reference[i] = -1;
        break;
    case 1:
        run_due(all);
        break;
    default: /* few different times, so that many are equal */
        reference[i] = now + 1 + (int64_t)(next_random(&state) % 200);
        pi_timer_arm(all, &timers[i], reference[i]);
    }
}

TEST(heap_agrees_with_an_array)
{
    state = test_seed();
    struct pi_timers all = { 0 };
    for (int i = 0; i < TIMERS; i++) {
        reference[i] = -1;
        timers[i].fire = on_fire;
        ck_assert_int_eq(pi_timer_reserve(&all), 0);
    }
    now = 1000;
    for (int i = 0; i < OPERATIONS; i++) {
        one_operation(&all);
        size_t count;
        int64_t next = earliest(&count);
        if (pi_timer_next(&all) != next || all.count != count)
            ck_abort_msg("operation %d: next %ld, not %ld", i, (long)pi_timer_next(&all),
                         (long)next);
    }
    pi_timer_fini(&all);
}

TEST(disarming_an_idle_timer_does_nothing)
{
    struct pi_timers all = { 0 };
    struct pi_timer t = { 0 };
    pi_timer_disarm(&all, &t);
    ck_assert_int_eq(pi_timer_reserve(&all), 0);
    pi_timer_arm(&all, &t, 5);
    pi_timer_disarm(&all, &t);
    pi_timer_disarm(&all, &t);
    ck_assert_int_eq(pi_timer_next(&all), 0);
    pi_timer_fini(&all);
}

static struct pi_timers *rearm_in;
static int rearmed;

static void fire_and_rearm(struct pi_timer *t)
{
    if (++rearmed < 3)
        pi_timer_arm(rearm_in, t, t->when_ns + 10);
}

TEST(a_timer_may_arm_itself_while_it_fires)
{
    struct pi_timers all = { 0 };
    struct pi_timer t = { .fire = fire_and_rearm };
    rearm_in = &all;
    ck_assert_int_eq(pi_timer_reserve(&all), 0);
    pi_timer_arm(&all, &t, 10);
    pi_timer_run(&all, 20);
    ck_assert_int_eq(rearmed, 2);
    ck_assert_int_eq(pi_timer_next(&all), 30);
    pi_timer_fini(&all);
}

TEST(room_that_cannot_be_had_is_an_error)
{
    struct pi_timers all = { 0 };
    pi_alloc_fail(1);
    ck_assert_int_eq(pi_timer_reserve(&all), -ENOMEM);
    pi_alloc_fail(0);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(pi_timer_reserve(&all), 0);
    for (int i = 0; i < 100; i++)
        pi_timer_unreserve(&all);
    ck_assert_int_eq(pi_timer_reserve(&all), 0);
    pi_timer_fini(&all);
}

/* ---- the lazy timers of waits ---- */

static int wait_under(struct pier_event *e, int64_t ns)
{
    struct pier_scope s;
    pier_scope_open(&s, pier_after(ns));
    int rc = pier_event_wait(e);
    int joined = pier_scope_join(&s);
    ck_assert_int_eq(joined, 0);
    return rc;
}

static int set_event(void *arg)
{
    pier_event_set(arg);
    return 0;
}

/* Of tasks: the loop's own, for free stacks, comes and goes. */
static size_t armed_timers(void)
{
    const struct pi_loop *loop = pi_task_self()->thread->loop;
    return loop->timers.count - (loop->trim.slot != 0);
}

/* A wait that ends early leaves its timer behind; a later and longer wait is not cut short by it.
 */
static int wait_short_then_long(void *arg)
{
    struct pier_event set = { 0 }, never = { 0 };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, set_event, &set);
    ck_assert_int_eq(wait_under(&set, 2 * PIER_MILLISECOND), 0);
    pier_scope_join(&s);
    ck_assert_uint_eq(armed_timers(), 1);
    int64_t start = pier_now();
    ck_assert_int_eq(wait_under(&never, 30 * PIER_MILLISECOND), -ETIMEDOUT);
    ck_assert_int_ge(pier_now() - start, 29 * PIER_MILLISECOND);
    return 0;
}

/* The other way round the timer moves forward. */
static int wait_long_then_short(void *arg)
{
    struct pier_event set = { 0 }, never = { 0 };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, set_event, &set);
    ck_assert_int_eq(wait_under(&set, PIER_HOUR), 0);
    pier_scope_join(&s);
    ck_assert_int_eq(wait_under(&never, 5 * PIER_MILLISECOND), -ETIMEDOUT);
    return 0;
}

TEST(a_stale_timer_does_not_cut_a_longer_wait)
{
    ck_assert_int_eq(in_a_loop(wait_short_then_long, NULL), 0);
}

TEST(a_shorter_wait_moves_the_timer_forward)
{
    ck_assert_int_eq(in_a_loop(wait_long_then_short, NULL), 0);
}

/* 1,000 waits that end early touch the heap once. */
static int wait_and_wait(void *arg)
{
    struct pier_event set = { 0 };
    struct pi_task *self = pi_task_self();
    int64_t first = 0;
    for (int i = 0; i < 1000; i++) {
        struct pier_scope s;
        pier_scope_open(&s, 0);
        pier_event_clear(&set);
        pier_spawn(&s, set_event, &set);
        ck_assert_int_eq(wait_under(&set, PIER_MINUTE), 0);
        pier_scope_join(&s);
        if (i == 0)
            first = self->timer.when_ns;
    }
    ck_assert_int_eq(self->timer.when_ns, first);
    ck_assert_uint_eq(armed_timers(), 1);
    return 0;
}

TEST(waits_that_end_early_leave_the_heap_alone)
{
    ck_assert_int_eq(in_a_loop(wait_and_wait, NULL), 0);
}

static int64_t woken[3];

static int sleep_for(void *arg)
{
    int i = (int)(intptr_t)arg;
    int rc = pier_sleep((i + 1) * 10 * PIER_MILLISECOND);
    woken[i] = pier_now();
    return rc;
}

TEST(sleepers_wake_in_the_order_of_their_times)
{
    struct pier_scope s;
    int64_t start = pier_now();
    pier_scope_open(&s, 0);
    for (int i = 2; i >= 0; i--)
        pier_spawn(&s, sleep_for, (void *)(intptr_t)i);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_ge(woken[i] - start, (i + 1) * 10 * PIER_MILLISECOND);
    ck_assert_int_lt(woken[0], woken[1]);
    ck_assert_int_lt(woken[1], woken[2]);
}

HARNESS_MAIN("task_timer")
