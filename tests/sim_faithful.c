/* SPDX-License-Identifier: MIT */
/*
 * sim_faithful: the same small programs on the real loopback and in a calm simulation; what the
 * calls return must be the same, call for call.
 *
 * Where the simulator is simpler on purpose the program steers round it, and says so.
 */
#include "sim_raw.h"
#include "sim_scene.h"

#include <linux/errqueue.h>
#include <netinet/udp.h>
#include <stdarg.h>
#include <unistd.h>

/* ---- what the calls returned ---- */

static char said[16384];

static void say(const char *what, ssize_t n)
{
    size_t len = strlen(said);
    if (n < 0)
        snprintf(said + len, sizeof said - len, "%s: %s\n", what, pier_strerror((int)n));
    else
        snprintf(said + len, sizeof said - len, "%s: %zd\n", what, n);
}

static void say_text(const char *what, const char *text)
{
    size_t len = strlen(said);
    snprintf(said + len, sizeof said - len, "%s: %s\n", what, text);
}

static void recv_it(struct raw *r, size_t cap)
{
    char buf[100] = "";
    ssize_t n = raw_recv(r, buf, cap);
    say("recv", n);
    if (n > 0)
        say_text("got", buf);
}

static void send_it(struct raw *r, const char *text)
{
    say("send", raw_send(r, text, strlen(text)));
    raw_settle();
}

static void shut_it(struct raw *r)
{
    say("shutdown", raw_shutdown(r));
    raw_settle();
}

static void close_it(struct raw *r)
{
    raw_close(r);
    raw_settle();
}

static void poll_it(struct raw *r)
{
    say("poll", raw_poll(r, POLLIN | POLLOUT));
}

/* Ports differ: "listener" and "other". */
static void say_addr(const char *what, int rc, const struct sim_addr *addr, int listener_port)
{
    char text[128], *port;
    if (rc < 0) {
        say(what, rc);
        return;
    }
    pi_sim_addr_text(text, addr);
    port = strrchr(text, ':');
    if (port && addr->any.sa_family != AF_UNIX)
        snprintf(port, 32, ":%s", raw_port(addr) == listener_port ? "listener" : "other");
    say_text(what, text);
}

static void say_ends(struct raw *r, int listener_port)
{
    struct sim_addr addr = { .len = sizeof addr.un };
    int rc = io_sockets()->local(r->f.fd, &addr.any, &addr.len);
    say_addr("local", rc, &addr, listener_port);
    addr = (struct sim_addr){ .len = sizeof addr.un };
    rc = io_sockets()->peer(r->f.fd, &addr.any, &addr.len);
    say_addr("peer", rc, &addr, listener_port);
}

/* ---- connections of each kind ---- */

struct kind {
    const char *name, *address; /* NULL: a pair */
};

static const struct kind kinds[] = {
    { "TCP", "127.0.0.1" },
    { "TCP over IPv6", "::1" },
    { "Unix path", "/tmp/pier-sim-faithful" },
    { "Unix abstract", "@pier-sim-faithful" },
    { "pair", NULL },
};
enum { TCP_KINDS = 2, LISTENING_KINDS = 4, KINDS = sizeof kinds / sizeof kinds[0] };

struct ends {
    struct raw listener, a, b;
    int port;
    char name[64];
};

/* Names of the process's own: several tests may run at once. */
static struct sim_addr address_of(const struct kind *kind)
{
    char text[100];
    if (kind->address[0] != '/' && kind->address[0] != '@')
        return raw_addr(kind->address, 0);
    snprintf(text, sizeof text, "%s-%d", kind->address, getpid());
    return raw_addr(text, 0);
}

static void remove_path(const struct sim_addr *addr)
{
    if (addr->any.sa_family == AF_UNIX && addr->un.sun_path[0])
        io_sockets()->unlink(addr->un.sun_path);
}

static struct sim_addr open_listener(struct raw *l, const struct kind *kind, int backlog)
{
    struct sim_addr addr = address_of(kind);
    remove_path(&addr);
    ck_assert_int_eq(raw_listen(l, addr, backlog), 0);
    return raw_local(l);
}

static void open_ends(struct ends *e, const struct kind *kind)
{
    int fds[2];
    *e = (struct ends){ .listener.f.fd = -1 };
    if (!kind->address) {
        ck_assert_int_eq(io_sockets()->pair(fds), 0);
        io_fd_init(&e->a.f, fds[0]);
        io_fd_init(&e->b.f, fds[1]);
        return;
    }
    struct sim_addr addr = open_listener(&e->listener, kind, 10);
    e->port = raw_port(&addr);
    ck_assert_int_eq(raw_open(&e->a, addr.any.sa_family), 0);
    ck_assert_int_eq(raw_connect(&e->a, addr), 0);
    ck_assert_int_eq(raw_accept(&e->listener, &e->b), 0);
    raw_settle();
}

static void close_ends(struct ends *e)
{
    struct sim_addr addr = { .any.sa_family = AF_INET };
    if (e->listener.f.fd >= 0)
        addr = raw_local(&e->listener);
    remove_path(&addr);
    raw_close(&e->a);
    raw_close(&e->b);
    raw_close(&e->listener);
}

/* ---- what happens on a connection ---- */

static void half_close(struct ends *e)
{
    send_it(&e->a, "request");
    shut_it(&e->a);
    recv_it(&e->b, 100);
    recv_it(&e->b, 100);
    recv_it(&e->b, 100);
    send_it(&e->a, "too late");
    send_it(&e->b, "reply");
    recv_it(&e->a, 100);
    recv_it(&e->a, 100); /* nothing yet */
    close_it(&e->b);
    recv_it(&e->a, 100);
    recv_it(&e->a, 100);
}

static void close_at_rest(struct ends *e)
{
    close_it(&e->b);
    poll_it(&e->a);
    recv_it(&e->a, 100);
    recv_it(&e->a, 100);
    shut_it(&e->a);
    recv_it(&e->a, 100);
}

static void write_after_close(struct ends *e)
{
    close_it(&e->b);
    send_it(&e->a, "one");
    send_it(&e->a, "two");
    send_it(&e->a, "three");
    recv_it(&e->a, 100);
    recv_it(&e->a, 100);
    send_it(&e->a, "four");
}

static void read_after_write_after_close(struct ends *e)
{
    close_it(&e->b);
    send_it(&e->a, "one");
    recv_it(&e->a, 100);
    recv_it(&e->a, 100);
    send_it(&e->a, "two");
    shut_it(&e->a);
}

