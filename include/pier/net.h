/* SPDX-License-Identifier: MIT */
/*
 * pier/net.h - connections, datagrams and servers over endpoint URLs; names and ports.
 *
 * Endpoints: "tcp://host:port" (IPv4, name, "[IPv6]"; port 0 when listening means any free one; an
 * empty host is every address when listening and localhost when dialling), "tls://host:port",
 * "unix:///path", "unix://@abstract"; "udp://host:port" for datagrams.
 *
 * Every call accepts the NULL of a failed constructor, returns the code of the task's last failure
 * and leaves that alone. Connection errors are sticky: after a failed write, later writes, and
 * reads that would wait, return the same code; so short programs check once, at the end. Time-outs
 * and cancellations are not sticky and lose no byte, but for those of a write that had passed a
 * part on: what follows in the stream would mean nothing. One task may read while another writes; a
 * second reader or writer gets -EBUSY. A connection is for the tasks of one thread.
 */
#ifndef PIER_NET_H
#define PIER_NET_H

#include <pier/base.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A connection: a stream of bytes each way. */
struct pier_conn;

/* ---- options ---- */

/* For the *_ms options below: 0 is the default, this is no limit. */
enum { PIER_NO_TIMEOUT = -1 };

/* Options of TCP sockets (tcp(7), socket(7)); zero is the default everywhere. */
struct pier_sock_opts {
    bool delay;        /* leave Nagle's algorithm on (default: TCP_NODELAY) */
    bool no_keepalive; /* default: SO_KEEPALIVE, first probe after 60 s, then every 10 s, 6 times */
    int user_timeout_ms; /* TCP_USER_TIMEOUT; default 120,000; PIER_NO_TIMEOUT: the system's */
    int send_buffer, recv_buffer;   /* bytes; default: as the system tunes them */
    bool reuseport;                 /* SO_REUSEPORT on listeners */
    const char *congestion_control; /* "cubic", "bbr"…; default: the system's */
};

/* A certificate of a server: PEM files. */
struct pier_tls_cert {
    const char *cert_file; /* the certificate, then those between it and the root */
    const char *key_file;  /* its private key, not encrypted: RSA, ECDSA, Ed25519 */
    const char *ocsp_file; /* the answer of its authority (DER, RFC 6960), to be stapled; NULL */
};

/* Versions of TLS, for min_version. */
enum pier_tls_version { PIER_TLS_DEFAULT, PIER_TLS_1_2, PIER_TLS_1_3 };

/* Whose part in the handshake is ours, for pier_tls_wrap(). */
enum pier_tls_role {
    PIER_TLS_AUTO, /* the server's on connections that a server accepted, else the client's */
    PIER_TLS_CLIENT,
    PIER_TLS_SERVER,
};

/* Options of TLS 1.2 and 1.3 (RFC 5246, 8446); zero is the default everywhere. Strings are copied,
 * where they are not used up at once. */
struct pier_tls_opts {
    /* Both sides. A client presents its certificate when it is asked for one. */
    const char *cert_file, *key_file; /* PEM; see struct pier_tls_cert */
    const char *alpn;    /* protocols by preference, "h2,http/1.1" (RFC 7301); default: none */
    const char *ciphers; /* of TLS 1.2 (openssl-ciphers(1)); default: ECDHE with AES-GCM or
                            ChaCha20; those of 1.3 are all good, and fixed */
    enum pier_tls_version min_version; /* default 1.2 */
    enum pier_tls_role role;           /* pier_tls_wrap() only */
    int handshake_timeout_ms;          /* of the whole handshake; default 10,000 */

    /* Clients verify the server's certificate: its chain, its dates, its name or IP address. */
    const char *ca_file;       /* authorities to trust (PEM), instead of the system's */
    const char *server_name;   /* to ask for and verify; default: the URL's host */
    const char *pinned_key;    /* and its key: SHA-256 of the SubjectPublicKeyInfo, 64 hexadecimal
                                  digits or "sha256//" and base64 */
    bool insecure_skip_verify; /* verify nothing but pinned_key: anybody may be at the other end.
                                  Logged, unless a key is pinned */

    /* Servers. Which certificate is used follows from the name that the client asks for (SNI) and
     * the names in the certificates; for unknown names, and none, it is the first. All files are
     * read again when they have changed, and after pier_server_reload_remote(). */
    const struct pier_tls_cert *more_certs; /* beside cert_file */
    int more_count;
    const char *ocsp_file;      /* of cert_file */
    const char *client_ca_file; /* ask clients for a certificate of these authorities (PEM) */
    bool client_cert_optional;  /* and serve those that have none */
    int max_handshakes; /* at once, over all workers; beyond it the oldest (with threads: the
                           newest) is given up; default 1,000; with processes max_conns is the limit
                         */
    int tickets; /* for resumption, for each handshake; default 1; PIER_NO_TICKETS: none. Their keys
                    change every hour, and are good for two more */
};
enum { PIER_NO_TICKETS = -1 };

struct pier_capture;

