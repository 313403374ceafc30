/* SPDX-License-Identifier: MIT */
/*
 * net/tls_server.c - a server's certificates over its life, and the handshakes of its connections.
 *
 * The files are read when the server begins to listen, so that a process may give up the right to
 * read them. Each worker makes a context of its own from those bytes. Who shakes hands looks at the
 * files once a second: new ones that do are the next generation, others are logged and the old ones
 * stay. Threads share the first worker's context; a process per connection has the one that its
 * parent looked after before the fork. Processes each see for themselves that files have changed.
 */
#define _GNU_SOURCE
#include "net/server.h"
#include "net/tls.h"

#include "base/assert.h"

#include <string.h>

enum { LOOK_MS = 1000, MAX_HANDSHAKES = 1000 };

struct pi_tls_server {
    pthread_mutex_t lock;
    struct pier_tls_opts opts; /* a copy, with its texts */
    struct pi_tls_files files;
    struct pi_tls_tickets *tickets;
    unsigned generation; /* of files */
    unsigned reloads;    /* that have been heeded */
    int64_t looked_ns;
    bool has_complained; /* since they were good, or a reload was asked for */
    _Atomic int shaking; /* hands, in threads */
};

static bool has_tls(const struct pier_server *s)
{
    for (int i = 0; i < s->endpoint_count; i++)
        if (pi_url_has_tls(&s->endpoints[i].url))
            return true;
    return false;
}

/* ---- the options ---- */

static int copy_text(const char **text)
{
    *text = *text ? pi_strdup(*text) : NULL;
    return *text ? 0 : -ENOMEM;
}

static int copy_certs(struct pier_tls_opts *o)
{
    const struct pier_tls_cert *theirs = o->more_certs;
    int count = o->more_count > 0 ? o->more_count : 0;
    struct pier_tls_cert *own = count > 0 ? pi_zalloc((size_t)count * sizeof *own) : NULL;
    o->more_certs = own;
    o->more_count = 0;
    int rc = own || count == 0 ? 0 : -ENOMEM;
    for (int i = 0; i < count && rc == 0; i++) {
        own[i] = theirs[i];
        o->more_count++;
        const char **texts[] = { &own[i].cert_file, &own[i].key_file, &own[i].ocsp_file };
        for (int j = 0; j < 3; j++)
            rc = *texts[j] && copy_text(texts[j]) < 0 ? -ENOMEM : rc;
    }
    return rc;
}

/* What a server uses. All of them are copied, also where one fails: so that all can be freed. */
static int copy_opts(struct pier_tls_opts *o)
{
    const char **texts[] = { &o->cert_file, &o->key_file,  &o->alpn,
                             &o->ciphers,   &o->ocsp_file, &o->client_ca_file };
    int rc = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        rc = *texts[i] && copy_text(texts[i]) < 0 ? -ENOMEM : rc;
    o->ca_file = o->server_name = o->pinned_key = NULL;
    int certs = copy_certs(o);
    return rc < 0 ? rc : certs;
}

static void free_opts(struct pier_tls_opts *o)
{
    for (int i = 0; i < o->more_count; i++) {
        pi_free((char *)o->more_certs[i].cert_file);
        pi_free((char *)o->more_certs[i].key_file);
        pi_free((char *)o->more_certs[i].ocsp_file);
    }
    pi_free((struct pier_tls_cert *)o->more_certs);
    pi_free((char *)o->cert_file);
    pi_free((char *)o->key_file);
    pi_free((char *)o->alpn);
    pi_free((char *)o->ciphers);
    pi_free((char *)o->ocsp_file);
    pi_free((char *)o->client_ca_file);
}

/* ---- the files ---- */

