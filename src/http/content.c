/* SPDX-License-Identifier: MIT */
/*
 * http/content.c - bodies that mean something: forms and JSON that requests bring, and JSON that is
 * written while the response is on its way.
 *
 * Whatever is wrong with a body is the client's fault: the code that is returned goes with the
 * status that the response will have (415, 413, 400) and with words for the client, when the
 * handler returns it.
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "http/exchange.h"

#include <pier/text.h>

#include <string.h>
#include <strings.h>

enum {
    FORM_FIELDS_MAX = 1000, /* as many as other servers take: a list of checkboxes, no attack */
    WRITER_CAP = 1024,
};

#define FORM_TYPE "application/x-www-form-urlencoded"

/* ---- what a body may be ---- */

/* The client's fault, with words that outlive this call. */
static int blame(struct pier_exchange *ex, int status, int code, const char *words)
{
    const char *copy = pier_exchange_strdup(ex, words);
    return pi_blame(ex, status, copy, pi_fail_text(code, "http: %s", words));
}

/* A coding would have to be undone, within limits of its own: identity alone is understood
 * (RFC 9110, 15.5.16, and what it says of Accept-Encoding). */
static int check_coding(struct pier_exchange *ex)
{
    const char *coding = pier_req_field(ex, "Content-Encoding");
    if (!coding || coding[0] == '\0' || strcasecmp(coding, "identity") == 0)
        return 0;
    if (!pier_res_has_begun(ex) && pier_res_set(ex, "Accept-Encoding", "identity") < 0)
        return pier_error_code();
    return blame(ex, 415, -EPROTONOSUPPORT, "the body's Content-Encoding is not understood");
}

static int wrong_type(struct pier_exchange *ex, const char *wanted)
{
    char words[128];
    snprintf(words, sizeof words, "the body has to be of the type %s", wanted);
    return blame(ex, 415, -EPROTONOSUPPORT, words);
}

static bool media_type(struct pier_exchange *ex, struct pier_media_type *m)
{
    const char *type = pier_req_field(ex, "Content-Type");
    return type && pier_media_type_parse(m, type, strlen(type)) == 0;
}

/* application/json, and what is built on it: "application/problem+json" (RFC 6839, 3.1). */
static bool is_json(const struct pier_media_type *m)
{
    static const char suffix[] = "+json";
    const size_t len = sizeof suffix - 1;
    return pier_media_type_is(m, "application/json") ||
           (m->subtype.len > len &&
            strncasecmp(m->subtype.ptr + m->subtype.len - len, suffix, len) == 0);
}

/* ---- forms ---- */

struct form {
    int count;
    struct {
        const char *name, *value;
    } fields[];
};

static const char form_key;

static int count_fields(struct pier_slice form)
{
    struct pier_slice name, value;
    int count = 0;
    while (count <= FORM_FIELDS_MAX && pier_form_next(&form, &name, &value))
        count++;
    return count;
}

/* Decoded, in the exchange's memory; NULL: no memory, or a NUL in it, behind which nobody would
 * look: *code says which. */
static const char *decode(struct pier_exchange *ex, struct pier_slice text, int *code)
{
    char *out = pier_exchange_alloc(ex, text.len + 1);
    ssize_t len = out ? pier_form_decode(out, text.len + 1, text.ptr, text.len) : -ENOMEM;
    bool is_whole = len >= 0 && strlen(out) == (size_t)len;
    *code = len < 0 ? (int)len : -EILSEQ;
    return is_whole ? out : NULL;
}

static int fill_in(struct pier_exchange *ex, struct form *form, struct pier_slice rest)
{
    struct pier_slice name, value;
    while (pier_form_next(&rest, &name, &value)) {
        int code;
        const char *n = decode(ex, name, &code);
        const char *v = n ? decode(ex, value, &code) : NULL;
        if (!v && code == -EILSEQ)
            return blame(ex, 400, -EILSEQ, "the form has a NUL in it");
        if (!v)
            return pi_fail(code, "http: read a form");
        form->fields[form->count].name = n;
        form->fields[form->count++].value = v;
    }
    return 0;
}

