/* SPDX-License-Identifier: MIT */
/* backends: epoll io_uring */
/*
 * task_thread: how tasks and threads are woken, by messages, readiness and cancellation that come
 * just before or just after they look; and what a thread leaves when it ends. Most of these are
 * things that went wrong once.
 */
#include "both.h"
#include "child.h"

#include "task/task.h"

#include <limits.h>

static int patience_ms(void)
{
    const char *slow = getenv("PIER_TEST_SLOW");
    return slow && strcmp(slow, "1") == 0 ? 75000 : 15000;
}

/* ---- messages ---- */

struct note {
    struct pi_msg msg;
    int sender, number, *last;
};

static void take_note(struct pi_msg *msg)
{
    struct note *n = PI_CONTAINER_OF(msg, struct note, msg);
    ck_assert_int_eq(n->number, n->last[n->sender] + 1);
    n->last[n->sender] = n->number;
}

enum { SENDERS = 3, NOTES = 2000 };

struct sender {
    pthread_t thread;
    struct pi_thread *to;
    struct note notes[NOTES];
};

static void *send_notes(void *arg)
{
    struct sender *s = arg;
    for (int i = 0; i < NOTES; i++)
        pi_thread_post(s->to, &s->notes[i].msg);
    return NULL;
}

/* Whatever it waits in, it is woken; each sender's messages keep their order. */
BOTH(messages_of_many_threads_all_come_in_each_ones_order)
{
    struct sender *senders = calloc(SENDERS, sizeof *senders);
    int last[SENDERS] = { 0 }, begun = 0;
    for (int k = 0; k < SENDERS; k++, begun++) {
        senders[k].to = pi_task_self()->thread;
        for (int i = 0; i < NOTES; i++)
            senders[k].notes[i] = (struct note){ { NULL, take_note }, k, i + 1, last };
        ck_assert_int_eq(pthread_create(&senders[k].thread, NULL, send_notes, &senders[k]), 0);
    }
    int64_t begin = pier_now();
    for (int k = 0; k < SENDERS; k++)
        while (last[k] < NOTES && ms_since(begin) < patience_ms())
            pier_sleep(PIER_MILLISECOND);
    for (int k = 0; k < SENDERS; k++) {
        pthread_join(senders[k].thread, NULL);
        ck_assert_int_eq(last[k], NOTES);
    }
    free(senders);
}

struct waking {
    struct pi_msg msg;
    struct pi_task *task;
};

static void wake_task(struct pi_msg *msg)
{
    pi_ready(PI_CONTAINER_OF(msg, struct waking, msg)->task, 7);
}

static void *post_waking(void *arg)
{
    struct waking *w = arg;
    pi_thread_post(w->task->thread, &w->msg);
    return NULL;
}

/* Again and again, so that some come between the last look and the sleep. */
BOTH(a_message_is_never_slept_through)
{
    for (int i = 0; i < 300; i++) {
        struct waking w = { { NULL, wake_task }, pi_task_self() };
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, post_waking, &w), 0);
        ck_assert_int_eq(pi_park(w.task, pier_after(patience_ms() * PIER_MILLISECOND), false), 7);
        pthread_join(thread, NULL);
    }
}

static struct {
    struct waking waking;
    const struct pi_sys *real;
    int calls, at;
} look;

static int64_t post_at_this_look(void)
{
    if (++look.calls == look.at)
        pi_thread_post(look.waking.task->thread, &look.waking.msg);
    return look.real->clock_ns();
}

static int park_with_a_message_at(int at)
{
    struct pi_task *self = pi_task_self();
    struct pi_sys mine = *pi_sys;
    mine.clock_ns = post_at_this_look;
    /* For one that is farther away a loop sleeps without a look at the clock. */
    int64_t deadline = pier_after(90 * PIER_MILLISECOND);
    look.waking = (struct waking){ { NULL, wake_task }, self };
    look.real = pi_sys;
    look.calls = 0;
    look.at = at;
    pi_sys = &mine;
    int rc = pi_park(self, deadline, false);
    pi_sys = look.real;
    ck_assert_int_ge(look.calls, at);
    return rc;
}

/* A wait looks at the clock after its last look at the inbox, and sleeps next. On a machine that
 * stands still for so long the deadline may come first, but not every time. */
