/* SPDX-License-Identifier: MIT */
/*
 * threads_client.c - eight threads, each a client: every call works on plain threads too.
 */
#define _GNU_SOURCE /* pthread_setname_np() */
#include <pier/pier.h>

#include <pthread.h>

enum { CLIENTS = 8 };

static const char *url = "tcp://localhost:10000";

/* Returns NULL when all went well. */
static void *talk(void *name)
{
    char reply[1024];
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .read_timeout_ms = 5000 };
    struct pier_conn *c = pier_dial(url, &opts);
    pier_puts(c, "Hello, World!");
    ssize_t n = pier_read_text(c, reply, sizeof reply);
    if (n == 0)
        n = pier_error_set(-ENODATA, "no reply");
    if (n > 0)
        puts(reply);
    else
        pier_fail(name);
    pier_close(c);
    return n > 0 ? NULL : (void *)(intptr_t)pier_exit_code();
}

int main(int argc, char **argv)
{
    pthread_t threads[CLIENTS];
    char names[CLIENTS][16];
    int code = 0;
    url = argc > 1 ? argv[1] : url;
    setlinebuf(stdout);
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(names[i], sizeof names[i], "client-%d", i + 1);
        pthread_create(&threads[i], NULL, talk, names[i]);
        pthread_setname_np(threads[i], names[i]);
    }
    for (int i = 0; i < CLIENTS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        code = failed ? (int)(intptr_t)failed : code;
    }
    return code;
}
