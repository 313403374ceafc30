/* SPDX-License-Identifier: MIT */
/*
 * task/file_call.c - the system's calls on files, made in place or by an offload thread.
 *
 * Whatever is opened is opened without waiting: a FIFO without a writer or a serial line would keep
 * its thread for ever otherwise. A regular file then goes back to plain calls, since io_uring takes
 * O_NONBLOCK at its word and says EAGAIN where a file system would have to wait.
 */
#define _GNU_SOURCE
#include "task/file.h"

#include "task/offload.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

ssize_t io_file_opened(struct pi_file_call *call, int fd)
{
    int rc = fstat(fd, call->st);
    if (rc == 0 && S_ISREG(call->st->st_mode) && (call->flags & O_NONBLOCK))
        rc = fcntl(fd, F_SETFL, call->flags & (O_APPEND | O_ACCMODE));
    if (rc == 0)
        return fd;
    int code = -errno;
    close(fd);
    return code;
}

/* Who may not give files away keeps it: without the bits that lend the owner's rights, and without
 * those for a group that is another one now. */
static int set_owner(const struct pi_file_call *call)
{
    const uid_t same = (uid_t)-1;
    mode_t mode = call->st->st_mode & 07777;
    if (fchown(call->fd, call->st->st_uid, call->st->st_gid) < 0)
        mode &= fchown(call->fd, same, call->st->st_gid) < 0 ? 01707 : 01777;
    return fchmod(call->fd, mode);
}

static ssize_t call_once(const struct pi_file_call *call)
{
    size_t len = call->len < PI_FILE_MOST ? call->len : PI_FILE_MOST;
    switch (call->code) {
    case PI_FILE_OPEN:
        return openat(call->folder, call->path, call->flags, call->mode);
    case PI_FILE_READ:
        return pread(call->fd, call->buf, len, call->offset);
    case PI_FILE_WRITE:
        return pwrite(call->fd, call->buf, len, call->offset);
    case PI_FILE_SYNC:
        return call->flags & O_DSYNC ? fdatasync(call->fd) : fsync(call->fd);
    case PI_FILE_STAT:
        return stat(call->path, call->st);
    case PI_FILE_STAT_FD:
        return fstat(call->fd, call->st);
    case PI_FILE_READ_LINK:
        return readlink(call->path, call->buf, call->len);
    case PI_FILE_TRUNCATE:
        return ftruncate(call->fd, call->offset);
    case PI_FILE_SET_OWNER:
        return set_owner(call);
    case PI_FILE_RENAME:
        return renameat(call->folder, call->path, call->folder, call->to);
    default:
        return unlinkat(call->folder, call->path, 0);
    }
}

ssize_t io_file_call(struct pi_file_call *call)
{
    ssize_t n;
    do
        n = call_once(call);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return call->code == PI_FILE_OPEN ? io_file_opened(call, (int)n) : n;
}

static int work(void *arg)
{
    struct pi_file_call *call = arg;
    call->was_made = true;
    return (int)io_file_call(call);
}

ssize_t io_file_offload(struct pi_task *self, struct io_op *op)
{
    struct pi_file_call *call = op->buf;
    struct pi_offload_job job = { .fn = work, .arg = call };
    call->was_made = false;
    op->job = &job;
    ssize_t rc = io_offload(self, op);
    op->job = NULL;
    bool has_no_thread = rc < 0 && !call->was_made && rc != -ECANCELED && rc != -ETIMEDOUT;
    return has_no_thread ? io_file_call(call) : rc;
}

ssize_t pi_file_run(struct pi_file_call *call)
{
    struct io_op op = { .code = IO_FILE, .buf = call };
    return io_run(&op);
}
