/* SPDX-License-Identifier: MIT */
/*
 * pier/task.h - tasks, scopes, time, and what tasks and threads share.
 *
 * A scope owns the tasks spawned in it, may have a deadline, and can be cancelled. Tasks run on the
 * thread that spawned them and take turns whenever one of them waits. Everything here works on a
 * plain thread too: there a wait blocks the thread, and the first spawn makes the thread's own
 * stack the root task of a small loop, for as long as that scope is open.
 *
 * Cancellation is level-triggered: once a scope is cancelled (or its deadline has passed), every
 * call that may wait, of its owner and in every task of it, returns -ECANCELED (-ETIMEDOUT when the
 * nearest cancelled scope's own deadline passed) until the scope ends. A call that had already
 * completed returns its result. "Waits" below says which calls these are; pier_scope_join() is the
 * one that is not cancelled.
 */
#ifndef PIER_TASK_H
#define PIER_TASK_H

#include <pier/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct pi_task;
struct pi_thread;
struct pi_waiter;

/* A message to another thread's inbox. Private. */
struct pi_msg {
    struct pi_msg *next;
    void (*run)(struct pi_msg *msg);
};

/* ---- time ---- */

/* The monotonic clock, nanoseconds (CLOCK_MONOTONIC). */
PIER_API int64_t pier_now(void);

/* The deadline that lies ns from now; a negative ns means none, and gives 0. Every deadline_ns
 * below is such a point of time, and 0 means none. */
PIER_API int64_t pier_after(int64_t ns);

/* Waits ns nanoseconds; returns 0, or the cancellation's code at once. ns <= 0 only lets others
 * run. */
PIER_API int pier_sleep(int64_t ns);

/* Lets the loop's other tasks run. Returns 0, or the cancellation's code at once. */
PIER_API int pier_yield(void);

/* ---- scopes and tasks ---- */

typedef int (*pier_task_fn)(void *arg);

/* A scope lives in its owner's stack frame and nests strictly. Fields are private. */
struct pier_scope {
    struct pier_scope *parent;
    struct pi_task *owner;
    struct pi_task *first_child;
    struct pier_scope *next_cancelled;
    const char *file;
    char *error_text;
    int64_t deadline_ns, nearest_ns;
    int line, error_kind;
    int rc;
    bool is_open, shielded, joining;
    bool cancelled;   /* this scope or, shields apart, one around it */
    bool cancel_here; /* this one */
    int posted;       /* a remote cancellation is under way; atomic */
    struct pi_msg msg;
};

/* Opens a scope inside the task's innermost one. deadline_ns: 0 for none; the nearest of all
 * enclosing ones rules. Every scope must be joined before its function returns, the inner ones
 * first: a task that ends, or joins, with another scope open aborts, naming file and line. */
#define pier_scope_open(scope, deadline_ns) \
    pier_scope_open_at(scope, deadline_ns, __FILE__, __LINE__)
PIER_API void pier_scope_open_at(struct pier_scope *scope, int64_t deadline_ns, const char *file,
                                 int line);

/* Opens a scope that the cancellation and deadlines outside do not reach, for clean-up (a last
 * message, a roll-back) with a bound of its own, which must be given. Ends with pier_scope_join()
 * as any scope. */
#define pier_shield(scope, deadline_ns) pier_shield_at(scope, deadline_ns, __FILE__, __LINE__)
PIER_API void pier_shield_at(struct pier_scope *scope, int64_t deadline_ns, const char *file,
                             int line);

/* Starts a task that calls fn(arg) and is named after fn; pier_spawn_named() borrows name until the
 * task has ended. Any task of the scope's loop may call it, as long as the scope is open. Does not
 * wait; the task first runs when the caller waits. A negative return of fn is a failure: the first
 * one cancels the scope and is what pier_scope_join() returns, words included. Returns 0, or the
 * cause (-ENOMEM; -ECANCELED or -ETIMEDOUT in a cancelled scope), which is a failure as well. */
#define pier_spawn(scope, fn, arg) pier_spawn_named(scope, #fn, fn, arg)
PIER_API int pier_spawn_named(struct pier_scope *scope, const char *name, pier_task_fn fn,
                              void *arg);

/* Waits until every task of the scope has ended, then ends the scope. Returns 0, or the first
 * failure of a task: a cancelled scope whose tasks all returned 0 joins with 0. Always waits for
 * all: a cancellation from outside reaches the tasks, and join returns when they have ended. Only
 * the scope's owner may call it. -EINVAL when the scope has been joined. */
PIER_API int pier_scope_join(struct pier_scope *scope);

