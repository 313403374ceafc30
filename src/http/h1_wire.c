/* SPDX-License-Identifier: MIT */
/*
 * http/h1_wire.c - the heads of HTTP/1 messages: request lines, status lines, fields, trailers, and
 * what they say about where a message ends (RFC 9112, 2 to 6).
 *
 * A line is understood when its LF is there. When a line is not complete, the parser notes how far
 * it has looked for an LF and does nothing before there is one, or too much: so each byte is looked
 * at twice at the most. What two parsers could read in two ways is refused, never repaired.
 */
#include "http/h1_wire.h"

#include "http/host_wire.h"

#include <string.h>
#include <strings.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    TARGET_MAX = 8192, /* the defaults of struct pi_h1_limits */
    SECTION_MAX = 32768,
    METHOD_MAX = 32,                          /* WebDAV's longest has 17 bytes */
    VERSION_LEN = 8,                          /* "HTTP/1.1" */
    LINE_REST = METHOD_MAX + VERSION_LEN + 4, /* of a request line, without its target */
    STATUS_LINE_MAX = 8192,
};

/* A message that is being parsed. */
struct input {
    const char *buf;
    const char *end;
    struct pi_h1_scan *scan;
    struct pi_fields *fields;
    struct pi_h1_limits limits;
    char *fold; /* buf, where folded lines are joined in place; else NULL */
};

static struct pi_h1_limits limits_of(const struct pi_h1_limits *given)
{
    struct pi_h1_limits l = given ? *given : (struct pi_h1_limits){ 0 };
    if (l.target == 0)
        l.target = TARGET_MAX;
    if (l.section == 0)
        l.section = SECTION_MAX;
    if (l.fields == 0 || l.fields > PI_FIELDS_MAX)
        l.fields = PI_FIELDS_MAX;
    return l;
}

static void fields_begin(struct pi_fields *f)
{
    f->repeated = 0;
    f->count = 0;
    memset(f->first, 0, sizeof f->first);
}

static inline uint32_t offset(const struct input *in, const char *at)
{
    return (uint32_t)(at - in->buf);
}

static inline struct pi_slice slice(const struct input *in, const char *from, const char *to)
{
    return (struct pi_slice){ offset(in, from), (uint32_t)(to - from) };
}

/* ---- lines ---- */

/* Whether the line at hand can still not be complete, and is not longer than most. */
static bool still_waits(struct input *in, size_t most)
{
    struct pi_h1_scan *s = in->scan;
    size_t len = (size_t)(in->end - in->buf);
    if (s->seen <= s->line)
        return false;
    if (len > s->seen && memchr(in->buf + s->seen, '\n', len - s->seen))
        return false;
    s->seen = (uint32_t)len;
    return len - s->line <= most;
}

/* The line at hand needs more bytes: all are seen. */
static ssize_t wait_for_more(struct input *in)
{
    in->scan->seen = offset(in, in->end);
    return 0;
}

/* Takes CRLF at *p. Returns 1, 0 for more, or what is there instead; other is for neither. */
static inline int take_crlf(const char **p, const char *end, int other)
{
    const char *at = *p;
    if (at == end)
        return 0;
    if (*at == '\n')
        return PI_H1_BARE_LF;
    if (*at != '\r')
        return other;
    if (at + 1 == end)
        return 0;
    if (at[1] != '\n')
        return PI_H1_BARE_CR;
    *p = at + 2;
    return 1;
}

/* ---- fields ---- */

static inline bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* How many bytes are before the colon when that is near; else a number that says nothing. */
static inline size_t near_colon(const char *p, const char *end)
{
#ifdef __SSE2__
    if (end - p >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned where = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(':')));
        return where ? (size_t)__builtin_ctz(where) : 0;
    }
#endif
    return 0;
}

