/* SPDX-License-Identifier: MIT */
/*
 * sim/socket.c - the calls on simulated sockets, as the kernel's would answer them; what is
 * different for datagrams is in datagram.c.
 *
 * A descriptor is a number that no real one has. pi_sim_attempt() is what recv(2), send(2),
 * accept(2), connect(2) and poll(2) are elsewhere: it does what can be done at once, or says
 * -EAGAIN; the table at the end is the calls that never wait. Invariant: a socket that its program
 * has closed may still have bytes on their way; one that is gone has not.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include "base/assert.h"

#include <linux/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>

enum {
    FIRST_FD = 1 << 24,
    WINDOW = 64 * 1024,
    SMALLEST_WINDOW = 512,
    SEGMENT = 1460,
    SEGMENT_WHOLE = 16 * 1024, /* as the kernel's offload passes on */
    SEGMENTS_AT_ONCE = 64,     /* of one send, which then is a short one */
};

/* ---- sockets ---- */

struct sim_sock *pi_sim_sock(int fd)
{
    int index = fd - FIRST_FD;
    if (index < 0 || index >= pi_sim->sock_count || !pi_sim->socks[index]->is_open)
        return NULL;
    return pi_sim->socks[index];
}

/* Small windows and buffers, now and then, make every wait happen. */
static size_t some_room(void)
{
    struct pi_sim *sim = pi_sim;
    if (pi_sim_is_calm(sim, SIM_SPLIT))
        return WINDOW;
    switch (pi_sim_below(&sim->network, 8)) {
    case 0:
        return (size_t)pi_sim_range(&sim->network, SMALLEST_WINDOW, 2 * SMALLEST_WINDOW);
    case 1:
    case 2:
        return (size_t)pi_sim_range(&sim->network, SMALLEST_WINDOW, 8192);
    default:
        return (size_t)pi_sim_range(&sim->network, WINDOW / 2, 4 * WINDOW);
    }
}

static bool make_room(struct pi_sim *sim)
{
    if (sim->sock_count < sim->sock_cap)
        return true;
    int cap = sim->sock_cap ? 2 * sim->sock_cap : 32;
    struct sim_sock **more = pi_realloc(sim->socks, (size_t)cap * sizeof *more);
    if (!more)
        return false;
    sim->socks = more;
    sim->sock_cap = cap;
    return true;
}

/* Room for its three timers, too. */
static struct sim_sock *allocate(struct pi_sim *sim)
{
    struct sim_sock *s = make_room(sim) ? pi_zalloc(sizeof *s) : NULL;
    int reserved = 0;
    while (s && reserved < 3 && pi_timer_reserve(&sim->timers) == 0)
        reserved++;
    if (s && reserved == 3)
        return s;
    while (reserved-- > 0)
        pi_timer_unreserve(&sim->timers);
    pi_free(s);
    return NULL;
}

struct sim_sock *pi_sim_sock_new(struct pier_sim_host *host, int family)
{
    struct pi_sim *sim = pi_sim;
    sim->quiet++;
    struct sim_sock *s = allocate(sim);
    sim->quiet--;
    if (!s)
        return NULL;
    s->id = sim->sock_count;
    s->fd = FIRST_FD + s->id;
    s->family = family;
    s->host = host;
    s->is_open = true;
    s->window = some_room();
    s->send_room = some_room();
    sim->socks[sim->sock_count++] = s;
    return s;
}

static void free_sock(struct pi_sim *sim, struct sim_sock *s)
{
    pi_sim_drop_flow(s);
    pi_timer_disarm(&sim->timers, &s->control);
    pi_timer_disarm(&sim->timers, &s->reset);
    for (int i = 0; i < 3; i++)
        pi_timer_unreserve(&sim->timers);
    pi_free(s->in);
    pi_free(s->dgram);
    pi_free(s);
}

/* From the last to the first: a reservation is returned while there are timers armed. */
void pi_sim_free_sockets(struct pi_sim *sim)
{
    for (int i = 0; i < sim->sock_count; i++) {
        pi_sim_drop_flow(sim->socks[i]);
        pi_timer_disarm(&sim->timers, &sim->socks[i]->control);
        pi_timer_disarm(&sim->timers, &sim->socks[i]->reset);
    }
    while (sim->sock_count > 0)
        free_sock(sim, sim->socks[--sim->sock_count]);
    pi_free(sim->socks);
    sim->socks = NULL;
}

