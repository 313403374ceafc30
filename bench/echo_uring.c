/* SPDX-License-Identifier: MIT */
/*
 * The io_uring floor: multishot accept and receive into a ring of buffers, sends without a
 * completion, and one system call that submits and reaps for all connections.
 *
 * Invariant: a buffer goes back into the ring only after the submission that sends it. Sends do not
 * wait (MSG_DONTWAIT) and take all or fail (MSG_WAITALL), so one that posts no completion is done;
 * the rare short one is finished with a blocking poll, which a floor may do and a server may not.
 *
 * Usage: echo_uring [BUFFER [WORKERS]]. Prints `listening on tcp://127.0.0.1:PORT`. Exit code 77
 * where io_uring is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "listen.h"

#define ENTRY_COUNT 4096
#define FD_COUNT 65536
#define GROUP 0
#define SMALL_COUNT 1024 /* buffers; must be powers of two */
#define LARGE_COUNT 16   /* more would only cycle through memory */
#define LARGE_BYTES 16384
#define WORKER_MAX 64

enum kind { ACCEPT, HANDED, RECEIVE, SEND, IGNORE };

/* What a completion is about: kind in 8 bits, buffer in 24, descriptor in 32. */
static uint64_t tag(enum kind kind, int buffer, int fd)
{
    return (uint64_t)kind | (uint64_t)buffer << 8 | (uint64_t)fd << 32;
}

static size_t buf_cap = 4096;
static int worker_count = 1;
static int pipes[WORKER_MAX][2]; /* by which the first worker hands connections to the others */

/* A worker's own. */
static _Thread_local struct io_uring ring;
static _Thread_local struct io_uring_buf_ring *free_bufs;
static _Thread_local char *bufs;
static _Thread_local int buf_count;
static _Thread_local uint32_t due_len[SMALL_COUNT]; /* what each buffer's send must take */
static _Thread_local int used[SMALL_COUNT], used_count;
static _Thread_local int handed; /* the connection that the pipe brings */

static void fail(const char *what, int rc)
{
    fprintf(stderr, "%s: %s\n", what, strerror(-rc));
    exit(rc == -EPERM || rc == -ENOSYS || rc == -EINVAL ? 77 : 1);
}

static struct io_uring_sqe *next_sqe(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    return sqe;
}

static void arm_accept(int listener)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, tag(ACCEPT, 0, listener));
}

static void arm_receive(int fd)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    io_uring_sqe_set_data64(sqe, tag(RECEIVE, 0, fd));
}

static void drop(int fd)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_close(sqe, fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, tag(IGNORE, 0, fd));
}

static void send_buffer(int fd, int buffer, int len)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_send(sqe, fd, bufs + (size_t)buffer * buf_cap, (size_t)len,
                       MSG_WAITALL | MSG_DONTWAIT | MSG_NOSIGNAL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, tag(SEND, buffer, fd));
    due_len[buffer] = (uint32_t)len;
    used[used_count++] = buffer;
}

/* A send that was short, or found no room at all. */
static void finish_send(int fd, int buffer, int res)
{
    size_t off = res > 0 ? (size_t)res : 0;
    if (res < 0 && res != -EAGAIN)
        return; /* the receive sees the end as well */
    while (off < due_len[buffer]) {
        struct pollfd wait = { .fd = fd, .events = POLLOUT };
        poll(&wait, 1, -1);
        ssize_t n = send(fd, bufs + (size_t)buffer * buf_cap + off, due_len[buffer] - off,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return;
        off += n > 0 ? (size_t)n : 0;
    }
}

static void arm_handed(int pipe)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_read(sqe, pipe, &handed, sizeof handed, 0);
    io_uring_sqe_set_data64(sqe, tag(HANDED, 0, pipe));
}

/* Connections go to the workers in turn, so that all have equally many. */
static void serve_in_turn(int fd)
{
    static int turn;
    int worker = turn++ % worker_count;
    if (worker == 0)
        arm_receive(fd);
    else if (write(pipes[worker][1], &fd, sizeof fd) != sizeof fd)
        fail("pipe", -errno);
}

