/* SPDX-License-Identifier: MIT */
/*
 * net_dns_wire: messages of name servers, whole, cut at every byte against an unreadable page, and
 * bad in every way that a name or a record can be.
 */
#include "harness.h"

#include "net/dns_wire.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

/* "a.test" A: by way of the alias b.test 192.0.2.1 and 192.0.2.2, and an SOA behind. */
static const unsigned char reply[] = {
    0,    1,   0x85, 0x80, 0,   1,   0,   3, 0, 1,  0, 0, /* head */
    1,    'a', 4,    't',  'e', 's', 't', 0, 0, 1,  0, 1, /* 12: the question */
    0xc0, 12,  0,    5,    0,   1,   0,   0, 0, 60, 0, 4,  1,   'b', 0xc0, 14, /* 24: the alias */
    0xc0, 36,  0,    1,    0,   1,   0,   0, 0, 50, 0, 4,  192, 0,   2,    1,  /* 40 */
    1,    'B', 0xc0, 14,   0,   1,   0,   1, 0, 0,  0, 70, 0,   4,   192,  0,  2, 2, /* 56 */
    0xc0, 14,  0,    6,    0,   1,   0,   0, 0, 40, 0, 22, 0,   0, /* 74: the SOA */
    0,    0,   0,    1,    0,   0,   0,   2, 0, 0,  0, 3,  0,   0,   0,    4,  0, 0, 0, 30,
};

/* The bytes, right before a page that must not be read. */
static const unsigned char *before_guard(const unsigned char *bytes, size_t len)
{
    static unsigned char *pages;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!pages) {
        pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert_int_eq(mprotect(pages + page, page, PROT_NONE), 0);
    }
    return memcpy(pages + page - len, bytes, len);
}

TEST(a_reply_has_its_records_and_the_shortest_time_to_live)
{
    struct pi_dns_answer a;
    ck_assert_int_eq(pi_dns_read(&a, before_guard(reply, sizeof reply), sizeof reply, 1), 0);
    ck_assert_int_eq(a.count, 2);
    ck_assert_uint_eq(a.ttl, 50);
    ck_assert_int_eq(a.rcode, PI_DNS_NOERROR);
    ck_assert_int_eq(reply[a.records[1].at + 3], 2);
    ck_assert_uint_eq(a.records[1].ttl, 70);
    ck_assert_int_eq(pi_dns_read(&a, reply, sizeof reply, PI_DNS_CNAME), 0);
    ck_assert_int_eq(a.count, 1);
    ck_assert_int_eq(pi_dns_read(&a, reply, sizeof reply, 28), 0);
    ck_assert_int_eq(a.count, 0);
    ck_assert_uint_eq(a.ttl, 30); /* the SOA's minimum */
}

TEST(a_reply_that_is_cut_anywhere_is_bad)
{
    struct pi_dns_answer a;
    for (size_t len = 0; len < sizeof reply; len++) {
        int rc = pi_dns_read(&a, before_guard(reply, len), len, 28);
        ck_assert_msg(rc == -EBADMSG, "%zu bytes: %d", len, rc);
    }
}

TEST(a_changed_byte_is_never_read_beyond_the_end)
{
    struct pi_dns_answer a;
    unsigned char copy[sizeof reply];
    for (size_t at = 0; at < sizeof reply; at++)
        for (int value = 0; value < 256; value++) {
            memcpy(copy, reply, sizeof copy);
            copy[at] = (unsigned char)value;
            const unsigned char *bytes = before_guard(copy, sizeof copy);
            int rc = pi_dns_read(&a, bytes, sizeof copy, 1);
            ck_assert(rc == 0 || rc == -EBADMSG || rc == -ELOOP);
            for (int i = 0; rc == 0 && i < a.count; i++)
                ck_assert_uint_le(a.records[i].at + a.records[i].len, sizeof copy);
        }
}

static ssize_t name_at(char *out, const char *bytes, size_t len, size_t at)
{
    return pi_dns_name(out, before_guard((const unsigned char *)bytes, len), len, at);
}

