/* SPDX-License-Identifier: MIT */
/*
 * sim/sim.h - what a simulation is made of, for the files of this folder.
 *
 *     io_sim.c   the backend: operations, the virtual clock, whose turn it is
 *     socket.c   the calls on simulated sockets
 *     flow.c     what is on its way between two of them
 *     datagram.c the calls on datagram sockets; option.c
 *     packet.c   datagrams on their way
 *     group.c    broadcast and multicast: which of them are whose
 *     host.c     hosts, their programs, links, names
 *     file.c     the files of hosts, and what a crash leaves of them
 *     chance.c   random numbers, faults, and what a reduction leaves out
 *     trace.c    events: the hash and the lines
 *     run.c      one run from its set-up to the checks at its end
 *     sweep.c    many seeds, in processes; reduce.c, explore.c
 *
 * Everything lives on one thread; sockets and hosts are freed when the run ends, so a pointer kept
 * by something under way is never stale. Invariant of repetition: nothing may depend on pointers,
 * real time, or the process.
 */
#ifndef PI_SIM_SIM_H
#define PI_SIM_SIM_H

#include "task/sockets.h"

#include <pier/sim.h>

#include <stdarg.h>
#include <sys/un.h>

/* ---- chance ---- */

struct sim_random {
    uint64_t state[4];
};

enum { SIM_KEEP_MAX = PIER_SIM_NUMBERED, SIM_REDUCED_CAP = 2048 /* as text */ };

/* Faults that are no failing calls, after those of enum pier_sim_fault. */
enum { SIM_CUT = PIER_SIM_REORDER + 1, SIM_CRASH, SIM_FAULT_KINDS };

/* Kinds of trouble that a reduction may leave out. */
enum {
    SIM_ORDER = 1,   /* tasks take turns first in, first out */
    SIM_SPLIT = 2,   /* reads and writes are whole, windows wide */
    SIM_LATENCY = 4, /* no jitter */
    SIM_FAULTS = 8,  /* none that are drawn */
};

struct sim_reduced {
    unsigned calm; /* SIM_ORDER… */
    int size;      /* percent of amounts */
    bool only;     /* faults in keep, no others */
    int keep_count;
    int64_t keep[SIM_KEEP_MAX];
};

/* ---- addresses ---- */

struct sim_addr {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
    socklen_t len;
};

/* ---- what is on its way ---- */

enum sim_chunk_kind { SIM_OPEN, SIM_DATA, SIM_FIN };

struct sim_chunk {
    struct sim_chunk *next;
    enum sim_chunk_kind kind;
    size_t len, taken;
    int64_t due_ns;
    int64_t first_lost_ns; /* when it was first lost; 0: it was not */
    int tries;
    unsigned char bytes[];
};

/* One direction of a connection; its head is delivered when due, and nothing overtakes it. */
struct sim_flow {
    struct sim_chunk *first, *last;
    size_t in_flight;
    int64_t last_due_ns;
    bool stalled; /* the receiver has no room */
    struct pi_timer timer;
};

/* ---- datagrams ---- */

/* On its way, or received and not read: in one list or the other. */
struct sim_packet {
    struct sim_packet *next, *before;
    struct pi_timer timer;
    struct sim_sock *sender;
    struct pier_sim_host *source, *target; /* target NULL: nobody has the address */
    struct sim_addr from, to;              /* as in its header */
    int64_t arrives_ns;
    int error; /* a message about the datagram from..to, on the way back to its sender; else 0 */
    int interface, hops;
    size_t charge; /* on its sender's buffer, until it has left the machine */
    size_t len;
    unsigned char bytes[];
};

struct sim_packets {
    struct sim_packet *first, *last;
    size_t charge;
};

enum { SIM_LOOPBACK = 1, SIM_ETHERNET = 2 }; /* interfaces */
enum { SIM_GROUPS_MAX = 20 };                /* as igmp_max_memberships */

struct sim_group {
    struct sim_addr group, source; /* source.len 0: any */
    int interface;
};

/* What a datagram socket has besides. */
struct sim_dgram {
    struct sim_packets in, errors;
    size_t unsent;                       /* charged */
    bool port_is_chosen, addr_is_chosen; /* by bind */
    int shut;                            /* SHUT_RD + 1 and SHUT_WR + 1 */
    bool broadcast, reuse_addr, reuse_port, dont_fragment;
    bool tells_info, tells_hops, tells_errors, merges;
    bool no_loop, own_groups_only;
    int hops, group_hops, group_interface, segment; /* 0: the default */
    struct sim_group groups[SIM_GROUPS_MAX];
    int group_count;
};

/* ---- sockets ---- */

enum sim_state { SIM_NEW, SIM_BOUND, SIM_LISTENS, SIM_CONNECTS, SIM_CONNECTED };

