/* SPDX-License-Identifier: MIT */
/*
 * work/fork.c - fork and wait; see fork.h.
 *
 * The child does nothing until the parent has its pidfd: it reads a pipe, and the end of that means
 * that the parent has failed or died. So a fork that fails has had no effect. A parent that dies
 * before the child has asked to die with it shows in getppid(2).
 */
#define _GNU_SOURCE
#include "work/fork.h"

#include "base/assert.h"
#include "task/offload.h"
#include "task/sockets.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    LEAVING_MS = 2000, /* for threads that have nothing left to do but end */
    LOOK_AGAIN_MS = 5, /* where an end cannot be waited for: no descriptor for the wake-up */
#if defined(PI_TSAN)
    FOREIGN_MAX = 1, /* the sanitizer's own, which knows about forks */
#else
    FOREIGN_MAX = 0,
#endif
};

/* ---- may we? ---- */

/* The kernel still counts a thread that has been joined, for a moment. */
static bool is_exiting(int tid)
{
    enum { PF_EXITING = 0x4 }; /* include/linux/sched.h; "flags" in proc_pid_stat(5) */
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    FILE *f = fopen(path, "re");
    if (!f)
        return true; /* it has gone meanwhile */
    char *got = fgets(line, sizeof line, f);
    fclose(f);
    char *name_end = got ? strrchr(line, ')') : NULL;
    unsigned flags = PF_EXITING;
    if (name_end)
        sscanf(name_end, ") %*c %*d %*d %*d %*d %*d %u", &flags);
    return flags & PF_EXITING;
}

/* Threads besides this one: those that stay; *leaving are those that are about to be gone. */
static int count_threads(int *leaving)
{
    int own = (int)syscall(SYS_gettid), staying = 0;
    *leaving = 0;
    DIR *dir = opendir("/proc/self/task");
    if (!dir)
        return pi_fail(-errno, "fork: count threads in /proc/self/task");
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        int tid = (int)strtol(entry->d_name, NULL, 10);
        if (tid <= 0 || tid == own)
            continue;
        if (pi_offload_has_left(tid) || is_exiting(tid))
            (*leaving)++;
        else
            staying++;
    }
    closedir(dir);
    return staying;
}

static int refuse_threads(int count)
{
    return pi_fail_text(-EBUSY, "fork: %d other thread%s this process", count,
                        count == 1 ? " runs in" : "s run in");
}

static int await_single_thread(void)
{
    int64_t until = pi_clock_ns() + LEAVING_MS * PIER_MILLISECOND;
    for (;;) {
        int leaving;
        int staying = count_threads(&leaving);
        if (staying < 0)
            return staying;
        if (staying > FOREIGN_MAX)
            return refuse_threads(staying);
        if (leaving == 0)
            return 0;
        if (pi_clock_ns() > until)
            return refuse_threads(leaving);
        poll(NULL, 0, 1); /* a failure only makes the wait busier */
    }
}

int pi_fork_prepare(void)
{
    if (io_is_simulated())
        return pi_fail(-EOPNOTSUPP, "fork in a simulation");
    int rings = io_ring_count();
    if (rings > 0)
        return pi_fail_text(-EBUSY, "fork: %d io_uring ring%s open in this process", rings,
                            rings == 1 ? " is" : "s are");
    pi_watchdog_hold();
    pi_offload_retire();
    int rc = await_single_thread();
    if (rc < 0)
        pi_watchdog_release();
    return rc;
}

void pi_fork_over(void)
{
    pi_watchdog_release();
}

/* ---- forking ---- */

static void default_signals(void)
{
    struct sigaction action, standard = { .sa_handler = SIG_DFL };
    for (int number = 1; number < NSIG; number++) {
        if (sigaction(number, NULL, &action) < 0)
            continue; /* libc's own */
        if ((action.sa_flags & SA_SIGINFO) ||
            (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN))
            sigaction(number, &standard, NULL);
    }
}

static bool may_begin(int fd)
{
    char byte;
    ssize_t n;
    do
        n = read(fd, &byte, 1);
    while (n < 0 && errno == EINTR);
    return n == 1;
}

