/* SPDX-License-Identifier: MIT */
/*
 * resolve.c - `pier resolve`: the addresses of names, the names of addresses, or records of the
 * DNS.
 *
 * Several names are looked up side by side, a few at a time, and printed in the order in which they
 * were given, each as soon as all before it are there. A name that fails is told on standard error
 * and does not keep the others back.
 */
#include "verb.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    AT_ONCE = 1000, /* a task each */
    ADDRS_MAX = 16, /* that the library gives */
    STEPS_MAX = 40, /* of a trace; more are left out */
    STEP_CAP = 200,
    ROOM_BYTES = 256, /* of the JSON writer's buffer */
};

static struct {
    bool ipv4, ipv6, reverse, json, trace;
    const char *type, *server;
    int64_t timeout;
} given = { .timeout = 10 * PIER_SECOND };

static const struct {
    const char *name;
    enum pier_dns_type type;
} types[] = {
    { "A", PIER_DNS_A },         { "AAAA", PIER_DNS_AAAA }, { "CAA", PIER_DNS_CAA },
    { "CNAME", PIER_DNS_CNAME }, { "MX", PIER_DNS_MX },     { "NS", PIER_DNS_NS },
    { "PTR", PIER_DNS_PTR },     { "SRV", PIER_DNS_SRV },   { "TXT", PIER_DNS_TXT },
};

struct step {
    int64_t ns;
    char text[STEP_CAP];
};

struct answer {
    const char *asked;
    bool done;
    int rc; /* how many addresses; of a reverse look-up 0; a negative code */
    int exit_code;
    struct pier_ip ips[ADDRS_MAX];
    struct pier_dns_record *records; /* with --type, rc of them */
    struct step *steps;              /* with --trace */
    int step_count;
    char text[600]; /* a name, or what went wrong */
};

static struct {
    struct answer *answers;
    int count, started, printed;
    int exit_code; /* of the first failure */
    enum pier_dns_type type;
} run;

/* ---- printing ---- */

/* The words behind "resolve NAME: ". */
static const char *reason(const struct answer *a)
{
    const char *colon = strstr(a->text, ": ");
    return colon != NULL ? colon + 2 : a->text;
}

static void json_int(struct pier_json *w, const char *key, int64_t value)
{
    pier_json_key(w, key);
    pier_json_int(w, value);
}

/* What is there of it: any bytes. */
static size_t text_len(const struct pier_dns_record *r)
{
    return r->len < sizeof r->text ? r->len : sizeof r->text - 1;
}

static void json_record(struct pier_json *w, const struct pier_dns_record *r)
{
    pier_json_object(w);
    json_int(w, "ttl", r->ttl_s);
    if (r->type == PIER_DNS_MX || r->type == PIER_DNS_SRV)
        json_int(w, "priority", r->priority);
    if (r->type == PIER_DNS_SRV) {
        json_int(w, "weight", r->weight);
        json_int(w, "port", r->port);
    }
    if (r->type == PIER_DNS_CAA) {
        json_int(w, "flags", r->flags);
        pier_json_key(w, "tag");
        pier_json_str(w, r->tag);
    }
    pier_json_key(w, "text");
    pier_json_strn(w, r->text, text_len(r));
    pier_json_close(w);
}

static void json_steps(struct pier_json *w, const struct answer *a)
{
    pier_json_key(w, "trace");
    pier_json_array(w);
    for (int i = 0; i < a->step_count; i++) {
        pier_json_object(w);
        json_int(w, "us", a->steps[i].ns / PIER_MICROSECOND);
        pier_json_key(w, "step");
        pier_json_str(w, a->steps[i].text);
        pier_json_close(w);
    }
    pier_json_close(w);
}

static void json_answer(struct pier_json *w, const struct answer *a)
{
    if (given.type) {
        pier_json_key(w, "type");
        pier_json_str(w, given.type);
    }
    pier_json_key(w, given.type ? "records" : given.reverse ? "name" : "addresses");
    if (given.reverse && !given.type) {
        pier_json_str(w, a->rc == 0 ? a->text : NULL);
        return;
    }
    pier_json_array(w);
    for (int i = 0; i < a->rc; i++) {
        if (given.type)
            json_record(w, &a->records[i]);
        else
            pier_json_str(w, a->ips[i].text);
    }
    pier_json_close(w);
}

