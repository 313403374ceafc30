/* SPDX-License-Identifier: MIT */
/*
 * sim_datagram: datagrams between simulated hosts: what their links lose, repeat, hold back and
 * cut to pieces, who learns that nobody is there, and whom groups reach. What single calls return
 * is compared with the kernel's in sim_faithful.c.
 */
#include "sim_raw.h"
#include "sim_scene.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>

/* ---- two sockets ---- */

/* One on each host; both bound, "here" connected. */
struct pair {
    struct raw here, there;
    struct sim_addr at; /* there's */
};

/* The task is on the host whose socket it is when that is opened. */
static void open_at(struct raw *r, struct pier_sim_host *host, struct sim_addr addr)
{
    struct pier_sim_host *before = pi_task_self()->place;
    pier_sim_enter(host);
    ck_assert_int_eq(raw_open_dgram(r, addr.any.sa_family), 0);
    ck_assert_int_eq(io_sockets()->bind(r->f.fd, &addr.any, addr.len), 0);
    pier_sim_enter(before);
}

static void open_pair(struct pair *p)
{
    scene_open();
    p->at = raw_addr("10.0.0.1", 53);
    open_at(&p->there, scene.server, p->at);
    open_at(&p->here, scene.client, raw_addr("0.0.0.0", 0));
    ck_assert_int_eq(raw_connect(&p->here, p->at), 0);
}

static void close_pair(struct pair *p)
{
    raw_close(&p->here);
    raw_close(&p->there);
}

static void link_with(struct pier_sim_link link)
{
    ck_assert_int_eq(pier_sim_set_link(NULL, NULL, &link), 0);
}

static void send_number(struct raw *r, int number)
{
    ck_assert_int_eq(raw_send(r, &number, sizeof number), sizeof number);
}

/* The next number, or a negative code. */
static int recv_number(struct raw *r)
{
    int number;
    ssize_t n = raw_recv(r, &number, sizeof number);
    return n < 0 ? (int)n : number;
}

/* What has become of the numbers below count. */
struct tally {
    int received, lost, twice, overtaken;
};

enum { NUMBERS = 200 };

/* Sends them a few at a time, and receives what comes until all has settled. */
static struct tally exchange(struct pair *p)
{
    int times[NUMBERS] = { 0 }, last = -1, number;
    struct tally t = { 0 };
    for (int i = 0; i < NUMBERS; i++)
        send_number(&p->here, i);
    int64_t end = pier_now() + 10 * PIER_SECOND;
    while (pier_now() < end) {
        number = recv_number(&p->there);
        if (number == -ETIMEDOUT)
            continue;
        ck_assert_int_ge(number, 0);
        ck_assert_int_lt(number, NUMBERS);
        t.received++;
        t.overtaken += number < last;
        last = number > last ? number : last;
        times[number]++;
    }
    for (int i = 0; i < NUMBERS; i++) {
        t.lost += times[i] == 0;
        t.twice += times[i] > 1;
        ck_assert_int_le(times[i], 2);
    }
    return t;
}

/* ---- a link without trouble ---- */

static int takes_its_time(void *arg)
{
    struct pair p;
    open_pair(&p);
    int64_t began = pier_now();
    send_number(&p.here, 7);
    ck_assert_int_eq(recv_number(&p.there), 7);
    ck_assert_int_ge(pier_now() - began, 200 * PIER_MICROSECOND);
    ck_assert_int_le(pier_now() - began, 250 * PIER_MICROSECOND);
    close_pair(&p);
    return 0;
}

TEST(a_datagram_takes_200_us_by_default)
{
    scene_calm(takes_its_time);
}

static int arrive_in_order(void *arg)
{
    struct pair p;
    open_pair(&p);
    int room = 1 << 20;
    raw_set(&p.there, SOL_SOCKET, SO_RCVBUF, room);
    struct tally t = exchange(&p);
    ck_assert_int_eq(t.received, NUMBERS);
    ck_assert_int_eq(t.lost + t.twice + t.overtaken, 0);
    close_pair(&p);
    return 0;
}

TEST(without_trouble_each_datagram_arrives_once_in_order)
{
    scene_passes(arrive_in_order);
}

