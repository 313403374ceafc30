/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_addr: addresses of URLs, their order, and their texts. getaddrinfo() is put in its place, so
 * that names have the addresses that a test gives them and nothing is looked up.
 */
#include "both.h"

#include "net/addr.h"
#include "net_names.h"

#include <net/if.h>

/* ---- helpers ---- */

static int resolve(struct pi_addr *out, const char *text, bool passive)
{
    struct pi_url url;
    ck_assert_msg(pi_url_parse(&url, text, false) == 0, "%s", pier_error());
    return pi_addr_resolve(out, &url, passive, 0, "look");
}

/* All of them, in order, with spaces in between. */
static const char *texts_of(const char *url, bool passive)
{
    static char all[4096];
    struct pi_addr addrs[PI_ADDRS_MAX];
    int count = resolve(addrs, url, passive);
    all[0] = '\0';
    for (int i = 0; i < count; i++) {
        char text[PI_ADDR_TEXT_CAP];
        strcat(all, i ? " " : "");
        strcat(all, pi_addr_format(text, sizeof text, &addrs[i]));
    }
    return count < 0 ? pier_error() : all;
}

/* ---- what is not looked up ---- */

BOTH(addr_of_a_literal_is_itself)
{
    ck_assert_str_eq(texts_of("tcp://127.0.0.1:80", false), "127.0.0.1:80");
    ck_assert_str_eq(texts_of("tcp://[::1]:80", false), "[::1]:80");
    ck_assert_str_eq(texts_of("tcp://[2001:db8:0:0::1]:65535", false), "[2001:db8::1]:65535");
    ck_assert_str_eq(texts_of("tcp://0.0.0.0:0", true), "0.0.0.0:0");
}

BOTH(addr_of_localhost_is_never_looked_up)
{
    names_set(NULL, 0, EAI_FAIL);
    const char *both = "[::1]:7 127.0.0.1:7";
    ck_assert_str_eq(texts_of("tcp://localhost:7", false), both);
    ck_assert_str_eq(texts_of("tcp://LocalHost.:7", false), both);
    ck_assert_str_eq(texts_of("tcp://a.b.localhost:7", false), both);
    ck_assert_str_eq(texts_of("tcp://localhost:7", true), both);
    ck_assert_int_eq(names_asked(), 0);
}

BOTH(addr_of_a_name_that_only_ends_like_localhost_is_looked_up)
{
    names_set(NULL, 0, EAI_NONAME);
    struct pi_addr addrs[PI_ADDRS_MAX];
    ck_assert_int_eq(resolve(addrs, "tcp://notlocalhost:7", false), PIER_ERESOLVE);
    ck_assert_int_eq(resolve(addrs, "tcp://localhost.example:7", false), PIER_ERESOLVE);
    ck_assert_int_eq(names_asked(), 2);
}

BOTH(addr_of_an_empty_host_is_every_one_to_listen_and_localhost_to_dial)
{
    ck_assert_str_eq(texts_of("tcp://:7", true), "[::]:7 0.0.0.0:7");
    ck_assert_str_eq(texts_of("tcp://:7", false), "[::1]:7 127.0.0.1:7");
}

BOTH(addr_of_a_unix_url_is_its_path)
{
    struct pi_addr addr[PI_ADDRS_MAX];
    ck_assert_str_eq(texts_of("unix:///run/a b", false), "/run/a b");
    ck_assert_str_eq(texts_of("unix://@name", false), "@name");
    ck_assert_int_eq(resolve(addr, "unix:///run/a", false), 1);
    ck_assert_uint_eq(addr->len, offsetof(struct sockaddr_un, sun_path) + 7);
    ck_assert_int_eq(resolve(addr, "unix://@name", false), 1);
    ck_assert_uint_eq(addr->len, offsetof(struct sockaddr_un, sun_path) + 5);
}

/* ---- names ---- */