BOTH(a_message_between_the_last_look_and_the_sleep_is_not_slept_through)
{
    for (int at = 1; at <= (pi_task_self()->thread->loop ? 1 : 2); at++) {
        int rc = -ETIMEDOUT;
        for (int tries = 0; rc == -ETIMEDOUT && tries < 3; tries++)
            rc = park_with_a_message_at(at);
        ck_assert_int_eq(rc, 7);
    }
}

/* ---- a thread's beginning and end ---- */

static int sleep_short(void *unused)
{
    return pier_sleep(1);
}

static void *use_and_end(void *unused)
{
    struct pier_scope s;
    ck_assert_int_eq(pier_sleep(1), 0);
    ck_assert_int_ge(pi_thread_wake_fd(pi_task_self()->thread), 0);
    pier_error_set(-EIO, "words that are freed");
    pier_scope_open(&s, 0);
    ck_assert_int_eq(pier_spawn(&s, sleep_short, NULL), 0);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    return unused;
}

TEST(a_thread_leaves_no_descriptor_when_it_ends)
{
    int before = open_fds();
    for (int i = 0; i < 20; i++) {
        pthread_t thread;
        ck_assert_int_eq(pthread_create(&thread, NULL, use_and_end, NULL), 0);
        pthread_join(thread, NULL);
        ck_assert_int_eq(open_fds(), before);
    }
}

static void *fail_first(void *unused)
{
    pier_error_set(-EIO, "before the runtime");
    pier_sleep(0);
    ck_assert_str_eq(pier_error(), "before the runtime: input/output error");
    ck_assert_int_eq(pier_error_code(), -EIO);
    return unused;
}

TEST(a_failure_before_the_first_call_of_the_runtime_is_kept)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_first, NULL), 0);
    pthread_join(thread, NULL);
}

static void *keep_mask(void *mask)
{
    pthread_sigmask(SIG_SETMASK, NULL, mask);
    return NULL;
}

TEST(a_thread_of_the_library_takes_no_signals_but_its_own_faults)
{
    pthread_t thread;
    sigset_t before, after, inside;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    ck_assert_int_eq(pi_thread_start(&thread, keep_mask, &inside, 0), 0);
    pthread_join(thread, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    ck_assert_int_eq(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
    ck_assert_int_eq(sigismember(&inside, SIGTERM), 1);
    ck_assert_int_eq(sigismember(&inside, SIGPIPE), 1);
    ck_assert_int_eq(sigismember(&inside, SIGSEGV), 0);
}

static int sleep_long(void *unused)
{
    return pier_sleep(20 * PIER_SECOND);
}

static void *end_with_an_open_scope(void *loop)
{
    static struct pier_scope s;
    pier_scope_open(&s, 0);
    if (loop) {
        pier_spawn(&s, sleep_long, NULL);
        pier_yield();
    }
    return NULL;
}

static void thread_with_an_open_scope(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, end_with_an_open_scope, NULL);
    pthread_join(thread, NULL);
}

static void thread_with_an_open_loop(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, end_with_an_open_scope, "");
    pthread_join(thread, NULL);
}

TEST(a_thread_that_ends_with_an_open_scope_aborts_naming_the_file)
{
    void (*const ways[])(void) = { thread_with_an_open_scope, thread_with_an_open_loop };
    for (int i = 0; i < 2; i++) {
        struct child c;
        child_run(&c, ways[i]);
        ck_assert_msg(child_died_of(&c, SIGABRT), "status %x: %s", c.status, c.text);
        ck_assert_msg(child_said(&c, "ended with the scope of ../tests/task_thread.c:") ||
                          child_said(&c, "task_thread.c:"),
                      "%s", c.text);
    }
}

/* ---- readiness and cancellation at once ---- */

struct victim {
    struct pier_scope inner;
    struct pier_conn *read_by_it, *read_by_killer;
    ssize_t result;
};

static int read_in_vain(void *arg)
{
    struct victim *v = arg;
    char byte;
    v->result = pier_read(v->read_by_it, &byte, 1);
    return 0;
}

static int own_victim(void *arg)
{
    struct victim *v = arg;
    pier_scope_open(&v->inner, 0);
    pier_spawn(&v->inner, read_in_vain, v);
    return pier_scope_join(&v->inner);
}

static int cancel_victim(void *arg)
{
    struct victim *v = arg;
    char byte;
    pier_read(v->read_by_killer, &byte, 1);
    pier_scope_cancel(&v->inner);
    return 0;
}

/* Urgent data wakes a reader that then finds nothing; when it is cancelled in between, it is ready
 * already, and must find that out itself before it waits again. */
