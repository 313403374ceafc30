/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * Certificates: what they say and who signs them, the authority that is made once, keys that are
 * nobody else's, and whatever may be wrong with the folder that they are in.
 */
#include "files.h"

#include "net/cert.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

/* ---- OpenSSL's memory ---- */

static long requests_left = -1; /* -1: no end */

static bool must_fail(void)
{
    if (requests_left > 0)
        requests_left--;
    return requests_left == 0;
}

static void *ssl_malloc(size_t size, const char *file, int line)
{
    return must_fail() ? NULL : malloc(size);
}

static void *ssl_realloc(void *old, size_t size, const char *file, int line)
{
    return must_fail() ? NULL : realloc(old, size);
}

static void ssl_free(void *old, const char *file, int line)
{
    free(old);
}

__attribute__((constructor)) static void take_memory(void)
{
    CRYPTO_set_mem_functions(ssl_malloc, ssl_realloc, ssl_free);
}

/* ---- a place ---- */

static const char *const names[] = { "shop.test", "*.shop.test", "192.168.1.5", "::1" };
enum { NAMES = 4 };

static void begin_data(void)
{
    begin_folder();
    setenv("XDG_DATA_HOME", in_folder("data"), 1);
}

static int make(struct pier_cert_files *files, const char *prefix, const char *name,
                const struct pier_cert_opts *opts)
{
    return pier_cert_create(files, in_folder(prefix), &name, 1, opts);
}

static void made(const char *prefix, const char *name, const struct pier_cert_opts *opts)
{
    struct pier_cert_files files;
    int rc = make(&files, prefix, name, opts);
    ck_assert_msg(rc == 0, "%s", pier_error());
    pier_cert_files_fini(&files);
}

static void cannot_make(int code, const char *words)
{
    struct pier_cert_files files;
    failed(make(&files, "x", "x.test", NULL), code, words);
    ck_assert_ptr_null(files.cert_file);
    ck_assert_int_eq(access(in_folder("x.pem"), F_OK), -1);
    ck_assert_int_eq(access(in_folder("x-key.pem"), F_OK), -1);
    failed(pier_cert_localhost(&files), code, words);
    ck_assert_ptr_null(files.cert_file);
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    ck_assert_msg(lstat(path, &st) == 0, "%s: %s", path, strerror(errno));
    return st.st_mode & 07777;
}

static X509 *load_cert(const char *path)
{
    FILE *file = fopen(path, "re");
    ck_assert_msg(file != NULL, "%s", path);
    X509 *x509 = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    ck_assert_ptr_nonnull(x509);
    return x509;
}

static EVP_PKEY *load_key(const char *path)
{
    FILE *file = fopen(path, "re");
    ck_assert_msg(file != NULL, "%s", path);
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    ck_assert_ptr_nonnull(key);
    return key;
}

/* By the strict rules of OpenSSL, for that purpose. */
static bool verifies(const char *cert_file, const char *ca_file, int purpose)
{
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    X509 *cert = load_cert(cert_file), *ca = load_cert(ca_file);
    X509_STORE_add_cert(store, ca);
    X509_STORE_CTX_init(ctx, store, cert, NULL);
    X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT);
    X509_STORE_CTX_set_purpose(ctx, purpose);
    bool is_good = X509_verify_cert(ctx) == 1;
    X509_free(cert);
    X509_free(ca);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return is_good;
}

static char *contents(const char *path)
{
    char *text = pier_read_file(path, 100 * 1000, NULL);
    ck_assert_msg(text != NULL, "%s", pier_error());
    return text;
}

/* ---- what is made ---- */

