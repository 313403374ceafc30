/* SPDX-License-Identifier: MIT */
/*
 * sim/trace.c - events: every one goes into the hash, and, if somebody reads it, into the trace.
 *
 * The hash takes time, host, kind and length, never words or addresses of memory: two runs of one
 * binary with one seed must agree on it.
 */
#define _GNU_SOURCE
#include "sim/sim.h"

#include "base/assert.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

uint64_t pi_sim_mix(uint64_t hash, uint64_t value)
{
    hash ^= value;
    hash *= 0x9fb21c651e98df25u;
    return hash ^ (hash >> 29);
}

static const char *const names[] = {
    [SIM_EV_RUN] = "run",
    [SIM_EV_OPEN] = "open",
    [SIM_EV_LISTEN] = "listen",
    [SIM_EV_CONNECT] = "connect",
    [SIM_EV_CONNECTED] = "connected",
    [SIM_EV_REFUSED] = "refused",
    [SIM_EV_ACCEPT] = "accept",
    [SIM_EV_SEND] = "send",
    [SIM_EV_ARRIVE] = "arrive",
    [SIM_EV_READ] = "read",
    [SIM_EV_END] = "end",
    [SIM_EV_CLOSE] = "close",
    [SIM_EV_RESET] = "reset",
    [SIM_EV_LOST] = "lost",
    [SIM_EV_TIMED_OUT] = "timed out",
    [SIM_EV_RESOLVE] = "resolve",
    [SIM_EV_JOB] = "job",
    [SIM_EV_FAULT] = "fault",
    [SIM_EV_CUT] = "cut",
    [SIM_EV_HEAL] = "heal",
    [SIM_EV_HOST] = "host",
    [SIM_EV_LOG] = "log",
    [SIM_EV_NOTE] = "note",
    [SIM_EV_CHECK] = "check",
    [SIM_EV_FILE] = "file",
};

static void print(struct pi_sim *sim, enum sim_event kind, const struct pier_sim_host *host,
                  const char *fmt, va_list args)
{
    int64_t us = (sim->now_ns - sim->began_ns) / 1000;
    FILE *out = sim->opts.trace;
    fprintf(out, "%6" PRId64 ".%06" PRId64 "  %-10s %-9s ", us / 1000000, us % 1000000,
            host ? host->names.name : "-", names[kind]);
    vfprintf(out, fmt, args);
    fputc('\n', out);
}

static void look_at_limits(struct pi_sim *sim)
{
    if (sim->events == sim->cancel_at && sim->cancel_scope) {
        struct pier_scope *scope = sim->cancel_scope;
        sim->cancel_scope = NULL;
        pi_sim_event(SIM_EV_NOTE, NULL, 0, "cancelled");
        pier_scope_cancel(scope);
    }
    if (sim->giving_up)
        PIER_ASSERT(sim->events < sim->give_up_at);
    else if (sim->events > sim->opts.event_limit)
        pi_sim_give_up(sim);
}

void pi_sim_event(enum sim_event kind, const struct pier_sim_host *host, int64_t len,
                  const char *fmt, ...)
{
    struct pi_sim *sim = pi_sim;
    sim->events++;
    uint64_t hash = pi_sim_mix(sim->hash, (uint64_t)(sim->now_ns - sim->began_ns));
    hash = pi_sim_mix(hash, (uint64_t)kind << 8 | (uint64_t)(host ? host->index + 1 : 0));
    sim->hash = pi_sim_mix(hash, (uint64_t)len);
    if (sim->opts.trace) {
        va_list args;
        va_start(args, fmt);
        print(sim, kind, host, fmt, args);
        va_end(args);
    }
    look_at_limits(sim);
}

void pi_sim_log(int level, const char *msg, const struct pier_log_field *fields, size_t count)
{
    static const char *const levels[] = { "error", "warn", "info", "debug" };
    char line[512];
    size_t len = 0;
    for (size_t i = 0; pi_sim->opts.trace && i < count && len < sizeof line; i++) {
        const struct pier_log_field *f = &fields[i];
        int n = f->kind == PIER_LOG_INT
                    ? snprintf(line + len, sizeof line - len, " %s=%" PRId64, f->key, f->num)
                    : snprintf(line + len, sizeof line - len, " %s=\"%.*s\"", f->key, (int)f->len,
                               f->str);
        len += n > 0 ? (size_t)n : 0;
    }
    pi_sim_event(SIM_EV_LOG, pi_sim_here(), level, "%s: %s%s", levels[level & 3], msg,
                 len ? line : "");
}

const char *pi_sim_addr_text(char out[128], const struct sim_addr *addr)
{
    char host[INET6_ADDRSTRLEN] = "";
    switch (addr->any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &addr->in.sin_addr, host, sizeof host);
        snprintf(out, 128, "%s:%d", host, ntohs(addr->in.sin_port));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &addr->in6.sin6_addr, host, sizeof host);
        snprintf(out, 128, "[%s]:%d", host, ntohs(addr->in6.sin6_port));
        break;
    default: {
        size_t len = addr->len > offsetof(struct sockaddr_un, sun_path)
                         ? addr->len - offsetof(struct sockaddr_un, sun_path)
                         : 0;
        bool is_abstract = len > 0 && addr->un.sun_path[0] == '\0';
        snprintf(out, 128, "%s%.*s",
                 len == 0      ? "unix"
                 : is_abstract ? "@"
                               : "",
                 len ? (int)len - is_abstract : 0, addr->un.sun_path + is_abstract);
    }
    }
    return out;
}

void pier_sim_note(const char *fmt, ...)
{
    char text[256] = "";
    if (!pi_sim)
        return;
    if (pi_sim->opts.trace) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
    }
    pi_sim_event(SIM_EV_NOTE, pi_sim_here(), 0, "%s", text);
}

int64_t pier_sim_events(void)
{
    return pi_sim ? pi_sim->events : 0;
}

void pier_sim_cancel_after(struct pier_scope *scope, int64_t events)
{
    if (!pi_sim)
        return;
    pi_sim->cancel_scope = scope;
    pi_sim->cancel_at = scope ? pi_sim->events + (events > 0 ? events : 1) : 0;
}
