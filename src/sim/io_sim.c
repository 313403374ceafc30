/* SPDX-License-Identifier: MIT */
/*
 * sim/io_sim.c - the backend of simulations: operations on simulated sockets, virtual time, and
 * whose turn it is.
 *
 * Every switch between tasks goes through the poll here. It lets a little time pass, lets the
 * network do what is due, and puts a ready task chosen by the seed in front; when nobody is ready,
 * time jumps to whatever is due next. When nothing is, the tasks wait for ever, and the run has
 * found something.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include "base/assert.h"
#include "task/offload.h"

#include <stdlib.h>

enum {
    TURN_NS = 2000,               /* at most, of virtual time */
    LATE_NS = 1000000,            /* after its deadline a wait must be over */
    TURNS_EACH = 50,              /* that each other task may take first: chance is not fair */
    IDLE_TURNS = 5 * 1000 * 1000, /* between two events; a task that only yields takes no time */
};

/* ---- whose turn it is ---- */

static int count_ready(const struct pi_loop *loop)
{
    int count = 0;
    for (const struct pi_task *t = loop->ready; t; t = t->next_ready)
        count++;
    return count;
}

static int from_tape(struct sim_tape *tape, int count)
{
    if (tape->at == tape->len) {
        PIER_ASSERT(tape->len < tape->cap);
        tape->chosen[tape->len] = 0;
        tape->among[tape->len++] = count;
    }
    PIER_ASSERT(tape->among[tape->at] == count); /* or the scenario does not repeat itself */
    return tape->chosen[tape->at++];
}

static int choose(struct pi_sim *sim, int count)
{
    if (count < 2)
        return 0;
    sim->choices++;
    if (sim->tape)
        return sim->tape->at < sim->tape->cap ? from_tape(sim->tape, count) : 0;
    if (pi_sim_is_calm(sim, SIM_ORDER))
        return 0;
    return (int)pi_sim_below(&sim->order, (uint64_t)count);
}

/* The chosen task goes to the front; the others keep their order. */
static void permute(struct pi_sim *sim, struct pi_loop *loop)
{
    int index = choose(sim, count_ready(loop));
    if (index == 0)
        return;
    struct pi_task *before = loop->ready;
    for (int i = 1; i < index; i++)
        before = before->next_ready;
    struct pi_task *chosen = before->next_ready;
    before->next_ready = chosen->next_ready;
    if (!before->next_ready)
        loop->ready_end = &before->next_ready;
    chosen->next_ready = loop->ready;
    loop->ready = chosen;
}

/* ---- armed operations ---- */

static void run_armed(struct io_op **slot)
{
    struct io_op *op = *slot;
    if (!op || op->task)
        return;
    ssize_t n = pi_sim_attempt(op);
    if (n == -EAGAIN)
        return;
    *slot = NULL;
    op->result = n;
    op->done(op); /* may arm again, and is kicked then */
}

static void run_kicked(struct pi_sim *sim)
{
    struct io_fd *f = sim->kicked;
    sim->kicked = NULL;
    while (f) {
        struct io_fd *next = f->next_kicked;
        f->kicked = false;
        run_armed(&f->reader);
        run_armed(&f->writer);
        f = next;
    }
}

/* ---- time ---- */

static void pass_time(struct pi_sim *sim)
{
    bool calm = sim->tape || pi_sim_is_calm(sim, SIM_ORDER);
    sim->now_ns += calm ? TURN_NS : pi_sim_range(&sim->order, 100, TURN_NS);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return !a || (b && b < a) ? b : a;
}

/* Nobody will ever be ready: the run ends here, by cancellation. */
static void is_stuck(struct pi_sim *sim)
{
    if (sim->giving_up) { /* not even a cancellation gets them going */
        fprintf(stderr, "simulation: %s; the tasks cannot be cancelled\n", sim->failure);
        abort();
    }
    pi_sim_failed("every task waits, and nothing is to come");
    pi_sim_give_up(sim);
}

