/* SPDX-License-Identifier: MIT */
/*
 * net/dial.c - connecting: resolve, then try the addresses by Happy Eyeballs (RFC 8305).
 *
 * The attempts are made one after the other in the caller; only when one has not answered within
 * the attempt delay do it and those that follow become tasks that race. So most dials cost no task,
 * and a plain thread no loop. The first that connects cancels the others. The race also begins at
 * once when one family's addresses are there and the other's late: those join it when they come.
 */
#define _GNU_SOURCE
#include "net/dial.h"
#include "net/capture.h"
#include "net/tls.h"
#include "net/resolve.h"
#include "net/udp.h"

#include "base/assert.h"
#include "task/sockets.h"

#include <string.h>

enum {
    CONNECT_TIMEOUT_MS = 10 * 1000,
    ATTEMPT_DELAY_MS = 250, /* RFC 8305, section 5 */
    BACKLOG_RETRY_MS = 10,  /* a Unix socket cannot tell when its peer's backlog has room */
};

struct attempt {
    struct race *race;
    struct pi_addr addr;
    struct io_fd io;
    struct io_op op;
};

struct race {
    struct pier_scope scope;
    struct pi_task *starter; /* parked between two starts */
    struct attempt attempts[PI_ADDRS_MAX];
    int count, started, pending;
    int winner; /* index; -1: none yet */
    bool told;  /* the failure has its words: an option that cannot be set */
    int error;  /* of the attempt that failed last */
    int64_t deadline_ns;
    const struct pier_dial_opts *opts;
    struct pi_dial_times *times; /* or NULL */
    const struct pi_url *url;
    struct pi_lookup *rest; /* the addresses of the other family are still to come */
    int64_t next_ns;        /* not before then, unless all others have failed */
};

static bool has_passed(int64_t deadline_ns)
{
    return deadline_ns && deadline_ns <= pi_clock_ns();
}

/* Opens the socket; connect_until() does the rest. */
static int begin(struct attempt *a)
{
    const struct pi_addr *addr = &a->addr;
    int fd = io_sockets()->open(addr->any.sa_family, SOCK_STREAM);
    if (fd < 0)
        return fd;
    if (addr->any.sa_family != AF_UNIX) {
        int rc = pi_sock_apply(fd, a->race->opts ? &a->race->opts->sock : NULL);
        if (rc < 0) {
            io_sockets()->close(fd);
            a->race->told = true;
            return rc;
        }
    }
    io_fd_init(&a->io, fd);
    a->op = (struct io_op){
        .code = IO_CONNECT, .fd = &a->io, .buf = (void *)&addr->any, .addr_len = addr->len
    };
    return 0;
}

static void give_up(struct attempt *a, int error)
{
    io_close(&a->io);
    a->race->error = error;
}

/* Waits for the attempt until then: 0 when it is connected; the socket is closed on any failure but
 * -ETIMEDOUT and cancellation. */
static int connect_until(struct attempt *a, int64_t until_ns)
{
    for (;;) {
        a->op.deadline_ns = until_ns;
        int rc = (int)io_run(&a->op);
        if (rc != -ENOBUFS || a->addr.any.sa_family != AF_UNIX)
            return rc;
        a->op.len = 0;
        rc = pier_sleep(BACKLOG_RETRY_MS * PIER_MILLISECOND);
        if (rc == 0 && has_passed(until_ns))
            rc = -ETIMEDOUT;
        if (rc < 0)
            return rc;
    }
}

/* ---- addresses that come later ---- */

/* One of the new ones, then one of those that have not had their turn (RFC 8305, 4 and 5). */
static void add_addrs(struct race *race, const struct pi_addr *more, int more_count)
{
    struct pi_addr old[PI_ADDRS_MAX];
    int old_count = race->count - race->started, from_more = 0, from_old = 0;
    for (int i = 0; i < old_count; i++)
        old[i] = race->attempts[race->started + i].addr;
    race->count = race->started;
    while (race->count < PI_ADDRS_MAX && (from_more < more_count || from_old < old_count)) {
        struct attempt *a = &race->attempts[race->count++];
        bool is_more = from_more < more_count && (from_more <= from_old || from_old == old_count);
        *a = (struct attempt){ .race = race,
                               .addr = is_more ? more[from_more++] : old[from_old++],
                               .io.fd = -1 };
    }
}

