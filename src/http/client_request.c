/* SPDX-License-Identifier: MIT */
/*
 * http/client_request.c - a client's request as it goes out: the head, and the body behind it.
 *
 * The head is written to the link's buffer, which is empty then, and a small body right behind it,
 * so that most requests are one write. The fields of the framing are ours alone; all others are the
 * caller's first.
 */
#include "http/client.h"

#include "base/err.h"
#include "base/sys.h"

#include <string.h>

enum { COOKIE_CAP = 8192, AUTH_CAP = 1024, PIECE_CAP = 16384 };

static struct pi_part part(const char *text)
{
    return (struct pi_part){ text, strlen(text) };
}

/* ---- methods ---- */

static const struct {
    const char *name;
    enum pi_h1_method id;
    bool is_idempotent;
} methods[] = {
    { "GET", PI_H1_GET, true },          { "HEAD", PI_H1_HEAD, true },
    { "POST", PI_H1_POST, false },       { "PUT", PI_H1_PUT, true },
    { "DELETE", PI_H1_DELETE, true },    { "OPTIONS", PI_H1_OPTIONS, true },
    { "PATCH", PI_H1_PATCH, false },     { "TRACE", PI_H1_TRACE, true },
    { "CONNECT", PI_H1_CONNECT, false },
};

enum { METHODS = sizeof methods / sizeof methods[0] };

enum pi_h1_method pi_method_id(const char *method)
{
    for (int i = 0; i < METHODS; i++)
        if (strcmp(methods[i].name, method) == 0)
            return methods[i].id;
    return PI_H1_OTHER_METHOD;
}

bool pi_method_is_idempotent(const char *method)
{
    for (int i = 0; i < METHODS; i++)
        if (strcmp(methods[i].name, method) == 0)
            return methods[i].is_idempotent;
    return false;
}

/* ---- the head ---- */

/* Which of our fields the caller has given, by id. */
struct given {
    bool id[PI_FIELD_IDS];
};

static int refuse(const char *line, const char *reason)
{
    char shown[80];
    pier_escape(shown, sizeof shown, line, strlen(line));
    return pi_fail_text(-EINVAL, "field \"%s\": %s", shown, reason);
}

/* Credentials and cookies of the caller's are for the server that he named. */
static bool goes_along(const struct pi_send *s, enum pi_field_id id)
{
    return s->same_origin || (id != PI_FIELD_AUTHORIZATION && id != PI_FIELD_COOKIE &&
                              id != PI_FIELD_PROXY_AUTHORIZATION && id != PI_FIELD_HOST);
}

/* Finds out which fields the caller gives, and refuses what cannot be one. */
static int look_through(struct given *given, const struct pi_send *s)
{
    for (const char *const *line = s->req->fields; line && *line; line++) {
        const char *colon = strchr(*line, ':');
        if (!colon)
            return refuse(*line, "no \":\" in it");
        enum pi_field_id id = pi_field_id(*line, (size_t)(colon - *line));
        if (id == PI_FIELD_CONTENT_LENGTH || id == PI_FIELD_TRANSFER_ENCODING)
            return refuse(*line, "the length of a body is told by the request itself");
        given->id[id] = goes_along(s, id);
    }
    return 0;
}

/* "Name:" only takes ours away. */
static int put_given(struct pi_h1_out *o, const struct pi_send *s)
{
    for (const char *const *line = s->req->fields; line && *line; line++) {
        struct pi_part name = { *line, strcspn(*line, ":") };
        struct pi_part value = part(*line + name.len + 1);
        size_t space = strspn(value.at, " \t");
        value = (struct pi_part){ value.at + space, value.len - space };
        if (value.len > 0 && goes_along(s, pi_field_id(name.at, name.len)))
            pi_h1_out_field(o, name, value);
        if (o->error == -EINVAL)
            return refuse(*line, "not a field");
    }
    return 0;
}

