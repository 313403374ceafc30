/* SPDX-License-Identifier: MIT */
/*
 * net/firewall.c - whom a server lets in: lists that are read and read again, and the question that
 * is asked of each new connection.
 *
 * The networks (cidr.c) are each process's own, behind a lock that is held for a look-up's tens of
 * nanoseconds; bans, rates, counts (limit.c) and what is to be logged are in one block that all
 * processes of the server share. A list that cannot be read again leaves the old networks as they
 * are.
 */
#define _GNU_SOURCE
#include "net/firewall.h"

#include "base/assert.h"
#include "net/limit.h"
#include "net/networks.h"
#include "task/sockets.h"

#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum {
    LOOK_MS = 1000,      /* between two looks at the files */
    SAY_EVERY_MS = 1000, /* of what was refused */
    RATE_MS = 1000,      /* .rate_ms: a second */
};

/* The most that a time may be, so that sums of times are times. */
#define YEAR_NS (365 * 24 * PIER_HOUR)

enum refusal { DENIED, BANNED, TOO_FAST, TOO_MANY, REFUSALS };

/* Begins the shared block; the limits follow. */
struct counts {
    _Alignas(64) _Atomic int64_t refused[REFUSALS];
    _Atomic int64_t told[REFUSALS]; /* of them that were logged */
    _Atomic int64_t said_ns;
};

/* What tells that a file has changed; all 0: there is none. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
};

struct pi_firewall {
    struct pier_server *server;
    char **lists; /* networks and names of files: those that allow come first */
    int list_count, allow_count;
    struct stamp *stamps; /* one a list */
    bool has_files;
    pthread_mutex_t lock;      /* of rules, and of this process's counts */
    struct pi_cidr_set *rules; /* NULL: there are no lists */
    struct counts *counts;
    struct pi_limits *limits; /* in the same block */
    size_t block_size;
    int slot;                /* -1: it counts nobody */
    int64_t ban_ns;          /* for who comes too fast; 0: none */
    struct pier_scope scope; /* of the watching task */
    bool is_watched;
};

/* ---- files ---- */

static struct stamp stamp_of(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return (struct stamp){ 0 };
    return (struct stamp){ st.st_dev, st.st_ino, st.st_size, st.st_mtim };
}

static bool is_same_stamp(const struct stamp *a, const struct stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec;
}

/* ---- reading the lists ---- */

struct reading {
    const struct pi_firewall *firewall;
    struct pi_cidr_set *rules;
    size_t networks;
};

/* Reads all lists anew. On whichever thread. */
static int read_lists(void *arg)
{
    struct reading *r = arg;
    const struct pi_firewall *fw = r->firewall;
    struct pi_cidrs all = { 0 };
    int rc = 0;
    for (int i = 0; i < fw->list_count && rc == 0; i++) {
        rc = pi_networks_read(&all, fw->lists[i], i >= fw->allow_count, "firewall");
    }
    if (rc == 0) {
        r->networks = all.count;
        r->rules = pi_cidr_set_new(&all, fw->allow_count == 0);
        rc = r->rules ? 0 : pi_fail(-ENOMEM, "firewall");
    }
    pi_cidrs_fini(&all);
    return rc;
}

/* Not in a process that forks, which must have no other thread. */
static bool reads_aside(const struct pi_firewall *fw)
{
    return pi_task_self()->thread->loop && fw->server->opts.model != PIER_PROCESSES;
}

static int load(struct pi_firewall *fw, size_t *networks)
{
    struct reading r = { .firewall = fw };
    for (int i = 0; i < fw->list_count; i++) /* before: what changes later is seen then */
        fw->stamps[i] = pi_is_network(fw->lists[i]) ? (struct stamp){ 0 } : stamp_of(fw->lists[i]);
    int rc = reads_aside(fw) ? pier_offload(read_lists, &r) : read_lists(&r);
    if (rc < 0) {
        pi_cidr_set_free(r.rules);
        return rc;
    }
    pthread_mutex_lock(&fw->lock);
    struct pi_cidr_set *old = fw->rules;
    fw->rules = r.rules;
    pthread_mutex_unlock(&fw->lock);
    pi_cidr_set_free(old);
    *networks = r.networks;
    return 0;
}

/* ---- reading them again ---- */

static bool has_changed(const struct pi_firewall *fw)
{
    for (int i = 0; i < fw->list_count; i++) {
        struct stamp now = pi_is_network(fw->lists[i]) ? (struct stamp){ 0 }
                                                       : stamp_of(fw->lists[i]);
        if (!is_same_stamp(&now, &fw->stamps[i]))
            return true;
    }
    return false;
}

