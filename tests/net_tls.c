/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * net_tls: TLS on both sides, in tasks and on threads; who is refused and in which words; peers
 * that are hostile, slow or gone. Raw peers are OpenSSL on blocking sockets, or plain bytes.
 */
#include "net_certs.h"
#include "net_serving.h"

#include "net/tls.h"

#define NAMES "DNS:localhost,IP:127.0.0.1"

/* ---- what tests share ---- */

static struct pier_tls_opts server_opts(void)
{
    static bool is_made;
    if (!is_made) {
        make_ca("ca");
        make_leaf("server", "ca", NAMES, EC);
        is_made = true;
    }
    return (struct pier_tls_opts){ .cert_file = in_folder("server.pem"),
                                   .key_file = in_folder("server-key.pem") };
}

static void serve_tls(struct serving *sv, enum pier_model model, const struct pier_tls_opts *tls)
{
    struct pier_serve_opts opts = { .model = model, .workers = 1, .tls = tls };
    serve(sv, &opts, "tls://127.0.0.1:0", echo, NULL);
}

static const char *url_of(const struct serving *sv)
{
    return pier_server_url(sv->server, 0);
}

/* Dials by the name, for which the certificate is. */
static struct pier_conn *dial_tls(const struct serving *sv, struct pier_tls_opts tls)
{
    if (!tls.ca_file)
        tls.ca_file = in_folder("ca.pem");
    struct pier_dial_opts opts = { .tls = &tls };
    return pier_dial(url_of(sv), &opts);
}

static void expect_words(const char *part)
{
    ck_assert_msg(strstr(pier_error(), part) != NULL, "\"%s\" is not in \"%s\"", part,
                  pier_error());
}

static void expect_refused(const struct serving *sv, struct pier_tls_opts tls, const char *part)
{
    ck_assert_ptr_null(dial_tls(sv, tls));
    ck_assert_int_eq(pier_error_code(), PIER_ETLS);
    ck_assert_int_eq(pier_exit_code(), 5);
    expect_words(part);
}

static void expect_talk(struct pier_conn *c)
{
    char got[16];
    ck_assert_msg(c != NULL, "%s", pier_error());
    ck_assert_int_eq(pier_puts(c, "hello"), 5);
    ck_assert_int_eq(pier_read_exact(c, got, 5), 5);
    ck_assert_int_eq(memcmp(got, "hello", 5), 0);
}

#define EACH_WAY(name)                       \
    static void name(enum pier_model model); \
    BOTH(name##_and_tasks)                   \
    {                                        \
        name(PIER_TASKS);                    \
    }                                        \
    BOTH(name##_and_threads)                 \
    {                                        \
        name(PIER_THREADS);                  \
    }                                        \
    static void name(enum pier_model model)

/* ---- good ways ---- */

EACH_WAY(tls_client_and_server_talk)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    struct pier_tls_info info;
    serve_tls(&sv, model, &tls);
    struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ 0 });
    expect_talk(c);
    ck_assert_int_eq(pier_tls_info(c, &info), 0);
    ck_assert_str_eq(info.version, "TLSv1.3");
    ck_assert_str_eq(info.cipher, "TLS_AES_128_GCM_SHA256");
    ck_assert_str_eq(info.peer_subject, "CN=server");
    ck_assert_str_eq(info.peer_names, "localhost, 127.0.0.1");
    ck_assert(info.verified && !info.resumed);
    ck_assert_int_gt(info.peer_expires, 1700000000);
    ck_assert_int_eq(pier_shutdown_write(c), 0);
    char byte;
    ck_assert_int_eq(pier_read(c, &byte, 1), 0);
    pier_close(c);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(said("connection failed"), 0);
}

enum { LARGE = 3 << 20 };

static int write_large(void *arg)
{
    char *bytes = make_pattern(LARGE, 1);
    ssize_t n = pier_write(arg, bytes, LARGE);
    free(bytes);
    return n == LARGE ? 0 : (int)n;
}

EACH_WAY(tls_carries_bulk_both_ways_at_once)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    serve_tls(&sv, model, &tls);
    struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ 0 });
    ck_assert_ptr_nonnull(c);
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, write_large, c), 0);
    static char got[100000];
    char *want = make_pattern(LARGE, 1);
    for (size_t at = 0; at < LARGE;) {
        ssize_t n = pier_read(c, got, 1 + at % sizeof got);
        ck_assert_msg(n > 0, "%s", pier_error());
        ck_assert_int_eq(memcmp(got, want + at, (size_t)n), 0);
        at += (size_t)n;
    }
    free(want);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    pier_close(c);
    ck_assert_int_eq(end_serving(&sv), 0);
}

