/* SPDX-License-Identifier: MIT */
/*
 * text/json_read.c - JSON texts (RFC 8259) as trees that can only be read; the work is jansson's.
 * What is written is json.c's.
 *
 * jansson calls itself for each level, up to 2,048 of them, and a task's stack is small; and it has
 * no limit on values. So a first pass counts both, without understanding more than strings and
 * brackets, and jansson never sees a text beyond the limits. Its memory is malloc's: its hooks are
 * for the whole process, and the program's own use of it would go through them.
 *
 * A struct pier_json_value is a json_t.
 */
#include "text/ascii.h"

#include "base/err.h"

#include <jansson.h>

enum { MAX_BYTES = 1 << 20, MAX_VALUES = 100000, SHOWN_CAP = 160 };

static const struct pier_json_value *ours(const json_t *value)
{
    return (const struct pier_json_value *)value;
}

static const json_t *theirs(const struct pier_json_value *value)
{
    return (const json_t *)value;
}

/* ---- parsing ---- */

/* Where a place in the text is, for people: both from 1. */
static int fail_at(int code, struct pier_slice text, size_t at, const char *reason)
{
    size_t line = 1, begin = 0;
    for (size_t i = 0; i < at && i < text.len; i++) {
        if (text.ptr[i] == '\n') {
            line++;
            begin = i + 1;
        }
    }
    return pi_fail_text(code, "json: line %zu, column %zu: %s", line, at - begin + 1, reason);
}

/* Passes over a string; i is at its first quotation mark. Returns the place of the last one, or of
 * the end. */
static size_t skip_string(struct pier_slice text, size_t i)
{
    for (i++; i < text.len && text.ptr[i] != '"'; i++)
        if (text.ptr[i] == '\\')
            i++;
    return i;
}

/* Whether levels and values stay within the limits. Commas and opening brackets are at least as
 * many as values, but for the first. */
static int check_limits(struct pier_slice text, int max_depth, size_t max_values)
{
    int depth = 0;
    size_t values = 1;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '"') {
            i = skip_string(text, i);
        } else if (c == '{' || c == '[') {
            depth++;
            values++;
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (c == ',') {
            values++;
        }
        if (depth > max_depth)
            return fail_at(-EMSGSIZE, text, i, "nested too deeply");
        if (values > max_values)
            return fail_at(-EMSGSIZE, text, i, "too many values");
    }
    return 0;
}

/* Sets the failure that jansson found. It counts characters; the place is a byte's. */
static void tell_mistake(struct pier_slice text, const json_error_t *error)
{
    char reason[SHOWN_CAP];
    bool is_silent = error->text[0] == '\0'; /* it says nothing where it has no memory */
    if (is_silent || json_error_code(error) == json_error_out_of_memory) {
        pi_fail(-ENOMEM, "json");
        return;
    }
    pier_escape(reason, sizeof reason, error->text, strlen(error->text));
    fail_at(-EILSEQ, text, error->position > 0 ? (size_t)error->position - 1 : 0, reason);
}

struct pier_json_value *pier_json_parse(const char *bytes, size_t len,
                                        const struct pier_json_limits *limits)
{
    struct pier_slice text = { bytes ? bytes : "", bytes ? len : 0 };
    size_t max_bytes = limits && limits->max_bytes ? limits->max_bytes : MAX_BYTES;
    size_t max_values = limits && limits->max_values ? limits->max_values : MAX_VALUES;
    int max_depth = limits && limits->max_depth ? limits->max_depth : PIER_JSON_MAX_DEPTH;
    if (max_depth > PIER_JSON_MAX_DEPTH)
        max_depth = PIER_JSON_MAX_DEPTH;
    if (text.len > max_bytes) {
        pi_fail_text(-EMSGSIZE, "json: %zu bytes, %zu are the most", text.len, max_bytes);
        return NULL;
    }
    const char *nul = text.len > 0 ? memchr(text.ptr, '\0', text.len) : NULL;
    if (nul) { /* jansson would read as far as there */
        fail_at(-EILSEQ, text, (size_t)(nul - text.ptr), "a NUL byte");
        return NULL;
    }
    if (check_limits(text, max_depth, max_values) < 0)
        return NULL;
    json_error_t error = { 0 };
    json_t *value = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY,
                               &error);
    if (!value)
        tell_mistake(text, &error);
    return (struct pier_json_value *)value;
}

void pier_json_free(struct pier_json_value *value)
{
    json_decref((json_t *)value);
}

/* ---- what there is ---- */

enum pier_json_type pier_json_type(const struct pier_json_value *value)
{
    static const enum pier_json_type types[] = {
        [JSON_OBJECT] = PIER_JSON_OBJECT, [JSON_ARRAY] = PIER_JSON_ARRAY,
        [JSON_STRING] = PIER_JSON_STRING, [JSON_INTEGER] = PIER_JSON_INTEGER,
        [JSON_REAL] = PIER_JSON_REAL,     [JSON_TRUE] = PIER_JSON_BOOLEAN,
        [JSON_FALSE] = PIER_JSON_BOOLEAN, [JSON_NULL] = PIER_JSON_NULL,
    };
    return value ? types[json_typeof(theirs(value))] : PIER_JSON_NONE;
}

