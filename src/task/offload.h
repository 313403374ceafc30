/* SPDX-License-Identifier: MIT */
/*
 * task/offload.h - a job for an offload thread, as the seam passes it (IO_OFFLOAD, IO_RESOLVE).
 */
#ifndef PI_TASK_OFFLOAD_H
#define PI_TASK_OFFLOAD_H

#include "task/io.h"

#include <signal.h>

enum pi_job_state { PI_JOB_QUEUED, PI_JOB_RUNNING, PI_JOB_DONE };

struct pi_offload_job {
    struct pi_offload_job *next;
    pier_task_fn fn;
    void *arg;
    void (*abandoned)(void *arg); /* NULL: the waiter always waits; else the job is allocated */
    enum pi_job_state state;      /* under the pool's lock, like left_alone */
    bool left_alone;
    bool delivered; /* on the waiter's thread */
    struct pi_task *waiter;
    struct pi_msg msg;
    int rc;
    struct pi_err err;
};

/* pier_offload_abandon() with a deadline of its own, as an operation of that code; what is the
 * operation's buf. */
int pi_offload_abandon(enum io_code code, void *what, pier_task_fn fn, void *arg,
                       void (*abandoned)(void *), int64_t deadline_ns);

/* Before a fork: ends the threads that have nothing to do; new jobs bring new ones. Waits until
 * they have let go, not until the kernel has seen them off: has_left() knows those. */
void pi_offload_retire(void);
/* Whether this thread, by gettid(2), was one of the last that ended. */
bool pi_offload_has_left(int tid);
/* In the child of a fork, whose parent had no other thread. */
void pi_offload_after_fork(void);

/* For a simulation: as io_offload(), but the job runs in the caller, start_ns after it was given
 * and work_ns before it is done; instead, if given, does its work. */
ssize_t io_offload_here(struct pi_task *self, struct io_op *op, int64_t start_ns, int64_t work_ns,
                        pier_task_fn instead);

#endif
