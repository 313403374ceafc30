/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_firewall: who is let in by a server's lists and limits, through the public calls; what each
 * of the models makes of it is in net_models.c and in the end-to-end tests.
 */
#include "net_serving.h"

#include "net/firewall.h"

#define LOCAL "tcp://127.0.0.1:0"

/* A client from another address of the loopback network. */
static int client_from(const struct pier_server *s, const char *ip)
{
    struct sockaddr_in from = { .sin_family = AF_INET };
    struct timeval wait = { .tv_sec = patience() };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, ip, &from.sin_addr);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    const struct pi_addr *to = &s->listeners[0].addr;
    if (connect(fd, &to->any, to->len) == 0)
        return fd;
    ck_assert_int_eq(errno, ECONNRESET);
    close(fd);
    return -1;
}

/* Whether it is served; fd stays open then. */
static bool enters(int fd)
{
    char byte;
    if (fd < 0)
        return false;
    ssize_t n = send(fd, "x", 1, MSG_NOSIGNAL);
    n = n < 0 ? n : recv(fd, &byte, 1, 0);
    ck_assert(n == 1 || (n < 0 && (errno == ECONNRESET || errno == EPIPE)));
    return n == 1;
}

static bool is_served(const struct pier_server *s, const char *ip)
{
    int fd = client_from(s, ip);
    bool served = enters(fd);
    if (fd >= 0)
        close(fd);
    return served;
}

static void serve_behind(struct serving *sv, const struct pier_firewall_opts *firewall)
{
    serve(sv, &(struct pier_serve_opts){ .workers = 2, .firewall = firewall }, LOCAL, echo, NULL);
}

TEST(firewall_lists_are_copied_and_may_be_gone_once_it_listens)
{
    struct serving sv;
    char network[] = "127.0.0.2/31";
    const char *deny[] = { network, NULL };
    serve_behind(&sv, &(struct pier_firewall_opts){ .deny = deny });
    memset(network, 'x', sizeof network - 1);
    deny[0] = NULL;
    ck_assert(is_served(sv.server, "127.0.0.1"));
    ck_assert(!is_served(sv.server, "127.0.0.2"));
    ck_assert(!is_served(sv.server, "127.0.0.3"));
    ck_assert(is_served(sv.server, "127.0.0.4"));
    ck_assert_int_eq(pier_server_refused(sv.server), 2);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(firewall_counts_go_down_when_connections_end)
{
    struct serving sv;
    int fds[3];
    serve_behind(&sv, &(struct pier_firewall_opts){ .max_per_ip = 3 });
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 3; i++) {
            fds[i] = client_from(sv.server, "127.0.0.1");
            ck_assert(enters(fds[i]));
        }
        ck_assert(!is_served(sv.server, "127.0.0.1"));
        ck_assert(is_served(sv.server, "127.0.0.2"));
        for (int i = 0; i < 3; i++)
            close(fds[i]);
        AWAIT(pier_server_conns(sv.server) == 0);
    }
    ck_assert_int_eq(pier_server_refused(sv.server), 5);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(firewall_bans_are_set_and_lifted_from_any_thread)
{
    struct serving sv;
    serve_behind(&sv, &(struct pier_firewall_opts){ 0 });
    ck_assert(is_served(sv.server, "127.0.0.1"));
    ck_assert_int_eq(pier_server_ban(sv.server, "127.0.0.1", PIER_HOUR), 0);
    ck_assert(!is_served(sv.server, "127.0.0.1"));
    ck_assert(is_served(sv.server, "127.0.0.2"));
    ck_assert_int_eq(pier_server_ban(sv.server, "::ffff:127.0.0.1", 0), 0);
    ck_assert(is_served(sv.server, "127.0.0.1"));
    ck_assert_int_eq(pier_server_ban(sv.server, "127.0.0.1", INT64_MAX), 0);
    ck_assert(!is_served(sv.server, "127.0.0.1"));
    ck_assert_int_eq(pier_server_ban(sv.server, "127.0.0.1", 1), 0);
    ck_assert(is_served(sv.server, "127.0.0.1"));
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(firewall_calls_say_what_they_cannot_do)
{
    struct pier_server *s = pier_server_new(NULL);
    ck_assert_int_eq(pier_server_ban(s, "127.0.0.1", 1), -EOPNOTSUPP);
    ck_assert_ptr_nonnull(strstr(pier_error(), "the server has no firewall"));
    ck_assert_int_eq(pier_server_ban(s, "localhost", 1), -EINVAL);
    ck_assert_str_eq(pier_error(), "ban \"localhost\": not an IPv4 or IPv6 address");
    ck_assert_int_eq(pier_server_ban(s, NULL, 1), -EINVAL);
    ck_assert_int_eq(pier_server_refused(s), 0);
    ck_assert_int_eq(pier_server_refused(NULL), 0);
    pier_server_free(s);
    struct pier_conn *ends[2];
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    ck_assert_int_eq(pier_conn_ban(ends[0], 1), -EOPNOTSUPP);
    pier_close(ends[0]);
    pier_close(ends[1]);
}

TEST(firewall_files_are_watched_no_longer_than_the_server_runs)
{
    char name[] = "/tmp/pier-firewall-XXXXXX";
    int fd = mkstemp(name);
    const char *deny[] = { name, NULL };
    struct pier_serve_opts opts = { .workers = 1,
                                    .firewall = &(struct pier_firewall_opts){ .deny = deny } };
    ck_assert_int_ge(fd, 0);
    struct pier_server *s = new_server(&opts, LOCAL, echo, NULL);
    pier_server_stop_remote(s);
    ck_assert_int_eq(pier_server_run(s), 0); /* before the watch has begun */
    pier_server_free(s);
    struct serving sv;
    serve(&sv, &opts, LOCAL, echo, NULL);
    ck_assert(is_served(sv.server, "127.0.0.1"));
    ck_assert_int_eq(end_serving(&sv), 0);
    close(fd);
    unlink(name);
}

static int ban_peer(struct pier_conn *c, void *arg)
{
    return pier_conn_ban(c, PIER_HOUR);
}

TEST(firewall_a_peer_of_a_unix_socket_cannot_be_banned)
{
    struct serving sv;
    char url[64], byte;
    snprintf(url, sizeof url, "unix://@pier-firewall-%d", (int)getpid());
    struct pier_serve_opts opts = { .firewall = &(struct pier_firewall_opts){ .max_per_ip = 1 } };
    serve(&sv, &opts, url, ban_peer, NULL);
    for (int i = 0; i < 3; i++) {
        int fd = client(sv.server);
        ck_assert_int_eq(recv(fd, &byte, 1, 0), 0);
        close(fd);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(said("connection failed"), 3);
}

static void expect_listen_fails(const struct pier_firewall_opts *firewall, int code,
                                const char *words)
{
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .firewall = firewall });
    ck_assert_int_eq(pier_server_add(s, LOCAL, echo, NULL), 0);
    ck_assert_int_eq(pier_server_listen(s), code);
    ck_assert_str_eq(pier_error(), words);
    pier_server_free(s);
}

