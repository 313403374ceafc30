/* SPDX-License-Identifier: MIT */
/*
 * net/capture.c - pier_capture: connections' traffic as a pcapng file, with the secrets of TLS.
 *
 * The library sees streams, not packets: a receive or a send becomes a packet, or several, with
 * headers that fit. Each block is one writev(2) to a file that is open for appending, so loops,
 * threads and processes share it without a lock; what they share besides lies in memory that is
 * mapped before any fork. The write is made in place: it goes to the page cache, and a queue would
 * need a limit and a thread of its own.
 */
#define _GNU_SOURCE
#include "net/capture.h"

#include "net/cidr.h"
#include "net/pcapng_wire.h"
#include "net/tls.h"
#include "task/sockets.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PIECES = 64, /* of one packet: as many as of one pier_writev() */
    HEADS = PI_PCAPNG_PACKET_HEAD + PI_PACKET_HEAD,
    FIRST_PORT = 49152, /* the dynamic ones (RFC 6335), for those who have none */
    PORTS = 65536 - FIRST_PORT,
    NO_PORT = 1,
};

#define DEFAULT_BYTES ((int64_t)1 << 30)

struct pier_capture {
    int fd;
    int64_t max_bytes; /* 0: any number */
    size_t size;       /* of this */
    _Atomic int64_t bytes;
    _Atomic int error;        /* that has ended it; 0: none */
    _Atomic unsigned unnamed; /* connections that have no addresses */
    char path[];
};

enum { OURS, THEIRS };

struct pi_captured {
    struct pier_capture *capture;
    struct pi_packet_end ends[2];
    bool is_v6, is_datagram;
    bool has_ended[2], is_reset;
    uint32_t next[2]; /* sequence numbers */
    char *held;       /* received, and not written yet; NULL: nothing */
    size_t held_len;
    int64_t held_ns;
};

/* ---- blocks ---- */

static void end_capture(struct pier_capture *k, int code)
{
    int none = 0;
    if (atomic_compare_exchange_strong(&k->error, &none, code))
        pier_log(PIER_LOG_WARN, "the capture has ended", pier_str("file", k->path),
                 pier_str("error", pier_strerror(code)));
}

static void write_block(struct pier_capture *k, const struct iovec *pieces, int count)
{
    size_t len = 0;
    if (atomic_load_explicit(&k->error, memory_order_relaxed))
        return;
    for (int i = 0; i < count; i++)
        len += pieces[i].iov_len;
    if (k->max_bytes && atomic_fetch_add(&k->bytes, (int64_t)len) + (int64_t)len > k->max_bytes) {
        end_capture(k, -EFBIG);
        return;
    }
    ssize_t n = TEMP_FAILURE_RETRY(writev(k->fd, pieces, count));
    if (n != (ssize_t)len) /* a part: the rest had no room */
        end_capture(k, n < 0 ? -errno : -ENOSPC);
}

static void write_secret(struct pier_conn *c, const char *line)
{
    unsigned char head[PI_PCAPNG_SECRETS_HEAD], tail[PI_PCAPNG_TAIL];
    size_t len = strlen(line);
    if (!c->captured)
        return;
    pi_pcapng_secrets_head(head, len + 1);
    const struct iovec pieces[] = {
        { head, sizeof head },
        { (void *)line, len },
        { "\n", 1 },
        { tail, pi_pcapng_secrets_tail(tail, len + 1) },
    };
    write_block(c->captured->capture, pieces, 4);
}

/* ---- packets ---- */

/* The data are count pieces behind the first of all, and there is room behind them. */
static void write_packet(struct pi_captured *d, struct pi_packet *p, struct iovec *all, int count,
                         int64_t time_ns)
{
    unsigned char head[HEADS], tail[PI_PCAPNG_TAIL];
    p->is_v6 = d->is_v6;
    p->is_datagram = d->is_datagram;
    for (int i = 1; i <= count; i++) {
        pi_checksum_add(&p->data, all[i].iov_base, all[i].iov_len);
        p->data_len += all[i].iov_len;
    }
    size_t head_len = pi_packet_head(head + PI_PCAPNG_PACKET_HEAD, p);
    size_t len = head_len + p->data_len;
    pi_pcapng_packet_head(head, time_ns, len);
    all[0] = (struct iovec){ head, PI_PCAPNG_PACKET_HEAD + head_len };
    all[count + 1].iov_base = tail;
    all[count + 1].iov_len = pi_pcapng_packet_tail(tail, len, p->from == &d->ends[OURS]);
    write_block(d->capture, all, count + 2);
}

