/* SPDX-License-Identifier: MIT */
/*
 * The peer libevent: a bufferevent per connection, the input buffer moved to the output buffer
 * without a copy. Batched epoll changes are on, and single reads as long as the buffer asked for:
 * both help it.
 *
 * Usage: echo_libevent [BUFFER]. Prints `listening on tcp://127.0.0.1:PORT`.
 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <string.h>

#include "../listen.h"

static size_t buf_cap = 16384; /* libevent's own default */

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)arg;
    evbuffer_add_buffer(bufferevent_get_output(bev), bufferevent_get_input(bev));
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)arg;
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        bufferevent_free(bev);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
                      int len, void *arg)
{
    (void)addr, (void)len, (void)arg;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct bufferevent *bev = bufferevent_socket_new(evconnlistener_get_base(listener), fd,
                                                     BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        close(fd);
        return;
    }
    bufferevent_set_max_single_read(bev, buf_cap);
    bufferevent_set_max_single_write(bev, buf_cap);
    bufferevent_setcb(bev, on_read, NULL, on_event, NULL);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strtoul(argv[1], NULL, 10) > buf_cap)
        buf_cap = strtoul(argv[1], NULL, 10);
    raise_fd_limit();
    struct event_config *config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    struct event_base *base = event_base_new_with_config(config);
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct evconnlistener *listener = evconnlistener_new_bind(
        base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 4096,
        (struct sockaddr *)&addr, sizeof addr);
    if (!listener)
        return 1;
    announce(evconnlistener_get_fd(listener));
    return event_base_dispatch(base);
}
