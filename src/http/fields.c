/* SPDX-License-Identifier: MIT */
/*
 * http/fields.c - names, values and lists of fields (RFC 9110, 5).
 *
 * A name that is known is found by a perfect hash of its length and three of its letters, and
 * compared eight bytes at a time; the hash is the fields' enumeration's and changes with it: when a
 * name is added, the test of all names says whether two have come to share a place.
 */
#include "http/fields.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* ---- names ---- */

static const struct known_name {
    char text[31];
    uint8_t len;
} known_names[PI_FIELD_IDS] = {
    [PI_FIELD_ACCEPT] = { "Accept", 6 },
    [PI_FIELD_ACCEPT_ENCODING] = { "Accept-Encoding", 15 },
    [PI_FIELD_ACCEPT_LANGUAGE] = { "Accept-Language", 15 },
    [PI_FIELD_ACCESS_CONTROL_REQUEST_HEADERS] = { "Access-Control-Request-Headers", 30 },
    [PI_FIELD_ACCESS_CONTROL_REQUEST_METHOD] = { "Access-Control-Request-Method", 29 },
    [PI_FIELD_AGE] = { "Age", 3 },
    [PI_FIELD_ALT_SVC] = { "Alt-Svc", 7 },
    [PI_FIELD_AUTHORIZATION] = { "Authorization", 13 },
    [PI_FIELD_CACHE_CONTROL] = { "Cache-Control", 13 },
    [PI_FIELD_CONNECTION] = { "Connection", 10 },
    [PI_FIELD_CONTENT_ENCODING] = { "Content-Encoding", 16 },
    [PI_FIELD_CONTENT_LENGTH] = { "Content-Length", 14 },
    [PI_FIELD_CONTENT_RANGE] = { "Content-Range", 13 },
    [PI_FIELD_CONTENT_TYPE] = { "Content-Type", 12 },
    [PI_FIELD_COOKIE] = { "Cookie", 6 },
    [PI_FIELD_DATE] = { "Date", 4 },
    [PI_FIELD_ETAG] = { "ETag", 4 },
    [PI_FIELD_EXPECT] = { "Expect", 6 },
    [PI_FIELD_FORWARDED] = { "Forwarded", 9 },
    [PI_FIELD_HOST] = { "Host", 4 },
    [PI_FIELD_IF_MATCH] = { "If-Match", 8 },
    [PI_FIELD_IF_MODIFIED_SINCE] = { "If-Modified-Since", 17 },
    [PI_FIELD_IF_NONE_MATCH] = { "If-None-Match", 13 },
    [PI_FIELD_IF_RANGE] = { "If-Range", 8 },
    [PI_FIELD_IF_UNMODIFIED_SINCE] = { "If-Unmodified-Since", 19 },
    [PI_FIELD_KEEP_ALIVE] = { "Keep-Alive", 10 },
    [PI_FIELD_LAST_MODIFIED] = { "Last-Modified", 13 },
    [PI_FIELD_LOCATION] = { "Location", 8 },
    [PI_FIELD_ORIGIN] = { "Origin", 6 },
    [PI_FIELD_PROXY_AUTHORIZATION] = { "Proxy-Authorization", 19 },
    [PI_FIELD_RANGE] = { "Range", 5 },
    [PI_FIELD_REFERER] = { "Referer", 7 },
    [PI_FIELD_RETRY_AFTER] = { "Retry-After", 11 },
    [PI_FIELD_SEC_FETCH_SITE] = { "Sec-Fetch-Site", 14 },
    [PI_FIELD_SEC_WEBSOCKET_KEY] = { "Sec-WebSocket-Key", 17 },
    [PI_FIELD_SEC_WEBSOCKET_PROTOCOL] = { "Sec-WebSocket-Protocol", 22 },
    [PI_FIELD_SEC_WEBSOCKET_VERSION] = { "Sec-WebSocket-Version", 21 },
    [PI_FIELD_SERVER] = { "Server", 6 },
    [PI_FIELD_SET_COOKIE] = { "Set-Cookie", 10 },
    [PI_FIELD_TE] = { "TE", 2 },
    [PI_FIELD_TRACEPARENT] = { "traceparent", 11 },
    [PI_FIELD_TRACESTATE] = { "tracestate", 10 },
    [PI_FIELD_TRAILER] = { "Trailer", 7 },
    [PI_FIELD_TRANSFER_ENCODING] = { "Transfer-Encoding", 17 },
    [PI_FIELD_UPGRADE] = { "Upgrade", 7 },
    [PI_FIELD_USER_AGENT] = { "User-Agent", 10 },
    [PI_FIELD_VARY] = { "Vary", 4 },
    [PI_FIELD_WWW_AUTHENTICATE] = { "WWW-Authenticate", 16 },
    [PI_FIELD_X_FORWARDED_FOR] = { "X-Forwarded-For", 15 },
    [PI_FIELD_X_FORWARDED_PROTO] = { "X-Forwarded-Proto", 17 },
    [PI_FIELD_X_REQUEST_ID] = { "X-Request-ID", 12 },
};

