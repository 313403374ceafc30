/* SPDX-License-Identifier: MIT */
/*
 * sim_file: the files of simulated hosts: as those of a real disk, its faults, and what a crash
 * leaves of what was not synced.
 */
#include "sim_scene.h"

#include <fcntl.h>

static void put(const char *path, const char *text)
{
    int rc = pier_write_file(path, text, strlen(text), NULL);
    if (rc < 0)
        ck_abort_msg("%s", pier_error());
}

static bool has(const char *path, const char *text)
{
    size_t len = 0;
    char *bytes = pier_read_file(path, 1024 * 1024, &len);
    bool same = bytes && len == strlen(text) && memcmp(bytes, text, len) == 0;
    free(bytes);
    return same;
}

/* ---- as on a disk ---- */

static int uses_files(void *arg)
{
    char got[8] = "";
    struct pier_file_stat st;
    struct pier_file *f = pier_file_open("/a/b", O_RDWR | O_CREAT | O_EXCL, 0666);
    ck_assert_msg(f != NULL, "%s", pier_error());
    ck_assert_int_eq(pier_file_write(f, "0123456789", 10), 10);
    ck_assert_int_eq(pier_file_write_at(f, "XY", 2, 3), 2);
    size_t len = 0;
    for (ssize_t n = 1; len < 4 && n > 0; len += (size_t)n)
        ck_assert_int_gt(n = pier_file_read_at(f, got + len, 4 - len, 2 + (int64_t)len), 0);
    ck_assert_str_eq(got, "2XY5");
    ck_assert_int_eq(pier_file_read(f, got, 4), 0);
    ck_assert_int_eq(pier_file_truncate(f, 12), 0);
    ck_assert_int_eq(pier_file_stat(&st, f), 0);
    ck_assert_int_eq(st.size, 12);
    ck_assert_uint_eq(st.mode, 0100644);
    ck_assert_int_eq(pier_file_sync(f), 0);
    pier_file_close(f);
    ck_assert_ptr_null(pier_file_open("/a/b", O_RDWR | O_CREAT | O_EXCL, 0666));
    ck_assert_int_eq(pier_error_code(), -EEXIST);
    ck_assert_ptr_null(pier_file_open("/a", O_RDONLY, 0));
    ck_assert_int_eq(pier_error_code(), -EISDIR);
    ck_assert_ptr_null(pier_file_open("/none", O_RDONLY, 0));
    ck_assert_int_eq(pier_error_code(), -ENOENT);
    f = pier_file_open("//a/./b", O_WRONLY | O_TRUNC | O_APPEND, 0);
    ck_assert_int_eq(pier_file_write(f, "one", 3), 3);
    ck_assert_int_eq(pier_file_write(f, "two", 3), 3);
    ck_assert_int_eq(pier_file_read(f, got, 1), -EBADF);
    pier_file_close(f);
    ck_assert(has("/a/b", "onetwo"));
    ck_assert_int_eq(pier_write_file("/a", "x", 1, NULL), -EISDIR);
    return 0;
}

TEST(files_are_as_on_a_disk)
{
    scene_calm(uses_files);
    scene_passes(uses_files);
}

static int has_its_own(void *arg)
{
    scene_open();
    put("/here", "client");
    ck_assert_int_eq(pier_sim_files(scene.client), 1);
    ck_assert_int_eq(pier_sim_files(scene.server), 0);
    pier_sim_enter(scene.server);
    ck_assert_ptr_null(pier_read_file("/here", 100, NULL));
    put("/here", "server");
    pier_sim_enter(scene.client);
    ck_assert(has("/here", "client"));
    ck_assert_ptr_null(pier_read_file("/proc/self/status", 100000, NULL));
    ck_assert_int_eq(pier_error_code(), -ENOENT);
    return 0;
}

TEST(a_host_has_files_of_its_own)
{
    scene_passes(has_its_own);
}

static int leaves_one_open(void *arg)
{
    static struct pier_file *volatile left; /* in sight of leak checkers */
    left = pier_file_open("/left", O_WRONLY | O_CREAT, 0644);
    return left ? 0 : pier_error_code();
}

TEST(a_file_that_is_left_open_is_found)
{
    scene_finds("1 files are left open, the first is /left on main", leaves_one_open);
}

static int shortest;

