/* SPDX-License-Identifier: MIT */
/* Mutex, event and semaphore: in one loop, across loops and threads, and when waits are cancelled.
 */
#include "harness.h"
#include "task_threads.h"

static const int flag_sets[] = { 0, PIER_LOCAL };

#define FOR_EACH_FLAGS(flags)                                                                     \
    for (size_t flags##_i = 0, flags; flags##_i < 2 && (flags = (size_t)flag_sets[flags##_i], 1); \
         flags##_i++)

/* Lets all other tasks of the loop run until they wait. */
static void settle(void)
{
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(pier_yield(), 0);
}

/* ---- mutex in one loop ---- */

TEST(a_zeroed_mutex_locks_and_unlocks)
{
    struct pier_mutex m = { 0 };
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pier_mutex_lock(&m), 0);
        ck_assert_int_eq(pier_mutex_trylock(&m), -EBUSY);
        pier_mutex_unlock(&m);
        ck_assert_int_eq(pier_mutex_trylock(&m), 0);
        pier_mutex_unlock(&m);
    }
    pier_mutex_fini(&m);
}

struct turns {
    struct pier_mutex m;
    struct pier_event e;
    struct pier_sem sem;
    int holder, next;
    int order[20];
    int rc[20];
    struct pier_scope scopes[20];
};

struct turn {
    struct turns *all;
    int number;
};

static int take_turn(void *arg)
{
    struct turn *t = arg;
    int rc = pier_mutex_lock(&t->all->m);
    if (rc < 0)
        return rc;
    if (t->all->holder != 0)
        return -EIO;
    t->all->holder = 1;
    pier_yield();
    t->all->holder = 0;
    t->all->order[t->all->next++] = t->number;
    pier_mutex_unlock(&t->all->m);
    return 0;
}

TEST(the_mutex_goes_to_its_waiters_in_order)
{
    FOR_EACH_FLAGS(flags)
    {
        struct turns all = { .next = 0 };
        struct turn turns[20];
        struct pier_scope s;
        pier_mutex_init(&all.m, (int)flags);
        ck_assert_int_eq(pier_mutex_lock(&all.m), 0);
        pier_scope_open(&s, 0);
        for (int i = 0; i < 20; i++) {
            turns[i] = (struct turn){ &all, i };
            pier_spawn(&s, take_turn, &turns[i]);
        }
        settle();
        pier_mutex_unlock(&all.m);
        ck_assert_int_eq(pier_mutex_trylock(&all.m), -EBUSY); /* it has been handed over */
        ck_assert_int_eq(pier_scope_join(&s), 0);
        for (int i = 0; i < 20; i++)
            ck_assert_int_eq(all.order[i], i);
        ck_assert_int_eq(pier_mutex_trylock(&all.m), 0);
        pier_mutex_unlock(&all.m);
        pier_mutex_fini(&all.m);
    }
}

/* ---- cancellation, at each point between waiting and having got it ---- */

enum kind { MUTEX, SEM, EVENT };

struct wait {
    enum kind kind;
    struct pier_mutex m;
    struct pier_event e;
    struct pier_sem s;
    struct pier_scope scope;
    bool waits;
    int rc;
};

static int do_wait(struct wait *w)
{
    switch (w->kind) {
    case MUTEX:
        return pier_mutex_lock(&w->m);
    case SEM:
        return pier_sem_wait(&w->s);
    default:
        return pier_event_wait(&w->e);
    }
}

static void give(struct wait *w)
{
    switch (w->kind) {
    case MUTEX:
        pier_mutex_unlock(&w->m);
        break;
    case SEM:
        pier_sem_post(&w->s);
        break;
    default:
        pier_event_set(&w->e);
    }
}

/* Whether nobody has got it. */
static bool is_left(struct wait *w)
{
    switch (w->kind) {
    case MUTEX:
        return pier_mutex_trylock(&w->m) == 0;
    case SEM:
        return pier_sem_trywait(&w->s) == 0;
    default:
        return pier_event_is_set(&w->e);
    }
}

static int wait_in_scope(void *arg)
{
    struct wait *w = arg;
    pier_scope_open(&w->scope, 0);
    w->waits = true;
    w->rc = do_wait(w);
    return pier_scope_join(&w->scope);
}

