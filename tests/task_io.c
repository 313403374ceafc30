/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring direct */
/*
 * The seam: each operation in a loop of the backend, or, for direct, on a thread without one. The
 * other end of a descriptor is a thread with plain system calls.
 */
#include "harness.h"
#include "task_threads.h"

#include "task/io.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

static bool is_direct(void)
{
    const char *backend = getenv("PIER_BACKEND");
    return backend && strcmp(backend, "direct") == 0;
}

static bool is_uring(void)
{
    return strcmp(pier_backend(NULL), "io_uring") == 0;
}

static void need_loop(void)
{
    if (is_direct())
        test_skip("one thread without a loop has one task");
}

/* Checks run as a task, or on the thread itself. */
static void run(pier_task_fn fn, void *arg)
{
    ck_assert_int_eq(is_direct() ? fn(arg) : in_a_loop(fn, arg), 0);
}

struct ends {
    struct io_fd f;
    int peer;
    struct pi_thread *thread;
};

static void open_ends(struct ends *e)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    fcntl(fds[1], F_SETFL, 0);
    io_fd_init(&e->f, fds[0]);
    e->peer = fds[1];
    e->thread = thread_self();
}

static void close_ends(struct ends *e)
{
    io_close(&e->f);
    close(e->peer);
}

static ssize_t receive(struct io_fd *f, void *buf, size_t len, int64_t deadline_ns)
{
    struct io_op op = {
        .code = IO_RECV, .fd = f, .buf = buf, .len = len, .deadline_ns = deadline_ns
    };
    return io_run(&op);
}

static ssize_t send_some(struct io_fd *f, const void *buf, size_t len, int64_t deadline_ns)
{
    struct io_op op = { .code = IO_SEND,
                        .fd = f,
                        .buf = (void *)(uintptr_t)buf,
                        .len = len,
                        .deadline_ns = deadline_ns };
    return io_run(&op);
}

/* ---- reading and writing ---- */

static void *write_when_asleep(void *arg)
{
    struct ends *e = arg;
    thread_await_sleep(e->thread);
    return write(e->peer, "hello", 5) == 5 ? NULL : arg;
}

static int read_waits(void *arg)
{
    for (int i = 0; i < 50; i++) {
        struct ends e;
        char buf[16];
        open_ends(&e);
        pthread_t id = thread_start(write_when_asleep, &e);
        ck_assert_int_eq(receive(&e.f, buf, sizeof buf, 0), 5);
        ck_assert_int_eq(memcmp(buf, "hello", 5), 0);
        thread_end(id);
        ck_assert_int_eq(receive(&e.f, buf, sizeof buf, IO_NOW), -EAGAIN);
        ck_assert_ptr_null(e.f.reader);
        close_ends(&e);
    }
    return 0;
}

TEST(a_read_waits_for_data)
{
    run(read_waits, NULL);
}

enum { MUCH = 4 << 20 };

static void *drain_slowly(void *arg)
{
    struct ends *e = arg;
    static unsigned char buf[100000];
    size_t len = 0;
    thread_await_sleep(e->thread); /* the writer is stuck */
    while (len < MUCH) {
        ssize_t n = read(e->peer, buf, 1 + len % sizeof buf);
        if (n <= 0)
            return arg;
        for (ssize_t i = 0; i < n; i++)
            if (buf[i] != (unsigned char)((len + (size_t)i) % 251))
                return arg;
        len += (size_t)n;
    }
    return NULL;
}

static int write_much(void *arg)
{
    static unsigned char data[MUCH];
    for (size_t i = 0; i < MUCH; i++)
        data[i] = (unsigned char)(i % 251);
    struct ends e;
    open_ends(&e);
    pthread_t id = thread_start(drain_slowly, &e);
    for (size_t len = 0; len < MUCH;) {
        ssize_t n = send_some(&e.f, data + len, MUCH - len, 0);
        ck_assert_int_gt(n, 0);
        len += (size_t)n;
    }
    void *failed = NULL;
    pthread_join(id, &failed);
    ck_assert_ptr_null(failed);
    close_ends(&e);
    return 0;
}

TEST(a_write_waits_for_room_and_every_byte_arrives)
{
    run(write_much, NULL);
}

