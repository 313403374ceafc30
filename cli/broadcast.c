/* SPDX-License-Identifier: MIT */
/*
 * broadcast.c - `pier broadcast`: datagrams to everybody on the network, from the command line or
 * line by line from standard input.
 *
 * Nobody answers and nothing is waited for. Who listens is `pier serve udp://:9999 --handler
 * receiver`.
 */
#include "verb.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_PORT = 9999, MOST_PORT = 65535 };

static struct {
    int64_t port;
    const char *address;
} given = { .port = DEFAULT_PORT, .address = "255.255.255.255" };

/* Everybody's address and port. 0 or a negative code. */
static int everybody(struct pier_addr *out)
{
    char text[PIER_ADDR_TEXT];
    int len = snprintf(text, sizeof text, "%s:%d", given.address, (int)given.port);
    if (len >= (int)sizeof text)
        return pier_error_set(PIER_EURL, "address \"%.40s...\"", given.address);
    return pier_addr_parse(out, text);
}

static int send_text(struct pier_udp *u, const struct pier_addr *to, char *text, size_t len)
{
    struct pier_datagram d = { .bytes = text, .len = len, .peer = *to };
    int rc = pier_udp_send(u, &d, 1);
    return rc < 0 ? rc : 0;
}

static size_t trim(const char *line, size_t len)
{
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    return len;
}

/* Each line of standard input, until "exit" or its end. 0 or a negative code. */
static int send_lines(struct pier_udp *u, const struct pier_addr *to)
{
    char *line = NULL;
    size_t cap = 0;
    int rc = 0;
    while (rc == 0) {
        fputs("broadcast> ", stderr);
        ssize_t n = getline(&line, &cap, stdin);
        size_t len = n < 0 ? 0 : trim(line, (size_t)n);
        if (n < 0 || (len == 4 && memcmp(line, "exit", len) == 0))
            break;
        if (len > 0)
            rc = send_text(u, to, line, len);
    }
    if (rc == 0 && ferror(stdin))
        rc = pier_error_set(-EIO, "read standard input");
    free(line);
    return rc;
}

static int run_broadcast(int count, char **operands)
{
    struct pier_addr to;
    if (everybody(&to) < 0) {
        pier_fail("pier");
        return EXIT_USAGE;
    }
    struct pier_udp *u = pier_udp_open(NULL, &(struct pier_udp_opts){ .broadcast = true });
    int rc = u == NULL   ? -1
             : count > 0 ? send_text(u, &to, operands[0], strlen(operands[0]))
                         : send_lines(u, &to);
    int code = rc < 0 ? pier_fail("pier") : EXIT_OK;
    pier_udp_close(u);
    return code;
}

static const struct verb_option options[] = {
    { "port", OPTION_COUNT, &given.port, .value = "N", .min = 1, .max = MOST_PORT,
      .help = "the port that receivers listen on (default 9999)" },
    { "address", OPTION_TEXT, &given.address, .value = "A",
      .help = "the IPv4 address of everybody (default 255.255.255.255: the local network)" },
    { 0 },
};

static const struct verb_example examples[] = {
    { "pier broadcast hello", "to every host of the local network, port 9999" },
    { "pier broadcast --address 192.168.1.255 --port 7000", "what is typed, line by line" },
    { 0 },
};

const struct verb verb_broadcast = {
    .name = "broadcast",
    .summary = "send datagrams to every host of the network",
    .operands = "[TEXT]",
    .max_operands = 1,
    .details = "Without TEXT each line of standard input is sent, until a line \"exit\".",
    .options = options,
    .examples = examples,
    .run = run_broadcast,
};