/* order: "cg" cancels, then gives, both before the waiter runs; "c", "g", "gc", and "c.g" with time
 * between. */
static void check_order(struct wait *w, const char *order)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    if (w->kind == MUTEX)
        ck_assert_int_eq(pier_mutex_lock(&w->m), 0);
    pier_spawn(&s, wait_in_scope, w);
    settle();
    ck_assert(w->waits);
    for (const char *at = order; *at; at++) {
        if (*at == 'c')
            pier_scope_cancel(&w->scope);
        else if (*at == 'g')
            give(w);
        else
            settle();
    }
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

TEST(what_was_given_is_kept_and_what_was_not_is_left)
{
    FOR_EACH_FLAGS(flags)
    for (enum kind kind = MUTEX; kind <= EVENT; kind++) {
        static const struct {
            const char *order;
            int rc;
        } cases[] = {
            { "g", 0 }, { "gc", 0 }, { "cg", 0 }, { "c", -ECANCELED }, { "c.g", -ECANCELED }
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct wait w = { .kind = kind };
            pier_mutex_init(&w.m, (int)flags);
            pier_event_init(&w.e, (int)flags);
            pier_sem_init(&w.s, 0, (int)flags);
            check_order(&w, cases[i].order);
            ck_assert_msg(w.rc == cases[i].rc, "kind %d order %s: %d", kind, cases[i].order, w.rc);
            if (kind == EVENT)
                continue;
            bool given = strchr(cases[i].order, 'g') != NULL;
            ck_assert_msg(is_left(&w) == (w.rc < 0 && given), "kind %d order %s", kind,
                          cases[i].order);
            pier_event_fini(&w.e);
            pier_sem_fini(&w.s);
            pier_mutex_fini(&w.m);
        }
    }
}

TEST(waits_fail_in_a_cancelled_scope_though_they_could_succeed)
{
    FOR_EACH_FLAGS(flags)
    {
        struct pier_mutex m;
        struct pier_event e;
        struct pier_sem sem;
        struct pier_scope s;
        pier_mutex_init(&m, (int)flags);
        pier_event_init(&e, (int)flags);
        pier_event_set(&e);
        pier_sem_init(&sem, 1, (int)flags);
        pier_scope_open(&s, 0);
        pier_scope_cancel(&s);
        ck_assert_int_eq(pier_mutex_lock(&m), -ECANCELED);
        ck_assert_int_eq(pier_event_wait(&e), -ECANCELED);
        ck_assert_int_eq(pier_sem_wait(&sem), -ECANCELED);
        ck_assert_int_eq(pier_mutex_trylock(&m), 0); /* these never wait */
        pier_mutex_unlock(&m);
        ck_assert_int_eq(pier_sem_trywait(&sem), 0);
        pier_sem_post(&sem);
        pier_scope_join(&s);
        ck_assert_int_eq(pier_sem_trywait(&sem), 0);
    }
}

static int wait_recording(void *arg)
{
    struct turn *t = arg;
    struct turns *all = t->all;
    pier_scope_open(&all->scopes[t->number], 0);
    int rc = pier_sem_wait(&all->sem);
    if (rc == 0)
        all->order[all->next++] = t->number;
    all->rc[t->number] = rc;
    return pier_scope_join(&all->scopes[t->number]);
}

TEST(who_leaves_the_queue_does_not_disturb_the_others)
{
    FOR_EACH_FLAGS(flags)
    {
        struct turns all = { .next = 0 };
        struct turn turns[6];
        struct pier_scope s;
        pier_sem_init(&all.sem, 0, (int)flags);
        pier_scope_open(&s, 0);
        for (int i = 0; i < 6; i++) {
            turns[i] = (struct turn){ &all, i };
            pier_spawn(&s, wait_recording, &turns[i]);
        }
        settle();
        pier_scope_cancel(&all.scopes[0]); /* the first, one within and the last */
        pier_scope_cancel(&all.scopes[3]);
        pier_scope_cancel(&all.scopes[5]);
        settle();
        ck_assert_int_eq(all.rc[0], -ECANCELED);
        for (int i = 0; i < 3; i++)
            pier_sem_post(&all.sem);
        ck_assert_int_eq(pier_sem_trywait(&all.sem), -EAGAIN); /* all three are promised */
        ck_assert_int_eq(pier_scope_join(&s), 0);
        ck_assert_int_eq(all.next, 3);
        ck_assert_int_eq(all.order[0], 1);
        ck_assert_int_eq(all.order[1], 2);
        ck_assert_int_eq(all.order[2], 4);
        pier_sem_post(&all.sem);
        ck_assert_int_eq(pier_sem_trywait(&all.sem), 0);
        pier_sem_fini(&all.sem);
    }
}

