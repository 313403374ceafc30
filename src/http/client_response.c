/* SPDX-License-Identifier: MIT */
/*
 * http/client_response.c - a response as a client reads it: the head, then the body in pieces.
 *
 * The head stays at the front of the link's buffer until the response is freed, and its fields are
 * pieces of it; what follows comes behind it. A body passes through there too, but for one of known
 * length that is neither compressed nor there already: that goes to the reader's own buffer.
 */
#include "http/client.h"

#include "base/assert.h"
#include "base/err.h"
#include "base/sys.h"

#include <string.h>

enum {
    INTERIM_MAX = 16, /* heads with 1xx before the final one */
    ALL_MAX = 16 << 20,
    ALL_FIRST = 4096,
};

#define GUNZIP_MOST ((int64_t)1 << 30)

/* ---- the head ---- */

static int bad(const struct pier_response *r, int code)
{
    return pi_fail_text(PIER_EPROTO, "%s: bad response: %s", r->url, pi_h1_reason(code));
}

/* Each name and value ends with NUL from now on. */
static void end_texts(struct pier_response *r)
{
    char *base = r->link->buf;
    for (uint32_t i = 0; i < r->head.fields.count; i++) {
        const struct pi_field *f = &r->head.fields.list[i];
        base[f->name + f->name_len] = '\0';
        base[f->value + f->value_len] = '\0';
    }
    base[r->head.reason.at + r->head.reason.len] = '\0';
}

/* One head, from link->start on, which is moved to the front of the buffer. */
static int read_one_head(struct pier_response *r, enum pi_h1_method method)
{
    struct pi_link *link = r->link;
    if (link->start > 0) {
        memmove(link->buf, link->buf + link->start, link->len - link->start);
        link->len -= link->start;
        link->start = 0;
    }
    memset(&r->head.scan, 0, sizeof r->head.scan);
    for (;;) {
        ssize_t n = link->len == 0
                        ? 0
                        : pi_h1_parse_response(&r->head, link->buf, link->len, method, NULL);
        if (n < 0)
            return bad(r, (int)n);
        if (n > 0) {
            r->head_len = (size_t)n;
            link->start = (size_t)n;
            return 0;
        }
        if (link->len == link->cap) {
            int rc = link->cap < PI_LINK_MOST ? pi_link_reserve(link, PI_LINK_MOST) : -EMSGSIZE;
            if (rc < 0)
                return pi_fail(rc, "%s: head of the response", r->url);
        }
        n = pi_link_fill(link, 0);
        if (n == 0)
            return pi_fail_text(-EPIPE, "%s: closed without a%s response", r->url,
                                link->len > 0 ? " whole" : "");
        if (n < 0)
            return (int)n;
        if (!r->first_byte_ns)
            r->first_byte_ns = pi_clock_ns();
    }
}

int pi_response_head(struct pier_response *r, enum pi_h1_method method)
{
    for (int i = 0; i < INTERIM_MAX; i++) {
        int rc = read_one_head(r, method);
        if (rc < 0)
            return rc;
        if (r->head.status == 101)
            return pi_fail_text(PIER_EPROTO, "%s: an upgrade that nobody asked for", r->url);
        if (r->head.status < 200)
            continue;
        /* Room behind the head now, since pieces of it will be in users' hands. */
        struct pi_link *link = r->link;
        if (link->cap - r->head_len < PI_LINK_ROOM) {
            rc = pi_link_reserve(link, link->cap + PI_LINK_ROOM);
            if (rc < 0)
                return pi_fail(rc, "%s: head of the response", r->url);
        }
        r->head.fields.base = link->buf;
        end_texts(r);
        return 0;
    }
    return pi_fail_text(PIER_EPROTO, "%s: more than %d interim responses", r->url, INTERIM_MAX);
}

const char *pi_response_get(const struct pier_response *r, enum pi_field_id id)
{
    return pi_fields_get(&r->head.fields, id).at;
}

/* ---- the body as it comes ---- */

