/* SPDX-License-Identifier: MIT */
/*
 * sim/sweep.c - many seeds in parallel processes, so that a crash or an endless loop is one more
 * result.
 *
 * Workers take seeds from a counter in shared memory and write down which one they are at; what
 * fails they report through a pipe. A worker that dies is known by its place in that memory; the
 * others go on, and if seeds are left then, another round begins.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    JOBS_MAX = 256,
    SEED_SECONDS = 60, /* real; one that takes longer hangs */
    TWICE_EVERY = 100, /* seeds */
    REPORTED_MAX = 10, /* failures with their words */
    FAILURES_MAX = 1000,
    TRACE_LINES = 100, /* the last of a failure */
};

struct shared {
    _Atomic uint64_t next, run;
    _Atomic uint64_t at[JOBS_MAX]; /* the seed of each worker, plus 1; 0: none */
};

struct sweep {
    uint64_t first, count;
    const struct pier_sim_opts *opts;
    pier_task_fn scenario;
    int64_t end_ns; /* real; 0: none */
    struct shared *shared;
    struct pier_sim_result *failed;
    int failed_count, failed_cap;
    int jobs;
    pid_t pids[JOBS_MAX];
};

/* ---- in the child ---- */

static void run_one(struct pier_sim_result *result, uint64_t seed, const struct pier_sim_opts *opts,
                    pier_task_fn scenario)
{
    struct pier_sim_opts own = opts ? *opts : (struct pier_sim_opts){ 0 };
    *result = (struct pier_sim_result){ .seed = seed };
    own.result = result;
    int rc = pier_sim_run(seed, &own, scenario);
    if (rc < 0 && result->code == 0) {
        result->code = rc;
        snprintf(result->failure, sizeof result->failure, "%s", pier_error());
    }
}

static void run_twice(struct pier_sim_result *result, uint64_t seed,
                      const struct pier_sim_opts *opts, pier_task_fn scenario)
{
    struct pier_sim_result again;
    run_one(&again, seed, opts, scenario);
    if (result->code < 0 || again.hash == result->hash)
        return;
    result->code = PIER_ESIM;
    snprintf(result->failure, sizeof result->failure,
             "not the same twice: hash %016" PRIx64 " after %" PRId64 " events, then %016" PRIx64
             " after %" PRId64,
             result->hash, result->events, again.hash, again.events);
}

static void become_child(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGALRM, SIG_DFL);
}

/* A record is smaller than PIPE_BUF: written whole. */
static void report(int fd, const struct pier_sim_result *result)
{
    ssize_t n;
    do
        n = write(fd, result, sizeof *result);
    while (n < 0 && errno == EINTR);
}

static void work(struct sweep *s, int place, int fd)
{
    struct shared *shared = s->shared;
    become_child();
    for (;;) {
        uint64_t index = atomic_fetch_add(&shared->next, 1);
        if (index >= s->count || (s->end_ns && pi_clock_ns() >= s->end_ns))
            break;
        uint64_t seed = s->first + index;
        struct pier_sim_result result;
        atomic_store(&shared->at[place], seed + 1);
        alarm(SEED_SECONDS);
        run_one(&result, seed, s->opts, s->scenario);
        if (index % TWICE_EVERY == 0)
            run_twice(&result, seed, s->opts, s->scenario);
        alarm(0);
        atomic_fetch_add(&shared->run, 1);
        atomic_store(&shared->at[place], 0);
        if (result.code < 0)
            report(fd, &result);
    }
    fflush(NULL);
    _exit(0);
}

/* ---- in the parent ---- */

static void keep(struct sweep *s, const struct pier_sim_result *result)
{
    if (s->failed_count == s->failed_cap) {
        int cap = s->failed_cap ? 2 * s->failed_cap : 16;
        struct pier_sim_result *more = pi_realloc(s->failed, (size_t)cap * sizeof *more);
        if (!more)
            return; /* it is counted as a crash would be: not at all, but the sweep has failed */
        s->failed = more;
        s->failed_cap = cap;
    }
    s->failed[s->failed_count++] = *result;
}

