/* SPDX-License-Identifier: MIT */
/*
 * net_cidr: sets of networks against a reference that asks every network in turn, and the words and
 * places of what cannot be read.
 */
#include "harness.h"

#include "net/cidr.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static uint64_t seed = 88172645463325252;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static struct pi_ip ip_of(const char *text)
{
    struct pi_ip ip;
    ck_assert_msg(pi_ip_read(&ip, text), "%s is no address", text);
    return ip;
}

static void read_text(struct pi_cidrs *list, const char *text, bool denies)
{
    struct pi_cidr_fault fault;
    int rc = pi_cidrs_read(list, text, strlen(text), denies, &fault);
    ck_assert_msg(rc == 0, "%zu:%zu: %s", fault.line, fault.column, fault.why);
}

static struct pi_cidr_set *set_of(const char *allow, const char *deny, bool otherwise)
{
    struct pi_cidrs list = { 0 };
    read_text(&list, allow, false);
    read_text(&list, deny, true);
    struct pi_cidr_set *set = pi_cidr_set_new(&list, otherwise);
    ck_assert_ptr_nonnull(set);
    pi_cidrs_fini(&list);
    return set;
}

static void expect(const struct pi_cidr_set *set, const char *text, bool allowed)
{
    struct pi_ip ip = ip_of(text);
    ck_assert_msg(pi_cidr_set_allows(set, &ip) == allowed, "%s is %s", text,
                  allowed ? "refused" : "allowed");
}

/* ---- what decides ---- */

TEST(cidr_the_longest_prefix_decides)
{
    struct pi_cidr_set *set = set_of("10.1.0.0/16\n10.1.2.3", "10.0.0.0/8\n10.1.2.0/24\n", true);
    expect(set, "9.255.255.255", true);
    expect(set, "10.0.0.0", false);
    expect(set, "10.1.0.0", true);
    expect(set, "10.1.2.0", false);
    expect(set, "10.1.2.2", false);
    expect(set, "10.1.2.3", true);
    expect(set, "10.1.2.4", false);
    expect(set, "10.1.3.0", true);
    expect(set, "10.1.255.255", true);
    expect(set, "10.2.0.0", false);
    expect(set, "10.255.255.255", false);
    expect(set, "11.0.0.0", true);
    expect(set, "::a01:203", true); /* not of this family */
    pi_cidr_set_free(set);
}

TEST(cidr_of_equal_networks_the_one_that_denies_decides)
{
    struct pi_cidr_set *set = set_of("10.0.0.0/8\n::1\n10.0.0.0/8", "10.0.0.0/8\n10.0.0.0/8\n::1",
                                     true);
    expect(set, "10.3.4.5", false);
    expect(set, "::1", false);
    pi_cidr_set_free(set);
}

TEST(cidr_what_no_network_has_is_the_caller_s_choice)
{
    struct pi_cidr_set *set = set_of("10.0.0.0/8", "", false);
    expect(set, "10.0.0.1", true);
    expect(set, "11.0.0.1", false);
    expect(set, "::1", false);
    pi_cidr_set_free(set);
    set = set_of("", "", true);
    expect(set, "11.0.0.1", true);
    expect(set, "::1", true);
    pi_cidr_set_free(set);
}