int pi_sim_open_sockets(const struct pi_sim *sim, char *words, size_t cap)
{
    int count = 0;
    char local[128], peer[128];
    for (int i = 0; i < sim->sock_count; i++) {
        const struct sim_sock *s = sim->socks[i];
        if (s->is_open && count++ == 0)
            snprintf(words, cap, "#%d on %s, %s to %s", s->id, s->host->names.name,
                     pi_sim_addr_text(local, &s->local), pi_sim_addr_text(peer, &s->peer));
    }
    return count;
}

/* ---- waking who waits ---- */

static void wake(struct sim_sock *s, struct io_op *op)
{
    if (!op)
        return;
    if (op->task)
        pi_ready(op->task, 0);
    else
        io_kick(&pi_sim->kicked, s->f);
}

void pi_sim_wake_reader(struct sim_sock *s)
{
    if (s->f)
        wake(s, s->f->reader);
}

void pi_sim_wake_writer(struct sim_sock *s)
{
    if (s->f)
        wake(s, s->f->writer);
}

/* ---- local addresses ---- */

int pi_sim_port(const struct sim_addr *addr)
{
    return addr->any.sa_family == AF_INET    ? ntohs(addr->in.sin_port)
           : addr->any.sa_family == AF_INET6 ? ntohs(addr->in6.sin6_port)
                                             : 0;
}

void pi_sim_set_port(struct sim_addr *addr, int port)
{
    if (addr->any.sa_family == AF_INET)
        addr->in.sin_port = htons((uint16_t)port);
    else
        addr->in6.sin6_port = htons((uint16_t)port);
}

bool pi_sim_is_any(const struct sim_addr *addr)
{
    if (addr->any.sa_family == AF_INET)
        return addr->in.sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr);
}

/* A connect to any address is one to this machine. */
void pi_sim_set_loopback(struct sim_addr *addr)
{
    if (addr->any.sa_family == AF_INET)
        addr->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        addr->in6.sin6_addr = in6addr_loopback;
}

static bool is_bound(const struct pier_sim_host *host, const struct sim_addr *addr)
{
    for (const struct sim_sock *s = host->bound; s; s = s->next_bound)
        if (pi_sim_port(&s->local) == pi_sim_port(addr) &&
            s->local.any.sa_family == addr->any.sa_family &&
            (s->state == SIM_BOUND || s->state == SIM_LISTENS) &&
            (pi_sim_is_any(&s->local) || pi_sim_is_any(addr) || pi_sim_same_ip(&s->local, addr)))
            return true;
    return false;
}

/* A port that nobody on the host has. */
static int free_port(struct pier_sim_host *host, struct sim_addr *addr)
{
    enum { FIRST = 32768, LAST = 60999 };
    for (int tries = 0; tries <= LAST - FIRST; tries++) {
        pi_sim_set_port(addr, host->next_port);
        host->next_port = host->next_port == LAST ? FIRST : host->next_port + 1;
        if (!is_bound(host, addr))
            return 0;
    }
    return -EADDRINUSE;
}

static void join_bound(struct sim_sock *s)
{
    s->next_bound = s->host->bound;
    s->host->bound = s;
}

static void leave_bound(struct sim_sock *s)
{
    for (struct sim_sock **at = &s->host->bound; *at; at = &(*at)->next_bound) {
        if (*at == s) {
            *at = s->next_bound;
            return;
        }
    }
}

/* ---- Unix paths ---- */

static struct sim_path *find_path(struct pier_sim_host *host, const struct sim_addr *addr)
{
    for (struct sim_path *p = host->paths; p; p = p->next)
        if (p->addr.len == addr->len && memcmp(&p->addr.un, &addr->un, addr->len) == 0)
            return p;
    return NULL;
}

