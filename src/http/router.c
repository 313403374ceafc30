/* SPDX-License-Identifier: MIT */
/*
 * http/router.c - routes, groups and middleware as the program adds them, made ready for serving.
 *
 * A failure to add stays with the root and is what serving returns: programs check once. Chains are
 * made when serving begins, so that middleware counts wherever it was added.
 */
#define _GNU_SOURCE
#include "http/router.h"

#include "base/err.h"
#include "http/exchange.h"
#include "http/trie.h"

#include <pier/text.h>

#include <string.h>

enum { SHOWN_CAP = 160 };

struct pier_router {
    struct pier_router *root, *parent; /* of the root: itself, NULL */
    struct pier_router *groups, *next_group;
    char *host, *prefix; /* "" each where there is none */
    struct pi_call *uses;
    int use_count;
    struct pi_call not_found;
    struct pi_chain no_route; /* once it serves: ends in the answer to what has no route */
    struct pi_route *routes;  /* all that were added here */

    /* Of the root. */
    struct pi_trie_node *any_host;
    struct pi_trie_map hosts; /* "*.example.com" is ".example.com" */
    bool is_sealed;
    int first_error;
    char *error_words;
};

/* ---- failures ---- */

static int remember(struct pier_router *r, int rc)
{
    struct pier_router *root = r->root;
    if (rc < 0 && !root->first_error) {
        root->first_error = rc;
        root->error_words = pi_strdup(pier_error()); /* without memory: the code's own */
    }
    return rc;
}

static int bad_pattern(struct pier_router *r, const char *pattern, int code, const char *why)
{
    char shown[SHOWN_CAP];
    pier_escape(shown, sizeof shown, pattern, strlen(pattern));
    return remember(r, pi_fail_text(code, "route \"%s\": %s", shown, why));
}

static int no_memory(struct pier_router *r, const char *pattern)
{
    return bad_pattern(r, pattern, -ENOMEM, "out of memory");
}

/* ---- life ---- */

static struct pier_router *new_router(struct pier_router *parent, const char *host,
                                      const char *prefix)
{
    struct pier_router *r = pi_zalloc(sizeof *r);
    char *host_copy = pi_strdup(host);
    char *prefix_copy = pi_strdup(prefix);
    if (!r || !host_copy || !prefix_copy) {
        pi_free(r);
        pi_free(host_copy);
        pi_free(prefix_copy);
        pi_fail(-ENOMEM, "router");
        return NULL;
    }
    r->root = parent ? parent->root : r;
    r->parent = parent;
    r->host = host_copy;
    r->prefix = prefix_copy;
    return r;
}

struct pier_router *pier_router_new(void)
{
    struct pier_router *r = new_router(NULL, "", "");
    if (!r)
        return NULL;
    r->any_host = pi_trie_new();
    if (r->any_host)
        return r;
    pi_fail(-ENOMEM, "router");
    pier_router_free(r);
    return NULL;
}

static void free_route(struct pi_route *route)
{
    for (int i = 0; i < route->name_count; i++)
        pi_free(route->names[i]);
    pi_free(route->names);
    pi_free(route->pattern);
    pi_free(route->label);
    pi_free(route->method);
    pi_free(route->chain.calls);
    pi_free(route);
}

/* Groups nest as deep as the program made them. */
static void free_one(struct pier_router *r)
{
    while (r->groups) {
        struct pier_router *group = r->groups;
        r->groups = group->next_group;
        free_one(group);
    }
    while (r->routes) {
        struct pi_route *route = r->routes;
        r->routes = route->next_listed;
        free_route(route);
    }
    pi_trie_free(r->any_host);
    pi_trie_map_free(&r->hosts);
    pi_free(r->no_route.calls);
    pi_free(r->uses);
    pi_free(r->host);
    pi_free(r->prefix);
    pi_free(r->error_words);
    pi_free(r);
}

void pier_router_free(struct pier_router *r)
{
    if (r && r->root == r)
        free_one(r);
}

/* ---- patterns ---- */

/* A pattern in parts: "GET example.com/users/{id}". */
struct pattern {
    const char *text;
    struct pi_part method, host;
    char *path; /* with the groups' prefixes before it; to be freed */
};