/* Reads them and makes a context, to see whether they do. */
static int try_files(struct pi_tls_files *files, const struct pier_tls_opts *opts,
                     struct pi_tls_tickets *tickets)
{
    int rc = pi_tls_files_read(files, opts);
    if (rc < 0)
        return rc;
    struct pi_tls_context *c = pi_tls_context_new(opts, files, true, tickets);
    if (!c) {
        rc = pier_error_code();
        pi_tls_files_free(files);
    }
    pi_tls_context_drop(c);
    return rc;
}

static void free_server(struct pi_tls_server *tls)
{
    free_opts(&tls->opts);
    pi_tls_files_free(&tls->files);
    pi_tls_tickets_free(tls->tickets);
    pi_free(tls);
}

/* How long a client may take to begin. */
static int64_t hello_ns(const struct pier_tls_opts *opts)
{
    int ms = opts->handshake_timeout_ms ? opts->handshake_timeout_ms : PI_TLS_HANDSHAKE_MS;
    return (ms < 0 ? INT32_MAX : ms) * PIER_MILLISECOND;
}

int pi_tls_server_open(struct pier_server *s)
{
    if (!has_tls(s))
        return 0;
    if (!s->opts.tls || s->opts.tls->role == PIER_TLS_CLIENT)
        return pi_fail_text(-EINVAL, "tls: a server needs a certificate and its key");
    struct pi_tls_server *tls = pi_zalloc(sizeof *tls);
    if (!tls)
        return pi_fail(-ENOMEM, "tls");
    tls->opts = *s->opts.tls;
    tls->tickets = pi_tls_tickets_new();
    int rc = copy_opts(&tls->opts) < 0 || !tls->tickets ? pi_fail(-ENOMEM, "tls") : 0;
    if (rc == 0)
        rc = try_files(&tls->files, &tls->opts, tls->tickets);
    if (rc < 0) {
        free_server(tls);
        return rc;
    }
    pthread_mutex_init(&tls->lock, NULL);
    for (int i = 0; i < s->endpoint_count; i++)
        if (pi_url_has_tls(&s->endpoints[i].url))
            s->endpoints[i].hello_ns = hello_ns(&tls->opts);
    tls->generation = 1;
    tls->looked_ns = pi_clock_ns();
    s->tls = tls;
    return 0;
}

void pi_tls_server_close(struct pier_server *s)
{
    if (!s->tls)
        return;
    pthread_mutex_destroy(&s->tls->lock);
    free_server(s->tls);
    s->tls = NULL;
}

void pier_server_reload_remote(struct pier_server *s)
{
    if (s && s->tls)
        pi_tls_tickets_ask_reload(s->tls->tickets);
}

/* ---- reloading ---- */

/* A failure's words are the log's: the handshake goes on. */
static void reload(struct pi_tls_server *tls)
{
    struct pi_tls_files fresh;
    if (try_files(&fresh, &tls->opts, tls->tickets) < 0) {
        if (!tls->has_complained)
            pier_log(PIER_LOG_ERROR, "the new certificate does not do, the old one stays",
                     pier_str("error", pier_error()));
        tls->has_complained = true;
        return;
    }
    pi_tls_files_free(&tls->files);
    tls->files = fresh;
    tls->generation++;
    tls->has_complained = false;
    pier_log(PIER_LOG_INFO, "certificates were read again",
             pier_str("file", tls->files.pairs[0].cert.path));
}

/* With the lock held. Files that do not do are tried again each time: the other half of a pair may
 * be about to come. */
static void look(struct pi_tls_server *tls)
{
    int64_t now = pi_clock_ns();
    unsigned reloads = pi_tls_tickets_reloads(tls->tickets);
    bool is_asked = reloads != tls->reloads;
    if (!is_asked && now - tls->looked_ns < LOOK_MS * PIER_MILLISECOND)
        return;
    tls->looked_ns = now;
    tls->reloads = reloads;
    if (is_asked)
        tls->has_complained = false;
    if (is_asked || pi_tls_files_changed(&tls->files))
        reload(tls);
}

/* The worker's context, of the latest files. A generation that cannot be had for want of memory
 * leaves the one before. */
