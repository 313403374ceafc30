/* SPDX-License-Identifier: MIT */
/*
 * What a task keeps across a switch, and that a bug inside a task is reported as anywhere else:
 * bugs are planted in child processes.
 */
#include "child.h"
#include "harness.h"

#include "task/task.h"

#include <pier/task.h>
#include <pthread.h>
#include <signal.h>

/* ---- what survives ---- */

struct mix {
    uint64_t seed;
    bool yields;
    uint64_t sum;
    double fsum;
};

/* More live values than there are registers that a call preserves. */
static int mix_values(void *arg)
{
    struct mix *m = arg;
    uint64_t a = m->seed, b = a * 3, c = a * 5, d = a * 7, e = a * 11, f = a * 13, g = a * 17;
    double x = (double)a, y = x / 3, z = x / 7;
    unsigned char bytes[3000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(a + i);
    for (int i = 0; i < 1000; i++) {
        if (m->yields)
            pier_yield();
        a += b ^ c, b += c ^ d, c += d ^ e, d += e ^ f, e += f ^ g, f += g ^ a, g += a ^ b;
        x += y / 2, y += z / 3, z += x / 1e6;
    }
    uint64_t sum = a + b + c + d + e + f + g;
    for (size_t i = 0; i < sizeof bytes; i++)
        sum += bytes[i] * i;
    m->sum = sum;
    m->fsum = x + y + z;
    return 0;
}

TEST(registers_and_stack_survive_switches)
{
    enum { COUNT = 20 };
    struct mix straight[COUNT], switched[COUNT];
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < COUNT; i++) {
        straight[i] = (struct mix){ .seed = (uint64_t)i * 0x9e3779b97f4a7c15u + 1 };
        switched[i] = straight[i];
        switched[i].yields = true;
        mix_values(&straight[i]);
        ck_assert_int_eq(pier_spawn(&s, mix_values, &switched[i]), 0);
    }
    ck_assert_int_eq(pier_scope_join(&s), 0);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(straight[i].sum, switched[i].sum);
        ck_assert(straight[i].fsum == switched[i].fsum);
    }
}

#if defined(__x86_64__)
/* Each register that a call preserves holds a value of its own across a switch. */
static bool registers_survive(uint64_t value)
{
    uint64_t bad;
    int (*yield)(void) = pier_yield;
    __asm__ volatile("subq $128, %%rsp\n" /* the red zone */
                     "pushq %%rbp\n"
                     "movq %%rsp, %%rbx\n"
                     "andq $-16, %%rsp\n"
                     "pushq %%rbx\n"
                     "pushq %[value]\n"
                     "movq %[value], %%rbx\n"
                     "leaq 1(%%rbx), %%r12\n"
                     "leaq 2(%%rbx), %%r13\n"
                     "leaq 3(%%rbx), %%r14\n"
                     "leaq 4(%%rbx), %%r15\n"
                     "leaq 5(%%rbx), %%rbp\n"
                     "callq *%[yield]\n"
                     "popq %%rcx\n"
                     "xorq %%rcx, %%rbx\n"
                     "subq %%rcx, %%r12\n"
                     "subq %%rcx, %%r13\n"
                     "subq %%rcx, %%r14\n"
                     "subq %%rcx, %%r15\n"
                     "subq %%rcx, %%rbp\n"
                     "subq $1, %%r12\n"
                     "subq $2, %%r13\n"
                     "subq $3, %%r14\n"
                     "subq $4, %%r15\n"
                     "subq $5, %%rbp\n"
                     "movq %%rbx, %%rax\n"
                     "orq %%r12, %%rax\n"
                     "orq %%r13, %%rax\n"
                     "orq %%r14, %%rax\n"
                     "orq %%r15, %%rax\n"
                     "orq %%rbp, %%rax\n"
                     "popq %%rsp\n"
                     "popq %%rbp\n"
                     "addq $128, %%rsp\n"
                     : "=&a"(bad), [value] "+D"(value), [yield] "+d"(yield)
                     :
                     : "rbx", "rcx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
                       "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                       "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14",
                       "xmm15");
    return bad == 0;
}

static int keep_registers(void *arg)
{
    uint64_t value = (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < 100; i++)
        if (!registers_survive(value << 32 | (uint64_t)i))
            return -EIO;
    return 0;
}

TEST(each_preserved_register_survives_a_switch)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (uintptr_t i = 1; i < 4; i++)
        ck_assert_int_eq(pier_spawn(&s, keep_registers, (void *)(i * 0x1234567)), 0);
    ck_assert_int_eq(pier_scope_join(&s), 0);
}
#endif

static int check_alignment(void *arg)
{
    bool *aligned = arg;
    *aligned = (uintptr_t)__builtin_frame_address(0) % 16 == 0;
    return 0;
}

TEST(stacks_are_aligned_as_the_abi_says)
{
    bool aligned[16] = { false };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 16; i++) /* more than there are colours */
        ck_assert_int_eq(pier_spawn(&s, check_alignment, &aligned[i]), 0);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    for (int i = 0; i < 16; i++)
        ck_assert(aligned[i]);
}

