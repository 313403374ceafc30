/* SPDX-License-Identifier: MIT */
/*
 * scan.c - `pier scan`: which TCP ports of one host accept connections.
 *
 * A few tasks connect side by side, no faster than --rate, and close at once; each port is tried
 * once. What is found is printed in the order of the ports, a port as soon as all before it are
 * known. Nothing is scanned but one address: the one that is named, or one of the name's.
 */
#include "verb.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PORTS = 65536,
    AT_ONCE = 100,
    AT_ONCE_MAX = 5000,
    RATE = 500,
    RATE_MAX = 100000,
    SHORT_PAUSE_MS = 50, /* before the next try for a descriptor, or a local port */
    SHORT_TRIES = 200,
    SHOW_EVERY_MS = 200,
    SERVICE_CAP = 64,
    URL_CAP = PIER_IP_CAP + 32,
};

enum state { NOT_ASKED, ASKED, OPEN, CLOSED, SILENT, UNREACHABLE };

static const char *const state_names[] = { [OPEN] = "open",
                                           [CLOSED] = "closed",
                                           [SILENT] = "silent",
                                           [UNREACHABLE] = "unreachable" };

static struct {
    bool ipv4, ipv6, all, json;
    int64_t rate, parallel, timeout;
} given = { .rate = RATE, .parallel = AT_ONCE, .timeout = PIER_SECOND };

static struct {
    const char *host;
    struct pier_ip ip;
    unsigned char states[PORTS];
    int next, shown; /* ports: to be tried, to be printed */
    int asked, known;
    int counts[UNREACHABLE + 1];
    int64_t next_start_ns;
    bool ended;
} scan;

/* ---- the ports ---- */

/* A number or a service's name, len bytes. A port, or a negative code with words. */
static int read_port(const char *text, size_t len)
{
    char name[SERVICE_CAP];
    if (len == 0 || len >= sizeof name)
        return pier_error_set(-EINVAL, "ports '%.*s'", (int)len, text);
    memcpy(name, text, len);
    name[len] = '\0';
    int port = pier_service_port(name, "tcp");
    return port == 0 ? pier_error_set(-EINVAL, "port 0") : port;
}

/* "80", "https" or "8000-8100", len bytes. 0 or a negative code with words. */
static int read_range(const char *text, size_t len)
{
    size_t digits = strspn(text, "0123456789");
    bool is_range = digits > 0 && digits < len && text[digits] == '-';
    int first = read_port(text, is_range ? digits : len);
    int last = is_range && first > 0 ? read_port(text + digits + 1, len - digits - 1) : first;
    if (first < 0 || last < 0)
        return first < 0 ? first : last;
    if (last < first)
        return pier_error_set(-EINVAL, "ports '%.*s'", (int)len, text);
    for (int port = first; port <= last; port++) {
        scan.asked += scan.states[port] == NOT_ASKED;
        scan.states[port] = ASKED;
    }
    return 0;
}

static int read_ports(const char *text)
{
    for (;;) {
        size_t len = strcspn(text, ",");
        int rc = read_range(text, len);
        if (rc < 0 || text[len] == '\0')
            return rc;
        text += len + 1;
    }
}

/* ---- printing ---- */

static void print_json(int port, const char *service)
{
    char buf[256];
    struct pier_json w;
    pier_json_init(&w, buf, sizeof buf, output_json, NULL);
    pier_json_object(&w);
    pier_json_key(&w, "host");
    pier_json_str(&w, scan.host);
    pier_json_key(&w, "address");
    pier_json_str(&w, scan.ip.text);
    pier_json_key(&w, "port");
    pier_json_int(&w, port);
    pier_json_key(&w, "state");
    pier_json_str(&w, state_names[scan.states[port]]);
    pier_json_key(&w, "service");
    pier_json_str(&w, *service != '\0' ? service : NULL);
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    pier_json_end(&w);
}

static void print_port(int port)
{
    char service[SERVICE_CAP];
    if (pier_service_name(service, sizeof service, port, "tcp") < 0)
        service[0] = '\0';
    if (given.json)
        print_json(port, service);
    else
        printf("%d/tcp%s%s%s%s\n", port, given.all ? " " : "",
               given.all ? state_names[scan.states[port]] : "", *service != '\0' ? " " : "",
               service);
    output_flush();
}