BOTH(tls_resumes_sessions)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    struct pier_tls_info info;
    serve_tls(&sv, PIER_TASKS, &tls);
    for (int i = 0; i < 3; i++) {
        struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ 0 });
        expect_talk(c);
        ck_assert_int_eq(pier_tls_info(c, &info), 0);
        ck_assert_int_eq(info.resumed, i > 0);
        ck_assert(info.verified);
        pier_close(c);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_speaks_1_2_and_not_below_the_minimum)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    tls.min_version = PIER_TLS_1_3;
    serve_tls(&sv, PIER_TASKS, &tls);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    SSL *ssl = SSL_new(ctx);
    int fd = client(sv.server);
    SSL_set_fd(ssl, fd);
    ck_assert_int_ne(SSL_connect(ssl), 1);
    AWAIT(said("no version of TLS in common") == 1);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_chooses_the_protocol_that_the_server_likes_best)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    struct pier_tls_info info;
    tls.alpn = "h2,http/1.1";
    serve_tls(&sv, PIER_TASKS, &tls);
    struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ .alpn = "http/1.1,h2" });
    expect_talk(c);
    ck_assert_int_eq(pier_tls_info(c, &info), 0);
    ck_assert_str_eq(info.alpn, "h2");
    pier_close(c);
    expect_refused(&sv, (struct pier_tls_opts){ .alpn = "smtp" }, "no application protocol");
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_server_has_a_certificate_for_each_name)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    struct pier_tls_info info;
    make_leaf("rsa", "ca", "DNS:*.rsa.example", RSA_KEY);
    make_leaf("ed", "ca", "DNS:ed.example", ED25519);
    const struct pier_tls_cert more[] = {
        { in_folder("rsa.pem"), in_folder("rsa-key.pem"), NULL },
        { in_folder("ed.pem"), in_folder("ed-key.pem"), NULL },
    };
    tls.more_certs = more;
    tls.more_count = 2;
    serve_tls(&sv, PIER_TASKS, &tls);
    static const char *const names[][2] = { { "a.rsa.example", "CN=rsa" },
                                            { "ed.example", "CN=ed" },
                                            { "localhost", "CN=server" } };
    for (int i = 0; i < 3; i++) {
        struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ .server_name = names[i][0] });
        expect_talk(c);
        ck_assert_int_eq(pier_tls_info(c, &info), 0);
        ck_assert_str_eq(info.peer_subject, names[i][1]);
        ck_assert_str_eq(info.server_name, names[i][0]);
        pier_close(c);
    }
    expect_refused(&sv, (struct pier_tls_opts){ .server_name = "b.a.rsa.example" },
                   "name mismatch: certificate is for localhost, 127.0.0.1");
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_server_has_keys_of_two_kinds_for_one_name)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    make_leaf("rsa", "ca", NAMES, RSA_KEY);
    const struct pier_tls_cert more = { in_folder("rsa.pem"), in_folder("rsa-key.pem"), NULL };
    tls.more_certs = &more;
    tls.more_count = 1;
    serve_tls(&sv, PIER_TASKS, &tls);
    static const char *const ciphers[] = { "ECDHE-RSA-AES128-GCM-SHA256",
                                           "ECDHE-ECDSA-AES128-GCM-SHA256" };
    for (int i = 0; i < 2; i++) {
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
        ck_assert_int_eq(SSL_CTX_set_cipher_list(ctx, ciphers[i]), 1);
        SSL *ssl = SSL_new(ctx);
        int fd = client(sv.server);
        SSL_set_fd(ssl, fd);
        ck_assert_int_eq(SSL_connect(ssl), 1);
        EVP_PKEY *key = X509_get0_pubkey(SSL_get0_peer_certificate(ssl));
        ck_assert_int_eq(EVP_PKEY_get_base_id(key), i == 0 ? EVP_PKEY_RSA : EVP_PKEY_EC);
        SSL_free(ssl);
        SSL_CTX_free(ctx);
        close(fd);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* Takes the TLS off for a plain echo server behind it. */
static int relay_to(struct pier_conn *c, void *url)
{
    struct pier_conn *behind = pier_dial(url, NULL);
    int rc = pier_copy(c, behind, NULL);
    pier_close(behind);
    return rc;
}

EACH_WAY(tls_is_taken_off_by_a_relay)
{
    enum { SIZE = 300000 };
    struct serving plain, sv;
    struct pier_tls_opts tls = server_opts();
    struct pier_serve_opts opts = { .model = model, .workers = 1, .tls = &tls };
    char *sent = make_pattern(SIZE, 3), *got = malloc(SIZE), byte;
    serve(&plain, &opts, "tcp://127.0.0.1:0", echo, NULL);
    serve(&sv, &opts, "tls://127.0.0.1:0", relay_to, (void *)url_of(&plain));
    sv.fds = 0; /* the other server may have opened its own meanwhile */
    struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ 0 });
    ck_assert_int_eq(pier_write(c, sent, SIZE), SIZE);
    ck_assert_int_eq(pier_read_exact(c, got, SIZE), SIZE);
    ck_assert_int_eq(memcmp(sent, got, SIZE), 0);
    ck_assert_int_eq(pier_shutdown_write(c), 0);
    ck_assert_int_eq(pier_read(c, &byte, 1), 0);
    pier_close(c);
    free(sent);
    free(got);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(end_serving(&plain), 0);
}

/* ---- whom a client refuses ---- */

static void expect_cert_refused(enum cert_kind kind, const char *words)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    make_leaf("other", "ca", NAMES, kind);
    tls.cert_file = in_folder("other.pem");
    tls.key_file = in_folder("other-key.pem");
    serve_tls(&sv, PIER_TASKS, &tls);
    expect_refused(&sv, (struct pier_tls_opts){ 0 }, words);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_client_says_when_a_certificate_expired)
{
    char words[64], date[16];
    time_t then = time(NULL) - 3600;
    struct tm tm;
    strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&then, &tm));
    snprintf(words, sizeof words, ": certificate expired %s", date);
    expect_cert_refused(EXPIRED, words);
}

