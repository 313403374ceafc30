/* SPDX-License-Identifier: MIT */
/*
 * task/watch.c - looking at running loops from outside: the dump of all tasks, and the watchdog
 * that names a task which does not let go.
 *
 * A dump is asked for by message, so that each loop describes its own tasks between two of them.
 * The watchdog only reads two counters and a name: tasks' records are never unmapped while their
 * loop is registered, so a stale name is the worst it can see.
 */
#define _GNU_SOURCE
#include "base/assert.h"
#include "task/sockets.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct pi_thread *watched;

static struct timespec monotonic_after(int64_t ns)
{
    int64_t end = pi_clock_ns() + ns;
    return (struct timespec){ end / PIER_SECOND, end % PIER_SECOND };
}

/* With the lock held: a thread is listed while it has a loop, or asked to be. */
static void relist(struct pi_thread *th)
{
    struct pi_thread **at = &watched;
    while (*at && *at != th)
        at = &(*at)->next_watched;
    bool is_listed = *at == th;
    bool should_be = th->loop || th->watched;
    if (is_listed && !should_be) {
        *at = th->next_watched;
    } else if (!is_listed && should_be) {
        th->next_watched = watched;
        watched = th;
    }
}

void pi_watch_thread(struct pi_thread *th, bool on)
{
    pthread_mutex_lock(&lock);
    th->watched = on;
    relist(th);
    pthread_mutex_unlock(&lock);
}

void pi_watch_loop(struct pi_thread *th, struct pi_loop *loop)
{
    pthread_mutex_lock(&lock);
    th->loop = loop;
    th->stalled_since_ns = 0;
    relist(th);
    pthread_mutex_unlock(&lock);
}

/* ---- describing tasks ---- */

static void print_peer(FILE *out, int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_storage room;
    } addr;
    socklen_t len = sizeof addr;
    char text[INET6_ADDRSTRLEN];
    if (io_sockets()->peer(fd, &addr.any, &len) < 0)
        fprintf(out, " fd %d", fd);
    else if (addr.any.sa_family == AF_INET)
        fprintf(out, " %s:%d", inet_ntop(AF_INET, &addr.in.sin_addr, text, sizeof text),
                ntohs(addr.in.sin_port));
    else if (addr.any.sa_family == AF_INET6)
        fprintf(out, " [%s]:%d", inet_ntop(AF_INET6, &addr.in6.sin6_addr, text, sizeof text),
                ntohs(addr.in6.sin6_port));
    else
        fprintf(out, " unix (fd %d)", fd);
}

static void print_wait(FILE *out, const struct pi_task *t)
{
    if (t->state == PI_RUNNING)
        fputs("running", out);
    else if (t->state == PI_READY)
        fputs("ready", out);
    else if (t->op) {
        fputs(io_name(t->op->code), out);
        if (t->op->fd)
            print_peer(out, t->op->fd->fd);
    } else
        fputs(t->waits_for ? t->waits_for : "waiting", out);
}

static void print_task(FILE *out, const struct pi_task *t, int depth, int64_t now)
{
    fprintf(out, "%*s%s: ", 2 * depth, "", t->name);
    print_wait(out, t);
    fprintf(out, ", age %.3f s", (double)(now - t->born_ns) / 1e9);
    if (t->state == PI_PARKED && t->wait_ns)
        fprintf(out, ", deadline in %.3f s", (double)(t->wait_ns - now) / 1e9);
    size_t deep = t->home ? pi_stack_depth((char *)(uintptr_t)(t + 1)) : 0;
    if (deep > 0)
        fprintf(out, ", stack %zu KiB", deep / 1024);
    fputc('\n', out);
}

