/* SPDX-License-Identifier: MIT */
/*
 * http_h1_wire: heads and chunks of HTTP/1. Every request of data/http_battery.txt gets its
 * verdict, at once, cut in two at every byte and byte by byte, always right before a page that
 * cannot be read and never twice at the same place in memory.
 */
#include "guarded.h"
#include "harness.h"

#include "http/h1_wire.h"

#include <errno.h>

/* ---- a request and its body, as it arrives ---- */

enum { OK = 1, WAITS = 0, REQUEST_MAX = 65536 };

struct arrival {
    struct pi_h1_request request;
    struct pi_h1_chunks chunks;
    struct pi_fields trailers;
    size_t at; /* what has been consumed */
    uint64_t left, payload, sum;
    enum { HEAD, LENGTH, CHUNKS, TRAILERS } stage;
};

static void take_payload(struct arrival *a, struct pi_part data)
{
    a->payload += data.len;
    for (size_t i = 0; i < data.len; i++)
        a->sum = a->sum * 31 + (unsigned char)data.at[i];
}

static ssize_t step(struct arrival *a, const char *buf, size_t len)
{
    struct pi_part data = { buf, len < a->left ? len : (size_t)a->left };
    ssize_t n;
    switch (a->stage) {
    case HEAD:
        n = pi_h1_parse_request(&a->request, buf, len, NULL);
        if (n > 0)
            a->stage = a->request.body == PI_H1_CHUNKED ? CHUNKS : LENGTH;
        a->left = n > 0 ? a->request.content_length : 0;
        return n;
    case LENGTH:
        take_payload(a, data);
        a->left -= data.len;
        return (ssize_t)data.len;
    case CHUNKS:
        n = pi_h1_chunk_step(&a->chunks, &data, buf, len);
        take_payload(a, data);
        if (n >= 0 && pi_h1_chunks_done(&a->chunks))
            a->stage = TRAILERS;
        return n;
    default:
        return pi_h1_parse_trailers(&a->trailers, &a->chunks, buf, len, NULL);
    }
}

/* All bytes that have arrived so far: OK, WAITS or a negative code. */
static int arrives(struct arrival *a, const char *bytes, size_t len)
{
    const char *buf = guarded(bytes, len);
    for (;;) {
        int stage = a->stage;
        if (stage == LENGTH && a->left == 0)
            return OK;
        ssize_t n = step(a, buf + a->at, len - a->at);
        if (n < 0)
            return (int)n;
        a->at += (size_t)n;
        ck_assert_uint_le(a->at, len);
        if (stage == TRAILERS && n > 0)
            return OK;
        if (n == 0 && stage == (int)a->stage)
            return WAITS;
    }
}

static struct arrival *fresh(void)
{
    static struct arrival a;
    memset(&a, 0xa5, sizeof a);
    a.request.scan = (struct pi_h1_scan){ 0 };
    a.chunks = (struct pi_h1_chunks){ 0 };
    a.at = a.left = a.payload = a.sum = 0;
    a.stage = HEAD;
    return &a;
}

static int parse(struct arrival *a, const char *text)
{
    return arrives(a, text, strlen(text));
}

static int verdict(const char *text)
{
    return parse(fresh(), text);
}

/* ---- the battery ---- */

static size_t unescape(char *out, const char *text, const char *end);

/* "{N:text}" at text; returns what is behind it. */
static const char *repeat(char *out, size_t *len, const char *text, const char *end)
{
    char *colon;
    unsigned long count = strtoul(text + 1, &colon, 10);
    const char *close = colon;
    for (int depth = 1; depth > 0; depth += *close == '{' ? 1 : *close == '}' ? -1 : 0)
        ck_assert_ptr_ne(++close, end);
    size_t start = *len;
    *len += unescape(out + start, colon + 1, close);
    size_t piece = *len - start;
    for (; count > 1; count--) {
        ck_assert_uint_lt(*len + piece, REQUEST_MAX);
        memcpy(out + *len, out + start, piece);
        *len += piece;
    }
    return close + 1;
}

