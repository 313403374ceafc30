/* SPDX-License-Identifier: MIT */
/*
 * check.c - `pier check`: are these servers there, how long does each step to them take, and how
 * long are their certificates good? Once, or again and again.
 *
 * All URLs are looked at side by side, in rounds that begin --every D; a round ends before the next
 * one begins. What a look is is probe.c's.
 */
#include "probe.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KEPT = 40, DAY_S = 86400, EXIT_STATUS = 7, EXIT_TLS = 5, MOST_ROUNDS = 1000000000 };

static struct {
    int64_t every, count, timeout, min_days;
    const char *text;
    bool json;
} given = { .timeout = 10 * PIER_SECOND };

/* A URL, its latest look, and what is kept of the earlier ones. */
struct watched {
    struct probe_target target;
    struct probe_result result;
    int64_t totals[KEPT]; /* ns, the latest last; -1: failed */
    int kept, looks, failures;
    int64_t least, most, sum;
};

static struct {
    struct watched *urls;
    int count, width;
    struct probe_opts opts;
    int exit_code; /* of the first failure */
    bool is_terminal;
} run;

static int64_t unix_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * PIER_SECOND + now.tv_nsec;
}

static int64_t days_left(const struct probe_result *r)
{
    int64_t left = r->cert_expires - unix_now() / PIER_SECOND;
    return left < 0 ? (left - DAY_S + 1) / DAY_S : left / DAY_S;
}

/* What is no failure of the connection, but of what was found. */
static void judge(struct probe_result *r)
{
    if (r->code < 0)
        return;
    if (r->status >= 400) {
        r->code = PIER_EPROTO;
        r->exit_code = EXIT_STATUS;
        snprintf(r->words, sizeof r->words, "status %d", r->status);
    } else if (r->has_cert && given.min_days > 0 && days_left(r) < given.min_days) {
        r->code = PIER_ETLS;
        r->exit_code = EXIT_TLS;
        snprintf(r->words, sizeof r->words, "the certificate is good for %lld days more",
                 (long long)days_left(r));
    }
}

static void keep(struct watched *w)
{
    const struct probe_result *r = &w->result;
    if (w->kept == KEPT)
        memmove(w->totals, w->totals + 1, (KEPT - 1) * sizeof w->totals[0]);
    else
        w->kept++;
    w->totals[w->kept - 1] = r->code < 0 ? -1 : r->total;
    w->looks++;
    if (r->code < 0) {
        w->failures++;
        return;
    }
    w->sum += r->total;
    if (w->least == 0 || r->total < w->least)
        w->least = r->total;
    if (r->total > w->most)
        w->most = r->total;
}

/* ---- printing ---- */

static void json_time(struct pier_json *w, const char *key, int64_t ns)
{
    if (ns < 0)
        return;
    pier_json_key(w, key);
    pier_json_double(w, (double)(ns / 1000) / 1000);
}

static void json_count(struct pier_json *w, const char *key, int64_t value)
{
    if (value < 0)
        return;
    pier_json_key(w, key);
    pier_json_int(w, value);
}

static void print_json(const struct watched *u)
{
    const struct probe_result *r = &u->result;
    char buf[512], date[32];
    struct pier_json w;
    pier_date_rfc3339(date, sizeof date, unix_now(), true);
    pier_json_init(&w, buf, sizeof buf, output_json, NULL);
    pier_json_object(&w);
    pier_json_key(&w, "time");
    pier_json_str(&w, date);
    pier_json_key(&w, "url");
    pier_json_str(&w, u->target.url);
    pier_json_key(&w, "ok");
    pier_json_bool(&w, r->code == 0);
    if (r->address[0] != '\0') {
        pier_json_key(&w, "address");
        pier_json_str(&w, r->address);
    }
    if (r->status != 0)
        json_count(&w, "status", r->status);
    json_time(&w, "resolve_ms", r->resolve);
    json_time(&w, "connect_ms", r->connect);
    json_time(&w, "tls_ms", r->tls);
    json_time(&w, "first_byte_ms", r->first_byte);
    json_time(&w, "total_ms", r->total);
    if (r->has_cert) {
        pier_json_key(&w, "certificate_days");
        pier_json_int(&w, days_left(r));
    }
    json_count(&w, "rtt_us", r->rtt_us);
    json_count(&w, "retransmits", r->retransmits);
    if (r->code < 0) {
        pier_json_key(&w, "error");
        pier_json_str(&w, r->words);
    }
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    pier_json_end(&w);
}

static void print_time(const char *what, int64_t ns)
{
    if (ns >= 0)
        printf("  %s %.2f ms", what, (double)ns / PIER_MILLISECOND);
}

/* The latest totals as bars, the tallest the slowest; a failure is a cross. */
static void print_sparkline(const struct watched *u)
{
    static const char *const bars[] = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
    int64_t most = 1;
    for (int i = 0; i < u->kept; i++)
        most = u->totals[i] > most ? u->totals[i] : most;
    fputs("  ", stdout);
    for (int i = 0; i < u->kept; i++)
        fputs(u->totals[i] < 0 ? "×" : bars[u->totals[i] * 7 / most], stdout);
}

static void print_line(const struct watched *u)
{
    const struct probe_result *r = &u->result;
    printf("%-*s  %s", run.width, u->target.url, r->code == 0 ? "ok" : "FAILED");
    if (r->status != 0)
        printf(" %d", r->status);
    print_time("resolve", r->resolve);
    print_time("connect", r->connect);
    print_time("tls", r->tls);
    print_time("first byte", r->first_byte);
    print_time("total", r->total);
    if (r->has_cert)
        printf("  certificate %lld days", (long long)days_left(r));
    if (r->rtt_us >= 0)
        printf("  rtt %.2f ms", (double)r->rtt_us / 1000);
    if (r->retransmits > 0)
        printf("  %lld retransmits", (long long)r->retransmits);
    if (run.is_terminal && given.count != 1)
        print_sparkline(u);
    putchar('\n');
    if (r->code < 0) {
        output_flush();
        fprintf(stderr, "pier: %s: %s\n", u->target.url, r->words);
    }
}