static int meet_end(void *arg)
{
    struct ends e;
    char buf[4];
    open_ends(&e);
    ck_assert_int_eq(write(e.peer, "last", 4), 4);
    close(e.peer);
    ck_assert_int_eq(receive(&e.f, buf, 4, 0), 4);
    ck_assert_int_eq(receive(&e.f, buf, 4, 0), 0);
    ck_assert_int_eq(receive(&e.f, buf, 4, 0), 0);
    ck_assert_int_eq(send_some(&e.f, "x", 1, 0), -EPIPE); /* and no SIGPIPE */
    io_close(&e.f);
    io_close(&e.f);
    return 0;
}

TEST(the_end_is_0_and_a_write_to_nobody_epipe)
{
    run(meet_end, NULL);
}

/* A short read of a greedy descriptor says that nothing is left, and a full one does not. */
static int read_in_pieces(void *arg)
{
    struct ends e;
    char buf[10];
    open_ends(&e);
    e.f.greedy = true;
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(write(e.peer, "0123456789012345678901234", 25), 25);
        ck_assert_int_eq(receive(&e.f, buf, 10, 0), 10);
        ck_assert_int_eq(pier_sleep(1), 0); /* the edge has been seen */
        ck_assert_int_eq(receive(&e.f, buf, 10, 0), 10);
        ck_assert_int_eq(receive(&e.f, buf, 10, 0), 5);
        ck_assert(!e.f.may_read);
    }
    close_ends(&e);
    return 0;
}

TEST(what_a_full_read_leaves_is_there_for_the_next)
{
    run(read_in_pieces, NULL);
}

static void *write_and_close(void *arg)
{
    struct ends *e = arg;
    thread_await_sleep(e->thread);
    ssize_t n = write(e->peer, "last", 4);
    close(e->peer);
    return n == 4 ? NULL : arg;
}

/* Data and the end come with one edge. */
static int read_to_the_end(void *arg)
{
    for (int i = 0; i < 100; i++) {
        struct ends e;
        char buf[10];
        open_ends(&e);
        e.f.greedy = true;
        pthread_t id = thread_start(write_and_close, &e);
        ck_assert_int_eq(receive(&e.f, buf, 10, 0), 4);
        ck_assert_int_eq(receive(&e.f, buf, 10, 0), 0);
        thread_end(id);
        io_close(&e.f);
    }
    return 0;
}

TEST(the_end_is_seen_after_the_last_data)
{
    run(read_to_the_end, NULL);
}

/* ---- deadlines and cancellation ---- */

static int pass_deadline(void *arg)
{
    struct ends e;
    char buf[16];
    open_ends(&e);
    int64_t start = pier_now();
    ck_assert_int_eq(receive(&e.f, buf, sizeof buf, pier_after(5 * PIER_MILLISECOND)), -ETIMEDOUT);
    ck_assert_int_ge(pier_now() - start, 5 * PIER_MILLISECOND);
    ck_assert_ptr_null(e.f.reader);
    ck_assert_int_eq(write(e.peer, "late", 4), 4);
    ck_assert_int_eq(receive(&e.f, buf, sizeof buf, pier_after(PIER_SECOND)), 4);
    ck_assert_int_eq(memcmp(buf, "late", 4), 0);
    close_ends(&e);
    return 0;
}

TEST(a_deadline_that_passes_loses_no_byte)
{
    run(pass_deadline, NULL);
}

/* A byte every now and then, and deadlines of about that length: each byte is read once, in order.
 */
static void *write_now_and_then(void *arg)
{
    struct ends *e = arg;
    for (int i = 0; i < 300; i++) {
        unsigned char c = (unsigned char)i;
        usleep((unsigned)(i % 7) * 30);
        if (write(e->peer, &c, 1) != 1)
            return arg;
    }
    return NULL;
}

static int read_impatiently(void *arg)
{
    struct ends e;
    open_ends(&e);
    pthread_t id = thread_start(write_now_and_then, &e);
    int timed_out = 0;
    for (int i = 0; i < 300;) {
        unsigned char buf[8];
        struct pier_scope s;
        pier_scope_open(&s, pier_after(100 * PIER_MICROSECOND));
        ssize_t n = receive(&e.f, buf, sizeof buf, 0);
        ck_assert_int_eq(pier_scope_join(&s), 0);
        ck_assert(n > 0 || n == -ETIMEDOUT);
        timed_out += n < 0;
        for (ssize_t k = 0; k < n; k++)
            ck_assert_int_eq(buf[k], (unsigned char)i++);
    }
    thread_end(id);
    ck_assert_int_gt(timed_out, 0);
    close_ends(&e);
    return 0;
}

