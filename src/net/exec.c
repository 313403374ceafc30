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
#include "work/fork.h"

#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
    GRACE_MS = 1000 /* between the end of its input and the end of the child */
};

struct pi_child {
    struct pi_process process;
    struct pi_task *waiter; /* in pier_exec_wait() */
};

/* ---- the end of a child ---- */

/* The group outlives its leader until that is reaped, so the number is still the child's. */
static void kill_group(const struct pi_child *child)
{
    pid_t pid = child->process.pid;
    if (kill(-pid, SIGKILL) < 0)
        kill(pid, SIGKILL); /* it has made itself another group */
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
    if (!pi_process_ends_by(&child->process, pier_after(GRACE_MS * PIER_MILLISECOND))) {
        kill_group(child);
        bool ended = pi_process_ends_by(&child->process, INT64_MAX); /* nothing survives SIGKILL */
        PIER_ASSERT(ended);
    }
    pi_process_close(&child->process);
    c->child = NULL;
    pi_free(child);
}

static int wait_once(struct pi_child *child, int64_t deadline_ns)
{
    if (child->waiter)
        return -EBUSY;
    child->waiter = pi_task_self();
    int rc = pi_process_await(&child->process, deadline_ns < 0 ? 1 : deadline_ns);
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
    const struct pi_process *process = &child->process;
    while (!pi_process_reap(&child->process)) {
        int rc = wait_once(child, deadline_ns);
        if (rc < 0)
            return pi_fail(rc, "wait for command %d", (int)process->pid);
    }
    if (process->error)
        return pi_fail(process->error, "wait for command %d", (int)process->pid);
    if (status)
        *status = process->status;
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

static int start(struct pi_child *child, const char *command, int fd)
{
    pid_t pid;
    int rc = spawn_shell(&pid, command, fd);
    if (rc < 0)
        return rc;
    rc = pi_process_adopt(&child->process, pid);
    if (rc == 0)
        return 0;
    kill_group(child);
    pi_process_abandon(&child->process);
    return rc;
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
