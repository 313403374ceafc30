/* SPDX-License-Identifier: MIT */
/*
 * http/access_log.c - a record for each request: fields for the log's sink, or a line in the
 * "combined" format of Apache and nginx.
 *
 * Clients choose what is written here, so texts are cut, and escaped: by the sink, or here.
 */
#define _GNU_SOURCE
#include "base/log.h"
#include "http/observe.h"

#include <pier/text.h>

#include <string.h>

enum {
    TARGET_CAP = 800, /* of a line of PI_LOG_LINE_MAX */
    TEXT_CAP = 300,
};

static const char *field(struct pier_exchange *ex, const char *name)
{
    const char *value = pier_req_field(ex, name);
    return value ? value : "";
}

/* ---- through the log ---- */

enum { FIELDS_MAX = 13 };

struct record {
    struct pier_log_field fields[FIELDS_MAX];
    size_t count;
};

/* At most so many bytes of a text; nothing for none. */
static void put(struct record *r, const char *key, const char *text, size_t most)
{
    size_t len = strlen(text);
    if (len > most)
        len = most - pier_utf8_cut(text, most);
    if (len > 0)
        r->fields[r->count++] = pier_bytes(key, text, len);
}

static void log_fields(struct pier_exchange *ex, int64_t took_ns)
{
    struct record r = { .count = 0 };
    if (!pier_log_enabled(PIER_LOG_INFO))
        return;
    put(&r, "client", pier_req_client(ex), TEXT_CAP);
    put(&r, "method", pier_req_method(ex), TEXT_CAP);
    put(&r, "target", pier_req_target(ex), TARGET_CAP);
    r.fields[r.count++] = pier_int("status", ex->status);
    r.fields[r.count++] = pier_int("bytes", ex->res_bytes);
    r.fields[r.count++] = pier_int("us", took_ns / PIER_MICROSECOND);
    put(&r, "route", pier_req_route(ex), TEXT_CAP);
    put(&r, "request", pier_req_id(ex), TEXT_CAP);
    put(&r, "trace", pi_req_known_trace(ex), TEXT_CAP);
    put(&r, "host", pier_req_host(ex), TEXT_CAP);
    put(&r, "peer", pier_req_peer(ex), TEXT_CAP);
    put(&r, "referer", field(ex, "Referer"), TEXT_CAP);
    put(&r, "user_agent", field(ex, "User-Agent"), TEXT_CAP);
    pier_log_record(PIER_LOG_INFO, "request", r.fields, r.count);
}

/* ---- a line of the combined format ---- */

/* "-" where there is nothing. */
static const char *shown(char *out, size_t cap, const char *text)
{
    if (text[0] == '\0')
        return "-";
    pier_escape(out, cap, text, strlen(text));
    return out;
}

/* "20/Nov/2026:09:22:31 +0000", in English whatever the locale. */
static void write_time(char out[32])
{
    char date[32]; /* "Fri, 20 Nov 2026 09:22:31 GMT" */
    pier_date_http(date, sizeof date, pi_unix_ns());
    snprintf(out, 32, "%.2s/%.3s/%.4s:%.8s +0000", date + 5, date + 8, date + 12, date + 17);
}

/* "GET /a?b HTTP/1.1"; "-" for what was not understood. */
static void write_request(struct pier_exchange *ex, char out[TARGET_CAP + 64])
{
    char target[TARGET_CAP];
    if (ex->method[0] == '\0')
        memcpy(out, "-", 2);
    else
        snprintf(out, TARGET_CAP + 64, "%.32s %s HTTP/1.%d", ex->method,
                 shown(target, sizeof target, ex->target), ex->req.minor);
}

static void write_combined(FILE *stream, struct pier_exchange *ex)
{
    char line[PI_LOG_LINE_MAX], when[32], request[TARGET_CAP + 64];
    char client[64], referer[TEXT_CAP], agent[TEXT_CAP];
    write_time(when);
    write_request(ex, request);
    int len = snprintf(line, sizeof line, "%s - - [%s] \"%s\" %d %lld \"%s\" \"%s\"\n",
                       shown(client, sizeof client, pier_req_client(ex)), when, request, ex->status,
                       (long long)ex->res_bytes,
                       shown(referer, sizeof referer, field(ex, "Referer")),
                       shown(agent, sizeof agent, field(ex, "User-Agent")));
    if (len > 0 && (size_t)len < sizeof line)
        pi_log_write(stream, line, (size_t)len);
}

/* ---- which ---- */

static bool is_probe(const struct pier_exchange *ex)
{
    return ex->route && ex->status < 400 &&
           (pi_is_health_route(ex->route) || pi_is_metrics_route(ex->route));
}

void pi_access_log(const struct pier_access_log_opts *opts, struct pier_exchange *ex,
                   int64_t took_ns)
{
    if (opts->no_probes && is_probe(ex))
        return;
    if (opts->combined)
        write_combined(opts->combined, ex);
    else
        log_fields(ex, took_ns);
}