TEST_WITHIN(60, cancelled_reads_lose_no_byte)
{
    test_not_on_valgrind("it is a matter of microseconds");
    run(read_impatiently, NULL);
}

static int refuse(void *arg)
{
    struct ends e;
    char buf[4] = "none";
    struct pier_scope s;
    open_ends(&e);
    ck_assert_int_eq(write(e.peer, "data", 4), 4);
    pier_scope_open(&s, 0);
    pier_scope_cancel(&s);
    ck_assert_int_eq(receive(&e.f, buf, 4, 0), -ECANCELED); /* though it could complete */
    ck_assert_int_eq(send_some(&e.f, "x", 1, 0), -ECANCELED);
    pier_scope_join(&s);
    ck_assert_int_eq(receive(&e.f, buf, 4, 0), 4);
    ck_assert_int_eq(memcmp(buf, "data", 4), 0);
    close_ends(&e);
    return 0;
}

TEST(every_operation_checks_for_cancellation_first)
{
    run(refuse, NULL);
}

/* ---- one operation per direction ---- */

struct reader {
    struct io_fd *f;
    char buf[16];
    ssize_t n;
};

static int read_one(void *arg)
{
    struct reader *r = arg;
    r->n = receive(r->f, r->buf, sizeof r->buf, 0);
    return 0;
}

TEST(a_second_reader_is_busy_and_a_writer_is_not)
{
    need_loop();
    struct ends e;
    char buf[4];
    open_ends(&e);
    struct reader first = { .f = &e.f };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, read_one, &first);
    pier_yield();
    ck_assert_int_eq(receive(&e.f, buf, 4, 0), -EBUSY);
    ck_assert_int_eq(send_some(&e.f, "ping", 4, 0), 4);
    ck_assert_int_eq(write(e.peer, "pong", 4), 4);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(first.n, 4);
    close_ends(&e);
}

/* The first reader has been made ready, but has not run yet: what came is still its own. */
TEST(a_second_reader_cannot_come_between_readiness_and_the_first)
{
    need_loop();
    struct ends e;
    char buf[4];
    open_ends(&e);
    struct reader first = { .f = &e.f };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, read_one, &first);
    ck_assert_int_eq(pier_sleep(1), 0);
    ck_assert_int_eq(write(e.peer, "mine", 4), 4);
    thread_self()->loop->budget = 1; /* the next yield asks the backend */
    ck_assert_int_eq(pier_yield(), 0);
    ck_assert_int_eq(first.n, 0);
    ck_assert_int_eq(receive(&e.f, buf, 4, 0), -EBUSY);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(first.n, 4);
    ck_assert_int_eq(memcmp(first.buf, "mine", 4), 0);
    close_ends(&e);
}

/* ---- interrupt ---- */

TEST(an_interrupted_read_returns_eintr_and_loses_nothing)
{
    need_loop();
    struct ends e;
    char buf[4];
    open_ends(&e);
    struct reader r = { .f = &e.f };
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, read_one, &r);
    pier_yield();
    io_interrupt_read(&e.f);
    ck_assert_int_eq(write(e.peer, "kept", 4), 4);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    if (is_uring() && r.n == 4) { /* the kernel was faster */
        memcpy(buf, r.buf, 4);
    } else {
        ck_assert_int_eq(r.n, -EINTR);
        ck_assert_int_eq(receive(&e.f, buf, 4, 0), 4);
    }
    ck_assert_int_eq(memcmp(buf, "kept", 4), 0);
    close_ends(&e);
}

TEST(an_interrupt_before_the_wait_ends_the_next_wait_only)
{
    struct ends e;
    char buf[4];
    open_ends(&e);
    io_interrupt_read(&e.f);
    ck_assert_int_eq(receive(&e.f, buf, 4, 0), -EINTR);
    ck_assert_int_eq(receive(&e.f, buf, 4, pier_after(PIER_MILLISECOND)), -ETIMEDOUT);
    ck_assert_int_eq(write(e.peer, "kept", 4), 4);
    io_interrupt_read(&e.f);
    ck_assert_int_eq(receive(&e.f, buf, 4, IO_NOW), 4); /* would not wait: not its affair */
    close_ends(&e);
}

