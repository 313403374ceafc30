/* SPDX-License-Identifier: MIT */
/*
 * net/dns.c - see dns.h. A thread has a channel of c-ares for each list of servers, from the first
 * query to the last.
 *
 * Nobody is employed to wait: of the tasks that wait for answers one *leads*. It waits for all
 * sockets, which are in an epoll of the channel's, feeds c-ares, and when it leaves wakes the next
 * one. So a plain thread does the same as a task, and a cancelled look-up leaves nothing behind.
 *
 * Queries go out in step with the answers: at most FRESH_MAX that are young and unanswered, as many
 * datagrams as a socket's buffer holds on either side. One that is older counts no more, so a
 * silent server slows nobody down for long.
 */
#define _GNU_SOURCE
#include "net/dns.h"

#include "base/assert.h"
#include "net/dns_wire.h"
#include "task/sockets.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <ctype.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    BUCKETS = 1024,
    QUERIES_MAX = 32768, /* of a channel: an identifier has 16 bits, and must be found at random */
    FRESH_MAX = 128,     /* of 250 that the usual buffer holds: replies are larger than queries */
    FRESH_MS = 50,
    UDP_SIZE = 1232, /* of a reply: never cut to pieces on the way (RFC 9715) */
    RECV_BUFFER = 1 << 20,
    EVENTS = 16,
};

/* A socket of c-ares's. */
struct sock {
    struct sock *next;
    struct io_fd io;
    bool is_udp;
    struct pier_addr server;
};

struct pi_dns_link {
    struct pi_dns_link *next; /* of its query */
    struct pi_task *task;
};

/* A task that waits, for whatever queries. */
struct waiter {
    struct waiter *prev, *next;
    struct pi_task *task;
};

struct pi_dns_channel {
    struct pi_dns_channel *next; /* of the thread */
    struct pi_dns_conf *conf;
    ares_channel ares;
    struct io_fd io; /* of the epoll */
    struct sock *socks;
    struct waiter *waiters;
    const struct waiter *leader;
    int users, count, fresh;
    int64_t look_ns; /* when c-ares wants to look at its time-outs; 0: not known */
    struct pi_dns_query *newest, *oldest; /* the fresh ones */
    struct pi_dns_query *unsent, **unsent_end;
    struct pi_dns_query *buckets[BUCKETS];
};

static PI_THREAD_LOCAL struct pi_dns_channel *channels;

/* ---- words ---- */

const char *pi_dns_reason(enum pi_dns_end end)
{
    static const char *const reasons[] = {
        [PI_DNS_ASKING] = "not yet answered",
        [PI_DNS_ANSWERED] = "answered",
        [PI_DNS_SILENT] = "no name server answers",
        [PI_DNS_UNREACHABLE] = "no name server can be reached",
        [PI_DNS_FAILED] = "the name server has failed (SERVFAIL)",
        [PI_DNS_UNABLE] = "the name server does not understand (NOTIMP or FORMERR)",
        [PI_DNS_UNWILLING] = "the name server refuses (REFUSED)",
        [PI_DNS_GARBLED] = "the name server's answer makes no sense",
        [PI_DNS_BAD_NAME] = "not a name that can be asked for",
        [PI_DNS_NO_MEMORY] = "out of memory",
    };
    return reasons[end];
}

void pi_dns_say(const struct pi_dns_trace *trace, const char *fmt, ...)
{
    char line[PIER_NAME_CAP + 256];
    va_list args;
    if (!trace || !trace->say)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    trace->say(trace->arg, pi_clock_ns() - trace->begin_ns, line);
}

/* ---- queries of a channel ---- */

static struct pi_dns_query **bucket_of(struct pi_dns_channel *ch, const char *name, int type)
{
    uint32_t h = 2166136261U + (uint32_t)type;
    for (; *name; name++)
        h = (h ^ (unsigned char)tolower((unsigned char)*name)) * 16777619U;
    return &ch->buckets[(h ^ h >> 16) % BUCKETS];
}