static bool read_record(int fd, struct pier_sim_result *result)
{
    ssize_t n;
    do
        n = read(fd, result, sizeof *result);
    while (n < 0 && errno == EINTR);
    return n == sizeof *result;
}

static void describe_end(struct pier_sim_result *result, uint64_t seed, int status)
{
    *result = (struct pier_sim_result){ .seed = seed, .code = PIER_ESIM };
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(result->failure, sizeof result->failure, "not over after %d s", SEED_SECONDS);
    else if (WIFSIGNALED(status))
        snprintf(result->failure, sizeof result->failure, "crashed: %s",
                 strsignal(WTERMSIG(status)));
    else
        snprintf(result->failure, sizeof result->failure, "the process ended with exit code %d",
                 WEXITSTATUS(status));
}

static int await(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return status;
}

/* Workers until the seeds are used up, or all of them have died. 0 or a negative code. */
static int run_round(struct sweep *s)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return pi_fail(-errno, "sweep");
    int started = 0;
    for (int i = 0; i < s->jobs; i++) {
        atomic_store(&s->shared->at[i], 0);
        s->pids[i] = fork();
        if (s->pids[i] == 0)
            work(s, i, fds[1]);
        started += s->pids[i] > 0;
    }
    int code = -errno;
    close(fds[1]);
    struct pier_sim_result result;
    while (started > 0 && read_record(fds[0], &result))
        keep(s, &result);
    close(fds[0]);
    for (int i = 0; i < s->jobs; i++) {
        int status = s->pids[i] > 0 ? await(s->pids[i]) : 0;
        uint64_t at = atomic_load(&s->shared->at[i]);
        if (s->pids[i] > 0 && status != 0 && at != 0) {
            describe_end(&result, at - 1, status);
            atomic_fetch_add(&s->shared->run, 1);
            keep(s, &result);
        }
    }
    return started > 0 ? 0 : pi_fail(code, "sweep: start a process");
}

static int run_rounds(struct sweep *s)
{
    int rc = 0;
    while (rc == 0 && atomic_load(&s->shared->next) < s->count && s->failed_count < FAILURES_MAX &&
           !(s->end_ns && pi_clock_ns() >= s->end_ns))
        rc = run_round(s);
    return rc;
}

/* ---- one run apart ---- */

static void work_apart(uint64_t seed, const struct pier_sim_opts *opts, pier_task_fn scenario,
                       int fd)
{
    struct pier_sim_result result;
    become_child();
    alarm(SEED_SECONDS);
    run_one(&result, seed, opts, scenario);
    report(fd, &result);
    fflush(NULL);
    _exit(0);
}

int pi_sim_run_apart(struct pier_sim_result *result, uint64_t seed,
                     const struct pier_sim_opts *opts, pier_task_fn scenario)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return pi_fail(-errno, "run seed %" PRIu64, seed);
    pid_t pid = fork();
    int code = -errno;
    if (pid == 0)
        work_apart(seed, opts, scenario, fds[1]);
    close(fds[1]);
    bool told = pid > 0 && read_record(fds[0], result);
    close(fds[0]);
    if (pid < 0)
        return pi_fail(code, "run seed %" PRIu64, seed);
    int status = await(pid);
    if (!told || status != 0)
        describe_end(result, seed, status);
    return 0;
}

/* ---- reporting ---- */

static int by_seed(const void *a, const void *b)
{
    const struct pier_sim_result *x = a, *y = b;
    return x->seed < y->seed ? -1 : x->seed > y->seed;
}

static const char *replay_of(const struct sweep *s)
{
    return s->opts && s->opts->replay ? s->opts->replay : "replay:";
}

/* How many lines there are up to the first failure, or in all. */
static long lines_to_failure(FILE *in)
{
    char line[512];
    long lines = 0;
    rewind(in);
    while (fgets(line, sizeof line, in)) {
        lines += strchr(line, '\n') != NULL;
        if (strstr(line, " FAILED: "))
            break;
    }
    return lines;
}