/* What is wrong with a line whose name ends at p with something else than a colon. */
static int bad_name(const char *line, const char *p, const char *end)
{
    if (*p == '\n' || *p == '\r')
        return p > line || *p == '\n' ? PI_H1_NO_COLON : PI_H1_BARE_CR;
    const char *after = p;
    while (after < end && is_space(*after))
        after++;
    if (after > p && after < end && *after == ':')
        return PI_H1_SPACE_BEFORE_COLON;
    return PI_H1_BAD_NAME;
}

/* Takes the name at *p and its colon into *field. Returns 1, 0 for more, or a negative code. */
static inline int take_name(struct pi_field *field, struct input *in, const char **p)
{
    const char *line = *p;
    size_t len = near_colon(line, in->end);
    enum pi_field_id id = pi_field_id(line, len);
    if (id == PI_FIELD_OTHER) {
        len = pi_token_span(line, (size_t)(in->end - line));
        if (line + len == in->end)
            return 0;
        if (len == 0 || line[len] != ':')
            return bad_name(line, line + len, in->end);
        if (len > UINT16_MAX)
            return PI_H1_HEAD_TOO_LARGE;
        id = pi_field_id(line, len);
    }
    field->name = offset(in, line);
    field->name_len = (uint16_t)len;
    field->id = (uint8_t)id;
    *p = line + len + 1;
    return 1;
}

/* Takes the value at *p and its CRLF into *field. Returns as take_name. */
static inline int take_value(struct pi_field *field, struct input *in, const char **p)
{
    const char *from = *p;
    while (from < in->end && is_space(*from))
        from++;
    const char *to = from + pi_value_span(from, (size_t)(in->end - from));
    *p = to;
    int rc = take_crlf(p, in->end, PI_H1_BAD_VALUE);
    if (rc <= 0)
        return rc;
    while (to > from && is_space(to[-1]))
        to--;
    field->value = offset(in, from);
    field->value_len = (uint32_t)(to - from);
    return 1;
}

static inline int keep_field(struct input *in, struct pi_field field)
{
    struct pi_fields *f = in->fields;
    if (f->count == in->limits.fields)
        return PI_H1_TOO_MANY_FIELDS;
    f->list[f->count++] = field;
    if (f->first[field.id] == 0)
        f->first[field.id] = (uint8_t)f->count;
    else
        f->repeated |= (uint64_t)1 << field.id;
    return 1;
}

/* Joins a folded line to the value before it: the line's end becomes spaces (RFC 9112, 5.2). */
static int take_fold(struct input *in, const char **p)
{
    struct pi_fields *f = in->fields;
    struct pi_field more = { 0 };
    if (!in->fold || f->count == 0)
        return PI_H1_FOLDED;
    const char *line = *p;
    int rc = take_value(&more, in, p);
    if (rc <= 0)
        return rc;
    memset(in->fold + (line - in->buf) - 2, ' ', 2);
    struct pi_field *field = &f->list[f->count - 1];
    if (field->value_len == 0)
        field->value = more.value;
    if (more.value_len > 0)
        field->value_len = more.value + more.value_len - field->value;
    return 1;
}

static inline int take_field(struct input *in, const char **p)
{
    struct pi_field field;
    if (is_space(**p))
        return take_fold(in, p);
    int rc = take_name(&field, in, p);
    if (rc > 0)
        rc = take_value(&field, in, p);
    return rc > 0 ? keep_field(in, field) : rc;
}

/* Takes field lines and the empty line behind them. Returns the message's length up to there, 0 for
 * more, or a negative code. */
static ssize_t take_section(struct input *in)
{
    struct pi_h1_scan *s = in->scan;
    const char *p = in->buf + s->line, *section = in->buf + s->section;
    if (still_waits(in, in->limits.section - (s->line - s->section)))
        return 0;
    for (;;) {
        int rc = 0;
        bool is_last = p < in->end && *p == '\r';
        const char *line = p;
        if (p < in->end)
            rc = is_last ? take_crlf(&p, in->end, 0) : take_field(in, &p);
        if ((size_t)((rc == 0 ? in->end : p) - section) > in->limits.section)
            return PI_H1_HEAD_TOO_LARGE;
        if (rc < 0)
            return rc;
        s->line = offset(in, rc == 0 ? line : p);
        if (rc == 0)
            return wait_for_more(in);
        if (is_last)
            return p - in->buf;
    }
}

