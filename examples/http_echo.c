/* SPDX-License-Identifier: MIT */
/*
 * http_echo [URL]: GET / says how; POST /echo answers with the body of the request, up to 1 MiB.
 *
 * URL defaults to http://127.0.0.1:8000.
 */
#include <pier/pier.h>

static int usage(struct pier_exchange *ex, void *arg)
{
    return pier_http_text(ex, 200, "POST /echo\n");
}

static int echo(struct pier_exchange *ex, void *arg)
{
    size_t len;
    const char *body = pier_body_all(ex, &len);
    if (!body)
        return pier_error_code();
    return pier_http_bytes(ex, 200, pier_req_field(ex, "Content-Type"), body, len);
}

int main(int argc, char **argv)
{
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", usage, NULL);
    pier_route(r, "POST /echo", echo, NULL);
    int code = pier_http_serve(argc > 1 ? argv[1] : "http://127.0.0.1:8000", r, NULL);
    pier_router_free(r);
    return code;
}
