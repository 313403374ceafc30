/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * Files read and replaced as a whole: limits, what has no size, modes, links, what readers see
 * meanwhile, and that nothing is left of what failed.
 */
#include "files.h"

#include <sys/resource.h>
#include <sys/un.h>

/* ---- reading ---- */

static void reads(const char *path, size_t max_len, const void *bytes, size_t len)
{
    size_t got = 12345;
    char *text = pier_read_file(path, max_len, &got);
    ck_assert_msg(text != NULL, "%s", pier_error());
    ck_assert_uint_eq(got, len);
    if (len > 0)
        ck_assert_mem_eq(text, bytes, len);
    ck_assert_int_eq(text[len], '\0');
    free(text);
}

static void cannot_read(const char *path, size_t max_len, int code, const char *words)
{
    size_t got = 12345;
    ck_assert_ptr_null(pier_read_file(path, max_len, &got));
    failed(pier_error_code(), code, words);
    ck_assert_uint_eq(got, 0);
}

BOTH(a_file_is_read_whole_up_to_the_limit)
{
    enum { LEN = 200 * 1000 };
    begin_folder();
    int before = open_fds();
    char *bytes = make_pattern(LEN, 3);
    put(in_folder("a"), bytes, LEN);
    put(in_folder("empty"), "", 0);
    reads(in_folder("a"), LEN, bytes, LEN);
    reads(in_folder("a"), SIZE_MAX, bytes, LEN);
    reads(in_folder("empty"), 0, "", 0);
    cannot_read(in_folder("a"), LEN - 1, -EFBIG, "a: it has 200000 bytes, more than 199999");
    cannot_read(in_folder("a"), 0, -EFBIG, "a: it has 200000 bytes, more than 0");
    char *text = pier_read_file(in_folder("a"), LEN, NULL);
    ck_assert_mem_eq(text, bytes, LEN);
    free(text);
    free(bytes);
    ck_assert_int_eq(open_fds(), before);
    end_folder();
}

BOTH(what_cannot_be_read_is_named)
{
    begin_folder();
    cannot_read(in_folder("none"), 10, -ENOENT, "/none: no such file or directory");
    cannot_read(folder, 10, -EISDIR, "is a directory");
    end_folder();
}

BOTH(what_has_no_size_is_read_to_its_end)
{
    struct stat st;
    size_t len;
    ck_assert_int_eq(stat("/proc/self/maps", &st), 0);
    ck_assert_int_eq(st.st_size, 0);
    char *text = pier_read_file("/proc/self/maps", 10 * 1000 * 1000, &len);
    ck_assert_msg(text != NULL, "%s", pier_error());
    ck_assert_uint_gt(len, 4096);
    ck_assert_uint_eq(strlen(text), len);
    ck_assert_ptr_nonnull(strstr(text, "[stack]"));
    free(text);
    cannot_read("/proc/self/maps", 1000, -EFBIG, "it has more than 1000 bytes");
    cannot_read("/dev/zero", 1000 * 1000, -EFBIG, "it has more than 1000000 bytes");
}

enum { PIPED = 300 * 1000 };

static void *fill_fifo(void *path)
{
    char *bytes = make_pattern(PIPED, 5);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    for (size_t done = 0; done < PIPED;) {
        size_t piece = PIPED - done < 777 ? PIPED - done : 777;
        ssize_t n = write(fd, bytes + done, piece);
        ck_assert_int_gt(n, 0);
        done += (size_t)n;
    }
    close(fd);
    free(bytes);
    return NULL;
}

BOTH(a_pipe_is_read_to_its_end)
{
    char path[PATH_MAX];
    pthread_t writer;
    begin_folder();
    snprintf(path, sizeof path, "%s", in_folder("fifo"));
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(pthread_create(&writer, NULL, fill_fifo, path), 0);
    char *bytes = make_pattern(PIPED, 5);
    reads(path, PIPED, bytes, PIPED);
    pthread_join(writer, NULL);
    free(bytes);
    end_folder();
}

/* ---- replacing ---- */

static void writes(const char *path, const char *text)
{
    int rc = pier_write_file(path, text, strlen(text), NULL);
    ck_assert_msg(rc == 0, "%s", pier_error());
    ck_assert(has(path, text, strlen(text)));
}

