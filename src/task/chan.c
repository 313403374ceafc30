/* SPDX-License-Identifier: MIT */
/*
 * task/chan.c - the channel: a ring of elements, and a queue of senders or of receivers beside it.
 *
 * An element goes straight into the memory of a waiting receiver, and a waiting sender's element
 * into the ring (or, without one, to the receiver), so that a woken task has nothing left to do.
 * Invariants: receivers wait only while the ring is empty, senders only while it is full; nobody
 * waits on a closed channel.
 */
#include "task/chan.h"

#include "base/assert.h"

#include <string.h>

/* The usual sizes, an integer or a pointer and a pair of them, without a call. */
static inline void copy_elem(void *to, const void *from, size_t size)
{
    if (size == 8)
        memcpy(to, from, 8);
    else if (size == 16)
        memcpy(to, from, 16);
    else if (size > 0)
        memcpy(to, from, size);
}

static void put(struct pier_chan *ch, const void *elem)
{
    size_t at = ch->head + ch->count;
    if (at >= ch->cap)
        at -= ch->cap;
    copy_elem(ch->ring + at * ch->elem_size, elem, ch->elem_size);
    ch->count++;
}

static void take(struct pier_chan *ch, void *elem)
{
    copy_elem(elem, ch->ring + ch->head * ch->elem_size, ch->elem_size);
    if (++ch->head == ch->cap)
        ch->head = 0;
    ch->count--;
}

/* The first waiter that still waits: it may be about to give up, or a select be decided elsewhere.
 */
static struct pi_waiter *next_waiter(struct pier_chan *ch, struct pi_waitlist *list, int rc)
{
    struct pi_waiter *w;
    while ((w = pi_waitlist_pop(list)) != NULL) {
        if (!(ch->flags & PIER_LOCAL && !w->is_case) && !pi_wake_claim(w->wake))
            continue;
        w->wake->chosen = w;
        w->rc = rc;
        break;
    }
    return w;
}

bool pi_chan_send_now(struct pier_chan *ch, const void *elem, struct pi_chan_done *done)
{
    *done = (struct pi_chan_done){ 0 };
    if (ch->closed) {
        done->rc = -EPIPE;
        return true;
    }
    struct pi_waiter *receiver = ch->receivers.first ? next_waiter(ch, &ch->receivers, 1) : NULL;
    if (receiver)
        copy_elem(receiver->elem, elem, ch->elem_size);
    else if (ch->count < ch->cap)
        put(ch, elem);
    else
        return false;
    done->wake = receiver;
    return true;
}

bool pi_chan_recv_now(struct pier_chan *ch, void *elem, struct pi_chan_done *done)
{
    *done = (struct pi_chan_done){ .rc = 1 };
    bool has_one = ch->count > 0;
    if (has_one)
        take(ch, elem);
    struct pi_waiter *sender = ch->senders.first ? next_waiter(ch, &ch->senders, 0) : NULL;
    if (sender && has_one)
        put(ch, sender->elem);
    else if (sender)
        copy_elem(elem, sender->elem, ch->elem_size);
    else if (!has_one && ch->closed)
        done->rc = 0;
    else if (!has_one)
        return false;
    done->wake = sender;
    return true;
}

/* ---- waiting ---- */

/* If the element has been passed, the channel may be gone: only the claim can tell. */
static int give_up(struct pier_chan *ch, struct pi_waitlist *list, struct pi_waiter *w, int code)
{
    if (!pi_wake_claim(w->wake)) {
        pi_wake_settle(w->wake, "channel");
        return w->rc;
    }
    pi_guard_lock(&ch->guard, ch->flags);
    if (w->listed)
        pi_waitlist_remove(list, w);
    pi_guard_unlock(&ch->guard, ch->flags);
    return code;
}

/* Joins the list and lets go of the guard, then waits. */
static int wait_on(struct pier_chan *ch, struct pi_waitlist *list, void *elem, const char *what)
{
    struct pi_wake wake = { .task = pi_task_self() };
    struct pi_waiter w = { .wake = &wake, .elem = elem };
    int flags = ch->flags;
    pi_waitlist_append(list, &w);
    pi_guard_unlock(&ch->guard, flags);
    int rc = pi_wake_await(&wake, 0, what, flags);
    return rc < 0 ? give_up(ch, list, &w, rc) : w.rc;
}

static int let_go(struct pier_chan *ch, const struct pi_chan_done *done)
{
    pi_guard_unlock(&ch->guard, ch->flags);
    if (done->wake)
        pi_wake_send(done->wake->wake);
    return done->rc;
}

/* ---- public ---- */

int pier_chan_init(struct pier_chan *ch, size_t elem_size, size_t capacity, int flags)
{
    *ch = (struct pier_chan){ .flags = flags, .elem_size = elem_size, .cap = capacity };
    size_t size;
    if (capacity == 0 || elem_size == 0)
        return 0;
    if (!__builtin_mul_overflow(elem_size, capacity, &size))
        ch->ring = pi_alloc(size);
    if (ch->ring)
        return 0;
    ch->cap = 0;
    return pi_fail(-ENOMEM, "channel of %zu elements", capacity);
}

void pier_chan_fini(struct pier_chan *ch)
{
    PIER_ASSERT(!ch->senders.first && !ch->receivers.first);
    pi_free(ch->ring);
    *ch = (struct pier_chan){ 0 };
}

int pier_chan_send(struct pier_chan *ch, const void *elem)
{
    int rc = pi_cancel_check(pi_task_self());
    if (rc < 0)
        return rc;
    struct pi_chan_done done;
    pi_guard_lock(&ch->guard, ch->flags);
    if (pi_chan_send_now(ch, elem, &done))
        return let_go(ch, &done);
    return wait_on(ch, &ch->senders, (void *)(uintptr_t)elem, "channel send");
}

int pier_chan_recv(struct pier_chan *ch, void *elem)
{
    int rc = pi_cancel_check(pi_task_self());
    if (rc < 0)
        return rc;
    struct pi_chan_done done;
    pi_guard_lock(&ch->guard, ch->flags);
    if (pi_chan_recv_now(ch, elem, &done))
        return let_go(ch, &done);
    return wait_on(ch, &ch->receivers, elem, "channel receive");
}

int pier_chan_try_send(struct pier_chan *ch, const void *elem)
{
    struct pi_chan_done done;
    pi_guard_lock(&ch->guard, ch->flags);
    if (!pi_chan_send_now(ch, elem, &done))
        done.rc = -EAGAIN;
    return let_go(ch, &done);
}

int pier_chan_try_recv(struct pier_chan *ch, void *elem)
{
    struct pi_chan_done done;
    pi_guard_lock(&ch->guard, ch->flags);
    if (!pi_chan_recv_now(ch, elem, &done))
        done.rc = -EAGAIN;
    return let_go(ch, &done);
}

void pier_chan_close(struct pier_chan *ch)
{
    struct pi_waiter *wake = NULL, **end = &wake;
    struct pi_waiter *w;
    pi_guard_lock(&ch->guard, ch->flags);
    ch->closed = true;
    while ((w = next_waiter(ch, &ch->senders, -EPIPE)) ||
           (w = next_waiter(ch, &ch->receivers, 0))) {
        *end = w;
        end = &w->next_wake;
    }
    *end = NULL;
    pi_guard_unlock(&ch->guard, ch->flags);
    pi_wake_chain(wake);
}
