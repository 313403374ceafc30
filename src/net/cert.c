/* SPDX-License-Identifier: MIT */
/*
 * net/cert.c - the user's own certification authority, and the certificates that it signs.
 *
 * The authority is one file, ca-key.pem, with its key and its certificate, so that there is never
 * one without the other; ca.pem is a copy of the latter for others to read. The folder is locked
 * while anything in it is made. Keys are written by pier_write_file(): their files have mode 600
 * before they have a byte, whatever the umask is. All of it runs on a thread of pier_offload().
 */
#define _GNU_SOURCE
#include "net/cert.h"

#include "task/file.h"
#include "task/sockets.h"

#include <pier/task.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DAYS_DEFAULT = 365,
    DAYS_MAX = 825, /* more is refused by clients of Apple's, also below own authorities */
    DAYS_OF_CA = 10 * 365,
    RENEW_DAYS = 30,  /* what ends sooner is made again */
    LOCK_WAIT_S = 10, /* others hold it for milliseconds, for a second with RSA */
    CA_NAME_CAP = 65,
};

#define DAY (24 * PIER_HOUR)
#define BEFORE DAY /* that it is good from: clocks differ */

struct maker {
    const char *prefix;
    const char *const *names;
    int name_count;
    struct pier_cert_opts opts;
    int64_t now_ns;
    char host[PIER_NAME_CAP];
    char folder[PATH_MAX];
    char ca_file[PATH_MAX], ca_key_file[PATH_MAX];
    char cert_file[PATH_MAX], key_file[PATH_MAX];
    int lock_fd;
    struct pi_cert ca, cert;
    bool made_ca, made_cert;
};

static int put_path(char out[PATH_MAX], const char *folder, const char *name)
{
    int len = snprintf(out, PATH_MAX, "%s%s", folder, name);
    if (len >= 0 && len < PATH_MAX)
        return 0;
    return pi_fail(-ENAMETOOLONG, "cert create: %.100s…", folder);
}

static bool ends_soon(const struct maker *m, const struct pi_cert *cert)
{
    return pi_cert_time_ns(X509_get0_notAfter(cert->x509)) < m->now_ns + RENEW_DAYS * DAY;
}

/* ---- the folder ---- */

/* It has to be an absolute path (XDG Base Directory Specification). */
static int name_folder(struct maker *m)
{
    const char *data = getenv("XDG_DATA_HOME");
    if (data && data[0] == '/')
        return put_path(m->folder, data, "/pier");
    const char *home = getenv("HOME");
    if (home && home[0] == '/')
        return put_path(m->folder, home, "/.local/share/pier");
    return pi_fail_text(-ENOENT, "cert create: no place to keep the CA: set HOME or XDG_DATA_HOME "
                                 "to a folder");
}

/* For the user alone, as that specification wants it. */
static int make_one_folder(const char *path)
{
    struct stat st;
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return 0;
    int rc = -errno; /* where nothing may be made it may be there all the same */
    return stat(path, &st) == 0 ? 0 : pi_fail(rc, "cert create: make folder %s", path);
}

/* With all that are missing above it. */
static int make_folder(struct maker *m)
{
    int rc = 0;
    for (char *slash = m->folder + 1; slash && rc == 0;) {
        slash = strchr(slash, '/');
        if (slash)
            *slash = '\0';
        rc = make_one_folder(m->folder);
        if (slash)
            *slash++ = '/';
    }
    return rc;
}

static int check_folder(const struct maker *m)
{
    struct stat st;
    if (stat(m->folder, &st) < 0)
        return pi_fail(-errno, "cert create: %s", m->folder);
    if (!S_ISDIR(st.st_mode))
        return pi_fail(-ENOTDIR, "cert create: %s", m->folder);
    if ((st.st_mode & 022) == 0)
        return 0;
    return pi_fail_text(-EPERM, "cert create: %s: others may write there (mode %03o): chmod 700 it",
                        m->folder, (unsigned)st.st_mode & 0777);
}

