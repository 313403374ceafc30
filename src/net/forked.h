/* SPDX-License-Identifier: MIT */
/*
 * net/forked.h - a process of a server's: how it begins, and how the one that forked it is told of
 * its end.
 *
 * The parent has a loop and no other thread; the end of a child is a call on that loop. What a
 * child hears from outside is SIGTERM, as a call on its own thread.
 */
#ifndef PI_NET_FORKED_H
#define PI_NET_FORKED_H

#include "work/fork.h"

struct pi_forked {
    struct pi_process process;
    struct io_op op;       /* waits for the end */
    struct pi_timer again; /* to look for it where that cannot be waited for */
    void (*ended)(struct pi_forked *f);
};

enum { PI_FORKED_WORDS = 64 };

/* Around the life of such a parent: where SIGCHLD is ignored, how a child ended would be lost, and
 * its number be another process's. A child has it as the program had. */
void pi_forked_open(void);
void pi_forked_close(void);

/* Forks: in the parent the child's number, and ended() is called once, on the loop; in the child,
 * which then begins, 0; or a negative code with words. On the loop's root task. */
pid_t pi_forked_start(struct pi_forked *f, void (*ended)(struct pi_forked *f));
void pi_forked_signal(const struct pi_forked *f, int number);

/* In the child: from here on SIGTERM is told(arg), at its thread's next wait; SIGINT is its
 * parent's business. */
void pi_forked_begin(void (*told)(void *arg), void *arg);

/* Whether it was killed, or exited with another status than 0; unknown where somebody else has
 * reaped it. */
bool pi_forked_failed(const struct pi_forked *f);
/* "process was killed by SIGSEGV", "process exited with status 3". */
const char *pi_forked_words(char words[PI_FORKED_WORDS], const struct pi_forked *f);

#endif
