/* SPDX-License-Identifier: MIT */
/*
 * net/hosts.c - see hosts.h. Names stay in the file's text, cut into strings; a table of buckets
 * points to them, in the order of the file.
 */
#include "net/hosts.h"

#include "base/assert.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char BLANKS[] = " \t\r\f\v";

struct entry {
    const char *name;
    bool is_first; /* of its line: the name of the address */
    sa_family_t family;
    union {
        struct in_addr in;
        struct in6_addr in6;
    };
    size_t next; /* of its bucket, plus 1; 0: the last */
};

struct pi_hosts {
    char *text;
    size_t count, cap, bucket_count;
    size_t *buckets;
    struct entry entries[];
};

/* FNV-1a over lower case: the file's names are its owner's. */
static size_t hash(const char *name, size_t len)
{
    uint64_t h = 14695981039346656037U;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)tolower((unsigned char)name[i])) * 1099511628211U;
    return (size_t)(h ^ h >> 32);
}

static bool read_ip(struct entry *e, const char *text)
{
    e->family = strchr(text, ':') ? AF_INET6 : AF_INET;
    return inet_pton(e->family, text, &e->in6) == 1;
}

/* A line without its comment. An address with a zone is left out. */
static void add_line(struct pi_hosts *h, char *line)
{
    char *rest = NULL;
    char *ip = strtok_r(line, BLANKS, &rest);
    struct entry e = { .is_first = true };
    if (!ip || !read_ip(&e, ip))
        return;
    for (char *name; (name = strtok_r(NULL, BLANKS, &rest)) && h->count < h->cap;) {
        e.name = name;
        h->entries[h->count++] = e;
        e.is_first = false;
    }
}

/* Backwards, so that each bucket is in the order of the file. */
static void fill_buckets(struct pi_hosts *h)
{
    for (size_t i = h->count; i-- > 0;) {
        struct entry *e = &h->entries[i];
        size_t *bucket = &h->buckets[hash(e->name, strlen(e->name)) % h->bucket_count];
        e->next = *bucket;
        *bucket = i + 1;
    }
}

/* At most as many names as there are words. */
static size_t count_words(const char *text)
{
    size_t words = 0;
    for (const char *at = text; *at; words++) {
        at += strspn(at, " \t\r\f\v\n");
        at += strcspn(at, " \t\r\f\v\n");
    }
    return words;
}

struct pi_hosts *pi_hosts_new(char *text)
{
    size_t cap = count_words(text);
    struct pi_hosts *h = pi_zalloc(sizeof *h + cap * sizeof h->entries[0]);
    if (!h)
        return NULL;
    h->cap = cap;
    h->bucket_count = cap + 1;
    h->buckets = pi_zalloc(h->bucket_count * sizeof h->buckets[0]);
    if (!h->buckets) {
        pi_free(h);
        return NULL;
    }
    h->text = text;
    for (char *line = text, *end; line; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        line[strcspn(line, "#")] = '\0';
        add_line(h, line);
    }
    fill_buckets(h);
    return h;
}

void pi_hosts_free(struct pi_hosts *h)
{
    if (!h)
        return;
    free(h->text);
    pi_free(h->buckets);
    pi_free(h);
}

static void add_addr(struct pi_resolve *r, const struct entry *e)
{
    if (e->family == AF_INET6) {
        r->addrs[r->count].in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6,
                                                        .sin6_addr = e->in6 };
        r->count++;
    } else {
        r->addrs[r->count].in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = e->in };
        r->count++;
    }
}

bool pi_hosts_find(const struct pi_hosts *h, struct pi_resolve *r)
{
    size_t len = strlen(r->host);
    if (!h)
        return false;
    if (len > 0 && r->host[len - 1] == '.')
        len--;
    bool found = false;
    for (size_t i = h->buckets[hash(r->host, len) % h->bucket_count]; i > 0;) {
        const struct entry *e = &h->entries[i - 1];
        i = e->next;
        if (strncasecmp(e->name, r->host, len) != 0 || e->name[len] != '\0')
            continue;
        bool is_wanted = r->family == AF_UNSPEC || r->family == e->family;
        if (is_wanted && r->count < PI_RESOLVE_MAX)
            add_addr(r, e);
        found = found || is_wanted;
    }
    return found;
}

const char *pi_hosts_name(const struct pi_hosts *h, const struct sockaddr *addr)
{
    bool is_ipv6 = addr->sa_family == AF_INET6;
    const void *ip = is_ipv6 ? (const void *)&((const struct sockaddr_in6 *)addr)->sin6_addr
                             : (const void *)&((const struct sockaddr_in *)addr)->sin_addr;
    for (size_t i = 0; h && i < h->count; i++) {
        const struct entry *e = &h->entries[i];
        if (e->is_first && e->family == addr->sa_family &&
            memcmp(&e->in6, ip, is_ipv6 ? sizeof e->in6 : sizeof e->in) == 0)
            return e->name;
    }
    return NULL;
}