/* A task's line, then the tasks of its scopes, indented. Depth is bounded: stacks are. */
static void print_tree(FILE *out, const struct pi_task *t, int depth, int64_t now)
{
    print_task(out, t, depth, now);
    if (depth == 32)
        return;
    for (const struct pier_scope *s = t->scope; s != t->home; s = s->parent)
        for (const struct pi_task *child = s->first_child; child; child = child->next)
            print_tree(out, child, depth + 1, now);
}

static void print_thread(FILE *out, const struct pi_thread *th)
{
    const char *kind = th->loop ? th->loop->backend->name : "direct";
    fprintf(out, "%s, %zu tasks\n", kind, th->loop ? th->loop->tasks : 0);
    print_tree(out, &th->root, 1, pi_clock_ns());
}

/* ---- asking every thread ---- */

/* One thread's answer; freed by whichever of asker and thread lets go last. */
struct request {
    struct pi_msg msg;
    struct pi_thread *thread;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    char *text;
    bool done, asker_left;
};

static void free_request(struct request *r)
{
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->answered);
    free(r->text); /* of open_memstream() */
    pi_free(r);
}

static void answer(struct pi_msg *msg)
{
    struct request *r = PI_CONTAINER_OF(msg, struct request, msg);
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out) {
        print_thread(out, r->thread);
        fclose(out);
    }
    pthread_mutex_lock(&r->lock);
    r->text = text;
    r->done = true;
    bool last = r->asker_left;
    pthread_cond_signal(&r->answered);
    pthread_mutex_unlock(&r->lock);
    if (last)
        free_request(r);
}

static struct request *ask(struct pi_thread *th)
{
    struct request *r = pi_zalloc(sizeof *r);
    if (!r)
        return NULL;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->answered, NULL);
    r->thread = th;
    r->msg.run = answer;
    pi_thread_post(th, &r->msg);
    return r;
}

static void collect(FILE *out, struct request *r, const struct timespec *until)
{
    pthread_mutex_lock(&r->lock);
    int rc = 0;
    while (!r->done && rc != ETIMEDOUT)
        rc = pthread_cond_clockwait(&r->answered, &r->lock, CLOCK_MONOTONIC, until);
    bool done = r->done;
    r->asker_left = true;
    if (done && r->text)
        fputs(r->text, out);
    else
        fputs("a loop did not answer within a second\n", out);
    pthread_mutex_unlock(&r->lock);
    if (done)
        free_request(r);
}

int pier_task_dump(FILE *out)
{
    enum { MOST = 4096 }; /* threads of PIER_THREADS beyond that are left out */
    struct pi_thread *own = pi_task_self()->thread;
    struct request **requests = pi_alloc(MOST * sizeof(struct request *));
    if (!requests)
        return pi_fail(-ENOMEM, "task dump");
    size_t count = 0;
    int rc = 0;
    pthread_mutex_lock(&lock);
    for (struct pi_thread *th = watched; th && count < MOST; th = th->next_watched) {
        requests[count] = th != own ? ask(th) : NULL;
        if (requests[count])
            count++;
        else if (th != own)
            rc = -ENOMEM; /* this one is missing */
    }
    pthread_mutex_unlock(&lock);
    if (own->loop)
        print_thread(out, own);
    struct timespec until = monotonic_after(PIER_SECOND);
    for (size_t i = 0; i < count; i++)
        collect(out, requests[i], &until);
    pi_free(requests);
    if (fflush(out) != 0)
        rc = -errno;
    return rc < 0 ? pi_fail(rc, "task dump") : 0;
}

/* ---- the watchdog ---- */

static pthread_cond_t watchdog_wake = PTHREAD_COND_INITIALIZER;
static pthread_t watchdog_thread;
static int watchdog_ms = 100, watchdog_users, watchdog_holds;
static bool watchdog_runs;
static uintptr_t watchdog_turn; /* which of the threads, one after another, is to run */

/* The name may be rewritten meanwhile; what is logged is at worst half of each. */
__attribute__((no_sanitize("thread"))) static void copy_name(char *out, size_t cap,
                                                             const struct pi_task *t)
{
    const char *name = t->name;
    size_t i = 0;
    for (; i + 1 < cap && name[i]; i++)
        out[i] = name[i];
    out[i] = '\0';
}

