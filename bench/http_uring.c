/* SPDX-License-Identifier: MIT */
/*
 * The io_uring floor of HTTP: multishot accept and receive into a ring of buffers, and bytes that
 * were made before for each request, sent without a completion. It understands nothing: all
 * requests are taken for as long as the first one. `--close` answers once and closes.
 *
 * Usage: http_uring [--close]. Prints `listening on tcp://127.0.0.1:PORT`. Exit code 77 where
 * io_uring is refused.
 */
#include <liburing.h>
#include <netinet/tcp.h>

#include "http_canned.h"

enum { ENTRIES = 4096, FD_COUNT = 65536, BUFFERS = 1024, BUFFER_BYTES = 8192 };
enum kind { ACCEPT, RECEIVE, IGNORE };

static struct io_uring ring;
static struct io_uring_buf_ring *free_bufs;
static char bufs[BUFFERS][BUFFER_BYTES];
static char replies[sizeof CANNED * BATCH_MAX];
static size_t carried[FD_COUNT]; /* bytes of a request that is not whole */
static size_t request_len;
static bool closes;

static uint64_t tag(enum kind kind, int fd)
{
    return (uint64_t)kind | (uint64_t)fd << 32;
}

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
    io_uring_sqe_set_data64(sqe, tag(ACCEPT, listener));
}

static void arm_receive(int fd)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    io_uring_sqe_set_data64(sqe, tag(RECEIVE, fd));
}

static void drop(int fd)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_close(sqe, fd);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(sqe, tag(IGNORE, fd));
}

/* A reply that is cut short fails its client, who says so. */
static void answer(int fd, size_t count)
{
    struct io_uring_sqe *sqe = next_sqe();
    io_uring_prep_send(sqe, fd, replies, count * (sizeof CANNED - 1),
                       MSG_WAITALL | MSG_DONTWAIT | MSG_NOSIGNAL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS | (closes ? IOSQE_IO_LINK : 0);
    io_uring_sqe_set_data64(sqe, tag(IGNORE, fd));
    if (closes) {
        sqe = next_sqe();
        io_uring_prep_shutdown(sqe, fd, SHUT_RDWR); /* the receive ends with it */
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        io_uring_sqe_set_data64(sqe, tag(IGNORE, fd));
    }
}

static void take(int fd, const char *bytes, size_t n)
{
    if (request_len == 0)
        request_len = first_request(bytes, n);
    size_t have = carried[fd] + n;
    size_t count = request_len ? have / request_len : 0;
    carried[fd] = request_len ? have % request_len : have;
    if (count > 0)
        answer(fd, count < BATCH_MAX ? count : BATCH_MAX);
}

static void give_back(int buffer)
{
    io_uring_buf_ring_add(free_bufs, bufs[buffer], BUFFER_BYTES, (unsigned short)buffer,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(free_bufs, 1);
}

static void on_receive(const struct io_uring_cqe *cqe, int fd)
{
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        int buffer = (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        if (cqe->res > 0)
            take(fd, bufs[buffer], (size_t)cqe->res);
        give_back(buffer);
    }
    if (cqe->flags & IORING_CQE_F_MORE)
        return;
    if (cqe->res > 0 || cqe->res == -ENOBUFS)
        arm_receive(fd);
    else
        drop(fd);
}

static void on_accept(const struct io_uring_cqe *cqe, int listener)
{
    int on = 1;
    if (cqe->res >= 0) {
        setsockopt(cqe->res, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        carried[cqe->res] = 0;
        arm_receive(cqe->res);
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        arm_accept(listener);
}

static void set_up(void)
{
    struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER |
                                               IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
                                      .cq_entries = 4 * ENTRIES };
    int rc = io_uring_queue_init_params(ENTRIES, &ring, &params);
    if (rc < 0)
        fail("io_uring_setup", rc);
    if (posix_memalign((void **)&free_bufs, 4096, BUFFERS * sizeof(struct io_uring_buf)))
        fail("memory", -ENOMEM);
    struct io_uring_buf_reg reg = { .ring_addr = (uintptr_t)free_bufs, .ring_entries = BUFFERS };
    rc = io_uring_register_buf_ring(&ring, &reg, 0);
    if (rc < 0)
        fail("buffer ring", rc);
    io_uring_buf_ring_init(free_bufs);
    for (int i = 0; i < BUFFERS; i++)
        give_back(i);
}

int main(int argc, char **argv)
{
    closes = argc > 1 && strcmp(argv[1], "--close") == 0;
    for (size_t i = 0; i < BATCH_MAX; i++)
        memcpy(replies + i * (sizeof CANNED - 1), CANNED, sizeof CANNED - 1);
    set_up();
    arm_accept(listen_loopback());
    for (;;) {
        int rc = io_uring_submit_and_wait(&ring, 1);
        if (rc < 0 && rc != -EINTR)
            fail("io_uring_enter", rc);
        struct io_uring_cqe *cqe;
        unsigned head, count = 0;
        io_uring_for_each_cqe(&ring, head, cqe)
        {
            int fd = (int)(cqe->user_data >> 32);
            count++;
            if ((enum kind)(cqe->user_data & 0xff) == ACCEPT)
                on_accept(cqe, fd);
            else if ((enum kind)(cqe->user_data & 0xff) == RECEIVE)
                on_receive(cqe, fd);
        }
        io_uring_cq_advance(&ring, count);
    }
}