TEST(a_deadline_ends_each_wait_and_nothing_was_taken)
{
    for (enum kind kind = MUTEX; kind <= EVENT; kind++) {
        struct wait w = { .kind = kind };
        struct pier_scope s;
        ck_assert_int_eq(pier_mutex_lock(&w.m), 0);
        pier_scope_open(&s, pier_after(3 * PIER_MILLISECOND));
        ck_assert_int_eq(do_wait(&w), -ETIMEDOUT);
        pier_scope_join(&s);
        pier_mutex_unlock(&w.m);
        ck_assert_int_eq(pier_mutex_trylock(&w.m), 0);
        pier_sem_post(&w.s);
        ck_assert_int_eq(pier_sem_trywait(&w.s), 0);
        pier_event_fini(&w.e);
        pier_sem_fini(&w.s);
        pier_mutex_fini(&w.m);
    }
}

/* ---- event and semaphore ---- */

static int wait_event(void *arg)
{
    struct turn *t = arg;
    int rc = pier_event_wait(&t->all->e);
    t->all->order[t->all->next++] = t->number;
    return rc;
}

TEST(an_event_wakes_all_in_order_and_stays_set)
{
    FOR_EACH_FLAGS(flags)
    {
        struct turns all = { .next = 0 };
        struct turn turns[10];
        struct pier_scope s;
        pier_event_init(&all.e, (int)flags);
        pier_scope_open(&s, 0);
        for (int i = 0; i < 10; i++) {
            turns[i] = (struct turn){ &all, i };
            pier_spawn(&s, wait_event, &turns[i]);
        }
        settle();
        ck_assert_int_eq(all.next, 0);
        ck_assert(!pier_event_is_set(&all.e));
        pier_event_set(&all.e);
        pier_event_set(&all.e);
        ck_assert_int_eq(pier_event_wait(&all.e), 0);
        ck_assert_int_eq(all.next, 0); /* that did not wait */
        ck_assert_int_eq(pier_scope_join(&s), 0);
        for (int i = 0; i < 10; i++)
            ck_assert_int_eq(all.order[i], i);
        pier_event_clear(&all.e);
        ck_assert(!pier_event_is_set(&all.e));
        pier_event_fini(&all.e);
    }
}

TEST(who_was_woken_by_an_event_is_not_held_by_its_clearing)
{
    FOR_EACH_FLAGS(flags)
    {
        struct turns all = { .next = 0 };
        struct turn turn = { &all, 1 };
        struct pier_scope s;
        pier_event_init(&all.e, (int)flags);
        pier_scope_open(&s, 0);
        pier_spawn(&s, wait_event, &turn);
        settle();
        pier_event_set(&all.e);
        pier_event_clear(&all.e);
        ck_assert_int_eq(pier_scope_join(&s), 0);
        ck_assert_int_eq(all.next, 1);
    }
}

TEST(a_semaphore_counts)
{
    FOR_EACH_FLAGS(flags)
    {
        struct pier_sem s;
        pier_sem_init(&s, 2, (int)flags);
        ck_assert_int_eq(pier_sem_wait(&s), 0);
        ck_assert_int_eq(pier_sem_trywait(&s), 0);
        ck_assert_int_eq(pier_sem_trywait(&s), -EAGAIN);
        pier_sem_post(&s);
        pier_sem_post(&s);
        ck_assert_int_eq(pier_sem_wait(&s), 0);
        ck_assert_int_eq(pier_sem_wait(&s), 0);
        ck_assert_int_eq(pier_sem_trywait(&s), -EAGAIN);
        pier_sem_fini(&s);
    }
}

/* ---- across threads ---- */

enum { THREADS = 4, ROUNDS = 100000 };

struct shared {
    struct pier_mutex m;
    struct pier_sem sem;
    pthread_mutex_t print;
    long counter;
    long inside; /* atomic: how many hold it */
    long bad;    /* atomic */
    long got, given;
    bool stop;
};

