/* SPDX-License-Identifier: MIT */
/*
 * message_server.c - repeats messages, tells the time, and says goodbye.
 */
#include <pier/pier.h>

#include <string.h>
#include <strings.h>
#include <time.h>

/* In any case, with or without a line end. */
static bool is_word(const char *text, const char *word)
{
    size_t len = strlen(word);
    return strncasecmp(text, word, len) == 0 && text[len + strspn(text + len, "\r\n")] == '\0';
}

static int answer(struct pier_conn *c, void *arg)
{
    char text[4096], now[64];
    ssize_t n;
    fprintf(stderr, "connected: %s\n", pier_peer(c));
    while ((n = pier_read_text(c, text, sizeof text)) > 0 && !is_word(text, "exit")) {
        struct tm local;
        localtime_r(&(time_t){ time(NULL) }, &local);
        strftime(now, sizeof now, "%Y-%m-%d %H:%M:%S", &local);
        if (is_word(text, "time"))
            pier_printf(c, "当前时间: %s", now);
        else
            pier_printf(c, "已收到: %s", text);
    }
    if (n > 0)
        pier_puts(c, "再见!");
    fprintf(stderr, "%s: %s\n", n < 0 ? pier_strerror((int)n) : "left", pier_peer(c));
    return 0;
}

int main(int argc, char **argv)
{
    return pier_serve(argc > 1 ? argv[1] : "tcp://127.0.0.1:8888", answer, NULL, NULL);
}