/* Cancels the scope: every wait in it, and in scopes and tasks inside it, ends, shielded ones
 * apart. Only on the scope's own thread. Does nothing to NULL and to a scope that has been joined.
 * Never waits. */
PIER_API void pier_scope_cancel(struct pier_scope *scope);

/* The same from any thread or signal handler; the caller sees to it that the scope is still open.
 */
PIER_API void pier_scope_cancel_remote(struct pier_scope *scope);

/* Cancels and joins an open scope, and does nothing to one that has been joined: PIER_SCOPE's
 * clean-up. What its tasks return is dropped, but a failure becomes the owner's last one. */
PIER_API void pier_scope_cleanup(struct pier_scope *scope);

/* Declares and opens a scope that is cancelled and joined on any way out of the block, if it has
 * not been joined. */
#define PIER_SCOPE(name, deadline_ns)                                    \
    struct pier_scope name __attribute__((cleanup(pier_scope_cleanup))); \
    pier_scope_open(&name, deadline_ns)

/* 0, or -ECANCELED or -ETIMEDOUT when the task's next wait would be cancelled: for long
 * computations. Never waits. */
PIER_API int pier_cancelled(void);

/* Names the running task (up to 31 bytes are kept), for dumps, the watchdog and overflow reports;
 * printf-style. */
PIER_API void pier_task_name(const char *fmt, ...) PIER_PRINTF(1, 2);

/* Writes a line for each task of every loop in the process, and for each thread of a PIER_THREADS
 * server: name, what it waits for, age, time to its deadline. Blocks the thread, for at most a
 * second, while others are busy. 0 or a negative code. */
PIER_API int pier_task_dump(FILE *out);

/* While a server runs, a task that keeps its loop from the others for longer than this is named in
 * the log, once. For the whole process; default 100 ms, 0: never. */
PIER_API void pier_watchdog(int threshold_ms);

/* ---- work for threads ---- */

/* Runs fn(arg) on one of a bounded number of threads (16) and waits for its result, which is the
 * call's, its error text included. Cancelled while fn is still queued, it returns at once; while fn
 * runs it waits for its end, since arg is the caller's. */
PIER_API int pier_offload(pier_task_fn fn, void *arg);

/* The same, but cancelled or past its deadline it returns at once. Whenever it returns a negative
 * code, arg is no longer the caller's: abandoned(arg) frees it, called as soon as fn has returned
 * (or instead of fn, if that had not begun), on whichever thread that is. */
PIER_API int pier_offload_abandon(pier_task_fn fn, void *arg, void (*abandoned)(void *arg));

/* ---- files ---- */

/* The calls below wait while the disk works, in the ring of io_uring or by the threads of
 * pier_offload(); on a thread without a loop they are the system's calls. Cancelled before the
 * system has begun with it, a call does nothing; what has begun is waited for and returns its
 * result: that of a local disk comes, that of a network file system whose server has gone may take
 * as long as the server does. Waiting for others (a FIFO's other end, a terminal) can be cancelled
 * at any time. */
struct pier_file;

/* Opens a file. flags: O_RDONLY, O_WRONLY or O_RDWR of open(2), with any of O_CREAT, O_EXCL,
 * O_TRUNC, O_APPEND, O_NOFOLLOW, O_DSYNC and O_SYNC; close-on-exec is always added. mode: the
 * permissions of a file that is created, less the umask. Waits, but for nobody else: a FIFO without
 * a writer is opened, and its first read waits for one; without a reader it is -ENXIO to open it
 * for writing. Directories are -EISDIR, other flags -EINVAL. NULL on failure. */
PIER_API struct pier_file *pier_file_open(const char *path, int flags, int mode) PIER_MUST_USE;

/* Closes the file and frees it; NULL is allowed. Nobody may be in a call on it. Never fails:
 * whether the disk has what was written, pier_file_sync() says. */
PIER_API void pier_file_close(struct pier_file *f);

/* Reads up to len bytes, from where the last read or write ended. Returns how many, 0 at the end,
 * or a negative code. Waits. -EBUSY while another task reads or writes so. */
PIER_API ssize_t pier_file_read(struct pier_file *f, void *buf, size_t len);

/* Writes all where the last read or write ended, or fails; the words of a failure say how much was
 * written then, if anything was. With O_APPEND it writes at the end, and leaves where reads go on.
 * Returns len or a negative code: -ENOSPC, -EDQUOT, -EIO, -EFBIG at the limit for the size of files
 * (RLIMIT_FSIZE; without a signal)… Waits. -EBUSY while another task reads or writes so. */
PIER_API ssize_t pier_file_write(struct pier_file *f, const void *bytes, size_t len);

/* The same at an offset, in bytes, which moves nothing: any number of tasks at a time. -ESPIPE for
 * what has no offsets; with O_APPEND Linux writes at the end all the same (pwrite(2)). */
