/* SPDX-License-Identifier: MIT */
/*
 * net/server.h - what a server is made of: endpoints (as added), listeners (one an address),
 * workers (one a loop).
 *
 * Every worker has the same listening sockets in its own loop and accepts for itself; one that has
 * more than its share of connections hands a new one to the worker that has the fewest, or, where
 * that is another process, leaves the next ones to it. server.c is the object and its run, worker.c
 * the accepting and serving, listen.c the sockets, places.c what workers know of each other.
 */
#ifndef PI_NET_SERVER_H
#define PI_NET_SERVER_H

#include "net/conn.h"
#include "net/forked.h"

#include <pthread.h>

struct pi_tls;
struct pi_tls_context;
struct pi_tls_server;

struct pi_endpoint {
    char *text; /* as given: also the name of its tasks */
    struct pi_url url;
    pier_handler handler;
    void *arg;
    int inherited_fd; /* -1: to be opened */
    int64_t idle_ns;  /* its connections wait so long for input without a task; 0: with one */
    int64_t hello_ns; /* TLS: they wait so long for the first byte without a task; 0: with one */
    void (*drop)(void *arg); /* the server frees arg by it; NULL: it does not */
};

struct pi_listener {
    const struct pi_endpoint *endpoint;
    struct pi_addr addr;
    int fd;
    char url[PI_URL_TEXT_CAP]; /* with the real port */
    bool unlink_path;          /* a Unix path that this server made */
};

/* A connection between accept and its handler. */
struct pi_accepted {
    int fd; /* -1: none */
    const struct pi_listener *listener;
    struct pi_conv *conv; /* of a udp:// endpoint: fd is everybody's; NULL: a stream */
    uint64_t who;         /* that the firewall has counted it for; 0: nobody */
    bool is_proxied;      /* it begins with the header of a trusted proxy */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } peer;
};

/* One listener in one worker's loop. */
struct pi_acceptor {
    struct pi_worker *worker;
    struct pi_listener *listener;
    struct io_fd io;
    struct io_op op;
    struct pi_addr addr;        /* of the one that op accepts */
    struct pi_accepted pending; /* accepted, but there was no room, no memory or no thread for it */
    struct pi_timer retry;
    bool armed, paused;
    bool is_post;     /* of a udp:// endpoint: datagram.c's */
    int64_t asked_ns; /* when conversations were asked for a place */
    bool hurries;     /* the others have left something in the backlog */
    bool yields;      /* out of the loop: it is the turn of other processes */
    bool is_left;     /* pending is the worker's own task to start */
};

/* An eventfd that other processes and signal handlers ring, in this thread's loop. */
struct pi_bell {
    struct io_fd io;
    struct io_op op;
    void (*rung)(struct pi_bell *bell);
    bool is_open;
};

/* What all processes of a server know of one of its workers. A crash leaves no count behind: what a
 * process has counted is in its own slot, which the supervisor clears. */
struct pi_slot {
    _Alignas(64) _Atomic int load; /* connections of this process; of PIER_PROCESSES: all */
    _Atomic bool accepts;
    _Atomic bool yields;     /* it leaves what comes to those that have less */
    _Atomic bool ended;      /* by itself: it has served to the end, or says what went wrong */
    _Atomic bool must_evict; /* a connection waits for the place of a conversation */
    int bell_fd;             /* -1: none */
};

/* In memory that the processes of a server share. */
struct pi_shared {
    _Atomic bool stop;       /* asked for by one of them */
    _Atomic bool abandoned;  /* no grace, or no more of it */
    _Atomic bool drained;    /* a worker has emptied the backlog */
    _Atomic bool starved;    /* somebody waits for room */
    _Atomic int64_t dropped; /* datagrams */
    _Atomic int64_t said_ns;
    int boss_fd; /* the bell of the process that runs the server */
    int slot_count;
    struct pi_slot slots[];
};

