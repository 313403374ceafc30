/* SPDX-License-Identifier: MIT */
/*
 * net/tls_cache.c - contexts by their options, for pier_dial() and pier_tls_wrap(): making one
 * reads files and takes a millisecond, and sessions can only be resumed in the context that they
 * are of.
 *
 * One table for the process, of the last few, under a lock that nobody waits with. An entry whose
 * files have changed is made anew.
 */
#define _GNU_SOURCE
#include "net/tls.h"

#include <pthread.h>
#include <string.h>

enum {
    ENTRIES = 16,
    KEY_MOST = 4096,
    LOOK_MS = 1000, /* between two looks at the files */
};

struct entry {
    char *key;
    struct pi_tls_context *context;
    struct pi_tls_files files;
    int64_t looked_ns, used_ns;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry entries[ENTRIES];

static int write_pair(char *key, size_t cap, const struct pier_tls_cert *c)
{
    return snprintf(key, cap, "\n%s\n%s\n%s", c->cert_file ? c->cert_file : "",
                    c->key_file ? c->key_file : "", c->ocsp_file ? c->ocsp_file : "");
}

/* All of the options but what is each session's own. */
static int write_key(char key[KEY_MOST], const struct pier_tls_opts *o, bool is_server)
{
    const char *texts[] = { o->cert_file, o->key_file,   o->alpn,           o->ciphers,
                            o->ca_file,   o->pinned_key, o->client_ca_file, o->ocsp_file };
    int at = snprintf(key, KEY_MOST, "%d %d %d %d %d %d %d", is_server, o->min_version,
                      o->handshake_timeout_ms, o->insecure_skip_verify, o->client_cert_optional,
                      o->tickets, pi_tls_has_keylog());
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && at < KEY_MOST; i++)
        at += snprintf(key + at, KEY_MOST - (size_t)at, "\n%s", texts[i] ? texts[i] : "");
    for (int i = 0; i < o->more_count && at < KEY_MOST; i++)
        at += write_pair(key + at, KEY_MOST - (size_t)at, &o->more_certs[i]);
    return at < KEY_MOST ? 0 : -ENAMETOOLONG;
}

static void forget(struct entry *e)
{
    pi_tls_context_drop(e->context);
    pi_tls_files_free(&e->files);
    pi_free(e->key);
    *e = (struct entry){ 0 };
}

static bool is_fresh(struct entry *e)
{
    int64_t now = pi_clock_ns();
    if (now - e->looked_ns < LOOK_MS * PIER_MILLISECOND)
        return true;
    e->looked_ns = now;
    return !pi_tls_files_changed(&e->files);
}

/* The entry of that key, or the one to give up for it. */
static struct entry *find(const char *key, bool *found)
{
    struct entry *oldest = &entries[0];
    for (int i = 0; i < ENTRIES; i++) {
        struct entry *e = &entries[i];
        *found = e->key && strcmp(e->key, key) == 0;
        if (*found)
            return e;
        if (e->used_ns < oldest->used_ns)
            oldest = e;
    }
    return oldest;
}

static int fill(struct entry *e, const char *key, const struct pier_tls_opts *opts, bool is_server)
{
    int rc = pi_tls_files_read(&e->files, opts);
    if (rc < 0)
        return rc;
    e->context = pi_tls_context_new(opts, &e->files, is_server, NULL);
    if (!e->context)
        return pier_error_code();
    e->key = pi_strdup(key);
    e->looked_ns = pi_clock_ns();
    return e->key ? 0 : pi_fail(-ENOMEM, "tls");
}

struct pi_tls_context *pi_tls_context_get(const struct pier_tls_opts *opts, bool is_server)
{
    static const struct pier_tls_opts defaults;
    char key[KEY_MOST];
    bool found;
    if (!opts)
        opts = &defaults;
    if (write_key(key, opts, is_server) < 0) {
        pi_fail_text(-ENAMETOOLONG, "tls: the options are too long");
        return NULL;
    }
    pthread_mutex_lock(&lock);
    struct entry *e = find(key, &found);
    int rc = 0;
    if (!found || !is_fresh(e)) {
        forget(e);
        rc = fill(e, key, opts, is_server);
        if (rc < 0)
            forget(e);
    }
    struct pi_tls_context *context = e->context;
    e->used_ns = pi_clock_ns();
    if (context)
        atomic_fetch_add(&context->refs, 1);
    pthread_mutex_unlock(&lock);
    return context;
}
