/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_udp: pier_udp_*, sockets for datagrams in batches, on loopback; and addresses as text. What
 * needs a network of several hosts is in e2e/test_udp_net.py.
 */
#include "both.h"

#include "net/udp.h"

#include <errno.h>

enum { PATIENCE_S = 15 };

static int64_t soon(void)
{
    return pier_after(PATIENCE_S * PIER_SECOND);
}

static struct pier_udp *open_at(const char *url, const struct pier_udp_opts *opts)
{
    struct pier_udp *u = pier_udp_open(url, opts);
    ck_assert_msg(u != NULL, "%s", pier_error());
    return u;
}

static struct pier_addr address_of(struct pier_udp *u)
{
    struct pier_addr addr;
    ck_assert_int_eq(pier_udp_local(u, &addr), 0);
    return addr;
}

struct two {
    struct pier_udp *a, *b;
    struct pier_addr to_a, to_b;
};

static void open_two(struct two *t, const struct pier_udp_opts *opts)
{
    t->a = open_at("udp://127.0.0.1:0", opts);
    t->b = open_at("udp://127.0.0.1:0", opts);
    t->to_a = address_of(t->a);
    t->to_b = address_of(t->b);
}

static void close_two(struct two *t)
{
    pier_udp_close(t->a);
    pier_udp_close(t->b);
}

static void send_text(struct pier_udp *u, const struct pier_addr *to, const char *text)
{
    struct pier_datagram d = { .bytes = (void *)text, .len = strlen(text), .peer = *to };
    ck_assert_msg(pier_udp_send(u, &d, 1) == 1, "%s", pier_error());
    ck_assert_int_eq(d.error, 0);
}

/* Receives one and compares it; what came beside the bytes is in *d. */
static void expect(struct pier_udp *u, const char *text, struct pier_datagram *d)
{
    static char buf[65536];
    struct pier_datagram own = { 0 };
    d = d ? d : &own;
    *d = (struct pier_datagram){ .bytes = buf, .cap = sizeof buf };
    int n = pier_udp_recv(u, d, 1, soon());
    ck_assert_msg(n == 1, "%d: %s", n, pier_error());
    ck_assert_int_eq(d->error, 0);
    ck_assert_uint_eq(d->len, strlen(text));
    ck_assert_int_eq(memcmp(buf, text, d->len), 0);
}

/* ---- addresses ---- */

TEST(an_address_reads_as_it_is_written)
{
    static const char *const texts[] = { "127.0.0.1:53",          "0.0.0.0:0",
                                         "255.255.255.255:65535", "[::1]:9",
                                         "[2001:db8::7]:443",     "[fe80::1%lo]:1" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct pier_addr addr, again;
        char text[PIER_ADDR_TEXT];
        ck_assert_msg(pier_addr_parse(&addr, texts[i]) == 0, "%s", pier_error());
        ck_assert_str_eq(pier_addr_text(&addr, text, sizeof text), texts[i]);
        ck_assert_int_eq(pier_addr_port(&addr), atoi(strrchr(texts[i], ':') + 1));
        ck_assert_int_eq(pier_addr_parse(&again, text), 0);
        ck_assert(pier_addr_equal(&addr, &again));
    }
}

TEST(what_is_no_address_is_refused)
{
    static const char *const texts[] = { "",         "localhost:53", "127.0.0.1", "127.0.0.1:65536",
                                         "[::1]",    "::1:53",       "127.1:53",  "127.0.0.1:53/x",
                                         "a@[::1]:1" };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct pier_addr addr;
        ck_assert_msg(pier_addr_parse(&addr, texts[i]) == PIER_EURL, "%s", texts[i]);
        ck_assert_int_eq(pier_addr_port(&addr), 0);
    }
}

TEST(addresses_differ_in_family_host_port_and_zone)
{
    static const char *const texts[] = { "127.0.0.1:1",    "127.0.0.1:2", "127.0.0.2:1",
                                         "[::1]:1",        "[::2]:1",     "[fe80::1]:1",
                                         "[fe80::1%lo]:1", "[fe80::1]:2" };
    enum { COUNT = sizeof texts / sizeof texts[0] };
    struct pier_addr addrs[COUNT + 1] = { 0 };
    char text[8];
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(pier_addr_parse(&addrs[i], texts[i]), 0);
    for (int i = 0; i <= COUNT; i++)
        for (int k = 0; k <= COUNT; k++)
            ck_assert_int_eq(pier_addr_equal(&addrs[i], &addrs[k]), i == k);
    ck_assert_str_eq(pier_addr_text(&addrs[COUNT], text, sizeof text), "?");
}

