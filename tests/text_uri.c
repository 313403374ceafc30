/* SPDX-License-Identifier: MIT */
/* text_uri: parts, refusals, the normal form, and the references of RFC 3986, 5.4. */
#include "guarded.h"

#include <pier/text.h>

static struct pier_uri u;
static char out[1024];

static int parse(const char *text)
{
    size_t len = strlen(text);
    return pier_uri_parse(&u, guarded(text, len), len);
}

/* "scheme|userinfo|host|port|path|query|fragment", "-" for what is not there. */
static const char *parts(const char *text)
{
    if (parse(text) < 0)
        return pier_error();
    const struct pier_slice all[] = { u.scheme, u.userinfo, u.host,    u.port,
                                      u.path,   u.query,    u.fragment };
    size_t used = 0;
    for (int i = 0; i < 7; i++) {
        int len = all[i].ptr ? (int)all[i].len : 1;
        used += (size_t)snprintf(out + used, sizeof out - used, "%s%.*s", i ? "|" : "", len,
                                 all[i].ptr ? all[i].ptr : "-");
    }
    return out;
}

TEST(uri_is_taken_apart)
{
    ck_assert_str_eq(parts("http://me:x@example.com:8042/over/there?name=ferret#nose"),
                     "http|me:x|example.com|8042|/over/there|name=ferret|nose");
    ck_assert_str_eq(parts("urn:example:animal"), "urn|-|-|-|example:animal|-|-");
    ck_assert_str_eq(parts(""), "-|-|-|-||-|-");
    ck_assert_str_eq(parts("//host"), "-|-|host|-||-|-");
    ck_assert_str_eq(parts("/a:b?#"), "-|-|-|-|/a:b||");
    ck_assert_str_eq(parts("http://@:/"), "http||||/|-|-");
    ck_assert_str_eq(parts("http://[::1]:80"), "http|-|[::1]|80||-|-");
    ck_assert_str_eq(parts("http://[fe80::1%25eth0]/"), "http|-|[fe80::1%25eth0]|-|/|-|-");
    ck_assert_str_eq(parts("file:///etc/passwd"), "file|-||-|/etc/passwd|-|-");
    ck_assert_str_eq(parts("?a/b?c"), "-|-|-|-||a/b?c|-");
    ck_assert_str_eq(parts("a%20b%2f"), "-|-|-|-|a%20b%2f|-|-");
}

TEST(uri_refusals_say_why)
{
    ck_assert_str_eq(parts("1a:b"), "uri \"1a:b\": what is before the first \":\" is not a scheme");
    ck_assert_str_eq(parts(":b"), "uri \":b\": what is before the first \":\" is not a scheme");
    ck_assert_str_eq(parts("/a b"), "uri \"/a b\": \" \" cannot be in the path");
    ck_assert_str_eq(parts("/a%2"), "uri \"/a%2\": \"%\" without two hexadecimal digits");
    ck_assert_str_eq(parts("/?\x01"), "uri \"/?\\x01\": \"\\x01\" cannot be in the query");
    ck_assert_str_eq(parts("/#\xc3\xa9"), "uri \"/#é\": \"\\xc3\" cannot be in the fragment");
    ck_assert_str_eq(parts("//a@b@c"), "uri \"//a@b@c\": \"@\" cannot be in the host");
    ck_assert_str_eq(parts("//[::1"), "uri \"//[::1\": \"[\" without a \"]\"");
    ck_assert_str_eq(parts("//[::1]x"),
                     "uri \"//[::1]x\": \"x\" cannot be in the authority behind the \"]\"");
    ck_assert_str_eq(parts("//[1.2.3.4]"),
                     "uri \"//[1.2.3.4]\": what is in brackets is not an IPv6 address");
    ck_assert_str_eq(parts("//[fe80::1%eth0]"),
                     "uri \"//[fe80::1%eth0]\": what is in brackets is not an IPv6 address");
    ck_assert_str_eq(parts("//a:8x"), "uri \"//a:8x\": \"x\" cannot be in the port");
    ck_assert_str_eq(parts("//a:65536"), "uri \"//a:65536\": the port is above 65535");
    ck_assert_int_eq(pier_error_code(), PIER_EURL);
    ck_assert_int_eq(pier_uri_parse(&u, "a\0b", 3), PIER_EURL);
}

