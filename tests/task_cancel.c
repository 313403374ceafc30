/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * Cancellation at every suspension point: each scenario runs again and again, cancelled at its
 * first wait, then at its second, and so on, until it ends before the cancellation comes. After
 * each run nothing may be left: no descriptor, no byte, no element, no lock, no task.
 *
 * The linker puts __wrap_pi_park() in the place of pi_park(): it sends the thread a message that
 * cancels the victim while it is parked.
 */
#include "harness.h"

#include "task/task.h"

#include <pier/pier.h>

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

/* ---- the injection ---- */

static long parks_until_cancel; /* 0: never */
static bool cancelled;
static struct pier_scope *victim;
static struct pi_msg cancel_msg;

static void cancel_now(struct pi_msg *msg)
{
    if (victim)
        pier_scope_cancel(victim);
}

int __real_pi_park(struct pi_task *self, int64_t deadline_ns, bool cancellable);
int __wrap_pi_park(struct pi_task *self, int64_t deadline_ns, bool cancellable);

int __wrap_pi_park(struct pi_task *self, int64_t deadline_ns, bool cancellable)
{
    if (cancellable && parks_until_cancel > 0 && --parks_until_cancel == 0) {
        cancelled = true;
        cancel_msg.run = cancel_now;
        pi_thread_post(self->thread, &cancel_msg);
        self->thread->loop->budget = 0; /* the poller next, before any other task */
    }
    return __real_pi_park(self, deadline_ns, cancellable);
}

static int open_descriptors(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    ck_assert_ptr_nonnull(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

/* What a scenario does in the scope that is cancelled, and what must hold afterwards. */
struct scenario {
    void (*prepare)(void);
    void (*run)(struct pier_scope *scope);
    void (*verify)(int rc);
};

static int run_once(const struct scenario *sc, long at)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    victim = &scope;
    cancelled = false;
    parks_until_cancel = at;
    sc->run(&scope);
    int rc = pier_scope_join(&scope);
    victim = NULL;
    parks_until_cancel = 0;
    return rc;
}

/* One loop holds all runs, so that its own descriptors are there before and after. */
static int run_at_every_point(void *arg)
{
    const struct scenario *sc = arg;
    sc->prepare();
    int rc = run_once(sc,
                      0); /* what is opened once and kept, as the offload threads, is there now */
    ck_assert_int_eq(rc, 0);
    sc->verify(rc);
    int before = open_descriptors();
    long at = 0;
    do {
        at++;
        sc->prepare();
        rc = run_once(sc, at);
        if (cancelled)
            ck_assert_msg(rc == 0 || rc == -ECANCELED, "cancelled at wait %ld: %s", at,
                          pier_error());
        else
            ck_assert_int_eq(rc, 0);
        sc->verify(rc);
        ck_assert_msg(open_descriptors() == before, "cancelled at wait %ld: %d descriptors, had %d",
                      at, open_descriptors(), before);
        ck_assert_int_lt(at, 2000);
    } while (cancelled);
    ck_assert_msg(at > 2, "the scenario waits %ld times", at - 1);
    return 0;
}

static void at_every_point(const struct scenario *sc)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    ck_assert_int_eq(pier_spawn(&scope, run_at_every_point, (void *)sc), 0);
    ck_assert_int_eq(pier_scope_join(&scope), 0);
}

/* ---- a channel: each element sent is received or still there ---- */

enum { ITEMS = 40 };

static struct pier_chan chan;
static int sent, received;

static void prepare_chan(void)
{
    sent = received = 0;
    ck_assert_int_eq(pier_chan_init(&chan, sizeof(int), 3, 0), 0);
}

static int send_items(void *arg)
{
    int rc = 0;
    for (int i = 0; i < ITEMS / 2 && rc == 0; i++) {
        rc = pier_chan_send(&chan, &i);
        sent += rc == 0;
    }
    return rc;
}

static int receive_items(void *arg)
{
    int item;
    int rc = 1;
    while (received < ITEMS && rc > 0) {
        rc = pier_chan_recv(&chan, &item);
        received += rc > 0;
    }
    return rc < 0 ? rc : 0;
}

