/* SPDX-License-Identifier: MIT */
/* net_url: what an endpoint URL means, or the words of what is wrong with it. */
#include "harness.h"

#include "net/url.h"

enum { LISTENING, DIALLING };

/* ---- what is understood ---- */

static const struct {
    const char *text;
    enum pi_scheme scheme;
    const char *host;
    int port;
    bool is_literal;
    const char *formatted; /* NULL: as text */
} good[] = {
    { "tcp://127.0.0.1:8888", PI_TCP, "127.0.0.1", 8888, true, NULL },
    { "tcp://localhost:1", PI_TCP, "localhost", 1, false, NULL },
    { "tcp://:8888", PI_TCP, "", 8888, false, NULL },
    { "tcp://0.0.0.0:65535", PI_TCP, "0.0.0.0", 65535, true, NULL },
    { "tcp://[::1]:80", PI_TCP, "::1", 80, true, NULL },
    { "tcp://[::]:80", PI_TCP, "::", 80, true, NULL },
    { "tcp://[fe80::1%eth0]:80", PI_TCP, "fe80::1%eth0", 80, true, NULL },
    { "tcp://[fe80::1%enp0s31f6.100]:80", PI_TCP, "fe80::1%enp0s31f6.100", 80, true, NULL },
    { "tcp://[::ffff:1.2.3.4]:80", PI_TCP, "::ffff:1.2.3.4", 80, true, NULL },
    { "tcp://[2001:DB8::1]:80", PI_TCP, "2001:DB8::1", 80, true, NULL },
    { "TCP://Example.ORG:80", PI_TCP, "Example.ORG", 80, false, "tcp://Example.ORG:80" },
    { "tcp://a-b_c.example.:00080", PI_TCP, "a-b_c.example.", 80, false,
      "tcp://a-b_c.example.:80" },
    { "tcp://1and1.com:80", PI_TCP, "1and1.com", 80, false, NULL },
    { "tcp://1.2.3.4.example:80", PI_TCP, "1.2.3.4.example", 80, false, NULL },
    { "tcp://0x7f.example:80", PI_TCP, "0x7f.example", 80, false, NULL },
    { "tcp://0xyz:80", PI_TCP, "0xyz", 80, false, NULL },
    { "tcp://x:80", PI_TCP, "x", 80, false, NULL },
    { "tls://h:443", PI_TLS, "h", 443, false, NULL },
    { "udp://h:53", PI_UDP, "h", 53, false, NULL },
    { "http://h", PI_HTTP, "h", 80, false, "http://h:80" },
    { "http://h:8000", PI_HTTP, "h", 8000, false, NULL },
    { "https://[::1]", PI_HTTPS, "::1", 443, true, "https://[::1]:443" },
    { "https://h:1", PI_HTTPS, "h", 1, false, NULL },
};

TEST(url_understands_hosts_and_ports)
{
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct pi_url url;
        char text[PI_URL_TEXT_CAP];
        if (pi_url_parse(&url, good[i].text, DIALLING) != 0)
            ck_abort_msg("%s", pier_error());
        ck_assert_int_eq(url.scheme, good[i].scheme);
        ck_assert_str_eq(url.host, good[i].host);
        ck_assert_int_eq(url.port, good[i].port);
        ck_assert_int_eq(url.is_literal, good[i].is_literal);
        ck_assert_uint_eq(url.path_len, 0);
        pi_url_format(text, sizeof text, &url);
        ck_assert_str_eq(text, good[i].formatted ? good[i].formatted : good[i].text);
    }
}

static const struct {
    const char *text;
    const char *path; /* '@' for NUL */
} good_unix[] = {
    { "unix:///run/pier.sock", "/run/pier.sock" },
    { "unix:////x", "//x" },
    { "UNIX:///a b?c#d%20:@", "/a b?c#d%20:@" }, /* byte for byte */
    { "unix://@name", "@name" },
    { "unix://@/a/b", "@/a/b" },
    { "unix://@@", "@@" },
};

