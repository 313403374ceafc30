/* SPDX-License-Identifier: MIT */
/*
 * net/tls_file.c - the files of certificates and keys as bytes: read once, so that every worker can
 * make a context of them, also after the process has given up the right to read them.
 *
 * A file has changed when it is another one (device, inode), or has another size or change time.
 * Keys are overwritten before their memory is given back.
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MOST = 1 << 20 }; /* a bundle of all authorities of the world has 220 KiB */

static void note(int64_t seen[4], const struct stat *st)
{
    seen[0] = (int64_t)st->st_dev;
    seen[1] = (int64_t)st->st_ino;
    seen[2] = st->st_size;
    seen[3] = st->st_ctim.tv_sec * PIER_SECOND + st->st_ctim.tv_nsec;
}

static int read_all(struct pi_tls_file *f, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MOST)
        return S_ISDIR(st.st_mode) ? -EISDIR : -EFBIG;
    note(f->seen, &st);
    f->bytes = pi_alloc((size_t)st.st_size + 1);
    if (!f->bytes)
        return -ENOMEM;
    while (f->len < (size_t)st.st_size) {
        ssize_t n = read(fd, f->bytes + f->len, (size_t)st.st_size - f->len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        f->len += n > 0 ? (size_t)n : 0;
    }
    f->bytes[f->len] = '\0';
    return 0;
}

static int read_file(struct pi_tls_file *f, const char *what, const char *path)
{
    if (!path)
        return 0;
    f->path = pi_strdup(path);
    if (!f->path)
        return pi_fail(-ENOMEM, "tls: %s %s", what, path);
    int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int rc = fd < 0 ? -errno : read_all(f, fd);
    if (fd >= 0)
        close(fd);
    return rc < 0 ? pi_fail(rc, "tls: %s %s", what, path) : 0;
}

static int read_pair(struct pi_tls_pair *pair, const char *cert, const char *key, const char *ocsp)
{
    if (!cert || !key)
        return pi_fail_text(-EINVAL, "tls: %s %s is given without a %s",
                            cert ? "certificate" : "key",
                            cert  ? cert
                            : key ? key
                                  : "",
                            cert ? "key" : "certificate");
    int rc = read_file(&pair->cert, "certificate", cert);
    if (rc == 0)
        rc = read_file(&pair->key, "key", key);
    return rc == 0 ? read_file(&pair->ocsp, "OCSP response", ocsp) : rc;
}

int pi_tls_files_read(struct pi_tls_files *files, const struct pier_tls_opts *opts)
{
    *files = (struct pi_tls_files){ 0 };
    int more = opts->more_count > 0 ? opts->more_count : 0;
    bool has_own = opts->cert_file || opts->key_file;
    files->pairs = pi_zalloc(((size_t)more + 1) * sizeof *files->pairs);
    if (!files->pairs)
        return pi_fail(-ENOMEM, "tls");
    int rc = read_file(&files->ca, "authorities", opts->ca_file);
    if (rc == 0)
        rc = read_file(&files->client_ca, "authorities", opts->client_ca_file);
    if (rc == 0 && has_own)
        rc = read_pair(&files->pairs[files->count++], opts->cert_file, opts->key_file,
                       opts->ocsp_file);
    for (int i = 0; i < more && rc == 0; i++) {
        const struct pier_tls_cert *c = &opts->more_certs[i];
        rc = read_pair(&files->pairs[files->count++], c->cert_file, c->key_file, c->ocsp_file);
    }
    if (rc < 0)
        pi_tls_files_free(files);
    return rc;
}

static void free_file(struct pi_tls_file *f)
{
    if (f->bytes)
        OPENSSL_cleanse(f->bytes, f->len);
    pi_free(f->bytes);
    pi_free(f->path);
    *f = (struct pi_tls_file){ 0 };
}

void pi_tls_files_free(struct pi_tls_files *files)
{
    for (int i = 0; i < files->count; i++) {
        free_file(&files->pairs[i].cert);
        free_file(&files->pairs[i].key);
        free_file(&files->pairs[i].ocsp);
    }
    pi_free(files->pairs);
    free_file(&files->ca);
    free_file(&files->client_ca);
    *files = (struct pi_tls_files){ 0 };
}

/* One that is gone at the moment is about to be replaced. */
static bool has_changed(const struct pi_tls_file *f)
{
    struct stat st;
    int64_t seen[4];
    if (!f->path || stat(f->path, &st) < 0)
        return false;
    note(seen, &st);
    return memcmp(seen, f->seen, sizeof seen) != 0;
}

bool pi_tls_files_changed(const struct pi_tls_files *files)
{
    for (int i = 0; i < files->count; i++) {
        const struct pi_tls_pair *p = &files->pairs[i];
        if (has_changed(&p->cert) || has_changed(&p->key) || has_changed(&p->ocsp))
            return true;
    }
    return has_changed(&files->client_ca) || has_changed(&files->ca);
}
