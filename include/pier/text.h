/* SPDX-License-Identifier: MIT */
/*
 * pier/text.h - bytes in, bytes out: UTF-8, charsets, escaping, dates, URIs, forms, media types,
 * base64, SHA-256, JSON. Nothing here waits.
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

/* How many characters (code points) well-formed UTF-8 has; of other bytes, how many do not continue
 * one. */
PIER_API size_t pier_utf8_count(const void *bytes, size_t len);

/* How many columns of a terminal it takes: two for wide characters (UAX #11, emoji too), none for
 * controls, combining marks and joiners, one for all others and for each mistake. By Unicode 15.0,
 * whatever the locale. */
PIER_API size_t pier_utf8_width(const void *bytes, size_t len);

/* How many bytes from the first one take at most so many columns: whole characters, with the marks
 * that combine with the last one. */
PIER_API size_t pier_utf8_fit(const void *bytes, size_t len, size_t columns);

/* ---- charsets: text in other encodings than UTF-8 ----
 *
 * A charset is named as on the web or in Python ("gbk", "GB2312", "shift_jis", "latin1"; case and
 * punctuation do not count), and may say what happens to what cannot be converted: "gbk//strict",
 * the default, is -EILSEQ, and pier_error() says where ("decode gbk: byte 17: ff is no character",
 * counted from 0); "gbk//replace" puts U+FFFD there, or '?' when encoding; "gbk//ignore" leaves it
 * out. An unknown name is -EINVAL. Names that the web gives to supersets mean those (gb2312 is gbk,
 * shift_jis is cp932, euc-kr is cp949), but iso-8859-1, iso-8859-9 and ascii are what they say. No
 * charset has a byte order mark: U+FEFF is a character. */

/* Room that is enough for what len bytes become, either way. */
#define PIER_CODEC_ROOM(len) (4 * (len) + 32)

/* Encodes text, len bytes of UTF-8, and ends it with NUL (two bytes in UTF-16). Returns the length
 * without that; -ENOSPC when cap is too small, which PIER_CODEC_ROOM(len) never is; a negative
 * code, and then out is "". */
PIER_API ssize_t pier_encode(void *out, size_t cap, const char *charset, const void *text,
                             size_t len);

/* Decodes len bytes to UTF-8, and ends it with NUL. Returns as pier_encode(). */
PIER_API ssize_t pier_decode(char *out, size_t cap, const char *charset, const void *bytes,
                             size_t len);

/* The name of each charset, "gbk"; NULL beyond the last. */
PIER_API const char *pier_charset_name(int index);

/* A conversion piece by piece; fields private. It holds the beginning of a character that is cut,
 * so the pieces may end anywhere. */
struct pier_codec {
    void *converter;
    const void *charset;
    int64_t consumed;
    unsigned char held[8];
    int held_len, errors, fault;
    bool encodes;
};

/* Begin a conversion to, or from, UTF-8. 0 or a negative code; pier_codec_fini() is then not needed
 * but harmless. */
PIER_API int pier_decoder_init(struct pier_codec *c, const char *charset);
PIER_API int pier_encoder_init(struct pier_codec *c, const char *charset);

/* Converts one more piece. Returns how many bytes it wrote to out, which may be 0; a negative code
 * at what cannot be converted, once all before it has been returned, and from then on. cap should
 * be PIER_CODEC_ROOM(len): less may be -ENOSPC, which is final too. */
PIER_API ssize_t pier_codec_feed(struct pier_codec *c, void *out, size_t cap, const void *bytes,
                                 size_t len);

/* Ends the text: a character that is still cut cannot be converted. Returns as feed; after a
 * success another text may begin. cap should be PIER_CODEC_ROOM(0). */
PIER_API ssize_t pier_codec_finish(struct pier_codec *c, void *out, size_t cap);

/* How many bytes of the text have been converted: after a failure, where the mistake begins. */
PIER_API int64_t pier_codec_bytes(const struct pier_codec *c);

/* Ends the use of a codec. */
PIER_API void pier_codec_fini(struct pier_codec *c);

/* Writes bytes to out as printable text, for logs and terminals, and ends it with NUL: valid
 * printable UTF-8 stays, \n \r \t \\ \" are escaped so, all else as \xNN; what does not fit is cut
 * at a whole escape and marked "...". Returns the length of the text in out; cap must be at
 * least 8. */
PIER_API size_t pier_escape(char *out, size_t cap, const void *bytes, size_t len);

/* The RFC 3339 form of a UNIX time in nanoseconds, "2026-11-20T09:22:31Z", with millis ".123" when
 * asked. out takes at least 32 bytes. Returns the length. */