struct sim_sock {
    int fd, id;
    int family;
    enum sim_state state;
    struct pier_sim_host *host;
    struct sim_sock *next_bound; /* of the host */
    struct sim_addr local, peer;
    struct io_fd *f; /* that waits, or has waited, for it */
    bool is_open;    /* its program has not closed it */
    bool is_gone;    /* the machine knows it no more: reset, timed out, crashed */
    bool is_pair;    /* both ends on one host, no network between */
    bool ends;       /* a FIN is queued */
    bool at_end;     /* one has come */
    bool no_keepalive;
    bool was_closed;         /* by its program */
    int error;               /* told once */
    int64_t user_timeout_ns; /* 0: the system's */
    struct sim_sock *other;  /* the other end */
    unsigned char *in;       /* received, not read */
    size_t in_start, in_len, in_cap;
    size_t window;                  /* the most that in may hold */
    size_t send_room;               /* the most that may be in flight */
    bool has_window, has_send_room; /* as its program has asked for */
    struct sim_flow out;
    struct pi_timer control; /* connecting: the next try; connected: keepalive */
    struct pi_timer reset;   /* one is on its way here */
    int tries;
    /* Listening. */
    struct sim_sock *queue_first, *queue_last, *next_queued;
    int queued, backlog;
    struct sim_sock *listener; /* that will be told of it */
    struct sim_dgram *dgram;   /* NULL: a stream */
};

/* ---- hosts ---- */

enum { SIM_HOSTS_MAX = 64, SIM_ADDRS_MAX = 8, SIM_NAME_CAP = 64 };

struct sim_program {
    struct sim_program *next;
    struct pier_sim_host *host;
    pier_task_fn fn;
    void *arg;
    struct pier_scope scope;
    bool runs, must_stop;
    int rc;
    char words[256];
};

struct sim_name {
    struct sim_name *next;
    char name[SIM_NAME_CAP];
    struct sim_addr addrs[SIM_ADDRS_MAX];
    int count;
};

/* A Unix socket's path; stays behind when its socket is closed. */
struct sim_path {
    struct sim_path *next;
    struct sim_sock *sock; /* NULL: left behind */
    struct sim_addr addr;
};

/* file.c */
struct sim_disk;
struct sim_handle;

struct pier_sim_host {
    struct sim_name names; /* its own, and its addresses */
    int index;
    bool is_down;
    int next_port;
    int fail_next[SIM_CUT];
    int64_t fault_calls[SIM_FAULT_KINDS]; /* that might have failed */
    struct sim_sock *bound;               /* that have a local address */
    struct sim_sock *dgrams;              /* the same of datagrams, the newest first */
    struct sim_path *paths;
    struct sim_disk *disk; /* NULL: no file was ever opened */
    struct sim_program *programs;
    struct pier_event ended; /* set when no program runs */
};

struct sim_way {
    struct pier_sim_link link;
    bool is_cut;
    int64_t busy_ns, last_ns; /* datagrams: until the link is free; when the last one arrives */
};

/* ---- the simulation ---- */

struct pi_sim {
    struct pier_sim_opts opts;
    uint64_t seed;
    const struct pi_sys *outside; /* the thread's table before */
    struct pi_thread *thread;
    struct pier_scope scope; /* of everything */
    int64_t now_ns, began_ns;
    struct sim_random order, network, user, secret, disk;
    struct sim_reduced reduced;
    struct pi_timers timers; /* of the network */
    struct io_fd *kicked;    /* with armed operations to look at */
    struct sim_sock **socks;
    int sock_count, sock_cap;
    struct sim_handle **handles; /* open files, by number */
    int handle_count, handle_cap;
    struct sim_packets packets; /* on their way */
    struct pier_sim_host *hosts[SIM_HOSTS_MAX];
    int host_count;
    struct sim_name *names;
    struct sim_way *ways; /* SIM_HOSTS_MAX squared */
    int quiet;            /* inside the simulator: its own memory is refused to nobody */
    int64_t faults, choices;
    int64_t fault_numbers[PIER_SIM_NUMBERED];
    int64_t events;
    int64_t turns, turns_at; /* since that event */
    uint64_t hash;
    int64_t cancel_at; /* event; 0: never */
    struct pier_scope *cancel_scope;
    int code;
    char failure[512];
    bool giving_up;     /* everything has been cancelled for want of an end */
    bool is_over;       /* the scenario has returned */
    int64_t give_up_at; /* events that it may take then */
    struct sim_tape *tape;
};

/* Choices between ready tasks, in place of the random ones: explore.c. */
struct sim_tape {
    int *chosen, *among;
    int len, cap, at;
};

extern PI_THREAD_LOCAL struct pi_sim *pi_sim;

extern const struct io_backend pi_sim_backend;
extern const struct io_sockets pi_sim_sockets;

