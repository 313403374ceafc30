/* SPDX-License-Identifier: MIT */
/*
 * http/observe.c - what an endpoint does before and after each exchange, for those that ask for it.
 *
 * Durations are measured here, with an exact clock: the exchange's own time is as old as the loop's
 * last look at it.
 */
#include "http/observe.h"

void pi_observe_begin(struct pier_exchange *ex)
{
    const struct pi_http_endpoint *e = ex->h->endpoint;
    ex->time_ns = pi_clock_ns();
    if (e->metrics)
        pi_metrics_begin(e->metrics);
    if (e->proxies)
        pi_proxies_apply(e->proxies, ex);
}

void pi_observe_end(struct pier_exchange *ex)
{
    const struct pi_http_endpoint *e = ex->h->endpoint;
    int64_t took_ns = pi_clock_ns() - ex->time_ns;
    if (e->metrics)
        pi_metrics_end(e->metrics, ex, took_ns);
    if (e->has_access_log)
        pi_access_log(&e->access_log, ex, took_ns);
}
