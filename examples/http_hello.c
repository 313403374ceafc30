/* SPDX-License-Identifier: MIT */
/*
 * http_hello [URL]: a web server with one page.
 *
 * URL defaults to http://127.0.0.1:8000; https:// and unix:// are served as well.
 */
#include <pier/pier.h>

static int hello(struct pier_exchange *ex, void *arg)
{
    pier_res_set(ex, "Content-Type", "text/html");
    return pier_http_html(ex, 200, "<html><body><h1>Hello, world!</h1></body></html>");
}

int main(int argc, char **argv)
{
    struct pier_router *r = pier_router_new();
    pier_route(r, "GET /", hello, NULL);
    int code = pier_http_serve(argc > 1 ? argv[1] : "http://127.0.0.1:8000", r, NULL);
    pier_router_free(r);
    return code;
}
