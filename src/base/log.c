/* SPDX-License-Identifier: MIT */
/*
 * base/log.c - who receives a log record, and how a finished line reaches its stream.
 *
 * What a line looks like is not known here: the sinks live in text/log_human.c and text/log_json.c,
 * on top of escaping and JSON. The default one is reached through its public prototype, so nothing
 * is included from above.
 *
 * Invariant: a record sees a sink and the ctx that was set with it, never a mixture, and finding it
 * waits for no other thread.
 */
#include "base/log.h"

#include "base/assert.h"
#include "base/sys.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

/* How long a full pipe or a paused terminal may hold up the program: less than what the watchdog
 * calls a stall. Once it did, later lines do not wait at all, until one is taken again. */
enum { STALL_MS = 50 };

/* A signal handler that interrupts a write this often without a byte written costs the line. */
enum { WRITE_TRIES_MAX = 8 };

struct sink {
    _Atomic(pier_log_fn) fn;
    _Atomic(void *) ctx;
};

/* The standing sink is sinks[changes % 2]; the next one is prepared in the other place. */
static struct sink sinks[2] = { { pier_log_human, NULL }, { pier_log_human, NULL } };
static _Atomic unsigned changes;
static pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;

static _Atomic int max_level = PIER_LOG_INFO;
static atomic_bool stalled;

/* ---- the sink ---- */

void pier_log_set(pier_log_fn fn, void *ctx)
{
    pthread_mutex_lock(&changing);
    unsigned next = atomic_load(&changes) + 1;
    atomic_store(&sinks[next % 2].fn, fn ? fn : pier_log_human);
    atomic_store(&sinks[next % 2].ctx, fn ? ctx : NULL);
    atomic_store(&changes, next);
    pthread_mutex_unlock(&changing);
}

/* A place is rewritten only after the other one became the standing sink. So if what was read is a
 * mixture, changes has moved on; and a reader goes round again only because a change was completed,
 * never because one is under way. */
static pier_log_fn standing_sink(void **ctx)
{
    unsigned seen;
    pier_log_fn fn;
    do {
        seen = atomic_load(&changes);
        fn = atomic_load(&sinks[seen % 2].fn);
        *ctx = atomic_load(&sinks[seen % 2].ctx);
    } while (atomic_load(&changes) != seen);
    return fn;
}

/* ---- records ---- */

void pier_log_set_level(enum pier_log_level level)
{
    atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
}

int pier_log_enabled(enum pier_log_level level)
{
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

/* errno is kept, so that a log line between a failing call and its examination does no harm. */
void pier_log_record(enum pier_log_level level, const char *msg,
                     const struct pier_log_field *fields, size_t count)
{
    if (!pier_log_enabled(level))
        return;
    int saved = errno;
    if (pi_sys->log) {
        pi_sys->log((int)level, msg, fields, count);
        errno = saved;
        return;
    }
    void *ctx;
    pier_log_fn fn = standing_sink(&ctx);
    fn(ctx, level, msg, fields, count);
    errno = saved;
}

struct pier_log_field pier_bytes(const char *key, const void *value, size_t len)
{
    return (struct pier_log_field){ .key = key, .kind = PIER_LOG_STR, .str = value, .len = len };
}

struct pier_log_field pier_str(const char *key, const char *value)
{
    const char *str = value ? value : "";
    return pier_bytes(key, str, strlen(str));
}

struct pier_log_field pier_int(const char *key, int64_t value)
{
    return (struct pier_log_field){ .key = key, .kind = PIER_LOG_INT, .num = value };
}

/* ---- lines ---- */

const char *pi_log_level_name(enum pier_log_level level)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    return (size_t)level < sizeof names / sizeof names[0] ? names[level] : "debug";
}

/* Whether a write would not wait. A stream without a descriptor (memory) never does. A signal ends
 * the wait early. */
static bool takes_a_line(FILE *out)
{
    int fd = fileno(out);
    if (fd < 0)
        return true;
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    bool ready = poll(&p, 1, atomic_load(&stalled) ? 0 : STALL_MS) > 0;
    atomic_store(&stalled, !ready);
    return ready;
}

/* A line that cannot be written is lost: there is nobody to be told. Returns false when the reader
 * of a pipe has gone: SIGPIPE is then pending. */
static bool put(FILE *out, const char *line, size_t len)
{
    errno = 0;
    for (int tries = 0; len > 0 && tries < WRITE_TRIES_MAX; tries++) {
        size_t n = fwrite_unlocked(line, 1, len, out);
        line += n;
        len -= n;
        if (len > 0 && errno != EINTR)
            break;
    }
    if (len == 0)
        fflush_unlocked(out); /* fails as a write does */
    return errno != EPIPE;
}

/* A SIGPIPE of our own making is taken back; one that was pending before stays pending. */
static void put_without_sigpipe(FILE *out, const char *line, size_t len)
{
    sigset_t sigpipe, mask, pending;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    sigemptyset(&pending);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &mask);
    if (sigismember(&mask, SIGPIPE))
        sigpending(&pending);

    if (!put(out, line, len) && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&sigpipe, NULL, &(struct timespec){ 0 });
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

void pi_log_write(void *stream, const char *line, size_t len)
{
    PIER_ASSERT(len <= PI_LOG_LINE_MAX);
    FILE *out = stream ? stream : stderr;
    flockfile(out);
    if (takes_a_line(out))
        put_without_sigpipe(out, line, len);
    funlockfile(out);
}
