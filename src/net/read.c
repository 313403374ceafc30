/* SPDX-License-Identifier: MIT */
/*
 * net/read.c - the forms of reading over one look-ahead buffer.
 *
 * A call that fails puts back what it had taken, so that a time-out or a cancellation loses
 * nothing. The look-ahead is eight bytes within the connection until a line or a delimiter needs
 * more; it never grows past what its caller could take.
 */
#define _GNU_SOURCE
#include "base/assert.h"
#include "net/udp.h"

#include <pier/text.h>

#include <string.h>

enum { AHEAD_FIRST = 2048, HOLD_MS = 200 };

/* ---- the look-ahead ---- */

size_t pi_conn_take(struct pier_conn *c, void *buf, size_t len)
{
    size_t n = len < c->ahead_len ? len : c->ahead_len;
    memcpy(buf, c->ahead + c->ahead_start, n);
    c->ahead_start += n;
    c->ahead_len -= n;
    if (c->ahead_len == 0)
        c->ahead_start = 0;
    return n;
}

int pi_conn_reserve(struct pier_conn *c, size_t cap)
{
    if (c->ahead_cap - c->ahead_start >= cap)
        return 0;
    if (c->ahead_cap >= cap) {
        memmove(c->ahead, c->ahead + c->ahead_start, c->ahead_len);
        c->ahead_start = 0;
        return 0;
    }
    char *room = pi_alloc(cap);
    if (!room)
        return -ENOMEM;
    memcpy(room, c->ahead + c->ahead_start, c->ahead_len);
    if (c->ahead != c->small)
        pi_free(c->ahead);
    c->ahead = room;
    c->ahead_cap = cap;
    c->ahead_start = 0;
    return 0;
}

int pi_conn_put_back(struct pier_conn *c, const void *bytes, size_t len)
{
    if (len <= c->ahead_start) {
        c->ahead_start -= len;
    } else {
        int rc = pi_conn_reserve(c, len + c->ahead_len);
        if (rc < 0)
            return rc;
        memmove(c->ahead + len, c->ahead + c->ahead_start, c->ahead_len);
        c->ahead_start = 0;
    }
    memcpy(c->ahead + c->ahead_start, bytes, len);
    c->ahead_len += len;
    return 0;
}

/* Bytes cannot be put back: the stream has a hole, and says so from now on. */
static ssize_t lost_bytes(struct pier_conn *c)
{
    c->read_error = -ENOMEM;
    return pi_conn_fail(c, "read", -ENOMEM);
}

/* Reads more behind the look-ahead, which may grow to most bytes. As pi_conn_read_some(). */
static ssize_t fill(struct pier_conn *c, size_t most)
{
    size_t cap = c->ahead_len + 1 <= AHEAD_FIRST ? AHEAD_FIRST : 2 * c->ahead_len;
    if (cap > most || c->transport->is_datagram) /* of which nothing may be cut off */
        cap = most;
    PIER_ASSERT(cap > c->ahead_len);
    if (pi_conn_reserve(c, cap) < 0)
        return pi_conn_fail(c, "read", -ENOMEM);
    size_t end = c->ahead_start + c->ahead_len;
    size_t room = c->ahead_cap - end < most - c->ahead_len ? c->ahead_cap - end
                                                           : most - c->ahead_len;
    ssize_t n = pi_conn_read_some(c, c->ahead + end, room, 0);
    if (n > 0)
        c->ahead_len += (size_t)n;
    return n;
}

/* One datagram into the look-ahead, which is empty, unless there is some of it left: 1; 0 at the
 * end of input; a negative code. */
static ssize_t need_datagram(struct pier_conn *c)
{
    if (c->ahead_len > 0)
        return 1;
    ssize_t n = fill(c, PI_DATAGRAM_MAX);
    return n > 0 ? 1 : n;
}

/* ---- the forms ---- */

/* 0, or what every form returns at once. A reader that waits has its place in the look-ahead: not
 * even what lies there is another one's meanwhile. */
