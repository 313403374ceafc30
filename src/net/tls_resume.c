/* SPDX-License-Identifier: MIT */
/*
 * net/tls_resume.c - sessions that a client may resume (RFC 8446, 2.2), by whom they are with.
 *
 * Few, the latest: a session is taken out when it is used, since a ticket that is shown twice tells
 * an observer that it is the same client (appendix C.4). The server sends new ones each time.
 */
#include "net/tls.h"

#include <pthread.h>
#include <string.h>

enum { SESSIONS = 64 };

struct kept {
    char *key;
    SSL_SESSION *session;
    int64_t kept_ns;
};

struct pi_tls_sessions {
    pthread_mutex_t lock;
    struct kept kept[SESSIONS];
};

struct pi_tls_sessions *pi_tls_sessions_new(void)
{
    struct pi_tls_sessions *all = pi_zalloc(sizeof *all);
    if (all)
        pthread_mutex_init(&all->lock, NULL);
    return all;
}

static void forget(struct kept *k)
{
    SSL_SESSION_free(k->session);
    pi_free(k->key);
    *k = (struct kept){ 0 };
}

void pi_tls_sessions_free(struct pi_tls_sessions *all)
{
    if (!all)
        return;
    for (int i = 0; i < SESSIONS; i++)
        forget(&all->kept[i]);
    pthread_mutex_destroy(&all->lock);
    pi_free(all);
}

SSL_SESSION *pi_tls_sessions_take(struct pi_tls_sessions *all, const char *key)
{
    struct kept *newest = NULL;
    pthread_mutex_lock(&all->lock);
    for (int i = 0; i < SESSIONS; i++) {
        struct kept *k = &all->kept[i];
        if (k->key && strcmp(k->key, key) == 0 && (!newest || k->kept_ns > newest->kept_ns))
            newest = k;
    }
    SSL_SESSION *session = newest ? newest->session : NULL;
    if (newest) {
        newest->session = NULL;
        forget(newest);
    }
    pthread_mutex_unlock(&all->lock);
    return session;
}

void pi_tls_sessions_keep(struct pi_tls_sessions *all, const char *key, SSL_SESSION *session)
{
    char *copy = pi_strdup(key);
    if (!copy) {
        SSL_SESSION_free(session);
        return;
    }
    pthread_mutex_lock(&all->lock);
    struct kept *oldest = &all->kept[0];
    for (int i = 1; i < SESSIONS; i++)
        if (all->kept[i].kept_ns < oldest->kept_ns)
            oldest = &all->kept[i];
    forget(oldest);
    *oldest = (struct kept){ copy, session, pi_clock_ns() };
    pthread_mutex_unlock(&all->lock);
}
