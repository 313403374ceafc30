/* SPDX-License-Identifier: MIT */
/*
 * broadcast_receiver.c - prints what is broadcast on the local network, and by whom.
 */
#include <pier/pier.h>

int main(int argc, char **argv)
{
    char text[2048], from[PIER_ADDR_TEXT];
    struct pier_datagram d = { .bytes = text, .cap = sizeof text };
    struct pier_udp *u = pier_udp_open(argc > 1 ? argv[1] : "udp://:9999", NULL);
    while (pier_udp_recv(u, &d, 1, 0) > 0) {
        printf("%s: %.*s\n", pier_addr_text(&d.peer, from, sizeof from), (int)d.len, text);
        fflush(stdout);
    }
    return pier_fail("broadcast_receiver");
}
