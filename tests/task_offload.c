/* SPDX-License-Identifier: MIT */
/* Work on other threads: results and words, the bound, cancellation, and who owns the argument. */
#include "harness.h"
#include "task_threads.h"

enum { POOL = 16 }; /* THREADS_MAX of offload.c */

/* ---- results ---- */

static int add_one(void *arg)
{
    return *(int *)arg + 1;
}

static int fail_there(void *arg)
{
    return pier_error_set(-ENOENT, "job %d", *(int *)arg);
}

static int check_results(void *unused)
{
    int number = 41;
    ck_assert_int_eq(pier_offload(add_one, &number), 42);
    pier_error_set(-EPERM, "before");
    ck_assert_int_eq(pier_offload(fail_there, &number), -ENOENT);
    ck_assert_str_eq(pier_error(), "job 41: no such file or directory");
    number = -7;
    ck_assert_int_eq(pier_offload(add_one, &number), -6); /* a failure without words */
    ck_assert_str_eq(pier_error(), "job 41: no such file or directory");
    return 0;
}

TEST(results_and_words_come_back)
{
    check_results(NULL);
    ck_assert_int_eq(in_a_loop(check_results, NULL), 0);
}

struct place {
    pthread_t thread;
    struct pier_event *go;
    int others;
};

static int note_thread(void *arg)
{
    struct place *p = arg;
    p->thread = pthread_self();
    return p->go ? pier_event_wait(p->go) : 0;
}

static int do_offload(void *arg)
{
    return pier_offload(note_thread, arg);
}

static int release(void *arg)
{
    struct place *p = arg;
    for (int i = 0; i < 3; i++)
        p->others += pier_yield() == 0;
    pier_event_set(p->go);
    return 0;
}

TEST(other_tasks_run_meanwhile_and_the_work_is_on_another_thread)
{
    struct pier_event go = { 0 };
    struct place p = { .go = &go };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, do_offload, &p);
    pier_spawn(&s, release, &p);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(p.others, 3);
    ck_assert(!pthread_equal(p.thread, pthread_self()));
}

static int sleep_there(void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, pier_after(PIER_MILLISECOND));
    ck_assert_int_eq(pier_sleep(PIER_HOUR), -ETIMEDOUT);
    pier_scope_join(&s);
    return in_a_loop(add_one, arg);
}

TEST(the_work_may_wait_and_have_a_loop_of_its_own)
{
    int zero = 0;
    ck_assert_int_eq(pier_offload(sleep_there, &zero), 0);
}

/* ---- the bound ---- */

struct gate {
    struct pier_event open;
    struct pier_sem entered, abandoned;
    int inside, most, runs; /* atomic */
};

static int pass_gate(void *arg)
{
    struct gate *g = arg;
    int now = __atomic_add_fetch(&g->inside, 1, __ATOMIC_SEQ_CST);
    int most = __atomic_load_n(&g->most, __ATOMIC_RELAXED);
    while (now > most && !__atomic_compare_exchange_n(&g->most, &most, now, false, __ATOMIC_SEQ_CST,
                                                      __ATOMIC_RELAXED))
        ;
    __atomic_add_fetch(&g->runs, 1, __ATOMIC_SEQ_CST);
    pier_sem_post(&g->entered);
    int rc = pier_event_wait(&g->open);
    __atomic_sub_fetch(&g->inside, 1, __ATOMIC_SEQ_CST);
    return rc;
}

static int offload_gate(void *arg)
{
    return pier_offload(pass_gate, arg);
}

/* Every thread of the pool is taken; the scope's join waits for them. */
static void fill_pool(struct pier_scope *s, struct gate *g)
{
    for (int i = 0; i < POOL; i++)
        ck_assert_int_eq(pier_spawn(s, offload_gate, g), 0);
    for (int i = 0; i < POOL; i++)
        ck_assert_int_eq(pier_sem_wait(&g->entered), 0);
}

TEST(no_more_than_sixteen_run_at_once_and_all_run)
{
    struct gate g = { .inside = 0 };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 100; i++)
        pier_spawn(&s, offload_gate, &g);
    for (int i = 0; i < POOL; i++)
        ck_assert_int_eq(pier_sem_wait(&g.entered), 0);
    ck_assert_int_eq(pier_sleep(PIER_MILLISECOND), 0);
    ck_assert_int_eq(g.runs, POOL);
    pier_event_set(&g.open);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(g.runs, 100);
    ck_assert_int_eq(g.most, POOL);
}

TEST(a_queued_job_that_is_cancelled_returns_at_once_and_never_runs)
{
    struct gate g = { .inside = 0 };
    struct pier_scope s, inner;
    pier_scope_open(&s, 0);
    fill_pool(&s, &g);
    for (int i = 0; i < 3; i++) {
        pier_scope_open(&inner, pier_after(PIER_MILLISECOND));
        ck_assert_int_eq(pier_offload(pass_gate, &g), -ETIMEDOUT);
        pier_scope_join(&inner);
    }
    pier_event_set(&g.open);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(g.runs, POOL);
    int one = 1;
    ck_assert_int_eq(pier_offload(add_one, &one), 2);
}

TEST(no_job_starts_in_a_cancelled_scope)
{
    struct gate g = { .inside = 0 };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_scope_cancel(&s);
    ck_assert_int_eq(pier_offload(pass_gate, &g), -ECANCELED);
    pier_scope_join(&s);
    ck_assert_int_eq(g.runs, 0);
}

