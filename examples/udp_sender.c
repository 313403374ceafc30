/* SPDX-License-Identifier: MIT */
/*
 * udp_sender.c - sends what is typed, a datagram a line, and waits for no reply.
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
    struct pier_conn *c = pier_dial(argc > 1 ? argv[1] : "udp://127.0.0.1:9999", NULL);
    if (!c)
        return pier_fail("udp_sender");
    while (prompt(&line, &cap))
        if (pier_puts(c, line) < 0)
            return pier_fail("udp_sender");
    free(line);
    pier_close(c);
    return 0;
}
