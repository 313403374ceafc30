/* SPDX-License-Identifier: MIT */
/*
 * http/metrics.c - figures of a service in the text format of Prometheus (0.0.4): requests by
 * route, method and class of status, how long they took, how much was sent.
 *
 * They lie in memory that processes share, in a table of series that only grows: whoever is first
 * to need one claims its slot by a compare-and-swap, and from then on everybody adds to it without
 * locks. Routes are the program's patterns, never what clients sent, so there are few; what does
 * not fit all the same is counted in the first slot. A process that dies in between has at most
 * left a slot without a name.
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "http/observe.h"
#include "net/server.h"

#include <string.h>
#include <sys/mman.h>

enum {
    SERIES_MAX = 1024,
    ROUTE_CAP = 128, /* of a longer one the beginning counts */
    METHOD_CAP = 8,
    BUCKETS = 13,
};

/* Upper ends, and as Prometheus has them. */
static const int64_t bounds_us[BUCKETS] = { 1000,    2500,    5000,    10000,  25000,
                                            50000,   100000,  250000,  500000, 1000000,
                                            2500000, 5000000, 10000000 };
static const char *const bounds_text[BUCKETS] = { "0.001", "0.0025", "0.005", "0.01", "0.025",
                                                  "0.05",  "0.1",    "0.25",  "0.5",  "1",
                                                  "2.5",   "5",      "10" };

struct series {
    _Atomic uint64_t key; /* 0: free */
    _Atomic bool is_named;
    char status; /* '2' of 2xx; '0': none was sent */
    char method[METHOD_CAP], route[ROUTE_CAP];
    _Atomic uint64_t buckets[BUCKETS + 1]; /* the last one: above all bounds */
    _Atomic uint64_t sum_us, bytes;
};

struct pier_metrics {
    int64_t began_ns; /* UNIX time */
    _Atomic int64_t in_flight;
    struct series series[SERIES_MAX];
};

/* ---- life ---- */

struct pier_metrics *pier_metrics_new(void)
{
    void *room = mmap(NULL, sizeof(struct pier_metrics), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) {
        pi_fail(-errno, "metrics");
        return NULL;
    }
    struct pier_metrics *m = room;
    m->began_ns = pi_unix_ns();
    struct series *other = &m->series[0];
    memcpy(other->route, "(other)", sizeof "(other)");
    other->status = '0';
    atomic_store(&other->key, 1);
    atomic_store(&other->is_named, true);
    return m;
}

void pier_metrics_free(struct pier_metrics *m)
{
    if (m)
        munmap(m, sizeof *m);
}

/* ---- counting ---- */

/* Methods that nobody has heard of are one. */
static const char *method_of(const struct pier_exchange *ex)
{
    static const char *const known[] = { "GET",     "HEAD",  "POST",    "PUT",  "DELETE",
                                         "OPTIONS", "PATCH", "CONNECT", "TRACE" };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(ex->method, known[i]) == 0)
            return known[i];
    return "other";
}

/* FNV-1a; what it counts are the program's own routes. */
static uint64_t hash(uint64_t h, const char *text, size_t most)
{
    for (size_t i = 0; i < most && text[i]; i++)
        h = (h ^ (unsigned char)text[i]) * UINT64_C(1099511628211);
    return h * 31;
}

static void name_series(struct series *s, const char *route, const char *method, char status)
{
    s->status = status;
    memcpy(s->method, method, strnlen(method, METHOD_CAP - 1)); /* NULs are there */
    memcpy(s->route, route, strnlen(route, ROUTE_CAP - 1));
    atomic_store_explicit(&s->is_named, true, memory_order_release);
}

static struct series *find(struct pier_metrics *m, const char *route, const char *method,
                           char status)
{
    uint64_t key = hash(UINT64_C(14695981039346656037), route, ROUTE_CAP - 1);
    key = hash(key, method, METHOD_CAP);
    key = (key ^ (unsigned char)status) * UINT64_C(1099511628211);
    key = key > 1 ? key : 2;
    for (uint64_t i = 0; i < SERIES_MAX; i++) {
        struct series *s = &m->series[((key >> 20) + i) % SERIES_MAX];
        uint64_t there = atomic_load_explicit(&s->key, memory_order_relaxed);
        if (there == key)
            return s;
        if (there == 0 && atomic_compare_exchange_strong(&s->key, &there, key)) {
            name_series(s, route, method, status);
            return s;
        }
        if (there == key)
            return s;
    }
    return &m->series[0];
}

static void add(_Atomic uint64_t *to, uint64_t n)
{
    atomic_fetch_add_explicit(to, n, memory_order_relaxed);
}

void pi_metrics_begin(struct pier_metrics *m)
{
    atomic_fetch_add_explicit(&m->in_flight, 1, memory_order_relaxed);
}

void pi_metrics_end(struct pier_metrics *m, struct pier_exchange *ex, int64_t took_ns)
{
    char status = (char)('0' + ex->status / 100 % 10);
    int64_t us = took_ns > 0 ? took_ns / PIER_MICROSECOND : 0;
    int bucket = 0;
    atomic_fetch_sub_explicit(&m->in_flight, 1, memory_order_relaxed);
    struct series *s = find(m, ex->route ? ex->route->label : "", method_of(ex), status);
    while (bucket < BUCKETS && us > bounds_us[bucket])
        bucket++;
    add(&s->buckets[bucket], 1);
    add(&s->sum_us, (uint64_t)us);
    add(&s->bytes, ex->res_bytes > 0 ? (uint64_t)ex->res_bytes : 0);
}

