/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* not on valgrind: it does not know pidfd_open(2) */
/*
 * work_pool: maps over processes and threads: results in order whatever happens to the workers, and
 * nobody left behind.
 */
#include "both.h"

#include "work/pool.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#if defined(PI_TSAN)
/* It takes fibres for threads, and would not let a child of a task start any. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}
#endif

enum { MANY = 100000, WORKERS = 3 };

static struct pier_pool *open_with(int workers, bool threads)
{
    struct pier_pool *pool =
        pier_pool_open(&(struct pier_pool_opts){ .workers = workers, .threads = threads });
    ck_assert_msg(pool != NULL, "%s", pier_error());
    return pool;
}

static int square(const void *input, void *output)
{
    int64_t n = *(const int *)input;
    *(int64_t *)output = n * n;
    return 0;
}

static int inputs[MANY];
static int64_t outputs[MANY];

static void number_inputs(void)
{
    for (int i = 0; i < MANY; i++) {
        inputs[i] = i;
        outputs[i] = -1;
    }
}

static void all_squares(size_t count)
{
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(outputs[i], (int64_t)i * (int64_t)i);
}

/* Children of this process, and theirs. */
static int count_descendants(void)
{
    char path[64], line[256];
    int count = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE *f = fopen(path, "r");
    for (int pid; f && fscanf(f, "%d", &pid) == 1;) {
        count++;
        snprintf(line, sizeof line, "/proc/%d/task/%d/children", pid, pid);
        FILE *g = fopen(line, "r");
        for (int grandchild; g && fscanf(g, "%d", &grandchild) == 1;)
            count++;
        if (g)
            fclose(g);
    }
    if (f)
        fclose(f);
    return count;
}

/* ---- results ---- */

static void map_squares(bool threads)
{
    struct pier_pool *pool = open_with(WORKERS, threads);
    size_t counts[] = { 0, 1, 2, 7, 1000, MANY };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        number_inputs();
        ck_assert_int_eq(pier_pool_map(pool, square, inputs, outputs, counts[i]), 0);
        all_squares(counts[i]);
        ck_assert(counts[i] == MANY || outputs[counts[i]] == -1);
    }
    pier_pool_close(pool);
    ck_assert_int_eq(count_descendants(), 0);
}

BOTH(threads_give_all_results_in_order)
{
    map_squares(true);
}

TEST(processes_give_all_results_in_order)
{
    map_squares(false);
}

/* The pool is older than the loop, be that on io_uring. */
static int map_in_a_task(void *arg)
{
    number_inputs();
    ck_assert_int_eq(pier_pool_map((struct pier_pool *)arg, square, inputs, outputs, MANY), 0);
    all_squares(MANY);
    return 0;
}

TEST(a_pool_works_in_tasks_and_on_threads_in_turn)
{
    struct pier_pool *pool = open_with(WORKERS, false);
    for (int i = 0; i < 3; i++) {
        struct pier_scope scope;
        pier_scope_open(&scope, 0);
        ck_assert_int_eq(pier_spawn(&scope, map_in_a_task, pool), 0);
        ck_assert_int_eq(pier_scope_join(&scope), 0);
        map_in_a_task(pool);
    }
    pier_pool_close(pool);
}

static int nap(const void *input, void *output)
{
    usleep(*(const useconds_t *)input);
    *(pid_t *)output = getpid();
    return 0;
}

static int tick(void *arg)
{
    while (pier_sleep(PIER_MILLISECOND) == 0)
        ++*(int *)arg;
    return 0;
}

struct nap_job {
    struct pier_pool *pool;
    struct pier_scope *ticking;
    int *ticks;
};

static int nap_in_a_task(void *arg)
{
    struct nap_job *job = arg;
    useconds_t us[4] = { 100000, 100000, 100000, 100000 };
    pid_t pids[4];
    int before = *job->ticks;
    int rc = pier_pool_map(job->pool, nap, us, pids, 4);
    ck_assert_int_gt(*job->ticks, before + 3);
    if (job->ticking)
        pier_scope_cancel(job->ticking);
    return rc;
}

TEST(other_tasks_run_while_one_maps)
{
    for (int threads = 0; threads < 2; threads++) {
        struct pier_pool *pool = open_with(2, threads);
        struct pier_scope scope;
        int ticks = 0;
        struct nap_job job = { pool, &scope, &ticks };
        pier_scope_open(&scope, 0);
        ck_assert_int_eq(pier_spawn(&scope, tick, &ticks), 0);
        ck_assert_int_eq(pier_spawn(&scope, nap_in_a_task, &job), 0);
        ck_assert_int_eq(pier_scope_join(&scope), 0);
        pier_pool_close(pool);
    }
}

