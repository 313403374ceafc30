/* SPDX-License-Identifier: MIT */
/*
 * net/hosts.h - the table of hosts(5): addresses of names, and names of addresses.
 */
#ifndef PI_NET_HOSTS_H
#define PI_NET_HOSTS_H

#include "task/io.h"

struct pi_hosts;

/* Takes over text, which is malloc()'s and ends with NUL; lines that make no sense are left out.
 * NULL without memory, and then text stays the caller's. */
struct pi_hosts *pi_hosts_new(char *text) PIER_MUST_USE;
void pi_hosts_free(struct pi_hosts *hosts);

/* Adds what the table has for r->host and r->family; whether there was anything. hosts may be NULL.
 */
bool pi_hosts_find(const struct pi_hosts *hosts, struct pi_resolve *r);

/* The first name of an address; NULL: it has none. Lives as long as the table. */
const char *pi_hosts_name(const struct pi_hosts *hosts, const struct sockaddr *addr);

#endif