TEST(url_understands_paths_and_abstract_names)
{
    for (size_t i = 0; i < sizeof good_unix / sizeof good_unix[0]; i++) {
        struct pi_url url;
        char text[PI_URL_TEXT_CAP], want[PI_URL_TEXT_CAP];
        if (pi_url_parse(&url, good_unix[i].text, DIALLING) != 0)
            ck_abort_msg("%s", pier_error());
        ck_assert_int_eq(url.scheme, PI_UNIX);
        ck_assert_uint_eq(url.path_len, strlen(good_unix[i].path));
        ck_assert_int_eq(url.path[0], good_unix[i].path[0] == '@' ? '\0' : '/');
        ck_assert_mem_eq(url.path + 1, good_unix[i].path + 1, url.path_len - 1);
        snprintf(want, sizeof want, "unix://%s", good_unix[i].path);
        pi_url_format(text, sizeof text, &url);
        ck_assert_str_eq(text, want);
    }
}

/* ---- what is not ---- */

/* The words are: url "<text>": <reason>, with text escaped where shown is given. */
static const struct {
    const char *text, *reason, *shown;
} wrong[] = {
    /* the scheme */
    { "", "no scheme such as \"tcp://\" at the beginning", NULL },
    { "localhost:8888", "no scheme such as \"tcp://\" at the beginning", NULL },
    { "/run/x", "no scheme such as \"tcp://\" at the beginning", NULL },
    { "x/tcp://h:1", "no scheme such as \"tcp://\" at the beginning", NULL },
    { " tcp://h:1", "no scheme such as \"tcp://\" at the beginning", NULL },
    { "tcp//x", "no \"://\" after the scheme", NULL },
    { "tcp:/x:1", "no \"://\" after the scheme", NULL },
    { "tcp:x:1", "no \"://\" after the scheme", NULL },
    { "tcp", "no \"://\" after the scheme", NULL },
    { "://x:1", "no scheme before \"://\"", NULL },
    { "tpc://x:1", "unknown scheme \"tpc\" (there are tcp, unix, tls, udp, http, https)", NULL },
    { "tcps://x:1", "unknown scheme \"tcps\" (there are tcp, unix, tls, udp, http, https)", NULL },
    { "tc://x:1", "unknown scheme \"tc\" (there are tcp, unix, tls, udp, http, https)", NULL },
    /* the port */
    { "tcp://127.0.0.1:99999", "port 99999 is above 65535", NULL },
    { "tcp://h:65536", "port 65536 is above 65535", NULL },
    { "tcp://h:4294967297", "port 4294967297 is above 65535", NULL },
    { "tcp://h:18446744073709551617", "port 18446744073709551617 is above 65535", NULL },
    { "tcp://h:100000000000000000000000", "port 10000000000000000000... is above 65535", NULL },
    { "tcp://h", "no port at the end (\":8888\")", NULL },
    { "tcp://[::1]", "no port at the end (\":8888\")", NULL },
    { "tls://h", "no port at the end (\":8888\")", NULL },
    { "tcp://h:", "no port after the \":\"", NULL },
    { "http://h:", "no port after the \":\"", NULL },
    { "tcp://:", "no port after the \":\"", NULL },
    { "tcp://h:http", "the port \"http\" is not a number", NULL },
    { "tcp://h:-1", "the port \"-1\" is not a number", NULL },
    { "tcp://h:+1", "the port \"+1\" is not a number", NULL },
    { "tcp://h: 1", "the port \" 1\" is not a number", NULL },
    { "tcp://h:80/", "\"/\" after the port", NULL },
    { "tcp://h:80x", "\"x\" after the port", NULL },
    { "tcp://h:80?a=b", "\"?a=b\" after the port", NULL },
    { "tcp://h:80#f", "\"#f\" after the port", NULL },
    { "tcp://h:80\n", "\"\\n\" after the port", "tcp://h:80\\n" },
    /* the host */
    { "tcp://", "nothing after \"://\"", NULL },
    { "http://", "nothing after \"://\"", NULL },
    { "tcp://h/x", "\"/x\" after the host", NULL },
    { "http://h/", "\"/\" after the host", NULL },
    { "tcp://h?x:1", "\"?x:1\" after the host", NULL },
    { "tcp://[::1]x:80", "\"x:80\" after the host", NULL },
    { "tcp://[::1]/:80", "\"/:80\" after the host", NULL },
    { "tcp://ho st:80", "\" \" cannot be in a host", NULL },
    { "tcp://h%41:80", "\"%\" cannot be in a host", NULL },
    { "tcp://h[:80", "\"[\" cannot be in a host", NULL },
    { "tcp://*:80", "\"*\" cannot be in a host", NULL },
    { "tcp://\x1b[2J:80", "\"\\x1b\" cannot be in a host", "tcp://\\x1b[2J:80" },
    { "tcp://b\xff:80", "\"\\xff\" cannot be in a host", "tcp://b\\xff:80" },
    { "tcp://bü_\u202echer:80",
      "the host \"bü_\\xe2\\x80\\xaecher\": no name by the rules of UTS 46",
      "tcp://bü_\\xe2\\x80\\xaecher:80" },
    { "tcp://a..b:80", "an empty label in the host \"a..b\"", NULL },
    { "tcp://.a:80", "an empty label in the host \".a\"", NULL },
    { "tcp://.:80", "an empty label in the host \".\"", NULL },
    { "tcp://256.1.1.1:80", "\"256.1.1.1\" is not an IPv4 address", NULL },
    { "tcp://127.1:80", "\"127.1\" is not an IPv4 address", NULL },
    { "tcp://127.0.0.01:80", "\"127.0.0.01\" is not an IPv4 address", NULL },
    { "tcp://127.0.0.1.:80", "\"127.0.0.1.\" is not an IPv4 address", NULL },
    { "tcp://2130706433:80", "\"2130706433\" is not an IPv4 address", NULL },
    { "tcp://0x7f000001:80", "\"0x7f000001\" is not an IPv4 address", NULL },
    { "tcp://a.0X:80", "\"a.0X\" is not an IPv4 address", NULL },
    { "tcp://a.1:80", "\"a.1\" is not an IPv4 address", NULL },
    { "tcp://::1:80", "more than one \":\" in \"::1:80\"; an IPv6 address stands in brackets",
      NULL },
    { "tcp://h:1:2", "more than one \":\" in \"h:1:2\"; an IPv6 address stands in brackets", NULL },
    { "tcp://[::1:80", "\"[\" without a \"]\"", NULL },
    { "tcp://[", "\"[\" without a \"]\"", NULL },
    { "tcp://[]:80", "\"\" is not an IPv6 address", NULL },
    { "tcp://[::g]:80", "\"::g\" is not an IPv6 address", NULL },
    { "tcp://[127.0.0.1]:80", "\"127.0.0.1\" is not an IPv6 address", NULL },
    { "tcp://[h]:80", "\"h\" is not an IPv6 address", NULL },
    { "tcp://[1111:1111:1111:1111:1111:1111:1111:1111:1111:1111]:80",
      "\"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111\" is not an IPv6 address", NULL },
    { "tcp://[fe80::1%]:80", "the zone after \"%\" is empty", NULL },
    { "tcp://[%eth0]:80", "\"\" is not an IPv6 address", NULL },
    { "tcp://[fe80::1%0123456789abcdef]:80",
      "the zone \"0123456789abcdef\" is longer than 15 bytes", NULL },
    { "tcp://[fe80::1%a/b]:80", "\"/\" cannot be in a zone", NULL },
    { "tcp://[fe80::1%a%b]:80", "\"%\" cannot be in a zone", NULL },
    { "tcp://[fe80::1%a b]:80", "\" \" cannot be in a zone", NULL },
    /* the path */
    { "unix://", "the path is empty", NULL },
    { "unix://@", "the name after \"@\" is empty", NULL },
    { "unix://run/x",
      "the path \"run/x\" does not begin with \"/\" (or \"@\", for an abstract name)", NULL },
};

