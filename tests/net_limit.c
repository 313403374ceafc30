/* SPDX-License-Identifier: MIT */
/*
 * net_limit: rates, counts and bans of addresses against references that forget nothing, and what
 * those get who try to make the tables forget.
 */
#include "harness.h"

#include "net/limit.h"

#include <errno.h>
#include <pier/task.h>
#include <pthread.h>

static uint64_t seed = 362436069;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static struct pi_limits *limits_of(const struct pi_limit_opts *opts)
{
    uint64_t key[2] = { draw(), draw() };
    size_t size = (pi_limits_size(opts) + 63) / 64 * 64;
    void *room = aligned_alloc(64, size);
    ck_assert_ptr_nonnull(room);
    memset(room, 0, size);
    pi_limits_init(room, opts, key);
    return room;
}

static uint64_t id_of(const struct pi_limits *l, uint64_t high)
{
    struct pi_ip ip = { high, 0, 6 };
    return pi_limits_id(l, &ip);
}

static bool is_banned(const struct pi_limits *l, uint64_t high, int64_t now_ns)
{
    struct pi_ip ip = { high, 0, 6 };
    return pi_limits_is_banned(l, &ip, now_ns);
}

/* ---- who is who ---- */

TEST(limit_addresses_of_a_64_are_one)
{
    struct pi_limits *l = limits_of(&(struct pi_limit_opts){ .slots = 1 });
    struct pi_ip a, b, c, in, zero;
    ck_assert(pi_ip_read(&a, "2001:db8:0:1::1") && pi_ip_read(&b, "2001:db8:0:1:ffff::2"));
    ck_assert(pi_ip_read(&c, "2001:db8:0:2::1"));
    ck_assert(pi_ip_read(&in, "0.0.0.0") && pi_ip_read(&zero, "::"));
    ck_assert_uint_eq(pi_limits_id(l, &a), pi_limits_id(l, &b));
    ck_assert_uint_ne(pi_limits_id(l, &a), pi_limits_id(l, &c));
    ck_assert_uint_ne(pi_limits_id(l, &in), pi_limits_id(l, &zero));
    free(l);
}

/* ---- rates ---- */

TEST(limit_a_burst_passes_at_once_and_then_one_each_interval)
{
    struct pi_limits *l =
        limits_of(&(struct pi_limit_opts){ .slots = 1, .interval_ns = 100, .tolerance_ns = 500 });
    uint64_t id = id_of(l, 1), other = id_of(l, 2);
    for (int i = 0; i < 5; i++)
        ck_assert(pi_limits_pass(l, id, 1000));
    ck_assert(!pi_limits_pass(l, id, 1000));
    ck_assert(!pi_limits_pass(l, id, 1099));
    ck_assert(pi_limits_pass(l, other, 1099));
    ck_assert(pi_limits_pass(l, id, 1100));
    ck_assert(!pi_limits_pass(l, id, 1100));
    for (int i = 0; i < 5; i++)
        ck_assert(pi_limits_pass(l, id, 1600));
    ck_assert(!pi_limits_pass(l, id, 1600));
    free(l);
}

/* A bucket of tokens, which is what the rate means: full at first, one more each interval. */
TEST(limit_rates_are_those_of_a_bucket_of_tokens)
{
    enum { BURST = 7, INTERVAL = 1000, ADDRESSES = 50 };
    struct pi_limits *l = limits_of(&(struct pi_limit_opts){
        .slots = 1, .interval_ns = INTERVAL, .tolerance_ns = INTERVAL * BURST });
    int64_t level[ADDRESSES], at[ADDRESSES] = { 0 }, now = 1;
    for (int i = 0; i < ADDRESSES; i++)
        level[i] = BURST * INTERVAL;
    for (int i = 0; i < 200000; i++) {
        int who = (int)(draw() % ADDRESSES);
        now += (int64_t)(draw() % (i % 20000 < 10000 ? 10 : 100));
        level[who] += now - at[who];
        at[who] = now;
        if (level[who] > BURST * INTERVAL)
            level[who] = BURST * INTERVAL;
        bool may = level[who] >= INTERVAL;
        level[who] -= may ? INTERVAL : 0;
        ck_assert_msg(pi_limits_pass(l, id_of(l, (uint64_t)who), now) == may, "step %d", i);
    }
    free(l);
}