struct pier_dial_opts {
    int connect_timeout_ms; /* resolving and connecting together; default 10,000 */
    int read_timeout_ms;    /* waiting for bytes in one read; default 300,000 */
    int write_timeout_ms;   /* without progress in a write; default 30,000 */
    const char *servers;    /* name servers, as in struct pier_resolve_opts */
    struct pier_sock_opts sock;
    const struct pier_tls_opts *tls; /* of tls:// */
    struct pier_capture *capture;    /* that the traffic is written to; borrowed until the
                                        connection is closed */
};

/* ---- captures ---- */

struct pier_capture_opts {
    int64_t
        max_bytes; /* of the file; the capture ends before them; default 1 GiB; -1: any number */
};

/* A pcapng file of what connections send and receive, for Wireshark and tshark: needs no rights,
 * and has the secrets of TLS in it, so that these decrypt it; it is its owner's only (mode 600).
 * Name it in .capture of pier_dial_opts or pier_serve_opts. What was read and written becomes
 * packets with made-up headers that fit: handshake, sequence numbers, checksums, the end;
 * acknowledgements, retransmissions and the kernel's own segments are not known here. The addresses
 * are the socket's; those of Unix sockets and pipes are 127.0.0.1, the server's port 1. A file that
 * is there is replaced if it is such a capture of the same user, else that is -EEXIST; -EBUSY:
 * another capture writes it. Blocks are written at once, by the task, thread or process that moves
 * the bytes: to a local file, please. A capture that can go on no more, for max_bytes or a full
 * disk, ends with one line in the log; traffic goes on. Open it before the server that it is of
 * runs, and before TLS connections are dialled. NULL on failure, and in a simulation (-EOPNOTSUPP).
 */
PIER_API struct pier_capture *pier_capture_open(const char *path,
                                                const struct pier_capture_opts *opts);

/* Closes it, once nothing uses it. 0, or the code of what ended it before: -EFBIG for max_bytes,
 * -ENOSPC. NULL is fine. */
PIER_API int pier_capture_close(struct pier_capture *capture);

/* ---- connections ---- */

/* Connects. A name's addresses, at most 16, are tried by Happy Eyeballs (RFC 8305). Returns the
 * connection, which the caller closes with pier_close(), or NULL: then pier_error() says why.
 * Waits. */
PIER_API struct pier_conn *pier_dial(const char *url, const struct pier_dial_opts *opts);

/* Takes over a connected stream socket, or a pipe, terminal or the like, which pier_close() then
 * closes. It is made non-blocking, for everybody who shares it. Returns NULL on failure, and fd
 * stays the caller's. */
PIER_API struct pier_conn *pier_conn_adopt(int fd, const struct pier_dial_opts *opts);

/* Both ends of a new connection within the process (a socket pair), each to be closed. 0, or a
 * negative code and two NULLs. */
PIER_API int pier_conn_pair(struct pier_conn *ends[2]);

/* Runs "sh -c command" in a process group of its own, as a connection: its standard input and
 * output are the other end; standard error stays. pier_close() closes this end, waits for the child
 * for one second, then kills its group; it always reaps it. NULL on failure. */
PIER_API struct pier_conn *pier_exec(const char *command);

/* Waits for the child's end, at most until deadline_ns (0: no limit of its own), and tells what
 * waitpid(2) would (status may be NULL). 0 or a negative code; -EINVAL when the connection is no
 * child, -EBUSY when another task waits already. */
PIER_API int pier_exec_wait(struct pier_conn *c, int *status, int64_t deadline_ns);

/* Ends the connection and frees it. What was written is still delivered by the kernel, unless there
 * is input that was not read: that is lost, and makes TCP reset the connection. A task that waits
 * in a call on it gets -ECANCELED first. NULL is fine. Never fails. A connection that a server gave
 * to its handler is closed early by this, and not freed; it need not be. */
PIER_API void pier_close(struct pier_conn *c);

/* Time-outs for progress: a read that gets nothing, a write that passes nothing on, for so long
 * ends with -ETIMEDOUT. 0 keeps the present one, PIER_NO_TIMEOUT removes it. Totals are a scope's
 * deadline. 0 or a negative code. */
PIER_API int pier_set_timeouts(struct pier_conn *c, int read_ms, int write_ms);

/* One read: waits until there is something and returns how many bytes (1 to cap); 0 at the end of
 * input (or when cap is 0); a negative code. */
PIER_API ssize_t pier_read(struct pier_conn *c, void *buf, size_t cap);

/* One read of text: as pier_read() with room for cap - 1 bytes, and buf always ends with NUL (on
 * failure it is ""). When a stream's read ends within a UTF-8 character, only the cut bytes wait
 * for the rest: at most 200 ms or until the end of input, then they are passed on as they are.
 * Never returns 0 but at the end of input. cap must be at least 8. */
PIER_API ssize_t pier_read_text(struct pier_conn *c, char *buf, size_t cap);

/* Exactly len bytes: len; 0 when input ended before the first; -EPIPE when it ended in between; a
 * negative code. What had arrived when the call fails is there for the next read. */
PIER_API ssize_t pier_read_exact(struct pier_conn *c, void *buf, size_t len);

/* One line without its end (LF or CRLF), NUL-terminated (on failure buf is ""): its length, which
 * may be 0, so the end of input is -ENODATA. A last line without an end counts. A line longer than
 * cap - 1 is -EMSGSIZE and stays unread. */
