/* SPDX-License-Identifier: MIT */
/*
 * udp_receiver.c - prints each datagram and its sender, and answers hello.
 */
#include <pier/pier.h>

#include <strings.h>

static int answer(struct pier_conn *c, void *arg)
{
    char text[16384], shown[4 * sizeof text];
    ssize_t n;
    while ((n = pier_read_text(c, text, sizeof text)) > 0) {
        while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
            text[--n] = '\0';
        pier_escape(shown, sizeof shown, text, (size_t)n);
        printf("收到来自 %s 的消息: %s\n", pier_peer(c), shown);
        if (strcasecmp(text, "hello") == 0)
            pier_puts(c, "Hello from UDP Receiver!");
    }
    return (int)n;
}

int main(int argc, char **argv)
{
    setlinebuf(stdout);
    return pier_serve(argc > 1 ? argv[1] : "udp://127.0.0.1:9999", answer, NULL, NULL);
}
