/* SPDX-License-Identifier: MIT */
/* not on tsan: its runtime is linked in, and its calls would be put in other places, too */
/* not on valgrind: it does not know pidfd_open(2) */
/*
 * work_faults: pools with every call and every request for memory of the program failing in turn.
 * What fails in helpers and workers is in work_pool.c.
 */
#include "harness.h"
#include "net_faults.h"

static int add_one(const void *input, size_t len, struct pier_pool_result *result)
{
    *(int *)result->data = *(const int *)input + 1;
    result->len = sizeof(int);
    return 0;
}

static int open_map_close(struct pier_pool_opts *opts)
{
    int numbers[3] = { 1, 2, 3 };
    struct pier_pool_item items[3] = { 0 };
    for (int i = 0; i < 3; i++)
        items[i] = (struct pier_pool_item){ .input = &numbers[i], .len = sizeof numbers[i] };
    struct pier_pool_job job = { .count = 3, .bytes_fn = add_one, .items = items };
    struct pier_pool *pool = pier_pool_open(opts);
    int rc = pier_pool_run(pool, &job);
    pier_pool_close(pool);
    for (int i = 0; i < 3 && rc == 0; i++)
        ck_assert_int_eq(*(int *)items[i].result, i + 2);
    pier_pool_free_results(items, 3);
    return rc;
}

static int with_processes(void)
{
    return open_map_close(&(struct pier_pool_opts){ .workers = 2 });
}

static int with_threads(void)
{
    return open_map_close(&(struct pier_pool_opts){ .workers = 2, .threads = true });
}

/* A helper that somebody else reaps has ended; how is not known, and not needed. */
TEST_WITHIN(60, a_pool_of_processes_says_what_failed)
{
    faults_alone = true;
    fail_everywhere(&(struct path){
        .walk = with_processes,
        .says = "pool|fork",
        .instead = "helper process has died",
        .recovers = "waitpid|kill|futex|epoll_ctl|poll|ppoll|eventfd",
    });
}

TEST_WITHIN(60, a_pool_of_processes_is_not_disturbed_by_interruptions)
{
    faults_alone = true;
    interrupt_everywhere(&(struct path){ .walk = with_processes });
}

TEST_WITHIN(60, a_pool_of_threads_says_what_failed)
{
    struct path path = {
        .walk = with_threads,
        .says = "pool",
        .recovers = "futex|epoll_ctl|ppoll|eventfd",
    };
    fail_everywhere(&path);
    interrupt_everywhere(&path);
}

HARNESS_MAIN("work_faults")
