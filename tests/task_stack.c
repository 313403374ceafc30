/* SPDX-License-Identifier: MIT */
/* Stacks: guarded for certain, reused, given back, and a clear error where there are no more. */
#include "child.h"
#include "harness.h"

#include "task/task.h"

#include <pier/task.h>
#include <signal.h>
#include <sys/mman.h>

static char *top_of(struct pi_stacks *all)
{
    char *top = pi_stack_get(all);
    if (!top) {
        fprintf(stderr, "no stack: %s\n", pier_error());
        _exit(1);
    }
    return top;
}

/* The third stack of the slab, so that what lies below its guard is another stack. */
static void touch(ptrdiff_t below_bottom)
{
    struct pi_stacks all = { 0 };
    top_of(&all);
    top_of(&all);
    volatile char *bottom = pi_stack_bottom(top_of(&all));
    bottom[0] = 1;
    fprintf(stderr, "touched the bottom\n");
    bottom[-below_bottom] = 1;
    fprintf(stderr, "touched the guard\n");
}

static void touch_guard_end(void)
{
    touch(1);
}

static void touch_guard_start(void)
{
    touch(PI_STACK_GUARD);
}

static void use_mprotect(void)
{
    setenv("PIER_STACK_GUARD", "mprotect", 1);
    if (strcmp(pi_stack_guard_kind(), "mprotect") != 0)
        _exit(1);
}

static void touch_mprotect_guard_end(void)
{
    use_mprotect();
    touch(1);
}

static void touch_mprotect_guard_start(void)
{
    use_mprotect();
    touch(PI_STACK_GUARD);
}

static void check_fault(void (*fn)(void))
{
    struct child c;
    child_run(&c, fn);
    ck_assert_msg(child_died_of(&c, SIGSEGV), "status %x: %s", c.status, c.text);
    ck_assert(child_said(&c, "touched the bottom"));
    ck_assert(!child_said(&c, "touched the guard"));
}

TEST(both_ends_of_a_guard_fault)
{
    check_fault(touch_guard_end);
    check_fault(touch_guard_start);
}

TEST(both_ends_of_an_mprotect_guard_fault)
{
    check_fault(touch_mprotect_guard_end);
    check_fault(touch_mprotect_guard_start);
}

static void report_kind(void)
{
    unsetenv("PIER_STACK_GUARD");
    fprintf(stderr, "%s", pi_stack_guard_kind());
}

TEST(the_kind_of_guards_is_what_the_kernel_offers)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert(page != MAP_FAILED);
    bool offered = madvise(page, 4096, 102 /* MADV_GUARD_INSTALL */) == 0;
    struct child c;
    child_run(&c, report_kind);
    ck_assert_str_eq(c.text, offered ? "guard regions" : "mprotect");
}

static int compare(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    return x < y ? -1 : x > y;
}

TEST(stacks_are_apart_and_aligned)
{
    enum { COUNT = 3000 };
    static char *tops[COUNT];
    struct pi_stacks all = { 0 };
    for (int i = 0; i < COUNT; i++) {
        tops[i] = top_of(&all);
        ck_assert_uint_eq((uintptr_t)tops[i] % 64, 0);
        tops[i][-1] = 1;
    }
    qsort(tops, COUNT, sizeof *tops, compare);
    for (int i = 1; i < COUNT; i++)
        ck_assert(pi_stack_bottom(tops[i]) >= tops[i - 1] + PI_STACK_GUARD);
    pi_stack_fini(&all);
}

TEST(the_stack_given_back_last_is_the_next_one)
{
    struct pi_stacks all = { 0 };
    char *a = top_of(&all), *b = top_of(&all);
    pi_stack_put(&all, a);
    pi_stack_put(&all, b);
    ck_assert_ptr_eq(top_of(&all), b);
    ck_assert_ptr_eq(top_of(&all), a);
    char *c = top_of(&all);
    ck_assert(c != a && c != b);
    pi_stack_fini(&all);
}

/* Pages of memory that the address range takes up. */
static size_t resident(char *from, size_t len)
{
    static unsigned char map[PI_STACK_SIZE / 4096];
    size_t count = 0;
    ck_assert_int_eq(mincore(from, len, map), 0);
    for (size_t i = 0; i < len / 4096; i++)
        count += map[i] & 1;
    return count;
}

TEST(a_free_stack_that_was_deep_gives_its_memory_back_but_for_the_top)
{
    struct pi_stacks all = { 0 };
    char *tops[3];
    size_t usable = PI_STACK_SIZE - PI_STACK_GUARD;
    for (int i = 0; i < 3; i++) {
        tops[i] = top_of(&all);
        memset(tops[i] - 100000, 1, 100000);
        ck_assert_uint_ge(pi_stack_depth(tops[i]), 100000);
    }
    for (int i = 0; i < 3; i++)
        pi_stack_put(&all, tops[i]);
    ck_assert(pi_stack_trim(&all, 2)); /* there is one more */
    ck_assert(!pi_stack_trim(&all, 2));
    for (int i = 0; i < 3; i++)
        ck_assert_uint_le(resident(pi_stack_bottom(tops[i]), usable), 4);
    ck_assert_uint_le(pi_stack_depth(tops[0]), 16384);
    for (int i = 0; i < 3; i++) { /* and they are used again, none twice */
        char *top = top_of(&all);
        ck_assert(top == tops[0] || top == tops[1] || top == tops[2]);
        memset(top - 50000, i + 1, 50000);
    }
    for (int i = 0; i < 3; i++)
        ck_assert(tops[i][-1] != tops[(i + 1) % 3][-1]);
    pi_stack_fini(&all);
}