PIER_API ssize_t pier_read_line(struct pier_conn *c, char *buf, size_t cap);

/* Everything up to and including delim (len bytes, at least 1), not NUL-terminated: the count; 0 at
 * the end of input (-EPIPE after some bytes, which stay unread); -EMSGSIZE when cap bytes have come
 * without it. */
PIER_API ssize_t pier_read_until(struct pier_conn *c, void *buf, size_t cap, const void *delim,
                                 size_t len);

/* Writes all or fails; waits while the peer is slow, each time within the write time-out. Returns
 * len or a negative code. */
PIER_API ssize_t pier_write(struct pier_conn *c, const void *bytes, size_t len);

/* The same for several pieces (at most 64, else -EINVAL), in one system call where it can be.
 * Returns the sum. */
PIER_API ssize_t pier_writev(struct pier_conn *c, const struct iovec *pieces, int count);

/* The same for a C string, without adding anything; and for a formatted text (of at most 1 MiB).
 * Return the bytes written. */
PIER_API ssize_t pier_puts(struct pier_conn *c, const char *text);
PIER_API ssize_t pier_printf(struct pier_conn *c, const char *fmt, ...) PIER_PRINTF(2, 3);
PIER_API ssize_t pier_vprintf(struct pier_conn *c, const char *fmt, va_list args) PIER_PRINTF(2, 0);

/* Tells the peer that nothing more will be written (half-close); reading goes on. 0 or a negative
 * code; -EOPNOTSUPP for a pipe, -EBUSY while another task writes. Does not wait. */
PIER_API int pier_shutdown_write(struct pier_conn *c);

/* Relays both ways until both have ended (the end of one is passed on as a half-close) or one
 * fails, by its time-outs too (a read that waits counts as idle only while the other way does not
 * move either); splices in the kernel where it helps. Both stay the caller's, and open. Each way's
 * bytes, if asked (counts NULL or two: a to b, b to a). 0 or a negative code. */
PIER_API int pier_copy(struct pier_conn *a, struct pier_conn *b, int64_t counts[2]);

/* The addresses: "127.0.0.1:5555", "[::1]:5555", a path, "@name", "unix" where a Unix socket (or a
 * pipe) has none. Valid until the connection is closed; "?" where it cannot be had. */
PIER_API const char *pier_peer(struct pier_conn *c);
PIER_API const char *pier_local(struct pier_conn *c);

/* The descriptor, for getsockopt(2) and its like; stays the connection's. Negative when closed. */
PIER_API int pier_conn_fd(const struct pier_conn *c);

/* Bytes that this side has received and written so far; either may be NULL. */
PIER_API void pier_conn_bytes(const struct pier_conn *c, int64_t *bytes_read,
                              int64_t *bytes_written);

/* Changes socket options of an open TCP connection: all of opts are applied, zeros being the
 * defaults, but buffer sizes, congestion control and reuseport stay what they are where they are
 * zero. 0 or a negative code (-EOPNOTSUPP for what is not TCP). */
PIER_API int pier_conn_set_opts(struct pier_conn *c, const struct pier_sock_opts *opts);

/* Figures of TCP_INFO (tcp(7)). */
struct pier_tcp_info {
    int64_t rtt_us, rtt_var_us, min_rtt_us; /* min: 0 until measured */
    int64_t retransmits, lost; /* segments: since the beginning; thought lost at present */
    int64_t cwnd, mss;         /* segments; bytes */
    int64_t delivery_rate;     /* bytes a second */
};

/* 0, or a negative code (-EOPNOTSUPP for what is not TCP). */
PIER_API int pier_tcp_info(struct pier_conn *c, struct pier_tcp_info *info);

/* Unix sockets: sends one byte with descriptors, which stay the caller's (1 to 16); receives it
 * with up to cap of them, which become the caller's (close-on-exec). Return how many, or a negative
 * code (-EOPNOTSUPP for what is no Unix socket); receiving returns -ENODATA at the end of input,
 * and -EPROTO when the byte came without or with more than cap, -EMFILE when the process has no
 * room for them (all are closed then). Wait. */
PIER_API int pier_send_fds(struct pier_conn *c, const int *fds, int count);
PIER_API int pier_recv_fds(struct pier_conn *c, int *fds, int cap);

/* Who is at the other end of a Unix socket (SO_PEERCRED, unix(7)). 0 or a negative code
 * (-EOPNOTSUPP for what is none). */
struct pier_peer_cred {
    int64_t pid, uid, gid;
};
PIER_API int pier_peer_cred(struct pier_conn *c, struct pier_peer_cred *cred);

/* ---- TLS ---- */

/* tls:// connections are like others, but: the handshake is over when pier_dial() returns and when
 * a handler begins; the end of input is the peer's word (close_notify), and an end without it is
 * PIER_ETLS, since somebody may have cut the stream; closing may wait for room to
 * say our own word, within the write time-out and five seconds at most. Failures say what and why:
 * "tls: example.com:443: certificate expired 2026-01-02". SSLKEYLOGFILE in the environment names a
 * file (made with mode 600) to which the secrets of all sessions are written. */

