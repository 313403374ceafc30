/* SPDX-License-Identifier: MIT */
/*
 * sim/packet.c - datagrams on their way (RFC 768): what is lost, what comes twice or late, whose
 * it is when it arrives, and what comes back when it is nobody's.
 *
 * A datagram waits until the link is free, travels, and arrives or not; what does not says so in
 * the trace. Between two hosts the order is kept, but for those that the link holds back. Within a
 * host nothing goes wrong. An error (RFC 792, RFC 4443) is a packet that goes back, with the
 * addresses of the datagram that it is about.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include "base/assert.h"

#include <string.h>

enum {
    OVERHEAD = 768, /* of a datagram in a buffer, as the kernel counts */
    MTU = 1500,
    LOCAL_MTU = 65536,
    LEAST_MTU = 68, /* RFC 791 */
    LEAST_MTU6 = 1280,
    HEADER = 20,
    HEADER6 = 40,
    FRAGMENT6 = 8, /* a header of a fragment's own */
    UDP_HEADER = 8,
    MILLION = 1000000,
    LATE_MS = 20,  /* mostly */
    BUSY_US = 200, /* now and then a device is, for so long */
    NO_HOST_S = 3, /* until nobody has answered for an address */
};

/* ---- packets and lists of them ---- */

struct sim_packet *pi_sim_packet_new(const struct sim_packet *like, size_t len)
{
    pi_sim->quiet++;
    struct sim_packet *p = pi_zalloc(sizeof *p + len);
    pi_sim->quiet--;
    if (!p)
        return NULL;
    *p = *like;
    p->next = p->before = NULL;
    p->timer = (struct pi_timer){ 0 };
    p->charge = 0;
    p->len = len;
    return p;
}

void pi_sim_packet_put(struct sim_packets *list, struct sim_packet *p)
{
    p->next = NULL;
    p->before = list->last;
    if (list->last)
        list->last->next = p;
    else
        list->first = p;
    list->last = p;
    list->charge += p->len + OVERHEAD;
}

static void unlink_packet(struct sim_packets *list, struct sim_packet *p)
{
    if (p->before)
        p->before->next = p->next;
    else
        list->first = p->next;
    if (p->next)
        p->next->before = p->before;
    else
        list->last = p->before;
    list->charge -= p->len + OVERHEAD;
}

struct sim_packet *pi_sim_packet_take(struct sim_packets *list)
{
    struct sim_packet *p = list->first;
    if (p)
        unlink_packet(list, p);
    return p;
}

void pi_sim_packets_free(struct sim_packets *list)
{
    while (list->first)
        pi_free(pi_sim_packet_take(list));
}

/* ---- on their way ---- */

static struct sim_packet *depart(const struct sim_packet *like, const void *bytes)
{
    struct pi_sim *sim = pi_sim;
    struct sim_packet *p = pi_sim_packet_new(like, like->len);
    sim->quiet++;
    bool has_timer = p && pi_timer_reserve(&sim->timers) == 0;
    sim->quiet--;
    if (!has_timer) {
        pi_free(p);
        return NULL;
    }
    if (p->len > 0)
        memcpy(p->bytes, bytes, p->len);
    pi_sim_packet_put(&sim->packets, p);
    return p;
}

/* Off the way: lost, or where it was to go. */
static void end_way(struct pi_sim *sim, struct sim_packet *p)
{
    pi_timer_disarm(&sim->timers, &p->timer);
    pi_timer_unreserve(&sim->timers);
    unlink_packet(&sim->packets, p);
}

static void arm(struct sim_packet *p, void (*fire)(struct pi_timer *), int64_t when_ns)
{
    p->timer.fire = fire;
    pi_timer_arm(&pi_sim->timers, &p->timer, when_ns);
}

static void tell_loss(const struct sim_packet *p, const char *why)
{
    char text[128];
    pi_sim_event(SIM_EV_LOST, p->source, (int64_t)p->len, "#%d: %zu bytes to %s, %s", p->sender->id,
                 p->len, pi_sim_addr_text(text, &p->to), why);
}

/* Its sender's buffer has room again. */
static void uncharge(struct sim_packet *p)
{
    struct sim_sock *s = p->sender;
    s->dgram->unsent -= p->charge;
    if (p->charge > 0 && 2 * s->dgram->unsent <= s->send_room)
        pi_sim_wake_writer(s);
    p->charge = 0;
}

static void lose(struct sim_packet *p, const char *why)
{
    uncharge(p);
    if (!p->error)
        tell_loss(p, why);
    end_way(pi_sim, p);
    pi_free(p);
}

