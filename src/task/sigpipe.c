/* SPDX-License-Identifier: MIT */
/*
 * task/sigpipe.c - writing to what knows no MSG_NOSIGNAL, pipes and FIFOs, without the signal.
 *
 * The signal is blocked on the thread while somebody writes so, and one that was raised meanwhile
 * is taken away before it is let through. Holders nest, across tasks, too.
 */
#define _GNU_SOURCE
#include "task/io.h"

#include <signal.h>
#include <time.h>

static PI_THREAD_LOCAL struct {
    int holders;
    bool was_blocked, raised;
} sigpipe;

void pi_sigpipe_hold(void)
{
    if (sigpipe.holders++ > 0)
        return;
    sigset_t one, before;
    sigemptyset(&one);
    sigaddset(&one, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &one, &before);
    sigpipe.was_blocked = sigismember(&before, SIGPIPE);
    sigpipe.raised = false;
}

/* A signal that is pending goes away before it is let through. */
void pi_sigpipe_release(bool raised)
{
    sigpipe.raised |= raised;
    if (--sigpipe.holders > 0 || sigpipe.was_blocked)
        return;
    const struct timespec at_once = { 0 };
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGPIPE);
    while (sigpipe.raised && sigtimedwait(&one, NULL, &at_once) < 0 && errno == EINTR)
        ;
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
}
