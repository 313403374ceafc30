/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* net_unix: passing descriptors, and the credentials of the peer. */
#include "both.h"

#include <sys/resource.h>

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* Sends one byte with count descriptors by plain calls. */
static void send_raw(int socket, const int *fds, int count)
{
    char control[CMSG_SPACE(64 * sizeof(int))] = { 0 };
    struct iovec byte = { "b", 1 };
    struct msghdr msg = {
        .msg_iov = &byte,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int)),
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, (size_t)count * sizeof(int));
    ck_assert_int_eq(sendmsg(socket, &msg, 0), 1);
}

BOTH(unix_passes_descriptors)
{
    struct pier_conn *ends[2];
    int pipes[2], got[4];
    char text[8] = "";
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    ck_assert_int_eq(pipe(pipes), 0);
    ck_assert_int_eq(pier_send_fds(ends[0], pipes, 2), 2);
    ck_assert_int_eq(pier_recv_fds(ends[1], got, 4), 2);
    ck_assert(is_open(pipes[0]) && is_open(pipes[1]));
    ck_assert_int_eq(fcntl(got[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(fcntl(got[1], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(write(got[1], "hello", 5), 5);
    ck_assert_int_eq(read(pipes[0], text, sizeof text), 5);
    ck_assert_str_eq(text, "hello");
    for (int i = 0; i < 2; i++) {
        close(pipes[i]);
        close(got[i]);
        pier_close(ends[i]);
    }
}

BOTH(unix_passes_sixteen_descriptors_between_bytes)
{
    struct pier_conn *ends[2];
    int fds[17], got[17];
    char text[16];
    int before = open_fds();
    for (int i = 0; i < 17; i++)
        fds[i] = dup(2);
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    ck_assert_int_eq(pier_puts(ends[0], "before"), 6);
    ck_assert_int_eq(pier_send_fds(ends[0], fds, 16), 16);
    ck_assert_int_eq(pier_puts(ends[0], "after"), 5);
    ck_assert_int_eq(pier_read_exact(ends[1], text, 6), 6);
    ck_assert_int_eq(pier_recv_fds(ends[1], got, 16), 16);
    ck_assert_int_eq(pier_read_exact(ends[1], text, 5), 5);
    ck_assert_int_eq(memcmp(text, "after", 5), 0);
    ck_assert_int_eq(pier_send_fds(ends[0], fds, 17), -EINVAL);
    ck_assert_int_eq(pier_send_fds(ends[0], fds, 0), -EINVAL);
    ck_assert_int_eq(pier_recv_fds(ends[1], got, 0), -EINVAL);
    int64_t bytes_read, bytes_written;
    pier_conn_bytes(ends[0], NULL, &bytes_written);
    pier_conn_bytes(ends[1], &bytes_read, NULL);
    ck_assert_int_eq(bytes_written, 12);
    ck_assert_int_eq(bytes_read, 12);
    for (int i = 0; i < 16; i++)
        close(got[i]);
    for (int i = 0; i < 17; i++)
        close(fds[i]);
    pier_close(ends[0]);
    pier_close(ends[1]);
    ck_assert_int_eq(open_fds(), before);
}

BOTH(unix_closes_descriptors_that_are_too_many)
{
    int other, fds[20], got[3];
    for (int i = 0; i < 20; i++)
        fds[i] = dup(2);
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    int before = open_fds();
    for (int count = 4; count <= 20; count += 16) {
        send_raw(other, fds, count);
        ck_assert_int_eq(pier_recv_fds(c, got, 3), -EPROTO);
        ck_assert_int_eq(open_fds(), before);
    }
    send_raw(other, fds, 3); /* and the connection goes on */
    ck_assert_int_eq(pier_recv_fds(c, got, 3), 3);
    ck_assert_int_eq(open_fds(), before + 3);
    for (int i = 0; i < 3; i++)
        close(got[i]);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
    pier_close(c);
    close(other);
}

BOTH(unix_refuses_a_byte_without_descriptors)
{
    int other, got[4];
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    send_all(other, "ab", 2);
    ck_assert_int_eq(pier_recv_fds(c, got, 4), -EPROTO);
    char text[4];
    ck_assert_int_eq(pier_read(c, text, sizeof text), 1);
    ck_assert_int_eq(text[0], 'b');
    /* One that an earlier read has fetched, too. */
    send_all(other, "line\nx", 6);
    char line[8];
    ck_assert_int_eq(pier_read_line(c, line, sizeof line), 4);
    ck_assert_int_eq(pier_recv_fds(c, got, 4), -EPROTO);
    close(other);
    ck_assert_int_eq(pier_recv_fds(c, got, 4), -ENODATA);
    ck_assert_int_eq(pier_recv_fds(c, got, 4), -ENODATA);
    pier_close(c);
}

/* What has no room in this process is lost, and what had is closed. */
BOTH(unix_says_when_the_process_has_too_many)
{
    test_not_on_valgrind("it raises the limit for descriptors of its own");
    int other, fds[4], got[4];
    struct rlimit limit;
    for (int i = 0; i < 4; i++)
        fds[i] = dup(2);
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    int before = open_fds();
    int next = dup(2);
    close(next);
    send_raw(other, fds, 4);
    getrlimit(RLIMIT_NOFILE, &limit);
    struct rlimit low = { (rlim_t)next + 2, limit.rlim_max };
    setrlimit(RLIMIT_NOFILE, &low);
    int rc = pier_recv_fds(c, got, 4);
    setrlimit(RLIMIT_NOFILE, &limit);
    ck_assert_int_eq(rc, -EMFILE);
    ck_assert_int_eq(open_fds(), before);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    pier_close(c);
    close(other);
}

BOTH(unix_bad_descriptor_leaves_the_connection_sound)
{
    int other, bad = 1000;
    char byte;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    ck_assert_int_eq(pier_send_fds(c, &bad, 1), -EBADF);
    ck_assert_str_eq(pier_error(), "send descriptors unix://unix: bad file descriptor");
    ck_assert_int_eq(pier_write(c, "x", 1), 1);
    ck_assert_int_eq(recv_all(other, &byte, 1), 1);
    pier_close(c);
    close(other);
}

static void pass_stderr_late(int fd, void *unused)
{
    int stderr_fd = 2;
    poll(NULL, 0, 30);
    send_raw(fd, &stderr_fd, 1);
}

BOTH(unix_waits_for_descriptors)
{
    struct peer p;
    int got;
    struct pier_conn *c = dial_peer(&p, UNIX, pass_stderr_late, NULL);
    ck_assert_int_eq(pier_recv_fds(c, &got, 1), 1);
    close(got);
    end_peer(&p);
    ck_assert_int_eq(pier_recv_fds(c, &got, 1), -ENODATA);
    pier_close(c);
}

BOTH(unix_sending_waits_within_the_time_out)
{
    int other, fd = 2;
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    stuff(pier_conn_fd(c));
    pier_set_timeouts(c, 20, 20);
    ck_assert_int_eq(pier_send_fds(c, &fd, 1), -ETIMEDOUT);
    ck_assert_int_eq(pier_recv_fds(c, &fd, 1), -ETIMEDOUT);
    close(other);
    fd = 2;
    ck_assert_int_eq(pier_send_fds(c, &fd, 1), -EPIPE);
    ck_assert_int_eq(pier_write(c, "x", 1), -EPIPE); /* sticky */
    pier_close(c);
}

BOTH(unix_tells_who_the_peer_is)
{
    struct pier_conn *ends[2];
    struct pier_peer_cred cred;
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    ck_assert_int_eq(pier_peer_cred(ends[0], &cred), 0);
    ck_assert_int_eq(cred.pid, getpid());
    ck_assert_int_eq(cred.uid, getuid());
    ck_assert_int_eq(cred.gid, getgid());
    pier_close(ends[0]);
    pier_close(ends[1]);
}

BOTH(unix_calls_are_for_unix_sockets)
{
    int other, fd = 2;
    struct pier_peer_cred cred;
    struct pier_conn *c = conn_and_fd(TCP, &other);
    ck_assert_int_eq(pier_send_fds(c, &fd, 1), -EOPNOTSUPP);
    ck_assert_int_eq(pier_recv_fds(c, &fd, 1), -EOPNOTSUPP);
    ck_assert_int_eq(pier_peer_cred(c, &cred), -EOPNOTSUPP);
    ck_assert_int_eq(pier_write(c, "x", 1), 1);
    pier_close(c);
    close(other);
    pier_error_set(-ECONNREFUSED, "dial");
    ck_assert_int_eq(pier_send_fds(NULL, &fd, 1), -ECONNREFUSED);
    ck_assert_int_eq(pier_recv_fds(NULL, &fd, 1), -ECONNREFUSED);
    ck_assert_int_eq(pier_peer_cred(NULL, &cred), -ECONNREFUSED);
    ck_assert_str_eq(pier_error(), "dial: connection refused");
}

HARNESS_MAIN("net_unix")