/* What several looks came to, on standard error: the results are above. */
static void say_sums(void)
{
    for (int i = 0; i < run.count; i++) {
        const struct watched *u = &run.urls[i];
        int good = u->looks - u->failures;
        if (u->looks < 2)
            continue;
        fprintf(stderr, "%s: %d looks, %d failed", u->target.url, u->looks, u->failures);
        if (good > 0)
            fprintf(stderr, ", total %.1f / %.1f / %.1f ms (least, mean, most)",
                    (double)u->least / PIER_MILLISECOND, (double)u->sum / good / PIER_MILLISECOND,
                    (double)u->most / PIER_MILLISECOND);
        fputc('\n', stderr);
    }
}

/* ---- looking ---- */

static int look_at(void *arg)
{
    struct watched *u = arg;
    probe(&u->result, &u->target, &run.opts);
    judge(&u->result);
    keep(u);
    return 0;
}

/* All URLs, printed in their order when the last one is there. */
static int look_at_all(void)
{
    struct pier_scope scope;
    pier_scope_open(&scope, 0);
    for (int i = 0; i < run.count; i++)
        pier_spawn(&scope, look_at, &run.urls[i]);
    int rc = pier_scope_join(&scope);
    if (rc < 0)
        return rc;
    for (int i = 0; i < run.count; i++) {
        if (run.exit_code == EXIT_OK)
            run.exit_code = run.urls[i].result.exit_code;
        if (given.json)
            print_json(&run.urls[i]);
        else
            print_line(&run.urls[i]);
    }
    output_flush();
    return 0;
}

static int look_on(void)
{
    int64_t next = pier_now();
    int rc = 0;
    for (int64_t round = 0; rc == 0 && round < given.count; round++) {
        int64_t pause = next - pier_now();
        if (round > 0 && pause > 0)
            rc = pier_sleep(pause);
        next = (pause > 0 ? next : pier_now()) + given.every;
        if (rc == 0)
            rc = look_at_all();
    }
    return rc;
}

/* 0, or the exit code of a URL that is none. */
static int parse_urls(char **operands)
{
    for (int i = 0; i < run.count; i++) {
        if (probe_parse(&run.urls[i].target, operands[i]) < 0)
            return usage_error(&verb_check, "%s", pier_error());
        int width = (int)pier_utf8_width(operands[i], strlen(operands[i]));
        run.width = width > run.width ? width : run.width;
    }
    return EXIT_OK;
}

static int run_check(int count, char **operands)
{
    int tls_code;
    run.opts = (struct probe_opts){ given.text, given.timeout,
                                    tls_options(&verb_check, &tls_code) };
    if (tls_code != 0)
        return tls_code;
    if (given.count == 0)
        given.count = given.every > 0 ? MOST_ROUNDS : 1;
    if (given.every == 0)
        given.every = PIER_SECOND;
    run.urls = calloc((size_t)count, sizeof *run.urls);
    if (run.urls == NULL) {
        pier_error_set(-ENOMEM, "check");
        return pier_fail("pier");
    }
    run.count = count;
    run.is_terminal = isatty(STDOUT_FILENO);
    int code = parse_urls(operands);
    if (code == EXIT_OK && look_on() < 0)
        code = pier_fail("pier");
    else if (code == EXIT_OK)
        say_sums();
    free(run.urls);
    int written = output_finish();
    if (code == EXIT_OK)
        code = written;
    return code != EXIT_OK ? code : run.exit_code;
}

static const struct verb_option options[] = {
    { "every", OPTION_DURATION, &given.every, .value = "D", .min = PIER_MILLISECOND,
      .help = "look again and again, a round beginning every D" },
    { "count", OPTION_COUNT, &given.count, .value = "N", .min = 1, .max = MOST_ROUNDS,
      .help = "end after N rounds (default: one; with --every: no end)" },
    { "timeout", OPTION_DURATION, &given.timeout, .value = "D", .min = PIER_MILLISECOND,
      .help = "for all steps of one look (default 10s)" },
    { "send", OPTION_TEXT, &given.text, .value = "TEXT",
      .help = "tcp, tls, udp: send TEXT and wait for a reply (udp: \"ping\" without it)" },
    { "min-days", OPTION_COUNT, &given.min_days, .value = "N", .min = 1, .max = 100000,
      .help = "fail when a certificate is good for less than N days" },
    { "json", OPTION_FLAG, &given.json, .help = "print a JSON object a line, one for each look" },
    TLS_CLIENT_OPTIONS,
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier check https://example.com",
      "is it there, how fast, and how long is its certificate good?" },
    { "pier check tcp://db1:5432 tcp://db2:5432 --every 5s", "two servers, every five seconds" },
    { "pier check https://example.com --min-days 14 || mail -s renew ops",
      "a reminder, two weeks before" },
    { "pier check udp://127.0.0.1:9999 --count 10 --json | jq .first_byte_ms",
      "ten datagrams, and how long each reply took" },
    { 0 },
};

const struct verb verb_check = {
    .name = "check",
    .summary = "tell whether servers are there, and how long each step takes",
    .operands = "URL...",
    .min_operands = 1,
    .max_operands = -1,
    .details = "A URL is tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, http://HOST/PATH or "
               "https://HOST/PATH. A line for each, with the times to resolve the name, connect, "
               "shake hands and get the first byte of a reply.",
    .options = options,
    .examples = examples,
    .run = run_check,
};
