/* SPDX-License-Identifier: MIT */
/*
 * sim/file.c - the files of hosts: a disk that takes its time, fails, and forgets in a crash what
 * was not synced.
 *
 * Bytes and names are two matters, as on a disk. A file's bytes are safe when it was synced; until
 * then a crash leaves the old ones, the new ones, or the beginning of the new ones. Names change in
 * a journal: a folder's sync makes safe what changed there and everything before it; of the rest a
 * crash keeps the first few changes, never one without those before it, as journaling file systems
 * do. Folders are no more than the beginnings of names.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include "base/assert.h"
#include "task/file.h"
#include "task/offload.h"

#include <fcntl.h>
#include <string.h>

enum {
    FIRST_FILE_FD = 1 << 25, /* above those of sockets */
    PATH_CAP = 512,
    SIZE_MOST = 64 * 1024 * 1024, /* of one file: the disk is then full */
};

struct bytes {
    unsigned char *at;
    size_t len, cap;
};

/* Lives until the run ends, named or not. */
struct sim_inode {
    struct sim_inode *next;
    int id;
    mode_t mode;
    int64_t modified_ns;
    struct bytes now, safe;
    bool is_safe; /* both are the same */
    bool is_lost; /* a sync has failed: later ones do not see it, and nothing of it is safe */
};

struct sim_entry {
    struct sim_entry *next;
    struct sim_inode *now, *safe; /* NULL: there is no such name */
    char path[];
};

struct change {
    struct change *next;
    struct sim_entry *entries[2]; /* the second may be NULL */
    struct sim_inode *becomes[2];
};

struct sim_disk {
    struct sim_inode *inodes;
    struct sim_entry *entries;
    struct change *journal; /* oldest first */
    int inode_count, crashes;
};

/* Of one opening. */
struct sim_handle {
    struct pier_sim_host *host;
    struct sim_inode *inode; /* NULL: a folder */
    int crashes;             /* of the host, when it was opened */
    int flags;
    bool is_open;
    char path[];
};

/* ---- bytes ---- */

/* Makes b that long, with zeros where it grows. */
static int resize(struct bytes *b, size_t len)
{
    if (len > SIZE_MOST)
        return -ENOSPC;
    if (len > b->cap) {
        size_t cap = len < 2 * b->cap ? 2 * b->cap : len;
        unsigned char *more = pi_realloc(b->at, cap);
        if (!more)
            return -ENOMEM;
        b->at = more;
        b->cap = cap;
    }
    if (len > b->len)
        memset(b->at + b->len, 0, len - b->len);
    b->len = len;
    return 0;
}

static int copy(struct bytes *to, const struct bytes *from)
{
    int rc = resize(to, from->len);
    if (rc == 0 && from->len > 0)
        memcpy(to->at, from->at, from->len);
    return rc;
}

/* ---- names ---- */

/* From the root, single slashes, none at the end. */
static int full_path(char out[PATH_CAP], const char *folder, const char *path)
{
    char joined[2 * PATH_CAP];
    int n = snprintf(joined, sizeof joined, "%s/%s", *path == '/' ? "" : folder, path);
    size_t len = 0;
    if (n < 0 || (size_t)n >= sizeof joined)
        return -ENAMETOOLONG;
    for (const char *at = joined; *at;) {
        at += strspn(at, "/");
        size_t part = strcspn(at, "/");
        if (part > 0 && !(part == 1 && *at == '.')) {
            if (len + part + 2 > PATH_CAP)
                return -ENAMETOOLONG;
            out[len++] = '/';
            memcpy(out + len, at, part);
            len += part;
        }
        at += part;
    }
    out[len] = '\0';
    return 0;
}

static struct sim_entry *find(const struct sim_disk *disk, const char *path)
{
    struct sim_entry *e = disk->entries;
    while (e && strcmp(e->path, path) != 0)
        e = e->next;
    return e;
}

static struct sim_entry *find_or_add(struct sim_disk *disk, const char *path)
{
    struct sim_entry *e = find(disk, path);
    if (e)
        return e;
    size_t size = strlen(path) + 1;
    e = pi_zalloc(sizeof *e + size);
    if (!e)
        return NULL;
    memcpy(e->path, path, size);
    e->next = disk->entries;
    disk->entries = e;
    return e;
}

static bool is_in(const struct sim_entry *e, const char *folder, size_t len)
{
    return strncmp(e->path, folder, len) == 0 && e->path[len] == '/';
}

