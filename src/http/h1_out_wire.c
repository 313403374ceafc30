/* SPDX-License-Identifier: MIT */
/*
 * http/h1_out_wire.c - heads as they are written (RFC 9112, 3, 4 and 5).
 *
 * Whatever a program passes on from others, no byte of it ends a line: names must be tokens, values
 * free of control characters.
 */
#include "http/h1_wire.h"

#include <errno.h>
#include <string.h>

/* ---- status lines ---- */

enum { STATUS_MIN = 100, STATUS_END = 600, PHRASE_AT = 13 /* behind "HTTP/1.1 200 " */ };

#define LINE(status, phrase)                                                 \
    [status - STATUS_MIN] = { "HTTP/1.1 " #status " " phrase "\r\n", phrase, \
                              sizeof "HTTP/1.1 " #status " " phrase "\r\n" - 1 }

static const struct status_line {
    const char *text;
    const char *phrase;
    uint8_t len;
} status_lines[STATUS_END - STATUS_MIN] = {
    LINE(100, "Continue"),
    LINE(101, "Switching Protocols"),
    LINE(102, "Processing"),
    LINE(103, "Early Hints"),
    LINE(200, "OK"),
    LINE(201, "Created"),
    LINE(202, "Accepted"),
    LINE(203, "Non-Authoritative Information"),
    LINE(204, "No Content"),
    LINE(205, "Reset Content"),
    LINE(206, "Partial Content"),
    LINE(207, "Multi-Status"),
    LINE(208, "Already Reported"),
    LINE(226, "IM Used"),
    LINE(300, "Multiple Choices"),
    LINE(301, "Moved Permanently"),
    LINE(302, "Found"),
    LINE(303, "See Other"),
    LINE(304, "Not Modified"),
    LINE(305, "Use Proxy"),
    LINE(307, "Temporary Redirect"),
    LINE(308, "Permanent Redirect"),
    LINE(400, "Bad Request"),
    LINE(401, "Unauthorized"),
    LINE(402, "Payment Required"),
    LINE(403, "Forbidden"),
    LINE(404, "Not Found"),
    LINE(405, "Method Not Allowed"),
    LINE(406, "Not Acceptable"),
    LINE(407, "Proxy Authentication Required"),
    LINE(408, "Request Timeout"),
    LINE(409, "Conflict"),
    LINE(410, "Gone"),
    LINE(411, "Length Required"),
    LINE(412, "Precondition Failed"),
    LINE(413, "Content Too Large"),
    LINE(414, "URI Too Long"),
    LINE(415, "Unsupported Media Type"),
    LINE(416, "Range Not Satisfiable"),
    LINE(417, "Expectation Failed"),
    LINE(421, "Misdirected Request"),
    LINE(422, "Unprocessable Content"),
    LINE(423, "Locked"),
    LINE(424, "Failed Dependency"),
    LINE(425, "Too Early"),
    LINE(426, "Upgrade Required"),
    LINE(428, "Precondition Required"),
    LINE(429, "Too Many Requests"),
    LINE(431, "Request Header Fields Too Large"),
    LINE(451, "Unavailable For Legal Reasons"),
    LINE(500, "Internal Server Error"),
    LINE(501, "Not Implemented"),
    LINE(502, "Bad Gateway"),
    LINE(503, "Service Unavailable"),
    LINE(504, "Gateway Timeout"),
    LINE(505, "HTTP Version Not Supported"),
    LINE(506, "Variant Also Negotiates"),
    LINE(507, "Insufficient Storage"),
    LINE(508, "Loop Detected"),
    LINE(511, "Network Authentication Required"),
};

static const struct status_line *line_of(int status)
{
    return status >= STATUS_MIN && status < STATUS_END ? &status_lines[status - STATUS_MIN] : NULL;
}

const char *pi_h1_phrase(int status)
{
    const struct status_line *line = line_of(status);
    return line && line->text ? line->phrase : "";
}

/* ---- bytes ---- */

/* Room for len bytes, or NULL. */
static char *take(struct pi_h1_out *o, size_t len)
{
    if (o->error)
        return NULL;
    if (len > o->cap - o->len) {
        o->error = -ENOSPC;
        return NULL;
    }
    char *at = o->buf + o->len;
    o->len += len;
    return at;
}

static void refuse(struct pi_h1_out *o)
{
    if (!o->error)
        o->error = -EINVAL;
}

void pi_h1_out_raw(struct pi_h1_out *o, const void *bytes, size_t len)
{
    char *at = take(o, len);
    if (at)
        memcpy(at, bytes, len);
}

/* ---- first lines ---- */

static void unnamed_status(struct pi_h1_out *o, int status)
{
    char *at = take(o, PHRASE_AT + 2);
    if (!at)
        return;
    memcpy(at, "HTTP/1.1 ", 9);
    at[9] = (char)('0' + status / 100);
    at[10] = (char)('0' + status / 10 % 10);
    at[11] = (char)('0' + status % 10);
    memcpy(at + 12, " \r\n", 3);
}

void pi_h1_out_status(struct pi_h1_out *o, int status)
{
    const struct status_line *line = line_of(status);
    if (line && line->text)
        pi_h1_out_raw(o, line->text, line->len);
    else if (status >= STATUS_MIN && status <= 999)
        unnamed_status(o, status);
    else
        refuse(o);
}

static bool is_visible(struct pi_part text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] > '~')
            return false;
    return text.len > 0;
}