static void finish(struct pier_response *r)
{
    if (r->ended)
        return;
    r->ended = true;
    r->ended_ns = pi_clock_ns();
    struct pi_link *link = r->link;
    r->may_keep = r->head.keep_alive && r->head.body != PI_H1_UNTIL_CLOSE &&
                  link->start == link->len && link->conn->ahead_len == 0;
}

static int fail_body(struct pier_response *r, int code)
{
    r->error = code;
    return code;
}

static int cut_off(struct pier_response *r)
{
    return pi_fail_text(-EPIPE, "%s: closed in the middle of the body", r->url);
}

/* More of what is on its way: 1; 0 at the end of the connection; a negative code. */
static ssize_t fill(struct pier_response *r)
{
    if (r->no_wait)
        return -EAGAIN;
    ssize_t n = pi_link_fill(r->link, r->head_len);
    if (n == -EMSGSIZE)
        return pi_fail(PIER_EPROTO, "%s: body", r->url);
    return n;
}

static ssize_t next_counted(struct pier_response *r)
{
    struct pi_link *link = r->link;
    if (r->left == 0)
        return 0;
    if (link->start == link->len) {
        ssize_t n = fill(r);
        if (n <= 0)
            return n == 0 ? cut_off(r) : n;
    }
    size_t len = link->len - link->start;
    if (len > r->left)
        len = (size_t)r->left;
    r->piece = (struct pi_part){ link->buf + link->start, len };
    link->start += len;
    r->left -= len;
    return 1;
}

static ssize_t read_trailers(struct pier_response *r)
{
    struct pi_link *link = r->link;
    struct pi_fields trailers;
    for (;;) {
        ssize_t n = pi_h1_parse_trailers(&trailers, &r->chunks, link->buf + link->start,
                                         link->len - link->start, NULL);
        if (n < 0)
            return bad(r, (int)n);
        link->start += (size_t)n;
        if (n > 0)
            return 0;
        n = fill(r);
        if (n <= 0)
            return n == 0 ? cut_off(r) : n;
    }
}

static ssize_t next_chunked(struct pier_response *r)
{
    struct pi_link *link = r->link;
    for (;;) {
        ssize_t n = link->start == link->len && !pi_h1_chunks_done(&r->chunks)
                        ? 0
                        : pi_h1_chunk_step(&r->chunks, &r->piece, link->buf + link->start,
                                           link->len - link->start);
        if (n < 0)
            return bad(r, (int)n);
        link->start += (size_t)n;
        if (n > 0 && r->piece.len > 0)
            return 1;
        if (n > 0)
            continue;
        if (pi_h1_chunks_done(&r->chunks))
            return read_trailers(r);
        n = fill(r);
        if (n <= 0)
            return n == 0 ? cut_off(r) : n;
    }
}

static ssize_t next_until_close(struct pier_response *r)
{
    struct pi_link *link = r->link;
    if (link->start == link->len) {
        ssize_t n = fill(r);
        if (n <= 0)
            return n;
    }
    r->piece = (struct pi_part){ link->buf + link->start, link->len - link->start };
    link->start = link->len;
    return 1;
}

/* Sees to it that r->piece has something: 1; 0 at the body's end; a negative code. */
static ssize_t next_piece(struct pier_response *r)
{
    if (r->piece.len > 0)
        return 1;
    switch (r->head.body) {
    case PI_H1_LENGTH:
        return next_counted(r);
    case PI_H1_CHUNKED:
        return next_chunked(r);
    case PI_H1_UNTIL_CLOSE:
        return next_until_close(r);
    default:
        return 0;
    }
}

/* ---- the body as it is read ---- */

static int64_t range_start(const struct pier_response *r)
{
    const char *range = pi_response_get(r, PI_FIELD_CONTENT_RANGE);
    long long from = 0;
    if (r->head.status != 206 || !range || sscanf(range, "bytes %lld-", &from) != 1)
        return 0;
    return from;
}