/* ---- to and fro ---- */

BOTH(a_datagram_arrives_with_its_sender)
{
    struct two t;
    struct pier_datagram d;
    open_two(&t, NULL);
    send_text(t.a, &t.to_b, "hello");
    expect(t.b, "hello", &d);
    ck_assert(pier_addr_equal(&d.peer, &t.to_a));
    ck_assert(!d.truncated);
    send_text(t.b, &d.peer, "");
    expect(t.a, "", NULL);
    close_two(&t);
}

BOTH(ipv6_works_alike)
{
    struct pier_udp *a = pier_udp_open("udp://[::1]:0", NULL);
    if (!a)
        test_skip("there is no IPv6 loopback");
    struct pier_addr to = address_of(a);
    struct pier_datagram d;
    send_text(a, &to, "six");
    expect(a, "six", &d);
    ck_assert(pier_addr_equal(&d.peer, &to));
    pier_udp_close(a);
}

enum { MANY = 200 };

/* Receives count datagrams, in batches: each says its number, in order. */
static void expect_numbers(struct pier_udp *u, int count, size_t len)
{
    static char bufs[64][2048];
    for (int at = 0; at < count;) {
        struct pier_datagram batch[64];
        for (int i = 0; i < 64; i++)
            batch[i] = (struct pier_datagram){ .bytes = bufs[i], .cap = sizeof bufs[i] };
        int n = pier_udp_recv(u, batch, 64, soon());
        ck_assert_msg(n > 0, "after %d: %s", at, pier_error());
        for (int i = 0; i < n; i++, at++) {
            ck_assert_uint_eq(batch[i].len, len);
            ck_assert_int_eq(atoi(bufs[i]), at);
        }
    }
}

static void send_numbers(struct pier_udp *u, const struct pier_addr *to, int count, size_t len)
{
    struct pier_datagram batch[MANY];
    char(*texts)[2048] = calloc((size_t)count, sizeof *texts);
    for (int i = 0; i < count; i++) {
        snprintf(texts[i], 16, "%d", i);
        batch[i] = (struct pier_datagram){ .bytes = texts[i], .len = len, .peer = *to, .error = 1 };
    }
    ck_assert_msg(pier_udp_send(u, batch, count) == count, "%s", pier_error());
    for (int i = 0; i < count; i++)
        ck_assert_int_eq(batch[i].error, 0);
    free(texts);
}

BOTH(a_batch_larger_than_a_call_arrives_in_order)
{
    struct two t;
    open_two(&t, &(struct pier_udp_opts){ .recv_buffer = 1 << 20 });
    send_numbers(t.a, &t.to_b, 150, 20);
    expect_numbers(t.b, 150, 20);
    close_two(&t);
}

BOTH(segments_of_one_message_are_datagrams_to_their_receiver)
{
    struct two t;
    open_two(&t, &(struct pier_udp_opts){ .recv_buffer = 1 << 20 });
    struct pier_udp *cutter = open_at(NULL, &(struct pier_udp_opts){ .segmentation = true });
    send_numbers(cutter, &t.to_b, MANY, 20);
    expect_numbers(t.b, MANY, 20);
    send_numbers(cutter, &t.to_b, 3, 2000);
    expect_numbers(t.b, 3, 2000);
    pier_udp_close(cutter);
    close_two(&t);
}

BOTH(a_shorter_one_ends_a_message_and_none_is_merged)
{
    static const char *const texts[] = { "first", "again", "no", "third", "forth", "longer one" };
    enum { COUNT = sizeof texts / sizeof texts[0] };
    struct two t;
    open_two(&t, NULL);
    struct pier_udp *cutter = open_at(NULL, &(struct pier_udp_opts){ .segmentation = true });
    struct pier_datagram batch[COUNT];
    for (int i = 0; i < COUNT; i++)
        batch[i] = (struct pier_datagram){ .bytes = (void *)texts[i],
                                           .len = strlen(texts[i]),
                                           .peer = t.to_b };
    ck_assert_int_eq(pier_udp_send(cutter, batch, COUNT), COUNT);
    for (int i = 0; i < COUNT; i++)
        expect(t.b, texts[i], NULL);
    pier_udp_close(cutter);
    close_two(&t);
}

