/* SPDX-License-Identifier: MIT */
/*
 * form [URL]: a page with a form, and the answer to it. What was entered is shown again, escaped:
 * it is text, whatever it looks like. A cookie remembers the name.
 *
 * URL defaults to http://127.0.0.1:8000.
 */
#include <pier/pier.h>

#include <string.h>

/* The text for a page, in the exchange's memory; "" without memory. */
static const char *escaped(struct pier_exchange *ex, const char *text)
{
    size_t cap = PIER_HTML_ROOM(strlen(text));
    char *out = pier_exchange_alloc(ex, cap);
    return out && pier_html_escape(out, cap, text, strlen(text)) >= 0 ? out : "";
}

/* What the cookie remembers is encoded: a cookie cannot have every byte. */
static const char *remembered(struct pier_exchange *ex)
{
    const char *cookie = pier_req_cookie(ex, "name");
    size_t len = cookie ? strlen(cookie) : 0;
    char *name = pier_exchange_alloc(ex, len + 1);
    return name && cookie && pier_percent_decode(name, len + 1, cookie, len) >= 0 ? name : "";
}

static int ask(struct pier_exchange *ex, void *arg)
{
    const char *page = pier_exchange_printf(ex,
                                            "<!DOCTYPE html><title>Form</title>\n"
                                            "<form method=\"post\" action=\"/\">\n"
                                            "<input name=\"name\" value=\"%s\">\n"
                                            "<textarea name=\"message\"></textarea>\n"
                                            "<button>Send</button></form>\n",
                                            escaped(ex, remembered(ex)));
    return page ? pier_http_html(ex, 200, page) : pier_error_code();
}

static int thank(struct pier_exchange *ex, void *arg)
{
    int rc = pier_body_form(ex);
    if (rc < 0)
        return rc;
    const char *name = pier_req_form(ex, "name"), *message = pier_req_form(ex, "message");
    if (!name || !*name || strlen(name) > 100)
        return pier_http_error(ex, 422, "a name is needed, of at most 100 bytes");
    char cookie[PIER_PERCENT_ROOM(100)];
    pier_percent_encode(cookie, sizeof cookie, name, strlen(name), NULL);
    pier_res_set_cookie(ex, "name", cookie, &(struct pier_cookie_opts){ .max_age_s = 86400 });
    const char *page = pier_exchange_printf(
        ex, "<!DOCTYPE html><title>Form</title>\n<p>Thank you, %s.</p>\n<pre>%s</pre>\n",
        escaped(ex, name), escaped(ex, message ? message : ""));
    return page ? pier_http_html(ex, 200, page) : pier_error_code();
}

int main(int argc, char **argv)
{
    struct pier_router *r = pier_router_new();
    pier_use_security(r, NULL);
    pier_route(r, "GET /", ask, NULL);
    pier_route(r, "POST /", thank, NULL);
    int code = pier_http_serve(argc > 1 ? argv[1] : "http://127.0.0.1:8000", r, NULL);
    pier_router_free(r);
    return code;
}