TEST(two_maps_of_a_pool_take_turns)
{
    struct pier_pool *pool = open_with(2, false);
    struct pier_scope scope, ticking;
    int ticks = 0;
    struct nap_job job = { pool, NULL, &ticks };
    pier_scope_open(&ticking, 0);
    ck_assert_int_eq(pier_spawn(&ticking, tick, &ticks), 0);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, nap_in_a_task, &job), 0);
    ck_assert_int_eq(pier_spawn(&scope, nap_in_a_task, &job), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    pier_scope_cancel(&ticking);
    ck_assert_int_eq(pier_scope_join(&ticking), 0);
    pier_pool_close(pool);
}

static int count_different(const pid_t *pids, int count)
{
    int different = 0;
    for (int i = 0; i < count; i++) {
        bool seen = false;
        for (int j = 0; j < i; j++)
            seen = seen || pids[i] == pids[j];
        different += !seen;
    }
    return different;
}

TEST(each_process_works_and_is_not_this_one)
{
    struct pier_pool *pool = open_with(4, false);
    useconds_t us[16];
    pid_t pids[16];
    for (int i = 0; i < 16; i++)
        us[i] = 30000;
    ck_assert_int_eq(pier_pool_map(pool, nap, us, pids, 16), 0);
    for (int i = 0; i < 16; i++)
        ck_assert_int_ne(pids[i], getpid());
    ck_assert_int_eq(count_different(pids, 16), 4);
    pier_pool_close(pool);
}

/* Long ones in the middle of a row of short ones: a worker gives them to those that are idle. */
enum { LONG_ONES = 60 };
static pid_t *nappers;

static int nap_in_the_middle(const void *input, void *output)
{
    int i = *(const int *)input;
    if (i >= MANY / 2 && i < MANY / 2 + LONG_ONES) {
        nappers[i - MANY / 2] = getpid();
        usleep(10000);
    }
    *(int64_t *)output = (int64_t)i * i;
    return 0;
}

TEST(long_inputs_among_short_ones_are_shared)
{
    nappers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct pier_pool *pool = open_with(4, false);
    number_inputs();
    ck_assert_int_eq(pier_pool_map(pool, nap_in_the_middle, inputs, outputs, MANY), 0);
    all_squares(MANY);
    ck_assert_int_ge(count_different(nappers, LONG_ONES), 3);
    pier_pool_close(pool);
}

/* ---- bytes ---- */

/* A result that shows that every byte of the input came: its length doubles, bytes reversed. */
static int twice(const void *input, size_t len, struct pier_pool_result *result)
{
    const char *in = input;
    char *out = result->data;
    if (2 * len > result->cap) {
        result->len = 2 * len;
        return 0;
    }
    for (size_t i = 0; i < len; i++)
        out[i] = out[2 * len - 1 - i] = in[i];
    result->len = 2 * len;
    return 0;
}

static void map_bytes(bool threads)
{
    enum { ITEMS = 400 };
    struct pier_pool *pool = open_with(WORKERS, threads);
    static struct pier_pool_item items[ITEMS];
    for (int i = 0; i < ITEMS; i++) {
        size_t len = i == 200 ? 9 * 1024 * 1024 : i % 50 == 3 ? 300000 : (size_t)i * 7 % 1500;
        items[i] = (struct pier_pool_item){ .input = make_pattern(len, i), .len = len };
    }
    struct pier_pool_job job = { .count = ITEMS, .bytes_fn = twice, .items = items };
    ck_assert_int_eq(pier_pool_run(pool, &job), 0);
    ck_assert_int_eq(job.done, ITEMS);
    for (int i = 0; i < ITEMS; i++) {
        size_t len = items[i].len;
        const char *out = items[i].result;
        ck_assert_int_eq(items[i].result_len, 2 * len);
        ck_assert_int_eq(memcmp(out, items[i].input, len), 0);
        for (size_t at = 0; at < len; at++)
            if (out[2 * len - 1 - at] != out[at])
                ck_abort_msg("item %d, byte %zu", i, at);
        free((void *)items[i].input);
    }
    pier_pool_free_results(items, ITEMS);
    ck_assert_ptr_null(items[0].result);
    pier_pool_close(pool);
}

TEST(bytes_of_any_size_go_to_processes_and_come_back)
{
    map_bytes(false);
}

TEST(bytes_of_any_size_go_to_threads_and_come_back)
{
    map_bytes(true);
}

/* Results that fill a chunk's room by themselves: every chunk comes back in part. */
static int widen(const void *input, size_t len, struct pier_pool_result *result)
{
    enum { WIDE = 90000 };
    memset(result->data, *(const char *)input, WIDE);
    result->len = WIDE;
    return 0;
}