/* A packet of TCP without data; SYN and FIN count as a byte. */
static void signal_tcp(struct pi_captured *d, int who, uint8_t flags, int64_t time_ns)
{
    struct iovec all[2];
    struct pi_packet p = { .from = &d->ends[who],
                           .to = &d->ends[!who],
                           .seq = d->next[who],
                           .ack = flags & PI_TCP_ACK ? d->next[!who] : 0,
                           .flags = flags };
    write_packet(d, &p, all, 0, time_ns);
    if (flags & (PI_TCP_SYN | PI_TCP_FIN))
        d->next[who]++;
}

/* Takes up to most bytes from the front of the pieces, which it advances: into how many of out. */
static int take_pieces(struct iovec *out, const struct iovec **pieces, size_t *skip, size_t most)
{
    int count = 0;
    while (most > 0 && count < PIECES) {
        size_t left = (*pieces)->iov_len - *skip;
        size_t n = left < most ? left : most;
        out[count++] = (struct iovec){ (char *)(*pieces)->iov_base + *skip, n };
        most -= n;
        *skip += n;
        if (n == left) {
            (*pieces)++;
            *skip = 0;
        }
    }
    return count;
}

static void write_data(struct pi_captured *d, int who, const struct iovec *pieces, size_t len,
                       int64_t time_ns)
{
    struct iovec all[PIECES + 2];
    size_t skip = 0;
    while (len > 0) {
        size_t most = d->is_datagram || len < PI_PACKET_DATA ? len : PI_PACKET_DATA;
        int count = take_pieces(all + 1, &pieces, &skip, most);
        struct pi_packet p = { .from = &d->ends[who],
                               .to = &d->ends[!who],
                               .seq = d->next[who],
                               .ack = d->next[!who],
                               .flags = PI_TCP_PSH | PI_TCP_ACK };
        write_packet(d, &p, all, count, time_ns);
        d->next[who] += (uint32_t)p.data_len;
        len -= p.data_len;
    }
}

static void write_held(struct pi_captured *d)
{
    struct iovec piece = { d->held, d->held_len };
    if (!d->held)
        return;
    write_data(d, THEIRS, &piece, d->held_len, d->held_ns);
    pi_free(d->held);
    d->held = NULL;
}

/* What a call's result says but for bytes. */
static void has_signalled(struct pi_captured *d, int who, ssize_t n)
{
    if (d->is_datagram || d->is_reset)
        return;
    if (n == 0 && !d->has_ended[who]) {
        d->has_ended[who] = true;
        signal_tcp(d, who, PI_TCP_FIN | PI_TCP_ACK, pi_unix_ns());
    } else if (n == -ECONNRESET) {
        d->is_reset = true;
        signal_tcp(d, THEIRS, PI_TCP_RST | PI_TCP_ACK, pi_unix_ns());
    }
}

void pi_captured_in(struct pier_conn *c, const void *buf, ssize_t n)
{
    struct pi_captured *d = c->captured;
    struct iovec piece = { (void *)buf, n > 0 ? (size_t)n : 0 };
    write_held(d);
    if (n > 0)
        write_data(d, THEIRS, &piece, (size_t)n, pi_unix_ns());
    else
        has_signalled(d, THEIRS, n);
}

void pi_captured_out(struct pier_conn *c, const struct iovec *pieces, int count, ssize_t n)
{
    struct pi_captured *d = c->captured;
    write_held(d);
    if (n > 0)
        write_data(d, OURS, pieces, (size_t)n, pi_unix_ns());
    else if (n < 0 || count == 0)
        has_signalled(d, OURS, n);
}