static size_t unescape(char *out, const char *text, const char *end)
{
    static const char letters[] = "rnt\\", bytes[] = "\r\n\t\\";
    size_t len = 0;
    while (text < end) {
        const char *letter;
        if (*text != '\\') {
            out[len++] = *text++;
        } else if (text[1] == 'x') {
            char digits[3] = { text[2], text[3], 0 };
            out[len++] = (char)strtoul(digits, NULL, 16);
            text += 4;
        } else if (text[1] == '{') {
            text = repeat(out, &len, text + 1, end);
        } else if ((letter = strchr(letters, text[1]))) {
            out[len++] = bytes[letter - letters];
            text += 2;
        } else {
            ck_abort_msg("an escape that there is not: %s", text);
        }
    }
    return len;
}

static bool is_verdict(const char *expected, int got)
{
    if (strcmp(expected, "ok") == 0)
        return got == OK;
    return got < 0 && pi_h1_status(got) == atoi(expected);
}

typedef void (*battery_check)(const char *expected, const char *line, const char *bytes,
                              size_t len);

static void each_of_the_battery(battery_check check)
{
    static char request[REQUEST_MAX];
    char *line = NULL;
    size_t cap = 0;
    int count = 0;
    FILE *file = fopen(PIER_TEST_DATA "/http_battery.txt", "r");
    ck_assert_ptr_nonnull(file);
    for (ssize_t len; (len = getline(&line, &cap, file)) > 0;) {
        char expected[8], section[16];
        int at = 0;
        line[len - 1] = '\0';
        if (line[0] == '#' || line[0] == '\0')
            continue;
        ck_assert_int_eq(sscanf(line, "%7s %15s%n", expected, section, &at), 2);
        at = at < 19 ? 19 : at + 1;
        check(expected, line, request, unescape(request, line + at, line + len - 1));
        count++;
    }
    ck_assert_int_ge(count, 250);
    free(line);
    fclose(file);
}

static void gets_its_verdict(const char *expected, const char *line, const char *bytes, size_t len)
{
    int got = arrives(fresh(), bytes, len);
    if (!is_verdict(expected, got))
        ck_abort_msg("%s\ngot %d: %d %s", line, got, got < 0 ? pi_h1_status(got) : 0,
                     got < 0 ? pi_h1_reason(got) : "");
}

TEST(every_request_of_the_battery_gets_its_verdict)
{
    each_of_the_battery(gets_its_verdict);
}

/* In two pieces: at every place in short requests, at 300 in long ones. */
static void is_the_same_in_pieces(const char *expected, const char *line, const char *bytes,
                                  size_t len)
{
    int whole = arrives(fresh(), bytes, len);
    uint64_t payload = fresh()->payload;
    for (size_t cut = 0; cut < len; cut += 1 + len / 300) {
        struct arrival *a = fresh();
        int got = arrives(a, bytes, cut);
        if (got == WAITS)
            got = arrives(a, bytes, len);
        if (got != whole && !(got < 0 && whole < 0))
            ck_abort_msg("%s\ncut at %zu: %d, not %d", line, cut, got, whole);
    }
    struct arrival *a = fresh();
    int got = WAITS;
    for (size_t n = 1; n < len && got == WAITS; n += 1 + len / 4000)
        got = arrives(a, bytes, n);
    if (got == WAITS)
        got = arrives(a, bytes, len);
    if (!is_verdict(expected, got))
        ck_abort_msg("%s\nbyte by byte: %d, not %d", line, got, whole);
    ck_assert_uint_eq(payload, 0);
}

TEST_WITHIN(60, every_request_of_the_battery_is_the_same_in_pieces)
{
    each_of_the_battery(is_the_same_in_pieces);
}

/* ---- requests ---- */

static struct pi_h1_request *accepted(const char *text)
{
    struct arrival *a = fresh();
    ck_assert_int_eq(parse(a, text), OK);
    return &a->request;
}

#define CK_PART(part, text)                                   \
    do {                                                      \
        struct pi_part p_ = (part);                           \
        ck_assert_uint_eq(p_.len, strlen(text));              \
        ck_assert_mem_eq(p_.at, text, strlen(text) + !*text); \
    } while (0)

