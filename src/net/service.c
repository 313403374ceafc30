/* SPDX-License-Identifier: MIT */
/*
 * net/service.c - names of services and their ports: the system's table, and under it a small one
 * of our own, so that http is 80 where /etc/services is missing, too.
 *
 * The system's may come from a file or from a directory service (nsswitch.conf(5)): it is asked on
 * an offload thread. A simulation knows our own alone. Names are the same in capitals (RFC 6335,
 * 5.1).
 */
#define _GNU_SOURCE
#include "base/err.h"
#include "task/offload.h"
#include "task/sockets.h"

#include <pier/net.h>
#include <pier/text.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <netdb.h>
#include <string.h>

enum {
    TIMEOUT_MS = 10 * 1000,
    PORT_MAX = 65535,
    SERVICE_CAP = 64,   /* RFC 6335 allows 15 bytes; real tables have longer ones */
    ENTRY_BYTES = 4096, /* an entry with its aliases */
    WHAT_CAP = 160,
};

/* ---- our own table ---- */

enum { TCP = 1, UDP = 2 };

/* An alias stands behind the name that its port is to have. */
static const struct {
    const char *name;
    int port, protocols;
} own[] = {
    { "ftp-data", 20, TCP },     { "ftp", 21, TCP },          { "ssh", 22, TCP },
    { "telnet", 23, TCP },       { "smtp", 25, TCP },         { "domain", 53, TCP | UDP },
    { "dns", 53, TCP | UDP },    { "bootps", 67, UDP },       { "bootpc", 68, UDP },
    { "tftp", 69, UDP },         { "http", 80, TCP },         { "kerberos", 88, TCP | UDP },
    { "pop3", 110, TCP },        { "nntp", 119, TCP },        { "ntp", 123, UDP },
    { "imap", 143, TCP },        { "snmp", 161, TCP | UDP },  { "ldap", 389, TCP | UDP },
    { "https", 443, TCP | UDP }, { "submissions", 465, TCP }, { "syslog", 514, UDP },
    { "submission", 587, TCP },  { "ldaps", 636, TCP | UDP }, { "rsync", 873, TCP },
    { "imaps", 993, TCP },       { "pop3s", 995, TCP },       { "mqtt", 1883, TCP },
    { "mysql", 3306, TCP },      { "sip", 5060, TCP | UDP },  { "postgresql", 5432, TCP },
    { "amqp", 5672, TCP | UDP }, { "redis", 6379, TCP },
};

/* A question and its answer. */
struct service {
    char name[SERVICE_CAP]; /* "": that of the port is asked for */
    char protocol[8];       /* "": any */
    int port;               /* -1: that of the name is asked for */
    int error;
};

static bool speaks(int protocols, const char *protocol)
{
    return protocol[0] == '\0' || (protocols & (strcmp(protocol, "tcp") == 0   ? TCP
                                                : strcmp(protocol, "udp") == 0 ? UDP
                                                                               : 0));
}

static bool find_own(struct service *s)
{
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        bool fits = s->port < 0 ? strcmp(own[i].name, s->name) == 0 : own[i].port == s->port;
        if (!fits || !speaks(own[i].protocols, s->protocol))
            continue;
        snprintf(s->name, sizeof s->name, "%s", own[i].name);
        s->port = own[i].port;
        return true;
    }
    return false;
}

/* ---- the system's ---- */

static int find_system(struct service *s)
{
    char buf[ENTRY_BYTES];
    struct servent entry, *found = NULL;
    const char *protocol = s->protocol[0] ? s->protocol : NULL;
    int error = s->port < 0 ? getservbyname_r(s->name, protocol, &entry, buf, sizeof buf, &found)
                            : getservbyport_r(htons((uint16_t)s->port), protocol, &entry, buf,
                                              sizeof buf, &found);
    if (error || !found)
        return error ? -error : -ENOENT;
    snprintf(s->name, sizeof s->name, "%s", found->s_name);
    s->port = ntohs((uint16_t)found->s_port);
    return 0;
}