/* Said once a change: the next look finds the stamps as they are. Of several processes the first
 * one says it. */
static void look(struct pi_firewall *fw)
{
    size_t networks = 0;
    if (!has_changed(fw))
        return;
    int rc = load(fw, &networks);
    if (fw->slot > 0 || rc == -ECANCELED)
        return;
    if (rc < 0)
        pier_log(PIER_LOG_ERROR, "firewall not reloaded, the old lists stay",
                 pier_str("error", pier_error()));
    else
        pier_log(PIER_LOG_INFO, "firewall reloaded", pier_int("networks", (int64_t)networks));
}

static int watch(void *arg)
{
    struct pi_worker *w = *(struct pi_worker **)arg;
    struct pi_firewall *fw = w->server->firewall;
    pier_scope_open(&fw->scope, 0);
    fw->is_watched = true;
    /* At once: a worker that was started again has what its parent read long ago. */
    while (!w->stopping) {
        look(fw);
        if (pier_sleep(LOOK_MS * PIER_MILLISECOND) < 0)
            break;
    }
    fw->is_watched = false;
    return pier_scope_join(&fw->scope);
}

int pi_firewall_watch(struct pi_worker *w)
{
    struct pi_firewall *fw = w->server->firewall;
    if (!fw || !fw->has_files || w != &w->server->workers[0])
        return 0;
    return pi_spawn_copy(&w->scope, "watch the firewall's files", watch, &w, sizeof w);
}

void pi_firewall_unwatch(struct pi_worker *w)
{
    struct pi_firewall *fw = w->server->firewall;
    if (fw && fw->is_watched && w == &w->server->workers[0])
        pier_scope_cancel(&fw->scope);
}

/* ---- its life ---- */

static int count_of(const char *const *texts)
{
    int count = 0;
    while (texts && texts[count])
        count++;
    return count;
}

static int copy_lists(struct pi_firewall *fw, const struct pier_firewall_opts *o)
{
    int allow = count_of(o->allow), total = allow + count_of(o->deny);
    fw->lists = pi_zalloc((size_t)(total + 1) * sizeof *fw->lists);
    fw->stamps = pi_zalloc((size_t)(total + 1) * sizeof *fw->stamps);
    if (!fw->lists || !fw->stamps)
        return -ENOMEM;
    fw->allow_count = allow;
    for (int i = 0; i < total; i++) {
        fw->lists[i] = pi_strdup(i < allow ? o->allow[i] : o->deny[i - allow]);
        if (!fw->lists[i])
            return -ENOMEM;
        fw->list_count = i + 1;
        fw->has_files |= !pi_is_network(fw->lists[i]);
    }
    return 0;
}

static struct pi_limit_opts limits_of(const struct pier_server *s,
                                      const struct pier_firewall_opts *o)
{
    bool is_prefork = s->opts.model == PIER_PREFORK;
    struct pi_limit_opts l = {
        .slots = is_prefork ? pi_wanted_workers(s) : 1,
        .max_conns = pi_max_conns(s),
        .max_per_ip = o->max_per_ip,
    };
    if (o->rate > 0) {
        int64_t ms = o->rate_ms > 0 ? o->rate_ms : RATE_MS;
        int64_t burst = o->burst > 0 ? o->burst : o->rate;
        l.interval_ns = ms * PIER_MILLISECOND / o->rate;
        l.interval_ns += l.interval_ns == 0;
        l.tolerance_ns = l.interval_ns < YEAR_NS / burst ? l.interval_ns * burst : YEAR_NS;
    }
    return l;
}

static int open_block(struct pi_firewall *fw, const struct pier_firewall_opts *o)
{
    const struct pier_server *s = fw->server;
    struct pi_limit_opts limits = limits_of(s, o);
    bool is_shared = s->opts.model == PIER_PROCESSES || s->opts.model == PIER_PREFORK;
    size_t size = sizeof(struct counts) + pi_limits_size(&limits);
    void *block = mmap(NULL, size, PROT_READ | PROT_WRITE,
                       MAP_ANONYMOUS | MAP_NORESERVE | (is_shared ? MAP_SHARED : MAP_PRIVATE), -1,
                       0);
    if (block == MAP_FAILED)
        return -errno;
    uint64_t key[2];
    pi_random(key, sizeof key);
    fw->block_size = size;
    fw->counts = block;
    fw->limits = (struct pi_limits *)(fw->counts + 1);
    pi_limits_init(fw->limits, &limits, key);
    return 0;
}

