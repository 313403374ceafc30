/* SPDX-License-Identifier: MIT */
/*
 * task/file.h - a call on a file, as the seam passes it (IO_FILE), and the calls of the system.
 *
 * A file is never "not ready": its calls take as long as the disk does, so a loop gives them away,
 * to the ring or to an offload thread. Once the system has begun with one it is waited for, also by
 * a cancelled caller: buffers and paths are the caller's, and what a call has done must be known.
 * Results are those of the system's call, or negative codes.
 */
#ifndef PI_TASK_FILE_H
#define PI_TASK_FILE_H

#include "task/io.h"

#include <sys/stat.h>

enum pi_file_code {
    PI_FILE_OPEN,      /* folder, path, flags, mode: a descriptor, and st of it */
    PI_FILE_READ,      /* fd, buf, len, offset */
    PI_FILE_WRITE,     /* the same; with O_APPEND at the end */
    PI_FILE_SYNC,      /* fd: with all its attributes, or in flags O_DSYNC: what reading needs */
    PI_FILE_STAT,      /* path: st of what it names */
    PI_FILE_STAT_FD,   /* fd: st */
    PI_FILE_READ_LINK, /* path, buf, len: length of the text, which is not terminated */
    PI_FILE_TRUNCATE,  /* fd, offset */
    PI_FILE_SET_OWNER, /* fd, st: its owner and mode, as far as they may be given */
    PI_FILE_RENAME,    /* folder, path, to: in the same folder */
    PI_FILE_REMOVE,    /* folder, path */
};

/* One read or write takes at most this much: a result fits an int. */
enum { PI_FILE_MOST = 1 << 30 };

struct pi_file_call {
    enum pi_file_code code;
    int fd;
    int folder; /* AT_FDCWD, or a folder's descriptor that path is relative to */
    const char *path, *to;
    int flags;
    mode_t mode;
    void *buf;
    size_t len;
    int64_t offset;
    struct stat *st;
    bool was_made; /* by an offload thread */
};

/* Waits for the call. */
ssize_t pi_file_run(struct pi_file_call *call);

/* Writes some of it without ever raising SIGXFSZ: how much, at least 1 byte; -EFBIG at the
 * process's limit. */
ssize_t pi_file_write_some(int fd, const void *bytes, size_t len, int64_t offset);

/* For backends: the call itself, in this thread, as long as it takes. */
ssize_t io_file_call(struct pi_file_call *call);

/* For backends: the call by an offload thread; in this one if there is none to be had. */
ssize_t io_file_offload(struct pi_task *self, struct io_op *op);

/* For backends: what belongs to opening, after the call itself: fd, or a negative code, and it is
 * closed. Neither waits for a disk. */
ssize_t io_file_opened(struct pi_file_call *call, int fd);

#endif