static int bind_path(struct sim_sock *s)
{
    struct pi_sim *sim = pi_sim;
    if (find_path(s->host, &s->local))
        return -EADDRINUSE;
    sim->quiet++;
    struct sim_path *p = pi_zalloc(sizeof *p);
    sim->quiet--;
    if (!p)
        return -ENOMEM;
    p->sock = s;
    p->addr = s->local;
    p->next = s->host->paths;
    s->host->paths = p;
    return 0;
}

static void remove_path(struct pier_sim_host *host, struct sim_path *gone)
{
    for (struct sim_path **at = &host->paths; *at; at = &(*at)->next) {
        if (*at == gone) {
            *at = gone->next;
            pi_free(gone);
            return;
        }
    }
}

/* A path in the file system stays when its socket is closed; an abstract name does not. */
static void release_path(struct sim_sock *s)
{
    struct sim_path *p = s->family == AF_UNIX ? find_path(s->host, &s->local) : NULL;
    if (!p || p->sock != s)
        return;
    p->sock = NULL;
    if (p->addr.un.sun_path[0] == '\0')
        remove_path(s->host, p);
}

/* ---- the calls that may wait ---- */

int pi_sim_take_error(struct sim_sock *s)
{
    int error = s->error;
    s->error = 0;
    return error;
}

/* A connection that fails by chance, at a call on it. */
static void trouble(struct sim_sock *s)
{
    const struct pier_sim_faults *f = &pi_sim->opts.faults;
    if (s->state != SIM_CONNECTED || s->is_gone || s->is_pair)
        return;
    if (pi_sim_faulty(PIER_SIM_RESET, f->reset, s->host)) {
        pi_sim_send_reset(s);
        pi_sim_end_sock(s, -ECONNRESET);
    } else if (pi_sim_faulty(PIER_SIM_TIMEOUT, f->timeout, s->host)) {
        pi_sim_end_sock(s, -ETIMEDOUT);
    }
}

static size_t read_len(struct sim_sock *s, size_t len)
{
    struct pi_sim *sim = pi_sim;
    size_t n = len < s->in_len ? len : s->in_len;
    if (n > 1 && !pi_sim_is_calm(sim, SIM_SPLIT) && pi_sim_one_in(&sim->network, 4))
        n = (size_t)pi_sim_range(&sim->network, 1, (int64_t)n);
    return n;
}

static ssize_t receive(struct sim_sock *s, void *buf, size_t len)
{
    trouble(s);
    if (s->in_len > 0) {
        size_t n = read_len(s, len);
        memcpy(buf, s->in + s->in_start, n);
        s->in_start += n;
        s->in_len -= n;
        pi_sim_event(SIM_EV_READ, s->host, (int64_t)n, "#%d: %zu bytes", s->id, n);
        pi_sim_has_room(s);
        return (ssize_t)n;
    }
    if (s->error && !(s->at_end && !s->is_pair)) /* after TCP's end it is for who writes */
        return pi_sim_take_error(s);
    if (s->at_end || s->is_gone)
        return 0;
    return s->state == SIM_CONNECTED ? -EAGAIN : -ENOTCONN;
}

static size_t segment_len(size_t left)
{
    struct pi_sim *sim = pi_sim;
    if (pi_sim_is_calm(sim, SIM_SPLIT))
        return left < SEGMENT_WHOLE ? left : SEGMENT_WHOLE;
    if (pi_sim_one_in(&sim->network, 4))
        return (size_t)pi_sim_range(&sim->network, 1, left < SEGMENT ? (int64_t)left : SEGMENT);
    return left < SEGMENT ? left : SEGMENT;
}

static size_t room_to_send(const struct sim_sock *s)
{
    size_t used = s->is_pair ? s->other->in_len : s->out.in_flight;
    return s->send_room > used ? s->send_room - used : 0;
}

/* What a send finds before it does anything. */
static int before_send(struct sim_sock *s)
{
    const struct pier_sim_faults *f = &pi_sim->opts.faults;
    trouble(s);
    if (s->is_pair && s->other->was_closed)
        return -EPIPE;
    if (s->error)
        return pi_sim_take_error(s);
    if (s->state != SIM_CONNECTED)
        return -ENOTCONN;
    if (!s->is_gone && !s->is_pair &&
        pi_sim_faulty(PIER_SIM_BROKEN_PIPE, f->broken_pipe, s->host)) {
        pi_sim_send_reset(s);
        pi_sim_end_sock(s, 0);
    }
    return s->is_gone || s->ends ? -EPIPE : 0;
}

