/* SPDX-License-Identifier: MIT */
/*
 * output.c - standard output of verbs that print results: what cannot be written is told, and the
 * command then fails.
 */
#include "verb.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void output_guard_descriptors(void)
{
    /* Otherwise the first sockets would become standard output, and messages would go to a peer.
     * Read-only: who writes to a closed output shall hear of it. */
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) != fd)
            _exit(EXIT_FAILED);
    }
}

int output_json(void *ctx, const void *bytes, size_t len)
{
    return fwrite(bytes, 1, len, stdout) == len ? 0 : -errno;
}

int output_finish(void)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_OK;
    fprintf(stderr, "pier: write standard output: %s\n", pier_strerror(-errno));
    return EXIT_FAILED;
}