static int reads_a_lot(void *arg)
{
    static char bytes[5000], got[5000];
    struct pier_file *f = pier_file_open("/a", O_RDWR | O_CREAT, 0644);
    ck_assert_int_eq(pier_file_write(f, bytes, sizeof bytes), sizeof bytes);
    for (int i = 0; i < 20; i++) {
        int n = (int)pier_file_read_at(f, got, sizeof got, 0);
        ck_assert_int_gt(n, 0);
        if (n < shortest)
            shortest = n;
    }
    pier_file_close(f);
    return 0;
}

TEST(reads_are_short_unless_bytes_are_not_to_be_split)
{
    shortest = 5000;
    scene_calm(reads_a_lot);
    ck_assert_int_eq(shortest, 5000);
    scene_passes(reads_a_lot);
    ck_assert_int_lt(shortest, 1000);
}

static int64_t slowest_ns;

static int takes_time(void *arg)
{
    for (int i = 0; i < 20; i++) {
        int64_t began = pier_now();
        put("/a", "x");
        if (pier_now() - began > slowest_ns)
            slowest_ns = pier_now() - began;
    }
    return 0;
}

TEST(a_disk_takes_its_time)
{
    scene_passes(takes_time);
    ck_assert_int_gt(slowest_ns, 20 * PIER_MILLISECOND);
    ck_assert_int_lt(slowest_ns, 2 * PIER_SECOND);
}

/* ---- faults ---- */

static int meets_faults(void *arg)
{
    scene_open();
    put("/a", "old");
    pier_sim_fail_next(scene.client, PIER_SIM_DISK_FULL, 1);
    ck_assert_int_eq(pier_write_file("/a", "new", 3, NULL), -ENOSPC);
    pier_sim_fail_next(scene.client, PIER_SIM_DISK_ERROR, 1);
    ck_assert_int_eq(pier_write_file("/a", "new", 3, NULL), -EIO);
    scene_expect_words("write /a: input/output error");
    pier_sim_fail_next(scene.client, PIER_SIM_DESCRIPTORS, 1);
    ck_assert_int_eq(pier_write_file("/a", "new", 3, NULL), -EMFILE);
    ck_assert(has("/a", "old"));
    ck_assert_int_eq(pier_sim_files(scene.client), 1);
    pier_sim_fail_next(scene.client, PIER_SIM_DISK_ERROR, 1);
    ck_assert_ptr_null(pier_read_file("/a", 10, NULL));
    ck_assert_int_eq(pier_error_code(), -EIO);
    return 0;
}

TEST(disks_are_full_and_fail)
{
    scene_calm(meets_faults);
}

enum { WRITES = 400 };
static int full, errors, written;

static int writes_often(void *arg)
{
    for (int i = 0; i < WRITES; i++) {
        int rc = pier_write_file("/a", "text", 4, NULL);
        full += rc == -ENOSPC;
        errors += rc == -EIO;
        written += rc == 0;
    }
    return 0;
}

TEST(faults_come_at_their_rate)
{
    struct pier_sim_opts opts = { .faults = { .disk_full = 50000, .disk_error = 20000 } };
    scene_seed(1, &opts, writes_often);
    ck_assert_int_eq(full + errors + written, WRITES);
    ck_assert_int_gt(full, WRITES / 20); /* two calls a file: about 10 in 100 */
    ck_assert_int_lt(full, WRITES / 5);
    ck_assert_int_gt(errors, WRITES / 30); /* four: about 8 */
    ck_assert_int_lt(errors, WRITES / 6);
}

/* ---- crashes ---- */

/* What a program of the scene does until it crashes. */
static struct {
    pier_task_fn fn;
    bool is_after;
    int code;
    char state[8]; /* of the file, afterwards */
} life;

static int lives_twice(void *arg)
{
    if (!life.is_after)
        return life.fn(arg);
    char *text = pier_read_file("/f", 100, NULL);
    life.code = text ? 0 : pier_error_code();
    snprintf(life.state, sizeof life.state, "%.7s", text ? text : "");
    free(text);
    return 0;
}

static int crashes(void *arg)
{
    scene_open();
    life.is_after = false;
    pier_sim_start(scene.server, lives_twice, NULL);
    pier_sim_join(scene.server);
    life.is_after = true;
    pier_sim_crash(scene.server);
    pier_sim_restart(scene.server);
    return pier_sim_join(scene.server);
}