static int check_opts(const struct pier_firewall_opts *o)
{
    if (o->max_per_ip < 0 || o->rate < 0 || o->rate_ms < 0 || o->burst < 0 || o->ban_ms < 0)
        return pi_fail_text(-EINVAL, "firewall: a limit is negative");
    if (o->rate == 0 && (o->rate_ms || o->burst || o->ban_ms))
        return pi_fail_text(-EINVAL, "firewall: rate_ms, burst and ban_ms need a rate");
    return 0;
}

static int open_all(struct pi_firewall *fw, const struct pier_firewall_opts *o)
{
    size_t networks;
    int rc = copy_lists(fw, o);
    if (rc == 0)
        rc = open_block(fw, o);
    if (rc < 0)
        return pi_fail(rc, "firewall");
    if (fw->has_files && io_is_simulated())
        return pi_fail_text(-EOPNOTSUPP, "firewall: files of networks are not for simulations");
    return fw->list_count > 0 ? load(fw, &networks) : 0;
}

int pi_firewall_open(struct pier_server *s)
{
    const struct pier_firewall_opts *o = s->opts.firewall;
    if (!o)
        return 0;
    s->opts.firewall = NULL; /* borrowed until now */
    int rc = check_opts(o);
    if (rc < 0)
        return rc;
    struct pi_firewall *fw = pi_zalloc(sizeof *fw);
    if (!fw)
        return pi_fail(-ENOMEM, "firewall");
    pthread_mutex_init(&fw->lock, NULL);
    fw->server = s;
    fw->ban_ns = o->ban_ms * PIER_MILLISECOND;
    s->firewall = fw;
    return open_all(fw, o);
}

void pi_firewall_close(struct pier_server *s)
{
    struct pi_firewall *fw = s->firewall;
    if (!fw)
        return;
    s->firewall = NULL;
    for (int i = 0; i < fw->list_count; i++)
        pi_free(fw->lists[i]);
    pi_free(fw->lists);
    pi_free(fw->stamps);
    pi_cidr_set_free(fw->rules);
    if (fw->counts)
        munmap(fw->counts, fw->block_size);
    pthread_mutex_destroy(&fw->lock);
    pi_free(fw);
}

void pi_firewall_set_slot(struct pier_server *s, int slot)
{
    if (s->firewall)
        s->firewall->slot = slot;
}

void pi_firewall_count_nobody(struct pier_server *s)
{
    pi_firewall_set_slot(s, -1);
}

void pi_firewall_clear_slot(struct pier_server *s, int slot)
{
    if (s->firewall)
        pi_limits_clear(s->firewall->limits, slot);
}

/* ---- what is refused ---- */

int64_t pier_server_refused(const struct pier_server *s)
{
    int64_t sum = 0;
    for (int i = 0; s && s->firewall && i < REFUSALS; i++)
        sum += atomic_load(&s->firewall->counts->refused[i]);
    return sum;
}

/* Since it was last said. */
static int64_t take_count(struct counts *c, enum refusal why)
{
    int64_t count = atomic_load(&c->refused[why]);
    return count - atomic_exchange(&c->told[why], count);
}

static void say(struct pi_firewall *fw, const char *peer)
{
    struct counts *c = fw->counts;
    pier_log(PIER_LOG_WARN, "connections refused", pier_int("denied", take_count(c, DENIED)),
             pier_int("banned", take_count(c, BANNED)),
             pier_int("too_fast", take_count(c, TOO_FAST)),
             pier_int("too_many", take_count(c, TOO_MANY)), pier_str("last", peer));
}

void pi_firewall_say_rest(struct pier_server *s)
{
    int64_t told = 0;
    if (!s->firewall)
        return;
    for (int i = 0; i < REFUSALS; i++)
        told += atomic_load(&s->firewall->counts->told[i]);
    if (pier_server_refused(s) > told)
        say(s->firewall, "?");
}

static bool refuse(struct pi_firewall *fw, enum refusal why, const struct sockaddr *addr)
{
    char text[PI_ADDR_TEXT_CAP];
    struct counts *c = fw->counts;
    atomic_fetch_add(&c->refused[why], 1);
    int64_t now = pi_clock_ns(), last = atomic_load(&c->said_ns);
    if ((last && now - last < SAY_EVERY_MS * PIER_MILLISECOND) ||
        !atomic_compare_exchange_strong(&c->said_ns, &last, now))
        return false;
    struct pi_addr copy = { .len = addr->sa_family == AF_INET ? sizeof copy.in : sizeof copy.in6 };
    memcpy(&copy.any, addr, copy.len);
    say(fw, pi_addr_format(text, sizeof text, &copy));
    return false;
}

/* ---- the question ---- */

static bool is_allowed(struct pi_firewall *fw, const struct pi_ip *ip)
{
    pthread_mutex_lock(&fw->lock);
    bool allowed = !fw->rules || pi_cidr_set_allows(fw->rules, ip);
    pthread_mutex_unlock(&fw->lock);
    return allowed;
}

