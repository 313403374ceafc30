/* SPDX-License-Identifier: MIT */
/*
 * sim/host.c - hosts: their addresses and names, the programs that run on them, the ways between
 * them, and what goes wrong with all these.
 *
 * A task runs on the host of its place, which it inherits. A crash is two things: for the network
 * the host is silent from that moment; its programs are cancelled, and what they still try fails,
 * so that straight-line code unwinds and gives back what it holds.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include "base/assert.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

static int outside(void)
{
    return pi_fail_text(-EINVAL, "not inside a simulation");
}

struct pier_sim_host *pi_sim_here(void)
{
    struct pier_sim_host *host = pi_task_self()->place;
    return host ? host : pi_sim->hosts[0];
}

/* ---- names ---- */

/* Adds the addresses of a text, separated by spaces. */
static int parse_addrs(struct sim_name *name, const char *text)
{
    while (*(text += strspn(text, " "))) {
        char one[INET6_ADDRSTRLEN];
        size_t len = strcspn(text, " ");
        if (name->count == SIM_ADDRS_MAX || len >= sizeof one)
            return pi_fail_text(-EINVAL, "host %s: \"%s\" is too much", name->name, text);
        memcpy(one, text, len);
        one[len] = '\0';
        text += len;
        struct sim_addr *addr = &name->addrs[name->count++];
        *addr = (struct sim_addr){ .len = sizeof addr->in };
        if (inet_pton(AF_INET, one, &addr->in.sin_addr) == 1) {
            addr->any.sa_family = AF_INET;
            continue;
        }
        *addr = (struct sim_addr){ .len = sizeof addr->in6 };
        addr->any.sa_family = AF_INET6;
        if (inet_pton(AF_INET6, one, &addr->in6.sin6_addr) != 1)
            return pi_fail_text(-EINVAL, "host %s: \"%s\" is no address", name->name, one);
    }
    return 0;
}

static int set_name(struct sim_name *name, const char *text, const char *addresses)
{
    if (strlen(text) >= sizeof name->name)
        return pi_fail_text(-EINVAL, "host name too long: %s", text);
    snprintf(name->name, sizeof name->name, "%s", text);
    return parse_addrs(name, addresses);
}

static const struct sim_name *find_name(const char *text)
{
    struct pi_sim *sim = pi_sim;
    for (const struct sim_name *n = sim->names; n; n = n->next)
        if (strcasecmp(n->name, text) == 0)
            return n;
    for (int i = 0; i < sim->host_count; i++)
        if (strcasecmp(sim->hosts[i]->names.name, text) == 0)
            return &sim->hosts[i]->names;
    return NULL;
}

static void give_addrs(struct pi_resolve *r, const struct sim_name *name)
{
    for (int i = 0; name && i < name->count; i++)
        if (r->family == AF_UNSPEC || r->family == name->addrs[i].any.sa_family)
            memcpy(&r->addrs[r->count++], &name->addrs[i].any, sizeof r->addrs[0]);
    if (r->count == 0)
        r->gai = name && name->count > 0 ? EAI_NODATA : EAI_NONAME;
}

/* The host that has the address. */
static void give_name(struct pi_resolve *r)
{
    struct sim_addr addr = { .len = sizeof addr.in6 };
    memcpy(&addr.any, &r->addrs[0], sizeof r->addrs[0]);
    const struct pier_sim_host *host = pi_sim_host_of(&addr, pi_sim_here());
    if (host)
        snprintf(r->host, sizeof r->host, "%s", host->names.name);
    else
        r->gai = EAI_NONAME;
}

/* In the place of getaddrinfo(3), getnameinfo(3), gethostname(2) and getifaddrs(3). */
int pi_sim_resolve(void *arg)
{
    struct pi_resolve *r = arg;
    const struct sim_name *own = &pi_sim_here()->names;
    if (r->kind == PI_RESOLVE_SELF) {
        snprintf(r->host, sizeof r->host, "%s", own->name);
        give_addrs(r, own);
        return 0;
    }
    if (pi_sim_faulty(PIER_SIM_RESOLVE, pi_sim->opts.faults.resolve, pi_sim_here()))
        r->gai = EAI_AGAIN;
    else if (r->kind == PI_RESOLVE_NAME)
        give_name(r);
    else
        give_addrs(r, find_name(r->host));
    pi_sim_event(SIM_EV_RESOLVE, pi_sim_here(), r->count, "%s: %d addresses", r->host, r->count);
    return 0;
}

/* ---- hosts ---- */