TEST(of_many_free_stacks_most_keep_nothing_and_all_are_used_again)
{
    enum { COUNT = 300, WARM = 64 };
    static char *tops[COUNT], *again[COUNT];
    struct pi_stacks all = { 0 };
    size_t usable = PI_STACK_SIZE - PI_STACK_GUARD, pages = 0;
    for (int i = 0; i < COUNT; i++)
        memset((tops[i] = top_of(&all)) - 20000, 1, 20000);
    for (int i = 0; i < COUNT; i++)
        pi_stack_put(&all, tops[i]);
    ck_assert(!pi_stack_trim(&all, COUNT));
    for (int i = 0; i < COUNT; i++)
        pages += resident(pi_stack_bottom(tops[i]), usable);
    ck_assert_uint_le(pages, WARM * 4);
    size_t total = all.total;
    for (int i = 0; i < COUNT; i++) {
        again[i] = top_of(&all);
        memcpy(again[i] - sizeof i, &i, sizeof i);
    }
    ck_assert_uint_eq(all.total, total);
    for (int i = 0; i < COUNT; i++) /* none twice */
        ck_assert_int_eq(memcmp(again[i] - sizeof i, &i, sizeof i), 0);
    pi_stack_fini(&all);
}

TEST(fini_gives_the_address_space_back)
{
    test_not_on_valgrind("it takes a question about an unmapped page for an access");
    struct pi_stacks all = { 0 };
    char *page = (char *)((uintptr_t)(top_of(&all) - 1) & ~(uintptr_t)4095);
    for (int i = 0; i < 100; i++)
        top_of(&all);
    ck_assert_int_eq(msync(page, 4096, MS_ASYNC), 0);
    pi_stack_fini(&all);
    ck_assert_int_eq(msync(page, 4096, MS_ASYNC), -1);
    ck_assert_int_eq(errno, ENOMEM);
    pi_stack_fini(&all);
}

TEST(no_memory_for_a_slab_is_an_error)
{
    struct pi_stacks all = { 0 };
    pi_alloc_fail(1);
    ck_assert_ptr_null(pi_stack_get(&all));
    pi_alloc_fail(0);
    ck_assert_int_eq(pier_error_code(), -ENOMEM);
    ck_assert_ptr_nonnull(pi_stack_get(&all));
    pi_stack_fini(&all);
}

static int wait_for_event(void *arg)
{
    return pier_event_wait(arg);
}

/* The limit is met by tasks, and the words reach whoever joins. */
static void run_out(void)
{
    struct pier_event e = { 0 };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    if (pier_spawn(&s, wait_for_event, &e) < 0)
        _exit(1);
    setrlimit(RLIMIT_AS, &(struct rlimit){ 256 << 20, 256 << 20 });
    int rc = 0, count = 0;
    while (rc == 0 && ++count < 100000)
        rc = pier_spawn(&s, wait_for_event, &e);
    int joined = pier_scope_join(&s);
    fprintf(stderr, "%s; %s; %s\n", rc == -ENOMEM ? "spawn failed" : "no",
            joined == rc ? "join agrees" : "no", pier_error());
}

TEST(stacks_that_run_out_are_a_failure_with_words)
{
    if (HAVE_ASAN || HAVE_TSAN)
        test_skip("a sanitizer needs its address space");
    struct child c;
    child_run(&c, run_out);
    ck_assert_int_eq(c.status, 0);
    ck_assert_msg(child_said(&c, "spawn failed; join agrees; task stack: map"), "%s", c.text);
}

static void exhaust_mappings(void)
{
    use_mprotect();
    struct pi_stacks all = { 0 };
    long count = 0;
    while (count < 200000 && pi_stack_get(&all))
        count++;
    fprintf(stderr, "%ld %s\n", count, pier_error());
    int again = pi_stack_get(&all) != NULL;
    pi_stack_fini(&all);
    _exit(count > 1000 && count < 200000 && !again ? 0 : 1);
}

TEST_WITHIN(60, mprotect_guards_end_in_a_clear_error)
{
    test_not_on_valgrind("it cannot keep so many mappings");
    if (HAVE_ASAN || HAVE_TSAN)
        test_skip("a sanitizer needs mappings of its own");
    FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
    long limit = 0;
    if (!f || fscanf(f, "%ld", &limit) != 1 || limit > 100000)
        test_skip("vm.max_map_count is unknown or too high to reach");
    fclose(f);
    struct child c;
    child_run(&c, exhaust_mappings);
    ck_assert_msg(c.status == 0, "status %x: %s", c.status, c.text);
    ck_assert_msg(child_said(&c, "task stack: "), "%s", c.text);
    ck_assert_msg(child_said(&c, "max_map_count"), "%s", c.text);
}

HARNESS_MAIN("task_stack")