/* chance.c */
void pi_sim_seed(struct sim_random *r, uint64_t seed, uint64_t stream);
uint64_t pi_sim_draw(struct sim_random *r);
/* From 0 to below - 1. */
uint64_t pi_sim_below(struct sim_random *r, uint64_t below);
int64_t pi_sim_range(struct sim_random *r, int64_t lo, int64_t hi);
bool pi_sim_one_in(struct sim_random *r, unsigned n);
/* Whether a call of this kind fails now, here. */
bool pi_sim_faulty(enum pier_sim_fault kind, int ppm, struct pier_sim_host *host);
/* Whether trouble of the kind (SIM_CUT…) at this host, the next of its kind there, is to happen. */
bool pi_sim_wanted(int kind, struct pier_sim_host *host);
static inline bool pi_sim_is_calm(const struct pi_sim *sim, unsigned kind)
{
    return sim->reduced.calm & kind;
}
/* 0, or -EINVAL with words. */
int pi_sim_reduced_parse(struct sim_reduced *out, const char *text);
void pi_sim_reduced_format(char *out, size_t cap, const struct sim_reduced *r);

/* trace.c */
enum sim_event {
    SIM_EV_RUN,
    SIM_EV_OPEN,
    SIM_EV_LISTEN,
    SIM_EV_CONNECT,
    SIM_EV_CONNECTED,
    SIM_EV_REFUSED,
    SIM_EV_ACCEPT,
    SIM_EV_SEND,
    SIM_EV_ARRIVE,
    SIM_EV_READ,
    SIM_EV_END,
    SIM_EV_CLOSE,
    SIM_EV_RESET,
    SIM_EV_LOST,
    SIM_EV_TIMED_OUT,
    SIM_EV_RESOLVE,
    SIM_EV_JOB,
    SIM_EV_FAULT,
    SIM_EV_CUT,
    SIM_EV_HEAL,
    SIM_EV_HOST,
    SIM_EV_LOG,
    SIM_EV_NOTE,
    SIM_EV_CHECK,
    SIM_EV_FILE,
};
/* Counts an event. The words are for the trace only. */
void pi_sim_event(enum sim_event kind, const struct pier_sim_host *host, int64_t len,
                  const char *fmt, ...) PIER_PRINTF(4, 5);
void pi_sim_log(int level, const char *msg, const struct pier_log_field *fields, size_t count);
const char *pi_sim_addr_text(char out[128], const struct sim_addr *addr);
/* A mixing step of the hash: the same everywhere. */
uint64_t pi_sim_mix(uint64_t hash, uint64_t value);

/* host.c */
struct pier_sim_host *pi_sim_here(void);
struct pier_sim_host *pi_sim_host_of(const struct sim_addr *addr, struct pier_sim_host *from);
bool pi_sim_same_ip(const struct sim_addr *a, const struct sim_addr *b);
bool pi_sim_is_loopback(const struct sim_addr *addr);
struct sim_way *pi_sim_way(const struct pier_sim_host *from, const struct pier_sim_host *to);
struct pier_sim_host *pi_sim_add_host(const char *name, const char *addresses);
int pi_sim_resolve(void *arg);
void pi_sim_stop_all(void);
void pi_sim_free_hosts(struct pi_sim *sim);

/* socket.c */
struct sim_sock *pi_sim_sock(int fd);
ssize_t pi_sim_attempt(struct io_op *op);
void pi_sim_crash_sockets(struct pier_sim_host *host);
struct sim_sock *pi_sim_sock_new(struct pier_sim_host *host, int family);
int pi_sim_port(const struct sim_addr *addr);
void pi_sim_set_port(struct sim_addr *addr, int port);
bool pi_sim_is_any(const struct sim_addr *addr);
void pi_sim_set_loopback(struct sim_addr *addr);
struct sim_addr pi_sim_no_address(int family);
int pi_sim_take_error(struct sim_sock *s);
void pi_sim_wake_reader(struct sim_sock *s);
void pi_sim_wake_writer(struct sim_sock *s);
void pi_sim_free_sockets(struct pi_sim *sim);
/* How many are open; the first one's words, if asked. */
int pi_sim_open_sockets(const struct pi_sim *sim, char *words, size_t cap);

/* file.c */
/* Waits for the disk, then makes the call (IO_FILE). */
ssize_t pi_sim_file(struct pi_sim *sim, struct pi_task *self, struct io_op *op);
/* Whether it was a file's descriptor. */
bool pi_sim_close_file(int fd);
/* What was not synced is lost, or part of it. */
void pi_sim_crash_files(struct pier_sim_host *host);
int pi_sim_open_files(const struct pi_sim *sim, char *words, size_t cap);
void pi_sim_free_disk(struct pier_sim_host *host);
void pi_sim_free_handles(struct pi_sim *sim);