static void put_unless_given(struct pi_h1_out *o, const struct given *given, enum pi_field_id id,
                             const char *value)
{
    if (!given->id[id] && value && *value)
        pi_h1_out_field(o, part(pi_field_id_name(id)), part(value));
}

static int put_auth(struct pi_h1_out *o, const struct pi_send *s, const struct given *given)
{
    const struct pier_request *req = s->req;
    const struct pi_target *t = s->target;
    char value[AUTH_CAP];
    if (!s->same_origin || given->id[PI_FIELD_AUTHORIZATION])
        return 0;
    if (req->bearer) {
        int len = snprintf(value, sizeof value, "Bearer %s", req->bearer);
        if (len < (int)sizeof value) {
            put_unless_given(o, given, PI_FIELD_AUTHORIZATION, value);
            return 0;
        }
        pi_h1_out_raw(o, "Authorization: Bearer ", 22); /* longer than most: in two pieces */
        if (!pi_is_field_value(req->bearer, strlen(req->bearer)))
            return pi_fail_text(-EINVAL, "the token has characters that a field cannot have");
        pi_h1_out_raw(o, req->bearer, strlen(req->bearer));
        pi_h1_out_raw(o, "\r\n", 2);
        return 0;
    }
    const char *user = req->user ? req->user : t->has_user ? t->user : NULL;
    if (!user)
        return 0;
    int rc = pi_basic_auth(value, sizeof value, user, req->user ? req->password : t->password);
    if (rc == 0)
        put_unless_given(o, given, PI_FIELD_AUTHORIZATION, value);
    return rc;
}

static void put_cookies(struct pi_h1_out *o, const struct pi_send *s, const struct given *given)
{
    char value[COOKIE_CAP];
    if (s->jar && pi_cookie_jar_get(s->jar, s->target, value, sizeof value) > 0)
        put_unless_given(o, given, PI_FIELD_COOKIE, value);
}

static void put_range(struct pi_h1_out *o, const struct pi_send *s, const struct given *given)
{
    char value[40];
    if (s->req->from <= 0)
        return;
    snprintf(value, sizeof value, "bytes=%lld-", (long long)s->req->from);
    put_unless_given(o, given, PI_FIELD_RANGE, value);
    put_unless_given(o, given, PI_FIELD_IF_RANGE, s->req->if_range);
}

/* How the body's end is told (RFC 9110, 8.6: also that of an empty one, where one is expected). */
static void put_framing(struct pi_h1_out *o, const struct pi_send *s, const struct given *given)
{
    const struct pier_request *req = s->req;
    bool expects_body = strcmp(s->method, "POST") == 0 || strcmp(s->method, "PUT") == 0 ||
                        strcmp(s->method, "PATCH") == 0;
    if (!s->has_body) {
        if (expects_body)
            pi_h1_out_number(o, "Content-Length", 0);
        return;
    }
    put_unless_given(o, given, PI_FIELD_CONTENT_TYPE, req->body_type);
    if (req->source && req->source_len <= 0)
        pi_h1_out_raw(o, "Transfer-Encoding: chunked\r\n", 28);
    else
        pi_h1_out_number(o, "Content-Length",
                         req->source ? (uint64_t)req->source_len : req->body_len);
}

