/* SPDX-License-Identifier: MIT */
/*
 * sim/chance.c - random numbers of a seed, the faults drawn from them, and what a reduction leaves
 * out.
 *
 * Each kind of decision has a stream of its own, so that leaving one kind out (or changing it) does
 * not shift the others. The generator is xoshiro256** by Blackman and Vigna, seeded by splitmix64
 * (https://prng.di.unimi.it/).
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void pi_sim_seed(struct sim_random *r, uint64_t seed, uint64_t stream)
{
    uint64_t state = seed ^ (stream * 0xd1342543de82ef95u);
    for (int i = 0; i < 4; i++)
        r->state[i] = splitmix(&state);
}

static uint64_t rotate(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

uint64_t pi_sim_draw(struct sim_random *r)
{
    uint64_t *s = r->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* A multiplication instead of a division; the bias is below 2^-32 for what a simulation asks. */
uint64_t pi_sim_below(struct sim_random *r, uint64_t below)
{
    return below ? (uint64_t)(((__uint128_t)pi_sim_draw(r) * below) >> 64) : 0;
}

int64_t pi_sim_range(struct sim_random *r, int64_t lo, int64_t hi)
{
    return hi <= lo ? lo : lo + (int64_t)pi_sim_below(r, (uint64_t)(hi - lo) + 1);
}

bool pi_sim_one_in(struct sim_random *r, unsigned n)
{
    return pi_sim_below(r, n) == 0;
}

/* ---- faults ---- */

static bool is_kept(const struct sim_reduced *r, int64_t number)
{
    for (int i = 0; i < r->keep_count; i++)
        if (r->keep[i] == number)
            return true;
    return !r->only;
}

/* A fault is known by host, kind and the how many-th call of that kind there it meets; whether it
 * happens depends on the seed and these alone. So a reduction that leaves one out does not change
 * the others, and one that names them can let them happen earlier. */
static int64_t number_of(int kind, const struct pier_sim_host *host, int64_t call)
{
    return (int64_t)host->index << 48 | (int64_t)kind << 40 | call;
}

static void has_happened(struct pi_sim *sim, int64_t number)
{
    if (sim->faults < PIER_SIM_NUMBERED)
        sim->fault_numbers[sim->faults] = number;
    sim->faults++;
}

static bool happens(struct pi_sim *sim, int64_t number)
{
    if (pi_sim_is_calm(sim, SIM_FAULTS) || !is_kept(&sim->reduced, number))
        return false;
    has_happened(sim, number);
    return true;
}

bool pi_sim_wanted(int kind, struct pier_sim_host *host)
{
    return happens(pi_sim, number_of(kind, host, host->fault_calls[kind]++));
}

static bool is_drawn(const struct pi_sim *sim, int64_t number, int ppm)
{
    if (ppm <= 0)
        return false;
    uint64_t state = sim->seed ^ ((uint64_t)number * 0xd1342543de82ef95u);
    return (splitmix(&state) >> 32) * 1000000 >> 32 < (uint64_t)ppm;
}

bool pi_sim_faulty(enum pier_sim_fault kind, int ppm, struct pier_sim_host *host)
{
    static const char *const names[] = {
        [PIER_SIM_DESCRIPTORS] = "no descriptor",
        [PIER_SIM_MEMORY] = "no memory",
        [PIER_SIM_REFUSE] = "refused",
        [PIER_SIM_RESET] = "reset",
        [PIER_SIM_BROKEN_PIPE] = "peer has closed",
        [PIER_SIM_TIMEOUT] = "connection is dead",
        [PIER_SIM_INTERRUPT] = "interrupted",
        [PIER_SIM_RESOLVE] = "no name server",
        [PIER_SIM_DISK_FULL] = "disk full",
        [PIER_SIM_DISK_ERROR] = "disk error",
        [PIER_SIM_LOSE] = "datagram lost",
        [PIER_SIM_DUPLICATE] = "datagram twice",
        [PIER_SIM_REORDER] = "datagram late",
    };
    struct pi_sim *sim = pi_sim;
    int64_t call = host->fault_calls[kind]++;
    int64_t number = number_of(kind, host, call);
    if (host->fail_next[kind] > 0) {
        host->fail_next[kind]--;
        sim->faults++;
        pi_sim_event(SIM_EV_FAULT, host, (int64_t)kind, "%s (asked for)", names[kind]);
        return true;
    }
    bool comes = sim->reduced.only ? is_kept(&sim->reduced, number) : is_drawn(sim, number, ppm);
    if (!comes || !happens(sim, number))
        return false;
    pi_sim_event(SIM_EV_FAULT, host, (int64_t)kind, "%s (fault %d.%d.%lld)", names[kind],
                 host->index, (int)kind, (long long)call);
    return true;
}