/* Sends "aaaa" "bbbb" "cc" as one struct, with or without a kernel that cuts. */
static void send_cut(bool segmentation)
{
    struct two t;
    open_two(&t, NULL);
    struct pier_udp *u = open_at(NULL, &(struct pier_udp_opts){ .segmentation = segmentation });
    struct pier_datagram d = {
        .bytes = (void *)"aaaabbbbcc", .len = 10, .segment = 4, .peer = t.to_b
    };
    ck_assert_msg(pier_udp_send(u, &d, 1) == 1, "%s", pier_error());
    expect(t.b, "aaaa", NULL);
    expect(t.b, "bbbb", NULL);
    expect(t.b, "cc", NULL);
    pier_udp_close(u);
    close_two(&t);
}

BOTH(a_buffer_of_segments_is_cut)
{
    send_cut(true);
    send_cut(false);
}

BOTH(a_receiver_that_joins_gets_all_segments)
{
    struct two t;
    open_two(&t, &(struct pier_udp_opts){ .segmentation = true, .recv_buffer = 1 << 20 });
    char bytes[100 * 10], got[65535];
    for (int i = 0; i < 1000; i++)
        bytes[i] = pattern((size_t)i, 1);
    struct pier_datagram d = {
        .bytes = bytes, .len = sizeof bytes, .segment = 100, .peer = t.to_b
    };
    ck_assert_int_eq(pier_udp_send(t.a, &d, 1), 1);
    for (size_t at = 0; at < sizeof bytes;) {
        struct pier_datagram r = { .bytes = got, .cap = sizeof got };
        ck_assert_int_eq(pier_udp_recv(t.b, &r, 1, soon()), 1);
        ck_assert_int_eq(r.segment ? r.segment : (int)r.len, 100);
        ck_assert_int_eq(memcmp(got, bytes + at, r.len), 0);
        at += r.len;
    }
    close_two(&t);
}

BOTH(a_datagram_that_does_not_fit_says_so)
{
    struct two t;
    char small[4];
    open_two(&t, NULL);
    send_text(t.a, &t.to_b, "too long");
    send_text(t.a, &t.to_b, "next");
    struct pier_datagram d = { .bytes = small, .cap = sizeof small };
    ck_assert_int_eq(pier_udp_recv(t.b, &d, 1, soon()), 1);
    ck_assert(d.truncated);
    ck_assert_uint_eq(d.len, sizeof small);
    ck_assert_int_eq(memcmp(small, "too ", 4), 0);
    ck_assert_int_eq(pier_udp_recv(t.b, &d, 1, soon()), 1);
    ck_assert(!d.truncated);
    close_two(&t);
}

BOTH(a_receive_waits_no_longer_than_asked)
{
    struct two t;
    char buf[8];
    open_two(&t, NULL);
    struct pier_datagram d = { .bytes = buf, .cap = sizeof buf };
    int64_t begin = pier_now();
    ck_assert_int_eq(pier_udp_recv(t.a, &d, 1, pier_after(30 * PIER_MILLISECOND)), -ETIMEDOUT);
    ck_assert_int_ge(ms_since(begin), 30);
    ck_assert_ptr_nonnull(strstr(pier_error(), "receive on udp://127.0.0.1:0: timed out"));
    close_two(&t);
}

/* ---- what cannot be sent ---- */

BOTH(one_that_is_too_large_keeps_nobody_from_being_sent)
{
    struct two t;
    static char huge[70000];
    for (int segmentation = 0; segmentation < 2; segmentation++) {
        open_two(&t, &(struct pier_udp_opts){ .segmentation = segmentation });
        struct pier_datagram batch[] = {
            { .bytes = (void *)"one", .len = 3, .peer = t.to_b },
            { .bytes = huge, .len = sizeof huge, .peer = t.to_b },
            { .bytes = (void *)"two", .len = 3, .peer = t.to_b },
        };
        ck_assert_int_eq(pier_udp_send(t.a, batch, 3), 2);
        ck_assert_int_eq(batch[0].error, 0);
        ck_assert_int_eq(batch[1].error, -EMSGSIZE);
        ck_assert_int_eq(batch[2].error, 0);
        expect(t.b, "one", NULL);
        expect(t.b, "two", NULL);
        ck_assert_int_eq(pier_udp_send(t.a, &batch[1], 1), -EMSGSIZE);
        ck_assert_ptr_nonnull(strstr(pier_error(), "a datagram of 70000 bytes is too large"));
        close_two(&t);
    }
}