static bool is_folder(const struct sim_disk *disk, const char *path)
{
    for (const struct sim_entry *e = disk->entries; e; e = e->next)
        if (e->now && is_in(e, path, strlen(path)))
            return true;
    return *path == '\0';
}

/* Names change now, and in the journal. */
static int change_names(struct sim_disk *disk, const struct change *what)
{
    struct change *c = pi_alloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    *c = *what;
    c->next = NULL;
    struct change **at = &disk->journal;
    while (*at)
        at = &(*at)->next;
    *at = c;
    for (int i = 0; i < 2 && c->entries[i]; i++)
        c->entries[i]->now = c->becomes[i];
    return 0;
}

/* The oldest change is safe. */
static void commit_first(struct sim_disk *disk)
{
    struct change *c = disk->journal;
    disk->journal = c->next;
    for (int i = 0; i < 2 && c->entries[i]; i++)
        c->entries[i]->safe = c->becomes[i];
    pi_free(c);
}

static void commit_folder(struct sim_disk *disk, const char *folder)
{
    size_t len = strlen(folder);
    int count = 0, last = 0;
    for (const struct change *c = disk->journal; c; c = c->next) {
        count++;
        for (int i = 0; i < 2 && c->entries[i]; i++)
            if (is_in(c->entries[i], folder, len) && !strchr(c->entries[i]->path + len + 1, '/'))
                last = count;
    }
    while (last-- > 0)
        commit_first(disk);
}

/* ---- handles ---- */

static struct sim_handle *handle_of(int fd)
{
    int index = fd - FIRST_FILE_FD;
    if (index < 0 || index >= pi_sim->handle_count || !pi_sim->handles[index]->is_open)
        return NULL;
    return pi_sim->handles[index];
}

static int add_handle(struct pi_sim *sim, struct sim_handle *h)
{
    if (sim->handle_count == sim->handle_cap) {
        int cap = sim->handle_cap ? 2 * sim->handle_cap : 16;
        struct sim_handle **more = pi_realloc(sim->handles,
                                              (size_t)cap * sizeof(struct sim_handle *));
        if (!more)
            return -ENOMEM;
        sim->handles = more;
        sim->handle_cap = cap;
    }
    sim->handles[sim->handle_count] = h;
    return FIRST_FILE_FD + sim->handle_count++;
}

static int open_handle(struct pier_sim_host *host, struct sim_inode *inode, const char *path,
                       int flags)
{
    size_t size = strlen(path) + 1;
    struct sim_handle *h = pi_zalloc(sizeof *h + size);
    if (!h)
        return -ENOMEM;
    h->host = host;
    h->inode = inode;
    h->crashes = host->disk->crashes;
    h->flags = flags;
    h->is_open = true;
    memcpy(h->path, path, size);
    int fd = add_handle(pi_sim, h);
    if (fd < 0)
        pi_free(h);
    return fd;
}

bool pi_sim_close_file(int fd)
{
    struct sim_handle *h = handle_of(fd);
    if (!h)
        return false;
    h->is_open = false;
    pi_sim_event(SIM_EV_FILE, h->host, fd - FIRST_FILE_FD, "close %s", h->path);
    return true;
}

/* ---- the calls ---- */

static bool fails(enum pier_sim_fault kind)
{
    const struct pier_sim_faults *faults = &pi_sim->opts.faults;
    int ppm = kind == PIER_SIM_DESCRIPTORS ? faults->descriptors
              : kind == PIER_SIM_DISK_FULL ? faults->disk_full
                                           : faults->disk_error;
    return pi_sim_faulty(kind, ppm, pi_sim_here());
}

static void tell(struct stat *st, const struct pier_sim_host *host, const struct sim_inode *inode)
{
    *st = (struct stat){ .st_mode = S_IFDIR | 0755, .st_nlink = 1 };
    st->st_dev = (dev_t)host->index + 1;
    if (!inode)
        return;
    st->st_mode = S_IFREG | inode->mode;
    st->st_ino = (ino_t)inode->id;
    st->st_size = (off_t)inode->now.len;
    st->st_mtim = (struct timespec){ inode->modified_ns / PIER_SECOND,
                                     inode->modified_ns % PIER_SECOND };
}

static struct sim_inode *new_inode(struct sim_disk *disk, mode_t mode)
{
    struct sim_inode *inode = pi_zalloc(sizeof *inode);
    if (!inode)
        return NULL;
    inode->id = ++disk->inode_count;
    inode->mode = mode & ~(mode_t)022; /* the umask */
    inode->modified_ns = pi_unix_ns();
    inode->is_safe = true;
    inode->next = disk->inodes;
    disk->inodes = inode;
    return inode;
}

