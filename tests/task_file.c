/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * Open files, in tasks of a loop and on threads without one: reading, writing, what fails and what
 * it says, FIFOs and devices, limits of the process, cancellation.
 */
#include "files.h"

#include <sys/resource.h>

static struct pier_file *must_open(const char *path, int flags)
{
    struct pier_file *f = pier_file_open(path, flags, 0644);
    ck_assert_msg(f != NULL, "%s", pier_error());
    return f;
}

/* ---- reading and writing ---- */

BOTH(what_was_written_is_read_back)
{
    enum { LEN = 3 * 1000 * 1000 };
    begin_folder();
    char *bytes = make_pattern(LEN, 1), *got = calloc(1, LEN + 1);
    struct pier_file *f = must_open(in_folder("a"), O_RDWR | O_CREAT);
    ck_assert_int_eq(pier_file_write(f, bytes, LEN), LEN);
    ck_assert_int_eq(pier_file_read(f, got, LEN), 0);
    ck_assert_int_eq(pier_file_sync(f), 0);
    pier_file_close(f);
    ck_assert(has(in_folder("a"), bytes, LEN));
    f = must_open(in_folder("a"), O_RDONLY);
    size_t len = 0;
    for (ssize_t n = 1; n > 0 && len <= LEN; len += n > 0 ? (size_t)n : 0) {
        n = pier_file_read(f, got + len, LEN + 1 - len);
        ck_assert_int_ge(n, 0);
    }
    ck_assert_uint_eq(len, LEN);
    ck_assert_mem_eq(got, bytes, LEN);
    pier_file_close(f);
    free(bytes);
    free(got);
    end_folder();
}

BOTH(offsets_move_nothing)
{
    char got[8] = "";
    begin_folder();
    struct pier_file *f = must_open(in_folder("a"), O_RDWR | O_CREAT);
    ck_assert_int_eq(pier_file_write(f, "0123456789", 10), 10);
    ck_assert_int_eq(pier_file_write_at(f, "XY", 2, 3), 2);
    ck_assert_int_eq(pier_file_read_at(f, got, 4, 2), 4);
    ck_assert_str_eq(got, "2XY5");
    ck_assert_int_eq(pier_file_read_at(f, got, 4, 8), 2);
    ck_assert_int_eq(pier_file_read_at(f, got, 4, 10), 0);
    ck_assert_int_eq(pier_file_read_at(f, got, 4, 1000), 0);
    ck_assert_int_eq(pier_file_write(f, "!", 1), 1);
    ck_assert_int_eq(pier_file_write_at(f, "far", 3, 20), 3);
    pier_file_close(f);
    ck_assert(has(in_folder("a"), "012XY56789!\0\0\0\0\0\0\0\0\0far", 23));
    end_folder();
}

BOTH(appending_writes_at_the_end)
{
    begin_folder();
    put(in_folder("a"), "one", 3);
    struct pier_file *f = must_open(in_folder("a"), O_WRONLY | O_APPEND);
    ck_assert_int_eq(pier_file_write(f, " two", 4), 4);
    int fd = open(in_folder("a"), O_WRONLY | O_APPEND | O_CLOEXEC);
    ck_assert_int_eq(write(fd, " three", 6), 6);
    close(fd);
    ck_assert_int_eq(pier_file_write(f, " four", 5), 5);
    pier_file_close(f);
    ck_assert(has(in_folder("a"), "one two three four", 18));
    end_folder();
}

BOTH(a_file_can_be_cut_off_and_made_longer)
{
    struct pier_file_stat st;
    begin_folder();
    put(in_folder("a"), "0123456789", 10);
    struct pier_file *f = must_open(in_folder("a"), O_RDWR);
    ck_assert_int_eq(pier_file_truncate(f, 4), 0);
    ck_assert_int_eq(pier_file_truncate(f, 6), 0);
    ck_assert_int_eq(pier_file_stat(&st, f), 0);
    ck_assert_int_eq(st.size, 6);
    failed(pier_file_truncate(f, -1), -EINVAL, "truncate /");
    pier_file_close(f);
    ck_assert(has(in_folder("a"), "0123\0\0", 6));
    end_folder();
}

