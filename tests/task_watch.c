/* SPDX-License-Identifier: MIT */
/* Looking at running loops: the dump names tasks and their waits, the watchdog who holds a loop. */
#include "harness.h"
#include "task_threads.h"

#include "task/io.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static char *dump(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(pier_task_dump(out), 0);
    fclose(out);
    return text;
}

static void expect(const char *text, const char *part)
{
    ck_assert_msg(strstr(text, part) != NULL, "no \"%s\" in:\n%s", part, text);
}

/* ---- the dump ---- */

struct waits {
    struct pier_mutex m;
    struct pier_event e;
    struct pier_sem s;
    struct pier_chan ch;
    int fds[2];
};

static int sleeps(void *arg)
{
    struct pier_scope s;
    pier_scope_open(&s, pier_after(90 * PIER_SECOND));
    int rc = pier_sleep(PIER_HOUR);
    pier_scope_join(&s);
    return rc;
}

static int wants_mutex(void *arg)
{
    return pier_mutex_lock(&((struct waits *)arg)->m);
}

static int wants_event(void *arg)
{
    return pier_event_wait(&((struct waits *)arg)->e);
}

static int wants_sem(void *arg)
{
    return pier_sem_wait(&((struct waits *)arg)->s);
}

static int receives(void *arg)
{
    int elem;
    return pier_chan_recv(&((struct waits *)arg)->ch, &elem);
}

static int selects(void *arg)
{
    int elem;
    struct pier_select_case c = { &((struct waits *)arg)->ch, PIER_SELECT_RECV, &elem, 0 };
    return pier_select(&c, 1, 0);
}

static int wants_fd(void *arg)
{
    return pier_wait_fd(((struct waits *)arg)->fds[0], POLLIN, 0);
}

static int wait_there(void *arg)
{
    return pier_event_wait(&((struct waits *)arg)->e);
}

static int offloads(void *arg)
{
    return pier_offload(wait_there, arg);
}

static int is_parent(void *arg)
{
    struct pier_scope s;
    pier_task_name("parent %d", 7);
    pier_scope_open(&s, 0);
    pier_spawn_named(&s, "child", wants_event, arg);
    return pier_scope_join(&s);
}

TEST(a_dump_names_each_task_and_what_it_waits_for)
{
    struct waits w = { 0 };
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, w.fds), 0);
    ck_assert_int_eq(pier_chan_init(&w.ch, sizeof(int), 1, 0), 0);
    pier_mutex_lock(&w.m);
    struct pier_scope s;
    pier_scope_open(&s, 0);
    pier_spawn(&s, sleeps, &w);
    pier_spawn(&s, wants_mutex, &w);
    pier_spawn(&s, wants_event, &w);
    pier_spawn(&s, wants_sem, &w);
    pier_spawn(&s, receives, &w);
    pier_spawn(&s, selects, &w);
    pier_spawn(&s, wants_fd, &w);
    pier_spawn(&s, offloads, &w);
    pier_spawn(&s, is_parent, &w);
    ck_assert_int_eq(pier_sleep(PIER_MILLISECOND), 0);
    char *text = dump();
    char head[64];
    snprintf(head, sizeof head, "%s, 10 tasks\n", pier_backend(NULL));
    expect(text, head);
    expect(text, "thread: running, age ");
    expect(text, "\n    sleeps: sleep, age 0.");
    expect(text, ", deadline in 89.");
    expect(text, "wants_mutex: mutex, age ");
    expect(text, "wants_event: event, age ");
    expect(text, "wants_sem: semaphore, age ");
    expect(text, "receives: channel receive, age ");
    expect(text, "selects: select, age ");
    expect(text, "wants_fd: readiness unix (fd ");
    expect(text, "offloads: offload, age ");
    expect(text, "\n    parent 7: join, age ");
    expect(text, "\n      child: event, age "); /* below its parent */
    ck_assert_ptr_null(strstr(text, "poller"));
    free(text);
    pier_event_set(&w.e); /* an offload that runs is waited for */
    pier_scope_cancel(&s);
    ck_assert_int_eq(pier_scope_join(&s), -ECANCELED);
    close(w.fds[0]);
    close(w.fds[1]);
    pier_chan_fini(&w.ch);
}

struct other {
    struct pier_event ready, end;
    struct pi_thread *thread;
};

static int stay(void *arg)
{
    struct other *o = arg;
    pier_task_name("on the other thread");
    pier_event_set(&o->ready);
    return pier_event_wait(&o->end);
}

static void *run_loop(void *arg)
{
    ((struct other *)arg)->thread = thread_self();
    return in_a_loop(stay, arg) == 0 ? NULL : arg;
}

TEST(a_dump_asks_other_threads_loops)
{
    struct other o = { 0 };
    pthread_t id = thread_start(run_loop, &o);
    ck_assert_int_eq(pier_event_wait(&o.ready), 0);
    for (int i = 0; i < 100; i++) {
        char *text = dump();
        expect(text, "on the other thread: ");
        ck_assert_ptr_null(strstr(text, "answer"));
        free(text);
    }
    pier_event_set(&o.end);
    thread_end(id);
    char *text = dump();
    ck_assert_str_eq(text, "");
    free(text);
}