static int create(struct sim_disk *disk, const char *path, mode_t mode, struct sim_inode **inode)
{
    if (fails(PIER_SIM_DISK_FULL))
        return -ENOSPC;
    struct sim_entry *e = find_or_add(disk, path);
    *inode = e ? new_inode(disk, mode) : NULL;
    return *inode ? change_names(disk, &(struct change){ NULL, { e }, { *inode } }) : -ENOMEM;
}

static int set_size(struct sim_inode *inode, size_t len)
{
    int rc = resize(&inode->now, len);
    if (rc < 0)
        return rc;
    inode->is_safe = false;
    inode->modified_ns = pi_unix_ns();
    return 0;
}

static ssize_t open_file(struct pier_sim_host *host, const struct pi_file_call *call,
                         const char *path)
{
    struct sim_disk *disk = host->disk;
    const struct sim_entry *e = find(disk, path);
    struct sim_inode *inode = e ? e->now : NULL;
    bool wants_folder = call->flags & O_DIRECTORY;
    int rc = 0;
    if (fails(PIER_SIM_DESCRIPTORS))
        return -EMFILE;
    if (inode && wants_folder)
        return -ENOTDIR;
    if (inode && (call->flags & O_EXCL))
        return -EEXIST;
    if (!inode && !wants_folder && is_folder(disk, path))
        return -EISDIR;
    if (!inode && !wants_folder)
        rc = call->flags & O_CREAT ? create(disk, path, call->mode, &inode) : -ENOENT;
    else if (inode && (call->flags & O_TRUNC))
        rc = set_size(inode, 0);
    if (rc == 0)
        rc = open_handle(host, inode, path, call->flags);
    if (rc >= 0)
        tell(call->st, host, inode);
    return rc;
}

/* Now and then less than was asked for. */
static size_t some_of(size_t len)
{
    struct pi_sim *sim = pi_sim;
    bool is_short = len > 1 && pi_sim_one_in(&sim->disk, 4);
    size_t part = is_short ? 1 + (size_t)pi_sim_below(&sim->disk, len) : len;
    return pi_sim_is_calm(sim, SIM_SPLIT) ? len : part;
}

static ssize_t read_file(const struct sim_handle *h, const struct pi_file_call *call)
{
    const struct bytes *b = &h->inode->now;
    size_t at = (size_t)call->offset;
    size_t left = at < b->len ? b->len - at : 0;
    if (fails(PIER_SIM_DISK_ERROR))
        return -EIO;
    size_t n = some_of(call->len < left ? call->len : left);
    if (n > 0)
        memcpy(call->buf, b->at + at, n);
    return (ssize_t)n;
}

static ssize_t write_file(const struct sim_handle *h, const struct pi_file_call *call)
{
    struct bytes *b = &h->inode->now;
    size_t at = (size_t)call->offset;
    size_t n = some_of(call->len < PI_FILE_MOST ? call->len : PI_FILE_MOST);
    if (fails(PIER_SIM_DISK_ERROR))
        return -EIO;
    if (fails(PIER_SIM_DISK_FULL))
        return -ENOSPC;
    if (h->flags & O_APPEND)
        at = b->len;
    if (at > SIZE_MOST || n > SIZE_MOST - at)
        return -ENOSPC;
    int rc = set_size(h->inode, at + n > b->len ? at + n : b->len);
    if (rc < 0)
        return rc;
    memcpy(b->at + at, call->buf, n);
    return (ssize_t)n;
}

static int sync_file(struct sim_handle *h)
{
    struct sim_inode *inode = h->inode;
    bool error = fails(PIER_SIM_DISK_ERROR);
    if (!inode && !error)
        commit_folder(h->host->disk, h->path);
    if (inode && error && !inode->is_safe)
        inode->is_lost = true;
    if (error)
        return -EIO;
    if (!inode || inode->is_lost || inode->is_safe)
        return 0;
    int rc = copy(&inode->safe, &inode->now);
    inode->is_safe = rc == 0;
    return rc;
}

static int rename_file(struct pier_sim_host *host, const char *from, const char *to)
{
    struct sim_disk *disk = host->disk;
    struct sim_entry *a = find(disk, from);
    if (!a || !a->now)
        return -ENOENT;
    if (is_folder(disk, to))
        return -EISDIR;
    if (fails(PIER_SIM_DISK_ERROR))
        return -EIO;
    struct sim_entry *b = find_or_add(disk, to);
    if (!b)
        return -ENOMEM;
    return a == b ? 0 : change_names(disk, &(struct change){ NULL, { b, a }, { a->now, NULL } });
}