static void look_at_the_time(struct pi_sim *sim)
{
    if (sim->giving_up || sim->now_ns - sim->began_ns <= sim->opts.time_limit_ns)
        return;
    pi_sim_failed("not over after %lld s of virtual time",
                  (long long)(sim->opts.time_limit_ns / PIER_SECOND));
    pi_sim_give_up(sim);
}

static void look_at_the_turns(struct pi_sim *sim)
{
    if (sim->turns_at != sim->events)
        sim->turns = 0;
    sim->turns_at = sim->events;
    if (++sim->turns < IDLE_TURNS || sim->giving_up)
        return;
    pi_sim_failed("tasks take turns, and nothing happens");
    pi_sim_give_up(sim);
}

static void run_due(struct pi_sim *sim, struct pi_loop *loop)
{
    loop->now_ns = sim->now_ns;
    pi_timer_run(&sim->timers, sim->now_ns);
    pi_timer_run(&loop->timers, sim->now_ns);
    run_kicked(sim);
}

static void sim_poll(struct pi_loop *loop, int64_t deadline_ns)
{
    struct pi_sim *sim = loop->io;
    loop->budget = 1; /* every switch comes by here */
    pass_time(sim);
    look_at_the_turns(sim);
    run_due(sim, loop);
    pi_thread_drain(loop->thread);
    while (!loop->ready) {
        int64_t next = earlier(pi_timer_next(&sim->timers), pi_timer_next(&loop->timers));
        if (next > sim->now_ns && !sim->kicked)
            sim->now_ns = next; /* what a done() has armed is looked at before */
        else if (!next && !sim->kicked)
            is_stuck(sim);
        look_at_the_time(sim);
        run_due(sim, loop);
        pi_thread_drain(loop->thread);
    }
    permute(sim, loop);
}

/* ---- operations ---- */

static void look_at_the_deadline(int64_t deadline_ns, int64_t tasks)
{
    struct pi_sim *sim = pi_sim;
    if (deadline_ns && sim->now_ns > deadline_ns + LATE_NS + tasks * TURNS_EACH * TURN_NS)
        pi_sim_failed("a wait ended %lld us after its deadline",
                      (long long)((sim->now_ns - deadline_ns) / 1000));
}

static int wait_ready(struct pi_loop *loop, struct pi_task *self, struct io_op *op,
                      struct io_op **slot, int64_t deadline_ns)
{
    if (*slot)
        return -EBUSY;
    int rc = io_take_interrupt(op);
    if (rc < 0)
        return rc;
    struct sim_sock *s = pi_sim_sock(op->fd->fd);
    if (s)
        s->f = op->fd;
    op->fd->loop_serial = loop->serial;
    *slot = op;
    self->op = op;
    /* A wait that is woken for nothing finds that out and waits on: EINTR, as programs see it. */
    if (pi_sim_faulty(PIER_SIM_INTERRUPT, pi_sim->opts.faults.interrupt, pi_sim_here())) {
        self->wake = 0;
        pi_pass(self);
        rc = self->wake;
    } else {
        rc = pi_park(self, deadline_ns, true);
    }
    self->op = NULL;
    *slot = NULL;
    look_at_the_deadline(deadline_ns, (int64_t)loop->tasks);
    return rc;
}

static void take_a_turn(struct pi_sim *sim, struct pi_task *self)
{
    if (!sim->tape && !pi_sim_is_calm(sim, SIM_ORDER) && pi_sim_one_in(&sim->order, 4))
        pi_pass(self);
}

static ssize_t last_look(struct io_op *op, int rc)
{
    if (rc != -ETIMEDOUT || !io_is_read(op))
        return rc;
    ssize_t n = pi_sim_attempt(op);
    return n == -EAGAIN ? rc : n;
}