BOTH(a_certificate_is_for_its_names_and_signed_by_the_ca)
{
    begin_data();
    int fds = open_fds();
    struct pier_cert_files files;
    int rc = pier_cert_create(&files, in_folder("shop"), names, NAMES, NULL);
    ck_assert_msg(rc == 0, "%s", pier_error());
    ck_assert_str_eq(files.cert_file, in_folder("shop.pem"));
    ck_assert_str_eq(files.key_file, in_folder("shop-key.pem"));
    ck_assert_str_eq(files.ca_file, in_folder("data/pier/ca.pem"));
    ck_assert(files.made_cert && files.made_ca);
    ck_assert(verifies(files.cert_file, files.ca_file, X509_PURPOSE_SSL_SERVER));
    ck_assert(!verifies(files.cert_file, files.ca_file, X509_PURPOSE_SSL_CLIENT));
    ck_assert(!verifies(files.cert_file, files.ca_file, X509_PURPOSE_SMIME_SIGN));
    X509 *cert = load_cert(files.cert_file);
    EVP_PKEY *key = load_key(files.key_file);
    ck_assert_int_eq(X509_check_private_key(cert, key), 1);
    ck_assert_int_eq(X509_check_host(cert, "a.shop.test", 0, 0, NULL), 1);
    ck_assert_int_eq(X509_check_host(cert, "shop.test", 0, 0, NULL), 1);
    ck_assert_int_eq(X509_check_host(cert, "example.com", 0, 0, NULL), 0);
    ck_assert_int_eq(X509_check_ip_asc(cert, "192.168.1.5", 0), 1);
    ck_assert_int_eq(X509_check_ip_asc(cert, "::1", 0), 1);
    EVP_PKEY_free(key);
    X509_free(cert);
    pier_cert_files_fini(&files);
    ck_assert_ptr_null(files.ca_file);
    ck_assert_int_le(open_fds(), fds + 4); /* a loop's own */
    end_folder();
}

BOTH(the_ca_is_made_once)
{
    begin_data();
    struct pier_cert_files files;
    made("a", "a.test", NULL);
    char *first = contents(in_folder("data/pier/ca.pem"));
    ck_assert_int_eq(make(&files, "b", "b.test", NULL), 0);
    ck_assert(files.made_cert && !files.made_ca);
    char *second = contents(files.ca_file);
    ck_assert_str_eq(first, second);
    ck_assert(verifies(in_folder("a.pem"), files.ca_file, X509_PURPOSE_SSL_SERVER));
    pier_cert_files_fini(&files);
    free(first);
    free(second);
    end_folder();
}

TEST(a_serial_is_never_used_twice)
{
    begin_data();
    made("a", "a.test", NULL);
    made("b", "a.test", NULL);
    struct pier_certs a, b;
    ck_assert_int_eq(pier_certs_read(&a, in_folder("a.pem")), 0);
    ck_assert_int_eq(pier_certs_read(&b, in_folder("b.pem")), 0);
    ck_assert_uint_eq(strlen(a.items[0].serial), 32);
    ck_assert_str_ne(a.items[0].serial, b.items[0].serial);
    ck_assert_str_ne(a.items[0].pin, b.items[0].pin);
    pier_certs_fini(&a);
    pier_certs_fini(&b);
    end_folder();
}

/* The CA's too, and the one file of the machine's own. */
TEST(keys_are_for_the_user_alone_whatever_the_umask_is)
{
    static const mode_t masks[] = { 0, 0777, 022 };
    for (int i = 0; i < 3; i++) {
        struct pier_cert_files files;
        begin_data();
        umask(masks[i]);
        made("a", "a.test", NULL);
        int rc = pier_cert_localhost(&files);
        umask(022);
        ck_assert_msg(rc == 0, "%s", pier_error());
        ck_assert_int_eq(mode_of(in_folder("a-key.pem")), 0600);
        ck_assert_int_eq(mode_of(in_folder("data/pier/ca-key.pem")), 0600);
        ck_assert_int_eq(mode_of(in_folder("data/pier/localhost.pem")), 0600);
        ck_assert_int_eq(mode_of(in_folder("data/pier")), 0700 & ~masks[i]);
        pier_cert_files_fini(&files);
        end_folder();
    }
}