TEST(tls_client_refuses_a_certificate_of_the_future)
{
    expect_cert_refused(FUTURE, "certificate is valid from ");
}

TEST(tls_client_refuses_a_certificate_that_vouches_for_itself)
{
    expect_cert_refused(SELF_SIGNED, ": self-signed certificate (give --ca FILE to trust it)");
}

TEST(tls_client_refuses_an_unknown_authority_and_another_name)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    make_ca("stranger");
    serve_tls(&sv, PIER_TASKS, &tls);
    expect_refused(&sv, (struct pier_tls_opts){ .ca_file = in_folder("stranger.pem") },
                   "unknown authority, \"ca\" (give --ca FILE to trust it)");
    expect_refused(&sv, (struct pier_tls_opts){ .server_name = "other.example" },
                   "name mismatch: certificate is for localhost, 127.0.0.1");
    expect_refused(&sv, (struct pier_tls_opts){ .server_name = "127.0.0.2" },
                   "name mismatch: certificate is for localhost, 127.0.0.1");
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_client_verifies_nothing_only_when_told_so_and_says_it)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    struct pier_tls_info info;
    serve_tls(&sv, PIER_TASKS, &tls);
    struct pier_dial_opts opts = { .tls = &(struct pier_tls_opts){ .insecure_skip_verify = true } };
    struct pier_conn *c = pier_dial(url_of(&sv), &opts);
    expect_talk(c);
    ck_assert_int_eq(pier_tls_info(c, &info), 0);
    ck_assert(!info.verified);
    pier_close(c);
    ck_assert_int_eq(said("the server's certificate is not verified"), 1);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_client_knows_a_pinned_key)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    serve_tls(&sv, PIER_TASKS, &tls);
    expect_refused(
        &sv,
        (struct pier_tls_opts){ .pinned_key = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
                                              "AAAAAAAAA=" },
        "the server's key is not the pinned one, but sha256//");
    char pin[64];
    snprintf(pin, sizeof pin, "%s", strstr(pier_error(), "sha256//"));
    for (int i = 0; i < 2; i++) { /* the second time it is resumed */
        struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ .pinned_key = pin });
        expect_talk(c);
        pier_close(c);
    }
    ck_assert_ptr_null(dial_tls(&sv, (struct pier_tls_opts){ .pinned_key = "abc" }));
    ck_assert_int_eq(pier_error_code(), -EINVAL);
    ck_assert_int_eq(end_serving(&sv), 0);
}

static void serve_stapled(struct serving *sv, int status)
{
    struct pier_tls_opts tls = server_opts();
    make_ocsp("server", "ca", status);
    tls.ocsp_file = in_folder("server.ocsp");
    serve_tls(sv, PIER_TASKS, &tls);
}

TEST(tls_client_heeds_a_stapled_revocation)
{
    struct serving sv;
    serve_stapled(&sv, V_OCSP_CERTSTATUS_REVOKED);
    expect_refused(&sv, (struct pier_tls_opts){ 0 }, "certificate is revoked");
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_client_takes_a_stapled_good_word)
{
    struct serving sv;
    serve_stapled(&sv, V_OCSP_CERTSTATUS_GOOD);
    struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ 0 });
    expect_talk(c);
    pier_close(c);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_contexts_differ_where_only_the_answer_of_a_further_certificate_does)
{
    struct pier_tls_opts tls = server_opts();
    make_ocsp("server", "ca", V_OCSP_CERTSTATUS_GOOD);
    tls = server_opts();
    struct pier_tls_cert more = { tls.cert_file, tls.key_file, NULL };
    tls.more_certs = &more;
    tls.more_count = 1;
    struct pi_tls_context *without = pi_tls_context_get(&tls, true);
    more.ocsp_file = in_folder("server.ocsp");
    struct pi_tls_context *with = pi_tls_context_get(&tls, true);
    ck_assert(without && with && with != without);
    pi_tls_context_drop(with);
    pi_tls_context_drop(without);
}

/* Clients take the one with ECDSA, and would refuse what is said of the other. */
TEST(tls_server_staples_to_a_certificate_only_its_own_answer)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    make_leaf("with-rsa", "ca", NAMES, RSA_KEY);
    make_ocsp("with-rsa", "ca", V_OCSP_CERTSTATUS_GOOD);
    make_ocsp("server", "ca", V_OCSP_CERTSTATUS_REVOKED);
    tls = server_opts();
    struct pier_tls_cert more = { tls.cert_file, tls.key_file, NULL };
    tls.cert_file = in_folder("with-rsa.pem");
    tls.key_file = in_folder("with-rsa-key.pem");
    tls.ocsp_file = in_folder("with-rsa.ocsp");
    tls.more_certs = &more;
    tls.more_count = 1;
    serve_tls(&sv, PIER_TASKS, &tls);
    struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ 0 });
    expect_talk(c);
    pier_close(c);
    ck_assert_int_eq(end_serving(&sv), 0);
    more.ocsp_file = in_folder("server.ocsp");
    serve_tls(&sv, PIER_TASKS, &tls);
    expect_refused(&sv, (struct pier_tls_opts){ 0 }, "certificate is revoked");
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_client_wants_a_name_that_can_be_verified)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    make_leaf("below", "ca", "DNS:a.example", EC);
    tls.cert_file = in_folder("below.pem");
    tls.key_file = in_folder("below-key.pem");
    serve_tls(&sv, PIER_TASKS, &tls);
    static const char *const names[] = { ".example", "%lo" };
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_null(dial_tls(&sv, (struct pier_tls_opts){ .server_name = names[i] }));
        ck_assert_int_eq(pier_error_code(), -EINVAL);
        expect_words("is no name to verify");
    }
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* ---- whom a server refuses ---- */