static void print_json(const struct answer *a)
{
    char buf[ROOM_BYTES];
    struct pier_json w;
    pier_json_init(&w, buf, sizeof buf, output_json, NULL);
    pier_json_object(&w);
    pier_json_key(&w, given.reverse ? "address" : "name");
    pier_json_str(&w, a->asked);
    json_answer(&w, a);
    if (a->rc < 0) {
        pier_json_key(&w, "error");
        pier_json_str(&w, reason(a));
    }
    if (given.trace)
        json_steps(&w, a);
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    pier_json_end(&w);
}

/* A record as zone files have it, what may hold any byte with escapes. */
static const char *record_text(const struct pier_dns_record *r)
{
    static char line[4 * PIER_DNS_TEXT + 128];
    char text[4 * PIER_DNS_TEXT], tag[4 * sizeof r->tag];
    pier_escape(text, sizeof text, r->text, text_len(r));
    pier_escape(tag, sizeof tag, r->tag, strlen(r->tag));
    if (r->type == PIER_DNS_MX)
        snprintf(line, sizeof line, "%d %s", r->priority, text);
    else if (r->type == PIER_DNS_SRV)
        snprintf(line, sizeof line, "%d %d %d %s", r->priority, r->weight, r->port, text);
    else if (r->type == PIER_DNS_CAA)
        snprintf(line, sizeof line, "%d %s %s", r->flags, tag, text);
    else
        snprintf(line, sizeof line, "%s", text);
    return line;
}

static void print_steps(const struct answer *a)
{
    for (int i = 0; i < a->step_count; i++)
        fprintf(stderr, "pier: %s: %9.3f ms  %s\n", a->asked, (double)a->steps[i].ns / 1e6,
                a->steps[i].text);
}

/* One address is one line; where several were asked for, it begins with what it answers. */
static void print_line(const struct answer *a, const char *text)
{
    if (run.count > 1)
        printf("%s ", a->asked);
    puts(text);
}

static void print_answer(const struct answer *a)
{
    if (!given.json)
        print_steps(a);
    if (a->rc < 0) {
        fprintf(stderr, "pier: %s\n", a->text);
        if (run.exit_code == EXIT_OK)
            run.exit_code = a->exit_code;
    }
    if (given.json)
        print_json(a);
    else if (given.reverse && !given.type && a->rc == 0)
        print_line(a, a->text);
    for (int i = 0; !given.json && i < a->rc; i++)
        print_line(a, given.type ? record_text(&a->records[i]) : a->ips[i].text);
    output_flush();
}

/* ---- asking ---- */

static void keep_step(void *arg, int64_t elapsed_ns, const char *line)
{
    struct answer *a = arg;
    if (a->step_count == STEPS_MAX)
        return;
    struct step *s = &a->steps[a->step_count++];
    s->ns = elapsed_ns;
    pier_escape(s->text, sizeof s->text, line, strlen(line));
}

/* Room for what only some options need. False without memory. */
static bool make_room(struct answer *a)
{
    if (given.type)
        a->records = calloc(PIER_DNS_RECORDS_MAX, sizeof *a->records);
    if (given.trace)
        a->steps = calloc(STEPS_MAX, sizeof *a->steps);
    return (a->records || !given.type) && (a->steps || !given.trace);
}

static void free_room(struct answer *a)
{
    free(a->records);
    free(a->steps);
    a->records = NULL;
    a->steps = NULL;
}

static void ask(struct answer *a)
{
    const struct pier_resolve_opts opts = {
        .version = given.ipv4   ? 4
                   : given.ipv6 ? 6
                                : 0,
        .timeout_ms = duration_ms(given.timeout),
        .servers = given.server,
        .trace = given.trace ? keep_step : NULL,
        .trace_arg = a,
    };
    if (!make_room(a))
        a->rc = pier_error_set(-ENOMEM, "resolve %s", a->asked);
    else if (given.type)
        a->rc = pier_dns_query(a->records, PIER_DNS_RECORDS_MAX, a->asked, run.type, &opts);
    else if (given.reverse)
        a->rc = pier_reverse(a->text, sizeof a->text, a->asked, &opts);
    else
        a->rc = pier_resolve(a->ips, ADDRS_MAX, a->asked, &opts);
    if (a->rc < 0) {
        snprintf(a->text, sizeof a->text, "%s", pier_error());
        a->exit_code = pier_exit_code();
    }
    a->done = true;
}

