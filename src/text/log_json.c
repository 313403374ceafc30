/* SPDX-License-Identifier: MIT */
/*
 * text/log_json.c - the log as JSON lines:
 * {"time":"2026-11-20T09:22:31.123Z","level":"warn","msg":"message","key":"value"}.
 *
 * Invariant: each line is one whole JSON object, however long the record. One that does not fit is
 * written again with shorter strings, and says so with "cut":true.
 */
#include <pier/text.h>

#include "base/log.h"
#include "base/sys.h"

#include <string.h>

enum { LIMIT_MIN = 16 }; /* strings shorter than that say nothing; the fields are left out then */

static const size_t no_limit = SIZE_MAX;

struct record {
    const char *level, *msg;
    const struct pier_log_field *fields;
    size_t count;
    char time[32];
};

/* At most limit bytes of a string, and no part of a character. */
static void put_string(struct pier_json *w, const char *value, size_t len, size_t limit)
{
    size_t n = len < limit ? len : limit;
    if (n < len)
        n -= pier_utf8_cut(value, n);
    pier_json_strn(w, value, n);
}

static void put_field(struct pier_json *w, const struct pier_log_field *f, size_t limit)
{
    pier_json_key(w, f->key);
    if (f->kind == PIER_LOG_INT)
        pier_json_int(w, f->num);
    else
        put_string(w, f->str, f->len, limit);
}

/* Returns the length of the line, or -ENOSPC. */
static ssize_t build(char line[PI_LOG_LINE_MAX], const struct record *r, size_t limit)
{
    struct pier_json w;
    pier_json_init(&w, line, PI_LOG_LINE_MAX, NULL, NULL);
    pier_json_object(&w);
    pier_json_key(&w, "time");
    pier_json_str(&w, r->time);
    pier_json_key(&w, "level");
    pier_json_str(&w, r->level);
    pier_json_key(&w, "msg");
    put_string(&w, r->msg, strlen(r->msg), limit);
    for (size_t i = 0; i < r->count; i++)
        put_field(&w, &r->fields[i], limit);
    if (limit != no_limit) {
        pier_json_key(&w, "cut");
        pier_json_bool(&w, true);
    }
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    return pier_json_end(&w);
}

void pier_log_json(void *ctx, enum pier_log_level level, const char *msg,
                   const struct pier_log_field *fields, size_t count)
{
    char line[PI_LOG_LINE_MAX];
    struct record r = {
        .level = pi_log_level_name(level), .msg = msg, .fields = fields, .count = count
    };
    pier_date_rfc3339(r.time, sizeof r.time, pi_unix_ns(), true);

    ssize_t len = build(line, &r, no_limit);
    for (size_t limit = PI_LOG_LINE_MAX / 2; len < 0 && limit >= LIMIT_MIN; limit /= 2)
        len = build(line, &r, limit);
    if (len < 0) {
        r.count = 0;
        len = build(line, &r, LIMIT_MIN);
    }
    pi_log_write(ctx, line, (size_t)len);
}