static int tell_subject(struct pier_conn *c, void *arg)
{
    struct pier_tls_info info;
    char ask[8];
    pier_tls_info(c, &info);
    pier_read_exact(c, ask, 5);
    return pier_printf(c, "%d %s\n", info.verified, info.peer_subject) < 0 ? -EIO : 0;
}

static void expect_subject(const struct serving *sv, struct pier_tls_opts tls, const char *subject)
{
    char line[64];
    struct pier_conn *c = dial_tls(sv, tls);
    ck_assert_msg(c != NULL, "%s", pier_error());
    pier_puts(c, "hello");
    ck_assert_msg(pier_read_line(c, line, sizeof line) > 0, "%s", pier_error());
    ck_assert_str_eq(line, subject);
    pier_close(c);
}

static void serve_for_clients(struct serving *sv, bool optional)
{
    struct pier_tls_opts tls = server_opts();
    make_ca("clients");
    make_leaf("alice", "clients", NULL, EC);
    make_leaf("mallory", "ca", NULL, EC);
    tls.client_ca_file = in_folder("clients.pem");
    tls.client_cert_optional = optional;
    struct pier_serve_opts opts = { .workers = 1, .tls = &tls };
    serve(sv, &opts, "tls://127.0.0.1:0", tell_subject, NULL);
}

static struct pier_tls_opts as(const char *stem)
{
    return (struct pier_tls_opts){ .cert_file = file_of(stem, ".pem"),
                                   .key_file = file_of(stem, "-key.pem") };
}

TEST(tls_server_asks_for_certificates_of_clients)
{
    struct serving sv;
    char byte;
    serve_for_clients(&sv, false);
    expect_subject(&sv, as("alice"), "1 CN=alice");
    expect_subject(&sv, as("alice"), "1 CN=alice"); /* resumed */
    struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ 0 });
    ck_assert_int_eq(pier_read(c, &byte, 1), PIER_ETLS);
    expect_words("it requires a certificate of ours");
    pier_close(c);
    c = dial_tls(&sv, as("mallory"));
    ck_assert_int_eq(pier_read(c, &byte, 1), PIER_ETLS);
    expect_words("the peer refuses: it does not trust the authority of our certificate");
    pier_close(c);
    AWAIT(said("the client has no certificate, and has to have one") == 1);
    AWAIT(said("certificate of an unknown authority, \"ca\"\n") == 1);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_server_serves_clients_without_a_certificate_if_told_so)
{
    struct serving sv;
    serve_for_clients(&sv, true);
    expect_subject(&sv, (struct pier_tls_opts){ 0 }, "0 ");
    expect_subject(&sv, as("alice"), "1 CN=alice");
    ck_assert_int_eq(end_serving(&sv), 0);
}

static void expect_no_listen(struct pier_tls_opts *tls, int code, const char *part)
{
    struct pier_server *s = pier_server_new(&(struct pier_serve_opts){ .tls = tls });
    ck_assert_int_eq(pier_server_add(s, "tls://127.0.0.1:0", echo, NULL), 0);
    ck_assert_int_eq(pier_server_listen(s), code);
    expect_words(part);
    pier_server_free(s);
}

TEST(tls_server_says_what_is_wrong_with_its_files)
{
    struct pier_tls_opts good = server_opts(), tls = good;
    expect_no_listen(NULL, -EINVAL, "a server needs a certificate and its key");
    make_leaf("second", "ca", NAMES, EC);
    tls.key_file = in_folder("second-key.pem");
    expect_no_listen(&tls, PIER_ETLS, "second-key.pem is not the one of certificate ");
    tls.key_file = in_folder("nowhere.pem");
    expect_no_listen(&tls, -ENOENT, "nowhere.pem: no such file or directory");
    tls.key_file = good.cert_file;
    expect_no_listen(&tls, PIER_ETLS, "server.pem: ");
    tls = good;
    tls.cert_file = good.key_file;
    expect_no_listen(&tls, PIER_ETLS, "server-key.pem: there is none in it (PEM)");
    tls = good;
    tls.alpn = "h2,,x";
    expect_no_listen(&tls, -EINVAL, "is no list of protocols");
    tls = good;
    tls.ciphers = "NONESUCH";
    expect_no_listen(&tls, -EINVAL, "ciphers \"NONESUCH\"");
    tls = good;
    tls.key_file = NULL;
    expect_no_listen(&tls, -EINVAL, "is given without a key");
}

/* ---- reload ---- */

static void expect_peer(const struct serving *sv, const char *subject)
{
    struct pier_tls_info info;
    struct pier_conn *c = dial_tls(sv, (struct pier_tls_opts){ 0 });
    expect_talk(c);
    ck_assert_int_eq(pier_tls_info(c, &info), 0);
    ck_assert_str_eq(info.peer_subject, subject);
    pier_close(c);
}