/* 100 bytes and their headers at 12,800 a second: each takes 10 ms. */
static int waits_for_the_link(void *arg)
{
    enum { LEN = 100, COUNT = 20, EACH_MS = 10 };
    struct pair p;
    char bytes[LEN] = "";
    open_pair(&p);
    link_with((struct pier_sim_link){ .bandwidth = 12800 });
    raw_set(&p.here, SOL_SOCKET, SO_SNDBUF, 1); /* the least: six datagrams */
    int64_t began = pier_now();
    int waits = 0;
    for (int i = 0; i < COUNT; i++) {
        struct io_op op = { .code = IO_SEND, .fd = &p.here.f, .buf = bytes, .len = LEN };
        ssize_t n = io_try(&op);
        waits += n == -EAGAIN;
        if (n == -EAGAIN)
            ck_assert_int_eq(raw_poll(&p.here, POLLOUT), -EAGAIN);
        ck_assert_int_eq(n == -EAGAIN ? raw_send(&p.here, bytes, LEN) : n, LEN);
    }
    ck_assert_int_ge(waits, 4); /* and then for half of the room */
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(raw_recv(&p.there, bytes, LEN), LEN);
    int64_t ms = (pier_now() - began) / PIER_MILLISECOND;
    ck_assert_int_ge(ms, COUNT * EACH_MS);
    ck_assert_int_le(ms, COUNT * EACH_MS + 10);
    ck_assert_int_eq(raw_poll(&p.here, POLLOUT), POLLOUT);
    close_pair(&p);
    return 0;
}

TEST(a_sender_waits_while_the_link_is_busy)
{
    scene_calm(waits_for_the_link);
}

/* ---- trouble on the link ---- */

static int are_lost(void *arg)
{
    struct pair p;
    open_pair(&p);
    raw_set(&p.there, SOL_SOCKET, SO_RCVBUF, 1 << 20);
    link_with((struct pier_sim_link){ .loss_ppm = 200000 });
    struct tally t = exchange(&p);
    ck_assert_int_ge(t.lost, NUMBERS / 10);
    ck_assert_int_le(t.lost, NUMBERS / 3);
    ck_assert_int_eq(t.twice + t.overtaken, 0);
    close_pair(&p);
    return 0;
}

TEST(links_lose_datagrams)
{
    scene_passes(are_lost);
}

static int come_twice(void *arg)
{
    struct pair p;
    open_pair(&p);
    raw_set(&p.there, SOL_SOCKET, SO_RCVBUF, 1 << 20);
    link_with((struct pier_sim_link){ .duplicate_ppm = 200000 });
    struct tally t = exchange(&p);
    ck_assert_int_eq(t.lost, 0);
    ck_assert_int_ge(t.twice, NUMBERS / 10);
    ck_assert_int_le(t.twice, NUMBERS / 3);
    close_pair(&p);
    return 0;
}

TEST(links_repeat_datagrams)
{
    scene_passes(come_twice);
}

static int are_overtaken(void *arg)
{
    struct pair p;
    open_pair(&p);
    raw_set(&p.there, SOL_SOCKET, SO_RCVBUF, 1 << 20);
    link_with((struct pier_sim_link){ .reorder_ppm = 200000 });
    struct tally t = exchange(&p);
    ck_assert_int_eq(t.lost + t.twice, 0);
    ck_assert_int_ge(t.overtaken, NUMBERS / 10);
    ck_assert_int_le(t.overtaken, NUMBERS / 3);
    close_pair(&p);
    return 0;
}

TEST(links_let_datagrams_be_overtaken)
{
    scene_passes(are_overtaken);
}