static ssize_t run_on_fd(struct pi_loop *loop, struct pi_task *self, struct io_op *op)
{
    struct io_op **slot = io_slot(op);
    bool now = op->deadline_ns == IO_NOW;
    if (*slot)
        return -EBUSY;
    for (;;) {
        ssize_t n = pi_sim_attempt(op);
        if (n != -EAGAIN || now) {
            take_a_turn(loop->io, self);
            return n;
        }
        int rc = wait_ready(loop, self, op, slot, pi_deadline(self, op->deadline_ns));
        if (rc < 0)
            return last_look(op, rc);
    }
}

/* The job runs in its waiter; how long it is queued and runs is the seed's. */
static ssize_t run_job(struct pi_sim *sim, struct pi_task *self, struct io_op *op)
{
    bool is_name = op->code == IO_RESOLVE;
    int64_t queued = pi_sim_range(&sim->network, 1000, PIER_MILLISECOND);
    int64_t work = pi_sim_range(&sim->network, 1000, (is_name ? 50 : 5) * PIER_MILLISECOND);
    if (!is_name)
        pi_sim_event(SIM_EV_JOB, pi_sim_here(), work, "%lld us", (long long)(work / 1000));
    return io_offload_here(self, op, queued, work, is_name ? pi_sim_resolve : NULL);
}

static ssize_t sim_run(struct pi_loop *loop, struct pi_task *self, struct io_op *op)
{
    switch (op->code) {
    case IO_SLEEP: {
        ssize_t rc = io_sleep(self, op);
        look_at_the_deadline(pi_deadline(self, op->deadline_ns), (int64_t)loop->tasks);
        return rc;
    }
    case IO_OFFLOAD:
    case IO_RESOLVE:
        return run_job(loop->io, self, op);
    case IO_FILE:
        return pi_sim_file(loop->io, self, op);
    default:
        return run_on_fd(loop, self, op);
    }
}

static ssize_t sim_attempt(struct pi_loop *loop, struct io_op *op)
{
    return op->code == IO_RESOLVE ? pi_sim_resolve(op->buf) : pi_sim_attempt(op);
}

static int sim_arm(struct pi_loop *loop, struct io_op *op)
{
    struct io_op **slot = io_slot(op);
    struct sim_sock *s = pi_sim_sock(op->fd->fd);
    if (!s)
        return -EBADF;
    if (*slot)
        return -EBUSY;
    s->f = op->fd;
    op->fd->loop_serial = loop->serial;
    *slot = op;
    io_kick(&pi_sim->kicked, op->fd);
    return 0;
}

static void sim_disarm(struct pi_loop *loop, struct io_op *op)
{
    struct io_op **slot = io_slot(op);
    if (*slot != op)
        return;
    *slot = NULL;
    op->result = -ECANCELED;
    op->done(op);
}

static void sim_detach(struct pi_loop *loop, struct io_fd *f)
{
    struct sim_sock *s = pi_sim_sock(f->fd);
    if (f->kicked)
        io_unkick(&((struct pi_sim *)loop->io)->kicked, f);
    if (s && s->f == f)
        s->f = NULL;
}

/* ---- open and close ---- */

static int sim_open(struct pi_loop *loop)
{
    loop->budget = 1; /* from the first switch on */
    return 0;
}

static void sim_close(struct pi_loop *loop)
{
    loop->io = NULL; /* the run's, which frees it */
}

/* A foreign loop lives in real time. */
static int sim_pollable_fd(struct pi_loop *loop)
{
    return -EOPNOTSUPP;
}

static int sim_watch(struct pi_loop *loop, int fd)
{
    return -EOPNOTSUPP;
}

static bool sim_has_work(struct pi_loop *loop)
{
    return ((struct pi_sim *)loop->io)->kicked != NULL;
}

const struct io_backend pi_sim_backend = {
    .name = "simulation",
    .sockets = &pi_sim_sockets,
    .open = sim_open,
    .close = sim_close,
    .poll = sim_poll,
    .run = sim_run,
    .attempt = sim_attempt,
    .arm = sim_arm,
    .disarm = sim_disarm,
    .detach = sim_detach,
    .pollable_fd = sim_pollable_fd,
    .watch = sim_watch,
    .has_work = sim_has_work,
};
