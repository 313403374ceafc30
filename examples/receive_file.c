/* SPDX-License-Identifier: MIT */
/*
 * receive_file.c - receives files into a folder, one after the other.
 *
 * receive_file [URL] [FOLDER]. A sender says three lines, the file's name, length and SHA-256, is
 * told how much is here already, "AT 0", and sends the rest. That gathers in .SHA256.part, where a
 * transfer that broke off goes on. A file with the right digest gets its name: "OK". Else: "NO
 * why".
 */
#include <pier/pier.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct transfer {
    char name[256], digest[PIER_SHA256_HEX_CAP], part[80];
    long long len, at; /* bytes: in all, here */
    struct pier_file *file;
    struct pier_sha256 hash;
};

/* Names in this folder only, no hidden ones, and none that does things to a terminal. */
static bool is_harmless(const char *name)
{
    for (const char *p = name; *p; p++) {
        if (*p == '/' || *p == 127 || (unsigned char)*p < ' ')
            return false;
    }
    return *name != '\0' && *name != '.' && pier_utf8_valid(name, strlen(name));
}

static int read_header(struct pier_conn *c, struct transfer *t)
{
    char len[19];
    if (pier_read_line(c, t->name, sizeof t->name) < 0 || pier_read_line(c, len, sizeof len) < 0 ||
        pier_read_line(c, t->digest, sizeof t->digest) < 0)
        return pier_error_code();
    if (!is_harmless(t->name))
        return pier_error_set(-EINVAL, "file name");
    if (*len == '\0' || len[strspn(len, "0123456789")] != '\0')
        return pier_error_set(-EINVAL, "length");
    if (strspn(t->digest, "0123456789abcdef") != 2 * PIER_SHA256_LEN)
        return pier_error_set(-EINVAL, "digest");
    t->len = atoll(len);
    return 0;
}

/* The sender begins while what is here already is hashed. */
static int copy(struct pier_conn *c, struct transfer *t)
{
    char buf[65536];
    struct pier_file_stat stat;
    ssize_t n = pier_file_stat(&stat, t->file);
    t->at = n < 0 ? 0 : stat.size;
    if (n < 0 || pier_printf(c, "AT %lld\n", t->at) < 0)
        return pier_error_code();
    while ((n = pier_file_read(t->file, buf, sizeof buf)) > 0)
        pier_sha256_update(&t->hash, buf, (size_t)n);
    while (n >= 0 && t->at < t->len) {
        long long left = t->len - t->at;
        n = pier_read(c, buf, left < (long long)sizeof buf ? (size_t)left : sizeof buf);
        if (n == 0)
            return pier_error_set(-EPIPE, "%s: byte %lld of %lld", t->name, t->at, t->len);
        if (n > 0) {
            pier_sha256_update(&t->hash, buf, (size_t)n);
            n = pier_file_write(t->file, buf, (size_t)n);
            t->at += n > 0 ? n : 0;
        }
    }
    return n < 0 ? (int)n : pier_file_sync(t->file);
}

static int receive(struct pier_conn *c, struct transfer *t)
{
    unsigned char digest[PIER_SHA256_LEN];
    char hex[PIER_SHA256_HEX_CAP];
    int rc = read_header(c, t);
    if (rc < 0)
        return rc;
    snprintf(t->part, sizeof t->part, ".%s.part", t->digest);
    t->file = pier_file_open(t->part, O_RDWR | O_CREAT | O_NOFOLLOW, 0666);
    pier_sha256_init(&t->hash);
    if (!t->file || (rc = copy(c, t)) < 0 || (rc = pier_sha256_final(&t->hash, digest)) < 0)
        return pier_error_code();
    pier_sha256_hex(hex, digest);
    if (t->at != t->len || strcmp(hex, t->digest) != 0) {
        unlink(t->part);
        return pier_error_set(-EBADMSG, "%s: %lld bytes with SHA-256 %s", t->name, t->at, hex);
    }
    if (rename(t->part, t->name) < 0)
        return pier_error_set(-errno, "rename to %s", t->name);
    printf("%s %lld %s\n", t->name, t->len, hex);
    pier_puts(c, "OK\n");
    return 0;
}

static int answer(struct pier_conn *c, void *arg)
{
    struct transfer t = { 0 };
    fprintf(stderr, "connected: %s\n", pier_peer(c));
    int rc = receive(c, &t);
    fprintf(stderr, "%s: %s\n", rc < 0 ? pier_error() : "left", pier_peer(c));
    if (rc < 0)
        pier_printf(c, "NO %s\n", pier_error());
    pier_sha256_fini(&t.hash);
    pier_file_close(t.file);
    return 0;
}

int main(int argc, char **argv)
{
    const struct pier_serve_opts one_at_a_time = { .max_conns = 1, .read_timeout_ms = 5000 };
    setlinebuf(stdout);
    if (argc > 2 && chdir(argv[2]) < 0)
        return perror(argv[2]), 1;
    return pier_serve(argc > 1 ? argv[1] : "tcp://127.0.0.1:9000", answer, NULL, &one_at_a_time);
}
