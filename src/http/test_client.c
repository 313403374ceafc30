/* SPDX-License-Identifier: MIT */
/*
 * http/test_client.c - a router without a socket, for programs' own tests: one request in memory
 * through the same server code, and its response taken apart.
 *
 * The connection's transport reads from a text and writes to a buffer; it never waits.
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "http/exchange.h"

#include <string.h>
#include <strings.h>

struct memory_conn {
    struct pier_conn conn;
    const char *in[2]; /* head, body */
    size_t in_len[2];
    char *out;
    size_t out_len, out_cap;
};

struct pier_http_reply {
    struct pi_h1_response head; /* slices of raw; NULs where they end */
    char *raw, *sent;           /* sent: as it was, without those NULs */
    size_t raw_len;
    char *body;
    size_t body_len;
};

/* ---- the transport ---- */

static ssize_t memory_read(struct pier_conn *c, void *buf, size_t len, int64_t deadline_ns)
{
    struct memory_conn *m = PI_CONTAINER_OF(c, struct memory_conn, conn);
    int i = m->in_len[0] > 0 ? 0 : 1;
    size_t n = len < m->in_len[i] ? len : m->in_len[i];
    if (n > 0)
        memcpy(buf, m->in[i], n);
    m->in[i] += n;
    m->in_len[i] -= n;
    return (ssize_t)n;
}

static int make_room(struct memory_conn *m, size_t len)
{
    size_t cap = m->out_cap ? m->out_cap : 1024;
    while (cap - m->out_len < len)
        cap *= 2;
    if (cap == m->out_cap)
        return 0;
    char *more = pi_realloc(m->out, cap);
    if (!more)
        return -ENOMEM;
    m->out = more;
    m->out_cap = cap;
    return 0;
}

static ssize_t memory_writev(struct pier_conn *c, struct iovec *pieces, int count,
                             int64_t deadline_ns)
{
    struct memory_conn *m = PI_CONTAINER_OF(c, struct memory_conn, conn);
    ssize_t sum = 0;
    for (int i = 0; i < count; i++) {
        int rc = make_room(m, pieces[i].iov_len);
        if (rc < 0)
            return rc;
        memcpy(m->out + m->out_len, pieces[i].iov_base, pieces[i].iov_len);
        m->out_len += pieces[i].iov_len;
        sum += (ssize_t)pieces[i].iov_len;
    }
    return sum;
}

static int memory_shutdown(struct pier_conn *c)
{
    return 0;
}

static void memory_close(struct pier_conn *c)
{
}

static const struct pi_transport memory = { "test",        false,           memory_read,
                                            memory_writev, memory_shutdown, memory_close };

/* ---- the request ---- */

static bool has_field(const char *fields, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = fields; line && *line; line++) {
        if (strncasecmp(line, name, len) == 0 && line[len] == ':')
            return true;
        line = strchrnul(line, '\n');
        if (!*line)
            break;
    }
    return false;
}

/* To be freed; NULL: no memory. */
static char *head_of(const char *request, const char *fields, size_t body_len)
{
    char length[48] = "";
    bool is_framed = has_field(fields, "Content-Length") || has_field(fields, "Transfer-Encoding");
    if (body_len > 0 && !is_framed)
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", body_len);
    size_t cap = strlen(request) + (fields ? strlen(fields) : 0) + 128;
    char *head = pi_alloc(cap);
    if (head)
        snprintf(head, cap, "%s HTTP/1.1\r\n%s%s%s\r\n", request,
                 has_field(fields, "Host") ? "" : "Host: test\r\n", length, fields ? fields : "");
    return head;
}

/* ---- the response ---- */

static int take_body(struct pier_http_reply *reply, const char *at, size_t len)
{
    struct pi_h1_chunks chunks = { 0 };
    bool is_chunked = reply->head.body == PI_H1_CHUNKED;
    while (len > 0) {
        struct pi_part piece = { at, len };
        ssize_t n = is_chunked ? pi_h1_chunk_step(&chunks, &piece, at, len) : (ssize_t)len;
        if (n < 0)
            return pi_fail_text(PIER_EPROTO, "http test: %s", pi_h1_reason((int)n));
        if (n == 0)
            break;
        if (piece.len > 0)
            memcpy(reply->body + reply->body_len, piece.at, piece.len);
        reply->body_len += piece.len;
        at += n;
        len -= (size_t)n;
    }
    reply->body[reply->body_len] = '\0';
    return 0;
}