PI_HOT static int refuse(struct pier_conn *c)
{
    if (!c)
        return pi_conn_null();
    return c->reading ? pi_conn_fail(c, "read", -EBUSY) : 0;
}

PI_HOT ssize_t pier_read(struct pier_conn *c, void *buf, size_t cap)
{
    int rc = refuse(c);
    if (rc < 0)
        return rc;
    if (c->ahead_len == 0)
        return pi_conn_read_some(c, buf, cap, 0);
    c->held_until_ns = 0;
    return (ssize_t)pi_conn_take(c, buf, cap);
}

/* The n bytes at buf are the beginning of a character: waits for the rest. The new count; n itself
 * when the wait is over; a negative code. */
static ssize_t await_character(struct pier_conn *c, char *buf, size_t n, size_t room)
{
    int64_t now = pi_clock_ns();
    int64_t until = c->held_until_ns ? c->held_until_ns : now + HOLD_MS * PIER_MILLISECOND;
    c->held_until_ns = until;
    if (until < now + PIER_MILLISECOND)
        until = now + PIER_MILLISECOND; /* the rest may have come while nobody read */
    ssize_t more = pi_conn_read_some(c, buf + n, room - n, until);
    if (more > 0)
        return (ssize_t)n + more;
    bool is_over = more == 0 || c->read_error ||
                   (more == -ETIMEDOUT && pi_cancel_check(pi_task_self()) == 0);
    if (is_over)
        return (ssize_t)n;
    return pi_conn_put_back(c, buf, n) < 0 ? lost_bytes(c) : more;
}

/* Puts the cut bytes at the end back to wait for the rest. */
static ssize_t pass_on(struct pier_conn *c, char *buf, size_t n, size_t cut)
{
    c->held_until_ns = 0;
    if (cut > 0) {
        if (pi_conn_put_back(c, buf + n - cut, cut) < 0)
            return lost_bytes(c);
        c->held_until_ns = pi_clock_ns() + HOLD_MS * PIER_MILLISECOND;
    }
    buf[n - cut] = '\0';
    return (ssize_t)(n - cut);
}

static ssize_t read_text(struct pier_conn *c, char *buf, size_t room)
{
    ssize_t n = 0;
    if (c->ahead_len > 0)
        n = (ssize_t)pi_conn_take(c, buf, room);
    else
        n = pi_conn_read_some(c, buf, room, 0);
    for (;;) {
        if (n <= 0)
            return n;
        size_t cut = c->transport->is_datagram ? 0 : pier_utf8_cut(buf, (size_t)n);
        if (cut < (size_t)n)
            return pass_on(c, buf, (size_t)n, cut);
        ssize_t more = await_character(c, buf, (size_t)n, room);
        if (more == n)
            return pass_on(c, buf, (size_t)n, 0);
        n = more;
    }
}

ssize_t pier_read_text(struct pier_conn *c, char *buf, size_t cap)
{
    if (cap > 0)
        buf[0] = '\0';
    int rc = refuse(c);
    if (rc < 0)
        return rc;
    if (cap < 8)
        return pi_conn_fail(c, "read", -EINVAL);
    ssize_t n = read_text(c, buf, cap - 1);
    if (n <= 0)
        buf[0] = '\0';
    return n;
}

static ssize_t read_exact_datagram(struct pier_conn *c, void *buf, size_t len)
{
    ssize_t n = len > 0 ? need_datagram(c) : 0;
    if (n <= 0)
        return n;
    return c->ahead_len < len ? pi_conn_fail(c, "read", -EPIPE)
                              : (ssize_t)pi_conn_take(c, buf, len);
}