static int count_locked(void *arg)
{
    struct shared *x = arg;
    for (int i = 0; i < ROUNDS; i++) {
        if (pier_mutex_lock(&x->m) < 0)
            return -EIO;
        x->counter++;
        pier_mutex_unlock(&x->m);
    }
    return 0;
}

static void *count_on_thread(void *arg)
{
    return count_locked(arg) == 0 ? NULL : arg;
}

static void *count_in_loop(void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, count_locked, arg);
    pier_spawn(&s, count_locked, arg);
    return pier_scope_join(&s) == 0 ? NULL : arg;
}

static void run_threads(void *(*const fns[])(void *), int count, void *arg)
{
    pthread_t ids[16];
    for (int i = 0; i < count; i++)
        ids[i] = thread_start(fns[i], arg);
    for (int i = 0; i < count; i++) {
        void *failed = NULL;
        ck_assert_int_eq(pthread_join(ids[i], &failed), 0);
        ck_assert_ptr_null(failed);
    }
}

TEST_WITHIN(60, four_threads_count_under_a_mutex)
{
    struct shared x = { .counter = 0 };
    run_threads(
        (void *(*[])(void *)){ count_on_thread, count_on_thread, count_on_thread, count_on_thread },
        THREADS, &x);
    ck_assert_int_eq(x.counter, THREADS * (long)ROUNDS);
    pier_mutex_fini(&x.m);
}

TEST_WITHIN(60, loops_and_threads_count_under_a_mutex)
{
    struct shared x = { .counter = 0 };
    run_threads(
        (void *(*[])(void *)){ count_in_loop, count_on_thread, count_in_loop, count_on_thread },
        THREADS, &x);
    ck_assert_int_eq(x.counter, 6 * (long)ROUNDS);
    pier_mutex_fini(&x.m);
}

/* Short deadlines while others hold it: each point of giving up is met. */
static int lock_impatiently(void *arg)
{
    struct shared *x = arg;
    uint64_t state = (uint64_t)(uintptr_t)&state | 1;
    for (int i = 0; i < ROUNDS / 20; i++) {
        struct pier_scope s;
        pier_scope_open(&s, pier_after((int64_t)(next_random(&state) % 30000)));
        int rc = pier_mutex_lock(&x->m);
        if (rc == 0) {
            if (__atomic_fetch_add(&x->inside, 1, __ATOMIC_RELAXED) != 0)
                __atomic_fetch_add(&x->bad, 1, __ATOMIC_RELAXED);
            x->counter++;
            if (next_random(&state) % 4 == 0)
                pier_yield();
            if (next_random(&state) % 64 == 0)
                sched_yield();
            __atomic_fetch_sub(&x->inside, 1, __ATOMIC_RELAXED);
            pier_mutex_unlock(&x->m);
        } else if (rc != -ETIMEDOUT) {
            return -EIO;
        }
        pier_scope_join(&s);
    }
    return 0;
}

static void *impatient_thread(void *arg)
{
    return lock_impatiently(arg) == 0 ? NULL : arg;
}

static void *impatient_loop(void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 4; i++)
        pier_spawn(&s, lock_impatiently, arg);
    return pier_scope_join(&s) == 0 ? NULL : arg;
}

TEST_WITHIN(60, a_mutex_survives_waiters_that_give_up)
{
    struct shared x = { .counter = 0 };
    run_threads(
        (void *(*[])(void *)){ impatient_thread, impatient_loop, impatient_thread, impatient_loop },
        THREADS, &x);
    ck_assert_int_eq(x.bad, 0);
    ck_assert_int_gt(x.counter, 0);
    ck_assert_int_eq(pier_mutex_trylock(&x.m), 0);
    ck_assert_uint_eq(x.m.guard, 0);
    ck_assert_uint_eq(x.m.state & 0xe, 0);
    pier_mutex_unlock(&x.m);
    pier_mutex_fini(&x.m);
}

static int exchange_units(void *arg)
{
    struct shared *x = arg;
    uint64_t state = (uint64_t)(uintptr_t)&state | 1;
    for (int i = 0; i < ROUNDS / 20; i++) {
        struct pier_scope s;
        pier_scope_open(&s, pier_after((int64_t)(next_random(&state) % 30000)));
        int rc = pier_sem_wait(&x->sem);
        pier_scope_join(&s);
        if (rc == 0)
            pier_sem_post(&x->sem);
        if (rc < 0 && rc != -ETIMEDOUT)
            return -EIO;
    }
    return 0;
}

