/* SPDX-License-Identifier: MIT */
/*
 * http_items.c - what stands behind the URL of `pier get` and its like, in HTTPie's grammar:
 *
 *     Name:value  a field of the request      Name:     without our own of that name
 *     name==value a parameter of the query
 *     name=value  data: a JSON string         name:=json    data: any JSON value
 *     name=@file  data: a file's text         name:=@file   data: a file's JSON
 *     @file       the file is the body; "@-": standard input
 *
 * The first separator counts, of several at one place the longest; a backslash takes one away.
 */
#include "http.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { DATA_FILE_MAX = 16 << 20 };

enum item_kind { FIELD, QUERY, STRING, JSON, STRING_FILE, JSON_FILE, BODY_FILE, NO_ITEM };

/* Longer ones before those that they begin with. */
static const struct separator {
    const char *text;
    enum item_kind kind;
} separators[] = {
    { ":=@", JSON_FILE }, { "==", QUERY }, { ":=", JSON },    { "=@", STRING_FILE },
    { ":", FIELD },       { "=", STRING }, { NULL, NO_ITEM },
};

/* One item in parts. */
struct item {
    enum item_kind kind;
    char *name;
    const char *value;
};

/* ---- texts ---- */

static void add(struct http_text *t, const void *bytes, size_t len)
{
    if (t->len + len + 1 > t->cap) {
        t->cap = 2 * (t->len + len + 1);
        t->bytes = realloc(t->bytes, t->cap);
        if (t->bytes == NULL)
            abort();
    }
    if (len > 0)
        memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
    t->bytes[t->len] = '\0';
}

static void puts_to(struct http_text *t, const char *text)
{
    add(t, text, strlen(text));
}

static int add_json(void *ctx, const void *bytes, size_t len)
{
    add(ctx, bytes, len);
    return 0;
}

/* encode is pier_form_encode(), or the like. */
static void add_encoded(struct http_text *t, const char *text, bool form)
{
    size_t len = strlen(text);
    char *room = malloc(PIER_PERCENT_ROOM(len));
    if (room == NULL)
        abort();
    if (form)
        (void)pier_form_encode(room, PIER_PERCENT_ROOM(len), text, len);
    else
        (void)pier_percent_encode(room, PIER_PERCENT_ROOM(len), text, len, NULL);
    puts_to(t, room);
    free(room);
}

/* ---- the URL ---- */

/* ":8000/x" is on this host, "example.com/x" is http. The fragment is nobody's business. */
static void take_url(struct http_text *out, const char *text)
{
    if (text[0] == ':' && strncmp(text, "://", 3) != 0) {
        bool has_port = isdigit((unsigned char)text[1]);
        puts_to(out, "http://localhost");
        text += has_port ? 0 : 1;
    } else if (strstr(text, "://") == NULL) {
        puts_to(out, "http://");
    }
    add(out, text, strcspn(text, "#"));
}

static void add_query(struct http_text *url, const char *name, const char *value)
{
    puts_to(url, strchr(url->bytes, '?') != NULL ? "&" : "?");
    add_encoded(url, name, false);
    puts_to(url, "=");
    add_encoded(url, value, false);
}

/* ---- items ---- */

static const struct separator *separator_at(const char *text)
{
    for (const struct separator *s = separators; s->text != NULL; s++)
        if (strncmp(text, s->text, strlen(s->text)) == 0)
            return s;
    return NULL;
}

/* Cuts text in two at its first separator. */
static struct item split(char *text)
{
    if (text[0] == '@')
        return (struct item){ BODY_FILE, NULL, text + 1 };
    char *to = text;
    for (char *from = text; *from != '\0'; from++) {
        if (from[0] == '\\' && from[1] != '\0' && strchr(":=@;\\", from[1]) != NULL) {
            *to++ = *++from;
            continue;
        }
        const struct separator *s = separator_at(from);
        if (s != NULL) {
            const char *value = from + strlen(s->text);
            *to = '\0';
            return (struct item){ s->kind, text, value };
        }
        *to++ = *from;
    }
    return (struct item){ NO_ITEM, text, NULL };
}

static int add_field(struct http_items *out, const struct verb *verb, const struct item *item)
{
    if (out->field_count == FIELDS_MAX)
        return usage_error(verb, "more than %d fields", FIELDS_MAX);
    struct http_text line = { NULL, 0, 0 };
    puts_to(&line, item->name);
    puts_to(&line, ":");
    puts_to(&line, item->value);
    out->fields[out->field_count++] = line.bytes;
    return 0;
}

/* The value of data, to be freed: its text, from a file where that is meant. NULL: the failure has
 * been told. */
