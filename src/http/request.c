/* SPDX-License-Identifier: MIT */
/*
 * http/request.c - what a handler asks of a request's head, and the memory of an exchange.
 *
 * The head stays where it was read; texts get their NUL in place, over the byte that has ended
 * them: a space, a colon, a CR. Only what has to be decoded or joined is copied.
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "http/exchange.h"

#include <pier/text.h>

#include <string.h>

enum { PIECE_MAX = 64 << 20, ID_LEN = 16 };

static int no_exchange(void)
{
    return pi_fail(-EINVAL, "http: no exchange");
}

/* ---- the target ---- */

const char *pier_req_method(const struct pier_exchange *ex)
{
    return ex ? ex->method : "";
}

const char *pier_req_target(const struct pier_exchange *ex)
{
    return ex ? ex->target : "";
}

/* What is to be known of a request is found out when it is first asked for: handlers see a const.
 */
static struct pier_exchange *open_up(const struct pier_exchange *ex)
{
    return (struct pier_exchange *)ex;
}

static const char *make_path(struct pier_exchange *ex)
{
    struct pi_part path = PI_H1_PART(&ex->req, path);
    if (path.len == 0)
        return ex->req.method == PI_H1_CONNECT ? "" : ex->req.method == PI_H1_OPTIONS ? "*" : "/";
    char *copy = pi_arena_copy(&ex->arena, path.at, path.len);
    if (copy && ex->req.path_has_percent &&
        pier_percent_decode(copy, path.len + 1, copy, path.len) < 0)
        return "";
    return copy ? copy : "";
}

const char *pier_req_path(const struct pier_exchange *ex)
{
    if (!ex)
        return "";
    if (!ex->path)
        open_up(ex)->path = make_path(open_up(ex));
    return ex->path;
}

const char *pier_req_query_text(const struct pier_exchange *ex)
{
    if (!ex || ex->req.query.len == 0)
        return "";
    if (!ex->query) {
        struct pi_part query = PI_H1_PART(&ex->req, query);
        const char *copy = pi_arena_copy(&open_up(ex)->arena, query.at, query.len);
        open_up(ex)->query = copy ? copy : "";
    }
    return ex->query;
}

const char *pier_req_query(struct pier_exchange *ex, const char *name)
{
    if (!ex || !name || ex->req.query.len == 0)
        return NULL;
    struct pi_part query = PI_H1_PART(&ex->req, query);
    char *value = pi_arena_alloc(&ex->arena, query.len + 1);
    if (!value)
        return NULL;
    struct pier_slice form = { query.at, query.len };
    return pier_form_get(value, query.len + 1, form, name) < 0 ? NULL : value;
}

const char *pier_req_param(const struct pier_exchange *ex, const char *name)
{
    if (!ex || !name || !ex->route)
        return NULL;
    for (int i = 0; i < ex->param_count; i++)
        if (strcmp(ex->route->names[i], name) == 0)
            return ex->params[i];
    return NULL;
}

const char *pier_req_route(const struct pier_exchange *ex)
{
    return ex && ex->route ? ex->route->pattern : "";
}

/* ---- fields ---- */

/* The next line with that name from `from` on; -1: there is none. */
static int find(const struct pi_fields *f, struct pi_part name, enum pi_field_id id, uint32_t from)
{
    if (id == PI_FIELD_OTHER)
        return pi_fields_find(f, name, from);
    if (f->first[id] == 0)
        return -1;
    uint32_t first = f->first[id] - 1u;
    for (uint32_t i = first > from ? first : from; i < f->count; i++)
        if (f->list[i].id == id)
            return (int)i;
    return -1;
}

/* Several lines of a name, joined: cookies by "; " (RFC 9113, 8.2.3), others by ", ". */
static const char *join(struct pier_exchange *ex, const struct pi_fields *f, struct pi_part name,
                        enum pi_field_id id)
{
    const char *between = id == PI_FIELD_COOKIE ? "; " : ", ";
    size_t len = 0;
    for (int i = find(f, name, id, 0); i >= 0; i = find(f, name, id, (uint32_t)i + 1))
        len += pi_field_value(f, (uint32_t)i).len + 2;
    char *text = pi_arena_alloc(&ex->arena, len + 1);
    if (!text)
        return NULL;
    char *at = text;
    for (int i = find(f, name, id, 0); i >= 0; i = find(f, name, id, (uint32_t)i + 1)) {
        struct pi_part value = pi_field_value(f, (uint32_t)i);
        if (at > text)
            at = mempcpy(at, between, 2);
        at = mempcpy(at, value.at, value.len);
    }
    *at = '\0';
    return text;
}

static const char *field_of(struct pier_exchange *ex, const struct pi_fields *f, const char *text)
{
    struct pi_part name = { text, strlen(text) };
    enum pi_field_id id = pi_field_id(name.at, name.len);
    int first = find(f, name, id, 0);
    if (first < 0)
        return NULL;
    if (find(f, name, id, (uint32_t)first + 1) >= 0)
        return join(ex, f, name, id);
    return pi_req_text(ex, pi_field_value(f, (uint32_t)first));
}

const char *pier_req_field(struct pier_exchange *ex, const char *name)
{
    return ex && name ? field_of(ex, &ex->req.fields, name) : NULL;
}

