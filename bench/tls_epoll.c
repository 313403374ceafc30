/* SPDX-License-Identifier: MIT */
/*
 * The floor of TLS: the least that a server with libssl and epoll does. Handshakes on the sockets
 * themselves, one buffer for all connections, no timers, no limits. What comes is echoed; "GET" is
 * answered with 100 MiB from memory.
 *
 * Edge-triggered, as echo_epoll.c. Tickets are libssl's own, without a cache of sessions.
 *
 * Usage: tls_epoll CERT KEY TICKETS. Prints `listening on tcp://127.0.0.1:PORT`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>

#include "listen.h"

enum { EVENT_COUNT = 512, PIECE = 65536, FD_COUNT = 65536 };
static const int64_t BULK = 100 << 20;

struct conn {
    SSL *ssl;
    int64_t left; /* of an answer */
};

static struct conn conns[FD_COUNT];
static SSL_CTX *ctx;
static char buf[PIECE], zeros[PIECE];

static bool must_wait(SSL *ssl, int rc)
{
    int why = SSL_get_error(ssl, rc);
    ERR_clear_error();
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

static bool answer(struct conn *c)
{
    char head[100];
    int len = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %lld\r\n\r\n",
                       (long long)BULK);
    c->left = BULK;
    return SSL_write(c->ssl, head, len) == len;
}

/* False when the connection is over. */
static bool go_on(struct conn *c)
{
    if (!SSL_is_init_finished(c->ssl)) {
        int rc = SSL_do_handshake(c->ssl);
        if (rc != 1)
            return must_wait(c->ssl, rc);
    }
    for (;;) {
        while (c->left > 0) {
            int n = SSL_write(c->ssl, zeros, c->left < PIECE ? (int)c->left : PIECE);
            if (n <= 0)
                return must_wait(c->ssl, n);
            c->left -= n;
        }
        int n = SSL_read(c->ssl, buf, sizeof buf);
        if (n <= 0)
            return must_wait(c->ssl, n);
        if (memcmp(buf, "GET", 3) == 0 ? !answer(c) : SSL_write(c->ssl, buf, n) != n)
            return false;
    }
}

static void drop(int fd)
{
    SSL_shutdown(conns[fd].ssl);
    ERR_clear_error();
    SSL_free(conns[fd].ssl);
    close(fd);
}

static void accept_all(int ep, int listener)
{
    int on = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd };
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        conns[fd] = (struct conn){ .ssl = SSL_new(ctx) };
        SSL_set_fd(conns[fd].ssl, fd);
        SSL_set_accept_state(conns[fd].ssl);
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
    }
}

int main(int argc, char **argv)
{
    ctx = SSL_CTX_new(TLS_server_method());
    if (argc != 4 || !ctx || SSL_CTX_use_certificate_chain_file(ctx, argv[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, argv[2], SSL_FILETYPE_PEM) != 1) {
        fputs("usage: tls_epoll CERT KEY TICKETS\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX_set_num_tickets(ctx, (size_t)atoi(argv[3]));
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS);
    int listener = listen_loopback(), ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = { .events = EPOLLIN, .data.fd = listener }, events[EVENT_COUNT];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int count = epoll_wait(ep, events, EVENT_COUNT, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(ep, listener);
            else if (!go_on(&conns[fd]))
                drop(fd);
        }
    }
}
