/* SPDX-License-Identifier: MIT */
/*
 * net/exec.c - a child process as a connection: "sh -c command" with a socket pair as its standard
 * input and output, in a process group of its own.
 *
 * Invariant: a child that was started is reaped exactly once, by its number and never by
 * waitpid(-1), on every path; until then its pidfd is open and its number cannot be given to
 * another process. Specification: posix_spawn(3), pidfd_open(2).
 */
#define _GNU_SOURCE
#include "net/conn.h"

#include "base/assert.h"
#include "task/sockets.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    GRACE_MS = 1000,  /* between the end of its input and the end of the child */
    LOOK_AGAIN_MS = 5 /* where its end cannot be waited for: no descriptor for the wake-up */
};

struct pi_child {
    pid_t pid;
    struct io_fd end;       /* the pidfd: readable when the child has ended */
    struct pi_task *waiter; /* in pier_exec_wait() */
    bool reaped;
    int status; /* of waitpid(2), once reaped */
    int error;  /* why there is no status: somebody else reaped it */
};

/* ---- the end of a child ---- */

/* Whether the child has ended; then it is reaped. Never waits. */
static bool reap(struct pi_child *child)
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

static int await_end(struct pi_child *child, int64_t deadline_ns)
{
    struct io_op op = {
        .code = IO_POLL, .fd = &child->end, .len = POLLIN, .deadline_ns = deadline_ns
    };
    ssize_t ready = io_run(&op);
    return ready < 0 ? (int)ready : 0;
}

/* Whether the child ends before the innermost scope's deadline, cancelled or not from outside. */
static bool ends_in_time(struct pi_child *child)
{
    while (!reap(child)) {
        if (pier_cancelled() < 0)
            return false;
        int rc = await_end(child, 0);
        if (rc < 0 && rc != -ETIMEDOUT && rc != -ECANCELED)
            pier_sleep(LOOK_AGAIN_MS * PIER_MILLISECOND); /* cancelled: the next turn sees it */
    }
    return true;
}

static bool ends_within(struct pi_child *child, int64_t deadline_ns)
{
    struct pier_scope window;
    pier_shield(&window, deadline_ns);
    bool ended = ends_in_time(child);
    int rc = pier_scope_join(&window);
    PIER_ASSERT(rc == 0); /* nobody was spawned in it */
    return ended;
}

/* The group outlives its leader until that is reaped, so the number is still the child's. */
static void kill_group(const struct pi_child *child)
{
    if (kill(-child->pid, SIGKILL) < 0)
        kill(child->pid, SIGKILL); /* it has made itself another group */
}

static void end_waiter(struct pi_child *child)
{
    while (child->waiter) {
        pi_ready(child->waiter, -ECANCELED);
        pi_pass(pi_task_self());
    }
}

void pi_child_close(struct pier_conn *c)
{
    struct pi_child *child = c->child;
    io_close(&c->io);
    end_waiter(child);
    if (!ends_within(child, pier_after(GRACE_MS * PIER_MILLISECOND))) {
        kill_group(child);
        bool ended = ends_within(child, INT64_MAX); /* nothing survives SIGKILL */
        PIER_ASSERT(ended);
    }
    close(child->end.fd);
    c->child = NULL;
    pi_free(child);
}

static int wait_once(struct pi_child *child, int64_t deadline_ns)
{
    if (child->waiter)
        return -EBUSY;
    child->waiter = pi_task_self();
    int rc = await_end(child, deadline_ns < 0 ? 1 : deadline_ns);
    child->waiter = NULL;
    return rc;
}

int pier_exec_wait(struct pier_conn *c, int *status, int64_t deadline_ns)
{
    if (!c)
        return pi_conn_null();
    struct pi_child *child = c->child;
    if (!child)
        return pi_fail(-EINVAL, "wait for a command");
    while (!reap(child)) {
        int rc = wait_once(child, deadline_ns);
        if (rc < 0)
            return pi_fail(rc, "wait for command %d", (int)child->pid);
    }
    if (child->error)
        return pi_fail(child->error, "wait for command %d", (int)child->pid);
    if (status)
        *status = child->status;
    return 0;
}

/* ---- its beginning ---- */

/* A file action or attribute can only fail for lack of memory. */
static int describe_files(posix_spawn_file_actions_t *files, int fd)
{
    int rc = posix_spawn_file_actions_adddup2(files, fd, STDIN_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(files, fd, STDOUT_FILENO);
    if (rc == 0) /* other libraries' descriptors need not be close-on-exec */
        rc = posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
    return rc;
}

/* A group of its own, nothing blocked, nothing ignored: SIGPIPE above all. */
static int describe_process(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                POSIX_SPAWN_SETSIGDEF);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(attr, 0);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setsigdefault(attr, &all);
    return rc;
}

/* Starts sh with fd as its standard input and output: 0 or a negative code. */
static int spawn_shell(pid_t *pid, const char *command, int fd)
{
    char *argv[] = { "sh", "-c", (char *)command, NULL };
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    int rc = posix_spawn_file_actions_init(&files);
    if (rc)
        return -rc;
    rc = posix_spawnattr_init(&attr);
    if (rc == 0) {
        rc = describe_files(&files, fd);
        if (rc == 0)
            rc = describe_process(&attr);
        if (rc == 0)
            rc = posix_spawn(pid, "/bin/sh", &files, &attr, argv, environ);
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&files);
    return -rc;
}

/* A child that nothing is known of but its number: ends it and takes it off the list. */
static void abandon(struct pi_child *child)
{
    kill_group(child);
    while (waitpid(child->pid, &child->status, 0) < 0 && errno == EINTR)
        ;
}

static int start(struct pi_child *child, const char *command, int fd)
{
    int rc = spawn_shell(&child->pid, command, fd);
    if (rc < 0)
        return rc;
    int pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
    if (pidfd < 0) {
        rc = -errno;
        abandon(child);
        return rc;
    }
    io_fd_init(&child->end, pidfd);
    return 0;
}

static struct pier_conn *open_child(const char *command, int fds[2])
{
    struct pi_child *child = pi_zalloc(sizeof *child);
    struct pier_conn *c = child ? pi_conn_new(fds[0], &pi_unix, NULL, NULL) : NULL;
    if (!c) {
        pi_free(child);
        pi_fail(-ENOMEM, "run \"%s\"", command);
        return NULL;
    }
    int rc = start(child, command, fds[1]);
    if (rc == 0) {
        c->child = child;
        return c;
    }
    pi_free(child);
    pi_free(c);
    pi_fail(rc, "run \"%s\"", command);
    return NULL;
}

/* Our end does not block, the child's does: programs expect that of their standard input. */
struct pier_conn *pier_exec(const char *command)
{
    int fds[2];
    if (io_is_simulated()) {
        pi_fail(-EOPNOTSUPP, "run \"%s\" in a simulation", command);
        return NULL;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        pi_fail(-errno, "run \"%s\"", command);
        return NULL;
    }
    struct pier_conn *c = NULL;
    int on = 1;
    if (ioctl(fds[0], FIONBIO, &on) < 0)
        pi_fail(-errno, "run \"%s\"", command);
    else
        c = open_child(command, fds);
    if (!c)
        close(fds[0]);
    close(fds[1]);
    return c;
}
