/* SPDX-License-Identifier: MIT */
/*
 * game_server.c - a field that 64 players walk on: 60 times a second all hear where everybody is.
 *
 * A player says with each datagram all there is to say, its token and the key that it holds, and
 * hears the whole state: what is lost is replaced by the next one. Who comes without the right
 * token is told it, no more: a false address would otherwise bring its owner 20 KB a second.
 */
#include <pier/pier.h>

#include <arpa/inet.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>

enum { PLAYERS = 64, RATE = 60, STEP = 65536 / (2 * RATE) }; /* across the field in 2 s */

static const int64_t PERIOD = PIER_SECOND / RATE;

struct input {
    uint64_t token;
    uint32_t sequence;
    char key; /* w, a, s, d: walk; q: leave; others: stand */
} __attribute__((packed));

struct position {
    uint8_t number;
    uint16_t x, y;
} __attribute__((packed));

struct state {
    uint32_t tick;
    uint8_t own, count;
    struct position players[PLAYERS];
} __attribute__((packed));

struct player {
    struct pier_addr addr;
    int64_t heard_ns; /* 0: nobody */
    uint32_t sequence;
    int x, y;
    char key;
};

static struct player players[PLAYERS];
static char secret[32];
static uint32_t tick;

/* The number that only the owner of an address can know. */
static uint64_t token_of(const struct pier_addr *addr)
{
    unsigned char digest[PIER_SHA256_LEN];
    char text[sizeof secret + PIER_ADDR_TEXT] = "";
    uint64_t token;
    memcpy(text, secret, sizeof secret);
    pier_addr_text(addr, text + sizeof secret, PIER_ADDR_TEXT);
    pier_sha256(digest, text, sizeof text);
    memcpy(&token, digest, sizeof token);
    return token;
}

static void tell(const struct player *p, const char *what)
{
    char addr[PIER_ADDR_TEXT];
    fprintf(stderr, "%s: %s\n", what, pier_addr_text(&p->addr, addr, sizeof addr));
}

/* The player at an address; addr NULL: a place where there is none. NULL if there is none. */
static struct player *find(const struct pier_addr *addr)
{
    for (struct player *p = players; p < players + PLAYERS; p++) {
        if (addr ? p->heard_ns && pier_addr_equal(&p->addr, addr) : !p->heard_ns)
            return p;
    }
    return NULL;
}

static void hear(struct pier_udp *u, const struct pier_datagram *d)
{
    struct input input;
    uint64_t token = token_of(&d->peer);
    struct pier_datagram reply = { .bytes = &token, .len = sizeof token, .peer = d->peer };
    if (d->len != sizeof input || d->truncated)
        return;
    memcpy(&input, d->bytes, sizeof input);
    struct player *p = find(&d->peer);
    if (input.token == token && !p && input.key != 'q' && (p = find(NULL))) {
        *p = (struct player){ .addr = d->peer, .x = 32768, .y = 32768 };
        tell(p, "connected");
    }
    uint32_t sequence = ntohl(input.sequence);
    if (input.token != token) {
        pier_udp_send(u, &reply, 1);
    } else if (!p) {
        reply.len = 4;
        reply.bytes = "full";
        pier_udp_send(u, &reply, 1);
    } else if (!p->heard_ns || (int32_t)(sequence - p->sequence) > 0) { /* not an older one */
        p->heard_ns = pier_now();
        p->sequence = sequence;
        p->key = input.key;
    }
}

static int clamp(int n)
{
    return n < 0 ? 0 : n > 65535 ? 65535 : n;
}

static void move(struct player *p)
{
    if (p->heard_ns && (p->key == 'q' || pier_now() - p->heard_ns > 2 * PIER_SECOND)) {
        p->heard_ns = 0;
        tell(p, "left");
    }
    p->x = clamp(p->x + (p->key == 'd' ? STEP : p->key == 'a' ? -STEP : 0));
    p->y = clamp(p->y + (p->key == 's' ? STEP : p->key == 'w' ? -STEP : 0));
}

/* Who cannot be sent to is not heard either, and leaves. */
static void send_state(struct pier_udp *u)
{
    static struct state states[PLAYERS];
    struct pier_datagram out[PLAYERS];
    struct state all = { .tick = htonl(++tick) };
    int count = 0;
    for (int i = 0; i < PLAYERS; i++) {
        move(&players[i]);
        if (players[i].heard_ns)
            all.players[all.count++] = (struct position){ (uint8_t)i, htons((uint16_t)players[i].x),
                                                          htons((uint16_t)players[i].y) };
    }
    for (int i = 0; i < all.count; i++) {
        struct player *p = &players[all.players[i].number];
        states[i] = all;
        states[i].own = all.players[i].number;
        out[count++] = (struct pier_datagram){
            .bytes = &states[i],
            .len = offsetof(struct state, players) + all.count * sizeof all.players[0],
            .peer = p->addr,
        };
    }
    pier_udp_send(u, out, count);
}

static int play(void *arg)
{
    struct pier_udp *u = arg;
    struct pier_datagram batch[PLAYERS] = { 0 };
    struct input inputs[PLAYERS];
    int rc = 0;
    for (int i = 0; i < PLAYERS; i++)
        batch[i] = (struct pier_datagram){ .bytes = &inputs[i], .cap = sizeof inputs[i] };
    for (int64_t next = pier_now(); rc >= 0 || rc == -ETIMEDOUT; send_state(u)) {
        int64_t now = pier_now();
        next = next + PERIOD > now ? next + PERIOD : now; /* what was missed is not made up for */
        do {
            rc = pier_udp_recv(u, batch, PLAYERS, next);
            for (int i = 0; i < rc; i++)
                hear(u, &batch[i]);
        } while (rc > 0 && pier_now() < next);
    }
    return rc == -ECANCELED ? 0 : rc;
}

int main(int argc, char **argv)
{
    static const int stops[] = { SIGINT, SIGTERM, 0 };
    char text[PIER_ADDR_TEXT];
    struct pier_addr local;
    struct pier_scope scope;
    struct pier_udp *u = pier_udp_open(argc > 1 ? argv[1] : "udp://127.0.0.1:9001", NULL);
    if (getrandom(secret, sizeof secret, 0) < 0)
        return perror("game_server"), 1;
    if (pier_udp_local(u, &local) < 0)
        return pier_fail("game_server");
    fprintf(stderr, "listening on udp://%s\n", pier_addr_text(&local, text, sizeof text));
    pier_scope_open(&scope, 0);
    pier_spawn(&scope, play, u);
    int rc = pier_signal_wait(stops, 0);
    pier_scope_cancel(&scope);
    if (pier_scope_join(&scope) < 0 || rc < 0)
        return pier_fail("game_server");
    fprintf(stderr, "stopped\n");
    pier_udp_close(u);
    return 0;
}