TEST(url_says_what_is_wrong)
{
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct pi_url url;
        char want[512];
        const char *shown = wrong[i].shown ? wrong[i].shown : wrong[i].text;
        snprintf(want, sizeof want, "url \"%s\": %s", shown, wrong[i].reason);
        ck_assert_int_eq(pi_url_parse(&url, wrong[i].text, LISTENING), PIER_EURL);
        ck_assert_str_eq(pier_error(), want);
        ck_assert_int_eq(pier_exit_code(), 2);
    }
}

TEST(url_of_an_international_name_has_its_ascii_form)
{
    struct pi_url url;
    ck_assert_int_eq(pi_url_parse(&url, "tcp://B\u00dccher.example:80", LISTENING), 0);
    ck_assert_str_eq(url.host, "xn--bcher-kva.example");
    ck_assert_int_eq(pi_url_parse(&url, "tcp://fa\u00df.de:80", LISTENING), 0);
    ck_assert_str_eq(url.host, "xn--fa-hia.de"); /* not fass.de: non-transitional */
    ck_assert_int_eq(pi_url_parse(&url, "tcp://127\u30020\u30020\u30021:80", LISTENING), 0);
    ck_assert(url.is_literal); /* ideographic full stops are dots */
}

static void expect_words(const char *text, int dialling, const char *words)
{
    struct pi_url url;
    ck_assert_int_eq(pi_url_parse(&url, text, dialling), PIER_EURL);
    ck_assert_str_eq(pier_error(), words);
}

