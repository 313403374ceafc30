/* SPDX-License-Identifier: MIT */
/*
 * http/h1_wire.h - HTTP/1 as bytes (RFC 9112, RFC 9110): heads, chunks, and what is written. Pure:
 * no I/O, no clock, no task, no allocation.
 *
 * Parsers return how many bytes they have consumed, 0 for "need more", or an enum pi_h1_bad, which
 * is negative and has a status and words. After "need more" they are called again with the same
 * bytes and more behind them; they go on where they were, in linear time however small the pieces
 * are. A message may move in memory between two calls. After a negative code the connection has no
 * known next message: answer, close.
 */
#ifndef PI_HTTP_H1_WIRE_H
#define PI_HTTP_H1_WIRE_H

#include "http/fields.h"

#include <sys/types.h>

/* Why a message is refused. pi_h1_status() has the status and pi_h1_reason() the words. */
enum pi_h1_bad {
    PI_H1_BAD_FIRST = -1000, /* below every errno */
    PI_H1_BAD_METHOD,
    PI_H1_METHOD_TOO_LONG,
    PI_H1_BAD_REQUEST_LINE,
    PI_H1_BAD_TARGET,
    PI_H1_BAD_PERCENT,
    PI_H1_NUL_IN_PATH,
    PI_H1_TARGET_TOO_LONG,
    PI_H1_BAD_SCHEME,
    PI_H1_BAD_AUTHORITY,
    PI_H1_TARGET_FORM,
    PI_H1_BAD_VERSION,
    PI_H1_VERSION,
    PI_H1_BARE_LF,
    PI_H1_BARE_CR,
    PI_H1_FOLDED,
    PI_H1_SPACE_BEFORE_COLON,
    PI_H1_BAD_NAME,
    PI_H1_NO_COLON,
    PI_H1_BAD_VALUE,
    PI_H1_HEAD_TOO_LARGE,
    PI_H1_TOO_MANY_FIELDS,
    PI_H1_NO_HOST,
    PI_H1_TWO_HOSTS,
    PI_H1_BAD_HOST,
    PI_H1_HOST_DIFFERS,
    PI_H1_TWO_LENGTHS,
    PI_H1_BAD_LENGTH,
    PI_H1_LENGTH_TOO_LARGE,
    PI_H1_LENGTH_AND_CODING,
    PI_H1_BAD_CODING,
    PI_H1_UNKNOWN_CODING,
    PI_H1_CODING_IN_1_0,
    PI_H1_EXPECTATION,
    PI_H1_BAD_CHUNK_SIZE,
    PI_H1_CHUNK_TOO_LARGE,
    PI_H1_BAD_CHUNK_EXTENSION,
    PI_H1_CHUNK_EXTENSION_TOO_LONG,
    PI_H1_NO_CHUNK_END,
    PI_H1_BAD_TRAILER,
    PI_H1_BAD_STATUS_LINE, /* of responses only, like the next */
    PI_H1_BAD_RESPONSE_VERSION,
    PI_H1_BAD_LAST, /* none of them: one above the last */
};

/* The status that answers a code: 400, 413, 414, 417, 431, 501 or 505. */
int pi_h1_status(int code) PIER_MUST_USE;

/* What is wrong in words: "a space before the colon of a field". */
const char *pi_h1_reason(int code) PIER_MUST_USE;

/* Limits of a message; 0 in a member, or NULL for all, means the default. */
struct pi_h1_limits {
    uint32_t target;  /* bytes of the request target: 8 KiB */
    uint32_t section; /* bytes of the field lines with their CRLFs: 32 KiB */
    uint32_t fields;  /* field lines: 100, which are the most */
};

/* ---- requests ---- */