/* What was agreed on. Texts are valid until the connection is closed; never NULL. */
struct pier_tls_info {
    const char *version;     /* "TLSv1.3" */
    const char *cipher;      /* "TLS_AES_128_GCM_SHA256" */
    const char *alpn;        /* "h2"; "" for none */
    const char *server_name; /* that the client asked for; "" for none */
    bool resumed;
    bool verified; /* the peer has a certificate, and an authority that we trust vouches for it */
    const char *peer_subject; /* "CN=alice,O=Example"; "" without a certificate */
    const char *peer_names;   /* its names and addresses: "a.example, 10.0.0.1" */
    int64_t peer_expires;     /* seconds since 1970 (UTC); 0 without a certificate */
};

/* 0, or a negative code: -EOPNOTSUPP for what is no TLS. Does not wait. */
PIER_API int pier_tls_info(struct pier_conn *c, struct pier_tls_info *info);

/* Turns a plain stream connection (TCP, Unix) into TLS, after both sides have agreed to (STARTTLS):
 * does the handshake. A client verifies opts->server_name. Input that has come already and was not
 * read is an injection: -EPROTO, and the connection stays plain. After any other failure it is of
 * no use. 0 or a negative code. Waits. */
PIER_API int pier_tls_wrap(struct pier_conn *c, const struct pier_tls_opts *opts);

/* Back to plain: tells the peer (close_notify) and waits until it has said the same, within the
 * read time-out. Unread input is -EPROTO. 0 or a negative code. */
PIER_API int pier_tls_unwrap(struct pier_conn *c);

/* ---- names, addresses and ports ---- */

/* Room for the longest address, with zone and NUL, and for the longest name of a host. */
enum { PIER_IP_CAP = 64, PIER_NAME_CAP = 256 };

/* An IP address without a port: "127.0.0.1", "::1", "fe80::1%eth0". */
struct pier_ip {
    int version; /* 4 or 6 */
    char text[PIER_IP_CAP];
};

/* Told what a look-up does, a line of text each, elapsed_ns after it began. Must not wait. */
typedef void (*pier_resolve_trace)(void *arg, int64_t elapsed_ns, const char *line);

struct pier_resolve_opts {
    int version;         /* 4 or 6: addresses of that version only; default: both */
    int timeout_ms;      /* default 10,000; PIER_NO_TIMEOUT: until the resolver gives up */
    const char *servers; /* ask these name servers, "192.0.2.1,192.0.2.2:5353,[::1]:53" (at most 8),
                            and nobody and nothing else; default: as the system is set up */
    pier_resolve_trace trace;
    void *trace_arg;
};

/* The addresses of a name, in the order in which to try them (RFC 6724). An address is its own;
 * localhost is never looked up (RFC 6761, 6.3). Others are looked up in hosts(5), then by the name
 * servers of resolver(5), whose answers are kept for as long as they say; names of one label, of
 * .local, and all names where nsswitch.conf(5) or gai.conf(5) is out of the ordinary, by
 * getaddrinfo(3) on the threads of pier_offload(). Names beyond ASCII are UTF-8 and are asked for
 * in their xn-- form (UTS 46, non-transitional). Returns how many are in ips: 1 to cap, and 16 at
 * most (more are left out); or a negative code, PIER_ERESOLVE for an unknown name. Waits. */
PIER_API int pier_resolve(struct pier_ip *ips, int cap, const char *name,
                          const struct pier_resolve_opts *opts);

/* The name of an address. 0, or a negative code: PIER_ERESOLVE when it has none, -EINVAL for what
 * is no address, -ENAMETOOLONG (PIER_NAME_CAP is enough). opts->version means nothing. Waits. */
PIER_API int pier_reverse(char *name, size_t cap, const char *ip,
                          const struct pier_resolve_opts *opts);

/* Types of records (RFC 1035, 3596, 2782, 8659). */
enum pier_dns_type {
    PIER_DNS_A = 1,
    PIER_DNS_NS = 2,
    PIER_DNS_CNAME = 5,
    PIER_DNS_PTR = 12,
    PIER_DNS_MX = 15,
    PIER_DNS_TXT = 16,
    PIER_DNS_AAAA = 28,
    PIER_DNS_SRV = 33,
    PIER_DNS_CAA = 257,
};

enum { PIER_DNS_TEXT = 1024, PIER_DNS_RECORDS_MAX = 64 };

/* A record: plain data. What its type has not is 0. */
struct pier_dns_record {
    enum pier_dns_type type;
    int64_t ttl_s; /* for how many seconds it still holds */
    int priority;  /* MX, SRV: the lowest first */
    int weight;    /* SRV: the share among those of one priority */
    int port;      /* SRV */
    int flags;     /* CAA */
    char tag[16];  /* CAA: "issue" */
    size_t len;    /* of text: what there was, so len >= sizeof text means that it was cut */
    char text[PIER_DNS_TEXT]; /* an address, a name, TXT's strings as one, CAA's value; may hold any
                                 byte, and ends with NUL */
};

