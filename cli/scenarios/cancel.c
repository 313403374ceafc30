/* SPDX-License-Identifier: MIT */
/*
 * cancel.c - a program with something of everything, ended in the middle: after some number of
 * events, by a deadline, by the failure of a sibling, by a stop or a crash of its host, or not at
 * all.
 *
 * What it does are acts: dialling and talking, all forms of reading, writing against a small
 * window, relaying, offloading, locks, channels, shields, a server with its clients, and nests of
 * acts. Each act knows what must be true however it ended: what a cancelled read left is there for
 * the next one, what was written has arrived, what was locked is free. The other ends of its
 * connections are held by tasks outside, which nobody cancels. Without an end all acts must
 * succeed.
 */
#include "scenario.h"

#include <stdlib.h>
#include <string.h>

enum { ACTS_MAX = 10, NEST_DEPTH = 3, FLOWS_MAX = 64, CHUNK = 2048, BLOCK = 16 };

enum way { AFTER_EVENTS, BY_DEADLINE, BY_SIBLING, BY_STOP, BY_CRASH, NEVER, WAYS };

/* A cancelled wait is over by then, offloaded work that has begun included. */
static const int64_t LATE_NS = 40 * PIER_MILLISECOND;
/* All that is done under shields. */
static const int64_t SHIELD_NS = 20 * PIER_SECOND;

/* Bytes from one task to another: the one outside, and what it counted. */
struct flow {
    struct cancel_world *world;
    struct pier_conn *c;
    int64_t len, count; /* to be fed; written, or read */
    bool is_over;
};

struct cancel_world {
    struct pier_sim_host *server, *client;
    struct pier_scope outside;
    enum way way;
    bool rough; /* calls fail */
    int64_t ended_ns;
    struct flow flows[FLOWS_MAX];
    int flow_count;
    struct pier_mutex mutex;
    struct pier_sem sem;
    struct pier_event event, acts_over;
    struct pier_chan chan;
    int holders, inside, abandoned, done;
    int64_t sent, received;
};

struct nest {
    struct cancel_world *world;
    int depth;
};

/* ---- how a wait may end ---- */

/* Whether the act goes on. A failure is a cancellation that is, or trouble that was asked for. */
static bool goes_on(struct cancel_world *world, ssize_t rc)
{
    bool is_cancelled = pier_cancelled() < 0;
    if (world->ended_ns)
        PIER_SIM_CHECK(is_cancelled && pier_now() < world->ended_ns + LATE_NS);
    if (rc >= 0)
        return true;
    if (rc == -ECANCELED || rc == -ETIMEDOUT)
        PIER_SIM_CHECK(is_cancelled || world->rough || world->way == BY_CRASH);
    else if (!world->rough && world->way != BY_CRASH)
        pier_sim_fail("an act failed: %s", pier_strerror((int)rc));
    return false;
}

/* Whether bytes must all arrive: no connection has failed. */
static bool is_sound(const struct cancel_world *world)
{
    return !world->rough && world->way != BY_CRASH;
}

/* ---- bytes that tell their place ---- */

static char byte_at(int64_t at)
{
    return (char)(at % BLOCK == BLOCK - 1 ? '\n' : 'a' + at / BLOCK % 26);
}

static void fill(char *bytes, size_t len, int64_t at)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(at + (int64_t)i);
}

static void check_bytes(const char *bytes, size_t len, int64_t at)
{
    bool same = true;
    for (size_t i = 0; i < len; i++)
        same &= bytes[i] == byte_at(at + (int64_t)i);
    PIER_SIM_CHECK(same);
}

/* ---- outside ---- */

/* Writes its bytes, ends, and waits for the peer's end. */
static int feed(void *arg)
{
    struct flow *f = arg;
    char chunk[CHUNK];
    ssize_t n = 0;
    while (f->count < f->len && n >= 0) {
        size_t len = (size_t)pier_sim_between(1, CHUNK);
        if ((int64_t)len > f->len - f->count)
            len = (size_t)(f->len - f->count);
        fill(chunk, len, f->count);
        n = pier_write(f->c, chunk, len);
        f->count += n > 0 ? n : 0;
    }
    pier_shutdown_write(f->c);
    while (n >= 0 && (n = pier_read(f->c, chunk, sizeof chunk)) > 0)
        ;
    pier_close(f->c);
    f->is_over = true;
    return 0;
}

