/* SPDX-License-Identifier: MIT */
/*
 * head.c - `pier head`: see http.h.
 *
 * The table entry is all there is.
 */
#include "http.h"

static int run_head(int count, char **operands)
{
    return http_run(&verb_head, "HEAD", count, operands);
}

static const struct verb_example examples[] = {
    { "pier head example.com", "status and fields" },
    { "pier head --json --fail https://example.com/x",
      "for programs; exit code 7 when it is not there" },
    { 0 },
};

const struct verb verb_head = {
    .name = "head",
    .summary = "print the head of an HTTP response",
    .operands = "URL [ITEM...]",
    .min_operands = 1,
    .max_operands = -1,
    .details = HTTP_DETAILS,
    .options = http_options,
    .examples = examples,
    .run = run_head,
};
