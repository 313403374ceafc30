/* SPDX-License-Identifier: MIT */
/*
 * net_dns_sort: the order of RFC 6724, for addresses that every host can reach and ones that none
 * can; test_names.py compares others with the system's.
 */
#include "both.h"

#include "net/resolve.h"

static const char *sorted(const char *list)
{
    static char all[512];
    char copy[512], text[INET6_ADDRSTRLEN], *rest = NULL;
    struct pi_resolve r = { .count = 0 };
    snprintf(copy, sizeof copy, "%s", list);
    for (char *ip = strtok_r(copy, " ", &rest); ip; ip = strtok_r(NULL, " ", &rest)) {
        bool six = strchr(ip, ':') != NULL;
        r.addrs[r.count].any.sa_family = six ? AF_INET6 : AF_INET;
        ck_assert_int_eq(inet_pton(six ? AF_INET6 : AF_INET, ip,
                                   six ? (void *)&r.addrs[r.count].in6.sin6_addr
                                       : (void *)&r.addrs[r.count].in.sin_addr),
                         1);
        r.count++;
    }
    pi_addrs_sort(&r);
    all[0] = '\0';
    for (int i = 0; i < r.count; i++) {
        bool six = r.addrs[i].any.sa_family == AF_INET6;
        inet_ntop(r.addrs[i].any.sa_family,
                  six ? (void *)&r.addrs[i].in6.sin6_addr : (void *)&r.addrs[i].in.sin_addr, text,
                  sizeof text);
        strcat(strcat(all, i ? " " : ""), text);
    }
    return all;
}

BOTH(equals_keep_their_order)
{
    int fds = open_fds();
    ck_assert_str_eq(sorted("127.0.0.3 127.0.0.1 127.0.0.2"), "127.0.0.3 127.0.0.1 127.0.0.2");
    ck_assert_str_eq(sorted(""), "");
    ck_assert_int_eq(open_fds(), fds);
}

/* 255.255.255.255 needs SO_BROADCAST, so that nobody can connect to it. */
BOTH(what_can_be_reached_comes_first)
{
    ck_assert_str_eq(sorted("255.255.255.255 127.0.0.1"), "127.0.0.1 255.255.255.255");
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 addr = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

BOTH(loopback_of_ipv6_comes_before_that_of_ipv4)
{
    if (!has_ipv6())
        test_skip("this host has no IPv6");
    ck_assert_str_eq(sorted("127.0.0.1 ::1"), "::1 127.0.0.1");
}

HARNESS_MAIN("net_dns_sort")