/* ---- reductions ---- */

static const int64_t most_calls = ((int64_t)1 << 40) - 1;

static const struct {
    const char *name;
    unsigned bit;
} kinds[] = {
    { "order", SIM_ORDER },
    { "split", SIM_SPLIT },
    { "latency", SIM_LATENCY },
    { "faults", SIM_FAULTS },
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static bool parse_calm(struct sim_reduced *out, const char *text, size_t len)
{
    for (int i = 0; i < KINDS; i++) {
        if (strlen(kinds[i].name) == len && memcmp(kinds[i].name, text, len) == 0) {
            out->calm |= kinds[i].bit;
            return true;
        }
    }
    return false;
}

static bool parse_number(int64_t *out, const char *text, size_t len, int64_t most)
{
    char digits[20], *end;
    if (len == 0 || len >= sizeof digits)
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    *out = strtoll(digits, &end, 10);
    return *end == '\0' && *out >= 0 && *out <= most;
}

/* "none", or host, kind and call: "1.3.17". */
static bool parse_fault(struct sim_reduced *out, const char *text, size_t len)
{
    const int64_t most[] = { SIM_HOSTS_MAX - 1, SIM_FAULT_KINDS - 1, most_calls };
    int64_t part[3];
    if (len == 4 && memcmp(text, "none", 4) == 0)
        return true;
    for (int i = 0; i < 3; i++) {
        const char *dot = i < 2 ? memchr(text, '.', len) : text + len;
        if (!dot || !parse_number(&part[i], text, (size_t)(dot - text), most[i]))
            return false;
        len -= i < 2 ? (size_t)(dot - text) + 1 : 0;
        text = dot + 1;
    }
    if (out->keep_count == SIM_KEEP_MAX)
        return false;
    out->keep[out->keep_count++] = part[0] << 48 | part[1] << 40 | part[2];
    return true;
}

/* One "key=a+b+c". */
static bool parse_part(struct sim_reduced *out, const char *text, size_t len)
{
    const char *end = text + len;
    const char *equals = memchr(text, '=', len);
    if (!equals)
        return false;
    size_t key = (size_t)(equals - text);
    bool is_calm = key == 4 && memcmp(text, "calm", 4) == 0;
    bool is_faults = key == 6 && memcmp(text, "faults", 6) == 0;
    bool is_size = key == 4 && memcmp(text, "size", 4) == 0;
    if (is_faults)
        out->only = true;
    for (const char *at = equals + 1; at <= end;) {
        const char *plus = memchr(at, '+', (size_t)(end - at));
        size_t item = (size_t)((plus ? plus : end) - at);
        int64_t size = 0;
        bool fine = is_calm     ? parse_calm(out, at, item)
                    : is_faults ? parse_fault(out, at, item)
                                : is_size && parse_number(&size, at, item, 100);
        if (!fine)
            return false;
        if (is_size)
            out->size = (int)size;
        at += item + 1;
    }
    return true;
}

int pi_sim_reduced_parse(struct sim_reduced *out, const char *text)
{
    *out = (struct sim_reduced){ .size = 100 };
    while (text && *text) {
        size_t len = strcspn(text, ",");
        if (!parse_part(out, text, len))
            return pi_fail_text(-EINVAL, "reduced: \"%s\" is not understood", text);
        text += len + (text[len] == ',');
    }
    return 0;
}

void pi_sim_reduced_format(char *out, size_t cap, const struct sim_reduced *r)
{
    FILE *to = fmemopen(out, cap, "w");
    out[0] = '\0';
    if (!to)
        return;
    const char *between = "";
    for (int i = 0; i < KINDS; i++) {
        if (!(r->calm & kinds[i].bit))
            continue;
        fprintf(to, "%s%s", *between ? "+" : "calm=", kinds[i].name);
        between = ",";
    }
    if (r->only) {
        fprintf(to, "%sfaults=%s", between, r->keep_count ? "" : "none");
        between = ",";
    }
    for (int i = 0; r->only && i < r->keep_count; i++)
        fprintf(to, "%s%d.%d.%lld", i ? "+" : "", (int)(r->keep[i] >> 48),
                (int)(r->keep[i] >> 40 & 0xff), (long long)(r->keep[i] & most_calls));
    if (r->size != 100)
        fprintf(to, "%ssize=%d", between, r->size);
    fclose(to);
    out[cap - 1] = '\0';
}