static int is_lost_once(void *arg)
{
    struct pair p;
    open_pair(&p);
    pier_sim_fail_next(scene.client, PIER_SIM_LOSE, 1);
    for (int i = 0; i < 3; i++)
        send_number(&p.here, i);
    ck_assert_int_eq(recv_number(&p.there), 1);
    ck_assert_int_eq(recv_number(&p.there), 2);
    pier_sim_fail_next(scene.client, PIER_SIM_DUPLICATE, 1);
    send_number(&p.here, 3);
    ck_assert_int_eq(recv_number(&p.there), 3);
    pier_sleep(2 * PIER_SECOND);
    ck_assert_int_eq(recv_number(&p.there), 3);
    pier_sim_fail_next(scene.client, PIER_SIM_REORDER, 1);
    send_number(&p.here, 4);
    send_number(&p.here, 5);
    ck_assert_int_eq(recv_number(&p.there), 5);
    pier_sleep(2 * PIER_SECOND);
    ck_assert_int_eq(recv_number(&p.there), 4);
    close_pair(&p);
    return 0;
}

TEST(trouble_can_be_asked_for)
{
    scene_passes(is_lost_once);
}

static int sends_four(void *arg)
{
    struct pair p;
    int *got = arg, number;
    open_pair(&p);
    link_with((struct pier_sim_link){ .loss_ppm = 500000 });
    *got = 0;
    for (int i = 0; i < 4; i++)
        send_number(&p.here, i);
    while ((number = recv_number(&p.there)) >= 0)
        *got |= 1 << number;
    close_pair(&p);
    return 0;
}

TEST(a_reduction_names_what_is_lost)
{
    char text[64];
    int got = 0;
    struct pier_sim_result result;
    struct pier_sim_opts opts = { .arg = &got, .result = &result, .reduced = text };
    snprintf(text, sizeof text, "faults=2.%d.1+2.%d.3", PIER_SIM_LOSE, PIER_SIM_LOSE);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        scene_seed(seed, &opts, sends_four);
        ck_assert_int_eq(got, 1 << 0 | 1 << 2);
        ck_assert_int_eq(result.faults, 2);
    }
    strcpy(text, "calm=faults");
    scene_seed(1, &opts, sends_four);
    ck_assert_int_eq(got, 0xf);
}

static int repeats_itself(void *arg)
{
    struct pair p;
    open_pair(&p);
    link_with((struct pier_sim_link){
        .loss_ppm = 100000, .duplicate_ppm = 100000, .reorder_ppm = 100000 });
    exchange(&p);
    close_pair(&p);
    return 0;
}

TEST(a_seed_with_datagrams_repeats_itself)
{
    uint64_t hashes[6];
    for (int i = 0; i < 6; i++) {
        struct pier_sim_result result;
        struct pier_sim_opts opts = { .result = &result };
        scene_seed((uint64_t)i / 2, &opts, repeats_itself);
        hashes[i] = result.hash;
    }
    for (int i = 0; i < 6; i += 2)
        ck_assert_uint_eq(hashes[i], hashes[i + 1]);
    ck_assert_uint_ne(hashes[0], hashes[2]);
    ck_assert_uint_ne(hashes[2], hashes[4]);
}

/* ---- long datagrams ---- */

static int arrivals(struct pair *p, size_t len, int count)
{
    static char bytes[65536];
    int arrived = 0;
    for (int i = 0; i < count; i++) {
        ck_assert_int_eq(raw_send(&p->here, bytes, len), (ssize_t)len);
        ssize_t n = raw_recv(&p->there, bytes, sizeof bytes);
        ck_assert(n == (ssize_t)len || n == -ETIMEDOUT);
        arrived += n >= 0;
    }
    return arrived;
}

/* 5 % of the pieces: of 20 together 64 %. */
static int goes_in_fragments(void *arg)
{
    enum { COUNT = 200 };
    struct pair p;
    open_pair(&p);
    link_with((struct pier_sim_link){ .loss_ppm = 50000, .mtu = 1020 });
    int whole = arrivals(&p, 992, COUNT), cut = arrivals(&p, 19992, COUNT);
    ck_assert_int_ge(whole, COUNT * 85 / 100);
    ck_assert_int_ge(cut, COUNT * 20 / 100);
    ck_assert_int_le(cut, COUNT * 55 / 100);
    close_pair(&p);
    return 0;
}

TEST(a_datagram_is_lost_with_any_of_its_fragments)
{
    scene_passes(goes_in_fragments);
}

static int mtu_of(struct raw *r)
{
    int mtu = 0;
    socklen_t len = sizeof mtu;
    ck_assert_int_eq(io_sockets()->get(r->f.fd, IPPROTO_IP, IP_MTU, &mtu, &len), 0);
    return mtu;
}