TEST(a_cancellation_between_a_vain_wake_and_the_next_wait_is_seen)
{
    int other, killers;
    struct pier_scope s;
    struct victim v = { .result = 1 };
    v.read_by_it = conn_and_fd(TCP, &other);
    v.read_by_killer = conn_and_fd(TCP, &killers);
    pier_set_timeouts(v.read_by_it, patience_ms(), 0);
    pier_scope_open(&s, 0);
    pier_spawn(&s, cancel_victim, &v);
    pier_spawn(&s, own_victim, &v);
    for (int i = 0; i < 3; i++)
        pier_yield();
    pier_sleep(PIER_MILLISECOND); /* a poll, after which both wait */
    send_all(killers, "x", 1);
    ck_assert_int_eq(send(other, "u", 1, MSG_OOB), 1);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    ck_assert_int_eq(v.result, -ECANCELED);
    pier_close(v.read_by_it);
    pier_close(v.read_by_killer);
    close(other);
    close(killers);
}

static struct pier_scope computing;

static void *cancel_computing(void *begun)
{
    while (!atomic_load((_Atomic bool *)begun))
        sched_yield();
    pier_scope_cancel_remote(&computing);
    return NULL;
}

static int compute(void *arg)
{
    int64_t begin = pier_now();
    atomic_store((_Atomic bool *)arg, true);
    int rc = 0;
    while (rc == 0 && ms_since(begin) < patience_ms())
        rc = pier_cancelled();
    return rc;
}

/* pier_scope_cancel_remote() is a message, and a computation takes none by itself. */
BOTH(a_long_computation_sees_a_remote_cancellation)
{
    pthread_t thread;
    _Atomic bool begun = false;
    pier_scope_open(&computing, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_computing, (void *)&begun), 0);
    ck_assert_int_eq(compute((void *)&begun), -ECANCELED);
    pthread_join(thread, NULL);
    ck_assert_int_eq(pier_scope_join(&computing), 0);
}

static struct pier_scope nest_top;
static _Atomic int nest_depth;

static int nest(void *left)
{
    struct pier_scope s;
    nest_depth++;
    if ((intptr_t)left == 0) {
        pier_scope_cancel_remote(&nest_top);
        return pier_sleep(20 * PIER_SECOND);
    }
    pier_scope_open(&s, 0);
    pier_spawn(&s, nest, (void *)((intptr_t)left - 1));
    return pier_scope_join(&s);
}

/* Not by recursion, for which a stack might not do. */
TEST(a_cancellation_reaches_tasks_however_deep_they_are_nested)
{
    const int depth = HAVE_TSAN ? 2000 : 8000;
    pier_scope_open(&nest_top, 0);
    pier_spawn(&nest_top, nest, (void *)(intptr_t)(depth - 1));
    ck_assert_int_eq(pier_scope_join(&nest_top), -ECANCELED);
    ck_assert_int_eq(nest_depth, depth);
}

/* ---- time ---- */

static int answer_late(void *arg)
{
    struct pier_conn *c = arg;
    char byte;
    ck_assert_int_eq(pier_read(c, &byte, 1), 1);
    pier_sleep(5 * PIER_MILLISECOND);
    ck_assert_int_eq(pier_write(c, "y", 1), 1);
    return 0;
}

static int compute_and_ask(void *arg)
{
    struct pier_conn *c = arg;
    char byte;
    for (int64_t begin = pier_now(); ms_since(begin) < 700;)
        ;
    pier_set_timeouts(c, 500, 500);
    ck_assert_int_eq(pier_write(c, "x", 1), 1);
    ck_assert_int_eq(pier_read(c, &byte, 1), 1);
    return 0;
}

/* The loop's clock stood still meanwhile. */
TEST(a_short_time_out_counts_from_its_call_not_from_the_last_poll)
{
    struct pier_conn *ends[2];
    struct pier_scope s;
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    pier_scope_open(&s, 0);
    pier_spawn(&s, answer_late, ends[1]);
    pier_spawn(&s, compute_and_ask, ends[0]);
    ck_assert_int_eq(pier_scope_join(&s), 0);
    pier_close(ends[0]);
    pier_close(ends[1]);
}

/* ---- descriptors ---- */

static void need_epoll(void)
{
    if (strcmp(pier_backend(NULL), "epoll") != 0)
        test_skip("only epoll keeps descriptors between two waits");
}