TEST(all_kinds_of_keys_are_made)
{
    static const struct {
        enum pier_key_kind kind;
        const char *words;
    } kinds[] = { { PIER_KEY_P256, "ECDSA P-256" },
                  { PIER_KEY_P384, "ECDSA P-384" },
                  { PIER_KEY_ED25519, "Ed25519" },
                  { PIER_KEY_RSA, "RSA 3072" } };
    begin_data();
    for (int i = 0; i < 4; i++) {
        struct pier_certs certs;
        struct pier_cert_opts opts = { .kind = kinds[i].kind, .replaces = true };
        made("k", "k.test", &opts);
        ck_assert(
            verifies(in_folder("k.pem"), in_folder("data/pier/ca.pem"), X509_PURPOSE_SSL_SERVER));
        ck_assert_int_eq(pier_certs_read(&certs, in_folder("k.pem")), 0);
        ck_assert_str_eq(certs.items[0].key, kinds[i].words);
        pier_certs_fini(&certs);
    }
    end_folder();
}

TEST(a_client_s_certificate_is_for_clients)
{
    begin_data();
    made("c", "ann@shop.test", &(struct pier_cert_opts){ .is_client = true });
    const char *ca = in_folder("data/pier/ca.pem");
    ck_assert(verifies(in_folder("c.pem"), ca, X509_PURPOSE_SSL_CLIENT));
    ck_assert(!verifies(in_folder("c.pem"), ca, X509_PURPOSE_SSL_SERVER));
    X509 *cert = load_cert(in_folder("c.pem"));
    ck_assert_int_eq(X509_check_email(cert, "ann@shop.test", 0, 0), 1);
    X509_free(cert);
    end_folder();
}

/* Not even by the day that it is dated back. */
TEST(no_certificate_is_good_for_longer_than_clients_accept)
{
    static const struct {
        int days, good;
    } cases[] = { { 0, 365 }, { 1, 1 }, { 825, 824 } };
    begin_data();
    for (int i = 0; i < 3; i++) {
        struct pier_certs certs;
        made("d", "d.test", &(struct pier_cert_opts){ .days = cases[i].days, .replaces = true });
        ck_assert_int_eq(pier_certs_read(&certs, in_folder("d.pem")), 0);
        const int64_t day = 24 * PIER_HOUR;
        int64_t all = certs.items[0].not_after_ns - certs.items[0].not_before_ns;
        ck_assert_int_eq(all, (cases[i].good + 1) * day);
        pier_certs_fini(&certs);
    }
    end_folder();
}

static void refuses(const char *const *wanted, int count, const struct pier_cert_opts *opts,
                    const char *words)
{
    struct pier_cert_files files;
    failed(pier_cert_create(&files, in_folder("r"), wanted, count, opts), -EINVAL, words);
    ck_assert_ptr_null(files.cert_file);
    ck_assert_int_eq(count_files(), 0);
}

TEST(names_that_nobody_can_have_are_refused)
{
    static const char *const bad[] = {
        "",         ".",           "a..b",         "-a.test",    "a-.test",
        "a b",      "a.test\n",    "a.test,DNS:b", "*",          "a.*.test",
        "*a.test",  "300.1.1.1",   "1.2.3",        "fe80::1%lo", "caf\xc3\xa9",
        "a@b.test", "[127.0.0.1]",
    };
    char longest[300];
    const char *name = longest;
    begin_data();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuses(&bad[i], 1, NULL, ": it is neither a host name nor an IP address");
    memset(longest, 'a', 64);
    strcpy(longest + 64, ".test");
    refuses(&name, 1, NULL, "neither");
    name = "https://shop.test/";
    refuses(&name, 1, NULL, "it is a URL");
    name = "*.test";
    refuses(&name, 1, NULL, "no wildcard for a name of one part");
    name = "a@";
    refuses(&name, 1, &(struct pier_cert_opts){ .is_client = true }, "neither");
    end_folder();
}

TEST(wishes_that_cannot_be_are_refused)
{
    const char *many[101];
    for (int i = 0; i < 101; i++)
        many[i] = "a.test";
    begin_data();
    refuses(many, 0, NULL, "0 names: 1 to 100");
    refuses(many, 101, NULL, "101 names: 1 to 100");
    refuses(many, 1, &(struct pier_cert_opts){ .days = 826 }, "at most 825");
    refuses(many, 1, &(struct pier_cert_opts){ .days = -1 }, "at most 825");
    refuses(many, 1, &(struct pier_cert_opts){ .kind = (enum pier_key_kind)4 }, "kind of key 4");
    made("ok", "[::1]", NULL);
    end_folder();
}