/* Reads to the end. */
static int drain(void *arg)
{
    struct flow *f = arg;
    char chunk[CHUNK];
    ssize_t n;
    while ((n = pier_read(f->c, chunk, sizeof chunk)) > 0) {
        check_bytes(chunk, (size_t)n, f->count);
        f->count += n;
        if (pier_sim_between(0, 3) == 0)
            pier_sleep(pier_sim_between(1, 1000) * PIER_MICROSECOND);
    }
    pier_close(f->c);
    f->is_over = true;
    return 0;
}

/* A connection whose other end a task outside holds: the near end, or NULL. */
static struct pier_conn *open_flow(struct cancel_world *world, struct flow **flow, pier_task_fn fn)
{
    struct pier_conn *ends[2];
    if (world->flow_count == FLOWS_MAX || pier_conn_pair(ends) < 0)
        return NULL;
    struct flow *f = &world->flows[world->flow_count++];
    *f = (struct flow){ world, ends[1], pier_sim_amount(1, 20000), 0, false };
    *flow = f;
    if (pier_spawn(&world->outside, fn, f) == 0)
        return ends[0];
    f->is_over = true;
    pier_close(ends[0]);
    pier_close(ends[1]);
    return NULL;
}

/* ---- acts: connections ---- */

static int act_talk(void *arg)
{
    struct cancel_world *world = arg;
    char out[CHUNK], in[CHUNK];
    struct pier_conn *c = pier_dial(pier_sim_between(0, 1) ? "tcp://many:7" : "tcp://server:7",
                                    NULL);
    ssize_t rc = c ? 0 : pier_error_code();
    int64_t at = 0, rounds = pier_sim_amount(1, 10), written = 0;
    for (int64_t i = 0; i < rounds && goes_on(world, rc); i++) {
        size_t len = (size_t)pier_sim_between(1, CHUNK);
        fill(out, len, at);
        rc = pier_write(c, out, len);
        if (rc >= 0)
            written += (int64_t)len;
        if (rc < 0)
            continue;
        rc = pier_read_exact(c, in, len);
        PIER_SIM_CHECK(rc < 0 || rc == (ssize_t)len || !is_sound(world));
        check_bytes(in, rc > 0 ? (size_t)rc : 0, at);
        at += (int64_t)len;
    }
    int64_t counted = written;
    pier_conn_bytes(c, NULL, &counted);
    PIER_SIM_CHECK(counted >= written);
    pier_close(c);
    return 0;
}

/* One read of a random form from the bytes at that place: its count, 0 at the end, or a code. */
static ssize_t read_somehow(struct pier_conn *c, int64_t at)
{
    char buf[CHUNK] = "";
    size_t cap = (size_t)pier_sim_between(BLOCK + 8, CHUNK);
    ssize_t n;
    switch (pier_sim_between(0, 4)) {
    case 0:
        n = pier_read(c, buf, cap);
        break;
    case 1:
        n = pier_read_text(c, buf, cap);
        break;
    case 2:
        n = pier_read_exact(c, buf, cap);
        break;
    case 3:
        n = pier_read_until(c, buf, cap, "\n", 1);
        break;
    default:
        n = pier_read_line(c, buf, cap);
        if (n >= 0)
            buf[n] = byte_at(at + n);
        n += n >= 0;
    }
    if (n == -EPIPE || n == -ENODATA) /* the end is near: what there is stays unread */
        n = pier_read(c, buf, cap);
    if (n > 0)
        check_bytes(buf, (size_t)n, at);
    return n;
}

/* What the cancelled read left, to the end: the last line may have had none. */
static int act_read(void *arg)
{
    struct cancel_world *world = arg;
    struct flow *f;
    struct pier_conn *c = open_flow(world, &f, feed);
    if (!c)
        return 0;
    int64_t at = 0;
    ssize_t n = 1;
    f->len = f->len / BLOCK * BLOCK + BLOCK;
    while (n > 0 && goes_on(world, n)) {
        n = read_somehow(c, at);
        at += n > 0 ? n : 0;
    }
    struct pier_scope shield;
    pier_shield(&shield, pier_after(SHIELD_NS));
    char buf[CHUNK];
    while ((n = pier_read(c, buf, sizeof buf)) > 0) {
        check_bytes(buf, (size_t)n, at);
        at += n;
    }
    PIER_SIM_CHECK((n == 0 && at == f->len) || !is_sound(world));
    pier_scope_join(&shield);
    pier_close(c);
    return 0;
}