static void map_wide(int workers, size_t count)
{
    static struct pier_pool_item items[700];
    static char bytes[700];
    struct pier_pool *pool = open_with(workers, false);
    for (size_t i = 0; i < count; i++) {
        bytes[i] = (char)(i % 100);
        items[i] = (struct pier_pool_item){ .input = &bytes[i], .len = 1 };
    }
    struct pier_pool_job job = { .count = count, .bytes_fn = widen, .items = items };
    ck_assert_int_eq(pier_pool_run(pool, &job), 0);
    ck_assert_int_eq(job.done, count);
    for (size_t i = 0; i < count; i++) {
        const char *out = items[i].result;
        ck_assert_int_eq(items[i].result_len, 90000);
        ck_assert(out[0] == bytes[i] && out[89999] == bytes[i]);
    }
    pier_pool_free_results(items, count);
    pier_pool_close(pool);
}

TEST(chunks_may_come_back_in_part_any_number_of_times)
{
    map_wide(1, 700);
    map_wide(2, 300);
    map_wide(4, 700);
}

TEST(too_large_inputs_and_results_are_named)
{
    struct pier_pool *pool =
        pier_pool_open(&(struct pier_pool_opts){ .workers = 2, .max_item_size = 1000 });
    char bytes[1001] = "";
    struct pier_pool_item items[4] = {
        { .input = bytes, .len = 500 },
        { .input = bytes, .len = 1 },
        { .input = bytes, .len = 501 },
        { .input = bytes, .len = 0 },
    };
    struct pier_pool_job job = { .count = 4, .bytes_fn = twice, .items = items };
    ck_assert_int_eq(pier_pool_run(pool, &job), -EMSGSIZE);
    ck_assert_str_eq(pier_error(), "pool: input 2: a result of 1002 bytes, more than "
                                   "max_item_size (1000)");
    ck_assert_int_eq(job.first_failed, 2);
    pier_pool_free_results(items, 4);
    items[1].len = 1001;
    ck_assert_int_eq(pier_pool_run(pool, &job), -EMSGSIZE);
    ck_assert_str_eq(pier_error(), "pool: input 1: 1001 bytes, more than max_item_size (1000)");
    ck_assert_int_eq(job.done, 0);
    job = (struct pier_pool_job){ .count = 1, .fn = square, .inputs = bytes, .input_size = 1001 };
    ck_assert_int_eq(pier_pool_run(pool, &job), -EMSGSIZE);
    pier_pool_close(pool);
}

/* ---- failures ---- */

enum { FAILS_AT = 500, CRASHES_AT = 700, EXITS_AT = 900, HANGS_AT = 1100, HAVE = 1500 };

static int misbehave(const void *input, void *output)
{
    int n = *(const int *)input;
    if (n == FAILS_AT)
        return pier_error_set(-ENOENT, "look for %d", n);
    if (n == CRASHES_AT)
        raise(SIGKILL);
    if (n == EXITS_AT)
        _exit(3);
    if (n == HANGS_AT)
        for (;;)
            pause();
    return square(input, output);
}

TEST(every_kind_of_failure_costs_its_input_only)
{
    struct pier_pool *pool = open_with(WORKERS, false);
    static int codes[HAVE];
    for (int round = 0; round < 3; round++) {
        number_inputs();
        struct pier_pool_job job = { .count = HAVE,
                                     .fn = misbehave,
                                     .inputs = inputs,
                                     .input_size = sizeof inputs[0],
                                     .outputs = outputs,
                                     .output_size = sizeof outputs[0],
                                     .keep_going = true,
                                     .codes = codes,
                                     .timeout_ms = 300 };
        ck_assert_int_eq(pier_pool_run(pool, &job), -ENOENT);
        ck_assert_str_eq(pier_error(), "pool: input 500: look for 500: no such file or directory");
        ck_assert_int_eq(job.done, HAVE - 4);
        ck_assert_int_eq(job.failed, 4);
        ck_assert_int_eq(job.first_failed, FAILS_AT);
        for (int i = 0; i < HAVE; i++) {
            int wanted = i == FAILS_AT                      ? -ENOENT
                         : i == CRASHES_AT || i == EXITS_AT ? PIER_EWORKER
                         : i == HANGS_AT                    ? -ETIMEDOUT
                                                            : 0;
            ck_assert_int_eq(codes[i], wanted);
            if (wanted == 0)
                ck_assert_int_eq(outputs[i], (int64_t)i * i);
        }
    }
    pier_pool_close(pool);
}

static void stops_with(struct pier_pool *pool, int at, int code, const char *words)
{
    int numbers[HAVE] = { 0 };
    numbers[10] = at;
    struct pier_pool_job job = { .count = HAVE,
                                 .fn = misbehave,
                                 .inputs = numbers,
                                 .input_size = sizeof numbers[0],
                                 .outputs = outputs,
                                 .output_size = sizeof outputs[0],
                                 .timeout_ms = at == HANGS_AT ? 100 : 0 };
    ck_assert_int_eq(pier_pool_run(pool, &job), code);
    ck_assert_str_eq(pier_error(), words);
    ck_assert_int_eq(job.first_failed, 10);
    ck_assert_int_eq(job.failed, 1);
}