BOTH(what_is_there_is_replaced_only_when_told)
{
    struct pier_cert_files files;
    begin_data();
    put(in_folder("a-key.pem"), "precious", 8);
    failed(make(&files, "a", "a.test", NULL), -EEXIST, "a-key.pem is there already");
    ck_assert(has(in_folder("a-key.pem"), "precious", 8));
    ck_assert_int_eq(access(in_folder("data"), F_OK), -1);
    put(in_folder("b.pem"), "precious", 8);
    failed(make(&files, "b", "a.test", NULL), -EEXIST, "b.pem is there already");
    made("a", "a.test", &(struct pier_cert_opts){ .replaces = true });
    ck_assert_int_eq(mode_of(in_folder("a-key.pem")), 0600);
    end_folder();
}

/* ---- several at a time ---- */

enum { PROCESSES = 8 };

static int create_in_process(int number)
{
    char prefix[20];
    struct pier_cert_files own, files;
    snprintf(prefix, sizeof prefix, "p%d", number);
    if (make(&files, prefix, "p.test", NULL) < 0 || pier_cert_localhost(&own) < 0) {
        fprintf(stderr, "%s\n", pier_error());
        return 100;
    }
    return files.made_ca + 10 * own.made_cert;
}

TEST(processes_that_begin_together_make_one_ca)
{
    pid_t children[PROCESSES];
    int made_cas = 0, made_own = 0;
    begin_data();
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0)
            _exit(create_in_process(i));
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        char name[20];
        ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) < 100);
        made_cas += WEXITSTATUS(status) % 10;
        made_own += WEXITSTATUS(status) / 10;
        snprintf(name, sizeof name, "p%d.pem", i);
        ck_assert(
            verifies(in_folder(name), in_folder("data/pier/ca.pem"), X509_PURPOSE_SSL_SERVER));
    }
    ck_assert_int_eq(made_cas, 1);
    ck_assert_int_eq(made_own, 1);
    end_folder();
}

/* ---- what may be wrong with the folder ---- */

TEST(there_must_be_a_place)
{
    begin_data();
    unsetenv("XDG_DATA_HOME");
    unsetenv("HOME");
    cannot_make(-ENOENT, "set HOME or XDG_DATA_HOME");
    setenv("HOME", "", 1);
    setenv("XDG_DATA_HOME", "relative", 1);
    cannot_make(-ENOENT, "set HOME or XDG_DATA_HOME");
    setenv("HOME", in_folder("home"), 1);
    made("a", "a.test", NULL);
    ck_assert_int_eq(mode_of(in_folder("home/.local/share/pier/ca-key.pem")), 0600);
    end_folder();
}

TEST(a_file_in_the_place_of_the_folder_is_named)
{
    begin_data();
    put(in_folder("data"), "", 0);
    cannot_make(-ENOTDIR, "/data/pier: not a directory");
    ck_assert_int_eq(remove(in_folder("data")), 0);
    ck_assert_int_eq(mkdir(in_folder("data"), 0700), 0);
    put(in_folder("data/pier"), "", 0);
    cannot_make(-ENOTDIR, "/data/pier: not a directory");
    end_folder();
}

TEST(a_folder_that_others_may_write_to_is_refused)
{
    begin_data();
    ck_assert_int_eq(mkdir(in_folder("data"), 0700), 0);
    ck_assert_int_eq(mkdir(in_folder("data/pier"), 0700), 0);
    ck_assert_int_eq(chmod(in_folder("data/pier"), 0770), 0);
    cannot_make(-EPERM, "/data/pier: others may write there (mode 770): chmod 700 it");
    end_folder();
}

TEST(a_key_that_others_may_read_is_refused)
{
    begin_data();
    made("a", "a.test", NULL);
    ck_assert_int_eq(chmod(in_folder("data/pier/ca-key.pem"), 0640), 0);
    cannot_make(-EPERM, "/data/pier/ca-key.pem: others may use it (mode 640): chmod 600 it");
    end_folder();
}

