/* SPDX-License-Identifier: MIT */
/*
 * net/copy.c - the relay: both ways between two connections at once, through a pipe in the kernel
 * where both ends can splice(2), else through a buffer.
 *
 * Each way is a task (the second one is the caller itself) that moves a chunk, then looks for the
 * next. Invariant: whatever was read from one side is written to the other, or lies in the
 * look-ahead of the side that it came from: no failure, time-out or cancellation loses a byte
 * between the two.
 */
#define _GNU_SOURCE
#include "net/conn.h"

#include "base/assert.h"
#include "task/sockets.h"

#include <fcntl.h>
#include <unistd.h>

enum {
    BUFFER = 64 * 1024,
    SMALL_BUFFER = 2048,      /* on the stack, for what lay in the look-ahead */
    PIPE_DEFAULT = 64 * 1024, /* pipe(7) */
    PIPE_LARGE = 256 * 1024,  /* 1 MiB relayed there and back: 0.73 ms of CPU with the default,
                                 0.58 with this, 0.69 with 1 MiB */
    BULK = 16 * 1024, /* a chunk that says so: 16 packets of an Ethernet fill a default pipe */
    CANNOT_SPLICE = 1
};

/* One direction. */
struct way {
    struct pier_conn *from, *to;
    const struct way *other;
    bool *has_failed; /* one of the two has */
    bool has_raised;  /* SIGPIPE */
    int pipe[2];
    size_t room, held; /* of the pipe; bytes in it */
    bool has_grown;
    int64_t count;
    int64_t moved_ns; /* when count last grew */
};

static void has_moved(struct way *w, ssize_t n)
{
    w->count += n;
    w->moved_ns = pi_coarse_now(pi_task_self());
}

/* A relay is idle when neither way moves: a silent uploader does not end a long download. Whether a
 * read that ended with rc waits on. */
static bool waits_on(const struct way *w, ssize_t rc)
{
    if (rc != -ETIMEDOUT || w->from->read_error || pi_cancel_flag(pi_task_self()) < 0)
        return false;
    return w->other->moved_ns + w->from->read_timeout_ns > pi_clock_ns();
}

/* ---- bytes that came into our hands ---- */

/* Puts back what could not be passed on. Without memory the stream has a hole, and says so from now
 * on. */
static void put_back(struct way *w, const char *bytes, size_t len)
{
    if (len > 0 && pi_conn_put_back(w->from, bytes, len) < 0)
        w->from->read_error = -ENOMEM;
}