void pi_h1_out_request(struct pi_h1_out *o, struct pi_part method, struct pi_part target)
{
    static const char version[] = " HTTP/1.1\r\n";
    if (!pi_is_token(method.at, method.len) || !is_visible(target)) {
        refuse(o);
        return;
    }
    pi_h1_out_raw(o, method.at, method.len);
    pi_h1_out_raw(o, " ", 1);
    pi_h1_out_raw(o, target.at, target.len);
    pi_h1_out_raw(o, version, sizeof version - 1);
}

/* ---- fields ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

void pi_h1_out_field(struct pi_h1_out *o, struct pi_part name, struct pi_part value)
{
    while (value.len > 0 && is_space(value.at[0])) {
        value.at++;
        value.len--;
    }
    while (value.len > 0 && is_space(value.at[value.len - 1]))
        value.len--;
    if (!pi_is_token(name.at, name.len) || pi_value_span(value.at, value.len) != value.len) {
        refuse(o);
        return;
    }
    char *at = take(o, name.len + value.len + 4);
    if (!at)
        return;
    memcpy(at, name.at, name.len);
    at += name.len;
    memcpy(at, ": ", 2);
    if (value.len > 0)
        memcpy(at + 2, value.at, value.len);
    memcpy(at + 2 + value.len, "\r\n", 2);
}

void pi_h1_out_number(struct pi_h1_out *o, const char *name, uint64_t value)
{
    char digits[20];
    size_t first = sizeof digits;
    do
        digits[--first] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    pi_h1_out_field(o, (struct pi_part){ name, strlen(name) },
                    (struct pi_part){ digits + first, sizeof digits - first });
}

ssize_t pi_h1_out_end(struct pi_h1_out *o)
{
    pi_h1_out_raw(o, "\r\n", 2);
    return o->error ? o->error : (ssize_t)o->len;
}

/* ---- refusals ---- */

enum { BADS = PI_H1_BAD_LAST - PI_H1_BAD_FIRST };

#define BAD(code) [PI_H1_##code - PI_H1_BAD_FIRST]