/* The last lines up to there: what comes after is clean-up. */
static void print_end(FILE *out, FILE *in)
{
    char line[512];
    long lines = lines_to_failure(in);
    rewind(in);
    if (lines > TRACE_LINES)
        fprintf(out, "  … %ld lines before\n", lines - TRACE_LINES);
    for (long at = 0; at < lines && fgets(line, sizeof line, in);) {
        if (at >= lines - TRACE_LINES)
            fprintf(out, "  %s", line);
        at += strchr(line, '\n') != NULL;
    }
}

static void print_trace(const struct sweep *s, FILE *out, uint64_t seed, const char *reduced)
{
    struct pier_sim_opts opts = s->opts ? *s->opts : (struct pier_sim_opts){ 0 };
    struct pier_sim_result result;
    FILE *file = tmpfile();
    if (!file)
        return;
    setvbuf(file, NULL, _IOLBF, 0); /* a crash keeps what came before */
    opts.trace = file;
    opts.reduced = *reduced ? reduced : NULL;
    if (pi_sim_run_apart(&result, seed, &opts, s->scenario) == 0)
        print_end(out, file);
    fclose(file);
}

static void print_first(const struct sweep *s, FILE *out)
{
    static const struct pier_sim_opts defaults;
    struct sim_reduced reduced = { .size = 100 };
    char text[SIM_REDUCED_CAP];
    pi_sim_reduce(&reduced, &s->failed[0], s->opts ? s->opts : &defaults, s->scenario);
    pi_sim_reduced_format(text, sizeof text, &reduced);
    if (*text)
        fprintf(out, "reduced: %s --seed %" PRIu64 " --reduced %s\n", replay_of(s),
                s->failed[0].seed, text);
    print_trace(s, out, s->failed[0].seed, text);
}

static void print_failures(struct sweep *s, FILE *out)
{
    if (s->failed_count == 0)
        return;
    qsort(s->failed, (size_t)s->failed_count, sizeof *s->failed, by_seed);
    for (int i = 0; i < s->failed_count && i < REPORTED_MAX; i++)
        fprintf(out, "%s --seed %" PRIu64 "    # %s\n", replay_of(s), s->failed[i].seed,
                s->failed[i].failure);
    if (s->failed_count > REPORTED_MAX)
        fprintf(out, "and %d more\n", s->failed_count - REPORTED_MAX);
    print_first(s, out);
    fflush(out);
}

/* ---- public ---- */

static int sweep(struct sweep *s)
{
    s->shared = mmap(NULL, sizeof *s->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                     -1, 0);
    if (s->shared == MAP_FAILED)
        return pi_fail(-errno, "sweep");
    FILE *out = s->opts && s->opts->report ? s->opts->report : stderr;
    fflush(NULL); /* or the children would write it again */
    int rc = run_rounds(s);
    if (s->opts && s->opts->seeds_run)
        *s->opts->seeds_run = (int64_t)atomic_load(&s->shared->run);
    if (rc == 0)
        print_failures(s, out);
    munmap(s->shared, sizeof *s->shared);
    return rc < 0 ? rc : s->failed_count;
}

int pier_sim_sweep(uint64_t first, uint64_t count, const struct pier_sim_opts *opts,
                   pier_task_fn scenario)
{
    if (pi_task_self()->thread->loop || pi_sim)
        return pi_fail(-EBUSY, "sweep: this thread has a loop");
    struct sweep s = { .first = first, .count = count, .opts = opts, .scenario = scenario };
    s.jobs = opts && opts->jobs > 0 ? opts->jobs : pier_cpu_count();
    if (s.jobs > JOBS_MAX)
        s.jobs = JOBS_MAX;
    if ((uint64_t)s.jobs > count)
        s.jobs = count ? (int)count : 1;
    if (opts && opts->duration_ns > 0)
        s.end_ns = pi_clock_ns() + opts->duration_ns;
    int rc = sweep(&s);
    pi_free(s.failed);
    return rc;
}