TEST(url_port_0_is_for_listening)
{
    struct pi_url url;
    ck_assert_int_eq(pi_url_parse(&url, "tcp://h:0", LISTENING), 0);
    ck_assert_int_eq(url.port, 0);
    expect_words("tcp://h:0", DIALLING, "url \"tcp://h:0\": port 0 cannot be dialled");
    expect_words("tcp://h:000", DIALLING, "url \"tcp://h:000\": port 0 cannot be dialled");
}

TEST(url_passwords_are_not_repeated)
{
    expect_words("tcp://me:secret@h:1", DIALLING,
                 "url \"tcp://...@h:1\": a user before the host is not allowed");
    expect_words("tcp://me:se@cr/et@h:1", DIALLING,
                 "url \"tcp://...@h:1\": a user before the host is not allowed");
}

TEST(url_null_is_no_url)
{
    expect_words(NULL, LISTENING, "url: none given");
}

/* ---- lengths ---- */

static int parse_long(struct pi_url *url, const char *head, const char *fill, size_t len,
                      const char *tail)
{
    char *text = malloc(strlen(head) + len + strlen(tail) + 1);
    char *p = stpcpy(text, head);
    for (size_t i = 0; i < len; i++)
        *p++ = fill[i % strlen(fill)];
    strcpy(p, tail);
    int rc = pi_url_parse(url, text, DIALLING);
    free(text);
    return rc;
}

static const char label[] = "a23456789012345678901234567890123456789012345678901234567890123.";

TEST(url_hosts_end_where_dns_ends)
{
    struct pi_url url;
    ck_assert_int_eq(parse_long(&url, "tcp://", "a", 63, ":1"), 0);
    ck_assert_int_eq(parse_long(&url, "tcp://", "a", 64, ":1"), PIER_EURL);
    ck_assert_ptr_nonnull(strstr(pier_error(), "a label of more than 63 bytes in the host"));

    ck_assert_int_eq(parse_long(&url, "tcp://", label, 253, ":1"), 0);
    ck_assert_uint_eq(strlen(url.host), 253);
    ck_assert_int_eq(parse_long(&url, "tcp://", label, 253, ".:1"), 0);
    ck_assert_int_eq(parse_long(&url, "tcp://", label, 254, ":1"), PIER_EURL);
    ck_assert_ptr_nonnull(strstr(pier_error(), "is longer than 253 bytes"));
    ck_assert_int_eq(parse_long(&url, "tcp://", label, 100000, ":1"), PIER_EURL);
}

