/* SPDX-License-Identifier: MIT */
/*
 * http_forwarded: what proxies say of a request, as bytes: Forwarded, addresses with and without
 * ports, traceparent, ids.
 */
#include "guarded.h"
#include "harness.h"

#include "http/forwarded_wire.h"

static struct pi_part part(const char *text)
{
    return (struct pi_part){ guarded(text, strlen(text)), strlen(text) };
}

static const char *text_of(struct pi_part p)
{
    static char texts[4][128];
    static int next;
    char *out = texts[next++ % 4];
    snprintf(out, sizeof texts[0], "%.*s", (int)p.len, p.at ? p.at : "");
    return p.at ? out : "-";
}

/* "for proto host", "-" for what is not said; "bad". */
static const char *forwarded(const char *text)
{
    static char got[256];
    struct pi_forwarded f;
    if (!pi_forwarded_read(&f, part(text)))
        return "bad";
    snprintf(got, sizeof got, "%s %s %s", text_of(f.by_for), text_of(f.proto), text_of(f.host));
    return got;
}

TEST(forwarded_says_who_how_and_where_to)
{
    ck_assert_str_eq(forwarded("for=192.0.2.7;proto=https;host=a.b"), "192.0.2.7 https a.b");
    ck_assert_str_eq(forwarded("For=\"[2001:db8::7]:4711\""), "[2001:db8::7]:4711 - -");
    ck_assert_str_eq(forwarded("by=x ; PROTO=http"), "- http -");
    ck_assert_str_eq(forwarded("host=\"a.b:8\";for=_hidden"), "_hidden - a.b:8");
    ck_assert_str_eq(forwarded("for=\"a\\\"b\""), "- - -");
}

TEST(forwarded_that_is_odd_says_nothing)
{
    static const char *const odd[] = { "",        "for",        "for=",         "=a",
                                       "for=a;",  "for=a b",    "for=\"a",      "for=\"a\\",
                                       "for=a,b", "for=a;;a=b", "for=a;For=b",  "for =a",
                                       ";for=a",  "for=\"a\"b", "for=[::1]:80", "for=\"\\" };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        ck_assert_msg(strcmp(forwarded(odd[i]), "bad") == 0, "%s: %s", odd[i], forwarded(odd[i]));
}

TEST(forwarded_ends_where_its_field_ends)
{
    static const char text[] = "for=\"[::1]:80\" ; proto=https;host=\"a\\\"b\"";
    for (size_t len = 0; len < sizeof text; len++) {
        struct pi_forwarded f;
        (void)pi_forwarded_read(&f, (struct pi_part){ guarded(text, len), len });
    }
}

static void expect_address(const char *text, const char *address)
{
    const char *got = text_of(pi_forwarded_address(part(text)));
    ck_assert_msg(strcmp(got, address) == 0, "%s: %s", text, got);
}

TEST(addresses_come_with_and_without_ports)
{
    expect_address("192.0.2.7", "192.0.2.7");
    expect_address("192.0.2.7:80", "192.0.2.7");
    expect_address("2001:db8::7", "2001:db8::7");
    expect_address("[2001:db8::7]", "2001:db8::7");
    expect_address("[2001:db8::7]:65535", "2001:db8::7");
    expect_address("192.0.2.7:", "-");
    expect_address("192.0.2.7:80x", "-");
    expect_address("[2001:db8::7", "-");
    expect_address("[2001:db8::7]80", "-");
    expect_address("[2001:db8::7]:", "-");
    expect_address("", "-");
}

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

static bool reads(const char *text)
{
    struct pi_part id;
    unsigned flags;
    return pi_traceparent_read(&id, &flags, part(text));
}

TEST(a_traceparent_has_a_trace_a_span_and_flags)
{
    struct pi_part id;
    unsigned flags;
    ck_assert(pi_traceparent_read(&id, &flags, part("00-" TRACE "-" SPAN "-03")));
    ck_assert_str_eq(text_of(id), TRACE);
    ck_assert_uint_eq(flags, 3);
    ck_assert(reads("cc-" TRACE "-" SPAN "-01-what-comes-later"));
    ck_assert(reads("cc-" TRACE "-" SPAN "-01"));
}

TEST(a_traceparent_that_is_odd_is_none)
{
    ck_assert(!reads(""));
    ck_assert(!reads("00-" TRACE "-" SPAN "-0"));
    ck_assert(!reads("00-" TRACE "-" SPAN "-01-more"));
    ck_assert(!reads("cc-" TRACE "-" SPAN "-01more"));
    ck_assert(!reads("ff-" TRACE "-" SPAN "-01"));
    ck_assert(!reads("0x-" TRACE "-" SPAN "-01"));
    ck_assert(!reads("00-" TRACE "-" SPAN "-0G"));
    ck_assert(!reads("00_" TRACE "-" SPAN "-01"));
    ck_assert(!reads("00-0AF7651916cd43dd8448eb211c80319c-" SPAN "-01"));
    ck_assert(!reads("00-00000000000000000000000000000000-" SPAN "-01"));
    ck_assert(!reads("00-" TRACE "-0000000000000000-01"));
}

TEST(ids_of_requests_are_short_and_harmless)
{
    char longest[130];
    memset(longest, 'a', sizeof longest);
    ck_assert(pi_is_request_id("7f3a-B_c.~+/=:@", 15));
    ck_assert(pi_is_request_id(longest, 128));
    ck_assert(!pi_is_request_id(longest, 129));
    ck_assert(!pi_is_request_id("", 0));
    ck_assert(!pi_is_request_id("a b", 3));
    ck_assert(!pi_is_request_id("a\"b", 3));
    ck_assert(!pi_is_request_id("a\0b", 3));
}

HARNESS_MAIN("http_forwarded")
