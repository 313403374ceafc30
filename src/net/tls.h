/* SPDX-License-Identifier: MIT */
/*
 * net/tls.h - TLS between the files that make it: contexts (what is configured), sessions (the
 * transport), words.
 *
 * OpenSSL never touches a descriptor and never waits: a session feeds it bytes that have come and
 * sends the bytes that it makes. Invariant: no task parks inside a call of OpenSSL, so its queue of
 * errors, which is the thread's, and the thread's scratch memory are one session's at a time.
 */
#ifndef PI_NET_TLS_H
#define PI_NET_TLS_H

#include "net/conn.h"
#include "net/url.h"

#include <openssl/ssl.h>

#include <stdatomic.h>

struct pier_server;
struct pi_worker;

enum {
    PI_TLS_PIN = 32, /* SHA-256 */
    PI_TLS_HANDSHAKE_MS = 10 * 1000,
};

/* ---- files (tls_file.c): what is configured, as bytes ---- */

struct pi_tls_file {
    char *path; /* NULL: not given */
    char *bytes;
    size_t len;
    int64_t seen[4]; /* device, inode, size, change: another file, or other content */
};

/* cert, key and OCSP answer of each pair. */
struct pi_tls_pair {
    struct pi_tls_file cert, key, ocsp;
};

struct pi_tls_files {
    struct pi_tls_pair *pairs;
    int count;
    struct pi_tls_file ca, client_ca;
};

/* Reads all that opts names. 0, or a negative code with words that name the file. */
int pi_tls_files_read(struct pi_tls_files *files, const struct pier_tls_opts *opts);
void pi_tls_files_free(struct pi_tls_files *files);
/* Whether one of them is another one by now. */
bool pi_tls_files_changed(const struct pi_tls_files *files);

/* ---- contexts (tls_context.c) ---- */

struct pi_tls_tickets;
struct pi_tls_sessions;

/* What is stapled to that certificate. */
struct pi_tls_answer {
    X509 *cert;
    char *bytes;
    size_t len;
};

struct pi_tls_context {
    _Atomic int refs;
    bool is_server, insecure, has_pin;
    unsigned char pin[PI_TLS_PIN];
    SSL_CTX **by_name; /* [0]: for those who ask for no name that is known */
    int count;
    struct pi_tls_answer *answers; /* of those certificates that have one */
    int answer_count;
    unsigned char *alpn; /* as on the wire */
    unsigned alpn_len;
    int timeout_ms;                   /* of a handshake */
    struct pi_tls_tickets *tickets;   /* a server's; borrowed */
    struct pi_tls_sessions *sessions; /* a client's, to be resumed */
};

/* A context with one reference, or NULL. tickets: of a server; NULL: OpenSSL's own. */
struct pi_tls_context *pi_tls_context_new(const struct pier_tls_opts *opts,
                                          const struct pi_tls_files *files, bool is_server,
                                          struct pi_tls_tickets *tickets);
void pi_tls_context_drop(struct pi_tls_context *ctx);

/* One for opts (NULL: defaults) that is kept for the next call, with a reference for the caller; or
 * NULL. For any thread. */
struct pi_tls_context *pi_tls_context_get(const struct pier_tls_opts *opts, bool is_server);

/* ---- sessions to resume, of clients (tls_resume.c) ---- */

struct pi_tls_sessions *pi_tls_sessions_new(void);
void pi_tls_sessions_free(struct pi_tls_sessions *all);
/* Takes one out, which is then the caller's; NULL: there is none. */
SSL_SESSION *pi_tls_sessions_take(struct pi_tls_sessions *all, const char *key);
/* Keeps one, which was the caller's. */
void pi_tls_sessions_keep(struct pi_tls_sessions *all, const char *key, SSL_SESSION *session);

/* ---- ticket keys, of servers (tls_ticket.c) ---- */

/* In memory that processes which are forked later share. NULL: no memory. */
struct pi_tls_tickets *pi_tls_tickets_new(void);
void pi_tls_tickets_free(struct pi_tls_tickets *t);
/* For SSL_CTX_set_tlsext_ticket_key_evp_cb(). */
int pi_tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int is_new);
/* How often a reload was asked for, by whichever process. */
unsigned pi_tls_tickets_reloads(const struct pi_tls_tickets *t);
void pi_tls_tickets_ask_reload(struct pi_tls_tickets *t);

/* ---- sessions (tls_session.c) ---- */

struct pi_tls_bytes {
    char *at; /* the thread's scratch memory, or our own */
    size_t start, len, cap;
};

enum { PI_TLS_FIRST = 8 };