static struct pi_dns_query *find_query(struct pi_dns_channel *ch, const char *name, int type)
{
    struct pi_dns_query *q = *bucket_of(ch, name, type);
    while (q && (q->type != type || strcasecmp(q->name, name) != 0))
        q = q->next;
    return q;
}

/* No longer to be found: it is answered, or nobody wants to know. */
static void unlist(struct pi_dns_query *q)
{
    struct pi_dns_query **at = bucket_of(q->channel, q->name, q->type);
    while (*at && *at != q)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = q->next;
    q->channel->count--;
}

static void set_fresh(struct pi_dns_query *q, bool on)
{
    struct pi_dns_channel *ch = q->channel;
    if (q->is_fresh == on)
        return;
    q->is_fresh = on;
    ch->fresh += on ? 1 : -1;
    if (on) {
        q->older = ch->newest;
        q->newer = NULL;
        *(ch->newest ? &ch->newest->newer : &ch->oldest) = q;
        ch->newest = q;
    } else {
        *(q->newer ? &q->newer->older : &ch->newest) = q->older;
        *(q->older ? &q->older->newer : &ch->oldest) = q->newer;
    }
}

static void free_query(struct pi_dns_query *q)
{
    pi_free(q->reply);
    pi_free(q);
}

static enum pi_dns_end end_of(const struct pi_dns_query *q, int status)
{
    switch (status) {
    case ARES_SUCCESS:
    case ARES_ENODATA:
    case ARES_ENOTFOUND:
        return PI_DNS_ANSWERED;
    case ARES_ENOMEM:
        return PI_DNS_NO_MEMORY;
    case ARES_EBADNAME:
        return PI_DNS_BAD_NAME;
    case ARES_EFORMERR:
    case ARES_ENOTIMP:
        return PI_DNS_UNABLE;
    case ARES_EBADRESP:
        return PI_DNS_GARBLED;
    default:
        break;
    }
    if (q->server_error) /* c-ares 1.18 remembers none of them */
        return q->server_error == PI_DNS_REFUSED  ? PI_DNS_UNWILLING
               : q->server_error == PI_DNS_NOTIMP ? PI_DNS_UNABLE
                                                  : PI_DNS_FAILED;
    return status == ARES_ETIMEOUT ? PI_DNS_SILENT : PI_DNS_UNREACHABLE;
}

/* A message that makes sense is kept as long as it holds. */
static void take_reply(struct pi_dns_query *q, const unsigned char *bytes, size_t len)
{
    struct pi_dns_answer answer;
    q->reply = pi_alloc(sizeof *q->reply + len);
    if (!q->reply) {
        q->end = PI_DNS_NO_MEMORY;
        return;
    }
    q->reply->age_s = 0;
    q->reply->len = len;
    memcpy(q->reply->bytes, bytes, len);
    if (pi_dns_read(&answer, bytes, len, q->type) < 0)
        return;
    uint32_t most = answer.count > 0 ? PI_DNS_TTL_MAX : PI_DNS_NEGATIVE_TTL_MAX;
    pi_dns_cache_keep(q->channel->conf, q->name, q->type, answer.ttl < most ? answer.ttl : most,
                      q->reply);
}

/* The task that leads waits for sockets, and knows of what it does itself. */
static void wake(struct pi_dns_channel *ch, struct pi_task *task)
{
    if (!ch->leader || ch->leader->task != task)
        pi_ready(task, 0);
    else if (pi_task_self() != task)
        io_interrupt_read(&ch->io);
}

/* Of c-ares: the query is over. Runs in whoever leads, or in the call that asks. */
static void on_answer(void *arg, int status, int timeouts, unsigned char *bytes, int len)
{
    struct pi_dns_query *q = arg;
    set_fresh(q, false);
    unlist(q);
    q->is_sent = false;
    q->end = end_of(q, status);
    if (q->end == PI_DNS_ANSWERED && bytes && len > 0)
        take_reply(q, bytes, (size_t)len);
    else if (q->end == PI_DNS_ANSWERED)
        q->end = PI_DNS_BAD_NAME; /* one that c-ares does not ask for: .onion (RFC 7686) */
    if (q->end != PI_DNS_ANSWERED)
        pi_dns_say(q->trace, "%s", pi_dns_reason(q->end));
    if (q->users == 0) {
        free_query(q);
        return;
    }
    for (struct pi_dns_link *w = q->waiters; w; w = w->next)
        wake(q->channel, w->task);
}