/* flow.c */
/* Connects: the answer comes later, in s->state and s->error. */
void pi_sim_connect(struct sim_sock *s, const struct sim_addr *to);
/* One way, at least. */
int64_t pi_sim_latency(const struct pier_sim_host *from, const struct pier_sim_host *to);
/* 0, or -ENOMEM. */
int pi_sim_send(struct sim_sock *s, enum sim_chunk_kind kind, const void *bytes, size_t len);
/* The receiver has read: what waits for room moves on. */
void pi_sim_has_room(struct sim_sock *receiver);
/* Whether it is on its way: it is not repeated, but what it answers is, and there is keepalive. */
bool pi_sim_send_reset(struct sim_sock *from);
/* The socket is known no more, for that reason; its program learns it. */
void pi_sim_end_sock(struct sim_sock *s, int error);
void pi_sim_drop_flow(struct sim_sock *s);
/* Ways have changed: if nothing passes any more, or nobody is there, keepalive will find out. */
void pi_sim_watch(struct sim_sock *s);
int64_t pi_sim_delay(const struct pier_sim_host *from, const struct pier_sim_host *to);
/* One more than the backlog fits, as in the kernel. */
static inline bool pi_sim_is_full(const struct sim_sock *listener)
{
    return listener->queued > listener->backlog;
}

bool pi_sim_is_cut(const struct pier_sim_host *from, const struct pier_sim_host *to);

/* datagram.c: what socket.c does for streams. */
int pi_sim_dgram_open(struct sim_sock *s);
void pi_sim_dgram_close(struct sim_sock *s);
ssize_t pi_sim_dgram_attempt(struct sim_sock *s, struct io_op *op);
int pi_sim_dgram_bind(struct sim_sock *s, const struct sim_addr *local);
int pi_sim_dgram_shutdown(struct sim_sock *s, int how);
ssize_t pi_sim_dgram_take_error(struct sim_sock *s, struct msghdr *msg);

/* option.c: as setsockopt(2) and getsockopt(2). */
int pi_sim_dgram_set(struct sim_sock *s, int level, int option, const void *value, socklen_t len);
int pi_sim_dgram_get(struct sim_sock *s, int level, int option, void *value, socklen_t *len);

/* packet.c */
/* Without timer and charge; NULL: no memory. Freed by whoever has it. */
struct sim_packet *pi_sim_packet_new(const struct sim_packet *like, size_t len);
void pi_sim_packet_put(struct sim_packets *list, struct sim_packet *p);
struct sim_packet *pi_sim_packet_take(struct sim_packets *list);
void pi_sim_packets_free(struct sim_packets *list);
/* Sends the datagram of that header; 0, or -ENOBUFS. */
int pi_sim_post(const struct sim_packet *header, const void *bytes);
/* Bytes that a packet there may have. */
int pi_sim_mtu(const struct pier_sim_host *from, const struct sim_addr *to);
void pi_sim_crash_packets(struct pier_sim_host *host);
void pi_sim_free_packets(struct pi_sim *sim);

/* group.c */
bool pi_sim_is_multicast(const struct sim_addr *addr);
/* Seen from that host. */
bool pi_sim_is_broadcast(const struct pier_sim_host *host, const struct sim_addr *addr);
/* Whether two hosts are on one link: they share a /24, or a /64. */
bool pi_sim_are_neighbours(const struct pier_sim_host *a, const struct pier_sim_host *b,
                           int family);
/* Whether the socket, which is bound to fit, is to have what is sent to a group. */
bool pi_sim_hears_group(const struct sim_sock *s, const struct sim_packet *p);
/* -ENOPROTOOPT for an option that is none of groups. */
int pi_sim_group_set(struct sim_sock *s, int level, int option, const void *value, socklen_t len);
/* The interface of that number (0: any) and address (none: any); 0 when there is none. */
int pi_sim_interface(const struct sim_sock *s, int number, const struct sim_addr *addr);

/* run.c */
int pi_sim_failed(const char *fmt, ...) PIER_PRINTF(1, 2);
int pi_sim_run_tape(uint64_t seed, const struct pier_sim_opts *opts, pier_task_fn scenario,
                    struct sim_tape *tape);
/* Everything is cancelled. */
void pi_sim_give_up(struct pi_sim *sim);

/* sweep.c */
/* Runs a seed in a process of its own; its end is the result, be it a crash. 0, or a negative code
 * when there is no process to be had. trace: NULL, or where the child's events go. */
int pi_sim_run_apart(struct pier_sim_result *result, uint64_t seed,
                     const struct pier_sim_opts *opts, pier_task_fn scenario);

/* reduce.c */
/* Finds less that still fails; on return reduced says what. */
void pi_sim_reduce(struct sim_reduced *reduced, const struct pier_sim_result *failed,
                   const struct pier_sim_opts *opts, pier_task_fn scenario);

#endif