static void copy_pair(const char *from, const char *to)
{
    X509 *cert = load_cert(from);
    EVP_PKEY *key = load_key(from);
    write_pem(file_of(to, "-key.pem"), NULL, key);
    write_pem(file_of(to, ".pem"), cert, NULL);
    X509_free(cert);
    EVP_PKEY_free(key);
}

EACH_WAY(tls_server_reads_new_certificates_and_keeps_the_last_good_ones)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    make_leaf("live", "ca", NAMES, EC);
    make_leaf("next", "ca", NAMES, EC);
    tls.cert_file = in_folder("live.pem");
    tls.key_file = in_folder("live-key.pem");
    tls.tickets = PIER_NO_TICKETS;
    serve_tls(&sv, model, &tls);
    struct pier_conn *old = dial_tls(&sv, (struct pier_tls_opts){ 0 });
    expect_talk(old);
    copy_pair("next", "live");
    pier_server_reload_remote(sv.server);
    expect_peer(&sv, "CN=next");
    expect_talk(old);
    EVP_PKEY *other = make_key(EC);
    write_pem(in_folder("live-key.pem"), NULL, other);
    EVP_PKEY_free(other);
    pier_server_reload_remote(sv.server);
    expect_peer(&sv, "CN=next");
    ck_assert_int_eq(said("the new certificate does not do, the old one stays"), 1);
    expect_talk(old);
    pier_close(old);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_server_sees_for_itself_that_files_have_changed)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    make_leaf("live", "ca", NAMES, EC);
    make_leaf("next", "ca", NAMES, EC);
    tls.cert_file = in_folder("live.pem");
    tls.key_file = in_folder("live-key.pem");
    serve_tls(&sv, PIER_TASKS, &tls);
    copy_pair("next", "live");
    int64_t until = pier_after(patience() * PIER_SECOND);
    while (said("certificates were read again") == 0) {
        ck_assert_int_lt(pier_now(), until);
        struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ 0 });
        expect_talk(c);
        pier_close(c);
        poll(NULL, 0, 20);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* ---- hostile clients ---- */

static void expect_served(const struct serving *sv)
{
    struct pier_conn *c = dial_tls(sv, (struct pier_tls_opts){ 0 });
    expect_talk(c);
    pier_close(c);
}

static void send_garbage(enum pier_model model, const void *bytes, size_t len, const char *words)
{
    struct serving sv;
    char got[64];
    struct pier_tls_opts tls = server_opts();
    serve_tls(&sv, model, &tls);
    int fd = client(sv.server);
    send_all(fd, bytes, len);
    ssize_t n = read_to_end(fd, got, sizeof got);
    ck_assert_msg(n == 7 && got[0] == SSL3_RT_ALERT && got[5] == SSL3_AL_FATAL, "no alert: %zd", n);
    close(fd);
    AWAIT(said(words) == 1);
    expect_served(&sv);
    ck_assert_int_eq(end_serving(&sv), 0);
}

EACH_WAY(tls_server_knows_plain_http)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    send_garbage(model, request, strlen(request), "the client speaks plain HTTP here, not TLS");
}

EACH_WAY(tls_server_refuses_garbage)
{
    static const char garbage[] = "\x01\x02\x03garbage and garbage and garbage";
    send_garbage(model, garbage, sizeof garbage, "the client does not speak TLS");
}

TEST(tls_server_refuses_a_record_that_is_too_long)
{
    static const char head[] = { 22, 3, 1, (char)0xff, (char)0xff, 1, 0, 0 };
    send_garbage(PIER_TASKS, head, sizeof head, "record that is too long");
}

/* The bytes of a client's hello. */
static size_t make_hello(char *out, size_t cap)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem()), *sent = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, in, sent);
    SSL_connect(ssl);
    int n = BIO_read(sent, out, (int)cap);
    ck_assert_int_gt(n, 100);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return (size_t)n;
}

TEST(tls_server_takes_a_hello_byte_by_byte)
{
    struct serving sv;
    char hello[1024], got[5];
    struct pier_tls_opts tls = server_opts();
    size_t len = make_hello(hello, sizeof hello);
    serve_tls(&sv, PIER_TASKS, &tls);
    int fd = client(sv.server);
    for (size_t i = 0; i < len; i++) {
        send_all(fd, &hello[i], 1);
        await_taken(fd);
    }
    ck_assert_uint_eq(recv_all(fd, got, 5), 5);
    ck_assert_int_eq(got[0], SSL3_RT_HANDSHAKE);
    close(fd);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_server_gives_a_handshake_its_time_and_no_more)
{
    struct serving sv;
    char hello[1024], got[4096];
    struct pier_tls_opts tls = server_opts();
    size_t len = make_hello(hello, sizeof hello);
    tls.handshake_timeout_ms = 100;
    serve_tls(&sv, PIER_TASKS, &tls);
    pier_log_set_level(PIER_LOG_DEBUG);
    int silent = client(sv.server), stopped = client(sv.server);
    send_all(stopped, hello, len);
    ck_assert_int_eq(read_to_end(silent, got, sizeof got), 0);
    ck_assert_int_gt(read_to_end(stopped, got, sizeof got), 0);
    AWAIT(said("handshake: timed out") == 1);
    close(silent);
    close(stopped);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_server_gives_up_the_oldest_of_too_many_handshakes)
{
    enum { MANY = 40, MOST = 8 };
    struct serving sv;
    char hello[1024];
    int fds[MANY];
    struct pier_tls_opts tls = server_opts();
    size_t len = make_hello(hello, sizeof hello);
    tls.max_handshakes = MOST;
    serve_tls(&sv, PIER_TASKS, &tls);
    for (int i = 0; i < MANY; i++) {
        fds[i] = client(sv.server);
        send_all(fds[i], hello, len);
    }
    AWAIT(said("there are too many handshakes at once") == MANY - MOST);
    expect_served(&sv);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    ck_assert_int_eq(end_serving(&sv), 0);
}

