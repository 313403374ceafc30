/* SPDX-License-Identifier: MIT */
/*
 * net/datagram.h - a server's udp:// sockets: a post owns one and sorts what comes by peer into
 * conversations, each of which its handler sees as a connection.
 *
 * A post lives on one worker's loop. All of its conversations run there, or on threads or in
 * processes of their own; so a peer's datagrams stay in order and nothing is shared but the queues,
 * and those only with threads.
 */
#ifndef PI_NET_DATAGRAM_H
#define PI_NET_DATAGRAM_H

#include "net/server.h"

/* Serves listener l on this worker's loop, from now on: the socket is the post's. 0 or a negative
 * code. */
int pi_post_open(struct pi_worker *w, struct pi_listener *l);

/* Every post of the worker hands out what the kernel still has, and receives no more. 0, or the
 * code that ended the wait. */
int pi_posts_drain(struct pi_worker *w, int64_t until_ns);

/* With processes: starts those conversations that wait for a process. On the worker's own task. */
void pi_posts_start(struct pi_worker *w);

/* Ends a conversation of this worker's that is idle: whether there was one. */
bool pi_posts_evict(struct pi_worker *w);

/* The process of a conversation has ended. */
void pi_conv_process_ended(struct pi_conv *v);

/* In a new process: closes what belongs to the others. own: its conversation; NULL: a stream. */
void pi_posts_let_go(struct pi_worker *w, const struct pi_conv *own);

/* After the last conversation: the tasks of the posts end, before the worker's scope is joined. */
void pi_posts_close(struct pi_worker *w);

/* After the scope is joined. */
void pi_posts_free(struct pi_worker *w);

/* Makes c the connection of a conversation that a->conv stands for. */
void pi_conv_attach(struct pier_conn *c, const struct pi_accepted *a, struct pier_server *s);

#endif
