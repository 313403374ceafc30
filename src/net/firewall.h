/* SPDX-License-Identifier: MIT */
/*
 * net/firewall.h - whom a server lets in: lists of networks, bans, and limits for each address.
 *
 * A server without one (no .firewall in its options) lets everybody in, and every call here says so
 * at once. Unix sockets are nobody's address and always let in.
 */
#ifndef PI_NET_FIREWALL_H
#define PI_NET_FIREWALL_H

#include "net/server.h"

/* Reads the lists and makes the tables: 0, or a negative code with words. May wait for a thread. */
int pi_firewall_open(struct pier_server *s);
void pi_firewall_close(struct pier_server *s);

/* Whether lists and bans let an address in: for who learns it later than at accept. A refusal has
 * been counted, and perhaps logged. Never waits, any thread. */
bool pi_firewall_check(struct pier_server *s, const struct sockaddr *addr);

/* The same for a new connection of this address, which its limits then have counted: *who is for
 * leave, once, when it has ended (0: nothing to leave). */
bool pi_firewall_enter(struct pier_server *s, const struct sockaddr *addr, uint64_t *who);
void pi_firewall_leave(struct pier_server *s, uint64_t who);

/* Closes a connection that was not let in: with a reset, so that nothing of it stays. */
void pi_firewall_turn_away(int fd);

/* In a worker process: which slot's counts are its own; and, in its parent, that it is no more. */
void pi_firewall_set_slot(struct pier_server *s, int slot);
void pi_firewall_clear_slot(struct pier_server *s, int slot);
/* In a connection's own process: what that counted would stay when it crashes. */
void pi_firewall_count_nobody(struct pier_server *s);

/* Looks at the files every second, in a task of the worker's scope, and reads them again when they
 * have changed; ends that. 0 or a negative code. */
int pi_firewall_watch(struct pi_worker *w);
void pi_firewall_unwatch(struct pi_worker *w);

/* Logs what was refused and not yet logged. */
void pi_firewall_say_rest(struct pier_server *s);

#endif
