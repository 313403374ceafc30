/* SPDX-License-Identifier: MIT */
/*
 * async_client.c - a thousand clients at once, on one thread.
 *
 * async_client [URL] [COUNT] [--expect TEXT]
 */
#include <pier/pier.h>

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char *url = "tcp://localhost:10000", *expected = "Hello, Client!";
static int right, wrong;

/* A failure is counted, and the first one told: returned, it would call the others off. */
static int talk(void *arg)
{
    char reply[1024] = "";
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .read_timeout_ms = 5000 };
    struct pier_conn *c = pier_dial(url, &opts);
    pier_puts(c, "Hello, World!");
    ssize_t n = pier_read_text(c, reply, sizeof reply);
    pier_close(c);
    if (n >= 0 && strcmp(reply, expected) == 0)
        right++;
    else if (wrong++ == 0)
        fprintf(stderr, "async_client: %s\n", n < 0 ? pier_error() : "another reply");
    return 0;
}

int main(int argc, char **argv)
{
    const struct option options[] = { { "expect", required_argument, NULL, 'e' }, { 0 } };
    for (int letter; (letter = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (letter != 'e')
            return 2;
        expected = optarg;
    }
    url = optind < argc ? argv[optind] : url;
    int count = optind + 1 < argc ? atoi(argv[optind + 1]) : 1000;

    struct pier_scope all;
    pier_scope_open(&all, 0);
    for (int i = 0; i < count; i++)
        pier_spawn(&all, talk, NULL);
    if (pier_scope_join(&all) < 0)
        return pier_fail("async_client");
    printf("%d of %d\n", right, count);
    return right == count ? 0 : 1;
}
