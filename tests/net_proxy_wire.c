/* SPDX-License-Identifier: MIT */
/*
 * net_proxy_wire: headers of the PROXY protocol, whole, cut at every byte, in front of a page that
 * must not be touched, and what is none.
 */
#include "harness.h"

#include "net/proxy_wire.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

/* len bytes that end where a page begins that cannot be read. */
static char *at_guard(const void *bytes, size_t len)
{
    static char *pages;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = 2 * page;
    if (!pages) {
        pages = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(pages, MAP_FAILED);
        ck_assert_int_eq(mprotect(pages + room, page, PROT_NONE), 0);
    }
    ck_assert_uint_le(len, room);
    return memcpy(pages + room - len, bytes, len);
}

static ssize_t read_guarded(struct pi_proxy *out, const void *bytes, size_t len)
{
    return pi_proxy_read(out, at_guard(bytes, len), len);
}

/* A header is itself, wherever it is cut, and whatever follows; and what it lacks leads to its end
 * and never beyond. */
static void expect_header(struct pi_proxy *out, const void *bytes, size_t len)
{
    char more[8192];
    size_t steps = 0;
    for (size_t cut = 0; cut < len; cut++) {
        ssize_t n = read_guarded(out, bytes, cut);
        ck_assert_msg(n == 0, "cut at %zu: %zd", cut, n);
        size_t lacks = pi_proxy_lacks(at_guard(bytes, cut), cut);
        ck_assert_msg(lacks > 0 && cut + lacks <= len, "cut at %zu: lacks %zu", cut, lacks);
    }
    for (size_t at = 0; at < len; steps++)
        at += pi_proxy_lacks(bytes, at);
    ck_assert_uint_le(steps, 60);
    memcpy(more, bytes, len);
    memset(more + len, 'x', 100);
    ck_assert_int_eq(pi_proxy_read(out, more, len + 100), (ssize_t)len);
    ck_assert_int_eq(read_guarded(out, bytes, len), (ssize_t)len);
}

static void expect_text(struct pi_proxy *out, const char *text)
{
    expect_header(out, text, strlen(text));
}

static bool is_slice(const struct pi_proxy_end *end, const char *text)
{
    return end->text_len == strlen(text) && memcmp(end->text, text, end->text_len) == 0;
}

TEST(proxy_text_has_addresses_and_ports)
{
    struct pi_proxy p;
    expect_text(&p, "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n");
    ck_assert_int_eq(p.family, 4);
    ck_assert(is_slice(&p.source, "192.0.2.7") && is_slice(&p.target, "198.51.100.1"));
    ck_assert(p.source.port == 56324 && p.target.port == 443);
    expect_text(&p, "PROXY TCP6 2001:db8::7 ::1 0 65535\r\n");
    ck_assert_int_eq(p.family, 6);
    ck_assert(is_slice(&p.source, "2001:db8::7") && is_slice(&p.target, "::1"));
    ck_assert(p.source.port == 0 && p.target.port == 65535);
}

TEST(proxy_text_of_the_greatest_length_is_read_and_a_longer_one_is_not)
{
    struct pi_proxy p;
    char text[200];
    expect_text(&p, "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n");
    ck_assert_int_eq(p.family, 0);
    snprintf(text, sizeof text, "PROXY UNKNOWN %*s\r\n", PI_PROXY_TEXT_MAX - 16, "x");
    ck_assert_uint_eq(strlen(text), PI_PROXY_TEXT_MAX);
    expect_header(&p, text, strlen(text)); /* more steps than an address needs */
    snprintf(text, sizeof text, "PROXY UNKNOWN %*s\r\n", PI_PROXY_TEXT_MAX - 15, "x");
    ck_assert_int_eq(read_guarded(&p, text, strlen(text)), -EPROTO);
    ck_assert_int_eq(read_guarded(&p, text, PI_PROXY_TEXT_MAX), -EPROTO);
    expect_text(&p, "PROXY UNKNOWN\r\n");
    ck_assert_int_eq(p.family, 0);
}

static size_t block(char *out, const char *head, const void *rest, size_t len)
{
    memcpy(out, SIGNATURE, 12);
    memcpy(out + 12, head, 2);
    out[14] = (char)(len >> 8);
    out[15] = (char)len;
    memcpy(out + 16, rest, len);
    return 16 + len;
}