/* The child: waits for the word to begin, then forgets what was the parent's. */
static pid_t begin(struct pi_process *child, int flags, pid_t parent, const int pipe_fds[2])
{
    close(pipe_fds[1]);
    bool dies = flags & PI_FORK_DIES_WITH_PARENT;
    if (dies && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        _exit(EXIT_FAILURE);
    if (!may_begin(pipe_fds[0]) || (dies && getppid() != parent))
        _exit(EXIT_FAILURE);
    close(pipe_fds[0]);
    *child = (struct pi_process){ .end.fd = -1 };
    pi_thread_after_fork();
    pi_offload_after_fork();
    pi_watch_after_fork();
    pi_signal_after_fork();
    if (flags & PI_FORK_DEFAULT_SIGNALS)
        default_signals();
    return 0;
}

/* The parent: the child begins once nothing can fail any more. */
static pid_t let_begin(struct pi_process *child, pid_t pid, int pipe_fds[2])
{
    int rc = pi_process_adopt(child, pid);
    ssize_t n = 1;
    if (rc == 0)
        do
            n = write(pipe_fds[1], "", 1);
        while (n < 0 && errno == EINTR);
    if (n < 0)
        rc = -errno;
    close(pipe_fds[1]);
    pipe_fds[1] = -1;
    if (rc == 0)
        return pid;
    if (child->end.fd >= 0)
        close(child->end.fd);
    pi_process_abandon(child); /* it ends by itself */
    return rc;
}

static pid_t fork_blocked(struct pi_process *child, int flags)
{
    int fds[2];
    pid_t parent = getpid();
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    fflush(NULL); /* or it would be written twice; what cannot be written is its owner's to find */
    pid_t pid = fork();
    if (pid == 0)
        return begin(child, flags, parent, fds);
    pid = pid < 0 ? -errno : let_begin(child, pid, fds);
    close(fds[0]);
    if (fds[1] >= 0)
        close(fds[1]);
    return pid;
}

pid_t pi_fork(struct pi_process *child, int flags)
{
    int rc = pi_fork_prepare();
    if (rc < 0)
        return rc;
    sigset_t all, mask;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &mask);
    pid_t pid = fork_blocked(child, flags);
    if (pid == 0)
        sigaddset(&mask, SIGPIPE);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    if (pid == 0)
        return 0;
    pi_fork_over();
    return pid < 0 ? pi_fail(pid, "fork") : pid;
}

void pi_fork_exit(int code)
{
    fflush(NULL);
    _exit(code);
}

/* ---- waiting ---- */

int pi_process_adopt(struct pi_process *child, pid_t pid)
{
    *child = (struct pi_process){ .pid = pid };
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    io_fd_init(&child->end, fd);
    return fd < 0 ? -errno : 0;
}

void pi_process_abandon(struct pi_process *child)
{
    pid_t pid;
    do
        pid = waitpid(child->pid, &child->status, 0);
    while (pid < 0 && errno == EINTR);
    child->reaped = true;
    child->end.fd = -1;
}

bool pi_process_reap(struct pi_process *child)
{
    if (child->reaped)
        return true;
    pid_t pid;
    do
        pid = waitpid(child->pid, &child->status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid == 0)
        return false;
    if (pid < 0)
        child->error = -errno; /* SIGCHLD is ignored, or a foreign waitpid(-1) */
    child->reaped = true;
    return true;
}

int pi_process_await(struct pi_process *child, int64_t deadline_ns)
{
    struct io_op op = {
        .code = IO_POLL, .fd = &child->end, .len = POLLIN, .deadline_ns = deadline_ns
    };
    ssize_t ready = io_run(&op);
    return ready < 0 ? (int)ready : 0;
}

/* Whether it ends before the innermost scope's deadline. */
static bool ends_in_scope(struct pi_process *child)
{
    while (!pi_process_reap(child)) {
        if (pier_cancelled() < 0)
            return false;
        int rc = pi_process_await(child, 0);
        if (rc < 0 && rc != -ETIMEDOUT && rc != -ECANCELED)
            pier_sleep(LOOK_AGAIN_MS * PIER_MILLISECOND); /* cancelled: the next turn sees it */
    }
    return true;
}

bool pi_process_ends_by(struct pi_process *child, int64_t deadline_ns)
{
    struct pier_scope window;
    pier_shield(&window, deadline_ns);
    bool ended = ends_in_scope(child);
    int rc = pier_scope_join(&window);
    PIER_ASSERT(rc == 0); /* nobody was spawned in it */
    return ended;
}

void pi_process_close(struct pi_process *child)
{
    io_close(&child->end);
}
