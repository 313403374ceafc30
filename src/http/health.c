/* SPDX-License-Identifier: MIT */
/*
 * http/health.c - the two questions that supervisors ask: whether the program runs (/livez), and
 * whether it is to be sent requests (/readyz), which a server that drains never is.
 *
 * Answers name the check that failed and the kind of its failure, never its words: whoever can
 * reach the port may ask.
 */
#include "base/err.h"
#include "http/observe.h"

enum { CHECKS_MS = 2000 /* supervisors wait for a second or a few */ };

static int answer_live(struct pier_exchange *ex, void *arg)
{
    pier_res_set(ex, "Cache-Control", "no-store");
    return pier_http_text(ex, 200, "ok\n");
}

static bool is_draining(const struct pier_exchange *ex)
{
    const _Atomic bool *draining = ex->h->draining;
    return draining && atomic_load_explicit(draining, memory_order_relaxed);
}

/* The first check that fails: its code; *which is that check. */
static int run_checks(const struct pier_ready_check **which)
{
    struct pier_scope scope;
    int rc = 0;
    pier_scope_open(&scope, pier_after(CHECKS_MS * PIER_MILLISECOND));
    for (; (*which)->fn && rc >= 0; (*which)++)
        rc = (*which)->fn((*which)->arg);
    if (rc < 0)
        (*which)--;
    int joined = pier_scope_join(&scope);
    return rc < 0 ? rc : joined;
}

static int answer_ready(struct pier_exchange *ex, void *arg)
{
    static const struct pier_ready_check no_checks;
    const struct pier_ready_check *check = arg ? arg : &no_checks;
    pier_res_set(ex, "Cache-Control", "no-store");
    int rc = is_draining(ex) ? 0 : run_checks(&check);
    if (is_draining(ex))
        return pier_http_text(ex, 503, "draining\n");
    if (rc < 0)
        return pier_http_textf(ex, 503, "%s: %s\n", check->name ? check->name : "check",
                               pier_strerror(rc));
    return pier_http_text(ex, 200, "ok\n");
}

int pier_route_health(struct pier_router *r, const struct pier_ready_check *checks)
{
    int rc = pier_route(r, "GET /livez", answer_live, NULL);
    return rc < 0 ? rc : pier_route(r, "GET /readyz", answer_ready, (void *)checks);
}

bool pi_is_health_route(const struct pi_route *route)
{
    return route->handler.fn == answer_live || route->handler.fn == answer_ready;
}
