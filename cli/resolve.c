/* SPDX-License-Identifier: MIT */
/*
 * resolve.c - `pier resolve`: the addresses of names, or the names of addresses.
 *
 * Several names are looked up side by side, a few at a time, and printed in the order in which they
 * were given, each as soon as all before it are there. A name that fails is told on standard error
 * and does not keep the others back.
 */
#include "verb.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum {
    AT_ONCE = 8,      /* half of the threads that look-ups have */
    ADDRS_MAX = 16,   /* that the library gives */
    ROOM_BYTES = 256, /* of the JSON writer's buffer */
};

static struct {
    bool ipv4, ipv6, reverse, json;
    int64_t timeout;
} given = { .timeout = 10 * PIER_SECOND };

struct answer {
    const char *asked;
    bool done;
    int rc; /* how many addresses; of a reverse look-up 0; a negative code */
    int exit_code;
    struct pier_ip ips[ADDRS_MAX];
    char text[600]; /* a name, or what went wrong */
};

static struct {
    struct answer *answers;
    int count, started, printed;
    int exit_code; /* of the first failure */
} run;

/* ---- printing ---- */

/* The words behind "resolve NAME: ". */
static const char *reason(const struct answer *a)
{
    const char *colon = strstr(a->text, ": ");
    return colon != NULL ? colon + 2 : a->text;
}

static void print_json(const struct answer *a)
{
    char buf[ROOM_BYTES];
    struct pier_json w;
    pier_json_init(&w, buf, sizeof buf, output_json, NULL);
    pier_json_object(&w);
    pier_json_key(&w, given.reverse ? "address" : "name");
    pier_json_str(&w, a->asked);
    pier_json_key(&w, given.reverse ? "name" : "addresses");
    if (!given.reverse)
        pier_json_array(&w);
    for (int i = 0; !given.reverse && i < a->rc; i++)
        pier_json_str(&w, a->ips[i].text);
    if (!given.reverse)
        pier_json_close(&w);
    else
        pier_json_str(&w, a->rc == 0 ? a->text : NULL);
    if (a->rc < 0) {
        pier_json_key(&w, "error");
        pier_json_str(&w, reason(a));
    }
    pier_json_close(&w);
    pier_json_raw(&w, "\n", 1);
    pier_json_end(&w);
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
    if (a->rc < 0) {
        fprintf(stderr, "pier: %s\n", a->text);
        if (run.exit_code == EXIT_OK)
            run.exit_code = a->exit_code;
    }
    if (given.json)
        print_json(a);
    else if (given.reverse && a->rc == 0)
        print_line(a, a->text);
    for (int i = 0; !given.json && i < a->rc; i++)
        print_line(a, a->ips[i].text);
    output_flush();
}

/* ---- asking ---- */

static void ask(struct answer *a)
{
    const struct pier_resolve_opts opts = {
        .version = given.ipv4   ? 4
                   : given.ipv6 ? 6
                                : 0,
        .timeout_ms = duration_ms(given.timeout),
    };
    if (given.reverse)
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
        while (run.printed < run.count && run.answers[run.printed].done)
            print_answer(&run.answers[run.printed++]);
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

static int run_resolve(int count, char **operands)
{
    if (given.ipv4 && given.ipv6)
        return usage_error(&verb_resolve, "--ipv4 and --ipv6 exclude each other");
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
    { "pier resolve --json localhost | jq -r '.addresses[]'", "the same, for a script" },
    { 0 },
};

const struct verb verb_resolve = {
    .name = "resolve",
    .summary = "print the addresses of names, or the names of addresses",
    .operands = "NAME...",
    .min_operands = 1,
    .max_operands = -1,
    .details = "A line for each address; with several operands it begins with the operand and a "
               "space.",
    .options = options,
    .examples = examples,
    .run = run_resolve,
};