/* What was counted as written arrives, and nothing else. */
static int act_write(void *arg)
{
    struct cancel_world *world = arg;
    struct flow *f;
    struct pier_conn *c = open_flow(world, &f, drain);
    if (!c)
        return 0;
    char chunk[4 * CHUNK];
    int64_t at = 0, counted = 0;
    ssize_t n = 0;
    while (at < f->len && goes_on(world, n)) {
        size_t len = (size_t)pier_sim_between(1, sizeof chunk);
        fill(chunk, len, at);
        struct iovec pieces[2] = { { chunk, len / 2 }, { chunk + len / 2, len - len / 2 } };
        n = pier_sim_between(0, 1) ? pier_write(c, chunk, len) : pier_writev(c, pieces, 2);
        PIER_SIM_CHECK(n < 0 || n == (ssize_t)len);
        at += n > 0 ? n : 0;
    }
    pier_conn_bytes(c, NULL, &counted);
    PIER_SIM_CHECK(counted >= at);
    f->len = counted; /* what must have arrived when it is over */
    pier_close(c);
    return 0;
}

/* A relay that is cancelled goes on where it was. */
static int act_relay(void *arg)
{
    struct cancel_world *world = arg;
    struct flow *from, *to;
    struct pier_conn *a = open_flow(world, &from, feed);
    struct pier_conn *b = a ? open_flow(world, &to, drain) : NULL;
    if (b) {
        int64_t counts[2] = { 0, 0 }, more[2] = { 0, 0 };
        int rc = pier_copy(a, b, counts);
        goes_on(world, rc);
        struct pier_scope shield;
        pier_shield(&shield, pier_after(SHIELD_NS));
        if (rc < 0)
            rc = pier_copy(a, b, more);
        PIER_SIM_CHECK((rc == 0 && counts[0] + more[0] == from->len) || !is_sound(world));
        pier_scope_join(&shield);
        to->len = is_sound(world) ? from->len : to->len;
    }
    pier_close(a);
    pier_close(b);
    return 0;
}

/* ---- acts: a server in the program ---- */

static int echo(struct pier_conn *c, void *arg)
{
    char buf[CHUNK];
    ssize_t n;
    while ((n = pier_read(c, buf, sizeof buf)) > 0)
        if ((n = pier_write(c, buf, (size_t)n)) < 0)
            break;
    return (int)n;
}

struct own_server {
    struct cancel_world *world;
    struct pier_server *server;
    int clients;
};

static int own_client(void *arg)
{
    struct own_server *own = arg;
    char in[BLOCK], out[BLOCK];
    fill(out, sizeof out, 0);
    struct pier_conn *c = pier_dial(pier_server_url(own->server, 0), NULL);
    ssize_t rc = c ? pier_write(c, out, sizeof out) : pier_error_code();
    if (rc >= 0)
        rc = pier_read_exact(c, in, sizeof in);
    if (rc == BLOCK)
        check_bytes(in, sizeof in, 0);
    else if (pier_cancelled() == 0) /* else the other end has been cancelled as well */
        PIER_SIM_CHECK(!is_sound(own->world));
    pier_close(c);
    if (--own->clients == 0)
        pier_server_stop_remote(own->server);
    return 0;
}

static int act_serve(void *arg)
{
    struct own_server own = { .world = arg, .clients = (int)pier_sim_amount(1, 4) };
    own.server = pier_server_new(NULL);
    int rc = own.server ? pier_server_add(own.server, "tcp://127.0.0.1:0", echo, NULL)
                        : pier_error_code();
    if (rc == 0)
        rc = pier_server_listen(own.server);
    if (rc == 0) {
        struct pier_scope scope;
        pier_scope_open(&scope, 0);
        int count = own.clients;
        for (int i = 0; i < count && rc == 0; i++)
            rc = pier_spawn(&scope, own_client, &own);
        rc = pier_server_run(own.server);
        PIER_SIM_CHECK(pier_server_conns(own.server) == 0);
        pier_scope_join(&scope);
    }
    goes_on(own.world, rc);
    pier_server_free(own.server);
    return 0;
}

