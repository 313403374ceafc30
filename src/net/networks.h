/* SPDX-License-Identifier: MIT */
/*
 * net/networks.h - networks as options name them: themselves, or files with one a line.
 */
#ifndef PI_NET_NETWORKS_H
#define PI_NET_NETWORKS_H

#include "net/cidr.h"

/* Whether text means a network, and not the name of a file: what looks like one is written
 * "./10.txt". */
bool pi_is_network(const char *text);

/* Adds the network, or those of the file, to the list. 0, or a negative code whose words begin with
 * what and have the place of the mistake. Blocks the thread while a file is read. */
int pi_networks_read(struct pi_cidrs *all, const char *text, bool denies, const char *what);

#endif
