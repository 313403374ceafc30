/* SPDX-License-Identifier: MIT */
/*
 * The floor of the process model: a process per connection, blocking receive and send, nothing
 * else; the kernel reaps the children.
 *
 * Usage: echo_process [BUFFER]. Prints `listening on tcp://127.0.0.1:PORT`.
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "listen.h"

static size_t buf_cap = 4096;

static bool send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static void serve(int fd)
{
    char buf[buf_cap];
    for (ssize_t n = 0; (n = recv(fd, buf, buf_cap, 0)) > 0;)
        if (!send_all(fd, buf, (size_t)n))
            break;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        buf_cap = strtoul(argv[1], NULL, 10);
    if (buf_cap < 1 || buf_cap > 65536)
        return 2;
    signal(SIGCHLD, SIG_IGN);
    int listener = listen_loopback_flags(0), on = 1;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(listener);
            serve(fd);
            _exit(0);
        }
        close(fd);
    }
}