static void send_query(struct pi_dns_channel *ch, struct pi_dns_query *q)
{
    q->is_sent = true;
    q->sent_ns = pi_clock_ns();
    ch->look_ns = 0;
    set_fresh(q, true);
    ares_query(ch->ares, q->name, ns_c_in, q->type, on_answer, q);
}

/* Sends what may be sent now. */
static void send_more(struct pi_dns_channel *ch)
{
    int64_t now = pi_clock_ns();
    while (ch->oldest && ch->oldest->sent_ns + FRESH_MS * PIER_MILLISECOND <= now)
        set_fresh(ch->oldest, false);
    while (ch->unsent && (ch->unsent->users == 0 || ch->fresh < FRESH_MAX)) {
        struct pi_dns_query *q = ch->unsent;
        ch->unsent = q->next_unsent;
        if (!ch->unsent)
            ch->unsent_end = &ch->unsent;
        q->is_unsent = false;
        if (q->users == 0)
            free_query(q);
        else
            send_query(ch, q);
    }
}

/* ---- sockets, for c-ares ---- */

static struct sock *sock_of(struct pi_dns_channel *ch, int fd)
{
    struct sock *s = ch->socks;
    while (s && s->io.fd != fd)
        s = s->next;
    return s;
}

/* As the system's calls say it. */
static int failed(int code)
{
    errno = -code;
    return -1;
}

static int open_sock(int family, int type, int protocol, void *arg)
{
    static const int room = RECV_BUFFER;
    struct pi_dns_channel *ch = arg;
    struct sock *s = pi_zalloc(sizeof *s);
    if (!s)
        return failed(-ENOMEM);
    int fd = io_sockets()->open(family, type);
    if (fd < 0) {
        pi_free(s);
        return failed(fd);
    }
    s->is_udp = type == SOCK_DGRAM;
    if (s->is_udp) { /* as much of it as there may be is fine */
        int rc = io_sockets()->set(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
        (void)rc;
    }
    io_fd_init(&s->io, fd);
    s->next = ch->socks;
    ch->socks = s;
    return fd;
}

static int close_sock(int fd, void *arg)
{
    struct pi_dns_channel *ch = arg;
    struct sock **at = &ch->socks;
    while ((*at)->io.fd != fd)
        at = &(*at)->next;
    struct sock *s = *at;
    *at = s->next;
    io_close(&s->io); /* which takes it out of the channel's epoll: nobody shares it */
    pi_free(s);
    return 0;
}

static int connect_sock(int fd, const struct sockaddr *addr, socklen_t len, void *arg)
{
    struct sock *s = sock_of(arg, fd);
    struct io_op op = {
        .code = IO_CONNECT, .fd = &s->io, .buf = (void *)(uintptr_t)addr, .addr_len = len
    };
    memcpy(&s->server, addr, len < sizeof s->server ? len : sizeof s->server);
    ssize_t rc = io_try(&op);
    if (rc == 0)
        return 0;
    return failed(rc == -EAGAIN ? -EINPROGRESS : (int)rc);
}

static void say_sent(struct pi_dns_channel *ch, const struct sock *s, const struct iovec *v)
{
    char name[PI_DNS_NAME_CAP], server[PIER_ADDR_TEXT];
    const size_t prefix = s->is_udp ? 0 : 2; /* RFC 1035, 4.2.2 */
    int type;
    if (v->iov_len <= prefix || pi_dns_question(name, &type, (unsigned char *)v->iov_base + prefix,
                                                v->iov_len - prefix) < 0)
        return;
    struct pi_dns_query *q = find_query(ch, name, type);
    if (q)
        pi_dns_say(q->trace, "ask %s%s for %s of %s",
                   pier_addr_text(&s->server, server, sizeof server), s->is_udp ? "" : " (TCP)",
                   pi_dns_type_name(type), name);
}

/* A datagram for which there is no room is a lost one: c-ares would think the server dead. */
static ssize_t send_sock(int fd, const struct iovec *pieces, int count, void *arg)
{
    struct sock *s = sock_of(arg, fd);
    struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)pieces,
                          .msg_iovlen = (size_t)count };
    struct io_op op = { .code = IO_SENDMSG, .fd = &s->io, .buf = &msg };
    for (int i = 0; i < count; i++)
        say_sent(arg, s, &pieces[i]);
    ssize_t n = io_try(&op);
    if (n == -EAGAIN && s->is_udp)
        return (ssize_t)pieces->iov_len;
    return n < 0 ? failed((int)n) : n;
}