BOTH(broadcast_needs_permission)
{
    struct pier_udp *u = open_at(NULL, NULL);
    struct pier_datagram d = { .bytes = (void *)"x", .len = 1 };
    ck_assert_int_eq(pier_addr_parse(&d.peer, "255.255.255.255:9"), 0);
    int rc = pier_udp_send(u, &d, 1);
    ck_assert_msg(rc == -EACCES || rc == -ENETUNREACH, "%d", rc);
    ck_assert_ptr_nonnull(strstr(pier_error(), "send to udp://255.255.255.255:9: "));
    pier_udp_close(u);
}

/* ---- errors that ICMP reports ---- */

/* A port of 127.0.0.1 that nobody has: held by nobody, but just given up. */
static struct pier_addr deaf_address(void)
{
    struct pier_udp *u = open_at("udp://127.0.0.1:0", NULL);
    struct pier_addr addr = address_of(u);
    pier_udp_close(u);
    return addr;
}

BOTH(a_refusal_names_the_peer_and_the_datagram)
{
    struct two t;
    open_two(&t, &(struct pier_udp_opts){ .errors = true });
    struct pier_addr deaf = deaf_address();
    char buf[64];
    struct pier_datagram d = { .bytes = buf, .cap = sizeof buf };
    send_text(t.a, &deaf, "anybody?");
    ck_assert_int_eq(pier_udp_recv(t.a, &d, 1, soon()), 1);
    ck_assert_int_eq(d.error, -ECONNREFUSED);
    ck_assert(pier_addr_equal(&d.peer, &deaf));
    ck_assert_uint_eq(d.len, 8);
    ck_assert_int_eq(memcmp(buf, "anybody?", 8), 0);
    send_text(t.b, &t.to_a, "still there");
    expect(t.a, "still there", NULL);
    close_two(&t);
}

BOTH(a_storm_of_refusals_loses_no_datagram)
{
    enum { ROUNDS = 100 };
    struct two t;
    open_two(&t, &(struct pier_udp_opts){ .errors = true });
    struct pier_addr deaf = deaf_address();
    int refused = 0, got = 0;
    for (int i = 0; i < ROUNDS; i++) {
        send_text(t.a, &deaf, "nobody");
        send_text(t.a, &t.to_b, "somebody");
        expect(t.b, "somebody", NULL);
        send_text(t.b, &t.to_a, "reply");
        while (got <= i) {
            char buf[64];
            struct pier_datagram batch[2] = { { .bytes = buf, .cap = 32 },
                                              { .bytes = buf + 32, .cap = 32 } };
            int n = pier_udp_recv(t.a, batch, 2, soon());
            ck_assert_msg(n > 0, "%s", pier_error());
            for (int k = 0; k < n; k++) {
                refused += batch[k].error == -ECONNREFUSED;
                got += batch[k].error == 0;
            }
        }
    }
    ck_assert_int_eq(got, ROUNDS);
    ck_assert_int_gt(refused, 0); /* the kernel may limit its rate */
    close_two(&t);
}

BOTH(without_errors_an_unconnected_socket_hears_of_none)
{
    struct two t;
    open_two(&t, NULL);
    struct pier_addr deaf = deaf_address();
    send_text(t.a, &deaf, "x");
    send_text(t.b, &t.to_a, "y");
    expect(t.a, "y", NULL);
    close_two(&t);
}

BOTH(a_connected_socket_is_refused)
{
    struct pier_addr deaf = deaf_address();
    char text[PIER_ADDR_TEXT], url[PIER_ADDR_TEXT + 8], buf[8];
    snprintf(url, sizeof url, "udp://%s", pier_addr_text(&deaf, text, sizeof text));
    struct pier_udp *u = open_at(NULL, &(struct pier_udp_opts){ .peer = url });
    send_text(u, &(struct pier_addr){ 0 }, "x");
    struct pier_datagram d = { .bytes = buf, .cap = sizeof buf };
    ck_assert_int_eq(pier_udp_recv(u, &d, 1, soon()), -ECONNREFUSED);
    ck_assert_ptr_nonnull(strstr(pier_error(), url));
    pier_udp_close(u);
}

