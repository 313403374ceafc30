/* SPDX-License-Identifier: MIT */
/*
 * net/networks.c - networks as options name them: themselves, or files with one a line.
 *
 * Files are read with plain calls, not by way of task/file.h: that has threads work for a loop, and
 * a process that forks must have none.
 */
#define _GNU_SOURCE
#include "net/networks.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MOST = 256 * 1024 * 1024 }; /* ten million networks: anything larger is no list */

bool pi_is_network(const char *text)
{
    return (text[0] >= '0' && text[0] <= '9') || strchr(text, ':') != NULL;
}

/* Reads up to size bytes: how many there were. What is added meanwhile changes the stamp, and is
 * read next time. */
static ssize_t read_all(int fd, char *bytes, size_t size)
{
    size_t len = 0;
    while (len < size) {
        ssize_t n = read(fd, bytes + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        len += (size_t)n;
    }
    return (ssize_t)len;
}

/* A file's bytes, to be freed; NULL and a negative *len with words. */
static char *read_open(int fd, const char *path, ssize_t *len, const char *what)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        *len = pi_fail(-errno, "%s: %s", what, path);
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MOST) {
        *len = pi_fail_text(-EINVAL, "%s: %s: %s", what, path,
                            S_ISREG(st.st_mode) ? "larger than 256 MiB" : "not a regular file");
        return NULL;
    }
    char *bytes = pi_alloc((size_t)st.st_size + 1);
    *len = bytes ? read_all(fd, bytes, (size_t)st.st_size) : -ENOMEM;
    if (*len >= 0)
        return bytes;
    pi_free(bytes);
    pi_fail((int)*len, "%s: %s", what, path);
    return NULL;
}

static char *read_file(const char *path, ssize_t *len, const char *what)
{
    int fd;
    do
        fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        *len = pi_fail(-errno, "%s: %s", what, path);
        return NULL;
    }
    char *bytes = read_open(fd, path, len, what);
    close(fd);
    return bytes;
}

static int add_network(struct pi_cidrs *all, const char *text, bool denies, const char *what)
{
    struct pi_cidr_fault fault;
    int rc = pi_cidrs_read(all, text, strlen(text), denies, &fault);
    if (rc == -EINVAL)
        return pi_fail_text(rc, "%s: \"%s\": %s", what, text, fault.why);
    return rc < 0 ? pi_fail(rc, "%s", what) : 0;
}

static int add_file(struct pi_cidrs *all, const char *path, bool denies, const char *what)
{
    struct pi_cidr_fault fault;
    ssize_t len;
    char *bytes = read_file(path, &len, what);
    if (!bytes)
        return (int)len;
    int rc = pi_cidrs_read(all, bytes, (size_t)len, denies, &fault);
    pi_free(bytes);
    if (rc == -EINVAL)
        return pi_fail_text(rc, "%s: %s:%zu:%zu: %s", what, path, fault.line, fault.column,
                            fault.why);
    return rc < 0 ? pi_fail(rc, "%s: %s", what, path) : 0;
}

int pi_networks_read(struct pi_cidrs *all, const char *text, bool denies, const char *what)
{
    return pi_is_network(text) ? add_network(all, text, denies, what)
                               : add_file(all, text, denies, what);
}
