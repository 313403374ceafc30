/* SPDX-License-Identifier: MIT */
/*
 * http/error.c - responses that tell of an error: a line of text, or application/problem+json (RFC
 * 9457) for clients that prefer it.
 *
 * They say what the client did wrong, and nothing of the server's inside: of a handler's failure
 * only the request's id, by which the log has the rest.
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "http/exchange.h"
#include "http/format.h"

#include <pier/text.h>

#include <string.h>

enum { JSON_ROOM = 512 };

static bool wants_json(struct pier_exchange *ex)
{
    static const char *const offers[] = { "text/plain", "application/problem+json",
                                          "application/json" };
    struct pi_part accept = pi_fields_get(&ex->req.fields, PI_FIELD_ACCEPT);
    return accept.at && pier_accept_choose(accept.at, accept.len, offers, 3) > 0;
}

static int send_json(struct pier_exchange *ex, int status, const char *detail, const char *id)
{
    struct pier_json w;
    size_t cap = JSON_ROOM + 6 * (detail ? strlen(detail) : 0) + 6 * (id ? strlen(id) : 0);
    char *text = pier_exchange_alloc(ex, cap);
    if (!text)
        return pier_error_code();
    pier_json_init(&w, text, cap, NULL, NULL);
    pier_json_object(&w);
    pier_json_key(&w, "type");
    pier_json_str(&w, "about:blank");
    pier_json_key(&w, "title");
    pier_json_str(&w, pi_h1_phrase(status));
    pier_json_key(&w, "status");
    pier_json_int(&w, status);
    if (detail) {
        pier_json_key(&w, "detail");
        pier_json_str(&w, detail);
    }
    if (id) {
        pier_json_key(&w, "request_id");
        pier_json_str(&w, id);
    }
    pier_json_close(&w);
    ssize_t len = pier_json_end(&w);
    if (len < 0)
        return (int)len;
    return pier_http_bytes(ex, status, "application/problem+json", text, (size_t)len);
}

/* What the handler had set for what it has not sent. */
static void forget_the_body(struct pier_exchange *ex)
{
    static const char *const names[] = { "Content-Type",  "Content-Encoding",
                                         "Content-Range", "Accept-Ranges",
                                         "ETag",          "Last-Modified",
                                         "Cache-Control" };
    for (size_t i = 0; ex->fields && i < sizeof names / sizeof names[0]; i++)
        pier_res_set(ex, names[i], NULL);
}

int pi_http_problem(struct pier_exchange *ex, int status, const char *detail, bool with_id)
{
    const char *id = with_id ? pier_req_id(ex) : NULL;
    forget_the_body(ex);
    if (wants_json(ex))
        return send_json(ex, status, detail, id);
    return pier_http_textf(ex, status, "%d %s\n%s%s%s%s%s", status, pi_h1_phrase(status),
                           detail ? detail : "", detail ? "\n" : "", id ? "request " : "",
                           id ? id : "", id ? "\n" : "");
}

int pier_http_error(struct pier_exchange *ex, int status, const char *fmt, ...)
{
    const char *detail = NULL;
    if (!ex)
        return pi_fail(-EINVAL, "http: no exchange");
    if (fmt) {
        va_list args;
        va_start(args, fmt);
        detail = pi_exchange_vprintf(ex, fmt, args);
        va_end(args);
        if (!detail)
            return pier_error_code();
    }
    return pi_http_problem(ex, status, detail, status == 500);
}