TEST(a_failure_stops_the_rest_unless_asked)
{
    struct pier_pool *pool = open_with(2, false);
    stops_with(pool, FAILS_AT, -ENOENT, "pool: input 10: look for 500: no such file or directory");
    stops_with(pool, CRASHES_AT, PIER_EWORKER,
               "pool: input 10: its worker process died of signal 9 (Killed)");
    stops_with(pool, EXITS_AT, PIER_EWORKER,
               "pool: input 10: its worker process exited with code 3");
    stops_with(pool, HANGS_AT, -ETIMEDOUT, "pool: input 10: not done within 100 ms");
    number_inputs();
    ck_assert_int_eq(pier_pool_map(pool, square, inputs, outputs, MANY), 0);
    all_squares(MANY);
    pier_pool_close(pool);
}

static int fail_odd(const void *input, void *output)
{
    return *(const int *)input % 2 ? -EDOM : square(input, output);
}

TEST(many_failures_are_all_told)
{
    static int codes[MANY];
    for (int threads = 0; threads < 2; threads++) {
        struct pier_pool *pool = open_with(2, threads);
        for (int round = 0; round < 2; round++) {
            number_inputs();
            struct pier_pool_job job = { .count = MANY,
                                         .fn = fail_odd,
                                         .inputs = inputs,
                                         .input_size = sizeof inputs[0],
                                         .outputs = outputs,
                                         .output_size = sizeof outputs[0],
                                         .keep_going = true,
                                         .codes = codes };
            ck_assert_int_eq(pier_pool_run(pool, &job), -EDOM);
            ck_assert_int_eq(job.failed, MANY / 2);
            ck_assert_int_eq(job.first_failed, 1);
            for (int i = 0; i < MANY; i++)
                ck_assert_int_eq(codes[i], i % 2 ? -EDOM : 0);
        }
        pier_pool_close(pool);
    }
}

/* ---- progress ---- */

struct seen {
    size_t last, calls;
    bool is_wrong;
};

static void see_progress(size_t done, size_t count, void *arg)
{
    struct seen *seen = arg;
    seen->is_wrong = seen->is_wrong || done <= seen->last || done > count || count != MANY;
    seen->last = done;
    seen->calls++;
}

TEST(progress_goes_up_to_the_end)
{
    struct pier_pool *pool = open_with(2, false);
    struct seen seen = { 0 };
    struct pier_pool_job job = { .count = MANY,
                                 .fn = square,
                                 .inputs = inputs,
                                 .input_size = sizeof inputs[0],
                                 .chunk = 1000,
                                 .progress = see_progress,
                                 .arg = &seen };
    ck_assert_int_eq(pier_pool_run(pool, &job), 0);
    ck_assert(!seen.is_wrong);
    ck_assert_int_eq(seen.last, MANY);
    ck_assert_int_gt(seen.calls, 5);
    pier_pool_close(pool);
}

struct nested {
    struct pier_pool *pool;
    int rc;
};

static void map_in_progress(size_t done, size_t count, void *arg)
{
    struct nested *n = arg;
    int number = 3;
    int64_t result;
    n->rc = pier_pool_map(n->pool, square, &number, &result, 1);
}

TEST(a_map_within_a_map_of_the_same_pool_is_an_error_and_no_hang)
{
    for (int threads = 0; threads < 2; threads++) {
        struct nested n = { open_with(2, threads), 0 };
        struct pier_pool_job job = { .count = 10,
                                     .fn = square,
                                     .inputs = inputs,
                                     .input_size = sizeof inputs[0],
                                     .progress = map_in_progress,
                                     .arg = &n };
        ck_assert_int_eq(pier_pool_run(n.pool, &job), 0);
        ck_assert_int_eq(n.rc, -EDEADLK);
        pier_pool_close(n.pool);
    }
}

TEST(a_map_that_does_not_begin_says_of_every_input_that_it_was_not_run)
{
    struct pier_pool *pool =
        pier_pool_open(&(struct pier_pool_opts){ .workers = 1, .max_item_size = 100 });
    char bytes[200] = { 0 };
    int codes[2] = { 0, 0 };
    struct pier_pool_item items[2] = {
        { .input = bytes, .len = 1, .result = bytes, .result_len = 1 },
        { .input = bytes, .len = 101, .result = bytes, .result_len = 1 },
    };
    struct pier_pool_job job = { .count = 2, .bytes_fn = twice, .items = items, .codes = codes };
    ck_assert_int_eq(pier_pool_run(pool, &job), -EMSGSIZE);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(codes[i], -ECANCELED);
        ck_assert_ptr_null(items[i].result);
        ck_assert_int_eq(items[i].result_len, 0);
        codes[i] = 0;
    }
    ck_assert_int_eq(pier_pool_run(NULL, &job), pier_error_code());
    ck_assert_int_eq(codes[1], -ECANCELED);
    pier_pool_close(pool);
}