BOTH(a_connected_socket_hears_its_peer_only)
{
    struct two t;
    open_two(&t, NULL);
    char text[PIER_ADDR_TEXT], url[PIER_ADDR_TEXT + 8];
    snprintf(url, sizeof url, "udp://%s", pier_addr_text(&t.to_a, text, sizeof text));
    struct pier_udp *u = open_at("udp://127.0.0.1:0", &(struct pier_udp_opts){ .peer = url });
    struct pier_addr to_u = address_of(u);
    send_text(t.b, &to_u, "stranger");
    send_text(u, &(struct pier_addr){ 0 }, "hello");
    expect(t.a, "hello", NULL);
    send_text(t.a, &to_u, "friend");
    expect(u, "friend", NULL);
    pier_udp_close(u);
    close_two(&t);
}

/* ---- packet information ---- */

BOTH(packet_info_tells_where_it_came_in)
{
    struct pier_udp *u = open_at("udp://0.0.0.0:0", &(struct pier_udp_opts){
                                                        .packet_info = true,
                                                        .receive_ttl = true,
                                                    });
    struct pier_udp *sender = open_at("udp://127.0.0.1:0", &(struct pier_udp_opts){ .ttl = 7 });
    struct pier_addr to, from;
    struct pier_datagram d;
    char text[64];
    snprintf(text, sizeof text, "127.0.0.9:%d", pier_addr_port(&(struct pier_addr){ 0 }));
    struct pier_addr here = address_of(u);
    snprintf(text, sizeof text, "127.0.0.9:%d", pier_addr_port(&here));
    ck_assert_int_eq(pier_addr_parse(&to, text), 0);
    send_text(sender, &to, "x");
    expect(u, "x", &d);
    ck_assert_int_eq(d.ttl, 7);
    ck_assert_int_eq(d.ifindex, 1); /* loopback */
    ck_assert_str_eq(pier_addr_text(&d.to, text, sizeof text), "127.0.0.9:0");
    ck_assert_str_eq(pier_addr_text(&d.local, text, sizeof text), "127.0.0.9:0");
    d.ttl = 9;
    ck_assert_int_eq(pier_udp_send(u, &d, 1), 1);
    expect(sender, "x", &d);
    from = d.peer;
    ck_assert(pier_addr_equal(&from, &to)); /* the reply has left from where it was asked */
    pier_udp_close(sender);
    pier_udp_close(u);
}

BOTH(a_ttl_goes_with_one_datagram)
{
    struct two t;
    struct pier_datagram d;
    open_two(&t, &(struct pier_udp_opts){ .receive_ttl = true });
    struct pier_datagram one = { .bytes = (void *)"1", .len = 1, .peer = t.to_b, .ttl = 3 };
    ck_assert_int_eq(pier_udp_send(t.a, &one, 1), 1);
    send_text(t.a, &t.to_b, "2");
    expect(t.b, "1", &d);
    ck_assert_int_eq(d.ttl, 3);
    expect(t.b, "2", &d);
    ck_assert_int_gt(d.ttl, 3);
    close_two(&t);
}

/* ---- groups, over loopback ---- */

static void exchange_in_group(const char *bind, const char *group, const char *source)
{
    struct pier_udp *member = open_at(bind, &(struct pier_udp_opts){ .reuseaddr = true });
    struct pier_addr here = address_of(member);
    char text[64];
    struct pier_datagram d = { .bytes = (void *)"all", .len = 3 };
    bool is_in6 = strchr(group, ':') != NULL;
    snprintf(text, sizeof text, is_in6 ? "[%s]:%d" : "%s:%d", group, pier_addr_port(&here));
    ck_assert_int_eq(pier_addr_parse(&d.peer, text), 0);
    struct pier_udp *sender = open_at(is_in6 ? "udp://[::1]:0" : "udp://127.0.0.1:0",
                                      &(struct pier_udp_opts){ .interface = "lo" });
    ck_assert_msg(pier_udp_join(member, group, "lo", source) == 0, "%s", pier_error());
    ck_assert_msg(pier_udp_send(sender, &d, 1) == 1, "%s", pier_error());
    expect(member, "all", NULL);
    ck_assert_int_eq(pier_udp_leave(member, group, "lo", source), 0);
    ck_assert_int_eq(pier_udp_send(sender, &d, 1), 1);
    char buf[8];
    struct pier_datagram none = { .bytes = buf, .cap = sizeof buf };
    ck_assert_int_eq(pier_udp_recv(member, &none, 1, pier_after(30 * PIER_MILLISECOND)),
                     -ETIMEDOUT);
    pier_udp_close(sender);
    pier_udp_close(member);
}