static void renew(struct pi_worker *w)
{
    struct pi_tls_server *tls = w->server->tls;
    if (w->tls && w->tls_generation == tls->generation)
        return;
    struct pi_tls_context *c = pi_tls_context_new(&tls->opts, &tls->files, true, tls->tickets);
    if (!c)
        return;
    pi_tls_context_drop(w->tls);
    w->tls = c;
    w->tls_generation = tls->generation;
}

void pi_tls_server_refresh(struct pi_worker *w)
{
    struct pi_tls_server *tls = w->server->tls;
    if (!tls)
        return;
    pthread_mutex_lock(&tls->lock);
    look(tls);
    renew(w);
    pthread_mutex_unlock(&tls->lock);
}

void pi_tls_worker_close(struct pi_worker *w)
{
    pi_tls_context_drop(w->tls);
    w->tls = NULL;
}

/* With a reference for the caller; NULL: no memory. */
static struct pi_tls_context *current(struct pi_worker *w)
{
    struct pi_tls_server *tls = w->server->tls;
    pthread_mutex_lock(&tls->lock);
    if (w->server->opts.model != PIER_PROCESSES) /* the one that accepts has looked, for all */
        look(tls);
    renew(w);
    struct pi_tls_context *c = w->tls;
    if (c)
        atomic_fetch_add(&c->refs, 1);
    pthread_mutex_unlock(&tls->lock);
    return c;
}

/* ---- handshakes ---- */

static int most_handshakes(const struct pier_server *s)
{
    int most = s->tls->opts.max_handshakes > 0 ? s->tls->opts.max_handshakes : MAX_HANDSHAKES;
    int workers = s->opts.model == PIER_PREFORK ? s->shared->slot_count : s->worker_count;
    return most > workers ? most / workers : 1;
}

static void unlink_shaking(struct pi_worker *w, struct pi_tls *t)
{
    if (!t->is_listed)
        return;
    *(t->prev ? &t->prev->next : &w->shaking) = t->next;
    *(t->next ? &t->next->prev : &w->shaking_last) = t->prev;
    t->is_listed = false;
    w->shaking_count--;
}

/* On the worker's own loop. Honest clients are done within moments, so it is the others who are the
 * oldest. */
static void link_shaking(struct pi_worker *w, struct pi_tls *t)
{
    t->prev = w->shaking_last;
    t->next = NULL;
    *(t->prev ? &t->prev->next : &w->shaking) = t;
    w->shaking_last = t;
    t->is_listed = true;
    if (++w->shaking_count <= most_handshakes(w->server))
        return;
    struct pi_tls *oldest = w->shaking;
    unlink_shaking(w, oldest);
    oldest->is_given_up = true;
    io_interrupt_read(&oldest->conn->io);
}

static int shake_hands(struct pier_conn *c, struct pi_worker *w, int64_t until_ns)
{
    struct pi_tls *t = c->own;
    bool has_threads = w->server->opts.model == PIER_THREADS;
    int rc = 0;
    if (!has_threads)
        link_shaking(w, t);
    else if (atomic_fetch_add(&w->server->tls->shaking, 1) >= most_handshakes(w->server))
        rc = pi_tls_fail_text(t, "too many handshakes at once");
    if (rc == 0)
        rc = pi_tls_handshake(c, until_ns);
    if (!has_threads)
        unlink_shaking(w, t);
    else
        atomic_fetch_sub(&w->server->tls->shaking, 1);
    return rc;
}

int pi_tls_accept(struct pier_conn *c, struct pi_worker *w)
{
    struct pi_tls_context *context = current(w);
    int rc = context ? pi_tls_attach(c, context) : pi_conn_fail(c, "tls", -ENOMEM);
    if (rc < 0)
        return rc;
    int ms = context->timeout_ms;
    return shake_hands(c, w, ms < 0 ? 0 : pier_after(ms * PIER_MILLISECOND));
}
