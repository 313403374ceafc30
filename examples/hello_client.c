/* SPDX-License-Identifier: MIT */
/*
 * hello_client.c - is welcomed, says three names, and leaves.
 */
#include <pier/pier.h>

/* One reply, on a line. */
static ssize_t print_reply(struct pier_conn *c)
{
    char reply[1024];
    ssize_t n = pier_read_text(c, reply, sizeof reply);
    if (n > 0)
        puts(reply);
    return n == 0 ? pier_error_set(-ENODATA, "no reply") : n;
}

int main(int argc, char **argv)
{
    static const char *const names[] = { "Michael", "Tracy", "Sarah" };
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .read_timeout_ms = 5000 };
    struct pier_conn *c = pier_dial(argc > 1 ? argv[1] : "tcp://127.0.0.1:9999", &opts);
    setlinebuf(stdout);
    ssize_t n = print_reply(c);
    for (int i = 0; i < 3 && n > 0; i++) {
        pier_puts(c, names[i]);
        n = print_reply(c);
    }
    if (n < 0 || pier_puts(c, "exit") < 0)
        return pier_fail("hello_client");
    pier_close(c);
    return 0;
}