static int is_not_to_be_cut(void *arg)
{
    static char bytes[2000];
    struct pair p;
    open_pair(&p);
    ck_assert_int_eq(mtu_of(&p.here), 1500);
    ck_assert_int_eq(raw_set(&p.here, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO), 0);
    ck_assert_int_eq(raw_send(&p.here, bytes, 1472), 1472);
    ck_assert_int_eq(raw_send(&p.here, bytes, 1473), -EMSGSIZE);
    link_with((struct pier_sim_link){ .mtu = 600 });
    ck_assert_int_eq(mtu_of(&p.here), 600);
    ck_assert_int_eq(raw_send(&p.here, bytes, 573), -EMSGSIZE);
    ck_assert_int_eq(raw_set(&p.here, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT), 0);
    ck_assert_int_eq(raw_send(&p.here, bytes, 1473), 1473);
    ck_assert_int_eq(raw_recv(&p.there, bytes, sizeof bytes), 1472);
    ck_assert_int_eq(raw_recv(&p.there, bytes, sizeof bytes), 1473);
    close_pair(&p);
    return 0;
}

TEST(what_must_not_be_cut_is_refused_above_the_mtu)
{
    scene_calm(is_not_to_be_cut);
}

/* ---- segmentation ---- */

/* However many are received as one, the bytes are the same and in order. */
static int is_joined(void *arg)
{
    enum { SEGMENT = 100, LEN = 1950, ROUNDS = 20 };
    unsigned char bytes[LEN], got[65536];
    struct pair p;
    open_pair(&p);
    raw_set(&p.there, SOL_SOCKET, SO_RCVBUF, 1 << 20);
    ck_assert_int_eq(raw_set(&p.here, IPPROTO_UDP, UDP_SEGMENT, SEGMENT), 0);
    ck_assert_int_eq(raw_set(&p.there, IPPROTO_UDP, UDP_GRO, 1), 0);
    for (int round = 0; round < ROUNDS; round++) {
        size_t sum = 0;
        for (int i = 0; i < LEN; i++)
            bytes[i] = (unsigned char)(i + i / 256 + round);
        ck_assert_int_eq(raw_send(&p.here, bytes, LEN), LEN);
        while (sum < LEN) {
            ssize_t n = raw_recv(&p.there, got, sizeof got);
            ck_assert_int_gt(n, 0);
            ck_assert_mem_eq(got, bytes + sum, (size_t)n);
            sum += (size_t)n;
            ck_assert(sum % SEGMENT == 0 || sum == LEN);
        }
        ck_assert_uint_eq(sum, LEN);
    }
    ck_assert_int_eq(raw_send(&p.here, bytes, SEGMENT / 2), SEGMENT / 2);
    ck_assert_int_eq(raw_send(&p.here, bytes, SEGMENT), SEGMENT); /* no end of the one before */
    pier_sleep(PIER_SECOND);
    ck_assert_int_eq(raw_recv(&p.there, got, sizeof got), SEGMENT / 2);
    ck_assert_int_eq(raw_recv(&p.there, got, sizeof got), SEGMENT);
    close_pair(&p);
    return 0;
}

TEST(segments_come_apart_or_together)
{
    scene_passes(is_joined);
}

/* ---- nobody there ---- */

static int is_cut(void *arg)
{
    struct pair p;
    open_pair(&p);
    send_number(&p.here, 0);
    pier_sim_cut(scene.client, scene.server); /* overtakes what is under way */
    send_number(&p.here, 1);
    ck_assert_int_eq(recv_number(&p.there), -ETIMEDOUT);
    pier_sim_heal(scene.client, scene.server);
    send_number(&p.here, 2);
    ck_assert_int_eq(recv_number(&p.there), 2);
    raw_close(&p.there);
    pier_sim_cut(scene.server, scene.client); /* nobody is there, and nobody says so */
    send_number(&p.here, 3);
    ck_assert_int_eq(recv_number(&p.here), -ETIMEDOUT);
    pier_sim_heal(scene.server, scene.client);
    send_number(&p.here, 4);
    ck_assert_int_eq(recv_number(&p.here), -ECONNREFUSED);
    pier_sim_fail_next(scene.server, PIER_SIM_LOSE, 1); /* errors are lost, too */
    send_number(&p.here, 5);
    ck_assert_int_eq(recv_number(&p.here), -ETIMEDOUT);
    raw_close(&p.here);
    return 0;
}

