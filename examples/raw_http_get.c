/* SPDX-License-Identifier: MIT */
/*
 * raw_http_get.c - fetches a page by hand: a request of four lines, a header, a body.
 *
 * raw_http_get HOST[:PORT] [FILE]: prints the header, writes the body to FILE (page.html).
 */
#include <pier/pier.h>

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct header {
    int status;
    bool chunked;
    long long length; /* of the body; -1: as long as the connection */
};

static ssize_t read_header(struct pier_conn *c, struct header *header)
{
    char line[8192];
    ssize_t n;
    *header = (struct header){ .length = -1 };
    while ((n = pier_read_line(c, line, sizeof line)) > 0) {
        puts(line);
        sscanf(line, "HTTP/%*d.%*d %d", &header->status);
        if (strncasecmp(line, "Transfer-Encoding:", 18) == 0)
            header->chunked = strstr(line, "chunked") != NULL;
        if (strncasecmp(line, "Content-Length:", 15) == 0)
            header->length = atoll(line + 15);
    }
    return n;
}

/* left bytes of the body, all there are if negative, to the file. */
static ssize_t copy(struct pier_conn *c, FILE *file, long long left)
{
    char buf[16384];
    ssize_t n = 1;
    while (left != 0) {
        size_t most = left > 0 && left < (long long)sizeof buf ? (size_t)left : sizeof buf;
        n = pier_read(c, buf, most);
        if (n <= 0)
            break;
        fwrite(buf, 1, (size_t)n, file);
        left -= left > 0 ? n : 0;
    }
    return n == 0 && left > 0 ? pier_error_set(-EPIPE, "body") : n;
}

static ssize_t copy_chunks(struct pier_conn *c, FILE *file)
{
    char line[1024];
    ssize_t n;
    while ((n = pier_read_line(c, line, sizeof line)) >= 0) {
        long long size = strtoll(line, NULL, 16);
        if (size < 0 || strspn(line, "0123456789abcdefABCDEF") == 0)
            return pier_error_set(PIER_EPROTO, "chunk \"%s\"", line);
        if (size == 0 || (n = copy(c, file, size)) < 0)
            break;
        n = pier_read_line(c, line, sizeof line); /* the end of the chunk's last line */
    }
    return n;
}

int main(int argc, char **argv)
{
    char url[512];
    struct header header;
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .read_timeout_ms = 5000 };
    if (argc < 2)
        return fputs("usage: raw_http_get HOST[:PORT] [FILE]\n", stderr), 2;
    const char *host = argv[1], *path = argc > 2 ? argv[2] : "page.html";
    const char *bracket = strchr(host, ']'), *port = strchr(bracket ? bracket : host, ':');
    snprintf(url, sizeof url, "tcp://%s%s", host, port ? "" : ":80");

    struct pier_conn *c = pier_dial(url, &opts);
    pier_printf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", host);
    if (read_header(c, &header) < 0)
        return pier_fail("raw_http_get");
    FILE *file = fopen(path, "wb");
    if (!file)
        return perror(path), 1;
    ssize_t n = header.chunked ? copy_chunks(c, file) : copy(c, file, header.length);
    if (fclose(file) != 0)
        return perror(path), 1;
    if (n < 0)
        return pier_fail("raw_http_get");
    pier_close(c);
    return header.status / 100 == 2 ? 0 : 1;
}
