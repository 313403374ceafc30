/* SPDX-License-Identifier: MIT */
/*
 * http/fields.h - the fields of a message as slices of its bytes, their names, and the lists in
 * their values (RFC 9110, 5). Pure: no I/O, no clock, no allocation.
 *
 * A field is kept as offsets from the message's first byte: a buffer that moves takes its fields
 * along with one assignment to `base`. What follows a name is its colon, and what follows a value
 * is a space, a tab or its CR: the owner of the bytes may put a NUL there once a message is parsed.
 */
#ifndef PI_HTTP_FIELDS_H
#define PI_HTTP_FIELDS_H

#include <pier/base.h>

#include <stdbool.h>
#include <stdint.h>

enum {
    PI_FIELDS_MAX = 100,
};

/* Fields that are found without a search. */
enum pi_field_id {
    PI_FIELD_OTHER,
    PI_FIELD_ACCEPT,
    PI_FIELD_ACCEPT_ENCODING,
    PI_FIELD_ACCEPT_LANGUAGE,
    PI_FIELD_ACCESS_CONTROL_REQUEST_HEADERS,
    PI_FIELD_ACCESS_CONTROL_REQUEST_METHOD,
    PI_FIELD_AGE,
    PI_FIELD_ALT_SVC,
    PI_FIELD_AUTHORIZATION,
    PI_FIELD_CACHE_CONTROL,
    PI_FIELD_CONNECTION,
    PI_FIELD_CONTENT_ENCODING,
    PI_FIELD_CONTENT_LENGTH,
    PI_FIELD_CONTENT_RANGE,
    PI_FIELD_CONTENT_TYPE,
    PI_FIELD_COOKIE,
    PI_FIELD_DATE,
    PI_FIELD_ETAG,
    PI_FIELD_EXPECT,
    PI_FIELD_FORWARDED,
    PI_FIELD_HOST,
    PI_FIELD_IF_MATCH,
    PI_FIELD_IF_MODIFIED_SINCE,
    PI_FIELD_IF_NONE_MATCH,
    PI_FIELD_IF_RANGE,
    PI_FIELD_IF_UNMODIFIED_SINCE,
    PI_FIELD_KEEP_ALIVE,
    PI_FIELD_LAST_MODIFIED,
    PI_FIELD_LOCATION,
    PI_FIELD_ORIGIN,
    PI_FIELD_PROXY_AUTHORIZATION,
    PI_FIELD_RANGE,
    PI_FIELD_REFERER,
    PI_FIELD_RETRY_AFTER,
    PI_FIELD_SEC_FETCH_SITE,
    PI_FIELD_SEC_WEBSOCKET_KEY,
    PI_FIELD_SEC_WEBSOCKET_PROTOCOL,
    PI_FIELD_SEC_WEBSOCKET_VERSION,
    PI_FIELD_SERVER,
    PI_FIELD_SET_COOKIE,
    PI_FIELD_TE,
    PI_FIELD_TRACEPARENT,
    PI_FIELD_TRACESTATE,
    PI_FIELD_TRAILER,
    PI_FIELD_TRANSFER_ENCODING,
    PI_FIELD_UPGRADE,
    PI_FIELD_USER_AGENT,
    PI_FIELD_VARY,
    PI_FIELD_WWW_AUTHENTICATE,
    PI_FIELD_X_FORWARDED_FOR,
    PI_FIELD_X_FORWARDED_PROTO,
    PI_FIELD_X_REQUEST_ID,
    PI_FIELD_IDS,
};

/* A piece of some text. */
struct pi_part {
    const char *at; /* NULL: there is none */
    size_t len;
};

/* One field line. */
struct pi_field {
    uint32_t name; /* offsets from the message's first byte */
    uint32_t value;
    uint32_t value_len; /* without the white space round it */
    uint16_t name_len;
    uint8_t id; /* enum pi_field_id */
};

/* The field lines of a message, in their order. */
struct pi_fields {
    const char *base;  /* the message's first byte */
    uint64_t repeated; /* bits by id: the ids that have more than one line */
    uint32_t count;
    uint8_t first[PI_FIELD_IDS]; /* by id: the index of the first such line, plus 1 */
    struct pi_field list[PI_FIELDS_MAX];
};

static inline struct pi_part pi_field_name(const struct pi_fields *f, uint32_t index)
{
    return (struct pi_part){ f->base + f->list[index].name, f->list[index].name_len };
}

static inline struct pi_part pi_field_value(const struct pi_fields *f, uint32_t index)
{
    return (struct pi_part){ f->base + f->list[index].value, f->list[index].value_len };
}

/* The value of the first line with that id (not PI_FIELD_OTHER); .at is NULL when there is none. */
static inline struct pi_part pi_fields_get(const struct pi_fields *f, enum pi_field_id id)
{
    return f->first[id] ? pi_field_value(f, f->first[id] - 1u) : (struct pi_part){ NULL, 0 };
}

/* The index of the first line from `from` on with that name, in any case; -1 when there is none. */
int pi_fields_find(const struct pi_fields *f, struct pi_part name, uint32_t from) PIER_MUST_USE;

/* The id of a name in any case; PI_FIELD_OTHER when it has none. */
enum pi_field_id pi_field_id(const char *name, size_t len) PIER_MUST_USE;

/* The name of an id, as it is commonly written; "" for PI_FIELD_OTHER. */
const char *pi_field_id_name(enum pi_field_id id) PIER_MUST_USE;

/* ---- what bytes may stand where ---- */

/* How many of len bytes, from the first, are token characters (RFC 9110, 5.6.2). */
size_t pi_token_span(const char *text, size_t len) PIER_MUST_USE;

/* Whether len bytes are a token, which is at least one byte. */
bool pi_is_token(const char *text, size_t len) PIER_MUST_USE;

/* Whether len bytes may be a field's value: no control character but the tab, no white space at its
 * ends (RFC 9110, 5.5). The empty value may. */
bool pi_is_field_value(const char *text, size_t len) PIER_MUST_USE;

/* How many of len bytes, from the first, may stand in a field's value: all but control characters,
 * of which the tab may. */
size_t pi_value_span(const char *text, size_t len) PIER_MUST_USE;

/* Whether two texts differ in nothing but the case of ASCII letters. */
bool pi_same_nocase(struct pi_part a, struct pi_part b) PIER_MUST_USE;

/* ---- lists in values (RFC 9110, 5.6.1) ---- */

/* The next element of a comma-separated list, without the white space round it; quoted strings are
 * not cut. Empty elements are left out. .at is NULL at the end. rest begins as the whole value. */
struct pi_part pi_list_next(struct pi_part *rest) PIER_MUST_USE;

/* Whether a list has that token, in any case, in any of the lines with that id. */
bool pi_fields_have(const struct pi_fields *f, enum pi_field_id id,
                    const char *token) PIER_MUST_USE;

#endif
