/* SPDX-License-Identifier: MIT */
/*
 * sim_faithful: the same small programs on the real loopback and in a calm simulation; what the
 * calls return must be the same, call for call.
 *
 * Where the simulator is simpler on purpose the program steers round it, and says so.
 */
#include "sim_raw.h"
#include "sim_scene.h"

#include <stdarg.h>
#include <unistd.h>

/* ---- what the calls returned ---- */

static char said[4096];

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

TEST(paths_behave_as_the_kernels)
{
    compare("paths", "Unix", paths);
    ck_assert_int_eq(differences, 0);
}

HARNESS_MAIN("sim_faithful")