TEST(uri_port_is_the_one_given_or_the_schemes)
{
    static const struct {
        const char *text;
        int port;
    } cases[] = { { "http://a", 80 },       { "HTTPS://a:", 443 }, { "https://a:8443", 8443 },
                  { "ftp://a", -1 },        { "//a:0", 0 },        { "/a", -1 },
                  { "//a:00000000080", 80 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_int_eq(parse(cases[i].text), 0);
        ck_assert_int_eq(pier_uri_port(&u), cases[i].port);
    }
}

static const char *normal(const char *text)
{
    ck_assert_int_eq(parse(text), 0);
    ck_assert_int_eq(pier_uri_format(out, sizeof out, &u), (ssize_t)strlen(out));
    return out;
}

TEST(uri_has_a_normal_form)
{
    ck_assert_str_eq(normal("HTTP://Example.COM:80"), "http://example.com/");
    ck_assert_str_eq(normal("https://a:443/"), "https://a/");
    ck_assert_str_eq(normal("https://a:80/"), "https://a:80/");
    ck_assert_str_eq(normal("http://a:/%7euser/%2f%c3"), "http://a/~user/%2F%C3");
    ck_assert_str_eq(normal("http://U%41@a/b/./c/../d/..?x=../y#../z"),
                     "http://UA@a/b/?x=../y#../z");
    ck_assert_str_eq(normal("http://a/%2e%2E/b"), "http://a/b");
    ck_assert_str_eq(normal("http://a//b///../c"), "http://a//b//c");
    ck_assert_str_eq(normal("../a/./b"), "../a/./b");
    ck_assert_str_eq(normal("/a/../../b/."), "/b/");
    ck_assert_str_eq(normal("urn:Example:A%61"), "urn:Example:Aa");
    ck_assert_str_eq(normal("x:/.//a"), "x:/.//a"); /* "x://a" would be a host */
    ck_assert_str_eq(normal("?q"), "?q");
    ck_assert_str_eq(normal(""), "");
}

/* RFC 3986, 5.4.1 and 5.4.2. */
TEST(uri_references_resolve_as_in_the_rfc)
{
    static const char *const cases[][2] = {
        { "g:h", "g:h" },
        { "g", "http://a/b/c/g" },
        { "./g", "http://a/b/c/g" },
        { "g/", "http://a/b/c/g/" },
        { "/g", "http://a/g" },
        { "//g", "http://g/" }, /* normal form: "http://g" */
        { "?y", "http://a/b/c/d;p?y" },
        { "g?y", "http://a/b/c/g?y" },
        { "#s", "http://a/b/c/d;p?q#s" },
        { "g#s", "http://a/b/c/g#s" },
        { "g?y#s", "http://a/b/c/g?y#s" },
        { ";x", "http://a/b/c/;x" },
        { "g;x", "http://a/b/c/g;x" },
        { "g;x?y#s", "http://a/b/c/g;x?y#s" },
        { "", "http://a/b/c/d;p?q" },
        { ".", "http://a/b/c/" },
        { "./", "http://a/b/c/" },
        { "..", "http://a/b/" },
        { "../", "http://a/b/" },
        { "../g", "http://a/b/g" },
        { "../..", "http://a/" },
        { "../../", "http://a/" },
        { "../../g", "http://a/g" },
        { "../../../g", "http://a/g" },
        { "../../../../g", "http://a/g" },
        { "/./g", "http://a/g" },
        { "/../g", "http://a/g" },
        { "g.", "http://a/b/c/g." },
        { ".g", "http://a/b/c/.g" },
        { "g..", "http://a/b/c/g.." },
        { "..g", "http://a/b/c/..g" },
        { "./../g", "http://a/b/g" },
        { "./g/.", "http://a/b/c/g/" },
        { "g/./h", "http://a/b/c/g/h" },
        { "g/../h", "http://a/b/c/h" },
        { "g;x=1/./y", "http://a/b/c/g;x=1/y" },
        { "g;x=1/../y", "http://a/b/c/y" },
        { "g?y/./x", "http://a/b/c/g?y/./x" },
        { "g?y/../x", "http://a/b/c/g?y/../x" },
        { "g#s/./x", "http://a/b/c/g#s/./x" },
        { "g#s/../x", "http://a/b/c/g#s/../x" },
        { "http:g", "http:g" },
    };
    static const char base_text[] = "http://a/b/c/d;p?q";
    struct pier_uri base;
    ck_assert_int_eq(pier_uri_parse(&base, base_text, strlen(base_text)), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ck_assert_int_eq(parse(cases[i][0]), 0);
        ck_assert_int_ge(pier_uri_resolve(out, sizeof out, &base, &u), 0);
        if (strcmp(out, cases[i][1]) != 0)
            ck_abort_msg("\"%s\": %s, not %s", cases[i][0], out, cases[i][1]);
    }
}

TEST(uri_resolves_against_an_empty_path_and_a_user)
{
    struct pier_uri base;
    ck_assert_int_eq(pier_uri_parse(&base, "http://me@a:81", 14), 0);
    ck_assert_int_eq(parse("b"), 0);
    ck_assert_int_eq(pier_uri_resolve(out, sizeof out, &base, &u), 16);
    ck_assert_str_eq(out, "http://me@a:81/b");
}

TEST(uri_says_when_there_is_no_room)
{
    struct pier_uri base;
    ck_assert_int_eq(pier_uri_parse(&base, "http://a/b/c?d", 14), 0);
    ck_assert_int_eq(parse("../x/./y/../z?q#f"), 0);
    ssize_t len = pier_uri_resolve(out, sizeof out, &base, &u);
    ck_assert_str_eq(out, "http://a/x/z?q#f");
    size_t most = strlen("http://a/b/../x/./y/../z?q#f");
    for (size_t cap = 0; cap <= most; cap++) {
        char *small = malloc(cap ? cap : 1);
        ssize_t n = pier_uri_resolve(small, cap, &base, &u);
        ck_assert(n == len || n == -ENOSPC);
        ck_assert(n == -ENOSPC || cap > (size_t)len);
        free(small);
    }
}

HARNESS_MAIN("text_uri")