static void last_words(struct ends *e)
{
    send_it(&e->b, "good-bye");
    close_it(&e->b);
    send_it(&e->a, "what?");
    recv_it(&e->a, 4);
    recv_it(&e->a, 100);
    recv_it(&e->a, 100);
    send_it(&e->a, "hello?");
}

static void close_with_input(struct ends *e)
{
    send_it(&e->a, "not read");
    close_it(&e->b);
    poll_it(&e->a);
    recv_it(&e->a, 100);
    recv_it(&e->a, 100);
    send_it(&e->a, "more");
    shut_it(&e->a);
}

static void close_with_input_then_write(struct ends *e)
{
    send_it(&e->a, "not read");
    close_it(&e->b);
    send_it(&e->a, "one");
    send_it(&e->a, "two");
    recv_it(&e->a, 100);
    recv_it(&e->a, 100);
}

static void reset_after_a_reply(struct ends *e)
{
    send_it(&e->a, "not read");
    send_it(&e->b, "reply");
    close_it(&e->b);
    recv_it(&e->a, 3);
    poll_it(&e->a);
    recv_it(&e->a, 100);
    recv_it(&e->a, 100);
    recv_it(&e->a, 100);
    send_it(&e->a, "more");
}

static void reset_after_half_close(struct ends *e)
{
    shut_it(&e->b);
    send_it(&e->a, "not read");
    close_it(&e->b);
    recv_it(&e->a, 100);
    send_it(&e->a, "one");
    recv_it(&e->a, 100);
    send_it(&e->a, "two");
}

static void half_close_then_reset(struct ends *e)
{
    send_it(&e->a, "not read");
    shut_it(&e->a);
    close_it(&e->b);
    recv_it(&e->a, 100);
    recv_it(&e->a, 100);
    send_it(&e->a, "one");
}

static void shut_down_twice(struct ends *e)
{
    shut_it(&e->a);
    shut_it(&e->a);
    send_it(&e->a, "too late");
    recv_it(&e->b, 100);
    shut_it(&e->b);
    recv_it(&e->a, 100);
    shut_it(&e->b);
    poll_it(&e->a);
    recv_it(&e->b, 100);
}

static void nothing_at_all(struct ends *e)
{
    char byte;
    say("send", raw_send(&e->a, "", 0));
    poll_it(&e->a);
    say("poll", raw_poll(&e->a, POLLIN));
    recv_it(&e->b, 100);
    send_it(&e->a, "x");
    say("recv", raw_recv(&e->b, &byte, 0));
    poll_it(&e->b);
    recv_it(&e->b, 1);
}

static void poll_at_ends(struct ends *e)
{
    poll_it(&e->a);
    shut_it(&e->a);
    poll_it(&e->a);
    poll_it(&e->b);
    shut_it(&e->b);
    poll_it(&e->a);
    poll_it(&e->b);
}

static void names(struct ends *e)
{
    say_ends(&e->a, e->port);
    say_ends(&e->b, e->port);
    close_it(&e->b);
    say_ends(&e->a, e->port);
    send_it(&e->a, "to nobody");
    say_ends(&e->a, e->port);
}

/* How much fits differs; that there is an end to it does not. */
static void fill_up(struct ends *e)
{
    static char bytes[100000];
    ssize_t n, sum = 0, got = 0;
    while ((n = raw_send(&e->a, bytes, sizeof bytes)) > 0 && sum < 100000000)
        sum += n;
    say("send", n);
    say("poll", raw_poll(&e->a, POLLOUT));
    while ((n = raw_recv(&e->b, bytes, sizeof bytes)) > 0)
        got += n;
    say("recv", n);
    say("the same", got == sum && sum > 0);
    say("poll", raw_poll(&e->a, POLLOUT));
}

static const struct {
    const char *name;
    void (*run)(struct ends *e);
} on_connections[] = {
    { "half-close", half_close },
    { "close at rest", close_at_rest },
    { "write after close", write_after_close },
    { "read after write after close", read_after_write_after_close },
    { "last words", last_words },
    { "close with input", close_with_input },
    { "close with input, then write", close_with_input_then_write },
    { "reset after a reply", reset_after_a_reply },
    { "reset after half-close", reset_after_half_close },
    { "half-close, then reset", half_close_then_reset },
    { "shut down twice", shut_down_twice },
    { "nothing at all", nothing_at_all },
    { "poll at ends", poll_at_ends },
    { "names", names },
    { "fill up", fill_up },
};
enum { ON_CONNECTIONS = sizeof on_connections / sizeof on_connections[0] };

/* ---- what happens at a listener ---- */

static void connect_it(struct raw *r, struct sim_addr addr)
{
    int rc = raw_open(r, addr.any.sa_family);
    if (rc == 0)
        rc = raw_connect(r, addr);
    say("connect", rc);
}

static void try_listen(struct raw *r, struct sim_addr addr)
{
    say("listen", raw_listen(r, addr, 5));
}

static void backlog(const struct kind *kind)
{
    struct raw l, c[5];
    struct sim_addr addr = open_listener(&l, kind, 2);
    for (int i = 0; i < 5; i++)
        connect_it(&c[i], addr);
    for (int i = 0; i < 5; i++)
        raw_close(&c[i]);
    remove_path(&addr);
    raw_close(&l);
}

static void served_from_the_backlog(const struct kind *kind)
{
    struct raw l, c, s;
    struct sim_addr addr = open_listener(&l, kind, 2);
    connect_it(&c, addr);
    send_it(&c, "early");
    close_it(&c);
    poll_it(&l);
    say("accept", raw_accept(&l, &s));
    recv_it(&s, 100);
    recv_it(&s, 100);
    raw_close(&s);
    say("accept", raw_accept(&l, &s));
    remove_path(&addr);
    raw_close(&l);
}

static void dropped_from_the_backlog(const struct kind *kind)
{
    struct raw l, c;
    struct sim_addr addr = open_listener(&l, kind, 2);
    connect_it(&c, addr);
    remove_path(&addr);
    close_it(&l);
    recv_it(&c, 100);
    recv_it(&c, 100);
    send_it(&c, "hello?");
    raw_close(&c);
    connect_it(&c, addr);
    raw_close(&c);
}