TEST(a_request_is_cut_into_its_parts)
{
    struct pi_h1_request *r = accepted(
        "POST /a%20b?c=d HTTP/1.1\r\nhOST: Ex.org:81\r\nX-a:\t1 2 \r\n"
        "Content-Type:\r\nx-A: 3\r\nContent-Length: 2\r\n\r\nhi");
    ck_assert_int_eq(r->method, PI_H1_POST);
    ck_assert_int_eq(r->form, PI_H1_ORIGIN);
    ck_assert_int_eq(r->body, PI_H1_LENGTH);
    ck_assert_uint_eq(r->content_length, 2);
    ck_assert_int_eq(r->minor, 1);
    ck_assert(r->keep_alive && r->path_has_percent && !r->upgrade && !r->expect_continue);
    ck_assert_int_eq(r->port, 81);
    CK_PART(PI_H1_PART(r, name), "POST");
    CK_PART(PI_H1_PART(r, target), "/a%20b?c=d");
    CK_PART(PI_H1_PART(r, path), "/a%20b");
    CK_PART(PI_H1_PART(r, query), "c=d");
    CK_PART(PI_H1_PART(r, host), "Ex.org");
    ck_assert_uint_eq(r->fields.count, 5);
    CK_PART(pi_field_name(&r->fields, 0), "hOST");
    CK_PART(pi_field_value(&r->fields, 1), "1 2");
    ck_assert_uint_eq(pi_fields_get(&r->fields, PI_FIELD_CONTENT_TYPE).len, 0);
    ck_assert_ptr_nonnull(pi_fields_get(&r->fields, PI_FIELD_CONTENT_TYPE).at);
    ck_assert_ptr_null(pi_fields_get(&r->fields, PI_FIELD_COOKIE).at);
    struct pi_part name = { "X-A", 3 };
    ck_assert_int_eq(pi_fields_find(&r->fields, name, 0), 1);
    ck_assert_int_eq(pi_fields_find(&r->fields, name, 2), 3);
    ck_assert_int_eq(pi_fields_find(&r->fields, name, 4), -1);
}