static ssize_t transmit(struct sim_sock *s, const unsigned char *bytes, size_t len)
{
    int rc = before_send(s);
    if (rc < 0)
        return rc;
    size_t room = room_to_send(s);
    size_t want = len < room ? len : room;
    size_t done = 0;
    for (int i = 0; done < want && i < SEGMENTS_AT_ONCE; i++) {
        size_t n = segment_len(want - done);
        rc = pi_sim_send(s, SIM_DATA, bytes + done, n);
        if (rc < 0)
            break;
        done += n;
    }
    if (done == 0)
        return len == 0 ? 0 : rc < 0 ? rc : -EAGAIN;
    pi_sim_event(SIM_EV_SEND, s->host, (int64_t)done, "#%d: %zu of %zu bytes", s->id, done, len);
    return (ssize_t)done;
}

/* Stops at the first piece that is not taken whole. */
static ssize_t transmit_pieces(struct sim_sock *s, const struct iovec *pieces, size_t count)
{
    ssize_t done = 0;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].iov_len == 0)
            continue;
        ssize_t n = transmit(s, pieces[i].iov_base, pieces[i].iov_len);
        if (n < 0)
            return done > 0 ? done : n;
        done += n;
        if ((size_t)n < pieces[i].iov_len)
            break;
    }
    return done;
}

static ssize_t transmit_msg(struct sim_sock *s, const struct msghdr *msg)
{
    if (msg->msg_controllen > 0)
        return -EOPNOTSUPP;
    return transmit_pieces(s, msg->msg_iov, msg->msg_iovlen);
}

static ssize_t accept_one(struct sim_sock *s, struct io_op *op)
{
    if (s->state != SIM_LISTENS)
        return -EINVAL;
    struct sim_sock *c = s->queue_first;
    if (!c)
        return -EAGAIN;
    if (pi_sim_faulty(PIER_SIM_DESCRIPTORS, pi_sim->opts.faults.descriptors, s->host))
        return -EMFILE;
    s->queue_first = c->next_queued;
    s->queued--;
    c->is_open = true;
    if (op->buf) {
        socklen_t len = op->addr_len < c->peer.len ? op->addr_len : c->peer.len;
        memcpy(op->buf, &c->peer.any, len);
        op->addr_len = c->peer.len;
    }
    char text[128];
    pi_sim_event(SIM_EV_ACCEPT, s->host, c->id, "#%d from %s", c->id,
                 pi_sim_addr_text(text, &c->peer));
    return c->fd;
}

static int connect_fault(struct sim_sock *s)
{
    static const int codes[] = { -ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH };
    if (!pi_sim_faulty(PIER_SIM_REFUSE, pi_sim->opts.faults.refuse, s->host))
        return 0;
    return codes[s->family == AF_UNIX ? 0 : s->host->fault_calls[PIER_SIM_REFUSE] % 3];
}

/* A host has no address of that family: no way there. */
static int choose_local(struct sim_sock *s, const struct sim_addr *to)
{
    const struct sim_name *own = &s->host->names;
    struct pier_sim_host *target = pi_sim_host_of(to, s->host);
    if (s->state == SIM_BOUND && !pi_sim_is_any(&s->local))
        return 0;
    int port = pi_sim_port(&s->local);
    s->local = *to;
    for (int i = 0; target != s->host && i <= own->count; i++) {
        if (i == own->count)
            return -ENETUNREACH;
        if (own->addrs[i].any.sa_family == s->family) {
            s->local = own->addrs[i];
            break;
        }
    }
    pi_sim_set_port(&s->local, port);
    return port ? 0 : free_port(s->host, &s->local);
}