PIER_API ssize_t pier_file_read_at(struct pier_file *f, void *buf, size_t len, int64_t offset);
PIER_API ssize_t pier_file_write_at(struct pier_file *f, const void *bytes, size_t len,
                                    int64_t offset);

/* Waits until what was written is on the disk, as fdatasync(2). 0 or a negative code, after which
 * what was written since the last sync may be lost: another sync would not notice. */
PIER_API int pier_file_sync(struct pier_file *f);

/* Makes the file that long: cuts it off, or adds zeros. 0 or a negative code. Waits. */
PIER_API int pier_file_truncate(struct pier_file *f, int64_t size);

struct pier_file_stat {
    int64_t size;           /* bytes */
    int64_t modified_ns;    /* since 1970 */
    uint64_t device, inode; /* together the file's identity */
    uint32_t mode;          /* kind and permissions, as st_mode of inode(7) */
};

/* What the file is now. 0 or a negative code. Waits. */
PIER_API int pier_file_stat(struct pier_file_stat *out, struct pier_file *f);

/* Reads a whole file, of any kind: pipes and what has no size, such as those of /proc, up to their
 * end. Returns its bytes with a NUL behind them, for the caller to free(3), and their number in
 * *len (NULL: not wanted); NULL on failure, -EFBIG for more than max_len bytes. Waits. */
PIER_API char *pier_read_file(const char *path, size_t max_len, size_t *len) PIER_MUST_USE;

struct pier_write_file_opts {
    int mode; /* permissions, exactly; 0: those that the file has, a new one 0666 less the umask */
};

/* Replaces a file by one with these bytes, or makes it, so that whoever reads it at any time, also
 * after a crash or power failure, finds the old bytes or the new ones, whole: written to a
 * temporary file in the same folder (.NAME.….tmp), synced, renamed, the folder synced. Owner and
 * group are kept as far as the process may give files away; other links to the old file keep the
 * old bytes. A symbolic link is followed, and stays; what is no regular file is not replaced
 * (-EISDIR, -EINVAL). Returns 0: the new bytes are on the disk; or a negative code: then the file
 * has the old bytes, or, if only the folder's sync failed or was cancelled, maybe the new ones. The
 * temporary file is removed on every failure, which may take 5 s longer than a cancellation; a
 * crash leaves it behind. opts may be NULL. Waits. */
PIER_API int pier_write_file(const char *path, const void *bytes, size_t len,
                             const struct pier_write_file_opts *opts);

/* ---- a foreign loop ---- */

/* A descriptor that is readable whenever pier_loop_step() has something to do, be it what the tasks
 * wait for or what the caller did between two steps (spawn, cancel, set an event), for a foreign
 * event loop. Only on a thread with an open scope that has had tasks, and in none of them; valid
 * until that scope ends; stays Pier's. Returns the descriptor or a negative code. */
PIER_API int pier_loop_fd(void);

/* Runs the tasks that can run and returns without waiting for others. Returns the number of tasks
 * alive, or -EINVAL where pier_loop_fd() would fail so. */
PIER_API int pier_loop_step(void);

/* Waits until fd, which stays the caller's, is ready for one of events (POLLIN, POLLOUT… of
 * poll(2)), at most until deadline_ns (0: no limit of its own). Returns the ready events, or a
 * negative code; -EBUSY when another task waits for the same fd on this loop, or, on epoll, a
 * connection that has waited there has it. */
PIER_API int pier_wait_fd(int fd, int events, int64_t deadline_ns);

/* Waits until one of signals, a list that ends with 0, has come, at most until deadline_ns (0: no
 * limit of its own). Returns its number, or a negative code: -EINVAL for a list that is empty or
 * has one that cannot be waited for (SIGKILL, SIGSTOP, faults), -EAGAIN when 64 wait already,
 * -EOPNOTSUPP in a simulation.
 *
 * From the first wait on, these signals do nothing else in this process: one that comes when nobody
 * waits is kept for the next wait, several of a number as one. Of several waiters one gets it, on
 * whichever thread. The signals are unblocked in the calling thread; any other thread may block
 * them or not. A server that takes SIGINT and SIGTERM (see no_signals) has them while it runs. */
PIER_API int pier_signal_wait(const int *signals, int64_t deadline_ns);

/* The name of the backend that new loops use, "epoll" or "io_uring", and, if asked, a sentence that
 * says why. Static texts. */
PIER_API const char *pier_backend(const char **why);

/* ---- synchronisation ---- */

