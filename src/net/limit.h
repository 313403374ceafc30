/* SPDX-License-Identifier: MIT */
/*
 * net/limit.h - what a server remembers of the addresses that come to it: how many connections each
 * has, how fast they come, and which are banned.
 *
 * Everything is in one block of bounded size, which processes may share; no call waits, and no
 * process that dies within one leaves anything behind but, in its own slot, its counts. An address
 * is known by a keyed hash of it, of IPv6 by one of its /64: that is what one subscriber has.
 */
#ifndef PI_NET_LIMIT_H
#define PI_NET_LIMIT_H

#include "net/cidr.h"

struct pi_limit_opts {
    int slots;            /* processes that count, each for itself */
    int max_conns;        /* that all have together: more need not be remembered */
    int max_per_ip;       /* 0: connections are not counted */
    int64_t interval_ns;  /* between two new connections, in the long run; 0: any */
    int64_t tolerance_ns; /* by how much they may come early all in all: burst x interval */
};

struct pi_limits;

/* The size of the block, in bytes, of which only what is used becomes memory; and makes one of
 * zeroed memory, 64-byte aligned, with a key that nobody else knows. */
size_t pi_limits_size(const struct pi_limit_opts *opts);
void pi_limits_init(struct pi_limits *l, const struct pi_limit_opts *opts, const uint64_t key[2]);

/* What stands for the address below; never 0. */
uint64_t pi_limits_id(const struct pi_limits *l, const struct pi_ip *ip);

/* Bans it until then (in place of any ban that it has; not later than now: lifts it). 0, or -ENOSPC
 * when there are so many bans that this one, the first to end, finds no room. */
int pi_limits_ban(struct pi_limits *l, uint64_t id, int64_t until_ns, int64_t now_ns);
bool pi_limits_is_banned(const struct pi_limits *l, const struct pi_ip *ip, int64_t now_ns);
/* Whether there has ever been a ban: else nobody need be asked about. */
bool pi_limits_has_bans(const struct pi_limits *l);

/* Whether it may begin one more connection now, which counts as begun then (the generic cell rate
 * algorithm, ITU-T I.371). */
bool pi_limits_pass(struct pi_limits *l, uint64_t id, int64_t now_ns);

/* Counts a connection in, whether there may be one more; and out again. One thread at a time for
 * each slot. */
bool pi_limits_enter(struct pi_limits *l, int slot, uint64_t id);
void pi_limits_leave(struct pi_limits *l, int slot, uint64_t id);

/* Forgets what a process had counted that is no more. */
void pi_limits_clear(struct pi_limits *l, int slot);

/* How many connections it has, over all slots. */
int pi_limits_count(const struct pi_limits *l, uint64_t id);

#endif
