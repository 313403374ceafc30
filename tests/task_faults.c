/* SPDX-License-Identifier: MIT */
/* not on tsan: its runtime is linked in, and its calls would be put in other places, too */
/*
 * task_faults: the paths through tasks, time, synchronisation and offloading with every call and
 * every request for memory failing in turn, and with calls interrupted all the time.
 */
#include "files.h"
#include "net_faults.h"

static void try_everywhere(const struct path *path)
{
    fail_everywhere(path);
    interrupt_everywhere(path);
}

/* ---- tasks, scopes and time ---- */

static int count_down(void *arg)
{
    for (int i = 0; i < 3; i++)
        if (pier_yield() < 0)
            return -ECANCELED;
    return 0;
}

static int spawn_and_join(void)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < 6; i++) /* more stacks than the first slab has */
        if (pier_spawn(&scope, count_down, NULL) < 0)
            break;
    return pier_scope_join(&scope);
}

/* Without memory for a signal stack an overflow goes without a name. */
TEST(spawn_says_what_failed)
{
    try_everywhere(&(struct path){
        .walk = spawn_and_join,
        .says = "spawn|event loop|task stack",
        .recovers = "memory",
    });
}

static int sleep_long(void *arg)
{
    return pier_sleep(PIER_HOUR);
}

static int miss_a_deadline(void)
{
    struct pier_scope scope;
    pier_scope_open(&scope, pier_after(2 * PIER_MILLISECOND));
    if (pier_spawn(&scope, sleep_long, NULL) == 0)
        pier_sleep(PIER_MILLISECOND / 10);
    int rc = pier_scope_join(&scope);
    return rc == -ETIMEDOUT ? 0 : rc;
}

TEST(a_deadline_comes_whatever_fails)
{
    try_everywhere(&(struct path){
        .walk = miss_a_deadline,
        .says = "spawn|event loop|task stack",
        .recovers = "memory",
    });
}

static int nap(void *arg)
{
    return pier_sleep(PIER_MILLISECOND);
}

/* Linux before 5.11: milliseconds have to do. */
TEST(loops_sleep_without_epoll_pwait2)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    fail_call(F_EPOLL_PWAIT2, ENOSYS, 1, true);
    int64_t begin = pier_now();
    ck_assert_int_eq(pier_spawn(&scope, nap, NULL), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    ck_assert_int_ge(pier_now() - begin, PIER_MILLISECOND);
    ck_assert_int_gt(faults.record->faults[F_EPOLL_PWAIT2], 0);
    ck_assert_int_eq(spawn_and_join(), 0);
    ck_assert_int_eq(miss_a_deadline(), 0);
    fail_no_more();
}

/* ---- between threads ---- */

enum { TURNS = 10 };

static struct {
    struct pier_chan there, back;
    struct pier_mutex lock;
    struct pier_event begun;
    struct pier_sem done;
    int turns;
} table;

static void *return_all(void *arg)
{
    int ball;
    pier_event_set(&table.begun);
    while (pier_chan_recv(&table.there, &ball) == 1) {
        pier_mutex_lock(&table.lock);
        table.turns++;
        pier_mutex_unlock(&table.lock);
        if (pier_chan_send(&table.back, &ball) < 0)
            break;
    }
    pier_sem_post(&table.done);
    return NULL;
}

static int serve_balls(void)
{
    int rc = pier_event_wait(&table.begun);
    for (int i = 0; i < TURNS && rc == 0; i++) {
        int ball = i, got = -1;
        struct pier_select_case either = { &table.back, PIER_SELECT_RECV, &got, 0 };
        rc = pier_chan_send(&table.there, &ball);
        if (rc == 0)
            rc = pier_select(&either, 1, pier_after(PIER_MINUTE));
        if (rc == 0 && got != i)
            rc = -EILSEQ;
        pier_mutex_lock(&table.lock);
        table.turns++;
        pier_mutex_unlock(&table.lock);
    }
    pier_chan_close(&table.there);
    return rc;
}

static int play(void)
{
    memset(&table, 0, sizeof table);
    if (pier_chan_init(&table.there, sizeof(int), 0, 0) < 0 ||
        pier_chan_init(&table.back, sizeof(int), 1, 0) < 0) {
        pier_chan_fini(&table.there);
        return pier_error_code();
    }
    pthread_t other;
    ck_assert_int_eq(__real_pthread_create(&other, NULL, return_all, NULL), 0);
    int rc = serve_balls();
    int last = pier_sem_wait(&table.done);
    pthread_join(other, NULL);
    pier_chan_fini(&table.there);
    pier_chan_fini(&table.back);
    return rc < 0 ? rc : last < 0 ? last : table.turns == 2 * TURNS ? 0 : -EILSEQ;
}