/* A client of OpenSSL's own, on a blocking socket. */
static SSL *raw_client(const struct serving *sv, SSL_CTX **ctx, int version)
{
    *ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(*ctx, version);
    SSL *ssl = SSL_new(*ctx);
    SSL_set_fd(ssl, client(sv->server));
    ck_assert_int_eq(SSL_connect(ssl), 1);
    return ssl;
}

static void end_raw_client(SSL *ssl, SSL_CTX *ctx)
{
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
}

static void expect_raw_echo(SSL *ssl)
{
    char got[8];
    ck_assert_int_eq(SSL_write(ssl, "hello", 5), 5);
    ck_assert_int_eq(SSL_read(ssl, got, sizeof got), 5);
}

TEST(tls_server_does_not_renegotiate)
{
    struct serving sv;
    SSL_CTX *ctx;
    struct pier_tls_opts tls = server_opts();
    serve_tls(&sv, PIER_TASKS, &tls);
    SSL *ssl = raw_client(&sv, &ctx, TLS1_2_VERSION);
    expect_raw_echo(ssl);
    SSL_renegotiate(ssl);
    ck_assert_int_ne(SSL_do_handshake(ssl), 1);
    end_raw_client(ssl, ctx);
    expect_served(&sv);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_server_answers_updates_of_keys)
{
    struct serving sv;
    SSL_CTX *ctx;
    struct pier_tls_opts tls = server_opts();
    serve_tls(&sv, PIER_TASKS, &tls);
    SSL *ssl = raw_client(&sv, &ctx, TLS1_3_VERSION);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        expect_raw_echo(ssl);
    }
    end_raw_client(ssl, ctx);
    ck_assert_int_eq(end_serving(&sv), 0);
}

TEST(tls_server_takes_a_client_that_leaves_without_a_word_for_everyday)
{
    struct serving sv;
    SSL_CTX *ctx;
    struct pier_tls_opts tls = server_opts();
    serve_tls(&sv, PIER_TASKS, &tls);
    SSL *ssl = raw_client(&sv, &ctx, TLS1_3_VERSION);
    expect_raw_echo(ssl);
    end_raw_client(ssl, ctx);
    close(client(sv.server));
    AWAIT(pier_server_conns(sv.server) == 0);
    ck_assert_int_eq(end_serving(&sv), 0);
    ck_assert_int_eq(said("connection failed"), 0);
}

/* ---- raw servers ---- */

struct raw_server {
    SSL_CTX *ctx;
    void (*fn)(SSL *ssl, int fd);
};

static void run_raw_server(int fd, void *arg)
{
    struct raw_server *raw = arg;
    SSL *ssl = SSL_new(raw->ctx);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1)
        raw->fn(ssl, fd);
    SSL_free(ssl);
    ERR_clear_error();
}

/* A connection that was wrapped, over a raw server of OpenSSL's own. */
static struct pier_conn *wrap_to(struct peer *p, struct raw_server *raw,
                                 void (*fn)(SSL *ssl, int fd))
{
    struct pier_tls_opts files = server_opts();
    raw->fn = fn;
    raw->ctx = SSL_CTX_new(TLS_server_method());
    ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(raw->ctx, files.cert_file), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(raw->ctx, files.key_file, SSL_FILETYPE_PEM), 1);
    struct pier_conn *c = dial_peer(p, TCP, run_raw_server, raw);
    struct pier_tls_opts tls = { .ca_file = in_folder("ca.pem"), .server_name = "localhost" };
    ck_assert_msg(pier_tls_wrap(c, &tls) == 0, "%s", pier_error());
    return c;
}

static void end_raw(struct peer *p, struct raw_server *raw)
{
    end_peer(p);
    SSL_CTX_free(raw->ctx);
}

static void cut_after_hello(SSL *ssl, int fd)
{
    SSL_write(ssl, "hello", 5);
    shutdown(fd, SHUT_WR);
    char byte;
    SSL_read(ssl, &byte, 1);
}

BOTH(tls_end_without_a_word_is_a_failure)
{
    struct peer p;
    struct raw_server raw;
    char got[16];
    struct pier_conn *c = wrap_to(&p, &raw, cut_after_hello);
    ck_assert_int_eq(pier_read_exact(c, got, 5), 5);
    ck_assert_int_eq(pier_read(c, got, sizeof got), PIER_ETLS);
    expect_words("the connection ended without close_notify: it may have been cut");
    ck_assert_int_eq(pier_read(c, got, sizeof got), PIER_ETLS);
    pier_close(c);
    end_raw(&p, &raw);
}