TEST(proxy_blocks_have_addresses_and_ports)
{
    struct pi_proxy p;
    char bytes[8192];
    const char in[] = "\300\0\2\7\306\63\144\1\334\4\1\273";
    const char in6[] = "\40\1\15\270\0\0\0\0\0\0\0\0\0\0\0\7"
                       "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\334\4\1\273";
    expect_header(&p, bytes, block(bytes, "\x21\x11", in, 12));
    ck_assert_int_eq(p.family, 4);
    ck_assert_ptr_null(p.source.text);
    ck_assert_int_eq(memcmp(p.source.ip, in, 4), 0);
    ck_assert_int_eq(memcmp(p.target.ip, in + 4, 4), 0);
    ck_assert(p.source.port == 56324 && p.target.port == 443);
    expect_header(&p, bytes, block(bytes, "\x21\x21", in6, 36));
    ck_assert_int_eq(p.family, 6);
    ck_assert_int_eq(memcmp(p.source.ip, in6, 16), 0);
    ck_assert_int_eq(memcmp(p.target.ip, in6 + 16, 16), 0);
    ck_assert(p.source.port == 56324 && p.target.port == 443);
}

TEST(proxy_blocks_may_have_more_than_addresses_or_none)
{
    struct pi_proxy p;
    static char rest[PI_PROXY_LEN_MAX];
    char bytes[8192];
    memset(rest, 7, sizeof rest);
    expect_header(&p, bytes, block(bytes, "\x21\x11", rest, 12 + 300));
    ck_assert_int_eq(p.family, 4);
    expect_header(&p, bytes, block(bytes, "\x21\x11", rest, PI_PROXY_LEN_MAX - 16));
    expect_header(&p, bytes, block(bytes, "\x20\x00", rest, 0));
    ck_assert_int_eq(p.family, 0);
    expect_header(&p, bytes, block(bytes, "\x20\x11", rest, 12)); /* LOCAL: not to be looked at */
    ck_assert_int_eq(p.family, 0);
    expect_header(&p, bytes, block(bytes, "\x21\x00", rest, 5));
    ck_assert_int_eq(p.family, 0);
    expect_header(&p, bytes, block(bytes, "\x21\x31", rest, 216));
    ck_assert_int_eq(p.family, 0);
}

TEST(proxy_text_that_is_no_header_is_refused)
{
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n",
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.2.3.4\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n",
        "PROXY TCP4 1.2.3.4  1.2.3.4 1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 -1 1\r\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\n",
        "PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\r\n",
        "PROXY TCP4 1.2.3.4\r1.2.3.4 1 1\r\n",
        "PROXY TCP6 1111:1111:1111:1111:1111:1111:1111:11111 ::1 1 1\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct pi_proxy p;
        ck_assert_msg(read_guarded(&p, bad[i], strlen(bad[i])) == -EPROTO, "%s", bad[i]);
        ck_assert_int_eq(p.family, 0);
    }
    struct pi_proxy p;
    ck_assert_int_eq(read_guarded(&p, "PROXY UNKNOWN \0\r\n", 17), -EPROTO);
    ck_assert_int_eq(read_guarded(&p, "PRX", 3), -EPROTO); /* at once, not when all has come */
    ck_assert_int_eq(read_guarded(&p, "\r\n\r\nx", 5), -EPROTO);
}

TEST(proxy_blocks_that_are_no_header_are_refused)
{
    struct pi_proxy p;
    static char rest[8000];
    char bytes[8192];
    static const char heads[][3] = { "\x11\x11", "\x22\x11", "\x2f\x11", "\x31\x11", "\x21\x12",
                                     "\x21\x22", "\x21\x32", "\x21\x13", "\x21\x41", "\x21\xff" };
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
        ck_assert_int_eq(read_guarded(&p, bytes, block(bytes, heads[i], rest, 300)), -EPROTO);
    ck_assert_int_eq(read_guarded(&p, bytes, block(bytes, "\x21\x11", rest, 11)), -EPROTO);
    ck_assert_int_eq(read_guarded(&p, bytes, block(bytes, "\x21\x21", rest, 35)), -EPROTO);
    ck_assert_int_eq(read_guarded(&p, bytes, block(bytes, "\x21\x31", rest, 215)), -EPROTO);
    block(bytes, "\x21\x11", rest, PI_PROXY_LEN_MAX - 15);
    ck_assert_int_eq(read_guarded(&p, bytes, 16), -EPROTO); /* at once */
}

HARNESS_MAIN("net_proxy_wire")
