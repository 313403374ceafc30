/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_capture: captures read back block by block: lengths, checksums, sequence numbers, the bytes
 * of both ways, on every kind of connection; what files may be replaced; what a capture that fails
 * leaves alone.
 */
#include "net_certs.h"
#include "net_serving.h"

#include "net/pcapng_wire.h"

#include <sys/resource.h>

enum { MOST_BYTES = 8 << 20, TCP_ENDS = 2, PLAIN = 100000 };

/* ---- a reader of its own ---- */

struct stream {
    char *bytes;
    size_t len;
    uint32_t next;
    bool has_syn, has_fin;
    uint16_t port;
};

struct reading {
    int packets, secrets, resets;
    bool has_v4, has_v6;
    size_t largest;
    struct stream streams[TCP_ENDS]; /* by direction: what was received, what was sent */
};

static unsigned get16(const unsigned char *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

static uint32_t get32(const unsigned char *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static uint32_t own32(const unsigned char *at)
{
    uint32_t n;
    memcpy(&n, at, sizeof n);
    return n;
}

/* Byte by byte, as the RFC has it. */
static unsigned sum_up(unsigned sum, const unsigned char *at, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? at[i] : (unsigned)at[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static void add_bytes(struct stream *s, const unsigned char *at, size_t len)
{
    if (!s->bytes)
        s->bytes = malloc(MOST_BYTES);
    ck_assert_uint_le(s->len + len, MOST_BYTES);
    memcpy(s->bytes + s->len, at, len);
    s->len += len;
}

static void read_tcp(struct reading *r, int way, const unsigned char *at, size_t len)
{
    struct stream *from = &r->streams[way], *to = &r->streams[!way];
    size_t head = (size_t)(at[12] >> 4) * 4;
    unsigned flags = at[13];
    ck_assert_uint_ge(len, head);
    if (flags & PI_TCP_SYN) {
        ck_assert(!from->has_syn);
        from->has_syn = true;
        from->next = get32(at + 4);
        from->port = (uint16_t)get16(at);
    }
    ck_assert(from->has_syn && (to->has_syn || !(flags & PI_TCP_ACK)));
    ck_assert_uint_eq(get16(at), from->port);
    ck_assert_uint_eq(get32(at + 4), from->next);
    if (flags & PI_TCP_ACK)
        ck_assert_uint_eq(get32(at + 8), to->next);
    ck_assert(!from->has_fin || len == head);
    add_bytes(from, at + head, len - head);
    from->next += (uint32_t)(len - head) + !!(flags & (PI_TCP_SYN | PI_TCP_FIN));
    from->has_fin |= !!(flags & PI_TCP_FIN);
    r->resets += !!(flags & PI_TCP_RST);
}

static void read_packet(struct reading *r, const unsigned char *at, size_t len, int way)
{
    bool is_v6 = at[0] >> 4 == 6;
    size_t head = is_v6 ? 40 : 20, ip_len = is_v6 ? 32 : 8;
    unsigned protocol = is_v6 ? at[6] : at[9];
    ck_assert_uint_eq(is_v6 ? get16(at + 4) + 40 : get16(at + 2), len);
    if (!is_v6)
        ck_assert_uint_eq(sum_up(0, at, 20), 0xffff);
    unsigned pseudo = sum_up(protocol + (unsigned)(len - head), at + head - ip_len, ip_len);
    ck_assert_uint_eq(sum_up(pseudo, at + head, len - head), 0xffff);
    r->packets++;
    r->has_v4 |= !is_v6;
    r->has_v6 |= is_v6;
    if (len > r->largest)
        r->largest = len;
    if (protocol == IPPROTO_TCP) {
        read_tcp(r, way, at + head, len - head);
    } else {
        ck_assert_uint_eq(get16(at + head + 4), len - head);
        ck_assert_uint_ne(get16(at + head), 0);
        add_bytes(&r->streams[way], at + head + 8, len - head - 8);
    }
}

static void read_block(struct reading *r, const unsigned char *at, size_t len)
{
    int64_t now = (int64_t)time(NULL) * PIER_SECOND;
    switch (own32(at)) {
    case 6: {
        size_t packet = own32(at + 20);
        int64_t ns = (int64_t)((uint64_t)own32(at + 12) << 32 | own32(at + 16));
        size_t options = 28 + (packet + 3) / 4 * 4;
        ck_assert_uint_eq(own32(at + 24), packet);
        ck_assert_uint_eq(options + 16, len);
        ck_assert(llabs(now - ns) < 3600 * PIER_SECOND);
        read_packet(r, at + 28, packet, own32(at + options + 4) == 2);
        break;
    }
    case 10:
        ck_assert_uint_eq(own32(at + 8), 0x544c534b);
        ck_assert_uint_eq(16 + (own32(at + 12) + 3) / 4 * 4 + 4, len);
        ck_assert_int_eq(at[16 + own32(at + 12) - 1], '\n');
        r->secrets++;
        break;
    default:
        ck_abort_msg("a block of type %u", own32(at));
    }
}

static void free_reading(struct reading *r)
{
    for (int i = 0; i < TCP_ENDS; i++)
        free(r->streams[i].bytes);
}

static void read_capture(struct reading *r, const char *path)
{
    FILE *f = fopen(path, "r");
    ck_assert_ptr_nonnull(f);
    unsigned char *bytes = malloc(MOST_BYTES);
    size_t len = fread(bytes, 1, MOST_BYTES, f), at = PI_PCAPNG_BEGIN;
    fclose(f);
    *r = (struct reading){ 0 };
    ck_assert_uint_ge(len, PI_PCAPNG_BEGIN);
    ck_assert_uint_eq(own32(bytes), 0x0A0D0D0A);
    ck_assert_uint_eq(own32(bytes + 4), PI_PCAPNG_OWN);
    ck_assert_uint_eq(own32(bytes + 8), 0x1A2B3C4D);
    ck_assert_uint_eq(own32(bytes + PI_PCAPNG_OWN), 1);
    while (at < len) {
        size_t block = own32(bytes + at + 4);
        ck_assert(block % 4 == 0 && block >= 12 && block <= len - at);
        ck_assert_uint_eq(own32(bytes + at + block - 4), block);
        read_block(r, bytes + at, block);
        at += block;
    }
    free(bytes);
}

static void expect_bytes(const struct reading *r, int way, const char *bytes, size_t len)
{
    ck_assert_uint_eq(r->streams[way].len, len);
    ck_assert(len == 0 || memcmp(r->streams[way].bytes, bytes, len) == 0);
}

enum { RECEIVED, SENT };

/* ---- what tests share ---- */

static struct pier_capture *capture_to(const char *name)
{
    struct pier_capture *k = pier_capture_open(in_folder(name), NULL);
    ck_assert_msg(k != NULL, "%s", pier_error());
    return k;
}

static int echo_all(struct pier_conn *c, void *arg)
{
    static _Thread_local char buf[65536];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0)
        if ((n = pier_write(c, buf, (size_t)n)) < 0)
            return (int)n;
    return (int)n;
}

static void talk(struct pier_conn *c, const char *bytes, size_t len)
{
    char *got = malloc(len);
    ck_assert_msg(c != NULL, "%s", pier_error());
    ck_assert_int_eq(pier_write(c, bytes, len), (ssize_t)len);
    ck_assert_int_eq(pier_read_exact(c, got, len), (ssize_t)len);
    ck_assert_int_eq(memcmp(got, bytes, len), 0);
    free(got);
}

static void expect_round_trip(const char *name, const char *bytes, size_t len)
{
    struct reading r;
    read_capture(&r, in_folder(name));
    expect_bytes(&r, SENT, bytes, len);
    expect_bytes(&r, RECEIVED, bytes, len);
    free_reading(&r);
}

/* ---- files ---- */

static void write_text(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void expect_refused(const char *name, int code, const char *words)
{
    ck_assert_ptr_null(pier_capture_open(in_folder(name), NULL));
    ck_assert_int_eq(pier_error_code(), code);
    ck_assert_msg(strstr(pier_error(), words) != NULL, "%s", pier_error());
}

TEST(a_capture_is_its_owners_only)
{
    struct stat st;
    umask(0);
    write_text("old", "");
    ck_assert_int_eq(chmod(in_folder("old"), 0666), 0);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "old" : "new";
        ck_assert_int_eq(pier_capture_close(capture_to(name)), 0);
        ck_assert_int_eq(stat(in_folder(name), &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0600);
        ck_assert_int_eq(st.st_size, PI_PCAPNG_BEGIN);
    }
}

TEST(only_captures_are_replaced)
{
    write_text("text", "what somebody has written, more than a section's header would be");
    write_text("short", "\n");
    expect_refused("text", -EEXIST, "no capture of Pier's");
    expect_refused("short", -EEXIST, "no capture of Pier's");
    expect_refused("nowhere/x", -ENOENT, "capture /");
    ck_assert_int_eq(mkfifo(in_folder("fifo"), 0600), 0);
    expect_refused("fifo", -EINVAL, "not a regular file");
    struct pier_capture *k = capture_to("a");
    expect_refused("a", -EBUSY, "another one writes there");
    ck_assert_int_eq(pier_capture_close(k), 0);
    ck_assert_int_eq(pier_capture_close(capture_to("a")), 0);
    ck_assert_int_eq(pier_capture_close(NULL), 0);
}

TEST(another_users_file_gets_no_secrets)
{
    write_text("theirs", "");
    if (chown(in_folder("theirs"), 12345, 12345) < 0)
        test_skip("only root may give files away");
    expect_refused("theirs", -EEXIST, "another user's");
}

/* ---- kinds of connections ---- */

static void dial_and_talk(const char *url, size_t len, struct reading *r)
{
    struct serving sv;
    char *bytes = make_pattern(len, 1);
    struct pier_capture *k = capture_to("c");
    struct pier_dial_opts opts = { .capture = k };
    serve(&sv, &(struct pier_serve_opts){ .workers = 1 }, url, echo_all, NULL);
    struct pier_conn *c = pier_dial(pier_server_url(sv.server, 0), &opts);
    talk(c, bytes, len);
    pier_close(c);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(pier_capture_close(k), 0);
    read_capture(r, in_folder("c"));
    expect_bytes(r, SENT, bytes, len);
    expect_bytes(r, RECEIVED, bytes, len);
    free_reading(r);
    free(bytes);
}

BOTH(tcp_is_captured)
{
    struct reading r;
    dial_and_talk("tcp://127.0.0.1:0", 300001, &r);
    ck_assert(r.has_v4 && !r.has_v6 && r.streams[SENT].has_fin);
    ck_assert_uint_le(r.largest, 65535);
    ck_assert_int_ge(r.packets, 4 + 2 * 5);
}

BOTH(tcp_over_ipv6_is_captured)
{
    struct reading r;
    struct sockaddr_in6 addr = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool has_v6 = fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof addr) == 0;
    close(fd);
    if (!has_v6)
        test_skip("there is no IPv6 here");
    dial_and_talk("tcp://[::1]:0", 200000, &r);
    ck_assert(r.has_v6 && !r.has_v4);
}

BOTH(unix_sockets_are_captured_with_addresses_that_are_made_up)
{
    struct reading r;
    char url[80];
    snprintf(url, sizeof url, "unix://@pier-capture-%d", (int)getpid());
    dial_and_talk(url, 70000, &r);
    ck_assert(r.has_v4);
    ck_assert_uint_eq(r.streams[RECEIVED].port, 1);
    ck_assert_uint_ge(r.streams[SENT].port, 49152);
}

BOTH(udp_is_captured_a_packet_a_datagram)
{
    struct reading r;
    dial_and_talk("udp://127.0.0.1:0", 9000, &r);
    ck_assert_int_eq(r.packets, 2);
}

BOTH(the_largest_datagram_fits)
{
    struct reading r;
    dial_and_talk("udp://127.0.0.1:0", 65507, &r);
    ck_assert_int_eq(r.packets, 2);
    ck_assert_uint_eq(r.largest, 65535);
}

BOTH(pieces_and_half_closes_are_captured)
{
    struct pier_conn *ends[2];
    int fds[2];
    char byte;
    struct iovec pieces[] = { { "a", 1 }, { "", 0 }, { "bcd", 3 }, { "ef", 2 } };
    struct pier_capture *k = capture_to("c");
    struct pier_dial_opts opts = { .capture = k };
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ends[0] = pier_conn_adopt(fds[0], &opts);
    ends[1] = pier_conn_adopt(fds[1], NULL);
    ck_assert_int_eq(pier_writev(ends[0], pieces, 4), 6);
    ck_assert_int_eq(pier_shutdown_write(ends[0]), 0);
    ck_assert_int_eq(pier_puts(ends[1], "reply"), 5);
    pier_close(ends[1]);
    while (pier_read(ends[0], &byte, 1) > 0)
        ;
    pier_close(ends[0]);
    ck_assert_int_eq(pier_capture_close(k), 0);
    struct reading r;
    read_capture(&r, in_folder("c"));
    expect_bytes(&r, SENT, "abcdef", 6);
    /* The peer closed with input unread, which resets a Unix socket, or it ended. */
    ck_assert(r.streams[SENT].has_fin && (r.streams[RECEIVED].has_fin || r.resets == 1));
    free_reading(&r);
}

static int relay_main(struct pier_conn *c, void *arg)
{
    struct pier_conn *to = pier_dial(arg, NULL);
    int rc = pier_copy(c, to, NULL);
    pier_close(to);
    return rc;
}

TEST(a_relay_is_captured_though_it_could_be_spliced)
{
    struct serving sv, front;
    struct pier_capture *k = capture_to("c");
    serve(&sv, &(struct pier_serve_opts){ .workers = 1 }, "tcp://127.0.0.1:0", echo_all, NULL);
    serve(&front, &(struct pier_serve_opts){ .workers = 1, .capture = k }, "tcp://127.0.0.1:0",
          relay_main, (void *)pier_server_url(sv.server, 0));
    struct pier_conn *c = pier_dial(pier_server_url(front.server, 0), NULL);
    talk(c, "relayed", 7);
    pier_close(c);
    front.fds = 0; /* the other server's are counted, too */
    ck_assert_int_eq(end_serving(&front), 0);
    sv.fds = 0;
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(pier_capture_close(k), 0);
    expect_round_trip("c", "relayed", 7);
}

/* ---- servers ---- */

static void serve_and_talk(enum pier_model model, const char *url)
{
    struct serving sv;
    struct pier_capture *k = capture_to("s");
    serve(&sv, &(struct pier_serve_opts){ .workers = 1, .model = model, .capture = k }, url,
          echo_all, NULL);
    struct pier_conn *c = pier_dial(pier_server_url(sv.server, 0), NULL);
    talk(c, "to a server", 11);
    pier_close(c);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(pier_capture_close(k), 0);
    expect_round_trip("s", "to a server", 11);
}

TEST(servers_with_tasks_are_captured)
{
    serve_and_talk(PIER_TASKS, "tcp://127.0.0.1:0");
    serve_and_talk(PIER_TASKS, "udp://127.0.0.1:0");
}

TEST(servers_with_threads_are_captured)
{
    serve_and_talk(PIER_THREADS, "tcp://127.0.0.1:0");
    serve_and_talk(PIER_THREADS, "udp://127.0.0.1:0");
}

/* ---- TLS ---- */

BOTH(tls_is_captured_as_it_is_on_the_wire_with_its_secrets)
{
    struct serving sv;
    struct reading r;
    static char plain[PLAIN] = "nobody else reads this"; /* and zeros: several whole records */
    make_ca("ca");
    make_leaf("server", "ca", "DNS:localhost,IP:127.0.0.1", EC);
    struct pier_tls_opts tls = { .cert_file = in_folder("server.pem"),
                                 .key_file = in_folder("server-key.pem") };
    struct pier_tls_opts client = { .ca_file = in_folder("ca.pem") };
    struct pier_capture *ks = capture_to("s"), *kc = capture_to("c");
    struct pier_dial_opts opts = { .tls = &client, .capture = kc };
    serve(&sv, &(struct pier_serve_opts){ .workers = 1, .tls = &tls, .capture = ks },
          "tls://127.0.0.1:0", echo_all, NULL);
    struct pier_conn *c = pier_dial(pier_server_url(sv.server, 0), &opts);
    talk(c, plain, PLAIN);
    pier_close(c);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(pier_capture_close(ks), 0);
    ck_assert_int_eq(pier_capture_close(kc), 0);
    for (int i = 0; i < 2; i++) {
        read_capture(&r, in_folder(i ? "s" : "c"));
        ck_assert_int_eq(r.secrets, 5);
        for (int way = 0; way < TCP_ENDS; way++) {
            const struct stream *s = &r.streams[way];
            ck_assert_uint_gt(s->len, PLAIN);
            ck_assert_ptr_null(memmem(s->bytes, s->len, plain, strlen(plain)));
            ck_assert_int_eq(s->bytes[0], 22); /* a record of the handshake */
        }
        free_reading(&r);
    }
}

/* ---- limits and failures ---- */

static void expect_end(int64_t max_bytes, int code)
{
    struct serving sv;
    struct stat st;
    char *bytes = make_pattern(200000, 1);
    serve(&sv, &(struct pier_serve_opts){ .workers = 1 }, "tcp://127.0.0.1:0", echo_all, NULL);
    struct pier_capture_opts capture = { .max_bytes = max_bytes };
    struct pier_capture *k = pier_capture_open(in_folder("c"), &capture);
    ck_assert_ptr_nonnull(k);
    struct pier_dial_opts opts = { .capture = k };
    for (int i = 0; i < 3; i++) {
        struct pier_conn *c = pier_dial(pier_server_url(sv.server, 0), &opts);
        talk(c, bytes, 200000);
        pier_close(c);
    }
    ck_assert_int_eq(pier_capture_close(k), code);
    ck_assert_int_eq(said("the capture has ended"), 1);
    ck_assert_int_eq(stat(in_folder("c"), &st), 0);
    ck_assert_int_le(st.st_size, 150000);
    ck_assert_int_eq(end_serving(&sv), 0);
    free(bytes);
}

BOTH(a_capture_ends_before_max_bytes_and_traffic_goes_on)
{
    struct reading r;
    expect_end(150000, -EFBIG);
    read_capture(&r, in_folder("c")); /* whole blocks */
    free_reading(&r);
}

BOTH(a_full_disk_ends_a_capture_and_traffic_goes_on)
{
    struct rlimit limit = { 150000, 150000 };
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_end(-1, -ENOSPC);
}

HARNESS_MAIN("net_capture")