static bool is_host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '*' ||
           c == '[' || c == ']' || c == ':' || c == '_';
}

static bool is_host(struct pi_part host)
{
    for (size_t i = 0; i < host.len; i++)
        if (!is_host_byte(host.at[i]) || (host.at[i] == '*' && i > 0))
            return false;
    return host.len == 0 || host.at[0] != '*' || (host.len > 2 && host.at[1] == '.');
}

/* Cuts pattern into method and host; the rest is what the path begins with. */
static int cut(struct pattern *out, const char **path, struct pier_router *r, const char *text)
{
    *out = (struct pattern){ .text = text };
    const char *space = strchr(text, ' ');
    if (space) {
        out->method = (struct pi_part){ text, (size_t)(space - text) };
        if (!pi_is_token(text, out->method.len))
            return bad_pattern(r, text, -EINVAL, "the method is none");
        text = space + strspn(space, " ");
    }
    const char *slash = strchrnul(text, '/');
    out->host = (struct pi_part){ text, (size_t)(slash - text) };
    *path = slash;
    if (!is_host(out->host))
        return bad_pattern(r, out->text, -EINVAL, "the host before the path is none");
    if (out->host.len > 0 && r->host[0])
        return bad_pattern(r, out->text, -EINVAL, "the group has a host already");
    if (out->host.len == 0)
        out->host = (struct pi_part){ r->host, strlen(r->host) };
    return 0;
}

static char *join(const char *prefix, const char *path)
{
    size_t len = strlen(prefix), more = strlen(path);
    char *both = pi_alloc(len + more + 1);
    if (!both)
        return NULL;
    memcpy(both, prefix, len);
    memcpy(both + len, path, more + 1);
    return both;
}

/* ---- adding a route ---- */

static char *copy_part(struct pi_part p)
{
    char *copy = pi_alloc(p.len + 1);
    if (!copy)
        return NULL;
    memcpy(copy, p.at, p.len);
    copy[p.len] = '\0';
    return copy;
}

static struct pi_trie_node *host_of(struct pier_router *root, struct pi_part host)
{
    if (host.len == 0)
        return root->any_host;
    size_t skip = host.at[0] == '*';
    return pi_trie_child(&root->hosts, host.at + skip, host.len - skip);
}

