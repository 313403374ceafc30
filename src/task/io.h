/* SPDX-License-Identifier: MIT */
/*
 * task/io.h - the one seam through which everything waits for the outside: descriptors, time,
 * names, other threads' work.
 *
 *   io_run(op)   parks the caller until op has its result; op lives on the caller's stack.
 *   io_arm(op)   parks nobody; op lives in an object, and op->done(op) is called on the loop when
 *                it has its result.
 *
 * What a backend must do is struct io_backend below; each is one file of the same few functions:
 * io_direct.c (no loop on this thread: system calls, and poll(2) when they would block),
 * io_epoll.c, io_uring.c, and the simulator's io_sim.c. Rules for all of them:
 *   - results are system-call results, or negative codes; interrupted calls are repeated, never
 *     reported;
 *   - a completed operation returns its result even if it was cancelled meanwhile;
 *   - a buffer belongs to the operation until it returns (until done() is called);
 *   - one operation per descriptor and direction, a second one is -EBUSY;
 *   - io_interrupt_read() ends a waiting read with -EINTR, the one way to see that code: a server's
 *     stop does it.
 */
#ifndef PI_TASK_IO_H
#define PI_TASK_IO_H

#include "task/task.h"

#include <netinet/in.h>
#include <sys/socket.h>

/* Those that wait for readability come first: io_is_read() is one comparison. */
enum io_code {
    IO_RECV,     /* fd, buf, len */
    IO_RECVMSG,  /* fd, buf: struct msghdr */
    IO_RECVMMSG, /* fd, buf: struct mmsghdr, len: how many; result: how many */
    IO_READ,     /* fd, buf, len: pipes and the like */
    IO_ACCEPT,   /* fd, buf: struct sockaddr or NULL, addr_len; result: a non-blocking descriptor */
    IO_SPLICE_IN, /* fd to the pipe other_fd, len bytes */
    IO_READABLE,  /* fd: until a read is likely not to wait; result: 0. For who shares the buffer */
    IO_LAST_READ = IO_READABLE,
    IO_SEND,       /* fd, buf, len */
    IO_SENDMSG,    /* fd, buf: struct msghdr */
    IO_SENDMMSG,   /* fd, buf: struct mmsghdr, len: how many; result: how many */
    IO_WRITEV,     /* fd, buf: struct iovec, len: how many */
    IO_CONNECT,    /* fd, buf: struct sockaddr, addr_len; len: 0 */
    IO_SPLICE_OUT, /* the pipe other_fd to fd, len bytes */
    IO_WRITABLE,   /* fd: as IO_READABLE, for a write */
    IO_POLL,       /* fd, len: poll(2) events; result: events */
    IO_SLEEP,      /* until deadline_ns: 0 */
    IO_OFFLOAD,    /* job: runs on an offload thread */
    IO_RESOLVE,    /* job, and buf: struct pi_resolve, for backends that know names themselves */
    IO_FILE,       /* buf: struct pi_file_call (file.h); no deadline of its own */
};

/* A descriptor and what a backend knows of it. Embedded in connections and listeners; lives until
 * io_close(). */
struct io_fd {
    int fd;
    bool may_read, may_write; /* a call is likely not to block */
    bool greedy;              /* a short read leaves nothing: TCP, batches of datagrams */
    bool hung_up;             /* the end or an error is in the queue: stay readable */
    bool watches_write;       /* epoll: EPOLLOUT is registered */
    bool exclusive;           /* several loops wait for it: wake one of them */
    bool keeps_port;          /* of datagrams: io_uring must not hold on to it after our death */
    bool interrupted;         /* io_interrupt_read() found no reader: the next wait ends at once */
    bool may_block;           /* direct: a stream socket that nobody else uses */
    bool is_blocking;         /* direct: its O_NONBLOCK is off */
    bool limits_block;        /* direct: its SO_RCVTIMEO is set */
    uint64_t loop_serial;     /* the loop it is registered with */
    struct io_op *reader, *writer;
    struct io_fd *next_kicked; /* epoll: armed with a hint set */
    bool kicked;
};