TEST(threads_play_on_whatever_fails)
{
    static const struct path path = { .walk = play, .says = "channel", .instead = "channel" };
    try_everywhere(&path);
    signal_everywhere(&path);
}

/* ---- work for other threads ---- */

static _Atomic int freed;

static int work(void *arg)
{
    return pier_error_code() == 0 ? 0 : -EINVAL;
}

static void free_argument(void *arg)
{
    freed++;
}

static int offload_twice(void)
{
    int before = freed;
    int rc = pier_offload(work, NULL);
    if (rc == 0) {
        rc = pier_offload_abandon(work, NULL, free_argument);
        ck_assert_int_eq(freed - before, rc < 0);
    }
    return rc;
}

TEST(offload_says_what_failed_and_frees_its_argument)
{
    try_everywhere(&(struct path){ .walk = offload_twice, .says = "offload", .offloads = true });
}

BOTH(offload_without_a_thread_says_so)
{
    fail_call(F_THREAD, EAGAIN, 1, true);
    ck_assert_int_eq(offload_twice(), -EAGAIN);
    fail_no_more();
    ck_assert_str_eq(pier_error(), "offload: start a thread: resource temporarily unavailable");
    ck_assert_int_eq(offload_twice(), 0);
}

/* ---- files ---- */

static void prepare_file(void)
{
    begin_folder();
    put(in_folder("file"), "old", 3);
}

static int use_a_file(void)
{
    char got[8];
    struct pier_file_stat st;
    struct pier_file *f = pier_file_open(in_folder("file"), O_RDWR | O_CREAT, 0644);
    ssize_t rc = f ? pier_file_write(f, "new", 3) : pier_error_code();
    if (rc >= 0)
        rc = pier_file_write_at(f, "er", 2, 3);
    if (rc >= 0)
        rc = pier_file_sync(f);
    if (rc >= 0)
        rc = pier_file_stat(&st, f);
    if (rc >= 0)
        rc = pier_file_read_at(f, got, sizeof got, 0);
    if (rc >= 0)
        rc = pier_file_truncate(f, 1);
    pier_file_close(f);
    return rc < 0 ? (int)rc : 0;
}