/* The records of a name, from the cache or the name servers, in their order; MX and SRV by
 * priority. The name is taken as it stands: no search list, no hosts(5); for PTR it may be an IP
 * address. Aliases (CNAME) are followed. Returns how many are in records: 1 to cap, and 64 at most
 * (more are left out); or a negative code: PIER_ERESOLVE for an unknown name, one without such
 * records, or servers that do not answer or cannot; PIER_EPROTO for a reply that makes no sense;
 * -EOPNOTSUPP in a simulation. opts->version means nothing. Waits. */
PIER_API int pier_dns_query(struct pier_dns_record *records, int cap, const char *name,
                            enum pier_dns_type type, const struct pier_resolve_opts *opts);

/* The name of this host. 0, or -ENAMETOOLONG and "" (PIER_NAME_CAP is enough). Does not wait. */
PIER_API int pier_hostname(char *name, size_t cap);

struct pier_local_addr {
    struct pier_ip ip;
    bool is_loopback;
    char interface[16]; /* "eth0" */
};

/* Flag: those of the loopback interface, too. */
enum { PIER_WITH_LOOPBACK = 1 };

/* The addresses of this host's interfaces that are up, as the system lists them. Returns how many
 * are in addrs: 0 to cap (more are left out); or a negative code. Waits. */
PIER_API int pier_local_addrs(struct pier_local_addr *addrs, int cap, unsigned flags);

/* The port of a service, by the system's table (services(5)), and by one of our own for the best
 * known: "https" is 443, in any case of letters. A number is itself. protocol: "tcp", "udp", or
 * NULL for any. Returns the port, 0 to 65535, or a negative code: PIER_ERESOLVE for an unknown
 * service, -EINVAL for a number above 65535. Waits, at most 10 s. */
PIER_API int pier_service_port(const char *service, const char *protocol);

/* The service of a port, the other way round. 0, or a negative code: PIER_ERESOLVE when it has
 * none, -EINVAL for what is no port, -ENAMETOOLONG (64 bytes are enough). Waits, at most 10 s. */
PIER_API int pier_service_name(char *name, size_t cap, int port, const char *protocol);

/* ---- certificates ---- */

/* For development: certificates by an authority (CA) of the user's own, made once and kept in
 * ${XDG_DATA_HOME:-~/.local/share}/pier: ca.pem for others, ca-key.pem for nobody else. Programs
 * trust it only where they are told to (ca_file), and so should people: whoever has its key can
 * pretend to be any server to those who trust it. Two processes may do any of this at a time. */

enum pier_key_kind { PIER_KEY_P256, PIER_KEY_P384, PIER_KEY_ED25519, PIER_KEY_RSA };

struct pier_cert_opts {
    enum pier_key_kind kind; /* default: ECDSA with P-256; RSA has 3072 bits */
    int days;                /* that it is good for: 1 to 825, what clients accept; default 365 */
    bool is_client;          /* a client's; names may be mail addresses, too; default: a server's */
    bool replaces;           /* what is there already; default: that is -EEXIST */
};

/* Where they are. {0} is none; pier_cert_files_fini() frees it. */
struct pier_cert_files {
    char *cert_file, *key_file, *ca_file;
    bool made_cert, made_ca; /* by this call */
};

/* Makes a key and a certificate for names, count of them (1 to 100): host names, "*.host.name", IP
 * addresses; the first one is its subject. They go to PREFIX.pem and PREFIX-key.pem (mode 600).
 * Makes the authority first where there is none, or where it ends within 30 days. 0, or a negative
 * code and files is {0}. Waits. */
PIER_API int pier_cert_create(struct pier_cert_files *files, const char *prefix,
                              const char *const *names, int count,
                              const struct pier_cert_opts *opts);

/* The certificate for this machine as others at the same desk know it: localhost, 127.0.0.1, ::1
 * and the host name; key and certificate are one file, localhost.pem beside the authority. Made at
 * the first call, and again where it ends within 30 days, is damaged or the host has another name.
 * 0, or a negative code and files is {0}. Waits. */
PIER_API int pier_cert_localhost(struct pier_cert_files *files);

PIER_API void pier_cert_files_fini(struct pier_cert_files *files);

/* What a certificate says. Texts are UTF-8 and printable, whoever made it. */
struct pier_cert {
    char *subject, *issuer; /* RFC 4514: "CN=www.example,O=Example" */
    char **names;           /* that it is for: hosts, addresses, mail addresses… */
    int name_count;
    char *serial;                        /* hexadecimal */
    char *key;                           /* "ECDSA P-256", "RSA 2048", "Ed25519" */
    int64_t not_before_ns, not_after_ns; /* since 1970 */
    char sha256[65];                     /* of all of it, hexadecimal: its fingerprint */
    char pin[48];                        /* of its public key, base64 (RFC 7469, 2.4) */
    bool is_ca, is_self_issued;
};

/* {0} is none. */
struct pier_certs {
    int count;
    struct pier_cert *items;
};

/* The certificates in a file, PEM, where all else is passed over, or one in DER. 0; -ENODATA when
 * there is none, PIER_ETLS when one is damaged, another negative code; then certs is {0}. Waits. */
PIER_API int pier_certs_read(struct pier_certs *certs, const char *path);