static int start_connect(struct sim_sock *s, const struct sim_addr *to)
{
    int rc = connect_fault(s);
    if (rc == 0 && s->family != AF_UNIX)
        rc = choose_local(s, to);
    if (rc < 0)
        return rc;
    char from_text[128], to_text[128];
    s->peer = *to;
    if (s->state == SIM_NEW && s->family != AF_UNIX)
        join_bound(s);
    s->state = SIM_CONNECTS;
    pi_sim_event(SIM_EV_CONNECT, s->host, s->id, "#%d %s to %s", s->id,
                 pi_sim_addr_text(from_text, &s->local), pi_sim_addr_text(to_text, to));
    return 0;
}

/* At once, or not at all: unix(7). */
static ssize_t connect_unix(struct sim_sock *s, const struct sim_addr *to)
{
    struct sim_path *path = find_path(s->host, to);
    if (!path)
        return to->un.sun_path[0] ? -ENOENT : -ECONNREFUSED;
    struct sim_sock *l = path->sock;
    if (!l || l->state != SIM_LISTENS)
        return -ECONNREFUSED;
    if (pi_sim_is_full(l))
        return -ENOBUFS;
    int rc = start_connect(s, to);
    if (rc < 0)
        return rc;
    pi_sim_connect(s, to);
    return s->error ? pi_sim_take_error(s) : 0;
}

static ssize_t connect_now(struct sim_sock *s, struct io_op *op)
{
    struct sim_addr to = { .len = op->addr_len };
    if (s->error)
        return pi_sim_take_error(s);
    if (s->state == SIM_CONNECTED)
        return 0;
    if (s->state == SIM_CONNECTS)
        return -EAGAIN;
    if (op->addr_len > sizeof to.un)
        return -EINVAL;
    memcpy(&to.any, op->buf, op->addr_len);
    if (s->family == AF_UNIX)
        return connect_unix(s, &to);
    if (pi_sim_is_any(&to))
        pi_sim_set_loopback(&to);
    int rc = start_connect(s, &to);
    if (rc < 0)
        return rc;
    pi_sim_connect(s, &to);
    return -EAGAIN;
}

/* As poll(2): whoever is told of an end or an error is ready for everything. */
static ssize_t ready_events(struct sim_sock *s, size_t wanted)
{
    bool is_over = s->is_gone || s->error || (s->is_pair && s->other->was_closed);
    size_t events = 0;
    if (s->in_len > 0 || s->at_end || s->queue_first || is_over)
        events |= POLLIN;
    if (is_over || (s->state == SIM_CONNECTED && room_to_send(s) > 0))
        events |= POLLOUT;
    events &= wanted;
    if (is_over || (s->at_end && s->ends))
        events |= POLLHUP;
    if (s->error)
        events |= POLLERR;
    return events ? (ssize_t)events : -EAGAIN;
}

ssize_t pi_sim_attempt(struct io_op *op)
{
    struct sim_sock *s = pi_sim_sock(op->fd->fd);
    if (!s)
        return op->fd->fd >= 0 && op->fd->fd < FIRST_FD ? -EOPNOTSUPP : -EBADF;
    /* An accept that says so would be tried again: it was the connection's. */
    if (s->host->is_down && op->code != IO_ACCEPT)
        return -ENETDOWN;
    if (s->dgram)
        return pi_sim_dgram_attempt(s, op);
    const struct msghdr *msg = op->buf;
    switch (op->code) {
    case IO_RECV:
    case IO_READ:
        return receive(s, op->buf, op->len);
    case IO_SEND:
        return transmit(s, op->buf, op->len);
    case IO_SENDMSG:
        return transmit_msg(s, msg);
    case IO_WRITEV:
        return transmit_pieces(s, op->buf, op->len);
    case IO_ACCEPT:
        return accept_one(s, op);
    case IO_CONNECT:
        return connect_now(s, op);
    case IO_POLL:
        return ready_events(s, op->len);
    case IO_READABLE:
        return ready_events(s, POLLIN) < 0 ? -EAGAIN : 0;
    case IO_WRITABLE:
        return ready_events(s, POLLOUT) < 0 ? -EAGAIN : 0;
    default:
        return -EOPNOTSUPP;
    }
}

/* ---- the calls that never wait ---- */

struct sim_addr pi_sim_no_address(int family)
{
    struct sim_addr addr = { .any.sa_family = (sa_family_t)family };
    addr.len = family == AF_INET    ? sizeof addr.in
               : family == AF_INET6 ? sizeof addr.in6
                                    : sizeof addr.any.sa_family;
    return addr;
}

