/* SPDX-License-Identifier: MIT */
/*
 * task/whole_file.c - files read and replaced as a whole.
 *
 * Replacing: the new bytes go into a temporary file beside the old one and are synced before its
 * name is changed, and the folder, which holds the names, is synced last. So a name never leads to
 * bytes that may still be lost, and a success is one that a power failure cannot take back. All is
 * done by way of the folder's descriptor: that it may be synced is known before anything is
 * replaced, and the folder stays the same if it is renamed meanwhile.
 */
#define _GNU_SOURCE
#include "task/file.h"

#include "task/sockets.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- reading ---- */

enum { FIRST_ROOM = 4096 }; /* for what has no size */

struct contents {
    char *bytes;
    size_t len, cap; /* one more is allocated, for the NUL */
};

static int make_room(struct contents *c, size_t cap)
{
    char *more = pi_realloc(c->bytes, cap + 1);
    if (!more)
        return -ENOMEM;
    c->bytes = more;
    c->cap = cap;
    return 0;
}

static int too_long(const char *path, size_t max_len, int64_t size)
{
    if (size > 0)
        return pi_fail_text(-EFBIG, "read %s: it has %" PRId64 " bytes, more than %zu", path, size,
                            max_len);
    return pi_fail_text(-EFBIG, "read %s: it has more than %zu bytes", path, max_len);
}

/* At its limit one byte more is asked for: whether the end is there. */
static int read_rest(struct contents *c, struct pier_file *f, const char *path, size_t max_len)
{
    for (;;) {
        if (c->len > max_len)
            return too_long(path, max_len, 0);
        size_t twice = c->cap < max_len / 2 ? 2 * c->cap : max_len + 1;
        int rc = c->len == c->cap ? make_room(c, twice) : 0;
        if (rc < 0)
            return pi_fail(rc, "read %s", path);
        ssize_t n = pier_file_read(f, c->bytes + c->len, c->cap - c->len);
        if (n <= 0)
            return (int)n;
        c->len += (size_t)n;
    }
}

/* The size is a first guess: the file may grow, and those of /proc say 0. A byte more than that
 * finds the end without another round. */
static int read_whole(struct contents *c, struct pier_file *f, const char *path, size_t max_len)
{
    struct pier_file_stat st;
    int rc = pier_file_stat(&st, f);
    if (rc < 0)
        return rc;
    bool has_size = S_ISREG(st.mode) && st.size > 0;
    if (has_size && (uint64_t)st.size > max_len)
        return too_long(path, max_len, st.size);
    size_t room = has_size ? (size_t)st.size : FIRST_ROOM;
    rc = make_room(c, (room < max_len ? room : max_len) + 1);
    return rc < 0 ? pi_fail(rc, "read %s", path) : read_rest(c, f, path, max_len);
}

char *pier_read_file(const char *path, size_t max_len, size_t *len)
{
    struct contents c = { 0 };
    if (len)
        *len = 0;
    if (max_len > SSIZE_MAX / 2)
        max_len = SSIZE_MAX / 2;
    struct pier_file *f = pier_file_open(path, O_RDONLY, 0);
    int rc = f ? read_whole(&c, f, path, max_len) : pier_error_code();
    pier_file_close(f);
    if (rc < 0) {
        pi_free(c.bytes);
        return NULL;
    }
    c.bytes[c.len] = '\0';
    if (len)
        *len = c.len;
    return pi_release(c.bytes);
}

/* ---- replacing ---- */

enum {
    LINKS_MAX = 40, /* that one path may lead through, as in path_resolution(7) */
    NAMES_MAX = 8,  /* of temporary files to try: two that are the same are a miracle */
    CLEAN_UP_S = 5, /* for removing it, cancelled or not */
};

struct replacement {
    const char *given;   /* the path, for words */
    char path[PATH_MAX]; /* without links at its end */
    const char *name;    /* in path: behind the folder */
    char temporary[NAME_MAX + 1];
    int folder, fd;
    struct stat old;
    bool is_new;       /* there is no old one */
    bool has_leftover; /* the temporary file is there */
    mode_t mode;       /* 0: the old one's, or a new file's */
};

static int failed(const struct replacement *r, ssize_t rc, const char *step)
{
    return pi_fail((int)rc, "write %s%s%s", r->given, *step ? ": " : "", step);
}

/* One link at the end of r->path: 1 when it was one, 0 when not. */
static int follow_link(struct replacement *r)
{
    char target[PATH_MAX];
    struct pi_file_call call = {
        .code = PI_FILE_READ_LINK, .path = r->path, .buf = target, .len = sizeof target
    };
    ssize_t n = pi_file_run(&call);
    if (n == -EINVAL || n == -ENOENT)
        return 0;
    if (n < 0)
        return (int)n;
    const char *slash = strrchr(r->path, '/');
    bool is_absolute = n > 0 && target[0] == '/';
    size_t kept = is_absolute || !slash ? 0 : (size_t)(slash + 1 - r->path);
    if (kept + (size_t)n >= sizeof r->path)
        return -ENAMETOOLONG;
    memcpy(r->path + kept, target, (size_t)n);
    r->path[kept + (size_t)n] = '\0';
    return 1;
}

static int find_name(struct replacement *r)
{
    size_t len = strlen(r->given);
    if (len == 0)
        return failed(r, -ENOENT, "");
    if (len >= sizeof r->path)
        return failed(r, -ENAMETOOLONG, "");
    memcpy(r->path, r->given, len + 1);
    int rc = 1;
    for (int links = 0; rc > 0; links++)
        rc = links > LINKS_MAX ? -ELOOP : follow_link(r);
    const char *slash = strrchr(r->path, '/');
    r->name = slash ? slash + 1 : r->path;
    if (rc == 0 && *r->name == '\0')
        rc = -EISDIR;
    return rc < 0 ? failed(r, rc, "") : 0;
}