static void *exchange_on_thread(void *arg)
{
    return exchange_units(arg) == 0 ? NULL : arg;
}

static void *exchange_in_loop(void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 4; i++)
        pier_spawn(&s, exchange_units, arg);
    return pier_scope_join(&s) == 0 ? NULL : arg;
}

TEST_WITHIN(60, no_unit_of_a_semaphore_is_lost_or_made)
{
    struct shared x = { .counter = 0 };
    pier_sem_init(&x.sem, 2, 0);
    run_threads((void *(*[])(void *)){ exchange_on_thread, exchange_in_loop, exchange_on_thread,
                                       exchange_in_loop },
                THREADS, &x);
    ck_assert_int_eq(pier_sem_trywait(&x.sem), 0);
    ck_assert_int_eq(pier_sem_trywait(&x.sem), 0);
    ck_assert_int_eq(pier_sem_trywait(&x.sem), -EAGAIN);
    pier_sem_fini(&x.sem);
}

static void *lock_greedily(void *arg)
{
    struct shared *x = arg;
    while (!__atomic_load_n(&x->stop, __ATOMIC_RELAXED)) {
        pier_mutex_lock(&x->m);
        x->counter++;
        pier_mutex_unlock(&x->m);
    }
    return NULL;
}

/* The one on the other side of a tight loop gets its turn: by luck, or after half a millisecond. */
TEST(a_greedy_thread_does_not_starve_another)
{
    struct shared x = { .counter = 0 };
    pthread_t greedy = thread_start(lock_greedily, &x);
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(pier_mutex_lock(&x.m), 0);
        pier_sleep(1000); /* so that the greedy one waits too, or spins */
        pier_mutex_unlock(&x.m);
    }
    __atomic_store_n(&x.stop, true, __ATOMIC_RELAXED);
    thread_end(greedy);
    ck_assert_int_gt(x.counter, 0);
}

struct pair {
    struct pier_event *_Atomic posted;
};

/* The event is gone as soon as the waiter has returned. */
static void *set_events(void *arg)
{
    struct pair *p = arg;
    for (int i = 0; i < 20000; i++) {
        struct pier_event *e;
        while (!(e = atomic_exchange(&p->posted, NULL)))
            sched_yield();
        pier_event_set(e);
    }
    return NULL;
}

static int wait_for_events(void *arg)
{
    struct pair *p = arg;
    for (int i = 0; i < 20000; i++) {
        struct pier_event *e = malloc(sizeof *e);
        pier_event_init(e, 0);
        atomic_store(&p->posted, e);
        if (i % 3 == 0)
            sched_yield();
        if (pier_event_wait(e) != 0)
            return -EIO;
        memset(e, 0xff, sizeof *e);
        free(e);
    }
    return 0;
}

TEST_WITHIN(60, an_event_may_be_freed_by_the_one_it_wakes)
{
    struct pair p = { .posted = NULL };
    pthread_t setter = thread_start(set_events, &p);
    ck_assert_int_eq(wait_for_events(&p), 0);
    thread_end(setter);
    setter = thread_start(set_events, &p);
    ck_assert_int_eq(in_a_loop(wait_for_events, &p), 0);
    thread_end(setter);
}

struct rally {
    struct pier_sem ping, pong;
};

static int answer(void *arg)
{
    struct rally *r = arg;
    for (int i = 0; i < 20000; i++) {
        if (pier_sem_wait(&r->ping) < 0)
            return -EIO;
        pier_sem_post(&r->pong);
    }
    return 0;
}

static int serve(void *arg)
{
    struct rally *r = arg;
    for (int i = 0; i < 20000; i++) {
        pier_sem_post(&r->ping);
        if (pier_sem_wait(&r->pong) < 0)
            return -EIO;
    }
    return 0;
}

static void *answer_in_loop(void *arg)
{
    return in_a_loop(answer, arg) == 0 ? NULL : arg;
}

static void *answer_on_thread(void *arg)
{
    return answer(arg) == 0 ? NULL : arg;
}