/* Ends with the process that holds it, however that ends. */
static int lock_folder(struct maker *m)
{
    char path[PATH_MAX];
    int rc = put_path(path, m->folder, "/.lock");
    if (rc < 0)
        return rc;
    do
        m->lock_fd = openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    while (m->lock_fd < 0 && errno == EINTR);
    if (m->lock_fd < 0)
        return pi_fail(-errno, "cert create: open %s", path);
    int64_t deadline_ns = pier_after(LOCK_WAIT_S * PIER_SECOND);
    while (flock(m->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return pi_fail(-errno, "cert create: lock %s", path);
        if (pier_now() > deadline_ns)
            return pi_fail(-ETIMEDOUT, "cert create: lock %s: another process has it", path);
        pier_sleep(10 * PIER_MILLISECOND);
    }
    return 0;
}

static int open_folder(struct maker *m)
{
    int rc = name_folder(m);
    if (rc == 0)
        rc = make_folder(m);
    if (rc == 0)
        rc = check_folder(m);
    if (rc == 0)
        rc = put_path(m->ca_file, m->folder, "/ca.pem");
    if (rc == 0)
        rc = put_path(m->ca_key_file, m->folder, "/ca-key.pem");
    return rc < 0 ? rc : lock_folder(m);
}

/* ---- files ---- */

/* 1 when it is there, 0 when not, or a negative code. */
static int is_there(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return 1;
    return errno == ENOENT ? 0 : pi_fail(-errno, "cert create: %s", path);
}

/* A key that others may read is nobody's secret any more. */
static int check_key_file(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return pi_fail(-errno, "cert create: %s", path);
    uid_t user = geteuid();
    if (st.st_uid != user && st.st_uid != 0 && user != 0)
        return pi_fail_text(-EPERM, "cert create: %s: it belongs to somebody else (user %u)", path,
                            (unsigned)st.st_uid);
    if ((st.st_mode & 077) == 0)
        return 0;
    return pi_fail_text(-EPERM,
                        "cert create: %s: others may use it (mode %03o): chmod 600 it if nobody "
                        "has, or remove it to have another made",
                        path, (unsigned)st.st_mode & 0777);
}

/* 0; 1 when the file's contents are no good; or a negative code. */
static int load(struct pi_cert *cert, const char *path)
{
    size_t len;
    int rc = check_key_file(path);
    char *text = rc == 0 ? pier_read_file(path, PI_CERT_FILE_MAX, &len) : NULL;
    if (!text)
        return rc < 0 ? rc : pier_error_code();
    rc = pi_cert_parse(cert, text, len);
    explicit_bzero(text, len);
    free(text);
    if (rc == -ENOMEM)
        return pi_fail(rc, "cert create: read %s", path);
    return rc < 0 ? 1 : 0;
}

/* Writes what is in bio: a key's file has mode 600, others are as the umask wants them. */
static int save(const char *path, BIO *bio, bool is_key)
{
    char *bytes = NULL;
    long len = BIO_get_mem_data(bio, &bytes);
    struct pier_write_file_opts opts = { .mode = is_key ? 0600 : 0 };
    return pier_write_file(path, bytes, (size_t)len, &opts);
}

enum part { CERT = 1, KEY = 2 };

static int write_pem(const struct pi_cert *cert, unsigned parts, const char *path)
{
    BIO *bio = BIO_new(parts & KEY ? BIO_s_secmem() : BIO_s_mem());
    int rc = bio ? 0 : -ENOMEM;
    if (rc == 0 && (parts & KEY))
        rc = pi_cert_put_key(bio, cert);
    if (rc == 0 && (parts & CERT))
        rc = pi_cert_put_x509(bio, cert);
    rc = rc < 0 ? pi_fail(rc, "cert create: %s", path) : save(path, bio, parts & KEY);
    BIO_free(bio);
    ERR_clear_error();
    return rc;
}

/* ---- the authority ---- */

/* Whose it is stands in its name, for people who look at what their browser trusts. */
static void name_ca(char out[CA_NAME_CAP], const struct maker *m)
{
    const char *user = getenv("USER");
    if (user && *user && strlen(user) < 32)
        snprintf(out, CA_NAME_CAP, "Pier CA of %s on %.*s", user, 18, m->host);
    else
        snprintf(out, CA_NAME_CAP, "Pier CA on %.*s", 50, m->host);
}

static int make_ca(struct maker *m)
{
    char name[CA_NAME_CAP];
    name_ca(name, m);
    const struct pi_cert_plan plan = {
        .common_name = name,
        .from_ns = m->now_ns - BEFORE,
        .until_ns = m->now_ns + DAYS_OF_CA * DAY,
    };
    int rc = pi_cert_make(&m->ca, &plan);
    if (rc == 0)
        rc = write_pem(&m->ca, KEY | CERT, m->ca_key_file);
    if (rc == 0)
        rc = write_pem(&m->ca, CERT, m->ca_file);
    m->made_ca = rc == 0;
    return rc;
}

/* What is in ca.pem has to be what the key signs for: others have been told to trust that file. */
static int check_copy(const struct maker *m)
{
    int rc = is_there(m->ca_file);
    if (rc <= 0)
        return rc < 0 ? rc : write_pem(&m->ca, CERT, m->ca_file);
    size_t len;
    char *text = pier_read_file(m->ca_file, PI_CERT_FILE_MAX, &len);
    if (!text)
        return pier_error_code();
    BIO *bio = BIO_new_mem_buf(text, (int)len);
    X509 *copy = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    bool is_same = copy && X509_cmp(copy, m->ca.x509) == 0;
    X509_free(copy);
    BIO_free(bio);
    ERR_clear_error();
    free(text);
    if (is_same)
        return 0;
    return pi_fail_text(-EBADMSG,
                        "cert create: %s is not the certificate in %s: remove the former to have "
                        "it written again",
                        m->ca_file, m->ca_key_file);
}

static int load_ca(struct maker *m)
{
    int rc = load(&m->ca, m->ca_key_file);
    if (rc == 1)
        return pi_fail_text(-EBADMSG,
                            "cert create: %s: it is damaged: no key with its certificate in it; "
                            "remove it, and ca.pem, to have another CA made",
                            m->ca_key_file);
    if (rc < 0)
        return rc;
    if (X509_check_ca(m->ca.x509) != 1)
        return pi_fail_text(-EBADMSG, "cert create: %s: its certificate is no CA's",
                            m->ca_key_file);
    if (!ends_soon(m, &m->ca))
        return check_copy(m);
    pi_cert_fini(&m->ca);
    return make_ca(m);
}

static int find_ca(struct maker *m)
{
    int rc = is_there(m->ca_key_file);
    if (rc != 0)
        return rc < 0 ? rc : load_ca(m);
    rc = is_there(m->ca_file);
    if (rc == 0)
        return make_ca(m);
    return rc < 0 ? rc
                  : pi_fail_text(-ENOENT,
                                 "cert create: %s is there, but its key is not (%s): remove the "
                                 "former to have another CA made",
                                 m->ca_file, m->ca_key_file);
}

/* ---- certificates ---- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int make_cert(struct maker *m)
{
    int days = m->opts.days > 0 ? m->opts.days : DAYS_DEFAULT;
    int64_t from_ns = m->now_ns - BEFORE;
    int64_t until_ns = least(m->now_ns + days * DAY, from_ns + DAYS_MAX * DAY);
    const struct pi_cert_plan plan = {
        .common_name = strlen(m->names[0]) <= 64 ? m->names[0] : NULL,
        .names = m->names,
        .name_count = m->name_count,
        .kind = m->opts.kind,
        .is_client = m->opts.is_client,
        .from_ns = from_ns,
        .until_ns = least(until_ns, pi_cert_time_ns(X509_get0_notAfter(m->ca.x509))),
        .issuer = &m->ca,
    };
    int rc = pi_cert_make(&m->cert, &plan);
    m->made_cert = rc == 0;
    return rc;
}

/* The key first: a server that reloads when the certificate changes finds both. */
static int create(struct maker *m)
{
    int rc = make_cert(m);
    if (rc == 0)
        rc = write_pem(&m->cert, KEY, m->key_file);
    return rc < 0 ? rc : write_pem(&m->cert, CERT, m->cert_file);
}

static int check_is_new(const char *path)
{
    int rc = is_there(path);
    return rc <= 0 ? rc : pi_fail_text(-EEXIST, "cert create: %s is there already", path);
}

/* Before anything is made: a mistake leaves nothing behind. */
static int name_files(struct maker *m)
{
    int rc = put_path(m->cert_file, m->prefix, ".pem");
    if (rc == 0)
        rc = put_path(m->key_file, m->prefix, "-key.pem");
    if (rc == 0 && !m->opts.replaces)
        rc = check_is_new(m->cert_file);
    if (rc == 0 && !m->opts.replaces)
        rc = check_is_new(m->key_file);
    return rc;
}

static void close_maker(struct maker *m)
{
    pi_cert_fini(&m->cert);
    pi_cert_fini(&m->ca);
    if (m->lock_fd >= 0)
        close(m->lock_fd);
}

static int create_job(void *arg)
{
    struct maker *m = arg;
    int rc = name_files(m);
    if (rc == 0)
        rc = open_folder(m);
    if (rc == 0)
        rc = find_ca(m);
    if (rc == 0)
        rc = create(m);
    close_maker(m);
    return rc;
}

/* ---- the machine's own ---- */

static bool is_for_all_names(const struct maker *m)
{
    for (int i = 0; i < m->name_count; i++)
        if (X509_check_host(m->cert.x509, m->names[i], 0, 0, NULL) != 1 &&
            X509_check_ip_asc(m->cert.x509, m->names[i], 0) != 1)
            return false;
    return true;
}

/* 1 when the one that is there will do; 0 when not; or a negative code. */
static int load_own(struct maker *m)
{
    int rc = is_there(m->cert_file);
    if (rc <= 0)
        return rc;
    rc = load(&m->cert, m->cert_file);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    bool will_do = !ends_soon(m, &m->cert) && is_for_all_names(m) &&
                   X509_verify(m->cert.x509, m->ca.key) == 1;
    ERR_clear_error();
    if (!will_do)
        pi_cert_fini(&m->cert);
    return will_do;
}

static int localhost_job(void *arg)
{
    struct maker *m = arg;
    int rc = open_folder(m);
    if (rc == 0)
        rc = put_path(m->cert_file, m->folder, "/localhost.pem");
    if (rc == 0)
        rc = put_path(m->key_file, m->folder, "/localhost.pem");
    if (rc == 0)
        rc = find_ca(m);
    if (rc == 0)
        rc = load_own(m);
    if (rc == 0)
        rc = make_cert(m);
    if (rc == 0 && m->made_cert)
        rc = write_pem(&m->cert, KEY | CERT, m->cert_file);
    close_maker(m);
    return rc < 0 ? rc : 0;
}

/* ---- calls ---- */

static int tell(struct pier_cert_files *files, const struct maker *m)
{
    *files = (struct pier_cert_files){
        .cert_file = pi_strdup(m->cert_file),
        .key_file = pi_strdup(m->key_file),
        .ca_file = pi_strdup(m->ca_file),
        .made_cert = m->made_cert,
        .made_ca = m->made_ca,
    };
    if (files->cert_file && files->key_file && files->ca_file)
        return 0;
    pier_cert_files_fini(files);
    return pi_fail(-ENOMEM, "cert create");
}

void pier_cert_files_fini(struct pier_cert_files *files)
{
    pi_free(files->cert_file);
    pi_free(files->key_file);
    pi_free(files->ca_file);
    *files = (struct pier_cert_files){ 0 };
}

static struct maker *begin(struct pier_cert_files *files)
{
    *files = (struct pier_cert_files){ 0 };
    if (io_is_simulated()) {
        pi_fail_text(-EOPNOTSUPP, "cert create: not in a simulation");
        return NULL;
    }
    struct maker *m = pi_zalloc(sizeof *m);
    if (!m) {
        pi_fail(-ENOMEM, "cert create");
        return NULL;
    }
    m->lock_fd = -1;
    m->now_ns = pi_unix_ns();
    if (pier_hostname(m->host, sizeof m->host) < 0)
        m->host[0] = '\0';
    return m;
}

static int finish(struct pier_cert_files *files, struct maker *m, pier_task_fn job)
{
    int rc = pier_offload(job, m);
    if (rc == 0)
        rc = tell(files, m);
    pi_free(m);
    return rc;
}

static int check_wishes(const char *const *names, int count, const struct pier_cert_opts *opts)
{
    if (count < 1 || count > PI_CERT_NAMES_MAX)
        return pi_fail_text(-EINVAL, "cert create: %d names: 1 to %d can be", count,
                            PI_CERT_NAMES_MAX);
    if (opts->days < 0 || opts->days > DAYS_MAX)
        return pi_fail_text(-EINVAL, "cert create: %d days: clients accept at most %d", opts->days,
                            DAYS_MAX);
    if ((unsigned)opts->kind > PIER_KEY_RSA)
        return pi_fail_text(-EINVAL, "cert create: there is no kind of key %d", (int)opts->kind);
    for (int i = 0; i < count; i++) {
        const char *why = pi_cert_name_fault(names[i], opts->is_client);
        if (why)
            return pi_fail_text(-EINVAL, "cert create: %.260s: %s", names[i], why);
    }
    return 0;
}

int pier_cert_create(struct pier_cert_files *files, const char *prefix, const char *const *names,
                     int count, const struct pier_cert_opts *opts)
{
    static const struct pier_cert_opts defaults;
    *files = (struct pier_cert_files){ 0 };
    if (!opts)
        opts = &defaults;
    int rc = check_wishes(names, count, opts);
    if (rc < 0)
        return rc;
    struct maker *m = begin(files);
    if (!m)
        return pier_error_code();
    m->prefix = prefix;
    m->names = names;
    m->name_count = count;
    m->opts = *opts;
    return finish(files, m, create_job);
}

int pier_cert_localhost(struct pier_cert_files *files)
{
    struct maker *m = begin(files);
    if (!m)
        return pier_error_code();
    const char *names[] = { "localhost", "127.0.0.1", "::1", m->host };
    bool has_host = pi_cert_name_fault(m->host, false) == NULL;
    m->names = names;
    m->name_count = has_host ? 4 : 3;
    return finish(files, m, localhost_job);
}