static void listen_twice(const struct kind *kind)
{
    struct raw l, again;
    struct sim_addr addr = open_listener(&l, kind, 2);
    say("listen", io_sockets()->listen(l.f.fd, 3));
    try_listen(&again, addr);
    if (kind->address[0] != '/') /* there the kernel looks at the path first */
        say("bind", raw_bind(&l, addr));
    close_it(&l);
    try_listen(&again, addr); /* a path stays behind */
    if (again.f.fd >= 0)
        raw_close(&again);
    remove_path(&addr);
    try_listen(&again, addr);
    raw_close(&again);
    remove_path(&addr);
}

static void connect_while_bound_only(const struct kind *kind)
{
    struct raw l, c;
    struct sim_addr addr = address_of(kind);
    remove_path(&addr);
    ck_assert_int_eq(raw_open(&l, addr.any.sa_family), 0);
    say("bind", raw_bind(&l, addr));
    addr = raw_local(&l);
    connect_it(&c, addr);
    raw_close(&c);
    say("accept", raw_accept(&l, &c));
    say("listen", io_sockets()->listen(l.f.fd, 2));
    connect_it(&c, addr);
    raw_close(&c);
    raw_close(&l);
    remove_path(&addr);
}

static void not_connected(const struct kind *kind)
{
    struct raw l, r;
    struct sim_addr addr = open_listener(&l, kind, 2);
    ck_assert_int_eq(raw_open(&r, addr.any.sa_family), 0);
    shut_it(&r);
    say_ends(&r, 0);
    raw_close(&r);
    connect_it(&r, addr);
    say("connect", raw_connect(&r, addr));
    raw_close(&r);
    remove_path(&addr);
    raw_close(&l);
}

static const struct {
    const char *name;
    void (*run)(const struct kind *kind);
} at_listeners[] = {
    { "backlog", backlog },
    { "served from the backlog", served_from_the_backlog },
    { "dropped from the backlog", dropped_from_the_backlog },
    { "listen twice", listen_twice },
    { "connect while bound only", connect_while_bound_only },
    { "not connected", not_connected },
};
enum { AT_LISTENERS = sizeof at_listeners / sizeof at_listeners[0] };

/* ---- addresses ---- */

static void bad_addresses(void)
{
    struct raw r;
    ck_assert_int_eq(raw_open(&r, AF_INET), 0);
    say("bind", raw_bind(&r, raw_addr("192.0.2.1", 0)));
    say("bind", raw_bind(&r, raw_addr("127.0.0.1", 0)));
    say("bind", raw_bind(&r, raw_addr("127.0.0.1", 0)));
    raw_close(&r);
    say("open", raw_open(&r, AF_APPLETALK));
    connect_it(&r, raw_addr("/nonexistent/socket", 0));
    raw_close(&r);
    connect_it(&r, raw_addr("@pier-sim-nobody", 0));
    raw_close(&r);
    say("unlink", io_sockets()->unlink("/nonexistent/socket"));
    say("recv", raw_recv(&r, NULL, 0));
}

static void every_address(const char *any, const char *own, const char *other)
{
    struct raw l, again, c, s;
    ck_assert_int_eq(raw_listen(&l, raw_addr(any, 0), 5), 0);
    struct sim_addr addr = raw_local(&l);
    int port = raw_port(&addr);
    say_ends(&l, port);
    try_listen(&again, raw_addr(own, port));
    const char *const to[] = { own, any, other };
    for (int i = 0; i < 3; i++) {
        connect_it(&c, raw_addr(to[i], port));
        say("accept", raw_accept(&l, &s));
        say_ends(&c, port);
        say_ends(&s, port);
        raw_close(&c);
        raw_close(&s);
    }
    raw_close(&l);
}

static void one_address(void)
{
    struct raw l, any, c;
    ck_assert_int_eq(raw_listen(&l, raw_addr("127.0.0.2", 0), 5), 0);
    struct sim_addr addr = raw_local(&l);
    int port = raw_port(&addr);
    try_listen(&any, raw_addr("0.0.0.0", port));
    connect_it(&c, raw_addr("127.0.0.1", port));
    raw_close(&c);
    connect_it(&c, raw_addr("::1", port));
    raw_close(&c);
    connect_it(&c, raw_addr("127.0.0.2", port));
    raw_close(&c);
    try_listen(&any, raw_addr("127.0.0.3", port));
    raw_close(&any);
    try_listen(&any, raw_addr("::", port));
    raw_close(&any);
    raw_close(&l);
}

static void a_port_again(void)
{
    struct raw l, c;
    struct sim_addr addr = open_listener(&l, &kinds[0], 5);
    raw_close(&l);
    connect_it(&c, addr);
    raw_close(&c);
    ck_assert_int_eq(raw_listen(&l, addr, 5), 0);
    connect_it(&c, addr);
    raw_close(&c);
    raw_close(&l);
}

static void addresses(void)
{
    bad_addresses();
    every_address("0.0.0.0", "127.0.0.1", "127.0.0.1");
    every_address("::", "::1", "::1");
    one_address();
    a_port_again();
}

/* ---- paths ---- */

static void is_left(const struct sim_addr *addr)
{
    say("left behind", io_sockets()->is_left_behind(&addr->any, addr->len));
}

static void paths(void)
{
    struct raw l, c;
    struct sim_addr addr = address_of(&kinds[2]);
    remove_path(&addr);
    is_left(&addr);
    connect_it(&c, addr);
    raw_close(&c);
    ck_assert_int_eq(raw_listen(&l, addr, 5), 0);
    is_left(&addr);
    raw_close(&l);
    is_left(&addr);
    connect_it(&c, addr);
    raw_close(&c);
    say("unlink", io_sockets()->unlink(addr.un.sun_path));
    say("unlink", io_sockets()->unlink(addr.un.sun_path));
    connect_it(&c, addr);
    raw_close(&c);
    ck_assert_int_eq(raw_listen(&l, addr, 5), 0);
    say("unlink", io_sockets()->unlink(addr.un.sun_path)); /* under its server */
    connect_it(&c, addr);
    raw_close(&c);
    struct raw successor;
    try_listen(&successor, addr);
    raw_close(&l);
    connect_it(&c, addr);
    raw_close(&c);
    raw_close(&successor);
    remove_path(&addr);
}

/* ---- datagrams ---- */

/* Two sockets, the first one bound; the address both are on. */
struct post {
    const char *at, *any, *elsewhere;
    struct raw a, b;
    struct sim_addr addr; /* a's */
};

static struct post post;