static pthread_barrier_t half_sent;

/* One record, its halves apart. */
static void send_in_halves(SSL *ssl, int fd)
{
    char record[256];
    BIO *sink = BIO_new(BIO_s_mem());
    SSL_set0_wbio(ssl, sink);
    ck_assert_int_eq(SSL_write(ssl, "all of it", 9), 9);
    int n = BIO_read(sink, record, sizeof record);
    send_all(fd, record, (size_t)n / 2);
    pthread_barrier_wait(&half_sent);
    pthread_barrier_wait(&half_sent);
    send_all(fd, record + n / 2, (size_t)(n - n / 2));
    char byte;
    SSL_read(ssl, &byte, 1);
}

TEST(tls_deadline_in_the_middle_of_a_record_loses_no_byte)
{
    struct peer p;
    struct raw_server raw;
    char got[16];
    pthread_barrier_init(&half_sent, NULL, 2);
    struct pier_conn *c = wrap_to(&p, &raw, send_in_halves);
    pthread_barrier_wait(&half_sent);
    pier_set_timeouts(c, 50, 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pier_read(c, got, sizeof got), -ETIMEDOUT);
    pthread_barrier_wait(&half_sent);
    pier_set_timeouts(c, 10000, 0);
    ck_assert_int_eq(pier_read_exact(c, got, 9), 9);
    ck_assert_int_eq(memcmp(got, "all of it", 9), 0);
    pier_close(c);
    end_raw(&p, &raw);
}

static void read_nothing(SSL *ssl, int fd)
{
    pthread_barrier_wait(&half_sent);
}

BOTH(tls_write_to_a_peer_that_reads_nothing_times_out_for_good)
{
    struct peer p;
    struct raw_server raw;
    static char bulk[1 << 20];
    pthread_barrier_init(&half_sent, NULL, 2);
    struct pier_conn *c = wrap_to(&p, &raw, read_nothing);
    pier_set_timeouts(c, 0, 50);
    ssize_t n = 1;
    for (int i = 0; i < 64 && n > 0; i++)
        n = pier_write(c, bulk, sizeof bulk);
    ck_assert_int_eq(n, -ETIMEDOUT);
    ck_assert_int_eq(pier_puts(c, "more"), -ETIMEDOUT);
    int64_t then = pier_now();
    pier_close(c);
    ck_assert_int_lt(ms_since(then), 2000);
    pthread_barrier_wait(&half_sent);
    end_raw(&p, &raw);
}

static void send_a_bad_record(SSL *ssl, int fd)
{
    char record[5 + 40] = { 0x17, 3, 3, 0, 40 };
    pthread_barrier_wait(&half_sent);
    send_all(fd, record, sizeof record);
    pthread_barrier_wait(&half_sent);
}

/* The thread's memory is the next session's. */
BOTH(tls_alert_has_memory_of_its_own_while_another_task_sends)
{
    struct peer p;
    struct raw_server raw;
    char got[16];
    pthread_barrier_init(&half_sent, NULL, 2);
    struct pier_conn *c = wrap_to(&p, &raw, send_a_bad_record);
    struct pi_tls *t = c->own;
    t->is_flushing = true; /* as while a write waits for room */
    pthread_barrier_wait(&half_sent);
    ck_assert_int_eq(pier_read(c, got, sizeof got), PIER_ETLS);
    ck_assert_uint_gt(t->out.len, 0);
    ck_assert_uint_eq(t->out.cap, t->out.len);
    t->is_flushing = false;
    pthread_barrier_wait(&half_sent);
    pier_close(c);
    end_raw(&p, &raw);
    pthread_barrier_destroy(&half_sent);
}

static void answer_plainly(int fd, void *text)
{
    char hello[512];
    ck_assert_int_gt(recv(fd, hello, sizeof hello, 0), 0);
    send_all(fd, text, strlen(text));
    shutdown(fd, SHUT_WR);
    recv_all(fd, hello, sizeof hello);
}

static void expect_no_tls(const char *answer, const char *words)
{
    struct peer p;
    struct pier_tls_opts tls = { .insecure_skip_verify = true };
    struct pier_conn *c = dial_peer(&p, TCP, answer_plainly, (void *)answer);
    ck_assert_int_eq(pier_tls_wrap(c, &tls), PIER_ETLS);
    expect_words(words);
    ck_assert_int_eq(pier_puts(c, "x"), PIER_ETLS);
    pier_close(c);
    end_peer(&p);
}

BOTH(tls_client_knows_a_server_that_does_not_speak_it)
{
    pier_log_set(keep_record, NULL);
    expect_no_tls("HTTP/1.1 400 Bad Request\r\n\r\n",
                  "the server does not speak TLS here, but plain "
                  "HTTP");
    expect_no_tls("220 mail.example ESMTP\r\n", "the server does not speak TLS");
    expect_no_tls("", "the peer closed the connection during the handshake");
}

/* ---- in mid-stream ---- */

static int wrap_server(void *arg)
{
    struct pier_conn *c = arg;
    struct pier_tls_opts tls = server_opts();
    char line[16];
    tls.role = PIER_TLS_SERVER;
    ck_assert_int_eq(pier_read_line(c, line, sizeof line), 8);
    pier_puts(c, "go\n");
    ck_assert_msg(pier_tls_wrap(c, &tls) == 0, "%s", pier_error());
    ck_assert_int_eq(pier_read_line(c, line, sizeof line), 6);
    ck_assert_int_eq(pier_tls_unwrap(c), 0);
    ck_assert_int_gt(pier_puts(c, "plain again\n"), 0);
    return 0;
}

