/* SPDX-License-Identifier: MIT */
/*
 * delete.c - `pier delete`: see http.h.
 *
 * The table entry is all there is.
 */
#include "http.h"

static int run_delete(int count, char **operands)
{
    return http_run(&verb_delete, "DELETE", count, operands);
}

static const struct verb_example examples[] = {
    { "pier delete --fail :8000/users/7", "exit code 7 when the server refuses" },
    { 0 },
};

const struct verb verb_delete = {
    .name = "delete",
    .summary = "delete a resource over HTTP",
    .operands = "URL [ITEM...]",
    .min_operands = 1,
    .max_operands = -1,
    .details = HTTP_DETAILS,
    .options = http_options,
    .examples = examples,
    .run = run_delete,
};