TEST(a_name_is_text_without_surprises)
{
    char name[PI_DNS_NAME_CAP];
    ck_assert_int_eq(name_at(name, "\1a\2bc\0", 6, 0), 6);
    ck_assert_str_eq(name, "a.bc");
    ck_assert_int_eq(name_at(name, "\0", 1, 0), 1);
    ck_assert_str_eq(name, "");
    ck_assert_int_eq(name_at(name, "\5a.\\\n\xff\0", 7, 0), 7);
    ck_assert_str_eq(name, "a\\046\\092\\010\\255");
    ck_assert_int_eq(name_at(name, "\1a\0\1b\xc0\0", 7, 3), 7);
    ck_assert_str_eq(name, "b.a");
}

TEST(a_name_that_leads_nowhere_is_bad)
{
    char name[PI_DNS_NAME_CAP], full[300] = { 0 };
    ck_assert_int_eq(name_at(name, "\xc0\0", 2, 0), -EBADMSG);       /* to itself */
    ck_assert_int_eq(name_at(name, "\xc0\2\xc0\0", 4, 0), -EBADMSG); /* forward, and back */
    ck_assert_int_eq(name_at(name, "\1a\xc0\0", 4, 2), -EBADMSG);    /* round and round */
    ck_assert_int_eq(name_at(name, "\x40", 1, 0), -EBADMSG);         /* no kind of label */
    ck_assert_int_eq(name_at(name, "\1", 1, 0), -EBADMSG);
    ck_assert_int_eq(name_at(name, "\1a", 2, 0), -EBADMSG);
    ck_assert_int_eq(name_at(name, "\xc0", 1, 0), -EBADMSG);
    for (int i = 0; i < 5; i++) {
        memset(full + i * 64, 'x', 64);
        full[(size_t)i * 64 < 256 ? i * 64 : 256] = 63;
        if (i == 3)
            break;
    }
    ck_assert_int_eq(name_at(name, full, 257, 0), 257); /* 4 × 63 and 3 dots: 255 */
    full[256] = 1;
    full[257] = 'y';
    ck_assert_int_eq(name_at(name, full, 259, 0), -EBADMSG);
}

TEST(a_long_chain_of_pointers_is_not_followed)
{
    enum { POINTERS = 200 };
    unsigned char bytes[2 + 2 * POINTERS] = { 0 };
    char name[PI_DNS_NAME_CAP];
    for (size_t i = 1; i <= POINTERS; i++) {
        size_t to = 2 * (i - 1);
        bytes[2 * i] = (unsigned char)(0xc0 | to >> 8);
        bytes[2 * i + 1] = (unsigned char)to;
    }
    ck_assert_int_eq(pi_dns_name(name, bytes, sizeof bytes, 200), 202);
    ck_assert_int_eq(pi_dns_name(name, bytes, sizeof bytes, 400), -EBADMSG);
}

TEST(a_server_that_cannot_answer_is_seen)
{
    unsigned char head[12] = { 0, 0, 0x84, 0x80 };
    ck_assert_int_eq(pi_dns_server_error(head, 12), PI_DNS_NOERROR);
    head[2] = 0x80;
    ck_assert_int_eq(pi_dns_server_error(head, 12), PI_DNS_NOERROR); /* it asks others */
    head[3] = 0;
    ck_assert_int_eq(pi_dns_server_error(head, 12), PI_DNS_SERVFAIL);
    head[2] = 0x82;
    ck_assert_int_eq(pi_dns_server_error(head, 12), PI_DNS_NOERROR); /* truncated */
    head[3] = 5;
    ck_assert_int_eq(pi_dns_server_error(head, 12), PI_DNS_REFUSED);
    for (unsigned char rcode = 6; rcode < 16; rcode++) { /* NOTAUTH and the like */
        head[3] = rcode;
        ck_assert_int_eq(pi_dns_server_error(head, 12), PI_DNS_SERVFAIL);
    }
    head[3] = 1; /* of the query, which c-ares sends again without EDNS */
    ck_assert_int_eq(pi_dns_server_error(head, 12), PI_DNS_NOERROR);
    head[3] = 3;
    ck_assert_int_eq(pi_dns_server_error(head, 12), PI_DNS_NOERROR);
}

HARNESS_MAIN("net_dns_wire")