static const struct bad {
    int status;
    const char *reason;
} bads[BADS] = {
    BAD(BAD_METHOD) = { 400, "no method at the beginning" },
    BAD(METHOD_TOO_LONG) = { 501, "the method is too long" },
    BAD(BAD_REQUEST_LINE) = { 400, "the request line is not \"method target version\"" },
    BAD(BAD_TARGET) = { 400, "a byte that cannot be in a request target" },
    BAD(BAD_PERCENT) = { 400, "a \"%\" in the path without two hexadecimal digits" },
    BAD(NUL_IN_PATH) = { 400, "%00 in the path" },
    BAD(TARGET_TOO_LONG) = { 414, "the request target is too long" },
    BAD(BAD_SCHEME) = { 400, "the target's scheme is neither http nor https" },
    BAD(BAD_AUTHORITY) = { 400, "the target's host and port are malformed" },
    BAD(TARGET_FORM) = { 400, "the method cannot have this form of target" },
    BAD(BAD_VERSION) = { 400, "no HTTP version at the end of the request line" },
    BAD(VERSION) = { 505, "only HTTP/1.0 and HTTP/1.1 are served" },
    BAD(BARE_LF) = { 400, "a line feed without a carriage return" },
    BAD(BARE_CR) = { 400, "a carriage return without a line feed" },
    BAD(FOLDED) = { 400, "a line that begins with white space" },
    BAD(SPACE_BEFORE_COLON) = { 400, "white space before the colon of a field" },
    BAD(BAD_NAME) = { 400, "a byte that cannot be in a field's name" },
    BAD(NO_COLON) = { 400, "a field line without a colon" },
    BAD(BAD_VALUE) = { 400, "a control character in a field's value" },
    BAD(HEAD_TOO_LARGE) = { 431, "the header section is too large" },
    BAD(TOO_MANY_FIELDS) = { 431, "too many fields" },
    BAD(NO_HOST) = { 400, "no Host field" },
    BAD(TWO_HOSTS) = { 400, "more than one Host field" },
    BAD(BAD_HOST) = { 400, "the Host field is malformed" },
    BAD(HOST_DIFFERS) = { 400, "the Host field is not the target's host" },
    BAD(TWO_LENGTHS) = { 400, "more than one Content-Length" },
    BAD(BAD_LENGTH) = { 400, "the Content-Length is not a number" },
    BAD(LENGTH_TOO_LARGE) = { 413, "the Content-Length is above what can be counted" },
    BAD(LENGTH_AND_CODING) = { 400, "both Content-Length and Transfer-Encoding" },
    BAD(BAD_CODING) = { 400, "a Transfer-Encoding that does not end with one \"chunked\"" },
    BAD(UNKNOWN_CODING) = { 501, "a transfer coding other than \"chunked\"" },
    BAD(CODING_IN_1_0) = { 400, "Transfer-Encoding in HTTP/1.0" },
    BAD(EXPECTATION) = { 417, "an expectation other than \"100-continue\"" },
    BAD(BAD_CHUNK_SIZE) = { 400, "a chunk's size is malformed" },
    BAD(CHUNK_TOO_LARGE) = { 413, "a chunk's size is above what can be counted" },
    BAD(BAD_CHUNK_EXTENSION) = { 400, "a chunk's extension is malformed" },
    BAD(CHUNK_EXTENSION_TOO_LONG) = { 400, "chunk extensions are too long" },
    BAD(NO_CHUNK_END) = { 400, "no line end behind a chunk" },
    BAD(BAD_TRAILER) = { 400, "a trailer that would change the framing or the host" },
    BAD(BAD_STATUS_LINE) = { 502, "the status line is malformed" },
    BAD(BAD_RESPONSE_VERSION) = { 502, "an answer in another version than HTTP/1" },
};

static const struct bad *bad_of(int code)
{
    static const struct bad unknown = { 400, "malformed" };
    bool known = code > PI_H1_BAD_FIRST && code < PI_H1_BAD_LAST;
    return known ? &bads[code - PI_H1_BAD_FIRST] : &unknown;
}

int pi_h1_status(int code)
{
    return bad_of(code)->status;
}

const char *pi_h1_reason(int code)
{
    return bad_of(code)->reason;
}