ssize_t pier_read_exact(struct pier_conn *c, void *buf, size_t len)
{
    int rc = refuse(c);
    if (rc < 0)
        return rc;
    if (c->transport->is_datagram)
        return read_exact_datagram(c, buf, len);
    c->held_until_ns = 0;
    size_t got = pi_conn_take(c, buf, len);
    ssize_t n = 1;
    while (got < len) {
        /* Room to put everything back is had before waiting, so that no failure loses a byte. */
        if (got > 0 && pi_conn_reserve(c, len) < 0) {
            n = pi_conn_fail(c, "read", -ENOMEM);
            break;
        }
        n = pi_conn_read_some(c, (char *)buf + got, len - got, 0);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    if (got == len)
        return (ssize_t)len;
    if (got > 0 && pi_conn_put_back(c, buf, got) < 0)
        return lost_bytes(c);
    return n == 0 && got > 0 ? pi_conn_fail(c, "read", -EPIPE) : n;
}

/* Finds delim in the look-ahead from offset from on; -1: not there yet. */
static ssize_t find(const struct pier_conn *c, size_t from, const void *delim, size_t len)
{
    const char *begin = c->ahead + c->ahead_start;
    const char *at = memmem(begin + from, c->ahead_len - from, delim, len);
    return at ? at - begin : -1;
}

/* Fills until delim is in the look-ahead: its offset. 0 bytes more at the end of input, or of a
 * datagram: -ENODATA; most bytes without it: -EMSGSIZE. */
static ssize_t await_delim(struct pier_conn *c, size_t most, const void *delim, size_t len)
{
    size_t from = 0;
    c->held_until_ns = 0;
    if (c->transport->is_datagram) {
        ssize_t n = need_datagram(c);
        if (n < 0)
            return n;
        ssize_t at = n > 0 ? find(c, 0, delim, len) : -1;
        return at < 0 ? -ENODATA : at;
    }
    for (;;) {
        ssize_t at = find(c, from, delim, len);
        if (at >= 0)
            return at;
        if (c->ahead_len >= most)
            return -EMSGSIZE;
        from = c->ahead_len >= len ? c->ahead_len - len + 1 : 0;
        ssize_t n = fill(c, most);
        if (n <= 0)
            return n == 0 ? -ENODATA : n;
    }
}

static void skip(struct pier_conn *c, size_t n)
{
    c->ahead_start += n;
    c->ahead_len -= n;
    if (c->ahead_len == 0)
        c->ahead_start = 0;
}

ssize_t pier_read_line(struct pier_conn *c, char *buf, size_t cap)
{
    if (cap > 0)
        buf[0] = '\0';
    int rc = refuse(c);
    if (rc < 0)
        return rc;
    if (cap == 0)
        return pi_conn_fail(c, "read line", -EINVAL);
    ssize_t at = await_delim(c, cap + 1, "\n", 1); /* cap - 1 and CRLF */
    bool is_last = at == -ENODATA && c->ahead_len > 0;
    if (at < 0 && !is_last)
        return at == -EMSGSIZE || at == -ENODATA ? pi_conn_fail(c, "read line", (int)at) : at;
    size_t len = is_last ? c->ahead_len : (size_t)at;
    size_t end = is_last ? 0 : 1;
    const char *line = c->ahead + c->ahead_start;
    if (!is_last && len > 0 && line[len - 1] == '\r') {
        len--;
        end++;
    }
    if (len > cap - 1)
        return pi_conn_fail(c, "read line", -EMSGSIZE);
    memcpy(buf, line, len);
    buf[len] = '\0';
    skip(c, len + end);
    return (ssize_t)len;
}

ssize_t pier_read_until(struct pier_conn *c, void *buf, size_t cap, const void *delim, size_t len)
{
    int rc = refuse(c);
    if (rc < 0)
        return rc;
    if (len == 0 || cap < len)
        return pi_conn_fail(c, "read until", -EINVAL);
    ssize_t at = await_delim(c, cap, delim, len);
    if (at == -ENODATA && c->ahead_len == 0)
        return 0;
    if (at < 0)
        return at == -EMSGSIZE  ? pi_conn_fail(c, "read until", -EMSGSIZE)
               : at == -ENODATA ? pi_conn_fail(c, "read until", -EPIPE)
                                : at;
    if ((size_t)at + len > cap)
        return pi_conn_fail(c, "read until", -EMSGSIZE);
    return (ssize_t)pi_conn_take(c, buf, (size_t)at + len);
}
