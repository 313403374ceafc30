/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_datagram: conversations over udp://, served and dialled, against plain sockets. Each test of
 * a server runs with tasks and with threads.
 */
#include "net_serving.h"

#include "net_names.h"

#include "net/datagram.h"

#define URL "udp://127.0.0.1:0"

/* ---- plain clients ---- */

static int plain_socket(const struct pi_addr *to)
{
    int fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval wait = { .tv_sec = patience() };
    ck_assert_int_ge(fd, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    ck_assert_int_eq(connect(fd, &to->any, to->len), 0);
    return fd;
}

static int peer_of(const struct serving *sv)
{
    return plain_socket(&sv->server->listeners[0].addr);
}

static void say(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), 0), (ssize_t)strlen(text));
}

/* A process that was stopped goes on with EINTR where a receive has a time-out: signal(7). */
static void expect(int fd, const char *text)
{
    char got[65536] = "";
    ssize_t n;
    do
        n = recv(fd, got, sizeof got - 1, 0);
    while (n < 0 && errno == EINTR);
    ck_assert_msg(n >= 0, "instead of \"%s\": %s", text, strerror(errno));
    got[n] = '\0';
    ck_assert_str_eq(got, text);
}

static void exchange(int fd, const char *text)
{
    say(fd, text);
    expect(fd, text);
}

/* ---- in both models ---- */

static struct pier_serve_opts opts; /* of the test that runs; its model is set */

#define IN_BOTH_MODELS(name)                                      \
    static void name##_body(void);                                \
    TEST(name##_in_tasks)                                         \
    {                                                             \
        opts = (struct pier_serve_opts){ .workers = 2 };          \
        name##_body();                                            \
    }                                                             \
    TEST(name##_in_threads)                                       \
    {                                                             \
        opts = (struct pier_serve_opts){ .model = PIER_THREADS }; \
        name##_body();                                            \
    }                                                             \
    static void name##_body(void)

/* ---- conversations ---- */

/* Says which datagram of its conversation each one is; "bye" ends it. */
static int count_them(struct pier_conn *c, void *arg)
{
    char buf[100];
    ssize_t n;
    for (int i = 1; (n = pier_read_text(c, buf, sizeof buf)) > 0; i++) {
        pier_printf(c, "%d %s", i, buf);
        if (strcmp(buf, "bye") == 0)
            return 0;
    }
    return (int)n;
}

IN_BOTH_MODELS(each_peer_has_a_conversation_of_its_own)
{
    struct serving sv;
    serve(&sv, &opts, URL, count_them, NULL);
    int a = peer_of(&sv), b = peer_of(&sv);
    say(a, "x");
    expect(a, "1 x");
    say(b, "y");
    expect(b, "1 y");
    say(a, "z");
    expect(a, "2 z");
    ck_assert_int_eq(pier_server_conns(sv.server), 2);
    close(a);
    close(b);
    ck_assert_int_eq(end_serving(&sv), 0);
}

IN_BOTH_MODELS(what_comes_after_the_end_begins_a_conversation)
{
    struct serving sv;
    serve(&sv, &opts, URL, count_them, NULL);
    int a = peer_of(&sv);
    say(a, "x");
    say(a, "bye");
    say(a, "y");
    say(a, "bye");
    say(a, "bye");
    expect(a, "1 x");
    expect(a, "2 bye");
    expect(a, "1 y");
    expect(a, "2 bye");
    expect(a, "1 bye");
    AWAIT(pier_server_conns(sv.server) == 0);
    say(a, "z");
    expect(a, "1 z");
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
}

IN_BOTH_MODELS(one_place_is_enough_for_one_conversation_after_the_other)
{
    struct serving sv;
    opts.max_conns = 1;
    serve(&sv, &opts, URL, count_them, NULL);
    int a = peer_of(&sv);
    for (int i = 0; i < 50; i++)
        say(a, "bye");
    for (int i = 0; i < 50; i++)
        expect(a, "1 bye");
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
}

IN_BOTH_MODELS(many_in_flight_are_answered_in_order)
{
    enum { FLIGHT = 100, ROUNDS = 20 };
    struct serving sv;
    serve(&sv, &opts, URL, count_them, NULL);
    int a = peer_of(&sv), b = peer_of(&sv);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < FLIGHT; i++) {
            say(a, "some words");
            say(b, i % 3 ? "other words" : "a");
        }
        for (int i = 0; i < FLIGHT; i++) {
            char want[64];
            snprintf(want, sizeof want, "%d some words", round * FLIGHT + i + 1);
            expect(a, want);
            snprintf(want, sizeof want, "%d %s", round * FLIGHT + i + 1,
                     i % 3 ? "other words" : "a");
            expect(b, want);
        }
    }
    ck_assert_int_eq(pier_server_dropped(sv.server), 0);
    close(a);
    close(b);
    ck_assert_int_eq(end_serving(&sv), 0);
}

