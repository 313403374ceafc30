/* SPDX-License-Identifier: MIT */
/*
 * net/proxy.h - connections that trusted proxies pass on, and whose they really are.
 */
#ifndef PI_NET_PROXY_H
#define PI_NET_PROXY_H

#include "net/server.h"

/* Reads whom the server trusts: 0, or a negative code with words. */
int pi_proxies_open(struct pier_server *s);
void pi_proxies_close(struct pier_server *s);

/* Whether connections from addr begin with a header. */
bool pi_proxies_have(const struct pier_server *s, const struct sockaddr *addr);

/* Reads the header, and nothing behind it, and makes its client the peer of c, if the firewall lets
 * that in: 0, or a negative code with words, of which -ECANCELED and what peers do every day are
 * not worth a warning. Waits. */
int pi_proxy_begin(struct pier_conn *c);

/* The connection has ended: its client is no longer counted. */
void pi_proxy_end(struct pier_conn *c);

#endif