/* Simulated IPv6 sockets are for IPv6 only. */
static void open_dgram(struct raw *r)
{
    ck_assert_int_eq(raw_open_dgram(r, post.addr.any.sa_family), 0);
    if (post.addr.any.sa_family == AF_INET6)
        ck_assert_int_eq(raw_set(r, IPPROTO_IPV6, IPV6_V6ONLY, 1), 0);
}

static int bind_dgram(struct raw *r, struct sim_addr addr)
{
    return io_sockets()->bind(r->f.fd, &addr.any, addr.len);
}

static void open_post(const char *at, const char *any, const char *elsewhere)
{
    post = (struct post){ .at = at, .any = any, .elsewhere = elsewhere };
    post.addr = raw_addr(at, 0);
    open_dgram(&post.a);
    open_dgram(&post.b);
    ck_assert_int_eq(bind_dgram(&post.a, post.addr), 0);
    post.addr = raw_local(&post.a);
}

static void say_addr_of(const char *what, int rc, const struct sim_addr *addr)
{
    say_addr(what, rc, addr, raw_port(&post.addr));
}

static void say_local(struct raw *r)
{
    struct sim_addr addr = { .len = sizeof addr.un };
    int rc = io_sockets()->local(r->f.fd, &addr.any, &addr.len);
    if (rc == 0 && raw_port(&addr) == 0)
        say("no port", 0);
    say_addr_of("local", rc, &addr);
    addr = (struct sim_addr){ .len = sizeof addr.un };
    rc = io_sockets()->peer(r->f.fd, &addr.any, &addr.len);
    say_addr_of("peer", rc, &addr);
}

static void send_to(struct raw *r, struct sim_addr to, const char *text)
{
    say("send to", raw_send_to(r, to, text, strlen(text)));
    raw_settle();
}

static struct sim_addr recv_from(struct raw *r, size_t cap)
{
    char buf[100] = "";
    struct sim_addr from;
    int flags;
    ssize_t n = raw_recv_from(r, &from, &flags, buf, cap);
    say("recv from", n);
    say("truncated", flags);
    if (n < 0)
        return from;
    say_text("got", buf);
    say_addr_of("from", 0, &from);
    return from;
}

static void connect_dgram(struct raw *r, struct sim_addr to)
{
    say("connect", raw_connect(r, to));
}

static void disconnect(struct raw *r)
{
    connect_dgram(
        r, (struct sim_addr){ .any.sa_family = AF_UNSPEC, .len = sizeof(struct sockaddr_in6) });
}

/* A port that was free a moment ago. */
static struct sim_addr nobody(void)
{
    struct raw r;
    open_dgram(&r);
    ck_assert_int_eq(bind_dgram(&r, raw_addr(post.at, 0)), 0);
    struct sim_addr addr = raw_local(&r);
    raw_close(&r);
    return addr;
}

static void ask_and_answer(void)
{
    say_local(&post.a);
    say_local(&post.b);
    send_to(&post.b, post.addr, "question");
    say_local(&post.b);
    struct sim_addr from = recv_from(&post.a, 100);
    send_to(&post.a, from, "answer");
    recv_from(&post.b, 100);
    recv_from(&post.b, 100);
    recv_it(&post.a, 100);
    struct sim_addr any = raw_addr(post.any, raw_port(&post.addr));
    send_to(&post.b, any, "to this machine");
    recv_from(&post.a, 100);
}

static void longer_than_the_buffer(void)
{
    send_to(&post.b, post.addr, "0123456789");
    send_to(&post.b, post.addr, "abcdefghij");
    send_to(&post.b, post.addr, "");
    send_to(&post.b, post.addr, "ABCDEFGHIJ");
    send_to(&post.b, post.addr, "the last");
    recv_from(&post.a, 4);
    recv_it(&post.a, 4);
    poll_it(&post.a);
    recv_from(&post.a, 4);
    recv_from(&post.a, 0);
    recv_from(&post.a, 100);
    recv_from(&post.a, 100);
}

static void connected(void)
{
    struct raw c;
    open_dgram(&c);
    connect_dgram(&post.b, post.addr);
    say_local(&post.b);
    send_it(&post.b, "to the peer");
    struct sim_addr from = recv_from(&post.a, 100);
    send_to(&c, from, "from another");
    send_to(&post.a, from, "from the peer");
    recv_from(&post.b, 100);
    recv_from(&post.b, 100);
    send_to(&c, post.addr, "hello");
    struct sim_addr other = recv_from(&post.a, 100);
    send_to(&post.b, other, "past the peer");
    recv_from(&c, 100);
    connect_dgram(&post.b, other);
    say_local(&post.b);
    send_to(&c, from, "from the new peer");
    send_to(&post.a, from, "from the old one");
    recv_from(&post.b, 100);
    recv_from(&post.b, 100);
    disconnect(&post.b);
    say_local(&post.b);
    send_it(&post.b, "to whom?");
    disconnect(&post.a);
    say_local(&post.a);
    raw_close(&c);
}

static void refused(void)
{
    struct sim_addr to = nobody();
    send_to(&post.b, to, "unconnected");
    recv_it(&post.b, 100);
    connect_dgram(&post.b, to);
    send_it(&post.b, "one");
    poll_it(&post.b);
    recv_it(&post.b, 100);
    recv_it(&post.b, 100);
    send_it(&post.b, "two");
    send_it(&post.b, "is told instead");
    send_it(&post.b, "three");
    int error = 0;
    socklen_t len = sizeof error;
    say("get", io_sockets()->get(post.b.f.fd, SOL_SOCKET, SO_ERROR, &error, &len));
    say("error", -error);
    recv_it(&post.b, 100);
    send_it(&post.b, "four");
    disconnect(&post.b);
    send_to(&post.b, post.addr, "still there?");
    send_to(&post.b, post.addr, "now");
    recv_it(&post.a, 100);
}

static void refused_while_input_waits(void)
{
    connect_dgram(&post.b, post.addr);
    send_it(&post.b, "hello");
    struct sim_addr from = recv_from(&post.a, 100);
    send_to(&post.a, from, "first");
    close_it(&post.a);
    send_it(&post.b, "anybody?");
    poll_it(&post.b);
    recv_it(&post.b, 100);
    recv_it(&post.b, 100);
    recv_it(&post.b, 100);
}

