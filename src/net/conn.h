/* SPDX-License-Identifier: MIT */
/*
 * net/conn.h - what a connection is made of, for the files of this folder.
 *
 * The way of the bytes: backend (io_run) - transport - look-ahead - the caller's buffer, and back.
 * A transport does single operations and knows nothing of time-outs' defaults, stickiness or text;
 * conn.c and read.c do that once for all of them. Invariant: bytes that have been received and not
 * returned lie in ahead, in order; every read takes them first.
 */
#ifndef PI_NET_CONN_H
#define PI_NET_CONN_H

#include "net/addr.h"
#include "task/io.h"

#include <pier/net.h>

struct pi_transport {
    const char *scheme;
    bool is_datagram;
    /* One read of 1 to len bytes; 0 at the end; a negative code. deadline_ns IO_NOW: -EAGAIN
     * instead of waiting. */
    ssize_t (*read)(struct pier_conn *c, void *buf, size_t len, int64_t deadline_ns);
    /* One write of some of the pieces (of datagrams: all): how many bytes, at least 1, or a
     * negative code. Datagram transports have set the words of -EMSGSIZE and -ECONNREFUSED, and
     * whoever returns PIER_ETLS those of that. */
    ssize_t (*writev)(struct pier_conn *c, struct iovec *pieces, int count, int64_t deadline_ns);
    int (*shutdown_write)(struct pier_conn *c);
    /* Must not wait: connections without a task are closed, too. */
    void (*close)(struct pier_conn *c);
};

enum { PI_AHEAD_SMALL = 8 }; /* a character that was cut */

/* What a handler of the library's own returns, where c->may_idle: the connection is to wait for
 * input without a task, and the handler is called with it again then. Nothing is in the look-ahead.
 */
enum { PI_IDLE = 1 };

struct pier_conn {
    struct io_fd io;
    const struct pi_transport *transport;
    int read_error, write_error; /* sticky; 0: none */
    bool reading, writing, at_end;
    bool write_ended;             /* half-closed by us */
    bool is_owned;                /* a server's: the memory is not the caller's to free */
    bool may_idle;                /* its handler may return PI_IDLE: see idle.c */
    bool is_proxied;              /* a trusted proxy's header is still to come: see proxy.c */
    struct pier_server *server;   /* that accepted it; NULL: dialled */
    const _Atomic bool *draining; /* of that server, while a stop is to end its reads; else NULL */
    int64_t read_timeout_ns, write_timeout_ns; /* 0: none */
    int64_t bytes_read, bytes_written;
    int64_t held_until_ns; /* ahead is a cut character that waits until then; 0: it is not */
    char *ahead;           /* small, or allocated */
    size_t ahead_start, ahead_len, ahead_cap;
    char small[PI_AHEAD_SMALL];
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } peer; /* as accepted or dialled; unix: the family alone */
    char *peer_text, *local_text;
    struct pi_child *child;       /* of pier_exec() */
    struct pi_captured *captured; /* its traffic goes to a file, too: see capture.h */
    void *own;                    /* the transport's */
    uint64_t who; /* the client that such a header named, as of struct pi_accepted */
    struct pier_conn *prev, *next; /* a worker's connections */
};

/* Prepares a connection over a non-blocking descriptor. */
void pi_conn_init(struct pier_conn *c, int fd, const struct pi_transport *transport,
                  const struct sockaddr *peer);
void pi_conn_timeouts(struct pier_conn *c, int read_ms, int write_ms);

/* Closes the descriptor and frees what hangs on the connection, not the connection. */
void pi_conn_fini(struct pier_conn *c);

/* A connection of its own memory, or NULL (then fd is still the caller's): pi_conn_init() and
 * defaults from opts. */
struct pier_conn *pi_conn_new(int fd, const struct pi_transport *transport,
                              const struct sockaddr *peer, const struct pier_dial_opts *opts);

/* The code of the last failure, for calls on NULL. */
int pi_conn_null(void);

/* One read past the look-ahead, with time-outs, the end, stickiness and words. own_ns: a deadline
 * instead of the read time-out; 0: none. */
ssize_t pi_conn_read_some(struct pier_conn *c, void *buf, size_t len, int64_t own_ns);

/* The same for an operation of its own kind on c's descriptor (splice, recvmsg), whose deadline is
 * set here. What the system refuses as such (pi_is_refused) is not sticky, and without words. */
ssize_t pi_conn_read_op(struct pier_conn *c, struct io_op *op);

/* One write of at least a byte, and one operation that writes, with time-outs, stickiness and
 * words. The caller keeps what was not written, so time-outs and cancellations are not sticky. */
ssize_t pi_conn_write_some(struct pier_conn *c, const void *bytes, size_t len);
ssize_t pi_conn_write_op(struct pier_conn *c, struct io_op *op);

/* Whether an operation was not even tried: it does not exist for this descriptor, or what it
 * carries is no good. */
static inline bool pi_is_refused(ssize_t n)
{
    return n == -EINVAL || n == -ENOSYS || n == -EOPNOTSUPP || n == -EBADF || n == -ETOOMANYREFS;
}

/* Takes up to len bytes from the look-ahead; puts bytes back in front of it (0 or -ENOMEM); frees
 * room for cap bytes in all. */
size_t pi_conn_take(struct pier_conn *c, void *buf, size_t len);
int pi_conn_put_back(struct pier_conn *c, const void *bytes, size_t len);
int pi_conn_reserve(struct pier_conn *c, size_t cap);

/* Gives back what a connection can do without while nobody reads or writes. */
void pi_conn_slim(struct pier_conn *c);

/* Sets the failure "<verb> <scheme>://<peer>: ..." and returns code. */
int pi_conn_fail(struct pier_conn *c, const char *verb, int code);

extern const struct pi_transport pi_tcp, pi_unix, pi_pipe;
const struct pi_transport *pi_transport_of(int family);

/* sockopt.c: applies opts (NULL: defaults) to a TCP socket; accepted sockets inherit a listener's.
 * 0 or a negative code. */
int pi_sock_apply(int fd, const struct pier_sock_opts *opts);

/* exec.c: the end of a child's connection. */
void pi_child_close(struct pier_conn *c);

#endif
