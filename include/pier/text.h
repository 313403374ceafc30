/* SPDX-License-Identifier: MIT */
/*
 * pier/text.h - bytes in, bytes out: UTF-8, escaping, dates, SHA-256, JSON. Nothing here waits.
 */
#ifndef PIER_TEXT_H
#define PIER_TEXT_H

#include <pier/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Whether len bytes are well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms, at most
 * U+10FFFF). */
PIER_API bool pier_utf8_valid(const void *bytes, size_t len);

/* How many bytes at the end of len bytes are the beginning of a UTF-8 character that is not
 * complete yet: 0 to 3. Bytes that can begin no well-formed character count as complete: 0. */
PIER_API size_t pier_utf8_cut(const void *bytes, size_t len);

/* Writes bytes to out as printable text, for logs and terminals, and ends it with NUL: valid
 * printable UTF-8 stays, \n \r \t \\ \" are escaped so, all else as \xNN; what does not fit is cut
 * at a whole escape and marked "...". Returns the length of the text in out; cap must be at
 * least 8. */
PIER_API size_t pier_escape(char *out, size_t cap, const void *bytes, size_t len);

/* The RFC 3339 form of a UNIX time in nanoseconds, "2026-11-20T09:22:31Z", with millis ".123" when
 * asked. out takes at least 32 bytes. Returns the length. */
PIER_API size_t pier_date_rfc3339(char *out, size_t cap, int64_t unix_ns, bool millis);

/* ---- SHA-256 (FIPS 180-4) ---- */

/* Bytes of a digest; room for its text. */
enum { PIER_SHA256_LEN = 32, PIER_SHA256_HEX_CAP = 65 };

/* A hash being made; members are private. {0} is one that has not begun. Errors are sticky: check
 * once, at final. */
struct pier_sha256 {
    void *ctx;
    int error;
};

/* Begins a hash, which final or fini ends. 0, or a negative code: -ENOMEM, or -EOPNOTSUPP where
 * OpenSSL is set up to do without SHA-256. */
PIER_API int pier_sha256_init(struct pier_sha256 *h);

/* Adds bytes. 0, or a negative code: init's, or -EINVAL for a hash that is not begun. */
PIER_API int pier_sha256_update(struct pier_sha256 *h, const void *bytes, size_t len);

/* Writes the digest of all bytes added and ends the hash, on failure too. 0 or a negative code, as
 * update. */
PIER_API int pier_sha256_final(struct pier_sha256 *h, unsigned char digest[PIER_SHA256_LEN]);

/* Ends a hash without its digest; nothing to do after final. Never fails. */
PIER_API void pier_sha256_fini(struct pier_sha256 *h);

/* All of it for bytes that are there: 0 or a negative code. */
PIER_API int pier_sha256(unsigned char digest[PIER_SHA256_LEN], const void *bytes, size_t len);

/* The digest as 64 hexadecimal digits in lower case, NUL-terminated. */
PIER_API void pier_sha256_hex(char out[PIER_SHA256_HEX_CAP],
                              const unsigned char digest[PIER_SHA256_LEN]);

/* ---- JSON writer (RFC 8259): streaming, one pass, no tree ---- */

/* Receives finished bytes, borrowed for the call; a negative return ends the writing and is the
 * writer's result. */
typedef int (*pier_json_sink)(void *ctx, const void *bytes, size_t len);

/* Deepest nesting; each level needs a bit in each of two words. */
#define PIER_JSON_MAX_DEPTH 64

/* A writer; plain data, fields private. Bytes gather in buf and go to the sink when it is full and
 * at the end. */
struct pier_json {
    pier_json_sink sink;
    void *ctx;
    char *buf;
    size_t cap, len;
    uint64_t in_object, has_item;
    int depth, error;
    bool after_key;
};

/* Prepares a writer over buf, which is borrowed for as long as the writer is used (at least 64
 * bytes). With sink NULL the text must fit buf, else -ENOSPC. */
PIER_API void pier_json_init(struct pier_json *w, char *buf, size_t cap, pier_json_sink sink,
                             void *ctx);

/* Values, members and nesting. Commas and colons are the writer's; a misuse (a value where a key is
 * due, a close without an open) is remembered as -EINVAL, as any failure is: check once, at
 * pier_json_end(). Strings that are not well-formed UTF-8 are written with U+FFFD for each bad
 * byte; a NULL value is null. */
PIER_API void pier_json_object(struct pier_json *w);
PIER_API void pier_json_array(struct pier_json *w);
PIER_API void pier_json_close(struct pier_json *w);
PIER_API void pier_json_key(struct pier_json *w, const char *key);
PIER_API void pier_json_str(struct pier_json *w, const char *value);
PIER_API void pier_json_strn(struct pier_json *w, const char *value, size_t len);
PIER_API void pier_json_int(struct pier_json *w, int64_t value);
PIER_API void pier_json_double(struct pier_json *w, double value); /* not finite: null */
PIER_API void pier_json_bool(struct pier_json *w, bool value);
PIER_API void pier_json_null(struct pier_json *w);

/* Bytes as they are, between or after values: a newline after each record of a JSON-lines stream.
 */
PIER_API void pier_json_raw(struct pier_json *w, const char *bytes, size_t len);

/* Hands over what is left. Returns the length of the text in buf (without a sink; NUL-terminated if
 * there is room), 0 (with one), or the first error: the sink's, -ENOSPC, -EINVAL for misuse or open
 * nesting. The writer may then start another value. */
PIER_API ssize_t pier_json_end(struct pier_json *w);

#ifdef __cplusplus
}
#endif
#endif