static void bad_targets(void)
{
    static char bytes[70000];
    bool is_in = post.addr.any.sa_family == AF_INET;
    size_t most = is_in ? 65507 : 65527;
    send_it(&post.b, "to whom?");
    say_local(&post.b);
    send_to(&post.b, raw_addr(post.at, 0), "to no port");
    send_to(&post.b, raw_addr(is_in ? "::1" : "127.0.0.1", 9), "another family");
    struct sim_addr cut = post.addr;
    cut.len -= 4;
    say("send to", raw_send_to(&post.b, cut, "x", 1));
    connect_dgram(&post.b, cut);
    connect_dgram(&post.b, raw_addr(is_in ? "::1" : "127.0.0.1", 9));
    say("send", raw_send_to(&post.b, post.addr, bytes, most + 1));
    say("send", raw_send_to(&post.b, post.addr, bytes, sizeof bytes));
    say("send", raw_send_to(&post.b, post.addr, bytes, most));
    raw_settle();
    int flags;
    say("recv", raw_recv_from(&post.a, NULL, &flags, bytes, sizeof bytes));
    say("truncated", flags);
    say("listen", io_sockets()->listen(post.a.f.fd, 5));
    struct raw c;
    say("accept", raw_accept(&post.a, &c));
}

static void binding(void)
{
    struct raw c;
    struct sim_addr any = raw_addr(post.any, raw_port(&post.addr));
    say("bind", bind_dgram(&post.b, post.addr));
    say("bind", bind_dgram(&post.b, any));
    say("bind", bind_dgram(&post.b, raw_addr(post.elsewhere, 0)));
    say("bind", bind_dgram(&post.b, raw_addr(post.at, 0)));
    say("bind", bind_dgram(&post.b, raw_addr(post.at, 0)));
    raw_set(&post.b, SOL_SOCKET, SO_REUSEADDR, 1);
    open_dgram(&c);
    say("set", raw_set(&c, SOL_SOCKET, SO_REUSEADDR, 1));
    say("bind", bind_dgram(&c, post.addr)); /* one of the two has not said so */
    say("set", raw_set(&post.a, SOL_SOCKET, SO_REUSEADDR, 1));
    say("bind", bind_dgram(&c, post.addr));
    send_to(&post.b, post.addr, "for the newest");
    recv_from(&post.a, 100);
    recv_from(&c, 100);
    raw_close(&c);
    send_to(&post.b, post.addr, "for the other");
    recv_from(&post.a, 100);
}

/* An address of its own is nearer than any, and a peer than none. */
static void who_gets_it(void)
{
    struct raw c, any;
    open_dgram(&c);
    open_dgram(&any);
    struct raw *all[] = { &post.a, &post.b, &c, &any };
    for (int i = 0; i < 4; i++)
        raw_set(all[i], SOL_SOCKET, SO_REUSEADDR, 1);
    say("bind", bind_dgram(&post.b, post.addr));
    say("bind", bind_dgram(&any, raw_addr(post.any, raw_port(&post.addr))));
    say("bind", bind_dgram(&c, raw_addr(post.at, 0)));
    struct sim_addr from = raw_local(&c);
    connect_dgram(&post.a, from);
    send_to(&c, post.addr, "for the connected one");
    recv_from(&post.a, 100);
    disconnect(&post.a);
    send_to(&c, post.addr, "for an address");
    recv_from(&post.b, 100);
    raw_close(&post.b);
    raw_close(&post.a);
    send_to(&c, post.addr, "for any address");
    recv_from(&any, 100);
    raw_close(&c);
    raw_close(&any);
}

static void shut_dgram(struct raw *r, int how)
{
    say("shutdown", io_sockets()->shutdown(r->f.fd, how));
    poll_it(r);
}

static void shut_down(void)
{
    poll_it(&post.b);
    shut_dgram(&post.b, SHUT_WR);
    send_to(&post.b, post.addr, "too late");
    connect_dgram(&post.a, post.addr);
    send_it(&post.a, "to itself");
    shut_dgram(&post.a, SHUT_RD);
    recv_it(&post.a, 100);
    recv_it(&post.a, 100);
    shut_dgram(&post.a, SHUT_WR);
    send_it(&post.a, "too late");
    shut_dgram(&post.a, 5);
}

static void batches(void)
{
    enum { MANY = 5 };
    char bytes[MANY][20] = { 0 };
    struct iovec pieces[MANY];
    struct mmsghdr batch[MANY] = { 0 };
    for (int i = 0; i < MANY; i++) {
        snprintf(bytes[i], sizeof bytes[i], "number %d", i);
        pieces[i] = (struct iovec){ bytes[i], 8 + (size_t)i };
        batch[i].msg_hdr = (struct msghdr){ .msg_iov = &pieces[i], .msg_iovlen = 1 };
        batch[i].msg_hdr.msg_name = i == 3 ? NULL : &post.addr.any; /* the fourth: to nobody */
        batch[i].msg_hdr.msg_namelen = i == 3 ? 0 : post.addr.len;
    }
    say("send", raw_op(&post.b, (struct io_op){ .code = IO_SENDMMSG, .buf = batch, .len = MANY }));
    say("send", raw_op(&post.b, (struct io_op){ .code = IO_SENDMMSG, .buf = batch + 3, .len = 2 }));
    raw_settle();
    for (int i = 0; i < MANY; i++) {
        pieces[i].iov_len = 9;
        batch[i].msg_hdr.msg_name = NULL;
        batch[i].msg_hdr.msg_namelen = 0;
    }
    ssize_t n = raw_op(&post.a, (struct io_op){ .code = IO_RECVMMSG, .buf = batch, .len = MANY });
    say("recv", n);
    for (int i = 0; i < n; i++) {
        say("bytes", batch[i].msg_len);
        say("truncated", batch[i].msg_hdr.msg_flags & MSG_TRUNC);
    }
    say("recv", raw_op(&post.a, (struct io_op){ .code = IO_RECVMMSG, .buf = batch, .len = MANY }));
}

static void pieces(void)
{
    char one[] = "one", two[] = "two", buf[3][4] = { "", "", "" };
    struct iovec out[] = { { one, 3 }, { NULL, 0 }, { two, 3 } };
    struct iovec in[] = { { buf[0], 2 }, { buf[1], 3 }, { buf[2], 3 } };
    connect_dgram(&post.b, post.addr);
    say("send", raw_op(&post.b, (struct io_op){ .code = IO_WRITEV, .buf = out, .len = 3 }));
    raw_settle();
    struct msghdr msg = { .msg_iov = in, .msg_iovlen = 3 };
    say("recv", raw_op(&post.a, (struct io_op){ .code = IO_RECVMSG, .buf = &msg }));
    for (int i = 0; i < 3; i++)
        say_text("piece", buf[i]);
    say("read", raw_op(&post.a, (struct io_op){ .code = IO_READ, .buf = buf, .len = 4 }));
}