struct pi_tls {
    struct pier_conn *conn;
    const struct pi_transport *base;
    SSL *ssl;
    struct pi_tls_context *context;
    struct pi_tls_bytes in;  /* has come, and is not OpenSSL's yet */
    struct pi_tls_bytes out; /* OpenSSL's, and not sent yet */
    bool is_established;
    bool is_flushing; /* a task sends: the others only add to out */
    bool is_broken;   /* a part of a record is lost: nothing can follow */
    int send_error;   /* of a record that OpenSSL was still at */
    bool was_cut;     /* the end came without close_notify */
    bool is_listed;   /* among the handshakes of its worker */
    bool is_given_up; /* there were too many of them */
    struct pi_tls *prev, *next;
    bool has_input; /* the peer has sent something */
    int late_error; /* of a read that had something to return first */
    char *late_words;
    char *name;         /* "example.com:443", that was dialled; NULL: the peer's address */
    char *session_key;  /* under which sessions are kept */
    char *verify_words; /* why the certificate is not good */
    char *texts[3];     /* of pier_tls_info() */
    unsigned char first[PI_TLS_FIRST]; /* bytes of the peer */
    size_t first_len;
};

extern const struct pi_transport pi_tls;

/* Puts a session between c and its transport, without a handshake. It takes over the caller's
 * reference to context, also on failure: 0 or -ENOMEM. */
int pi_tls_attach(struct pier_conn *c, struct pi_tls_context *context);
/* Takes it away; the descriptor stays open. */
void pi_tls_detach(struct pier_conn *c);

/* 0, or a negative code with words. deadline_ns 0: none. */
int pi_tls_handshake(struct pier_conn *c, int64_t deadline_ns);

/* What the thread keeps for its connections is given back, before it ends. */
void pi_tls_thread_end(void);

/* Says our last word before c is closed, waiting for room within the write time-out, at most five
 * seconds; closing itself does
 * not wait. For every connection. */
void pi_tls_say_goodbye(struct pier_conn *c);

/* Whether there is something to read that the descriptor does not tell of; of every connection. */
bool pi_tls_has_input(const struct pier_conn *c);

/* Waits until what has been made is sent, within the write time-out. 0 or a negative code. */
int pi_tls_flush(struct pier_conn *c);

/* Client: dials on over c for url. 0 or a negative code; c stays the caller's. */
int pi_tls_connect(struct pier_conn *c, const struct pi_url *url, const struct pier_tls_opts *opts);
/* The handshake of a session that is attached, with the host of that name. 0 or a negative code. */
int pi_tls_shake_as_client(struct pier_conn *c, const char *host);

/* Whether the failure of c's handler is one that peers bring about every day: an end without
 * close_notify, a client that went away without a word. */
bool pi_tls_is_everyday(const struct pier_conn *c);

/* ---- servers (tls_server.c) ---- */

struct pi_tls_server;

/* Reads the files and checks that they do: 0 or a negative code. */
int pi_tls_server_open(struct pier_server *s);
void pi_tls_server_close(struct pier_server *s);
/* Looks after files that have changed; before a fork, so that the child has them. */
void pi_tls_server_refresh(struct pi_worker *w);
void pi_tls_worker_close(struct pi_worker *w);
/* The handshake of a connection that was accepted. 0 or a negative code with words. */
int pi_tls_accept(struct pier_conn *c, struct pi_worker *w);

/* ---- words (tls_error.c) ---- */

/* Sets the failure of a call of OpenSSL, whose queue it empties: "tls: peer: words"; PIER_ETLS, or
 * another code that fits better. */
int pi_tls_fail(struct pi_tls *t);
/* "tls: peer: words", PIER_ETLS. */
int pi_tls_fail_text(struct pi_tls *t, const char *words);
/* For files: "tls: what path: words of OpenSSL's queue". */
int pi_tls_fail_file(const char *what, const char *path);
/* SSL_CTX_set_verify()'s: keeps the words of what is wrong with a certificate. */
int pi_tls_verify(int is_good, X509_STORE_CTX *store);
/* SSL_CTX_set_tlsext_status_cb()'s, of clients: refuses a certificate that its authority's stapled
 * answer says is revoked (tls_staple.c). */
int pi_tls_check_staple(SSL *ssl, void *unused);
/* Keeps words for pi_tls_fail(), unless there are some. */
void pi_tls_set_words(struct pi_tls *t, const char *words);
/* "a.example, 10.0.0.1": the names that a certificate is for, cut to cap; returns out. */
const char *pi_tls_cert_names(char *out, size_t cap, X509 *cert);
/* "2026-01-02" */
const char *pi_tls_date(char out[16], const ASN1_TIME *time);

/* ---- secrets (tls_keylog.c) ---- */

/* From now on new contexts report the secrets of their sessions, as lines of the SSLKEYLOGFILE
 * format, to fn on the session's thread; NULL ends that. */
void pi_tls_keylog(void (*fn)(struct pier_conn *c, const char *line));
void pi_tls_keylog_enable(SSL_CTX *ctx);
bool pi_tls_has_keylog(void);

#endif
