/* SPDX-License-Identifier: MIT */
/*
 * work/fork.h - a copy of this process, without exec, and how processes are waited for.
 *
 * A fork copies memory and the thread that calls it, nothing else: a lock that another thread held
 * stays locked in the child for ever, and a ring belongs to its parent. So it is refused while
 * other threads run or a ring is open; the library's own idle threads are ended first. Children are
 * waited for by their pidfd and reaped by their number, never by waitpid(-1). Specification:
 * fork(2), pidfd_open(2), PR_SET_PDEATHSIG in prctl(2).
 */
#ifndef PI_WORK_FORK_H
#define PI_WORK_FORK_H

#include "task/io.h"

/* A child of this process, from its start until it has been reaped and closed. */
struct pi_process {
    pid_t pid;
    struct io_fd end; /* the pidfd, close-on-exec: readable when the child has ended */
    bool reaped;
    int status; /* of waitpid(2), once reaped */
    int error;  /* why there is no status: somebody else reaped it */
};

enum {
    /* SIGKILL when the thread that forks ends, however it does. */
    PI_FORK_DIES_WITH_PARENT = 1,
    /* Signals that have a handler have their default action in the child. */
    PI_FORK_DEFAULT_SIGNALS = 2,
};

/* Whether this process may fork: 0; -EBUSY while other threads run (how many, say the words) or a
 * ring is open; -EOPNOTSUPP in a simulation. Idle threads of pier_offload() are ended, they come
 * back on demand; the watchdog stays away until pi_fork_over(), which every call that returned 0
 * needs. Waits at most until threads that are ending have ended. */
int pi_fork_prepare(void) PIER_MUST_USE;
void pi_fork_over(void);

/* Forks: the child's number, and *child is what the parent has of it; 0 in the child; or a negative
 * code with words, and there is no child. Needs no pi_fork_prepare() before, which it calls itself;
 * forking often is cheaper between one and its pi_fork_over().
 *
 * In the child the caller goes on, on the same stack, as the only task of its only thread: loop,
 * scopes, timers and messages are the parent's and gone, a wait blocks the thread, and a new scope
 * may open a new loop. Descriptors are inherited; an io_fd of the parent's is used further after
 * io_fd_init(). SIGPIPE is blocked, other signals are blocked or not as they were. What the parent
 * had not written of its streams has been written. The child ends by pi_fork_exit(), returning to
 * none of the parent's frames. */
pid_t pi_fork(struct pi_process *child, int flags) PIER_MUST_USE;

/* Ends a forked child: writes what its streams hold, runs no atexit() functions. */
_Noreturn void pi_fork_exit(int code);

/* A child that something else started: opens its pidfd. On failure the child is still the
 * caller's, to be killed and given to pi_process_abandon(). */
int pi_process_adopt(struct pi_process *child, pid_t pid) PIER_MUST_USE;

/* Reaps a child that has been killed and of which there is no pidfd. Waits for it. */
void pi_process_abandon(struct pi_process *child);

/* Whether the child has ended; then it is reaped. Never waits. */
bool pi_process_reap(struct pi_process *child) PIER_MUST_USE;

/* Waits, as a task or a thread, until the child has ended: 0; -ETIMEDOUT at the deadline (0: none),
 * or the cancellation's code. One waiter at a time. */
int pi_process_await(struct pi_process *child, int64_t deadline_ns) PIER_MUST_USE;

/* Whether the child ends, and is reaped, before the deadline, whatever the scope says. */
bool pi_process_ends_by(struct pi_process *child, int64_t deadline_ns) PIER_MUST_USE;

/* Closes the pidfd; the child has been reaped, or is nobody's any more. */
void pi_process_close(struct pi_process *child);

#endif