/* ---- whose it is ---- */

static bool is_from(const struct sim_addr *peer, const struct sim_addr *from)
{
    return pi_sim_same_ip(peer, from) && pi_sim_port(peer) == pi_sim_port(from);
}

/* How well a socket fits what comes from remote to local; -1: not at all. As the kernel: an address
 * of its own before any address, connected before not. */
static int score(const struct sim_sock *s, const struct sim_addr *local,
                 const struct sim_addr *remote)
{
    if (s->family != local->any.sa_family || pi_sim_port(&s->local) != pi_sim_port(local))
        return -1;
    int score = 0;
    if (!pi_sim_is_any(&s->local)) {
        if (!pi_sim_same_ip(&s->local, local))
            return -1;
        score += 2;
    }
    if (s->state == SIM_CONNECTED) {
        if (!is_from(&s->peer, remote))
            return -1;
        score++;
    }
    return score;
}

/* Of sockets that share a port, always the same one for a peer. */
static struct sim_sock *share(struct pier_sim_host *host, struct sim_sock *best,
                              const struct sim_addr *local, const struct sim_addr *remote)
{
    int most = score(best, local, remote);
    uint64_t count = 0, hash = (uint64_t)pi_sim_port(remote);
    if (!best->dgram->reuse_port || best->state == SIM_CONNECTED)
        return best;
    for (const struct sim_sock *s = host->dgrams; s; s = s->next_bound)
        count += s->dgram->reuse_port && score(s, local, remote) == most;
    if (remote->any.sa_family == AF_INET)
        hash = pi_sim_mix(hash, remote->in.sin_addr.s_addr);
    else
        for (int i = 0; i < 16; i++)
            hash = pi_sim_mix(hash, remote->in6.sin6_addr.s6_addr[i]);
    uint64_t index = pi_sim_mix(hash, pi_sim->seed) % count;
    for (struct sim_sock *s = host->dgrams; s; s = s->next_bound)
        if (s->dgram->reuse_port && score(s, local, remote) == most && index-- == 0)
            return s;
    return best;
}

/* The newest of those that fit best. */
static struct sim_sock *find(struct pier_sim_host *host, const struct sim_addr *local,
                             const struct sim_addr *remote)
{
    struct sim_sock *best = NULL;
    int most = -1;
    for (struct sim_sock *s = host->dgrams; s; s = s->next_bound) {
        int fits = score(s, local, remote);
        if (fits > most) {
            most = fits;
            best = s;
        }
    }
    return best ? share(host, best, local, remote) : NULL;
}

/* ---- arrival ---- */

/* Takes the packet. As the kernel: what comes when the buffer is full is dropped, however short. */
static void put_in(struct sim_sock *s, struct sim_packet *p)
{
    char text[128];
    if (s->dgram->in.charge > s->window) {
        tell_loss(p, "no room there");
        pi_free(p);
        return;
    }
    pi_sim_packet_put(&s->dgram->in, p);
    pi_sim_event(SIM_EV_ARRIVE, s->host, (int64_t)p->len, "#%d: %zu bytes from %s", s->id, p->len,
                 pi_sim_addr_text(text, &p->from));
    pi_sim_wake_reader(s);
}

static void put_copies_in(struct sim_packet *p)
{
    struct pier_sim_host *host = p->target;
    for (struct sim_sock *s = host->dgrams; s; s = s->next_bound) {
        bool fits = pi_sim_port(&s->local) == pi_sim_port(&p->to) &&
                    s->family == p->to.any.sa_family &&
                    (pi_sim_is_any(&s->local) || pi_sim_same_ip(&s->local, &p->to)) &&
                    (s->state != SIM_CONNECTED || is_from(&s->peer, &p->from));
        if (!fits || !pi_sim_hears_group(s, p))
            continue;
        struct sim_packet *copy = pi_sim_packet_new(p, p->len);
        if (!copy)
            continue; /* no memory: no room there */
        memcpy(copy->bytes, p->bytes, p->len);
        put_in(s, copy);
    }
    pi_free(p);
}