/* Half a million addresses push each other out of a table for 131,072. */
TEST(limit_nobody_passes_faster_by_filling_the_table)
{
    enum { CROWD = 500000, BURST = 2 };
    struct pi_limits *l = limits_of(&(struct pi_limit_opts){
        .slots = 1, .interval_ns = 1000000000, .tolerance_ns = 2000000000 });
    uint8_t *passed = calloc(CROWD, 1);
    int64_t now = 1;
    int first = 0;
    for (int round = 0; round < 4; round++)
        for (uint64_t i = 0; i < CROWD; i++) {
            passed[i] += pi_limits_pass(l, id_of(l, i), now);
            first += round == 0 && passed[i] == 1;
        }
    for (int i = 0; i < CROWD; i++)
        ck_assert_int_le(passed[i], BURST);
    ck_assert_int_gt(first, 131072); /* too strict only where it is crowded */
    now += 10000000000;              /* all is forgiven */
    int after = 0;
    for (uint64_t i = 0; i < 50000; i++)
        after += pi_limits_pass(l, id_of(l, i), now);
    ck_assert_int_eq(after, 50000);
    free(passed);
    free(l);
}

/* ---- bans ---- */

TEST(limit_bans_end_by_themselves_and_can_be_lifted)
{
    struct pi_limits *l = limits_of(&(struct pi_limit_opts){ .slots = 1 });
    uint64_t id = id_of(l, 1);
    ck_assert(!is_banned(l, 1, 100));
    ck_assert_int_eq(pi_limits_ban(l, id, 0, 100), 0);
    ck_assert_int_eq(pi_limits_ban(l, id, 200, 100), 0);
    ck_assert(is_banned(l, 1, 199));
    ck_assert(!is_banned(l, 2, 199));
    ck_assert(!is_banned(l, 1, 200));
    ck_assert_int_eq(pi_limits_ban(l, id, 400, 200), 0);
    ck_assert_int_eq(pi_limits_ban(l, id, 300, 200), 0); /* in place of the longer one */
    ck_assert(!is_banned(l, 1, 300));
    ck_assert_int_eq(pi_limits_ban(l, id, 400, 300), 0);
    ck_assert_int_eq(pi_limits_ban(l, id, 0, 300), 0);
    ck_assert(!is_banned(l, 1, 300));
    free(l);
}

TEST(limit_a_ban_gives_way_only_to_one_that_ends_later)
{
    enum { LONG = 20000, CROWD = 400000 };
    struct pi_limits *l = limits_of(&(struct pi_limit_opts){ .slots = 1 });
    int refused = 0, kept = 0;
    for (uint64_t i = 0; i < LONG; i++)
        ck_assert_int_eq(pi_limits_ban(l, id_of(l, i), 1000, 1), 0);
    for (uint64_t i = LONG; i < LONG + CROWD; i++)
        refused += pi_limits_ban(l, id_of(l, i), 500, 1) == -ENOSPC;
    ck_assert_int_gt(refused, 0);
    for (uint64_t i = 0; i < LONG; i++)
        kept += is_banned(l, i, 2);
    ck_assert_int_eq(kept, LONG);
    free(l);
}

/* ---- connections ---- */

