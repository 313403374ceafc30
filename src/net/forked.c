/* SPDX-License-Identifier: MIT */
/*
 * net/forked.c - forking a process of a server's, being one, and being told of its end; see
 * forked.h.
 *
 * All signals stay blocked from before the fork until the child has its own handlers: none meets it
 * with its parent's.
 */
#define _GNU_SOURCE
#include "net/forked.h"

#include "base/assert.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_AGAIN_MS = 50 };

static sigset_t mask; /* as it was before the fork: the child needs it, too */

/* ---- the signal of an end ---- */

static struct sigaction ends_before;
static bool ends_were_ignored;

void pi_forked_open(void)
{
    struct sigaction standard = { .sa_handler = SIG_DFL };
    sigaction(SIGCHLD, NULL, &ends_before);
    ends_were_ignored = (ends_before.sa_flags & SA_NOCLDWAIT) ||
                        (!(ends_before.sa_flags & SA_SIGINFO) && ends_before.sa_handler == SIG_IGN);
    if (ends_were_ignored)
        sigaction(SIGCHLD, &standard, NULL);
}

void pi_forked_close(void)
{
    if (ends_were_ignored)
        sigaction(SIGCHLD, &ends_before, NULL);
    ends_were_ignored = false;
}

/* ---- the parent's side ---- */

static struct pi_timers *timers(void)
{
    return &pi_task_self()->thread->loop->timers;
}

static void await_end(struct pi_forked *f);

static void look(struct pi_forked *f)
{
    if (!pi_process_reap(&f->process)) {
        await_end(f);
        return;
    }
    pi_timer_disarm(timers(), &f->again);
    pi_timer_unreserve(timers());
    pi_process_close(&f->process);
    f->ended(f);
}

static void pidfd_is_ready(struct io_op *op)
{
    look(PI_CONTAINER_OF(op, struct pi_forked, op));
}

static void time_to_look(struct pi_timer *timer)
{
    look(PI_CONTAINER_OF(timer, struct pi_forked, again));
}

/* Without memory for the wait it looks now and then. */
static void await_end(struct pi_forked *f)
{
    f->op = (struct io_op){
        .code = IO_POLL, .fd = &f->process.end, .len = POLLIN, .done = pidfd_is_ready
    };
    if (io_arm(&f->op) < 0)
        pi_timer_arm(timers(), &f->again, pier_after(LOOK_AGAIN_MS * PIER_MILLISECOND));
}

pid_t pi_forked_start(struct pi_forked *f, void (*ended)(struct pi_forked *f))
{
    sigset_t all;
    *f = (struct pi_forked){ .ended = ended, .again.fire = time_to_look };
    if (pi_timer_reserve(timers()) < 0)
        return pi_fail(-ENOMEM, "fork");
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    pid_t pid = pi_fork(&f->process, PI_FORK_DIES_WITH_PARENT);
    if (pid == 0)
        return 0;
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (pid > 0)
        await_end(f);
    else
        pi_timer_unreserve(timers());
    return pid;
}

/* By its descriptor: somebody else may have reaped it, and its number be another process's. */
void pi_forked_signal(const struct pi_forked *f, int number)
{
    syscall(SYS_pidfd_send_signal, f->process.end.fd, number, NULL, 0);
}

bool pi_forked_failed(const struct pi_forked *f)
{
    int status = f->process.status;
    return !f->process.error && !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

const char *pi_forked_words(char words[PI_FORKED_WORDS], const struct pi_forked *f)
{
    int status = f->process.status;
    const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;
    if (f->process.error)
        snprintf(words, PI_FORKED_WORDS, "process ended, and somebody else has reaped it");
    else if (WIFEXITED(status))
        snprintf(words, PI_FORKED_WORDS, "process exited with status %d", WEXITSTATUS(status));
    else if (name)
        snprintf(words, PI_FORKED_WORDS, "process was killed by SIG%s", name);
    else
        snprintf(words, PI_FORKED_WORDS, "process was killed by signal %d", WTERMSIG(status));
    return words;
}

/* ---- the child's side ---- */

static struct {
    struct pi_msg msg;
    struct pi_thread *thread;
    _Atomic bool posted;
    void (*told)(void *arg);
    void *arg;
} hearing;

static void run_told(struct pi_msg *msg)
{
    atomic_store(&hearing.posted, false);
    hearing.told(hearing.arg);
}

static void on_term(int number)
{
    if (!atomic_exchange(&hearing.posted, true))
        pi_thread_post(hearing.thread, &hearing.msg);
}

/* Not SIG_IGN, which programs that a handler starts would inherit. */
static void on_int(int number)
{
}

static void set_handler(int number, void (*handler)(int number))
{
    struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
    sigdelset(&mask, number);
}

void pi_forked_begin(void (*told)(void *arg), void *arg)
{
    hearing.msg.run = run_told;
    hearing.thread = pi_task_self()->thread;
    hearing.told = told;
    hearing.arg = arg;
    atomic_store(&hearing.posted, false);
    set_handler(SIGTERM, on_term);
    set_handler(SIGINT, on_int);
    pi_forked_close();
    sigaddset(&mask, SIGPIPE);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}