/* ---- what comes with a datagram ---- */

/* Receives, and says what else there was; cap: room for it. */
static void recv_extras(struct raw *r, size_t cap)
{
    static char buf[70000];
    union {
        struct cmsghdr align;
        char bytes[256];
    } control;
    struct iovec piece = { buf, sizeof buf };
    struct msghdr msg = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = cap
    };
    ssize_t n = raw_op(r, (struct io_op){ .code = IO_RECVMSG, .buf = &msg });
    say("recv", n);
    if (n < 0)
        return;
    say("truncated", msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
    say("control", (ssize_t)msg.msg_controllen);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        say("level", c->cmsg_level);
        say("type", c->cmsg_type);
        say("length", (ssize_t)c->cmsg_len);
        const unsigned char *data = CMSG_DATA(c);
        for (size_t i = 0; i < c->cmsg_len - CMSG_LEN(0); i++)
            say("byte", data[i]);
    }
}

static void extras(void)
{
    bool is_in = post.addr.any.sa_family == AF_INET;
    int level = is_in ? IPPROTO_IP : IPPROTO_IPV6;
    say("set", raw_set(&post.a, level, is_in ? IP_PKTINFO : IPV6_RECVPKTINFO, 1));
    send_to(&post.b, post.addr, "where?");
    recv_extras(&post.a, 256);
    say("set", raw_set(&post.a, level, is_in ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1));
    say("set", raw_set(&post.b, level, is_in ? IP_TTL : IPV6_UNICAST_HOPS, 7));
    say("set", raw_set(&post.b, level, is_in ? IP_TTL : IPV6_UNICAST_HOPS, 256));
    send_to(&post.b, post.addr, "how far?");
    recv_extras(&post.a, 256);
    say("set", raw_set(&post.b, level, is_in ? IP_TTL : IPV6_UNICAST_HOPS, -1));
    send_to(&post.b, post.addr, "as ever");
    recv_extras(&post.a, 256);
    send_to(&post.b, post.addr, "little room");
    recv_extras(&post.a, 40);
    send_to(&post.b, post.addr, "less");
    recv_extras(&post.a, 20);
    send_to(&post.b, post.addr, "none");
    recv_extras(&post.a, 0);
}

/* Sends with a number beside it. */
static void send_with(struct raw *r, int level, int type, int number)
{
    static char bytes[1000];
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof number)];
    } control = { .head = { .cmsg_level = level, .cmsg_type = type } };
    uint16_t size = (uint16_t)number;
    bool is_size = level == IPPROTO_UDP;
    control.head.cmsg_len = CMSG_LEN(is_size ? sizeof size : sizeof number);
    memcpy(CMSG_DATA(&control.head), is_size ? (void *)&size : &number,
           is_size ? sizeof size : sizeof number);
    struct iovec piece = { bytes, sizeof bytes };
    struct msghdr msg = { .msg_name = &post.addr.any,
                          .msg_namelen = post.addr.len,
                          .msg_iov = &piece,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = sizeof control };
    say("send", raw_op(r, (struct io_op){ .code = IO_SENDMSG, .buf = &msg }));
    raw_settle();
}

static void extras_of_its_own(void)
{
    bool is_in = post.addr.any.sa_family == AF_INET;
    int level = is_in ? IPPROTO_IP : IPPROTO_IPV6, hops = is_in ? IP_TTL : IPV6_HOPLIMIT;
    raw_set(&post.a, level, is_in ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1);
    send_with(&post.b, level, hops, 3);
    recv_extras(&post.a, 256);
    send_with(&post.b, level, hops, 300);
    send_with(&post.b, level, 77, 1);
    send_with(&post.b, IPPROTO_UDP, 77, 1);
}

static void segments(void)
{
    static char buf[2000];
    send_with(&post.b, IPPROTO_UDP, UDP_SEGMENT, 300);
    for (int i = 0; i < 5; i++)
        say("recv", raw_recv(&post.a, buf, sizeof buf));
    send_with(&post.b, IPPROTO_UDP, UDP_SEGMENT, 2);
    say("set", raw_set(&post.b, IPPROTO_UDP, UDP_SEGMENT, 400));
    say("set", raw_set(&post.a, IPPROTO_UDP, UDP_GRO, 1));
    memset(buf, 'x', 1000);
    say("send", raw_send_to(&post.b, post.addr, buf, 1000));
    raw_settle();
    recv_extras(&post.a, 256);
    recv_extras(&post.a, 256);
    say("send", raw_send_to(&post.b, post.addr, buf, 400));
    raw_settle();
    recv_extras(&post.a, 256);
    recv_extras(&post.a, 256);
}

/* ---- the error queue ---- */

static void take_error(struct raw *r)
{
    char buf[100] = "";
    union {
        struct cmsghdr align;
        char bytes[256];
    } control;
    struct sim_addr about = { 0 };
    struct iovec piece = { buf, sizeof buf };
    struct msghdr msg = { .msg_name = &about.any,
                          .msg_namelen = sizeof about.un,
                          .msg_iov = &piece,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof control };
    ssize_t n = io_sockets()->take_error(r->f.fd, &msg);
    say("take error", n);
    if (n < 0)
        return;
    say_text("about", buf);
    say("flags", msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC | MSG_ERRQUEUE));
    about.len = msg.msg_namelen;
    say_addr_of("to", 0, &about);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        struct sock_extended_err error;
        memcpy(&error, CMSG_DATA(c), sizeof error);
        say("level", c->cmsg_level);
        say("type", c->cmsg_type);
        say("error", -(int)error.ee_errno);
        say("origin", error.ee_origin);
        say("ICMP type", error.ee_type);
        say("ICMP code", error.ee_code);
        struct sim_addr offender = { .len = post.addr.len };
        memcpy(&offender.any, CMSG_DATA(c) + sizeof error, offender.len);
        say_addr_of("offender", 0, &offender);
    }
}