/* Over many seeds: how often the file was gone, and how often it had that text. */
static void crash_often(pier_task_fn fn, const char *text, int *gone, int *same, int *other)
{
    *gone = *same = *other = 0;
    life.fn = fn;
    for (uint64_t seed = 1; seed <= 100; seed++) {
        scene_seed(seed, NULL, crashes);
        ck_assert(life.code == 0 || life.code == -ENOENT);
        *gone += life.code < 0;
        *same += life.code == 0 && strcmp(life.state, text) == 0;
    }
    *other = 100 - *gone - *same;
}

static int writes_atomically(void *arg)
{
    return pier_write_file("/f", "safe", 4, NULL);
}

static int writes_over(void *arg)
{
    put("/f", "oldold");
    struct pier_file *f = pier_file_open("/f", O_WRONLY, 0);
    ck_assert_int_eq(pier_file_write(f, "newnew", 6), 6);
    if (arg)
        ck_assert_int_eq(pier_file_sync(f), 0);
    pier_file_close(f);
    return 0;
}

static int writes_over_and_syncs(void *arg)
{
    return writes_over("");
}

static int makes_one_and_syncs_its_bytes(void *arg)
{
    struct pier_file *f = pier_file_open("/f", O_WRONLY | O_CREAT, 0644);
    ck_assert_int_eq(pier_file_write(f, "safe", 4), 4);
    ck_assert_int_eq(pier_file_sync(f), 0);
    pier_file_close(f);
    return 0;
}

TEST(what_was_synced_survives_a_crash)
{
    int gone, same, other;
    crash_often(writes_atomically, "safe", &gone, &same, &other);
    ck_assert_int_eq(same, 100);
    crash_often(writes_over_and_syncs, "newnew", &gone, &same, &other);
    ck_assert_int_eq(same, 100);
}

TEST(what_was_not_synced_is_new_or_old_or_between)
{
    int gone, same, other;
    crash_often(writes_over, "newnew", &gone, &same, &other);
    ck_assert_int_eq(gone, 0);
    ck_assert_int_gt(same, 20);
    ck_assert_int_gt(other, 20);
    crash_often(writes_over, "oldold", &gone, &same, &other);
    ck_assert_int_gt(same, 20);
    ck_assert_int_gt(other, 50); /* new, or some of both */
}

TEST(a_name_is_safe_only_with_its_folder)
{
    int gone, same, other;
    crash_often(makes_one_and_syncs_its_bytes, "safe", &gone, &same, &other);
    ck_assert_int_gt(gone, 20);
    ck_assert_int_gt(same, 20);
    ck_assert_int_eq(other, 0);
}

static int loses_a_sync(void *arg)
{
    put("/f", "old");
    struct pier_file *f = pier_file_open("/f", O_WRONLY, 0);
    ck_assert_int_eq(pier_file_write(f, "new", 3), 3);
    pier_sim_fail_next(scene.server, PIER_SIM_DISK_ERROR, 1);
    ck_assert_int_eq(pier_file_sync(f), -EIO);
    ck_assert_int_eq(pier_file_sync(f), 0); /* as Linux has it */
    pier_file_close(f);
    return 0;
}

TEST(a_sync_after_one_that_failed_saves_nothing)
{
    int gone, same, other;
    crash_often(loses_a_sync, "old", &gone, &same, &other);
    ck_assert_int_eq(same, 100);
}

static struct pier_file *stale;

static int opens_one(void *arg)
{
    stale = pier_file_open("/f", O_RDWR | O_CREAT, 0644);
    return 0;
}

static int uses_what_a_crash_closed(void *arg)
{
    scene_open();
    life.is_after = false;
    life.fn = opens_one;
    pier_sim_start(scene.server, lives_twice, NULL);
    pier_sim_join(scene.server);
    pier_sim_crash(scene.server);
    pier_sim_enter(scene.server);
    ck_assert_int_eq(pier_write_file("/g", "x", 1, NULL), -EIO);
    life.is_after = true;
    pier_sim_restart(scene.server);
    ck_assert_int_eq(pier_file_write(stale, "x", 1), -EIO);
    pier_file_close(stale);
    return pier_sim_join(scene.server);
}

TEST(a_crashed_host_has_no_files_open)
{
    scene_calm(uses_what_a_crash_closed);
}

TEST(runs_with_files_repeat_themselves)
{
    life.fn = writes_over;
    char *first = scene_trace(7, &(struct pier_sim_opts){ 0 }, crashes);
    char *second = scene_trace(7, &(struct pier_sim_opts){ 0 }, crashes);
    ck_assert_str_eq(first, second);
    free(first);
    free(second);
}

HARNESS_MAIN("sim_file")
