/* SPDX-License-Identifier: MIT */
/*
 * net_name_server: a name server that knows nothing of Pier, on a thread: the first label of the
 * name that it is asked for says what it does.
 *
 *     struct name_server s;
 *     start_name_server(&s);
 *     ... s.where is "127.0.0.1:53211", s.asked counts ...
 *     stop_name_server(&s);
 */
#ifndef PIER_TESTS_NET_NAME_SERVER_H
#define PIER_TESTS_NET_NAME_SERVER_H

#include "both.h"

#include <stdatomic.h>

/* What its thread does first. */
#ifndef NAME_SERVER_BEGINS
#define NAME_SERVER_BEGINS() ((void)0)
#endif

enum { MESSAGE_MAX = 8192, TYPE_A = 1, TYPE_CNAME = 5, TYPE_SOA = 6, TYPE_AAAA = 28 };

struct name_server {
    pthread_t thread;
    int udp, tcp, stop[2];
    char where[32];
    const char *always; /* instead of what names say */
    int slow_ms;        /* before a reply to an A query for late4 */
    _Atomic int asked, asked_by_tcp;
};

struct message {
    unsigned char *bytes;
    size_t len;
};

static inline void put_u16(struct message *m, int value)
{
    m->bytes[m->len++] = (unsigned char)(value >> 8);
    m->bytes[m->len++] = (unsigned char)value;
}

static inline void put_name(struct message *m, const char *name)
{
    while (*name) {
        size_t len = strcspn(name, ".");
        m->bytes[m->len++] = (unsigned char)len;
        memcpy(m->bytes + m->len, name, len);
        m->len += len;
        name += len + (name[len] == '.');
    }
    m->bytes[m->len++] = 0;
}

/* Counts it in the section at that place of the head: 6 answers, 8 authority. */
static inline void put_record(struct message *m, int section, const char *owner, int type, int ttl)
{
    m->bytes[section + 1]++;
    if (owner)
        put_name(m, owner);
    else
        put_u16(m, 0xc00c); /* the question's name */
    put_u16(m, type);
    put_u16(m, 1);
    put_u16(m, ttl >> 16);
    put_u16(m, ttl);
}

static inline void put_ip(struct message *m, const char *owner, const char *ip, int ttl)
{
    bool six = strchr(ip, ':') != NULL;
    put_record(m, 6, owner, six ? TYPE_AAAA : TYPE_A, ttl);
    put_u16(m, six ? 16 : 4);
    inet_pton(six ? AF_INET6 : AF_INET, ip, m->bytes + m->len);
    m->len += six ? 16 : 4;
}

static inline void put_alias(struct message *m, const char *owner, const char *to)
{
    struct message data = { (unsigned char[300]){ 0 }, 0 };
    put_name(&data, to);
    put_record(m, 6, owner, TYPE_CNAME, 60);
    put_u16(m, (int)data.len);
    memcpy(m->bytes + m->len, data.bytes, data.len);
    m->len += data.len;
}

static inline void put_soa(struct message *m, int ttl, int minimum)
{
    put_record(m, 8, "test", TYPE_SOA, ttl);
    put_u16(m, 4 + 20);
    put_u16(m, 0x016e); /* "n" */
    put_u16(m, 0x0000); /* its end, and the root */
    for (int i = 0; i < 8; i++)
        put_u16(m, 0);
    put_u16(m, minimum >> 16);
    put_u16(m, minimum);
}

static inline bool is_called(const char *label, const char *wanted)
{
    return strncmp(label, wanted, strlen(wanted)) == 0;
}

static inline void put_addresses(struct message *m, int type, int ttl)
{
    put_ip(m, NULL, type == TYPE_AAAA ? "2001:db8::1" : "192.0.2.1", ttl);
}

static inline void put_big(struct message *m, bool by_tcp)
{
    for (int i = 0; by_tcp && i < 40; i++) {
        put_record(m, 6, NULL, 16, 60);
        put_u16(m, 101);
        m->bytes[m->len++] = 100;
        memset(m->bytes + m->len, 'a' + i % 26, 100);
        m->len += 100;
    }
    if (!by_tcp)
        m->bytes[2] |= 2;
}

/* Fills in what label asks for. False: nothing is said. */
static inline bool name_server_says(struct message *m, const char *label, int type, bool by_tcp)
{
    if (is_called(label, "silent"))
        return false;
    if (is_called(label, "nx")) {
        m->bytes[3] |= 3;
        if (is_called(label, "nxsoa"))
            put_soa(m, 100, 50);
    } else if (is_called(label, "servfail")) {
        m->bytes[3] |= 2;
    } else if (is_called(label, "refused")) {
        m->bytes[3] |= 5;
    } else if (is_called(label, "lame")) {
        m->bytes[2] &= 0xfb;
        m->bytes[3] &= 0x7f;
    } else if (is_called(label, "loop")) {
        put_alias(m, NULL, "two.test");
        put_alias(m, "two.test", label[4] == 's' ? "loops.test" : "three.test");
        put_alias(m, "three.test", "two.test");
    } else if (is_called(label, "alias")) {
        put_ip(m, "end.test", type == TYPE_AAAA ? "2001:db8::2" : "192.0.2.2", 60);
        put_alias(m, "middle.test", "END.test");
        put_alias(m, NULL, "middle.test");
    } else if (is_called(label, "garbled")) {
        put_record(m, 6, NULL, type, 60);
        put_u16(m, 400);
    } else if (is_called(label, "big")) {
        put_big(m, by_tcp);
    } else if (is_called(label, "only4") && type == TYPE_AAAA) {
        put_soa(m, 100, 50);
    } else if (is_called(label, "mute6") && type == TYPE_AAAA) {
        return false;
    } else if (is_called(label, "mute6") || is_called(label, "late4")) {
        put_ip(m, NULL, type == TYPE_AAAA ? "::1" : "127.0.0.1", 60);
    } else {
        put_addresses(m, type, is_called(label, "once") ? 0 : 60);
    }
    return true;
}