/* A task: the rest of the look-up. */
static int await_rest(void *arg)
{
    struct race *race = *(struct race **)arg;
    struct pi_addr more[PI_ADDRS_MAX];
    int count = pi_addr_find_rest(more, race->url, race->rest);
    race->rest = NULL;
    add_addrs(race, more, count);
    if (race->pending == 0 || has_passed(race->next_ns))
        pi_ready(race->starter, 0);
    return 0;
}

/* ---- the race ---- */

static int run_attempt(void *arg)
{
    struct attempt *a = *(struct attempt **)arg;
    struct race *race = a->race;
    int rc = connect_until(a, race->deadline_ns);
    race->pending--;
    if (rc == 0 && race->winner < 0) {
        race->winner = (int)(a - race->attempts);
        io_detach(&a->io);
        pier_scope_cancel(&race->scope);
    } else {
        give_up(a, rc < 0 ? rc : race->error);
        pi_ready(race->starter, 0);
    }
    return 0;
}

/* A task that cannot be had is one attempt less, not the end of the others. */
static int spawn_attempt(struct race *race, struct attempt *a)
{
    return pi_spawn_copy(&race->scope, "connect", run_attempt, &a, sizeof a);
}

static int start_attempt(struct race *race)
{
    struct attempt *a = &race->attempts[race->started++];
    int rc = begin(a);
    race->next_ns = pier_after(ATTEMPT_DELAY_MS * PIER_MILLISECOND);
    if (rc == 0) {
        rc = spawn_attempt(race, a);
        if (rc < 0)
            io_close(&a->io);
    }
    if (rc < 0)
        race->error = rc;
    else
        race->pending++;
    return rc;
}

/* The next one starts when the delay is over, or at once when all before it have failed. */
static int start_the_rest(struct race *race)
{
    struct pi_task *self = pi_task_self();
    race->starter = self;
    int rc = 0;
    while (rc == 0 && race->winner < 0 &&
           (race->started < race->count || race->pending > 0 || race->rest)) {
        bool more = race->started < race->count;
        if (more)
            start_attempt(race);
        if (race->pending == 0 && (!race->rest || race->started < race->count))
            continue;
        bool is_next = race->rest || (more && race->started < race->count);
        int64_t delay = is_next ? race->next_ns : race->deadline_ns;
        if (race->rest && has_passed(delay))
            delay = race->deadline_ns;
        self->waits_for = "connect";
        rc = pi_park(self, pi_deadline(self, delay), true);
        if (rc == -ETIMEDOUT && pi_cancel_check(self) == 0 && !has_passed(race->deadline_ns))
            rc = 0;
    }
    return rc;
}

/* attempt 0 … started-1 have failed but for the last one, which has not answered yet. */
static int race_on(struct race *race)
{
    struct attempt *slow = &race->attempts[race->started - 1];
    pier_scope_open(&race->scope, 0);
    race->starter = pi_task_self();
    int rc = spawn_attempt(race, slow);
    if (rc < 0)
        io_close(&slow->io);
    else
        race->pending = 1;
    if (rc == 0)
        rc = start_the_rest(race);
    pier_scope_cancel(&race->scope);
    pier_scope_join(&race->scope);
    if (race->winner >= 0)
        return 0;
    return rc < 0 ? rc : race->error;
}

/* The same where none has begun, and more addresses are on their way. -EAGAIN: without a task for
 * those, which are left out, there is no race. */
static int race_for_more(struct race *race)
{
    pier_scope_open(&race->scope, 0);
    race->starter = pi_task_self();
    int rc = pi_spawn_copy(&race->scope, "resolve", await_rest, &race, sizeof race);
    if (rc == 0) {
        rc = start_the_rest(race);
    } else {
        pi_resolve_leave(race->rest);
        race->rest = NULL;
        rc = -EAGAIN;
    }
    pier_scope_cancel(&race->scope);
    pier_scope_join(&race->scope);
    if (race->winner >= 0)
        return 0;
    return rc < 0 ? rc : race->error;
}

