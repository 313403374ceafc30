/* SPDX-License-Identifier: MIT */
/*
 * send_client.c - sends a message, and waits for nothing.
 */
#include <pier/pier.h>

int main(int argc, char **argv)
{
    const struct pier_dial_opts opts = { .connect_timeout_ms = 5000, .write_timeout_ms = 5000 };
    struct pier_conn *c = pier_dial(argc > 1 ? argv[1] : "tcp://127.0.0.1:8888", &opts);
    if (pier_puts(c, "Hello, TCP Server!") < 0)
        return pier_fail("send_client");
    pier_close(c);
    return 0;
}