/* ---- acts: work and locks ---- */

static int set_flag(void *arg)
{
    *(int *)arg = 1;
    return 7;
}

static void count_abandoned(void *arg)
{
    struct cancel_world **held = arg;
    (*held)->abandoned--;
    free(held);
}

static int look_away(void *arg)
{
    return 0;
}

static int act_offload(void *arg)
{
    struct cancel_world *world = arg;
    int flag = 0;
    int rc = pier_offload(set_flag, &flag);
    PIER_SIM_CHECK(rc < 0 || (rc == 7 && flag == 1));
    if (!goes_on(world, rc))
        return 0;
    struct cancel_world **held = malloc(sizeof *held);
    if (!held)
        return 0;
    *held = world;
    world->abandoned++;
    rc = pier_offload_abandon(look_away, held, count_abandoned);
    if (goes_on(world, rc))
        count_abandoned(held);
    return 0;
}

static int act_lock(void *arg)
{
    struct cancel_world *world = arg;
    for (int i = 0; i < 5; i++) {
        if (!goes_on(world, pier_mutex_lock(&world->mutex)))
            return 0;
        PIER_SIM_CHECK(++world->holders == 1);
        int rc = pier_sleep(pier_sim_between(0, 100) * PIER_MICROSECOND);
        world->holders--;
        pier_mutex_unlock(&world->mutex);
        if (!goes_on(world, rc))
            return 0;
    }
    return 0;
}

static int act_sem(void *arg)
{
    struct cancel_world *world = arg;
    if (!goes_on(world, pier_sem_wait(&world->sem)))
        return 0;
    PIER_SIM_CHECK(++world->inside <= 2);
    goes_on(world, pier_sleep(pier_sim_between(0, 300) * PIER_MICROSECOND));
    world->inside--;
    pier_sem_post(&world->sem);
    return 0;
}

static int act_event(void *arg)
{
    struct cancel_world *world = arg;
    if (pier_sim_between(0, 1))
        goes_on(world, pier_event_wait(&world->event));
    goes_on(world, pier_sleep(pier_sim_between(0, 2000) * PIER_MICROSECOND));
    return 0;
}

/* As many out as in, so that nobody is left waiting. */
static int act_chan(void *arg)
{
    struct cancel_world *world = arg;
    for (int i = 0; i < 4; i++) {
        int64_t out = pier_sim_between(1, 1000000), in = 0;
        struct pier_select_case cases[] = { { &world->chan, PIER_SELECT_SEND, &out, 0 } };
        int rc = pier_sim_between(0, 1) ? pier_chan_send(&world->chan, &out)
                                        : pier_select(cases, 1, 0);
        if (!goes_on(world, rc))
            return 0;
        world->sent += out;
        rc = pier_chan_recv(&world->chan, &in);
        world->received += in;
        PIER_SIM_CHECK(rc == 1 || in == 0);
        if (!goes_on(world, rc))
            return 0;
    }
    return 0;
}

/* ---- acts: scopes ---- */

/* A last message, whatever has been cancelled outside. */
static int act_shield(void *arg)
{
    struct cancel_world *world = arg;
    struct flow *f;
    struct pier_conn *c = open_flow(world, &f, drain);
    if (!c)
        return 0;
    char bytes[BLOCK];
    fill(bytes, sizeof bytes, 0);
    int before = pier_sleep(pier_sim_between(0, 5000) * PIER_MICROSECOND);
    goes_on(world, before);
    struct pier_scope shield;
    pier_shield(&shield, pier_after(SHIELD_NS));
    PIER_SIM_CHECK(pier_cancelled() == 0);
    PIER_SIM_CHECK(pier_sleep(pier_sim_between(0, 5000) * PIER_MICROSECOND) == 0);
    PIER_SIM_CHECK(pier_write(c, bytes, sizeof bytes) == BLOCK || !is_sound(world));
    PIER_SIM_CHECK(pier_scope_join(&shield) == 0);
    PIER_SIM_CHECK(before == 0 || pier_cancelled() < 0);
    f->len = BLOCK;
    pier_close(c);
    return 0;
}