/* Never fails for a reason of the disk's: who cleans up can rely on it. */
static int remove_file(struct pier_sim_host *host, const char *path)
{
    struct sim_entry *e = find(host->disk, path);
    if (!e || !e->now)
        return is_folder(host->disk, path) ? -EISDIR : -ENOENT;
    return change_names(host->disk, &(struct change){ NULL, { e }, { NULL } });
}

static ssize_t call_with_fd(struct pier_sim_host *host, const struct pi_file_call *call)
{
    struct sim_handle *h = handle_of(call->fd);
    int access = h ? h->flags & O_ACCMODE : 0;
    bool reads = call->code == PI_FILE_READ;
    bool writes = call->code == PI_FILE_WRITE || call->code == PI_FILE_TRUNCATE;
    if (!h || (reads && access == O_WRONLY) || (writes && access == O_RDONLY))
        return -EBADF;
    if (h->crashes != host->disk->crashes || h->host != host)
        return -EIO;
    switch (call->code) {
    case PI_FILE_SYNC:
        return sync_file(h);
    case PI_FILE_STAT_FD:
        tell(call->st, host, h->inode);
        return 0;
    case PI_FILE_READ:
        return h->inode ? read_file(h, call) : -EISDIR;
    case PI_FILE_WRITE:
        return write_file(h, call);
    case PI_FILE_TRUNCATE:
        return call->offset > SIZE_MOST ? -ENOSPC : set_size(h->inode, (size_t)call->offset);
    default:
        h->inode->mode = call->st->st_mode & 07777;
        return 0;
    }
}

static ssize_t call_with_path(struct pier_sim_host *host, const struct pi_file_call *call)
{
    char path[PATH_CAP], to[PATH_CAP];
    const struct sim_handle *folder = handle_of(call->folder);
    int rc = full_path(path, folder ? folder->path : "", call->path);
    if (rc == 0 && call->code == PI_FILE_RENAME)
        rc = full_path(to, folder ? folder->path : "", call->to);
    if (rc < 0)
        return rc;
    const struct sim_entry *e = find(host->disk, path);
    switch (call->code) {
    case PI_FILE_OPEN:
        return open_file(host, call, path);
    case PI_FILE_RENAME:
        return rename_file(host, path, to);
    case PI_FILE_REMOVE:
        return remove_file(host, path);
    default: /* there are no links */
        if (!(e && e->now) && !is_folder(host->disk, path))
            return -ENOENT;
        if (call->code == PI_FILE_READ_LINK)
            return -EINVAL;
        tell(call->st, host, e ? e->now : NULL);
        return 0;
    }
}

static bool has_path(const struct pi_file_call *call)
{
    switch (call->code) {
    case PI_FILE_OPEN:
    case PI_FILE_STAT:
    case PI_FILE_READ_LINK:
    case PI_FILE_RENAME:
    case PI_FILE_REMOVE:
        return true;
    default:
        return false;
    }
}

static void record(const struct pier_sim_host *host, const struct pi_file_call *call, ssize_t n)
{
    static const char *const names[] = { "open",     "read",     "write", "sync",   "stat",  "stat",
                                         "readlink", "truncate", "chmod", "rename", "remove" };
    const struct sim_handle *h = has_path(call) ? NULL : handle_of(call->fd);
    const char *path = h ? h->path : has_path(call) ? call->path : "-";
    const char *name = names[call->code];
    bool moves = call->code == PI_FILE_READ || call->code == PI_FILE_WRITE;
    if (n < 0)
        pi_sim_event(SIM_EV_FILE, host, n, "%s %s: %s", name, path, pier_strerror((int)n));
    else if (moves)
        pi_sim_event(SIM_EV_FILE, host, n, "%s %s: %zd of %zu at %lld", name, path, n, call->len,
                     (long long)call->offset);
    else
        pi_sim_event(SIM_EV_FILE, host, 0, "%s %s", name, path);
}

static int make_call(void *arg)
{
    const struct pi_file_call *call = arg;
    struct pier_sim_host *host = pi_sim_here();
    pi_sim->quiet++;
    if (!host->disk)
        host->disk = pi_zalloc(sizeof *host->disk);
    ssize_t n = !host->disk      ? -ENOMEM
                : host->is_down  ? -EIO
                : has_path(call) ? call_with_path(host, call)
                                 : call_with_fd(host, call);
    pi_sim->quiet--;
    record(host, call, n);
    return (int)n;
}

