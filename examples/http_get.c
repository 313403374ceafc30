/* SPDX-License-Identifier: MIT */
/*
 * http_get.c - fetches a page: prints the status, the type and the body.
 *
 * http_get URL
 */
#include <pier/pier.h>

int main(int argc, char **argv)
{
    char buf[16384];
    ssize_t n;
    if (argc < 2)
        return fputs("usage: http_get URL\n", stderr), 2;

    struct pier_response *r = pier_http_get(argv[1], &(struct pier_request){ .timeout_ms = 10000 });
    if (!r)
        return pier_fail("http_get");
    const char *type = pier_response_field(r, "Content-Type");
    printf("%d %s\n\n", pier_response_status(r), type ? type : "-");
    while ((n = pier_response_read(r, buf, sizeof buf)) > 0)
        fwrite(buf, 1, (size_t)n, stdout);
    if (n < 0)
        return pier_fail("http_get");
    int status = pier_response_status(r);
    pier_response_free(r);
    return status / 100 == 2 ? 0 : 1;
}