TEST(a_damaged_ca_is_named_and_left_alone)
{
    begin_data();
    made("a", "a.test", NULL);
    char *key = contents(in_folder("data/pier/ca-key.pem"));
    put(in_folder("data/pier/ca-key.pem"), key, strlen(key) / 3);
    cannot_make(-EBADMSG, "/data/pier/ca-key.pem: it is damaged");
    ck_assert(has(in_folder("data/pier/ca-key.pem"), key, strlen(key) / 3));
    put(in_folder("data/pier/ca-key.pem"), "", 0);
    cannot_make(-EBADMSG, "it is damaged");
    put(in_folder("data/pier/ca-key.pem"), key, strlen(key));
    put(in_folder("data/pier/ca.pem"), "x", 1);
    cannot_make(-EBADMSG, "/data/pier/ca.pem is not the certificate in ");
    ck_assert(has(in_folder("data/pier/ca.pem"), "x", 1));
    free(key);
    end_folder();
}

TEST(half_of_a_ca_is_completed_or_named)
{
    begin_data();
    made("a", "a.test", NULL);
    char *ca = contents(in_folder("data/pier/ca.pem"));
    ck_assert_int_eq(unlink(in_folder("data/pier/ca.pem")), 0);
    made("b", "b.test", NULL);
    ck_assert(has(in_folder("data/pier/ca.pem"), ca, strlen(ca)));
    ck_assert_int_eq(unlink(in_folder("data/pier/ca-key.pem")), 0);
    cannot_make(-ENOENT, "/data/pier/ca.pem is there, but its key is not");
    free(ca);
    end_folder();
}

/* Somebody else's, that is: with a server's certificate where the CA's should be. */
TEST(a_key_whose_certificate_is_no_ca_s_is_refused)
{
    begin_data();
    struct pier_cert_files files;
    ck_assert_int_eq(pier_cert_localhost(&files), 0);
    ck_assert_int_eq(rename(files.cert_file, in_folder("data/pier/ca-key.pem")), 0);
    pier_cert_files_fini(&files);
    cannot_make(-EBADMSG, "/data/pier/ca-key.pem: its certificate is no CA's");
    end_folder();
}

static void fill_a_folder_of_others(void)
{
    setenv("XDG_DATA_HOME", in_folder("data"), 1);
    cannot_make(-EACCES, "cert create: make folder");
}

TEST(a_folder_that_cannot_be_made_is_named)
{
    begin_data();
    ck_assert_int_eq(chmod(folder, 0755), 0);
    as_somebody(fill_a_folder_of_others, false);
    end_folder();
}

static void full(void)
{
    struct pier_cert_files files;
    int rc = make(&files, "a", "a.test", NULL);
    ck_assert_int_eq(rc, -ENOSPC);
    ck_assert_words("no space left on device");
    ck_assert_ptr_null(files.cert_file);
}

TEST(a_full_disk_is_told_and_leaves_no_half)
{
    need_small_disk("size=16k");
    setenv("XDG_DATA_HOME", in_folder("data"), 1);
    for (int i = 0; i < 8; i++) {
        char name[20], block[4096] = { 0 };
        snprintf(name, sizeof name, "f%d", i);
        int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        ssize_t n = write(fd, block, sizeof block);
        close(fd);
        if (n < 0)
            break;
    }
    full();
    ck_assert_int_eq(access(in_folder("data/pier/ca-key.pem"), F_OK), -1);
    for (int i = 0; i < 8; i++) {
        char name[20];
        snprintf(name, sizeof name, "f%d", i);
        unlink(in_folder(name));
    }
    made("b", "b.test", NULL);
    end_small_disk();
}

/* ---- the machine's own ---- */

static void own(struct pier_cert_files *files, bool made_cert, bool made_ca)
{
    int rc = pier_cert_localhost(files);
    ck_assert_msg(rc == 0, "%s", pier_error());
    ck_assert_int_eq(files->made_cert, made_cert);
    ck_assert_int_eq(files->made_ca, made_ca);
    ck_assert(verifies(files->cert_file, files->ca_file, X509_PURPOSE_SSL_SERVER));
}