/* ---- targets ---- */

enum { PATH = 1, QUERY = 2, PERCENT = 4 };

/* What stands in paths and queries as it is: RFC 3986, 3.3 and 3.4, and what browsers do not encode
 * (WHATWG URL, 1.3): "[]|^" in a path, and those, "{}", "`" and "\" in a query. */
static const uint8_t target_bytes[256] = {
    ['!'] = PATH | QUERY,           ['$'] = PATH | QUERY,
    ['%'] = PATH | QUERY | PERCENT, ['&' ... ';'] = PATH | QUERY,
    ['='] = PATH | QUERY,           ['?'] = QUERY,
    ['@' ... '['] = PATH | QUERY,   ['\\'] = QUERY,
    [']' ... '_'] = PATH | QUERY,   ['`'] = QUERY,
    ['a' ... 'z'] = PATH | QUERY,   ['{'] = QUERY,
    ['|'] = PATH | QUERY,           ['}'] = QUERY,
    ['~'] = PATH | QUERY,
};

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

static int check_percents(const char *p, const char *end)
{
    while ((p = memchr(p, '%', (size_t)(end - p)))) {
        if (end - p < 3 || !is_hex(p[1]) || !is_hex(p[2]))
            return PI_H1_BAD_PERCENT;
        if (p[1] == '0' && p[2] == '0')
            return PI_H1_NUL_IN_PATH;
        p += 3;
    }
    return 1;
}

/* Takes a path and a query at *p. Returns 1, 0 for more, or a negative code. */
static int take_path(struct pi_h1_request *out, struct input *in, const char **p)
{
    const char *path = *p, *at = path;
    uint8_t all = 0, class = 0;
    while (at < in->end && (class = target_bytes[(unsigned char)*at]) & PATH) {
        all |= class;
        at++;
    }
    out->path = slice(in, path, at);
    out->path_has_percent = all & PERCENT;
    if (out->path_has_percent && at < in->end) {
        int rc = check_percents(path, at);
        if (rc < 0)
            return rc;
    }
    if (at < in->end && *at == '?') {
        const char *query = ++at;
        while (at < in->end && target_bytes[(unsigned char)*at] & QUERY)
            at++;
        out->query = slice(in, query, at);
    }
    *p = at;
    return at < in->end;
}

/* Keeps the host that the target names. */
static int keep_authority(struct pi_h1_request *out, struct input *in, struct pi_part text)
{
    struct pi_host host;
    if (!pi_host_parse(&host, text))
        return PI_H1_BAD_AUTHORITY;
    out->host = slice(in, host.name.at, host.name.at + host.name.len);
    out->port = host.port;
    return host.has_port ? 2 : 1;
}

/* "http://host:port/path?query" (RFC 9112, 3.2.2). */
static int take_absolute(struct pi_h1_request *out, struct input *in, const char **p)
{
    const char *at = *p;
    size_t left = (size_t)(in->end - at);
    size_t scheme = left >= 8 && strncasecmp(at, "https://", 8) == 0  ? 8
                    : left >= 7 && strncasecmp(at, "http://", 7) == 0 ? 7
                                                                      : 0;
    if (scheme == 0)
        return left < 8 && !memchr(at, ' ', left) ? 0 : PI_H1_BAD_SCHEME;
    out->form = PI_H1_ABSOLUTE;
    out->is_https = scheme == 8;
    const char *host = at + scheme;
    for (at = host; at<in->end && * at> ' ' && *at != '/' && *at != '?' && *at != '#';)
        at++;
    if (at == in->end)
        return 0;
    int rc = keep_authority(out, in, (struct pi_part){ host, (size_t)(at - host) });
    *p = at;
    return rc < 0 ? rc : take_path(out, in, p);
}

