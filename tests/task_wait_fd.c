/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* task_wait_fd: waiting for descriptors that are not Pier's. */
#include "both.h"

#include <limits.h>
#include <sys/eventfd.h>

BOTH(wait_fd_returns_what_is_ready)
{
    int fds[2];
    fd_pair(UNIX, fds);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLOUT, 0), POLLOUT);
    send_all(fds[1], "x", 1);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 0), POLLIN);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN | POLLOUT, 0), POLLIN | POLLOUT);
    close(fds[1]);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 0), POLLIN | POLLHUP);
    ck_assert_int_eq(pier_wait_fd(fds[0], 0, 0), POLLHUP);
    close(fds[0]);
}

/* Writes when the other side has said that it will wait, and has had time to begin. */
static void write_late(int fd, void *unused)
{
    char byte;
    ck_assert_int_eq(read(fd, &byte, 1), 1);
    poll(NULL, 0, 30);
    send_all(fd, "x", 1);
}

BOTH(wait_fd_waits_for_input)
{
    for (int i = 0; i < 3; i++) { /* very likely on the same number: nothing is left behind */
        int fds[2];
        struct peer p;
        char buf[8];
        fd_pair(UNIX, fds);
        start_peer(&p, fds[1], write_late, NULL);
        int64_t begin = pier_now();
        send_all(fds[0], "!", 1);
        ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 0), POLLIN);
        ck_assert_int_ge(ms_since(begin), 25);
        ck_assert_int_eq(read(fds[0], buf, sizeof buf), 1);
        end_peer(&p);
        close(fds[0]);
    }
}

static void read_late(int fd, void *total)
{
    char buf[65536];
    poll(NULL, 0, 30);
    for (size_t left = *(size_t *)total; left > 0;)
        left -= (size_t)read(fd, buf, left < sizeof buf ? left : sizeof buf);
}

BOTH(wait_fd_waits_for_room)
{
    int fds[2];
    struct peer p;
    fd_pair(UNIX, fds);
    size_t total = stuff(fds[0]);
    int64_t begin = pier_now();
    start_peer(&p, fds[1], read_late, &total);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLOUT, 0), POLLOUT);
    ck_assert_int_ge(ms_since(begin), 25);
    end_peer(&p);
    close(fds[0]);
}

BOTH(wait_fd_ends_at_its_deadline)
{
    int fds[2];
    fd_pair(UNIX, fds);
    int64_t begin = pier_now();
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, pier_after(30 * PIER_MILLISECOND)), -ETIMEDOUT);
    ck_assert_int_ge(ms_since(begin), 30);
    ck_assert_int_eq(pier_error_code(), -ETIMEDOUT);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 1), -ETIMEDOUT);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, -1), -ETIMEDOUT);
    send_all(fds[1], "x", 1);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 1), POLLIN); /* it is ready: no wait */
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, -1), POLLIN);
    close(fds[0]);
    close(fds[1]);
}

BOTH(wait_fd_is_cancelled_with_its_scope)
{
    int fds[2];
    struct pier_scope scope;
    fd_pair(UNIX, fds);
    pier_scope_open(&scope, pier_after(20 * PIER_MILLISECOND));
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 0), -ETIMEDOUT);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    pier_scope_open(&scope, 0);
    pier_scope_cancel(&scope);
    send_all(fds[1], "x", 1);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 0), -ECANCELED);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 0), POLLIN);
    close(fds[0]);
    close(fds[1]);
}

BOTH(wait_fd_refuses_what_is_no_descriptor)
{
    int fds[2];
    fd_pair(UNIX, fds);
    close(fds[0]);
    close(fds[1]);
    ck_assert_int_eq(pier_wait_fd(fds[0], POLLIN, 0), -EBADF);
    ck_assert_int_eq(pier_wait_fd(-1, POLLIN, 0), -EBADF);
    ck_assert_str_eq(pier_error(), "wait for descriptor -1: bad file descriptor");
    ck_assert_int_eq(pier_wait_fd(0, 1 << 30, 0), -EINVAL); /* EPOLLONESHOT */
    ck_assert_int_eq(pier_wait_fd(0, INT_MIN, 0), -EINVAL); /* EPOLLET */
}

BOTH(wait_fd_takes_a_regular_file_as_ready)
{
    FILE *f = tmpfile();
    ck_assert_int_eq(pier_wait_fd(fileno(f), POLLIN, 0), POLLIN);
    ck_assert_int_eq(pier_wait_fd(fileno(f), POLLOUT, 0), POLLOUT);
    fclose(f);
}

static int wait_for_input(void *fd)
{
    return pier_wait_fd(*(int *)fd, POLLIN, 0);
}

BOTH(wait_fd_has_one_waiter_at_a_time)
{
    struct pier_scope scope;
    int fd = eventfd(0, EFD_CLOEXEC);
    uint64_t one = 1;
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, wait_for_input, &fd), 0);
    pier_yield();
    ck_assert_int_eq(pier_wait_fd(fd, POLLIN, 0), -EBUSY);
    ck_assert_int_eq(write(fd, &one, sizeof one), sizeof one);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(pier_wait_fd(fd, POLLIN, 0), POLLIN);
    close(fd);
}

/* A task that waits does not keep the others from running. */
BOTH(wait_fd_lets_other_tasks_run)
{
    struct pier_scope scope;
    int fds[2][2];
    fd_pair(UNIX, fds[0]);
    fd_pair(UNIX, fds[1]);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, wait_for_input, &fds[0][0]), 0);
    ck_assert_int_eq(pier_spawn(&scope, wait_for_input, &fds[1][0]), 0);
    pier_yield();
    send_all(fds[1][1], "x", 1);
    send_all(fds[0][1], "x", 1);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    for (int i = 0; i < 4; i++)
        close(fds[i / 2][i % 2]);
}

HARNESS_MAIN("task_wait_fd")
