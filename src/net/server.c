/* SPDX-License-Identifier: MIT */
/*
 * net/server.c - the server object: adding, listening, running on one loop or several, and being
 * stopped.
 */
#define _GNU_SOURCE
#include "net/firewall.h"
#include "net/proxy.h"
#include "net/tls.h"

#include "base/assert.h"
#include "task/sockets.h"

#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct pier_server *pier_server_new(const struct pier_serve_opts *opts)
{
    struct pier_server *s = pi_zalloc(sizeof *s);
    if (!s) {
        pi_fail(-ENOMEM, "server");
        return NULL;
    }
    if (opts)
        s->opts = *opts;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void pier_server_free(struct pier_server *s)
{
    if (!s)
        return;
    PIER_ASSERT(!s->is_running);
    pi_server_close_listeners(s);
    pi_shared_close(s);
    pi_tls_server_close(s);
    pi_firewall_close(s);
    pi_proxies_close(s);
    for (int i = 0; i < s->endpoint_count; i++) {
        pi_free(s->endpoints[i].text);
        if (s->endpoints[i].drop)
            s->endpoints[i].drop(s->endpoints[i].arg);
    }
    pi_free(s->endpoints);
    pi_free(s->listeners);
    pi_free(s->workers);
    pi_free(s->ended);
    pi_err_fini(&s->err);
    pthread_mutex_destroy(&s->lock);
    pi_free(s);
}

int pi_server_remember(struct pier_server *s, int rc)
{
    if (rc >= 0 || s->first_error)
        return rc;
    const struct pi_err *err = &pi_task_self()->err;
    s->first_error = rc;
    s->err = (struct pi_err){ err->code, err->kind, err->text ? pi_strdup(err->text) : NULL };
    return rc;
}

/* The server keeps its words: listen and run may both return it. */
static int first_failure(struct pier_server *s)
{
    struct pi_err copy = { s->err.code, s->err.kind, s->err.text ? pi_strdup(s->err.text) : NULL };
    pi_err_move(&pi_task_self()->err, &copy);
    return s->first_error;
}

int pi_server_may_add(const struct pier_server *s, struct pi_url *url, const char *text)
{
    if (s->is_listening)
        return pi_fail(-EISCONN, "listen %s", text);
    return pi_url_parse(url, text, false);
}

int pier_server_add(struct pier_server *s, const char *text, pier_handler handler, void *arg)
{
    struct pi_url url;
    if (!s)
        return pi_conn_null();
    int rc = pi_server_may_add(s, &url, text);
    if (rc == 0 && (url.scheme == PI_HTTP || url.scheme == PI_HTTPS))
        rc = pi_fail_text(PIER_EURL, "listen %s: HTTP is for pier_server_add_http()", text);
    if (rc == 0)
        rc = pi_server_add_endpoint(s, text, &url, handler, arg, -1);
    return pi_server_remember(s, rc);
}

static int add_inherited(struct pier_server *s, int fd, pier_handler handler, void *arg)
{
    struct pi_addr addr = { .len = sizeof addr.un };
    struct pi_url url = { .scheme = PI_TCP };
    char host[PI_ADDR_TEXT_CAP], text[PI_URL_TEXT_CAP];
    if (getsockname(fd, &addr.any, &addr.len) < 0)
        return pi_fail(-errno, "listen on inherited descriptor %d", fd);
    if (!pi_inherited_listens(fd))
        return pi_fail_text(-EPROTOTYPE, "inherited descriptor %d is no listening stream socket",
                            fd);
    bool is_unix = addr.any.sa_family == AF_UNIX;
    url.scheme = is_unix ? PI_UNIX : PI_TCP;
    snprintf(text, sizeof text, "%s://%s", is_unix ? "unix" : "tcp",
             pi_addr_format(host, sizeof host, &addr));
    int rc = pi_server_add_endpoint(s, text, &url, handler, arg, fd);
    if (rc == 0)
        pi_inherited_mark_taken(fd);
    return rc;
}

int pier_server_add_inherited(struct pier_server *s, pier_handler handler, void *arg)
{
    if (!s)
        return pi_conn_null();
    if (s->is_listening)
        return pi_server_remember(s, pi_fail(-EISCONN, "listen on inherited descriptors"));
    int count = pi_inherited_count();
    int added = 0;
    for (int i = 0; i < count; i++) {
        int fd = pi_inherited_fd(i);
        int rc = fd < 0 ? 0 : add_inherited(s, fd, handler, arg);
        if (rc < 0)
            return pi_server_remember(s, rc);
        added += fd >= 0;
    }
    return added;
}

int pier_server_listen(struct pier_server *s)
{
    if (!s)
        return pi_conn_null();
    if (s->first_error)
        return first_failure(s);
    if (s->is_listening)
        return 0;
    if (io_is_simulated())
        s->opts.model = PIER_TASKS; /* whose handlers cannot tell the difference */
    if (s->endpoint_count == 0)
        return pi_server_remember(s, pi_fail_text(-EINVAL, "listen: the server has no endpoint"));
    if (s->opts.model < PIER_TASKS || s->opts.model > PIER_PREFORK)
        return pi_server_remember(s, pi_fail_text(-EINVAL, "listen: the server has no such model"));
    int rc = pi_firewall_open(s);
    if (rc == 0)
        rc = pi_proxies_open(s);
    if (rc == 0)
        rc = pi_tls_server_open(s);
    if (rc == 0)
        rc = pi_server_open(s);
    s->is_listening = rc == 0;
    return pi_server_remember(s, rc);
}

int pier_server_count(const struct pier_server *s)
{
    return s ? s->listener_count : 0;
}

const char *pier_server_url(const struct pier_server *s, int index)
{
    return s && index >= 0 && index < s->listener_count ? s->listeners[index].url : NULL;
}

int pier_server_conns(const struct pier_server *s)
{
    if (!s)
        return 0;
    int count = pi_conns(s), most = pi_max_conns(s);
    return count < most ? count : most; /* a worker that looks for a place counts itself first */
}

int64_t pier_server_dropped(const struct pier_server *s)
{
    if (!s)
        return 0;
    return s->shared ? atomic_load(&s->shared->dropped) : atomic_load(&s->dropped);
}

/* ---- stopping ---- */

/* Each worker is told directly: one that is busy keeps nobody else from stopping. No lock, for
 * signal handlers; a worker that ends waits until nobody is inside. The process that runs the
 * server, be it another one, hears its bell. */
void pier_server_stop_remote(struct pier_server *s)
{
    if (!s)
        return;
    atomic_fetch_add(&s->stoppers, 1);
    atomic_store(&s->stop_requested, true);
    int count = atomic_load(&s->reachable);
    for (int i = 0; i < count; i++)
        pi_worker_nudge(&s->workers[i]);
    if (s->shared) {
        atomic_store(&s->shared->stop, true);
        pi_bell_ring(s->shared->boss_fd);
    }
    atomic_fetch_sub(&s->stoppers, 1);
}

/* ---- signals: the one server that runs on the main thread ---- */

static const int stop_signals[] = { SIGINT, SIGTERM };
enum { STOP_SIGNALS = sizeof stop_signals / sizeof stop_signals[0] };

static _Atomic(struct pier_server *) signalled;
static _Atomic int in_handler; /* threads: any may be the one that a signal interrupts */
static struct sigaction saved[STOP_SIGNALS], saved_hangup;
static bool has_hangup; /* SIGHUP is ours, too: there are certificates to be read again */

static void restore_signals(void)
{
    for (int i = 0; i < STOP_SIGNALS; i++)
        sigaction(stop_signals[i], &saved[i], NULL);
    if (has_hangup)
        sigaction(SIGHUP, &saved_hangup, NULL);
}

/* The first signal stops; from then on signals do what they did before run. */
static void on_signal(int number)
{
    atomic_fetch_add(&in_handler, 1);
    struct pier_server *s = atomic_load(&signalled);
    if (s) {
        restore_signals();
        pier_server_stop_remote(s);
    }
    atomic_fetch_sub(&in_handler, 1);
}

/* Somebody asks for a reload; the kernel, whose word it is that the terminal is gone, for a stop.
 */
static void on_hangup(int number, siginfo_t *info, void *context)
{
    if (info->si_code == SI_KERNEL) {
        on_signal(number);
        return;
    }
    atomic_fetch_add(&in_handler, 1);
    pier_server_reload_remote(atomic_load(&signalled));
    atomic_fetch_sub(&in_handler, 1);
}

static bool is_ignored(const struct sigaction *action)
{
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == SIG_IGN;
}

/* Also where it was ignored, as by nohup(1): then nobody minds. */
static void take_hangup(const struct pier_server *s)
{
    struct sigaction ours = { .sa_sigaction = on_hangup, .sa_flags = SA_RESTART | SA_SIGINFO };
    has_hangup = s->tls && sigaction(SIGHUP, &ours, &saved_hangup) == 0;
}

/* A signal that is ignored, as in a shell's background job, stays so. */
static bool take_signals(struct pier_server *s)
{
    struct pier_server *nobody = NULL;
    if (s->opts.no_signals || io_is_simulated() || getpid() != (pid_t)syscall(SYS_gettid))
        return false;
    if (!atomic_compare_exchange_strong(&signalled, &nobody, s))
        return false; /* what is saved is the other server's */
    for (int i = 0; i < STOP_SIGNALS; i++)
        sigaction(stop_signals[i], NULL, &saved[i]);
    struct sigaction ours = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    for (int i = 0; i < STOP_SIGNALS; i++)
        sigaddset(&ours.sa_mask, stop_signals[i]);
    for (int i = 0; i < STOP_SIGNALS; i++)
        if (!is_ignored(&saved[i]))
            sigaction(stop_signals[i], &ours, NULL);
    take_hangup(s);
    return true;
}

static void give_signals_back(void)
{
    restore_signals();
    atomic_store(&signalled, NULL);
    while (atomic_load(&in_handler) > 0)
        sched_yield();
}

/* ---- running ---- */

static void *worker_main(void *arg)
{
    struct pi_worker *w = arg;
    pi_task_self()->name = "worker";
    w->rc = pi_worker_run(w);
    if (w->rc < 0 && !atomic_load(&w->server->stop_requested))
        pier_log(PIER_LOG_ERROR, "a worker ended", pier_str("error", pier_error()));
    return NULL;
}

/* A worker that cannot be started leaves the others with the load. */
static void start_workers(struct pier_server *s)
{
    for (int i = 1; i < s->worker_count; i++) {
        struct pi_worker *w = &s->workers[i];
        int rc = pi_thread_start(&w->id, worker_main, w, 0);
        w->has_thread = rc == 0;
        if (rc == 0)
            continue;
        atomic_fetch_sub(&s->open_workers, 1);
        atomic_store(&w->has_failed, true);
        pier_log(PIER_LOG_WARN, "a worker could not be started",
                 pier_str("error", pier_strerror(rc)));
    }
}

static void join_workers(struct pier_server *s)
{
    atomic_store(&s->stop_requested, true);
    pi_server_nudge(s);
    for (int i = 1; i < s->worker_count; i++)
        if (s->workers[i].has_thread)
            pthread_join(s->workers[i].id, NULL);
}

static bool has_processes(const struct pier_server *s)
{
    return s->opts.model == PIER_PROCESSES || s->opts.model == PIER_PREFORK;
}

/* Inside a task, or under another scope's loop, there is this one loop; threads need one to accept,
 * and so do processes; a worker of PIER_PREFORK is alone in its own. */
static int worker_count(const struct pier_server *s, const struct pi_task *self)
{
    bool is_one = self->thread->loop || s->opts.model != PIER_TASKS;
    return is_one ? 1 : pi_wanted_workers(s);
}

/* A failure to fork is better found now than at the first connection. */
static int prepare_processes(struct pier_server *s)
{
    if (pi_task_self()->thread->loop)
        return pi_fail_text(-EBUSY, "serve: tasks run on this thread, and a server with processes "
                                    "needs it alone");
    int rc = pi_fork_prepare();
    if (rc < 0)
        return rc;
    pi_fork_over();
    bool is_prefork = s->opts.model == PIER_PREFORK;
    rc = pi_shared_open(s, is_prefork ? pi_wanted_workers(s) : 1);
    if (rc == 0 && !is_prefork) {
        s->workers[0].slot = &s->shared->slots[0];
        s->workers[0].bell_fd = s->shared->boss_fd;
    }
    return rc;
}

static int prepare(struct pier_server *s)
{
    struct pi_task *self = pi_task_self();
    int count = worker_count(s, self);
    s->workers = pi_zalloc((size_t)count * sizeof *s->workers);
    if (!s->workers)
        return pi_fail(-ENOMEM, "server");
    s->worker_count = count;
    for (int i = 0; i < count; i++)
        s->workers[i].server = s;
    int rc = has_processes(s) ? prepare_processes(s) : 0;
    if (rc < 0) {
        pi_free(s->workers);
        s->workers = NULL;
        return rc;
    }
    atomic_store(&s->open_workers, count);
    s->is_running = true;
    atomic_store(&s->reachable, count);
    return 0;
}

static void finish(struct pier_server *s)
{
    pi_server_close_listeners(s);
    pi_firewall_say_rest(s);
    s->is_running = false;
    s->has_run = true;
}

static int run_workers(struct pier_server *s)
{
    bool is_watched = s->opts.model != PIER_PROCESSES &&
                      !io_is_simulated(); /* whose time is its own */
    bool blocks = s->opts.model == PIER_THREADS;
    if (blocks)
        io_blocking_open();
    if (is_watched)
        pi_watchdog_start();
    pi_worker_open(&s->workers[0]); /* before the others' connections take the last descriptors */
    start_workers(s);
    pi_notify("READY=1");
    int rc = pi_worker_run(&s->workers[0]);
    join_workers(s);
    if (is_watched)
        pi_watchdog_stop();
    if (blocks)
        io_blocking_close();
    return rc;
}

static void log_listening(const struct pier_server *s)
{
    for (int i = 0; i < s->listener_count; i++)
        pier_log(PIER_LOG_INFO, "listening", pier_str("url", s->listeners[i].url));
}

int pier_server_run(struct pier_server *s)
{
    if (!s)
        return pi_conn_null();
    if (s->is_running || s->has_run)
        return pi_fail_text(-EALREADY, "server: it %s already", s->is_running ? "runs" : "has run");
    int rc = pier_server_listen(s);
    if (rc == 0)
        rc = prepare(s);
    if (rc < 0)
        return rc;
    sigset_t pipe, before;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    bool has_signals = take_signals(s);
    if (has_processes(s))
        pi_forked_open();
    if (s->announces) /* now: whoever reads it may send a signal at once */
        log_listening(s);
    rc = s->opts.model == PIER_PREFORK ? pi_prefork_run(s) : run_workers(s);
    if (has_processes(s))
        pi_forked_close();
    if (has_signals)
        give_signals_back();
    finish(s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == -ECANCELED || rc == -ETIMEDOUT ? pi_fail(rc, "serve") : rc;
}

int pi_serve_to_end(struct pier_server *s, int rc, const char *url)
{
    if (rc == 0)
        rc = pier_server_listen(s);
    if (rc == 0) {
        s->announces = true;
        rc = pier_server_run(s);
    }
    if (rc == 0)
        pier_log(PIER_LOG_INFO, "stopped", pier_str("url", url));
    else
        pier_log(PIER_LOG_ERROR, pier_error(), pier_str("url", url));
    int code = rc < 0 ? pier_exit_code() : 0;
    pier_server_free(s);
    return code;
}

int pier_serve(const char *url, pier_handler handler, void *arg, const struct pier_serve_opts *opts)
{
    struct pier_server *s = pier_server_new(opts);
    int rc = s ? pier_server_add(s, url, handler, arg) : pier_error_code();
    return pi_serve_to_end(s, rc, url);
}
