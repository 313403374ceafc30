/* SPDX-License-Identifier: MIT */
/*
 * task/switch.h - moving the processor from one stack to another, and telling the sanitizers.
 *
 * pi_switch() saves what the ABI says a call preserves, less the floating-point control words:
 * those belong to the thread.
 */
#ifndef PI_TASK_SWITCH_H
#define PI_TASK_SWITCH_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define PI_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PI_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define PI_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PI_TSAN 1
#endif
#endif
#if defined(PI_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

struct pi_context {
    void *sp;          /* where a context that is not running left off */
    void *ip, *fp;     /* x86-64 only */
    char *bottom;      /* lowest usable byte of its stack */
    size_t size;       /* usable bytes */
    void *sanitizer;   /* ASan's fake stack or TSan's fibre */
    unsigned valgrind; /* Valgrind's number of the stack */
};

/* Describes the stack the caller runs on, a thread's own. */
void pi_context_init_thread(struct pi_context *c);

/* What a context runs: pi_switch_entered() first; in the end it returns pi_switch_last(), the
 * context that goes on. It returns, and does not jump from within, so that calls and returns stay
 * paired for the processor. */
typedef struct pi_context *(*pi_context_fn)(void *arg);

/* Prepares c so that the first switch to it calls entry(arg) on the stack [bottom, top). */
void pi_context_init(struct pi_context *c, char *bottom, char *top, pi_context_fn entry, void *arg);

/* A context that ends for good; it may be the running one if pi_switch_last() follows. */
void pi_context_fini(struct pi_context *c);

/* What the sanitizers must know before a switch (dying: from never runs again) and after it;
 * nothing in other builds. The first thing that entry() does is pi_switch_entered(). */
void pi_switch_leaves(struct pi_context *from, struct pi_context *to, bool dying);
void pi_switch_entered(struct pi_context *self);

/* A function that switches TSan to another fibre must not return on that one: TSan counts calls and
 * returns by fibre. */
#if defined(PI_TSAN)
#define pi_switch_fibre(to) __tsan_switch_to_fiber((to)->sanitizer, 0)
#else
#define pi_switch_fibre(to) (void)0
#endif

#if defined(__x86_64__) && !defined(PI_UCONTEXT)

/* Registers that a compiler may use for more than the baseline; a call clobbers them, so a switch
 * does. */
#if defined(__AVX512F__)
#define PI_SWITCH_AVX512                                                                          \
    "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",     \
        "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", \
        "k7",
#else
#define PI_SWITCH_AVX512
#endif

/* Inline, and by an indirect jump: a call that is left by a jump, like a return to another stack,
 * puts the processor's stack of predicted returns out of step, and every return of the task that
 * goes on is then mispredicted (yield: 22 ns against 10). This way the returns are those of the
 * same path in another task, which is what most switches are. Nothing is pushed: the compiler may
 * use the red zone. */
static inline void pi_switch_raw(struct pi_context *from, struct pi_context *to)
{
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "movq %%rsp, 0(%%rdi)\n\t"
                     "movq %%rax, 8(%%rdi)\n\t"
                     "movq %%rbp, 16(%%rdi)\n\t"
                     "movq 0(%%rsi), %%rsp\n\t"
                     "movq 16(%%rsi), %%rbp\n\t"
                     "jmpq *8(%%rsi)\n"
                     "1:\n\t"
                     : "+D"(from), "+S"(to)
                     :
                     : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
                       "r15", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                       "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st",
                       "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)",
                       PI_SWITCH_AVX512 "memory", "cc");
}

#else
void pi_switch_raw(struct pi_context *from, struct pi_context *to);
#endif

/* Leaves from and goes on in to; returns when something switches back. */
static inline void pi_switch(struct pi_context *from, struct pi_context *to)
{
#if defined(PI_ASAN) || defined(PI_TSAN)
    pi_switch_leaves(from, to, false);
    pi_switch_fibre(to);
    pi_switch_raw(from, to);
    pi_switch_entered(from);
#else
    pi_switch_raw(from, to);
#endif
}

/* Leaves from for ever: what an entry function returns. The sanitizers count calls and returns by
 * fibre, so in their builds it does not return to the entry function, but switches here. */
static inline struct pi_context *pi_switch_last(struct pi_context *from, struct pi_context *to)
{
#if defined(PI_ASAN) || defined(PI_TSAN)
    pi_switch_leaves(from, to, true);
    pi_switch_fibre(to);
    pi_switch_raw(from, to);
#endif
    return to;
}

#endif