TEST_WITHIN(60, no_wake_up_is_lost_between_threads)
{
    for (int i = 0; i < 4; i++) {
        struct rally r = { 0 };
        pthread_t other = thread_start(i & 1 ? answer_in_loop : answer_on_thread, &r);
        int rc = i & 2 ? in_a_loop(serve, &r) : serve(&r);
        ck_assert_int_eq(rc, 0);
        thread_end(other);
    }
}

/* A remote cancellation and the grant cross: whoever is told that it holds the mutex does hold it.
 */
struct crossing {
    struct pier_mutex m;
    struct pier_scope scope;
    struct pi_thread *thread;
    struct pier_sem start;
    bool cancel_first;
};

static void *unlock_and_cancel(void *arg)
{
    struct crossing *x = arg;
    pier_mutex_lock(&x->m);
    pier_sem_post(&x->start);
    thread_await_sleep(x->thread);
    if (x->cancel_first)
        pier_scope_cancel_remote(&x->scope);
    pier_mutex_unlock(&x->m);
    if (!x->cancel_first)
        pier_scope_cancel_remote(&x->scope);
    return NULL;
}

static int cross(void *arg)
{
    for (int i = 0; i < 300; i++) {
        struct crossing x = { .thread = thread_self(), .cancel_first = i & 1 };
        pier_scope_open(&x.scope, 0);
        pthread_t other = thread_start(unlock_and_cancel, &x);
        struct pier_scope start;
        pier_shield(&start, pier_after(PIER_MINUTE));
        pier_sem_wait(&x.start);
        pier_scope_join(&start);
        int rc = pier_mutex_lock(&x.m);
        thread_end(other);
        if (rc == 0)
            pier_mutex_unlock(&x.m);
        else if (rc != -ECANCELED)
            return -EIO;
        if (pier_mutex_trylock(&x.m) != 0)
            return -EBUSY;
        pier_mutex_unlock(&x.m);
        pier_mutex_fini(&x.m);
        pier_scope_join(&x.scope);
    }
    return 0;
}

TEST_WITHIN(60, grants_and_remote_cancellations_cross)
{
    ck_assert_int_eq(cross(NULL), 0);
    ck_assert_int_eq(in_a_loop(cross, NULL), 0);
}

/* ---- a grant from another thread that is under way when the wait is cancelled ---- */

/* A thread that does one step at a time. While this thread waits for it, its loop stands still:
 * what the other sends is in the inbox, and not yet delivered. */
struct hand {
    struct wait *w;
    int command; /* atomic; 0: done */
};

static void *follow(void *arg)
{
    struct hand *h = arg;
    for (;;) {
        int command = __atomic_load_n(&h->command, __ATOMIC_ACQUIRE);
        if (command == 'q')
            return NULL;
        if (command == 'l')
            ck_assert_int_eq(pier_mutex_trylock(&h->w->m), 0);
        else if (command == 'g')
            give(h->w);
        if (command)
            __atomic_store_n(&h->command, 0, __ATOMIC_RELEASE);
        sched_yield();
    }
}

static void order(struct hand *h, int command)
{
    __atomic_store_n(&h->command, command, __ATOMIC_RELEASE);
    while (command != 'q' && __atomic_load_n(&h->command, __ATOMIC_ACQUIRE))
        sched_yield();
}

static void check_late_grant(enum kind kind)
{
    struct wait w = { .kind = kind };
    struct hand h = { .w = &w };
    pthread_t id = thread_start(follow, &h);
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, wait_in_scope, &w);
    ck_assert_int_eq(pier_sleep(1), 0);
    order(&h, 'g');
    pier_scope_cancel(&w.scope); /* the waiter runs before the message does */
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(w.rc, 0);
    if (kind == SEM)
        ck_assert_int_eq(pier_sem_trywait(&w.s), -EAGAIN);
    order(&h, 'q');
    thread_end(id);
}

TEST(a_grant_under_way_counts_though_the_wait_is_cancelled)
{
    check_late_grant(SEM);
    check_late_grant(EVENT);
}

static int lock_second(void *arg)
{
    struct wait *w = arg;
    int rc = pier_mutex_lock(&w->m);
    if (rc == 0)
        pier_mutex_unlock(&w->m);
    return rc;
}