BOTH(stat_says_what_a_file_is)
{
    struct pier_file_stat got;
    struct stat st;
    begin_folder();
    put(in_folder("a"), "abc", 3);
    ck_assert_int_eq(chmod(in_folder("a"), 0640), 0);
    struct pier_file *f = must_open(in_folder("a"), O_RDONLY);
    ck_assert_int_eq(pier_file_stat(&got, f), 0);
    ck_assert_int_eq(stat(in_folder("a"), &st), 0);
    ck_assert_int_eq(got.size, 3);
    ck_assert_uint_eq(got.mode, S_IFREG | 0640);
    ck_assert_uint_eq(got.inode, st.st_ino);
    ck_assert_uint_eq(got.device, st.st_dev);
    ck_assert_int_eq(got.modified_ns,
                     (int64_t)st.st_mtim.tv_sec * PIER_SECOND + st.st_mtim.tv_nsec);
    pier_file_close(f);
    end_folder();
}

/* ---- opening ---- */

static void cannot_open(const char *path, int flags, int code, const char *words)
{
    ck_assert_ptr_null(pier_file_open(path, flags, 0644));
    failed(pier_error_code(), code, words);
    ck_assert_words(path);
}

BOTH(what_cannot_be_opened_is_named)
{
    begin_folder();
    int before = open_fds();
    put(in_folder("a"), "", 0);
    ck_assert_int_eq(symlink("a", in_folder("link")), 0);
    cannot_open(in_folder("none"), O_RDONLY, -ENOENT, "open /");
    cannot_open(in_folder("none"), O_RDONLY, -ENOENT, "/none: no such file or directory");
    cannot_open(in_folder("a"), O_WRONLY | O_CREAT | O_EXCL, -EEXIST, "file exists");
    cannot_open(in_folder("a/b"), O_RDONLY, -ENOTDIR, "not a directory");
    cannot_open(in_folder("link"), O_RDONLY | O_NOFOLLOW, -ELOOP, "links");
    cannot_open(folder, O_RDONLY, -EISDIR, "is a directory");
    cannot_open(folder, O_RDWR, -EISDIR, "is a directory");
    cannot_open(in_folder("a"), O_RDONLY | O_PATH, -EINVAL, "flags 010000000, mode 0644");
    cannot_open(in_folder("a"), O_RDONLY | O_NONBLOCK, -EINVAL, "flags");
    ck_assert_ptr_null(pier_file_open(in_folder("b"), O_WRONLY | O_CREAT, -1));
    failed(pier_error_code(), -EINVAL, "mode");
    ck_assert_int_eq(open_fds(), before);
    ck_assert_int_eq(count_files(), 2);
    end_folder();
}