/* The certificates that the peer of a TLS connection has shown, its own first. 0; -ENODATA when it
 * has shown none, -EOPNOTSUPP for what is no TLS; then certs is {0}. Does not wait. */
PIER_API int pier_certs_of_peer(struct pier_certs *certs, struct pier_conn *c);

PIER_API void pier_certs_fini(struct pier_certs *certs);

/* ---- datagrams ---- */

/* pier_dial("udp://...") and a server's udp:// endpoints make connections of datagrams: each read
 * is one datagram, each write sends one. Text and lines end with their datagram. A datagram that
 * is longer than the buffer is lost, and the read -EMSGSIZE; a write of more than 65,507 bytes
 * (IPv6: 65,527) is -EMSGSIZE; nothing is sticky, since the next one may get through. Half-closing
 * is -EOPNOTSUPP. A dialled name's IPv4 addresses come first; one that refuses (ICMP) before any
 * reply has come gives way to the next, which is sent the last datagram again. A served peer is a
 * conversation: it ends, its read returns 0, after a while of silence (silence_ms of
 * pier_serve_opts), or when the server is full, a peer or a connection wants its place, and it has
 * been idle for longest. Empty datagrams are seen only by what follows. */

/* An IPv4 or IPv6 address and a port: plain data that begins with a struct sockaddr_in or
 * sockaddr_in6. All zero: none. */
struct pier_addr {
    uint64_t raw[4];
};

enum { PIER_ADDR_TEXT = 96 }; /* room for every address */

/* Reads "127.0.0.1:53", "[::1]:53", "[fe80::1%eth0]:53". 0 or PIER_EURL. Names are for URLs. */
PIER_API int pier_addr_parse(struct pier_addr *addr, const char *text);

/* Writes the same text to out, which is returned; "?" for none. */
PIER_API const char *pier_addr_text(const struct pier_addr *addr, char *out, size_t cap);

/* The port; 0 for none. */
PIER_API int pier_addr_port(const struct pier_addr *addr);

PIER_API bool pier_addr_equal(const struct pier_addr *a, const struct pier_addr *b);

/* A socket for datagrams to and from any number of peers. For the tasks of one thread; one may
 * receive while another sends, a second one gets -EBUSY. */
struct pier_udp;

/* Zero is the default everywhere. */
struct pier_udp_opts {
    const char *peer;       /* "udp://host:port": talk to this one only */
    const char *interface;  /* what is sent to groups and broadcast leaves through this one */
    bool broadcast;         /* permit sending to broadcast addresses */
    bool packet_info;       /* receive local, to and ifindex */
    bool receive_ttl;       /* receive ttl */
    bool errors;            /* receive what ICMP says of datagrams that were sent */
    bool segmentation;      /* let the kernel cut and join (UDP_SEGMENT, UDP_GRO) where it can */
    bool reuseaddr;         /* share the port: with groups and broadcast all get a copy */
    bool no_multicast_loop; /* what is sent to groups does not come to this host's own members */
    int multicast_ttl;      /* hops; default 1 */
    int ttl;                /* hops of everything else; default: the system's */
    int send_buffer, recv_buffer; /* bytes; default: the system's */
};

/* One datagram, or several of equal size (see segment). Zero what is not used. */
struct pier_datagram {
    void *bytes;            /* the caller's */
    size_t cap;             /* receiving: room at bytes */
    size_t len;             /* what is there, or was received */
    struct pier_addr peer;  /* from whom, to whom; sending: none is the peer of the options */
    struct pier_addr local; /* .packet_info: our address to answer from; sending: from there */
    struct pier_addr to;    /* .packet_info: what it was sent to, a group or broadcast perhaps */
    int ifindex;            /* .packet_info: the interface; sending: leave through that one */
    int ttl;                /* .receive_ttl: what was left of it; sending: this one's; 0: default */
    int segment;    /* bytes are datagrams of so many bytes each, the last may be shorter; 0: one.
                       Received so with .segmentation only: give it room for 65,535 bytes */
    int error;      /* why it was not sent; received with .errors: not a datagram, but what became
                       of one that was sent to peer (its beginning at bytes); 0: neither */
    bool truncated; /* received: there was more than cap */
};

/* Opens a socket that is bound to url ("udp://host:port"; port 0: any free one; an empty host:
 * every IPv4 address; "[::]": every IPv6 one); NULL: to whatever suits .peer, or any. A name's
 * first IPv4 address, else its first, is taken. NULL on failure. May wait for a name (10 s). */
PIER_API struct pier_udp *pier_udp_open(const char *url, const struct pier_udp_opts *opts);

/* Closes it. A task that waits in a call on it gets -ECANCELED first. NULL is fine. */
PIER_API void pier_udp_close(struct pier_udp *u);

/* Waits for datagrams, at most until deadline_ns (0: no limit of its own), and receives those that
 * are there into batch, at most count: how many, at least 1. Or a negative code, -ETIMEDOUT among
 * them; with .peer -ECONNREFUSED when that one has no such port (unless .errors says it). */
PIER_API int pier_udp_recv(struct pier_udp *u, struct pier_datagram *batch, int count,
                           int64_t deadline_ns);