static void errors(void)
{
    bool is_in = post.addr.any.sa_family == AF_INET;
    int level = is_in ? IPPROTO_IP : IPPROTO_IPV6, option = is_in ? IP_RECVERR : IPV6_RECVERR;
    struct sim_addr to = nobody();
    take_error(&post.b);
    say("set", raw_set(&post.b, level, option, 1));
    send_to(&post.b, to, "one");
    poll_it(&post.b);
    recv_it(&post.b, 100);
    poll_it(&post.b);
    recv_it(&post.b, 100);
    take_error(&post.b);
    poll_it(&post.b);
    take_error(&post.b);
    send_to(&post.b, to, "two");
    send_to(&post.b, to, "is told");
    send_to(&post.b, to, "three");
    take_error(&post.b);
    poll_it(&post.b);
    recv_it(&post.b, 100);
    take_error(&post.b);
    recv_it(&post.b, 100);
    send_to(&post.b, to, "four");
    say("set", raw_set(&post.b, level, option, 0));
    take_error(&post.b);
}

/* ---- what there is no room for ---- */

/* How many fit differs; that there is an end to it, and whose, does not. */
static void overflow(void)
{
    enum { MANY = 2000 };
    char bytes[500] = "";
    int count = 0;
    bool in_order = true;
    say("set", raw_set(&post.a, SOL_SOCKET, SO_RCVBUF, 20000));
    for (int i = 0; i < MANY; i++) {
        snprintf(bytes, sizeof bytes, "%d", i);
        ck_assert_int_eq(raw_send_to(&post.b, post.addr, bytes, sizeof bytes), sizeof bytes);
    }
    raw_settle();
    while (raw_recv(&post.a, bytes, sizeof bytes) > 0)
        in_order = in_order && atoi(bytes) == count++;
    say("some", count > 5 && count < MANY / 2);
    say("the first ones", in_order);
}

static const struct {
    const char *name;
    void (*run)(void);
} with_datagrams[] = {
    { "ask and answer", ask_and_answer },
    { "longer than the buffer", longer_than_the_buffer },
    { "connected", connected },
    { "refused", refused },
    { "refused while input waits", refused_while_input_waits },
    { "bad targets", bad_targets },
    { "binding", binding },
    { "who gets it", who_gets_it },
    { "shut down", shut_down },
    { "batches", batches },
    { "pieces", pieces },
    { "extras", extras },
    { "extras of its own", extras_of_its_own },
    { "segments", segments },
    { "errors", errors },
    { "overflow", overflow },
};
enum { WITH_DATAGRAMS = sizeof with_datagrams / sizeof with_datagrams[0] };

/* ---- groups ---- */

static void loop_groups(struct raw *r)
{
    struct in_addr loopback = { htonl(INADDR_LOOPBACK) };
    say("set", io_sockets()->set(r->f.fd, IPPROTO_IP, IP_MULTICAST_IF, &loopback, sizeof loopback));
}

static void member(struct raw *r, int option, const char *group)
{
    struct ip_mreq m = { .imr_interface = { htonl(INADDR_LOOPBACK) } };
    inet_pton(AF_INET, group, &m.imr_multiaddr);
    say("member", io_sockets()->set(r->f.fd, IPPROTO_IP, option, &m, sizeof m));
}

static void member_from(struct raw *r, int option, const char *group, const char *source)
{
    struct ip_mreq_source m = { .imr_interface = { htonl(INADDR_LOOPBACK) } };
    inet_pton(AF_INET, group, &m.imr_multiaddr);
    inet_pton(AF_INET, source, &m.imr_sourceaddr);
    say("member from", io_sockets()->set(r->f.fd, IPPROTO_IP, option, &m, sizeof m));
}

static void open_any(void)
{
    open_post("127.0.0.1", "0.0.0.0", "192.0.2.77");
    raw_close(&post.a);
    open_dgram(&post.a);
    ck_assert_int_eq(bind_dgram(&post.a, raw_addr("0.0.0.0", 0)), 0);
    post.addr = raw_local(&post.a);
}

static void close_post(void)
{
    raw_close(&post.a);
    raw_close(&post.b);
}

static void multicast(void)
{
    open_any();
    struct sim_addr group = raw_addr("239.71.82.93", raw_port(&post.addr));
    raw_set(&post.a, IPPROTO_IP, IP_PKTINFO, 1);
    loop_groups(&post.b);
    send_to(&post.b, group, "before");
    recv_it(&post.a, 100);
    member(&post.a, IP_ADD_MEMBERSHIP, "239.71.82.93");
    member(&post.a, IP_ADD_MEMBERSHIP, "239.71.82.93");
    member(&post.a, IP_ADD_MEMBERSHIP, "10.1.1.1");
    member(&post.b, IP_DROP_MEMBERSHIP, "239.71.82.93");
    send_to(&post.b, group, "to a member");
    recv_extras(&post.a, 256);
    send_to(&post.b, raw_addr("239.71.82.94", raw_port(&post.addr)), "to another group");
    recv_it(&post.a, 100);
    say("set", raw_set(&post.b, IPPROTO_IP, IP_MULTICAST_LOOP, 0));
    send_to(&post.b, group, "not here");
    recv_it(&post.a, 100);
    say("set", raw_set(&post.b, IPPROTO_IP, IP_MULTICAST_LOOP, 1));
    say("set", raw_set(&post.b, IPPROTO_IP, IP_MULTICAST_TTL, 0));
    send_to(&post.b, group, "no further than here");
    recv_from(&post.a, 100);
    member(&post.a, IP_DROP_MEMBERSHIP, "239.71.82.93");
    member(&post.a, IP_DROP_MEMBERSHIP, "239.71.82.93");
    send_to(&post.b, group, "after");
    recv_it(&post.a, 100);
    close_post();
}

static void multicast_to_many(void)
{
    struct raw c;
    open_any();
    struct sim_addr group = raw_addr("239.71.82.95", raw_port(&post.addr));
    raw_set(&post.a, SOL_SOCKET, SO_REUSEADDR, 1);
    open_dgram(&c);
    raw_set(&c, SOL_SOCKET, SO_REUSEADDR, 1);
    say("bind", bind_dgram(&c, post.addr));
    loop_groups(&post.b);
    member(&post.a, IP_ADD_MEMBERSHIP, "239.71.82.95");
    send_to(&post.b, group, "for all on this machine");
    recv_from(&post.a, 100);
    recv_from(&c, 100);
    say("set", raw_set(&c, IPPROTO_IP, IP_MULTICAST_ALL, 0));
    send_to(&post.b, group, "for members");
    recv_from(&post.a, 100);
    recv_from(&c, 100);
    raw_close(&c);
    open_dgram(&c);
    raw_set(&c, SOL_SOCKET, SO_REUSEADDR, 1);
    say("bind", bind_dgram(&c, group)); /* hears nothing else */
    send_to(&post.b, group, "for the group's address");
    recv_from(&c, 100);
    send_to(&post.b, raw_addr("127.0.0.1", raw_port(&post.addr)), "for the machine's");
    recv_from(&c, 100);
    raw_close(&c);
    close_post();
}