TEST(tls_begins_and_ends_in_mid_stream)
{
    struct pier_conn *ends[2];
    struct pier_scope scope;
    char line[16];
    server_opts();
    struct pier_tls_opts tls = { .ca_file = in_folder("ca.pem"), .server_name = "localhost" };
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, wrap_server, ends[1]), 0);
    pier_puts(ends[0], "STARTTLS\n");
    ck_assert_int_eq(pier_read_line(ends[0], line, sizeof line), 2);
    ck_assert_msg(pier_tls_wrap(ends[0], &tls) == 0, "%s", pier_error());
    ck_assert_int_eq(pier_tls_wrap(ends[0], &tls), -EISCONN);
    pier_puts(ends[0], "secret\n");
    ck_assert_msg(pier_tls_unwrap(ends[0]) == 0, "%s", pier_error());
    ck_assert_int_eq(pier_tls_unwrap(ends[0]), -EOPNOTSUPP);
    ck_assert_int_eq(pier_read_line(ends[0], line, sizeof line), 11);
    ck_assert_str_eq(line, "plain again");
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    pier_close(ends[0]);
    pier_close(ends[1]);
}

TEST(tls_refuses_input_that_was_injected_before_it)
{
    struct pier_conn *ends[2];
    char line[16];
    struct pier_tls_opts tls = server_opts();
    tls.role = PIER_TLS_SERVER;
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    pier_puts(ends[0], "STARTTLS\nMAIL FROM\n");
    ck_assert_int_eq(pier_read_line(ends[1], line, sizeof line), 8);
    ck_assert_int_eq(pier_tls_wrap(ends[1], &tls), -EPROTO);
    ck_assert_int_eq(pier_read_line(ends[1], line, sizeof line), 9); /* still plain */
    pier_close(ends[0]);
    pier_close(ends[1]);
}

TEST(tls_client_in_mid_stream_needs_a_name)
{
    struct pier_conn *ends[2];
    struct pier_tls_info info;
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    ck_assert_int_eq(pier_tls_info(ends[0], &info), -EOPNOTSUPP);
    ck_assert_str_eq(info.version, "");
    ck_assert_int_eq(pier_tls_wrap(ends[0], NULL), -EINVAL);
    expect_words("no server_name to verify");
    pier_close(ends[0]);
    pier_close(ends[1]);
}

/* ---- memory, secrets, the end ---- */

TEST(tls_client_survives_each_allocation_that_fails)
{
    struct serving sv;
    struct pier_tls_opts tls = server_opts();
    serve_tls(&sv, PIER_TASKS, &tls);
    bool is_done = false;
    for (long i = 1; !is_done; i++) {
        ck_assert_int_lt(i, 500);
        pi_alloc_fail(i);
        struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ .alpn = "x,y" });
        char got[8];
        is_done = c && pier_puts(c, "hello") == 5 && pier_read_exact(c, got, 5) == 5;
        if (!is_done && pier_error_code() != PIER_ETLS)
            ck_assert_int_eq(pier_error_code(), -ENOMEM);
        pier_close(c);
        pi_alloc_fail(0);
    }
    ck_assert_int_eq(end_serving(&sv), 0);
}

static _Atomic int secrets;

static void count_secret(struct pier_conn *c, const char *line)
{
    ck_assert_ptr_nonnull(c);
    if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0)
        secrets++;
}

TEST(tls_secrets_are_reported_and_written_for_the_owner_only)
{
    struct serving sv;
    struct stat st;
    const char *path = in_folder("keys.log");
    setenv("SSLKEYLOGFILE", path, 1);
    pi_tls_keylog(count_secret);
    ck_assert(pi_tls_has_keylog()); /* opens the file, for good */
    struct pier_tls_opts tls = server_opts();
    serve_tls(&sv, PIER_TASKS, &tls);
    expect_served(&sv);
    ck_assert_int_eq(end_serving(&sv), 0);
    pi_tls_keylog(NULL);
    ck_assert_int_eq(secrets, 2); /* of the client and of the server */
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    ck_assert_int_gt(st.st_size, 1000);
}

EACH_WAY(tls_server_stops_with_idle_and_silent_clients)
{
    struct serving sv;
    char byte;
    struct pier_tls_opts tls = server_opts();
    serve_tls(&sv, model, &tls);
    struct pier_conn *c = dial_tls(&sv, (struct pier_tls_opts){ 0 });
    expect_talk(c);
    int silent = client(sv.server);
    AWAIT(pier_server_conns(sv.server) == 2);
    int64_t then = pier_now();
    pier_server_stop_remote(sv.server);
    ck_assert_int_eq(pier_read(c, &byte, 1), 0); /* its word, not a cut */
    pier_close(c);
    ck_assert_int_eq(recv(silent, &byte, 1, 0), 0);
    close(silent);
    ck_assert_int_eq(finish_serving(&sv), 0);
    ck_assert_int_lt(ms_since(then), 5000);
}

HARNESS_MAIN("net_tls")
