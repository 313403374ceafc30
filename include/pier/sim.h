/* SPDX-License-Identifier: MIT */
/*
 * pier/sim.h - an unchanged program in a simulated network, which misbehaves on purpose and repeats
 * itself exactly.
 *
 * A simulation runs on the calling thread, in virtual time: hosts with addresses and names, TCP,
 * UDP and Unix sockets between them, latency, lost segments, lost, repeated and overtaken
 * datagrams, partitions, crashes and failing calls, all drawn from one seed. Everything that waits
 * through Pier (connections, servers, sleeps, names, offloaded work, locks, files) works as it does
 * outside; a wait of two hours passes in no time. The same binary with the same seed does the same,
 * event for event.
 *
 * Each host has files of its own, none at first; folders need not be made, and there are no links.
 *
 * Servers of every model run on one loop. Out of scope: threads and processes of the program's own,
 * pier_exec(), pier_conn_adopt(), passing descriptors, signals, and whatever does not wait through
 * Pier.
 *
 * All calls but pier_sim_run(), pier_sim_sweep() and pier_sim_explore() are for scenarios, that is
 * inside a simulation; elsewhere they fail with -EINVAL (NULL, 0, false).
 */
#ifndef PIER_SIM_H
#define PIER_SIM_H

#include <pier/base.h>
#include <pier/task.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what the network and the machines do ---- */

/* The way between two hosts. Zero is the default; a negative number is none. */
struct pier_sim_link {
    int64_t latency_ns; /* one way, at least; default 200 us */
    int64_t jitter_ns;  /* added at random: mostly up to this, seldom many times as much; default
                           1 ms */
    int64_t bandwidth; /* bytes a second, of each connection, and of all datagrams together; default
                          unlimited */
    int loss_ppm; /* segments lost per million, repeated after 200 ms, 400 ms …; default 0; of a
                     datagram each fragment, and nothing is repeated */
    /* Datagrams only, which keep their order otherwise. */
    int duplicate_ppm; /* that arrive twice, per million; default 0 */
    int reorder_ppm;   /* that are held back, mostly for up to 20 ms, seldom many times as long,
                          while others pass; default 0 */
    int mtu;           /* bytes that a packet may have: longer datagrams go in fragments, or, if
                          their sender has forbidden that, not at all; default 1,500 */
};

/* How many calls in a million fail, each in its way; default 0. */
struct pier_sim_faults {
    int descriptors; /* EMFILE: a socket is not opened, a connection not accepted */
    int memory;      /* ENOMEM: an allocation of Pier's */
    int refuse;      /* ECONNREFUSED, EHOSTUNREACH, ENETUNREACH: a connect */
    int reset;       /* ECONNRESET: a read or write finds its connection reset, as its peer will */
    int broken_pipe; /* EPIPE: a write finds its connection closed by the peer */
    int timeout;     /* ETIMEDOUT: a connection is dead from now on, without a word */
    int interrupt;   /* EINTR: a wait is woken for nothing; programs see none of it */
    int resolve;     /* EAI_AGAIN: a name is not found for now */
    int disk_full;   /* ENOSPC: a file is not made, nothing written */
    int disk_error; /* EIO: a read, a write, a sync (what was written is lost), a change of names */
};

enum pier_sim_fault {
    PIER_SIM_DESCRIPTORS,
    PIER_SIM_MEMORY,
    PIER_SIM_REFUSE,
    PIER_SIM_RESET,
    PIER_SIM_BROKEN_PIPE,
    PIER_SIM_TIMEOUT,
    PIER_SIM_INTERRUPT,
    PIER_SIM_RESOLVE,
    PIER_SIM_DISK_FULL,
    PIER_SIM_DISK_ERROR,
    /* What the link's rates say: of the datagrams that the host sends to another. */
    PIER_SIM_LOSE,
    PIER_SIM_DUPLICATE,
    PIER_SIM_REORDER,
};

enum { PIER_SIM_NUMBERED = 64 };

