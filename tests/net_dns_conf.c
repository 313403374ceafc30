/* SPDX-License-Identifier: MIT */
/*
 * net_dns_conf: what the files of resolver(5), nsswitch.conf(5) and gai.conf(5) are taken to say.
 */
#include "harness.h"

#include "net/dns_conf.h"

#include <stdarg.h>

static struct pi_dns_conf read_conf(const char *text)
{
    char copy[1024];
    struct pi_dns_conf conf = { 0 };
    snprintf(copy, sizeof copy, "%s", text);
    pi_dns_conf_defaults(&conf);
    pi_dns_conf_read(&conf, copy);
    return conf;
}

static const char *server(const struct pi_dns_conf *conf, int i)
{
    static char text[PIER_ADDR_TEXT];
    return pier_addr_text(&conf->servers[i], text, sizeof text);
}

TEST(resolv_conf_names_servers_search_list_and_options)
{
    struct pi_dns_conf conf = read_conf("# nameserver 192.0.2.9\n"
                                        "nameserver 192.0.2.1\n"
                                        "  nameserver\t2001:db8::1  # why\n"
                                        "domain old.test\n"
                                        "search a.test b.test.\n"
                                        "options ndots:3 timeout:7 attempts:99 rotate unknown:1\n"
                                        "options use-vc no-aaaa\n");
    ck_assert_int_eq(conf.server_count, 2);
    ck_assert_str_eq(server(&conf, 0), "192.0.2.1:53");
    ck_assert_str_eq(server(&conf, 1), "[2001:db8::1]:53");
    ck_assert_int_eq(conf.search_count, 2);
    ck_assert_str_eq(conf.search[0], "a.test");
    ck_assert_str_eq(conf.search[1], "b.test");
    ck_assert_int_eq(conf.ndots, 3);
    ck_assert_int_eq(conf.timeout_ms, 7000);
    ck_assert_int_eq(conf.attempts, 5); /* the most */
    ck_assert(conf.rotate && conf.use_tcp && conf.no_ipv6 && !conf.is_strange);
}

TEST(resolv_conf_takes_three_servers_and_no_nonsense)
{
    struct pi_dns_conf conf = read_conf("nameserver 192.0.2.1\nnameserver 192.0.2.2\n"
                                        "nameserver 192.0.2.3\nnameserver 192.0.2.4\n"
                                        "nameserver\nsearch\noptions\nfrobnicate x\n\n");
    ck_assert_int_eq(conf.server_count, 3);
    ck_assert_int_eq(conf.search_count, 0);
    ck_assert_int_eq(conf.ndots, 1);
    ck_assert(!conf.is_strange);
}

TEST(resolv_conf_with_what_the_system_alone_can_do_is_strange)
{
    ck_assert(read_conf("nameserver fe80::1%eth0\n").is_strange);
    ck_assert(read_conf("sortlist 192.0.2.0\n").is_strange);
}

static bool nss(const char *text)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", text);
    return pi_dns_nss_is_usual(copy);
}

TEST(nsswitch_is_usual_when_it_means_files_then_dns)
{
    ck_assert(nss(""));
    ck_assert(nss("passwd: files ldap\n"));
    ck_assert(nss("hosts: files dns\n"));
    ck_assert(
        nss("passwd: files\nhosts:\t files mdns4_minimal [NOTFOUND=return] dns myhostname # x"));
    ck_assert(!nss("hosts: dns files\n"));
    ck_assert(!nss("hosts: files\n"));
    ck_assert(!nss("hosts: files resolve [!UNAVAIL=return] dns\n"));
    ck_assert(!nss("hosts: files [NOTFOUND=return] dns\n"));
    ck_assert(!nss("hosts: files ldap dns\n"));
    ck_assert(!nss("hosts: files dns wins\n"));
    ck_assert(!nss("hosts: files mdns4 dns\n"));
}

static bool gai(const char *text)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", text);
    return pi_dns_gai_is_usual(copy);
}

TEST(gai_conf_is_usual_while_it_sets_nothing)
{
    ck_assert(gai(""));
    ck_assert(gai("#precedence ::ffff:0:0/96 100\n\n  # x\nreload no\n"));
    ck_assert(!gai("# x\nprecedence ::ffff:0:0/96 100\n"));
}

HARNESS_MAIN("net_dns_conf")
