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

static int error; /* errno of the first write that failed: later calls change errno */

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
    if (fwrite(bytes, 1, len, stdout) == len)
        return 0;
    if (error == 0)
        error = errno;
    return -error;
}

void output_flush(void)
{
    if (fflush(stdout) != 0 && error == 0)
        error = errno;
}

int output_finish(void)
{
    output_flush();
    if (error == 0 && ferror(stdout))
        error = errno;
    if (error == 0)
        return EXIT_OK;
    fprintf(stderr, "pier: write standard output: %s\n", pier_strerror(-error));
    return EXIT_FAILED;
}