/* The reply to a query in place of it: its length, 0: none. */
static inline size_t name_server_reply(struct name_server *s, unsigned char *bytes, size_t len,
                                       bool by_tcp)
{
    char label[64] = "";
    size_t end = 12;
    if (len < 17)
        return 0;
    memcpy(label, bytes + 13, bytes[12] < 63 ? bytes[12] : 63);
    while (end < len && bytes[end])
        end += 1 + bytes[end];
    int type = bytes[end + 1] << 8 | bytes[end + 2];
    struct message m = { bytes, end + 5 };
    bytes[2] = 0x85; /* an authoritative reply */
    bytes[3] = 0x80; /* of one that asks others */
    memset(bytes + 6, 0, 6);
    atomic_fetch_add(by_tcp ? &s->asked_by_tcp : &s->asked, 1);
    return name_server_says(&m, s->always ? s->always : label, type, by_tcp) ? m.len : 0;
}

static inline void serve_datagram(struct name_server *s)
{
    unsigned char bytes[MESSAGE_MAX];
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    ssize_t n = recvfrom(s->udp, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &len);
    size_t reply = n > 0 ? name_server_reply(s, bytes, (size_t)n, false) : 0;
    if (reply > 0 && s->slow_ms && bytes[reply - 5] == 4) /* one record, of four bytes */
        poll(NULL, 0, s->slow_ms);
    if (reply > 0)
        sendto(s->udp, bytes, reply, 0, (struct sockaddr *)&from, len);
}

static inline void serve_stream(struct name_server *s)
{
    unsigned char bytes[2 + MESSAGE_MAX];
    int fd = accept4(s->tcp, NULL, NULL, SOCK_CLOEXEC);
    size_t n = recv_all(fd, bytes, 2) == 2 ? (size_t)(bytes[0] << 8 | bytes[1]) : 0;
    size_t reply = n > 0 && n < MESSAGE_MAX && recv_all(fd, bytes + 2, n) == n
                       ? name_server_reply(s, bytes + 2, n, true)
                       : 0;
    bytes[0] = (unsigned char)(reply >> 8);
    bytes[1] = (unsigned char)reply;
    for (size_t i = 0; reply > 0 && i < reply + 2; i += 1000) /* in pieces */
        send_all(fd, bytes + i, reply + 2 - i < 1000 ? reply + 2 - i : 1000);
    close(fd);
}

static inline void *run_name_server(void *arg)
{
    struct name_server *s = arg;
    NAME_SERVER_BEGINS();
    for (;;) {
        struct pollfd fds[] = { { s->udp, POLLIN, 0 },
                                { s->tcp, POLLIN, 0 },
                                { s->stop[0], POLLIN, 0 } };
        poll(fds, 3, -1);
        if (fds[2].revents)
            return NULL;
        if (fds[0].revents)
            serve_datagram(s);
        if (fds[1].revents)
            serve_stream(s);
    }
}

/* The same port for both, which somebody else may have for TCP. */
static inline void bind_name_server(struct name_server *s)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof addr;
    int rc = -1;
    while (rc < 0) {
        addr = (struct sockaddr_in){ .sin_family = AF_INET };
        addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ck_assert_int_eq(bind(s->udp, (struct sockaddr *)&addr, sizeof addr), 0);
        getsockname(s->udp, (struct sockaddr *)&addr, &len);
        rc = bind(s->tcp, (struct sockaddr *)&addr, sizeof addr);
        if (rc < 0) {
            close(s->udp);
            close(s->tcp);
        }
    }
    ck_assert_int_eq(listen(s->tcp, 64), 0);
    snprintf(s->where, sizeof s->where, "127.0.0.1:%d", ntohs(addr.sin_port));
}

static inline void start_name_server(struct name_server *s)
{
    memset(s, 0, sizeof *s);
    bind_name_server(s);
    ck_assert_int_eq(pipe2(s->stop, O_CLOEXEC), 0);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, run_name_server, s), 0);
}

static inline void stop_name_server(struct name_server *s)
{
    close(s->stop[1]);
    pthread_join(s->thread, NULL);
    close(s->stop[0]);
    close(s->udp);
    close(s->tcp);
}

#endif