/* Whoever sent what the error is about learns it, if it is connected or has asked for errors. */
static void tell_sender(struct sim_packet *p)
{
    struct sim_sock *s = find(p->target, &p->from, &p->to);
    char text[128];
    bool is_told = s && (s->dgram->tells_errors ||
                         (s->state == SIM_CONNECTED && p->error == -ECONNREFUSED));
    if (!is_told) {
        pi_free(p);
        return;
    }
    s->error = p->error;
    pi_sim_event(SIM_EV_REFUSED, s->host, s->id, "#%d by %s", s->id,
                 pi_sim_addr_text(text, &p->to));
    if (s->dgram->tells_errors && s->dgram->errors.charge <= s->window)
        pi_sim_packet_put(&s->dgram->errors, p);
    else
        pi_free(p);
    pi_sim_wake_reader(s);
    pi_sim_wake_writer(s);
}

static void send_off(struct sim_packet *p);

/* The port is nobody's: its host says so. */
static void refuse(struct sim_packet *p)
{
    struct sim_packet back = *p;
    back.source = p->target;
    back.target = p->source;
    back.error = -ECONNREFUSED;
    struct sim_packet *error = depart(&back, p->bytes);
    tell_loss(p, "nobody there");
    pi_free(p);
    if (error)
        send_off(error);
}

static bool is_to_group(const struct sim_packet *p)
{
    return pi_sim_is_multicast(&p->to) || pi_sim_is_broadcast(p->source, &p->to);
}

static void arrives(struct pi_timer *timer)
{
    struct sim_packet *p = PI_CONTAINER_OF(timer, struct sim_packet, timer);
    if (pi_sim_is_cut(p->source, p->target)) {
        lose(p, "cut off");
        return;
    }
    end_way(pi_sim, p);
    struct sim_sock *s = NULL;
    if (p->error)
        tell_sender(p);
    else if (is_to_group(p))
        put_copies_in(p);
    else if ((s = find(p->target, &p->to, &p->from)) != NULL)
        put_in(s, p);
    else
        refuse(p);
}

/* ---- the link ---- */

int pi_sim_mtu(const struct pier_sim_host *from, const struct sim_addr *to)
{
    const struct pier_sim_host *target = pi_sim_host_of(to, (struct pier_sim_host *)from);
    int least = to->any.sa_family == AF_INET ? LEAST_MTU : LEAST_MTU6;
    if (target == from)
        return LOCAL_MTU;
    int mtu = target ? pi_sim_way(from, target)->link.mtu : pi_sim->opts.link.mtu;
    if (mtu < 0)
        return LOCAL_MTU;
    return mtu == 0 ? MTU : mtu < least ? least : mtu;
}

static int header_len(const struct sim_packet *p)
{
    return p->to.any.sa_family == AF_INET ? HEADER : HEADER6;
}

static int fragments(const struct sim_packet *p)
{
    int mtu = pi_sim_mtu(p->source, &p->to);
    int len = (int)p->len + UDP_HEADER, header = header_len(p);
    if (p->error || len + header <= mtu) /* an error quotes as much as fits */
        return 1;
    int each = (mtu - header - (header == HEADER6 ? FRAGMENT6 : 0)) & ~7;
    return (len + each - 1) / each;
}

