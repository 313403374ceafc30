/* SPDX-License-Identifier: MIT */
/*
 * task/offload.c - work for other threads: a bounded pool that starts with the first job and
 * shrinks when idle.
 *
 * A job is queued, running or done. Its waiter takes it back while it is queued; while it runs, the
 * waiter of a plain job waits on (the argument is its caller's), and that of an abandonable one
 * leaves it to the pool thread. The queue needs no limit of its own: each job has a waiting task.
 */
#define _GNU_SOURCE
#include "task/offload.h"

#include "base/assert.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    THREADS_MAX = 16, /* name look-ups mostly wait; more than this many stuck ones should queue */
    IDLE_SECONDS = 5, /* then a thread ends */
    STACK_SIZE = 512 * 1024, /* getaddrinfo and its modules */
    LEFT_KEPT = 2 * THREADS_MAX
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static struct pi_offload_job *queue, **queue_end = &queue;
static int threads, idle, queued;
static int working; /* threads with a job that is not done */
static bool retiring;
static pthread_cond_t retired = PTHREAD_COND_INITIALIZER;
static int left[LEFT_KEPT]; /* the last threads that ended */
static unsigned left_count;

static struct pi_offload_job *take_job(void)
{
    struct pi_offload_job *job = queue;
    queue = job->next;
    queued--;
    working++;
    if (!queue)
        queue_end = &queue;
    job->state = PI_JOB_RUNNING;
    return job;
}

static bool unqueue(struct pi_offload_job *job)
{
    for (struct pi_offload_job **at = &queue; *at; at = &(*at)->next) {
        if (*at != job)
            continue;
        *at = job->next;
        queued--;
        if (!*at)
            queue_end = at;
        return true;
    }
    return false;
}

static void deliver(struct pi_msg *msg)
{
    struct pi_offload_job *job = PI_CONTAINER_OF(msg, struct pi_offload_job, msg);
    job->delivered = true;
    pi_ready(job->waiter, 0);
}

static void run_job(struct pi_offload_job *job)
{
    struct pi_task *self = pi_task_self();
    job->rc = job->fn(job->arg);
    pi_err_move(&job->err, &self->err);
    pthread_mutex_lock(&lock);
    bool left_alone = job->left_alone;
    job->state = PI_JOB_DONE;
    if (!left_alone)
        working--;
    pthread_mutex_unlock(&lock);
    if (!left_alone) {
        pi_thread_post(job->waiter->thread, &job->msg);
        return;
    }
    job->abandoned(job->arg);
    pi_err_fini(&job->err);
    pi_free(job);
    pthread_mutex_lock(&lock);
    working--;
    pthread_mutex_unlock(&lock);
}

/* Waits for work, with the lock held; false when the thread should end. */
static bool await_work(void)
{
    int64_t end = pi_clock_ns() + IDLE_SECONDS * PIER_SECOND;
    struct timespec until = { end / PIER_SECOND, end % PIER_SECOND };
    idle++;
    int rc = 0;
    while (!queue && !retiring && rc != ETIMEDOUT)
        rc = pthread_cond_clockwait(&work, &lock, CLOCK_MONOTONIC, &until);
    idle--;
    return queue != NULL;
}

static void *thread_main(void *unused)
{
    pi_task_self()->name = "offload";
    pthread_mutex_lock(&lock);
    while (queue || await_work()) {
        struct pi_offload_job *job = take_job();
        pthread_mutex_unlock(&lock);
        run_job(job);
        pthread_mutex_lock(&lock);
    }
    threads--;
    pthread_cond_broadcast(&retired);
    left[left_count++ % LEFT_KEPT] = (int)syscall(SYS_gettid);
    pthread_mutex_unlock(&lock);
    return unused;
}

void pi_offload_retire(void)
{
    int64_t end = pi_clock_ns() + PIER_SECOND; /* it takes a moment, if the system is well */
    struct timespec until = { end / PIER_SECOND, end % PIER_SECOND };
    int rc = 0;
    pthread_mutex_lock(&lock);
    retiring = true;
    pthread_cond_broadcast(&work);
    while (threads > working && rc != ETIMEDOUT)
        rc = pthread_cond_clockwait(&retired, &lock, CLOCK_MONOTONIC, &until);
    retiring = false;
    pthread_mutex_unlock(&lock);
}

bool pi_offload_has_left(int tid)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < LEFT_KEPT; i++)
        found = found || left[i] == tid;
    pthread_mutex_unlock(&lock);
    return found;
}

void pi_offload_after_fork(void)
{
    PIER_ASSERT(threads == 0 && !queue);
    left_count = 0;
    for (int i = 0; i < LEFT_KEPT; i++)
        left[i] = 0;
}

