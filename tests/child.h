/* SPDX-License-Identifier: MIT */
/*
 * child: a function run in a process of its own that may crash, and what it said on stderr. Also
 * which sanitizer this build has.
 */
#ifndef PIER_TESTS_CHILD_H
#define PIER_TESTS_CHILD_H

#include <check.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__has_feature)
#define CHILD_HAS(feature) __has_feature(feature)
#else
#define CHILD_HAS(feature) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || CHILD_HAS(address_sanitizer)
enum { HAVE_ASAN = 1 };
#else
enum { HAVE_ASAN = 0 };
#endif
#if defined(__SANITIZE_THREAD__) || CHILD_HAS(thread_sanitizer)
enum { HAVE_TSAN = 1 };
#else
enum { HAVE_TSAN = 0 };
#endif

struct child {
    int status; /* of waitpid(2) */
    char text[16384];
};

static inline void child_main(int err, void (*fn)(void))
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    dup2(err, STDERR_FILENO);
    fn();
    _exit(0);
}

/* Runs fn; a return is exit code 0. */
static inline void child_run(struct child *c, void (*fn)(void))
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        child_main(fds[1], fn);
    close(fds[1]);
    size_t len = 0;
    char spill[512];
    for (;;) {
        size_t room = sizeof c->text - 1 - len;
        ssize_t n = room ? read(fds[0], c->text + len, room) : read(fds[0], spill, sizeof spill);
        if (n <= 0)
            break;
        if (room)
            len += (size_t)n;
    }
    c->text[len] = '\0';
    close(fds[0]);
    ck_assert_int_eq(waitpid(pid, &c->status, 0), pid);
}

static inline int child_said(const struct child *c, const char *part)
{
    return strstr(c->text, part) != NULL;
}

/* Whether it ended by that signal; a sanitizer turns some into an exit code. */
static inline int child_died_of(const struct child *c, int number)
{
    if (HAVE_ASAN || HAVE_TSAN)
        return WIFSIGNALED(c->status) || WEXITSTATUS(c->status) != 0;
    return WIFSIGNALED(c->status) && WTERMSIG(c->status) == number;
}

#endif
