/* SPDX-License-Identifier: MIT */
/*
 * task/file.c - open files.
 *
 * A regular file or a block device answers by itself: its calls go through the seam whole
 * (task/file.h). What waits for somebody else, a FIFO or a terminal, is a non-blocking descriptor
 * like a socket. Invariant: no call here can raise a signal (SIGXFSZ, SIGPIPE).
 *
 * The position is kept here. That of the descriptor is not moved by io_uring when a write comes to
 * the disk's end after some bytes (Linux 6.18): it says how many, and the next write would go over
 * them.
 */
#define _GNU_SOURCE
#include "task/file.h"

#include "task/sockets.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

struct pier_file {
    struct io_fd io;
    bool is_stored; /* on a disk */
    bool appends;
    bool awaits_first; /* a FIFO that nobody has written into yet: the end would be read */
    bool is_busy;      /* on a disk: somebody uses its position */
    int64_t position;
    char path[];
};

static int file_fail(const struct pier_file *f, ssize_t rc, const char *verb)
{
    return pi_fail((int)rc, "%s %s", verb, f->path);
}

/* ---- open and close ---- */

enum { FLAGS = O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_NOFOLLOW | O_SYNC | O_DSYNC };

static struct pier_file *new_file(const char *path)
{
    size_t size = strlen(path) + 1;
    struct pier_file *f = pi_zalloc(sizeof *f + size);
    if (f)
        memcpy(f->path, path, size);
    return f;
}

static int open_it(struct pier_file *f, int flags, int mode)
{
    struct stat st;
    struct pi_file_call call = {
        .code = PI_FILE_OPEN,
        .folder = AT_FDCWD,
        .path = f->path,
        .flags = flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
        .mode = (mode_t)mode,
        .st = &st,
    };
    int fd = (int)pi_file_run(&call);
    if (fd < 0)
        return fd;
    io_fd_init(&f->io, fd);
    if (S_ISDIR(st.st_mode)) {
        io_close(&f->io);
        return -EISDIR;
    }
    f->is_stored = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
    f->appends = flags & O_APPEND;
    f->awaits_first = S_ISFIFO(st.st_mode) && (flags & O_ACCMODE) == O_RDONLY;
    return 0;
}

struct pier_file *pier_file_open(const char *path, int flags, int mode)
{
    if ((flags & ~FLAGS) || (flags & O_ACCMODE) == O_ACCMODE || (mode & ~07777)) {
        pi_fail(-EINVAL, "open %s: flags %#o, mode %#o", path, (unsigned)flags, (unsigned)mode);
        return NULL;
    }
    struct pier_file *f = new_file(path);
    int rc = f ? open_it(f, flags, mode) : -ENOMEM;
    if (rc == 0)
        return f;
    pi_fail(rc, "open %s", path);
    pi_free(f);
    return NULL;
}

void pier_file_close(struct pier_file *f)
{
    if (!f)
        return;
    io_close(&f->io);
    pi_free(f);
}

/* ---- what waits for somebody else ---- */

/* Without a writer a FIFO that is opened so is at its end; it is not readable before one came. */
static int await_first(struct pier_file *f)
{
    struct io_op op = { .code = IO_POLL, .fd = &f->io, .len = POLLIN };
    ssize_t ready = f->awaits_first ? io_run(&op) : 0;
    if (ready < 0)
        return (int)ready;
    f->awaits_first = false;
    return 0;
}

static ssize_t read_stream(struct pier_file *f, void *buf, size_t len)
{
    struct io_op op = { .code = IO_READ, .fd = &f->io, .buf = buf, .len = len };
    int rc = await_first(f);
    return rc < 0 ? rc : io_run(&op);
}

static ssize_t write_stream(struct pier_file *f, const void *bytes, size_t len)
{
    struct iovec piece = { (void *)bytes, len };
    struct io_op op = { .code = IO_WRITEV, .fd = &f->io, .buf = &piece, .len = 1 };
    pi_sigpipe_hold();
    ssize_t n = io_run(&op);
    pi_sigpipe_release(n == -EPIPE);
    return n;
}

/* ---- reading and writing ---- */

/* How long a file may become: what goes beyond it would raise SIGXFSZ, which ends the process. */
static int64_t size_limit(void)
{
    struct rlimit limit;
    if (io_is_simulated() || getrlimit(RLIMIT_FSIZE, &limit) < 0)
        return INT64_MAX;
    return limit.rlim_cur < INT64_MAX ? (int64_t)limit.rlim_cur : INT64_MAX;
}

/* How much of len the limit allows. */
static size_t room_at(int fd, int64_t offset, size_t len)
{
    struct stat st;
    int64_t limit = size_limit();
    if (limit == INT64_MAX)
        return len;
    if ((fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &st) == 0)
        offset = st.st_size;
    int64_t room = limit - offset;
    return room <= 0 ? 0 : len < (size_t)room ? len : (size_t)room;
}