enum pi_h1_method {
    PI_H1_OTHER_METHOD, /* well-formed, and nobody's here: 501 unless a route has it */
    PI_H1_GET,
    PI_H1_HEAD,
    PI_H1_POST,
    PI_H1_PUT,
    PI_H1_DELETE,
    PI_H1_CONNECT,
    PI_H1_OPTIONS,
    PI_H1_TRACE,
    PI_H1_PATCH,
};

/* RFC 9112, 3.2. */
enum pi_h1_form { PI_H1_ORIGIN, PI_H1_ABSOLUTE, PI_H1_AUTHORITY, PI_H1_ASTERISK };

/* How a message's end is known (RFC 9112, 6.3). */
enum pi_h1_body { PI_H1_NO_BODY, PI_H1_LENGTH, PI_H1_CHUNKED, PI_H1_UNTIL_CLOSE };

/* A piece of the message: an offset from its first byte. Length 0 when there is none. */
struct pi_slice {
    uint32_t at;
    uint32_t len;
};

/* Where a parser stands between two calls; all zero at the beginning of a message. */
struct pi_h1_scan {
    uint32_t line;    /* the line that is not complete: its first byte */
    uint32_t seen;    /* up to where that line has no LF */
    uint32_t section; /* the first field line; 0 before it is known */
};

/* A request's head. Set `scan` to zero, or the whole, before the first bytes of each request; the
 * rest is the parser's. Valid after a positive return only, but for `scan`. */
struct pi_h1_request {
    struct pi_h1_scan scan;
    uint8_t method; /* enum pi_h1_method */
    uint8_t form;   /* enum pi_h1_form */
    uint8_t body;   /* enum pi_h1_body, never PI_H1_UNTIL_CLOSE */
    uint8_t minor;  /* of HTTP/1.x as it was sent; what is above 1 is served as 1 */
    bool keep_alive;
    bool expect_continue;   /* a body comes, and waits for 100 (RFC 9110, 10.1.1) */
    bool upgrade;           /* Connection: upgrade, and an Upgrade field */
    bool is_https;          /* of an absolute-form: its scheme */
    bool path_has_percent;  /* the path has something to decode */
    uint16_t port;          /* of the host; 0 when none is given */
    struct pi_slice name;   /* the method as it was sent */
    struct pi_slice target; /* all of it, as it was sent */
    struct pi_slice path;   /* begins with "/"; "*" for asterisk-form; empty for CONNECT, and for an
                               absolute-form without one, which means "/" ("*" for OPTIONS) */
    struct pi_slice query;  /* what is behind the "?" */
    struct pi_slice host;   /* without port, with brackets; of the target where that has one */
    uint64_t content_length; /* 0 unless body is PI_H1_LENGTH; at most INT64_MAX */
    struct pi_fields fields;
};

/* The bytes of a slice of a request or response. */
#define PI_H1_PART(message, slice) \
    ((struct pi_part){ (message)->fields.base + (message)->slice.at, (message)->slice.len })

/* Parses a request's head from the first of len bytes, strictly: RFC 9112 with no leniency but for
 * one empty line before it (2.2) and white space round values. */
ssize_t pi_h1_parse_request(struct pi_h1_request *out, const char *buf, size_t len,
                            const struct pi_h1_limits *limits) PIER_MUST_USE;

/* ---- responses ---- */

/* A response's head; as a request's. */
struct pi_h1_response {
    struct pi_h1_scan scan;
    uint16_t status; /* 100 to 999 */
    uint8_t body;    /* enum pi_h1_body */
    uint8_t minor;
    bool keep_alive; /* false also where the framing is doubtful: read it, then close */
    bool upgrade;    /* 101: the bytes behind the head are another protocol's */
    struct pi_slice reason;
    uint64_t content_length;
    struct pi_fields fields;
};

/* Parses a response's head. method is the request's (HEAD and CONNECT change where it ends).
 * Lenient where RFC 9112 says that a client is: no reason phrase (4), folded lines (5.2), whose
 * folds become spaces in buf, a length said twice alike (6.3), both a length and chunks (6.3). A
 * head with status 1xx but 101 is followed by another head. */