TEST(forms_of_targets_are_told_apart)
{
    struct pi_h1_request *r = accepted("GET https://a:8443/b?c HTTP/1.1\r\nHost: A:8443\r\n\r\n");
    ck_assert_int_eq(r->form, PI_H1_ABSOLUTE);
    ck_assert(r->is_https);
    ck_assert_int_eq(r->port, 8443);
    CK_PART(PI_H1_PART(r, host), "a");
    CK_PART(PI_H1_PART(r, path), "/b");
    CK_PART(PI_H1_PART(r, query), "c");
    r = accepted("GET http://a HTTP/1.0\r\n\r\n");
    CK_PART(PI_H1_PART(r, host), "a");
    ck_assert_uint_eq(r->path.len, 0);
    ck_assert(!r->keep_alive);
    r = accepted("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n");
    ck_assert_int_eq(r->form, PI_H1_AUTHORITY);
    CK_PART(PI_H1_PART(r, host), "[::1]");
    ck_assert_int_eq(r->port, 443);
    r = accepted("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    ck_assert_int_eq(r->form, PI_H1_ASTERISK);
    CK_PART(PI_H1_PART(r, path), "*");
}

TEST(persistence_follows_version_and_connection)
{
    static const struct {
        const char *version, *fields;
        bool keeps;
    } cases[] = {
        { "1.1", "", true },
        { "1.1", "Connection: close\r\n", false },
        { "1.1", "Connection: x, CLOSE\r\n", false },
        { "1.1", "Connection: x\r\nConnection: close\r\n", false },
        { "1.1", "Connection: closed\r\n", true },
        { "1.0", "", false },
        { "1.0", "Connection: Keep-Alive\r\n", true },
        { "1.0", "Connection: keep-alive, close\r\n", false },
        { "1.9", "", true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200];
        snprintf(text, sizeof text, "GET / HTTP/%s\r\nHost: a\r\n%s\r\n", cases[i].version,
                 cases[i].fields);
        if (accepted(text)->keep_alive != cases[i].keeps)
            ck_abort_msg("%s", text);
    }
}

TEST(upgrade_needs_both_fields_and_a_version)
{
    static const char both[] = "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n";
    char text[200];
    snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n%s", both);
    ck_assert(accepted(text)->upgrade);
    snprintf(text, sizeof text, "GET / HTTP/1.0\r\nHost: a\r\n%s", both);
    ck_assert(!accepted(text)->upgrade);
    ck_assert(!accepted("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n")->upgrade);
    ck_assert(!accepted("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n")->upgrade);
}

TEST(an_expectation_counts_where_a_body_comes)
{
    static const char expect[] = "Expect: 100-continue\r\n\r\nabc";
    char text[200];
    snprintf(text, sizeof text, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n%s", expect);
    ck_assert(accepted(text)->expect_continue);
    snprintf(text, sizeof text, "PUT / HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n%s", expect);
    ck_assert(!accepted(text)->expect_continue);
    snprintf(text, sizeof text, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n%s", expect);
    ck_assert(!accepted(text)->expect_continue);
}

TEST(a_second_request_is_not_touched)
{
    static const char two[] =
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    struct pi_h1_request r = { 0 };
    ssize_t n = pi_h1_parse_request(&r, two, sizeof two - 1, NULL);
    ck_assert_int_eq(n, (sizeof two - 1) / 2);
    r.scan = (struct pi_h1_scan){ 0 };
    ck_assert_int_eq(pi_h1_parse_request(&r, two + n, sizeof two - 1 - (size_t)n, NULL), n);
    CK_PART(PI_H1_PART(&r, path), "/2");
}

TEST(limits_are_the_callers)
{
    static const char text[] = "GET /abc HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n";
    static const struct {
        struct pi_h1_limits limits;
        int rc;
    } cases[] = {
        { { .target = 3 }, PI_H1_TARGET_TOO_LONG },  { { .target = 4 }, sizeof text - 1 },
        { { .section = 16 }, PI_H1_HEAD_TOO_LARGE }, { { .section = 17 }, sizeof text - 1 },
        { { .fields = 1 }, PI_H1_TOO_MANY_FIELDS },  { { .fields = 2 }, sizeof text - 1 },
        { { .fields = 1000 }, sizeof text - 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pi_h1_request r = { 0 };
        ck_assert_int_eq(pi_h1_parse_request(&r, text, sizeof text - 1, &cases[i].limits),
                         cases[i].rc);
    }
}

/* A stream of bytes with no end is refused by its length, in any pieces. */
TEST(nothing_without_an_end_is_waited_for_for_ever)
{
    static const char *const begins[] = { "G", "GET /",
                                          "GET / HTTP/1.1\r\nA: ", "GET / HTTP/1.1\r\nA",
                                          "GET http://a" };
    static char text[REQUEST_MAX];
    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
        for (size_t piece = 1; piece < 20000; piece *= 7) {
            size_t len = strlen(begins[i]);
            struct arrival *a = fresh();
            memset(text, 'a', sizeof text);
            memcpy(text, begins[i], len);
            while (arrives(a, text, len) == WAITS) {
                len += piece;
                ck_assert_uint_lt(len, sizeof text);
            }
        }
    }
}

/* ---- chunks and trailers ---- */

#define CHUNKED "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

TEST(chunks_carry_their_payload_in_any_pieces)
{
    static const char text[] = CHUNKED "5\r\nhello\r\n1;x=\"\\\"\"\r\n \r\nC\r\nwide worlds!\r\n"
                                       "0\r\nEtag: e\r\nCookie: c\r\n\r\nnext";
    size_t len = sizeof text - 1 - 4;
    struct arrival *a = fresh();
    ck_assert_int_eq(arrives(a, text, sizeof text - 1), OK);
    ck_assert_uint_eq(a->at, len);
    ck_assert_uint_eq(a->payload, 18);
    ck_assert_uint_eq(a->trailers.count, 1);
    CK_PART(pi_fields_get(&a->trailers, PI_FIELD_ETAG), "e");
    uint64_t sum = a->sum;
    for (size_t cut = 0; cut < len; cut++) {
        a = fresh();
        ck_assert_int_eq(arrives(a, text, cut), WAITS);
        ck_assert_int_eq(arrives(a, text, len), OK);
        ck_assert_uint_eq(a->sum, sum);
        ck_assert_uint_eq(a->trailers.count, 1);
    }
}

TEST(extensions_may_be_as_long_as_the_payload)
{
    static char text[REQUEST_MAX];
    size_t len = (size_t)snprintf(text, sizeof text, CHUNKED);
    for (int i = 0; i < 100; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "80;signature=%064d\r\n%0128d\r\n",
                                i, i);
    snprintf(text + len, sizeof text - len, "0\r\n\r\n");
    ck_assert_int_eq(verdict(text), OK);
}

TEST(heads_of_chunks_are_hexadecimal)
{
    static const struct {
        uint64_t n;
        const char *text;
    } cases[] = {
        { 1, "1\r\n" },       { 15, "f\r\n" },      { 16, "10\r\n" },
        { 4096, "1000\r\n" }, { 0xabc, "abc\r\n" }, { UINT64_MAX, "ffffffffffffffff\r\n" }
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[PI_H1_CHUNK_HEAD_CAP];
        struct pi_part got = { out, pi_h1_chunk_head(out, cases[i].n) };
        CK_PART(got, cases[i].text);
    }
}

/* ---- responses ---- */

static ssize_t answer(struct pi_h1_response *out, enum pi_h1_method method, const char *text)
{
    *out = (struct pi_h1_response){ 0 };
    return pi_h1_parse_response(out, guarded(text, strlen(text)), strlen(text), method, NULL);
}

TEST(responses_end_where_the_rfc_says)
{
    static const struct {
        enum pi_h1_method method;
        const char *text;
        int body;
        bool keeps;
        int length;
    } cases[] = {
        { PI_H1_GET, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", PI_H1_LENGTH, true, 3 },
        { PI_H1_GET, "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n", PI_H1_LENGTH, true, 3 },
        { PI_H1_GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", PI_H1_NO_BODY, true, 0 },
        { PI_H1_GET, "HTTP/1.1 200 \r\n\r\n", PI_H1_UNTIL_CLOSE, false, 0 },
        { PI_H1_GET, "HTTP/1.1 200\r\n\r\n", PI_H1_UNTIL_CLOSE, false, 0 },
        { PI_H1_GET, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", PI_H1_LENGTH, false, 3 },
        { PI_H1_GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", PI_H1_CHUNKED, true,
          0 },
        { PI_H1_GET,
          "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
          PI_H1_CHUNKED, false, 0 },
        { PI_H1_GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
          PI_H1_CHUNKED, false, 0 },
        { PI_H1_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", PI_H1_NO_BODY, true, 0 },
        { PI_H1_GET, "HTTP/1.1 204 No Content\r\n\r\n", PI_H1_NO_BODY, true, 0 },
        { PI_H1_GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", PI_H1_NO_BODY, true,
          0 },
        { PI_H1_GET, "HTTP/1.1 100 Continue\r\n\r\n", PI_H1_NO_BODY, true, 0 },
        { PI_H1_CONNECT, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", PI_H1_NO_BODY, true, 0 },
        { PI_H1_CONNECT, "HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\n", PI_H1_LENGTH, true, 3 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pi_h1_response r;
        ssize_t n = answer(&r, cases[i].method, cases[i].text);
        if (n != (ssize_t)strlen(cases[i].text) || r.body != cases[i].body ||
            r.keep_alive != cases[i].keeps || (int)r.content_length != cases[i].length)
            ck_abort_msg("%s: %zd, body %d, keeps %d", cases[i].text, n, r.body, r.keep_alive);
    }
}

TEST(responses_that_nobody_understands_are_refused)
{
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        { "HTTP/2.0 200 OK\r\n\r\n", PI_H1_BAD_RESPONSE_VERSION },
        { "ICY 200 OK and more\r\n\r\n", PI_H1_BAD_STATUS_LINE },
        { "HTTP/1.1 20 OK\r\n\r\n", PI_H1_BAD_STATUS_LINE },
        { "HTTP/1.1 2000 OK\r\n\r\n", PI_H1_BAD_STATUS_LINE },
        { "HTTP/1.1 099 OK\r\n\r\n", PI_H1_BAD_STATUS_LINE },
        { "HTTP/1.1  200 OK\r\n\r\n", PI_H1_BAD_STATUS_LINE },
        { "HTTP/1.1 200 O\x01K\r\n\r\n", PI_H1_BAD_STATUS_LINE },
        { "HTTP\r\n\r\n", PI_H1_BAD_STATUS_LINE },
        { "HTTP/1.1 200 OK\n\n", PI_H1_BARE_LF },
        { "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", PI_H1_SPACE_BEFORE_COLON },
        { "HTTP/1.1 200 OK\r\n A: b\r\n\r\n", PI_H1_FOLDED },
        { "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", PI_H1_TWO_LENGTHS },
        { "HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n", PI_H1_BAD_LENGTH },
        { "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", PI_H1_BAD_LENGTH },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", PI_H1_UNKNOWN_CODING },
        { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", PI_H1_BAD_CODING },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pi_h1_response r;
        ssize_t n = answer(&r, PI_H1_GET, cases[i].text);
        if (n != cases[i].code)
            ck_abort_msg("%s: %zd, %s", cases[i].text, n, n < 0 ? pi_h1_reason((int)n) : "taken");
    }
}

TEST(folded_lines_of_responses_are_joined_in_any_pieces)
{
    static const char text[] =
        "HTTP/1.1 200 Fine\r\nA: b\r\n\tc \r\n  d\r\nE:\r\n f\r\nG: h\r\n\r\n";
    size_t len = sizeof text - 1;
    for (size_t cut = 0; cut < len; cut++) {
        static char copy[sizeof text];
        struct pi_h1_response r = { 0 };
        memcpy(copy, text, sizeof text);
        ck_assert_int_eq(pi_h1_parse_response(&r, copy, cut, PI_H1_GET, NULL), 0);
        ck_assert_int_eq(pi_h1_parse_response(&r, copy, len, PI_H1_GET, NULL), (int)len);
        ck_assert_uint_eq(r.fields.count, 3);
        CK_PART(PI_H1_PART(&r, reason), "Fine");
        CK_PART(pi_field_value(&r.fields, 0), "b  \tc     d");
        CK_PART(pi_field_value(&r.fields, 1), "f");
        CK_PART(pi_field_value(&r.fields, 2), "h");
    }
}

/* ---- names and values ---- */

TEST(known_names_are_found_in_any_case_and_nothing_else_is)
{
    for (int id = PI_FIELD_OTHER + 1; id < PI_FIELD_IDS; id++) {
        char name[64];
        size_t len = strlen(pi_field_id_name(id));
        ck_assert_uint_gt(len, 0);
        for (size_t i = 0; i < len; i++) {
            snprintf(name, sizeof name, "%s", pi_field_id_name(id));
            for (int byte = 0; byte < 256; byte++) {
                bool same = (byte | 0x20) == (pi_field_id_name(id)[i] | 0x20) &&
                            (byte == pi_field_id_name(id)[i] || (byte | 0x20) >= 'a');
                name[i] = (char)byte;
                const char *copy = guarded(name, len);
                if ((pi_field_id(copy, len) == (enum pi_field_id)id) != same)
                    ck_abort_msg("%s with byte %#x at %zu", pi_field_id_name(id), byte, i);
            }
        }
        ck_assert_int_ne(pi_field_id(pi_field_id_name(id), len - 1), id);
    }
    ck_assert_int_eq(pi_field_id("", 0), PI_FIELD_OTHER);
}

TEST(values_end_at_control_characters)
{
    for (int byte = 0; byte < 256; byte++) {
        bool fine = byte == '\t' || (byte >= ' ' && byte != 0x7f);
        for (size_t len = 1; len < 50; len++) {
            for (size_t at = 0; at < len; at++) {
                char text[50];
                memset(text, 'a', sizeof text);
                text[at] = (char)byte;
                if (pi_value_span(guarded(text, len), len) != (fine ? len : at))
                    ck_abort_msg("byte %#x at %zu of %zu", byte, at, len);
            }
        }
    }
}

TEST(tokens_are_what_the_rfc_lists)
{
    static const char tokens[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                                 "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        ck_assert_int_eq(pi_is_token(&c, 1), byte != 0 && strchr(tokens, byte) != NULL);
    }
    ck_assert(!pi_is_token("", 0));
}

TEST(lists_are_cut_at_commas_outside_of_quotes)
{
    static const char text[] = " a ,, \"b,\\\",c\" ; d\t,e,";
    struct pi_part rest = { text, sizeof text - 1 };
    CK_PART(pi_list_next(&rest), "a");
    CK_PART(pi_list_next(&rest), "\"b,\\\",c\" ; d");
    CK_PART(pi_list_next(&rest), "e");
    ck_assert_ptr_null(pi_list_next(&rest).at);
    ck_assert_ptr_null(pi_list_next(&rest).at);
}

/* ---- writing ---- */

static struct pi_part part(const char *text)
{
    return (struct pi_part){ text, strlen(text) };
}

TEST(a_head_is_written_to_the_byte)
{
    static const char wanted[] = "HTTP/1.1 404 Not Found\r\nA: b c\r\nE: \r\nContent-Length: "
                                 "18446744073709551615\r\n\r\n";
    for (size_t cap = 0; cap < sizeof wanted; cap++) {
        char *room = guarded(wanted, cap);
        struct pi_h1_out o = { .buf = room, .cap = cap };
        pi_h1_out_status(&o, 404);
        pi_h1_out_field(&o, part("A"), part(" b c\t"));
        pi_h1_out_field(&o, part("E"), part(""));
        pi_h1_out_number(&o, "Content-Length", UINT64_MAX);
        ssize_t n = pi_h1_out_end(&o);
        ck_assert_int_eq(n, cap == sizeof wanted - 1 ? (ssize_t)cap : -ENOSPC);
        if (n > 0)
            ck_assert_mem_eq(room, wanted, (size_t)n);
    }
}

static ssize_t wrote(struct pi_h1_out *o, char *buf, size_t cap)
{
    ssize_t n = pi_h1_out_end(o);
    ck_assert_ptr_eq(o->buf, buf);
    ck_assert_uint_le(o->len, cap);
    return n;
}

TEST(no_byte_of_a_field_ends_a_line)
{
    for (int byte = 0; byte < 256; byte++) {
        char buf[100], name[4] = { 'a', (char)byte, 'b', 0 };
        bool is_control = (byte < ' ' && byte != '\t') || byte == 0x7f;
        struct pi_h1_out o = { .buf = buf, .cap = sizeof buf };
        pi_h1_out_field(&o, part("A"), (struct pi_part){ name, 3 });
        ck_assert_int_eq(wrote(&o, buf, sizeof buf) == -EINVAL, is_control);
        o = (struct pi_h1_out){ .buf = buf, .cap = sizeof buf };
        pi_h1_out_field(&o, (struct pi_part){ name, 3 }, part("a"));
        ck_assert_int_eq(wrote(&o, buf, sizeof buf) == -EINVAL, !pi_is_token(name, 3));
        o = (struct pi_h1_out){ .buf = buf, .cap = sizeof buf };
        pi_h1_out_request(&o, part("GET"), (struct pi_part){ name, 3 });
        ck_assert_int_eq(wrote(&o, buf, sizeof buf) == -EINVAL, byte <= ' ' || byte > '~');
        o = (struct pi_h1_out){ .buf = buf, .cap = sizeof buf };
        pi_h1_out_request(&o, (struct pi_part){ name, 3 }, part("/"));
        ck_assert_int_eq(wrote(&o, buf, sizeof buf) == -EINVAL, !pi_is_token(name, 3));
    }
}

TEST(every_status_has_a_line)
{
    for (int status = 0; status < 1100; status++) {
        char buf[64], wanted[64];
        struct pi_h1_out o = { .buf = buf, .cap = sizeof buf };
        pi_h1_out_status(&o, status);
        if (status < 100 || status > 999) {
            ck_assert_int_eq(o.error, -EINVAL);
            continue;
        }
        snprintf(wanted, sizeof wanted, "HTTP/1.1 %d %s\r\n", status, pi_h1_phrase(status));
        struct pi_part got = { buf, o.len };
        CK_PART(got, wanted);
    }
    ck_assert_str_eq(pi_h1_phrase(404), "Not Found");
    ck_assert_str_eq(pi_h1_phrase(299), "");
}

TEST(every_refusal_has_a_status_and_words)
{
    for (int code = PI_H1_BAD_FIRST + 1; code < PI_H1_BAD_LAST; code++) {
        ck_assert_int_ge(pi_h1_status(code), 400);
        ck_assert_str_ne(pi_h1_reason(code), "");
    }
    ck_assert_int_eq(pi_h1_status(-EINVAL), 400);
}

HARNESS_MAIN("http_h1_wire")