/* As an operation's deadline: do it if it does not wait, else -EAGAIN. */
#define IO_NOW ((int64_t)-1)

struct pi_offload_job;

/* What IO_RESOLVE asks and is told. */
enum { PI_RESOLVE_MAX = 16, PI_RESOLVE_HOST = 256 };

enum pi_resolve_kind {
    PI_RESOLVE_ADDRS, /* of host */
    PI_RESOLVE_NAME,  /* of addrs[0], into host */
    PI_RESOLVE_SELF,  /* the host itself: for io_try(), in simulations only; no job */
};

struct pi_resolve {
    enum pi_resolve_kind kind;
    char host[PI_RESOLVE_HOST];
    int family; /* AF_UNSPEC: both */
    int flags;  /* of getaddrinfo(3) */
    int gai;    /* 0, or EAI_NONAME… */
    int error;  /* errno of EAI_SYSTEM */
    int count;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } addrs[PI_RESOLVE_MAX]; /* ports are 0 */
};

struct io_op {
    enum io_code code;
    struct io_fd *fd;
    void *buf;
    size_t len;
    socklen_t addr_len;
    int other_fd;
    int64_t deadline_ns; /* the operation's own; 0: none */
    struct pi_offload_job *job;
    struct pi_task *task;           /* that called io_run(), once past its check; else NULL */
    void (*done)(struct io_op *op); /* of io_arm(); must not wait */
    ssize_t result;
    bool in_kernel; /* io_uring: a completion is to come */
    bool hinted;    /* IO_POLL for input, armed: what the backend was told is enough */
};

struct io_sockets;

struct io_backend {
    const char *name;
    const struct io_sockets *sockets;
    /* Prepares loop->io; 0 or a negative code, -EPERM, -ENOSYS and -ENOMEM meaning: use another
     * backend. */
    int (*open)(struct pi_loop *loop);
    void (*close)(struct pi_loop *loop);
    /* Collects completions, making tasks ready and calling done(); sleeps until deadline_ns (0: as
     * long as it takes; -1: not at all) or until the thread is woken. */
    void (*poll)(struct pi_loop *loop, int64_t deadline_ns);
    ssize_t (*run)(struct pi_loop *loop, struct pi_task *self, struct io_op *op);
    /* op's call at once; -EAGAIN where it would wait. */
    ssize_t (*attempt)(struct pi_loop *loop, struct io_op *op);
    int (*arm)(struct pi_loop *loop, struct io_op *op);
    /* Ends an armed operation with -ECANCELED; done() is called exactly once, here or later. */
    void (*disarm)(struct pi_loop *loop, struct io_op *op);
    /* Before f->fd is closed or leaves the loop: nothing of it stays behind. */
    void (*detach)(struct pi_loop *loop, struct io_fd *f);
    /* A descriptor that is readable when poll() has something to do; watch() adds one, a timer, to
     * what makes it so. */
    int (*pollable_fd)(struct pi_loop *loop);
    int (*watch)(struct pi_loop *loop, int fd);
    /* Whether poll() has something to do that the descriptor does not show. */
    bool (*has_work)(struct pi_loop *loop);
};

extern const struct io_backend io_epoll, io_uring_backend;

/* 0, or why no ring can be had here; asked once. */
int io_uring_probe(void);

/* Rings that are open in this process. */
int io_ring_count(void);

/* What new loops use: PIER_BACKEND, else the best that works here. */
const struct io_backend *io_choose_backend(void);

/* Checks for cancellation, then waits for op on this thread's backend. */
ssize_t io_run(struct io_op *op);

/* op's call at once, -EAGAIN where it would wait; whatever the scope says. */
ssize_t io_try(struct io_op *op);

/* Needs a loop on this thread. 0 or a negative code, and then done() is not called. */
int io_arm(struct io_op *op);
void io_disarm(struct io_op *op);

/* The backend of threads without a loop. */
ssize_t io_direct_run(struct pi_task *self, struct io_op *op);
int io_direct_park(struct pi_task *self, int64_t deadline_ns);

