/* SPDX-License-Identifier: MIT */
/*
 * net/tls_keylog.c - the secrets of sessions, for those who may read along: to the file that
 * SSLKEYLOGFILE names, in the format of that name, and to a function within the library.
 *
 * A line is one write to a file that is opened for appending, so processes may share it. A program
 * that runs with the rights of another user writes nothing (secure_getenv(3)).
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_CAP = 512 }; /* the longest has 30 characters and two numbers of 64 bytes */

static void (*_Atomic listener)(struct pier_conn *c, const char *line);
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int log_fd = -1;

static void open_log(void)
{
    const char *path = secure_getenv("SSLKEYLOGFILE");
    if (!path || !*path)
        return;
    log_fd = openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
    if (log_fd < 0)
        pier_log(PIER_LOG_WARN, "SSLKEYLOGFILE cannot be written", pier_str("file", path),
                 pier_str("error", pier_strerror(-errno)));
    else
        pier_log(PIER_LOG_WARN, "the secrets of TLS are written to a file", pier_str("file", path));
}

static void write_line(const char *text)
{
    char line[LINE_CAP];
    int len = snprintf(line, sizeof line, "%s\n", text);
    if (len > 0 && len < LINE_CAP && write(log_fd, line, (size_t)len) < 0)
        return; /* a full disk is no reason to end a connection */
}

static void has_secret(const SSL *ssl, const char *line)
{
    const struct pi_tls *t = SSL_get_app_data(ssl);
    void (*fn)(struct pier_conn * c, const char *line) = atomic_load(&listener);
    if (log_fd >= 0)
        write_line(line);
    if (fn && t)
        fn(t->conn, line);
}

void pi_tls_keylog(void (*fn)(struct pier_conn *c, const char *line))
{
    atomic_store(&listener, fn);
}

bool pi_tls_has_keylog(void)
{
    pthread_once(&once, open_log);
    return log_fd >= 0 || atomic_load(&listener);
}

void pi_tls_keylog_enable(SSL_CTX *ctx)
{
    if (pi_tls_has_keylog())
        SSL_CTX_set_keylog_callback(ctx, has_secret);
}