BOTH(the_own_certificate_is_made_once_for_all_of_the_machine_s_names)
{
    char host[PIER_NAME_CAP];
    struct pier_cert_files files, again;
    begin_data();
    own(&files, true, true);
    ck_assert_str_eq(files.cert_file, files.key_file);
    X509 *cert = load_cert(files.cert_file);
    EVP_PKEY *key = load_key(files.key_file);
    ck_assert_int_eq(X509_check_private_key(cert, key), 1);
    ck_assert_int_eq(X509_check_host(cert, "localhost", 0, 0, NULL), 1);
    ck_assert_int_eq(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
    ck_assert_int_eq(X509_check_ip_asc(cert, "::1", 0), 1);
    ck_assert_int_eq(pier_hostname(host, sizeof host), 0);
    if (!pi_cert_name_fault(host, false))
        ck_assert_int_eq(X509_check_host(cert, host, 0, 0, NULL), 1);
    EVP_PKEY_free(key);
    X509_free(cert);
    char *first = contents(files.cert_file);
    own(&again, false, false);
    ck_assert(has(again.cert_file, first, strlen(first)));
    free(first);
    pier_cert_files_fini(&files);
    pier_cert_files_fini(&again);
    end_folder();
}

TEST(a_damaged_own_certificate_is_made_again)
{
    struct pier_cert_files files;
    begin_data();
    own(&files, true, true);
    char *bytes = contents(files.cert_file);
    put(files.cert_file, bytes, strlen(bytes) / 2);
    pier_cert_files_fini(&files);
    own(&files, true, false);
    ck_assert_int_eq(mode_of(files.cert_file), 0600);
    pier_cert_files_fini(&files);
    free(bytes);
    end_folder();
}

/* Key and certificate to path, and the certificate alone to copy. */
static void store(const struct pi_cert *cert, const char *path, const char *copy)
{
    BIO *both = BIO_new_file(path, "w"), *one = copy ? BIO_new_file(copy, "w") : NULL;
    ck_assert_int_eq(pi_cert_put_key(both, cert), 0);
    ck_assert_int_eq(pi_cert_put_x509(both, cert), 0);
    if (one)
        ck_assert_int_eq(pi_cert_put_x509(one, cert), 0);
    BIO_free(both);
    BIO_free(one);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

static int64_t days_from_now(int days)
{
    return pi_unix_ns() + days * 24 * PIER_HOUR;
}

static void store_ca(struct pi_cert *ca, int days)
{
    mkdir(in_folder("data"), 0700);
    mkdir(in_folder("data/pier"), 0700);
    const struct pi_cert_plan plan = { .common_name = "Old CA",
                                       .from_ns = days_from_now(-900),
                                       .until_ns = days_from_now(days) };
    ck_assert_int_eq(pi_cert_make(ca, &plan), 0);
    store(ca, in_folder("data/pier/ca-key.pem"), in_folder("data/pier/ca.pem"));
}

static void store_own(const struct pi_cert *ca, int days, const char *name)
{
    const char *const own_names[] = { "localhost", "127.0.0.1", "::1", name };
    const struct pi_cert_plan plan = { .common_name = "localhost",
                                       .names = own_names,
                                       .name_count = 4,
                                       .issuer = ca,
                                       .from_ns = days_from_now(-900),
                                       .until_ns = days_from_now(days) };
    struct pi_cert cert;
    ck_assert_int_eq(pi_cert_make(&cert, &plan), 0);
    store(&cert, in_folder("data/pier/localhost.pem"), NULL);
    pi_cert_fini(&cert);
}

TEST(the_own_certificate_is_renewed_before_it_ends_and_when_the_machine_has_another_name)
{
    char host[PIER_NAME_CAP];
    struct pier_cert_files files;
    struct pi_cert ca;
    ck_assert_int_eq(pier_hostname(host, sizeof host), 0);
    if (pi_cert_name_fault(host, false))
        test_skip("this host's name cannot stand in a certificate");
    begin_data();
    store_ca(&ca, 1000);
    store_own(&ca, 31, host);
    own(&files, false, false);
    pier_cert_files_fini(&files);
    store_own(&ca, 29, host);
    own(&files, true, false);
    pier_cert_files_fini(&files);
    store_own(&ca, 300, "another.test");
    own(&files, true, false);
    pier_cert_files_fini(&files);
    pi_cert_fini(&ca);
    end_folder();
}

TEST(a_ca_that_ends_is_made_again_and_what_it_signed_too)
{
    struct pier_cert_files files;
    struct pi_cert ca;
    begin_data();
    store_ca(&ca, 100);
    own(&files, true, false);
    struct pier_certs certs;
    ck_assert_int_eq(pier_certs_read(&certs, files.cert_file), 0);
    ck_assert_int_le(certs.items[0].not_after_ns, days_from_now(100)); /* not after its CA */
    pier_certs_fini(&certs);
    pier_cert_files_fini(&files);
    pi_cert_fini(&ca);
    store_ca(&ca, 29);
    own(&files, true, true);
    pier_cert_files_fini(&files);
    pi_cert_fini(&ca);
    end_folder();
}

/* ---- reading ---- */

static void cannot_read(const char *path, int code, const char *words)
{
    struct pier_certs certs;
    failed(pier_certs_read(&certs, path), code, words);
    ck_assert_int_eq(certs.count, 0);
    ck_assert_ptr_null(certs.items);
}

BOTH(what_a_certificate_says_is_read)
{
    struct pier_cert_files files;
    struct pier_certs certs;
    begin_data();
    ck_assert_int_eq(pier_cert_create(&files, in_folder("shop"), names, NAMES, NULL), 0);
    ck_assert_int_eq(pier_certs_read(&certs, files.cert_file), 0);
    ck_assert_int_eq(certs.count, 1);
    const struct pier_cert *cert = &certs.items[0];
    ck_assert_str_eq(cert->subject, "CN=shop.test");
    ck_assert_ptr_nonnull(strstr(cert->issuer, "CN=Pier CA "));
    ck_assert_int_eq(cert->name_count, NAMES);
    for (int i = 0; i < NAMES; i++)
        ck_assert_str_eq(cert->names[i], names[i]);
    ck_assert(!cert->is_ca && !cert->is_self_issued);
    ck_assert_uint_eq(strlen(cert->sha256), 64);
    ck_assert_uint_eq(strlen(cert->pin), 44);
    pier_certs_fini(&certs);
    pier_certs_fini(&certs);
    ck_assert_int_eq(pier_certs_read(&certs, files.ca_file), 0);
    ck_assert(certs.items[0].is_ca && certs.items[0].is_self_issued);
    pier_certs_fini(&certs);
    pier_cert_files_fini(&files);
    end_folder();
}

TEST(certificates_are_found_among_other_things_and_in_der)
{
    struct pier_certs certs;
    begin_data();
    made("a", "a.test", NULL);
    char *key = contents(in_folder("a-key.pem")), *ca = contents(in_folder("data/pier/ca.pem"));
    char *cert = contents(in_folder("a.pem")), all[8000];
    snprintf(all, sizeof all, "a text\n%s\n%s%s%s", key, cert, key, ca);
    put(in_folder("all"), all, strlen(all));
    ck_assert_int_eq(pier_certs_read(&certs, in_folder("all")), 0);
    ck_assert_int_eq(certs.count, 2);
    ck_assert_str_eq(certs.items[0].subject, "CN=a.test");
    ck_assert(certs.items[1].is_ca);
    pier_certs_fini(&certs);
    unsigned char *der = NULL;
    X509 *x509 = load_cert(in_folder("a.pem"));
    int len = i2d_X509(x509, &der);
    put(in_folder("der"), der, (size_t)len);
    ck_assert_int_eq(pier_certs_read(&certs, in_folder("der")), 0);
    ck_assert_int_eq(certs.count, 1);
    pier_certs_fini(&certs);
    OPENSSL_free(der);
    X509_free(x509);
    cannot_read(in_folder("a-key.pem"), -ENODATA, "/a-key.pem: there is no certificate in it");
    put(in_folder("empty"), "", 0);
    cannot_read(in_folder("empty"), -ENODATA, "there is no certificate in it");
    cannot_read(in_folder("none"), -ENOENT, "none");
    snprintf(all, sizeof all, "%s-----BEGIN CERTIFICATE-----\nMIIB%s", cert, strchr(cert, '\n'));
    put(in_folder("bad"), all, strlen(all));
    cannot_read(in_folder("bad"), PIER_ETLS, "/bad: certificate 2 is damaged: ");
    free(key);
    free(ca);
    free(cert);
    end_folder();
}

/* Nobody's terminal is driven by a certificate. */
TEST(what_strangers_write_into_a_certificate_is_escaped)
{
    static const char *const evil[] = { "a\nb.test", "\x1b[2J" };
    const struct pi_cert_plan of_ca = { .common_name = "\x1b]0;x\a\n",
                                        .until_ns = days_from_now(10) };
    struct pi_cert ca, cert;
    struct pier_certs certs;
    begin_data();
    ck_assert_int_eq(pi_cert_make(&ca, &of_ca), 0);
    const struct pi_cert_plan plan = {
        .names = evil, .name_count = 2, .issuer = &ca, .until_ns = INT64_MAX
    };
    ck_assert_int_eq(pi_cert_make(&cert, &plan), 0);
    store(&cert, in_folder("evil"), NULL);
    ck_assert_int_eq(pier_certs_read(&certs, in_folder("evil")), 0);
    ck_assert_str_eq(certs.items[0].names[0], "a\\nb.test");
    ck_assert_str_eq(certs.items[0].names[1], "\\x1b[2J");
    ck_assert_ptr_null(strpbrk(certs.items[0].issuer, "\x1b\a\n"));
    ck_assert_str_eq(certs.items[0].subject, "");
    pier_certs_fini(&certs);
    pi_cert_fini(&cert);
    pi_cert_fini(&ca);
    end_folder();
}

TEST(what_is_no_tls_shows_no_certificate)
{
    struct pier_certs certs;
    struct pier_conn *ends[2];
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    failed(pier_certs_of_peer(&certs, ends[0]), -EOPNOTSUPP, "cert show");
    ck_assert_int_eq(certs.count, 0);
    pier_close(ends[0]);
    pier_close(ends[1]);
    failed(pier_certs_of_peer(&certs, NULL), -EOPNOTSUPP, "cert show");
}

/* ---- no memory ---- */

TEST(without_memory_making_and_reading_fail_and_leave_nothing)
{
    struct pier_cert_files files;
    struct pier_certs certs;
    begin_data();
    made("a", "a.test", NULL);
    long blocks = pi_alloc_count();
    for (long i = 1, rc = -1; rc < 0; i++) {
        pi_alloc_fail(i);
        rc = pier_cert_localhost(&files);
        rc = rc < 0 ? rc : pier_certs_read(&certs, files.cert_file);
        pi_alloc_fail(0);
        ck_assert(rc == 0 || rc == -ENOMEM);
        if (rc == 0)
            pier_certs_fini(&certs);
        pier_cert_files_fini(&files);
        ck_assert_int_eq(pi_alloc_count(), blocks);
    }
    end_folder();
}

static int make_all(void)
{
    struct pi_cert ca = { 0 }, cert = { 0 };
    const struct pi_cert_plan of_ca = { .common_name = "CA", .until_ns = days_from_now(10) };
    const struct pi_cert_plan plan = { .common_name = "a",
                                       .names = names,
                                       .name_count = NAMES,
                                       .issuer = &ca,
                                       .until_ns = days_from_now(9) };
    int rc = pi_cert_make(&ca, &of_ca);
    if (rc == 0)
        rc = pi_cert_make(&cert, &plan);
    struct pier_certs certs = { 0 };
    if (rc == 0)
        rc = pi_certs_add(&certs, cert.x509);
    pier_certs_fini(&certs);
    pi_cert_fini(&cert);
    pi_cert_fini(&ca);
    return rc;
}

/* Every 7th request, so that each kind is met on some round: there are thousands. */
TEST(openssl_without_memory_is_an_error)
{
    ck_assert_int_eq(make_all(), 0); /* what OpenSSL keeps for good */
    int failures = 0;
    for (long i = 1, rc = -1; rc < 0; i += 7) {
        requests_left = i;
        rc = make_all();
        requests_left = -1;
        failures += rc < 0;
        ck_assert_uint_eq(ERR_peek_error(), 0);
    }
    ck_assert_int_gt(failures, 10);
}

HARNESS_MAIN("net_cert")
