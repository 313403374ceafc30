/* SPDX-License-Identifier: MIT */
/*
 * The floor of the thread model: a thread per connection, blocking receive and send, nothing else.
 *
 * Usage: echo_thread [BUFFER]. Prints `listening on tcp://127.0.0.1:PORT`.
 */
#define _GNU_SOURCE
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "listen.h"

#define STACK_BYTES (128 * 1024) /* room for the largest buffer */

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

static void *serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[buf_cap];
    for (ssize_t n = 0; (n = recv(fd, buf, buf_cap, 0)) > 0;)
        if (!send_all(fd, buf, (size_t)n))
            break;
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        buf_cap = strtoul(argv[1], NULL, 10);
    if (buf_cap < 1 || buf_cap > 65536)
        return 2;
    int listener = listen_loopback_flags(0), on = 1;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (;;) {
        pthread_t thread;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (pthread_create(&thread, &attr, serve, (void *)(intptr_t)fd) != 0)
            close(fd);
    }
}