/* What a run came to. */
struct pier_sim_result {
    uint64_t seed;
    int64_t events;
    int64_t time_ns;                          /* virtual */
    uint64_t hash;                            /* of time, host, kind and length of every event */
    int64_t faults;                           /* that happened: failing calls, cuts, crashes */
    int64_t choices;                          /* between tasks that were ready */
    int code;                                 /* what pier_sim_run() returned */
    char failure[512];                        /* its words */
    int64_t fault_numbers[PIER_SIM_NUMBERED]; /* of the first faults; for reductions */
};

struct pier_sim_opts {
    void *arg;                     /* of the scenario */
    struct pier_sim_link link;     /* between all hosts */
    struct pier_sim_faults faults; /* on all hosts */
    int64_t time_limit_ns;         /* virtual; a longer run has failed; default 24 hours */
    int64_t event_limit;           /* the same for events; default 10 million */
    FILE *trace;                   /* every event as a line; NULL: none */
    const char *reduced; /* what a reduction left out: "calm=order+split,faults=1.3.17,size=25" */
    struct pier_sim_result *result; /* filled in, if not NULL */
    /* Sweeps only. */
    int jobs;            /* processes; default pier_cpu_count() */
    int64_t duration_ns; /* real: begins no seed after it; default no limit */
    FILE *report;        /* failures, how to replay them, traces; default standard error */
    const char *replay;  /* the command that replays, to which " --seed N" is added */
    int64_t *seeds_run;  /* filled in, if not NULL */
};

/* Runs scenario(opts->arg) as the first task of a simulation, on a host named "main". When it has
 * returned, the tasks of all hosts are cancelled and joined. Returns what the scenario returned if
 * that is negative; else PIER_ESIM when something was found: a failed check, tasks that all wait
 * for ever, a limit passed, a wait that outlived its deadline, or a socket or memory block of
 * Pier's that is left; else 0. The words say what. -EBUSY on a thread that has a loop. opts may be
 * NULL. */
PIER_API int pier_sim_run(uint64_t seed, const struct pier_sim_opts *opts, pier_task_fn scenario);

/* Runs the seeds first … first + count - 1 in parallel processes; one in a hundred twice, which
 * must come to the same hash. A seed that fails, crashes or hangs is reported with the line that
 * replays it; the first of them is also reduced (fewer kinds of trouble, fewer faults, smaller
 * amounts, as far as it still fails), and its trace is shown. Forks: only while the process has one
 * thread. Returns how many failed, or a negative code. */
PIER_API int pier_sim_sweep(uint64_t first, uint64_t count, const struct pier_sim_opts *opts,
                            pier_task_fn scenario);

/* Runs the scenario in every order that its tasks could take turns in, at most runs_max of them, in
 * a network without delays of chance: for small cases. Returns how many there were (runs_max: there
 * may be more), or the code of the first failure. */
PIER_API int64_t pier_sim_explore(int64_t runs_max, const struct pier_sim_opts *opts,
                                  pier_task_fn scenario);

/* ---- hosts ---- */

struct pier_sim_host;

/* Adds a host with a name that resolves and addresses: "10.0.0.1", "fd00::1 10.0.0.1". Every host
 * is also 127.0.0.1 and ::1 to itself. Lives until the simulation ends. NULL on failure. */
PIER_API struct pier_sim_host *pier_sim_host(const char *name, const char *addresses);

/* Makes a name resolve to these addresses, be there hosts that have them or not. 0 or a negative
 * code. */
PIER_API int pier_sim_name(const char *name, const char *addresses);

/* Starts fn(arg) on the host, as its program: a task that no scope of the caller owns, and which
 * may outlive the scenario by its clean-up. So what arg points to either stays, or the host is
 * joined before the scenario returns. 0 or a negative code. */
PIER_API int pier_sim_start(struct pier_sim_host *host, pier_task_fn fn, void *arg);

