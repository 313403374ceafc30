/* SPDX-License-Identifier: MIT */
/*
 * patch.c - `pier patch`: see http.h.
 *
 * The table entry is all there is.
 */
#include "http.h"

static int run_patch(int count, char **operands)
{
    return http_run(&verb_patch, "PATCH", count, operands);
}

static const struct verb_example examples[] = {
    { "pier patch :8000/users/7 active:=false", "{\"active\":false}" },
    { 0 },
};

const struct verb verb_patch = {
    .name = "patch",
    .summary = "change a resource over HTTP",
    .operands = "URL [ITEM...]",
    .min_operands = 1,
    .max_operands = -1,
    .details = HTTP_DETAILS,
    .options = http_options,
    .examples = examples,
    .run = run_patch,
};