/* Woken for nothing, and interrupted before it runs: it must not go back to sleep. */
TEST(an_interrupt_between_a_vain_readiness_and_the_reader_is_not_lost)
{
    need_loop();
    if (is_uring())
        test_skip("a receive in the kernel is never ready in vain");
    struct ends e;
    char buf[4];
    open_ends(&e);
    struct reader r = { .f = &e.f };
    struct pier_scope s;
    pier_scope_open(&s, pier_after(2 * PIER_SECOND));
    pier_spawn(&s, read_one, &r);
    ck_assert_int_eq(pier_sleep(1), 0);
    ck_assert_int_eq(write(e.peer, "gone", 4), 4);
    thread_self()->loop->budget = 1;
    ck_assert_int_eq(pier_yield(), 0);
    ck_assert_int_eq(r.n, 0);
    ck_assert_int_eq(read(e.f.fd, buf, 4), 4); /* behind the reader's back */
    io_interrupt_read(&e.f);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(r.n, -EINTR);
    close_ends(&e);
}

/* ---- other operations ---- */

struct dialler {
    struct sockaddr_in to;
    struct pi_thread *thread;
};

static void *dial_and_talk(void *arg)
{
    struct dialler *d = arg;
    char buf[4];
    thread_await_sleep(d->thread);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    void *failed = NULL;
    if (connect(fd, (struct sockaddr *)&d->to, sizeof d->to) < 0 || read(fd, buf, 2) != 2 ||
        write(fd, "yo", 2) != 2)
        failed = arg;
    close(fd);
    return failed;
}

static int listen_on_loopback(struct sockaddr_in *at)
{
    socklen_t len = sizeof *at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    *at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    ck_assert_int_eq(bind(fd, (struct sockaddr *)at, sizeof *at), 0);
    ck_assert_int_eq(listen(fd, 10), 0);
    getsockname(fd, (struct sockaddr *)at, &len);
    return fd;
}

/* TCP is greedy: after a short read the next one waits without trying first. */
static int accept_and_talk(void *arg)
{
    for (int i = 0; i < 20; i++) {
        struct dialler d = { .thread = thread_self() };
        struct io_fd listener, conn;
        struct sockaddr_in peer;
        char buf[16];
        io_fd_init(&listener, listen_on_loopback(&d.to));
        pthread_t id = thread_start(dial_and_talk, &d);
        struct io_op op = {
            .code = IO_ACCEPT, .fd = &listener, .buf = &peer, .addr_len = sizeof peer
        };
        int fd = (int)io_run(&op);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
        ck_assert_int_eq(peer.sin_family, AF_INET);
        io_fd_init(&conn, fd);
        conn.greedy = true;
        ck_assert_int_eq(send_some(&conn, "hi", 2, 0), 2);
        ck_assert_int_eq(receive(&conn, buf, sizeof buf, 0), 2);
        ck_assert_int_eq(receive(&conn, buf, sizeof buf, 0), 0);
        thread_end(id);
        io_close(&conn);
        io_close(&listener);
    }
    return 0;
}

TEST(connections_are_accepted_and_talk_to_the_end)
{
    run(accept_and_talk, NULL);
}