/* What a server says of itself is noted, and a lame one is made to say so, so that c-ares goes on
 * to the next. */
static void note_reply(struct pi_dns_channel *ch, const struct sock *s, unsigned char *bytes,
                       size_t len)
{
    char name[PI_DNS_NAME_CAP], server[PIER_ADDR_TEXT];
    int type;
    if (pi_dns_question(name, &type, bytes, len) < 0)
        return;
    struct pi_dns_query *q = find_query(ch, name, type);
    int error = (int)pi_dns_server_error(bytes, len);
    if (!q)
        return;
    if (error) {
        q->server_error = error;
        if (s->is_udp) /* here it is the whole message for sure */
            bytes[3] = (unsigned char)((bytes[3] & 0xf0) | error);
    }
    static const char *const rcodes[16] = { "NOERROR",  "FORMERR", "SERVFAIL",
                                            "NXDOMAIN", "NOTIMP",  "REFUSED" };
    const char *rcode = rcodes[bytes[3] & 0xf];
    pi_dns_say(q->trace, "%s: %s, answers: %u%s%s",
               pier_addr_text(&s->server, server, sizeof server), rcode ? rcode : "an error",
               pi_dns_u16(bytes + 6), s->is_udp ? "" : " (TCP)", bytes[2] & 2 ? ", truncated" : "");
}

static ssize_t recv_sock(int fd, void *buf, size_t len, int flags, struct sockaddr *from,
                         socklen_t *from_len, void *arg)
{
    struct sock *s = sock_of(arg, fd);
    struct iovec piece = { buf, len };
    struct msghdr msg = { .msg_iov = &piece,
                          .msg_iovlen = 1,
                          .msg_name = from,
                          .msg_namelen = from_len ? *from_len : 0 };
    struct io_op op = { .code = IO_RECVMSG, .fd = &s->io, .buf = &msg };
    ssize_t n = io_try(&op);
    if (n < 0)
        return failed((int)n);
    if (from_len)
        *from_len = msg.msg_namelen;
    if (n > 4) /* the length before a message of TCP has two bytes, and comes alone */
        note_reply(arg, s, buf, (size_t)n);
    return n;
}

/* Level-triggered: c-ares leaves things unread. */
static void watch_sock(void *arg, int fd, int readable, int writable)
{
    struct pi_dns_channel *ch = arg;
    struct epoll_event ev = { .events = (readable ? EPOLLIN : 0) | (writable ? EPOLLOUT : 0),
                              .data.fd = fd };
    if (!ev.events) {
        epoll_ctl(ch->io.fd, EPOLL_CTL_DEL, fd, &ev);
        return;
    }
    if (epoll_ctl(ch->io.fd, EPOLL_CTL_ADD, fd, &ev) < 0 && errno == EEXIST)
        epoll_ctl(ch->io.fd, EPOLL_CTL_MOD, fd, &ev); /* unwatched, it is silent until its end */
}

/* ---- channels ---- */

static void start_ares(void)
{
    ares_library_init(ARES_LIB_INIT_ALL); /* never undone: others may use it, too */
}