/* One of a few: takes the next name until there is none. */
static int ask_on(void *arg)
{
    while (run.started < run.count) {
        ask(&run.answers[run.started++]);
        while (run.printed < run.count && run.answers[run.printed].done) {
            struct answer *a = &run.answers[run.printed++];
            print_answer(a);
            free_room(a);
        }
    }
    return 0;
}

static int ask_all(void)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < AT_ONCE && i < run.count; i++)
        pier_spawn(&scope, ask_on, NULL);
    return pier_scope_join(&scope);
}

/* Whether given.type is one; run.type is it. */
static bool find_type(void)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcasecmp(types[i].name, given.type) == 0) {
            given.type = types[i].name;
            run.type = types[i].type;
            return true;
        }
    return false;
}

static int run_resolve(int count, char **operands)
{
    if (given.ipv4 && given.ipv6)
        return usage_error(&verb_resolve, "--ipv4 and --ipv6 exclude each other");
    if (given.type && (given.ipv4 || given.ipv6 || given.reverse))
        return usage_error(
            &verb_resolve,
            "--type excludes --ipv4, --ipv6 and --reverse: A, AAAA and PTR are types");
    if (given.type && !find_type())
        return usage_error(&verb_resolve,
                           "--type %s: not one of A, AAAA, CAA, CNAME, MX, NS, PTR, "
                           "SRV, TXT",
                           given.type);
    run.answers = calloc((size_t)count, sizeof *run.answers);
    if (run.answers == NULL) {
        pier_error_set(-ENOMEM, "resolve");
        return pier_fail("pier");
    }
    run.count = count;
    for (int i = 0; i < count; i++)
        run.answers[i].asked = operands[i];
    int rc = ask_all();
    free(run.answers);
    if (rc < 0)
        return pier_fail("pier");
    int code = output_finish();
    return run.exit_code != EXIT_OK ? run.exit_code : code;
}

static const struct verb_option options[] = {
    { "ipv4", OPTION_FLAG, &given.ipv4, .letter = '4', .help = "IPv4 addresses only" },
    { "ipv6", OPTION_FLAG, &given.ipv6, .letter = '6', .help = "IPv6 addresses only" },
    { "reverse", OPTION_FLAG, &given.reverse, .help = "the operands are addresses: print names" },
    { "type", OPTION_TEXT, &given.type, .value = "TYPE",
      .help = "print records of the DNS: A, AAAA, CAA, CNAME, MX, NS, PTR, SRV or TXT" },
    { "server", OPTION_TEXT, &given.server, .value = "ADDR",
      .help = "ask this name server, IP or IP:PORT, or several with commas between them" },
    { "trace", OPTION_FLAG, &given.trace, .help = "tell each step and its time on standard error" },
    { "json", OPTION_FLAG, &given.json,
      .help = "print a JSON object a line, one for each operand" },
    { "timeout", OPTION_DURATION, &given.timeout, .value = "D", .min = PIER_MILLISECOND,
      .help = "the longest wait for each answer (default 10s)" },
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier resolve localhost", "each address on a line, the one to try first at the top" },
    { "pier resolve -4 db1 db2 db3", "three names at once: a line \"NAME ADDRESS\" for each" },
    { "pier resolve --reverse 127.0.0.1", "the name of an address" },
    { "pier resolve --type MX --server 9.9.9.9 example.org",
      "its mail servers, by a name server of one's choice" },
    { "pier resolve --json localhost | jq -r '.addresses[]'", "the same, for a script" },
    { 0 },
};

const struct verb verb_resolve = {
    .name = "resolve",
    .summary = "print the addresses of names, the names of addresses, or DNS records",
    .operands = "NAME...",
    .min_operands = 1,
    .max_operands = -1,
    .details = "A line for each address; with several operands it begins with the operand and a "
               "space.",
    .options = options,
    .examples = examples,
    .run = run_resolve,
};
