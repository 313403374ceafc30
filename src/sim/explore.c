/* SPDX-License-Identifier: MIT */
/*
 * sim/explore.c - every order in which the tasks of a small scenario can take turns.
 *
 * A run writes down how many tasks it chose among each time, and which it took; the next run takes
 * the same ones but for the last choice that has another possibility: a depth-first walk of the
 * tree of choices, which needs no memory but one path.
 */
#include "sim/sim.h"

#include <string.h>

enum { CHOICES_MAX = 4096 }; /* of one run; what comes after is first in, first out */

/* Whether there is another path. */
static bool next_path(struct sim_tape *tape)
{
    while (tape->len > 0) {
        int last = tape->len - 1;
        if (++tape->chosen[last] < tape->among[last])
            return true;
        tape->len--;
    }
    return false;
}

static void print_path(char *out, size_t cap, const struct sim_tape *tape)
{
    size_t len = 0;
    out[0] = '\0';
    for (int i = 0; i < tape->len && len < cap; i++) {
        int n = snprintf(out + len, cap - len, "%s%d", i ? "," : "", tape->chosen[i]);
        len += n > 0 ? (size_t)n : 0;
    }
}

static int64_t explore(struct sim_tape *tape, int64_t runs_max, const struct pier_sim_opts *opts,
                       pier_task_fn scenario)
{
    int64_t runs = 0;
    bool more = true;
    while (more && runs < runs_max) {
        tape->at = 0;
        int rc = pi_sim_run_tape(0, opts, scenario, tape);
        if (rc < 0) {
            char path[200], words[300];
            print_path(path, sizeof path, tape);
            snprintf(words, sizeof words, "%s", pier_error());
            return pi_fail_text(rc, "in the order %s: %s", path, words);
        }
        runs++;
        more = next_path(tape);
    }
    return runs;
}

int64_t pier_sim_explore(int64_t runs_max, const struct pier_sim_opts *opts, pier_task_fn scenario)
{
    struct pier_sim_opts calm = opts ? *opts : (struct pier_sim_opts){ 0 };
    calm.reduced = "calm=order+split+latency";
    int *room = pi_alloc(2 * CHOICES_MAX * sizeof *room);
    if (!room)
        return pi_fail(-ENOMEM, "simulation");
    struct sim_tape tape = { .chosen = room, .among = room + CHOICES_MAX, .cap = CHOICES_MAX };
    int64_t runs = explore(&tape, runs_max, &calm, scenario);
    pi_free(room);
    return runs;
}