static int sim_open(int family, int type)
{
    struct pier_sim_host *host = pi_sim_here();
    if (host->is_down)
        return -ENETDOWN;
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX)
        return -EAFNOSUPPORT;
    if (type != SOCK_STREAM && (type != SOCK_DGRAM || family == AF_UNIX))
        return -EPROTONOSUPPORT;
    if (pi_sim_faulty(PIER_SIM_DESCRIPTORS, pi_sim->opts.faults.descriptors, host))
        return -EMFILE;
    struct sim_sock *s = pi_sim_sock_new(host, family);
    if (!s)
        return -ENOMEM;
    s->local = pi_sim_no_address(family);
    if (type == SOCK_DGRAM && pi_sim_dgram_open(s) < 0) {
        s->is_open = false;
        return -ENOMEM;
    }
    pi_sim_event(SIM_EV_OPEN, host, s->id, "#%d", s->id);
    return s->fd;
}

static bool is_own(const struct pier_sim_host *host, const struct sim_addr *addr)
{
    return pi_sim_is_any(addr) || pi_sim_host_of(addr, (struct pier_sim_host *)host) == host;
}

static int sim_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    struct sim_sock *s = pi_sim_sock(fd);
    if (!s || s->host->is_down)
        return s ? -ENETDOWN : -EBADF;
    struct sim_addr local = { .len = len };
    if (s->state != SIM_NEW || len > sizeof local.un || addr->sa_family != s->family)
        return -EINVAL;
    memcpy(&local.any, addr, len);
    if (s->dgram)
        return pi_sim_dgram_bind(s, &local);
    if (s->family != AF_UNIX && !is_own(s->host, &local))
        return -EADDRNOTAVAIL;
    int rc = 0;
    if (s->family != AF_UNIX && pi_sim_port(&local) == 0)
        rc = free_port(s->host, &local);
    else if (s->family != AF_UNIX && is_bound(s->host, &local))
        rc = -EADDRINUSE;
    if (rc < 0)
        return rc;
    s->local = local;
    if (s->family == AF_UNIX)
        rc = bind_path(s);
    else
        join_bound(s);
    if (rc == 0)
        s->state = SIM_BOUND;
    else
        s->local = pi_sim_no_address(AF_UNIX);
    return rc;
}

static int sim_listen(int fd, int backlog)
{
    struct sim_sock *s = pi_sim_sock(fd);
    if (s && s->dgram)
        return -EOPNOTSUPP;
    if (!s || (s->state != SIM_BOUND && s->state != SIM_LISTENS))
        return s ? -EINVAL : -EBADF;
    s->state = SIM_LISTENS;
    s->backlog = backlog < 1 ? 1 : backlog;
    if (!pi_sim_is_calm(pi_sim, SIM_SPLIT) && pi_sim_one_in(&pi_sim->network, 8))
        s->backlog = 1;
    char text[128];
    pi_sim_event(SIM_EV_LISTEN, s->host, s->backlog, "#%d %s, backlog %d", s->id,
                 pi_sim_addr_text(text, &s->local), s->backlog);
    return 0;
}

static int copy_addr(struct sockaddr *out, socklen_t *len, const struct sim_addr *addr)
{
    memcpy(out, &addr->any, *len < addr->len ? *len : addr->len);
    *len = addr->len;
    return 0;
}

static int sim_local(int fd, struct sockaddr *addr, socklen_t *len)
{
    const struct sim_sock *s = pi_sim_sock(fd);
    return s ? copy_addr(addr, len, &s->local) : -EBADF;
}

/* Both ends that have come make an end of it. */
static bool is_connected(const struct sim_sock *s)
{
    bool has_ended = !s->is_pair && s->at_end && s->other && s->other->at_end;
    return s->state == SIM_CONNECTED && !s->is_gone && !has_ended;
}

static int sim_peer(int fd, struct sockaddr *addr, socklen_t *len)
{
    const struct sim_sock *s = pi_sim_sock(fd);
    if (!s)
        return -EBADF;
    return is_connected(s) ? copy_addr(addr, len, &s->peer) : -ENOTCONN;
}