static int look_up(void *arg)
{
    struct service *s = arg;
    char asked[SERVICE_CAP];
    snprintf(asked, sizeof asked, "%s", s->name);
    s->error = find_system(s);
    for (char *at = s->name; s->error < 0 && *at; at++)
        *at = (char)tolower((unsigned char)*at);
    if (s->error < 0 && strcmp(asked, s->name) != 0)
        s->error = find_system(s);
    if (s->error < 0 && find_own(s))
        s->error = 0;
    return 0;
}

static void free_lookup(void *arg)
{
    pi_free(arg);
}

static int look_up_simulated(struct service *s)
{
    for (char *at = s->name; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    s->error = find_own(s) ? 0 : -ENOENT;
    return 0;
}

/* The answer, for pi_free(), or NULL after pi_fail(). Waits. */
static struct service *ask(const struct service *question, const char *what)
{
    struct service *s = pi_alloc(sizeof *s);
    if (!s) {
        pi_fail(-ENOMEM, "%s", what);
        return NULL;
    }
    *s = *question;
    int64_t deadline_ns = pier_after(TIMEOUT_MS * PIER_MILLISECOND);
    int rc = io_is_simulated()
                 ? look_up_simulated(s)
                 : pi_offload_abandon(IO_OFFLOAD, NULL, look_up, s, free_lookup, deadline_ns);
    if (rc < 0) {
        pi_fail(rc, "%s", what);
        return NULL;
    }
    if (s->error == 0)
        return s;
    if (s->error == -ENOMEM || s->error == -EMFILE || s->error == -ENFILE)
        pi_fail(s->error, "%s", what);
    else
        pi_fail_text(PIER_ERESOLVE, "%s: unknown", what);
    pi_free(s);
    return NULL;
}

/* ---- public ---- */

static int set_protocol(struct service *s, const char *protocol, const char *what)
{
    if (protocol && strlen(protocol) >= sizeof s->protocol)
        return pi_fail_text(-EINVAL, "%s: there is no such protocol", what);
    snprintf(s->protocol, sizeof s->protocol, "%s", protocol ? protocol : "");
    return 0;
}

/* "service NAME" or "service NAME/PROTOCOL", printable. */
static void describe(char out[WHAT_CAP], const char *name, const char *protocol)
{
    char shown[SERVICE_CAP], over[16] = "";
    pier_escape(shown, sizeof shown, name, strlen(name));
    if (protocol)
        pier_escape(over, sizeof over, protocol, strlen(protocol));
    snprintf(out, WHAT_CAP, "service %s%s%s", shown, protocol ? "/" : "", over);
}

static int parse_port(const char *digits)
{
    int port = 0;
    for (const char *at = digits; *at; at++) {
        port = port * 10 + (*at - '0');
        if (port > PORT_MAX)
            return pi_fail_text(-EINVAL, "port %.20s: at most %d", digits, PORT_MAX);
    }
    return port;
}

int pier_service_port(const char *service, const char *protocol)
{
    char what[WHAT_CAP];
    struct service question = { .port = -1 };
    describe(what, service, protocol);
    size_t len = strlen(service);
    if (len > 0 && strspn(service, "0123456789") == len)
        return parse_port(service);
    int rc = set_protocol(&question, protocol, what);
    if (rc < 0)
        return rc;
    if (len == 0 || len >= sizeof question.name)
        return pi_fail_text(PIER_ERESOLVE, "%s: unknown", what);
    memcpy(question.name, service, len + 1);
    struct service *answer = ask(&question, what);
    if (!answer)
        return pier_error_code();
    int port = answer->port;
    pi_free(answer);
    return port;
}

int pier_service_name(char *name, size_t cap, int port, const char *protocol)
{
    char what[WHAT_CAP], number[16];
    struct service question = { .port = port };
    snprintf(number, sizeof number, "%d", port);
    describe(what, number, protocol);
    if (port < 0 || port > PORT_MAX)
        return pi_fail_text(-EINVAL, "port %d: not from 0 to %d", port, PORT_MAX);
    int rc = set_protocol(&question, protocol, what);
    if (rc < 0)
        return rc;
    struct service *answer = ask(&question, what);
    if (!answer)
        return pier_error_code();
    if (strlen(answer->name) < cap)
        memcpy(name, answer->name, strlen(answer->name) + 1);
    else
        rc = pi_fail(-ENAMETOOLONG, "%s", what);
    pi_free(answer);
    return rc;
}