/* No check meanwhile: libcheck writes into a file. */
static void limit_file_size(rlim_t most)
{
    struct rlimit limit;
    __real_getrlimit64(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = most;
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void clean_file(int rc)
{
    end_folder();
}

static const char file_words[] = "open /|write /|read /|sync /|stat /|truncate /";

TEST(a_file_says_what_failed)
{
    try_everywhere(&(struct path){
        .prepare = prepare_file,
        .walk = use_a_file,
        .clean = clean_file,
        .says = file_words,
        .offloads = true,
    });
}

static int read_a_whole_file(void)
{
    size_t len = 0;
    char *bytes = pier_read_file(in_folder("file"), 100, &len);
    int rc = bytes ? 0 : pier_error_code();
    if (bytes && (len != 3 || strcmp(bytes, "old") != 0))
        rc = -EILSEQ;
    free(bytes);
    return rc;
}

TEST(reading_a_whole_file_says_what_failed)
{
    try_everywhere(&(struct path){
        .prepare = prepare_file,
        .walk = read_a_whole_file,
        .clean = clean_file,
        .says = file_words,
        .offloads = true,
    });
}

static int replace_a_file(void)
{
    return pier_write_file(in_folder("file"), "newer", 5, NULL);
}

/* Old or new, whole; and beside it nothing, unless removing was what failed. */
static void expect_a_version(int rc)
{
    bool is_old = has(in_folder("file"), "old", 3), is_new = has(in_folder("file"), "newer", 5);
    if (!is_new && (rc == 0 || !is_old))
        ck_abort_msg("%d, and the file is neither old nor new", rc);
    bool was_removing = faults.injected && faults.kind == F_UNLINKAT;
    if (count_files() != 1 && !was_removing)
        ck_abort_msg("%d, and a temporary file is left", rc);
    end_folder();
}

TEST(replacing_a_file_says_what_failed_and_leaves_one_version)
{
    static const struct path path = {
        .prepare = prepare_file,
        .walk = replace_a_file,
        .clean = expect_a_version,
        .says = file_words,
        .offloads = true,
    };
    try_everywhere(&path);
    signal_everywhere(&path);
}

/* Also while the temporary file is removed. The limit leaves room for what else the process writes
 * into files: under Valgrind, a line on stderr for each system call that it does not know. */
BOTH(replacing_tells_its_first_failure)
{
    test_not_on_valgrind("its own words make files grow beyond the limit");
    enum { MOST = 1000 * 1000 };
    static char bytes[MOST + 3];
    prepare_file();
    fail_call(F_RENAME, EIO, 1, true);
    ck_assert_int_eq(replace_a_file(), -EIO);
    fail_no_more();
    ck_assert_ptr_nonnull(strstr(pier_error(), "/file: rename: input/output error"));
    expect_a_version(-EIO);
    prepare_file();
    fail_call(F_UNLINKAT, EIO, 1, true);
    const char *path = in_folder("file");
    limit_file_size(MOST);
    int rc = pier_write_file(path, bytes, sizeof bytes, NULL);
    limit_file_size(RLIM_INFINITY);
    ck_assert_int_eq(rc, -EFBIG);
    ck_assert(faults.injected);
    ck_assert_ptr_nonnull(strstr(pier_error(), "after 1000000 of 1000003 bytes: file too"));
    ck_assert(has(in_folder("file"), "old", 3));
    fail_no_more();
    end_folder();
}

/* Where no thread is to be had, the call is made in place. */
BOTH(files_do_without_threads)
{
    prepare_file();
    fail_call(F_THREAD, EAGAIN, 1, true);
    ck_assert_int_eq(use_a_file(), 0);
    ck_assert_int_eq(replace_a_file(), 0);
    fail_no_more();
    expect_a_version(0);
}

/* A file system that has nothing to sync in a folder. */
BOTH(a_folder_that_cannot_be_synced_is_none_to_sync)
{
    prepare_file();
    fail_call(F_FSYNC, EINVAL, 2, false);
    ck_assert_int_eq(replace_a_file(), 0);
    ck_assert(faults.injected);
    fail_no_more();
    expect_a_version(0);
}

/* ---- other loops, and looking on ---- */

static int run_in_a_foreign_loop(void)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    int rc = pier_spawn(&scope, nap, NULL);
    if (rc == 0)
        rc = pier_loop_fd();
    struct pollfd p = { .fd = rc, .events = POLLIN };
    while (rc > 0)
        rc = __real_poll(&p, 1, 10000) == 1 ? pier_loop_step() : -EIO;
    int joined = pier_scope_join(&scope);
    return rc < 0 ? rc : joined;
}

TEST(a_foreign_loop_is_told_what_failed)
{
    try_everywhere(&(struct path){
        .walk = run_in_a_foreign_loop,
        .says = "pier_loop_fd|spawn|event loop|task stack",
        .recovers = "memory",
        .on_thread_only = true,
    });
}

static int ends[2];
static pthread_t writer;

static void *write_a_byte(void *arg)
{
    ck_assert_int_eq(__real_write(ends[1], "x", 1), 1);
    return NULL;
}

static void open_ends(void)
{
    ck_assert_int_eq(pipe(ends), 0);
}

static int await_a_byte(void)
{
    writer = start_helper(write_a_byte, NULL);
    int rc = pier_wait_fd(ends[0], POLLIN, 0);
    return rc < 0 ? rc : rc == POLLIN ? 0 : -EILSEQ;
}

static void close_ends(int rc)
{
    pthread_join(writer, NULL);
    close(ends[0]);
    close(ends[1]);
}

TEST(waiting_for_a_descriptor_says_what_failed)
{
    static const struct path path = {
        .prepare = open_ends,
        .walk = await_a_byte,
        .clean = close_ends,
        .says = "wait for descriptor",
    };
    try_everywhere(&path);
    signal_everywhere(&path);
}

static struct {
    pthread_t thread;
    struct pier_event begun, over;
    FILE *out;
    char *text;
    size_t len;
} show;

static int await_the_end(void *arg)
{
    pier_event_set(&show.begun);
    return pier_event_wait(&show.over);
}

static void *run_a_loop(void *arg)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, await_the_end, NULL), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
    return NULL;
}

static void begin_show(void)
{
    memset(&show.begun, 0, sizeof show.begun);
    memset(&show.over, 0, sizeof show.over);
    show.out = open_memstream(&show.text, &show.len);
    ck_assert_int_eq(__real_pthread_create(&show.thread, NULL, run_a_loop, NULL), 0);
    ck_assert_int_eq(pier_event_wait(&show.begun), 0);
}

static int dump(void)
{
    return pier_task_dump(show.out);
}

static void end_show(int rc)
{
    pier_event_set(&show.over);
    pthread_join(show.thread, NULL);
    fclose(show.out);
    if (rc == 0)
        ck_assert_ptr_nonnull(strstr(show.text, "await_the_end"));
    free(show.text);
}

TEST(a_dump_that_lacks_a_loop_says_so)
{
    try_everywhere(&(struct path){
        .prepare = begin_show,
        .walk = dump,
        .clean = end_show,
        .says = "task dump",
    });
}

HARNESS_MAIN("task_faults")