static void on_accept(const struct io_uring_cqe *cqe, int listener)
{
    int on = 1;
    if (cqe->res >= 0) {
        setsockopt(cqe->res, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        serve_in_turn(cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        arm_accept(listener);
}

static void on_receive(const struct io_uring_cqe *cqe, int fd)
{
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        int buffer = (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        if (cqe->res > 0)
            send_buffer(fd, buffer, cqe->res);
        else
            used[used_count++] = buffer;
    }
    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    if (cqe->res > 0 || cqe->res == -ENOBUFS)
        arm_receive(fd);
    else
        drop(fd);
}

/* The sends of the last batch are submitted: their buffers are free again. */
static void recycle(int count)
{
    int mask = io_uring_buf_ring_mask((unsigned)buf_count);
    for (int i = 0; i < count; i++)
        io_uring_buf_ring_add(free_bufs, bufs + (size_t)used[i] * buf_cap, (unsigned)buf_cap,
                              (unsigned short)used[i], mask, i);
    io_uring_buf_ring_advance(free_bufs, count);
    memmove(used, used + count, (size_t)(used_count - count) * sizeof *used);
    used_count -= count;
}

static void set_up(void)
{
    struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER |
                                               IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
                                      .cq_entries = 4 * ENTRY_COUNT };
    int rc = io_uring_queue_init_params(ENTRY_COUNT, &ring, &params);
    if (rc < 0)
        fail("io_uring_setup", rc);
    buf_count = buf_cap >= LARGE_BYTES ? LARGE_COUNT : SMALL_COUNT;
    if (posix_memalign((void **)&bufs, 4096, (size_t)buf_count * buf_cap) != 0 ||
        posix_memalign((void **)&free_bufs, 4096, (size_t)buf_count * sizeof(struct io_uring_buf)))
        fail("memory", -ENOMEM);
    memset(bufs, 0, (size_t)buf_count * buf_cap);
    struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)free_bufs,
                                    .ring_entries = (unsigned)buf_count,
                                    .bgid = GROUP };
    rc = io_uring_register_buf_ring(&ring, &reg, 0);
    if (rc < 0)
        fail("buffer ring", rc);
    io_uring_buf_ring_init(free_bufs);
    for (used_count = 0; used_count < buf_count; used_count++)
        used[used_count] = used_count;
    recycle(buf_count);
}

static void on_completion(const struct io_uring_cqe *cqe)
{
    int fd = (int)(cqe->user_data >> 32);
    switch ((enum kind)(cqe->user_data & 0xff)) {
    case ACCEPT:
        on_accept(cqe, fd);
        break;
    case HANDED:
        arm_receive(handed);
        arm_handed(fd);
        break;
    case RECEIVE:
        on_receive(cqe, fd);
        break;
    case SEND:
        finish_send(fd, (int)(cqe->user_data >> 8 & 0xffffff), cqe->res);
        break;
    case IGNORE:
        break;
    }
}

static _Noreturn void serve(void)
{
    for (;;) {
        int sent = used_count; /* their sends are in this submission */
        int rc = io_uring_submit_and_wait(&ring, 1);
        if (rc < 0 && rc != -EINTR)
            fail("io_uring_enter", rc);
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            count++;
            on_completion(cqe);
        }
        io_uring_cq_advance(&ring, count);
        recycle(sent);
    }
}

static void *run_worker(void *arg)
{
    set_up();
    arm_handed(*(int *)arg);
    serve();
}

int main(int argc, char **argv)
{
    if (argc > 1)
        buf_cap = strtoul(argv[1], NULL, 10);
    if (argc > 2)
        worker_count = atoi(argv[2]);
    if (worker_count < 1 || worker_count > WORKER_MAX)
        return 2;
    set_up();
    for (int i = 1; i < worker_count; i++) {
        pthread_t thread;
        if (pipe2(pipes[i], O_CLOEXEC) < 0 ||
            pthread_create(&thread, NULL, run_worker, &pipes[i][0]) != 0)
            fail("worker", -EAGAIN);
    }
    arm_accept(listen_loopback());
    serve();
}
