/* SPDX-License-Identifier: MIT */
/*
 * files: a folder for a test, its files looked at with plain calls.
 *
 *     BOTH(something_about_files)
 *     {
 *         begin_folder();
 *         struct pier_file *f = pier_file_open(in_folder("a"), O_RDONLY, 0);
 *         ...
 *         end_folder();
 *     }
 */
#ifndef PIER_TESTS_FILES_H
#define PIER_TESTS_FILES_H

#include "both.h"

#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char folder[40];

/* In memory, where there is such a place: a test syncs often, and a busy disk takes its time. */
static void begin_folder(void)
{
    snprintf(folder, sizeof folder, "/dev/shm/pier-test-XXXXXX");
    if (mkdtemp(folder))
        return;
    snprintf(folder, sizeof folder, "/tmp/pier-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static int files_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

UNUSED_FN static void end_folder(void)
{
    ck_assert_int_eq(nftw(folder, files_remove, 8, FTW_DEPTH | FTW_PHYS), 0);
}

/* One of four texts that take turns. */
UNUSED_FN static const char *in_folder(const char *name)
{
    static char paths[4][PATH_MAX];
    static int turn;
    char *path = paths[turn++ % 4];
    ck_assert_int_lt(snprintf(path, PATH_MAX, "%s/%s", folder, name), PATH_MAX);
    return path;
}

/* How many names are in the folder. */
UNUSED_FN static int count_files(void)
{
    int count = -2; /* "." and ".." */
    DIR *dir = opendir(folder);
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

UNUSED_FN static void put(const char *path, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

UNUSED_FN static bool has(const char *path, const void *bytes, size_t len)
{
    char *got = malloc(len + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, got, len + 1);
    bool same = n == (ssize_t)len && (len == 0 || memcmp(got, bytes, len) == 0);
    close(fd);
    free(got);
    return same;
}

/* A disk of their own, of 64 KiB, for this process: before it has a ring, whose workers would stay
 * outside. (Valgrind takes a mount without a type for a bad pointer.) */
UNUSED_FN static void need_small_disk(const char *options)
{
    begin_folder();
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", "", MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("pier", folder, "tmpfs", 0, options) < 0)
        test_skip("a disk of one's own is not permitted");
}

UNUSED_FN static void end_small_disk(void)
{
    ck_assert_int_eq(umount(folder), 0);
    end_folder();
}

/* Runs as somebody who is not root, if need be, and in a process of its own: it gives up its rights
 * for good. Exit codes: 0 is success. */
UNUSED_FN static void as_somebody(void (*body)(void), bool in_a_task)
{
    enum { SOMEBODY = 4321 };
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        if (geteuid() == 0 &&
            (setgroups(0, NULL) < 0 || setgid(SOMEBODY) < 0 || setuid(SOMEBODY) < 0))
            _exit(2);
        if (in_a_task)
            both_in_a_task(body);
        else
            body();
        _exit(0);
    }
    int status = -1;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(status == 0, "the child ended with status %#x", (unsigned)status);
}

#define ck_assert_words(words) \
    ck_assert_msg(strstr(pier_error(), words), "\"%s\" is not in \"%s\"", words, pier_error())

/* The last failure had that code, and these words. */
UNUSED_FN static void failed(ssize_t rc, int code, const char *words)
{
    ck_assert_msg(rc == code, "%zd, \"%s\" in place of %d", rc, pier_error(), code);
    ck_assert_int_eq(pier_error_code(), code);
    ck_assert_words(words);
}

#endif