/* Connects to one of the addresses: 0, and race->winner is set; or the code of the failure. */
static int connect_any(struct race *race)
{
    race->winner = -1;
    race->error = -EHOSTUNREACH;
    int more = race->rest ? race_for_more(race) : -EAGAIN;
    if (more != -EAGAIN)
        return more;
    while (race->started < race->count) {
        struct attempt *a = &race->attempts[race->started++];
        int rc = begin(a);
        if (rc < 0) {
            race->error = rc;
            continue;
        }
        bool is_last = race->started == race->count;
        int64_t soon = pier_after(ATTEMPT_DELAY_MS * PIER_MILLISECOND);
        bool waits_long = is_last || (race->deadline_ns && race->deadline_ns < soon);
        rc = connect_until(a, waits_long ? race->deadline_ns : soon);
        if (rc == 0) {
            io_detach(&a->io); /* the connection registers it as its own */
            race->winner = race->started - 1;
            return 0;
        }
        bool is_cancelled = pi_cancel_check(pi_task_self()) < 0;
        /* Not one that the system itself has given up (ETIMEDOUT, tcp(7)). */
        if (rc == -ETIMEDOUT && !waits_long && !is_cancelled && has_passed(soon))
            return race_on(race);
        give_up(a, rc);
        bool is_over = is_cancelled || has_passed(race->deadline_ns);
        if (is_over && (rc == -ECANCELED || rc == -ETIMEDOUT))
            return rc;
    }
    return race->error;
}

/* ---- public ---- */

static int dial_addrs(struct race *race, const struct pi_addr *addrs, int count, const char *what)
{
    race->count = count;
    for (int i = 0; i < count; i++)
        race->attempts[i] = (struct attempt){ .race = race, .addr = addrs[i], .io.fd = -1 };
    int rc = connect_any(race);
    if (rc < 0 && race->told && rc == pier_error_code())
        return rc;
    return rc < 0 ? pi_fail_connect(rc, "%s", what) : 0;
}

static struct pier_conn *dial(const struct pi_url *url, const struct pier_dial_opts *opts,
                              struct race *race, const char *what)
{
    struct pi_addr addrs[PI_ADDRS_MAX];
    const struct pi_addr_ask ask = { .deadline_ns = race->deadline_ns,
                                     .what = what,
                                     .servers = opts ? opts->servers : NULL,
                                     .rest = &race->rest };
    race->url = url;
    int count = pi_addr_find(addrs, url, &ask);
    if (count > 0 && race->times)
        race->times->resolved_ns = pi_clock_ns();
    if (count < 0 || dial_addrs(race, addrs, count, what) < 0)
        return NULL;
    if (race->times)
        race->times->connected_ns = pi_clock_ns();
    struct attempt *won = &race->attempts[race->winner];
    struct pier_conn *c = pi_conn_new(won->io.fd, pi_transport_of(won->addr.any.sa_family),
                                      &won->addr.any, opts);
    if (!c)
        io_sockets()->close(won->io.fd);
    else if (opts)
        pi_captured_begin(c, opts->capture, NULL);
    return c;
}

struct pier_conn *pi_dial(const char *text, const struct pier_dial_opts *opts,
                          struct pi_dial_times *times)
{
    struct pi_url url;
    if (pi_url_parse(&url, text, true) < 0)
        return NULL;
    if (url.scheme == PI_UDP)
        return pi_udp_dial(&url, text, opts);
    if (url.scheme == PI_HTTP || url.scheme == PI_HTTPS) {
        pi_fail_text(PIER_EURL, "dial %s: this scheme is not supported yet", text);
        return NULL;
    }
    struct race *race = pi_zalloc(sizeof *race); /* 3 KiB: too much for a frame that stays */
    if (!race) {
        pi_fail(-ENOMEM, "dial %s", text);
        return NULL;
    }
    char what[PI_URL_TEXT_CAP + 8];
    snprintf(what, sizeof what, "dial %s", text);
    int ms = opts && opts->connect_timeout_ms ? opts->connect_timeout_ms : CONNECT_TIMEOUT_MS;
    race->deadline_ns = ms < 0 ? 0 : pier_after(ms * PIER_MILLISECOND);
    race->opts = opts;
    race->times = times;
    struct pier_conn *c = dial(&url, opts, race, what);
    pi_free(race);
    if (c && url.scheme == PI_TLS && pi_tls_connect(c, &url, opts ? opts->tls : NULL) < 0) {
        pier_close(c);
        return NULL;
    }
    return c;
}

struct pier_conn *pier_dial(const char *text, const struct pier_dial_opts *opts)
{
    return pi_dial(text, opts, NULL);
}