static void multicast_from_one(void)
{
    open_any();
    struct sim_addr group = raw_addr("232.71.82.96", raw_port(&post.addr));
    loop_groups(&post.b);
    member_from(&post.a, IP_DROP_SOURCE_MEMBERSHIP, "232.71.82.96", "127.0.0.1");
    member_from(&post.a, IP_ADD_SOURCE_MEMBERSHIP, "232.71.82.96", "127.0.0.9");
    member_from(&post.a, IP_ADD_SOURCE_MEMBERSHIP, "232.71.82.96", "127.0.0.9");
    send_to(&post.b, group, "not from there");
    recv_it(&post.a, 100);
    member_from(&post.a, IP_ADD_SOURCE_MEMBERSHIP, "232.71.82.96", "127.0.0.1");
    send_to(&post.b, group, "from there");
    recv_from(&post.a, 100);
    member(&post.a, IP_ADD_MEMBERSHIP, "232.71.82.96");
    member_from(&post.a, IP_DROP_SOURCE_MEMBERSHIP, "232.71.82.96", "127.0.0.7");
    member_from(&post.a, IP_DROP_SOURCE_MEMBERSHIP, "232.71.82.96", "127.0.0.1");
    send_to(&post.b, group, "no more from there");
    recv_it(&post.a, 100);
    member(&post.a, IP_DROP_MEMBERSHIP, "232.71.82.96");
    member(&post.a, IP_DROP_MEMBERSHIP, "232.71.82.96");
    close_post();
}

static void broadcast(void)
{
    struct raw c;
    open_any();
    struct sim_addr all = raw_addr("127.255.255.255", raw_port(&post.addr));
    raw_set(&post.a, SOL_SOCKET, SO_REUSEADDR, 1);
    open_dgram(&c);
    raw_set(&c, SOL_SOCKET, SO_REUSEADDR, 1);
    say("bind", bind_dgram(&c, post.addr));
    send_to(&post.b, all, "not allowed");
    connect_dgram(&post.b, all);
    say("set", raw_set(&post.b, SOL_SOCKET, SO_BROADCAST, 1));
    send_to(&post.b, all, "to all");
    recv_from(&post.a, 100);
    recv_from(&c, 100);
    raw_close(&c);
    open_dgram(&c);
    say("bind", bind_dgram(&c, raw_addr("127.0.0.1", 0)));
    struct sim_addr one = raw_local(&c);
    all.in.sin_port = one.in.sin_port;
    send_to(&post.b, all, "not to one address");
    recv_from(&c, 100);
    raw_close(&c);
    close_post();
}

static void groups(void)
{
    multicast();
    multicast_to_many();
    multicast_from_one();
    broadcast();
}

/* ---- the comparison ---- */

static int simulated(void *arg)
{
    (*(void (**)(void))arg)();
    return 0;
}

static char really[sizeof said];
static int differences;

static void run_really(void (*program)(void))
{
    struct pier_scope scope;
    said[0] = '\0';
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, simulated, &program);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    strcpy(really, said);
}

/* Really more than once: others on this machine take ports, too. */
static void compare(const char *name, const char *kind, void (*program)(void))
{
    for (int tries = 0; tries < 3; tries++) {
        run_really(program);
        said[0] = '\0';
        scene_seed(1, &(struct pier_sim_opts){ .arg = &program, .reduced = CALM }, simulated);
        if (strcmp(said, really) == 0)
            return;
    }
    fprintf(stderr, "%s, %s: really\n%sbut simulated\n%s", name, kind, really, said);
    differences++;
}

static int connection_index;
static const struct kind *kind_now;

static void run_on_connection(void)
{
    struct ends e;
    open_ends(&e, kind_now);
    on_connections[connection_index].run(&e);
    close_ends(&e);
}

static void run_at_listener(void)
{
    at_listeners[connection_index].run(kind_now);
}

static void compare_connections(int first, int end)
{
    for (int k = first; k < end; k++) {
        kind_now = &kinds[k];
        for (connection_index = 0; connection_index < ON_CONNECTIONS; connection_index++)
            compare(on_connections[connection_index].name, kind_now->name, run_on_connection);
    }
}

TEST(tcp_connections_behave_as_the_kernels)
{
    compare_connections(0, TCP_KINDS);
    ck_assert_int_eq(differences, 0);
}

TEST(unix_connections_behave_as_the_kernels)
{
    compare_connections(TCP_KINDS, LISTENING_KINDS);
    ck_assert_int_eq(differences, 0);
}

TEST(pairs_behave_as_the_kernels)
{
    compare_connections(LISTENING_KINDS, KINDS);
    ck_assert_int_eq(differences, 0);
}

TEST(listeners_behave_as_the_kernels)
{
    for (int k = 0; k < LISTENING_KINDS; k++) {
        kind_now = &kinds[k];
        for (connection_index = 0; connection_index < AT_LISTENERS; connection_index++)
            compare(at_listeners[connection_index].name, kind_now->name, run_at_listener);
    }
    ck_assert_int_eq(differences, 0);
}

TEST(addresses_behave_as_the_kernels)
{
    compare("addresses", "TCP", addresses);
    ck_assert_int_eq(differences, 0);
}

static int datagram_index;

static void run_with_datagrams(void)
{
    if (kind_now == &kinds[0])
        open_post("127.0.0.1", "0.0.0.0", "192.0.2.77");
    else
        open_post("::1", "::", "2001:db8::77");
    with_datagrams[datagram_index].run();
    close_post();
}

TEST(datagrams_behave_as_the_kernels)
{
    for (int k = 0; k < TCP_KINDS; k++) {
        kind_now = &kinds[k];
        for (datagram_index = 0; datagram_index < WITH_DATAGRAMS; datagram_index++)
            compare(with_datagrams[datagram_index].name, k ? "UDP over IPv6" : "UDP",
                    run_with_datagrams);
    }
    ck_assert_int_eq(differences, 0);
}

TEST(groups_behave_as_the_kernels)
{
    compare("groups", "UDP", groups);
    ck_assert_int_eq(differences, 0);
}

TEST(paths_behave_as_the_kernels)
{
    compare("paths", "Unix", paths);
    ck_assert_int_eq(differences, 0);
}

HARNESS_MAIN("sim_faithful")