/* Those of which all before are known, too. One task at a time: a name may have to be waited for.
 */
static void print_known(void)
{
    static bool busy;
    if (busy)
        return;
    busy = true;
    while (scan.shown < PORTS && scan.states[scan.shown] != ASKED) {
        int port = scan.shown++;
        if (scan.states[port] == OPEN || (given.all && scan.states[port] != NOT_ASKED))
            print_port(port);
    }
    busy = false;
}

/* A line that is written over again, on a terminal. */
static int show_progress(void *arg)
{
    static const char clear[] = "\r\033[K";
    int rc = 0;
    while (rc == 0 && !scan.ended) {
        fprintf(stderr, "%s%d of %d ports, %d open", clear, scan.known, scan.asked,
                scan.counts[OPEN]);
        rc = pier_sleep(SHOW_EVERY_MS * PIER_MILLISECOND);
    }
    fputs(clear, stderr);
    return 0;
}

/* ---- asking ---- */

/* Waits for this connection's turn, so that no more than --rate begin in a second. */
static int await_turn(void)
{
    int64_t now = pier_now();
    int64_t start = scan.next_start_ns > now ? scan.next_start_ns : now;
    scan.next_start_ns = start + PIER_SECOND / given.rate;
    return start > now ? pier_sleep(start - now) : pier_cancelled();
}

/* What is short here, and comes back when other connections have ended. */
static bool is_short(int code)
{
    return code == -EMFILE || code == -ENFILE || code == -ENOMEM || code == -ENOBUFS ||
           code == -EADDRNOTAVAIL || code == -EAGAIN;
}

static int dial(int port)
{
    char url[URL_CAP];
    bool is_v6 = scan.ip.version == 6;
    snprintf(url, sizeof url, "tcp://%s%s%s:%d", is_v6 ? "[" : "", scan.ip.text, is_v6 ? "]" : "",
             port);
    struct pier_conn *c = pier_dial(
        url, &(struct pier_dial_opts){ .connect_timeout_ms = duration_ms(given.timeout) });
    pier_close(c);
    return c != NULL ? 0 : pier_error_code();
}

/* The state of a port, or a negative code. */
static int ask(int port)
{
    int rc = dial(port);
    for (int tries = 0; is_short(rc) && tries < SHORT_TRIES; tries++) {
        int slept = pier_sleep(SHORT_PAUSE_MS * PIER_MILLISECOND);
        rc = slept < 0 ? slept : dial(port);
    }
    switch (rc) {
    case 0:
        return OPEN;
    case -ECONNREFUSED:
    case -ECONNRESET:
        return CLOSED;
    case -ETIMEDOUT:
        return SILENT;
    case -EHOSTUNREACH:
    case -ENETUNREACH:
    case -EHOSTDOWN:
    case -ENETDOWN:
    case -EACCES:
    case -EPERM:
        return UNREACHABLE;
    default:
        return rc;
    }
}

/* One of a few: takes the next port until there is none. */
static int ask_on(void *arg)
{
    for (;;) {
        while (scan.next < PORTS && scan.states[scan.next] != ASKED)
            scan.next++;
        if (scan.next == PORTS)
            return 0;
        int port = scan.next++;
        int rc = await_turn();
        if (rc == 0)
            rc = ask(port);
        if (rc < 0)
            return rc;
        scan.states[port] = (unsigned char)rc;
        scan.counts[rc]++;
        scan.known++;
        print_known();
    }
}

static int ask_all(void)
{
    struct pier_scope scope, progress;
    pier_scope_open(&progress, 0);
    if (isatty(STDERR_FILENO))
        pier_spawn(&progress, show_progress, NULL);
    pier_scope_open(&scope, 0);
    for (int i = 0; i < given.parallel && i < scan.asked; i++)
        pier_spawn(&scope, ask_on, NULL);
    int rc = pier_scope_join(&scope);
    scan.ended = true;
    pier_scope_cancel(&progress);
    pier_scope_join(&progress);
    print_known(); /* what came while another one was being printed */
    return rc;
}

