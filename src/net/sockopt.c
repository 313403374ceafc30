/* SPDX-License-Identifier: MIT */
/*
 * net/sockopt.c - the options of TCP sockets and their defaults, and the figures of TCP_INFO.
 *
 * Defaults are set before connect(2) and listen(2), so that accepted sockets inherit them and cost
 * no call. A failure names the option. Specification: tcp(7), socket(7).
 */
#define _GNU_SOURCE
#include "net/conn.h"

#include "task/sockets.h"

#include <linux/tcp.h> /* glibc's struct tcp_info ends before the delivery rate */
#include <string.h>

enum {
    /* A dead peer is noticed after two minutes, idle or not: 60 s + 6 * 10 s, and the user
       time-out. */
    KEEPALIVE_IDLE_S = 60,
    KEEPALIVE_INTERVAL_S = 10,
    KEEPALIVE_PROBES = 6,
    USER_TIMEOUT_MS = 120 * 1000,
};

struct setting {
    int level, option;
    const char *name;
    int value;
    bool wanted;
};

static int set(int fd, const struct setting *s)
{
    if (!s->wanted)
        return 0;
    int rc = io_sockets()->set(fd, s->level, s->option, &s->value, sizeof s->value);
    return rc < 0 ? pi_fail(rc, "socket option %s = %d", s->name, s->value) : 0;
}

static int user_timeout(const struct pier_sock_opts *opts)
{
    if (opts->user_timeout_ms < 0)
        return 0; /* the system's */
    return opts->user_timeout_ms ? opts->user_timeout_ms : USER_TIMEOUT_MS;
}

static int set_congestion_control(int fd, const char *name)
{
    if (!name)
        return 0;
    int rc = io_sockets()->set(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
    return rc < 0 ? pi_fail(rc, "socket option TCP_CONGESTION = %s", name) : 0;
}

int pi_sock_apply(int fd, const struct pier_sock_opts *opts)
{
    static const struct pier_sock_opts defaults;
    const struct pier_sock_opts *o = opts ? opts : &defaults;
    bool alive = !o->no_keepalive;
#define SETTING(level, option, value, wanted) \
    {                                         \
        level, option, #option, value, wanted \
    }
    const struct setting settings[] = {
        SETTING(IPPROTO_TCP, TCP_NODELAY, !o->delay, true),
        SETTING(SOL_SOCKET, SO_KEEPALIVE, alive, true),
        SETTING(IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S, alive),
        SETTING(IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S, alive),
        SETTING(IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES, alive),
        SETTING(IPPROTO_TCP, TCP_USER_TIMEOUT, user_timeout(o), true),
        SETTING(SOL_SOCKET, SO_SNDBUF, o->send_buffer, o->send_buffer != 0),
        SETTING(SOL_SOCKET, SO_RCVBUF, o->recv_buffer, o->recv_buffer != 0),
        SETTING(SOL_SOCKET, SO_REUSEPORT, 1, o->reuseport),
    };
#undef SETTING
    if (o->send_buffer < 0 || o->recv_buffer < 0) /* the kernel would take it for a huge one */
        return pi_fail(-EINVAL, "socket option %s", o->send_buffer < 0 ? "SO_SNDBUF" : "SO_RCVBUF");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof settings / sizeof settings[0]; i++)
        rc = set(fd, &settings[i]);
    return rc < 0 ? rc : set_congestion_control(fd, o->congestion_control);
}

/* TLS may be on top of it. */
static bool is_tcp(const struct pier_conn *c)
{
    int family = c->peer.any.sa_family;
    return !c->transport->is_datagram && (family == AF_INET || family == AF_INET6);
}

int pier_conn_set_opts(struct pier_conn *c, const struct pier_sock_opts *opts)
{
    if (!c)
        return pi_conn_null();
    if (!is_tcp(c))
        return pi_conn_fail(c, "set options of", -EOPNOTSUPP);
    return pi_sock_apply(c->io.fd, opts);
}

int pier_tcp_info(struct pier_conn *c, struct pier_tcp_info *info)
{
    memset(info, 0, sizeof *info);
    if (!c)
        return pi_conn_null();
    if (!is_tcp(c))
        return pi_conn_fail(c, "TCP figures of", -EOPNOTSUPP);
    struct tcp_info raw;
    socklen_t len = sizeof raw;
    memset(&raw, 0, sizeof raw); /* an older kernel fills in less */
    int rc = io_sockets()->get(c->io.fd, IPPROTO_TCP, TCP_INFO, &raw, &len);
    if (rc < 0)
        return pi_conn_fail(c, "TCP figures of", rc);
    *info = (struct pier_tcp_info){
        .rtt_us = raw.tcpi_rtt,
        .rtt_var_us = raw.tcpi_rttvar,
        .min_rtt_us = raw.tcpi_min_rtt == UINT32_MAX ? 0 : raw.tcpi_min_rtt, /* not measured yet */
        .retransmits = raw.tcpi_total_retrans,
        .lost = raw.tcpi_lost,
        .cwnd = raw.tcpi_snd_cwnd,
        .mss = raw.tcpi_snd_mss,
        .delivery_rate = (int64_t)raw.tcpi_delivery_rate,
    };
    return 0;
}