/* That one piece at least is lost, in a million. */
static int loss_of_any(int ppm, int pieces)
{
    int64_t passes = MILLION;
    int64_t passes_each = ppm >= MILLION ? 0 : MILLION - ppm;
    while (pieces-- > 0)
        passes = passes * passes_each / MILLION;
    return (int)(MILLION - passes);
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* When it has left the machine: one after the other. */
static int64_t pass_link(struct sim_way *way, const struct sim_packet *p)
{
    struct pi_sim *sim = pi_sim;
    int64_t left = later(sim->now_ns, way->busy_ns);
    int64_t rate = way->link.bandwidth;
    if (rate > 0)
        left += ((int64_t)p->len + UDP_HEADER + header_len(p)) * PIER_SECOND / rate;
    else if (!pi_sim_is_calm(sim, SIM_SPLIT) && pi_sim_one_in(&sim->network, 32))
        left += pi_sim_range(&sim->network, 0, BUSY_US * PIER_MICROSECOND);
    way->busy_ns = left;
    return left;
}

/* Long enough for others to pass. */
static int64_t lateness(void)
{
    struct pi_sim *sim = pi_sim;
    int shift = 0;
    while (shift < 6 && pi_sim_one_in(&sim->network, 4))
        shift++;
    return pi_sim_range(&sim->network, PIER_MILLISECOND, LATE_MS * PIER_MILLISECOND) << shift;
}

static void leaves(struct pi_timer *timer)
{
    struct sim_packet *p = PI_CONTAINER_OF(timer, struct sim_packet, timer);
    uncharge(p);
    if (p->arrives_ns > 0)
        arm(p, arrives, p->arrives_ns);
    else
        lose(p, "lost");
}

/* A copy, on its own; when there is no memory for it, there is none. */
static void send_copy(const struct sim_packet *p, int64_t arrives_ns)
{
    struct sim_packet *copy = depart(p, p->bytes);
    if (copy)
        arm(copy, arrives, arrives_ns);
}

static void send_over_link(struct sim_packet *p)
{
    struct sim_way *way = pi_sim_way(p->source, p->target);
    const struct pier_sim_link *link = &way->link;
    int64_t now = pi_sim->now_ns, left = pass_link(way, p);
    int64_t due = left + pi_sim_delay(p->source, p->target);
    int loss_ppm = loss_of_any(link->loss_ppm, fragments(p));
    bool is_lost = pi_sim_faulty(PIER_SIM_LOSE, loss_ppm, p->source);
    due = later(due, way->last_ns + 1);
    if (pi_sim_faulty(PIER_SIM_DUPLICATE, link->duplicate_ppm, p->source))
        send_copy(p, due + lateness());
    if (pi_sim_faulty(PIER_SIM_REORDER, link->reorder_ppm, p->source))
        due += lateness();
    else
        way->last_ns = due;
    p->arrives_ns = is_lost ? 0 : due;
    if (left > now && !p->error) {
        p->charge = p->len + OVERHEAD;
        p->sender->dgram->unsent += p->charge;
    }
    arm(p, leaves, left);
}

/* Its target is known. */
static void send_off(struct sim_packet *p)
{
    if (p->source != p->target) {
        send_over_link(p);
        return;
    }
    struct sim_way *way = pi_sim_way(p->source, p->target);
    int64_t due = pi_sim->now_ns + pi_sim_delay(p->source, p->target);
    way->last_ns = later(due, way->last_ns + 1);
    arm(p, arrives, way->last_ns);
}

static int send_to(const struct sim_packet *header, const void *bytes, struct pier_sim_host *target)
{
    struct sim_packet *p = depart(header, bytes);
    if (!p)
        return -ENOBUFS;
    p->target = target;
    send_off(p);
    return 0;
}

/* Nobody answers for the address: the machine finds that out itself. */
static int send_to_nobody(const struct sim_packet *header, const void *bytes)
{
    tell_loss(header, "no such host");
    if (!header->sender->dgram->tells_errors)
        return 0;
    struct sim_packet *p = depart(header, bytes);
    if (!p)
        return -ENOBUFS;
    p->target = p->source;
    p->error = -EHOSTUNREACH;
    arm(p, arrives, pi_sim->now_ns + NO_HOST_S * PIER_SECOND);
    return 0;
}

static int send_to_group(const struct sim_packet *header, const void *bytes)
{
    struct pi_sim *sim = pi_sim;
    bool loops = !pi_sim_is_multicast(&header->to) || header->interface == SIM_LOOPBACK ||
                 !header->sender->dgram->no_loop;
    int rc = loops ? send_to(header, bytes, header->source) : 0;
    bool goes_out = header->interface == SIM_ETHERNET && header->hops > 0;
    for (int i = 0; rc == 0 && goes_out && i < sim->host_count; i++) {
        struct pier_sim_host *host = sim->hosts[i];
        if (host != header->source &&
            pi_sim_are_neighbours(header->source, host, header->to.any.sa_family))
            rc = send_to(header, bytes, host);
    }
    return rc;
}

int pi_sim_post(const struct sim_packet *header, const void *bytes)
{
    if (is_to_group(header))
        return send_to_group(header, bytes);
    struct pier_sim_host *target = pi_sim_host_of(&header->to, header->source);
    return target ? send_to(header, bytes, target) : send_to_nobody(header, bytes);
}

/* ---- the end ---- */

/* What is under way to and from the host is lost. */
void pi_sim_crash_packets(struct pier_sim_host *host)
{
    struct sim_packet *next;
    for (struct sim_packet *p = pi_sim->packets.first; p; p = next) {
        next = p->next;
        if (p->source == host || p->target == host)
            lose(p, "crashed");
    }
}

/* Before the timers' other owners go: a reservation is returned while none of these is armed. */
void pi_sim_free_packets(struct pi_sim *sim)
{
    struct sim_packet *next;
    for (struct sim_packet *p = sim->packets.first; p; p = p->next)
        pi_timer_disarm(&sim->timers, &p->timer);
    for (struct sim_packet *p = sim->packets.first; p; p = next) {
        next = p->next;
        end_way(sim, p);
        pi_free(p);
    }
}
