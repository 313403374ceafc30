/* SPDX-License-Identifier: MIT */
/*
 * work/map.c - one map: inputs go out in chunks, results come in, what came back unrun goes out
 * again.
 *
 * A chunk is as many inputs as take half a millisecond, by what the last ones took, and never so
 * many that a worker would be left without; when workers sleep while others still have a row of
 * inputs, those are asked to give the rest back. Invariant: every input below next is over, in a
 * chunk that is out, or in a range that came back.
 */
#define _GNU_SOURCE
#include "work/pool.h"

#include "base/assert.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum {
    CHUNK_US = 500, /* much longer than handing one over takes, much shorter than people notice */
    SHARES = 4,     /* a chunk is at most this part of a worker's share of what is left */
    SPLIT_MS = 1,   /* workers sleep this long before others are asked to give back */
    TICK_MS = 1000, /* the helper is looked at this often */
    SETTLE_MS = 10000, /* for killed workers to end */
    LOOK_AGAIN_MS = 5, /* where news cannot be waited for */
    WORDS = 512,
};

struct run {
    struct pier_pool *pool;
    struct pier_pool_job *job;
    size_t next;       /* no input from here on was handed out */
    size_t over;       /* inputs that are done or have failed */
    int out;           /* chunks that the workers have */
    bool ends;         /* after a failure: nothing goes out any more */
    int64_t item_ns;   /* what an input takes; 0: not known yet */
    int64_t looked_ns; /* when time-outs were last looked at; 0: not yet */
    int code;          /* of the first failure */
    char words[WORDS];
};

/* ---- failures ---- */

static void fail_input(struct run *r, size_t index, int code, const char *words)
{
    struct pier_pool_job *job = r->job;
    job->failed++;
    if (job->codes)
        job->codes[index] = code;
    if (index < job->first_failed) {
        job->first_failed = index;
        r->code = code;
        snprintf(r->words, sizeof r->words, "pool: input %zu: %s", index, words);
    }
    r->ends = r->ends || !job->keep_going;
}

static void fail_dead(struct run *r, size_t index, int status)
{
    char words[128];
    if (WIFSIGNALED(status))
        snprintf(words, sizeof words, "its worker process died of signal %d (%s)", WTERMSIG(status),
                 sigdescr_np(WTERMSIG(status)) ? sigdescr_np(WTERMSIG(status)) : "unknown");
    else
        snprintf(words, sizeof words, "its worker process exited with code %d",
                 WEXITSTATUS(status));
    fail_input(r, index, PIER_EWORKER, words);
}

static void fail_late(struct run *r, size_t index)
{
    char words[64];
    snprintf(words, sizeof words, "not done within %d ms", r->job->timeout_ms);
    fail_input(r, index, -ETIMEDOUT, words);
}

/* ---- handing out ---- */