/* ---- the argument's owner ---- */

static void on_abandoned(void *arg)
{
    struct gate *g = arg;
    pier_sem_post(&g->abandoned);
}

static int return_code(void *arg)
{
    struct gate *g = arg;
    return g->runs;
}

TEST(a_result_leaves_the_argument_with_the_caller_and_a_failure_does_not)
{
    struct gate g = { .runs = 5 };
    ck_assert_int_eq(pier_offload_abandon(return_code, &g, on_abandoned), 5);
    ck_assert_int_eq(pier_sem_trywait(&g.abandoned), -EAGAIN);
    g.runs = -EIO;
    ck_assert_int_eq(pier_offload_abandon(return_code, &g, on_abandoned), -EIO);
    ck_assert_int_eq(pier_sem_trywait(&g.abandoned), 0);
    ck_assert_int_eq(pier_sem_trywait(&g.abandoned), -EAGAIN);
}

static int abandon_gate(void *arg)
{
    return pier_offload_abandon(pass_gate, arg, on_abandoned);
}

TEST(an_abandoned_job_that_runs_returns_at_once_and_frees_later)
{
    struct gate g = { .inside = 0 };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, abandon_gate, &g);
    ck_assert_int_eq(pier_sem_wait(&g.entered), 0);
    pier_scope_cancel(&s);
    ck_assert_int_eq(pier_scope_join(&s), -ECANCELED);
    ck_assert_int_eq(pier_sem_trywait(&g.abandoned), -EAGAIN); /* fn still runs */
    pier_event_set(&g.open);
    ck_assert_int_eq(pier_sem_wait(&g.abandoned), 0);
    ck_assert_int_eq(g.inside, 0);
}

TEST(an_abandoned_job_that_is_queued_frees_instead)
{
    struct gate g = { .inside = 0 };
    struct pier_scope s, inner;
    pier_scope_open(&s, 0);
    fill_pool(&s, &g);
    pier_scope_open(&inner, pier_after(PIER_MILLISECOND));
    ck_assert_int_eq(pier_offload_abandon(pass_gate, &g, on_abandoned), -ETIMEDOUT);
    ck_assert_int_eq(pier_sem_trywait(&g.abandoned), 0);
    ck_assert_int_eq(pier_offload_abandon(pass_gate, &g, on_abandoned), -ETIMEDOUT);
    pier_scope_join(&inner);
    ck_assert_int_eq(pier_sem_trywait(&g.abandoned), 0); /* cancelled at entry, too */
    pier_event_set(&g.open);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(g.runs, POOL);
}

TEST(without_memory_an_abandonable_job_is_freed_and_fails)
{
    struct gate g = { .runs = 5 };
    pi_task_self();
    pi_alloc_fail(1);
    ck_assert_int_eq(pier_offload_abandon(return_code, &g, on_abandoned), -ENOMEM);
    pi_alloc_fail(0);
    ck_assert_int_eq(pier_sem_trywait(&g.abandoned), 0);
}

/* Each job has an argument of its own; whatever happens, it is freed once (ASan watches). */
struct tally {
    long freed, kept, made; /* atomic */
    uint64_t seed;
};

struct load {
    struct tally *tally;
    int spins;
};

static void free_load(void *arg)
{
    struct load *l = arg;
    __atomic_add_fetch(&l->tally->freed, 1, __ATOMIC_SEQ_CST);
    free(l);
}

static int spin(void *arg)
{
    struct load *l = arg;
    for (volatile int i = 0; i < l->spins; i++)
        ;
    return l->spins % 3 ? 0 : -EIO;
}

static int offload_many(void *arg)
{
    struct tally *t = arg;
    uint64_t state = __atomic_add_fetch(&t->seed, 0x9e3779b97f4a7c15u, __ATOMIC_RELAXED) | 1;
    for (int i = 0; i < 300; i++) {
        struct load *l = malloc(sizeof *l);
        *l = (struct load){ t, (int)(next_random(&state) % 20000) };
        __atomic_add_fetch(&t->made, 1, __ATOMIC_SEQ_CST);
        struct pier_scope s;
        pier_scope_open(&s, pier_after((int64_t)(next_random(&state) % 200000)));
        int rc = pier_offload_abandon(spin, l, free_load);
        pier_scope_join(&s);
        if (rc >= 0) {
            __atomic_add_fetch(&t->kept, 1, __ATOMIC_SEQ_CST);
            free(l);
        } else if (rc != -ETIMEDOUT && rc != -EIO) {
            return rc;
        }
    }
    return 0;
}

static void *offload_in_tasks(void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 10; i++)
        pier_spawn(&s, offload_many, arg);
    return pier_scope_join(&s) == 0 ? NULL : arg;
}

TEST_WITHIN(60, each_argument_is_freed_once_under_random_deadlines)
{
    struct tally t = { .seed = test_seed() };
    pthread_t other = thread_start(offload_in_tasks, &t);
    ck_assert_ptr_null(offload_in_tasks(&t));
    ck_assert_int_eq(offload_many(&t), 0);
    thread_end(other);
    int64_t until = pier_now() + 10 * PIER_SECOND;
    while (__atomic_load_n(&t.freed, __ATOMIC_SEQ_CST) + t.kept < t.made && pier_now() < until)
        sched_yield();
    ck_assert_int_eq(t.freed + t.kept, t.made);
}

HARNESS_MAIN("task_offload")