/* "host:port" of CONNECT, with a port (RFC 9112, 3.2.3). */
static int take_authority(struct pi_h1_request *out, struct input *in, const char **p)
{
    const char *at = *p;
    out->form = PI_H1_AUTHORITY;
    while (at<in->end && * at> ' ')
        at++;
    if (at == in->end)
        return 0;
    int rc = keep_authority(out, in, (struct pi_part){ *p, (size_t)(at - *p) });
    *p = at;
    return rc == 1 || (rc == 2 && out->port == 0) ? PI_H1_BAD_AUTHORITY : rc;
}

static int take_asterisk(struct pi_h1_request *out, struct input *in, const char **p)
{
    const char *at = *p;
    if (out->method != PI_H1_OPTIONS)
        return PI_H1_TARGET_FORM;
    out->form = PI_H1_ASTERISK;
    out->path = slice(in, at, at + 1);
    *p = at + 1;
    return at + 1 < in->end;
}

static int take_target(struct pi_h1_request *out, struct input *in, const char **p)
{
    const char *target = *p;
    int rc;
    if (target == in->end)
        return 0;
    if (out->method == PI_H1_CONNECT)
        rc = take_authority(out, in, p);
    else if (*target == '/')
        rc = take_path(out, in, p);
    else if (*target == '*')
        rc = take_asterisk(out, in, p);
    else if (*target == ' ')
        return PI_H1_BAD_REQUEST_LINE;
    else
        rc = take_absolute(out, in, p);
    const char *end = rc == 0 ? in->end : *p;
    if ((size_t)(end - target) > in->limits.target)
        return PI_H1_TARGET_TOO_LONG;
    out->target = slice(in, target, end);
    return rc;
}

/* ---- request lines ---- */

static enum pi_h1_method method_of(const char *name, size_t len)
{
    static const char *const names[] = {
        [PI_H1_GET] = "GET",         [PI_H1_HEAD] = "HEAD",     [PI_H1_POST] = "POST",
        [PI_H1_PUT] = "PUT",         [PI_H1_DELETE] = "DELETE", [PI_H1_CONNECT] = "CONNECT",
        [PI_H1_OPTIONS] = "OPTIONS", [PI_H1_TRACE] = "TRACE",   [PI_H1_PATCH] = "PATCH",
    };
    for (int i = PI_H1_GET; i <= PI_H1_PATCH; i++)
        if (strlen(names[i]) == len && memcmp(names[i], name, len) == 0)
            return (enum pi_h1_method)i;
    return PI_H1_OTHER_METHOD;
}