struct pi_worker {
    struct pier_server *server;
    struct pier_scope scope;            /* of its connections' tasks */
    struct pi_task *root;               /* parked while it serves */
    _Atomic(struct pi_thread *) thread; /* NULL: messages cannot reach it */
    struct pi_acceptor *acceptors;
    struct pi_post *posts; /* the udp:// sockets that it owns */
    struct pier_conn *conns;
    _Atomic int load; /* connections of this worker */
    _Atomic bool nudged;
    _Atomic bool must_evict; /* as a slot's */
    struct pi_msg nudge;     /* look again: stop, room for connections, all gone */
    struct pi_slot *slot;    /* NULL: the server has one process */
    int bell_fd;             /* that it listens to; -1: none */
    struct pi_bell bell;
    bool is_open, stopping, has_thread;
    int open_rc;
    _Atomic bool has_failed; /* it never served: its udp:// sockets are the first one's */
    pthread_t id;
    int rc;                                /* of a worker's thread */
    struct pi_tls_context *tls;            /* NULL: none yet */
    unsigned tls_generation;               /* of the files that it was made of */
    struct pi_tls *shaking, *shaking_last; /* hands, the oldest first */
    int shaking_count;
};

/* A connection that is a thread of its own. */
struct pi_conn_thread {
    struct pi_conn_thread *prev, *next;
    struct pi_worker *worker;
    struct pi_accepted accepted;
    int wake_fd; /* the thread's from its start on */
    struct pi_thread *thread;
    struct pier_conn *conn; /* NULL: not begun, or over */
    struct pier_scope scope;
    struct pi_msg wake; /* the server stops: look up from the read */
    bool posted;
};

/* A connection that is a process of its own. */
struct pi_conn_process {
    struct pi_conn_process *prev, *next;
    struct pi_worker *worker;
    struct pi_accepted accepted; /* for its name: the descriptor is the child's */
    struct pi_forked process;
    int told; /* how often: that the server stops, that it is cancelled, nothing any more */
};

struct pier_server {
    struct pier_serve_opts opts;
    int first_error; /* of an add or listen; its words are in err */
    struct pi_err err;
    struct pi_endpoint *endpoints;
    int endpoint_count;
    struct pi_listener *listeners;
    int listener_count;
    bool announces; /* pier_serve(): the log says where it listens */
    bool is_listening, is_running, has_run;
    struct pi_worker *workers;
    int worker_count;
    _Atomic int conns;       /* being served, all workers */
    _Atomic int64_t dropped; /* datagrams */
    _Atomic int paused;      /* acceptors that wait for room */
    _Atomic bool draining;
    _Atomic bool stop_requested;
    _Atomic bool abandoned;   /* cancelled: no grace */
    _Atomic int64_t said_ns;  /* when a full server, or a failing accept, was last logged */
    _Atomic int open_workers; /* that still have the listeners in their loops */
    _Atomic int reachable;    /* workers that pier_server_stop_remote() may look at */
    _Atomic int stoppers;     /* that are inside it */
    pthread_mutex_t lock;     /* workers' thread, threads and their fields */
    struct pi_conn_thread *threads;
    bool threads_cancelled;
    struct pi_shared *shared; /* NULL: the server has one process */
    int slot_count;           /* that there is room for in it */
    struct pi_conn_process *processes;
    struct pi_conn_process *ended; /* the last one that has, to be freed */
    struct pi_tls_server *tls;     /* NULL: no endpoint has it */
    struct pi_firewall *firewall;  /* NULL: everybody is let in */
    struct pi_cidr_set *proxies;   /* that are trusted; NULL: none */
};

/* Whether an endpoint may be added still, and its URL: 0 or a negative code. */
int pi_server_may_add(const struct pier_server *s, struct pi_url *url, const char *text);
/* Keeps the first failure with its words for run; returns rc. */
int pi_server_remember(struct pier_server *s, int rc);
/* What pier_serve() does once its endpoint is added, with the result rc (s may be NULL): returns an
 * exit code and frees s. */
int pi_serve_to_end(struct pier_server *s, int rc, const char *url);

/* listen.c: opens every endpoint, or closes all again. */
int pi_server_open(struct pier_server *s);
void pi_server_close_listeners(struct pier_server *s);
int pi_server_add_endpoint(struct pier_server *s, const char *text, const struct pi_url *url,
                           pier_handler handler, void *arg, int inherited_fd);

/* activation.c: descriptors from and words to the service manager. */
int pi_inherited_count(void);
int pi_inherited_fd(int index);
/* Whether it is a listening stream socket: others cannot be served. */
bool pi_inherited_listens(int fd);
/* Takes the inherited socket that is bound to addr; -1: none. */
int pi_inherited_take(const struct pi_addr *addr);
void pi_inherited_mark_taken(int fd);
void pi_notify(const char *state);