TEST(cut_links_are_silent)
{
    scene_passes(is_cut);
}

static int take_error(struct raw *r, struct sock_extended_err *error)
{
    union {
        struct cmsghdr head;
        char bytes[128];
    } control;
    struct msghdr msg = { .msg_control = &control, .msg_controllen = sizeof control };
    ssize_t n = io_sockets()->take_error(r->f.fd, &msg);
    if (n >= 0)
        memcpy(error, CMSG_DATA(&control.head), sizeof *error);
    return (int)n;
}

static int has_no_host(void *arg)
{
    struct raw r;
    struct sock_extended_err error;
    scene_open();
    open_at(&r, scene.client, raw_addr("0.0.0.0", 0));
    struct sim_addr nobody = raw_addr("10.0.0.99", 53);
    ck_assert_int_eq(raw_connect(&r, nobody), 0);
    ck_assert_int_eq(raw_send(&r, "x", 1), 1);
    pier_sleep(10 * PIER_SECOND);
    ck_assert_int_eq(recv_number(&r), -ETIMEDOUT); /* a soft error is not told */
    raw_set(&r, IPPROTO_IP, IP_RECVERR, 1);
    ck_assert_int_eq(raw_send(&r, "y", 1), 1);
    pier_sleep(2 * PIER_SECOND);
    ck_assert_int_eq(raw_poll(&r, POLLIN), -EAGAIN);
    pier_sleep(2 * PIER_SECOND);
    ck_assert_int_eq(raw_poll(&r, POLLIN), POLLERR);
    ck_assert_int_eq(recv_number(&r), -EHOSTUNREACH);
    ck_assert_int_eq(take_error(&r, &error), 0);
    ck_assert_uint_eq(error.ee_errno, EHOSTUNREACH);
    ck_assert_int_eq(take_error(&r, &error), -EAGAIN);
    ck_assert_int_eq(raw_send(&r, "z", 1), 1);
    raw_set(&r, IPPROTO_IP, IP_RECVERR, 0); /* before it is found out */
    pier_sleep(4 * PIER_SECOND);
    ck_assert_int_eq(recv_number(&r), -ETIMEDOUT);
    raw_close(&r);
    ck_assert_int_eq(raw_open_dgram(&r, AF_INET6), 0);
    pier_sim_enter(NULL); /* has no address */
    struct raw none;
    ck_assert_int_eq(raw_open_dgram(&none, AF_INET), 0);
    ck_assert_int_eq(raw_connect(&none, nobody), -ENETUNREACH);
    ck_assert_int_eq(raw_send_to(&none, nobody, "x", 1), -ENETUNREACH);
    raw_close(&none);
    raw_close(&r);
    return 0;
}

TEST(hosts_that_are_not_there_are_found_out_late)
{
    scene_calm(has_no_host);
}

/* ---- crashes ---- */

static int counts_until_it_is_stopped(void *arg)
{
    struct raw r;
    int *count = arg;
    ck_assert_int_eq(raw_open_dgram(&r, AF_INET), 0);
    struct sim_addr addr = raw_addr("10.0.0.1", 53);
    ck_assert_int_eq(io_sockets()->bind(r.f.fd, &addr.any, addr.len), 0);
    int rc;
    do {
        rc = recv_number(&r);
        *count += rc >= 0;
    } while (rc >= 0 || rc == -ETIMEDOUT);
    if (rc != -ECANCELED) /* its machine is down: every call says so until the task knows */
        ck_assert_int_eq(rc, -ENETDOWN);
    raw_close(&r);
    return 0;
}