/* How many descriptors an epoll watches (proc(5)). */
static int watched_by(int epoll_fd)
{
    char path[64], line[256];
    int count = 0;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", epoll_fd);
    FILE *info = fopen(path, "re");
    ck_assert_ptr_nonnull(info);
    while (fgets(line, sizeof line, info))
        count += strncmp(line, "tfd:", 4) == 0;
    fclose(info);
    return count;
}

static int read_a_byte(void *c)
{
    char byte;
    return pier_read(c, &byte, 1) == 1 ? 0 : -EIO;
}

/* As a child has them between fork and exec: without care the loop would still be told of it, by
 * an address that is freed. */
TEST(a_closed_connection_that_others_hold_is_not_watched_any_more)
{
    need_epoll();
    struct sockaddr_in name = { .sin_family = AF_INET };
    socklen_t len = sizeof name;
    struct pier_scope s;
    char url[64];
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&name, len), 0);
    ck_assert_int_eq(listen(listener, 5), 0);
    getsockname(listener, (struct sockaddr *)&name, &len);
    snprintf(url, sizeof url, "tcp://127.0.0.1:%d", ntohs(name.sin_port));
    pier_scope_open(&s, 0);
    pier_spawn(&s, sleep_long, NULL);
    int epoll_fd = pier_loop_fd(), before = watched_by(epoll_fd);
    struct pier_conn *c = pier_dial(url, NULL);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    pier_spawn(&s, read_a_byte, c);
    pier_sleep(PIER_MILLISECOND);
    ck_assert_int_eq(watched_by(epoll_fd), before + 1);
    send_all(peer, "x", 1);
    pier_sleep(PIER_MILLISECOND);
    int held = dup(pier_conn_fd(c));
    pier_close(c);
    ck_assert_int_eq(watched_by(epoll_fd), before);
    send_all(peer, "y", 1);
    pier_sleep(PIER_MILLISECOND);
    pier_scope_cancel(&s);
    ck_assert_int_eq(pier_scope_join(&s), -ECANCELED);
    close(held);
    close(peer);
    close(listener);
}

static void *read_twice(void *arg)
{
    struct pier_conn *c = ((struct pier_conn **)arg)[0];
    struct rlimit limit;
    char byte;
    pier_set_timeouts(c, 50, 0);
    getrlimit(RLIMIT_NOFILE, &limit);
    setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 3, limit.rlim_max });
    ssize_t n = pier_read(c, &byte, 1); /* waiting needs an eventfd */
    setrlimit(RLIMIT_NOFILE, &limit);
    ck_assert_int_eq(n, -EMFILE);
    ck_assert_int_eq(pier_read(c, &byte, 1), -ETIMEDOUT);
    send_all(pier_conn_fd(((struct pier_conn **)arg)[1]), "x", 1);
    ck_assert_int_eq(pier_read(c, &byte, 1), 1);
    return NULL;
}

TEST(a_lack_of_descriptors_for_waiting_is_not_sticky)
{
    struct pier_conn *ends[2];
    pthread_t thread;
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, read_twice, ends), 0);
    pthread_join(thread, NULL);
    pier_close(ends[0]);
    pier_close(ends[1]);
}

static int wait_for_input(void *arg)
{
    int ready = pier_wait_fd(pier_conn_fd(arg), POLLIN, 0);
    return ready == POLLIN ? 0 : ready;
}

/* A descriptor is in the loop once: the second gets a code, and neither is harmed. */
TEST(a_read_while_another_task_waits_for_the_descriptor_is_busy)
{
    need_epoll();
    struct pier_conn *ends[2];
    struct pier_scope s, inner;
    char byte;
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    pier_scope_open(&s, 0);
    pier_spawn(&s, sleep_long, NULL);
    pier_scope_open(&inner, 0);
    pier_spawn(&inner, wait_for_input, ends[0]);
    pier_yield();
    ck_assert_int_eq(pier_read(ends[0], &byte, 1), -EBUSY);
    ck_assert_int_eq(pier_write(ends[1], "x", 1), 1);
    ck_assert_int_eq(pier_scope_join(&inner), 0);
    ck_assert_int_eq(pier_read(ends[0], &byte, 1), 1);
    pier_set_timeouts(ends[0], 10, 0);
    ck_assert_int_eq(pier_read(ends[0], &byte, 1), -ETIMEDOUT); /* now it can wait */
    pier_scope_cancel(&s);
    pier_scope_join(&s);
    pier_close(ends[0]);
    pier_close(ends[1]);
}