struct pier_sim_host *pi_sim_add_host(const char *name, const char *addresses)
{
    struct pi_sim *sim = pi_sim;
    if (sim->host_count == SIM_HOSTS_MAX) {
        pi_fail_text(-ENOSPC, "host %s: a simulation has at most %d", name, SIM_HOSTS_MAX);
        return NULL;
    }
    sim->quiet++;
    struct pier_sim_host *host = pi_zalloc(sizeof *host);
    sim->quiet--;
    if (!host) {
        pi_fail(-ENOMEM, "host %s", name);
        return NULL;
    }
    if (set_name(&host->names, name, addresses) < 0) {
        pi_free(host);
        return NULL;
    }
    pier_event_init(&host->ended, PIER_LOCAL);
    pier_event_set(&host->ended);
    host->index = sim->host_count;
    host->next_port = (int)pi_sim_range(&sim->network, 32768, 60999);
    sim->hosts[sim->host_count++] = host;
    return host;
}

struct pier_sim_host *pier_sim_host(const char *name, const char *addresses)
{
    if (!pi_sim) {
        outside();
        return NULL;
    }
    return pi_sim_add_host(name, addresses);
}

int pier_sim_name(const char *name, const char *addresses)
{
    struct pi_sim *sim = pi_sim;
    if (!sim)
        return outside();
    sim->quiet++;
    struct sim_name *n = pi_zalloc(sizeof *n);
    sim->quiet--;
    if (!n)
        return pi_fail(-ENOMEM, "name %s", name);
    int rc = set_name(n, name, addresses);
    if (rc < 0) {
        pi_free(n);
        return rc;
    }
    n->next = sim->names;
    sim->names = n;
    return 0;
}

bool pi_sim_is_loopback(const struct sim_addr *addr)
{
    if (addr->any.sa_family == AF_INET)
        return ntohl(addr->in.sin_addr.s_addr) >> 24 == 127;
    return addr->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
}