/* Ends the read, accept or poll that waits on f, if any, with -EINTR. On the thread that waits. */
void io_interrupt_read(struct io_fd *f);

static inline void io_fd_init(struct io_fd *f, int fd)
{
    *f = (struct io_fd){ .fd = fd, .may_read = true, .may_write = true };
}

/* Between open and close, which nest, threads without a loop read by blocking calls from
 * descriptors that may_block, where the signal for it is not in use by the program. */
void io_blocking_open(void);
void io_blocking_close(void);
/* Whether the running thread may: then it takes the signal. */
bool io_blocking_here(void);
/* Its O_NONBLOCK is on again, and stays so: others get to see the descriptor. */
void io_never_block(struct io_fd *f);

/* Takes f out of this thread's loop; the descriptor is then free to go elsewhere. */
void io_detach(struct io_fd *f);

/* Closes the descriptor; nobody waits on it any more. */
void io_close(struct io_fd *f);

/* For backends: what op returns whose wait ended with rc. At its deadline a read is tried once
 * more, so that a short one on a slow machine still finds what is there. */
ssize_t io_last_look(struct io_op *op, int rc);

/* For backends: op's system call without waiting; -EAGAIN where it would. Keeps f's hints. */
ssize_t io_call(struct io_op *op);

/* For backends: after op has had the result n, is another one likely to find something? */
void io_keep_hint(const struct io_op *op, ssize_t n);

/* For backends: the direction that op waits for. */
static inline bool io_is_read(const struct io_op *op)
{
    enum { WANTS_INPUT = 1 }; /* POLLIN */
    return op->code <= IO_LAST_READ || (op->code == IO_POLL && (op->len & WANTS_INPUT));
}

/* For backends: where op stands on its descriptor while it waits. */
static inline struct io_op **io_slot(const struct io_op *op)
{
    return io_is_read(op) ? &op->fd->reader : &op->fd->writer;
}

/* For backends: a list of descriptors that the next poll looks at by itself. */
static inline void io_kick(struct io_fd **list, struct io_fd *f)
{
    if (f->kicked)
        return;
    f->kicked = true;
    f->next_kicked = *list;
    *list = f;
}

void io_unkick(struct io_fd **list, struct io_fd *f);

/* For backends: how long to sleep for a poll's deadline, in ns; -1: for ever. */
static inline int64_t io_time_left(int64_t deadline_ns)
{
    if (deadline_ns == 0)
        return -1;
    int64_t left = deadline_ns < 0 ? 0 : deadline_ns - pi_clock_ns();
    return left > 0 ? left : 0;
}

/* For backends, before op waits: -EINTR when an interruption came first. */
static inline int io_take_interrupt(const struct io_op *op)
{
    if (!op->fd->interrupted || !io_is_read(op))
        return 0;
    op->fd->interrupted = false;
    return -EINTR;
}

/* For backends: time and other threads' work, which are the same everywhere. */
ssize_t io_sleep(struct pi_task *self, struct io_op *op);
ssize_t io_offload(struct pi_task *self, struct io_op *op);

/* For backends that sleep in the kernel: a time-out makes it set up a timer for each sleep (0.8 us
 * of a 6 us echo), and idle time-outs are far away. What is far is left to a timer descriptor of
 * the backend's, which is set only when something nearer comes. */
struct io_far_timer {
    int fd;          /* -1: there is none */
    int64_t when_ns; /* that it is set to */
};

/* Whether t wakes the loop in time for deadline_ns, so that it may sleep without one. */
bool io_is_far(struct io_far_timer *t, const struct pi_loop *loop, int64_t deadline_ns);

/* Between these, what raises SIGPIPE on this thread only returns -EPIPE (splice(2), writing to a
 * pipe: they know no MSG_NOSIGNAL). They nest, across tasks, too. raised: one has returned it. A
 * thread that blocks the signal anyway is left alone. */
void pi_sigpipe_hold(void);
void pi_sigpipe_release(bool raised);

/* "read", "accept": for dumps. */
const char *io_name(enum io_code code);

#endif
