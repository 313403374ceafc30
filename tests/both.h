/* SPDX-License-Identifier: MIT */
/*
 * both: test bodies that run twice, in a task of a loop and on a plain thread, against a peer that
 * knows nothing of Pier: a thread with plain blocking system calls.
 *
 *     static void peer(int fd, void *arg) { send_all(fd, "hello", 5); }
 *
 *     BOTH(read_gets_what_was_sent)
 *     {
 *         struct peer p;
 *         struct pier_conn *c = dial_peer(&p, UNIX, peer, NULL);
 *         ...
 *         pier_close(c);
 *         end_peer(&p);
 *     }
 *
 * Waiting is for a condition that the kernel tells (await_taken), never for a time.
 */
#ifndef PIER_TESTS_BOTH_H
#define PIER_TESTS_BOTH_H

#include "harness.h"

#include <pier/pier.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNUSED_FN __attribute__((unused))

/* ---- twice ---- */

static int both_run_body(void *body)
{
    (*(void (**)(void))body)();
    return 0;
}

UNUSED_FN static void both_in_a_task(void (*body)(void))
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn_named(&scope, "body", both_run_body, &body), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
}

#define BOTH(name)                   \
    static void name##_body(void);   \
    TEST(name##_in_a_task)           \
    {                                \
        both_in_a_task(name##_body); \
    }                                \
    TEST(name##_on_a_thread)         \
    {                                \
        name##_body();               \
    }                                \
    static void name##_body(void)

/* ---- pairs of descriptors ---- */

enum kind { UNIX, TCP };

static void tcp_pair(int fds[2])
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof addr;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&addr, &len);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fds[0], (struct sockaddr *)&addr, len), 0);
    fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fds[1], 0);
    close(listener);
}

static void fd_pair(enum kind kind, int fds[2])
{
    if (kind == TCP)
        tcp_pair(fds);
    else
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* A connection, and the raw descriptor (blocking) of its other end. */
UNUSED_FN static struct pier_conn *conn_and_fd(enum kind kind, int *other)
{
    int fds[2];
    fd_pair(kind, fds);
    struct pier_conn *c = pier_conn_adopt(fds[0], NULL);
    ck_assert_ptr_nonnull(c);
    *other = fds[1];
    return c;
}

/* ---- peers ---- */

struct peer {
    pthread_t thread;
    int fd;
    void (*fn)(int fd, void *arg);
    void *arg;
};

static void *both_run_peer(void *arg)
{
    struct peer *p = arg;
    p->fn(p->fd, p->arg);
    return NULL;
}

static void start_peer(struct peer *p, int fd, void (*fn)(int fd, void *arg), void *arg)
{
    *p = (struct peer){ .fd = fd, .fn = fn, .arg = arg };
    ck_assert_int_eq(pthread_create(&p->thread, NULL, both_run_peer, p), 0);
}

UNUSED_FN static struct pier_conn *dial_peer(struct peer *p, enum kind kind,
                                             void (*fn)(int fd, void *arg), void *arg)
{
    int fd;
    struct pier_conn *c = conn_and_fd(kind, &fd);
    start_peer(p, fd, fn, arg);
    return c;
}

/* Waits for the peer's thread, without the loop: it must not need it any more. */
UNUSED_FN static void end_peer(struct peer *p)
{
    pthread_join(p->thread, NULL);
    close(p->fd);
}

/* ---- plain calls ---- */

UNUSED_FN static void send_all(int fd, const void *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, (const char *)bytes + done, len - done, MSG_NOSIGNAL);
        if (n < 0)
            return; /* the other side has closed: its checks say whether it should have */
        done += (size_t)n;
    }
}

UNUSED_FN static size_t recv_all(int fd, void *buf, size_t len)
{
    size_t got = 0;
    ssize_t n = 1;
    while (got < len && (n > 0 || (n < 0 && errno == EINTR))) {
        n = recv(fd, (char *)buf + got, len - got, 0);
        got += n > 0 ? (size_t)n : 0;
    }
    return got;
}

/* Waits until the other side has read everything that was sent. */
UNUSED_FN static void await_taken(int fd)
{
    for (int left = 1; left > 0; sched_yield())
        if (ioctl(fd, SIOCOUTQ, &left) < 0)
            return;
}

/* Fills what the kernel keeps for the other side. */
UNUSED_FN static size_t stuff(int fd)
{
    static char zeros[65536];
    size_t total = 0;
    for (size_t len = sizeof zeros; len > 0; len /= 2)
        for (ssize_t n; (n = send(fd, zeros, len, MSG_DONTWAIT | MSG_NOSIGNAL)) > 0;)
            total += (size_t)n;
    return total;
}

/* Bytes that show where they belong: position p of stream s. */
UNUSED_FN static char pattern(size_t position, int stream)
{
    return (char)((position * 31 + (position >> 8) * 7 + (position >> 16)) + (size_t)stream * 101);
}

UNUSED_FN static char *make_pattern(size_t len, int stream)
{
    char *bytes = malloc(len);
    for (size_t i = 0; i < len; i++)
        bytes[i] = pattern(i, stream);
    return bytes;
}

UNUSED_FN static int open_fds(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        count++;
    closedir(dir);
    return count;
}

UNUSED_FN static int64_t ms_since(int64_t then_ns)
{
    return (pier_now() - then_ns) / PIER_MILLISECOND;
}

#endif
