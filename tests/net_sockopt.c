/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/* net_sockopt: the options that TCP sockets get, and the figures that they give. */
#include "both.h"

#include "net/conn.h"

#include <netinet/tcp.h>

static int get(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof value;
    ck_assert_int_eq(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

static int tcp_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    return fd;
}

TEST(sockopt_sets_the_defaults_of_the_header)
{
    int fd = tcp_socket();
    int untouched = get(fd, SOL_SOCKET, SO_RCVBUF);
    ck_assert_int_eq(pi_sock_apply(fd, NULL), 0);
    ck_assert_int_ne(get(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_ne(get(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    ck_assert_int_eq(get(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    ck_assert_int_eq(get(fd, IPPROTO_TCP, TCP_KEEPINTVL), 10);
    ck_assert_int_eq(get(fd, IPPROTO_TCP, TCP_KEEPCNT), 6);
    ck_assert_int_eq(get(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 120000);
    ck_assert_int_eq(get(fd, SOL_SOCKET, SO_RCVBUF), untouched);
    ck_assert_int_eq(get(fd, SOL_SOCKET, SO_REUSEPORT), 0);
    close(fd);
}

TEST(sockopt_sets_what_is_asked_for)
{
    int fd = tcp_socket();
    struct pier_sock_opts opts = {
        .delay = true,
        .no_keepalive = true,
        .user_timeout_ms = 5000,
        .send_buffer = 16384,
        .recv_buffer = 32768,
        .reuseport = true,
        .congestion_control = "reno",
    };
    char name[32] = "";
    socklen_t len = sizeof name;
    ck_assert_int_eq(pi_sock_apply(fd, &opts), 0);
    ck_assert_int_eq(get(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(get(fd, SOL_SOCKET, SO_KEEPALIVE), 0);
    ck_assert_int_eq(get(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 5000);
    ck_assert_int_eq(get(fd, SOL_SOCKET, SO_SNDBUF), 2 * 16384); /* the kernel doubles it */
    ck_assert_int_eq(get(fd, SOL_SOCKET, SO_RCVBUF), 2 * 32768);
    ck_assert_int_ne(get(fd, SOL_SOCKET, SO_REUSEPORT), 0);
    ck_assert_int_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
    ck_assert_str_eq(name, "reno");
    close(fd);
}

TEST(sockopt_user_timeout_can_be_the_systems)
{
    int fd = tcp_socket();
    struct pier_sock_opts opts = { .user_timeout_ms = PIER_NO_TIMEOUT };
    ck_assert_int_eq(pi_sock_apply(fd, NULL), 0);
    ck_assert_int_eq(pi_sock_apply(fd, &opts), 0);
    ck_assert_int_eq(get(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    close(fd);
}

TEST(sockopt_defaults_reach_accepted_sockets)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t len = sizeof addr;
    int listener = tcp_socket(), client = tcp_socket();
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(pi_sock_apply(listener, NULL), 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    getsockname(listener, (struct sockaddr *)&addr, &len);
    ck_assert_int_eq(connect(client, (struct sockaddr *)&addr, len), 0);
    int fd = accept(listener, NULL, NULL);
    ck_assert_int_ne(get(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(get(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    ck_assert_int_eq(get(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 120000);
    close(fd);
    close(client);
    close(listener);
}

TEST(sockopt_failures_name_the_option)
{
    int fd = tcp_socket();
    struct pier_sock_opts opts = { .congestion_control = "nonesuch" };
    ck_assert_int_eq(pi_sock_apply(fd, &opts), -ENOENT);
    ck_assert_str_eq(pier_error(),
                     "socket option TCP_CONGESTION = nonesuch: no such file or directory");
    opts = (struct pier_sock_opts){ .send_buffer = -1 };
    ck_assert_int_eq(pi_sock_apply(fd, &opts), -EINVAL);
    ck_assert_str_eq(pier_error(), "socket option SO_SNDBUF: invalid argument");
    opts = (struct pier_sock_opts){ .recv_buffer = -1 };
    ck_assert_int_eq(pi_sock_apply(fd, &opts), -EINVAL);
    ck_assert_str_eq(pier_error(), "socket option SO_RCVBUF: invalid argument");
    close(fd);
    ck_assert_int_eq(pi_sock_apply(fd, NULL), -EBADF);
    ck_assert_str_eq(pier_error(), "socket option TCP_NODELAY = 1: bad file descriptor");
}

BOTH(sockopt_changes_open_connections)
{
    int other;
    struct pier_conn *c = conn_and_fd(TCP, &other);
    struct pier_sock_opts opts = { .delay = true, .user_timeout_ms = 7000 };
    ck_assert_int_eq(pier_conn_set_opts(c, &opts), 0);
    ck_assert_int_eq(get(pier_conn_fd(c), IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(get(pier_conn_fd(c), IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
    ck_assert_int_eq(pier_conn_set_opts(c, NULL), 0);
    ck_assert_int_ne(get(pier_conn_fd(c), IPPROTO_TCP, TCP_NODELAY), 0);
    ck_assert_int_eq(get(pier_conn_fd(c), IPPROTO_TCP, TCP_USER_TIMEOUT), 120000);
    pier_close(c);
    close(other);
}

BOTH(sockopt_tcp_info_has_figures)
{
    int other;
    char byte;
    struct pier_tcp_info info;
    struct pier_conn *c = conn_and_fd(TCP, &other);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(pier_write(c, "x", 1), 1);
        ck_assert_int_eq(recv_all(other, &byte, 1), 1);
        await_taken(pier_conn_fd(c)); /* acknowledged: there is a round trip to count */
    }
    ck_assert_int_eq(pier_tcp_info(c, &info), 0);
    ck_assert_int_gt(info.rtt_us, 0);
    ck_assert_int_ge(info.rtt_var_us, 0); /* trips that take the same have none */
    ck_assert_int_gt(info.min_rtt_us, 0);
    ck_assert_int_le(info.min_rtt_us, 10 * 1000 * 1000);
    ck_assert_int_ge(info.cwnd, 2);
    ck_assert_int_ge(info.mss, 500);
    ck_assert_int_gt(info.delivery_rate, 0);
    ck_assert_int_eq(info.retransmits, 0);
    pier_close(c);
    close(other);
}

BOTH(sockopt_other_connections_have_none)
{
    int other;
    struct pier_tcp_info info;
    memset(&info, 1, sizeof info);
    struct pier_conn *c = conn_and_fd(UNIX, &other);
    ck_assert_int_eq(pier_tcp_info(c, &info), -EOPNOTSUPP);
    ck_assert_int_eq(info.rtt_us, 0);
    ck_assert_int_eq(pier_conn_set_opts(c, NULL), -EOPNOTSUPP);
    pier_close(c);
    close(other);
    pier_error_set(-ECONNREFUSED, "dial");
    ck_assert_int_eq(pier_tcp_info(NULL, &info), -ECONNREFUSED);
    ck_assert_int_eq(pier_conn_set_opts(NULL, NULL), -ECONNREFUSED);
    ck_assert_str_eq(pier_error(), "dial: connection refused");
}

HARNESS_MAIN("net_sockopt")
