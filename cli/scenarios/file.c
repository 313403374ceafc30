/* SPDX-License-Identifier: MIT */
/*
 * scenarios/file.c - a program that keeps its state in a file, on a disk that fails and a machine
 * that crashes: whoever reads the file finds one version whole, and none older than the last that
 * was reported as written. A write that fails or is cancelled leaves no other file behind.
 */
#include "scenario.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_MOST = 20 * 1000, STATE_LEAST = 20, RECORD = 16 };

#define STATE "/var/lib/keeper/state"
#define JOURNAL "/var/lib/keeper/journal"

struct file_world {
    struct pier_sim_host *host;
    int64_t versions;      /* to be written */
    int64_t tried, kept;   /* the last version that was begun, and that was reported as written */
    int64_t records;       /* of the journal: reported as synced */
    bool is_cancelled_too; /* writes are, now and then */
    struct pier_event over;
};

/* ---- what a version is ---- */

static size_t state_len(int64_t version)
{
    return STATE_LEAST + (size_t)(version * 7919 % (STATE_MOST - STATE_LEAST));
}

static void make_state(char *out, int64_t version)
{
    size_t len = state_len(version);
    int head = snprintf(out, STATE_LEAST, "%016" PRId64 "\n", version);
    for (size_t i = (size_t)head; i < len; i++)
        out[i] = (char)('a' + (version + (int64_t)i) % 26);
}

/* The version that these bytes are; -1: none, whole. */
static int64_t version_of(const char *bytes, size_t len)
{
    char wanted[STATE_MOST];
    int64_t version = len < STATE_LEAST ? -1 : strtoll(bytes, NULL, 10);
    if (version <= 0 || state_len(version) != len)
        return -1;
    make_state(wanted, version);
    return memcmp(wanted, bytes, len) == 0 ? version : -1;
}

/* ---- the program ---- */

/* 0, or why the file cannot be read for now. */
static int look_at_state(const struct file_world *world)
{
    size_t len;
    char *bytes = pier_read_file(STATE, STATE_MOST, &len);
    if (bytes == NULL && pier_error_code() != -ENOENT)
        return pier_error_code();
    if (bytes == NULL) {
        PIER_SIM_CHECK(world->kept == 0);
        return 0;
    }
    int64_t version = version_of(bytes, len);
    free(bytes);
    pier_sim_note("version %" PRId64 ", kept %" PRId64, version, world->kept);
    PIER_SIM_CHECK(version >= 0);
    PIER_SIM_CHECK(version >= world->kept && version <= world->tried);
    return 0;
}

static int write_once(struct file_world *world, int64_t version)
{
    char bytes[STATE_MOST];
    struct pier_scope scope;
    make_state(bytes, version);
    pier_scope_open(&scope, 0);
    if (world->is_cancelled_too && pier_sim_between(0, 3) == 0)
        pier_sim_cancel_after(&scope, pier_sim_between(1, 60));
    int rc = pier_write_file(STATE, bytes, state_len(version), NULL);
    pier_sim_cancel_after(NULL, 0);
    pier_scope_join(&scope);
    return rc;
}

/* A crash may leave a temporary file, nothing else may. */
static int write_state(struct file_world *world)
{
    int before = pier_sim_files(world->host);
    bool may_be_first = world->kept == 0;
    int rc = write_once(world, ++world->tried);
    if (pier_cancelled() == 0)
        PIER_SIM_CHECK(pier_sim_files(world->host) <= before + may_be_first);
    if (rc == 0)
        world->kept = world->tried;
    return rc;
}

static void make_record(char out[RECORD + 1], int64_t number)
{
    snprintf(out, RECORD + 1, "record %08u\n", (unsigned)(number % 100000000));
}

/* What was synced is there, in its place. */
static int look_at_journal(const struct file_world *world)
{
    size_t len;
    char wanted[RECORD + 1];
    char *bytes = pier_read_file(JOURNAL, 1024 * 1024, &len);
    if (bytes == NULL && pier_error_code() != -ENOENT)
        return pier_error_code();
    PIER_SIM_CHECK(len >= (size_t)world->records * RECORD);
    for (int64_t i = 0; i < world->records && (size_t)(i + 1) * RECORD <= len; i++) {
        make_record(wanted, i);
        if (!PIER_SIM_CHECK(memcmp(bytes + i * RECORD, wanted, RECORD) == 0))
            break;
    }
    free(bytes);
    return 0;
}

/* A journal that failed once is given up: what a failed sync has lost, no later one brings back. */
static int write_record(struct file_world *world)
{
    char record[RECORD + 1];
    make_record(record, world->records);
    struct pier_file *f = pier_file_open(JOURNAL, O_RDWR, 0644);
    ssize_t n = pier_file_write_at(f, record, RECORD, world->records * RECORD);
    int rc = n < 0 ? (int)n : pier_file_sync(f);
    pier_file_close(f);
    if (rc == 0)
        world->records++;
    return rc;
}

static int keep_state(void *arg)
{
    struct file_world *world = arg;
    while (look_at_state(world) < 0 || look_at_journal(world) < 0)
        if (pier_sleep(10 * PIER_MILLISECOND) < 0)
            return 0;
    /* Empty, and its name is on the disk. */
    bool has_journal = world->records > 0 || pier_write_file(JOURNAL, "", 0, NULL) == 0;
    while (world->kept < world->versions && pier_cancelled() == 0) {
        if (has_journal && write_record(world) < 0)
            has_journal = false;
        if (write_state(world) < 0)
            pier_sleep(10 * PIER_MILLISECOND);
        else if (pier_sim_between(0, 3) == 0)
            look_at_state(world);
    }
    if (world->kept >= world->versions)
        pier_event_set(&world->over);
    return 0;
}

/* ---- the whole ---- */

static int some(int most)
{
    return pier_sim_between(0, 1) ? (int)pier_sim_between(0, most) : 0;
}

static void draw_trouble(struct file_world *world)
{
    world->is_cancelled_too = pier_sim_between(0, 1);
    pier_sim_set_faults(&(struct pier_sim_faults){
        .descriptors = some(20000),
        .memory = some(20000),
        .disk_full = some(20000),
        .disk_error = some(20000),
    });
    if (pier_sim_between(0, 3) == 0)
        return;
    pier_sim_chaos(&(struct pier_sim_chaos){
        .crash_every_ns = pier_sim_between(40, 500) * PIER_MILLISECOND,
        .crash_for_ns = pier_sim_between(1, 50) * PIER_MILLISECOND,
        .only = world->host,
    });
}

static int run(void *arg)
{
    static struct file_world world; /* its program may outlive this function */
    memset(&world, 0, sizeof world);
    world.versions = pier_sim_amount(1, 30);
    world.host = pier_sim_host("keeper", "10.0.0.1");
    draw_trouble(&world);
    int rc = pier_sim_start(world.host, keep_state, &world);
    if (rc == 0)
        rc = pier_event_wait(&world.over);
    pier_sim_set_faults(&(struct pier_sim_faults){ 0 });
    pier_sim_crash(world.host); /* what was kept is there afterwards: the program looks */
    if (rc == 0)
        rc = pier_sim_restart(world.host);
    return rc < 0 ? rc : pier_sim_join(world.host);
}

const struct scenario file_scenario = {
    .name = "file",
    .summary = "a state replaced again and again on a machine that crashes: old or new, never lost",
    .run = run,
    .opts = { .time_limit_ns = PIER_HOUR },
};