static char *data_of(const struct item *item, size_t *len)
{
    char *text;
    if (item->kind == STRING_FILE || item->kind == JSON_FILE) {
        text = pier_read_file(item->value, DATA_FILE_MAX, len);
        if (text == NULL)
            pier_fail("pier");
        return text;
    }
    *len = strlen(item->value);
    text = strdup(item->value);
    if (text == NULL)
        abort();
    return text;
}

static int add_form(struct http_items *out, const struct verb *verb, const struct item *item)
{
    size_t len;
    if (item->kind == JSON || item->kind == JSON_FILE)
        return usage_error(verb, "%s:=: a form has no JSON values", item->name);
    char *value = data_of(item, &len);
    if (value == NULL)
        return EXIT_FAILED;
    if (out->body.len > 0)
        puts_to(&out->body, "&");
    add_encoded(&out->body, item->name, true);
    puts_to(&out->body, "=");
    add_encoded(&out->body, value, true);
    free(value);
    return 0;
}

/* A value of JSON out of its text. 0 or the exit code. */
static int add_value(struct pier_json *w, const struct verb *verb, const char *name,
                     struct pier_slice text)
{
    const struct pier_json_limits limits = { .max_bytes = DATA_FILE_MAX };
    struct pier_json_value *value = pier_json_parse(text.ptr, text.len, &limits);
    if (value == NULL)
        return usage_error(verb, "%s:=: %s", name, pier_error());
    pier_json_value(w, value);
    pier_json_free(value);
    return 0;
}

static int add_member(struct pier_json *w, const struct verb *verb, const struct item *item)
{
    size_t len;
    int code = 0;
    char *text = data_of(item, &len);
    if (text == NULL)
        return EXIT_FAILED;
    pier_json_key(w, item->name);
    if (item->kind == STRING || item->kind == STRING_FILE)
        pier_json_strn(w, text, len);
    else
        code = add_value(w, verb, item->name, (struct pier_slice){ text, len });
    free(text);
    return code;
}

/* ---- all of them ---- */

/* Sorts one item; data is only counted: it is put together when all are known. */
static int sort_item(struct http_items *out, const struct verb *verb, const struct item *item,
                     const char *shown)
{
    switch (item->kind) {
    case FIELD:
        return add_field(out, verb, item);
    case QUERY:
        add_query(&out->url, item->name, item->value);
        return 0;
    case BODY_FILE:
        if (out->file != NULL)
            return usage_error(verb, "@%s: there is a body already", item->value);
        out->file = item->value;
        return 0;
    case NO_ITEM:
        return usage_error(verb,
                           "'%s' is no item: Name:value, name==value, name=value, name:=json "
                           "or @file",
                           shown);
    default:
        return 0;
    }
}

static bool is_data(const struct item *item)
{
    return item->kind == STRING || item->kind == JSON || item->kind == STRING_FILE ||
           item->kind == JSON_FILE;
}

static int take_data(struct http_items *out, const struct verb *verb, const struct item *items,
                     bool form)
{
    static char buf[4096];
    struct pier_json w;
    int code = 0;
    pier_json_init(&w, buf, sizeof buf, add_json, &out->body);
    pier_json_object(&w);
    for (const struct item *item = items; item->kind != NO_ITEM && code == 0; item++) {
        if (is_data(item))
            code = form ? add_form(out, verb, item) : add_member(&w, verb, item);
    }
    if (form || code != 0)
        return code;
    pier_json_close(&w);
    if (pier_json_end(&w) < 0)
        return usage_error(verb, "the data is nested too deeply");
    return 0;
}

int http_items_parse(struct http_items *out, const struct verb *verb, int count, char **operands)
{
    int data = 0, code = 0;
    take_url(&out->url, operands[0]);
    count--;
    struct item *items = calloc((size_t)count + 1, sizeof *items);
    if (items == NULL)
        abort();
    for (int i = 0; i < count && code == 0; i++) {
        items[i] = split(operands[i + 1]);
        data += is_data(&items[i]);
        code = sort_item(out, verb, &items[i], operands[i + 1]);
    }
    items[count].kind = NO_ITEM;
    if (code == 0 && data > 0 && out->file != NULL)
        code = usage_error(verb, "@%s: a body that is a file has no other data", out->file);
    if (code == 0 && data > 0)
        code = take_data(out, verb, items, out->form);
    out->has_body = data > 0;
    if (data > 0)
        out->body_type = out->form ? "application/x-www-form-urlencoded" : "application/json";
    else if (out->file != NULL && strcmp(out->file, "-") != 0)
        out->body_type = pier_media_type_of(out->file);
    free(items);
    return code;
}