static void run_chan(struct pier_scope *scope)
{
    pier_spawn(scope, send_items, NULL);
    pier_spawn(scope, receive_items, NULL);
    pier_spawn(scope, send_items, NULL);
}

static void verify_chan(int rc)
{
    int item, left = 0;
    while (pier_chan_try_recv(&chan, &item) == 1)
        left++;
    ck_assert_int_eq(sent, received + left);
    ck_assert_msg(!chan.senders.first && !chan.receivers.first, "somebody still waits");
    pier_chan_fini(&chan);
}

TEST(cancelling_anywhere_loses_no_element_of_a_channel)
{
    at_every_point(&(struct scenario){ prepare_chan, run_chan, verify_chan });
}

static int rendezvous_send(void *arg)
{
    struct pier_select_case either = { &chan, PIER_SELECT_SEND, &sent, 0 };
    int rc = 0;
    for (int i = 0; i < 10 && rc >= 0; i++) {
        rc = pier_select(&either, 1, 0);
        sent += rc == 0 && either.rc == 0;
    }
    return rc < 0 ? rc : 0;
}

static int rendezvous_recv(void *arg)
{
    int item, rc = 1;
    for (int i = 0; i < 10 && rc > 0; i++) {
        struct pier_select_case either = { &chan, PIER_SELECT_RECV, &item, 0 };
        rc = pier_select(&either, 1, 0);
        rc = rc < 0 ? rc : either.rc;
        received += rc > 0;
    }
    return rc < 0 ? rc : 0;
}

static void prepare_rendezvous(void)
{
    sent = received = 0;
    ck_assert_int_eq(pier_chan_init(&chan, sizeof(int), 0, 0), 0);
}

static void run_rendezvous(struct pier_scope *scope)
{
    pier_spawn(scope, rendezvous_send, NULL);
    pier_spawn(scope, rendezvous_recv, NULL);
}

TEST(cancelling_anywhere_loses_no_element_of_a_rendezvous)
{
    at_every_point(&(struct scenario){ prepare_rendezvous, run_rendezvous, verify_chan });
}

/* ---- a mutex and a semaphore: free again, whole again ---- */

static struct pier_mutex mutex;
static struct pier_sem sem;

static void prepare_locks(void)
{
    pier_mutex_init(&mutex, 0);
    pier_sem_init(&sem, 2, 0);
}

static int use_locks(void *arg)
{
    int rc = 0;
    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = pier_sem_wait(&sem);
        if (rc < 0)
            break;
        rc = pier_mutex_lock(&mutex);
        if (rc == 0) {
            rc = pier_sleep(20 * PIER_MICROSECOND);
            pier_mutex_unlock(&mutex);
        }
        pier_sem_post(&sem);
    }
    return rc;
}

static void run_locks(struct pier_scope *scope)
{
    for (int i = 0; i < 5; i++)
        pier_spawn(scope, use_locks, NULL);
}

static void verify_locks(int rc)
{
    ck_assert_int_eq(pier_mutex_trylock(&mutex), 0);
    pier_mutex_unlock(&mutex);
    ck_assert_int_eq(pier_sem_trywait(&sem), 0);
    ck_assert_int_eq(pier_sem_trywait(&sem), 0);
    ck_assert_int_eq(pier_sem_trywait(&sem), -EAGAIN);
    pier_mutex_fini(&mutex);
    pier_sem_fini(&sem);
}

TEST(cancelling_anywhere_leaves_locks_free)
{
    at_every_point(&(struct scenario){ prepare_locks, run_locks, verify_locks });
}

/* ---- a connection: each byte written is read or still there ---- */

static struct pier_conn *ends[2];
static size_t written, taken;

static void prepare_conn(void)
{
    written = taken = 0;
    ck_assert_int_eq(pier_conn_pair(ends), 0);
}

/* Three bytes at a time, so that every longer read waits in the middle. */
static int write_pieces(void *arg)
{
    ssize_t n = 0;
    for (int i = 0; i < 24 && n >= 0; i++) {
        n = pier_write(ends[0], i % 4 == 3 ? "x\ny" : "abc", 3);
        written += n > 0 ? (size_t)n : 0;
        if (n >= 0)
            n = pier_sleep(20 * PIER_MICROSECOND);
    }
    return n < 0 ? (int)n : pier_shutdown_write(ends[0]);
}