IN_BOTH_MODELS(ipv6_and_every_address_are_served)
{
    struct serving sv;
    serve(&sv, &opts, "udp://:0", echo, NULL);
    ck_assert_int_ge(pier_server_count(sv.server), 1);
    for (int i = 0; i < pier_server_count(sv.server); i++) {
        struct pi_addr to = sv.server->listeners[i].addr;
        ck_assert_int_eq(strncmp(pier_server_url(sv.server, i), "udp://", 6), 0);
        if (to.any.sa_family == AF_INET)
            to.in.sin_addr.s_addr = htonl(0x7f000005); /* it must answer from there */
        else
            to.in6.sin6_addr = in6addr_loopback;
        int a = plain_socket(&to);
        exchange(a, "anywhere");
        close(a);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* What came before the server ran must be answered from where it was sent to, too. */
IN_BOTH_MODELS(what_waits_for_the_server_is_answered_from_its_own_address)
{
    struct serving sv;
    struct pier_server *s = new_server(&opts, "udp://0.0.0.0:0", echo, NULL);
    struct pi_addr to = s->listeners[0].addr;
    to.in.sin_addr.s_addr = htonl(0x7f000005);
    int a = plain_socket(&to);
    say(a, "early");
    serve_with(&sv, s);
    expect(a, "early");
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* One socket of a peer's, two addresses of ours, in turn and in one batch. */
IN_BOTH_MODELS(each_address_that_a_peer_asks_answers_for_itself)
{
    struct serving sv;
    struct pier_server *s = new_server(&opts, "udp://0.0.0.0:0", count_them, NULL);
    struct pi_addr to = s->listeners[0].addr;
    int a = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval wait = { .tv_sec = patience() };
    setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    for (int i = 0; i < 6; i++) {
        to.in.sin_addr.s_addr = htonl(0x7f000005 + (uint32_t)i % 2);
        ck_assert_int_eq(sendto(a, "x", 1, 0, &to.any, to.len), 1);
    }
    serve_with(&sv, s);
    int last[2] = { 0 };
    for (int i = 0; i < 6; i++) {
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        char got[16] = "";
        ck_assert_int_eq(recvfrom(a, got, sizeof got - 1, 0, (void *)&from, &len), 3);
        uint32_t which = ntohl(from.sin_addr.s_addr) - 0x7f000005;
        ck_assert_uint_lt(which, 2);
        ck_assert_int_eq(atoi(got), ++last[which]);
    }
    ck_assert_int_eq(last[0], 3);
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(an_address_in_use_is_an_error)
{
    struct serving sv;
    opts = (struct pier_serve_opts){ 0 };
    serve(&sv, &opts, URL, echo, NULL);
    struct pier_server *other = pier_server_new(NULL);
    pier_server_add(other, pier_server_url(sv.server, 0), echo, NULL);
    ck_assert_int_eq(pier_server_listen(other), -EADDRINUSE);
    pier_server_free(other);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* ---- the handler's side ---- */

static int look_around(struct pier_conn *c, void *arg)
{
    char buf[64];
    ck_assert_int_gt(pier_read(c, buf, sizeof buf), 0);
    ck_assert_int_eq(pier_shutdown_write(c), -EOPNOTSUPP);
    ck_assert_int_ge(pier_conn_fd(c), 0);
    int64_t in, out;
    pier_conn_bytes(c, &in, &out);
    pier_printf(c, "%s %s %d %d", pier_peer(c), pier_local(c), (int)in, (int)out);
    return 0;
}

IN_BOTH_MODELS(a_handler_sees_both_addresses)
{
    struct serving sv;
    serve(&sv, &opts, URL, look_around, NULL);
    int a = peer_of(&sv);
    struct pi_addr own = { .len = sizeof own.un };
    char mine[PI_ADDR_TEXT_CAP], want[300];
    getsockname(a, &own.any, &own.len);
    snprintf(want, sizeof want, "%s %s 3 0", pi_addr_format(mine, sizeof mine, &own),
             pier_server_url(sv.server, 0) + strlen("udp://"));
    say(a, "who");
    expect(a, want);
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* Reads with a small buffer, and reports what it got. */
static int read_small(struct pier_conn *c, void *arg)
{
    char buf[8];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) != 0)
        pier_printf(c, "%zd %s", n, n < 0 ? pier_error() : "");
    return 0;
}

IN_BOTH_MODELS(a_datagram_longer_than_the_buffer_is_named_and_forgotten)
{
    struct serving sv;
    serve(&sv, &opts, URL, read_small, NULL);
    int a = peer_of(&sv);
    char got[300], want[100];
    say(a, "twelve bytes");
    say(a, "8 bytes!");
    ssize_t n = recv(a, got, sizeof got - 1, 0);
    got[n > 0 ? n : 0] = '\0';
    snprintf(want, sizeof want, "%d read udp://", -EMSGSIZE);
    ck_assert_int_eq(strncmp(got, want, strlen(want)), 0);
    ck_assert_ptr_nonnull(strstr(got, ": a datagram of 12 bytes, room for 8"));
    expect(a, "8 ");
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
}

static int write_huge(struct pier_conn *c, void *arg)
{
    static char huge[65508];
    char buf[8];
    ck_assert_int_gt(pier_read(c, buf, sizeof buf), 0);
    ck_assert_int_eq(pier_write(c, huge, sizeof huge), -EMSGSIZE);
    ck_assert_ptr_nonnull(strstr(pier_error(), "a datagram of 65508 bytes, 65507 are the most"));
    ck_assert_int_eq(pier_write(c, "", 0), 0);
    ck_assert_int_eq(pier_write(c, huge, sizeof huge - 1), sizeof huge - 1);
    struct iovec pieces[] = { { "one ", 4 }, { "datagram", 8 } };
    ck_assert_int_eq(pier_writev(c, pieces, 2), 12);
    return 0;
}

IN_BOTH_MODELS(a_write_is_one_datagram_or_too_large)
{
    struct serving sv;
    static char got[70000];
    serve(&sv, &opts, URL, write_huge, NULL);
    int a = peer_of(&sv);
    say(a, "x");
    ck_assert_int_eq(recv(a, got, sizeof got, 0), 65507);
    expect(a, "one datagram");
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* One of each form; the peer sends what fits. */
static int read_in_forms(struct pier_conn *c, void *arg)
{
    char buf[64];
    ck_assert_int_eq(pier_read_line(c, buf, sizeof buf), 3);
    ck_assert_str_eq(buf, "one");
    ck_assert_int_eq(pier_read_line(c, buf, sizeof buf), 3);
    ck_assert_str_eq(buf, "two");
    ck_assert_int_eq(pier_read_line(c, buf, sizeof buf), 5);
    ck_assert_str_eq(buf, "three"); /* the end of a datagram ends a line */
    ck_assert_int_eq(pier_read_exact(c, buf, 4), 4);
    ck_assert_int_eq(memcmp(buf, "four", 4), 0);
    ck_assert_int_eq(pier_read_exact(c, buf, 4), -EPIPE);
    ck_assert_int_eq(pier_read(c, buf, sizeof buf), 1);
    ck_assert_int_eq(pier_read_until(c, buf, sizeof buf, ";", 1), 5);
    ck_assert_int_eq(pier_read_until(c, buf, sizeof buf, ";", 1), -EPIPE);
    ck_assert_int_eq(pier_read_text(c, buf, sizeof buf), 3);
    ck_assert_str_eq(buf, "six");
    ck_assert_int_eq(pier_read_text(c, buf, sizeof buf), 2); /* cut, and nothing is waited for */
    ck_assert_int_eq(memcmp(buf, "\xe4\xbd", 3), 0);
    pier_puts(c, "done");
    return 0;
}

IN_BOTH_MODELS(lines_and_text_end_with_their_datagram)
{
    struct serving sv;
    serve(&sv, &opts, URL, read_in_forms, NULL);
    int a = peer_of(&sv);
    say(a, "one\r\ntwo\n");
    ck_assert_int_eq(send(a, "", 0, 0), 0); /* an empty one is no end */
    say(a, "three");
    say(a, "four4");
    say(a, "five;six");
    say(a, "\xe4\xbd");
    expect(a, "done");
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
}

static int look_away(struct pier_conn *c, void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
    return 0;
}

IN_BOTH_MODELS(a_handler_that_reads_nothing_has_had_its_datagram)
{
    struct serving sv;
    _Atomic int times = 0;
    serve(&sv, &opts, URL, look_away, (void *)&times);
    int a = peer_of(&sv);
    for (int i = 1; i <= 3; i++) {
        say(a, "x");
        AWAIT(times == i);
        AWAIT(pier_server_conns(sv.server) == 0);
    }
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(times, 3);
}

/* ---- silence, time-outs, places ---- */

IN_BOTH_MODELS(a_silent_peer_has_left)
{
    struct serving sv;
    opts.silence_ms = 50;
    serve(&sv, &opts, URL, count_them, NULL);
    int a = peer_of(&sv);
    say(a, "x");
    expect(a, "1 x");
    AWAIT(pier_server_conns(sv.server) == 0);
    say(a, "x");
    expect(a, "1 x");
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(said("connection failed"), 0); /* it is no failure */
}

static int wait_shortly(struct pier_conn *c, void *arg)
{
    char buf[64];
    pier_set_timeouts(c, 30, 0);
    ck_assert_int_eq(pier_read(c, buf, sizeof buf), 1);
    ck_assert_int_eq(pier_read(c, buf, sizeof buf), -ETIMEDOUT);
    pier_set_timeouts(c, PIER_NO_TIMEOUT, 0);
    pier_puts(c, "late");
    ck_assert_int_eq(pier_read(c, buf, sizeof buf), 1);
    pier_puts(c, "there");
    return 0;
}

IN_BOTH_MODELS(a_read_that_times_out_ends_nothing)
{
    struct serving sv;
    serve(&sv, &opts, URL, wait_shortly, NULL);
    int a = peer_of(&sv);
    say(a, "x");
    expect(a, "late");
    say(a, "y");
    expect(a, "there");
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(a_full_server_gives_the_place_of_the_one_idle_for_longest)
{
    struct serving sv;
    opts = (struct pier_serve_opts){ .workers = 1, .max_conns = 2 };
    serve(&sv, &opts, URL, count_them, NULL);
    int a = peer_of(&sv), b = peer_of(&sv), c = peer_of(&sv);
    say(a, "x");
    expect(a, "1 x");
    say(b, "x");
    expect(b, "1 x");
    say(a, "x");
    expect(a, "2 x");
    say(c, "x");
    expect(c, "1 x"); /* in b's place */
    say(a, "x");
    expect(a, "3 x");
    say(b, "x");
    expect(b, "1 x"); /* in c's */
    ck_assert_int_eq(pier_server_dropped(sv.server), 0);
    ck_assert_int_le(pier_server_conns(sv.server), 2 + 1);
    close(a);
    close(b);
    close(c);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* Who is idle depends on how far threads have come. */
TEST(a_full_server_with_threads_gives_an_idle_ones_place)
{
    struct serving sv;
    opts = (struct pier_serve_opts){ .model = PIER_THREADS, .max_conns = 2 };
    serve(&sv, &opts, URL, count_them, NULL);
    for (int i = 0; i < 20; i++) {
        int a = peer_of(&sv), tries = 0;
        struct timeval soon = { .tv_usec = 100 * 1000 };
        setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
        char got[16];
        do
            say(a, "x"); /* none was idle when it came: once more */
        while (recv(a, got, sizeof got, 0) != 3 && ++tries < 100);
        ck_assert_int_lt(tries, 100);
        ck_assert_int_le(pier_server_conns(sv.server), 2 + 1); /* one asks for a place */
        close(a);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* Whoever can send a few datagrams must not keep connections out for a minute. */
IN_BOTH_MODELS(idle_conversations_make_room_for_connections)
{
    enum { PLACES = 4 };
    struct serving sv;
    pier_log_set(keep_record, NULL);
    opts.max_conns = PLACES;
    struct pier_server *s = pier_server_new(&opts);
    ck_assert_int_eq(pier_server_add(s, "tcp://127.0.0.1:0", echo, NULL), 0);
    ck_assert_int_eq(pier_server_add(s, URL, count_them, NULL), 0); /* another worker's */
    ck_assert_int_eq(pier_server_listen(s), 0);
    serve_with(&sv, s);
    int peers[PLACES], conns[PLACES];
    for (int i = 0; i < PLACES; i++) {
        peers[i] = plain_socket(&s->listeners[1].addr);
        say(peers[i], "x");
        expect(peers[i], "1 x");
    }
    for (int i = 0; i < PLACES; i++) {
        conns[i] = client(s);
        exchange(conns[i], "here");
    }
    say(peers[0], "x"); /* connections keep their places */
    AWAIT(pier_server_dropped(s) == 1);
    for (int i = 0; i < PLACES; i++) {
        exchange(conns[i], "still");
        close(conns[i]);
        close(peers[i]);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
}

static int hold(struct pier_conn *c, void *arg)
{
    struct gate *g = arg;
    char buf[64];
    atomic_fetch_add(&g->inside, 1);
    pier_event_wait(&g->open);
    int n = 0;
    while (pier_set_timeouts(c, 200, 0) == 0 && pier_read(c, buf, sizeof buf) > 0)
        n++;
    pier_printf(c, "%d", n);
    atomic_fetch_sub(&g->inside, 1);
    return 0;
}

IN_BOTH_MODELS(a_full_queue_drops_the_newest_and_counts)
{
    enum { SENT = 400, KEPT = 256 };
    struct serving sv;
    struct gate g = { 0 };
    pier_event_init(&g.open, 0);
    opts.sock.recv_buffer = 1 << 20;
    serve(&sv, &opts, URL, hold, &g);
    int a = peer_of(&sv);
    say(a, "0");
    AWAIT(g.inside == 1);
    for (int i = 1; i < SENT; i++)
        say(a, "x");
    AWAIT(pier_server_dropped(sv.server) == SENT - KEPT);
    pier_event_set(&g.open);
    expect(a, "256");
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_gt(said("datagrams dropped"), 0);
    pier_event_fini(&g.open);
}

static int tell_lengths(struct pier_conn *c, void *arg)
{
    char *buf = malloc(65536);
    ssize_t n;
    ck_assert_ptr_nonnull(buf);
    while ((n = pier_read(c, buf, 65536)) > 0)
        pier_printf(c, "%zd", n);
    free(buf);
    return (int)n;
}

/* Holds the first conversations, and answers the others. */
struct some_held {
    struct gate gate;
    int count;
    _Atomic int served;
};

static int hold_the_first(struct pier_conn *c, void *arg)
{
    struct some_held *h = arg;
    if (atomic_fetch_add(&h->served, 1) < h->count)
        return hold(c, &h->gate);
    return tell_lengths(c, NULL);
}

/* Sends it until it is answered: the receive buffer may still be full of what came before. */
static void insist(int fd, const void *bytes, size_t len)
{
    struct timeval soon = { .tv_usec = 100 * 1000 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    char got[16] = "";
    int tries = 0;
    do
        ck_assert_int_eq(send(fd, bytes, len, 0), (ssize_t)len);
    while (recv(fd, got, sizeof got - 1, 0) < 0 && ++tries < 10 * patience());
    ck_assert_int_eq(atoi(got), (int)len);
}

IN_BOTH_MODELS(what_two_peers_have_waiting_leaves_room_for_the_others)
{
    enum { LARGE = 65000, SENT = 300 };
    static char large[LARGE];
    struct serving sv;
    struct some_held h = { .count = 2 };
    pier_event_init(&h.gate.open, 0);
    serve(&sv, &opts, URL, hold_the_first, &h);
    int peers[] = { peer_of(&sv), peer_of(&sv), peer_of(&sv) };
    say(peers[0], "x");
    say(peers[1], "x");
    AWAIT(h.gate.inside == 2);
    for (int i = 0; i < SENT; i++) {
        ck_assert_int_eq(send(peers[0], large, sizeof large, 0), LARGE);
        ck_assert_int_eq(send(peers[1], large, sizeof large, 0), LARGE);
        pier_sleep(PIER_MILLISECOND / 4); /* they need not all arrive: most of them do */
    }
    insist(peers[2], large, sizeof large);
    pier_event_set(&h.gate.open);
    for (int i = 0; i < 3; i++)
        close(peers[i]);
    ck_assert_int_eq(end_serving(&sv), 0);
    pier_event_fini(&h.gate.open);
}

/* However long ago they were heard: those whose handlers are busy are in nobody's way. */
IN_BOTH_MODELS(a_place_is_found_behind_many_that_are_busy)
{
    enum { BUSY = 100, IDLE = 4 };
    struct serving sv;
    struct some_held h = { .count = BUSY };
    pier_event_init(&h.gate.open, 0);
    opts.max_conns = BUSY + IDLE;
    serve(&sv, &opts, URL, hold_the_first, &h);
    int peers[BUSY + IDLE + 1], count = 0;
    for (; count < BUSY; count++) {
        peers[count] = peer_of(&sv);
        say(peers[count], "x");
        AWAIT(h.gate.inside == count + 1);
    }
    for (; count < BUSY + IDLE; count++) {
        peers[count] = peer_of(&sv);
        say(peers[count], "x");
        expect(peers[count], "1");
    }
    peers[count] = peer_of(&sv);
    insist(peers[count], "x", 1); /* a thread may not have been idle yet */
    pier_event_set(&h.gate.open);
    for (int i = 0; i <= count; i++)
        close(peers[i]);
    ck_assert_int_eq(end_serving(&sv), 0);
    pier_event_fini(&h.gate.open);
}

IN_BOTH_MODELS(who_finds_no_place_is_dropped_and_counted)
{
    struct serving sv;
    struct gate g = { 0 };
    pier_event_init(&g.open, 0);
    opts.max_conns = 1;
    serve(&sv, &opts, URL, hold, &g);
    int a = peer_of(&sv), b = peer_of(&sv);
    say(a, "x");
    AWAIT(g.inside == 1);
    say(b, "x");
    AWAIT(pier_server_dropped(sv.server) == 1);
    pier_event_set(&g.open);
    expect(a, "1");
    AWAIT(pier_server_conns(sv.server) == 0);
    say(b, "x");
    expect(b, "1");
    close(a);
    close(b);
    ck_assert_int_eq(end_serving(&sv), 0);
    pier_event_fini(&g.open);
}

/* ---- the end ---- */

IN_BOTH_MODELS(a_stop_ends_idle_conversations)
{
    struct serving sv;
    serve(&sv, &opts, URL, count_them, NULL);
    int a = peer_of(&sv);
    say(a, "x");
    expect(a, "1 x");
    close(a);
    int64_t begin = pier_now();
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_lt(ms_since(begin), 5000);
}

/* Keeps the loop from running while datagrams pile up, then stops: they are still answered. */
struct stopper {
    struct pier_server *server;
    int fd;
};

static int stop_first(struct pier_conn *c, void *arg)
{
    struct stopper *s = arg;
    char buf[64];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0) {
        if (buf[0] == 'x') {
            for (int i = 0; i < 100; i++)
                say(s->fd, "y");
            pier_server_stop_remote(s->server);
        }
        pier_write(c, buf, (size_t)n);
    }
    return (int)n;
}

IN_BOTH_MODELS(what_had_come_before_a_stop_is_still_served)
{
    struct serving sv;
    struct stopper st = { .fd = -1 };
    opts.sock.recv_buffer = 1 << 20;
    struct pier_server *s = new_server(&opts, URL, stop_first, &st);
    st.server = s;
    st.fd = plain_socket(&s->listeners[0].addr);
    serve_with(&sv, s);
    say(st.fd, "x");
    expect(st.fd, "x");
    for (int i = 0; i < 100; i++)
        expect(st.fd, "y");
    ck_assert_int_eq(finish_serving(&sv), 0);
    close(st.fd);
}

static int never_end(struct pier_conn *c, void *arg)
{
    _Atomic int *inside = arg;
    *inside = 1;
    return pier_sleep(PIER_HOUR);
}

IN_BOTH_MODELS(the_grace_ends_handlers_that_go_on)
{
    struct serving sv;
    _Atomic int inside = 0;
    opts.grace_ms = 50;
    serve(&sv, &opts, URL, never_end, (void *)&inside);
    int a = peer_of(&sv);
    say(a, "x");
    AWAIT(inside);
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);
}

IN_BOTH_MODELS(a_cancelled_server_leaves_nothing_behind)
{
    struct serving sv;
    serve(&sv, &opts, URL, count_them, NULL);
    int a = peer_of(&sv);
    say(a, "x");
    expect(a, "1 x");
    close(a);
    pier_scope_cancel_remote(&sv.scope);
    ck_assert_int_eq(finish_serving(&sv), -ECANCELED);
}

IN_BOTH_MODELS(streams_and_datagrams_go_together)
{
    struct serving sv;
    struct pier_server *s = new_server(&opts, URL, echo, NULL);
    serve_with(&sv, s);
    int a = peer_of(&sv);
    exchange(a, "datagram");
    close(a);
    ck_assert_int_eq(end_serving(&sv), 0);

    s = pier_server_new(&opts);
    pier_server_add(s, "tcp://127.0.0.1:0", echo, NULL);
    pier_server_add(s, URL, echo, NULL);
    pier_server_add(s, URL, echo, NULL);
    ck_assert_int_eq(pier_server_listen(s), 0);
    serve_with(&sv, s);
    int stream = client(s);
    expect_echo(stream, "stream");
    for (int i = 1; i < 3; i++) {
        a = plain_socket(&s->listeners[i].addr);
        exchange(a, "datagram");
        close(a);
    }
    close(stream);
    ck_assert_int_eq(end_serving(&sv), 0);
}

IN_BOTH_MODELS(a_flood_of_peers_is_bounded_and_ends)
{
    enum { PEERS = 300, PLACES = 20 };
    struct serving sv;
    opts.max_conns = PLACES;
    serve(&sv, &opts, URL, echo, NULL);
    for (int i = 0; i < PEERS; i++) {
        int a = peer_of(&sv);
        say(a, "hello"); /* with threads nobody may be idle at the moment: it is dropped then */
        /* One who asks for a place is counted for a moment. */
        ck_assert_int_le(pier_server_conns(sv.server), PLACES);
        close(a);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* ---- dialling ---- */

struct stand {
    int fd;
    struct pi_addr addr;
    char url[PI_URL_TEXT_CAP];
};

/* A plain socket at ip; port 0: any. */
static bool try_stand(struct stand *st, const char *ip, int port)
{
    struct timeval wait = { .tv_sec = patience() };
    char text[PI_ADDR_TEXT_CAP];
    st->addr = (struct pi_addr){ .len = sizeof st->addr.in };
    st->addr.in.sin_family = AF_INET;
    st->addr.in.sin_port = htons((uint16_t)port);
    inet_pton(AF_INET, ip, &st->addr.in.sin_addr);
    st->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    setsockopt(st->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    if (bind(st->fd, &st->addr.any, st->addr.len) < 0) {
        close(st->fd);
        return false;
    }
    getsockname(st->fd, &st->addr.any, &st->addr.len);
    snprintf(st->url, sizeof st->url, "udp://%s", pi_addr_format(text, sizeof text, &st->addr));
    return true;
}

static void stand_at(struct stand *st, const char *ip, int port)
{
    ck_assert_msg(try_stand(st, ip, port), "%s:%d: %s", ip, port, strerror(errno));
}

/* What comes is sent back to its sender with something before it. */
static void answer(const struct stand *st, const char *want, const char *before)
{
    struct pi_addr from = { .len = sizeof from.un };
    char got[4096], reply[4200];
    ssize_t n = recvfrom(st->fd, got, sizeof got - 1, 0, &from.any, &from.len);
    ck_assert_int_ge(n, 0);
    got[n] = '\0';
    ck_assert_str_eq(got, want);
    int len = snprintf(reply, sizeof reply, "%s%s", before, got);
    sendto(st->fd, reply, (size_t)len, 0, &from.any, from.len);
}

static struct pier_conn *dial_url(const char *url)
{
    struct pier_conn *c = pier_dial(url, NULL);
    ck_assert_msg(c != NULL, "%s", pier_error());
    return c;
}

static void expect_text(struct pier_conn *c, const char *text)
{
    char got[4200];
    ssize_t n = pier_read_text(c, got, sizeof got);
    ck_assert_msg(n > 0, "instead of \"%s\": %zd %s", text, n, pier_error());
    ck_assert_str_eq(got, text);
}

BOTH(a_dialled_connection_exchanges_datagrams)
{
    struct stand st;
    stand_at(&st, "127.0.0.1", 0);
    struct pier_conn *c = dial_url(st.url);
    ck_assert_str_eq(pier_peer(c), st.url + strlen("udp://"));
    ck_assert_int_eq(pier_puts(c, "hello"), 5);
    answer(&st, "hello", "re: ");
    expect_text(c, "re: hello");
    ck_assert_int_eq(pier_shutdown_write(c), -EOPNOTSUPP);
    ck_assert_int_eq(pier_puts(c, "again"), 5); /* and that has ended nothing */
    answer(&st, "again", "");
    expect_text(c, "again");
    pier_close(c);
    close(st.fd);
}

BOTH(a_dialled_read_names_a_datagram_that_is_too_long)
{
    struct stand st;
    char small[8];
    stand_at(&st, "127.0.0.1", 0);
    struct pier_conn *c = dial_url(st.url);
    pier_puts(c, "0123456789");
    answer(&st, "0123456789", "");
    pier_puts(c, "short");
    answer(&st, "short", "");
    ck_assert_int_eq(pier_read(c, small, sizeof small), -EMSGSIZE);
    ck_assert_ptr_nonnull(strstr(pier_error(), "a datagram of 10 bytes, room for 8"));
    ck_assert_int_eq(pier_read(c, small, sizeof small), 5);
    pier_close(c);
    close(st.fd);
}

BOTH(a_dialled_write_has_a_limit)
{
    struct stand st;
    static char huge[65508];
    stand_at(&st, "127.0.0.1", 0);
    struct pier_conn *c = dial_url(st.url);
    ck_assert_int_eq(pier_write(c, huge, sizeof huge), -EMSGSIZE);
    ck_assert_ptr_nonnull(strstr(pier_error(), "a datagram of 65508 bytes, 65507 are the most"));
    ck_assert_int_eq(pier_write(c, huge, sizeof huge - 1), sizeof huge - 1);
    pier_close(c);
    close(st.fd);
}

BOTH(a_port_that_nobody_has_refuses)
{
    struct stand st;
    char buf[8];
    stand_at(&st, "127.0.0.1", 0);
    close(st.fd);
    struct pier_conn *c = dial_url(st.url);
    ck_assert_int_eq(pier_puts(c, "anybody?"), 8);
    ck_assert_int_eq(pier_read(c, buf, sizeof buf), -ECONNREFUSED);
    char want[PI_URL_TEXT_CAP + 40];
    snprintf(want, sizeof want, "read %s: connection refused", st.url);
    ck_assert_str_eq(pier_error(), want);
    ck_assert_int_eq(pier_exit_code(), 4);
    stand_at(&st, "127.0.0.1", pi_addr_port(&st.addr)); /* it may come to life: nothing is sticky */
    ck_assert_int_eq(pier_puts(c, "now?"), 4);
    answer(&st, "now?", "");
    expect_text(c, "now?");
    pier_close(c);
    close(st.fd);
}

/* Several addresses of one name, of which only some have somebody at the port. */
static int row_of(struct stand *st, const char *const *ips, int alive)
{
    for (int tries = 0; tries < 100; tries++) {
        stand_at(st, ips[alive], 0);
        int port = pi_addr_port(&st->addr);
        struct stand other;
        bool free_elsewhere = true;
        for (int i = 0; i < alive && free_elsewhere; i++)
            if ((free_elsewhere = try_stand(&other, ips[i], port)))
                close(other.fd);
        if (free_elsewhere)
            return port;
        close(st->fd);
    }
    ck_abort_msg("no port is free on all addresses");
    return 0;
}

BOTH(a_refusal_before_any_reply_goes_on_to_the_next_address)
{
    static const char *const ips[] = { "127.0.0.2", "127.0.0.3", "127.0.0.4" };
    struct stand st;
    char url[64], peer[64];
    int port = row_of(&st, ips, 2);
    names_set(ips, 3, 0);
    snprintf(url, sizeof url, "udp://three.test:%d", port);
    struct pier_conn *c = pier_dial(url, &(struct pier_dial_opts){ .sock.recv_buffer = 12345 });
    ck_assert_msg(c != NULL, "%s", pier_error());
    const char *first = pier_peer(c);
    ck_assert_int_eq(pier_puts(c, "hello"), 5);
    struct pi_addr from = { .len = sizeof from.un };
    char got[64];
    ck_assert_int_eq(pier_set_timeouts(c, 300, 0), 0);
    ck_assert_int_eq(pier_read(c, got, sizeof got), -ETIMEDOUT); /* it has moved on meanwhile */
    ck_assert_int_eq(recvfrom(st.fd, got, sizeof got, 0, &from.any, &from.len), 5);
    ck_assert_int_eq(memcmp(got, "hello", 5), 0);
    int room = 0;
    socklen_t room_len = sizeof room;
    getsockopt(pier_conn_fd(c), SOL_SOCKET, SO_RCVBUF, &room, &room_len);
    ck_assert_int_eq(room, 2 * 12345); /* socket(7): doubled; the next address's, too */
    sendto(st.fd, "here", 4, 0, &from.any, from.len);
    expect_text(c, "here");
    snprintf(peer, sizeof peer, "127.0.0.4:%d", port);
    ck_assert_str_eq(pier_peer(c), peer);
    snprintf(peer, sizeof peer, "127.0.0.2:%d", port);
    ck_assert_str_eq(first, peer); /* still valid */
    pier_close(c);
    close(st.fd);
}

BOTH(ipv4_addresses_of_a_name_come_first)
{
    static const char *const ips[] = { "::1", "127.0.0.5" };
    struct stand st;
    char url[64];
    stand_at(&st, "127.0.0.5", 0);
    names_set(ips, 2, 0);
    snprintf(url, sizeof url, "udp://two.test:%d", pi_addr_port(&st.addr));
    struct pier_conn *c = dial_url(url);
    pier_puts(c, "four");
    answer(&st, "four", "");
    expect_text(c, "four");
    pier_close(c);
    close(st.fd);
}

BOTH(after_a_reply_a_refusal_is_one)
{
    static const char *const ips[] = { "127.0.0.2", "127.0.0.3" };
    struct stand st;
    char url[64], buf[8];
    stand_at(&st, "127.0.0.2", 0);
    names_set(ips, 2, 0);
    snprintf(url, sizeof url, "udp://two.test:%d", pi_addr_port(&st.addr));
    struct pier_conn *c = dial_url(url);
    pier_puts(c, "x");
    answer(&st, "x", "");
    expect_text(c, "x");
    close(st.fd);
    pier_puts(c, "y");
    ck_assert_int_eq(pier_read(c, buf, sizeof buf), -ECONNREFUSED);
    pier_close(c);
}

HARNESS_MAIN("net_datagram")