static size_t left_to_hand_out(const struct run *r)
{
    size_t left = r->job->count - r->next;
    for (size_t i = 0; i < r->pool->returned_count; i++)
        left += r->pool->returned[i].count;
    return left;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How many inputs the next chunk should have; at least 1. */
static size_t wanted_size(const struct run *r)
{
    const struct pier_pool_job *job = r->job;
    size_t most = PI_CHUNK_ITEMS;
    if (!job->bytes_fn && !r->pool->has_threads) {
        if (job->input_size)
            most = least(most, PI_CHUNK_BYTES / job->input_size);
        if (job->output_size)
            most = least(most, PI_CHUNK_BYTES / job->output_size);
    }
    size_t wanted = job->chunk;
    if (!wanted) {
        size_t parts = (size_t)r->pool->workers * SHARES;
        size_t share = (left_to_hand_out(r) + parts - 1) / parts;
        wanted = r->item_ns ? (size_t)(CHUNK_US * PIER_MICROSECOND / r->item_ns) : 1;
        wanted = least(wanted, share);
    }
    wanted = least(wanted, most);
    return wanted ? wanted : 1;
}

/* The next inputs to go out, at most that many; what came back goes first. */
static struct pi_range take_range(struct run *r, size_t wanted)
{
    struct pier_pool *pool = r->pool;
    struct pi_range taken;
    if (pool->returned_count > 0) {
        struct pi_range *last = &pool->returned[pool->returned_count - 1];
        taken = (struct pi_range){ last->first, least(last->count, wanted) };
        last->first += taken.count;
        last->count -= taken.count;
        pool->returned_count -= last->count == 0;
        return taken;
    }
    taken = (struct pi_range){ r->next, least(r->job->count - r->next, wanted) };
    r->next += taken.count;
    return taken;
}

/* Room for what hand_out_one() and every chunk that is then out may give back. A range that goes
 * out in part and comes back in part has become two, so there is no bound but the number of inputs.
 */
static int reserve_returned(struct run *r)
{
    struct pier_pool *pool = r->pool;
    size_t needed = pool->returned_count + (size_t)r->out + 2;
    if (needed <= pool->returned_cap)
        return 0;
    struct pi_range *more = pi_realloc(pool->returned, 2 * needed * sizeof *more);
    if (!more)
        return -ENOMEM;
    pool->returned = more;
    pool->returned_cap = 2 * needed;
    return 0;
}

static void give_back(struct run *r, size_t first, size_t count)
{
    struct pier_pool *pool = r->pool;
    if (count == 0)
        return;
    PIER_ASSERT(pool->returned_count < pool->returned_cap);
    pool->returned[pool->returned_count++] = (struct pi_range){ first, count };
}

static void fill_fixed(struct run *r, struct pi_chunk *c, struct pi_slot *slot)
{
    const struct pier_pool_job *job = r->job;
    size_t at = slot->first * job->input_size;
    c->in = (const char *)job->inputs + at;
    if (!r->pool->has_threads && !r->pool->inputs_inherited && job->input_size > 0) {
        slot->in_used = slot->count * job->input_size;
        memcpy(c->in_room, c->in, slot->in_used);
        c->in = c->in_room;
    }
    c->out = c->out_room;
    if (r->pool->has_threads && job->output_size > 0)
        c->out = (char *)job->outputs + slot->first * job->output_size;
}

/* As many of the slot's inputs as have room. */
static void fill_bytes(struct run *r, struct pi_chunk *c, struct pi_slot *slot)
{
    const struct pier_pool_item *items = r->job->items + slot->first;
    uint32_t i = 0;
    size_t used = 0;
    while (i < slot->count && used < PI_CHUNK_BYTES) {
        uint64_t len = items[i].len;
        memcpy(c->in_room + used, &len, sizeof len);
        if (len > 0)
            memcpy(c->in_room + used + PI_RECORD_HEAD, items[i].input, len);
        used += pi_record_size(len);
        i++;
    }
    give_back(r, slot->first + i, slot->count - i);
    slot->count = i;
    slot->in_used = used;
    c->in = c->in_room;
    c->out = c->out_room;
}

static void hand_out_one(struct run *r, struct pi_chunk *c, struct pi_slot *slot)
{
    const struct pier_pool_job *job = r->job;
    struct pi_range range = take_range(r, wanted_size(r));
    *slot = (struct pi_slot){ .first = range.first, .count = (uint32_t)range.count };
    if (job->bytes_fn)
        fill_bytes(r, c, slot);
    else
        fill_fixed(r, c, slot);
    c->fn = job->fn;
    c->bytes_fn = job->bytes_fn;
    c->input_size = job->input_size;
    c->output_size = job->output_size;
    c->max_item_size = r->pool->max_item_size;
    c->count = slot->count;
    c->keeps_going = job->keep_going;
    atomic_store_explicit(&c->at, 0, memory_order_relaxed);
    atomic_store_explicit(&c->stop, 0, memory_order_relaxed);
    atomic_store_explicit(&c->kill, 0, memory_order_relaxed);
    slot->is_out = true;
    r->out++;
    atomic_store(&c->state, PI_CHUNK_READY);
    pi_pool_wake(r->pool->shared, 1);
}

static int hand_out(struct run *r)
{
    struct pi_pool_shared *shared = r->pool->shared;
    for (uint32_t i = 0; i < shared->chunk_count && !r->ends; i++) {
        if (r->next == r->job->count && r->pool->returned_count == 0)
            return 0;
        if (r->pool->slots[i].is_out)
            continue;
        int rc = reserve_returned(r);
        if (rc < 0)
            return rc;
        hand_out_one(r, &shared->chunks[i], &r->pool->slots[i]);
    }
    return 0;
}

/* ---- taking in ---- */

/* A result's own memory; nothing is believed that a crashing worker may have damaged. */
static int keep_record(struct run *r, size_t index, const char *record, const char *end)
{
    struct pier_pool_item *item = &r->job->items[index];
    uint64_t len;
    memcpy(&len, record, sizeof len);
    if (len > r->pool->max_item_size || (size_t)(end - record) < pi_record_size((size_t)len))
        return -EBADMSG;
    item->result = pi_alloc(len ? (size_t)len : 1);
    if (!item->result)
        return -ENOMEM;
    memcpy(item->result, record + PI_RECORD_HEAD, (size_t)len);
    item->result_len = (size_t)len;
    return 0;
}

static bool has_failed(const struct pi_chunk *c, uint32_t index)
{
    return c->failures > 0 && (index == c->first_failed || (c->keeps_going && c->codes[index] < 0));
}

/* Of the first *count, which becomes how many there was memory for. */
static int take_records(struct run *r, const struct pi_chunk *c, const struct pi_slot *slot,
                        uint32_t *count)
{
    const char *record = c->out_room;
    const char *end = record + PI_CHUNK_BYTES + pi_record_size(r->pool->max_item_size);
    for (uint32_t i = 0; i < *count; i++) {
        uint64_t len;
        memcpy(&len, record, sizeof len);
        int rc = has_failed(c, i) ? 0 : keep_record(r, slot->first + i, record, end);
        if (rc < 0) {
            *count = i;
            return rc;
        }
        record += pi_record_size((size_t)least((size_t)len, r->pool->max_item_size));
    }
    return 0;
}

/* A worker that was killed may have noted a code for the input that it was at. */
static void forget_codes(const struct run *r, struct pi_chunk *c, const struct pi_slot *slot)
{
    if (r->job->keep_going)
        memset(c->codes, 0, slot->count * sizeof c->codes[0]);
}

static void take_failures(struct run *r, struct pi_chunk *c, const struct pi_slot *slot,
                          uint32_t count)
{
    for (uint32_t i = 0; i < count && c->failures > 0; i++) {
        if (!has_failed(c, i))
            continue;
        int code = i == c->first_failed ? c->first_code : c->codes[i];
        c->words[PI_CHUNK_WORDS - 1] = '\0';
        fail_input(r, slot->first + i, code < 0 ? code : -EBADMSG,
                   i == c->first_failed ? c->words : pier_strerror(code));
    }
    if (c->failures > 0)
        forget_codes(r, c, slot);
}

/* The first count inputs of the chunk have been run. */
static int take_results(struct run *r, struct pi_chunk *c, struct pi_slot *slot, uint32_t count)
{
    struct pier_pool_job *job = r->job;
    size_t failed = job->failed;
    int rc = 0;
    if (job->bytes_fn)
        rc = take_records(r, c, slot, &count);
    else if (!r->pool->has_threads && job->output_size > 0)
        memcpy((char *)job->outputs + slot->first * job->output_size, c->out_room,
               count * job->output_size);
    take_failures(r, c, slot, count);
    if (job->codes)
        for (uint32_t i = 0; i < count; i++)
            if (job->codes[slot->first + i] == -ECANCELED)
                job->codes[slot->first + i] = 0;
    r->over += count;
    job->done += count - (job->failed - failed);
    return rc;
}

/* Faster is believed at once: what turns out too much comes back. */
static void learn_pace(struct run *r, const struct pi_chunk *c)
{
    if (c->done == 0 || c->run_ns <= 0)
        return;
    int64_t item_ns = c->run_ns / c->done + 1;
    r->item_ns = item_ns < r->item_ns || !r->item_ns ? item_ns : (item_ns + r->item_ns) / 2;
}

/* A worker has died over this chunk: whose fault was it? */
static int take_dead(struct run *r, struct pi_chunk *c, struct pi_slot *slot)
{
    uint32_t at = atomic_load(&c->at);
    uint32_t whole = at == PI_CHUNK_OVER ? c->done : at > 0 ? at - 1 : 0;
    if (whole > slot->count)
        whole = slot->count; /* the crash has damaged the word, too */
    int rc = take_results(r, c, slot, whole);
    forget_codes(r, c, slot);
    uint32_t rest = slot->count - whole;
    bool is_at_fault = at > 0 && at != PI_CHUNK_OVER && rest > 0;
    bool is_late = slot->blamed_at && slot->blamed_at == at;
    if (is_at_fault && (is_late || !c->was_killed)) {
        if (is_late)
            fail_late(r, slot->first + whole);
        else
            fail_dead(r, slot->first + whole, c->status);
        r->over++;
        whole++;
        rest--;
    }
    give_back(r, slot->first + whole, rest);
    return rc;
}

static int take_in(struct run *r)
{
    struct pi_pool_shared *shared = r->pool->shared;
    int rc = 0;
    for (uint32_t i = 0; i < shared->chunk_count && rc == 0; i++) {
        struct pi_chunk *c = &shared->chunks[i];
        struct pi_slot *slot = &r->pool->slots[i];
        enum pi_chunk_kind kind = pi_chunk_kind(atomic_load(&c->state));
        if (!slot->is_out || (kind != PI_CHUNK_DONE && kind != PI_CHUNK_DIED))
            continue;
        slot->is_out = false;
        r->out--;
        if (kind == PI_CHUNK_DIED) {
            rc = take_dead(r, c, slot);
            continue;
        }
        uint32_t done = c->done < slot->count ? c->done : slot->count;
        rc = take_results(r, c, slot, done);
        give_back(r, slot->first + done, slot->count - done);
        learn_pace(r, c);
    }
    return rc;
}

/* ---- waiting ---- */

static bool has_news(const struct run *r)
{
    const struct pi_pool_shared *shared = r->pool->shared;
    for (uint32_t i = 0; i < shared->chunk_count; i++) {
        enum pi_chunk_kind kind = pi_chunk_kind(atomic_load(&shared->chunks[i].state));
        if (r->pool->slots[i].is_out && (kind == PI_CHUNK_DONE || kind == PI_CHUNK_DIED))
            return true;
    }
    return false;
}

/* With nothing to hand out, a chunk of which a worker has more to do than the input it is at: is
 * there one, and should it be asked to give that back? One that nobody has begun is left alone: who
 * sleeps may have been woken for it. */
static bool may_split(const struct run *r, bool ask)
{
    struct pi_pool_shared *shared = r->pool->shared;
    bool is_idle = false, found = false;
    if (r->job->chunk || r->next < r->job->count || r->pool->returned_count > 0)
        return false;
    for (uint32_t i = 0; i < shared->workers && !is_idle; i++)
        is_idle = atomic_load(&shared->asleep[i]);
    for (uint32_t i = 0; i < shared->chunk_count && is_idle; i++) {
        struct pi_chunk *c = &shared->chunks[i];
        uint32_t at = atomic_load(&c->at);
        bool has_more = at > 0 && at < r->pool->slots[i].count;
        if (!r->pool->slots[i].is_out || !has_more || atomic_load(&c->stop))
            continue;
        found = true;
        if (ask)
            atomic_store(&c->stop, 1);
    }
    return found;
}

/* Asks for the end of a worker whose input has been run for too long. Whether it did. */
static bool watch_chunk(struct pi_chunk *c, struct pi_slot *slot, int64_t now, int64_t limit)
{
    uint32_t at = atomic_load(&c->at);
    if (!slot->is_out || at == 0 || at == PI_CHUNK_OVER)
        return false;
    if (at != slot->seen_at) {
        slot->seen_at = at;
        slot->since_ns = now;
    }
    if (now - slot->since_ns < limit || slot->blamed_at == at)
        return false;
    slot->blamed_at = at;
    atomic_store(&c->kill, 1);
    return true;
}

/* When to look at the time again; 0: never. What is not looked at for long does not count: then
 * this process, and the workers perhaps, did not get to run. */
static int64_t watch_time(struct run *r, int64_t now)
{
    struct pi_pool_shared *shared = r->pool->shared;
    int64_t limit = r->job->timeout_ms * PIER_MILLISECOND;
    bool asks = false;
    if (limit <= 0)
        return 0;
    bool was_away = r->looked_ns && now - r->looked_ns > limit / 2;
    r->looked_ns = now;
    for (uint32_t i = 0; i < shared->chunk_count; i++) {
        struct pi_slot *slot = &r->pool->slots[i];
        if (was_away)
            slot->since_ns = now;
        asks |= watch_chunk(&shared->chunks[i], slot, now, limit);
    }
    if (asks)
        pi_pool_ring(r->pool->helper_bell.fd);
    return now + limit / 4;
}

static int look_at_helper(struct pier_pool *pool)
{
    if (pool->has_threads || !pi_process_reap(&pool->helper))
        return 0;
    pool->broken = PIER_EWORKER;
    return pi_fail_text(PIER_EWORKER, "pool: its helper process has died (status %#x)",
                        (unsigned)pool->helper.status);
}

/* Nobody is there, and nobody comes. */
static int look_at_workers(const struct pier_pool *pool)
{
    int code = atomic_load(&pool->shared->last_fork);
    if (code == 0 || atomic_load(&pool->shared->alive) > 0)
        return 0;
    return pi_fail(code, "pool: start a worker");
}

static int sleep_until(struct run *r, int64_t deadline_ns)
{
    struct pier_pool *pool = r->pool;
    uint64_t count;
    struct io_op op = { .code = IO_READ,
                        .fd = &pool->bell,
                        .buf = &count,
                        .len = sizeof count,
                        .deadline_ns = deadline_ns };
    ssize_t n = io_run(&op);
    int rc = pier_cancelled();
    if (n >= 0 || rc < 0)
        return rc;
    return n == -ETIMEDOUT ? look_at_helper(pool) : (int)n;
}

/* Until a worker or the helper has something to tell, or it is time to look at them. */
static int await_news(struct run *r)
{
    struct pi_pool_shared *shared = r->pool->shared;
    int64_t now = pi_clock_ns(), until = now + TICK_MS * PIER_MILLISECOND;
    bool splits = may_split(r, false);
    if (splits)
        until = now + SPLIT_MS * PIER_MILLISECOND;
    int64_t watch = watch_time(r, now);
    if (watch && watch < until)
        until = watch;
    atomic_store(&shared->mapper_sleeps, 1);
    int rc = has_news(r) ? 0 : sleep_until(r, until);
    atomic_store(&shared->mapper_sleeps, 0);
    if (splits && !has_news(r))
        may_split(r, true);
    return rc < 0 ? rc : look_at_workers(r->pool);
}

/* ---- the end ---- */

/* Takes back what nobody has begun; whoever has a chunk loses it. */
static void withdraw(struct run *r)
{
    struct pi_pool_shared *shared = r->pool->shared;
    for (uint32_t i = 0; i < shared->chunk_count; i++) {
        struct pi_chunk *c = &shared->chunks[i];
        struct pi_slot *slot = &r->pool->slots[i];
        uint64_t ready = PI_CHUNK_READY;
        if (!slot->is_out)
            continue;
        if (atomic_compare_exchange_strong(&c->state, &ready, PI_CHUNK_FREE)) {
            slot->is_out = false;
            r->out--;
            continue;
        }
        atomic_store(&c->stop, 1);
        slot->blamed_at = 0;
        atomic_store(&c->kill, 1);
    }
    if (!r->pool->has_threads)
        pi_pool_ring(r->pool->helper_bell.fd);
}

/* Drops what comes in; a crash or a result that was on its way when the end came is no news. */
static void drop(struct run *r)
{
    struct pi_pool_shared *shared = r->pool->shared;
    for (uint32_t i = 0; i < shared->chunk_count; i++) {
        struct pi_chunk *c = &shared->chunks[i];
        struct pi_slot *slot = &r->pool->slots[i];
        enum pi_chunk_kind kind = pi_chunk_kind(atomic_load(&c->state));
        if (!slot->is_out || (kind != PI_CHUNK_DONE && kind != PI_CHUNK_DIED))
            continue;
        if (c->failures > 0 || kind == PI_CHUNK_DIED)
            forget_codes(r, c, slot);
        slot->is_out = false;
        r->out--;
    }
}

/* Until no worker has a chunk: a moment, but for threads, which cannot be stopped. */
static void settle(struct run *r)
{
    struct pier_pool *pool = r->pool;
    struct pier_scope window;
    withdraw(r);
    drop(r);
    pier_shield(&window, pool->has_threads ? INT64_MAX : pier_after(SETTLE_MS * PIER_MILLISECOND));
    while (r->out > 0 && !pool->broken && pier_cancelled() == 0) {
        atomic_store(&pool->shared->mapper_sleeps, 1);
        int rc = has_news(r) ? 0 : sleep_until(r, pier_after(TICK_MS * PIER_MILLISECOND));
        atomic_store(&pool->shared->mapper_sleeps, 0);
        if (rc < 0)
            pier_sleep(LOOK_AGAIN_MS * PIER_MILLISECOND);
        drop(r);
    }
    int rc = pier_scope_join(&window);
    PIER_ASSERT(rc == 0); /* nobody was spawned in it */
    if (r->out > 0 && !pool->broken)
        pool->broken = -ETIMEDOUT; /* a process that SIGKILL does not end, or only later */
}

/* Rooms that one large item has grown beyond their usual size shrink again. */
static void trim_rooms(const struct run *r)
{
    struct pi_pool_shared *shared = r->pool->shared;
    size_t room = PI_CHUNK_BYTES + pi_record_size(r->pool->max_item_size);
    int advice = r->pool->has_threads ? MADV_DONTNEED : MADV_REMOVE;
    bool is_large = r->job->bytes_fn || r->job->input_size > PI_CHUNK_BYTES ||
                    r->job->output_size > PI_CHUNK_BYTES;
    for (uint32_t i = 0; is_large && i < shared->chunk_count; i++) {
        struct pi_chunk *c = &shared->chunks[i];
        size_t rest = ((room + 4095) & ~(size_t)4095) - PI_CHUNK_BYTES;
        madvise(c->in_room + PI_CHUNK_BYTES, rest, advice); /* else memory is larger, not wrong */
        madvise(c->out_room + PI_CHUNK_BYTES, rest, advice);
    }
}

static int run_all(struct run *r)
{
    struct pier_pool_job *job = r->job;
    int rc = pier_cancelled();
    while (rc == 0 && r->over < job->count && !r->ends) {
        size_t before = r->over;
        rc = hand_out(r);
        if (rc == 0)
            rc = take_in(r);
        if (r->over > before && job->progress && rc == 0)
            job->progress(r->over, job->count, job->arg);
        if (r->over == before && rc == 0)
            rc = await_news(r);
    }
    return rc;
}

/* ---- in a simulation ---- */

static int run_record_here(struct run *r, size_t index, char *room)
{
    struct pier_pool_item *item = &r->job->items[index];
    struct pier_pool_result result = { .data = room, .cap = r->pool->max_item_size };
    int rc = r->job->bytes_fn(item->input, item->len, &result);
    if (rc >= 0 && result.len > result.cap)
        rc = pi_fail_text(-EMSGSIZE, "a result of %zu bytes, more than max_item_size (%zu)",
                          result.len, result.cap);
    if (rc < 0)
        return rc;
    item->result = pi_alloc(result.len ? result.len : 1);
    if (!item->result)
        return -ENOMEM;
    memcpy(item->result, room, result.len);
    item->result_len = result.len;
    return 0;
}

static int run_here(struct run *r)
{
    struct pier_pool_job *job = r->job;
    char *room = job->bytes_fn ? pi_alloc(r->pool->max_item_size) : NULL;
    if (job->bytes_fn && !room)
        return -ENOMEM;
    int stop = 0;
    for (size_t i = 0; i < job->count && !r->ends && (stop = pier_yield()) == 0; i++) {
        int rc = job->bytes_fn ? run_record_here(r, i, room)
                               : job->fn((const char *)job->inputs + i * job->input_size,
                                         (char *)job->outputs + i * job->output_size);
        r->over++;
        if (rc < 0)
            fail_input(r, i, rc, pier_error_code() == rc ? pier_error() : pier_strerror(rc));
        job->done += rc >= 0;
        if (rc >= 0 && job->codes)
            job->codes[i] = 0;
        if (job->progress)
            job->progress(r->over, job->count, job->arg);
    }
    pi_free(room);
    return stop;
}

/* ---- one map ---- */

int pi_pool_map(struct pier_pool *pool, struct pier_pool_job *job)
{
    struct run r = { .pool = pool, .job = job };
    pool->returned_count = 0;
    int rc = pool->is_simulated ? run_here(&r) : run_all(&r);
    if (!pool->is_simulated) {
        if (r.out > 0)
            settle(&r);
        trim_rooms(&r);
        io_detach(&pool->bell);
    }
    if (rc < 0 && pier_error_code() == rc && rc == pool->broken)
        return rc;
    if (rc < 0)
        return pi_fail(rc, "pool: after %zu of %zu inputs", r.over, job->count);
    return r.code < 0 ? pi_fail_text(r.code, "%s", r.words) : 0;
}