/* Mostly soon, seldom not. */
static int64_t some_time(struct pi_sim *sim)
{
    bool is_long = pi_sim_one_in(&sim->disk, 32);
    int64_t ns = pi_sim_range(&sim->disk, 1000, (is_long ? 100 : 1) * PIER_MILLISECOND);
    return pi_sim_is_calm(sim, SIM_LATENCY) ? 1000 : ns;
}

ssize_t pi_sim_file(struct pi_sim *sim, struct pi_task *self, struct io_op *op)
{
    struct pi_offload_job job = { .arg = op->buf };
    int64_t queued = some_time(sim), work = some_time(sim);
    op->job = &job;
    ssize_t n = io_offload_here(self, op, queued, work, make_call);
    op->job = NULL;
    return n;
}

/* ---- crashes ---- */

/* What the disk has of a file that was not synced. */
static void crash_bytes(struct pi_sim *sim, struct sim_inode *inode)
{
    uint64_t what = pi_sim_below(&sim->disk, 3);
    size_t new_until = (size_t)pi_sim_below(&sim->disk, inode->now.len + 1);
    if (what == 0 || inode->is_lost) { /* the old ones: there is room for both */
        copy(&inode->now, &inode->safe);
    } else if (what == 1) { /* the beginning of the new ones, over the old ones or zeros */
        size_t old = inode->safe.len < inode->now.len ? inode->safe.len : inode->now.len;
        if (new_until < inode->now.len)
            memset(inode->now.at + new_until, 0, inode->now.len - new_until);
        if (old > new_until)
            memcpy(inode->now.at + new_until, inode->safe.at + new_until, old - new_until);
    }
    copy(&inode->safe, &inode->now);
    inode->is_safe = true;
    inode->is_lost = false;
}

void pi_sim_crash_files(struct pier_sim_host *host)
{
    struct pi_sim *sim = pi_sim;
    struct sim_disk *disk = host->disk;
    int changes = 0;
    if (!disk)
        return;
    sim->quiet++;
    disk->crashes++;
    for (const struct change *c = disk->journal; c; c = c->next)
        changes++;
    int64_t kept = pi_sim_range(&sim->disk, 0, changes);
    for (int64_t i = 0; i < kept; i++)
        commit_first(disk);
    while (disk->journal) {
        struct change *c = disk->journal;
        disk->journal = c->next;
        pi_free(c);
    }
    for (struct sim_entry *e = disk->entries; e; e = e->next)
        e->now = e->safe;
    for (struct sim_inode *inode = disk->inodes; inode; inode = inode->next)
        if (!inode->is_safe)
            crash_bytes(sim, inode);
    sim->quiet--;
    pi_sim_event(SIM_EV_FILE, host, changes - kept, "%lld of %d changes of names are lost",
                 (long long)(changes - kept), changes);
}

int pier_sim_files(struct pier_sim_host *host)
{
    int count = 0;
    if (!pi_sim || !host || !host->disk)
        return 0;
    for (const struct sim_entry *e = host->disk->entries; e; e = e->next)
        count += e->now != NULL;
    return count;
}

/* ---- the end ---- */

int pi_sim_open_files(const struct pi_sim *sim, char *words, size_t cap)
{
    int count = 0;
    for (int i = 0; i < sim->handle_count; i++) {
        const struct sim_handle *h = sim->handles[i];
        if (h->is_open && count++ == 0)
            snprintf(words, cap, "%s on %s", *h->path ? h->path : "/", h->host->names.name);
    }
    return count;
}

void pi_sim_free_handles(struct pi_sim *sim)
{
    for (int i = 0; i < sim->handle_count; i++)
        pi_free(sim->handles[i]);
    pi_free(sim->handles);
}

void pi_sim_free_disk(struct pier_sim_host *host)
{
    struct sim_disk *disk = host->disk;
    if (!disk)
        return;
    while (disk->journal)
        commit_first(disk);
    while (disk->entries) {
        struct sim_entry *e = disk->entries;
        disk->entries = e->next;
        pi_free(e);
    }
    while (disk->inodes) {
        struct sim_inode *inode = disk->inodes;
        disk->inodes = inode->next;
        pi_free(inode->now.at);
        pi_free(inode->safe.at);
        pi_free(inode);
    }
    pi_free(disk);
}