/* Without memory the packet stands in front of its secrets: readers may need a second pass. */
void pi_captured_hold(struct pier_conn *c, const void *buf, size_t len)
{
    struct pi_captured *d = c->captured;
    write_held(d);
    d->held = pi_alloc(len);
    if (!d->held) {
        pi_captured_in(c, buf, (ssize_t)len);
        return;
    }
    memcpy(d->held, buf, len);
    d->held_len = len;
    d->held_ns = pi_unix_ns();
}

/* ---- connections ---- */

/* Whether addr has an address and a port that can be had. */
static bool set_end(struct pi_packet_end *end, int *version, const struct sockaddr *addr)
{
    struct pi_ip ip;
    *end = (struct pi_packet_end){ 0 };
    if (!pi_ip_of(&ip, addr))
        return false;
    *version = ip.version;
    for (int i = 0; i < 16; i++)
        end->ip[i] = (unsigned char)((i < 8 ? ip.high : ip.low) >> (56 - i % 8 * 8));
    end->port = ntohs(addr->sa_family == AF_INET6 ? ((const struct sockaddr_in6 *)addr)->sin6_port
                                                  : ((const struct sockaddr_in *)addr)->sin_port);
    return true;
}

/* Loopback's, a port for each connection. */
static void make_up_ends(struct pi_captured *d, bool is_server)
{
    static const unsigned char loopback[] = { 127, 0, 0, 1 };
    unsigned number = atomic_fetch_add(&d->capture->unnamed, 1);
    d->is_v6 = false;
    for (int i = 0; i < 2; i++) {
        d->ends[i] = (struct pi_packet_end){ .port = NO_PORT };
        memcpy(d->ends[i].ip, loopback, sizeof loopback);
    }
    d->ends[is_server ? THEIRS : OURS].port = (uint16_t)(FIRST_PORT + number % PORTS);
}

/* A socket that takes both families is bound to no address of the peer's: then ours is 0.0.0.0. */
static void set_ends(struct pier_conn *c, struct pi_captured *d, const struct sockaddr *local)
{
    struct pi_addr own = { .len = sizeof own.un };
    int version[2];
    if (!local && c->io.fd >= 0 && io_sockets()->local(c->io.fd, &own.any, &own.len) >= 0)
        local = &own.any;
    if (!local || !set_end(&d->ends[OURS], &version[OURS], local) ||
        !set_end(&d->ends[THEIRS], &version[THEIRS], &c->peer.any)) {
        make_up_ends(d, c->is_owned);
        return;
    }
    d->is_v6 = version[THEIRS] == 6;
    if (version[OURS] != version[THEIRS])
        memset(d->ends[OURS].ip, 0, sizeof d->ends[OURS].ip);
}

/* Streams of the same addresses are told apart by their first sequence numbers. */
static void shake_hands(struct pi_captured *d, bool is_server)
{
    enum { MICROSECOND_BITS = 10 };
    int64_t now = pi_unix_ns();
    int client = is_server ? THEIRS : OURS;
    d->next[client] = (uint32_t)(now >> MICROSECOND_BITS);
    d->next[!client] = d->next[client] + (UINT32_MAX >> 1);
    signal_tcp(d, client, PI_TCP_SYN, now);
    signal_tcp(d, !client, PI_TCP_SYN | PI_TCP_ACK, now);
    signal_tcp(d, client, PI_TCP_ACK, now);
}

void pi_captured_begin(struct pier_conn *c, struct pier_capture *k, const struct sockaddr *local)
{
    if (!k || c->captured)
        return;
    struct pi_captured *d = pi_zalloc(sizeof *d);
    if (!d) {
        pier_log(PIER_LOG_WARN, "a connection is not captured", pier_str("file", k->path),
                 pier_str("peer", pier_peer(c)), pier_str("error", pier_strerror(-ENOMEM)));
        return;
    }
    d->capture = k;
    d->is_datagram = c->transport->is_datagram;
    set_ends(c, d, local);
    c->captured = d;
    if (!d->is_datagram)
        shake_hands(d, c->is_owned);
}

void pi_captured_moved(struct pier_conn *c)
{
    if (c->captured)
        set_ends(c, c->captured, NULL);
}