static int connect_out(void *arg)
{
    struct sockaddr_in at;
    int listener = listen_on_loopback(&at);
    for (int refused = 0; refused < 2; refused++) {
        struct io_fd f;
        io_fd_init(&f, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
        struct io_op op = { .code = IO_CONNECT, .fd = &f, .buf = &at, .addr_len = sizeof at };
        ck_assert_int_eq(io_run(&op), refused ? -ECONNREFUSED : 0);
        if (!refused)
            ck_assert_int_eq(send_some(&f, "x", 1, 0), 1);
        io_close(&f);
        if (!refused)
            close(listener);
    }
    return 0;
}

TEST(connect_succeeds_or_says_refused)
{
    run(connect_out, NULL);
}

static int use_messages(void *arg)
{
    struct ends e;
    char a[3], b[8];
    open_ends(&e);
    struct iovec out[] = { { "ab", 2 }, { "cde", 3 } }, in[] = { { a, 3 }, { b, 8 } };
    struct io_op writev_op = { .code = IO_WRITEV, .fd = &e.f, .buf = out, .len = 2 };
    ck_assert_int_eq(io_run(&writev_op), 5);
    struct msghdr msg = { .msg_iov = out, .msg_iovlen = 2 };
    struct io_op send_op = { .code = IO_SENDMSG, .fd = &e.f, .buf = &msg };
    ck_assert_int_eq(io_run(&send_op), 5);
    ck_assert_int_eq(read(e.peer, b, 8), 8);
    ck_assert_int_eq(memcmp(b, "abcdeabc", 8), 0);
    ck_assert_int_eq(write(e.peer, "12345", 5), 5);
    struct msghdr got = { .msg_iov = in, .msg_iovlen = 2 };
    struct io_op recv_op = { .code = IO_RECVMSG, .fd = &e.f, .buf = &got };
    ck_assert_int_eq(io_run(&recv_op), 5);
    ck_assert_int_eq(memcmp(a, "123", 3) | memcmp(b, "45", 2), 0);
    close_ends(&e);
    return 0;
}

TEST(vectors_and_messages_pass)
{
    run(use_messages, NULL);
}

static void *feed_pipe(void *arg)
{
    struct ends *e = arg;
    thread_await_sleep(e->thread);
    return write(e->peer, "stream", 6) == 6 ? NULL : arg;
}

/* Pipe to pipe to socket, each waiting for its turn. */
static int use_pipes(void *arg)
{
    struct ends e, source;
    int fds[2], mid[2];
    char buf[8];
    open_ends(&e);
    ck_assert_int_eq(pipe2(fds, O_NONBLOCK), 0);
    ck_assert_int_eq(pipe2(mid, O_NONBLOCK), 0);
    io_fd_init(&source.f, fds[0]);
    source.peer = fds[1];
    source.thread = thread_self();
    pthread_t id = thread_start(feed_pipe, &source);
    struct io_op read_op = { .code = IO_READ, .fd = &source.f, .buf = buf, .len = 3 };
    ck_assert_int_eq(io_run(&read_op), 3);
    struct io_op in = { .code = IO_SPLICE_IN, .fd = &source.f, .other_fd = mid[1], .len = 100 };
    ck_assert_int_eq(io_run(&in), 3);
    struct io_op out = { .code = IO_SPLICE_OUT, .fd = &e.f, .other_fd = mid[0], .len = 3 };
    ck_assert_int_eq(io_run(&out), 3);
    ck_assert_int_eq(read(e.peer, buf + 3, 3), 3);
    ck_assert_int_eq(memcmp(buf, "stream", 6), 0);
    thread_end(id);
    io_close(&source.f);
    close(fds[1]);
    close(mid[0]);
    close(mid[1]);
    close_ends(&e);
    return 0;
}

TEST(pipes_are_read_and_spliced)
{
    run(use_pipes, NULL);
}

/* ---- armed operations ---- */

struct armed {
    struct io_op op;
    char buf[8];
    int calls;
};

static void on_done(struct io_op *op)
{
    PI_CONTAINER_OF(op, struct armed, op)->calls++;
}

static void arm(struct armed *a, struct io_fd *f)
{
    *a = (struct armed){ .op = { .code = IO_RECV, .fd = f, .len = 8, .done = on_done } };
    a->op.buf = a->buf;
    ck_assert_int_eq(io_arm(&a->op), 0);
}

static int arm_reads(void *arg)
{
    struct ends e;
    struct armed a, b;
    open_ends(&e);
    arm(&a, &e.f);
    b.op = (struct io_op){ .code = IO_RECV, .fd = &e.f, .buf = b.buf, .len = 8, .done = on_done };
    ck_assert_int_eq(io_arm(&b.op), -EBUSY);
    ck_assert_int_eq(pier_sleep(1), 0);
    ck_assert_int_eq(a.calls, 0);
    ck_assert_int_eq(write(e.peer, "one", 3), 3);
    while (a.calls == 0)
        ck_assert_int_eq(pier_sleep(1), 0);
    ck_assert_int_eq(a.op.result, 3);
    ck_assert_int_eq(memcmp(a.buf, "one", 3), 0);
    /* Data that an edge has told of already. */
    ck_assert_int_eq(write(e.peer, "twothree", 8), 8);
    ck_assert_int_eq(pier_sleep(1), 0);
    ck_assert_int_eq(receive(&e.f, b.buf, 3, 0), 3);
    arm(&a, &e.f);
    while (a.calls == 0)
        ck_assert_int_eq(pier_sleep(1), 0);
    ck_assert_int_eq(a.op.result, 5);
    arm(&a, &e.f);
    io_disarm(&a.op);
    io_disarm(&a.op);
    ck_assert_int_eq(write(e.peer, "four", 4), 4);
    ck_assert_int_eq(pier_sleep(1), 0);
    ck_assert_int_eq(a.calls, 1);
    ck_assert_int_eq(a.op.result, -ECANCELED);
    ck_assert_int_eq(receive(&e.f, a.buf, 8, 0), 4);
    io_detach(&e.f);
    close_ends(&e);
    return 0;
}

TEST(an_armed_operation_is_done_once)
{
    need_loop();
    ck_assert_int_eq(in_a_loop(arm_reads, NULL), 0);
}

/* ---- descriptors that move and that are not ours ---- */

TEST(a_descriptor_moves_from_a_loop_to_a_thread_and_back)
{
    need_loop();
    struct ends e;
    open_ends(&e);
    for (int i = 0; i < 3; i++) {
        struct reader r = { .f = &e.f };
        struct pier_scope s;
        pier_scope_open(&s, 0);
        pier_spawn(&s, read_one, &r);
        ck_assert_int_eq(pier_sleep(1), 0);
        ck_assert_int_eq(write(e.peer, "loop", 4), 4);
        while (r.n == 0)
            ck_assert_int_eq(pier_sleep(1), 0);
        io_detach(&e.f);
        ck_assert_int_eq(pier_scope_join(&s), 0);
        char buf[8];
        pthread_t id = thread_start(write_when_asleep, &e);
        ck_assert_int_eq(receive(&e.f, buf, sizeof buf, 0), 5); /* now without a loop */
        thread_end(id);
    }
    close_ends(&e);
}

static int wait_on_fds(void *arg)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(pier_wait_fd(fds[1], POLLOUT, 0), POLLOUT);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, pier_after(PIER_MILLISECOND)), -ETIMEDOUT);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 1), -ETIMEDOUT);
    struct ends e = { .peer = fds[1], .thread = thread_self() };
    pthread_t id = thread_start(feed_pipe, &e);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 0), POLLIN);
    thread_end(id);
    close(fds[1]);
    int ready = pier_wait_fd(fds[0], POLLIN, 0);
    ck_assert_int_eq(ready & (POLLIN | POLLHUP), POLLIN | POLLHUP);
    close(fds[0]);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 0), -EBADF);
    ck_assert_int_eq(pier_wait_fd(-1, POLLIN, 0), -EBADF);
    int file = open("/proc/self/exe", O_RDONLY);
    ck_assert_int_eq(pier_wait_fd(file, POLLIN, 0), POLLIN); /* always ready */
    close(file);
    return 0;
}

