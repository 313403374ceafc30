/* SPDX-License-Identifier: MIT */
/*
 * net/dial.h - dialling for the parts of the library that tell how long its steps took.
 */
#ifndef PI_NET_DIAL_H
#define PI_NET_DIAL_H

#include "net/conn.h"

/* When a step was over (pier_now()); 0: it was not needed, or has failed. */
struct pi_dial_times {
    int64_t resolved_ns, connected_ns, secured_ns;
};

/* pier_dial(); times may be NULL. */
struct pier_conn *pi_dial(const char *url, const struct pier_dial_opts *opts,
                          struct pi_dial_times *times);

#endif