/* Those that change what can be seen; the others are taken and forgotten. */
static int sim_set(int fd, int level, int option, const void *value, socklen_t len)
{
    struct sim_sock *s = pi_sim_sock(fd);
    int number = 0;
    if (!s)
        return -EBADF;
    if (s->dgram)
        return pi_sim_dgram_set(s, level, option, value, len);
    if (len == sizeof number)
        memcpy(&number, value, sizeof number);
    if (level == IPPROTO_TCP && option == TCP_USER_TIMEOUT)
        s->user_timeout_ns = number * PIER_MILLISECOND;
    else if (level == SOL_SOCKET && option == SO_KEEPALIVE)
        s->no_keepalive = !number;
    else if (level == SOL_SOCKET && option == SO_RCVBUF && number > 0)
        s->window = (size_t)number;
    else if (level == SOL_SOCKET && option == SO_SNDBUF && number > 0)
        s->send_room = (size_t)number;
    s->has_window |= level == SOL_SOCKET && option == SO_RCVBUF;
    s->has_send_room |= level == SOL_SOCKET && option == SO_SNDBUF;
    return 0;
}

static int get_info(const struct sim_sock *s, void *value, socklen_t *len)
{
    struct tcp_info info = { .tcpi_min_rtt = UINT32_MAX, .tcpi_snd_mss = SEGMENT };
    if (s->other && s->other->host != s->host) {
        const struct pier_sim_host *there = s->other->host;
        int64_t both = pi_sim_latency(s->host, there) + pi_sim_latency(there, s->host);
        info.tcpi_rtt = info.tcpi_min_rtt = (uint32_t)(both / PIER_MICROSECOND);
    }
    memcpy(value, &info, *len < sizeof info ? *len : sizeof info);
    return 0;
}

static int sim_get(int fd, int level, int option, void *value, socklen_t *len)
{
    struct sim_sock *s = pi_sim_sock(fd);
    if (!s)
        return -EBADF;
    if (s->dgram)
        return pi_sim_dgram_get(s, level, option, value, len);
    if (level == IPPROTO_TCP && option == TCP_INFO && s->family != AF_UNIX)
        return get_info(s, value, len);
    if (level == SOL_SOCKET && option == SO_PEERCRED && s->family == AF_UNIX && s->other) {
        struct ucred cred = { .pid = s->other->host->index + 1 };
        memcpy(value, &cred, *len < sizeof cred ? *len : sizeof cred);
        return 0;
    }
    return -ENOPROTOOPT;
}

static ssize_t sim_take_error(int fd, struct msghdr *msg)
{
    struct sim_sock *s = pi_sim_sock(fd);
    if (!s)
        return -EBADF;
    return s->dgram ? pi_sim_dgram_take_error(s, msg) : -EAGAIN;
}

static int sim_shutdown(int fd, int how)
{
    struct sim_sock *s = pi_sim_sock(fd);
    if (!s)
        return -EBADF;
    if (s->dgram)
        return pi_sim_dgram_shutdown(s, how);
    if (how != SHUT_WR)
        return -EOPNOTSUPP;
    if (s->family != AF_UNIX && !is_connected(s))
        return -ENOTCONN;
    if (s->ends || s->state != SIM_CONNECTED || s->is_gone || s->other->was_closed)
        return 0;
    pi_sim_event(SIM_EV_END, s->host, s->id, "#%d sends its end", s->id);
    return pi_sim_send(s, SIM_FIN, NULL, 0);
}

/* The other end of a Unix socket learns it at once. */
static void close_pair(struct sim_sock *s, bool is_reset)
{
    struct sim_sock *other = s->other;
    s->was_closed = true;
    if (is_reset)
        other->error = -ECONNRESET;
    other->at_end = true;
    pi_sim_wake_reader(other);
    pi_sim_wake_writer(other);
}

/* Nobody will accept them. */
static void reset_queue(struct sim_sock *s)
{
    while (s->queue_first) {
        struct sim_sock *c = s->queue_first;
        s->queue_first = c->next_queued;
        if (c->is_pair) {
            close_pair(c, true);
            continue;
        }
        pi_sim_send_reset(c);
        pi_sim_end_sock(c, 0);
    }
    s->queued = 0;
}