TEST(cidr_networks_reach_to_the_ends_of_the_addresses)
{
    struct pi_cidr_set *set = set_of("0.0.0.0/0\n::/0",
                                     "0.0.0.0\n255.255.255.255\n::\n"
                                     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                                     false);
    expect(set, "0.0.0.0", false);
    expect(set, "0.0.0.1", true);
    expect(set, "255.255.255.254", true);
    expect(set, "255.255.255.255", false);
    expect(set, "::", false);
    expect(set, "::1", true);
    expect(set, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", true);
    expect(set, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false);
    pi_cidr_set_free(set);
}

TEST(cidr_prefixes_longer_than_64_bits_are_told_apart)
{
    struct pi_cidr_set *set = set_of(
        "2001:db8:0:1::/64", "2001:db8:0:1:8000::/65\n2001:db8:0:1::7\n2001:db8:0:1::9", false);
    expect(set, "2001:db8:0:0:ffff:ffff:ffff:ffff", false);
    expect(set, "2001:db8:0:1::", true);
    expect(set, "2001:db8:0:1::6", true);
    expect(set, "2001:db8:0:1::7", false);
    expect(set, "2001:db8:0:1::8", true);
    expect(set, "2001:db8:0:1::9", false);
    expect(set, "2001:db8:0:1:7fff:ffff:ffff:ffff", true);
    expect(set, "2001:db8:0:1:8000::", false);
    expect(set, "2001:db8:0:2::", false);
    pi_cidr_set_free(set);
}

TEST(cidr_mapped_addresses_and_networks_are_ipv4)
{
    struct pi_cidr_set *set = set_of("", "::ffff:10.0.0.0/104\n192.0.2.1", true);
    struct sockaddr_in6 addr = { .sin6_family = AF_INET6 };
    struct pi_ip ip;
    inet_pton(AF_INET6, "::ffff:10.9.8.7", &addr.sin6_addr);
    ck_assert(pi_ip_of(&ip, (struct sockaddr *)&addr));
    ck_assert_int_eq(ip.version, 4);
    ck_assert(!pi_cidr_set_allows(set, &ip));
    expect(set, "10.9.8.7", false);
    expect(set, "::ffff:192.0.2.1", false);
    expect(set, "::ffff:192.0.2.2", true);
    pi_cidr_set_free(set);
}

TEST(cidr_addresses_of_other_families_are_none)
{
    struct pi_ip ip;
    struct sockaddr addr = { .sa_family = AF_UNIX };
    ck_assert(!pi_ip_of(&ip, &addr));
}

/* ---- against every network in turn ---- */

static bool has(const struct pi_cidr *c, const struct pi_ip *ip)
{
    int bits = c->bits;
    uint64_t high = bits >= 64 ? UINT64_MAX : bits == 0 ? 0 : UINT64_MAX << (64 - bits);
    uint64_t low = bits <= 64 ? 0 : UINT64_MAX << (128 - bits);
    return c->version == ip->version && ((c->high ^ ip->high) & high) == 0 &&
           ((c->low ^ ip->low) & low) == 0;
}

static bool ask_all(const struct pi_cidrs *list, const struct pi_ip *ip, bool otherwise)
{
    int bits = -1;
    bool allows = otherwise;
    for (size_t i = 0; i < list->count; i++) {
        const struct pi_cidr *c = &list->items[i];
        if (!has(c, ip) || c->bits < bits)
            continue;
        allows = !c->denies && (c->bits > bits || allows);
        bits = c->bits;
    }
    return allows;
}

/* Few values a byte, so that networks lie in each other and next to each other. */
static uint64_t clustered(void)
{
    static const uint8_t bytes[] = { 0, 1, 2, 127, 128, 254, 255 };
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | bytes[draw() % sizeof bytes];
    return value;
}

static struct pi_ip any_ip(bool is_clustered)
{
    struct pi_ip ip = { .version = draw() % 2 ? 4 : 6 };
    ip.high = is_clustered ? clustered() : draw();
    ip.low = is_clustered ? clustered() : draw();
    if (ip.version == 4) {
        ip.high &= UINT64_MAX << 32;
        ip.low = 0;
    } else if (draw() % 2) {
        ip.high = 0x20010db800000000 | (ip.high & 0xffff); /* much within few /64s */
    }
    return ip;
}

static void add_random(struct pi_cidrs *list, int count, bool is_clustered)
{
    char text[INET6_ADDRSTRLEN], line[INET6_ADDRSTRLEN + 8];
    for (int i = 0; i < count; i++) {
        struct pi_ip ip = any_ip(is_clustered);
        uint32_t in = htonl((uint32_t)(ip.high >> 32));
        uint64_t in6[2] = { htobe64(ip.high), htobe64(ip.low) };
        inet_ntop(ip.version == 4 ? AF_INET : AF_INET6, ip.version == 4 ? (void *)&in : in6, text,
                  sizeof text);
        snprintf(line, sizeof line, "%s/%d", text, (int)(draw() % (ip.version == 4 ? 33 : 129)));
        read_text(list, line, draw() % 2);
    }
}

/* An address at the edge of one of the networks, where a mistake would be. */
static struct pi_ip edge_ip(const struct pi_cidrs *list)
{
    const struct pi_cidr *c = &list->items[draw() % list->count];
    struct pi_ip ip = { c->high, c->low, c->version };
    uint64_t rest_high = c->bits >= 64 ? 0 : UINT64_MAX >> c->bits;
    uint64_t rest_low = c->bits <= 64    ? UINT64_MAX
                        : c->bits == 128 ? 0
                                         : UINT64_MAX >> (c->bits - 64);
    uint64_t one = ip.version == 4 ? (uint64_t)1 << 32 : 0;
    switch (draw() % 4) {
    case 0:
        break;
    case 1:
        ip.high -= one;
        ip.low -= !one;
        ip.high -= !one && c->low == 0;
        break;
    default:
        ip.high |= rest_high;
        ip.low |= rest_low;
        if (draw() % 2) {
            ip.high += one;
            ip.low += !one;
            ip.high += !one && ip.low == 0;
        }
    }
    if (ip.version == 4) {
        ip.high &= UINT64_MAX << 32;
        ip.low = 0;
    }
    return ip;
}

TEST(cidr_sets_answer_as_all_their_networks_asked_in_turn)
{
    static const int counts[] = { 1, 2, 3, 7, 16, 17, 100, 600, 1500 };
    for (int round = 0; round < 45; round++) {
        struct pi_cidrs list = { 0 };
        uint64_t begun_with = seed;
        bool otherwise = round % 2;
        add_random(&list, counts[round % 9], round % 5 != 0);
        struct pi_cidr_set *set = pi_cidr_set_new(&list, otherwise);
        for (int i = 0; i < 3000; i++) {
            struct pi_ip ip = i % 3 ? edge_ip(&list) : any_ip(i % 2);
            ck_assert_msg(pi_cidr_set_allows(set, &ip) == ask_all(&list, &ip, otherwise),
                          "IPv%d %016lx %016lx, %zu networks, seed %lu", ip.version,
                          (unsigned long)ip.high, (unsigned long)ip.low, list.count,
                          (unsigned long)begun_with);
        }
        pi_cidr_set_free(set);
        pi_cidrs_fini(&list);
    }
}

/* ---- many ---- */

/* All addresses that end in an even number. */
TEST(cidr_sets_have_room_for_a_million)
{
    enum { COUNT = 1000000 };
    struct pi_cidrs list = { 0 };
    char line[64];
    for (int i = 0; i < COUNT; i++) {
        int len = snprintf(line, sizeof line, "10.%d.%d.%d\n", i >> 15 & 255, i >> 7 & 255,
                           (i & 127) * 2);
        struct pi_cidr_fault fault;
        ck_assert_int_eq(pi_cidrs_read(&list, line, (size_t)len, true, &fault), 0);
    }
    struct pi_cidr_set *set = pi_cidr_set_new(&list, true);
    pi_cidrs_fini(&list);
    ck_assert_uint_le(pi_cidr_set_size(set), 18 << 20);
    for (int i = 0; i < COUNT; i += 97) {
        snprintf(line, sizeof line, "10.%d.%d.%d", i >> 15 & 255, i >> 7 & 255, (i & 127) * 2);
        expect(set, line, false);
        snprintf(line, sizeof line, "10.%d.%d.%d", i >> 15 & 255, i >> 7 & 255, (i & 127) * 2 + 1);
        expect(set, line, true);
    }
    pi_cidr_set_free(set);
}

/* ---- reading ---- */

TEST(cidr_lists_may_have_comments_blanks_and_any_line_ends)
{
    struct pi_cidr_set *set = set_of("# ours\n\n  10.0.0.0/8\t# the office\r\n\t\r\n::1 ", "",
                                     false);
    expect(set, "10.0.0.1", true);
    expect(set, "::1", true);
    expect(set, "::2", false);
    pi_cidr_set_free(set);
}

TEST(cidr_what_is_behind_the_prefix_is_cut_off)
{
    struct pi_cidr_set *set = set_of("10.1.2.3/8\n2001:db8:ffff::1/32", "", false);
    expect(set, "10.0.0.0", true);
    expect(set, "2001:db8::", true);
    pi_cidr_set_free(set);
}

TEST(cidr_faults_have_a_line_and_a_column)
{
    static const struct {
        const char *text, *why;
        size_t line, column;
    } cases[] = {
        { "10.0.0.0/33", "not the length of a prefix, 0 to 32", 1, 10 },
        { "::/129", "not the length of a prefix, 0 to 128", 1, 4 },
        { "::1/", "not the length of a prefix, 0 to 128", 1, 5 },
        { "::1/-1", "not the length of a prefix, 0 to 128", 1, 5 },
        { "::1/+1", "not the length of a prefix, 0 to 128", 1, 5 },
        { "::1/1 2", "not the length of a prefix, 0 to 128", 1, 5 },
        { "::1/4294967296", "not the length of a prefix, 0 to 128", 1, 5 },
        { "::ffff:10.0.0.0/8", "not the length of a mapped prefix, 96 to 128", 1, 17 },
        { "\n# x\n  10.0.0\n", "not an IPv4 or IPv6 address", 3, 3 },
        { "::1\n::1\nfe80::1%eth0", "not an IPv4 or IPv6 address", 3, 1 },
        { "010.0.0.1", "not an IPv4 or IPv6 address", 1, 1 },
        { "10.0.0.1 10.0.0.2", "not an IPv4 or IPv6 address", 1, 1 },
        { "/8", "not an IPv4 or IPv6 address", 1, 1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pi_cidrs list = { 0 };
        struct pi_cidr_fault fault;
        const char *text = cases[i].text;
        ck_assert_msg(pi_cidrs_read(&list, text, strlen(text), false, &fault) == -EINVAL, "%s",
                      text);
        ck_assert_str_eq(fault.why, cases[i].why);
        ck_assert_msg(fault.line == cases[i].line && fault.column == cases[i].column, "%s: %zu:%zu",
                      text, fault.line, fault.column);
        pi_cidrs_fini(&list);
    }
}

TEST(cidr_lines_with_zeros_or_without_an_end_are_refused)
{
    struct pi_cidrs list = { 0 };
    struct pi_cidr_fault fault;
    ck_assert_int_eq(pi_cidrs_read(&list, "::1\0/64", 7, false, &fault), -EINVAL);
    char *line = malloc(1 << 20);
    memset(line, '1', 1 << 20);
    ck_assert_int_eq(pi_cidrs_read(&list, line, 1 << 20, false, &fault), -EINVAL);
    free(line);
    pi_cidrs_fini(&list);
}

TEST(cidr_without_memory_there_is_no_set_and_no_leak)
{
    int tries = 0;
    struct pi_cidr_set *set = NULL;
    for (long n = 1; !set && tries < 100; n++, tries++) {
        struct pi_cidrs list = { 0 };
        struct pi_cidr_fault fault;
        long before = pi_alloc_count();
        char text[4096] = "";
        for (int i = 0; i < 100; i++)
            snprintf(text + strlen(text), sizeof text - strlen(text), "10.0.%d.0/24\n::%d\n", 2 * i,
                     2 * i);
        pi_alloc_fail(n);
        int rc = pi_cidrs_read(&list, text, strlen(text), true, &fault);
        if (rc == 0)
            set = pi_cidr_set_new(&list, true);
        else
            ck_assert_int_eq(rc, -ENOMEM);
        pi_alloc_fail(0);
        pi_cidrs_fini(&list);
        ck_assert(set || pi_alloc_count() == before);
    }
    ck_assert_ptr_nonnull(set);
    ck_assert_int_gt(tries, 8);
    pi_cidr_set_free(set);
}

HARNESS_MAIN("net_cidr")