static int read_form(struct pier_exchange *ex)
{
    struct pier_media_type m;
    size_t len;
    if (!media_type(ex, &m) || !pier_media_type_is(&m, FORM_TYPE))
        return wrong_type(ex, FORM_TYPE);
    int rc = check_coding(ex);
    char *body = rc < 0 ? NULL : pier_body_all(ex, &len);
    if (!body)
        return rc < 0 ? rc : pier_error_code();
    struct pier_slice text = { body, len };
    int count = count_fields(text);
    if (count > FORM_FIELDS_MAX)
        return blame(ex, 413, -EMSGSIZE, "the form has more than 1,000 fields");
    struct form *form = pier_exchange_alloc(ex,
                                            sizeof *form + (size_t)count * sizeof form->fields[0]);
    if (!form)
        return pier_error_code();
    form->count = 0;
    rc = fill_in(ex, form, text);
    return rc < 0 ? rc : pier_exchange_set(ex, &form_key, form);
}

int pier_body_form(struct pier_exchange *ex)
{
    if (!ex)
        return pi_fail(-EINVAL, "http: read a form");
    return pier_exchange_get(ex, &form_key) ? 0 : read_form(ex);
}

const char *pier_req_form(const struct pier_exchange *ex, const char *name)
{
    const struct form *form = pier_exchange_get(ex, &form_key);
    for (int i = 0; form && name && i < form->count; i++)
        if (strcmp(form->fields[i].name, name) == 0)
            return form->fields[i].value;
    return NULL;
}

bool pier_req_form_at(const struct pier_exchange *ex, int index, const char **name,
                      const char **value)
{
    const struct form *form = pier_exchange_get(ex, &form_key);
    if (!form || index < 0 || index >= form->count)
        return false;
    if (name)
        *name = form->fields[index].name;
    if (value)
        *value = form->fields[index].value;
    return true;
}

/* ---- JSON ---- */

static void free_json(void *value)
{
    pier_json_free(value);
}

/* What the reader says is for the client: where the text is no JSON, or which limit it is beyond.
 */
static int blame_json(struct pier_exchange *ex)
{
    char words[256];
    int code = pier_error_code();
    if (code == -ENOMEM)
        return code;
    snprintf(words, sizeof words, "%s", pier_error());
    return blame(ex, code == -EMSGSIZE ? 413 : 400, code, words);
}

const struct pier_json_value *pier_body_json(struct pier_exchange *ex,
                                             const struct pier_json_limits *limits)
{
    struct pier_media_type m;
    struct pier_json_limits l = { 0 };
    size_t len;
    if (!ex) {
        pi_fail(-EINVAL, "http: read JSON");
        return NULL;
    }
    if (!media_type(ex, &m) || !is_json(&m)) {
        wrong_type(ex, "application/json");
        return NULL;
    }
    const char *body = check_coding(ex) < 0 ? NULL : pier_body_all(ex, &len);
    if (!body)
        return NULL;
    if (limits)
        l = *limits;
    if (l.max_bytes == 0)
        l.max_bytes = len + 1; /* body_max has been kept */
    struct pier_json_value *value = pier_json_parse(body, len, &l);
    if (!value) {
        blame_json(ex);
        return NULL;
    }
    return pier_exchange_defer(ex, free_json, value) < 0 ? NULL : value;
}

/* Where a writer that has failed writes to. */
static PI_THREAD_LOCAL char nowhere[64];

static int fails(void *ctx, const void *bytes, size_t len)
{
    return -EIO;
}

/* A writer whose room is not full when it hands over is at its end: then the length is known. */
static int send_json(void *ctx, const void *bytes, size_t len)
{
    struct pier_exchange *ex = ctx;
    if (len < WRITER_CAP && !pier_res_has_begun(ex)) {
        int rc = pier_res_begin(ex, pier_res_status(ex), (int64_t)len);
        if (rc < 0)
            return rc;
    }
    return pier_res_sink(ex, bytes, len);
}

int pier_res_json(struct pier_exchange *ex, int status, struct pier_json *w)
{
    if (!ex || !w)
        return pi_fail(-EINVAL, "http: write JSON");
    pier_json_init(w, nowhere, sizeof nowhere, fails, NULL);
    char *room = pier_exchange_alloc(ex, WRITER_CAP);
    int rc = room ? pier_res_set_status(ex, status) : pier_error_code();
    if (rc == 0 && !pier_res_field(ex, "Content-Type"))
        rc = pier_res_set(ex, "Content-Type", "application/json");
    if (rc == 0)
        pier_json_init(w, room, WRITER_CAP, send_json, ex);
    w->error = rc;
    return rc;
}