/* Input that nobody has read makes the end a reset (RFC 2525, 2.17). */
static void close_connected(struct sim_sock *s)
{
    if (s->is_gone)
        return;
    if (s->is_pair) {
        close_pair(s, s->in_len > 0);
    } else if (s->in_len > 0) {
        pi_sim_send_reset(s);
        pi_sim_end_sock(s, 0);
    } else if (!s->ends && pi_sim_send(s, SIM_FIN, NULL, 0) < 0) {
        pi_sim_end_sock(s, 0);
    }
}

static int sim_close(int fd)
{
    struct sim_sock *s = pi_sim_sock(fd);
    if (!s)
        return pi_sim_close_file(fd) ? 0 : -EBADF;
    pi_sim_event(SIM_EV_CLOSE, s->host, s->id, "#%d", s->id);
    s->is_open = false;
    s->was_closed = true;
    s->f = NULL;
    if (s->dgram) {
        pi_sim_dgram_close(s);
        return 0;
    }
    release_path(s);
    leave_bound(s);
    if (s->state == SIM_LISTENS)
        reset_queue(s);
    else if (s->state == SIM_CONNECTED)
        close_connected(s);
    else
        pi_sim_end_sock(s, 0);
    return 0;
}

static int sim_pair(int fds[2])
{
    struct sim_sock *ends[2] = { NULL, NULL };
    for (int i = 0; i < 2; i++) {
        fds[i] = sim_open(AF_UNIX, SOCK_STREAM);
        if (fds[i] < 0) {
            if (ends[0])
                sim_close(fds[0]);
            return fds[i];
        }
        ends[i] = pi_sim_sock(fds[i]);
    }
    for (int i = 0; i < 2; i++) {
        ends[i]->other = ends[!i];
        ends[i]->is_pair = true;
        ends[i]->state = SIM_CONNECTED;
        ends[i]->peer = pi_sim_no_address(AF_UNIX);
    }
    return 0;
}

static int sim_unlink(const char *path)
{
    struct pier_sim_host *host = pi_sim_here();
    for (struct sim_path *p = host->paths; p; p = p->next) {
        if (p->addr.un.sun_path[0] && strcmp(p->addr.un.sun_path, path) == 0) {
            remove_path(host, p);
            return 0;
        }
    }
    return -ENOENT;
}

static bool sim_is_left_behind(const struct sockaddr *addr, socklen_t len)
{
    struct sim_addr at = { .len = len };
    if (len > sizeof at.un)
        return false;
    memcpy(&at.any, addr, len);
    struct sim_path *path = find_path(pi_sim_here(), &at);
    return path && (!path->sock || path->sock->state != SIM_LISTENS);
}

/* ---- a crash ---- */

/* What the host had on its way is lost, and it forgets its connections; paths stay, as files do. */
void pi_sim_crash_sockets(struct pier_sim_host *host)
{
    struct pi_sim *sim = pi_sim;
    pi_sim_crash_packets(host);
    for (int i = 0; i < sim->sock_count; i++) {
        struct sim_sock *s = sim->socks[i];
        if (s->host != host || s->is_gone)
            continue;
        if (s->dgram)
            pi_sim_dgram_close(s);
        release_path(s);
        leave_bound(s);
        s->queue_first = NULL;
        s->queued = 0;
        if (s->state == SIM_LISTENS)
            s->state = SIM_BOUND;
        struct sim_sock *other = s->other;
        pi_sim_end_sock(s, -ENETDOWN);
        if (other)
            pi_sim_watch(other);
    }
}

const struct io_sockets pi_sim_sockets = {
    .open = sim_open,
    .pair = sim_pair,
    .bind = sim_bind,
    .listen = sim_listen,
    .local = sim_local,
    .peer = sim_peer,
    .set = sim_set,
    .get = sim_get,
    .take_error = sim_take_error,
    .shutdown = sim_shutdown,
    .close = sim_close,
    .unlink = sim_unlink,
    .is_left_behind = sim_is_left_behind,
};