static void say_result(int64_t took_ns)
{
    fprintf(stderr, "%s (%s): %d open, %d closed, %d silent", scan.host, scan.ip.text,
            scan.counts[OPEN], scan.counts[CLOSED], scan.counts[SILENT]);
    if (scan.counts[UNREACHABLE] > 0)
        fprintf(stderr, ", %d unreachable", scan.counts[UNREACHABLE]);
    fprintf(stderr, "; %d port%s in %.1f s\n", scan.known, scan.known == 1 ? "" : "s",
            (double)took_ns / PIER_SECOND);
}

/* As pier_fail() would for a connection. */
static int exit_code(void)
{
    enum { NOTHING_ACCEPTS = 4, NOTHING_ANSWERS = 6 };
    if (scan.counts[OPEN] > 0)
        return EXIT_OK;
    return scan.counts[SILENT] == scan.known ? NOTHING_ANSWERS : NOTHING_ACCEPTS;
}

/* Of a name with addresses of both versions an IPv4 one: most services listen there. */
static int resolve(void)
{
    struct pier_resolve_opts opts = { .version = given.ipv6 ? 6 : 4 };
    int rc = pier_resolve(&scan.ip, 1, scan.host, &opts);
    if (rc >= 0 || given.ipv4 || given.ipv6)
        return rc;
    opts.version = 0;
    return pier_resolve(&scan.ip, 1, scan.host, &opts);
}

static int run_scan(int count, char **operands)
{
    if (given.ipv4 && given.ipv6)
        return usage_error(&verb_scan, "--ipv4 and --ipv6 exclude each other");
    if (read_ports(operands[1]) < 0) {
        int code = pier_exit_code();
        return code == 3 ? pier_fail("pier") : usage_error(&verb_scan, "%s", pier_error());
    }
    scan.host = operands[0];
    if (resolve() < 0)
        return pier_fail("pier");
    int64_t start = pier_now();
    int rc = ask_all();
    say_result(pier_now() - start);
    if (rc < 0)
        return pier_fail("pier");
    int written = output_finish();
    return written != EXIT_OK ? written : exit_code();
}

static const struct verb_option options[] = {
    { "ipv4", OPTION_FLAG, &given.ipv4, .letter = '4',
      .help = "an IPv4 address of the host (default, if it has one)" },
    { "ipv6", OPTION_FLAG, &given.ipv6, .letter = '6', .help = "an IPv6 address of the host" },
    { "all", OPTION_FLAG, &given.all,
      .help = "print ports that are not open, too, and what they are" },
    { "rate", OPTION_COUNT, &given.rate, .value = "N", .min = 1, .max = RATE_MAX,
      .help = "connections begun in a second, at most (default 500)" },
    { "parallel", OPTION_COUNT, &given.parallel, .value = "N", .min = 1, .max = AT_ONCE_MAX,
      .help = "connections under way at once, at most (default 100)" },
    { "timeout", OPTION_DURATION, &given.timeout, .value = "D", .min = PIER_MILLISECOND,
      .help = "how long a port may stay silent (default 1s)" },
    { "json", OPTION_FLAG, &given.json, .help = "print a JSON object a line, one for each port" },
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier scan localhost 1-1023", "the well-known ports of this host that are open" },
    { "pier scan db1 ssh,postgresql,9100", "three ports, two of them by name" },
    { "pier scan --all --json 192.0.2.7 80,443", "what each of the two is, for a script" },
    { "pier scan --rate 20 --timeout 3s 192.0.2.7 8000-8100", "slowly, through a slow network" },
    { 0 },
};

const struct verb verb_scan = {
    .name = "scan",
    .summary = "print which TCP ports of a host are open",
    .operands = "HOST PORTS",
    .min_operands = 2,
    .max_operands = 2,
    .details = "PORTS are numbers, ranges and names of services: 22,80,8000-8100,https. A line "
               "\"PORT/tcp SERVICE\" for each that is open. Scan only hosts whose owners agree.",
    .options = options,
    .examples = examples,
    .run = run_scan,
};