void pi_captured_end(struct pier_conn *c)
{
    struct pi_captured *d = c->captured;
    if (!d)
        return;
    write_held(d);
    has_signalled(d, OURS, 0);
    pi_free(d);
    c->captured = NULL;
}

/* ---- files ---- */

/* Whether the file may be replaced: it is empty, or a capture that this user has made. */
static int check_file(int fd, const char *path)
{
    unsigned char begin[PI_PCAPNG_BEGIN], found[PI_PCAPNG_OWN];
    struct stat st;
    if (fstat(fd, &st) < 0)
        return pi_fail(-errno, "capture %s", path);
    if (!S_ISREG(st.st_mode))
        return pi_fail_text(-EINVAL, "capture %s: it is not a regular file", path);
    if (st.st_uid != geteuid())
        return pi_fail_text(-EEXIST, "capture %s: it is another user's, and secrets would go there",
                            path);
    if (st.st_size == 0)
        return 0;
    ssize_t n = TEMP_FAILURE_RETRY(pread(fd, found, sizeof found, 0));
    if (n < 0)
        return pi_fail(-errno, "capture %s", path);
    pi_pcapng_begin(begin);
    if (n != (ssize_t)sizeof found || memcmp(found, begin, sizeof found) != 0)
        return pi_fail_text(-EEXIST, "capture %s: it exists, and is no capture of Pier's", path);
    return 0;
}

/* Makes it an empty capture, for its owner only: 0 or a negative code. */
static int begin_file(int fd, const char *path)
{
    unsigned char begin[PI_PCAPNG_BEGIN];
    struct iovec piece = { begin, sizeof begin };
    if (TEMP_FAILURE_RETRY(flock(fd, LOCK_EX | LOCK_NB)) < 0)
        return errno == EWOULDBLOCK
                   ? pi_fail_text(-EBUSY, "capture %s: another one writes there", path)
                   : pi_fail(-errno, "capture %s", path);
    int rc = check_file(fd, path);
    if (rc < 0)
        return rc;
    if (fchmod(fd, 0600) < 0 || TEMP_FAILURE_RETRY(ftruncate(fd, 0)) < 0)
        return pi_fail(-errno, "capture %s", path);
    pi_pcapng_begin(begin);
    ssize_t n = TEMP_FAILURE_RETRY(writev(fd, &piece, 1));
    return n == (ssize_t)sizeof begin ? 0 : pi_fail(n < 0 ? -errno : -ENOSPC, "capture %s", path);
}

static int open_file(const char *path)
{
    const int how = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    int fd = (int)TEMP_FAILURE_RETRY(openat(AT_FDCWD, path, how, 0600));
    if (fd < 0)
        return pi_fail(-errno, "capture %s", path);
    int rc = begin_file(fd, path);
    if (rc < 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

struct pier_capture *pier_capture_open(const char *path, const struct pier_capture_opts *opts)
{
    if (io_is_simulated()) {
        pi_fail(-EOPNOTSUPP, "capture %s in a simulation", path);
        return NULL;
    }
    int64_t max_bytes = opts && opts->max_bytes ? opts->max_bytes : DEFAULT_BYTES;
    size_t size = sizeof(struct pier_capture) + strlen(path) + 1;
    int fd = open_file(path);
    if (fd < 0)
        return NULL;
    struct pier_capture *k = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                                  -1, 0);
    if (k == MAP_FAILED) {
        pi_fail(-errno, "capture %s", path);
        close(fd);
        return NULL;
    }
    k->fd = fd;
    k->size = size;
    k->max_bytes = max_bytes < 0 ? 0 : max_bytes;
    k->bytes = PI_PCAPNG_BEGIN;
    memcpy(k->path, path, strlen(path) + 1);
    pi_tls_keylog(write_secret); /* for good: it asks each connection for its capture */
    return k;
}

int pier_capture_close(struct pier_capture *k)
{
    if (!k)
        return 0;
    int rc = atomic_load(&k->error);
    if (rc < 0)
        pi_fail(rc, "capture %s", k->path);
    close(k->fd);
    munmap(k, k->size);
    return rc;
}
