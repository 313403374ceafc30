/* SPDX-License-Identifier: MIT */
/*
 * task/thread.c - the part of a thread that other threads may touch: its inbox, and how it is woken
 * from sleep.
 *
 * A sender pushes its message, then looks whether the thread sleeps; the thread announces its
 * sleep, then looks whether a message came. Both are sequentially consistent, so one of them sees
 * the other. Everything here but thread start and end is lock-free and safe in signal handlers.
 */
#define _GNU_SOURCE
#include "task/task.h"

#include "base/assert.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

static PI_THREAD_LOCAL struct pi_thread this_thread;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

/* A sender may still be between its push and its wake-up: wait for it, a few instructions. */
static void thread_exit(void *ptr)
{
    struct pi_thread *th = ptr;
    if (th->root.scope) {
        fprintf(stderr, "pier: thread \"%s\" ended with the scope of %s:%d open\n", th->root.name,
                th->root.scope->file, th->root.scope->line);
        abort();
    }
    while (atomic_load(&th->posting) > 0)
        sched_yield();
    pi_thread_drain(th); /* a request for a dump is its thread's to free */
    if (th->wake_fd >= 0)
        close(th->wake_fd);
    th->wake_fd = -1;
    pi_err_self = NULL;
    pi_err_fini(&th->root.err);
    th->known = false;
}

static void make_exit_key(void)
{
    int rc = pthread_key_create(&exit_key, thread_exit);
    PIER_ASSERT(rc == 0);
}

/* What failed on this thread before its first call of the runtime. */
static void keep_failure(struct pi_err *err)
{
    int code = pier_error_code();
    if (code < 0)
        *err = (struct pi_err){ code, pier_exit_code(), pi_strdup(pier_error()) };
}

struct pi_task *pi_task_first(void)
{
    struct pi_thread *th = &this_thread;
    if (!th->known) {
        pthread_once(&exit_once, make_exit_key);
        pthread_setspecific(exit_key,
                            th); /* without memory for it only the eventfd is left behind */
        th->wake_fd = -1;
        th->root.thread = th;
        th->root.name = "thread";
        th->root.born_ns = pi_clock_ns();
        pi_context_init_thread(&th->root.context);
        keep_failure(&th->root.err);
        th->known = true;
    }
    pi_err_self = &th->root.err;
    return &th->root;
}

static void wake(struct pi_thread *th)
{
    uint32_t how = atomic_exchange(&th->sleeping, PI_AWAKE);
    if (how == PI_SLEEPS_FUTEX) {
        syscall(SYS_futex, &th->sleeping, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    } else if (how == PI_SLEEPS_FD) {
        pi_thread_raise_wake_fd(th);
    } else if (how == PI_SLEEPS_READ) {
        syscall(SYS_tgkill, getpid(), th->tid, PI_WAKE_SIGNAL);
    }
}

void pi_thread_post(struct pi_thread *th, struct pi_msg *msg)
{
    int saved = errno; /* a signal handler may call this */
    atomic_fetch_add(&th->posting, 1);
    struct pi_msg *head = atomic_load(&th->inbox);
    do
        msg->next = head;
    while (!atomic_compare_exchange_weak(&th->inbox, &head, msg));
    if (atomic_load(&th->sleeping) != PI_AWAKE)
        wake(th);
    atomic_fetch_sub(&th->posting, 1);
    errno = saved;
}

bool pi_thread_drain(struct pi_thread *th)
{
    if (!pi_thread_has_mail(th))
        return false;
    struct pi_msg *newest = atomic_exchange(&th->inbox, NULL);
    struct pi_msg *oldest = NULL;
    while (newest) {
        struct pi_msg *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct pi_msg *msg = oldest;
        oldest = msg->next;
        msg->run(msg);
    }
    return true;
}

int pi_thread_wake_fd(struct pi_thread *th)
{
    if (th->wake_fd < 0) {
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (fd < 0)
            return -errno;
        th->wake_fd = fd;
    }
    return th->wake_fd;
}

PI_HOT bool pi_thread_sleep(struct pi_thread *th, uint32_t how)
{
    atomic_store(&th->sleeping, how);
    if (atomic_load(&th->inbox) == NULL)
        return true;
    atomic_store(&th->sleeping, PI_AWAKE);
    return false;
}

PI_HOT void pi_thread_awake(struct pi_thread *th)
{
    atomic_store_explicit(&th->sleeping, PI_AWAKE, memory_order_relaxed);
}

void pi_thread_raise_wake_fd(struct pi_thread *th)
{
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(th->wake_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    PIER_ASSERT(n == sizeof one || errno == EAGAIN); /* EAGAIN: it is readable as it is */
}

void pi_thread_clear_wake_fd(struct pi_thread *th)
{
    uint64_t count;
    ssize_t n = read(th->wake_fd, &count, sizeof count);
    PIER_ASSERT(n == sizeof count || errno == EAGAIN || errno == EINTR);
}

void pi_thread_after_fork(void)
{
    struct pi_task *self = pi_task_self();
    struct pi_thread *th = self->thread;
    struct pi_context here = self->context;
    struct pi_err err = { 0 };
    if (th->loop)
        pi_loop_after_fork(th->loop);
    if (th->wake_fd >= 0)
        close(th->wake_fd);
    pi_err_move(&err, &self->err);
    memset(&th->root, 0, sizeof th->root);
    th->root.thread = th;
    th->root.name = "thread";
    th->root.born_ns = pi_clock_ns();
    th->root.context = here;
    th->root.err = err;
    th->loop = NULL;
    th->wake_fd = -1;
    th->tid = 0;
    atomic_store(&th->blocked, NULL);
    th->watched = false;
    th->next_watched = NULL;
    atomic_store(&th->inbox, NULL);
    atomic_store(&th->sleeping, PI_AWAKE);
    atomic_store(&th->posting, 0);
    pi_err_self = &th->root.err;
}

static void block_signals(sigset_t *before)
{
    static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS };
    sigset_t all;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

int pi_thread_start(pthread_t *id, void *(*fn)(void *), void *arg, size_t stack)
{
    pthread_attr_t attr;
    pthread_t own;
    int rc = pthread_attr_init(&attr);
    if (rc)
        return -rc;
    if (!id)
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (stack)
        pthread_attr_setstacksize(&attr, stack);
    sigset_t before;
    block_signals(&before);
    rc = pthread_create(id ? id : &own, &attr, fn, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return -rc;
}