/* What a worker does that is killed between noting a failure and its next input. */
static int note_and_die(const void *input, void *output)
{
    struct pi_pool_shared *shared = *(struct pi_pool_shared *const *)input;
    if (!shared)
        return 0;
    for (uint32_t i = 0; i < shared->chunk_count; i++) {
        struct pi_chunk *c = &shared->chunks[i];
        uint32_t at = atomic_load(&c->at);
        if (pi_chunk_kind(atomic_load(&c->state)) != PI_CHUNK_TAKEN)
            continue;
        c->failures++;
        c->first_failed = at - 1;
        c->codes[at - 1] = -EPERM;
    }
    abort();
}

static int fail_at_once(const void *input, void *output)
{
    return *(const int *)input == 0 ? -EPERM : 0;
}

TEST(a_dead_workers_last_failure_is_not_found_again)
{
    enum { COUNT = 64 };
    struct pi_pool_shared *pools[COUNT] = { NULL };
    int codes[COUNT];
    struct pier_pool *pool = open_with(1, false);
    pools[3] = pool->shared;
    struct pier_pool_job job = { .count = COUNT,
                                 .fn = note_and_die,
                                 .inputs = pools,
                                 .input_size = sizeof pools[0],
                                 .keep_going = true,
                                 .codes = codes,
                                 .chunk = 8 };
    ck_assert_int_eq(pier_pool_run(pool, &job), PIER_EWORKER);
    ck_assert_int_eq(job.failed, 1);
    for (int i = 0; i < COUNT; i++)
        inputs[i] = i % 8;
    job.fn = fail_at_once;
    job.inputs = inputs;
    job.input_size = sizeof inputs[0];
    ck_assert_int_eq(pier_pool_run(pool, &job), -EPERM);
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(codes[i], i % 8 ? 0 : -EPERM);
    pier_pool_close(pool);
}

/* ---- cancellation ---- */

static int hold_still(const void *input, void *output)
{
    for (;;)
        pause();
    return 0;
}

static int map_for_ever(void *arg)
{
    int numbers[20] = { 0 };
    int rc = pier_pool_map((struct pier_pool *)arg, hold_still, numbers, outputs, 20);
    bool has_begun = strstr(pier_error(), "turn") == NULL; /* in time */
    ck_assert_str_eq(pier_error(), has_begun ? "pool: after 0 of 20 inputs: timed out"
                                             : "pool: wait for its turn: timed out");
    return rc;
}

TEST(a_cancelled_map_ends_what_it_began_and_the_pool_goes_on)
{
    struct pier_pool *pool = open_with(4, false);
    for (int in_task = 0; in_task < 2; in_task++) {
        struct pier_scope scope;
        pier_scope_open(&scope, pier_after(50 * PIER_MILLISECOND));
        if (in_task) {
            ck_assert_int_eq(pier_spawn(&scope, map_for_ever, pool), 0);
            ck_assert_int_eq(pier_scope_join(&scope), -ETIMEDOUT);
        } else {
            ck_assert_int_eq(map_for_ever(pool), -ETIMEDOUT);
            ck_assert_int_eq(pier_scope_join(&scope), 0);
        }
        for (uint32_t i = 0; i < pool->shared->chunk_count; i++)
            ck_assert_int_ne(pi_chunk_kind(pool->shared->chunks[i].state), PI_CHUNK_TAKEN);
        number_inputs();
        ck_assert_int_eq(pier_pool_map(pool, square, inputs, outputs, MANY), 0);
        all_squares(MANY);
    }
    pier_pool_close(pool);
    ck_assert_int_eq(count_descendants(), 0);
}

TEST(a_one_shot_map_that_is_cancelled_leaves_nobody)
{
    int numbers[20] = { 0 };
    struct pier_scope scope;
    pier_scope_open(&scope, pier_after(100 * PIER_MILLISECOND));
    struct pier_pool_job job = {
        .count = 20, .fn = hold_still, .inputs = numbers, .input_size = sizeof numbers[0]
    };
    ck_assert_int_eq(pier_pool_run_once(&(struct pier_pool_opts){ .workers = 4 }, &job),
                     -ETIMEDOUT);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(count_descendants(), 0);
}

static int sum_text(const void *input, void *output)
{
    const char *text = *(const char *const *)input;
    *(int64_t *)output = (int64_t)strlen(text);
    return 0;
}