/* Woken to try, and cancelled instead: the next one must try. */
TEST(a_waiter_that_leaves_passes_its_wake_up_on)
{
    struct wait w = { .kind = MUTEX };
    struct hand h = { .w = &w };
    pthread_t id = thread_start(follow, &h);
    struct pier_scope s;
    order(&h, 'l');
    pier_scope_open(&s, pier_after(5 * PIER_SECOND));
    pier_spawn(&s, wait_in_scope, &w);
    pier_spawn(&s, lock_second, &w);
    ck_assert_int_eq(pier_sleep(1), 0);
    order(&h, 'g');
    pier_scope_cancel(&w.scope);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(w.rc, -ECANCELED);
    ck_assert_uint_eq(w.m.state, 0);
    order(&h, 'q');
    thread_end(id);
}

/* Overtaken by a thread that took the mutex again at once, a waiter asks for it after a while, and
 * then unlocking hands it over, whatever is cancelled meanwhile. */
TEST(a_waiter_that_was_overtaken_gets_the_mutex_handed_over)
{
    struct wait w = { .kind = MUTEX };
    struct hand h = { .w = &w };
    pthread_t id = thread_start(follow, &h);
    struct pier_scope s;
    order(&h, 'l');
    pier_scope_open(&s, 0);
    pier_spawn(&s, wait_in_scope, &w);
    ck_assert_int_eq(pier_sleep(2 * PIER_MILLISECOND), 0);
    order(&h, 'g');
    order(&h, 'l'); /* before the waiter has heard of it */
    ck_assert_int_eq(pier_sleep(PIER_MILLISECOND), 0);
    order(&h, 'g');
    ck_assert_int_eq(pier_mutex_trylock(&w.m), -EBUSY);
    pier_scope_cancel(&w.scope);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(w.rc, 0);
    pier_mutex_unlock(&w.m);
    ck_assert_uint_eq(w.m.state, 0);
    order(&h, 'q');
    thread_end(id);
}

/* ---- a cancellation that comes while a thread spins, or goes to sleep, or sleeps ---- */

struct strike {
    struct pier_scope scope;
    int turn; /* atomic */
    int delay;
};

static void *strike_at_once(void *arg)
{
    struct strike *x = arg;
    for (int i = 1; i <= 2000; i++) {
        while (__atomic_load_n(&x->turn, __ATOMIC_ACQUIRE) != i)
            sched_yield();
        for (volatile int k = 0; k < x->delay; k++)
            ;
        pier_scope_cancel_remote(&x->scope);
    }
    return NULL;
}

static int be_struck(void *arg)
{
    struct strike *x = arg;
    struct pier_sem never = { 0 };
    uint64_t state = 12345;
    for (int i = 1; i <= 2000; i++) {
        pier_scope_open(&x->scope, 0);
        x->delay = (int)(next_random(&state) % 4000);
        __atomic_store_n(&x->turn, i, __ATOMIC_RELEASE);
        if (pier_sem_wait(&never) != -ECANCELED)
            return -EIO;
        pier_scope_join(&x->scope);
    }
    pier_sem_fini(&never);
    return 0;
}

TEST(a_cancellation_ends_a_wait_whenever_it_comes)
{
    for (int with_loop = 0; with_loop < 2; with_loop++) {
        struct strike x = { .turn = 0 };
        pthread_t id = thread_start(strike_at_once, &x);
        ck_assert_int_eq(with_loop ? in_a_loop(be_struck, &x) : be_struck(&x), 0);
        thread_end(id);
    }
}

static void *cancel_remote(void *arg)
{
    pier_scope_cancel_remote(arg);
    return NULL;
}

/* The message has come, but the loop has not looked: the spin before the sleep finds it. */
static int wait_with_mail(void *arg)
{
    for (enum kind kind = MUTEX; kind <= EVENT; kind++) {
        struct wait w = { .kind = kind };
        ck_assert_int_eq(pier_mutex_trylock(&w.m), 0);
        pier_scope_open(&w.scope, 0);
        thread_end(thread_start(cancel_remote, &w.scope));
        ck_assert_int_eq(do_wait(&w), -ECANCELED);
        ck_assert_int_eq(pier_scope_join(&w.scope), 0);
    }
    return 0;
}

TEST(a_cancellation_in_the_inbox_ends_the_wait)
{
    ck_assert_int_eq(in_a_loop(wait_with_mail, NULL), 0);
}

HARNESS_MAIN("task_sync")
