/* SPDX-License-Identifier: MIT */
/*
 * net/server.h - what a server is made of: endpoints (as added), listeners (one an address),
 * workers (one a loop).
 *
 * Every worker has the same listening sockets in its own loop and accepts for itself; one that has
 * more than its share of connections hands a new one to the worker that has the fewest. server.c is
 * the object and its run, worker.c the accepting and serving, listen.c the sockets.
 */
#ifndef PI_NET_SERVER_H
#define PI_NET_SERVER_H

#include "net/conn.h"

#include <pthread.h>

struct pi_endpoint {
    char *text; /* as given: also the name of its tasks */
    struct pi_url url;
    pier_handler handler;
    void *arg;
    int inherited_fd; /* -1: to be opened */
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
    bool is_post; /* of a udp:// endpoint: datagram.c's */
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
    struct pi_msg nudge; /* look again: stop, room for connections, all gone */
    bool stopping, has_thread;
    pthread_t id;
    int rc; /* of a worker's thread */
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

struct pier_server {
    struct pier_serve_opts opts;
    int first_error; /* of an add or listen; its words are in err */
    struct pi_err err;
    struct pi_endpoint *endpoints;
    int endpoint_count;
    struct pi_listener *listeners;
    int listener_count;
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
};

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

/* worker.c: serves with this worker on the running task until the server stops; 0, or the
 * cancellation's code. */
int pi_worker_run(struct pi_worker *w);
/* From any thread, not from a signal handler: all workers look again. */
void pi_server_nudge(struct pier_server *s);
void pi_worker_nudge(struct pi_worker *w);

/* Counts a connection in and starts it: 0; -EBUSY: no room; or another code, and it is the caller's
 * again. */
int pi_serve_start(struct pi_worker *w, const struct pi_accepted *a);

/* Serves one connection, to its end. */
void pi_serve_conn(struct pier_conn *c, const struct pi_accepted *a, struct pi_worker *w);
void pi_serve_init(struct pier_conn *c, const struct pi_accepted *a, struct pier_server *s);

/* thread_model.c */
int pi_conn_thread_start(struct pi_worker *w, const struct pi_accepted *a);
void pi_conn_threads_wake(struct pier_server *s);
void pi_conn_threads_cancel(struct pier_server *s);

#endif