/* The inner deadline of a shield is the one that counts. */
static int act_bound(void *arg)
{
    struct pier_scope shield;
    int64_t bound_ns = pier_sim_between(1, 3000) * PIER_MICROSECOND;
    int64_t end_ns = pier_after(bound_ns);
    pier_shield(&shield, end_ns);
    PIER_SIM_CHECK(pier_sleep(PIER_HOUR) == -ETIMEDOUT);
    PIER_SIM_CHECK(pier_now() >= end_ns && pier_now() < end_ns + LATE_NS);
    PIER_SIM_CHECK(pier_scope_join(&shield) == 0);
    return 0;
}

static int act_nest(void *arg);

static int spawn_acts(struct cancel_world *world, struct pier_scope *scope, struct nest *nest,
                      int64_t count)
{
    static const pier_task_fn acts[] = { act_talk,  act_read,    act_write,  act_relay,
                                         act_serve, act_offload, act_lock,   act_sem,
                                         act_event, act_chan,    act_shield, act_bound };
    enum { ACTS = sizeof acts / sizeof acts[0] };
    int rc = 0;
    for (int64_t i = 0; i < count && rc == 0; i++) {
        int64_t which = pier_sim_between(0, nest->depth < NEST_DEPTH ? ACTS + 2 : ACTS - 1);
        rc = which < ACTS ? pier_spawn_named(scope, "act", acts[which], world)
                          : pier_spawn(scope, act_nest, nest);
    }
    return rc;
}

static int act_nest(void *arg)
{
    const struct nest *outer = arg;
    struct nest inner = { outer->world, outer->depth + 1 };
    bool has_deadline = outer->world->way != NEVER && pier_sim_between(0, 1);
    int64_t deadline = pier_after(pier_sim_between(1, 5000) * PIER_MICROSECOND);
    struct pier_scope scope;
    pier_scope_open(&scope, has_deadline ? deadline : 0);
    int before = pier_cancelled();
    int spawned = spawn_acts(inner.world, &scope, &inner, pier_sim_amount(1, 3));
    PIER_SIM_CHECK(before == 0 || spawned == before);
    if (pier_sim_between(0, 3) == 0 && inner.world->way != NEVER) {
        pier_sleep(pier_sim_between(0, 3000) * PIER_MICROSECOND);
        pier_scope_cancel(&scope);
    }
    int rc = pier_scope_join(&scope);
    PIER_SIM_CHECK(rc == spawned);
    PIER_SIM_CHECK(rc == 0 || rc == -ECANCELED || rc == -ETIMEDOUT || inner.world->rough);
    return 0;
}

/* ---- the program ---- */

/* Learns of the end as early as anybody. A sibling's failure, being the first, is not replaced by
 * this one. */
static int witness(void *arg)
{
    struct cancel_world *world = arg;
    int rc = pier_event_wait(&world->acts_over);
    if (rc < 0)
        world->ended_ns = pier_now();
    return world->way == BY_SIBLING ? rc : 0;
}

static int fail_in_time(void *arg)
{
    struct cancel_world *world = arg;
    if (pier_sleep(pier_sim_between(1, 10000) * PIER_MICROSECOND) < 0)
        return 0;
    world->ended_ns = pier_now();
    return pier_error_set(-EDOM, "a sibling");
}

static void check_join(const struct cancel_world *world, int rc, int spawned)
{
    if (world->rough || spawned < 0)
        return;
    if (world->way == BY_SIBLING)
        PIER_SIM_CHECK(rc == -EDOM && strstr(pier_error(), "a sibling"));
    else
        PIER_SIM_CHECK(rc == 0);
}

static int victim(void *arg)
{
    struct cancel_world *world = arg;
    struct nest nest = { world, 0 };
    struct pier_scope scope, acts;
    int64_t span_ns = pier_sim_between(1, 10000) * PIER_MICROSECOND;
    pier_scope_open(&scope, world->way == BY_DEADLINE ? pier_after(span_ns) : 0);
    if (world->way == AFTER_EVENTS)
        pier_sim_cancel_after(&scope, pier_sim_between(1, 400));
    int spawned = pier_spawn(&scope, witness, world);
    if (world->way == BY_SIBLING)
        spawned |= pier_spawn(&scope, fail_in_time, world);
    pier_scope_open(&acts, 0);
    if (spawned == 0)
        spawned = spawn_acts(world, &acts, &nest, pier_sim_amount(1, ACTS_MAX));
    if (pier_sleep(pier_sim_between(0, 5000) * PIER_MICROSECOND) == 0)
        pier_event_set(&world->event);
    int joined = pier_scope_join(&acts);
    PIER_SIM_CHECK(joined == 0 || joined == spawned);
    pier_event_set(&world->acts_over);
    int rc = pier_scope_join(&scope);
    pier_sim_cancel_after(NULL, 0);
    check_join(world, rc, spawned);
    if (world->ended_ns)
        PIER_SIM_CHECK(pier_now() < world->ended_ns + SHIELD_NS);
    world->done = 1;
    return 0;
}