static ssize_t put_head(struct pi_h1_out *o, const struct pi_send *s)
{
    const struct pi_target *t = s->target;
    struct given given = { .id = { false } };
    struct pi_part whole = part(t->text);
    pi_h1_out_request(o, part(s->method), s->route->via_proxy ? whole : t->path);
    if (o->error == -EINVAL)
        return pi_fail_text(-EINVAL, "the method is no token");
    int rc = look_through(&given, s);
    if (rc == 0 && !given.id[PI_FIELD_HOST])
        pi_h1_out_field(o, part("Host"), t->authority);
    if (rc == 0)
        rc = put_given(o, s);
    if (rc < 0)
        return rc;
    put_unless_given(o, &given, PI_FIELD_USER_AGENT, s->user_agent);
    put_unless_given(o, &given, PI_FIELD_ACCEPT, "*/*");
    if (!s->req->no_gzip && s->req->from <= 0)
        put_unless_given(o, &given, PI_FIELD_ACCEPT_ENCODING, "gzip");
    if (s->route->via_proxy)
        put_unless_given(o, &given, PI_FIELD_PROXY_AUTHORIZATION, s->route->proxy_auth);
    put_range(o, s, &given);
    put_cookies(o, s, &given);
    rc = put_auth(o, s, &given);
    if (rc < 0)
        return rc;
    put_framing(o, s, &given);
    ssize_t len = pi_h1_out_end(o);
    if (len == -ENOSPC)
        return pi_fail_text(-EMSGSIZE, "the request's fields are too long");
    return len < 0 ? pi_fail_text((int)len, "a field of the request has bytes that it cannot have")
                   : len;
}

/* ---- the body ---- */

static int source_failed(ssize_t n)
{
    return pier_error_code() == n ? (int)n : pi_fail((int)n, "body of the request");
}

static int send_chunked(const struct pier_request *req, struct pi_link *link, char *piece)
{
    for (;;) {
        char head[PI_H1_CHUNK_HEAD_CAP];
        ssize_t n = req->source(req->source_arg, piece, PIECE_CAP);
        if (n < 0)
            return source_failed(n);
        if (n == 0)
            break;
        struct iovec pieces[3] = { { head, pi_h1_chunk_head(head, (uint64_t)n) },
                                   { piece, (size_t)n },
                                   { (char *)"\r\n", 2 } };
        ssize_t rc = pier_writev(link->conn, pieces, 3);
        if (rc < 0)
            return (int)rc;
    }
    ssize_t rc = pier_write(link->conn, "0\r\n\r\n", 5);
    return rc < 0 ? (int)rc : 0;
}

static int send_counted(const struct pier_request *req, struct pi_link *link, char *piece)
{
    for (int64_t left = req->source_len; left > 0;) {
        size_t cap = left < PIECE_CAP ? (size_t)left : PIECE_CAP;
        ssize_t n = req->source(req->source_arg, piece, cap);
        if (n < 0)
            return source_failed(n);
        if (n == 0 || n > (ssize_t)cap)
            return pi_fail_text(-EINVAL, "the body of the request is %lld bytes short",
                                (long long)left);
        ssize_t rc = pier_write(link->conn, piece, (size_t)n);
        if (rc < 0)
            return (int)rc;
        left -= n;
    }
    return 0;
}

static int send_source(const struct pier_request *req, struct pi_link *link)
{
    char *piece = pi_alloc(PIECE_CAP);
    if (!piece)
        return pi_fail(-ENOMEM, "body of the request");
    int rc = req->source_len > 0 ? send_counted(req, link, piece) : send_chunked(req, link, piece);
    pi_free(piece);
    return rc;
}

int pi_request_send(const struct pi_send *s, struct pi_link *link)
{
    const struct pier_request *req = s->req;
    struct pi_h1_out o = { .buf = link->buf, .cap = link->cap };
    ssize_t len = put_head(&o, s);
    if (len < 0)
        return (int)len;
    size_t body = s->has_body && !req->source ? req->body_len : 0;
    struct iovec pieces[2] = { { link->buf, (size_t)len }, { (void *)(uintptr_t)req->body, body } };
    if (body > 0 && body <= link->cap - (size_t)len) {
        memcpy(link->buf + len, req->body, body);
        pieces[0].iov_len += body;
        body = 0;
    }
    ssize_t rc = pier_writev(link->conn, pieces, body > 0 ? 2 : 1);
    if (rc < 0)
        return (int)rc;
    return s->has_body && req->source ? send_source(req, link) : 0;
}