BOTH(addr_order_alternates_families_and_keeps_the_first_ones_lead)
{
    const char *six_first[] = { "::1", "::2", "::3", "127.0.0.1", "127.0.0.2" };
    names_set(six_first, 5, 0);
    ck_assert_str_eq(texts_of("tcp://host:9", false),
                     "[::1]:9 127.0.0.1:9 [::2]:9 127.0.0.2:9 [::3]:9");
    const char *four_first[] = { "127.0.0.1", "127.0.0.2", "::1" };
    names_set(four_first, 3, 0);
    ck_assert_str_eq(texts_of("tcp://host:9", false), "127.0.0.1:9 [::1]:9 127.0.0.2:9");
    const char *one_family[] = { "127.0.0.3", "127.0.0.1", "127.0.0.2" };
    names_set(one_family, 3, 0);
    ck_assert_str_eq(texts_of("tcp://host:9", false), "127.0.0.3:9 127.0.0.1:9 127.0.0.2:9");
}

BOTH(addr_order_leaves_out_what_is_beyond_sixteen)
{
    const char *many[20];
    struct pi_addr addrs[PI_ADDRS_MAX];
    for (int i = 0; i < 20; i++)
        many[i] = i % 5 ? "127.0.0.1" : "::1";
    names_set(many, 20, 0);
    ck_assert_int_eq(resolve(addrs, "tcp://host:9", false), PI_ADDRS_MAX);
    for (int i = 0; i < 8; i++) /* four of the sixteen */
        ck_assert_int_eq(addrs[i].any.sa_family, i % 2 ? AF_INET : AF_INET6);
}

BOTH(addr_of_a_name_fails_with_words)
{
    names_set(NULL, 0, EAI_NONAME);
    ck_assert_str_eq(texts_of("tcp://host:9", false), "look: unknown name");
    ck_assert_int_eq(pier_error_code(), PIER_ERESOLVE);
    ck_assert_int_eq(pier_exit_code(), 3);
    names_set(NULL, 0, EAI_AGAIN);
    ck_assert_str_eq(texts_of("tcp://host:9", false), "look: temporary failure in name resolution");
    ck_assert_int_eq(pier_error_code(), PIER_ERESOLVE);
    names_set(NULL, 0, EAI_MEMORY);
    texts_of("tcp://host:9", false);
    ck_assert_int_eq(pier_error_code(), -ENOMEM);
    names_set(NULL, 0, 0); /* an answer without addresses */
    texts_of("tcp://host:9", false);
    ck_assert_int_eq(pier_error_code(), PIER_ERESOLVE);
}

/* The answer comes later, to nobody. */
BOTH(addr_of_a_slow_name_ends_at_its_deadline)
{
    struct pi_url url;
    struct pi_addr addrs[PI_ADDRS_MAX];
    const char *one = "127.0.0.1";
    names_set(&one, 1, 0);
    names_hold(true);
    ck_assert_int_eq(pi_url_parse(&url, "tcp://host:9", true), 0);
    int64_t begin = pier_now();
    ck_assert_int_eq(pi_addr_resolve(addrs, &url, false, pier_after(30 * PIER_MILLISECOND), "look"),
                     -ETIMEDOUT);
    ck_assert_int_ge(ms_since(begin), 29);
    ck_assert_str_eq(pier_error(), "look: timed out");
    names_hold(false);
    ck_assert_str_eq(texts_of("tcp://host:9", false), "127.0.0.1:9");
}

long pi_alloc_fail(long countdown);

BOTH(addr_without_memory_fails)
{
    struct pi_addr addrs[PI_ADDRS_MAX];
    const char *one = "127.0.0.1";
    names_set(&one, 1, 0);
    int rc = -ENOMEM;
    for (long i = 1; rc < 0; i++) {
        ck_assert_int_lt(i, 20);
        pi_alloc_fail(i);
        rc = resolve(addrs, "tcp://host:9", false);
        pi_alloc_fail(0);
        ck_assert(rc == 1 || rc == -ENOMEM);
    }
}

