/* SPDX-License-Identifier: MIT */
/*
 * net/places.c - what the workers of a server know of each other: how many connections there are,
 * whether there is room for one more, and whose turn it is.
 *
 * Within one process that is a counter. Processes have a slot each in memory that they share, and
 * the sum counts: a worker that is killed at any point takes nothing but its own slot with it. It
 * counts itself in first and looks at the sum then, so of two that want the last place at most one
 * gets it. Bells, an eventfd each, wake those whose waiting has an end.
 */
#define _GNU_SOURCE
#include "net/server.h"

#include "base/assert.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    MAX_CONNS = 10000,
    SAY_EVERY_MS = 1000, /* complaints of one kind */
    SLACK = 2,       /* connections more than the least loaded worker that are no reason to yield */
    SLACK_PART = 16, /* and one for so many: each turn costs a wake-up */
};

/* ---- the shared memory ---- */

static size_t size_of(int slots)
{
    return sizeof(struct pi_shared) + (size_t)slots * sizeof(struct pi_slot);
}

static int new_bell(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_bells(struct pi_shared *shared, int slots)
{
    shared->boss_fd = new_bell();
    int rc = shared->boss_fd;
    for (int i = 0; i < slots && rc >= 0; i++) {
        struct pi_slot *slot = &shared->slots[i];
        slot->bell_fd = rc = new_bell();
        shared->slot_count = i + 1;
    }
    return rc < 0 ? rc : 0;
}

int pi_shared_open(struct pier_server *s, int slots)
{
    void *room = mmap(NULL, size_of(slots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                      0);
    if (room == MAP_FAILED)
        return pi_fail(-errno, "server");
    struct pi_shared *shared = room;
    int rc = open_bells(shared, slots);
    s->slot_count = slots;
    s->shared = shared;
    if (atomic_load(&s->stop_requested))
        atomic_store(&shared->stop, true);
    if (rc == 0)
        return 0;
    pi_shared_close(s);
    return pi_fail(rc, "server");
}

void pi_shared_close(struct pier_server *s)
{
    struct pi_shared *shared = s->shared;
    if (!shared)
        return;
    s->shared = NULL;
    if (shared->boss_fd >= 0)
        close(shared->boss_fd);
    int count = shared->slot_count;
    for (int i = 0; i < count; i++)
        if (shared->slots[i].bell_fd >= 0)
            close(shared->slots[i].bell_fd);
    munmap(shared, size_of(s->slot_count));
}

/* ---- counting ---- */

int pi_max_conns(const struct pier_server *s)
{
    return s->opts.max_conns > 0 ? s->opts.max_conns : MAX_CONNS;
}

int pi_wanted_workers(const struct pier_server *s)
{
    return s->opts.workers > 0 ? s->opts.workers : pier_cpu_count();
}

int pi_conns(const struct pier_server *s)
{
    if (!s->shared)
        return atomic_load(&s->conns);
    int sum = 0;
    for (int i = 0; i < s->shared->slot_count; i++)
        sum += atomic_load(&s->shared->slots[i].load);
    return sum;
}

int pi_place_take(struct pi_worker *w)
{
    struct pier_server *s = w->server;
    _Atomic int *own = w->slot ? &w->slot->load : &s->conns;
    int before = atomic_fetch_add(own, 1);
    bool is_full = w->slot ? pi_conns(s) > pi_max_conns(s) : before >= pi_max_conns(s);
    if (is_full)
        atomic_fetch_sub(own, 1);
    return is_full ? -EBUSY : 0;
}

void pi_place_give(struct pi_worker *w)
{
    atomic_fetch_sub(w->slot ? &w->slot->load : &w->server->conns, 1);
}

void pi_place_await(struct pi_worker *w)
{
    if (w->slot)
        atomic_store(&w->server->shared->starved, true);
}

bool pi_place_is_awaited(const struct pi_worker *w)
{
    const struct pier_server *s = w->server;
    int waiting = w->slot ? atomic_load(&s->shared->starved) : atomic_load(&s->paused);
    return waiting > 0 && pi_conns(s) + waiting >= pi_max_conns(s);
}

/* Those that still find no room say so again. */
void pi_place_tell(struct pi_worker *w)
{
    struct pi_shared *shared = w->server->shared;
    if (!w->slot || !atomic_load(&shared->starved))
        return;
    atomic_store(&shared->starved, false);
    for (int i = 0; i < shared->slot_count; i++)
        if (&shared->slots[i] != w->slot)
            pi_bell_ring(shared->slots[i].bell_fd);
}

bool pi_may_say(struct pier_server *s)
{
    _Atomic int64_t *said_ns = s->shared ? &s->shared->said_ns : &s->said_ns;
    int64_t now = pi_clock_ns();
    int64_t last = atomic_load(said_ns);
    return (last == 0 || now - last >= SAY_EVERY_MS * PIER_MILLISECOND) &&
           atomic_compare_exchange_strong(said_ns, &last, now);
}

/* ---- turns ---- */

static struct pi_slot *least_loaded(const struct pi_worker *w)
{
    struct pi_shared *shared = w->server->shared;
    struct pi_slot *best = NULL;
    int least = 0;
    for (int i = 0; i < shared->slot_count; i++) {
        struct pi_slot *slot = &shared->slots[i];
        int load = atomic_load_explicit(&slot->load, memory_order_relaxed);
        if (!atomic_load_explicit(&slot->accepts, memory_order_relaxed) || (best && load >= least))
            continue;
        best = slot;
        least = load;
    }
    return best;
}

bool pi_must_yield(const struct pi_worker *w)
{
    if (!w->slot || w->server->shared->slot_count == 1)
        return false;
    const struct pi_slot *best = least_loaded(w);
    if (!best || best == w->slot)
        return false;
    int least = atomic_load(&best->load);
    return atomic_load(&w->slot->load) > least + SLACK + least / SLACK_PART;
}

/* The others may all have yielded to this one. */
void pi_yield_tell(struct pi_worker *w)
{
    struct pi_slot *best = least_loaded(w);
    if (best && best != w->slot && atomic_load(&best->yields))
        pi_bell_ring(best->bell_fd);
}

/* ---- bells ---- */

void pi_bell_ring(int fd)
{
    int saved = errno; /* a signal handler may call this */
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
    PIER_ASSERT(n == sizeof one || errno == EAGAIN); /* EAGAIN: it rings as it is */
    errno = saved;
}

static void arm(struct pi_bell *bell);

static void rang(struct io_op *op)
{
    struct pi_bell *bell = PI_CONTAINER_OF(op, struct pi_bell, op);
    uint64_t count;
    if (op->result == -ECANCELED)
        return; /* closed; after another failure it is looked at again */
    while (read(bell->io.fd, &count, sizeof count) < 0 && errno == EINTR)
        ;
    bell->io.may_read = false;
    arm(bell);
    bell->rung(bell);
}

static int try_arm(struct pi_bell *bell)
{
    bell->op = (struct io_op){ .code = IO_POLL, .fd = &bell->io, .len = POLLIN, .done = rang };
    return io_arm(&bell->op);
}

/* The descriptor is registered: nothing is asked of the system that it could refuse. */
static void arm(struct pi_bell *bell)
{
    int rc = try_arm(bell);
    PIER_ASSERT(rc == 0);
}

int pi_bell_open(struct pi_bell *bell, int fd, void (*rung)(struct pi_bell *bell))
{
    *bell = (struct pi_bell){ .rung = rung };
    io_fd_init(&bell->io, fd);
    int rc = try_arm(bell);
    bell->is_open = rc == 0;
    return rc;
}

void pi_bell_close(struct pi_bell *bell)
{
    if (!bell->is_open)
        return;
    io_disarm(&bell->op);
    io_detach(&bell->io);
    bell->is_open = false;
}