/* By lists and bans: what speaks against it, or REFUSALS. */
static enum refusal ask(struct pi_firewall *fw, const struct pi_ip *ip)
{
    if (!is_allowed(fw, ip))
        return DENIED;
    bool banned = pi_limits_has_bans(fw->limits) &&
                  pi_limits_is_banned(fw->limits, ip, pi_clock_ns());
    return banned ? BANNED : REFUSALS;
}

bool pier_server_allows(struct pier_server *s, const struct pier_addr *addr)
{
    struct pi_ip ip;
    const struct sockaddr *raw = (const struct sockaddr *)addr;
    return !s || !s->firewall || !pi_ip_of(&ip, raw) || ask(s->firewall, &ip) == REFUSALS;
}

bool pi_firewall_check(struct pier_server *s, const struct sockaddr *addr)
{
    struct pi_ip ip;
    if (!s->firewall || !pi_ip_of(&ip, addr))
        return true;
    enum refusal why = ask(s->firewall, &ip);
    return why == REFUSALS || refuse(s->firewall, why, addr);
}

static bool pass(struct pi_firewall *fw, uint64_t id)
{
    int64_t now = pi_clock_ns();
    if (pi_limits_pass(fw->limits, id, now))
        return true;
    if (fw->ban_ns > 0) /* without room it is refused for its rate, again and again */
        (void)pi_limits_ban(fw->limits, id, now + fw->ban_ns, now);
    return false;
}

bool pi_firewall_enter(struct pier_server *s, const struct sockaddr *addr, uint64_t *who)
{
    struct pi_firewall *fw = s->firewall;
    struct pi_ip ip;
    *who = 0;
    if (!fw || !pi_ip_of(&ip, addr))
        return true;
    enum refusal why = ask(fw, &ip);
    if (why != REFUSALS)
        return refuse(fw, why, addr);
    uint64_t id = pi_limits_id(fw->limits, &ip);
    if (!pass(fw, id))
        return refuse(fw, TOO_FAST, addr);
    if (fw->slot < 0)
        return true;
    pthread_mutex_lock(&fw->lock);
    bool entered = pi_limits_enter(fw->limits, fw->slot, id);
    pthread_mutex_unlock(&fw->lock);
    if (!entered)
        return refuse(fw, TOO_MANY, addr);
    *who = id;
    return true;
}

void pi_firewall_leave(struct pier_server *s, uint64_t who)
{
    struct pi_firewall *fw = s->firewall;
    if (!fw || !who)
        return;
    pthread_mutex_lock(&fw->lock);
    pi_limits_leave(fw->limits, fw->slot, who);
    pthread_mutex_unlock(&fw->lock);
}

/* A reset, not an end: the other side knows at once, and no port of ours waits for its goodbye. */
void pi_firewall_turn_away(int fd)
{
    struct linger now = { .l_onoff = 1 };
    (void)io_sockets()->set(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now); /* else with an end */
    io_sockets()->close(fd);
}

/* ---- bans ---- */

static int ban(struct pier_server *s, const struct pi_ip *ip, int64_t duration_ns)
{
    struct pi_limits *l = s->firewall->limits;
    int64_t now = pi_clock_ns();
    int64_t until = now + (duration_ns < YEAR_NS ? duration_ns : YEAR_NS);
    return pi_limits_ban(l, pi_limits_id(l, ip), duration_ns > 0 ? until : 0, now);
}

int pier_server_ban(struct pier_server *s, const char *text, int64_t duration_ns)
{
    struct pi_ip ip;
    if (!s)
        return pi_conn_null();
    if (!text || !pi_ip_read(&ip, text))
        return pi_fail_text(-EINVAL, "ban \"%s\": not an IPv4 or IPv6 address", text ? text : "");
    if (!s->firewall)
        return pi_fail_text(-EOPNOTSUPP, "ban %s: the server has no firewall, or does not listen",
                            text);
    int rc = ban(s, &ip, duration_ns);
    return rc < 0 ? pi_fail(rc, "ban %s", text) : 0;
}

int pier_conn_ban(struct pier_conn *c, int64_t duration_ns)
{
    struct pi_ip ip;
    if (!c)
        return pi_conn_null();
    struct pier_server *s = pi_server_of(c);
    if (!s || !s->firewall || !pi_ip_of(&ip, &c->peer.any))
        return pi_conn_fail(c, "ban", -EOPNOTSUPP);
    int rc = ban(s, &ip, duration_ns);
    return rc < 0 ? pi_conn_fail(c, "ban", rc) : 0;
}