ssize_t pi_h1_parse_response(struct pi_h1_response *out, char *buf, size_t len,
                             enum pi_h1_method method,
                             const struct pi_h1_limits *limits) PIER_MUST_USE;

/* ---- chunks (RFC 9112, 7.1) ---- */

/* A chunked body being read; zero at its beginning. Members are private. */
struct pi_h1_chunks {
    uint64_t left;       /* of the chunk's bytes; while its size is read, the size so far */
    uint32_t extensions; /* their bytes, less the payload's */
    uint8_t state;
    uint8_t digits;
    struct pi_h1_scan scan; /* of the trailers */
};

/* Takes one step through a chunked body: returns how many of len bytes it has consumed, of which
 * *data is payload (NULL and 0 when none is: go on with the rest). 0 means that it needs more
 * bytes than len, or, when pi_h1_chunks_done(), that it is at its end: behind the last chunk, where
 * pi_h1_parse_trailers() goes on. Extensions are accepted where they are well-formed and passed
 * over; they may be 1 KiB longer than the payload before them. */
ssize_t pi_h1_chunk_step(struct pi_h1_chunks *c, struct pi_part *data, const char *buf,
                         size_t len) PIER_MUST_USE;

/* Whether the last chunk has been read, and the trailer section comes. */
bool pi_h1_chunks_done(const struct pi_h1_chunks *c) PIER_MUST_USE;

/* Parses the trailer section, which is 2 bytes when there are no trailers; as a head. Fields that
 * may not be there (framing, routing, authentication: RFC 9110, 6.5.1) are left out of *out. */
ssize_t pi_h1_parse_trailers(struct pi_fields *out, struct pi_h1_chunks *c, const char *buf,
                             size_t len, const struct pi_h1_limits *limits) PIER_MUST_USE;

/* Writes the line before a chunk of n bytes, n > 0, with its CRLF; returns its length. Behind the
 * chunk's bytes comes CRLF, behind the last chunk "0" CRLF, trailers and CRLF. */
enum { PI_H1_CHUNK_HEAD_CAP = 18 };
size_t pi_h1_chunk_head(char *out, uint64_t n) PIER_MUST_USE;

/* ---- writing ---- */

/* A head being written to the caller's memory. Errors are sticky: check once, at the end. */
struct pi_h1_out {
    char *buf;
    size_t cap;
    size_t len;
    int error; /* 0, -ENOSPC: cap is too small, -EINVAL: a byte that may not be there */
};

/* "HTTP/1.1 200 OK" CRLF. A status that has no phrase of its own gets none (RFC 9112, 4). */
void pi_h1_out_status(struct pi_h1_out *o, int status);

/* "GET /path HTTP/1.1" CRLF. Refuses a method that is no token, and a target that is empty or has a
 * byte that is not visible ASCII. */
void pi_h1_out_request(struct pi_h1_out *o, struct pi_part method, struct pi_part target);

/* "Name: value" CRLF. Refuses names that are no token, and values with CR, LF, NUL or any control
 * character but the tab: nobody adds a line of his own. White space at a value's ends is left out.
 */
void pi_h1_out_field(struct pi_h1_out *o, struct pi_part name, struct pi_part value);

/* The same with a number, for Content-Length. name is trusted. */
void pi_h1_out_number(struct pi_h1_out *o, const char *name, uint64_t value);

/* Bytes that are known to be right: lines with their CRLFs made before. */
void pi_h1_out_raw(struct pi_h1_out *o, const void *bytes, size_t len);

/* The empty line. Returns the whole length, or the error. */
ssize_t pi_h1_out_end(struct pi_h1_out *o) PIER_MUST_USE;

/* The phrase of a status, "Not Found"; "" for one that has none. */
const char *pi_h1_phrase(int status) PIER_MUST_USE;

#endif