/* In the child of a fork the parent's sockets are nobody's, and must not take its answers. */
static void after_fork_in_child(void)
{
    for (struct pi_dns_channel *ch = channels; ch; ch = ch->next) {
        for (struct sock *s = ch->socks; s; s = s->next)
            close(s->io.fd);
        close(ch->io.fd);
    }
    channels = NULL; /* their memory stays: frames of the parent's tasks point there */
}

static void start(void)
{
    start_ares();
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

static int set_servers(ares_channel ares, const struct pi_dns_conf *conf)
{
    struct ares_addr_port_node nodes[PI_DNS_SERVERS_MAX] = { 0 };
    for (int i = 0; i < conf->server_count; i++) {
        const struct sockaddr *addr = (const void *)&conf->servers[i];
        struct ares_addr_port_node *n = &nodes[i];
        n->next = i + 1 < conf->server_count ? n + 1 : NULL;
        n->family = addr->sa_family;
        n->udp_port = n->tcp_port = pier_addr_port(&conf->servers[i]);
        if (n->family == AF_INET6)
            memcpy(&n->addr.addr6, &((const struct sockaddr_in6 *)addr)->sin6_addr,
                   sizeof n->addr.addr6);
        else
            n->addr.addr4 = ((const struct sockaddr_in *)addr)->sin_addr;
    }
    return ares_set_servers_ports(ares, nodes);
}

/* All that it would read files for is given. */
static int open_ares(struct pi_dns_channel *ch)
{
    static const struct ares_socket_functions calls = { open_sock, close_sock, connect_sock,
                                                        recv_sock, send_sock };
    static char *no_domains[1], lookups[] = "b";
    const struct pi_dns_conf *conf = ch->conf;
    struct in_addr one = { htonl(INADDR_LOOPBACK) }; /* set_servers() has the real ones */
    struct ares_options opts = {
        .flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES |
                 (conf->use_tcp ? ARES_FLAG_USEVC : 0),
        .timeout = conf->timeout_ms,
        .tries = conf->attempts,
        .ndots = 1,
        .servers = &one,
        .nservers = 1,
        .domains = no_domains,
        .lookups = lookups,
        .ednspsz = UDP_SIZE,
        .sock_state_cb = watch_sock,
        .sock_state_cb_data = ch,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
               ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST |
               ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB |
               (conf->rotate ? ARES_OPT_ROTATE : ARES_OPT_NOROTATE);
    int rc = ares_init_options(&ch->ares, &opts, mask);
    if (rc != ARES_SUCCESS)
        return -ENOMEM;
    ares_set_socket_functions(ch->ares, &calls, ch);
    if (set_servers(ch->ares, conf) == ARES_SUCCESS)
        return 0;
    ares_destroy(ch->ares);
    return -ENOMEM;
}

static bool has_servers(const struct pi_dns_conf *a, const struct pi_dns_conf *b)
{
    return a == b ||
           (a->server_count == b->server_count && a->timeout_ms == b->timeout_ms &&
            a->attempts == b->attempts && a->use_tcp == b->use_tcp &&
            memcmp(a->servers, b->servers, (size_t)a->server_count * sizeof a->servers[0]) == 0);
}

static int open_channel(struct pi_dns_channel **out, struct pi_dns_conf *conf)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    for (struct pi_dns_channel *ch = channels; ch; ch = ch->next)
        if (has_servers(ch->conf, conf)) {
            *out = ch;
            return 0;
        }
    pthread_once(&once, start);
    struct pi_dns_channel *ch = pi_zalloc(sizeof *ch);
    if (!ch)
        return -ENOMEM;
    ch->conf = conf;
    ch->unsent_end = &ch->unsent;
    int fd = epoll_create1(EPOLL_CLOEXEC);
    int rc = fd < 0 ? -errno : open_ares(ch);
    if (rc < 0) {
        if (fd >= 0)
            close(fd);
        pi_free(ch);
        return rc;
    }
    io_fd_init(&ch->io, fd);
    conf->users++;
    ch->next = channels;
    channels = ch;
    *out = ch;
    return 0;
}

/* What is under way ends with on_answer(). */
static void close_channel(struct pi_dns_channel *ch)
{
    struct pi_dns_channel **at = &channels;
    while (*at != ch)
        at = &(*at)->next;
    *at = ch->next;
    ares_destroy(ch->ares);
    PIER_ASSERT(!ch->socks && !ch->newest && !ch->waiters);
    send_more(ch); /* frees those that nobody waits for; nothing is sent */
    PIER_ASSERT(!ch->unsent && ch->count == 0);
    io_close(&ch->io);
    pi_dns_conf_put(ch->conf);
    pi_free(ch);
}

int pi_dns_count(void)
{
    int count = 0;
    for (struct pi_dns_channel *ch = channels; ch; ch = ch->next)
        count += ch->count;
    return count;
}

/* ---- for others ---- */

static struct pi_dns_query *new_query(const char *name, int type)
{
    struct pi_dns_query *q = pi_zalloc(sizeof *q);
    if (!q)
        return NULL;
    q->users = 1;
    q->type = type;
    snprintf(q->name, sizeof q->name, "%s", name);
    return q;
}

static int ask(struct pi_dns_query *q, struct pi_dns_conf *conf)
{
    struct pi_dns_channel *ch;
    int rc = open_channel(&ch, conf);
    if (rc < 0)
        return rc;
    if (ch->count >= QUERIES_MAX)
        return -ENOBUFS; /* and it has others */
    struct pi_dns_query **bucket = bucket_of(ch, q->name, q->type);
    q->channel = ch;
    q->next = *bucket;
    *bucket = q;
    q->is_unsent = true;
    *ch->unsent_end = q;
    ch->unsent_end = &q->next_unsent;
    ch->count++;
    ch->users++;
    send_more(ch);
    return 0;
}

static struct pi_dns_query *join(struct pi_dns_conf *conf, const char *name, int type)
{
    for (struct pi_dns_channel *ch = channels; ch; ch = ch->next) {
        struct pi_dns_query *q = has_servers(ch->conf, conf) ? find_query(ch, name, type) : NULL;
        if (!q)
            continue;
        q->users++;
        ch->users++;
        return q;
    }
    return NULL;
}

struct pi_dns_query *pi_dns_begin(struct pi_dns_conf *conf, const char *name, int type,
                                  const struct pi_dns_trace *trace, const char *what)
{
    struct pi_dns_query *q = join(conf, name, type);
    if (q) {
        pi_dns_say(trace, "%s of %s: asked already", pi_dns_type_name(type), name);
        return q;
    }
    q = new_query(name, type);
    int rc = q ? 0 : -ENOMEM;
    if (q) {
        q->trace = trace;
        q->reply = pi_dns_cache_find(conf, name, type);
    }
    if (q && q->reply) {
        pi_dns_say(trace, "%s of %s: in the cache", pi_dns_type_name(type), name);
        q->end = PI_DNS_ANSWERED;
    } else if (q) {
        rc = ask(q, conf);
    }
    if (rc == 0)
        return q;
    pi_free(q);
    pi_fail(rc, "%s", what);
    return NULL;
}

void pi_dns_end(struct pi_dns_query *q)
{
    if (!q)
        return;
    struct pi_dns_channel *ch = q->channel;
    q->trace = NULL;
    q->users--;
    if (q->users == 0 && q->is_unsent)
        unlist(q); /* and send_more() frees it */
    else if (q->users == 0 && !q->is_sent)
        free_query(q);
    if (ch && --ch->users == 0)
        close_channel(ch);
}

static bool any_is_answered(struct pi_dns_query *const *queries, int count)
{
    for (int i = 0; i < count; i++)
        if (queries[i] && queries[i]->end != PI_DNS_ASKING)
            return true;
    return false;
}

/* When c-ares has to be called, or more queries can be sent. */
static int64_t next_look(struct pi_dns_channel *ch)
{
    struct timeval tv;
    if (!ch->look_ns && ares_timeout(ch->ares, NULL, &tv))
        ch->look_ns = pier_after(tv.tv_sec * PIER_SECOND + tv.tv_usec * PIER_MICROSECOND);
    int64_t look = ch->look_ns;
    if (ch->unsent && ch->oldest) {
        int64_t soon = ch->oldest->sent_ns + FRESH_MS * PIER_MILLISECOND;
        look = look && look < soon ? look : soon;
    }
    return look;
}

static void feed(struct pi_dns_channel *ch)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(ch->io.fd, events, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        bool is_over = events[i].events & (EPOLLERR | EPOLLHUP);
        int fd = events[i].data.fd;
        ares_process_fd(ch->ares, is_over || events[i].events & EPOLLIN ? fd : ARES_SOCKET_BAD,
                        is_over || events[i].events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
    }
    if (ch->look_ns && ch->look_ns <= pi_clock_ns()) {
        ares_process_fd(ch->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        ch->look_ns = 0;
    }
    send_more(ch);
}

/* Leads for one round: 0, or the code that ends the caller's wait. */
static int lead(struct pi_dns_channel *ch, int64_t deadline_ns)
{
    int64_t look = next_look(ch);
    struct io_op op = { .code = IO_POLL, .fd = &ch->io, .len = POLLIN };
    op.deadline_ns = look && (!deadline_ns || look < deadline_ns) ? look : deadline_ns;
    int rc = (int)io_run(&op);
    bool is_look = rc == -ETIMEDOUT && look && look <= pi_clock_ns();
    if (rc < 0 && rc != -EINTR && !is_look)
        return rc;
    feed(ch);
    return 0;
}

static void enter(struct pi_dns_channel *ch, struct waiter *w)
{
    w->task = pi_task_self();
    w->prev = NULL;
    w->next = ch->waiters;
    if (w->next)
        w->next->prev = w;
    ch->waiters = w;
}

/* Whoever leads hands that on. */
static void leave(struct pi_dns_channel *ch, struct waiter *w)
{
    *(w->prev ? &w->prev->next : &ch->waiters) = w->next;
    if (w->next)
        w->next->prev = w->prev;
    if (ch->leader == w)
        ch->leader = NULL;
    if (!ch->leader && ch->waiters)
        pi_ready(ch->waiters->task, 0);
}

static void link_to(struct pi_dns_query *q, struct pi_dns_link *link)
{
    link->task = pi_task_self();
    link->next = q->waiters;
    q->waiters = link;
}

static void unlink_from(struct pi_dns_query *q, struct pi_dns_link *link)
{
    struct pi_dns_link **at = &q->waiters;
    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
}

/* All queries are of one channel, and none is answered. */
static int wait_on(struct pi_dns_channel *ch, struct pi_dns_query **queries, int count,
                   int64_t deadline_ns)
{
    struct pi_task *self = pi_task_self();
    struct waiter w;
    int rc = 0;
    enter(ch, &w);
    while (rc == 0 && !any_is_answered(queries, count)) {
        if (!ch->leader)
            ch->leader = &w;
        if (ch->leader == &w) {
            rc = lead(ch, deadline_ns);
        } else {
            self->waits_for = "name server";
            rc = pi_park(self, pi_deadline(self, deadline_ns), true);
        }
    }
    leave(ch, &w);
    return any_is_answered(queries, count) ? 0 : rc;
}

int pi_dns_wait(struct pi_dns_query **queries, int count, int64_t deadline_ns)
{
    struct pi_dns_link links[2];
    struct pi_dns_channel *ch = NULL;
    PIER_ASSERT(count <= 2);
    if (any_is_answered(queries, count))
        return 0;
    for (int i = 0; i < count; i++)
        if (queries[i]) {
            link_to(queries[i], &links[i]);
            ch = queries[i]->channel;
        }
    PIER_ASSERT(ch != NULL);
    int rc = wait_on(ch, queries, count, deadline_ns);
    for (int i = 0; i < count; i++)
        if (queries[i])
            unlink_from(queries[i], &links[i]);
    return rc;
}