TEST(firewall_options_that_make_no_sense_are_said_by_listen)
{
    const char *bad[] = { "10.0.0.0/8", "10.0.0.0/33", NULL };
    const char *gone[] = { "/nowhere", NULL };
    expect_listen_fails(&(struct pier_firewall_opts){ .deny = bad }, -EINVAL,
                        "firewall: \"10.0.0.0/33\": not the length of a prefix, 0 to 32");
    expect_listen_fails(&(struct pier_firewall_opts){ .allow = gone }, -ENOENT,
                        "firewall: /nowhere: no such file or directory");
    expect_listen_fails(&(struct pier_firewall_opts){ .max_per_ip = -1 }, -EINVAL,
                        "firewall: a limit is negative");
    expect_listen_fails(&(struct pier_firewall_opts){ .burst = 3 }, -EINVAL,
                        "firewall: rate_ms, burst and ban_ms need a rate");
}

TEST(firewall_tells_handlers_whom_it_would_let_in)
{
    struct serving sv;
    const char *allow[] = { "10.0.0.0/8", "2001:db8::/32", NULL };
    struct pier_addr in, in6, out;
    ck_assert_int_eq(pier_addr_parse(&in, "10.1.2.3:0"), 0);
    ck_assert_int_eq(pier_addr_parse(&in6, "[2001:db8::1]:443"), 0);
    ck_assert_int_eq(pier_addr_parse(&out, "[::1]:443"), 0);
    serve_behind(&sv, &(struct pier_firewall_opts){ .allow = allow });
    ck_assert(pier_server_allows(sv.server, &in));
    ck_assert(pier_server_allows(sv.server, &in6));
    ck_assert(!pier_server_allows(sv.server, &out));
    ck_assert_int_eq(pier_server_ban(sv.server, "2001:db8::2", PIER_HOUR), 0); /* of that /64 */
    ck_assert(!pier_server_allows(sv.server, &in6));
    ck_assert_int_eq(pier_server_refused(sv.server), 0);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert(pier_server_allows(NULL, &out));
}

/* A private question, for who learns an address later. */
TEST(firewall_check_asks_lists_and_bans_and_counts_nothing)
{
    struct serving sv;
    const char *deny[] = { "10.0.0.0/8", NULL };
    struct sockaddr_in addr = { .sin_family = AF_INET };
    serve_behind(&sv, &(struct pier_firewall_opts){ .deny = deny, .max_per_ip = 1, .rate = 1 });
    inet_pton(AF_INET, "10.1.2.3", &addr.sin_addr);
    ck_assert(!pi_firewall_check(sv.server, (struct sockaddr *)&addr));
    inet_pton(AF_INET, "11.1.2.3", &addr.sin_addr);
    for (int i = 0; i < 5; i++)
        ck_assert(pi_firewall_check(sv.server, (struct sockaddr *)&addr));
    ck_assert_int_eq(pier_server_ban(sv.server, "11.1.2.3", PIER_HOUR), 0);
    ck_assert(!pi_firewall_check(sv.server, (struct sockaddr *)&addr));
    ck_assert_int_eq(pier_server_refused(sv.server), 2);
    ck_assert_int_eq(end_serving(&sv), 0);
}

HARNESS_MAIN("net_firewall")