const char *pier_req_trailer(struct pier_exchange *ex, const char *name)
{
    return ex && name && ex->trailers ? field_of(ex, ex->trailers, name) : NULL;
}

bool pier_req_field_at(const struct pier_exchange *ex, int index, const char **name,
                       const char **value)
{
    if (!ex || index < 0 || (uint32_t)index >= ex->req.fields.count)
        return false;
    const struct pi_fields *f = &ex->req.fields;
    if (name)
        *name = pi_req_text(open_up(ex), pi_field_name(f, (uint32_t)index));
    if (value)
        *value = pi_req_text(open_up(ex), pi_field_value(f, (uint32_t)index));
    return true;
}

/* ---- who and where ---- */

static const char *make_host(struct pier_exchange *ex)
{
    struct pi_part host = PI_H1_PART(&ex->req, host);
    if (host.len == 0)
        return "";
    char *text = ex->req.port
                     ? pier_exchange_printf(ex, "%.*s:%u", (int)host.len, host.at, ex->req.port)
                     : pi_arena_copy(&ex->arena, host.at, host.len);
    for (char *c = text; c && *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + ('a' - 'A'));
    return text ? text : "";
}

const char *pier_req_host(struct pier_exchange *ex)
{
    if (!ex)
        return "";
    if (!ex->host)
        ex->host = make_host(ex);
    return ex->host;
}

bool pier_req_is_secure(const struct pier_exchange *ex)
{
    if (!ex)
        return false;
    return ex->has_proto ? ex->proto_is_secure : ex->h->endpoint->is_secure;
}

int pier_req_version(const struct pier_exchange *ex)
{
    return !ex ? 0 : ex->req.minor == 0 ? 10 : 11;
}

const char *pier_req_peer(struct pier_exchange *ex)
{
    return ex ? pier_peer(ex->h->conn) : "?";
}

struct pier_conn *pier_exchange_conn(struct pier_exchange *ex)
{
    return ex ? ex->h->conn : NULL;
}

const char *pier_req_id(struct pier_exchange *ex)
{
    uint64_t random;
    if (!ex)
        return "";
    if (!ex->id) {
        pi_random(&random, sizeof random);
        ex->id = pier_exchange_printf(ex, "%0*llx", ID_LEN, (unsigned long long)random);
    }
    return ex->id ? ex->id : "";
}

int pier_req_set_id(struct pier_exchange *ex, const char *id)
{
    const char *copy = pier_exchange_strdup(ex, id);
    if (!copy)
        return pier_error_code();
    ex->id = copy;
    return 0;
}

int64_t pier_req_time(const struct pier_exchange *ex)
{
    return ex ? ex->time_ns : 0;
}

/* ---- the chain ---- */

int pier_next(struct pier_exchange *ex)
{
    if (!ex)
        return no_exchange();
    if (!ex->chain || ex->chain_at >= ex->chain->count)
        return pi_fail(-EALREADY, "http: the rest of the chain has been called");
    const struct pi_call *call = &ex->chain->calls[ex->chain_at++];
    return call->fn(ex, call->arg);
}

/* ---- memory ---- */

void *pier_exchange_alloc(struct pier_exchange *ex, size_t len)
{
    void *piece = ex && len <= PIECE_MAX ? pi_arena_alloc(&ex->arena, len) : NULL;
    if (!piece)
        pi_fail(ex ? -ENOMEM : -EINVAL, "http: memory of an exchange");
    return piece;
}

char *pier_exchange_strdup(struct pier_exchange *ex, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    char *copy = pier_exchange_alloc(ex, len + 1);
    if (copy)
        memcpy(copy, text ? text : "", len + 1);
    return copy;
}

static char *print_more(struct pier_exchange *ex, size_t len, const char *fmt, va_list args)
{
    char *text = pier_exchange_alloc(ex, len + 1);
    if (text)
        vsnprintf(text, len + 1, fmt, args);
    return text;
}

char *pi_exchange_vprintf(struct pier_exchange *ex, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    char *text = len < 0 ? NULL : print_more(ex, (size_t)len, fmt, again);
    va_end(again);
    if (len < 0)
        pi_fail(-EINVAL, "http: format");
    return text;
}

char *pier_exchange_printf(struct pier_exchange *ex, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = pi_exchange_vprintf(ex, fmt, args);
    va_end(args);
    return text;
}

int pier_exchange_defer(struct pier_exchange *ex, void (*fn)(void *arg), void *arg)
{
    struct pi_deferred *d = pier_exchange_alloc(ex, sizeof *d);
    if (!d) {
        fn(arg);
        return pier_error_code();
    }
    *d = (struct pi_deferred){ ex->deferred, fn, arg };
    ex->deferred = d;
    return 0;
}

int pier_exchange_set(struct pier_exchange *ex, const void *key, void *value)
{
    struct pi_value *v = ex ? ex->values : NULL;
    while (v && v->key != key)
        v = v->next;
    if (v) {
        v->value = value;
        return 0;
    }
    v = pier_exchange_alloc(ex, sizeof *v);
    if (!v)
        return pier_error_code();
    *v = (struct pi_value){ ex->values, key, value };
    ex->values = v;
    return 0;
}

void *pier_exchange_get(const struct pier_exchange *ex, const void *key)
{
    for (const struct pi_value *v = ex ? ex->values : NULL; v; v = v->next)
        if (v->key == key)
            return v->value;
    return NULL;
}