TEST(a_one_shot_map_has_the_callers_memory)
{
    const char *texts[] = { "", "a", "ab", "abc" };
    struct pier_pool_job job = { .count = 4,
                                 .fn = sum_text,
                                 .inputs = texts,
                                 .input_size = sizeof texts[0],
                                 .outputs = outputs,
                                 .output_size = sizeof outputs[0] };
    ck_assert_int_eq(pier_pool_run_once(NULL, &job), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(outputs[i], i);
}

/* ---- the worst ---- */

static uint64_t chance;

static uint32_t draw(uint32_t below)
{
    chance = chance * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(chance >> 33) % below;
}

static int slow_square(const void *input, void *output)
{
    for (volatile int i = 0; i < 20000; i++)
        ;
    return square(input, output);
}

/* Another process of the pool, at random: a worker, as helpers have no siblings. */
static int find_workers(struct pier_pool *pool, pid_t *pids, int most)
{
    char path[64];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", pool->helper.pid, pool->helper.pid);
    FILE *f = fopen(path, "r");
    while (f && count < most && fscanf(f, "%d", &pids[count]) == 1)
        count++;
    if (f)
        fclose(f);
    return count;
}

struct killing {
    struct pier_pool *pool;
    int kills;
};

static int kill_at_random(void *arg)
{
    struct killing *k = arg;
    pid_t pids[WORKERS];
    while (pier_sleep(draw(3000) * PIER_MICROSECOND) == 0) {
        int count = find_workers(k->pool, pids, WORKERS);
        if (count == 0)
            continue;
        kill(pids[draw((uint32_t)count)], SIGKILL);
        k->kills++;
    }
    return 0;
}

TEST_WITHIN(60, workers_that_are_killed_at_random_cost_one_input_each)
{
    const char *seed = getenv("PIER_TEST_SEED");
    chance = seed ? strtoull(seed, NULL, 0) : (uint64_t)pier_now();
    fprintf(stderr, "PIER_TEST_SEED=%llu\n", (unsigned long long)chance);
    struct pier_pool *pool = open_with(WORKERS, false);
    enum { COUNT = 6000 };
    static int codes[COUNT];
    int kills = 0;
    for (int round = 0; round < 5; round++) {
        struct killing killing = { pool, 0 };
        struct pier_scope scope;
        number_inputs();
        pier_scope_open(&scope, 0);
        ck_assert_int_eq(pier_spawn(&scope, kill_at_random, &killing), 0);
        struct pier_pool_job job = { .count = COUNT,
                                     .fn = slow_square,
                                     .inputs = inputs,
                                     .input_size = sizeof inputs[0],
                                     .outputs = outputs,
                                     .output_size = sizeof outputs[0],
                                     .keep_going = true,
                                     .codes = codes };
        int rc = pier_pool_run(pool, &job);
        pier_scope_cancel(&scope);
        ck_assert_int_eq(pier_scope_join(&scope), 0);
        ck_assert_int_eq(rc, job.failed ? PIER_EWORKER : 0);
        ck_assert_int_le(job.failed, killing.kills);
        ck_assert_int_eq(job.done + job.failed, COUNT);
        size_t failed = 0;
        for (int i = 0; i < COUNT; i++) {
            failed += codes[i] == PIER_EWORKER;
            if (codes[i] == 0)
                ck_assert_int_eq(outputs[i], (int64_t)i * i);
            else
                ck_assert_int_eq(codes[i], PIER_EWORKER);
        }
        ck_assert_int_eq(failed, job.failed);
        kills += killing.kills;
    }
    ck_assert_int_gt(kills, 5);
    pier_pool_close(pool);
    ck_assert_int_eq(count_descendants(), 0);
}

TEST(an_idle_workers_death_costs_nothing)
{
    struct pier_pool *pool = open_with(WORKERS, false);
    for (int round = 0; round < 20; round++) {
        pid_t pids[WORKERS];
        int count = find_workers(pool, pids, WORKERS);
        for (int i = 0; i < count; i++)
            kill(pids[i], SIGKILL);
        number_inputs();
        ck_assert_int_eq(pier_pool_map(pool, square, inputs, outputs, 1000), 0);
        all_squares(1000);
    }
    pier_pool_close(pool);
}

static int map_four(void *arg)
{
    return pier_pool_map((struct pier_pool *)arg, square, inputs, outputs, 4);
}

/* A worker that is woken but does not get to run, as on a machine with much else to do. */
TEST(what_nobody_has_begun_is_not_asked_back)
{
    pid_t worker;
    struct pier_scope scope;
    struct pier_pool *pool = open_with(1, false);
    number_inputs();
    while (!atomic_load(&pool->shared->asleep[0]))
        ck_assert_int_eq(pier_sleep(PIER_MILLISECOND), 0);
    ck_assert_int_eq(find_workers(pool, &worker, 1), 1);
    ck_assert_int_eq(kill(worker, SIGSTOP), 0);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, map_four, pool), 0);
    for (int i = 0; i < 30; i++) { /* it is asked back after a millisecond, if it is */
        ck_assert_int_eq(pier_sleep(PIER_MILLISECOND), 0);
        for (uint32_t at = 0; at < pool->shared->chunk_count; at++)
            ck_assert_int_eq(atomic_load(&pool->shared->chunks[at].stop), 0);
    }
    ck_assert_int_eq(kill(worker, SIGCONT), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    all_squares(4);
    pier_pool_close(pool);
}

