/* SPDX-License-Identifier: MIT */
/*
 * net/capture.h - what a connection's transport has sent and received, as packets in a file, for
 * the files of this folder.
 *
 * Who makes a system call on a connection's descriptor says afterwards what became of it: below
 * TLS, so that the file has what the wire had. Invariant: a failure of the capture's own, memory or
 * disk, is never the connection's.
 */
#ifndef PI_NET_CAPTURE_H
#define PI_NET_CAPTURE_H

#include "net/conn.h"

/* From now on c's traffic goes to k; NULL: it does not. c is connected. local: our address; NULL:
 * its socket's. */
void pi_captured_begin(struct pier_conn *c, struct pier_capture *k, const struct sockaddr *local);
/* c has another socket and peer. */
void pi_captured_moved(struct pier_conn *c);
/* After the last byte. */
void pi_captured_end(struct pier_conn *c);

/* The result of a receive into buf: bytes, 0 the end of a stream, a negative code. */
void pi_captured_in(struct pier_conn *c, const void *buf, ssize_t n);
/* The same of a send of the pieces; 0: our end of the stream. */
void pi_captured_out(struct pier_conn *c, const struct iovec *pieces, int count, ssize_t n);

/* As pi_captured_in(), but written only before what comes next: the secrets that these bytes lead
 * to have to stand in front of them. */
void pi_captured_hold(struct pier_conn *c, const void *buf, size_t len);

static inline void pi_capture_in(struct pier_conn *c, const void *buf, ssize_t n)
{
    if (c->captured)
        pi_captured_in(c, buf, n);
}

static inline void pi_capture_out(struct pier_conn *c, const struct iovec *pieces, int count,
                                  ssize_t n)
{
    if (c->captured)
        pi_captured_out(c, pieces, count, n);
}

static inline void pi_capture_sent(struct pier_conn *c, const void *buf, ssize_t n)
{
    struct iovec piece = { (void *)buf, n > 0 ? (size_t)n : 0 };
    if (c->captured)
        pi_captured_out(c, &piece, 1, n);
}

#endif