bool pi_sim_same_ip(const struct sim_addr *a, const struct sim_addr *b)
{
    if (a->any.sa_family != b->any.sa_family)
        return false;
    if (a->any.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
}

struct pier_sim_host *pi_sim_host_of(const struct sim_addr *addr, struct pier_sim_host *from)
{
    struct pi_sim *sim = pi_sim;
    if (pi_sim_is_loopback(addr))
        return from;
    for (int i = 0; i < sim->host_count; i++)
        for (int k = 0; k < sim->hosts[i]->names.count; k++)
            if (pi_sim_same_ip(&sim->hosts[i]->names.addrs[k], addr))
                return sim->hosts[i];
    return NULL;
}

/* ---- programs ---- */

static bool any_runs(const struct pier_sim_host *host)
{
    for (const struct sim_program *p = host->programs; p; p = p->next)
        if (p->runs)
            return true;
    return false;
}

static int run_program(void *arg)
{
    struct sim_program *p = arg;
    pi_task_self()->place = p->host;
    pier_scope_open(&p->scope, 0);
    if (p->host->is_down || p->must_stop)
        pier_scope_cancel(&p->scope);
    p->rc = p->fn(p->arg);
    int joined = pier_scope_join(&p->scope);
    if (p->rc >= 0 && joined < 0)
        p->rc = joined;
    snprintf(p->words, sizeof p->words, "%s",
             pier_error_code() == p->rc ? pier_error() : pier_strerror(p->rc));
    pi_sim_event(SIM_EV_HOST, p->host, p->rc, "program ended: %s", p->rc < 0 ? p->words : "0");
    p->runs = false;
    if (!any_runs(p->host))
        pier_event_set(&p->host->ended);
    return 0;
}

static int start_program(struct sim_program *p)
{
    struct pi_sim *sim = pi_sim;
    p->rc = 0;
    p->runs = true;
    p->must_stop = false;
    p->scope = (struct pier_scope){ 0 };
    pier_event_clear(&p->host->ended);
    sim->quiet++;
    int rc = pier_spawn_named(&sim->scope, p->host->names.name, run_program, p);
    sim->quiet--;
    if (rc < 0) {
        p->runs = false;
        p->rc = rc;
        if (!any_runs(p->host))
            pier_event_set(&p->host->ended);
        return rc;
    }
    pi_sim_event(SIM_EV_HOST, p->host, 0, "program starts");
    return 0;
}

int pier_sim_start(struct pier_sim_host *host, pier_task_fn fn, void *arg)
{
    struct pi_sim *sim = pi_sim;
    if (!sim || !host)
        return sim ? pier_error_code() : outside();
    sim->quiet++;
    struct sim_program *p = pi_zalloc(sizeof *p);
    sim->quiet--;
    if (!p)
        return pi_fail(-ENOMEM, "start on %s", host->names.name);
    p->host = host;
    p->fn = fn;
    p->arg = arg;
    struct sim_program **at = &host->programs;
    while (*at)
        at = &(*at)->next;
    *at = p;
    return start_program(p);
}

int pier_sim_join(struct pier_sim_host *host)
{
    if (!pi_sim || !host)
        return pi_sim ? pier_error_code() : outside();
    int rc = pier_event_wait(&host->ended);
    for (struct sim_program *p = host->programs; rc == 0 && p; p = p->next)
        if (p->rc < 0)
            rc = pi_fail_text(p->rc, "%s", p->words);
    return rc;
}

static void cancel_programs(struct pier_sim_host *host)
{
    for (struct sim_program *p = host->programs; p; p = p->next) {
        p->must_stop = true;
        if (p->runs)
            pier_scope_cancel(&p->scope); /* nothing, if it is not open yet */
    }
}

void pier_sim_stop(struct pier_sim_host *host)
{
    if (!pi_sim || !host)
        return;
    pi_sim_event(SIM_EV_HOST, host, 1, "stop");
    cancel_programs(host);
}

void pier_sim_crash(struct pier_sim_host *host)
{
    if (!pi_sim || !host || host->is_down)
        return;
    pi_sim_event(SIM_EV_HOST, host, 2, "crash");
    host->is_down = true;
    pi_sim_crash_sockets(host);
    pi_sim_crash_files(host);
    cancel_programs(host);
}

int pier_sim_restart(struct pier_sim_host *host)
{
    if (!pi_sim || !host)
        return pi_sim ? pier_error_code() : outside();
    int rc = pier_event_wait(&host->ended);
    if (rc == 0 && pi_sim->is_over)
        rc = pi_fail(-ECANCELED, "restart %s", host->names.name);
    if (rc < 0)
        return rc;
    pi_sim_event(SIM_EV_HOST, host, 3, "restart");
    host->is_down = false;
    for (struct sim_program *p = host->programs; rc == 0 && p; p = p->next)
        if (!p->runs)
            rc = start_program(p);
    return rc;
}

void pier_sim_enter(struct pier_sim_host *host)
{
    if (pi_sim)
        pi_task_self()->place = host;
}

void pier_sim_fail_next(struct pier_sim_host *host, enum pier_sim_fault kind, int count)
{
    if (pi_sim && host && (unsigned)kind < SIM_CUT)
        host->fail_next[kind] = count;
}

/* ---- ways ---- */

struct sim_way *pi_sim_way(const struct pier_sim_host *from, const struct pier_sim_host *to)
{
    return &pi_sim->ways[from->index * SIM_HOSTS_MAX + to->index];
}

/* Calls fn for each way from one (or all) to another (or all). */
static void each_way(struct pier_sim_host *from, struct pier_sim_host *to,
                     void (*fn)(struct sim_way *way, const void *arg), const void *arg)
{
    struct pi_sim *sim = pi_sim;
    for (int i = 0; i < SIM_HOSTS_MAX; i++)
        for (int k = 0; k < SIM_HOSTS_MAX; k++)
            if (i != k && (!from || from->index == i) && (!to || to->index == k))
                fn(&sim->ways[i * SIM_HOSTS_MAX + k], arg);
}

static void set_link(struct sim_way *way, const void *link)
{
    way->link = *(const struct pier_sim_link *)link;
}

int pier_sim_set_link(struct pier_sim_host *from, struct pier_sim_host *to,
                      const struct pier_sim_link *link)
{
    if (!pi_sim)
        return outside();
    each_way(from, to, set_link, link);
    return 0;
}

int pier_sim_set_faults(const struct pier_sim_faults *faults)
{
    if (!pi_sim)
        return outside();
    pi_sim->opts.faults = *faults;
    return 0;
}

static void set_cut(struct sim_way *way, const void *cut)
{
    way->is_cut = *(const bool *)cut;
}

/* Connections may have nothing to send: keepalive looks after them. */
static void watch_all(void)
{
    struct pi_sim *sim = pi_sim;
    for (int i = 0; i < sim->sock_count; i++)
        pi_sim_watch(sim->socks[i]);
}

void pier_sim_cut(struct pier_sim_host *from, struct pier_sim_host *to)
{
    bool cut = true;
    if (!pi_sim)
        return;
    pi_sim_event(SIM_EV_CUT, from, to ? to->index : -1, "to %s", to ? to->names.name : "all");
    each_way(from, to, set_cut, &cut);
    watch_all();
}

void pier_sim_heal(struct pier_sim_host *from, struct pier_sim_host *to)
{
    bool cut = false;
    if (!pi_sim)
        return;
    pi_sim_event(SIM_EV_HEAL, from, to ? to->index : -1, "to %s", to ? to->names.name : "all");
    each_way(from, to, set_cut, &cut);
    watch_all();
}

/* ---- chaos ---- */

enum { CUTS = 101, CRASHES }; /* streams */

/* Both draw from streams of their own, and go through the motions of what a reduction leaves out:
 * the rest stays as it was. */

static int64_t about(struct sim_random *r, int64_t ns)
{
    return pi_sim_range(r, ns / 4 + 1, ns + ns * 3 / 4);
}

static struct pier_sim_host *any_host(struct sim_random *r, int first)
{
    return pi_sim->hosts[pi_sim_range(r, first, pi_sim->host_count - 1)];
}

static int cut_now_and_then(void *arg)
{
    const struct pier_sim_chaos *chaos = arg;
    struct sim_random r;
    int rc = 0;
    pi_sim_seed(&r, pi_sim->seed, CUTS);
    while (rc == 0) {
        rc = pier_sleep(about(&r, chaos->cut_every_ns));
        struct pier_sim_host *a = any_host(&r, 0), *b = any_host(&r, 0);
        bool both = pi_sim_one_in(&r, 2);
        int64_t for_ns = about(&r, chaos->cut_for_ns);
        if (rc < 0 || a == b)
            continue;
        bool wanted = pi_sim_wanted(SIM_CUT, a);
        if (wanted)
            pier_sim_cut(a, b);
        if (wanted && both)
            pier_sim_cut(b, a);
        rc = pier_sleep(for_ns);
        if (wanted)
            pier_sim_heal(a, b);
        if (wanted && both)
            pier_sim_heal(b, a);
    }
    return 0;
}

static int crash_now_and_then(void *arg)
{
    const struct pier_sim_chaos *chaos = arg;
    struct sim_random r;
    int rc = 0;
    pi_sim_seed(&r, pi_sim->seed, CRASHES);
    while (rc == 0 && (chaos->only || pi_sim->host_count > 1)) {
        rc = pier_sleep(about(&r, chaos->crash_every_ns));
        struct pier_sim_host *host = chaos->only ? chaos->only : any_host(&r, 1);
        int64_t for_ns = about(&r, chaos->crash_for_ns);
        if (rc < 0 || host->is_down)
            continue;
        bool wanted = pi_sim_wanted(SIM_CRASH, host);
        if (wanted)
            pier_sim_crash(host);
        rc = pier_sleep(for_ns);
        if (wanted && rc == 0)
            rc = pier_sim_restart(host);
    }
    return 0;
}

int pier_sim_chaos(const struct pier_sim_chaos *chaos)
{
    struct pi_sim *sim = pi_sim;
    if (!sim)
        return outside();
    sim->quiet++;
    int rc = 0;
    if (chaos->cut_every_ns > 0)
        rc = pi_spawn_copy(&sim->scope, "cuts", cut_now_and_then, chaos, sizeof *chaos);
    if (rc == 0 && chaos->crash_every_ns > 0)
        rc = pi_spawn_copy(&sim->scope, "crashes", crash_now_and_then, chaos, sizeof *chaos);
    sim->quiet--;
    return rc;
}

/* ---- the end ---- */

void pi_sim_stop_all(void)
{
    for (int i = 0; i < pi_sim->host_count; i++)
        cancel_programs(pi_sim->hosts[i]);
}

static void free_host(struct pier_sim_host *host)
{
    while (host->programs) {
        struct sim_program *p = host->programs;
        host->programs = p->next;
        pi_free(p);
    }
    while (host->paths) {
        struct sim_path *path = host->paths;
        host->paths = path->next;
        pi_free(path);
    }
    pi_sim_free_disk(host);
    pier_event_fini(&host->ended);
    pi_free(host);
}

void pi_sim_free_hosts(struct pi_sim *sim)
{
    for (int i = 0; i < sim->host_count; i++)
        free_host(sim->hosts[i]);
    while (sim->names) {
        struct sim_name *n = sim->names;
        sim->names = n->next;
        pi_free(n);
    }
}