static int add_name(struct pi_route *route, struct pi_part name)
{
    for (int i = 0; i < route->name_count; i++)
        if (strlen(route->names[i]) == name.len && memcmp(route->names[i], name.at, name.len) == 0)
            return -EINVAL;
    if (name.len == 0 || memchr(name.at, '{', name.len) || route->name_count == PI_PARAMS_MAX)
        return -EINVAL;
    char **more = pi_realloc(route->names, (size_t)(route->name_count + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    route->names = more;
    char *copy = copy_part(name);
    if (!copy)
        return -ENOMEM;
    route->names[route->name_count++] = copy;
    return 0;
}

/* One segment further down: the node, or NULL and *rc says why. A last {name...} stays at its node,
 * and *is_rest is set. */
static struct pi_trie_node *descend(struct pi_trie_node *node, struct pi_route *route,
                                    struct pi_part s, bool *is_rest, int *rc)
{
    bool has_brace = memchr(s.at, '{', s.len) || memchr(s.at, '}', s.len);
    *rc = 0;
    if (!has_brace) {
        struct pi_trie_node *child = pi_trie_child(&node->children, s.at, s.len);
        *rc = child ? 0 : -ENOMEM;
        return child;
    }
    if (s.at[0] != '{' || s.at[s.len - 1] != '}') {
        *rc = -EINVAL;
        return NULL;
    }
    struct pi_part name = { s.at + 1, s.len - 2 };
    *is_rest = name.len > 3 && memcmp(name.at + name.len - 3, "...", 3) == 0;
    if (*is_rest)
        name.len -= 3;
    *rc = add_name(route, name);
    if (*rc < 0 || *is_rest)
        return *rc < 0 ? NULL : node;
    if (!node->param)
        node->param = pi_trie_new();
    *rc = node->param ? 0 : -ENOMEM;
    return node->param;
}

/* The list of the trie that a path's routes are in; NULL: *rc says why. */
static struct pi_route **place_of(struct pi_trie_node *node, struct pi_route *route,
                                  const char *path, int *rc)
{
    bool is_rest = false;
    int depth = 0;
    *rc = -EINVAL;
    while (*path == '/') {
        struct pi_part segment = { path + 1, strcspn(path + 1, "/") };
        if (is_rest || depth++ == PI_SEGMENTS_MAX) {
            *rc = -EINVAL;
            return NULL;
        }
        node = descend(node, route, segment, &is_rest, rc);
        if (!node)
            return NULL;
        path += 1 + segment.len;
    }
    *rc = 0;
    return is_rest ? &node->rest : &node->here;
}

static bool is_there(const struct pi_route *list, const char *method)
{
    for (; list; list = list->next)
        if (list->method && method ? strcmp(list->method, method) == 0 : list->method == method)
            return true;
    return false;
}

static char *label_of(const struct pattern *p)
{
    char *host = copy_part(p->host);
    char *label = host ? join(host, p->path) : NULL;
    pi_free(host);
    return label;
}

static enum pi_h1_method method_id(const char *name)
{
    static const char *const names[] = {
        [PI_H1_GET] = "GET",         [PI_H1_HEAD] = "HEAD",     [PI_H1_POST] = "POST",
        [PI_H1_PUT] = "PUT",         [PI_H1_DELETE] = "DELETE", [PI_H1_CONNECT] = "CONNECT",
        [PI_H1_OPTIONS] = "OPTIONS", [PI_H1_TRACE] = "TRACE",   [PI_H1_PATCH] = "PATCH",
    };
    for (size_t i = PI_H1_GET; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return (enum pi_h1_method)i;
    return PI_H1_OTHER_METHOD;
}

static int fill_in(struct pi_route *route, struct pier_router *r, const struct pattern *p)
{
    struct pi_trie_node *host = host_of(r->root, p->host);
    route->pattern = pi_strdup(p->text);
    route->method = p->method.len ? copy_part(p->method) : NULL;
    route->label = label_of(p);
    if (!host || !route->pattern || !route->label || (p->method.len && !route->method))
        return no_memory(r, p->text);
    if (route->method)
        route->method_id = (uint8_t)method_id(route->method);
    int rc;
    struct pi_route **list = place_of(host, route, p->path, &rc);
    if (!list)
        return rc == -ENOMEM ? no_memory(r, p->text)
                             : bad_pattern(r, p->text, rc, "a segment is not understood");
    if (is_there(*list, route->method))
        return bad_pattern(r, p->text, -EEXIST, "there is such a route already");
    route->next = *list;
    *list = route;
    route->next_listed = r->routes;
    r->routes = route;
    return 0;
}

static int add(struct pier_router *r, struct pattern *p, struct pi_call handler,
               const struct pier_route_opts *opts)
{
    struct pi_route *route = pi_zalloc(sizeof *route);
    if (!route)
        return no_memory(r, p->text);
    route->router = r;
    route->handler = handler;
    if (opts)
        route->opts = *opts;
    int rc = fill_in(route, r, p);
    if (rc < 0)
        free_route(route);
    return rc;
}

int pier_route_with(struct pier_router *r, const char *pattern, pier_http_handler handler,
                    void *arg, const struct pier_route_opts *opts)
{
    struct pattern p;
    const char *path;
    if (!r || !pattern || !handler)
        return pi_fail(-EINVAL, "route");
    if (r->root->is_sealed)
        return bad_pattern(r, pattern, -EALREADY, "the router serves already");
    int rc = cut(&p, &path, r, pattern);
    if (rc < 0)
        return rc;
    if (*path != '/')
        return bad_pattern(r, pattern, -EINVAL, "the path does not begin with \"/\"");
    p.path = join(r->prefix, path);
    rc = p.path ? add(r, &p, (struct pi_call){ handler, arg }, opts) : no_memory(r, pattern);
    pi_free(p.path);
    return rc;
}

int pier_route(struct pier_router *r, const char *pattern, pier_http_handler handler, void *arg)
{
    return pier_route_with(r, pattern, handler, arg, NULL);
}

/* ---- groups and middleware ---- */

struct pier_router *pier_group(struct pier_router *r, const char *prefix)
{
    struct pattern p;
    const char *path;
    if (!r || !prefix) {
        pi_fail(-EINVAL, "group");
        return NULL;
    }
    if (cut(&p, &path, r, prefix) < 0)
        return NULL;
    size_t len = strlen(path);
    if (p.method.len > 0 || (len > 0 && path[len - 1] == '/')) {
        bad_pattern(r, prefix, -EINVAL, "a group has a host, or a path without \"/\" at its end");
        return NULL;
    }
    char *host = copy_part(p.host);
    char *whole = join(r->prefix, path);
    struct pier_router *group = host && whole ? new_router(r, host, whole) : NULL;
    pi_free(host);
    pi_free(whole);
    if (!group) {
        no_memory(r, prefix);
        return NULL;
    }
    group->next_group = r->groups;
    r->groups = group;
    return group;
}

int pier_use(struct pier_router *r, pier_http_handler handler, void *arg)
{
    if (!r || !handler)
        return pi_fail(-EINVAL, "middleware");
    if (r->root->is_sealed)
        return remember(r, pi_fail_text(-EALREADY, "middleware: the router serves already"));
    struct pi_call *more = pi_realloc(r->uses, (size_t)(r->use_count + 1) * sizeof *more);
    if (!more)
        return remember(r, pi_fail(-ENOMEM, "middleware"));
    r->uses = more;
    more[r->use_count++] = (struct pi_call){ handler, arg };
    return 0;
}

int pier_not_found(struct pier_router *r, pier_http_handler handler, void *arg)
{
    if (!r || !handler)
        return pi_fail(-EINVAL, "handler of what is not found");
    r->not_found = (struct pi_call){ handler, arg };
    return 0;
}

/* ---- made ready ---- */

/* The middleware of r and of those round it, then the last one. */
static int make_chain(struct pi_chain *chain, const struct pier_router *r, struct pi_call last)
{
    int count = 1;
    for (const struct pier_router *at = r; at; at = at->parent)
        count += at->use_count;
    chain->calls = pi_alloc((size_t)count * sizeof *chain->calls);
    if (!chain->calls)
        return -ENOMEM;
    chain->count = count;
    chain->calls[--count] = last;
    for (const struct pier_router *at = r; at; at = at->parent)
        for (int i = at->use_count - 1; i >= 0; i--)
            chain->calls[--count] = at->uses[i];
    return 0;
}

/* Answers what has the path, but not the method; OPTIONS asks for just that. */
static int answer_method(struct pier_exchange *ex)
{
    int rc = pi_res_put(ex, "Allow", ex->allow.at);
    if (rc < 0)
        return rc;
    if (strcmp(pier_req_method(ex), "OPTIONS") == 0)
        return pier_http_empty(ex, 204);
    return pi_http_problem(ex, 405, "the method is not one of this resource", false);
}

static int answer_no_route(struct pier_exchange *ex, void *arg)
{
    const struct pier_router *r = arg;
    if (ex->allow.at)
        return answer_method(ex);
    for (; r; r = r->parent)
        if (r->not_found.fn)
            return r->not_found.fn(ex, r->not_found.arg);
    return pi_http_problem(ex, 404, NULL, false);
}

static int seal(struct pier_router *r)
{
    int rc = make_chain(&r->no_route, r, (struct pi_call){ answer_no_route, r });
    for (struct pi_route *route = r->routes; route && rc == 0; route = route->next_listed)
        rc = make_chain(&route->chain, r, route->handler);
    for (struct pier_router *group = r->groups; group && rc == 0; group = group->next_group)
        rc = seal(group);
    return rc;
}

int pi_router_remember(struct pier_router *r, int rc)
{
    return r ? remember(r, rc) : rc;
}

int pi_router_seal(struct pier_router *r)
{
    if (!r)
        return pi_fail_text(-EINVAL, "serve: there is no router");
    r = r->root;
    if (r->first_error)
        return r->error_words ? pi_fail_text(r->first_error, "%s", r->error_words)
                              : pi_fail(r->first_error, "route");
    if (r->is_sealed)
        return 0;
    int rc = seal(r);
    if (rc < 0)
        return remember(r, pi_fail(rc, "router"));
    r->is_sealed = true;
    return 0;
}

/* ---- finding ---- */

/* Cuts a path at its slashes: 0 or a negative code. */
static int cut_path(struct pi_segments *out, struct pier_exchange *ex, struct pi_part path)
{
    const char *at = path.at, *end = path.at + path.len;
    out->count = 0;
    out->is_longer = false;
    out->may_have_dots = ex->req.path_has_percent;
    while (at < end && *at == '/') {
        const char *begin = ++at;
        at = memchr(begin, '/', (size_t)(end - begin));
        at = at ? at : end;
        if (out->count == PI_SEGMENTS_MAX) {
            out->is_longer = out->may_have_dots = true;
            break;
        }
        struct pi_part part = { begin, (size_t)(at - begin) };
        out->tail[out->count] = begin;
        if (ex->req.path_has_percent && memchr(begin, '%', part.len)) {
            char *decoded = pi_arena_alloc(&ex->arena, part.len + 1);
            ssize_t len = decoded ? pier_percent_decode(decoded, part.len + 1, begin, part.len)
                                  : -ENOMEM;
            if (len < 0)
                return (int)len;
            part = (struct pi_part){ decoded, (size_t)len };
        }
        out->may_have_dots |= part.len > 0 && part.at[0] == '.';
        out->part[out->count++] = part;
    }
    out->tail[out->count] = at;
    return 0;
}

/* "/a/../b", once decoded. */
static bool has_dots(const char *path, size_t len)
{
    for (size_t i = 0; i + 1 < len; i++) {
        if (path[i] != '/' || path[i + 1] != '.')
            continue;
        size_t dots = i + 2 < len && path[i + 2] == '.' ? 2 : 1;
        if (i + 1 + dots == len || path[i + 1 + dots] == '/')
            return true;
    }
    return false;
}

struct allowed {
    struct pier_exchange *ex;
    char *text; /* "GET, HEAD"; NULL: nothing yet, or no memory */
    bool any;
};

static bool has_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = text; at && (at = strstr(at, word)); at += len)
        if ((at == text || at[-1] == ' ') && (at[len] == ',' || at[len] == '\0'))
            return true;
    return false;
}

static void allow(struct allowed *a, const char *method)
{
    if (a->text && has_word(a->text, method))
        return;
    char *longer = a->text ? pier_exchange_printf(a->ex, "%s, %s", a->text, method)
                           : pier_exchange_strdup(a->ex, method);
    a->text = longer ? longer : a->text;
}

static void other_method(void *ctx, const struct pi_route *route)
{
    struct allowed *a = ctx;
    a->any = true;
    allow(a, route->method);
    if (strcmp(route->method, "GET") == 0)
        allow(a, "HEAD");
}

/* The host's own table, then those of names above it, then the one for all. */
static bool find_in_hosts(const struct pier_router *root, struct pi_trie_search *s,
                          struct pi_part host)
{
    const struct pi_trie_node *own = root->hosts.count ? pi_trie_find_child(&root->hosts, host)
                                                       : NULL;
    if (own && pi_trie_search(own, s))
        return true;
    for (size_t i = 1; root->hosts.count && i < host.len; i++) {
        struct pi_part above = { host.at + i, host.len - i };
        own = host.at[i] == '.' ? pi_trie_find_child(&root->hosts, above) : NULL;
        if (own && pi_trie_search(own, s))
            return true;
    }
    return pi_trie_search(root->any_host, s);
}

static int keep_params(struct pier_exchange *ex, const struct pi_trie_search *s)
{
    struct pi_part path = PI_H1_PART(&ex->req, path);
    for (int i = 0; i < s->param_count; i++) {
        struct pi_part p = s->params[i];
        bool is_rest = p.at >= path.at && p.at <= path.at + path.len && p.len == 0;
        if (is_rest)
            p.len = (size_t)(path.at + path.len - p.at);
        char *copy = pi_arena_copy(&ex->arena, p.at, p.len);
        if (!copy)
            return -ENOMEM;
        if (is_rest && ex->req.path_has_percent &&
            pier_percent_decode(copy, p.len + 1, copy, p.len) < 0)
            return -EINVAL;
        ex->params[i] = copy;
    }
    ex->param_count = s->param_count;
    return 0;
}

/* A limit of the route's own counts instead of the endpoint's. */
static void set_limits(struct pier_exchange *ex, const struct pier_route_opts *o)
{
    struct pi_body_limits *l = &ex->body_limits;
    if (o->body_max)
        l->most = o->body_max;
    if (o->body_slow_ms)
        l->slow_ns = o->body_slow_ms < 0 ? 0 : o->body_slow_ms * PIER_MILLISECOND;
    if (o->body_rate_min)
        l->rate_min = o->body_rate_min < 0 ? 0 : o->body_rate_min;
}

/* The innermost group round a path that has no route, for its middleware. */
static const struct pier_router *group_of(const struct pier_router *r, struct pi_part path,
                                          struct pi_part host)
{
    for (const struct pier_router *g = r->groups; g; g = g->next_group) {
        size_t len = strlen(g->prefix);
        bool is_within = path.len >= len && memcmp(path.at, g->prefix, len) == 0 &&
                         (path.len == len || path.at[len] == '/');
        bool is_host = !g->host[0] ||
                       (strlen(g->host) == host.len && memcmp(g->host, host.at, host.len) == 0);
        if (is_within && is_host && (len > strlen(r->prefix) || g->host[0]))
            return group_of(g, path, host);
    }
    return r;
}

/* The host without its port. */
static struct pi_part host_of_request(const struct pier_router *root, struct pier_exchange *ex)
{
    if (!root->hosts.count && !root->groups)
        return (struct pi_part){ "", 0 };
    const char *host = pier_req_host(ex);
    const char *end = host[0] == '[' ? strchrnul(host, ']') : host;
    return (struct pi_part){ host, (size_t)(end - host) + strcspn(end, ":") };
}

/* Whether a segment is "." or "..", whose meaning servers do not agree on. */
static bool has_dot_segment(struct pier_exchange *ex, const struct pi_segments *segments)
{
    if (!segments->may_have_dots)
        return false;
    const char *decoded = pier_req_path(ex);
    return has_dots(decoded, strlen(decoded));
}

static void answer_without_route(struct pier_router *root, struct pier_exchange *ex,
                                 struct allowed *a, struct pi_part host)
{
    if (a->any || ex->req.form == PI_H1_ASTERISK)
        allow(a, "OPTIONS");
    ex->allow = (struct pi_part){ a->text, a->text ? strlen(a->text) : 0 };
    ex->chain = &group_of(root, PI_H1_PART(&ex->req, path), host)->no_route;
}

int pi_router_find(struct pier_router *r, struct pier_exchange *ex)
{
    struct pi_segments segments;
    struct pi_part path = PI_H1_PART(&ex->req, path);
    struct allowed a = { .ex = ex };
    struct pi_trie_search s;
    s.method = PI_H1_PART(&ex->req, name);
    s.method_id = ex->req.method;
    s.segments = &segments;
    s.other = other_method;
    s.ctx = &a;
    if (path.len == 0)
        path = (struct pi_part){ "/", 1 };
    int rc = cut_path(&segments, ex, path);
    if (rc < 0)
        return rc == -ENOMEM ? 503 : 400;
    if (has_dot_segment(ex, &segments))
        return 400;
    struct pi_part host = host_of_request(r->root, ex);
    if (ex->req.form == PI_H1_ASTERISK || !find_in_hosts(r->root, &s, host)) {
        answer_without_route(r->root, ex, &a, host);
        return 0;
    }
    ex->route = s.found;
    ex->chain = &s.found->chain;
    set_limits(ex, &s.found->opts);
    return keep_params(ex, &s) < 0 ? 503 : 0;
}