enum { HASH_PLACES = 128 };

static const uint8_t by_hash[HASH_PLACES] = {
    [0] = PI_FIELD_WWW_AUTHENTICATE,
    [3] = PI_FIELD_TRANSFER_ENCODING,
    [6] = PI_FIELD_REFERER,
    [9] = PI_FIELD_IF_MODIFIED_SINCE,
    [10] = PI_FIELD_RANGE,
    [11] = PI_FIELD_X_FORWARDED_FOR,
    [16] = PI_FIELD_CACHE_CONTROL,
    [18] = PI_FIELD_X_FORWARDED_PROTO,
    [19] = PI_FIELD_CONTENT_LENGTH,
    [30] = PI_FIELD_ETAG,
    [33] = PI_FIELD_AGE,
    [34] = PI_FIELD_ACCEPT_LANGUAGE,
    [39] = PI_FIELD_EXPECT,
    [41] = PI_FIELD_ACCEPT_ENCODING,
    [42] = PI_FIELD_FORWARDED,
    [44] = PI_FIELD_SET_COOKIE,
    [46] = PI_FIELD_CONTENT_ENCODING,
    [47] = PI_FIELD_ORIGIN,
    [48] = PI_FIELD_IF_UNMODIFIED_SINCE,
    [50] = PI_FIELD_TE,
    [51] = PI_FIELD_HOST,
    [52] = PI_FIELD_AUTHORIZATION,
    [58] = PI_FIELD_SERVER,
    [62] = PI_FIELD_LOCATION,
    [66] = PI_FIELD_ACCESS_CONTROL_REQUEST_METHOD,
    [68] = PI_FIELD_IF_RANGE,
    [69] = PI_FIELD_ACCESS_CONTROL_REQUEST_HEADERS,
    [70] = PI_FIELD_IF_NONE_MATCH,
    [71] = PI_FIELD_ACCEPT,
    [75] = PI_FIELD_SEC_WEBSOCKET_KEY,
    [78] = PI_FIELD_SEC_WEBSOCKET_VERSION,
    [79] = PI_FIELD_SEC_WEBSOCKET_PROTOCOL,
    [84] = PI_FIELD_COOKIE,
    [89] = PI_FIELD_IF_MATCH,
    [91] = PI_FIELD_CONTENT_TYPE,
    [92] = PI_FIELD_LAST_MODIFIED,
    [93] = PI_FIELD_X_REQUEST_ID,
    [94] = PI_FIELD_KEEP_ALIVE,
    [95] = PI_FIELD_CONNECTION,
    [96] = PI_FIELD_UPGRADE,
    [98] = PI_FIELD_RETRY_AFTER,
    [99] = PI_FIELD_TRACEPARENT,
    [101] = PI_FIELD_VARY,
    [104] = PI_FIELD_TRACESTATE,
    [107] = PI_FIELD_DATE,
    [109] = PI_FIELD_ALT_SVC,
    [112] = PI_FIELD_CONTENT_RANGE,
    [116] = PI_FIELD_SEC_FETCH_SITE,
    [119] = PI_FIELD_USER_AGENT,
    [121] = PI_FIELD_PROXY_AUTHORIZATION,
    [122] = PI_FIELD_TRAILER,
};

/* Letters in both cases have the same five low bits. */
static inline unsigned hash_of(const char *name, size_t len)
{
    unsigned first = name[0] & 31u, last = name[len - 1] & 31u, middle = name[len / 2] & 31u;
    return ((unsigned)len * 21 + first * 56 + last * 7 + middle) % HASH_PLACES;
}