BOTH(a_member_of_a_group_gets_what_is_sent_to_it)
{
    exchange_in_group("udp://0.0.0.0:0", "239.77.1.2", NULL);
    exchange_in_group("udp://0.0.0.0:0", "232.77.1.2", "127.0.0.1");
}

BOTH(what_is_no_group_cannot_be_joined)
{
    struct pier_udp *u = open_at("udp://0.0.0.0:0", NULL);
    ck_assert_int_eq(pier_udp_join(u, "127.0.0.1", NULL, NULL), -EINVAL);
    ck_assert_int_eq(pier_udp_join(u, "ff02::1", NULL, NULL), -EINVAL);
    ck_assert_int_eq(pier_udp_join(u, "239.1.1.1", "no-such-if", NULL), -ENODEV);
    ck_assert_ptr_nonnull(strstr(pier_error(), "join group 239.1.1.1 on no-such-if: "));
    ck_assert_int_eq(pier_udp_leave(u, "239.1.1.1", "lo", NULL), -EADDRNOTAVAIL);
    pier_udp_close(u);
}

/* ---- misuse, cancellation, closing ---- */

BOTH(what_cannot_be_opened_says_why)
{
    struct two t;
    char text[PIER_ADDR_TEXT], url[PIER_ADDR_TEXT + 8];
    open_two(&t, NULL);
    snprintf(url, sizeof url, "udp://%s", pier_addr_text(&t.to_a, text, sizeof text));
    ck_assert_ptr_null(pier_udp_open(url, NULL));
    ck_assert_int_eq(pier_error_code(), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(pier_error(), url));
    ck_assert_ptr_null(pier_udp_open("tcp://127.0.0.1:0", NULL));
    ck_assert_int_eq(pier_error_code(), PIER_EURL);
    ck_assert_ptr_null(
        pier_udp_open("udp://127.0.0.1:0", &(struct pier_udp_opts){ .peer = "udp://[::1]:9" }));
    ck_assert_int_eq(pier_error_code(), -EAFNOSUPPORT);
    ck_assert_ptr_null(pier_udp_open(NULL, &(struct pier_udp_opts){ .interface = "no-such-if" }));
    ck_assert_int_eq(pier_error_code(), -ENODEV);
    ck_assert_int_eq(pier_udp_recv(NULL, NULL, 1, 0), -ENODEV);
    ck_assert_int_eq(pier_udp_send(NULL, NULL, 1), -ENODEV);
    ck_assert_int_eq(pier_udp_recv(t.a, NULL, 0, 0), -EINVAL);
    pier_udp_close(NULL);
    close_two(&t);
}

struct waiter {
    struct pier_udp *u;
    int rc;
};

static int wait_for_ever(void *arg)
{
    struct waiter *w = arg;
    char buf[8];
    struct pier_datagram d = { .bytes = buf, .cap = sizeof buf };
    w->rc = pier_udp_recv(w->u, &d, 1, 0);
    return 0;
}

TEST(a_second_receiver_is_busy_and_closing_wakes_the_first)
{
    struct waiter w = { .u = open_at("udp://127.0.0.1:0", NULL) };
    struct pier_scope scope;
    char buf[8];
    struct pier_datagram d = { .bytes = buf, .cap = sizeof buf };
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, wait_for_ever, &w);
    ck_assert_int_eq(pier_yield(), 0);
    ck_assert_int_eq(pier_udp_recv(w.u, &d, 1, 0), -EBUSY);
    pier_udp_close(w.u);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(w.rc, -ECANCELED);
}

/* A sender takes the pending error off the socket: the receiver must hear of it all the same. */
TEST(a_receiver_that_waits_hears_what_a_sender_met)
{
    struct pier_udp *u = open_at("udp://127.0.0.1:0", &(struct pier_udp_opts){ .errors = true });
    struct pier_addr here = address_of(u), deaf = deaf_address();
    struct waiter w = { .u = u, .rc = 0 };
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, wait_for_ever, &w);
    ck_assert_int_eq(pier_yield(), 0);
    send_text(u, &deaf, "x");
    send_text(u, &deaf, "y"); /* meets the first one's refusal */
    int64_t until = soon();
    while (w.rc == 0 && pier_now() < until)
        ck_assert_int_eq(pier_yield(), 0);
    ck_assert_int_eq(w.rc, 1);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    (void)here;
    pier_udp_close(u);
}

HARNESS_MAIN("net_udp")