TEST(a_dead_helper_is_an_error_and_no_hang)
{
    struct pier_pool *pool = open_with(2, false);
    kill(pool->helper.pid, SIGKILL);
    int numbers[20] = { 0 };
    ck_assert_int_eq(pier_pool_map(pool, hold_still, numbers, outputs, 20), PIER_EWORKER);
    ck_assert_ptr_nonnull(strstr(pier_error(), "helper"));
    ck_assert_int_eq(pier_pool_map(pool, square, numbers, outputs, 20), PIER_EWORKER);
    pier_pool_close(pool);
}

/* A pipe that all of them hold: its end is that of the last one. */
static int fds_of_life[2];

static void use_a_pool_and_die(void)
{
    close(fds_of_life[0]);
    struct pier_pool *pool = open_with(3, false);
    int numbers[20] = { 0 };
    struct pier_scope scope;
    pier_scope_open(&scope, pier_after(50 * PIER_MILLISECOND));
    int rc = pier_pool_map(pool, hold_still, numbers, outputs, 20);
    (void)rc;
    pier_scope_join(&scope);
    struct pi_process killer;
    if (pi_fork(&killer, 0) == 0) {
        usleep(50000);
        kill(getppid(), SIGKILL);
        _exit(0);
    }
    rc = pier_pool_map(pool, hold_still, numbers, outputs, 20);
    (void)rc;
}

TEST(nobody_outlives_a_program_that_is_killed)
{
    char byte;
    struct pi_process child;
    ck_assert_int_eq(pipe(fds_of_life), 0);
    pid_t pid = pi_fork(&child, 0);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        use_a_pool_and_die();
        _exit(1);
    }
    close(fds_of_life[1]);
    ck_assert_int_eq(read(fds_of_life[0], &byte, 1), 0); /* the last holder has gone */
    ck_assert(pi_process_ends_by(&child, pier_after(10 * PIER_SECOND)));
    ck_assert(WIFSIGNALED(child.status));
    pi_process_close(&child);
}

static int print_it(const void *input, void *output)
{
    printf("worker %d\n", *(const int *)input);
    return 0;
}

TEST(what_workers_print_is_not_lost)
{
    char line[64];
    int lines = 0;
    FILE *out = tmpfile();
    ck_assert_ptr_nonnull(out);
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    dup2(fileno(out), STDOUT_FILENO);
    fcntl(STDOUT_FILENO, F_SETFL, O_APPEND);
    number_inputs();
    struct pier_pool *pool = open_with(2, false);
    struct pier_pool_job job = {
        .count = 100, .fn = print_it, .inputs = inputs, .input_size = sizeof inputs[0]
    };
    ck_assert_int_eq(pier_pool_run(pool, &job), 0);
    pier_pool_close(pool);
    dup2(saved, STDOUT_FILENO);
    rewind(out);
    while (fgets(line, sizeof line, out))
        lines += strncmp(line, "worker ", 7) == 0;
    ck_assert_int_eq(lines, 100);
}

/* ---- misuse, and want of what it takes ---- */

static struct pier_pool *own_pool;

static int map_again(const void *input, void *output)
{
    int64_t result;
    return pier_pool_map(own_pool, square, (const int *)input, &result, 1);
}

TEST(a_worker_does_not_map_on_its_own_pool)
{
    for (int threads = 0; threads < 2; threads++) {
        own_pool = open_with(2, threads);
        number_inputs();
        /* a process has the memory of before own_pool was set, so it is told by its number */
        if (threads)
            ck_assert_int_eq(pier_pool_map(own_pool, map_again, inputs, outputs, 5), -EDEADLK);
        pier_pool_close(own_pool);
    }
}

TEST(wrong_jobs_are_refused_with_words)
{
    struct pier_pool *pool = open_with(1, true);
    struct pier_pool_job job = { .count = 1 };
    ck_assert_int_eq(pier_pool_run(pool, &job), -EINVAL);
    ck_assert_str_eq(pier_error(), "pool: the job has no function");
    job.fn = square;
    job.input_size = 4;
    ck_assert_int_eq(pier_pool_run(pool, &job), -EINVAL);
    job.inputs = inputs;
    job.timeout_ms = 5;
    ck_assert_int_eq(pier_pool_run(pool, &job), -EINVAL);
    ck_assert_ptr_nonnull(strstr(pier_error(), "thread"));
    pier_pool_close(pool);
    ck_assert_ptr_null(pier_pool_open(&(struct pier_pool_opts){ .workers = -1 }));
    ck_assert_int_eq(pier_pool_run(NULL, &job), -EINVAL);
    ck_assert_str_eq(pier_error(), "pool: -1 workers: 1 to 4096 are possible");
    pier_pool_close(NULL);
}

static void *wait_for_close(void *arg)
{
    char byte;
    ck_assert_int_eq(read(*(int *)arg, &byte, 1), 0);
    return NULL;
}

