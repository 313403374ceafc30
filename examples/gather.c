/* SPDX-License-Identifier: MIT */
/*
 * gather.c - asks several servers at once for their time, two seconds for all of them together.
 *
 * The scope owns the tasks. The first failure calls the others off and is what join returns, words
 * included; so does the deadline. Try it: pier serve, then gather tcp://:8888 tcp://:8888
 */
#include <pier/pier.h>

enum { MOST = 16 };

struct question {
    const char *url;
    char answer[256];
};

static int ask(void *arg)
{
    struct question *q = arg;
    struct pier_conn *c = pier_dial(q->url, NULL);
    pier_puts(c, "time");
    ssize_t n = pier_read_text(c, q->answer, sizeof q->answer);
    pier_close(c);
    return n < 0 ? (int)n : 0;
}

int main(int argc, char **argv)
{
    struct question questions[MOST] = { 0 };
    int count = argc - 1 < MOST ? argc - 1 : MOST;

    struct pier_scope all;
    pier_scope_open(&all, pier_after(2 * PIER_SECOND));
    for (int i = 0; i < count; i++) {
        questions[i].url = argv[i + 1];
        pier_spawn(&all, ask, &questions[i]);
    }
    if (pier_scope_join(&all) < 0)
        return pier_fail("gather");

    for (int i = 0; i < count; i++)
        printf("%s: %s\n", questions[i].url, questions[i].answer);
    return 0;
}