TEST(any_descriptor_can_be_waited_for)
{
    run(wait_on_fds, NULL);
}

static int wait_for_input(void *arg)
{
    return pier_wait_fd(*(int *)arg, POLLIN, 0);
}

TEST(a_second_wait_for_a_descriptor_is_busy)
{
    need_loop();
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, wait_for_input, &fds[0]);
    pier_yield();
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 0), -EBUSY);
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    close(fds[0]);
    close(fds[1]);
}

/* 200 tasks, one byte going round: no edge is missed, whoever waits for what. */
struct ring {
    struct io_fd in, out;
};

static int pass_on(void *arg)
{
    struct ring *r = arg;
    char c;
    for (int i = 0; i < 20; i++) {
        if (receive(&r->in, &c, 1, 0) != 1 || send_some(&r->out, &c, 1, 0) != 1)
            return -EIO;
    }
    return 0;
}

TEST(a_byte_goes_round_a_ring_of_tasks)
{
    need_loop();
    enum { COUNT = 200 };
    static struct ring ring[COUNT];
    for (int i = 0; i < COUNT; i++) {
        int fds[2];
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        io_fd_init(&ring[i].out, fds[0]);
        io_fd_init(&ring[(i + 1) % COUNT].in, fds[1]);
    }
    struct pier_scope s;
    pier_scope_open(&s, 0);
    for (int i = 0; i < COUNT; i++)
        pier_spawn(&s, pass_on, &ring[i]);
    ck_assert_int_eq(write(ring[COUNT - 1].out.fd, "x", 1), 1);
    ck_assert_int_eq(pier_scope_join(&s), 0);
}

HARNESS_MAIN("task_io")
