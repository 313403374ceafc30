/* SPDX-License-Identifier: MIT */
/*
 * http_client.c - a client's CPU time for a request: 10,000, one after the other, over a pool.
 *
 * http_client [FOLDER]: FOLDER has http_pier; default build/bench.
 */
#include "http_client.h"

static struct pier_http_client *client;

static int get(const char *url)
{
    char buf[65536];
    struct pier_response *r = pier_http_get(url, &(struct pier_request){ .client = client });
    ssize_t n;
    while ((n = pier_response_read(r, buf, sizeof buf)) > 0)
        continue;
    if (n < 0 || pier_response_status(r) != 200)
        return pier_fail("http_client");
    pier_response_free(r);
    return 0;
}

int main(int argc, char **argv)
{
    const char *url = start_server(argc > 1 ? argv[1] : "build/bench");
    client = pier_http_client_new(NULL);
    int code = measure(url, get);
    pier_http_client_free(client);
    return code;
}
