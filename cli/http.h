/* SPDX-License-Identifier: MIT */
/*
 * http.h - what the verbs of HTTP share: get, head, post, put, patch, delete are one command with
 * six names. http_items.c understands what stands behind the URL, http_run.c does the rest.
 */
#ifndef CLI_HTTP_H
#define CLI_HTTP_H

#include "verb.h"

#include <stdbool.h>

enum {
    EXIT_STATUS = 7, /* --fail: the status tells of an error */
    FIELDS_MAX = 64,
};

/* A growing text; the process's until it ends. */
struct http_text {
    char *bytes;
    size_t len, cap;
};

/* What the operands ask for. */
struct http_items {
    struct http_text url;
    const char *fields[FIELDS_MAX + 3]; /* ours come last; ended by NULL */
    int field_count;
    struct http_text body;
    const char *body_type; /* NULL: there is none to be told */
    const char *file;      /* "@file"; "-": standard input */
    bool has_body;
    bool form; /* data is a form, not JSON */
};

/* Understands "URL [ITEM...]"; out is zero, but for form. 0, or the exit code: the failure has been
 * told. */
int http_items_parse(struct http_items *out, const struct verb *verb, int count, char **operands);

#define HTTP_DETAILS                                                                              \
    "\":8000/x\" is a URL of this host, \"example.com/x\" one of http. An ITEM is Name:value, a " \
    "field of the request (\"Name:\" leaves ours out); name==value, a parameter of the query; "   \
    "name=value, data, sent as JSON or --form; name:=json, data that is no string; name=@FILE "   \
    "and name:=@FILE, the same from a file; or @FILE, the body itself, \"@-\" being standard "    \
    "input. A backslash before a separator takes its meaning away."

/* The options of all of them, and the verb itself; returns the exit code. */
extern const struct verb_option http_options[];
int http_run(const struct verb *verb, const char *method, int count, char **operands);

#endif