/* ---- telling ---- */

/* {route="...",method="...",code="2xx" without its end. */
static void put_labels(struct pier_exchange *ex, const char *name, const struct series *s)
{
    char route[2 * ROUTE_CAP];
    size_t len = 0;
    for (const char *c = s->route; *c; c++) {
        if (*c == '\\' || *c == '"' || *c == '\n')
            route[len++] = '\\';
        route[len++] = *c == '\n' ? 'n' : *c;
    }
    route[len] = '\0';
    const char code[] = { s->status, 'x', 'x', '\0' };
    pier_res_printf(ex, "%s{route=\"%s\",method=\"%s\",code=\"%s\"", name, route, s->method,
                    s->status == '0' ? "none" : code);
}

static uint64_t count_of(struct series *s)
{
    uint64_t sum = 0;
    for (int i = 0; i <= BUCKETS; i++)
        sum += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
    return sum;
}

static void put_requests(struct pier_exchange *ex, struct series *s)
{
    put_labels(ex, "http_requests_total", s);
    pier_res_printf(ex, "} %llu\n", (unsigned long long)count_of(s));
}

static void put_bytes(struct pier_exchange *ex, struct series *s)
{
    put_labels(ex, "http_response_body_bytes_total", s);
    pier_res_printf(ex, "} %llu\n", (unsigned long long)atomic_load(&s->bytes));
}

static void put_durations(struct pier_exchange *ex, struct series *s)
{
    uint64_t sum = 0;
    for (int i = 0; i <= BUCKETS; i++) {
        sum += atomic_load_explicit(&s->buckets[i], memory_order_relaxed);
        put_labels(ex, "http_request_duration_seconds_bucket", s);
        pier_res_printf(ex, ",le=\"%s\"} %llu\n", i < BUCKETS ? bounds_text[i] : "+Inf",
                        (unsigned long long)sum);
    }
    uint64_t us = atomic_load_explicit(&s->sum_us, memory_order_relaxed);
    put_labels(ex, "http_request_duration_seconds_sum", s);
    pier_res_printf(ex, "} %llu.%06llu\n", (unsigned long long)(us / 1000000),
                    (unsigned long long)(us % 1000000));
    put_labels(ex, "http_request_duration_seconds_count", s);
    pier_res_printf(ex, "} %llu\n", (unsigned long long)sum);
}

static void put_all(struct pier_exchange *ex, struct pier_metrics *m, const char *head,
                    void (*put)(struct pier_exchange *ex, struct series *s))
{
    pier_res_puts(ex, head);
    for (int i = 0; i < SERIES_MAX; i++) {
        struct series *s = &m->series[i];
        if (atomic_load_explicit(&s->is_named, memory_order_acquire) && count_of(s) > 0)
            put(ex, s);
    }
}

static void put_gauges(struct pier_exchange *ex, struct pier_metrics *m)
{
    const struct pier_server *s = pi_server_of(ex->h->conn);
    pier_res_printf(ex,
                    "# HELP http_requests_in_flight Requests being answered at this moment.\n"
                    "# TYPE http_requests_in_flight gauge\n"
                    "http_requests_in_flight %lld\n",
                    (long long)atomic_load(&m->in_flight));
    if (s)
        pier_res_printf(ex,
                        "# HELP http_connections Connections to this server.\n"
                        "# TYPE http_connections gauge\n"
                        "http_connections %d\n",
                        pier_server_conns(s));
    pier_res_printf(ex,
                    "# HELP process_start_time_seconds When counting began, as UNIX time.\n"
                    "# TYPE process_start_time_seconds gauge\n"
                    "process_start_time_seconds %lld.%03d\n",
                    (long long)(m->began_ns / PIER_SECOND),
                    (int)(m->began_ns / PIER_MILLISECOND % 1000));
}

static int answer_metrics(struct pier_exchange *ex, void *arg)
{
    struct pier_metrics *m = arg;
    pier_res_set(ex, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    pier_res_set(ex, "Cache-Control", "no-store");
    put_all(ex, m,
            "# HELP http_requests_total Requests that were answered.\n"
            "# TYPE http_requests_total counter\n",
            put_requests);
    put_all(ex, m,
            "# HELP http_request_duration_seconds From a request's head to the response's end.\n"
            "# TYPE http_request_duration_seconds histogram\n",
            put_durations);
    put_all(ex, m,
            "# HELP http_response_body_bytes_total Bytes of responses' bodies.\n"
            "# TYPE http_response_body_bytes_total counter\n",
            put_bytes);
    put_gauges(ex, m);
    return pier_res_flush(ex);
}

int pier_route_metrics(struct pier_router *r, struct pier_metrics *m)
{
    if (!m)
        return pi_router_remember(r, pi_fail(-EINVAL, "metrics"));
    return pier_route(r, "GET /metrics", answer_metrics, m);
}

bool pi_is_metrics_route(const struct pi_route *route)
{
    return route->handler.fn == answer_metrics;
}