static int read_in_every_way(void *arg)
{
    char buf[64];
    for (;;) {
        ssize_t n = pier_read_exact(ends[1], buf, 7);
        if (n > 0)
            taken += (size_t)n;
        if (n > 0) {
            n = pier_read_until(ends[1], buf, sizeof buf, "\n", 1);
            taken += n > 0 ? (size_t)n : 0;
        }
        if (n == 0 || n == -EPIPE)
            return 0;
        if (n < 0)
            return (int)n;
    }
}

static void run_conn(struct pier_scope *scope)
{
    pier_spawn(scope, write_pieces, NULL);
    pier_spawn(scope, read_in_every_way, NULL);
}

static void verify_conn(int rc)
{
    char buf[256];
    ssize_t n;
    pier_shutdown_write(ends[0]);
    while ((n = pier_read(ends[1], buf, sizeof buf)) > 0)
        taken += (size_t)n;
    ck_assert_int_eq(n, 0);
    ck_assert_int_eq(written, taken);
    pier_close(ends[0]);
    pier_close(ends[1]);
}

TEST(cancelling_anywhere_loses_no_byte_of_a_connection)
{
    at_every_point(&(struct scenario){ prepare_conn, run_conn, verify_conn });
}

/* ---- a dial, a server, a relay, a job, a child: nothing is left behind ---- */

static struct pier_server *server;

static int shout(struct pier_conn *c, void *arg)
{
    char text[64];
    while (pier_read_text(c, text, sizeof text) > 0)
        pier_printf(c, "%s!", text);
    return 0;
}

static void prepare_server(void)
{
    server = pier_server_new(&(struct pier_serve_opts){ .grace_ms = 100 });
    ck_assert_int_eq(pier_server_add(server, "tcp://127.0.0.1:0", shout, NULL), 0);
    ck_assert_int_eq(pier_server_listen(server), 0);
}

static int serve(void *arg)
{
    return pier_server_run(server);
}

static int talk(void *arg)
{
    char text[64];
    struct pier_conn *c = pier_dial(pier_server_url(server, 0), NULL);
    for (int i = 0; c && i < 3; i++) {
        pier_puts(c, "hey");
        if (pier_read_text(c, text, sizeof text) < 0)
            break;
        ck_assert_str_eq(text, "hey!");
    }
    int rc = c ? 0 : pier_error_code();
    pier_close(c);
    return rc;
}

static int talk_and_stop(void *arg)
{
    int rc = talk(arg);
    pier_server_stop_remote(server);
    return rc;
}

static void run_server(struct pier_scope *scope)
{
    pier_spawn(scope, serve, NULL);
    pier_spawn(scope, talk, NULL);
    pier_spawn(scope, talk_and_stop, NULL);
}

static void verify_server(int rc)
{
    pier_server_free(server);
}

TEST_WITHIN(60, cancelling_anywhere_leaves_nothing_of_a_server_and_its_clients)
{
    at_every_point(&(struct scenario){ prepare_server, run_server, verify_server });
}

static struct pier_conn *left[2], *right[2];

static void prepare_copy(void)
{
    ck_assert_int_eq(pier_conn_pair(left), 0);
    ck_assert_int_eq(pier_conn_pair(right), 0);
}

static int relay(void *arg)
{
    return pier_copy(left[1], right[0], NULL);
}

static int ask(void *arg)
{
    char text[64];
    ssize_t n = pier_puts(left[0], "question");
    if (n > 0)
        n = pier_read_exact(left[0], text, 6);
    pier_shutdown_write(left[0]);
    return n < 0 ? (int)n : 0;
}

static int reply(void *arg)
{
    char text[64];
    ssize_t n = pier_read_exact(right[1], text, 8);
    if (n > 0)
        n = pier_puts(right[1], "answer");
    pier_shutdown_write(right[1]);
    return n < 0 ? (int)n : 0;
}

static void run_copy(struct pier_scope *scope)
{
    pier_spawn(scope, relay, NULL);
    pier_spawn(scope, ask, NULL);
    pier_spawn(scope, reply, NULL);
}

static void verify_copy(int rc)
{
    for (int i = 0; i < 2; i++) {
        pier_close(left[i]);
        pier_close(right[i]);
    }
}