static int look_at_old(struct replacement *r)
{
    struct pi_file_call call = { .code = PI_FILE_STAT, .path = r->path, .st = &r->old };
    ssize_t rc = pi_file_run(&call);
    r->is_new = rc == -ENOENT;
    if (rc < 0 && !r->is_new)
        return failed(r, rc, "");
    if (r->is_new || S_ISREG(r->old.st_mode))
        return 0;
    if (S_ISDIR(r->old.st_mode))
        return failed(r, -EISDIR, "");
    return pi_fail_text(-EINVAL, "write %s: it is no regular file", r->given);
}

static int open_folder(struct replacement *r)
{
    char folder[PATH_MAX] = ".";
    struct stat st;
    size_t len = (size_t)(r->name - r->path);
    if (len > 0) {
        memcpy(folder, r->path, len);
        folder[len] = '\0';
    }
    struct pi_file_call call = {
        .code = PI_FILE_OPEN,
        .folder = AT_FDCWD,
        .path = folder,
        .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
        .st = &st,
    };
    r->folder = (int)pi_file_run(&call);
    return r->folder < 0 ? failed(r, r->folder, "open its folder") : 0;
}

static void name_temporary(struct replacement *r)
{
    const int around = (int)strlen("."
                                   ".0123456789abcdef.tmp");
    uint64_t number;
    pi_random(&number, sizeof number);
    snprintf(r->temporary, sizeof r->temporary, ".%.*s.%016" PRIx64 ".tmp", NAME_MAX - around,
             r->name, number);
}

/* Nobody else can open it before it has its own mode. */
static int open_temporary(struct replacement *r, struct stat *st)
{
    struct pi_file_call call = {
        .code = PI_FILE_OPEN,
        .folder = r->folder,
        .path = r->temporary,
        .flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
        .mode = r->is_new && r->mode == 0 ? 0666 : 0600,
        .st = st,
    };
    r->fd = -EEXIST;
    for (int i = 0; i < NAMES_MAX && r->fd == -EEXIST; i++) {
        name_temporary(r);
        r->fd = (int)pi_file_run(&call);
    }
    r->has_leftover = r->fd != -EEXIST; /* it may have been made even if opening failed */
    return r->fd < 0 ? failed(r, r->fd, "open a temporary file") : 0;
}

static int set_owner(struct replacement *r, const struct stat *own)
{
    struct stat st = r->is_new ? *own : r->old;
    if (r->is_new && r->mode == 0)
        return 0;
    if (r->mode != 0)
        st.st_mode = r->mode;
    struct pi_file_call call = { .code = PI_FILE_SET_OWNER, .fd = r->fd, .st = &st };
    ssize_t rc = pi_file_run(&call);
    return rc < 0 ? failed(r, rc, "set its mode") : 0;
}

static int fill(struct replacement *r, const char *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = pi_file_write_some(r->fd, bytes + done, len - done, (int64_t)done);
        if (n < 0 && done > 0)
            return pi_fail((int)n, "write %s, after %zu of %zu bytes", r->given, done, len);
        if (n < 0)
            return failed(r, n, "");
        done += (size_t)n;
    }
    return 0;
}

static int sync_fd(int fd)
{
    struct pi_file_call call = { .code = PI_FILE_SYNC, .fd = fd };
    return (int)pi_file_run(&call);
}

static int put_in_place(struct replacement *r)
{
    struct pi_file_call call = {
        .code = PI_FILE_RENAME, .folder = r->folder, .path = r->temporary, .to = r->name
    };
    int rc = sync_fd(r->fd);
    if (rc < 0)
        return failed(r, rc, "sync");
    rc = (int)pi_file_run(&call);
    if (rc < 0)
        return failed(r, rc, "rename");
    r->has_leftover = false;
    rc = sync_fd(r->folder);
    if (rc == -EINVAL) /* a file system that has nothing to sync there */
        rc = 0;
    return rc < 0 ? failed(r, rc, "sync its folder") : 0;
}

/* If even that fails, the failure before is still the one to tell. */
static void remove_temporary(const struct replacement *r)
{
    struct pier_scope scope;
    struct pi_file_call call = { .code = PI_FILE_REMOVE,
                                 .folder = r->folder,
                                 .path = r->temporary };
    pier_shield(&scope, pier_after(CLEAN_UP_S * PIER_SECOND));
    pi_file_run(&call);
    pier_scope_join(&scope);
}

static int replace(struct replacement *r, const void *bytes, size_t len)
{
    struct stat own;
    int rc = find_name(r);
    if (rc == 0)
        rc = look_at_old(r);
    if (rc == 0)
        rc = open_folder(r);
    if (rc == 0)
        rc = open_temporary(r, &own);
    if (rc == 0)
        rc = set_owner(r, &own);
    if (rc == 0)
        rc = fill(r, bytes, len);
    return rc < 0 ? rc : put_in_place(r);
}

int pier_write_file(const char *path, const void *bytes, size_t len,
                    const struct pier_write_file_opts *opts)
{
    struct replacement r = { .given = path, .folder = -1, .fd = -1 };
    if (opts && (opts->mode & ~07777))
        return pi_fail(-EINVAL, "write %s: mode %#o", path, (unsigned)opts->mode);
    r.mode = opts ? (mode_t)opts->mode : 0;
    int rc = replace(&r, bytes, len);
    if (r.fd >= 0)
        io_sockets()->close(r.fd);
    if (r.has_leftover)
        remove_temporary(&r);
    if (r.folder >= 0)
        io_sockets()->close(r.folder);
    return rc;
}
