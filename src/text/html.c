/* SPDX-License-Identifier: MIT */
/*
 * text/html.c - text within HTML: in elements and in quoted attribute values. It is no filter of
 * markup and knows no other place (scripts, URLs, unquoted values), where escaping is not enough.
 */
#include "text/ascii.h"

static const char *entity(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

ssize_t pier_html_escape(char *out, size_t cap, const char *text, size_t len)
{
    struct pi_out o = { out, cap, 0 };
    for (size_t i = 0; i < len; i++) {
        const char *name = entity(text[i]);
        if (name)
            pi_out_bytes(&o, name, strlen(name));
        else
            pi_out_char(&o, text[i]);
    }
    return pi_out_end(&o);
}
