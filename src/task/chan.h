/* SPDX-License-Identifier: MIT */
/*
 * task/chan.h - the two operations of a channel as chan.c and select.c share them.
 */
#ifndef PI_TASK_CHAN_H
#define PI_TASK_CHAN_H

#include "task/sync.h"

/* What an operation leaves behind: its result, and the waiter to be woken after the guard. */
struct pi_chan_done {
    int rc;
    struct pi_waiter *wake;
};

/* Do the operation if that is possible without waiting; else false. Under the guard. */
bool pi_chan_send_now(struct pier_chan *ch, const void *elem, struct pi_chan_done *done);
bool pi_chan_recv_now(struct pier_chan *ch, void *elem, struct pi_chan_done *done);

/* Whether the caller is the one who decides how the wait ends. */
static inline bool pi_wake_claim(struct pi_wake *wake)
{
    return __atomic_exchange_n(&wake->claimed, 1, __ATOMIC_ACQ_REL) == 0;
}

#endif