TEST(limit_counts_are_exact_over_all_slots)
{
    enum { SLOTS = 3, ADDRESSES = 300, MOST = 4, CONNS = 1000 };
    struct pi_limits *l = limits_of(
        &(struct pi_limit_opts){ .slots = SLOTS, .max_conns = CONNS, .max_per_ip = MOST });
    int counts[SLOTS][ADDRESSES] = { 0 }, sums[ADDRESSES] = { 0 };
    for (int i = 0; i < 300000; i++) {
        int slot = (int)(draw() % SLOTS), who = (int)(draw() % ADDRESSES);
        uint64_t id = id_of(l, (uint64_t)who);
        if (draw() % 2 && counts[slot][who] > 0) {
            pi_limits_leave(l, slot, id);
            counts[slot][who]--;
            sums[who]--;
            continue;
        }
        bool entered = pi_limits_enter(l, slot, id);
        ck_assert_int_eq(entered, sums[who] < MOST);
        counts[slot][who] += entered;
        sums[who] += entered;
        ck_assert_int_eq(pi_limits_count(l, id), sums[who]);
    }
    pi_limits_clear(l, 1); /* its process has died */
    for (int who = 0; who < ADDRESSES; who++)
        ck_assert_int_eq(pi_limits_count(l, id_of(l, (uint64_t)who)), sums[who] - counts[1][who]);
    free(l);
}

TEST(limit_there_is_room_for_as_many_addresses_as_connections)
{
    enum { CONNS = 100000 };
    struct pi_limits *l =
        limits_of(&(struct pi_limit_opts){ .slots = 1, .max_conns = CONNS, .max_per_ip = 1 });
    for (int round = 0; round < 3; round++) {
        uint64_t from = (uint64_t)round * CONNS;
        for (uint64_t i = from; i < from + CONNS; i++)
            ck_assert(pi_limits_enter(l, 0, id_of(l, i)));
        for (uint64_t i = from; i < from + CONNS; i++)
            ck_assert(!pi_limits_enter(l, 0, id_of(l, i)));
        for (uint64_t i = from; i < from + CONNS; i++)
            pi_limits_leave(l, 0, id_of(l, i));
    }
    free(l);
}

TEST(limit_nothing_is_limited_by_default)
{
    struct pi_limits *l = limits_of(&(struct pi_limit_opts){ .slots = 1, .max_conns = 10 });
    uint64_t id = id_of(l, 1);
    for (int i = 0; i < 1000; i++) {
        ck_assert(pi_limits_pass(l, id, 1));
        ck_assert(pi_limits_enter(l, 0, id));
    }
    pi_limits_leave(l, 0, id);
    free(l);
}

/* ---- several at once ---- */

enum { PROCESSES = 4, EACH = 40000, MOST_OF_ALL = 3 };

static struct {
    struct pi_limits *l;
    _Atomic int inside[64], passed;
    _Atomic bool exceeded;
} race;

static void *count_in_and_out(void *arg)
{
    int slot = (int)(intptr_t)arg;
    for (int i = 0; i < EACH; i++) {
        int who = i % 64;
        uint64_t id = id_of(race.l, (uint64_t)who);
        race.passed += who == 0 && pi_limits_pass(race.l, id, 1);
        if (!pi_limits_enter(race.l, slot, id))
            continue;
        if (++race.inside[who] > MOST_OF_ALL)
            race.exceeded = true;
        race.inside[who]--;
        pi_limits_leave(race.l, slot, id);
    }
    return NULL;
}

TEST(limit_processes_that_race_exceed_no_limit)
{
    pthread_t threads[PROCESSES];
    race.l = limits_of(&(struct pi_limit_opts){ .slots = PROCESSES,
                                                .max_conns = 1000,
                                                .max_per_ip = MOST_OF_ALL,
                                                .interval_ns = 1000,
                                                .tolerance_ns = 100000 });
    for (intptr_t i = 0; i < PROCESSES; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, count_in_and_out, (void *)i), 0);
    for (int i = 0; i < PROCESSES; i++)
        pthread_join(threads[i], NULL);
    ck_assert(!race.exceeded);
    for (uint64_t i = 0; i < 64; i++)
        ck_assert_int_eq(pi_limits_count(race.l, id_of(race.l, i)), 0);
    ck_assert_int_ge(race.passed, 100);
    ck_assert_int_le(race.passed, 100 + PROCESSES); /* the first ones may make an entry each */
    free(race.l);
}

HARNESS_MAIN("net_limit")
