/* SPDX-License-Identifier: MIT */
/*
 * http/observe.h - what an endpoint does round its exchanges: believing proxies before, counting
 * and writing down afterwards. server.c calls the two below where any of it is asked for.
 */
#ifndef PI_HTTP_OBSERVE_H
#define PI_HTTP_OBSERVE_H

#include "http/exchange.h"

/* Round every exchange, also those that are refused. */
void pi_observe_begin(struct pier_exchange *ex);
void pi_observe_end(struct pier_exchange *ex);

/* proxies.c: reads the options, or fails with words; NULL frees nothing. */
struct pi_proxies *pi_proxies_new(const struct pier_proxy_opts *opts) PIER_MUST_USE;
void pi_proxies_free(struct pi_proxies *p);
/* Takes over what a trusted proxy says of the request. */
void pi_proxies_apply(const struct pi_proxies *p, struct pier_exchange *ex);

/* metrics.c */
void pi_metrics_begin(struct pier_metrics *m);
void pi_metrics_end(struct pier_metrics *m, struct pier_exchange *ex, int64_t took_ns);

/* access_log.c */
void pi_access_log(const struct pier_access_log_opts *opts, struct pier_exchange *ex,
                   int64_t took_ns);

/* health.c, metrics.c: whether the exchange is a probe of a machine's. */
bool pi_is_health_route(const struct pi_route *route);
bool pi_is_metrics_route(const struct pi_route *route);

/* trace.c: the trace id, if the request came with one or somebody asked for it; else "". */
const char *pi_req_known_trace(struct pier_exchange *ex);

#endif
