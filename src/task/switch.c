/* SPDX-License-Identifier: MIT */
/*
 * task/switch.c - the context switch: assembly for x86-64 and aarch64, ucontext(3) elsewhere.
 *
 * The ABIs let a call clobber most registers, so a switch saves only the rest (System V AMD64 psABI
 * 3.2.1; AAPCS64 6.1.1). That of x86-64 is inline, in switch.h.
 */
#define _GNU_SOURCE
#include "task/switch.h"

#include "base/assert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#if defined(PI_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(PI_HAVE_VALGRIND)
#include <valgrind/valgrind.h>
#endif

void pi_switch_start(void);

#if defined(__x86_64__) && !defined(PI_UCONTEXT)

_Static_assert(offsetof(struct pi_context, sp) == 0, "known to the assembly of switch.h");
_Static_assert(offsetof(struct pi_context, ip) == 8, "known to the assembly of switch.h");
_Static_assert(offsetof(struct pi_context, fp) == 16, "known to the assembly of switch.h");

/* A new context begins here, its argument and function on the stack; backtraces end here. */
__asm__(".text\n"
        ".globl pi_switch_start\n"
        ".hidden pi_switch_start\n"
        ".type pi_switch_start,@function\n"
        ".p2align 4\n"
        "pi_switch_start:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined rip\n"
        "    popq %rdi\n"
        "    popq %rax\n"
        "    callq *%rax\n"
        "    movq 0(%rax), %rsp\n"
        "    movq 16(%rax), %rbp\n"
        "    jmpq *8(%rax)\n"
        "    .cfi_endproc\n"
        ".size pi_switch_start,.-pi_switch_start\n");

/* After the two pops the stack is aligned to 16, as a call wants it. */
static void first_frame(struct pi_context *c, char *top, pi_context_fn entry, void *arg)
{
    uintptr_t *frame = (uintptr_t *)((uintptr_t)top & ~(uintptr_t)15) - 2;
    frame[0] = (uintptr_t)arg;
    frame[1] = (uintptr_t)entry;
    c->sp = frame;
    c->ip = (void *)pi_switch_start;
    c->fp = NULL;
}

#elif defined(__aarch64__) && !defined(PI_UCONTEXT)

__asm__(".text\n"
        ".globl pi_switch_raw\n"
        ".hidden pi_switch_raw\n"
        ".type pi_switch_raw,%function\n"
        ".p2align 4\n"
        "pi_switch_raw:\n"
        "    stp x19, x20, [sp, #-160]!\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "pi_switch_load:\n"
        "    ldr x9, [x1]\n"
        "    mov sp, x9\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    ldp x19, x20, [sp], #160\n"
        "    br x30\n"
        ".size pi_switch_raw,.-pi_switch_raw\n"
        ".globl pi_switch_start\n"
        ".hidden pi_switch_start\n"
        ".type pi_switch_start,%function\n"
        ".p2align 4\n"
        "pi_switch_start:\n"
        "    .cfi_startproc\n"
        "    .cfi_undefined x30\n"
        "    mov x0, x19\n"
        "    blr x20\n"
        "    mov x1, x0\n"
        "    b pi_switch_load\n"
        "    .cfi_endproc\n"
        ".size pi_switch_start,.-pi_switch_start\n");

static void first_frame(struct pi_context *c, char *top, pi_context_fn entry, void *arg)
{
    uintptr_t *frame = (uintptr_t *)((uintptr_t)top & ~(uintptr_t)15) - 20;
    for (int i = 0; i < 20; i++)
        frame[i] = 0;
    frame[0] = (uintptr_t)arg;              /* x19 */
    frame[1] = (uintptr_t)entry;            /* x20 */
    frame[11] = (uintptr_t)pi_switch_start; /* x30 */
    c->sp = frame;
}

#else

#include <ucontext.h>

/* sp points at a ucontext_t that lives in the frame of pi_switch_raw(), or at the bottom of a new
 * stack. */
void pi_switch_raw(struct pi_context *from, struct pi_context *to)
{
    ucontext_t here;
    from->sp = &here;
    int rc = swapcontext(&here, to->sp);
    PIER_ASSERT(rc == 0);
}

