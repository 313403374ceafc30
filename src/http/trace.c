/* SPDX-License-Identifier: MIT */
/*
 * http/trace.c - the trace that a request belongs to (W3C Trace Context): the one that its
 * traceparent names, or a new one.
 *
 * Every exchange is a span of its own, whose id is made up here; nothing is recorded but in logs.
 */
#define _GNU_SOURCE
#include "http/forwarded_wire.h"
#include "http/observe.h"

#include <string.h>

enum { SAMPLED = 1, KNOWN_FLAGS = 3 /* and a trace id that is random, of level 2 */ };

/* Whether the request names a trace. */
static bool read_parent(struct pier_exchange *ex, struct pi_part *trace_id, unsigned *flags)
{
    const char *value = pier_req_field(ex, "traceparent");
    return value && pi_traceparent_read(trace_id, flags, (struct pi_part){ value, strlen(value) });
}

const char *pier_req_traceparent(struct pier_exchange *ex)
{
    struct pi_part id;
    uint64_t random[3];
    unsigned flags;
    if (!ex)
        return "";
    if (ex->traceparent)
        return ex->traceparent;
    pi_random(random, sizeof random);
    random[2] |= 1; /* an id of zeros is none */
    const char *text;
    if (read_parent(ex, &id, &flags))
        text = pier_exchange_printf(ex, "00-%.*s-%016llx-%02x", (int)id.len, id.at,
                                    (unsigned long long)random[2], flags & KNOWN_FLAGS);
    else
        text = pier_exchange_printf(
            ex, "00-%016llx%016llx-%016llx-%02x", (unsigned long long)random[0],
            (unsigned long long)random[1] | 1, (unsigned long long)random[2], SAMPLED);
    ex->traceparent = text;
    return text ? text : "";
}

static const char *id_of(struct pier_exchange *ex, const char *traceparent)
{
    if (traceparent[0] == '\0')
        return "";
    const char *id = pi_arena_copy(&ex->arena, traceparent + 3, PI_TRACE_ID_LEN);
    return id ? id : "";
}

const char *pier_req_trace_id(struct pier_exchange *ex)
{
    return ex ? id_of(ex, pier_req_traceparent(ex)) : "";
}

const char *pi_req_known_trace(struct pier_exchange *ex)
{
    struct pi_part id;
    unsigned flags;
    if (ex->traceparent)
        return id_of(ex, ex->traceparent);
    if (!read_parent(ex, &id, &flags))
        return "";
    const char *copy = pi_arena_copy(&ex->arena, id.at, id.len);
    return copy ? copy : "";
}
