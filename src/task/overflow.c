/* SPDX-License-Identifier: MIT */
/*
 * task/overflow.c - a task that runs into its guard is named before the process dies of it.
 *
 * While loops exist, and if nobody else handles SIGSEGV, faults are looked at on a signal stack of
 * the thread's own: one in the running task's guard gets a line on standard error. Then the default
 * action follows, with the same fault, or with a signal that was sent instead.
 */
#define _GNU_SOURCE
#include "task/task.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

enum { SIGNAL_STACK = 16 * 1024 }; /* the frame of AVX-512 takes 3 KiB of it */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int loops;
static bool installed;
static struct sigaction before;

static void say(const char *text)
{
    ssize_t n = write(STDERR_FILENO, text, strlen(text));
    (void)n; /* the process ends anyway */
}

static void name_overflow(const char *at)
{
    struct pi_task *t = pi_task_self();
    char *bottom = t->context.bottom;
    if (!t->home || at >= bottom || at < bottom - PI_STACK_GUARD)
        return;
    say("pier: task \"");
    say(t->name);
    say("\" overflowed its stack\n");
}

/* A fault comes again by itself; what was sent, by kill(2) and its like, would not. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    bool was_sent = info->si_code <= 0;
    if (!was_sent)
        name_overflow(info->si_addr);
    sigaction(number, &before, NULL);
    if (was_sent)
        raise(number); /* blocked until this returns */
}

static void install(void)
{
    sigaction(SIGSEGV, NULL, &before);
    installed = !(before.sa_flags & SA_SIGINFO) && before.sa_handler == SIG_DFL;
    if (!installed)
        return;
    struct sigaction ours = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigaction(SIGSEGV, &ours, NULL);
}

/* Without memory for a signal stack an overflow is still a fault, only without a name. */
void pi_overflow_watch(struct pi_loop *loop)
{
    stack_t present;
    loop->signal_stack = NULL;
    if (sigaltstack(NULL, &present) < 0 || !(present.ss_flags & SS_DISABLE))
        return;
    loop->signal_stack = pi_alloc(SIGNAL_STACK);
    if (!loop->signal_stack)
        return;
    stack_t ours = { .ss_sp = loop->signal_stack, .ss_size = SIGNAL_STACK };
    sigaltstack(&ours, NULL);
    pthread_mutex_lock(&lock);
    if (loops++ == 0)
        install();
    pthread_mutex_unlock(&lock);
}

void pi_overflow_unwatch(struct pi_loop *loop)
{
    if (!loop->signal_stack)
        return;
    pthread_mutex_lock(&lock);
    if (--loops == 0 && installed)
        sigaction(SIGSEGV, &before, NULL);
    pthread_mutex_unlock(&lock);
    stack_t none = { .ss_flags = SS_DISABLE };
    sigaltstack(&none, NULL);
    pi_free(loop->signal_stack);
    loop->signal_stack = NULL;
}
