/* SPDX-License-Identifier: MIT */
/*
 * send_file.c - sends a file to receive_file, from where it broke off if it did.
 *
 * send_file FILE [URL]
 */
#include <pier/pier.h>

#include <fcntl.h>
#include <string.h>

static int hash(struct pier_file *file, char hex[PIER_SHA256_HEX_CAP])
{
    char buf[65536];
    unsigned char digest[PIER_SHA256_LEN];
    struct pier_sha256 h;
    ssize_t n;
    pier_sha256_init(&h);
    while ((n = pier_file_read(file, buf, sizeof buf)) > 0)
        pier_sha256_update(&h, buf, (size_t)n);
    int rc = pier_sha256_final(&h, digest);
    pier_sha256_hex(hex, digest);
    return n < 0 ? (int)n : rc;
}

/* A write that fails is not the last word: the reply says why the receiver left. */
static ssize_t copy(struct pier_file *file, struct pier_conn *c, long long at, long long len)
{
    char buf[65536];
    ssize_t n = 1;
    for (; at < len && n > 0; at += n) {
        size_t most = len - at < (long long)sizeof buf ? (size_t)(len - at) : sizeof buf;
        n = pier_file_read_at(file, buf, most, at);
        if (n == 0)
            return pier_error_set(-ENODATA, "file ends at byte %lld", at);
        if (n > 0 && pier_write(c, buf, (size_t)n) < 0)
            return 0;
    }
    return n;
}

static int send_file(struct pier_conn *c, struct pier_file *file, const char *name)
{
    char hex[PIER_SHA256_HEX_CAP], reply[1024];
    long long at;
    struct pier_file_stat stat;
    if (pier_file_stat(&stat, file) < 0 || hash(file, hex) < 0)
        return pier_error_code();
    pier_printf(c, "%s\n%lld\n%s\n", name, (long long)stat.size, hex);
    if (pier_read_line(c, reply, sizeof reply) < 0)
        return pier_error_code();
    if (sscanf(reply, "AT %18lld", &at) == 1) {
        fprintf(stderr, "sending %s from byte %lld of %lld\n", name, at, (long long)stat.size);
        pier_set_timeouts(c, 60000, 0); /* at the end the receiver waits for its disk */
        if (copy(file, c, at, stat.size) < 0 || pier_read_line(c, reply, sizeof reply) < 0)
            return pier_error_code();
    }
    return strcmp(reply, "OK") == 0 ? 0 : pier_error_set(-EREMOTEIO, "receiver: %s", reply);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return fputs("usage: send_file FILE [URL]\n", stderr), 2;
    const char *slash = strrchr(argv[1], '/'), *name = slash ? slash + 1 : argv[1];
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .read_timeout_ms = 5000 };
    struct pier_file *file = pier_file_open(argv[1], O_RDONLY, 0);
    if (!file)
        return pier_fail("send_file");
    struct pier_conn *c = pier_dial(argc > 2 ? argv[2] : "tcp://127.0.0.1:9000", &opts);
    int rc = c ? send_file(c, file, name) : pier_error_code();
    pier_close(c);
    pier_file_close(file);
    return rc < 0 ? pier_fail("send_file") : 0;
}