/* Sends all of batch, waiting up to 30 s for room in the socket's buffer, and sets each .error.
 * Those that cannot be sent keep nobody from being sent. Returns how many were; when none was, the
 * first one's code, in words. What does not follow its predecessor to the same peer in the same
 * length costs a message; with .segmentation those that do are one. */
PIER_API int pier_udp_send(struct pier_udp *u, struct pier_datagram *batch, int count);

/* Joins and leaves a group ("239.1.2.3", "ff02::1"), on an interface (NULL: the one that the system
 * chooses; IPv6: none is best), for what comes from one source only (NULL: from all; RFC 4607).
 * 0 or a negative code. */
PIER_API int pier_udp_join(struct pier_udp *u, const char *group, const char *interface,
                           const char *source);
PIER_API int pier_udp_leave(struct pier_udp *u, const char *group, const char *interface,
                            const char *source);

/* The address that it is bound to, with the real port. 0 or a negative code. */
PIER_API int pier_udp_local(struct pier_udp *u, struct pier_addr *addr);

/* The descriptor, for getsockopt(2) and its like; stays the socket's. */
PIER_API int pier_udp_fd(const struct pier_udp *u);

/* ---- servers ---- */

/* Called with each connection, in a task, thread or process of its own. Returns 0, or a negative
 * code, which the server logs with its words (what peers do every day, -ECONNRESET, -EPIPE,
 * -ETIMEDOUT and -ECANCELED, only when debug records are on). The server closes c afterwards. */
typedef int (*pier_handler)(struct pier_conn *c, void *arg);

/* In the last two a handler that crashes costs its process only, which is logged with its signal,
 * and what handlers change in memory others do not see. They need the thread alone: a run beside
 * other threads, or on a thread with a loop (inside a task), is -EBUSY. An ignored SIGCHLD has its
 * default action while they run, but in handlers' processes. Inside a simulation all are
 * PIER_TASKS. */
enum pier_model {
    PIER_TASKS,     /* a loop per worker, a task per connection */
    PIER_THREADS,   /* a thread per connection */
    PIER_PROCESSES, /* a process per connection, on its thread's own stack */
    PIER_PREFORK,   /* worker processes, each a loop with a task per connection, started again, less
                       and less often, when they die */
};

/* Whom a server lets in, asked right after accept; who is refused is reset at once, and sees no
 * byte of TLS. Of udp:// each new peer is asked about, and datagrams of those refused are dropped;
 * whose they really are only the handler's protocol can tell. Unix sockets let everybody in. An
 * IPv4 address is the same in its IPv4-mapped form; of IPv6 the limits know /64s, which is what one
 * subscriber has, but allow and deny know addresses. Everything counts over all workers and
 * processes, and what is refused is logged with counts, at most once a second. Zero is the default
 * everywhere. Of connections that a trusted proxy passes on, lists and bans are asked about both,
 * limits about the client alone; with PIER_PROCESSES max_per_ip does not count these. */
struct pier_firewall_opts {
    /* Networks ("10.0.0.0/8", "2001:db8::/32", "::1") or names of files with one a line ('#' begins
     * a comment); what begins with a digit or contains a colon is a network. Both end with NULL; as
     * a whole NULL for none. The longest prefix that has an address decides, of equal ones deny.
     * What is in none of them is let in unless there is an allow. A million networks take 16 to
     * 32 MiB, in each process. A file is read again within two seconds of having changed: replace
     * it by renaming another one; while it cannot be read, which is logged with line and column,
     * the old networks stay. Connections that are there stay, too. */
    const char *const *allow, *const *deny;
    int max_per_ip; /* connections at once of an address; default: any number */
    int rate;       /* connections that an address may begin in rate_ms (1,000), evenly, but burst
                       (default: rate) of them at once; default: any number */
    int rate_ms, burst;
    int ban_ms; /* how long an address is banned that comes faster; default: not at all */
};

/* Zero is the default everywhere. */
struct pier_serve_opts {
    enum pier_model model;
    int workers;   /* loops (tasks), or processes (prefork); default: pier_cpu_count(); always 1
                      inside a task, that task's, and with PIER_THREADS and PIER_PROCESSES */
    int max_conns; /* connections at once, over all workers and processes; beyond it they wait in
                      the backlog; default 10,000 */
    int backlog;   /* of listen(2); default 4,096 (the system may cap it) */
    int read_timeout_ms;  /* as in pier_set_timeouts(), for each connection; default 300,000 */
    int write_timeout_ms; /* default 30,000 */
    int silence_ms; /* udp://: a peer that has sent nothing for so long has left; default 60,000 */
    int grace_ms;   /* how long handlers may go on after a stop; default 10,000; PIER_NO_TIMEOUT: as
                       long as they take */
    bool no_signals; /* leave SIGINT and SIGTERM alone; but in processes that the server forks
                        SIGTERM always ends that one in peace, and SIGINT does nothing */
    struct pier_sock_opts sock;
    const char *const *proxy_from;   /* networks, or files of them, as of a firewall, from which
                                        connections over TCP come by proxies that are trusted, and
                                        begin with a header of the PROXY protocol, version 1 or 2,
                                        within 10 s: who it names is the peer. Ends with NULL;
                                        default: nobody's */
    const struct pier_tls_opts *tls; /* of tls:// endpoints, which need cert_file and key_file */
    const struct pier_firewall_opts *firewall; /* default: everybody is let in, and nobody can be
                                                  banned */
    struct pier_capture *capture; /* that the traffic is written to; borrowed until run has
                                     returned */
};