static mode_t mode_of(const char *path)
{
    struct stat st;
    ck_assert_int_eq(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

BOTH(a_file_is_made_and_replaced)
{
    begin_folder();
    int before = open_fds();
    writes(in_folder("a"), "one");
    writes(in_folder("a"), "");
    writes(in_folder("a"), "three");
    char *bytes = make_pattern(1000 * 1000, 1);
    ck_assert_int_eq(pier_write_file(in_folder("a"), bytes, 1000 * 1000, NULL), 0);
    ck_assert(has(in_folder("a"), bytes, 1000 * 1000));
    free(bytes);
    ck_assert_int_eq(count_files(), 1);
    ck_assert_int_eq(open_fds(), before);
    end_folder();
}

BOTH(other_links_keep_the_old_bytes)
{
    begin_folder();
    put(in_folder("a"), "old", 3);
    ck_assert_int_eq(link(in_folder("a"), in_folder("b")), 0);
    writes(in_folder("a"), "new");
    ck_assert(has(in_folder("b"), "old", 3));
    end_folder();
}

BOTH(modes_are_kept_or_given)
{
    begin_folder();
    umask(027);
    writes(in_folder("new"), "x");
    ck_assert_uint_eq(mode_of(in_folder("new")), 0640);
    ck_assert_int_eq(chmod(in_folder("new"), 0604), 0);
    writes(in_folder("new"), "y");
    ck_assert_uint_eq(mode_of(in_folder("new")), 0604);
    const struct pier_write_file_opts opts = { .mode = 0666 };
    ck_assert_int_eq(pier_write_file(in_folder("new"), "z", 1, &opts), 0);
    ck_assert_uint_eq(mode_of(in_folder("new")), 0666);
    ck_assert_int_eq(pier_write_file(in_folder("given"), "z", 1, &opts), 0);
    ck_assert_uint_eq(mode_of(in_folder("given")), 0666);
    const struct pier_write_file_opts bad = { .mode = 010000 };
    failed(pier_write_file(in_folder("bad"), "z", 1, &bad), -EINVAL, "mode 010000");
    ck_assert_int_eq(count_files(), 2);
    umask(022);
    end_folder();
}

BOTH(the_owner_is_kept)
{
    struct stat st;
    if (geteuid() != 0)
        test_skip("only root gives files away");
    begin_folder();
    put(in_folder("a"), "old", 3);
    ck_assert_int_eq(chown(in_folder("a"), 1234, 5678), 0);
    ck_assert_int_eq(chmod(in_folder("a"), 04750), 0);
    writes(in_folder("a"), "new");
    ck_assert_int_eq(stat(in_folder("a"), &st), 0);
    ck_assert_uint_eq(st.st_uid, 1234);
    ck_assert_uint_eq(st.st_gid, 5678);
    ck_assert_uint_eq(st.st_mode & 07777, 04750);
    end_folder();
}

static void replace_a(void)
{
    if (pier_write_file(in_folder("a"), "new", 3, NULL) != 0)
        _exit(1);
}

static void replace_another_ones(bool in_a_task)
{
    struct stat st;
    if (geteuid() != 0)
        test_skip("only root makes another one's file");
    begin_folder();
    put(in_folder("a"), "old", 3);
    ck_assert_int_eq(chown(in_folder("a"), 1234, 5678), 0);
    ck_assert_int_eq(chmod(in_folder("a"), 06755), 0);
    ck_assert_int_eq(chmod(folder, 0777), 0);
    as_somebody(replace_a, in_a_task);
    ck_assert_int_eq(stat(in_folder("a"), &st), 0);
    ck_assert_uint_eq(st.st_uid, 4321);
    ck_assert_uint_eq(st.st_gid, 4321);
    ck_assert_uint_eq(st.st_mode & 07777, 0705);
    ck_assert(has(in_folder("a"), "new", 3));
    end_folder();
}

TEST(who_may_not_give_a_file_away_lends_no_rights)
{
    replace_another_ones(false);
    replace_another_ones(true);
}

BOTH(a_link_is_followed_and_stays)
{
    char absolute[PATH_MAX];
    struct stat st;
    begin_folder();
    ck_assert_int_eq(mkdir(in_folder("sub"), 0755), 0);
    put(in_folder("sub/file"), "old", 3);
    ck_assert_int_eq(symlink("sub/second", in_folder("first")), 0);
    snprintf(absolute, sizeof absolute, "%s", in_folder("sub/file"));
    ck_assert_int_eq(symlink(absolute, in_folder("sub/second")), 0);
    writes(in_folder("first"), "new");
    ck_assert(has(in_folder("sub/file"), "new", 3));
    ck_assert_int_eq(lstat(in_folder("first"), &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(lstat(in_folder("sub/second"), &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(symlink("made", in_folder("to-nowhere")), 0);
    writes(in_folder("to-nowhere"), "made");
    ck_assert(has(in_folder("made"), "made", 4));
    ck_assert_int_eq(symlink("loop", in_folder("loop")), 0);
    failed(pier_write_file(in_folder("loop"), "x", 1, NULL), -ELOOP, "/loop: too many");
    end_folder();
}

/* With things of the test's own: should this fail, the machine still has its /dev/null. */
BOTH(what_is_no_file_is_not_replaced)
{
    struct stat st;
    begin_folder();
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    snprintf(addr.sun_path, sizeof addr.sun_path, "%.90s", in_folder("socket"));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    close(fd);
    ck_assert_int_eq(mkfifo(in_folder("fifo"), 0600), 0);
    failed(pier_write_file(in_folder("socket"), "x", 1, NULL), -EINVAL,
           "/socket: it is no regular file");
    failed(pier_write_file(in_folder("fifo"), "x", 1, NULL), -EINVAL, "no regular file");
    failed(pier_write_file(folder, "x", 1, NULL), -EISDIR, "is a directory");
    failed(pier_write_file(in_folder("new/"), "x", 1, NULL), -EISDIR, "is a directory");
    failed(pier_write_file(in_folder("no/where"), "x", 1, NULL), -ENOENT, "open its folder: no");
    failed(pier_write_file(in_folder("fifo/x"), "x", 1, NULL), -ENOTDIR, "not a directory");
    failed(pier_write_file("", "x", 1, NULL), -ENOENT, "write : no such");
    ck_assert_int_eq(lstat(in_folder("socket"), &st), 0);
    ck_assert(S_ISSOCK(st.st_mode));
    ck_assert_int_eq(count_files(), 2);
    end_folder();
}

BOTH(names_may_be_as_long_as_the_system_allows)
{
    char name[NAME_MAX + 2], path[PATH_MAX + 2];
    begin_folder();
    memset(name, 'n', sizeof name);
    name[NAME_MAX] = '\0';
    writes(in_folder(name), "longest");
    name[NAME_MAX] = 'n';
    name[NAME_MAX + 1] = '\0';
    failed(pier_write_file(in_folder(name), "x", 1, NULL), -ENAMETOOLONG, "too long");
    memset(path, '/', sizeof path);
    path[PATH_MAX] = 'p';
    path[PATH_MAX + 1] = '\0';
    failed(pier_write_file(path, "x", 1, NULL), -ENAMETOOLONG, "too long");
    ck_assert_int_eq(count_files(), 1);
    end_folder();
}

BOTH(a_path_may_be_relative)
{
    begin_folder();
    int before = open(".", O_PATH | O_CLOEXEC);
    ck_assert_int_eq(chdir(folder), 0);
    writes("here", "one");
    writes("./here", "two");
    ck_assert(has(in_folder("here"), "two", 3));
    ck_assert_int_eq(fchdir(before), 0);
    close(before);
    end_folder();
}

/* ---- what others see ---- */

static char watched[PATH_MAX];
static _Atomic bool is_over;
static _Atomic long looks;

/* Each version is one letter, repeated. */
static void *watch(void *arg)
{
    static char got[100 * 1000];
    while (!is_over) {
        int fd = open(watched, O_RDONLY | O_CLOEXEC);
        ck_assert_int_ge(fd, 0);
        ssize_t n = read(fd, got, sizeof got);
        ck_assert_int_ge(n, 20 * 1000);
        ck_assert(memcmp(got, got + 1, (size_t)n - 1) == 0); /* all the same */
        ck_assert_int_eq(n, 20 * 1000 + (got[0] - 'a') * 1000);
        close(fd);
        looks++;
    }
    return NULL;
}

BOTH(readers_see_one_version_or_the_other)
{
    char bytes[50 * 1000];
    pthread_t watcher;
    begin_folder();
    is_over = false;
    looks = 0;
    snprintf(watched, sizeof watched, "%s", in_folder("a"));
    memset(bytes, 'a', sizeof bytes);
    put(watched, bytes, 20 * 1000);
    ck_assert_int_eq(pthread_create(&watcher, NULL, watch, NULL), 0);
    for (int i = 0; i < 30 || looks < 30; i++) {
        memset(bytes, 'a' + i % 26, sizeof bytes);
        ck_assert_int_eq(pier_write_file(watched, bytes, (size_t)(20 + i % 26) * 1000, NULL), 0);
    }
    is_over = true;
    pthread_join(watcher, NULL);
    ck_assert_int_eq(count_files(), 1);
    end_folder();
}

static int replace_often(void *arg)
{
    int rc = 0;
    for (int i = 0; i < 5 && rc == 0; i++)
        rc = pier_write_file(watched, arg, strlen(arg), NULL);
    return rc;
}

TEST(tasks_replace_a_file_at_once)
{
    begin_folder();
    snprintf(watched, sizeof watched, "%s", in_folder("a"));
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < 10; i++)
        pier_spawn(&scope, replace_often, i % 2 ? "odd" : "even");
    ck_assert_msg(pier_scope_join(&scope) == 0, "%s", pier_error());
    ck_assert(has(watched, "odd", 3) || has(watched, "even", 4));
    ck_assert_int_eq(count_files(), 1);
    end_folder();
}

/* ---- failures leave the old one, and nothing else ---- */

static void limit(int what, rlim_t most)
{
    struct rlimit r;
    ck_assert_int_eq(getrlimit(what, &r), 0);
    r.rlim_cur = most == RLIM_INFINITY ? r.rlim_max : most;
    ck_assert_int_eq(setrlimit(what, &r), 0);
}

static void keeps_old(const char *name, int code, const char *words)
{
    static char bytes[3 * 1000 * 1000];
    int before = open_fds(), files = count_files();
    failed(pier_write_file(in_folder(name), bytes, sizeof bytes, NULL), code, words);
    ck_assert_words("write /");
    ck_assert(has(in_folder(name), "old", 3));
    ck_assert_int_eq(count_files(), files);
    ck_assert_int_eq(open_fds(), before);
}

BOTH(beyond_the_limit_of_the_process_the_old_one_stays)
{
    begin_folder();
    put(in_folder("a"), "old", 3);
    limit(RLIMIT_FSIZE, 1000 * 1000); /* libcheck writes a little into a file, too */
    keeps_old("a", -EFBIG, "after 1000000 of 3000000 bytes: file too large");
    limit(RLIMIT_FSIZE, RLIM_INFINITY);
    end_folder();
}

BOTH(without_descriptors_the_old_one_stays)
{
    begin_folder();
    put(in_folder("a"), "old", 3);
    writes(in_folder("warm"), "up"); /* the thread has its eventfd */
    for (rlim_t spare = 0; spare < 2; spare++) {
        int lowest = dup(0);
        close(lowest);
        struct rlimit few = { (rlim_t)lowest + spare, 1024 }, before;
        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
        few.rlim_max = before.rlim_max;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
        int rc = pier_write_file(in_folder("a"), "new", 3, NULL);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        failed(rc, -EMFILE,
               spare ? "open a temporary file: too many" : "open its folder: too many");
        ck_assert(has(in_folder("a"), "old", 3));
    }
    ck_assert_int_eq(count_files(), 2);
    end_folder();
}

static void fill_the_disk(void)
{
    put(in_folder("a"), "old", 3);
    keeps_old("a", -ENOSPC, " of 3000000 bytes: no space left on device");
    put(in_folder("last"), "", 0);
    keeps_old("a", -ENOSPC, "open a temporary file: no space left on device");
    ck_assert_int_eq(mount(NULL, folder, "", MS_REMOUNT | MS_RDONLY, NULL), 0);
    keeps_old("a", -EROFS, "open a temporary file: read-only file system");
}

TEST(a_full_or_read_only_disk_leaves_the_old_one_to_a_task)
{
    need_small_disk("size=64k,nr_inodes=3");
    both_in_a_task(fill_the_disk);
    end_small_disk();
}

TEST(a_full_or_read_only_disk_leaves_the_old_one_to_a_thread)
{
    need_small_disk("size=64k,nr_inodes=3");
    fill_the_disk();
    end_small_disk();
}

static void may_not_replace_a(void)
{
    int rc = pier_write_file(in_folder("a"), "new", 3, NULL);
    if (rc != -EACCES || !strstr(pier_error(), "a: open a temporary file: permission denied"))
        _exit(1);
}

TEST(without_permission_the_old_one_stays)
{
    begin_folder();
    put(in_folder("a"), "old", 3);
    ck_assert_int_eq(chmod(folder, 0555), 0);
    as_somebody(may_not_replace_a, false);
    as_somebody(may_not_replace_a, true);
    ck_assert_int_eq(chmod(folder, 0755), 0);
    ck_assert(has(in_folder("a"), "old", 3));
    ck_assert_int_eq(count_files(), 1);
    end_folder();
}

HARNESS_MAIN("task_whole_file")