PIER_API size_t pier_date_rfc3339(char *out, size_t cap, int64_t unix_ns, bool millis);

/* The same as HTTP has it (IMF-fixdate, RFC 9110, 5.6.7): "Fri, 20 Nov 2026 09:22:31 GMT". out
 * takes at least 32 bytes. Returns the length, 29. */
PIER_API size_t pier_date_http(char *out, size_t cap, int64_t unix_ns);

/* Reads any of the three forms that RFC 9110 knows. 0 or -EINVAL. Dates before 1677 and after 2262
 * become INT64_MIN and INT64_MAX. */
PIER_API int pier_date_parse_http(int64_t *unix_ns, const char *text, size_t len);

/* ---- texts of protocols ----
 *
 * What follows writes to out, ends it with NUL, and returns the length without that; -ENOSPC when
 * cap is too small. On failure out is "". */

/* A piece of somebody else's text, not NUL-terminated. ptr NULL: there is none. */
struct pier_slice {
    const char *ptr;
    size_t len;
};

/* Escapes &, <, >, " and ' for HTML: for text in elements and in quoted attributes, nowhere else.
 */
#define PIER_HTML_ROOM(len) (6 * (len) + 1)
PIER_API ssize_t pier_html_escape(char *out, size_t cap, const char *text, size_t len);

/* Base64 (RFC 4648, 4), and base64url (5), which is written without padding. Decoding is strict:
 * -EILSEQ for other characters, white space too, wrong padding (base64url: it may be left out) and
 * bits that are left over. The room is enough either way. */
#define PIER_BASE64_ROOM(len) (4 * (((len) + 2) / 3) + 1)
PIER_API ssize_t pier_base64_encode(char *out, size_t cap, const void *bytes, size_t len);
PIER_API ssize_t pier_base64_decode(void *out, size_t cap, const char *text, size_t len);
PIER_API ssize_t pier_base64url_encode(char *out, size_t cap, const void *bytes, size_t len);
PIER_API ssize_t pier_base64url_decode(void *out, size_t cap, const char *text, size_t len);

/* ---- percent-encoding (RFC 3986, 2.1) and forms ---- */

/* Encodes all bytes but letters, digits, "-._~" and those of keep (NULL: none): "/" for a path. */
#define PIER_PERCENT_ROOM(len) (3 * (len) + 1)
PIER_API ssize_t pier_percent_encode(char *out, size_t cap, const char *text, size_t len,
                                     const char *keep);

/* Decodes; -EILSEQ for a "%" without two digits. What is decoded may have any byte in it, NUL too.
 * out may be text itself, with cap len + 1. */
PIER_API ssize_t pier_percent_decode(char *out, size_t cap, const char *text, size_t len);

/* The same as browsers send forms (WHATWG URL Standard, application/x-www-form-urlencoded): a space
 * is "+", and a "%" without two digits is itself. For queries, too. */
PIER_API ssize_t pier_form_encode(char *out, size_t cap, const char *text, size_t len);
PIER_API ssize_t pier_form_decode(char *out, size_t cap, const char *text, size_t len);

/* Takes the next "name=value" off a form or query, both still encoded; without "=" the value is
 * empty. False at the end. rest begins as the whole text. */
PIER_API bool pier_form_next(struct pier_slice *rest, struct pier_slice *name,
                             struct pier_slice *value);

/* The first value of that name, decoded; -ENOENT when the form has none. */
PIER_API ssize_t pier_form_get(char *out, size_t cap, struct pier_slice form, const char *name);

/* ---- URIs (RFC 3986) ---- */

/* A URI, or a reference to one, in parts: pieces of the text that was parsed, as they came. What is
 * not there has a NULL pointer; the path is always there, empty perhaps. */
struct pier_uri {
    struct pier_slice scheme;   /* "https" */
    struct pier_slice userinfo; /* before the "@" */
    struct pier_slice host;     /* with brackets round IPv6 */
    struct pier_slice port;     /* digits, perhaps none */
    struct pier_slice path;
    struct pier_slice query;    /* behind the "?" */
    struct pier_slice fragment; /* behind the "#" */
};

/* Takes a text apart, which has to stay while out is used. 0 or PIER_EURL, with words: characters
 * that have to be encoded, bad hosts, ports above 65535. */
PIER_API int pier_uri_parse(struct pier_uri *out, const char *text, size_t len);

/* The port that is given, or that of http (80) and https (443); -1: neither. */
PIER_API int pier_uri_port(const struct pier_uri *u);

/* Writes it as a text in normal form (6.2.2, 6.2.3): lower case where case means nothing, no dot
 * segments, no default port, nothing encoded that need not be. */