/* Waits until the host's programs have ended; returns the first failure of one, with its words. */
PIER_API int pier_sim_join(struct pier_sim_host *host);

/* Cancels the host's programs, as a termination that they notice. Never waits. */
PIER_API void pier_sim_stop(struct pier_sim_host *host);

/* From one moment to the next the host is silent: what is under way to and from it is lost, its
 * connections are gone without a word. Of its files what was synced stays; of the rest, bytes as
 * well as names, some. Its programs are cancelled and see every call fail. Never waits. */
PIER_API void pier_sim_crash(struct pier_sim_host *host);

/* Waits until the programs of a crashed or stopped host have ended, then starts them anew; peers of
 * old connections get a reset when they write. 0 or a negative code; -ECANCELED once the scenario
 * has returned. */
PIER_API int pier_sim_restart(struct pier_sim_host *host);

/* How many files the host has. */
PIER_API int pier_sim_files(struct pier_sim_host *host);

/* Moves the running task, and tasks it spawns from now on, to the host (NULL: back to "main"). */
PIER_API void pier_sim_enter(struct pier_sim_host *host);

/* The next count calls of that kind on the host fail: the next datagrams are lost, and so on. */
PIER_API void pier_sim_fail_next(struct pier_sim_host *host, enum pier_sim_fault kind, int count);

/* ---- links ---- */

/* Sets the way from one host to another (NULL: all of them), this direction only. */
PIER_API int pier_sim_set_link(struct pier_sim_host *from, struct pier_sim_host *to,
                               const struct pier_sim_link *link);

/* How many calls fail from now on, in place of opts->faults. 0 or a negative code. */
PIER_API int pier_sim_set_faults(const struct pier_sim_faults *faults);

/* Nothing passes from one host to the other (NULL: all others) any more, this direction only;
 * passes again. A cut is seen only by those who send: segments are repeated, at last the connection
 * times out. */
PIER_API void pier_sim_cut(struct pier_sim_host *from, struct pier_sim_host *to);
PIER_API void pier_sim_heal(struct pier_sim_host *from, struct pier_sim_host *to);

/* Trouble that comes and goes, until the scenario ends: about every so often a cut of two hosts
 * (one way or both), or a crash, for about so long. Zero: not. Faults in the sense of a reduction.
 */
struct pier_sim_chaos {
    int64_t cut_every_ns, cut_for_ns;
    int64_t crash_every_ns, crash_for_ns;
    struct pier_sim_host *only; /* crashes only this host; NULL: any but "main" */
};
PIER_API int pier_sim_chaos(const struct pier_sim_chaos *chaos);

/* ---- scenarios ---- */

/* A number of the seed's: from lo to hi; for amounts of work (messages, bytes, clients), which a
 * reduction makes smaller, down to lo. */
PIER_API int64_t pier_sim_between(int64_t lo, int64_t hi);
PIER_API int64_t pier_sim_amount(int64_t lo, int64_t hi);

/* Cancels the scope when as many events have passed. The scope must be open until then, or until
 * pier_sim_cancel_after(NULL, 0) forgets it. */
PIER_API void pier_sim_cancel_after(struct pier_scope *scope, int64_t events);

/* The events so far. */
PIER_API int64_t pier_sim_events(void);

/* A line of the trace; counts as an event. */
PIER_API void pier_sim_note(const char *fmt, ...) PIER_PRINTF(1, 2);

/* Records a failure, which the run returns; the first one counts. Returns PIER_ESIM. */
PIER_API int pier_sim_fail(const char *fmt, ...) PIER_PRINTF(1, 2);

/* Records a failure unless the condition holds; returns it. */
#define PIER_SIM_CHECK(condition) pier_sim_check((condition), #condition, __FILE__, __LINE__)
PIER_API bool pier_sim_check(bool holds, const char *text, const char *file, int line);

/* Whether the thread is inside a simulation. */
PIER_API bool pier_sim_running(void);

#ifdef __cplusplus
}
#endif
#endif