static int crashes(void *arg)
{
    struct raw r;
    static int count;
    count = 0;
    scene_open();
    ck_assert_int_eq(pier_sim_start(scene.server, counts_until_it_is_stopped, &count), 0);
    pier_sleep(PIER_MILLISECOND);
    open_at(&r, scene.client, raw_addr("0.0.0.0", 0));
    ck_assert_int_eq(raw_connect(&r, raw_addr("10.0.0.1", 53)), 0);
    send_number(&r, 1);
    pier_sleep(200 * PIER_MILLISECOND);
    ck_assert_int_eq(count, 1);
    link_with((struct pier_sim_link){ .latency_ns = PIER_SECOND });
    send_number(&r, 2);
    pier_sim_crash(scene.server); /* while it is under way; it is back before that arrives */
    ck_assert_int_eq(recv_number(&r), -ETIMEDOUT);
    ck_assert_int_eq(pier_sim_restart(scene.server), 0);
    pier_sleep(2 * PIER_SECOND);
    ck_assert_int_eq(count, 1);
    link_with((struct pier_sim_link){ 0 });
    pier_sim_crash(scene.server);
    send_number(&r, 3);
    ck_assert_int_eq(recv_number(&r), -ETIMEDOUT); /* silence, no error */
    ck_assert_int_eq(pier_sim_restart(scene.server), 0);
    pier_sleep(200 * PIER_MILLISECOND);
    send_number(&r, 4);
    pier_sleep(200 * PIER_MILLISECOND);
    ck_assert_int_eq(count, 2);
    pier_sim_stop(scene.server);
    ck_assert_int_eq(pier_sim_join(scene.server), 0);
    send_number(&r, 5); /* it is up, and nobody has the port */
    ck_assert_int_eq(recv_number(&r), -ECONNREFUSED);
    raw_close(&r);
    return 0;
}

TEST(a_crash_loses_what_is_under_way)
{
    scene_passes(crashes);
}

/* ---- groups ---- */

enum { HOSTS = 4 };

/* Three hosts on one link, the fourth on another; a socket on each. */
static void open_all(struct raw all[HOSTS], struct pier_sim_host *hosts[HOSTS], const char *any)
{
    static const char *const addresses[] = { "10.0.0.1 fd00::1", "10.0.0.2 fd00::2",
                                             "10.0.0.3 fd00::3", "10.0.1.1 fd00:0:0:1::1" };
    for (int i = 0; i < HOSTS; i++) {
        hosts[i] = pier_sim_host("host", addresses[i]);
        open_at(&all[i], hosts[i], raw_addr(any, 9999));
    }
}

/* A bit for each host that the datagram has reached. */
static int reached(struct raw all[HOSTS])
{
    int who = 0;
    for (int i = 0; i < HOSTS; i++)
        who |= recv_number(&all[i]) >= 0 ? 1 << i : 0;
    return who;
}

static void send_to(struct raw *r, const char *address)
{
    int number = 1;
    ck_assert_int_eq(raw_send_to(r, raw_addr(address, 9999), &number, sizeof number),
                     sizeof number);
}

static int broadcasts(void *arg)
{
    struct raw all[HOSTS];
    struct pier_sim_host *hosts[HOSTS];
    open_all(all, hosts, "0.0.0.0");
    ck_assert_int_eq(raw_send_to(&all[0], raw_addr("10.0.0.255", 9999), "x", 1), -EACCES);
    raw_set(&all[0], SOL_SOCKET, SO_BROADCAST, 1);
    send_to(&all[0], "255.255.255.255");
    ck_assert_int_eq(reached(all), 1 | 2 | 4);
    send_to(&all[0], "10.0.0.255");
    ck_assert_int_eq(reached(all), 1 | 2 | 4);
    pier_sim_cut(hosts[0], hosts[2]);
    send_to(&all[0], "255.255.255.255");
    ck_assert_int_eq(reached(all), 1 | 2);
    pier_sim_fail_next(hosts[0], PIER_SIM_LOSE, 1); /* each has a copy of its own */
    send_to(&all[0], "255.255.255.255");
    ck_assert_int_eq(reached(all), 1);
    for (int i = 0; i < HOSTS; i++)
        raw_close(&all[i]);
    return 0;
}

TEST(broadcast_reaches_the_hosts_of_a_link)
{
    scene_passes(broadcasts);
}

