/* SPDX-License-Identifier: MIT */
/*
 * put.c - `pier put`: see http.h.
 *
 * The table entry is all there is.
 */
#include "http.h"

static int run_put(int count, char **operands)
{
    return http_run(&verb_put, "PUT", count, operands);
}

static const struct verb_example examples[] = {
    { "pier put :8000/files/a.txt @a.txt", "a file" },
    { "pier put :8000/users/7 name=Ann active:=true", "{\"name\":\"Ann\",\"active\":true}" },
    { 0 },
};

const struct verb verb_put = {
    .name = "put",
    .summary = "put a resource in its place over HTTP",
    .operands = "URL [ITEM...]",
    .min_operands = 1,
    .max_operands = -1,
    .details = HTTP_DETAILS,
    .options = http_options,
    .examples = examples,
    .run = run_put,
};