size_t pier_json_count(const struct pier_json_value *value)
{
    return json_is_array(theirs(value)) ? json_array_size(theirs(value))
                                        : json_object_size(theirs(value));
}

const struct pier_json_value *pier_json_at(const struct pier_json_value *array, size_t index)
{
    return ours(json_array_get(theirs(array), index));
}

bool pier_json_next(const struct pier_json_value *object, const char **key,
                    const struct pier_json_value **value)
{
    json_t *o = (json_t *)object; /* jansson's iterators know no const */
    void *at = *key ? json_object_iter_next(o, json_object_key_to_iter(*key)) : json_object_iter(o);
    *key = at ? json_object_iter_key(at) : NULL;
    *value = at ? ours(json_object_iter_value(at)) : NULL;
    return at != NULL;
}

/* ---- paths ---- */

/* An index of an array (RFC 6901, 4): digits without a leading zero. -1: none. */
static ssize_t index_of(const char *text, size_t len)
{
    enum { DIGITS_MAX = 9 };
    ssize_t index = 0;
    if (len == 0 || len > DIGITS_MAX || (len > 1 && text[0] == '0'))
        return -1;
    for (size_t i = 0; i < len; i++) {
        if (!pi_is_digit((unsigned char)text[i]))
            return -1;
        index = index * 10 + (text[i] - '0');
    }
    return index;
}

/* A step of a pointer as the key that it stands for: "~1" is "/", "~0" is "~". -1: it does not fit,
 * or is wrong. */
static int unescape(char *key, size_t cap, const char *step, size_t len)
{
    struct pi_out o = { key, cap, 0 };
    for (size_t i = 0; i < len; i++) {
        char c = step[i];
        if (c == '~') {
            if (++i == len || (step[i] != '0' && step[i] != '1'))
                return -1;
            c = step[i] == '0' ? '~' : '/';
        }
        pi_out_char(&o, c);
    }
    return pi_out_end(&o) < 0 ? -1 : 0;
}

const struct pier_json_value *pier_json_get(const struct pier_json_value *value, const char *path)
{
    enum { KEY_CAP = 256 };
    char key[KEY_CAP];
    if (path[0] != '/')
        return path[0] == '\0' ? value : ours(json_object_get(theirs(value), path));
    while (value && *path == '/') {
        const char *step = path + 1;
        size_t len = strcspn(step, "/");
        if (json_is_array(theirs(value))) {
            ssize_t index = index_of(step, len);
            value = index < 0 ? NULL : pier_json_at(value, (size_t)index);
        } else {
            bool is_key = unescape(key, sizeof key, step, len) == 0;
            value = is_key ? ours(json_object_get(theirs(value), key)) : NULL;
        }
        path = step + len;
    }
    return value;
}

/* ---- values ---- */

const char *pier_json_get_str(const struct pier_json_value *value, const char *path,
                              const char *otherwise)
{
    const json_t *found = theirs(pier_json_get(value, path));
    return json_is_string(found) ? json_string_value(found) : otherwise;
}

int64_t pier_json_get_int(const struct pier_json_value *value, const char *path, int64_t otherwise)
{
    const json_t *found = theirs(pier_json_get(value, path));
    return json_is_integer(found) ? json_integer_value(found) : otherwise;
}

double pier_json_get_double(const struct pier_json_value *value, const char *path, double otherwise)
{
    const json_t *found = theirs(pier_json_get(value, path));
    return json_is_number(found) ? json_number_value(found) : otherwise;
}

bool pier_json_get_bool(const struct pier_json_value *value, const char *path, bool otherwise)
{
    const json_t *found = theirs(pier_json_get(value, path));
    return json_is_boolean(found) ? json_is_true(found) : otherwise;
}

/* ---- back to text ---- */

static void write_object(struct pier_json *w, const struct pier_json_value *object)
{
    const char *key = NULL;
    const struct pier_json_value *member;
    pier_json_object(w);
    while (pier_json_next(object, &key, &member)) {
        pier_json_key(w, key);
        pier_json_value(w, member);
    }
    pier_json_close(w);
}

void pier_json_value(struct pier_json *w, const struct pier_json_value *value)
{
    switch (pier_json_type(value)) {
    case PIER_JSON_OBJECT:
        write_object(w, value);
        break;
    case PIER_JSON_ARRAY:
        pier_json_array(w);
        for (size_t i = 0; i < pier_json_count(value); i++)
            pier_json_value(w, pier_json_at(value, i));
        pier_json_close(w);
        break;
    case PIER_JSON_STRING:
        pier_json_strn(w, json_string_value(theirs(value)), json_string_length(theirs(value)));
        break;
    case PIER_JSON_INTEGER:
        pier_json_int(w, json_integer_value(theirs(value)));
        break;
    case PIER_JSON_REAL:
        pier_json_double(w, json_real_value(theirs(value)));
        break;
    case PIER_JSON_BOOLEAN:
        pier_json_bool(w, json_is_true(theirs(value)));
        break;
    default:
        pier_json_null(w);
    }
}