BOTH(a_created_file_has_its_mode_less_the_umask)
{
    struct stat st;
    begin_folder();
    umask(027);
    struct pier_file *f = pier_file_open(in_folder("a"), O_WRONLY | O_CREAT, 0666);
    ck_assert_ptr_nonnull(f);
    pier_file_close(f);
    ck_assert_int_eq(stat(in_folder("a"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    umask(022);
    end_folder();
}

BOTH(a_descriptor_is_not_passed_on_to_programs)
{
    begin_folder();
    int lowest = dup(0);
    close(lowest);
    struct pier_file *f = must_open(in_folder("a"), O_WRONLY | O_CREAT);
    ck_assert_int_eq(fcntl(lowest, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(fcntl(lowest, F_GETFL) & O_NONBLOCK, 0);
    pier_file_close(f);
    ck_assert_int_eq(fcntl(lowest, F_GETFD), -1);
    end_folder();
}

BOTH(the_access_asked_for_is_all_there_is)
{
    char byte;
    begin_folder();
    put(in_folder("a"), "abc", 3);
    struct pier_file *f = must_open(in_folder("a"), O_RDONLY);
    failed(pier_file_write(f, "x", 1), -EBADF, "write /");
    pier_file_close(f);
    f = must_open(in_folder("a"), O_WRONLY);
    failed(pier_file_read(f, &byte, 1), -EBADF, "read /");
    failed(pier_file_read_at(f, &byte, 1, 0), -EBADF, "read /");
    failed(pier_file_read_at(f, &byte, 1, -1), -EINVAL, " at -1");
    pier_file_close(f);
    ck_assert(has(in_folder("a"), "abc", 3));
    end_folder();
}

BOTH(the_failure_of_opening_is_that_of_all_calls)
{
    char byte;
    struct pier_file_stat st;
    struct pier_file *f = pier_file_open("/nonexistent/file", O_RDONLY, 0);
    ck_assert_int_eq(pier_file_read(f, &byte, 1), -ENOENT);
    ck_assert_int_eq(pier_file_write(f, &byte, 1), -ENOENT);
    ck_assert_int_eq(pier_file_read_at(f, &byte, 1, 0), -ENOENT);
    ck_assert_int_eq(pier_file_write_at(f, &byte, 1, 0), -ENOENT);
    ck_assert_int_eq(pier_file_sync(f), -ENOENT);
    ck_assert_int_eq(pier_file_truncate(f, 0), -ENOENT);
    ck_assert_int_eq(pier_file_stat(&st, f), -ENOENT);
    pier_file_close(f);
    ck_assert_str_eq(pier_error(), "open /nonexistent/file: no such file or directory");
}

/* ---- FIFOs and devices ---- */

static void *write_hello(void *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC); /* waits for the reader */
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "hello", 5), 5);
    close(fd);
    return NULL;
}

BOTH(a_fifo_is_read_when_a_writer_has_come)
{
    char got[16] = "", path[PATH_MAX];
    struct pier_scope scope;
    pthread_t writer;
    begin_folder();
    snprintf(path, sizeof path, "%s", in_folder("fifo"));
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    struct pier_file *f = must_open(path, O_RDONLY);
    pier_scope_open(&scope, pier_after(5 * PIER_MILLISECOND));
    failed(pier_file_read(f, got, sizeof got), -ETIMEDOUT, "read /");
    pier_scope_join(&scope);
    ck_assert_int_eq(pthread_create(&writer, NULL, write_hello, path), 0);
    ck_assert_int_eq(pier_file_read(f, got, sizeof got), 5);
    ck_assert_str_eq(got, "hello");
    ck_assert_int_eq(pier_file_read(f, got, sizeof got), 0);
    pthread_join(writer, NULL);
    pier_file_close(f);
    end_folder();
}

BOTH(a_fifo_without_a_reader_is_not_written)
{
    static char zeros[100 * 1000];
    begin_folder();
    ck_assert_int_eq(mkfifo(in_folder("fifo"), 0600), 0);
    cannot_open(in_folder("fifo"), O_WRONLY, -ENXIO, "no such device or address");
    int reader = open(in_folder("fifo"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct pier_file *f = must_open(in_folder("fifo"), O_WRONLY);
    failed(pier_file_write_at(f, "x", 1, 0), -ESPIPE, "illegal seek");
    ck_assert_int_eq(pier_file_write(f, "x", 1), 1);
    struct pier_scope scope;
    pier_scope_open(&scope, pier_after(5 * PIER_MILLISECOND));
    failed(pier_file_write(f, zeros, sizeof zeros), -ETIMEDOUT, " of 100000 bytes: timed out");
    pier_scope_join(&scope);
    close(reader);
    failed(pier_file_write(f, "x", 1), -EPIPE, "broken pipe"); /* no SIGPIPE: the test goes on */
    pier_file_close(f);
    end_folder();
}

BOTH(devices_are_files)
{
    char zeros[10000], ones[10000];
    memset(ones, 1, sizeof ones);
    struct pier_file *f = must_open("/dev/zero", O_RDONLY);
    ck_assert_int_eq(pier_file_read(f, ones, sizeof ones), sizeof ones);
    memset(zeros, 0, sizeof zeros);
    ck_assert_mem_eq(ones, zeros, sizeof zeros);
    pier_file_close(f);
    f = must_open("/dev/full", O_WRONLY);
    failed(pier_file_write(f, "x", 1), -ENOSPC, "write /dev/full: no space left on device");
    pier_file_close(f);
}

/* ---- limits ---- */

static void limit(int what, rlim_t most)
{
    struct rlimit r;
    ck_assert_int_eq(getrlimit(what, &r), 0);
    r.rlim_cur = most == RLIM_INFINITY ? r.rlim_max : most;
    ck_assert_int_eq(setrlimit(what, &r), 0);
}

BOTH(the_limit_for_the_size_of_files_is_an_error_and_no_signal)
{
    enum { MOST = 1000 * 1000 }; /* libcheck writes a little into a file, too */
    static char bytes[5 * MOST];
    struct pier_file_stat st;
    begin_folder();
    limit(RLIMIT_FSIZE, MOST);
    struct pier_file *f = must_open(in_folder("a"), O_WRONLY | O_CREAT);
    failed(pier_file_write(f, bytes, sizeof bytes), -EFBIG,
           "after 1000000 of 5000000 bytes: file too");
    failed(pier_file_write(f, "x", 1), -EFBIG, "file too large");
    failed(pier_file_write_at(f, bytes, 200, MOST - 100), -EFBIG, "after 100 of 200 bytes");
    failed(pier_file_truncate(f, MOST + 1), -EFBIG, "truncate");
    ck_assert_int_eq(pier_file_truncate(f, MOST - 1), 0);
    pier_file_close(f);
    f = must_open(in_folder("a"), O_WRONLY | O_APPEND);
    failed(pier_file_write(f, "xyz", 3), -EFBIG, "after 1 of 3 bytes");
    ck_assert_int_eq(pier_file_stat(&st, f), 0);
    ck_assert_int_eq(st.size, MOST);
    pier_file_close(f);
    limit(RLIMIT_FSIZE, RLIM_INFINITY);
    end_folder();
}

BOTH(without_descriptors_nothing_is_opened)
{
    begin_folder();
    put(in_folder("a"), "abc", 3);
    pier_file_close(must_open(in_folder("a"), O_RDONLY)); /* the thread has its eventfd */
    limit(RLIMIT_NOFILE, 3);
    cannot_open(in_folder("a"), O_RDONLY, -EMFILE, "too many open files");
    limit(RLIMIT_NOFILE, 1024);
    pier_file_close(must_open(in_folder("a"), O_RDONLY));
    end_folder();
}

static void fill_the_disk(void)
{
    static char bytes[100 * 1000];
    struct pier_file *f = must_open(in_folder("a"), O_RDWR | O_CREAT);
    failed(pier_file_write(f, bytes, sizeof bytes), -ENOSPC,
           "after 65536 of 100000 bytes: no space left on device");
    ck_assert_int_eq(pier_file_truncate(f, 0), 0);
    ck_assert_int_eq(pier_file_write_at(f, bytes, 1000, 0), 1000);
    pier_file_close(f);
    ck_assert_int_eq(mount(NULL, folder, "", MS_REMOUNT | MS_RDONLY, NULL), 0);
    cannot_open(in_folder("a"), O_WRONLY, -EROFS, "read-only file system");
}

TEST(a_full_disk_is_an_error_that_says_how_far_it_came_in_a_task)
{
    need_small_disk("size=64k");
    both_in_a_task(fill_the_disk);
    end_small_disk();
}

TEST(a_full_disk_is_an_error_that_says_how_far_it_came_on_a_thread)
{
    need_small_disk("size=64k");
    fill_the_disk();
    end_small_disk();
}

/* ---- several tasks, and cancellation ---- */

static struct pier_file *shared;

static int read_shared(void *arg)
{
    char buf[4096];
    ssize_t n = pier_file_read(shared, buf, sizeof buf);
    *(ssize_t *)arg = n;
    return 0;
}

TEST(a_position_is_for_one_task_at_a_time)
{
    ssize_t got[2];
    begin_folder();
    put(in_folder("a"), "abc", 3);
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    shared = must_open(in_folder("a"), O_RDONLY);
    pier_spawn(&scope, read_shared, &got[0]);
    pier_spawn(&scope, read_shared, &got[1]);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(got[0], 3);
    ck_assert_int_eq(got[1], -EBUSY);
    pier_file_close(shared);
    end_folder();
}

enum { WRITERS = 40, PIECE = 10000 };

static int write_piece(void *arg)
{
    int i = *(int *)arg;
    char *bytes = make_pattern(PIECE, i), *got = malloc(PIECE);
    ssize_t n = pier_file_write_at(shared, bytes, PIECE, (int64_t)i * PIECE);
    if (n == PIECE)
        n = pier_file_read_at(shared, got, PIECE, (int64_t)i * PIECE);
    bool same = n == PIECE && memcmp(bytes, got, PIECE) == 0;
    free(bytes);
    free(got);
    return n < 0 ? (int)n : same ? 0 : -EILSEQ;
}

TEST(tasks_write_at_their_offsets_at_once)
{
    int numbers[WRITERS];
    begin_folder();
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    shared = must_open(in_folder("a"), O_RDWR | O_CREAT);
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        pier_spawn(&scope, write_piece, &numbers[i]);
    }
    ck_assert_msg(pier_scope_join(&scope) == 0, "%s", pier_error());
    struct pier_file_stat st;
    ck_assert_int_eq(pier_file_stat(&st, shared), 0);
    ck_assert_int_eq(st.size, WRITERS * PIECE);
    pier_file_close(shared);
    end_folder();
}

BOTH(a_cancelled_call_does_nothing)
{
    char byte = 'x';
    struct pier_scope scope;
    struct pier_file_stat st;
    begin_folder();
    put(in_folder("a"), "abc", 3);
    struct pier_file *f = must_open(in_folder("a"), O_RDWR);
    pier_scope_open(&scope, 0);
    pier_scope_cancel(&scope);
    cannot_open(in_folder("b"), O_WRONLY | O_CREAT, -ECANCELED, "open ");
    failed(pier_file_write(f, &byte, 1), -ECANCELED, "write ");
    failed(pier_file_read(f, &byte, 1), -ECANCELED, "read ");
    failed(pier_file_truncate(f, 0), -ECANCELED, "truncate ");
    failed(pier_file_sync(f), -ECANCELED, "sync ");
    failed(pier_file_stat(&st, f), -ECANCELED, "stat ");
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_eq(pier_file_read(f, &byte, 1), 1);
    ck_assert_int_eq(byte, 'a');
    pier_file_close(f);
    ck_assert(has(in_folder("a"), "abc", 3));
    ck_assert_int_eq(count_files(), 1);
    end_folder();
}

static int read_fifo(void *arg)
{
    char byte;
    ssize_t n = pier_file_read(arg, &byte, 1);
    return n < 0 ? (int)n : -EILSEQ;
}

static int count_to_ten(void *arg)
{
    for (int i = 0; i < 10; i++)
        pier_yield();
    pier_scope_cancel(arg);
    return 0;
}

TEST(a_fifo_that_nobody_writes_stops_no_other_task_and_is_cancelled)
{
    begin_folder();
    ck_assert_int_eq(mkfifo(in_folder("fifo"), 0600), 0);
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    struct pier_file *f = must_open(in_folder("fifo"), O_RDONLY);
    pier_spawn(&scope, read_fifo, f);
    pier_spawn(&scope, count_to_ten, &scope);
    ck_assert_int_eq(pier_scope_join(&scope), -ECANCELED);
    pier_file_close(f);
    end_folder();
}

HARNESS_MAIN("task_file")