TEST(cancelling_anywhere_leaves_nothing_of_a_relay)
{
    at_every_point(&(struct scenario){ prepare_copy, run_copy, verify_copy });
}

static int runs, frees;

static void prepare_jobs(void)
{
}

static int job(void *arg)
{
    usleep(200);
    return 0;
}

static void free_job(void *arg)
{
    __atomic_add_fetch(&frees, 1, __ATOMIC_RELAXED);
    free(arg);
}

static int offload_jobs(void *arg)
{
    int rc = pier_offload(job, NULL);
    if (rc < 0)
        return rc;
    void *mine = malloc(16);
    runs++;
    rc = pier_offload_abandon(job, mine, free_job);
    if (rc == 0)
        free_job(mine);
    return rc;
}

static void run_jobs(struct pier_scope *scope)
{
    for (int i = 0; i < 4; i++)
        pier_spawn(scope, offload_jobs, NULL);
}

static void verify_jobs(int rc)
{
    while (__atomic_load_n(&frees, __ATOMIC_RELAXED) < runs)
        pier_sleep(PIER_MILLISECOND); /* a job that was left alone ends by itself */
    ck_assert_int_eq(frees, runs);
}

TEST(cancelling_anywhere_frees_what_jobs_were_given)
{
    at_every_point(&(struct scenario){ prepare_jobs, run_jobs, verify_jobs });
}

static int use_child(void *arg)
{
    char text[64];
    /* it pauses, so that there is something to wait for however late this task runs */
    struct pier_conn *c = pier_exec("sleep 0.02; cat; sleep 0.02");
    if (!c)
        return pier_error_code();
    pier_puts(c, "meow\n");
    ssize_t n = pier_read_line(c, text, sizeof text);
    int status, rc = n < 0 ? (int)n : pier_shutdown_write(c);
    if (rc == 0)
        rc = pier_exec_wait(c, &status, 0);
    pier_close(c);
    return rc;
}

static void run_child(struct pier_scope *scope)
{
    pier_spawn(scope, use_child, NULL);
}

static void verify_nothing(int rc)
{
}

/* ---- a file: old or new, and no other beside it ---- */

static char folder[40], state[64];

static void prepare_file(void)
{
    snprintf(folder, sizeof folder, "/dev/shm/pier-test-XXXXXX"); /* a disk takes its time */
    if (!mkdtemp(folder)) {
        snprintf(folder, sizeof folder, "/tmp/pier-test-XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(folder));
    }
    snprintf(state, sizeof state, "%s/state", folder);
    int fd = open(state, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(write(fd, "one", 3), 3);
    close(fd);
}

static int replace_and_read(void *arg)
{
    int rc = pier_write_file(state, "two", 3, NULL);
    char *bytes = rc < 0 ? NULL : pier_read_file(state, 100, NULL);
    if (rc == 0 && !bytes)
        rc = pier_error_code();
    free(bytes);
    struct pier_file *f = rc < 0 ? NULL : pier_file_open(state, O_RDWR, 0);
    if (f) {
        pier_file_write(f, "two", 3);
        rc = pier_file_sync(f);
    }
    pier_file_close(f);
    return rc;
}

static void run_file(struct pier_scope *scope)
{
    pier_spawn(scope, replace_and_read, NULL);
}

static void verify_file(int rc)
{
    char got[8] = "";
    int fd = open(state, O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(read(fd, got, sizeof got), 3);
    close(fd);
    ck_assert_msg(strcmp(got, "two") == 0 || (rc < 0 && strcmp(got, "one") == 0), "%s", got);
    ck_assert_int_eq(unlink(state), 0);
    ck_assert_msg(rmdir(folder) == 0, "a temporary file is left in %s", folder);
}

TEST(cancelling_anywhere_leaves_a_file_whole_and_alone)
{
    at_every_point(&(struct scenario){ prepare_file, run_file, verify_file });
}

TEST(cancelling_anywhere_leaves_no_child)
{
    test_not_on_valgrind("it does not know pidfd_open(2)");
    at_every_point(&(struct scenario){ prepare_jobs, run_child, verify_nothing });
}

HARNESS_MAIN("task_cancel")
