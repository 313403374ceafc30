/* SPDX-License-Identifier: MIT */
/*
 * task/select.c - waiting for the first of several channel operations.
 *
 * The cases are tried one after the other. If none can be done, all guards are taken, in the order
 * of their addresses, the cases tried once more and a waiter put into each channel's list: so no
 * other select can be half-way in when this one is. From then on whoever completes a case claims
 * the select first; the waiters of the other cases are stale and passed over until it takes them
 * out.
 */
#include "task/chan.h"

struct cases {
    struct pier_select_case *all;
    size_t count;
    struct pier_chan *order[PIER_SELECT_MAX]; /* distinct, by address */
    size_t channels;
    struct pi_waiter waiters[PIER_SELECT_MAX];
    struct pi_wake wake;
};

static bool do_now(struct pier_select_case *c, struct pi_chan_done *done)
{
    bool can = c->op == PIER_SELECT_SEND ? pi_chan_send_now(c->ch, c->elem, done)
                                         : pi_chan_recv_now(c->ch, c->elem, done);
    if (can)
        c->rc = done->rc;
    return can;
}

static void wake_after(const struct pi_chan_done *done)
{
    if (done->wake)
        pi_wake_send(done->wake->wake);
}

static bool try_each(struct pier_select_case *cases, size_t count, size_t *index)
{
    for (size_t i = 0; i < count; i++) {
        struct pier_chan *ch = cases[i].ch;
        struct pi_chan_done done;
        pi_guard_lock(&ch->guard, ch->flags);
        bool can = do_now(&cases[i], &done);
        pi_guard_unlock(&ch->guard, ch->flags);
        if (!can)
            continue;
        wake_after(&done);
        *index = i;
        return true;
    }
    return false;
}

/* Insertion sort: few, and often sorted already. */
static void sort_channels(struct cases *c)
{
    c->channels = 0;
    for (size_t i = 0; i < c->count; i++) {
        struct pier_chan *ch = c->all[i].ch;
        size_t at = c->channels;
        while (at > 0 && (uintptr_t)c->order[at - 1] > (uintptr_t)ch)
            at--;
        if (at > 0 && c->order[at - 1] == ch)
            continue;
        for (size_t k = c->channels++; k > at; k--)
            c->order[k] = c->order[k - 1];
        c->order[at] = ch;
    }
}

static void lock_all(struct cases *c)
{
    for (size_t i = 0; i < c->channels; i++)
        pi_guard_lock(&c->order[i]->guard, c->order[i]->flags);
}

static void unlock_all(struct cases *c)
{
    for (size_t i = c->channels; i-- > 0;)
        pi_guard_unlock(&c->order[i]->guard, c->order[i]->flags);
}

static struct pi_waitlist *list_of(const struct pier_select_case *one)
{
    return one->op == PIER_SELECT_SEND ? &one->ch->senders : &one->ch->receivers;
}

static void join_lists(struct cases *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct pier_select_case *one = &c->all[i];
        c->waiters[i] = (struct pi_waiter){ .wake = &c->wake, .elem = one->elem, .is_case = true };
        pi_waitlist_append(list_of(one), &c->waiters[i]);
    }
}

/* The chosen one was taken out by whoever chose it, and its channel may be gone. */
static void leave_lists(struct cases *c)
{
    for (size_t i = 0; i < c->count; i++) {
        if (&c->waiters[i] == c->wake.chosen)
            continue;
        struct pier_chan *ch = c->all[i].ch;
        pi_guard_lock(&ch->guard, ch->flags);
        if (c->waiters[i].listed)
            pi_waitlist_remove(list_of(&c->all[i]), &c->waiters[i]);
        pi_guard_unlock(&ch->guard, ch->flags);
    }
}

/* Whether a case has been done after all; if not, the waiters are in place. */
static bool try_or_join(struct cases *c, size_t *index)
{
    struct pi_chan_done done = { 0 };
    bool can = false;
    lock_all(c);
    for (size_t i = 0; i < c->count && !can; i++) {
        can = do_now(&c->all[i], &done);
        *index = i;
    }
    if (!can)
        join_lists(c);
    unlock_all(c);
    if (can)
        wake_after(&done);
    return can;
}

/* PIER_LOCAL if all of them are. To be asked before a case can be done, for then the channel may be
 * gone. */
static int shared_flags(const struct cases *c)
{
    int flags = PIER_LOCAL;
    for (size_t i = 0; i < c->channels; i++)
        flags &= c->order[i]->flags;
    return flags;
}

static int wait_any(struct pier_select_case *cases, size_t count, int64_t deadline_ns)
{
    struct cases c;
    size_t index;
    c.all = cases;
    c.count = count;
    c.wake = (struct pi_wake){ .task = pi_task_self() };
    sort_channels(&c);
    int flags = shared_flags(&c);
    if (try_or_join(&c, &index))
        return (int)index;
    int rc = pi_wake_await(&c.wake, deadline_ns, "select", flags);
    bool none = rc < 0 && pi_wake_claim(&c.wake);
    if (!none)
        pi_wake_settle(&c.wake, "select");
    leave_lists(&c);
    if (none)
        return rc;
    index = (size_t)(c.wake.chosen - c.waiters);
    cases[index].rc = c.wake.chosen->rc;
    return (int)index;
}

int pier_select(struct pier_select_case *cases, size_t count, int64_t deadline_ns)
{
    if (count > PIER_SELECT_MAX)
        return pi_fail(-EINVAL, "pier_select: %zu cases, %d at most", count, PIER_SELECT_MAX);
    int rc = pi_cancel_check(pi_task_self());
    if (rc < 0)
        return rc;
    size_t index;
    return try_each(cases, count, &index) ? (int)index : wait_any(cases, count, deadline_ns);
}