PIER_API ssize_t pier_uri_format(char *out, size_t cap, const struct pier_uri *u);

/* What ref means in a document of base (5.2), in normal form. base has a scheme. */
PIER_API ssize_t pier_uri_resolve(char *out, size_t cap, const struct pier_uri *base,
                                  const struct pier_uri *ref);

/* ---- media types (RFC 9110, 8.3.1) ---- */

/* "text/html; charset=utf-8" in parts, pieces of the text. */
struct pier_media_type {
    struct pier_slice type, subtype, params;
};

/* Takes a text apart, which has to stay while out is used. 0 or -EINVAL. */
PIER_API int pier_media_type_parse(struct pier_media_type *out, const char *text, size_t len);

/* Whether it is "text/html", whatever its parameters; in any case of letters. */
PIER_API bool pier_media_type_is(const struct pier_media_type *m, const char *wanted);

/* The value of a parameter, without quotation marks; -ENOENT when it has none of that name. */
PIER_API ssize_t pier_media_type_param(char *out, size_t cap, const struct pier_media_type *m,
                                       const char *name);

/* What a file of that name has in it, by its extension: "text/html; charset=utf-8";
 * "application/octet-stream" when that says nothing. Static text. */
PIER_API const char *pier_media_type_of(const char *path);

/* Which of count media types an Accept field prefers (12.5.1), the first among equals; -1 when it
 * accepts none. An empty field accepts all. */
PIER_API int pier_accept_choose(const char *accept, size_t len, const char *const *offers,
                                int count);

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

/* ---- JSON reader (RFC 8259): a tree ---- */

/* A value that was read; those within it are its own. It never changes, so any thread may read. */
struct pier_json_value;

enum pier_json_type {
    PIER_JSON_NONE, /* of NULL: there is no such value */
    PIER_JSON_NULL,
    PIER_JSON_BOOLEAN,
    PIER_JSON_INTEGER,
    PIER_JSON_REAL,
    PIER_JSON_STRING,
    PIER_JSON_ARRAY,
    PIER_JSON_OBJECT,
};

/* Zero is the default everywhere. */
struct pier_json_limits {
    size_t max_bytes;  /* of the text; default 1 MiB */
    size_t max_values; /* default 100,000: each takes up to some 100 bytes of memory */
    int max_depth;     /* default, and at most, PIER_JSON_MAX_DEPTH */
};

/* Reads a whole text, one value of any type. Returns the value, to be freed, or NULL: -EMSGSIZE
 * beyond a limit; -EILSEQ for what is no JSON, a key said twice, integers beyond 64 bits and NUL in
 * a string among it: pier_error() says where ("json: line 2, column 7: ..."); -ENOMEM. */
PIER_API struct pier_json_value *pier_json_parse(const char *text, size_t len,
                                                 const struct pier_json_limits *limits);

/* Frees a value of pier_json_parse() with all that is in it. NULL is fine. */
PIER_API void pier_json_free(struct pier_json_value *value);

/* What follows takes NULL, and values of another type than is asked for, as having nothing in them.
 */

PIER_API enum pier_json_type pier_json_type(const struct pier_json_value *value);

/* How many items an array has, or members an object. */
PIER_API size_t pier_json_count(const struct pier_json_value *value);

/* The item of an array; NULL: there is none. */
PIER_API const struct pier_json_value *pier_json_at(const struct pier_json_value *array,
                                                    size_t index);

/* The next member of an object, in the order of the text; false at the end. *key begins as NULL. */
PIER_API bool pier_json_next(const struct pier_json_value *object, const char **key,
                             const struct pier_json_value **value);

/* The value at path within value, or NULL. A path is the key of a member; one that begins with "/"
 * is a JSON pointer (RFC 6901), "/users/0/name", each part of at most 255 bytes; "" is value. */
PIER_API const struct pier_json_value *pier_json_get(const struct pier_json_value *value,
                                                     const char *path);

/* The same as a value of C; otherwise when there is none, or of another type. An integer is a
 * double, too. The string lives as long as the tree. */
PIER_API const char *pier_json_get_str(const struct pier_json_value *value, const char *path,
                                       const char *otherwise);
PIER_API int64_t pier_json_get_int(const struct pier_json_value *value, const char *path,
                                   int64_t otherwise);
PIER_API double pier_json_get_double(const struct pier_json_value *value, const char *path,
                                     double otherwise);
PIER_API bool pier_json_get_bool(const struct pier_json_value *value, const char *path,
                                 bool otherwise);

/* Writes a value that was read, with all that is in it. */
PIER_API void pier_json_value(struct pier_json *w, const struct pier_json_value *value);

#ifdef __cplusplus
}
#endif
#endif