TEST(processes_are_refused_beside_threads_but_an_open_pool_goes_on)
{
    struct pier_pool *pool = open_with(2, false);
    pthread_t threads[2]; /* of which a sanitizer may take one for its own */
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_for_close, fds), 0);
    ck_assert_ptr_null(pier_pool_open(NULL));
    ck_assert_int_eq(pier_error_code(), -EBUSY);
    number_inputs();
    ck_assert_int_eq(pier_pool_map(pool, square, inputs, outputs, MANY), 0);
    all_squares(MANY);
    close(fds[1]);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pier_pool_close(pool);
}

TEST(no_more_descriptors_is_an_error_of_open)
{
    int failed = 0;
    pi_thread_wake_fd(pi_task_self()->thread);
    int before = open_fds();
    for (int more = 0;; more++) {
        struct rlimit limit = { (rlim_t)(before + more), 1024 };
        setrlimit(RLIMIT_NOFILE, &limit);
        struct pier_pool *pool = pier_pool_open(&(struct pier_pool_opts){ .workers = 3 });
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1024, 1024 });
        ck_assert_int_eq(count_descendants() > 0, pool != NULL);
        if (pool) {
            pier_pool_close(pool);
            ck_assert_int_eq(open_fds(), before);
            break;
        }
        ck_assert_int_eq(pier_error_code(), -EMFILE);
        ck_assert_int_eq(open_fds(), before);
        failed++;
        ck_assert_int_lt(more, 40);
    }
    ck_assert_int_gt(failed, 3);
}

static void open_without_processes(void)
{
    for (rlim_t most = 1; most < 7; most++) {
        struct rlimit limit = { most, 10 };
        if (setrlimit(RLIMIT_NPROC, &limit) < 0)
            _exit(10);
        struct pier_pool *pool = pier_pool_open(&(struct pier_pool_opts){ .workers = 4 });
        if (pool && most < 6)
            _exit(11);
        if (!pool && (most >= 6 || pier_error_code() != -EAGAIN))
            _exit(12);
        pier_pool_close(pool);
    }
    _exit(42);
}

/* As a user that nobody else is, so that the count is this test's alone. */
TEST(no_more_processes_is_an_error_of_open)
{
    struct pi_process child;
    if (getuid() != 0)
        test_skip("only root can become somebody else");
#if defined(PI_TSAN)
    test_skip("the sanitizer's own threads count");
#endif
    pid_t pid = pi_fork(&child, 0);
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (setuid((uid_t)(100000 + getpid())) < 0)
            _exit(9);
        open_without_processes();
    }
    ck_assert(pi_process_ends_by(&child, pier_after(15 * PIER_SECOND)));
    ck_assert(WIFEXITED(child.status));
    ck_assert_int_eq(WEXITSTATUS(child.status), 42);
    pi_process_close(&child);
}

/* A request for memory that fails, wherever it is: an error, and nobody left. */
TEST(no_more_memory_is_an_error)
{
    for (int threads = 0; threads < 2; threads++)
        for (long at = 1;; at++) {
            struct pier_pool_item items[3] = { { .input = "a", .len = 1 } };
            struct pier_pool_job job = { .count = 3, .bytes_fn = twice, .items = items };
            long blocks = pi_alloc_count();
            pi_alloc_fail(at);
            struct pier_pool *pool =
                pier_pool_open(&(struct pier_pool_opts){ .workers = 2, .threads = threads });
            int rc = pool ? pier_pool_run(pool, &job) : pier_error_code();
            pier_pool_close(pool);
            bool enough = pi_alloc_fail(0) < at;
            pier_pool_free_results(items, 3);
            ck_assert_int_eq(count_descendants(), 0);
            if (!enough || rc != 0) /* or the helper had none */
                ck_assert_int_eq(rc, -ENOMEM);
            pier_error_set(-EINVAL, "the words are a block, too");
            ck_assert_int_le(pi_alloc_count(), blocks + 1);
            if (rc == 0)
                break;
            ck_assert_int_lt(at, 100);
        }
}

static int map_in_a_simulation(void *arg)
{
    struct pier_pool *pool = pier_pool_open(NULL);
    ck_assert_ptr_nonnull(pool);
    number_inputs();
    ck_assert_int_eq(pier_pool_map(pool, square, inputs, outputs, 50), 0);
    all_squares(50);
    ck_assert_int_eq(pier_pool_map(pool, fail_odd, inputs, outputs, 50), -EDOM);
    struct pier_pool_item items[2] = { { .input = "ab", .len = 2 } };
    struct pier_pool_job job = { .count = 2, .bytes_fn = twice, .items = items };
    ck_assert_int_eq(pier_pool_run(pool, &job), 0);
    ck_assert_int_eq(items[0].result_len, 4);
    pier_pool_free_results(items, 2);
    pier_pool_close(pool);
    return 0;
}

TEST(in_a_simulation_the_caller_does_the_work)
{
    ck_assert_int_eq(pier_sim_run(1, NULL, map_in_a_simulation), 0);
}

HARNESS_MAIN("work_pool")