/* ---- texts, ports, equality ---- */

TEST(addr_text_of_a_zone_is_its_interface)
{
    char text[PI_ADDR_TEXT_CAP];
    struct pi_addr addr = { .len = sizeof addr.in6 };
    addr.in6.sin6_family = AF_INET6;
    addr.in6.sin6_port = htons(5);
    inet_pton(AF_INET6, "fe80::1", &addr.in6.sin6_addr);
    addr.in6.sin6_scope_id = if_nametoindex("lo");
    ck_assert_str_eq(pi_addr_format(text, sizeof text, &addr),
                     addr.in6.sin6_scope_id ? "[fe80::1%lo]:5" : "[fe80::1]:5");
    addr.in6.sin6_scope_id = 0;
    ck_assert_str_eq(pi_addr_format(text, sizeof text, &addr), "[fe80::1]:5");
}

TEST(addr_text_of_unix_sockets_is_bounded_by_the_length)
{
    char text[PI_ADDR_TEXT_CAP];
    struct pi_addr addr = { .len = sizeof(sa_family_t) };
    addr.un.sun_family = AF_UNIX;
    ck_assert_str_eq(pi_addr_format(text, sizeof text, &addr), "unix");
    memset(&addr, 'x', sizeof addr); /* no NUL ends it */
    addr.un.sun_family = AF_UNIX;
    addr.len = sizeof addr.un;
    ck_assert_uint_eq(strlen(pi_addr_format(text, sizeof text, &addr)), 108);
    addr.un.sun_path[0] = '\0';
    addr.len = offsetof(struct sockaddr_un, sun_path) + 4;
    ck_assert_str_eq(pi_addr_format(text, sizeof text, &addr), "@xxx");
    addr.any.sa_family = AF_UNSPEC;
    ck_assert_str_eq(pi_addr_format(text, sizeof text, &addr), "?");
}

static struct pi_addr addr_of(const char *url)
{
    struct pi_addr addrs[PI_ADDRS_MAX];
    ck_assert_int_ge(resolve(addrs, url, false), 1);
    return addrs[0];
}

TEST(addr_port_can_be_read_and_set_where_there_is_one)
{
    struct pi_addr four = addr_of("tcp://127.0.0.1:65535"), six = addr_of("tcp://[::1]:1");
    struct pi_addr path = addr_of("unix:///a");
    ck_assert_int_eq(pi_addr_port(&four), 65535);
    ck_assert_int_eq(pi_addr_port(&six), 1);
    ck_assert_int_eq(pi_addr_port(&path), 0);
    pi_addr_set_port(&four, 2);
    pi_addr_set_port(&six, 65534);
    pi_addr_set_port(&path, 3);
    ck_assert_int_eq(pi_addr_port(&four), 2);
    ck_assert_int_eq(pi_addr_port(&six), 65534);
    ck_assert(pi_addr_equal(&path, &(struct pi_addr){ .un = path.un, .len = path.len }));
}

TEST(addr_equality_is_family_host_and_port)
{
    static const char *const urls[] = {
        "tcp://127.0.0.1:1", "tcp://127.0.0.1:2", "tcp://127.0.0.2:1", "tcp://[::1]:1",
        "tcp://[::2]:1",     "tcp://[::1]:2",     "unix:///a",         "unix:///b",
        "unix:///ab",        "unix://@a",
    };
    enum { COUNT = sizeof urls / sizeof urls[0] };
    for (int i = 0; i < COUNT; i++)
        for (int k = 0; k < COUNT; k++) {
            struct pi_addr a = addr_of(urls[i]), b = addr_of(urls[k]);
            ck_assert_msg(pi_addr_equal(&a, &b) == (i == k), "%s %s", urls[i], urls[k]);
        }
}

HARNESS_MAIN("net_addr")