/* Each of these is usable in any mix of tasks and threads; {0} is valid and means that. PIER_LOCAL
 * promises that only one loop uses it, and skips the atomics. Waiters are served in the order they
 * came; only a mutex may go to a thread that is awake ahead of one that has yet to wake up, until
 * that one has waited for half a millisecond. fini requires that nobody waits. */
enum { PIER_LOCAL = 1 };

struct pi_waitlist {
    struct pi_waiter *first, *last;
};

struct pier_mutex {
    uint32_t state, guard;
    int flags;
    uint32_t owner;
    struct pi_waitlist waiters;
};

PIER_API void pier_mutex_init(struct pier_mutex *m, int flags);
PIER_API void pier_mutex_fini(struct pier_mutex *m);
/* Waits until the mutex is the caller's. 0, or the cancellation's code, and then it is not. Not
 * recursive. */
PIER_API int pier_mutex_lock(struct pier_mutex *m);
/* 0, or -EBUSY. Never waits. */
PIER_API int pier_mutex_trylock(struct pier_mutex *m);
/* Never waits, never fails: the caller holds it. */
PIER_API void pier_mutex_unlock(struct pier_mutex *m);

struct pier_event {
    uint32_t state, guard;
    int flags;
    struct pi_waitlist waiters;
};

PIER_API void pier_event_init(struct pier_event *e, int flags);
PIER_API void pier_event_fini(struct pier_event *e);
/* Waits until the event is set; returns at once while it is. 0, or the cancellation's code. */
PIER_API int pier_event_wait(struct pier_event *e);
/* Sets it and wakes all waiters; it stays set until cleared. Never waits, never fails. */
PIER_API void pier_event_set(struct pier_event *e);
PIER_API void pier_event_clear(struct pier_event *e);
PIER_API bool pier_event_is_set(const struct pier_event *e);

struct pier_sem {
    uint32_t count, guard;
    int flags;
    struct pi_waitlist waiters;
};

/* count is below 2^31, and must stay so. */
PIER_API void pier_sem_init(struct pier_sem *s, uint32_t count, int flags);
PIER_API void pier_sem_fini(struct pier_sem *s);
/* Takes one, waiting until there is one. 0, or the cancellation's code, and then none was taken. */
PIER_API int pier_sem_wait(struct pier_sem *s);
/* 0, or -EAGAIN. Never waits. */
PIER_API int pier_sem_trywait(struct pier_sem *s);
/* Gives one. Never waits, never fails. */
PIER_API void pier_sem_post(struct pier_sem *s);

/* A queue of elements of one size, first in first out. With capacity 0 a sender meets a receiver.
 */
struct pier_chan {
    uint32_t guard;
    int flags;
    bool closed;
    size_t elem_size, cap, count, head;
    unsigned char *ring;
    struct pi_waitlist senders, receivers;
};

/* Makes room for capacity elements: 0, or -ENOMEM. fini frees it with the elements that are left
 * (their bytes: what they point to is the caller's). */
PIER_API int pier_chan_init(struct pier_chan *ch, size_t elem_size, size_t capacity, int flags);
PIER_API void pier_chan_fini(struct pier_chan *ch);
/* Copies *elem in, waiting while the channel is full. 0; -EPIPE when it is closed, or the
 * cancellation's code: then it was not sent. */
PIER_API int pier_chan_send(struct pier_chan *ch, const void *elem);
/* Copies the oldest element out, waiting while there is none. 1; 0 when the channel is closed and
 * empty; the cancellation's code. */
PIER_API int pier_chan_recv(struct pier_chan *ch, void *elem);
/* The same without waiting: -EAGAIN where they would. */
PIER_API int pier_chan_try_send(struct pier_chan *ch, const void *elem);
PIER_API int pier_chan_try_recv(struct pier_chan *ch, void *elem);
/* No more sends; receivers take what is left, then see the end. Twice is safe. Never waits. */
PIER_API void pier_chan_close(struct pier_chan *ch);

enum pier_select_op { PIER_SELECT_SEND, PIER_SELECT_RECV };

/* One alternative: send *elem to ch, or receive from ch into *elem. rc is set for the one chosen,
 * as send or recv would return. */
struct pier_select_case {
    struct pier_chan *ch;
    enum pier_select_op op;
    void *elem;
    int rc;
};

enum { PIER_SELECT_MAX = 16 };

/* Waits until exactly one of the cases has been done, at most until deadline_ns (0: no limit of its
 * own). Returns its index; -ETIMEDOUT, the cancellation's code: then none was done; -EINVAL for
 * more than PIER_SELECT_MAX cases. Where several can be done, the first in order is. */
PIER_API int pier_select(struct pier_select_case *cases, size_t count, int64_t deadline_ns);

#ifdef __cplusplus
}
#endif
#endif