static int say_failure(void *arg)
{
    char *out = arg;
    pier_error_set(-EIO, "task %c", out[0]);
    pier_yield();
    snprintf(out + 1, 60, "%s", pier_error());
    return 0;
}

TEST(each_task_has_its_own_last_failure)
{
    char a[64] = "a", b[64] = "b";
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, say_failure, a);
    pier_spawn(&s, say_failure, b);
    pier_error_set(-EPERM, "root");
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_str_eq(a + 1, "task a: input/output error");
    ck_assert_str_eq(b + 1, "task b: input/output error");
    ck_assert_str_eq(pier_error(), "root: operation not permitted");
}

/* ---- planted bugs ---- */

static void run_one(pier_task_fn fn)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn_named(&s, "planted", fn, NULL);
    pier_scope_join(&s);
}

static int use_after_free(void *arg)
{
    char *volatile p = malloc(64);
    pier_yield();
    uintptr_t hidden = (uintptr_t)p; /* from the compiler's warnings */
    free(p);
    pier_yield();
    __asm__("" : "+r"(hidden));
    return *(volatile char *)(hidden + 7);
}

static void plant_use_after_free(void)
{
    run_one(use_after_free);
}

TEST(asan_reports_a_use_after_free_in_a_task)
{
    if (!HAVE_ASAN)
        test_skip("this is no ASan build");
    struct child c;
    child_run(&c, plant_use_after_free);
    ck_assert_int_ne(c.status, 0);
    ck_assert_msg(child_said(&c, "heap-use-after-free"), "%s", c.text);
    ck_assert_msg(child_said(&c, "use_after_free"), "the backtrace: %s", c.text);
}

static int overrun_a_local(void *arg)
{
    char local[16];
    char *volatile p = local;
    pier_yield();
    memset(p, 1, 16);
    pier_yield();
    p[16] = 1;
    return p[3];
}

static void plant_overrun(void)
{
    run_one(overrun_a_local);
}

TEST(asan_reports_an_overrun_on_a_tasks_stack)
{
    if (!HAVE_ASAN)
        test_skip("this is no ASan build");
    struct child c;
    child_run(&c, plant_overrun);
    ck_assert_int_ne(c.status, 0);
    ck_assert_msg(child_said(&c, "stack-buffer-overflow"), "%s", c.text);
}

static int racy_counter;

static void *race_in_thread(void *arg)
{
    for (int i = 0; i < 1000; i++)
        racy_counter++;
    return arg;
}

static int race_in_task(void *arg)
{
    pthread_t thread;
    pthread_create(&thread, NULL, race_in_thread, NULL);
    for (int i = 0; i < 1000; i++) {
        racy_counter++;
        pier_yield();
    }
    pthread_join(thread, NULL);
    return 0;
}

static void plant_race(void)
{
    run_one(race_in_task);
}

TEST(tsan_reports_a_race_between_a_task_and_a_thread)
{
    if (!HAVE_TSAN)
        test_skip("this is no TSan build");
    struct child c;
    child_run(&c, plant_race);
    ck_assert_msg(child_said(&c, "data race"), "%s", c.text);
}

static int shared_by_tasks;

static int add_and_yield(void *arg)
{
    for (int i = 0; i < 100; i++) {
        shared_by_tasks++;
        pier_yield();
    }
    return 0;
}

static void share_between_tasks(void)
{
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < 4; i++)
        pier_spawn(&s, add_and_yield, NULL);
    pier_scope_join(&s);
}

TEST(sanitizers_find_no_fault_with_tasks_of_one_loop)
{
    struct child c;
    child_run(&c, share_between_tasks);
    ck_assert_int_eq(c.status, 0);
    ck_assert_str_eq(c.text, "");
}

__attribute__((noinline)) static int recurse(int depth)
{
    volatile char page[1024];
    page[depth % 1024] = (char)depth;
    int below = depth < 1 << 30 ? recurse(depth + 1) : 0;
    return below + page[depth % 1024];
}

static int overflow(void *arg)
{
    pier_yield();
    return recurse(0);
}

static void plant_overflow(void)
{
    run_one(overflow);
}

TEST(an_overflow_into_the_guard_ends_the_process)
{
    struct child c;
    child_run(&c, plant_overflow);
    ck_assert_msg(child_died_of(&c, SIGSEGV), "status %x: %s", c.status, c.text);
    if (HAVE_ASAN)
        ck_assert_msg(child_said(&c, "stack-overflow"), "%s", c.text);
    else if (!HAVE_TSAN)
        ck_assert_msg(child_said(&c, "task \"planted\" overflowed its stack"), "%s", c.text);
}

static int send_sigsegv(void *arg)
{
    kill(getpid(), SIGSEGV);
    fputs("survived\n", stderr);
    return 0;
}

static void plant_sigsegv(void)
{
    run_one(send_sigsegv);
}

/* It is no fault that would come again. */
TEST(a_sigsegv_that_is_sent_ends_the_process_at_once)
{
    struct child c;
    child_run(&c, plant_sigsegv);
    ck_assert_msg(child_died_of(&c, SIGSEGV), "status %x: %s", c.status, c.text);
    ck_assert(!child_said(&c, "survived"));
    ck_assert(!child_said(&c, "overflowed"));
}

HARNESS_MAIN("task_switch")