/* A thread that cannot be started is a failure only where no other will come to the job. */
static int submit(struct pi_offload_job *job)
{
    int rc = 0;
    pthread_mutex_lock(&lock);
    job->next = NULL;
    *queue_end = job;
    queue_end = &job->next;
    queued++;
    if (idle >= queued) {
        pthread_cond_signal(&work);
    } else if (threads < THREADS_MAX) {
        rc = pi_thread_start(NULL, thread_main, NULL, STACK_SIZE);
        if (rc == 0)
            threads++;
        else if (threads > 0)
            rc = 0;
        else
            unqueue(job);
    }
    pthread_mutex_unlock(&lock);
    return rc;
}

/* A job that will not run. */
static void give_up(struct pi_offload_job *job)
{
    if (!job->abandoned)
        return;
    job->abandoned(job->arg);
    pi_free(job);
}

/* The wait was cancelled: whether the job is the waiter's again without being waited for. */
static bool take_back(struct pi_offload_job *job)
{
    pthread_mutex_lock(&lock);
    bool was_queued = job->state == PI_JOB_QUEUED && unqueue(job);
    bool leaves = !was_queued && job->state == PI_JOB_RUNNING && job->abandoned;
    if (leaves)
        job->left_alone = true;
    pthread_mutex_unlock(&lock);
    if (was_queued)
        give_up(job);
    return was_queued || leaves;
}

/* The waiter takes the job's result, and the job is over. */
static ssize_t take_result(struct pi_task *self, struct pi_offload_job *job)
{
    int rc = job->rc;
    if (rc < 0 && job->err.code == rc)
        pi_err_move(&self->err, &job->err);
    pi_err_fini(&job->err);
    if (rc < 0 && job->abandoned)
        job->abandoned(job->arg);
    if (job->abandoned)
        pi_free(job);
    return rc;
}

ssize_t io_offload(struct pi_task *self, struct io_op *op)
{
    struct pi_offload_job *job = op->job;
    job->waiter = self;
    job->msg.run = deliver;
    int rc = submit(job);
    if (rc < 0) {
        give_up(job);
        return pi_fail(rc, "offload: start a thread");
    }
    self->op = op;
    rc = pi_park(self, pi_deadline(self, op->deadline_ns), true);
    if (rc < 0 && !job->delivered && take_back(job)) {
        self->op = NULL;
        return rc;
    }
    while (!job->delivered)
        pi_park(self, 0, false);
    self->op = NULL;
    return take_result(self, job);
}

/* Waits ns: 0, or the code that ended the wait before. */
static int wait_for(struct pi_task *self, const struct io_op *op, int64_t ns, bool cancellable)
{
    int64_t when = pi_clock_ns() + ns;
    int64_t deadline = cancellable ? pi_deadline(self, op->deadline_ns) : 0;
    bool in_time = !deadline || when < deadline;
    self->op = op;
    int rc = pi_park(self, in_time ? when : deadline, cancellable);
    self->op = NULL;
    return rc == -ETIMEDOUT && in_time ? 0 : rc;
}

ssize_t io_offload_here(struct pi_task *self, struct io_op *op, int64_t start_ns, int64_t work_ns,
                        pier_task_fn instead)
{
    struct pi_offload_job *job = op->job;
    int rc = wait_for(self, op, start_ns, true);
    if (rc < 0) {
        give_up(job);
        return rc;
    }
    job->rc = instead ? instead(op->buf) : job->fn(job->arg);
    pi_err_move(&job->err, &self->err);
    rc = wait_for(self, op, work_ns, job->abandoned != NULL);
    if (rc == 0 || !job->abandoned)
        return take_result(self, job);
    pi_err_fini(&job->err);
    give_up(job);
    return rc;
}

int pier_offload(pier_task_fn fn, void *arg)
{
    struct pi_offload_job job = { .fn = fn, .arg = arg };
    struct io_op op = { .code = IO_OFFLOAD, .job = &job };
    return (int)io_run(&op);
}

int pi_offload_abandon(enum io_code code, void *what, pier_task_fn fn, void *arg,
                       void (*abandoned)(void *), int64_t deadline_ns)
{
    struct pi_offload_job *job = pi_zalloc(sizeof *job);
    if (!job) {
        abandoned(arg);
        return pi_fail(-ENOMEM, "offload");
    }
    job->fn = fn;
    job->arg = arg;
    job->abandoned = abandoned;
    struct io_op op = { .code = code, .buf = what, .job = job, .deadline_ns = deadline_ns };
    int rc = (int)io_run(&op);
    if (!op.task) /* cancelled at entry: no backend has seen it */
        give_up(job);
    return rc;
}

int pier_offload_abandon(pier_task_fn fn, void *arg, void (*abandoned)(void *arg))
{
    PIER_ASSERT(abandoned != NULL);
    return pi_offload_abandon(IO_OFFLOAD, NULL, fn, arg, abandoned, 0);
}