int pi_response_body_begin(struct pier_response *r)
{
    r->left = r->head.body == PI_H1_LENGTH ? r->head.content_length : 0;
    r->from = range_start(r);
    const char *coding = pi_response_get(r, PI_FIELD_CONTENT_ENCODING);
    bool has_body = r->head.body != PI_H1_NO_BODY && !(r->head.body == PI_H1_LENGTH && !r->left);
    if (!has_body) {
        finish(r);
        return 0;
    }
    if (!r->asked_gzip || !coding ||
        !(pi_same_nocase((struct pi_part){ coding, strlen(coding) },
                         (struct pi_part){ "gzip", 4 }) ||
          pi_same_nocase((struct pi_part){ coding, strlen(coding) },
                         (struct pi_part){ "x-gzip", 6 })))
        return 0;
    r->gunzip = pi_gunzip_new();
    if (!r->gunzip)
        return pi_fail(-ENOMEM, "%s: gzip", r->url);
    if (!r->most)
        r->most = GUNZIP_MOST;
    return 0;
}

static ssize_t read_plain(struct pier_response *r, void *buf, size_t cap)
{
    struct pi_link *link = r->link;
    bool is_direct = r->head.body == PI_H1_LENGTH && r->left > 0 && r->piece.len == 0 &&
                     link->start == link->len && !r->no_wait;
    if (is_direct) {
        ssize_t n = pier_read(link->conn, buf, cap < r->left ? cap : (size_t)r->left);
        if (n > 0)
            r->left -= (size_t)n;
        return n == 0 ? cut_off(r) : n;
    }
    ssize_t n = next_piece(r);
    if (n <= 0)
        return n;
    size_t len = r->piece.len < cap ? r->piece.len : cap;
    memcpy(buf, r->piece.at, len);
    r->piece.at += len;
    r->piece.len -= len;
    return (ssize_t)len;
}

static ssize_t read_gzip(struct pier_response *r, void *buf, size_t cap)
{
    for (;;) {
        ssize_t n = pi_gunzip(r->gunzip, buf, cap, &r->piece);
        if (n < 0)
            return pi_fail_text((int)n, "%s: the body is not what gzip writes", r->url);
        if (n > 0)
            return n;
        bool had_more = r->piece.len > 0;
        n = had_more ? 1 : next_piece(r);
        if (n == 0 && !pi_gunzip_is_whole(r->gunzip))
            return pi_fail_text(PIER_EPROTO, "%s: the compressed body is cut off", r->url);
        if (n <= 0)
            return n;
    }
}

static ssize_t read_some(struct pier_response *r, void *buf, size_t cap)
{
    ssize_t n = r->gunzip ? read_gzip(r, buf, cap) : read_plain(r, buf, cap);
    if (n < 0)
        return fail_body(r, (int)n);
    if (n == 0) {
        finish(r);
        return 0;
    }
    r->given += n;
    if (r->most && r->given > r->most)
        return fail_body(r, pi_fail_text(-EMSGSIZE, "%s: the body has more than %lld bytes", r->url,
                                         (long long)r->most));
    if (!r->gunzip && r->head.body == PI_H1_LENGTH && r->left == 0 && r->piece.len == 0)
        finish(r);
    return n;
}

static int null_code(void)
{
    return pi_conn_null();
}

ssize_t pier_response_read(struct pier_response *r, void *buf, size_t cap)
{
    if (!r)
        return null_code();
    if (r->error || r->ended || cap == 0)
        return r->error;
    if (!r->deadline_ns)
        return read_some(r, buf, cap);
    PIER_SCOPE(limit, r->deadline_ns);
    return read_some(r, buf, cap);
}

/* Doubles the room, to most bytes and one for the NUL. */
static int grow(char **text, size_t *cap, size_t most)
{
    size_t more = *cap ? 2 * *cap : ALL_FIRST;
    if (more > most + 1)
        more = most + 1;
    char *bigger = pi_realloc(*text, more);
    if (!bigger)
        return -ENOMEM;
    *text = bigger;
    *cap = more;
    return 0;
}

