/* SPDX-License-Identifier: MIT */
/*
 * http/router.h - routes as the server sees them: found by method, host and path, each with the
 * chain of handlers that it runs.
 *
 * A router and its groups are one tree of routers over one table, the root's: per host a trie of
 * path segments whose nodes find their children by hash, so that a look-up costs as much with
 * 10,000 routes as with ten. Nothing changes once it serves.
 */
#ifndef PI_HTTP_ROUTER_H
#define PI_HTTP_ROUTER_H

#include "http/h1_wire.h"

#include <pier/http.h>

/* Of a request's body. */
struct pi_body_limits {
    int64_t most;     /* of pier_body_all(); -1: none */
    int64_t rate_min; /* bytes a second, over slow_ns; 0: none */
    int64_t slow_ns;  /* 0: no limit */
};

/* Middleware, outermost first, and the handler. */
struct pi_call {
    pier_http_handler fn;
    void *arg;
};

struct pi_chain {
    struct pi_call *calls;
    int count;
};

struct pi_route {
    struct pi_route *next, *next_listed; /* at one place of the trie; of one router */
    char *pattern, *method;              /* method NULL: all */
    char *label;                         /* host and path, with those of the groups, for figures */
    uint8_t method_id;                   /* enum pi_h1_method */
    char **names;                        /* of the parameters, in their order */
    int name_count;
    struct pier_router *router;
    struct pi_call handler;
    struct pier_route_opts opts;
    struct pi_chain chain; /* once it serves */
};

/* Prepares a router for serving: 0, or the code of a pier_route() that has failed. */
int pi_router_seal(struct pier_router *r);

/* Keeps a failure as that of a pier_route(); returns rc. */
int pi_router_remember(struct pier_router *r, int rc);

/* Finds the route of the exchange's request and sets its route, chain and parameters; without one
 * the chain ends in the answer. 0, or the status of a request that cannot have a route. */
int pi_router_find(struct pier_router *r, struct pier_exchange *ex);

#endif
