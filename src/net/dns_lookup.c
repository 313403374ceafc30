/* SPDX-License-Identifier: MIT */
/*
 * net/dns_lookup.c - the addresses of a name by DNS: both families at once, along the search list
 * (resolver(5)). See resolve.h.
 *
 * A candidate that exists ends the search, with the addresses that it has; so does a server that
 * does not answer, since it would not answer for the others.
 */
#include "net/resolve.h"

#include "base/assert.h"

#include <netdb.h>
#include <string.h>

enum {
    RESOLUTION_DELAY_MS = 50, /* RFC 8305, 3 */
    SIX = 0,                  /* the two queries of a candidate */
    FOUR = 1,
};

static const struct family {
    int family, type;
} families[2] = { [SIX] = { AF_INET6, PIER_DNS_AAAA }, [FOUR] = { AF_INET, PIER_DNS_A } };

struct pi_lookup {
    struct pi_dns_conf *conf;
    struct pi_ask ask;
    struct pi_dns_query *queries[2]; /* NULL: not asked for, or taken */
    bool has_no_data;                /* a candidate exists without addresses of a family */
    enum pi_dns_end failure;         /* that the search went on after */
};

/* ---- candidates ---- */

static int count_dots(const char *name)
{
    int dots = 0;
    for (; *name; name++)
        dots += *name == '.';
    return dots;
}

/* The name to ask for next; false: there is none, or it would be too long. index counts from 0. */
static bool make_candidate(char out[PIER_NAME_CAP], const struct pi_lookup *l, int index)
{
    const char *host = l->ask.host;
    size_t len = strlen(host);
    const struct pi_dns_conf *conf = l->conf;
    if (len > 0 && host[len - 1] == '.') {
        snprintf(out, PIER_NAME_CAP, "%.*s", (int)len - 1, host);
        return index == 0;
    }
    int itself = count_dots(host) >= conf->ndots ? 0 : conf->search_count;
    if (index == itself)
        return snprintf(out, PIER_NAME_CAP, "%s", host) < PIER_NAME_CAP;
    const char *domain = conf->search[index > itself ? index - 1 : index];
    return snprintf(out, PIER_NAME_CAP, "%s%s%s", host, strcmp(domain, ".") ? "." : "",
                    strcmp(domain, ".") ? domain : "") < PIER_NAME_CAP;
}

static int count_candidates(const struct pi_lookup *l)
{
    size_t len = strlen(l->ask.host);
    return len > 0 && l->ask.host[len - 1] == '.' ? 1 : 1 + l->conf->search_count;
}

static void drop_queries(struct pi_lookup *l)
{
    for (int i = 0; i < 2; i++) {
        pi_dns_end(l->queries[i]);
        l->queries[i] = NULL;
    }
}

static int begin_candidate(struct pi_lookup *l, const char *name)
{
    for (int i = 0; i < 2; i++) {
        bool is_wanted = l->ask.family == AF_UNSPEC || l->ask.family == families[i].family;
        if (!is_wanted || (i == SIX && l->conf->no_ipv6))
            continue;
        l->queries[i] = pi_dns_begin(l->conf, name, families[i].type, l->ask.trace, l->ask.what);
        if (!l->queries[i]) {
            int rc = pier_error_code();
            drop_queries(l);
            return rc;
        }
    }
    return 0;
}

/* ---- answers ---- */

static void add_addr(struct pi_resolve *r, int family, const unsigned char *bytes)
{
    if (family == AF_INET6) {
        struct sockaddr_in6 *in6 = &r->addrs[r->count++].in6;
        *in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
        memcpy(&in6->sin6_addr, bytes, sizeof in6->sin6_addr);
    } else {
        struct sockaddr_in *in = &r->addrs[r->count++].in;
        *in = (struct sockaddr_in){ .sin_family = AF_INET };
        memcpy(&in->sin_addr, bytes, sizeof in->sin_addr);
    }
}

/* Takes what an answered query has; most: room is left for the other family. */
static enum pi_dns_end take_addrs(struct pi_resolve *r, struct pi_lookup *l, int which, int most)
{
    const struct pi_dns_query *q = l->queries[which];
    const size_t len = which == SIX ? sizeof(struct in6_addr) : sizeof(struct in_addr);
    struct pi_dns_answer answer;
    if (q->end != PI_DNS_ANSWERED)
        return q->end;
    if (pi_dns_read(&answer, q->reply->bytes, q->reply->len, q->type) < 0)
        return PI_DNS_GARBLED;
    for (int i = 0; i < answer.count && i < most; i++) {
        if (answer.records[i].len != len)
            return PI_DNS_GARBLED;
        add_addr(r, families[which].family, q->reply->bytes + answer.records[i].at);
    }
    if (answer.rcode == PI_DNS_NOERROR && answer.count == 0)
        l->has_no_data = true;
    return PI_DNS_ANSWERED;
}