/* worker.c: its loop and acceptors, on the thread that will run it. */
void pi_worker_open(struct pi_worker *w);
/* Opens it, if need be, and serves with it on the running task until the server stops; 0, or the
 * cancellation's code. */
int pi_worker_run(struct pi_worker *w);

/* From any thread, not from a signal handler: all workers look again. */
void pi_server_nudge(struct pier_server *s);
void pi_worker_nudge(struct pi_worker *w);

/* Counts a connection in and starts it: 0; -EBUSY: no room; or another code, and it is the caller's
 * again. */
int pi_serve_start(struct pi_worker *w, const struct pi_accepted *a);
/* One of its connections has ended, however that was; who is of its pi_accepted. */
void pi_worker_leave(struct pi_worker *w, uint64_t who);
/* When the grace that begins now ends; 0: never. */
int64_t pi_grace_end(const struct pier_server *s);
/* Looks again, on the worker's own thread, as after a nudge. */
void pi_worker_look(struct pi_worker *w);

/* The handler's result, after the handshake of TLS where there is one to come. */
int pi_serve_call(struct pier_conn *c, const struct pi_endpoint *e, struct pi_worker *w);
/* What a handler's result means: logs it, and closes. */
void pi_serve_end(struct pier_conn *c, const struct pi_endpoint *e, int rc);
/* The list of connections that a worker has on its loop. */
void pi_conn_link(struct pi_worker *w, struct pier_conn *c);
void pi_conn_unlink(struct pi_worker *w, struct pier_conn *c);

/* idle.c: starts a connection that has been counted in, on w's loop, without a task: 0 or a
 * negative code, and it is the caller's again. */
int pi_idle_start(struct pi_worker *w, const struct pi_accepted *a);
/* The server stops: one that waits without a task is closed, or served when its request is there.
 */
void pi_idle_drain(struct pier_conn *c);

/* places.c: makes what the processes of a server share, for so many workers: 0 or a negative code.
 * It lasts until the server is freed. */
int pi_shared_open(struct pier_server *s, int slots);
void pi_shared_close(struct pier_server *s);
int pi_max_conns(const struct pier_server *s);
int pi_wanted_workers(const struct pier_server *s);
/* Connections being served, over all workers and processes. */
int pi_conns(const struct pier_server *s);
/* Counts a connection of w in: 0, or -EBUSY when the server is full. And out again. */
int pi_place_take(struct pi_worker *w);
void pi_place_give(struct pi_worker *w);
/* The server is full, and w waits to be told when it is not; whom a free place is told to. */
void pi_place_await(struct pi_worker *w);
void pi_place_tell(struct pi_worker *w);
/* Whether connections wait for the places that are about to be free. */
bool pi_place_is_awaited(const struct pi_worker *w);
/* Whether other processes should take what comes next; then who should is told so. */
bool pi_must_yield(const struct pi_worker *w);
void pi_yield_tell(struct pi_worker *w);
/* Whether a complaint may be logged: one a second, over all processes. */
bool pi_may_say(struct pier_server *s);

/* Puts fd into the loop, or takes it out. 0 or a negative code. */
int pi_bell_open(struct pi_bell *bell, int fd, void (*rung)(struct pi_bell *bell));
void pi_bell_close(struct pi_bell *bell);
/* From any process that shares it, and from signal handlers. */
void pi_bell_ring(int fd);

/* The server that accepted c; NULL: it was dialled. */
struct pier_server *pi_server_of(const struct pier_conn *c);

/* Serves one connection, to its end. */
void pi_serve_conn(struct pier_conn *c, const struct pi_accepted *a, struct pi_worker *w);
void pi_serve_init(struct pier_conn *c, const struct pi_accepted *a, struct pier_server *s);

/* thread_model.c */
int pi_conn_thread_start(struct pi_worker *w, const struct pi_accepted *a);
void pi_conn_threads_wake(struct pier_server *s);
void pi_conn_threads_cancel(struct pier_server *s);

/* process_model.c. On the worker's root task; the child does not return from start. */
int pi_conn_process_start(struct pi_worker *w, const struct pi_accepted *a);
/* Tells all children: the server stops (their handlers' reads look up), or, once it is abandoned,
 * they are cancelled. */
void pi_conn_processes_tell(struct pier_server *s);
/* Ends those that are still there. */
void pi_conn_processes_kill(struct pier_server *s);

/* prefork.c: runs the server by worker processes until it stops. */
int pi_prefork_run(struct pier_server *s);

#endif