/* One report a stall: the loop is looked at again once it has switched. */
__attribute__((no_sanitize("thread"))) static void look_at(struct pi_thread *th, int64_t now)
{
    struct pi_loop *loop = th->loop;
    if (!loop)
        return;
    uint64_t switches = atomic_load_explicit(&loop->switches, memory_order_relaxed);
    struct pi_task *t = atomic_load_explicit(&loop->running, memory_order_relaxed);
    bool sleeps = atomic_load_explicit(&th->sleeping, memory_order_relaxed) != PI_AWAKE;
    if (switches != th->stalled_at || t == &loop->poller || sleeps) {
        th->stalled_at = switches;
        th->stalled_since_ns = now;
        return;
    }
    if (!th->stalled_since_ns || now - th->stalled_since_ns < watchdog_ms * PIER_MILLISECOND)
        return;
    char name[PI_TASK_NAME];
    copy_name(name, sizeof name, t);
    pier_log(PIER_LOG_WARN, "a task holds its loop", pier_str("task", name),
             pier_int("ms", (now - th->stalled_since_ns) / PIER_MILLISECOND));
    th->stalled_since_ns = 0;
}

static void *watchdog_main(void *arg)
{
    uintptr_t turn = (uintptr_t)arg;
    pthread_mutex_lock(&lock);
    while (turn == watchdog_turn) {
        int ms = watchdog_ms > 0 ? watchdog_ms : 1000;
        struct timespec until = monotonic_after(ms * PIER_MILLISECOND / 2);
        pthread_cond_clockwait(&watchdog_wake, &lock, CLOCK_MONOTONIC, &until);
        int64_t now = pi_clock_ns();
        for (struct pi_thread *th = watched; th && watchdog_ms > 0; th = th->next_watched)
            look_at(th, now);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

void pier_watchdog(int threshold_ms)
{
    pthread_mutex_lock(&lock);
    watchdog_ms = threshold_ms > 0 ? threshold_ms : 0;
    pthread_cond_broadcast(&watchdog_wake);
    pthread_mutex_unlock(&lock);
}

/* With the lock held. Without a thread for it there is no watchdog, and that is no reason not to
 * serve. */
static void start_watching(void)
{
    if (watchdog_runs || watchdog_users == 0 || watchdog_holds > 0)
        return;
    void *turn = (void *)watchdog_turn;
    watchdog_runs = pi_thread_start(&watchdog_thread, watchdog_main, turn, 0) == 0;
}

/* With the lock held, which it lets go of. */
static void stop_watching(void)
{
    bool ran = watchdog_runs;
    pthread_t stopped = watchdog_thread; /* another may start before this one has ended */
    watchdog_runs = false;
    watchdog_turn += ran;
    pthread_cond_broadcast(&watchdog_wake);
    pthread_mutex_unlock(&lock);
    if (ran)
        pthread_join(stopped, NULL);
}

void pi_watchdog_start(void)
{
    pthread_mutex_lock(&lock);
    watchdog_users++;
    start_watching();
    pthread_mutex_unlock(&lock);
}

void pi_watchdog_stop(void)
{
    pthread_mutex_lock(&lock);
    if (--watchdog_users == 0)
        stop_watching();
    else
        pthread_mutex_unlock(&lock);
}

void pi_watchdog_hold(void)
{
    pthread_mutex_lock(&lock);
    watchdog_holds++;
    stop_watching();
}

void pi_watchdog_release(void)
{
    pthread_mutex_lock(&lock);
    watchdog_holds--;
    start_watching();
    pthread_mutex_unlock(&lock);
}

void pi_watch_after_fork(void)
{
    watched = NULL;
    watchdog_users = watchdog_holds = 0;
}