static void member(struct raw *r, int option, const char *group, const char *source)
{
    struct group_source_req req = { .gsr_interface = SIM_ETHERNET };
    struct sim_addr addr = raw_addr(group, 0);
    memcpy(&req.gsr_group, &addr.any, addr.len);
    int level = addr.any.sa_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
    struct group_req plain = { .gr_interface = SIM_ETHERNET };
    memcpy(&plain.gr_group, &addr.any, addr.len);
    if (source) {
        addr = raw_addr(source, 0);
        memcpy(&req.gsr_source, &addr.any, addr.len);
        ck_assert_int_eq(io_sockets()->set(r->f.fd, level, option, &req, sizeof req), 0);
    } else {
        ck_assert_int_eq(io_sockets()->set(r->f.fd, level, option, &plain, sizeof plain), 0);
    }
}

static void multicast(const char *any, const char *group, const char *sources[2])
{
    struct raw all[HOSTS];
    struct pier_sim_host *hosts[HOSTS];
    open_all(all, hosts, any);
    bool is_in = strchr(group, '.') != NULL;
    int level = is_in ? IPPROTO_IP : IPPROTO_IPV6;
    send_to(&all[0], group);
    ck_assert_int_eq(reached(all), 0);
    for (int i = 1; i < HOSTS; i++)
        member(&all[i], MCAST_JOIN_GROUP, group, NULL);
    send_to(&all[0], group);
    ck_assert_int_eq(reached(all), 2 | 4);
    send_to(&all[1], group); /* and to the sender itself */
    ck_assert_int_eq(reached(all), 2 | 4);
    raw_set(&all[1], level, is_in ? IP_MULTICAST_LOOP : IPV6_MULTICAST_LOOP, 0);
    send_to(&all[1], group);
    ck_assert_int_eq(reached(all), 4);
    raw_set(&all[1], level, is_in ? IP_MULTICAST_TTL : IPV6_MULTICAST_HOPS, 0);
    send_to(&all[1], group);
    ck_assert_int_eq(reached(all), 0);
    member(&all[2], MCAST_LEAVE_GROUP, group, NULL);
    member(&all[2], MCAST_JOIN_SOURCE_GROUP, group, sources[0]);
    send_to(&all[0], group);
    ck_assert_int_eq(reached(all), 2 | 4);
    member(&all[2], MCAST_JOIN_SOURCE_GROUP, group, sources[1]);
    member(&all[2], MCAST_LEAVE_SOURCE_GROUP, group, sources[0]);
    send_to(&all[0], group);
    ck_assert_int_eq(reached(all), 2);
    for (int i = 0; i < HOSTS; i++)
        raw_close(&all[i]);
}

static int joins(void *arg)
{
    multicast("0.0.0.0", "239.1.2.3", (const char *[]){ "10.0.0.1", "10.0.0.2" });
    return 0;
}

static int joins6(void *arg)
{
    multicast("::", "ff15::1:2", (const char *[]){ "fd00::1", "fd00::2" });
    return 0;
}

TEST(multicast_reaches_the_members_on_a_link)
{
    scene_passes(joins);
    scene_passes(joins6);
}

/* ---- connections of datagrams ---- */

/* The name's other address cannot be reached from here: the refusal of the first one is no end. */
static int is_refused_for_now(void *arg)
{
    struct raw r;
    char byte = '1';
    struct pier_sim_host *server = pier_sim_host("server", "10.0.0.1 fd00::1");
    pier_sim_enter(pier_sim_host("client", "10.0.0.2"));
    struct pier_conn *c = pier_dial("udp://server:53", NULL);
    ck_assert_ptr_nonnull(c);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pier_write(c, &byte, 1), 1);
        ck_assert_int_eq(pier_read(c, &byte, 1), -ECONNREFUSED);
    }
    open_at(&r, server, raw_addr("10.0.0.1", 53));
    ck_assert_int_eq(pier_write(c, "2", 1), 1);
    ck_assert_int_eq(raw_recv(&r, &byte, 1), 1);
    ck_assert_int_eq(byte, '2');
    pier_close(c);
    raw_close(&r);
    return 0;
}