static int take_method(struct pi_h1_request *out, struct input *in, const char **p)
{
    const char *at = *p;
    size_t left = (size_t)(in->end - at);
    if (left >= 4 && memcmp(at, "GET ", 4) == 0) {
        out->method = PI_H1_GET;
        out->name = slice(in, at, at + 3);
        *p = at + 4;
        return 1;
    }
    size_t len = pi_token_span(at, left);
    if (len > METHOD_MAX)
        return PI_H1_METHOD_TOO_LONG;
    if (len == left)
        return 0;
    if (len == 0)
        return at[0] == '\n' ? PI_H1_BARE_LF : PI_H1_BAD_METHOD;
    if (at[len] != ' ')
        return PI_H1_BAD_REQUEST_LINE;
    out->method = (uint8_t)method_of(at, len);
    out->name = slice(in, at, at + len);
    *p = at + len + 1;
    return 1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/d.d" at p. Returns whether it is that; the digits are in p[5] and p[7]. */
static bool is_version(const char *p)
{
    return memcmp(p, "HTTP/", 5) == 0 && is_digit(p[5]) && p[6] == '.' && is_digit(p[7]);
}

/* Takes " HTTP/1.1" CRLF at *p. */
static int take_version(struct pi_h1_request *out, struct input *in, const char **p)
{
    const char *at = *p;
    if (*at != ' ')
        return *at == '\r' || *at == '\n' ? PI_H1_BAD_VERSION : PI_H1_BAD_TARGET;
    at++;
    if (at < in->end && *at == ' ')
        return PI_H1_BAD_REQUEST_LINE;
    if (in->end - at < VERSION_LEN)
        return memchr(at, '\n', (size_t)(in->end - at)) ? PI_H1_BAD_VERSION : 0;
    if (!is_version(at))
        return PI_H1_BAD_VERSION;
    *p = at + VERSION_LEN;
    int rc = take_crlf(p, in->end, PI_H1_BAD_VERSION);
    if (rc <= 0)
        return rc;
    out->minor = (uint8_t)(at[7] - '0');
    return at[5] == '1' ? 1 : PI_H1_VERSION;
}

/* Takes the one empty line that may be before a request (RFC 9112, 2.2). */
static bool skip_empty_line(struct input *in)
{
    const char *p = in->buf + in->scan->line;
    if (in->scan->line == 0 && in->end - p >= 2 && p[0] == '\r' && p[1] == '\n')
        in->scan->line = 2;
    return in->end - in->buf > in->scan->line &&
           !(in->scan->line == 0 && *p == '\r' && in->end - p == 1);
}

/* Takes the request line: 1, 0 for more, or a negative code. */
static ssize_t take_request_line(struct pi_h1_request *out, struct input *in)
{
    if (still_waits(in, (size_t)in->limits.target + LINE_REST))
        return 0;
    if (!skip_empty_line(in))
        return 0;
    const char *p = in->buf + in->scan->line;
    out->form = PI_H1_ORIGIN;
    out->is_https = false;
    out->path_has_percent = false;
    out->port = 0;
    out->path = out->query = out->host = (struct pi_slice){ 0 };
    int rc = take_method(out, in, &p);
    if (rc > 0)
        rc = take_target(out, in, &p);
    if (rc > 0)
        rc = take_version(out, in, &p);
    if (rc == 0)
        return wait_for_more(in);
    if (rc > 0)
        in->scan->line = in->scan->section = offset(in, p);
    return rc;
}

/* ---- what fields say ---- */

static inline bool repeats(const struct pi_fields *f, enum pi_field_id id)
{
    return f->repeated >> id & 1;
}

static int default_port(uint16_t port, bool is_https)
{
    return port ? port : is_https ? 443 : 80;
}

/* The target's host, when it has one, must be the Host field's. A CONNECT's port may be left out
 * there. */
static int compare_hosts(const struct pi_h1_request *out, const struct pi_host *host)
{
    if (!pi_same_nocase(PI_H1_PART(out, host), host->name))
        return PI_H1_HOST_DIFFERS;
    if (out->form == PI_H1_AUTHORITY)
        return host->has_port && host->port != out->port ? PI_H1_HOST_DIFFERS : 1;
    return default_port(host->port, out->is_https) == default_port(out->port, out->is_https)
               ? 1
               : PI_H1_HOST_DIFFERS;
}

static int decide_host(struct pi_h1_request *out, struct input *in)
{
    struct pi_part value = pi_fields_get(&out->fields, PI_FIELD_HOST);
    struct pi_host host;
    if (!value.at)
        return out->minor > 0 ? PI_H1_NO_HOST : 1;
    if (repeats(&out->fields, PI_FIELD_HOST))
        return PI_H1_TWO_HOSTS;
    if (!pi_host_parse(&host, value))
        return PI_H1_BAD_HOST;
    if (out->host.len > 0)
        return compare_hosts(out, &host);
    out->host = slice(in, host.name.at, host.name.at + host.name.len);
    out->port = host.port;
    return 1;
}

/* A Content-Length's value: digits, and nothing else (RFC 9110, 8.6). */
static int parse_length(uint64_t *out, struct pi_part digits)
{
    uint64_t value = 0;
    if (digits.len == 0)
        return PI_H1_BAD_LENGTH;
    for (size_t i = 0; i < digits.len; i++)
        if (!is_digit(digits.at[i]))
            return PI_H1_BAD_LENGTH;
    for (size_t i = 0; i < digits.len; i++) {
        unsigned digit = (unsigned)(digits.at[i] - '0');
        if (value > ((uint64_t)INT64_MAX - digit) / 10)
            return PI_H1_LENGTH_TOO_LARGE;
        value = value * 10 + digit;
    }
    *out = value;
    return 1;
}

static bool is_word(struct pi_part p, const char *word)
{
    return pi_same_nocase(p, (struct pi_part){ word, strlen(word) });
}

/* A Transfer-Encoding must be "chunked" and nothing else. A list of tokens that ends with it is one
 * that we could not decode; everything else has no known end (RFC 9112, 6.1 and 6.3). */
static int check_coding(const struct pi_fields *f)
{
    struct pi_part rest = pi_fields_get(f, PI_FIELD_TRANSFER_ENCODING);
    int chunked = 0, others = 0;
    if (repeats(f, PI_FIELD_TRANSFER_ENCODING))
        return PI_H1_BAD_CODING;
    if (is_word(rest, "chunked"))
        return 1;
    for (struct pi_part e = pi_list_next(&rest); e.at; e = pi_list_next(&rest)) {
        size_t name = pi_token_span(e.at, e.len);
        if (name == 0 || chunked > 0)
            return PI_H1_BAD_CODING;
        if (is_word(e, "chunked"))
            chunked++;
        else
            others++;
    }
    return chunked == 1 && others > 0 ? PI_H1_UNKNOWN_CODING : PI_H1_BAD_CODING;
}

/* RFC 9112, 6.3. */
static int decide_request_body(struct pi_h1_request *out)
{
    const struct pi_fields *f = &out->fields;
    struct pi_part length = pi_fields_get(f, PI_FIELD_CONTENT_LENGTH);
    out->body = PI_H1_NO_BODY;
    out->content_length = 0;
    if (f->first[PI_FIELD_TRANSFER_ENCODING]) {
        if (out->minor == 0)
            return PI_H1_CODING_IN_1_0;
        if (length.at)
            return PI_H1_LENGTH_AND_CODING;
        out->body = PI_H1_CHUNKED;
        return check_coding(f);
    }
    if (!length.at)
        return 1;
    if (repeats(f, PI_FIELD_CONTENT_LENGTH))
        return PI_H1_TWO_LENGTHS;
    int rc = parse_length(&out->content_length, length);
    if (rc > 0 && out->content_length > 0)
        out->body = PI_H1_LENGTH;
    return rc;
}

/* Persistence (RFC 9112, 9.3). */
static bool keeps_alive(const struct pi_fields *f, int minor)
{
    struct pi_part connection = pi_fields_get(f, PI_FIELD_CONNECTION);
    if (!connection.at)
        return minor > 0;
    if (!repeats(f, PI_FIELD_CONNECTION) && is_word(connection, "keep-alive"))
        return true;
    if (pi_fields_have(f, PI_FIELD_CONNECTION, "close"))
        return false;
    return minor > 0 || pi_fields_have(f, PI_FIELD_CONNECTION, "keep-alive");
}

/* RFC 9110, 10.1.1: ignored in HTTP/1.0 and where no body comes. */
static int decide_expect(struct pi_h1_request *out)
{
    const struct pi_fields *f = &out->fields;
    out->expect_continue = false;
    if (!f->first[PI_FIELD_EXPECT])
        return 1;
    for (uint32_t i = f->first[PI_FIELD_EXPECT] - 1u; i < f->count; i++)
        if (f->list[i].id == PI_FIELD_EXPECT && !is_word(pi_field_value(f, i), "100-continue"))
            return PI_H1_EXPECTATION;
    out->expect_continue = out->minor > 0 && out->body != PI_H1_NO_BODY;
    return 1;
}

static int decide_request(struct pi_h1_request *out, struct input *in)
{
    const struct pi_fields *f = &out->fields;
    int rc = decide_host(out, in);
    if (rc > 0)
        rc = decide_request_body(out);
    if (rc > 0)
        rc = decide_expect(out);
    out->keep_alive = keeps_alive(f, out->minor);
    out->upgrade = out->minor > 0 && f->first[PI_FIELD_UPGRADE] &&
                   pi_fields_have(f, PI_FIELD_CONNECTION, "upgrade");
    return rc;
}

ssize_t pi_h1_parse_request(struct pi_h1_request *out, const char *buf, size_t len,
                            const struct pi_h1_limits *limits)
{
    struct input in = { .buf = buf,
                        .end = buf + len,
                        .scan = &out->scan,
                        .fields = &out->fields,
                        .limits = limits_of(limits) };
    out->fields.base = buf;
    if (out->scan.section == 0) {
        fields_begin(&out->fields);
        ssize_t rc = take_request_line(out, &in);
        if (rc <= 0)
            return rc;
    }
    ssize_t used = take_section(&in);
    if (used <= 0)
        return used;
    int rc = decide_request(out, &in);
    return rc < 0 ? rc : used;
}

/* ---- responses ---- */

/* "HTTP/1.1 200 OK" CRLF; the phrase, and the space before it, may be missing. */
static ssize_t take_status_line(struct pi_h1_response *out, struct input *in)
{
    enum { STATUS_AT = VERSION_LEN + 1, PHRASE_AT = STATUS_AT + 3 };
    const char *p = in->buf;
    if (still_waits(in, STATUS_LINE_MAX))
        return 0;
    if (in->end - p <= PHRASE_AT)
        return memchr(p, '\n', (size_t)(in->end - p)) ? PI_H1_BAD_STATUS_LINE : wait_for_more(in);
    if (!is_version(p))
        return PI_H1_BAD_STATUS_LINE;
    if (p[5] != '1')
        return PI_H1_BAD_RESPONSE_VERSION;
    const char *digits = p + STATUS_AT;
    if (p[VERSION_LEN] != ' ' || digits[0] < '1' || !is_digit(digits[0]) || !is_digit(digits[1]) ||
        !is_digit(digits[2]))
        return PI_H1_BAD_STATUS_LINE;
    out->minor = (uint8_t)(p[7] - '0');
    out->status = (uint16_t)((digits[0] - '0') * 100 + (digits[1] - '0') * 10 + digits[2] - '0');
    p += PHRASE_AT;
    const char *reason = p;
    if (*p == ' ') {
        reason = p + 1;
        p = reason + pi_value_span(reason, (size_t)(in->end - reason));
    }
    out->reason = slice(in, reason, p);
    int rc = take_crlf(&p, in->end, PI_H1_BAD_STATUS_LINE);
    if (p - in->buf > STATUS_LINE_MAX)
        return PI_H1_HEAD_TOO_LARGE;
    if (rc == 0)
        return wait_for_more(in);
    if (rc > 0)
        in->scan->line = in->scan->section = offset(in, p);
    return rc;
}

/* All of a response's lengths must be the same number (RFC 9112, 6.3). */
static int parse_lengths(uint64_t *out, const struct pi_fields *f)
{
    bool any = false;
    for (uint32_t i = f->first[PI_FIELD_CONTENT_LENGTH] - 1u; i < f->count; i++) {
        if (f->list[i].id != PI_FIELD_CONTENT_LENGTH)
            continue;
        struct pi_part rest = pi_field_value(f, i);
        for (struct pi_part e = pi_list_next(&rest); e.at; e = pi_list_next(&rest)) {
            uint64_t value = 0;
            int rc = parse_length(&value, e);
            if (rc < 0)
                return rc;
            if (any && value != *out)
                return PI_H1_TWO_LENGTHS;
            *out = value;
            any = true;
        }
    }
    return any ? 1 : PI_H1_BAD_LENGTH;
}

/* A response that has no body whatever its fields say. */
static bool has_no_body(const struct pi_h1_response *out, enum pi_h1_method method)
{
    return method == PI_H1_HEAD || out->status < 200 || out->status == 204 || out->status == 304 ||
           (method == PI_H1_CONNECT && out->status < 300);
}

/* RFC 9112, 6.3. */
static int decide_response_body(struct pi_h1_response *out, enum pi_h1_method method)
{
    const struct pi_fields *f = &out->fields;
    bool is_coded = f->first[PI_FIELD_TRANSFER_ENCODING];
    bool has_length = f->first[PI_FIELD_CONTENT_LENGTH];
    out->content_length = 0;
    if (has_no_body(out, method)) {
        out->body = PI_H1_NO_BODY;
        return 1;
    }
    if (is_coded) {
        out->body = PI_H1_CHUNKED;
        if (has_length || out->minor == 0)
            out->keep_alive = false;
        return check_coding(f);
    }
    if (has_length) {
        int rc = parse_lengths(&out->content_length, f);
        out->body = out->content_length > 0 ? PI_H1_LENGTH : PI_H1_NO_BODY;
        return rc;
    }
    out->body = PI_H1_UNTIL_CLOSE;
    out->keep_alive = false;
    return 1;
}

ssize_t pi_h1_parse_response(struct pi_h1_response *out, char *buf, size_t len,
                             enum pi_h1_method method, const struct pi_h1_limits *limits)
{
    struct input in = { .buf = buf,
                        .end = buf + len,
                        .scan = &out->scan,
                        .fold = buf,
                        .fields = &out->fields,
                        .limits = limits_of(limits) };
    out->fields.base = buf;
    if (out->scan.section == 0) {
        fields_begin(&out->fields);
        ssize_t rc = take_status_line(out, &in);
        if (rc <= 0)
            return rc;
    }
    ssize_t used = take_section(&in);
    if (used <= 0)
        return used;
    out->keep_alive = keeps_alive(&out->fields, out->minor);
    out->upgrade = out->status == 101;
    int rc = decide_response_body(out, method);
    return rc < 0 ? rc : used;
}

/* ---- trailers ---- */

/* What may not be in a trailer section: framing, routing, request modifiers, authentication,
 * response control, and what says how content is to be understood (RFC 9110, 6.5.1). */
static bool may_trail(const struct pi_fields *f, uint32_t index)
{
    static const char *const others[] = { "Content-Language", "Content-Location",
                                          "Expires",          "Max-Forwards",
                                          "Pragma",           "Proxy-Authenticate",
                                          "Proxy-Connection", "Warning" };
    switch (f->list[index].id) {
    case PI_FIELD_OTHER:
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
            if (is_word(pi_field_name(f, index), others[i]))
                return false;
        return true;
    case PI_FIELD_ETAG:
    case PI_FIELD_LAST_MODIFIED:
    case PI_FIELD_SERVER:
    case PI_FIELD_TRACEPARENT:
    case PI_FIELD_TRACESTATE:
    case PI_FIELD_X_REQUEST_ID:
        return true;
    default:
        return false;
    }
}

/* Leaves out the fields that may not trail. */
static void keep_trailers(struct pi_fields *f)
{
    uint32_t count = f->count;
    fields_begin(f);
    for (uint32_t i = 0; i < count; i++) {
        if (!may_trail(f, i))
            continue;
        f->list[f->count++] = f->list[i];
        uint8_t id = f->list[i].id;
        if (f->first[id] == 0)
            f->first[id] = (uint8_t)f->count;
        else
            f->repeated |= (uint64_t)1 << id;
    }
}

ssize_t pi_h1_parse_trailers(struct pi_fields *out, struct pi_h1_chunks *c, const char *buf,
                             size_t len, const struct pi_h1_limits *limits)
{
    struct input in = {
        .buf = buf, .end = buf + len, .scan = &c->scan, .fields = out, .limits = limits_of(limits)
    };
    out->base = buf;
    if (c->scan.line == 0)
        fields_begin(out);
    ssize_t used = take_section(&in);
    if (used <= 0)
        return used;
    if (out->first[PI_FIELD_TRANSFER_ENCODING] || out->first[PI_FIELD_CONTENT_LENGTH] ||
        out->first[PI_FIELD_HOST])
        return PI_H1_BAD_TRAILER;
    keep_trailers(out);
    return used;
}