char *pier_response_all(struct pier_response *r, size_t *len)
{
    if (!r)
        return NULL;
    if (!r->most || (r->gunzip && r->most == GUNZIP_MOST))
        r->most = ALL_MAX;
    size_t most = (size_t)(r->most - r->given > 0 ? r->most - r->given : 0);
    char *text = NULL;
    size_t cap = 0, used = 0;
    ssize_t n = 1;
    while (n > 0) {
        if (used + 1 >= cap && cap <= most && grow(&text, &cap, most) < 0) {
            pi_fail(-ENOMEM, "%s: body", r->url);
            n = r->error = -ENOMEM;
            break;
        }
        char beyond; /* whether there is any, once the room is full */
        bool is_full = used == most;
        n = pier_response_read(r, is_full ? &beyond : text + used, is_full ? 1 : cap - 1 - used);
        if (n > 0 && !is_full)
            used += (size_t)n;
    }
    if (n < 0) {
        pi_free(text);
        return NULL;
    }
    text[used] = '\0';
    pi_free(r->all);
    r->all = text;
    if (len)
        *len = used;
    return text;
}

/* ---- what there is to know ---- */

int pier_response_status(const struct pier_response *r)
{
    return r ? r->head.status : null_code();
}

const char *pier_response_reason(const struct pier_response *r)
{
    return r ? PI_H1_PART(&r->head, reason).at : NULL;
}

int pier_response_version(const struct pier_response *r)
{
    return r ? 10 + (r->head.minor > 0) : null_code();
}

const char *pier_response_field(const struct pier_response *r, const char *name)
{
    if (!r || !name)
        return NULL;
    int i = pi_fields_find(&r->head.fields, (struct pi_part){ name, strlen(name) }, 0);
    return i < 0 ? NULL : pi_field_value(&r->head.fields, (uint32_t)i).at;
}

bool pier_response_field_at(const struct pier_response *r, int index, const char **name,
                            const char **value)
{
    *name = *value = NULL;
    if (!r || index < 0 || (uint32_t)index >= r->head.fields.count)
        return false;
    *name = pi_field_name(&r->head.fields, (uint32_t)index).at;
    *value = pi_field_value(&r->head.fields, (uint32_t)index).at;
    return true;
}

const char *pier_response_url(const struct pier_response *r)
{
    return r ? r->url : NULL;
}

int64_t pier_response_len(const struct pier_response *r)
{
    if (!r)
        return null_code();
    if (r->head.body == PI_H1_NO_BODY)
        return 0;
    return r->head.body == PI_H1_LENGTH && !r->gunzip ? (int64_t)r->head.content_length : -1;
}

int64_t pier_response_from(const struct pier_response *r)
{
    return r ? r->from : null_code();
}

static int64_t since(const struct pier_response *r, int64_t then_ns)
{
    return then_ns ? then_ns - r->began_ns : 0;
}

void pier_response_times(const struct pier_response *r, struct pier_http_times *times)
{
    *times = (struct pier_http_times){ 0 };
    if (!r)
        return;
    times->resolved = since(r, r->dialled.resolved_ns);
    times->connected = since(r, r->dialled.connected_ns);
    times->secured = since(r, r->dialled.secured_ns);
    times->first_byte = since(r, r->first_byte_ns);
    times->total = since(r, r->ended_ns ? r->ended_ns : pi_clock_ns());
}

/* ---- the end ---- */

/* Takes what has come already: the end of a short body is often there. */
static void skip_what_is_there(struct pier_response *r)
{
    r->no_wait = true;
    ssize_t n = 1;
    while (n > 0 && !r->error) {
        r->piece.len = 0;
        n = next_piece(r);
    }
    if (n == 0)
        finish(r);
}

void pier_response_free(struct pier_response *r)
{
    if (!r)
        return;
    struct pi_link *link = r->link;
    if (link && !r->ended && !r->error)
        skip_what_is_there(r);
    if (link && r->ended && r->may_keep && !r->error)
        pi_pool_give(&r->client->pool, link);
    else
        pi_link_free(link);
    pi_gunzip_free(r->gunzip);
    if (r->client)
        pi_client_unref(r->client);
    pi_free(r->all);
    pi_free(r->url);
    pi_free(r);
}