static enum pi_h1_method method_of(const char *request)
{
    return strncmp(request, "HEAD ", 5) == 0 ? PI_H1_HEAD : PI_H1_GET;
}

/* Heads with 1xx are passed over, but for a last 101. */
static int parse(struct pier_http_reply *reply, const char *request)
{
    char *at = reply->raw;
    size_t len = reply->raw_len;
    for (;;) {
        memset(&reply->head.scan, 0, sizeof reply->head.scan);
        ssize_t n = pi_h1_parse_response(&reply->head, at, len, method_of(request), NULL);
        if (n <= 0)
            return pi_fail_text(PIER_EPROTO, "http test: %s",
                                n == 0 ? "no response" : pi_h1_reason((int)n));
        at += n;
        len -= (size_t)n;
        if (reply->head.status >= 200 || reply->head.status == 101)
            return take_body(reply, at, len);
    }
}

static struct pier_http_reply *reply_of(struct memory_conn *m, const char *request)
{
    struct pier_http_reply *reply = pi_zalloc(sizeof *reply);
    if (!reply)
        return NULL;
    reply->raw = pi_alloc(m->out_len + 1);
    reply->sent = pi_alloc(m->out_len + 1);
    reply->body = pi_alloc(m->out_len + 1);
    if (!reply->raw || !reply->sent || !reply->body) {
        pi_fail(-ENOMEM, "http test");
        pier_http_reply_free(reply);
        return NULL;
    }
    if (m->out_len > 0) {
        memcpy(reply->raw, m->out, m->out_len);
        memcpy(reply->sent, m->out, m->out_len);
    }
    reply->raw[m->out_len] = reply->sent[m->out_len] = '\0';
    reply->raw_len = m->out_len;
    if (parse(reply, request) == 0)
        return reply;
    pier_http_reply_free(reply);
    return NULL;
}

/* ---- public ---- */

struct pier_http_reply *pier_http_test(struct pier_router *r, const char *request,
                                       const char *fields, const void *body, size_t len)
{
    struct pi_http_endpoint endpoint;
    struct memory_conn m = { .out = NULL };
    if (pi_http_endpoint_init(&endpoint, r, NULL) < 0)
        return NULL;
    char *head = head_of(request, fields, len);
    if (!head) {
        pi_fail(-ENOMEM, "http test");
        return NULL;
    }
    pi_conn_init(&m.conn, -1, &memory, NULL);
    m.in[0] = head;
    m.in_len[0] = strlen(head);
    m.in[1] = body;
    m.in_len[1] = len;
    int rc = pi_http_serve_conn(&m.conn, &endpoint);
    struct pier_http_reply *reply = rc < 0 ? NULL : reply_of(&m, request);
    pi_conn_fini(&m.conn);
    pi_http_endpoint_fini(&endpoint);
    pi_free(m.out);
    pi_free(head);
    return reply;
}

void pier_http_reply_free(struct pier_http_reply *reply)
{
    if (!reply)
        return;
    pi_free(reply->raw);
    pi_free(reply->sent);
    pi_free(reply->body);
    pi_free(reply);
}

int pier_http_reply_status(const struct pier_http_reply *reply)
{
    return reply ? reply->head.status : 0;
}

const char *pier_http_reply_field(const struct pier_http_reply *reply, const char *name)
{
    if (!reply)
        return NULL;
    int at = pi_fields_find(&reply->head.fields, (struct pi_part){ name, strlen(name) }, 0);
    if (at < 0)
        return NULL;
    struct pi_part value = pi_field_value(&reply->head.fields, (uint32_t)at);
    ((char *)value.at)[value.len] = '\0';
    return value.at;
}

const char *pier_http_reply_body(const struct pier_http_reply *reply, size_t *len)
{
    if (len)
        *len = reply ? reply->body_len : 0;
    return reply ? reply->body : "";
}

const char *pier_http_reply_raw(const struct pier_http_reply *reply, size_t *len)
{
    if (len)
        *len = reply ? reply->raw_len : 0;
    return reply ? reply->sent : "";
}