static inline uint64_t load8(const char *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

static inline uint32_t load4(const char *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* What has bit 6 is a letter, in the names that we know: bit 5 is its case. Bits of difference. */
static inline uint64_t differ(uint64_t known, uint64_t word)
{
    return (known ^ word) & ~((known & 0x4040404040404040u) >> 1);
}

/* Words overlap where len is no multiple of theirs. */
static inline bool is_known(const char *known, const char *name, size_t len)
{
    if (len >= 8) {
        uint64_t bits = differ(load8(known + len - 8), load8(name + len - 8));
        for (size_t i = 0; i + 8 < len; i += 8)
            bits |= differ(load8(known + i), load8(name + i));
        return bits == 0;
    }
    if (len >= 4)
        return (differ(load4(known), load4(name)) |
                differ(load4(known + len - 4), load4(name + len - 4))) == 0;
    for (size_t i = 0; i < len; i++)
        if (differ((unsigned char)known[i], (unsigned char)name[i]))
            return false;
    return true;
}

enum pi_field_id pi_field_id(const char *name, size_t len)
{
    if (len == 0)
        return PI_FIELD_OTHER;
    uint8_t id = by_hash[hash_of(name, len)];
    const struct known_name *known = &known_names[id];
    return known->len == len && is_known(known->text, name, len) ? (enum pi_field_id)id
                                                                 : PI_FIELD_OTHER;
}

const char *pi_field_id_name(enum pi_field_id id)
{
    return known_names[id].text;
}

int pi_fields_find(const struct pi_fields *f, struct pi_part name, uint32_t from)
{
    for (uint32_t i = from; i < f->count; i++)
        if (pi_same_nocase(pi_field_name(f, i), name))
            return (int)i;
    return -1;
}

/* ---- bytes ---- */

/* tchar (RFC 9110, 5.6.2). */
static const uint8_t token_bytes[256] = {
    ['!'] = 1,         ['#' ... '\''] = 1, ['*'] = 1,         ['+'] = 1, ['-'] = 1, ['.'] = 1,
    ['0' ... '9'] = 1, ['A' ... 'Z'] = 1,  ['^' ... 'z'] = 1, ['|'] = 1, ['~'] = 1,
};

size_t pi_token_span(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && token_bytes[(unsigned char)text[n]])
        n++;
    return n;
}

bool pi_is_token(const char *text, size_t len)
{
    return len > 0 && pi_token_span(text, len) == len;
}

static inline bool is_value_byte(char c)
{
    unsigned char byte = (unsigned char)c;
    return (byte >= ' ' && byte != 0x7f) || byte == '\t';
}

size_t pi_value_span(const char *text, size_t len)
{
    size_t n = 0;
#ifdef __SSE2__
    const __m128i limit = _mm_set1_epi8(0x1f), tab = _mm_set1_epi8('\t');
    const __m128i del = _mm_set1_epi8(0x7f);
    for (; n + 16 <= len; n += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(text + n));
        __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, limit), bytes);
        __m128i bad = _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), low),
                                   _mm_cmpeq_epi8(bytes, del));
        unsigned where = (unsigned)_mm_movemask_epi8(bad);
        if (where)
            return n + (size_t)__builtin_ctz(where);
    }
#endif
    while (n < len && is_value_byte(text[n]))
        n++;
    return n;
}

static inline bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

bool pi_is_field_value(const char *text, size_t len)
{
    if (len == 0)
        return true;
    return !is_space(text[0]) && !is_space(text[len - 1]) && pi_value_span(text, len) == len;
}

/* Whether two bytes that differ are one letter in two cases. */
static inline bool same_letter(unsigned char a, unsigned char b)
{
    unsigned char small = a | 0x20;
    return (a ^ b) == 0x20 && small >= 'a' && small <= 'z';
}

bool pi_same_nocase(struct pi_part a, struct pi_part b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (a.at[i] != b.at[i] && !same_letter((unsigned char)a.at[i], (unsigned char)b.at[i]))
            return false;
    return true;
}

/* ---- lists ---- */

/* The length of the element at the beginning: up to a comma outside of quotes. */
static size_t element_span(const char *text, size_t len)
{
    bool quoted = false;
    for (size_t i = 0; i < len; i++) {
        if (quoted && text[i] == '\\' && i + 1 < len)
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (text[i] == ',' && !quoted)
            return i;
    }
    return len;
}

static struct pi_part trim(struct pi_part p)
{
    while (p.len > 0 && is_space(p.at[0])) {
        p.at++;
        p.len--;
    }
    while (p.len > 0 && is_space(p.at[p.len - 1]))
        p.len--;
    return p;
}

struct pi_part pi_list_next(struct pi_part *rest)
{
    while (rest->len > 0) {
        size_t len = element_span(rest->at, rest->len);
        struct pi_part element = trim((struct pi_part){ rest->at, len });
        size_t used = len < rest->len ? len + 1 : len;
        rest->at += used;
        rest->len -= used;
        if (element.len > 0)
            return element;
    }
    return (struct pi_part){ NULL, 0 };
}

bool pi_fields_have(const struct pi_fields *f, enum pi_field_id id, const char *token)
{
    struct pi_part wanted = { token, strlen(token) };
    uint32_t first = f->first[id] ? f->first[id] - 1u : f->count;
    for (uint32_t i = first; i < f->count; i++) {
        if (f->list[i].id != id)
            continue;
        struct pi_part rest = pi_field_value(f, i);
        for (struct pi_part e = pi_list_next(&rest); e.at; e = pi_list_next(&rest))
            if (pi_same_nocase(e, wanted))
                return true;
    }
    return false;
}
