/* SPDX-License-Identifier: MIT */
/*
 * http_client.c - a client's CPU time for a request: one after the other over kept connections.
 *
 * http_client URL [COUNT]: prints nanoseconds of CPU and of time per request.
 */
#include <pier/pier.h>

#include <stdlib.h>
#include <time.h>

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * PIER_SECOND + t.tv_nsec;
}

int main(int argc, char **argv)
{
    char buf[65536];
    if (argc < 2)
        return fputs("usage: http_client URL [COUNT]\n", stderr), 2;
    int count = argc > 2 ? atoi(argv[2]) : 10000;
    struct pier_http_client *client = pier_http_client_new(NULL);
    const struct pier_request req = { .client = client };
    int64_t cpu = 0, began = 0;
    for (int i = -count / 10; i < count; i++) { /* a tenth to warm up */
        if (i == 0) {
            cpu = cpu_ns();
            began = pier_now();
        }
        struct pier_response *r = pier_http_get(argv[1], &req);
        ssize_t n;
        while ((n = pier_response_read(r, buf, sizeof buf)) > 0)
            continue;
        if (n < 0 || pier_response_status(r) != 200)
            return pier_fail("http_client");
        pier_response_free(r);
    }
    printf("%lld %lld\n", (long long)(cpu_ns() - cpu) / count,
           (long long)(pier_now() - began) / count);
    pier_http_client_free(client);
}
