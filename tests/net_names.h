/* SPDX-License-Identifier: MIT */
/*
 * net_names: getaddrinfo() put in its place in a test program. Literals are the system's; every
 * other name has the addresses, or the failure, that the test has set.
 */
#ifndef PIER_TESTS_NET_NAMES_H
#define PIER_TESTS_NET_NAMES_H

#include "net/dns_conf.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 32 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t released;
    const char *texts[NAMES_MAX];
    int count, failure;
    bool held;
    _Atomic int asked;
} names = { .lock = PTHREAD_MUTEX_INITIALIZER, .released = PTHREAD_COND_INITIALIZER };

/* No name server is asked. */
__attribute__((constructor)) static void names_only(void)
{
    pi_dns_conf_folder(NULL);
}

/* From now on every name has these addresses, in this order; or fails with a code of netdb.h. */
static inline void names_set(const char *const *texts, int count, int failure)
{
    pthread_mutex_lock(&names.lock);
    for (int i = 0; i < count; i++)
        names.texts[i] = texts[i];
    names.count = count;
    names.failure = failure;
    pthread_mutex_unlock(&names.lock);
}

/* Look-ups do not return while held. */
static inline void names_hold(bool held)
{
    pthread_mutex_lock(&names.lock);
    names.held = held;
    pthread_cond_broadcast(&names.released);
    pthread_mutex_unlock(&names.lock);
}

static inline int names_asked(void)
{
    return atomic_load(&names.asked);
}

/* One allocation each: the record, and its address behind it. */
static inline struct addrinfo *names_entry(const char *text)
{
    struct entry {
        struct addrinfo info;
        struct sockaddr_in6 six;
    } *e = calloc(1, sizeof *e);
    struct sockaddr_in *four = (struct sockaddr_in *)&e->six;
    bool is_six = strchr(text, ':') != NULL;
    e->info.ai_family = e->six.sin6_family = is_six ? AF_INET6 : AF_INET;
    e->info.ai_addrlen = is_six ? sizeof e->six : sizeof *four;
    e->info.ai_addr = (struct sockaddr *)&e->six;
    e->info.ai_socktype = SOCK_STREAM;
    inet_pton(e->info.ai_family, text, is_six ? (void *)&e->six.sin6_addr : &four->sin_addr);
    return &e->info;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found)
{
    struct addrinfo **end = found;
    *found = NULL;
    if (hints && (hints->ai_flags & AI_NUMERICHOST)) {
        *found = names_entry(name);
        return 0;
    }
    atomic_fetch_add(&names.asked, 1);
    pthread_mutex_lock(&names.lock);
    while (names.held)
        pthread_cond_wait(&names.released, &names.lock);
    int failure = names.failure;
    for (int i = 0; failure == 0 && i < names.count; i++, end = &(*end)->ai_next)
        *end = names_entry(names.texts[i]);
    pthread_mutex_unlock(&names.lock);
    return failure;
}

void freeaddrinfo(struct addrinfo *found)
{
    while (found) {
        struct addrinfo *next = found->ai_next;
        free(found);
        found = next;
    }
}

#endif