static int hold_loop(void *arg)
{
    struct other *o = arg;
    pier_event_set(&o->ready);
    while (!pier_event_is_set(&o->end))
        sched_yield();
    return 0;
}

static void *run_held_loop(void *arg)
{
    return in_a_loop(hold_loop, arg) == 0 ? NULL : arg;
}

TEST(a_dump_goes_on_without_a_loop_that_is_held)
{
    struct other o = { 0 };
    pthread_t id = thread_start(run_held_loop, &o);
    ck_assert_int_eq(pier_event_wait(&o.ready), 0);
    int64_t start = pier_now();
    char *text = dump();
    ck_assert_int_ge(pier_now() - start, 900 * PIER_MILLISECOND);
    expect(text, "a loop did not answer within a second");
    free(text);
    pier_event_set(&o.end);
    thread_end(id);
}

static void *dump_often(void *arg)
{
    for (int i = 0; i < 200; i++)
        free(dump());
    return arg;
}

static int come_and_go(void *arg)
{
    pier_task_name("number %d", *(int *)arg);
    return pier_yield();
}

TEST_WITHIN(60, dumps_are_safe_while_loops_come_and_go)
{
    pthread_t id = thread_start(dump_often, NULL);
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(in_a_loop(come_and_go, &i), 0);
    while (pthread_tryjoin_np(id, NULL) != 0) /* it may have asked this thread's last loop */
        ck_assert_int_eq(in_a_loop(come_and_go, &(int){ 0 }), 0);
}

/* ---- names ---- */

static int name_long(void *arg)
{
    pier_task_name("%s", "0123456789012345678901234567890123456789");
    snprintf(arg, 64, "%s", pi_task_self()->name);
    return 0;
}

TEST(names_are_kept_up_to_31_bytes)
{
    char name[64];
    ck_assert_int_eq(in_a_loop(name_long, name), 0);
    ck_assert_str_eq(name, "0123456789012345678901234567890");
}

/* ---- the watchdog ---- */

static char reported[200];
static int64_t reported_ms;
static int reports; /* atomic */

static void sink(void *ctx, enum pier_log_level level, const char *msg,
                 const struct pier_log_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].key, "task") == 0)
            snprintf(reported, sizeof reported, "%s", fields[i].str);
        if (strcmp(fields[i].key, "ms") == 0)
            reported_ms = fields[i].num;
    }
    __atomic_add_fetch(&reports, 1, __ATOMIC_SEQ_CST);
}

static int be_a_hog(void *arg)
{
    pier_task_name("the hog");
    int64_t until = pier_now() + 5 * PIER_SECOND;
    while (!__atomic_load_n(&reports, __ATOMIC_SEQ_CST) && pier_now() < until)
        ;
    return 0;
}

TEST(the_watchdog_names_the_task_that_holds_its_loop)
{
    pier_log_set(sink, NULL);
    pier_watchdog(20);
    pi_watchdog_start();
    ck_assert_int_eq(in_a_loop(be_a_hog, NULL), 0);
    pi_watchdog_stop();
    ck_assert_int_eq(reports, 1);
    ck_assert_str_eq(reported, "the hog");
    ck_assert_int_ge(reported_ms, 20);
    ck_assert_int_lt(reported_ms, 5000);
}

static int be_polite(void *arg)
{
    for (int i = 0; i < 20; i++)
        pier_sleep(5 * PIER_MILLISECOND);
    return pier_sleep(100 * PIER_MILLISECOND);
}

TEST(the_watchdog_is_silent_about_loops_that_wait)
{
    pier_log_set(sink, NULL);
    pier_watchdog(50);
    pi_watchdog_start();
    pi_watchdog_start();
    pi_watchdog_stop();
    ck_assert_int_eq(in_a_loop(be_polite, NULL), 0);
    pi_watchdog_stop();
    ck_assert_msg(reports == 0, "%s %d ms", reported, (int)reported_ms);
}

static int hold_for_a_while(void *arg)
{
    int64_t until = pier_now() + 100 * PIER_MILLISECOND;
    while (pier_now() < until)
        ;
    return 0;
}

static void *start_and_stop(void *arg)
{
    for (int i = 0; i < 500; i++) {
        pi_watchdog_start();
        pi_watchdog_stop();
    }
    return arg;
}

TEST(watchdogs_start_and_stop_on_several_threads)
{
    pthread_t ids[3];
    for (int i = 0; i < 3; i++)
        ids[i] = thread_start(start_and_stop, NULL);
    for (int i = 0; i < 3; i++)
        thread_end(ids[i]);
}

TEST(a_watchdog_of_0_is_off)
{
    pier_log_set(sink, NULL);
    pier_watchdog(0);
    pi_watchdog_start();
    ck_assert_int_eq(in_a_loop(hold_for_a_while, NULL), 0);
    pi_watchdog_stop();
    ck_assert_int_eq(reports, 0);
}

HARNESS_MAIN("task_watch")