static ssize_t run(int fd, enum pi_file_code code, void *buf, size_t len, int64_t offset)
{
    struct pi_file_call call = { .code = code, .fd = fd, .buf = buf, .len = len, .offset = offset };
    return pi_file_run(&call);
}

ssize_t pi_file_write_some(int fd, const void *bytes, size_t len, int64_t offset)
{
    size_t room = room_at(fd, offset, len);
    if (room == 0)
        return -EFBIG;
    ssize_t n = run(fd, PI_FILE_WRITE, (void *)bytes, room, offset);
    return n == 0 ? -EIO : n; /* it would go on for ever */
}

/* Moves *offset on. */
static ssize_t write_all(struct pier_file *f, const char *bytes, size_t len, int64_t *offset)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = f->is_stored ? pi_file_write_some(f->io.fd, bytes + done, len - done, *offset)
                                 : write_stream(f, bytes + done, len - done);
        if (n < 0 && done > 0)
            return pi_fail((int)n, "write %s, after %zu of %zu bytes", f->path, done, len);
        if (n < 0)
            return file_fail(f, n, "write");
        done += (size_t)n;
        *offset += n;
    }
    return (ssize_t)len;
}

ssize_t pier_file_read(struct pier_file *f, void *buf, size_t len)
{
    if (!f)
        return pier_error_code();
    if (f->is_busy)
        return file_fail(f, -EBUSY, "read");
    f->is_busy = f->is_stored;
    ssize_t n = f->is_stored ? run(f->io.fd, PI_FILE_READ, buf, len, f->position)
                             : read_stream(f, buf, len);
    f->is_busy = false;
    if (n < 0)
        return file_fail(f, n, "read");
    f->position += n;
    return n;
}

ssize_t pier_file_write(struct pier_file *f, const void *bytes, size_t len)
{
    if (!f)
        return pier_error_code();
    if (f->is_busy)
        return file_fail(f, -EBUSY, "write");
    f->is_busy = f->is_stored;
    int64_t end = 0;
    ssize_t n = write_all(f, bytes, len, f->appends ? &end : &f->position);
    f->is_busy = false;
    return n;
}

static int check_offset(const struct pier_file *f, int64_t offset, const char *verb)
{
    if (!f->is_stored)
        return file_fail(f, -ESPIPE, verb);
    if (offset < 0)
        return pi_fail(-EINVAL, "%s %s at %lld", verb, f->path, (long long)offset);
    return 0;
}

ssize_t pier_file_read_at(struct pier_file *f, void *buf, size_t len, int64_t offset)
{
    if (!f)
        return pier_error_code();
    int rc = check_offset(f, offset, "read");
    if (rc < 0)
        return rc;
    ssize_t n = run(f->io.fd, PI_FILE_READ, buf, len, offset);
    return n < 0 ? file_fail(f, n, "read") : n;
}

ssize_t pier_file_write_at(struct pier_file *f, const void *bytes, size_t len, int64_t offset)
{
    if (!f)
        return pier_error_code();
    int rc = check_offset(f, offset, "write");
    return rc < 0 ? rc : write_all(f, bytes, len, &offset);
}

/* ---- the whole ---- */

int pier_file_sync(struct pier_file *f)
{
    if (!f)
        return pier_error_code();
    struct pi_file_call call = { .code = PI_FILE_SYNC, .fd = f->io.fd, .flags = O_DSYNC };
    ssize_t rc = pi_file_run(&call);
    return rc < 0 ? file_fail(f, rc, "sync") : 0;
}

int pier_file_truncate(struct pier_file *f, int64_t size)
{
    if (!f)
        return pier_error_code();
    ssize_t rc = size < 0 ? -EINVAL : size > size_limit() ? -EFBIG : 0;
    if (rc == 0)
        rc = run(f->io.fd, PI_FILE_TRUNCATE, NULL, 0, size);
    return rc < 0 ? file_fail(f, rc, "truncate") : 0;
}

int pier_file_stat(struct pier_file_stat *out, struct pier_file *f)
{
    *out = (struct pier_file_stat){ 0 };
    if (!f)
        return pier_error_code();
    struct stat st;
    struct pi_file_call call = { .code = PI_FILE_STAT_FD, .fd = f->io.fd, .st = &st };
    ssize_t rc = pi_file_run(&call);
    if (rc < 0)
        return file_fail(f, rc, "stat");
    *out = (struct pier_file_stat){
        .size = st.st_size,
        .modified_ns = (int64_t)st.st_mtim.tv_sec * PIER_SECOND + st.st_mtim.tv_nsec,
        .device = st.st_dev,
        .inode = st.st_ino,
        .mode = st.st_mode,
    };
    return 0;
}
