/* SPDX-License-Identifier: MIT */
/*
 * net/resolve.h - looking up names, for the files of this folder: what waits for getaddrinfo(3).
 */
#ifndef PI_NET_RESOLVE_H
#define PI_NET_RESOLVE_H

#include "task/io.h"

/* The addresses of a host, of one family or both (AF_UNSPEC), in the order of getaddrinfo(3), whose
 * flags these are; with AI_NUMERICHOST nothing is looked up, nor is localhost ever (RFC 6761, 6.3).
 * Returns a record with at least one address, for pi_free(); or NULL after pi_fail() with words
 * that begin with what ("dial tcp://x:1"). Waits, until deadline_ns. */
struct pi_resolve *pi_resolve_host(const char *host, int family, int flags, int64_t deadline_ns,
                                   const char *what) PIER_MUST_USE;

#endif
