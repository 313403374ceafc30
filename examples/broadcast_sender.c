/* SPDX-License-Identifier: MIT */
/*
 * broadcast_sender.c - sends a line to every host of the local network.
 */
#include <pier/pier.h>

#include <string.h>

int main(int argc, char **argv)
{
    char text[1024] = "Hello, everybody!";
    struct pier_datagram d = { .bytes = text };
    struct pier_udp *u = pier_udp_open(NULL, &(struct pier_udp_opts){ .broadcast = true });
    if (pier_addr_parse(&d.peer, argc > 1 ? argv[1] : "255.255.255.255:9999") < 0)
        return pier_fail("broadcast_sender");
    if (argc > 2)
        snprintf(text, sizeof text, "%s", argv[2]);
    d.len = strlen(text);
    if (pier_udp_send(u, &d, 1) < 0)
        return pier_fail("broadcast_sender");
    pier_udp_close(u);
    return 0;
}