static int serve_echo(void *arg)
{
    pier_serve("tcp://:7", echo, NULL, NULL);
    return 0;
}

/* ---- the whole ---- */

static int init(struct cancel_world *world)
{
    world->way = (enum way)pier_sim_between(0, WAYS - 1);
    world->rough = world->way != NEVER && pier_sim_between(0, 3) == 0;
    world->server = pier_sim_host("server", "10.0.0.1 fd00::1");
    world->client = pier_sim_host("client", "10.0.0.2 fd00::2");
    pier_sim_name("many", "fd00::99 10.0.0.99 fd00::1 10.0.0.1");
    int flags = pier_sim_between(0, 1) ? PIER_LOCAL : 0;
    pier_mutex_init(&world->mutex, flags);
    pier_sem_init(&world->sem, 2, flags);
    pier_event_init(&world->event, flags);
    pier_event_init(&world->acts_over, flags);
    return pier_chan_init(&world->chan, sizeof(int64_t), 200, flags);
}

/* What must be true when everybody has ended. */
static void check_left(struct cancel_world *world)
{
    PIER_SIM_CHECK(world->done || world->way == BY_STOP || world->way == BY_CRASH);
    PIER_SIM_CHECK(world->holders == 0 && pier_mutex_trylock(&world->mutex) == 0);
    PIER_SIM_CHECK(world->inside == 0 && world->abandoned == 0);
    for (int i = 0; i < 2; i++)
        PIER_SIM_CHECK(pier_sem_trywait(&world->sem) == 0);
    PIER_SIM_CHECK(pier_sem_trywait(&world->sem) == -EAGAIN);
    int64_t left;
    while (pier_chan_try_recv(&world->chan, &left) == 1)
        world->received += left;
    PIER_SIM_CHECK(world->sent == world->received);
    for (int i = 0; i < world->flow_count; i++) {
        const struct flow *f = &world->flows[i];
        PIER_SIM_CHECK(f->is_over);
        PIER_SIM_CHECK(f->count == f->len || !is_sound(world));
    }
    pier_mutex_fini(&world->mutex);
    pier_sem_fini(&world->sem);
    pier_event_fini(&world->event);
    pier_event_fini(&world->acts_over);
    pier_chan_fini(&world->chan);
}

static void make_trouble(struct cancel_world *world)
{
    for (int i = 0; i < 3 && world->rough; i++) {
        pier_sleep(pier_sim_between(0, 2000) * PIER_MICROSECOND);
        enum pier_sim_fault kind = (enum pier_sim_fault)pier_sim_between(0, PIER_SIM_RESOLVE);
        pier_sim_fail_next(world->client, kind, (int)pier_sim_between(1, 3));
    }
    pier_sleep(pier_sim_between(0, 8000) * PIER_MICROSECOND);
    if (world->way == BY_STOP)
        pier_sim_stop(world->client);
    else if (world->way == BY_CRASH)
        pier_sim_crash(world->client);
}

static int run(void *arg)
{
    struct cancel_world world = { 0 };
    int rc = init(&world);
    if (rc < 0)
        return rc;
    pier_scope_open(&world.outside, 0);
    pier_sim_start(world.server, serve_echo, NULL);
    pier_sleep(PIER_MILLISECOND);
    pier_sim_start(world.client, victim, &world);
    make_trouble(&world);
    pier_sim_join(world.client);
    rc = pier_scope_join(&world.outside);
    check_left(&world);
    return rc;
}

const struct scenario cancel_scenario = {
    .name = "cancel",
    .summary = "a program with something of everything, cancelled at any point",
    .run = run,
    .opts = { .time_limit_ns = PIER_HOUR },
};