static void start_from_halves(unsigned e1, unsigned e2, unsigned a1, unsigned a2)
{
    pi_context_fn entry = (pi_context_fn)(((uintptr_t)e1 << 16 << 16) | e2);
    setcontext(entry((void *)(((uintptr_t)a1 << 16 << 16) | a2))->sp);
}

static void first_frame(struct pi_context *c, char *top, pi_context_fn entry, void *arg)
{
    ucontext_t *u = (ucontext_t *)((uintptr_t)(top - sizeof(ucontext_t)) & ~(uintptr_t)63);
    int rc = getcontext(u);
    PIER_ASSERT(rc == 0);
    u->uc_link = NULL;
    u->uc_stack.ss_size = 64 * 1024;
    u->uc_stack.ss_sp = (char *)u - u->uc_stack.ss_size;
    uintptr_t e = (uintptr_t)entry, a = (uintptr_t)arg;
    makecontext(u, (void (*)(void))start_from_halves, 4, (unsigned)(e >> 16 >> 16), (unsigned)e,
                (unsigned)(a >> 16 >> 16), (unsigned)a);
    c->sp = u;
}

#endif

#if defined(PI_HAVE_VALGRIND)
/* Asked once: even without Valgrind the question takes 2 ns, and a task would put it twice. */
static bool is_on_valgrind(void)
{
    static _Atomic int answer; /* 0: not asked yet, 1: no, 2: yes */
    int known = atomic_load_explicit(&answer, memory_order_relaxed);
    if (known == 0)
        atomic_store_explicit(&answer, known = RUNNING_ON_VALGRIND ? 2 : 1, memory_order_relaxed);
    return known == 2;
}
#endif

void pi_context_init_thread(struct pi_context *c)
{
    *c = (struct pi_context){ 0 };
#if defined(PI_ASAN)
    pthread_attr_t attr;
    if (pthread_getattr_np(pthread_self(), &attr) == 0) {
        void *bottom = NULL;
        pthread_attr_getstack(&attr, &bottom, &c->size);
        c->bottom = bottom;
        pthread_attr_destroy(&attr);
    }
#elif defined(PI_TSAN)
    c->sanitizer = __tsan_get_current_fiber();
#endif
}

void pi_context_init(struct pi_context *c, char *bottom, char *top, pi_context_fn entry, void *arg)
{
    c->bottom = bottom;
    c->size = (size_t)(top - bottom);
#if defined(PI_ASAN)
    __asan_unpoison_memory_region(bottom,
                                  c->size); /* frames of the last user that never returned */
    c->sanitizer = NULL;
#elif defined(PI_TSAN)
    c->sanitizer = __tsan_create_fiber(0);
#endif
#if defined(PI_HAVE_VALGRIND)
    if (is_on_valgrind())
        c->valgrind = VALGRIND_STACK_REGISTER(bottom, top);
#endif
    first_frame(c, top, entry, arg);
}

void pi_context_fini(struct pi_context *c)
{
#if defined(PI_HAVE_VALGRIND)
    if (is_on_valgrind())
        VALGRIND_STACK_DEREGISTER(c->valgrind);
#endif
#if defined(PI_TSAN)
    if (c->sanitizer && c->sanitizer != __tsan_get_current_fiber()) { /* a poller */
        __tsan_destroy_fiber(c->sanitizer);
        c->sanitizer = NULL;
    }
#endif
    c->valgrind = 0;
}

#if defined(PI_TSAN)
/* A fibre cannot be destroyed while it runs: the one that comes next does it. */
static _Thread_local void *dead_fibre;

static void bury_dead_fibre(void)
{
    if (dead_fibre)
        __tsan_destroy_fiber(dead_fibre);
    dead_fibre = NULL;
}
#endif

void pi_switch_entered(struct pi_context *self)
{
#if defined(PI_ASAN)
    __sanitizer_finish_switch_fiber(self->sanitizer, NULL, NULL);
#elif defined(PI_TSAN)
    bury_dead_fibre();
#endif
}

void pi_switch_leaves(struct pi_context *from, struct pi_context *to, bool dying)
{
#if defined(PI_ASAN)
    __sanitizer_start_switch_fiber(dying ? NULL : &from->sanitizer, to->bottom, to->size);
#elif defined(PI_TSAN)
    if (dying)
        dead_fibre = from->sanitizer;
#endif
}
