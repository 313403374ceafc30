/* SPDX-License-Identifier: MIT */
/*
 * sim_counter_bug.c - a service that adds numbers up, its client, and a test of both in a bad
 * network, which finds what is wrong with them. sim_counter.c has the repair.
 *
 * Without arguments it tries 1,000 seeds; --seed N [--reduced TEXT] shows one of them.
 */
#include <pier/pier.h>

#include <stdlib.h>
#include <string.h>

/* ---- the service ---- */

struct counter {
    long sum;
};

/* Each request is a line, "add N"; the answer is the new sum. */
static int count(struct pier_conn *c, void *arg)
{
    struct counter *counter = arg;
    char line[64];
    ssize_t len;
    while ((len = pier_read_line(c, line, sizeof line)) >= 0) {
        long n;
        if (sscanf(line, "add %ld", &n) != 1)
            return pier_error_set(PIER_EPROTO, "request \"%s\"", line);
        counter->sum += n;
        pier_printf(c, "%ld\n", counter->sum);
    }
    return len == -ENODATA ? 0 : (int)len;
}

/* ---- its client ---- */

enum { TRIES = 20 };

static const struct pier_dial_opts hasty = { .connect_timeout_ms = 2000, .read_timeout_ms = 2000 };

struct client {
    const char *url;
    struct pier_conn *conn;
};

/* Adds n. When the connection breaks, connects again and repeats the request. */
static int add(struct client *client, long n)
{
    char sum[32];
    int rc = 0;
    for (int tries = 0; tries < TRIES && rc == 0; tries++) {
        if (!client->conn)
            client->conn = pier_dial(client->url, &hasty);
        pier_printf(client->conn, "add %ld\n", n);
        if (pier_read_line(client->conn, sum, sizeof sum) >= 0)
            return 0;
        pier_close(client->conn);
        client->conn = NULL;
        rc = pier_sleep(100 * PIER_MILLISECOND);
    }
    return pier_error_code();
}

/* ---- the test ---- */

static struct counter counter;
static long requests;

static int serve(void *arg)
{
    return pier_serve("tcp://counter:7000", count, &counter, NULL);
}

static int add_ones(void *arg)
{
    struct client client = { .url = "tcp://counter:7000" };
    int rc = 0;
    for (long i = 0; i < requests && rc == 0; i++)
        rc = add(&client, 1);
    pier_close(client.conn);
    return rc;
}

static int scenario(void *arg)
{
    struct pier_sim_host *server = pier_sim_host("counter", "10.0.0.1");
    struct pier_sim_host *client = pier_sim_host("client", "10.0.0.2");
    counter = (struct counter){ 0 };
    requests = pier_sim_amount(1, 20);
    pier_sim_start(server, serve, NULL);
    pier_sim_start(client, add_ones, NULL);
    int rc = pier_sim_join(client);
    if (rc == 0 && counter.sum != requests)
        rc = pier_sim_fail("%ld requests made a sum of %ld", requests, counter.sum);
    return rc;
}

/* The argument behind name; NULL: there is none. */
static const char *option(char **argv, const char *name)
{
    while (*argv && strcmp(*argv, name) != 0)
        argv++;
    return *argv ? argv[1] : NULL;
}

int main(int argc, char **argv)
{
    const char *seed = option(argv, "--seed");
    struct pier_sim_opts opts = { .faults.reset = 2000, .replay = argv[0] };
    opts.reduced = option(argv, "--reduced");
    if (seed) {
        opts.trace = stdout;
        int rc = pier_sim_run(strtoull(seed, NULL, 10), &opts, scenario);
        return rc < 0 ? pier_fail("sim_counter_bug") : 0;
    }
    int failed = pier_sim_sweep(1, 1000, &opts, scenario);
    if (failed < 0)
        return pier_fail("sim_counter_bug");
    printf("%d of 1000 seeds failed\n", failed);
    return failed > 0;
}
