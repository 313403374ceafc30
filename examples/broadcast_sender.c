/* SPDX-License-Identifier: MIT */
/*
 * broadcast_sender.c - sends what is typed to every host of the local network.
 */
#include <pier/pier.h>

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Reads a line, without its end. False at "exit", and at the end of input. */
static bool prompt(char **line, size_t *cap)
{
    fputs("> ", stderr);
    if (getline(line, cap, stdin) < 0)
        return false;
    (*line)[strcspn(*line, "\r\n")] = '\0';
    return strcasecmp(*line, "exit") != 0;
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t cap = 0;
    const char *everybody = argc > 1 ? argv[1] : "udp://255.255.255.255:9999";
    const struct pier_udp_opts opts = { .broadcast = true, .peer = everybody };
    struct pier_udp *u = pier_udp_open(NULL, &opts);
    if (!u)
        return pier_fail("broadcast_sender");
    while (prompt(&line, &cap)) {
        struct pier_datagram d = { .bytes = line, .len = strlen(line) };
        if (pier_udp_send(u, &d, 1) < 0)
            return pier_fail("broadcast_sender");
    }
    free(line);
    pier_udp_close(u);
    return 0;
}