TEST(a_refusal_leaves_the_only_way_open)
{
    scene_passes(is_refused_for_now);
}

/* A batch goes out, cut to segments where that pays, and comes in with its extras. */
static int sends_batches(void *arg)
{
    enum { COUNT = 20, LEN = 100, ROOM = 70000 };
    struct pier_udp_opts opts = {
        .segmentation = true, .packet_info = true, .receive_ttl = true, .recv_buffer = 1 << 20
    };
    static char bytes[COUNT][LEN], got[ROOM];
    struct pier_datagram batch[COUNT] = { 0 };
    scene_open();
    struct pier_udp *here = pier_udp_open(NULL, &(struct pier_udp_opts){
                                                    .peer = "udp://10.0.0.1:53",
                                                    .segmentation = true,
                                                    .errors = true,
                                                });
    pier_sim_enter(scene.server);
    struct pier_udp *there = pier_udp_open("udp://10.0.0.1:53", &opts);
    ck_assert_ptr_nonnull(here);
    ck_assert_ptr_nonnull(there);
    for (int i = 0; i < COUNT; i++) {
        memset(bytes[i], i, LEN);
        batch[i] = (struct pier_datagram){ .bytes = bytes[i], .len = LEN };
    }
    ck_assert_int_eq(pier_udp_send(here, batch, COUNT), COUNT);
    int count = 0;
    while (count < COUNT) {
        struct pier_datagram d = { .bytes = got, .cap = ROOM };
        ck_assert_int_eq(pier_udp_recv(there, &d, 1, pier_after(PIER_SECOND)), 1);
        ck_assert_uint_eq(d.len % LEN, 0);
        ck_assert_int_eq(d.ttl, 64);
        ck_assert_int_eq(d.ifindex, SIM_ETHERNET);
        for (size_t at = 0; at < d.len; at += LEN)
            ck_assert_mem_eq(got + at, bytes[count++], LEN);
    }
    ck_assert_int_eq(count, COUNT);
    pier_udp_close(there); /* now nobody is there, and .errors says so */
    ck_assert_int_eq(pier_udp_send(here, batch, 1), 1);
    struct pier_datagram told = { .bytes = got, .cap = ROOM };
    ck_assert_int_eq(pier_udp_recv(here, &told, 1, pier_after(PIER_SECOND)), 1);
    ck_assert_int_eq(told.error, -ECONNREFUSED);
    ck_assert_int_eq(pier_addr_port(&told.peer), 53);
    pier_udp_close(here);
    return 0;
}

TEST(batches_and_errors_pass_the_simulated_network)
{
    scene_passes(sends_batches);
}

/* ---- calls that fail ---- */

static int has_no_descriptor(void *arg)
{
    struct raw r;
    scene_open();
    pier_sim_fail_next(scene.client, PIER_SIM_DESCRIPTORS, 1);
    ck_assert_int_eq(raw_open_dgram(&r, AF_INET), -EMFILE);
    ck_assert_int_eq(raw_open_dgram(&r, AF_UNIX), -EPROTONOSUPPORT);
    ck_assert_int_eq(raw_open_dgram(&r, AF_INET), 0);
    pier_sim_fail_next(scene.client, PIER_SIM_REFUSE, 1);
    ck_assert_int_eq(raw_connect(&r, raw_addr("10.0.0.1", 53)), -ENETUNREACH);
    ck_assert_int_eq(raw_connect(&r, raw_addr("10.0.0.1", 53)), 0);
    raw_close(&r);
    return 0;
}

TEST(opening_and_connecting_can_fail)
{
    scene_passes(has_no_descriptor);
}

/* One port for streams, and another of the same number for datagrams. */
static int shares_numbers(void *arg)
{
    struct raw stream, dgram;
    scene_open();
    ck_assert_int_eq(raw_listen(&stream, raw_addr("10.0.0.2", 80), 5), 0);
    open_at(&dgram, scene.client, raw_addr("10.0.0.2", 80));
    raw_close(&stream);
    raw_close(&dgram);
    return 0;
}

TEST(streams_and_datagrams_have_ports_of_their_own)
{
    scene_passes(shares_numbers);
}

HARNESS_MAIN("sim_datagram")