static int pass_on(struct way *w, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = pi_conn_write_some(w->to, bytes, len);
        if (n < 0) {
            put_back(w, bytes, len);
            return (int)n;
        }
        has_moved(w, n);
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

static int pass_ahead(struct way *w, char *buf, size_t cap)
{
    int rc = 0;
    w->from->held_until_ns = 0;
    while (rc == 0 && w->from->ahead_len > 0)
        rc = pass_on(w, buf, pi_conn_take(w->from, buf, cap));
    return rc;
}

static int relay_buffered(struct way *w)
{
    char *buf = pi_alloc(BUFFER);
    if (!buf)
        return pi_conn_fail(w->from, "relay", -ENOMEM);
    int rc = pass_ahead(w, buf, BUFFER);
    while (rc == 0) {
        ssize_t n;
        do
            n = pi_conn_read_some(w->from, buf, BUFFER, 0);
        while (waits_on(w, n));
        if (n <= 0) {
            rc = (int)n;
            break;
        }
        rc = pass_on(w, buf, (size_t)n);
    }
    pi_free(buf);
    return rc;
}

/* ---- bytes that stay in the kernel ---- */

/* What stays in the kernel is not seen. */
static bool is_plain(const struct pier_conn *c)
{
    if (c->captured)
        return false;
    return c->transport == &pi_tcp || c->transport == &pi_unix || c->transport == &pi_pipe;
}

/* The bytes in the pipe go back to where they came from. */
static void empty_pipe(struct way *w)
{
    if (w->held == 0)
        return;
    char *bytes = pi_alloc(w->held);
    size_t got = 0;
    while (bytes && got < w->held) {
        ssize_t n = read(w->pipe[0], bytes + got, w->held - got);
        PIER_ASSERT(n > 0 || errno == EINTR);
        got += n > 0 ? (size_t)n : 0;
    }
    if (bytes)
        put_back(w, bytes, got);
    else
        w->from->read_error = -ENOMEM;
    pi_free(bytes);
    w->held = 0;
}

/* A way that carries bulk gets a larger pipe; others, and those whose user has enough in pipes
 * already (pipe-user-pages-soft), keep theirs. */
static void grow_pipe(struct way *w)
{
    w->has_grown = true;
    int room = fcntl(w->pipe[0], F_SETPIPE_SZ, PIPE_LARGE);
    if (room > 0)
        w->room = (size_t)room;
}

static ssize_t splice_in(struct way *w)
{
    struct io_op op = { .code = IO_SPLICE_IN, .other_fd = w->pipe[1], .len = w->room };
    ssize_t n;
    do
        n = pi_conn_read_op(w->from, &op);
    while (waits_on(w, n));
    if (n > 0)
        w->held = (size_t)n;
    return n;
}

static int splice_out(struct way *w)
{
    while (w->held > 0) {
        struct io_op op = { .code = IO_SPLICE_OUT, .other_fd = w->pipe[0], .len = w->held };
        ssize_t n = pi_conn_write_op(w->to, &op);
        w->has_raised |= n == -EPIPE;
        if (n < 0)
            return (int)n;
        PIER_ASSERT(n > 0);
        w->held -= (size_t)n;
        has_moved(w, n);
    }
    return 0;
}

static int relay_spliced(struct way *w)
{
    for (;;) {
        ssize_t n = splice_in(w);
        if (pi_is_refused(n))
            return CANNOT_SPLICE;
        if (n <= 0)
            return (int)n;
        int rc = splice_out(w);
        if (rc < 0) {
            empty_pipe(w);
            return pi_is_refused(rc) ? CANNOT_SPLICE : rc;
        }
        if (n >= BULK && !w->has_grown)
            grow_pipe(w);
    }
}

/* Where there is no pipe to be had (EMFILE) a buffer does. */
static int try_to_splice(struct way *w)
{
    if (!is_plain(w->from) || !is_plain(w->to) || io_is_simulated() ||
        pipe2(w->pipe, O_NONBLOCK | O_CLOEXEC) < 0)
        return CANNOT_SPLICE;
    w->room = PIPE_DEFAULT;
    int rc = relay_spliced(w);
    close(w->pipe[0]);
    close(w->pipe[1]);
    return rc;
}

/* ---- both ways ---- */

/* The end of one side becomes the end of the other. A pipe has no half to close, and a peer that is
 * gone (ENOTCONN) needs no telling. */
static int pass_end(struct way *w)
{
    if (w->to->write_error)
        return w->to->write_error;
    int rc = w->to->transport->shutdown_write(w->to);
    w->to->write_ended = true;
    if (rc == 0 || rc == -EOPNOTSUPP || rc == -ENOTCONN)
        return 0;
    return pi_conn_fail(w->to, "shut down", rc);
}

static int relay(struct way *w)
{
    char small[SMALL_BUFFER];
    int rc = pass_ahead(w, small, sizeof small);
    if (rc == 0)
        rc = try_to_splice(w);
    if (rc == CANNOT_SPLICE)
        rc = relay_buffered(w);
    return rc == 0 ? pass_end(w) : rc;
}

/* The failure that came first is the one to report: the other way ends because of it. */
static int run_way(void *arg)
{
    struct way *w = arg;
    int rc = relay(w);
    if (rc == 0 || *w->has_failed)
        return 0;
    *w->has_failed = true;
    return rc;
}

static int run_both(struct way ways[2])
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    int rc = pier_spawn_named(&scope, "relay", run_way, &ways[0]);
    if (rc == 0)
        rc = run_way(&ways[1]);
    if (rc < 0)
        pier_scope_cancel(&scope);
    int other = pier_scope_join(&scope);
    return rc < 0 ? rc : other;
}

int pier_copy(struct pier_conn *a, struct pier_conn *b, int64_t counts[2])
{
    if (counts)
        counts[0] = counts[1] = 0;
    if (!a || !b)
        return pi_conn_null();
    bool has_failed = false;
    struct way ways[2] = {
        { .from = a, .to = b, .other = &ways[1], .has_failed = &has_failed },
        { .from = b, .to = a, .other = &ways[0], .has_failed = &has_failed },
    };
    pi_sigpipe_hold();
    int rc = run_both(ways);
    pi_sigpipe_release(ways[0].has_raised || ways[1].has_raised);
    for (int i = 0; counts && i < 2; i++)
        counts[i] = ways[i].count;
    return rc;
}