TEST(a_wait_for_the_descriptor_of_a_connection_that_has_waited_is_busy)
{
    need_epoll();
    struct pier_conn *ends[2];
    struct pier_scope s;
    char byte;
    ck_assert_int_eq(pier_conn_pair(ends), 0);
    pier_scope_open(&s, 0);
    pier_spawn(&s, sleep_long, NULL);
    int fd = pier_conn_fd(ends[0]);
    ck_assert_int_eq(pier_wait_fd(fd, POLLIN, pier_after(PIER_MILLISECOND)), -ETIMEDOUT);
    pier_set_timeouts(ends[0], 10, 0);
    ck_assert_int_eq(pier_read(ends[0], &byte, 1), -ETIMEDOUT);
    ck_assert_int_eq(pier_wait_fd(fd, POLLIN, pier_after(PIER_MILLISECOND)), -EBUSY);
    ck_assert_int_eq(pier_write(ends[1], "x", 1), 1);
    ck_assert_int_eq(pier_wait_fd(fd, POLLIN, 0), POLLIN); /* which need not wait */
    ck_assert_int_eq(pier_read(ends[0], &byte, 1), 1);
    pier_scope_cancel(&s);
    pier_scope_join(&s);
    pier_close(ends[0]);
    pier_close(ends[1]);
}

/* ---- a foreign loop ---- */

static int set_flag(void *flag)
{
    *(bool *)flag = true;
    return 0;
}

static int wait_and_set(void *arg)
{
    struct {
        struct pier_event event;
        bool seen;
    } *w = arg;
    int rc = pier_event_wait(&w->event);
    w->seen = rc == 0;
    return rc;
}

static void settle(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };
    for (int i = 0; i < 10 && poll(&p, 1, 0) > 0; i++)
        pier_loop_step();
    ck_assert_int_eq(poll(&p, 1, 0), 0);
}

/* Without asking for it again. */
TEST(the_loops_descriptor_shows_what_was_made_ready_between_two_steps)
{
    struct {
        struct pier_event event;
        bool seen;
    } w = { 0 };
    struct pier_scope s;
    bool ran = false;
    pier_scope_open(&s, 0);
    pier_spawn(&s, sleep_long, NULL);
    pier_spawn(&s, wait_and_set, &w);
    struct pollfd p = { pier_loop_fd(), POLLIN, 0 };
    settle(p.fd);
    pier_spawn(&s, set_flag, &ran);
    ck_assert_int_eq(poll(&p, 1, patience_ms()), 1);
    settle(p.fd);
    ck_assert(ran);
    pier_event_set(&w.event);
    ck_assert_int_eq(poll(&p, 1, patience_ms()), 1);
    settle(p.fd);
    ck_assert(w.seen);
    pier_scope_cancel(&s);
    ck_assert_int_eq(poll(&p, 1, patience_ms()), 1);
    ck_assert_int_eq(pier_scope_join(&s), -ECANCELED);
}

/* ---- offload threads ---- */

static struct pier_event handshake;

static int wait_for_other(void *unused)
{
    struct pier_scope s;
    pier_scope_open(&s, pier_after(patience_ms() * PIER_MILLISECOND));
    int rc = pier_event_wait(&handshake);
    pier_scope_join(&s);
    return rc;
}

static int let_other_go(void *unused)
{
    pier_event_set(&handshake);
    return 0;
}

static int offload_job(void *fn)
{
    return pier_offload(*(pier_task_fn *)fn, NULL);
}

static int offload_nothing(void *unused)
{
    return 0;
}

/* One idle thread is not enough for two jobs that came before it woke. */
TEST(offloaded_jobs_run_at_once_when_one_waits_for_the_other)
{
    pier_task_fn jobs[2] = { wait_for_other, let_other_go };
    for (int i = 0; i < 5; i++) {
        struct pier_scope s;
        pier_event_clear(&handshake);
        ck_assert_int_eq(pier_offload(offload_nothing, NULL), 0);
        poll(NULL, 0, 10); /* its thread has time to become idle, which is when it went wrong */
        pier_scope_open(&s, 0);
        pier_spawn(&s, offload_job, &jobs[0]);
        pier_spawn(&s, offload_job, &jobs[1]);
        ck_assert_int_eq(pier_scope_join(&s), 0);
    }
}

HARNESS_MAIN("task_thread")