/* How many a query has to give; 0 while it is not answered. */
static int count_addrs(const struct pi_dns_query *q)
{
    struct pi_dns_answer answer;
    if (!q || q->end != PI_DNS_ANSWERED ||
        pi_dns_read(&answer, q->reply->bytes, q->reply->len, q->type) < 0)
        return 0;
    return answer.count;
}

static bool is_pending(const struct pi_dns_query *q)
{
    return q && q->end == PI_DNS_ASKING;
}

/* Waits for both; brief: when one has addresses the other gets no more than the resolution delay,
 * IPv4 being the other none at all. 0; 1: the other one is still to come; a negative code. */
static int await(struct pi_lookup *l, bool brief)
{
    int64_t delay_ns = 0;
    for (;;) {
        struct pi_dns_query *pending[2];
        int count = 0;
        for (int i = 0; i < 2; i++)
            if (is_pending(l->queries[i]))
                pending[count++] = l->queries[i];
        if (count == 0)
            return 0;
        if (brief && count_addrs(l->queries[SIX]) > 0)
            return 1;
        if (brief && !delay_ns && count_addrs(l->queries[FOUR]) > 0)
            delay_ns = pier_after(RESOLUTION_DELAY_MS * PIER_MILLISECOND);
        int64_t end = l->ask.deadline_ns;
        bool is_delay = delay_ns && (!end || delay_ns < end);
        int rc = pi_dns_wait(pending, count, is_delay ? delay_ns : end);
        if (rc == -ETIMEDOUT && is_delay && pier_cancelled() == 0 && delay_ns <= pi_clock_ns())
            return 1;
        if (rc < 0)
            return rc;
    }
}

/* All that is answered; a failure counts where there are no addresses at all. */
static enum pi_dns_end take_all(struct pi_resolve *r, struct pi_lookup *l)
{
    enum pi_dns_end worst = PI_DNS_ANSWERED;
    for (int i = 0; i < 2; i++) {
        if (!l->queries[i] || is_pending(l->queries[i]))
            continue;
        int other = count_addrs(l->queries[!i]);
        int half = PI_RESOLVE_MAX / 2;
        int room = PI_RESOLVE_MAX - (other < half ? other : half);
        int most = i == SIX ? room : PI_RESOLVE_MAX - r->count;
        enum pi_dns_end end = take_addrs(r, l, i, most);
        if (end != PI_DNS_ANSWERED)
            worst = end;
        pi_dns_end(l->queries[i]);
        l->queries[i] = NULL;
    }
    return r->count > 0 ? PI_DNS_ANSWERED : worst;
}

static int failure_of(enum pi_dns_end end, const char *what)
{
    if (end == PI_DNS_NO_MEMORY)
        return pi_fail(-ENOMEM, "%s", what);
    return pi_fail_text(PIER_ERESOLVE, "%s: %s", what, pi_dns_reason(end));
}

/* Asks for one candidate after the other: 0: r->count says how many there are; 1: so far. */
static int search(struct pi_resolve *r, struct pi_lookup *l, bool brief)
{
    char name[PIER_NAME_CAP];
    int count = count_candidates(l);
    for (int i = 0; i < count; i++) {
        if (!make_candidate(name, l, i))
            continue;
        int rc = begin_candidate(l, name);
        if (rc < 0)
            return rc;
        rc = await(l, brief);
        if (rc < 0)
            return pi_fail(rc, "%s", l->ask.what);
        enum pi_dns_end end = take_all(r, l);
        if (r->count > 0)
            return rc;
        if (end == PI_DNS_FAILED && count > 1)
            l->failure = end; /* as the system's resolver does */
        else if (end != PI_DNS_ANSWERED && end != PI_DNS_BAD_NAME)
            return failure_of(end, l->ask.what);
    }
    if (l->failure)
        return failure_of(l->failure, l->ask.what);
    r->gai = l->has_no_data ? EAI_NODATA : EAI_NONAME;
    return 0;
}

int pi_lookup_addrs(struct pi_resolve *r, struct pi_dns_conf *conf, const struct pi_ask *ask,
                    struct pi_lookup **rest)
{
    struct pi_lookup *l = pi_zalloc(sizeof *l);
    if (!l)
        return pi_fail(-ENOMEM, "%s", ask->what);
    l->conf = conf;
    l->ask = *ask;
    int rc = search(r, l, rest != NULL);
    if (rc == 1) {
        conf->users++;
        *rest = l;
        return 0;
    }
    drop_queries(l);
    pi_free(l);
    return rc;
}

struct pi_resolve *pi_resolve_rest(struct pi_lookup *l)
{
    struct pi_resolve *r = await(l, false) == 0 ? pi_zalloc(sizeof *r) : NULL;
    if (r) {
        take_all(r, l);
        pi_addrs_sort(r);
    }
    pi_resolve_leave(l);
    return r;
}

void pi_resolve_leave(struct pi_lookup *l)
{
    if (!l)
        return;
    drop_queries(l);
    pi_dns_conf_put(l->conf);
    pi_free(l);
}
