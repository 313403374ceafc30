/* SPDX-License-Identifier: MIT */
/*
 * serve_http.c - `pier serve http://...`: the text of --reply to every request, or a page that says
 * how the server is.
 */
#include "service.h"

#include <strings.h>

static int64_t began_ns;

bool is_http(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 || strncasecmp(url, "https://", 8) == 0;
}

/* The message that %m stands for is the request's body. */
static int answer_reply(struct pier_exchange *ex, void *arg)
{
    const struct reply_template *reply = &((const struct service *)arg)->reply;
    size_t len;
    const char *body = pier_body_all(ex, &len);
    if (body == NULL)
        return pier_error_code();
    pier_res_set(ex, "Content-Type", "text/plain; charset=utf-8");
    for (int i = 0; i < reply->count; i++) {
        const struct iovec *piece = &reply->pieces[i];
        bool is_message = piece->iov_base == NULL;
        ssize_t n = pier_res_write(ex, is_message ? body : piece->iov_base,
                                   is_message ? len : piece->iov_len);
        if (n < 0)
            return (int)n;
    }
    return 0;
}

static int answer_status(struct pier_exchange *ex, void *arg)
{
    return pier_http_textf(ex, 200, "pier %s\nup %lld s\nyou are %s\n", pier_version(),
                           (long long)((pier_now() - began_ns) / PIER_SECOND), pier_req_peer(ex));
}

/* What -v shows of each request. */
static void trace_request(struct pier_exchange *ex, void *arg)
{
    pier_log(PIER_LOG_INFO, "request", pier_str("peer", pier_req_peer(ex)),
             pier_str("method", pier_req_method(ex)), pier_str("target", pier_req_target(ex)),
             pier_int("status", pier_res_status(ex)), pier_int("bytes", pier_res_bytes(ex)));
}

const char *http_service_name(const struct service *service)
{
    return service->reply.count > 0 ? "reply" : "status";
}

int http_add(struct pier_server *server, const struct service *service, const char *url)
{
    static struct pier_router *router; /* for all URLs, and as long as the process */
    if (router == NULL) {
        router = pier_router_new();
        if (service->reply.count > 0)
            pier_route(router, "/{path...}", answer_reply, (void *)service);
        else
            pier_route(router, "GET /", answer_status, NULL);
    }
    began_ns = pier_now();
    return pier_server_add_http(server, url, router,
                                &(struct pier_http_opts){
                                    .idle_timeout_ms = service->http_idle_ms,
                                    .done = service->traces ? trace_request : NULL,
                                });
}