struct pier_server;

/* The whole of a small program: listens on url, serves each connection with handler(c, arg) until
 * SIGINT or SIGTERM, logs what fails, and returns an exit code (0, or as pier_fail()). */
PIER_API int pier_serve(const char *url, pier_handler handler, void *arg,
                        const struct pier_serve_opts *opts);

/* The object under it. The pier_server_* calls return negative codes and log nothing of their own
 * but what happens while serving. opts is copied; what it points at is borrowed until listen
 * has returned. NULL on failure. */
PIER_API struct pier_server *pier_server_new(const struct pier_serve_opts *opts);

/* Frees a server that is not running, closing what listens. NULL is fine. */
PIER_API void pier_server_free(struct pier_server *s);

/* Adds an endpoint, in order, before listen only. url is copied, arg borrowed until run has
 * returned. 0 or a negative code, which listen and run return as well. */
PIER_API int pier_server_add(struct pier_server *s, const char *url, pier_handler handler,
                             void *arg);

/* Adds every socket that the service manager passed to this process (LISTEN_PID, LISTEN_FDS;
 * sd_listen_fds(3)) and that is not yet taken. Returns how many (0 when there are none), or a
 * negative code. */
PIER_API int pier_server_add_inherited(struct pier_server *s, pier_handler handler, void *arg);

/* Opens all endpoints or none: binds every address that a name has, one port for all. An endpoint
 * whose address an inherited socket has takes that one. May wait (for names, at most 10 s each). 0,
 * or a negative code whose words name the endpoint; then nothing listens, now or later. Done by run
 * if need be. */
PIER_API int pier_server_listen(struct pier_server *s);

/* How many addresses listen, and the URL of each with its real port: "tcp://127.0.0.1:8888". NULL
 * beyond the last. Valid until free. */
PIER_API int pier_server_count(const struct pier_server *s);
PIER_API const char *pier_server_url(const struct pier_server *s, int index);

/* Serves until SIGINT, SIGTERM (on the main thread, without .no_signals), pier_server_stop_remote()
 * or cancellation; then stops: what waits in the backlog is accepted, the listeners close, reads
 * of accepted connections that would wait return 0, handlers get the grace (none after a
 * cancellation), the rest is cancelled, and processes that have not ended two seconds later are
 * killed. Returns 0 after a stop, the cancellation's code, or the failure of an earlier add or
 * listen; where the model forks, -EBUSY when it cannot, and it returns in the calling process only.
 * Processes end with the one that runs the server, however it ends. Tells NOTIFY_SOCKET READY=1,
 * once all workers accept, and STOPPING=1. A server runs once. Waits. */
PIER_API int pier_server_run(struct pier_server *s);

/* Stops a running server, or makes a run that is still to come return at once. From any thread or
 * signal handler, and from handlers in processes of the server, as long as it is not freed; never
 * waits. */
PIER_API void pier_server_stop_remote(struct pier_server *s);

/* Reads the files of TLS again, at the next handshake; new ones that do not do are logged, and the
 * old ones stay. A server that takes signals does so on SIGHUP. As stop_remote. */
PIER_API void pier_server_reload_remote(struct pier_server *s);

/* Connections being served at this moment, over all workers and processes; from any of them, and
 * from any thread. */
PIER_API int pier_server_conns(const struct pier_server *s);

/* Datagrams that udp:// endpoints have dropped so far, the newest ones of full queues and those of
 * peers for whom there was no place; from any thread. */
PIER_API int64_t pier_server_dropped(const struct pier_server *s);

/* Connections, and datagrams of new peers, that the firewall has refused so far, over all
 * processes; from any thread. */
PIER_API int64_t pier_server_refused(const struct pier_server *s);

/* Whether the firewall's lists and bans would let an address in now, for handlers that learn of one
 * from a proxy that they trust. Counts and logs nothing; true without a firewall. From any thread;
 * never waits. */
PIER_API bool pier_server_allows(struct pier_server *s, const struct pier_addr *addr);

/* Refuses new connections of an address ("192.0.2.7"; of IPv6 all of its /64) from now on, for so
 * long and at most a year, in place of any ban that it has; 0 lifts it. From any thread, and from
 * handlers in processes of the server, once it listens. 0, or a negative code: -EINVAL for what is
 * no address, -EOPNOTSUPP without a firewall, -ENOSPC when there are so many bans (131,072, fewer
 * when they are spread badly) that one which ends later than this would have to go. Never waits. */
PIER_API int pier_server_ban(struct pier_server *s, const char *ip, int64_t duration_ns);

/* The same for the peer of a connection that the server has accepted, for handlers. The connection
 * itself goes on. -EOPNOTSUPP for Unix sockets and dialled connections, too. */
PIER_API int pier_conn_ban(struct pier_conn *c, int64_t duration_ns);

#ifdef __cplusplus
}
#endif
#endif