TEST(url_paths_end_where_sun_path_ends)
{
    struct pi_url url;
    char text[PI_URL_TEXT_CAP];
    ck_assert_int_eq(parse_long(&url, "unix:///", "a", 106, ""), 0);
    ck_assert_uint_eq(url.path_len, 107);
    ck_assert_int_eq(url.path[107], '\0');
    ck_assert_int_eq(parse_long(&url, "unix:///", "a", 107, ""), PIER_EURL);
    ck_assert_ptr_nonnull(strstr(pier_error(), "\": the path has 108 bytes, 107 are the most"));

    ck_assert_int_eq(parse_long(&url, "unix://@", "a", 107, ""), 0);
    ck_assert_uint_eq(url.path_len, 108);
    pi_url_format(text, sizeof text, &url);
    ck_assert_uint_eq(strlen(text), strlen("unix://") + 108);
    ck_assert_int_eq(parse_long(&url, "unix://@", "a", 108, ""), PIER_EURL);
}

/* However long the URL, the reason is there. */
TEST(url_words_are_whole_for_a_long_url)
{
    struct pi_url url;
    ck_assert_int_eq(parse_long(&url, "tcp://h:80", "\x01", 100000, ""), PIER_EURL);
    ck_assert_ptr_nonnull(strstr(pier_error(), "...\": \"\\x01"));
    ck_assert_ptr_nonnull(strstr(pier_error(), "...\" after the port"));
    ck_assert_int_eq(parse_long(&url, "", "x", 100000, "://h:1"), PIER_EURL);
    ck_assert_ptr_nonnull(strstr(pier_error(), "(there are tcp, unix, tls, udp, http, https)"));
}

TEST(url_format_is_cut_to_its_room)
{
    struct pi_url url;
    char text[8];
    ck_assert_int_eq(pi_url_parse(&url, "tcp://localhost:1", DIALLING), 0);
    pi_url_format(text, sizeof text, &url);
    ck_assert_str_eq(text, "tcp://l");
}

TEST(url_format_shows_sockets_that_no_url_named)
{
    char text[PI_URL_TEXT_CAP];
    struct pi_url nameless = { .scheme = PI_UNIX };
    pi_url_format(text, sizeof text, &nameless);
    ck_assert_str_eq(text, "unix://");
    struct pi_url nuls = { .scheme = PI_UNIX, .path = "\0a\0b", .path_len = 4 };
    pi_url_format(text, sizeof text, &nuls);
    ck_assert_str_eq(text, "unix://@a@b");
}

/* Whatever bytes: no crash, and what is understood survives being written and read again. */
TEST(url_survives_any_bytes)
{
    static const char alphabet[] = "tcp://unix:@[]%.01289afx:/?#-\xff\x01 ";
    uint64_t state = 1;
    int understood = 0;
    for (int i = 0; i < 500000; i++) {
        char bytes[24] = "tcp://";
        size_t from = i % 4 == 0 ? 0 : 6;
        size_t len = from + (size_t)i % (sizeof bytes - from);
        for (size_t at = from; at < len; at++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            bytes[at] = alphabet[(state >> 33) % (sizeof alphabet - 1)];
        }
        bytes[len] = '\0';
        struct pi_url a, b;
        char text[PI_URL_TEXT_CAP];
        if (pi_url_parse(&a, bytes, LISTENING) != 0)
            continue;
        understood++;
        pi_url_format(text, sizeof text, &a);
        if (pi_url_parse(&b, text, LISTENING) != 0 || strcmp(a.host, b.host) || a.port != b.port)
            ck_abort_msg("%s became %s", bytes, text);
    }
    ck_assert_int_gt(understood, 100);
}

HARNESS_MAIN("net_url")
